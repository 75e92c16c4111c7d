/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine (docs/specs/vnet-wire.rst, "Streams").
 *
 * A stream has two sides.  The SID side is a NIC, which reaches it through
 * vtoe/vnet-port.h: connect, accept, shutdown, close, abort.  The CID side is
 * the link: control messages, and a connection of its own whose bytes a
 * transport pulls from the NIC and fills into its buffers.  The machine knows
 * offsets; it never sees a byte.
 *
 * States: vnet-stream.h.  Until OPEN a stream has one state; from then on each
 * direction has its own, and the stream is over when both are DONE:
 *
 *   active   FAILING            (known at once that it cannot be)
 *            OPENING -> ACCEPTED -> OPEN      ACCEPT received, CID up
 *   passive  ASKED -> CONFIRMED -> OPEN       ACCEPT sent, CID up
 *   sending  OPEN -> ENDING -> ENDED -> DONE  shutdown, END sent, END acked
 *   receiving OPEN -> ENDING -> DONE          END received, all delivered
 *
 * A stream whose link is lost may be PARKED, and go on: vnet-stream-resume.c; what
 * comes of one whose CID alone is lost: vnet-stream-guard.c.
 *
 * Which messages a state takes is the table `takes`; a message it does not
 * take, an offset that cannot be, closes the link: the peer is broken.
 *
 * On message transports there is more: vnet-stream-credit.c.
 *
 * The control connection and the CID are not ordered against each other: END
 * may come before the last bytes and after them, a CID may break before the
 * REJECT or ABORT that explains it is read.  Hence an end is delivered when
 * both its message and all bytes are there, and a CID that is lost or ends too
 * early starts the guard time, in which the explanation may still come.
 *
 * Nothing that ends a stream, and no cid_tx or cid_rx, happens inside a NIC's
 * callback or a transport's pull: it is owed (VNET_WORK_*) and done by
 * vnet_core_run_deferred().  The exception is vnet_stream_abort(), which the
 * NIC may call anywhere and which hands its buffers back at once.
 */
#include <inttypes.h>
#include <string.h>
#include "vnet-stream.h"

/* The overlay's part of what an idle stream costs the host. */
_Static_assert(sizeof(VnetStream) <= 512, "a stream is small");

/* Messages a stream takes, by state, apart from ABORT, which every one takes,
 * and OPEN, which none does.  CREDIT and WANT: on message transports only. */
static const bool takes[VNET_STREAM_STATES][VNET_MSG_LAST + 1] = {
    [VNET_STREAM_OPENING] = {
        [VNET_MSG_ACCEPT] = true, [VNET_MSG_REJECT] = true,
    },
    [VNET_STREAM_ACCEPTED] = {
        [VNET_MSG_ACK] = true, [VNET_MSG_END] = true,
        [VNET_MSG_CREDIT] = true, [VNET_MSG_WANT] = true,
        [VNET_MSG_REDIAL] = true,
    },
    [VNET_STREAM_CONFIRMED] = {
        [VNET_MSG_ACK] = true, [VNET_MSG_END] = true,
        [VNET_MSG_CREDIT] = true, [VNET_MSG_WANT] = true,
    },
    [VNET_STREAM_OPEN] = {
        [VNET_MSG_ACK] = true, [VNET_MSG_END] = true,
        [VNET_MSG_CREDIT] = true, [VNET_MSG_WANT] = true,
        [VNET_MSG_REDIAL] = true,
    },
    [VNET_STREAM_RESUMING] = { [VNET_MSG_RESUMED] = true },
    [VNET_STREAM_RESUMED] = {
        [VNET_MSG_ACK] = true, [VNET_MSG_END] = true,
        [VNET_MSG_CREDIT] = true, [VNET_MSG_WANT] = true,
        [VNET_MSG_REDIAL] = true,
    },
};

static const char *const state_names[VNET_STREAM_STATES] = {
    [VNET_STREAM_FAILING] = "failing",
    [VNET_STREAM_OPENING] = "opening",
    [VNET_STREAM_ACCEPTED] = "accepted",
    [VNET_STREAM_ASKED] = "asked",
    [VNET_STREAM_CONFIRMED] = "confirmed",
    [VNET_STREAM_OPEN] = "established",
    [VNET_STREAM_PARKED] = "parked",
    [VNET_STREAM_RESUMING] = "resuming",
    [VNET_STREAM_RESUMED] = "resumed",
    [VNET_STREAM_DEAD] = "over",
};

