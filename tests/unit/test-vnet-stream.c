/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What streams carry, and how they end (docs/specs/vnet-wire.rst, "Streams").
 */
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-stream-net.h"

/* --- Bytes --------------------------------------------------------------- */

static void test_every_byte_arrives_both_ways(gconstpointer data)
{
    static const uint64_t sizes[] = {
        0, 1, 2, 1447, 8191, 8192, 8193, 65535, 65536, 65537, 131072, 1048577,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        Net n = net_new(data);

        transfer(&n, sizes[i], sizes[G_N_ELEMENTS(sizes) - 1 - i]);
        transfer(&n, sizes[i], sizes[i]);
        g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
        fake_world_free(n.w);
    }
}

static void test_64_mib_both_ways(gconstpointer data)
{
    Net n = net_new(data);

    transfer(&n, 64 << 20, 64 << 20);
    g_assert_cmpuint(fake_link_stats(n.l, false)->tx_stream_bytes, ==,
                     64 << 20);
    g_assert_cmpuint(fake_link_stats(n.l, false)->rx_stream_bytes, ==,
                     64 << 20);
    fake_world_free(n.w);
}

static void test_acks_are_few(gconstpointer data)
{
    Net n = net_new(data);
    uint64_t acks;

    transfer(&n, 16 << 20, 0);
    acks = fake_link_stats(n.l, !opener_is_server(&n))->acks_sent;
    /* One per 128 KiB, the one for the end, one for a remainder or two. */
    g_assert_cmpuint(acks, >=, 2);
    g_assert_cmpuint(acks, <=, 128 + 4);
    fake_world_free(n.w);
}

static void test_ack_comes_without_more_data(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 100);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 100);
    g_assert_cmpuint(fs->tx_acked, ==, 0);
    fake_advance(n.w, VNET_ACK_NS - 1);
    g_assert_cmpuint(fs->tx_acked, ==, 0);
    fake_advance(n.w, 1);
    g_assert_cmpuint(fs->tx_acked, ==, 100);
    fake_world_free(n.w);
}

