/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network backend "vnet": the netdev shell of the overlay.
 *
 * Theory of operation
 *
 * The overlay lives in the VNET thread, an IOThread of its own or one given by
 * iothread=, with what other netdevs that join it have there: vnet-overlay.c.
 * The main loop makes and ends it, and asks it for what the
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
 * claimed the netdev releases it at once, and its part of the overlay ends there.
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
/* That resume: what is said of each when the link is back has to fit into what a link
 * queues for its peer (VNET_SOCK_CONTROL_MAX), and leave room. */
#define VNET_MAX_RESUMED        16384
#define VNET_DEFAULT_MACS       4096

static QTAILQ_HEAD(, VnetNetdev) vnet_netdevs =
    QTAILQ_HEAD_INITIALIZER(vnet_netdevs);

bool vnet_netdev_is_ending(const VnetNetdev *n)
{
    const NetClientState *peer = n->nc.peer;

    return peer && peer->info->type == NET_CLIENT_DRIVER_NIC &&
           qemu_get_nic(n->nc.peer)->peer_deleted;
}

VnetNetdev *vnet_netdev_next(VnetNetdev *after)
{
    return after ? QTAILQ_NEXT(after, next) : QTAILQ_FIRST(&vnet_netdevs);
}

VnetNetdev *vnet_netdev_find(const char *id, Error **errp)
{
    VnetNetdev *n = NULL;

    while ((n = vnet_netdev_next(n))) {
        if (g_str_equal(id, n->nc.name) && !vnet_netdev_is_ending(n)) {
            return n;
        }
    }
    error_setg(errp, "there is no vnet netdev \"%s\"", id);
    return NULL;
}

VnetNetdev *vnet_netdev_find_owner(const char *id, Error **errp)
{
    VnetNetdev *n = vnet_netdev_find(id, errp);

    if (n && n->ov->owner != n) {
        error_setg(errp, "netdev %s has no links: it has joined the overlay of "
                   "netdev %s, which has them", id, n->ov->id);
        return NULL;
    }
    return n;
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
        for (f = list; f != e; f = f->next) {
            if (!vnet_link_check_place(e->value, f->value, NULL, errp)) {
                return false;
            }
        }
        if (!vnet_link_check_places(e->value, NULL, errp)) {
            return false;
        }
    }
    return true;
}

/* Those that are of every netdev. */
static bool vnet_check_net(const NetdevVnetOptions *o, VnetNetConfig *cfg,
                           Error **errp)
{
    *cfg = (VnetNetConfig) {
        .vni = o->has_vni ? o->vni : 0,
        .flood_limit = o->has_flood_limit ? o->flood_limit : 0,
        .port_lock = o->has_port_lock && o->port_lock,
    };
    return vnet_check_range("vni", cfg->vni, 0, VNET_VNI_MAX, errp) &&
           vnet_check_range("flood-limit", cfg->flood_limit, 0, 10000000,
                            errp) &&
           vnet_rate_check(o->tx_rate, "tx-rate", &cfg->rates[VNET_TX],
                           errp) &&
           vnet_rate_check(o->rx_rate, "rx-rate", &cfg->rates[VNET_RX], errp);
}

