/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static routes in VNET's terms (docs/specs/vnet-routes.rst): which frames a
 * rule is for, which of several rules win, and VNET's language for them.
 *
 * Nothing here knows the ends of a switch.  A rule names its destination, and
 * the end that frames come from, by kind and id; the switch says who that is.
 */
#ifndef VNET_ROUTE_H
#define VNET_ROUTE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include "vnet-lang.h"

#define VNET_ROUTES_MAX         4096    /* rules of one table */
#define VNET_ROUTE_ID_MAX       63      /* bytes of an id */

typedef enum VnetMacHow {
    VNET_MAC_IS,
    VNET_MAC_NOT,
    VNET_MAC_ANY,
    VNET_MAC_NONE,              /* destination only: the default route */
} VnetMacHow;

typedef struct VnetMacMatch {
    VnetMacHow how;
    uint8_t mac[6];             /* of IS and NOT; else 0 */
} VnetMacMatch;

typedef enum VnetEndKind {
    VNET_END_ANY,               /* source only */
    VNET_END_INTERFACE,         /* a port; id: its NIC's id or address */
    VNET_END_EDGE,              /* a link; id: the link's */
} VnetEndKind;

typedef struct VnetEndName {
    VnetEndKind kind;
    char id[VNET_ROUTE_ID_MAX + 1];     /* source: "": any of that kind */
} VnetEndName;

typedef struct VnetRule {
    unsigned index;             /* from 1 on, never used again */
    VnetMacMatch src, dst;
    VnetEndName to, from;
} VnetRule;

/* A change of a table: a rule to add, or the index of one to delete. */
typedef struct VnetRouteChange {
    bool add;
    VnetRule rule;
    unsigned line, column;      /* of the command */
} VnetRouteChange;

typedef struct VnetRoutes VnetRoutes;

VnetRoutes *vnet_routes_new(void);
void vnet_routes_free(VnetRoutes *r);
unsigned vnet_routes_count(const VnetRoutes *r);
/* Rule number n of those that there are, 0 the newest. */
const VnetRule *vnet_routes_nth(const VnetRoutes *r, unsigned n);

/*
 * Reads commands: GArray of VnetRouteChange, or NULL and *err.  Text need not
 * end with a 0.
 */
GArray *vnet_routes_parse(const char *text, size_t len, VnetLangError *err);
/* The rule as a command that adds it, without a line's end; g_free() it. */
char *vnet_rule_text(const VnetRule *rule);

/*
 * Makes the changes, in their order: all, or none with *err, which names the
 * command that does not fit.  With replace the table holds only what was
 * added at the end; rules that it had already keep their index.  If added or
 * removed is there it gets copies of what came and went (VnetRule); with
 * dry_run nothing is changed, and new rules have the index that they would
 * get.
 */
bool vnet_routes_change(VnetRoutes *r, const GArray *changes, bool replace,
                        bool dry_run, GArray *added, GArray *removed,
                        VnetLangError *err);

/*
 * The rules for a frame: calls cb for each of those that tie at the highest
 * priority, the newest first.  is() tells whether frames from the source in
 * question come from a named end.  Returns the priority, 0: there is none.
 */
unsigned vnet_routes_find(const VnetRoutes *r, const uint8_t src[6],
                          const uint8_t dst[6],
                          bool (*is)(void *opaque, const VnetEndName *from),
                          void (*cb)(void *opaque, const VnetRule *rule),
                          void *opaque);

/* aa:bb:cc:dd:ee:ff and nothing else; false: it is not. */
bool vnet_route_mac(const char *text, uint8_t mac[6]);

#endif /* VNET_ROUTE_H */
