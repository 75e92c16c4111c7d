/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores with two network ids each, see vnet-nets.h.
 */
#include "vnet-nets.h"

const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };

void add_left(Nets *t)
{
    t->left8 = fake_net_new(t->n.left, 8);
    t->c = fake_nic_in(t->n.left, t->left8, 1);
    fake_run(t->n.w);
}

void add_right(Nets *t)
{
    t->right8 = fake_net_new(t->n.right, 8);
    t->d = fake_nic_in(t->n.right, t->right8, 2);
    fake_run(t->n.w);
}

Nets nets_new(void)
{
    Nets t = { .n = net_with(7, 7) };

    add_left(&t);
    add_right(&t);
    assert_up(&t.n);
    return t;
}

void send_as(FakeNic *n, const uint8_t *dst, const uint8_t *src)
{
    fake_send_frame(n, dst, src, 100 + vnet_net_vni(n->net));
    fake_run(n->h->w);
}

char *got(Nets *t)
{
    FakeNic *nics[] = { t->n.a, t->n.b, t->c, t->d };
    GString *s = g_string_new("");

    for (size_t i = 0; i < G_N_ELEMENTS(nics); i++) {
        g_string_append_printf(s, "%u", nics[i] ? nics[i]->frames : 0);
        if (nics[i] && nics[i]->frames) {
            g_assert_cmpuint(nics[i]->last_len, ==,
                             100 + vnet_net_vni(nics[i]->net));
            nics[i]->frames = 0;
        }
    }
    return g_string_free(s, FALSE);
}

char *common(FakeHost *h, VnetLink *l)
{
    VnetLinkInfo info = info_of(h, l, NULL);
    GString *s = g_string_new("");

    for (unsigned i = 0; i < info.nvnis; i++) {
        g_string_append_printf(s, "%s%u", i ? "," : "", info.vnis[i]);
    }
    return g_string_free(s, FALSE);
}

unsigned claimed(const VnetNet *net)
{
    VnetNetInfo info;

    vnet_query_net(net, &info);
    return info.macs_claimed;
}
