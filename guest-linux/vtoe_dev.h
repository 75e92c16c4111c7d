/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What module vtoe (the NIC) and module vtoe_sock (the sockets) show each
 * other.
 *
 * vtoe owns the device: rings, commands, events, DMA memory.  A *session* is
 * vtoe's name for a stream: it has a SID, a queue pair, a queue of data to
 * send and a way to hand up received data.  vtoe_sock embeds a session in its
 * own structure and knows addresses, listeners and sockets.
 *
 * Life of a session
 *	vtoe_session_init() gives one reference, the caller's.  _connect() or
 *	_accept() adds the device's, dropped after `failed` or `disconnected`,
 *	the last call of a session.  Each session that was connected or
 *	accepted gets exactly one of the two, whatever happens to the device.
 *	`release` is called when no reference is left; memory is to be freed
 *	after an RCU grace period (lookups by SID run under RCU).
 *
 * Contexts
 *	All session ops run in softirq or in process context with bottom
 *	halves disabled.  For one session `data`, `end`, `abort`, `acked` and the
 *	last call never run concurrently with each other; `established` may
 *	run beside them, even after the first data, but before the last call.
 *	No op may sleep or call vtoe_session_put() on its own last reference
 *	of the device (vtoe does that).
 *	The functions here may be called in any context with bottom halves
 *	enabled or disabled, unless said otherwise; none sleeps unless said.
 *
 * Locks of vtoe, outermost first; vtoe calls no op with one held:
 *	dev->cmd_lock	command ring, command slots, sessions' command bits
 *	pair->tx_lock	SendWQ of a pair, send queues of its sessions
 *	pool->lock	free receive and send buffers
 */
#ifndef VTOE_DEV_H
#define VTOE_DEV_H

#include <linux/auxiliary_bus.h>
#include <linux/list.h>
#include <linux/netdevice.h>
#include <linux/refcount.h>
#include <linux/rcupdate.h>
#include "vtoe/vtoe-abi.h"

struct vtoe_dev;
struct vtoe_pair;
struct vtoe_pool;
struct vtoe_session;
struct vtoe_txrec;

/* Name of the auxiliary device: "vtoe.sock". */
#define VTOE_AUX_NAME	"sock"

/*
 * Memory for stream data: a piece of physically contiguous pages, mapped for
 * DMA as long as it lives, or a small object that holds a copied message.
 * Whoever has a pointer owns it; vtoe_buf_free() gives it back.
 */
struct vtoe_buf {
	struct list_head node;		/* the owner's */
	struct list_head all;		/* pool->all; empty: small object */
	struct vtoe_pool *pool;
	void *va;
	dma_addr_t dma;
	u32 size;			/* bytes of memory at va */
	/* Received: the first unread byte.  To send: the first unused one. */
	u32 off;
	u32 len;			/* received: unread bytes */
	u32 truesize;			/* memory it stands for */
};

struct vtoe_session_ops {
	/* The stream is up: both guests agreed and data can flow. */
	void (*established)(struct vtoe_session *s);
	/*
	 * Instead of established: event is a terminal VTOE_EVENT_* or, if the
	 * device refused the command, VTOE_EVENT_COMMAND_DONE and reason is an
	 * enum vtoe_cmd_status.  Last call.
	 */
	void (*failed)(struct vtoe_session *s, u8 event, u16 reason);
	/*
	 * Received data in order; the list's buffers now belong to the callee.
	 * bytes: sum of their len.
	 */
	void (*data)(struct vtoe_session *s, struct list_head *bufs,
		     u32 bytes);
	/* The peer sends no more: the end is behind all data delivered. */
	void (*end)(struct vtoe_session *s);
	/*
	 * The stream was reset behind all data delivered.  The last call
	 * follows.
	 */
	void (*abort)(struct vtoe_session *s, u16 reason);
	/*
	 * Data were acknowledged and their memory is free.  Returns whether
	 * somebody still waits for more room.
	 */
	bool (*acked)(struct vtoe_session *s);
	/*
	 * The stream is over; VTOE_REASON_NONE after a graceful end, else a
	 * reset.  Last call.
	 */
	void (*disconnected)(struct vtoe_session *s, u16 reason);
	/* No reference is left; free with kfree_rcu() or the like. */
	void (*release)(struct vtoe_session *s);
};

/* Bits of vtoe_session.cmd_pending, in the order in which they are sent. */
enum {
	VTOE_SCMD_CONNECT,
	VTOE_SCMD_ACCEPT,
	VTOE_SCMD_SHUTDOWN,
	VTOE_SCMD_CLOSE,
	VTOE_SCMD_ABORT,
	VTOE_SCMD_COUNT,
};

