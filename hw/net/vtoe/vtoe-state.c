/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving and loading what migrates while no stream is open
 * (docs/specs/vtoe.rst section 9).
 *
 * The saved state comes from another host and is not trusted: everything is
 * checked before anything is changed.  What is not in it is either constant
 * (the configuration, which both hosts must agree on), read again from the
 * rings, or told anew: after loading, the guest hears of the link, of peers
 * and of its frames that are done, whether or not it knew.
 */
#include "vtoe-int.h"

static unsigned list_records(const GQueue *list, VtoeRecvState *out)
{
    unsigned n = 0;

    for (GList *l = list->head; l; l = l->next, n++) {
        const VtoeRecvBuf *rec = l->data;

        out[n] = (VtoeRecvState) {
            .addr = rec->addr, .len = rec->len, .sid = rec->sid, .id = rec->id,
        };
    }
    return n;
}

static void save_queue(const VtoeQueue *q, VtoeQueueState *out, VtoeState *st)
{
    *out = (VtoeQueueState) {
        .vector = q->vector,
        .enabled = q->enabled,
        .send_cons = q->send_cons,
        .recv_cons = q->recv_cons,
        .comp_prod = q->comp_prod,
        .recv_ready = q->returned.length + q->pool.length,
        .send_done = q->frames_done,
    };
    memcpy(out->size, q->size, sizeof(out->size));
    memcpy(out->addr, q->addr, sizeof(out->addr));
    st->nrecv += list_records(&q->returned, st->recv + st->nrecv);
    st->nrecv += list_records(&q->pool, st->recv + st->nrecv);
}

void vtoe_dev_save(const VtoeDev *d, VtoeState *st)
{
    size_t nrecv = 0;
    GHashTableIter it;
    gpointer val;

    memset(st, 0, sizeof(*st));
    st->drv_features = d->drv_features;
    st->status = d->status;
    st->generation = d->generation;
    st->queue_select = d->queue_select;
    st->violation = d->violation;
    st->rx_filter = d->rx_filter;
    memcpy(st->mac, d->mac, 6);

    for (unsigned i = 0; i < d->cfg.pairs; i++) {
        nrecv += d->q[i].returned.length + d->q[i].pool.length;
    }
    st->recv = g_new0(VtoeRecvState, nrecv);
    st->nqueues = d->cfg.pairs + 1;
    for (unsigned i = 0; i < d->cfg.pairs; i++) {
        save_queue(&d->q[i], &st->q[i], st);
    }
    save_queue(&d->ctl, &st->q[d->cfg.pairs], st);

    st->listens = g_new0(VtoeListenState, g_hash_table_size(d->listen_ids));
    g_hash_table_iter_init(&it, d->listen_ids);
    while (g_hash_table_iter_next(&it, NULL, &val)) {
        const VtoeListener *l = val;
        VtoeListenState *out = &st->listens[st->nlistens++];

        *out = (VtoeListenState) {
            .id = l->id, .backlog = l->backlog, .family = l->key.family,
            .lport = l->key.lport,
        };
        memcpy(out->laddr, l->key.laddr, 16);
    }
}

/* --- checking ------------------------------------------------------------------------ */

static bool check_registers(const VtoeDev *d, const VtoeState *st,
                            const char **err)
{
    const uint32_t drv = VTOE_STATUS_DRIVER, feat = VTOE_STATUS_FEATURES_OK;
    const uint32_t all = drv | feat | VTOE_STATUS_DRIVER_OK |
                         VTOE_STATUS_NEEDS_RESET;
    uint32_t status = st->status;

    if (status & ~all || (status & feat && !(status & drv)) ||
        (status & VTOE_STATUS_DRIVER_OK && !(status & feat))) {
        *err = "status is not possible";
        return false;
    }
    if (status & feat && !vtoe_features_ok(d, st->drv_features)) {
        *err = "features are not offered here";
        return false;
    }
    if (st->violation > VTOE_VIOLATION_INTERNAL ||
        !st->violation != !(status & VTOE_STATUS_NEEDS_RESET)) {
        *err = "violation does not fit the status";
        return false;
    }
    if (st->generation == 0) {
        *err = "generation is 0";
        return false;
    }
    if (st->queue_select != VTOE_QUEUE_NONE &&
        st->queue_select != VTOE_QUEUE_CONTROL &&
        st->queue_select >= d->cfg.pairs) {
        *err = "selected queue does not exist";
        return false;
    }
    if (st->rx_filter & ~(VTOE_RX_PROMISC | VTOE_RX_ALLMULTI)) {
        *err = "receive filter has unknown bits";
        return false;
    }
    if (!vtoe_mac_ok(st->mac)) {
        *err = "MAC is not unicast";
        return false;
    }
    return true;
}

