/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TLS session over a socket that does not block: see vnet-tls.h.
 *
 * Theory of operation
 *
 * GnuTLS must not be told that the socket is full: it would want the very same
 * bytes again, and who sends may have others by then (a frame that was dropped,
 * a stream whose turn it is not).  So whatever it writes is taken: what the
 * socket does not take waits in `out`, at most a few records, because nothing
 * more is encrypted before that is empty.
 *
 * Several records make one system call: they are collected in `out`, up to
 * VNET_TLS_BATCH.  Reading, what the socket has is taken into `in` at once; the
 * library would make two calls for each record.  Both exist only while there
 * is something in them: thousands of idle streams need none.
 */

#include "qemu/osdep.h"
#include "crypto/tlssession.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "vnet-tls.h"

/* The most that TLS puts into one record. */
#define VNET_TLS_RECORD     (16 * KiB)
/* Encrypted bytes for one system call, in either direction, about. */
#define VNET_TLS_BATCH      (64 * KiB)
/* More than what a record adds to its bytes. */
#define VNET_TLS_OVERHEAD   64

struct VnetTls {
    QCryptoTLSSession *session;
    int fd;
    char *peer;
    bool collect;               /* do not send yet: more follows */
    GByteArray *out;            /* bytes from out_off on wait, NULL: none */
    size_t out_off;
    size_t expected;            /* bytes that `out` will have to hold */
    uint8_t *in;                /* bytes from in_off on, NULL: none */
    size_t in_off, in_len;
    int error;                  /* of the socket */
    bool ended;                 /* by the peer, who said so */
    bool cut;                   /* ... and the socket */
    bool shut;                  /* nothing more is sent, after `out` */
};

/* --- What the library reads and writes -------------------------------- */

int vnet_tls_flush(VnetTls *t)
{
    while (t->out && t->out_off < t->out->len) {
        ssize_t ret = RETRY_ON_EINTR(send(t->fd, t->out->data + t->out_off,
                                          t->out->len - t->out_off,
                                          MSG_NOSIGNAL | MSG_DONTWAIT));

        if (ret < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                t->error = errno;
            }
            return errno;
        }
        t->out_off += ret;
    }
    t->out_off = 0;
    g_clear_pointer(&t->out, g_byte_array_unref);
    if (t->shut) {
        shutdown(t->fd, SHUT_WR);
    }
    return 0;
}

bool vnet_tls_pending(const VnetTls *t)
{
    return t->out;
}

static ssize_t vnet_tls_write(const char *buf, size_t len, void *opaque,
                              Error **errp)
{
    VnetTls *t = opaque;
    int err;

    t->out = t->out ?: g_byte_array_sized_new(MAX(len, t->expected));
    g_byte_array_append(t->out, (const uint8_t *)buf, len);
    if (!t->collect) {
        err = vnet_tls_flush(t);
        if (err && err != EAGAIN) {
            error_setg_errno(errp, err, "cannot send");
            return -1;
        }
    }
    return len;
}

static ssize_t vnet_tls_read(char *buf, size_t len, void *opaque, Error **errp)
{
    VnetTls *t = opaque;

    if (!t->in) {
        ssize_t ret;

        t->in = g_malloc(VNET_TLS_BATCH);
        ret = RETRY_ON_EINTR(recv(t->fd, t->in, VNET_TLS_BATCH, MSG_DONTWAIT));
        if (ret <= 0) {
            int err = errno;

            g_clear_pointer(&t->in, g_free);
            if (ret == 0) {
                t->cut = true;
                return 0;
            }
            if (err == EAGAIN || err == EWOULDBLOCK) {
                return QCRYPTO_TLS_SESSION_ERR_BLOCK;
            }
            t->error = err;
            error_setg_errno(errp, err, "cannot receive");
            return -1;
        }
        t->in_off = 0;
        t->in_len = ret;
    }
    len = MIN(len, t->in_len);
    memcpy(buf, t->in + t->in_off, len);
    t->in_off += len;
    t->in_len -= len;
    if (!t->in_len) {
        g_clear_pointer(&t->in, g_free);
    }
    return len;
}

/* --- Life ------------------------------------------------------------- */

VnetTls *vnet_tls_new(QCryptoTLSCreds *creds, const char *hostname,
                      bool server, int fd, Error **errp)
{
    QCryptoTLSSession *session =
        qcrypto_tls_session_new(creds, hostname, NULL,
                                server ? QCRYPTO_TLS_CREDS_ENDPOINT_SERVER :
                                         QCRYPTO_TLS_CREDS_ENDPOINT_CLIENT,
                                errp);
    VnetTls *t;

    if (!session) {
        return NULL;
    }
    t = g_new0(VnetTls, 1);
    t->session = session;
    t->fd = fd;
    qcrypto_tls_session_set_callbacks(session, vnet_tls_write, vnet_tls_read,
                                      t);
    return t;
}

