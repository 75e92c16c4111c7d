/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores for tests of the peer protocol, see vnet-peer-net.h.
 */
#include "vnet-peer-net.h"

Net net_with(uint32_t left_vni, uint32_t right_vni)
{
    Net n = { .w = fake_world_new(0) };
    VnetCoreConfig cfg = {
        .name = "left", .net.vni = left_vni, .max_streams = 100,
        .heartbeat_ms = 1000, .max_macs = 64, .mac_age_s = 300,
    };

    n.left = fake_host_new(n.w, &cfg);
    cfg.name = "right";
    cfg.net.vni = right_vni;
    n.right = fake_host_new(n.w, &cfg);
    n.a = fake_nic_new(n.left, 1);
    n.b = fake_nic_new(n.right, 2);
    n.l = fake_link_new(n.w, n.left, n.right);
    return n;
}

Net net_new(void)
{
    Net n = net_with(7, 7);

    fake_run(n.w);
    return n;
}

const char *client_state(Net *n)
{
    return vnet_link_state(fake_link_client(n->l));
}

const char *server_state(Net *n)
{
    return vnet_link_state(fake_link_server(n->l));
}

void assert_up(Net *n)
{
    g_assert_cmpstr(client_state(n), ==, "up");
    g_assert_cmpstr(server_state(n), ==, "up");
}

const VnetLinkStats *client_stats(Net *n)
{
    return fake_link_stats(n->l, false);
}

const VnetLinkStats *server_stats(Net *n)
{
    return fake_link_stats(n->l, true);
}

typedef struct Find {
    VnetLink *l;
    VnetLinkInfo info;
    char *name;
} Find;

static void find(void *opaque, const VnetLinkInfo *info)
{
    Find *f = opaque;

    if (info->link == f->l) {
        f->info = *info;
        g_free(f->name);
        f->name = g_strdup(info->peer_name);
    }
}

VnetLinkInfo info_of(FakeHost *h, VnetLink *l, char **name)
{
    Find f = { .l = l };

    vnet_query_links(h->core, find, &f);
    if (name) {
        *name = f.name;
    } else {
        g_free(f.name);
    }
    return f.info;
}

VnetMsg hello(void)
{
    VnetMsg m = { .type = VNET_MSG_HELLO };

    m.u.hello.version_min = m.u.hello.version_max = 1;
    m.u.hello.heartbeat_ms = 1000;
    m.u.hello.features = 7;
    m.u.hello.epoch = 0x77;
    m.u.hello.vni = 7;
    m.u.hello.max_streams = 10;
    return m;
}

Net raw_net(void)
{
    Net n = net_with(7, 7);

    fake_link_swallow(n.l, true, 255);
    fake_run(n.w);
    g_assert_cmpstr(server_state(&n), ==, "hello");
    fake_link_block(n.l, true);
    return n;
}
