/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pair 0: frames that wait for the guest (docs/specs/vtoe.rst section 3.7).
 *
 * A guest whose processors are busy elsewhere, or its host's, takes no frames for
 * some milliseconds, and its ring is full sooner.  What comes then is kept as a
 * switch keeps it: copied, in order, bounded in number, bytes and time.  Only what
 * is beyond that is dropped.  Whoever sends never waits, so that a guest that does
 * not read holds up nobody else on its link.
 */
#include "vtoe-int.h"

typedef struct VtoeHeld {
    GList link;
    int64_t until;          /* ns */
    VnetFrameHdr hdr;
    size_t len;
    uint8_t data[];
} VtoeHeld;

static void release(VtoeDev *d)
{
    VtoeHeld *h = g_queue_pop_head_link(&d->held)->data;

    d->held_bytes -= h->len;
    g_free(h);
    if (!d->held.length) {
        d->q[0].held_room = false;
    }
}

VnetFrameResult vtoe_hold(VtoeDev *d, const VnetFrameHdr *hdr,
                          const struct iovec *iov, unsigned niov, size_t len)
{
    VtoeHeld *h;

    if (d->held.length >= VTOE_HOLD_FRAMES ||
        d->held_bytes + len > VTOE_HOLD_BYTES) {
        d->st.rx_drop_no_buffer++;
        return VNET_FRAME_DROPPED;
    }
    h = g_malloc(sizeof(*h) + len);
    *h = (VtoeHeld) {
        .link.data = h,
        .until = d->ops->now_ns(d->opaque) + VTOE_HOLD_NS,
        .hdr = *hdr,
        .len = len,
    };
    vtoe_iov_copy(iov, niov, 0, h->data, len);
    g_queue_push_tail_link(&d->held, &h->link);
    d->held_bytes += len;
    d->st.rx_held++;
    vtoe_mark_dirty(&d->q[0]);      /* arms what it waits for */
    return VNET_FRAME_OK;
}

void vtoe_hold_run(VtoeDev *d)
{
    while (d->held.length && vtoe_live(d)) {
        const VtoeHeld *h = d->held.head->data;
        struct iovec iov = { .iov_base = (void *)h->data, .iov_len = h->len };

        if (vtoe_frame_publish(d, &h->hdr, &iov, 1, h->len) ==
            VNET_FRAME_BUSY) {
            return;
        }
        release(d);
    }
}

void vtoe_hold_tick(VtoeDev *d)
{
    int64_t now = d->ops->now_ns(d->opaque);

    while (vtoe_hold_deadline(d) <= now) {
        d->st.rx_drop_no_buffer++;
        release(d);
        vtoe_mark_dirty(&d->q[0]);  /* for the next there may be room */
    }
}

int64_t vtoe_hold_deadline(const VtoeDev *d)
{
    const VtoeHeld *h = d->held.head ? d->held.head->data : NULL;

    return h ? h->until : INT64_MAX;
}

void vtoe_hold_reset(VtoeDev *d)
{
    while (d->held.length) {
        d->st.rx_drop_not_ready++;
        release(d);
    }
}
