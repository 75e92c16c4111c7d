// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What belongs to a network namespace: counters, net.vtoe.*, and
 * /proc/net/vtoe, which shows the counters that are not zero and then each
 * socket with its mode.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/ipv6.h>
#include "vtoe_sock.h"

unsigned int vtoe_net_id __read_mostly;

#define VTOE_STRING(n) #n,
static const char *const vtoe_reason_names[] = { VTOE_REASONS(VTOE_STRING) };
static const char *const vtoe_count_names[] = { VTOE_COUNTS(VTOE_STRING) };

void vtoe_fallback_count(struct sock *sk, enum vtoe_fallback why)
{
	atomic_long_inc(&vtoe_net(sock_net(sk))->fallback[why]);
}

/* --- /proc/net/vtoe ------------------------------------------------------- */

static void *vtoe_seq_start(struct seq_file *seq, loff_t *pos)
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

static const char *vtoe_seq_mode(const struct vtoe_sock *vsk)
{
	switch (READ_ONCE(vsk->mode)) {
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

static void vtoe_seq_sock(struct seq_file *seq, const struct vtoe_sock *vsk)
{
	const struct sock *sk = &vsk->inet.sk;
	u8 mode = READ_ONCE(vsk->mode);
	const struct vtoe_conn *c;
	const struct sock *names = sk;
	const struct socket *tcp = smp_load_acquire(&vsk->tcp);
	u32 txq = 0, unsent = 0, rxq = 0, sid = 0, pair = 0;

	if (mode == VTOE_MODE_TCP && tcp)
		names = tcp->sk;
	seq_printf(seq, "%s", vtoe_seq_mode(vsk));
	vtoe_seq_addr(seq, names, true);
	vtoe_seq_addr(seq, names, false);
	rcu_read_lock();
	c = READ_ONCE(vsk->conn);
	if (c) {
		sid = c->s.sid;
		pair = (sid & 0x7fffffff) ? vtoe_session_pair(&c->s) : 0;
		txq = vtoe_tx_unacked(&c->s);
		unsent = vtoe_tx_unsent(&c->s);
		rxq = READ_ONCE(c->rx_bytes);
	}
	rcu_read_unlock();
	seq_printf(seq, " state=%u sid=%#x pair=%u txq=%u unsent=%u rxq=%u reason=%s",
		   inet_sk_state_load(names), sid, pair, txq, unsent, rxq,
		   mode == VTOE_MODE_TCP ? vtoe_reason_names[vsk->reason] :
		   "none");
	if (mode == VTOE_MODE_LISTEN)
		seq_printf(seq, " queued=%u", READ_ONCE(vsk->nqueued));
	seq_putc(seq, '\n');
}

static int vtoe_seq_show(struct seq_file *seq, void *v)
{
	struct vtoe_net *vn = vtoe_net(seq_file_net(seq));
	unsigned int i;
	long n;

	if (v != &vn->socks) {
		vtoe_seq_sock(seq, list_entry(v, struct vtoe_sock, list));
		return 0;
	}
	for (i = 0; i < VTOE_C_MAX; i++) {
		n = atomic_long_read(&vn->count[i]);
		if (n)
			seq_printf(seq, "count %s %ld\n", vtoe_count_names[i],
				   n);
	}
	for (i = 1; i < VTOE_FB_MAX; i++) {
		n = atomic_long_read(&vn->fallback[i]);
		if (n)
			seq_printf(seq, "fallback %s %ld\n",
				   vtoe_reason_names[i], n);
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
#define VTOE_CTL_TABLE const struct ctl_table
#else
#define VTOE_CTL_TABLE struct ctl_table
#endif

static int vtoe_sysctl_auto(VTOE_CTL_TABLE *table, int write, void *buf,
			    size_t *len, loff_t *pos)
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

static int vtoe_one_hour = 3600;
static int vtoe_min_time = 10, vtoe_max_time = 60000;
static int vtoe_max_busy = 10000;
static int vtoe_min_mem = 4096, vtoe_max_mem = 256 * 1024 * 1024;

#define VTOE_FIELD_OFF(f)	((void *)offsetof(struct vtoe_net, f))
#define VTOE_CTL(n, f, lo, hi)			\
	{					\
		.procname	= n,		\
		.data		= VTOE_FIELD_OFF(f), \
		.maxlen		= sizeof(int),	\
		.mode		= 0644,		\
		.proc_handler	= proc_dointvec_minmax, \
		.extra1		= lo,		\
		.extra2		= hi,		\
	}

static const struct ctl_table vtoe_table[] = {
	/* Offload at all? */
	VTOE_CTL("enable", enable, SYSCTL_ZERO, SYSCTL_ONE),
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
	if (!proc_create_net("vtoe", 0444, net->proc_net, &vtoe_seq_ops,
			     sizeof(struct seq_net_private)))
		goto err_sysctl;
	err = vtoe_policy_start(vn);
	if (err)
		goto err_proc;
	return 0;

err_proc:
	remove_proc_entry("vtoe", net->proc_net);
err_sysctl:
	unregister_net_sysctl_table(vn->sysctl);
	kfree(vn->table);
	return -ENOMEM;
}

static void __net_exit vtoe_net_stop(struct net *net)
{
	struct vtoe_net *vn = vtoe_net(net);

	vtoe_auto_set(vn, 0);
	vtoe_policy_stop(vn);
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
