// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * May a connect() be offloaded, and to which MAC?
 *
 * The routing table decides as for TCP, with the companion's source address,
 * mark and device.  Offload is for what leaves by a VTOE NIC itself (not a
 * VLAN or bridge on it), without a gateway, IPsec, netfilter or a rewriting
 * control group program: everything that would treat packets differently is
 * left to TCP.  So is what the policy leaves.
 *
 * A peer that refused is remembered for a while, so that many short
 * connections to an ordinary server do not each ask first.  How long depends
 * on the reason; the device's news about peers empty the cache.
 */
#include <linux/bpf-cgroup.h>
#include <linux/jhash.h>
#include <linux/net_tstamp.h>
#include <linux/random.h>
#include <net/addrconf.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/ndisc.h>
#include <net/netevent.h>
#include <net/route.h>
#include "vtoe_sock.h"

/* --- negative cache ------------------------------------------------------- */

#define VTOE_CACHE_SLOTS	256u

struct vtoe_cache_entry {
	const struct net *net;		/* compared, not followed */
	u8 addr[16];
	__le16 port;
	u8 family;
	unsigned long until;		/* jiffies */
};

static struct vtoe_cache_entry vtoe_cache[VTOE_CACHE_SLOTS];
static DEFINE_SPINLOCK(vtoe_cache_lock);
static u32 vtoe_cache_seed __read_mostly;

static struct vtoe_cache_entry *vtoe_cache_slot(const struct net *net,
						const struct vtoe_flow *f)
{
	u32 h = jhash(f->raddr, sizeof(f->raddr),
		      vtoe_cache_seed ^ net_hash_mix(net));

	return &vtoe_cache[jhash_1word((__force u16)f->rport, h) &
			   (VTOE_CACHE_SLOTS - 1)];
}

static bool vtoe_cache_match(const struct vtoe_cache_entry *e,
			     const struct net *net, const struct vtoe_flow *f)
{
	return e->net == net && e->family == f->family && e->port == f->rport &&
	       !memcmp(e->addr, f->raddr, sizeof(e->addr)) &&
	       time_before(jiffies, e->until);
}

bool vtoe_cache_refuses(const struct net *net, const struct vtoe_flow *f)
{
	bool found;

	spin_lock_bh(&vtoe_cache_lock);
	found = vtoe_cache_match(vtoe_cache_slot(net, f), net, f);
	spin_unlock_bh(&vtoe_cache_lock);
	return found;
}

/* Remembers a refusal for as long as its reason is likely to last. */
void vtoe_cache_add(const struct net *net, const struct vtoe_flow *f,
		    enum vtoe_fallback why)
{
	int seconds = READ_ONCE(vtoe_net(net)->cache_seconds);
	struct vtoe_cache_entry *e;
	unsigned long ttl;

	switch (why) {
	case VTOE_FB_no_peer:
	case VTOE_FB_peer_no_streams:
	case VTOE_FB_address_error:
	case VTOE_FB_route_error:
		ttl = (unsigned long)seconds * HZ;
		break;
	case VTOE_FB_no_listener:
	case VTOE_FB_unreachable:
	case VTOE_FB_link_down:
	case VTOE_FB_connect_error:
	case VTOE_FB_timeout:
		ttl = min(seconds, 1) * HZ;
		break;
	default:
		return;		/* says nothing about the next attempt */
	}
	spin_lock_bh(&vtoe_cache_lock);
	e = vtoe_cache_slot(net, f);
	e->net = net;
	memcpy(e->addr, f->raddr, sizeof(e->addr));
	e->port = f->rport;
	e->family = f->family;
	e->until = jiffies + ttl;
	spin_unlock_bh(&vtoe_cache_lock);
}

/* TCP was refused as well, so there is no TCP server to leave alone. */
void vtoe_cache_drop(const struct net *net, const struct vtoe_flow *f)
{
	struct vtoe_cache_entry *e;

	spin_lock_bh(&vtoe_cache_lock);
	e = vtoe_cache_slot(net, f);
	if (vtoe_cache_match(e, net, f))
		e->net = NULL;
	spin_unlock_bh(&vtoe_cache_lock);
}

void vtoe_cache_flush(void)
{
	spin_lock_bh(&vtoe_cache_lock);
	memset(vtoe_cache, 0, sizeof(vtoe_cache));
	spin_unlock_bh(&vtoe_cache_lock);
}

/* --- neighbours ----------------------------------------------------------- */

static LIST_HEAD(vtoe_neigh_waiters);
static DEFINE_SPINLOCK(vtoe_neigh_lock);

