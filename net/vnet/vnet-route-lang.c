/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for routes: reading and writing; see vnet-route.h.
 *
 *   line    = [command] ["#" comment]
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

/* A line that is being read. */
typedef struct Line {
    const char *at, *end;       /* what is left */
    const char *begin;
    unsigned number;
    unsigned column;            /* of the last word */
    VnetRouteError *err;
} Line;

static bool fail(Line *l, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

static bool fail(Line *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *l->err = (VnetRouteError) { l->number, l->column,
                                 g_strdup_vprintf(fmt, ap) };
    va_end(ap);
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word, to be freed; NULL: there is none. */
static char *word(Line *l)
{
    const char *begin;

    while (l->at < l->end && is_blank(*l->at)) {
        l->at++;
    }
    begin = l->at;
    l->column = begin - l->begin + 1;
    if (begin == l->end || *begin == '#') {
        return NULL;
    }
    while (l->at < l->end && !is_blank(*l->at) && *l->at != '#') {
        l->at++;
    }
    return g_strndup(begin, l->at - begin);
}

/* What is wrong may be as long as a line; and it may be anything. */
static char *shown(const char *text)
{
    g_autofree char *some = g_strndup(text, 40);

    return g_strescape(some, NULL);
}

static bool expected(Line *l, const char *what, const char *got)
{
    g_autofree char *s = got ? shown(got) : NULL;

    return s ? fail(l, "\"%s\" is not %s", s, what) :
               fail(l, "the line ends, and %s is missing", what);
}

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

static bool parse_mac(Line *l, VnetMacMatch *m)
{
    g_autofree char *w = word(l);

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
    return expected(l, "any, none, aa:bb:cc:dd:ee:ff or "
                    "not-aa:bb:cc:dd:ee:ff", w);
}

/* optional: nothing, and "any", are as good as an id. */
static bool parse_id(Line *l, bool optional, VnetEndName *name)
{
    g_autofree char *w = word(l);
    const char *p = w;
    uint8_t mac[6];

    if (optional && (!w || !g_ascii_strcasecmp(w, "any"))) {
        return true;
    }
    while (p && g_ascii_isgraph(*p)) {
        p++;
    }
    if (!w || *p || p - w > VNET_ROUTE_ID_MAX ||
        !g_ascii_strcasecmp(w, "any")) {
        return expected(l, name->kind == VNET_END_EDGE ?
                        "the id of a link" : "the id or address of a NIC", w);
    }
    g_strlcpy(name->id, w, sizeof(name->id));
    if (name->kind == VNET_END_INTERFACE && vnet_route_mac(w, mac)) {
        /* An address is the same however it is written. */
        for (char *q = name->id; *q; q++) {
            *q = g_ascii_tolower(*q);
        }
    }
    return true;
}

/* anything: "any" is one, too. */
static bool parse_kind(Line *l, bool anything, VnetEndName *name)
{
    g_autofree char *w = word(l);

    if (w && !g_ascii_strcasecmp(w, "edge")) {
        name->kind = VNET_END_EDGE;
    } else if (w && !g_ascii_strcasecmp(w, "interface")) {
        name->kind = VNET_END_INTERFACE;
    } else if (w && anything && !g_ascii_strcasecmp(w, "any")) {
        name->kind = VNET_END_ANY;
    } else {
        return expected(l, anything ? "edge, interface or any" :
                        "edge or interface", w);
    }
    return true;
}

static bool parse_end(Line *l)
{
    g_autofree char *w = word(l);
    g_autofree char *s = w ? shown(w) : NULL;

    return !w || fail(l, "\"%s\" is more than the command takes", s);
}

static bool parse_add(Line *l, VnetRule *rule)
{
    if (!parse_mac(l, &rule->src)) {
        return false;
    }
    if (rule->src.how == VNET_MAC_NONE) {
        return fail(l, "no frame has the source \"none\"");
    }
    if (!parse_mac(l, &rule->dst)) {
        return false;
    }
    if (rule->dst.how == VNET_MAC_NONE && rule->src.how != VNET_MAC_IS) {
        return fail(l, "\"none\" is the default route of one source, which "
                    "has to be an address");
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
    return parse_end(l);
}

static bool parse_del(Line *l, VnetRule *rule)
{
    g_autofree char *w = word(l);
    guint64 n;

    if (!w || !g_ascii_string_to_unsigned(w, 10, 1, G_MAXUINT32, &n, NULL)) {
        return expected(l, "the number of a route", w);
    }
    rule->index = n;
    return parse_end(l);
}

static bool parse_line(Line *l, GArray *changes)
{
    g_autofree char *w = word(l);
    VnetRouteChange c = { .line = l->number, .column = l->column };
    bool ok;

    if (!w) {
        return true;
    }
    if (!g_ascii_strcasecmp(w, "add")) {
        c.add = true;
        ok = parse_add(l, &c.rule);
    } else if (!g_ascii_strcasecmp(w, "del")) {
        ok = parse_del(l, &c.rule);
    } else {
        ok = expected(l, "ADD or DEL", w);
    }
    if (ok) {
        g_array_append_val(changes, c);
    }
    return ok;
}

GArray *vnet_routes_parse(const char *text, size_t len, VnetRouteError *err)
{
    GArray *changes = g_array_new(FALSE, TRUE, sizeof(VnetRouteChange));
    const char *end = text + len;
    Line l = { .begin = text, .err = err };

    if (len > VNET_ROUTE_TEXT_MAX) {
        *err = (VnetRouteError) { 0, 0, g_strdup_printf(
            "%zu bytes of commands are more than %u", len,
            VNET_ROUTE_TEXT_MAX) };
        g_array_free(changes, TRUE);
        return NULL;
    }
    while (l.begin < end) {
        const char *stop = memchr(l.begin, '\n', end - l.begin);
        const char *zero;

        l.at = l.begin;
        l.end = stop ? stop : end;
        l.number++;
        zero = memchr(l.begin, 0, l.end - l.begin);
        if (zero) {
            l.column = zero - l.begin + 1;
            fail(&l, "a byte 0 is no text");
        }
        if (zero || !parse_line(&l, changes)) {
            g_array_free(changes, TRUE);
            return NULL;
        }
        l.begin = l.end + 1;
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
