// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Capture devices: offloaded streams as packets, for tcpdump and the like.
 *
 *	ip link add vtoecap0 type vtoecap
 *	ip link set vtoecap0 up
 *	tcpdump -i vtoecap0
 *
 * A stream has no packets; these are made up as TCP would have sent them.
 * A device shows all streams of the VTOE NICs of its network namespace:
 *
 *	CONNECT given to the NIC	SYN out
 *	established			SYN-ACK in, ACK out
 *	accepted			SYN in, SYN-ACK out; established: ACK in
 *	bytes given to the NIC		data out
 *	bytes received			data in
 *	acknowledged by the peer's NIC	ACK in
 *	credit given to the peer	ACK out, a window update
 *	end of stream			FIN
 *	reset, failed connect		RST
 *
 * Addresses and ports are the stream's.  A sequence number is the initial one,
 * which SID and device generation determine, plus one, plus the offset in the
 * stream: so a capture may begin at any time.  Checksums are right.  Windows
 * are scaled by 2^12; the peer's is not known and shown as large as can be.  A
 * packet has up to MTU bytes.  Packets are in the order in which the driver and
 * the device exchanged what they show.  A request that is refused is not
 * shown: what follows is ordinary TCP on the NIC itself.
 *
 * Cost: nothing without a device that is up, but for a jump that is patched
 * out; little while nobody listens on one.  Else each byte is copied once, into
 * memory that belongs to the packet and goes as soon as every listener has
 * copied it into its own bounded buffer; what a listener is too slow for, it
 * counts itself.  Without memory a packet is left out and counted as dropped.
 *
 * Nothing else happens to the packets; they enter no protocol.  To listeners
 * all of them are outgoing.
 */
#include <linux/if_arp.h>
#include <linux/jhash.h>
#include <linux/rtnetlink.h>
#include <net/addrconf.h>
#include <net/ip6_checksum.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>
#include <net/tcp.h>
#include "vtoe_cap.h"

#define VTOE_CAP_WSCALE		12
#define VTOE_CAP_SYN_OPTIONS	8u	/* bytes */
#define VTOE_CAP_MAX_MTU	65535u
#define VTOE_CAP_MIN_MTU	256u
#define VTOE_CAP_HEADERS	(sizeof(struct ipv6hdr) + \
				 sizeof(struct tcphdr) + VTOE_CAP_SYN_OPTIONS)

/* Bits of vtoe_session.cap: what was shown. */
enum {
	VTOE_CAP_SYN,
	VTOE_CAP_ESTABLISHED,
	VTOE_CAP_FIN_WANTED,		/* behind all bytes appended */
	VTOE_CAP_FIN_OUT,
	VTOE_CAP_FIN_IN,
	VTOE_CAP_RST,
};

enum {
	VTOE_CAP_F_FIN = BIT(0),
	VTOE_CAP_F_SYN = BIT(1),
	VTOE_CAP_F_RST = BIT(2),
	VTOE_CAP_F_PSH = BIT(3),
	VTOE_CAP_F_ACK = BIT(4),
};

/* A packet to show. */
struct vtoe_cap_seg {
	bool out;
	u8 flags;			/* VTOE_CAP_F_* */
	u32 seq, ack;
	u16 window;
	const void *data;
	u32 len;
};

struct vtoe_cap {
	struct net_device *netdev;
	struct list_head node;		/* vtoe_caps, RCU; rtnl */
	/* packets, bytes, packets left out; out and in */
	atomic_long_t packets[2], bytes[2], dropped[2];
};

DEFINE_STATIC_KEY_FALSE(vtoe_cap_key);
static LIST_HEAD(vtoe_caps);		/* those that are up */

/* --- packets -------------------------------------------------------------- */

/* The initial sequence number of a direction. */
static u32 vtoe_cap_isn(const struct vtoe_session *s, bool out)
{
	return jhash_2words(s->sid, s->dev->generation, out);
}

