/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums and segmentation in software, for a guest that did not accept
 * RX_CSUM or RX_TSO while its peer used CSUM or TSO (docs/specs/vtoe.rst
 * section 3.7).  Pure functions on bytes.
 *
 * The frame comes from a peer and is not trusted: every length in it is checked
 * against the frame before it is used.
 */
#include "vtoe-int.h"

#define ETH_LEN         14u
#define ETH_IP4         0x0800
#define ETH_IP6         0x86dd
#define ETH_VLAN        0x8100
#define ETH_QINQ        0x88a8
#define PROTO_TCP       6
#define TCP_FIN         0x01
#define TCP_PSH         0x08
#define TCP_CWR         0x80

static uint16_t get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

/* Ones' complement sum, not folded; up to 64 KiB do not overflow it. */
static uint32_t sum(const uint8_t *p, size_t len)
{
    uint32_t s = 0;

    for (; len > 1; p += 2, len -= 2) {
        s += get16(p);
    }
    return len ? s + (p[0] << 8) : s;
}

static uint16_t fold(uint64_t s)
{
    while (s >> 16) {
        s = (s & 0xffff) + (s >> 16);
    }
    return ~s;
}

void vtoe_offload_csum(uint8_t *frame, size_t len, unsigned start,
                       unsigned offset)
{
    uint16_t c = fold(sum(frame + start, len - start));

    put16(frame + start + offset, c ? c : 0xffff);  /* 0 means none in UDP */
}

typedef struct Headers {
    unsigned l3, l4, payload;   /* offsets */
    bool v6;
} Headers;

static bool parse(const uint8_t *f, size_t len, const VnetFrameHdr *hdr,
                  Headers *h)
{
    unsigned l3 = ETH_LEN;
    uint16_t type = get16(f + 12);

    while (type == ETH_VLAN || type == ETH_QINQ) {
        if (l3 + 4 > len) {
            return false;
        }
        type = get16(f + l3 + 2);
        l3 += 4;
    }
    h->l3 = l3;
    h->l4 = hdr->csum_start;
    h->v6 = (hdr->gso_type & ~VTOE_NET_HDR_GSO_ECN) == VTOE_NET_HDR_GSO_TCPV6;
    if (h->l4 + 20 > len || hdr->csum_offset != 16) {
        return false;
    }
    if (h->v6) {
        /* Extension headers may stand between; they are copied as they are. */
        if (type != ETH_IP6 || l3 + 40 > h->l4) {
            return false;
        }
    } else if (type != ETH_IP4 || l3 + 20 > h->l4 ||
               l3 + (f[l3] & 15) * 4u != h->l4 || f[l3 + 9] != PROTO_TCP) {
        return false;
    }
    h->payload = h->l4 + (f[h->l4 + 12] >> 4) * 4u;
    return h->payload >= h->l4 + 20 && h->payload < len &&
           h->payload - h->l3 + hdr->gso_size <= UINT16_MAX;
}

/* Makes the headers in f, copied from the large frame, right for one part. */
static void fix_headers(uint8_t *f, const Headers *h, size_t len, unsigned nr,
                        uint32_t at, bool last)
{
    uint8_t *ip = f + h->l3, *tcp = f + h->l4;
    size_t l4_len = len - h->l4;
    uint64_t pseudo = PROTO_TCP + l4_len;

    if (h->v6) {
        put16(ip + 4, len - h->l3 - 40);
        pseudo += sum(ip + 8, 32);
    } else {
        put16(ip + 2, len - h->l3);
        put16(ip + 4, get16(ip + 4) + nr);
        put16(ip + 10, 0);
        put16(ip + 10, fold(sum(ip, h->l4 - h->l3)));
        pseudo += sum(ip + 12, 8);
    }
    put32(tcp + 4, get32(tcp + 4) + at);
    if (!last) {
        tcp[13] &= ~(TCP_FIN | TCP_PSH);
    }
    if (nr) {
        tcp[13] &= ~TCP_CWR;
    }
    put16(tcp + 16, 0);
    put16(tcp + 16, fold(pseudo + sum(tcp, l4_len)));
}

bool vtoe_offload_segment(const uint8_t *frame, size_t len,
                          const VnetFrameHdr *hdr, VtoeSegmentFn *fn,
                          void *opaque)
{
    g_autofree uint8_t *part = NULL;
    Headers h;
    size_t at = 0, total;

    if (len < ETH_LEN || !hdr->gso_size || !parse(frame, len, hdr, &h)) {
        return false;
    }
    total = len - h.payload;
    part = g_malloc(h.payload + MIN(hdr->gso_size, total));
    for (unsigned nr = 0; at < total; nr++) {
        size_t n = MIN(hdr->gso_size, total - at);

        memcpy(part, frame, h.payload);
        memcpy(part + h.payload, frame + h.payload + at, n);
        fix_headers(part, &h, h.payload + n, nr, at, at + n == total);
        fn(opaque, part, h.payload + n);
        at += n;
    }
    return true;
}
