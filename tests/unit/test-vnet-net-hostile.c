/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network ids, and peers that do not know of several, or of the rules: one end with
 * 7 and 8 against messages of the test.
 */
#include "vnet-nets.h"

/* A server with ids 7 and 8 that the test talks to as a peer with these features
 * and, with NETS, one more id.  given: the id that it gives the peer; 0: any. */
static Nets raw_nets_given(uint64_t features, uint32_t vni, uint32_t more,
                           uint32_t given)
{
    Nets t = { .n = net_with(7, 7) };
    VnetMsg m = hello();

    if (given) {
        vnet_link_set_peer_nets(fake_link_server(t.n.l), &given, 1);
    }
    fake_link_swallow(t.n.l, true, 255);
    add_right(&t);
    g_assert_cmpstr(server_state(&t.n), ==, "hello");
    fake_link_block(t.n.l, true);
    m.u.hello.epoch = t.n.left->core->epoch;
    m.u.hello.features = features;
    m.u.hello.vni = vni;
    m.u.hello.nnets = 1;
    m.u.hello.nets[0] = more;
    fake_link_inject_msg(t.n.l, true, &m);
    fake_run(t.n.w);
    return t;
}

static Nets raw_nets(uint64_t features, uint32_t vni, uint32_t more)
{
    return raw_nets_given(features, vni, more, 0);
}

static void say_mac(Nets *t, uint32_t vni, uint8_t last)
{
    VnetMsg m = { .type = VNET_MSG_MAC, .flags = VNET_MAC_F_STREAMS };

    m.u.mac.vni = vni;
    memcpy(m.u.mac.mac, (uint8_t[6]) { 0x52, 0x54, 0, 0, 0, last }, 6);
    fake_link_inject_msg(t->n.l, true, &m);
    fake_run(t->n.w);
}

static void say_open(Nets *t, uint32_t vni, uint32_t id)
{
    VnetMsg m = { .type = VNET_MSG_OPEN, .id = id };

    m.u.open.vni = vni;
    m.u.open.flow.family = 4;
    memcpy(m.u.open.flow.lmac, t->n.a->mac, 6);
    memcpy(m.u.open.flow.rmac, t->n.b->mac, 6);
    fake_link_inject_msg(t->n.l, true, &m);
    fake_run(t->n.w);
}

static void say_net(Nets *t, uint32_t vni, bool gone)
{
    VnetMsg m = { .type = VNET_MSG_NET, .flags = gone ? VNET_NET_F_GONE : 0 };

    m.u.net.vni = vni;
    fake_link_inject_msg(t->n.l, true, &m);
    fake_run(t->n.w);
}

/* As if the peer had sent it, to everyone. */
static void frame_from_peer(Nets *t, uint32_t vni)
{
    uint8_t f[200] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9 };
    const VnetWireFrame wf = { .len = 100 + vni, .vni = vni };
    const struct iovec iov = { f, wf.len };

    vnet_link_frame(fake_link_server(t->n.l), &wf, &iov, 1);
    fake_dispatch(t->n.w);
}

static void test_peer_of_one_id_gets_that_alone(void)
{
    Nets t = raw_nets(7, 7, 0);

    g_assert_cmpstr(server_state(&t.n), ==, "up");
    g_assert_false(t.d->carrier);
    frame_from_peer(&t, 7);
    frame_from_peer(&t, 8);
    assert_got(&t, "0100");
    g_assert_cmpuint(server_stats(&t.n)->rx_drop_vni, ==, 1);
    send_as(t.d, everyone, t.d->mac);
    g_assert_cmpuint(server_stats(&t.n)->tx_frames, ==, 0);
    say_mac(&t, 8, 1);
    g_assert_cmpuint(server_stats(&t.n)->macs_vni, ==, 1);
    say_open(&t, 8, 1);
    g_assert_cmpuint(fake_net_stats(t.right8)->rejected_policy, ==, 1);
    /* It is told of no other. */
    fake_net_new(t.n.right, 9);
    fake_run(t.n.w);
    g_assert_cmpstr(server_state(&t.n), ==, "up");
    say_net(&t, 8, false);
    g_assert_cmpstr(server_state(&t.n), ==, "down");
    g_assert_cmpuint(server_stats(&t.n)->bad_order, ==, 1);
    fake_world_free(t.n.w);
}

