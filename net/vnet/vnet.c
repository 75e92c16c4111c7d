/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network backend "vnet": the netdev shell of the overlay.
 *
 * Theory of operation
 *
 * The overlay lives in the VNET thread, an IOThread of its own or one given by
 * iothread=.  The main loop makes and ends it, and asks it for what the
 * monitor shows, by vnet_netdev_call(), which waits, with the BQL held.  That
 * cannot dead-lock, because the VNET thread waits for nothing that needs the
 * BQL: what it has to tell the main loop goes through BHs (vnet-event.c,
 * vnet-nic.c).
 *
 * All options are checked before anything is made, and listening sockets are
 * bound before the thread starts, so that a netdev exists whole or not at all.
 *
 * Whose port: vtoe-pci claims the netdev and attaches a port itself, from the
 * VNET thread (include/vtoe/vnet-netdev.h).  For other NICs vnet-nic.c keeps
 * one.
 *
 * End: netdev_del and the end of QEMU call cleanup() after the NIC has left;
 * with a NIC that lives on, QEMU calls it when the NIC dies, but a NIC that
 * claimed the netdev releases it at once, and the overlay ends there.
 */

#include "qemu/osdep.h"
#include "net/clients.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-vnet.h"
#include "qemu/main-loop.h"
#include "qemu/sockets.h"
#include "trace.h"
#include "vnet-shell.h"

#define VNET_MAX_TABLE          (1024 * 1024)
#define VNET_DEFAULT_STREAMS    4096
#define VNET_DEFAULT_MACS       4096

static QTAILQ_HEAD(, VnetNetdev) vnet_netdevs =
    QTAILQ_HEAD_INITIALIZER(vnet_netdevs);

VnetNetdev *vnet_netdev_next(VnetNetdev *after)
{
    return after ? QTAILQ_NEXT(after, next) : QTAILQ_FIRST(&vnet_netdevs);
}

VnetNetdev *vnet_netdev_find(const char *id, Error **errp)
{
    VnetNetdev *n;

    QTAILQ_FOREACH(n, &vnet_netdevs, next) {
        if (g_str_equal(id, n->nc.name)) {
            return n;
        }
    }
    error_setg(errp, "there is no vnet netdev \"%s\"", id);
    return NULL;
}

/* --- Calls into the VNET thread --------------------------------------- */

typedef struct VnetNetdevCall {
    VnetNetdev *n;
    void (*fn)(VnetNetdev *n, void *arg);
    void *arg;
} VnetNetdevCall;

static void vnet_netdev_call_bh(void *opaque)
{
    VnetNetdevCall *call = opaque;
    VnetNetdev *n = call->n;

    call->fn(n, call->arg);
    qemu_sem_post(&n->call_done);
}

/*
 * Waits without running the main loop: a monitor command must not run the
 * handlers of others underneath.  The BH is of no device and has no guard.
 *
 * Not with a QemuEvent: its set() may wake whoever waits for the next one, and
 * its wait() does not look again why it was woken.
 */
void vnet_netdev_call(VnetNetdev *n, void (*fn)(VnetNetdev *n, void *arg),
                      void *arg)
{
    VnetNetdevCall call = { .n = n, .fn = fn, .arg = arg };

    assert(bql_locked());
    if (n->ctx == qemu_get_aio_context()) {
        fn(n, arg);
        return;
    }
    aio_bh_schedule_oneshot(n->ctx, vnet_netdev_call_bh, &call);
    qemu_sem_wait(&n->call_done);
}

/* --- Options ---------------------------------------------------------- */

static bool vnet_check_range(const char *option, uint32_t value, uint32_t min,
                             uint32_t max, Error **errp)
{
    if (value < min || value > max) {
        error_setg(errp, "%s is %u, and must be %u to %u", option, value, min,
                   max);
        return false;
    }
    return true;
}

static bool vnet_check_name(const char *name, bool given, Error **errp)
{
    size_t i, n = strlen(name);

    for (i = 0; i < n && name[i] >= 0x20 && name[i] < 0x7f; i++) {
        /* printable ASCII */
    }
    if (n < 1 || n > 63 || i < n) {
        if (given) {
            error_setg(errp, "name is \"%s\", and must be 1 to 63 printable "
                       "ASCII characters", name);
        } else {
            error_setg(errp, "its id is longer than the 63 characters that "
                       "peers can be told; give it a name=");
        }
        return false;
    }
    return true;
}

