/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Module vtoe, inside.
 *
 * One PCI function, one net_device.  Queue pair 0 carries frames, pairs 1..
 * carry streams, the control queue carries commands and events.  Each has a
 * vector and a NAPI instance of its own.
 *
 *	vtoe_main.c	PCI, net_device, reset worker
 *	vtoe_hw.c	registers and queues: set-up, interrupts, doorbells
 *	vtoe_cmd.c	commands and events of the control queue
 *	vtoe_session.c	sessions: streams as the socket module sees them
 *	vtoe_send.c	SendWQ of stream pairs
 *	vtoe_stream.c	RecvWQ and completions of stream pairs, their life
 *	vtoe_pool.c	memory of stream data
 *	vtoe_tx.c vtoe_rx.c	frames
 *	vtoe_ethtool.c
 *	vtoe_cap.c	capture devices
 *	vtoe_trace.h	tracepoints
 *
 * Reset: every way out of trouble (NEEDS_RESET, a frame or a command that does
 * not come back, resume) is dev->reset_work: stop NAPI, STATUS = 0, end all
 * sessions, take back all buffers, set everything up again, tell the client.
 * dev->life_lock serializes set-up and tear-down.
 */
#ifndef VTOE_H
#define VTOE_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/timer.h>
#include <linux/u64_stats_sync.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "compat.h"
#include "vtoe_dev.h"

#define VTOE_DRV_NAME		"vtoe"
#define VTOE_DRV_VERSION	"0.1"

#define VTOE_MAX_PAIRS		17u	/* that this driver uses */
#define VTOE_CMD_RING		256u
#define VTOE_CMD_RESERVE	8u	/* of these, not for sessions */
#define VTOE_SID_LIMIT		0x3ffffu	/* largest SID chosen here */
#define VTOE_EVENT_RING		1024u
#define VTOE_FRAME_SEND_RING	512u
#define VTOE_FRAME_RECV_RING	512u
#define VTOE_FRAME_COMP_RING	1024u
#define VTOE_STREAM_SEND_RING	512u
#define VTOE_STREAM_RECV_RING	128u
#define VTOE_STREAM_COMP_RING	1024u

#define VTOE_TX_RECORDS		128u	/* unacknowledged pieces per session */
#define VTOE_TX_QUANTUM		8u	/* descriptors per turn (round robin) */
/*
 * Bytes in flight that are many.  As many as make the peer acknowledge at once,
 * so that a completion is due soon: vnet's VNET_ACK_BYTES.
 */
#define VTOE_TX_BUSY		(128 * 1024u)
#define VTOE_TX_BATCH		(1024 * 1024u)	/* ... that may wait then */
#define VTOE_BULK		(16 * 1024u)	/* bytes in one poll: bulk */
#define VTOE_BULK_AHEAD		32u	/* completions without interrupt then */
#define VTOE_BUF_ORDER		3	/* stream buffers: 32 KiB */
#define VTOE_COPYBREAK		896u	/* received bytes worth copying */
#define VTOE_RX_COPYBREAK	1536u	/* frames, whole: most are no longer */
#define VTOE_POOL_KEEP		256u	/* free stream buffers kept */

#define VTOE_CMD_TIMEOUT	(5 * HZ)
#define VTOE_WATCHDOG_PERIOD	(2 * HZ)

/* Three rings and their control block, in one piece of coherent memory. */
struct vtoe_queue {
	u16 index;			/* pair, or VTOE_QUEUE_CONTROL */
	u32 send_size, recv_size, comp_size;
	void *mem;
	dma_addr_t mem_dma;
	size_t mem_len;
	void *send;			/* struct vtoe_send_desc, vtoe_cmd */
	struct vtoe_recv_desc *recv;
	void *comp;			/* struct vtoe_comp, vtoe_event */
	struct vtoe_queue_ctrl *ctrl;
	void __iomem *doorbell;
	u32 send_prod;
	u32 send_cons;			/* the device's, as last seen */
	u32 recv_prod;
	u32 comp_cons;
	u32 comp_told;			/* comp_cons as the device knows it */
	int irq;			/* 0: none */
	char irq_name[IFNAMSIZ + 16];
	struct napi_struct napi;
	/* counters; written in NAPI or under the lock of the ring */
	u64 doorbells, interrupts, polls;
};

/* A frame on its way: one entry per frame, indexed by its number. */
struct vtoe_tx_frame {
	struct sk_buff *skb;
	u32 bytes;
	u16 ndesc;
	u32 first;			/* index of its first descriptor */
};

struct vtoe_tx_map {
	dma_addr_t dma;
	u32 len;
	bool page;
};

struct vtoe_frame_stats {
	u64 packets, bytes;
	u64 dropped, busy, csum, gso, kicks;
	struct u64_stats_sync sync;
};

