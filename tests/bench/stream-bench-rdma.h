/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: a link over RDMA, see stream-bench-rdma.c.
 */
#ifndef STREAM_BENCH_RDMA_H
#define STREAM_BENCH_RDMA_H

#include "vnet-link-rdma.h"

/*
 * An end of a link.  tx, rx: memory of `size` bytes each that streams use;
 * stays there until the process ends.
 */
VnetRdmaLink *bench_rdma_link(VnetLoop *loop, const SocketAddress *addr,
                              bool server, uint8_t *tx, uint8_t *rx,
                              size_t size, Error **errp);
/* Its counters; writes and reads are messages. */
void bench_rdma_result(VnetRdmaLink *k, BenchResult *res);

#endif /* STREAM_BENCH_RDMA_H */
