/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine between two cores (docs/specs/vnet-wire.rst, "Streams").
 *
 *   left -- nic a (…:01) ===== fake link ===== nic b (…:02) -- right
 *
 * left is the link's client.  Tests that care run with the stream opened from
 * either end, as the two ends of a link differ in who connects.
 */
#include <errno.h>
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-fake.h"

typedef struct Net {
    FakeWorld *w;
    FakeHost *left, *right;
    FakeLink *l;
    FakeNic *a, *b;
    FakeNic *from, *to;         /* who opens streams */
} Net;

#define MS      1000000ll
#define S       (1000 * MS)

static Net net_on(FakeWorld *w, bool from_left)
{
    Net n = { .w = w };

    n.left = fake_host(w);
    n.right = fake_host(w);
    n.a = fake_nic_new(n.left, 1);
    n.b = fake_nic_new(n.right, 2);
    n.l = fake_link_new(w, n.left, n.right);
    n.from = from_left ? n.a : n.b;
    n.to = from_left ? n.b : n.a;
    fake_run(w);
    g_test_message("%s / %s", fake_last_error(n.l, false),
                   fake_last_error(n.l, true));
    g_assert_cmpstr(vnet_link_state(fake_link_client(n.l)), ==, "up");
    g_assert_cmpstr(vnet_link_state(fake_link_server(n.l)), ==, "up");
    return n;
}

/* data: whether the stream is opened from the left. */
static Net net_new(gconstpointer data)
{
    return net_on(fake_world_new(0), GPOINTER_TO_INT(data));
}

static FakeHost *from_host(Net *n)
{
    return n->from->h;
}

/* To the end that opens / to the other one: for injected messages. */
static bool opener_is_server(Net *n)
{
    return n->from == n->b;
}

static const char *stream_state(FakeStream *fs)
{
    VnetStreamInfo info;

    if (!fs->s) {
        return "gone";
    }
    vnet_stream_get_info(fs->s, &info);
    return info.state;
}

static uint32_t stream_id(FakeStream *fs)
{
    VnetStreamInfo info;

    vnet_stream_get_info(fs->s, &info);
    return info.cid;
}

static VnetMsg msg(uint8_t type, uint32_t id, uint64_t offset)
{
    VnetMsg m = { .type = type, .id = id };

    m.u.offset.offset = offset;
    return m;
}

static void assert_clean(FakeStream *fs)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->established, ==, 1);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NONE);
}

static void assert_reset(FakeStream *fs, enum vtoe_reason reason)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, reason);
}

static void assert_failed(FakeStream *fs, enum vtoe_event_type event,
                          enum vtoe_reason reason)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->failed, ==, 1);
    g_assert_cmpint(fs->event, ==, event);
    g_assert_cmpint(fs->reason, ==, reason);
}

static void assert_link_up(Net *n)
{
    g_assert_cmpstr(vnet_link_state(fake_link_client(n->l)), ==, "up");
    g_assert_cmpstr(vnet_link_state(fake_link_server(n->l)), ==, "up");
}

/* An established stream that says nothing by itself. */
static FakeStream *open_stream(Net *n, FakeStream **peer)
{
    FakeStream *fs;

    n->to->passive_tx = 0;
    n->to->passive_hold = true;
    fs = fake_connect(n->from, n->to->mac, UINT64_MAX);
    fake_run(n->w);
    *peer = fake_peer_of(n->to, fs);
    g_assert_cmpstr(stream_state(fs), ==, "established");
    g_assert_cmpstr(stream_state(*peer), ==, "established");
    return fs;
}

/* --- Bytes --------------------------------------------------------------- */

static void transfer(Net *n, uint64_t there, uint64_t back)
{
    FakeStream *fs, *peer;

    n->to->passive_tx = back;
    n->to->passive_hold = false;
    fs = fake_connect(n->from, n->to->mac, there);
    fake_advance(n->w, 2 * VNET_ACK_NS);
    peer = fake_peer_of(n->to, fs);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(fs->rx_off, ==, back);
    g_assert_cmpuint(peer->rx_off, ==, there);
    g_assert_cmpuint(fs->rx_ended + peer->rx_ended, ==, 2);
}

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

/* --- Not coming about ---------------------------------------------------- */

static void test_connect_to_unknown_address(gconstpointer data)
{
    static const uint8_t nobody[6] = { 0x52, 0x54, 0, 0, 0, 99 };
    Net n = net_new(data);
    FakeStream *fs = fake_connect(n.from, nobody, 10);

    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_PEER);
    g_assert_cmpuint(fake_stats(from_host(&n))->connect_no_peer, ==, 1);
    fake_world_free(n.w);
}

