/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Receives and credits: streams on message transports
 * (docs/specs/vnet-wire.rst, "Receives and credits").
 *
 *   left -- nic a (sends) ===== message link ===== nic b (receives) -- right
 *
 * That no message meets an end without a receive, or is longer than it, is
 * checked by the transport in each of these tests; so is that the machine lends
 * no more than a connection can have posted.  What message transports have in
 * common with others is tested by test-vnet-stream.c for both.
 */
#include <errno.h>
#include "vnet-credit-net.h"

static void assert_clean(FakeStream *fs)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NONE);
}

static void assert_reset(FakeStream *fs, enum vtoe_reason reason)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, reason);
}

/* --- Ahead --------------------------------------------------------------- */

static void test_receives_are_there_before_the_first_byte(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    g_assert_cmpuint(info(peer).rx_lent, ==, VNET_CREDIT_AHEAD);
    g_assert_cmpuint(info(fs).tx_grants, ==, VNET_CREDIT_AHEAD);
    g_assert_cmpuint(rx_stats(&n)->credits_sent, ==, 1);
    fake_post(fs, 1);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 1);
    g_assert_cmpuint(fs->tx_acked, ==, 1);
    g_assert_cmpuint(tx_stats(&n)->wants_sent, ==, 0);
    g_assert_cmpuint(rx_stats(&n)->receives_wanted, ==, 0);
    fake_world_free(n.w);
}

static void test_no_message_acknowledges_data(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    fake_post(fs, 4 << 20);
    fake_advance(n.w, 10 * VNET_ACK_NS);
    g_assert_cmpuint(fs->tx_acked, ==, 4 << 20);
    g_assert_cmpuint(rx_stats(&n)->acks_sent, ==, 0);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpuint(rx_stats(&n)->acks_sent, ==, 1);   /* of the end */
    fake_world_free(n.w);
}

static void test_refilled_when_half_are_used(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    for (unsigned i = 1; i < VNET_CREDIT_AHEAD / 2; i++) {
        fake_post(fs, 1);
        fake_run(n.w);
        g_assert_cmpuint(info(peer).rx_lent, ==, VNET_CREDIT_AHEAD - i);
    }
    g_assert_cmpuint(rx_stats(&n)->credits_sent, ==, 1);
    fake_post(fs, 1);
    fake_run(n.w);
    g_assert_cmpuint(info(peer).rx_lent, ==, VNET_CREDIT_AHEAD);
    g_assert_cmpuint(info(fs).tx_grants, ==, VNET_CREDIT_AHEAD);
    g_assert_cmpuint(rx_stats(&n)->credits_sent, ==, 2);
    fake_world_free(n.w);
}

static void test_idle_streams_hold_at_most_half_of_a_pool(void)
{
    Net n = net_new();
    FakeStream *fs[512];

    n.b->pool = n.b->pool_free = 128;
    n.b->passive_hold = true;
    for (int i = 0; i < 512; i++) {
        fs[i] = fake_connect(n.a, n.b->mac, UINT64_MAX);
    }
    fake_run(n.w);
    g_assert_cmpuint(n.b->pool_free, ==, 64);
    /* One after the other, though most of them have nothing of their own. */
    for (int i = 511; i >= 0; i--) {
        fake_post(fs[i], 30000);
        fake_run(n.w);
        g_assert_cmpuint(fake_peer_of(n.b, fs[i])->rx_off, ==, 30000);
        g_assert_cmpuint(n.b->pool_free, >=, 64);
    }
    fake_world_free(n.w);
}

/* --- On demand ----------------------------------------------------------- */

static void test_want_brings_what_is_missing(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);

    g_assert_cmpuint(info(peer).rx_lent, ==, 0);
    fake_post(fs, 20000);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 20000);
    g_assert_cmpuint(tx_stats(&n)->wants_sent, ==, 1);
    g_assert_cmpuint(rx_stats(&n)->wants_received, ==, 1);
    g_assert_cmpuint(rx_stats(&n)->receives_wanted, ==, 3);     /* of 8 KiB */
    g_assert_cmpuint(rx_stats(&n)->receives_ahead, ==, 0);
    /* Nothing is kept. */
    g_assert_cmpuint(info(peer).rx_lent, ==, 0);
    g_assert_cmpuint(info(fs).tx_grants, ==, 0);
    fake_world_free(n.w);
}

