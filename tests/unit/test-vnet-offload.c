/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums and segmentation in software (net/vnet/vnet-offload.c).  The frames
 * come from peers and guests: whatever is in them, no byte outside is touched.
 */
#include <glib.h>
#include <string.h>
#include "vnet-offload.h"

#define MAC_LEN 12

typedef struct Frame {
    uint8_t buf[2048];
    size_t len;
    VnetFrameHdr hdr;
    unsigned ip, tcp, payload;  /* offsets */
} Frame;

static void put16(uint8_t *p, unsigned v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static unsigned get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static unsigned get32(const uint8_t *p)
{
    return get16(p) << 16 | get16(p + 2);
}

/* tags: VLAN tags; options: bytes of TCP options. */
static void make(Frame *f, bool v6, unsigned tags, unsigned options,
                 size_t payload)
{
    unsigned ip = 14 + 4 * tags, tcp = ip + (v6 ? 40 : 20);
    unsigned data = tcp + 20 + options;
    size_t i;

    memset(f, 0, sizeof(*f));
    for (i = 0; i < tags; i++) {
        put16(f->buf + MAC_LEN + 4 * i, i + 1 < tags ? 0x88a8 : 0x8100);
        put16(f->buf + MAC_LEN + 4 * i + 2, 5 + i);
    }
    put16(f->buf + ip - 2, v6 ? 0x86dd : 0x0800);
    if (v6) {
        f->buf[ip] = 0x60;
        put16(f->buf + ip + 4, 20 + options + payload);
        f->buf[ip + 6] = 6;
        memset(f->buf + ip + 8, 0x11, 16);
        memset(f->buf + ip + 24, 0x22, 16);
    } else {
        f->buf[ip] = 0x45;
        put16(f->buf + ip + 2, 40 + options + payload);
        put16(f->buf + ip + 4, 0xffff);         /* id: wraps */
        f->buf[ip + 9] = 6;
        memset(f->buf + ip + 12, 0x11, 4);
        memset(f->buf + ip + 16, 0x22, 4);
    }
    memset(f->buf + tcp + 4, 0xff, 4);          /* sequence number: wraps */
    f->buf[tcp + 12] = (20 + options) / 4 << 4;
    f->buf[tcp + 13] = 0x80 | 0x10 | 0x08 | 0x01;   /* CWR, ACK, PSH, FIN */
    for (i = 0; i < payload; i++) {
        f->buf[data + i] = i * 31 + 1;
    }
    f->len = data + payload;
    f->ip = ip;
    f->tcp = tcp;
    f->payload = data;
    f->hdr = (VnetFrameHdr) {
        .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
        .gso_type = v6 ? VTOE_NET_HDR_GSO_TCPV6 : VTOE_NET_HDR_GSO_TCPV4,
        .gso_size = 100,
        .csum_start = tcp,
        .csum_offset = 16,
    };
}

/* Sum of 16-bit words, folded: 0xffff over what holds its own checksum. */
static unsigned sum(unsigned s, const uint8_t *p, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        s += i % 2 ? p[i] : p[i] << 8;
    }
    while (s >> 16) {
        s = (s & 0xffff) + (s >> 16);
    }
    return s;
}

static unsigned pseudo(const Frame *f, const uint8_t *p, size_t tcp_len)
{
    bool v6 = f->hdr.gso_type & VTOE_NET_HDR_GSO_TCPV6;

    return sum(6 + tcp_len, p + f->ip + (v6 ? 8 : 12), v6 ? 32 : 8);
}

typedef struct Segments {
    const Frame *f;
    unsigned n;
    size_t at;                  /* payload bytes seen */
} Segments;