static const char *const open_names[VNET_TX_STATES][VNET_RX_STATES] = {
    [VNET_TX_OPEN] = { "established", "peer-ending", "peer-ended" },
    [VNET_TX_ENDING] = { "ending", "both-ending", "last-ending" },
    [VNET_TX_ENDED] = { "end-sent", "closing", "last-ack" },
    [VNET_TX_DONE] = { "half-closed", "peer-ending-last", "finished" },
};

/* --- Making and ending --------------------------------------------------- */

VnetStream *vnet_stream_new(VnetPort *port, VnetLink *l, bool active,
                            const VnetFlow *flow)
{
    VnetCore *core = port->core;
    VnetStream *s = g_new0(VnetStream, 1);

    s->core = core;
    s->port = port;
    s->link = l;
    s->active = active;
    s->flow = *flow;
    s->core_node.data = s->port_node.data = s->link_node.data = s;
    s->work_node.data = s->timer.node.data = s->ack_timer.node.data = s;
    g_queue_push_tail_link(&core->streams, &s->core_node);
    g_queue_push_tail_link(&port->streams, &s->port_node);
    return s;
}

void vnet_stream_join_link(VnetStream *s, uint32_t id)
{
    s->id = id;
    vnet_credit_new(s);
    g_hash_table_insert(s->link->by_id, GUINT_TO_POINTER(id), s);
    g_queue_push_tail_link(&s->link->streams, &s->link_node);
}

void vnet_stream_event(VnetStream *s, const char *state,
                       enum vtoe_reason reason)
{
    if (s->core->ops.stream_event) {
        s->core->ops.stream_event(s->core->opaque, s, state, reason);
    }
}

void vnet_stream_owe(VnetStream *s, unsigned work)
{
    if (!s->work) {
        g_queue_push_tail_link(&s->core->stream_work, &s->work_node);
        vnet_core_defer(s->core);
    }
    s->work |= work;
}

void vnet_stream_send(VnetStream *s, uint8_t type, uint8_t flags,
                      uint64_t arg)
{
    VnetMsg m = { .type = type, .flags = flags, .id = s->id };

    if (!s->link) {
        return;                 /* parked: it is told when it goes on */
    }
    if (type == VNET_MSG_REJECT || type == VNET_MSG_ABORT) {
        m.u.reject.reason = arg == VTOE_REASON_NONE || arg > VTOE_REASON_MAX
                            ? VTOE_REASON_RESET : arg;
    } else {
        m.u.offset.offset = arg;
    }
    vnet_link_send(s->link, &m);
}

void vnet_stream_cid_drop(VnetStream *s, bool abort)
{
    VnetCid *c = s->cid;

    s->cid = NULL;
    s->cid_up = false;
    if (c) {
        s->link->ops->cid_close(c, abort);
        if (s->credit) {
            vnet_credit_cid_dropped(s);
        }
    }
}

void vnet_stream_leave_link(VnetStream *s, bool abort_cid)
{
    VnetLink *l = s->link;

    if (s->work) {
        g_queue_unlink(&s->core->stream_work, &s->work_node);
        s->work = 0;
    }
    vnet_timer_stop(&s->timer);
    vnet_timer_stop(&s->ack_timer);
    vnet_shape_forget(s);
    if (l) {
        vnet_stream_cid_drop(s, abort_cid);
        if (s->id) {
            g_hash_table_remove(l->by_id, GUINT_TO_POINTER(s->id));
            g_queue_unlink(&l->streams, &s->link_node);
        }
        s->link = NULL;
    }
    g_assert(s->rx_lent == 0);
}

void vnet_stream_kill(VnetStream *s, uint64_t *counter, bool abort_cid,
                      const char *how, enum vtoe_reason reason)
{
    VnetCore *core = s->core;

    g_assert(s->state != VNET_STREAM_DEAD);
    vnet_stream_event(s, how, reason);
    if (s->was_up && reason != VTOE_REASON_NONE) {
        vnet_capture_reset(s, g_str_equal(how, "aborted") ? VNET_TX : VNET_RX);
    }
    s->state = VNET_STREAM_DEAD;
    vnet_stream_leave_link(s, abort_cid);
    vnet_resume_free(s);
    g_queue_unlink(&s->port->streams, &s->port_node);
    g_queue_unlink(&core->streams, &s->core_node);
    g_queue_push_tail_link(&core->dead_streams, &s->core_node);
    vnet_core_defer(core);
    (*counter)++;
}

