/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay's own view of itself: what vnet-core.c, vnet-peer.c and
 * vnet-stream.c share.  Nothing outside the behaviour includes it.
 *
 * Ownership: a core owns its networks, each with its switch; ports are owned by
 * their NICs and links by their transports until detach/free; streams by the
 * core.  Whoever calls into a NIC counts it in core->upcalls, so that what must
 * not happen inside a callback is put off (work queues) until
 * vnet_core_run_deferred().
 */
#ifndef VNET_CORE_H
#define VNET_CORE_H

#include <glib.h>
#include "vnet-capture.h"
#include "vnet-query.h"
#include "vnet-shape.h"
#include "vnet-switch.h"

/* --- Limits and times (docs/specs/vnet-wire.rst, "Times and limits") ----- */
#define VNET_MS                 1000000ll           /* in ns */
#define VNET_HELLO_NS           (5000 * VNET_MS)
#define VNET_BUSY_MIN_NS        (10000 * VNET_MS)
#define VNET_MISSED_MAX         3       /* unanswered intervals of silence */
#define VNET_BACKOFF_MIN_NS     (100 * VNET_MS)
#define VNET_BACKOFF_MAX_NS     (5000 * VNET_MS)
#define VNET_CONNECT_NS         (10000 * VNET_MS)   /* OPEN to Established */
#define VNET_ASK_NS             (50 * VNET_MS)      /* CID gone, until one asks */
#define VNET_GUARD_NS           (2000 * VNET_MS)    /* ... and the word awaited */
#define VNET_ACK_NS             (2 * VNET_MS)
#define VNET_ACK_BYTES          (128 * 1024)
#define VNET_MACS_PER_LINK      4096
#define VNET_CREDIT_AHEAD       16      /* receives of a stream before data */
#define VNET_WANT_PIECES        32      /* looked at to tell what is wanted */

/* --- Timers: one FIFO per duration, so that each step is O(1) ------------ */
typedef struct VnetTimerQueue {
    GQueue q;                   /* of VnetTimer.node, earliest first */
    int64_t duration_ns;
} VnetTimerQueue;

typedef struct VnetTimer {
    GList node;                 /* data: the stream */
    VnetTimerQueue *in;         /* NULL: not running */
    int64_t when_ns;
} VnetTimer;

/* See vnet-net.h. */
struct VnetNet {
    VnetCore *core;
    uint32_t vni;
    bool port_lock;
    VnetRates rates[VNET_DIRECTIONS];   /* of ports that come */
    void *user;
    VnetSwitch *sw;
    unsigned lanes_up;          /* links that are up and lead to it */
    VnetCaptureFn *capture;     /* NULL: none */
    void *capture_opaque;
    VnetLimitState limits[VNET_CORE_LIMITS];
    VnetCoreStats stats;
};

struct VnetCore {
    VnetHostOps ops;
    void *opaque;
    char *name;
    uint32_t max_streams, heartbeat_ms, mac_age_s;
    VnetMacRoom macs;           /* what switches may learn */
    uint64_t epoch;             /* of this end; never 0 */
    GPtrArray *nets;            /* first the one that it was made with */
    GPtrArray *ports, *links;   /* ports: NULL holes while ports_busy */
    bool cut_off;               /* no link will come */
    unsigned ports_busy;
    GQueue streams;             /* of VnetStream.core_node */
    GQueue dead_streams;        /* freed by the next run_deferred */
    GSList *dead_ports, *dead_nets;

    GQueue stream_work;         /* of VnetStream.work_node */
    GQueue called_ports;        /* of VnetPort.called_node: batch_end owed */
    bool link_work, port_work;  /* a link must close / a port be told */
    bool defer_asked;           /* ops.defer was called, run not yet */
    bool in_deferred, in_tick;
    unsigned upcalls;           /* depth of callbacks into NICs */

    VnetTimerQueue connect_q, ask_q, guard_q, ack_q, resume_q;
    GHashTable *births;         /* see vnet-stream-resume.c */
    GQueue finished;            /* there, too */
    int64_t next_age_ns;        /* ageing of switches; INT64_MAX: none */
    int64_t armed_ns;           /* host timer; INT64_MAX: none */
    uint8_t unread_byte;        /* lent to CIDs whose guest has closed */
};

struct VnetPort {
    VnetEnd end;
    VnetCore *core;
    VnetNet *net;
    char *id;
    uint8_t mac[6];
    bool streams_ok;            /* announced as able to take streams */
    bool dead;                  /* detached; memory goes soon */
    bool carrier;               /* as it is */
    bool carrier_known, carrier_told;   /* what the NIC was told, if at all */
    VnetLink *waits_for;        /* that was busy for this port */
    bool called;                /* in called_ports */
    GList called_node;
    const VnetPortOps *ops;
    void *opaque;
    GQueue streams;             /* of VnetStream.port_node */
    VnetShaper shape[VNET_DIRECTIONS];
    VnetPortStats stats;
};

