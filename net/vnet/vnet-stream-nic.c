/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine, seen by a NIC: what vtoe/vnet-port.h offers on streams.
 * See vnet-stream.c for the states.
 */
#include <string.h>
#include "vnet-stream.h"

static VnetStream *connect_impossible(VnetStream *s, uint64_t *counter,
                                      enum vtoe_event_type event,
                                      enum vtoe_reason reason)
{
    s->state = VNET_STREAM_FAILING;
    s->fail_counter = counter;
    s->fail_event = event;
    s->fail_reason = reason;
    vnet_stream_owe(s, VNET_WORK_FAIL);
    return s;
}

uint32_t vnet_link_new_id(VnetLink *l)
{
    uint32_t id;

    do {
        if (l->next_id == 0 || l->next_id >= VNET_STREAM_ID_SERVER) {
            l->next_id = 1;
        }
        id = l->next_id++ | (l->server ? VNET_STREAM_ID_SERVER : 0);
    } while (g_hash_table_contains(l->by_id, GUINT_TO_POINTER(id)));
    return id;
}

VnetStream *vnet_stream_connect(VnetPort *port, const VnetFlow *flow,
                                const VnetStreamOps *ops, void *user)
{
    VnetCore *core = port->core;
    VnetCoreStats *st = &port->net->stats;
    VnetPlace place = vnet_switch_place(port->net->sw, &port->end, flow->lmac,
                                        flow->rmac);
    VnetStream *s = vnet_stream_new(port, NULL, true, flow);
    VnetMsg m = { .type = VNET_MSG_OPEN };
    VnetLink *l;

    s->ops = ops;
    s->user = user;
    st->streams_active++;
    if (core->streams.length > core->max_streams) {
        vnet_limit_reached(port->net, VNET_CORE_LIMIT_MAX_STREAMS, port, NULL,
                           vnet_now(core));
        return connect_impossible(s, &st->connect_limit,
                                  VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_LIMIT);
    }
    if (port->end.locked && memcmp(flow->lmac, port->mac, 6)) {
        return connect_impossible(s, &st->connect_forged,
                                  VTOE_EVENT_CONNECT_ERROR,
                                  VTOE_REASON_POLICY);
    }
    if (!place.end) {
        if (!core->links->len) {
            return connect_impossible(s, &st->connect_no_route,
                                      VTOE_EVENT_ROUTE_ERROR,
                                      VTOE_REASON_NO_PEER);
        }
        if (!port->net->lanes_up) {
            return connect_impossible(s, &st->connect_link_down,
                                      VTOE_EVENT_UNREACHABLE,
                                      VTOE_REASON_LINK_DOWN);
        }
        return connect_impossible(s, &st->connect_no_peer,
                                  VTOE_EVENT_ADDRESS_ERROR,
                                  VTOE_REASON_NO_PEER);
    }
    if (!place.end->is_link || !(place.flags & VNET_MAC_F_STREAMS)) {
        return connect_impossible(s, &st->connect_no_streams,
                                  VTOE_EVENT_ADDRESS_ERROR,
                                  VTOE_REASON_NO_STREAMS);
    }
    l = vnet_end_link(place.end);
    if (!place.end->up || l->closing) {
        return connect_impossible(s, &st->connect_link_down,
                                  VTOE_EVENT_UNREACHABLE,
                                  VTOE_REASON_LINK_DOWN);
    }
    if (l->streams.length >= l->peer_max_streams) {
        vnet_limit_reached(port->net, VNET_CORE_LIMIT_PEER_MAX_STREAMS, port, l,
                           vnet_now(core));
        return connect_impossible(s, &st->connect_limit,
                                  VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_LIMIT);
    }
    s->link = l;
    s->state = VNET_STREAM_OPENING;
    vnet_stream_join_link(s, vnet_link_new_id(l));
    vnet_stream_event(s, "opening", VTOE_REASON_NONE);
    m.id = s->id;
    m.u.open.vni = port->net->vni;
    m.u.open.flow = *flow;
    vnet_link_send(l, &m);
    if (!vnet_stream_make_cid(s)) {
        vnet_stream_send(s, VNET_MSG_ABORT, 0, VTOE_REASON_HOST);
        return connect_impossible(s, &st->connect_host,
                                  VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_HOST);
    }
    vnet_timer_start(core, &s->timer, &core->connect_q, vnet_now(core));
    return s;
}