void vnet_stream_free(VnetStream *s)
{
    vnet_credit_free(s);
    g_free(s);
}

void vnet_stream_disconnect(VnetStream *s, uint64_t *counter,
                            enum vtoe_reason reason)
{
    vnet_stream_kill(s, counter, reason != VTOE_REASON_NONE,
                     reason == VTOE_REASON_NONE ? "finished" : "reset", reason);
    if (s->ops) {
        vnet_upcall_begin(s->port);
        s->ops->disconnected(s->user, reason);
        vnet_upcall_end(s->port);
    }
}

static void stream_fail(VnetStream *s, uint64_t *counter,
                        enum vtoe_event_type event, enum vtoe_reason reason)
{
    vnet_stream_kill(s, counter, true, "failed", reason);
    vnet_upcall_begin(s->port);
    s->ops->failed(s->user, event, reason);
    vnet_upcall_end(s->port);
}

bool vnet_stream_make_cid(VnetStream *s)
{
    VnetLink *l = s->link;
    const VnetPreamble p = {
        .version = l->version,
        .kind = VNET_CONN_DATA,
        .epoch = l->server ? l->peer_epoch : s->core->epoch,
        .token = l->token,
        .stream_id = s->id,
    };

    s->cid = l->ops->cid_open(l->transport, s, &p);
    return s->cid != NULL;
}

void vnet_stream_refuse(VnetStream *s, enum vtoe_reason reason,
                        uint64_t *counter)
{
    vnet_stream_send(s, VNET_MSG_REJECT, 0, reason);
    vnet_stream_kill(s, counter, true, "rejected", reason);
}

/* Its guest asked for it, and waits for the answer. */
static bool stream_is_connecting(const VnetStream *s)
{
    return s->active && !s->was_up && s->state != VNET_STREAM_FAILING;
}

void vnet_stream_lost(VnetStream *s, enum vtoe_reason reason)
{
    VnetCoreStats *st = vnet_stream_stats(s);

    if (stream_is_connecting(s)) {
        stream_fail(s, &st->connect_link_lost, VTOE_EVENT_UNREACHABLE, reason);
    } else {
        vnet_stream_disconnect(s, &st->reset_link_lost, reason);
    }
}

/* --- Both directions' ends ----------------------------------------------- */

void vnet_stream_check_tx_end(VnetStream *s)
{
    if (s->state == VNET_STREAM_OPEN && s->tx == VNET_TX_ENDING &&
        s->tx_sent == s->tx_end) {
        s->tx = VNET_TX_ENDED;
        vnet_capture_end(s, VNET_TX);
        if (!vnet_resume_end_is_told(s)) {
            vnet_stream_send(s, VNET_MSG_END, 0, s->tx_end);
        }
        vnet_stream_owe(s, VNET_WORK_TX);        /* cid_tx_end */
    }
}

void vnet_stream_reset_soon(VnetStream *s, enum vtoe_reason reason)
{
    if (s->fail_reason == VTOE_REASON_NONE) {
        s->fail_reason = reason;
        vnet_stream_owe(s, VNET_WORK_RESET);
    }
}

void vnet_stream_rx_finished(VnetStream *s)
{
    s->rx = VNET_RX_DONE;
    vnet_capture_end(s, VNET_RX);
    if (!s->rx_closed) {
        vnet_upcall_begin(s->port);
        s->ops->rx_end(s->user);
        vnet_upcall_end(s->port);
    }
}

void vnet_stream_check_rx_end(VnetStream *s)
{
    if (s->state != VNET_STREAM_OPEN || s->rx != VNET_RX_ENDING) {
        return;
    }
    if (s->rx_got < s->rx_end) {
        /* Where streams are parked it may be that the link is lost, too. */
        if (s->rx_eof && !(s->link->features & VNET_HELLO_F_RESUME)) {
            vnet_stream_reset_soon(s, VTOE_REASON_LINK_LOST);
        }
        return;
    }
    s->ack_end = true;
    vnet_stream_owe(s, VNET_WORK_ACK);
    vnet_stream_rx_finished(s);
}