static bool check_records(uint32_t index, const VtoeRecvState *r, uint32_t n,
                          const char **err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (r[i].len < VTOE_RECV_MIN_LEN || r[i].len > VTOE_MAX_SEGMENT ||
            r[i].addr + r[i].len < r[i].addr || r[i].id == VTOE_ID_NONE ||
            (r[i].sid == VTOE_SID_FRAME) != (index == 0)) {
            *err = "receive buffer is out of range";
            return false;
        }
    }
    return true;
}

/* drv_features of st, not of d, decide whether stream pairs are possible. */
static bool check_queue(const VtoeDev *d, const VtoeState *st, unsigned i,
                        const char **err)
{
    const VtoeQueueState *q = &st->q[i];
    uint32_t index = i == d->cfg.pairs ? VTOE_QUEUE_CONTROL : i;
    VtoeDev as_saved = { .cfg = d->cfg, .drv_features = st->drv_features };

    if (q->enabled > 1) {
        *err = "queue enable is neither 0 nor 1";
        return false;
    }
    if (q->enabled) {
        if (!(st->status & VTOE_STATUS_FEATURES_OK)) {
            *err = "queue enabled without features";
            return false;
        }
        if (!vtoe_queue_check(&as_saved, index, q->size, q->addr, q->vector,
                              err)) {
            return false;
        }
        if (q->recv_ready > q->size[VTOE_RING_RECV]) {
            *err = "more receive buffers than the ring holds";
            return false;
        }
    }
    if ((!q->enabled || !(st->status & VTOE_STATUS_DRIVER_OK)) &&
        (q->send_cons | q->recv_cons | q->comp_prod | q->recv_ready)) {
        *err = "indices of a queue that never ran";
        return false;
    }
    if (index == VTOE_QUEUE_CONTROL && q->recv_cons) {
        *err = "the control queue has no receive ring";
        return false;
    }
    if (q->send_done && (index != 0 || !q->enabled)) {
        *err = "frames on a queue that carries none";
        return false;
    }
    return true;
}

static bool check_listens(const VtoeDev *d, const VtoeState *st,
                          const char **err)
{
    g_autoptr(GHashTable) ids = g_hash_table_new(g_direct_hash, g_direct_equal);
    g_autoptr(GHashTable) keys =
        g_hash_table_new_full(vtoe_listen_key_hash, vtoe_listen_key_equal,
                              g_free, NULL);

    if (st->nlistens > d->cfg.max_listens) {
        *err = "more listeners than allowed here";
        return false;
    }
    if (st->nlistens && (!(st->status & VTOE_STATUS_DRIVER_OK) ||
                         st->status & VTOE_STATUS_NEEDS_RESET ||
                         !(st->drv_features & VTOE_F_STREAM))) {
        *err = "listeners without streams";
        return false;
    }
    for (uint32_t i = 0; i < st->nlistens; i++) {
        const VtoeListenState *l = &st->listens[i];
        VtoeListenKey *key = g_new0(VtoeListenKey, 1);
        bool fresh;

        key->family = l->family;
        key->lport = l->lport;
        memcpy(key->laddr, l->laddr, 16);
        fresh = g_hash_table_add(keys, key) &&
                g_hash_table_add(ids, GUINT_TO_POINTER(l->id));
        if (!fresh) {
            *err = "a listener is there twice";
            return false;
        }
        if ((l->family != 4 && l->family != 6) || !l->lport || !l->id ||
            l->id >= VTOE_SID_PASSIVE || !l->backlog ||
            l->backlog > UINT16_MAX) {
            *err = "listener is out of range";
            return false;
        }
        if (l->family == 4) {
            for (unsigned b = 4; b < 16; b++) {
                if (l->laddr[b]) {
                    *err = "listener is out of range";
                    return false;
                }
            }
        }
    }
    return true;
}

