// SPDX-License-Identifier: GPL-2.0-or-later
/* Sysctl tables have a size instead of an end mark. */
#include <linux/module.h>
#include <net/net_namespace.h>
void *vtoe_probe(struct net *net, struct ctl_table *t);
void *vtoe_probe(struct net *net, struct ctl_table *t)
{
	return register_net_sysctl_sz(net, "net/vtoe", t, 1);
}
MODULE_LICENSE("GPL");