/* Bytes flow: for the first time, or again. */
static void stream_establish(VnetStream *s)
{
    bool again = s->was_up;

    if (s->state == VNET_STREAM_RESUMED) {
        s->port->net->stats.streams_resumed++;
    }
    s->state = VNET_STREAM_OPEN;
    s->was_up = true;
    vnet_timer_stop(&s->timer);
    vnet_stream_event(s, again ? "resumed" : "established", VTOE_REASON_NONE);
    if (!again) {
        s->port->net->stats.streams_established++;
        vnet_capture_established(s);
        vnet_upcall_begin(s->port);
        s->ops->established(s->user);
        vnet_upcall_end(s->port);
        if (s->state != VNET_STREAM_OPEN) {
            return;
        }
    }
    vnet_stream_owe(s, VNET_WORK_TX | VNET_WORK_RX);
    vnet_stream_check_tx_end(s);
    vnet_stream_check_rx_end(s);
    if (s->state == VNET_STREAM_OPEN) {
        vnet_stream_check_guard(s);
    }
}

void vnet_stream_try_establish(VnetStream *s)
{
    if (s->cid_up && (s->state == VNET_STREAM_ACCEPTED ||
                      s->state == VNET_STREAM_CONFIRMED ||
                      s->state == VNET_STREAM_RESUMED)) {
        if (s->core->upcalls) {
            vnet_stream_owe(s, VNET_WORK_ESTABLISHED);
        } else {
            stream_establish(s);
        }
    }
}

/* --- What is owed, and time ---------------------------------------------- */

static void stream_reset(VnetStream *s)
{
    VnetCoreStats *st = vnet_stream_stats(s);
    enum vtoe_reason reason = s->fail_reason;

    vnet_stream_send(s, VNET_MSG_ABORT, 0, reason);
    if (stream_is_connecting(s)) {
        stream_fail(s, &st->connect_host, VTOE_EVENT_CONNECT_ERROR, reason);
        return;
    }
    vnet_stream_disconnect(s, reason == VTOE_REASON_UNREAD ? &st->reset_unread :
                      reason == VTOE_REASON_LINK_LOST ? &st->reset_link_lost :
                      &st->reset_local, reason);
}

static void stream_send_ack(VnetStream *s)
{
    vnet_timer_stop(&s->ack_timer);
    s->rx_acked = s->rx_got;
    s->link->stats.acks_sent++;
    vnet_stream_send(s, VNET_MSG_ACK, s->ack_end ? VNET_ACK_F_END : 0,
                     s->rx_acked);
    s->ack_end = false;
}

bool vnet_stream_cid_usable(const VnetStream *s)
{
    return s->state == VNET_STREAM_OPEN && s->cid && s->cid_up &&
           s->fail_reason == VTOE_REASON_NONE;
}

void vnet_stream_kick_tx(VnetStream *s)
{
    if (vnet_stream_cid_usable(s) && s->tx < VNET_TX_ENDED) {
        s->link->ops->cid_tx(s->cid);
    }
    if (vnet_stream_cid_usable(s) && s->tx >= VNET_TX_ENDED &&
        !s->tx_ended_cid) {
        s->tx_ended_cid = true;
        s->link->ops->cid_tx_end(s->cid);
    }
}

void vnet_stream_kick_rx(VnetStream *s)
{
    if (vnet_stream_cid_usable(s) && s->rx != VNET_RX_DONE && !s->rx_eof) {
        s->link->ops->cid_rx(s->cid);
    }
}

