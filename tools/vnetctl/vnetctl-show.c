/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vnetctl: tables of what there is.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include "vnetctl.h"

/* --- Tables --------------------------------------------------------------- */

struct Table {
    GPtrArray *rows;            /* of char *[columns]; the first are titles */
    guint columns;
    gboolean *right;
};

static void row_free(gpointer p)
{
    g_strfreev(p);
}

Table *table_new(const char *first, ...)
{
    Table *t = g_new0(Table, 1);
    g_autoptr(GPtrArray) titles = g_ptr_array_new();
    va_list ap;

    va_start(ap, first);
    for (const char *title = first; title; title = va_arg(ap, const char *)) {
        g_ptr_array_add(titles, g_strdup(title));
    }
    va_end(ap);
    t->columns = titles->len;
    t->right = g_new0(gboolean, t->columns);
    for (guint i = 0; i < t->columns; i++) {
        char *title = titles->pdata[i];

        if (title[0] == '>') {
            t->right[i] = TRUE;
            memmove(title, title + 1, strlen(title));
        }
    }
    g_ptr_array_add(titles, NULL);
    t->rows = g_ptr_array_new_with_free_func(row_free);
    g_ptr_array_add(t->rows, g_ptr_array_free(g_steal_pointer(&titles),
                                              FALSE));
    return t;
}

void table_row(Table *t, ...)
{
    char **row = g_new0(char *, t->columns + 1);
    va_list ap;

    va_start(ap, t);
    for (guint i = 0; i < t->columns; i++) {
        row[i] = va_arg(ap, char *) ?: g_strdup("-");
    }
    va_end(ap);
    g_ptr_array_add(t->rows, row);
}

void table_end(Table *t, gboolean header)
{
    g_autofree glong *width = g_new0(glong, t->columns);

    for (guint r = !header; r < t->rows->len; r++) {
        char **row = t->rows->pdata[r];

        for (guint i = 0; i < t->columns; i++) {
            width[i] = MAX(width[i], g_utf8_strlen(row[i], -1));
        }
    }
    for (guint r = !header; r < t->rows->len; r++) {
        char **row = t->rows->pdata[r];
        g_autoptr(GString) line = g_string_new(NULL);

        for (guint i = 0; i < t->columns; i++) {
            int pad = width[i] - g_utf8_strlen(row[i], -1);

            g_string_append_printf(line, "%s%*s%s%*s", i ? "  " : "",
                                   t->right[i] ? pad : 0, "", row[i],
                                   t->right[i] ? 0 : pad, "");
        }
        g_print("%s\n", g_strchomp(line->str));
    }
    g_ptr_array_unref(t->rows);
    g_free(t->right);
    g_free(t);
}

/* --- Parts of answers ----------------------------------------------------- */

const char *member(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);

    return n && JSON_NODE_HOLDS_VALUE(n) ? json_node_get_string(n) : NULL;
}

gint64 member_int(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);

    return n && JSON_NODE_HOLDS_VALUE(n) ? json_node_get_int(n) : 0;
}

GList *objects(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);
    GList *nodes = n && JSON_NODE_HOLDS_ARRAY(n) ?
        json_array_get_elements(json_node_get_array(n)) : NULL;

    for (GList *e = nodes; e; e = e->next) {
        e->data = json_node_get_object(e->data);
    }
    return nodes;
}

guint64 counter(JsonObject *o, const char *name)
{
    g_autoptr(GList) counters = objects(o, "counters");

    for (GList *e = counters; e; e = e->next) {
        if (!g_strcmp0(member(e->data, "name"), name)) {
            return member_int(e->data, "value");
        }
    }
    return 0;
}

static char *number(gint64 n)
{
    return g_strdup_printf("%" PRId64, n);
}

static char *bytes(guint64 n)
{
    return g_format_size_full(n, G_FORMAT_SIZE_IEC_UNITS);
}

static char *text(JsonObject *o, const char *name)
{
    return g_strdup(member(o, name));
}

static gboolean flag(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);

    return n && JSON_NODE_HOLDS_VALUE(n) && json_node_get_boolean(n);
}

static char *yes(JsonObject *o, const char *name)
{
    return g_strdup(flag(o, name) ? "yes" : "no");
}

