/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over stream sockets: the link as a whole.
 *
 * Theory of operation
 *
 * A client link makes one attempt after the other to get a control connection,
 * each over all addresses that its peer's name has.  Names are looked up anew
 * for each attempt, by a thread that only does that.  How long to wait between
 * attempts is decided by the peer protocol (vnet-peer.c), through close().
 * Frame and data connections go to the address at which the control connection
 * was made.
 *
 * A server link has a listening socket, for as long as the link lives.  Any
 * connection first says what it is, in 32 bytes, and until then costs little:
 * vnet-sock-accept.c.
 *
 *   client: WAITING -> [RESOLVING ->] CONNECTING -> CONNECTED -> WAITING ...
 *   server: LISTENING -> CONNECTED -> LISTENING ...
 *
 * The socket of a server link may be another's, its registrar's:
 * vnet-sock-register.c.
 *
 * With tls-creds a connection is made when its TLS handshake is over, too:
 * vnet-sock-io.c.
 *
 * Failures are never reported from inside a call of the behaviour: they wait
 * for the end of the dispatch or for an event of their own.
 *
 * Everything has an end: connections being made and connections that are
 * silent by setup-timeout-ms, an established link by the heartbeat.
 */

#include "qemu/osdep.h"
#include <netinet/tcp.h>
#include "crypto/tlscredsx509.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "vnet-sock.h"

static void vnet_sock_attempt(VnetSockLink *k);
static void vnet_sock_dial_next(VnetSockLink *k);

/* --- Configuration ---------------------------------------------------- */

bool vnet_sock_check_ms(const char *id, const char *name, uint32_t ms,
                        Error **errp)
{
    if (ms < VNET_SOCK_MIN_MS || ms > VNET_SOCK_MAX_MS) {
        error_setg(errp, "link %s: %s is %u, and must be %u to %u", id, name,
                   ms, VNET_SOCK_MIN_MS, VNET_SOCK_MAX_MS);
        return false;
    }
    return true;
}

bool vnet_sock_check_buffer(const char *id, uint32_t size, Error **errp)
{
    if (size && (size < VNET_SOCK_MIN_BUFFER || size > VNET_SOCK_MAX_BUFFER)) {
        error_setg(errp, "link %s: buffer-size is %u, and must be 0, or %u to "
                   "%llu", id, size, VNET_SOCK_MIN_BUFFER,
                   (unsigned long long)VNET_SOCK_MAX_BUFFER);
        return false;
    }
    return true;
}

/* Whether the TLS options fit each other and the end. */
static bool vnet_sock_check_tls(const VnetSockConfig *cfg, Error **errp)
{
    ERRP_GUARD();

    if (!cfg->creds) {
        if (cfg->hostname || cfg->authz) {
            error_setg(errp, "link %s: %s needs tls-creds", cfg->id,
                       cfg->hostname ? "tls-hostname" : "tls-authz");
            return false;
        }
        return true;
    }
    if (cfg->addr->type != SOCKET_ADDRESS_TYPE_INET) {
        error_setg(errp, "link %s: tls-creds is for type \"tcp\" only",
                   cfg->id);
        return false;
    }
    if (cfg->server ? cfg->hostname : cfg->authz) {
        error_setg(errp, "link %s: %s is for server=%s only", cfg->id,
                   cfg->server ? "tls-hostname" : "tls-authz",
                   cfg->server ? "off" : "on");
        return false;
    }
    if (cfg->authz && !(object_dynamic_cast(OBJECT(cfg->creds),
                                            TYPE_QCRYPTO_TLS_CREDS_X509) &&
                        object_property_get_bool(OBJECT(cfg->creds),
                                                 "verify-peer", NULL))) {
        error_setg(errp, "link %s: tls-authz needs credentials that say who "
                   "the peer is: tls-creds-x509 with verify-peer=on", cfg->id);
        return false;
    }
    if (!qcrypto_tls_creds_check_endpoint(cfg->creds, cfg->server ?
                                          QCRYPTO_TLS_CREDS_ENDPOINT_SERVER :
                                          QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT,
                                          errp)) {
        error_prepend(errp, "link %s: tls-creds: ", cfg->id);
        return false;
    }
    return true;
}

bool vnet_sock_check(const VnetSockConfig *cfg, Error **errp)
{
    if (!vnet_sock_check_ms(cfg->id, "reconnect-ms", cfg->reconnect_ms,
                            errp) ||
        !vnet_sock_check_ms(cfg->id, "setup-timeout-ms",
                            cfg->setup_timeout_ms, errp) ||
        !vnet_sock_check_buffer(cfg->id, cfg->buffer_size, errp) ||
        !vnet_sock_check_tls(cfg, errp)) {
        return false;
    }
    return vnet_sock_addr_check(cfg, errp);
}

