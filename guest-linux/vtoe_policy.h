/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A policy: which connections may be offloaded.  Its language and its meaning,
 * without the kernel; docs/using.rst describes both.
 *
 *	# comment
 *	offload 10.0.0.0/8 port 5000-5999
 *	leave listen fd00::/8
 *	leave any port 22
 *	default offload
 *
 * A line is a rule, the first that matches decides, and the last line, which
 * has to be there, decides about the rest.  A text without it is an error, so
 * that one that was cut off never counts.
 */
#ifndef VTOE_POLICY_H
#define VTOE_POLICY_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
#endif

#define VTOE_POLICY_RULES_MAX	1024u
#define VTOE_POLICY_TEXT_MAX	65536u		/* bytes of a text */
#define VTOE_POLICY_ERROR_MAX	160u		/* bytes of a message */

/* Directions, a bit each. */
#define VTOE_POLICY_CONNECT	1u		/* the peer's address and port */
#define VTOE_POLICY_LISTEN	2u		/* our address and port */
#define VTOE_POLICY_BOTH	(VTOE_POLICY_CONNECT | VTOE_POLICY_LISTEN)

struct vtoe_policy_rule {
	u8 addr[16];			/* IPv4: the first four bytes */
	u8 family;			/* 4, 6, or 0: any address */
	u8 prefix;			/* bits of addr that count */
	u8 dirs;			/* VTOE_POLICY_* */
	bool offload;			/* else leave it to TCP */
	u16 port_min, port_max;		/* both included */
};

struct vtoe_policy_rules {
	u32 n;
	bool offload;			/* what no rule matches */
	struct vtoe_policy_rule rule[];
};

/* What a policy says about a connection. */
enum vtoe_policy_verdict {
	VTOE_POLICY_LEAVE,
	VTOE_POLICY_DEFAULT,		/* offload, as no rule is about it */
	VTOE_POLICY_OFFLOAD,		/* offload, as a rule says */
};

/* Room that the rules of a text need at most, as the number of its lines. */
u32 vtoe_policy_lines(const char *text, size_t len);

/*
 * Reads a text.  p has room for room rules.  Returns 0, or -1 with a message
 * that names the line and the word.
 */
int vtoe_policy_parse(const char *text, size_t len, struct vtoe_policy_rules *p,
		      u32 room, char error[VTOE_POLICY_ERROR_MAX]);

/* dir is one direction, family is 4 or 6, port in host order. */
enum vtoe_policy_verdict
vtoe_policy_verdict(const struct vtoe_policy_rules *p, u32 dir, u8 family,
		    const u8 *addr, u16 port);

/* Is there an address of the family that one may listen on for offload? */
bool vtoe_policy_may_listen(const struct vtoe_policy_rules *p, u8 family,
			    u16 port);

/*
 * An address in text, of at most 16 bytes of binary; who uses the parser has
 * this.  Returns 4, 6, or 0: none.
 */
u8 vtoe_policy_address(const char *word, u8 addr[16]);

#endif /* VTOE_POLICY_H */
