/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine: streams outlive their link (docs/specs/vnet-wire.rst,
 * "Resuming").
 *
 * A stream whose link is lost is parked, at either end, for core->resume_ns: its
 * connection is closed, its buffers are back with the NIC, its offsets stay.
 * When a link to the same peer is up, the same one again or another, the active
 * end says RESUME for each that it has parked, and FORGET behind the last; the
 * passive end says RESUMED.  Both say how far they have received, and whether
 * they know the end, so the other goes on there: bytes that were sent and not
 * received are with the guest still, as nothing was acknowledged that was not.
 *
 * A stream is found again by the token and the id that it was opened with, its
 * birth: ids of the new link say nothing about it.  "The same peer" is the one
 * with the same epoch; one that was started anew knows nothing.  An epoch is no
 * secret: another link's peer has to have the same identity, too.
 *
 * One end may be finished with a stream when the word that would have finished
 * it at the other is lost.  So the ends of the last FINISHED_MAX are remembered
 * for as long as a stream may be parked.
 */
#include <inttypes.h>
#include "vnet-stream.h"

/* Streams whose end is remembered. */
#define FINISHED_MAX    1024

struct VnetResume {
    uint64_t token;             /* with id: its birth */
    uint32_t id;
    bool end_told;              /* the peer knows tx_end */
    uint64_t epoch;             /* the peer's, ... */
    char *identity;             /* ... and who that is; NULL: nobody knows */
    VnetLink *link;             /* that it was on last; NULL: that is gone */
};

typedef struct Finished {
    uint64_t token, epoch, rx_end;
    uint64_t last;              /* token of the connection that it ended on */
    uint32_t id;
    bool active;
    char *identity;
    uint32_t vni;
    uint8_t rmac[6];
    int64_t until_ns;
} Finished;

static guint birth_hash(gconstpointer p)
{
    const VnetResume *r = p;

    return (guint)(r->token ^ (r->token >> 32)) ^ r->id * 2654435761u;
}

static gboolean birth_equal(gconstpointer a, gconstpointer b)
{
    const VnetResume *x = a, *y = b;

    return x->token == y->token && x->id == y->id;
}

static const char *identity(const VnetLink *l)
{
    return l->ops->identity ? l->ops->identity(l->transport) : NULL;
}

/* Whether the stream, which is parked, was with the peer of l. */
static bool is_with(const VnetStream *s, const VnetLink *l)
{
    return s->resume->epoch == l->peer_epoch &&
           !g_strcmp0(s->resume->identity, identity(l));
}

static void free_finished(gpointer finished)
{
    Finished *f = finished;

    g_free(f->identity);
    g_free(f);
}

/* Whether the peer of l has the network id, and was given the address that a stream
 * is with. */
static bool may_have(const VnetLink *l, const VnetNet *net,
                     const uint8_t rmac[6])
{
    return net && vnet_link_leads_to(l, net) &&
           (!l->given || vnet_mac_set_has(l->given, rmac));
}

void vnet_resume_init(VnetCore *core, uint32_t resume_ms)
{
    core->resume_q.duration_ns = resume_ms * VNET_MS;
    core->births = g_hash_table_new(birth_hash, birth_equal);
}

void vnet_resume_fini(VnetCore *core)
{
    g_hash_table_destroy(core->births);
    g_queue_clear_full(&core->finished, free_finished);
}

/* --- Parking ------------------------------------------------------------- */

/* States from which a stream can go on. */
static bool can_park(const VnetStream *s)
{
    switch (s->state) {
    case VNET_STREAM_ACCEPTED:
    case VNET_STREAM_CONFIRMED:
    case VNET_STREAM_OPEN:
    case VNET_STREAM_RESUMING:
    case VNET_STREAM_RESUMED:
        return s->fail_reason == VTOE_REASON_NONE && !s->unsettled &&
               (s->link->features & VNET_HELLO_F_RESUME);
    default:
        return false;
    }
}

void vnet_resume_settle(VnetStream *s)
{
    if (s->cid && s->link->ops->cid_settle && can_park(s)) {
        s->unsettled = !s->link->ops->cid_settle(s->cid);
    }
}

