/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The peer protocol (docs/specs/vnet-wire.rst, "Links"): two ends, and one end
 * against bytes that no conforming peer sends.
 */
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-fake.h"

#define MS      1000000ll
#define S       (1000 * MS)

typedef struct Net {
    FakeWorld *w;
    FakeHost *left, *right;     /* client, server */
    FakeNic *a, *b;
    FakeLink *l;
} Net;

static Net net_with(uint32_t left_vni, uint32_t right_vni)
{
    Net n = { .w = fake_world_new(0) };
    VnetCoreConfig cfg = {
        .name = "left", .vni = left_vni, .max_streams = 100,
        .heartbeat_ms = 1000, .max_macs = 64, .mac_age_s = 300,
    };

    n.left = fake_host_new(n.w, &cfg);
    cfg.name = "right";
    cfg.vni = right_vni;
    n.right = fake_host_new(n.w, &cfg);
    n.a = fake_nic_new(n.left, 1);
    n.b = fake_nic_new(n.right, 2);
    n.l = fake_link_new(n.w, n.left, n.right);
    return n;
}

static Net net_new(void)
{
    Net n = net_with(7, 7);

    fake_run(n.w);
    return n;
}

static const char *client_state(Net *n)
{
    return vnet_link_state(fake_link_client(n->l));
}

static const char *server_state(Net *n)
{
    return vnet_link_state(fake_link_server(n->l));
}

static void assert_up(Net *n)
{
    g_assert_cmpstr(client_state(n), ==, "up");
    g_assert_cmpstr(server_state(n), ==, "up");
}

static const VnetLinkStats *client_stats(Net *n)
{
    return fake_link_stats(n->l, false);
}

static const VnetLinkStats *server_stats(Net *n)
{
    return fake_link_stats(n->l, true);
}

typedef struct Find {
    VnetLink *l;
    VnetLinkInfo info;
    char *name;
} Find;

static void find(void *opaque, const VnetLinkInfo *info)
{
    Find *f = opaque;

    if (info->link == f->l) {
        f->info = *info;
        g_free(f->name);
        f->name = g_strdup(info->peer_name);
    }
}

static VnetLinkInfo info_of(FakeHost *h, VnetLink *l, char **name)
{
    Find f = { .l = l };

    vnet_query_links(h->core, find, &f);
    if (name) {
        *name = f.name;
    } else {
        g_free(f.name);
    }
    return f.info;
}

/* --- Hello ------------------------------------------------------------------------ */

static void test_hello_brings_the_link_up(void)
{
    Net n = net_new();
    g_autofree char *name = NULL;
    VnetLinkInfo i = info_of(n.left, fake_link_client(n.l), &name);

    assert_up(&n);
    g_assert_cmpstr(name, ==, "right");
    g_assert_cmpuint(i.version, ==, 1);
    g_assert_cmpuint(i.features, ==, 7);
    g_assert_cmpuint(i.peer_epoch, !=, 0);
    g_assert_cmpint(i.rtt_ns, ==, 0);       /* the fake clock stood still */
    g_assert_cmpuint(client_stats(&n)->ups, ==, 1);
    g_assert_true(n.a->carrier && n.b->carrier);
    g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
    /* Each NIC heard of the other's, once. */
    g_assert_cmpuint(n.a->capabilities, ==, 1);
    g_assert_cmpuint(n.b->capabilities, ==, 1);
    fake_world_free(n.w);
}

static void test_any_order_of_arrival_brings_it_up(void)
{
    for (guint32 seed = 1; seed <= 300; seed++) {
        FakeWorld *w = fake_world_new(seed);
        FakeHost *l = fake_host(w), *r = fake_host(w);
        FakeNic *a = fake_nic_new(l, 1), *b = fake_nic_new(r, 2);
        FakeLink *k = fake_link_new(w, l, r);

        fake_run(w);
        g_assert_cmpstr(vnet_link_state(fake_link_client(k)), ==, "up");
        g_assert_cmpstr(vnet_link_state(fake_link_server(k)), ==, "up");
        g_assert_cmpint(fake_send_frame(a, b->mac, a->mac, 60), ==,
                        VNET_FRAME_OK);
        g_assert_cmpint(fake_send_frame(b, a->mac, b->mac, 60), ==,
                        VNET_FRAME_OK);
        fake_run(w);
        g_assert_cmpuint(a->frames + b->frames, ==, 2);
        fake_world_free(w);
    }
}

