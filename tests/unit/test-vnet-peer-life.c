/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of a link: heartbeat, loss, coming back, its end
 * (docs/specs/vnet-wire.rst, "Links").
 */
#include "vnet-peer-net.h"

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

/* Frames both ways for so long, in which no message gets through. */
static void frames_alone(Net *n, unsigned seconds)
{
    fake_link_stall_control(n->l, true);
    for (unsigned i = 0; i < 2 * seconds; i++) {
        fake_send_frame(n->a, n->b->mac, n->a->mac, 60);
        fake_send_frame(n->b, n->a->mac, n->b->mac, 60);
        fake_advance(n->w, 500 * MS);
    }
}

static void test_frames_are_signs_of_life(void)
{
    Net n = net_new();

    for (int i = 0; i < 10; i++) {
        frames_alone(&n, 9);
        fake_link_stall_control(n.l, false);
        fake_run(n.w);
    }
    assert_up(&n);
    g_assert_cmpuint(client_stats(&n)->heartbeats_missed, ==, 0);
    fake_world_free(n.w);
}

/* One of a link's connections can be dead alone. */
static void test_frames_are_no_answer(void)
{
    Net n = net_new();

    frames_alone(&n, 19);
    assert_up(&n);
    frames_alone(&n, 2);
    g_assert_cmpstr(client_state(&n), !=, "up");
    g_assert_cmpuint(client_stats(&n)->lost_heartbeat, ==, 1);
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
    T(an_idle_link_stays_up);
    T(silence_ends_the_link);
    T(a_late_answer_keeps_the_link);
    T(frames_are_signs_of_life);
    T(frames_are_no_answer);
    T(round_trip_is_measured);
    T(backoff_doubles_up_to_its_bound);
    T(reconnect_bound_is_configurable);
    T(cut_at_any_moment_comes_back);
    T(carrier_follows_the_link);
    T(carrier_is_told_at_attach);
    T(link_removed_while_in_use);
    T(events_are_told);
    return g_test_run();
}
