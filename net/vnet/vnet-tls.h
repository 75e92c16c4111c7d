/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One TLS session over a socket that does not block, as if it were the socket:
 * what the transport of links over sockets uses where tls-creds were given.
 *
 * Uses QEMU's crypto library, and nothing of the overlay.
 */
#ifndef VNET_TLS_H
#define VNET_TLS_H

#include "crypto/tlscreds.h"

typedef struct VnetTls VnetTls;

/*
 * A session over fd, which stays the caller's and outlives it.  creds are for
 * this end, a server's or a client's.  hostname: the name that a server's
 * certificate has to carry; NULL for a server, which asks for none.  NULL and
 * *errp: it cannot be made.
 */
VnetTls *vnet_tls_new(QCryptoTLSCreds *creds, const char *hostname,
                      bool server, int fd, Error **errp);
/* Says nothing to the peer. */
void vnet_tls_free(VnetTls *t);
/*
 * Begins or goes on with the handshake, and checks the peer's certificate when
 * it is over.  1: bytes can flow.  0: call again after the next event; of
 * EPOLLOUT only if vnet_tls_pending().  -1 and *errp: refused, by whom it says.
 */
int vnet_tls_handshake(VnetTls *t, Error **errp);
/* After that: the peer's distinguished name; NULL: it was not asked for one. */
const char *vnet_tls_peer(const VnetTls *t);

/*
 * As sendmsg() and recvmsg() with MSG_DONTWAIT: how many bytes, 0 for the end
 * of what the peer sends, or -1 and errno; a violation of the protocol is
 * EPROTO, an end that was not announced ECONNRESET.
 *
 * A short count of vnet_tls_recv() means that the socket was read empty, as
 * with a socket.  What vnet_tls_send() counts may have to wait in here for the
 * socket: see vnet_tls_pending().
 */
ssize_t vnet_tls_send(VnetTls *t, const struct iovec *iov, unsigned n);
ssize_t vnet_tls_recv(VnetTls *t, const struct iovec *iov, unsigned n);
/* Whether something waits that vnet_tls_flush() has to send after EPOLLOUT. */
bool vnet_tls_pending(const VnetTls *t);
/* 0: nothing waits any more; EAGAIN; or what ended the connection. */
int vnet_tls_flush(VnetTls *t);
/* Announces the end of what this end sends, behind all of it; then a FIN. */
void vnet_tls_shutdown(VnetTls *t);

#endif /* VNET_TLS_H */
