// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Preload library of vtoe-run: TCP sockets that a program makes become VTOE
 * sockets.
 *
 * Only socket() is interposed, and only its protocol argument changes:
 * (AF_INET or AF_INET6, SOCK_STREAM with any flags, protocol 0, TCP or MPTCP)
 * becomes IPPROTO_VTOE.  The kernel does the rest, so the descriptor is an
 * ordinary one for fork, exec, dup, poll and whatever else.  Where the kernel
 * has no such protocol the program gets the socket it asked for.
 *
 * Programs that do not use the C library's socket() are not reached.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VTOE_PROTOCOL	261
#define VTOE_MPTCP	262

/* The flags of socket() are above the type. */
#define TYPE_MASK	0xf

static int real_socket(int family, int type, int protocol)
{
	static int (*next)(int, int, int);

	if (!next)
		next = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	if (!next)
		return syscall(SYS_socket, family, type, protocol);
	return next(family, type, protocol);
}

__attribute__((visibility("default")))
int socket(int family, int type, int protocol)
{
	int saved = errno, fd;

	if ((family == AF_INET || family == AF_INET6) &&
	    (type & TYPE_MASK) == SOCK_STREAM &&
	    (protocol == 0 || protocol == IPPROTO_TCP ||
	     protocol == VTOE_MPTCP)) {
		fd = real_socket(family, type, VTOE_PROTOCOL);
		if (fd >= 0 || (errno != EPROTONOSUPPORT && errno != EINVAL &&
				errno != ESOCKTNOSUPPORT))
			return fd;
		errno = saved;
	}
	return real_socket(family, type, protocol);
}
