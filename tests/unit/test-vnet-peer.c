/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The peer protocol (docs/specs/vnet-wire.rst, "Links"): what two ends tell each
 * other at the beginning, and about addresses.
 */
#include <string.h>
#include "vnet-peer-net.h"

/* --- Hello ------------------------------------------------------------------------ */

static void test_hello_brings_the_link_up(void)
{
    Net n = net_new();
    g_autofree char *name = NULL;
    VnetLinkInfo i = info_of(n.left, fake_link_client(n.l), &name);

    assert_up(&n);
    g_assert_cmpstr(name, ==, "right");
    g_assert_cmpuint(i.version, ==, 1);
    g_assert_cmpuint(i.features, ==,
                     7 | VNET_HELLO_F_NETS | VNET_HELLO_F_HOPS);
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

/* --- Addresses ---------------------------------------------------------------------------- */

static void test_addresses_of_the_peer_are_bounded(void)
{
    Net n = net_new();
    VnetMsg m = { .type = VNET_MSG_MAC };
    VnetNetInfo info;

    m.u.mac.vni = 7;
    for (unsigned i = 0; i < 10000; i++) {
        memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 1, i >> 8, i }, 6);
        fake_link_inject_msg(n.l, true, &m);
        if (i % 1000 == 0) {
            fake_run(n.w);
        }
    }
    fake_run(n.w);
    vnet_query_net(vnet_core_net(n.right->core), &info);
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
    vnet_query_net(vnet_core_net(n.right->core), &info);
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
    VnetNetInfo info;

    m.u.mac.vni = 8;
    memcpy(m.u.mac.mac, (uint8_t[6]) { 2, 0, 0, 1, 0, 5 }, 6);
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    vnet_query_net(vnet_core_net(n.right->core), &info);
    g_assert_cmpuint(info.macs_claimed, ==, 2);
    g_assert_cmpuint(server_stats(&n)->macs_vni, ==, 1);
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
    T(addresses_of_the_peer_are_bounded);
    T(addresses_start_anew_with_each_hello);
    T(addresses_of_another_network_are_not_kept);
    return g_test_run();
}
