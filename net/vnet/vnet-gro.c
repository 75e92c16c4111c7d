/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Few large frames of many small ones: see vnet-gro.h.
 *
 * What is held is a list of TCP segments, each the continuation of the one
 * before and with the same headers, but for what counts on.  All have as many
 * bytes as the first; with a shorter one, or one that pushes, it is complete.
 */
#include <glib.h>
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-gro.h"
#include "vnet-inet.h"

/* Flows that may be mixed with each other, and segments of each. */
#define FLOWS       8
#define SEGMENTS    64
#define IPV4_HDR    20
#define IP_DF       0x40
#define TCP_ACK_AT  8
#define TCP_WINDOW  14
#define TCP_URGENT  18

typedef struct Held {
    uint8_t *buf;               /* the first segment */
    VnetInet i;
    unsigned payload;           /* offset of it */
    size_t size;                /* of the first one's payload */
    size_t len;                 /* of the frame that it is so far */
    uint32_t seq;               /* of what is to come */
    uint16_t id;                /* dito, IPv4 */
    unsigned n;
    struct iovec iov[SEGMENTS];
} Held;

struct VnetGro {
    void (*fn)(void *opaque, const VnetFrameHdr *hdr, const struct iovec *iov,
               unsigned niov, size_t len);
    void *opaque;
    uint64_t joined;
    unsigned nheld;
    Held *held[FLOWS];          /* the first nheld, oldest first; then spare */
};

VnetGro *vnet_gro_new(void (*fn)(void *opaque, const VnetFrameHdr *hdr,
                                 const struct iovec *iov, unsigned niov,
                                 size_t len),
                      void *opaque)
{
    VnetGro *g = g_new0(VnetGro, 1);

    g->fn = fn;
    g->opaque = opaque;
    for (int i = 0; i < FLOWS; i++) {
        g->held[i] = g_new(Held, 1);
    }
    return g;
}

void vnet_gro_free(VnetGro *g)
{
    g_assert(!g->nheld);
    for (int i = 0; i < FLOWS; i++) {
        g_free(g->held[i]);
    }
    g_free(g);
}

uint64_t vnet_gro_joined(const VnetGro *g)
{
    return g->joined;
}

/* --- Giving out ---------------------------------------------------------- */

static void give(VnetGro *g, const VnetFrameHdr *hdr, uint8_t *buf, size_t len)
{
    const struct iovec iov = { .iov_base = buf, .iov_len = len };

    g->fn(g->opaque, hdr, &iov, 1, len);
}

/* The checksum that a sender leaves to its NIC: of the pseudo header alone. */
static void unfinished(VnetFrameHdr *hdr, const VnetInet *i, unsigned offset)
{
    hdr->flags = VTOE_NET_HDR_F_NEEDS_CSUM;
    hdr->csum_start = i->l4;
    hdr->csum_offset = offset;
}

static void to_be_cut(VnetFrameHdr *hdr, const VnetInet *i, unsigned payload,
                      size_t size)
{
    hdr->gso_type = i->v6 ? VTOE_NET_HDR_GSO_TCPV6 : VTOE_NET_HDR_GSO_TCPV4;
    hdr->hdr_len = payload;
    hdr->gso_size = size;
}

static void give_held(VnetGro *g, unsigned at)
{
    Held *h = g->held[at];
    VnetFrameHdr hdr = { .flags = VTOE_NET_HDR_F_DATA_VALID };
    uint8_t *ip = h->buf + h->i.ip, *tcp = h->buf + h->i.l4;

    g->nheld--;
    memmove(g->held + at, g->held + at + 1,
            (g->nheld - at) * sizeof(*g->held));
    g->held[g->nheld] = h;
    if (h->n > 1) {
        unfinished(&hdr, &h->i, VNET_TCP_CSUM);
        to_be_cut(&hdr, &h->i, h->payload, h->size);
        if (h->i.v6) {
            put16(ip + 4, h->len - h->i.l4);
        } else {
            put16(ip + 2, h->len - h->i.ip);
            put16(ip + 10, 0);
            put16(ip + 10, checksum(sum_bytes(0, ip, IPV4_HDR)));
        }
        put16(tcp + VNET_TCP_CSUM,
              fold(vnet_inet_pseudo(h->buf, &h->i, h->len - h->i.l4)));
    }
    g->fn(g->opaque, &hdr, h->iov, h->n, h->len);
}

void vnet_gro_flush(VnetGro *g)
{
    while (g->nheld) {
        give_held(g, 0);
    }
}

/* --- Taking -------------------------------------------------------------- */

/* Same addresses and ports, and whatever is before the IP header. */
static bool same_flow(const Held *h, const uint8_t *buf, const VnetInet *i)
{
    unsigned at = i->v6 ? 8 : 12, n = i->v6 ? 32 : 8;

    return h->i.v6 == i->v6 && h->i.ip == i->ip && h->i.l4 == i->l4 &&
           !memcmp(h->buf, buf, i->ip) &&
           !memcmp(h->buf + i->ip + at, buf + i->ip + at, n) &&
           !memcmp(h->buf + i->l4, buf + i->l4, 4);
}

/* Type of service, flow label, hops, and that it may be cut or not. */
static bool same_ip(const uint8_t *a, const uint8_t *b, bool v6)
{
    return v6 ? !memcmp(a, b, 4) && a[7] == b[7]
              : a[1] == b[1] && a[6] == b[6] && a[8] == b[8];
}