static void test_connect_to_a_group_address(gconstpointer data)
{
    static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    Net n = net_new(data);
    FakeStream *fs = fake_connect(n.from, all, 10);

    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_PEER);
    fake_world_free(n.w);
}

static void test_connect_to_incapable(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    vnet_port_set_streams(n.to->port, false);
    fake_run(n.w);
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_STREAMS);
    vnet_port_set_streams(n.to->port, true);
    fake_run(n.w);
    transfer(&n, 10, 10);
    fake_world_free(n.w);
}

static void test_connect_to_learnt_only(gconstpointer data)
{
    static const uint8_t behind[6] = { 0x52, 0x54, 0, 0, 0, 50 };
    Net n = net_new(data);
    FakeStream *fs;

    fake_send_frame(n.to, n.from->mac, behind, 60);
    fake_run(n.w);
    fs = fake_connect(n.from, behind, 10);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_STREAMS);
    fake_world_free(n.w);
}

static void test_connect_to_a_port_of_the_same_core(gconstpointer data)
{
    Net n = net_new(data);
    FakeNic *near = fake_nic_new(n.from->h, 9);
    FakeStream *fs = fake_connect(n.from, near->mac, 10);

    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_STREAMS);
    fake_world_free(n.w);
}

static void test_connect_while_down(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    fake_run(n.w);
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_UNREACHABLE, VTOE_REASON_LINK_DOWN);
    fake_link_block(n.l, false);
    fake_advance(n.w, 10 * S);
    transfer(&n, 10, 10);
    fake_world_free(n.w);
}

static void test_connect_without_any_link(void)
{
    static const uint8_t other[6] = { 0x52, 0x54, 0, 0, 0, 2 };
    FakeWorld *w = fake_world_new(0);
    FakeNic *a = fake_nic_new(fake_host(w), 1);
    FakeStream *fs = fake_connect(a, other, 10);

    fake_run(w);
    assert_failed(fs, VTOE_EVENT_ROUTE_ERROR, VTOE_REASON_NO_PEER);
    g_assert_true(a->carrier);
    fake_world_free(w);
}

static void test_refused_by_the_nic(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    n.to->answer = FAKE_REFUSE;
    n.to->refuse = VTOE_REASON_NO_LISTENER;
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_advance(n.w, 30 * S);
    assert_failed(fs, VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_NO_LISTENER);
    g_assert_cmpuint(fake_stats(n.to->h)->rejected_port, ==, 1);
    g_assert_cmpuint(fake_stats(n.from->h)->connect_rejected, ==, 1);
    g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
    fake_world_free(n.w);
}

static void test_rejected_by_the_guest(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs, *peer;

    n.to->answer = FAKE_LATER;
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    peer = fake_peer_of(n.to, fs);
    g_assert_cmpstr(stream_state(peer), ==, "asked");
    vnet_stream_reject(peer->s, VTOE_REASON_TIMEOUT);
    peer->s = NULL;             /* no callback follows */
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_TIMEOUT);
    g_assert_cmpuint(peer->disconnected, ==, 0);
    fake_world_free(n.w);
}

/* The REJECT is slow, the closed connection fast: the reason gets there. */
static void test_reject_after_the_connection_broke(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs, *peer;

    n.to->answer = FAKE_LATER;
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    peer = fake_peer_of(n.to, fs);
    fake_link_stall_control(n.l, true);
    vnet_stream_reject(peer->s, VTOE_REASON_BACKLOG);
    peer->s = NULL;
    fake_advance(n.w, 1 * S);
    g_assert_nonnull(fs->s);
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_BACKLOG);
    fake_world_free(n.w);
}

static void test_cancelled_by_the_opener(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs, *peer;

    n.to->answer = FAKE_LATER;
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    peer = fake_peer_of(n.to, fs);
    vnet_stream_abort(fs->s, VTOE_REASON_CANCELLED);
    fs->s = NULL;
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_CANCELLED);
    g_assert_cmpuint(fs->failed + fs->disconnected, ==, 0);
    g_assert_cmpuint(fake_stats(n.from->h)->connect_cancelled, ==, 1);
    g_assert_cmpuint(fake_stats(n.to->h)->reset_cancelled, ==, 1);
    fake_world_free(n.w);
}

static void test_cancelled_before_it_failed(gconstpointer data)
{
    static const uint8_t nobody[6] = { 0x52, 0x54, 0, 0, 0, 99 };
    Net n = net_new(data);
    FakeStream *fs = fake_connect(n.from, nobody, 10);

    vnet_stream_abort(fs->s, VTOE_REASON_CANCELLED);
    fs->s = NULL;
    fake_run(n.w);
    g_assert_cmpuint(fs->failed, ==, 0);
    fake_world_free(n.w);
}

