// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vtoe-bpf on CGROUP...	programs of these control groups, and of those
 *				below, get VTOE sockets for TCP ones
 * vtoe-bpf off			... no more
 *
 * CGROUP is a folder of cgroup v2.  What is on stays on when this program
 * ends: the link is pinned in the BPF file system.  "on" while it is on
 * replaces the groups.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "vtoe-bpf.h"

#define PIN_FOLDER	"/sys/fs/bpf/vtoe"
#define PIN_LINK	PIN_FOLDER "/socket"
#define PIN_NEW		PIN_FOLDER "/socket_new"

/* The compiled program. */
__asm__(".section .rodata\n"
	".balign 8\n"
	"program_begin: .incbin \"" VTOE_BPF_OBJECT "\"\n"
	"program_end:\n"
	".previous\n");
extern const char program_begin[], program_end[];

static int __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "vtoe-bpf: error: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: vtoe-bpf on CGROUP... | off\n");
	return 2;
}

/* libbpf's own words only where something goes wrong. */
static int print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, ap) : 0;
}

/*
 * A program gets what the trigger asks for or nothing, so the protocol has to
 * be there.
 */
static int check_protocol(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, VTOE_BPF_PROTOCOL);

	if (fd < 0)
		return fail("no sockets of protocol %d: %s (is the module vtoe_sock loaded?)",
			    VTOE_BPF_PROTOCOL, strerror(errno));
	close(fd);
	return 0;
}

static int add_cgroup(int map, __u32 i, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return fail("%s: %s", path, strerror(errno));
	err = bpf_map_update_elem(map, &i, &fd, BPF_ANY);
	close(fd);
	return err ? fail("%s: %s (a folder of cgroup v2 is meant)", path,
			  strerror(-err)) : 0;
}

/* Attaches the program and leaves it there. */
static int attach(struct bpf_object *obj)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(obj,
							"vtoe_protocol");
	struct bpf_link *link = bpf_program__attach(prog);
	int err;

	if (!link)
		return fail("attaching to update_socket_protocol: %s",
			    strerror(errno));
	if (mkdir(PIN_FOLDER, 0700) < 0 && errno != EEXIST) {
		err = fail("%s: %s (is /sys/fs/bpf mounted?)", PIN_FOLDER,
			   strerror(errno));
		goto out;
	}
	/* The old one goes when the new one is there. */
	unlink(PIN_NEW);
	err = bpf_link__pin(link, PIN_NEW);
	if (err)
		err = fail("%s: %s (is /sys/fs/bpf mounted?)", PIN_NEW,
			   strerror(-err));
	else if (rename(PIN_NEW, PIN_LINK) < 0)
		err = fail("%s: %s", PIN_LINK, strerror(errno));
out:
	bpf_link__destroy(link);
	return err;
}

static int on(int n, char **cgroups)
{
	struct bpf_object *obj;
	int err, i, map;

	if (n > VTOE_BPF_CGROUPS)
		return fail("%d control groups: at most %d", n,
			    VTOE_BPF_CGROUPS);
	if (check_protocol())
		return 1;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	libbpf_set_print(print);
	obj = bpf_object__open_mem(program_begin, program_end - program_begin,
				   NULL);
	if (!obj)
		return fail("the program is not usable: %s", strerror(errno));
	err = bpf_object__load(obj);
	if (err) {
		err = fail("the kernel does not take the program: %s (it has to have update_socket_protocol, from 6.6 on, with BTF and MPTCP)",
			   strerror(-err));
		goto out;
	}
	map = bpf_object__find_map_fd_by_name(obj, "cgroups");
	for (i = 0; i < n && !err; i++)
		err = add_cgroup(map, i, cgroups[i]);
	if (!err)
		err = attach(obj);
out:
	bpf_object__close(obj);
	return err;
}

static int off(void)
{
	if (unlink(PIN_LINK) < 0)
		return fail("%s: %s", PIN_LINK, errno == ENOENT ?
			    "it is not on" : strerror(errno));
	rmdir(PIN_FOLDER);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "on"))
		return on(argc - 2, argv + 2);
	if (argc == 2 && !strcmp(argv[1], "off"))
		return off();
	return usage();
}
