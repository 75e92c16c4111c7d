/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The switch; see vnet-switch.h for what it promises.
 *
 * One hash table maps an address to its entry, which holds the claims (a short
 * list, nearly always of one), a pointer to the best of them and the learnt
 * place.  Forwarding is thus two look-ups: the source's entry to learn, the
 * destination's to decide.
 *
 * An end's `output` may come back with another frame (a NIC that answers at
 * once), so nothing here keeps a pointer into the table across it.  The list
 * of ends does not change while frames are given out: ports and links that go
 * away during that time are taken out of the list when the flood is over.
 */
#include <string.h>
#include "vnet-route-cache.h"
#include "vnet-switch.h"

typedef struct Claim {
    struct Claim *next;
    VnetEnd *end;
    uint64_t seq;               /* later claims have larger ones */
    uint8_t flags;
} Claim;

typedef struct Entry {
    uint64_t key;               /* the address */
    Claim *claims, *best;
    VnetEnd *learnt;
    int64_t seen_ns;
} Entry;

struct VnetSwitch {
    GHashTable *table;          /* &Entry.key -> Entry */
    GPtrArray *ends;            /* NULL: removed while flooding */
    unsigned flooding;          /* depth */
    unsigned learnt, claimed;   /* addresses that have one */
    VnetMacRoom *room;
    int64_t age_ns;
    int64_t swept_ns;           /* when the table was last searched */
    uint64_t seq;
    int64_t flood_gap_ns;       /* between flooded frames; 0: none */
    VnetRoutes *routes;
    VnetRouteCache *routed;
    VnetCoreStats *stats;
    VnetSwitchLimitFn *on_limit;        /* NULL: nobody is told */
    void *on_limit_opaque;
};

/* How often a full table is searched for aged addresses, at most. */
#define SWEEP_MIN_NS    1000000000ll
/* What may be flooded at once, as the time that it is for, and in frames. */
#define FLOOD_BURST_NS  100000000ll
#define FLOOD_BURST     16

static uint64_t mac_key(const uint8_t mac[6])
{
    return (uint64_t)mac[0] << 40 | (uint64_t)mac[1] << 32 |
           (uint64_t)mac[2] << 24 | mac[3] << 16 | mac[4] << 8 | mac[5];
}

static void key_mac(uint64_t key, uint8_t mac[6])
{
    for (int i = 5; i >= 0; i--, key >>= 8) {
        mac[i] = key;
    }
}

/* Guests and peers choose addresses, so the hash is one they do not know:
 * multiply-shift with a random odd number. */
static guint key_hash(gconstpointer p)
{
    static gsize factor;

    if (g_once_init_enter(&factor)) {
        uint64_t r = (uint64_t)g_random_int() << 32 | g_random_int();

        g_once_init_leave(&factor, (gsize)(r | 1));
    }
    return (*(const uint64_t *)p * (uint64_t)factor) >> 32;
}

static gboolean key_equal(gconstpointer a, gconstpointer b)
{
    return *(const uint64_t *)a == *(const uint64_t *)b;
}

static void entry_free(gpointer p)
{
    Entry *e = p;

    while (e->claims) {
        Claim *c = e->claims;

        e->claims = c->next;
        g_free(c);
    }
    g_free(e);
}

/* --- The names of ends, in routes ---------------------------------------- */

static bool end_is(void *opaque, VnetEnd *e, const VnetEndName *name)
{
    uint8_t mac[6];

    if (e->is_link != (name->kind == VNET_END_EDGE)) {
        return false;
    }
    return !name->id[0] || !strcmp(name->id, e->id) ||
           (!e->is_link && vnet_route_mac(name->id, mac) &&
            vnet_switch_has_claim(opaque, e, mac));
}

static VnetEnd *end_find(void *opaque, const VnetEndName *name)
{
    VnetSwitch *sw = opaque;

    for (guint i = 0; i < sw->ends->len; i++) {
        VnetEnd *e = sw->ends->pdata[i];

        if (e && end_is(sw, e, name)) {
            return e;
        }
    }
    return NULL;
}

