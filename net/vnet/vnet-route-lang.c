/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for routes: reading and writing; see vnet-route.h.
 *
 *   command = "ADD" mac mac kind id source | "DEL" index
 *   source  = "any" | kind [id | "any"]
 *   kind    = "edge" | "interface"
 *   mac     = "any" | "none" | ["not-"] aa:bb:cc:dd:ee:ff
 *
 * Words are not case-sensitive, ids are.  A bad line gives an error, never a
 * rule that matches something else, or nothing.
 */
#include <string.h>
#include "vnet-route.h"

bool vnet_route_mac(const char *text, uint8_t mac[6])
{
    if (strlen(text) != 17) {
        return false;
    }
    for (int i = 0; i < 17; i++) {
        bool colon = i % 3 == 2;

        if (colon ? text[i] != ':' : !g_ascii_isxdigit(text[i])) {
            return false;
        }
    }
    for (int i = 0; i < 6; i++) {
        mac[i] = g_ascii_xdigit_value(text[3 * i]) << 4 |
                 g_ascii_xdigit_value(text[3 * i + 1]);
    }
    return true;
}

static bool parse_mac(VnetLangLine *l, VnetMacMatch *m)
{
    g_autofree char *w = vnet_lang_word(l);

    if (w && !g_ascii_strcasecmp(w, "any")) {
        m->how = VNET_MAC_ANY;
        return true;
    }
    if (w && !g_ascii_strcasecmp(w, "none")) {
        m->how = VNET_MAC_NONE;
        return true;
    }
    if (w && !g_ascii_strncasecmp(w, "not-", 4) && vnet_route_mac(w + 4,
                                                                  m->mac)) {
        m->how = VNET_MAC_NOT;
        return true;
    }
    if (w && vnet_route_mac(w, m->mac)) {
        m->how = VNET_MAC_IS;
        return true;
    }
    return vnet_lang_expected(l, "any, none, aa:bb:cc:dd:ee:ff or "
                              "not-aa:bb:cc:dd:ee:ff", w);
}

/* optional: nothing, and "any", are as good as an id. */
static bool parse_id(VnetLangLine *l, bool optional, VnetEndName *name)
{
    g_autofree char *w = vnet_lang_word(l);
    bool nic = name->kind == VNET_END_INTERFACE;
    const char *p = w;
    uint8_t mac[6];

    if (optional && (!w || !g_ascii_strcasecmp(w, "any"))) {
        return true;
    }
    while (p && g_ascii_isgraph(*p)) {
        p++;
    }
    /* No id of a NIC has a colon: it was to be an address. */
    if (!w || *p || p - w > VNET_ROUTE_ID_MAX ||
        !g_ascii_strcasecmp(w, "any") ||
        (nic && strchr(w, ':') && !vnet_route_mac(w, mac))) {
        return vnet_lang_expected(l, nic ? "the id or address of a NIC" :
                                  "the id of a link", w);
    }
    g_strlcpy(name->id, w, sizeof(name->id));
    if (nic && vnet_route_mac(w, mac)) {
        /* An address is the same however it is written. */
        for (char *q = name->id; *q; q++) {
            *q = g_ascii_tolower(*q);
        }
    }
    return true;
}

/* anything: "any" is one, too. */
static bool parse_kind(VnetLangLine *l, bool anything, VnetEndName *name)
{
    g_autofree char *w = vnet_lang_word(l);

    if (w && !g_ascii_strcasecmp(w, "edge")) {
        name->kind = VNET_END_EDGE;
    } else if (w && !g_ascii_strcasecmp(w, "interface")) {
        name->kind = VNET_END_INTERFACE;
    } else if (w && anything && !g_ascii_strcasecmp(w, "any")) {
        name->kind = VNET_END_ANY;
    } else {
        return vnet_lang_expected(l, anything ? "edge, interface or any" :
                                  "edge or interface", w);
    }
    return true;
}

static bool parse_add(VnetLangLine *l, VnetRule *rule)
{
    if (!parse_mac(l, &rule->src)) {
        return false;
    }
    if (rule->src.how == VNET_MAC_NONE) {
        return vnet_lang_fail(l, "no frame has the source \"none\"");
    }
    if (!parse_mac(l, &rule->dst)) {
        return false;
    }
    if (rule->dst.how == VNET_MAC_NONE && rule->src.how != VNET_MAC_IS) {
        return vnet_lang_fail(l, "\"none\" is the default route of one "
                              "source, which has to be an address");
    }
    if (!parse_kind(l, false, &rule->to) ||
        !parse_id(l, false, &rule->to) ||
        !parse_kind(l, true, &rule->from)) {
        return false;
    }
    if (rule->from.kind != VNET_END_ANY &&
        !parse_id(l, true, &rule->from)) {
        return false;
    }
    return vnet_lang_end(l);
}

static bool parse_command(VnetLangLine *l, bool add, void *opaque)
{
    GArray *changes = opaque;
    VnetRouteChange c = { .add = add, .line = l->number, .column = l->column };

    if (!(add ? parse_add(l, &c.rule) :
          vnet_lang_number(l, "route", &c.rule.index) && vnet_lang_end(l))) {
        return false;
    }
    g_array_append_val(changes, c);
    return true;
}

GArray *vnet_routes_parse(const char *text, size_t len, VnetLangError *err)
{
    GArray *changes = g_array_new(FALSE, TRUE, sizeof(VnetRouteChange));

    if (!vnet_lang_read(text, len, parse_command, changes, err)) {
        g_array_free(changes, TRUE);
        return NULL;
    }
    return changes;
}

/* --- Writing ------------------------------------------------------------- */

static void write_mac(GString *s, const VnetMacMatch *m)
{
    const uint8_t *a = m->mac;

    switch (m->how) {
    case VNET_MAC_ANY:
        g_string_append(s, " any");
        return;
    case VNET_MAC_NONE:
        g_string_append(s, " none");
        return;
    default:
        g_string_append_printf(s, " %s%02x:%02x:%02x:%02x:%02x:%02x",
                               m->how == VNET_MAC_NOT ? "not-" : "", a[0],
                               a[1], a[2], a[3], a[4], a[5]);
    }
}

static void write_name(GString *s, const VnetEndName *n)
{
    g_string_append(s, n->kind == VNET_END_ANY ? " any" :
                    n->kind == VNET_END_EDGE ? " edge" : " interface");
    if (n->kind != VNET_END_ANY) {
        g_string_append_printf(s, " %s", n->id[0] ? n->id : "any");
    }
}

char *vnet_rule_text(const VnetRule *rule)
{
    GString *s = g_string_new("ADD");

    write_mac(s, &rule->src);
    write_mac(s, &rule->dst);
    write_name(s, &rule->to);
    write_name(s, &rule->from);
    return g_string_free(s, FALSE);
}
