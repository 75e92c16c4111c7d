// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Socket options and ioctls.
 *
 * SOL_SOCKET is the core's and acts on our sock; some of it is the companion's as
 * well, see vtoe_socket_opt().  Everything else goes to the companion, which checks ranges, stores values and returns them, so that a
 * program reads back what it wrote.  What also means something for a stream
 * (TCP_NODELAY, TCP_CORK) is noted here; what only TCP can do makes the socket
 * a TCP socket if it comes in time, and fails as in a kernel without it if not.
 */
#include <linux/sockios.h>
#include <net/tcp.h>
#include <asm/ioctls.h>
#include "vtoe_sock.h"

static int vtoe_int_opt(sockptr_t val, unsigned int len, int *out)
{
	if (len < sizeof(int))
		return -EINVAL;
	return copy_from_sockptr(out, val, sizeof(*out)) ? -EFAULT : 0;
}

/* TCP_AO_ADD_KEY to TCP_AO_REPAIR, which older kernels do not know. */
#define VTOE_TCP_AO_FIRST	38
#define VTOE_TCP_AO_LAST	42

/* Not every kernel has it. */
static bool vtoe_tcp_is_ao(int name)
{
	return name >= VTOE_TCP_AO_FIRST && name <= VTOE_TCP_AO_LAST;
}

/* Options by which peers prove who they are. */
static bool vtoe_tcp_signs(int name)
{
	return name == TCP_MD5SIG || name == TCP_MD5SIG_EXT ||
	       vtoe_tcp_is_ao(name);
}

/* Options that an offloaded stream cannot have. */
static bool vtoe_tcp_only(int name)
{
	switch (name) {
	case TCP_MD5SIG:
	case TCP_MD5SIG_EXT:
	case TCP_REPAIR:
	case TCP_FASTOPEN:
	case TCP_FASTOPEN_CONNECT:
	case TCP_FASTOPEN_KEY:
	case TCP_ZEROCOPY_RECEIVE:
		return true;
	}
	return vtoe_tcp_signs(name);
}

static void vtoe_uncork(struct vtoe_sock *vsk)
{
	if (vsk->mode == VTOE_MODE_STREAM && vsk->conn)
		vtoe_tx_push(&vsk->conn->s);
}

/*
 * Notes what means something for a stream.  Returns 1 if that is all there is
 * to do, 0 to go on with the companion, or an error.
 */
static int vtoe_tcp_opt(struct sock *sk, int name, sockptr_t val,
			unsigned int len)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	bool stream = vsk->mode == VTOE_MODE_STREAM;
	int v, err;

	if (vtoe_tcp_only(name)) {
		if (vsk->mode != VTOE_MODE_INIT)
			return stream ? -ENOPROTOOPT : 0;
		if (!vtoe_tcp_is_ao(name))
			vsk->force_tcp = true;
		return 0;
	}
	switch (name) {
	case TCP_NODELAY:
	case TCP_CORK:
	case TCP_QUICKACK:
		err = vtoe_int_opt(val, len, &v);
		if (err)
			return err;
		if (name == TCP_NODELAY) {
			vsk->nodelay = v;
			if (v)
				vtoe_uncork(vsk);
		} else if (name == TCP_CORK) {
			vsk->cork = v;
			if (!v)
				vtoe_uncork(vsk);
		} else {
			vsk->quickack = v & 1;
		}
		/* An accepted stream has no companion and needs none. */
		return stream && !vsk->tcp;
	case TCP_INQ:
		err = vtoe_int_opt(val, len, &v);
		if (err)
			return err;
		/* The companion refuses other values. */
		if (v == 0 || v == 1)
			vsk->inq = v;
		return 0;
	case TCP_ULP:
		/* kTLS and its kind want TCP's own sock. */
		return stream ? -EOPNOTSUPP : 0;
	}
	return 0;
}

/*
 * SOL_SOCKET, where the core lets us see it (SOCK_CUSTOM_SOCKOPT).  Elsewhere
 * vtoe_companion_sync() finds out later what was set.
 */
