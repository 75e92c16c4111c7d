// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Receiving of offloaded streams; after a fall-back the companion's.
 *
 * Receiving copies out of the buffers that the NIC filled.  The credit given
 * to the peer is what keeps the memory of a slow reader bounded: it never goes
 * beyond bytes read + window, less what the queue holds in memory beyond its
 * bytes.  It is renewed when half a window can be added; the window doubles
 * each time one was read, up to half of SO_RCVBUF or this connection's share
 * of the memory for all (vtoe_mem_share()).
 *
 * Going to sleep and being woken costs more than anything else in a small
 * message's way.  A reader whose last wait was short therefore polls the NIC
 * first, with its interrupt off (vtoe_rx_busy_poll()).
 */
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <net/busy_poll.h>
#include "vtoe_sock.h"

static void vtoe_rx_credit(struct sock *sk, struct vtoe_conn *c)
{
	u32 max = max(READ_ONCE(sk->sk_rcvbuf) / 2, 1);
	u32 want = 2 * READ_ONCE(sk->sk_rcvlowat);
	u32 window, over;
	u64 limit;

	if (c->rx_read >= c->rx_grow) {
		c->window = min3(2 * c->window, max,
				 max(c->window, vtoe_mem_share()));
		c->rx_grow = c->rx_read + c->window;
	}
	window = clamp(c->window, min(want, max), max);
	if (vtoe_mem_counts(sk) && c->rx_read + window > c->rx_limit)
		window = min(window, vtoe_mem_window(sk,
						     VTOE_MEM_WINDOW));
	over = READ_ONCE(c->rx_truesize) - READ_ONCE(c->rx_bytes);
	limit = c->rx_read + window - min(over, window);
	if (limit < c->rx_limit + max(window / 2, 1u))
		return;
	WRITE_ONCE(c->rx_limit, limit);
	vtoe_session_credit(&c->s, limit);
}

/*
 * The n bytes behind skip were copied.  If they are to go, gives back the
 * buffers that are empty now.
 */
static void vtoe_rx_consume(struct vtoe_conn *c, struct vtoe_buf *b, u32 n)
{
	struct vtoe_buf *empty = NULL;

	spin_lock_bh(&c->lock);
	b->off += n;
	b->len -= n;
	WRITE_ONCE(c->rx_bytes, c->rx_bytes - n);
	if (!b->len) {
		list_del(&b->node);
		c->rx_truesize -= b->truesize;
		empty = b;
	}
	spin_unlock_bh(&c->lock);
	c->rx_read += n;
	if (empty)
		vtoe_buf_free(empty);
}

/*
 * The buffer that holds byte *skip of the queue, which becomes an offset in it,
 * and the connection's state at that moment.
 */
static struct vtoe_buf *vtoe_rx_peek(struct vtoe_conn *c, u32 *skip, u32 *len,
				     unsigned long *flags)
{
	struct vtoe_buf *b, *found = NULL;

	spin_lock_bh(&c->lock);
	*flags = c->flags;
	list_for_each_entry(b, &c->rxq, node) {
		if (*skip < b->len) {
			*len = b->len - *skip;
			found = b;
			break;
		}
		*skip -= b->len;
	}
	spin_unlock_bh(&c->lock);
	return found;
}

/* What a reader waits for: bytes behind the first off, or an end. */
struct vtoe_rx_want {
	struct sock *sk;
	struct vtoe_conn *c;
	u32 off;
	unsigned long busy;		/* us of polling; 0: none */
};

static bool vtoe_rx_came(const struct vtoe_rx_want *w)
{
	const struct sock *sk = w->sk;
	const struct vtoe_sock *vsk = vtoe_sk(sk);

	return READ_ONCE(vsk->conn) != w->c ||
	       READ_ONCE(w->c->rx_bytes) > w->off || vtoe_sock_stale(vsk) ||
	       READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN ||
	       READ_ONCE(sk->sk_err);
}

