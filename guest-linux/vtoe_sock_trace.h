/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tracepoints of module vtoe_sock: streams that come about, fall-backs and
 * resets, each with its reason.  Changes of state are the kernel's own
 * sock:inet_sock_set_state, with protocol 0x105; after a fall-back it is the
 * companion whose state changes, a socket of protocol 6.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vtoe_sock

#if !defined(VTOE_SOCK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define VTOE_SOCK_TRACE_H

#include <linux/tracepoint.h>
#include <net/ipv6.h>
#include <net/transp_v6.h>
#include "vtoe_sock.h"

#define VTOE_TRACE_FB_ENUM(n)	TRACE_DEFINE_ENUM(VTOE_FB_##n);
#define VTOE_TRACE_R_ENUM(n)	TRACE_DEFINE_ENUM(VTOE_R_##n);
VTOE_REASONS(VTOE_TRACE_FB_ENUM)
TRACE_DEFINE_ENUM(VTOE_FB_MAX);
VTOE_RESETS(VTOE_TRACE_R_ENUM)
TRACE_DEFINE_ENUM(VTOE_R_MAX);

#define VTOE_TRACE_FB_NAME(n)	{ VTOE_FB_##n, #n },
#define VTOE_TRACE_R_NAME(n)	{ VTOE_R_##n, #n },

#ifndef VTOE_TRACE_HELPERS
#define VTOE_TRACE_HELPERS
/* An address as IPv6 has it, those of IPv4 mapped. */
static inline void vtoe_trace_v4(u8 to[16], __be32 from)
{
	ipv6_addr_set_v4mapped(from, (struct in6_addr *)to);
}

/* The addresses of a stream. */
static inline void vtoe_trace_flow(const struct vtoe_flow *f, u8 saddr[16],
				   u8 daddr[16])
{
	__be32 v4;

	if (f->family == 6) {
		memcpy(saddr, f->laddr, 16);
		memcpy(daddr, f->raddr, 16);
		return;
	}
	memcpy(&v4, f->laddr, 4);
	vtoe_trace_v4(saddr, v4);
	memcpy(&v4, f->raddr, 4);
	vtoe_trace_v4(daddr, v4);
}

/* Where a connect() wanted to go; returns the port. */
static inline u16 vtoe_trace_dest(const struct vtoe_sock *vsk, u8 daddr[16])
{
	const struct sockaddr_in6 *d6 = (const void *)&vsk->dest;
	const struct sockaddr_in *d4 = (const void *)&vsk->dest;

	memset(daddr, 0, 16);
	if (vsk->dest_len >= (int)sizeof(*d4) &&
	    vsk->dest.ss_family == AF_INET) {
		vtoe_trace_v4(daddr, d4->sin_addr.s_addr);
		return ntohs(d4->sin_port);
	}
	if (vsk->dest_len >= SIN6_LEN_RFC2133 &&
	    vsk->dest.ss_family == AF_INET6) {
		memcpy(daddr, &d6->sin6_addr, 16);
		return ntohs(d6->sin6_port);
	}
	return 0;
}
#endif

TRACE_EVENT(vtoe_fallback,
	TP_PROTO(const struct sock *sk, unsigned int reason),
	TP_ARGS(sk, reason),
	TP_STRUCT__entry(
		__field(const void *, skaddr)
		__field(u16, family)
		__field(u16, sport)
		__field(u16, dport)
		__field(u16, reason)
		__array(u8, daddr, 16)
	),
	TP_fast_assign(
		__entry->skaddr = sk;
		__entry->family = sk->sk_family;
		__entry->sport = ntohs(inet_sk(sk)->inet_sport);
		__entry->dport = vtoe_trace_dest(vtoe_sk(sk), __entry->daddr);
		__entry->reason = reason;
	),
	TP_printk("family=%s sport=%u daddr=%pI6c dport=%u reason=%s",
		  __entry->family == AF_INET6 ? "AF_INET6" : "AF_INET",
		  __entry->sport, __entry->daddr, __entry->dport,
		  __print_symbolic(__entry->reason,
				   VTOE_REASONS(VTOE_TRACE_FB_NAME)
				   { VTOE_FB_MAX, "invalid" }))
);

DECLARE_EVENT_CLASS(vtoe_stream,
	TP_PROTO(const struct sock *sk, const struct vtoe_conn *c,
		 unsigned int reason),
	TP_ARGS(sk, c, reason),
	TP_STRUCT__entry(
		__field(const void *, skaddr)
		__field(u16, family)
		__field(u16, sport)
		__field(u16, dport)
		__field(u16, reason)
		__field(u32, sid)
		__array(u8, saddr, 16)
		__array(u8, daddr, 16)
	),
	TP_fast_assign(
		__entry->skaddr = sk;
		__entry->family = sk->sk_family;
		__entry->sport = le16_to_cpu(c->s.flow.lport);
		__entry->dport = le16_to_cpu(c->s.flow.rport);
		__entry->reason = reason;
		__entry->sid = c->s.sid;
		vtoe_trace_flow(&c->s.flow, __entry->saddr, __entry->daddr);
	),
	TP_printk("family=%s saddr=%pI6c sport=%u daddr=%pI6c dport=%u sid=%#x reason=%s",
		  __entry->family == AF_INET6 ? "AF_INET6" : "AF_INET",
		  __entry->saddr, __entry->sport, __entry->daddr,
		  __entry->dport, __entry->sid,
		  __print_symbolic(__entry->reason,
				   VTOE_RESETS(VTOE_TRACE_R_NAME)
				   { VTOE_R_MAX, "invalid" }))
);

/* A connect() is offloaded, an accept() returns a stream. */
DEFINE_EVENT(vtoe_stream, vtoe_connected,
	     TP_PROTO(const struct sock *sk, const struct vtoe_conn *c,
		      unsigned int reason),
	     TP_ARGS(sk, c, reason));
DEFINE_EVENT(vtoe_stream, vtoe_accepted,
	     TP_PROTO(const struct sock *sk, const struct vtoe_conn *c,
		      unsigned int reason),
	     TP_ARGS(sk, c, reason));
/* Reset by the peer or its host, reset here.  sk may be the listener. */
DEFINE_EVENT(vtoe_stream, vtoe_reset_in,
	     TP_PROTO(const struct sock *sk, const struct vtoe_conn *c,
		      unsigned int reason),
	     TP_ARGS(sk, c, reason));
DEFINE_EVENT(vtoe_stream, vtoe_reset_out,
	     TP_PROTO(const struct sock *sk, const struct vtoe_conn *c,
		      unsigned int reason),
	     TP_ARGS(sk, c, reason));

#endif /* VTOE_SOCK_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE vtoe_sock_trace
#include <trace/define_trace.h>
