/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits of what a NIC sends and receives: as options, and the monitor's
 * vnet-set-rate.  See vnet-shape.h.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "vnet-shell.h"

bool vnet_rate_check(const VnetRate *r, const char *name, VnetRates *out,
                     Error **errp)
{
    const struct {
        const char *name;
        bool given;
        uint64_t value;
        uint64_t *out;
    } parts[] = {
        { "bytes", r && r->has_bytes, r ? r->bytes : 0, &out->bytes },
        { "bytes-burst", r && r->has_bytes_burst, r ? r->bytes_burst : 0,
          &out->bytes_burst },
        { "frames", r && r->has_frames, r ? r->frames : 0, &out->frames },
        { "frames-burst", r && r->has_frames_burst, r ? r->frames_burst : 0,
          &out->frames_burst },
    };

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        *parts[i].out = parts[i].given ? parts[i].value : 0;
        if (*parts[i].out > VNET_BUCKET_MAX) {
            error_setg(errp, "%s.%s is %" PRIu64 ", and must be 0 to %llu",
                       name, parts[i].name, *parts[i].out, VNET_BUCKET_MAX);
            return false;
        }
    }
    return true;
}

VnetRate *vnet_rate_status(const VnetRates *rates)
{
    VnetRate *r;

    if (!rates->bytes && !rates->frames) {
        return NULL;
    }
    r = g_new0(VnetRate, 1);
    r->has_bytes = rates->bytes != 0;
    r->bytes = rates->bytes;
    r->has_bytes_burst = rates->bytes_burst != 0;
    r->bytes_burst = rates->bytes_burst;
    r->has_frames = rates->frames != 0;
    r->frames = rates->frames;
    r->has_frames_burst = rates->frames_burst != 0;
    r->frames_burst = rates->frames_burst;
    return r;
}

typedef struct VnetSetRate {
    bool given[VNET_DIRECTIONS];
    VnetRates rates[VNET_DIRECTIONS];
} VnetSetRate;

static void vnet_set_rate_in_thread(VnetNetdev *n, void *arg)
{
    VnetSetRate *set = arg;

    vnet_loop_begin(n->ov->loop);
    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        if (set->given[d]) {
            vnet_net_set_rates(n->net, d, &set->rates[d]);
        }
    }
    vnet_loop_end(n->ov->loop);
}

void qmp_vnet_set_rate(const char *id, VnetRate *tx_rate, VnetRate *rx_rate,
                       Error **errp)
{
    VnetNetdev *n = vnet_netdev_find(id, errp);
    VnetSetRate set = {
        .given = { [VNET_TX] = tx_rate, [VNET_RX] = rx_rate },
    };

    if (n && vnet_rate_check(tx_rate, "tx-rate", &set.rates[VNET_TX], errp) &&
        vnet_rate_check(rx_rate, "rx-rate", &set.rates[VNET_RX], errp)) {
        vnet_netdev_call(n, vnet_set_rate_in_thread, &set);
    }
}