/* One piece of a session's send queue. */
struct vtoe_txrec {
	struct vtoe_buf *buf;
	u32 off, len;
	bool last;			/* buf is free when this is done */
};

struct vtoe_pool {
	struct device *dmadev;
	spinlock_t lock;
	struct list_head free;
	struct list_head all;
	unsigned int nfree, nall;
	u64 failures;
};

/* Counters of a stream pair, each written in one context (see there). */
#define VTOE_PAIR_COUNTERS(X) \
	X(tx_stream_bytes) X(tx_stream_descs) X(tx_ring_full) \
	X(tx_acked_bytes) X(tx_credits) X(tx_no_memory) X(tx_unknown_sid) \
	X(rx_stream_bytes) X(rx_stream_bufs) X(rx_copied) X(rx_unknown_sid) \
	X(rx_returned) X(rx_no_memory)

struct vtoe_pair {
	struct vtoe_dev *dev;
	struct vtoe_queue q;
	bool enabled;

	/* SendWQ */
	spinlock_t tx_lock;
	struct list_head pending;	/* sessions that wait for room */
	struct timer_list tx_timer;	/* ... when no completion will come */
	bool stopped;			/* the device is gone or in reset */

	/* RecvWQ: slots[id] is the buffer the device has */
	struct vtoe_buf **slots;
	u32 *ids;			/* stack of free ids */
	u32 nids;

	spinlock_t dying_lock;
	struct list_head dying;		/* sessions whose last event came */

	struct vtoe_session *touched;	/* NAPI: sessions of this poll */
	u32 poll_bytes;			/* ... and what it brought or freed */
	bool lazy;			/* no interrupt for the next few */
	struct timer_list lazy_timer;	/* ... but a poll after a while */

#define VTOE_FIELD(n) u64 n;
	struct {
		VTOE_PAIR_COUNTERS(VTOE_FIELD)
	} st;
#undef VTOE_FIELD
};

/* Counters of the control queue, written in its NAPI or under cmd_lock. */
#define VTOE_CTRL_COUNTERS(X) \
	X(connects) X(accepts) X(rejects) X(rejects_lost) \
	X(connect_requests) X(requests_unwanted) X(established) \
	X(disconnected_graceful) X(disconnected_reset) X(connects_failed) \
	X(commands) X(commands_refused) X(events) X(events_stale) \
	X(resets) X(violations)

struct vtoe_cmd_wait {
	struct completion done;
	int status;			/* enum vtoe_cmd_status, or -errno */
	struct vtoe_event ev;
};

/* A command the device has not answered. */
struct vtoe_cmd_slot {
	u8 op;				/* 0: free */
	u32 next_free;
	u32 sid;
	struct vtoe_session *s;		/* referenced */
	struct vtoe_cmd_wait *wait;
};

enum {
	VTOE_DEV_RUNNING,		/* DRIVER_OK; changes under cmd_lock */
	VTOE_DEV_GONE,			/* being removed */
	VTOE_DEV_RESETTING,
};

struct vtoe_dev {
	struct kref kref;
	struct rcu_head rcu;
	struct pci_dev *pdev;
	struct net_device *netdev;
	void __iomem *regs;		/* BAR 2: registers, doorbells */
	unsigned long state;		/* VTOE_DEV_* */
	struct mutex life_lock;
	u64 features;
	u32 generation;
	u32 max_pairs, max_ring, max_segment, max_inflight;
	u32 npairs;			/* in use, pair 0 included */
	u32 nvec;

	/* frames: pair 0 */
	struct vtoe_queue fq;
	struct vtoe_tx_frame *tx_frames;
	struct vtoe_tx_map *tx_maps;	/* per descriptor */
	u32 tx_frame_prod, tx_frame_cons;
	u32 tx_desc_cons;		/* first descriptor of tx_frame_cons */
	struct page_pool *rx_pages;
	struct page **rx_slots;
	u32 rx_posted;			/* buffers the device has */
	struct sk_buff *rx_skb;		/* frame being put together */
	u32 rx_more;			/* buffers it still lacks */
	struct vtoe_frame_stats tx_stats, rx_stats;
	bool frames_up;			/* NAPI of pair 0 runs */

	/* streams: pairs[0] is pair 1 */
	struct vtoe_pair *pairs;
	u32 nstream;			/* stream pairs in use */
	struct vtoe_pool pool;
	struct xarray active;		/* SID -> session, chosen here */
	struct xarray passive;		/* SID without PASSIVE, chosen there */
	u32 next_sid;

	/* control queue */
	struct vtoe_queue cq;
	spinlock_t cmd_lock;
	struct list_head cmd_waiting;	/* sessions with cmd_pending */
	struct vtoe_cmd_slot *slots;
	u32 slot_free;
	u32 cmds_out;			/* slots in use */
	wait_queue_head_t cmd_room;	/* a slot became free */
	unsigned long cmd_stamp;	/* jiffies: last answer or first command */
	const struct vtoe_client_ops *client_ops;
	void *client;
#define VTOE_FIELD(n) u64 n;
	struct {
		VTOE_CTRL_COUNTERS(VTOE_FIELD)
	} st;
#undef VTOE_FIELD

