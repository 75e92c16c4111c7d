/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at the rings instead of waiting for doorbells (docs/specs/vtoe.rst
 * section 3.6).
 *
 * There are two reasons to look.  The host's thread polls for a while before it
 * sleeps: it tells for each queue when it begins and ends (vtoe_dev_poll()).  And
 * VMM-driven dispatch, which vtoe-dispatch.h decides on for the whole device: then
 * the device's timer looks, every look_ns, whether the thread sleeps or not.  A
 * queue is quiet, which is to say that its guest is asked for no doorbells, as long
 * as one of the two holds.
 */
#include "vtoe-int.h"

static VtoeQueue *queue_by_number(VtoeDev *d, unsigned i)
{
    return i < d->cfg.pairs ? &d->q[i] : &d->ctl;
}

/* Quiet or not, as both reasons say.  True: it was asked for doorbells again. */
static bool update_quiet(VtoeQueue *q)
{
    bool quiet = q->polled || q->dev->dispatch.vmm;
    bool was = q->quiet;

    vtoe_queue_set_quiet(q, quiet);
    return was && !quiet;
}

/* --- polling ------------------------------------------------------------------- */

void vtoe_dev_poll(VtoeDev *d, unsigned queue, bool on)
{
    VtoeQueue *q = vtoe_queue_at(d, queue);
    bool broken = d->broken;

    q->polled = on;
    update_quiet(q);
    if (d->broken && !broken) {
        vtoe_kick_later(q);     /* the batch that ends the streams */
    }
}

bool vtoe_dev_look(VtoeDev *d, unsigned queue)
{
    return vtoe_queue_look(vtoe_queue_at(d, queue));
}

void vtoe_dev_run(VtoeDev *d, unsigned queue)
{
    vtoe_run(vtoe_queue_at(d, queue));
}

unsigned vtoe_dev_look_all(VtoeDev *d)
{
    unsigned found = 0;

    d->depth++;
    for (unsigned i = 0; i <= d->cfg.pairs; i++) {
        VtoeQueue *q = queue_by_number(d, i);

        if (vtoe_queue_look(q)) {
            vtoe_run(q);
            found++;
        }
    }
    d->depth--;
    vtoe_batch(d);
    return found;
}

/* --- VMM-driven ---------------------------------------------------------------- */

bool vtoe_dev_vmm_driven(const VtoeDev *d)
{
    return d->dispatch.vmm;
}

static void update_all(VtoeDev *d)
{
    for (unsigned i = 0; i <= d->cfg.pairs; i++) {
        VtoeQueue *q = queue_by_number(d, i);

        if (update_quiet(q) && vtoe_queue_look(q)) {
            vtoe_kick_later(q);
        }
    }
}

void vtoe_look_reset(VtoeDev *d)
{
    vtoe_dispatch_init(&d->dispatch, &d->cfg.dispatch,
                       d->ops->now_ns(d->opaque));
    d->done = 0;
    d->look_at = 0;
    update_all(d);
}

void vtoe_look_count(VtoeDev *d)
{
    int64_t now;

    if (!d->done && !d->dispatch.vmm) {
        return;
    }
    now = d->ops->now_ns(d->opaque);
    if (vtoe_dispatch_count(&d->dispatch, d->done, now)) {
        if (d->dispatch.vmm) {
            d->st.dispatch_to_vmm++;
            d->look_at = now + d->cfg.dispatch.look_ns;
        } else {
            d->st.dispatch_to_guest++;
        }
        update_all(d);
    }
    d->done = 0;
}

void vtoe_look_tick(VtoeDev *d)
{
    int64_t now;

    if (!d->dispatch.vmm) {
        return;
    }
    now = d->ops->now_ns(d->opaque);
    if (now >= d->look_at) {
        d->look_at = now + d->cfg.dispatch.look_ns;
        vtoe_dev_look_all(d);
    }
}

int64_t vtoe_look_deadline(const VtoeDev *d)
{
    return d->dispatch.vmm && vtoe_live(d) ? d->look_at : INT64_MAX;
}

void vtoe_look_stats(const VtoeDev *d, VtoeStats *st)
{
    st->dispatch_vmm = d->dispatch.vmm;
    st->dispatch_rate = vtoe_dispatch_rate(&d->dispatch,
                                           d->ops->now_ns(d->opaque));
}