struct vtoe_session {
	struct vtoe_dev *dev;
	struct vtoe_pair *pair;
	const struct vtoe_session_ops *ops;
	u32 sid;			/* 0 until it is known */
	refcount_t ref;
	struct vtoe_flow flow;		/* as in the command */

	/* commands; dev->cmd_lock */
	struct list_head cmd_node;	/* dev->cmd_waiting */
	unsigned long cmd_pending;	/* BIT(VTOE_SCMD_*) */
	unsigned long cmd_done;		/* those ever asked for */
	u64 rx_limit;			/* initial credit */
	u16 abort_reason;
	bool live;			/* the device's reference is held */

	/* sending; pair->tx_lock */
	struct vtoe_txrec *rec;		/* ring of nrec records */
	u32 nrec;			/* power of two */
	u32 head, posted, tail;		/* appended, in SendWQ, acknowledged */
	u64 tx_queued;			/* bytes appended */
	u64 tx_posted;			/* bytes in descriptors */
	u64 tx_acked;			/* bytes acknowledged */
	u64 tail_off;			/* offset of the first byte of tail */
	unsigned long tx_stamp;		/* jiffies: when bytes were appended */
	unsigned long tx_progress;	/* ... since when the oldest one waits */
	u64 rtt_off;			/* its acknowledgement is a sample */
	u64 rtt_began;			/* ns */
	unsigned long rtt_next;		/* jiffies: not before */
	u32 srtt_us;			/* << 3, as in TCP; 0: no sample yet */
	u32 rttvar_us;			/* << 2 */
	u32 rtt_min_us;
	struct list_head pend_node;	/* pair->pending */
	u64 credit;			/* largest receive limit asked for */
	bool credit_pending;		/* ... not yet in the SendWQ */
	bool tx_hold;			/* keep the last record back (cork) */
	bool tx_dead;			/* nothing may be posted any more */
	struct vtoe_buf *cur;		/* buffer with room (xchg) */

	/* receiving; NAPI of the pair */
	struct list_head rx_batch;
	u32 rx_batch_bytes;
	struct vtoe_session *touched_next;
	unsigned long touched;		/* VTOE_TOUCH_* */
	u16 rx_reason;
	u64 rx_offset;			/* bytes delivered so far */

	/* the end; pair->dying_lock */
	struct list_head dying_node;
	bool dying;
	u8 end_event;			/* VTOE_EVENT_* that ended it */
	u16 end_reason;

	unsigned long cap;		/* see vtoe_cap.c */
};

/* What a device tells its one client (vtoe_sock), in softirq context. */
struct vtoe_client_ops {
	/*
	 * CONNECT_REQUEST: answer with vtoe_session_accept() or
	 * vtoe_reject(), now or later.
	 */
	void (*request)(void *client, u32 sid, u32 listener,
			const struct vtoe_flow *flow);
	/* Peers may have changed; mac all zero: any. */
	void (*peer_capability)(void *client, const u8 *mac);
	/*
	 * Process context, rtnl held.  The device was reset and runs again:
	 * all sessions ended before, listeners are gone.
	 */
	void (*restarted)(void *client);
};

/* What auxiliary driver vtoe_sock finds on the bus. */
struct vtoe_adev {
	struct auxiliary_device adev;
	struct vtoe_dev *dev;
};

/*
 * A client comes (0, or -EBUSY) and goes.  vtoe_client_unregister() sleeps; no
 * client op runs afterwards.  If sessions are left, the device is reset, which
 * ends them with DEVICE_RESET; when the device is being removed that happens a
 * little later.
 */
int vtoe_client_register(struct vtoe_dev *dev,
			 const struct vtoe_client_ops *ops, void *client);
void vtoe_client_unregister(struct vtoe_dev *dev);

/* Ends every stream, in a while, and begins anew: restarted is called. */
void vtoe_dev_restart(struct vtoe_dev *dev, const char *why);

struct net_device *vtoe_dev_netdev(const struct vtoe_dev *dev);
/* Stream pairs in use: 0, streams are not available. */
unsigned int vtoe_dev_stream_pairs(const struct vtoe_dev *dev);
/* A sequence number of the device's life, for listing. */
u32 vtoe_dev_generation(const struct vtoe_dev *dev);
/* The queue pair of a session. */
u32 vtoe_session_pair(const struct vtoe_session *s);

/* --- sessions ------------------------------------------------------------- */

/*
 * Prepares a session on a stream pair chosen by hint (the CPU, say).  Returns 0
 * or -ENOMEM, -ENODEV.
 */
int vtoe_session_init(struct vtoe_session *s, struct vtoe_dev *dev,
		      const struct vtoe_session_ops *ops, unsigned int hint,
		      gfp_t gfp);
