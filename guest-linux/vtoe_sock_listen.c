// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * listen() and accept().
 *
 * The companion always listens: it owns the port, and peers without VTOE come
 * to it.  Beside it, each VTOE NIC of the namespace is told to listen, once
 * per family, address and port (struct vtoe_lport); several sockets of one
 * SO_REUSEPORT group share that and are chosen from by a hash of the peer.
 *
 * A request is answered in softirq, as TCP completes its handshake before
 * accept(): a connection is made, counted against the backlog and queued to
 * the listener; when it is established, accept() may take it and only then
 * makes the socket.  Data that come before that wait in the connection.  A
 * connection that ends while it waits is still accepted, as with TCP.
 *
 * accept() looks at our queue first, then at the companion's.  What comes from
 * there is a plain TCP socket.
 */
#include <linux/jhash.h>
#include <linux/net_tstamp.h>
#include <net/addrconf.h>
#include <net/inet_common.h>
#include <net/inet_connection_sock.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/route.h>
#include <net/tcp.h>
#include "vtoe_sock.h"
#include "vtoe_sock_trace.h"

/* The NIC asks us at once, so its own backlog only has to bear a burst. */
#define VTOE_DEVICE_BACKLOG	1024

/* One listener of a NIC.  Changed under vtoe_listen_mutex. */
struct vtoe_lport {
	struct rcu_head rcu;
	u32 id;
	u8 family;
	u8 addr[16];			/* all zero: any */
	__be16 port;
	struct list_head members;	/* vtoe_member.node, RCU */
};

/* A socket's part in it. */
struct vtoe_member {
	struct rcu_head rcu;
	struct list_head node;		/* lport->members */
	struct list_head mine;		/* vsk->members */
	struct vtoe_sdev *sd;
	struct vtoe_lport *lp;
	struct sock *sk;		/* held */
	int bound_dev_if;		/* its companion's, as it listened */
};

static LIST_HEAD(vtoe_listeners);	/* vtoe_sock.listen_node; mutex */

/* --- on the NIC ----------------------------------------------------------- */

static struct vtoe_lport *vtoe_lport_find(struct vtoe_sdev *sd, u8 family,
					  const u8 addr[16], __be16 port)
{
	struct vtoe_lport *lp;
	unsigned long id;

	xa_for_each(&sd->listeners, id, lp)
		if (lp->family == family && lp->port == port &&
		    !memcmp(lp->addr, addr, 16))
			return lp;
	return NULL;
}

static void vtoe_member_free(struct rcu_head *rcu)
{
	struct vtoe_member *m = container_of(rcu, struct vtoe_member, rcu);

	sock_put(m->sk);
	kfree(m);
}

static void vtoe_lport_free(struct vtoe_sdev *sd, struct vtoe_lport *lp)
{
	xa_erase(&sd->listeners, lp->id);
	kfree_rcu(lp, rcu);
}

/* Makes sk a member of a listener of the NIC, which is begun if need be. */
static int vtoe_member_add(struct vtoe_sdev *sd, struct sock *sk, u8 family,
			   const u8 addr[16], __be16 port)
{
	struct vtoe_lport *lp = vtoe_lport_find(sd, family, addr, port);
	struct vtoe_member *m;
	int err;

	m = kmalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	if (!lp) {
		lp = kzalloc(sizeof(*lp), GFP_KERNEL);
		if (!lp) {
			kfree(m);
			return -ENOMEM;
		}
		lp->family = family;
		memcpy(lp->addr, addr, 16);
		lp->port = port;
		INIT_LIST_HEAD(&lp->members);
		err = xa_alloc_cyclic(&sd->listeners, &lp->id, lp,
				      XA_LIMIT(1, S32_MAX), &sd->next_id,
				      GFP_KERNEL);
		if (err < 0) {
			kfree(lp);
			kfree(m);
			return err;
		}
	}
	/* A member before the NIC listens: no request is in vain. */
	m->sd = sd;
	m->lp = lp;
	m->sk = sk;
	m->bound_dev_if = vtoe_sk(sk)->tcp->sk->sk_bound_dev_if;
	sock_hold(sk);
	list_add_tail(&m->mine, &vtoe_sk(sk)->members);
	list_add_tail_rcu(&m->node, &lp->members);
	if (!list_is_singular(&lp->members))
		return 0;
	err = vtoe_listen(sd->dev, lp->id, family, addr, port,
			  VTOE_DEVICE_BACKLOG);
	/* It may listen all the same, later. */
	if (err == -EINTR || err == -ETIMEDOUT)
		vtoe_unlisten(sd->dev, lp->id);
	if (err) {
		list_del(&m->mine);
		list_del_rcu(&m->node);
		call_rcu(&m->rcu, vtoe_member_free);
		vtoe_lport_free(sd, lp);
	}
	return err;
}

