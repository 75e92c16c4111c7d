/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two hosts and a link over RDMA: see vnet-rdma-world.h.
 */
#include <netinet/in.h>
#include <string.h>
#include "vnet-rdma-world.h"

static int64_t host_now(void *opaque)
{
    RdmaEnd *e = opaque;

    return e->rw->w->now;
}

static void host_arm(void *opaque, int64_t when)
{
    RdmaEnd *e = opaque;

    e->timer = when;
}

static void host_at_end(void *opaque)
{
    RdmaEnd *e = opaque;

    e->at_end = true;
}

static void host_again(void *opaque)
{
    RdmaEnd *e = opaque;

    e->again = true;
}

static int host_watch_events(void *opaque)
{
    return 0;
}

static int host_watch(void *opaque, VnetVDev *dev)
{
    RdmaEnd *e = opaque;

    g_assert_null(e->watched);
    e->watched = dev;
    return 0;
}

static void host_unwatch(void *opaque, VnetVDev *dev)
{
    RdmaEnd *e = opaque;

    g_assert_true(e->watched == dev);
    e->watched = NULL;
}

static void host_lookup(void *opaque)
{
    RdmaEnd *e = opaque;

    g_assert_false(e->lookup);
    e->lookup = true;
}

static void host_lookup_cancel(void *opaque)
{
    RdmaEnd *e = opaque;

    g_assert_true(e->lookup);
    e->lookup = false;
}

static void host_trace(void *opaque, uint64_t serial, uint32_t stream_id,
                       const char *state, const char *what, int status)
{
    RdmaEnd *e = opaque;

    g_assert_nonnull(what);
    if (!strcmp(state, "failed")) {
        g_strlcpy(e->last_failure, what, sizeof(e->last_failure));
    }
}

static const VnetRdmaHost host_ops = {
    .now_ns = host_now,
    .arm_timer = host_arm,
    .at_end = host_at_end,
    .again = host_again,
    .watch_events = host_watch_events,
    .watch = host_watch,
    .unwatch = host_unwatch,
    .lookup = host_lookup,
    .lookup_cancel = host_lookup_cancel,
    .trace = host_trace,
};

static VnetRdmaAddr addr(void)
{
    VnetRdmaAddr a = { 0 };
    struct sockaddr_in *in = (struct sockaddr_in *)&a.ss;

    in->sin_family = AF_INET;
    in->sin_port = htons(RW_PORT);
    return a;
}

static RdmaWorld *world_new(guint32 seed, uint32_t max_qps, uint32_t resume_ms)
{
    RdmaWorld *rw = g_new0(RdmaWorld, 1);
    const VnetRdmaAddr a = addr();

    rw->w = fake_world_new(seed);
    rw->w->resume_ms = resume_ms;
    rw->f = vfake_new(seed);
    for (int i = 0; i < 2; i++) {
        RdmaEnd *e = &rw->end[i];
        const VnetRdmaConfig cfg = {
            .id = i ? "server" : "client",
            .where = "10.0.0.1:4711",
            .server = i,
            .reconnect_ms = 5000,
            .setup_timeout_ms = 5000,
            .max_qps = max_qps,
        };

        e->rw = rw;
        e->server = i;
        e->timer = INT64_MAX;
        e->h = fake_host(rw->w);
        e->nic = fake_nic_new(e->h, i + 1);
        e->x = vfake_ctx_new(rw->f);
        e->r = vnet_rdma_new(e->h->core, &cfg, vfake_verbs(), e->x, &host_ops,
                             e);
    }
    g_assert_null(vnet_rdma_listen(rw->end[1].r, &a));
    rw_dispatch(rw);
    return rw;
}

RdmaWorld *rw_new(guint32 seed, uint32_t max_qps)
{
    return world_new(seed, max_qps, 0);
}

void rw_free_end(RdmaWorld *rw, bool server)
{
    RdmaEnd *e = &rw->end[server];
    VnetRdma *r = e->r;

    if (r) {
        vnet_rdma_free(r);
        e->r = NULL;
        e->at_end = e->again = false;
        e->timer = INT64_MAX;
        g_assert_false(e->lookup);
        g_assert_null(e->watched);
        rw_dispatch(rw);
    }
}

