/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the test programs of the guests share.  They use ordinary sockets: the
 * same binary runs over TCP and, under vtoe-run, over offloaded streams.
 */
#ifndef VTOE_GUEST_PROG_COMMON_H
#define VTOE_GUEST_PROG_COMMON_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Print to stderr and exit with 1. */
void die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/* ECONNRESET and its kind by name; "E<number>" for those not known here. */
const char *errno_name(int err);

/* ADDR and PORT to a socket address, IPv4 or IPv6; its length. */
socklen_t parse_address(const char *addr, const char *port,
                        struct sockaddr_storage *out);

/* An unsigned decimal number of at most max, or die() naming it. */
uint64_t parse_number(const char *text, uint64_t max);

/* Seconds of a clock that only goes forward. */
double now(void);

/* A listening socket on every address, IPv4 and IPv6. */
int listen_on(const char *port, int backlog);

/* A socket connected to addr and port, or die(). */
int connect_to(const char *addr, const char *port);

/*
 * Byte number offset of the stream with this seed.  Neighbours and pages
 * differ, so that bytes lost, doubled or swapped are seen.
 */
static inline uint8_t pattern_byte(uint64_t seed, uint64_t offset)
{
    uint64_t word = (offset >> 3) + seed * 0x9e3779b97f4a7c15u;

    word *= 0xd6e8feb86659fd93u;
    word ^= word >> 32;
    return word >> (8 * (offset & 7));
}

/* Fill buf with the pattern from offset on. */
void pattern_fill(uint8_t *buf, size_t len, uint64_t seed, uint64_t offset);

/* Position of the first byte that differs from the pattern, or len. */
size_t pattern_check(const uint8_t *buf, size_t len, uint64_t seed,
                     uint64_t offset);

#endif