void vnet_stream_run_work(VnetStream *s)
{
    unsigned work = s->work;

    s->work = 0;
    if (work & VNET_WORK_FAIL) {
        /* The counter was chosen when it was found to be impossible. */
        stream_fail(s, s->fail_counter, s->fail_event, s->fail_reason);
        return;
    }
    if (work & VNET_WORK_RESET) {
        stream_reset(s);
        return;
    }
    if (work & VNET_WORK_ESTABLISHED) {
        vnet_stream_try_establish(s);
    }
    if (work & VNET_WORK_TX) {
        vnet_stream_kick_tx(s);
    }
    if (work & VNET_WORK_RX) {
        vnet_stream_kick_rx(s);
    }
    if (s->state == VNET_STREAM_DEAD) {
        return;
    }
    if (work & VNET_WORK_CREDIT) {
        vnet_credit_tell(s);
    }
    if (work & VNET_WORK_ACK) {
        stream_send_ack(s);
    }
    if (s->state == VNET_STREAM_OPEN && s->tx == VNET_TX_DONE &&
        s->rx == VNET_RX_DONE && !s->ack_end) {
        vnet_resume_finished(s);
        vnet_stream_disconnect(s, &s->port->net->stats.streams_graceful,
                          VTOE_REASON_NONE);
    }
}

void vnet_stream_timeout(VnetStream *s, VnetTimer *t)
{
    VnetCoreStats *st = vnet_stream_stats(s);
    bool guard = vnet_stream_is_guarded(s);
    bool parked = t->in == &s->core->resume_q;
    enum vtoe_reason reason = guard || parked ? VTOE_REASON_LINK_LOST
                                              : VTOE_REASON_TIMEOUT;

    if (t == &s->ack_timer) {
        vnet_timer_stop(t);
        vnet_stream_owe(s, VNET_WORK_ACK);
        return;
    }
    if (guard && vnet_stream_guard_on(s)) {
        return;
    }
    vnet_timer_stop(t);
    vnet_stream_send(s, VNET_MSG_ABORT, 0, reason);
    if (parked) {
        vnet_stream_lost(s, reason);
    } else if (stream_is_connecting(s)) {
        stream_fail(s, guard ? &st->connect_cid_failed : &st->connect_timeout,
                    VTOE_EVENT_UNREACHABLE, reason);
    } else {
        vnet_stream_disconnect(s, guard ? &st->reset_link_lost
                                        : &st->reset_timeout, reason);
    }
}

void vnet_stream_get_info(const VnetStream *s, VnetStreamInfo *info)
{
    *info = (VnetStreamInfo) {
        .port_id = s->port->id,
        .sid = s->sid,
        .cid = s->id,
        .active = s->active,
        .link_id = s->link ? s->link->id : "",
        .state = s->state == VNET_STREAM_OPEN ? open_names[s->tx][s->rx]
                                              : state_names[s->state],
        .flow = s->flow,
        .tx_sent = s->tx_sent,
        .tx_acked = s->tx_acked,
        .rx_received = s->rx_got,
        .rx_acked = s->rx_acked,
        .tx_grants = vnet_credit_grants(s),
        .rx_lent = s->rx_lent,
    };
}

/* --- The peer's side ----------------------------------------------------- */

static void reject_open(VnetLink *l, uint32_t id, enum vtoe_reason reason,
                        uint64_t *counter)
{
    VnetMsg m = { .type = VNET_MSG_REJECT, .id = id };

    m.u.reject.reason = reason;
    (*counter)++;
    vnet_link_send(l, &m);
}

