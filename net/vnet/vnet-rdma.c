/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over RDMA connections: the link as a whole.
 *
 * Theory of operation
 *
 * Each connection (control, frame, one per stream) is an RC queue pair that
 * the connection manager makes.  The preamble is the private data of the
 * request, so that a server knows what a connection is for before it exists.
 *
 * A client makes one attempt after the other to get a control connection, each
 * over all addresses that its peer's name has; how long to wait between them is
 * decided by the peer protocol (vnet-peer.c), through close().  Frame and data
 * connections go to the address at which the control connection was made.
 *
 * A server has a listener for as long as the link lives; if its device goes
 * away, it tries to listen again.  Requests are judged when their device is
 * ready: the first on a device has to wait until the guests' memory is
 * registered with it, in another thread.  At most VNET_RDMA_SETUP_MAX wait so,
 * each for setup-timeout-ms.  A data connection's request can be here before
 * its OPEN; it then waits as "early", unanswered.  Neither costs a QP.
 *
 *   client: WAITING -> RESOLVING -> CONNECTING -> CONNECTED -> WAITING ...
 *   server: LISTENING -> CONNECTED -> LISTENING ...
 *
 * Failures are reported at the end of a dispatch, never from inside a call of
 * the behaviour.
 */
#include <errno.h>
#include <string.h>
#include "vnet-rdma-conn.h"

static void dial_next(VnetRdma *r);

/* The event channel; later calls do nothing. */
static int link_open(VnetRdma *r)
{
    int ret = r->v->open(r->x);

    if (ret == 0 && !r->watched) {
        ret = r->host->watch_events(r->opaque);
        r->watched = ret == 0;
    }
    return ret;
}

static void link_down(VnetRdma *r, const char *what, const char *why)
{
    g_autofree char *text = g_strdup_printf("%s: %s", what, why);

    vnet_link_down(r->l, text);
}

/* --- The client's attempts ----------------------------------------------- */

static void attempt_failed(VnetRdma *r, const char *why)
{
    g_autofree char *what = g_strdup_printf("cannot connect to %s", r->where);
    g_autofree char *copy = g_strdup(why);

    link_down(r, what, copy);
}

static void dial_next(VnetRdma *r)
{
    VnetPreamble p;

    while (r->addr_next < r->naddrs) {
        int err;

        r->addr_next++;
        vnet_link_preamble(r->l, &p);
        r->dial = vnet_rdma_dial(r, &p, &err);
        if (r->dial) {
            return;
        }
        g_free(r->dial_error);
        r->dial_error = vnet_rdma_why(r, "address resolution", -err);
    }
    attempt_failed(r, r->dial_error ? r->dial_error : "it has no address");
}

void vnet_rdma_resolved(VnetRdma *r, const VnetRdmaAddr *addrs, unsigned n,
                        const char *err)
{
    r->looking_up = false;
    r->naddrs = MIN(n, VNET_RDMA_ADDRS);
    r->addr_next = 0;
    g_clear_pointer(&r->dial_error, g_free);
    if (err) {
        attempt_failed(r, err);
        return;
    }
    for (unsigned i = 0; i < r->naddrs; i++) {
        r->addrs[i] = addrs[i];
    }
    r->stage = VNET_RDMA_CONNECTING;
    dial_next(r);
}

static void attempt(VnetRdma *r)
{
    int ret = link_open(r);

    if (ret < 0) {
        g_autofree char *why = vnet_rdma_why(r, "RDMA connection manager",
                                             -ret);

        attempt_failed(r, why);
        return;
    }
    r->stage = VNET_RDMA_RESOLVING;
    r->looking_up = true;
    r->host->lookup(r->opaque);
}

/* --- The server's listener ----------------------------------------------- */

