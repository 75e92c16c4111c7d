// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sending, receiving, polling and closing of offloaded streams; after a
 * fall-back the same of the companion.
 *
 * Sending copies into buffers of the NIC's pool and appends them to the
 * session.  Bytes count against SO_SNDBUF until the peer's NIC has
 * acknowledged them.
 *
 * Receiving copies out of the buffers that the NIC filled.  The credit given
 * to the peer is what keeps the memory of a slow reader bounded: it never goes
 * beyond bytes read + window, less what the queue holds in memory beyond its
 * bytes.  It is renewed when half a window can be added; the window doubles
 * each time one was read, up to half of SO_RCVBUF or this connection's share
 * of the memory for all (vtoe_window_max()).
 *
 * Going to sleep and being woken costs more than anything else in a small
 * message's way.  A reader whose last wait was short therefore polls the NIC
 * first, with its interrupt off (vtoe_rx_busy_poll()).
 *
 * close() leaves the rest to the NIC (vtoe_conn_drop()); data that nobody read
 * make it a reset, as RFC 2525 wants of TCP.
 */
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <net/busy_poll.h>
#include "vtoe_sock.h"

/* --- room to send --------------------------------------------------------- */

/*
 * May more be sent?  Whoever was told that there is no room waits until poll()
 * says that there is.
 */
static bool vtoe_tx_free(const struct sock *sk)
{
	const struct vtoe_sock *vsk = vtoe_sk(sk);
	const struct vtoe_conn *c = vsk->conn;

	if (READ_ONCE(vsk->nospace))
		return vtoe_tx_writable(sk);
	return vtoe_tx_room(&c->s) &&
	       vtoe_tx_unacked(&c->s) < READ_ONCE(sk->sk_sndbuf);
}

/* A third of the buffer free, as for TCP, and a record. */
bool vtoe_tx_writable(const struct sock *sk)
{
	const struct vtoe_conn *c = READ_ONCE(vtoe_sk(sk)->conn);

	return c && vtoe_tx_room(&c->s) &&
	       vtoe_tx_unacked(&c->s) <= READ_ONCE(sk->sk_sndbuf) / 3 * 2;
}

/* There is room again; also called by the core when SO_SNDBUF grew. */
void vtoe_sock_write_space(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct socket_wq *wq;

	if (vsk->mode != VTOE_MODE_STREAM || !READ_ONCE(vsk->nospace) ||
	    !vtoe_tx_writable(sk))
		return;
	WRITE_ONCE(vsk->nospace, false);
	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	if (skwq_has_sleeper(wq))
		wake_up_interruptible_poll(&wq->wait, EPOLLOUT | EPOLLWRNORM |
					   EPOLLWRBAND);
	if (wq && wq->fasync_list && !(READ_ONCE(sk->sk_shutdown) &
				       SEND_SHUTDOWN))
		sock_wake_async(wq, SOCK_WAKE_SPACE, POLL_OUT);
	rcu_read_unlock();
}

static bool vtoe_tx_over(const struct sock *sk)
{
	return READ_ONCE(sk->sk_err) ||
	       READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN ||
	       vtoe_sock_stale(vtoe_sk(sk));
}