static int vtoe_socket_opt(struct socket *sock, int name, sockptr_t val,
			   unsigned int len)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	bool stream = READ_ONCE(vsk->mode) == VTOE_MODE_STREAM;
	bool ours = true;
	int err, v;

	switch (name) {
	case SO_ATTACH_REUSEPORT_CBPF:
	case SO_ATTACH_REUSEPORT_EBPF:
	case SO_DETACH_REUSEPORT_BPF:
	case SO_INCOMING_CPU:
	case SO_ZEROCOPY:
	case SO_TIMESTAMPING_OLD:
	case SO_TIMESTAMPING_NEW:
		ours = name == SO_INCOMING_CPU || name == SO_TIMESTAMPING_OLD ||
		       name == SO_TIMESTAMPING_NEW;
		if (stream)
			break;
		/* TCP knows in which state it may be set. */
		lock_sock(sk);
		err = vtoe_companion(sk);
		if (!err) {
			vsk->tcp_options = true;
			vtoe_companion_sync(sk);
		}
		release_sock(sk);
		if (!err)
			err = sock_setsockopt(vsk->tcp, SOL_SOCKET, name, val,
					      len);
		if (err)
			return err;
		break;
	}
	if (name == SO_ZEROCOPY) {
		/* The core believes that only TCP can. */
		err = vtoe_int_opt(val, len, &v);
		if (err)
			return err;
		if (v < 0 || v > 1)
			return -EINVAL;
		lock_sock(sk);
		sock_valbool_flag(sk, SOCK_ZEROCOPY, v);
		release_sock(sk);
		return 0;
	}
	if (!ours && !stream)
		return 0;
	err = sock_setsockopt(sock, SOL_SOCKET, name, val, len);
	if (err)
		return err;
	lock_sock(sk);
	if (vsk->tcp)
		vtoe_companion_sync(sk);
	release_sock(sk);
	return 0;
}

/* The companion has a new value of an option that a stream's timer knows. */
static void vtoe_alive_opt(struct sock *sk, int name)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	switch (name) {
	case TCP_USER_TIMEOUT:
	case TCP_KEEPIDLE:
	case TCP_KEEPINTVL:
	case TCP_KEEPCNT:
		lock_sock(sk);
		vsk->user_timeout = inet_csk(vsk->tcp->sk)->icsk_user_timeout;
		vtoe_alive_start(sk, sock_flag(sk, SOCK_KEEPOPEN));
		release_sock(sk);
		break;
	}
}

int vtoe_setsockopt(struct socket *sock, int level, int name, sockptr_t val,
		    unsigned int len)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int err = 0;

	if (level == SOL_SOCKET)
		return vtoe_socket_opt(sock, name, val, len);
	if (vtoe_delegated(vsk))
		return vsk->tcp->ops->setsockopt(vsk->tcp, level, name, val,
						 len);
	lock_sock(sk);
	if (level == SOL_TCP) {
		err = vtoe_tcp_opt(sk, name, val, len);
		if (err) {
			release_sock(sk);
			return err < 0 ? err : 0;
		}
	}
	err = vtoe_companion(sk);
	if (!err)
		vsk->tcp_options = true;
	release_sock(sk);
	if (err)
		return err;
	err = vsk->tcp->ops->setsockopt(vsk->tcp, level, name, val, len);
	if (!err && level == SOL_TCP)
		vtoe_alive_opt(sk, name);
	if (!err && level == SOL_TCP && vtoe_tcp_signs(name))
		vtoe_listen_tcp_only(sk);
	return err;
}

static void vtoe_tcp_info(struct sock *sk, struct tcp_info *info)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	const struct vtoe_conn *c = vsk->conn;
	u32 mss = TCP_MSS_DEFAULT;

	memset(info, 0, sizeof(*info));
	info->tcpi_state = inet_sk_state_load(sk);
	if (!c)
		return;
	rcu_read_lock();
	if (!test_bit(VTOE_CF_OVER, &c->flags))
		mss = READ_ONCE(vtoe_dev_netdev(c->s.dev)->mtu) - 40;
	rcu_read_unlock();
	info->tcpi_rtt = READ_ONCE(c->s.srtt_us) >> 3;
	info->tcpi_rttvar = c->s.rttvar_us >> 2;
	info->tcpi_min_rtt = c->s.rtt_min_us;
	info->tcpi_last_data_recv =
		jiffies_to_msecs(jiffies - READ_ONCE(c->rx_heard));
	info->tcpi_last_data_sent =
		jiffies_to_msecs(jiffies - READ_ONCE(c->s.tx_stamp));
	info->tcpi_last_ack_recv =
		jiffies_to_msecs(jiffies - READ_ONCE(c->s.tx_progress));
	info->tcpi_probes = vsk->alive_probes;
	info->tcpi_snd_ssthresh = TCP_INFINITE_SSTHRESH;
	info->tcpi_rto = jiffies_to_usecs(TCP_TIMEOUT_INIT);
	info->tcpi_snd_mss = mss;
	info->tcpi_rcv_mss = mss;
	info->tcpi_advmss = mss;
	info->tcpi_pmtu = mss + 40;
	info->tcpi_snd_cwnd = READ_ONCE(sk->sk_sndbuf) / mss;
	info->tcpi_rcv_space = c->window;
	info->tcpi_unacked = DIV_ROUND_UP_ULL(vtoe_tx_unacked(&c->s), mss);
	info->tcpi_bytes_acked = READ_ONCE(c->s.tx_acked);
	info->tcpi_bytes_sent = READ_ONCE(c->s.tx_posted);
	info->tcpi_bytes_received = READ_ONCE(c->s.rx_offset);
	info->tcpi_notsent_bytes = vtoe_tx_unsent(&c->s);
}

