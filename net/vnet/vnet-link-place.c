/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where links listen, or a vxlan link receives: whether two do so at the same place,
 * or are in each other's way.
 *
 * Two sockets at one path of a unix socket, or at one port, can go wrong without an
 * error: the second takes the path away from the first, or a listener for all
 * addresses finds that IPv4 is taken and listens with IPv6 alone.  So what would be
 * in the way of a link of this QEMU is refused before a socket is made.
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/sockets.h"
#include "vnet-shell.h"

/* --- Paths ---------------------------------------------------------------- */

/* The same text for the same file, which need not be there; to be freed. */
static char *canonical_path(const char *path)
{
    g_autofree char *dir = g_path_get_dirname(path);
    g_autofree char *base = g_path_get_basename(path);
    char *real = realpath(dir, NULL);
    char *all = real ? g_build_filename(real, base, NULL) :
                       g_canonicalize_filename(path, NULL);

    free(real);
    return all;
}

static char *unix_place(const UnixSocketAddress *un)
{
    g_autofree char *path = NULL;

#ifdef CONFIG_LINUX
    if (un->has_abstract && un->abstract) {
        return g_strdup_printf("unix abstract %s %s",
                               un->has_tight && !un->tight ? "padded" : "tight",
                               un->path);
    }
#endif
    path = canonical_path(un->path);
    return g_strdup_printf("unix %s", path);
}

/* --- Ports ---------------------------------------------------------------- */

typedef enum VnetHostKind {
    VNET_HOST_NAME,
    VNET_HOST_EMPTY,            /* all of them, of a family that has the port */
    VNET_HOST_V4_ALL,
    VNET_HOST_V4,
    VNET_HOST_V6_ALL,           /* and IPv4's */
    VNET_HOST_V6,
} VnetHostKind;

/* addr: of one that is numeric */
static VnetHostKind host_kind(const char *host, struct in6_addr *addr)
{
    struct in_addr v4;

    memset(addr, 0, sizeof(*addr));
    if (!host[0]) {
        return VNET_HOST_EMPTY;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        memcpy(addr, &v4, sizeof(v4));
        return v4.s_addr ? VNET_HOST_V4 : VNET_HOST_V4_ALL;
    }
    if (strchr(host, ':') && strchr(host, '%')) {
        g_autofree char *bare = g_strndup(host, strchr(host, '%') - host);

        return inet_pton(AF_INET6, bare, addr) == 1 ? VNET_HOST_V6
                                                    : VNET_HOST_NAME;
    }
    if (inet_pton(AF_INET6, host, addr) == 1) {
        return IN6_IS_ADDR_UNSPECIFIED(addr) ? VNET_HOST_V6_ALL : VNET_HOST_V6;
    }
    return VNET_HOST_NAME;
}

static bool is_all(VnetHostKind kind)
{
    return kind == VNET_HOST_EMPTY || kind == VNET_HOST_V4_ALL ||
           kind == VNET_HOST_V6_ALL;
}

/* Bits, 1: IPv4, 2: IPv6; as QEMU's listening sockets have them. */
static unsigned families(const InetSocketAddress *in)
{
    struct in6_addr addr;
    bool both;

    switch (host_kind(in->host, &addr)) {
    case VNET_HOST_V4_ALL:
    case VNET_HOST_V4:
        return 1;
    case VNET_HOST_V6:
        return 2;
    case VNET_HOST_V6_ALL:
        both = in->has_ipv4 == in->has_ipv6 && in->ipv4 == in->ipv6;
        return both ? 3 : 2;
    default:
        switch (inet_ai_family_from_address((InetSocketAddress *)in, NULL)) {
        case PF_INET:
            return 1;
        case PF_INET6:
            /* The empty one for both is of this family, too. */
            return in->has_ipv4 && in->ipv4 ? 3 : 2;
        default:
            /* The first that there is of the empty one is IPv4's. */
            return in->host[0] ? 3 : 1;
        }
    }
}

/* A scope makes an address another one, and is compared as it is written. */
static bool hosts_meet(const char *a, const char *b)
{
    struct in6_addr x, y;
    VnetHostKind k = host_kind(a, &x), l = host_kind(b, &y);

    if (is_all(k) || is_all(l)) {
        return true;
    }
    return k == VNET_HOST_NAME || strchr(a, '%') || strchr(b, '%') ?
           g_str_equal(a, b) : k == l && !memcmp(&x, &y, sizeof(x));
}