void rw_free(RdmaWorld *rw)
{
    rw_free_end(rw, false);
    rw_free_end(rw, true);
    fake_world_free(rw->w);
    vfake_free(rw->f);
    g_free(rw);
}

void rw_dispatch(RdmaWorld *rw)
{
    bool more = true;

    while (more) {
        more = false;
        fake_dispatch(rw->w);
        for (int i = 0; i < 2; i++) {
            RdmaEnd *e = &rw->end[i];

            if (e->at_end && e->r) {
                e->at_end = false;
                vnet_rdma_at_end(e->r);
                more = true;
            }
        }
        for (guint i = 0; i < rw->w->hosts->len; i++) {
            more |= ((FakeHost *)rw->w->hosts->pdata[i])->deferred;
        }
    }
}

typedef enum ActKind {
    ACT_EVENT, ACT_CQ, ACT_SEEN, ACT_SAID, ACT_WR, ACT_AGAIN, ACT_LOOKUP,
    ACT_TIMER, ACT_HOST, ACT_KINDS
} ActKind;

typedef struct Act {
    ActKind kind;
    RdmaEnd *e;
} Act;

static void add(GArray *a, ActKind kind, RdmaEnd *e)
{
    const Act act = { kind, e };

    g_array_append_val(a, act);
}

static bool act_do(RdmaWorld *rw, const Act *act)
{
    RdmaEnd *e = act->e;
    const VnetRdmaAddr a = addr();

    switch (act->kind) {
    case ACT_EVENT:
        vnet_rdma_cm_ready(e->r);
        break;
    case ACT_CQ:
        vnet_rdma_cq_ready(e->r, e->watched);
        break;
    case ACT_SEEN:
        vnet_rdma_cq_seen(e->r, e->watched);
        break;
    case ACT_SAID:
        vnet_rdma_async_ready(e->r, e->watched);
        break;
    case ACT_WR:
        return vfake_step(rw->f);
    case ACT_AGAIN:
        e->again = false;
        vnet_rdma_again(e->r);
        break;
    case ACT_LOOKUP:
        e->lookup = false;
        vnet_rdma_resolved(e->r, &a, 1, e->lookup_error);
        break;
    case ACT_TIMER:
        e->timer = INT64_MAX;
        vnet_rdma_tick(e->r);
        break;
    default:
        e->h->timer = INT64_MAX;
        vnet_core_tick(e->h->core);
        break;
    }
    return true;
}

void rw_poll(RdmaWorld *rw, bool server, bool on)
{
    RdmaEnd *e = &rw->end[server];

    e->polling = on;
    vnet_rdma_polling(e->r, on);
    if (e->watched && vfake_verbs()->completed(e->watched)) {
        vnet_rdma_cq_seen(e->r, e->watched);        /* once more */
    }
}

bool rw_step(RdmaWorld *rw)
{
    g_autoptr(GArray) a = g_array_new(FALSE, FALSE, sizeof(Act));
    bool done = false;

    rw_dispatch(rw);
    for (int i = 0; i < 2; i++) {
        RdmaEnd *e = &rw->end[i];

        if (e->h->timer <= rw->w->now) {
            add(a, ACT_HOST, e);
        }
        if (!e->r) {
            continue;
        }
        if (vfake_has_event(e->x)) {
            add(a, ACT_EVENT, e);
        }
        if (e->watched && vfake_has_completion(e->watched)) {
            add(a, ACT_CQ, e);
        }
        if (e->watched && e->polling && vfake_verbs()->completed(e->watched)) {
            add(a, ACT_SEEN, e);
        }
        if (e->watched && vfake_has_said(e->watched)) {
            add(a, ACT_SAID, e);
        }
        if (e->again) {
            add(a, ACT_AGAIN, e);
        }
        if (e->lookup) {
            add(a, ACT_LOOKUP, e);
        }
        if (e->timer <= rw->w->now) {
            add(a, ACT_TIMER, e);
        }
    }
    add(a, ACT_WR, &rw->end[0]);
    while (!done && a->len) {
        guint i = rw->f && rw->w->rand ?
            (guint)g_rand_int_range(rw->w->rand, 0, a->len) :
            rw->turn++ % a->len;

        done = act_do(rw, &g_array_index(a, Act, i));
        g_array_remove_index(a, i);
    }
    rw_dispatch(rw);
    return done;
}