static void test_accept_crosses_cancel(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs, *peer;

    n.to->answer = FAKE_LATER;
    n.to->passive_tx = 100;
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    peer = fake_peer_of(n.to, fs);
    fake_link_stall_control(n.l, true);
    fake_accept(peer);
    vnet_stream_abort(fs->s, VTOE_REASON_CANCELLED);
    fs->s = NULL;
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_CANCELLED);
    g_assert_cmpuint(fake_link_stats(n.l, opener_is_server(&n))->unknown_stream,
                     >=, 1);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_no_answer_in_time(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs, *peer;

    n.to->answer = FAKE_LATER;
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_advance(n.w, VNET_CONNECT_NS - 1);
    peer = fake_peer_of(n.to, fs);
    g_assert_nonnull(fs->s);
    fake_advance(n.w, 1);
    assert_failed(fs, VTOE_EVENT_UNREACHABLE, VTOE_REASON_TIMEOUT);
    assert_reset(peer, VTOE_REASON_TIMEOUT);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_connection_cannot_be_made(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    fake_link_refuse_cids(n.l, false, ECONNREFUSED);
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_advance(n.w, 5 * S);
    if (n.from == n.a) {
        assert_failed(fs, VTOE_EVENT_UNREACHABLE, VTOE_REASON_LINK_LOST);
    } else {                    /* the passive end makes it, and gives up */
        assert_failed(fs, VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_LINK_LOST);
    }
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_host_has_no_connection_left(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    fake_link_refuse_cids(n.l, true, 0);
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_HOST);
    fake_link_refuse_cids(n.l, false, 0);
    transfer(&n, 10, 10);
    fake_world_free(n.w);
}

/* The opener hears of the lack of descriptors as what it is. */
static void test_peer_has_no_connection_left(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *fs;

    n.to->answer = FAKE_LATER;
    fake_link_stall_control(n.l, true);
    fs = fake_connect(n.from, n.to->mac, 10);
    fake_link_refuse_cids(n.l, true, 0);
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_failed(fs, VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_HOST);
    g_assert_cmpuint(fake_stats(n.to->h)->rejected_host, ==, 1);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_accepted_but_no_connection_comes(void)
{
    Net n = net_new(GINT_TO_POINTER(1));
    uint8_t pre[64];
    VnetMsg m = { .type = VNET_MSG_OPEN, .id = 77 };
    FakeStream *peer;

    /* An OPEN by somebody who never opens the data connection. */
    m.u.open.vni = 7;
    m.u.open.flow.family = 4;
    memcpy(m.u.open.flow.lmac, n.a->mac, 6);
    memcpy(m.u.open.flow.rmac, n.b->mac, 6);
    (void)pre;
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    peer = n.b->streams->pdata[0];
    g_assert_cmpstr(stream_state(peer), ==, "confirmed");
    fake_advance(n.w, 11 * S);
    assert_reset(peer, VTOE_REASON_TIMEOUT);
    g_assert_cmpuint(fake_stats(n.right)->reset_timeout, ==, 1);
    fake_world_free(n.w);
}

static void test_stream_limits(gconstpointer data)
{
    FakeWorld *w = fake_world_new(0);
    VnetCoreConfig cfg = {
        .name = "small", .vni = 7, .max_streams = 3, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300,
    };
    FakeHost *small = fake_host_new(w, &cfg), *big = fake_host(w);
    FakeNic *a = fake_nic_new(small, 1), *b = fake_nic_new(big, 2);
    FakeStream *fs[4];

    fake_link_new(w, small, big);
    fake_run(w);
    b->passive_hold = a->passive_hold = true;
    for (int i = 0; i < 4; i++) {
        fs[i] = GPOINTER_TO_INT(data) ? fake_connect(a, b->mac, UINT64_MAX)
                                      : fake_connect(b, a->mac, UINT64_MAX);
    }
    fake_run(w);
    for (int i = 0; i < 3; i++) {
        g_assert_cmpstr(stream_state(fs[i]), ==, "established");
    }
    assert_failed(fs[3], VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_LIMIT);
    vnet_stream_abort(fs[0]->s, VTOE_REASON_RESET);
    fs[0]->s = NULL;
    fake_run(w);
    fs[3] = GPOINTER_TO_INT(data) ? fake_connect(a, b->mac, UINT64_MAX)
                                  : fake_connect(b, a->mac, UINT64_MAX);
    fake_run(w);
    g_assert_cmpstr(stream_state(fs[3]), ==, "established");
    fake_world_free(w);
}

/* The receiver's own limit holds, whatever the sender thinks it may. */
static void test_open_over_the_limit_is_rejected(void)
{
    FakeWorld *w = fake_world_new(0);
    VnetCoreConfig cfg = {
        .name = "small", .vni = 7, .max_streams = 3, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300,
    };
    FakeHost *small = fake_host_new(w, &cfg), *l = fake_host(w);
    FakeHost *r = fake_host(w);
    FakeNic *a = fake_nic_new(small, 1), *b = fake_nic_new(l, 2);
    FakeNic *c = fake_nic_new(r, 3);
    FakeStream *fs[5];

    fake_link_new(w, l, small);
    fake_link_new(w, r, small);
    fake_run(w);
    a->passive_hold = true;
    for (int i = 0; i < 5; i++) {
        fs[i] = fake_connect(i < 2 ? b : c, a->mac, UINT64_MAX);
        fake_run(w);
    }
    for (int i = 0; i < 3; i++) {
        g_assert_cmpstr(stream_state(fs[i]), ==, "established");
    }
    assert_failed(fs[3], VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_LIMIT);
    assert_failed(fs[4], VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_LIMIT);
    g_assert_cmpuint(fake_stats(small)->rejected_limit, ==, 2);
    fake_world_free(w);
}

/* --- Abort, and loss, in every state ------------------------------------- */

typedef enum Stage {
    OPENING, ACCEPTED, ESTABLISHED, ENDING, END_SENT, HALF_CLOSED, PEER_ENDING,
    PEER_ENDED, CLOSING, STAGES
} Stage;

static const char *const stage_names[STAGES] = {
    "opening", "accepted", "established", "ending", "end-sent", "half-closed",
    "peer-ending", "peer-ended", "closing",
};

/* A stream whose opener is in this state, both ends wired but held there. */
static FakeStream *bring_to(Net *n, Stage stage, FakeStream **peer)
{
    FakeStream *fs;

    if (stage == OPENING || stage == ACCEPTED) {
        n->to->answer = FAKE_LATER;
        n->to->passive_hold = true;
        /* As if no data connection had come up yet */
        fs = fake_connect(n->from, n->to->mac, UINT64_MAX);
        fake_run(n->w);
        *peer = fake_peer_of(n->to, fs);
        if (stage == ACCEPTED) {
            fake_accept(*peer);
            while (strcmp(stream_state(fs), "accepted") &&
                   strcmp(stream_state(fs), "established")) {
                g_assert_true(fake_step(n->w));
            }
        }
        return fs;
    }
    fs = open_stream(n, peer);
    switch (stage) {
    case ENDING:
        (*peer)->rx_paused = true;
        fake_post(fs, 1 << 20);
        fake_shutdown(fs);
        break;
    case END_SENT:
        (*peer)->rx_paused = true;
        fake_post(fs, 1000);
        fake_shutdown(fs);
        break;
    case HALF_CLOSED:
        fake_shutdown(fs);
        break;
    case PEER_ENDING:
        fs->rx_paused = true;
        fake_post(*peer, 1000);
        fake_shutdown(*peer);
        break;
    case PEER_ENDED:
        fake_shutdown(*peer);
        break;
    case CLOSING:
        fs->rx_paused = (*peer)->rx_paused = true;
        fake_post(*peer, 1000);
        fake_post(fs, 1000);
        fake_shutdown(*peer);
        fake_shutdown(fs);
        break;
    default:
        break;
    }
    fake_run(n->w);
    g_assert_cmpstr(stream_state(fs), ==, stage_names[stage]);
    return fs;
}

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

/* --- A peer that breaks the rules ---------------------------------------- */

/* Sends m to the passive end of an established stream with 1000 bytes sent
 * both ways, and expects the link to be closed for it. */
static void violate(gconstpointer data, VnetMsg m, bool to_opener)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    bool to_server = to_opener ? opener_is_server(&n) : !opener_is_server(&n);
    FakeStream *seen = to_opener ? fs : peer;

    fake_post(fs, 1000);
    fake_post(peer, 1000);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    m.id = stream_id(fs);
    fake_link_block(n.l, true);
    fake_link_inject_msg(n.l, to_server, &m);
    fake_run(n.w);
    assert_reset(seen, VTOE_REASON_PROTOCOL);
    assert_reset(to_opener ? peer : fs, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(fake_link_stats(n.l, to_server)->bad_offset +
                     fake_link_stats(n.l, to_server)->bad_order, ==, 1);
    g_assert_cmpuint(fake_link_stats(n.l, !to_server)->lost_bye, ==, 1);
    /* The other end is told why. */
    g_test_message("%s", fake_last_error(n.l, !to_server));
    g_assert_nonnull(strstr(fake_last_error(n.l, !to_server), "stream 0x"));
    fake_link_block(n.l, false);
    fake_advance(n.w, 10 * S);
    transfer(&n, 1000, 1000);
    fake_world_free(n.w);
}

static void test_violations_close_the_link(gconstpointer data)
{
    VnetMsg m;

    for (int to_opener = 0; to_opener < 2; to_opener++) {
        violate(data, msg(VNET_MSG_ACK, 0, 1001), to_opener);   /* not sent */
        violate(data, msg(VNET_MSG_ACK, 0, 999), to_opener);    /* backwards */
        violate(data, msg(VNET_MSG_ACK, 0, VNET_OFFSET_MAX), to_opener);
        m = msg(VNET_MSG_ACK, 0, 1000);
        m.flags = VNET_ACK_F_END;                               /* no end */
        violate(data, m, to_opener);
        violate(data, msg(VNET_MSG_END, 0, 999), to_opener);    /* had more */
        violate(data, msg(VNET_MSG_CREDIT, 0, 5000), to_opener);
        violate(data, msg(VNET_MSG_ACCEPT, 0, 0), to_opener);
        m = msg(VNET_MSG_REJECT, 0, 0);
        m.u.reject.reason = VTOE_REASON_LIMIT;
        violate(data, m, to_opener);
    }
}

static void test_end_twice_is_a_violation(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = msg(VNET_MSG_END, stream_id(fs), 0);

    fake_shutdown(fs);
    fake_run(n.w);
    fake_link_inject_msg(n.l, !opener_is_server(&n), &m);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_PROTOCOL);
    fake_world_free(n.w);
}

static void test_open_of_a_used_id_is_a_violation(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = { .type = VNET_MSG_OPEN, .id = stream_id(fs) };

    m.u.open.vni = 7;
    m.u.open.flow = fs->flow;
    fake_link_inject_msg(n.l, !opener_is_server(&n), &m);
    fake_run(n.w);
    assert_reset(peer, VTOE_REASON_PROTOCOL);
    g_assert_cmpuint(fake_link_stats(n.l, !opener_is_server(&n))->bad_order,
                     ==, 1);
    fake_world_free(n.w);
}

static void test_open_with_our_id_is_a_violation(gconstpointer data)
{
    Net n = net_new(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = { .type = VNET_MSG_OPEN };

    m.id = stream_id(fs) + 10;
    m.u.open.vni = 7;
    m.u.open.flow = peer->flow;
    fake_link_inject_msg(n.l, opener_is_server(&n), &m);
    fake_run(n.w);
    assert_reset(fs, VTOE_REASON_PROTOCOL);
    fake_world_free(n.w);
}

static void test_data_messages_before_accept_are_violations(gconstpointer data)
{
    static const uint8_t types[] = {
        VNET_MSG_ACK, VNET_MSG_CREDIT, VNET_MSG_END,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        for (int to_opener = 0; to_opener < 2; to_opener++) {
            Net n = net_new(data);
            FakeStream *peer, *fs = bring_to(&n, OPENING, &peer);
            VnetMsg m = msg(types[i], stream_id(fs), 0);

            fake_link_inject_msg(n.l, to_opener ? opener_is_server(&n)
                                 : !opener_is_server(&n), &m);
            fake_run(n.w);
            if (to_opener) {
                assert_failed(fs, VTOE_EVENT_CONNECT_ERROR,
                              VTOE_REASON_PROTOCOL);
            } else {
                assert_reset(peer, VTOE_REASON_PROTOCOL);
                assert_failed(fs, VTOE_EVENT_UNREACHABLE,
                              VTOE_REASON_LINK_LOST);
            }
            fake_world_free(n.w);
        }
    }
}

static void test_unknown_streams_are_counted_and_ignored(gconstpointer data)
{
    Net n = net_new(data);

    for (int t = VNET_MSG_ACCEPT; t <= VNET_MSG_ABORT; t++) {
        VnetMsg m = msg(t, 12345, 0);

        m.u.offset.offset = 0;
        if (t == VNET_MSG_REJECT || t == VNET_MSG_ABORT) {
            m.u.reject.reason = VTOE_REASON_RESET;
        }
        fake_link_inject_msg(n.l, true, &m);
    }
    fake_run(n.w);
    g_assert_cmpuint(fake_link_stats(n.l, true)->unknown_stream, ==, 6);
    assert_link_up(&n);
    fake_world_free(n.w);
}

static void test_open_with_other_vni_is_rejected(void)
{
    Net n = net_new(GINT_TO_POINTER(1));
    VnetMsg m = { .type = VNET_MSG_OPEN, .id = 99 };

    m.u.open.vni = 8;
    m.u.open.flow.family = 4;
    memcpy(m.u.open.flow.lmac, n.a->mac, 6);
    memcpy(m.u.open.flow.rmac, n.b->mac, 6);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpuint(fake_stats(n.right)->rejected_policy, ==, 1);
    g_assert_cmpuint(n.b->streams->len, ==, 0);
    m.u.open.vni = 7;
    m.u.open.flow.rmac[5] = 77;
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpuint(fake_stats(n.right)->rejected_no_peer, ==, 1);
    assert_link_up(&n);
    fake_world_free(n.w);
}

/* --- Data connections that come early, late, twice ----------------------- */

static void test_connection_overtakes_open(void)
{
    Net n = net_new(GINT_TO_POINTER(1));
    FakeStream *fs;

    fake_link_stall_control(n.l, true);
    n.b->passive_tx = 50;
    fs = fake_connect(n.a, n.b->mac, 100);
    fake_run(n.w);              /* arrives, is kept */
    g_assert_cmpuint(fake_link_conns(n.l), ==, 3);
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_clean(fs);
    g_assert_cmpuint(fs->rx_off, ==, 50);
    fake_world_free(n.w);
}

static void test_admits_by_epoch_token_and_stream(void)
{
    Net n = net_new(GINT_TO_POINTER(1));
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetLink *sv = fake_link_server(n.l);
    const VnetLinkStats *st = fake_link_stats(n.l, true);
    VnetPreamble p;
    VnetStream *s;

    vnet_link_preamble(fake_link_client(n.l), &p);
    p.kind = VNET_CONN_DATA;
    p.token = 1;                /* not the server's */
    p.stream_id = 5;
    g_assert_false(vnet_link_admits(sv, &p, &s));
    p.kind = VNET_CONN_FRAME;
    p.stream_id = 0;
    g_assert_false(vnet_link_admits(sv, &p, &s));
    g_assert_cmpuint(st->refused_token, ==, 2);
    /* With the right token: the second frame connection, the second one for a
     * stream, one for a stream that is gone, one of the server's ids. */
    p.token = fake_link_token(n.l);
    g_assert_false(vnet_link_admits(sv, &p, &s));
    p.kind = VNET_CONN_DATA;
    p.stream_id = stream_id(fs);
    g_assert_false(vnet_link_admits(sv, &p, &s));
    g_assert_cmpuint(st->refused_token, ==, 4);
    p.stream_id = VNET_STREAM_ID_SERVER | 9;
    g_assert_false(vnet_link_admits(sv, &p, &s));
    p.stream_id = stream_id(fs);
    vnet_stream_abort(fs->s, VTOE_REASON_RESET);
    fs->s = NULL;
    fake_run(n.w);
    g_assert_false(vnet_link_admits(sv, &p, &s));
    g_assert_cmpuint(st->refused_stream, ==, 2);
    p.stream_id++;              /* not opened yet: may be early */
    g_assert_true(vnet_link_admits(sv, &p, &s));
    g_assert_null(s);
    p.epoch++;
    g_assert_false(vnet_link_admits(sv, &p, &s));
    g_assert_cmpuint(st->refused_token, ==, 5);
    fake_world_free(n.w);
}

/* --- Chance -------------------------------------------------------------- */

/* What may happen to a stream at any time. */
static void meddle(Net *n, GRand *r, FakeStream *fs)
{
    if (!fs->s || !fs->answered) {
        if (fs->s && g_rand_int_range(r, 0, 4) == 0) {
            if (g_rand_int_range(r, 0, 4)) {
                fake_accept(fs);
            } else {
                VnetStream *s = fs->s;

                fs->answered = true;
                fs->s = NULL;
                vnet_stream_reject(s, VTOE_REASON_NO_LISTENER);
            }
        }
        return;
    }
    switch (g_rand_int_range(r, 0, 16)) {
    case 0 ... 5:
        if (!fs->shut) {
            fs->tx_posted += g_rand_int_range(r, 1, 200000);
            vnet_stream_tx_ready(fs->s);
        }
        break;
    case 6 ... 7:
        if (!fs->shut) {
            fs->shut = true;
            vnet_stream_shutdown(fs->s, fs->tx_posted);
        }
        break;
    case 8:
        fs->rx_paused = true;
        break;
    case 9 ... 11:
        fs->rx_paused = false;
        vnet_stream_rx_ready(fs->s);
        break;
    case 12:
        if (!fs->rx_closed && g_rand_int_range(r, 0, 4) == 0) {
            fs->rx_closed = true;
            vnet_stream_rx_close(fs->s);
            if (!fs->shut) {
                fs->shut = true;
                vnet_stream_shutdown(fs->s, fs->tx_posted);
            }
        }
        break;
    case 13:
        if (g_rand_int_range(r, 0, 20) == 0) {
            VnetStream *s = fs->s;

            fs->s = NULL;
            vnet_stream_abort(s, VTOE_REASON_RESET);
            g_assert_cmpuint(fs->lent.length, ==, 0);
        }
        break;
    default:
        break;
    }
    fake_dispatch(n->w);
}

static void settle(Net *n)
{
    FakeNic *nics[2] = { n->a, n->b };

    fake_link_stall_control(n->l, false);
    fake_link_stall_data(n->l, false);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            for (guint j = 0; j < nics[i]->streams->len; j++) {
                FakeStream *fs = nics[i]->streams->pdata[j];

                fs->rx_paused = false;
                if (fs->s && !fs->answered) {
                    fake_accept(fs);
                }
                if (fs->s && !fs->shut) {
                    fs->shut = true;
                    vnet_stream_shutdown(fs->s, fs->tx_posted);
                }
                if (fs->s && !fs->rx_closed) {
                    vnet_stream_rx_ready(fs->s);
                }
            }
        }
        fake_advance(n->w, 15 * S);
    }
}

