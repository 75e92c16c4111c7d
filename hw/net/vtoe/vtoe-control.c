/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control queue: commands and listeners (docs/specs/vtoe.rst section 4).
 *
 * A command is copied in only when there is room for its answer, and is
 * executed and answered at once; so each command has exactly one answer, and
 * answers come in the order of the commands.  Events that were pending before
 * are written first.
 */
#include "vtoe-int.h"

/* --- listeners ----------------------------------------------------------------- */

guint vtoe_listen_key_hash(gconstpointer key)
{
    const VtoeListenKey *k = key;
    guint h = k->lport * 2654435761u + k->family;

    for (unsigned i = 0; i < sizeof(k->laddr); i++) {
        h = h * 31 + k->laddr[i];
    }
    return h;
}

gboolean vtoe_listen_key_equal(gconstpointer a, gconstpointer b)
{
    return memcmp(a, b, sizeof(VtoeListenKey)) == 0;
}

VtoeListener *vtoe_listener_find(VtoeDev *d, uint8_t family, uint16_t lport,
                                 const uint8_t laddr[16])
{
    VtoeListenKey key = { .family = family, .lport = lport };
    VtoeListener *l;

    memcpy(key.laddr, laddr, 16);
    l = g_hash_table_lookup(d->listen_keys, &key);
    if (!l) {
        memset(key.laddr, 0, 16);
        l = g_hash_table_lookup(d->listen_keys, &key);
    }
    return l;
}

VtoeListener *vtoe_listener_add(VtoeDev *d, const VtoeListenKey *key,
                                uint32_t id, uint32_t backlog)
{
    VtoeListener *l;

    if (g_hash_table_lookup(d->listen_ids, GUINT_TO_POINTER(id)) ||
        g_hash_table_lookup(d->listen_keys, key)) {
        return NULL;
    }
    l = g_new0(VtoeListener, 1);
    l->key = *key;
    l->id = id;
    l->backlog = backlog;
    l->ref = 1;
    g_hash_table_insert(d->listen_ids, GUINT_TO_POINTER(id), l);
    g_hash_table_insert(d->listen_keys, &l->key, l);
    return l;
}

void vtoe_listener_unref(VtoeListener *l)
{
    if (--l->ref == 0) {
        g_free(l);
    }
}

/* --- commands ------------------------------------------------------------------- */

static enum vtoe_cmd_status cmd_listen(VtoeDev *d, const VtoeCmd *cmd)
{
    VtoeListenKey key = {
        .family = cmd->flow.family, .lport = cmd->flow.lport,
    };

    memcpy(key.laddr, cmd->flow.laddr, 16);
    if (g_hash_table_size(d->listen_ids) >= d->cfg.max_listens &&
        !g_hash_table_lookup(d->listen_ids, GUINT_TO_POINTER(cmd->sid)) &&
        !g_hash_table_lookup(d->listen_keys, &key)) {
        return VTOE_CMD_LIMIT;
    }
    return vtoe_listener_add(d, &key, cmd->sid, cmd->value)
        ? VTOE_CMD_OK : VTOE_CMD_EXISTS;
}

static enum vtoe_cmd_status cmd_unlisten(VtoeDev *d, const VtoeCmd *cmd)
{
    VtoeListener *l = g_hash_table_lookup(d->listen_ids,
                                          GUINT_TO_POINTER(cmd->sid));

    if (!l) {
        return VTOE_CMD_UNKNOWN_SID;
    }
    g_hash_table_remove(d->listen_ids, GUINT_TO_POINTER(l->id));
    g_hash_table_remove(d->listen_keys, &l->key);
    vtoe_listener_unref(l);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status cmd_connect(VtoeDev *d, const VtoeCmd *cmd)
{
    VtoeStream *s;

    if (!d->q[cmd->pair].enabled || memcmp(cmd->flow.lmac, d->mac, 6) != 0) {
        return VTOE_CMD_INVALID;
    }
    if (vtoe_stream_find(d, cmd->sid)) {
        return VTOE_CMD_EXISTS;
    }
    if (!d->port) {
        return VTOE_CMD_STATE;
    }
    if (g_hash_table_size(d->streams) >= d->cfg.max_streams) {
        return VTOE_CMD_LIMIT;
    }
    s = vtoe_stream_new(d, cmd->sid, &cmd->flow);
    s->told = true;
    s->q = &d->q[cmd->pair];
    s->state = VTOE_STREAM_CONNECTING;
    s->rx_limit = cmd->value;
    s->shutdown_event = cmd->flags & VTOE_CMD_F_SHUTDOWN_EVENT;
    d->st.connects++;
    vtoe_trace(s, "connect", cmd->pair);
    s->vs = vnet_stream_connect(d->port, &s->flow, &vtoe_stream_ops, s);
    vnet_stream_set_sid(s->vs, s->sid);
    return VTOE_CMD_OK;
}

/* The guest answered the request: the listener has a place again. */
static void answered(VtoeStream *s)
{
    s->listener->pending--;
    vtoe_listener_unref(s->listener);
    s->listener = NULL;
    vtoe_list_del(&s->dev->accept_q, &s->time_link);
}

static enum vtoe_cmd_status cmd_accept(VtoeStream *s, const VtoeCmd *cmd)
{
    VtoeDev *d = s->dev;

