/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links by VXLAN: the link as a whole.
 *
 * Theory of operation
 *
 * There is no connection.  The link is up from when the kernel knows a way to
 * the peer's address, and tries again while it knows none; whether somebody is
 * there only shows in what comes back.
 *
 * One socket receives: bound to VXLAN's port, and connected to the peer's
 * address and no port, so that the kernel gives it what comes from any of the
 * peer's ports and from nobody else.  Several such sockets share a port
 * (SO_REUSEPORT), each for its peer.  Others send, from ports that the kernel
 * chose: as many flows as the network below can tell apart.
 *
 * Outer packets are never cut.  What fits is what the kernel says of the way to
 * the peer, asked when the link comes up, when a datagram was too long, and from
 * time to time.
 */

#include "qemu/osdep.h"
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/lockable.h"
#include "qemu/sockets.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "vnet-link-sock.h"
#include "vnet-vxlan-int.h"

#define VNET_VXLAN_DEFAULT_MTU  1500
/* No way carries less of IPv4. */
#define VNET_VXLAN_LEAST_MTU    576
/* What comes while the thread waits for a processor; there is no other place. */
#define VNET_VXLAN_BUFFER       (4 * MiB)
#define VNET_VXLAN_LOOK_NS      (30 * NANOSECONDS_PER_SECOND)
/* When the kernel has said that there is no way. */
#define VNET_VXLAN_SOON_NS      NANOSECONDS_PER_SECOND

/* --- Configuration ---------------------------------------------------- */

/* A numeric address and port. */
static bool vnet_vxlan_resolve(const char *host, const char *port, int family,
                               struct sockaddr_storage *ss, socklen_t *len)
{
    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | (host ? 0 : AI_PASSIVE),
        .ai_socktype = SOCK_DGRAM,
        .ai_family = family,
    };
    struct addrinfo *res;

    if (getaddrinfo(host, port, &hints, &res)) {
        return false;
    }
    memcpy(ss, res->ai_addr, res->ai_addrlen);
    *len = res->ai_addrlen;
    freeaddrinfo(res);
    return true;
}

static uint16_t vnet_vxlan_port(const struct sockaddr_storage *ss)
{
    return ntohs(ss->ss_family == AF_INET6 ?
                 ((const struct sockaddr_in6 *)ss)->sin6_port :
                 ((const struct sockaddr_in *)ss)->sin_port);
}

static bool vnet_vxlan_peer(const VnetVxlanConfig *cfg,
                            struct sockaddr_storage *ss, socklen_t *len)
{
    const InetSocketAddress *in = &cfg->addr->u.inet;

    return vnet_vxlan_resolve(in->host, in->port, AF_UNSPEC, ss, len) &&
           vnet_vxlan_port(ss);
}

/* The address to have, without a port. */
static bool vnet_vxlan_own(const VnetVxlanConfig *cfg, int family,
                           uint16_t port, struct sockaddr_storage *ss,
                           socklen_t *len)
{
    g_autofree char *text = g_strdup_printf("%u", port);

    return vnet_vxlan_resolve(cfg->local, text, family, ss, len);
}

