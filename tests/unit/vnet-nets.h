/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores with two network ids each, for tests of them (docs/specs/vnet-wire.rst,
 * "Network ids").
 *
 *   left -- a (…:01) in 7 ===== one link ===== b (…:02) in 7 -- right
 *        -- c (…:01) in 8                      d (…:02) in 8
 *
 * The same addresses are in both ids.  A frame's length says of which id it is.
 */
#ifndef VNET_NETS_H
#define VNET_NETS_H

#include <string.h>
#include "vnet-core.h"
#include "vnet-peer-net.h"

typedef struct Nets {
    Net n;                      /* with a and b */
    VnetNet *left8, *right8;
    FakeNic *c, *d;
} Nets;

extern const uint8_t everyone[6];

/* Adds id 8 to an end, with its NIC. */
void add_left(Nets *t);
void add_right(Nets *t);
/* With both, and the link up. */
Nets nets_new(void);

void send_as(FakeNic *n, const uint8_t *dst, const uint8_t *src);
/* How many frames each NIC got since the last time: a, b, c, d.  They are of its
 * id. */
char *got(Nets *t);
#define assert_got(t, what) \
    do { \
        g_autofree char *got_ = got(t); \
        g_assert_cmpstr(got_, ==, what); \
    } while (0)

/* The ids that both ends of the link have, as one of them sees it. */
char *common(FakeHost *h, VnetLink *l);
#define assert_common(n, what) \
    do { \
        g_autofree char *l_ = common((n)->left, fake_link_client((n)->l)); \
        g_autofree char *r_ = common((n)->right, fake_link_server((n)->l)); \
        g_assert_cmpstr(l_, ==, what); \
        g_assert_cmpstr(r_, ==, what); \
    } while (0)

/* Addresses of ports and peers in an id, as one end sees it. */
unsigned claimed(const VnetNet *net);

#endif /* VNET_NETS_H */
