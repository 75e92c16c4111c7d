/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch (vnet-switch.h), alone and between ports and links.
 */
#include <string.h>
#include "vnet-fake.h"
#include "vnet-switch-bench.h"

#define S   1000000000ll

/* --- The switch alone ----------------------------------------------------- */

static void test_floods_to_all_but_the_source(void)
{
    Bench *b = bench_new(16);

    g_assert_cmpint(put(b, &b->port[0], everyone, mac(1)), ==, VNET_FRAME_OK);
    g_assert_cmpstr(got(b), ==, "011/111");
    put(b, &b->link[1], mac(99), mac(2));
    g_assert_cmpstr(got(b), ==, "111/101");
    put(b, &b->link[1], (const uint8_t *)"\x01\x00\x5e\x00\x00\x01", mac(2));
    g_assert_cmpstr(got(b), ==, "111/101");
    vnet_switch_set_up(b->sw, &b->link[2].end, false);
    put(b, &b->port[0], everyone, mac(1));
    g_assert_cmpstr(got(b), ==, "011/110");
    g_assert_cmpuint(b->stats.frames_flooded, ==, 4);
    bench_free(b);
}

/* Of the links, the first two have it. */
static void test_split_horizon(void)
{
    Bench *b = bench_new(16);

    b->link[0].end.split_horizon = b->link[1].end.split_horizon = true;
    put(b, &b->link[0], everyone, mac(1));
    g_assert_cmpstr(got(b), ==, "111/001");
    put(b, &b->link[1], everyone, mac(2));
    g_assert_cmpstr(got(b), ==, "111/001");
    put(b, &b->link[2], everyone, mac(3));
    g_assert_cmpstr(got(b), ==, "111/110");
    put(b, &b->port[0], everyone, mac(4));
    g_assert_cmpstr(got(b), ==, "011/111");

    put(b, &b->link[0], mac(2), mac(1));
    g_assert_cmpstr(got(b), ==, "000/000");
    g_assert_cmpuint(b->stats.frames_drop_split_horizon, ==, 1);
    vnet_switch_claim(b->sw, &b->link[1].end, mac(5), 0);
    put(b, &b->link[0], mac(5), mac(1));
    g_assert_cmpuint(b->stats.frames_drop_split_horizon, ==, 2);
    put(b, &b->link[0], mac(3), mac(1));
    g_assert_cmpstr(got(b), ==, "000/001");
    put(b, &b->link[2], mac(2), mac(3));
    put(b, &b->port[0], mac(2), mac(4));
    g_assert_cmpstr(got(b), ==, "000/020");
    put(b, &b->link[0], mac(4), mac(1));
    g_assert_cmpstr(got(b), ==, "100/000");

    for (int i = 0; i < 3; i++) {
        vnet_switch_set_up(b->sw, &b->port[i].end, false);
    }
    vnet_switch_set_up(b->sw, &b->link[2].end, false);
    put(b, &b->link[0], everyone, mac(1));
    g_assert_cmpuint(b->stats.frames_drop_no_target, ==, 1);
    bench_free(b);
}

static void test_flood_limit(void)
{
    Bench *b = bench_new(16);

    vnet_switch_set_flood_limit(b->sw, 1000);
    b->now = 5 * S;
    /* A tenth of a second's worth at once. */
    for (int i = 0; i < 150; i++) {
        put(b, &b->link[0], everyone, mac(1));
    }
    g_assert_cmpuint(b->stats.frames_flooded, ==, 100);
    g_assert_cmpuint(b->stats.frames_drop_storm, ==, 50);
    /* Each end by itself, and not what is known. */
    put(b, &b->port[0], everyone, mac(2));
    put(b, &b->link[0], mac(2), mac(1));
    g_assert_cmpuint(b->stats.frames_drop_storm, ==, 50);
    /* From then on at that pace. */
    for (int ms = 0; ms < 2000; ms++) {
        b->now += S / 1000;
        put(b, &b->link[0], everyone, mac(1));
        put(b, &b->link[0], everyone, mac(1));
    }
    g_assert_cmpuint(b->stats.frames_flooded, ==, 101 + 2000);
    /* A pause does not make more than the first time. */
    b->now += 3600 * S;
    for (int i = 0; i < 150; i++) {
        put(b, &b->link[0], everyone, mac(1));
    }
    g_assert_cmpuint(b->stats.frames_flooded, ==, 101 + 2000 + 100);
    bench_free(b);

    /* At a low one a few may go at once all the same. */
    b = bench_new(16);
    vnet_switch_set_flood_limit(b->sw, 1);
    for (int i = 0; i < 50; i++) {
        put(b, &b->link[0], everyone, mac(1));
    }
    g_assert_cmpuint(b->stats.frames_flooded, ==, 16);
    bench_free(b);
}

