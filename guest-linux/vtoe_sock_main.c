// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Module vtoe_sock: registration of the protocol, creation of sockets, and the
 * devices that module vtoe offers on the auxiliary bus.
 *
 * The protocol has no inet_connection_sock and is none for the core
 * (protosw flags 0); nothing casts our sock to a tcp_sock, since sk_protocol
 * is 261.
 *
 * The module stays as long as a socket (prot->owner, ops->owner) or a
 * connection (vtoe_conn_new()) exists.
 */
#include <linux/poll.h>
#include <net/inet_common.h>
#include <net/ipv6.h>
#include <net/protocol.h>
#include <net/transp_v6.h>
#include "vtoe_sock.h"

LIST_HEAD(vtoe_sdevs);
DEFINE_MUTEX(vtoe_listen_mutex);
struct workqueue_struct *vtoe_wq;

/* --- sockets -------------------------------------------------------------- */

bool vtoe_is_ours(const struct sock *sk)
{
	return sk->sk_prot == &vtoe_prot || sk->sk_prot == &vtoe6_prot;
}

/* Everything after the inet_sock, for new and for cloned sockets. */
void vtoe_sock_fields_init(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	memset_startat(vsk, 0, mode);
	INIT_LIST_HEAD(&vsk->list);
	INIT_LIST_HEAD(&vsk->neigh_node);
	INIT_LIST_HEAD(&vsk->pending);
	INIT_LIST_HEAD(&vsk->ready);
	INIT_LIST_HEAD(&vsk->members);
	INIT_LIST_HEAD(&vsk->listen_node);
	spin_lock_init(&vsk->accept_lock);
	INIT_WORK(&vsk->fallback_work, vtoe_fallback_work);
	timer_setup(&sk->sk_timer, vtoe_sock_timer, 0);
	timer_setup(&vsk->alive_timer, vtoe_alive_timer, 0);
}

void vtoe_sock_list(struct sock *sk)
{
	struct vtoe_net *vn = vtoe_net(sock_net(sk));

	spin_lock_bh(&vn->lock);
	list_add_tail(&vtoe_sk(sk)->list, &vn->socks);
	spin_unlock_bh(&vn->lock);
}

void vtoe_sock_unlist(struct sock *sk)
{
	struct vtoe_net *vn = vtoe_net(sock_net(sk));

	spin_lock_bh(&vn->lock);
	list_del_init(&vtoe_sk(sk)->list);
	spin_unlock_bh(&vn->lock);
}

static int vtoe_init_sock(struct sock *sk)
{
	struct vtoe_net *vn = vtoe_net(sock_net(sk));

	vtoe_sock_fields_init(sk);
	/*
	 * The connection's lookups are by RCU and by reference; the listing
	 * and requests need the sock's memory for a grace period.
	 */
	sock_set_flag(sk, SOCK_RCU_FREE);
	sk->sk_write_space = vtoe_sock_write_space;
	vtoe_socket_flags(sk->sk_socket);
	WRITE_ONCE(sk->sk_sndbuf, READ_ONCE(vn->wmem));
	WRITE_ONCE(sk->sk_rcvbuf, READ_ONCE(vn->rmem));
	vtoe_count(sock_net(sk), sockets);
	vtoe_sock_list(sk);
	return 0;
}

/* Only when creation fails (sk_common_release()); vtoe_close() otherwise. */
static void vtoe_destroy_sock(struct sock *sk)
{
	vtoe_sock_unlist(sk);
}

static int vtoe_hash(struct sock *sk)
{
	return 0;
}

static void vtoe_unhash(struct sock *sk)
{
}

static int vtoe_bind(struct socket *sock, struct sockaddr *addr, int len)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int err;

	lock_sock(sk);
	err = vtoe_companion(sk);
	if (!err) {
		vtoe_companion_sync(sk);
		vtoe_companion_reuseport(sk);
		err = vsk->tcp->ops->bind(vsk->tcp, addr, len);
	}
	/* The address may have had a scope. */
	if (!err)
		WRITE_ONCE(sk->sk_bound_dev_if,
			   vsk->tcp->sk->sk_bound_dev_if);
	if (!err && vsk->mode == VTOE_MODE_INIT)
		vtoe_companion_names(sk);
	release_sock(sk);
	return err;
}

