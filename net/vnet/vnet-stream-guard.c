/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine: a connection (CID) that is lost while the link is there, or
 * ends too early (docs/specs/vnet-wire.rst, "Loss of a data connection").
 *
 * Only the peer can say why, by a message of the control connection, which may
 * come later than the loss: END with all bytes received, ABORT, REJECT.  So the
 * stream waits for it, in core->guard_q.  Where streams are parked it need not
 * wait for long: after VNET_ASK_NS in core->ask_q the peer is asked (PING), and
 * what it said before comes before the answer.  If that explains nothing, the
 * connection was lost alone, and the stream goes on with another: the active end
 * parks it and resumes it at once (vnet-stream-resume.c), the passive end asks it to
 * (REDIAL).
 */
#include "vnet-stream.h"

/*
 * Whether the CID has still to carry something.  Bytes that were sent and not
 * acknowledged may be lost with it, and the peer, which only waits for them,
 * may not notice that the connection is.
 */
static bool cid_is_needed(const VnetStream *s)
{
    return s->tx < VNET_TX_ENDED || s->tx_acked < s->tx_sent ||
           s->rx != VNET_RX_DONE;
}

static bool peer_parks(const VnetStream *s)
{
    return s->link->features & VNET_HELLO_F_RESUME;
}

bool vnet_stream_is_guarded(const VnetStream *s)
{
    return s->timer.in == &s->core->guard_q || s->timer.in == &s->core->ask_q;
}

static void check_redialed(VnetStream *s, bool missing)
{
    if (!missing) {
        s->redialed = false;
        vnet_timer_stop(&s->timer);
    }
}

void vnet_stream_check_guard(VnetStream *s)
{
    VnetCore *core = s->core;
    bool lost = !s->cid && cid_is_needed(s);
    bool early = s->rx_eof && s->rx != VNET_RX_DONE;

    if (s->redialed) {
        check_redialed(s, lost);
    } else if (!lost && !early) {
        if (vnet_stream_is_guarded(s)) {
            vnet_timer_stop(&s->timer);
        }
    } else if (!vnet_stream_is_guarded(s)) {
        s->asked = false;
        vnet_timer_start(core, &s->timer, peer_parks(s) ? &core->ask_q
                                                        : &core->guard_q,
                         vnet_now(core));
    }
}

static bool is_explained(const VnetStream *s)
{
    return s->asked && vnet_link_answered(s->link, s->answer_due);
}

bool vnet_stream_guard_on(VnetStream *s)
{
    VnetCore *core = s->core;

    if (!peer_parks(s) || is_explained(s)) {
        return false;
    }
    /* Without an answer the link may be lost, too, or slow. */
    if (!s->asked) {
        s->answer_due = vnet_link_ask(s->link);
        s->asked = true;
    }
    vnet_timer_start(core, &s->timer, &core->guard_q, vnet_now(core));
    return true;
}

/* --- Lost alone ---------------------------------------------------------- */

/*
 * Connections that are lost as soon as they are made must not be made for ever: one
 * that is lost within the guard time after another has to have moved something.
 */
static bool is_hopeless(const VnetStream *s)
{
    return s->lost_ns && s->tx_acked + s->rx_got == s->lost_moved &&
           vnet_now(s->core) - s->lost_ns < VNET_GUARD_NS;
}

/*
 * The passive end, which cannot resume, stays as it is: what the active end said
 * before it hears of the loss, even that the stream is over, may still come.
 */
static void ask_for_another(VnetStream *s)
{
    vnet_stream_cid_drop(s, true);
    s->redialed = true;
    vnet_timer_start(s->core, &s->timer, &s->core->resume_q,
                     vnet_now(s->core));
    vnet_stream_send(s, VNET_MSG_REDIAL, 0, 0);
}

/* Its CID was lost alone. */
static void go_on(VnetStream *s)
{
    bool hopeless = s->unsettled || is_hopeless(s);

    s->lost_ns = vnet_now(s->core);
    s->lost_moved = s->tx_acked + s->rx_got;
    if (!hopeless && !s->active) {
        ask_for_another(s);
    } else if (hopeless || !vnet_resume_at_once(s)) {
        if (s->state != VNET_STREAM_DEAD) {
            vnet_stream_reset_soon(s, VTOE_REASON_LINK_LOST);
        }
    }
}

/* Others that are lost and explained are reset at the end of the guard time. */
static bool can_go_on(const VnetStream *s)
{
    return s->state == VNET_STREAM_OPEN && vnet_stream_is_guarded(s) &&
           s->fail_reason == VTOE_REASON_NONE && is_explained(s);
}

void vnet_streams_answered(VnetLink *l)
{
    g_autoptr(GPtrArray) lost = NULL;

    if (!(l->features & VNET_HELLO_F_REDIAL)) {
        return;
    }
    lost = g_ptr_array_new();
    for (GList *e = l->core->guard_q.q.head; e; e = e->next) {
        VnetStream *s = e->data;

        if (s->link == l && can_go_on(s)) {
            g_ptr_array_add(lost, s);
        }
    }
    for (guint i = 0; i < lost->len; i++) {
        VnetStream *s = lost->pdata[i];

        /* What became of one may have ended others. */
        if (s->link == l && can_go_on(s)) {
            go_on(s);
        }
    }
}

void vnet_stream_redial(VnetStream *s)
{
    /* Nothing is left to be done by another connection. */
    bool over = s->tx == VNET_TX_DONE && s->rx == VNET_RX_DONE;

    if (!over && s->fail_reason == VTOE_REASON_NONE) {
        go_on(s);
    }
}