typedef enum VnetLinkState {
    VNET_LINK_DOWN,
    VNET_LINK_HELLO,            /* control connection up, HELLO awaited */
    VNET_LINK_UP,
} VnetLinkState;

/* A set of network ids. */
typedef struct VnetIdList {
    unsigned n;
    uint32_t vni[VNET_NETS_MAX];
} VnetIdList;

/* A link in the switch of one network id: vnet-lane.c. */
typedef struct VnetLane {
    VnetEnd end;
    VnetLink *l;
    VnetNet *net;
    unsigned macs;              /* its claims, of the link's peer_macs */
} VnetLane;

struct VnetLink {
    GPtrArray *lanes;           /* of VnetLane, one for each of the core's nets */
    VnetMacSet *given;          /* addresses of the peer; NULL: any */
    VnetIdList *given_nets;     /* network ids of the peer; NULL: any */
    bool split_horizon;
    bool plain;                 /* the peer says nothing: see _up_plain() */
    VnetCore *core;
    char *id;
    bool server;
    bool freeing;
    const VnetTransportOps *ops;
    void *transport;
    VnetLinkState state;
    int64_t since_ns;           /* in this state */
    char *last_error;

    /* Of the present peer; kept when down, for queries */
    uint64_t peer_epoch, token, features;
    unsigned net_changes;       /* of the peer's since the last heartbeat */
    uint64_t last_epoch;        /* of who it was up with last; 0: nobody */
    bool peer_changed;          /* that was another, when it came up */
    uint32_t peer_max_streams;
    uint16_t version;
    char peer_name[64];
    unsigned peer_macs;         /* claims of this link */
    VnetIdList peer_nets;       /* that it has */
    VnetIdList told;            /* that it was told of; first the core's own */
    bool frames_admitted;       /* server: frame connection is there */

    /* Closing is put off when it was found inside a NIC's call */
    bool closing;
    bool farewell;              /* the peer said BYE, and meant it */
    uint16_t closing_reason;
    uint64_t *closing_counter;
    char *closing_text;
    VnetMsg refusal;            /* BYE of the last refused connection */

    /* Timers */
    int64_t deadline_ns;        /* HELLO: hello time-out; UP: next heartbeat */
    int64_t backoff_ns, backoff_max_ns;
    bool heard;                 /* anything since the last heartbeat */
    unsigned missed;
    unsigned beats;             /* heartbeat intervals since up */
    uint64_t ping_cookie;       /* 0: none outstanding */
    int64_t asked_ns;           /* since when the peer owes an answer */
    int64_t busy_ns;            /* since when no byte of a frame has gone, though
                                 * some wait; 0: none do */
    bool ping_again;            /* one more, when that is answered */
    uint32_t answers;           /* PONGs that were awaited */
    int64_t ping_ns, rtt_ns;

    uint32_t next_id;           /* next stream id to try, without server bit */
    uint32_t last_peer_id;      /* of the last OPEN received, dito */
    bool peer_opened;           /* last_peer_id is valid */
    bool peer_forgot;           /* it has said FORGET */
    GHashTable *by_id;          /* stream id -> VnetStream */
    GQueue streams;             /* of VnetStream.link_node */
    VnetLinkStats stats;
};

static inline VnetPort *vnet_end_port(VnetEnd *e)
{
    return (VnetPort *)((char *)e - offsetof(VnetPort, end));
}

static inline VnetLane *vnet_end_lane(VnetEnd *e)
{
    return (VnetLane *)((char *)e - offsetof(VnetLane, end));
}

static inline VnetLink *vnet_end_link(VnetEnd *e)
{
    return vnet_end_lane(e)->l;
}

static inline int64_t vnet_now(VnetCore *core)
{
    return core->ops.now_ns(core->opaque);
}

/* --- vnet-core.c --------------------------------------------------------- */

/* Asks for a run of vnet_core_run_deferred(). */
void vnet_core_defer(VnetCore *core);
/* Makes sure vnet_core_tick() runs at when_ns at the latest. */
void vnet_core_wake_at(VnetCore *core, int64_t when_ns);
void vnet_timer_start(VnetCore *core, VnetTimer *t, VnetTimerQueue *q,
                      int64_t now_ns);
