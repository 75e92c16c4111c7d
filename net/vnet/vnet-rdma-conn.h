/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the rdma transport show each other:
 *   vnet-rdma.c        the link: attempts, listener, who is admitted
 *   vnet-rdma-cm.c     what each event of the connection manager means
 *   vnet-rdma-conn.c   a connection: made, ended, devices, completions
 *   vnet-rdma-async.c  what adapters say by themselves
 *   vnet-rdma-chan.c   messages with credits: control and frame connection
 *   vnet-rdma-msg.c    what control and frame connection carry
 *   vnet-rdma-cid.c    a stream's connection
 */
#ifndef VNET_RDMA_CONN_H
#define VNET_RDMA_CONN_H

#include <glib.h>
#include "vnet-query.h"
#include "vnet-rdma.h"

/* --- Limits and times (docs/specs/vnet-wire.rst, "RDMA") ----------------- */
#define VNET_RDMA_MS            1000000ll   /* in ns */
/* Receives of the message channels, and the bytes of each; the wire's. */
#define VNET_RDMA_CONTROL_N     64
#define VNET_RDMA_CONTROL_SIZE  4096
#define VNET_RDMA_FRAME_N       16
#define VNET_RDMA_FRAME_SIZE    (66 * 1024)
/* Work requests of a data connection. */
#define VNET_RDMA_DATA_RX       128
#define VNET_RDMA_DATA_TX       64
#define VNET_RDMA_DATA_SGE      16
#define VNET_RDMA_DATA_MSG      (1024 * 1024)
/* A completion for every so many messages of a burst. */
#define VNET_RDMA_DATA_SIGNAL   16
/* Wanted; a device may have less. */
#define VNET_RDMA_INLINE        128
/* Bytes of control messages that may wait for the peer. */
#define VNET_RDMA_CONTROL_MAX   (1024 * 1024)
/* Requests that wait for a device; for early ones see VNET_PENDING_MAX. */
#define VNET_RDMA_SETUP_MAX     256
/* Connections whose farewell is awaited. */
#define VNET_RDMA_LINGER_MAX    1024
#define VNET_RDMA_LINGER_NS     (2000 * VNET_RDMA_MS)
/* For the last messages of a control connection to go out. */
#define VNET_RDMA_FLUSH_NS      (200 * VNET_RDMA_MS)
/* A server that cannot listen tries again. */
#define VNET_RDMA_RELISTEN_NS   (1000 * VNET_RDMA_MS)
/* Of each of the connection manager's own steps. */
#define VNET_RDMA_RESOLVE_MS    2000
/* For a device to complete what was posted to QPs that were stopped; and how long
 * one that did not is not waited for. */
#define VNET_RDMA_SETTLE_NS     (100 * VNET_RDMA_MS)
#define VNET_RDMA_MUTE_NS       (1000 * VNET_RDMA_MS)
/* Completions and events handled in one go; connections made in one go. */
#define VNET_RDMA_CQ_TURN       256
#define VNET_RDMA_CM_TURN       64
#define VNET_RDMA_ASYNC_TURN    64
#define VNET_RDMA_DIAL_TURN     64

typedef enum VnetRdmaState {
    VNET_RDMA_ADDR,             /* active: address being resolved */
    VNET_RDMA_ROUTE,            /* active: route being resolved */
    VNET_RDMA_DEVICE,           /* active: device being made ready */
    VNET_RDMA_CONNECT,          /* active: request sent */
    VNET_RDMA_ASKED,            /* passive: request received, not answered */
    VNET_RDMA_ACCEPT,           /* passive: accepted */
    VNET_RDMA_UP,
    VNET_RDMA_FAILED,           /* to be reported to the owner */
    VNET_RDMA_FLUSH,            /* the last messages go out */
    VNET_RDMA_LINGER,           /* QP gone, the peer's farewell awaited */
    VNET_RDMA_LISTEN,
    VNET_RDMA_STATES
} VnetRdmaState;