void vnet_resume_stop_all(VnetLink *l)
{
    for (GList *e = l->ops->cid_stop ? l->streams.head : NULL; e; e = e->next) {
        VnetStream *s = e->data;

        if (s->cid && can_park(s)) {
            l->ops->cid_stop(s->cid);
        }
    }
}

bool vnet_resume_park(VnetStream *s)
{
    VnetCore *core = s->core;
    VnetLink *l = s->link;

    vnet_resume_settle(s);
    if (s->state == VNET_STREAM_DEAD || !can_park(s)) {
        return false;
    }
    if (!s->resume) {
        s->resume = g_new0(VnetResume, 1);
        s->resume->token = l->token;
        s->resume->id = s->id;
        s->resume->end_told = s->tx >= VNET_TX_ENDED;
        s->resume->epoch = l->peer_epoch;
        s->resume->identity = g_strdup(identity(l));
        g_hash_table_insert(core->births, s->resume, s);
    }
    s->resume->link = l;
    vnet_stream_leave_link(s, true);
    vnet_credit_free(s);
    s->credit = NULL;
    s->id = 0;
    s->cid_taken = s->tx_ended_cid = s->rx_eof = s->ack_end = false;
    s->redialed = false;
    if (!s->was_up) {
        /* An END that the NIC could not be told yet: it is said again. */
        s->rx = VNET_RX_OPEN;
    }
    s->state = VNET_STREAM_PARKED;
    s->port->net->stats.streams_parked++;
    vnet_timer_start(core, &s->timer, &core->resume_q, vnet_now(core));
    vnet_stream_event(s, "parked", VTOE_REASON_LINK_LOST);
    return true;
}

void vnet_resume_free(VnetStream *s)
{
    if (s->resume) {
        g_hash_table_remove(s->core->births, s->resume);
        g_free(s->resume->identity);
        g_clear_pointer(&s->resume, g_free);
    }
}

/* --- Ends that may have to be told again --------------------------------- */

static void forget_finished(VnetCore *core)
{
    int64_t now = vnet_now(core);
    Finished *f;

    while ((f = g_queue_peek_head(&core->finished)) &&
           (f->until_ns <= now || core->finished.length > FINISHED_MAX)) {
        free_finished(g_queue_pop_head(&core->finished));
    }
}

void vnet_resume_finished(VnetStream *s)
{
    VnetCore *core = s->core;
    Finished *f;

    if (!s->link || !(s->link->features & VNET_HELLO_F_RESUME)) {
        return;
    }
    f = g_new(Finished, 1);
    *f = (Finished) {
        .token = s->resume ? s->resume->token : s->link->token,
        .id = s->resume ? s->resume->id : s->id,
        .epoch = s->link->peer_epoch,
        .last = s->link->token,
        .rx_end = s->rx_end,
        .active = s->active,
        .identity = g_strdup(identity(s->link)),
        .vni = s->port->net->vni,
        .until_ns = vnet_now(core) + core->resume_q.duration_ns,
    };
    memcpy(f->rmac, s->flow.rmac, 6);
    g_queue_push_tail(&core->finished, f);
    forget_finished(core);
}

/* Whether the stream was with the peer of l, which is told no token otherwise. */
static bool finished_with(const Finished *f, const VnetLink *l)
{
    return f->epoch == l->peer_epoch && !g_strcmp0(f->identity, identity(l)) &&
           may_have(l, vnet_core_find_net(l->core, f->vni), f->rmac);
}

static const Finished *find_finished(VnetLink *l, uint64_t token, uint32_t id)
{
    for (GList *e = l->core->finished.head; e; e = e->next) {
        const Finished *f = e->data;

        if (f->token == token && f->id == id && !f->active &&
            finished_with(f, l)) {
            return f;
        }
    }
    return NULL;
}

/* --- What is said -------------------------------------------------------- */

static void say(VnetLink *l, uint8_t type, uint8_t flags, uint32_t id,
                uint64_t token, uint32_t birth, uint64_t received)
{
    VnetMsg m = { .type = type, .flags = flags, .id = id };

    m.u.resume.token = token;
    m.u.resume.id = birth;
    m.u.resume.received = received;
    vnet_link_send(l, &m);
}

