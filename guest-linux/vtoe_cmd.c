// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control queue: commands to the device, events from it (vtoe.rst,
 * sections 4 and 5).
 *
 * Commands of sessions are bits, not objects: vtoe_cmd_want() sets a bit and
 * puts the session on dev->cmd_waiting; the command is composed when the ring
 * has room.  So nothing is allocated, nothing is lost when the ring is full,
 * and the commands of one session go out in the order of their bits, each at
 * most once.
 *
 * A command in the ring holds a slot, whose number is its tag, until its
 * COMMAND_DONE.  There are as many slots as ring entries; the last few are
 * left to callers that wait (LISTEN), so that they cannot be starved.
 *
 * A terminal event is not acted upon here: the stream's completion ring may
 * hold data that came before it.  vtoe_session_ended() leaves it to the NAPI
 * of the pair, which first reads that ring to its end.
 */
#include <linux/slab.h>
#include "vtoe_cap.h"
#include "vtoe_trace.h"

#define VTOE_NO_SLOT	U32_MAX

int vtoe_cmd_init(struct vtoe_dev *dev)
{
	spin_lock_init(&dev->cmd_lock);
	INIT_LIST_HEAD(&dev->cmd_waiting);
	init_waitqueue_head(&dev->cmd_room);
	dev->slots = kcalloc(dev->cq.send_size, sizeof(*dev->slots),
			     GFP_KERNEL);
	return dev->slots ? 0 : -ENOMEM;
}

void vtoe_cmd_fini(struct vtoe_dev *dev)
{
	kfree(dev->slots);
	dev->slots = NULL;
}

/* The device runs: commands may be posted. */
void vtoe_cmd_start(struct vtoe_dev *dev)
{
	u32 i;

	spin_lock_bh(&dev->cmd_lock);
	for (i = 0; i < dev->cq.send_size; i++) {
		dev->slots[i].op = 0;
		dev->slots[i].next_free = i + 1;
	}
	dev->slots[dev->cq.send_size - 1].next_free = VTOE_NO_SLOT;
	dev->slot_free = 0;
	dev->cmds_out = 0;
	set_bit(VTOE_DEV_RUNNING, &dev->state);
	spin_unlock_bh(&dev->cmd_lock);
}

/* The device was reset: no answer will come, nothing more is posted. */
void vtoe_cmd_stop(struct vtoe_dev *dev)
{
	struct vtoe_session *s, *tmp;
	LIST_HEAD(waiting);
	u32 i;

	spin_lock_bh(&dev->cmd_lock);
	clear_bit(VTOE_DEV_RUNNING, &dev->state);
	list_splice_init(&dev->cmd_waiting, &waiting);
	list_for_each_entry(s, &waiting, cmd_node)
		s->cmd_pending = 0;
	spin_unlock_bh(&dev->cmd_lock);
	list_for_each_entry_safe(s, tmp, &waiting, cmd_node) {
		spin_lock_bh(&dev->cmd_lock);
		list_del_init(&s->cmd_node);
		spin_unlock_bh(&dev->cmd_lock);
		vtoe_session_put(s);
	}
	for (i = 0; i < dev->cq.send_size; i++) {
		struct vtoe_cmd_slot *slot = &dev->slots[i];

		spin_lock_bh(&dev->cmd_lock);
		s = slot->op ? slot->s : NULL;
		if (slot->op && slot->wait) {
			slot->wait->status = -ENODEV;
			complete(&slot->wait->done);
		}
		slot->op = 0;
		slot->s = NULL;
		slot->wait = NULL;
		spin_unlock_bh(&dev->cmd_lock);
		if (s)
			vtoe_session_put(s);
	}
	dev->cmds_out = 0;
	wake_up_all(&dev->cmd_room);
}

/* A slot and its ring entry, or NULL.  cmd_lock is held. */
static struct vtoe_cmd *vtoe_cmd_get(struct vtoe_dev *dev, u32 reserve)
{
	struct vtoe_queue *q = &dev->cq;
	struct vtoe_cmd_slot *slot;
	struct vtoe_cmd *cmd;
	u32 tag = dev->slot_free;