/* What an event of the connection manager leads to. */
typedef enum VnetRdmaAction {
    VNET_RDMA_UNEXPECTED,       /* counted, nothing else */
    VNET_RDMA_IGNORE,
    VNET_RDMA_DO_ROUTE,         /* resolve the route */
    VNET_RDMA_DO_DEVICE,        /* get the device */
    VNET_RDMA_DO_CONNECT,       /* make the QP, send the request */
    VNET_RDMA_DO_REQUEST,       /* somebody wants to connect */
    VNET_RDMA_DO_JUDGE,         /* its device is ready: what is it for? */
    VNET_RDMA_DO_UP,
    VNET_RDMA_DO_FAIL,          /* it was not made */
    VNET_RDMA_DO_LOSE,          /* it was made and is lost: first take what came */
    VNET_RDMA_DO_END,           /* nothing more will come: free it */
    VNET_RDMA_DO_RELISTEN,
} VnetRdmaAction;

typedef struct VnetRdmaDev VnetRdmaDev;
typedef struct VnetRdmaConn VnetRdmaConn;
typedef struct VnetRdmaChan VnetRdmaChan;

/* A device of the link. */
struct VnetRdmaDev {
    VnetRdma *r;
    VnetVDev *v;
    unsigned conns;
    bool gone;                  /* no new connection; freed after the last */
    bool more;                  /* completions left for another turn */
    bool async_more;            /* ... and what it says by itself */
    int64_t mute_until;         /* it did not tell what was flushed */
    GArray *taken;              /* of VnetWc: completions ... */
    guint next;                 /* ... from here on not handled yet */
};

struct VnetRdmaConn {
    VnetRdma *r;
    uint64_t serial;            /* never used again; names it in work requests */
    uint8_t state;              /* VnetRdmaState */
    bool linked;                /* accept or ESTABLISHED: needs a farewell */
    bool cm_over;               /* the CM needs no farewell any more */
    bool setup;                 /* passive: waits for the device */
    bool early;                 /* passive data: waits for its OPEN */
    bool stopped;               /* data: QP in the error state, by us */
    VnetVCm *cm;
    VnetRdmaDev *dev;           /* NULL: not known yet */
    VnetVQp *qp;                /* NULL: none, or gone */
    uint32_t inline_max;
    VnetPreamble preamble;
    VnetRdmaChan *chan;         /* control, frame */
    VnetCid *cid;               /* data; NULL: nobody's yet */
    int error;                  /* FAILED: errno ... */
    char *why;                  /* ... and in words */
    int64_t deadline;           /* INT64_MAX: none */
    GList node;                 /* in r->timed, if it has a deadline */
    GList fail_node;            /* in r->failing, if FAILED */
};

struct VnetRdma {
    VnetLink *l;
    char *id, *where;
    bool server;
    int64_t setup_timeout_ns;
    uint32_t setup_timeout_ms;
    uint32_t max_qps;
    const VnetVerbs *v;
    VnetVCtx *x;
    const VnetRdmaHost *host;
    void *opaque;
    bool watched;               /* the event channel */
    bool freeing;
    VnetRdmaStage stage;
    VnetRdmaStats stats;

    /* client */
    int64_t retry_at;           /* next attempt, or to listen again */
    bool looking_up;
    VnetRdmaAddr addrs[VNET_RDMA_ADDRS];
    unsigned naddrs;
    unsigned addr_next;         /* to try next; the one before it is tried */
    char *dial_error;           /* of the address tried last */
    VnetRdmaConn *dial;         /* the control connection being made */
    /* server */
    VnetRdmaConn *listener;
    VnetRdmaAddr listen_addr;
    unsigned nsetup, nearly;    /* requests that wait for device, for OPEN */

    VnetRdmaConn *control, *frame;
    GByteArray *out;            /* control messages to send */
    bool frames_ready;          /* vnet_link_frames_ready() is owed */

    uint64_t next_serial;
    GHashTable *by_serial;      /* -> VnetRdmaConn, all of them */
    GHashTable *by_cm;          /* VnetVCm -> VnetRdmaConn */
    GHashTable *cids;           /* stream id -> VnetCid */
    GQueue to_dial;             /* of CIDs: made at the end of the dispatch */
    GQueue timed;               /* conns with a deadline */
    GQueue failing;             /* conns to be reported */
    unsigned nqps, nlinger;
    GPtrArray *devs;            /* of VnetRdmaDev */
    bool cm_more;
    bool polling;               /* events of completions are not needed */
    int64_t armed;              /* INT64_MAX: not */
};

