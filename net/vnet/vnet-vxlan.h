/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header of VXLAN (RFC 7348).  docs/specs/vnet-vxlan.rst.
 */
#ifndef VNET_VXLAN_H
#define VNET_VXLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VNET_VXLAN_HDR          8
/* Of the packets around: IP without options, UDP, VXLAN. */
#define VNET_VXLAN_OVERHEAD_V4  (20 + 8 + VNET_VXLAN_HDR)
#define VNET_VXLAN_OVERHEAD_V6  (40 + 8 + VNET_VXLAN_HDR)

/* vni: 0 to VNET_VNI_MAX. */
void vnet_vxlan_put_header(uint8_t out[VNET_VXLAN_HDR], uint32_t vni);
/* False: it is none.  What is reserved is not looked at. */
bool vnet_vxlan_get_header(const uint8_t *in, size_t len, uint32_t *vni);
/*
 * A number that the frames of a flow have in common, and others with luck not:
 * from addresses and ports, or else from the Ethernet addresses.
 */
uint32_t vnet_vxlan_flow(const uint8_t *buf, size_t len);

#endif /* VNET_VXLAN_H */
