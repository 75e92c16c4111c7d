/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link of whichever type, as its options say.
 */

#include "qemu/osdep.h"
#include "authz/base.h"
#include "qapi/error.h"
#include "trace.h"
#include "vnet-mac-set.h"
#include "vnet-shell.h"

static bool vnet_anylink_is_rdma(const VnetLinkOptions *o)
{
    return o->has_type && o->type == VNET_LINK_TYPE_RDMA;
}

static bool vnet_anylink_is_vxlan(const VnetLinkOptions *o)
{
    return o->has_type && o->type == VNET_LINK_TYPE_VXLAN;
}

static bool vnet_anylink_server(const VnetLinkOptions *o)
{
    return o->has_server && o->server;
}

static uint32_t vnet_anylink_reconnect_ms(const VnetLinkOptions *o)
{
    return o->has_reconnect_ms ? o->reconnect_ms : VNET_SOCK_RECONNECT_MS;
}

static uint32_t vnet_anylink_setup_timeout_ms(const VnetLinkOptions *o)
{
    return o->has_setup_timeout_ms ? o->setup_timeout_ms :
           VNET_SOCK_SETUP_TIMEOUT_MS;
}

static void vnet_anylink_trace(void *opaque, const char *link, uint64_t serial,
                               uint32_t stream_id, const char *state,
                               const char *what, int status)
{
    VnetNetdev *n = opaque;

    trace_vnet_rdma(n->nc.name, link, serial, stream_id, state, what, status);
}

/* The object of a kind that an option names. NULL: none is named; or *errp. */
static Object *vnet_anylink_object(const VnetLinkOptions *o, const char *option,
                                   const char *id, const char *type,
                                   Error **errp)
{
    Object *obj = id ? object_resolve_path_component(object_get_objects_root(),
                                                     id) : NULL;

    if (id && !(obj && object_dynamic_cast(obj, type))) {
        error_setg(errp, "link %s: %s: there is no %s-* object \"%s\"", o->id,
                   option, type, id);
        return NULL;
    }
    return obj;
}

static QCryptoTLSCreds *vnet_anylink_creds(const VnetLinkOptions *o,
                                           Error **errp)
{
    return (QCryptoTLSCreds *)vnet_anylink_object(o, "tls-creds", o->tls_creds,
                                                  TYPE_QCRYPTO_TLS_CREDS,
                                                  errp);
}

static bool vnet_anylink_check_authz(const VnetLinkOptions *o, Error **errp)
{
    return !o->tls_authz || vnet_anylink_object(o, "tls-authz", o->tls_authz,
                                                TYPE_QAUTHZ, errp);
}

/* vnet_anylink_check() has looked whether the objects are there. */
static VnetSockConfig vnet_anylink_sock(const VnetLinkOptions *o)
{
    return (VnetSockConfig) {
        .id = o->id,
        .addr = o->addr,
        .server = vnet_anylink_server(o),
        .plain = o->has_plain && o->plain,
        .creds = vnet_anylink_creds(o, NULL),
        .hostname = o->tls_hostname,
        .authz = o->tls_authz,
        .reconnect_ms = vnet_anylink_reconnect_ms(o),
        .setup_timeout_ms = vnet_anylink_setup_timeout_ms(o),
        .buffer_size = o->has_buffer_size ? o->buffer_size : 0,
    };
}

static VnetRdmaLinkConfig vnet_anylink_rdma(const VnetLinkOptions *o,
                                            VnetNetdev *n)
{
    return (VnetRdmaLinkConfig) {
        .id = o->id,
        .addr = o->addr,
        .server = vnet_anylink_server(o),
        .reconnect_ms = vnet_anylink_reconnect_ms(o),
        .setup_timeout_ms = vnet_anylink_setup_timeout_ms(o),
        .max_qps = o->has_max_qps ? o->max_qps : 0,
        .gid_index = o->has_gid_index ? o->gid_index : -1,
        .service_level = o->has_service_level ? o->service_level : -1,
        .mem = &vnet_ib_ram,
        .trace = vnet_anylink_trace,
        .opaque = n,
    };
}

