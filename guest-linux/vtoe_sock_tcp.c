// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The companion: a TCP socket of the kernel beside each of ours.
 *
 * It is made when it is first needed, in the context of the program (so that
 * it belongs to its control group and its security label is the program's),
 * and grafted onto our wait queue.  It holds the port, the options below
 * SOL_SOCKET, ordinary listening, and after a fall-back the connection.
 *
 * SOL_SOCKET options are kept by the core in our sock; vtoe_companion_sync()
 * copies what TCP looks at whenever the companion is about to be used.
 *
 * Errors: the core reads SO_ERROR from our sock.  After a fall-back the
 * companion's error is shown there, too (err_shown), and whoever takes it from
 * one of the two takes it from both: vtoe_err_before() and _after() around each
 * operation.
 */
#include <net/sock_reuseport.h>
#include <net/tcp.h>
#include <net/transp_v6.h>
#include "vtoe_sock.h"

static struct lock_class_key vtoe_companion_key, vtoe_companion_slock_key;

/*
 * Shares our wait queue, file and inode number with the companion: who waits,
 * the owner for signals and firewalls, the line in a listing.  The companion's
 * sock stays with its own struct socket, since TCP connects (Fast Open) and kTLS
 * replaces operations through that pointer.
 */
static void vtoe_graft(struct sock *sk, struct socket *tcp)
{
	struct socket *sock = sk->sk_socket;
	struct sock *tsk = tcp->sk;

	write_lock_bh(&tsk->sk_callback_lock);
	rcu_assign_pointer(tsk->sk_wq, &sock->wq);
	/* Who gets SIGIO is in the wait queue: perhaps nobody. */
	sock_set_flag(tsk, SOCK_FASYNC);
	tcp->file = sock->file;
	write_unlock_bh(&tsk->sk_callback_lock);
	SOCK_INODE(tcp)->i_ino = SOCK_INODE(sock)->i_ino;
	SOCK_INODE(tcp)->i_uid = SOCK_INODE(sock)->i_uid;
	SOCK_INODE(tcp)->i_gid = SOCK_INODE(sock)->i_gid;
}

/* Makes the companion if there is none.  lock_sock() is held. */
int vtoe_companion(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct socket *tcp;
	int err;

	if (vsk->tcp)
		return 0;
	/* kern = 0: it holds its namespace, as TCP's timers need. */
	err = __sock_create(sock_net(sk), sk->sk_family, SOCK_STREAM,
			    IPPROTO_TCP, &tcp, 0);
	if (err)
		return err;
	/* It is locked inside ours. */
	sock_lock_init_class_and_name(tcp->sk, "slock-VTOE-companion",
				      &vtoe_companion_slock_key,
				      "sk_lock-VTOE-companion",
				      &vtoe_companion_key);
	vtoe_graft(sk, tcp);
	tcp->sk->sk_uid = sk->sk_uid;
	/* For the listing, which takes no lock of ours. */
	smp_store_release(&vsk->tcp, tcp);
	vtoe_companion_sync(sk);
	return 0;
}

/* The companion reports errors as any TCP socket; its children inherit that. */
void vtoe_companion_unhook(struct vtoe_sock *vsk)
{
	struct sock *tsk = vsk->tcp->sk;

	if (!vsk->tcp_error_report)
		return;
	write_lock_bh(&tsk->sk_callback_lock);
	tsk->sk_user_data = NULL;
	tsk->sk_error_report = vsk->tcp_error_report;
	write_unlock_bh(&tsk->sk_callback_lock);
	vsk->tcp_error_report = NULL;
	vsk->err_shown = false;
}

void vtoe_companion_release(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct socket *tcp = vsk->tcp;

	if (!tcp)
		return;
	lock_sock(tcp->sk);
	vtoe_companion_unhook(vsk);
	vsk->tcp = NULL;
	tcp->sk->sk_lingertime = sk->sk_lingertime;
	sock_valbool_flag(tcp->sk, SOCK_LINGER, sock_flag(sk, SOCK_LINGER));
	release_sock(tcp->sk);
	/* It is ours; without one sock_release() frees the socket as well. */
	write_lock_bh(&tcp->sk->sk_callback_lock);
	tcp->file = NULL;
	write_unlock_bh(&tcp->sk->sk_callback_lock);
	sock_release(tcp);
}

/* Sets an option of SOL_SOCKET whose effect is more than a word in the sock. */
static void vtoe_companion_set(struct vtoe_sock *vsk, int name,
			       unsigned long val, unsigned int len)
{
	int v = val;

	sock_setsockopt(vsk->tcp, SOL_SOCKET, name, len == sizeof(val) ?
			KERNEL_SOCKPTR(&val) : KERNEL_SOCKPTR(&v), len);
}

/* Flags of the sock that TCP looks at while it is in use. */
#define VTOE_STAMP_FLAGS	(BIT(SOCK_RCVTSTAMP) | BIT(SOCK_RCVTSTAMPNS) | \
				 BIT(SOCK_TSTAMP_NEW))
