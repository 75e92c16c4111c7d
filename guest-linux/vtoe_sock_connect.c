// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * connect(): offload if the way leads out of a VTOE NIC to a peer that takes
 * streams, else TCP, without the program noticing.
 *
 * An offer is made once: resolve the peer's MAC (it may have to be waited
 * for), CONNECT, then Established or one of the failures.  Until then the
 * program sees SYN_SENT.  A failure, or no answer within
 * net.vtoe.connect_timeout, sets vsk->failed; the companion's connect() then
 * begins, in the program's context if it waits, else in a work item.
 *
 * After Established nothing falls back.
 */
#include <net/ipv6.h>
#include "vtoe_sock.h"

/* What a failure says about the reason to use TCP. */
enum vtoe_fallback vtoe_fallback_of(u8 event, u16 reason)
{
	switch (event) {
	case VTOE_EVENT_COMMAND_DONE:
		return reason == VTOE_CMD_LIMIT ? VTOE_FB_limit :
		       VTOE_FB_refused_command;
	case VTOE_EVENT_ADDRESS_ERROR:
		return reason == VTOE_REASON_NO_PEER ? VTOE_FB_no_peer :
		       reason == VTOE_REASON_NO_STREAMS ?
		       VTOE_FB_peer_no_streams : VTOE_FB_address_error;
	case VTOE_EVENT_UNREACHABLE:
		return reason == VTOE_REASON_LINK_DOWN ? VTOE_FB_link_down :
		       reason == VTOE_REASON_TIMEOUT ? VTOE_FB_timeout :
		       VTOE_FB_unreachable;
	case VTOE_EVENT_CONNECT_REJECTED:
		return reason == VTOE_REASON_NO_LISTENER ?
		       VTOE_FB_no_listener :
		       reason == VTOE_REASON_BACKLOG ? VTOE_FB_backlog :
		       reason == VTOE_REASON_LIMIT ? VTOE_FB_limit :
		       VTOE_FB_rejected;
	case VTOE_EVENT_ROUTE_ERROR:
		return VTOE_FB_route_error;
	case VTOE_EVENT_CONNECT_ERROR:
		return reason == VTOE_REASON_LIMIT ? VTOE_FB_limit :
		       VTOE_FB_connect_error;
	default:
		return reason == VTOE_REASON_DEVICE_RESET ?
		       VTOE_FB_device_gone : VTOE_FB_connect_reset;
	}
}

/* Lets go of the connection, which did not come about or is over. */
static void vtoe_connect_detach(struct sock *sk, u16 reason)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c = vsk->conn;

	sk_stop_timer(sk, &sk->sk_timer);
	vtoe_neigh_unwait(vsk);
	if (!c)
		return;
	vsk->conn = NULL;
	vtoe_conn_drop(c, sk, VTOE_DROP_ABORT, reason);
}

/* The offer failed.  Under the spin lock or by the owner. */
void vtoe_connect_failed(struct sock *sk, enum vtoe_fallback why)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	vtoe_connect_detach(sk, VTOE_REASON_CANCELLED);
	vsk->reason = why;
	vsk->failed = true;
	if (vsk->waiters) {
		sk->sk_state_change(sk);
		return;
	}
	sock_hold(sk);
	if (!queue_work(vtoe_wq, &vsk->fallback_work))
		__sock_put(sk);
}

/* Both addresses and ports of a stream, for the program. */
void vtoe_flow_names(struct sock *sk, const struct vtoe_flow *f)
{
	struct inet_sock *inet = inet_sk(sk);

	inet->inet_sport = vtoe_port_be(f->lport);
	inet->inet_num = le16_to_cpu(f->lport);
	inet->inet_dport = vtoe_port_be(f->rport);
	if (f->family == 4) {
		memcpy(&inet->inet_saddr, f->laddr, 4);
		memcpy(&inet->inet_daddr, f->raddr, 4);
		inet->inet_rcv_saddr = inet->inet_saddr;
	}
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		if (f->family == 4) {
			ipv6_addr_set_v4mapped(inet->inet_daddr,
					       &sk->sk_v6_daddr);
			ipv6_addr_set_v4mapped(inet->inet_saddr,
					       &sk->sk_v6_rcv_saddr);
		} else {
			memcpy(&sk->sk_v6_daddr, f->raddr, 16);
			memcpy(&sk->sk_v6_rcv_saddr, f->laddr, 16);
		}
		inet6_sk(sk)->saddr = sk->sk_v6_rcv_saddr;
	}
#endif
}