static void check_segment(void *opaque, const struct iovec *iov, unsigned niov,
                          size_t len)
{
    Segments *s = opaque;
    const Frame *f = s->f;
    bool v6 = f->hdr.gso_type & VTOE_NET_HDR_GSO_TCPV6;
    size_t total = f->len - f->payload;
    size_t n = MIN(f->hdr.gso_size, total - s->at);
    bool last = s->at + n == total;
    uint8_t buf[2048];

    g_assert_cmpuint(niov, ==, 2);
    g_assert_cmpuint(iov[0].iov_len, ==, f->payload);
    g_assert_cmpuint(iov[1].iov_len, ==, n);
    g_assert_cmpuint(len, ==, f->payload + n);
    memcpy(buf, iov[0].iov_base, iov[0].iov_len);
    memcpy(buf + iov[0].iov_len, iov[1].iov_base, n);

    g_assert(!memcmp(buf, f->buf, f->ip));
    g_assert(!memcmp(buf + f->payload, f->buf + f->payload + s->at, n));
    if (v6) {
        g_assert_cmpuint(get16(buf + f->ip + 4), ==, len - f->ip - 40);
    } else {
        g_assert_cmpuint(get16(buf + f->ip + 2), ==, len - f->ip);
        g_assert_cmpuint(get16(buf + f->ip + 4), ==,
                         (0xffff + s->n) & 0xffff);
        g_assert_cmphex(sum(0, buf + f->ip, 20), ==, 0xffff);
    }
    g_assert_cmphex(get32(buf + f->tcp + 4), ==, 0xffffffff + (uint32_t)s->at);
    /* CWR on the first, PSH and FIN on the last. */
    g_assert_cmphex(buf[f->tcp + 13], ==,
                    0x10 | (s->n ? 0 : 0x80) | (last ? 0x09 : 0));
    g_assert_cmphex(sum(pseudo(f, buf, len - f->tcp), buf + f->tcp,
                        len - f->tcp), ==, 0xffff);
    s->n++;
    s->at += n;
}

static void segment(bool v6, unsigned tags, unsigned options, size_t payload,
                    unsigned gso_size, unsigned expect)
{
    Segments s = { 0 };
    Frame f;

    make(&f, v6, tags, options, payload);
    f.hdr.gso_size = gso_size;
    s.f = &f;
    g_assert_cmpuint(vnet_offload_segment(&f.hdr, f.buf, f.len, check_segment,
                                          &s), ==, expect);
    g_assert_cmpuint(s.n, ==, expect);
    g_assert_cmpuint(s.at, ==, payload);
}

static void test_segments(void)
{
    unsigned v6, tags;

    for (v6 = 0; v6 < 2; v6++) {
        for (tags = 0; tags < 3; tags++) {
            segment(v6, tags, 0, 1000, 100, 10);
            segment(v6, tags, 12, 1001, 100, 11);
            segment(v6, tags, 40, 999, 1000, 1);
            segment(v6, tags, 0, 1, 1, 1);
            segment(v6, tags, 0, 7, 3, 3);
            /* No payload at all is one segment. */
            segment(v6, tags, 0, 0, 100, 1);
        }
    }
}

static void never(void *opaque, const struct iovec *iov, unsigned niov,
                  size_t len)
{
    g_assert_not_reached();
}

typedef struct Wrong {
    const char *name;
    int offset;                 /* in the frame, or -1 */
    uint8_t value;
    VnetFrameHdr hdr;           /* fields that are not 0 replace */
    size_t len;                 /* not 0: the frame ends there */
} Wrong;

static const Wrong wrongs[] = {
    { "not-ip", 12, 0x09 },
    { "version", 14, 0x55 },
    { "ip-header-short", 14, 0x44 },
    { "ip-header-long", 14, 0x4f },
    { "udp", 23, 17 },
    { "tcp-header-short", 34 + 12, 0x40 },
    { "tcp-header-past-end", 34 + 12, 0xf0, .len = 34 + 59 },
    { "v6-type", -1, 0, { .gso_type = VTOE_NET_HDR_GSO_TCPV6 } },
    { "csum-start", -1, 0, { .csum_start = 33 } },
    { "csum-offset", -1, 0, { .csum_offset = 6 } },
    { "no-frame", -1, 0, { 0 }, 1 },
    { "ethernet-alone", -1, 0, { 0 }, 14 },
    { "ip-truncated", -1, 0, { 0 }, 33 },
    { "tcp-truncated", -1, 0, { 0 }, 53 },
};

