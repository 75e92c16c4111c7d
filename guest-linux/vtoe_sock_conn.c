// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connections: what the NIC reports about a stream, and what that does to the
 * socket.
 *
 * Reports come in softirq.  Data are queued to the connection under its own
 * lock and the reader is woken; nothing else happens for them.  Everything
 * else sets a bit in conn->flags and then runs vtoe_sock_update() under the
 * socket's spin lock, or leaves that to whoever owns the socket
 * (release_cb, or the owner itself when it looks at conn->flags).
 *
 * A connection outlives its socket: after close() the NIC goes on sending what
 * it has, and the connection is freed by its last report.
 */
#include <linux/mm.h>
#include "vtoe_sock.h"
#include "vtoe_sock_trace.h"

/* Bits in sk_tsq_flags. */
#define VTOE_DEFERRED	0	/* vtoe_sock_update() is due */
#define VTOE_DEFER_MEM	1	/* vtoe_mem_update() is due */

/* --- life ----------------------------------------------------------------- */

static atomic_t vtoe_conns = ATOMIC_INIT(0);
static u32 vtoe_share;

/*
 * A connection's share of the memory for data, in bytes.  For those received:
 * what the peers may fill if no reader reads.  For those to be sent: what
 * writers may fill if no peer reads, whatever their SO_SNDBUF.  Without that,
 * many writers would take all memory that there is.
 */
u32 vtoe_mem_share(void)
{
	return READ_ONCE(vtoe_share);
}

/* There is one connection more, 1, or less, -1; 0: when the module comes. */
void vtoe_conns_count(int change)
{
	u64 all = ((u64)totalram_pages() << PAGE_SHIFT) / VTOE_MEM_SHARE;
	int n = atomic_add_return(change, &vtoe_conns);

	WRITE_ONCE(vtoe_share, clamp_t(u64, div_u64(all, n + 1), VTOE_WIN_MIN,
				       S32_MAX));
}

/* A connection for sk, or for what its accept() will make. */
struct vtoe_conn *vtoe_conn_new(struct vtoe_dev *dev, const struct sock *sk,
				gfp_t gfp)
{
	struct vtoe_conn *c = kmalloc(sizeof(*c), gfp);
	u32 window;

	if (!c)
		return NULL;
	window = min3(VTOE_WIN_INITIAL, vtoe_mem_share(),
		      (u32)max(READ_ONCE(sk->sk_rcvbuf) / 2, 1));
	if (vtoe_mem_counts(sk))
		window = min(window, vtoe_mem_window(sk, VTOE_WIN_MIN));
	if (vtoe_session_init(&c->s, dev, &vtoe_conn_ops,
			      raw_smp_processor_id(), gfp)) {
		kfree(c);
		return NULL;
	}
	spin_lock_init(&c->lock);
	c->flags = 0;
	c->sk = NULL;
	INIT_LIST_HEAD(&c->rxq);
	c->rx_bytes = 0;
	c->rx_truesize = 0;
	c->event = 0;
	c->reason = 0;
	c->rx_read = 0;
	c->rx_limit = window;
	c->rx_grow = window;
	c->window = window;
	c->rx_heard = jiffies;
	c->rx_stamp = 0;
	c->listener = NULL;
	INIT_LIST_HEAD(&c->accept_node);
	c->queued = VTOE_CONN_UNQUEUED;
	vtoe_conns_count(1);
	__module_get(THIS_MODULE);
	return c;
}

static void vtoe_conn_release(struct vtoe_session *s)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);
	struct vtoe_buf *b, *tmp;

	list_for_each_entry_safe(b, tmp, &c->rxq, node)
		vtoe_buf_free(b);
	kfree_rcu(c, rcu);
	vtoe_conns_count(-1);
	module_put(THIS_MODULE);
}

/*
 * The connection is the socket's from now on.  lock_sock() is held, or nobody
 * else knows the socket.
 */
void vtoe_conn_attach(struct vtoe_conn *c, struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	vsk->conn = c;
	vsk->seen = 0;
#ifdef CONFIG_NET_RX_BUSY_POLL
	WRITE_ONCE(sk->sk_napi_id, vtoe_session_napi_id(&c->s));
#endif
	spin_lock_bh(&c->lock);
	c->sk = sk;
	spin_unlock_bh(&c->lock);
}

static void vtoe_conn_purge(struct vtoe_conn *c)
{
	struct vtoe_buf *b, *tmp;
	LIST_HEAD(bufs);

	spin_lock_bh(&c->lock);
	__set_bit(VTOE_CF_CLOSED, &c->flags);
	c->sk = NULL;
	list_splice_init(&c->rxq, &bufs);
	c->rx_bytes = 0;
	c->rx_truesize = 0;
	spin_unlock_bh(&c->lock);
	list_for_each_entry_safe(b, tmp, &bufs, node)
		vtoe_buf_free(b);
}

