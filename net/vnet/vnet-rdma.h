/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over RDMA connections: the transport's behaviour, as its shell
 * (vnet-link-rdma.c) and tests see it.  What a link decides is here and in the
 * stream machine; how connections are really made is behind vnet-verbs.h.
 * docs/specs/vnet-wire.rst, "RDMA", is what it implements.
 *
 * Everything is for the VNET thread, and, as the seam to the stream machine
 * wants it, within a dispatch.
 */
#ifndef VNET_RDMA_H
#define VNET_RDMA_H

#include "vnet-link.h"
#include "vnet-verbs.h"

typedef struct VnetRdma VnetRdma;

typedef struct VnetRdmaAddr {
    struct sockaddr_storage ss;
} VnetRdmaAddr;
#define VNET_RDMA_ADDRS     8

/* What the transport asks of its shell. */
typedef struct VnetRdmaHost {
    int64_t (*now_ns)(void *opaque);        /* monotonic */
    /* Calls vnet_rdma_tick() at or after this; the latest call replaces earlier
     * ones. */
    void (*arm_timer)(void *opaque, int64_t when_ns);
    /* Calls vnet_rdma_at_end() at the end of this dispatch; idempotent. */
    void (*at_end)(void *opaque);
    /* Calls vnet_rdma_again() in the next dispatch, after the others' turn. */
    void (*again)(void *opaque);
    /* The event channel is open: calls vnet_rdma_cm_ready() when it is
     * readable.  Once.  -errno: it cannot be watched. */
    int (*watch_events)(void *opaque);
    /* A device's descriptors: vnet_rdma_cq_ready(), vnet_rdma_async_ready(). */
    int (*watch)(void *opaque, VnetVDev *dev);
    void (*unwatch)(void *opaque, VnetVDev *dev);
    /* Client: finds the peer's addresses; vnet_rdma_resolved() follows, not
     * from inside, unless it is cancelled. */
    void (*lookup)(void *opaque);
    void (*lookup_cancel)(void *opaque);
    /* For traces: what happened to a connection, in which state. */
    void (*trace)(void *opaque, uint64_t serial, uint32_t stream_id,
                  const char *state, const char *what, int status);
} VnetRdmaHost;

typedef struct VnetRdmaConfig {
    const char *id;
    const char *where;          /* the address, for messages */
    bool server;
    uint32_t reconnect_ms;      /* longest pause, client */
    uint32_t setup_timeout_ms;  /* until a connection is made */
    uint32_t max_qps;           /* of this link; 0: the device's limit */
} VnetRdmaConfig;

/*
 * Counters that the transport keeps beside the link's own (vnet-stats.h), as
 * X(name, meaning).
 */
#define VNET_RDMA_STATS(X) \
    X(accepted, "connections accepted") \
    X(dialed, "connections made") \
    X(dial_failed, "connections that could not be made") \
    X(setup_timeout, "connections given up: not made in time") \
    X(setup_evicted, "requests refused: too many that wait") \
    X(refused_preamble, "requests refused: no VNET preamble") \
    X(refused_limit, "streams refused: max-qps or the device's limit") \
    X(early_timeout, "requests refused: their OPEN never came") \
    X(early_full, "requests refused: too many before their OPEN") \
    X(cm_events, "events of the connection manager") \
    X(cm_unexpected, "events that fit no state, ignored") \
    X(addr_changes, "notices that a local address moved") \
    X(device_removals, "notices that a device went away") \
    X(device_failed, "devices that could not be used") \
    X(disconnects_lost, "farewells that the peer did not answer in time") \
    X(linger_full, "farewells not waited for: too many") \
    X(settle_failed, "streams not resumed: it is not known what was received") \
    X(async_qp_fatal, "adapter: fatal error of a queue pair") \
    X(async_qp_req_err, "adapter: invalid request on a queue pair") \
    X(async_qp_access_err, "adapter: access violation on a queue pair") \
    X(async_comm_est, "adapter: bytes before ESTABLISHED") \
    X(async_cq_err, "adapter: completion queue of no use") \
    X(async_device_fatal, "adapter: device of no use") \
    X(async_port_err, "adapter: port down") \
    X(async_port_active, "adapter: port up") \
    X(async_other, "adapter: other events") \
    X(wc_errors, "completions with an error, flushed ones apart") \
    X(wc_rnr, "of those: the peer had no receive posted") \
    X(wc_stale, "completions of connections that are gone") \
    X(cq_turns, "times completions were looked for") \
    X(control_msgs_sent, "messages on the control connection") \
    X(control_msgs_received, "messages on the control connection") \
    X(frame_msgs_sent, "messages on the frame connection") \
    X(frame_msgs_received, "messages on the frame connection") \
    X(credit_msgs_sent, "of both: that only return credits") \
    X(data_sends, "messages of streams sent") \
    X(data_sends_inline, "of those: sent inline") \
    X(data_sends_signalled, "of those: with a completion of their own") \
    X(data_receives, "messages of streams received") \
    X(data_receives_posted, "receives posted for streams")

