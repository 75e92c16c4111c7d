// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stream pairs: the data path of sessions (vtoe.rst, sections 3.2 to 3.4).
 *
 * Sending.  A session's data lie in buffers; a record names one piece of one
 * buffer.  Records are kept in a ring per session: [tail, posted) have a
 * descriptor in the SendWQ or were read from it, [posted, head) wait.  Small
 * writes that follow each other in one buffer join the last record as long as
 * it is not posted.  Acknowledgement is cumulative, so a buffer is free when
 * the record marked `last' is.  Sessions that have something to post stand in
 * pair->pending and take turns of VTOE_TX_QUANTUM descriptors; when the ring is
 * full they wait there for a completion, or for tx_timer if nothing that
 * completes is in the ring.
 *
 * Receiving.  The RecvWQ is a pool of large buffers.  A completion moves its
 * buffer to the session's batch; the batch is handed up once per poll, and the
 * ring is refilled from the device's pool at once, so a slow reader never
 * holds a slot.  Its memory is bounded by its credit.
 *
 * Interrupts.  When a poll brings much (VTOE_BULK) there is somebody with work
 * to do, and the next interrupt is asked for only some completions later.
 * Whoever has done that work and would wait polls first (vtoe_session_poll());
 * a poll that brings little asks for the next completion as usual.  lazy_timer
 * is for other sessions of the pair, whose completions may be among the few.
 *
 * End.  A session whose last event came is on pair->dying.  The poll takes that
 * list before it reads the ring; when it then finds the ring empty, all data
 * that came before those events are up, and the sessions are finished.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>
#include "vtoe.h"

#define VTOE_TOUCH_DATA		BIT(0)
#define VTOE_TOUCH_ACKED	BIT(1)
#define VTOE_TOUCH_END		BIT(2)
#define VTOE_TOUCH_ABORT	BIT(3)

/* A buffer with less room than this is not worth keeping. */
#define VTOE_TX_MIN_ROOM	128u

/* --- sessions ------------------------------------------------------------- */

/* The session of a SID, or NULL.  Call it under RCU. */
struct vtoe_session *vtoe_session_find(struct vtoe_dev *dev, u32 sid)
{
	if (sid & VTOE_SID_PASSIVE)
		return xa_load(&dev->passive, sid & ~VTOE_SID_PASSIVE);
	return xa_load(&dev->active, sid);
}

static void vtoe_session_erase(struct vtoe_session *s)
{
	if (s->sid & VTOE_SID_PASSIVE)
		xa_erase_bh(&s->dev->passive, s->sid & ~VTOE_SID_PASSIVE);
	else
		xa_erase_bh(&s->dev->active, s->sid);
}

int vtoe_session_init(struct vtoe_session *s, struct vtoe_dev *dev,
		      const struct vtoe_session_ops *ops, unsigned int hint,
		      gfp_t gfp)
{
	memset(s, 0, sizeof(*s));
	if (!vtoe_dev_stream_pairs(dev))
		return -ENODEV;
	s->nrec = rounddown_pow_of_two(min(VTOE_TX_RECORDS,
					   dev->max_inflight));
	s->rec = kmalloc_array(s->nrec, sizeof(*s->rec), gfp);
	if (!s->rec)
		return -ENOMEM;
	s->dev = dev;
	s->pair = &dev->pairs[hint % dev->nstream];
	s->ops = ops;
	refcount_set(&s->ref, 1);
	INIT_LIST_HEAD(&s->cmd_node);
	INIT_LIST_HEAD(&s->pend_node);
	INIT_LIST_HEAD(&s->rx_batch);
	INIT_LIST_HEAD(&s->dying_node);
	kref_get(&dev->kref);
	return 0;
}
EXPORT_SYMBOL_GPL(vtoe_session_init);

void vtoe_session_put(struct vtoe_session *s)
{
	struct vtoe_dev *dev = s->dev;

	if (!refcount_dec_and_test(&s->ref))
		return;
	/* Never connected, or ended: vtoe_session_finish() freed the data. */
	kfree(s->rec);
	s->rec = NULL;
	s->ops->release(s);
	kref_put(&dev->kref, vtoe_dev_release);
}
EXPORT_SYMBOL_GPL(vtoe_session_put);

/* Takes the device's reference, unless the device does not run. */
static int vtoe_session_start(struct vtoe_session *s, unsigned int bit)
{
	struct vtoe_dev *dev = s->dev;

	spin_lock_bh(&dev->cmd_lock);
	if (!test_bit(VTOE_DEV_RUNNING, &dev->state)) {
		spin_unlock_bh(&dev->cmd_lock);
		vtoe_session_erase(s);
		return -ENODEV;
	}
	vtoe_session_get(s);
	s->live = true;
	spin_unlock_bh(&dev->cmd_lock);
	vtoe_cmd_want(s, bit);
	return 0;
}

int vtoe_session_connect(struct vtoe_session *s, u64 limit, gfp_t gfp)
{
	struct vtoe_dev *dev = s->dev;
	int err;

	s->rx_limit = limit;
	s->credit = limit;
	err = xa_alloc_cyclic_bh(&dev->active, &s->sid, s,
				 XA_LIMIT(1, VTOE_SID_LIMIT), &dev->next_sid,
				 gfp);
	if (err < 0)
		return err == -EBUSY ? -EMFILE : err;
	return vtoe_session_start(s, VTOE_SCMD_CONNECT);
}
EXPORT_SYMBOL_GPL(vtoe_session_connect);

int vtoe_session_accept(struct vtoe_session *s, u32 sid, u64 limit, gfp_t gfp)
{
	int err;

	s->sid = sid;
	s->rx_limit = limit;
	s->credit = limit;
	err = xa_insert_bh(&s->dev->passive, sid & ~VTOE_SID_PASSIVE, s, gfp);
	if (err)
		return err == -EBUSY ? -EEXIST : err;
	return vtoe_session_start(s, VTOE_SCMD_ACCEPT);
}
EXPORT_SYMBOL_GPL(vtoe_session_accept);

void vtoe_session_shutdown(struct vtoe_session *s)
{
	vtoe_tx_push(s);
	vtoe_cmd_want(s, VTOE_SCMD_SHUTDOWN);
}
EXPORT_SYMBOL_GPL(vtoe_session_shutdown);

void vtoe_session_close(struct vtoe_session *s)
{
	vtoe_tx_push(s);
	vtoe_cmd_want(s, VTOE_SCMD_CLOSE);
}
EXPORT_SYMBOL_GPL(vtoe_session_close);

void vtoe_session_abort(struct vtoe_session *s, u16 reason)
{
	s->abort_reason = reason;
	vtoe_cmd_want(s, VTOE_SCMD_ABORT);
}
EXPORT_SYMBOL_GPL(vtoe_session_abort);

/* Its last event came (or will never come). */
void vtoe_session_ended(struct vtoe_session *s, u8 event, u16 reason)
{
	struct vtoe_pair *p = s->pair;

	spin_lock_bh(&p->dying_lock);
	if (!s->dying && READ_ONCE(s->live)) {
		s->dying = true;
		s->end_event = event;
		s->end_reason = reason;
		list_add_tail(&s->dying_node, &p->dying);
		napi_schedule(&p->q.napi);
	}
	spin_unlock_bh(&p->dying_lock);
}

static void vtoe_bufs_free(struct list_head *bufs)
{
	struct vtoe_buf *b, *tmp;

	list_for_each_entry_safe(b, tmp, bufs, node)
		vtoe_buf_free(b);
	INIT_LIST_HEAD(bufs);
}

/* Gives back all data to send. */
static void vtoe_tx_purge(struct vtoe_session *s)
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

/*
 * The end of a live session.  Bottom halves are disabled; NAPI of the pair
 * runs nowhere else.
 */
static void vtoe_session_finish(struct vtoe_session *s)
{
	struct vtoe_dev *dev = s->dev;
	bool waiting = false;

	vtoe_session_erase(s);
	spin_lock_bh(&dev->cmd_lock);
	s->live = false;
	s->cmd_pending = 0;
	if (!list_empty(&s->cmd_node)) {
		list_del_init(&s->cmd_node);
		waiting = true;
	}
	spin_unlock_bh(&dev->cmd_lock);
	if (waiting)
		vtoe_session_put(s);
	vtoe_tx_purge(s);
	vtoe_bufs_free(&s->rx_batch);

	if (s->end_event == VTOE_EVENT_DISCONNECTED) {
		if (s->end_reason == VTOE_REASON_NONE)
			dev->st.disconnected_graceful++;
		else
			dev->st.disconnected_reset++;
		s->ops->disconnected(s, s->end_reason);
	} else {
		dev->st.connects_failed++;
		s->ops->failed(s, s->end_event, s->end_reason);
	}
	vtoe_session_put(s);
}

/* --- sending -------------------------------------------------------------- */

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
	WRITE_ONCE(s->tx_posted, s->tx_posted + r->len);
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

static void vtoe_tx_timeout(struct timer_list *t)
{
	struct vtoe_pair *p = from_timer(p, t, tx_timer);

	spin_lock(&p->tx_lock);
	vtoe_tx_pump(p);
	spin_unlock(&p->tx_lock);
}

/*
 * While much is in flight a few more bytes need no doorbell of their own: the
 * completion that is due posts them, unless enough come together before.
 */
static bool vtoe_tx_can_wait(const struct vtoe_session *s)
{
	return s->tx_posted - s->tx_acked >= VTOE_TX_BUSY &&
	       s->tx_queued - s->tx_posted < VTOE_TX_BATCH;
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
		WRITE_ONCE(s->tx_queued, s->tx_queued + len);
		s->tx_hold = more;
		if (b->size - b->off < VTOE_TX_MIN_ROOM) {
			r->last = true;
			b = NULL;
		}
		if (!vtoe_tx_can_wait(s))
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

/* All bytes below offset are in the peer's memory. */
static void vtoe_tx_ack(struct vtoe_pair *p, struct vtoe_session *s, u64 offset)
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
	}
	if (s->tail == s->head)
		cur = xchg(&s->cur, NULL);
	if (!s->tx_dead)
		vtoe_tx_kick(p, s);
	spin_unlock(&p->tx_lock);
	if (cur)
		vtoe_buf_free(cur);
	vtoe_bufs_free(&bufs);
}

/* --- receiving ------------------------------------------------------------ */

static void vtoe_rx_post(struct vtoe_pair *p, struct vtoe_buf *b, u32 id)
{
	struct vtoe_queue *q = &p->q;
	struct vtoe_recv_desc *d = &q->recv[q->recv_prod & (q->recv_size - 1)];

	dma_sync_single_for_device(&p->dev->pdev->dev, b->dma, b->size,
				   DMA_FROM_DEVICE);
	d->addr = cpu_to_le64(b->dma);
	d->len = cpu_to_le32(min(b->size, p->dev->max_segment));
	d->sid = cpu_to_le32(VTOE_SID_ANY);
	d->id = cpu_to_le32(id);
	p->slots[id] = b;
	q->recv_prod++;
}

/*
 * Posts buffers for all free ids; false if memory ran out.
 *
 * There are as many ids as ring entries, and an id is free when its buffer came
 * back, so the entry that is overwritten was read long ago.  recv_cons would
 * say less: the device tells it after the completions, and nothing tells us
 * when it has.
 */
static bool vtoe_pair_fill(struct vtoe_pair *p, gfp_t gfp)
{
	while (p->nids) {
		struct vtoe_buf *b = vtoe_buf_get(&p->dev->pool, gfp);

		if (unlikely(!b)) {
			p->st.rx_no_memory++;
			return false;
		}
		vtoe_rx_post(p, b, p->ids[--p->nids]);
	}
	return true;
}

static void vtoe_touch(struct vtoe_pair *p, struct vtoe_session *s,
		       unsigned long what)
{
	if (!s->touched) {
		s->touched_next = p->touched;
		p->touched = s;
	}
	s->touched |= what;
}

static void vtoe_rx_comp_stream(struct vtoe_pair *p, struct vtoe_session *s,
				const struct vtoe_comp *c)
{
	u32 id = le32_to_cpu(c->id);
	u32 len = le32_to_cpu(c->len);
	struct vtoe_buf *b = NULL;

	if (id != VTOE_ID_NONE) {
		if (unlikely(id >= p->q.recv_size || !p->slots[id] ||
			     len > p->slots[id]->size)) {
			vtoe_need_reset(p->dev, "completion of a buffer the device does not have");
			return;
		}
		b = p->slots[id];
		p->slots[id] = NULL;
	}
	if (b && likely(s && len) && !(c->flags & VTOE_COMP_F_RETURNED)) {
		struct vtoe_buf *small = NULL;

		dma_sync_single_for_cpu(&p->dev->pdev->dev, b->dma, len,
					DMA_FROM_DEVICE);
		if (len <= VTOE_COPYBREAK)
			small = vtoe_buf_copy(b->va, len);
		if (small) {
			p->st.rx_copied++;
			list_add_tail(&small->node, &s->rx_batch);
			vtoe_rx_post(p, b, id);
		} else {
			b->off = 0;
			b->len = len;
			list_add_tail(&b->node, &s->rx_batch);
			p->ids[p->nids++] = id;
		}
		s->rx_batch_bytes += len;
		s->rx_offset += len;
		p->st.rx_stream_bytes += len;
		p->st.rx_stream_bufs++;
		vtoe_touch(p, s, VTOE_TOUCH_DATA);
	} else if (b) {
		if (c->flags & VTOE_COMP_F_RETURNED)
			p->st.rx_returned++;
		vtoe_rx_post(p, b, id);
	}
	if (unlikely(!s)) {
		p->st.rx_unknown_sid++;
		return;
	}
	if (c->flags & VTOE_COMP_F_END)
		vtoe_touch(p, s, VTOE_TOUCH_END);
	if (c->flags & VTOE_COMP_F_ABORT) {
		s->rx_reason = le16_to_cpu(c->reason);
		vtoe_touch(p, s, VTOE_TOUCH_ABORT);
	}
}

/* Returns whether somebody waits for room to send. */
static bool vtoe_hand_up(struct vtoe_pair *p)
{
	struct vtoe_session *s;
	bool waiting = false;

	while ((s = p->touched)) {
		unsigned long what = s->touched;

		p->touched = s->touched_next;
		s->touched_next = NULL;
		s->touched = 0;
		if (what & VTOE_TOUCH_DATA) {
			u32 bytes = s->rx_batch_bytes;

			s->rx_batch_bytes = 0;
			p->poll_bytes += bytes;
			s->ops->data(s, &s->rx_batch, bytes);
			INIT_LIST_HEAD(&s->rx_batch);
		}
		if (what & VTOE_TOUCH_ACKED)
			waiting |= s->ops->acked(s);
		if (what & VTOE_TOUCH_END)
			s->ops->end(s);
		if (what & VTOE_TOUCH_ABORT)
			s->ops->abort(s, s->rx_reason);
	}
	return waiting;
}

static void vtoe_pair_comp(struct vtoe_pair *p, const struct vtoe_comp *c,
			   struct vtoe_session **last)
{
	u32 sid = le32_to_cpu(c->sid);
	struct vtoe_session *s = *last;

	if (!s || s->sid != sid) {
		s = vtoe_session_find(p->dev, sid);
		if (s)
			*last = s;
	}
	switch (c->type) {
	case VTOE_COMP_RECV:
		vtoe_rx_comp_stream(p, s, c);
		break;
	case VTOE_COMP_SEND:
		if (likely(s)) {
			vtoe_tx_ack(p, s, le64_to_cpu(c->u.offset));
			vtoe_touch(p, s, VTOE_TOUCH_ACKED);
		}
		break;
	case VTOE_COMP_ERROR:
		p->st.tx_unknown_sid++;
		break;
	default:
		vtoe_need_reset(p->dev, "unknown completion");
		break;
	}
}

static int vtoe_pair_poll(struct napi_struct *napi, int budget)
{
	struct vtoe_queue *q = container_of(napi, struct vtoe_queue, napi);
	struct vtoe_pair *p = container_of(q, struct vtoe_pair, q);
	const struct vtoe_comp *ring = q->comp;
	struct vtoe_session *s, *tmp, *last = NULL;
	u32 recv_old = q->recv_prod;
	bool filled, waiting;
	LIST_HEAD(dying);
	u32 ahead = 0;
	int work = 0;

	q->polls++;
	if (unlikely(!budget))
		return 0;
	p->poll_bytes = 0;
	rcu_read_lock();
	if (unlikely(!list_empty_careful(&p->dying))) {
		spin_lock(&p->dying_lock);
		list_splice_init(&p->dying, &dying);
		spin_unlock(&p->dying_lock);
	}
	while (work < budget) {
		u32 n = vtoe_comp_ready(q);

		if (!n)
			break;
		for (; n && work < budget; n--, work++) {
			vtoe_pair_comp(p, &ring[q->comp_cons &
						(q->comp_size - 1)], &last);
			q->comp_cons++;
		}
	}
	vtoe_comp_release(q);
	waiting = vtoe_hand_up(p);
	filled = vtoe_pair_fill(p, GFP_ATOMIC);
	if (q->recv_prod != recv_old && vtoe_recv_publish(q, recv_old))
		vtoe_doorbell(q);
	if (unlikely(!list_empty(&dying))) {
		if (work == budget) {
			spin_lock(&p->dying_lock);
			list_splice(&dying, &p->dying);
			spin_unlock(&p->dying_lock);
		} else {
			list_for_each_entry_safe(s, tmp, &dying, dying_node)
				vtoe_session_finish(s);
		}
	}
	rcu_read_unlock();

	/* Without memory nothing tells when there is some again: poll on. */
	if (unlikely(!filled && p->nids == q->recv_size))
		return budget;
	if (work == budget)
		return budget;
	if (p->poll_bytes >= VTOE_BULK && !waiting)
		ahead = VTOE_BULK_AHEAD;
	WRITE_ONCE(p->lazy, ahead);
	/* A timer that is pending has yet to see that the pair is lazy. */
	smp_mb();
	if (ahead && !timer_pending(&p->lazy_timer))
		mod_timer(&p->lazy_timer, jiffies + 1);
	if (napi_complete_done(napi, work) &&
	    (!vtoe_comp_arm(q, ahead) || !list_empty_careful(&p->dying)))
		napi_schedule(napi);
	return work;
}

static void vtoe_lazy_timeout(struct timer_list *t)
{
	struct vtoe_pair *p = from_timer(p, t, lazy_timer);

	/* Pairs with vtoe_pair_poll(): no longer pending, then the look. */
	smp_mb();
	if (READ_ONCE(p->lazy))
		napi_schedule(&p->q.napi);
}

void vtoe_session_poll(struct vtoe_session *s)
{
	struct vtoe_pair *p = s->pair;

	if (!READ_ONCE(p->lazy) || READ_ONCE(p->stopped))
		return;
	local_bh_disable();
	napi_schedule(&p->q.napi);
	local_bh_enable();
}
EXPORT_SYMBOL_GPL(vtoe_session_poll);

/* --- life ----------------------------------------------------------------- */

/* Memory and NAPI for n pairs. */
int vtoe_streams_alloc(struct vtoe_dev *dev, u32 n)
{
	u32 i;
	int err;

	xa_init_flags(&dev->active, XA_FLAGS_ALLOC1 | XA_FLAGS_LOCK_BH);
	xa_init_flags(&dev->passive, XA_FLAGS_LOCK_BH);
	dev->next_sid = 1;
	dev->pairs = kcalloc(n, sizeof(*dev->pairs), GFP_KERNEL);
	if (!dev->pairs)
		return -ENOMEM;
	dev->nstream = n;
	for (i = 0; i < n; i++) {
		struct vtoe_pair *p = &dev->pairs[i];

		p->dev = dev;
		p->stopped = true;
		spin_lock_init(&p->tx_lock);
		spin_lock_init(&p->dying_lock);
		INIT_LIST_HEAD(&p->pending);
		INIT_LIST_HEAD(&p->dying);
		timer_setup(&p->tx_timer, vtoe_tx_timeout, 0);
		timer_setup(&p->lazy_timer, vtoe_lazy_timeout, 0);
		err = vtoe_queue_alloc(dev, &p->q, i + 1,
				       VTOE_STREAM_SEND_RING,
				       VTOE_STREAM_RECV_RING,
				       VTOE_STREAM_COMP_RING);
		if (err)
			return err;
		p->slots = kcalloc(p->q.recv_size, sizeof(*p->slots),
				   GFP_KERNEL);
		p->ids = kcalloc(p->q.recv_size, sizeof(*p->ids), GFP_KERNEL);
		if (!p->slots || !p->ids)
			return -ENOMEM;
		netif_napi_add(dev->netdev, &p->q.napi, vtoe_pair_poll);
	}
	return 0;
}

/* Rings only: sessions may still hold the pairs (vtoe_dev_release()). */
void vtoe_streams_free(struct vtoe_dev *dev)
{
	u32 i;

	for (i = 0; dev->pairs && i < dev->nstream; i++) {
		struct vtoe_pair *p = &dev->pairs[i];

		if (p->q.napi.poll)
			netif_napi_del(&p->q.napi);
		vtoe_queue_free(dev, &p->q);
		kfree(p->slots);
		kfree(p->ids);
		p->slots = NULL;
		p->ids = NULL;
	}
}

/* Buffers into all RecvWQs, before DRIVER_OK.  Returns 0 or -ENOMEM. */
int vtoe_streams_fill(struct vtoe_dev *dev)
{
	u32 i, j;

	for (i = 0; i < dev->nstream; i++) {
		struct vtoe_pair *p = &dev->pairs[i];
		u32 old = p->q.recv_prod;

		p->nids = p->q.recv_size;
		for (j = 0; j < p->nids; j++)
			p->ids[j] = p->nids - 1 - j;
		if (!vtoe_pair_fill(p, GFP_KERNEL))
			return -ENOMEM;
		vtoe_recv_publish(&p->q, old);
	}
	return 0;
}

void vtoe_streams_start(struct vtoe_dev *dev)
{
	u32 i;

	for (i = 0; i < dev->nstream; i++) {
		struct vtoe_pair *p = &dev->pairs[i];

		spin_lock_bh(&p->tx_lock);
		p->stopped = false;
		spin_unlock_bh(&p->tx_lock);
		napi_enable(&p->q.napi);
		local_bh_disable();
		napi_schedule(&p->q.napi);
		local_bh_enable();
		p->enabled = true;
	}
}

/* Nothing is posted and no NAPI runs when this returns. */
void vtoe_streams_stop(struct vtoe_dev *dev)
{
	u32 i;

	for (i = 0; i < dev->nstream; i++) {
		struct vtoe_pair *p = &dev->pairs[i];

		if (!p->enabled)
			continue;
		p->enabled = false;
		spin_lock_bh(&p->tx_lock);
		p->stopped = true;
		spin_unlock_bh(&p->tx_lock);
		del_timer_sync(&p->tx_timer);
		napi_disable(&p->q.napi);
		del_timer_sync(&p->lazy_timer);
		p->lazy = false;
	}
}

/*
 * Ends every session.  The device was reset, NAPI is disabled and commands are
 * stopped, or (unregister) the client asks for nothing new.
 */
void vtoe_streams_end_all(struct vtoe_dev *dev, u16 reason)
{
	struct xarray *const tables[] = { &dev->active, &dev->passive };
	struct vtoe_session *s;
	unsigned long index;
	unsigned int i;

	for (i = 0; i < dev->nstream; i++) {
		struct vtoe_pair *p = &dev->pairs[i];

		spin_lock_bh(&p->dying_lock);
		INIT_LIST_HEAD(&p->dying);
		spin_unlock_bh(&p->dying_lock);
		p->touched = NULL;
	}
	for (i = 0; i < ARRAY_SIZE(tables); i++) {
		rcu_read_lock();
		xa_for_each(tables[i], index, s) {
			if (!s->live)
				continue;
			if (!s->dying) {
				s->dying = true;
				s->end_event = VTOE_EVENT_DISCONNECTED;
				s->end_reason = reason;
			}
			s->touched = 0;
			local_bh_disable();
			vtoe_session_finish(s);
			local_bh_enable();
		}
		rcu_read_unlock();
	}
}

/* Takes back all receive buffers from a device that was reset. */
void vtoe_streams_reclaim(struct vtoe_dev *dev)
{
	u32 i, j;

	for (i = 0; i < dev->nstream; i++) {
		struct vtoe_pair *p = &dev->pairs[i];

		for (j = 0; p->slots && j < p->q.recv_size; j++) {
			if (p->slots[j])
				vtoe_buf_free(p->slots[j]);
			p->slots[j] = NULL;
		}
	}
}

/* --- for the client ------------------------------------------------------- */

struct net_device *vtoe_dev_netdev(const struct vtoe_dev *dev)
{
	return dev->netdev;
}
EXPORT_SYMBOL_GPL(vtoe_dev_netdev);

unsigned int vtoe_dev_stream_pairs(const struct vtoe_dev *dev)
{
	return dev->features & VTOE_F_STREAM ? dev->nstream : 0;
}
EXPORT_SYMBOL_GPL(vtoe_dev_stream_pairs);

u32 vtoe_dev_generation(const struct vtoe_dev *dev)
{
	return dev->generation;
}
EXPORT_SYMBOL_GPL(vtoe_dev_generation);

u32 vtoe_session_pair(const struct vtoe_session *s)
{
	return s->pair->q.index;
}
EXPORT_SYMBOL_GPL(vtoe_session_pair);

int vtoe_client_register(struct vtoe_dev *dev,
			 const struct vtoe_client_ops *ops, void *client)
{
	int err = -EBUSY;

	mutex_lock(&dev->life_lock);
	if (!dev->client_ops) {
		dev->client = client;
		smp_store_release(&dev->client_ops, ops);
		err = 0;
	}
	mutex_unlock(&dev->life_lock);
	return err;
}
EXPORT_SYMBOL_GPL(vtoe_client_register);

static bool vtoe_no_sessions(struct vtoe_dev *dev)
{
	return xa_empty(&dev->active) && xa_empty(&dev->passive);
}

void vtoe_client_unregister(struct vtoe_dev *dev)
{
	mutex_lock(&dev->life_lock);
	WRITE_ONCE(dev->client_ops, NULL);
	mutex_unlock(&dev->life_lock);
	synchronize_net();
	/* Only a reset takes memory back from the device at once. */
	if (!vtoe_no_sessions(dev)) {
		vtoe_need_reset(dev, "the socket module leaves streams behind");
		flush_work(&dev->reset_work);
	}
}
EXPORT_SYMBOL_GPL(vtoe_client_unregister);
