/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections of the rdma transport: how each is made and ended, the devices
 * they go through, and what completes on them.
 *
 *   active   ADDR -> ROUTE -> [DEVICE ->] CONNECT -> UP
 *   passive  ASKED -> ACCEPT -> UP
 *   any, made or not -> FAILED -> closed by its owner
 *   closed   [FLUSH ->] LINGER -> freed
 *
 * Closing does two things of different duration.  The QP is destroyed at once:
 * when vnet_rdma_conn_close() returns, the adapter will not touch the memory of
 * what was posted, so that buffers lent by a guest can go back.  The farewell
 * of the connection manager (DREQ, DREP) takes a round trip and may get lost;
 * for it the cm lives on without a QP until DISCONNECTED or TIMEWAIT_EXIT, or
 * for VNET_RDMA_LINGER_NS.
 *
 * Work requests carry the connection's serial number, which is never used
 * again, and not its address: completions of a QP that is gone may still be in
 * the queue, depending on the device.
 */
#include <errno.h>
#include <string.h>
#include "vnet-rdma-conn.h"

/* Turns of a drain: a device that makes completions faster than they are taken
 * must not hold the thread. */
#define DRAIN_TURNS     64
#define POLL_BATCH      32
/* Without a completion; as long as a device may take. */
#define SETTLE_POLLS    1000000
/* For a farewell to go out when the link is removed; less than 1 ms. */
#define FREEING_POLLS   2000

static int dev_poll(VnetRdmaDev *d);

/* --- Making and freeing -------------------------------------------------- */

VnetRdmaConn *vnet_rdma_conn_new(VnetRdma *r, VnetVCm *cm,
                                 const VnetPreamble *p)
{
    VnetRdmaConn *c = g_new0(VnetRdmaConn, 1);

    c->r = r;
    c->cm = cm;
    c->preamble = *p;
    c->serial = ++r->next_serial;
    c->deadline = INT64_MAX;
    c->node.data = c->fail_node.data = c;
    g_hash_table_insert(r->by_serial, GSIZE_TO_POINTER(c->serial), c);
    g_hash_table_insert(r->by_cm, cm, c);
    return c;
}

VnetRdmaConn *vnet_rdma_conn_find(VnetRdma *r, uint64_t serial)
{
    return g_hash_table_lookup(r->by_serial, GSIZE_TO_POINTER(serial));
}

void vnet_rdma_arm(VnetRdma *r, int64_t when)
{
    if (when < r->armed) {
        r->armed = when;
        r->host->arm_timer(r->opaque, when);
    }
}

void vnet_rdma_conn_deadline(VnetRdmaConn *c, int64_t when)
{
    VnetRdma *r = c->r;

    if (c->deadline != INT64_MAX) {
        g_queue_unlink(&r->timed, &c->node);
    }
    c->deadline = when;
    if (when != INT64_MAX) {
        g_queue_push_tail_link(&r->timed, &c->node);
        vnet_rdma_arm(r, when);
    }
}

static void conn_drop_qp(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    if (c->qp) {
        r->v->destroy_qp(c->qp);
        c->qp = NULL;
        r->nqps--;
    }
    if (c->chan) {
        vnet_rdma_chan_free(c->chan);
        c->chan = NULL;
    }
}

/* It waits neither for a device nor for its OPEN any more. */
static void conn_settle(VnetRdmaConn *c)
{
    c->r->nsetup -= c->setup;
    c->r->nearly -= c->early;
    c->setup = c->early = false;
}

static void conn_unlist(VnetRdmaConn *c)
{
    conn_settle(c);
    vnet_rdma_conn_deadline(c, INT64_MAX);
    if (c->state == VNET_RDMA_FAILED) {
        g_queue_unlink(&c->r->failing, &c->fail_node);
    } else if (c->state == VNET_RDMA_LINGER) {
        c->r->nlinger--;
    }
}

