/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the kernel's hand-over to a machine that programs can run on.
 *
 * Modules are found as udev and modprobe find them: every device on the
 * buses below says what it is (its modalias), modules.alias names the module,
 * modules.dep what that one needs.  Loading a module can bring new devices
 * (virtio-pci does), so this repeats until nothing new is found.
 */
#define _GNU_SOURCE
#include "agent_boot.h"
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define PORT_WAIT_MS 60000

static int uevents = -1;

void boot_die(const char *fmt, ...)
{
    va_list ap;
    int fd = open("/dev/console", O_WRONLY | O_NOCTTY);

    if (fd >= 0) {
        dprintf(fd, "agent: error: ");
        va_start(ap, fmt);
        vdprintf(fd, fmt, ap);
        va_end(ap);
        dprintf(fd, "\n");
        tcdrain(fd);
    }
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

static char *read_file(const char *path)
{
    size_t size = 0, room = 4096;
    char *buf = malloc(room + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0 || !buf) {
        if (fd >= 0) {
            close(fd);
        }
        free(buf);
        return NULL;
    }
    while ((n = read(fd, buf + size, room - size)) > 0) {
        size += n;
        if (size == room) {
            char *bigger = realloc(buf, (room *= 2) + 1);

            if (!bigger) {
                boot_die("%s: out of memory at %zu bytes", path, size);
            }
            buf = bigger;
        }
    }
    close(fd);
    buf[size] = '\0';
    return buf;
}

bool boot_param(const char *name, char *value, size_t size)
{
    char *line = read_file("/proc/cmdline");
    bool found = false;

    for (char *save, *word = line ? strtok_r(line, " \n", &save) : NULL; word;
         word = strtok_r(NULL, " \n", &save)) {
        size_t len = strlen(name);

        if (strncmp(word, name, len) || (word[len] && word[len] != '=')) {
            continue;
        }
        found = true;
        if (value) {
            snprintf(value, size, "%s", word[len] ? word + len + 1 : "");
        }
    }
    free(line);
    return found;
}

static void mount_or_die(const char *type, const char *dir)
{
    mkdir(dir, 0755);
    if (mount(type, dir, type, 0, NULL) < 0 && errno != EBUSY) {
        boot_die("mounting %s on %s: %s", type, dir, strerror(errno));
    }
}

void boot_mounts(void)
{
    struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };

    umask(022);
    mount_or_die("devtmpfs", "/dev");
    mount_or_die("proc", "/proc");
    mount_or_die("sysfs", "/sys");
    mount_or_die("devpts", "/dev/pts");
    mount_or_die("tmpfs", "/dev/shm");
    mount_or_die("tmpfs", "/tmp");
    mount_or_die("tmpfs", "/run");
    mount_or_die("tracefs", "/sys/kernel/tracing");
    mount_or_die("debugfs", "/sys/kernel/debug");
    if (symlink("/proc/self/fd", "/dev/fd") < 0 && errno != EEXIST) {
        boot_die("/dev/fd: %s", strerror(errno));
    }
    setenv("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/usr/lib/busybox", 1);
    setenv("HOME", "/", 1);
    setenv("TERM", "linux", 1);

    /* Before the modules: the announcement of the port must not be missed. */
    uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                     NETLINK_KOBJECT_UEVENT);
    if (uevents < 0 ||
        bind(uevents, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        boot_die("uevent socket: %s", strerror(errno));
    }
}

/* Modules. */

static char *alias_text, *dep_text;
static char noload[256];

static bool is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; *p; p += strcspn(p, ",")) {
        p += *p == ',';
        if (!strncmp(p, name, len) && (p[len] == ',' || !p[len])) {
            return true;
        }
    }
    return false;
}

/* The module of a path like kernel/net/foo-bar.ko: foo_bar. */
static void module_name(const char *path, char *name, size_t size)
{
    const char *base = strrchr(path, '/');

    snprintf(name, size, "%s", base ? base + 1 : path);
    name[strcspn(name, ".")] = '\0';
    for (char *p = name; *p; p++) {
        if (*p == '-') {
            *p = '_';
        }
    }
}

static void insert(const char *dir, const char *path)
{
    char full[512], name[64];
    int fd;

    module_name(path, name, sizeof(name));
    if (is_listed(noload, name)) {
        return;
    }
    snprintf(full, sizeof(full), "%s/%s", dir, path);
    fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        boot_die("module %s: %s", full, strerror(errno));
    }
    if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST) {
        boot_die("loading %s: %s", full, strerror(errno));
    }
    close(fd);
}

/* Load a module after those it needs, by its line in modules.dep. */
static void load(const char *dir, const char *wanted)
{
    char line[4096], name[64];
    const char *next;

    if (is_listed(noload, wanted)) {
        return;
    }
    for (const char *p = dep_text; p && *p; p = next) {
        size_t len = strcspn(p, "\n");
        char *colon, *last;

        next = p + len + (p[len] == '\n');
        if (len >= sizeof(line)) {
            boot_die("modules.dep has a line of %zu bytes", len);
        }
        memcpy(line, p, len);
        line[len] = '\0';
        colon = strchr(line, ':');
        if (!colon) {
            continue;
        }
        *colon = '\0';
        module_name(line, name, sizeof(name));
        if (strcmp(name, wanted)) {
            continue;
        }
        /* What it needs stands in the order to unload. */
        while ((last = strrchr(colon + 1, ' '))) {
            *last = '\0';
            if (last[1]) {
                insert(dir, last + 1);
            }
        }
        insert(dir, line);
        return;
    }
}