static void test_wrong_vni_is_refused_by_policy(void)
{
    Net n = net_with(7, 8);

    fake_run(n.w);
    g_assert_cmpstr(client_state(&n), ==, "down");
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpuint(client_stats(&n)->lost_vni +
                     server_stats(&n)->lost_vni, >=, 1);
    g_assert_nonnull(strstr(fake_last_error(n.l, false), "network id"));
    g_assert_false(n.a->carrier);
    fake_world_free(n.w);
}

static void test_connected_to_oneself_is_refused(void)
{
    FakeWorld *w = fake_world_new(0);
    FakeHost *h = fake_host(w);
    FakeLink *l;

    fake_nic_new(h, 1);
    l = fake_link_new(w, h, h);
    fake_run(w);
    g_assert_cmpstr(vnet_link_state(fake_link_client(l)), ==, "down");
    g_assert_cmpuint(fake_link_stats(l, true)->refused_self, ==, 1);
    g_assert_nonnull(strstr(fake_last_error(l, false), "oneself"));
    fake_world_free(w);
}

static void test_second_peer_is_refused(void)
{
    Net n = net_new();
    VnetPreamble p = { 1, VNET_CONN_CONTROL, 0x4242, 0, 0 };
    uint8_t bye[VNET_MSG_MAX];
    VnetMsg m;
    size_t len, used;

    g_assert_false(vnet_link_up(fake_link_server(n.l), &p));
    len = vnet_link_refusal(fake_link_server(n.l), bye);
    g_assert_cmpint(vnet_wire_get_msg(bye, len, &m, &used), ==, VNET_WIRE_OK);
    g_assert_cmpuint(m.type, ==, VNET_MSG_BYE);
    g_assert_cmpuint(m.u.bye.reason, ==, VTOE_REASON_LIMIT);
    g_assert_cmpuint(server_stats(&n)->refused_busy, ==, 1);
    assert_up(&n);
    p.kind = VNET_CONN_FRAME;
    g_assert_false(vnet_link_up(fake_link_server(n.l), &p));
    assert_up(&n);
    fake_world_free(n.w);
}

/* The client's side is lost, the server has not noticed: the new connection of
 * the same peer replaces the old one. */
static void test_same_peer_connects_anew(void)
{
    Net n = net_new();
    FakeStream *fs, *peer;

    n.b->passive_hold = true;
    fs = fake_connect(n.a, n.b->mac, UINT64_MAX);
    fake_run(n.w);
    peer = fake_peer_of(n.b, fs);
    fake_link_stall_control(n.l, true);
    fake_link_cut(n.l, false, true);
    g_assert_nonnull(peer->s);
    fake_advance(n.w, 1 * S);
    g_assert_null(peer->s);
    g_assert_cmpint(peer->reason, ==, VTOE_REASON_LINK_LOST);
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    assert_up(&n);
    g_assert_cmpuint(server_stats(&n)->ups, ==, 2);
    g_assert_cmpuint(server_stats(&n)->downs, ==, 1);
    fake_world_free(n.w);
}

/* A peer that was restarted has another epoch: it waits until the heartbeat has
 * ended its predecessor, or comes at once if that was noticed. */
static void test_restarted_peer(void)
{
    Net n = net_new();
    VnetPreamble p = { 1, VNET_CONN_CONTROL, 0x4242, 0, 0 };
    VnetLink *sv = fake_link_server(n.l);

    fake_link_block(n.l, true);
    fake_link_swallow(n.l, true, VNET_MSG_PONG);
    fake_link_cut(n.l, false, true);
    g_assert_cmpstr(server_state(&n), ==, "up");
    g_assert_false(vnet_link_up(sv, &p));
    fake_run(n.w);              /* the loss arrives */
    g_assert_cmpstr(server_state(&n), ==, "down");
    fake_world_free(n.w);
}

static VnetMsg hello(void)
{
    VnetMsg m = { .type = VNET_MSG_HELLO };

    m.u.hello.version_min = m.u.hello.version_max = 1;
    m.u.hello.heartbeat_ms = 1000;
    m.u.hello.features = 7;
    m.u.hello.epoch = 0x77;
    m.u.hello.vni = 7;
    m.u.hello.max_streams = 10;
    return m;
}

