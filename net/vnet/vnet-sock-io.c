/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over sockets: bytes in and out of one connection, by TLS or not.
 *
 * With TLS each connection has a session, found by its descriptor, so that all
 * other files pass descriptors on and on as they do without.  A connection is
 * what it is for only after the handshake, which the part that makes it drives:
 * client by vnet_sock_made(), server by vnet_sock_handshake().
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "vnet-sock.h"

static VnetTls *vnet_sock_session(VnetSockLink *k, int fd)
{
    return k->creds ? g_hash_table_lookup(k->sessions, GINT_TO_POINTER(fd)) :
                      NULL;
}

bool vnet_sock_begin(VnetSockLink *k, int fd, Error **errp)
{
    VnetTls *t = vnet_tls_new(k->creds, k->server ? NULL : k->hostname,
                              k->server, fd, errp);

    if (!t) {
        return false;
    }
    g_hash_table_insert(k->sessions, GINT_TO_POINTER(fd), t);
    return true;
}

int vnet_sock_handshake(VnetSockLink *k, int fd, Error **errp)
{
    VnetTls *t = vnet_sock_session(k, fd);
    int ret = t ? vnet_tls_handshake(t, errp) : 1;

    if (ret < 0) {
        k->stats.tls_failed++;
    } else if (ret > 0 && t) {
        k->stats.tls_sessions++;
    }
    return ret;
}

void vnet_sock_look(VnetSockLink *k, VnetPoll *p)
{
    if (k->creds) {
        vnet_poll_again(k->loop, p);
    }
}

void vnet_sock_move(VnetSockLink *from, VnetSockLink *to, int fd)
{
    gpointer key = GINT_TO_POINTER(fd), session;

    if (from->creds &&
        g_hash_table_steal_extended(from->sessions, key, NULL, &session)) {
        g_hash_table_insert(to->sessions, key, session);
    }
    from->connections--;
    to->connections++;
}

const char *vnet_sock_identity(VnetSockLink *k, int fd)
{
    VnetTls *t = vnet_sock_session(k, fd);

    return t ? vnet_tls_peer(t) : NULL;
}

void vnet_sock_identify(VnetSockLink *k, int fd)
{
    g_free(k->identity);
    k->identity = g_strdup(vnet_sock_identity(k, fd));
}

int vnet_sock_made(VnetSockLink *k, VnetPoll *p, Error **errp)
{
    int ret;

    if (!vnet_sock_session(k, p->fd)) {
        int err = vnet_sock_error(p->fd);

        if (err) {
            error_setg(errp, "%s", strerror(err));
            return -err;
        }
        if (!k->creds) {
            return 1;
        }
        if (!vnet_sock_begin(k, p->fd, errp)) {
            return -EPROTO;
        }
    }
    ret = vnet_sock_handshake(k, p->fd, errp);
    if (ret == 0) {
        vnet_poll_mod(k->loop, p, EPOLLIN | EPOLLRDHUP |
                      (vnet_sock_pending(k, p->fd) ? EPOLLOUT : 0));
    }
    return ret < 0 ? -EPROTO : ret;
}

ssize_t vnet_sock_send(VnetSockLink *k, int fd, const struct iovec *iov,
                       unsigned n)
{
    VnetTls *t = vnet_sock_session(k, fd);
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };

    if (t) {
        return vnet_tls_send(t, iov, n);
    }
    /* One piece: the kernel has less to copy and check. */
    return RETRY_ON_EINTR(n == 1 ?
                          send(fd, iov->iov_base, iov->iov_len,
                               MSG_NOSIGNAL | MSG_DONTWAIT) :
                          sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT));
}

ssize_t vnet_sock_send_buf(VnetSockLink *k, int fd, const void *buf,
                           size_t len)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };

    return vnet_sock_send(k, fd, &iov, 1);
}

ssize_t vnet_sock_recv(VnetSockLink *k, int fd, const struct iovec *iov,
                       unsigned n)
{
    VnetTls *t = vnet_sock_session(k, fd);
    struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };

    if (t) {
        return vnet_tls_recv(t, iov, n);
    }
    return RETRY_ON_EINTR(n == 1 ?
                          recv(fd, iov->iov_base, iov->iov_len,
                               MSG_DONTWAIT) :
                          recvmsg(fd, &msg, MSG_DONTWAIT));
}

ssize_t vnet_sock_recv_buf(VnetSockLink *k, int fd, void *buf, size_t len)
{
    struct iovec iov = { .iov_base = buf, .iov_len = len };

    return vnet_sock_recv(k, fd, &iov, 1);
}

bool vnet_sock_pending(VnetSockLink *k, int fd)
{
    VnetTls *t = vnet_sock_session(k, fd);

    return t && vnet_tls_pending(t);
}

int vnet_sock_flush(VnetSockLink *k, int fd)
{
    VnetTls *t = vnet_sock_session(k, fd);

    return t ? vnet_tls_flush(t) : 0;
}

void vnet_sock_shutdown(VnetSockLink *k, int fd)
{
    VnetTls *t = vnet_sock_session(k, fd);

    if (t) {
        vnet_tls_shutdown(t);
    } else {
        shutdown(fd, SHUT_WR);
    }
}

void vnet_sock_close_fd(VnetSockLink *k, int fd, bool abort)
{
    if (k->creds) {
        g_hash_table_remove(k->sessions, GINT_TO_POINTER(fd));
    }
    if (abort && !k->is_unix) {
        struct linger lg = { .l_onoff = 1, .l_linger = 0 };

        setsockopt(fd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
    }
    close(fd);
    assert(k->connections > 0);
    k->connections--;
}

int vnet_sock_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0) {
        return errno;
    }
    return err;
}

bool vnet_sock_send_preamble(VnetSockLink *k, int fd, const VnetPreamble *p)
{
    uint8_t buf[VNET_PREAMBLE_SIZE];
    ssize_t ret;

    vnet_wire_put_preamble(buf, p);
    ret = vnet_sock_send_buf(k, fd, buf, sizeof(buf));
    if (ret >= 0 && ret != sizeof(buf)) {
        /* The buffer of a new connection has room for it. */
        errno = ENOBUFS;
        return false;
    }
    return ret >= 0;
}
