/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What vtoe-bpf and its BPF program share. */
#ifndef VTOE_BPF_H
#define VTOE_BPF_H

#define VTOE_BPF_PROTOCOL	261	/* IPPROTO_VTOE */
#define VTOE_BPF_CGROUPS	16	/* groups at most */

#endif /* VTOE_BPF_H */