/* RESUME or RESUMED, with how far this end is. */
static void say_how_far(VnetStream *s, uint8_t type)
{
    s->rx_acked = s->rx_got;
    say(s->link, type, s->rx != VNET_RX_OPEN ? VNET_RESUME_F_END : 0, s->id,
        s->resume->token, s->resume->id, s->rx_got);
}

/* --- How far the peer is ------------------------------------------------- */

/* False: it cannot be; nothing has changed. */
static bool believable(const VnetStream *s, uint64_t received, bool end)
{
    bool told = s->tx >= VNET_TX_ENDED || s->resume->end_told;

    return received >= s->tx_acked && received <= s->tx_sent &&
           (!end || told) && (s->tx != VNET_TX_DONE || end);
}

/* Goes back to where the peer is. The NIC is called. */
static void go_back(VnetStream *s, uint64_t received, bool end)
{
    if (received > s->tx_acked) {
        vnet_stream_acked(s, received);
        if (s->state == VNET_STREAM_DEAD) {
            return;
        }
    }
    s->tx_sent = received;
    if (s->tx == VNET_TX_OPEN || s->tx == VNET_TX_DONE) {
        return;
    }
    s->resume->end_told = end;
    s->tx = end && received == s->tx_end ? VNET_TX_DONE : VNET_TX_ENDING;
}

static bool is_over(const VnetStream *s)
{
    return s->tx == VNET_TX_DONE && s->rx == VNET_RX_DONE;
}

/* Both ends were through with it, and one of them did not know. */
static void finish(VnetStream *s)
{
    s->port->net->stats.streams_resumed++;
    vnet_resume_finished(s);
    vnet_stream_disconnect(s, &s->port->net->stats.streams_graceful,
                           VTOE_REASON_NONE);
}

static void give_up(VnetStream *s)
{
    vnet_stream_lost(s, VTOE_REASON_LINK_LOST);
}

/*
 * Takes the peer's word, see go_back().  The NIC is called.  False: the peer broke
 * the protocol by it.
 */
static bool hear(VnetStream *s, VnetLink *l, const VnetMsg *m)
{
    bool end = m->flags & VNET_RESUME_F_END;

    if (!believable(s, m->u.resume.received, end)) {
        vnet_link_close(l, &l->stats.bad_offset, VTOE_REASON_PROTOCOL,
                        "stream %#x: resumes at %" PRIu64 ", which cannot be",
                        m->id, m->u.resume.received);
        return false;
    }
    go_back(s, m->u.resume.received, end);
    /* That all is here, up to the end, is said by RESUME and RESUMED, and so needs
     * no ACK any more; and the peer may be through with the stream. */
    if (s->state != VNET_STREAM_DEAD && s->rx == VNET_RX_ENDING &&
        s->rx_got == s->rx_end) {
        vnet_stream_rx_finished(s);
    }
    return true;
}

bool vnet_resume_end_is_told(const VnetStream *s)
{
    return s->resume && s->resume->end_told;
}

/* --- A link is there ----------------------------------------------------- */

/*
 * Those that are parked now, to be freed.  What is called for one may end others,
 * so each has to be looked at again; their memory stays until the end of the
 * dispatch.
 */
static GPtrArray *all_parked(VnetCore *core)
{
    GPtrArray *all = g_ptr_array_new();

    /* All of them wait there, and those that are being resumed. */
    for (GList *e = core->resume_q.q.head; e; e = e->next) {
        VnetStream *s = e->data;

        if (s->state == VNET_STREAM_PARKED) {
            g_ptr_array_add(all, s);
        }
    }
    return all;
}

static bool may_be_of(const VnetStream *s, const VnetLink *l)
{
    return may_have(l, s->port->net, s->flow.rmac);
}

/* Whether l may carry it on, at the active end: its own link, or where one to
 * this address would be opened now. */
static bool leads_on(const VnetStream *s, VnetLink *l)
{
    VnetPlace place;

    if (!is_with(s, l) || !may_be_of(s, l)) {
        return false;
    }
    if (s->resume->link == l) {
        return true;
    }
    place = vnet_switch_place(s->port->net->sw, &s->port->end, s->flow.lmac,
                              s->flow.rmac);
    return !place.end || !place.end->up ||
           (place.end->is_link && vnet_end_link(place.end) == l);
}

