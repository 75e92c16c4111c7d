/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the headers of a frame are: see vnet-inet.h.
 */
#include "vnet-bytes.h"
#include "vnet-inet.h"

unsigned vnet_inet_ethernet(const uint8_t *buf, size_t len, uint16_t *type)
{
    unsigned at = VNET_ETH_HDR;

    if (len < VNET_ETH_HDR) {
        return 0;
    }
    *type = get16(buf + 12);
    while ((*type == 0x8100 || *type == 0x88a8) && at < VNET_ETH_HDR + 8) {
        at += 4;
        if (len < at) {
            return 0;
        }
        *type = get16(buf + at - 2);
    }
    return at;
}

static bool find_v4(const uint8_t *ip, size_t left, VnetInet *i)
{
    unsigned ihl, total;

    if (left < 20 || ip[0] >> 4 != 4) {
        return false;
    }
    ihl = (ip[0] & 15) * 4;
    total = get16(ip + 2);
    if (ihl < 20 || total < ihl || total > left) {
        return false;
    }
    i->v6 = false;
    i->part = get16(ip + 6) & 0x3fff;
    i->proto = ip[9];
    i->l4 = i->ip + ihl;
    i->end = i->ip + total;
    return true;
}

static bool find_v6(const uint8_t *ip, size_t left, VnetInet *i)
{
    if (left < 40 || ip[0] >> 4 != 6 || get16(ip + 4) > left - 40) {
        return false;
    }
    i->v6 = true;
    i->part = false;
    i->proto = ip[6];
    i->l4 = i->ip + 40;
    i->end = i->l4 + get16(ip + 4);
    return true;
}

bool vnet_inet_find(const uint8_t *buf, size_t len, VnetInet *i)
{
    uint16_t type;

    i->ip = vnet_inet_ethernet(buf, len, &type);
    if (!i->ip) {
        return false;
    }
    switch (type) {
    case VNET_ETHERTYPE_IPV4:
        return find_v4(buf + i->ip, len - i->ip, i);
    case VNET_ETHERTYPE_IPV6:
        return find_v6(buf + i->ip, len - i->ip, i);
    default:
        return false;
    }
}

uint64_t vnet_inet_pseudo(const uint8_t *buf, const VnetInet *i, size_t n)
{
    const uint8_t *ip = buf + i->ip;

    return (i->v6 ? sum_bytes(0, ip + 8, 32) : sum_bytes(0, ip + 12, 8)) +
           i->proto + n;
}
