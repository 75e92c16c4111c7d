/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two hosts with a message link between them, for the tests of receives and
 * credits: a, on its client's side, opens streams and sends; b receives.
 */
#ifndef VNET_CREDIT_NET_H
#define VNET_CREDIT_NET_H

#include "vnet-core.h"      /* times and limits */
#include "vnet-fake.h"

#define S           (1000 * VNET_MS)
#define MAX_MSG     65536

typedef struct Net {
    FakeWorld *w;
    FakeHost *left, *right;
    FakeLink *l;
    FakeNic *a, *b;
} Net;

static inline Net net_of(guint32 seed, unsigned max_posted)
{
    Net n = { .w = fake_world_new(seed) };

    n.left = fake_host(n.w);
    n.right = fake_host(n.w);
    n.a = fake_nic_new(n.left, 1);
    n.b = fake_nic_new(n.right, 2);
    n.l = fake_link_new(n.w, n.left, n.right);
    fake_link_messages(n.l, MAX_MSG, max_posted);
    fake_run(n.w);
    return n;
}

static inline Net net_new(void)
{
    return net_of(0, 64);
}

/* Of a, who sends; of b, who receives. */
static inline const VnetLinkStats *tx_stats(Net *n)
{
    return fake_link_stats(n->l, false);
}

static inline const VnetLinkStats *rx_stats(Net *n)
{
    return fake_link_stats(n->l, true);
}

static inline VnetStreamInfo info(FakeStream *fs)
{
    VnetStreamInfo i;

    vnet_stream_get_info(fs->s, &i);
    return i;
}

/* Established, says nothing by itself.  spare: what b lends ahead. */
static inline FakeStream *open_stream(Net *n, unsigned spare, FakeStream **peer)
{
    FakeStream *fs;

    n->b->passive_hold = true;
    n->b->passive_tx = 0;
    fs = fake_connect(n->a, n->b->mac, UINT64_MAX);
    while (!(*peer = fake_peer_of(n->b, fs))) {
        g_assert_true(fake_step(n->w));
    }
    (*peer)->spare = spare;
    fake_run(n->w);
    g_assert_cmpstr(info(fs).state, ==, "established");
    return fs;
}

static inline void assert_link_up(Net *n)
{
    g_assert_cmpstr(vnet_link_state(fake_link_client(n->l)), ==, "up");
    g_assert_cmpstr(vnet_link_state(fake_link_server(n->l)), ==, "up");
}

static inline VnetMsg msg(uint8_t type, FakeStream *fs, uint64_t offset)
{
    VnetMsg m = { .type = type, .id = info(fs).cid };

    m.u.offset.offset = offset;
    return m;
}

static inline VnetMsg credit(FakeStream *fs, uint32_t count, uint32_t length)
{
    VnetMsg m = { .type = VNET_MSG_CREDIT, .id = info(fs).cid };

    m.u.credit.count = count;
    m.u.credit.length = length;
    return m;
}

#endif /* VNET_CREDIT_NET_H */