/*
 * Thousands of interleavings.  The NICs check the invariants as they go; at the
 * end every stream is over, and a pair that ended without a reset has carried
 * each byte both ways.
 */
static unsigned soak(guint32 seed, bool with_faults)
{
    Net n = net_on(fake_world_new(seed), true);
    g_autoptr(GRand) r = g_rand_new_with_seed(seed ^ 0x5eed);
    FakeNic *nics[2] = { n.a, n.b };
    unsigned clean = 0;

    n.w->pipe_size = 1 << g_rand_int_range(r, 8, 17);
    n.a->answer = n.b->answer = g_rand_boolean(r) ? FAKE_LATER : FAKE_ACCEPT;
    n.a->passive_hold = n.b->passive_hold = true;
    for (int i = 0; i < 400; i++) {
        FakeNic *nic = nics[g_rand_int_range(r, 0, 2)];
        FakeNic *other = nic == n.a ? n.b : n.a;

        if (nic->streams->len < (with_faults ? 40 : 12) &&
            g_rand_int_range(r, 0, 10) == 0) {
            FakeStream *fs = fake_connect(nic, other->mac, UINT64_MAX);

            fs->rx_buf = g_rand_int_range(r, 1, 20000);
        }
        if (nic->streams->len) {
            meddle(&n, r, nic->streams->pdata[
                       g_rand_int_range(r, 0, nic->streams->len)]);
        }
        if (g_rand_int_range(r, 0, 20) == 0) {
            fake_link_stall_control(n.l, g_rand_boolean(r));
        }
        if (g_rand_int_range(r, 0, 20) == 0) {
            fake_link_stall_data(n.l, g_rand_boolean(r));
        }
        if (with_faults && g_rand_int_range(r, 0, 150) == 0) {
            unsigned who = g_rand_int_range(r, 1, 4);

            fake_link_cut(n.l, who & 1, who & 2);
        }
        if (with_faults && g_rand_int_range(r, 0, 30) == 0 &&
            nic->streams->len) {
            FakeStream *fs = nic->streams->pdata[
                                 g_rand_int_range(r, 0, nic->streams->len)];

            if (fs->s) {
                fake_stream_break_cid(fs, ECONNRESET);
            }
        }
        if (with_faults && g_rand_int_range(r, 0, 30) == 0) {
            fake_advance(n.w, g_rand_int_range(r, 1, 3000) * MS);
        }
        for (int k = g_rand_int_range(r, 0, 40); k && fake_step(n.w); k--) {
            /* some of what can happen, happens */
        }
        if (g_rand_int_range(r, 0, 10) == 0) {
            n.w->now += g_rand_int_range(r, 1, 5 * MS);
        }
    }
    settle(&n);
    for (int i = 0; i < 2; i++) {
        for (guint j = 0; j < nics[i]->streams->len; j++) {
            FakeStream *fs = nics[i]->streams->pdata[j];
            FakeStream *peer = fs->active ? fake_peer_of(nics[!i], fs) : NULL;

            g_assert_null(fs->s);
            if (peer && fs->disconnected && peer->disconnected &&
                fs->reason == VTOE_REASON_NONE &&
                peer->reason == VTOE_REASON_NONE) {
                g_assert_cmpuint(fs->rx_off, ==, peer->tx_posted);
                g_assert_cmpuint(peer->rx_off, ==, fs->tx_posted);
                clean++;
            }
        }
    }
    if (!with_faults) {
        /* Nothing but the guests ends a stream. */
        g_assert_cmpuint(fake_stats(n.left)->reset_link_lost, ==, 0);
        g_assert_cmpuint(fake_stats(n.right)->reset_link_lost, ==, 0);
        g_assert_cmpuint(fake_link_stats(n.l, true)->downs, ==, 0);
    }
    g_assert_cmpuint(fake_link_stats(n.l, true)->bad_order +
                     fake_link_stats(n.l, true)->bad_offset +
                     fake_link_stats(n.l, false)->bad_order +
                     fake_link_stats(n.l, false)->bad_offset, ==, 0);
    g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
    fake_world_free(n.w);
    return clean;
}