static void vtoe_cap_tcp(struct tcphdr *th, const struct vtoe_flow *f,
			 const struct vtoe_cap_seg *seg)
{
	static const u8 options[VTOE_CAP_SYN_OPTIONS] = {
		TCPOPT_MSS, TCPOLEN_MSS, 0xff, 0xd7,
		TCPOPT_NOP, TCPOPT_WINDOW, TCPOLEN_WINDOW, VTOE_CAP_WSCALE,
	};

	memset(th, 0, sizeof(*th));
	th->source = vtoe_port_be(seg->out ? f->lport : f->rport);
	th->dest = vtoe_port_be(seg->out ? f->rport : f->lport);
	th->seq = htonl(seg->seq);
	th->ack_seq = htonl(seg->ack);
	th->doff = sizeof(*th) / 4;
	th->fin = !!(seg->flags & VTOE_CAP_F_FIN);
	th->syn = !!(seg->flags & VTOE_CAP_F_SYN);
	th->rst = !!(seg->flags & VTOE_CAP_F_RST);
	th->psh = !!(seg->flags & VTOE_CAP_F_PSH);
	th->ack = !!(seg->flags & VTOE_CAP_F_ACK);
	th->window = htons(seg->window);
	if (th->syn) {
		th->doff += VTOE_CAP_SYN_OPTIONS / 4;
		memcpy(th + 1, options, sizeof(options));
	}
}

static void vtoe_cap_ip4(struct sk_buff *skb, const struct vtoe_flow *f,
			 bool out, u32 len)
{
	struct iphdr *ip = ip_hdr(skb);
	struct tcphdr *th = tcp_hdr(skb);

	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tot_len = htons(sizeof(*ip) + len);
	ip->frag_off = htons(IP_DF);
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	memcpy(&ip->saddr, out ? f->laddr : f->raddr, 4);
	memcpy(&ip->daddr, out ? f->raddr : f->laddr, 4);
	ip->check = ip_fast_csum(ip, ip->ihl);
	th->check = csum_tcpudp_magic(ip->saddr, ip->daddr, len, IPPROTO_TCP,
				      skb_checksum(skb, sizeof(*ip), len, 0));
	skb->protocol = htons(ETH_P_IP);
}

static void vtoe_cap_ip6(struct sk_buff *skb, const struct vtoe_flow *f,
			 bool out, u32 len)
{
	struct ipv6hdr *ip = ipv6_hdr(skb);
	struct tcphdr *th = tcp_hdr(skb);

	memset(ip, 0, sizeof(*ip));
	ip->version = 6;
	ip->payload_len = htons(len);
	ip->nexthdr = IPPROTO_TCP;
	ip->hop_limit = 64;
	memcpy(&ip->saddr, out ? f->laddr : f->raddr, 16);
	memcpy(&ip->daddr, out ? f->raddr : f->laddr, 16);
	th->check = csum_ipv6_magic(&ip->saddr, &ip->daddr, len, IPPROTO_TCP,
				    skb_checksum(skb, sizeof(*ip), len, 0));
	skb->protocol = htons(ETH_P_IPV6);
}

static struct sk_buff *vtoe_cap_packet(const struct vtoe_flow *f,
				       const struct vtoe_cap_seg *seg)
{
	u32 ip = f->family == 6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	u32 tcp = sizeof(struct tcphdr) +
		  (seg->flags & VTOE_CAP_F_SYN ? VTOE_CAP_SYN_OPTIONS : 0);
	struct sk_buff *skb;
	int err;

	skb = alloc_skb_with_frags(ip + tcp, seg->len, 0, &err,
				   GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_put(skb, ip + tcp);
	skb->data_len = seg->len;
	skb->len += seg->len;
	skb_reset_mac_header(skb);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, ip);
	if (seg->len)
		skb_store_bits(skb, ip + tcp, seg->data, seg->len);
	vtoe_cap_tcp(tcp_hdr(skb), f, seg);
	if (f->family == 6)
		vtoe_cap_ip6(skb, f, seg->out, tcp + seg->len);
	else
		vtoe_cap_ip4(skb, f, seg->out, tcp + seg->len);
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	return skb;
}

