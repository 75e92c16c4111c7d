/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of Ethernet addresses: see vnet-mac-set.h.
 */

#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include "vnet-mac-set.h"

struct VnetMacSet {
    unsigned n;
    uint8_t macs[][6];          /* ascending */
};

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 6);
}

VnetMacSet *vnet_mac_set_new(const uint8_t (*macs)[6], unsigned n)
{
    VnetMacSet *set = g_malloc(sizeof(*set) + n * sizeof(macs[0]));

    set->n = n;
    if (n) {
        memcpy(set->macs, macs, n * sizeof(macs[0]));
        qsort(set->macs, n, sizeof(set->macs[0]), compare);
    }
    return set;
}

void vnet_mac_set_free(VnetMacSet *set)
{
    g_free(set);
}

bool vnet_mac_set_has(const VnetMacSet *set, const uint8_t mac[6])
{
    return set->n && bsearch(mac, set->macs, set->n, sizeof(set->macs[0]),
                             compare);
}
