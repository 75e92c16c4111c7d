// SPDX-License-Identifier: GPL-2.0-or-later
/* <net/page_pool.h> was split. */
#include <linux/module.h>
#include <net/page_pool/helpers.h>
#include <net/page_pool/types.h>
MODULE_LICENSE("GPL");
