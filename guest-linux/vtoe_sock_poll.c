// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Polling, shutdown and close of offloaded streams; after a fall-back the
 * companion's.
 *
 * close() leaves the rest to the NIC (vtoe_conn_drop()); data that nobody read
 * make it a reset, as RFC 2525 wants of TCP.
 */
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include "vtoe_sock.h"

/* --- poll ----------------------------------------------------------------- */

static bool vtoe_readable(const struct sock *sk)
{
	const struct vtoe_conn *c = READ_ONCE(vtoe_sk(sk)->conn);

	return c && vtoe_conn_readable(c, sk);
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
	case VTOE_MODE_CONNECTING:
		/* What becomes of it wakes us. */
		return 0;
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
	sk_stop_timer(sk, &vsk->alive_timer);
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
	vtoe_mem_release(sk);
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
