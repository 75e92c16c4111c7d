/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several network ids in one overlay (docs/specs/vnet-wire.rst, "Network ids").
 */
#include "vnet-nets.h"

/* --- Isolation ----------------------------------------------------------- */

static void test_frames_stay_in_their_id(void)
{
    Nets t = nets_new();

    assert_common(&t.n, "7,8");
    send_as(t.n.a, everyone, t.n.a->mac);
    assert_got(&t, "0100");
    send_as(t.c, everyone, t.c->mac);
    assert_got(&t, "0001");
    /* The same address in both. */
    send_as(t.n.a, t.n.b->mac, t.n.a->mac);
    assert_got(&t, "0100");
    send_as(t.d, t.c->mac, t.d->mac);
    assert_got(&t, "0010");
    g_assert_cmpuint(fake_stats(t.n.left)->frames_in, ==, 2);
    g_assert_cmpuint(fake_net_stats(t.left8)->frames_in, ==, 2);
    g_assert_cmpuint(server_stats(&t.n)->rx_drop_vni, ==, 0);
    fake_world_free(t.n.w);
}

/* Not on one switch either: to an address that only the other id has. */
static void test_ports_of_one_core_do_not_meet(void)
{
    Nets t = { .n = net_with(7, 7) };

    fake_link_block(t.n.l, true);
    t.left8 = fake_net_new(t.n.left, 8);
    t.c = fake_nic_in(t.n.left, t.left8, 3);
    send_as(t.n.a, t.c->mac, t.n.a->mac);
    send_as(t.n.a, everyone, t.n.a->mac);
    send_as(t.c, t.n.a->mac, t.c->mac);
    assert_got(&t, "0000");
    g_assert_cmpuint(fake_stats(t.n.left)->frames_drop_no_target, ==, 2);
    g_assert_cmpuint(fake_net_stats(t.left8)->frames_drop_no_target, ==, 1);
    g_assert_cmpuint(claimed(vnet_core_net(t.n.left->core)), ==, 1);
    g_assert_cmpuint(claimed(t.left8), ==, 1);
    fake_world_free(t.n.w);
}

static void test_addresses_are_learnt_in_their_id(void)
{
    static const uint8_t behind[6] = { 2, 0, 0, 0, 0, 77 };
    Nets t = nets_new();
    VnetNetInfo info;

    send_as(t.n.a, everyone, behind);
    assert_got(&t, "0100");
    vnet_query_net(vnet_core_net(t.n.right->core), &info);
    g_assert_cmpuint(info.macs_learnt, ==, 1);
    vnet_query_net(t.right8, &info);
    g_assert_cmpuint(info.macs_learnt, ==, 0);
    /* The other way round it is another one's address. */
    send_as(t.d, everyone, behind);
    assert_got(&t, "0010");
    send_as(t.n.b, behind, t.n.b->mac);
    assert_got(&t, "1000");
    send_as(t.c, behind, t.c->mac);
    assert_got(&t, "0001");
    fake_advance(t.n.w, 1000 * S);
    vnet_query_net(t.left8, &info);
    g_assert_cmpuint(info.macs_learnt, ==, 0);
    g_assert_cmpuint(fake_net_stats(t.left8)->macs_aged, ==, 1);
    g_assert_cmpuint(fake_stats(t.n.right)->macs_aged, ==, 1);
    fake_world_free(t.n.w);
}

static unsigned learnt(VnetNet *net)
{
    VnetNetInfo info;

    vnet_query_net(net, &info);
    return info.macs_learnt;
}

static void test_the_room_to_learn_is_shared(void)
{
    Nets t = nets_new();

    for (unsigned i = 0; i < 50; i++) {
        const uint8_t mac[6] = { 2, 0, 0, 0, 1, i };

        send_as(t.n.a, everyone, mac);
        send_as(t.c, everyone, mac);
    }
    g_assert_cmpuint(fake_stats(t.n.left)->macs_learnt, ==, 32);
    g_assert_cmpuint(fake_net_stats(t.left8)->macs_learnt, ==, 32);
    g_assert_cmpuint(fake_stats(t.n.left)->macs_full, ==, 18);
    /* A third has its part at once. */
    fake_net_new(t.n.left, 9);
    g_assert_cmpuint(learnt(t.left8), ==, 21);
    g_assert_cmpuint(learnt(vnet_core_net(t.n.left->core)), ==, 21);
    fake_world_free(t.n.w);
}