/* Also called for a plain TCP socket that vtoe_accept() made. */
static int vtoe_getname(struct socket *sock, struct sockaddr *addr, int peer)
{
	struct sock *sk = sock->sk;

	if (vtoe_is_ours(sk) && vtoe_delegated(vtoe_sk(sk))) {
		struct socket *tcp = vtoe_sk(sk)->tcp;

		return tcp->ops->getname(tcp, addr, peer);
	}
	return sk->sk_family == AF_INET6 ? inet6_getname(sock, addr, peer) :
	       inet_getname(sock, addr, peer);
}

static int vtoe_release(struct socket *sock)
{
	if (!sock->sk)
		return 0;
	return sock->sk->sk_family == AF_INET6 ? inet6_release(sock) :
	       inet_release(sock);
}

struct proto vtoe_prot = {
	.name		= "VTOE",
	.owner		= THIS_MODULE,
	.init		= vtoe_init_sock,
	.destroy	= vtoe_destroy_sock,
	.close		= vtoe_close,
	.hash		= vtoe_hash,
	.unhash		= vtoe_unhash,
	.keepalive	= vtoe_keepalive,
	.release_cb	= vtoe_sock_release_cb,
	.memory_allocated = &vtoe_mem_allocated,
	.per_cpu_fw_alloc = &vtoe_mem_fw_alloc,
	.sysctl_mem	= vtoe_mem_limits,
	.sysctl_wmem_offset = offsetof(struct net, ipv4.sysctl_tcp_wmem),
	.sysctl_rmem_offset = offsetof(struct net, ipv4.sysctl_tcp_rmem),
	.obj_size	= sizeof(struct vtoe_sock),
	.no_autobind	= true,
};

struct proto vtoe6_prot = {
	.name		= "VTOEv6",
	.owner		= THIS_MODULE,
	.init		= vtoe_init_sock,
	.destroy	= vtoe_destroy_sock,
	.close		= vtoe_close,
	.hash		= vtoe_hash,
	.unhash		= vtoe_unhash,
	.keepalive	= vtoe_keepalive,
	.release_cb	= vtoe_sock_release_cb,
	.memory_allocated = &vtoe_mem_allocated,
	.per_cpu_fw_alloc = &vtoe_mem_fw_alloc,
	.sysctl_mem	= vtoe_mem_limits,
	.sysctl_wmem_offset = offsetof(struct net, ipv4.sysctl_tcp_wmem),
	.sysctl_rmem_offset = offsetof(struct net, ipv4.sysctl_tcp_rmem),
	.obj_size	= sizeof(struct vtoe6_sock),
#ifdef HAVE_IPV6_PINFO_OFFSET
	.ipv6_pinfo_offset = offsetof(struct vtoe6_sock, inet6),
#endif
	.no_autobind	= true,
};

#ifdef CONFIG_COMPAT
#define VTOE_COMPAT_OPS	.compat_ioctl = vtoe_compat_ioctl,
#else
#define VTOE_COMPAT_OPS
#endif
#ifdef HAVE_PROTO_OPS_SENDPAGE
#define VTOE_SENDPAGE_OPS .sendpage = sock_no_sendpage,
#else
/* Kernels without that say when a splice has ended before its time. */
#define VTOE_SENDPAGE_OPS .splice_eof = vtoe_splice_eof,
#endif