bool vnet_vxlan_check(const VnetVxlanConfig *cfg, Error **errp)
{
    struct sockaddr_storage peer, own;
    socklen_t len;

    if (cfg->addr->type != SOCKET_ADDRESS_TYPE_INET) {
        error_setg(errp, "link %s: addr.type \"%s\" is not for type \"vxlan\", "
                   "only \"inet\" is", cfg->id,
                   SocketAddressType_str(cfg->addr->type));
        return false;
    }
    if (!vnet_vxlan_peer(cfg, &peer, &len)) {
        error_setg(errp, "link %s: addr \"%s\" port \"%s\" is not the numeric "
                   "address and port that type \"vxlan\" needs", cfg->id,
                   cfg->addr->u.inet.host, cfg->addr->u.inet.port);
        return false;
    }
    if (cfg->local && !vnet_vxlan_own(cfg, peer.ss_family, 0, &own, &len)) {
        error_setg(errp, "link %s: local \"%s\" is not a numeric address of "
                   "the same family as the peer's", cfg->id, cfg->local);
        return false;
    }
    if (cfg->mtu && (cfg->mtu < VNET_VXLAN_MIN_MTU ||
                     cfg->mtu > VNET_VXLAN_MAX_MTU)) {
        error_setg(errp, "link %s: mtu is %u, and must be 0, or %u to %u",
                   cfg->id, cfg->mtu, VNET_VXLAN_MIN_MTU, VNET_VXLAN_MAX_MTU);
        return false;
    }
    return vnet_sock_check_ms(cfg->id, "reconnect-ms", cfg->reconnect_ms,
                              errp) &&
           vnet_sock_check_buffer(cfg->id, cfg->buffer_size, errp);
}

/* --- One link for each peer and port ----------------------------------- */

/*
 * The kernel would give the datagrams for two such links, also of different
 * netdevs, to one of them.
 */
static QemuMutex vnet_vxlan_lock;
static GHashTable *vnet_vxlan_claims;

static void __attribute__((constructor)) vnet_vxlan_claims_init(void)
{
    qemu_mutex_init(&vnet_vxlan_lock);
    vnet_vxlan_claims = g_hash_table_new_full(g_str_hash, g_str_equal, g_free,
                                              NULL);
}

char *vnet_vxlan_claim_name(const VnetVxlanConfig *cfg)
{
    struct sockaddr_storage peer;
    char host[NI_MAXHOST] = "";
    socklen_t len;

    vnet_vxlan_peer(cfg, &peer, &len);
    getnameinfo((struct sockaddr *)&peer, len, host, sizeof(host), NULL, 0,
                NI_NUMERICHOST);
    return g_strdup_printf("%s at port %u", host, cfg->local_port ?:
                           vnet_vxlan_port(&peer));
}

/* The name, to be given back; or NULL and *errp. */
static char *vnet_vxlan_claim(const VnetVxlanConfig *cfg, Error **errp)
{
    g_autofree char *name = vnet_vxlan_claim_name(cfg);

    QEMU_LOCK_GUARD(&vnet_vxlan_lock);
    if (g_hash_table_contains(vnet_vxlan_claims, name)) {
        error_setg(errp, "link %s: there is a vxlan link already that receives "
                   "from %s", cfg->id, name);
        return NULL;
    }
    g_hash_table_add(vnet_vxlan_claims, g_strdup(name));
    return g_steal_pointer(&name);
}

static void vnet_vxlan_unclaim(const char *name)
{
    QEMU_LOCK_GUARD(&vnet_vxlan_lock);
    g_hash_table_remove(vnet_vxlan_claims, name);
}

/* --- Sockets ---------------------------------------------------------- */

static void vnet_vxlan_set(int fd, int level, int option, int value)
{
    /* Where the kernel does not have it, it works less well without. */
    setsockopt(fd, level, option, &value, sizeof(value));
}

/* Beyond net.core.rmem_max for those who may, else up to that. */
static void vnet_vxlan_set_receive_buffer(int fd, int size)
{
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0) {
        vnet_vxlan_set(fd, SOL_SOCKET, SO_RCVBUF, size);
    }
}

