/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between the overlay's behaviour (switch, peer protocol, stream
 * machine) and a link's transport (tcp, unix, rdma).
 *
 * Behaviour decides, a transport moves bytes.  A transport knows no stream
 * states; behaviour knows no file descriptors.  Everything runs in the VNET
 * thread.
 *
 * The life of a link, seen from here:
 *   vnet_link_new -> [vnet_link_up -> control bytes ... -> vnet_link_down]*
 *   -> vnet_link_free
 * where _up means: the control connection exists, its preamble is done.
 * The peer protocol (vnet-peer.c) then says hello, and asks the transport for
 * the frame connection and, per stream, for a CID.
 *
 * What both may rely on:
 * - Every end of a control connection, and every failed attempt to make one,
 *   goes through ops->close(), whoever noticed it: a transport that lost it
 *   calls vnet_link_down(), which calls cid_close() for each stream and then
 *   close() with the time to wait.  After close() nothing of that connection
 *   is reported any more.  The loss of the frame connection is a loss of the
 *   link.
 * - close() and cid_close() may be called from inside any vnet_* call a
 *   transport makes (a NIC may abort its stream in a callback): after such a
 *   call a transport looks again before it touches the connection or CID.
 *   A VnetStream stays valid memory until the next vnet_core_run_deferred();
 *   pulls from one that is over return 0.
 * - ops->cid_tx and ops->cid_rx are never called from inside a vnet_stream_*
 *   or vnet_cid_* call of the transport.
 * - Before the frame connection exists ops->frame() says BUSY, and
 *   vnet_link_frames_ready() follows when it does.
 *
 * Two kinds of transport carry streams:
 * - Byte transports (tcp, unix; max_msg 0) have flow control of their own: what
 *   is sent waits in the connection until the peer reads it.  The receiver
 *   acknowledges by messages (ACK).
 * - Message transports (rdma; max_msg > 0) place each message into a receive
 *   that was posted before it was sent, and have nothing to fall back on if
 *   there is none.  So the machine keeps account of the receives (CREDIT, WANT;
 *   docs/specs/vnet-wire.rst, "Receives and credits"): pull_tx gives a message
 *   only if the peer told of a receive for it, pull_rx gives buffers only to be
 *   posted.  A completed send is the acknowledgement.
 */
#ifndef VNET_LINK_H
#define VNET_LINK_H

#include "vnet-limit.h"
#include "vnet-net.h"
#include "vnet-wire.h"

typedef struct VnetLink VnetLink;
typedef struct VnetCid VnetCid;     /* a host connection carrying one stream */

/* What behaviour may ask of the host. */
typedef struct VnetHostOps {
    int64_t (*now_ns)(void *opaque);        /* monotonic */
    /* Calls vnet_core_tick() at or after the given time; the latest call
     * replaces earlier ones. INT64_MAX: never. */
    void (*arm_timer)(void *opaque, int64_t when_ns);
    /* Calls vnet_core_run_deferred() soon, from the event loop; idempotent. */
    void (*defer)(void *opaque);
    uint64_t (*random64)(void *opaque);     /* unguessable */
    /* State changes for QMP events and traces; msg is for people. */
    void (*link_event)(void *opaque, VnetLink *l, const char *state,
                       const char *msg);
    void (*stream_event)(void *opaque, VnetStream *s, const char *state,
                         enum vtoe_reason reason);
    /*
     * A limit was reached, in this network, of this port and this link (NULL: of
     * none), and `suppressed` times before that were not told; at most one call
     * per second, network and limit.  False: it cannot be told now, and counts as suppressed.  Must
     * not call the overlay, but for what shows something.
     */
    bool (*limit_event)(void *opaque, VnetNet *net, VnetCoreLimit limit,
                        const VnetPort *port, const VnetLink *l,
                        uint64_t suppressed);
} VnetHostOps;