	/* What was answered was read: send_cons, told later, is not needed. */
	if (tag == VTOE_NO_SLOT || q->send_size - dev->cmds_out <= reserve)
		return NULL;
	slot = &dev->slots[tag];
	dev->slot_free = slot->next_free;
	if (!dev->cmds_out++)
		WRITE_ONCE(dev->cmd_stamp, jiffies);
	slot->s = NULL;
	slot->wait = NULL;
	cmd = (struct vtoe_cmd *)q->send + (q->send_prod & (q->send_size - 1));
	memset(cmd, 0, sizeof(*cmd));
	cmd->tag = cpu_to_le32(tag);
	return cmd;
}

/* Completes what vtoe_cmd_get() began. */
static struct vtoe_cmd_slot *vtoe_cmd_put(struct vtoe_dev *dev,
					  struct vtoe_cmd *cmd)
{
	struct vtoe_cmd_slot *slot = &dev->slots[le32_to_cpu(cmd->tag)];

	slot->op = cmd->op;
	slot->sid = le32_to_cpu(cmd->sid);
	trace_vtoe_command(dev, cmd);
	dev->cq.send_prod++;
	dev->st.commands++;
	return slot;
}

static void vtoe_cmd_kick(struct vtoe_dev *dev, u32 old)
{
	if (dev->cq.send_prod != old && vtoe_send_publish(&dev->cq, old))
		vtoe_doorbell(&dev->cq);
}

static void vtoe_cmd_compose(struct vtoe_session *s, struct vtoe_cmd *cmd,
			     unsigned int bit)
{
	cmd->sid = cpu_to_le32(s->sid);
	if (vtoe_cap_on())
		vtoe_cap_command(s, bit);
	switch (bit) {
	case VTOE_SCMD_CONNECT:
		cmd->op = VTOE_CMD_CONNECT;
		cmd->pair = cpu_to_le32(s->pair->q.index);
		cmd->value = cpu_to_le64(s->rx_limit);
		cmd->flow = s->flow;
		s->dev->st.connects++;
		break;
	case VTOE_SCMD_ACCEPT:
		cmd->op = VTOE_CMD_ACCEPT;
		cmd->pair = cpu_to_le32(s->pair->q.index);
		cmd->value = cpu_to_le64(s->rx_limit);
		s->dev->st.accepts++;
		break;
	case VTOE_SCMD_SHUTDOWN:
		cmd->op = VTOE_CMD_SHUTDOWN;
		cmd->value = cpu_to_le64(READ_ONCE(s->tx_queued));
		break;
	case VTOE_SCMD_CLOSE:
		cmd->op = VTOE_CMD_CLOSE;
		cmd->value = cpu_to_le64(READ_ONCE(s->tx_queued));
		break;
	case VTOE_SCMD_ABORT:
		cmd->op = VTOE_CMD_ABORT;
		cmd->reason = cpu_to_le16(s->abort_reason);
		break;
	}
}

/* Posts what waits, as far as there is room.  cmd_lock is held. */
static void vtoe_cmd_pump(struct vtoe_dev *dev)
{
	u32 old = dev->cq.send_prod;

	while (!list_empty(&dev->cmd_waiting)) {
		struct vtoe_session *s = list_first_entry(&dev->cmd_waiting,
							  struct vtoe_session,
							  cmd_node);
		unsigned int bit;

		for_each_set_bit(bit, &s->cmd_pending, VTOE_SCMD_COUNT) {
			struct vtoe_cmd *cmd;

			cmd = vtoe_cmd_get(dev, VTOE_CMD_RESERVE);
			if (!cmd)
				goto out;
			vtoe_cmd_compose(s, cmd, bit);
			vtoe_session_get(s);
			vtoe_cmd_put(dev, cmd)->s = s;
			__clear_bit(bit, &s->cmd_pending);
		}
		list_del_init(&s->cmd_node);
		/*
		 * The list's reference: a slot holds another one, so this is
		 * not the last.
		 */
		WARN_ON_ONCE(refcount_dec_and_test(&s->ref));
	}
out:
	vtoe_cmd_kick(dev, old);
}

/*
 * Queues a command of a session, once.  After a terminal event or without a
 * running device it does nothing: the last call comes anyway.
 */