int vnet_sock_listen(const VnetSockConfig *cfg, Error **errp)
{
    Error *err = NULL;
    g_autofree char *uri = NULL;
    /* As many as the kernel allows: each stream is a connection. */
    int fd = socket_listen((SocketAddress *)cfg->addr, 4096, &err);

    if (fd >= 0 && qemu_socket_try_set_nonblock(fd) < 0) {
        error_setg_errno(&err, errno, "cannot be made non-blocking");
        close(fd);
        fd = -1;
    }
    if (fd < 0) {
        uri = socket_uri((SocketAddress *)cfg->addr);
        error_propagate_prepend(errp, err, "link %s: cannot listen on %s: ",
                                cfg->id, uri);
        return -1;
    }
    return fd;
}

/* --- Descriptors ------------------------------------------------------ */

void vnet_sock_tune(VnetSockLink *k, int fd, bool data)
{
    /* None of these can fail in a way that matters. */
    if (!k->is_unix) {
        socket_set_nodelay(fd);
        vnet_sock_alive_tune(k, fd, data);
    }
    if (data && k->buffer_size) {
        int size = k->buffer_size;

        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
}

static int vnet_sock_dial_addr(VnetSockLink *k, unsigned which, bool data,
                               bool *done)
{
    const struct sockaddr *sa = (struct sockaddr *)&k->addrs.a[which].ss;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    0);
    int ret;

    if (fd < 0) {
        k->stats.dial_failed++;
        return -errno;
    }
    k->connections++;
    vnet_sock_tune(k, fd, data);
    ret = RETRY_ON_EINTR(connect(fd, sa, k->addrs.a[which].len));
    /* With TLS there is more to do before bytes flow. */
    *done = ret == 0 && !k->creds;
    if (ret < 0 && errno != EINPROGRESS) {
        ret = -errno;
        if (ret == -EAGAIN) {
            k->stats.dial_put_off++;
        } else {
            k->stats.dial_failed++;
        }
        vnet_sock_close_fd(k, fd, false);
        return ret;
    }
    k->stats.dialed++;
    return fd;
}

int vnet_sock_dial(VnetSockLink *k, bool data, bool *done)
{
    assert(k->addr_next > 0);
    return vnet_sock_dial_addr(k, k->addr_next - 1, data, done);
}

/* --- Deadlines -------------------------------------------------------- */

void vnet_sock_arm_deadlines(VnetSockLink *k)
{
    int64_t now = vnet_loop_now();
    int64_t when = MIN(MIN(vnet_sock_guests_expire(k, now),
                           vnet_sock_cids_expire(k, now)),
                       vnet_sock_frame_expire(k, now));

    if (k->dial.fd >= 0) {
        when = MIN(when, k->dial_deadline);
    }
    if (when != INT64_MAX) {
        vnet_loop_timer_arm(&k->deadlines, when);
    }
}

static void vnet_sock_deadlines(VnetLoopTimer *t)
{
    VnetSockLink *k = container_of(t, VnetSockLink, deadlines);

    if (k->dial.fd >= 0 && k->dial_deadline <= vnet_loop_now()) {
        int fd = k->dial.fd;

        g_free(k->dial_error);
        k->dial_error = g_strdup(strerror(ETIMEDOUT));
        k->stats.dial_failed++;
        vnet_poll_del(k->loop, &k->dial);
        vnet_sock_close_fd(k, fd, true);
        vnet_sock_dial_next(k);
    }
    vnet_sock_arm_deadlines(k);
}

/* --- The client's attempts -------------------------------------------- */

void vnet_sock_lost(VnetSockLink *k, const char *fmt, ...)
{
    g_autofree char *why = NULL;
    va_list ap;

    va_start(ap, fmt);
    why = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    vnet_link_down(k->l, why);
}

static void vnet_sock_attempt_failed(VnetSockLink *k)
{
    g_autofree char *uri = socket_uri(k->addr);

    vnet_sock_lost(k, "cannot connect to %s: %s", uri,
                   k->dial_error ?: "it has no address");
}

