/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Module vtoe_sock, inside: stream sockets of protocol IPPROTO_VTOE.
 *
 * A program makes socket(AF_INET or AF_INET6, SOCK_STREAM, IPPROTO_VTOE) and
 * uses it as a TCP socket.  Behind it are a *companion*, a TCP socket of the
 * kernel that owns the port and the options and takes over when offload is not
 * possible, and a *connection* (struct vtoe_conn), the stream on a VTOE NIC.
 *
 *	VTOE_MODE_INIT		fresh, or bound
 *	VTOE_MODE_CONNECTING	the NIC was, or will be, asked for a stream
 *	VTOE_MODE_STREAM	offloaded
 *	VTOE_MODE_LISTEN	companion listens, and the NIC if it can
 *	VTOE_MODE_TCP		every operation goes to the companion
 *
 *	INIT -> CONNECTING -> STREAM, or -> TCP (fall-back, not seen by the
 *	program), INIT -> TCP, INIT -> LISTEN.  Only connect(AF_UNSPEC) and
 *	shutdown() of a listener lead back to INIT.
 *
 * The companion's sock is grafted onto the wait queue of our socket, so that
 * it wakes whoever waits for ours; our file and our sock never change.  What
 * listen() accepts over TCP is a plain TCP socket from then on.
 *
 *	vtoe_sock_main.c	protocol registration, creation, devices
 *	vtoe_sock_conn.c	struct vtoe_conn: what the NIC reports
 *	vtoe_sock_connect.c	connect, disconnect, fall-back
 *	vtoe_sock_route.c	route, neighbour, negative cache
 *	vtoe_sock_policy.c	the policy; vtoe_policy.c: its language
 *	vtoe_sock_filter.c	netfilter and address translation
 *	vtoe_sock_listen.c	listen, requests, accept
 *	vtoe_sock_send.c	send
 *	vtoe_sock_recv.c	receive
 *	vtoe_sock_poll.c	poll, shutdown, close
 *	vtoe_sock_alive.c	keepalive, user timeout
 *	vtoe_sock_mem.c		memory control groups
 *	vtoe_sock_msg.c		control messages, the error queue
 *	vtoe_sock_opt.c		socket options, ioctl
 *	vtoe_sock_tcp.c		the companion
 *	vtoe_sock_proc.c	namespaces: sysctl, counters, /proc/net/vtoe
 *	vtoe_sock_auto.c	net.vtoe.auto
 *	vtoe_sock_trace.h	tracepoints
 *	vtoe_diag.c		inet_diag, a module of its own
 *
 * Locks, outermost first:
 *	vtoe_listen_mutex	listeners on devices
 *	lock_sock(ours)		mode, companion, everything not named below
 *	lock_sock(companion)
 *	slock (bh_lock_sock)	changes from softirq, if nobody owns the lock;
 *				else they wait for release_cb
 *	vsk->accept_lock	queues of a listener
 *	conn->lock		received data, conn->flags, conn->sk
 *	locks of module vtoe
 * Data arrive and acknowledgements are booked without the socket lock.
 */
#ifndef VTOE_SOCK_H
#define VTOE_SOCK_H

#include <linux/inet.h>
#include <linux/ipv6.h>
#include <linux/kprobes.h>
#include <linux/memcontrol.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/tcp.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/inet_sock.h>
#include <net/neighbour.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>
#include "vtoe_config.h"
#include "vtoe_dev.h"
#include "vtoe_diag.h"
#include "vtoe_policy.h"

#define IPPROTO_VTOE		261