static void test_wants_once_until_a_credit_comes(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);

    peer->rx_paused = true;
    for (int i = 0; i < 10; i++) {
        fake_post(fs, 1000);
        fake_run(n.w);
    }
    g_assert_cmpuint(tx_stats(&n)->wants_sent, ==, 1);
    fake_resume(peer);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 10000);
    g_assert_cmpuint(tx_stats(&n)->wants_sent, ==, 2);
    fake_world_free(n.w);
}

/* The bytes and the WANT for them are on different connections. */
static void test_a_want_behind_its_bytes_asks_for_nothing(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);
    VnetMsg m;

    fake_link_swallow(n.l, true, VNET_MSG_WANT);
    fake_post(fs, 100);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 0);
    peer->spare = 4;
    vnet_stream_rx_ready(peer->s);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 100);
    peer->spare = 0;
    m = msg(VNET_MSG_WANT, fs, 100);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    assert_link_up(&n);
    g_assert_cmpuint(info(peer).rx_lent, ==, VNET_CREDIT_AHEAD - 1);
    g_assert_cmpuint(rx_stats(&n)->receives_wanted, ==, 0);
    fake_world_free(n.w);
}

static void test_many_streams_share_few_receives(gconstpointer data)
{
    Net n = net_of(GPOINTER_TO_INT(data), 64);
    unsigned count = data ? 100 : 512;
    FakeStream *fs[512];

    n.a->pool = n.a->pool_free = data ? 3 : 128;
    n.b->pool = n.b->pool_free = data ? 1 : 128;
    n.b->passive_tx = 70000;
    for (unsigned i = 0; i < count; i++) {
        fs[i] = fake_connect(n.a, n.b->mac, 100000);
    }
    fake_run(n.w);
    for (unsigned i = 0; i < count; i++) {
        FakeStream *peer = fake_peer_of(n.b, fs[i]);

        assert_clean(fs[i]);
        assert_clean(peer);
        g_assert_cmpuint(peer->rx_off, ==, 100000);
        g_assert_cmpuint(fs[i]->rx_off, ==, 70000);
    }
    fake_world_free(n.w);
}

static void test_slow_reader_stops_only_itself(void)
{
    Net n = net_new();
    FakeStream *peer, *fs;

    n.b->pool = n.b->pool_free = 40;
    fs = open_stream(&n, 0, &peer);
    g_assert_cmpuint(info(peer).rx_lent, ==, 16);
    peer->rx_paused = true;
    fake_post(fs, 10 << 20);
    fake_run(n.w);
    /* It has no more buffers than the ones it had, and they are back. */
    g_assert_cmpuint(peer->rx_off, ==, 16 * 8192);
    g_assert_cmpuint(fs->tx_acked, ==, 16 * 8192);
    g_assert_cmpuint(n.b->pool_free, ==, 40);
    n.b->passive_hold = false;
    n.b->passive_tx = 1 << 20;
    for (int i = 0; i < 20; i++) {
        FakeStream *other = fake_connect(n.a, n.b->mac, 1 << 20);

        fake_run(n.w);
        assert_clean(other);
    }
    g_assert_cmpuint(peer->rx_off, ==, 16 * 8192);
    fake_resume(peer);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 10 << 20);
    fake_world_free(n.w);
}

/* A peer that asks for receives and sends nothing gets few of a pool. */
static void test_more_than_a_share_is_lent_only_if_spare(void)
{
    Net n = net_of(0, 1024);
    FakeStream *peer, *fs;
    VnetMsg m;

    n.b->pool = n.b->pool_free = 128;
    fs = open_stream(&n, 0, &peer);
    m = msg(VNET_MSG_WANT, fs, 1ull << 40);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpuint(n.b->pool_free, >=, 64);
    fs = open_stream(&n, 0, &peer);
    m = msg(VNET_MSG_WANT, fs, 1ull << 40);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpuint(info(peer).rx_lent, ==, VNET_CREDIT_AHEAD);
    g_assert_cmpuint(n.b->pool_free, >=, 64 - VNET_CREDIT_AHEAD);
    fake_world_free(n.w);
}

static void test_what_a_connection_can_have_posted_is_enough(void)
{
    static const unsigned max[] = { 1, 2, 3, 15, 17, 1024 };

    for (size_t i = 0; i < G_N_ELEMENTS(max); i++) {
        Net n = net_of(0, max[i]);
        FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

        fake_post(fs, 3 << 20);
        fake_run(n.w);
        g_assert_cmpuint(peer->rx_off, ==, 3 << 20);
        fake_world_free(n.w);
    }
}