void vnet_rdma_conn_free(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    conn_unlist(c);
    conn_drop_qp(c);
    g_hash_table_remove(r->by_cm, c->cm);
    r->v->cm_free(c->cm);
    if (c->dev) {
        c->dev->conns--;
        if (c->dev->gone) {
            r->host->at_end(r->opaque);
        }
    }
    g_hash_table_remove(r->by_serial, GSIZE_TO_POINTER(c->serial));
    g_free(c->why);
    g_free(c);
}

void vnet_rdma_conn_close(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;
    bool farewell = c->linked && !c->cm_over;

    c->cid = NULL;
    if (farewell && r->v->disconnect(c->cm) < 0) {
        farewell = false;
    }
    if (farewell && !r->freeing && r->nlinger >= VNET_RDMA_LINGER_MAX) {
        r->stats.linger_full++;
        farewell = false;
    }
    if (!farewell || r->freeing) {
        vnet_rdma_conn_free(c);
        return;
    }
    conn_unlist(c);
    conn_drop_qp(c);
    c->state = VNET_RDMA_LINGER;
    r->nlinger++;
    vnet_rdma_conn_deadline(c, r->host->now_ns(r->opaque) +
                            VNET_RDMA_LINGER_NS);
}

void vnet_rdma_conn_close_flushed(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    if (c->state != VNET_RDMA_UP || vnet_rdma_chan_idle(c->chan)) {
        vnet_rdma_conn_close(c);
        return;
    }
    c->state = VNET_RDMA_FLUSH;
    if (r->freeing) {
        /* Nobody will be there later: a moment, which is mostly enough. */
        uint64_t serial = c->serial;

        for (int i = 0; i < FREEING_POLLS; i++) {
            dev_poll(c->dev);
            if (vnet_rdma_conn_find(r, serial) != c) {
                return;
            }
        }
        vnet_rdma_conn_close(c);
        return;
    }
    vnet_rdma_conn_deadline(c, r->host->now_ns(r->opaque) +
                            VNET_RDMA_FLUSH_NS);
}

void vnet_rdma_conn_fail(VnetRdmaConn *c, int err, const char *fmt, ...)
{
    VnetRdma *r = c->r;
    va_list ap;

    if (c->state >= VNET_RDMA_FAILED) {
        return;
    }
    if (!c->linked && c->state < VNET_RDMA_ASKED) {
        r->stats.dial_failed++;
    }
    conn_settle(c);
    vnet_rdma_conn_deadline(c, INT64_MAX);
    c->state = VNET_RDMA_FAILED;
    c->error = err;
    va_start(ap, fmt);
    c->why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (r->host->trace) {
        r->host->trace(r->opaque, c->serial, c->preamble.stream_id, "failed",
                       c->why, err);
    }
    g_queue_push_tail_link(&r->failing, &c->fail_node);
    r->host->at_end(r->opaque);
}

/* --- Devices ------------------------------------------------------------- */

void vnet_rdma_dev_gone(VnetRdmaDev *d)
{
    d->gone = true;
    d->r->host->at_end(d->r->opaque);
}

void vnet_rdma_devs_sweep(VnetRdma *r, bool all)
{
    for (guint i = r->devs->len; i-- > 0;) {
        VnetRdmaDev *d = r->devs->pdata[i];

        if (!d->conns && (d->gone || all)) {
            r->host->unwatch(r->opaque, d->v);
            r->v->put_device(d->v);
            g_ptr_array_remove_index_fast(r->devs, i);
            g_array_free(d->taken, TRUE);
            g_free(d);
        }
    }
}

static int dev_start(VnetRdma *r, VnetVDev *v, VnetRdmaDev **out)
{
    VnetRdmaDev *d;
    int ret = r->host->watch(r->opaque, v);

    if (ret < 0) {
        return ret;
    }
    ret = r->v->req_notify(v);
    if (ret < 0) {
        r->host->unwatch(r->opaque, v);
        return ret;
    }
    d = g_new0(VnetRdmaDev, 1);
    d->r = r;
    d->v = v;
    d->taken = g_array_new(FALSE, FALSE, sizeof(VnetWc));
    g_ptr_array_add(r->devs, d);
    *out = d;
    return 0;
}

