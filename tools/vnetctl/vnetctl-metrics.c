/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vnetctl: counters in the text form that Prometheus reads.
 *
 * A metric is named after what has it and after the counter; labels say which
 * one it is.  All lines of a metric are together, as the form wants.
 */
#include <inttypes.h>
#include <string.h>
#include "vnet-stats.h"
#include "vnetctl.h"

typedef struct Metrics {
    GHashTable *lines;          /* name -> GString */
    GPtrArray *names;           /* in the order of their first line */
} Metrics;

/* What the code says of a counter; NULL: it is a transport's or a device's. */
static const char *meaning(const VnetStatDesc *desc, const char *name)
{
    for (; desc && desc->name; desc++) {
        if (g_str_equal(desc->name, name)) {
            return desc->meaning;
        }
    }
    return NULL;
}

static void put(Metrics *m, const char *name, const char *type,
                const char *help, const char *labels, gint64 value)
{
    GString *s = g_hash_table_lookup(m->lines, name);

    if (!s) {
        s = g_string_new(NULL);
        if (help) {
            g_string_append_printf(s, "# HELP %s %s\n", name, help);
        }
        g_string_append_printf(s, "# TYPE %s %s\n", name, type);
        g_hash_table_insert(m->lines, g_strdup(name), s);
        g_ptr_array_add(m->names, g_strdup(name));
    }
    g_string_append_printf(s, "%s{%s} %" PRId64 "\n", name, labels, value);
}

/* NAME="VALUE", quoted as the form wants. */
static void label(GString *s, const char *name, const char *value)
{
    g_string_append_printf(s, "%s%s=\"", s->len ? "," : "", name);
    for (; value && *value; value++) {
        if (*value == '\n') {
            g_string_append(s, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\') {
            g_string_append_c(s, '\\');
        }
        g_string_append_c(s, *value);
    }
    g_string_append_c(s, '"');
}

static void put_counters(Metrics *m, JsonObject *o, const char *list,
                         const char *prefix, const VnetStatDesc *desc,
                         const char *labels)
{
    g_autoptr(GList) counters = objects(o, list);

    for (GList *e = counters; e; e = e->next) {
        g_autofree char *name = g_strdup(member(e->data, "name"));
        g_autofree char *full = NULL;

        if (!name) {
            continue;
        }
        g_strdelimit(name, "-", '_');
        full = g_strdup_printf("%s_%s_total", prefix, name);
        put(m, full, "counter", meaning(desc, name), labels,
            member_int(e->data, "value"));
    }
}

static void put_link(Metrics *m, const char *netdev, JsonObject *l)
{
    g_autoptr(GString) labels = g_string_new(NULL);

    label(labels, "netdev", netdev);
    label(labels, "link", member(l, "id"));
    label(labels, "type", member(l, "type"));
    put(m, "vnet_link_up", "gauge", "whether the link is up", labels->str,
        !g_strcmp0(member(l, "state"), "up"));
    put(m, "vnet_link_connections", "gauge", "open host connections",
        labels->str, member_int(l, "connections"));
    put_counters(m, l, "counters", "vnet_link", vnet_link_stat_descs,
                 labels->str);
}

static void put_port(Metrics *m, const char *netdev, JsonObject *p)
{
    g_autoptr(GString) labels = g_string_new(NULL);

    label(labels, "netdev", netdev);
    label(labels, "port", member(p, "id"));
    put_counters(m, p, "counters", "vnet_port", vnet_port_stat_descs,
                 labels->str);
    put_counters(m, p, "device", "vtoe", NULL, labels->str);
}

static void put_overlay(Metrics *m, JsonObject *n)
{
    const char *id = member(n, "id");
    g_autoptr(GString) labels = g_string_new(NULL);
    g_autoptr(GList) links = objects(n, "links");
    g_autoptr(GList) ports = objects(n, "ports");
    g_autoptr(GList) streams = objects(n, "streams");
    g_autoptr(GList) macs = objects(n, "macs");
    g_autoptr(GList) routes = objects(n, "routes");

    label(labels, "netdev", id);
    put(m, "vnet_streams", "gauge", "open streams", labels->str,
        g_list_length(streams));
    put(m, "vnet_macs", "gauge", "addresses that the switch knows",
        labels->str, g_list_length(macs));
    put(m, "vnet_routes", "gauge", "static routes", labels->str,
        g_list_length(routes));
    put_counters(m, n, "counters", "vnet", vnet_core_stat_descs, labels->str);
    for (GList *e = links; e; e = e->next) {
        put_link(m, id, e->data);
    }
    for (GList *e = ports; e; e = e->next) {
        put_port(m, id, e->data);
    }
}

static void string_free(gpointer s)
{
    g_string_free(s, TRUE);
}

gboolean show_metrics(Qmp *q, const Options *o, char **words, GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);
    g_autoptr(GHashTable) lines = g_hash_table_new_full(
        g_str_hash, g_str_equal, g_free, string_free);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    Metrics m = { lines, names };
    g_autoptr(GList) nodes = NULL;

    if (!overlays) {
        return FALSE;
    }
    nodes = json_array_get_elements(json_node_get_array(overlays));
    for (GList *e = nodes; e; e = e->next) {
        put_overlay(&m, json_node_get_object(e->data));
    }
    for (guint i = 0; i < names->len; i++) {
        GString *s = g_hash_table_lookup(lines, names->pdata[i]);

        g_print("%s", s->str);
    }
    return TRUE;
}
