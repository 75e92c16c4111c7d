/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums and segmentation in software: see vnet-offload.h.
 *
 * The frame comes from a peer or a guest.  Nothing in it is believed before it
 * was checked against the frame's length.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-inet.h"
#include "vnet-offload.h"

bool vnet_offload_csum(const VnetFrameHdr *hdr, uint8_t *buf, size_t len)
{
    size_t at = (size_t)hdr->csum_start + hdr->csum_offset;
    uint16_t csum;

    if (hdr->csum_start > len || at + 2 > len) {
        return false;
    }
    /* The field holds the sum of the pseudo header: it is part of the sum. */
    csum = checksum(sum_bytes(0, buf + hdr->csum_start, len - hdr->csum_start));
    /* 0 means "none" for UDP, and is the same number for TCP. */
    put16(buf + at, csum ? csum : 0xffff);
    return true;
}

/* Where the headers of a TCP frame are. */
typedef struct TcpFrame {
    unsigned ip, tcp, payload;  /* offsets */
    bool v6;
} TcpFrame;

static bool tcp_find(const VnetFrameHdr *hdr, const uint8_t *buf, size_t len,
                     TcpFrame *f)
{
    uint8_t type = hdr->gso_type & ~VTOE_NET_HDR_GSO_ECN;
    uint16_t proto;

    f->ip = vnet_inet_ethernet(buf, len, &proto);
    if (!f->ip) {
        return false;
    }
    if (type == VTOE_NET_HDR_GSO_TCPV4 && proto == VNET_ETHERTYPE_IPV4) {
        unsigned ihl;

        if (len < f->ip + 20u || buf[f->ip] >> 4 != 4) {
            return false;
        }
        ihl = (buf[f->ip] & 15) * 4;
        f->tcp = f->ip + ihl;
        f->v6 = false;
        if (ihl < 20 || buf[f->ip + 9] != VNET_PROTO_TCP) {
            return false;
        }
    } else if (type == VTOE_NET_HDR_GSO_TCPV6 && proto == VNET_ETHERTYPE_IPV6) {
        /*
         * Extension headers are not walked: where TCP begins is what the
         * sender says, and lies behind the fixed header.
         */
        f->tcp = hdr->csum_start;
        f->v6 = true;
        if (f->tcp < f->ip + 40u || f->tcp > f->ip + 60u ||
            len < f->ip + 40u || buf[f->ip] >> 4 != 6) {
            return false;
        }
    } else {
        return false;
    }
    if (hdr->csum_start != f->tcp || hdr->csum_offset != VNET_TCP_CSUM ||
        len < f->tcp + VNET_TCP_HDR) {
        return false;
    }
    f->payload = f->tcp + (buf[f->tcp + VNET_TCP_OFFSET] >> 4) * 4;
    return f->payload >= f->tcp + VNET_TCP_HDR && f->payload <= len &&
           f->payload <= VNET_OFFLOAD_HDR_MAX;
}

/* Lengths, id, sequence number, flags and checksums of one segment. */
static void tcp_segment_headers(uint8_t *h, const TcpFrame *f, unsigned index,
                                size_t offset, const uint8_t *payload,
                                size_t n, bool last)
{
    uint8_t *ip = h + f->ip, *tcp = h + f->tcp;
    size_t tcp_len = f->payload - f->tcp + n;
    uint64_t sum;

    put32(tcp + VNET_TCP_SEQ, get32(tcp + VNET_TCP_SEQ) + offset);
    if (!last) {
        tcp[VNET_TCP_FLAGS] &= ~(VNET_TCP_FIN | VNET_TCP_PSH);
    }
    if (index > 0) {
        tcp[VNET_TCP_FLAGS] &= ~VNET_TCP_CWR;
    }
    if (f->v6) {
        put16(ip + 4, f->payload - f->ip - 40 + n);
        sum = sum_bytes(0, ip + 8, 32);
    } else {
        put16(ip + 2, f->payload - f->ip + n);
        put16(ip + 4, get16(ip + 4) + index);
        put16(ip + 10, 0);
        put16(ip + 10, checksum(sum_bytes(0, ip, f->tcp - f->ip)));
        sum = sum_bytes(0, ip + 12, 8);
    }
    sum += VNET_PROTO_TCP + tcp_len;
    put16(tcp + VNET_TCP_CSUM, 0);
    sum = sum_bytes(sum, tcp, f->payload - f->tcp);
    put16(tcp + VNET_TCP_CSUM, checksum(sum_bytes(sum, payload, n)));
}

unsigned vnet_offload_headers(const VnetFrameHdr *hdr, const uint8_t *buf,
                              size_t len)
{
    TcpFrame f;

    return tcp_find(hdr, buf, len, &f) ? f.payload : 0;
}

unsigned vnet_offload_segment(const VnetFrameHdr *hdr, const uint8_t *buf,
                              size_t len,
                              void (*fn)(void *opaque, const struct iovec *iov,
                                         unsigned niov, size_t len),
                              void *opaque)
{
    unsigned index = 0;
    size_t offset = 0;
    TcpFrame f;

    if (!hdr->gso_size || !tcp_find(hdr, buf, len, &f)) {
        return 0;
    }
    do {
        uint8_t h[VNET_OFFLOAD_HDR_MAX];
        const uint8_t *payload = buf + f.payload + offset;
        size_t left = len - f.payload - offset;
        size_t n = left < hdr->gso_size ? left : hdr->gso_size;
        struct iovec iov[2] = {
            { .iov_base = h, .iov_len = f.payload },
            { .iov_base = (uint8_t *)payload, .iov_len = n },
        };

        memcpy(h, buf, f.payload);
        tcp_segment_headers(h, &f, index, offset, payload, n, n == left);
        fn(opaque, iov, 2, f.payload + n);
        index++;
        offset += n;
    } while (offset < len - f.payload);
    return index;
}