/* Waits for room, locked.  Returns 0 or the error. */
static int vtoe_tx_wait(struct sock *sk, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c = vsk->conn;
	int err = 0, rc;

	vtoe_tx_push(&c->s);
	vtoe_session_get(&c->s);
	sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	add_wait_queue(sk_sleep(sk), &wait);
	for (;;) {
		vtoe_sock_update(sk);
		if (sk->sk_err || sk->sk_shutdown & SEND_SHUTDOWN) {
			err = -EPIPE;
			break;
		}
		WRITE_ONCE(vsk->nospace, true);
		/* Pairs with vtoe_conn_acked(). */
		smp_mb();
		vtoe_session_poll(&c->s);
		if (vtoe_tx_free(sk))
			break;
		if (!*timeo) {
			err = -EAGAIN;
			break;
		}
		if (signal_pending(current)) {
			err = sock_intr_errno(*timeo);
			break;
		}
		rc = sk_wait_event(sk, timeo, vsk->conn != c ||
				   vtoe_tx_over(sk) || vtoe_tx_writable(sk),
				   &wait);
		if (rc < 0 || vsk->conn != c) {
			err = -EPIPE;
			break;
		}
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	vtoe_conn_put(c);
	return err;
}

/* --- sending -------------------------------------------------------------- */

/* Waits until connect() in the background is decided. */
static int vtoe_wait_connect(struct sock *sk, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int err = 0;

	add_wait_queue(sk_sleep(sk), &wait);
	while (vsk->mode == VTOE_MODE_CONNECTING) {
		vtoe_sock_update(sk);
		if (vsk->mode != VTOE_MODE_CONNECTING)
			break;
		if (!*timeo) {
			err = -EAGAIN;
			break;
		}
		if (signal_pending(current)) {
			err = sock_intr_errno(*timeo);
			break;
		}
		sk_wait_event(sk, timeo,
			      READ_ONCE(vsk->mode) != VTOE_MODE_CONNECTING ||
			      vtoe_sock_stale(vsk), &wait);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	return err;
}

static int vtoe_stream_send(struct sock *sk, struct msghdr *msg, long timeo)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_session *s;
	bool hold = msg->msg_flags & MSG_MORE || vsk->cork;
	int copied = 0, err;

	if (unlikely(vtoe_sock_stale(vsk)))
		vtoe_sock_update(sk);
	sk_clear_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	err = -EPIPE;
	if (unlikely(sk->sk_err || sk->sk_shutdown & SEND_SHUTDOWN))
		goto out;
	s = &vsk->conn->s;

	while (msg_data_left(msg)) {
		struct vtoe_buf *b;
		size_t n, room;

		if (!vtoe_tx_free(sk)) {
			err = vtoe_tx_wait(sk, &timeo);
			if (err)
				goto out;
			WRITE_ONCE(vsk->nospace, false);
		}
		b = vtoe_tx_buf(s, sk->sk_allocation | __GFP_NOWARN);
		if (unlikely(!b)) {
			/*
			 * Memory comes back with acknowledgements, or from
			 * elsewhere: try again in a while.
			 */
			long nap = min_t(long, timeo, HZ / 50);

			err = -EAGAIN;
			if (!nap)
				goto out;
			vtoe_tx_push(s);
			if (signal_pending(current)) {
				err = sock_intr_errno(timeo);
				goto out;
			}
			release_sock(sk);
			if (timeo != MAX_SCHEDULE_TIMEOUT)
				timeo -= nap - schedule_timeout_interruptible(nap);
			else
				schedule_timeout_interruptible(nap);
			lock_sock(sk);
			vtoe_sock_update(sk);
			err = -EPIPE;
			if (!vsk->conn || &vsk->conn->s != s || sk->sk_err ||
			    sk->sk_shutdown & SEND_SHUTDOWN)
				goto out;
			continue;
		}
		/*
		 * The limit may be passed by a little, rather than send
		 * crumbs.
		 */
		room = READ_ONCE(sk->sk_sndbuf);
		room = max(room - min_t(u64, room, vtoe_tx_unacked(s)),
			   room / 4 + 1);
		n = min3(msg_data_left(msg), (size_t)(b->size - b->off), room);
		n = copy_from_iter(b->va + b->off, n, &msg->msg_iter);
		vtoe_tx_append(s, b, n, hold || msg_data_left(msg));
		if (unlikely(!n)) {
			err = -EFAULT;
			goto out;
		}
		copied += n;
	}
	err = 0;
out:
	if (copied && msg->msg_flags & MSG_ZEROCOPY && !msg->msg_ubuf &&
	    sock_flag(sk, SOCK_ZEROCOPY))
		vtoe_zerocopy_done(sk);
	if (copied) {
		s = vsk->conn ? &vsk->conn->s : NULL;
		if (!s)
			return copied;
		if (err)	/* what was held for more to come */
			vtoe_tx_push(s);
		else if (hold && !timer_pending(&sk->sk_timer))
			sk_reset_timer(sk, &sk->sk_timer,
				       jiffies + VTOE_CORK_TIMEOUT);
		return copied;
	}
	return err ? sk_stream_error(sk, msg->msg_flags, err) : 0;
}

int vtoe_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	long timeo;
	int ret;

	if (vtoe_delegated(vsk))
		goto tcp;
	timeo = sock_sndtimeo(sk, msg->msg_flags & MSG_DONTWAIT);
	lock_sock(sk);
	if (vsk->mode == VTOE_MODE_INIT && msg->msg_flags & MSG_FASTOPEN) {
		ret = vtoe_companion(sk);
		if (ret)
			goto out;
		vtoe_go_tcp(sk, VTOE_FB_fastopen);
		vtoe_count(sock_net(sk), connect_tcp);
	}
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
		ret = msg->msg_flags & MSG_FASTOPEN ? -EISCONN :
		      msg->msg_flags & MSG_OOB ? -EOPNOTSUPP :
		      vtoe_stream_send(sk, msg, timeo);
		break;
	default:
		ret = sk_stream_error(sk, msg->msg_flags, -EPIPE);
		break;
	}
