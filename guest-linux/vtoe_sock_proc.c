// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What belongs to a network namespace: counters, net.vtoe.*, and two files.
 * /proc/net/vtoe shows the counters that are not zero and then each socket in
 * a line: mode, local and remote address, then NAME=VALUE words, to which
 * later versions may add.  /proc/net/vtoe_stat has all counters in the form of
 * /proc/net/netstat.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/ipv6.h>
#include <net/tcp.h>
#include "vtoe_sock.h"
#include "vtoe_sock_trace.h"

unsigned int vtoe_net_id __read_mostly;
EXPORT_SYMBOL_GPL(vtoe_net_id);

#define VTOE_STRING(n) #n,
static const char *const vtoe_reason_names[] = { VTOE_REASONS(VTOE_STRING) };
static const char *const vtoe_count_names[] = { VTOE_COUNTS(VTOE_STRING) };
static const char *const vtoe_reset_names[] = { VTOE_RESETS(VTOE_STRING) };

void vtoe_fallback_count(struct sock *sk, enum vtoe_fallback why)
{
	atomic_long_inc(&vtoe_net(sock_net(sk))->fallback[why]);
	trace_vtoe_fallback(sk, why);
}

/* Stream c of sk was reset by the peer, or by us. */
void vtoe_reset_count(struct sock *sk, const struct vtoe_conn *c,
		      bool received, u16 reason)
{
	struct vtoe_net *vn = vtoe_net(sock_net(sk));

	if (reason >= VTOE_R_MAX)
		reason = VTOE_R_protocol;
	if (received) {
		atomic_long_inc(&vn->reset_in[reason]);
		trace_vtoe_reset_in(sk, c, reason);
	} else {
		atomic_long_inc(&vn->reset_out[reason]);
		trace_vtoe_reset_out(sk, c, reason);
	}
}

/* --- /proc/net/vtoe ------------------------------------------------------- */

static void *vtoe_seq_start(struct seq_file *seq, loff_t *pos)
	__acquires(vn->lock)
{
	struct vtoe_net *vn = vtoe_net(seq_file_net(seq));

	spin_lock_bh(&vn->lock);
	return seq_list_start_head(&vn->socks, *pos);
}

static void *vtoe_seq_next(struct seq_file *seq, void *v, loff_t *pos)
{
	return seq_list_next(v, &vtoe_net(seq_file_net(seq))->socks,
			     pos);
}

static void vtoe_seq_stop(struct seq_file *seq, void *v)
	__releases(vn->lock)
{
	spin_unlock_bh(&vtoe_net(seq_file_net(seq))->lock);
}

static void vtoe_seq_addr(struct seq_file *seq, const struct sock *sk,
			  bool local)
{
	const struct inet_sock *inet = inet_sk(sk);
	__be16 port = local ? inet->inet_sport : inet->inet_dport;

#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		const struct in6_addr *a = local ? &sk->sk_v6_rcv_saddr :
					   &sk->sk_v6_daddr;

		seq_printf(seq, " [%pI6c]:%u", a, ntohs(port));
		return;
	}
#endif
	seq_printf(seq, " %pI4:%u", local ? &inet->inet_saddr :
		   &inet->inet_daddr, ntohs(port));
}

static const char *vtoe_mode_name(const struct vtoe_sock *vsk, u8 mode)
{
	switch (mode) {
	case VTOE_MODE_CONNECTING:
		return "connecting";
	case VTOE_MODE_STREAM:
		return "stream";
	case VTOE_MODE_LISTEN:
		return list_empty(&vsk->members) ? "listen-tcp" : "listen";
	case VTOE_MODE_TCP:
		return "tcp";
	default:
		return "new";
	}
}

/* The companion's sock, as long as it has one: it may be closed meanwhile. */
static const struct sock *vtoe_sock_tcp(const struct vtoe_sock *vsk)
{
	/* Pairs with vtoe_companion(). */
	const struct socket *tcp = smp_load_acquire(&vsk->tcp);

	return tcp ? READ_ONCE(tcp->sk) : NULL;
}

static void vtoe_look_stream(struct vtoe_sock_view *v,
			     const struct vtoe_conn *c)
{
	const struct vtoe_session *s = &c->s;
	u64 got = READ_ONCE(s->rx_offset);
	u64 limit = READ_ONCE(c->rx_limit);

	v->info.sid = READ_ONCE(s->sid);
	if (v->info.sid & ~VTOE_SID_PASSIVE)
		v->info.pair = vtoe_session_pair(s);
	v->txq = vtoe_tx_unacked(s);
	v->rxq = READ_ONCE(c->rx_bytes);
	v->info.unsent = vtoe_tx_unsent(s);
	v->info.credit = limit > got ? limit - got : 0;
	v->info.window = READ_ONCE(c->window);
	v->info.sent = READ_ONCE(s->tx_queued);
	v->info.acked = READ_ONCE(s->tx_acked);
	v->info.received = got;
}

