/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static routes from outside: the file that the netdev's option names, and the
 * monitor's vnet-change-routes.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "vnet-shell.h"

GArray *vnet_routes_load(const char *path, Error **errp)
{
    VnetRoutes *table = vnet_routes_new();
    g_autoptr(GError) gerr = NULL;
    g_autofree char *text = NULL;
    VnetLangError err = { 0 };
    GArray *changes = NULL;
    size_t len;

    if (!g_file_get_contents(path, &text, &len, &gerr)) {
        error_setg(errp, "routes cannot be read: %s", gerr->message);
        goto out;
    }
    changes = vnet_routes_parse(text, len, &err);
    if (changes && !vnet_routes_change(table, changes, false, false, NULL,
                                       NULL, &err)) {
        g_clear_pointer(&changes, g_array_unref);
    }
    if (!changes) {
        vnet_lang_error(&err, errp);
        error_prepend(errp, "routes in %s: ", path);
    }
out:
    vnet_routes_free(table);
    return changes;
}

VnetRoute *vnet_route_status(const VnetRule *rule)
{
    VnetRoute *r = g_new(VnetRoute, 1);

    r->index = rule->index;
    r->command = vnet_rule_text(rule);
    return r;
}

/* --- vnet-change-routes -------------------------------------------------- */

typedef struct VnetRouteRequest {
    const GArray *changes;
    bool replace, dry_run, ok;
    GArray *added, *removed;
    VnetLangError err;
} VnetRouteRequest;

static void vnet_route_in_thread(VnetNetdev *n, void *arg)
{
    VnetRouteRequest *r = arg;

    vnet_loop_begin(n->ov->loop);
    r->ok = vnet_net_change_routes(n->net, r->changes, r->replace, r->dry_run,
                                   r->added, r->removed, &r->err);
    vnet_loop_end(n->ov->loop);
}

static VnetRouteList *vnet_route_list(const GArray *rules)
{
    VnetRouteList *list = NULL, **tail = &list;

    for (guint i = 0; i < rules->len; i++) {
        QAPI_LIST_APPEND(tail, vnet_route_status(
            &g_array_index(rules, VnetRule, i)));
    }
    return list;
}

VnetRouteChanges *qmp_vnet_change_routes(const char *id, const char *commands,
                                         bool has_replace, bool replace,
                                         bool has_dry_run, bool dry_run,
                                         Error **errp)
{
    VnetNetdev *n = vnet_netdev_find(id, errp);
    VnetRouteRequest r = {
        .replace = has_replace && replace,
        .dry_run = has_dry_run && dry_run,
    };
    VnetRouteChanges *ret = NULL;
    GArray *changes;

    if (!n) {
        return NULL;
    }
    changes = vnet_routes_parse(commands, strlen(commands), &r.err);
    if (!changes) {
        vnet_lang_error(&r.err, errp);
        return NULL;
    }
    r.changes = changes;
    r.added = g_array_new(FALSE, TRUE, sizeof(VnetRule));
    r.removed = g_array_new(FALSE, TRUE, sizeof(VnetRule));
    vnet_netdev_call(n, vnet_route_in_thread, &r);
    if (r.ok) {
        ret = g_new0(VnetRouteChanges, 1);
        ret->added = vnet_route_list(r.added);
        ret->removed = vnet_route_list(r.removed);
    } else {
        vnet_lang_error(&r.err, errp);
    }
    g_array_unref(changes);
    g_array_unref(r.added);
    g_array_unref(r.removed);
    return ret;
}