/* The active end. */
static void resume(VnetStream *s, VnetLink *l)
{
    s->link = l;
    s->state = VNET_STREAM_RESUMING;
    vnet_stream_join_link(s, vnet_link_new_id(l));
    say_how_far(s, VNET_MSG_RESUME);
    if (!vnet_stream_make_cid(s)) {
        vnet_stream_send(s, VNET_MSG_ABORT, 0, VTOE_REASON_HOST);
        give_up(s);
    }
}

bool vnet_resume_at_once(VnetStream *s)
{
    VnetLink *l = s->link;

    if (!vnet_resume_park(s)) {
        return false;
    }
    resume(s, l);
    return true;
}

/* Resumes all that l leads on to. */
static void resume_all(VnetLink *l)
{
    g_autoptr(GPtrArray) parked = all_parked(l->core);

    for (guint i = 0; i < parked->len; i++) {
        VnetStream *s = parked->pdata[i];

        if (s->state == VNET_STREAM_PARKED && s->active && leads_on(s, l)) {
            resume(s, l);
        }
    }
}

/* Ends those that were on l, whose peer is another one now; and those of network
 * ids that the peer has no more, with which it has ended them. */
static void give_up_strangers(VnetLink *l, bool resumes)
{
    g_autoptr(GPtrArray) parked = all_parked(l->core);

    for (guint i = 0; i < parked->len; i++) {
        VnetStream *s = parked->pdata[i];

        if (s->state != VNET_STREAM_PARKED) {
            continue;
        }
        if (is_with(s, l) && resumes
            ? !vnet_link_leads_to(l, s->port->net) : s->resume->link == l) {
            give_up(s);
        }
    }
}

/* Whether there are some that are being resumed on another link, or will be. */
static bool resumes_elsewhere(VnetLink *l)
{
    for (GList *e = l->core->resume_q.q.head; e; e = e->next) {
        VnetStream *s = e->data;

        if (s->active && s->link != l && s->resume->epoch == l->peer_epoch) {
            return true;
        }
    }
    return false;
}

/* Whether a connection has this token, and so admits others that say it. */
static bool is_in_use(const VnetCore *core, uint64_t token)
{
    for (guint i = 0; i < core->links->len; i++) {
        const VnetLink *l = core->links->pdata[i];

        if (l->state != VNET_LINK_DOWN && l->token == token) {
            return true;
        }
    }
    return false;
}

/*
 * Says on l what its peer may not have been told of the ends of streams: of those
 * whose connection is lost.  On one that is there it is told, and its token is
 * nobody's but the peer's of that link.  lost: of that one only; NULL: of all.
 */
static void say_finished(VnetLink *l, const VnetLink *lost)
{
    forget_finished(l->core);
    for (GList *e = l->core->finished.head; e; e = e->next) {
        const Finished *f = e->data;

        if (f->active && (!lost || f->last == lost->token) &&
            finished_with(f, l) && !is_in_use(l->core, f->token) &&
            !is_in_use(l->core, f->last)) {
            say(l, VNET_MSG_RESUME, VNET_RESUME_F_END | VNET_RESUME_F_DONE,
                vnet_link_new_id(l), f->token, f->id, f->rx_end);
        }
    }
}

void vnet_resume_link_up(VnetLink *l)
{
    bool resumes = l->features & VNET_HELLO_F_RESUME;
    VnetMsg m = { .type = VNET_MSG_FORGET };

    give_up_strangers(l, resumes);
    if (!resumes) {
        return;
    }
    resume_all(l);
    say_finished(l, NULL);
    /* Else those that are not named end by their time. */
    if (!resumes_elsewhere(l)) {
        vnet_link_send(l, &m);
    }
}

void vnet_resume_elsewhere(VnetLink *lost)
{
    VnetCore *core = lost->core;

    for (guint i = 0; i < core->links->len; i++) {
        VnetLink *l = core->links->pdata[i];

        if (l->state == VNET_LINK_UP && !l->closing &&
            l->peer_epoch == lost->peer_epoch &&
            (l->features & VNET_HELLO_F_RESUME)) {
            resume_all(l);
            say_finished(l, lost);
        }
    }
}

