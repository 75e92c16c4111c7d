/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table of static routes; see vnet-route.h.  The language is in
 * vnet-route-lang.c.
 *
 * A frame's rules are looked for one by one: the switch keeps what was found.
 */
#include <string.h>
#include "vnet-route.h"

struct VnetRoutes {
    GArray *rules;              /* of VnetRule, the oldest first */
    unsigned last;              /* index given last */
};

VnetRoutes *vnet_routes_new(void)
{
    VnetRoutes *r = g_new0(VnetRoutes, 1);

    r->rules = g_array_new(FALSE, TRUE, sizeof(VnetRule));
    return r;
}

void vnet_routes_free(VnetRoutes *r)
{
    if (r) {
        g_array_free(r->rules, TRUE);
        g_free(r);
    }
}

unsigned vnet_routes_count(const VnetRoutes *r)
{
    return r->rules->len;
}

static VnetRule *rule_at(const GArray *rules, unsigned i)
{
    return &g_array_index(rules, VnetRule, i);
}

const VnetRule *vnet_routes_nth(const VnetRoutes *r, unsigned n)
{
    return n < r->rules->len ? rule_at(r->rules, r->rules->len - 1 - n) : NULL;
}

/* --- Changing ------------------------------------------------------------ */

static bool match_equal(const VnetMacMatch *a, const VnetMacMatch *b)
{
    return a->how == b->how && !memcmp(a->mac, b->mac, 6);
}

static bool name_equal(const VnetEndName *a, const VnetEndName *b)
{
    return a->kind == b->kind && !strcmp(a->id, b->id);
}

/* Whether two rules say the same, whatever their indices. */
static gboolean rule_equal(gconstpointer one, gconstpointer other)
{
    const VnetRule *a = one, *b = other;

    return match_equal(&a->src, &b->src) && match_equal(&a->dst, &b->dst) &&
           name_equal(&a->to, &b->to) && name_equal(&a->from, &b->from);
}

static guint match_hash(const VnetMacMatch *m)
{
    guint hash = m->how;

    for (unsigned i = 0; i < 6; i++) {
        hash = hash * 31 + m->mac[i];
    }
    return hash;
}

static guint rule_hash(gconstpointer key)
{
    const VnetRule *rule = key;

    return (match_hash(&rule->src) * 31 + match_hash(&rule->dst)) * 31 +
           g_str_hash(rule->to.id) + g_str_hash(rule->from.id);
}

/* What rules say -> the index of that which does. */
static GHashTable *said_by(const GArray *rules)
{
    GHashTable *said = g_hash_table_new_full(rule_hash, rule_equal, g_free,
                                             NULL);

    for (guint i = 0; i < rules->len; i++) {
        g_hash_table_insert(said, g_memdup2(rule_at(rules, i),
                                            sizeof(VnetRule)),
                            GUINT_TO_POINTER(rule_at(rules, i)->index));
    }
    return said;
}

static unsigned index_of(GHashTable *said, const VnetRule *rule)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(said, rule));
}

static int find_index(const GArray *rules, unsigned index)
{
    for (guint i = 0; i < rules->len; i++) {
        if (rule_at(rules, i)->index == index) {
            return i;
        }
    }
    return -1;
}

static bool fail(VnetLangError *err, const VnetRouteChange *c,
                 const char *fmt, ...) G_GNUC_PRINTF(3, 4);

static bool fail(VnetLangError *err, const VnetRouteChange *c,
                 const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *err = (VnetLangError) { c->line, c->column, g_strdup_vprintf(fmt, ap) };
    va_end(ap);
    return false;
}

/* One change of the rules that there will be, and of what they say; old: what
 * those say that there are. */
static bool change(GArray *rules, GHashTable *said, GHashTable *old,
                   unsigned *last, const VnetRouteChange *c, VnetLangError *err)
{
    VnetRule rule = c->rule;
    int at;

    if (!c->add) {
        at = find_index(rules, rule.index);
        if (at < 0) {
            return fail(err, c, "there is no route %u", rule.index);
        }
        g_hash_table_remove(said, rule_at(rules, at));
        g_array_remove_index(rules, at);
        return true;
    }
    if (index_of(said, &rule)) {
        return fail(err, c, "route %u says the same", index_of(said, &rule));
    }
    if (rules->len >= VNET_ROUTES_MAX) {
        return fail(err, c, "there would be more than %u routes",
                    VNET_ROUTES_MAX);
    }
    rule.index = index_of(old, &rule) ?: ++*last;
    g_hash_table_insert(said, g_memdup2(&rule, sizeof(rule)),
                        GUINT_TO_POINTER(rule.index));
    g_array_append_val(rules, rule);
    return true;
}