	struct vtoe_adev *vadev;
	int adev_id;
	struct work_struct reset_work;
	struct work_struct link_work;
	struct delayed_work watchdog;
	u32 msg_enable;
};

struct vtoe_priv {
	struct vtoe_dev *dev;
};

static inline struct vtoe_dev *vtoe_priv(const struct net_device *netdev)
{
	return ((struct vtoe_priv *)netdev_priv(netdev))->dev;
}

/* --- vtoe_hw.c ------------------------------------------------------------ */

u32 vtoe_rd(const struct vtoe_dev *dev, u32 reg);
void vtoe_wr(const struct vtoe_dev *dev, u32 reg, u32 val);
int vtoe_hw_identify(struct vtoe_dev *dev);
int vtoe_hw_start(struct vtoe_dev *dev);
void vtoe_hw_reset(struct vtoe_dev *dev);
int vtoe_queue_alloc(struct vtoe_dev *dev, struct vtoe_queue *q, u16 index,
		     u32 send, u32 recv, u32 comp);
void vtoe_queue_free(struct vtoe_dev *dev, struct vtoe_queue *q);
void vtoe_queue_clear(struct vtoe_queue *q);
int vtoe_queue_enable(struct vtoe_dev *dev, struct vtoe_queue *q, u32 vector);
int vtoe_irqs_request(struct vtoe_dev *dev);
void vtoe_irqs_free(struct vtoe_dev *dev);
void vtoe_hw_mac(const struct vtoe_dev *dev, u8 mac[6]);
void vtoe_hw_set_mac(struct vtoe_dev *dev, const u8 mac[6]);
u32 vtoe_hw_max_mtu(const struct vtoe_dev *dev);
void vtoe_need_reset(struct vtoe_dev *dev, const char *why);

/*
 * The full barrier of section 3.6: what was stored is seen by the device before
 * anything is loaded.
 *
 * Not virt_mb(): on x86 that is a locked instruction, and QEMU emulating a
 * guest of one processor (TCG) carries out locked instructions like any other,
 * without a barrier on the host, though the device runs beside it there.  The
 * load then overtakes the store, now and then each side misses the other, and
 * both wait for ever.  mb() is a fence to every emulator, and what drivers use
 * towards devices.
 */
#define vtoe_mb()	mb()

/* Free descriptors of the send ring; reads send_cons only when it must. */
static inline u32 vtoe_send_room(struct vtoe_queue *q, u32 want)
{
	u32 room = q->send_size - (q->send_prod - q->send_cons);

	if (unlikely(room < want)) {
		q->send_cons = le32_to_cpu(READ_ONCE(q->ctrl->send_cons));
		room = q->send_size - (q->send_prod - q->send_cons);
	}
	return room;
}

static inline void vtoe_doorbell(struct vtoe_queue *q)
{
	q->doorbells++;
	writel(1, q->doorbell);
}

/* Publishes send_prod; true if the device wants a doorbell. */
static inline bool vtoe_send_publish(struct vtoe_queue *q, u32 old)
{
	/* The descriptors, then their number. */
	virt_store_release(&q->ctrl->send_prod, cpu_to_le32(q->send_prod));
	vtoe_mb();
	return vtoe_need_kick(le32_to_cpu(READ_ONCE(q->ctrl->send_event)),
			      q->send_prod, old);
}

static inline bool vtoe_recv_publish(struct vtoe_queue *q, u32 old)
{
	/* The same for buffers. */
	virt_store_release(&q->ctrl->recv_prod, cpu_to_le32(q->recv_prod));
	vtoe_mb();
	return vtoe_need_kick(le32_to_cpu(READ_ONCE(q->ctrl->recv_event)),
			      q->recv_prod, old);
}

/* Number of completions (events) to look at; what they say may be read. */
static inline u32 vtoe_comp_ready(const struct vtoe_queue *q)
{
	/* The number, then the entries; pairs with the device's release. */
	return le32_to_cpu(virt_load_acquire(&q->ctrl->comp_prod)) -
	       q->comp_cons;
}

/* Tells the device that completions were read; it may have waited. */
static inline void vtoe_comp_release(struct vtoe_queue *q)
{
	u32 old = q->comp_told;

	if (old == q->comp_cons)
		return;
	q->comp_told = q->comp_cons;
	/* They were read before the device writes there again. */
	virt_store_release(&q->ctrl->comp_cons, cpu_to_le32(q->comp_cons));
	vtoe_mb();
	if (unlikely(vtoe_need_kick(le32_to_cpu(READ_ONCE(q->ctrl->comp_room_event)),
				    q->comp_cons, old)))
		vtoe_doorbell(q);
}

