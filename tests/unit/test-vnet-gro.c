/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Joining TCP segments (net/vnet/vnet-gro.c).  What comes out is cut again
 * (vnet_offload_segment) and has to be what was put in.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-gro.h"
#include "vnet-offload.h"
#include "vnet-packet.h"

#define LONGEST     1514
#define ACK     VNET_TCP_ACK
#define PSH     (VNET_TCP_ACK | VNET_TCP_PSH)

typedef struct Out {
    VnetFrameHdr hdr;
    uint8_t buf[70000];
    size_t len;
    unsigned pieces;
} Out;

typedef struct Bench {
    VnetGro *g;
    GPtrArray *in;              /* of Packet, their memory */
    GPtrArray *out;             /* of Out */
} Bench;

static void took(void *opaque, const VnetFrameHdr *hdr,
                 const struct iovec *iov, unsigned niov, size_t len)
{
    Bench *b = opaque;
    Out *o = g_new0(Out, 1);

    o->hdr = *hdr;
    o->pieces = niov;
    for (unsigned i = 0; i < niov; i++) {
        memcpy(o->buf + o->len, iov[i].iov_base, iov[i].iov_len);
        o->len += iov[i].iov_len;
    }
    g_assert_cmpuint(o->len, ==, len);
    g_ptr_array_add(b->out, o);
}

static Bench *bench_new(void)
{
    Bench *b = g_new0(Bench, 1);

    b->g = vnet_gro_new(took, b);
    b->in = g_ptr_array_new_with_free_func(g_free);
    b->out = g_ptr_array_new_with_free_func(g_free);
    return b;
}

static void bench_free(Bench *b)
{
    vnet_gro_free(b->g);
    g_ptr_array_unref(b->in);
    g_ptr_array_unref(b->out);
    g_free(b);
}

static Packet *make(Bench *b, const PacketSpec *spec)
{
    Packet *p = g_new0(Packet, 1);

    packet_make(p, spec);
    g_ptr_array_add(b->in, p);
    return p;
}

static void add(Bench *b, const PacketSpec *spec)
{
    Packet *p = make(b, spec);

    vnet_gro_add(b->g, p->buf, p->len, LONGEST);
}

static Out *out(Bench *b, unsigned n)
{
    g_assert_cmpuint(n, <, b->out->len);
    return b->out->pdata[n];
}

typedef struct Cut {
    Bench *b;
    unsigned n;                 /* packets seen */
} Cut;

/* Segments are those that were put in, to the byte. */
static void same(void *opaque, const struct iovec *iov, unsigned niov,
                 size_t len)
{
    Cut *c = opaque;
    const Packet *p = c->b->in->pdata[c->n++];
    g_autofree uint8_t *buf = g_malloc(len);

    g_assert_cmpuint(niov, ==, 2);
    memcpy(buf, iov[0].iov_base, iov[0].iov_len);
    memcpy(buf + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    g_assert_cmpmem(buf, len, p->buf, p->len);
}

static void test_joins(gconstpointer data)
{
    const PacketSpec *what = data;
    Bench *b = bench_new();
    /* The first's headers are changed: a copy to compare with. */
    Packet *first = g_new(Packet, 1);
    g_autofree uint8_t *whole = NULL;
    Cut cut = { b };
    VnetInet i;
    Out *o;

    for (int n = 0; n < 5; n++) {
        PacketSpec s = *what;

        s.seq += n * s.payload;
        s.id += n;
        s.flags = n == 4 ? PSH : ACK;
        s.payload = n == 4 ? 7 : s.payload;
        if (n == 0) {
            packet_make(first, &s);
        }
        add(b, &s);
    }
    g_assert_cmpuint(b->out->len, ==, 1);
    g_assert_cmpuint(vnet_gro_joined(b->g), ==, 4);
    o = out(b, 0);
    g_assert_cmpuint(o->pieces, ==, 5);
    g_assert_cmphex(o->hdr.gso_type, ==, what->v6 ? VTOE_NET_HDR_GSO_TCPV6 :
                                                    VTOE_NET_HDR_GSO_TCPV4);
    g_assert_cmpuint(o->hdr.gso_size, ==, what->payload);
    /* A packet in itself, whose checksum is left to be finished. */
    g_assert(vnet_inet_find(o->buf, o->len, &i));
    g_assert_cmpuint(i.end, ==, o->len);
    g_assert(i.v6 || fold(sum_bytes(0, o->buf + i.ip, 20)) == 0xffff);
    whole = g_memdup2(o->buf, o->len);
    g_assert(vnet_offload_csum(&o->hdr, whole, o->len));
    g_assert(packet_csum_ok(whole, o->len));
    memcpy(b->in->pdata[0], first, sizeof(*first));
    g_assert_cmpuint(vnet_offload_segment(&o->hdr, o->buf, o->len, same, &cut),
                     ==, 5);
    g_free(first);
    bench_free(b);
}

/* Nobody waits for what is pushed, or for what a shorter one has ended. */
static void test_complete(void)
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .payload = 100 };

    add(b, &s);
    s.seq += 100;
    s.flags = PSH;
    add(b, &s);
    g_assert_cmpuint(b->out->len, ==, 1);
    g_assert_cmpuint(out(b, 0)->pieces, ==, 2);
    s.seq += 100;
    add(b, &s);
    g_assert_cmpuint(b->out->len, ==, 2);
    s.seq += 100;
    s.flags = ACK;
    add(b, &s);
    s.seq += 100;
    s.payload = 99;
    add(b, &s);
    g_assert_cmpuint(b->out->len, ==, 3);
    bench_free(b);
}