void vtoe_cmd_want(struct vtoe_session *s, unsigned int bit)
{
	struct vtoe_dev *dev = s->dev;

	spin_lock_bh(&dev->cmd_lock);
	if (!test_bit(VTOE_DEV_RUNNING, &dev->state) || !s->live ||
	    s->cmd_done & BIT(bit))
		goto out;
	s->cmd_done |= BIT(bit);
	s->cmd_pending |= BIT(bit);
	if (list_empty(&s->cmd_node)) {
		vtoe_session_get(s);
		list_add_tail(&s->cmd_node, &dev->cmd_waiting);
	}
	vtoe_cmd_pump(dev);
out:
	spin_unlock_bh(&dev->cmd_lock);
}

/* True if the device owes an answer for too long. */
bool vtoe_cmd_stuck(struct vtoe_dev *dev)
{
	return READ_ONCE(dev->cmds_out) &&
	       time_after(jiffies, READ_ONCE(dev->cmd_stamp) +
			  VTOE_CMD_TIMEOUT);
}

void vtoe_reject(struct vtoe_dev *dev, u32 sid, u16 reason)
{
	struct vtoe_cmd *cmd = NULL;
	u32 old;

	spin_lock_bh(&dev->cmd_lock);
	if (test_bit(VTOE_DEV_RUNNING, &dev->state))
		cmd = vtoe_cmd_get(dev, VTOE_CMD_RESERVE);
	if (cmd) {
		cmd->op = VTOE_CMD_REJECT;
		cmd->sid = cpu_to_le32(sid);
		cmd->reason = cpu_to_le16(reason);
		old = dev->cq.send_prod;
		vtoe_cmd_put(dev, cmd);
		vtoe_cmd_kick(dev, old);
		dev->st.rejects++;
	} else {
		dev->st.rejects_lost++;
	}
	spin_unlock_bh(&dev->cmd_lock);
}
EXPORT_SYMBOL_GPL(vtoe_reject);

/*
 * Posts a command from process context; w may be NULL.  Waits for room.
 * Returns the tag or a negative error.
 */
static int vtoe_cmd_post(struct vtoe_dev *dev, const struct vtoe_cmd *from,
			 struct vtoe_cmd_wait *w)
{
	unsigned long deadline = jiffies + VTOE_CMD_TIMEOUT;
	struct vtoe_cmd_slot *slot;
	struct vtoe_cmd *cmd;
	__le32 tag;
	u32 old;

	for (;;) {
		spin_lock_bh(&dev->cmd_lock);
		if (!test_bit(VTOE_DEV_RUNNING, &dev->state)) {
			spin_unlock_bh(&dev->cmd_lock);
			return -ENODEV;
		}
		cmd = vtoe_cmd_get(dev, 0);
		if (cmd)
			break;
		spin_unlock_bh(&dev->cmd_lock);
		if (time_after(jiffies, deadline))
			return -ETIMEDOUT;
		wait_event_timeout(dev->cmd_room,
				   !test_bit(VTOE_DEV_RUNNING, &dev->state) ||
				   READ_ONCE(dev->cmds_out) < dev->cq.send_size,
				   HZ / 10);
	}
	tag = cmd->tag;
	*cmd = *from;
	cmd->tag = tag;
	old = dev->cq.send_prod;
	slot = vtoe_cmd_put(dev, cmd);
	slot->wait = w;
	vtoe_cmd_kick(dev, old);
	spin_unlock_bh(&dev->cmd_lock);
	return le32_to_cpu(tag);
}

/* Posts a command and waits for its answer.  Returns 0 or a negative error. */
static int vtoe_cmd_call(struct vtoe_dev *dev, const struct vtoe_cmd *from,
			 struct vtoe_cmd_wait *w)
{
	long left;
	int tag;