static void test_messages_and_receives_of_every_length(void)
{
    static const size_t len[] = { 1, 64, 8191, 20000, MAX_MSG, 200000 };

    for (size_t i = 0; i < G_N_ELEMENTS(len); i++) {
        Net n = net_new();
        FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

        peer->rx_buf = len[i];
        fake_post(fs, len[i] == 1 ? 2000 : 1 << 20);
        fake_run(n.w);
        g_assert_cmpuint(peer->rx_off, ==, fs->tx_posted);
        peer->rx_buf = 3000;
        peer->rx_vary = true;           /* each is another one */
        fake_post(fs, 100000);
        fake_run(n.w);
        g_assert_cmpuint(peer->rx_off, ==, fs->tx_posted);
        fake_world_free(n.w);
    }
}

/* --- Ends ---------------------------------------------------------------- */

static void test_end_with_bytes_in_flight(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    fake_link_stall_data(n.l, true);
    fake_post(fs, 100000);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpstr(info(fs).state, ==, "end-sent");
    g_assert_cmpstr(info(peer).state, ==, "peer-ending");
    g_assert_cmpuint(peer->rx_ended, ==, 0);
    fake_advance(n.w, 60 * S);
    fake_link_stall_data(n.l, false);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 100000);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    g_assert_cmpstr(info(fs).state, ==, "half-closed");
    g_assert_cmpuint(fs->tx_acked, ==, 100000);
    /* 13 were used, and no others came in their place. */
    g_assert_cmpuint(info(peer).rx_lent, ==, VNET_CREDIT_AHEAD - 13);
    g_assert_cmpuint(rx_stats(&n)->receives_ahead, ==, VNET_CREDIT_AHEAD);
    fake_world_free(n.w);
}

static void test_end_needs_no_receive(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);

    peer->rx_paused = true;
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_end_waits_for_bytes_that_have_no_receive(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);

    peer->rx_paused = true;
    fake_post(fs, 50000);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpstr(info(fs).state, ==, "ending");
    g_assert_cmpstr(info(peer).state, ==, "established");
    fake_resume(peer);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 50000);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    fake_world_free(n.w);
}

/* The end says that all bytes have their receives: no more are lent. */
static void test_nothing_is_lent_behind_the_end(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);
    VnetMsg m;

    fake_shutdown(fs);
    fake_run(n.w);
    peer->spare = 1000;
    vnet_stream_rx_ready(peer->s);
    fake_run(n.w);
    g_assert_cmpuint(info(peer).rx_lent, ==, 0);
    /* One that crossed the end on its way is nothing to the sender. */
    m = credit(fs, 5, 100);
    fake_link_inject_msg(n.l, false, &m);
    fake_run(n.w);
    g_assert_cmpuint(info(fs).tx_grants, ==, 0);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_both_ends_close_at_once(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    fake_link_stall_control(n.l, true);
    fake_post(fs, 3000);
    fake_post(peer, 4000);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    g_assert_cmpstr(info(fs).state, ==, "end-sent");
    g_assert_cmpstr(info(peer).state, ==, "end-sent");
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(fs->rx_off, ==, 4000);
    g_assert_cmpuint(peer->rx_off, ==, 3000);
    fake_world_free(n.w);
}

static void test_abort_with_receives_posted(void)
{
    for (int who = 0; who < 2; who++) {
        for (int full = 0; full < 2; full++) {
            Net n = net_new();
            FakeStream *peer, *fs = open_stream(&n, 1000, &peer);
            FakeStream *us = who ? peer : fs, *them = who ? fs : peer;

            fake_link_stall_data(n.l, full);
            fake_post(fs, 100000);
            fake_post(peer, 100000);
            fake_run(n.w);
            g_assert_cmpuint(us->lent.length, >, 0);
            g_assert_cmpuint(them->lent.length, >, 0);
            vnet_stream_abort(us->s, VTOE_REASON_RESET);
            us->s = NULL;
            g_assert_cmpuint(us->lent.length, ==, 0);
            fake_run(n.w);
            assert_reset(them, VTOE_REASON_RESET);
            g_assert_cmpuint(them->lent.length, ==, 0);
            g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
            fake_world_free(n.w);
        }
    }
}

static void test_end_acknowledges_before_the_sends_complete(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    fake_link_stall_sends(n.l, true);
    fake_post(fs, 30000);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 30000);
    g_assert_cmpuint(fs->tx_acked, ==, 0);
    fake_shutdown(fs);
    fake_run(n.w);
    g_assert_cmpuint(fs->tx_acked, ==, 30000);
    g_assert_cmpstr(info(fs).state, ==, "half-closed");
    fake_link_stall_sends(n.l, false);
    fake_run(n.w);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

/* The peer has all, closes, and takes the connection away before it
 * acknowledged the last message to ours. */
