/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits that were reached, on their way to the monitor: see vnet-limit.h.
 *
 * A guest or a peer may run into a limit with each of its frames.  So it costs
 * a comparison and a count here, and the host hears of each limit once per
 * VNET_LIMIT_NS at most, with the number of times that it did not hear of.
 * That holds as well when the host cannot take it: it is asked again then.
 */
#include "vnet-core.h"

#define VNET_LIMIT_NS   (1000 * VNET_MS)

void vnet_limit_reached(VnetNet *net, VnetCoreLimit limit, const VnetPort *port,
                        const VnetLink *l, int64_t now_ns)
{
    const VnetCore *core = net->core;
    VnetLimitState *st = &net->limits[limit];

    if (now_ns >= st->next_ns && core->ops.limit_event) {
        st->next_ns = now_ns + VNET_LIMIT_NS;
        if (core->ops.limit_event(core->opaque, net, limit, port, l,
                                  st->suppressed)) {
            st->suppressed = 0;
            return;
        }
    }
    st->suppressed++;
}

void vnet_limit_reached_by(void *opaque, VnetCoreLimit limit, VnetEnd *end,
                           int64_t now_ns)
{
    vnet_limit_reached(opaque, limit, end->is_link ? NULL : vnet_end_port(end),
                       end->is_link ? vnet_end_link(end) : NULL, now_ns);
}

void vnet_link_limit(VnetLink *l, VnetCoreLimit limit)
{
    vnet_limit_reached(vnet_core_net(l->core), limit, NULL, l,
                       vnet_now(l->core));
}
