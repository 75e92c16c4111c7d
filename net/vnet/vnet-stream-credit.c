/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine on message transports: which receives the peer was told
 * of, and which buffers are lent to be posted (docs/specs/vnet-wire.rst,
 * "Receives and credits").
 *
 * A message needs a receive that was posted before it was sent.  So a sender
 * keeps the receives it was told of (grants, by CREDIT, in the order posted)
 * and uses up one per message; without one it says what it has (WANT) and waits.
 *
 * A receiver lends its NIC's buffers to the transport
 * - ahead of data, so that the first bytes need no WANT: up to
 *   VNET_CREDIT_AHEAD, refilled when half of them are used, and only what the
 *   NIC can spare, because an idle stream keeps them;
 * - on demand, while the sender has more bytes than fit what is lent: whatever
 *   the NIC gives.  Such a receive is used at once and comes back, so that
 *   streams without end can take turns with few buffers.  More than
 *   VNET_CREDIT_AHEAD are lent to one stream only while the NIC can spare some.
 *
 * WANT and the bytes are not ordered against each other: a WANT may come when
 * the bytes it speaks of are there already, and asks for nothing then.
 */
#include <inttypes.h>
#include "vnet-stream.h"

/* Some receives of one length, that follow each other. */
typedef struct Run {
    uint32_t count, length;
} Run;

/* Grants are few and alike: a ring of runs, which grows if they are not. */
#define RUNS_MIN    4

struct VnetCredit {
    /* Sending */
    Run *runs;                  /* ring of `size`, a power of two; NULL: none */
    uint32_t head, nruns, size;
    uint32_t grants;            /* receives in all runs */
    bool asked;                 /* WANT sent, no CREDIT came since */
    uint64_t asked_for;         /* offset of the last WANT sent */
    /* Receiving */
    uint64_t wanted;            /* offset of the last WANT received */
    uint64_t wants, told;       /* WANTs received, CREDITs sent */
    Run owed;                   /* posted, the peer is not told yet */
    uint32_t usual;             /* length of the last buffer lent */
    bool filling;               /* half were used, and not all are lent yet */
    GArray *stray;              /* of VnetRxBuf: see vnet_credit_stray() */
};

void vnet_credit_new(VnetStream *s)
{
    const VnetTransportOps *ops = s->link->ops;

    if (ops->max_msg) {
        g_assert(ops->max_msg <= VNET_CREDIT_LENGTH_MAX);
        g_assert(ops->max_posted && ops->max_posted <= VNET_CREDIT_MAX);
        s->credit = g_new0(VnetCredit, 1);
    }
}

void vnet_credit_free(VnetStream *s)
{
    VnetCredit *c = s->credit;

    if (c) {
        g_assert(!c->stray);
        g_free(c->runs);
        g_free(c);
    }
}

/* --- Sending ------------------------------------------------------------- */

static Run *run_at(VnetCredit *c, uint32_t i)
{
    return &c->runs[(c->head + i) & (c->size - 1)];
}

static void runs_grow(VnetCredit *c)
{
    uint32_t size = MAX(c->size * 2, RUNS_MIN);
    Run *runs = g_new(Run, size);

    for (uint32_t i = 0; i < c->nruns; i++) {
        runs[i] = *run_at(c, i);
    }
    g_free(c->runs);
    c->runs = runs;
    c->head = 0;
    c->size = size;
}

static void runs_add(VnetCredit *c, uint32_t count, uint32_t length)
{
    Run *last = c->nruns ? run_at(c, c->nruns - 1) : NULL;

    c->grants += count;
    if (last && last->length == length) {
        last->count += count;
        return;
    }
    if (c->nruns == c->size) {
        runs_grow(c);
    }
    *run_at(c, c->nruns++) = (Run) { count, length };
}

uint32_t vnet_credit_grants(const VnetStream *s)
{
    return s->credit ? s->credit->grants : 0;
}

size_t vnet_credit_tx_room(const VnetStream *s)
{
    VnetCredit *c = s->credit;

    return c->grants ? MIN(run_at(c, 0)->length, s->link->ops->max_msg) : 0;
}

void vnet_credit_tx_used(VnetStream *s, size_t n)
{
    VnetCredit *c = s->credit;
    Run *first;

    g_assert(n && n <= vnet_credit_tx_room(s));
    first = run_at(c, 0);
    c->grants--;
    if (!--first->count) {
        c->head = (c->head + 1) & (c->size - 1);
        c->nruns--;
    }
}