static void vtoe_member_del(struct vtoe_member *m)
{
	list_del(&m->mine);
	list_del_rcu(&m->node);
	if (list_empty(&m->lp->members)) {
		vtoe_unlisten(m->sd->dev, m->lp->id);
		vtoe_lport_free(m->sd, m->lp);
	}
	call_rcu(&m->rcu, vtoe_member_free);
}

/* Takes a socket off all NICs.  The mutex is held. */
static void vtoe_members_del(struct vtoe_sock *vsk)
{
	struct vtoe_member *m, *tmp;

	list_for_each_entry_safe(m, tmp, &vsk->members, mine)
		vtoe_member_del(m);
}

/* Takes a socket off one NIC. */
static void vtoe_members_del_on(const struct vtoe_sdev *sd,
				struct vtoe_sock *vsk)
{
	struct vtoe_member *m, *tmp;

	list_for_each_entry_safe(m, tmp, &vsk->members, mine)
		if (m->sd == sd)
			vtoe_member_del(m);
}

/*
 * A socket's part in one address of a NIC, as the policy has it.  Returns 0,
 * 1: the policy leaves it to TCP; or an error.
 */
static int vtoe_member_sync(struct vtoe_sdev *sd, struct sock *sk, u8 family,
			    const u8 addr[16], __be16 port)
{
	bool any = !memchr_inv(addr, 0, 16);
	bool wanted = vtoe_policy_listens(sock_net(sk), family,
					  any ? NULL : addr, ntohs(port));
	struct vtoe_member *m;

	list_for_each_entry(m, &vtoe_sk(sk)->members, mine) {
		if (m->sd != sd || m->lp->family != family ||
		    memcmp(m->lp->addr, addr, 16))
			continue;
		if (!wanted)
			vtoe_member_del(m);
		return !wanted;
	}
	return wanted ? vtoe_member_add(sd, sk, family, addr, port) : 1;
}

/* Would TCP hand what comes by this NIC to a socket with that device? */
static bool vtoe_listen_dev(const struct vtoe_sdev *sd, int bound_dev_if)
{
	int dif = sd->netdev->ifindex, sdif = 0;
	int master = l3mdev_master_ifindex_rcu(sd->netdev);

	if (master) {
		sdif = dif;
		dif = master;
	}
	return inet_sk_bound_dev_eq(dev_net(sd->netdev), bound_dev_if, dif,
				    sdif);
}

/*
 * Lets one NIC listen for a socket that listens, as far as the policy does.
 * Returns 0, also when the socket is not for this NIC; 1: the policy leaves it
 * to TCP; or an error.
 */
static int vtoe_listen_on(struct vtoe_sdev *sd, struct sock *sk)
{
	static const u8 any[16];
	const struct sock *tsk = vtoe_sk(sk)->tcp->sk;
	__be16 port = inet_sk(tsk)->inet_sport;
	u8 addr[16] = { };
	bool ours;
	int err, err4;

	rcu_read_lock();
	ours = vtoe_listen_dev(sd, tsk->sk_bound_dev_if);
	rcu_read_unlock();
	/* For a member that is asked again for each request. */
	if (!net_eq(dev_net(sd->netdev), sock_net(sk)) || !ours)
		return 0;
	if (!READ_ONCE(vtoe_net(sock_net(sk))->enable) ||
	    vtoe_sk(sk)->force_tcp ||
	    READ_ONCE(sk->sk_tsflags) & SOF_TIMESTAMPING_TX_RECORD_MASK ||
	    vtoe_companion_reuseport_prog(vtoe_sk(sk))) {
		vtoe_members_del_on(sd, vtoe_sk(sk));
		return 0;
	}
	if (sk->sk_family == AF_INET) {
		if (ipv4_is_loopback(inet_sk(tsk)->inet_rcv_saddr))
			return 0;
		memcpy(addr, &inet_sk(tsk)->inet_rcv_saddr, 4);
		return vtoe_member_sync(sd, sk, 4, addr, port);
	}
	if (ipv6_addr_loopback(&tsk->sk_v6_rcv_saddr))
		return 0;
	if (ipv6_addr_v4mapped(&tsk->sk_v6_rcv_saddr)) {
		memcpy(addr, &tsk->sk_v6_rcv_saddr.s6_addr32[3], 4);
		return vtoe_member_sync(sd, sk, 4, addr, port);
	}
	memcpy(addr, &tsk->sk_v6_rcv_saddr, 16);
	err = vtoe_member_sync(sd, sk, 6, addr, port);
	if (err < 0 || !ipv6_addr_any(&tsk->sk_v6_rcv_saddr) ||
	    ipv6_only_sock(tsk))
		return err;
	err4 = vtoe_member_sync(sd, sk, 4, any, port);
	return err4 < 0 ? err4 : err && err4;
}