/* A server that is talked to by the test alone. */
static Net raw_net(void)
{
    Net n = net_with(7, 7);

    fake_link_swallow(n.l, true, 255);
    fake_run(n.w);
    g_assert_cmpstr(server_state(&n), ==, "hello");
    fake_link_block(n.l, true);
    return n;
}

static uint64_t epoch_of(FakeHost *h)
{
    VnetCoreInfo i;

    vnet_query_core(h->core, &i);
    return i.epoch;
}

static void raw_hello(VnetMsg m, size_t stat)
{
    Net n = raw_net();
    const uint64_t *counter =
        (const uint64_t *)((const char *)server_stats(&n) + stat);

    if (m.u.hello.epoch == 0x77) {
        m.u.hello.epoch = epoch_of(n.left);
    }
    if (m.u.hello.epoch == 0x78) {
        m.u.hello.epoch = epoch_of(n.right);
    }
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpuint(*counter, ==, 1);
    g_assert_cmpuint(server_stats(&n)->ups, ==, 0);
    g_assert_cmpuint(server_stats(&n)->attempts_failed, ==, 1);
    fake_world_free(n.w);
}

#define STAT(name) offsetof(VnetLinkStats, name)

static void test_hello_rules(void)
{
    VnetMsg m = hello();

    m.u.hello.version_min = 2;
    m.u.hello.version_max = 9;
    raw_hello(m, STAT(lost_version));
    m = hello();
    m.u.hello.vni = 9;
    raw_hello(m, STAT(lost_vni));
    m = hello();
    m.u.hello.epoch = 0x78;     /* the server's own */
    raw_hello(m, STAT(refused_self));
    m = hello();
    m.u.hello.epoch = 0x1234;   /* not the preamble's */
    raw_hello(m, STAT(bad_value));
    m = hello();
    m.u.hello.token = 5;        /* only a server has one */
    raw_hello(m, STAT(bad_value));
    m = hello();
    m.u.hello.heartbeat_ms = 1;
    raw_hello(m, STAT(bad_value));
}

static void test_later_versions_agree_on_ours(void)
{
    Net n = raw_net();
    VnetMsg m = hello();

    m.u.hello.epoch = epoch_of(n.left);
    m.u.hello.version_max = 40;
    m.u.hello.features |= 1ull << 40;
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpstr(server_state(&n), ==, "up");
    g_assert_cmpuint(info_of(n.right, fake_link_server(n.l), NULL).version, ==,
                     1);
    g_assert_cmpuint(info_of(n.right, fake_link_server(n.l), NULL).features,
                     ==, 7);
    fake_world_free(n.w);
}

static void test_peer_without_streams_is_not_asked_for_any(void)
{
    Net n = raw_net();
    VnetMsg m = hello(), mac = { .type = VNET_MSG_MAC };
    FakeStream *fs;

    m.u.hello.epoch = epoch_of(n.left);
    m.u.hello.features = VNET_HELLO_F_FRAMES;
    fake_link_inject_msg(n.l, true, &m);
    mac.flags = VNET_MAC_F_STREAMS;
    mac.u.mac.vni = 7;
    memcpy(mac.u.mac.mac, n.a->mac, 6);
    fake_link_inject_msg(n.l, true, &mac);
    fake_run(n.w);
    fs = fake_connect(n.b, n.a->mac, 10);
    fake_run(n.w);
    g_assert_cmpint(fs->event, ==, VTOE_EVENT_ADDRESS_ERROR);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NO_STREAMS);
    fake_world_free(n.w);
}

static void test_peer_without_gso_gets_no_such_frames(void)
{
    Net n = raw_net();
    VnetMsg m = hello();
    uint8_t f[100] = { 0 };
    const struct iovec iov = { f, 100 };
    const VnetFrameHdr csum = {
        .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
        .csum_offset = 16,
    };

    m.u.hello.epoch = epoch_of(n.left);
    m.u.hello.features = VNET_HELLO_F_FRAMES;
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    memset(f, 0xff, 6);
    memcpy(f + 6, n.b->mac, 6);
    g_assert_cmpint(vnet_port_send(n.b->port, &csum, &iov, 1, 100), ==,
                    VNET_FRAME_DROPPED);
    g_assert_cmpuint(server_stats(&n)->tx_drop_gso, ==, 1);
    fake_world_free(n.w);
}

