/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at an overlay without changing it: what QMP, HMP and tests show.
 *
 * All of it runs in the VNET thread.  The callbacks get structs that, with the
 * strings in them, are valid during the call; they must not call anything that
 * changes the overlay.
 */
#ifndef VNET_QUERY_H
#define VNET_QUERY_H

#include "vnet-link.h"
#include "vnet-route.h"
#include "vnet-stats.h"

typedef struct VnetCoreInfo {
    const char *name;
    uint64_t epoch;             /* of this end */
    unsigned nets;              /* network ids */
    unsigned links, links_up;
    unsigned streams, max_streams;
    unsigned macs_learnt, max_macs;
} VnetCoreInfo;
void vnet_query_core(const VnetCore *core, VnetCoreInfo *info);

typedef struct VnetNetInfo {
    uint32_t vni;
    unsigned ports, streams;
    unsigned macs_learnt, macs_claimed;
    VnetRates rates[VNET_DIRECTIONS];
    const VnetCoreStats *stats;
} VnetNetInfo;
void vnet_query_net(const VnetNet *net, VnetNetInfo *info);

typedef struct VnetLinkInfo {
    const char *id;
    const char *type;           /* the transport's */
    bool server;
    const char *state;          /* "down", "hello", "up" */
    const char *peer_name;      /* "" before the first hello */
    uint64_t peer_epoch;        /* 0 before the first hello */
    unsigned version;           /* agreed; 0 when not up */
    uint64_t features;          /* agreed, VNET_HELLO_F_* */
    int64_t rtt_ns;             /* last heartbeat's; -1: none yet */
    int64_t since_ns;           /* in this state for */
    unsigned streams;
    unsigned nvnis;             /* network ids that both ends have, when up */
    uint32_t vnis[VNET_NETS_MAX];
    const char *last_error;     /* why it went down last, "" if never */
    const VnetLinkStats *stats;
    VnetLink *link;             /* to match with the transport */
} VnetLinkInfo;
void vnet_query_links(const VnetCore *core,
                      void (*cb)(void *opaque, const VnetLinkInfo *info),
                      void *opaque);

typedef struct VnetPortInfo {
    const char *id;
    uint8_t mac[6];
    bool takes_streams;
    bool carrier;
    unsigned streams;
    const VnetPortStats *stats;
} VnetPortInfo;
void vnet_query_ports(const VnetNet *net,
                      void (*cb)(void *opaque, const VnetPortInfo *info),
                      void *opaque);

/* One per stream; see VnetStreamInfo in vtoe/vnet-port.h. */
void vnet_query_streams(const VnetNet *net,
                        void (*cb)(void *opaque, const VnetStreamInfo *info),
                        void *opaque);

typedef struct VnetMacInfo {
    uint8_t mac[6];
    const char *where;          /* id of the port or link */
    bool is_link;
    bool learnt;                /* from frames; else announced or a port's */
    bool streams;               /* announced as able to take streams */
    int64_t age_ns;             /* learnt: since last seen; else 0 */
} VnetMacInfo;
void vnet_query_macs(const VnetNet *net,
                     void (*cb)(void *opaque, const VnetMacInfo *info),
                     void *opaque);

/* Static routes, the newest first. */
void vnet_query_routes(const VnetNet *net,
                       void (*cb)(void *opaque, const VnetRule *rule),
                       void *opaque);

/* Of one link, for transports and the shell. */
const char *vnet_link_id(const VnetLink *l);
const char *vnet_link_state(const VnetLink *l);
/* Counters the transport keeps itself: bytes_copied, frame_bytes_copied. */
VnetLinkStats *vnet_link_stats(VnetLink *l);
/* Counts a preamble that is none, by what is wrong with it. */
void vnet_link_count_bad(VnetLink *l, VnetWireError e);
const char *vnet_port_id(const VnetPort *port);
VnetNet *vnet_stream_net(const VnetStream *s);

#endif /* VNET_QUERY_H */