/* Copies an answer of at most the length the program has room for. */
static int vtoe_opt_answer(const void *from, int size, char __user *val,
			   int __user *len)
{
	int n;

	if (get_user(n, len))
		return -EFAULT;
	if (n < 0)
		return -EINVAL;
	n = min(n, size);
	if (put_user(n, len) || copy_to_user(val, from, n))
		return -EFAULT;
	return 0;
}

/* What a stream answers itself.  Returns -ENOIOCTLCMD for the rest. */
static int vtoe_stream_getopt(struct sock *sk, int name, char __user *val,
			      int __user *len)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct tcp_info info;
	int v;

	switch (name) {
	case TCP_INFO:
		lock_sock(sk);
		vtoe_tcp_info(sk, &info);
		release_sock(sk);
		return vtoe_opt_answer(&info, sizeof(info), val, len);
	case TCP_MAXSEG:
		lock_sock(sk);
		vtoe_tcp_info(sk, &info);
		release_sock(sk);
		v = info.tcpi_snd_mss;
		break;
	case TCP_NODELAY:
		v = vsk->nodelay;
		break;
	case TCP_CORK:
		v = vsk->cork;
		break;
	case TCP_QUICKACK:
		v = vsk->quickack;
		break;
	case TCP_ULP:
		return vtoe_opt_answer("", 0, val, len);
	case TCP_ZEROCOPY_RECEIVE:
		return -EOPNOTSUPP;
	default:
		return -ENOIOCTLCMD;
	}
	return vtoe_opt_answer(&v, sizeof(v), val, len);
}

int vtoe_getsockopt(struct socket *sock, int level, int name,
		    char __user *val, int __user *len)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int err;

	if (level == SOL_TCP && READ_ONCE(vsk->mode) == VTOE_MODE_STREAM) {
		err = vtoe_stream_getopt(sk, name, val, len);
		if (err != -ENOIOCTLCMD)
			return err;
	}
	lock_sock(sk);
	err = vtoe_companion(sk);
	release_sock(sk);
	if (err)
		return err;
	return vsk->tcp->ops->getsockopt(vsk->tcp, level, name, val, len);
}

/* --- ioctl ---------------------------------------------------------------- */

static int vtoe_stream_ioctl(struct sock *sk, unsigned int cmd, int *answer)
{
	const struct vtoe_conn *c;
	int err = 0;

	lock_sock(sk);
	c = vtoe_sk(sk)->conn;
	switch (cmd) {
	case SIOCINQ:
		*answer = c ? READ_ONCE(c->rx_bytes) : 0;
		/* TCP counts a pending end as one byte: it does not. */
		break;
	case SIOCOUTQ:
		*answer = c ? vtoe_tx_unacked(&c->s) : 0;
		break;
	case SIOCOUTQNSD:
		*answer = c ? vtoe_tx_unsent(&c->s) : 0;
		break;
	case SIOCATMARK:
		*answer = 0;
		break;
	default:
		err = -ENOIOCTLCMD;
		break;
	}
	release_sock(sk);
	return err;
}

int vtoe_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int answer, err;

	if (READ_ONCE(vsk->mode) == VTOE_MODE_STREAM) {
		err = vtoe_stream_ioctl(sk, cmd, &answer);
		if (!err)
			return put_user(answer, (int __user *)arg);
		if (err != -ENOIOCTLCMD)
			return err;
	}
	lock_sock(sk);
	err = vtoe_companion(sk);
	release_sock(sk);
	if (err)
		return err;
	return vsk->tcp->ops->ioctl(vsk->tcp, cmd, arg);
}

#ifdef CONFIG_COMPAT
int vtoe_compat_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg)
{
	struct sock *sk = sock->sk;
	struct vtoe_sock *vsk = vtoe_sk(sk);
	int err;

	lock_sock(sk);
	err = vtoe_companion(sk);
	release_sock(sk);
	if (err)
		return err;
	if (!vsk->tcp->ops->compat_ioctl)
		return -ENOIOCTLCMD;
	return vsk->tcp->ops->compat_ioctl(vsk->tcp, cmd, arg);
}
#endif

/* --- options of the core that want to be told ------------------------------ */

int vtoe_set_peek_off(struct sock *sk, int val)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);

	/* Ours as well: getsockopt() of the core looks there. */
	if (vtoe_delegated(vsk))
		vsk->tcp->ops->set_peek_off(vsk->tcp->sk, val);
	return sk_set_peek_off(sk, val);
}

/* SO_KEEPALIVE; the core has locked the socket and sets the flag afterwards. */
void vtoe_keepalive(struct sock *sk, int val)
{
	struct vtoe_sock *vsk = vtoe_sk(sk);
	struct sock *tsk;

	if (!vtoe_delegated(vsk)) {
		vtoe_alive_start(sk, val);
		return;
	}
	tsk = vsk->tcp->sk;
	lock_sock(tsk);
	tsk->sk_prot->keepalive(tsk, val);
	sock_valbool_flag(tsk, SOCK_KEEPOPEN, val);
	release_sock(tsk);
}
