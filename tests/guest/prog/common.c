/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See common.h. */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
    va_list ap;

    fflush(stdout);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

const char *errno_name(int err)
{
    static char other[16];
    const char *name = strerrorname_np(err);

    if (name) {
        return name;
    }
    snprintf(other, sizeof(other), "E%d", err);
    return other;
}

uint64_t parse_number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value > max) {
        die("\"%s\" is not a number from 0 to %llu", text,
            (unsigned long long)max);
    }
    return value;
}

socklen_t parse_address(const char *addr, const char *port,
                        struct sockaddr_storage *out)
{
    struct sockaddr_in *in = (struct sockaddr_in *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
    uint16_t number = htons(parse_number(port, 65535));

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, addr, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = number;
        return sizeof(*in);
    }
    if (inet_pton(AF_INET6, addr, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = number;
        return sizeof(*in6);
    }
    die("\"%s\" is no IPv4 or IPv6 address", addr);
}

double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

int listen_on(const char *port, int backlog)
{
    struct sockaddr_storage addr;
    socklen_t len = parse_address("::", port, &addr);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0) {
        die("socket: %s", errno_name(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&addr, len) < 0 ||
        listen(fd, backlog) < 0) {
        die("listening on port %s: %s", port, errno_name(errno));
    }
    return fd;
}

int connect_to(const char *addr, const char *port)
{
    struct sockaddr_storage sa;
    socklen_t len = parse_address(addr, port, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        die("socket: %s", errno_name(errno));
    }
    if (connect(fd, (struct sockaddr *)&sa, len) < 0) {
        die("connect to %s port %s: %s", addr, port, errno_name(errno));
    }
    return fd;
}

void pattern_fill(uint8_t *buf, size_t len, uint64_t seed, uint64_t offset)
{
    size_t i = 0;

    for (; i < len && ((offset + i) & 7); i++) {
        buf[i] = pattern_byte(seed, offset + i);
    }
    for (; i + 8 <= len; i += 8) {
        uint64_t word = ((offset + i) >> 3) + seed * 0x9e3779b97f4a7c15u;

        word *= 0xd6e8feb86659fd93u;
        word ^= word >> 32;
        memcpy(buf + i, &word, 8);
    }
    for (; i < len; i++) {
        buf[i] = pattern_byte(seed, offset + i);
    }
}

size_t pattern_check(const uint8_t *buf, size_t len, uint64_t seed,
                     uint64_t offset)
{
    uint8_t want[4096];

    for (size_t done = 0; done < len; done += sizeof(want)) {
        size_t n = len - done < sizeof(want) ? len - done : sizeof(want);

        pattern_fill(want, n, seed, offset + done);
        if (memcmp(want, buf + done, n)) {
            for (size_t i = 0; ; i++) {
                if (want[i] != buf[done + i]) {
                    return done + i;
                }
            }
        }
    }
    return len;
}
