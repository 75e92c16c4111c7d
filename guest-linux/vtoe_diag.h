/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What inet_diag says of a VTOE socket beside struct inet_diag_msg: attribute
 * INET_DIAG_INFO.  Ask with the family wanted in sdiag_family and 261 in the
 * attribute INET_DIAG_REQ_PROTOCOL.  Later versions may be longer.
 */
#ifndef VTOE_DIAG_H
#define VTOE_DIAG_H

#include <linux/types.h>

struct vtoe_diag_info {
	char mode[16];			/* as in /proc/net/vtoe */
	char reason[24];		/* of a fall-back, or "none" */
	__u32 sid;			/* 0: no stream */
	__u32 pair;
	__u64 unsent;			/* bytes; the rest of a stream's, too */
	__u64 credit;
	__u64 window;
	__u64 sent;
	__u64 acked;
	__u64 received;
};

#endif /* VTOE_DIAG_H */