/*
 * Nobody reads or writes any more: ends the stream of sk in one way or the
 * other, and drops the caller's reference.
 */
void vtoe_conn_drop(struct vtoe_conn *c, struct sock *sk, int how, u16 reason)
{
	vtoe_conn_purge(c);
	if (!test_bit(VTOE_CF_OVER, &c->flags)) {
		if (how == VTOE_DROP_ABORT) {
			vtoe_reset_count(sk, c, false, reason);
			vtoe_session_abort(&c->s, reason);
		} else {
			vtoe_session_close(&c->s);
		}
	}
	vtoe_conn_put(c);
}

/*
 * Is there enough for SO_RCVLOWAT, or all that the peer may send?  More would
 * not come before something is read.
 */
bool vtoe_conn_readable(const struct vtoe_conn *c, const struct sock *sk)
{
	u32 bytes = READ_ONCE(c->rx_bytes);

	return bytes >= READ_ONCE(sk->sk_rcvlowat) ||
	       (bytes && READ_ONCE(c->s.rx_offset) >= READ_ONCE(c->rx_limit));
}

bool vtoe_conn_unread(struct vtoe_conn *c)
{
	return READ_ONCE(c->rx_bytes) != 0;
}

/* --- reports of the NIC --------------------------------------------------- */

/* Sets bits, and gives a reference to the socket that has to know, if any. */
static struct sock *vtoe_conn_mark(struct vtoe_conn *c, unsigned long bits)
{
	struct sock *sk;

	spin_lock_bh(&c->lock);
	WRITE_ONCE(c->flags, c->flags | bits);
	sk = c->sk;
	if (sk)
		sock_hold(sk);
	spin_unlock_bh(&c->lock);
	return sk;
}

void vtoe_sock_poke(struct sock *sk)
{
	if (!sk)
		return;
	/* A program that changes its neighbours gets here, too. */
	local_bh_disable();
	bh_lock_sock(sk);
	if (sock_owned_by_user(sk))
		set_bit(VTOE_DEFERRED, &sk->sk_tsq_flags);
	else
		vtoe_sock_update(sk);
	bh_unlock_sock(sk);
	local_bh_enable();
	sock_put(sk);
}

/* Called by release_sock() under the spin lock. */
void vtoe_sock_release_cb(struct sock *sk)
{
	/* The end of a setsockopt() of the core, perhaps. */
	if (unlikely(rcu_access_pointer(sk->sk_reuseport_cb)))
		vtoe_companion_reuseport(sk);
	if (unlikely(test_bit(VTOE_DEFERRED, &sk->sk_tsq_flags)) &&
	    test_and_clear_bit(VTOE_DEFERRED, &sk->sk_tsq_flags))
		vtoe_sock_update(sk);
	if (unlikely(test_bit(VTOE_DEFER_MEM, &sk->sk_tsq_flags)) &&
	    test_and_clear_bit(VTOE_DEFER_MEM, &sk->sk_tsq_flags))
		vtoe_mem_update(sk);
}

/* Books what the socket's stream holds; drops the caller's reference. */
static void vtoe_conn_book(struct sock *sk)
{
	bh_lock_sock(sk);
	if (sock_owned_by_user(sk))
		set_bit(VTOE_DEFER_MEM, &sk->sk_tsq_flags);
	else
		vtoe_mem_update(sk);
	bh_unlock_sock(sk);
	sock_put(sk);
}

static void vtoe_conn_established(struct vtoe_session *s)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);
	struct sock *sk = vtoe_conn_mark(c, BIT(VTOE_CF_ESTABLISHED));

	if (sk)
		vtoe_sock_poke(sk);
	else
		vtoe_listen_conn_ready(c);
}

static void vtoe_conn_failed(struct vtoe_session *s, u8 event, u16 reason)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);

	c->event = event;
	c->reason = reason;
	vtoe_sock_poke(vtoe_conn_mark(c, BIT(VTOE_CF_OVER)));
	vtoe_listen_conn_over(c);
}

/*
 * Small messages join what is queued, so that they do not each hold memory; and
 * if the queue holds much more memory than bytes, so do others that fit behind
 * the last one.
 */