static void test_streams_stay_in_their_id(void)
{
    Nets t = nets_new();
    FakeStream *in7 = fake_connect(t.n.a, t.n.b->mac, 5000);
    FakeStream *in8 = fake_connect(t.c, t.d->mac, 7000), *at_b, *at_d;

    fake_run(t.n.w);
    at_b = fake_peer_of(t.n.b, in7);
    at_d = fake_peer_of(t.d, in8);
    g_assert_nonnull(at_b);
    g_assert_nonnull(at_d);
    g_assert_cmpuint(t.n.b->streams->len, ==, 1);
    g_assert_cmpuint(t.d->streams->len, ==, 1);
    fake_advance(t.n.w, S);
    g_assert_cmpuint(at_b->rx_off, ==, 5000);
    g_assert_cmpuint(at_d->rx_off, ==, 7000);
    g_assert_cmpuint(fake_stats(t.n.left)->streams_active, ==, 1);
    g_assert_cmpuint(fake_net_stats(t.left8)->streams_active, ==, 1);
    g_assert_cmpuint(fake_stats(t.n.right)->streams_passive, ==, 1);
    g_assert_cmpuint(fake_net_stats(t.right8)->streams_passive, ==, 1);
    fake_world_free(t.n.w);
}

/* An address that takes streams in one id takes none in another. */
static void test_stream_to_another_id_is_impossible(void)
{
    Nets t = nets_new();
    FakeNic *e = fake_nic_in(t.n.right, t.right8, 5);
    FakeStream *fs;

    fake_run(t.n.w);
    fs = fake_connect(t.n.a, e->mac, 10);
    fake_run(t.n.w);
    g_assert_cmpint(fs->event, ==, VTOE_EVENT_ADDRESS_ERROR);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NO_PEER);
    fs = fake_connect(t.c, e->mac, 10);
    fake_run(t.n.w);
    g_assert_cmpuint(fs->established, ==, 1);
    fake_world_free(t.n.w);
}

static void test_routes_are_of_one_id(void)
{
    Nets t = nets_new();
    VnetLangError err;
    GArray *rules = vnet_routes_parse("ADD any any edge nowhere any\n", 29,
                                      &err);

    g_assert_true(vnet_net_change_routes(t.left8, rules, false, false, NULL,
                                         NULL, &err));
    g_array_unref(rules);
    send_as(t.n.a, t.n.b->mac, t.n.a->mac);
    send_as(t.c, t.d->mac, t.c->mac);
    assert_got(&t, "0100");
    g_assert_cmpuint(fake_net_stats(t.left8)->frames_drop_route_down, ==, 1);
    fake_world_free(t.n.w);
}

/* What one end gives the other is what there is between them. */
static void test_link_of_given_ids(void)
{
    Nets t = { .n = net_with(7, 7) };
    const uint32_t given = 8;

    vnet_link_set_peer_nets(fake_link_server(t.n.l), &given, 1);
    add_left(&t);
    g_assert_cmpstr(server_state(&t.n), !=, "up");
    add_right(&t);
    fake_advance(t.n.w, 10 * S);
    assert_up(&t.n);
    fake_net_new(t.n.left, 9);
    fake_net_new(t.n.right, 9);
    fake_run(t.n.w);
    assert_common(&t.n, "8");
    send_as(t.n.a, everyone, t.n.a->mac);
    send_as(t.c, everyone, t.c->mac);
    assert_got(&t, "0001");
    fake_connect(t.n.a, t.n.b->mac, 10);
    fake_connect(t.c, t.d->mac, 10);
    fake_run(t.n.w);
    g_assert_cmpuint(t.n.b->streams->len, ==, 0);
    g_assert_cmpuint(t.d->streams->len, ==, 1);
    fake_world_free(t.n.w);
}

static void test_rates_are_of_one_id(void)
{
    Nets t = nets_new();
    const VnetRates one = { .frames = 1, .frames_burst = 1 };

    vnet_net_set_rates(t.right8, VNET_RX, &one);
    for (int i = 0; i < 3; i++) {
        send_as(t.n.a, t.n.b->mac, t.n.a->mac);
        send_as(t.c, t.d->mac, t.c->mac);
    }
    assert_got(&t, "0301");
    g_assert_true(t.n.right->limit_net == t.right8);
    g_assert_cmpuint(t.n.right->limits_told[VNET_CORE_LIMIT_RX_RATE], ==, 1);
    fake_world_free(t.n.w);
}