static void vtoe_look_tcp(struct vtoe_sock_view *v, const struct sock *tsk)
{
	const struct tcp_sock *tp = tcp_sk(tsk);
	int rxq = READ_ONCE(tp->rcv_nxt) - READ_ONCE(tp->copied_seq);

	v->txq = READ_ONCE(tp->write_seq) - READ_ONCE(tp->snd_una);
	v->rxq = max(rxq, 0);
	v->info.unsent = READ_ONCE(tp->write_seq) - READ_ONCE(tp->snd_nxt);
}

/*
 * A socket as a listing shows it, at about this moment.  The lock of the list is
 * held, which keeps the sock, and is a reader of RCU.
 */
void vtoe_sock_look(const struct vtoe_sock *vsk, struct vtoe_sock_view *v)
{
	const struct sock *sk = &vsk->inet.sk;
	const struct sock *tsk = vtoe_sock_tcp(vsk);
	const struct vtoe_conn *c = READ_ONCE(vsk->conn);
	u8 mode = READ_ONCE(vsk->mode);
	bool by_tcp = mode == VTOE_MODE_TCP && tsk;

	memset(v, 0, sizeof(*v));
	v->names = by_tcp ? tsk : sk;
	v->state = inet_sk_state_load(v->names);
	v->listening = mode == VTOE_MODE_LISTEN;
	strscpy(v->info.mode, vtoe_mode_name(vsk, mode), sizeof(v->info.mode));
	strscpy(v->info.reason,
		vtoe_reason_names[by_tcp ? vsk->reason : VTOE_FB_none],
		sizeof(v->info.reason));
	if (by_tcp)
		vtoe_look_tcp(v, tsk);
	else if (c)
		vtoe_look_stream(v, c);
	if (v->listening) {
		v->queued = READ_ONCE(vsk->nqueued);
		if (tsk)
			v->queued += READ_ONCE(tsk->sk_ack_backlog);
		v->backlog = READ_ONCE(sk->sk_max_ack_backlog);
	}
}
EXPORT_SYMBOL_GPL(vtoe_sock_look);

static void vtoe_seq_sock(struct seq_file *seq, const struct vtoe_sock *vsk)
{
	const struct sock *sk = &vsk->inet.sk;
	struct vtoe_sock_view v;

	vtoe_sock_look(vsk, &v);
	seq_puts(seq, v.info.mode);
	vtoe_seq_addr(seq, v.names, true);
	vtoe_seq_addr(seq, v.names, false);
	seq_printf(seq, " state=%u sid=%#x pair=%u txq=%llu unsent=%llu rxq=%llu reason=%s",
		   v.state, v.info.sid, v.info.pair, v.txq, v.info.unsent,
		   v.rxq, v.info.reason);
	if (v.info.sid)
		seq_printf(seq, " credit=%llu window=%llu sent=%llu acked=%llu received=%llu",
			   v.info.credit, v.info.window, v.info.sent,
			   v.info.acked, v.info.received);
	if (v.listening)
		seq_printf(seq, " queued=%u backlog=%u", v.queued, v.backlog);
	seq_printf(seq, " family=%u sndbuf=%d rcvbuf=%d uid=%u inode=%lu\n",
		   sk->sk_family == AF_INET6 ? 6 : 4, READ_ONCE(sk->sk_sndbuf),
		   READ_ONCE(sk->sk_rcvbuf),
		   from_kuid_munged(seq_user_ns(seq), sk->sk_uid),
		   sock_i_ino((struct sock *)sk));
}

/* Groups of counters, as both files name them. */
struct vtoe_group {
	const char *name;		/* in /proc/net/vtoe */
	const char *mib;		/* in /proc/net/vtoe_stat */
	const char *const *names;
	size_t offset;			/* in struct vtoe_net */
	unsigned int first, n;
};

