/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers in network byte order, and the checksum of the internet (RFC 1071).
 * Memory need not be aligned.
 */
#ifndef VNET_BYTES_H
#define VNET_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline uint16_t get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static inline void put16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

static inline void put64(uint8_t *p, uint64_t v)
{
    put32(p, v >> 32);
    put32(p + 4, v);
}

/*
 * Adds 16-bit words to a sum; an odd last byte is padded with 0.  Up to 2^32
 * bytes may be added before it is folded.
 */
static inline uint64_t sum_bytes(uint64_t sum, const uint8_t *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t v = get64(p);

        sum += (v >> 32) + (uint32_t)v;
    }
    for (; len >= 2; p += 2, len -= 2) {
        sum += get16(p);
    }
    if (len) {
        sum += p[0] << 8;
    }
    return sum;
}

/* The sum in 16 bits. */
static inline uint16_t fold(uint64_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* What a header's field has to be so that all adds up to it. */
static inline uint16_t checksum(uint64_t sum)
{
    return ~fold(sum);
}

#endif /* VNET_BYTES_H */
