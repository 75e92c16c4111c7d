/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of Ethernet addresses that does not change: those that the peer of a
 * link was given.
 */
#ifndef VNET_MAC_SET_H
#define VNET_MAC_SET_H

#include <stdbool.h>
#include <stdint.h>

/* The most that a set can hold. */
#define VNET_MAC_SET_MAX    4096

typedef struct VnetMacSet VnetMacSet;

/* n: 0 to VNET_MAC_SET_MAX addresses, in any order, also more than once. */
VnetMacSet *vnet_mac_set_new(const uint8_t (*macs)[6], unsigned n);
/* set may be NULL. */
void vnet_mac_set_free(VnetMacSet *set);
bool vnet_mac_set_has(const VnetMacSet *set, const uint8_t mac[6]);

#endif /* VNET_MAC_SET_H */