/* Those of a that b has not. */
static void difference(const GArray *a, const GArray *b, GArray *out)
{
    g_autoptr(GHashTable) indices = g_hash_table_new(NULL, NULL);

    for (guint i = 0; i < b->len; i++) {
        g_hash_table_add(indices, GUINT_TO_POINTER(rule_at(b, i)->index));
    }
    for (guint i = 0; out && i < a->len; i++) {
        const VnetRule *rule = rule_at(a, i);

        if (!g_hash_table_contains(indices, GUINT_TO_POINTER(rule->index))) {
            g_array_append_vals(out, rule, 1);
        }
    }
}

bool vnet_routes_change(VnetRoutes *r, const GArray *changes, bool replace,
                        bool dry_run, GArray *added, GArray *removed,
                        VnetLangError *err)
{
    GArray *none = g_array_new(FALSE, TRUE, sizeof(VnetRule));
    GArray *rules = g_array_new(FALSE, TRUE, sizeof(VnetRule));
    GHashTable *said, *old;
    unsigned last = r->last;
    bool ok = true;

    if (!replace) {
        g_array_append_vals(rules, r->rules->data, r->rules->len);
    }
    said = said_by(rules);
    old = said_by(replace ? r->rules : none);
    for (guint i = 0; ok && i < changes->len; i++) {
        ok = change(rules, said, old, &last,
                    &g_array_index(changes, VnetRouteChange, i), err);
    }
    if (ok) {
        difference(rules, r->rules, added);
        difference(r->rules, rules, removed);
        if (!dry_run) {
            GArray *gone = r->rules;

            r->rules = rules;
            rules = gone;
            r->last = last;
        }
    }
    g_hash_table_unref(said);
    g_hash_table_unref(old);
    g_array_free(rules, TRUE);
    g_array_free(none, TRUE);
    return ok;
}

/* --- Looking ------------------------------------------------------------- */

static bool mac_matches(const VnetMacMatch *m, const uint8_t mac[6])
{
    switch (m->how) {
    case VNET_MAC_IS:
        return !memcmp(m->mac, mac, 6);
    case VNET_MAC_NOT:
        return memcmp(m->mac, mac, 6) != 0;
    default:
        return true;
    }
}

/* By how the source is given, then how the destination is; 0: no such rule. */
static const uint8_t priorities[4][4] = {
    /*                  IS NOT ANY NONE */
    [VNET_MAC_IS]   = { 8, 7, 6, 4 },
    [VNET_MAC_NOT]  = { 7, 3, 5, 0 },
    [VNET_MAC_ANY]  = { 6, 5, 3, 0 },
    [VNET_MAC_NONE] = { 0, 0, 0, 0 },
};

static unsigned priority(const VnetRule *rule, const uint8_t src[6],
                         const uint8_t dst[6])
{
    return mac_matches(&rule->src, src) && mac_matches(&rule->dst, dst) ?
           priorities[rule->src.how][rule->dst.how] : 0;
}

unsigned vnet_routes_find(const VnetRoutes *r, const uint8_t src[6],
                          const uint8_t dst[6],
                          bool (*is)(void *opaque, const VnetEndName *from),
                          void (*cb)(void *opaque, const VnetRule *rule),
                          void *opaque)
{
    unsigned best = 0;

    for (guint i = 0; i < r->rules->len; i++) {
        const VnetRule *rule = rule_at(r->rules, i);
        unsigned p = priority(rule, src, dst);

        if (p > best && (rule->from.kind == VNET_END_ANY ||
                         is(opaque, &rule->from))) {
            best = p;
        }
    }
    for (guint i = r->rules->len; best && i-- > 0; ) {
        const VnetRule *rule = rule_at(r->rules, i);

        if (priority(rule, src, dst) == best &&
            (rule->from.kind == VNET_END_ANY || is(opaque, &rule->from))) {
            cb(opaque, rule);
        }
    }
    return best;
}