static void vnet_sock_connected(VnetSockLink *k, int fd)
{
    VnetPreamble p;
    int ret = 0;

    vnet_link_preamble(k->l, &p);
    if (!vnet_sock_send_preamble(k, fd, &p)) {
        ret = -errno;
    } else {
        ret = vnet_sock_control_adopt(k, fd);
    }
    if (ret < 0) {
        g_free(k->dial_error);
        k->dial_error = g_strdup(strerror(-ret));
        k->stats.dial_failed++;
        vnet_sock_close_fd(k, fd, true);
        vnet_sock_dial_next(k);
        return;
    }
    k->stage = VNET_SOCK_CONNECTED;
    vnet_sock_identify(k, fd);
    if (!vnet_link_up(k->l, NULL)) {
        vnet_sock_lost(k, "refused by this end");
    }
}

/* Tries the addresses that are left. */
static void vnet_sock_dial_next(VnetSockLink *k)
{
    while (k->addr_next < k->addrs.n) {
        bool done;
        int fd;

        fd = vnet_sock_dial_addr(k, k->addr_next++, false, &done);
        if (fd >= 0 && done) {
            vnet_sock_connected(k, fd);
            return;
        }
        if (fd >= 0) {
            int ret = vnet_poll_add(k->loop, &k->dial, fd, EPOLLOUT);

            if (ret == 0) {
                k->dial_deadline = vnet_loop_now() + k->setup_timeout_ns;
                vnet_sock_arm_deadlines(k);
                return;
            }
            vnet_sock_close_fd(k, fd, true);
            fd = ret;
        }
        g_free(k->dial_error);
        k->dial_error = g_strdup(strerror(-fd));
    }
    vnet_sock_attempt_failed(k);
}

static void vnet_sock_dial_ready(VnetPoll *p, uint32_t events)
{
    VnetSockLink *k = container_of(p, VnetSockLink, dial);
    int fd = p->fd;
    Error *err = NULL;
    int ret = vnet_sock_made(k, p, &err);

    if (ret == 0) {
        return;
    }
    vnet_poll_del(k->loop, p);
    if (ret > 0) {
        vnet_sock_connected(k, fd);
        return;
    }
    g_free(k->dial_error);
    k->dial_error = g_strdup(error_get_pretty(err));
    error_free(err);
    k->stats.dial_failed++;
    vnet_sock_close_fd(k, fd, false);
    vnet_sock_dial_next(k);
}

static void vnet_sock_resolved(void *opaque, const VnetSockAddrs *addrs,
                               const char *err)
{
    VnetSockLink *k = opaque;
    unsigned i;

    k->lookup = NULL;
    k->addrs.n = 0;
    k->addr_next = 0;
    g_clear_pointer(&k->dial_error, g_free);
    if (err) {
        k->dial_error = g_strdup(err);
        vnet_sock_attempt_failed(k);
        return;
    }
    for (i = 0; i < addrs->n; i++) {
        const struct sockaddr *sa = (struct sockaddr *)&addrs->a[i].ss;

        if (!k->is_unix && !k->plain && !k->creds &&
            !vnet_sock_addr_is_loopback(sa)) {
            g_autofree char *s = vnet_sock_addr_str(&addrs->a[i].ss,
                                                    addrs->a[i].len);

            g_free(k->dial_error);
            k->dial_error = g_strdup_printf(
                "its address %s is not loopback, and neither tls-creds nor "
                "plain=on was given", s);
            continue;
        }
        k->addrs.a[k->addrs.n++] = addrs->a[i];
    }
    k->stage = VNET_SOCK_CONNECTING;
    vnet_sock_dial_next(k);
}

static void vnet_sock_attempt(VnetSockLink *k)
{
    VnetSockAddrs addrs;
    Error *err = NULL;

    if (vnet_sock_addr_now(k->addr, &addrs, &err)) {
        vnet_sock_resolved(k, &addrs, NULL);
    } else if (err) {
        vnet_sock_resolved(k, NULL, error_get_pretty(err));
        error_free(err);
    } else {
        k->stage = VNET_SOCK_RESOLVING;
        k->lookup = vnet_sock_lookup_start(k->loop, k->addr,
                                           vnet_sock_resolved, k);
    }
}

/* --- What the behaviour asks for -------------------------------------- */

/* The pause after close() is over. */
static void vnet_sock_timer(VnetLoopTimer *t)
{
    VnetSockLink *k = container_of(t, VnetSockLink, timer);

    if (!k->server) {
        vnet_sock_attempt(k);
    } else if (k->registrar) {
        VnetSockRegistry *r = &k->registrar->registry;

        r->gone(r->opaque, k);
    } else {
        k->paused = false;
        vnet_poll_again(k->loop, &k->listen);
    }
}