/* From now on TCP alone knows who may connect. */
void vtoe_listen_tcp_only(struct sock *sk)
{
	mutex_lock(&vtoe_listen_mutex);
	vtoe_sk(sk)->force_tcp = true;
	vtoe_members_del(vtoe_sk(sk));
	mutex_unlock(&vtoe_listen_mutex);
}

/* The namespace has another policy. */
void vtoe_listen_policy(struct net *net)
{
	struct vtoe_sdev *sd;
	struct vtoe_sock *vsk;

	mutex_lock(&vtoe_listen_mutex);
	list_for_each_entry(vsk, &vtoe_listeners, listen_node) {
		if (!net_eq(sock_net(&vsk->inet.sk), net))
			continue;
		list_for_each_entry(sd, &vtoe_sdevs, list)
			if (vtoe_listen_on(sd, &vsk->inet.sk) < 0)
				vtoe_count(net, listen_tcp_only);
	}
	mutex_unlock(&vtoe_listen_mutex);
}

/* A NIC came: it listens for all who listen.  The mutex is held. */
void vtoe_listen_device(struct vtoe_sdev *sd)
{
	struct vtoe_sock *vsk;

	list_for_each_entry(vsk, &vtoe_listeners, listen_node)
		if (vtoe_listen_on(sd, &vsk->inet.sk) < 0)
			vtoe_count(sock_net(&vsk->inet.sk), listen_tcp_only);
}

/* A NIC is gone.  The mutex is held. */
void vtoe_listen_device_gone(struct vtoe_sdev *sd)
{
	struct vtoe_member *m, *tmp;
	struct vtoe_lport *lp;
	unsigned long id;

	xa_for_each(&sd->listeners, id, lp) {
		list_for_each_entry_safe(m, tmp, &lp->members, node) {
			list_del(&m->mine);
			list_del_rcu(&m->node);
			call_rcu(&m->rcu, vtoe_member_free);
		}
		vtoe_lport_free(sd, lp);
	}
}

/* A NIC leaves the namespace and listens for nobody.  The mutex is held. */
void vtoe_listen_device_leaves(struct vtoe_sdev *sd)
{
	struct vtoe_lport *lp;
	unsigned long id;

	xa_for_each(&sd->listeners, id, lp)
		vtoe_unlisten(sd->dev, lp->id);
	vtoe_listen_device_gone(sd);
}

/* The NIC was reset and has forgotten its listeners. */
static void vtoe_restarted(void *client)
{
	struct vtoe_sdev *sd = client;
	struct vtoe_lport *lp;
	unsigned long id;
	int err;

	vtoe_cache_flush();
	mutex_lock(&vtoe_listen_mutex);
	xa_for_each(&sd->listeners, id, lp) {
		err = vtoe_listen(sd->dev, lp->id, lp->family, lp->addr,
				  lp->port, VTOE_DEVICE_BACKLOG);
		if (err)
			netdev_warn(sd->netdev,
				    "port %u listens on TCP only: error %d\n",
				    ntohs(lp->port), err);
	}
	/* Who began to listen in the meantime could not do so there. */
	vtoe_listen_device(sd);
	mutex_unlock(&vtoe_listen_mutex);
}

/* --- listen() ------------------------------------------------------------- */