char *vnet_rdma_listen(VnetRdma *r, const VnetRdmaAddr *addr)
{
    const VnetPreamble none = { 0 };
    VnetRdmaConn *c;
    VnetVCm *cm;
    int ret;

    r->listen_addr = *addr;
    ret = link_open(r);
    if (ret == 0) {
        ret = r->v->cm_new(r->x, &cm);
    }
    if (ret < 0) {
        return vnet_rdma_why(r, "RDMA connection manager", -ret);
    }
    c = vnet_rdma_conn_new(r, cm, &none);
    c->state = VNET_RDMA_LISTEN;
    ret = r->v->listen(cm, (const struct sockaddr *)&addr->ss, 1024);
    if (ret < 0) {
        char *why = vnet_rdma_why(r, "cannot listen", -ret);

        vnet_rdma_conn_free(c);
        return why;
    }
    r->listener = c;
    r->stage = r->control ? VNET_RDMA_CONNECTED : VNET_RDMA_LISTENING;
    return NULL;
}

static void relisten(VnetRdma *r)
{
    const VnetRdmaAddr addr = r->listen_addr;
    g_autofree char *why = vnet_rdma_listen(r, &addr);

    if (why) {
        r->retry_at = r->host->now_ns(r->opaque) + VNET_RDMA_RELISTEN_NS;
        if (!strcmp(vnet_link_state(r->l), "down")) {
            vnet_link_down(r->l, why);
        }
    }
}

void vnet_rdma_listener_gone(VnetRdma *r)
{
    vnet_rdma_conn_free(r->listener);
    r->listener = NULL;
    if (r->stage == VNET_RDMA_LISTENING) {
        r->stage = VNET_RDMA_WAITING;
    }
    r->retry_at = r->host->now_ns(r->opaque) + VNET_RDMA_RELISTEN_NS;
    vnet_rdma_arm(r, r->retry_at);
}

/* --- Who is admitted ----------------------------------------------------- */

static void count_bad(VnetRdma *r, VnetWireError e)
{
    r->stats.refused_preamble++;
    vnet_link_count_bad(r->l, e);
}

static void evict_oldest(VnetRdma *r)
{
    for (GList *n = r->timed.head; n; n = n->next) {
        VnetRdmaConn *c = n->data;

        if (c->setup) {
            r->stats.setup_evicted++;
            vnet_rdma_refuse(c, VTOE_REASON_LIMIT, "too many requests");
            return;
        }
    }
}

void vnet_rdma_request(VnetRdma *r, const VnetCmEvent *ev)
{
    VnetPreamble p = { 0 };
    VnetWireError e = ev->private_len < VNET_PREAMBLE_SIZE ?
        VNET_WIRE_BAD_LENGTH :
        vnet_wire_get_preamble(ev->private_data, VNET_PREAMBLE_SIZE, &p);
    VnetRdmaConn *c = vnet_rdma_conn_new(r, ev->cm, &p);
    int ret;

    c->state = VNET_RDMA_ASKED;
    if (e != VNET_WIRE_OK) {
        count_bad(r, e);
        vnet_rdma_refuse(c, VTOE_REASON_PROTOCOL, vnet_wire_error_str(e));
        return;
    }
    if (r->nsetup == VNET_RDMA_SETUP_MAX) {
        evict_oldest(r);
    }
    c->setup = true;
    r->nsetup++;
    vnet_rdma_conn_deadline(c, r->host->now_ns(r->opaque) +
                            r->setup_timeout_ns);
    ret = vnet_rdma_conn_device(c);
    if (ret == -EINPROGRESS) {
        return;
    }
    if (ret < 0) {
        r->stats.device_failed++;
        vnet_rdma_refuse(c, VTOE_REASON_HOST, "its RDMA device cannot be used");
        return;
    }
    vnet_rdma_judge(c);
}

static void accept_owned(VnetRdmaConn *c)
{
    int ret = vnet_rdma_conn_accept(c);

    if (ret < 0) {
        vnet_rdma_conn_fail(c, -ret, "accepting: %s", g_strerror(-ret));
    }
}

static void judge_control(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    /* May close the connection that is there, if the new one replaces it. */
    if (!vnet_link_up(r->l, &c->preamble)) {
        uint8_t buf[VNET_MSG_MAX];
        size_t used, len = vnet_link_refusal(r->l, buf);
        VnetMsg bye;

        if (vnet_wire_get_msg(buf, len, &bye, &used) != VNET_WIRE_OK) {
            g_assert_not_reached();
        }
        vnet_rdma_refuse(c, bye.u.bye.reason, bye.u.bye.text);
        return;
    }
    r->control = c;
    r->stage = VNET_RDMA_CONNECTED;
    accept_owned(c);
}