static void vtoe_cap_deliver(struct vtoe_cap *cap, const struct vtoe_flow *f,
			     const struct vtoe_cap_seg *seg)
{
	struct sk_buff *skb;

	if (!dev_nit_active(cap->netdev))
		return;
	skb = vtoe_cap_packet(f, seg);
	if (unlikely(!skb)) {
		atomic_long_inc(&cap->dropped[seg->out]);
		return;
	}
	skb->dev = cap->netdev;
	atomic_long_inc(&cap->packets[seg->out]);
	atomic_long_add(skb->len, &cap->bytes[seg->out]);
	dev_queue_xmit_nit(skb, cap->netdev);
	consume_skb(skb);
}

/* Shows a packet, in pieces of the device's MTU. */
static void vtoe_cap_show(struct vtoe_session *s, struct vtoe_cap_seg seg)
{
	const struct net *net = dev_net(s->dev->netdev);
	u32 left, room;
	struct vtoe_cap *cap;
	u8 flags = seg.flags;

	rcu_read_lock();
	list_for_each_entry_rcu(cap, &vtoe_caps, node) {
		struct vtoe_cap_seg part = seg;

		if (!net_eq(dev_net(cap->netdev), net))
			continue;
		room = READ_ONCE(cap->netdev->mtu) - VTOE_CAP_HEADERS;
		for (left = seg.len;; left -= part.len) {
			part.len = min(left, room);
			part.flags = part.len == left ? flags :
				     flags & ~VTOE_CAP_F_PSH;
			vtoe_cap_deliver(cap, &s->flow, &part);
			part.seq += part.len;
			part.data += part.len;
			if (part.len == left)
				break;
		}
	}
	rcu_read_unlock();
}

/* --- numbers -------------------------------------------------------------- */

/* Where the peer's next byte is that was not shown. */
static u64 vtoe_cap_rx_offset(const struct vtoe_session *s)
{
	u64 all = READ_ONCE(s->rx_offset);

	/* Read later, it is larger rather than smaller. */
	smp_rmb();
	return all - READ_ONCE(s->rx_batch_bytes);
}

/* A packet of ours behind all bytes posted. */
static struct vtoe_cap_seg vtoe_cap_out(const struct vtoe_session *s, u8 flags)
{
	u64 got = vtoe_cap_rx_offset(s), limit = READ_ONCE(s->credit);

	return (struct vtoe_cap_seg){
		.out = true,
		.flags = flags | VTOE_CAP_F_ACK,
		.seq = vtoe_cap_isn(s, true) + 1 + READ_ONCE(s->tx_posted) +
		       test_bit(VTOE_CAP_FIN_OUT, &s->cap),
		.ack = vtoe_cap_isn(s, false) + 1 + got +
		       test_bit(VTOE_CAP_FIN_IN, &s->cap),
		.window = limit > got ?
			  min_t(u64, (limit - got) >> VTOE_CAP_WSCALE,
				U16_MAX) : 0,
	};
}

/* A packet of the peer's behind all bytes shown. */
static struct vtoe_cap_seg vtoe_cap_in(const struct vtoe_session *s, u8 flags)
{
	u64 acked = READ_ONCE(s->tx_acked);
	bool all = test_bit(VTOE_CAP_FIN_OUT, &s->cap) &&
		   acked == READ_ONCE(s->tx_posted);

	return (struct vtoe_cap_seg){
		.flags = flags | VTOE_CAP_F_ACK,
		.seq = vtoe_cap_isn(s, false) + 1 + vtoe_cap_rx_offset(s) +
		       test_bit(VTOE_CAP_FIN_IN, &s->cap),
		.ack = vtoe_cap_isn(s, true) + 1 + acked + all,
		.window = U16_MAX,
	};
}

/* --- what sessions do ----------------------------------------------------- */

static void vtoe_cap_syn(struct vtoe_session *s, bool out, bool answer)
{
	struct vtoe_cap_seg seg = {
		.out = out,
		.flags = VTOE_CAP_F_SYN | (answer ? VTOE_CAP_F_ACK : 0),
		.seq = vtoe_cap_isn(s, out),
		.ack = answer ? vtoe_cap_isn(s, !out) + 1 : 0,
		.window = U16_MAX,
	};

	vtoe_cap_show(s, seg);
}

