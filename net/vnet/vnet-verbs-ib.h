/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RDMA connections by librdmacm and libibverbs, and the memory that is
 * registered for them.
 *
 * Registering pins memory and takes long, so it is done by the main loop,
 * while the overlay goes on.  Who knows the memory is a VnetIbMem: the
 * emulator's (vnet_ib_ram), which follows the guests' RAM, or a tool's.
 */
#ifndef VNET_VERBS_IB_H
#define VNET_VERBS_IB_H

#include "vnet-verbs.h"

/* A protection domain: one per device and process, for all links on it. */
typedef struct VnetIbPd VnetIbPd;

typedef struct VnetIbMem {
    /*
     * Any thread: has all memory registered, by vnet_ib_pd_add() from the main
     * loop, which then says vnet_ib_pd_ready().
     */
    void (*want)(VnetIbPd *pd);
    /*
     * Any thread: nothing uses it any more.  From the main loop: if
     * vnet_ib_pd_unused() says so, takes back all and says vnet_ib_pd_free().
     */
    void (*unwant)(VnetIbPd *pd);
} VnetIbMem;

/* The memory of the emulator's guests (vnet-rdma-ram.c). */
extern const VnetIbMem vnet_ib_ram;

/* --- For a VnetIbMem, in the main loop ----------------------------------- */

/* Registers a piece of memory.  False: *why, which is to be freed. */
bool vnet_ib_pd_add(VnetIbPd *pd, void *host, size_t size, char **why);
/* Nothing, if it was not added. */
void vnet_ib_pd_del(VnetIbPd *pd, void *host);
/* why NULL: everything is registered. */
void vnet_ib_pd_ready(VnetIbPd *pd, const char *why);
/* Whether it may be freed; from then on nobody finds it any more. */
bool vnet_ib_pd_unused(VnetIbPd *pd);
void vnet_ib_pd_free(VnetIbPd *pd);
/* Of the device. */
const char *vnet_ib_pd_name(const VnetIbPd *pd);
/* The VnetIbMem's own. */
void vnet_ib_pd_set_user(VnetIbPd *pd, void *user);
void *vnet_ib_pd_user(const VnetIbPd *pd);

/* --- For a link ---------------------------------------------------------- */

typedef struct VnetIbConfig {
    const VnetIbMem *mem;
    int gid_index;              /* -1: what the address leads to */
    int tos;                    /* type of service; -1: the system's */
    /* Any thread: an event is there that event_fd() does not show. */
    void (*wake)(void *opaque);
    void *opaque;
} VnetIbConfig;

/* NULL: this was built without RDMA. */
const VnetVerbs *vnet_verbs_ib(void);
VnetVCtx *vnet_ib_ctx_new(const VnetIbConfig *cfg);
/* All that was made with it is gone; wake() is not called any more. */
void vnet_ib_ctx_free(VnetVCtx *x);

#endif /* VNET_VERBS_IB_H */