static bool vnet_check_links(const VnetLinkOptionsList *list, unsigned *count,
                             Error **errp)
{
    const VnetLinkOptionsList *e, *f;

    *count = 0;
    for (e = list; e; e = e->next) {
        if (++*count > VNET_MAX_LINKS) {
            error_setg(errp, "more than %d links", VNET_MAX_LINKS);
            return false;
        }
        if (!vnet_link_id_check(e->value, errp)) {
            return false;
        }
        for (f = list; f != e; f = f->next) {
            if (g_str_equal(f->value->id, e->value->id)) {
                error_setg(errp, "two links have the id \"%s\"",
                           e->value->id);
                return false;
            }
        }
        if (!vnet_anylink_check(e->value, errp)) {
            return false;
        }
    }
    return true;
}

static bool vnet_check_options(const NetdevVnetOptions *o, const char *id,
                               VnetCoreConfig *cfg, IOThread **iothread,
                               Error **errp)
{
    *cfg = (VnetCoreConfig) {
        .name = o->name ?: id,
        .vni = o->has_vni ? o->vni : 0,
        .max_streams = o->has_max_streams ? o->max_streams :
                       VNET_DEFAULT_STREAMS,
        .heartbeat_ms = o->has_heartbeat_ms ? o->heartbeat_ms : 1000,
        .max_macs = o->has_max_macs ? o->max_macs : VNET_DEFAULT_MACS,
        .mac_age_s = o->has_mac_age ? o->mac_age : 300,
        .flood_limit = o->has_flood_limit ? o->flood_limit : 0,
        .port_lock = o->has_port_lock && o->port_lock,
        .resume_ms = o->has_resume_ms ? o->resume_ms : 0,
    };
    if (!vnet_check_name(cfg->name, o->name, errp) ||
        !vnet_check_range("vni", cfg->vni, 0, VNET_VNI_MAX, errp) ||
        !vnet_check_range("max-streams", cfg->max_streams, 1, VNET_MAX_TABLE,
                          errp) ||
        !vnet_check_range("heartbeat-ms", cfg->heartbeat_ms, 10, 60000,
                          errp) ||
        !vnet_check_range("max-macs", cfg->max_macs, 1, VNET_MAX_TABLE,
                          errp) ||
        !vnet_check_range("mac-age", cfg->mac_age_s, 1, 86400, errp) ||
        !vnet_check_range("resume-ms", cfg->resume_ms, 0, 3600000, errp) ||
        !vnet_check_range("flood-limit", cfg->flood_limit, 0, 10000000,
                          errp) ||
        !vnet_rate_check(o->tx_rate, "tx-rate", &cfg->rates[VNET_TX], errp) ||
        !vnet_rate_check(o->rx_rate, "rx-rate", &cfg->rates[VNET_RX], errp) ||
        (o->has_poll_max_ns &&
         !vnet_check_range("poll-max-ns", o->poll_max_ns, 0, 1000000000,
                           errp))) {
        return false;
    }
    *iothread = NULL;
    if (o->iothread) {
        if (o->has_poll_max_ns) {
            error_setg(errp, "poll-max-ns=%u is for the netdev's own thread, "
                       "but iothread=%s was given: set it there",
                       o->poll_max_ns, o->iothread);
            return false;
        }
        *iothread = iothread_by_id(o->iothread);
        if (!*iothread) {
            error_setg(errp, "there is no iothread \"%s\"", o->iothread);
            return false;
        }
    }
    return true;
}

/*
 * The links of the options, and of the file that they name; NULL: none, or *errp.
 */
static VnetLinkOptionsList *vnet_all_links(const NetdevVnetOptions *o,
                                           unsigned *count, Error **errp)
{
    ERRP_GUARD();
    VnetLinkOptionsList *list = NULL, **tail = &list;

    if (o->has_links) {
        list = QAPI_CLONE(VnetLinkOptionsList, o->links);
    }
    while (*tail) {
        tail = &(*tail)->next;
    }
    if (o->links_file) {
        *tail = vnet_links_load(o->links_file, errp);
    }
    if (*errp || !vnet_check_links(list, count, errp)) {
        qapi_free_VnetLinkOptionsList(list);
        return NULL;
    }
    return list;
}