int vtoe_sock_listen(struct socket *sock, int backlog)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_sdev *sd;
	bool begun = false;
	int err;

	mutex_lock(&vtoe_listen_mutex);
	lock_sock(sk);
	err = -EINVAL;
	if (vsk->mode != VTOE_MODE_INIT && vsk->mode != VTOE_MODE_LISTEN)
		goto out;
	err = vtoe_companion(sk);
	if (err)
		goto out;
	if (vsk->mode == VTOE_MODE_INIT)
		vtoe_companion_unhook(vsk);
	vtoe_companion_sync(sk);
	vtoe_companion_reuseport(sk);
	err = vsk->tcp->ops->listen(vsk->tcp, backlog);
	if (err)
		goto out;
	WRITE_ONCE(sk->sk_max_ack_backlog, backlog);
	if (vsk->mode == VTOE_MODE_INIT) {
		vtoe_companion_names(sk);
		inet_sk_set_state(sk, TCP_LISTEN);
		/* A listener by name and state before it is one. */
		smp_store_release(&vsk->mode, VTOE_MODE_LISTEN);
		spin_lock_bh(&vsk->accept_lock);
		vsk->listening = true;
		spin_unlock_bh(&vsk->accept_lock);
		list_add_tail(&vsk->listen_node, &vtoe_listeners);
		begun = true;
	}
out:
	release_sock(sk);
	if (begun) {
		bool left = false;

		list_for_each_entry(sd, &vtoe_sdevs, list) {
			/* Without the NIC it is an ordinary listener. */
			err = vtoe_listen_on(sd, sk);
			if (err < 0)
				vtoe_count(sock_net(sk), listen_tcp_only);
			left |= err > 0;
		}
		err = 0;
		if (!list_empty(&vsk->members))
			vtoe_count(sock_net(sk), listen_offloaded);
		else if (left)
			vtoe_count(sock_net(sk), listen_policy);
	}
	mutex_unlock(&vtoe_listen_mutex);
	return err;
}

/*
 * Ends listening on the NICs; the companion is the caller's.  Connections that
 * nobody accepted are reset.  The mutex is held.
 */
void vtoe_listen_stop(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c, *tmp;
	LIST_HEAD(conns);

	vtoe_members_del(vsk);
	list_del_init(&vsk->listen_node);
	spin_lock_bh(&vsk->accept_lock);
	vsk->listening = false;
	list_splice_init(&vsk->pending, &conns);
	list_splice_init(&vsk->ready, &conns);
	list_for_each_entry(c, &conns, accept_node)
		c->queued = VTOE_CONN_UNQUEUED;
	WRITE_ONCE(vsk->nqueued, 0);
	spin_unlock_bh(&vsk->accept_lock);
	list_for_each_entry_safe(c, tmp, &conns, accept_node) {
		list_del_init(&c->accept_node);
		vtoe_count(sock_net(sk), request_orphaned);
		vtoe_listen_forget(c);
		vtoe_conn_drop(c, sk, VTOE_DROP_ABORT, VTOE_REASON_RESET);
	}
}

/* --- requests ------------------------------------------------------------- */

/*
 * Is the address that the peer asked for ours?  A NIC that listens on any
 * address does not know.
 */
static bool vtoe_request_local(const struct vtoe_sdev *sd,
			       const struct vtoe_flow *f)
{
	struct net *net = dev_net(sd->netdev);
	__be32 v4;
	struct in6_addr v6;

	if (f->family == 4) {
		memcpy(&v4, f->laddr, 4);
		return inet_addr_type_dev_table(net, sd->netdev, v4) ==
		       RTN_LOCAL;
	}
	memcpy(&v6, f->laddr, 16);
	return ipv6_chk_addr(net, &v6, sd->netdev, 0);
}

/*
 * Is the peer where it says it is?  Its packets would have to come by this NIC and
 * ours to reach it, or there would be no connection of TCP.
 */
