// SPDX-License-Identifier: GPL-2.0-or-later
/* sendpage is an operation of its own. */
#include <linux/module.h>
#include <linux/net.h>
#include <net/sock.h>
struct proto_ops vtoe_probe = { .sendpage = sock_no_sendpage };
MODULE_LICENSE("GPL");
