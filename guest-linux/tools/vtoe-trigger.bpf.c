// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The trigger as a BPF program: TCP sockets that programs of some control
 * groups make become VTOE sockets.
 *
 * update_socket_protocol() is a hook of socket(), made for MPTCP: what a
 * program returns is the protocol.  Kernels have it from 6.6 on, with BTF and
 * CONFIG_MPTCP; io_uring's socket does not come by it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "vtoe-bpf.h"

#define AF_INET		2
#define AF_INET6	10
#define SOCK_STREAM	1
#define SOCK_TYPE_MASK	0xf	/* the flags of socket() are above */
#define IPPROTO_TCP	6
#define IPPROTO_MPTCP	262

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, VTOE_BPF_CGROUPS);
	__type(key, __u32);
	__type(value, __u32);
} cgroups SEC(".maps");

/* In one of the groups, or in one below? */
static __always_inline int is_chosen(void)
{
	__u32 i;

	/* Filled from the beginning: the first without a group ends it. */
	for (i = 0; i < VTOE_BPF_CGROUPS; i++) {
		long in = bpf_current_task_under_cgroup(&cgroups, i);

		if (in)
			return in > 0;
	}
	return 0;
}

SEC("fmod_ret/update_socket_protocol")
int BPF_PROG(vtoe_protocol, int family, int type, int protocol)
{
	if ((family == AF_INET || family == AF_INET6) &&
	    (type & SOCK_TYPE_MASK) == SOCK_STREAM &&
	    (protocol == 0 || protocol == IPPROTO_TCP ||
	     protocol == IPPROTO_MPTCP) && is_chosen())
		return VTOE_BPF_PROTOCOL;
	return protocol;
}

char LICENSE[] SEC("license") = "GPL";