static void vtoe_conn_join(struct vtoe_conn *c, struct list_head *bufs)
{
	bool sparse = c->rx_truesize > 2 * (u64)c->rx_bytes + VTOE_RX_SPARE;
	struct vtoe_buf *last, *b;

	if (list_empty(&c->rxq))
		return;
	last = list_last_entry(&c->rxq, struct vtoe_buf, node);
	while (!list_empty(bufs)) {
		b = list_first_entry(bufs, struct vtoe_buf, node);
		if (sparse ? vtoe_buf_room(last) < b->len :
		    !vtoe_buf_is_small(b) || vtoe_buf_tailroom(last) < b->len)
			return;
		memcpy(last->va + last->off + last->len, b->va + b->off,
		       b->len);
		last->len += b->len;
		list_del(&b->node);
		vtoe_buf_free(b);
	}
}

static void vtoe_conn_data(struct vtoe_session *s, struct list_head *bufs,
			   u32 bytes)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);
	const struct sock *reader;
	struct sock *sk, *payer = NULL;
	struct vtoe_buf *b, *tmp;

	spin_lock(&c->lock);
	if (unlikely(test_bit(VTOE_CF_CLOSED, &c->flags))) {
		spin_unlock(&c->lock);
		list_for_each_entry_safe(b, tmp, bufs, node)
			vtoe_buf_free(b);
		return;
	}
	vtoe_conn_join(c, bufs);
	list_for_each_entry(b, bufs, node)
		c->rx_truesize += b->truesize;
	list_splice_tail_init(bufs, &c->rxq);
	WRITE_ONCE(c->rx_bytes, c->rx_bytes + bytes);
	WRITE_ONCE(c->rx_heard, jiffies);
	sk = c->sk;
	/* What accept() makes will have the listener's flags. */
	reader = sk ? : c->listener;
	if (unlikely(reader && reader->sk_flags & SK_FLAGS_TIMESTAMP))
		c->rx_stamp = ktime_get_real();
	/* Under the lock, the socket stays. */
	if (sk && vtoe_conn_readable(c, sk))
		sk->sk_data_ready(sk);
	if (unlikely(sk && vtoe_mem_due(sk))) {
		payer = sk;
		sock_hold(payer);
	}
	spin_unlock(&c->lock);
	if (unlikely(payer))
		vtoe_conn_book(payer);
}

static void vtoe_conn_end(struct vtoe_session *s)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);

	vtoe_sock_poke(vtoe_conn_mark(c, BIT(VTOE_CF_END)));
}

static void vtoe_conn_abort(struct vtoe_session *s, u16 reason)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);

	c->reason = reason;
	vtoe_sock_poke(vtoe_conn_mark(c, BIT(VTOE_CF_RESET)));
}

static bool vtoe_conn_acked(struct vtoe_session *s)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);
	struct sock *sk, *payer = NULL;
	bool waiting = false;

	if (!READ_ONCE(c->sk))
		return false;
	spin_lock(&c->lock);
	sk = c->sk;
	if (sk && READ_ONCE(vtoe_sk(sk)->nospace)) {
		vtoe_sock_write_space(sk);
		waiting = READ_ONCE(vtoe_sk(sk)->nospace);
	}
	if (unlikely(sk && vtoe_mem_due(sk))) {
		payer = sk;
		sock_hold(payer);
	}
	spin_unlock(&c->lock);
	if (unlikely(payer))
		vtoe_conn_book(payer);
	return waiting;
}

static void vtoe_conn_disconnected(struct vtoe_session *s, u16 reason)
{
	struct vtoe_conn *c = container_of(s, struct vtoe_conn, s);
	unsigned long bits = BIT(VTOE_CF_OVER);

	c->event = VTOE_EVENT_DISCONNECTED;
	if (!test_bit(VTOE_CF_RESET, &c->flags))
		c->reason = reason;
	if (reason != VTOE_REASON_NONE)
		bits |= BIT(VTOE_CF_RESET);
	vtoe_sock_poke(vtoe_conn_mark(c, bits));
	vtoe_listen_conn_over(c);
}

const struct vtoe_session_ops vtoe_conn_ops = {
	.established	= vtoe_conn_established,
	.failed		= vtoe_conn_failed,
	.data		= vtoe_conn_data,
	.end		= vtoe_conn_end,
	.abort		= vtoe_conn_abort,
	.acked		= vtoe_conn_acked,
	.disconnected	= vtoe_conn_disconnected,
	.release	= vtoe_conn_release,
};

/* --- what it does to the socket ------------------------------------------- */

