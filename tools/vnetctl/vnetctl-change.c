/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vnetctl: what changes something, and the check of a file of routes or links,
 * which needs no QEMU.
 */
#include <inttypes.h>
#include <string.h>
#include "vnet-link-lang.h"
#include "vnet-route.h"
#include "vnetctl.h"

/* The netdev to change: the one that was named, or the only one. */
static char *the_netdev(Qmp *q, const Options *o, GError **error)
{
    g_autoptr(JsonNode) overlays = NULL;
    g_autoptr(GString) names = g_string_new(NULL);
    g_autoptr(GList) nodes = NULL;

    if (o->netdev) {
        return g_strdup(o->netdev);
    }
    overlays = qmp_overlays(q, o, error);
    if (!overlays) {
        return NULL;
    }
    nodes = json_array_get_elements(json_node_get_array(overlays));
    for (GList *e = nodes; e; e = e->next) {
        g_string_append_printf(names, "%s%s", e == nodes ? "" : ", ",
                               member(json_node_get_object(e->data), "id"));
    }
    if (!nodes) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_REFUSED,
                    "there is no vnet netdev");
        return NULL;
    }
    if (nodes->next) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE,
                    "which netdev is meant? -n takes one of %s", names->str);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&names), FALSE);
}

static JsonObject *arguments_for(Qmp *q, const Options *o, GError **error)
{
    g_autofree char *id = the_netdev(q, o, error);
    JsonObject *a = id ? json_object_new() : NULL;

    if (a) {
        json_object_set_string_member(a, "id", id);
    }
    return a;
}

/* --- Routes and links, by VNET's language --------------------------------- */

/* A file, or what comes in with "-". */
static gboolean read_text(const char *path, char **text, gsize *len,
                          GError **error)
{
    g_autoptr(GError) err = NULL;

    if (!g_file_get_contents(g_str_equal(path, "-") ? "/dev/stdin" : path,
                             text, len, &err)) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_REFUSED, "%s", err->message);
        return FALSE;
    }
    return TRUE;
}

static void print_commands(JsonObject *answer, const char *name, char sign)
{
    g_autoptr(GList) list = objects(answer, name);

    for (GList *e = list; e; e = e->next) {
        g_print("%c %s  # %" PRId64 "\n", sign, member(e->data, "command"),
                member_int(e->data, "index"));
    }
}

/* Gives the commands in a file to a command of the monitor. */
static gboolean change_by(Qmp *q, const Options *o, const char *command,
                          char **words, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *a;
    gsize len;

    if (!read_text(words[0], &text, &len, error)) {
        return FALSE;
    }
    if (!g_utf8_validate(text, len, NULL)) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_REFUSED, "%s: this is no "
                    "text", words[0]);
        return FALSE;
    }
    a = arguments_for(q, o, error);
    if (!a) {
        return FALSE;
    }
    json_object_set_string_member(a, "commands", text);
    json_object_set_boolean_member(a, "replace", o->replace);
    json_object_set_boolean_member(a, "dry-run", o->dry_run);
    answer = qmp_execute(q, command, a, error);
    if (!answer) {
        g_prefix_error(error, "%s: ", words[0]);
        return FALSE;
    }
    if (o->json) {
        show_json(answer, TRUE);
        return TRUE;
    }
    print_commands(json_node_get_object(answer), "removed", '-');
    print_commands(json_node_get_object(answer), "added", '+');
    return TRUE;
}

gboolean change_routes(Qmp *q, const Options *o, char **words, GError **error)
{
    return change_by(q, o, "vnet-change-routes", words, error);
}

gboolean change_links(Qmp *q, const Options *o, char **words, GError **error)
{
    return change_by(q, o, "vnet-change-links", words, error);
}

/* How many routes the commands make; -1: err says what is wrong. */
static int count_routes(const char *text, size_t len, VnetLangError *err)
{
    GArray *changes = vnet_routes_parse(text, len, err);
    VnetRoutes *routes = vnet_routes_new();
    int count = -1;

    if (changes) {
        if (vnet_routes_change(routes, changes, false, false, NULL, NULL,
                               err)) {
            count = vnet_routes_count(routes);
        }
        g_array_unref(changes);
    }
    vnet_routes_free(routes);
    return count;
}

/* The same for links; what their options may be, QEMU knows. */
static int count_links(const char *text, size_t len, VnetLangError *err)
{
    g_autoptr(GArray) changes = vnet_links_parse(text, len, err);
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GPtrArray) links = NULL;
    unsigned last = 0;

    if (changes) {
        links = vnet_links_plan(none, changes, false, VNET_MAX_LINKS, &last,
                                err);
    }
    return links ? (int)links->len : -1;
}

