// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * net.vtoe.auto: programs get our sockets without knowing.
 *
 * A probe at __sys_socket(), where the three arguments of socket() are still
 * in registers, changes the protocol argument: of a namespace that asked for
 * it, SOCK_STREAM sockets of IPv4 and IPv6 with protocol 0, TCP or MPTCP become
 * IPPROTO_VTOE.  That is all; sockets made by the kernel do not come this way.
 * A second probe at __sys_socket_file() does the same for io_uring.  A probe
 * that does not fire (they may be disabled) leaves an ordinary TCP socket.
 *
 * The probes exist as long as some namespace has auto=1.
 */
#include <linux/kprobes.h>
#include <linux/nsproxy.h>
#include "vtoe_sock.h"

static DEFINE_MUTEX(vtoe_auto_mutex);
static unsigned int vtoe_auto_users;

#ifdef CONFIG_X86_64
/* The arguments of a function, as the calling convention has them. */
#define VTOE_ARG_FAMILY(regs)	((int)(regs)->di)
#define VTOE_ARG_TYPE(regs)	((int)(regs)->si)
#define VTOE_ARG_PROTOCOL(regs)	((regs)->dx)
#define VTOE_AUTO_POSSIBLE	1
#else
#define VTOE_AUTO_POSSIBLE	0
#endif

#if VTOE_AUTO_POSSIBLE
static int vtoe_auto_probe(struct kprobe *kp, struct pt_regs *regs)
{
	int family = VTOE_ARG_FAMILY(regs);
	int protocol = (int)VTOE_ARG_PROTOCOL(regs);

	if ((family != AF_INET && family != AF_INET6) ||
	    (VTOE_ARG_TYPE(regs) & SOCK_TYPE_MASK) != SOCK_STREAM ||
	    (protocol != 0 && protocol != IPPROTO_TCP &&
	     protocol != IPPROTO_MPTCP))
		return 0;
	if (READ_ONCE(vtoe_net(current->nsproxy->net_ns)->automatic))
		VTOE_ARG_PROTOCOL(regs) = IPPROTO_VTOE;
	return 0;
}

static struct kprobe vtoe_probes[] = {
	{ .symbol_name = "__sys_socket", .pre_handler = vtoe_auto_probe },
	{ .symbol_name = "__sys_socket_file", .pre_handler = vtoe_auto_probe },
};

static int vtoe_probes_on(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(vtoe_probes); i++) {
		struct kprobe *kp = &vtoe_probes[i];

		kp->addr = NULL;
		kp->flags = 0;
		err = register_kprobe(kp);
		if (err) {
			pr_warn("vtoe_sock: no probe at %s: error %d\n",
				kp->symbol_name, err);
			while (i--)
				unregister_kprobe(&vtoe_probes[i]);
			return err;
		}
	}
	return 0;
}

static void vtoe_probes_off(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(vtoe_probes); i++)
		unregister_kprobe(&vtoe_probes[i]);
}
#else
static int vtoe_probes_on(void)
{
	return -EOPNOTSUPP;
}

static void vtoe_probes_off(void)
{
}
#endif

/* Sets net.vtoe.auto of a namespace.  Returns 0 or the error of the probes. */
int vtoe_auto_set(struct vtoe_net *vn, int val)
{
	int err = 0;

	mutex_lock(&vtoe_auto_mutex);
	if (val && !vn->automatic) {
		if (!vtoe_auto_users)
			err = vtoe_probes_on();
		if (!err) {
			vtoe_auto_users++;
			WRITE_ONCE(vn->automatic, 1);
		}
	} else if (!val && vn->automatic) {
		WRITE_ONCE(vn->automatic, 0);
		if (!--vtoe_auto_users)
			vtoe_probes_off();
	}
	mutex_unlock(&vtoe_auto_mutex);
	return err;
}

/* The module goes: no new sockets of ours. */
void vtoe_auto_exit(void)
{
	struct net *net;

	down_read(&net_rwsem);
	for_each_net(net)
		vtoe_auto_set(vtoe_net(net), 0);
	up_read(&net_rwsem);
}
