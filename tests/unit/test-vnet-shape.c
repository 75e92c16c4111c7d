/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of a port (net/vnet/vnet-shape.c): token buckets by themselves, and what
 * they do to frames and streams.
 */
#include <string.h>
#include "vnet-core.h"
#include "vnet-stream-net.h"

/* Bytes in a second, and what one has as if without end. */
#define RATE    1000000ull
#define MUCH    (20 * RATE)

/* --- A token bucket ------------------------------------------------------- */

static void test_bucket_keeps_its_rate(void)
{
    static const uint64_t rates[] = { 1, 3, 999, 125000, 1250000007,
                                      VNET_BUCKET_MAX };
    static const int64_t steps[] = { 1, 7, 999, 1000003, 77000000 };

    for (size_t i = 0; i < G_N_ELEMENTS(rates); i++) {
        for (size_t j = 0; j < G_N_ELEMENTS(steps); j++) {
            VnetBucket b;
            uint64_t got = 0, due;
            int64_t now = 5;

            vnet_bucket_set(&b, rates[i], rates[i], now);
            vnet_bucket_take(&b, rates[i], now);
            for (int k = 0; k < 10000; k++) {
                int64_t level;

                now += steps[j];
                level = vnet_bucket_level(&b, now);
                g_assert_cmpint(level, >=, 0);
                vnet_bucket_take(&b, level, now);
                got += level;
            }
            /* To the token, but for a part of one that is not whole yet. */
            due = (unsigned __int128)(now - 5) * rates[i] / 1000000000;
            g_assert_cmpuint(got, ==, due);
        }
    }
}

static void test_bucket_is_full_once(void)
{
    VnetBucket b;

    vnet_bucket_set(&b, 1000, 50, 0);
    g_assert_cmpint(vnet_bucket_level(&b, 0), ==, 50);
    g_assert_cmpint(vnet_bucket_level(&b, 3600 * S), ==, 50);
    vnet_bucket_take(&b, 50, 3600 * S);
    g_assert_cmpint(vnet_bucket_level(&b, 3600 * S + 10 * MS), ==, 10);
    /* A clock that goes back gives nothing. */
    g_assert_cmpint(vnet_bucket_level(&b, 0), ==, 10);
    g_assert_cmpint(vnet_bucket_level(&b, 3600 * S + 10 * MS), ==, 10);
    /* As long as a clock can run. */
    g_assert_cmpint(vnet_bucket_level(&b, INT64_MAX), ==, 50);
}

static void test_bucket_waits(void)
{
    VnetBucket b;

    vnet_bucket_set(&b, 3, 10, 0);
    vnet_bucket_take(&b, 15, 0);
    g_assert_cmpint(vnet_bucket_level(&b, 0), ==, -5);
    for (int64_t n = -4; n <= 10; n++) {
        int64_t wait = vnet_bucket_wait(&b, n, 0);

        VnetBucket copy = b;

        g_assert_cmpint(vnet_bucket_level(&copy, wait - 1), <, n);
        g_assert_cmpint(vnet_bucket_level(&copy, wait), ==, n);
    }
    g_assert_cmpint(vnet_bucket_wait(&b, -5, 0), ==, 0);
}

static void test_bucket_without_a_rate(void)
{
    VnetBucket b;

    vnet_bucket_set(&b, 0, 0, 0);
    vnet_bucket_take(&b, 1ull << 60, 0);
    g_assert_cmpint(vnet_bucket_level(&b, 0), ==, INT64_MAX);
    g_assert_cmpint(vnet_bucket_wait(&b, 1 << 30, 0), ==, 0);
}

static void assert_about(uint64_t value, uint64_t wanted, unsigned percent)
{
    g_assert_cmpuint(value, >=, wanted - wanted * percent / 100);
    g_assert_cmpuint(value, <=, wanted + wanted * percent / 100);
}

/* --- Frames --------------------------------------------------------------- */

static void limit(FakeHost *h, VnetDirection d, uint64_t bytes, uint64_t frames)
{
    const VnetRates r = { .bytes = bytes, .frames = frames };

    vnet_net_set_rates(vnet_core_net(h->core), d, &r);
}

/* Sends whenever it may, for that long; what went. */
static uint64_t send_all(Net *n, int64_t ns, size_t len)
{
    int64_t end = n->w->now + ns;
    uint64_t sent = 0;

    while (n->w->now < end) {
        while (fake_send_frame(n->a, n->b->mac, n->a->mac, len) ==
               VNET_FRAME_OK) {
            sent += len;
        }
        fake_advance(n->w, len > 10000 ? 10 * MS : MS / 10);
    }
    return sent;
}

static void test_frames_keep_to_bytes(void)
{
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));
    guint told;
    uint64_t sent;

    limit(n.left, VNET_TX, RATE, 0);
    send_all(&n, S, 1500);      /* the burst, and what may be borrowed */
    told = n.a->tx_ready;
    sent = send_all(&n, 5 * S, 1500);
    assert_about(sent, 5 * RATE, 2);
    /* It was told BUSY, and when to go on; the other NIC has got them all. */
    g_assert_cmpuint(n.a->tx_ready, >, told + 100);
    g_assert_cmpuint(n.b->frames, ==,
                     fake_link_stats(n.l, true)->rx_frames);
    fake_world_free(n.w);
}