int vnet_rdma_conn_device(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;
    VnetRdmaDev *d = NULL;
    VnetVDev *v;
    int ret = r->v->get_device(c->cm, &v);

    if (ret < 0) {
        return ret;
    }
    for (guint i = 0; i < r->devs->len && !d; i++) {
        VnetRdmaDev *e = r->devs->pdata[i];

        d = e->v == v ? e : NULL;
    }
    if (d) {
        /* One reference for all connections is enough. */
        r->v->put_device(v);
        ret = d->gone ? -ENODEV : 0;
    } else {
        ret = dev_start(r, v, &d);
        if (ret < 0) {
            r->v->put_device(v);
        }
    }
    if (ret == 0) {
        c->dev = d;
        d->conns++;
    }
    return ret;
}

/* Nothing can be learnt of its connections any more. */
void vnet_rdma_dev_fail(VnetRdmaDev *d, int err, const char *what)
{
    GHashTableIter it;
    gpointer c;

    vnet_rdma_dev_gone(d);
    d->r->stats.device_failed++;
    g_hash_table_iter_init(&it, d->r->by_serial);
    while (g_hash_table_iter_next(&it, NULL, &c)) {
        if (((VnetRdmaConn *)c)->dev == d) {
            vnet_rdma_conn_fail(c, err, "%s: %s", what, g_strerror(err));
        }
    }
}

/* --- Connecting ---------------------------------------------------------- */

static int conn_make_qp(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;
    const VnetVLimits *lim = r->v->limits(c->dev->v);
    VnetVQpAttr attr = { .inline_data = VNET_RDMA_INLINE };
    int ret;

    switch (c->preamble.kind) {
    case VNET_CONN_CONTROL:
        attr.send_wr = attr.recv_wr = VNET_RDMA_CONTROL_N;
        attr.send_sge = 1;
        break;
    case VNET_CONN_FRAME:
        attr.send_wr = attr.recv_wr = VNET_RDMA_FRAME_N;
        attr.send_sge = 1;
        break;
    default:
        attr.send_wr = VNET_RDMA_DATA_TX;
        attr.recv_wr = VNET_RDMA_DATA_RX;
        attr.send_sge = MIN(VNET_RDMA_DATA_SGE, lim->max_sge);
        break;
    }
    if (attr.recv_wr > lim->max_wr || attr.send_wr > lim->max_wr) {
        return -ENOTSUP;
    }
    if (c->preamble.kind != VNET_CONN_DATA) {
        ret = vnet_rdma_chan_new(c);
        if (ret < 0) {
            return ret;
        }
    }
    ret = r->v->create_qp(c->cm, c->dev->v, &attr, &c->qp);
    if (ret < 0) {
        return ret;
    }
    r->nqps++;
    c->inline_max = attr.inline_data;
    return c->chan ? vnet_rdma_chan_start(c->chan) : 0;
}

int vnet_rdma_conn_connect(VnetRdmaConn *c)
{
    uint8_t data[VNET_PREAMBLE_SIZE];
    int ret = conn_make_qp(c);

    if (ret < 0) {
        return ret;
    }
    c->state = VNET_RDMA_CONNECT;
    vnet_wire_put_preamble(data, &c->preamble);
    return c->r->v->connect(c->cm, data, sizeof(data));
}

int vnet_rdma_conn_accept(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;
    int ret = conn_make_qp(c);

    if (ret < 0) {
        return ret;
    }
    ret = r->v->accept(c->cm);
    if (ret < 0) {
        return ret;
    }
    conn_settle(c);
    c->state = VNET_RDMA_ACCEPT;
    c->linked = true;
    vnet_rdma_conn_deadline(c, r->host->now_ns(r->opaque) +
                            r->setup_timeout_ns);
    return 0;
}