/* --- Start and stop --------------------------------------------------- */

static void vnet_loop_link_event_cb(void *opaque, VnetLink *l,
                                    const char *state, const char *msg)
{
    VnetNetdev *n = opaque;

    trace_vnet_link(n->nc.name, vnet_link_id(l), state, msg);
    vnet_events_link(n->events, l, state, msg);
}

static void vnet_loop_stream_event_cb(void *opaque, VnetStream *s,
                                      const char *state,
                                      enum vtoe_reason reason)
{
    VnetNetdev *n = opaque;

    if (trace_event_get_state_backends(TRACE_VNET_STREAM)) {
        VnetStreamInfo info;

        vnet_stream_get_info(s, &info);
        trace_vnet_stream(n->nc.name, info.link_id, info.cid, state, reason);
    }
    vnet_events_stream(n->events, s, state, reason);
}

static bool vnet_loop_limit_event_cb(void *opaque, VnetCoreLimit limit,
                                     const VnetPort *port, const VnetLink *l,
                                     uint64_t suppressed)
{
    VnetNetdev *n = opaque;

    trace_vnet_limit(n->nc.name, limit, port ? vnet_port_id(port) : "",
                     l ? vnet_link_id(l) : "", suppressed);
    return vnet_events_limit(n->events, limit, port, l, suppressed);
}

static const VnetLoopOps vnet_netdev_loop_ops = {
    .link_event = vnet_loop_link_event_cb,
    .stream_event = vnet_loop_stream_event_cb,
    .limit_event = vnet_loop_limit_event_cb,
};

typedef struct VnetStart {
    const VnetCoreConfig *cfg;
    const VnetLinkOptionsList *links;
    const GArray *routes;       /* NULL: none */
    int *fds;                   /* listening sockets, -1: none or given away */
    Error *err;
} VnetStart;

static void vnet_stop_in_thread(VnetNetdev *n, void *arg)
{
    VnetLoop *loop = n->loop;

    if (!loop) {
        return;
    }
    vnet_anylink_remove_all(n);
    /* What was put off is done now; then nothing is left. */
    vnet_loop_begin(loop);
    vnet_loop_end(loop);
    n->loop = NULL;
    vnet_loop_free(loop);
}

static void vnet_start_in_thread(VnetNetdev *n, void *arg)
{
    VnetStart *st = arg;
    const VnetLinkOptionsList *e;
    unsigned i = 0;

    n->loop = vnet_loop_new(n->ctx, st->cfg, &vnet_netdev_loop_ops, n,
                            &st->err);
    if (!n->loop) {
        return;
    }
    for (e = st->links; e; e = e->next, i++) {
        VnetLinkDef *def = vnet_link_options_def(e->value);
        VnetAnyLink *k = vnet_anylink_new(n, e->value, def, st->fds[i],
                                          &st->err);

        vnet_link_def_unref(def);
        if (!k) {
            vnet_stop_in_thread(n, NULL);
            return;
        }
        st->fds[i] = -1;
        g_ptr_array_add(n->links, k);
    }
    if (st->routes) {
        VnetLangError err;
        bool ok = vnet_core_change_routes(vnet_loop_core(n->loop), st->routes,
                                          false, false, NULL, NULL, &err);

        assert(ok);             /* vnet_routes_load() has tried */
    }
}

/* Ends the overlay; the NetClientState lives on.  Does nothing twice. */
static void vnet_netdev_stop(VnetNetdev *n)
{
    VnetCaptureFile *capture = NULL;

    if (!n->ctx) {
        return;
    }
    trace_vnet_stop(n->nc.name);
    if (n->nic) {
        vnet_nic_detach(n->nic);
    }
    vnet_netdev_call(n, vnet_stop_in_thread, NULL);
    vnet_netdev_call(n, vnet_capture_end_in_thread, &capture);
    vnet_capture_free(capture);
    QTAILQ_REMOVE(&vnet_netdevs, n, next);
    g_clear_pointer(&n->nic, vnet_nic_free);
    g_clear_pointer(&n->events, vnet_events_free);
    if (n->own_thread) {
        iothread_destroy(n->iothread);
    } else {
        object_unref(OBJECT(n->iothread));
    }
    n->iothread = NULL;
    n->ctx = NULL;
}