static void message_open(VnetLink *l, const VnetMsg *m)
{
    VnetCore *core = l->core;
    const VnetLane *lane = vnet_link_lane(l, m->u.open.vni);
    /* Of an id that is not here it counts as one for the core's own. */
    VnetNet *net = lane ? lane->net : vnet_core_net(core);
    VnetCoreStats *st = &net->stats;
    const VnetFlow *o = &m->u.open.flow;
    VnetFlow flow = {
        .family = o->family, .lport = o->rport, .rport = o->lport,
    };
    VnetPort *port = vnet_net_port_of(net, o->rmac);
    enum vtoe_reason reason;
    VnetStream *s;

    memcpy(flow.lmac, o->rmac, 6);
    memcpy(flow.rmac, o->lmac, 6);
    memcpy(flow.laddr, o->raddr, 16);
    memcpy(flow.raddr, o->laddr, 16);
    l->last_peer_id = m->id;
    l->peer_opened = true;

    if (!lane || !lane->end.up ||
        (l->given && !vnet_mac_set_has(l->given, flow.rmac))) {
        reject_open(l, m->id, VTOE_REASON_POLICY, &st->rejected_policy);
        return;
    }
    if (!port) {
        reject_open(l, m->id, VTOE_REASON_NO_PEER, &st->rejected_no_peer);
        return;
    }
    if (!port->streams_ok || !port->ops->connect_request) {
        reject_open(l, m->id, VTOE_REASON_NO_STREAMS,
                    &st->rejected_no_streams);
        return;
    }
    if (core->streams.length >= core->max_streams) {
        reject_open(l, m->id, VTOE_REASON_LIMIT, &st->rejected_limit);
        vnet_limit_reached(net, VNET_CORE_LIMIT_MAX_STREAMS, port, l,
                           vnet_now(core));
        return;
    }
    s = vnet_stream_new(port, l, false, &flow);
    s->state = VNET_STREAM_ASKED;
    vnet_stream_join_link(s, m->id);
    st->streams_passive++;
    vnet_stream_event(s, "asked", VTOE_REASON_NONE);
    vnet_upcall_begin(port);
    reason = port->ops->connect_request(port->opaque, s, &flow);
    vnet_upcall_end(port);
    if (s->state == VNET_STREAM_DEAD) {
        return;
    }
    if (reason != VTOE_REASON_NONE) {
        vnet_stream_refuse(s, reason, &st->rejected_port);
        return;
    }
    if (!vnet_stream_make_cid(s)) {
        /* After the guest was asked, so it must hear of the end. */
        s->fail_reason = VTOE_REASON_HOST;
        vnet_stream_send(s, s->state == VNET_STREAM_ASKED ? VNET_MSG_REJECT
                         : VNET_MSG_ABORT,
                         0, VTOE_REASON_HOST);
        vnet_stream_disconnect(s, &st->rejected_host, VTOE_REASON_HOST);
    }
}

static bool message_ack(VnetStream *s, const VnetMsg *m)
{
    VnetLink *l = s->link;
    uint64_t offset = m->u.offset.offset;
    bool end = m->flags & VNET_ACK_F_END;

    l->stats.acks_received++;
    if (offset < s->tx_acked || offset > s->tx_sent ||
        s->tx == VNET_TX_DONE ||
        (s->credit && !end) ||
        (end && (s->tx != VNET_TX_ENDED || offset != s->tx_end))) {
        vnet_link_close(l, &l->stats.bad_offset, VTOE_REASON_PROTOCOL,
                        "stream %#x: acknowledged %" PRIu64 "%s, but %" PRIu64
                        " bytes were sent", s->id, offset,
                        end ? " with the end" : "", s->tx_sent);
        return false;
    }
    if (end) {
        s->tx = VNET_TX_DONE;
        vnet_stream_owe(s, VNET_WORK_FINISH);
    }
    if (offset > s->tx_acked) {
        vnet_stream_acked(s, offset);
    }
    if (s->state == VNET_STREAM_OPEN) {
        vnet_stream_check_guard(s);
    }
    return true;
}

static bool message_end(VnetStream *s, const VnetMsg *m)
{
    VnetLink *l = s->link;

    if (s->rx != VNET_RX_OPEN) {
        vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                        "stream %#x: ended twice", s->id);
        return false;
    }
    if (m->u.offset.offset < s->rx_got) {
        vnet_link_close(l, &l->stats.bad_offset, VTOE_REASON_PROTOCOL,
                        "stream %#x: ends at %" PRIu64 ", but %" PRIu64
                        " bytes came", s->id, m->u.offset.offset, s->rx_got);
        return false;
    }
    s->rx = VNET_RX_ENDING;
    s->rx_end = m->u.offset.offset;
    vnet_stream_check_rx_end(s);
    if (s->state == VNET_STREAM_OPEN) {
        vnet_stream_check_guard(s);
    }
    return true;
}

static void message_abort(VnetStream *s, enum vtoe_reason reason)
{
    VnetCoreStats *st = vnet_stream_stats(s);

    if (stream_is_connecting(s)) {
        stream_fail(s, &st->connect_peer_abort, VTOE_EVENT_CONNECT_ERROR,
                    reason);
    } else {
        vnet_stream_disconnect(s, s->state == VNET_STREAM_ASKED
                          ? &st->reset_cancelled : &st->reset_peer, reason);
    }
}