static bool continues(const Held *h, const uint8_t *buf, const VnetInet *i,
                      unsigned payload)
{
    const uint8_t *ip = buf + i->ip, *tcp = buf + i->l4;
    const uint8_t *first = h->buf + i->l4;
    size_t n = i->end - payload;

    return payload == h->payload && n <= h->size && h->n < SEGMENTS &&
           h->len + n <= MIN(i->ip + UINT16_MAX, VTOE_FRAME_MAX_LEN) &&
           get32(tcp + VNET_TCP_SEQ) == h->seq &&
           same_ip(h->buf + i->ip, ip, i->v6) &&
           (i->v6 || ip[6] & IP_DF || get16(ip + 4) == h->id) &&
           !memcmp(first + TCP_ACK_AT, tcp + TCP_ACK_AT,
                   VNET_TCP_FLAGS - TCP_ACK_AT) &&
           !memcmp(first + TCP_WINDOW, tcp + TCP_WINDOW, 2) &&
           !memcmp(first + TCP_URGENT, tcp + TCP_URGENT,
                   payload - i->l4 - TCP_URGENT);
}

static void join(Held *h, uint8_t *buf, const VnetInet *i, unsigned payload)
{
    size_t n = i->end - payload;

    h->buf[h->i.l4 + VNET_TCP_FLAGS] |= buf[i->l4 + VNET_TCP_FLAGS];
    h->iov[h->n++] = (struct iovec) { buf + payload, n };
    h->len += n;
    h->seq += n;
    h->id++;
}

static void hold(VnetGro *g, uint8_t *buf, size_t len, const VnetInet *i,
                 unsigned payload)
{
    Held *h;

    if (g->nheld == FLOWS) {
        give_held(g, 0);
    }
    h = g->held[g->nheld++];
    h->buf = buf;
    h->i = *i;
    h->payload = payload;
    h->size = len - payload;
    h->len = len;
    h->seq = get32(buf + i->l4 + VNET_TCP_SEQ) + h->size;
    h->id = get16(buf + i->ip + 4) + 1;
    h->n = 1;
    h->iov[0] = (struct iovec) { buf, len };
}

/*
 * Of a header without options.  Who joins segments writes it anew: a wrong one
 * would be right then.
 */
static bool ip_is_right(const uint8_t *buf, const VnetInet *i)
{
    return i->v6 || (i->l4 == i->ip + IPV4_HDR &&
                     fold(sum_bytes(0, buf + i->ip, IPV4_HDR)) == 0xffff);
}

/* A whole segment, whose checksum was right. */
static void add_segment(VnetGro *g, uint8_t *buf, size_t len,
                        const VnetInet *i, unsigned payload, unsigned at)
{
    const VnetFrameHdr valid = { .flags = VTOE_NET_HDR_F_DATA_VALID };
    uint8_t flags = buf[i->l4 + VNET_TCP_FLAGS];
    bool plain = (flags & ~VNET_TCP_PSH) == VNET_TCP_ACK &&
                 i->end == len && i->end > payload && ip_is_right(buf, i);

    if (at < g->nheld) {
        Held *h = g->held[at];

        if (plain && continues(h, buf, i, payload)) {
            bool last = flags & VNET_TCP_PSH || i->end - payload < h->size;

            join(h, buf, i, payload);
            g->joined++;
            if (last) {
                give_held(g, at);
            }
            return;
        }
        give_held(g, at);
    }
    if (plain && !(flags & VNET_TCP_PSH) &&
        i->end - payload >= VTOE_NET_HDR_GSO_SIZE_MIN) {
        hold(g, buf, len, i, payload);
    } else {
        give(g, &valid, buf, len);
    }
}

static void add_tcp(VnetGro *g, uint8_t *buf, size_t len, size_t max,
                    const VnetInet *i)
{
    const uint8_t *tcp = buf + i->l4;
    size_t n = i->end - i->l4;
    uint64_t pseudo = vnet_inet_pseudo(buf, i, n);
    unsigned payload = i->l4 + (tcp[VNET_TCP_OFFSET] >> 4) * 4, at;
    VnetFrameHdr hdr = { 0 };

    for (at = 0; at < g->nheld && !same_flow(g->held[at], buf, i); at++) {
        /* look on */
    }
    if (payload >= i->l4 + VNET_TCP_HDR && payload <= i->end &&
        get16(tcp + VNET_TCP_CSUM) != fold(pseudo) &&
        fold(sum_bytes(pseudo, tcp, n)) == 0xffff) {
        add_segment(g, buf, len, i, payload, at);
        return;
    }
    if (at < g->nheld) {
        give_held(g, at);
    }
    if (get16(tcp + VNET_TCP_CSUM) == fold(pseudo)) {
        unfinished(&hdr, i, VNET_TCP_CSUM);
        if (len > max && payload >= i->l4 + VNET_TCP_HDR &&
            payload + VTOE_NET_HDR_GSO_SIZE_MIN <= max) {
            to_be_cut(&hdr, i, payload, max - payload);
        }
    }
    give(g, &hdr, buf, len);
}

void vnet_gro_add(VnetGro *g, uint8_t *buf, size_t len, size_t max)
{
    VnetFrameHdr hdr = { 0 };
    VnetInet i;

    if (vnet_inet_find(buf, len, &i) && !i.part) {
        size_t n = i.end - i.l4;

        if (i.proto == VNET_PROTO_TCP && n >= VNET_TCP_HDR) {
            add_tcp(g, buf, len, max, &i);
            return;
        }
        if (i.proto == VNET_PROTO_UDP && n >= VNET_UDP_CSUM + 2 &&
            get16(buf + i.l4 + VNET_UDP_CSUM) ==
            fold(vnet_inet_pseudo(buf, &i, n))) {
            unfinished(&hdr, &i, VNET_UDP_CSUM);
        }
    }
    give(g, &hdr, buf, len);
}
