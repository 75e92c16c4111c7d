/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits that were reached (net/vnet/vnet-limit.c): each is told to the host,
 * of whom it is, once a second, with the number of times that were not told.
 */
#include "vnet-core.h"
#include "vnet-stream-net.h"

typedef struct World World;

/* A limit of one host, and how to run into it. */
typedef struct Case {
    const char *name;
    VnetCoreLimit limit;
    bool at_right;              /* whose limit it is */
    bool of_port, of_link;      /* what it is told of */
    VnetCoreConfig left, right;
    void (*hit)(World *w);      /* reaches the limit once */
} Case;

struct World {
    Net n;
    FakeHost *h;                /* whose limit it is */
    const Case *c;
    unsigned hits;
    uint8_t mac[6];             /* the last that was made up */
};

static World world_new(const Case *c)
{
    World w = { .c = c, .mac = { 0x02 } };
    VnetCoreConfig cfg[2] = { c->left, c->right };

    w.n.w = fake_world_new(0);
    for (int i = 0; i < 2; i++) {
        cfg[i].name = i ? "right" : "left";
        cfg[i].net.vni = 7;
        cfg[i].heartbeat_ms = 1000;
        cfg[i].mac_age_s = 300;
        cfg[i].max_macs = cfg[i].max_macs ?: 64;
        cfg[i].max_streams = cfg[i].max_streams ?: 64;
    }
    w.n.left = fake_host_new(w.n.w, &cfg[0]);
    w.n.right = fake_host_new(w.n.w, &cfg[1]);
    w.n.a = fake_nic_new(w.n.left, 1);
    w.n.b = fake_nic_new(w.n.right, 2);
    w.n.l = fake_link_new(w.n.w, w.n.left, w.n.right);
    w.n.b->passive_hold = true;
    fake_run(w.n.w);
    assert_link_up(&w.n);
    w.h = c->at_right ? w.n.right : w.n.left;
    return w;
}

static unsigned told(const World *w)
{
    return w->h->limits_told[w->c->limit];
}

static void hit(World *w)
{
    w->hits++;
    w->c->hit(w);
    fake_run(w->n.w);
}

/* --- How to run into each of them ----------------------------------------- */

/* From another address each time; the first fits. */
static void hit_max_macs(World *w)
{
    do {
        w->mac[5]++;
        g_assert_cmpint(fake_send_frame(w->n.a, w->n.b->mac, w->mac, 60), ==,
                        VNET_FRAME_OK);
        fake_run(w->n.w);
    } while (!fake_stats(w->h)->macs_full);
}

/* Until one more is not passed on. */
static void hit_flood_limit(World *w)
{
    static const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };
    uint64_t dropped = fake_stats(w->h)->frames_drop_storm;

    do {
        fake_send_frame(w->n.a, everyone, w->n.a->mac, 60);
        fake_run(w->n.w);
    } while (fake_stats(w->h)->frames_drop_storm == dropped);
}

/* A byte a second: the next may go tomorrow. */
static void hit_rate(World *w)
{
    uint64_t before, after;
    const VnetPortStats *st = w->c->at_right ? &w->n.b->port->stats
                                             : &w->n.a->port->stats;

    do {
        before = st->tx_held + st->rx_drop_rate;
        fake_send_frame(w->n.a, w->n.b->mac, w->n.a->mac, 65000);
        fake_run(w->n.w);
        after = st->tx_held + st->rx_drop_rate;
    } while (before == after);
    g_assert_cmpuint(after, ==, before + 1);
}

/* A stream whose bytes have to wait, one more each time. */
static void hit_rate_by_stream(World *w)
{
    FakeStream *fs = fake_connect(w->n.a, w->n.b->mac, UINT64_MAX);

    fake_run(w->n.w);
    fake_post(fs, w->hits == 1 ? 200000 : 1);
    fake_run(w->n.w);
}

/* A stream too many. */
static void hit_max_streams(World *w)
{
    FakeStream *fs;

    do {
        fs = fake_connect(w->n.a, w->n.b->mac, UINT64_MAX);
        fake_run(w->n.w);
    } while (!fs->failed);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_LIMIT);
}

/* A peer that does not keep to what it was told. */
static void hit_max_streams_by_peer(World *w)
{
    uint64_t before = fake_stats(w->h)->rejected_limit;

    do {
        VnetMsg m = msg(VNET_MSG_OPEN, 2 * w->hits + w->mac[5]++, 0);

        m.u.open.vni = 7;
        m.u.open.flow.family = 4;
        memcpy(m.u.open.flow.lmac, w->n.a->mac, 6);
        memcpy(m.u.open.flow.rmac, w->n.b->mac, 6);
        fake_link_inject_msg(w->n.l, true, &m);
        fake_run(w->n.w);
    } while (fake_stats(w->h)->rejected_limit == before);
}

#define RATE    { .bytes = 1 }