/* Asks the NIC for the stream vsk->flow.  Returns VTOE_FB_none, or why not. */
static enum vtoe_fallback vtoe_connect_offer(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	enum vtoe_fallback why = VTOE_FB_none;
	struct vtoe_sdev *sd, *found = NULL;
	struct vtoe_conn *c;
	int err;

	rcu_read_lock();
	list_for_each_entry_rcu(sd, &vtoe_sdevs, list)
		if (sd == vsk->sdev)
			found = sd;
	if (!found) {
		why = VTOE_FB_device_gone;
		goto out;
	}
	c = vtoe_conn_new(found->dev, sk, GFP_ATOMIC | __GFP_NOWARN);
	if (!c) {
		why = VTOE_FB_no_memory;
		goto out;
	}
	c->s.flow = vsk->flow;
	vtoe_conn_attach(c, sk);
	vtoe_flow_names(sk, &vsk->flow);
	err = vtoe_session_connect(&c->s, c->window,
				   GFP_ATOMIC | __GFP_NOWARN);
	if (err) {
		vsk->conn = NULL;
		spin_lock_bh(&c->lock);
		c->sk = NULL;
		spin_unlock_bh(&c->lock);
		vtoe_conn_put(c);
		why = err == -EMFILE ? VTOE_FB_no_sid :
		      err == -ENOMEM ? VTOE_FB_no_memory : VTOE_FB_device_gone;
	}
out:
	rcu_read_unlock();
	return why;
}

/* The neighbour's state changed while the MAC was waited for. */
void vtoe_connect_step(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	enum vtoe_fallback why;

	if (!vsk->neigh || vsk->failed)
		return;
	if (vtoe_neigh_mac(vsk->neigh, vsk->flow.rmac)) {
		vtoe_neigh_unwait(vsk);
		why = vtoe_connect_offer(sk);
	} else if (READ_ONCE(vsk->neigh->nud_state) & NUD_FAILED) {
		why = VTOE_FB_neighbour;
	} else {
		return;
	}
	if (why != VTOE_FB_none)
		vtoe_connect_failed(sk, why);
}

/*
 * The companion connects.  Who waits in send() or recv() goes on there, and who
 * polls and was woken by the companion too early looks again.  If it has not
 * decided yet it wakes who polls itself; woken now, without an event, io_uring
 * would ask for the connection again and be told that it is on its way.  Nobody
 * polls for EPOLLMSG.
 */
static void vtoe_fallback_wake(struct sock *sk)
{
	struct socket_wq *wq;

	/* The mode is there for whom the companion wakes after we looked. */
	smp_mb();
	if (inet_sk_state_load(vtoe_sk(sk)->tcp->sk) != TCP_SYN_SENT) {
		sk->sk_state_change(sk);
		return;
	}
	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	if (skwq_has_sleeper(wq))
		wake_up_interruptible_poll(&wq->wait, EPOLLMSG);
	rcu_read_unlock();
}

/*
 * Begins the companion's connect().  Returns 0 if TCP is on its way, else the
 * error; the socket is then as before.  Others see the companion only once it
 * connects: before, poll() would say that the connection is over.
 */
static int vtoe_fallback(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int err;

	vsk->failed = false;
	vtoe_tcp_prepare(sk);
	vtoe_count(sock_net(sk), connect_tcp);
	err = vsk->tcp->ops->connect(vsk->tcp, (struct sockaddr *)&vsk->dest,
				     vsk->dest_len, O_NONBLOCK);
	if (err && err != -EINPROGRESS) {
		vtoe_fallback_count(sk, vsk->reason);
		inet_sk_set_state(sk, TCP_CLOSE);
		vsk->mode = VTOE_MODE_INIT;
		vtoe_companion_names(sk);
		return err;
	}
	vtoe_go_tcp(sk, vsk->reason);
	vtoe_fallback_wake(sk);
	return 0;
}

void vtoe_fallback_work(struct work_struct *work)
{
	struct vtoe_sock *vsk = container_of(work, struct vtoe_sock,
					     fallback_work);
	struct sock *sk = &vsk->inet.sk;
	int err;

	lock_sock(sk);
	if (vsk->mode == VTOE_MODE_CONNECTING && vsk->failed) {
		err = vtoe_fallback(sk);
		if (err) {
			sk->sk_socket->state = SS_UNCONNECTED;
			vsk->async_error = true;
			WRITE_ONCE(sk->sk_err, -err);
			sk_error_report(sk);
			sk->sk_state_change(sk);
		}
	}
	release_sock(sk);
	sock_put(sk);
}

/* sk_timer: the offer's time is up, or corked data must go. */
void vtoe_sock_timer(struct timer_list *t)
{
	struct sock *sk = from_timer(sk, t, sk_timer);
	struct vtoe_sock *vsk = vtoe_sk(sk);

	bh_lock_sock(sk);
	if (sock_owned_by_user(sk))
		sk_reset_timer(sk, &sk->sk_timer, jiffies + HZ / 20);
	else if (vsk->mode == VTOE_MODE_CONNECTING && !vsk->failed)
		vtoe_connect_failed(sk, vsk->neigh ? VTOE_FB_neighbour :
				    VTOE_FB_timeout);
	else if (vsk->mode == VTOE_MODE_STREAM && vsk->conn)
		vtoe_tx_push(&vsk->conn->s);
	bh_unlock_sock(sk);
	sock_put(sk);
}

