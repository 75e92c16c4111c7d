/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over RDMA, for the owner of a loop: what binds their behaviour
 * (vnet-rdma.h) to it.
 *
 * Uses QEMU's util library, not its system emulator.
 */
#ifndef VNET_LINK_RDMA_H
#define VNET_LINK_RDMA_H

#include "qapi/qapi-types-sockets.h"
#include "vnet-loop.h"
#include "vnet-rdma.h"
#include "vnet-verbs-ib.h"

typedef struct VnetRdmaLinkConfig {
    const char *id;
    const SocketAddress *addr;
    bool server;
    uint32_t reconnect_ms;      /* longest pause, client */
    uint32_t setup_timeout_ms;  /* until a connection is made */
    uint32_t max_qps;           /* 0: the device's limit */
    int gid_index;              /* -1: what the address leads to */
    int service_level;          /* -1: the system's */
    const VnetIbMem *mem;       /* the memory that streams use */
    /* See VnetRdmaHost; may be NULL. */
    void (*trace)(void *opaque, const char *link, uint64_t serial,
                  uint32_t stream_id, const char *state, const char *what,
                  int status);
    void *opaque;
} VnetRdmaLinkConfig;

typedef struct VnetRdmaLink VnetRdmaLink;

/*
 * Checks a configuration without side effects, in any thread.  False and
 * *errp, which names the value; also when there is no RDMA in this build.
 */
bool vnet_rdma_link_check(const VnetRdmaLinkConfig *cfg, Error **errp);
/*
 * Makes the link and starts it.  The configuration was checked and is copied.
 * Server: listens; may look up a name.  NULL and *errp: it cannot.
 */
VnetRdmaLink *vnet_rdma_link_new(VnetLoop *loop, const VnetRdmaLinkConfig *cfg,
                                 Error **errp);
void vnet_rdma_link_free(VnetRdmaLink *k);

typedef struct VnetRdmaLinkInfo {
    VnetRdmaInfo rdma;
    SocketAddress *local;       /* NULL if unknown; the caller's to free */
    SocketAddress *remote;
} VnetRdmaLinkInfo;
VnetLink *vnet_rdma_link_link(VnetRdmaLink *k);
void vnet_rdma_link_query(VnetRdmaLink *k, VnetRdmaLinkInfo *info);

#endif /* VNET_LINK_RDMA_H */