out:
	release_sock(sk);
	return ret;

tcp:
	vtoe_err_before(vsk);
	vtoe_companion_sync(sk);
	ret = vsk->tcp->ops->sendmsg(vsk->tcp, msg, len);
	if (unlikely(msg->msg_flags & MSG_FASTOPEN && ret < 0))
		vtoe_tcp_settle(sk);
	vtoe_err_after(vsk);
	return ret;
}

#ifndef HAVE_PROTO_OPS_SENDPAGE
/* sendfile() or splice() announced more, but that was the file's end. */
void vtoe_splice_eof(struct socket *sock)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);

	if (vtoe_delegated(vsk)) {
		if (vsk->tcp->ops->splice_eof)
			vsk->tcp->ops->splice_eof(vsk->tcp);
		return;
	}
	lock_sock(sk);
	if (vsk->mode == VTOE_MODE_STREAM && vsk->conn && !vsk->cork)
		vtoe_tx_push(&vsk->conn->s);
	release_sock(sk);
}
#endif

/* --- receiving ------------------------------------------------------------ */

static void vtoe_rx_credit(struct sock *sk, struct vtoe_conn *c)
{
	u32 max = max(READ_ONCE(sk->sk_rcvbuf) / 2, 1);
	u32 want = 2 * READ_ONCE(sk->sk_rcvlowat);
	u32 window, over;
	u64 limit;

	if (c->rx_read >= c->rx_grow) {
		c->window = min3(2 * c->window, max,
				 max(c->window, vtoe_window_max()));
		c->rx_grow = c->rx_read + c->window;
	}
	window = clamp(c->window, min(want, max), max);
	over = READ_ONCE(c->rx_truesize) - READ_ONCE(c->rx_bytes);
	limit = c->rx_read + window - min(over, window);
	if (limit < c->rx_limit + max(window / 2, 1u))
		return;
	c->rx_limit = limit;
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
			if (!(flags & MSG_TRUNC) || peek) {
				size_t done = copy_to_iter(b->va + b->off + skip,
							   n, &msg->msg_iter);

				if (unlikely(done != n)) {
					n = done;
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
	/* A window that can never hold that much would stop the peer. */
	if (sk->sk_userlocks & SOCK_RCVBUF_LOCK)
		val = min(val, sk->sk_rcvbuf / 4);
	else if (val > sk->sk_rcvbuf / 4)
		WRITE_ONCE(sk->sk_rcvbuf, min_t(u64, 4ull * val, S32_MAX));
	WRITE_ONCE(sk->sk_rcvlowat, val ? : 1);
	if (vsk->conn && vsk->mode == VTOE_MODE_STREAM) {
		vtoe_rx_credit(sk, vsk->conn);
		if (READ_ONCE(vsk->conn->rx_bytes) >= sk->sk_rcvlowat)
			sk->sk_data_ready(sk);
	}
	return 0;
}

/* --- poll ----------------------------------------------------------------- */

static bool vtoe_readable(const struct sock *sk)
{
	const struct vtoe_conn *c = READ_ONCE(vtoe_sk(sk)->conn);

	return c && READ_ONCE(c->rx_bytes) >= READ_ONCE(sk->sk_rcvlowat);
}

__poll_t vtoe_poll(struct file *file, struct socket *sock, poll_table *wait)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	__poll_t mask = 0;
	struct vtoe_conn *c;
	int state;
	u8 shutdown;

	sock_poll_wait(file, sock, wait);
	/* The mode, then the state that goes with it. */
	switch (smp_load_acquire(&vsk->mode)) {
	case VTOE_MODE_TCP:
		/* It wakes our wait queue, so it need not register. */
		vtoe_err_before(vsk);
		return vsk->tcp->ops->poll(file, vsk->tcp, NULL);
	case VTOE_MODE_LISTEN:
		if (!list_empty(&vsk->ready))
			return EPOLLIN | EPOLLRDNORM;
		return vsk->tcp->ops->poll(file, vsk->tcp, NULL);
	}

	/*
	 * conn may only be followed under RCU: another thread could
	 * disconnect.
	 */
	rcu_read_lock();
	c = READ_ONCE(vsk->conn);
	state = inet_sk_state_load(sk);
	shutdown = READ_ONCE(sk->sk_shutdown);
	if (shutdown == SHUTDOWN_MASK || state == TCP_CLOSE)
		mask |= EPOLLHUP;
	if (shutdown & RCV_SHUTDOWN)
		mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (state != TCP_SYN_SENT) {
		if (c && !vtoe_readable(sk))
			vtoe_session_poll(&c->s);
		if (c && vtoe_readable(sk))
			mask |= EPOLLIN | EPOLLRDNORM;
		if (shutdown & SEND_SHUTDOWN || !c || vtoe_tx_writable(sk)) {
			mask |= EPOLLOUT | EPOLLWRNORM;
		} else {
			sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
			WRITE_ONCE(vsk->nospace, true);
			/* Room made before this is seen by nobody else. */
			smp_mb();
			vtoe_session_poll(&c->s);
			if (vtoe_tx_writable(sk))
				mask |= EPOLLOUT | EPOLLWRNORM;
		}
	}
	rcu_read_unlock();
	/* Pairs with vtoe_sock_reset(). */
	smp_rmb();
	if (READ_ONCE(sk->sk_err) ||
	    !skb_queue_empty_lockless(&sk->sk_error_queue))
		mask |= EPOLLERR;
	return mask;
}

/* --- shutdown and close --------------------------------------------------- */

static void vtoe_stream_shutdown(struct sock *sk, int how)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	if (vsk->conn && how & SEND_SHUTDOWN &&
	    !(sk->sk_shutdown & SEND_SHUTDOWN)) {
		if (sk->sk_state == TCP_ESTABLISHED)
			inet_sk_set_state(sk, TCP_FIN_WAIT1);
		else if (sk->sk_state == TCP_CLOSE_WAIT)
			inet_sk_set_state(sk, TCP_LAST_ACK);
		vtoe_session_shutdown(&vsk->conn->s);
	}
	WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | how);
}