static const struct vtoe_group vtoe_groups[] = {
	{ "count", "Vtoe", vtoe_count_names,
	  offsetof(struct vtoe_net, count), 0, VTOE_C_MAX },
	{ "fallback", "VtoeFallback", vtoe_reason_names,
	  offsetof(struct vtoe_net, fallback), VTOE_FB_none + 1, VTOE_FB_MAX },
	{ "reset_in", "VtoeResetIn", vtoe_reset_names,
	  offsetof(struct vtoe_net, reset_in), 0, VTOE_R_MAX },
	{ "reset_out", "VtoeResetOut", vtoe_reset_names,
	  offsetof(struct vtoe_net, reset_out), 0, VTOE_R_MAX },
};

static long vtoe_group_value(const struct vtoe_net *vn,
			     const struct vtoe_group *g, unsigned int i)
{
	const atomic_long_t *v = (const void *)vn + g->offset;

	return atomic_long_read(&v[i]);
}

static int vtoe_seq_show(struct seq_file *seq, void *v)
{
	struct vtoe_net *vn = vtoe_net(seq_file_net(seq));
	const struct vtoe_group *g;
	unsigned int i;
	long n;

	if (v != &vn->socks) {
		vtoe_seq_sock(seq, list_entry(v, struct vtoe_sock, list));
		return 0;
	}
	for (g = vtoe_groups; g < vtoe_groups + ARRAY_SIZE(vtoe_groups); g++) {
		for (i = g->first; i < g->n; i++) {
			n = vtoe_group_value(vn, g, i);
			if (n)
				seq_printf(seq, "%s %s %ld\n", g->name,
					   g->names[i], n);
		}
	}
	return 0;
}

static int vtoe_stat_show(struct seq_file *seq, void *v)
{
	const struct vtoe_net *vn = vtoe_net(seq_file_single_net(seq));
	const struct vtoe_group *g;
	unsigned int i;

	for (g = vtoe_groups; g < vtoe_groups + ARRAY_SIZE(vtoe_groups); g++) {
		seq_printf(seq, "%s:", g->mib);
		for (i = g->first; i < g->n; i++)
			seq_printf(seq, " %s", g->names[i]);
		seq_printf(seq, "\n%s:", g->mib);
		for (i = g->first; i < g->n; i++)
			seq_printf(seq, " %ld", vtoe_group_value(vn, g, i));
		seq_putc(seq, '\n');
	}
	return 0;
}

static const struct seq_operations vtoe_seq_ops = {
	.start	= vtoe_seq_start,
	.next	= vtoe_seq_next,
	.stop	= vtoe_seq_stop,
	.show	= vtoe_seq_show,
};

/* --- sysctl --------------------------------------------------------------- */

#ifdef HAVE_CONST_CTL_TABLE
#define VTOE_CTL_CONST const
#else
#define VTOE_CTL_CONST
#endif

static int vtoe_sysctl_auto(VTOE_CTL_CONST struct ctl_table *table, int write,
			    void *buf, size_t *len, loff_t *pos)
{
	struct vtoe_net *vn = table->extra1;
	int val = READ_ONCE(vn->automatic);
	struct ctl_table t = {
		.data = &val,
		.maxlen = sizeof(val),
		.mode = table->mode,
		.extra1 = SYSCTL_ZERO,
		.extra2 = SYSCTL_ONE,
	};
	int err = proc_dointvec_minmax(&t, write, buf, len, pos);

	if (!err && write)
		err = vtoe_auto_set(vn, val);
	return err;
}

/* Listeners leave the NICs, or come to them. */
static int vtoe_sysctl_enable(VTOE_CTL_CONST struct ctl_table *table, int write,
			      void *buf, size_t *len, loff_t *pos)
{
	struct vtoe_net *vn = container_of((int *)table->data, struct vtoe_net,
					   enable);
	int err = proc_dointvec_minmax(table, write, buf, len, pos);

	if (!err && write)
		vtoe_listen_policy(vn->net);
	return err;
}

static int vtoe_one_hour = 3600;
static int vtoe_min_time = 10, vtoe_max_time = 60000;
static int vtoe_max_busy = 10000;
static int vtoe_min_mem = 4096, vtoe_max_mem = 256 * 1024 * 1024;

#define VTOE_FIELD_OFF(f)	((void *)offsetof(struct vtoe_net, f))
#define VTOE_CTL(n, f, lo, hi) \
	VTOE_CTL_BY(proc_dointvec_minmax, n, f, lo, hi)
#define VTOE_CTL_BY(handler, n, f, lo, hi)	\
	{					\
		.procname	= n,		\
		.data		= VTOE_FIELD_OFF(f), \
		.maxlen		= sizeof(int),	\
		.mode		= 0644,		\
		.proc_handler	= handler,	\
		.extra1		= lo,		\
		.extra2		= hi,		\
	}

