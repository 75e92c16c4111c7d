// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Module vtoe_diag: VTOE sockets by netlink (NETLINK_SOCK_DIAG), for programs
 * that list sockets by inet_diag.  The kernel loads it when it is asked for
 * protocol 261.
 *
 * Lists only: nothing finds one VTOE socket by its addresses.
 */
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <net/netlink.h>
#include "vtoe_diag.h"
#include "vtoe_sock.h"

static int vtoe_diag_fill(struct sk_buff *skb, struct netlink_callback *cb,
			  const struct inet_diag_req_v2 *req, struct sock *sk,
			  bool net_admin)
{
	struct vtoe_sock_view view;
	struct inet_diag_msg *r;
	struct nlmsghdr *nlh;

	vtoe_sock_look(vtoe_sk(sk), &view);
	nlh = nlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
			cb->nlh->nlmsg_type, sizeof(*r), NLM_F_MULTI);
	if (!nlh)
		return -EMSGSIZE;
	r = nlmsg_data(nlh);
	inet_diag_msg_common_fill(r, (struct sock *)view.names);
	r->idiag_state = view.state;
	r->idiag_timer = 0;
	r->idiag_retrans = 0;
	r->idiag_expires = 0;
	r->idiag_rqueue = view.listening ? view.queued : view.rxq;
	r->idiag_wqueue = view.listening ? view.backlog : view.txq;
	if (inet_diag_msg_attrs_fill(sk, skb, r, req->idiag_ext,
				     sk_user_ns(NETLINK_CB(cb->skb).sk),
				     net_admin) ||
	    nla_put_64bit(skb, INET_DIAG_INFO, sizeof(view.info), &view.info,
			  INET_DIAG_PAD)) {
		nlmsg_cancel(skb, nlh);
		return -EMSGSIZE;
	}
	nlmsg_end(skb, nlh);
	return 0;
}

static bool vtoe_diag_wanted(const struct inet_diag_req_v2 *req,
			     const struct nlattr *bc, struct sock *sk)
{
	struct vtoe_sock_view view;
	const struct inet_sock *inet;

	if (req->sdiag_family != AF_UNSPEC &&
	    req->sdiag_family != sk->sk_family)
		return false;
	vtoe_sock_look(vtoe_sk(sk), &view);
	inet = inet_sk(view.names);
	if (!(req->idiag_states & (1u << view.state)) ||
	    (req->id.idiag_sport && req->id.idiag_sport != inet->inet_sport) ||
	    (req->id.idiag_dport && req->id.idiag_dport != inet->inet_dport))
		return false;
	return inet_diag_bc_sk(bc, (struct sock *)view.names);
}

/* args[0]: how many were looked at. */
static void vtoe_diag_dump(struct sk_buff *skb, struct netlink_callback *cb,
			   const struct inet_diag_req_v2 *req)
{
	const struct inet_diag_dump_data *data = cb->data;
	bool net_admin = netlink_net_capable(cb->skb, CAP_NET_ADMIN);
	struct vtoe_net *vn = vtoe_net(sock_net(skb->sk));
	struct vtoe_sock *vsk;
	long n = 0;

	spin_lock_bh(&vn->lock);
	list_for_each_entry(vsk, &vn->socks, list) {
		struct sock *sk = &vsk->inet.sk;

		if (n >= cb->args[0] &&
		    vtoe_diag_wanted(req, data->inet_diag_nla_bc, sk) &&
		    vtoe_diag_fill(skb, cb, req, sk, net_admin))
			break;
		n++;
	}
	spin_unlock_bh(&vn->lock);
	cb->args[0] = n;
}

static int vtoe_diag_dump_one(struct netlink_callback *cb,
			      const struct inet_diag_req_v2 *req)
{
	return -EOPNOTSUPP;
}

/* Called by no way that leads here, but has to be there. */
static void vtoe_diag_get_info(struct sock *sk, struct inet_diag_msg *r,
			       void *info)
{
}

static const struct inet_diag_handler vtoe_diag_handler = {
#ifdef HAVE_INET_DIAG_OWNER
	.owner		 = THIS_MODULE,
#endif
	.dump		 = vtoe_diag_dump,
	.dump_one	 = vtoe_diag_dump_one,
	.idiag_get_info	 = vtoe_diag_get_info,
	.idiag_type	 = IPPROTO_VTOE,
	.idiag_info_size = sizeof(struct vtoe_diag_info),
};

static int __init vtoe_diag_init(void)
{
	return inet_diag_register(&vtoe_diag_handler);
}

static void __exit vtoe_diag_exit(void)
{
	inet_diag_unregister(&vtoe_diag_handler);
}

module_init(vtoe_diag_init);
module_exit(vtoe_diag_exit);

MODULE_DESCRIPTION("Lists VTOE sockets by netlink");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
/* AF_INET and the protocol, as numbers. */
MODULE_ALIAS_NET_PF_PROTO_TYPE(PF_NETLINK, NETLINK_SOCK_DIAG, 2-261);