int vtoe_shutdown(struct socket *sock, int how)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	bool listener;
	int err = 0;

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	if (vtoe_delegated(vsk))
		return vsk->tcp->ops->shutdown(vsk->tcp, how);
	listener = READ_ONCE(vsk->mode) == VTOE_MODE_LISTEN;
	if (listener)
		mutex_lock(&vtoe_listen_mutex);
	lock_sock(sk);
	vtoe_sock_update(sk);
	switch (vsk->mode) {
	case VTOE_MODE_TCP:
		err = vsk->tcp->ops->shutdown(vsk->tcp, how);
		break;
	case VTOE_MODE_LISTEN:
		/* Ends listening; SHUT_WR does nothing. */
		if (how != SHUT_WR && listener) {
			err = vtoe_disconnect(sk, O_NONBLOCK);
			sock->state = SS_UNCONNECTED;
		}
		break;
	case VTOE_MODE_CONNECTING:
		err = vtoe_disconnect(sk, O_NONBLOCK);
		sock->state = SS_UNCONNECTED;
		break;
	case VTOE_MODE_STREAM:
		if (sk->sk_state == TCP_CLOSE)
			err = -ENOTCONN;
		vtoe_stream_shutdown(sk, how + 1);
		break;
	default:
		WRITE_ONCE(sk->sk_shutdown, sk->sk_shutdown | (how + 1));
		err = -ENOTCONN;
		break;
	}
	sk->sk_state_change(sk);
	release_sock(sk);
	if (listener)
		mutex_unlock(&vtoe_listen_mutex);
	return err;
}

