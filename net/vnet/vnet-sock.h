/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the socket transport show each other:
 *   vnet-link-sock.c     the link, its stages, outgoing connections
 *   vnet-sock-addr.c     addresses: checks, name resolution
 *   vnet-sock-io.c       bytes in and out of a connection, by TLS or not
 *   vnet-sock-alive.c    whether the way of a connection is still there
 *   vnet-sock-accept.c   the listener, and what just connected
 *   vnet-sock-authz.c    who may connect
 *   vnet-sock-register.c links that peers get through a registrar
 *   vnet-sock-control.c  the control connection
 *   vnet-sock-frame.c    the frame connection
 *   vnet-sock-cid.c      a stream's connection
 */
#ifndef VNET_SOCK_H
#define VNET_SOCK_H

#include <sys/epoll.h>
#include "qemu/sockets.h"
#include "vtoe/uninitialized.h"
#include "vnet-link-sock.h"
#include "vnet-query.h"
#include "vnet-tls.h"

/*
 * Connections that have not said yet what they are; the oldest has to go when
 * another one comes.
 */
#define VNET_SOCK_SETUP_MAX     256
/* Bytes of control messages that may wait for the peer to read. */
#define VNET_SOCK_CONTROL_MAX   (1 * MiB)
/* What one handler reads or writes in one go before others get their turn. */
#define VNET_SOCK_TURN          (1 * MiB)
/* Accepts in one go. */
#define VNET_SOCK_ACCEPT_TURN   64
/* Connections made in one go. */
#define VNET_SOCK_DIAL_TURN     64
/*
 * How long to leave the listener alone when descriptors have run out, and to
 * wait when the peer's queue of a unix socket is full, which nothing reports.
 */
#define VNET_SOCK_NO_FD_NS      (100 * SCALE_MS)
#define VNET_SOCK_PUT_OFF_NS    (1 * SCALE_MS)

typedef struct VnetSockAddrs {
    unsigned n;
    struct {
        struct sockaddr_storage ss;
        socklen_t len;
    } a[8];
} VnetSockAddrs;

/* A name being looked up, by a thread of its own. */
typedef struct VnetSockLookup VnetSockLookup;

/* Just accepted, or early: a data connection that overtook its OPEN. */
typedef struct VnetSockGuest VnetSockGuest;
typedef QTAILQ_HEAD(, VnetSockGuest) VnetSockGuests;

typedef struct VnetSockControl {
    VnetPoll poll;
    uint8_t *in;                /* VNET_SOCK_CONTROL_IN bytes */
    size_t in_len;
    GByteArray *out;
    size_t out_off;             /* of what was sent */
    VnetAtEnd flush;
    bool ending;                /* read until the end, it is there */
    unsigned generation;        /* counts closes: see vnet-sock-control.c */
} VnetSockControl;

typedef struct VnetSockFrame {
    VnetPoll poll;
    bool connecting;
    bool want_ready;            /* said BUSY, or is new: owes frames_ready() */
    bool ending;
    VnetPreamble preamble;      /* while connecting */
    int error;                  /* why it could not be made, to be reported */
    uint8_t *in;
    size_t in_off, in_len;      /* bytes from in_off on */
    uint8_t *out;
    size_t out_off, out_len;    /* bytes from out_off on */
    VnetAtEnd flush;
    int64_t deadline;           /* while connecting */
    unsigned generation;        /* counts closes */
    int queued;                 /* with the kernel, when it was asked last */
} VnetSockFrame;

/* A data connection, for who looks whether what it sent arrives. */
typedef struct VnetSockSent {
    int fd;                     /* -1: on no list */
    int64_t silent_ns;          /* since when it was found so, 0: it was not */
    QTAILQ_ENTRY(VnetSockSent) next;
} VnetSockSent;

