/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for links: reading and writing; see vnet-link-lang.h.
 *
 *   command = "ADD" address port [ "udp" | "tcp" | "rdma" ] option*
 *           | "ADD" path "unix" option*
 *           | "DEL" index
 *   option  = name "=" value
 *
 * In address, path and value %XX is the byte XX, as a blank or a "#" would end
 * the word.
 */
#include <string.h>
#include "vnet-link-lang.h"

/* --- Options ------------------------------------------------------------- */

static int compare(gconstpointer a, gconstpointer b, gpointer opaque)
{
    return strcmp(a, b);
}

VnetOptions *vnet_options_new(void)
{
    return g_tree_new_full(compare, NULL, g_free, g_free);
}

static const char *option(VnetOptions *o, const char *name)
{
    return g_tree_lookup(o, name);
}

/* --- Reading ------------------------------------------------------------- */

/* The text with each %XX as what it is; NULL: it is wrong. */
static char *decoded(const char *text)
{
    GString *s = g_string_new(NULL);

    for (; *text; text++) {
        if (*text != '%') {
            g_string_append_c(s, *text);
            continue;
        }
        if (!g_ascii_isxdigit(text[1]) || !g_ascii_isxdigit(text[2]) ||
            (text[1] == '0' && text[2] == '0')) {
            g_string_free(s, TRUE);
            return NULL;
        }
        g_string_append_c(s, g_ascii_xdigit_value(text[1]) << 4 |
                          g_ascii_xdigit_value(text[2]));
        text += 2;
    }
    return g_string_free(s, FALSE);
}

static bool bad_percent(VnetLangLine *l, const char *w)
{
    return vnet_lang_expected(l, "a text in which each % has the two digits of "
                              "a byte behind it", w);
}

/* Stands for the empty host, on which a server listens at all addresses. */
#define ALL_ADDRESSES   "*"

static void set(VnetOptions *o, const char *name, const char *value)
{
    g_tree_insert(o, g_strdup(name), g_strdup(value));
}

/* The words that stand for an address. */
static bool parse_where(VnetLangLine *l, VnetOptions *o)
{
    g_autofree char *address = vnet_lang_word(l);
    g_autofree char *where = address ? decoded(address) : NULL;
    g_autofree char *w = NULL;
    guint64 port;

    if (!address) {
        return vnet_lang_expected(l, "the address of the peer", NULL);
    }
    if (!where) {
        return bad_percent(l, address);
    }
    w = vnet_lang_word(l);
    if (w && !g_ascii_strcasecmp(w, "unix")) {
        set(o, "addr.type", "unix");
        set(o, "addr.path", where);
        return true;
    }
    if (!w || !g_ascii_string_to_unsigned(w, 10, 0, G_MAXUINT16, &port,
                                          NULL)) {
        return vnet_lang_expected(l, "a port, 0 to 65535, or unix", w);
    }
    set(o, "addr.type", "inet");
    set(o, "addr.host", strcmp(where, ALL_ADDRESSES) ? where : "");
    set(o, "addr.port", w);
    if (strcmp(where, ALL_ADDRESSES)) {
        /* Routes name a link by its peer, unless it is given an id. */
        set(o, "id", where);
    }
    return true;
}

/* Of the words "udp", "tcp" and "rdma". */
static const char *link_type(const char *w)
{
    static const char *const types[][2] = {
        { "udp", "vxlan" }, { "tcp", "tcp" }, { "rdma", "rdma" },
    };

    for (size_t i = 0; w && i < G_N_ELEMENTS(types); i++) {
        if (!g_ascii_strcasecmp(w, types[i][0])) {
            return types[i][1];
        }
    }
    return NULL;
}

static bool is_option_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") ==
           strlen(name);
}