/*
 * Asks for an interrupt when there are more than `ahead' completions; false if
 * there are.
 */
static inline bool vtoe_comp_arm(struct vtoe_queue *q, u32 ahead)
{
	WRITE_ONCE(q->ctrl->comp_event, cpu_to_le32(q->comp_cons + ahead));
	/* The device reads comp_event after it wrote comp_prod. */
	vtoe_mb();
	return le32_to_cpu(READ_ONCE(q->ctrl->comp_prod)) - q->comp_cons <=
	       ahead;
}

/* No interrupt until it is armed: the last completion is behind. */
static inline void vtoe_comp_disarm(struct vtoe_queue *q)
{
	WRITE_ONCE(q->ctrl->comp_event, cpu_to_le32(q->comp_cons - 1));
}

/*
 * The end of a poll that found less than its budget.  The interrupt is asked
 * for while this CPU still owns the poll.  Afterwards another CPU may poll and
 * ask for the next completion; an older wish for a later one would take its
 * place, and nothing would ever tell.
 */
static inline void vtoe_poll_done(struct vtoe_queue *q, int work, u32 ahead)
{
	bool armed = vtoe_comp_arm(q, ahead);

	if (napi_complete_done(&q->napi, work) && !armed)
		napi_schedule(&q->napi);
}

/* --- vtoe_cmd.c ----------------------------------------------------------- */

int vtoe_ctrl_poll(struct napi_struct *napi, int budget);
int vtoe_cmd_init(struct vtoe_dev *dev);
void vtoe_cmd_fini(struct vtoe_dev *dev);
void vtoe_cmd_start(struct vtoe_dev *dev);
void vtoe_cmd_stop(struct vtoe_dev *dev);
void vtoe_cmd_want(struct vtoe_session *s, unsigned int bit);
bool vtoe_cmd_stuck(struct vtoe_dev *dev);

/* --- vtoe_stream.c -------------------------------------------------------- */

int vtoe_streams_alloc(struct vtoe_dev *dev, u32 n);
void vtoe_streams_free(struct vtoe_dev *dev);
int vtoe_streams_fill(struct vtoe_dev *dev);
void vtoe_streams_stop(struct vtoe_dev *dev);
void vtoe_streams_start(struct vtoe_dev *dev);
void vtoe_streams_reclaim(struct vtoe_dev *dev);

/* --- vtoe_send.c ---------------------------------------------------------- */

void vtoe_tx_ack(struct vtoe_pair *p, struct vtoe_session *s, u64 offset);
void vtoe_tx_purge(struct vtoe_session *s);
void vtoe_rtt_sample(struct vtoe_session *s);
void vtoe_tx_timer_fn(struct timer_list *t);

/* --- vtoe_session.c ------------------------------------------------------- */

struct vtoe_session *vtoe_session_find(struct vtoe_dev *dev, u32 sid);
void vtoe_session_established(struct vtoe_session *s);
void vtoe_session_ended(struct vtoe_session *s, u8 event, u16 reason);
void vtoe_session_finish(struct vtoe_session *s);
void vtoe_streams_end_all(struct vtoe_dev *dev, u16 reason);
void vtoe_dev_release(struct kref *kref);

/* --- vtoe_pool.c ---------------------------------------------------------- */

int vtoe_pool_module_init(void);
void vtoe_pool_module_exit(void);
void vtoe_pool_init(struct vtoe_pool *pool, struct device *dmadev);
void vtoe_pool_detach(struct vtoe_pool *pool);
struct vtoe_buf *vtoe_buf_get(struct vtoe_pool *pool, gfp_t gfp);
struct vtoe_buf *vtoe_buf_copy(const void *data, u32 len);
void vtoe_bufs_free(struct list_head *bufs);

/* --- frames --------------------------------------------------------------- */

int vtoe_frames_alloc(struct vtoe_dev *dev);
void vtoe_frames_free(struct vtoe_dev *dev);
void vtoe_tx_init(struct vtoe_dev *dev);
void vtoe_tx_reclaim(struct vtoe_dev *dev);
netdev_tx_t vtoe_start_xmit(struct sk_buff *skb, struct net_device *netdev);
void vtoe_tx_done(struct vtoe_dev *dev, u64 done, int budget);
int vtoe_rx_init(struct vtoe_dev *dev);
void vtoe_rx_reclaim(struct vtoe_dev *dev);
void vtoe_rx_fill(struct vtoe_dev *dev);
void vtoe_rx_comp(struct vtoe_dev *dev, const struct vtoe_comp *c);
int vtoe_frame_poll(struct napi_struct *napi, int budget);

extern const struct ethtool_ops vtoe_ethtool_ops;

#endif /* VTOE_H */
