/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links by VXLAN (RFC 7348): to any VXLAN tunnel end point, as a vxlan device of
 * Linux is one.  Frames only.  docs/specs/vnet-vxlan.rst.
 *
 * Uses QEMU's util library, not its system emulator.
 */
#ifndef VNET_LINK_VXLAN_H
#define VNET_LINK_VXLAN_H

#include "qapi/qapi-types-sockets.h"
#include "vnet-loop.h"

/* IP packets of the network below: what leaves 1280 bytes, IPv6's least, over
 * IPv6; and what the length field can say. */
#define VNET_VXLAN_MIN_MTU      1350
#define VNET_VXLAN_MAX_MTU      65535

typedef struct VnetVxlanConfig {
    const char *id;
    const SocketAddress *addr;  /* the peer's */
    const char *local;          /* address to have; NULL: any */
    uint16_t local_port;        /* to receive at; 0: the peer's */
    uint32_t mtu;               /* of the network below; 0: as the route says */
    uint32_t reconnect_ms;      /* longest pause while there is no route */
    uint32_t buffer_size;       /* to receive in; 0: the default */
} VnetVxlanConfig;

/* Counters beside the link's own, as X(name, meaning). */
#define VNET_VXLAN_STATS(X) \
    X(datagrams_sent, "UDP datagrams sent") \
    X(datagram_writes, "system calls that sent some") \
    X(datagrams_received, "UDP datagrams received") \
    X(datagram_reads, "system calls that received some") \
    X(rx_joined, "TCP segments made part of a larger frame") \
    X(rx_overrun, "datagrams lost: the receive buffer was full") \
    X(rx_drop_source, "datagrams dropped: not from the peer's address") \
    X(rx_drop_header, "datagrams dropped: no VXLAN header") \
    X(rx_drop_long, "datagrams dropped: longer than the longest frame") \
    X(rx_drop_short, "datagrams dropped: shorter than an Ethernet header") \
    X(tx_cut, "frames cut into TCP segments") \
    X(tx_fragmented, "frames cut into IPv4 fragments") \
    X(tx_drop_answered, "frames dropped: too long, and their sender told") \
    X(tx_drop_long, "frames dropped: too long, and nobody to tell") \
    X(tx_drop_offload, "frames dropped: not what their offload says") \
    X(tx_lost, "datagrams dropped: the network below refused them") \
    X(answers_dropped, "senders not told: too many in a second") \
    X(unreachable, "errors that the network below reported")

typedef struct VnetVxlanStats {
#define VNET_VXLAN_STAT_FIELD(name, meaning) uint64_t name;
    VNET_VXLAN_STATS(VNET_VXLAN_STAT_FIELD)
#undef VNET_VXLAN_STAT_FIELD
} VnetVxlanStats;

typedef struct VnetVxlanLink VnetVxlanLink;

/* Checks a configuration without side effects.  False and *errp, which names
 * the value. */
bool vnet_vxlan_check(const VnetVxlanConfig *cfg, Error **errp);
/*
 * Binds the socket that receives.  Several links, also of other QEMUs of the
 * same user, may share a port as long as their peers are different.  A
 * descriptor; or -1 and *errp.
 */
int vnet_vxlan_bind(const VnetVxlanConfig *cfg, Error **errp);
/* Whom it receives from, and where: no two links of a QEMU have the same.  To be
 * freed. */
char *vnet_vxlan_claim_name(const VnetVxlanConfig *cfg);
/*
 * The largest IP packet that frames of such a link may hold: from its mtu, or
 * else what the route to the peer says now, or 1500.
 */
uint32_t vnet_vxlan_inner_mtu(const VnetVxlanConfig *cfg);
/*
 * Makes the link and starts it.  The configuration was checked and is copied;
 * fd is vnet_vxlan_bind()'s and becomes the link's.  NULL and *errp: no
 * descriptor left; fd stays the caller's then.
 */
VnetVxlanLink *vnet_vxlan_new(VnetLoop *loop, const VnetVxlanConfig *cfg,
                              int fd, Error **errp);
void vnet_vxlan_free(VnetVxlanLink *k);

typedef struct VnetVxlanInfo {
    bool up;
    uint32_t mtu;               /* as vnet_vxlan_inner_mtu(), now */
    unsigned connections;       /* open descriptors, the bound one apart */
    SocketAddress *local;       /* NULL if unknown; the caller's to free */
    SocketAddress *remote;
    const VnetVxlanStats *stats;
} VnetVxlanInfo;
VnetLink *vnet_vxlan_link(VnetVxlanLink *k);
void vnet_vxlan_query(VnetVxlanLink *k, VnetVxlanInfo *info);

#endif /* VNET_LINK_VXLAN_H */