struct VnetSockLink {
    VnetLoop *loop;
    VnetLink *l;
    char *id;
    SocketAddress *addr;
    bool server;
    bool plain;
    bool is_unix;
    int64_t setup_timeout_ns;
    uint32_t buffer_size;
    QCryptoTLSCreds *creds;     /* NULL: no TLS, and nothing of what follows */
    char *hostname;
    char *authz;                /* server, NULL: no check */
    GHashTable *sessions;       /* descriptor -> VnetTls */
    char *identity;             /* of the peer, NULL: it has none */
    char *refused;
    VnetSockStage stage;
    VnetSockStats stats;
    unsigned connections;

    /* client */
    VnetSockLookup *lookup;
    VnetSockAddrs addrs;        /* what the last lookup gave */
    unsigned addr_next;         /* to try next; the one before it is tried */
    VnetPoll dial;              /* the control connection, while connecting */
    int64_t dial_deadline;
    char *dial_error;           /* of the address tried last */

    /* server */
    VnetPoll listen;
    int spare_fd;               /* given up to accept and close one more */
    bool paused;                /* not accepting until `timer` */
    VnetSockGuests setup;       /* said nothing yet, oldest first */
    unsigned nsetup;
    VnetSockGuests early;       /* oldest first */
    unsigned nearly;

    /* registrar */
    VnetSockRegistry registry;  /* find NULL: it is none */
    GPtrArray *registered;      /* of VnetSockLink: not its own */
    /* server, whose connections a registrar accepts */
    VnetSockLink *registrar;
    int64_t forget_ns;

    VnetLoopTimer timer;            /* next attempt, accepting again, or the
                                     * peer is not expected any more */
    VnetLoopTimer deadlines;        /* of setup, early, dialing, the dial */

    VnetSockControl control;
    VnetSockFrame frame;
    GHashTable *cids;           /* stream id -> VnetCid */
    QTAILQ_HEAD(, VnetCid) dialing; /* oldest first */
    QTAILQ_HEAD(, VnetCid) to_dial; /* at the end of the dispatch, or later */
    VnetAtEnd dial_cids;
    VnetLoopTimer put_off;          /* until to_dial is tried again */
    QTAILQ_HEAD(, VnetSockSent) sent; /* whose peer's TCP may owe an answer */
    VnetLoopTimer alive;            /* until they are looked at */
};

/* --- vnet-link-sock.c ------------------------------------------------- */

/* Sets the options of a connection. data: it will carry a stream. */
void vnet_sock_tune(VnetSockLink *k, int fd, bool data);
/*
 * Begins to connect to the address of the control connection.  Returns a
 * descriptor, counted, or -errno; *done tells whether it is connected.
 */
int vnet_sock_dial(VnetSockLink *k, bool data, bool *done);
/* Sets the timer of all deadlines anew, after one was added. */
void vnet_sock_arm_deadlines(VnetSockLink *k);
/* After the frame connection, which is not a CID, was lost. */
void G_GNUC_PRINTF(2, 3) vnet_sock_lost(VnetSockLink *k, const char *fmt, ...);

/* --- vnet-sock-io.c --------------------------------------------------- */

/*
 * Client, for a connection being made, after an event of its descriptor.  1: it
 * is made.  0: another event has to come.  -errno and *errp: it cannot be.
 */
int vnet_sock_made(VnetSockLink *k, VnetPoll *p, Error **errp);
/* Server: begins TLS on a connection. False and *errp. */
bool vnet_sock_begin(VnetSockLink *k, int fd, Error **errp);
/*
 * Goes on with TLS, until it has said 1: bytes flow.  0: another event has to
 * come; -1 and *errp: refused.  1 without TLS.
 */
int vnet_sock_handshake(VnetSockLink *k, int fd, Error **errp);
/* After the part that read a connection's first bytes has handed it on: what it
 * took from the socket with them is no event any more. */
void vnet_sock_look(VnetSockLink *k, VnetPoll *p);
/* A connection of one link is from now on another's, of the same kind. */
void vnet_sock_move(VnetSockLink *from, VnetSockLink *to, int fd);
/* The distinguished name of the peer; NULL: it has none. */
const char *vnet_sock_identity(VnetSockLink *k, int fd);
/* Notes that the link's peer is who is at the end of fd. */
void vnet_sock_identify(VnetSockLink *k, int fd);
/* As sendmsg() and recvmsg(), see vnet-tls.h. */
ssize_t vnet_sock_send(VnetSockLink *k, int fd, const struct iovec *iov,
                       unsigned n);
