/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a table of routes says, kept: from the end that a frame comes from and
 * its two addresses to the ends that it goes to.  That no rule is for a frame
 * is kept as well.  When VNET_ROUTE_CACHE_MAX answers are kept, all are
 * forgotten: who makes up addresses costs us time, and no memory.
 */
#ifndef VNET_ROUTE_CACHE_H
#define VNET_ROUTE_CACHE_H

#include "vnet-route.h"

#define VNET_ROUTE_CACHE_MAX    16384

struct VnetEnd;

/* Ends that rules lead to, each once, whether they are up or not. */
typedef struct VnetRouteSet {
    bool ruled;                 /* there is a rule; else n is 0 */
    unsigned n;                 /* 0 also: no such end is there */
    struct VnetEnd *ends[];
} VnetRouteSet;

typedef struct VnetRouteCacheOps {
    /* Whether the end has that name. */
    bool (*is)(void *opaque, struct VnetEnd *e, const VnetEndName *name);
    /* The end with that name, or NULL. */
    struct VnetEnd *(*find)(void *opaque, const VnetEndName *name);
} VnetRouteCacheOps;

typedef struct VnetRouteCache VnetRouteCache;

VnetRouteCache *vnet_route_cache_new(const VnetRoutes *routes,
                                     const VnetRouteCacheOps *ops,
                                     void *opaque);
void vnet_route_cache_free(VnetRouteCache *c);
/* Valid until the next call with this cache. */
const VnetRouteSet *vnet_route_cache_find(VnetRouteCache *c,
                                          struct VnetEnd *from,
                                          const uint8_t src[6],
                                          const uint8_t dst[6]);
/* After any change of the rules, of the ends and of their names. */
void vnet_route_cache_flush(VnetRouteCache *c);
unsigned vnet_route_cache_size(const VnetRouteCache *c);

#endif /* VNET_ROUTE_CACHE_H */