static int vnet_vxlan_socket(int family)
{
    return socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int vnet_vxlan_bind_as(const VnetVxlanConfig *cfg, int family,
                              uint16_t port)
{
    struct sockaddr_storage own;
    socklen_t len;
    int fd = vnet_vxlan_socket(family);

    if (fd < 0) {
        return -1;
    }
    if (family == AF_INET6) {
        vnet_vxlan_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    }
    if (port) {
        vnet_vxlan_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    vnet_vxlan_own(cfg, family, port, &own, &len);
    if (bind(fd, (struct sockaddr *)&own, len) < 0) {
        int err = errno;

        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

int vnet_vxlan_bind(const VnetVxlanConfig *cfg, Error **errp)
{
    ERRP_GUARD();
    struct sockaddr_storage peer;
    socklen_t len;
    uint16_t port;
    int fd;

    vnet_vxlan_peer(cfg, &peer, &len);
    port = cfg->local_port ?: vnet_vxlan_port(&peer);
    fd = vnet_vxlan_bind_as(cfg, peer.ss_family, port);
    if (fd < 0) {
        int err = errno;

        error_setg_errno(errp, err, "link %s: cannot receive at UDP port %u "
                         "of %s", cfg->id, port, cfg->local ?: "any address");
        if (err == EADDRINUSE) {
            error_append_hint(errp, "A vxlan device of the kernel shares its "
                              "port with nobody; local-port= takes another.\n");
        }
    }
    return fd;
}

static int vnet_vxlan_connect(int fd, const struct sockaddr_storage *peer,
                              socklen_t len)
{
    return connect(fd, (const struct sockaddr *)peer, len);
}

/* What the way of a connected socket carries. */
static uint32_t vnet_vxlan_route_mtu(int fd, int family)
{
    int mtu = 0;
    socklen_t len = sizeof(mtu);

    if (getsockopt(fd, family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP,
                   family == AF_INET6 ? IPV6_MTU : IP_MTU, &mtu, &len) < 0) {
        return VNET_VXLAN_DEFAULT_MTU;
    }
    return CLAMP(mtu, VNET_VXLAN_LEAST_MTU, VNET_VXLAN_MAX_MTU);
}

static unsigned vnet_vxlan_overhead(int family)
{
    return family == AF_INET6 ? VNET_VXLAN_OVERHEAD_V6 :
                                VNET_VXLAN_OVERHEAD_V4;
}

uint32_t vnet_vxlan_inner_mtu(const VnetVxlanConfig *cfg)
{
    uint32_t mtu = cfg->mtu ?: VNET_VXLAN_DEFAULT_MTU;
    struct sockaddr_storage peer;
    socklen_t len;

    vnet_vxlan_peer(cfg, &peer, &len);
    if (!cfg->mtu) {
        int fd = vnet_vxlan_bind_as(cfg, peer.ss_family, 0);

        if (fd >= 0) {
            if (vnet_vxlan_connect(fd, &peer, len) == 0) {
                mtu = vnet_vxlan_route_mtu(fd, peer.ss_family);
            }
            close(fd);
        }
    }
    return mtu - vnet_vxlan_overhead(peer.ss_family) - VNET_FRAME_MIN;
}

void vnet_vxlan_look_at_mtu(VnetVxlanLink *k)
{
    uint32_t mtu;

    /* Of the way as it is now: a socket keeps the one that it has sent by. */
    vnet_vxlan_connect(k->tx[0].poll.fd, &k->peer, k->peer_len);
    mtu = vnet_vxlan_route_mtu(k->tx[0].poll.fd, k->peer.ss_family);
    k->max = (k->mtu ? MIN(k->mtu, mtu) : mtu) - k->overhead;
}

/* --- The link --------------------------------------------------------- */

static bool vnet_vxlan_open(VnetVxlanLink *k, VnetVxlanSocket *s)
{
    const VnetVxlanConfig cfg = { .addr = k->addr, .local = k->local };
    bool v6 = k->peer.ss_family == AF_INET6;
    int fd = vnet_vxlan_bind_as(&cfg, k->peer.ss_family, 0);
    int ret;

    if (fd < 0) {
        return false;
    }
    vnet_vxlan_set(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                   v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
                   v6 ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO);
    ret = vnet_vxlan_connect(fd, &k->peer, k->peer_len) < 0 ? -errno :
          vnet_poll_add(k->loop, &s->poll, fd, 0);
    if (ret < 0) {
        close(fd);
        errno = -ret;
        return false;
    }
    return true;
}

static void vnet_vxlan_close_all(VnetVxlanLink *k)
{
    vnet_vxlan_tx_clear(k);
    for (int i = 0; i < VNET_VXLAN_SOCKETS; i++) {
        int fd = k->tx[i].poll.fd;

        if (fd >= 0) {
            vnet_poll_del(k->loop, &k->tx[i].poll);
            close(fd);
        }
    }
    k->up = false;
}

/* Only the peer's datagrams from now on, from whichever port. */
static void vnet_vxlan_expect_peer(VnetVxlanLink *k)
{
    const struct sockaddr nobody = { .sa_family = AF_UNSPEC };
    struct sockaddr_storage any_port = k->peer;

    if (any_port.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&any_port)->sin6_port = 0;
    } else {
        ((struct sockaddr_in *)&any_port)->sin_port = 0;
    }
    /* The address of its own that it got the last time may be gone. */
    connect(k->rx.fd, &nobody, sizeof(nobody));
    /* What it would not do for want of memory is done for each datagram. */
    vnet_vxlan_connect(k->rx.fd, &any_port, k->peer_len);
}

static void vnet_vxlan_attempt(VnetVxlanLink *k)
{
    for (int i = 0; i < VNET_VXLAN_SOCKETS; i++) {
        if (!vnet_vxlan_open(k, &k->tx[i])) {
            vnet_link_down(k->l, strerror(errno));
            return;
        }
    }
    vnet_vxlan_expect_peer(k);
    k->up = true;
    vnet_vxlan_look_at_mtu(k);
    vnet_loop_timer_arm(&k->timer, vnet_loop_now() + VNET_VXLAN_LOOK_NS);
    vnet_link_up_plain(k->l);
}

/*
 * A socket keeps the address of its own that it was given when it was connected,
 * also when this host has it no more.  Of several addresses that the way may have,
 * any is right.
 */
static bool vnet_vxlan_address_is_lost(VnetVxlanLink *k)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    bool lost;
    int fd;

    if (getsockname(k->tx[0].poll.fd, (struct sockaddr *)&own, &len) < 0) {
        return false;
    }
    if (own.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&own)->sin6_port = 0;
    } else {
        ((struct sockaddr_in *)&own)->sin_port = 0;
    }
    fd = vnet_vxlan_socket(own.ss_family);
    if (fd < 0) {
        return false;           /* no descriptor left, which says nothing */
    }
    lost = bind(fd, (struct sockaddr *)&own, len) < 0 && errno == EADDRNOTAVAIL;
    close(fd);
    return lost;
}

void vnet_vxlan_look_soon(VnetVxlanLink *k)
{
    if (k->up && !k->look_soon) {
        k->look_soon = true;
        vnet_loop_timer_arm(&k->timer, vnet_loop_now() + VNET_VXLAN_SOON_NS);
    }
}

static void vnet_vxlan_timer(VnetLoopTimer *t)
{
    VnetVxlanLink *k = container_of(t, VnetVxlanLink, timer);

    k->look_soon = false;
    if (!k->up) {
        vnet_vxlan_attempt(k);
        return;
    }
    if (vnet_vxlan_address_is_lost(k)) {
        vnet_link_down(k->l, "this host has the address no more that it sent "
                       "from");
        return;
    }
    vnet_vxlan_look_at_mtu(k);
    vnet_loop_timer_arm(t, vnet_loop_now() + VNET_VXLAN_LOOK_NS);
}

static void vnet_vxlan_op_close(void *transport, int64_t retry_after_ns)
{
    VnetVxlanLink *k = transport;

    vnet_vxlan_close_all(k);
    vnet_loop_timer_disarm(&k->timer);
    k->look_soon = false;
    if (retry_after_ns != INT64_MAX) {
        vnet_loop_timer_arm(&k->timer, vnet_loop_now() + retry_after_ns);
    }
}

static VnetFrameResult vnet_vxlan_op_frame(void *transport,
                                           const VnetWireFrame *f,
                                           const struct iovec *iov,
                                           unsigned niov)
{
    return vnet_vxlan_send(transport, f, iov, niov);
}

static const VnetTransportOps vnet_vxlan_ops = {
    .type = "vxlan",
    .close = vnet_vxlan_op_close,
    .frame = vnet_vxlan_op_frame,
};

VnetVxlanLink *vnet_vxlan_new(VnetLoop *loop, const VnetVxlanConfig *cfg,
                              int fd, Error **errp)
{
    VnetVxlanLink *k = g_new0(VnetVxlanLink, 1);
    int ret;

    k->loop = loop;
    k->id = g_strdup(cfg->id);
    k->addr = QAPI_CLONE(SocketAddress, cfg->addr);
    k->local = g_strdup(cfg->local);
    k->mtu = cfg->mtu;
    k->buffer_size = cfg->buffer_size;
    vnet_vxlan_peer(cfg, &k->peer, &k->peer_len);
    k->overhead = vnet_vxlan_overhead(k->peer.ss_family);
    vnet_vxlan_tx_init(k);
    vnet_vxlan_rx_init(k);
    vnet_loop_timer_init(loop, &k->timer, vnet_vxlan_timer);

    vnet_vxlan_set(fd, SOL_UDP, UDP_GRO, 1);
    vnet_vxlan_set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
    /* Tunnels are allowed to have none (RFC 7348), also over IPv6. */
    vnet_vxlan_set(fd, SOL_UDP, UDP_NO_CHECK6_RX, 1);
    vnet_vxlan_set_receive_buffer(fd, k->buffer_size ?: VNET_VXLAN_BUFFER);
    k->claim = vnet_vxlan_claim(cfg, errp);
    if (!k->claim) {
        vnet_vxlan_free(k);
        return NULL;
    }
    ret = vnet_poll_add(loop, &k->rx, fd, EPOLLIN);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "link %s: cannot watch its socket",
                         k->id);
        vnet_vxlan_free(k);
        return NULL;
    }
    k->l = vnet_link_new(vnet_loop_core(loop), k->id, false, &vnet_vxlan_ops,
                         k);
    vnet_link_set_reconnect(k->l, cfg->reconnect_ms);
    /* Not from in here: the caller does not know the link yet. */
    vnet_loop_timer_arm(&k->timer, vnet_loop_now());
    return k;
}