bool vnet_stream_message(VnetLink *l, const VnetMsg *m)
{
    VnetStream *s = g_hash_table_lookup(l->by_id, GUINT_TO_POINTER(m->id));
    bool peers = !(m->id & VNET_STREAM_ID_SERVER) == l->server;

    if (m->type == VNET_MSG_OPEN || m->type == VNET_MSG_RESUME) {
        uint64_t feature = m->type == VNET_MSG_OPEN ? VNET_HELLO_F_STREAMS :
                           VNET_HELLO_F_RESUME;

        if (s && peers && s->tx == VNET_TX_DONE && s->rx == VNET_RX_DONE &&
            s->work) {
            /* Finished, the peer knows, but its end is still owed here. */
            g_queue_unlink(&l->core->stream_work, &s->work_node);
            vnet_stream_run_work(s);
            s = g_hash_table_lookup(l->by_id, GUINT_TO_POINTER(m->id));
        }
        if (!peers || s || !(l->features & feature)) {
            vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                            "stream %#x: %s, but %s", m->id,
                            m->type == VNET_MSG_OPEN ? "opened" : "resumed",
                            !peers ? "the id is not the peer's" :
                            s ? "it is in use" : "streams were not agreed on");
            return false;
        }
        if (m->type == VNET_MSG_RESUME) {
            return vnet_resume_message(l, m);
        }
        message_open(l, m);
        return true;
    }
    if (!s || s->state == VNET_STREAM_FAILING) {
        l->stats.unknown_stream++;
        return true;
    }
    if (m->type == VNET_MSG_ABORT) {
        message_abort(s, m->u.reject.reason);
        return true;
    }
    if (!takes[s->state][m->type] ||
        ((m->type == VNET_MSG_CREDIT || m->type == VNET_MSG_WANT) &&
         !s->credit) ||
        (m->type == VNET_MSG_REDIAL &&
         !(s->active && (l->features & VNET_HELLO_F_REDIAL)))) {
        vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                        "stream %#x: message %u in state %s", s->id, m->type,
                        state_names[s->state]);
        return false;
    }
    switch (m->type) {
    case VNET_MSG_ACCEPT:
        s->state = VNET_STREAM_ACCEPTED;
        vnet_stream_try_establish(s);
        return true;
    case VNET_MSG_REJECT:
        stream_fail(s, &vnet_stream_stats(s)->connect_rejected,
                    VTOE_EVENT_CONNECT_REJECTED, m->u.reject.reason);
        return true;
    case VNET_MSG_ACK:
        return message_ack(s, m);
    case VNET_MSG_END:
        return message_end(s, m);
    case VNET_MSG_RESUMED:
        return vnet_resumed_message(s, m);
    case VNET_MSG_REDIAL:
        vnet_stream_redial(s);
        return true;
    case VNET_MSG_CREDIT:
    case VNET_MSG_WANT:
        return vnet_credit_message(s, m);
    }
    g_assert_not_reached();
}

void vnet_streams_link_lost(VnetLink *l, bool violation, bool may_park)
{
    GList *head;

    if (may_park) {
        vnet_resume_stop_all(l);
    }
    while ((head = l->streams.head)) {
        VnetStream *s = head->data;
        VnetCoreStats *st = vnet_stream_stats(s);

        if (may_park) {
            /* Perhaps the last word was there, or a byte too many. */
            vnet_resume_settle(s);
            if (s->state == VNET_STREAM_DEAD) {
                continue;
            }
        }
        if (s->state == VNET_STREAM_FAILING) {
            stream_fail(s, s->fail_counter, s->fail_event, s->fail_reason);
        } else if (s->state == VNET_STREAM_OPEN && s->tx == VNET_TX_DONE &&
                   s->rx == VNET_RX_DONE &&
                   s->fail_reason == VTOE_REASON_NONE) {
            /* The last word came just before the link went. */
            vnet_resume_finished(s);
            vnet_stream_disconnect(s, &st->streams_graceful, VTOE_REASON_NONE);
        } else if (may_park && vnet_resume_park(s)) {
            continue;
        } else if (!violation) {
            vnet_stream_lost(s, VTOE_REASON_LINK_LOST);
        } else if (stream_is_connecting(s)) {
            stream_fail(s, &st->connect_violation, VTOE_EVENT_CONNECT_ERROR,
                        VTOE_REASON_PROTOCOL);
        } else {
            vnet_stream_disconnect(s, &st->reset_violation,
                                   VTOE_REASON_PROTOCOL);
        }
    }
}
