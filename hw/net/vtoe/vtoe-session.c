/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams: the table of SIDs, how a stream begins and how it ends
 * (docs/specs/vtoe.rst section 6).
 *
 *   CONNECT --> CONNECTING ----established----> ESTABLISHED --CLOSE--> CLOSING
 *                  ^   |                             |                    |
 *   peer       ACCEPT  failed, ABORT     disconnected, ABORT, device gives up
 *    |             |   |                             |                    |
 *    v             |   v                             v                    v
 *   REQUESTED -----+   CLOSED  <---------------------+--------------------+
 *      |  |                |
 *      |  +- gives up -----+ terminal event written: the SID is free
 *      +---- REJECT: the SID is free
 *
 * In CLOSED the overlay knows nothing of the stream any more, no memory of the
 * guest is mapped for it, and it only waits for room in the rings to tell the
 * guest the rest.  Time-outs: a request not answered (accept_timeout) and a
 * closed stream that does not finish (close_timeout).  Both have one length per
 * device, so a FIFO is a sorted list.
 */
#include "vtoe-int.h"

void vtoe_trace(const VtoeStream *s, const char *what, uint64_t value)
{
    const VtoeHostOps *ops = s->dev->ops;

    if (ops->trace_stream) {
        ops->trace_stream(s->dev->opaque, s->sid, what, value);
    }
}

VtoeStream *vtoe_stream_find(VtoeDev *d, uint32_t sid)
{
    return g_hash_table_lookup(d->streams, GUINT_TO_POINTER(sid));
}

void vtoe_streams_count_changed(VtoeDev *d)
{
    unsigned n = g_hash_table_size(d->streams);

    if (n != d->nstreams_told) {
        d->nstreams_told = n;
        d->ops->streams_changed(d->opaque, n);
    }
}

VtoeStream *vtoe_stream_new(VtoeDev *d, uint32_t sid, const VnetFlow *flow)
{
    VtoeStream *s = g_new0(VtoeStream, 1);

    s->dev = d;
    s->sid = sid;
    s->flow = *flow;
    g_hash_table_insert(d->streams, GUINT_TO_POINTER(sid), s);
    return s;
}

void vtoe_stream_free(VtoeStream *s)
{
    VtoeDev *d = s->dev;

    vtoe_list_del(&d->event_q, &s->event_link);
    if (s->listener) {
        vtoe_listener_unref(s->listener);
    }
    vtoe_trace(s, "free", s->rx_delivered);
    g_hash_table_remove(d->streams, GUINT_TO_POINTER(s->sid));
    g_free(s);
}

/* Takes the stream off every list but the one of events, and releases all
 * memory of the guest. */
static void let_go(VtoeStream *s)
{
    VtoeDev *d = s->dev;

    if (s->state == VTOE_STREAM_REQUESTED) {
        if (s->listener) {
            s->listener->pending--;
        }
        vtoe_list_del(&d->accept_q, &s->time_link);
    } else {
        vtoe_list_del(&d->close_q, &s->time_link);
    }
    s->vs = NULL;
    s->state = VTOE_STREAM_CLOSED;
    if (s->q) {
        vtoe_list_del(&s->q->tx_dirty, &s->tx_link);
        vtoe_rx_unwait(s);
        vtoe_tx_drop(s);
        if (s->ack_link.data) {
            vtoe_tx_tell_acked(s);
        }
        vtoe_rx_stop(s);
        vtoe_mark_dirty(s->q);
    }
}

void vtoe_stream_over(VtoeStream *s, enum vtoe_event_type event,
                      enum vtoe_reason reason, bool by_guest)
{
    VtoeDev *d = s->dev;
    bool open = s->q && event == VTOE_EVENT_DISCONNECTED && !by_guest;

    vtoe_trace(s, "over", reason);
    let_go(s);
    if (!s->told) {
        vtoe_stream_free(s);    /* it never was there for the guest */
        return;
    }
    s->terminal = event;
    s->reason = reason;
    s->pend |= VTOE_PEND_TERMINAL;
    if (open && reason != VTOE_REASON_NONE && !s->rx_closed) {
        vtoe_rx_mark(s, VTOE_COMP_F_ABORT);
    }
    if (by_guest) {
        d->st.stream_resets++;
    }
    if (event == VTOE_EVENT_DISCONNECTED) {
        if (reason == VTOE_REASON_NONE) {
            d->st.disconnected_graceful++;
        } else {
            d->st.disconnected_reset++;
        }
    }
    vtoe_event_check(s);
}

