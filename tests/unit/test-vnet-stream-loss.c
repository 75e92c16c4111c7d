/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that are aborted or lost, in every state and inside every callback.
 */
#include <errno.h>
#include "vnet-core.h"      /* the times */
#include "vnet-stream-net.h"

static void test_abort_in_every_state(gconstpointer data)
{
    for (int stage = 0; stage < STAGES; stage++) {
        for (int who = 0; who < 2; who++) {
            Net n = net_new(data);
            FakeStream *peer, *fs = bring_to(&n, stage, &peer);
            FakeStream *us = who ? peer : fs, *them = who ? fs : peer;

            vnet_stream_abort(us->s, VTOE_REASON_RESET);
            us->s = NULL;
            g_assert_cmpuint(us->lent.length, ==, 0);
            fake_advance(n.w, 5 * S);
            g_assert_null(them->s);
            g_assert_cmpint(them->reason, ==, VTOE_REASON_RESET);
            g_assert_cmpuint(us->failed + us->disconnected, ==, 0);
            g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
            assert_link_up(&n);
            n.to->answer = FAKE_ACCEPT;
            transfer(&n, 1000, 1000);
            fake_world_free(n.w);
        }
    }
}

static void test_link_loss_in_every_state(gconstpointer data)
{
    for (int stage = 0; stage < STAGES; stage++) {
        for (int who = 1; who < 4; who++) {
            Net n = net_new(data);
            FakeStream *peer, *fs = bring_to(&n, stage, &peer);

            fake_link_cut(n.l, who & 1, who & 2);
            fake_run(n.w);
            if (fs->established) {
                assert_reset(fs, VTOE_REASON_LINK_LOST);
            } else {
                assert_failed(fs, VTOE_EVENT_UNREACHABLE,
                              VTOE_REASON_LINK_LOST);
            }
            assert_reset(peer, VTOE_REASON_LINK_LOST);
            fake_advance(n.w, 10 * S);
            assert_link_up(&n);
            n.to->answer = FAKE_ACCEPT;
            transfer(&n, 1000, 1000);
            fake_world_free(n.w);
        }
    }
}

static void test_connection_loss_in_every_state(gconstpointer data)
{
    for (int stage = ESTABLISHED; stage < STAGES; stage++) {
        Net n = net_new(data);
        FakeStream *peer, *fs = bring_to(&n, stage, &peer);

        fake_stream_break_cid(fs, ECONNRESET);
        fake_advance(n.w, 1 * S);
        g_assert_true(fs->s && peer->s);
        fake_advance(n.w, 2 * S);
        assert_reset(fs, VTOE_REASON_LINK_LOST);
        assert_reset(peer, VTOE_REASON_LINK_LOST);
        assert_link_up(&n);
        transfer(&n, 1000, 1000);
        fake_world_free(n.w);
    }
}

/* The connection is not needed any more, only its acknowledgement is. */
static void test_connection_loss_when_done_does_no_harm(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg ack = msg(VNET_MSG_ACK, stream_id(fs), 1000);

    ack.flags = VNET_ACK_F_END;
    fake_shutdown(peer);
    fake_post(fs, 1000);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    fake_link_swallow(n.l, opener_is_server(&n), VNET_MSG_ACK);
    fake_shutdown(fs);
    fake_run(n.w);
    assert_clean(peer);         /* and its connection is closed */
    g_assert_cmpstr(stream_state(fs), ==, "last-ack");
    fake_stream_break_cid(fs, EPIPE);
    fake_advance(n.w, 60 * S);
    g_assert_cmpstr(stream_state(fs), ==, "last-ack");
    fake_link_inject_msg(n.l, opener_is_server(&n), &ack);
    fake_run(n.w);
    assert_clean(fs);
    fake_world_free(n.w);
}