	init_completion(&w->done);
	w->status = VTOE_CMD_OK;
	tag = vtoe_cmd_post(dev, from, w);
	if (tag < 0)
		return tag;
	left = wait_for_completion_killable_timeout(&w->done,
						    VTOE_CMD_TIMEOUT);
	if (left <= 0) {
		/* The answer may still come; it must not find us. */
		spin_lock_bh(&dev->cmd_lock);
		if (dev->slots[tag].wait == w)
			dev->slots[tag].wait = NULL;
		spin_unlock_bh(&dev->cmd_lock);
		if (!completion_done(&w->done))
			return left ? -EINTR : -ETIMEDOUT;
	}
	switch (w->status) {
	case VTOE_CMD_OK:
		return 0;
	case VTOE_CMD_EXISTS:
		return -EEXIST;
	case VTOE_CMD_LIMIT:
		return -ENOSPC;
	default:
		return w->status < 0 ? w->status : -EINVAL;
	}
}

int vtoe_listen(struct vtoe_dev *dev, u32 id, u8 family, const u8 laddr[16],
		__be16 lport, u32 backlog)
{
	struct vtoe_cmd cmd = {
		.op = VTOE_CMD_LISTEN,
		.sid = cpu_to_le32(id),
		.value = cpu_to_le64(backlog),
		.flow = {
			.family = family,
			.lport = vtoe_port_le(lport),
		},
	};
	struct vtoe_cmd_wait w;

	memcpy(cmd.flow.laddr, laddr, sizeof(cmd.flow.laddr));
	memcpy(cmd.flow.lmac, dev->netdev->dev_addr, ETH_ALEN);
	return vtoe_cmd_call(dev, &cmd, &w);
}
EXPORT_SYMBOL_GPL(vtoe_listen);

void vtoe_unlisten(struct vtoe_dev *dev, u32 id)
{
	struct vtoe_cmd cmd = {
		.op = VTOE_CMD_UNLISTEN,
		.sid = cpu_to_le32(id),
	};

	vtoe_cmd_post(dev, &cmd, NULL);
}
EXPORT_SYMBOL_GPL(vtoe_unlisten);

/* --- events --------------------------------------------------------------- */

static void vtoe_ev_done(struct vtoe_dev *dev, const struct vtoe_event *ev)
{
	u32 tag = le32_to_cpu(ev->tag);
	u16 status = le16_to_cpu(ev->reason);
	struct vtoe_cmd_slot *slot;
	struct vtoe_session *s;
	u8 op;

	spin_lock_bh(&dev->cmd_lock);
	if (tag >= dev->cq.send_size || !dev->slots[tag].op) {
		dev->st.events_stale++;
		spin_unlock_bh(&dev->cmd_lock);
		return;
	}
	slot = &dev->slots[tag];
	op = slot->op;
	s = slot->s;
	if (slot->wait) {
		slot->wait->status = status;
		slot->wait->ev = *ev;
		complete(&slot->wait->done);
	}
	slot->op = 0;
	slot->s = NULL;
	slot->wait = NULL;
	slot->next_free = dev->slot_free;
	dev->slot_free = tag;
	dev->cmds_out--;
	WRITE_ONCE(dev->cmd_stamp, jiffies);
	if (status != VTOE_CMD_OK)
		dev->st.commands_refused++;
	if (!list_empty(&dev->cmd_waiting))
		vtoe_cmd_pump(dev);
	spin_unlock_bh(&dev->cmd_lock);
	/* Whoever is missed looks again soon, see vtoe_cmd_post(). */
	if (waitqueue_active(&dev->cmd_room))
		wake_up(&dev->cmd_room);

	if (!s)
		return;
	if (status != VTOE_CMD_OK) {
		/*
		 * A refused CONNECT or ACCEPT leaves no stream.  The others
		 * are refused when the stream just ended, which is told by an
		 * event of its own.
		 */
		if (op == VTOE_CMD_CONNECT)
			vtoe_session_ended(s, VTOE_EVENT_COMMAND_DONE, status);
		else if (op == VTOE_CMD_ACCEPT)
			vtoe_session_ended(s, VTOE_EVENT_DISCONNECTED,
					   status == VTOE_CMD_UNKNOWN_SID ?
					   VTOE_REASON_RESET :
					   VTOE_REASON_LIMIT);
	}
	vtoe_session_put(s);
}