static void test_frames_keep_to_their_number(void)
{
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));

    limit(n.left, VNET_TX, 0, 1000);
    send_all(&n, S, 60);
    g_assert_cmpint(ABS((int64_t)send_all(&n, 10 * S, 60) / 60 - 10000), <, 20);
    /* And go on as before without. */
    limit(n.left, VNET_TX, 0, 0);
    for (int i = 0; i < 1000; i++) {
        g_assert_cmpint(fake_send_frame(n.a, n.b->mac, n.a->mac, 60), ==,
                        VNET_FRAME_OK);
    }
    fake_world_free(n.w);
}

/* Segments of so many frames: a limit of frames is none of segments. */
static void test_large_segments_are_many(gconstpointer data)
{
    enum { PIECES = 10, MSS = 1448, LEN = 54 + PIECES * MSS };
    const VnetFrameHdr hdr = {
        .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
        .gso_type = VTOE_NET_HDR_GSO_TCPV4, .hdr_len = 54, .gso_size = MSS,
        .csum_start = 34, .csum_offset = 16,
    };
    bool tx = GPOINTER_TO_INT(data) == VNET_TX;
    g_autofree uint8_t *f = g_malloc0(LEN);
    const struct iovec iov = { f, LEN };
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));
    uint64_t before = 0;

    memcpy(f, n.b->mac, 6);
    memcpy(f + 6, n.a->mac, 6);
    limit(tx ? n.left : n.right, tx ? VNET_TX : VNET_RX, 0, 1000);
    /* The burst, and ten seconds. */
    for (int i = 0; i < 11 * 1000; i++) {
        if (i == 1000) {
            before = n.b->frames;
        }
        vnet_port_send(n.a->port, &hdr, &iov, 1, LEN);
        fake_dispatch(n.w);
        fake_advance(n.w, MS);
    }
    g_assert_cmpint(ABS((int64_t)(n.b->frames - before) - 10 * 1000 / PIECES),
                    <=, 1);
    fake_world_free(n.w);
}

static void test_larger_than_the_burst(void)
{
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));

    /* A second for each of the largest frames. */
    limit(n.left, VNET_TX, 65000, 0);
    send_all(&n, 10 * S, 65000);
    g_assert_cmpint(send_all(&n, 20 * S, 65000) / 65000, ==, 20);
    fake_world_free(n.w);
}

static void test_who_waits_is_woken_by_a_change(void)
{
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));
    guint told;

    limit(n.left, VNET_TX, 1, 0);
    while (fake_send_frame(n.a, n.b->mac, n.a->mac, 65000) == VNET_FRAME_OK) {
        /* until it is held back, for a day */
    }
    told = n.a->tx_ready;
    fake_advance(n.w, 60 * S);
    g_assert_cmpuint(n.a->tx_ready, ==, told);
    limit(n.left, VNET_TX, 0, 0);
    fake_run(n.w);
    g_assert_cmpuint(n.a->tx_ready, ==, told + 1);
    fake_world_free(n.w);
}

static void test_received_frames_are_dropped(void)
{
    Net n = net_new(GINT_TO_POINTER(FROM_LEFT));
    const VnetPortStats *st = &n.b->port->stats;
    uint64_t frames = 0;

    limit(n.right, VNET_RX, 0, 100);
    /* The burst, and ten seconds. */
    for (int i = 0; i < 10100; i++) {
        if (i == 100) {
            frames = n.b->frames;
        }
        fake_send_frame(n.a, n.b->mac, n.a->mac, 60);
        fake_advance(n.w, MS);
    }
    g_assert_cmpint(ABS((int64_t)(n.b->frames - frames) - 1000), <=, 1);
    g_assert_cmpuint(st->rx_drop_rate + st->rx_frames, ==,
                     fake_link_stats(n.l, true)->rx_frames);
    fake_check_sums(n.right);
    fake_world_free(n.w);
}

/* --- Streams -------------------------------------------------------------- */

static void test_a_stream_keeps_to_the_rate(gconstpointer data)
{
    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        Net n = net_new(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);
        uint64_t got;

        limit(d == VNET_TX ? n.from->h : n.to->h, d, RATE, 0);
        fake_post(fs, MUCH);
        fake_advance(n.w, S);
        got = peer->rx_off;
        fake_advance(n.w, 3 * S);
        got = peer->rx_off - got;
        assert_about(got, 3 * RATE, 3);
        /* Without it, the rest comes at once. */
        limit(d == VNET_TX ? n.from->h : n.to->h, d, 0, 0);
        fake_advance(n.w, MS);
        g_assert_cmpuint(peer->rx_off, ==, MUCH);
        fake_world_free(n.w);
    }
}