static void judge_data(VnetRdmaConn *c, VnetStream *s)
{
    VnetRdma *r = c->r;
    VnetCid *cid = s ? g_hash_table_lookup(r->cids, GUINT_TO_POINTER(
                                           c->preamble.stream_id)) : NULL;

    if (cid) {
        if (!vnet_rdma_cid_attach(cid, c)) {
            vnet_link_stats(r->l)->refused_stream++;
            vnet_rdma_refuse(c, VTOE_REASON_PROTOCOL,
                             "the stream has a connection");
        }
        return;
    }
    if (r->nearly == VNET_PENDING_MAX) {
        r->stats.early_full++;
        vnet_rdma_refuse(c, VTOE_REASON_LIMIT, "too many before their OPEN");
        return;
    }
    c->early = true;
    r->nearly++;
    vnet_rdma_conn_deadline(c, r->host->now_ns(r->opaque) + VNET_PENDING_NS);
}

void vnet_rdma_judge(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;
    uint64_t serial = c->serial;
    VnetStream *s;

    r->nsetup -= c->setup;
    c->setup = false;
    /*
     * What the peer said before it made this connection is probably here, too:
     * its hello, the OPEN, or the end of an earlier control connection.
     */
    vnet_rdma_drain(r);
    if (vnet_rdma_conn_find(r, serial) != c ||
        c->state != VNET_RDMA_ASKED) {
        return;
    }
    if (c->preamble.kind == VNET_CONN_CONTROL) {
        judge_control(c);
    } else if (!vnet_link_admits(r->l, &c->preamble, &s)) {
        vnet_rdma_refuse(c, VTOE_REASON_POLICY, "it belongs to no link");
    } else if (c->preamble.kind == VNET_CONN_DATA) {
        judge_data(c, s);
    } else if (r->frame) {
        vnet_rdma_refuse(c, VTOE_REASON_PROTOCOL, "a second frame connection");
    } else {
        r->frame = c;
        accept_owned(c);
    }
}

/* --- A connection's owner ------------------------------------------------ */

void vnet_rdma_owner_up(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    if (c == r->dial) {
        r->dial = NULL;
        r->control = c;
        r->stage = VNET_RDMA_CONNECTED;
        if (!vnet_link_up(r->l, NULL)) {
            vnet_link_down(r->l, "refused by this end");
        }
    } else if (c == r->control) {
        /* A server's hello waits to be sent. */
        r->host->at_end(r->opaque);
    } else if (c == r->frame) {
        r->frames_ready = true;
        r->host->at_end(r->opaque);
    } else if (c->cid) {
        vnet_rdma_cid_up(c->cid);
    }
}

void vnet_rdma_owner_failed(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    if (c == r->dial) {
        r->dial = NULL;
        g_free(r->dial_error);
        r->dial_error = g_steal_pointer(&c->why);
        vnet_rdma_conn_close(c);
        dial_next(r);
    } else if (c == r->control) {
        link_down(r, "control connection", c->why);
    } else if (c == r->frame) {
        link_down(r, "frame connection", c->why);
    } else if (c->cid) {
        vnet_rdma_cid_failed(c->cid, c->error);
    } else {
        vnet_rdma_conn_close(c);
    }
}

/* --- What the behaviour asks for ----------------------------------------- */

static void close_early(VnetRdma *r)
{
    GList *n, *next;

    for (n = r->nearly ? r->timed.head : NULL; n; n = next) {
        VnetRdmaConn *c = n->data;

        next = n->next;
        if (c->early) {
            vnet_rdma_refuse(c, VTOE_REASON_LINK_LOST, "the link was closed");
        }
    }
}

static void close_attempt(VnetRdma *r)
{
    VnetRdmaConn *c = r->dial;

    r->dial = NULL;
    if (c) {
        vnet_rdma_conn_close(c);
    }
    if (r->looking_up) {
        r->looking_up = false;
        r->host->lookup_cancel(r->opaque);
    }
}

