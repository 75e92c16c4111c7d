/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See vtoe-dispatch.h.
 *
 * A period ends with the first count at or behind its length, so it may be longer,
 * as nobody counts while nothing happens.  Its rate is what was counted over the
 * time that it really took.  A burst after a long silence is therefore seen at the
 * end of the period that begins with it.
 */
#include "vtoe-dispatch.h"

#define SECOND_NS   1000000000ull
/* More operations than this in a period are as good as it. */
#define MOST_OPS    (UINT64_MAX / SECOND_NS)

static uint64_t per_second(uint64_t ops, int64_t elapsed_ns)
{
    return (ops < MOST_OPS ? ops : MOST_OPS) * SECOND_NS / elapsed_ns;
}

void vtoe_dispatch_init(VtoeDispatch *x, const VtoeDispatchConfig *cfg,
                        int64_t now)
{
    *x = (VtoeDispatch) {
        .cfg = *cfg, .vmm = cfg->mode == VTOE_DISPATCH_VMM, .began = now,
    };
}

bool vtoe_dispatch_count(VtoeDispatch *x, uint64_t ops, int64_t now)
{
    bool was = x->vmm;

    if (now < x->began) {       /* the clock was set back: begin anew */
        x->began = now;
        x->ops = 0;
    }
    x->ops += ops;
    if (now - x->began < x->cfg.period_ns) {
        return false;
    }
    x->rate = per_second(x->ops, now - x->began);
    x->began = now;
    x->ops = 0;
    if (x->cfg.mode == VTOE_DISPATCH_ADAPTIVE) {
        x->vmm = was ? x->rate >= x->cfg.lower : x->rate > x->cfg.upper;
    }
    return x->vmm != was;
}

uint64_t vtoe_dispatch_rate(const VtoeDispatch *x, int64_t now)
{
    int64_t elapsed = now - x->began;

    return elapsed < x->cfg.period_ns ? x->rate : per_second(x->ops, elapsed);
}