static gboolean check_by(int (*count_of)(const char *text, size_t len,
                                         VnetLangError *err),
                         const char *what, char **words, GError **error)
{
    g_autofree char *text = NULL;
    VnetLangError err = { 0 };
    int count;
    gsize len;

    if (!read_text(words[0], &text, &len, error)) {
        return FALSE;
    }
    count = count_of(text, len, &err);
    if (count < 0) {
        g_autofree char *where = err.line ?
            g_strdup_printf("%u:%u: ", err.line, err.column) : NULL;

        /* As compilers do, for editors. */
        g_set_error(error, VNETCTL_ERROR, VNETCTL_REFUSED, "%s:%s%s", words[0],
                    where ?: " ", err.text);
        g_free(err.text);
        return FALSE;
    }
    g_print("%s: %d %s%s\n", words[0], count, what, count == 1 ? "" : "s");
    return TRUE;
}

gboolean check_routes(Qmp *q, const Options *o, char **words, GError **error)
{
    return check_by(count_routes, "route", words, error);
}

gboolean check_links(Qmp *q, const Options *o, char **words, GError **error)
{
    return check_by(count_links, "link", words, error);
}

/* --- Links ---------------------------------------------------------------- */

/* Members that are text whatever they look like. */
static gboolean is_text(const char *name)
{
    static const char *const names[] = { "id", "host", "port", "path", "local",
                                         "type", "tls-creds", "tls-hostname",
                                         "tls-authz", "peer-macs", "macs",
                                         "name", "identity", NULL };

    return g_strv_contains(names, name);
}

static JsonNode *one_value(const char *name, const char *text)
{
    JsonNode *n = json_node_new(JSON_NODE_VALUE);
    gint64 number;

    if (is_text(name)) {
        json_node_set_string(n, text);
    } else if (g_str_equal(text, "on") || g_str_equal(text, "off")) {
        json_node_set_boolean(n, g_str_equal(text, "on"));
    } else if (g_ascii_string_to_signed(text, 10, G_MININT64, G_MAXINT64,
                                        &number, NULL)) {
        json_node_set_int(n, number);
    } else {
        json_node_set_string(n, text);
    }
    return n;
}

/* Several are separated by commas. */
static JsonNode *value_of(const char *name, const char *text)
{
    static const char *const lists[] = { "peer-macs", "peer-vnis", "macs",
                                          "vnis", NULL };
    g_auto(GStrv) words = NULL;
    JsonArray *list;
    JsonNode *n;

    if (!g_strv_contains(lists, name)) {
        return one_value(name, text);
    }
    words = g_strsplit(text, ",", -1);
    list = json_array_new();
    for (char **w = words; *w; w++) {
        json_array_add_element(list, one_value(name, *w));
    }
    n = json_node_new(JSON_NODE_ARRAY);
    json_node_take_array(n, list);
    return n;
}

/* NAME=VALUE, where a dot in NAME leads into an object, as with -netdev. */
static gboolean set_member(JsonObject *o, const char *word, GError **error)
{
    const char *equal = strchr(word, '=');
    g_autofree char *name = equal ? g_strndup(word, equal - word) : NULL;
    g_auto(GStrv) path = name ? g_strsplit(name, ".", -1) : NULL;
    char **p = path;

    if (!equal || equal == word) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "\"%s\" is not "
                    "NAME=VALUE", word);
        return FALSE;
    }
    for (; p[1]; p++) {
        if (!json_object_has_member(o, *p)) {
            json_object_set_object_member(o, *p, json_object_new());
        }
        if (!JSON_NODE_HOLDS_OBJECT(json_object_get_member(o, *p))) {
            g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "\"%s\": \"%s\" "
                        "was given a value before", word, *p);
            return FALSE;
        }
        o = json_object_get_object_member(o, *p);
    }
    if (json_object_has_member(o, *p)) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "\"%s\" was given "
                    "before", name);
        return FALSE;
    }
    json_object_set_member(o, *p, value_of(*p, equal + 1));
    return TRUE;
}

/* An object whose members are named 0, 1 and so on is a list, as with -netdev. */
static JsonNode *with_lists(JsonNode *node)
{
    JsonObject *o, *out;
    JsonArray *list;
    JsonNode *member, *n;
    JsonObjectIter iter;
    const char *name;
    unsigned size;

    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        return json_node_copy(node);
    }
    o = json_node_get_object(node);
    size = json_object_get_size(o);
    list = json_array_new();
    for (unsigned i = 0; i < size; i++) {
        g_autofree char *number = g_strdup_printf("%u", i);

        member = json_object_get_member(o, number);
        if (!member) {
            break;
        }
        json_array_add_element(list, with_lists(member));
    }
    if (size && json_array_get_length(list) == size) {
        n = json_node_new(JSON_NODE_ARRAY);
        json_node_take_array(n, list);
        return n;
    }
    json_array_unref(list);
    out = json_object_new();
    json_object_iter_init(&iter, o);
    while (json_object_iter_next(&iter, &name, &member)) {
        json_object_set_member(out, name, with_lists(member));
    }
    n = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(n, out);
    return n;
}