void vnet_tls_free(VnetTls *t)
{
    if (t) {
        qcrypto_tls_session_free(t->session);
        g_clear_pointer(&t->out, g_byte_array_unref);
        g_free(t->in);
        g_free(t->peer);
        g_free(t);
    }
}

int vnet_tls_handshake(VnetTls *t, Error **errp)
{
    int status;

    if (vnet_tls_pending(t)) {
        int err = vnet_tls_flush(t);

        if (err && err != EAGAIN) {
            error_setg_errno(errp, err, "cannot send");
            return -1;
        }
    }
    status = qcrypto_tls_session_handshake(t->session, errp);
    if (status < 0) {
        return -1;
    }
    if (status != QCRYPTO_TLS_HANDSHAKE_COMPLETE) {
        return 0;
    }
    if (qcrypto_tls_session_check_credentials(t->session, errp) < 0) {
        return -1;
    }
    t->peer = qcrypto_tls_session_get_peer_name(t->session);
    return 1;
}

const char *vnet_tls_peer(const VnetTls *t)
{
    return t->peer;
}

/* --- Bytes ------------------------------------------------------------ */

/* Why the library said no. */
static int vnet_tls_errno(VnetTls *t, Error *err)
{
    error_free(err);
    return t->error ?: t->cut ? ECONNRESET : EPROTO;
}

/* One record of what begins at skip. Returns how many bytes, or -1 and errno. */
static ssize_t vnet_tls_send_record(VnetTls *t, const struct iovec *iov,
                                    unsigned n, size_t skip, size_t len)
{
    g_autofree uint8_t *gathered = NULL;
    const struct iovec *v = iov;
    size_t off = skip;
    Error *err = NULL;
    const void *p;
    ssize_t ret;

    while (off >= v->iov_len) {
        off -= v++->iov_len;
    }
    if (v->iov_len - off >= len) {
        p = v->iov_base + off;
    } else {
        /* Small pieces: a record each would cost more than to copy them. */
        p = gathered = g_malloc(len);
        iov_to_buf(iov, n, skip, gathered, len);
    }
    ret = qcrypto_tls_session_write(t->session, p, len, &err);
    if (ret < 0) {
        errno = vnet_tls_errno(t, err);
    }
    return ret;
}

ssize_t vnet_tls_send(VnetTls *t, const struct iovec *iov, unsigned n)
{
    size_t size = iov_size(iov, n), done = 0;
    int err = vnet_tls_flush(t);

    while (!err && done < size) {
        t->collect = true;
        t->expected = MIN(size - done, VNET_TLS_BATCH + VNET_TLS_RECORD) +
                      VNET_TLS_BATCH / VNET_TLS_RECORD * VNET_TLS_OVERHEAD;
        while (!err && done < size &&
               (!t->out || t->out->len < VNET_TLS_BATCH)) {
            ssize_t ret = vnet_tls_send_record(t, iov, n, done,
                                               MIN(size - done,
                                                   VNET_TLS_RECORD));

            if (ret < 0) {
                err = errno;
            } else {
                done += ret;
            }
        }
        t->collect = false;
        t->expected = 0;
        err = err ?: vnet_tls_flush(t);
    }
    if (err && !(err == EAGAIN && done)) {
        errno = err;
        return -1;
    }
    return done;
}

ssize_t vnet_tls_recv(VnetTls *t, const struct iovec *iov, unsigned n)
{
    size_t done = 0, at = 0;

    while (n && !t->ended) {
        Error *err = NULL;
        ssize_t ret;

        if (at == iov->iov_len) {
            iov++;
            n--;
            at = 0;
            continue;
        }
        ret = qcrypto_tls_session_read(t->session, iov->iov_base + at,
                                       iov->iov_len - at, false, &err);
        if (ret > 0) {
            done += ret;
            at += ret;
        } else if (ret == 0) {
            t->ended = true;
        } else {
            /* What failed once fails again: first what came before it. */
            errno = ret == QCRYPTO_TLS_SESSION_ERR_BLOCK ? EAGAIN :
                    vnet_tls_errno(t, err);
            return done ? done : -1;
        }
    }
    return done;
}

void vnet_tls_shutdown(VnetTls *t)
{
    if (!t->shut) {
        t->shut = true;
        /* Of what it answers only that it was written matters. */
        t->collect = true;
        qcrypto_tls_session_bye(t->session, NULL);
        t->collect = false;
        vnet_tls_flush(t);
    }
}