void vtoe_cap_established(struct vtoe_session *s)
{
	if (!test_bit(VTOE_CAP_SYN, &s->cap) ||
	    test_and_set_bit(VTOE_CAP_ESTABLISHED, &s->cap))
		return;
	if (s->sid & VTOE_SID_PASSIVE) {
		vtoe_cap_show(s, vtoe_cap_in(s, 0));
	} else {
		vtoe_cap_syn(s, false, true);
		vtoe_cap_show(s, vtoe_cap_out(s, 0));
	}
}

/* The end, if all bytes before it were shown.  tx_lock is held. */
static void vtoe_cap_fin(struct vtoe_session *s)
{
	if (!test_bit(VTOE_CAP_FIN_WANTED, &s->cap) ||
	    READ_ONCE(s->tx_posted) != READ_ONCE(s->tx_queued) ||
	    test_bit(VTOE_CAP_FIN_OUT, &s->cap))
		return;
	vtoe_cap_show(s, vtoe_cap_out(s, VTOE_CAP_F_FIN));
	set_bit(VTOE_CAP_FIN_OUT, &s->cap);
}

void vtoe_cap_command(struct vtoe_session *s, unsigned int bit)
{
	switch (bit) {
	case VTOE_SCMD_CONNECT:
		set_bit(VTOE_CAP_SYN, &s->cap);
		vtoe_cap_syn(s, true, false);
		break;
	case VTOE_SCMD_ACCEPT:
		set_bit(VTOE_CAP_SYN, &s->cap);
		vtoe_cap_syn(s, false, false);
		vtoe_cap_syn(s, true, true);
		break;
	case VTOE_SCMD_SHUTDOWN:
	case VTOE_SCMD_CLOSE:
		spin_lock(&s->pair->tx_lock);
		set_bit(VTOE_CAP_FIN_WANTED, &s->cap);
		vtoe_cap_fin(s);
		spin_unlock(&s->pair->tx_lock);
		break;
	case VTOE_SCMD_ABORT:
		spin_lock(&s->pair->tx_lock);
		if (!test_and_set_bit(VTOE_CAP_RST, &s->cap))
			vtoe_cap_show(s, vtoe_cap_out(s, VTOE_CAP_F_RST));
		spin_unlock(&s->pair->tx_lock);
		break;
	}
}

void vtoe_cap_sent(struct vtoe_session *s, const void *data, u32 len)
{
	struct vtoe_cap_seg seg;

	vtoe_cap_established(s);
	seg = vtoe_cap_out(s, VTOE_CAP_F_PSH);
	seg.data = data;
	seg.len = len;
	vtoe_cap_show(s, seg);
}

void vtoe_cap_posted(struct vtoe_session *s)
{
	vtoe_cap_fin(s);
}

void vtoe_cap_credit(struct vtoe_session *s)
{
	vtoe_cap_show(s, vtoe_cap_out(s, 0));
}

void vtoe_cap_received(struct vtoe_session *s)
{
	struct vtoe_cap_seg seg;
	const struct vtoe_buf *b;

	vtoe_cap_established(s);
	seg = vtoe_cap_in(s, VTOE_CAP_F_PSH);
	list_for_each_entry(b, &s->rx_batch, node) {
		seg.data = b->va + b->off;
		seg.len = b->len;
		vtoe_cap_show(s, seg);
		seg.seq += b->len;
	}
}

void vtoe_cap_acked(struct vtoe_session *s)
{
	vtoe_cap_show(s, vtoe_cap_in(s, 0));
}

void vtoe_cap_end(struct vtoe_session *s)
{
	vtoe_cap_established(s);
	if (test_bit(VTOE_CAP_FIN_IN, &s->cap))
		return;
	vtoe_cap_show(s, vtoe_cap_in(s, VTOE_CAP_F_FIN));
	set_bit(VTOE_CAP_FIN_IN, &s->cap);
	spin_lock(&s->pair->tx_lock);
	vtoe_cap_show(s, vtoe_cap_out(s, 0));
	spin_unlock(&s->pair->tx_lock);
}

void vtoe_cap_abort(struct vtoe_session *s)
{
	vtoe_cap_established(s);
	if (!test_and_set_bit(VTOE_CAP_RST, &s->cap))
		vtoe_cap_show(s, vtoe_cap_in(s, VTOE_CAP_F_RST));
}

