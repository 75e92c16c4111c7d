/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The monitor's view: query-vnet and query-vtoe.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "vtoe/vtoe-status.h"
#include "vnet-shell.h"

static QTAILQ_HEAD(, VtoeStatusSource) vtoe_sources =
    QTAILQ_HEAD_INITIALIZER(vtoe_sources);

void vtoe_status_register(VtoeStatusSource *s)
{
    QTAILQ_INSERT_TAIL(&vtoe_sources, s, next);
}

void vtoe_status_unregister(VtoeStatusSource *s)
{
    QTAILQ_REMOVE(&vtoe_sources, s, next);
}

void vnet_counter_append(VnetNamedCounterList ***tail, const char *name,
                         uint64_t value)
{
    VnetNamedCounter *c = g_new(VnetNamedCounter, 1);

    c->name = g_strdup(name);
    c->value = value;
    QAPI_LIST_APPEND(*tail, c);
}

VtoeStatusList *qmp_query_vtoe(Error **errp)
{
    VtoeStatusList *list = NULL, **tail = &list;
    VtoeStatusSource *s;

    QTAILQ_FOREACH(s, &vtoe_sources, next) {
        QAPI_LIST_APPEND(tail, s->status(s->opaque));
    }
    return list;
}

VnetStatusList *qmp_query_vnet(const char *id, Error **errp)
{
    VnetStatusList *list = NULL, **tail = &list;
    VnetNetdev *n = NULL;

    while ((n = vnet_netdev_next(n))) {
        if (!id || g_str_equal(id, vnet_netdev_id(n))) {
            QAPI_LIST_APPEND(tail, vnet_netdev_status(n));
        }
    }
    if (id && !list) {
        error_setg(errp, "there is no vnet netdev \"%s\"", id);
    }
    return list;
}