/* --- vnet-rdma-cm.c ------------------------------------------------------ */

/* The table of docs/specs/vnet-wire.rst, "Events of the connection manager". */
VnetRdmaAction vnet_rdma_cm_action(VnetRdmaState state, VnetCmEventType type);
/* Handles an event. */
void vnet_rdma_cm_event(VnetRdma *r, const VnetCmEvent *ev);
const char *vnet_rdma_state_name(VnetRdmaState state);
const char *vnet_rdma_event_name(VnetCmEventType type);
/* In words, for somebody who looks for the cause. */
char *vnet_rdma_why(const VnetRdma *r, const char *what, int err);
/* Refuses a request, with what is told to the peer, and frees the connection. */
void vnet_rdma_refuse(VnetRdmaConn *c, enum vtoe_reason reason,
                      const char *text);

/* --- vnet-rdma-conn.c ---------------------------------------------------- */

/* cm becomes the connection's.  Its state is the caller's to set. */
VnetRdmaConn *vnet_rdma_conn_new(VnetRdma *r, VnetVCm *cm,
                                 const VnetPreamble *p);
VnetRdmaConn *vnet_rdma_conn_find(VnetRdma *r, uint64_t serial);
/*
 * Begins to connect to the address that the control connection uses or tries.
 * NULL and *err (negative errno): it could not begin.
 */
VnetRdmaConn *vnet_rdma_dial(VnetRdma *r, const VnetPreamble *p, int *err);
/* 0: c->dev is there.  -EINPROGRESS: DEVICE_READY follows. */
int vnet_rdma_conn_device(VnetRdmaConn *c);
/* The QP with what is to be posted before it works, then the request, or the
 * answer.  0 or -errno. */
int vnet_rdma_conn_connect(VnetRdmaConn *c);
int vnet_rdma_conn_accept(VnetRdmaConn *c);
/* It carries messages from now on. */
void vnet_rdma_conn_up(VnetRdmaConn *c);
void vnet_rdma_conn_deadline(VnetRdmaConn *c, int64_t when);
/*
 * It failed or was lost: its owner is told at the end of the dispatch.  May be
 * called anywhere; the first error counts.  err: errno, positive.
 */
void vnet_rdma_conn_fail(VnetRdmaConn *c, int err, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);
/*
 * Ends a connection, in any state: when it returns, the QP is gone.  The CM's
 * farewell goes on by itself.  The owner has let go of it.
 */
void vnet_rdma_conn_close(VnetRdmaConn *c);
/* Control connection: what was sent before may still go out. */
void vnet_rdma_conn_close_flushed(VnetRdmaConn *c);
/* Ends it without waiting for anything. */
void vnet_rdma_conn_free(VnetRdmaConn *c);
/* Those in time: returns the next deadline. */
int64_t vnet_rdma_conns_expire(VnetRdma *r, int64_t now);
void vnet_rdma_arm(VnetRdma *r, int64_t when);
/* Takes completions of all devices, as long as there are any. */
void vnet_rdma_drain(VnetRdma *r);
/* Data connection: nothing is sent or received from now on. */
void vnet_rdma_conn_stop(VnetRdmaConn *c);
/* The same, and handles what was completed before, until nothing is left that is
 * posted; false: the device does not tell. */
bool vnet_rdma_conn_settle(VnetRdmaConn *c);
/* Completions for one turn. */
void vnet_rdma_cq_turn(VnetRdmaDev *d);
/* Completions from now on make an event.  False: the device is gone. */
bool vnet_rdma_cq_arm(VnetRdmaDev *d);
/* It takes no new connection, and is freed after its last. */
void vnet_rdma_dev_gone(VnetRdmaDev *d);
/* The same, and all its connections have failed; what: of it is of no use. */
void vnet_rdma_dev_fail(VnetRdmaDev *d, int err, const char *what);
/* Frees those that are gone; all: also the others, no connection is left. */
void vnet_rdma_devs_sweep(VnetRdma *r, bool all);

/* --- vnet-rdma-async.c --------------------------------------------------- */