bool vnet_credit_may_want(const VnetStream *s)
{
    return !s->credit->asked;
}

void vnet_credit_want(VnetStream *s, size_t n)
{
    VnetCredit *c = s->credit;

    c->asked = true;
    /* What was shown before is still there, though fewer pieces may have shown
     * less of it now. */
    c->asked_for = MAX(c->asked_for, s->tx_sent + n);
    s->link->stats.wants_sent++;
    vnet_stream_send(s, VNET_MSG_WANT, 0, c->asked_for);
}

static bool message_credit(VnetStream *s, uint32_t count, uint32_t length)
{
    VnetCredit *c = s->credit;
    VnetLink *l = s->link;

    l->stats.credits_received++;
    if (s->tx >= VNET_TX_ENDED) {
        return true;            /* it crossed the END */
    }
    if (count > VNET_CREDIT_MAX - c->grants) {
        vnet_link_close(l, &l->stats.bad_credit, VTOE_REASON_PROTOCOL,
                        "stream %#x: %u more receives, but %u are not used",
                        s->id, count, c->grants);
        return false;
    }
    runs_add(c, count, length);
    c->asked = false;
    vnet_stream_owe(s, VNET_WORK_TX);
    return true;
}

/* --- Receiving ----------------------------------------------------------- */

/* Bytes that the peer has for which no buffer is lent. */
static uint64_t demand(const VnetStream *s)
{
    uint64_t covered = s->rx_got + s->rx_lent_bytes;

    return s->credit->wanted > covered ? s->credit->wanted - covered : 0;
}

/*
 * END says that all bytes were sent, into receives that are posted; but of a stream
 * that was resumed they may have to be sent again.
 */
static bool may_come(const VnetStream *s)
{
    return s->rx == VNET_RX_OPEN || (s->rx == VNET_RX_ENDING && s->resume);
}

static bool may_lend(const VnetStream *s)
{
    return may_come(s) && !s->rx_closed &&
           s->rx_lent < s->link->ops->max_posted &&
           (s->rx == VNET_RX_OPEN ||
            s->rx_lent_bytes < s->rx_end - s->rx_got);
}

static unsigned spare(VnetStream *s)
{
    unsigned n;

    if (!s->ops->rx_spare) {
        return 0;
    }
    vnet_upcall_begin(s->port);
    n = s->ops->rx_spare(s->user);
    vnet_upcall_end(s->port);
    return n;
}

/* How many buffers to lend now. */
static unsigned lend(VnetStream *s)
{
    uint32_t left = s->link->ops->max_posted - s->rx_lent;
    uint32_t share = VNET_CREDIT_AHEAD - MIN(s->rx_lent, VNET_CREDIT_AHEAD);
    uint64_t need = demand(s);

    if (need) {
        /* A guess that errs on the side of too few: it is asked again. */
        uint64_t n = MAX(need / MAX(s->credit->usual, 1), 1);

        if (n > share) {
            share = MAX(share, spare(s));
        }
        return MIN(n, MIN(share, left));
    }
    s->credit->filling |= s->rx_lent <= VNET_CREDIT_AHEAD / 2;
    return s->credit->filling && share ? MIN(spare(s), MIN(share, left)) : 0;
}

unsigned vnet_credit_pull_rx(VnetStream *s, VnetRxBuf *bufs, unsigned n,
                             size_t max)
{
    bool asked_for;
    unsigned got;

    max = MIN(max, s->link->ops->max_msg);
    if (!may_lend(s)) {
        return 0;
    }
    asked_for = demand(s);
    n = MIN(n, lend(s));
    if (!n || s->state == VNET_STREAM_DEAD) {
        s->credit->filling = false;
        return 0;
    }
    /* rx_get bounds the bytes of all buffers: of one, if each must be bounded
     * to less than what a NIC's buffer can be. */
    n = max < VNET_CREDIT_LENGTH_MAX ? 1 : n;
    vnet_upcall_begin(s->port);
    got = s->ops->rx_get(s->user, bufs, n, n * max);
    vnet_upcall_end(s->port);
    if (s->state == VNET_STREAM_DEAD || !got) {
        s->credit->filling = false;
        return 0;
    }
    for (unsigned i = 0; i < got; i++) {
        g_assert(bufs[i].iov.iov_len && bufs[i].iov.iov_len <= max);
        s->rx_lent_bytes += bufs[i].iov.iov_len;
    }
    s->rx_lent += got;
    s->credit->usual = bufs[got - 1].iov.iov_len;
    if (asked_for) {
        s->link->stats.receives_wanted += got;
    } else {
        s->link->stats.receives_ahead += got;
    }
    return got;
}