#define VTOE_WMEM_DEFAULT	(2 * 1024 * 1024)	/* bytes sent, unacknowledged */
/* Memory for what was received; the window is half. */
#define VTOE_RMEM_DEFAULT	(4 * 1024 * 1024)
#define VTOE_WIN_INITIAL	(512 * 1024u)	/* first credit, at most */
#define VTOE_WIN_MIN		(16 * 1024u)	/* ... and at least */
/* What is queued may hold twice its bytes, and so much more, before it is joined. */
#define VTOE_RX_SPARE		(64 * 1024u)
/* All received data, and all to be sent: an eighth of memory each. */
#define VTOE_MEM_SHARE		8
/* A memory control group: bytes in which it is charged; ... */
#define VTOE_MEM_STEP		(32 * 1024u)
/* a window is that part of what it has left, or as much as that; ... */
#define VTOE_MEM_PART		64
#define VTOE_MEM_WINDOW		(128 * 1024u)
/* what a sender leaves; what it tries to get when there is less. */
#define VTOE_MEM_RESERVE	(128 * 1024u)
#define VTOE_MEM_RECLAIM	(512 * 1024u)
#define VTOE_CONNECT_TIMEOUT	1000		/* ms, then TCP */
#define VTOE_BUSY_READ		500		/* us of polling before sleep */
#define VTOE_BUSY_SCORE		8		/* vtoe_sock.quick, at most */
#define VTOE_CORK_TIMEOUT	(HZ / 5)

enum vtoe_mode {
	VTOE_MODE_INIT,
	VTOE_MODE_CONNECTING,
	VTOE_MODE_STREAM,
	VTOE_MODE_LISTEN,
	VTOE_MODE_TCP,
};

/* Why a connect() went to TCP; the names are those of /proc/net/vtoe. */
#define VTOE_REASONS(X) \
	X(none)			/* it did not */ \
	X(disabled)		/* net.vtoe.enable is 0 */ \
	X(other_device)		/* the route does not leave by a VTOE NIC */ \
	X(no_streams)		/* the NIC takes no streams */ \
	X(no_route) X(gateway) X(ipsec) X(bpf) X(scoped_address) \
	X(fastopen)		/* data with the SYN was asked for */ \
	X(option)		/* an option that only TCP has */ \
	X(policy)		/* /proc/net/vtoe_policy leaves it */ \
	X(nat)			/* addresses may be translated on the way */ \
	X(netfilter)		/* packets are filtered */ \
	X(cached)		/* the peer refused shortly before */ \
	X(neighbour)		/* the peer's MAC could not be resolved */ \
	X(no_port)		/* bind without a port was asked for */ \
	X(no_memory) X(no_sid) X(device_gone) X(timeout) X(refused_command) \
	X(no_peer) X(peer_no_streams) X(address_error) \
	X(link_down) X(unreachable) \
	X(no_listener) X(backlog) X(limit) X(rejected) \
	X(route_error) X(connect_error) X(connect_reset)

#define VTOE_REASON_ENUM(n) VTOE_FB_##n,
enum vtoe_fallback { VTOE_REASONS(VTOE_REASON_ENUM) VTOE_FB_MAX };

/* Other counters of a namespace. */
#define VTOE_COUNTS(X) \
	X(sockets) X(connect_tried) X(connect_offloaded) X(connect_tcp) \
	X(listen_offloaded) X(listen_tcp_only) X(listen_policy) \
	X(request) X(request_no_listener) X(request_backlog) \
	X(request_no_memory) X(request_gone) X(request_orphaned) \
	X(request_policy) X(request_nat) X(request_netfilter) \
	X(request_bpf) X(request_ipsec) X(request_address) \
	X(accept_offloaded) X(accept_tcp) \
	X(reset_received) X(reset_sent) X(closed_unread) X(lost)
#define VTOE_COUNT_ENUM(n) VTOE_C_##n,
enum vtoe_count { VTOE_COUNTS(VTOE_COUNT_ENUM) VTOE_C_MAX };

/*
 * Why streams were reset, by either end: enum vtoe_reason, by name.  What came
 * is reset_received in its parts; what went out also has connects that were
 * given up, and what nobody accepted.
 */
#define VTOE_RESETS(X) \
	X(none) X(no_peer) X(no_streams) X(link_down) X(link_lost) \
	X(no_listener) X(backlog) X(limit) X(timeout) X(reset) X(unread) \
	X(device_reset) X(protocol) X(policy) X(cancelled) X(host)
#define VTOE_RESET_ENUM(n) VTOE_R_##n,
enum vtoe_reset { VTOE_RESETS(VTOE_RESET_ENUM) VTOE_R_MAX };
static_assert((int)VTOE_R_MAX == (int)VTOE_REASON_MAX + 1);
static_assert((int)VTOE_R_unread == (int)VTOE_REASON_UNREAD);
static_assert((int)VTOE_R_host == (int)VTOE_REASON_HOST);

