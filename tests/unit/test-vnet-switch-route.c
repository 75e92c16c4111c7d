/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static routes in the switch: before claims and learning, and what became of
 * the ends that they name.
 */
#include <string.h>
#include "vnet-fake.h"
#include "vnet-route-cache.h"
#include "vnet-switch-bench.h"

#define A   "02:00:00:00:00:0a"         /* mac(10), and so on */
#define B   "02:00:00:00:00:0b"
#define ALL "ff:ff:ff:ff:ff:ff"

static void change(Bench *b, const char *text)
{
    VnetLangError err = { 0 };
    GArray *changes = vnet_routes_parse(text, strlen(text), &err);

    g_assert_cmpstr(err.text, ==, NULL);
    vnet_switch_change_routes(b->sw, changes, false, false, NULL, NULL, &err);
    g_assert_cmpstr(err.text, ==, NULL);
    g_array_free(changes, TRUE);
}

static void test_a_route_is_before_all_else(void)
{
    Bench *b = bench_new(16);

    /* Learnt at link 0, claimed by port 1, routed to link 2. */
    put(b, &b->link[0], everyone, mac(11));
    put(b, &b->port[0], mac(11), mac(10));
    got(b);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "000/100");
    vnet_switch_claim(b->sw, &b->port[1].end, mac(11), 0);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "010/000");
    change(b, "ADD any " B " edge 5 any");
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "000/001");
    /* Others go as before, and so do all when the route is gone. */
    put(b, &b->port[0], mac(12), mac(10));
    g_assert_cmpstr(got(b), ==, "011/111");
    change(b, "DEL 1");
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "010/000");
    bench_free(b);
}

static void test_ties_replicate(void)
{
    Bench *b = bench_new(16);

    change(b, "ADD any " ALL " edge 3 any\nADD any " ALL " edge 5 any\n"
           "ADD any " ALL " interface 1 any\nADD any " ALL " edge 5 edge\n");
    put(b, &b->port[0], everyone, mac(10));
    g_assert_cmpstr(got(b), ==, "010/101");
    /* Not back to where it came from, and to each once. */
    put(b, &b->link[0], everyone, mac(11));
    g_assert_cmpstr(got(b), ==, "010/001");
    b->link[0].end.split_horizon = b->link[2].end.split_horizon = true;
    put(b, &b->link[0], everyone, mac(11));
    g_assert_cmpstr(got(b), ==, "010/000");
    g_assert_cmpuint(b->stats.frames_flooded, ==, 3);
    b->port[1].refuses = true;
    put(b, &b->link[0], everyone, mac(11));
    g_assert_cmpuint(b->stats.frames_drop_refused, ==, 1);
    bench_free(b);
}

static void test_where_it_comes_from(void)
{
    Bench *b = bench_new(16);

    change(b, "ADD any any edge 3 interface 0\nADD any any edge 4 interface 1\n"
           "ADD any any interface 2 edge\n");
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "000/100");
    put(b, &b->port[1], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "000/010");
    put(b, &b->link[0], mac(11), mac(10));
    put(b, &b->link[1], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "002/000");
    /* No rule for what comes from there. */
    put(b, &b->port[2], mac(14), mac(13));
    g_assert_cmpstr(got(b), ==, "110/111");
    bench_free(b);
}

static void test_destination_that_is_not_there(void)
{
    Bench *b = bench_new(16);
    Counter late = { .got = 0 };

    change(b, "ADD any " B " edge late any\nADD any any edge 3 any");
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpuint(b->stats.frames_drop_route_down, ==, 1);
    g_assert_cmpstr(got(b), ==, "000/000");
    counter_add(b, &late, "late", true);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpuint(late.got, ==, 1);
    /* A route to an end that is down is one: nothing goes elsewhere. */
    vnet_switch_set_up(b->sw, &late.end, false);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpuint(b->stats.frames_drop_route_down, ==, 2);
    vnet_switch_set_up(b->sw, &late.end, true);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpuint(late.got, ==, 2);
    vnet_switch_remove(b->sw, &late.end);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpuint(b->stats.frames_drop_route_down, ==, 3);
    g_assert_cmpstr(got(b), ==, "000/000");
    /* Back to where it came from. */
    put(b, &b->link[0], mac(12), mac(10));
    g_assert_cmpuint(b->stats.frames_drop_hairpin, ==, 1);
    /* All of several are down. */
    change(b, "ADD any any edge 4 any");
    vnet_switch_set_up(b->sw, &b->link[0].end, false);
    vnet_switch_set_up(b->sw, &b->link[1].end, false);
    put(b, &b->port[0], mac(12), mac(10));
    g_assert_cmpuint(b->stats.frames_drop_route_down, ==, 4);
    bench_free(b);
}

