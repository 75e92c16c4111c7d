/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer that breaks the rules of links: one end against bytes that no
 * conforming peer sends.
 */
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-peer-net.h"

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
        bool of_stream = vnet_wire_has_id(t);
        VnetMsg m = { .type = t, .id = of_stream };

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
        } else if (t == VNET_MSG_RESUME || t == VNET_MSG_RESUMED) {
            m.u.resume.token = m.u.resume.id = 1;
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

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/peer/" #name, test_##name)
    T(malformed_messages_close_the_link);
    T(hello_twice_closes_the_link);
    T(anything_before_hello_closes_the_link);
    T(transport_can_report_violations);
    T(bye_is_believed);
    T(peer_that_does_not_read_is_closed);
    T(overflow_inside_a_nics_call_is_put_off);
    T(partial_messages_wait);
    T(random_messages);
    return g_test_run();
}