static void vnet_sock_op_close(void *transport, int64_t retry_after_ns)
{
    VnetSockLink *k = transport;

    vnet_sock_control_close(k);
    vnet_sock_frame_close(k);
    if (k->server) {
        vnet_sock_guests_clear(k, true);
        k->stage = VNET_SOCK_LISTENING;
    } else {
        if (k->lookup) {
            vnet_sock_lookup_cancel(k->lookup);
            k->lookup = NULL;
        }
        if (k->dial.fd >= 0) {
            int fd = k->dial.fd;

            vnet_poll_del(k->loop, &k->dial);
            vnet_sock_close_fd(k, fd, true);
        }
        k->stage = VNET_SOCK_WAITING;
    }
    vnet_loop_timer_disarm(&k->timer);
    if (retry_after_ns == INT64_MAX) {
        return;
    }
    if (k->registrar) {
        vnet_sock_expect_peer(k);
        return;
    }
    if (k->server) {
        if (k->paused) {
            /* Who waits meanwhile is no new event. */
            vnet_poll_again(k->loop, &k->listen);
        }
        k->paused = retry_after_ns > 0;
    }
    if (!k->server || k->paused) {
        vnet_loop_timer_arm(&k->timer, vnet_loop_now() + retry_after_ns);
    }
}

static const char *vnet_sock_op_identity(void *transport)
{
    VnetSockLink *k = transport;

    return k->identity;
}

static bool vnet_sock_op_control(void *transport, const void *buf, size_t len)
{
    return vnet_sock_control_put(transport, buf, len);
}

static bool vnet_sock_op_frames_move(void *transport)
{
    return vnet_sock_frame_moves(transport);
}

static void vnet_sock_op_open_frames(void *transport, const VnetPreamble *p)
{
    vnet_sock_frame_open(transport, p);
}

static VnetFrameResult vnet_sock_op_frame(void *transport,
                                          const VnetWireFrame *f,
                                          const struct iovec *iov,
                                          unsigned niov)
{
    return vnet_sock_frame_send(transport, f, iov, niov);
}

#define VNET_SOCK_OPS(name) { \
    .type = name, \
    .close = vnet_sock_op_close, \
    .identity = vnet_sock_op_identity, \
    .control = vnet_sock_op_control, \
    .open_frames = vnet_sock_op_open_frames, \
    .frames_move = vnet_sock_op_frames_move, \
    .frame = vnet_sock_op_frame, \
    .cid_open = vnet_sock_cid_open, \
    .cid_tx = vnet_sock_cid_tx, \
    .cid_rx = vnet_sock_cid_rx, \
    .cid_tx_end = vnet_sock_cid_tx_end, \
    .cid_close = vnet_sock_cid_close, \
}
static const VnetTransportOps vnet_sock_tcp_ops = VNET_SOCK_OPS("tcp");
static const VnetTransportOps vnet_sock_unix_ops = VNET_SOCK_OPS("unix");

/* --- Life ------------------------------------------------------------- */

VnetSockLink *vnet_sock_new(VnetLoop *loop, const VnetSockConfig *cfg,
                            int listen_fd, Error **errp)
{
    VnetSockLink *k = g_new0(VnetSockLink, 1);
    QCryptoTLSCreds *creds = cfg->registrar ? cfg->registrar->creds :
                             cfg->creds;
    int ret;

    k->loop = loop;
    k->id = g_strdup(cfg->id);
    k->addr = QAPI_CLONE(SocketAddress, cfg->addr);
    k->server = cfg->server;
    k->plain = cfg->plain;
    k->is_unix = cfg->addr->type == SOCKET_ADDRESS_TYPE_UNIX;
    if (creds) {
        object_ref(OBJECT(creds));
        k->creds = creds;
        k->hostname = g_strdup(cfg->hostname ?: cfg->addr->u.inet.host);
        k->authz = g_strdup(cfg->authz);
        k->sessions = g_hash_table_new_full(NULL, NULL, NULL,
                                            (GDestroyNotify)vnet_tls_free);
    }
    k->setup_timeout_ns = cfg->setup_timeout_ms * (int64_t)SCALE_MS;
    k->buffer_size = cfg->buffer_size ?: k->is_unix ? VNET_SOCK_UNIX_BUFFER : 0;
    k->listen.fd = k->dial.fd = k->spare_fd = -1;
    k->dial.ready = vnet_sock_dial_ready;
    k->listen.ready = vnet_sock_accept_ready;
    QTAILQ_INIT(&k->setup);
    QTAILQ_INIT(&k->early);
    QTAILQ_INIT(&k->dialing);
    QTAILQ_INIT(&k->to_dial);
    QTAILQ_INIT(&k->sent);
    k->dial_cids.fn = vnet_sock_cids_dial;
    k->cids = g_hash_table_new(NULL, NULL);
    vnet_loop_timer_init(loop, &k->timer, vnet_sock_timer);
    vnet_loop_timer_init(loop, &k->deadlines, vnet_sock_deadlines);
    vnet_loop_timer_init(loop, &k->put_off, vnet_sock_cids_put_off);
    vnet_loop_timer_init(loop, &k->alive, vnet_sock_alive_look);
    vnet_sock_control_init(k);
    vnet_sock_frame_init(k);

    vnet_sock_register_init(k, cfg);

    if (k->server) {
        k->stage = VNET_SOCK_LISTENING;
    }
    if (listen_fd >= 0) {
        /* Connections inherit it. */
        vnet_sock_tune(k, listen_fd, false);
        k->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ret = k->spare_fd < 0 ? -errno :
              vnet_poll_add(loop, &k->listen, listen_fd, EPOLLIN);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "link %s: cannot watch its listening "
                             "socket", k->id);
            vnet_sock_free(k);
            return NULL;
        }
    }
    k->l = vnet_link_new(vnet_loop_core(loop), k->id, k->server,
                         k->is_unix ? &vnet_sock_unix_ops : &vnet_sock_tcp_ops,
                         k);
    vnet_link_set_reconnect(k->l, cfg->reconnect_ms);
    if (!k->server) {
        /* Not from in here: the caller does not know the link yet. */
        vnet_loop_timer_arm(&k->timer, vnet_loop_now());
    }
    return k;
}