static void op_close(void *transport, int64_t retry_after_ns)
{
    VnetRdma *r = transport;
    VnetRdmaConn *control, *frame;

    vnet_rdma_control_flush(r);
    control = r->control;
    frame = r->frame;
    r->control = r->frame = NULL;
    r->frames_ready = false;
    g_byte_array_set_size(r->out, 0);
    if (control) {
        vnet_rdma_conn_close_flushed(control);
    }
    if (frame) {
        vnet_rdma_conn_close(frame);
    }
    close_early(r);
    close_attempt(r);
    if (r->server) {
        r->stage = r->listener ? VNET_RDMA_LISTENING : VNET_RDMA_WAITING;
        return;                 /* there is no pause between two peers */
    }
    r->stage = VNET_RDMA_WAITING;
    r->retry_at = INT64_MAX;
    if (retry_after_ns != INT64_MAX) {
        r->retry_at = r->host->now_ns(r->opaque) + retry_after_ns;
        vnet_rdma_arm(r, r->retry_at);
    }
}

static bool op_control(void *transport, const void *buf, size_t len)
{
    return vnet_rdma_control_put(transport, buf, len);
}

static void op_open_frames(void *transport, const VnetPreamble *p)
{
    VnetRdma *r = transport;
    int err;

    r->frame = vnet_rdma_dial(r, p, &err);
    if (!r->frame) {
        /* The control connection is there to be failed in its place. */
        vnet_rdma_conn_fail(r->control, -err, "no frame connection: %s",
                            g_strerror(-err));
    }
}

static VnetFrameResult op_frame(void *transport, const VnetWireFrame *f,
                                const struct iovec *iov, unsigned niov)
{
    return vnet_rdma_frame_send(transport, f, iov, niov);
}

static const VnetTransportOps vnet_rdma_ops = {
    .type = "rdma",
    .max_msg = VNET_RDMA_DATA_MSG,
    .max_posted = VNET_RDMA_DATA_RX,
    .close = op_close,
    .control = op_control,
    .open_frames = op_open_frames,
    .frame = op_frame,
    .cid_open = vnet_rdma_cid_open,
    .cid_tx = vnet_rdma_cid_tx,
    .cid_rx = vnet_rdma_cid_rx,
    .cid_tx_end = vnet_rdma_cid_tx_end,
    .cid_stop = vnet_rdma_cid_stop,
    .cid_settle = vnet_rdma_cid_settle,
    .cid_close = vnet_rdma_cid_close,
};

/* --- What the shell tells ------------------------------------------------ */

void vnet_rdma_cm_ready(VnetRdma *r)
{
    VnetCmEvent ev;

    r->cm_more = false;
    for (int n = 0; n < VNET_RDMA_CM_TURN; n++) {
        if (r->v->next_event(r->x, &ev) < 0) {
            return;
        }
        vnet_rdma_cm_event(r, &ev);
    }
    r->cm_more = true;
    r->host->again(r->opaque);
}

void vnet_rdma_cq_seen(VnetRdma *r, VnetVDev *dev)
{
    for (guint i = 0; i < r->devs->len; i++) {
        VnetRdmaDev *d = r->devs->pdata[i];

        if (d->v == dev) {
            vnet_rdma_cq_turn(d);
            return;
        }
    }
}

void vnet_rdma_cq_ready(VnetRdma *r, VnetVDev *dev)
{
    r->v->ack_events(dev);
    vnet_rdma_cq_seen(r, dev);
}

void vnet_rdma_polling(VnetRdma *r, bool on)
{
    if (r->polling == on) {
        return;
    }
    r->polling = on;
    for (guint i = 0; !on && i < r->devs->len; i++) {
        vnet_rdma_cq_arm(r->devs->pdata[i]);
    }
}

void vnet_rdma_again(VnetRdma *r)
{
    if (r->cm_more) {
        vnet_rdma_cm_ready(r);
    }
    for (guint i = 0; i < r->devs->len; i++) {
        VnetRdmaDev *d = r->devs->pdata[i];

        if (d->more) {
            vnet_rdma_cq_turn(d);
        }
        vnet_rdma_async_again(d);
    }
    if (r->to_dial.head) {
        r->host->at_end(r->opaque);
    }
}

