// SPDX-License-Identifier: GPL-2.0-or-later
/* struct proto says where ipv6_pinfo is. */
#include <linux/module.h>
#include <net/sock.h>
struct proto vtoe_probe = { .ipv6_pinfo_offset = 1 };
MODULE_LICENSE("GPL");