/* A socket address as people write it. */
static char *address(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);
    JsonObject *a = n && JSON_NODE_HOLDS_OBJECT(n) ? json_node_get_object(n)
                                                    : NULL;
    const char *host;

    if (!a) {
        return NULL;
    }
    host = member(a, "host");
    if (!host) {
        return text(a, "path");
    }
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                           member(a, "port"));
}

static gboolean is_up(JsonObject *link)
{
    return !g_strcmp0(member(link, "state"), "up");
}

/* --- Lists ---------------------------------------------------------------- */

void show_json(JsonNode *node, gboolean pretty)
{
    g_autofree char *s = json_to_string(node, pretty);

    g_print("%s\n", s);
}

/* Of each overlay its list of that name; one object for each overlay. */
static void show_json_lists(JsonNode *overlays, const char *name)
{
    g_autoptr(JsonNode) out = json_node_new(JSON_NODE_ARRAY);
    JsonArray *list = json_array_new();
    g_autoptr(GList) nodes =
        json_array_get_elements(json_node_get_array(overlays));

    for (GList *e = nodes; e; e = e->next) {
        JsonObject *n = json_node_get_object(e->data);
        JsonObject *one = json_object_new();

        json_object_set_string_member(one, "netdev", member(n, "id"));
        json_object_set_member(one, name, json_object_dup_member(n, name));
        json_array_add_object_element(list, one);
    }
    json_node_take_array(out, list);
    show_json(out, TRUE);
}

/* Calls fn for each object in that list of each overlay, or shows JSON. */
static gboolean for_each(Qmp *q, const Options *o, const char *name,
                         void (*fn)(Table *t, JsonObject *overlay,
                                    JsonObject *one),
                         Table *t, GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);
    g_autoptr(GList) nodes = NULL;

    if (overlays && o->json) {
        show_json_lists(overlays, name);
    } else if (overlays) {
        nodes = json_array_get_elements(json_node_get_array(overlays));
    }
    for (GList *e = nodes; e; e = e->next) {
        JsonObject *overlay = json_node_get_object(e->data);
        g_autoptr(GList) list = objects(overlay, name);

        for (GList *f = list; f; f = f->next) {
            fn(t, overlay, f->data);
        }
    }
    table_end(t, overlays && !o->json && !o->no_header);
    return overlays != NULL;
}

static void link_row(Table *t, JsonObject *overlay, JsonObject *l)
{
    table_row(t, text(overlay, "id"), text(l, "id"),
              flag(l, "encrypted") ? g_strdup("tcp/tls") : text(l, "type"),
              g_strdup(g_strcmp0(member(l, "type"), "vxlan") ?
                       flag(l, "server") ? "server" : "client" : NULL),
              text(l, "state"), text(l, "peer"), address(l, "local"),
              address(l, "remote"),
              bytes(counter(l, "rx-frame-bytes") +
                    counter(l, "rx-stream-bytes")),
              bytes(counter(l, "tx-frame-bytes") +
                    counter(l, "tx-stream-bytes")),
              is_up(l) ? NULL : text(l, "reason"));
}

gboolean show_links(Qmp *q, const Options *o, char **words, GError **error)
{
    return for_each(q, o, "links", link_row,
                    table_new("NETDEV", "LINK", "TYPE", "END", "STATE", "PEER",
                              "LOCAL", "REMOTE", ">RECEIVED", ">SENT",
                              "REASON", NULL), error);
}

static void port_row(Table *t, JsonObject *overlay, JsonObject *p)
{
    table_row(t, text(overlay, "id"), text(p, "id"), text(p, "mac"),
              yes(p, "streams"), bytes(counter(p, "rx-frame-bytes")),
              bytes(counter(p, "tx-frame-bytes")),
              number(counter(p, "rx-drop")), number(counter(p, "tx-drop")));
}

gboolean show_ports(Qmp *q, const Options *o, char **words, GError **error)
{
    return for_each(q, o, "ports", port_row,
                    table_new("NETDEV", "PORT", "MAC", "STREAMS", ">RECEIVED",
                              ">SENT", ">RX-DROPS", ">TX-DROPS", NULL), error);
}