static void test_not_what_it_says(const void *data)
{
    const Wrong *w = data;
    g_autofree uint8_t *exact = NULL;
    Frame f;

    make(&f, false, 0, 0, 500);
    if (w->offset >= 0) {
        f.buf[w->offset] = w->value;
    }
    if (w->hdr.gso_type) {
        f.hdr.gso_type = w->hdr.gso_type;
    }
    if (w->hdr.csum_start) {
        f.hdr.csum_start = w->hdr.csum_start;
    }
    if (w->hdr.csum_offset) {
        f.hdr.csum_offset = w->hdr.csum_offset;
    }
    if (w->len) {
        f.len = w->len;
    }
    /* Of its exact size, for the sanitizer to see a byte too many. */
    exact = g_memdup2(f.buf, f.len);
    g_assert_cmpuint(vnet_offload_segment(&f.hdr, exact, f.len, never, NULL),
                     ==, 0);
}

static void test_segment_size_0(void)
{
    Frame f;

    make(&f, false, 0, 0, 500);
    f.hdr.gso_size = 0;
    g_assert_cmpuint(vnet_offload_segment(&f.hdr, f.buf, f.len, never, NULL),
                     ==, 0);
}

static void test_checksum(void)
{
    size_t payload;
    unsigned v6;

    for (v6 = 0; v6 < 2; v6++) {
        for (payload = 0; payload < 70; payload++) {
            Frame f;

            make(&f, v6, 0, 0, payload);
            /* What the sender leaves: the sum of the pseudo header. */
            put16(f.buf + f.tcp + 16, pseudo(&f, f.buf, f.len - f.tcp));
            g_assert(vnet_offload_csum(&f.hdr, f.buf, f.len));
            g_assert_cmphex(sum(pseudo(&f, f.buf, f.len - f.tcp),
                                f.buf + f.tcp, f.len - f.tcp), ==, 0xffff);
        }
    }
}

static void test_checksum_outside(void)
{
    static const unsigned starts[] = { 0, 59, 60, 61, 0xffff };
    static const unsigned offsets[] = { 0, 58, 59, 60, 0xffff };
    unsigned i, j;

    for (i = 0; i < G_N_ELEMENTS(starts); i++) {
        for (j = 0; j < G_N_ELEMENTS(offsets); j++) {
            g_autofree uint8_t *buf = g_malloc0(60);
            const VnetFrameHdr hdr = {
                .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
                .csum_start = starts[i], .csum_offset = offsets[j],
            };

            g_assert_cmpint(vnet_offload_csum(&hdr, buf, 60), ==,
                            starts[i] + offsets[j] + 2 <= 60);
        }
    }
}

static void touch(void *opaque, const struct iovec *iov, unsigned niov,
                  size_t len)
{
    unsigned *s = opaque;

    *s = sum(sum(*s, iov[0].iov_base, iov[0].iov_len), iov[1].iov_base,
             iov[1].iov_len);
}

/* Anything, derived from something right so that it gets far. */
static void test_arbitrary(void)
{
    unsigned i, s = 0;

    for (i = 0; i < 100000; i++) {
        g_autofree uint8_t *exact = NULL;
        unsigned changes = g_test_rand_int_range(0, 4);
        Frame f;

        make(&f, g_test_rand_bit(), g_test_rand_int_range(0, 4),
             4 * g_test_rand_int_range(0, 11), g_test_rand_int_range(0, 300));
        while (changes--) {
            f.buf[g_test_rand_int_range(12, 80)] = g_test_rand_int();
        }
        if (g_test_rand_int_range(0, 8) == 0) {
            f.hdr.csum_start = g_test_rand_int();
            f.hdr.csum_offset = g_test_rand_int();
        }
        f.hdr.gso_size = g_test_rand_int_range(1, 200);
        f.len = MIN(f.len, (size_t)g_test_rand_int_range(0, 500));
        exact = g_memdup2(f.buf, f.len);
        vnet_offload_segment(&f.hdr, exact, f.len, touch, &s);
        vnet_offload_csum(&f.hdr, exact, f.len);
    }
}

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(wrongs); i++) {
        g_autofree char *name = g_strdup_printf("/vnet/offload/not/%s",
                                                wrongs[i].name);

        g_test_add_data_func(name, &wrongs[i], test_not_what_it_says);
    }
    g_test_add_func("/vnet/offload/segments", test_segments);
    g_test_add_func("/vnet/offload/segment-size-0", test_segment_size_0);
    g_test_add_func("/vnet/offload/checksum", test_checksum);
    g_test_add_func("/vnet/offload/checksum-outside", test_checksum_outside);
    g_test_add_func("/vnet/offload/arbitrary", test_arbitrary);
    return g_test_run();
}