static void test_reset_of_a_device(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer), *fs2, *peer2;

    n.to->answer = FAKE_LATER;
    fs2 = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    peer2 = fake_peer_of(n.to, fs2);
    vnet_port_reset_streams(n.to->port, VTOE_REASON_DEVICE_RESET);
    assert_reset(peer, VTOE_REASON_DEVICE_RESET);
    assert_reset(peer2, VTOE_REASON_DEVICE_RESET);
    fake_run(n.w);
    assert_reset(fs, VTOE_REASON_DEVICE_RESET);
    assert_failed(fs2, VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_DEVICE_RESET);
    n.to->answer = FAKE_ACCEPT;
    fs = open_stream(&n, &peer);
    vnet_port_reset_streams(n.from->port, VTOE_REASON_DEVICE_RESET);
    fake_run(n.w);
    assert_reset(fs, VTOE_REASON_DEVICE_RESET);
    assert_reset(peer, VTOE_REASON_DEVICE_RESET);
    fake_world_free(n.w);
}

static void test_detach_with_streams_open(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 10000);
    fake_nic_free(n.to);
    fake_run(n.w);
    assert_reset(fs, VTOE_REASON_DEVICE_RESET);
    fs = fake_connect(n.from, (uint8_t[6]) { 0x52, 0x54, 0, 0, 0,
                                             n.from == n.a ? 2 : 1 }, 10);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_PEER);
    fake_world_free(n.w);
}

static void abort_hook(FakeStream *fs, const char *where)
{
    if (!strcmp(where, fs->hook_data)) {
        VnetStream *s = fs->s;

        fs->s = NULL;
        vnet_stream_abort(s, VTOE_REASON_RESET);
        g_assert_cmpuint(fs->lent.length, ==, 0);
    }
}

static void test_abort_inside_a_callback(gconstpointer data)
{
    static const char *const where[] = { "rx_done", "acked", "rx_end" };

    for (size_t i = 0; i < G_N_ELEMENTS(where); i++) {
        Net n = net_new(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);

        peer->hook = fs->hook = abort_hook;
        fs->hook_data = peer->hook_data = (void *)where[i];
        fs->rx_buf = peer->rx_buf = 100;
        fake_post(fs, 5000);
        fake_shutdown(fs);
        fake_advance(n.w, 10 * S);
        g_assert_true(!fs->s && !peer->s);
        g_assert_cmpuint(fs->disconnected + peer->disconnected, ==, 1);
        assert_link_up(&n);
        fake_world_free(n.w);
    }
}

static void ready_hook(FakeStream *fs, const char *where)
{
    if (fs->tx_posted < 1 << 20) {
        fs->tx_posted += 1000;
    }
    vnet_stream_tx_ready(fs->s);
    vnet_stream_rx_ready(fs->s);
}

static void test_ready_inside_a_callback(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fs->hook = peer->hook = ready_hook;
    fake_post(fs, 1000);
    fake_advance(n.w, 5 * S);
    g_assert_cmpuint(peer->rx_off, ==, fs->tx_posted);
    g_assert_cmpuint(fs->tx_posted, >=, 1 << 20);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

static void test_batch_end_once_per_dispatch(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    unsigned before = n.to->batches;

    peer->rx_buf = 10;          /* a hundred callbacks */
    fake_post(fs, 1000);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 1000);
    g_assert_cmpuint(n.to->batches - before, ==, 1);
    fake_world_free(n.w);
}

/* The peer waits for the bytes and does not notice; END was sent. */
static void test_unacknowledged_bytes_lost_behind_the_end(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_shutdown(peer);
    fake_run(n.w);
    fake_link_swallow(n.l, opener_is_server(&n), VNET_MSG_ACK);
    fake_post(fs, 1000);
    fake_shutdown(fs);
    peer->rx_paused = true;
    fake_run(n.w);
    g_assert_cmpstr(stream_state(fs), ==, "last-ack");
    fake_stream_break_cid(fs, ECONNRESET);
    fake_advance(n.w, VNET_GUARD_NS + S);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T4(abort_in_every_state);
    T4(link_loss_in_every_state);
    T4(connection_loss_in_every_state);
    T4(connection_loss_when_done_does_no_harm);
    T2(unacknowledged_bytes_lost_behind_the_end);
    T4(reset_of_a_device);
    T4(detach_with_streams_open);
    T4(abort_inside_a_callback);
    T4(ready_inside_a_callback);
    T4(batch_end_once_per_dispatch);
    return g_test_run();
}
