// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sending of offloaded streams; after a fall-back the companion's.
 *
 * Data are copied into buffers of the NIC's pool and appended to the session.
 * Bytes count against SO_SNDBUF, and against the connection's share of memory,
 * until the peer's NIC has acknowledged them.
 */
#include <linux/sched/signal.h>
#include "vtoe_sock.h"

/* --- room to send --------------------------------------------------------- */

static u32 vtoe_tx_limit(const struct sock *sk)
{
	return min_t(u32, READ_ONCE(sk->sk_sndbuf), vtoe_mem_share());
}

/*
 * May more be sent?  Whoever was told that there is no room waits until poll()
 * says that there is.
 */
static bool vtoe_tx_free(const struct sock *sk)
{
	const struct vtoe_sock *vsk = vtoe_sk(sk);
	const struct vtoe_conn *c = vsk->conn;

	if (READ_ONCE(vsk->nospace) || unlikely(READ_ONCE(vsk->mem_short)))
		return vtoe_tx_writable(sk);
	return vtoe_tx_room(&c->s) &&
	       vtoe_tx_unacked(&c->s) < vtoe_tx_limit(sk);
}

/* A third of the buffer free, as for TCP, and a record. */
bool vtoe_tx_writable(const struct sock *sk)
{
	const struct vtoe_conn *c = READ_ONCE(vtoe_sk(sk)->conn);
	u32 limit = vtoe_tx_limit(sk) / 3 * 2;

	if (unlikely(READ_ONCE(vtoe_sk(sk)->mem_short)))
		limit = 0;
	return c && vtoe_tx_room(&c->s) && vtoe_tx_unacked(&c->s) <= limit;
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
			/* Others may wait for what this one noticed. */
			vtoe_sock_write_space(sk);
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
		room = vtoe_tx_limit(sk);
		room = max(room - min_t(u64, room, vtoe_tx_unacked(s)),
			   room / 4 + 1);
		n = min3(msg_data_left(msg), (size_t)(b->size - b->off), room);
		if (vtoe_mem_counts(sk)) {
			n = vtoe_mem_send(sk, n);
			if (unlikely(!n)) {
				vtoe_tx_append(s, b, 0, hold);
				continue;
			}
		}
		/* All of a piece or, as with TCP, nothing. */
		if (unlikely(!copy_from_iter_full(b->va + b->off, n,
						  &msg->msg_iter)))
			n = 0;
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
	if (copied && unlikely(vsk->user_timeout) && !vsk->alive_sent)
		vtoe_alive_sent(sk);
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
		vtoe_tcp_prepare(sk);
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
