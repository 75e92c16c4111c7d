/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory of the guests, registered with an RDMA device: once for all links
 * on it, in the main loop, and kept right while memory comes and goes.
 *
 * Registered memory is pinned.  What would give pages of it back to the host
 * (virtio-balloon, virtio-mem) is refused meanwhile: the adapter would go on
 * using the old pages.
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include "block/aio.h"
#include "exec/memory.h"
#include "exec/ramlist.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "trace.h"
#include "vnet-verbs-ib.h"

typedef struct VnetIbRam {
    RAMBlockNotifier n;
    VnetIbPd *pd;
    bool ready;                 /* what comes now is hot-plugged */
    char *why;                  /* first failure before that */
    uint64_t bytes;
} VnetIbRam;

static void vnet_ib_ram_added(RAMBlockNotifier *n, void *host, size_t size,
                              size_t max_size)
{
    VnetIbRam *ram = container_of(n, VnetIbRam, n);
    g_autofree char *why = NULL;

    if (ram->why) {
        return;
    }
    /* As large as it may grow: a block is resized in place. */
    if (vnet_ib_pd_add(ram->pd, host, max_size, &why)) {
        ram->bytes += max_size;
        trace_vnet_ib_ram_add(vnet_ib_pd_name(ram->pd), host, max_size);
        return;
    }
    if (ram->ready) {
        /* Streams that use it will be reset; nothing else is wrong. */
        error_report("vnet: memory that was plugged in is not usable for "
                     "streams over RDMA: %s", why);
    } else {
        ram->why = g_steal_pointer(&why);
    }
}

static void vnet_ib_ram_removed(RAMBlockNotifier *n, void *host, size_t size,
                                size_t max_size)
{
    VnetIbRam *ram = container_of(n, VnetIbRam, n);

    trace_vnet_ib_ram_del(vnet_ib_pd_name(ram->pd), host);
    vnet_ib_pd_del(ram->pd, host);
}

static void vnet_ib_ram_end(VnetIbRam *ram)
{
    ram_block_notifier_remove(&ram->n);
    ram_block_discard_disable(false);
    vnet_ib_pd_set_user(ram->pd, NULL);
    g_free(ram->why);
    g_free(ram);
}

static char *vnet_ib_ram_locked_limit(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_MEMLOCK, &rl) < 0 || rl.rlim_cur == RLIM_INFINITY) {
        return g_strdup("no limit of locked memory is set");
    }
    return g_strdup_printf("the limit of locked memory (ulimit -l) is %"
                           PRIu64 " KiB", (uint64_t)rl.rlim_cur / KiB);
}

static void vnet_ib_ram_want_bh(void *opaque)
{
    VnetIbPd *pd = opaque;
    VnetIbRam *ram;

    if (ram_block_discard_disable(true)) {
        vnet_ib_pd_ready(pd, "the guest's memory cannot be registered while a "
                         "device may give it back (virtio-mem)");
        return;
    }
    ram = g_new0(VnetIbRam, 1);
    ram->pd = pd;
    ram->n.ram_block_added = vnet_ib_ram_added;
    ram->n.ram_block_removed = vnet_ib_ram_removed;
    vnet_ib_pd_set_user(pd, ram);
    ram_block_notifier_add(&ram->n);
    if (ram->why) {
        g_autofree char *limit = vnet_ib_ram_locked_limit();
        g_autofree char *why = g_strdup_printf("%s; %s", ram->why, limit);

        vnet_ib_ram_end(ram);
        vnet_ib_pd_ready(pd, why);
        return;
    }
    ram->ready = true;
    trace_vnet_ib_ram_ready(vnet_ib_pd_name(pd), ram->bytes);
    vnet_ib_pd_ready(pd, NULL);
}

static void vnet_ib_ram_unwant_bh(void *opaque)
{
    VnetIbPd *pd = opaque;
    VnetIbRam *ram;

    if (!vnet_ib_pd_unused(pd)) {
        return;                 /* a new link uses it */
    }
    ram = vnet_ib_pd_user(pd);
    if (ram) {
        vnet_ib_ram_end(ram);
    }
    vnet_ib_pd_free(pd);
}

static void vnet_ib_ram_want(VnetIbPd *pd)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), vnet_ib_ram_want_bh, pd);
}

static void vnet_ib_ram_unwant(VnetIbPd *pd)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), vnet_ib_ram_unwant_bh,
                            pd);
}

const VnetIbMem vnet_ib_ram = {
    .want = vnet_ib_ram_want,
    .unwant = vnet_ib_ram_unwant,
};
