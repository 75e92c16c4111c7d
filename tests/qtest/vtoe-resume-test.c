/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that outlive their link (docs/specs/vnet-wire.rst, "Resuming"): two
 * QEMUs whose unix link goes through a relay, which is cut under load.  Every
 * byte that arrives is compared.
 *
 *      VTOE_RESUME_SEED    what the moments follow from (default: 1)
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "vnet-rawpeer.h"
#include "vtoe-bulk.h"

#define STREAMS         4
#define BUFFERS         64
#define BUFFER_SIZE     16384
#define MEMORY_MIB      64
/* Longer than anything here takes. */
#define WAITS           ",resume-ms=600000"

typedef struct Net {
    VtoePair *p;
    VtoeRelay *relay, *other;
    VtoeBulk *k;
    GRand *rand;
    uint64_t at;                /* bytes at each end, by now */
} Net;

static uint32_t seed(void)
{
    const char *s = g_getenv("VTOE_RESUME_SEED");

    return s ? atoi(s) : 1;
}

static uint64_t core_counter(VtoeHost *h, const char *name)
{
    QDict *st = vnet_status(h->qts, "n0");
    uint64_t value = vnet_counter(st, name);

    qobject_unref(st);
    return value;
}

/* both: options of both netdevs; each: bytes of each of STREAMS streams, each
 * way. */
static Net net_new(const char *both, uint64_t each)
{
    Net n = { .rand = g_rand_new_with_seed(seed()) };
    unsigned i;

    n.p = vtoe_pair_boot_relayed(MEMORY_MIB, both, ",links.0.reconnect-ms=100",
                                 seed(), &n.relay);
    vtoe_pair_bring_up(n.p);
    n.k = vtoe_bulk_new(n.p, BUFFERS, BUFFER_SIZE);
    vtoe_pair_listen(n.p);
    for (i = 0; i < STREAMS; i++) {
        vtoe_bulk_add(n.k, vtoe_pair_connect(n.p, i + 1), each, each);
    }
    return n;
}

static void net_free(Net *n)
{
    vtoe_bulk_free(n->k);
    vtoe_pair_quit(n->p);
    vtoe_relay_free(n->relay);
    if (n->other) {
        vtoe_relay_free(n->other);
    }
    g_rand_free(n->rand);
}

/* Until a has resumed streams so many times. */
static void wait_resumed(Net *n, uint64_t times)
{
    gint64 end = g_get_monotonic_time() + VTOE_BULK_STALL_S * G_USEC_PER_SEC;

    while (core_counter(&n->p->a, "streams-resumed") < times) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(5000);
    }
}

/* Carries up to so many more bytes at each end. */
static void carry(Net *n, unsigned most)
{
    n->at += g_rand_int_range(n->rand, 1, most);
    vtoe_bulk_run_until(n->k, n->at);
}

/* The rest, and the end, with nothing lost. */
static void finish(Net *n)
{
    static uint64_t lost;

    vtoe_bulk_run(n->k);
    vtoe_bulk_close(n->k);
    lost += core_counter(&n->p->a, "reset-link-lost") +
            core_counter(&n->p->b, "reset-link-lost");
    vtoe_figure("resume.lost", lost, "", "== 0", lost == 0);
    g_assert_cmpuint(lost, ==, 0);
    g_assert_cmpuint(vtoe_counter(n->p->a.qts, "nic0", "bytes_copied"), ==, 0);
    g_assert_cmpuint(vtoe_counter(n->p->b.qts, "nic0", "bytes_copied"), ==, 0);
}

static void resumed_often(VtoeHost *end)
{
    uint64_t resumed = core_counter(end, "streams-resumed");

    g_assert_cmpuint(resumed, >=, 25 * STREAMS);
    g_assert_cmpuint(resumed, <=, core_counter(end, "streams-parked"));
}

/* A hundred times, at random moments. */
static void test_cuts(void)
{
    Net n = net_new(WAITS, 12 * MiB);
    unsigned i;

    for (i = 0; i < 100; i++) {
        vnet_wait_link(n.p->a.qts, "n0", "l0", "state", "up");
        carry(&n, 400000);
        vtoe_relay_cut(n.relay);
        g_usleep(g_rand_int_range(n.rand, 0, 100000));
        vtoe_relay_mend(n.relay);
    }
    finish(&n);
    /* A cut may come before all are back, or when one end knows it already. */
    resumed_often(&n.p->a);
    resumed_often(&n.p->b);
    net_free(&n);
}

static void test_long(void)
{
    static const unsigned ms[] = { 100, 5000, 30000 };
    Net n = net_new(WAITS, 4 * MiB);
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(ms); i++) {
        carry(&n, 3000000);
        vtoe_relay_cut(n.relay);
        g_usleep(ms[i] * 1000);
        vtoe_relay_mend(n.relay);
        wait_resumed(&n, (i + 1) * STREAMS);
    }
    finish(&n);
    net_free(&n);
}