static const VnetRouteCacheOps route_ops = { end_is, end_find };

VnetSwitch *vnet_switch_new(VnetMacRoom *room, uint32_t mac_age_s,
                            VnetCoreStats *stats)
{
    VnetSwitch *sw = g_new0(VnetSwitch, 1);

    sw->table = g_hash_table_new_full(key_hash, key_equal, NULL, entry_free);
    sw->ends = g_ptr_array_new();
    sw->room = room;
    room->switches++;
    sw->age_ns = (int64_t)mac_age_s * 1000000000;
    sw->swept_ns = INT64_MIN / 2;
    sw->stats = stats;
    sw->routes = vnet_routes_new();
    sw->routed = vnet_route_cache_new(sw->routes, &route_ops, sw);
    return sw;
}

void vnet_switch_free(VnetSwitch *sw)
{
    g_assert(sw->ends->len == 0);
    g_hash_table_destroy(sw->table);
    g_ptr_array_free(sw->ends, TRUE);
    vnet_route_cache_free(sw->routed);
    vnet_routes_free(sw->routes);
    sw->room->switches--;
    g_free(sw);
}

static Entry *entry_get(VnetSwitch *sw, const uint8_t mac[6])
{
    uint64_t key = mac_key(mac);

    return g_hash_table_lookup(sw->table, &key);
}

static Entry *entry_make(VnetSwitch *sw, const uint8_t mac[6])
{
    Entry *e = entry_get(sw, mac);

    if (!e) {
        e = g_new0(Entry, 1);
        e->key = mac_key(mac);
        g_hash_table_insert(sw->table, &e->key, e);
    }
    return e;
}

static bool entry_is_empty(const Entry *e)
{
    return !e->claims && !e->learnt;
}

static void entry_forget(VnetSwitch *sw, Entry *e)
{
    if (e->learnt) {
        e->learnt = NULL;
        sw->learnt--;
        sw->room->used--;
    }
}

/* --- Claims -------------------------------------------------------------- */

static unsigned claim_rank(const Claim *c)
{
    return (c->end->is_link ? 0 : 2) + (c->end->up ? 1 : 0);
}

static void entry_choose(Entry *e)
{
    e->best = e->claims;
    for (Claim *c = e->claims; c; c = c->next) {
        unsigned rank = claim_rank(c), best = claim_rank(e->best);

        if (rank > best || (rank == best && c->seq > e->best->seq)) {
            e->best = c;
        }
    }
}

void vnet_switch_claim(VnetSwitch *sw, VnetEnd *end, const uint8_t mac[6],
                       uint8_t flags)
{
    Entry *e = entry_make(sw, mac);
    Claim *c = e->claims;

    while (c && c->end != end) {
        c = c->next;
    }
    if (!c) {
        if (!e->claims) {
            sw->claimed++;
        }
        c = g_new0(Claim, 1);
        c->end = end;
        c->next = e->claims;
        e->claims = c;
    }
    if (!end->is_link) {
        vnet_route_cache_flush(sw->routed);
    }
    c->seq = ++sw->seq;
    c->flags = flags;
    entry_choose(e);
    entry_forget(sw, e);
}

bool vnet_switch_has_claim(VnetSwitch *sw, VnetEnd *end, const uint8_t mac[6])
{
    Entry *e = entry_get(sw, mac);
    Claim *c = e ? e->claims : NULL;

    while (c && c->end != end) {
        c = c->next;
    }
    return c != NULL;
}

static void entry_unclaim(VnetSwitch *sw, Entry *e, VnetEnd *end)
{
    for (Claim **p = &e->claims; *p; p = &(*p)->next) {
        Claim *c = *p;

        if (c->end == end) {
            *p = c->next;
            g_free(c);
            if (!end->is_link) {
                vnet_route_cache_flush(sw->routed);
            }
            if (!e->claims) {
                sw->claimed--;
            }
            entry_choose(e);
            return;
        }
    }
}