static void stream_row(Table *t, JsonObject *overlay, JsonObject *s)
{
    gboolean has_sid = json_object_has_member(s, "sid");

    table_row(t, text(overlay, "id"), text(s, "port"),
              has_sid ? g_strdup_printf("0x%" PRIx64, member_int(s, "sid"))
                      : NULL,
              text(s, "link"), text(s, "state"), text(s, "local"),
              text(s, "remote"), bytes(member_int(s, "rx-received")),
              bytes(member_int(s, "tx-sent")),
              number(member_int(s, "tx-sent") - member_int(s, "tx-acked")),
              json_object_has_member(s, "credit") ?
              number(member_int(s, "credit")) : NULL);
}

gboolean show_streams(Qmp *q, const Options *o, char **words, GError **error)
{
    return for_each(q, o, "streams", stream_row,
                    table_new("NETDEV", "PORT", "SID", "LINK", "STATE",
                              "LOCAL", "REMOTE", ">RECEIVED", ">SENT",
                              ">UNACKED", ">CREDIT", NULL), error);
}

static void mac_row(Table *t, JsonObject *overlay, JsonObject *m)
{
    table_row(t, text(overlay, "id"), text(m, "mac"), text(m, "kind"),
              text(m, "via"), yes(m, "streams"),
              json_object_has_member(m, "age") ?
              g_strdup_printf("%" PRId64 " s", member_int(m, "age")) : NULL);
}

gboolean show_macs(Qmp *q, const Options *o, char **words, GError **error)
{
    return for_each(q, o, "macs", mac_row,
                    table_new("NETDEV", "MAC", "KIND", "VIA", "STREAMS",
                              ">SEEN", NULL), error);
}

static gint by_index(gconstpointer a, gconstpointer b)
{
    gint64 ia = member_int((JsonObject *)a, "index");
    gint64 ib = member_int((JsonObject *)b, "index");

    return (ia > ib) - (ia < ib);
}

/* As commands that make the same again, the oldest first. */
static gboolean show_commands(Qmp *q, const Options *o, const char *name,
                              GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);
    g_autoptr(GList) nodes = NULL;

    if (!overlays) {
        return FALSE;
    }
    if (o->json) {
        show_json_lists(overlays, name);
        return TRUE;
    }
    nodes = json_array_get_elements(json_node_get_array(overlays));
    for (GList *e = nodes; e; e = e->next) {
        JsonObject *n = json_node_get_object(e->data);
        GList *list = g_list_sort(objects(n, name), by_index);

        if (list && nodes->next) {
            g_print("# %s\n", member(n, "id"));
        }
        for (GList *f = list; f; f = f->next) {
            if (json_object_has_member(f->data, "command")) {
                g_print("%s  # %" PRId64 "\n", member(f->data, "command"),
                        member_int(f->data, "index"));
            } else {
                /* Its peer makes it. */
                g_print("# %s registered with %s\n", member(f->data, "id"),
                        member(f->data, "registrar"));
            }
        }
        g_list_free(list);
    }
    return TRUE;
}

gboolean show_routes(Qmp *q, const Options *o, char **words, GError **error)
{
    return show_commands(q, o, "routes", error);
}

gboolean show_link_commands(Qmp *q, const Options *o, char **words,
                            GError **error)
{
    return show_commands(q, o, "links", error);
}

/* --- In short ------------------------------------------------------------- */

static char *count_of(guint n, const char *one, const char *many)
{
    return g_strdup_printf("%u %s", n, n == 1 ? one : many);
}

static void show_rate(JsonObject *overlay, const char *name)
{
    JsonNode *n = json_object_get_member(overlay, name);
    g_autoptr(GList) members = n && JSON_NODE_HOLDS_OBJECT(n) ?
        json_object_get_members(json_node_get_object(n)) : NULL;

    members = g_list_sort(members, (GCompareFunc)strcmp);
    if (members) {
        g_print("  %s:", name);
    }
    for (GList *e = members; e; e = e->next) {
        g_print(" %s=%" PRId64, (char *)e->data,
                member_int(json_node_get_object(n), e->data));
    }
    if (members) {
        g_print("\n");
    }
}