/* Gives up an offer: close() or disconnect. */
void vtoe_connect_cancel(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	vtoe_connect_detach(sk, VTOE_REASON_CANCELLED);
	vsk->failed = false;
	vsk->mode = VTOE_MODE_INIT;
	inet_sk_set_state(sk, TCP_CLOSE);
}

/* connect(AF_UNSPEC).  Of a listener: vtoe_listen_mutex is held. */
int vtoe_disconnect(struct sock *sk, int flags)
{
	static const struct sockaddr unspec = { .sa_family = AF_UNSPEC };
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct inet_sock *inet = inet_sk(sk);
	struct vtoe_conn *c = vsk->conn;
	int how = VTOE_DROP_ABORT;
	int err = 0;

	switch (vsk->mode) {
	case VTOE_MODE_CONNECTING:
		vtoe_connect_cancel(sk);
		WRITE_ONCE(sk->sk_err, ECONNRESET);
		break;
	case VTOE_MODE_STREAM:
		if (sk->sk_state == TCP_LAST_ACK ||
		    sk->sk_state == TCP_CLOSING) {
			/*
			 * Both ends were said, and as with TCP the peer still
			 * gets what is on its way.
			 */
			how = VTOE_DROP_CLOSE;
		} else if (sk->sk_state != TCP_CLOSE) {
			vtoe_count(sock_net(sk), reset_sent);
			WRITE_ONCE(sk->sk_err, ECONNRESET);
		}
		sk_stop_timer(sk, &sk->sk_timer);
		sk_stop_timer(sk, &vsk->alive_timer);
		vsk->alive_sent = false;
		vtoe_mem_release(sk);
		vsk->conn = NULL;
		vtoe_conn_drop(c, sk, how, VTOE_REASON_RESET);
		break;
	case VTOE_MODE_LISTEN:
		vtoe_listen_stop(sk);
		fallthrough;
	case VTOE_MODE_TCP:
		err = vsk->tcp->ops->connect(vsk->tcp,
					     (struct sockaddr *)&unspec,
					     sizeof(unspec), flags);
		vtoe_err_after(vsk);
		break;
	}
	sk->sk_disconnects++;
	sock_reset_flag(sk, SOCK_DONE);
	WRITE_ONCE(sk->sk_shutdown, 0);
	inet->inet_dport = 0;
	/* All of the above, then the state, then the mode: see vtoe_poll(). */
	smp_store_release(&sk->sk_state, TCP_CLOSE);
	/* Likewise. */
	smp_store_release(&vsk->mode, VTOE_MODE_INIT);
	/*
	 * A port and address of our choice need not fit the next peer.  But the
	 * companion stays: other threads may wait in it, without our lock.
	 */
	if (vsk->auto_bound) {
		vsk->tcp->ops->connect(vsk->tcp, (struct sockaddr *)&unspec,
				       sizeof(unspec), flags);
		vtoe_companion_unbind(vsk);
		vsk->auto_bound = false;
	}
	if (vsk->tcp && inet_sk(vsk->tcp->sk)->inet_sport)
		vtoe_companion_names(sk);
	sk->sk_state_change(sk);
	return err;
}

/* The companion connects, or goes on connecting. */
static int vtoe_connect_tcp(struct socket *sock, struct sockaddr *addr,
			    int len, int flags)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct socket *tcp = vsk->tcp;
	int err;

	vtoe_err_before(vsk);
	vtoe_companion_sync(sk);
	err = tcp->ops->connect(tcp, addr, len, flags);
	vtoe_err_after(vsk);
	if (err)
		vtoe_tcp_settle(sk);
	return err;
}

/*
 * Decides and, if it is to be offload, makes the offer.  Returns 0: in
 * progress; 1: TCP's turn; or an error.
 */
