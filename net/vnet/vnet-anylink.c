/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link of whichever type, as its options say.
 */

#include "qemu/osdep.h"
#include "authz/base.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-vnet.h"
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

static bool vnet_anylink_is_sock(const VnetLinkOptions *o)
{
    return !vnet_anylink_is_rdma(o) && !vnet_anylink_is_vxlan(o);
}

static bool vnet_anylink_is_registrar(const VnetLinkOptions *o)
{
    return o->has_registrar && o->registrar;
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

bool vnet_anylink_check_creds(const VnetLinkOptions *o, Error **errp)
{
    return !o->tls_creds || vnet_anylink_creds(o, errp);
}

static bool vnet_anylink_check_authz(const VnetLinkOptions *o, Error **errp)
{
    return !o->tls_authz || vnet_anylink_object(o, "tls-authz", o->tls_authz,
                                                TYPE_QAUTHZ, errp);
}

/* Without credentials; they are an object, which only the main loop may look
 * for, or the VNET thread while the main loop waits for it. */
static VnetSockConfig vnet_anylink_sock_plain(const VnetLinkOptions *o)
{
    return (VnetSockConfig) {
        .id = o->id,
        .addr = o->addr,
        .server = vnet_anylink_server(o),
        .plain = o->has_plain && o->plain,
        .hostname = o->tls_hostname,
        .authz = o->tls_authz,
        .reconnect_ms = vnet_anylink_reconnect_ms(o),
        .setup_timeout_ms = vnet_anylink_setup_timeout_ms(o),
        .buffer_size = o->has_buffer_size ? o->buffer_size : 0,
    };
}

/* False: there are no such credentials (any more). */
static bool vnet_anylink_sock(const VnetLinkOptions *o, VnetSockConfig *cfg,
                              Error **errp)
{
    *cfg = vnet_anylink_sock_plain(o);
    cfg->creds = vnet_anylink_creds(o, errp);
    return cfg->creds || !o->tls_creds;
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
 * The addresses of an option, to be freed, and how many; NULL and *errp, which
 * names the option.
 */
static uint8_t (*vnet_anylink_macs(const VnetLinkOptions *o,
                                   const char *option, const strList *e,
                                   unsigned *n, Error **errp))[6]
{
    g_autofree uint8_t (*macs)[6] = NULL;

    macs = g_malloc(VNET_MAC_SET_MAX * sizeof(macs[0]));
    for (*n = 0; e; e = e->next, ++*n) {
        if (*n == VNET_MAC_SET_MAX) {
            error_setg(errp, "link %s: %s has more than %d addresses", o->id,
                       option, VNET_MAC_SET_MAX);
            return NULL;
        }
        if (!vnet_route_mac(e->value, macs[*n]) || macs[*n][0] & 1) {
            error_setg(errp, "link %s: %s.%u is \"%s\", and must be the "
                       "Ethernet address of a NIC", o->id, option, *n,
                       e->value);
            return NULL;
        }
    }
    return g_steal_pointer(&macs);
}

/*
 * Puts the ids of an option into out, which has room for VNET_NETS_MAX.  How many;
 * 0 and *errp, which names the option.
 */
static unsigned vnet_anylink_vnis(const VnetLinkOptions *o, const char *option,
                                  const uint32List *e, uint32_t *out,
                                  Error **errp)
{
    unsigned n;

    for (n = 0; e; e = e->next, n++) {
        if (n == VNET_NETS_MAX) {
            error_setg(errp, "link %s: %s has more than %d network ids", o->id,
                       option, VNET_NETS_MAX);
            return 0;
        }
        if (e->value > VNET_VNI_MAX) {
            error_setg(errp, "link %s: %s.%u is %u, and must be a network id, "
                       "0 to %u", o->id, option, n, e->value, VNET_VNI_MAX);
            return 0;
        }
        out[n] = e->value;
    }
    if (!n) {
        error_setg(errp, "link %s: %s has no network id", o->id, option);
    }
    return n;
}

static bool vnet_anylink_check_vnis(const VnetLinkOptions *o,
                                    const char *option, const uint32List *list,
                                    Error **errp)
{
    uint32_t vnis[VNET_NETS_MAX];

    return vnet_anylink_vnis(o, option, list, vnis, errp);
}

static bool vnet_anylink_check_macs(const VnetLinkOptions *o,
                                    const char *option, const strList *list,
                                    Error **errp)
{
    unsigned n;
    g_autofree uint8_t (*macs)[6] = vnet_anylink_macs(o, option, list, &n,
                                                      errp);

    return macs;
}

/* What peers are given. */
static bool vnet_anylink_check_given(const VnetLinkOptions *o, Error **errp)
{
    const VnetPeerOptionsList *e;
    unsigned i = 0;

    /* The language, in which links are listed, cannot say that nothing is. */
    if ((o->has_peer_macs && !o->peer_macs) || (o->has_peers && !o->peers)) {
        error_setg(errp, "link %s: %s is empty", o->id,
                   o->has_peers && !o->peers ? "peers" : "peer-macs");
        return false;
    }
    if ((o->has_peer_macs &&
         !vnet_anylink_check_macs(o, "peer-macs", o->peer_macs, errp)) ||
        (o->has_peer_vnis &&
         !vnet_anylink_check_vnis(o, "peer-vnis", o->peer_vnis, errp))) {
        return false;
    }
    for (e = o->has_peers ? o->peers : NULL; e; e = e->next, i++) {
        g_autofree char *macs = g_strdup_printf("peers.%u.macs", i);
        g_autofree char *vnis = g_strdup_printf("peers.%u.vnis", i);
        const VnetPeerOptions *p = e->value;

        if (p->has_macs && !p->macs) {
            error_setg(errp, "link %s: %s is empty", o->id, macs);
            return false;
        }
        if ((p->has_macs && !vnet_anylink_check_macs(o, macs, p->macs, errp)) ||
            (p->has_vnis && !vnet_anylink_check_vnis(o, vnis, p->vnis, errp))) {
            return false;
        }
    }
    return true;
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
    if (vnet_anylink_server(o) && o->has_reconnect_ms) {
        error_setg(errp, "link %s: reconnect-ms=%u is not for server=on, which "
                   "waits for its peer", o->id, o->reconnect_ms);
        return false;
    }
    if (vnet_anylink_is_registrar(o) && !vnet_anylink_is_sock(o)) {
        error_setg(errp, "link %s: registrar=on is for types \"tcp\" and "
                   "\"unix\" only", o->id);
        return false;
    }
    if (!vnet_anylink_check_type(o, errp) ||
        !vnet_register_check(o, errp) ||
        !vnet_anylink_check_given(o, errp)) {
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

        if (!vnet_anylink_sock(o, &cfg, errp) ||
            !vnet_anylink_check_authz(o, errp) ||
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

bool vnet_anylink_listens(const VnetLinkOptions *o)
{
    return vnet_anylink_server(o) && vnet_anylink_is_sock(o);
}

char *vnet_anylink_receives_from(const VnetLinkOptions *o)
{
    VnetVxlanConfig cfg;

    if (!vnet_anylink_is_vxlan(o)) {
        return NULL;
    }
    cfg = vnet_anylink_vxlan(o);
    return vnet_vxlan_claim_name(&cfg);
}

int vnet_anylink_listen(const VnetLinkOptions *o, Error **errp)
{
    if (vnet_anylink_is_vxlan(o)) {
        VnetVxlanConfig cfg = vnet_anylink_vxlan(o);

        return vnet_vxlan_bind(&cfg, errp);
    }
    if (vnet_anylink_listens(o)) {
        VnetSockConfig cfg = vnet_anylink_sock_plain(o);

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

/* A link that is not more than its options yet. */
static VnetAnyLink *vnet_anylink_begin(VnetNetdev *n, const VnetLinkOptions *o)
{
    VnetAnyLink *k = g_new0(VnetAnyLink, 1);

    k->n = n;
    k->options = QAPI_CLONE(VnetLinkOptions, o);
    return k;
}

/* What all types have.  peer: what it has of its own, or NULL. */
static void vnet_anylink_set(VnetAnyLink *k, const VnetPeerOptions *peer)
{
    const VnetLinkOptions *o = k->options;
    VnetLink *l = vnet_anylink_link(k);
    bool own_macs = peer && peer->has_macs, own_vnis = peer && peer->has_vnis;
    unsigned n;

    vnet_link_set_split_horizon(l, o->has_split_horizon && o->split_horizon);
    if (own_macs || o->has_peer_macs) {
        g_autofree uint8_t (*set)[6] =
            vnet_anylink_macs(o, "peer-macs", own_macs ? peer->macs :
                              o->peer_macs, &n, &error_abort);

        vnet_link_set_peer_macs(l, set, n);
    }
    if (own_vnis || o->has_peer_vnis) {
        uint32_t vnis[VNET_NETS_MAX];

        n = vnet_anylink_vnis(o, "peer-vnis", own_vnis ? peer->vnis :
                              o->peer_vnis, vnis, &error_abort);
        vnet_link_set_peer_nets(l, vnis, n);
    }
}

VnetAnyLink *vnet_anylink_new(VnetNetdev *n, const VnetLinkOptions *o,
                              VnetLinkDef *def, int fd, Error **errp)
{
    VnetAnyLink *k = vnet_anylink_begin(n, o);

    if (vnet_anylink_is_rdma(o)) {
        VnetRdmaLinkConfig cfg = vnet_anylink_rdma(o, n);

        k->rdma = vnet_rdma_link_new(n->ov->loop, &cfg, errp);
    } else if (vnet_anylink_is_vxlan(o)) {
        VnetVxlanConfig cfg = vnet_anylink_vxlan(o);

        k->vxlan = vnet_vxlan_new(n->ov->loop, &cfg, fd, errp);
    } else {
        VnetSockRegistry registry = vnet_register_registry(k);
        VnetSockConfig cfg;

        if (vnet_anylink_sock(o, &cfg, errp)) {
            if (vnet_anylink_is_registrar(o)) {
                cfg.registry = &registry;
            }
            k->sock = vnet_sock_new(n->ov->loop, &cfg, fd, errp);
        }
    }
    if (!k->rdma && !k->sock && !k->vxlan) {
        qapi_free_VnetLinkOptions(k->options);
        g_free(k);
        return NULL;
    }
    vnet_anylink_set(k, NULL);
    k->def = vnet_link_def_ref(def);
    if (!def->index) {
        def->index = ++n->last_link;
    }
    return k;
}

VnetAnyLink *vnet_anylink_new_registered(VnetAnyLink *registrar,
                                         const char *id,
                                         const VnetPeerOptions *peer,
                                         Error **errp)
{
    const VnetLinkOptions *o = registrar->options;
    VnetAnyLink *k = vnet_anylink_begin(registrar->n, o);
    VnetSockConfig cfg = vnet_anylink_sock_plain(o);

    g_free(k->options->id);
    k->options->id = g_strdup(id);
    k->registrar = registrar;
    cfg.id = id;
    cfg.authz = NULL;           /* the registrar asks */
    cfg.registrar = registrar->sock;
    cfg.forget_ms = MAX(o->has_forget_ms ? o->forget_ms : VNET_FORGET_MS,
                        k->n->resume_ms);
    k->sock = vnet_sock_new(k->n->ov->loop, &cfg, -1, errp);
    if (!k->sock) {
        qapi_free_VnetLinkOptions(k->options);
        g_free(k);
        return NULL;
    }
    vnet_anylink_set(k, peer);
    return k;
}

VnetAnyLink *vnet_anylink_find(VnetNetdev *n, const char *id)
{
    for (guint i = 0; i < n->links->len; i++) {
        VnetAnyLink *k = n->links->pdata[i];

        if (g_str_equal(k->options->id, id)) {
            return k;
        }
    }
    return NULL;
}

void vnet_anylink_remove(VnetNetdev *n, VnetAnyLink *k)
{
    for (guint i = n->links->len; i-- > 0; ) {
        VnetAnyLink *other = n->links->pdata[i];

        if (other->registrar == k) {
            g_ptr_array_remove_index(n->links, i);
        }
    }
    g_ptr_array_remove(n->links, k);
}

void vnet_anylink_remove_all(VnetNetdev *n)
{
    /* Those that registered came after those that they registered with. */
    while (n->links->len) {
        g_ptr_array_remove_index(n->links, n->links->len - 1);
    }
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
    if (k->def) {
        vnet_link_def_unref(k->def);
    }
    qapi_free_VnetLinkOptions(k->options);
    g_free(k);
}

VnetLink *vnet_anylink_link(VnetAnyLink *k)
{
    return k->rdma ? vnet_rdma_link_link(k->rdma) :
           k->vxlan ? vnet_vxlan_link(k->vxlan) : vnet_sock_link(k->sock);
}