static void vnet_netdev_cleanup(NetClientState *nc)
{
    VnetNetdev *n = DO_UPCAST(VnetNetdev, nc, nc);

    assert(!n->claimed);
    vnet_netdev_stop(n);
    g_clear_pointer(&n->links, g_ptr_array_unref);
    g_clear_pointer(&n->name, g_free);
    qemu_sem_destroy(&n->call_done);
}

static NetClientInfo vnet_netdev_info = {
    .type = NET_CLIENT_DRIVER_VNET,
    .size = sizeof(VnetNetdev),
    .receive_iov = vnet_nic_receive_iov,
    .has_vnet_hdr = vnet_nic_has_vnet_hdr,
    .has_vnet_hdr_len = vnet_nic_has_vnet_hdr_len,
    .set_vnet_hdr_len = vnet_nic_set_vnet_hdr_len,
    .set_offload = vnet_nic_set_offload,
    .cleanup = vnet_netdev_cleanup,
};

static bool vnet_netdev_thread(VnetNetdev *n, IOThread *iothread,
                               uint32_t poll_max_ns, Error **errp)
{
    static unsigned serial;

    if (iothread) {
        object_ref(OBJECT(iothread));
        n->iothread = iothread;
    } else {
        /*
         * Not named after the netdev: after netdev_del its name is free
         * before the thread is.
         */
        g_autofree char *id = g_strdup_printf("vnet-%u", serial++);

        n->iothread = iothread_create(id, errp);
        if (!n->iothread) {
            return false;
        }
        n->own_thread = true;
    }
    n->ctx = iothread_get_aio_context(n->iothread);
    if (n->own_thread) {
        aio_context_set_poll_params(n->ctx, poll_max_ns, 0, 0, errp);
        if (*errp) {
            return false;
        }
    }
#ifdef CONFIG_FUZZ
    /*
     * QEMU's generic fuzzer makes up guest memory when a device reads it, and
     * is of the main loop, without locks.  So is the overlay, then.
     */
    n->ctx = qemu_get_aio_context();
#endif
    return true;
}

static void vnet_close_listeners(int *fds, unsigned n)
{
    while (n--) {
        if (fds[n] >= 0) {
            socket_listen_cleanup(fds[n], NULL);
            close(fds[n]);
        }
    }
}

/* VNET thread. */
static void vnet_netdev_free_link(void *link)
{
    VnetAnyLink *k = link;
    VnetNetdev *n = k->n;
    g_autofree char *id = g_strdup(k->options->id);

    vnet_anylink_free(k);
    /* Peers that register may have had any number of names. */
    vnet_events_forget(n->events, id);
}

