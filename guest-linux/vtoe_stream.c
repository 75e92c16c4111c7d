// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stream pairs: RecvWQ, completions, and the life of the pairs (vtoe.rst,
 * sections 3.3 and 3.4).
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
#include "vtoe_cap.h"
#include "vtoe_trace.h"

#define VTOE_TOUCH_DATA		BIT(0)
#define VTOE_TOUCH_ACKED	BIT(1)
#define VTOE_TOUCH_END		BIT(2)
#define VTOE_TOUCH_ABORT	BIT(3)

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

			if (vtoe_cap_on())
				vtoe_cap_received(s);
			/* From here on it counts as shown. */
			s->rx_batch_bytes = 0;
			p->poll_bytes += bytes;
			s->ops->data(s, &s->rx_batch, bytes);
			INIT_LIST_HEAD(&s->rx_batch);
		}
		if (what & VTOE_TOUCH_ACKED) {
			/* Else a packet with data has said it. */
			if (vtoe_cap_on() && !(what & VTOE_TOUCH_DATA))
				vtoe_cap_acked(s);
			waiting |= s->ops->acked(s);
		}
		if (what & VTOE_TOUCH_END) {
			if (vtoe_cap_on())
				vtoe_cap_end(s);
			s->ops->end(s);
		}
		if (what & VTOE_TOUCH_ABORT) {
			if (vtoe_cap_on())
				vtoe_cap_abort(s);
			s->ops->abort(s, s->rx_reason);
		}
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
		if (s && unlikely(s->pair != p)) {
			vtoe_need_reset(p->dev, "completion of another pair's stream");
			return;
		}
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

static bool vtoe_napi_busy(const struct napi_struct *napi)
{
#ifdef CONFIG_NET_RX_BUSY_POLL
	return test_bit(NAPI_STATE_IN_BUSY_POLL, &napi->state);
#else
	return false;
#endif
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
	trace_vtoe_poll(p, work);
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
	if (vtoe_napi_busy(napi)) {
		/* Whoever polls arms the interrupt again at its end. */
		vtoe_comp_disarm(q);
		return work;
	}
	if (p->poll_bytes >= VTOE_BULK && !waiting)
		ahead = VTOE_BULK_AHEAD;
	WRITE_ONCE(p->lazy, ahead);
	/* A timer that is pending has yet to see that the pair is lazy. */
	smp_mb();
	if (ahead && !timer_pending(&p->lazy_timer))
		mod_timer(&p->lazy_timer, jiffies + 1);
	vtoe_poll_done(q, work, ahead);
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

unsigned int vtoe_session_napi_id(const struct vtoe_session *s)
{
#ifdef CONFIG_NET_RX_BUSY_POLL
	return s->pair->q.napi.napi_id;
#else
	return 0;
#endif
}
EXPORT_SYMBOL_GPL(vtoe_session_napi_id);

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
		timer_setup(&p->tx_timer, vtoe_tx_timer_fn, 0);
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