#define VTOE_OTHER_FLAGS	(BIT(SOCK_URGINLINE) | \
				 BIT(SOCK_SELECT_ERR_QUEUE))

/* Options that are rarely set, and at any time. */
static void vtoe_companion_sync_rare(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk = vsk->tcp->sk;
	unsigned long differ = sk->sk_flags ^ tsk->sk_flags;
	bool new = sock_flag(sk, SOCK_TSTAMP_NEW);

	if (differ & VTOE_OTHER_FLAGS) {
		lock_sock(tsk);
		sock_valbool_flag(tsk, SOCK_URGINLINE,
				  sock_flag(sk, SOCK_URGINLINE));
		sock_valbool_flag(tsk, SOCK_SELECT_ERR_QUEUE,
				  sock_flag(sk, SOCK_SELECT_ERR_QUEUE));
		release_sock(tsk);
	}
	if (differ & VTOE_STAMP_FLAGS)
		vtoe_companion_set(vsk, sock_flag(sk, SOCK_RCVTSTAMPNS) ?
				   new ? SO_TIMESTAMPNS_NEW :
					 SO_TIMESTAMPNS_OLD :
				   new ? SO_TIMESTAMP_NEW : SO_TIMESTAMP_OLD,
				   sock_flag(sk, SOCK_RCVTSTAMP), sizeof(int));
	if (READ_ONCE(sk->sk_tsflags) != READ_ONCE(tsk->sk_tsflags))
		vtoe_companion_set(vsk, new ? SO_TIMESTAMPING_NEW :
				   SO_TIMESTAMPING_OLD,
				   READ_ONCE(sk->sk_tsflags), sizeof(int));
	if (READ_ONCE(sk->sk_max_pacing_rate) !=
	    READ_ONCE(tsk->sk_max_pacing_rate))
		vtoe_companion_set(vsk, SO_MAX_PACING_RATE,
				   READ_ONCE(sk->sk_max_pacing_rate),
				   sizeof(unsigned long));
}

/*
 * What the program has set since the last time: the companion may have got others
 * by IP_TOS, or by a program of BPF.
 */
static void vtoe_companion_sync_mark(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk = vsk->tcp->sk;
	u32 mark = READ_ONCE(sk->sk_mark);
	u32 priority = READ_ONCE(sk->sk_priority);

	lock_sock(tsk);
	if (mark != vsk->mark) {
		WRITE_ONCE(vsk->mark, mark);
		WRITE_ONCE(tsk->sk_mark, mark);
		sk_dst_reset(tsk);
	}
	if (priority != vsk->priority) {
		WRITE_ONCE(vsk->priority, priority);
		WRITE_ONCE(tsk->sk_priority, priority);
	}
	release_sock(tsk);
}