static void test_connection_lost_before_the_last_send_completes(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);
    VnetMsg ack = msg(VNET_MSG_ACK, fs, 30000);

    ack.flags = VNET_ACK_F_END;
    fake_shutdown(peer);
    fake_run(n.w);
    fake_link_stall_sends(n.l, true);
    fake_link_swallow(n.l, false, VNET_MSG_ACK);
    fake_post(fs, 30000);
    fake_shutdown(fs);
    fake_run(n.w);
    assert_clean(peer);
    g_assert_cmpstr(info(fs).state, ==, "last-ack");
    g_assert_cmpuint(fs->tx_acked, ==, 0);
    fake_advance(n.w, VNET_GUARD_NS / 2);
    g_assert_nonnull(fs->s);
    fake_link_inject_msg(n.l, false, &ack);
    fake_run(n.w);
    assert_clean(fs);
    g_assert_cmpuint(fs->tx_acked, ==, 30000);
    fake_world_free(n.w);
}

static void test_connection_lost_with_bytes_in_flight_is_a_reset(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    fake_link_stall_data(n.l, true);
    fake_post(fs, 30000);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    fake_stream_break_cid(fs, ECONNRESET);
    fake_advance(n.w, VNET_GUARD_NS);
    assert_reset(peer, VTOE_REASON_LINK_LOST);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(peer->rx_ended, ==, 0);
    assert_link_up(&n);
    fake_world_free(n.w);
}

/* --- A guest that closed -------------------------------------------------- */

static void close_guest(FakeStream *fs)
{
    fs->rx_closed = true;
    vnet_stream_rx_close(fs->s);
    fake_shutdown(fs);
}

static void test_close_then_bytes_in_a_receive_resets(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    close_guest(peer);
    fake_run(n.w);
    g_assert_cmpuint(fs->rx_ended, ==, 1);
    fake_post(fs, 1);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_UNREAD);
    assert_reset(fs, VTOE_REASON_UNREAD);
    fake_world_free(n.w);
}

static void test_close_and_want_resets(gconstpointer want_first)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);

    peer->rx_paused = true;
    if (!want_first) {
        close_guest(peer);
        fake_run(n.w);
    }
    fake_post(fs, 1000);
    if (want_first) {
        fake_run(n.w);
        close_guest(peer);
    }
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_UNREAD);
    assert_reset(fs, VTOE_REASON_UNREAD);
    g_assert_cmpuint(fake_stats(n.right)->reset_unread, ==, 1);
    fake_world_free(n.w);
}

static void test_close_without_bytes_is_graceful(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 1000, &peer);

    fake_post(fs, 5000);
    fake_run(n.w);
    close_guest(peer);
    fake_run(n.w);
    fake_shutdown(fs);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/credit/" #name, test_##name)
    T(receives_are_there_before_the_first_byte);
    T(no_message_acknowledges_data);
    T(refilled_when_half_are_used);
    T(idle_streams_hold_at_most_half_of_a_pool);
    T(want_brings_what_is_missing);
    T(wants_once_until_a_credit_comes);
    T(a_want_behind_its_bytes_asks_for_nothing);
    g_test_add_data_func("/vnet/credit/512_streams_share_128_receives",
                         GINT_TO_POINTER(0),
                         test_many_streams_share_few_receives);
    g_test_add_data_func("/vnet/credit/100_streams_share_one_receive",
                         GINT_TO_POINTER(7),
                         test_many_streams_share_few_receives);
    T(slow_reader_stops_only_itself);
    T(more_than_a_share_is_lent_only_if_spare);
    T(what_a_connection_can_have_posted_is_enough);
    T(messages_and_receives_of_every_length);
    T(end_with_bytes_in_flight);
    T(end_needs_no_receive);
    T(end_waits_for_bytes_that_have_no_receive);
    T(nothing_is_lent_behind_the_end);
    T(both_ends_close_at_once);
    T(abort_with_receives_posted);
    T(end_acknowledges_before_the_sends_complete);
    T(connection_lost_before_the_last_send_completes);
    T(connection_lost_with_bytes_in_flight_is_a_reset);
    T(close_then_bytes_in_a_receive_resets);
    g_test_add_data_func("/vnet/credit/want_then_close_resets",
                         GINT_TO_POINTER(1), test_close_and_want_resets);
    g_test_add_data_func("/vnet/credit/close_then_want_resets",
                         GINT_TO_POINTER(0), test_close_and_want_resets);
    T(close_without_bytes_is_graceful);
    return g_test_run();
}