static bool vtoe_request_remote(const struct vtoe_sdev *sd,
				const struct sock *lsk,
				const struct vtoe_flow *f)
{
	/* With the NIC itself there would always be one. */
	int oif = l3mdev_master_ifindex_rcu(sd->netdev);
	struct dst_entry *dst;
	bool ok;

	if (f->family == 4) {
		struct flowi4 fl4 = {
			.flowi4_oif = oif,
			.flowi4_mark = READ_ONCE(lsk->sk_mark),
			.flowi4_proto = IPPROTO_TCP,
			.flowi4_uid = lsk->sk_uid,
			.fl4_sport = vtoe_port_be(f->lport),
			.fl4_dport = vtoe_port_be(f->rport),
		};
		struct rtable *rt;

		memcpy(&fl4.daddr, f->raddr, 4);
		memcpy(&fl4.saddr, f->laddr, 4);
		if (ipv4_is_zeronet(fl4.daddr) ||
		    ipv4_is_multicast(fl4.daddr) ||
		    ipv4_is_lbcast(fl4.daddr) || ipv4_is_loopback(fl4.daddr))
			return false;
		rt = ip_route_output_flow(dev_net(sd->netdev), &fl4, NULL);
		if (IS_ERR(rt))
			return false;
		dst = &rt->dst;
		ok = rt->rt_type == RTN_UNICAST && !rt->rt_gw_family;
	} else {
		struct flowi6 fl6 = {
			.flowi6_oif = oif,
			.flowi6_mark = READ_ONCE(lsk->sk_mark),
			.flowi6_proto = IPPROTO_TCP,
			.flowi6_uid = lsk->sk_uid,
			.fl6_sport = vtoe_port_be(f->lport),
			.fl6_dport = vtoe_port_be(f->rport),
		};
		int type;

		memcpy(&fl6.daddr, f->raddr, 16);
		memcpy(&fl6.saddr, f->laddr, 16);
		type = ipv6_addr_type(&fl6.daddr);
		if (!(type & IPV6_ADDR_UNICAST) ||
		    type & (IPV6_ADDR_LOOPBACK | IPV6_ADDR_LINKLOCAL))
			return false;
		dst = ip6_dst_lookup_flow(dev_net(sd->netdev), NULL, &fl6,
					  NULL);
		if (IS_ERR(dst))
			return false;
		ok = !dst->error &&
		     !(((struct rt6_info *)dst)->rt6i_flags & RTF_GATEWAY);
	}
	ok = ok && dst->dev == sd->netdev && !dst->lwtstate && !dst_xfrm(dst);
	dst_release(dst);
	return ok;
}

/* The member for this peer. */
static struct sock *vtoe_request_sock(const struct vtoe_sdev *sd,
				      const struct vtoe_lport *lp,
				      const struct vtoe_flow *f)
{
	const struct vtoe_member *m;
	u32 n = 0, pick;

	list_for_each_entry_rcu(m, &lp->members, node)
		n += vtoe_listen_dev(sd, m->bound_dev_if);
	if (!n)
		return NULL;
	pick = n == 1 ? 0 : reciprocal_scale(jhash(f->raddr, 16,
				(__force u16)f->rport), n);
	list_for_each_entry_rcu(m, &lp->members, node)
		if (vtoe_listen_dev(sd, m->bound_dev_if) && !pick--)
			return m->sk;
	return NULL;
}

/* Does the administrator want TCP for this request?  Counts why. */
static bool vtoe_request_left(const struct vtoe_sdev *sd, struct sock *lsk,
			      const struct vtoe_flow *f)
{
	struct net *net = dev_net(sd->netdev);
	enum vtoe_policy_verdict verdict =
		vtoe_policy_ask(net, VTOE_POLICY_LISTEN, f);
	enum vtoe_fallback why;

	if (verdict == VTOE_POLICY_LEAVE ||
	    !READ_ONCE(vtoe_net(net)->enable)) {
		vtoe_count(net, request_policy);
		return true;
	}
	if (vtoe_filter_packets(lsk)) {
		vtoe_count(net, request_bpf);
		return true;
	}
	if (vtoe_filter_ipsec(net)) {
		vtoe_count(net, request_ipsec);
		return true;
	}
	why = vtoe_filter(sd->netdev, f->family, false);
	if (why == VTOE_FB_nat) {
		vtoe_count(net, request_nat);
		return true;
	}
	if (why == VTOE_FB_netfilter && verdict != VTOE_POLICY_OFFLOAD) {
		vtoe_count(net, request_netfilter);
		return true;
	}
	return false;
}

