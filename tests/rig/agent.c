/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first process of a test guest.
 *
 * It mounts what programs expect, loads the modules that the machine's
 * devices ask for, and then does what the host says over a virtio-serial
 * port: run programs, several at once, and hand over what they print, how
 * they ended, and every kernel message.  The frames are in agent.h.
 *
 * One thread, one poll loop.  Reading from the port and from the programs
 * never waits; writing to the port does, since the host always reads.
 *
 * Every program gets a session of its own, so that killing it takes its
 * children along.  When a program has ended, what its pipes hold is sent,
 * then EXIT; output of children that live on is dropped from there.
 *
 * The kernel command line:
 *   vtoe.agent          talk to the host; without it, a shell on ttyS0
 *   vtoe.ip=ADDR/LEN    address of eth0, set before READY (both forms, v4
 *                       and v6, may be given, separated by commas)
 *   vtoe.mtu=N          MTU of eth0, set before the address
 *   vtoe.host=NAME      host name
 *   vtoe.noload=A,B     modules that are not loaded, to be a guest without
 *                       that driver
 */
#define _GNU_SOURCE
#include "agent.h"
#include "agent_boot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_PROCS 128
#define MAX_ARGS 256

/* A program that was started and whose EXIT has not been sent. */
struct proc {
    bool used;
    uint32_t id;
    pid_t pid;
    int in;             /* write end of its stdin, or -1 */
    int out, err;       /* read ends, or -1 after end of file */
    char *stdin_buf;    /* what it has not taken yet */
    size_t stdin_len;
    bool stdin_eof;     /* close .in when stdin_buf is empty */
};

static struct proc procs[MAX_PROCS];
static int port = -1;
static int kmsg = -1;
static int sigfd = -1;

/* The frame that is being read from the port. */
static struct {
    struct agent_frame head;
    size_t have;                        /* bytes of head and data so far */
    char data[AGENT_MAX_PAYLOAD + 1];   /* +1: argv always ends in NUL */
} in;