/* seen: names that had an option of their own. */
static bool parse_option(VnetLangLine *l, char *w, VnetOptions *o,
                         GHashTable *seen)
{
    char *value = strchr(w, '=');
    g_autofree char *meant = NULL;

    if (!value) {
        return vnet_lang_expected(l, "an option, name=value", w);
    }
    *value++ = 0;
    if (!is_option_name(w)) {
        return vnet_lang_expected(l, "the name of an option", w);
    }
    meant = decoded(value);
    if (!meant) {
        return bad_percent(l, value);
    }
    if (!strcmp(w, "type") || !strcmp(w, "addr.type") ||
        !strcmp(w, "addr.host") || !strcmp(w, "addr.port") ||
        !strcmp(w, "addr.path")) {
        return vnet_lang_fail(l, "%s is what the command's first words say", w);
    }
    if (!g_hash_table_add(seen, g_strdup(w))) {
        return vnet_lang_fail(l, "%s is there twice", w);
    }
    set(o, w, meant);
    return true;
}

static bool parse_options(VnetLangLine *l, VnetOptions *o)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, NULL);
    g_autofree char *w = vnet_lang_word(l);
    bool is_unix = option(o, "addr.path");
    const char *type = is_unix ? NULL : link_type(w);

    if (!is_unix) {
        /* VNET/P's links are udp if nothing is said. */
        set(o, "type", type ?: "vxlan");
    }
    if (type) {
        g_free(w);
        w = vnet_lang_word(l);
    } else if (w && !is_unix && !strchr(w, '=')) {
        return vnet_lang_expected(l, "udp, tcp, rdma or an option, name=value",
                                  w);
    }
    while (w) {
        if (!parse_option(l, w, o, seen)) {
            return false;
        }
        g_free(w);
        w = vnet_lang_word(l);
    }
    if (!option(o, "id")) {
        return vnet_lang_fail(l, "a link that no address names needs an id=");
    }
    return true;
}

static bool parse_command(VnetLangLine *l, bool add, void *opaque)
{
    GArray *changes = opaque;
    VnetLinkChange c = { .line = l->number, .column = l->column };
    VnetOptions *o;

    if (!add) {
        if (!vnet_lang_number(l, "link", &c.index) || !vnet_lang_end(l)) {
            return false;
        }
        g_array_append_val(changes, c);
        return true;
    }
    o = vnet_options_new();
    if (!parse_where(l, o) || !parse_options(l, o)) {
        g_tree_destroy(o);
        return false;
    }
    c.add = vnet_link_def_new(o);
    c.add->line = c.line;
    c.add->column = c.column;
    g_array_append_val(changes, c);
    return true;
}

static void clear_change(void *change)
{
    VnetLinkChange *c = change;

    if (c->add) {
        vnet_link_def_unref(c->add);
    }
}

GArray *vnet_links_parse(const char *text, size_t len, VnetLangError *err)
{
    GArray *changes = g_array_new(FALSE, TRUE, sizeof(VnetLinkChange));

    g_array_set_clear_func(changes, clear_change);
    if (!vnet_lang_read(text, len, parse_command, changes, err)) {
        g_array_unref(changes);
        return NULL;
    }
    return changes;
}

/* --- Writing ------------------------------------------------------------- */

static void encode(GString *s, const char *text)
{
    for (; *text; text++) {
        if (g_ascii_isgraph(*text) && *text != '%' && *text != '#') {
            g_string_append_c(s, *text);
        } else {
            g_string_append_printf(s, "%%%02X", (unsigned char)*text);
        }
    }
}

typedef struct Writing {
    GString *s;
    const char *host;           /* NULL: a unix link */
} Writing;

static gboolean write_option(gpointer name, gpointer value, gpointer opaque)
{
    Writing *w = opaque;

    if (strcmp(name, "type") && strcmp(name, "addr.type") &&
        strcmp(name, "addr.host") && strcmp(name, "addr.port") &&
        strcmp(name, "addr.path") &&
        (strcmp(name, "id") || !*(char *)value ||
         g_strcmp0(value, w->host))) {
        g_string_append_printf(w->s, " %s=", (char *)name);
        encode(w->s, value);
    }
    return FALSE;
}