static inline void vtoe_session_get(struct vtoe_session *s)
{
	refcount_inc(&s->ref);
}
void vtoe_session_put(struct vtoe_session *s);

/*
 * Opens s->flow.  limit: bytes the peer may send at first.  Returns 0 (a last
 * call will follow), -ENODEV, -ENOMEM or -EMFILE (no SID free).
 */
int vtoe_session_connect(struct vtoe_session *s, u64 limit, gfp_t gfp);
/* Answers a request with yes.  Returns 0 or -ENODEV, -ENOMEM, -EEXIST. */
int vtoe_session_accept(struct vtoe_session *s, u32 sid, u64 limit, gfp_t gfp);
/* ... with no.  Best effort: the device gives up by itself after a while. */
void vtoe_reject(struct vtoe_dev *dev, u32 sid, u16 reason);

/* Ends sending behind all that was queued. */
void vtoe_session_shutdown(struct vtoe_session *s);
/* The same, and receives no more. */
void vtoe_session_close(struct vtoe_session *s);
/* Resets the stream.  The last call still follows. */
void vtoe_session_abort(struct vtoe_session *s, u16 reason);
/* Lets the peer send up to stream offset limit (see VTOE_SEND_CREDIT). */
void vtoe_session_credit(struct vtoe_session *s, u64 limit);

/*
 * Data to send: take a buffer, write to va + off at most size - off bytes, and
 * append what was written.  Calls are serialized by the caller (socket lock).
 * vtoe_tx_buf() may return NULL: no memory.  vtoe_tx_append() with len 0 only
 * gives the buffer back; more: hold a last, unfilled piece back until
 * vtoe_tx_push() or the next append.
 */
struct vtoe_buf *vtoe_tx_buf(struct vtoe_session *s, gfp_t gfp);
void vtoe_tx_append(struct vtoe_session *s, struct vtoe_buf *b, u32 len,
		    bool more);
void vtoe_tx_push(struct vtoe_session *s);
/*
 * Looks for completions that the device was told not to interrupt for.  For
 * whoever is about to wait for data or room; in process context.
 */
void vtoe_session_poll(struct vtoe_session *s);
/* For busy polling; 0: the kernel has none. */
unsigned int vtoe_session_napi_id(const struct vtoe_session *s);
/* True if vtoe_tx_append() can take another piece of any size. */
static inline bool vtoe_tx_room(const struct vtoe_session *s)
{
	return READ_ONCE(s->head) - READ_ONCE(s->tail) < s->nrec;
}
/* Bytes queued and not acknowledged; of these, not yet given to the device. */
static inline u64 vtoe_tx_unacked(const struct vtoe_session *s)
{
	return READ_ONCE(s->tx_queued) - READ_ONCE(s->tx_acked);
}
static inline u64 vtoe_tx_unsent(const struct vtoe_session *s)
{
	return READ_ONCE(s->tx_queued) - READ_ONCE(s->tx_posted);
}

void vtoe_buf_free(struct vtoe_buf *b);
/*
 * For vtoe_sock's own joining of messages: bytes that still fit behind the unread
 * ones; in a small buffer, 0 for others.
 */
static inline u32 vtoe_buf_room(const struct vtoe_buf *b)
{
	return b->size - b->off - b->len;
}
static inline u32 vtoe_buf_tailroom(const struct vtoe_buf *b)
{
	return list_empty(&b->all) ? vtoe_buf_room(b) : 0;
}
static inline bool vtoe_buf_is_small(const struct vtoe_buf *b)
{
	return list_empty(&b->all);
}

/* --- listeners (may sleep) ------------------------------------------------ */

/*
 * id: 1..2^31-1, unique on the device.  laddr all zero: any.  Waits for the
 * answer.  Returns 0, -ENODEV, -ETIMEDOUT, -EINTR, -ENOSPC (a limit), -EEXIST
 * or -EINVAL.
 */
int vtoe_listen(struct vtoe_dev *dev, u32 id, u8 family, const u8 laddr[16],
		__be16 lport, u32 backlog);
/* Does not wait; requests already on their way may still come. */
void vtoe_unlisten(struct vtoe_dev *dev, u32 id);

/*
 * Addresses in a flow: network-order in the kernel, plain bytes there; ports
 * are little-endian there.
 */
static inline __le16 vtoe_port_le(__be16 port)
{
	return cpu_to_le16(be16_to_cpu(port));
}
static inline __be16 vtoe_port_be(__le16 port)
{
	return cpu_to_be16(le16_to_cpu(port));
}

#endif /* VTOE_DEV_H */