void vnet_switch_unclaim(VnetSwitch *sw, VnetEnd *end, const uint8_t mac[6])
{
    Entry *e = entry_get(sw, mac);

    if (e) {
        entry_unclaim(sw, e, end);
        if (entry_is_empty(e)) {
            g_hash_table_remove(sw->table, &e->key);
        }
    }
}

void vnet_switch_unclaim_all(VnetSwitch *sw, VnetEnd *end)
{
    GHashTableIter it;
    gpointer v;

    g_hash_table_iter_init(&it, sw->table);
    while (g_hash_table_iter_next(&it, NULL, &v)) {
        entry_unclaim(sw, v, end);
        if (entry_is_empty(v)) {
            g_hash_table_iter_remove(&it);
        }
    }
}

/* --- Ends ---------------------------------------------------------------- */

void vnet_switch_add(VnetSwitch *sw, VnetEnd *e)
{
    g_ptr_array_add(sw->ends, e);
    vnet_route_cache_flush(sw->routed);
}

void vnet_switch_set_up(VnetSwitch *sw, VnetEnd *end, bool up)
{
    GHashTableIter it;
    gpointer v;

    if (end->up == up) {
        return;
    }
    end->up = up;
    g_hash_table_iter_init(&it, sw->table);
    while (g_hash_table_iter_next(&it, NULL, &v)) {
        Entry *e = v;

        if (!up && e->learnt == end) {
            entry_forget(sw, e);
        }
        if (entry_is_empty(e)) {
            g_hash_table_iter_remove(&it);
        } else {
            entry_choose(e);
        }
    }
}

void vnet_switch_remove(VnetSwitch *sw, VnetEnd *end)
{
    guint i;

    vnet_switch_set_up(sw, end, false);
    vnet_switch_unclaim_all(sw, end);
    vnet_route_cache_flush(sw->routed);
    if (g_ptr_array_find(sw->ends, end, &i)) {
        if (sw->flooding) {
            sw->ends->pdata[i] = NULL;
        } else {
            g_ptr_array_remove_index(sw->ends, i);
        }
    }
}

static void flood_done(VnetSwitch *sw)
{
    if (--sw->flooding == 0) {
        while (g_ptr_array_remove(sw->ends, NULL)) {
            /* all that left meanwhile */
        }
    }
}

/* --- Learning ------------------------------------------------------------ */

int64_t vnet_switch_age(VnetSwitch *sw, int64_t now_ns)
{
    GHashTableIter it;
    gpointer v;
    int64_t next = INT64_MAX;

    sw->swept_ns = now_ns;
    g_hash_table_iter_init(&it, sw->table);
    while (g_hash_table_iter_next(&it, NULL, &v)) {
        Entry *e = v;

        if (!e->learnt) {
            continue;
        }
        if (now_ns - e->seen_ns >= sw->age_ns) {
            sw->stats->macs_aged++;
            entry_forget(sw, e);
            if (entry_is_empty(e)) {
                g_hash_table_iter_remove(&it);
            }
        } else {
            next = MIN(next, e->seen_ns + sw->age_ns);
        }
    }
    /* Not for each address by itself: late by a tenth is soon enough. */
    return next == INT64_MAX ? next : MAX(next, now_ns + sw->age_ns / 10);
}

static bool is_full(const VnetSwitch *sw, unsigned learnt)
{
    return learnt >= MAX(sw->room->max / sw->room->switches, 1);
}

void vnet_switch_trim(VnetSwitch *sw)
{
    GHashTableIter it;
    gpointer v;

    g_hash_table_iter_init(&it, sw->table);
    while (sw->learnt && is_full(sw, sw->learnt - 1) &&
           g_hash_table_iter_next(&it, NULL, &v)) {
        Entry *e = v;

        entry_forget(sw, e);
        if (entry_is_empty(e)) {
            g_hash_table_iter_remove(&it);
        }
    }
}

