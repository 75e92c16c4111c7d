// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Does something on the packets' way want to see them?
 *
 * An offloaded connection has no packets, so netfilter cannot drop, count or
 * rewrite them.  Where it has hooks, connections are left to TCP.  Which of
 * them a hook would touch is known only to the hook, and asking it with a
 * packet of ours would leave traces (conntrack) or even send the packet (IPVS);
 * so that there is one is enough.
 *
 * A rule of the policy that says "offload" stands above packet filters: it was
 * written by who writes those.  Address translation and virtual servers decide
 * where a connection goes, and that stays theirs.
 */
#include <linux/bpf-cgroup.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <net/xfrm.h>
#include "vtoe_sock.h"

#ifdef CONFIG_NETFILTER

/*
 * Not somebody's rule: a security module's, which is always there (AppArmor's
 * looks at marks that only a rule sets), and what takes the place of a hook
 * that goes.
 */
static bool vtoe_filter_is_idle(int priority)
{
	return priority == INT_MIN || priority == NF_IP_PRI_SELINUX_FIRST ||
	       priority == NF_IP_PRI_SELINUX_LAST;
}

/*
 * Of the hooks, those that have the priority of address translation before
 * and after routing; IPVS's are next to them.
 */
static bool vtoe_filter_is_nat(int priority)
{
	return (priority >= NF_IP_PRI_NAT_DST &&
		priority <= NF_IP_PRI_NAT_DST + 2) ||
	       (priority <= NF_IP_PRI_NAT_SRC &&
		priority >= NF_IP_PRI_NAT_SRC - 2);
}

static enum vtoe_fallback vtoe_filter_hook(const struct net *net, u8 family,
					   unsigned int hook)
{
	const struct nf_hook_entries *e;
	enum vtoe_fallback why = VTOE_FB_none;
	struct nf_hook_ops **ops;
	unsigned int i;

	if (family == 4)
		e = rcu_dereference(net->nf.hooks_ipv4[hook]);
	else
		e = rcu_dereference(net->nf.hooks_ipv6[hook]);
	if (!e)
		return VTOE_FB_none;
	ops = nf_hook_entries_get_hook_ops(e);
	for (i = 0; i < e->num_hook_entries; i++) {
		if (vtoe_filter_is_idle(ops[i]->priority))
			continue;
		if (vtoe_filter_is_nat(ops[i]->priority))
			return VTOE_FB_nat;
		why = VTOE_FB_netfilter;
	}
	return why;
}

/* The device's own hooks (tables of the families netdev and inet). */
static bool vtoe_filter_netdev(const struct net_device *netdev, bool leaving)
{
#ifdef CONFIG_NETFILTER_EGRESS
	if (leaving)
		return rcu_access_pointer(netdev->nf_hooks_egress);
#endif
#ifdef CONFIG_NETFILTER_INGRESS
	if (!leaving)
		return rcu_access_pointer(netdev->nf_hooks_ingress);
#endif
	return false;
}

/*
 * What netfilter has on the way of packets: those that leave, or those that
 * come for this machine.  Returns VTOE_FB_none, VTOE_FB_netfilter or
 * VTOE_FB_nat.
 */
enum vtoe_fallback vtoe_filter(const struct net_device *netdev, u8 family,
			       bool leaving)
{
	const struct net *net = dev_net(netdev);
	enum vtoe_fallback first, second;

	rcu_read_lock();
	first = vtoe_filter_hook(net, family, leaving ? NF_INET_LOCAL_OUT :
				 NF_INET_PRE_ROUTING);
	second = vtoe_filter_hook(net, family, leaving ? NF_INET_POST_ROUTING :
				  NF_INET_LOCAL_IN);
	if (first == VTOE_FB_none && second == VTOE_FB_none &&
	    vtoe_filter_netdev(netdev, leaving))
		first = VTOE_FB_netfilter;
	rcu_read_unlock();
	return first == VTOE_FB_nat || second == VTOE_FB_none ? first : second;
}

#else

enum vtoe_fallback vtoe_filter(const struct net_device *netdev, u8 family,
			       bool leaving)
{
	return VTOE_FB_none;
}

#endif

/* Does a program look at all packets of the socket's control group? */
bool vtoe_filter_packets(struct sock *sk)
{
#ifdef CONFIG_CGROUP_BPF
	return (cgroup_bpf_enabled(CGROUP_INET_EGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_EGRESS)) ||
	       (cgroup_bpf_enabled(CGROUP_INET_INGRESS) &&
		cgroup_bpf_sock_enabled(sk, CGROUP_INET_INGRESS));
#else
	return false;
#endif
}

/* Is there a policy of IPsec for what comes?  Of what leaves the route tells. */
bool vtoe_filter_ipsec(const struct net *net)
{
#ifdef CONFIG_XFRM
	return net->xfrm.policy_count[XFRM_POLICY_IN] ||
	       net->xfrm.policy_default[XFRM_POLICY_IN] ==
	       XFRM_USERPOLICY_BLOCK;
#else
	return false;
#endif
}
