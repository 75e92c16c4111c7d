/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The header of VXLAN: see vnet-vxlan.h.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-inet.h"
#include "vnet-vxlan.h"

#define VNI_IS_VALID    0x08

void vnet_vxlan_put_header(uint8_t out[VNET_VXLAN_HDR], uint32_t vni)
{
    memset(out, 0, VNET_VXLAN_HDR);
    out[0] = VNI_IS_VALID;
    put32(out + 4, vni << 8);
}

bool vnet_vxlan_get_header(const uint8_t *in, size_t len, uint32_t *vni)
{
    if (len < VNET_VXLAN_HDR || !(in[0] & VNI_IS_VALID)) {
        return false;
    }
    *vni = get32(in + 4) >> 8;
    return true;
}

/* FNV-1a: guests that choose their ports well only get an even spread. */
static uint32_t mix(uint32_t h, const uint8_t *p, size_t len)
{
    while (len--) {
        h = (h ^ *p++) * 16777619u;
    }
    return h;
}

uint32_t vnet_vxlan_flow(const uint8_t *buf, size_t len)
{
    uint32_t h = 2166136261u;
    VnetInet i;

    if (!vnet_inet_find(buf, len, &i)) {
        return mix(h, buf, len < 12 ? len : 12);
    }
    h = i.v6 ? mix(h, buf + i.ip + 8, 32) : mix(h, buf + i.ip + 12, 8);
    h = mix(h, &i.proto, 1);
    /* Fragments have no ports but the first, and belong together. */
    if (!i.part && (i.proto == VNET_PROTO_TCP || i.proto == VNET_PROTO_UDP) &&
        i.end >= i.l4 + 4u) {
        h = mix(h, buf + i.l4, 4);
    }
    return h ^ h >> 16;
}