static void test_streams_share_it(gconstpointer data)
{
    enum { N = 8 };

    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        Net n = net_new(data);
        FakeStream *fs[N], *peer[N];
        uint64_t before[N];

        limit(d == VNET_TX ? n.from->h : n.to->h, d, RATE, 0);
        for (int i = 0; i < N; i++) {
            fs[i] = open_stream(&n, &peer[i]);
            fake_post(fs[i], MUCH);
        }
        fake_advance(n.w, S);
        for (int i = 0; i < N; i++) {
            before[i] = peer[i]->rx_off;
        }
        fake_advance(n.w, 3 * S);
        for (int i = 0; i < N; i++) {
            /* Receives that are posted ahead are a stream's own. */
            assert_about(peer[i]->rx_off - before[i], 3 * RATE / N,
                         n.messages && d == VNET_RX ? 25 : 5);
        }
        fake_world_free(n.w);
    }
}

/* One that says little now and then does not wait for those that say much
 * longer than their turns take. */
static void test_a_small_one_among_large(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *small;
    uint64_t sent = 0;

    limit(n.from->h, VNET_TX, RATE, 0);
    for (int i = 0; i < 5; i++) {
        fake_post(open_stream(&n, &peer), MUCH);
    }
    fake_advance(n.w, S);
    small = open_stream(&n, &peer);
    for (int i = 0; i < 20; i++) {
        fake_post(small, 100);
        sent += 100;
        /* Six turns, of 1.5 ms each. */
        fake_advance(n.w, 12 * MS);
        g_assert_cmpuint(peer->rx_off, ==, sent);
    }
    fake_world_free(n.w);
}

static void test_frames_and_streams(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs;
    uint64_t sent, got;

    n.from = n.a;
    n.to = n.b;
    fs = open_stream(&n, &peer);
    limit(n.left, VNET_TX, RATE, 0);
    fake_post(fs, MUCH);
    send_all(&n, S, 1500);
    got = peer->rx_off;
    sent = send_all(&n, 3 * S, 1500);
    got = peer->rx_off - got;
    /* Each wants all, and gets half. */
    assert_about(sent + got, 3 * RATE, 5);
    assert_about(sent, 3 * RATE / 2, 15);
    /* A few frames get through at once, whatever streams want. */
    fake_advance(n.w, S);
    for (int i = 0; i < 20; i++) {
        g_assert_cmpint(fake_send_frame(n.a, n.b->mac, n.a->mac, 100), ==,
                        VNET_FRAME_OK);
        fake_advance(n.w, 20 * MS);
    }
    fake_world_free(n.w);
}

/* The end of a stream, of a NIC and of a link while streams wait. */
static void test_ends_while_waiting(gconstpointer data)
{
    for (int how = 0; how < 4; how++) {
        Net n = net_new(data);
        FakeStream *fs[3], *peer;

        limit(n.from->h, VNET_TX, 10000, 0);
        limit(n.to->h, VNET_RX, 10000, 0);
        for (int i = 0; i < 3; i++) {
            fs[i] = open_stream(&n, &peer);
            fake_post(fs[i], RATE);
        }
        fake_advance(n.w, S);
        switch (how) {
        case 0:
            vnet_port_reset_streams(n.from->port, VTOE_REASON_DEVICE_RESET);
            break;
        case 1:
            fake_link_cut(n.l, true, true);
            break;
        case 2:
            fake_shutdown(fs[1]);
            break;
        default:
            vnet_port_reset_streams(n.to->port, VTOE_REASON_DEVICE_RESET);
            break;
        }
        fake_advance(n.w, 100 * S);
        fake_world_free(n.w);
    }
}

static void test_shutdown_waits_for_its_bytes(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    limit(n.from->h, VNET_TX, 100000, 0);
    fake_post(fs, RATE);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_advance(n.w, 5 * S);
    g_assert_cmpuint(peer->rx_off, <, RATE);
    g_assert_cmpuint(peer->rx_ended, ==, 0);
    fake_advance(n.w, 6 * S);
    g_assert_cmpuint(peer->rx_off, ==, RATE);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnet/bucket/keeps-its-rate", test_bucket_keeps_its_rate);
    g_test_add_func("/vnet/bucket/is-full-once", test_bucket_is_full_once);
    g_test_add_func("/vnet/bucket/waits", test_bucket_waits);
    g_test_add_func("/vnet/bucket/without-a-rate", test_bucket_without_a_rate);
    T(frames_keep_to_bytes);
    T(frames_keep_to_their_number);
    g_test_add_data_func("/vnet/shape/large_segments_are_many/tx",
                         GINT_TO_POINTER(VNET_TX),
                         test_large_segments_are_many);
    g_test_add_data_func("/vnet/shape/large_segments_are_many/rx",
                         GINT_TO_POINTER(VNET_RX),
                         test_large_segments_are_many);
    T(larger_than_the_burst);
    T(who_waits_is_woken_by_a_change);
    T(received_frames_are_dropped);
    T4(a_stream_keeps_to_the_rate);
    T4(streams_share_it);
    T4(a_small_one_among_large);
    T4(frames_and_streams);
    T4(ends_while_waiting);
    T4(shutdown_waits_for_its_bytes);
    return g_test_run();
}