/* Queues a new connection; false over the backlog or when nobody listens. */
static bool vtoe_request_queue(struct sock *lsk, struct vtoe_conn *c)
{
	struct vtoe_sock *vsk = vtoe_sk(lsk);
	bool ok;

	spin_lock(&vsk->accept_lock);
	ok = vsk->listening &&
	     vsk->nqueued <= READ_ONCE(lsk->sk_max_ack_backlog);
	if (ok) {
		list_add_tail(&c->accept_node, &vsk->pending);
		c->queued = VTOE_CONN_PENDING;
		WRITE_ONCE(vsk->nqueued, vsk->nqueued + 1);
		sock_hold(lsk);
		c->listener = lsk;
	}
	spin_unlock(&vsk->accept_lock);
	return ok;
}

/*
 * Takes a connection out of its listener's queue.  True if it was there; the
 * queue's reference is the caller's then.
 */
static bool vtoe_request_unqueue(struct sock *lsk, struct vtoe_conn *c,
				 bool pending_only)
{
	struct vtoe_sock *vsk = vtoe_sk(lsk);
	bool was;

	spin_lock_bh(&vsk->accept_lock);
	was = c->queued == VTOE_CONN_PENDING ||
	      (c->queued == VTOE_CONN_READY && !pending_only);
	if (was) {
		list_del_init(&c->accept_node);
		c->queued = VTOE_CONN_UNQUEUED;
		WRITE_ONCE(vsk->nqueued, vsk->nqueued - 1);
	}
	spin_unlock_bh(&vsk->accept_lock);
	return was;
}

/* The connection has nothing to do with its listener any more. */
void vtoe_listen_forget(struct vtoe_conn *c)
{
	struct sock *lsk;

	spin_lock_bh(&c->lock);
	lsk = c->listener;
	c->listener = NULL;
	spin_unlock_bh(&c->lock);
	if (lsk)
		sock_put(lsk);
}

static struct sock *vtoe_listener_get(struct vtoe_conn *c)
{
	struct sock *lsk;

	spin_lock_bh(&c->lock);
	lsk = c->listener;
	if (lsk)
		sock_hold(lsk);
	spin_unlock_bh(&c->lock);
	return lsk;
}

/* Established: accept() may have it. */
void vtoe_listen_conn_ready(struct vtoe_conn *c)
{
	struct sock *lsk = vtoe_listener_get(c);
	struct vtoe_sock *vsk;
	bool told = false;

	if (!lsk)
		return;
	vsk = vtoe_sk(lsk);
	spin_lock_bh(&vsk->accept_lock);
	if (c->queued == VTOE_CONN_PENDING) {
		list_move_tail(&c->accept_node, &vsk->ready);
		c->queued = VTOE_CONN_READY;
		told = true;
	}
	spin_unlock_bh(&vsk->accept_lock);
	if (told)
		lsk->sk_data_ready(lsk);
	sock_put(lsk);
}

/* Over before it was established: nobody will miss it. */
void vtoe_listen_conn_over(struct vtoe_conn *c)
{
	struct sock *lsk = vtoe_listener_get(c);

	if (!lsk)
		return;
	if (vtoe_request_unqueue(lsk, c, true)) {
		vtoe_count(sock_net(lsk), request_gone);
		vtoe_listen_forget(c);
		vtoe_conn_put(c);
	}
	sock_put(lsk);
}