#define VTOE_STREAM_OPS(fam)			\
	.family		= fam,			\
	.owner		= THIS_MODULE,		\
	.release	= vtoe_release,		\
	.bind		= vtoe_bind,		\
	.connect	= vtoe_connect,		\
	.socketpair	= sock_no_socketpair,	\
	.accept		= vtoe_accept,		\
	.getname	= vtoe_getname,		\
	.poll		= vtoe_poll,		\
	.ioctl		= vtoe_ioctl,		\
	VTOE_COMPAT_OPS				\
	.gettstamp	= sock_gettstamp,	\
	.listen		= vtoe_sock_listen,	\
	.shutdown	= vtoe_shutdown,	\
	.setsockopt	= vtoe_setsockopt,	\
	.getsockopt	= vtoe_getsockopt,	\
	.sendmsg	= vtoe_sendmsg,		\
	.recvmsg	= vtoe_recvmsg,		\
	.mmap		= sock_no_mmap,		\
	VTOE_SENDPAGE_OPS			\
	.set_rcvlowat	= vtoe_set_rcvlowat

static struct proto_ops vtoe_stream_ops __ro_after_init = {
	VTOE_STREAM_OPS(PF_INET)
};

static struct proto_ops vtoe6_stream_ops __ro_after_init = {
	VTOE_STREAM_OPS(PF_INET6)
};

static struct inet_protosw vtoe_protosw = {
	.type		= SOCK_STREAM,
	.protocol	= IPPROTO_VTOE,
	.prot		= &vtoe_prot,
	.ops		= &vtoe_stream_ops,
};

static struct inet_protosw vtoe6_protosw = {
	.type		= SOCK_STREAM,
	.protocol	= IPPROTO_VTOE,
	.prot		= &vtoe6_prot,
	.ops		= &vtoe6_stream_ops,
};

/* --- devices -------------------------------------------------------------- */

/* The VTOE device of a net_device, or NULL.  Call it under RCU. */
struct vtoe_sdev *vtoe_sdev_find(const struct net_device *netdev)
{
	struct vtoe_sdev *sd;

	list_for_each_entry_rcu(sd, &vtoe_sdevs, list)
		if (sd->netdev == netdev)
			return sd;
	return NULL;
}

static int vtoe_sdev_probe(struct auxiliary_device *adev,
			   const struct auxiliary_device_id *id)
{
	struct vtoe_adev *va = container_of(adev, struct vtoe_adev, adev);
	struct vtoe_sdev *sd;
	int err;

	sd = kzalloc(sizeof(*sd), GFP_KERNEL);
	if (!sd)
		return -ENOMEM;
	sd->dev = va->dev;
	sd->netdev = vtoe_dev_netdev(va->dev);
	xa_init_flags(&sd->listeners, XA_FLAGS_ALLOC1);
	sd->next_id = 1;
	err = vtoe_client_register(sd->dev, &vtoe_sock_client_ops, sd);
	if (err) {
		kfree(sd);
		return err;
	}
	auxiliary_set_drvdata(adev, sd);
	mutex_lock(&vtoe_listen_mutex);
	list_add_tail_rcu(&sd->list, &vtoe_sdevs);
	vtoe_listen_device(sd);
	mutex_unlock(&vtoe_listen_mutex);
	return 0;
}

static void vtoe_sdev_remove(struct auxiliary_device *adev)
{
	struct vtoe_sdev *sd = auxiliary_get_drvdata(adev);

	mutex_lock(&vtoe_listen_mutex);
	list_del_rcu(&sd->list);
	mutex_unlock(&vtoe_listen_mutex);
	/* No connect() finds the device any more. */
	synchronize_net();
	vtoe_client_unregister(sd->dev);
	mutex_lock(&vtoe_listen_mutex);
	vtoe_listen_device_gone(sd);
	mutex_unlock(&vtoe_listen_mutex);
	xa_destroy(&sd->listeners);
	kfree_rcu(sd, rcu);
}

/*
 * A NIC that leaves its namespace takes its streams and listeners along into
 * nowhere; in the new one it listens for who listens there.
 */