static void test_locked_port(void)
{
    Bench *b = bench_new(16);

    b->port[0].end.locked = true;
    put(b, &b->port[0], everyone, mac(1));
    g_assert_cmpuint(b->stats.frames_drop_forged, ==, 1);
    vnet_switch_claim(b->sw, &b->port[0].end, mac(1), 0);
    put(b, &b->port[0], everyone, mac(1));
    g_assert_cmpstr(got(b), ==, "011/111");
    put(b, &b->port[0], everyone, mac(2));
    g_assert_cmpuint(b->stats.frames_drop_forged, ==, 2);
    /* Nothing was learnt of it, and others may. */
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 0);
    put(b, &b->port[1], everyone, mac(2));
    g_assert_cmpstr(got(b), ==, "101/111");
    bench_free(b);
}

static void test_learns_and_forwards(void)
{
    Bench *b = bench_new(16);

    put(b, &b->link[0], everyone, mac(1));
    put(b, &b->port[2], everyone, mac(2));
    got(b);
    put(b, &b->port[0], mac(1), mac(3));
    g_assert_cmpstr(got(b), ==, "000/100");
    put(b, &b->link[0], mac(2), mac(1));
    g_assert_cmpstr(got(b), ==, "001/000");
    g_assert_cmpuint(b->stats.macs_learnt, ==, 3);
    g_assert_cmpuint(b->stats.frames_forwarded, ==, 2);
    bench_free(b);
}

static void test_follows_a_move(void)
{
    Bench *b = bench_new(16);

    put(b, &b->link[0], everyone, mac(1));
    put(b, &b->link[1], everyone, mac(1));
    got(b);
    put(b, &b->port[0], mac(1), mac(2));
    g_assert_cmpstr(got(b), ==, "000/010");
    g_assert_cmpuint(b->stats.macs_moved, ==, 1);
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 2);
    bench_free(b);
}

static void test_forgets_with_age(void)
{
    Bench *b = bench_new(16);

    put(b, &b->link[0], everyone, mac(1));
    b->now = 299 * S;
    put(b, &b->link[1], everyone, mac(2));
    got(b);
    put(b, &b->port[0], mac(1), mac(3));
    g_assert_cmpstr(got(b), ==, "000/100");
    b->now = 300 * S;           /* exact, whatever the sweep does */
    put(b, &b->port[0], mac(1), mac(3));
    g_assert_cmpstr(got(b), ==, "011/111");
    put(b, &b->port[0], mac(2), mac(3));
    g_assert_cmpstr(got(b), ==, "000/010");
    g_assert_cmpint(vnet_switch_age(b->sw, b->now), ==, 599 * S);
    g_assert_cmpuint(b->stats.macs_aged, ==, 1);
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 2);
    g_assert_cmpint(vnet_switch_age(b->sw, 1000 * S), ==, INT64_MAX);
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 0);
    bench_free(b);
}

static void test_table_full_floods_and_counts(void)
{
    Bench *b = bench_new(10);

    for (unsigned i = 0; i < 100000; i++) {
        put(b, &b->link[0], mac(0xffffff), mac(i + 1));
    }
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 10);
    g_assert_cmpuint(b->stats.macs_full, ==, 99990);
    for (int i = 0; i < 3; i++) {
        b->port[i].got = b->link[i].got = 0;
    }
    put(b, &b->port[0], mac(10), mac(5000));
    g_assert_cmpstr(got(b), ==, "000/100");
    put(b, &b->port[0], mac(11), mac(5000));
    g_assert_cmpstr(got(b), ==, "011/111");
    /* Room comes when the old ones have aged. */
    b->now = 301 * S;
    put(b, &b->link[0], everyone, mac(7777));
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 1);
    bench_free(b);
}