/* CONNECT_REQUEST.  In softirq, under RCU. */
static void vtoe_request(void *client, u32 sid, u32 listener,
			 const struct vtoe_flow *flow)
{
	struct vtoe_sdev *sd = client;
	struct net *net = dev_net(sd->netdev);
	struct vtoe_lport *lp = xa_load(&sd->listeners, listener);
	struct vtoe_conn *c;
	struct sock *lsk;
	u16 reason;
	int err;

	vtoe_count(net, request);
	lsk = lp && vtoe_request_local(sd, flow) ?
	      vtoe_request_sock(sd, lp, flow) : NULL;
	reason = VTOE_REASON_NO_LISTENER;
	if (!lsk) {
		vtoe_count(net, request_no_listener);
		goto reject;
	}
	if (!vtoe_request_remote(sd, lsk, flow)) {
		vtoe_count(net, request_address);
		goto reject;
	}
	/* For the peer there is only the listener on TCP. */
	if (vtoe_request_left(sd, lsk, flow))
		goto reject;
	c = vtoe_conn_new(sd->dev, lsk, GFP_ATOMIC | __GFP_NOWARN);
	if (!c) {
		vtoe_count(net, request_no_memory);
		reason = VTOE_REASON_LIMIT;
		goto reject;
	}
	c->s.flow = *flow;
	/* From here on close() of the listener may drop the queue's. */
	vtoe_session_get(&c->s);
	if (!vtoe_request_queue(lsk, c)) {
		vtoe_count(net, request_backlog);
		vtoe_conn_put(c);
		vtoe_conn_put(c);
		reason = VTOE_REASON_BACKLOG;
		goto reject;
	}
	err = vtoe_session_accept(&c->s, sid, c->window,
				  GFP_ATOMIC | __GFP_NOWARN);
	if (!err) {
		/* Dropped before there was a stream to reset? */
		if (test_bit(VTOE_CF_CLOSED, &c->flags))
			vtoe_session_abort(&c->s, VTOE_REASON_RESET);
		vtoe_conn_put(c);
		return;
	}
	vtoe_count(net, request_no_memory);
	if (vtoe_request_unqueue(lsk, c, false)) {
		vtoe_listen_forget(c);
		vtoe_conn_put(c);
	}
	vtoe_conn_put(c);
	reason = VTOE_REASON_LIMIT;
reject:
	vtoe_reject(sd->dev, sid, reason);
}

static void vtoe_peer_capability(void *client, const u8 *mac)
{
	vtoe_cache_flush();
}

const struct vtoe_client_ops vtoe_sock_client_ops = {
	.request	 = vtoe_request,
	.peer_capability = vtoe_peer_capability,
	.restarted	 = vtoe_restarted,
};

/* --- accept() ------------------------------------------------------------- */

/* A socket like the listener for an accepted connection, or NULL. */
static struct sock *vtoe_child(struct sock *lsk, const struct vtoe_flow *f)
{
	const struct vtoe_sock *lvsk = vtoe_sk(lsk);
	struct inet_sock *inet;
	struct sock *sk;

	local_bh_disable();
	sk = sk_clone_lock(lsk, GFP_ATOMIC);
	if (!sk) {
		local_bh_enable();
		return NULL;
	}
	/* It comes locked, which its declaration does not say. */
	__acquire(&sk->sk_lock.slock);
	inet = inet_sk(sk);
	vtoe_sock_fields_init(sk);
	vtoe_sk(sk)->nodelay = lvsk->nodelay;
	vtoe_sk(sk)->inq = lvsk->inq;
	vtoe_sk(sk)->mode = VTOE_MODE_STREAM;
	sk->sk_ack_backlog = 0;
	sk->sk_max_ack_backlog = 0;
	sk->sk_shutdown = 0;
	sk->sk_tsq_flags = 0;
#if IS_ENABLED(CONFIG_IPV6)
	/*
	 * The listener's has no lists or options to share: SOL_IPV6 is the
	 * companion's.
	 */
	if (sk->sk_family == AF_INET6)
		inet->pinet6 = &((struct vtoe6_sock *)sk)->inet6;
#endif
	vtoe_flow_names(sk, f);
	/* Only now it has names, for who traces. */
	inet_sk_set_state(sk, TCP_ESTABLISHED);
	bh_unlock_sock(sk);
	local_bh_enable();
	/* A clone comes with two references. */
	__sock_put(sk);
	vtoe_sock_list(sk);
	vtoe_count(sock_net(sk), sockets);
	return sk;
}

static int vtoe_accept_conn(struct sock *lsk, struct vtoe_conn *c,
			    struct socket *newsock)
{
	struct vtoe_sock *lvsk = vtoe_sk(lsk);
	struct sock *sk = vtoe_child(lsk, &c->s.flow);