/* What it was told was another id: it would not believe it. */
static void test_peer_of_one_id_that_is_not_the_first(void)
{
    Nets t = raw_nets(7, 8, 0);

    g_assert_cmpstr(server_state(&t.n), ==, "down");
    g_assert_cmpuint(server_stats(&t.n)->lost_vni, ==, 1);
    g_assert_nonnull(strstr(fake_last_error(t.n.l, true),
                            "peer has network id 8, this end 7"));
    fake_world_free(t.n.w);
}

static void test_ids_that_were_not_announced(void)
{
    Nets t = raw_nets(7 | VNET_HELLO_F_NETS, 7, 9);

    say_mac(&t, 8, 1);          /* here, and not there */
    say_mac(&t, 9, 1);          /* there, and not here */
    say_mac(&t, 10, 1);         /* nowhere */
    say_mac(&t, 7, 1);
    g_assert_cmpuint(server_stats(&t.n)->macs_vni, ==, 3);
    g_assert_cmpuint(claimed(t.right8), ==, 1);
    frame_from_peer(&t, 8);
    frame_from_peer(&t, 9);
    frame_from_peer(&t, 10);
    assert_got(&t, "0000");
    g_assert_cmpuint(server_stats(&t.n)->rx_drop_vni, ==, 3);
    say_open(&t, 8, 1);
    say_open(&t, 9, 2);
    say_open(&t, 10, 3);
    g_assert_cmpuint(fake_net_stats(t.right8)->rejected_policy, ==, 1);
    g_assert_cmpuint(fake_stats(t.n.right)->rejected_policy, ==, 2);
    g_assert_cmpuint(t.n.b->streams->len + t.d->streams->len, ==, 0);
    say_open(&t, 7, 4);
    g_assert_cmpuint(t.n.b->streams->len, ==, 1);
    g_assert_cmpstr(server_state(&t.n), ==, "up");

    say_net(&t, 8, false);
    say_mac(&t, 8, 1);
    g_assert_cmpuint(claimed(t.right8), ==, 2);
    frame_from_peer(&t, 8);
    assert_got(&t, "0001");
    fake_world_free(t.n.w);
}

static void test_ids_that_were_not_given(void)
{
    Nets t = raw_nets_given(7 | VNET_HELLO_F_NETS, 7, 8, 7);

    g_assert_cmpstr(server_state(&t.n), ==, "up");
    g_assert_cmpuint(server_stats(&t.n)->nets_denied, ==, 1);
    say_net(&t, 8, true);
    say_net(&t, 8, false);
    g_assert_cmpuint(server_stats(&t.n)->nets_denied, ==, 2);
    say_mac(&t, 8, 1);
    say_mac(&t, 7, 1);
    g_assert_cmpuint(server_stats(&t.n)->macs_vni, ==, 1);
    frame_from_peer(&t, 8);
    frame_from_peer(&t, 7);
    assert_got(&t, "0100");
    g_assert_cmpuint(server_stats(&t.n)->rx_drop_vni, ==, 1);
    say_open(&t, 8, 1);
    say_open(&t, 7, 2);
    g_assert_cmpuint(fake_net_stats(t.right8)->rejected_policy, ==, 1);
    g_assert_cmpuint(t.d->streams->len, ==, 0);
    g_assert_cmpuint(t.n.b->streams->len, ==, 1);
    g_assert_false(t.d->carrier);
    g_assert_cmpstr(server_state(&t.n), ==, "up");
    fake_world_free(t.n.w);
}

static void test_none_of_the_ids_that_were_given(void)
{
    Nets t = { .n = net_with(7, 7) };
    const uint32_t given = 9;

    vnet_link_set_peer_nets(fake_link_server(t.n.l), &given, 1);
    add_right(&t);
    g_assert_cmpstr(server_state(&t.n), !=, "up");
    g_assert_cmpuint(server_stats(&t.n)->lost_vni, >=, 1);
    g_assert_nonnull(strstr(fake_last_error(t.n.l, true),
                            "peer has network id 7, this end 9"));
    fake_world_free(t.n.w);
}