static const struct ctl_table vtoe_table[] = {
	/* Offload at all? */
	VTOE_CTL_BY(vtoe_sysctl_enable, "enable", enable, SYSCTL_ZERO,
		    SYSCTL_ONE),
	/* ms for an offer, then TCP. */
	VTOE_CTL("connect_timeout", connect_timeout, &vtoe_min_time,
		 &vtoe_max_time),
	/* Seconds for which a peer without streams is remembered. */
	VTOE_CTL("cache_seconds", cache_seconds, SYSCTL_ZERO, &vtoe_one_hour),
	/* Bytes: SO_SNDBUF and SO_RCVBUF of new sockets. */
	VTOE_CTL("wmem", wmem, &vtoe_min_mem, &vtoe_max_mem),
	VTOE_CTL("rmem", rmem, &vtoe_min_mem, &vtoe_max_mem),
	/* us for which a reader polls before it sleeps, see vtoe_rx_busy_poll(). */
	VTOE_CTL("busy_read", busy_read, SYSCTL_ZERO, &vtoe_max_busy),
	/* 1: TCP sockets of this namespace's programs are ours. */
	{
		.procname	= "auto",
		.maxlen		= sizeof(int),
		.mode		= 0644,
		.proc_handler	= vtoe_sysctl_auto,
	},
};

static int vtoe_sysctl_add(struct vtoe_net *vn)
{
	const size_t n = ARRAY_SIZE(vtoe_table);
	struct ctl_table *t;
	size_t i;

	/* One more: kernels without a size want an end mark. */
	t = kcalloc(n + 1, sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	memcpy(t, vtoe_table, sizeof(vtoe_table));
	for (i = 0; i < n; i++) {
		if (t[i].proc_handler == vtoe_sysctl_auto)
			t[i].extra1 = vn;
		else
			t[i].data = (void *)vn + (unsigned long)t[i].data;
	}
#ifdef HAVE_NET_SYSCTL_SZ
	vn->sysctl = register_net_sysctl_sz(vn->net, "net/vtoe", t, n);
#else
	vn->sysctl = register_net_sysctl(vn->net, "net/vtoe", t);
#endif
	if (!vn->sysctl) {
		kfree(t);
		return -ENOMEM;
	}
	vn->table = t;
	return 0;
}

/* --- namespaces ----------------------------------------------------------- */

static int __net_init vtoe_net_start(struct net *net)
{
	struct vtoe_net *vn = vtoe_net(net);
	int err;

	vn->net = net;
	spin_lock_init(&vn->lock);
	INIT_LIST_HEAD(&vn->socks);
	vn->enable = 1;
	vn->connect_timeout = VTOE_CONNECT_TIMEOUT;
	vn->cache_seconds = 60;
	vn->busy_read = VTOE_BUSY_READ;
	vn->wmem = VTOE_WMEM_DEFAULT;
	vn->rmem = VTOE_RMEM_DEFAULT;
	err = vtoe_sysctl_add(vn);
	if (err)
		return err;
	err = -ENOMEM;
	if (!proc_create_net("vtoe", 0444, net->proc_net, &vtoe_seq_ops,
			     sizeof(struct seq_net_private)))
		goto err_sysctl;
	if (!proc_create_net_single("vtoe_stat", 0444, net->proc_net,
				    vtoe_stat_show, NULL))
		goto err_proc;
	err = vtoe_policy_start(vn);
	if (err)
		goto err_stat;
	return 0;

err_stat:
	remove_proc_entry("vtoe_stat", net->proc_net);
err_proc:
	remove_proc_entry("vtoe", net->proc_net);
err_sysctl:
	unregister_net_sysctl_table(vn->sysctl);
	kfree(vn->table);
	return err;
}

static void __net_exit vtoe_net_stop(struct net *net)
{
	struct vtoe_net *vn = vtoe_net(net);

	vtoe_auto_set(vn, 0);
	vtoe_policy_stop(vn);
	remove_proc_entry("vtoe_stat", net->proc_net);
	remove_proc_entry("vtoe", net->proc_net);
	unregister_net_sysctl_table(vn->sysctl);
	kfree(vn->table);
}

static struct pernet_operations vtoe_net_ops = {
	.init	= vtoe_net_start,
	.exit	= vtoe_net_stop,
	.id	= &vtoe_net_id,
	.size	= sizeof(struct vtoe_net),
};

int vtoe_net_init_module(void)
{
	return register_pernet_subsys(&vtoe_net_ops);
}

void vtoe_net_exit_module(void)
{
	unregister_pernet_subsys(&vtoe_net_ops);
}