static bool vtoe_rx_busy_over(void *arg, unsigned long start)
{
	const struct vtoe_rx_want *w = arg;

	return vtoe_rx_came(w) || signal_pending(current) ||
	       !single_task_running() ||
	       busy_loop_current_time() - start >= w->busy;
}

/*
 * Polls the NIC for a while, unlocked: for SO_BUSY_POLL's time, or for
 * net.vtoe.busy_read if most of the last waits were that short.  (One that was
 * not may be the host's doing, and going to sleep makes the next one longer,
 * too.)  Not while another task could run on this CPU.
 */
static void vtoe_rx_busy_poll(struct vtoe_rx_want *w)
{
#ifdef CONFIG_NET_RX_BUSY_POLL
	struct sock *sk = w->sk;

	if (READ_ONCE(sk->sk_ll_usec))
		w->busy = READ_ONCE(sk->sk_ll_usec);
	else if (!vtoe_sk(sk)->quick)
		w->busy = 0;
	if (!w->busy)
		return;
	release_sock(sk);
	napi_busy_loop(vtoe_session_napi_id(&w->c->s), vtoe_rx_busy_over, w,
		       READ_ONCE(sk->sk_prefer_busy_poll), BUSY_POLL_BUDGET);
	lock_sock(sk);
#endif
}

/* Waits for data or an end, locked.  False: disconnected by another thread. */
static bool vtoe_rx_wait(struct sock *sk, struct vtoe_conn *c, u32 off,
			 long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct vtoe_sock *vsk = vtoe_sk(sk);
	unsigned long limit = READ_ONCE(vtoe_net(sock_net(sk))->busy_read);
	unsigned long began = busy_loop_current_time();
	struct vtoe_rx_want want = {
		.sk = sk, .c = c, .off = off, .busy = limit,
	};
	int rc;

	vtoe_session_get(&c->s);
	vtoe_rx_busy_poll(&want);
	add_wait_queue(sk_sleep(sk), &wait);
	rc = sk_wait_event(sk, timeo, vtoe_rx_came(&want), &wait);
	remove_wait_queue(sk_sleep(sk), &wait);
	if (busy_loop_current_time() - began >= limit)
		vsk->quick /= 2;
	else if (vsk->quick < VTOE_BUSY_SCORE)
		vsk->quick++;
	vtoe_conn_put(c);
	return rc >= 0 && vsk->conn == c;
}

static int vtoe_stream_recv(struct sock *sk, struct msghdr *msg, size_t len,
			    int flags, long timeo)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c = vsk->conn;
	size_t target = sock_rcvlowat(sk, flags & MSG_WAITALL, len);
	bool peek = flags & MSG_PEEK;
	/* -1 is no offset: SO_PEEK_OFF was not set. */
	u32 off = peek ? max(sk_peek_offset(sk, flags), 0) : 0;
	unsigned long state;
	int copied = 0, err = 0;

	do {
		u32 skip = off, n = 0;
		struct vtoe_buf *b;

		if (unlikely(vtoe_sock_stale(vsk)))
			vtoe_sock_update(sk);
		b = vtoe_rx_peek(c, &skip, &n, &state);
		if (b) {
			n = min_t(size_t, n, len);
			if (!(flags & MSG_TRUNC)) {
				size_t done = copy_to_iter(b->va + b->off + skip,
							   n, &msg->msg_iter);

				/* All of a piece or, as with TCP, nothing. */
				if (unlikely(done != n)) {
					iov_iter_revert(&msg->msg_iter, done);
					n = 0;
					err = -EFAULT;
				}
			}
			copied += n;
			len -= n;
			if (peek)
				off += n;
			else if (n)
				vtoe_rx_consume(c, b, n);
			if (unlikely(err))
				break;
			continue;
		}
		if (copied >= target && copied)
			break;
		if (unlikely(state != vsk->seen))
			continue;
		vtoe_session_poll(&c->s);
		if (READ_ONCE(c->rx_bytes) > off)
			continue;
		if (copied) {
			if (sk->sk_err || sk->sk_state == TCP_CLOSE ||
			    sk->sk_shutdown & RCV_SHUTDOWN || !timeo ||
			    signal_pending(current))
				break;
		} else {
			if (sock_flag(sk, SOCK_DONE))
				break;
			if (sk->sk_err) {
				err = sock_error(sk);
				break;
			}
			if (sk->sk_shutdown & RCV_SHUTDOWN)
				break;
			if (sk->sk_state == TCP_CLOSE) {
				err = -ENOTCONN;
				break;
			}
			if (!timeo) {
				err = -EAGAIN;
				break;
			}
			if (signal_pending(current)) {
				err = sock_intr_errno(timeo);
				break;
			}
		}
		vtoe_rx_credit(sk, c);
		/* A buffer behind what was peeked at counts as new. */
		if (!vtoe_rx_wait(sk, c, off, &timeo))
			return copied ? : -EPIPE;
	} while (len > 0);

	if (unlikely(vtoe_mem_due(sk)) && !peek)
		vtoe_mem_update(sk);
	if (!peek)
		vtoe_rx_credit(sk, c);
	else if (copied)
		sk_peek_offset_fwd(sk, copied);
	if (!peek && copied)
		sk_peek_offset_bwd(sk, copied);
	return copied ? : err;
}

