/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer that breaks the rules of streams.
 */
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-stream-net.h"

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
        /* Messages of transports that this link does not have. */
        violate(data, msg(VNET_MSG_CREDIT, 0, 5000), to_opener);
        violate(data, msg(VNET_MSG_WANT, 0, 5000), to_opener);
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
        VNET_MSG_ACK, VNET_MSG_CREDIT, VNET_MSG_END, VNET_MSG_WANT,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        for (int to_opener = 0; to_opener < 2; to_opener++) {
            Net n = net_new(data);
            FakeStream *peer, *fs = bring_to(&n, OPENING, &peer);
            VnetMsg m = msg(types[i], stream_id(fs), 1);

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

    for (int t = VNET_MSG_ACCEPT; t <= VNET_MSG_WANT; t++) {
        VnetMsg m = msg(t, 12345, 1);

        if (t == VNET_MSG_REJECT || t == VNET_MSG_ABORT) {
            m.u.reject.reason = VTOE_REASON_RESET;
        }
        fake_link_inject_msg(n.l, true, &m);
    }
    fake_run(n.w);
    g_assert_cmpuint(fake_link_stats(n.l, true)->unknown_stream, ==, 7);
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T2(violations_close_the_link);
    T4(end_twice_is_a_violation);
    T4(open_of_a_used_id_is_a_violation);
    T4(open_with_our_id_is_a_violation);
    T4(data_messages_before_accept_are_violations);
    T4(unknown_streams_are_counted_and_ignored);
    T(open_with_other_vni_is_rejected);
    return g_test_run();
}