static int vtoe_netdev_event(struct notifier_block *nb, unsigned long event,
			     void *ptr)
{
	const struct net_device *netdev = netdev_notifier_info_to_dev(ptr);
	struct vtoe_sdev *sd;

	if (event != NETDEV_UNREGISTER && event != NETDEV_REGISTER)
		return NOTIFY_DONE;
	mutex_lock(&vtoe_listen_mutex);
	list_for_each_entry(sd, &vtoe_sdevs, list) {
		if (sd->netdev != netdev)
			continue;
		if (event == NETDEV_REGISTER) {
			vtoe_listen_device(sd);
		} else {
			vtoe_listen_device_leaves(sd);
			vtoe_dev_restart(sd->dev, "it leaves its namespace");
		}
	}
	mutex_unlock(&vtoe_listen_mutex);
	return NOTIFY_DONE;
}

static struct notifier_block vtoe_netdev_nb = {
	.notifier_call = vtoe_netdev_event,
};

static const struct auxiliary_device_id vtoe_aux_ids[] = {
	{ .name = "vtoe." VTOE_AUX_NAME },
	{ }
};
MODULE_DEVICE_TABLE(auxiliary, vtoe_aux_ids);

static struct auxiliary_driver vtoe_aux_driver = {
	.name		= "vtoe_sock",
	.probe		= vtoe_sdev_probe,
	.remove		= vtoe_sdev_remove,
	.id_table	= vtoe_aux_ids,
};

/* --- module --------------------------------------------------------------- */

static int __init vtoe_sock_init(void)
{
	int err;

	/* SO_PEEK_OFF: where TCP has it, as a fall-back must be able to. */
	if (inet_stream_ops.set_peek_off) {
		vtoe_stream_ops.set_peek_off = vtoe_set_peek_off;
		vtoe6_stream_ops.set_peek_off = vtoe_set_peek_off;
	}
	vtoe_conns_count(0);
	vtoe_wq = alloc_workqueue("vtoe_sock", WQ_UNBOUND, 0);
	if (!vtoe_wq)
		return -ENOMEM;
	err = vtoe_net_init_module();
	if (err)
		goto err_wq;
	err = vtoe_route_init();
	if (err)
		goto err_net;
	err = proto_register(&vtoe_prot, 1);
	if (err)
		goto err_route;
	err = proto_register(&vtoe6_prot, 1);
	if (err)
		goto err_prot;
	err = register_netdevice_notifier(&vtoe_netdev_nb);
	if (err)
		goto err_prot6;
	err = auxiliary_driver_register(&vtoe_aux_driver);
	if (err)
		goto err_notifier;
	inet_register_protosw(&vtoe_protosw);
	err = inet6_register_protosw(&vtoe6_protosw);
	if (err)
		goto err_sw;
	return 0;

err_sw:
	inet_unregister_protosw(&vtoe_protosw);
	auxiliary_driver_unregister(&vtoe_aux_driver);
err_notifier:
	unregister_netdevice_notifier(&vtoe_netdev_nb);
err_prot6:
	proto_unregister(&vtoe6_prot);
err_prot:
	proto_unregister(&vtoe_prot);
err_route:
	vtoe_route_exit();
err_net:
	vtoe_net_exit_module();
err_wq:
	destroy_workqueue(vtoe_wq);
	return err;
}

static void __exit vtoe_sock_exit(void)
{
	vtoe_auto_exit();
	inet6_unregister_protosw(&vtoe6_protosw);
	inet_unregister_protosw(&vtoe_protosw);
	auxiliary_driver_unregister(&vtoe_aux_driver);
	unregister_netdevice_notifier(&vtoe_netdev_nb);
	vtoe_route_exit();
	destroy_workqueue(vtoe_wq);
	/* Socks and listeners are freed, and put, after grace periods. */
	rcu_barrier();
	proto_unregister(&vtoe6_prot);
	proto_unregister(&vtoe_prot);
	vtoe_net_exit_module();
}

module_init(vtoe_sock_init);
module_exit(vtoe_sock_exit);

MODULE_DESCRIPTION("Stream sockets offloaded to VTOE network devices");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1");
/* Numbers, not names: they become text.  1 is SOCK_STREAM. */
MODULE_ALIAS_NET_PF_PROTO_TYPE(PF_INET, 261, 1);
MODULE_ALIAS_NET_PF_PROTO_TYPE(PF_INET6, 261, 1);