	if (!sk) {
		/* Nothing is lost: the next accept() may have it. */
		spin_lock_bh(&lvsk->accept_lock);
		if (lvsk->listening) {
			list_add(&c->accept_node, &lvsk->ready);
			c->queued = VTOE_CONN_READY;
			WRITE_ONCE(lvsk->nqueued, lvsk->nqueued + 1);
			c = NULL;
		}
		spin_unlock_bh(&lvsk->accept_lock);
		if (c) {
			vtoe_listen_forget(c);
			vtoe_conn_drop(c, lsk, VTOE_DROP_ABORT,
				       VTOE_REASON_RESET);
		}
		return -ENOBUFS;
	}
	vtoe_listen_forget(c);
	lock_sock(sk);
	sock_graft(sk, newsock);
	newsock->state = SS_CONNECTED;
	vtoe_socket_flags(newsock);
	vtoe_mem_accept(sk, lsk);
	vtoe_companion_inherit(sk, lvsk);
	vtoe_conn_attach(c, sk);
	vtoe_alive_start(sk, sock_flag(sk, SOCK_KEEPOPEN));
	if (vtoe_mem_due(sk))
		vtoe_mem_update(sk);
	vtoe_sock_update(sk);
	release_sock(sk);
	vtoe_count(sock_net(sk), accept_offloaded);
	trace_vtoe_accepted(sk, c, VTOE_R_none);
	return 0;
}

static struct vtoe_conn *vtoe_accept_pop(struct vtoe_sock *vsk)
{
	struct vtoe_conn *c = NULL;

	if (list_empty(&vsk->ready))
		return NULL;
	spin_lock_bh(&vsk->accept_lock);
	c = list_first_entry_or_null(&vsk->ready, struct vtoe_conn,
				     accept_node);
	if (c) {
		list_del_init(&c->accept_node);
		c->queued = VTOE_CONN_UNQUEUED;
		WRITE_ONCE(vsk->nqueued, vsk->nqueued - 1);
	}
	spin_unlock_bh(&vsk->accept_lock);
	return c;
}

/* From the companion's queue, without waiting. */
static int vtoe_accept_tcp(struct vtoe_sock *vsk, struct socket *newsock,
			   int flags, bool kern)
{
	struct socket *tcp = vsk->tcp;
	int err;

	if (reqsk_queue_empty(&inet_csk(tcp->sk)->icsk_accept_queue))
		return -EAGAIN;
#ifdef HAVE_PROTO_ACCEPT_ARG
	{
		struct proto_accept_arg arg = {
			.flags = flags | O_NONBLOCK,
			.kern = kern,
		};

		err = inet_accept(tcp, newsock, &arg);
	}
#else
	err = inet_accept(tcp, newsock, flags | O_NONBLOCK, kern);
#endif
	if (err)
		return err;
	/* The new file is not installed yet: nobody else sees the change. */
	WRITE_ONCE(newsock->ops, tcp->ops);
	module_put(THIS_MODULE);
	vtoe_count(sock_net(&vsk->inet.sk), accept_tcp);
	return 0;
}

static bool vtoe_accept_idle(const struct vtoe_sock *vsk)
{
	return READ_ONCE(vsk->listening) && list_empty(&vsk->ready) &&
	       reqsk_queue_empty(&inet_csk(vsk->tcp->sk)->icsk_accept_queue);
}

static int vtoe_do_accept(struct socket *sock, struct socket *newsock,
			  int flags, bool kern)
{
	struct sock *lsk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(lsk);
	long timeo = sock_rcvtimeo(lsk, flags & O_NONBLOCK);
	struct vtoe_conn *c;
	DEFINE_WAIT(wait);
	int err;

	if (vtoe_delegated(vsk))
		return -EINVAL;
	for (;;) {
		if (!READ_ONCE(vsk->listening))
			return -EINVAL;
		c = vtoe_accept_pop(vsk);
		if (c)
			return vtoe_accept_conn(lsk, c, newsock);
		err = vtoe_accept_tcp(vsk, newsock, flags, kern);
		if (err != -EAGAIN)
			return err;
		if (!timeo)
			return -EAGAIN;
		if (signal_pending(current))
			return sock_intr_errno(timeo);
		/* Exclusive: one connection wakes one of those who wait. */
		prepare_to_wait_exclusive(sk_sleep(lsk), &wait,
					  TASK_INTERRUPTIBLE);
		if (vtoe_accept_idle(vsk))
			timeo = schedule_timeout(timeo);
		finish_wait(sk_sleep(lsk), &wait);
	}
}

#ifdef HAVE_PROTO_ACCEPT_ARG
int vtoe_accept(struct socket *sock, struct socket *newsock,
		struct proto_accept_arg *arg)
{
	return vtoe_do_accept(sock, newsock, arg->flags, arg->kern);
}
#else
int vtoe_accept(struct socket *sock, struct socket *newsock, int flags,
		bool kern)
{
	return vtoe_do_accept(sock, newsock, flags, kern);
}
#endif