VnetRdmaConn *vnet_rdma_dial(VnetRdma *r, const VnetPreamble *p, int *err)
{
    const VnetRdmaAddr *a = &r->addrs[r->addr_next - 1];
    VnetRdmaConn *c;
    VnetVCm *cm;
    int ret = r->v->cm_new(r->x, &cm);

    if (ret == 0) {
        c = vnet_rdma_conn_new(r, cm, p);
        c->state = VNET_RDMA_ADDR;
        vnet_rdma_conn_deadline(c, r->host->now_ns(r->opaque) +
                                r->setup_timeout_ns);
        ret = r->v->resolve_addr(cm, (const struct sockaddr *)&a->ss,
                                 VNET_RDMA_RESOLVE_MS);
        if (ret == 0) {
            return c;
        }
        vnet_rdma_conn_free(c);
    }
    r->stats.dial_failed++;
    *err = ret;
    return NULL;
}

void vnet_rdma_conn_up(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    if (c->state == VNET_RDMA_ACCEPT) {
        r->stats.accepted++;
    } else {
        r->stats.dialed++;
    }
    c->state = VNET_RDMA_UP;
    c->linked = true;
    vnet_rdma_conn_deadline(c, INT64_MAX);
    vnet_rdma_owner_up(c);
}

/* --- Time ---------------------------------------------------------------- */

static void conn_expired(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;

    switch (c->state) {
    case VNET_RDMA_LINGER:
        r->stats.disconnects_lost++;
        vnet_rdma_conn_free(c);
        break;
    case VNET_RDMA_FLUSH:
        vnet_rdma_conn_close(c);
        break;
    case VNET_RDMA_ASKED:
        if (c->early) {
            r->stats.early_timeout++;
        } else {
            r->stats.setup_timeout++;
        }
        vnet_rdma_refuse(c, VTOE_REASON_TIMEOUT, "not needed in time");
        break;
    default:
        r->stats.setup_timeout++;
        vnet_rdma_conn_fail(c, ETIMEDOUT, "no connection within %u ms (%s)",
                            r->setup_timeout_ms,
                            vnet_rdma_state_name(c->state));
        break;
    }
}

int64_t vnet_rdma_conns_expire(VnetRdma *r, int64_t now)
{
    int64_t when = INT64_MAX;
    GList *n, *next;

    for (n = r->timed.head; n; n = next) {
        VnetRdmaConn *c = n->data;

        next = n->next;
        if (c->deadline <= now) {
            conn_expired(c);
        } else {
            when = MIN(when, c->deadline);
        }
    }
    return when;
}

/* --- Completions --------------------------------------------------------- */

static const struct {
    int err;
    const char *text;
} wc_errors[VNET_WC_STATUSES] = {
    [VNET_WC_LOC_LEN_ERR] = { EMSGSIZE, "local length error" },
    [VNET_WC_LOC_QP_OP_ERR] = { EIO, "local QP operation error" },
    [VNET_WC_LOC_PROT_ERR] = { EFAULT, "local protection error" },
    [VNET_WC_WR_FLUSH_ERR] = { ECONNRESET, "work request flushed" },
    [VNET_WC_BAD_RESP_ERR] = { EPROTO, "bad response" },
    [VNET_WC_LOC_ACCESS_ERR] = { EFAULT, "local access error" },
    [VNET_WC_REM_INV_REQ_ERR] = { EREMOTEIO, "remote invalid request" },
    [VNET_WC_REM_ACCESS_ERR] = { EREMOTEIO, "remote access error" },
    [VNET_WC_REM_OP_ERR] = { EREMOTEIO, "remote operation error" },
    [VNET_WC_RETRY_EXC_ERR] = { ETIMEDOUT, "retries exceeded" },
    [VNET_WC_RNR_RETRY_EXC_ERR] = { ENOBUFS, "receiver not ready" },
    [VNET_WC_REM_ABORT_ERR] = { ECONNABORTED, "aborted by the peer" },
    [VNET_WC_FATAL_ERR] = { EIO, "fatal error" },
    [VNET_WC_RESP_TIMEOUT_ERR] = { ETIMEDOUT, "response time-out" },
    [VNET_WC_GENERAL_ERR] = { EIO, "general error" },
};