void vnet_rdma_tick(VnetRdma *r)
{
    int64_t now = r->host->now_ns(r->opaque), when;

    r->armed = INT64_MAX;
    when = vnet_rdma_conns_expire(r, now);
    if (r->retry_at <= now) {
        r->retry_at = INT64_MAX;
        if (r->server) {
            relisten(r);
        } else {
            attempt(r);
        }
    }
    when = MIN(when, r->retry_at);
    if (when != INT64_MAX) {
        vnet_rdma_arm(r, when);
    }
}

void vnet_rdma_at_end(VnetRdma *r)
{
    /* The OPEN of a stream goes before its connection. */
    vnet_rdma_control_flush(r);
    while (r->failing.head) {
        vnet_rdma_owner_failed(r->failing.head->data);
    }
    if (!vnet_rdma_cids_dial(r)) {
        r->host->again(r->opaque);
    }
    vnet_rdma_frame_flush(r);
    if (r->devs->len) {
        vnet_rdma_devs_sweep(r, false);
    }
}

/* --- Life ---------------------------------------------------------------- */

VnetRdma *vnet_rdma_new(VnetCore *core, const VnetRdmaConfig *cfg,
                        const VnetVerbs *verbs, VnetVCtx *x,
                        const VnetRdmaHost *host, void *opaque)
{
    VnetRdma *r = g_new0(VnetRdma, 1);

    r->id = g_strdup(cfg->id);
    r->where = g_strdup(cfg->where);
    r->server = cfg->server;
    r->setup_timeout_ms = cfg->setup_timeout_ms;
    r->setup_timeout_ns = cfg->setup_timeout_ms * VNET_RDMA_MS;
    r->max_qps = cfg->max_qps;
    r->v = verbs;
    r->x = x;
    r->host = host;
    r->opaque = opaque;
    r->out = g_byte_array_new();
    r->by_serial = g_hash_table_new(NULL, NULL);
    r->by_cm = g_hash_table_new(NULL, NULL);
    r->cids = g_hash_table_new(NULL, NULL);
    r->devs = g_ptr_array_new();
    g_queue_init(&r->to_dial);
    g_queue_init(&r->timed);
    g_queue_init(&r->failing);
    r->retry_at = r->armed = INT64_MAX;
    r->l = vnet_link_new(core, r->id, r->server, &vnet_rdma_ops, r);
    vnet_link_set_reconnect(r->l, cfg->reconnect_ms);
    if (!r->server) {
        /* Not from in here: the caller does not know the link yet. */
        r->retry_at = host->now_ns(opaque);
        vnet_rdma_arm(r, r->retry_at);
    }
    return r;
}

void vnet_rdma_free(VnetRdma *r)
{
    GList *all, *n;

    r->freeing = true;
    /* Closes what is open, by close() and cid_close() ... */
    vnet_link_free(r->l);
    /* ... but does not know of an attempt that is still being made. */
    op_close(r, INT64_MAX);
    g_assert(g_hash_table_size(r->cids) == 0);
    all = g_hash_table_get_values(r->by_serial);
    for (n = all; n; n = n->next) {
        vnet_rdma_conn_free(n->data);
    }
    g_list_free(all);
    vnet_rdma_devs_sweep(r, true);
    g_assert(!r->devs->len && !r->timed.head && !r->failing.head);
    g_ptr_array_free(r->devs, TRUE);
    g_hash_table_destroy(r->by_serial);
    g_hash_table_destroy(r->by_cm);
    g_hash_table_destroy(r->cids);
    g_byte_array_free(r->out, TRUE);
    g_free(r->dial_error);
    g_free(r->where);
    g_free(r->id);
    g_free(r);
}

VnetLink *vnet_rdma_link(VnetRdma *r)
{
    return r->l;
}

void vnet_rdma_query(VnetRdma *r, VnetRdmaInfo *info)
{
    *info = (VnetRdmaInfo) {
        .stage = r->stage,
        .server = r->server,
        .connections = g_hash_table_size(r->by_serial) - r->nlinger -
                       (r->listener != NULL),
        .lingering = r->nlinger,
        .qps = r->nqps,
        .stats = &r->stats,
    };
    if (r->control) {
        r->v->addresses(r->control->cm, &info->local, &info->peer);
    }
    if (r->listener) {
        r->v->addresses(r->listener->cm, &info->local, NULL);
    }
}