    if (s->state != VTOE_STREAM_REQUESTED) {
        return VTOE_CMD_STATE;
    }
    if (!d->q[cmd->pair].enabled) {
        return VTOE_CMD_INVALID;
    }
    answered(s);
    s->q = &d->q[cmd->pair];
    s->state = VTOE_STREAM_CONNECTING;
    s->rx_limit = cmd->value;
    s->shutdown_event = cmd->flags & VTOE_CMD_F_SHUTDOWN_EVENT;
    d->st.accepts++;
    vtoe_trace(s, "accept", cmd->pair);
    vnet_stream_accept(s->vs, &vtoe_stream_ops, s);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status cmd_reject(VtoeStream *s, const VtoeCmd *cmd)
{
    if (s->state != VTOE_STREAM_REQUESTED) {
        return VTOE_CMD_STATE;
    }
    answered(s);
    vtoe_trace(s, "reject", cmd->reason);
    vnet_stream_reject(s->vs, cmd->reason);
    s->vs = NULL;
    vtoe_stream_free(s);
    return VTOE_CMD_OK;
}

/* May the sending direction be ended in this state? */
static bool can_end(const VtoeStream *s)
{
    return s->state == VTOE_STREAM_ESTABLISHED ||
           (s->state == VTOE_STREAM_CONNECTING && s->passive);
}

static enum vtoe_cmd_status cmd_shutdown(VtoeStream *s, const VtoeCmd *cmd)
{
    if (!can_end(s) || s->tx_ended) {
        return VTOE_CMD_STATE;
    }
    if (cmd->value < s->tx_posted) {
        return VTOE_CMD_INVALID;
    }
    s->tx_ended = true;
    s->tx_end = cmd->value;
    vtoe_trace(s, "shutdown", cmd->value);
    vtoe_stream_tell_end(s);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status cmd_close(VtoeStream *s, const VtoeCmd *cmd)
{
    VtoeDev *d = s->dev;

    if (!can_end(s) || s->rx_closed) {
        return VTOE_CMD_STATE;
    }
    if (s->tx_ended ? cmd->value != s->tx_end : cmd->value < s->tx_posted) {
        return VTOE_CMD_INVALID;
    }
    s->tx_ended = true;
    s->tx_end = cmd->value;
    s->rx_closed = true;
    if (s->state == VTOE_STREAM_ESTABLISHED) {
        s->state = VTOE_STREAM_CLOSING;
    }
    s->deadline = d->ops->now_ns(d->opaque) + d->cfg.close_timeout_ns;
    vtoe_list_add(&d->close_q, &s->time_link, s);
    vtoe_rx_stop(s);
    vtoe_trace(s, "close", cmd->value);
    vtoe_stream_tell_end(s);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status cmd_abort(VtoeStream *s, const VtoeCmd *cmd)
{
    bool early = s->state == VTOE_STREAM_CONNECTING && !s->passive;
    VnetStream *vs = s->vs;

    if (s->state == VTOE_STREAM_REQUESTED || !vs) {
        return VTOE_CMD_STATE;
    }
    vnet_stream_abort(vs, cmd->reason ? cmd->reason : VTOE_REASON_RESET);
    vtoe_stream_over(s, VTOE_EVENT_DISCONNECTED,
                     early ? VTOE_REASON_CANCELLED : VTOE_REASON_RESET, true);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status cmd_credit(VtoeStream *s, const VtoeCmd *cmd)
{
    if (s->state == VTOE_STREAM_REQUESTED || !s->vs) {
        return VTOE_CMD_STATE;
    }
    vtoe_rx_credit(s, cmd->value);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status cmd_query(VtoeStream *s, struct vtoe_event *ev)
{
    VnetStreamInfo info = { .tx_sent = s->tx_acked };

    if (s->vs) {
        vnet_stream_get_info(s->vs, &info);
    }
    ev->u.query.tx_acked = GUINT64_TO_LE(s->tx_acked);
    ev->u.query.tx_sent = GUINT64_TO_LE(info.tx_sent);
    ev->u.query.rx_delivered = GUINT64_TO_LE(s->rx_delivered);
    ev->u.query.rx_limit = GUINT64_TO_LE(s->rx_limit);
    ev->u.query.state = GUINT32_TO_LE(s->state);
    ev->u.query.cid = GUINT32_TO_LE(info.cid);
    return VTOE_CMD_OK;
}

static enum vtoe_cmd_status on_stream(VtoeDev *d, const VtoeCmd *cmd,
                                      struct vtoe_event *ev)
{
    VtoeStream *s = vtoe_stream_find(d, cmd->sid);

    /* A request that was not told yet does not exist for the guest. */
    if (!s || !s->told) {
        return VTOE_CMD_UNKNOWN_SID;
    }
    switch (cmd->op) {
    case VTOE_CMD_ACCEPT:
        return cmd_accept(s, cmd);
    case VTOE_CMD_REJECT:
        return cmd_reject(s, cmd);
    case VTOE_CMD_SHUTDOWN:
        return cmd_shutdown(s, cmd);
    case VTOE_CMD_ABORT:
        return cmd_abort(s, cmd);
    case VTOE_CMD_CLOSE:
        return cmd_close(s, cmd);
    case VTOE_CMD_CREDIT:
        return cmd_credit(s, cmd);
    default:
        return cmd_query(s, ev);
    }
}

static enum vtoe_cmd_status execute(VtoeDev *d, const VtoeCmd *cmd,
                                    struct vtoe_event *ev)
{
    switch (cmd->op) {
    case VTOE_CMD_CONNECT:
        return cmd_connect(d, cmd);
    case VTOE_CMD_LISTEN:
        return cmd_listen(d, cmd);
    case VTOE_CMD_UNLISTEN:
        return cmd_unlisten(d, cmd);
    default:
        return on_stream(d, cmd, ev);
    }
}

static void run_one(VtoeDev *d, const struct vtoe_cmd *raw)
{
    struct vtoe_event answer = { 0 }, *ev;
    enum vtoe_cmd_status status;
    VtoeCmd cmd;

    status = vtoe_cmd_decode(raw, d->cfg.pairs, &cmd);
    if (!vtoe_has(d, VTOE_F_STREAM)) {
        status = VTOE_CMD_UNSUPPORTED;
    }
    if (status == VTOE_CMD_OK) {
        status = execute(d, &cmd, &answer);
    }
    d->st.commands++;
    d->done++;
    if (status != VTOE_CMD_OK) {
        d->st.commands_refused++;
    }
    if (d->broken) {
        return;
    }
    ev = vtoe_event_add(d, VTOE_EVENT_COMMAND_DONE, 0, cmd.sid);
    ev->reason = GUINT16_TO_LE(status);
    ev->tag = GUINT32_TO_LE(cmd.tag);
    ev->u = answer.u;
    vtoe_comp_commit(&d->ctl);
}

void vtoe_control_run(VtoeDev *d)
{
    VtoeQueue *q = &d->ctl;
    struct vtoe_cmd raw[VTOE_FETCH_CMDS] VTOE_UNINITIALIZED;
    unsigned budget = VTOE_BUDGET_CMDS;

    q->tx_busy = false;
    while (!d->broken) {
        int avail = vtoe_queue_send_avail(q);
        unsigned n, room;

        if (avail < 0) {
            return;
        }
        if (avail == 0) {
            vtoe_queue_tell_send_cons(q);
            if (!vtoe_queue_arm_send(q)) {
                return;
            }
            continue;
        }
        if (!budget) {
            vtoe_kick_later(q);
            break;
        }
        vtoe_event_flush(d);
        n = MIN(MIN((unsigned)avail, VTOE_FETCH_CMDS), budget);
        room = vtoe_event_pending(d) ? 0 : vtoe_event_room(d, n);
        if (room == 0) {
            q->tx_busy = true;      /* until the guest makes room */
            break;
        }
        n = MIN(n, room);
        if (!vtoe_queue_fetch(q, VTOE_RING_SEND, sizeof(raw[0]), q->send_cons,
                              n, raw)) {
            return;
        }
        for (unsigned i = 0; i < n && !d->broken; i++) {
            run_one(d, &raw[i]);
            q->send_cons++;
        }
        budget -= n;
    }
    vtoe_queue_tell_send_cons(q);
}