/* The MAC if it is known.  Tells the neighbour that it is used. */
bool vtoe_neigh_mac(struct neighbour *n, u8 mac[ETH_ALEN])
{
	if (!(READ_ONCE(n->nud_state) & NUD_VALID))
		return false;
	neigh_ha_snapshot(mac, n, n->dev);
	return true;
}

/*
 * Asks for an IPv6 neighbour's MAC in the name of the flow's own address, as
 * a packet that waits would.  Without a packet the neighbour's state machine
 * asks in the name of the link-local address, and keeps silent as long as
 * that is missing or checked for duplicates: the first seconds of a NIC.
 */
static void vtoe_neigh_solicit(const struct vtoe_sock *vsk,
			       struct neighbour *n)
{
	const struct in6_addr *target = (const void *)n->primary_key;
	struct in6_addr group, own;
	struct sk_buff *skb;

	memcpy(&own, vsk->flow.laddr, sizeof(own));
	addrconf_addr_solict_mult(target, &group);
	skb = ndisc_ns_create(n->dev, target, &own, 0);
	if (skb)
		ndisc_send_skb(skb, &group, &own);
}

/* Takes over the reference to n.  The socket is locked. */
void vtoe_neigh_wait(struct vtoe_sock *vsk, struct neighbour *n)
{
	bool asked = READ_ONCE(n->nud_state) & NUD_INCOMPLETE;

	vsk->neigh = n;
	spin_lock_bh(&vtoe_neigh_lock);
	list_add_tail(&vsk->neigh_node, &vtoe_neigh_waiters);
	spin_unlock_bh(&vtoe_neigh_lock);
	neigh_event_send(n, NULL);
	if (!asked && vsk->flow.family == 6)
		vtoe_neigh_solicit(vsk, n);
}

void vtoe_neigh_unwait(struct vtoe_sock *vsk)
{
	struct neighbour *n = vsk->neigh;

	if (!n)
		return;
	spin_lock_bh(&vtoe_neigh_lock);
	list_del_init(&vsk->neigh_node);
	spin_unlock_bh(&vtoe_neigh_lock);
	vsk->neigh = NULL;
	neigh_release(n);
}

/* Takes up to max sockets that wait for n off the list, with references. */
static unsigned int vtoe_neigh_waiting(const struct neighbour *n,
				       struct sock **found, unsigned int max)
{
	struct vtoe_sock *vsk, *next;
	unsigned int count = 0;

	spin_lock_bh(&vtoe_neigh_lock);
	list_for_each_entry_safe(vsk, next, &vtoe_neigh_waiters, neigh_node) {
		if (count == max)
			break;
		if (vsk->neigh != n)
			continue;
		list_del_init(&vsk->neigh_node);
		found[count] = &vsk->inet.sk;
		sock_hold(found[count++]);
	}
	spin_unlock_bh(&vtoe_neigh_lock);
	return count;
}

/* Sockets that wait for this neighbour look at it once it is decided. */
static int vtoe_netevent(struct notifier_block *nb, unsigned long event,
			 void *ptr)
{
	const struct neighbour *n = ptr;
	struct sock *batch[16];
	unsigned int i, count;

	if (event != NETEVENT_NEIGH_UPDATE ||
	    !(READ_ONCE(n->nud_state) & (NUD_VALID | NUD_FAILED)))
		return NOTIFY_DONE;
	do {
		count = vtoe_neigh_waiting(n, batch, ARRAY_SIZE(batch));
		for (i = 0; i < count; i++)
			vtoe_sock_poke(batch[i]);
	} while (count == ARRAY_SIZE(batch));
	return NOTIFY_DONE;
}

static struct notifier_block vtoe_netevent_nb = {
	.notifier_call = vtoe_netevent,
};

/* --- routes --------------------------------------------------------------- */

/* What a lookup found. */
struct vtoe_way {
	struct dst_entry *dst;
	bool gateway;
	union {
		__be32 v4;
		struct in6_addr v6;
	} src;
};

static enum vtoe_fallback vtoe_route4(struct sock *sk, __be32 daddr,
				      __be16 dport, struct vtoe_way *way)
{
	struct sock *tsk = vtoe_sk(sk)->tcp->sk;
	struct flowi4 fl4 = {
		.flowi4_oif = tsk->sk_bound_dev_if,
		.flowi4_mark = tsk->sk_mark,
		.flowi4_proto = IPPROTO_TCP,
		.flowi4_uid = sk->sk_uid,
		.flowi4_tos = inet_sk(tsk)->tos & INET_DSCP_MASK,
		.daddr = daddr,
		.saddr = inet_sk(tsk)->inet_saddr,
		.fl4_dport = dport,
		.fl4_sport = inet_sk(tsk)->inet_sport,
	};
	struct rtable *rt;

	if (ipv4_is_zeronet(daddr) || ipv4_is_multicast(daddr) ||
	    ipv4_is_lbcast(daddr) || ipv4_is_loopback(daddr))
		return VTOE_FB_other_device;
	security_sk_classify_flow(tsk, flowi4_to_flowi_common(&fl4));
	rt = ip_route_output_flow(sock_net(sk), &fl4, tsk);
	if (IS_ERR(rt))
		return VTOE_FB_no_route;
	if (rt->rt_type != RTN_UNICAST) {
		ip_rt_put(rt);
		return VTOE_FB_other_device;
	}
	way->dst = &rt->dst;
	way->gateway = rt->rt_gw_family != 0;
	way->src.v4 = fl4.saddr;
	return VTOE_FB_none;
}