static void test_no_hello_in_time(void)
{
    Net n = raw_net();

    fake_link_stall_control(n.l, true);
    fake_advance(n.w, 4999 * MS);
    g_assert_cmpstr(server_state(&n), ==, "hello");
    fake_advance(n.w, 1 * MS);
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpuint(server_stats(&n)->lost_hello, ==, 1);
    fake_world_free(n.w);
}

/* --- Heartbeat ------------------------------------------------------------------------ */

static void test_an_idle_link_stays_up(void)
{
    Net n = net_new();

    fake_advance(n.w, 3600 * S);
    assert_up(&n);
    g_assert_cmpuint(client_stats(&n)->ups, ==, 1);
    g_assert_cmpuint(client_stats(&n)->pings_sent, >, 100);
    fake_world_free(n.w);
}

static void test_silence_ends_the_link(void)
{
    Net n = net_new();

    fake_link_block(n.l, true);
    fake_advance(n.w, 10 * S);
    fake_link_stall_control(n.l, true);
    fake_advance(n.w, 3500 * MS);
    assert_up(&n);
    fake_advance(n.w, 2 * S);
    g_assert_cmpstr(client_state(&n), ==, "down");
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpuint(client_stats(&n)->lost_heartbeat, ==, 1);
    fake_world_free(n.w);
}

static void test_a_late_answer_keeps_the_link(void)
{
    Net n = net_new();

    for (int i = 0; i < 10; i++) {
        fake_link_stall_control(n.l, true);
        fake_advance(n.w, 2900 * MS);
        fake_link_stall_control(n.l, false);
        fake_advance(n.w, 1100 * MS);
    }
    assert_up(&n);
    g_assert_cmpuint(client_stats(&n)->heartbeats_missed, >, 0);
    fake_world_free(n.w);
}

static void test_frames_are_signs_of_life(void)
{
    Net n = net_new();

    fake_link_stall_control(n.l, true);
    for (int i = 0; i < 100; i++) {
        fake_send_frame(n.a, n.b->mac, n.a->mac, 60);
        fake_send_frame(n.b, n.a->mac, n.b->mac, 60);
        fake_advance(n.w, 500 * MS);
    }
    assert_up(&n);
    fake_world_free(n.w);
}

static void test_round_trip_is_measured(void)
{
    Net n = net_new();

    fake_link_stall_control(n.l, true);
    fake_advance(n.w, 2500 * MS);
    fake_link_stall_control(n.l, false);
    fake_run(n.w);
    g_assert_cmpint(info_of(n.left, fake_link_client(n.l), NULL).rtt_ns, ==,
                    500 * MS);
    fake_world_free(n.w);
}

/* --- Coming back ------------------------------------------------------------------------ */

static void test_backoff_doubles_up_to_its_bound(void)
{
    Net n = net_new();
    uint64_t before;

    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    /* 0.1 + 0.2 + 0.4 + ... + 3.2, then 5 each: about 21 tries in 80 s */
    fake_advance(n.w, 80 * S);
    before = client_stats(&n)->attempts_failed;
    g_assert_cmpuint(before, >=, 17);
    g_assert_cmpuint(before, <=, 26);
    /* A hello that is good starts it anew. */
    fake_link_block(n.l, false);
    fake_advance(n.w, 7 * S);
    assert_up(&n);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    fake_advance(n.w, 130 * MS);
    g_assert_cmpuint(client_stats(&n)->attempts_failed, ==, before + 1);
    fake_world_free(n.w);
}

static void test_reconnect_bound_is_configurable(void)
{
    Net n = net_new();

    vnet_link_set_reconnect(fake_link_client(n.l), 100);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    fake_advance(n.w, 10 * S);
    g_assert_cmpuint(client_stats(&n)->attempts_failed, >=, 75);
    g_assert_cmpuint(client_stats(&n)->attempts_failed, <=, 135);
    fake_world_free(n.w);
}