static const Case cases[] = {
    { "max-macs/port", VNET_CORE_LIMIT_MAX_MACS, false, true, false,
      { .max_macs = 1 }, { 0 }, hit_max_macs },
    { "max-macs/link", VNET_CORE_LIMIT_MAX_MACS, true, false, true,
      { 0 }, { .max_macs = 1 }, hit_max_macs },
    { "flood-limit/port", VNET_CORE_LIMIT_FLOOD_LIMIT, false, true, false,
      { .net.flood_limit = 1 }, { 0 }, hit_flood_limit },
    { "flood-limit/link", VNET_CORE_LIMIT_FLOOD_LIMIT, true, false, true,
      { 0 }, { .net.flood_limit = 1 }, hit_flood_limit },
    { "tx-rate/frames", VNET_CORE_LIMIT_TX_RATE, false, true, false,
      { .net.rates[VNET_TX] = RATE }, { 0 }, hit_rate },
    { "rx-rate/frames", VNET_CORE_LIMIT_RX_RATE, true, true, false,
      { 0 }, { .net.rates[VNET_RX] = RATE }, hit_rate },
    { "tx-rate/streams", VNET_CORE_LIMIT_TX_RATE, false, true, false,
      { .net.rates[VNET_TX] = RATE }, { 0 }, hit_rate_by_stream },
    { "max-streams/own", VNET_CORE_LIMIT_MAX_STREAMS, false, true, false,
      { .max_streams = 1 }, { 0 }, hit_max_streams },
    { "max-streams/peer", VNET_CORE_LIMIT_MAX_STREAMS, true, true, true,
      { 0 }, { .max_streams = 1 }, hit_max_streams_by_peer },
    { "peer-max-streams", VNET_CORE_LIMIT_PEER_MAX_STREAMS, false, true, true,
      { 0 }, { .max_streams = 1 }, hit_max_streams },
};

/* --- What is told --------------------------------------------------------- */

static void assert_last(const World *w, unsigned count, uint64_t suppressed)
{
    const VnetPort *port = w->c->at_right ? w->n.b->port : w->n.a->port;
    const VnetLink *link = w->c->at_right ? fake_link_server(w->n.l)
                                          : fake_link_client(w->n.l);

    g_assert_cmpuint(told(w), ==, count);
    g_assert_cmpuint(w->h->limit_suppressed, ==, suppressed);
    g_assert(w->h->limit_port == (w->c->of_port ? port : NULL));
    g_assert(w->h->limit_link == (w->c->of_link ? link : NULL));
}

static void test_once_a_second(gconstpointer data)
{
    World w = world_new(data);
    int64_t first;

    g_assert_cmpuint(told(&w), ==, 0);
    hit(&w);
    first = w.n.w->now;
    assert_last(&w, 1, 0);
    hit(&w);
    hit(&w);
    fake_advance(w.n.w, S - MS - (w.n.w->now - first));
    hit(&w);
    assert_last(&w, 1, 0);
    fake_advance(w.n.w, MS);
    hit(&w);
    assert_last(&w, 2, 3);
    hit(&w);
    fake_advance(w.n.w, 60 * S);
    hit(&w);
    assert_last(&w, 3, 1);
    fake_advance(w.n.w, S);
    hit(&w);
    assert_last(&w, 4, 0);
    /* Nothing else was reached, at neither end. */
    for (int i = 0; i < VNET_CORE_LIMITS; i++) {
        g_assert_cmpuint(w.n.left->limits_told[i] + w.n.right->limits_told[i],
                         ==, i == (int)w.c->limit ? 4 : 0);
    }
    fake_world_free(w.n.w);
}

/* Nothing is left out of the count, and the host is not asked each time. */
static void test_a_busy_host_is_asked_once_a_second(gconstpointer data)
{
    World w = world_new(data);

    w.h->limits_busy = true;
    for (int i = 0; i < 5; i++) {
        hit(&w);
        hit(&w);
        assert_last(&w, i + 1, 2 * i);
        fake_advance(w.n.w, S);
    }
    w.h->limits_busy = false;
    hit(&w);
    assert_last(&w, 6, 10);
    fake_advance(w.n.w, S);
    hit(&w);
    assert_last(&w, 7, 0);
    fake_world_free(w.n.w);
}

/* Streams that wait to receive, too. */
static void test_rx_rate_of_streams(gconstpointer data)
{
    Net n = net_new(data);
    const VnetRates rate = { .bytes = 1 };
    FakeStream *peer, *fs = open_stream(&n, &peer);
    FakeHost *h = n.to->h;

    vnet_net_set_rates(vnet_core_net(h->core), VNET_RX, &rate);
    fake_post(fs, 200000);
    fake_run(n.w);
    g_assert_cmpuint(n.to->port->stats.rx_held, ==, 1);
    g_assert_cmpuint(h->limits_told[VNET_CORE_LIMIT_RX_RATE], ==, 1);
    g_assert(h->limit_port == n.to->port);
    fake_world_free(n.w);
}

/* One limit does not keep another from being told. */
static void test_each_by_itself(void)
{
    static const Case both = {
        "both", VNET_CORE_LIMIT_MAX_MACS, false, true, false,
        { .max_macs = 1, .net.flood_limit = 1 }, { 0 }, hit_max_macs,
    };
    World w = world_new(&both);

    hit(&w);
    hit(&w);
    hit_flood_limit(&w);
    g_assert_cmpuint(w.h->limits_told[VNET_CORE_LIMIT_FLOOD_LIMIT], ==, 1);
    g_assert_cmpuint(w.h->limit_suppressed, ==, 0);
    assert_last(&w, 1, 0);
    fake_world_free(w.n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *once = g_strdup_printf("/vnet/limit/once-a-second/%s",
                                                cases[i].name);
        g_autofree char *busy = g_strdup_printf("/vnet/limit/busy-host/%s",
                                                cases[i].name);

        g_test_add_data_func(once, &cases[i], test_once_a_second);
        g_test_add_data_func(busy, &cases[i],
                             test_a_busy_host_is_asked_once_a_second);
    }
    T4(rx_rate_of_streams);
    T(each_by_itself);
    return g_test_run();
}