ssize_t vnet_sock_send_buf(VnetSockLink *k, int fd, const void *buf,
                           size_t len);
ssize_t vnet_sock_recv(VnetSockLink *k, int fd, const struct iovec *iov,
                       unsigned n);
ssize_t vnet_sock_recv_buf(VnetSockLink *k, int fd, void *buf, size_t len);
/* Whether bytes that were counted as sent wait for vnet_sock_flush(). */
bool vnet_sock_pending(VnetSockLink *k, int fd);
/* 0: none do; EAGAIN: after the next EPOLLOUT; else what ended it. */
int vnet_sock_flush(VnetSockLink *k, int fd);
/* Nothing more is sent, after what was. */
void vnet_sock_shutdown(VnetSockLink *k, int fd);
/* Closes a connection that was counted. abort: a tcp peer gets a reset. */
void vnet_sock_close_fd(VnetSockLink *k, int fd, bool abort);
/* The errno of a connection that could not be made or has failed; 0: none. */
int vnet_sock_error(int fd);
/* Sends the first bytes of a connection just made. False and errno. */
bool vnet_sock_send_preamble(VnetSockLink *k, int fd, const VnetPreamble *p);

/* --- vnet-sock-alive.c ------------------------------------------------ */

/* For a TCP connection that is being made. data: it will carry a stream. */
void vnet_sock_alive_tune(VnetSockLink *k, int fd, bool data);
/* A data connection was given bytes to send. */
void vnet_sock_alive_sent(VnetSockLink *k, VnetSockSent *sent, int fd);
/* Before its descriptor is closed. */
void vnet_sock_alive_forget(VnetSockLink *k, VnetSockSent *sent);
/* Looks at all; the timer's function. */
void vnet_sock_alive_look(VnetLoopTimer *t);

/* --- vnet-sock-authz.c ------------------------------------------------ */

/* A question that the main loop answers. */
typedef struct VnetSockAsk VnetSockAsk;
/*
 * Asks whether the authz object lets the identity in.  done() is called in the
 * loop's thread, err is NULL or why not, not later than vnet_sock_ask_cancel().
 * NULL and errno: no descriptor left.
 */
VnetSockAsk *vnet_sock_ask(VnetLoop *loop, const char *authz,
                           const char *identity,
                           void (*done)(void *opaque, const char *err),
                           void *opaque);
void vnet_sock_ask_cancel(VnetSockAsk *a);

/* --- vnet-sock-register.c --------------------------------------------- */

/* Before and after the life of a link; nothing for other links. */
void vnet_sock_register_init(VnetSockLink *k, const VnetSockConfig *cfg);
void vnet_sock_register_free(VnetSockLink *k);
/* Whether k is a registrar. */
bool vnet_sock_is_registrar(const VnetSockLink *k);
/*
 * Registrar: gives a control connection, whose preamble is *p, to the link of
 * the peer that introduces itself by a hello, len bytes.  Takes fd over.
 */
void vnet_sock_register(VnetSockLink *k, int fd, const VnetPreamble *p,
                        const uint8_t *hello, size_t len);
/*
 * Registrar: gives a frame or data connection to the link that it belongs to.
 * NULL: to none, and fd is closed.
 */
VnetSockLink *vnet_sock_registered(VnetSockLink *k, int fd,
                                   const VnetPreamble *p);
/* Server whose control connection is gone: when to stop expecting the peer. */
void vnet_sock_expect_peer(VnetSockLink *k);

/* --- vnet-sock-addr.c ------------------------------------------------- */

bool vnet_sock_addr_check(const VnetSockConfig *cfg, Error **errp);
/* A numeric or unix address, at once. False: a name, needs a lookup. */
bool vnet_sock_addr_now(const SocketAddress *addr, VnetSockAddrs *out,
                        Error **errp);
/*
 * Looks a name up in a thread of its own; done() is called in the loop's
 * thread, err is NULL or a text, not later than vnet_sock_lookup_cancel().
 */