static void test_interface_by_address(void)
{
    Bench *b = bench_new(16);

    change(b, "ADD any " ALL " interface " A " any\n"
           "ADD any any edge 3 interface " A);
    put(b, &b->link[0], everyone, mac(20));
    g_assert_cmpuint(b->stats.frames_drop_route_down, ==, 1);
    vnet_switch_claim(b->sw, &b->port[1].end, mac(10), 0);
    put(b, &b->link[0], everyone, mac(20));
    g_assert_cmpstr(got(b), ==, "010/000");
    put(b, &b->port[1], mac(30), mac(10));
    g_assert_cmpstr(got(b), ==, "000/100");
    /* The guest has changed its address; another has it now. */
    vnet_switch_unclaim(b->sw, &b->port[1].end, mac(10));
    vnet_switch_claim(b->sw, &b->port[2].end, mac(10), 0);
    put(b, &b->link[0], everyone, mac(20));
    g_assert_cmpstr(got(b), ==, "001/000");
    put(b, &b->port[1], mac(30), mac(11));
    g_assert_cmpstr(got(b), ==, "101/111");
    /* A peer that says that it has it is no interface. */
    vnet_switch_unclaim(b->sw, &b->port[2].end, mac(10));
    vnet_switch_claim(b->sw, &b->link[2].end, mac(10), 0);
    put(b, &b->link[0], everyone, mac(20));
    g_assert_cmpuint(b->stats.frames_drop_route_down, ==, 2);
    bench_free(b);
}

static void test_a_busy_end_makes_wait(void)
{
    Bench *b = bench_new(16);
    const VnetFrameHdr none = { 0 };

    change(b, "ADD any " B " edge 3 any\nADD any " ALL " edge 3 any\n"
           "ADD any " ALL " edge 4 any");
    b->link[0].busy = true;
    g_assert_cmpint(put(b, &b->port[0], mac(11), mac(10)), ==,
                    VNET_FRAME_BUSY);
    g_assert_cmpint(put_hdr(b, &b->link[1], mac(11), mac(10), 60, &none,
                            false), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(b->stats.frames_drop_busy, ==, 1);
    /* Copies do not wait. */
    g_assert_cmpint(put(b, &b->port[0], everyone, mac(10)), ==,
                    VNET_FRAME_OK);
    g_assert_cmpstr(got(b), ==, "000/010");
    bench_free(b);
}

static void test_an_end_leaves_while_copies_go_out(void)
{
    Bench *b = bench_new(16);

    change(b, "ADD any any edge 3 any\nADD any any edge 4 any\n"
           "ADD any any edge 5 any");
    b->link[0].removes = &b->link[1].end;
    put(b, &b->port[0], everyone, mac(10));
    g_assert_cmpstr(got(b), ==, "000/101");
    put(b, &b->port[0], everyone, mac(10));
    g_assert_cmpstr(got(b), ==, "000/101");
    bench_free(b);
}

static void test_made_up_addresses_cost_no_memory(void)
{
    Bench *b = bench_new(16);

    change(b, "ADD any " B " edge 3 any");
    for (unsigned i = 0; i < 100000; i++) {
        put(b, &b->port[0], mac(1000 + i), mac(2000000 + i % 7));
    }
    put(b, &b->port[0], mac(11), mac(10));
    got(b);
    put(b, &b->port[0], mac(11), mac(10));
    g_assert_cmpstr(got(b), ==, "000/100");
    bench_free(b);
}

static void test_streams_go_where_routes_lead(void)
{
    Bench *b = bench_new(16);
    VnetEnd *port = &b->port[0].end;
    VnetPlace p;

    vnet_switch_claim(b->sw, &b->link[0].end, mac(11), VNET_MAC_F_STREAMS);
    vnet_switch_claim(b->sw, &b->link[1].end, mac(11), VNET_MAC_F_STREAMS);
    p = vnet_switch_place(b->sw, port, mac(10), mac(11));
    g_assert_true(p.end == &b->link[1].end && p.flags == VNET_MAC_F_STREAMS);
    change(b, "ADD " A " " B " edge 3 any");
    p = vnet_switch_place(b->sw, port, mac(10), mac(11));
    g_assert_true(p.end == &b->link[0].end && p.flags == VNET_MAC_F_STREAMS);
    p = vnet_switch_place(b->sw, port, mac(9), mac(11));
    g_assert_true(p.end == &b->link[1].end);
    /* It did not announce it. */
    change(b, "DEL 1\nADD " A " " B " edge 5 any");
    p = vnet_switch_place(b->sw, port, mac(10), mac(11));
    g_assert_true(p.end == &b->link[2].end && !p.claimed && !p.flags);
    /* There are two. */
    change(b, "ADD " A " " B " edge 3 any");
    p = vnet_switch_place(b->sw, port, mac(10), mac(11));
    g_assert_true(p.end && !p.flags);
    /* There is none. */
    change(b, "DEL 2\nDEL 3\nADD " A " " B " edge none any");
    p = vnet_switch_place(b->sw, port, mac(10), mac(11));
    g_assert_null(p.end);
    bench_free(b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/switch-route/" #name, test_##name)
    T(a_route_is_before_all_else);
    T(ties_replicate);
    T(where_it_comes_from);
    T(destination_that_is_not_there);
    T(interface_by_address);
    T(a_busy_end_makes_wait);
    T(an_end_leaves_while_copies_go_out);
    T(made_up_addresses_cost_no_memory);
    T(streams_go_where_routes_lead);
    return g_test_run();
}