static void load_for(const char *dir, const char *modalias)
{
    char pattern[512], name[64];
    const char *next;

    for (const char *p = alias_text; p && *p; p = next) {
        size_t len = strcspn(p, "\n");

        next = p + len + (p[len] == '\n');
        if (len < sizeof(pattern) &&
            sscanf(p, "alias %511s %63s", pattern, name) == 2 &&
            !fnmatch(pattern, modalias, 0)) {
            load(dir, name);
        }
    }
}

/* Ask every device of the bus; returns how many there are. */
static int scan_bus(const char *dir, const char *bus)
{
    char path[512];
    struct dirent *e;
    int count = 0;
    DIR *d;

    snprintf(path, sizeof(path), "/sys/bus/%s/devices", bus);
    d = opendir(path);
    while (d && (e = readdir(d))) {
        char *uevent, *modalias;

        if (e->d_name[0] == '.') {
            continue;
        }
        count++;
        snprintf(path, sizeof(path), "/sys/bus/%s/devices/%s/uevent", bus,
                 e->d_name);
        uevent = read_file(path);
        modalias = uevent ? strstr(uevent, "MODALIAS=") : NULL;
        if (modalias) {
            modalias += strlen("MODALIAS=");
            modalias[strcspn(modalias, "\n")] = '\0';
            load_for(dir, modalias);
        }
        free(uevent);
    }
    if (d) {
        closedir(d);
    }
    return count;
}

void boot_modules(void)
{
    static const char *const buses[] = { "pci", "virtio", "auxiliary" };
    char dir[256], path[512];
    struct utsname uts;
    int before, now = -1;

    boot_param("vtoe.noload", noload, sizeof(noload));
    uname(&uts);
    snprintf(dir, sizeof(dir), "/lib/modules/%s", uts.release);
    snprintf(path, sizeof(path), "%s/modules.alias", dir);
    alias_text = read_file(path);
    snprintf(path, sizeof(path), "%s/modules.dep", dir);
    dep_text = read_file(path);
    if (!alias_text || !dep_text) {
        boot_die("this image has no modules for kernel %s", uts.release);
    }
    do {
        before = now;
        now = 0;
        for (size_t i = 0; i < sizeof(buses) / sizeof(buses[0]); i++) {
            now += scan_bus(dir, buses[i]);
        }
    } while (now != before);
}

/* Network. */

static void run_or_die(char *const argv[])
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        execvp(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        boot_die("%s %s %s failed with status 0x%x", argv[0], argv[1],
                 argv[2], status);
    }
}

static void interface_up(const char *name)
{
    struct ifreq ifr = { 0 };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    ioctl(fd, SIOCGIFFLAGS, &ifr);
    ifr.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &ifr) < 0) {
        boot_die("%s up: %s", name, strerror(errno));
    }
    close(fd);
}

void boot_network(void)
{
    char text[256];

    if (boot_param("vtoe.host", text, sizeof(text))) {
        sethostname(text, strlen(text));
    }
    interface_up("lo");
    if (boot_param("vtoe.mtu", text, sizeof(text))) {
        run_or_die((char *[]) { "ip", "link", "set", "dev", "eth0", "mtu",
                                text, NULL });
    }
    if (boot_param("vtoe.ip", text, sizeof(text))) {
        for (char *save, *a = strtok_r(text, ",", &save); a;
             a = strtok_r(NULL, ",", &save)) {
            if (strchr(a, ':')) {
                /* Nobody else is on this wire: no duplicates to look for. */
                run_or_die((char *[]) { "ip", "addr", "add", a, "dev",
                                        "eth0", "nodad", NULL });
            } else {
                run_or_die((char *[]) { "ip", "addr", "add", a, "dev",
                                        "eth0", NULL });
            }
        }
        interface_up("eth0");
    }
}

/* The way to the host. */

/* The port's device, if the kernel has made it. */
static int open_port(void)
{
    char path[512], *name;
    struct dirent *e;
    DIR *d = opendir("/sys/class/virtio-ports");
    int fd = -1;

    while (d && fd < 0 && (e = readdir(d))) {
        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
                 e->d_name);
        name = read_file(path);
        if (name && !strncmp(name, AGENT_PORT_NAME "\n",
                             sizeof(AGENT_PORT_NAME))) {
            snprintf(path, sizeof(path), "/dev/%s", e->d_name);
            fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
        }
        free(name);
    }
    if (d) {
        closedir(d);
    }
    return fd;
}

int boot_agent_port(void)
{
    char event[4096];
    int fd;

    while ((fd = open_port()) < 0) {
        struct pollfd pfd = { .fd = uevents, .events = POLLIN };

        if (poll(&pfd, 1, PORT_WAIT_MS) == 0) {
            boot_die("no virtio-serial port named %s after %d s",
                     AGENT_PORT_NAME, PORT_WAIT_MS / 1000);
        }
        while (recv(uevents, event, sizeof(event), 0) > 0) {
            /* Any of them may be the port's: look again. */
        }
    }
    close(uevents);
    return fd;
}

void boot_console_shell(void)
{
    int status;

    for (;;) {
        pid_t pid = fork();

        if (pid == 0) {
            int tty = open("/dev/ttyS0", O_RDWR);

            setsid();
            ioctl(tty, TIOCSCTTY, 1);
            dup2(tty, 0);
            dup2(tty, 1);
            dup2(tty, 2);
            execl("/bin/sh", "-sh", NULL);
            _exit(127);
        }
        while (pid < 0 || waitpid(-1, &status, 0) != pid) {
            if (pid < 0) {
                boot_die("fork: %s", strerror(errno));
            }
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
            boot_die("there is no /bin/sh on this image");
        }
        dprintf(2, "\nThe shell ended; here is another."
                   " \"poweroff -f\" ends the machine.\n");
    }
}