int vtoe_recvmsg(struct socket *sock, struct msghdr *msg, size_t len, int flags)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	long timeo;
	int ret;

	if (vtoe_delegated(vsk))
		goto tcp;
	if (unlikely(flags & MSG_ERRQUEUE))
		return vtoe_recv_error(sk, msg, len);
	timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT);
	lock_sock(sk);
	if (vsk->mode == VTOE_MODE_CONNECTING) {
		ret = vtoe_wait_connect(sk, &timeo);
		if (ret)
			goto out;
	}
	switch (vsk->mode) {
	case VTOE_MODE_TCP:
		release_sock(sk);
		goto tcp;
	case VTOE_MODE_STREAM:
		if (flags & MSG_OOB) {
			ret = -EINVAL;
			break;
		}
		ret = vtoe_stream_recv(sk, msg, len, flags, timeo);
		if (ret >= 0 && vsk->conn)
			vtoe_recv_cmsgs(sk, msg, ret > 0);
		break;
	default:
		ret = sock_error(sk) ? : -ENOTCONN;
		break;
	}
	msg->msg_namelen = 0;
out:
	release_sock(sk);
	return ret;

tcp:
	vtoe_err_before(vsk);
	vtoe_companion_sync(sk);
	ret = vsk->tcp->ops->recvmsg(vsk->tcp, msg, len, flags);
	vtoe_err_after(vsk);
	return ret;
}

int vtoe_set_rcvlowat(struct sock *sk, int val)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	/* The core has locked the socket. */
	if (vsk->mode == VTOE_MODE_TCP) {
		struct sock *tsk = vsk->tcp->sk;
		int err;

		WRITE_ONCE(sk->sk_rcvlowat, val ? : 1);
		lock_sock(tsk);
		err = vsk->tcp->ops->set_rcvlowat(tsk, val);
		release_sock(tsk);
		return err;
	}
	/* TCP's limits, so that a program reads back the same. */
	if (sk->sk_userlocks & SOCK_RCVBUF_LOCK)
		val = min(val, sk->sk_rcvbuf >> 1);
	else
		val = min(val, READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_rmem[2])
			       >> 1);
	/* The window is half of it, and a buffer need not be full. */
	if (!(sk->sk_userlocks & SOCK_RCVBUF_LOCK) && val > sk->sk_rcvbuf / 4)
		WRITE_ONCE(sk->sk_rcvbuf, min_t(u64, 4ull * val, S32_MAX));
	WRITE_ONCE(sk->sk_rcvlowat, val ? : 1);
	if (vsk->conn && vsk->mode == VTOE_MODE_STREAM) {
		vtoe_rx_credit(sk, vsk->conn);
		if (vtoe_conn_readable(vsk->conn, sk))
			sk->sk_data_ready(sk);
	}
	return 0;
}
