/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One socket, made in the way that is asked for.
 *
 *   trigger [OPTION...] [ADDR PORT]
 *
 *   -u          by io_uring's IORING_OP_SOCKET, else by socket()
 *   -6          AF_INET6
 *   -U          AF_UNIX
 *   -d          SOCK_DGRAM, else SOCK_STREAM
 *   -f          with SOCK_NONBLOCK and SOCK_CLOEXEC, as event loops ask for
 *   -p NUMBER   the protocol, else 0
 *   -i DEVICE   SO_BINDTODEVICE
 *   -m MARK     SO_MARK
 *
 * Prints "protocol N", what SO_PROTOCOL says.  With an address it connects,
 * sends to a server that echoes, and prints "echo right" or "echo wrong"; or
 * "connect ERROR".  There is no libc between it and the kernel's io_uring.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *ring_map(int fd, size_t size, off_t offset)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);

    if (p == MAP_FAILED) {
        die("mmap of the ring: %s", errno_name(errno));
    }
    return p;
}

/* socket() by a ring of one entry. */
static int uring_socket(int family, int type, int protocol)
{
    struct io_uring_params params = { 0 };
    int fd = syscall(SYS_io_uring_setup, 1, &params);
    uint32_t *sq_array, *sq_tail;
    struct io_uring_sqe *sqe;
    struct io_uring_cqe *cqe;
    char *sq, *cq;

    if (fd < 0) {
        die("io_uring_setup: %s", errno_name(errno));
    }
    sq = ring_map(fd, params.sq_off.array + sizeof(uint32_t),
                  IORING_OFF_SQ_RING);
    cq = ring_map(fd, params.cq_off.cqes +
                  params.cq_entries * sizeof(*cqe), IORING_OFF_CQ_RING);
    sqe = ring_map(fd, sizeof(*sqe), IORING_OFF_SQES);
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = IORING_OP_SOCKET;
    sqe->fd = family;
    sqe->off = type;
    sqe->len = protocol;
    sq_array = (uint32_t *)(sq + params.sq_off.array);
    sq_tail = (uint32_t *)(sq + params.sq_off.tail);
    sq_array[0] = 0;
    __atomic_store_n(sq_tail, 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL,
                0) != 1) {
        die("io_uring_enter: %s", errno_name(errno));
    }
    cqe = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
    close(fd);
    if (cqe->res < 0) {
        errno = -cqe->res;
        return -1;
    }
    return cqe->res;
}

static void wait_for(int fd, short events)
{
    struct pollfd p = { .fd = fd, .events = events };

    if (poll(&p, 1, 20000) != 1) {
        die("poll: nothing in 20 s");
    }
}

/* Connects, and has a few bytes echoed. */
static void echo(int fd, const char *addr, const char *port)
{
    static const char text[] = "what is sent comes back";
    struct sockaddr_storage ss;
    socklen_t len = parse_address(addr, port, &ss), errlen = sizeof(int);
    char back[sizeof(text)];
    size_t have = 0;
    ssize_t n;
    int err = 0;

    if (connect(fd, (struct sockaddr *)&ss, len) < 0) {
        err = errno;
        if (err == EINPROGRESS) {
            wait_for(fd, POLLOUT);
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &errlen);
        }
    }
    if (err) {
        printf("connect %s\n", errno_name(err));
        return;
    }
    if (send(fd, text, sizeof(text), 0) != sizeof(text)) {
        die("send: %s", errno_name(errno));
    }
    while (have < sizeof(back)) {
        wait_for(fd, POLLIN);
        n = recv(fd, back + have, sizeof(back) - have, 0);
        if (n <= 0) {
            die("recv: %s", n ? errno_name(errno) : "end of stream");
        }
        have += n;
    }
    printf("echo %s\n", memcmp(text, back, sizeof(text)) ? "wrong" : "right");
}

int main(int argc, char **argv)
{
    int family = AF_INET, type = SOCK_STREAM, protocol = 0;
    const char *device = NULL;
    uint32_t mark = 0;
    bool uring = false;
    socklen_t len = sizeof(protocol);
    int fd, c;

    while ((c = getopt(argc, argv, "u6Udfp:i:m:")) != -1) {
        switch (c) {
        case 'u': uring = true; break;
        case '6': family = AF_INET6; break;
        case 'U': family = AF_UNIX; break;
        case 'd': type = (type & ~0xf) | SOCK_DGRAM; break;
        case 'f': type |= SOCK_NONBLOCK | SOCK_CLOEXEC; break;
        case 'p': protocol = parse_number(optarg, 255 + 8); break;
        case 'i': device = optarg; break;
        case 'm': mark = parse_number(optarg, UINT32_MAX); break;
        default: return 2;
        }
    }
    if (argc - optind != 0 && argc - optind != 2) {
        die("usage: trigger [OPTION...] [ADDR PORT]");
    }
    fd = uring ? uring_socket(family, type, protocol)
               : socket(family, type, protocol);
    if (fd < 0) {
        die("socket: %s", errno_name(errno));
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0) {
        die("SO_PROTOCOL: %s", errno_name(errno));
    }
    if (device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device,
                             strlen(device)) < 0) {
        die("SO_BINDTODEVICE %s: %s", device, errno_name(errno));
    }
    if (mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0) {
        die("SO_MARK %u: %s", mark, errno_name(errno));
    }
    printf("protocol %d\n", protocol);
    if (optind < argc) {
        echo(fd, argv[optind], argv[optind + 1]);
    }
    return 0;
}