/* What a transport implements. */
typedef struct VnetTransportOps {
    const char *type;                       /* "tcp", "unix", "rdma", "vxlan" */
    /* Message transports: the longest message, and receive, in bytes; at most
     * VNET_CREDIT_LENGTH_MAX. 0: a byte transport. */
    uint32_t max_msg;
    /* Message transports: receives that one CID can have posted, 1 to
     * VNET_CREDIT_MAX.  The machine never lends it more. */
    uint32_t max_posted;
    /*
     * The client end opens the control connection itself and reports it by
     * vnet_link_up(); behaviour asks for closing with a reason, and says how
     * long to wait before the transport tries or accepts again (ns;
     * INT64_MAX: the link is being freed).  What control() was given before
     * (a BYE) is sent if it can be at once.
     */
    void (*close)(void *transport, int64_t retry_after_ns);
    /* Who the peer is, as it has proven to the transport; valid until the next
     * call.  NULL, also as the operation: it has not. */
    const char *(*identity)(void *transport);
    /* NULL: there is none, see vnet_link_up_plain().
     * Appends to the control connection; sent at the latest at the end of the
     * current dispatch.  Returns false if more than the transport's bound is
     * queued (the peer does not read): behaviour then closes the link. */
    bool (*control)(void *transport, const void *buf, size_t len);
    /* Client end only: open the frame connection now. */
    void (*open_frames)(void *transport, const VnetPreamble *p);
    VnetFrameResult (*frame)(void *transport, const VnetWireFrame *f,
                             const struct iovec *iov, unsigned niov);
    /* Whether something of what frame() has taken has gone since the last call; may
     * be NULL: vnet_link_frames_moved() says all. */
    bool (*frames_move)(void *transport);
    /*
     * Makes the CID of a stream.  Client end: connects, sends the preamble.
     * Server end: waits for the connection that carries p->stream_id.  Reports
     * by vnet_cid_up() or vnet_cid_down(), never from inside this call.
     * NULL: a host limit forbids it.
     */
    VnetCid *(*cid_open)(void *transport, VnetStream *s,
                         const VnetPreamble *p);
    /*
     * There are bytes to send / there is room to receive: the transport pulls
     * with vnet_stream_pull_* below until it would block or there is no more,
     * then waits for readiness itself.  Never called before vnet_cid_up().
     *
     * Message transports, cid_tx: one pull_tx is one message, which is posted
     * and told by vnet_stream_tx_sent() with all that was pulled; until there
     * is no more or the send queue is full.  Then a completed send makes the
     * transport go on by itself.
     * Message transports, cid_rx: each buffer of pull_rx is one receive; they
     * are posted in that order and told by vnet_stream_rx_posted(), until there
     * is no more.  The machine calls cid_rx again whenever it has some; the
     * transport need not pull by itself.
     */
    void (*cid_tx)(VnetCid *c);
    void (*cid_rx)(VnetCid *c);
    /* Nothing more will be sent; everything pulled before goes out first.
     * Message transports have nothing to do on the wire. */
    void (*cid_tx_end)(VnetCid *c);
    /*
     * Message transports; NULL of others.  There a byte counts as acknowledged
     * when its receive was filled, which this end may not have been told yet.
     * cid_stop: nothing is sent or received from now on.  cid_settle: that, and
     * takes in what was received before, by vnet_stream_rx_filled().  False: it
     * cannot be told what was, so that the stream cannot be resumed.  Called
     * before a cid_close(), and not from inside a vnet_stream_* call.
     */
    void (*cid_stop)(VnetCid *c);
    bool (*cid_settle)(VnetCid *c);
    /* Frees the CID. All lent buffers go back first, by
     * vnet_stream_rx_unused(), and are not written to any more. abort: drop
     * what is queued. No callback afterwards. */
    void (*cid_close)(VnetCid *c, bool abort);
} VnetTransportOps;

/* --- What a transport calls ---------------------------------------------- */

VnetLink *vnet_link_new(VnetCore *core, const char *id, bool server,
                        const VnetTransportOps *ops, void *transport);
/* Says BYE, ends the streams, calls close() if a connection is there. Not from
 * inside a callback of the overlay. */
void vnet_link_free(VnetLink *l);
/* See VnetEnd; off at first. */
void vnet_link_set_split_horizon(VnetLink *l, bool on);
/* The only addresses that the peer may announce, send frames from and open
 * streams from, see vnet_mac_set_new(); any at first.  Once, before it is up. */
void vnet_link_set_peer_macs(VnetLink *l, const uint8_t (*macs)[6],
                             unsigned n);
/* The only network ids, 1 to VNET_NETS_MAX, that the peer may be in: this end has
 * no others for it.  Any at first.  Once, before it is up. */
void vnet_link_set_peer_nets(VnetLink *l, const uint32_t *vnis, unsigned n);
/* Longest pause between two attempts (client); default 5 s. */
void vnet_link_set_reconnect(VnetLink *l, uint32_t max_ms);
/* Control connection established; client: its preamble is sent (p may be
 * NULL), server: it was received and is *p. Returns false if the peer is
 * refused: the caller sends what vnet_link_refusal() gives, if it can at once,
 * and closes.  A server may call it while another control connection is up:
 * if the new one replaces it (same peer), close() is called for the old one
 * before true is returned.  What control() is given after that, still inside
 * this call, is for the new one. */
bool vnet_link_up(VnetLink *l, const VnetPreamble *p);
/* A link to a peer that does not speak the protocol: frames can pass, whole and
 * with offloads, which are the transport's to finish.  No streams; the transport
 * has no control(), open_frames() nor cid_*(). */
void vnet_link_up_plain(VnetLink *l);
/* The BYE for a connection that was just refused. Returns its length. */
size_t vnet_link_refusal(VnetLink *l, uint8_t out[VNET_MSG_MAX]);
/* The control or frame connection was lost, or could not be made. */
void vnet_link_down(VnetLink *l, const char *why);
/* Bytes of the control connection. Returns how many were used (a partial
 * message stays with the caller), or -1: the link was closed. */