static VnetVxlanConfig vnet_anylink_vxlan(const VnetLinkOptions *o)
{
    return (VnetVxlanConfig) {
        .id = o->id,
        .addr = o->addr,
        .local = o->local,
        .local_port = o->has_local_port ? o->local_port : 0,
        .mtu = o->has_mtu ? o->mtu : 0,
        .reconnect_ms = vnet_anylink_reconnect_ms(o),
        .buffer_size = o->has_buffer_size ? o->buffer_size : 0,
    };
}

/*
 * The addresses of peer-macs, to be freed, and how many; NULL: none, or *errp.
 */
static uint8_t (*vnet_anylink_macs(const VnetLinkOptions *o, unsigned *n,
                                   Error **errp))[6]
{
    g_autofree uint8_t (*macs)[6] = NULL;
    const strList *e;

    *n = 0;
    if (!o->has_peer_macs) {
        return NULL;
    }
    macs = g_malloc(VNET_MAC_SET_MAX * sizeof(macs[0]));
    for (e = o->peer_macs; e; e = e->next, ++*n) {
        if (*n == VNET_MAC_SET_MAX) {
            error_setg(errp, "link %s: peer-macs has more than %d addresses",
                       o->id, VNET_MAC_SET_MAX);
            return NULL;
        }
        if (!vnet_route_mac(e->value, macs[*n]) || macs[*n][0] & 1) {
            error_setg(errp, "link %s: peer-macs.%u is \"%s\", and must be the "
                       "Ethernet address of a NIC", o->id, *n, e->value);
            return NULL;
        }
    }
    return g_steal_pointer(&macs);
}

/* Options that only one type has. */
static bool vnet_anylink_check_type(const VnetLinkOptions *o, Error **errp)
{
    const struct {
        bool given;
        const char *name;
        VnetLinkType type;
    } own[] = {
        { o->has_gid_index, "gid-index", VNET_LINK_TYPE_RDMA },
        { o->has_service_level, "service-level", VNET_LINK_TYPE_RDMA },
        { o->has_max_qps, "max-qps", VNET_LINK_TYPE_RDMA },
        { o->tls_creds, "tls-creds", VNET_LINK_TYPE_TCP },
        { o->tls_hostname, "tls-hostname", VNET_LINK_TYPE_TCP },
        { o->tls_authz, "tls-authz", VNET_LINK_TYPE_TCP },
        { o->local, "local", VNET_LINK_TYPE_VXLAN },
        { o->has_local_port, "local-port", VNET_LINK_TYPE_VXLAN },
        { o->has_mtu, "mtu", VNET_LINK_TYPE_VXLAN },
    };

    VnetLinkType type = o->has_type ? o->type :
                        o->addr->type == SOCKET_ADDRESS_TYPE_UNIX ?
                        VNET_LINK_TYPE_UNIX : VNET_LINK_TYPE_TCP;

    for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
        if (own[i].given && type != own[i].type) {
            error_setg(errp, "link %s: %s is for type \"%s\" only", o->id,
                       own[i].name, VnetLinkType_str(own[i].type));
            return false;
        }
    }
    return true;
}

