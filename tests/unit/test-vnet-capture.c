/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Captures (net/vnet/vnet-capture.c): what is shown is what was there, as TCP
 * would have sent it.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-capture.h"
#include "vnet-core.h"
#include "vnet-packet.h"
#include "vnet-stream-net.h"

#define SYN     0x02
#define RST     0x04
#define FIN     VNET_TCP_FIN
#define ACK     VNET_TCP_ACK

typedef struct Seen {
    VnetDirection d;
    uint8_t flags;              /* of TCP, if it is */
    uint32_t seq, ack;
    GBytes *payload;
    size_t len;
} Seen;

static void seen_free(gpointer p)
{
    g_bytes_unref(((Seen *)p)->payload);
    g_free(p);
}

static void took(void *opaque, VnetDirection d, const struct iovec *iov,
                 unsigned niov, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);
    Seen *s = g_new0(Seen, 1);
    VnetInet i;
    size_t at = 0;

    for (unsigned k = 0; k < niov; k++) {
        memcpy(buf + at, iov[k].iov_base, iov[k].iov_len);
        at += iov[k].iov_len;
    }
    g_assert_cmpuint(at, ==, len);
    s->d = d;
    s->len = len;
    if (vnet_inet_find(buf, len, &i) && i.proto == VNET_PROTO_TCP) {
        const uint8_t *tcp = buf + i.l4;
        size_t head = (tcp[VNET_TCP_OFFSET] >> 4) * 4;

        g_assert_cmpuint(i.end, ==, len);
        g_assert(packet_csum_ok(buf, len));
        s->flags = tcp[VNET_TCP_FLAGS];
        s->seq = get32(tcp + VNET_TCP_SEQ);
        s->ack = get32(tcp + 8);
        s->payload = g_bytes_new(tcp + head, len - i.l4 - head);
    } else {
        s->payload = g_bytes_new(NULL, 0);
    }
    g_ptr_array_add(opaque, s);
}

static GPtrArray *begin(FakeHost *h)
{
    GPtrArray *seen = g_ptr_array_new_with_free_func(seen_free);

    vnet_net_set_capture(vnet_core_net(h->core), took, seen);
    return seen;
}

/* A direction of one stream: its bytes, in order and once; how many. */
static uint64_t bytes_of(GPtrArray *seen, VnetDirection d, uint32_t first)
{
    uint64_t n = 0;

    for (guint i = 0; i < seen->len; i++) {
        const Seen *s = seen->pdata[i];
        gsize len = g_bytes_get_size(s->payload);

        if (s->d == d && len) {
            g_assert_cmphex(s->seq, ==, first + (uint32_t)n);
            n += len;
        }
    }
    return n;
}

static unsigned count(GPtrArray *seen, VnetDirection d, uint8_t flag)
{
    unsigned n = 0;

    for (guint i = 0; i < seen->len; i++) {
        const Seen *s = seen->pdata[i];

        n += s->d == d && s->flags & flag;
    }
    return n;
}

static void test_a_whole_stream(gconstpointer data)
{
    static const uint64_t sizes[] = { 0, 1, 70000, 1000001 };

    for (size_t k = 0; k < G_N_ELEMENTS(sizes); k++) {
        Net n = net_new(data);
        /* The side that opens has sent SYN. */
        VnetDirection d = GPOINTER_TO_INT(data) & FROM_LEFT ? VNET_TX : VNET_RX;
        GPtrArray *seen = begin(n.left);
        const Seen *s;
        uint32_t there, back;

        transfer(&n, sizes[k], 1000);
        g_assert_cmpuint(seen->len, >, 3);
        s = seen->pdata[0];
        g_assert_cmpint(s->d, ==, d);
        g_assert_cmphex(s->flags, ==, SYN);
        there = s->seq + 1;
        s = seen->pdata[1];
        g_assert_cmpint(s->d, ==, !d);
        g_assert_cmphex(s->flags, ==, SYN | ACK);
        g_assert_cmphex(s->ack, ==, there);
        back = s->seq + 1;
        s = seen->pdata[2];
        g_assert_cmpint(s->d, ==, d);
        g_assert_cmphex(s->flags, ==, ACK);
        g_assert_cmphex(s->ack, ==, back);
        g_assert_cmpuint(bytes_of(seen, d, there), ==, sizes[k]);
        g_assert_cmpuint(bytes_of(seen, !d, back), ==, 1000);
        for (int e = 0; e < VNET_DIRECTIONS; e++) {
            g_assert_cmpuint(count(seen, e, FIN), ==, 1);
            g_assert_cmpuint(count(seen, e, RST), ==, 0);
        }
        vnet_net_set_capture(vnet_core_net(n.left->core), NULL, NULL);
        g_ptr_array_unref(seen);
        fake_world_free(n.w);
    }
}