static void test_slow_reader_stops_only_itself(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    peer->rx_paused = true;
    fake_post(fs, 10 << 20);
    fake_run(n.w);
    /* What the connection holds, and no more, was taken from the guest. */
    g_assert_cmpuint(fs->tx_seen, ==, n.w->pipe_size);
    for (int i = 0; i < 20; i++) {
        transfer(&n, 1 << 20, 1 << 20);
    }
    fake_advance(n.w, 60 * S);
    g_assert_cmpuint(peer->rx_off, ==, 0);
    g_assert_cmpuint(fake_link_data_waiting(n.l), ==, n.w->pipe_size);
    fake_resume(peer);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    g_assert_cmpuint(peer->rx_off, ==, 10 << 20);
    g_assert_cmpuint(fs->tx_acked, ==, 10 << 20);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_a_thousand_streams(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs[1000];

    n.w->pipe_size = 4096;
    n.to->passive_tx = 20000;
    for (int i = 0; i < 1000; i++) {
        fs[i] = fake_connect(n.from, n.to->mac, 10000 + i);
    }
    fake_advance(n.w, 2 * VNET_ACK_NS);
    for (int i = 0; i < 1000; i++) {
        assert_clean(fs[i]);
        assert_clean(fake_peer_of(n.to, fs[i]));
        g_assert_cmpuint(fs[i]->rx_off, ==, 20000);
        g_assert_cmpuint(fake_peer_of(n.to, fs[i])->rx_off, ==, 10000 + i);
    }
    g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
    fake_world_free(n.w);
}

/* --- Ends ---------------------------------------------------------------- */

static void test_active_close(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 5000);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    g_assert_cmpstr(stream_state(fs), ==, "half-closed");
    g_assert_cmpstr(stream_state(peer), ==, "peer-ended");
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_passive_close(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_shutdown(peer);
    fake_run(n.w);
    g_assert_cmpuint(fs->rx_ended, ==, 1);
    fake_shutdown(fs);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_simultaneous_close(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 3000);
    fake_post(peer, 4000);
    fake_link_stall_control(n.l, true);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    g_assert_cmpstr(stream_state(fs), ==, "end-sent");
    g_assert_cmpstr(stream_state(peer), ==, "end-sent");
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(fs->rx_off, ==, 4000);
    g_assert_cmpuint(peer->rx_off, ==, 3000);
    fake_world_free(n.w);
}

static void test_half_close_carries_data_on(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    fake_post(peer, 3 << 20);
    fake_advance(n.w, 3600 * S);
    g_assert_cmpuint(fs->rx_off, ==, 3 << 20);
    g_assert_nonnull(fs->s);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_end_before_the_data(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_link_stall_data(n.l, true);
    fake_post(fs, 30000);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpstr(stream_state(peer), ==, "peer-ending");
    g_assert_cmpuint(peer->rx_ended, ==, 0);
    fake_advance(n.w, 60 * S);
    g_assert_nonnull(peer->s);
    fake_link_stall_data(n.l, false);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 30000);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    fake_world_free(n.w);
}

static void test_data_and_eof_before_the_end(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_link_stall_control(n.l, true);
    fake_post(fs, 30000);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 30000);
    g_assert_cmpuint(peer->rx_ended, ==, 0);    /* EOF alone is no end */
    fake_advance(n.w, 1 * S);
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    g_assert_nonnull(peer->s);
    fake_shutdown(peer);
    fake_advance(n.w, 10 * S);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_eof_without_end_is_a_reset(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_link_swallow(n.l, !opener_is_server(&n), VNET_MSG_END);
    fake_post(fs, 3000);
    fake_shutdown(fs);
    fake_advance(n.w, VNET_GUARD_NS - 1);
    g_assert_nonnull(peer->s);
    fake_advance(n.w, 1);
    assert_reset(peer, VTOE_REASON_LINK_LOST);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(peer->rx_ended, ==, 0);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_end_with_bytes_missing_is_a_reset(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = msg(VNET_MSG_END, stream_id(fs), 50001);

    fake_link_swallow(n.l, !opener_is_server(&n), VNET_MSG_END);
    fake_post(fs, 50000);
    fake_shutdown(fs);
    fake_run(n.w);
    fake_link_inject_msg(n.l, !opener_is_server(&n), &m);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_LINK_LOST);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_bytes_beyond_the_end_are_not_delivered(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_link_stall_data(n.l, true);
    fake_post(fs, 1000);
    fake_shutdown(fs);
    fake_run(n.w);
    fake_stream_inject(peer, "more", 4);
    fake_link_stall_data(n.l, false);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 1000);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    fake_world_free(n.w);
}

/* A NIC that breaks its word does not break the stream. */
static void test_nothing_is_sent_beyond_the_end(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    peer->rx_paused = true;
    fake_post(fs, 100000);
    fake_shutdown(fs);
    fs->tx_posted += 1000;
    vnet_stream_tx_ready(fs->s);
    fake_resume(peer);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    g_assert_cmpuint(peer->rx_off, ==, 100000);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    g_assert_cmpstr(stream_state(fs), ==, "half-closed");
    fake_world_free(n.w);
}

static void read_on_hook(FakeStream *fs, const char *where)
{
    FakeStream *other = fs->hook_data;

    if (other && !strcmp(where, "rx_done")) {
        fs->hook_data = NULL;
        other->rx_paused = false;
        vnet_stream_rx_ready(other->s);
    }
}

/* The last bytes are read in deferred work: the end must still be acknowledged
 * before the stream is forgotten. */
static void test_last_bytes_read_late_are_acknowledged(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer2, *fs2 = open_stream(&n, &peer2);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_shutdown(fs);
    fs->rx_paused = true;
    fake_post(peer, 1000);
    fake_shutdown(peer);
    fake_run(n.w);
    g_assert_cmpstr(stream_state(fs), ==, "peer-ending-last");
    fs2->hook = read_on_hook;
    fs2->hook_data = fs;
    fake_post(peer2, 10);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_shutdown_before_established(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    n.to->answer = FAKE_LATER;
    n.to->passive_tx = 777;
    fs = fake_connect(n.from, n.to->mac, 1234);
    fake_run(n.w);
    g_assert_cmpstr(stream_state(fs), ==, "opening");
    fake_accept(fake_peer_of(n.to, fs));
    fake_run(n.w);
    assert_clean(fs);
    g_assert_cmpuint(fs->rx_off, ==, 777);
    g_assert_cmpuint(fake_peer_of(n.to, fs)->rx_off, ==, 1234);
    fake_world_free(n.w);
}

static void test_close_with_data_unread_resets(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    peer->rx_paused = true;
    fake_post(fs, 1000);
    fake_run(n.w);
    peer->rx_closed = true;
    vnet_stream_rx_close(peer->s);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_UNREAD);
    assert_reset(fs, VTOE_REASON_UNREAD);
    g_assert_cmpuint(fake_stats(n.to->h)->reset_unread, ==, 1);
    g_assert_cmpuint(fake_stats(n.from->h)->reset_peer, ==, 1);
    fake_world_free(n.w);
}

static void test_close_then_data_resets(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    peer->rx_closed = true;
    vnet_stream_rx_close(peer->s);
    fake_shutdown(peer);
    fake_run(n.w);
    g_assert_cmpuint(fs->rx_ended, ==, 1);
    fake_post(fs, 1);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_UNREAD);
    assert_reset(fs, VTOE_REASON_UNREAD);
    fake_world_free(n.w);
}

static void test_close_without_data_is_graceful(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 1000);
    fake_run(n.w);
    peer->rx_closed = true;
    vnet_stream_rx_close(peer->s);
    fake_shutdown(peer);
    fake_run(n.w);
    fake_shutdown(fs);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(peer->rx_ended, ==, 0);    /* nobody wants to know */
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T4(every_byte_arrives_both_ways);
    T4(64_mib_both_ways);
    T2(acks_are_few);
    T2(ack_comes_without_more_data);
    T2(slow_reader_stops_only_itself);
    T4(a_thousand_streams);
    T4(active_close);
    T4(passive_close);
    T4(simultaneous_close);
    T4(half_close_carries_data_on);
    T4(end_before_the_data);
    T2(data_and_eof_before_the_end);
    T2(eof_without_end_is_a_reset);
    T2(end_with_bytes_missing_is_a_reset);
    T2(bytes_beyond_the_end_are_not_delivered);
    T4(nothing_is_sent_beyond_the_end);
    T2(last_bytes_read_late_are_acknowledged);
    T4(shutdown_before_established);
    T2(close_with_data_unread_resets);
    T4(close_then_data_resets);
    T4(close_without_data_is_graceful);
    return g_test_run();
}
