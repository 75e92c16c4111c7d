/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world for tests of the overlay, see vnet-fake.h: what happens next, and its
 * hosts.
 */
#include "vnet-fake-int.h"

/* --- Actions ------------------------------------------------------------- */

guint32 fake_some(FakeWorld *w, guint32 n)
{
    return n <= 1 || !w->rand ? n : 1 + g_rand_int_range(w->rand, 0, n);
}

bool fake_coin(FakeWorld *w)
{
    return w->rand && g_rand_boolean(w->rand);
}

static void act_do(const Act *act)
{
    FakeHost *h = act->p;

    if (act->kind != ACT_TIMER) {
        fake_link_do(act);
        return;
    }
    h->timer = INT64_MAX;
    vnet_core_tick(h->core);
}

void fake_dispatch(FakeWorld *w)
{
    bool again = true;

    while (again) {
        again = false;
        for (guint i = 0; i < w->hosts->len; i++) {
            FakeHost *h = w->hosts->pdata[i];

            if (h->deferred) {
                h->deferred = false;
                vnet_core_run_deferred(h->core);
                again = true;
            }
        }
    }
}

bool fake_step(FakeWorld *w)
{
    g_autoptr(GArray) a = g_array_new(FALSE, FALSE, sizeof(Act));
    guint pick;

    fake_dispatch(w);
    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];

        if (h->timer <= w->now) {
            fake_add(a, ACT_TIMER, h);
        }
    }
    for (guint i = 0; i < w->links->len; i++) {
        fake_link_acts(a, w->links->pdata[i]);
    }
    if (!a->len) {
        return false;
    }
    w->steps++;
    pick = w->rand ? (guint)g_rand_int_range(w->rand, 0, a->len)
                   : w->turn++ % a->len;
    act_do(&g_array_index(a, Act, pick));
    fake_dispatch(w);
    return true;
}

void fake_run(FakeWorld *w)
{
    guint64 limit = w->steps + 50000000;

    while (fake_step(w)) {
        g_assert_cmpuint(w->steps, <, limit);
    }
}

static int64_t next_time(FakeWorld *w)
{
    int64_t next = INT64_MAX;

    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];

        next = MIN(next, h->timer);
    }
    for (guint i = 0; i < w->links->len; i++) {
        FakeLink *l = w->links->pdata[i];

        next = MIN(next, l->end[0].retry_at);
    }
    return next;
}

void fake_advance(FakeWorld *w, int64_t ns)
{
    int64_t until = w->now + ns, next;

    fake_run(w);
    while ((next = next_time(w)) <= until) {
        w->now = MAX(w->now, next);
        fake_run(w);
    }
    w->now = until;
    for (guint i = 0; ns >= VNET_PENDING_NS && i < w->links->len; i++) {
        FakeLink *l = w->links->pdata[i];

        while (l->pending->len) {
            fake_conn_close(l->pending->pdata[0], true, true);
        }
    }
}

/* --- Hosts --------------------------------------------------------------- */

static int64_t h_now(void *opaque)
{
    FakeHost *h = opaque;

    return h->w->now;
}

static void h_arm(void *opaque, int64_t when)
{
    FakeHost *h = opaque;

    h->timer = when;
}

static void h_defer(void *opaque)
{
    FakeHost *h = opaque;

    h->deferred = true;
}

static uint64_t h_random(void *opaque)
{
    FakeHost *h = opaque;

    h->next_random = h->next_random * 6364136223846793005ull +
                     1442695040888963407ull;
    return h->next_random ^ h->next_random >> 29;
}

static void h_link_event(void *opaque, VnetLink *l, const char *state,
                         const char *msg)
{
    FakeHost *h = opaque;

    h->link_events++;
    g_assert_nonnull(msg);
    g_strlcpy(h->last_event, state, sizeof(h->last_event));
}

static void h_stream_event(void *opaque, VnetStream *s, const char *state,
                           enum vtoe_reason reason)
{
    FakeHost *h = opaque;
    VnetStreamInfo info;

    h->stream_events++;
    vnet_stream_get_info(s, &info);
    g_assert_nonnull(info.state);
}

static bool h_limit_event(void *opaque, VnetNet *net, VnetCoreLimit limit,
                          const VnetPort *port, const VnetLink *l,
                          uint64_t suppressed)
{
    FakeHost *h = opaque;

    h->limits_told[limit]++;
    h->limit_net = net;
    h->limit_port = port;
    h->limit_link = l;
    h->limit_suppressed = suppressed;
    return !h->limits_busy;
}

static const VnetHostOps host_ops = {
    .now_ns = h_now,
    .arm_timer = h_arm,
    .defer = h_defer,
    .random64 = h_random,
    .link_event = h_link_event,
    .stream_event = h_stream_event,
    .limit_event = h_limit_event,
};