static void test_cut_at_any_moment_comes_back(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(3);

    for (guint32 seed = 1; seed <= 100; seed++) {
        FakeWorld *w = fake_world_new(seed);
        FakeHost *l = fake_host(w), *h = fake_host(w);
        FakeNic *a = fake_nic_new(l, 1), *b = fake_nic_new(h, 2);
        FakeLink *k = fake_link_new(w, l, h);

        for (int i = 0; i < 20; i++) {
            unsigned who = g_rand_int_range(r, 1, 4);

            for (int j = g_rand_int_range(r, 0, 12); j && fake_step(w); j--) {
                /* somewhere in the middle of it */
            }
            fake_link_cut(k, who & 1, who & 2);
            if (g_rand_boolean(r)) {
                fake_advance(w, g_rand_int_range(r, 1, 300) * MS);
            }
        }
        fake_advance(w, 30 * S);
        g_assert_cmpstr(vnet_link_state(fake_link_client(k)), ==, "up");
        g_assert_cmpstr(vnet_link_state(fake_link_server(k)), ==, "up");
        g_assert_true(a->carrier && b->carrier);
        g_assert_cmpuint(fake_link_conns(k), ==, 2);
        fake_world_free(w);
    }
}

static void test_carrier_follows_the_link(void)
{
    Net n = net_new();
    guint told = n.a->carrier_told;

    g_assert_true(n.a->carrier);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    g_assert_false(n.a->carrier || n.b->carrier);
    fake_link_block(n.l, false);
    fake_advance(n.w, 10 * S);
    g_assert_true(n.a->carrier && n.b->carrier);
    g_assert_cmpuint(n.a->carrier_told, ==, told + 2);
    fake_world_free(n.w);
}

static void test_carrier_is_told_at_attach(void)
{
    Net n = net_with(7, 7);

    fake_dispatch(n.w);
    g_assert_cmpuint(n.a->carrier_told, ==, 1);
    g_assert_false(n.a->carrier);
    fake_world_free(n.w);
}

/* --- Addresses ---------------------------------------------------------------------------- */

static void test_addresses_of_the_peer_are_bounded(void)
{
    Net n = net_new();
    VnetMsg m = { .type = VNET_MSG_MAC };
    VnetCoreInfo info;

    m.u.mac.vni = 7;
    for (unsigned i = 0; i < 10000; i++) {
        memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 1, i >> 8, i }, 6);
        fake_link_inject_msg(n.l, true, &m);
        if (i % 1000 == 0) {
            fake_run(n.w);
        }
    }
    fake_run(n.w);
    vnet_query_core(n.right->core, &info);
    g_assert_cmpuint(info.macs_claimed, ==, 4096 + 1);  /* its own port's */
    g_assert_cmpuint(server_stats(&n)->macs_full, ==, 10000 - 4096 + 1);
    assert_up(&n);
    /* One that goes makes room for one. */
    m.flags = VNET_MAC_F_GONE;
    memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 1, 0, 5 }, 6);
    fake_link_inject_msg(n.l, true, &m);
    fake_link_inject_msg(n.l, true, &m);    /* twice is no harm */
    m.flags = 0;
    memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 2, 0, 5 }, 6);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    g_assert_cmpuint(server_stats(&n)->macs_full, ==, 10000 - 4096 + 1);
    vnet_query_core(n.right->core, &info);
    g_assert_cmpuint(info.macs_claimed, ==, 4096 + 1);
    fake_world_free(n.w);
}

static void test_addresses_start_anew_with_each_hello(void)
{
    Net n = net_new();
    uint8_t old[6];
    FakeStream *fs;

    memcpy(old, n.a->mac, 6);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    vnet_port_set_mac(n.a->port, (const uint8_t *)"\x52\x54\0\0\0\x44");
    fake_link_block(n.l, false);
    fake_advance(n.w, 10 * S);
    assert_up(&n);
    fs = fake_connect(n.b, old, 10);
    fake_run(n.w);
    g_assert_cmpint(fs->event, ==, VTOE_EVENT_ADDRESS_ERROR);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NO_PEER);
    fake_world_free(n.w);
}

static void test_addresses_of_another_network_are_not_kept(void)
{
    Net n = net_new();
    VnetMsg m = { .type = VNET_MSG_MAC };
    VnetCoreInfo info;

    m.u.mac.vni = 8;
    memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 1, 0, 5 }, 6);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    vnet_query_core(n.right->core, &info);
    g_assert_cmpuint(info.macs_claimed, ==, 2);
    g_assert_cmpuint(server_stats(&n)->macs_vni, ==, 1);
    fake_world_free(n.w);
}

/* --- A peer that breaks the rules ------------------------------------------------------------ */

/* These bytes close the link, count as said, and the other link of the same
 * core does not notice. */
