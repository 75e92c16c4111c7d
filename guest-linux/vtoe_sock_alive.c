// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Is the peer still there?  SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL and
 * TCP_KEEPCNT, and TCP_USER_TIMEOUT, for streams.
 *
 * An acknowledgement says that the peer's NIC has the data, and the heartbeat
 * of the link that its host lives.  Neither says that the peer's kernel does.
 * So a peer counts as heard when data came from it, or when its kernel has
 * confirmed its address (ARP, neighbour discovery).  A probe asks for that: it
 * is what a keepalive segment is to TCP, and sockets with one peer share it.
 * An address that was set by hand is never asked for, and always heard.
 *
 * Keepalive: not heard for the idle time, then as many probes, each an interval
 * apart; ETIMEDOUT.  As with TCP not while data are on their way.
 *
 * User timeout: ETIMEDOUT when nothing was acknowledged for so long while
 * something is to be; and when the peer was not heard for so long after
 * something was sent.  At half the time it is probed.
 *
 * One timer of the socket serves both; it runs only for sockets that have set
 * one of these options.  The socket's spin lock is held, or the socket, for
 * what is kept here.
 */
#include <net/arp.h>
#include <net/ndisc.h>
#include <net/tcp.h>
#include "vtoe_sock.h"

/* In jiffies, from the companion if it has options, else the namespace's. */
static unsigned long vtoe_keep_idle(const struct sock *sk)
{
	const struct socket *tcp = vtoe_sk(sk)->tcp;

	return tcp ? keepalive_time_when(tcp_sk(tcp->sk)) :
	       READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_keepalive_time);
}

static unsigned long vtoe_keep_interval(const struct sock *sk)
{
	const struct socket *tcp = vtoe_sk(sk)->tcp;

	return tcp ? keepalive_intvl_when(tcp_sk(tcp->sk)) :
	       READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_keepalive_intvl);
}

static unsigned int vtoe_keep_probes(const struct sock *sk)
{
	const struct socket *tcp = vtoe_sk(sk)->tcp;

	return tcp ? keepalive_probes(tcp_sk(tcp->sk)) :
	       READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_keepalive_probes);
}

/* The peer's entry, with a reference, or NULL. */
static struct neighbour *vtoe_alive_neigh(const struct vtoe_conn *c)
{
	struct neighbour *n = NULL;
	struct net_device *netdev;
	struct in6_addr addr;

	memcpy(&addr, c->s.flow.raddr, sizeof(addr));
	rcu_read_lock();
	if (!test_bit(VTOE_CF_OVER, &c->flags)) {
		netdev = vtoe_dev_netdev(c->s.dev);
		if (c->s.flow.family == 4)
			n = __neigh_lookup(&arp_tbl, &addr, netdev, 1);
#if IS_ENABLED(CONFIG_IPV6)
		else
			n = __neigh_lookup(&nd_tbl, &addr, netdev, 1);
#endif
	}
	rcu_read_unlock();
	return n;
}

/* When the peer was heard last, in jiffies. */
static unsigned long vtoe_alive_heard(const struct vtoe_conn *c,
				      const struct neighbour *n)
{
	unsigned long heard = READ_ONCE(c->rx_heard), confirmed;
	u8 state = READ_ONCE(n->nud_state);

	if (state & (NUD_PERMANENT | NUD_NOARP))
		return jiffies;
	confirmed = READ_ONCE(n->confirmed);
	return state & NUD_VALID && time_after(confirmed, heard) ? confirmed :
	       heard;
}

/* Without a lock: it tells all who wait for this address. */
static void vtoe_alive_probe(struct neighbour *n)
{
	if (!(READ_ONCE(n->nud_state) & NUD_VALID))
		neigh_event_send(n, NULL);
	else if (!(READ_ONCE(n->nud_state) & NUD_PROBE))
		neigh_update(n, NULL, NUD_PROBE, NEIGH_UPDATE_F_OVERRIDE, 0);
}

static void vtoe_alive_in(struct sock *sk, unsigned long delay)
{
	sk_reset_timer(sk, &vtoe_sk(sk)->alive_timer,
		       jiffies + max(delay, 1ul));
}

/* What a look at a socket decided. */
struct vtoe_alive {
	bool lost, probe;
	unsigned long next;		/* jiffies until the next look */
};