/* Those of one that has an overlay of its own. */
static bool vnet_check_options(const NetdevVnetOptions *o, const char *id,
                               VnetCoreConfig *cfg, IOThread **iothread,
                               Error **errp)
{
    *cfg = (VnetCoreConfig) {
        .name = o->name ?: id,
        .max_streams = o->has_max_streams ? o->max_streams :
                       VNET_DEFAULT_STREAMS,
        .heartbeat_ms = o->has_heartbeat_ms ? o->heartbeat_ms : 1000,
        .max_macs = o->has_max_macs ? o->max_macs : VNET_DEFAULT_MACS,
        .mac_age_s = o->has_mac_age ? o->mac_age : 300,
        .resume_ms = o->has_resume_ms ? o->resume_ms : 0,
    };
    if (!vnet_check_name(cfg->name, o->name, errp) ||
        !vnet_check_range("max-streams", cfg->max_streams, 1, VNET_MAX_TABLE,
                          errp) ||
        (cfg->resume_ms &&
         !vnet_check_range("max-streams with resume-ms", cfg->max_streams, 1,
                           VNET_MAX_RESUMED, errp)) ||
        !vnet_check_range("heartbeat-ms", cfg->heartbeat_ms, 10, 60000,
                          errp) ||
        !vnet_check_range("max-macs", cfg->max_macs, 1, VNET_MAX_TABLE,
                          errp) ||
        !vnet_check_range("mac-age", cfg->mac_age_s, 1, 86400, errp) ||
        !vnet_check_range("resume-ms", cfg->resume_ms, 0, 3600000, errp) ||
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
    VnetOverlay *ov = opaque;
    VnetNetdev *n = ov->owner;

    trace_vnet_link(n->nc.name, vnet_link_id(l), state, msg);
    vnet_events_link(n->events, l, state, msg);
}

static void vnet_loop_stream_event_cb(void *opaque, VnetStream *s,
                                      const char *state,
                                      enum vtoe_reason reason)
{
    VnetNetdev *n = vnet_net_user(vnet_stream_net(s));

    if (trace_event_get_state_backends(TRACE_VNET_STREAM)) {
        VnetStreamInfo info;

        vnet_stream_get_info(s, &info);
        trace_vnet_stream(n->nc.name, info.link_id, info.cid, state, reason);
    }
    vnet_events_stream(n->events, s, state, reason);
}

static bool vnet_loop_limit_event_cb(void *opaque, VnetNet *net,
                                     VnetCoreLimit limit, const VnetPort *port,
                                     const VnetLink *l, uint64_t suppressed)
{
    VnetNetdev *n = vnet_net_user(net);

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
    const VnetCoreConfig *cfg;  /* of one that joins another: .net only */
    const VnetLinkOptionsList *links;
    const GArray *routes;       /* NULL: none */
    int *fds;                   /* listening sockets, -1: none or given away */
    Error *err;
} VnetStart;

static void vnet_stop_in_thread(VnetNetdev *n, void *arg)
{
    VnetLoop *loop = n->ov->loop;

    if (!n->net) {
        return;                 /* it was never started */
    }
    if (n->ov->owner == n) {
        vnet_anylink_remove_all(n);
        vnet_core_cut_off(vnet_loop_core(loop));
    } else {
        vnet_net_free(n->net);
    }
    n->net = NULL;
    /* What was put off is done now; then nothing of it is left. */
    vnet_loop_begin(loop);
    vnet_loop_end(loop);
}

static void vnet_start_in_thread(VnetNetdev *n, void *arg)
{
    VnetStart *st = arg;
    VnetOverlay *ov = n->ov;
    const VnetLinkOptionsList *e;
    unsigned i = 0;

    if (ov->owner == n) {
        ov->loop = vnet_loop_new(ov->ctx, st->cfg, &vnet_netdev_loop_ops, ov,
                                 &st->err);
        if (!ov->loop) {
            return;
        }
        n->net = vnet_core_net(vnet_loop_core(ov->loop));
    } else {
        vnet_loop_begin(ov->loop);
        n->net = vnet_net_new(vnet_loop_core(ov->loop), &st->cfg->net);
        vnet_loop_end(ov->loop);
        assert(n->net);         /* vnet_overlay_may_join() has looked */
    }
    for (e = st->links; e; e = e->next, i++) {
        VnetLinkDef *def = vnet_link_options_def(e->value);
        VnetAnyLink *k = vnet_anylink_new(n, e->value, def, st->fds[i],
                                          &st->err);

        vnet_link_def_unref(def);
        if (!k) {
            return;
        }
        st->fds[i] = -1;
        g_ptr_array_add(n->links, k);
    }
    if (st->routes) {
        VnetLangError err;
        bool ok = vnet_net_change_routes(n->net, st->routes, false, false, NULL,
                                         NULL, &err);

        assert(ok);             /* vnet_routes_load() has tried */
    }
}

/* Ends its part of the overlay; the NetClientState lives on.  Does nothing
 * twice. */
static void vnet_netdev_stop(VnetNetdev *n)
{
    VnetCaptureFile *capture = NULL;

    if (!n->ov) {
        return;
    }
    trace_vnet_stop(n->nc.name);
    if (n->nic) {
        vnet_nic_detach(n->nic);
    }
    vnet_netdev_call(n, vnet_capture_end_in_thread, &capture);
    vnet_netdev_call(n, vnet_stop_in_thread, NULL);
    vnet_capture_free(capture);
    QTAILQ_REMOVE(&vnet_netdevs, n, next);
    g_clear_pointer(&n->nic, vnet_nic_free);
    vnet_overlay_leave(n);
    g_clear_pointer(&n->events, vnet_events_free);
}

static void vnet_netdev_cleanup(NetClientState *nc)
{
    VnetNetdev *n = DO_UPCAST(VnetNetdev, nc, nc);

    assert(!n->claimed);
    vnet_netdev_stop(n);
    g_clear_pointer(&n->links, g_ptr_array_unref);
    g_clear_pointer(&n->name, g_free);
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
    VnetNetdev *n, *owner = NULL;
    unsigned nlinks = 0, i = 0;
    uint32_t mtu;

    if (o->overlay) {
        if (vnet_overlay_may_join(o, &owner, errp)) {
            vnet_check_net(o, &cfg.net, errp);
        }
    } else if (vnet_check_options(o, name, &cfg, &iothread, errp) &&
               vnet_check_net(o, &cfg.net, errp)) {
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
    mtu = owner ? owner->mtu : UINT16_MAX;
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
    n->name = g_strdup(owner ? owner->name : cfg.name);
    n->vni = cfg.net.vni;
    n->mtu = mtu;
    n->resume_ms = owner ? 0 : cfg.resume_ms;
    n->links = g_ptr_array_new_with_free_func(vnet_netdev_free_link);
    QTAILQ_INSERT_TAIL(&vnet_netdevs, n, next);
    n->events = vnet_events_new(n);
    cfg.net.user = n;
    st.fds = fds;
    if (owner) {
        qemu_set_info_str(nc, "vni=%u,overlay=%s", n->vni, o->overlay);
        vnet_overlay_join(n, owner);
    } else {
        qemu_set_info_str(nc, "vni=%u,links=0/%u", n->vni, nlinks);
        vnet_overlay_new(n, iothread, o->has_poll_max_ns ? o->poll_max_ns : 0,
                         errp);
    }
    if (n->ov) {
        vnet_netdev_call(n, vnet_start_in_thread, &st);
        error_propagate(errp, st.err);
    }
    if (*errp) {
        error_prepend(errp, "netdev %s: ", name);
        vnet_close_listeners(fds, nlinks);
        if (!n->ov) {
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
    return DO_UPCAST(VnetNetdev, nc, nc)->ov->ctx;
}

uint32_t vnet_netdev_mtu(const NetClientState *nc)
{
    return container_of(nc, VnetNetdev, nc)->mtu;
}

VnetNet *vnet_netdev_get_net(NetClientState *nc)
{
    return DO_UPCAST(VnetNetdev, nc, nc)->net;
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
    vnet_loop_expect_end(DO_UPCAST(VnetNetdev, nc, nc)->ov->loop);
}

void vnet_netdev_dispatch_end(NetClientState *nc)
{
    VnetLoop *loop = DO_UPCAST(VnetNetdev, nc, nc)->ov->loop;

    vnet_loop_begin(loop);
    vnet_loop_end(loop);
}