/*
 * Copies the SOL_SOCKET options that matter to TCP.  Once the companion is in
 * use, its flags have another writer, and are changed under its lock.
 */
void vtoe_companion_sync(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk = vsk->tcp->sk;
	u8 locks = sk->sk_userlocks & (SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);

	tsk->sk_rcvtimeo = sk->sk_rcvtimeo;
	tsk->sk_sndtimeo = sk->sk_sndtimeo;
	if (unlikely((sk->sk_flags ^ tsk->sk_flags) &
		     (VTOE_STAMP_FLAGS | VTOE_OTHER_FLAGS) ||
		     READ_ONCE(sk->sk_tsflags) != READ_ONCE(tsk->sk_tsflags) ||
		     READ_ONCE(sk->sk_max_pacing_rate) !=
		     READ_ONCE(tsk->sk_max_pacing_rate)))
		vtoe_companion_sync_rare(sk);
	if (unlikely(locks)) {
		if (locks & SOCK_SNDBUF_LOCK && tsk->sk_sndbuf != sk->sk_sndbuf)
			WRITE_ONCE(tsk->sk_sndbuf, sk->sk_sndbuf);
		if (locks & SOCK_RCVBUF_LOCK && tsk->sk_rcvbuf != sk->sk_rcvbuf)
			WRITE_ONCE(tsk->sk_rcvbuf, sk->sk_rcvbuf);
		tsk->sk_userlocks |= locks;
	}
	if (unlikely(READ_ONCE(sk->sk_mark) != READ_ONCE(vsk->mark) ||
		     READ_ONCE(sk->sk_priority) != READ_ONCE(vsk->priority)))
		vtoe_companion_sync_mark(sk);
	if (vsk->mode == VTOE_MODE_TCP)
		return;
	/* What has to be set before connecting or listening. */
	if (unlikely(READ_ONCE(sk->sk_rcvlowat) != READ_ONCE(tsk->sk_rcvlowat)))
		vtoe_companion_set(vsk, SO_RCVLOWAT, READ_ONCE(sk->sk_rcvlowat),
				   sizeof(int));
	WRITE_ONCE(tsk->sk_peek_off, READ_ONCE(sk->sk_peek_off));
	if (unlikely(READ_ONCE(sk->sk_incoming_cpu) >= 0 &&
		     READ_ONCE(sk->sk_incoming_cpu) !=
		     READ_ONCE(tsk->sk_incoming_cpu)))
		vtoe_companion_set(vsk, SO_INCOMING_CPU,
				   READ_ONCE(sk->sk_incoming_cpu), sizeof(int));
	tsk->sk_reuse = sk->sk_reuse;
	tsk->sk_reuseport = sk->sk_reuseport;
	tsk->sk_bound_dev_if = sk->sk_bound_dev_if;
	/* A listener's children have it, too. */
	tsk->sk_lingertime = sk->sk_lingertime;
	sock_valbool_flag(tsk, SOCK_LINGER, sock_flag(sk, SOCK_LINGER));
	sock_valbool_flag(tsk, SOCK_KEEPOPEN, sock_flag(sk, SOCK_KEEPOPEN));
	sock_valbool_flag(tsk, SOCK_URGINLINE, sock_flag(sk, SOCK_URGINLINE));
	sock_valbool_flag(tsk, SOCK_LOCALROUTE, sock_flag(sk, SOCK_LOCALROUTE));
	sock_valbool_flag(tsk, SOCK_DBG, sock_flag(sk, SOCK_DBG));
}

/*
 * A program that chooses among the sockets of a SO_REUSEPORT group: the core has
 * given it to our sock, which is in no group.  The group is the companion's, so
 * it goes there, if there is one yet.  lock_sock() or the spin lock is held.
 */
