// SPDX-License-Identifier: GPL-2.0-or-later
/* inet_diag's handlers say whose they are. */
#include <linux/inet_diag.h>
#include <linux/module.h>
struct inet_diag_handler vtoe_probe = { .owner = THIS_MODULE };
MODULE_LICENSE("GPL");