static void test_one_alone(void)
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .payload = 100 };
    Packet *p = make(b, &s);

    vnet_gro_add(b->g, p->buf, p->len, LONGEST);
    g_assert_cmpuint(b->out->len, ==, 0);
    vnet_gro_flush(b->g);
    g_assert_cmpuint(out(b, 0)->hdr.flags, ==, VTOE_NET_HDR_F_DATA_VALID);
    g_assert_cmpuint(out(b, 0)->hdr.gso_type, ==, 0);
    g_assert_cmpmem(out(b, 0)->buf, out(b, 0)->len, p->buf, p->len);
    bench_free(b);
}

/* Two segments that must not be joined: changes the second. */
static void apart(void (*change)(PacketSpec *s), void (*spoil)(Packet *p))
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .payload = 100 };
    Packet *p;

    add(b, &s);
    s.seq += 100;
    s.id++;
    if (change) {
        change(&s);
    }
    p = make(b, &s);
    if (spoil) {
        spoil(p);
    }
    vnet_gro_add(b->g, p->buf, p->len, LONGEST);
    vnet_gro_flush(b->g);
    g_assert_cmpuint(b->out->len, ==, 2);
    g_assert_cmpuint(vnet_gro_joined(b->g), ==, 0);
    /* In their order. */
    p = b->in->pdata[0];
    g_assert_cmpmem(out(b, 0)->buf, out(b, 0)->len, p->buf, p->len);
    p = b->in->pdata[1];
    g_assert_cmpmem(out(b, 1)->buf, out(b, 1)->len, p->buf, p->len);
    bench_free(b);
}

static void resum(Packet *p)
{
    uint8_t *tcp = p->buf + p->i.l4;
    size_t n = p->len - p->i.l4;

    put16(tcp + VNET_TCP_CSUM, 0);
    put16(tcp + VNET_TCP_CSUM, checksum(
        sum_bytes(vnet_inet_pseudo(p->buf, &p->i, n), tcp, n)));
}

static void resum_ip(Packet *p)
{
    uint8_t *ip = p->buf + p->i.ip;

    put16(ip + 10, 0);
    put16(ip + 10, checksum(sum_bytes(0, ip, 20)));
}

static void gap(PacketSpec *s) { s->seq++; }
static void again(PacketSpec *s) { s->seq -= 100; }
static void larger(PacketSpec *s) { s->payload++; }
static void empty(PacketSpec *s) { s->payload = 0; }
static void with_fin(PacketSpec *s) { s->flags |= VNET_TCP_FIN; }
static void with_cwr(PacketSpec *s) { s->flags |= VNET_TCP_CWR; }
static void options(PacketSpec *s) { s->options = 12; }
static void may_cut(PacketSpec *s) { s->may_cut = true; }
static void bad_csum(Packet *p) { p->buf[p->len - 1] ^= 1; }
static void window(Packet *p) { p->buf[p->i.l4 + 15]++; resum(p); }
static void ack(Packet *p) { p->buf[p->i.l4 + 11]++; resum(p); }
static void hops(Packet *p) { p->buf[p->i.ip + 8]--; resum_ip(p); }
static void service(Packet *p) { p->buf[p->i.ip + 1] = 3; resum_ip(p); }
static void bad_ip_csum(Packet *p) { p->buf[p->i.ip + 10] ^= 1; }
static void bad_id(Packet *p) { p->buf[p->i.ip + 4] ^= 1; }
static void padded(Packet *p) { p->buf[p->len++] = 0; }

static void test_what_stays_apart(void)
{
    static void (*const changes[])(PacketSpec *s) = {
        gap, again, larger, empty, with_fin, with_cwr, options, may_cut,
    };
    static void (*const spoils[])(Packet *p) = {
        bad_csum, window, ack, hops, service, bad_ip_csum, bad_id, padded,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
        apart(changes[i], NULL);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(spoils); i++) {
        apart(NULL, spoils[i]);
    }
}