void vtoe_companion_reuseport(struct sock *sk)
{
	const struct socket *tcp = vtoe_sk(sk)->tcp;
	struct sock_reuseport *reuse;
	struct bpf_prog *prog;

	reuse = rcu_dereference_protected(sk->sk_reuseport_cb,
					  lockdep_sock_is_held(sk));
	if (likely(!reuse) || !tcp)
		return;
	prog = rcu_replace_pointer(reuse->prog, NULL, lockdep_sock_is_held(sk));
	if (prog && reuseport_attach_prog(tcp->sk, prog))
		rcu_assign_pointer(reuse->prog, prog);
}

/* Does a program choose in the companion's group?  It needs TCP's packets. */
bool vtoe_companion_reuseport_prog(const struct vtoe_sock *vsk)
{
	const struct sock_reuseport *reuse;
	bool has;

	rcu_read_lock();
	reuse = rcu_dereference(vsk->tcp->sk->sk_reuseport_cb);
	has = reuse && rcu_access_pointer(reuse->prog);
	rcu_read_unlock();
	return has;
}

/*
 * An accepted stream has the options of its listener, as a child of TCP would.
 * Without memory it has the defaults.  lock_sock() is held.
 */
void vtoe_companion_inherit(struct sock *sk, const struct vtoe_sock *listener)
{
	const struct sock *lsk;
	struct sock *tsk;

	if (likely(!listener->tcp_options) || vtoe_companion(sk))
		return;
	lsk = listener->tcp->sk;
	tsk = vtoe_sk(sk)->tcp->sk;
	vtoe_sk(sk)->tcp_options = true;
	tcp_sk(tsk)->keepalive_time = tcp_sk(lsk)->keepalive_time;
	tcp_sk(tsk)->keepalive_intvl = tcp_sk(lsk)->keepalive_intvl;
	tcp_sk(tsk)->keepalive_probes = tcp_sk(lsk)->keepalive_probes;
	tcp_sk(tsk)->linger2 = tcp_sk(lsk)->linger2;
	tcp_sk(tsk)->notsent_lowat = tcp_sk(lsk)->notsent_lowat;
	tcp_sk(tsk)->nonagle = tcp_sk(lsk)->nonagle;
	tcp_sk(tsk)->recvmsg_inq = tcp_sk(lsk)->recvmsg_inq;
	inet_csk(tsk)->icsk_user_timeout = inet_csk(lsk)->icsk_user_timeout;
	vtoe_sk(sk)->user_timeout = inet_csk(lsk)->icsk_user_timeout;
	inet_csk(tsk)->icsk_syn_retries = inet_csk(lsk)->icsk_syn_retries;
	inet_sk(tsk)->tos = inet_sk(lsk)->tos;
	inet_sk(tsk)->uc_ttl = inet_sk(lsk)->uc_ttl;
	inet_sk(tsk)->pmtudisc = inet_sk(lsk)->pmtudisc;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sk(tsk)->tclass = inet6_sk(lsk)->tclass;
		inet6_sk(tsk)->hop_limit = inet6_sk(lsk)->hop_limit;
	}
#endif
}

/*
 * Gives back a port that the program did not ask for.  It is not connected, but
 * as with TCP still has the port's name.
 */
void vtoe_companion_unbind(struct vtoe_sock *vsk)
{
	struct sock *tsk = vsk->tcp->sk;

	lock_sock(tsk);
	if (tsk->sk_state == TCP_CLOSE && inet_csk(tsk)->icsk_bind_hash &&
	    !(tsk->sk_userlocks & SOCK_BINDPORT_LOCK))
		inet_put_port(tsk);
	release_sock(tsk);
}

/* Takes over the local address and port, for getsockname() and listing. */
void vtoe_companion_names(struct sock *sk)
{
	struct inet_sock *inet = inet_sk(sk);
	struct sock *tsk = vtoe_sk(sk)->tcp->sk;
	struct inet_sock *tinet = inet_sk(tsk);

	inet->inet_num = tinet->inet_num;
	inet->inet_sport = tinet->inet_sport;
	inet->inet_saddr = tinet->inet_saddr;
	inet->inet_rcv_saddr = tinet->inet_rcv_saddr;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		sk->sk_v6_rcv_saddr = tsk->sk_v6_rcv_saddr;
		inet6_sk(sk)->saddr = inet6_sk(tsk)->saddr;
	}