void vnet_vxlan_free(VnetVxlanLink *k)
{
    int fd = k->rx.fd;

    if (k->l) {
        vnet_link_free(k->l);
    }
    vnet_vxlan_close_all(k);
    vnet_loop_timer_disarm(&k->timer);
    if (fd >= 0) {
        vnet_poll_del(k->loop, &k->rx);
        close(fd);
    }
    if (k->claim) {
        vnet_vxlan_unclaim(k->claim);
    }
    vnet_vxlan_tx_free(k);
    vnet_vxlan_rx_free(k);
    qapi_free_SocketAddress(k->addr);
    g_free(k->claim);
    g_free(k->local);
    g_free(k->id);
    g_free(k);
}

VnetLink *vnet_vxlan_link(VnetVxlanLink *k)
{
    return k->l;
}

void vnet_vxlan_query(VnetVxlanLink *k, VnetVxlanInfo *info)
{
    k->stats.rx_joined = vnet_gro_joined(k->gro);
    *info = (VnetVxlanInfo) {
        .up = k->up,
        .mtu = k->up ? k->max - VNET_FRAME_MIN : 0,
        .connections = k->up ? VNET_VXLAN_SOCKETS : 0,
        .local = socket_local_address(k->rx.fd, NULL),
        .remote = QAPI_CLONE(SocketAddress, k->addr),
        .stats = &k->stats,
    };
}