static void vtoe_alive_user(struct sock *sk, const struct vtoe_conn *c,
			    unsigned long heard, struct vtoe_alive *a)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	unsigned long timeout = msecs_to_jiffies(vsk->user_timeout);
	unsigned long now = jiffies, gone;

	if (!timeout)
		return;
	if (vtoe_tx_unacked(&c->s)) {
		gone = now - READ_ONCE(c->s.tx_progress);
		if (gone >= timeout)
			a->lost = true;
		else
			a->next = min(a->next, timeout - gone);
	}
	if (!vsk->alive_sent)
		return;
	if (time_after_eq(heard, vsk->alive_began)) {
		vsk->alive_began = READ_ONCE(c->s.tx_stamp);
		vsk->alive_sent = time_after(vsk->alive_began, heard);
		if (!vsk->alive_sent)
			return;
	}
	gone = now - vsk->alive_began;
	if (gone >= timeout) {
		a->lost = true;
	} else if (gone >= timeout / 2) {
		a->probe = true;
		a->next = min(a->next, timeout - gone);
	} else {
		a->next = min(a->next, timeout / 2 - gone);
	}
}

static void vtoe_alive_keep(struct sock *sk, const struct vtoe_conn *c,
			    unsigned long heard, struct vtoe_alive *a)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	unsigned long timeout = msecs_to_jiffies(vsk->user_timeout);
	unsigned long now = jiffies, idle = vtoe_keep_idle(sk), elapsed;

	if (!sock_flag(sk, SOCK_KEEPOPEN))
		return;
	elapsed = now - heard;
	/* An answer may come within the jiffy of its probe. */
	if (vsk->alive_probes && time_after_eq(heard, vsk->alive_probed))
		vsk->alive_probes = 0;
	if (vtoe_tx_unacked(&c->s)) {
		vsk->alive_due = now + idle;
	} else if (elapsed < idle) {
		vsk->alive_due = heard + idle;
	} else if (time_after_eq(now, vsk->alive_due)) {
		if (timeout ? elapsed >= timeout && vsk->alive_probes :
			      vsk->alive_probes >= vtoe_keep_probes(sk)) {
			a->lost = true;
			return;
		}
		a->probe = true;
		vsk->alive_probes++;
		vsk->alive_probed = now;
		vsk->alive_due = now + vtoe_keep_interval(sk);
	}
	a->next = min(a->next, vsk->alive_due - now);
}

void vtoe_alive_timer(struct timer_list *t)
{
	struct vtoe_sock *vsk = from_timer(vsk, t, alive_timer);
	struct vtoe_alive a = { .next = MAX_JIFFY_OFFSET };
	struct sock *sk = &vsk->inet.sk;
	struct neighbour *n = NULL;
	unsigned long heard;

	bh_lock_sock(sk);
	if (sock_owned_by_user(sk)) {
		vtoe_alive_in(sk, HZ / 20);
		goto out;
	}
	vtoe_sock_update(sk);
	if (vsk->mode != VTOE_MODE_STREAM || !vsk->conn ||
	    sk->sk_state == TCP_CLOSE)
		goto out;
	n = vtoe_alive_neigh(vsk->conn);
	if (!n) {
		/* No memory, or the device goes and takes the stream along. */
		vtoe_alive_in(sk, HZ);
		goto out;
	}
	heard = vtoe_alive_heard(vsk->conn, n);
	vtoe_alive_user(sk, vsk->conn, heard, &a);
	vtoe_alive_keep(sk, vsk->conn, heard, &a);
	if (a.lost)
		vtoe_sock_lost(sk);
	else if (a.next != MAX_JIFFY_OFFSET)
		vtoe_alive_in(sk, a.next);
out:
	bh_unlock_sock(sk);
	if (n) {
		if (a.probe && !a.lost)
			vtoe_alive_probe(n);
		neigh_release(n);
	}
	sock_put(sk);
}

/*
 * The stream is established, or an option changed.  keep: what SO_KEEPALIVE is,
 * or is about to be.
 */
void vtoe_alive_start(struct sock *sk, bool keep)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	if (vsk->mode != VTOE_MODE_STREAM || sk->sk_state == TCP_CLOSE)
		return;
	if (keep) {
		vsk->alive_probes = 0;
		vsk->alive_due = jiffies + vtoe_keep_idle(sk);
		vtoe_alive_in(sk, vtoe_keep_idle(sk));
	}
	/* What is on its way counts, too. */
	if (vsk->user_timeout && vsk->conn && vtoe_tx_unacked(&vsk->conn->s))
		vtoe_alive_in(sk, 1);
}

/* Something was sent, and there is a user timeout. */
void vtoe_alive_sent(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	vsk->alive_sent = true;
	vsk->alive_began = jiffies;
	if (!timer_pending(&vsk->alive_timer) ||
	    time_after(vsk->alive_timer.expires, jiffies +
		       msecs_to_jiffies(vsk->user_timeout) / 2))
		vtoe_alive_in(sk, msecs_to_jiffies(vsk->user_timeout) / 2);
}