static int vtoe_connect_begin(struct sock *sk, struct sockaddr *addr, int len)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct neighbour *n = NULL;
	enum vtoe_fallback why;
	int err;

	err = vtoe_companion(sk);
	if (err)
		return err;
	vtoe_companion_sync(sk);
	memcpy(&vsk->dest, addr, len);
	vsk->dest_len = len;
	why = vtoe_route(sk, addr, len, &n);
	if (why != VTOE_FB_none)
		goto tcp;

	vtoe_count(sock_net(sk), connect_tried);
	vsk->failed = false;
	vsk->mode = VTOE_MODE_CONNECTING;
	inet_sk_set_state(sk, TCP_SYN_SENT);
	sk_reset_timer(sk, &sk->sk_timer, jiffies +
		       msecs_to_jiffies(READ_ONCE(vtoe_net(sock_net(sk))->connect_timeout)));
	if (n) {
		/* getsockname() need not wait. */
		vtoe_flow_names(sk, &vsk->flow);
		vtoe_neigh_wait(vsk, n);
		vtoe_connect_step(sk);
		return 0;
	}
	why = vtoe_connect_offer(sk);
	if (why == VTOE_FB_none)
		return 0;
	vtoe_connect_cancel(sk);
tcp:
	vtoe_tcp_prepare(sk);
	vtoe_go_tcp(sk, why);
	vtoe_count(sock_net(sk), connect_tcp);
	return 1;
}

/* Waits for the outcome of an offer.  Returns what is left of timeo. */
static long vtoe_connect_wait(struct sock *sk, long timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	struct vtoe_sock *vsk = vtoe_sk(sk);

	vsk->waiters++;
	add_wait_queue(sk_sleep(sk), &wait);
	for (;;) {
		vtoe_sock_update(sk);
		if (vsk->mode != VTOE_MODE_CONNECTING || vsk->failed ||
		    !timeo || signal_pending(current))
			break;
		release_sock(sk);
		timeo = wait_woken(&wait, TASK_INTERRUPTIBLE, timeo);
		lock_sock(sk);
	}
	remove_wait_queue(sk_sleep(sk), &wait);
	vsk->waiters--;
	return timeo;
}

/* For sending and receiving: until connect() in the background is decided. */
int vtoe_wait_connect(struct sock *sk, long *timeo)
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

int vtoe_connect(struct socket *sock, struct sockaddr *addr, int len, int flags)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	long timeo;
	int err;

	if (len < (int)sizeof(addr->sa_family))
		return -EINVAL;
	if (vtoe_delegated(vsk) && addr->sa_family != AF_UNSPEC)
		return vtoe_connect_tcp(sock, addr, len, flags);

	if (addr->sa_family == AF_UNSPEC) {
		mutex_lock(&vtoe_listen_mutex);
		lock_sock(sk);
		err = vtoe_disconnect(sk, flags);
		sock->state = err ? SS_DISCONNECTING : SS_UNCONNECTED;
		release_sock(sk);
		mutex_unlock(&vtoe_listen_mutex);
		return err;
	}
	lock_sock(sk);
	if (vsk->mode == VTOE_MODE_TCP)
		goto tcp;
	switch (sock->state) {
	case SS_UNCONNECTED:
		err = -EISCONN;
		if (vsk->mode != VTOE_MODE_INIT)
			goto out;
		/* The error of an attempt in the background is told once. */
		err = vsk->async_error ? sock_error(sk) : 0;
		vsk->async_error = false;
		if (err)
			goto out;
		WRITE_ONCE(sk->sk_err, 0);
		err = vtoe_connect_begin(sk, addr, len);
		if (err < 0)
			goto out;
		if (err)
			goto tcp;
		sock->state = SS_CONNECTING;
		err = -EINPROGRESS;
		break;
	case SS_CONNECTING:
		err = -EALREADY;
		break;
	case SS_CONNECTED:
		err = -EISCONN;
		goto out;
	default:
		err = -EINVAL;
		goto out;
	}

	timeo = sock_sndtimeo(sk, flags & O_NONBLOCK);
	if (vsk->mode == VTOE_MODE_CONNECTING) {
		if (!timeo)
			goto out;
		timeo = vtoe_connect_wait(sk, timeo);
		if (vsk->mode == VTOE_MODE_CONNECTING && vsk->failed) {
			err = vtoe_fallback(sk);
			if (err) {
				sock->state = SS_UNCONNECTED;
				goto out;
			}
		}
		if (vsk->mode == VTOE_MODE_TCP)
			goto tcp;
		if (vsk->mode == VTOE_MODE_CONNECTING) {
			err = timeo ? sock_intr_errno(timeo) : -EINPROGRESS;
			goto out;
		}
	}
	if (vsk->mode != VTOE_MODE_STREAM || sk->sk_state == TCP_CLOSE) {
		/* Closed by another thread, or reset at once. */
		err = sock_error(sk) ? : -ECONNABORTED;
		sock->state = SS_UNCONNECTED;
		if (vsk->mode == VTOE_MODE_STREAM)
			vtoe_disconnect(sk, flags);
		goto out;
	}
	sock->state = SS_CONNECTED;
	err = 0;
out:
	release_sock(sk);
	return err;

tcp:
	release_sock(sk);
	return vtoe_connect_tcp(sock, addr, len, flags);
}