VnetSockLookup *vnet_sock_lookup_start(VnetLoop *loop,
                                       const SocketAddress *addr,
                                       void (*done)(void *opaque,
                                                    const VnetSockAddrs *addrs,
                                                    const char *err),
                                       void *opaque);
void vnet_sock_lookup_cancel(VnetSockLookup *lk);
bool vnet_sock_addr_is_loopback(const struct sockaddr *sa);
/* For messages; g_free() it. */
char *vnet_sock_addr_str(const struct sockaddr_storage *ss, socklen_t len);

/* --- vnet-sock-accept.c ----------------------------------------------- */

void vnet_sock_accept_ready(VnetPoll *p, uint32_t events);
/* A control connection for this link; takes fd over. */
void vnet_sock_admit_control(VnetSockLink *k, int fd, const VnetPreamble *p);
/* Notes who was refused, for people. */
void vnet_sock_note_refusal(VnetSockLink *k, int fd, const char *why);
/* Says good-bye, the message bye, and closes. */
void vnet_sock_refuse(VnetSockLink *k, int fd, const uint8_t *bye, size_t len);
/* Closes what waits; only_early: those alone that belong to a peer. */
void vnet_sock_guests_clear(VnetSockLink *k, bool only_early);
/* The early connection of a stream, or -1. It is not watched any more. */
int vnet_sock_early_take(VnetSockLink *k, uint32_t stream_id);
/* Closes those whose time is over; returns the next deadline. */
int64_t vnet_sock_guests_expire(VnetSockLink *k, int64_t now);

/* --- vnet-sock-control.c ---------------------------------------------- */

void vnet_sock_control_init(VnetSockLink *k);
void vnet_sock_control_free(VnetSockLink *k);
/* Takes a connection over. Returns 0 or -errno (then fd stays the caller's). */
int vnet_sock_control_adopt(VnetSockLink *k, int fd);
bool vnet_sock_control_put(VnetSockLink *k, const void *buf, size_t len);
/* Sends what waits, as far as it can be sent now. */
void vnet_sock_control_flush(VnetSockLink *k);
/* Handles what has arrived. */
void vnet_sock_control_read(VnetSockLink *k);
/* Sends what can be sent at once, then closes. */
void vnet_sock_control_close(VnetSockLink *k);

/* --- vnet-sock-frame.c ------------------------------------------------ */

void vnet_sock_frame_init(VnetSockLink *k);
void vnet_sock_frame_free(VnetSockLink *k);
void vnet_sock_frame_open(VnetSockLink *k, const VnetPreamble *p);
int vnet_sock_frame_adopt(VnetSockLink *k, int fd);
VnetFrameResult vnet_sock_frame_send(VnetSockLink *k, const VnetWireFrame *f,
                                     const struct iovec *iov, unsigned niov);
/* Whether the kernel has sent some of it since the last call. */
bool vnet_sock_frame_moves(VnetSockLink *k);
void vnet_sock_frame_close(VnetSockLink *k);
int64_t vnet_sock_frame_expire(VnetSockLink *k, int64_t now);

/* --- vnet-sock-cid.c -------------------------------------------------- */

VnetCid *vnet_sock_cid_open(void *transport, VnetStream *s,
                            const VnetPreamble *p);
void vnet_sock_cid_tx(VnetCid *c);
void vnet_sock_cid_rx(VnetCid *c);
void vnet_sock_cid_tx_end(VnetCid *c);
void vnet_sock_cid_close(VnetCid *c, bool abort);
/*
 * Server: the connection of a stream has come. Takes fd over, closes it if it
 * cannot be used.
 */
void vnet_sock_cid_attach(VnetCid *c, int fd);
/* Nobody is there: fails it, not from in here. */
void vnet_sock_cid_silent(VnetSockSent *sent);
void vnet_sock_cids_dial(VnetAtEnd *e);
void vnet_sock_cids_put_off(VnetLoopTimer *t);
/* Fails those whose time is over; returns the next deadline. */
int64_t vnet_sock_cids_expire(VnetSockLink *k, int64_t now);

#endif /* VNET_SOCK_H */