/* Both ends show the same bytes. */
static void test_both_ends(gconstpointer data)
{
    Net n = net_new(data);
    GPtrArray *left = begin(n.left), *right = begin(n.right);
    g_autoptr(GByteArray) sent = g_byte_array_new();
    g_autoptr(GByteArray) got = g_byte_array_new();
    VnetDirection d = GPOINTER_TO_INT(data) & FROM_LEFT ? VNET_TX : VNET_RX;

    transfer(&n, 300000, 0);
    for (guint i = 0; i < left->len; i++) {
        const Seen *s = left->pdata[i];

        if (s->d == d) {
            g_byte_array_append(sent, g_bytes_get_data(s->payload, NULL),
                                g_bytes_get_size(s->payload));
        }
    }
    for (guint i = 0; i < right->len; i++) {
        const Seen *s = right->pdata[i];

        if (s->d == !d) {
            g_byte_array_append(got, g_bytes_get_data(s->payload, NULL),
                                g_bytes_get_size(s->payload));
        }
    }
    g_assert_cmpmem(sent->data, sent->len, got->data, got->len);
    g_assert_cmpuint(sent->len, ==, 300000);
    fake_world_free(n.w);
    g_ptr_array_unref(left);
    g_ptr_array_unref(right);
}

static void test_reset(gconstpointer data)
{
    for (int by_peer = 0; by_peer < 2; by_peer++) {
        Net n = net_new(data);
        FakeStream *peer, *fs;
        GPtrArray *seen;

        /* From the left, so that who resets is known. */
        n.from = n.a;
        n.to = n.b;
        seen = begin(n.left);
        fs = open_stream(&n, &peer);
        fake_post(fs, 1000);
        fake_run(n.w);
        vnet_stream_abort(by_peer ? peer->s : fs->s, VTOE_REASON_RESET);
        (by_peer ? peer : fs)->s = NULL;
        fake_run(n.w);
        g_assert_cmpuint(count(seen, VNET_TX, RST), ==, !by_peer);
        g_assert_cmpuint(count(seen, VNET_RX, RST), ==, by_peer);
        fake_world_free(n.w);
        g_ptr_array_unref(seen);
    }
}

/* It begins while a stream is open, and ends before it. */
static void test_a_part_of_a_stream(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    FakeHost *h = n.from->h;
    GPtrArray *seen;
    const Seen *s;

    fake_post(fs, 5000);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    seen = begin(h);
    fake_post(fs, 3000);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    g_assert_cmpuint(seen->len, >=, 2);
    s = seen->pdata[0];
    g_assert_cmpuint(bytes_of(seen, VNET_TX, s->seq), ==, 3000);
    s = seen->pdata[seen->len - 1];
    g_assert_cmpint(s->d, ==, VNET_RX);
    g_assert_cmphex(s->ack, ==, ((Seen *)seen->pdata[0])->seq + 3000);
    vnet_net_set_capture(vnet_core_net(h->core), NULL, NULL);
    g_ptr_array_set_size(seen, 0);
    fake_post(fs, 3000);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    g_assert_cmpuint(seen->len, ==, 0);
    g_ptr_array_unref(seen);
    fake_world_free(n.w);
}

static void test_frames(void)
{
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));
    GPtrArray *seen = begin(n.left);

    fake_send_frame(n.a, n.b->mac, n.a->mac, 60);
    fake_send_frame(n.b, n.a->mac, n.b->mac, 1514);
    fake_run(n.w);
    g_assert_cmpuint(seen->len, ==, 2);
    g_assert_cmpuint(((Seen *)seen->pdata[0])->len, ==, 60);
    g_assert_cmpint(((Seen *)seen->pdata[0])->d, ==, VNET_TX);
    g_assert_cmpuint(((Seen *)seen->pdata[1])->len, ==, 1514);
    g_assert_cmpint(((Seen *)seen->pdata[1])->d, ==, VNET_RX);
    fake_world_free(n.w);
    g_ptr_array_unref(seen);
}

/* What is refused becomes TCP, and is in the frames. */
static void test_refused(gconstpointer data)
{
    Net n = net_new(data);
    GPtrArray *seen = begin(n.from->h);

    n.to->answer = FAKE_REFUSE;
    n.to->refuse = VTOE_REASON_NO_LISTENER;
    fake_connect(n.from, n.to->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(seen->len, ==, 0);
    fake_world_free(n.w);
    g_ptr_array_unref(seen);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T4(a_whole_stream);
    T4(both_ends);
    T4(reset);
    T4(a_part_of_a_stream);
    T(frames);
    T2(refused);
    return g_test_run();
}
