/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links that peers get by registering (docs/specs/vnet-register.rst): who may
 * have one, and its life.  What crosses the link is in vnet-sock-register.c.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/id.h"
#include "vnet-mac-set.h"
#include "vnet-shell.h"

/* The i-th peer of the list, whose entries before it are right. */
static bool vnet_register_check_peer(const VnetLinkOptions *o, unsigned i,
                                     const VnetPeerOptions *p, Error **errp)
{
    const VnetPeerOptionsList *e;

    if (!id_wellformed(p->name) || strlen(p->name) > VNET_ROUTE_ID_MAX) {
        error_setg(errp, "link %s: peers.%u.name is \"%s\", and must be an "
                   "identifier of at most %d characters", o->id, i, p->name,
                   VNET_ROUTE_ID_MAX);
        return false;
    }
    if (p->identity && !o->tls_creds) {
        error_setg(errp, "link %s: peers.%u.identity needs tls-creds", o->id,
                   i);
        return false;
    }
    for (e = o->peers; e->value != p; e = e->next) {
        if (g_str_equal(e->value->name, p->name)) {
            error_setg(errp, "link %s: two peers have the name \"%s\"", o->id,
                       p->name);
            return false;
        }
    }
    return true;
}

bool vnet_register_check(const VnetLinkOptions *o, Error **errp)
{
    const VnetPeerOptionsList *e;
    unsigned i = 0;

    if (!o->has_registrar || !o->registrar) {
        if (o->has_peers || o->has_forget_ms) {
            error_setg(errp, "link %s: %s needs registrar=on", o->id,
                       o->has_peers ? "peers" : "forget-ms");
            return false;
        }
        return true;
    }
    if (!o->has_server || !o->server) {
        error_setg(errp, "link %s: registrar=on needs server=on", o->id);
        return false;
    }
    if (o->has_forget_ms && !vnet_sock_check_ms(o->id, "forget-ms",
                                                o->forget_ms, errp)) {
        return false;
    }
    for (e = o->has_peers ? o->peers : NULL; e; e = e->next, i++) {
        if (i == VNET_MAX_PEERS) {
            error_setg(errp, "link %s: peers has more than %d entries", o->id,
                       VNET_MAX_PEERS);
            return false;
        }
        if (!vnet_register_check_peer(o, i, e->value, errp)) {
            return false;
        }
    }
    return true;
}

/* --- Peers that come and go -------------------------------------------- */

/* The entry of a peer that may register; NULL: there is none, or *errp. */
static const VnetPeerOptions *vnet_register_entry(const VnetLinkOptions *o,
                                                  const char *name,
                                                  const char *identity,
                                                  Error **errp)
{
    const VnetPeerOptionsList *e;

    for (e = o->has_peers ? o->peers : NULL; e; e = e->next) {
        if (g_str_equal(e->value->name, name)) {
            if (e->value->identity && g_strcmp0(e->value->identity,
                                                identity)) {
                error_setg(errp, "\"%s\" is the name of another", name);
                return NULL;
            }
            return e->value;
        }
    }
    if (o->has_peers) {
        error_setg(errp, "nobody with the name \"%s\" may register", name);
    }
    return NULL;
}

static VnetSockLink *vnet_register_find(void *opaque, const char *name,
                                        const char *identity, Error **errp)
{
    ERRP_GUARD();
    VnetAnyLink *r = opaque, *k;
    const VnetPeerOptions *peer;

    if (!id_wellformed(name)) {
        error_setg(errp, "the name \"%s\" is not an identifier, so no link can "
                   "have it", name);
        return NULL;
    }
    peer = vnet_register_entry(r->options, name, identity, errp);
    if (*errp) {
        return NULL;
    }
    k = vnet_anylink_find(r->n, name);
    if (k) {
        if (k->registrar != r) {
            error_setg(errp, "there is another link \"%s\"", name);
            return NULL;
        }
        return k->sock;
    }
    if (r->n->links->len >= VNET_MAX_LINKS) {
        error_setg(errp, "there are %d links already", VNET_MAX_LINKS);
        return NULL;
    }
    k = vnet_anylink_new_registered(r, name, peer, errp);
    if (!k) {
        return NULL;
    }
    g_ptr_array_add(r->n->links, k);
    return k->sock;
}

static void vnet_register_gone(void *opaque, VnetSockLink *sock)
{
    VnetAnyLink *r = opaque;

    vnet_anylink_remove(r->n, vnet_anylink_find(
        r->n, vnet_link_id(vnet_sock_link(sock))));
}

VnetSockRegistry vnet_register_registry(VnetAnyLink *registrar)
{
    return (VnetSockRegistry) {
        .find = vnet_register_find,
        .gone = vnet_register_gone,
        .opaque = registrar,
    };
}