void vnet_credit_tell(VnetStream *s)
{
    VnetCredit *c = s->credit;
    VnetMsg m = { .type = VNET_MSG_CREDIT, .id = s->id };

    if (c->owed.count && may_come(s)) {
        m.u.credit.count = c->owed.count;
        m.u.credit.length = c->owed.length;
        c->told++;
        s->link->stats.credits_sent++;
        vnet_link_send(s->link, &m);
    }
    c->owed.count = 0;
}

void vnet_stream_rx_posted(VnetStream *s, const VnetRxBuf *bufs, unsigned n)
{
    VnetCredit *c = s->credit;

    if (s->state == VNET_STREAM_DEAD) {
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        if (c->owed.count && c->owed.length != bufs[i].iov.iov_len) {
            vnet_credit_tell(s);
        }
        c->owed.length = bufs[i].iov.iov_len;
        c->owed.count++;
    }
    vnet_stream_owe(s, VNET_WORK_CREDIT);
}

void vnet_credit_rx_got(VnetStream *s)
{
    if (may_lend(s) && (demand(s) || s->rx_lent <= VNET_CREDIT_AHEAD / 2)) {
        vnet_stream_owe(s, VNET_WORK_RX);
    }
}

void vnet_credit_check_unread(VnetStream *s)
{
    if (s->rx_closed && s->credit->wanted > s->rx_got) {
        vnet_stream_reset_soon(s, VTOE_REASON_UNREAD);
    }
}

static bool message_want(VnetStream *s, uint64_t offset)
{
    VnetCredit *c = s->credit;
    VnetLink *l = s->link;
    /* Of one that was resumed END is known before the bytes are there again. */
    bool ended = s->rx != VNET_RX_OPEN && !(s->resume && offset <= s->rx_end);

    l->stats.wants_received++;
    if (ended || offset < c->wanted || c->wants > c->told) {
        vnet_link_close(l, &l->stats.bad_credit, VTOE_REASON_PROTOCOL,
                        "stream %#x: wants receives up to %" PRIu64 ", %s",
                        s->id, offset, ended ? "but has ended" :
                        offset < c->wanted ? "but wanted more before" :
                        "again without a credit");
        return false;
    }
    c->wants++;
    c->wanted = offset;
    vnet_credit_check_unread(s);
    vnet_stream_owe(s, VNET_WORK_RX);
    return true;
}

bool vnet_credit_is_stray(const VnetStream *s, size_t len)
{
    return s->rx == VNET_RX_DONE || s->credit->stray ||
           (s->rx == VNET_RX_ENDING && len > s->rx_end - s->rx_got);
}

void vnet_credit_stray(VnetStream *s, const VnetRxBuf *buf, size_t len)
{
    VnetLink *l = s->link;

    /* It stays lent until the younger ones have gone back, which the closing
     * brings about. */
    if (!s->credit->stray) {
        s->credit->stray = g_array_new(FALSE, FALSE, sizeof(*buf));
    }
    g_array_append_val(s->credit->stray, *buf);
    vnet_link_close(l, &l->stats.bad_offset, VTOE_REASON_PROTOCOL,
                    "stream %#x: ends at %" PRIu64 ", but %zu bytes came at %"
                    PRIu64, s->id, s->rx_end, len, s->rx_got);
}

void vnet_credit_cid_dropped(VnetStream *s)
{
    GArray *stray = s->credit->stray;

    s->credit->stray = NULL;
    if (stray) {
        vnet_stream_rx_unused(s, (VnetRxBuf *)stray->data, stray->len);
        g_array_free(stray, TRUE);
    }
}

bool vnet_credit_message(VnetStream *s, const VnetMsg *m)
{
    return m->type == VNET_MSG_WANT
           ? message_want(s, m->u.offset.offset)
           : message_credit(s, m->u.credit.count, m->u.credit.length);
}
