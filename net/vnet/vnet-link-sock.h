/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over stream sockets: tcp and unix.
 *
 * Uses QEMU's util library, not its system emulator.
 */
#ifndef VNET_LINK_SOCK_H
#define VNET_LINK_SOCK_H

#include "crypto/tlscreds.h"
#include "qapi/qapi-types-sockets.h"
#include "vnet-loop.h"

#define VNET_SOCK_MIN_MS            100
#define VNET_SOCK_MAX_MS            3600000
#define VNET_SOCK_RECONNECT_MS      5000
#define VNET_SOCK_SETUP_TIMEOUT_MS  5000
#define VNET_SOCK_MIN_BUFFER        4096
#define VNET_SOCK_MAX_BUFFER        (64 * MiB)
/*
 * Of data connections over unix links, unless configured: what a stock kernel
 * grants anybody, and twice what it gives unasked.  More bytes then change
 * hands at a time, so each end is woken half as often.
 */
#define VNET_SOCK_UNIX_BUFFER       212992

typedef struct VnetSockLink VnetSockLink;

/*
 * Who may have a link through a registrar: a server link that never has a peer
 * itself, but whose peers get links of their own.  All in the loop's thread.
 */
typedef struct VnetSockRegistry {
    /*
     * The link of a peer that says that this is its name and proved the
     * identity, if any (NULL: nothing is known).  If there is none yet it is
     * made, by vnet_sock_new() with cfg.registrar.  NULL and *errp, which is
     * told the peer: it may not have one.
     */
    VnetSockLink *(*find)(void *opaque, const char *name, const char *identity,
                          Error **errp);
    /* The peer of such a link is not expected any more: vnet_sock_free() it. */
    void (*gone)(void *opaque, VnetSockLink *k);
    void *opaque;
} VnetSockRegistry;

typedef struct VnetSockConfig {
    const char *id;
    const SocketAddress *addr;
    bool server;
    bool plain;                 /* tcp beyond loopback is wanted */
    /*
     * NULL: no TLS.  hostname: client, what the server's certificate has to
     * name (NULL: the address's host).  authz: server, id of the object that
     * says who may connect (NULL: all that have a certificate).
     */
    QCryptoTLSCreds *creds;
    const char *hostname;
    const char *authz;
    uint32_t reconnect_ms;      /* longest pause, client */
    uint32_t setup_timeout_ms;  /* until a connection has said what it is */
    uint32_t buffer_size;       /* of data connections; 0: the default */
    /* Server: it is a registrar; copied.  NULL: it is not. */
    const VnetSockRegistry *registry;
    /*
     * Server: the registrar that accepts the connections of this link, which
     * has no listening socket and the registrar's credentials.  NULL: it has
     * its own.  forget_ms: how long a peer that was lost is expected.
     */
    VnetSockLink *registrar;
    uint32_t forget_ms;
} VnetSockConfig;

/*
 * Counters that the transport keeps beside the link's own (vnet-stats.h), as
 * X(name, meaning).
 */
#define VNET_SOCK_STATS(X) \
    X(accepted, "connections accepted") \
    X(accept_no_fd, "connections refused: no descriptor or memory left") \
    X(setup_timeout, "connections closed: said nothing in time") \
    X(setup_evicted, "connections closed: too many that said nothing yet") \
    X(setup_eof, "connections that ended before they said what they are") \
    X(tls_sessions, "connections made by TLS") \
    X(tls_failed, "connections closed: TLS handshake or certificate") \
    X(tls_denied, "connections closed: not authorized, or another's link") \
    X(registered, "control connections that were given to a peer's own link") \
    X(register_denied, "control connections closed: no link for this peer") \
    X(early_timeout, "data connections closed: their OPEN never came") \
    X(early_full, "data connections closed: too many before their OPEN") \
    X(dialed, "connections made") \
    X(dial_failed, "connections that could not be made") \
    X(data_silent, "data connections closed: nothing sent arrived any more") \
    X(dial_put_off, "attempts put off: the peer's queue was full") \
    X(frame_writes, "system calls that sent frames") \
    X(frame_reads, "system calls that received frames") \
    X(control_writes, "system calls that sent control messages") \
    X(control_reads, "system calls that received control messages") \
    X(data_writes, "system calls that sent stream bytes") \
    X(data_reads, "system calls that received stream bytes")

typedef struct VnetSockStats {
#define VNET_SOCK_STAT_FIELD(name, meaning) uint64_t name;
    VNET_SOCK_STATS(VNET_SOCK_STAT_FIELD)
#undef VNET_SOCK_STAT_FIELD
} VnetSockStats;

typedef enum VnetSockStage {
    VNET_SOCK_WAITING,          /* before the next attempt */
    VNET_SOCK_RESOLVING,
    VNET_SOCK_LISTENING,
    VNET_SOCK_CONNECTING,
    VNET_SOCK_CONNECTED,        /* control connection exists */
} VnetSockStage;

/*
 * Checks a configuration without side effects, in any thread.  False and
 * *errp, which names the value: address type, tcp beyond loopback without
 * plain, a time or size out of range.
 */
bool vnet_sock_check(const VnetSockConfig *cfg, Error **errp);
/* Parts of it, which other links have in common with these. */
bool vnet_sock_check_ms(const char *id, const char *name, uint32_t ms,
                        Error **errp);
bool vnet_sock_check_buffer(const char *id, uint32_t size, Error **errp);
/* A server's may be empty, for all addresses. */
bool vnet_sock_check_host(const char *id, const char *host, bool server,
                          Error **errp);
/* 1 to 65535; a server's may be 0, for one of the kernel's choice. */
bool vnet_sock_check_port(const char *id, const char *port, bool server,
                          Error **errp);
/*
 * Server: binds and listens. May look up a name. Returns a descriptor, or -1
 * and *errp.
 */
int vnet_sock_listen(const VnetSockConfig *cfg, Error **errp);
/*
 * Makes the link and starts it.  The configuration was checked and is copied;
 * listen_fd is vnet_sock_listen()'s and becomes the link's, -1 if it has none.
 * NULL and *errp: no descriptor left; listen_fd stays the caller's then.
 */
VnetSockLink *vnet_sock_new(VnetLoop *loop, const VnetSockConfig *cfg,
                            int listen_fd, Error **errp);
void vnet_sock_free(VnetSockLink *k);
/* Before it is freed: its listening socket, for another; -1: it has none. */
int vnet_sock_take_listener(VnetSockLink *k);

typedef struct VnetSockInfo {
    VnetSockStage stage;
    bool is_unix;
    bool server;
    bool encrypted;
    const char *identity;       /* the peer's certificate names it; or NULL */
    const char *refused;        /* who was refused last and why; or NULL */
    unsigned connections;       /* open descriptors, the listening one apart */
    SocketAddress *local;       /* NULL if unknown; the caller's to free */
    SocketAddress *remote;
    const VnetSockStats *stats;
} VnetSockInfo;
VnetLink *vnet_sock_link(VnetSockLink *k);
void vnet_sock_query(VnetSockLink *k, VnetSockInfo *info);

#endif /* VNET_LINK_SOCK_H */
