/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that are longer than a link carries: see vnet-fit.h.
 */
#include <glib.h>
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-fit.h"
#include "vnet-inet.h"

/* IPv4's flags and offset, in units of 8 bytes. */
#define IP_DF           0x4000
#define IP_MF           0x2000
#define IP_OFFSET       0x1fff

#define IPV4_HDR        20
#define IPV6_HDR        40
#define ICMP_HDR        8
#define TTL             64
/* Of the answers, with their IP headers. */
#define ICMP_MAX        576
#define ICMPV6_MAX      1280
#define ICMP_UNREACHABLE    3
#define ICMP_FRAG_NEEDED    4
#define ICMPV6_TOO_BIG      2
/* What is less is an error message. */
#define ICMPV6_FIRST_INFO   128

/* ICMP's types that are answers to what somebody else sent. */
static bool icmp_is_error(uint8_t type)
{
    return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

/* Whether the sender has to be told, and can be. */
static bool answerable(const uint8_t *buf, const VnetInet *i)
{
    const uint8_t *ip = buf + i->ip;

    if (buf[0] & 1 || buf[6] & 1) {
        return false;
    }
    if (i->v6) {
        /* Nobody's address, or a group's. */
        return ip[8] != 0xff && (get64(ip + 8) || get64(ip + 16)) &&
               ip[24] != 0xff &&
               !(i->proto == VNET_PROTO_ICMPV6 && i->end > i->l4 &&
                 buf[i->l4] < ICMPV6_FIRST_INFO);
    }
    if (!(get16(ip + 6) & IP_DF) || get16(ip + 6) & IP_OFFSET) {
        return false;
    }
    /* This network, groups and broadcasts. */
    return ip[12] && ip[12] < 224 && ip[16] && ip[16] < 224 &&
           !(i->proto == VNET_PROTO_ICMP && i->end > i->l4 &&
             icmp_is_error(buf[i->l4]));
}

static size_t answer_v4(const uint8_t *buf, const VnetInet *i, size_t mtu,
                        uint8_t *out)
{
    const uint8_t *ip = buf + i->ip;
    size_t quoted = MIN(i->end - i->ip, ICMP_MAX - IPV4_HDR - ICMP_HDR);
    uint8_t *icmp = out + IPV4_HDR;

    memset(out, 0, IPV4_HDR + ICMP_HDR);
    out[0] = 0x45;
    out[1] = 0xc0;              /* internetwork control */
    put16(out + 2, IPV4_HDR + ICMP_HDR + quoted);
    put16(out + 6, IP_DF);
    out[8] = TTL;
    out[9] = VNET_PROTO_ICMP;
    memcpy(out + 12, ip + 16, 4);
    memcpy(out + 16, ip + 12, 4);
    put16(out + 10, checksum(sum_bytes(0, out, IPV4_HDR)));
    icmp[0] = ICMP_UNREACHABLE;
    icmp[1] = ICMP_FRAG_NEEDED;
    put16(icmp + 6, mtu);
    memcpy(icmp + ICMP_HDR, ip, quoted);
    put16(icmp + 2, checksum(sum_bytes(0, icmp, ICMP_HDR + quoted)));
    return IPV4_HDR + ICMP_HDR + quoted;
}

static size_t answer_v6(const uint8_t *buf, const VnetInet *i, size_t mtu,
                        uint8_t *out)
{
    const uint8_t *ip = buf + i->ip;
    size_t quoted = MIN(i->end - i->ip, ICMPV6_MAX - IPV6_HDR - ICMP_HDR);
    VnetInet own = { .v6 = true, .proto = VNET_PROTO_ICMPV6 };
    uint8_t *icmp = out + IPV6_HDR;

    memset(out, 0, IPV6_HDR + ICMP_HDR);
    out[0] = 0x60;
    put16(out + 4, ICMP_HDR + quoted);
    out[6] = VNET_PROTO_ICMPV6;
    out[7] = TTL;
    memcpy(out + 8, ip + 24, 16);
    memcpy(out + 24, ip + 8, 16);
    icmp[0] = ICMPV6_TOO_BIG;
    put32(icmp + 4, mtu);
    memcpy(icmp + ICMP_HDR, ip, quoted);
    put16(icmp + 2, checksum(
        sum_bytes(vnet_inet_pseudo(out, &own, ICMP_HDR + quoted), icmp,
                  ICMP_HDR + quoted)));
    return IPV6_HDR + ICMP_HDR + quoted;
}

size_t vnet_fit_answer(const uint8_t *buf, size_t len, size_t max,
                       uint8_t out[VNET_FIT_ANSWER_MAX])
{
    VnetInet i;
    size_t n;

    if (!vnet_inet_find(buf, len, &i) || i.ip >= max || !answerable(buf, &i)) {
        return 0;
    }
    memcpy(out, buf + 6, 6);
    memcpy(out + 6, buf, 6);
    memcpy(out + 12, buf + 12, i.ip - 12);
    n = i.v6 ? answer_v6(buf, &i, max - i.ip, out + i.ip)
             : answer_v4(buf, &i, max - i.ip, out + i.ip);
    return i.ip + n;
}

unsigned vnet_fit_fragment(const uint8_t *buf, size_t len, size_t max,
                           void (*fn)(void *opaque, const struct iovec *iov,
                                      unsigned niov, size_t len),
                           void *opaque)
{
    uint8_t h[VNET_ETH_HDR + 8 + IPV4_HDR];
    unsigned count = 0, flags;
    size_t room, left;
    const uint8_t *p;
    VnetInet i;

    /* Options would not all belong into every fragment. */
    if (!vnet_inet_find(buf, len, &i) || i.v6 || i.l4 != i.ip + IPV4_HDR ||
        get16(buf + i.ip + 6) & IP_DF || max < i.l4 + 8u) {
        return 0;
    }
    flags = get16(buf + i.ip + 6);
    room = (max - i.l4) / 8 * 8;
    p = buf + i.l4;
    left = i.end - i.l4;
    if ((flags & IP_OFFSET) * 8 + left > UINT16_MAX) {
        return 0;
    }
    memcpy(h, buf, i.l4);
    do {
        size_t n = MIN(left, room);
        struct iovec iov[2] = {
            { .iov_base = h, .iov_len = i.l4 },
            { .iov_base = (uint8_t *)p, .iov_len = n },
        };
        uint8_t *ip = h + i.ip;

        put16(ip + 2, IPV4_HDR + n);
        put16(ip + 6, ((flags & IP_OFFSET) + (p - buf - i.l4) / 8) |
                      (n < left ? IP_MF : flags & IP_MF));
        put16(ip + 10, 0);
        put16(ip + 10, checksum(sum_bytes(0, ip, IPV4_HDR)));
        fn(opaque, iov, 2, i.l4 + n);
        count++;
        p += n;
        left -= n;
    } while (left);
    return count;
}