/* SO_LINGER: until the peer's NIC has everything, or time is up. */
static void vtoe_linger(struct sock *sk, long timeout)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c = vsk->conn;

	add_wait_queue(sk_sleep(sk), &wait);
	while (timeout && !signal_pending(current)) {
		WRITE_ONCE(vsk->nospace, true);
		/* Any acknowledgement may be the last. */
		smp_mb();
		if (!vtoe_tx_unacked(&c->s) ||
		    test_bit(VTOE_CF_OVER, &c->flags))
			break;
		sk_wait_event(sk, &timeout, !vtoe_tx_unacked(&c->s) ||
			      test_bit(VTOE_CF_OVER, &c->flags), &wait);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
}

static void vtoe_stream_close(struct sock *sk, long timeout)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c = vsk->conn;
	int how = VTOE_DROP_CLOSE;
	u16 reason = VTOE_REASON_NONE;

	sk_stop_timer(sk, &sk->sk_timer);
	if (!c)
		return;
	if (vtoe_conn_unread(c)) {
		vtoe_count(sock_net(sk), closed_unread);
		how = VTOE_DROP_ABORT;
		reason = VTOE_REASON_UNREAD;
	} else if (sock_flag(sk, SOCK_LINGER) && !sk->sk_lingertime) {
		vtoe_count(sock_net(sk), reset_sent);
		how = VTOE_DROP_ABORT;
		reason = VTOE_REASON_RESET;
	} else if (timeout) {
		/* The end goes out at once; waiting is for the data. */
		vtoe_session_close(&c->s);
		vtoe_linger(sk, timeout);
	}
	vsk->conn = NULL;
	vtoe_conn_drop(c, sk, how, reason);
}

/* The file is gone.  timeout: SO_LINGER's, in jiffies. */
void vtoe_close(struct sock *sk, long timeout)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	bool listener = READ_ONCE(vsk->mode) == VTOE_MODE_LISTEN;

	if (listener)
		mutex_lock(&vtoe_listen_mutex);
	lock_sock(sk);
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	switch (vsk->mode) {
	case VTOE_MODE_CONNECTING:
		vtoe_connect_cancel(sk);
		break;
	case VTOE_MODE_STREAM:
		vtoe_stream_close(sk, timeout);
		break;
	case VTOE_MODE_LISTEN:
		vtoe_listen_stop(sk);
		break;
	}
	if (sk->sk_state != TCP_CLOSE)
		inet_sk_set_state(sk, TCP_CLOSE);
	vsk->mode = VTOE_MODE_INIT;
	release_sock(sk);
	if (listener)
		mutex_unlock(&vtoe_listen_mutex);

	/* Not under our lock: it may linger. */
	vtoe_companion_release(sk);
	vtoe_sock_unlist(sk);
	lock_sock(sk);
	sock_orphan(sk);
	release_sock(sk);
	sock_put(sk);
}