static bool check(const VtoeDev *d, const VtoeState *st, const char **err)
{
    uint32_t nrecv = 0;

    if (!check_registers(d, st, err) || !check_listens(d, st, err)) {
        return false;
    }
    if (st->nqueues != d->cfg.pairs + 1) {
        *err = "number of queues differs";
        return false;
    }
    for (unsigned i = 0; i < st->nqueues; i++) {
        uint32_t ready = st->q[i].recv_ready;

        if (!check_queue(d, st, i, err)) {
            return false;
        }
        if (ready > st->nrecv - nrecv) {
            *err = "receive buffers are missing";
            return false;
        }
        if (!check_records(i, st->recv + nrecv, ready, err)) {
            return false;
        }
        nrecv += ready;
    }
    if (nrecv != st->nrecv) {
        *err = "receive buffers of no queue";
        return false;
    }
    return true;
}

/* --- loading ------------------------------------------------------------------------- */

static void load_queue(VtoeQueue *q, const VtoeQueueState *st,
                       const VtoeRecvState *recv)
{
    memcpy(q->size, st->size, sizeof(q->size));
    memcpy(q->addr, st->addr, sizeof(q->addr));
    q->vector = st->vector;
    if (!st->enabled) {
        return;
    }
    vtoe_queue_start(q);
    q->send_prod = q->send_cons = q->send_cons_told = st->send_cons;
    q->recv_prod = q->recv_cons = q->recv_cons_told = st->recv_cons;
    q->comp_prod = q->comp_fill = st->comp_prod;
    /* The most that can be unconsumed: room() reads the truth when it must. */
    q->comp_cons = q->comp_prod - q->size[VTOE_RING_COMP];
    q->frames_done = st->send_done;
    q->frames_pending = q->index == 0;
    for (uint32_t i = 0; i < st->recv_ready; i++) {
        VtoeRecvBuf *rec = vtoe_rx_record(q);

        rec->addr = recv[i].addr;
        rec->len = recv[i].len;
        rec->sid = recv[i].sid;
        rec->id = recv[i].id;
        rec->owner = NULL;
        /* No stream is open: a tagged buffer goes back. */
        g_queue_push_tail_link(rec->sid == VTOE_SID_ANY ||
                               rec->sid == VTOE_SID_FRAME
                               ? &q->pool : &q->returned, &rec->link);
    }
}

bool vtoe_dev_load(VtoeDev *d, const VtoeState *st, const char **err)
{
    const VtoeRecvState *recv = st->recv;
    uint32_t generation = st->generation;
    bool running = d->running;

    if (!check(d, st, err)) {
        return false;
    }
    vtoe_dev_reset(d);
    d->running = false;
    d->drv_features = st->drv_features;
    d->generation = generation;
    d->queue_select = st->queue_select;
    d->violation = st->violation;
    d->rx_filter = st->rx_filter;
    memcpy(d->mac, st->mac, 6);
    for (unsigned i = 0; i < st->nqueues; i++) {
        load_queue(i < d->cfg.pairs ? &d->q[i] : &d->ctl, &st->q[i], recv);
        recv += st->q[i].recv_ready;
    }
    for (uint32_t i = 0; i < st->nlistens; i++) {
        VtoeListenKey key = {
            .family = st->listens[i].family, .lport = st->listens[i].lport,
        };

        memcpy(key.laddr, st->listens[i].laddr, 16);
        vtoe_listener_add(d, &key, st->listens[i].id, st->listens[i].backlog);
    }
    VTOE_WORD_SET(d->status, st->status);
    d->broken = st->status & VTOE_STATUS_NEEDS_RESET;
    if (d->ctl.enabled && st->status & VTOE_STATUS_DRIVER_OK) {
        d->pend_link = true;
        vtoe_event_peer(d, NULL, false);
    }
    if (d->port) {
        vnet_port_set_mac(d->port, d->mac);
    }
    d->ops->filter_changed(d->opaque);
    vtoe_announce(d);
    vtoe_dev_set_running(d, running);
    return true;
}