static void wc_error(VnetRdmaConn *c, const VnetWc *wc)
{
    VnetRdma *r = c->r;

    if (wc->status != VNET_WC_WR_FLUSH_ERR) {
        r->stats.wc_errors++;
    }
    if (wc->status == VNET_WC_RNR_RETRY_EXC_ERR) {
        r->stats.wc_rnr++;
    }
    if (c->state == VNET_RDMA_FLUSH) {
        vnet_rdma_conn_close(c);
    } else {
        vnet_rdma_conn_fail(c, wc_errors[wc->status].err, "%s",
                            wc_errors[wc->status].text);
    }
}

static void conn_received(VnetRdmaConn *c, uint32_t len)
{
    VnetRdma *r = c->r;
    uint64_t serial = c->serial;

    if (c->state == VNET_RDMA_ACCEPT) {
        /* The peer is connected, whatever became of the CM's last word. */
        r->v->established(c->cm);
        vnet_rdma_conn_up(c);
        if (vnet_rdma_conn_find(r, serial) != c) {
            return;
        }
    }
    if (c->chan && c->state == VNET_RDMA_UP) {
        vnet_rdma_chan_received(c->chan, len);
    } else if (c->cid && (c->state == VNET_RDMA_UP ||
                          c->state == VNET_RDMA_FAILED)) {
        /* That a send failed may be told before what came earlier. */
        vnet_rdma_cid_received(c->cid, len);
    }
}

static void conn_sent(VnetRdmaConn *c)
{
    if (c->chan) {
        vnet_rdma_chan_sent(c->chan);
        if (c->state == VNET_RDMA_FLUSH && vnet_rdma_chan_idle(c->chan)) {
            vnet_rdma_conn_close(c);
        }
    } else if (c->cid && c->state == VNET_RDMA_UP) {
        vnet_rdma_cid_sent(c->cid);
    }
}

static void completion(VnetRdma *r, const VnetWc *wc)
{
    VnetRdmaConn *c = vnet_rdma_conn_find(r, wc->wr_id >> 1);

    if (!c || !c->qp) {
        r->stats.wc_stale++;
    } else if (wc->status != VNET_WC_SUCCESS) {
        if (c->cid && (wc->wr_id & 1)) {
            vnet_rdma_cid_flushed(c->cid);
        }
        wc_error(c, wc);
    } else if (wc->wr_id & 1) {
        conn_received(c, wc->len);
    } else {
        conn_sent(c);
    }
}

/* Negative: the device has failed. */
static int dev_take(VnetRdmaDev *d, VnetWc wc[POLL_BATCH])
{
    int n = d->r->v->poll_cq(d->v, wc, POLL_BATCH);

    if (n < 0) {
        vnet_rdma_dev_fail(d, -n, "completion queue");
    }
    return n;
}

/*
 * Returns how many there were, up to the batch and those that a settling left; 0
 * after a failure.  May be called from inside the handling of one.
 */
static int dev_poll(VnetRdmaDev *d)
{
    int n = 0;

    if (d->next == d->taken->len) {
        VnetWc wc[POLL_BATCH];

        n = dev_take(d, wc);
        g_array_set_size(d->taken, 0);
        g_array_append_vals(d->taken, wc, MAX(n, 0));
        d->next = 0;
    }
    n = d->taken->len - d->next;
    while (d->next < d->taken->len) {
        const VnetWc wc = g_array_index(d->taken, VnetWc, d->next++);

        completion(d->r, &wc);
    }
    return n;
}

/* --- Stopping ------------------------------------------------------------ */

/*
 * A link may be lost inside the handling of a message, and what else was completed
 * has to wait until that is through.  So only what is about data connections that
 * were stopped is handled here, and the rest stays in d->taken, in its order.
 */
