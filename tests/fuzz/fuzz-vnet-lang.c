/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for routes (vnet-route.h) and for links (vnet-link-lang.h):
 * the input is commands of both, given to an empty table.  What it then lists
 * makes the same table again, and frames with addresses from the input are looked
 * for in that of routes.
 */
#include <string.h>
#include "vnet-link-lang.h"
#include "vnet-route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool from_odd(void *opaque, const VnetEndName *from)
{
    return from->id[0] & 1;
}

static void count(void *opaque, const VnetRule *rule)
{
    unsigned *n = opaque;

    g_assert(rule->index);
    (*n)++;
}

static VnetRoutes *given(const char *text, size_t len)
{
    VnetRoutes *r = vnet_routes_new();
    VnetLangError err = { 0 };
    GArray *changes = vnet_routes_parse(text, len, &err);

    if (changes) {
        vnet_routes_change(r, changes, false, false, NULL, NULL, &err);
        g_array_free(changes, TRUE);
    }
    g_assert(changes || err.text);
    g_free(err.text);
    return r;
}

/* The oldest first, as commands. */
static GString *listed(const VnetRoutes *r)
{
    GString *s = g_string_new(NULL);

    for (unsigned n = vnet_routes_count(r); n-- > 0; ) {
        g_autofree char *text = vnet_rule_text(vnet_routes_nth(r, n));

        g_string_append_printf(s, "%s\n", text);
    }
    return s;
}

/* The links that the commands make. */
static GPtrArray *links_of(const char *text, size_t len)
{
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    VnetLangError err = { 0 };
    GArray *changes = vnet_links_parse(text, len, &err);
    GPtrArray *links = NULL;
    unsigned last = 0;

    if (changes) {
        links = vnet_links_plan(none, changes, len & 1, 64, &last,
                                &err);
        g_array_unref(changes);
    }
    g_assert(links || err.text);
    g_free(err.text);
    return links;
}

static void try_links(const char *text, size_t len)
{
    GPtrArray *links = links_of(text, len), *again;
    GString *list = g_string_new(NULL);

    for (guint i = 0; links && i < links->len; i++) {
        const VnetLinkDef *d = links->pdata[i];

        g_string_append_printf(list, "%s\n", d->command);
    }
    again = links_of(list->str, list->len);
    g_assert(again && again->len == (links ? links->len : 0));
    for (guint i = 0; i < again->len; i++) {
        const VnetLinkDef *a = again->pdata[i], *d = links->pdata[i];

        g_assert_cmpstr(a->command, ==, d->command);
        g_assert_cmpstr(a->id, ==, d->id);
    }
    g_string_free(list, TRUE);
    g_ptr_array_unref(again);
    if (links) {
        g_ptr_array_unref(links);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VnetRoutes *r = given((const char *)data, size);
    GString *list = listed(r);
    VnetRoutes *again = given(list->str, list->len);
    GString *list_again = listed(again);

    try_links((const char *)data, size);
    g_assert_cmpstr(list->str, ==, list_again->str);
    for (size_t i = 0; i + 12 <= size && i < 120; i += 12) {
        unsigned n = 0, p;

        p = vnet_routes_find(r, data + i, data + i + 6, from_odd, count, &n);
        g_assert(p <= 8 && !p == !n);
    }
    g_string_free(list, TRUE);
    g_string_free(list_again, TRUE);
    vnet_routes_free(r);
    vnet_routes_free(again);
    return 0;
}
