/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the headers of a frame are.  The frame comes from a guest or a peer:
 * nothing in it is believed before it was checked against the frame's length.
 */
#ifndef VNET_INET_H
#define VNET_INET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VNET_ETH_HDR        14
#define VNET_ETHERTYPE_IPV4 0x0800
#define VNET_ETHERTYPE_IPV6 0x86dd
#define VNET_PROTO_ICMP     1
#define VNET_PROTO_TCP      6
#define VNET_PROTO_UDP      17
#define VNET_PROTO_ICMPV6   58

/* Fields of the TCP header, as offsets, and flags. */
#define VNET_TCP_HDR        20
#define VNET_TCP_SEQ        4
#define VNET_TCP_OFFSET     12
#define VNET_TCP_FLAGS      13
#define VNET_TCP_CSUM       16
#define VNET_TCP_FIN        0x01
#define VNET_TCP_PSH        0x08
#define VNET_TCP_ACK        0x10
#define VNET_TCP_CWR        0x80
#define VNET_UDP_CSUM       6

/*
 * The offset of what the Ethernet header and up to two VLAN tags carry, and its
 * type.  0: the frame is too short for them.
 */
unsigned vnet_inet_ethernet(const uint8_t *buf, size_t len, uint16_t *type);

/* A packet of IPv4, or of IPv6 without extension headers, in a frame. */
typedef struct VnetInet {
    bool v6;
    bool part;                  /* a fragment of one */
    uint8_t proto;              /* VNET_PROTO_*, or another */
    unsigned ip, l4;            /* offsets of the headers */
    size_t end;                 /* of the packet; padding may follow */
} VnetInet;

/* False: there is none, or it does not fit the frame. */
bool vnet_inet_find(const uint8_t *buf, size_t len, VnetInet *i);
/* Of the pseudo header of TCP or UDP, not folded; `n` bytes from i->l4 on. */
uint64_t vnet_inet_pseudo(const uint8_t *buf, const VnetInet *i, size_t n);

#endif /* VNET_INET_H */