static void count_packet(void *opaque, VnetDirection d, const struct iovec *iov,
                         unsigned niov, size_t len)
{
    ++*(unsigned *)opaque;
    g_assert_cmpuint(len, ==, 108);
}

static void test_capture_is_of_one_id(void)
{
    Nets t = nets_new();
    unsigned packets = 0;

    vnet_net_set_capture(t.left8, count_packet, &packets);
    send_as(t.n.a, t.n.b->mac, t.n.a->mac);
    send_as(t.c, t.d->mac, t.c->mac);
    g_assert_cmpuint(packets, ==, 1);
    fake_world_free(t.n.w);
}

static void test_busy_link_wakes_ports_of_all_ids(void)
{
    Nets t = nets_new();

    fake_link_frames_busy(t.n.l, false, true);
    g_assert_cmpint(fake_send_frame(t.n.a, t.n.b->mac, t.n.a->mac, 107), ==,
                    VNET_FRAME_BUSY);
    g_assert_cmpint(fake_send_frame(t.c, t.d->mac, t.c->mac, 108), ==,
                    VNET_FRAME_BUSY);
    fake_link_frames_busy(t.n.l, false, false);
    fake_run(t.n.w);
    g_assert_cmpuint(t.n.a->tx_ready, ==, 1);
    g_assert_cmpuint(t.c->tx_ready, ==, 1);
    fake_world_free(t.n.w);
}

/* --- Ids that come and go ------------------------------------------------ */

static void test_id_that_comes_is_announced(void)
{
    Nets t = { .n = net_new() };
    FakeStream *fs;
    guint told;

    assert_common(&t.n, "7");
    add_left(&t);
    assert_common(&t.n, "7");
    g_assert_false(t.c->carrier);
    send_as(t.c, everyone, t.c->mac);
    g_assert_cmpuint(fake_net_stats(t.left8)->frames_drop_no_target, ==, 1);
    fs = fake_connect(t.c, t.n.b->mac, 10);
    fake_run(t.n.w);
    g_assert_cmpint(fs->event, ==, VTOE_EVENT_UNREACHABLE);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_LINK_DOWN);

    told = t.n.a->capabilities;
    add_right(&t);
    assert_common(&t.n, "7,8");
    g_assert_cmpuint(t.n.a->capabilities, ==, told);
    g_assert_cmpuint(t.c->capabilities, ==, 1);
    g_assert_true(t.c->carrier);
    g_assert_true(t.d->carrier);
    g_assert_cmpuint(claimed(t.left8), ==, 2);
    g_assert_cmpuint(claimed(t.right8), ==, 2);
    send_as(t.c, everyone, t.c->mac);
    assert_got(&t, "0001");
    g_assert_cmpuint(server_stats(&t.n)->rx_drop_vni, ==, 0);
    fs = fake_connect(t.d, t.c->mac, 10);
    fake_run(t.n.w);
    g_assert_cmpuint(fs->established, ==, 1);
    g_assert_cmpuint(client_stats(&t.n)->ups, ==, 1);
    fake_world_free(t.n.w);
}

static void test_id_that_goes_ends_what_it_has(void)
{
    Nets t = nets_new();
    FakeStream *in7, *in8;
    unsigned told = t.c->capabilities;

    t.n.b->passive_hold = t.d->passive_hold = true;
    in7 = fake_connect(t.n.a, t.n.b->mac, UINT64_MAX);
    in8 = fake_connect(t.c, t.d->mac, UINT64_MAX);
    fake_run(t.n.w);
    fake_net_free(t.n.right, t.right8);
    t.d = NULL;
    fake_run(t.n.w);
    g_assert_cmpuint(in8->disconnected, ==, 1);
    g_assert_cmpint(in8->reason, ==, VTOE_REASON_DEVICE_RESET);
    g_assert_cmpuint(in7->disconnected, ==, 0);
    g_assert_cmpuint(claimed(t.left8), ==, 1);
    g_assert_cmpuint(claimed(vnet_core_net(t.n.left->core)), ==, 2);
    g_assert_cmpuint(t.c->capabilities, >, told);
    g_assert_false(t.c->carrier);
    g_assert_true(t.n.a->carrier);
    assert_common(&t.n, "7");
    send_as(t.c, everyone, t.c->mac);
    send_as(t.n.a, everyone, t.n.a->mac);
    assert_got(&t, "0100");

    add_right(&t);
    assert_common(&t.n, "7,8");
    g_assert_cmpuint(claimed(t.left8), ==, 2);
    g_assert_cmpuint(claimed(t.right8), ==, 2);
    g_assert_cmpuint(client_stats(&t.n)->ups, ==, 1);
    fake_world_free(t.n.w);
}