FakeHost *fake_host_new(FakeWorld *w, const VnetCoreConfig *cfg)
{
    FakeHost *h = g_new0(FakeHost, 1);

    h->w = w;
    h->timer = INT64_MAX;
    h->nics = g_ptr_array_new();
    h->next_random = w->hosts->len + 1;
    h->core = vnet_core_new(cfg, &host_ops, h);
    h->nets = g_ptr_array_new();
    g_ptr_array_add(h->nets, vnet_core_net(h->core));
    g_ptr_array_add(w->hosts, h);
    return h;
}

FakeHost *fake_host(FakeWorld *w)
{
    const VnetCoreConfig cfg = {
        .name = w->hosts->len ? "right" : "left",
        .net.vni = 7,
        .max_streams = 4096,
        .heartbeat_ms = 1000,
        .max_macs = 64,
        .mac_age_s = 300,
        .resume_ms = w->resume_ms,
    };

    return fake_host_new(w, &cfg);
}

FakeWorld *fake_world_new(guint32 seed)
{
    FakeWorld *w = g_new0(FakeWorld, 1);

    w->now = 1000000;
    w->rand = seed ? g_rand_new_with_seed(seed) : NULL;
    w->hosts = g_ptr_array_new();
    w->links = g_ptr_array_new();
    w->pipe_size = 65536;
    w->control_size = 1 << 20;
    return w;
}

VnetNet *fake_net_new(FakeHost *h, uint32_t vni)
{
    const VnetNetConfig cfg = { .vni = vni, .user = h };
    VnetNet *net = vnet_net_new(h->core, &cfg);

    g_assert_nonnull(net);
    g_assert_cmpuint(vnet_net_vni(net), ==, vni);
    g_assert_true(vnet_net_user(net) == h);
    g_ptr_array_add(h->nets, net);
    return net;
}

static void check_net_sums(const VnetNet *net);

void fake_net_free(FakeHost *h, VnetNet *net)
{
    VnetNetInfo info;

    for (guint i = h->nics->len; i-- > 0; ) {
        FakeNic *n = h->nics->pdata[i];

        if (n->net == net) {
            fake_nic_free(n);
        }
    }
    check_net_sums(net);
    vnet_query_net(net, &info);
    g_assert_cmpuint(info.streams, ==, 0);
    g_ptr_array_remove(h->nets, net);
    vnet_net_free(net);
}

void fake_links_free(FakeWorld *w)
{
    for (guint i = 0; i < w->links->len; i++) {
        fake_link_free(w->links->pdata[i]);
    }
    g_ptr_array_set_size(w->links, 0);
}

void fake_world_free(FakeWorld *w)
{
    fake_links_free(w);
    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];

        while (h->nics->len) {
            fake_nic_free(h->nics->pdata[0]);
        }
    }
    fake_dispatch(w);
    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];
        VnetCoreInfo info;

        fake_check_sums(h);
        for (guint j = 0; j < h->nets->len; j++) {
            VnetNetInfo net;

            vnet_query_net(h->nets->pdata[j], &net);
            g_assert_cmpuint(net.macs_claimed, ==, 0);
            g_assert_cmpuint(net.macs_learnt, ==, 0);
        }
        while (h->nets->len > 1) {
            fake_net_free(h, h->nets->pdata[1]);
        }
        vnet_query_core(h->core, &info);
        g_assert_cmpuint(info.streams, ==, 0);
        g_assert_cmpuint(info.macs_learnt, ==, 0);
        vnet_core_free(h->core);
        g_ptr_array_free(h->nets, TRUE);
        g_ptr_array_free(h->nics, TRUE);
        g_free(h);
    }
    g_ptr_array_free(w->hosts, TRUE);
    g_ptr_array_free(w->links, TRUE);
    if (w->rand) {
        g_rand_free(w->rand);
    }
    g_free(w);
}

const VnetCoreStats *fake_net_stats(const VnetNet *net)
{
    VnetNetInfo info;

    vnet_query_net(net, &info);
    return info.stats;
}

const VnetCoreStats *fake_stats(FakeHost *h)
{
    return fake_net_stats(vnet_core_net(h->core));
}

static void check_net_sums(const VnetNet *net)
{
    const VnetCoreStats *st = fake_net_stats(net);
    uint64_t frames = st->frames_forwarded + st->frames_flooded;
    uint64_t ended = st->streams_graceful;
    VnetNetInfo info;

    for (const VnetStatDesc *d = vnet_core_stat_descs; d->name; d++) {
        uint64_t v = *(const uint64_t *)((const char *)st + d->offset);

        if (g_str_has_prefix(d->name, "frames_drop_")) {
            frames += v;
        }
        if (g_str_has_prefix(d->name, "connect_") ||
            g_str_has_prefix(d->name, "reset_")) {
            ended += v;
        }
    }
    g_assert_cmpuint(frames, ==, st->frames_in);
    /* A refused request was a stream only if a NIC saw it. */
    ended += st->rejected_port + st->rejected_host;
    vnet_query_net(net, &info);
    g_assert_cmpuint(ended + info.streams, ==,
                     st->streams_active + st->streams_passive);
}

void fake_check_sums(FakeHost *h)
{
    for (guint i = 0; i < h->nets->len; i++) {
        check_net_sums(h->nets->pdata[i]);
    }
}
