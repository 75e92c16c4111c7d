/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: what the monitor sees of a device: query-vtoe, and the QOM
 * properties "stats" (all counters) and "open-streams".
 *
 * On a vnet netdev query-vnet shows the counters, too, and the streams
 * (vtoe-net.c).  All functions: BQL.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "vtoe-pci.h"

typedef struct VtoeSnapshot {
    VtoeStats stats;
    uint8_t mac[6];
} VtoeSnapshot;

static void vtoe_snapshot(VtoePCI *s, void *arg)
{
    VtoeSnapshot *snap = arg;

    vtoe_dev_get_stats(s->dev, &snap->stats);
    memcpy(snap->mac, vtoe_dev_mac(s->dev), sizeof(snap->mac));
}

static VtoeStatus *vtoe_status(void *opaque)
{
    VtoePCI *s = opaque;
    NetClientState *nc = qemu_get_queue(s->nic);
    VtoeStatus *st = g_new0(VtoeStatus, 1);
    VnetNamedCounterList **tail = &st->counters;
    VtoeSnapshot snap;

    vtoe_thread_call(s, vtoe_snapshot, &snap);
    st->qom_path = object_get_canonical_path(OBJECT(s));
    st->id = g_strdup(DEVICE(s)->id);
    if (nc->peer && !s->nic->peer_deleted) {
        st->netdev = g_strdup(nc->peer->name);
    }
    st->mac = qemu_mac_strdup_printf(snap.mac);
    st->status = vtoe_dev_reg_read(s->dev, VTOE_REG_STATUS, 4);
    st->generation = vtoe_dev_reg_read(s->dev, VTOE_REG_GENERATION, 4);
    st->violation = vtoe_dev_reg_read(s->dev, VTOE_REG_VIOLATION, 4);
    st->streams = qatomic_read(&s->open_streams);
#define VTOE_APPEND_COUNTER(n) \
    vnet_counter_append(&tail, #n, snap.stats.n);
    VTOE_COUNTERS(VTOE_APPEND_COUNTER)
#undef VTOE_APPEND_COUNTER
    return st;
}

static void vtoe_get_stats(Object *obj, Visitor *v, const char *name,
                           void *opaque, Error **errp)
{
    VtoePCI *s = VTOE_PCI(obj);
    VtoeSnapshot snap = { };

    if (s->dev) {
        vtoe_thread_call(s, vtoe_snapshot, &snap);
    }
    if (!visit_start_struct(v, name, NULL, 0, errp)) {
        return;
    }
#define VTOE_VISIT_COUNTER(n) \
    if (!visit_type_uint64(v, #n, &snap.stats.n, errp)) { \
        goto out; \
    }
    VTOE_COUNTERS(VTOE_VISIT_COUNTER)
#undef VTOE_VISIT_COUNTER
    visit_check_struct(v, errp);
out:
    visit_end_struct(v, NULL);
}

static void vtoe_get_open_streams(Object *obj, Visitor *v, const char *name,
                                  void *opaque, Error **errp)
{
    uint32_t n = qatomic_read(&VTOE_PCI(obj)->open_streams);

    visit_type_uint32(v, name, &n, errp);
}

void vtoe_query_class_init(ObjectClass *oc)
{
    object_class_property_add(oc, "stats", "VtoeStats", vtoe_get_stats, NULL,
                              NULL, NULL);
    object_class_property_set_description(oc, "stats", "counters");
    object_class_property_add(oc, "open-streams", "uint32",
                              vtoe_get_open_streams, NULL, NULL, NULL);
    object_class_property_set_description(oc, "open-streams",
                                          "streams open now");
}

void vtoe_query_init(VtoePCI *s)
{
    s->status.status = vtoe_status;
    s->status.opaque = s;
    vtoe_status_register(&s->status);
}

void vtoe_query_cleanup(VtoePCI *s)
{
    if (s->status.status) {
        vtoe_status_unregister(&s->status);
        s->status.status = NULL;
    }
}