void vnet_stream_bind(VnetStream *s, const VnetStreamOps *ops, void *user)
{
    s->ops = ops;
    s->user = user;
}

void vnet_stream_set_sid(VnetStream *s, uint32_t sid)
{
    s->sid = sid;
}

void vnet_stream_accept(VnetStream *s, const VnetStreamOps *ops, void *user)
{
    if (s->state != VNET_STREAM_ASKED) {
        return;                 /* over; `disconnected` was called */
    }
    s->ops = ops;
    s->user = user;
    s->state = VNET_STREAM_CONFIRMED;
    vnet_stream_send(s, VNET_MSG_ACCEPT, 0, 0);
    if (!vnet_stream_is_guarded(s)) {
        vnet_timer_start(s->core, &s->timer, &s->core->connect_q,
                         vnet_now(s->core));
    }
    if (s->cid_up) {
        vnet_stream_owe(s, VNET_WORK_ESTABLISHED);
    }
}

void vnet_stream_reject(VnetStream *s, enum vtoe_reason reason)
{
    if (s->state == VNET_STREAM_ASKED) {
        vnet_stream_refuse(s, reason, &s->port->net->stats.rejected_port);
    }
}

void vnet_stream_tx_ready(VnetStream *s)
{
    if (s->core->upcalls) {
        if (s->state == VNET_STREAM_OPEN) {
            vnet_stream_owe(s, VNET_WORK_TX);
        }
    } else {
        vnet_stream_kick_tx(s);
    }
}

void vnet_stream_rx_ready(VnetStream *s)
{
    if (s->core->upcalls) {
        if (s->state == VNET_STREAM_OPEN) {
            vnet_stream_owe(s, VNET_WORK_RX);
        }
    } else {
        vnet_stream_kick_rx(s);
    }
}

void vnet_stream_shutdown(VnetStream *s, uint64_t end_offset)
{
    if (s->state == VNET_STREAM_DEAD || s->tx != VNET_TX_OPEN) {
        return;
    }
    if (end_offset < s->tx_sent || end_offset > VNET_OFFSET_MAX) {
        vnet_stream_reset_soon(s, VTOE_REASON_PROTOCOL);     /* a broken NIC */
        return;
    }
    s->tx = VNET_TX_ENDING;
    s->tx_end = end_offset;
    vnet_stream_check_tx_end(s);
    if (s->state == VNET_STREAM_OPEN) {
        vnet_stream_check_guard(s);
    }
}

void vnet_stream_rx_close(VnetStream *s)
{
    if (s->state == VNET_STREAM_DEAD || s->rx_closed) {
        return;
    }
    s->rx_closed = true;
    if (s->credit) {
        vnet_credit_check_unread(s);
    }
    if (s->state == VNET_STREAM_OPEN && s->rx != VNET_RX_DONE) {
        vnet_stream_owe(s, VNET_WORK_RX);
    }
}

/* Tells the peer and takes the stream away; the callback is the caller's. */
static void stream_abort(VnetStream *s, enum vtoe_reason reason)
{
    VnetCoreStats *st = vnet_stream_stats(s);
    uint64_t *counter = reason == VTOE_REASON_DEVICE_RESET ? &st->reset_device
                                                           : &st->reset_local;

    if (s->state == VNET_STREAM_ASKED) {
        vnet_stream_refuse(s, reason, &st->rejected_port);
        return;
    }
    if (s->link) {
        vnet_stream_send(s, VNET_MSG_ABORT, 0, reason);
    }
    if (s->active && !s->was_up) {
        counter = &st->connect_cancelled;
    }
    vnet_stream_kill(s, counter, true, "aborted", reason);
}

void vnet_stream_abort(VnetStream *s, enum vtoe_reason reason)
{
    if (s->state != VNET_STREAM_DEAD) {
        /* rx_return is wanted, nothing else */
        stream_abort(s, reason);
    }
}

void vnet_port_reset_streams(VnetPort *port, enum vtoe_reason reason)
{
    GList *head;

    while ((head = port->streams.head)) {
        VnetStream *s = head->data;

        stream_abort(s, reason);
        if (s->ops) {
            vnet_upcall_begin(port);
            s->ops->disconnected(s->user, reason);
            vnet_upcall_end(port);
        }
    }
}