void vnet_timer_stop(VnetTimer *t);
/* Brackets a callback into a NIC: counts the depth, notes batch_end. */
void vnet_upcall_begin(VnetPort *port);
void vnet_upcall_end(VnetPort *port);
/* Tells the ports: carrier after a link or a lane changed; a MAC's ability (NULL:
 * any may have changed) to those of a network (NULL: of all). */
void vnet_core_links_changed(VnetCore *core);
void vnet_core_capability(VnetCore *core, const VnetNet *net,
                          const uint8_t *mac, bool streams);
/* A link is not busy any more (or gone): ports that waited go on. */
void vnet_core_wake_ports(VnetCore *core, const VnetLink *l);
/* A frame from src into the switch, see vnet_switch_input(). */
VnetFrameResult vnet_net_input(VnetNet *net, VnetEnd *src, const VnetFrame *f,
                               bool wait_ok, VnetEnd **busy);
/* The port with this MAC, or NULL. */
VnetPort *vnet_net_port_of(VnetNet *net, const uint8_t mac[6]);

/* --- vnet-net.c ---------------------------------------------------------- */

VnetNet *vnet_core_find_net(const VnetCore *core, uint32_t vni);
/* For vnet_core_new() and vnet_core_free(); the others are vnet-net.h's. */
VnetNet *vnet_net_make(VnetCore *core, const VnetNetConfig *cfg);
void vnet_net_dispose(VnetNet *net);

/* --- vnet-lane.c --------------------------------------------------------- */

/* For a link, all of its lanes; for a network that comes or goes, the one in this
 * link: the peer is told. */
void vnet_lanes_new(VnetLink *l);
void vnet_lanes_free(VnetLink *l);
void vnet_lane_new(VnetLink *l, VnetNet *net);
void vnet_lane_free(VnetLink *l, const VnetNet *net);
/* The lane of this id, whether it is up or not; or NULL. */
VnetLane *vnet_link_lane(const VnetLink *l, uint32_t vni);
/* Whether the lane of a network is up. */
bool vnet_link_leads_to(const VnetLink *l, const VnetNet *net);
/* The link's state has changed. */
void vnet_lanes_update(VnetLink *l);
/* Nothing is left of what the peer announced. */
void vnet_lanes_forget(VnetLink *l);
/* Announces all ports that the peer may know of. */
void vnet_lanes_announce(VnetLink *l);
/* Fills in what a HELLO says of network ids. */
void vnet_lanes_say(VnetLink *l, VnetMsg *hello);
/* What the peer's says. False: none is common, the link was closed for it. */
bool vnet_lanes_hear(VnetLink *l, const VnetMsg *hello);
/* Says what is new since HELLO, or the last time. */
void vnet_lanes_tell(VnetLink *l);
/* NET. False: the link was closed for it. */
bool vnet_lanes_message(VnetLink *l, const VnetMsg *m);
/* MAC; and says it of a port of this end. */
void vnet_lanes_mac(VnetLink *l, const VnetMsg *m);
void vnet_link_announce(VnetLink *l, const VnetPort *port, bool gone);

/* --- vnet-limit.c -------------------------------------------------------- */

/*
 * Because of this limit something was dropped, refused or made to wait, of this
 * port and this link; NULL: of none.  Tells the host, or counts it to be told.
 */
void vnet_limit_reached(VnetNet *net, VnetCoreLimit limit, const VnetPort *port,
                        const VnetLink *l, int64_t now_ns);
/* The same of an end, for the switch; opaque is the network. */
void vnet_limit_reached_by(void *opaque, VnetCoreLimit limit, VnetEnd *end,
                           int64_t now_ns);

/* --- vnet-peer.c --------------------------------------------------------- */

/* Encodes and queues a message; if the peer does not read, the link closes
 * soon.  Ignored when there is no control connection. */
void vnet_link_send(VnetLink *l, const VnetMsg *m);
/* Closes the link: BYE, streams end, counter.  reason 0 for no fault of the
 * peer.  Not inside a NIC's call: there use vnet_link_close_soon(). */
void vnet_link_close(VnetLink *l, uint64_t *counter, enum vtoe_reason reason,
                     const char *fmt, ...) G_GNUC_PRINTF(4, 5);
void vnet_link_close_soon(VnetLink *l, uint64_t *counter,
                          enum vtoe_reason reason, const char *text);
void vnet_link_run_closing(VnetLink *l);
void vnet_link_tick(VnetLink *l, int64_t now_ns);
/*
 * Asks the peer for a sign.  Returns what l->answers will be when it has answered;
 * all that it said before it was asked has been heard then.
 */
uint32_t vnet_link_ask(VnetLink *l);
bool vnet_link_answered(const VnetLink *l, uint32_t due);

#endif /* VNET_CORE_H */