static void vtoe_ev_request(struct vtoe_dev *dev, const struct vtoe_event *ev)
{
	const struct vtoe_client_ops *ops;
	u32 sid = le32_to_cpu(ev->sid);

	if (unlikely(!(sid & VTOE_SID_PASSIVE) || sid == VTOE_SID_ANY)) {
		vtoe_need_reset(dev, "a request with a SID that is no passive one");
		return;
	}
	dev->st.connect_requests++;
	ops = READ_ONCE(dev->client_ops);
	if (ops) {
		ops->request(dev->client, sid, le32_to_cpu(ev->tag),
			     &ev->u.flow);
	} else {
		dev->st.requests_unwanted++;
		vtoe_reject(dev, sid, VTOE_REASON_NO_LISTENER);
	}
}

static void vtoe_event(struct vtoe_dev *dev, const struct vtoe_event *ev)
{
	const struct vtoe_client_ops *ops;
	struct vtoe_session *s;

	dev->st.events++;
	trace_vtoe_event(dev, ev);
	if (unlikely(le32_to_cpu(ev->generation) != dev->generation)) {
		dev->st.events_stale++;
		return;
	}
	switch (ev->type) {
	case VTOE_EVENT_COMMAND_DONE:
		vtoe_ev_done(dev, ev);
		break;
	case VTOE_EVENT_CONNECT_REQUEST:
		vtoe_ev_request(dev, ev);
		break;
	case VTOE_EVENT_CONNECT_ESTABLISHED:
		s = vtoe_session_find(dev, le32_to_cpu(ev->sid));
		if (s && !s->dying) {
			dev->st.established++;
			if (vtoe_cap_on())
				vtoe_cap_established(s);
			vtoe_session_established(s);
		}
		break;
	case VTOE_EVENT_DISCONNECTED:
	case VTOE_EVENT_ADDRESS_ERROR:
	case VTOE_EVENT_UNREACHABLE:
	case VTOE_EVENT_CONNECT_REJECTED:
	case VTOE_EVENT_ROUTE_ERROR:
	case VTOE_EVENT_CONNECT_ERROR:
		s = vtoe_session_find(dev, le32_to_cpu(ev->sid));
		if (s)
			vtoe_session_ended(s, ev->type,
					   le16_to_cpu(ev->reason));
		break;
	case VTOE_EVENT_PEER_SHUTDOWN:
		/*
		 * Not asked for: the mark in the receive completions says it
		 * in order.
		 */
		break;
	case VTOE_EVENT_LINK_STATE:
		/* It may have been unregistered. */
		if (dev->netdev->reg_state > NETREG_REGISTERED)
			break;
		if (le64_to_cpu(ev->value))
			netif_carrier_on(dev->netdev);
		else
			netif_carrier_off(dev->netdev);
		break;
	case VTOE_EVENT_PEER_CAPABILITY:
		ops = READ_ONCE(dev->client_ops);
		if (ops)
			ops->peer_capability(dev->client, ev->u.flow.rmac);
		break;
	case VTOE_EVENT_DEVICE_REMOVED:
		netdev_info(dev->netdev, "the host takes the device away\n");
		break;
	default:
		dev->st.events_stale++;
		break;
	}
}

int vtoe_ctrl_poll(struct napi_struct *napi, int budget)
{
	struct vtoe_queue *q = container_of(napi, struct vtoe_queue, napi);
	struct vtoe_dev *dev = container_of(q, struct vtoe_dev, cq);
	const struct vtoe_event *ring = q->comp;
	bool idle = true;
	int work = 0;

	q->polls++;
	if (unlikely(!budget))
		return 0;
	rcu_read_lock();
	while (work < budget) {
		u32 n = vtoe_comp_ready(q);

		if (!n)
			break;
		for (; n && work < budget; n--, work++) {
			vtoe_event(dev, &ring[q->comp_cons &
					      (q->comp_size - 1)]);
			q->comp_cons++;
			idle = false;
		}
	}
	rcu_read_unlock();
	vtoe_comp_release(q);
	/* An interrupt without an event: the device's status changed. */
	if (idle && vtoe_rd(dev, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET) {
		dev->st.violations++;
		vtoe_need_reset(dev, "the device asks for it");
	}
	if (work == budget)
		return budget;
	vtoe_poll_done(q, work, 0);
	return work;
}