/* A wrong checksum stays wrong. */
static void test_bad_checksum_is_not_mended(void)
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .payload = 100 };
    Packet *p = make(b, &s);

    bad_csum(p);
    vnet_gro_add(b->g, p->buf, p->len, LONGEST);
    g_assert_cmphex(out(b, 0)->hdr.flags, ==, 0);
    g_assert(!packet_csum_ok(out(b, 0)->buf, out(b, 0)->len));
    bench_free(b);
}

/* Nor does that of IPv4, of the first segment, whose header all would have. */
static void test_bad_header_is_not_mended(void)
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .payload = 100 };
    Packet *p = make(b, &s);
    g_autofree uint8_t *was = NULL;

    bad_id(p);
    was = g_memdup2(p->buf, p->len);
    vnet_gro_add(b->g, p->buf, p->len, LONGEST);
    s.seq += 100;
    s.id++;
    add(b, &s);
    vnet_gro_flush(b->g);
    g_assert_cmpuint(b->out->len, ==, 2);
    g_assert_cmpmem(out(b, 0)->buf, out(b, 0)->len, was, p->len);
    bench_free(b);
}

static void test_without_df_ids_count_on(void)
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .payload = 100,
                     .may_cut = true };

    add(b, &s);
    s.seq += 100;
    s.id++;
    add(b, &s);
    s.seq += 100;
    add(b, &s);                 /* the same id again */
    vnet_gro_flush(b->g);
    g_assert_cmpuint(b->out->len, ==, 2);
    g_assert_cmpuint(out(b, 0)->pieces, ==, 2);
    bench_free(b);
}

static void test_flows_mixed(void)
{
    Bench *b = bench_new();

    for (int i = 0; i < 4; i++) {
        for (int flow = 0; flow < 8; flow++) {
            PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK,
                             .payload = 100, .flow = flow, .seq = i * 100 };

            add(b, &s);
        }
    }
    g_assert_cmpuint(b->out->len, ==, 0);
    vnet_gro_flush(b->g);
    g_assert_cmpuint(b->out->len, ==, 8);
    for (int flow = 0; flow < 8; flow++) {
        g_assert_cmpuint(out(b, flow)->pieces, ==, 4);
    }
    bench_free(b);
}

static void test_more_flows_than_held(void)
{
    Bench *b = bench_new();
    uint32_t next[20] = { 0 };

    for (int i = 0; i < 3; i++) {
        for (int flow = 0; flow < 20; flow++) {
            PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK,
                             .payload = 100, .flow = flow, .seq = i * 100 };

            add(b, &s);
        }
    }
    vnet_gro_flush(b->g);
    /* Each flow's bytes in order, whatever was joined. */
    for (guint n = 0; n < b->out->len; n++) {
        Out *o = out(b, n);
        VnetInet i;
        int flow;

        g_assert(vnet_inet_find(o->buf, o->len, &i));
        flow = get16(o->buf + i.l4) - 1000;
        g_assert_cmpuint(get32(o->buf + i.l4 + VNET_TCP_SEQ), ==, next[flow]);
        next[flow] += o->len - i.l4 - VNET_TCP_HDR;
    }
    for (int flow = 0; flow < 20; flow++) {
        g_assert_cmpuint(next[flow], ==, 300);
    }
    bench_free(b);
}

/* Full: 64 segments, or 64 KiB; the rest begins anew. */
static void test_limits(void)
{
    static const struct { size_t payload; unsigned n; } sizes[] = {
        { 32, 64 }, { 1460, 44 }, { 9000, 7 },
    };

    for (size_t k = 0; k < G_N_ELEMENTS(sizes); k++) {
        Bench *b = bench_new();
        PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK,
                         .payload = sizes[k].payload };

        for (unsigned i = 0; i <= sizes[k].n; i++) {
            add(b, &s);
            s.seq += s.payload;
        }
        g_assert_cmpuint(b->out->len, ==, 1);
        g_assert_cmpuint(out(b, 0)->pieces, ==, sizes[k].n);
        g_assert_cmpuint(out(b, 0)->len - 14, <=, 65535);
        vnet_gro_flush(b->g);
        g_assert_cmpuint(b->out->len, ==, 2);
        bench_free(b);
    }
}

/* No frame may be longer than the longest, with tags, too. */
static void test_longest_with_tags(void)
{
    for (unsigned tags = 0; tags <= 2; tags++) {
        for (size_t payload = 1100; payload <= 1460; payload++) {
            Bench *b = bench_new();
            PacketSpec s = { .tags = tags, .proto = VNET_PROTO_TCP,
                             .flags = ACK, .payload = payload };

            for (unsigned i = 0; i < 64; i++) {
                add(b, &s);
                s.seq += s.payload;
            }
            vnet_gro_flush(b->g);
            for (guint i = 0; i < b->out->len; i++) {
                g_assert_cmpuint(out(b, i)->len, <=, VTOE_FRAME_MAX_LEN);
            }
            bench_free(b);
        }
    }
}