/* What one has to learn takes nothing from another. */
static void test_switches_share_the_room_to_learn(void)
{
    Bench *b = bench_new(5);
    VnetCoreStats stats = { 0 };
    VnetSwitch *first = b->sw, *other;
    Counter port = { 0 };

    for (unsigned i = 1; i <= 5; i++) {
        put(b, &b->port[0], everyone, mac(i));
    }
    g_assert_cmpuint(vnet_switch_learnt(first), ==, 5);
    other = vnet_switch_new(&b->room, 300, &stats);
    vnet_switch_trim(first);
    g_assert_cmpuint(vnet_switch_learnt(first), ==, 2);
    put(b, &b->port[0], everyone, mac(6));
    g_assert_cmpuint(vnet_switch_learnt(first), ==, 2);
    g_assert_cmpuint(b->stats.macs_full, ==, 1);
    b->sw = other;
    counter_add(b, &port, "other", false);
    for (unsigned i = 1; i <= 3; i++) {
        put(b, &port, everyone, mac(i));
    }
    vnet_switch_trim(other);
    g_assert_cmpuint(vnet_switch_learnt(other), ==, 2);
    g_assert_cmpuint(stats.macs_full, ==, 1);
    g_assert_true(vnet_switch_lookup(other, mac(1)).end == &port.end);
    vnet_switch_remove(other, &port.end);
    vnet_switch_free(other);
    b->sw = first;
    put(b, &b->port[0], everyone, mac(6));
    g_assert_cmpuint(vnet_switch_learnt(first), ==, 3);
    bench_free(b);
}

static void test_a_claim_wins_over_what_was_learnt(void)
{
    Bench *b = bench_new(16);

    put(b, &b->link[0], everyone, mac(1));
    vnet_switch_claim(b->sw, &b->link[1].end, mac(1), VNET_MAC_F_STREAMS);
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 0);
    put(b, &b->link[0], everyone, mac(1));      /* does not move it */
    got(b);
    put(b, &b->port[0], mac(1), mac(2));
    g_assert_cmpstr(got(b), ==, "000/010");
    g_assert_cmpuint(b->stats.macs_conflict, ==, 1);
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == &b->link[1].end);
    g_assert_cmpuint(vnet_switch_lookup(b->sw, mac(1)).flags, ==,
                     VNET_MAC_F_STREAMS);
    vnet_switch_unclaim(b->sw, &b->link[1].end, mac(1));
    g_assert_null(vnet_switch_lookup(b->sw, mac(1)).end);
    bench_free(b);
}

static void test_the_best_claim_counts(void)
{
    Bench *b = bench_new(16);
    VnetEnd *l0 = &b->link[0].end, *l1 = &b->link[1].end;
    VnetEnd *p0 = &b->port[0].end;

    vnet_switch_claim(b->sw, l0, mac(1), 0);
    vnet_switch_claim(b->sw, l1, mac(1), VNET_MAC_F_STREAMS);
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == l1);
    vnet_switch_claim(b->sw, l0, mac(1), 0);            /* the latest */
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == l0);
    vnet_switch_set_up(b->sw, l0, false);               /* one that is up */
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == l1);
    vnet_switch_set_up(b->sw, l1, false);               /* still known */
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == l0);
    vnet_switch_claim(b->sw, p0, mac(1), 0);            /* a port */
    vnet_switch_set_up(b->sw, l1, true);
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == p0);
    vnet_switch_unclaim(b->sw, p0, mac(1));
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == l1);
    g_assert_cmpuint(vnet_switch_claimed(b->sw), ==, 1);
    vnet_switch_unclaim_all(b->sw, l1);
    vnet_switch_unclaim_all(b->sw, l0);
    g_assert_cmpuint(vnet_switch_claimed(b->sw), ==, 0);
    bench_free(b);
}

static void test_claim_of_a_down_link_does_not_carry_frames(void)
{
    Bench *b = bench_new(16);

    vnet_switch_claim(b->sw, &b->link[0].end, mac(1), VNET_MAC_F_STREAMS);
    vnet_switch_set_up(b->sw, &b->link[0].end, false);
    put(b, &b->port[0], mac(1), mac(2));
    g_assert_cmpstr(got(b), ==, "011/011");
    put(b, &b->link[1], everyone, mac(1));      /* it moved there */
    got(b);
    put(b, &b->port[0], mac(1), mac(2));
    g_assert_cmpstr(got(b), ==, "000/010");
    /* For streams the claim still tells "down" from "unknown". */
    g_assert_true(vnet_switch_lookup(b->sw, mac(1)).end == &b->link[0].end);
    vnet_switch_set_up(b->sw, &b->link[0].end, true);
    put(b, &b->port[0], mac(1), mac(2));
    g_assert_cmpstr(got(b), ==, "000/100");
    bench_free(b);
}

static void test_link_down_forgets_what_was_learnt_there(void)
{
    Bench *b = bench_new(16);

    put(b, &b->link[0], everyone, mac(1));
    vnet_switch_set_up(b->sw, &b->link[0].end, false);
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 0);
    bench_free(b);
}

