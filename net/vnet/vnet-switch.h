/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch of an overlay: which way a frame goes, and which way a stream to
 * an address would go.
 *
 * The switch joins ends.  An end is a port (a NIC) or a link (a peer); the
 * switch knows it by VnetEnd only and gives it frames through `output`.
 *
 * For each address it holds claims and at most one learnt place.  A claim is
 * what somebody said: a port has this address, a peer announced it.  The best
 * claim counts: a port's before a link's, a link that is up before one that is
 * down, the latest before earlier ones.  A learnt place is where the last frame
 * from the address came from.
 *
 * The way of a frame is decided in this order (vnet_switch_decide):
 *   1. static routes (vnet-route.h): the ends that the rules with the highest
 *      priority name, even if they are down
 *   2. the best claim, if its end is up
 *   3. the learnt place, if it has not aged and its end is up
 *   4. all ends that are up, but the one it came from
 * What this says is then held against split horizon: between two ends that have
 * it no frame goes.  Links that join every peer with every other are no loop so.
 * An address is not learnt while a claim of an end that is up exists.
 *
 * Claims are limited by whoever makes them, learnt places by VnetMacRoom, of which
 * each switch has an equal part: what fills one is nothing to another.  When it is
 * full, aged ones are looked for, else nothing is learnt and frames to such addresses
 * are flooded.
 */
#ifndef VNET_SWITCH_H
#define VNET_SWITCH_H

#include <glib.h>
#include "vnet-limit.h"
#include "vnet-mac-set.h"
#include "vnet-route.h"
#include "vnet-stats.h"
#include "vnet-wire.h"

typedef struct VnetEnd VnetEnd;
typedef struct VnetSwitch VnetSwitch;

/* A frame on its way; hdr and iov are the source's. */
typedef struct VnetFrame {
    const VnetFrameHdr *hdr;
    const struct iovec *iov;
    unsigned niov;
    size_t len;
    uint8_t hops;               /* links that it has crossed */
    bool answer;                /* made here in its source's name, which says
                                 * nothing about where that is */
} VnetFrame;

struct VnetEnd {
    bool is_link;
    bool up;                    /* takes frames; see vnet_switch_set_up() */
    bool split_horizon;         /* gets no frame of another that has it */
    bool locked;                /* a source it did not claim is forged */
    const VnetMacSet *sources;  /* ... or that is not in here; NULL: any */
    int64_t flood_ns;           /* the switch's: see flood_limit */
    const char *id;
    /* Takes a frame or drops and counts it.  BUSY only if wait_ok, else a
     * busy end drops and counts.  Must not remove any end. */
    VnetFrameResult (*output)(VnetEnd *e, const VnetFrame *f, bool wait_ok);
};

/* Where a unicast address is, for streams and queries. */
typedef struct VnetPlace {
    VnetEnd *end;               /* NULL: unknown */
    bool claimed;               /* else learnt */
    uint8_t flags;              /* of the claim: VNET_MAC_F_STREAMS */
} VnetPlace;

/* What switches may learn, together; each one address at least. */
typedef struct VnetMacRoom {
    uint32_t max;               /* addresses */
    uint32_t used, switches;
} VnetMacRoom;

/* Of room `max` is not changed.  Each other that has it is to be trimmed. */
VnetSwitch *vnet_switch_new(VnetMacRoom *room, uint32_t mac_age_s,
                            VnetCoreStats *stats);
void vnet_switch_free(VnetSwitch *sw);  /* no end is left */
/* Forgets what is more than its part of the room, whichever that is. */
void vnet_switch_trim(VnetSwitch *sw);
/*
 * Most frames per second that each end may have flooded, and a tenth of a
 * second's worth, or 16, at once; 0: any.  Replicas of routes do not count.
 */
void vnet_switch_set_flood_limit(VnetSwitch *sw, uint32_t per_second);
/*
 * fn is called for each frame whose source is not learnt (MAX_MACS), or that is
 * dropped (FLOOD_LIMIT), with the end that it came from; it must not call the
 * switch.  NULL, as at first: nobody is told.
 */
typedef void VnetSwitchLimitFn(void *opaque, VnetCoreLimit limit, VnetEnd *src,
                               int64_t now_ns);
void vnet_switch_on_limit(VnetSwitch *sw, VnetSwitchLimitFn *fn, void *opaque);

void vnet_switch_add(VnetSwitch *sw, VnetEnd *e);
/* Removes the end with its claims and what was learnt there. */
void vnet_switch_remove(VnetSwitch *sw, VnetEnd *e);
/* Down: claims stay (to tell "down" from "unknown"), learnt places go. */
void vnet_switch_set_up(VnetSwitch *sw, VnetEnd *e, bool up);

/* Says that mac is at e (again: changes the flags). */
void vnet_switch_claim(VnetSwitch *sw, VnetEnd *e, const uint8_t mac[6],
                       uint8_t flags);
void vnet_switch_unclaim(VnetSwitch *sw, VnetEnd *e, const uint8_t mac[6]);
void vnet_switch_unclaim_all(VnetSwitch *sw, VnetEnd *e);

/* Whether e claims mac, best or not. */
bool vnet_switch_has_claim(VnetSwitch *sw, VnetEnd *e, const uint8_t mac[6]);

/*
 * Sends a frame on from src.  now_ns is for learning.  BUSY only if wait_ok:
 * the one target is busy; *busy_end says which.  Anything else is counted.
 */
VnetFrameResult vnet_switch_input(VnetSwitch *sw, VnetEnd *src,
                                  const VnetFrame *f, int64_t now_ns,
                                  bool wait_ok, VnetEnd **busy_end);

/* Who has mac, whatever routes say; claims of ends that are down included. */
VnetPlace vnet_switch_lookup(VnetSwitch *sw, const uint8_t mac[6]);
/*
 * Where a stream from lmac at src to rmac would go.  Where routes lead to
 * several ends it is one that takes no streams.
 */
VnetPlace vnet_switch_place(VnetSwitch *sw, VnetEnd *src,
                            const uint8_t lmac[6], const uint8_t rmac[6]);

/* See vnet_routes_change() and vnet_routes_nth(). */
bool vnet_switch_change_routes(VnetSwitch *sw, const GArray *changes,
                               bool replace, bool dry_run, GArray *added,
                               GArray *removed, VnetLangError *err);
const VnetRule *vnet_switch_route(const VnetSwitch *sw, unsigned n);

/* Forgets what has aged. Returns when to call it again, INT64_MAX: never. */
int64_t vnet_switch_age(VnetSwitch *sw, int64_t now_ns);

unsigned vnet_switch_learnt(const VnetSwitch *sw);
unsigned vnet_switch_claimed(const VnetSwitch *sw);
/* Calls cb for each best claim and each learnt place. */
void vnet_switch_foreach(const VnetSwitch *sw,
                         void (*cb)(void *opaque, const uint8_t mac[6],
                                    const VnetPlace *place, int64_t seen_ns),
                         void *opaque);

#endif /* VNET_SWITCH_H */
