/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores for tests of the peer protocol (docs/specs/vnet-wire.rst, "Links").
 *
 *   left -- nic a (…:01) ===== fake link ===== nic b (…:02) -- right
 *
 * left is the link's client.
 */
#ifndef VNET_PEER_NET_H
#define VNET_PEER_NET_H

#include "vnet-fake.h"

#define MS      1000000ll
#define S       (1000 * MS)

typedef struct Net {
    FakeWorld *w;
    FakeHost *left, *right;     /* client, server */
    FakeNic *a, *b;
    FakeLink *l;
} Net;

/* With these network ids, and nothing done yet. */
Net net_with(uint32_t left_vni, uint32_t right_vni);
/* With the link up. */
Net net_new(void);
/* A server that is talked to by the test alone. */
Net raw_net(void);
/* A good hello of the test, for fake_link_inject_msg(). */
VnetMsg hello(void);

const char *client_state(Net *n);
const char *server_state(Net *n);
void assert_up(Net *n);
const VnetLinkStats *client_stats(Net *n);
const VnetLinkStats *server_stats(Net *n);
/* A counter's place. */
#define STAT(name) offsetof(VnetLinkStats, name)
/* What query-vnet says of a link; *name, which may be NULL, is the caller's. */
VnetLinkInfo info_of(FakeHost *h, VnetLink *l, char **name);

#endif /* VNET_PEER_NET_H */
