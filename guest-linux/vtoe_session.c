// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sessions: the streams of a device, as the socket module sees them.  Their
 * data are sent by vtoe_send.c and received by vtoe_stream.c.
 *
 * A session is in the table of SIDs from connect or accept on, and `live' until
 * vtoe_session_finish(), which the NAPI of its pair runs after the last event
 * and the last bytes.  While it is live the device holds a reference.
 */
#include <linux/slab.h>
#include "vtoe_cap.h"

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
	s->rtt_began = ktime_get_ns();
	s->rtt_next = jiffies;
	s->tx_stamp = jiffies;
	s->tx_progress = jiffies;
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

/* Both guests agreed, which was the first round trip. */
void vtoe_session_established(struct vtoe_session *s)
{
	spin_lock_bh(&s->pair->tx_lock);
	if (!s->srtt_us)
		vtoe_rtt_sample(s);
	spin_unlock_bh(&s->pair->tx_lock);
	s->ops->established(s);
}

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

/*
 * The end of a live session.  Bottom halves are disabled; NAPI of the pair
 * runs nowhere else.
 */
void vtoe_session_finish(struct vtoe_session *s)
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
	if (vtoe_cap_on())
		vtoe_cap_finish(s);
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

/* --- for the client ------------------------------------------------------- */

struct net_device *vtoe_dev_netdev(const struct vtoe_dev *dev)
{
	return dev->netdev;
}
EXPORT_SYMBOL_GPL(vtoe_dev_netdev);

void vtoe_dev_restart(struct vtoe_dev *dev, const char *why)
{
	vtoe_need_reset(dev, why);
}
EXPORT_SYMBOL_GPL(vtoe_dev_restart);

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
		/* Who finds the operations finds the client, too. */
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