void vnet_resume_link_gone(VnetLink *l)
{
    for (GList *e = l->core->streams.head; e; e = e->next) {
        VnetStream *s = e->data;

        if (s->resume && s->resume->link == l) {
            s->resume->link = NULL;
        }
    }
}

/* --- The passive end ----------------------------------------------------- */

static VnetStream *find(VnetLink *l, uint64_t token, uint32_t id)
{
    VnetCore *core = l->core;
    const VnetResume birth = { .token = token, .id = id };
    VnetStream *s = g_hash_table_lookup(core->births, &birth);

    /* The peer may know of a loss that was not noticed here. */
    for (guint i = 0; !s && i < core->links->len; i++) {
        VnetLink *other = core->links->pdata[i];

        if (other->state == VNET_LINK_UP && other->token == token &&
            other->peer_epoch == l->peer_epoch &&
            !g_strcmp0(identity(other), identity(l))) {
            s = g_hash_table_lookup(other->by_id, GUINT_TO_POINTER(id));
            /* One that came here by another birth. */
            s = s && s->resume ? NULL : s;
        }
    }
    if (!s || s->active || !may_be_of(s, l) ||
        (s->resume && !is_with(s, l))) {
        return NULL;
    }
    if (s->state == VNET_STREAM_PARKED || vnet_resume_park(s)) {
        return s;
    }
    return NULL;
}

static void not_here(VnetLink *l, const VnetMsg *m)
{
    const Finished *f = find_finished(l, m->u.resume.token, m->u.resume.id);
    VnetMsg no = { .type = VNET_MSG_ABORT, .id = m->id };

    if (m->flags & VNET_RESUME_F_DONE) {
        return;
    }
    if (f) {
        say(l, VNET_MSG_RESUMED, VNET_RESUME_F_END | VNET_RESUME_F_DONE, m->id,
            f->token, f->id, f->rx_end);
        return;
    }
    no.u.reject.reason = VTOE_REASON_LINK_LOST;
    vnet_link_send(l, &no);
}

bool vnet_resume_message(VnetLink *l, const VnetMsg *m)
{
    VnetStream *s = find(l, m->u.resume.token, m->u.resume.id);

    l->last_peer_id = m->id;
    l->peer_opened = true;
    if (!s) {
        not_here(l, m);
        return true;
    }
    if (!hear(s, l, m)) {
        return false;
    }
    if (s->state == VNET_STREAM_DEAD) {
        return true;
    }
    if (m->flags & VNET_RESUME_F_DONE) {
        if (is_over(s)) {
            finish(s);
        } else {
            give_up(s);
        }
        return true;
    }
    s->link = l;
    s->state = VNET_STREAM_RESUMED;
    vnet_stream_join_link(s, m->id);
    say_how_far(s, VNET_MSG_RESUMED);
    if (is_over(s)) {
        finish(s);
    } else if (!vnet_stream_make_cid(s)) {
        vnet_stream_send(s, VNET_MSG_ABORT, 0, VTOE_REASON_HOST);
        give_up(s);
    }
    return true;
}

bool vnet_resumed_message(VnetStream *s, const VnetMsg *m)
{
    if (!hear(s, s->link, m)) {
        return false;
    }
    if (s->state == VNET_STREAM_DEAD) {
        return true;
    }
    s->state = VNET_STREAM_RESUMED;
    if (is_over(s)) {
        finish(s);
    } else if (m->flags & VNET_RESUME_F_DONE) {
        give_up(s);
    } else {
        vnet_stream_try_establish(s);
    }
    return true;
}

void vnet_resume_forget(VnetLink *l)
{
    g_autoptr(GPtrArray) parked = all_parked(l->core);

    for (guint i = 0; i < parked->len; i++) {
        VnetStream *s = parked->pdata[i];

        /* Of another link's loss the peer may not know yet. */
        if (s->state == VNET_STREAM_PARKED && !s->active &&
            s->resume->link == l) {
            give_up(s);
        }
    }
}
