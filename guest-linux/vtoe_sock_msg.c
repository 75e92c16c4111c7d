// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What streams give beside their bytes: control messages of recvmsg(), and the
 * error queue.
 *
 * Time stamps (SO_TIMESTAMP and its kind) are of the moment when the NIC's data
 * reached the connection; as with TCP, one call gives the last one.  Time
 * stamps of sending are not to be had: a socket that asks for them before it
 * connects gets TCP.
 *
 * MSG_ZEROCOPY: sending copies.  Each call is completed at once, and says that
 * it copied, as TCP does when it had to.
 */
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>
#include <linux/time64.h>
#include <net/inet_common.h>
#include "vtoe_sock.h"

static void vtoe_put_stamp(struct sock *sk, struct msghdr *msg, ktime_t stamp)
{
	struct timespec64 ts = ktime_to_timespec64(stamp);
	bool new = sock_flag(sk, SOCK_TSTAMP_NEW);

	if (!sock_flag(sk, SOCK_RCVTSTAMP))
		return;
	if (sock_flag(sk, SOCK_RCVTSTAMPNS) && new) {
		struct __kernel_timespec v = {
			.tv_sec = ts.tv_sec, .tv_nsec = ts.tv_nsec,
		};

		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPNS_NEW, sizeof(v), &v);
	} else if (sock_flag(sk, SOCK_RCVTSTAMPNS)) {
		struct __kernel_old_timespec v = {
			.tv_sec = ts.tv_sec, .tv_nsec = ts.tv_nsec,
		};

		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMPNS_OLD, sizeof(v), &v);
	} else if (new) {
		struct __kernel_sock_timeval v = {
			.tv_sec = ts.tv_sec,
			.tv_usec = ts.tv_nsec / NSEC_PER_USEC,
		};

		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMP_NEW, sizeof(v), &v);
	} else {
		struct __kernel_old_timeval v = {
			.tv_sec = ts.tv_sec,
			.tv_usec = ts.tv_nsec / NSEC_PER_USEC,
		};

		put_cmsg(msg, SOL_SOCKET, SO_TIMESTAMP_OLD, sizeof(v), &v);
	}
}

/*
 * Control messages of a recvmsg() that did not fail, under the socket lock.
 * bytes: it gave some.
 */
void vtoe_recv_cmsgs(struct sock *sk, struct msghdr *msg, bool bytes)
{
	const struct vtoe_sock *vsk = vtoe_sk(sk);
	struct vtoe_conn *c = vsk->conn;
	ktime_t stamp;
	int inq;

	if (bytes && sk->sk_flags & SK_FLAGS_TIMESTAMP) {
		spin_lock_bh(&c->lock);
		stamp = c->rx_stamp;
		spin_unlock_bh(&c->lock);
		/* They came before somebody asked. */
		if (!stamp)
			stamp = ktime_get_real();
		vtoe_put_stamp(sk, msg, stamp);
		if (READ_ONCE(sk->sk_tsflags) & SOF_TIMESTAMPING_SOFTWARE) {
			struct scm_timestamping_internal tss = {
				.ts[0] = ktime_to_timespec64(stamp),
			};

			if (sock_flag(sk, SOCK_TSTAMP_NEW))
				put_cmsg_scm_timestamping64(msg, &tss);
			else
				put_cmsg_scm_timestamping(msg, &tss);
		}
	}
	if (!vsk->inq && !msg->msg_get_inq)
		return;
	/* TCP counts the peer's end, so that somebody reads it. */
	inq = min_t(u32, READ_ONCE(c->rx_bytes), INT_MAX - 1) +
	      sock_flag(sk, SOCK_DONE);
	msg->msg_inq = inq;
	if (vsk->inq)
		put_cmsg(msg, SOL_TCP, TCP_CM_INQ, sizeof(inq), &inq);
}

/* recvmsg(MSG_ERRQUEUE) */
int vtoe_recv_error(struct sock *sk, struct msghdr *msg, size_t len)
{
	int addr_len = 0;
	int ret = inet_recv_error(sk, msg, len, &addr_len);

	if (ret >= 0)
		msg->msg_namelen = addr_len;
	return ret;
}

/*
 * Adds a call to the completion that is the last one in the queue, as TCP does:
 * however many there are, they take the room of one.
 */
static bool vtoe_zerocopy_extend(struct sock *sk, u32 first, u32 id)
{
	struct sk_buff_head *q = &sk->sk_error_queue;
	struct sock_exterr_skb *serr;
	bool extended = false;
	struct sk_buff *last;
	unsigned long flags;

	spin_lock_irqsave(&q->lock, flags);
	last = skb_peek_tail(q);
	serr = last ? SKB_EXT_ERR(last) : NULL;
	if (serr && serr->ee.ee_origin == SO_EE_ORIGIN_ZEROCOPY &&
	    serr->ee.ee_data + 1 == first && serr->ee.ee_info != id) {
		serr->ee.ee_data = id;
		extended = true;
	}
	spin_unlock_irqrestore(&q->lock, flags);
	if (extended)
		sk_error_report(sk);
	return extended;
}

/* A call with MSG_ZEROCOPY is done with the program's memory. */
void vtoe_zerocopy_done(struct sock *sk)
{
	u32 id = (u32)atomic_inc_return(&sk->sk_zckey) - 1;
	/* With those for which there was no memory. */
	u32 first = vtoe_sk(sk)->zerocopy_first;
	struct sock_exterr_skb *serr;
	struct sk_buff *skb;

	if (vtoe_zerocopy_extend(sk, first, id)) {
		vtoe_sk(sk)->zerocopy_first = id + 1;
		return;
	}
	skb = alloc_skb(0, sk->sk_allocation | __GFP_NOWARN);
	if (!skb)
		return;
	serr = SKB_EXT_ERR(skb);
	memset(serr, 0, sizeof(*serr));
	serr->ee.ee_origin = SO_EE_ORIGIN_ZEROCOPY;
	serr->ee.ee_code = SO_EE_CODE_ZEROCOPY_COPIED;
	serr->ee.ee_info = first;
	serr->ee.ee_data = id;
	/* It wakes whoever polls for EPOLLERR. */
	if (sock_queue_err_skb(sk, skb))
		kfree_skb(skb);
	else
		vtoe_sk(sk)->zerocopy_first = id + 1;
}