static enum vtoe_fallback vtoe_route6(struct sock *sk,
				      const struct sockaddr_in6 *sin6,
				      struct vtoe_way *way)
{
	struct sock *tsk = vtoe_sk(sk)->tcp->sk;
	struct flowi6 fl6 = {
		.flowi6_oif = tsk->sk_bound_dev_if,
		.flowi6_mark = tsk->sk_mark,
		.flowi6_proto = IPPROTO_TCP,
		.flowi6_uid = sk->sk_uid,
		.daddr = sin6->sin6_addr,
		.saddr = inet6_sk(tsk)->saddr,
		.fl6_dport = sin6->sin6_port,
		.fl6_sport = inet_sk(tsk)->inet_sport,
	};
	struct dst_entry *dst;

	if (ipv6_addr_any(&fl6.daddr) || ipv6_addr_loopback(&fl6.daddr) ||
	    ipv6_addr_is_multicast(&fl6.daddr))
		return VTOE_FB_other_device;
	/* Scoped addresses need an interface beside the address. */
	if (ipv6_addr_type(&fl6.daddr) & IPV6_ADDR_LINKLOCAL)
		return VTOE_FB_scoped_address;
	security_sk_classify_flow(tsk, flowi6_to_flowi_common(&fl6));
	dst = ip6_dst_lookup_flow(sock_net(sk), tsk, &fl6, NULL);
	if (IS_ERR(dst))
		return VTOE_FB_no_route;
	way->dst = dst;
	way->gateway = ((struct rt6_info *)dst)->rt6i_flags & RTF_GATEWAY;
	way->src.v6 = fl6.saddr;
	return VTOE_FB_none;
}

/*
 * Binds the companion to the route's source address and a free port, unless
 * the program did.  True if there is a port then.
 */
static bool vtoe_route_bind(struct sock *sk, u8 family,
			    const struct vtoe_way *way)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct inet_sock *tinet = inet_sk(vsk->tcp->sk);
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} a = { };
	int len;

	if (tinet->inet_num)
		return true;
	if (sk->sk_family == AF_INET) {
		a.v4.sin_family = AF_INET;
		a.v4.sin_addr.s_addr = way->src.v4;
		len = sizeof(a.v4);
	} else {
		a.v6.sin6_family = AF_INET6;
		if (family == 4)
			ipv6_addr_set_v4mapped(way->src.v4, &a.v6.sin6_addr);
		else
			a.v6.sin6_addr = way->src.v6;
		len = sizeof(a.v6);
	}
	if (vsk->tcp->ops->bind(vsk->tcp, &a.any, len) || !tinet->inet_num)
		return false;
	/* The program did not ask for them: TCP forgets them if that fails. */
	vsk->tcp->sk->sk_userlocks &= ~(SOCK_BINDADDR_LOCK |
					SOCK_BINDPORT_LOCK);
	vsk->auto_bound = true;
	return true;
}

/* What the administrator wants: the policy, netfilter. */
static enum vtoe_fallback vtoe_admitted(const struct net_device *netdev,
					const struct vtoe_flow *f)
{
	enum vtoe_policy_verdict verdict =
		vtoe_policy_ask(dev_net(netdev), VTOE_POLICY_CONNECT, f);
	enum vtoe_fallback why;

	if (verdict == VTOE_POLICY_LEAVE)
		return VTOE_FB_policy;
	why = vtoe_filter(netdev, f->family, true);
	return why == VTOE_FB_netfilter && verdict == VTOE_POLICY_OFFLOAD ?
	       VTOE_FB_none : why;
}

/*
 * Decides about a connect() to addr.  VTOE_FB_none: offload; vsk->flow and
 * vsk->sdev are set, and *neigh is the neighbour to wait for (with a
 * reference), or NULL if the MAC is known.  The companion exists and is bound
 * then.  lock_sock() is held.
 */
