/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses of links over sockets: what is allowed, and names.
 *
 * getaddrinfo() may block for many seconds, so a name is looked up by a thread
 * of its own, which shares nothing with the link but a small struct with a
 * reference count: a link that goes away does not wait for it.
 */

#include "qemu/osdep.h"
#include <netdb.h>
#include <sys/un.h>
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qapi/qapi-visit-sockets.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "vnet-job.h"
#include "vnet-sock.h"

bool vnet_sock_addr_is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
        const uint8_t *b = in6->sin6_addr.s6_addr;

        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && b[12] == 127);
    }
    return false;
}

char *vnet_sock_addr_str(const struct sockaddr_storage *ss, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (ss->ss_family == AF_UNIX) {
        return g_strdup("unix");    /* who calls has no path */
    }
    if (getnameinfo((const struct sockaddr *)ss, len, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV)) {
        return g_strdup("(unknown)");
    }
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host,
                           port);
}

/* A numeric host without the kernel's or a server's help; NULL: a name. */
static struct addrinfo *vnet_sock_numeric(const InetSocketAddress *in)
{
    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *res = NULL;

    if (getaddrinfo(in->host, NULL, &hints, &res)) {
        return NULL;
    }
    return res;
}

bool vnet_sock_check_host(const char *id, const char *host, bool server,
                          Error **errp)
{
    /* It is what the language says for the empty one. */
    if (g_str_equal(host, "*")) {
        error_setg(errp, "link %s: addr.host is \"*\"; what means all "
                   "addresses is the empty one", id);
        return false;
    }
    if (!server && !host[0]) {
        error_setg(errp, "link %s: addr.host is empty", id);
        return false;
    }
    return true;
}

bool vnet_sock_check_port(const char *id, const char *port, bool server,
                          Error **errp)
{
    unsigned value;

    if (!port[0]) {
        error_setg(errp, "link %s: addr.port is empty", id);
        return false;
    }
    /* Names are left out: the language, in which links are listed, has none. */
    if (strspn(port, "0123456789") != strlen(port) ||
        qemu_strtoui(port, NULL, 10, &value) < 0 || value > UINT16_MAX ||
        (!value && !server)) {
        error_setg(errp, "link %s: addr.port \"%s\" is not a number, %d to "
                   "65535", id, port, server ? 0 : 1);
        return false;
    }
    return true;
}

bool vnet_sock_addr_check(const VnetSockConfig *cfg, Error **errp)
{
    const InetSocketAddress *in;
    struct addrinfo *ai;
    Error *err = NULL;
    bool loopback;

    if (cfg->addr->type == SOCKET_ADDRESS_TYPE_UNIX) {
        const UnixSocketAddress *un = &cfg->addr->u.q_unix;
        size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path);

        /* Without a path a listener would invent one that nobody knows. */
        if (!un->path[0]) {
            error_setg(errp, "link %s: addr.path is empty", cfg->id);
            return false;
        }
        if (strlen(un->path) >= max) {
            error_setg(errp, "link %s: addr.path \"%s\" is longer than %zu "
                       "bytes", cfg->id, un->path, max - 1);
            return false;
        }
        return true;
    }
    if (cfg->addr->type != SOCKET_ADDRESS_TYPE_INET) {
        error_setg(errp, "link %s: addr.type \"%s\" is not supported, only "
                   "\"inet\" and \"unix\" are", cfg->id,
                   SocketAddressType_str(cfg->addr->type));
        return false;
    }
    in = &cfg->addr->u.inet;
    if (!vnet_sock_check_host(cfg->id, in->host, cfg->server, errp) ||
        !vnet_sock_check_port(cfg->id, in->port, cfg->server, errp)) {
        return false;
    }
    if (!cfg->server && in->has_to) {
        error_setg(errp, "link %s: addr.to is only for server=on", cfg->id);
        return false;
    }
#ifdef HAVE_IPPROTO_MPTCP
    if (in->has_mptcp && in->mptcp) {
        error_setg(errp, "link %s: addr.mptcp=on is not supported", cfg->id);
        return false;
    }
#endif
    inet_ai_family_from_address((InetSocketAddress *)in, &err);
    if (err) {
        error_propagate_prepend(errp, err, "link %s: addr: ", cfg->id);
        return false;
    }
    if (cfg->plain || cfg->creds) {
        return true;
    }
    ai = in->host[0] ? vnet_sock_numeric(in) : NULL;
    if (ai) {
        loopback = vnet_sock_addr_is_loopback(ai->ai_addr);
        freeaddrinfo(ai);
    } else {
        /*
         * An empty host is all addresses.  What a client's "localhost" really
         * is, is checked again when it was looked up.
         */
        loopback = g_str_equal(in->host, "localhost");
    }
    if (!loopback) {
        error_setg(errp, "link %s: tcp with %s:%s is not encrypted and may "
                   "leave this host; tls-creds encrypts it, plain=on allows "
                   "it", cfg->id,
                   in->host[0] ? in->host : "*", in->port);
        return false;
    }
    return true;
}

