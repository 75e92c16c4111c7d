/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: a link over RDMA, and this process' rings as the memory that
 * it has registered.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "stream-bench.h"
#include "stream-bench-rdma.h"
#include "vnet-query.h"

/* One end is one process. */
static struct {
    uint8_t *at;
    size_t size;
} bench_rings[2];

static void bench_register(void *opaque)
{
    VnetIbPd *pd = opaque;
    g_autofree char *why = NULL;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(bench_rings) && !why; i++) {
        vnet_ib_pd_add(pd, bench_rings[i].at, bench_rings[i].size, &why);
    }
    vnet_ib_pd_ready(pd, why);
}

static void bench_release(void *opaque)
{
    VnetIbPd *pd = opaque;
    unsigned i;

    if (!vnet_ib_pd_unused(pd)) {
        return;
    }
    for (i = 0; i < ARRAY_SIZE(bench_rings); i++) {
        vnet_ib_pd_del(pd, bench_rings[i].at);
    }
    vnet_ib_pd_free(pd);
}

static void bench_mem_want(VnetIbPd *pd)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), bench_register, pd);
}

static void bench_mem_unwant(VnetIbPd *pd)
{
    aio_bh_schedule_oneshot(qemu_get_aio_context(), bench_release, pd);
}

static const VnetIbMem bench_mem = {
    .want = bench_mem_want,
    .unwant = bench_mem_unwant,
};

VnetRdmaLink *bench_rdma_link(VnetLoop *loop, const SocketAddress *addr,
                              bool server, uint8_t *tx, uint8_t *rx,
                              size_t size, Error **errp)
{
    const VnetRdmaLinkConfig cfg = {
        .id = "l0",
        .addr = addr,
        .server = server,
        .reconnect_ms = 200,
        .setup_timeout_ms = 5000,
        .gid_index = -1,
        .service_level = -1,
        .mem = &bench_mem,
    };

    bench_rings[0].at = tx;
    bench_rings[1].at = rx;
    bench_rings[0].size = bench_rings[1].size = size;
    if (!vnet_rdma_link_check(&cfg, errp)) {
        return NULL;
    }
    return vnet_rdma_link_new(loop, &cfg, errp);
}

void bench_rdma_result(VnetRdmaLink *k, BenchResult *res)
{
    VnetRdmaLinkInfo info;

    vnet_rdma_link_query(k, &info);
    qapi_free_SocketAddress(info.local);
    qapi_free_SocketAddress(info.remote);
    res->bytes_copied = vnet_link_stats(vnet_rdma_link_link(k))->bytes_copied;
    res->writes = info.rdma.stats->data_sends;
    res->reads = info.rdma.stats->data_receives;
    res->control = info.rdma.stats->control_msgs_sent +
                   info.rdma.stats->control_msgs_received;
    res->wakeups = info.rdma.stats->cq_turns;
}
