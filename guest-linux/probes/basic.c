// SPDX-License-Identifier: GPL-2.0-or-later
/* Any module at all. */
#include <linux/module.h>
MODULE_LICENSE("GPL");