static void limit_reached(VnetSwitch *sw, VnetCoreLimit limit, VnetEnd *src,
                          int64_t now_ns)
{
    if (sw->on_limit) {
        sw->on_limit(sw->on_limit_opaque, limit, src, now_ns);
    }
}

void vnet_switch_on_limit(VnetSwitch *sw, VnetSwitchLimitFn *fn, void *opaque)
{
    sw->on_limit = fn;
    sw->on_limit_opaque = opaque;
}

static void learn(VnetSwitch *sw, VnetEnd *src, const uint8_t mac[6],
                  int64_t now_ns)
{
    Entry *e = entry_get(sw, mac);

    if (e && e->best && e->best->end->up) {
        if (e->best->end != src) {
            sw->stats->macs_conflict++;
        }
        return;
    }
    if (e && e->learnt) {
        if (e->learnt != src) {
            e->learnt = src;
            sw->stats->macs_moved++;
        }
        e->seen_ns = now_ns;
        return;
    }
    if (is_full(sw, sw->learnt) && now_ns - sw->swept_ns > SWEEP_MIN_NS) {
        vnet_switch_age(sw, now_ns);
    }
    if (is_full(sw, sw->learnt)) {
        sw->stats->macs_full++;
        limit_reached(sw, VNET_CORE_LIMIT_MAX_MACS, src, now_ns);
        return;
    }
    e = entry_make(sw, mac);
    e->learnt = src;
    e->seen_ns = now_ns;
    sw->learnt++;
    sw->room->used++;
    sw->stats->macs_learnt++;
}

/* --- Forwarding ---------------------------------------------------------- */

VnetPlace vnet_switch_lookup(VnetSwitch *sw, const uint8_t mac[6])
{
    Entry *e = entry_get(sw, mac);

    if (!e) {
        return (VnetPlace) { .end = NULL };
    }
    if (e->best) {
        return (VnetPlace) { e->best->end, true, e->best->flags };
    }
    return (VnetPlace) { .end = e->learnt };
}

/* The one end that a frame to dst, for which there is no route, goes to, or NULL
 * to flood it. */
static VnetEnd *vnet_switch_decide(VnetSwitch *sw, const uint8_t dst[6],
                                   int64_t now_ns)
{
    Entry *e = dst[0] & 1 ? NULL : entry_get(sw, dst);

    if (!e) {
        return NULL;
    }
    if (e->best && e->best->end->up) {
        return e->best->end;
    }
    if (e->learnt && now_ns - e->seen_ns < sw->age_ns) {
        return e->learnt;
    }
    return NULL;
}

/* Whether no frame goes from the one to the other. */
static bool split(const VnetEnd *from, const VnetEnd *to)
{
    return from->split_horizon && to->split_horizon;
}

/* What routes say of a frame; NULL: there is none for it. */
static const VnetRouteSet *routed(VnetSwitch *sw, VnetEnd *src,
                                  const uint8_t smac[6], const uint8_t dst[6])
{
    const VnetRouteSet *set = NULL;

    if (vnet_routes_count(sw->routes)) {
        set = vnet_route_cache_find(sw->routed, src, smac, dst);
    }
    return set && set->ruled ? set : NULL;
}

void vnet_switch_set_flood_limit(VnetSwitch *sw, uint32_t per_second)
{
    sw->flood_gap_ns = per_second ? 1000000000ll / per_second : 0;
}

/* Whether src may have one more frame flooded, which is then counted. */
static bool may_flood(VnetSwitch *sw, VnetEnd *src, int64_t now_ns)
{
    int64_t ahead = MAX(FLOOD_BURST_NS, FLOOD_BURST * sw->flood_gap_ns);

    /* flood_ns: when what was flooded would have been, at an even pace. */
    if (sw->flood_gap_ns) {
        src->flood_ns = MAX(src->flood_ns, now_ns);
        if (src->flood_ns + sw->flood_gap_ns > now_ns + ahead) {
            return false;
        }
        src->flood_ns += sw->flood_gap_ns;
    }
    return true;
}