int net_init_vnet(const Netdev *netdev, const char *name,
                  NetClientState *peer, Error **errp)
{
    ERRP_GUARD();
    const NetdevVnetOptions *o = &netdev->u.vnet;
    g_autoptr(VnetLinkOptionsList) links = NULL;
    const VnetLinkOptionsList *e;
    g_autofree int *fds = NULL;
    g_autoptr(GArray) routes = NULL;
    VnetCoreConfig cfg;
    VnetStart st = { .cfg = &cfg };
    NetClientState *nc;
    IOThread *iothread = NULL;
    VnetNetdev *n;
    unsigned nlinks = 0, i = 0;
    uint32_t mtu;

    if (vnet_check_options(o, name, &cfg, &iothread, errp)) {
        links = vnet_all_links(o, &nlinks, errp);
    }
    if (*errp) {
        error_prepend(errp, "netdev %s: ", name);
        return -1;
    }
    if (o->routes) {
        routes = vnet_routes_load(o->routes, errp);
        if (!routes) {
            error_prepend(errp, "netdev %s: ", name);
            return -1;
        }
        st.routes = routes;
    }
    st.links = links;
    fds = g_new(int, nlinks + 1);
    mtu = UINT16_MAX;
    for (e = links; e; e = e->next, i++) {
        mtu = MIN(mtu, vnet_anylink_mtu(e->value));
        fds[i] = vnet_anylink_listen(e->value, errp);
        if (*errp) {
            error_prepend(errp, "netdev %s: ", name);
            vnet_close_listeners(fds, i);
            return -1;
        }
    }

    nc = qemu_new_net_client(&vnet_netdev_info, peer, "vnet", name);
    n = DO_UPCAST(VnetNetdev, nc, nc);
    n->name = g_strdup(cfg.name);
    n->vni = cfg.vni;
    n->mtu = mtu;
    n->resume_ms = cfg.resume_ms;
    n->links = g_ptr_array_new_with_free_func(vnet_netdev_free_link);
    qemu_sem_init(&n->call_done, 0);
    QTAILQ_INSERT_TAIL(&vnet_netdevs, n, next);
    qemu_set_info_str(nc, "vni=%u,links=0/%u", n->vni, nlinks);
    n->events = vnet_events_new(n);
    st.fds = fds;
    if (vnet_netdev_thread(n, iothread, o->has_poll_max_ns ? o->poll_max_ns : 0,
                           errp)) {
        vnet_netdev_call(n, vnet_start_in_thread, &st);
        error_propagate(errp, st.err);
    }
    if (*errp) {
        error_prepend(errp, "netdev %s: ", name);
        vnet_close_listeners(fds, nlinks);
        if (!n->ctx) {
            QTAILQ_REMOVE(&vnet_netdevs, n, next);
            g_clear_pointer(&n->events, vnet_events_free);
        }
        qemu_del_net_client(nc);
        return -1;
    }
    n->nic = vnet_nic_new(n);
    trace_vnet_start(name, n->vni, nlinks);
    return 0;
}

/* --- What NICs with a port of their own use --------------------------- */

bool vnet_netdev_is(const NetClientState *nc)
{
    return nc && nc->info == &vnet_netdev_info;
}

AioContext *vnet_netdev_get_aio_context(NetClientState *nc)
{
    return DO_UPCAST(VnetNetdev, nc, nc)->ctx;
}

uint32_t vnet_netdev_mtu(const NetClientState *nc)
{
    return container_of(nc, VnetNetdev, nc)->mtu;
}

VnetCore *vnet_netdev_get_core(NetClientState *nc)
{
    return vnet_loop_core(DO_UPCAST(VnetNetdev, nc, nc)->loop);
}

bool vnet_netdev_claim(NetClientState *nc, const char *nic_id,
                       const VnetNicOps *ops, void *opaque, Error **errp)
{
    VnetNetdev *n = DO_UPCAST(VnetNetdev, nc, nc);

    if (n->claimed) {
        error_setg(errp, "netdev %s already carries %s", nc->name, n->nic_id);
        return false;
    }
    vnet_nic_detach(n->nic);
    n->claimed = true;
    n->nic_id = g_strdup(nic_id);
    n->nic_ops = ops;
    n->nic_opaque = opaque;
    trace_vnet_claim(nc->name, nic_id);
    return true;
}

void vnet_netdev_release(NetClientState *nc)
{
    VnetNetdev *n = DO_UPCAST(VnetNetdev, nc, nc);

    assert(n->claimed);
    trace_vnet_release(nc->name, n->nic_id);
    n->claimed = false;
    g_clear_pointer(&n->nic_id, g_free);
    n->nic_ops = NULL;
    n->nic_opaque = NULL;
    if (nc->peer && nc->peer->info->type == NET_CLIENT_DRIVER_NIC &&
        qemu_get_nic(nc->peer)->peer_deleted) {
        vnet_netdev_stop(n);
    }
}

void vnet_netdev_dispatch_begin(NetClientState *nc)
{
    vnet_loop_expect_end(DO_UPCAST(VnetNetdev, nc, nc)->loop);
}

void vnet_netdev_dispatch_end(NetClientState *nc)
{
    VnetLoop *loop = DO_UPCAST(VnetNetdev, nc, nc)->loop;

    vnet_loop_begin(loop);
    vnet_loop_end(loop);
}