/* Those of its events that were left for another turn. */
void vnet_rdma_async_again(VnetRdmaDev *d);

/* --- vnet-rdma.c --------------------------------------------------------- */

/* A request that has come, and one whose device is ready. */
void vnet_rdma_request(VnetRdma *r, const VnetCmEvent *ev);
void vnet_rdma_judge(VnetRdmaConn *c);
/* Its connection is up, or has failed (c->error, c->why). */
void vnet_rdma_owner_up(VnetRdmaConn *c);
void vnet_rdma_owner_failed(VnetRdmaConn *c);
void vnet_rdma_listener_gone(VnetRdma *r);

/* --- vnet-rdma-chan.c ---------------------------------------------------- */

#define VNET_RDMA_CHAN_HDR      8

/* Makes the channel of a connection that has a device. 0 or -errno. */
int vnet_rdma_chan_new(VnetRdmaConn *c);
/* The QP is gone. */
void vnet_rdma_chan_free(VnetRdmaChan *ch);
/* Posts all receives. */
int vnet_rdma_chan_start(VnetRdmaChan *ch);
/* Room for len bytes in the message that is being filled, sending it first if
 * it has none.  NULL: no buffer is left. */
uint8_t *vnet_rdma_chan_room(VnetRdmaChan *ch, size_t len);
/* They are filled. */
void vnet_rdma_chan_commit(VnetRdmaChan *ch, size_t len);
/*
 * Sends the message being filled, or, if there is none and it is due, one that
 * only returns credits.  A failure goes to vnet_rdma_conn_fail().
 */
void vnet_rdma_chan_flush(VnetRdmaChan *ch);
/* Whether a message could be begun. */
bool vnet_rdma_chan_ready(const VnetRdmaChan *ch);
/* Whether everything sent was completed. */
bool vnet_rdma_chan_idle(const VnetRdmaChan *ch);
/* A completion of the connection, without error. */
void vnet_rdma_chan_sent(VnetRdmaChan *ch);
void vnet_rdma_chan_received(VnetRdmaChan *ch, uint32_t len);

/* --- vnet-rdma-msg.c ----------------------------------------------------- */

bool vnet_rdma_control_put(VnetRdma *r, const void *buf, size_t len);
/* Sends what waits, as far as it can be sent now. */
void vnet_rdma_control_flush(VnetRdma *r);
VnetFrameResult vnet_rdma_frame_send(VnetRdma *r, const VnetWireFrame *wf,
                                     const struct iovec *iov, unsigned niov);
void vnet_rdma_frame_flush(VnetRdma *r);
/* The payload of a message that was received. */
void vnet_rdma_msg_in(VnetRdmaConn *c, const uint8_t *buf, size_t len);

/* --- vnet-rdma-cid.c ----------------------------------------------------- */

VnetCid *vnet_rdma_cid_open(void *transport, VnetStream *s,
                            const VnetPreamble *p);
void vnet_rdma_cid_tx(VnetCid *cid);
void vnet_rdma_cid_rx(VnetCid *cid);
void vnet_rdma_cid_tx_end(VnetCid *cid);
void vnet_rdma_cid_stop(VnetCid *cid);
bool vnet_rdma_cid_settle(VnetCid *cid);
void vnet_rdma_cid_close(VnetCid *cid, bool abort);
/* Server: the request of its connection has come.  False: it has one. */
bool vnet_rdma_cid_attach(VnetCid *cid, VnetRdmaConn *c);
/* Makes the connections of r->to_dial; false: some are left. */
bool vnet_rdma_cids_dial(VnetRdma *r);
void vnet_rdma_cid_up(VnetCid *cid);
/* Its connection failed, see c->error; calls cid_close(). */
void vnet_rdma_cid_failed(VnetCid *cid, int err);
void vnet_rdma_cid_sent(VnetCid *cid);
void vnet_rdma_cid_received(VnetCid *cid, uint32_t len);
/* A receive was completed without a message; whether that is so of all. */
void vnet_rdma_cid_flushed(VnetCid *cid);
bool vnet_rdma_cid_is_settled(const VnetCid *cid);

#endif /* VNET_RDMA_CONN_H */
