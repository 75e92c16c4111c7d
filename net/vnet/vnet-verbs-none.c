/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Without librdmacm and libibverbs there is no RDMA: vnet-link-rdma.c says so
 * when a link of this type is asked for.
 */

#include "qemu/osdep.h"
#include "vnet-verbs-ib.h"

const VnetIbMem vnet_ib_ram;

const VnetVerbs *vnet_verbs_ib(void)
{
    return NULL;
}

VnetVCtx *vnet_ib_ctx_new(const VnetIbConfig *cfg)
{
    g_assert_not_reached();
}

void vnet_ib_ctx_free(VnetVCtx *x)
{
    g_assert_not_reached();
}