void vnet_sock_free(VnetSockLink *k)
{
    if (k->l) {
        /* Closes what is open, by close() and cid_close() ... */
        vnet_link_free(k->l);
        /* ... but does not know of an attempt that is still being made. */
        vnet_sock_op_close(k, INT64_MAX);
    }
    assert(g_hash_table_size(k->cids) == 0);
    vnet_sock_register_free(k);
    if (k->listen.fd >= 0) {
        int fd = k->listen.fd;

        vnet_poll_del(k->loop, &k->listen);
        socket_listen_cleanup(fd, NULL);
        close(fd);
    }
    if (k->spare_fd >= 0) {
        close(k->spare_fd);
    }
    vnet_sock_guests_clear(k, false);
    vnet_loop_timer_disarm(&k->timer);
    vnet_loop_timer_disarm(&k->deadlines);
    vnet_loop_timer_disarm(&k->put_off);
    vnet_loop_timer_disarm(&k->alive);
    vnet_loop_at_end_cancel(k->loop, &k->dial_cids);
    vnet_sock_control_free(k);
    vnet_sock_frame_free(k);
    assert(k->connections == 0);
    g_hash_table_unref(k->cids);
    if (k->creds) {
        g_hash_table_unref(k->sessions);
        object_unref(OBJECT(k->creds));
    }
    qapi_free_SocketAddress(k->addr);
    g_free(k->hostname);
    g_free(k->authz);
    g_free(k->identity);
    g_free(k->refused);
    g_free(k->dial_error);
    g_free(k->id);
    g_free(k);
}

int vnet_sock_take_listener(VnetSockLink *k)
{
    int fd = k->listen.fd;

    vnet_poll_del(k->loop, &k->listen);
    return fd;
}

VnetLink *vnet_sock_link(VnetSockLink *k)
{
    return k->l;
}

static SocketAddress *vnet_sock_peer_address(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0) {
        return NULL;
    }
    return socket_sockaddr_to_address(&ss, len, NULL);
}

void vnet_sock_query(VnetSockLink *k, VnetSockInfo *info)
{
    int fd = k->control.poll.fd;

    *info = (VnetSockInfo) {
        .stage = k->stage,
        .is_unix = k->is_unix,
        .server = k->server,
        .encrypted = k->creds,
        .identity = k->stage == VNET_SOCK_CONNECTED ? k->identity : NULL,
        .refused = k->refused,
        .connections = k->connections,
        .stats = &k->stats,
    };
    if (k->server) {
        int at = k->registrar ? k->registrar->listen.fd : k->listen.fd;

        info->local = socket_local_address(at, NULL);
        /* A unix client has no name. */
        if (fd >= 0 && !k->is_unix) {
            info->remote = vnet_sock_peer_address(fd);
        }
    } else {
        if (fd >= 0 && !k->is_unix) {
            info->local = socket_local_address(fd, NULL);
        }
        info->remote = fd >= 0 ? vnet_sock_peer_address(fd) :
                                 QAPI_CLONE(SocketAddress, k->addr);
    }
}