static void violate(const uint8_t *bytes, size_t len, size_t stat,
                    const char *said)
{
    Net n = net_new();
    FakeHost *third = fake_host(n.w);
    FakeNic *c = fake_nic_new(third, 3);
    FakeLink *other = fake_link_new(n.w, third, n.right);
    FakeStream *fs;
    const uint64_t *counter;

    n.b->passive_hold = true;
    fake_run(n.w);
    fs = fake_connect(c, n.b->mac, UINT64_MAX);
    fake_run(n.w);
    fake_link_block(n.l, true);
    fake_link_inject(n.l, true, bytes, len);
    fake_run(n.w);
    counter = (const uint64_t *)((const char *)server_stats(&n) + stat);
    g_assert_cmpuint(*counter, ==, 1);
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpstr(client_state(&n), ==, "down");
    g_assert_cmpuint(client_stats(&n)->lost_bye, ==, 1);
    g_test_message("%s", fake_last_error(n.l, false));
    g_assert_nonnull(strstr(fake_last_error(n.l, false), said));
    g_assert_cmpstr(vnet_link_state(fake_link_client(other)), ==, "up");
    fake_post(fs, 100);
    fake_advance(n.w, 2 * VNET_ACK_NS);
    g_assert_cmpuint(fs->tx_acked, ==, 100);
    fake_world_free(n.w);
}

static void test_malformed_messages_close_the_link(void)
{
    static const uint8_t unknown[] = { 77, 0, 0, 8, 0, 0, 0, 0 };
    static const uint8_t zero[] = { 0 };
    static const uint8_t too_long[] = { 3, 0, 0, 17 };
    static const uint8_t too_short[] = { 9, 0, 0, 8, 0, 0, 0, 1 };
    static const uint8_t giant[] = { 1, 0, 0xff, 0xff };
    static const uint8_t flags[] = {
        3, 1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    };
    static const uint8_t id[] = { 7, 0, 0, 8, 0, 0, 0, 0 };
    static const uint8_t overflow[] = {
        9, 0, 0, 16, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff,
    };

    violate(unknown, sizeof(unknown), STAT(bad_kind), "unknown");
    violate(zero, sizeof(zero), STAT(bad_kind), "unknown");
    violate(too_long, sizeof(too_long), STAT(bad_length), "length");
    violate(too_short, sizeof(too_short), STAT(bad_length), "length");
    violate(giant, sizeof(giant), STAT(bad_length), "length");
    violate(flags, sizeof(flags), STAT(bad_value), "value");
    violate(id, sizeof(id), STAT(bad_value), "value");
    violate(overflow, sizeof(overflow), STAT(bad_value), "value");
}

static void test_hello_twice_closes_the_link(void)
{
    VnetMsg m = hello();
    uint8_t b[VNET_MSG_MAX];
    size_t len = vnet_wire_put_msg(b, &m);

    violate(b, len, STAT(bad_order), "message 1 in state up");
}

static void test_anything_before_hello_closes_the_link(void)
{
    for (int t = VNET_MSG_PING; t <= VNET_MSG_LAST; t++) {
        Net n = raw_net();
        VnetMsg m = { .type = t, .id = t >= VNET_MSG_OPEN ? 1 : 0 };

        if (t == VNET_MSG_MAC) {
            memcpy(m.u.mac.mac, n.a->mac, 6);
        } else if (t == VNET_MSG_OPEN) {
            m.u.open.flow.family = 4;
            memcpy(m.u.open.flow.lmac, n.a->mac, 6);
            memcpy(m.u.open.flow.rmac, n.b->mac, 6);
        } else if (t == VNET_MSG_REJECT || t == VNET_MSG_ABORT) {
            m.u.reject.reason = 1;
        } else if (t == VNET_MSG_CREDIT) {
            m.u.credit.count = m.u.credit.length = 1;
        } else if (t == VNET_MSG_WANT) {
            m.u.offset.offset = 1;
        }
        fake_link_inject_msg(n.l, true, &m);
        fake_run(n.w);
        g_assert_cmpstr(server_state(&n), ==, "down");
        g_assert_cmpuint(server_stats(&n)->bad_order, ==, 1);
        fake_world_free(n.w);
    }
}