#endif
}

/*
 * The companion's sk_error_report after a fall-back: shows the error where the
 * core looks for it.
 */
static void vtoe_tcp_error_report(struct sock *tsk)
{
	void (*report)(struct sock *tsk) = NULL;
	struct sock *sk;

	read_lock_bh(&tsk->sk_callback_lock);
	sk = tsk->sk_user_data;
	if (sk) {
		report = vtoe_sk(sk)->tcp_error_report;
		if (tsk->sk_err) {
			WRITE_ONCE(sk->sk_err, tsk->sk_err);
			vtoe_sk(sk)->err_shown = true;
			if (tsk->sk_err == ECONNREFUSED)
				vtoe_cache_drop(sock_net(sk),
						&vtoe_sk(sk)->flow);
		}
	}
	read_unlock_bh(&tsk->sk_callback_lock);
	if (report)
		report(tsk);
}

/* SO_ERROR took the error: it is gone from the companion as well. */
void vtoe_err_before(struct vtoe_sock *vsk)
{
	struct sock *sk = &vsk->inet.sk;

	if (unlikely(vsk->err_shown) && !READ_ONCE(sk->sk_err)) {
		vsk->err_shown = false;
		WRITE_ONCE(vsk->tcp->sk->sk_err, 0);
	}
}

/* ... and the other way round. */
void vtoe_err_after(struct vtoe_sock *vsk)
{
	struct sock *sk = &vsk->inet.sk;

	if (unlikely(vsk->err_shown) && !READ_ONCE(vsk->tcp->sk->sk_err)) {
		vsk->err_shown = false;
		WRITE_ONCE(sk->sk_err, 0);
	}
}

/*
 * A connect() of the companion failed: if it was refused or the like, the next
 * attempt begins anew.
 */
void vtoe_tcp_settle(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct socket *tcp = vsk->tcp;

	lock_sock(sk);
	if (vsk->mode == VTOE_MODE_TCP && vsk->tcp == tcp &&
	    tcp->state == SS_UNCONNECTED &&
	    inet_sk_state_load(tcp->sk) == TCP_CLOSE) {
		vsk->mode = VTOE_MODE_INIT;
		/* TCP keeps the port that it has chosen. */
		vtoe_companion_names(sk);
		sk->sk_socket->state = SS_UNCONNECTED;
	}
	release_sock(sk);
}

/* Gives the companion all that it needs to connect.  lock_sock() is held. */
void vtoe_tcp_prepare(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk = vsk->tcp->sk;

	vtoe_companion_sync(sk);
	if (!vsk->tcp_error_report) {
		write_lock_bh(&tsk->sk_callback_lock);
		vsk->tcp_error_report = tsk->sk_error_report;
		tsk->sk_user_data = sk;
		tsk->sk_error_report = vtoe_tcp_error_report;
		write_unlock_bh(&tsk->sk_callback_lock);
	}
	if (sock_flag(sk, SOCK_KEEPOPEN))
		sock_set_keepalive(tsk);
}

/*
 * From now on everything goes to the companion, which vtoe_tcp_prepare() made
 * ready.  lock_sock() is held.
 */
void vtoe_go_tcp(struct sock *sk, enum vtoe_fallback why)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	/* Pairs with inet_sk_state_load(). */
	smp_store_release(&sk->sk_state, TCP_CLOSE);
	vsk->reason = why;
	vtoe_fallback_count(sk, why);
	/* Pairs with vtoe_delegated(). */
	smp_store_release(&vsk->mode, VTOE_MODE_TCP);
}