bool vnet_anylink_check(const VnetLinkOptions *o, Error **errp)
{
    g_autofree uint8_t (*macs)[6] = NULL;
    unsigned nmacs;

    if (vnet_anylink_server(o) && o->has_reconnect_ms) {
        error_setg(errp, "link %s: reconnect-ms=%u is not for server=on, which "
                   "waits for its peer", o->id, o->reconnect_ms);
        return false;
    }
    if (!vnet_anylink_check_type(o, errp)) {
        return false;
    }
    macs = vnet_anylink_macs(o, &nmacs, errp);
    if (o->has_peer_macs && !macs) {
        return false;
    }
    if (vnet_anylink_is_vxlan(o)) {
        VnetVxlanConfig cfg = vnet_anylink_vxlan(o);

        if (vnet_anylink_server(o) || o->has_setup_timeout_ms) {
            error_setg(errp, "link %s: %s is not for type \"vxlan\", which has "
                       "no connections", o->id, vnet_anylink_server(o) ?
                       "server=on" : "setup-timeout-ms");
            return false;
        }
        return vnet_vxlan_check(&cfg, errp);
    } else if (vnet_anylink_is_rdma(o)) {
        VnetRdmaLinkConfig cfg = vnet_anylink_rdma(o, NULL);

        if (o->has_buffer_size) {
            error_setg(errp, "link %s: buffer-size=%u is not for type \"rdma\","
                       " which needs no buffers", o->id, o->buffer_size);
            return false;
        }
        return vnet_rdma_link_check(&cfg, errp);
    } else {
        VnetSockConfig cfg;
        VnetLinkType type = o->addr->type == SOCKET_ADDRESS_TYPE_UNIX ?
                            VNET_LINK_TYPE_UNIX : VNET_LINK_TYPE_TCP;

        if (o->tls_creds && !vnet_anylink_creds(o, errp)) {
            return false;
        }
        cfg = vnet_anylink_sock(o);
        if (!vnet_anylink_check_authz(o, errp) ||
            !vnet_sock_check(&cfg, errp)) {
            return false;
        }
        if (o->has_type && o->type != type) {
            error_setg(errp, "link %s: type \"%s\" does not fit addr.type "
                       "\"%s\"", o->id, VnetLinkType_str(o->type),
                       SocketAddressType_str(o->addr->type));
            return false;
        }
        return true;
    }
}

int vnet_anylink_listen(const VnetLinkOptions *o, Error **errp)
{
    if (vnet_anylink_is_vxlan(o)) {
        VnetVxlanConfig cfg = vnet_anylink_vxlan(o);

        return vnet_vxlan_bind(&cfg, errp);
    }
    if (vnet_anylink_server(o) && !vnet_anylink_is_rdma(o)) {
        VnetSockConfig cfg = vnet_anylink_sock(o);

        return vnet_sock_listen(&cfg, errp);
    }
    return -1;
}

uint32_t vnet_anylink_mtu(const VnetLinkOptions *o)
{
    if (vnet_anylink_is_vxlan(o)) {
        VnetVxlanConfig cfg = vnet_anylink_vxlan(o);

        return vnet_vxlan_inner_mtu(&cfg);
    }
    return UINT16_MAX;
}

VnetAnyLink *vnet_anylink_new(VnetNetdev *n, const VnetLinkOptions *o, int fd,
                              Error **errp)
{
    VnetAnyLink *k = g_new0(VnetAnyLink, 1);
    g_autofree uint8_t (*macs)[6] = NULL;
    unsigned nmacs;

    if (vnet_anylink_is_rdma(o)) {
        VnetRdmaLinkConfig cfg = vnet_anylink_rdma(o, n);

        k->rdma = vnet_rdma_link_new(n->loop, &cfg, errp);
    } else if (vnet_anylink_is_vxlan(o)) {
        VnetVxlanConfig cfg = vnet_anylink_vxlan(o);

        k->vxlan = vnet_vxlan_new(n->loop, &cfg, fd, errp);
    } else {
        VnetSockConfig cfg = vnet_anylink_sock(o);

        k->sock = vnet_sock_new(n->loop, &cfg, fd, errp);
    }
    if (!k->rdma && !k->sock && !k->vxlan) {
        g_free(k);
        return NULL;
    }
    vnet_link_set_split_horizon(vnet_anylink_link(k),
                                o->has_split_horizon && o->split_horizon);
    macs = vnet_anylink_macs(o, &nmacs, &error_abort);
    if (macs) {
        vnet_link_set_peer_macs(vnet_anylink_link(k), macs, nmacs);
    }
    return k;
}

void vnet_anylink_free(VnetAnyLink *k)
{
    if (k->rdma) {
        vnet_rdma_link_free(k->rdma);
    } else if (k->vxlan) {
        vnet_vxlan_free(k->vxlan);
    } else {
        vnet_sock_free(k->sock);
    }
    g_free(k);
}

VnetLink *vnet_anylink_link(VnetAnyLink *k)
{
    return k->rdma ? vnet_rdma_link_link(k->rdma) :
           k->vxlan ? vnet_vxlan_link(k->vxlan) : vnet_sock_link(k->sock);
}