static char *command_of(VnetOptions *o)
{
    Writing w = { g_string_new("ADD "), option(o, "addr.host") };
    const char *type = option(o, "type");

    encode(w.s, !w.host ? option(o, "addr.path") :
                *w.host ? w.host : ALL_ADDRESSES);
    if (w.host) {
        g_string_append_printf(w.s, " %s %s", option(o, "addr.port"),
                               !g_strcmp0(type, "vxlan") ? "udp" :
                               type ?: "tcp");
    } else {
        g_string_append(w.s, " unix");
    }
    g_tree_foreach(o, write_option, &w);
    return g_string_free(w.s, FALSE);
}

/* --- Links --------------------------------------------------------------- */

VnetLinkDef *vnet_link_def_new(VnetOptions *options)
{
    VnetLinkDef *d = g_new0(VnetLinkDef, 1);

    d->refs = 1;
    d->options = options;
    d->id = g_strdup(option(options, "id"));
    d->command = command_of(options);
    return d;
}

VnetLinkDef *vnet_link_def_ref(VnetLinkDef *d)
{
    d->refs++;
    return d;
}

void vnet_link_def_unref(VnetLinkDef *d)
{
    if (--d->refs == 0) {
        g_tree_destroy(d->options);
        g_free(d->id);
        g_free(d->command);
        g_free(d);
    }
}

static bool misfit(VnetLangError *err, const VnetLinkChange *c,
                   const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static bool misfit(VnetLangError *err, const VnetLinkChange *c,
                   const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *err = (VnetLangError) { c->line, c->column, g_strdup_vprintf(fmt, ap) };
    va_end(ap);
    return false;
}

static gboolean has_id(gconstpointer d, gconstpointer id)
{
    return !strcmp(((const VnetLinkDef *)d)->id, id);
}

static gboolean has_command(gconstpointer d, gconstpointer command)
{
    return !strcmp(((const VnetLinkDef *)d)->command, command);
}

/* old: the links of which one that is added may be one. */
static bool plan_add(GPtrArray *defs, GPtrArray *old, unsigned max,
                     unsigned *last, const VnetLinkChange *c,
                     VnetLangError *err)
{
    guint at;

    if (g_ptr_array_find_with_equal_func(defs, c->add->id, has_id, NULL)) {
        return misfit(err, c, "there is a link \"%s\" already", c->add->id);
    }
    if (defs->len >= max) {
        return misfit(err, c, "there would be more than %u links", max);
    }
    if (g_ptr_array_find_with_equal_func(old, c->add->command, has_command,
                                         &at)) {
        g_ptr_array_add(defs, vnet_link_def_ref(old->pdata[at]));
        return true;
    }
    c->add->index = ++*last;
    g_ptr_array_add(defs, vnet_link_def_ref(c->add));
    return true;
}

static bool plan_del(GPtrArray *defs, const VnetLinkChange *c,
                     VnetLangError *err)
{
    for (guint i = 0; i < defs->len; i++) {
        if (((VnetLinkDef *)defs->pdata[i])->index == c->index) {
            g_ptr_array_remove_index(defs, i);
            return true;
        }
    }
    return misfit(err, c, "there is no link %u", c->index);
}

GPtrArray *vnet_links_plan(const GPtrArray *there, const GArray *changes,
                           bool replace, unsigned max, unsigned *last,
                           VnetLangError *err)
{
    GPtrArray *defs = g_ptr_array_new_with_free_func(
        (GDestroyNotify)vnet_link_def_unref);
    g_autoptr(GPtrArray) old = g_ptr_array_new();
    bool ok = true;

    for (guint i = 0; i < there->len; i++) {
        VnetLinkDef *d = there->pdata[i];

        if (replace) {
            g_ptr_array_add(old, d);
        } else {
            g_ptr_array_add(defs, vnet_link_def_ref(d));
        }
    }
    for (guint i = 0; ok && i < changes->len; i++) {
        const VnetLinkChange *c = &g_array_index(changes, VnetLinkChange, i);

        ok = c->add ? plan_add(defs, old, max, last, c, err) :
                      plan_del(defs, c, err);
    }
    if (!ok) {
        g_ptr_array_unref(defs);
        return NULL;
    }
    return defs;
}
