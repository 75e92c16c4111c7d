/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What passes the ports, as packets: see vnet-capture.h.
 *
 * A sequence number is the initial one of its direction, plus one, plus the offset
 * in the stream; so a capture may begin at any time.  The initial one is made of
 * what both directions of a stream have in common.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-inet.h"
#include "vnet-stream.h"

#define TCP_SYN     0x02
#define TCP_RST     0x04
#define TTL         64
/* The window is not known here, and shown as large as can be. */
#define WINDOW      0xffff
/* Ethernet, IPv6, TCP. */
#define HEADERS     (VNET_ETH_HDR + 40 + VNET_TCP_HDR)
/* Bytes of a stream in one packet, and pieces that they lie in. */
#define PAYLOAD_MAX (65535 - 20 - VNET_TCP_HDR)
#define PIECES      64

void vnet_net_set_capture(VnetNet *net, VnetCaptureFn *fn, void *opaque)
{
    net->capture = fn;
    net->capture_opaque = opaque;
}

void vnet_capture_frame(VnetPort *port, VnetDirection d,
                        const struct iovec *iov, unsigned niov, size_t len)
{
    const VnetNet *net = port->net;

    if (net->capture) {
        net->capture(net->capture_opaque, d, iov, niov, len);
    }
}

/* --- Packets of streams --------------------------------------------------- */

/* The two of a stream differ, and from those of others. */
static uint32_t initial(const VnetStream *s, VnetDirection d)
{
    uint64_t h = s->core->epoch ^ (uint64_t)s->id << 1 ^ d;

    h *= 0x9e3779b97f4a7c15ull;
    return h >> 32;
}

/* Its next number in a direction, with the end that was shown. */
static uint32_t next_seq(const VnetStream *s, VnetDirection d)
{
    return initial(s, d) + 1 + (d == VNET_TX ? s->tx_sent : s->rx_got) +
           s->captured_end[d];
}

/* What a side has of the other's. */
static uint32_t next_ack(const VnetStream *s, VnetDirection d)
{
    if (d == VNET_TX) {
        return next_seq(s, VNET_RX);
    }
    return initial(s, VNET_TX) + 1 + s->tx_acked +
           (s->captured_end[VNET_TX] && s->tx_acked == s->tx_sent);
}

static size_t put_ip(uint8_t *ip, const VnetFlow *f, VnetDirection d,
                     size_t len, VnetInet *i)
{
    const uint8_t *src = d == VNET_TX ? f->laddr : f->raddr;
    const uint8_t *dst = d == VNET_TX ? f->raddr : f->laddr;

    i->proto = VNET_PROTO_TCP;
    i->ip = 0;
    i->v6 = f->family == 6;
    if (i->v6) {
        memset(ip, 0, 8);
        ip[0] = 0x60;
        put16(ip + 4, len);
        ip[6] = VNET_PROTO_TCP;
        ip[7] = TTL;
        memcpy(ip + 8, src, 16);
        memcpy(ip + 24, dst, 16);
        return 40;
    }
    memset(ip, 0, 12);
    ip[0] = 0x45;
    put16(ip + 2, 20 + len);
    ip[6] = 0x40;               /* may not be cut */
    ip[8] = TTL;
    ip[9] = VNET_PROTO_TCP;
    memcpy(ip + 12, src, 4);
    memcpy(ip + 16, dst, 4);
    put16(ip + 10, checksum(sum_bytes(0, ip, 20)));
    return 20;
}

/* Sum of pieces, of which any may have an odd length. */
static uint64_t sum_pieces(uint64_t sum, const struct iovec *iov, unsigned niov)
{
    bool odd = false;

    for (unsigned i = 0; i < niov; i++) {
        uint16_t part = fold(sum_bytes(0, iov[i].iov_base, iov[i].iov_len));

        sum += odd ? (uint16_t)(part << 8 | part >> 8) : part;
        odd ^= iov[i].iov_len & 1;
    }
    return sum;
}