/* Whose links an overlay has, and how many of its own are up. */
static char *links_of(JsonObject *n, GList *links)
{
    const char *owner = member(n, "overlay");
    guint up = 0;

    if (owner) {
        return g_strdup_printf("links of %s%s", owner,
                               flag(n, "overlay-gone") ? " (gone)" : "");
    }
    for (GList *e = links; e; e = e->next) {
        up += is_up(e->data);
    }
    return g_strdup_printf("%u of %u links up", up, g_list_length(links));
}

gboolean show_status(Qmp *q, const Options *o, char **words, GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);
    g_autoptr(GList) nodes = NULL;

    if (!overlays) {
        return FALSE;
    }
    if (o->json) {
        show_json(overlays, TRUE);
        return TRUE;
    }
    nodes = json_array_get_elements(json_node_get_array(overlays));
    if (!nodes) {
        g_print("no vnet netdev\n");
    }
    for (GList *e = nodes; e; e = e->next) {
        JsonObject *n = json_node_get_object(e->data);
        g_autoptr(GList) links = objects(n, "links");
        g_autoptr(GList) ports = objects(n, "ports");
        g_autoptr(GList) streams = objects(n, "streams");
        g_autoptr(GList) macs = objects(n, "macs");
        g_autofree char *p = count_of(g_list_length(ports), "port", "ports");
        g_autofree char *s = count_of(g_list_length(streams), "stream",
                                      "streams");
        g_autofree char *m = count_of(g_list_length(macs), "address",
                                      "addresses");
        g_autofree char *l = links_of(n, links);

        g_print("%s: network %" PRId64 ", %s, %s, %s, %s\n", member(n, "id"),
                member_int(n, "vni"), l, p, s, m);
        show_rate(n, "tx-rate");
        show_rate(n, "rx-rate");
        for (GList *f = links; f; f = f->next) {
            const char *peer = member(f->data, "peer");
            const char *reason = member(f->data, "reason");
            gboolean ok = is_up(f->data);

            g_print("  %s: %s%s%s%s%s\n", member(f->data, "id"),
                    member(f->data, "state"), ok && peer ? ", peer " : "",
                    ok && peer ? peer : "", !ok && reason ? ": " : "",
                    !ok && reason ? reason : "");
        }
        for (GList *f = ports; f; f = f->next) {
            g_print("  %s: %s%s\n", member(f->data, "id"),
                    member(f->data, "mac"), flag(f->data, "streams") ?
                    ", takes streams" : "");
        }
    }
    return TRUE;
}

/* --- Counters ------------------------------------------------------------- */

static void counter_rows(Table *t, JsonObject *overlay, JsonObject *of,
                         const char *kind, const char *list, gboolean all)
{
    g_autoptr(GList) counters = objects(of, list);

    for (GList *e = counters; e; e = e->next) {
        gint64 value = member_int(e->data, "value");

        if (value || all) {
            table_row(t, text(overlay, "id"),
                      kind[0] ? g_strdup_printf("%s %s", kind,
                                                member(of, "id"))
                              : g_strdup("overlay"),
                      text(e->data, "name"), number(value));
        }
    }
}

gboolean show_counters(Qmp *q, const Options *o, char **words, GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);
    g_autoptr(GList) nodes = NULL;
    Table *t;

    if (!overlays) {
        return FALSE;
    }
    if (o->json) {
        show_json(overlays, TRUE);
        return TRUE;
    }
    t = table_new("NETDEV", "OF", "COUNTER", ">VALUE", NULL);
    nodes = json_array_get_elements(json_node_get_array(overlays));
    for (GList *e = nodes; e; e = e->next) {
        JsonObject *n = json_node_get_object(e->data);
        g_autoptr(GList) links = objects(n, "links");
        g_autoptr(GList) ports = objects(n, "ports");

        counter_rows(t, n, n, "", "counters", o->all);
        for (GList *f = links; f; f = f->next) {
            counter_rows(t, n, f->data, "link", "counters", o->all);
        }
        for (GList *f = ports; f; f = f->next) {
            counter_rows(t, n, f->data, "port", "counters", o->all);
            counter_rows(t, n, f->data, "device", "device", o->all);
        }
    }
    table_end(t, !o->no_header);
    return TRUE;
}