static const char *vnet_sock_addr_resolve(const InetSocketAddress *in,
                                          int flags, VnetSockAddrs *out)
{
    struct addrinfo hints = {
        .ai_flags = flags,
        .ai_socktype = SOCK_STREAM,
        .ai_family = inet_ai_family_from_address((InetSocketAddress *)in,
                                                 &error_abort),
    };
    struct addrinfo *res, *e;
    int rc = getaddrinfo(in->host, in->port, &hints, &res);

    out->n = 0;
    if (rc) {
        return gai_strerror(rc);
    }
    for (e = res; e && out->n < ARRAY_SIZE(out->a); e = e->ai_next) {
        memcpy(&out->a[out->n].ss, e->ai_addr, e->ai_addrlen);
        out->a[out->n++].len = e->ai_addrlen;
    }
    freeaddrinfo(res);
    return NULL;
}

bool vnet_sock_addr_now(const SocketAddress *addr, VnetSockAddrs *out,
                        Error **errp)
{
    if (addr->type == SOCKET_ADDRESS_TYPE_UNIX) {
        const UnixSocketAddress *u = &addr->u.q_unix;
        struct sockaddr_un *un = (struct sockaddr_un *)&out->a[0].ss;
        size_t n = strlen(u->path);

        memset(un, 0, sizeof(*un));
        un->sun_family = AF_UNIX;
        out->n = 1;
        out->a[0].len = sizeof(*un);
#ifdef CONFIG_LINUX
        if (u->has_abstract && u->abstract) {
            memcpy(un->sun_path + 1, u->path, n);
            if (!u->has_tight || u->tight) {
                out->a[0].len = offsetof(struct sockaddr_un, sun_path) + 1 + n;
            }
            return true;
        }
#endif
        memcpy(un->sun_path, u->path, n);
        return true;
    }
    if (vnet_sock_addr_resolve(&addr->u.inet,
                               AI_NUMERICHOST | AI_NUMERICSERV, out)) {
        if (addr->u.inet.has_numeric && addr->u.inet.numeric) {
            error_setg(errp, "not a numeric address");
        }
        return false;
    }
    return true;
}

struct VnetSockLookup {
    VnetJob job;
    SocketAddress *addr;
    const char *err;            /* what the thread leaves */
    VnetSockAddrs addrs;
    void (*done)(void *opaque, const VnetSockAddrs *addrs, const char *err);
    void *opaque;
};

static void *vnet_sock_lookup_thread(void *opaque)
{
    VnetSockLookup *lk = opaque;

    lk->err = vnet_sock_addr_resolve(&lk->addr->u.inet, 0, &lk->addrs);
    vnet_job_finish(&lk->job);
    return NULL;
}

static void vnet_sock_lookup_done(VnetJob *job)
{
    VnetSockLookup *lk = container_of(job, VnetSockLookup, job);

    lk->done(lk->opaque, &lk->addrs, lk->err);
}

static void vnet_sock_lookup_free(VnetJob *job)
{
    VnetSockLookup *lk = container_of(job, VnetSockLookup, job);

    qapi_free_SocketAddress(lk->addr);
    g_free(lk);
}

VnetSockLookup *vnet_sock_lookup_start(VnetLoop *loop,
                                       const SocketAddress *addr,
                                       void (*done)(void *opaque,
                                                    const VnetSockAddrs *addrs,
                                                    const char *err),
                                       void *opaque)
{
    VnetSockLookup *lk = g_new0(VnetSockLookup, 1);
    QemuThread thread;
    int ret;

    lk->job.done = vnet_sock_lookup_done;
    lk->job.free = vnet_sock_lookup_free;
    lk->addr = QAPI_CLONE(SocketAddress, addr);
    lk->done = done;
    lk->opaque = opaque;
    ret = vnet_job_start(loop, &lk->job);
    if (ret < 0) {
        vnet_sock_lookup_free(&lk->job);
        done(opaque, NULL, strerror(-ret));
        return NULL;
    }
    qemu_thread_create(&thread, "vnet-lookup", vnet_sock_lookup_thread, lk,
                       QEMU_THREAD_DETACHED);
    return lk;
}

void vnet_sock_lookup_cancel(VnetSockLookup *lk)
{
    vnet_job_cancel(&lk->job);
}