/* The ports that it may get; the first is 0: any that is free. */
static void port_range(const InetSocketAddress *in, unsigned *first,
                       unsigned *last)
{
    *first = 0;
    qemu_strtoui(in->port, NULL, 10, first);
    *last = in->has_to ? MAX(in->to, *first) : *first;
}

static bool ports_meet(const InetSocketAddress *a, const InetSocketAddress *b)
{
    unsigned af, al, bf, bl;

    port_range(a, &af, &al);
    port_range(b, &bf, &bl);
    return af && bf && af <= bl && bf <= al;
}

static bool inets_meet(const InetSocketAddress *a, const InetSocketAddress *b)
{
    return ports_meet(a, b) && families(a) & families(b) &&
           hosts_meet(a->host, b->host);
}

static char *inet_place(const InetSocketAddress *in)
{
    struct in6_addr addr;
    VnetHostKind kind = host_kind(in->host, &addr);
    /* Any other address has its family. */
    bool name = kind == VNET_HOST_NAME || kind == VNET_HOST_EMPTY ||
                kind == VNET_HOST_V6_ALL;
    unsigned first, last;

    port_range(in, &first, &last);
    return g_strdup_printf("inet %s %u-%u %d%d %d%d", in->host, first, last,
                           name && in->has_ipv4, name && in->ipv4,
                           name && in->has_ipv6, name && in->ipv6);
}

/* --- Links ---------------------------------------------------------------- */

char *vnet_link_place(const VnetLinkOptions *o)
{
    char *receives = vnet_anylink_receives_from(o);

    if (receives) {
        return receives;
    }
    if (!vnet_anylink_listens(o)) {
        return NULL;
    }
    return o->addr->type == SOCKET_ADDRESS_TYPE_UNIX ?
           unix_place(&o->addr->u.q_unix) : inet_place(&o->addr->u.inet);
}

bool vnet_link_places_meet(const VnetLinkOptions *a, const VnetLinkOptions *b)
{
    g_autofree char *here = vnet_link_place(a), *there = vnet_link_place(b);

    if (!here || !there) {
        return false;
    }
    /* Of a port that the kernel chooses, there are many. */
    return vnet_anylink_listens(a) && vnet_anylink_listens(b) &&
           a->addr->type == SOCKET_ADDRESS_TYPE_INET &&
           b->addr->type == SOCKET_ADDRESS_TYPE_INET ?
           inets_meet(&a->addr->u.inet, &b->addr->u.inet) :
           g_str_equal(here, there);
}

bool vnet_link_check_place(const VnetLinkOptions *o,
                           const VnetLinkOptions *other, const char *netdev,
                           Error **errp)
{
    const SocketAddress *there = other->addr;
    g_autofree char *who = NULL;

    if (!vnet_link_places_meet(o, other)) {
        return true;
    }
    who = netdev ? g_strdup_printf("%s of netdev %s", other->id, netdev) :
                   g_strdup(other->id);
    if (!vnet_anylink_listens(o)) {
        g_autofree char *place = vnet_link_place(o);

        error_setg(errp, "link %s: link %s receives from %s already", o->id,
                   who, place);
        return false;
    }
    if (there->type == SOCKET_ADDRESS_TYPE_UNIX) {
        error_setg(errp, "link %s: link %s listens at \"%s\" already", o->id,
                   who, there->u.q_unix.path);
        return false;
    }
    if (o->addr->u.inet.has_to || there->u.inet.has_to) {
        return true;            /* it looks for one that is free */
    }
    error_setg(errp, "link %s: link %s listens at %s, port %s, already", o->id,
               who, there->u.inet.host[0] ? there->u.inet.host : "*",
               there->u.inet.port);
    return false;
}

typedef struct VnetPlaceCheck {
    const VnetLinkOptions *o;
    Error *err;
} VnetPlaceCheck;

static void vnet_link_check_place_in_thread(VnetNetdev *n, void *arg)
{
    VnetPlaceCheck *c = arg;

    for (guint i = 0; i < n->links->len && !c->err; i++) {
        VnetAnyLink *k = n->links->pdata[i];

        if (!k->registrar) {
            vnet_link_check_place(c->o, k->options, n->nc.name, &c->err);
        }
    }
}

bool vnet_link_check_places(const VnetLinkOptions *o, const VnetNetdev *but,
                            Error **errp)
{
    VnetPlaceCheck c = { .o = o };
    VnetNetdev *n = NULL;

    while (!c.err && (n = vnet_netdev_next(n))) {
        if (n != but) {
            vnet_netdev_call(n, vnet_link_check_place_in_thread, &c);
        }
    }
    error_propagate(errp, c.err);
    return !c.err;
}
