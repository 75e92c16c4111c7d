// SPDX-License-Identifier: GPL-2.0-or-later
/* Sysctl handlers take a constant table. */
#include <linux/module.h>
#include <linux/sysctl.h>
static int vtoe_probe_fn(const struct ctl_table *t, int write, void *buf,
			 size_t *len, loff_t *pos)
{
	return 0;
}
struct ctl_table vtoe_probe = { .proc_handler = vtoe_probe_fn };
MODULE_LICENSE("GPL");
