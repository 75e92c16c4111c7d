/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A switch between ends that count; see vnet-switch-bench.h.
 */
#include "vnet-switch-bench.h"

const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };

static VnetFrameResult counter_output(VnetEnd *e, const VnetFrame *f,
                                      bool wait_ok)
{
    Counter *c = (Counter *)e;

    if (c->removes) {
        vnet_switch_remove(c->sw, c->removes);
        c->removes = NULL;
    }
    if (c->busy) {
        return VNET_FRAME_BUSY;
    }
    c->got++;
    return c->refuses ? VNET_FRAME_DROPPED : VNET_FRAME_OK;
}

void counter_add(Bench *b, Counter *c, const char *id, bool is_link)
{
    c->end = (VnetEnd) { .is_link = is_link, .id = id,
                         .output = counter_output };
    c->sw = b->sw;
    vnet_switch_add(b->sw, &c->end);
    vnet_switch_set_up(b->sw, &c->end, true);
}

Bench *bench_new(uint32_t max_macs)
{
    static const char *const ids[] = { "0", "1", "2", "3", "4", "5" };
    Bench *b = g_new0(Bench, 1);

    b->room.max = max_macs;
    b->sw = vnet_switch_new(&b->room, 300, &b->stats);
    for (int i = 0; i < 3; i++) {
        counter_add(b, &b->port[i], ids[i], false);
        counter_add(b, &b->link[i], ids[i + 3], true);
    }
    return b;
}

void bench_free(Bench *b)
{
    uint64_t sum = b->stats.frames_forwarded + b->stats.frames_flooded;

    for (const VnetStatDesc *d = vnet_core_stat_descs; d->name; d++) {
        if (g_str_has_prefix(d->name, "frames_drop_")) {
            sum += *(uint64_t *)((char *)&b->stats + d->offset);
        }
    }
    g_assert_cmpuint(sum, ==, b->stats.frames_in);
    for (int i = 0; i < 3; i++) {
        vnet_switch_remove(b->sw, &b->port[i].end);
        vnet_switch_remove(b->sw, &b->link[i].end);
    }
    g_assert_cmpuint(vnet_switch_learnt(b->sw), ==, 0);
    g_assert_cmpuint(b->room.used, ==, 0);
    g_assert_cmpuint(vnet_switch_claimed(b->sw), ==, 0);
    vnet_switch_free(b->sw);
    g_assert_cmpuint(b->room.switches, ==, 0);
    g_free(b);
}

const uint8_t *mac(unsigned n)
{
    static uint8_t m[8][6];
    static unsigned turn;
    uint8_t *p = m[turn++ % 8];

    memcpy(p, (uint8_t[6]) { 2, 0, n >> 24, n >> 16, n >> 8, n }, 6);
    return p;
}

VnetFrameResult put_hdr(Bench *b, Counter *src, const uint8_t *dst,
                        const uint8_t *smac, size_t len,
                        const VnetFrameHdr *hdr, bool wait_ok)
{
    g_autofree uint8_t *f = g_malloc0(MAX(len, 12));
    const struct iovec iov = { f, len };
    const VnetFrame frame = { hdr, &iov, 1, len };
    VnetEnd *busy = NULL;

    memcpy(f, dst, 6);
    memcpy(f + 6, smac, 6);
    return vnet_switch_input(b->sw, &src->end, &frame, b->now, wait_ok, &busy);
}

VnetFrameResult put(Bench *b, Counter *src, const uint8_t *dst,
                    const uint8_t *smac)
{
    static const VnetFrameHdr none;

    return put_hdr(b, src, dst, smac, 60, &none, true);
}

char *got(Bench *b)
{
    static char s[8];

    for (int i = 0; i < 3; i++) {
        s[i] = '0' + b->port[i].got;
        s[i + 4] = '0' + b->link[i].got;
        b->port[i].got = b->link[i].got = 0;
    }
    s[3] = '/';
    return s;
}
