// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * SendWQ of stream pairs: what sessions send (vtoe.rst, section 3.2).
 *
 * A session's data lie in buffers; a record names one piece of one
 * buffer.  Records are kept in a ring per session: [tail, posted) have a
 * descriptor in the SendWQ or were read from it, [posted, head) wait.  Small
 * writes that follow each other in one buffer join the last record as long as
 * it is not posted.  Acknowledgement is cumulative, so a buffer is free when
 * the record marked `last' is.  Sessions that have something to post stand in
 * pair->pending and take turns of VTOE_TX_QUANTUM descriptors; when the ring is
 * full they wait there for a completion, or for tx_timer if nothing that
 * completes is in the ring.
 */
#include <linux/dma-mapping.h>
#include "vtoe_cap.h"

/* A buffer with less room than this is not worth keeping. */
#define VTOE_TX_MIN_ROOM	128u

/* What may be posted now: all but a last piece held back by a cork. */
static u32 vtoe_tx_limit(const struct vtoe_session *s)
{
	const struct vtoe_txrec *r;

	if (likely(!s->tx_hold) || s->head == s->posted)
		return s->head;
	r = &s->rec[(s->head - 1) & (s->nrec - 1)];
	return r->last ? s->head : s->head - 1;
}

static bool vtoe_tx_wants(const struct vtoe_session *s)
{
	return s->credit_pending ||
	       (s->posted != vtoe_tx_limit(s) &&
		s->posted - s->tail < s->nrec);
}

static void vtoe_tx_credit_desc(struct vtoe_pair *p, struct vtoe_session *s)
{
	struct vtoe_queue *q = &p->q;
	struct vtoe_send_desc *d = (struct vtoe_send_desc *)q->send +
				   (q->send_prod & (q->send_size - 1));

	memset(d, 0, sizeof(*d));
	d->addr = cpu_to_le64(s->credit);
	d->sid = cpu_to_le32(s->sid);
	d->op = VTOE_SEND_CREDIT;
	q->send_prod++;
	s->credit_pending = false;
	if (vtoe_cap_on())
		vtoe_cap_credit(s);
	p->st.tx_credits++;
}

static void vtoe_tx_data_desc(struct vtoe_pair *p, struct vtoe_session *s)
{
	struct vtoe_queue *q = &p->q;
	struct vtoe_send_desc *d = (struct vtoe_send_desc *)q->send +
				   (q->send_prod & (q->send_size - 1));
	const struct vtoe_txrec *r = &s->rec[s->posted & (s->nrec - 1)];

	dma_sync_single_for_device(&p->dev->pdev->dev, r->buf->dma + r->off,
				   r->len, DMA_TO_DEVICE);
	d->addr = cpu_to_le64(r->buf->dma + r->off);
	d->len = cpu_to_le32(r->len);
	d->sid = cpu_to_le32(s->sid);
	d->op = VTOE_SEND_DATA;
	d->flags = 0;
	memset(&d->hdr, 0, sizeof(d->hdr));
	d->reserved = 0;
	q->send_prod++;
	s->posted++;
	/* Alone on its way, and not so often that the clock costs. */
	if (s->tx_posted == s->tx_acked && !s->rtt_off &&
	    time_after_eq(jiffies, s->rtt_next)) {
		s->rtt_off = s->tx_posted + r->len;
		s->rtt_began = ktime_get_ns();
	}
	if (vtoe_cap_on())
		vtoe_cap_sent(s, r->buf->va + r->off, r->len);
	WRITE_ONCE(s->tx_posted, s->tx_posted + r->len);
	if (vtoe_cap_on())
		vtoe_cap_posted(s);
	p->st.tx_stream_bytes += r->len;
	p->st.tx_stream_descs++;
}

/* Lets the pending sessions take their turns.  tx_lock is held. */
static void vtoe_tx_pump(struct vtoe_pair *p)
{
	struct vtoe_queue *q = &p->q;
	u32 old = q->send_prod;

	if (unlikely(p->stopped))
		return;
	while (!list_empty(&p->pending)) {
		struct vtoe_session *s = list_first_entry(&p->pending,
							  struct vtoe_session,
							  pend_node);
		u32 n = min(vtoe_send_room(q, VTOE_TX_QUANTUM),
			    VTOE_TX_QUANTUM);

		if (unlikely(!n)) {
			p->st.tx_ring_full++;
			mod_timer(&p->tx_timer, jiffies + 1);
			break;
		}
		if (s->credit_pending) {
			vtoe_tx_credit_desc(p, s);
			n--;
		}
		while (n && s->posted != vtoe_tx_limit(s) &&
		       s->posted - s->tail < s->nrec) {
			vtoe_tx_data_desc(p, s);
			n--;
		}
		if (vtoe_tx_wants(s))
			list_move_tail(&s->pend_node, &p->pending);
		else
			list_del_init(&s->pend_node);
	}
	if (q->send_prod != old && vtoe_send_publish(q, old))
		vtoe_doorbell(q);
}

/* tx_lock is held. */
static void vtoe_tx_kick(struct vtoe_pair *p, struct vtoe_session *s)
{
	if (list_empty(&s->pend_node)) {
		if (!vtoe_tx_wants(s))
			return;
		list_add_tail(&s->pend_node, &p->pending);
	}
	vtoe_tx_pump(p);
}

void vtoe_tx_timer_fn(struct timer_list *t)
{
	struct vtoe_pair *p = from_timer(p, t, tx_timer);

	spin_lock(&p->tx_lock);
	vtoe_tx_pump(p);
	spin_unlock(&p->tx_lock);
}

/*
 * Bytes that were appended need no doorbell of their own while the rest of the
 * same write is on its way, nor while much is in flight: the completion that is
 * due posts them, unless enough come together before.
 */
static bool vtoe_tx_can_wait(const struct vtoe_session *s, bool more)
{
	u64 waiting = s->tx_queued - s->tx_posted;

	return (more && waiting < VTOE_TX_BUSY) ||
	       (s->tx_posted - s->tx_acked >= VTOE_TX_BUSY &&
		waiting < VTOE_TX_BATCH);
}

/*
 * When some were acknowledged: while more is in flight than waits, the next
 * completion is early enough.
 */
static bool vtoe_tx_can_wait_on(const struct vtoe_session *s)
{
	u64 flying = s->tx_posted - s->tx_acked;

	return flying >= VTOE_TX_BUSY && s->tx_queued - s->tx_posted < flying;
}

struct vtoe_buf *vtoe_tx_buf(struct vtoe_session *s, gfp_t gfp)
{
	struct vtoe_buf *b = xchg(&s->cur, NULL);

	if (!b) {
		b = vtoe_buf_get(&s->dev->pool, gfp);
		if (unlikely(!b))
			s->pair->st.tx_no_memory++;
	}
	return b;
}
EXPORT_SYMBOL_GPL(vtoe_tx_buf);

void vtoe_tx_append(struct vtoe_session *s, struct vtoe_buf *b, u32 len,
		    bool more)
{
	struct vtoe_pair *p = s->pair;
	struct vtoe_txrec *r;

	spin_lock_bh(&p->tx_lock);
	if (unlikely(s->tx_dead))
		goto out;
	if (likely(len)) {
		r = &s->rec[(s->head - 1) & (s->nrec - 1)];
		if (s->head != s->posted && r->buf == b &&
		    r->off + r->len == b->off &&
		    r->len + len <= p->dev->max_segment) {
			r->len += len;
		} else {
			r = &s->rec[s->head & (s->nrec - 1)];
			r->buf = b;
			r->off = b->off;
			r->len = len;
			r->last = false;
			WRITE_ONCE(s->head, s->head + 1);
		}
		b->off += len;
		WRITE_ONCE(s->tx_stamp, jiffies);
		if (s->tx_queued == s->tx_acked)
			WRITE_ONCE(s->tx_progress, jiffies);
		WRITE_ONCE(s->tx_queued, s->tx_queued + len);
		s->tx_hold = more;
		if (b->size - b->off < VTOE_TX_MIN_ROOM) {
			r->last = true;
			b = NULL;
		}
		if (!vtoe_tx_can_wait(s, more))
			vtoe_tx_kick(p, s);
	}
	if (b && s->tail != s->head) {
		xchg(&s->cur, b);
		b = NULL;
	}
out:
	spin_unlock_bh(&p->tx_lock);
	if (b)
		vtoe_buf_free(b);
}
EXPORT_SYMBOL_GPL(vtoe_tx_append);

void vtoe_tx_push(struct vtoe_session *s)
{
	struct vtoe_pair *p = s->pair;

	spin_lock_bh(&p->tx_lock);
	s->tx_hold = false;
	if (!s->tx_dead)
		vtoe_tx_kick(p, s);
	spin_unlock_bh(&p->tx_lock);
}
EXPORT_SYMBOL_GPL(vtoe_tx_push);

void vtoe_session_credit(struct vtoe_session *s, u64 limit)
{
	struct vtoe_pair *p = s->pair;

	spin_lock_bh(&p->tx_lock);
	if (!s->tx_dead && limit > s->credit) {
		s->credit = limit;
		s->credit_pending = true;
		vtoe_tx_kick(p, s);
	}
	spin_unlock_bh(&p->tx_lock);
}
EXPORT_SYMBOL_GPL(vtoe_session_credit);

/*
 * A round trip that began at rtt_began is over: smoothed as RFC 6298 has it.
 * tx_lock is held, or nothing was sent yet.
 */
void vtoe_rtt_sample(struct vtoe_session *s)
{
	u64 ns = ktime_get_ns() - s->rtt_began;
	u32 us = clamp_t(u64, div_u64(ns, NSEC_PER_USEC), 1, U32_MAX >> 4);
	s32 err;

	s->rtt_off = 0;
	s->rtt_next = jiffies + HZ / 10;
	if (!s->srtt_us) {
		s->rtt_min_us = us;
		s->rttvar_us = us << 1;
		WRITE_ONCE(s->srtt_us, us << 3);
		return;
	}
	err = us - (s->srtt_us >> 3);
	WRITE_ONCE(s->srtt_us, s->srtt_us + err);
	s->rttvar_us += abs(err) - (s->rttvar_us >> 2);
	s->rtt_min_us = min(s->rtt_min_us, us);
}

/* All bytes below offset are in the peer's memory. */
void vtoe_tx_ack(struct vtoe_pair *p, struct vtoe_session *s, u64 offset)
{
	struct vtoe_buf *cur = NULL;
	LIST_HEAD(bufs);

	spin_lock(&p->tx_lock);
	if (offset > s->tx_posted)
		offset = s->tx_posted;
	while (s->tail != s->posted) {
		struct vtoe_txrec *r = &s->rec[s->tail & (s->nrec - 1)];

		if (s->tail_off + r->len > offset)
			break;
		s->tail_off += r->len;
		if (r->last)
			list_add_tail(&r->buf->node, &bufs);
		WRITE_ONCE(s->tail, s->tail + 1);
	}
	if (offset > s->tx_acked) {
		p->poll_bytes += offset - s->tx_acked;
		p->st.tx_acked_bytes += offset - s->tx_acked;
		WRITE_ONCE(s->tx_acked, offset);
		WRITE_ONCE(s->tx_progress, jiffies);
		if (s->rtt_off && offset >= s->rtt_off)
			vtoe_rtt_sample(s);
	}
	if (s->tail == s->head)
		cur = xchg(&s->cur, NULL);
	if (!s->tx_dead && !vtoe_tx_can_wait_on(s))
		vtoe_tx_kick(p, s);
	else if (!list_empty(&p->pending))
		vtoe_tx_pump(p);
	spin_unlock(&p->tx_lock);
	if (cur)
		vtoe_buf_free(cur);
	vtoe_bufs_free(&bufs);
}

/* Gives back all data to send. */
void vtoe_tx_purge(struct vtoe_session *s)
{
	struct vtoe_pair *p = s->pair;
	struct vtoe_buf *b;
	LIST_HEAD(bufs);

	spin_lock_bh(&p->tx_lock);
	s->tx_dead = true;
	list_del_init(&s->pend_node);
	for (; s->tail != s->head; s->tail++) {
		struct vtoe_txrec *r = &s->rec[s->tail & (s->nrec - 1)];

		if (r->last)
			list_add_tail(&r->buf->node, &bufs);
	}
	s->posted = s->head;
	b = xchg(&s->cur, NULL);
	spin_unlock_bh(&p->tx_lock);
	if (b)
		vtoe_buf_free(b);
	vtoe_bufs_free(&bufs);
}
