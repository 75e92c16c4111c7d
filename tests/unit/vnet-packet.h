/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames with IP packets in them, whole and right, for tests to send or spoil.
 */
#ifndef VNET_PACKET_H
#define VNET_PACKET_H

#include <glib.h>
#include "vnet-inet.h"

typedef struct Packet {
    uint8_t buf[70000];
    size_t len;
    VnetInet i;
    unsigned payload;           /* offset */
} Packet;

typedef struct PacketSpec {
    bool v6;
    unsigned tags;              /* of VLANs */
    uint8_t proto;              /* VNET_PROTO_TCP or _UDP */
    uint8_t flow;               /* makes the addresses */
    uint8_t flags;              /* TCP's */
    uint32_t seq;
    unsigned options;           /* bytes of TCP's */
    bool may_cut;               /* IPv4: without DF */
    uint16_t id;                /* IPv4's */
    size_t payload;             /* bytes; byte n of the stream is (seq + n) * 31 */
} PacketSpec;

void packet_make(Packet *p, const PacketSpec *spec);
/* The checksum of the transport: all that is summed up gives 0xffff. */
bool packet_csum_ok(const uint8_t *buf, size_t len);
/* As a sender with checksum offload leaves it. */
void packet_leave_csum(Packet *p);

#endif /* VNET_PACKET_H */
