/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over RDMA: the shell around their behaviour (vnet-rdma.c).
 *
 * Descriptors of the event channel and of each device's completion channel are
 * in the overlay's loop, so that whatever is ready is handled as one dispatch
 * with all else.  Events that no descriptor shows (the main loop has registered
 * the guests' memory) come by a bottom half.  Names are looked up by the thread
 * that the socket links use.
 */

#include "qemu/osdep.h"
#include <sys/epoll.h>
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/sockets.h"
#include "vnet-link-rdma.h"
#include "vnet-sock.h"

#define VNET_RDMA_MIN_QPS   3           /* control, frame, one stream */
#define VNET_RDMA_MAX_QPS   (1024 * 1024)

/* A device's completion channel, and what it says by itself. */
typedef struct VnetRdmaWatch {
    VnetPoll poll, async;
    VnetRdmaLink *k;
    VnetVDev *dev;
    QTAILQ_ENTRY(VnetRdmaWatch) next;
} VnetRdmaWatch;

struct VnetRdmaLink {
    VnetLoop *loop;
    char *id;
    char *where;                /* host:port, for messages */
    SocketAddress *addr;
    const VnetVerbs *v;
    VnetVCtx *x;
    VnetRdma *r;
    VnetPoll events;
    QTAILQ_HEAD(, VnetRdmaWatch) watches;
    VnetLoopTimer timer;
    VnetAtEnd end;
    QEMUBH *again;
    QEMUBH *woken;
    VnetSockLookup *lookup;
    QEMUBH *lookup_bh;          /* a numeric address needs no thread */
    void (*trace)(void *opaque, const char *link, uint64_t serial,
                  uint32_t stream_id, const char *state, const char *what,
                  int status);
    void *opaque;
};

/* --- Configuration ---------------------------------------------------- */

static bool vnet_rdma_link_check_ms(const char *id, const char *name,
                                    uint32_t ms, Error **errp)
{
    if (ms < VNET_SOCK_MIN_MS || ms > VNET_SOCK_MAX_MS) {
        error_setg(errp, "link %s: %s is %u, and must be %u to %u", id, name,
                   ms, VNET_SOCK_MIN_MS, VNET_SOCK_MAX_MS);
        return false;
    }
    return true;
}

bool vnet_rdma_link_check(const VnetRdmaLinkConfig *cfg, Error **errp)
{
    const InetSocketAddress *in = &cfg->addr->u.inet;
    Error *err = NULL;

    if (!vnet_verbs_ib()) {
        error_setg(errp, "link %s: this QEMU was built without RDMA; install "
                   "librdmacm-dev and libibverbs-dev and build again",
                   cfg->id);
        return false;
    }
    if (cfg->addr->type != SOCKET_ADDRESS_TYPE_INET) {
        error_setg(errp, "link %s: addr.type \"%s\" does not fit type "
                   "\"rdma\", whose peers have an \"inet\" address", cfg->id,
                   SocketAddressType_str(cfg->addr->type));
        return false;
    }
    if (!vnet_sock_check_host(cfg->id, in->host, cfg->server, errp) ||
        !vnet_sock_check_port(cfg->id, in->port, cfg->server, errp)) {
        return false;
    }
    if (in->has_to || in->has_keep_alive
#ifdef HAVE_IPPROTO_MPTCP
        || in->has_mptcp
#endif
        ) {
        error_setg(errp, "link %s: addr.%s is not for type \"rdma\"", cfg->id,
                   in->has_to ? "to" : in->has_keep_alive ? "keep-alive" :
                   "mptcp");
        return false;
    }
    inet_ai_family_from_address((InetSocketAddress *)in, &err);
    if (err) {
        error_propagate_prepend(errp, err, "link %s: addr: ", cfg->id);
        return false;
    }
    if (!vnet_rdma_link_check_ms(cfg->id, "reconnect-ms", cfg->reconnect_ms,
                                 errp) ||
        !vnet_rdma_link_check_ms(cfg->id, "setup-timeout-ms",
                                 cfg->setup_timeout_ms, errp)) {
        return false;
    }
    if (cfg->max_qps && (cfg->max_qps < VNET_RDMA_MIN_QPS ||
                         cfg->max_qps > VNET_RDMA_MAX_QPS)) {
        error_setg(errp, "link %s: max-qps is %u, and must be 0, or %u to %u",
                   cfg->id, cfg->max_qps, VNET_RDMA_MIN_QPS,
                   VNET_RDMA_MAX_QPS);
        return false;
    }
    if (cfg->gid_index > 255) {
        error_setg(errp, "link %s: gid-index is %d, and must be 0 to 255",
                   cfg->id, cfg->gid_index);
        return false;
    }
    if (cfg->gid_index >= 0 && cfg->server) {
        error_setg(errp, "link %s: gid-index=%d is not for server=on, whose "
                   "address says which it is", cfg->id, cfg->gid_index);
        return false;
    }
    if (cfg->service_level > 255) {
        error_setg(errp, "link %s: service-level is %d, and must be 0 to 255",
                   cfg->id, cfg->service_level);
        return false;
    }
    return true;
}

/* --- What the behaviour asks for -------------------------------------- */

static int64_t vnet_rdma_link_now(void *opaque)
{
    return vnet_loop_now();
}

static void vnet_rdma_link_arm(void *opaque, int64_t when_ns)
{
    VnetRdmaLink *k = opaque;

    vnet_loop_timer_arm(&k->timer, when_ns);
}

static void vnet_rdma_link_at_end(void *opaque)
{
    VnetRdmaLink *k = opaque;

    vnet_loop_at_end(k->loop, &k->end);
}

static void vnet_rdma_link_again(void *opaque)
{
    VnetRdmaLink *k = opaque;

    qemu_bh_schedule(k->again);
}

static int vnet_rdma_link_watch_events(void *opaque)
{
    VnetRdmaLink *k = opaque;

    return vnet_poll_add(k->loop, &k->events, k->v->event_fd(k->x), EPOLLIN);
}

static void vnet_rdma_link_cq_ready(VnetPoll *p, uint32_t events)
{
    VnetRdmaWatch *w = container_of(p, VnetRdmaWatch, poll);

    if (events) {
        vnet_rdma_cq_ready(w->k->r, w->dev);
    } else {
        vnet_rdma_cq_seen(w->k->r, w->dev);
    }
}

static bool vnet_rdma_link_cq_look(VnetPoll *p)
{
    VnetRdmaWatch *w = container_of(p, VnetRdmaWatch, poll);

    return w->k->v->completed(w->dev);
}

static void vnet_rdma_link_polling(VnetPoll *p, bool on)
{
    VnetRdmaWatch *w = container_of(p, VnetRdmaWatch, poll);

    vnet_rdma_polling(w->k->r, on);
}

static void vnet_rdma_link_async_ready(VnetPoll *p, uint32_t events)
{
    VnetRdmaWatch *w = container_of(p, VnetRdmaWatch, async);

    /* Of a device that was removed it stays ready: only changes are events. */
    vnet_poll_rest(w->k->loop, p);
    vnet_rdma_async_ready(w->k->r, w->dev);
}

static int vnet_rdma_link_watch(void *opaque, VnetVDev *dev)
{
    VnetRdmaLink *k = opaque;
    VnetRdmaWatch *w = g_new0(VnetRdmaWatch, 1);
    int ret;

    w->k = k;
    w->dev = dev;
    w->poll.ready = vnet_rdma_link_cq_ready;
    w->poll.look = vnet_rdma_link_cq_look;
    w->poll.polling = vnet_rdma_link_polling;
    w->async.ready = vnet_rdma_link_async_ready;
    ret = vnet_poll_add(k->loop, &w->poll, k->v->completion_fd(dev), EPOLLIN);
    if (ret == 0) {
        ret = vnet_poll_add(k->loop, &w->async, k->v->async_fd(dev), EPOLLIN);
        if (ret < 0) {
            vnet_poll_del(k->loop, &w->poll);
        }
    }
    if (ret < 0) {
        g_free(w);
        return ret;
    }
    QTAILQ_INSERT_TAIL(&k->watches, w, next);
    return 0;
}

static void vnet_rdma_link_unwatch(void *opaque, VnetVDev *dev)
{
    VnetRdmaLink *k = opaque;
    VnetRdmaWatch *w;

    QTAILQ_FOREACH(w, &k->watches, next) {
        if (w->dev == dev) {
            QTAILQ_REMOVE(&k->watches, w, next);
            vnet_poll_del(k->loop, &w->poll);
            vnet_poll_del(k->loop, &w->async);
            g_free(w);
            return;
        }
    }
}

static unsigned vnet_rdma_link_addrs(const VnetSockAddrs *from,
                                     VnetRdmaAddr to[VNET_RDMA_ADDRS])
{
    unsigned i, n = MIN(from->n, VNET_RDMA_ADDRS);

    for (i = 0; i < n; i++) {
        memset(&to[i], 0, sizeof(to[i]));
        memcpy(&to[i].ss, &from->a[i].ss, from->a[i].len);
    }
    return n;
}

/* Within a dispatch. */
static void vnet_rdma_link_looked_up(void *opaque, const VnetSockAddrs *addrs,
                                     const char *err)
{
    VnetRdmaLink *k = opaque;
    VnetRdmaAddr to[VNET_RDMA_ADDRS];
    unsigned n = err ? 0 : vnet_rdma_link_addrs(addrs, to);

    k->lookup = NULL;
    vnet_rdma_resolved(k->r, to, n, err);
}

static void vnet_rdma_link_lookup_bh(void *opaque)
{
    VnetRdmaLink *k = opaque;
    VnetSockAddrs addrs;
    Error *err = NULL;

    vnet_loop_begin(k->loop);
    if (vnet_sock_addr_now(k->addr, &addrs, &err)) {
        vnet_rdma_link_looked_up(k, &addrs, NULL);
    } else if (err) {
        vnet_rdma_link_looked_up(k, NULL, error_get_pretty(err));
        error_free(err);
    } else {
        k->lookup = vnet_sock_lookup_start(k->loop, k->addr,
                                           vnet_rdma_link_looked_up, k);
    }
    vnet_loop_end(k->loop);
}

static void vnet_rdma_link_lookup(void *opaque)
{
    VnetRdmaLink *k = opaque;

    qemu_bh_schedule(k->lookup_bh);
}

static void vnet_rdma_link_lookup_cancel(void *opaque)
{
    VnetRdmaLink *k = opaque;

    qemu_bh_cancel(k->lookup_bh);
    if (k->lookup) {
        vnet_sock_lookup_cancel(k->lookup);
        k->lookup = NULL;
    }
}

static void vnet_rdma_link_trace(void *opaque, uint64_t serial,
                                 uint32_t stream_id, const char *state,
                                 const char *what, int status)
{
    VnetRdmaLink *k = opaque;

    if (k->trace) {
        k->trace(k->opaque, k->id, serial, stream_id, state, what, status);
    }
}

static const VnetRdmaHost vnet_rdma_link_host = {
    .now_ns = vnet_rdma_link_now,
    .arm_timer = vnet_rdma_link_arm,
    .at_end = vnet_rdma_link_at_end,
    .again = vnet_rdma_link_again,
    .watch_events = vnet_rdma_link_watch_events,
    .watch = vnet_rdma_link_watch,
    .unwatch = vnet_rdma_link_unwatch,
    .lookup = vnet_rdma_link_lookup,
    .lookup_cancel = vnet_rdma_link_lookup_cancel,
    .trace = vnet_rdma_link_trace,
};

/* --- What the loop calls ---------------------------------------------- */

static void vnet_rdma_link_events_ready(VnetPoll *p, uint32_t events)
{
    vnet_rdma_cm_ready(container_of(p, VnetRdmaLink, events)->r);
}

static void vnet_rdma_link_timer(VnetLoopTimer *t)
{
    vnet_rdma_tick(container_of(t, VnetRdmaLink, timer)->r);
}

static void vnet_rdma_link_end(VnetAtEnd *e)
{
    vnet_rdma_at_end(container_of(e, VnetRdmaLink, end)->r);
}

static void vnet_rdma_link_again_bh(void *opaque)
{
    VnetRdmaLink *k = opaque;

    vnet_loop_begin(k->loop);
    vnet_rdma_again(k->r);
    vnet_loop_end(k->loop);
}

static void vnet_rdma_link_woken_bh(void *opaque)
{
    VnetRdmaLink *k = opaque;

    vnet_loop_begin(k->loop);
    vnet_rdma_cm_ready(k->r);
    vnet_loop_end(k->loop);
}

/* Any thread, as long as x lives. */
static void vnet_rdma_link_wake(void *opaque)
{
    VnetRdmaLink *k = opaque;

    qemu_bh_schedule(k->woken);
}

/* --- Life ------------------------------------------------------------- */

static bool vnet_rdma_link_listen(VnetRdmaLink *k, Error **errp)
{
    const InetSocketAddress *in = &k->addr->u.inet;
    struct addrinfo hints = {
        .ai_flags = AI_PASSIVE,
        .ai_socktype = SOCK_STREAM,
        .ai_family = inet_ai_family_from_address((InetSocketAddress *)in,
                                                 &error_abort),
    };
    struct addrinfo *res;
    g_autofree char *why = NULL;
    VnetRdmaAddr addr = { 0 };
    int rc = getaddrinfo(in->host[0] ? in->host : NULL, in->port, &hints, &res);

    if (rc) {
        error_setg(errp, "link %s: cannot listen on %s: %s", k->id, k->where,
                   gai_strerror(rc));
        return false;
    }
    memcpy(&addr.ss, res->ai_addr, res->ai_addrlen);
    freeaddrinfo(res);
    why = vnet_rdma_listen(k->r, &addr);
    if (why) {
        error_setg(errp, "link %s: cannot listen on %s: %s", k->id, k->where,
                   why);
        return false;
    }
    return true;
}

VnetRdmaLink *vnet_rdma_link_new(VnetLoop *loop, const VnetRdmaLinkConfig *cfg,
                                 Error **errp)
{
    VnetRdmaLink *k = g_new0(VnetRdmaLink, 1);
    AioContext *ctx = vnet_loop_ctx(loop);
    const InetSocketAddress *in = &cfg->addr->u.inet;
    const VnetIbConfig ib = {
        .mem = cfg->mem,
        .gid_index = cfg->gid_index,
        .tos = cfg->service_level,
        .wake = vnet_rdma_link_wake,
        .opaque = k,
    };
    VnetRdmaConfig rc = {
        .id = cfg->id,
        .server = cfg->server,
        .reconnect_ms = cfg->reconnect_ms,
        .setup_timeout_ms = cfg->setup_timeout_ms,
        .max_qps = cfg->max_qps,
    };

    k->loop = loop;
    k->id = g_strdup(cfg->id);
    k->where = g_strdup_printf(strchr(in->host, ':') ? "[%s]:%s" : "%s:%s",
                               in->host[0] ? in->host : "*", in->port);
    k->addr = QAPI_CLONE(SocketAddress, cfg->addr);
    k->trace = cfg->trace;
    k->opaque = cfg->opaque;
    k->events.fd = -1;
    k->events.ready = vnet_rdma_link_events_ready;
    QTAILQ_INIT(&k->watches);
    vnet_loop_timer_init(loop, &k->timer, vnet_rdma_link_timer);
    k->end.fn = vnet_rdma_link_end;
    k->again = aio_bh_new(ctx, vnet_rdma_link_again_bh, k);
    k->woken = aio_bh_new(ctx, vnet_rdma_link_woken_bh, k);
    k->lookup_bh = aio_bh_new(ctx, vnet_rdma_link_lookup_bh, k);
    k->v = vnet_verbs_ib();
    k->x = vnet_ib_ctx_new(&ib);
    rc.where = k->where;
    k->r = vnet_rdma_new(vnet_loop_core(loop), &rc, k->v, k->x,
                         &vnet_rdma_link_host, k);
    if (cfg->server && !vnet_rdma_link_listen(k, errp)) {
        vnet_rdma_link_free(k);
        return NULL;
    }
    return k;
}

void vnet_rdma_link_free(VnetRdmaLink *k)
{
    vnet_rdma_free(k->r);
    assert(QTAILQ_EMPTY(&k->watches));
    vnet_poll_del(k->loop, &k->events);
    vnet_ib_ctx_free(k->x);
    vnet_loop_timer_disarm(&k->timer);
    vnet_loop_at_end_cancel(k->loop, &k->end);
    qemu_bh_delete(k->again);
    qemu_bh_delete(k->woken);
    qemu_bh_delete(k->lookup_bh);
    qapi_free_SocketAddress(k->addr);
    g_free(k->where);
    g_free(k->id);
    g_free(k);
}

VnetLink *vnet_rdma_link_link(VnetRdmaLink *k)
{
    return vnet_rdma_link(k->r);
}

static SocketAddress *vnet_rdma_link_address(struct sockaddr_storage *ss)
{
    if (ss->ss_family != AF_INET && ss->ss_family != AF_INET6) {
        return NULL;
    }
    return socket_sockaddr_to_address(ss, sizeof(*ss), NULL);
}

void vnet_rdma_link_query(VnetRdmaLink *k, VnetRdmaLinkInfo *info)
{
    vnet_rdma_query(k->r, &info->rdma);
    info->local = vnet_rdma_link_address(&info->rdma.local);
    info->remote = vnet_rdma_link_address(&info->rdma.peer);
    if (!info->remote && !info->rdma.server) {
        info->remote = QAPI_CLONE(SocketAddress, k->addr);
    }
}