static bool listed(VnetEnd *const *ends, unsigned n, const VnetEnd *e)
{
    while (n > 0 && ends[n - 1] != e) {
        n--;
    }
    return n > 0;
}

/* To all ends but src, or to those of the routes. */
static VnetFrameResult flood(VnetSwitch *sw, VnetEnd *src, const VnetFrame *f,
                             const VnetRouteSet *set)
{
    /* The routes may change under a frame that comes back. */
    const unsigned n = set ? set->n : 0;
    g_autofree VnetEnd **only = set ? g_memdup2(set->ends, n * sizeof(*only))
                                    : NULL;
    unsigned targets = 0, taken = 0;

    sw->flooding++;
    for (guint i = 0; i < sw->ends->len; i++) {
        VnetEnd *e = sw->ends->pdata[i];

        if (set && !listed(only, n, e)) {
            continue;
        }
        if (e && e != src && e->up && !split(src, e)) {
            targets++;
            taken += e->output(e, f, false) == VNET_FRAME_OK;
        }
    }
    flood_done(sw);
    if (taken) {
        sw->stats->frames_flooded++;
        return VNET_FRAME_OK;
    }
    if (targets) {
        sw->stats->frames_drop_refused++;
    } else if (set) {
        sw->stats->frames_drop_route_down++;
    } else {
        sw->stats->frames_drop_no_target++;
    }
    return VNET_FRAME_DROPPED;
}

/* The two addresses at the start of a frame of at least 14 bytes. */
static void frame_addresses(const VnetFrame *f, uint8_t out[12])
{
    size_t have = 0;

    for (unsigned i = 0; i < f->niov && have < 12; i++) {
        size_t n = MIN(f->iov[i].iov_len, 12 - have);

        memcpy(out + have, f->iov[i].iov_base, n);
        have += n;
    }
    memset(out + have, 0, 12 - have);
}

static VnetFrameResult drop(uint64_t *counter)
{
    (*counter)++;
    return VNET_FRAME_DROPPED;
}

static VnetFrameResult input(VnetSwitch *sw, VnetEnd *src, const VnetFrame *f,
                             int64_t now_ns, bool wait_ok, VnetEnd **busy_end)
{
    static const uint8_t zero[6];
    VnetCoreStats *st = sw->stats;
    const VnetWireFrame wf = { MIN(f->len, UINT32_MAX), 0, *f->hdr };
    uint8_t addr[12];
    const uint8_t *dst = addr, *smac = addr + 6;
    const VnetRouteSet *set;
    VnetPlace from;
    VnetEnd *to;

    if (f->len < VNET_FRAME_MIN) {
        return drop(&st->frames_drop_short);
    }
    if (f->len > VNET_FRAME_MAX) {
        return drop(&st->frames_drop_long);
    }
    if (vnet_wire_check_frame(&wf) != VNET_WIRE_OK) {
        return drop(&st->frames_drop_bad_offload);
    }
    frame_addresses(f, addr);
    if ((smac[0] & 1) || !memcmp(smac, zero, 6)) {
        return drop(&st->frames_drop_bad_src);
    }
    from = vnet_switch_lookup(sw, smac);
    if (src->is_link && from.claimed && !from.end->is_link) {
        /* A loop between the links, or somebody's forgery. */
        return drop(&st->frames_drop_reflected);
    }
    if ((src->locked && !vnet_switch_has_claim(sw, src, smac)) ||
        (src->sources && !vnet_mac_set_has(src->sources, smac))) {
        return drop(&st->frames_drop_forged);
    }
    if (!f->answer) {
        learn(sw, src, smac, now_ns);
    }

    set = routed(sw, src, smac, dst);
    if (!set) {
        to = vnet_switch_decide(sw, dst, now_ns);
    } else {
        to = set->n == 1 ? set->ends[0] : NULL;
    }
    if (!to) {
        if (set || may_flood(sw, src, now_ns)) {
            return flood(sw, src, f, set);
        }
        limit_reached(sw, VNET_CORE_LIMIT_FLOOD_LIMIT, src, now_ns);
        return drop(&st->frames_drop_storm);
    }
    if (to == src) {
        return drop(&st->frames_drop_hairpin);
    }
    if (split(src, to)) {
        return drop(&st->frames_drop_split_horizon);
    }
    if (!to->up) {
        return drop(&st->frames_drop_route_down);
    }
    switch (to->output(to, f, wait_ok)) {
    case VNET_FRAME_OK:
        st->frames_forwarded++;
        return VNET_FRAME_OK;
    case VNET_FRAME_BUSY:
        if (wait_ok) {
            *busy_end = to;
            return VNET_FRAME_BUSY;
        }
        return drop(&st->frames_drop_busy);
    default:
        return drop(&st->frames_drop_refused);
    }
}

