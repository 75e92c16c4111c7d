/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that one guest sends, see vtoe-frames.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "vtoe-frames.h"

void vtoe_frames_boot(VtoeFrames *f, const char *netdev, const char *more,
                      unsigned pairs, unsigned entries)
{
    g_autofree char *device = g_strconcat(VTOE_NIC_A, more, NULL);

    *f = (VtoeFrames) { };
    vtoe_host_boot_shared(&f->h, 64, netdev, device);
    f->d = f->h.d;
    vtoe_start(f->d, pairs, entries);
    f->q = &f->d->q[0];
    f->buf = vtoe_alloc(f->d, 4096);
    memset(f->h.ram + f->buf, 0xff, VTOE_FRAMES_LEN);
}

uint64_t vtoe_frames_counter(VtoeFrames *f, const char *name)
{
    return vtoe_counter(f->h.qts, "nic0", name);
}

void vtoe_spin_step(gint64 *deadline, const char *msg)
{
    gint64 now = g_get_monotonic_time();

    if (*deadline == 0) {
        *deadline = now + VTOE_WAIT_S * G_TIME_SPAN_SECOND;
    } else if (now > *deadline) {
        g_error("waited %u s for %s", VTOE_WAIT_S, msg);
    }
}

void vtoe_spin_us(unsigned us)
{
    gint64 end = g_get_monotonic_time() + us;

    while (g_get_monotonic_time() < end) {
        /* a sleep is longer than that */
    }
}

uint32_t *vtoe_frames_word(VtoeFrames *f, VtoeTestQueue *q, size_t off)
{
    return (uint32_t *)(f->h.ram + q->ctrl + off);
}

bool vtoe_frames_would_ring(VtoeFrames *f, VtoeTestQueue *q, uint32_t more)
{
    uint32_t event = qatomic_read(VTOE_FRAMES_CTRL(f, q, send_event));

    return vtoe_need_kick(le32_to_cpu(event), q->send_prod + more,
                          q->send_prod);
}

struct vtoe_comp vtoe_frames_comp(VtoeFrames *f, VtoeTestQueue *q)
{
    struct vtoe_comp c;
    gint64 deadline = 0;

    while (!vtoe_poll_comp(f->d, q, &c)) {
        vtoe_spin_step(&deadline, "a completion");
    }
    return c;
}

void vtoe_frames_send(VtoeFrames *f, unsigned n)
{
    while (n--) {
        vtoe_send(f->d, f->q, VTOE_SID_FRAME, f->buf, VTOE_FRAMES_LEN);
        g_assert_cmpuint(vtoe_frames_comp(f, f->q).type, ==, VTOE_COMP_SEND);
        f->sent++;
        f->done++;
    }
}

bool vtoe_frames_post(VtoeFrames *f)
{
    if (f->sent - f->done == f->q->send_size) {
        return false;
    }
    vtoe_send(f->d, f->q, VTOE_SID_FRAME, f->buf, VTOE_FRAMES_LEN);
    f->sent++;
    return true;
}

void vtoe_frames_take(VtoeFrames *f)
{
    struct vtoe_comp c;

    while (vtoe_poll_comp(f->d, f->q, &c)) {
        g_assert_cmpuint(c.type, ==, VTOE_COMP_SEND);
        g_assert_cmpuint(c.u.offset, >, f->done);
        g_assert_cmpuint(c.u.offset, <=, f->sent);
        f->done = c.u.offset;
    }
}
