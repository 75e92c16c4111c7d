/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that do not come about, and data connections that come early, late or
 * twice (docs/specs/vnet-wire.rst, "Opening").
 */
#include <errno.h>
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-stream-net.h"

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
        .name = "small", .net.vni = 7, .max_streams = 3, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300,
    };
    FakeHost *small = fake_host_new(w, &cfg), *big = fake_host(w);
    FakeNic *a = fake_nic_new(small, 1), *b = fake_nic_new(big, 2);
    FakeLink *l = fake_link_new(w, small, big);
    unsigned how = GPOINTER_TO_INT(data);
    FakeStream *fs[4];

    if (how & MESSAGES) {
        fake_link_messages(l, 65536, 64);
    }
    fake_run(w);
    b->passive_hold = a->passive_hold = true;
    for (int i = 0; i < 4; i++) {
        fs[i] = how & FROM_LEFT ? fake_connect(a, b->mac, UINT64_MAX)
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
    fs[3] = how & FROM_LEFT ? fake_connect(a, b->mac, UINT64_MAX)
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
        .name = "small", .net.vni = 7, .max_streams = 3, .heartbeat_ms = 1000,
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

/* A guest that gives itself another address does not get it. */
static void test_locked_port(void)
{
    static const uint8_t stolen[6] = { 0x52, 0x54, 0, 0, 0, 0x44 };
    FakeWorld *w = fake_world_new(0);
    VnetCoreConfig cfg = {
        .name = "locked", .net.vni = 7, .max_streams = 3, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300, .net.port_lock = true,
    };
    FakeHost *locked = fake_host_new(w, &cfg), *other = fake_host(w);
    FakeNic *a = fake_nic_new(locked, 1), *b = fake_nic_new(other, 2);
    FakeStream *fs;
    uint8_t own[6];

    fake_link_new(w, locked, other);
    b->passive_hold = true;
    fake_run(w);
    memcpy(own, a->mac, 6);
    vnet_port_set_mac(a->port, stolen);
    memcpy(a->mac, stolen, 6);
    fake_run(w);
    fs = fake_connect(a, b->mac, UINT64_MAX);
    fake_run(w);
    assert_failed(fs, VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_POLICY);
    g_assert_cmpuint(fake_stats(locked)->connect_forged, ==, 1);
    fs = fake_connect(b, stolen, UINT64_MAX);
    fake_run(w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_PEER);
    fake_send_frame(a, b->mac, stolen, 100);
    fake_run(w);
    g_assert_cmpuint(b->frames, ==, 0);
    g_assert_cmpuint(fake_stats(locked)->frames_drop_forged, ==, 1);

    /* Under its own it is as ever. */
    memcpy(a->mac, own, 6);
    fake_send_frame(a, b->mac, own, 100);
    fs = fake_connect(a, b->mac, UINT64_MAX);
    fake_run(w);
    g_assert_cmpuint(b->frames, ==, 1);
    g_assert_cmpstr(stream_state(fs), ==, "established");
    fake_world_free(w);
}

/* A peer gets no more than the addresses that it was given. */
static void test_peer_macs(void)
{
    static const uint8_t given[2][6] = {
        { 0x52, 0x54, 0, 0, 0, 0x55 }, { 0x52, 0x54, 0, 0, 0, 0x44 },
    };
    static const uint8_t other[6] = { 0x52, 0x54, 0, 0, 0, 0x66 };
    FakeWorld *w = fake_world_new(0);
    FakeHost *peer = fake_host(w), *host = fake_host(w);
    FakeNic *a = fake_nic_new(peer, 1), *b = fake_nic_new(host, 2);
    FakeLink *l = fake_link_new(w, peer, host);
    VnetLink *end = fake_link_server(l);
    FakeStream *fs;

    vnet_link_set_peer_macs(end, given, 2);
    b->passive_hold = true;
    fake_run(w);
    g_assert_cmpuint(vnet_link_stats(end)->macs_denied, ==, 1);
    fs = fake_connect(a, b->mac, UINT64_MAX);
    fake_run(w);
    assert_failed(fs, VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_POLICY);
    g_assert_cmpuint(fake_stats(host)->rejected_policy, ==, 1);
    fs = fake_connect(b, a->mac, UINT64_MAX);
    fake_run(w);
    assert_failed(fs, VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_PEER);
    fake_send_frame(a, b->mac, a->mac, 100);
    fake_send_frame(a, b->mac, other, 100);
    fake_run(w);
    g_assert_cmpuint(b->frames, ==, 0);
    g_assert_cmpuint(fake_stats(host)->frames_drop_forged, ==, 2);

    /* Under either of those that are its own it is as ever. */
    for (unsigned i = 0; i < 2; i++) {
        vnet_port_set_mac(a->port, given[i]);
        memcpy(a->mac, given[i], 6);
        fake_run(w);
        fs = fake_connect(a, b->mac, UINT64_MAX);
        fake_send_frame(a, b->mac, given[i], 100);
        fake_run(w);
        g_assert_cmpuint(b->frames, ==, i + 1);
        g_assert_cmpstr(stream_state(fs), ==, "established");
    }
    g_assert_cmpuint(vnet_link_stats(end)->macs_denied, ==, 1);
    fake_world_free(w);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T4(connect_to_unknown_address);
    T4(connect_to_a_group_address);
    T4(connect_to_incapable);
    T4(connect_to_learnt_only);
    T4(connect_to_a_port_of_the_same_core);
    T4(connect_while_down);
    T(connect_without_any_link);
    T4(refused_by_the_nic);
    T4(rejected_by_the_guest);
    T4(reject_after_the_connection_broke);
    T4(cancelled_by_the_opener);
    T4(cancelled_before_it_failed);
    T4(accept_crosses_cancel);
    T4(no_answer_in_time);
    T4(connection_cannot_be_made);
    T4(host_has_no_connection_left);
    T4(peer_has_no_connection_left);
    T(accepted_but_no_connection_comes);
    T4(stream_limits);
    T(open_over_the_limit_is_rejected);
    T(locked_port);
    T(peer_macs);
    T(connection_overtakes_open);
    T(admits_by_epoch_token_and_stream);
    return g_test_run();
}