enum vtoe_fallback vtoe_route(struct sock *sk, const struct sockaddr *addr,
			      int len, struct neighbour **neigh)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_net *vn = vtoe_net(sock_net(sk));
	struct vtoe_flow *f = &vsk->flow;
	struct vtoe_way way = { };
	enum vtoe_fallback why;
	struct vtoe_sdev *sd;
	struct neighbour *n;
	const void *daddr;

	*neigh = NULL;
	if (!READ_ONCE(vn->enable))
		return VTOE_FB_disabled;
	/* Only TCP's own packets can be stamped when they leave. */
	if (vsk->force_tcp ||
	    READ_ONCE(sk->sk_tsflags) & SOF_TIMESTAMPING_TX_RECORD_MASK)
		return VTOE_FB_option;
	if (list_empty(&vtoe_sdevs))
		return VTOE_FB_other_device;
	if (cgroup_bpf_enabled(CGROUP_INET4_CONNECT) ||
	    cgroup_bpf_enabled(CGROUP_INET6_CONNECT) ||
	    vtoe_filter_packets(sk))
		return VTOE_FB_bpf;

	memset(f, 0, sizeof(*f));
	if (addr->sa_family == AF_INET && sk->sk_family == AF_INET &&
	    len >= (int)sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *sin = (const void *)addr;

		f->family = 4;
		f->rport = vtoe_port_le(sin->sin_port);
		memcpy(f->raddr, &sin->sin_addr, 4);
		daddr = &sin->sin_addr;
		why = vtoe_route4(sk, sin->sin_addr.s_addr, sin->sin_port,
				  &way);
	} else if (addr->sa_family == AF_INET6 && sk->sk_family == AF_INET6 &&
		   len >= SIN6_LEN_RFC2133) {
		const struct sockaddr_in6 *sin6 = (const void *)addr;

		f->rport = vtoe_port_le(sin6->sin6_port);
		if (ipv6_addr_v4mapped(&sin6->sin6_addr)) {
			if (ipv6_only_sock(vsk->tcp->sk))
				return VTOE_FB_no_route;
			f->family = 4;
			memcpy(f->raddr, &sin6->sin6_addr.s6_addr32[3], 4);
			daddr = &sin6->sin6_addr.s6_addr32[3];
			why = vtoe_route4(sk, sin6->sin6_addr.s6_addr32[3],
					  sin6->sin6_port, &way);
		} else {
			f->family = 6;
			memcpy(f->raddr, &sin6->sin6_addr, 16);
			daddr = &sin6->sin6_addr;
			why = vtoe_route6(sk, sin6, &way);
		}
	} else {
		return VTOE_FB_no_route;	/* TCP has the right error */
	}
	if (why != VTOE_FB_none)
		return why;

	why = VTOE_FB_other_device;
	rcu_read_lock();
	sd = vtoe_sdev_find(way.dst->dev);
	if (sd) {
		vsk->sdev = sd;
		memcpy(f->lmac, sd->netdev->dev_addr, ETH_ALEN);
		why = vtoe_dev_stream_pairs(sd->dev) ? VTOE_FB_none :
		      VTOE_FB_no_streams;
	}
	rcu_read_unlock();
	if (why != VTOE_FB_none)
		goto out;
	if (way.gateway) {
		why = VTOE_FB_gateway;
		goto out;
	}
	/* Routes with an encapsulation have another way than their device. */
	if (way.dst->lwtstate) {
		why = VTOE_FB_other_device;
		goto out;
	}
#ifdef CONFIG_XFRM
	if (way.dst->xfrm) {
		why = VTOE_FB_ipsec;
		goto out;
	}
#endif
	why = vtoe_admitted(way.dst->dev, f);
	if (why != VTOE_FB_none)
		goto out;
	if (vtoe_cache_refuses(sock_net(sk), f)) {
		why = VTOE_FB_cached;
		goto out;
	}
	if (!vtoe_route_bind(sk, f->family, &way)) {
		why = VTOE_FB_no_port;
		goto out;
	}
	f->lport = vtoe_port_le(inet_sk(vsk->tcp->sk)->inet_sport);
	if (f->family == 4)
		memcpy(f->laddr, &way.src.v4, 4);
	else
		memcpy(f->laddr, &way.src.v6, 16);
	n = dst_neigh_lookup(way.dst, daddr);
	if (!n) {
		why = VTOE_FB_neighbour;
		goto out;
	}
	if (vtoe_neigh_mac(n, f->rmac)) {
		/* As a packet to it would: an old entry is verified. */
		neigh_event_send(n, NULL);
		neigh_release(n);
	} else {
		*neigh = n;
	}
out:
	dst_release(way.dst);
	return why;
}

int vtoe_route_init(void)
{
	vtoe_cache_seed = get_random_u32();
	return register_netevent_notifier(&vtoe_netevent_nb);
}

void vtoe_route_exit(void)
{
	unregister_netevent_notifier(&vtoe_netevent_nb);
}