/* iov[0] is for the headers; the other pieces are n bytes of the stream. */
static void show(VnetStream *s, VnetDirection d, uint8_t flags, uint32_t seq,
                 uint32_t ack, struct iovec *iov, unsigned niov, size_t n)
{
    const VnetFlow *f = &s->flow;
    uint8_t h[HEADERS] = { 0 }, *ip = h + VNET_ETH_HDR, *tcp;
    size_t tcp_len = VNET_TCP_HDR + n, ip_hdr;
    VnetInet i;
    uint64_t sum;

    memcpy(h, d == VNET_TX ? f->rmac : f->lmac, 6);
    memcpy(h + 6, d == VNET_TX ? f->lmac : f->rmac, 6);
    put16(h + 12, f->family == 6 ? VNET_ETHERTYPE_IPV6 : VNET_ETHERTYPE_IPV4);
    ip_hdr = put_ip(ip, f, d, tcp_len, &i);
    tcp = ip + ip_hdr;
    put16(tcp, d == VNET_TX ? f->lport : f->rport);
    put16(tcp + 2, d == VNET_TX ? f->rport : f->lport);
    put32(tcp + VNET_TCP_SEQ, seq);
    put32(tcp + 8, flags & VNET_TCP_ACK ? ack : 0);
    tcp[VNET_TCP_OFFSET] = VNET_TCP_HDR / 4 << 4;
    tcp[VNET_TCP_FLAGS] = flags;
    put16(tcp + 14, WINDOW);
    sum = vnet_inet_pseudo(ip, &i, tcp_len);
    sum = sum_bytes(sum, tcp, VNET_TCP_HDR);
    put16(tcp + VNET_TCP_CSUM, checksum(sum_pieces(sum, iov + 1, niov - 1)));
    iov[0] = (struct iovec) { h, VNET_ETH_HDR + ip_hdr + VNET_TCP_HDR };
    s->port->net->capture(s->port->net->capture_opaque, d, iov, niov,
                          iov[0].iov_len + n);
}

static void show_plain(VnetStream *s, VnetDirection d, uint8_t flags)
{
    struct iovec iov[1];

    show(s, d, flags | VNET_TCP_ACK, next_seq(s, d), next_ack(s, d), iov, 1, 0);
}

static bool wanted(const VnetStream *s)
{
    return s->port->net->capture && s->id;
}

void vnet_capture_established(VnetStream *s)
{
    VnetDirection d = s->active ? VNET_TX : VNET_RX;
    struct iovec iov[1];

    if (wanted(s)) {
        show(s, d, TCP_SYN, initial(s, d), 0, iov, 1, 0);
        show(s, !d, TCP_SYN | VNET_TCP_ACK, initial(s, !d), initial(s, d) + 1,
             iov, 1, 0);
        show_plain(s, d, 0);
    }
}

void vnet_capture_sent(VnetStream *s, size_t n)
{
    size_t done = 0;

    while (wanted(s) && done < n) {
        struct iovec iov[1 + PIECES];
        unsigned niov = PIECES;
        size_t got;

        vnet_upcall_begin(s->port);
        got = s->ops->tx_peek(s->user, s->tx_sent + done, iov + 1, &niov,
                              MIN(n - done, PAYLOAD_MAX));
        vnet_upcall_end(s->port);
        if (!got || s->state == VNET_STREAM_DEAD) {
            break;
        }
        show(s, VNET_TX, VNET_TCP_ACK | VNET_TCP_PSH,
             next_seq(s, VNET_TX) + done, next_ack(s, VNET_TX), iov, 1 + niov,
             got);
        done += got;
    }
}

void vnet_capture_received(VnetStream *s, const void *p, size_t n)
{
    for (size_t done = 0; wanted(s) && done < n; done += PAYLOAD_MAX) {
        size_t part = MIN(n - done, PAYLOAD_MAX);
        struct iovec iov[2] = { [1] = { (uint8_t *)p + done, part } };

        show(s, VNET_RX, VNET_TCP_ACK | VNET_TCP_PSH,
             next_seq(s, VNET_RX) + done, next_ack(s, VNET_RX), iov, 2, part);
    }
}

void vnet_capture_acked(VnetStream *s)
{
    if (wanted(s)) {
        show_plain(s, VNET_RX, 0);
    }
}

void vnet_capture_end(VnetStream *s, VnetDirection d)
{
    if (wanted(s) && !s->captured_end[d]) {
        show_plain(s, d, VNET_TCP_FIN);
        s->captured_end[d] = true;
        if (d == VNET_RX) {
            show_plain(s, VNET_TX, 0);
        }
    }
}

void vnet_capture_reset(VnetStream *s, VnetDirection d)
{
    if (wanted(s)) {
        show_plain(s, d, TCP_RST);
    }
}