void vtoe_streams_drop(VtoeDev *d, enum vtoe_reason reason)
{
    GList *all = g_hash_table_get_values(d->streams);

    for (GList *l = all; l; l = l->next) {
        VtoeStream *s = l->data;
        VnetStream *vs = s->vs;

        if (vs && s->state == VTOE_STREAM_REQUESTED) {
            vnet_stream_reject(vs, reason);
        } else if (vs) {
            vnet_stream_abort(vs, reason);
        }
        d->st.stream_resets += vs != NULL;
        let_go(s);
        if (s->q) {
            vtoe_list_del(&s->q->marks, &s->mark_link);
            vtoe_list_del(&s->q->send_done, &s->done_link);
        }
        vtoe_stream_free(s);
    }
    g_list_free(all);

    all = g_hash_table_get_values(d->listen_ids);
    g_hash_table_remove_all(d->listen_ids);
    g_hash_table_remove_all(d->listen_keys);
    g_list_free_full(all, (GDestroyNotify)vtoe_listener_unref);
}

void vtoe_streams_resume(VtoeDev *d)
{
    guint n;
    g_autofree gpointer *sids = g_hash_table_get_keys_as_array(d->streams, &n);

    for (guint i = 0; i < n; i++) {
        VtoeStream *s = vtoe_stream_find(d, GPOINTER_TO_UINT(sids[i]));

        if (s && s->vs && s->q) {
            vtoe_rx_unwait(s);
            s->wait_credit = false;
            vnet_stream_rx_ready(s->vs);
        }
        if (s && s->vs && s->q && s->seg_count) {
            vnet_stream_tx_ready(s->vs);
        }
    }
}

void vtoe_stream_tell_end(VtoeStream *s)
{
    if (s->state == VTOE_STREAM_CONNECTING) {
        return;     /* said when it is established */
    }
    if (s->rx_closed && !s->rx_close_told && s->vs) {
        s->rx_close_told = true;
        vnet_stream_rx_close(s->vs);
    }
    if (s->tx_ended && !s->tx_end_told && s->vs) {
        s->tx_end_told = true;
        vnet_stream_shutdown(s->vs, s->tx_end);
    }
}

/* --- passive side ------------------------------------------------------------------ */

static uint32_t new_passive_sid(VtoeDev *d)
{
    uint32_t sid;

    do {
        sid = VTOE_SID_PASSIVE | (d->next_sid++ & ~VTOE_SID_PASSIVE);
    } while (sid == VTOE_SID_ANY || vtoe_stream_find(d, sid));
    return sid;
}

enum vtoe_reason vtoe_connect_request(VtoeDev *d, VnetStream *vs,
                                      const VnetFlow *flow)
{
    VtoeListener *l;
    VtoeStream *s;

    if (!d->announced || d->broken) {
        d->st.rejected_not_ready++;
        return VTOE_REASON_NO_STREAMS;
    }
    l = vtoe_listener_find(d, flow->family, flow->lport, flow->laddr);
    if (!l) {
        d->st.rejected_no_listener++;
        return VTOE_REASON_NO_LISTENER;
    }
    if (l->pending >= l->backlog) {
        d->st.rejected_backlog++;
        return VTOE_REASON_BACKLOG;
    }
    if (g_hash_table_size(d->streams) >= d->cfg.max_streams) {
        d->st.rejected_limit++;
        return VTOE_REASON_LIMIT;
    }
    s = vtoe_stream_new(d, new_passive_sid(d), flow);
    s->vs = vs;
    vnet_stream_bind(vs, &vtoe_stream_ops, s);
    vnet_stream_set_sid(vs, s->sid);
    s->passive = true;
    s->state = VTOE_STREAM_REQUESTED;
    s->listener = l;
    l->ref++;
    l->pending++;
    s->deadline = d->ops->now_ns(d->opaque) + d->cfg.accept_timeout_ns;
    vtoe_list_add(&d->accept_q, &s->time_link, s);
    s->pend = VTOE_PEND_REQUEST;
    d->st.connect_requests++;
    vtoe_trace(s, "request", l->id);
    vtoe_event_check(s);
    return VTOE_REASON_NONE;
}

