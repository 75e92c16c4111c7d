/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for routes (vnet-route.h): the input is commands, given to an
 * empty table.  What it then lists makes the same table again, and frames with
 * addresses from the input are looked for in it.
 */
#include <string.h>
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
    VnetRouteError err = { 0 };
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    VnetRoutes *r = given((const char *)data, size);
    GString *list = listed(r);
    VnetRoutes *again = given(list->str, list->len);
    GString *list_again = listed(again);

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