/* The peer takes an id away and leaves its streams and addresses as they are. */
static void test_id_taken_away_with_all_that_is_open(void)
{
    Nets t = raw_nets(7 | VNET_HELLO_F_NETS, 7, 8);
    FakeStream *in8, *in7;

    t.d->answer = FAKE_LATER;
    say_mac(&t, 8, 1);
    say_mac(&t, 7, 1);
    in8 = fake_connect(t.d, t.n.a->mac, 10);
    in7 = fake_connect(t.n.b, t.n.a->mac, 10);
    say_open(&t, 8, 1);
    g_assert_cmpuint(t.d->streams->len, ==, 2);
    say_net(&t, 8, true);
    g_assert_cmpuint(in8->failed, ==, 1);
    g_assert_cmpint(in8->event, ==, VTOE_EVENT_UNREACHABLE);
    g_assert_cmpint(in8->reason, ==, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(in7->failed, ==, 0);
    g_assert_cmpuint(fake_net_stats(t.right8)->reset_link_lost, ==, 1);
    g_assert_cmpuint(claimed(t.right8), ==, 1);
    g_assert_cmpuint(claimed(vnet_core_net(t.n.right->core)), ==, 2);
    g_assert_false(t.d->carrier);
    say_net(&t, 8, true);       /* no news, either of them */
    say_net(&t, 7, false);
    g_assert_cmpstr(server_state(&t.n), ==, "up");
    fake_world_free(t.n.w);
}

static void test_more_ids_than_may_be(void)
{
    Nets t = raw_nets(7 | VNET_HELLO_F_NETS, 7, 9);

    for (unsigned i = 0; i < 1000; i++) {
        say_net(&t, 1000 + i, false);
    }
    g_assert_cmpuint(server_stats(&t.n)->nets_full, ==, 1000 - 30);
    g_assert_cmpstr(server_state(&t.n), ==, "up");
    say_net(&t, 8, false);
    g_assert_cmpuint(server_stats(&t.n)->nets_full, ==, 1000 - 29);
    g_assert_false(t.d->carrier);
    say_net(&t, 1000, true);
    say_net(&t, 8, false);
    g_assert_true(t.d->carrier);
    fake_world_free(t.n.w);
}

/* The bound on addresses of a link is for all ids together, and what is taken
 * away counts no more. */
static void test_addresses_of_all_ids_are_bounded(void)
{
    Nets t = raw_nets(7 | VNET_HELLO_F_NETS, 7, 8);
    VnetMsg m = { .type = VNET_MSG_MAC };
    VnetLink *l = fake_link_server(t.n.l);
    uint8_t b[VNET_MSG_MAX];

    for (unsigned i = 0; i <= VNET_MACS_PER_LINK; i++) {
        size_t len;

        m.u.mac.vni = 7 + i % 2;
        memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 0, i >> 8, i }, 6);
        len = vnet_wire_put_msg(b, &m);
        g_assert_cmpint(vnet_link_control(l, b, len), ==, len);
    }
    g_assert_cmpuint(server_stats(&t.n)->macs_full, ==, 1);
    say_net(&t, 8, true);
    g_assert_cmpuint(claimed(t.right8), ==, 1);
    say_mac(&t, 7, 99);
    g_assert_cmpuint(server_stats(&t.n)->macs_full, ==, 1);
    fake_world_free(t.n.w);
}

/* Each makes this end look at all addresses. */
static void test_ids_that_come_and_go(void)
{
    Nets t = raw_nets(7 | VNET_HELLO_F_NETS, 7, 8);
    unsigned i;

    for (i = 0; i < 8 * VNET_NETS_MAX; i++) {
        g_assert_cmpstr(server_state(&t.n), ==, "up");
        say_net(&t, 8, i % 2 == 0);
    }
    g_assert_cmpstr(server_state(&t.n), ==, "up");
    say_net(&t, 8, true);
    g_assert_cmpstr(server_state(&t.n), ==, "down");
    g_assert_cmpuint(server_stats(&t.n)->bad_order, ==, 1);
    fake_world_free(t.n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/net/" #name, test_##name)
    T(peer_of_one_id_gets_that_alone);
    T(peer_of_one_id_that_is_not_the_first);
    T(ids_that_were_not_announced);
    T(ids_that_were_not_given);
    T(none_of_the_ids_that_were_given);
    T(id_taken_away_with_all_that_is_open);
    T(more_ids_than_may_be);
    T(ids_that_come_and_go);
    T(addresses_of_all_ids_are_bounded);
    return g_test_run();
}
