// SPDX-License-Identifier: GPL-2.0-or-later
/* accept() takes its arguments in a structure. */
#include <linux/module.h>
#include <net/sock.h>
int vtoe_probe(struct proto_accept_arg *arg);
int vtoe_probe(struct proto_accept_arg *arg)
{
	return arg->flags;
}
MODULE_LICENSE("GPL");
