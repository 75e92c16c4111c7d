/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames with IP packets in them: see vnet-packet.h.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-packet.h"

static unsigned csum_at(const VnetInet *i)
{
    return i->l4 + (i->proto == VNET_PROTO_TCP ? VNET_TCP_CSUM : VNET_UDP_CSUM);
}

static void put_ip(Packet *p, const PacketSpec *spec, size_t rest)
{
    uint8_t *ip = p->buf + p->i.ip;

    if (spec->v6) {
        ip[0] = 0x60;
        put16(ip + 4, rest);
        ip[6] = spec->proto;
        ip[7] = 64;
        memset(ip + 8, 0xfd, 16);
        memset(ip + 24, 0xfd, 16);
        ip[23] = spec->flow;
        ip[39] = 0x22;
        return;
    }
    ip[0] = 0x45;
    put16(ip + 2, 20 + rest);
    put16(ip + 4, spec->id);
    ip[6] = spec->may_cut ? 0 : 0x40;
    ip[8] = 64;
    ip[9] = spec->proto;
    put32(ip + 12, 0x0a000000 + spec->flow);
    put32(ip + 16, 0x0a000022);
    put16(ip + 10, checksum(sum_bytes(0, ip, 20)));
}

void packet_make(Packet *p, const PacketSpec *spec)
{
    unsigned hdr = spec->proto == VNET_PROTO_TCP ? VNET_TCP_HDR + spec->options
                                                 : 8;
    uint8_t *l4;

    memset(p->buf, 0, 256);
    p->buf[0] = p->buf[6] = 0x52;
    p->buf[5] = 1;
    p->buf[11] = 2;
    p->i.ip = VNET_ETH_HDR + 4 * spec->tags;
    for (unsigned t = 0; t < spec->tags; t++) {
        put16(p->buf + 12 + 4 * t, t + 1 < spec->tags ? 0x88a8 : 0x8100);
    }
    put16(p->buf + p->i.ip - 2, spec->v6 ? VNET_ETHERTYPE_IPV6 :
                                           VNET_ETHERTYPE_IPV4);
    put_ip(p, spec, hdr + spec->payload);
    p->i.l4 = p->i.ip + (spec->v6 ? 40 : 20);
    p->payload = p->i.l4 + hdr;
    p->len = p->payload + spec->payload;
    l4 = p->buf + p->i.l4;
    put16(l4, 1000 + spec->flow);
    put16(l4 + 2, 80);
    if (spec->proto == VNET_PROTO_TCP) {
        put32(l4 + VNET_TCP_SEQ, spec->seq);
        l4[VNET_TCP_OFFSET] = hdr / 4 << 4;
        l4[VNET_TCP_FLAGS] = spec->flags;
        memset(l4 + VNET_TCP_HDR, 1, spec->options);
    } else {
        put16(l4 + 4, hdr + spec->payload);
    }
    for (size_t n = 0; n < spec->payload; n++) {
        p->buf[p->payload + n] = (spec->seq + n) * 31;
    }
    g_assert(vnet_inet_find(p->buf, p->len, &p->i));
    put16(p->buf + csum_at(&p->i), checksum(
        sum_bytes(vnet_inet_pseudo(p->buf, &p->i, p->len - p->i.l4), l4,
                  p->len - p->i.l4)));
}

bool packet_csum_ok(const uint8_t *buf, size_t len)
{
    VnetInet i;

    g_assert(vnet_inet_find(buf, len, &i));
    return fold(sum_bytes(vnet_inet_pseudo(buf, &i, i.end - i.l4), buf + i.l4,
                          i.end - i.l4)) == 0xffff;
}

void packet_leave_csum(Packet *p)
{
    put16(p->buf + csum_at(&p->i),
          fold(vnet_inet_pseudo(p->buf, &p->i, p->len - p->i.l4)));
}