void vtoe_cap_finish(struct vtoe_session *s)
{
	struct vtoe_cap_seg seg = vtoe_cap_in(s, VTOE_CAP_F_RST);

	if (s->end_event == VTOE_EVENT_DISCONNECTED &&
	    s->end_reason == VTOE_REASON_NONE) {
		/* Both ends were said: the last acknowledgement. */
		if (test_bit(VTOE_CAP_FIN_OUT, &s->cap))
			vtoe_cap_show(s, vtoe_cap_in(s, 0));
		return;
	}
	if (test_and_set_bit(VTOE_CAP_RST, &s->cap))
		return;
	/* Who refuses a SYN has no number of its own. */
	if (s->end_event != VTOE_EVENT_DISCONNECTED)
		seg.seq = 0;
	vtoe_cap_show(s, seg);
}

/* --- the device ----------------------------------------------------------- */

static int vtoe_cap_open(struct net_device *netdev)
{
	struct vtoe_cap *cap = netdev_priv(netdev);
#if IS_ENABLED(CONFIG_IPV6)
	struct inet6_dev *idev = __in6_dev_get(netdev);

	/* No addresses: nobody is there. */
	if (idev)
		idev->cnf.addr_gen_mode = IN6_ADDR_GEN_MODE_NONE;
#endif
	list_add_tail_rcu(&cap->node, &vtoe_caps);
	static_branch_inc(&vtoe_cap_key);
	return 0;
}

static int vtoe_cap_stop(struct net_device *netdev)
{
	struct vtoe_cap *cap = netdev_priv(netdev);

	static_branch_dec(&vtoe_cap_key);
	list_del_rcu(&cap->node);
	synchronize_net();
	return 0;
}

/* Who sends to it sends nowhere. */
static netdev_tx_t vtoe_cap_xmit(struct sk_buff *skb, struct net_device *netdev)
{
	struct vtoe_cap *cap = netdev_priv(netdev);

	atomic_long_inc(&cap->dropped[true]);
	kfree_skb(skb);
	return NETDEV_TX_OK;
}

static void vtoe_cap_stats(struct net_device *netdev,
			   struct rtnl_link_stats64 *st)
{
	struct vtoe_cap *cap = netdev_priv(netdev);

	st->tx_packets = atomic_long_read(&cap->packets[true]);
	st->rx_packets = atomic_long_read(&cap->packets[false]);
	st->tx_bytes = atomic_long_read(&cap->bytes[true]);
	st->rx_bytes = atomic_long_read(&cap->bytes[false]);
	st->tx_dropped = atomic_long_read(&cap->dropped[true]);
	st->rx_dropped = atomic_long_read(&cap->dropped[false]);
}

static const struct net_device_ops vtoe_cap_ops = {
	.ndo_open	 = vtoe_cap_open,
	.ndo_stop	 = vtoe_cap_stop,
	.ndo_start_xmit	 = vtoe_cap_xmit,
	.ndo_get_stats64 = vtoe_cap_stats,
};

static void vtoe_cap_setup(struct net_device *netdev)
{
	struct vtoe_cap *cap = netdev_priv(netdev);

	cap->netdev = netdev;
	netdev->netdev_ops = &vtoe_cap_ops;
	netdev->needs_free_netdev = true;
	/* A packet begins with its IP header. */
	netdev->type = ARPHRD_NONE;
	netdev->flags = IFF_NOARP;
	netdev->priv_flags |= IFF_NO_QUEUE;
	netdev->mtu = VTOE_CAP_MAX_MTU;
	netdev->min_mtu = VTOE_CAP_MIN_MTU;
	netdev->max_mtu = VTOE_CAP_MAX_MTU;
}

static struct rtnl_link_ops vtoe_cap_link_ops = {
	.kind		= "vtoecap",
	.priv_size	= sizeof(struct vtoe_cap),
	.setup		= vtoe_cap_setup,
};

int vtoe_cap_module_init(void)
{
	return rtnl_link_register(&vtoe_cap_link_ops);
}

void vtoe_cap_module_exit(void)
{
	rtnl_link_unregister(&vtoe_cap_link_ops);
}

MODULE_ALIAS_RTNL_LINK("vtoecap");