static void settle_one(VnetRdmaDev *d, const VnetWc *wc)
{
    VnetRdmaConn *c = vnet_rdma_conn_find(d->r, wc->wr_id >> 1);

    if (c && c->stopped) {
        completion(d->r, wc);
    } else {
        g_array_append_val(d->taken, *wc);
    }
}

static void settle_taken(VnetRdmaDev *d)
{
    g_autoptr(GArray) all = d->taken;

    d->taken = g_array_new(FALSE, FALSE, sizeof(VnetWc));
    for (guint i = d->next; i < all->len; i++) {
        settle_one(d, &g_array_index(all, VnetWc, i));
    }
    d->next = 0;
}

/* Those that the device has: how many there were. */
static int settle_new(VnetRdmaDev *d)
{
    VnetWc wc[POLL_BATCH];
    int n = dev_take(d, wc);

    for (int i = 0; i < n; i++) {
        settle_one(d, &wc[i]);
    }
    return n;
}

void vnet_rdma_conn_stop(VnetRdmaConn *c)
{
    if (!c->stopped) {
        c->stopped = true;
        /* If it cannot be, what is posted is not flushed: see below. */
        c->r->v->stop_qp(c->qp);
    }
}

static bool settle(VnetRdmaConn *c)
{
    VnetRdma *r = c->r;
    VnetRdmaDev *d = c->dev;
    uint64_t serial = c->serial;
    int64_t begin = r->host->now_ns(r->opaque);
    bool mute = begin < d->mute_until;
    unsigned idle = 0;

    vnet_rdma_conn_stop(c);
    settle_taken(d);
    while (vnet_rdma_conn_find(r, serial) == c && c->cid) {
        int n;

        if (vnet_rdma_cid_is_settled(c->cid)) {
            return true;
        }
        n = settle_new(d);
        if (n > 0) {
            idle = 0;
        } else if (n < 0 || mute || ++idle == SETTLE_POLLS ||
                   (idle % 256 == 0 && r->host->now_ns(r->opaque) - begin >=
                    VNET_RDMA_SETTLE_NS)) {
            /* The others on it need not be waited for. */
            d->mute_until = r->host->now_ns(r->opaque) + VNET_RDMA_MUTE_NS;
            r->stats.settle_failed++;
            return false;
        }
    }
    return false;
}

bool vnet_rdma_conn_settle(VnetRdmaConn *c)
{
    VnetRdmaDev *d = c->dev;
    bool settled = settle(c);

    /* For what was set aside there is no event, not while the thread polls. */
    if (d->next < d->taken->len) {
        d->more = true;
        d->r->host->again(d->r->opaque);
    }
    return settled;
}

bool vnet_rdma_cq_arm(VnetRdmaDev *d)
{
    int ret = d->gone ? 0 : d->r->v->req_notify(d->v);

    if (ret < 0) {
        vnet_rdma_dev_fail(d, -ret, "completion queue");
    }
    return !d->gone;
}

/*
 * Until it is empty, then asks for an event, then once more until it is empty:
 * what came in between makes no event.
 */
void vnet_rdma_cq_turn(VnetRdmaDev *d)
{
    VnetRdma *r = d->r;
    int budget = VNET_RDMA_CQ_TURN;
    bool armed = false;

    d->more = false;
    r->stats.cq_turns++;
    while (!d->gone) {
        int n = dev_poll(d);

        budget -= n;
        if (budget <= 0) {
            d->more = true;
            r->host->again(r->opaque);
            return;
        }
        if (n) {
            continue;
        }
        if (armed || r->polling || !vnet_rdma_cq_arm(d)) {
            return;
        }
        armed = true;
    }
}

void vnet_rdma_drain(VnetRdma *r)
{
    for (guint i = 0; i < r->devs->len; i++) {
        for (int turns = DRAIN_TURNS; turns; turns--) {
            if (!dev_poll(r->devs->pdata[i])) {
                break;
            }
        }
    }
}