/* --- time-outs ----------------------------------------------------------------------- */

static VtoeStream *first_due(GQueue *list, int64_t now)
{
    VtoeStream *s = g_queue_peek_head(list);

    return s && s->deadline <= now ? s : NULL;
}

int64_t vtoe_sessions_tick(VtoeDev *d)
{
    int64_t now = d->ops->now_ns(d->opaque);
    VtoeStream *s;

    while ((s = first_due(&d->accept_q, now))) {
        d->st.rejected_timeout++;
        vnet_stream_reject(s->vs, VTOE_REASON_TIMEOUT);
        vtoe_stream_over(s, VTOE_EVENT_DISCONNECTED, VTOE_REASON_TIMEOUT,
                         false);
    }
    while ((s = first_due(&d->close_q, now))) {
        vnet_stream_abort(s->vs, VTOE_REASON_TIMEOUT);
        vtoe_stream_over(s, VTOE_EVENT_DISCONNECTED, VTOE_REASON_TIMEOUT,
                         false);
    }
    while ((s = g_queue_peek_head(&d->ack_q)) && s->told_by <= now) {
        vtoe_tx_tell_acked(s);
    }
    return vtoe_sessions_deadline(d);
}

int64_t vtoe_sessions_deadline(const VtoeDev *d)
{
    const VtoeStream *a = d->accept_q.head ? d->accept_q.head->data : NULL;
    const VtoeStream *c = d->close_q.head ? d->close_q.head->data : NULL;
    const VtoeStream *t = d->ack_q.head ? d->ack_q.head->data : NULL;
    int64_t when = MIN(a ? a->deadline : INT64_MAX,
                       c ? c->deadline : INT64_MAX);

    return MIN(when, t ? t->told_by : INT64_MAX);
}

/* --- callbacks of the overlay --------------------------------------------------------- */

static void cb_established(void *user)
{
    VtoeStream *s = user;

    s->state = s->rx_closed ? VTOE_STREAM_CLOSING : VTOE_STREAM_ESTABLISHED;
    s->pend |= VTOE_PEND_ESTABLISHED;
    s->dev->st.established++;
    vtoe_trace(s, "established", 0);
    vtoe_event_check(s);
    vtoe_stream_tell_end(s);
}

static void cb_failed(void *user, enum vtoe_event_type event,
                      enum vtoe_reason reason)
{
    vtoe_stream_over(user, event, reason, false);
}

static size_t cb_tx_peek(void *user, uint64_t offset, struct iovec *iov,
                         unsigned *niov, size_t max)
{
    return vtoe_tx_peek(user, offset, iov, niov, max);
}

static void cb_acked(void *user, uint64_t offset)
{
    vtoe_tx_acked(user, offset);
}

static unsigned cb_rx_get(void *user, VnetRxBuf *bufs, unsigned n, size_t max)
{
    return vtoe_rx_get(user, bufs, n, max);
}

static unsigned cb_rx_spare(void *user)
{
    return vtoe_rx_spare(user);
}

static void cb_rx_done(void *user, VnetRxBuf *buf, size_t len)
{
    vtoe_rx_done(user, buf, len);
}

static void cb_rx_return(void *user, VnetRxBuf *bufs, unsigned n)
{
    vtoe_rx_return(user, bufs, n);
}

static void cb_rx_end(void *user)
{
    VtoeStream *s = user;

    vtoe_trace(s, "peer-shutdown", s->rx_delivered);
    if (s->rx_closed) {
        return;
    }
    vtoe_rx_mark(s, VTOE_COMP_F_END);
    if (s->shutdown_event) {
        s->pend |= VTOE_PEND_SHUTDOWN;
        vtoe_event_check(s);
    }
}

static void cb_disconnected(void *user, enum vtoe_reason reason)
{
    VtoeStream *s = user;

    vtoe_stream_over(s, VTOE_EVENT_DISCONNECTED, reason, false);
}

const VnetStreamOps vtoe_stream_ops = {
    .established = cb_established,
    .failed = cb_failed,
    .tx_peek = cb_tx_peek,
    .acked = cb_acked,
    .rx_get = cb_rx_get,
    .rx_spare = cb_rx_spare,
    .rx_done = cb_rx_done,
    .rx_return = cb_rx_return,
    .rx_end = cb_rx_end,
    .disconnected = cb_disconnected,
};