static void write_all(int fd, const void *buf, size_t len)
{
    const char *p = buf;

    while (len > 0) {
        ssize_t n = write(fd, p, len);

        if (n > 0) {
            p += n;
            len -= n;
        } else if (n < 0 && errno == EAGAIN) {
            struct pollfd pfd = { .fd = fd, .events = POLLOUT };

            poll(&pfd, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            /* The host is gone; it will end this machine. */
            return;
        }
    }
}

static void send_frame(enum agent_type type, uint32_t id,
                       const void *data, size_t len)
{
    struct agent_frame head = { .len = len, .id = id, .type = type };

    write_all(port, &head, sizeof(head));
    write_all(port, data, len);
}

static void send_exit(uint32_t id, int status)
{
    int32_t code = WIFSIGNALED(status) ? -WTERMSIG(status)
                                       : WEXITSTATUS(status);

    send_frame(AGENT_EXIT, id, &code, sizeof(code));
}

/* Report a program that could not be started like a shell does. */
static void send_failure(uint32_t id, const char *what, int err)
{
    char text[512];
    int len = snprintf(text, sizeof(text), "agent: %s: %s\n", what,
                       strerror(err));

    if (len >= (int)sizeof(text)) {
        len = sizeof(text) - 1;
    }
    send_frame(AGENT_STDERR, id, text, len);
    send_exit(id, 127 << 8);
}

static struct proc *find_proc(uint32_t id)
{
    for (int i = 0; i < MAX_PROCS; i++) {
        if (procs[i].used && procs[i].id == id) {
            return &procs[i];
        }
    }
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

/* Pass on what the pipe holds.  Returns false at its end. */
static bool forward(struct proc *p, int *fd, enum agent_type type)
{
    char buf[32 * 1024];
    ssize_t n = read(*fd, buf, sizeof(buf));

    if (n > 0) {
        send_frame(type, p->id, buf, n);
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    close_fd(fd);
    return false;
}

static void feed_stdin(struct proc *p)
{
    if (p->in < 0) {
        return;
    }
    if (p->stdin_len > 0) {
        ssize_t n = write(p->in, p->stdin_buf, p->stdin_len);

        if (n > 0) {
            p->stdin_len -= n;
            memmove(p->stdin_buf, p->stdin_buf + n, p->stdin_len);
        } else if (n < 0 && errno != EAGAIN && errno != EINTR) {
            /* It closed its stdin: the rest has no reader. */
            p->stdin_len = 0;
            p->stdin_eof = true;
        }
    }
    if (p->stdin_len == 0 && p->stdin_eof) {
        close_fd(&p->in);
    }
}

static void do_stdin(struct proc *p, const char *data, size_t len)
{
    char *bigger;

    if (len == 0) {
        p->stdin_eof = true;
    } else if (p->in >= 0) {
        bigger = realloc(p->stdin_buf, p->stdin_len + len);
        if (!bigger) {
            send_failure(p->id, "stdin", ENOMEM);
            return;
        }
        p->stdin_buf = bigger;
        memcpy(bigger + p->stdin_len, data, len);
        p->stdin_len += len;
    }
    feed_stdin(p);
}

static void exec_child(char **argv, int in_fd, int out_fd, int err_fd)
{
    sigset_t none;

    setsid();
    dup2(in_fd, 0);
    dup2(out_fd, 1);
    dup2(err_fd, 2);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execvp(argv[0], argv);
    fprintf(stderr, "agent: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void do_run(uint32_t id, char *data, size_t len)
{
    char *argv[MAX_ARGS + 1];
    int argc = 0;
    int pin[2] = { -1, -1 }, pout[2] = { -1, -1 }, perr[2] = { -1, -1 };
    struct proc *p = NULL;
    char *end = data + len;

    data[len] = '\0';
    for (char *s = data; s < end; s += strlen(s) + 1) {
        if (argc == MAX_ARGS) {
            send_failure(id, "more than 256 arguments", E2BIG);
            return;
        }
        argv[argc++] = s;
    }
    argv[argc] = NULL;
    if (argc == 0) {
        send_failure(id, "no program named", EINVAL);
        return;
    }
    for (int i = 0; i < MAX_PROCS && !p; i++) {
        if (!procs[i].used) {
            p = &procs[i];
        }
    }
    if (!p) {
        send_failure(id, "128 programs run already", EAGAIN);
        return;
    }
    if (pipe2(pin, O_CLOEXEC) || pipe2(pout, O_CLOEXEC) ||
        pipe2(perr, O_CLOEXEC)) {
        send_failure(id, "pipe", errno);
        goto close_all;
    }
    *p = (struct proc) {
        .id = id, .in = pin[1], .out = pout[0], .err = perr[0],
    };
    p->pid = fork();
    if (p->pid < 0) {
        send_failure(id, "fork", errno);
        goto close_all;
    }
    if (p->pid == 0) {
        exec_child(argv, pin[0], pout[1], perr[1]);
    }
    /* Before it runs far: so that a KILL that follows finds the group. */
    p->used = true;
    close(pin[0]);
    close(pout[1]);
    close(perr[1]);
    fcntl(p->in, F_SETFL, O_NONBLOCK);
    fcntl(p->out, F_SETFL, O_NONBLOCK);
    fcntl(p->err, F_SETFL, O_NONBLOCK);
    return;

close_all:
    for (int i = 0; i < 2; i++) {
        close_fd(&pin[i]);
        close_fd(&pout[i]);
        close_fd(&perr[i]);
    }
}

static void do_kill(struct proc *p, uint32_t sig)
{
    /* Before setsid() in the child there is no such group yet. */
    if (kill(-p->pid, sig) < 0) {
        kill(p->pid, sig);
    }
}

static void handle_frame(void)
{
    struct proc *p = find_proc(in.head.id);
    uint32_t sig;

    switch (in.head.type) {
    case AGENT_RUN:
        if (p) {
            send_failure(in.head.id, "this id is in use", EBUSY);
        } else {
            do_run(in.head.id, in.data, in.head.len);
        }
        break;
    case AGENT_STDIN:
        if (p) {
            do_stdin(p, in.data, in.head.len);
        }
        break;
    case AGENT_KILL:
        /* One that has just ended is no error: its EXIT is on the way. */
        if (p && in.head.len == sizeof(sig)) {
            memcpy(&sig, in.data, sizeof(sig));
            do_kill(p, sig);
        }
        break;
    default:
        boot_die("the host sent a frame of type %u", in.head.type);
    }
}

static void read_port(void)
{
    size_t head = sizeof(in.head);
    ssize_t n;

    if (in.have < head) {
        n = read(port, (char *)&in.head + in.have, head - in.have);
    } else {
        n = read(port, in.data + in.have - head,
                 in.head.len + head - in.have);
    }
    if (n <= 0) {
        return;
    }
    in.have += n;
    if (in.have >= head) {
        if (in.head.len > AGENT_MAX_PAYLOAD) {
            boot_die("the host sent a frame of %u bytes", in.head.len);
        }
        if (in.have == head + in.head.len) {
            handle_frame();
            in.have = 0;
        }
    }
}

static void read_kmsg(void)
{
    char buf[8192];
    ssize_t n;

    for (;;) {
        n = read(kmsg, buf, sizeof(buf));
        if (n > 0) {
            send_frame(AGENT_KMSG, 0, buf, n);
        } else if (n < 0 && errno == EPIPE) {
            static const char lost[] = "4,0,0,-;agent: messages were lost\n";

            send_frame(AGENT_KMSG, 0, lost, sizeof(lost) - 1);
        } else {
            return;
        }
    }
}

static void reap(void)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(sigfd, &info, sizeof(info)) > 0) {
        /* Several children may share one signal: waitpid tells. */
    }
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (int i = 0; i < MAX_PROCS; i++) {
            struct proc *p = &procs[i];

            if (!p->used || p->pid != pid) {
                continue;
            }
            while (p->out >= 0 && forward(p, &p->out, AGENT_STDOUT)) {
            }
            while (p->err >= 0 && forward(p, &p->err, AGENT_STDERR)) {
            }
            /*
             * What the kernel said while the program ran comes before its
             * end, so that who looks for a clean log then sees it all.
             */
            read_kmsg();
            close_fd(&p->in);
            close_fd(&p->out);
            close_fd(&p->err);
            free(p->stdin_buf);
            p->used = false;
            send_exit(p->id, status);
        }
    }
}

static void serve(void)
{
    struct pollfd fds[3 + 3 * MAX_PROCS];
    struct { struct proc *p; int *fd; enum agent_type type; }
        what[3 + 3 * MAX_PROCS];
    bool port_hung = false;

    for (;;) {
        int n = 0;

        fds[n++] = (struct pollfd) { .fd = sigfd, .events = POLLIN };
        fds[n++] = (struct pollfd) { .fd = kmsg, .events = POLLIN };
        /* A port without a host is always ready; look again at times. */
        fds[n++] = (struct pollfd) { .fd = port_hung ? -1 : port,
                                     .events = POLLIN };
        for (int i = 0; i < MAX_PROCS; i++) {
            struct proc *p = &procs[i];

            if (!p->used) {
                continue;
            }
            if (p->out >= 0) {
                what[n].p = p, what[n].fd = &p->out;
                what[n].type = AGENT_STDOUT;
                fds[n++] = (struct pollfd) { p->out, POLLIN, 0 };
            }
            if (p->err >= 0) {
                what[n].p = p, what[n].fd = &p->err;
                what[n].type = AGENT_STDERR;
                fds[n++] = (struct pollfd) { p->err, POLLIN, 0 };
            }
            if (p->in >= 0 && p->stdin_len > 0) {
                what[n].p = p, what[n].fd = &p->in;
                what[n].type = AGENT_STDIN;
                fds[n++] = (struct pollfd) { p->in, POLLOUT, 0 };
            }
        }
        if (poll(fds, n, port_hung ? 200 : -1) < 0 && errno != EINTR) {
            boot_die("poll: %s", strerror(errno));
        }
        for (int i = 3; i < n; i++) {
            if (!fds[i].revents) {
                continue;
            }
            if (what[i].type == AGENT_STDIN) {
                feed_stdin(what[i].p);
            } else {
                forward(what[i].p, what[i].fd, what[i].type);
            }
        }
        if (fds[1].revents) {
            read_kmsg();
        }
        if (fds[0].revents) {
            reap();
        }
        port_hung = (fds[2].revents & (POLLHUP | POLLIN)) == POLLHUP;
        if (fds[2].revents & POLLIN) {
            read_port();
        }
    }
}

int main(void)
{
    struct utsname uts;
    sigset_t chld;

    boot_mounts();
    boot_modules();
    boot_network();
    if (!boot_param("vtoe.agent", NULL, 0)) {
        boot_console_shell();
    }

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    sigfd = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    port = boot_agent_port();
    if (sigfd < 0 || kmsg < 0) {
        boot_die("signalfd %d, /dev/kmsg %d: %s", sigfd, kmsg,
                 strerror(errno));
    }
    uname(&uts);
    read_kmsg();
    send_frame(AGENT_READY, 0, uts.release, strlen(uts.release));
    serve();
}