/* A network namespace. */
struct vtoe_net {
	struct net *net;
	atomic_long_t fallback[VTOE_FB_MAX];
	atomic_long_t count[VTOE_C_MAX];
	atomic_long_t reset_in[VTOE_R_MAX];
	atomic_long_t reset_out[VTOE_R_MAX];
	spinlock_t lock;			/* socks */
	struct list_head socks;			/* vtoe_sock.list */
	struct ctl_table_header *sysctl;
	struct ctl_table *table;
	int enable, automatic, connect_timeout, cache_seconds, wmem, rmem;
	int busy_read;
	struct vtoe_policy __rcu *policy;	/* NULL: offload all */
	char policy_error[VTOE_POLICY_ERROR_MAX];	/* the last refusal */
};

extern unsigned int vtoe_net_id;

static inline struct vtoe_net *vtoe_net(const struct net *net)
{
	return net_generic(net, vtoe_net_id);
}

#define vtoe_count(net, n) atomic_long_inc(&vtoe_net(net)->count[VTOE_C_##n])

/* A device of module vtoe. */
struct vtoe_sdev {
	struct list_head list;			/* vtoe_sdevs, RCU */
	struct rcu_head rcu;
	struct vtoe_dev *dev;
	struct net_device *netdev;
	struct xarray listeners;		/* id -> vtoe_lport, RCU */
	u32 next_id;
};

extern struct list_head vtoe_sdevs;		/* changed under the mutex */
extern struct mutex vtoe_listen_mutex;
extern struct workqueue_struct *vtoe_wq;

/* Bits of vtoe_conn.flags, set under conn->lock. */
enum {
	VTOE_CF_ESTABLISHED,
	VTOE_CF_END,			/* the peer sends no more */
	VTOE_CF_RESET,			/* ... and the stream was reset */
	VTOE_CF_OVER,			/* last call of the session */
	VTOE_CF_CLOSED,			/* nobody reads any more */
};

/* A stream. */
struct vtoe_conn {
	struct vtoe_session s;
	struct rcu_head rcu;
	spinlock_t lock;
	unsigned long flags;
	struct sock *sk;		/* our socket; NULL: none now */
	struct list_head rxq;		/* struct vtoe_buf */
	u32 rx_bytes, rx_truesize;	/* in rxq */
	u8 event;			/* the one that ended it */
	u16 reason;			/* VTOE_REASON_*, or command status */

	/* the reader's, under the socket lock */
	u64 rx_read;			/* bytes consumed */
	u64 rx_limit;			/* credit given */
	u64 rx_grow;			/* rx_read at which the window grows */
	u32 window;
	unsigned long rx_heard;		/* jiffies: last data; lock */
	ktime_t rx_stamp;		/* last data, if that is asked; lock */

	/* passive, until accept() */
	struct sock *listener;		/* held, or NULL */
	struct list_head accept_node;	/* lsk->pending or lsk->ready */
	u8 queued;			/* VTOE_CONN_*; lsk->accept_lock */
};
enum { VTOE_CONN_UNQUEUED, VTOE_CONN_PENDING, VTOE_CONN_READY };

struct vtoe_sock {
	struct inet_sock inet;		/* first */
	u8 mode;			/* enum vtoe_mode */
	u8 reason;			/* enum vtoe_fallback, in mode TCP */
	bool auto_bound;		/* the companion's port is our doing */
	u32 mark, priority;		/* that were copied to it */
	u32 zerocopy_first;		/* call that was not said to be done yet */
	bool tcp_options;		/* the companion has options set */
	bool force_tcp;			/* ... that only TCP can serve */
	bool failed;			/* the offer was refused, TCP is next */
	bool async_error;		/* sk_err: connect() in background */
	bool err_shown;			/* the companion's error is in sk_err */
	bool nodelay, cork, quickack;
	bool inq;			/* TCP_INQ */
	bool nospace;			/* somebody waits for room to send */
	/* Of the last waits for data, those that net.vtoe.busy_read covered. */
	u8 quick;
	u8 waiters;			/* in connect() */

	/* vtoe_sock_mem.c */
	bool mem_short;			/* nothing more until all is acked */
	u32 charged;			/* bytes */

