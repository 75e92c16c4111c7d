/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of a table of routes; see vnet-route-cache.h.
 */
#include <string.h>
#include "vnet-route-cache.h"

typedef struct Key {
    struct VnetEnd *from;
    uint8_t src[6], dst[6];
} Key;

struct VnetRouteCache {
    const VnetRoutes *routes;
    const VnetRouteCacheOps *ops;
    void *opaque;
    GHashTable *kept;           /* Key -> VnetRouteSet */
};

/* A search that is under way. */
typedef struct Search {
    VnetRouteCache *c;
    struct VnetEnd *from;
    GPtrArray *found;
} Search;

static guint key_hash(gconstpointer p)
{
    static gsize factor;
    const Key *k = p;
    uint64_t h = (uintptr_t)k->from, part = 0;

    if (g_once_init_enter(&factor)) {
        uint64_t r = (uint64_t)g_random_int() << 32 | g_random_int();

        g_once_init_leave(&factor, (gsize)(r | 1));
    }
    memcpy(&part, k->src, 6);
    h = (h ^ part) * (uint64_t)factor;
    h ^= h >> 32;
    memcpy(&part, k->dst, 6);
    return ((h ^ part) * (uint64_t)factor) >> 32;
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
    const Key *x = a, *y = b;

    return x->from == y->from && !memcmp(x->src, y->src, 6) &&
           !memcmp(x->dst, y->dst, 6);
}

VnetRouteCache *vnet_route_cache_new(const VnetRoutes *routes,
                                     const VnetRouteCacheOps *ops,
                                     void *opaque)
{
    VnetRouteCache *c = g_new0(VnetRouteCache, 1);

    c->routes = routes;
    c->ops = ops;
    c->opaque = opaque;
    c->kept = g_hash_table_new_full(key_hash, key_equal, g_free, g_free);
    return c;
}

void vnet_route_cache_free(VnetRouteCache *c)
{
    g_hash_table_destroy(c->kept);
    g_free(c);
}

void vnet_route_cache_flush(VnetRouteCache *c)
{
    g_hash_table_remove_all(c->kept);
}

unsigned vnet_route_cache_size(const VnetRouteCache *c)
{
    return g_hash_table_size(c->kept);
}

static bool from_is(void *opaque, const VnetEndName *name)
{
    Search *s = opaque;

    return s->c->ops->is(s->c->opaque, s->from, name);
}

static void rule_found(void *opaque, const VnetRule *rule)
{
    Search *s = opaque;
    struct VnetEnd *e = s->c->ops->find(s->c->opaque, &rule->to);

    if (e && !g_ptr_array_find(s->found, e, NULL)) {
        g_ptr_array_add(s->found, e);
    }
}

const VnetRouteSet *vnet_route_cache_find(VnetRouteCache *c,
                                          struct VnetEnd *from,
                                          const uint8_t src[6],
                                          const uint8_t dst[6])
{
    Key key = { .from = from };
    Search s = { c, from, NULL };
    VnetRouteSet *set;
    bool ruled;

    memcpy(key.src, src, 6);
    memcpy(key.dst, dst, 6);
    set = g_hash_table_lookup(c->kept, &key);
    if (set) {
        return set;
    }
    if (g_hash_table_size(c->kept) >= VNET_ROUTE_CACHE_MAX) {
        vnet_route_cache_flush(c);
    }
    s.found = g_ptr_array_new();
    ruled = vnet_routes_find(c->routes, src, dst, from_is, rule_found, &s) > 0;
    set = g_malloc0(sizeof(*set) + s.found->len * sizeof(set->ends[0]));
    set->ruled = ruled;
    set->n = s.found->len;
    for (unsigned i = 0; i < set->n; i++) {
        set->ends[i] = s.found->pdata[i];
    }
    g_ptr_array_free(s.found, TRUE);
    g_hash_table_insert(c->kept, g_memdup2(&key, sizeof(key)), set);
    return set;
}