/* Nothing is passed on, and nobody is told: the ends notice by the silence. */
static void test_black_hole(void)
{
    Net n = net_new(WAITS, 4 * MiB);

    carry(&n, 3000000);
    vtoe_relay_hold(n.relay);
    g_usleep(8000000);
    vtoe_relay_mend(n.relay);
    finish(&n);
    g_assert_cmpuint(vnet_link_counter(n.p->a.qts, "n0", "l0",
                                       "lost-heartbeat"), >=, 1);
    g_assert_cmpuint(core_counter(&n.p->a, "streams-resumed"), >=, STREAMS);
    net_free(&n);
}

/* One that is shorter than what the ends notice costs nothing. */
static void test_short_silence(void)
{
    Net n = net_new(WAITS ",heartbeat-ms=5000", 4 * MiB);

    carry(&n, 3000000);
    vtoe_relay_hold(n.relay);
    g_usleep(1500000);
    vtoe_relay_mend(n.relay);
    finish(&n);
    g_assert_cmpuint(core_counter(&n.p->a, "streams-parked"), ==, 0);
    net_free(&n);
}

/* After that it is one reset of each stream, at both ends. */
static void test_time_limit(void)
{
    Net n = net_new(",resume-ms=1000", 4 * MiB);
    gint64 begin;

    carry(&n, 3000000);
    begin = g_get_monotonic_time();
    vtoe_relay_cut(n.relay);
    vtoe_bulk_wait_lost(n.k, VTOE_REASON_LINK_LOST);
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 900000);
    g_assert_cmpuint(core_counter(&n.p->a, "reset-link-lost"), ==, STREAMS);
    g_assert_cmpuint(core_counter(&n.p->b, "reset-link-lost"), ==, STREAMS);
    vtoe_relay_mend(n.relay);
    net_free(&n);
}

/* Another link to the same peer takes over, again and again. */
static void test_other_link(void)
{
    Net n = net_new(WAITS, 12 * MiB);
    g_autofree char *at = g_build_filename(n.p->dir, "relay1", NULL);
    g_autofree char *to = g_build_filename(n.p->dir, "link1", NULL);
    unsigned i;

    n.other = vtoe_relay_new(at, to, seed() + 1);
    qtest_qmp_assert_success(n.p->b.qts, "{ 'execute': 'vnet-link-add', "
                             "'arguments': { 'id': 'n0', 'link': { 'id': 'l1', "
                             "'server': true, 'split-horizon': true, 'addr': "
                             "{ 'type': 'unix', 'path': %s } } } }", to);
    qtest_qmp_assert_success(n.p->a.qts, "{ 'execute': 'vnet-link-add', "
                             "'arguments': { 'id': 'n0', 'link': { 'id': 'l1', "
                             "'reconnect-ms': 100, 'split-horizon': true, "
                             "'addr': { 'type': 'unix', 'path': %s } } } }",
                             at);
    vnet_wait_link(n.p->a.qts, "n0", "l1", "state", "up");
    for (i = 0; i < 20; i++) {
        VtoeRelay *r = i % 2 ? n.other : n.relay;
        const char *left = i % 2 ? "l0" : "l1", *gone = i % 2 ? "l1" : "l0";

        carry(&n, 1000000);
        vtoe_relay_cut(r);
        /* It goes on while the other is away. */
        carry(&n, 1000000);
        vtoe_relay_mend(r);
        vnet_wait_link(n.p->a.qts, "n0", gone, "state", "up");
        vnet_wait_link(n.p->a.qts, "n0", left, "state", "up");
    }
    finish(&n);
    g_assert_cmpuint(core_counter(&n.p->a, "streams-resumed"), >=,
                     10 * STREAMS);
    net_free(&n);
}

/* The peer is another one when the link is back: it knows nothing. */
static void test_peer_restarted(void)
{
    Net n = net_new(WAITS, 4 * MiB);
    g_autofree char *path = vtoe_pair_relay_path(n.p);
    gint64 begin;
    VnetRawPeer raw;
    int fd;

    carry(&n, 3000000);
    vtoe_host_kill(&n.p->b);
    vtoe_relay_cut(n.relay);
    begin = g_get_monotonic_time();
    /* In its place, at the relay's address. */
    fd = vnet_raw_listen(path);
    vnet_raw_accept_up(&raw, fd, 7);
    vtoe_bulk_wait_lost_at(n.k, 0, VTOE_REASON_LINK_LOST);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 30000000);
    vnet_raw_close(&raw);
    close(fd);
    net_free(&n);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/resume/cuts", test_cuts);
    qtest_add_func("/vtoe/resume/long", test_long);
    qtest_add_func("/vtoe/resume/black-hole", test_black_hole);
    qtest_add_func("/vtoe/resume/short-silence", test_short_silence);
    qtest_add_func("/vtoe/resume/time-limit", test_time_limit);
    qtest_add_func("/vtoe/resume/other-link", test_other_link);
    qtest_add_func("/vtoe/resume/peer-restarted", test_peer_restarted);
    return g_test_run();
}