	/* vtoe_sock_alive.c */
	bool alive_sent;		/* something, not heard since */
	u8 alive_probes;		/* of keepalive, not answered */
	u32 user_timeout;		/* ms; 0: none */
	unsigned long alive_began;	/* jiffies: when that was sent */
	unsigned long alive_due;	/* jiffies: next step of keepalive */
	unsigned long alive_probed;	/* jiffies: its last probe */
	struct timer_list alive_timer;

	unsigned long seen;		/* conn->flags already acted upon */
	struct socket *tcp;		/* companion */
	struct vtoe_conn *conn;
	struct list_head list;		/* vtoe_net.socks */

	/* connect() */
	struct sockaddr_storage dest;
	int dest_len;
	struct vtoe_flow flow;
	struct vtoe_sdev *sdev;		/* compared, not followed */
	struct neighbour *neigh;	/* waited for */
	struct list_head neigh_node;	/* vtoe_neigh_waiters */
	struct work_struct fallback_work;

	/* listen() */
	spinlock_t accept_lock;
	struct list_head pending;	/* conns answered, not established */
	struct list_head ready;		/* conns for accept() */
	u32 nqueued;			/* both */
	bool listening;
	struct list_head members;	/* vtoe_member.mine; mutex */
	struct list_head listen_node;	/* vtoe_listeners; mutex */

	void (*tcp_error_report)(struct sock *sk);
};

struct vtoe6_sock {
	struct vtoe_sock vs;
	struct ipv6_pinfo inet6;	/* last */
};

static inline struct vtoe_sock *vtoe_sk(const struct sock *sk)
{
	return (struct vtoe_sock *)sk;
}

static inline bool vtoe_delegated(const struct vtoe_sock *vsk)
{
	/* Pairs with vtoe_go_tcp(): the companion is ready. */
	return smp_load_acquire(&vsk->mode) == VTOE_MODE_TCP;
}

/*
 * What the core has to know of the struct socket: sendmsg() takes io_uring's
 * zero-copy requests, and setsockopt() all levels (where kernels can do that;
 * 6.1 cannot).
 */
static inline void vtoe_socket_flags(struct socket *sock)
{
#ifdef SOCK_SUPPORT_ZC
	set_bit(SOCK_SUPPORT_ZC, &sock->flags);
#endif
#ifdef SOCK_CUSTOM_SOCKOPT
	set_bit(SOCK_CUSTOM_SOCKOPT, &sock->flags);
#endif
}

/* vtoe_sock_main.c */
extern struct proto vtoe_prot, vtoe6_prot;
bool vtoe_is_ours(const struct sock *sk);
void vtoe_sock_fields_init(struct sock *sk);
void vtoe_sock_list(struct sock *sk);
void vtoe_sock_unlist(struct sock *sk);
struct vtoe_sdev *vtoe_sdev_find(const struct net_device *netdev);
void vtoe_sock_write_space(struct sock *sk);

/* vtoe_sock_conn.c */
extern const struct vtoe_session_ops vtoe_conn_ops;
struct vtoe_conn *vtoe_conn_new(struct vtoe_dev *dev, const struct sock *sk,
				gfp_t gfp);
u32 vtoe_mem_share(void);
void vtoe_conns_count(int change);
static inline void vtoe_conn_put(struct vtoe_conn *c)
{
	vtoe_session_put(&c->s);
}
void vtoe_conn_attach(struct vtoe_conn *c, struct sock *sk);
void vtoe_conn_drop(struct vtoe_conn *c, struct sock *sk, int how, u16 reason);
enum { VTOE_DROP_CLOSE, VTOE_DROP_ABORT };
bool vtoe_conn_unread(struct vtoe_conn *c);
void vtoe_sock_update(struct sock *sk);
void vtoe_sock_poke(struct sock *sk);
void vtoe_sock_release_cb(struct sock *sk);
static inline bool vtoe_sock_stale(const struct vtoe_sock *vsk)
{
	return vsk->conn && READ_ONCE(vsk->conn->flags) != vsk->seen;
}

void vtoe_sock_lost(struct sock *sk);
bool vtoe_conn_readable(const struct vtoe_conn *c, const struct sock *sk);