/* Nobody takes a large frame of smaller segments. */
static void test_small_segments(void)
{
    for (size_t payload = 31; payload <= 32; payload++) {
        Bench *b = bench_new();
        PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK,
                         .payload = payload };

        for (unsigned i = 0; i < 3; i++) {
            add(b, &s);
            s.seq += payload;
        }
        vnet_gro_flush(b->g);
        g_assert_cmpuint(b->out->len, ==, payload < 32 ? 3 : 1);
        bench_free(b);
    }
}

/* A checksum left to a NIC, as comes from the same host, is finished later. */
static void test_unfinished(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        Bench *b = bench_new();
        PacketSpec s = { .proto = VNET_PROTO_TCP, .flags = ACK, .v6 = v6,
                         .payload = 5000 };
        Packet *p = make(b, &s);
        Out *o;

        packet_leave_csum(p);
        vnet_gro_add(b->g, p->buf, p->len, LONGEST);
        o = out(b, 0);
        g_assert_cmphex(o->hdr.flags, ==, VTOE_NET_HDR_F_NEEDS_CSUM);
        g_assert_cmpuint(o->hdr.gso_size, ==, LONGEST - p->payload);
        g_assert(vnet_offload_csum(&o->hdr, o->buf, o->len));
        g_assert(packet_csum_ok(o->buf, o->len));

        /* Not where nobody would take segments as small as that. */
        p = make(b, &s);
        packet_leave_csum(p);
        vnet_gro_add(b->g, p->buf, p->len, p->payload + 31);
        g_assert_cmpuint(out(b, 1)->hdr.gso_size, ==, 0);

        s.proto = VNET_PROTO_UDP;
        s.payload = 700;
        p = make(b, &s);
        packet_leave_csum(p);
        vnet_gro_add(b->g, p->buf, p->len, LONGEST);
        o = out(b, 2);
        g_assert_cmphex(o->hdr.flags, ==, VTOE_NET_HDR_F_NEEDS_CSUM);
        g_assert_cmpuint(o->hdr.gso_size, ==, 0);
        g_assert(vnet_offload_csum(&o->hdr, o->buf, o->len));
        g_assert(packet_csum_ok(o->buf, o->len));
        bench_free(b);
    }
}

static void test_others_pass(void)
{
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_UDP, .payload = 100 };
    uint8_t arp[60] = { 0 };

    add(b, &s);
    arp[12] = 8;
    arp[13] = 6;
    vnet_gro_add(b->g, arp, sizeof(arp), LONGEST);
    vnet_gro_add(b->g, arp, 14, LONGEST);
    g_assert_cmpuint(b->out->len, ==, 3);
    for (int i = 0; i < 3; i++) {
        g_assert_cmphex(out(b, i)->hdr.flags, ==, 0);
    }
    bench_free(b);
}

int main(int argc, char **argv)
{
    static const PacketSpec v4 = { .proto = VNET_PROTO_TCP, .payload = 100 };
    static const PacketSpec v6 = { .proto = VNET_PROTO_TCP, .payload = 1000,
                                   .v6 = true, .options = 12 };
    static const PacketSpec tagged = { .proto = VNET_PROTO_TCP, .tags = 2,
                                       .payload = 101, .seq = 0xffffff00,
                                       .id = 0xfffe };

    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/vnet/gro/joins/v4", &v4, test_joins);
    g_test_add_data_func("/vnet/gro/joins/v6", &v6, test_joins);
    g_test_add_data_func("/vnet/gro/joins/tagged", &tagged, test_joins);
    g_test_add_func("/vnet/gro/complete", test_complete);
    g_test_add_func("/vnet/gro/one-alone", test_one_alone);
    g_test_add_func("/vnet/gro/what-stays-apart", test_what_stays_apart);
    g_test_add_func("/vnet/gro/bad-checksum-is-not-mended",
                    test_bad_checksum_is_not_mended);
    g_test_add_func("/vnet/gro/bad-header-is-not-mended",
                    test_bad_header_is_not_mended);
    g_test_add_func("/vnet/gro/without-df-ids-count-on",
                    test_without_df_ids_count_on);
    g_test_add_func("/vnet/gro/flows-mixed", test_flows_mixed);
    g_test_add_func("/vnet/gro/more-flows-than-held",
                    test_more_flows_than_held);
    g_test_add_func("/vnet/gro/limits", test_limits);
    g_test_add_func("/vnet/gro/longest-with-tags", test_longest_with_tags);
    g_test_add_func("/vnet/gro/small-segments", test_small_segments);
    g_test_add_func("/vnet/gro/unfinished", test_unfinished);
    g_test_add_func("/vnet/gro/others-pass", test_others_pass);
    return g_test_run();
}