ssize_t vnet_link_control(VnetLink *l, const uint8_t *buf, size_t len);
/* Preamble of the client's control connection; and server: whether a frame or
 * data preamble belongs to this link's peer (false: close it).  For data, *s
 * is the stream, whose cid_open() was called before; or NULL: the connection
 * overtook its OPEN, keep it for cid_open() with this stream id, up to
 * VNET_PENDING_NS and VNET_PENDING_MAX of them per link, then close it. */
#define VNET_PENDING_NS     5000000000ll
#define VNET_PENDING_MAX    256
void vnet_link_preamble(VnetLink *l, VnetPreamble *p);
/* Server: whether a frame or data preamble names this link's peer and token. */
bool vnet_link_is_meant(const VnetLink *l, const VnetPreamble *p);
/* Server, from close() on: whether the peer may come again.  Not if it said
 * good-bye, nor if it was never more than refused. */
bool vnet_link_expects_peer(const VnetLink *l);
/* While it is up: whether its peer is another than when it was up before, or has
 * started anew since. */
bool vnet_link_peer_changed(const VnetLink *l);
bool vnet_link_admits(VnetLink *l, const VnetPreamble *p, VnetStream **s);
/* The frame connection can be written again (after BUSY). */
void vnet_link_frames_ready(VnetLink *l);
/* Some of what waits before has gone: the peer reads frames. */
void vnet_link_frames_moved(VnetLink *l);
/* A whole frame arrived. */
void vnet_link_frame(VnetLink *l, const VnetWireFrame *f,
                     const struct iovec *iov, unsigned niov);
/* The same of one that this end has made in the name of its source, which may be
 * elsewhere: nothing is learnt from it. */
void vnet_link_answer(VnetLink *l, const VnetWireFrame *f,
                      const struct iovec *iov, unsigned niov);
/* Something of the link was refused because of this limit, and counted. */
void vnet_link_limit(VnetLink *l, VnetCoreLimit limit);
/* Malformed input on a frame or data connection: the link closes. */
void vnet_link_violation(VnetLink *l, VnetWireError e, const char *what);

void vnet_cid_up(VnetStream *s);
/* err 0: the peer's direction ended cleanly, nothing more will be received,
 * sending goes on; not on message transports, which have no such thing. Else
 * (errno) the connection failed or was lost; cid_close() has been called when
 * it returns.  Message transports report completions that they have first. */
void vnet_cid_down(VnetStream *s, int err);
/* Pulling: bytes not sent yet; `sent` says how many the transport took (message
 * transports: all of the message, or the call is not made). */
size_t vnet_stream_pull_tx(VnetStream *s, struct iovec *iov, unsigned *niov,
                           size_t max);
void vnet_stream_tx_sent(VnetStream *s, size_t n);
/* Message transports: n further bytes, of one or several messages, are in the
 * memory of the peer's guest. */
void vnet_stream_tx_done(VnetStream *s, size_t n);
/* Buffers to receive into, at most n and max bytes; message transports: at most
 * max bytes each. */
unsigned vnet_stream_pull_rx(VnetStream *s, VnetRxBuf *bufs, unsigned n,
                             size_t max);
/* Message transports: the n buffers, the next of those pulled, are posted; the
 * peer is told at the end of the dispatch. */
void vnet_stream_rx_posted(VnetStream *s, const VnetRxBuf *bufs, unsigned n);
/* Message transports: in the order posted; len 0 is a vnet_link_violation() by
 * the transport. */
void vnet_stream_rx_filled(VnetStream *s, VnetRxBuf *buf, size_t len);
/* The n youngest buffers go back.  Message transports: those that could not be
 * posted, or, from cid_close(), all that are left. */
void vnet_stream_rx_unused(VnetStream *s, VnetRxBuf *bufs, unsigned n);

/* --- The core, made and driven by the shell ------------------------------ */

typedef struct VnetCoreConfig {
    const char *name;           /* told to peers */
    VnetNetConfig net;          /* the network that it is made with */
    uint32_t max_streams;       /* per core */
    uint32_t heartbeat_ms;
    uint32_t max_macs;          /* learnt addresses */
    uint32_t mac_age_s;
    uint32_t resume_ms;         /* streams wait so long for a link; 0: they
                                 * are reset when theirs is lost */
} VnetCoreConfig;
VnetCore *vnet_core_new(const VnetCoreConfig *cfg, const VnetHostOps *ops,
                        void *opaque);
/* No port, no link and no network is left but the one that it was made with. */
void vnet_core_free(VnetCore *core);
/* That of the configuration, within VNET_HEARTBEAT_MIN_MS and _MAX_MS. */
uint32_t vnet_core_heartbeat_ms(const VnetCore *core);
void vnet_core_tick(VnetCore *core);
/* Runs deferred work and batch_end of every port that was called. The shell
 * calls it at the end of every dispatch. */
void vnet_core_run_deferred(VnetCore *core);

#endif /* VNET_LINK_H */