/* Between an end's HELLO and that of the peer. */
static void test_changes_before_the_peers_hello_are_told(void)
{
    for (int goes = 0; goes < 2; goes++) {
        Nets t = { .n = net_with(7, 7) };
        VnetNet *nine = goes ? fake_net_new(t.n.right, 9) : NULL;
        VnetMsg m = hello();

        fake_net_new(t.n.left, 8);
        fake_net_new(t.n.left, 9);
        fake_link_swallow(t.n.l, true, 255);
        fake_run(t.n.w);
        g_assert_cmpstr(server_state(&t.n), ==, "hello");
        if (goes) {
            fake_net_free(t.n.right, nine);
        } else {
            fake_net_new(t.n.right, 8);
        }
        fake_run(t.n.w);
        m.u.hello.epoch = t.n.left->core->epoch;
        m.u.hello.features |= VNET_HELLO_F_NETS;
        m.u.hello.nnets = 2;
        m.u.hello.nets[0] = 8;
        m.u.hello.nets[1] = 9;
        fake_link_inject_msg(t.n.l, true, &m);
        fake_run(t.n.w);
        assert_common(&t.n, goes ? "7" : "7,8");
        fake_world_free(t.n.w);
    }
}

static void test_id_goes_while_the_link_is_down(void)
{
    Nets t = nets_new();

    fake_link_block(t.n.l, true);
    fake_link_cut(t.n.l, true, true);
    fake_run(t.n.w);
    g_assert_cmpuint(claimed(t.left8), ==, 2);      /* down, and not unknown */
    fake_net_free(t.n.right, t.right8);
    t.d = NULL;
    fake_link_block(t.n.l, false);
    fake_advance(t.n.w, 10 * S);
    assert_common(&t.n, "7");
    g_assert_cmpuint(claimed(t.left8), ==, 1);
    g_assert_false(t.c->carrier);
    fake_world_free(t.n.w);
}