VnetFrameResult vnet_switch_input(VnetSwitch *sw, VnetEnd *src,
                                  const VnetFrame *f, int64_t now_ns,
                                  bool wait_ok, VnetEnd **busy_end)
{
    VnetFrameResult r = input(sw, src, f, now_ns, wait_ok, busy_end);

    if (r == VNET_FRAME_BUSY) {
        sw->stats->frames_busy++;
    } else {
        sw->stats->frames_in++;
    }
    return r;
}

/* --- Routes -------------------------------------------------------------- */

bool vnet_switch_change_routes(VnetSwitch *sw, const GArray *changes,
                               bool replace, bool dry_run, GArray *added,
                               GArray *removed, VnetLangError *err)
{
    bool ok = vnet_routes_change(sw->routes, changes, replace, dry_run, added,
                                 removed, err);

    vnet_route_cache_flush(sw->routed);
    return ok;
}

const VnetRule *vnet_switch_route(const VnetSwitch *sw, unsigned n)
{
    return vnet_routes_nth(sw->routes, n);
}

VnetPlace vnet_switch_place(VnetSwitch *sw, VnetEnd *src,
                            const uint8_t lmac[6], const uint8_t rmac[6])
{
    const VnetRouteSet *set = routed(sw, src, lmac, rmac);
    const Entry *e = entry_get(sw, rmac);
    VnetPlace place = { .end = NULL };

    if (!set) {
        return vnet_switch_lookup(sw, rmac);
    }
    if (set->n) {
        place.end = set->ends[0];
    }
    for (const Claim *c = e && set->n == 1 ? e->claims : NULL; c;
         c = c->next) {
        if (c->end == place.end) {
            place.claimed = true;
            place.flags = c->flags;
        }
    }
    return place;
}

/* --- Looking ------------------------------------------------------------- */

unsigned vnet_switch_learnt(const VnetSwitch *sw)
{
    return sw->learnt;
}

unsigned vnet_switch_claimed(const VnetSwitch *sw)
{
    return sw->claimed;
}

void vnet_switch_foreach(const VnetSwitch *sw,
                         void (*cb)(void *opaque, const uint8_t mac[6],
                                    const VnetPlace *place, int64_t seen_ns),
                         void *opaque)
{
    GHashTableIter it;
    gpointer v;

    g_hash_table_iter_init(&it, sw->table);
    while (g_hash_table_iter_next(&it, NULL, &v)) {
        const Entry *e = v;
        VnetPlace place = { .end = e->learnt };
        uint8_t mac[6];

        if (e->best) {
            place = (VnetPlace) { e->best->end, true, e->best->flags };
        }
        key_mac(e->key, mac);
        cb(opaque, mac, &place, e->seen_ns);
    }
}