/* vtoe_sock_connect.c */
int vtoe_connect(struct socket *sock, struct sockaddr *addr, int len,
		 int flags);
void vtoe_connect_failed(struct sock *sk, enum vtoe_fallback why);
void vtoe_connect_step(struct sock *sk);
void vtoe_connect_cancel(struct sock *sk);
int vtoe_wait_connect(struct sock *sk, long *timeo);
int vtoe_disconnect(struct sock *sk, int flags);
void vtoe_flow_names(struct sock *sk, const struct vtoe_flow *f);
void vtoe_fallback_work(struct work_struct *work);
void vtoe_sock_timer(struct timer_list *t);
enum vtoe_fallback vtoe_fallback_of(u8 event, u16 reason);

/* vtoe_sock_route.c */
enum vtoe_fallback vtoe_route(struct sock *sk, const struct sockaddr *addr,
			      int len, struct neighbour **neigh);
bool vtoe_neigh_mac(struct neighbour *n, u8 mac[ETH_ALEN]);
void vtoe_neigh_wait(struct vtoe_sock *vsk, struct neighbour *n);
void vtoe_neigh_unwait(struct vtoe_sock *vsk);
bool vtoe_cache_refuses(const struct net *net, const struct vtoe_flow *flow);
void vtoe_cache_add(const struct net *net, const struct vtoe_flow *flow,
		    enum vtoe_fallback why);
void vtoe_cache_drop(const struct net *net, const struct vtoe_flow *flow);
void vtoe_cache_flush(void);
int vtoe_route_init(void);
void vtoe_route_exit(void);

/* vtoe_sock_policy.c */
struct vtoe_policy;
enum vtoe_policy_verdict vtoe_policy_ask(const struct net *net, u32 dir,
					 const struct vtoe_flow *f);
bool vtoe_policy_listens(const struct net *net, u8 family, const u8 *addr,
			 u16 port);
int vtoe_policy_start(struct vtoe_net *vn);
void vtoe_policy_stop(struct vtoe_net *vn);

/* vtoe_sock_filter.c */
enum vtoe_fallback vtoe_filter(const struct net_device *netdev, u8 family,
			       bool leaving);
bool vtoe_filter_packets(struct sock *sk);
bool vtoe_filter_ipsec(const struct net *net);

/* vtoe_sock_listen.c */
void vtoe_listen_policy(struct net *net);
void vtoe_listen_tcp_only(struct sock *sk);
int vtoe_sock_listen(struct socket *sock, int backlog);
#ifdef HAVE_PROTO_ACCEPT_ARG
int vtoe_accept(struct socket *sock, struct socket *newsock,
		struct proto_accept_arg *arg);
#else
int vtoe_accept(struct socket *sock, struct socket *newsock, int flags,
		bool kern);
#endif
void vtoe_listen_stop(struct sock *sk);
void vtoe_listen_device(struct vtoe_sdev *sd);
void vtoe_listen_device_gone(struct vtoe_sdev *sd);
void vtoe_listen_device_leaves(struct vtoe_sdev *sd);
void vtoe_listen_conn_ready(struct vtoe_conn *c);
void vtoe_listen_conn_over(struct vtoe_conn *c);
void vtoe_listen_forget(struct vtoe_conn *c);
extern const struct vtoe_client_ops vtoe_sock_client_ops;

/* vtoe_sock_send.c */
int vtoe_sendmsg(struct socket *sock, struct msghdr *msg, size_t len);
void vtoe_splice_eof(struct socket *sock);
bool vtoe_tx_writable(const struct sock *sk);

/* vtoe_sock_recv.c */
int vtoe_recvmsg(struct socket *sock, struct msghdr *msg, size_t len,
		 int flags);
int vtoe_set_rcvlowat(struct sock *sk, int val);

/* vtoe_sock_poll.c */
__poll_t vtoe_poll(struct file *file, struct socket *sock, poll_table *wait);
int vtoe_shutdown(struct socket *sock, int how);
void vtoe_close(struct sock *sk, long timeout);

/* vtoe_sock_alive.c */
void vtoe_alive_timer(struct timer_list *t);
void vtoe_alive_start(struct sock *sk, bool keep);
void vtoe_alive_sent(struct sock *sk);