static void test_drops_by_reason(void)
{
    static const uint8_t zero[6];
    const VnetFrameHdr none = { 0 };
    const VnetFrameHdr bad = { .gso_type = VTOE_NET_HDR_GSO_TCPV4 };
    Bench *b = bench_new(16);

    put_hdr(b, &b->port[0], everyone, mac(1), 13, &none, true);
    g_assert_cmpuint(b->stats.frames_drop_short, ==, 1);
    put_hdr(b, &b->port[0], everyone, mac(1), 0, &none, true);
    g_assert_cmpuint(b->stats.frames_drop_short, ==, 2);
    put_hdr(b, &b->port[0], everyone, mac(1), 65551, &none, true);
    g_assert_cmpuint(b->stats.frames_drop_long, ==, 1);
    put_hdr(b, &b->port[0], everyone, mac(1), 65550, &none, true);
    g_assert_cmpstr(got(b), ==, "011/111");
    put_hdr(b, &b->port[0], everyone, mac(1), 14, &none, true);
    g_assert_cmpstr(got(b), ==, "011/111");
    put_hdr(b, &b->port[0], everyone, mac(1), 60, &bad, true);
    g_assert_cmpuint(b->stats.frames_drop_bad_offload, ==, 1);
    put(b, &b->port[0], mac(2), everyone);
    put(b, &b->port[0], mac(2), zero);
    g_assert_cmpuint(b->stats.frames_drop_bad_src, ==, 2);
    put(b, &b->link[0], everyone, mac(3));
    got(b);
    put(b, &b->link[0], mac(3), mac(4));
    g_assert_cmpuint(b->stats.frames_drop_hairpin, ==, 1);
    vnet_switch_claim(b->sw, &b->port[0].end, mac(5), 0);
    put(b, &b->link[0], everyone, mac(5));
    g_assert_cmpuint(b->stats.frames_drop_reflected, ==, 1);
    g_assert_cmpstr(got(b), ==, "000/000");
    b->port[1].refuses = true;
    vnet_switch_claim(b->sw, &b->port[1].end, mac(6), 0);
    put(b, &b->link[0], mac(6), mac(3));
    g_assert_cmpuint(b->stats.frames_drop_refused, ==, 1);
    for (int i = 0; i < 3; i++) {
        vnet_switch_set_up(b->sw, &b->link[i].end, false);
        vnet_switch_set_up(b->sw, &b->port[i].end, i == 0);
    }
    g_assert_cmpint(put(b, &b->port[0], everyone, mac(1)), ==,
                    VNET_FRAME_DROPPED);
    g_assert_cmpuint(b->stats.frames_drop_no_target, ==, 1);
    bench_free(b);
}

