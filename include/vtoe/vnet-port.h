/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a NIC and the VNET overlay show each other.
 *
 * A NIC joins the overlay's switch as a port.  Through the port it sends and
 * receives frames, and opens and accepts streams.  Neither side sees how the
 * other stores anything: the device knows guest memory and rings, the overlay
 * knows links and offsets.
 *
 * Threads: every function and every callback here runs in the VNET thread (the
 * thread of the VnetCore's AioContext).  No locks.
 * Re-entrancy: a callback may call any function here; `disconnected`/`failed`
 * are the last callbacks of a stream.  vnet_stream_connect/_bind/_accept never
 * call back before they return.  vnet_stream_tx_ready/_rx_ready may call
 * tx_peek, rx_get, rx_done and rx_return of that stream before they return,
 * but not when they were called from inside a callback; they never call a
 * terminal callback.  vnet_stream_abort calls rx_return only.
 *
 * Stream offsets are 64-bit byte counts from the start of the stream, one
 * space per direction (docs/specs/vnet-wire.rst).
 */
#ifndef VTOE_VNET_PORT_H
#define VTOE_VNET_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "vtoe/vtoe-abi.h"      /* enum vtoe_reason, enum vtoe_event_type */

typedef struct VnetCore VnetCore;       /* one overlay: networks, links, streams */
typedef struct VnetNet VnetNet;         /* one network id of it, with its switch */
typedef struct VnetPort VnetPort;
typedef struct VnetStream VnetStream;

/* Host-order copy of the addresses of a stream; l is this guest, r the peer. */
typedef struct VnetFlow {
    uint8_t family;             /* 4 or 6 */
    uint16_t lport, rport;
    uint8_t lmac[6], rmac[6];
    uint8_t laddr[16], raddr[16];   /* IPv4 in the first four bytes, rest 0 */
} VnetFlow;

/* Metadata of a frame, host order; the meanings are virtio-net's. */
typedef struct VnetFrameHdr {
    uint8_t flags;              /* VTOE_NET_HDR_F_* */
    uint8_t gso_type;           /* VTOE_NET_HDR_GSO_* */
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
} VnetFrameHdr;

/* What became of a frame. */
typedef enum VnetFrameResult {
    VNET_FRAME_OK,
    VNET_FRAME_BUSY,    /* taken by none: offer it again after tx_ready() */
    VNET_FRAME_DROPPED, /* dropped and counted by whoever dropped it */
} VnetFrameResult;

/* --- What a NIC implements ------------------------------------------------ */

typedef struct VnetPortOps {
    /*
     * A frame for this NIC.  The memory is the caller's and ends with the call.
     * Returns OK or DROPPED (no buffer, too large, not ready); the NIC counts
     * its drops by reason.  Never BUSY: the switch must not wait for a port.
     */
    VnetFrameResult (*frame)(void *opaque, const VnetFrameHdr *hdr,
                             const struct iovec *iov, unsigned niov,
                             size_t len);
    /* After BUSY: the NIC may send frames again. */
    void (*tx_ready)(void *opaque);
    /* The port's carrier: some link is up whose peer has the network id.  Called
     * once at attach, too. */
    void (*link_state)(void *opaque, bool up);
    /*
     * A peer asks for a stream to this NIC.  Returns VTOE_REASON_NONE if it
     * was put before the guest (then vnet_stream_accept() or _reject()
     * follows, or `disconnected` if the peer gives up), else the reason to
     * refuse with.  A NIC that returns NONE has called vnet_stream_bind()
     * before, so that `disconnected` can reach it.  NULL: this NIC takes no
     * streams.
     */
    enum vtoe_reason (*connect_request)(void *opaque, VnetStream *s,
                                        const VnetFlow *flow);
    /* A MAC was learnt to take, or no longer take, streams; NULL mac: all may
     * have changed. May be NULL. */
    void (*peer_capability)(void *opaque, const uint8_t mac[6], bool streams);
    /* End of a batch of callbacks: publish completions, raise interrupts.
     * Called once after every dispatch in which this port was called. */
    void (*batch_end)(void *opaque);
} VnetPortOps;

/* A piece of guest memory lent for receiving. */
typedef struct VnetRxBuf {
    struct iovec iov;
    void *priv;                 /* the device's */
} VnetRxBuf;

typedef struct VnetStreamOps {
    /* Active side: the peer's guest accepted. Passive side: data may flow. */
    void (*established)(void *user);
    /*
     * Active side, instead of established: event is one of
     * VTOE_EVENT_ADDRESS_ERROR, _UNREACHABLE, _CONNECT_REJECTED, _ROUTE_ERROR,
     * _CONNECT_ERROR.  The last callback; s is gone afterwards.
     */
    void (*failed)(void *user, enum vtoe_event_type event,
                   enum vtoe_reason reason);
    /*
     * Bytes to send from stream offset `offset` on (>= what was acknowledged):
     * fills up to *niov pieces and at most max bytes, returns the bytes and
     * sets *niov.  The pieces stay valid until acked() passes them or the
     * stream is gone.  0: nothing now, vnet_stream_tx_ready() will follow.
     */
    size_t (*tx_peek)(void *user, uint64_t offset, struct iovec *iov,
                      unsigned *niov, size_t max);
    /* All bytes below offset are placed in the peer's guest memory. */
    void (*acked)(void *user, uint64_t offset);
    /*
     * Lends up to n buffers, within the guest's credit and at most max bytes
     * (the last one is shortened); none is longer than 1 MiB
     * (VTOE_REG_MAX_SEGMENT).  Each is later either completed by
     * rx_done() or handed back by rx_return(), in the order lent.  0: none
     * now; vnet_stream_rx_ready() will follow.
     */
    unsigned (*rx_get)(void *user, VnetRxBuf *bufs, unsigned n, size_t max);
    /*
     * How many buffers the NIC can spare for a stream ahead of any data: until
     * some comes they are lent, and no other stream can have them.  So it is
     * what no other stream could use anyway, and of what all share as much as
     * leaves enough for those that do receive.  Asked by links that have to
     * post receives before the peer may send (rdma), whenever something came;
     * rx_get may be called whatever it says, for bytes that the peer has ready.
     * NULL: 0.
     */
    unsigned (*rx_spare)(void *user);
    /* The first len bytes (1..iov_len) of the oldest lent buffer are filled;
     * they follow the bytes of the previous rx_done(). */
    void (*rx_done)(void *user, VnetRxBuf *buf, size_t len);
    /* The n youngest lent buffers come back unused. */
    void (*rx_return)(void *user, VnetRxBuf *bufs, unsigned n);
    /* End of stream behind the last rx_done(). Once. */
    void (*rx_end)(void *user);
    /*
     * The stream is over: VTOE_REASON_NONE after both ends finished, else it
     * was reset for that reason.  The last callback; s is gone afterwards and
     * no lent buffer is outstanding.
     */
    void (*disconnected)(void *user, enum vtoe_reason reason);
} VnetStreamOps;

/* --- What the overlay offers ---------------------------------------------- */

/*
 * Joins a NIC with the given MAC to the switch of a network id.  It is announced
 * to peers that have the id, as able to take streams if it has
 * ops->connect_request.
 */
VnetPort *vnet_port_attach(VnetNet *net, const char *id,
                           const uint8_t mac[6], const VnetPortOps *ops,
                           void *opaque);
/* Leaves the switch; streams of the port end (disconnected is called for each
 * with VTOE_REASON_DEVICE_RESET and the peers are told). */
void vnet_port_detach(VnetPort *port);
/* MAC in use, ability to take streams; both are told to the peers. */
void vnet_port_set_mac(VnetPort *port, const uint8_t mac[6]);
void vnet_port_set_streams(VnetPort *port, bool streams);
/* Resets every stream of the port, as at detach, with the given reason. */
void vnet_port_reset_streams(VnetPort *port, enum vtoe_reason reason);

/* Sends a frame (Ethernet header at the start of iov).  Nothing keeps the
 * memory after the return. */
VnetFrameResult vnet_port_send(VnetPort *port, const VnetFrameHdr *hdr,
                               const struct iovec *iov, unsigned niov,
                               size_t len);

/*
 * Opens a stream to flow->rmac.  Always returns a stream; a failure, even one
 * known at once, is reported by `failed` from the thread's event loop.
 */
VnetStream *vnet_stream_connect(VnetPort *port, const VnetFlow *flow,
                                const VnetStreamOps *ops, void *user);
/* From connect_request: where `disconnected` goes until the answer. */
void vnet_stream_bind(VnetStream *s, const VnetStreamOps *ops, void *user);
/* The guest's name of the stream, for queries only (0: none). */
void vnet_stream_set_sid(VnetStream *s, uint32_t sid);
/* Answers connect_request. After _reject s is gone, without a callback. */
void vnet_stream_accept(VnetStream *s, const VnetStreamOps *ops, void *user);
void vnet_stream_reject(VnetStream *s, enum vtoe_reason reason);
/* More bytes can be had from tx_peek / more buffers or credit from rx_get. */
void vnet_stream_tx_ready(VnetStream *s);
void vnet_stream_rx_ready(VnetStream *s);
/* The stream's sending direction ends at this offset (>= all sent). Once. */
void vnet_stream_shutdown(VnetStream *s, uint64_t end_offset);
/*
 * The guest receives no more: bytes that still arrive reset the stream with
 * VTOE_REASON_UNREAD.  vnet_stream_shutdown() is called beside it.
 */
void vnet_stream_rx_close(VnetStream *s);
/*
 * Resets the stream, tells the peer the reason.  No callback follows and all
 * lent buffers have been handed back by rx_return() when it returns.
 */
void vnet_stream_abort(VnetStream *s, enum vtoe_reason reason);

typedef struct VnetStreamInfo {
    const char *port_id;
    uint32_t sid;               /* vnet_stream_set_sid(); 0: none */
    uint32_t cid;               /* stream id on the link; 0: none yet */
    bool active;                /* this side asked for it */
    const char *link_id;        /* "" before one is chosen */
    const char *state;
    VnetFlow flow;
    uint64_t tx_sent, tx_acked, rx_received, rx_acked;
    uint32_t tx_grants;         /* receives of the peer to send into; 0 where
                                 * the link needs none */
    uint32_t rx_lent;           /* buffers of the NIC that the link holds */
} VnetStreamInfo;
void vnet_stream_get_info(const VnetStream *s, VnetStreamInfo *info);

#endif /* VTOE_VNET_PORT_H */