/* It is parked for an id that the peer has no more: it ends, others go on. */
static void test_parked_stream_of_an_id_that_went(void)
{
    const VnetCoreConfig cfg = {
        .name = "end", .net.vni = 7, .max_streams = 100, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300, .resume_ms = 20000,
    };
    Nets t = { .n.w = fake_world_new(0) };
    FakeStream *in7, *in8;

    t.n.left = fake_host_new(t.n.w, &cfg);
    t.n.right = fake_host_new(t.n.w, &cfg);
    t.n.a = fake_nic_new(t.n.left, 1);
    t.n.b = fake_nic_new(t.n.right, 2);
    t.n.l = fake_link_new(t.n.w, t.n.left, t.n.right);
    add_left(&t);
    add_right(&t);
    t.n.b->passive_hold = t.d->passive_hold = true;
    in7 = fake_connect(t.n.a, t.n.b->mac, UINT64_MAX);
    in8 = fake_connect(t.c, t.d->mac, UINT64_MAX);
    fake_run(t.n.w);
    fake_link_block(t.n.l, true);
    fake_link_cut(t.n.l, true, true);
    fake_run(t.n.w);
    fake_net_free(t.n.right, t.right8);
    t.d = NULL;
    fake_link_block(t.n.l, false);
    fake_advance(t.n.w, 10 * S);
    g_assert_cmpuint(in7->disconnected, ==, 0);
    g_assert_cmpuint(fake_stats(t.n.left)->streams_resumed, ==, 1);
    g_assert_cmpuint(in8->disconnected, ==, 1);
    g_assert_cmpint(in8->reason, ==, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(client_stats(&t.n)->bad_order, ==, 0);
    fake_world_free(t.n.w);
}

static void test_ids_are_bounded_and_differ(void)
{
    Net n = net_new();
    VnetNetConfig cfg = { .vni = 7 };

    g_assert_null(vnet_net_new(n.left->core, &cfg));
    for (unsigned i = 1; i < VNET_NETS_MAX; i++) {
        fake_net_new(n.left, 100 + i);
        fake_net_new(n.right, 100 + i);
    }
    cfg.vni = 99;
    g_assert_null(vnet_net_new(n.left->core, &cfg));
    fake_run(n.w);
    g_assert_cmpuint(info_of(n.left, fake_link_client(n.l), NULL).nvnis, ==,
                     VNET_NETS_MAX);
    /* All of them fit a HELLO. */
    fake_link_cut(n.l, true, true);
    fake_advance(n.w, 10 * S);
    g_assert_cmpuint(info_of(n.right, fake_link_server(n.l), NULL).nvnis, ==,
                     VNET_NETS_MAX);
    g_assert_cmpuint(client_stats(&n)->nets_full, ==, 0);
    fake_world_free(n.w);
}

/* --- What a HELLO leads to ----------------------------------------------- */

static void test_one_id_in_common_is_enough(void)
{
    Net n = net_with(7, 9);

    fake_net_new(n.left, 8);
    fake_net_new(n.right, 8);
    fake_run(n.w);
    assert_common(&n, "8");
    g_assert_false(n.a->carrier);
    fake_world_free(n.w);
}

static void test_no_id_in_common_is_refused(void)
{
    Net n = net_with(7, 9);

    fake_run(n.w);
    g_assert_nonnull(strstr(fake_last_error(n.l, false), "network id"));
    g_assert_cmpuint(client_stats(&n)->lost_vni + server_stats(&n)->lost_vni,
                     >, 0);
    fake_net_new(n.left, 10);
    fake_net_new(n.left, 11);
    fake_advance(n.w, 10 * S);
    g_assert_cmpuint(client_stats(&n)->ups, ==, 0);
    g_assert_nonnull(strstr(fake_last_error(n.l, true),
                            "network id 7 and 2 more, this end 9"));
    /* And as soon as there is one it is there. */
    fake_net_new(n.right, 11);
    fake_advance(n.w, 10 * S);
    assert_common(&n, "11");
    fake_world_free(n.w);
}

/* --- A link without words ------------------------------------------------ */

static uint32_t plain_vni[2];
static unsigned plain_frames;

static void plain_close(void *transport, int64_t retry_after_ns)
{
}

static VnetFrameResult plain_frame(void *transport, const VnetWireFrame *f,
                                   const struct iovec *iov, unsigned niov)
{
    plain_vni[plain_frames++] = f->vni;
    return VNET_FRAME_OK;
}

static void test_plain_link_carries_all_ids(void)
{
    static const VnetTransportOps ops = {
        .type = "vxlan", .close = plain_close, .frame = plain_frame,
    };
    FakeWorld *w = fake_world_new(0);
    FakeHost *h = fake_host(w);
    FakeNic *a = fake_nic_new(h, 1), *c;
    VnetLink *l = vnet_link_new(h->core, "v0", false, &ops, NULL);
    const uint8_t f[60] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9 };
    const struct iovec iov = { (void *)f, 60 };
    VnetWireFrame wf = { .len = 60, .vni = 8 };

    plain_frames = 0;
    vnet_link_up_plain(l);
    c = fake_nic_in(h, fake_net_new(h, 8), 1);
    fake_send_frame(a, everyone, a->mac, 60);
    fake_send_frame(c, everyone, c->mac, 60);
    g_assert_cmpuint(plain_frames, ==, 2);
    g_assert_cmpuint(plain_vni[0], ==, 7);
    g_assert_cmpuint(plain_vni[1], ==, 8);
    vnet_link_frame(l, &wf, &iov, 1);
    wf.vni = 9;
    vnet_link_frame(l, &wf, &iov, 1);
    g_assert_cmpuint(a->frames, ==, 0);
    g_assert_cmpuint(c->frames, ==, 1);
    g_assert_cmpuint(vnet_link_stats(l)->rx_drop_vni, ==, 1);
    vnet_link_free(l);
    fake_world_free(w);
}

static void test_cut_off_has_no_carrier(void)
{
    FakeWorld *w = fake_world_new(0);
    FakeHost *h = fake_host(w);
    FakeNic *a = fake_nic_new(h, 1);
    FakeNic *c = fake_nic_in(h, fake_net_new(h, 8), 1);
    FakeStream *fs;

    fake_run(w);
    g_assert_true(a->carrier && c->carrier);
    vnet_core_cut_off(h->core);
    fake_dispatch(w);
    g_assert_false(a->carrier || c->carrier);
    fs = fake_connect(c, (const uint8_t[6]) { 2, 0, 0, 0, 0, 2 }, 10);
    fake_run(w);
    g_assert_cmpint(fs->event, ==, VTOE_EVENT_ROUTE_ERROR);
    fake_world_free(w);
}

