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
#include <net/tcp.h>
#include <net/transp_v6.h>
#include "vtoe_sock.h"

static struct lock_class_key vtoe_companion_key, vtoe_companion_slock_key;

/* Shares our wait queue and inode number with the companion. */
static void vtoe_graft(struct sock *sk, struct socket *tcp)
{
	struct socket *sock = sk->sk_socket;
	struct sock *tsk = tcp->sk;

	write_lock_bh(&tsk->sk_callback_lock);
	rcu_assign_pointer(tsk->sk_wq, &sock->wq);
	sk_set_socket(tsk, sock);
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
	sock_release(tcp);
}

/*
 * Copies the SOL_SOCKET options that matter to TCP.  Once the companion is in
 * use, only those that are single words: its flags have another writer then.
 */
void vtoe_companion_sync(struct sock *sk)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk = vsk->tcp->sk;
	u8 locks = sk->sk_userlocks & (SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);

	tsk->sk_rcvtimeo = sk->sk_rcvtimeo;
	tsk->sk_sndtimeo = sk->sk_sndtimeo;
	if (unlikely(locks)) {
		if (locks & SOCK_SNDBUF_LOCK && tsk->sk_sndbuf != sk->sk_sndbuf)
			WRITE_ONCE(tsk->sk_sndbuf, sk->sk_sndbuf);
		if (locks & SOCK_RCVBUF_LOCK && tsk->sk_rcvbuf != sk->sk_rcvbuf)
			WRITE_ONCE(tsk->sk_rcvbuf, sk->sk_rcvbuf);
		tsk->sk_userlocks |= locks;
	}
	if (vsk->mode == VTOE_MODE_TCP)
		return;
	/* What has to be set before connecting or listening. */
	tsk->sk_reuse = sk->sk_reuse;
	tsk->sk_reuseport = sk->sk_reuseport;
	tsk->sk_bound_dev_if = sk->sk_bound_dev_if;
	tsk->sk_mark = sk->sk_mark;
	tsk->sk_priority = sk->sk_priority;
	sock_valbool_flag(tsk, SOCK_KEEPOPEN, sock_flag(sk, SOCK_KEEPOPEN));
	sock_valbool_flag(tsk, SOCK_URGINLINE, sock_flag(sk, SOCK_URGINLINE));
	sock_valbool_flag(tsk, SOCK_LOCALROUTE, sock_flag(sk, SOCK_LOCALROUTE));
	sock_valbool_flag(tsk, SOCK_DBG, sock_flag(sk, SOCK_DBG));
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
	struct socket *sock;
	struct sock *sk;

	read_lock_bh(&tsk->sk_callback_lock);
	sock = tsk->sk_socket;
	sk = sock ? READ_ONCE(sock->sk) : NULL;
	if (sk && vtoe_is_ours(sk)) {
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
 * From now on everything goes to the companion, which exists.  lock_sock() is
 * held.
 */
void vtoe_go_tcp(struct sock *sk, enum vtoe_fallback why)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk = vsk->tcp->sk;

	vtoe_companion_sync(sk);
	if (!vsk->tcp_error_report) {
		write_lock_bh(&tsk->sk_callback_lock);
		vsk->tcp_error_report = tsk->sk_error_report;
		tsk->sk_error_report = vtoe_tcp_error_report;
		write_unlock_bh(&tsk->sk_callback_lock);
	}
	if (sock_flag(sk, SOCK_KEEPOPEN))
		sock_set_keepalive(tsk);
	smp_store_release(&sk->sk_state, TCP_CLOSE);
	vsk->reason = why;
	vtoe_fallback_count(sk, why);
	/* Pairs with vtoe_delegated(). */
	smp_store_release(&vsk->mode, VTOE_MODE_TCP);
}