/* vtoe_sock_mem.c */
extern atomic_long_t vtoe_mem_allocated;
DECLARE_PER_CPU(int, vtoe_mem_fw_alloc);
extern long vtoe_mem_limits[3];
void vtoe_mem_update(struct sock *sk);
u32 vtoe_mem_send(struct sock *sk, u32 len);
void vtoe_mem_release(struct sock *sk);
void vtoe_mem_accept(struct sock *sk, const struct sock *lsk);
u32 vtoe_mem_window(const struct sock *sk, u32 least);
/* Does a group pay for this socket? */
static inline bool vtoe_mem_counts(const struct sock *sk)
{
#ifdef CONFIG_MEMCG
	return mem_cgroup_sockets_enabled && sk->sk_memcg;
#else
	return false;
#endif
}
/* Bytes that its stream holds. */
static inline u32 vtoe_mem_held(const struct sock *sk)
{
	const struct vtoe_conn *c = READ_ONCE(vtoe_sk(sk)->conn);

	return c ? READ_ONCE(c->rx_truesize) + vtoe_tx_unacked(&c->s) : 0;
}
/* Is it time to book that? */
static inline bool vtoe_mem_due(const struct sock *sk)
{
	return vtoe_mem_counts(sk) &&
	       abs((int)(vtoe_mem_held(sk) - vtoe_sk(sk)->charged)) >=
	       (int)VTOE_MEM_STEP;
}

/* vtoe_sock_msg.c */
void vtoe_recv_cmsgs(struct sock *sk, struct msghdr *msg, bool bytes);
int vtoe_recv_error(struct sock *sk, struct msghdr *msg, size_t len);
void vtoe_zerocopy_done(struct sock *sk);

/* vtoe_sock_opt.c */
int vtoe_setsockopt(struct socket *sock, int level, int name, sockptr_t val,
		    unsigned int len);
int vtoe_getsockopt(struct socket *sock, int level, int name,
		    char __user *val, int __user *len);
int vtoe_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg);
#ifdef CONFIG_COMPAT
int vtoe_compat_ioctl(struct socket *sock, unsigned int cmd,
		      unsigned long arg);
#endif
int vtoe_set_peek_off(struct sock *sk, int val);
void vtoe_keepalive(struct sock *sk, int val);

/* vtoe_sock_tcp.c */
int vtoe_companion(struct sock *sk);
void vtoe_companion_release(struct sock *sk);
void vtoe_companion_unhook(struct vtoe_sock *vsk);
void vtoe_companion_sync(struct sock *sk);
void vtoe_companion_reuseport(struct sock *sk);
bool vtoe_companion_reuseport_prog(const struct vtoe_sock *vsk);
void vtoe_companion_inherit(struct sock *sk, const struct vtoe_sock *listener);
void vtoe_companion_unbind(struct vtoe_sock *vsk);
void vtoe_companion_names(struct sock *sk);
void vtoe_tcp_settle(struct sock *sk);
void vtoe_tcp_prepare(struct sock *sk);
void vtoe_go_tcp(struct sock *sk, enum vtoe_fallback why);
void vtoe_err_before(struct vtoe_sock *vsk);
void vtoe_err_after(struct vtoe_sock *vsk);

/* vtoe_sock_proc.c */
/* A socket as listings show it. */
struct vtoe_sock_view {
	const struct sock *names;	/* it, or its companion: addresses */
	u8 state;			/* of TCP */
	bool listening;
	u32 queued, backlog;		/* then: connections */
	u64 txq, rxq;			/* bytes */
	struct vtoe_diag_info info;
};
void vtoe_sock_look(const struct vtoe_sock *vsk, struct vtoe_sock_view *v);
int vtoe_net_init_module(void);
void vtoe_net_exit_module(void);
void vtoe_fallback_count(struct sock *sk, enum vtoe_fallback why);
void vtoe_reset_count(struct sock *sk, const struct vtoe_conn *c,
		      bool received, u16 reason);

/* vtoe_sock_auto.c */
int vtoe_auto_set(struct vtoe_net *vn, int val);
void vtoe_auto_exit(void);

#endif /* VTOE_SOCK_H */