static unsigned soak_seeds(void)
{
    const char *s = g_getenv("VNET_SOAK_SEEDS");

    return s ? atoi(s) : 40;
}

static void test_soak(gconstpointer data)
{
    unsigned clean = 0;

    for (unsigned i = 1; i <= soak_seeds(); i++) {
        g_test_message("seed %u", i);
        clean += soak(i, GPOINTER_TO_INT(data));
    }
    /* It is about streams that carry bytes, not only about their end. */
    g_assert_cmpuint(clean, >=, soak_seeds());
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/stream/" #name, test_##name)
#define T2(name) \
    g_test_add_data_func("/vnet/stream/client/" #name, GINT_TO_POINTER(1), \
                         test_##name); \
    g_test_add_data_func("/vnet/stream/server/" #name, GINT_TO_POINTER(0), \
                         test_##name)
    T2(every_byte_arrives_both_ways);
    T2(64_mib_both_ways);
    T2(acks_are_few);
    T2(ack_comes_without_more_data);
    T2(slow_reader_stops_only_itself);
    T2(a_thousand_streams);
    T2(active_close);
    T2(passive_close);
    T2(simultaneous_close);
    T2(half_close_carries_data_on);
    T2(end_before_the_data);
    T2(data_and_eof_before_the_end);
    T2(eof_without_end_is_a_reset);
    T2(end_with_bytes_missing_is_a_reset);
    T2(bytes_beyond_the_end_are_not_delivered);
    T2(nothing_is_sent_beyond_the_end);
    T2(last_bytes_read_late_are_acknowledged);
    T2(shutdown_before_established);
    T2(close_with_data_unread_resets);
    T2(close_then_data_resets);
    T2(close_without_data_is_graceful);
    T2(connect_to_unknown_address);
    T2(connect_to_a_group_address);
    T2(connect_to_incapable);
    T2(connect_to_learnt_only);
    T2(connect_to_a_port_of_the_same_core);
    T2(connect_while_down);
    T(connect_without_any_link);
    T2(refused_by_the_nic);
    T2(rejected_by_the_guest);
    T2(reject_after_the_connection_broke);
    T2(cancelled_by_the_opener);
    T2(cancelled_before_it_failed);
    T2(accept_crosses_cancel);
    T2(no_answer_in_time);
    T2(connection_cannot_be_made);
    T2(host_has_no_connection_left);
    T2(peer_has_no_connection_left);
    T(accepted_but_no_connection_comes);
    T2(stream_limits);
    T(open_over_the_limit_is_rejected);
    T2(abort_in_every_state);
    T2(link_loss_in_every_state);
    T2(connection_loss_in_every_state);
    T2(connection_loss_when_done_does_no_harm);
    T2(reset_of_a_device);
    T2(detach_with_streams_open);
    T2(abort_inside_a_callback);
    T2(ready_inside_a_callback);
    T2(batch_end_once_per_dispatch);
    T2(violations_close_the_link);
    T2(end_twice_is_a_violation);
    T2(open_of_a_used_id_is_a_violation);
    T2(open_with_our_id_is_a_violation);
    T2(data_messages_before_accept_are_violations);
    T2(unknown_streams_are_counted_and_ignored);
    T(open_with_other_vni_is_rejected);
    T(connection_overtakes_open);
    T(admits_by_epoch_token_and_stream);
    g_test_add_data_func("/vnet/stream/soak", GINT_TO_POINTER(0), test_soak);
    g_test_add_data_func("/vnet/stream/soak-faults", GINT_TO_POINTER(1),
                         test_soak);
    return g_test_run();
}