static void test_transport_can_report_violations(void)
{
    static const VnetWireError errors[] = {
        VNET_WIRE_BAD_MAGIC, VNET_WIRE_BAD_VERSION, VNET_WIRE_BAD_KIND,
        VNET_WIRE_BAD_LENGTH, VNET_WIRE_BAD_VALUE,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(errors); i++) {
        Net n = net_new();

        fake_link_block(n.l, true);
        vnet_link_violation(fake_link_server(n.l), errors[i], "frame header");
        fake_run(n.w);
        g_assert_cmpstr(client_state(&n), ==, "down");
        g_assert_nonnull(strstr(fake_last_error(n.l, false), "frame header"));
        g_assert_cmpuint(server_stats(&n)->bad_magic +
                         server_stats(&n)->bad_version +
                         server_stats(&n)->bad_kind +
                         server_stats(&n)->bad_length +
                         server_stats(&n)->bad_value, ==, 1);
        fake_world_free(n.w);
    }
}

static void test_bye_is_believed(void)
{
    Net n = net_new();
    VnetMsg m = { .type = VNET_MSG_BYE };

    strcpy(m.u.bye.text, "shutting down");
    fake_link_inject_msg(n.l, true, &m);
    fake_link_block(n.l, true);
    fake_run(n.w);
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpuint(server_stats(&n)->lost_bye, ==, 1);
    g_assert_nonnull(strstr(fake_last_error(n.l, true), "shutting down"));
    fake_world_free(n.w);
}

static void test_peer_that_does_not_read_is_closed(void)
{
    Net n = net_new();
    VnetMsg m = { .type = VNET_MSG_PING };

    n.w->control_size = 4096;
    fake_link_block(n.l, true);
    for (int i = 0; i < 100; i++) {
        fake_link_inject_msg(n.l, true, &m);
    }
    /* Answers pile up as the client reads nothing. */
    for (int i = 0; i < 100 && !strcmp(server_state(&n), "up"); i++) {
        VnetLink *sv = fake_link_server(n.l);
        uint8_t b[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(b, &m);

        for (int j = 0; j < 10; j++) {
            if (vnet_link_control(sv, b, len) < 0) {
                break;
            }
        }
        fake_dispatch(n.w);
    }
    g_assert_cmpstr(server_state(&n), ==, "down");
    g_assert_cmpuint(server_stats(&n)->lost_overflow, ==, 1);
    fake_world_free(n.w);
}

static void test_overflow_inside_a_nics_call_is_put_off(void)
{
    Net n = net_new();
    FakeStream *fs[20];

    n.w->control_size = 300;
    fake_link_block(n.l, true);
    fake_link_stall_control(n.l, true);
    for (int i = 0; i < 20; i++) {
        fs[i] = fake_connect(n.a, n.b->mac, UINT64_MAX);
        g_assert_cmpuint(fs[i]->failed, ==, 0);
    }
    fake_dispatch(n.w);
    for (int i = 0; i < 20; i++) {
        g_assert_cmpuint(fs[i]->failed, ==, 1);
        g_assert_cmpint(fs[i]->event, ==, VTOE_EVENT_UNREACHABLE);
    }
    g_assert_cmpuint(client_stats(&n)->lost_overflow, ==, 1);
    fake_world_free(n.w);
}

static void test_partial_messages_wait(void)
{
    Net n = net_new();
    VnetMsg m = { .type = VNET_MSG_PING };
    uint8_t b[VNET_MSG_MAX];
    size_t len = vnet_wire_put_msg(b, &m);
    uint64_t msgs = server_stats(&n)->rx_msgs;

    for (size_t i = 0; i < len; i++) {
        fake_link_inject(n.l, true, b + i, 1);
        fake_step(n.w);
        g_assert_cmpuint(server_stats(&n)->rx_msgs, ==, msgs + (i + 1 == len));
    }
    fake_run(n.w);
    assert_up(&n);
    fake_world_free(n.w);
}

/* Random bytes and random messages: never more than a closed link. */
static void test_random_messages(void)
{
    for (guint32 seed = 1; seed <= 300; seed++) {
        Net n = { .w = fake_world_new(seed) };
        g_autoptr(GRand) r = g_rand_new_with_seed(seed);
        VnetLink *sv;

        n.left = fake_host(n.w);
        n.right = fake_host(n.w);
        n.a = fake_nic_new(n.left, 1);
        n.b = fake_nic_new(n.right, 2);
        n.l = fake_link_new(n.w, n.left, n.right);
        n.b->passive_hold = true;
        fake_run(n.w);
        sv = fake_link_server(n.l);
        for (int i = 0; i < 3; i++) {
            fake_connect(n.a, n.b->mac, 1000);
            fake_connect(n.b, n.a->mac, 1000);
        }
        for (int i = 0; i < 200; i++) {
            VnetMsg m = { .type = g_rand_int_range(r, 1, 13) };

            if (m.type >= VNET_MSG_OPEN) {
                m.id = g_rand_int_range(r, 1, 5) |
                       (g_rand_boolean(r) ? VNET_STREAM_ID_SERVER : 0);
            }
            for (size_t k = 0; k < sizeof(m.u); k++) {
                ((uint8_t *)&m.u)[k] = g_rand_int_range(r, 0, 8) ? 0
                                       : g_rand_int(r);
            }
            if (m.type == VNET_MSG_OPEN) {
                m.u.open.vni = 7;
                m.u.open.flow.family = 6;
                memcpy(m.u.open.flow.lmac, n.a->mac, 6);
                memcpy(m.u.open.flow.rmac, n.b->mac, 6);
            }
            if (!strcmp(vnet_link_state(sv), "up")) {
                uint8_t b[VNET_MSG_MAX];
                size_t len = vnet_wire_put_msg(b, &m);

                vnet_link_control(sv, b, len);
                fake_dispatch(n.w);
            }
            for (int k = g_rand_int_range(r, 0, 5); k && fake_step(n.w); k--) {
                /* some of what can happen */
            }
            if (g_rand_int_range(r, 0, 20) == 0) {
                fake_advance(n.w, 500 * MS);
            }
        }
        fake_world_free(n.w);
    }
}

/* --- Freeing ------------------------------------------------------------------------------- */

static void test_link_removed_while_in_use(void)
{
    FakeWorld *w = fake_world_new(0);
    FakeHost *l = fake_host(w), *h = fake_host(w);
    FakeNic *a = fake_nic_new(l, 1), *b = fake_nic_new(h, 2);
    FakeStream *fs;

    fake_link_new(w, l, h);
    fake_run(w);
    b->passive_hold = true;
    fs = fake_connect(a, b->mac, UINT64_MAX);
    fake_run(w);
    fake_post(fs, 100000);
    fake_links_free(w);
    fake_dispatch(w);
    g_assert_null(fs->s);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_LINK_LOST);
    g_assert_true(a->carrier);      /* alone, but joined to its switch */
    fake_world_free(w);
}