typedef struct VnetRdmaStats {
#define VNET_RDMA_STAT_FIELD(name, meaning) uint64_t name;
    VNET_RDMA_STATS(VNET_RDMA_STAT_FIELD)
#undef VNET_RDMA_STAT_FIELD
} VnetRdmaStats;

typedef enum VnetRdmaStage {
    VNET_RDMA_WAITING,          /* before the next attempt */
    VNET_RDMA_RESOLVING,        /* the peer's name */
    VNET_RDMA_LISTENING,
    VNET_RDMA_CONNECTING,
    VNET_RDMA_CONNECTED,        /* control connection exists */
} VnetRdmaStage;

typedef struct VnetRdmaInfo {
    VnetRdmaStage stage;
    bool server;
    unsigned connections;       /* made or being made, the listener apart */
    unsigned lingering;         /* QP gone, farewell awaited */
    unsigned qps;
    /* Of the control connection, or where a server listens; ss_family 0:
     * unknown */
    struct sockaddr_storage local, peer;
    const VnetRdmaStats *stats;
} VnetRdmaInfo;

/* Makes the link; verbs and x outlive it.  A client begins at its first tick,
 * which is asked for here. */
VnetRdma *vnet_rdma_new(VnetCore *core, const VnetRdmaConfig *cfg,
                        const VnetVerbs *verbs, VnetVCtx *x,
                        const VnetRdmaHost *host, void *opaque);
/* Server: listens.  NULL, or why not (g_free() it). */
char *vnet_rdma_listen(VnetRdma *r, const VnetRdmaAddr *addr);
void vnet_rdma_free(VnetRdma *r);

/* Client: the addresses of the peer, or why there are none. */
void vnet_rdma_resolved(VnetRdma *r, const VnetRdmaAddr *addrs, unsigned n,
                        const char *err);
void vnet_rdma_cm_ready(VnetRdma *r);
void vnet_rdma_cq_ready(VnetRdma *r, VnetVDev *dev);
void vnet_rdma_async_ready(VnetRdma *r, VnetVDev *dev);
/*
 * on: the shell looks at completed() of each device it watches, and calls
 * vnet_rdma_cq_seen() when it says so; events are not needed.  off: they are,
 * and the shell looks once more.
 */
void vnet_rdma_polling(VnetRdma *r, bool on);
void vnet_rdma_cq_seen(VnetRdma *r, VnetVDev *dev);
void vnet_rdma_tick(VnetRdma *r);
void vnet_rdma_at_end(VnetRdma *r);
void vnet_rdma_again(VnetRdma *r);

VnetLink *vnet_rdma_link(VnetRdma *r);
void vnet_rdma_query(VnetRdma *r, VnetRdmaInfo *info);

#endif /* VNET_RDMA_H */