static gboolean done(JsonNode *answer, const Options *o)
{
    if (answer && o->json) {
        show_json(answer, TRUE);
    }
    return answer != NULL;
}

gboolean change_link_add(Qmp *q, const Options *o, char **words,
                         GError **error)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *link = json_object_new();
    JsonObject *a;

    json_node_take_object(node, link);
    json_object_set_string_member(link, "id", words[0]);
    for (char **w = words + 1; *w; w++) {
        if (!set_member(link, *w, error)) {
            return FALSE;
        }
    }
    a = arguments_for(q, o, error);
    if (!a) {
        return FALSE;
    }
    json_object_set_member(a, "link", with_lists(node));
    answer = qmp_execute(q, "vnet-link-add", a, error);
    return done(answer, o);
}

gboolean change_link_del(Qmp *q, const Options *o, char **words,
                         GError **error)
{
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *a = arguments_for(q, o, error);

    if (!a) {
        return FALSE;
    }
    json_object_set_string_member(a, "link", words[0]);
    answer = qmp_execute(q, "vnet-link-del", a, error);
    return done(answer, o);
}

/* --- Captures ------------------------------------------------------------- */

gboolean change_capture_start(Qmp *q, const Options *o, char **words,
                              GError **error)
{
    g_autofree char *path = NULL;
    g_autoptr(JsonObject) own = json_object_new();
    g_autoptr(JsonNode) answer = NULL;
    JsonObject *a;

    /* QEMU may run elsewhere. */
    path = g_canonicalize_filename(words[0], NULL);
    for (char **w = words + 1; *w; w++) {
        if (!set_member(own, *w, error)) {
            return FALSE;
        }
    }
    a = arguments_for(q, o, error);
    if (!a) {
        return FALSE;
    }
    json_object_set_string_member(a, "file", path);
    for (const char *const *name = (const char *const []) {
            "snaplen", "max-size", NULL }; *name; name++) {
        if (json_object_has_member(own, *name)) {
            json_object_set_member(a, *name,
                                   json_object_dup_member(own, *name));
            json_object_remove_member(own, *name);
        }
    }
    if (json_object_get_size(own)) {
        g_autoptr(GList) left = json_object_get_members(own);

        json_object_unref(a);
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "\"%s\" is not "
                    "snaplen or max-size", (char *)left->data);
        return FALSE;
    }
    answer = qmp_execute(q, "vnet-capture-start", a, error);
    return done(answer, o);
}

gboolean change_capture_stop(Qmp *q, const Options *o, char **words,
                             GError **error)
{
    JsonObject *a = arguments_for(q, o, error), *said;
    g_autoptr(JsonNode) answer = NULL;

    if (!a) {
        return FALSE;
    }
    answer = qmp_execute(q, "vnet-capture-stop", a, error);
    if (!answer || o->json) {
        return done(answer, o);
    }
    said = json_node_get_object(answer);
    g_print("%s: %" PRId64 " packets, %" PRId64 " dropped\n",
            member(said, "file"), member_int(said, "packets"),
            member_int(said, "dropped"));
    if (member(said, "error")) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_REFUSED, "writing %s: %s",
                    member(said, "file"), member(said, "error"));
        return FALSE;
    }
    return TRUE;
}

/* --- Limits --------------------------------------------------------------- */

gboolean change_rate(Qmp *q, const Options *o, char **words, GError **error)
{
    g_autoptr(JsonObject) rate = json_object_new();
    g_autoptr(JsonNode) answer = NULL;
    const char *name = g_str_equal(words[0], "tx") ? "tx-rate" :
                       g_str_equal(words[0], "rx") ? "rx-rate" : NULL;
    gboolean off = g_str_equal(words[1], "off") && !words[2];
    JsonObject *a;

    if (!name) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "\"%s\" is not tx or "
                    "rx", words[0]);
        return FALSE;
    }
    for (char **w = words + 1; *w && !off; w++) {
        if (!set_member(rate, *w, error)) {
            return FALSE;
        }
    }
    a = arguments_for(q, o, error);
    if (!a) {
        return FALSE;
    }
    json_object_set_object_member(a, name, g_steal_pointer(&rate));
    answer = qmp_execute(q, "vnet-set-rate", a, error);
    return done(answer, o);
}