static void test_events_are_told(void)
{
    Net n = net_new();

    g_assert_cmpuint(n.left->link_events, ==, 2);   /* hello, up */
    g_assert_cmpstr(n.left->last_event, ==, "up");
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    g_assert_cmpstr(n.left->last_event, ==, "down");
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/peer/" #name, test_##name)
    T(hello_brings_the_link_up);
    T(any_order_of_arrival_brings_it_up);
    T(wrong_vni_is_refused_by_policy);
    T(connected_to_oneself_is_refused);
    T(second_peer_is_refused);
    T(same_peer_connects_anew);
    T(restarted_peer);
    T(hello_rules);
    T(later_versions_agree_on_ours);
    T(peer_without_streams_is_not_asked_for_any);
    T(peer_without_gso_gets_no_such_frames);
    T(no_hello_in_time);
    T(an_idle_link_stays_up);
    T(silence_ends_the_link);
    T(a_late_answer_keeps_the_link);
    T(frames_are_signs_of_life);
    T(round_trip_is_measured);
    T(backoff_doubles_up_to_its_bound);
    T(reconnect_bound_is_configurable);
    T(cut_at_any_moment_comes_back);
    T(carrier_follows_the_link);
    T(carrier_is_told_at_attach);
    T(addresses_of_the_peer_are_bounded);
    T(addresses_start_anew_with_each_hello);
    T(addresses_of_another_network_are_not_kept);
    T(malformed_messages_close_the_link);
    T(hello_twice_closes_the_link);
    T(anything_before_hello_closes_the_link);
    T(transport_can_report_violations);
    T(bye_is_believed);
    T(peer_that_does_not_read_is_closed);
    T(overflow_inside_a_nics_call_is_put_off);
    T(partial_messages_wait);
    T(random_messages);
    T(link_removed_while_in_use);
    T(events_are_told);
    return g_test_run();
}