void rw_run(RdmaWorld *rw)
{
    guint limit = 10000000;

    while (rw_step(rw)) {
        g_assert_cmpuint(limit--, >, 0);
    }
}

void rw_advance(RdmaWorld *rw, int64_t ns)
{
    int64_t until = rw->w->now + ns, next;

    for (;;) {
        rw_run(rw);
        next = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            next = MIN(next, rw->end[i].timer);
            next = MIN(next, rw->end[i].h->timer);
        }
        if (next > until) {
            break;
        }
        rw->w->now = MAX(rw->w->now, next);
    }
    rw->w->now = until;
}

static RdmaWorld *brought_up(RdmaWorld *rw)
{
    rw_run(rw);
    g_assert_true(rw_is_up(rw));
    return rw;
}

RdmaWorld *rw_up(guint32 seed)
{
    return brought_up(rw_new(seed, 0));
}

RdmaWorld *rw_up_resuming(guint32 seed)
{
    return brought_up(world_new(seed, 0, RW_RESUME_MS));
}

/* --- Looking ------------------------------------------------------------- */

const char *rw_state(RdmaWorld *rw, bool server)
{
    return vnet_link_state(vnet_rdma_link(rw->end[server].r));
}

bool rw_is_up(RdmaWorld *rw)
{
    return !strcmp(rw_state(rw, false), "up") &&
           !strcmp(rw_state(rw, true), "up");
}

static void find_error(void *opaque, const VnetLinkInfo *info)
{
    *(const char **)opaque = info->last_error;
}

const char *rw_last_error(RdmaWorld *rw, bool server)
{
    const char *error = NULL;

    vnet_query_links(rw->end[server].h->core, find_error, &error);
    return error;
}

VnetRdmaInfo rw_info(RdmaWorld *rw, bool server)
{
    VnetRdmaInfo info;

    vnet_rdma_query(rw->end[server].r, &info);
    return info;
}

const VnetRdmaStats *rw_stats(RdmaWorld *rw, bool server)
{
    return rw_info(rw, server).stats;
}

const VnetLinkStats *rw_link_stats(RdmaWorld *rw, bool server)
{
    return vnet_link_stats(vnet_rdma_link(rw->end[server].r));
}

FakeStream *rw_connect(RdmaWorld *rw, bool from_server, uint64_t tx_total)
{
    FakeStream *fs = fake_connect(rw->end[from_server].nic,
                                  rw->end[!from_server].nic->mac, tx_total);

    rw_dispatch(rw);
    return fs;
}

FakeStream *rw_peer_of(RdmaWorld *rw, FakeStream *fs)
{
    return fake_peer_of(rw->end[fs->nic == rw->end[0].nic].nic, fs);
}

void rw_check_finished(RdmaWorld *rw, FakeStream *fs)
{
    FakeStream *peer = rw_peer_of(rw, fs);

    g_assert_nonnull(peer);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NONE);
    g_assert_cmpuint(peer->disconnected, ==, 1);
    g_assert_cmpint(peer->reason, ==, VTOE_REASON_NONE);
    g_assert_cmpuint(peer->rx_off, ==, fs->tx_posted);
    g_assert_cmpuint(fs->rx_off, ==, peer->tx_posted);
}

void rw_check_idle(RdmaWorld *rw)
{
    for (int i = 0; i < 2; i++) {
        VnetRdmaInfo info = rw_info(rw, i);

        g_assert_cmpuint(info.connections, ==, 2);
        g_assert_cmpuint(info.lingering, ==, 0);
        g_assert_cmpuint(info.qps, ==, 2);
        g_assert_cmpuint(vfake_counts(rw->end[i].x).qps, ==, 2);
        g_assert_cmpuint(vfake_counts(rw->end[i].x).cms, ==, 2 + i);
    }
}

bool rw_somewhere(RdmaWorld *rw, GRand *r)
{
    bool side = g_rand_boolean(r);

    rw_connect(rw, side, g_rand_int_range(r, 1, 200000));
    for (int n = g_rand_int_range(r, 0, 80); n && rw_step(rw); n--) {
        /* somewhere on the way */
    }
    return side;
}

void rw_check_recovers(RdmaWorld *rw)
{
    rw_advance(rw, 30000 * RW_MS);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    fake_check_sums(rw->end[0].h);
    fake_check_sums(rw->end[1].h);
}