static void test_busy_waits_for_unicast_only(void)
{
    static const VnetFrameHdr none;
    Bench *b = bench_new(16);

    put(b, &b->link[0], everyone, mac(1));
    got(b);
    b->link[0].busy = true;
    g_assert_cmpint(put(b, &b->port[0], mac(1), mac(2)), ==, VNET_FRAME_BUSY);
    g_assert_cmpuint(b->stats.frames_busy, ==, 1);
    g_assert_cmpint(put(b, &b->port[0], everyone, mac(2)), ==, VNET_FRAME_OK);
    g_assert_cmpstr(got(b), ==, "011/011");
    /* From a link, nobody can wait. */
    g_assert_cmpint(put_hdr(b, &b->link[1], mac(1), mac(3), 60, &none, false),
                    ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(b->stats.frames_drop_busy, ==, 1);
    bench_free(b);
}

static void test_end_removed_while_flooding(void)
{
    Bench *b = bench_new(16);

    b->port[1].removes = &b->port[2].end;
    put(b, &b->port[0], everyone, mac(1));
    g_assert_cmpstr(got(b), ==, "010/111");
    b->link[0].removes = &b->port[1].end;       /* one that already had it */
    put(b, &b->port[0], everyone, mac(1));
    put(b, &b->port[0], everyone, mac(1));
    got(b);
    put(b, &b->link[2], everyone, mac(9));
    g_assert_cmpstr(got(b), ==, "100/110");
    bench_free(b);
}

/* Every sequence of claims, moves and ages keeps the table's sums right. */
static void test_random_table(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(7);
    Bench *b = bench_new(32);
    Counter *all[6] = { &b->port[0], &b->port[1], &b->port[2],
                        &b->link[0], &b->link[1], &b->link[2] };

    for (int i = 0; i < 200000; i++) {
        Counter *c = all[g_rand_int_range(r, 0, 6)];
        const uint8_t *m = mac(g_rand_int_range(r, 1, 60));

        switch (g_rand_int_range(r, 0, 10)) {
        case 0:
            vnet_switch_claim(b->sw, &c->end, m, 0);
            break;
        case 1 ... 2:
            vnet_switch_unclaim(b->sw, &c->end, m);
            break;
        case 3:
            vnet_switch_set_up(b->sw, &c->end, g_rand_boolean(r));
            break;
        case 4:
            b->now += g_rand_int_range(r, 0, 20) * S;
            vnet_switch_age(b->sw, b->now);
            break;
        default:
            if (c->end.up) {
                put(b, c, mac(g_rand_int_range(r, 1, 60)), m);
            }
            break;
        }
        g_assert_cmpuint(vnet_switch_learnt(b->sw), <=, 32);
    }
    bench_free(b);
}

/* --- Ports and links --------------------------------------------------------------- */

static void test_two_ports_of_one_core(void)
{
    FakeWorld *w = fake_world_new(0);
    FakeHost *h = fake_host(w);
    FakeNic *a = fake_nic_new(h, 1), *b = fake_nic_new(h, 2);
    FakeNic *c = fake_nic_new(h, 3);

    fake_run(w);
    g_assert_true(a->carrier);
    g_assert_cmpint(fake_send_frame(a, b->mac, a->mac, 1514), ==,
                    VNET_FRAME_OK);
    g_assert_cmpuint(b->frames, ==, 1);
    g_assert_cmpuint(c->frames, ==, 0);
    g_assert_cmpuint(b->last_len, ==, 1514);
    g_assert_cmpmem(b->last_frame, 6, b->mac, 6);
    fake_send_frame(b, everyone, b->mac, 64);
    g_assert_cmpuint(a->frames + c->frames, ==, 2);
    b->frame_result = VNET_FRAME_DROPPED;
    g_assert_cmpint(fake_send_frame(a, b->mac, a->mac, 64), ==,
                    VNET_FRAME_DROPPED);
    g_assert_cmpuint(fake_stats(h)->frames_drop_refused, ==, 1);
    fake_world_free(w);
}

/*
 *   a -- left ===== middle ===== right -- b      and c on the middle
 */
typedef struct Chain {
    FakeWorld *w;
    FakeHost *left, *middle, *right;
    FakeNic *a, *b, *c;
    FakeLink *l1, *l2;
} Chain;

static Chain chain_new(void)
{
    Chain n = { .w = fake_world_new(0) };

    n.left = fake_host(n.w);
    n.middle = fake_host(n.w);
    n.right = fake_host(n.w);
    n.a = fake_nic_new(n.left, 1);
    n.b = fake_nic_new(n.right, 2);
    n.c = fake_nic_new(n.middle, 3);
    n.l1 = fake_link_new(n.w, n.left, n.middle);
    n.l2 = fake_link_new(n.w, n.right, n.middle);
    fake_run(n.w);
    return n;
}

static void test_chain_of_links(void)
{
    Chain n = chain_new();

    fake_send_frame(n.a, n.b->mac, n.a->mac, 100);      /* unknown: floods */
    fake_run(n.w);
    g_assert_cmpuint(n.b->frames, ==, 1);
    g_assert_cmpuint(n.c->frames, ==, 0);   /* b announced itself there */
    fake_send_frame(n.b, n.a->mac, n.b->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(n.a->frames, ==, 1);
    fake_send_frame(n.a, everyone, n.a->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(n.b->frames, ==, 2);
    g_assert_cmpuint(n.c->frames, ==, 1);
    g_assert_cmpuint(n.a->frames, ==, 1);               /* no echo */
    fake_world_free(n.w);
}

/* Three in a ring: what comes home is dropped, so that a frame ends. */
static void test_ring_of_links_does_not_circle_for_ever(void)
{
    Chain n = chain_new();

    fake_link_new(n.w, n.left, n.right);
    fake_run(n.w);
    fake_send_frame(n.a, everyone, n.a->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(n.w->steps, <, 1000);
    g_assert_cmpuint(n.a->frames, ==, 0);
    g_assert_cmpuint(fake_stats(n.left)->frames_drop_reflected, ==, 2);
    fake_world_free(n.w);
}

static void route_all(FakeHost *h, const char *link)
{
    g_autofree char *text = g_strdup_printf("ADD any any edge %s any\n", link);
    VnetLangError err;
    GArray *rules = vnet_routes_parse(text, strlen(text), &err);

    g_assert_true(vnet_net_change_routes(vnet_core_net(h->core), rules, false,
                                         false, NULL, NULL, &err));
    g_array_unref(rules);
}

/* Rules that lead round: what is not flooded ends, too. */
static void test_frame_crosses_16_links(void)
{
    static const uint8_t from[6] = { 2, 0, 0, 0, 0, 88 };
    static const uint8_t to[6] = { 2, 0, 0, 0, 0, 99 };
    Chain n = chain_new();
    FakeLink *l3 = fake_link_new(n.w, n.left, n.right);

    fake_run(n.w);
    route_all(n.left, "l0");
    route_all(n.middle, "l1");
    route_all(n.right, "l2");
    fake_send_frame(n.a, to, from, 100);
    fake_run(n.w);
    g_assert_cmpuint(fake_link_stats(n.l1, false)->tx_frames, ==, 6);
    g_assert_cmpuint(fake_link_stats(n.l2, true)->tx_frames, ==, 5);
    g_assert_cmpuint(fake_link_stats(l3, true)->tx_frames, ==, 5);
    g_assert_cmpuint(fake_link_stats(n.l2, true)->tx_drop_hops, ==, 1);
    g_assert_cmpuint(fake_stats(n.middle)->frames_drop_refused, ==, 1);
    fake_world_free(n.w);
}

static void test_big_frames_with_offloads_cross_whole(void)
{
    Chain n = chain_new();
    g_autofree uint8_t *f = g_malloc0(65550);
    const VnetFrameHdr hdr = {
        .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
        .gso_type = VTOE_NET_HDR_GSO_TCPV6, .hdr_len = 74, .gso_size = 1428,
        .csum_start = 54, .csum_offset = 16,
    };
    const struct iovec iov = { f, 65550 };

    memcpy(f, n.c->mac, 6);
    memcpy(f + 6, n.a->mac, 6);
    f[65549] = 0x77;
    g_assert_cmpint(vnet_port_send(n.a->port, &hdr, &iov, 1, 65550), ==,
                    VNET_FRAME_OK);
    fake_run(n.w);
    g_assert_cmpuint(n.c->last_len, ==, 65550);
    g_assert_cmpuint(n.c->last_frame[65549], ==, 0x77);
    g_assert_cmpuint(n.c->last_hdr.gso_size, ==, 1428);
    g_assert_cmpuint(n.c->last_hdr.gso_type, ==, VTOE_NET_HDR_GSO_TCPV6);
    fake_world_free(n.w);
}

/* A guest's nonsense is dropped at home; the link stays. */
static void test_bad_offload_of_a_guest_does_not_reach_the_link(void)
{
    Chain n = chain_new();
    uint8_t f[60] = { 0 };
    const VnetFrameHdr bad = {
        .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 59,
        .csum_offset = 1,
    };
    const VnetFrameHdr hint = { .hdr_len = 60000 };
    const struct iovec iov = { f, 60 };

    memcpy(f, n.c->mac, 6);
    memcpy(f + 6, n.a->mac, 6);
    g_assert_cmpint(vnet_port_send(n.a->port, &bad, &iov, 1, 60), ==,
                    VNET_FRAME_DROPPED);
    /* hdr_len is only a hint and must not cost a frame. */
    g_assert_cmpint(vnet_port_send(n.a->port, &hint, &iov, 1, 60), ==,
                    VNET_FRAME_OK);
    fake_run(n.w);
    g_assert_cmpuint(n.c->frames, ==, 1);
    g_assert_cmpstr(vnet_link_state(fake_link_client(n.l1)), ==, "up");
    fake_world_free(n.w);
}

static void test_busy_link_makes_the_port_wait(void)
{
    Chain n = chain_new();

    fake_link_frames_busy(n.l1, false, true);
    g_assert_cmpint(fake_send_frame(n.a, n.c->mac, n.a->mac, 100), ==,
                    VNET_FRAME_BUSY);
    g_assert_cmpint(fake_send_frame(n.a, everyone, n.a->mac, 100), ==,
                    VNET_FRAME_DROPPED);
    g_assert_cmpuint(fake_link_stats(n.l1, false)->tx_drop_busy, ==, 1);
    fake_run(n.w);
    g_assert_cmpuint(n.a->tx_ready, ==, 0);
    fake_link_frames_busy(n.l1, false, false);
    fake_run(n.w);
    g_assert_cmpuint(n.a->tx_ready, ==, 1);
    g_assert_cmpint(fake_send_frame(n.a, n.c->mac, n.a->mac, 100), ==,
                    VNET_FRAME_OK);
    fake_run(n.w);
    g_assert_cmpuint(n.c->frames, ==, 1);
    fake_world_free(n.w);
}

/* Though it answers: the port has frames for others, too. */
static void test_who_takes_no_frames_is_lost(void)
{
    const int64_t s = 1000000000;
    Chain n = chain_new();

    fake_link_frames_busy(n.l1, false, true);
    g_assert_cmpint(fake_send_frame(n.a, n.c->mac, n.a->mac, 100), ==,
                    VNET_FRAME_BUSY);
    fake_advance(n.w, 9 * s);
    vnet_link_frames_moved(fake_link_client(n.l1));
    fake_advance(n.w, 9 * s);
    g_assert_cmpuint(n.a->tx_ready, ==, 0);
    g_assert_cmpuint(fake_link_stats(n.l1, false)->downs, ==, 0);
    fake_advance(n.w, 2 * s);
    g_assert_cmpuint(n.a->tx_ready, ==, 1);
    g_assert_cmpuint(fake_link_stats(n.l1, false)->lost_heartbeat, ==, 1);
    /* And has a new chance. */
    fake_link_frames_busy(n.l1, false, false);
    fake_advance(n.w, 20 * s);
    g_assert_cmpstr(vnet_link_state(fake_link_client(n.l1)), ==, "up");
    g_assert_cmpuint(fake_link_stats(n.l1, false)->downs, ==, 1);
    fake_world_free(n.w);
}

static void test_a_lost_link_does_not_keep_ports_waiting(void)
{
    Chain n = chain_new();

    fake_link_frames_busy(n.l1, false, true);
    fake_send_frame(n.a, n.c->mac, n.a->mac, 100);
    fake_link_block(n.l1, true);
    fake_link_cut(n.l1, true, true);
    g_assert_cmpuint(n.a->tx_ready, ==, 1);
    g_assert_cmpint(fake_send_frame(n.a, n.c->mac, n.a->mac, 100), ==,
                    VNET_FRAME_DROPPED);
    g_assert_false(n.a->carrier);
    g_assert_true(n.c->carrier);        /* has the other link */
    fake_world_free(n.w);
}

static void test_busy_between_links_drops_and_counts(void)
{
    Chain n = chain_new();

    fake_send_frame(n.b, everyone, n.b->mac, 100);
    fake_run(n.w);
    fake_link_frames_busy(n.l2, true, true);
    fake_send_frame(n.a, n.b->mac, n.a->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(n.b->frames, ==, 0);
    g_assert_cmpuint(fake_stats(n.middle)->frames_drop_busy, ==, 1);
    g_assert_cmpuint(fake_link_stats(n.l2, true)->tx_drop_busy, ==, 1);
    fake_world_free(n.w);
}

static void test_learnt_addresses_age_by_the_clock(void)
{
    Chain n = chain_new();
    static const uint8_t behind[6] = { 2, 0, 0, 0, 0, 77 };

    fake_send_frame(n.a, everyone, behind, 100);
    fake_run(n.w);
    g_assert_cmpuint(fake_stats(n.middle)->macs_learnt, ==, 1);
    fake_advance(n.w, 400 * S);
    g_assert_cmpuint(fake_stats(n.middle)->macs_aged, ==, 1);
    g_assert_cmpuint(fake_stats(n.left)->macs_aged, ==, 1);
    fake_world_free(n.w);
}

static void test_change_of_address_is_announced(void)
{
    static const uint8_t fresh[6] = { 0x52, 0x54, 0, 0, 0, 0x44 };
    Chain n = chain_new();
    uint8_t old[6];

    memcpy(old, n.a->mac, 6);
    vnet_port_set_mac(n.a->port, fresh);
    fake_run(n.w);
    fake_send_frame(n.c, fresh, n.c->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(n.a->frames, ==, 1);
    g_assert_cmpuint(n.b->frames, ==, 0);
    fake_send_frame(n.c, old, n.c->mac, 100);       /* unknown again */
    fake_run(n.w);
    g_assert_cmpuint(n.b->frames, ==, 1);
    fake_world_free(n.w);
}

static void test_same_address_twice_survives_one_leaving(void)
{
    Chain n = chain_new();
    FakeNic *twin = fake_nic_new(n.left, 1);

    fake_run(n.w);
    fake_send_frame(n.c, n.a->mac, n.c->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(twin->frames, ==, 1);
    fake_nic_free(twin);
    fake_run(n.w);
    fake_send_frame(n.c, n.a->mac, n.c->mac, 100);
    fake_run(n.w);
    g_assert_cmpuint(n.a->frames, ==, 1);
    g_assert_cmpuint(n.b->frames, ==, 0);
    fake_world_free(n.w);
}

static void test_frame_of_another_network_is_dropped(void)
{
    Chain n = chain_new();
    uint8_t f[60] = { 0 };
    const struct iovec iov = { f, 60 };
    const VnetWireFrame wf = { .len = 60, .vni = 8 };

    memcpy(f, n.c->mac, 6);
    memcpy(f + 6, n.a->mac, 6);
    vnet_link_frame(fake_link_server(n.l1), &wf, &iov, 1);
    fake_run(n.w);
    g_assert_cmpuint(n.c->frames, ==, 0);
    g_assert_cmpuint(fake_link_stats(n.l1, true)->rx_drop_vni, ==, 1);
    fake_world_free(n.w);
}

/* --- Queries --------------------------------------------------------------------------- */

static void count_mac(void *opaque, const VnetMacInfo *info)
{
    unsigned *n = opaque;

    n[info->learnt ? 2 : info->is_link ? 1 : 0]++;
    g_assert_nonnull(info->where);
    g_assert_true(info->learnt || !info->age_ns);
}

static void count_port(void *opaque, const VnetPortInfo *info)
{
    g_assert_cmpstr(info->id, ==, "nic3");
    g_assert_true(info->takes_streams);
    g_assert_cmpuint(info->stats->tx_frames, ==, 1);
    ++*(unsigned *)opaque;
}

static void count_link(void *opaque, const VnetLinkInfo *info)
{
    g_assert_cmpstr(info->type, ==, "fake");
    g_assert_cmpstr(info->state, ==, "up");
    g_assert_true(info->server);
    g_assert_cmpuint(info->version, ==, 1);
    g_assert_cmpuint(info->features, ==,
                     7 | VNET_HELLO_F_NETS | VNET_HELLO_F_HOPS);
    g_assert_cmpint(info->rtt_ns, >=, 0);
    ++*(unsigned *)opaque;
}

static void test_queries_show_what_is(void)
{
    static const uint8_t behind[6] = { 2, 0, 0, 0, 0, 77 };
    Chain n = chain_new();
    unsigned macs[3] = { 0 }, ports = 0, links = 0;
    VnetCoreInfo info;
    VnetNetInfo net;

    fake_send_frame(n.a, everyone, behind, 100);
    fake_send_frame(n.c, everyone, n.c->mac, 100);
    fake_run(n.w);
    vnet_query_macs(vnet_core_net(n.middle->core), count_mac, macs);
    g_assert_cmpuint(macs[0], ==, 1);
    g_assert_cmpuint(macs[1], ==, 2);
    g_assert_cmpuint(macs[2], ==, 1);
    vnet_query_ports(vnet_core_net(n.middle->core), count_port, &ports);
    vnet_query_links(n.middle->core, count_link, &links);
    g_assert_cmpuint(ports, ==, 1);
    g_assert_cmpuint(links, ==, 2);
    vnet_query_core(n.middle->core, &info);
    vnet_query_net(vnet_core_net(n.middle->core), &net);
    g_assert_cmpuint(info.links_up, ==, 2);
    g_assert_cmpuint(net.macs_claimed, ==, 3);
    g_assert_cmpuint(net.macs_learnt, ==, 1);
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/switch/" #name, test_##name)
    T(floods_to_all_but_the_source);
    T(split_horizon);
    T(flood_limit);
    T(locked_port);
    T(learns_and_forwards);
    T(follows_a_move);
    T(forgets_with_age);
    T(table_full_floods_and_counts);
    T(switches_share_the_room_to_learn);
    T(a_claim_wins_over_what_was_learnt);
    T(the_best_claim_counts);
    T(claim_of_a_down_link_does_not_carry_frames);
    T(link_down_forgets_what_was_learnt_there);
    T(drops_by_reason);
    T(busy_waits_for_unicast_only);
    T(end_removed_while_flooding);
    T(random_table);
    T(two_ports_of_one_core);
    T(chain_of_links);
    T(ring_of_links_does_not_circle_for_ever);
    T(frame_crosses_16_links);
    T(big_frames_with_offloads_cross_whole);
    T(bad_offload_of_a_guest_does_not_reach_the_link);
    T(busy_link_makes_the_port_wait);
    T(who_takes_no_frames_is_lost);
    T(a_lost_link_does_not_keep_ports_waiting);
    T(busy_between_links_drops_and_counts);
    T(learnt_addresses_age_by_the_clock);
    T(change_of_address_is_announced);
    T(same_address_twice_survives_one_leaving);
    T(frame_of_another_network_is_dropped);
    T(queries_show_what_is);
    return g_test_run();
}