/* --- Anything in any order ----------------------------------------------- */

#define SOAK_IDS 4

typedef struct Soak {
    Net n;
    VnetNet *net[2][SOAK_IDS];
    FakeNic *nic[2][SOAK_IDS];
} Soak;

static void soak_change(Soak *k, int end, int id)
{
    FakeHost *h = end ? k->n.right : k->n.left;

    if (k->net[end][id]) {
        fake_net_free(h, k->net[end][id]);
        k->net[end][id] = NULL;
        k->nic[end][id] = NULL;
    } else {
        k->net[end][id] = fake_net_new(h, 20 + id);
        k->nic[end][id] = fake_nic_in(h, k->net[end][id], 1 + end);
    }
}

static void soak_check(Soak *k)
{
    for (int end = 0; end < 2; end++) {
        for (int id = 0; id < SOAK_IDS; id++) {
            FakeNic *n = k->nic[end][id];

            if (n && n->frames) {
                g_assert_cmpuint(n->last_len, ==, 120 + id);
            }
        }
    }
}

static void test_any_order(void)
{
    for (guint32 seed = 1; seed <= 100; seed++) {
        g_autoptr(GRand) r = g_rand_new_with_seed(seed);
        Soak k = { .n.w = fake_world_new(seed) };
        static const uint8_t macs[2][6] = { { 0x52, 0x54, 0, 0, 0, 1 },
                                            { 0x52, 0x54, 0, 0, 0, 2 } };

        k.n.left = fake_host(k.n.w);
        k.n.right = fake_host(k.n.w);
        k.n.l = fake_link_new(k.n.w, k.n.left, k.n.right);
        for (int i = 0; i < 400; i++) {
            int end = g_rand_int_range(r, 0, 2);
            int id = g_rand_int_range(r, 0, SOAK_IDS);
            FakeNic *n = k.nic[end][id];

            switch (g_rand_int_range(r, 0, 8)) {
            case 0:
                soak_change(&k, end, id);
                break;
            case 1 ... 2:
                if (n) {
                    fake_send_frame(n, g_rand_boolean(r) ? everyone :
                                    macs[!end], n->mac, 120 + id);
                }
                break;
            case 3:
                if (n) {
                    fake_connect(n, macs[!end], g_rand_int_range(r, 0, 3000));
                }
                break;
            case 4:
                if (g_rand_int_range(r, 0, 10) == 0) {
                    fake_link_cut(k.n.l, g_rand_boolean(r), true);
                }
                break;
            default:
                for (int s = 0; s < 10 && fake_step(k.n.w); s++) {
                    soak_check(&k);
                }
                break;
            }
        }
        fake_advance(k.n.w, 30 * S);
        soak_check(&k);
        assert_up(&k.n);
        /* At the end both know of each other what is. */
        for (int id = 0; id < SOAK_IDS; id++) {
            bool both = k.net[0][id] && k.net[1][id];

            for (int end = 0; end < 2; end++) {
                if (k.net[end][id]) {
                    g_assert_cmpuint(claimed(k.net[end][id]), ==, 1 + both);
                    g_assert_cmpint(k.nic[end][id]->carrier, ==, both);
                }
            }
        }
        g_assert_cmpuint(client_stats(&k.n)->bad_order +
                         server_stats(&k.n)->bad_order, ==, 0);
        fake_world_free(k.n.w);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/net/" #name, test_##name)
    T(frames_stay_in_their_id);
    T(ports_of_one_core_do_not_meet);
    T(addresses_are_learnt_in_their_id);
    T(the_room_to_learn_is_shared);
    T(streams_stay_in_their_id);
    T(stream_to_another_id_is_impossible);
    T(routes_are_of_one_id);
    T(link_of_given_ids);
    T(rates_are_of_one_id);
    T(capture_is_of_one_id);
    T(busy_link_wakes_ports_of_all_ids);
    T(id_that_comes_is_announced);
    T(id_that_goes_ends_what_it_has);
    T(changes_before_the_peers_hello_are_told);
    T(id_goes_while_the_link_is_down);
    T(parked_stream_of_an_id_that_went);
    T(ids_are_bounded_and_differ);
    T(one_id_in_common_is_enough);
    T(no_id_in_common_is_refused);
    T(plain_link_carries_all_ids);
    T(cut_off_has_no_carrier);
    T(any_order);
    return g_test_run();
}