/* The error that a program sees, as it would over TCP. */
static int vtoe_errno(const struct sock *sk, const struct vtoe_conn *c)
{
	switch (c->reason) {
	case VTOE_REASON_TIMEOUT:
	case VTOE_REASON_LINK_LOST:
	case VTOE_REASON_LINK_DOWN:
		return ETIMEDOUT;
	default:
		return sk->sk_state == TCP_CLOSE_WAIT ? EPIPE : ECONNRESET;
	}
}

static void vtoe_set_closed(struct sock *sk)
{
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	inet_sk_set_state(sk, TCP_CLOSE);
	sk_stop_timer(sk, &sk->sk_timer);
	sk_stop_timer(sk, &vtoe_sk(sk)->alive_timer);
}

static void vtoe_sock_end(struct sock *sk)
{
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | RCV_SHUTDOWN);
	sock_set_flag(sk, SOCK_DONE);
	switch (sk->sk_state) {
	case TCP_ESTABLISHED:
		inet_sk_set_state(sk, TCP_CLOSE_WAIT);
		break;
	case TCP_FIN_WAIT1:
	case TCP_FIN_WAIT2:
		inet_sk_set_state(sk, TCP_CLOSING);
		break;
	}
	sk->sk_state_change(sk);
	sk_wake_async(sk, SOCK_WAKE_WAITD,
		      sk->sk_shutdown == SHUTDOWN_MASK ? POLL_HUP : POLL_IN);
}

static void vtoe_sock_reset(struct sock *sk, struct vtoe_conn *c)
{
	if (sk->sk_state == TCP_CLOSE)
		return;
	vtoe_count(sock_net(sk), reset_received);
	vtoe_reset_count(sk, c, true, c->reason);
	WRITE_ONCE(sk->sk_err, vtoe_errno(sk, c));
	/* Pairs with vtoe_poll(): the state, then the error. */
	smp_wmb();
	vtoe_set_closed(sk);
	/* TCP's order: io_uring's poll gives what the first of them says. */
	sk->sk_state_change(sk);
	sk_error_report(sk);
}

/* The peer does not answer any more.  Under the spin lock or by the owner. */
void vtoe_sock_lost(struct sock *sk)
{
	struct vtoe_conn *c = vtoe_sk(sk)->conn;

	c->reason = VTOE_REASON_TIMEOUT;
	vtoe_count(sock_net(sk), lost);
	vtoe_sock_reset(sk, c);
	vtoe_session_abort(&c->s, VTOE_REASON_TIMEOUT);
}

/*
 * Acts upon the bits of the connection that are new.  Under the spin lock with
 * nobody owning the socket, or by the owner.  Idempotent.
 */
void vtoe_sock_update(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c;
	unsigned long flags;

	if (vsk->mode == VTOE_MODE_CONNECTING && !vsk->conn) {
		vtoe_connect_step(sk);
		return;
	}
	c = vsk->conn;
	if (!c)
		return;
	flags = READ_ONCE(c->flags);
	if (flags == vsk->seen)
		return;
	vsk->seen = flags;

	if (vsk->mode == VTOE_MODE_CONNECTING) {
		if (flags & BIT(VTOE_CF_ESTABLISHED)) {
			sk_stop_timer(sk, &sk->sk_timer);
			vtoe_count(sock_net(sk), connect_offloaded);
			trace_vtoe_connected(sk, c, VTOE_R_none);
			inet_sk_set_state(sk, TCP_ESTABLISHED);
			/* poll() looks at the mode, then the state. */
			smp_store_release(&vsk->mode, VTOE_MODE_STREAM);
			vtoe_alive_start(sk, sock_flag(sk, SOCK_KEEPOPEN));
			sk->sk_state_change(sk);
			sk_wake_async(sk, SOCK_WAKE_IO, POLL_OUT);
		} else if (flags & (BIT(VTOE_CF_OVER) | BIT(VTOE_CF_RESET))) {
			enum vtoe_fallback why =
				flags & BIT(VTOE_CF_OVER) ?
				vtoe_fallback_of(c->event, c->reason) :
				VTOE_FB_connect_reset;

			vtoe_cache_add(sock_net(sk), &vsk->flow, why);
			vtoe_connect_failed(sk, why);
			return;
		} else {
			return;
		}
	}
	if (vsk->mode != VTOE_MODE_STREAM)
		return;
	if (flags & BIT(VTOE_CF_END) && !sock_flag(sk, SOCK_DONE))
		vtoe_sock_end(sk);
	if (flags & BIT(VTOE_CF_RESET)) {
		vtoe_sock_reset(sk, c);
	} else if (flags & BIT(VTOE_CF_OVER) && sk->sk_state != TCP_CLOSE) {
		vtoe_set_closed(sk);
		sk->sk_state_change(sk);
	}
}
