/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of the vtoe device: what its files show each other.
 *
 * How the parts work together.  Everything starts with one of a few entries:
 * a kick, a register write, a tick, or a callback of the overlay.  An entry
 * changes state and stages completions and events; the end of the batch
 * (vtoe_batch()) writes them to the rings, moves the indices, raises vectors
 * and arms the kicks that the device waits for.  Three rules keep this safe:
 *
 *  - Nothing is freed inside a callback: a stream lives until its terminal
 *    event was written, which only the end of a batch does (or, if the guest
 *    was never told of the stream, until the callback that ends it returns).
 *  - A violation only sets `broken`: from then on nothing touches guest
 *    memory, and the end of the batch ends the streams.  So no stream is
 *    aborted inside its own callback.
 *  - A completion is staged only when its place in the ring is certain.  A
 *    place for each lent receive buffer is reserved when it is lent; all other
 *    completions are pending bits on streams and lists until there is room.
 */
#ifndef VTOE_INT_H
#define VTOE_INT_H

#include <glib.h>
#include <inttypes.h>
#include <string.h>
#include "vtoe/uninitialized.h"
#include "vtoe-dev.h"

/* Limits on the work of one kick; what is left is done after kick_later(). */
#define VTOE_BUDGET_DESCS   256u
#define VTOE_BUDGET_CMDS    64u
#define VTOE_BATCH_ROUNDS   4u
/* Descriptors copied in by one dma_read(). */
#define VTOE_FETCH          32u
#define VTOE_FETCH_CMDS     8u
/* Completions and events collected before one dma_write(). */
#define VTOE_STAGE_COMPS    64u
#define VTOE_STAGE_EVENTS   16u
/* Largest descriptor, bytes (VTOE_REG_MAX_SEGMENT). */
#define VTOE_MAX_SEGMENT    (1u << 20)
/* Receive records are allocated in chunks of this many. */
#define VTOE_RECV_CHUNK     64u
/* A stream without unacknowledged data keeps at most this many segments. */
#define VTOE_SEG_IDLE       8u
/* Frames that wait for the guest, per device. */
#define VTOE_HOLD_FRAMES    4096u
#define VTOE_HOLD_BYTES     (16u << 20)
#define VTOE_HOLD_NS        (1000 * 1000 * 1000ll)
/* Longest wait for a COMP_SEND that is not news enough, see vtoe-tx.c. */
#define VTOE_ACK_DELAY_NS   (20 * 1000 * 1000)

enum { VTOE_RING_SEND, VTOE_RING_RECV, VTOE_RING_COMP, VTOE_RING_CTRL };

/* The guest's indices that the device can wait for. */
enum { VTOE_WATCH_SEND, VTOE_WATCH_RECV, VTOE_WATCH_ROOM, VTOE_WATCHES };

typedef struct VtoeQueue VtoeQueue;
typedef struct VtoeStream VtoeStream;

/* One of them: a kick is due when it passes event (spec 3.6). */
typedef struct VtoeWatch {
    uint32_t event;
    uint32_t looked;        /* while quiet: the index at the last look */
    bool armed;             /* event was set since the queue was enabled */
    bool told;              /* ... and the guest's memory says so */
} VtoeWatch;

/* A receive descriptor that was copied in and is not completed. */
typedef struct VtoeRecvBuf {
    GList link;             /* in exactly one of: free, pool, returned, or a
                             * stream's tagged or lent */
    uint64_t addr;
    uint32_t len;
    uint32_t sid;           /* as posted: VTOE_SID_ANY is the pool */
    uint32_t id;
    uint32_t lent;          /* bytes lent to the overlay */
    VtoeStream *owner;      /* while returned: the stream that waits for it */
    VtoeMap map;            /* while lent */
} VtoeRecvBuf;

struct VtoeQueue {
    VtoeDev *dev;
    uint32_t index;         /* the pair, or VTOE_QUEUE_CONTROL */

    /* What the registers show; fixed once enabled. */
    uint32_t size[3];
    uint64_t addr[4];
    uint32_t vector;
    uint32_t enabled;

    /* Indices.  *_cons and comp_prod as published unless said otherwise. */
    uint32_t send_prod;     /* last seen */
    uint32_t send_cons;
    uint32_t send_cons_told;
    uint32_t recv_prod;     /* last seen */
    uint32_t recv_cons;     /* copied in */
    uint32_t recv_cons_told;
    uint32_t comp_prod;     /* published */
    uint32_t comp_fill;     /* staged or written, not published */
    uint32_t comp_cons;     /* last seen */
    VtoeWatch watch[VTOE_WATCHES];
    bool polled;            /* the host looks instead of sleeping */
    bool quiet;             /* the guest is asked for no kick: polled, or
                             * VMM-driven */
    bool seen;              /* a look has found something, not run yet */

    /* Completions on their way: the last nstage before comp_fill. */
    uint8_t *stage;
    unsigned nstage, stage_cap, esize;
    unsigned reserved;      /* places promised to lent buffers */
    unsigned max_reserved;
    bool batch_open;        /* the batch has published something already */
    bool room_short;        /* something waits for room in the ring */
    unsigned turn;

    bool kick_pending;      /* the next kick is the device's own */
    bool in_tx;             /* running; do not re-enter */
    bool tx_busy;           /* pair 0: the netdev takes no frame now */
    bool tx_again;
    bool held_room;         /* pair 0: the first frame that is held waits for
                             * room in the completion ring, not for buffers */

    /* RecvWQ (vtoe-rx.c) */
    GPtrArray *chunks;
    unsigned nrecs;         /* records allocated, at most the ring's size */
    GQueue free, pool, returned;

    /* Streams of this pair that ... */
    GQueue tx_dirty;        /* got descriptors: tell the overlay */
    GQueue ready;           /* got tagged buffers while they waited */
    GQueue wait_buf;        /* wait for a buffer */
    GQueue wait_room;       /* have buffers, wait for room */
    GQueue marks;           /* have a mark to write */
    GQueue send_done;       /* have a COMP_SEND to write */

    uint64_t frames_done;   /* pair 0: frames completed ... */
    bool frames_pending;    /* ... and not yet told */
};

/* A send descriptor whose bytes are not acknowledged yet. */
typedef struct VtoeTxSeg {
    uint64_t offset;        /* in the stream */
    VtoeMap map;
} VtoeTxSeg;

typedef struct VtoeListenKey {
    uint8_t family;
    uint8_t reserved;
    uint16_t lport;
    uint8_t laddr[16];      /* all 0: any */
} VtoeListenKey;

typedef struct VtoeListener {
    VtoeListenKey key;
    uint32_t id;
    uint32_t backlog;
    uint32_t pending;       /* CONNECT_REQUESTs not answered */
    unsigned ref;           /* the table, and each pending request */
} VtoeListener;

/* Events about a stream that are not written yet, in the order of writing. */
#define VTOE_PEND_REQUEST       (1u << 0)
#define VTOE_PEND_ESTABLISHED   (1u << 1)
#define VTOE_PEND_SHUTDOWN      (1u << 2)
#define VTOE_PEND_TERMINAL      (1u << 3)

struct VtoeStream {
    VtoeDev *dev;
    VnetStream *vs;         /* NULL once the overlay's part is over */
    VtoeQueue *q;           /* NULL while REQUESTED */
    uint32_t sid;
    uint8_t state;          /* enum vtoe_stream_state */
    bool passive;
    bool told;              /* the guest knows the SID */
    bool shutdown_event;    /* wants PEER_SHUTDOWN */

    uint64_t tx_posted, tx_acked;
    uint64_t tx_told;       /* acked, as the last COMP_SEND said */
    int64_t told_by;        /* when the next one is due; on d->ack_q */
    uint64_t tx_end;        /* if tx_ended: SHUTDOWN's or CLOSE's value */
    bool tx_ended;
    bool tx_end_told;       /* the overlay knows */
    bool rx_closed;         /* CLOSE */
    bool rx_close_told;
    bool rx_ended;          /* END or ABORT mark written or pending */
    bool wait_credit;       /* rx_get() returned 0 for lack of credit */
    bool rx_turn;           /* it waited, and was woken to take a buffer */
    VtoeTxSeg *seg;         /* ring of seg_cap, a power of two or 0 */
    uint32_t seg_cap, seg_head, seg_count;

    uint64_t rx_limit;      /* credit: absolute offset */
    uint64_t rx_delivered;
    uint64_t rx_lent;       /* bytes lent */
    GQueue tagged, lent;
    uint32_t nreturned;     /* its buffers in q->returned */
    uint32_t last_comp;     /* index of its newest COMP_RECV */
    bool last_comp_valid;

    uint8_t mark;           /* pending: VTOE_COMP_F_END or _ABORT */
    uint8_t pend;           /* VTOE_PEND_* */
    uint8_t terminal;       /* enum vtoe_event_type */
    uint8_t reason;         /* of the terminal event and of the mark */

    VtoeListener *listener; /* while REQUESTED */
    int64_t deadline;
    /* list links: data is NULL while on no list */
    GList tx_link, wait_link, mark_link, done_link, event_link, time_link;
    GList ack_link;
    GQueue *wait_list;      /* which of the pair's lists wait_link is on */
    VnetFlow flow;
};

struct VtoeDev {
    VtoeConfig cfg;
    const VtoeHostOps *ops;
    void *opaque;
    VnetPort *port;
    VtoeStats st;

    uint64_t drv_features;
    uint32_t status, generation, queue_select, violation, link, rx_filter;
    uint8_t mac[6];
    uint8_t mac_lo[4];      /* written, applied with the high part */
    VtoeQueue *q;           /* cfg.pairs */
    VtoeQueue ctl;

    bool running;
    bool broken;            /* NEEDS_RESET: touch no guest memory */
    bool announced;         /* the port takes streams */
    unsigned depth;         /* of entries; the outermost ends the batch */
    uint64_t dirty;         /* pairs with something to publish */
    int64_t timer;          /* as last set */
    VtoeDispatch dispatch;
    int64_t look_at;        /* VMM-driven: when the next look is due */
    uint64_t done;          /* operations that dispatch has not counted yet */

    GHashTable *streams;    /* SID -> VtoeStream */
    unsigned nstreams_told;
    uint32_t next_sid;
    GHashTable *listen_ids; /* id -> VtoeListener */
    GHashTable *listen_keys;
    GQueue accept_q, close_q;   /* by deadline */
    GQueue ack_q;           /* streams with a COMP_SEND to write later */
    GQueue event_q;         /* streams with an event to write */
    bool pend_link, pend_removed, pend_peer;
    uint8_t peer_mac[6];    /* all 0: any */
    bool peer_streams;
    uint8_t *scratch;       /* a frame to be finished in software */
    GQueue held;            /* frames that wait for the guest, vtoe-hold.c */
    size_t held_bytes;
};

/* --- lists: a member is on a list iff its link's data is set -------------- */

static inline void vtoe_list_add(GQueue *list, GList *link, void *obj)
{
    if (!link->data) {
        link->data = obj;
        g_queue_push_tail_link(list, link);
    }
}

static inline void vtoe_list_del(GQueue *list, GList *link)
{
    if (link->data) {
        g_queue_unlink(list, link);
        link->data = NULL;
    }
}

static inline void *vtoe_list_pop(GQueue *list)
{
    GList *link = g_queue_pop_head_link(list);
    void *obj = link ? link->data : NULL;

    if (link) {
        link->data = NULL;
    }
    return obj;
}

/* --- vtoe-dev.c ------------------------------------------------------------ */

/* Registers are read by vCPUs while the device thread writes some of them. */
#define VTOE_WORD_GET(x)    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define VTOE_WORD_SET(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

/* May guest memory be touched? */
static inline bool vtoe_live(const VtoeDev *d)
{
    return d->running && !d->broken && (d->status & VTOE_STATUS_DRIVER_OK);
}

static inline bool vtoe_has(const VtoeDev *d, uint64_t feature)
{
    return d->drv_features & feature;
}

static inline void vtoe_mark_dirty(VtoeQueue *q)
{
    q->dev->dirty |= 1ull << q->index;
}

/* Are these features a legal choice of the driver's? (spec 2.3) */
bool vtoe_features_ok(const VtoeDev *d, uint64_t features);
/* The queue of that number, or NULL. */
VtoeQueue *vtoe_queue_at(VtoeDev *d, uint32_t index);
/* Stops the device with NEEDS_RESET (spec 7). The text is for the log. */
void vtoe_violation(VtoeDev *d, enum vtoe_violation v, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);
/* A log line about something that was ignored or refused. */
void vtoe_guest_error(VtoeDev *d, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void vtoe_kick_later(VtoeQueue *q);
/* Does what there is to do in a queue, and ends the batch. */
void vtoe_run(VtoeQueue *q);
/* Ends the batch unless an outer entry will. */
void vtoe_batch(VtoeDev *d);
/* Tells the port whether streams can be taken now. */
void vtoe_announce(VtoeDev *d);
bool vtoe_mac_ok(const uint8_t mac[6]);

/* --- vtoe-queue.c ---------------------------------------------------------- */

/* Checks a configuration (spec 3.5); false with the reason in *err. */
bool vtoe_queue_check(const VtoeDev *d, uint32_t index, const uint32_t size[3],
                      const uint64_t addr[4], uint32_t vector,
                      const char **err);
/* Is every page of the rings RAM? */
bool vtoe_queue_probe(VtoeQueue *q);
/* Allocates what an enabled queue needs. */
void vtoe_queue_start(VtoeQueue *q);
/* Writes the device's half of the control block. */
void vtoe_queue_write_ctrl(VtoeQueue *q);
/* Back to the state before enabling; nothing may be lent. */
void vtoe_queue_reset(VtoeQueue *q);

/* Descriptors waiting in the send ring, or -1 after a violation. */
int vtoe_queue_send_avail(VtoeQueue *q);
int vtoe_queue_recv_avail(VtoeQueue *q);
/* Copies n entries from index idx on. */
bool vtoe_queue_fetch(VtoeQueue *q, unsigned ring, unsigned esize, uint32_t idx,
                      unsigned n, void *buf);
void vtoe_queue_tell_send_cons(VtoeQueue *q);
void vtoe_queue_tell_recv_cons(VtoeQueue *q);
/*
 * Asks for a kick when more is posted; true if more is there already.  While the
 * queue is quiet a look does what the kick would.
 */
bool vtoe_queue_arm_send(VtoeQueue *q);
bool vtoe_queue_arm_recv(VtoeQueue *q);
/* The same for room in the completion ring. */
bool vtoe_queue_arm_room(VtoeQueue *q);
/*
 * Takes back what the guest was asked for, or asks again.  After asking the
 * caller has to look once more.
 */
void vtoe_queue_set_quiet(VtoeQueue *q, bool quiet);
/*
 * Whether a kick would be due, had it been asked for.  Also true once after a
 * violation, so that the batch that ends the streams is run.
 */
bool vtoe_queue_look(VtoeQueue *q);

/* Places in the completion ring that nobody was promised; reads comp_cons
 * again if fewer than want are known. */
unsigned vtoe_comp_room(VtoeQueue *q, unsigned want);
/* May one more receive buffer be lent? */
bool vtoe_comp_can_lend(VtoeQueue *q);
/* The next entry, zeroed.  Its place must be certain. */
void *vtoe_comp_add(VtoeQueue *q);
/* The entry is filled; publishes as EVI and EoC ask for. */
void vtoe_comp_commit(VtoeQueue *q);
/* The entry of this index if it can still be changed, else NULL. */
struct vtoe_comp *vtoe_comp_staged(VtoeQueue *q, uint32_t idx);
/* Writes what is staged, moves comp_prod, raises the vector if wanted. */
void vtoe_comp_publish(VtoeQueue *q);

/* --- vtoe-look.c ------------------------------------------------------------ */

/* As after a reset: adaptive is guest-driven again. */
void vtoe_look_reset(VtoeDev *d);
/* End of a batch: counts its operations, which may change who drives. */
void vtoe_look_count(VtoeDev *d);
/* Looks if that is due. */
void vtoe_look_tick(VtoeDev *d);
/* When the next look is, ns; INT64_MAX: none is. */
int64_t vtoe_look_deadline(const VtoeDev *d);
void vtoe_look_stats(const VtoeDev *d, VtoeStats *st);

/* --- vtoe-cmd.c: decoding and checking, no state ---------------------------- */

typedef struct VtoeCmd {
    uint8_t op, flags;
    uint16_t reason;
    uint32_t tag, sid, pair;
    uint64_t value;
    VnetFlow flow;
} VtoeCmd;

/*
 * Decodes a command and checks everything that does not depend on state:
 * opcode, flags, ranges of SID, pair, reason, backlog and addresses.  *out is
 * filled (op and tag at least) whatever the result. (spec 4)
 */
enum vtoe_cmd_status vtoe_cmd_decode(const struct vtoe_cmd *raw, unsigned pairs,
                                     VtoeCmd *out);
void vtoe_flow_to_abi(const VnetFlow *flow, struct vtoe_flow *out);

/* --- vtoe-control.c: the control queue -------------------------------------- */

void vtoe_control_run(VtoeDev *d);
VtoeListener *vtoe_listener_find(VtoeDev *d, uint8_t family, uint16_t lport,
                                 const uint8_t laddr[16]);
/* Adds a listener; NULL if there is one of that id or address. */
VtoeListener *vtoe_listener_add(VtoeDev *d, const VtoeListenKey *key,
                                uint32_t id, uint32_t backlog);
void vtoe_listener_unref(VtoeListener *l);
guint vtoe_listen_key_hash(gconstpointer key);
gboolean vtoe_listen_key_equal(gconstpointer a, gconstpointer b);

/* --- vtoe-event.c ----------------------------------------------------------- */

/* Places for events; 0 if the control queue is off. */
unsigned vtoe_event_room(VtoeDev *d, unsigned want);
/* A new event; there must be room.  Commit with vtoe_comp_commit(&d->ctl). */
struct vtoe_event *vtoe_event_add(VtoeDev *d, enum vtoe_event_type type,
                                  enum vtoe_reason reason, uint32_t sid);
/* Queues the stream if one of its pending events may be written now. */
void vtoe_event_check(VtoeStream *s);
/* Writes pending events while there is room. */
void vtoe_event_flush(VtoeDev *d);
bool vtoe_event_pending(const VtoeDev *d);
void vtoe_event_peer(VtoeDev *d, const uint8_t *mac, bool streams);

/* --- vtoe-session.c --------------------------------------------------------- */

extern const VnetStreamOps vtoe_stream_ops;

VtoeStream *vtoe_stream_find(VtoeDev *d, uint32_t sid);
VtoeStream *vtoe_stream_new(VtoeDev *d, uint32_t sid, const VnetFlow *flow);
void vtoe_stream_free(VtoeStream *s);
/* The overlay's part is over: frees what was held, makes the terminal event. */
void vtoe_stream_over(VtoeStream *s, enum vtoe_event_type event,
                      enum vtoe_reason reason, bool by_guest);
/* Ends the sending direction and, after CLOSE, the receiving one, as soon as
 * the overlay can be told. */
void vtoe_stream_tell_end(VtoeStream *s);
/* Aborts and forgets every stream and listener, without events. */
void vtoe_streams_drop(VtoeDev *d, enum vtoe_reason reason);
/* After a stop of the VM: the overlay may ask again. */
void vtoe_streams_resume(VtoeDev *d);
void vtoe_streams_count_changed(VtoeDev *d);
enum vtoe_reason vtoe_connect_request(VtoeDev *d, VnetStream *vs,
                                      const VnetFlow *flow);
int64_t vtoe_sessions_tick(VtoeDev *d);
/* When the next tick is due, ns. */
int64_t vtoe_sessions_deadline(const VtoeDev *d);
void vtoe_trace(const VtoeStream *s, const char *what, uint64_t value);

/* --- vtoe-tx.c: SendWQ of stream pairs --------------------------------------- */

void vtoe_tx_run(VtoeQueue *q);
size_t vtoe_tx_peek(VtoeStream *s, uint64_t offset, struct iovec *iov,
                    unsigned *niov, size_t max);
void vtoe_tx_acked(VtoeStream *s, uint64_t offset);
/* Has a COMP_SEND written at the end of the batch. */
void vtoe_tx_tell_acked(VtoeStream *s);
/* Unmaps everything. */
void vtoe_tx_drop(VtoeStream *s);

/* --- vtoe-rx.c: RecvWQ ------------------------------------------------------- */

/* Copies in what was posted, within a budget. */
void vtoe_rx_refill(VtoeQueue *q);
unsigned vtoe_rx_get(VtoeStream *s, VnetRxBuf *bufs, unsigned n, size_t max);
/* How many may be lent to a stream that has no data yet. */
unsigned vtoe_rx_spare(VtoeStream *s);
void vtoe_rx_done(VtoeStream *s, VnetRxBuf *buf, size_t len);
void vtoe_rx_return(VtoeStream *s, VnetRxBuf *bufs, unsigned n);
/* A mark (VTOE_COMP_F_END or _ABORT) behind the last byte. */
void vtoe_rx_mark(VtoeStream *s, uint8_t mark);
void vtoe_rx_credit(VtoeStream *s, uint64_t limit);
/* The guest receives no more: tagged buffers go back. */
void vtoe_rx_stop(VtoeStream *s);
void vtoe_rx_unwait(VtoeStream *s);
/* Wakes waiting streams, round robin, while there is something for them. */
void vtoe_rx_wake(VtoeQueue *q);
/* Stages what is pending: marks, returned buffers, acknowledgements. */
void vtoe_pair_flush(VtoeQueue *q);
/* Is something pending for lack of room? */
bool vtoe_pair_wants_room(const VtoeQueue *q);
VtoeRecvBuf *vtoe_rx_record(VtoeQueue *q);
void vtoe_rx_release(VtoeQueue *q, VtoeRecvBuf *rec);

/* --- vtoe-frame.c, vtoe-offload.c: pair 0 ------------------------------------- */

void vtoe_frame_tx_run(VtoeQueue *q);
VnetFrameResult vtoe_frame_rx(VtoeDev *d, const VnetFrameHdr *hdr,
                              const struct iovec *iov, unsigned niov,
                              size_t len);
/*
 * Gives the guest a frame that suits its features, and counts it.  BUSY: there are
 * too few buffers or completions now; nothing was counted.
 */
VnetFrameResult vtoe_frame_publish(VtoeDev *d, const VnetFrameHdr *hdr,
                                   const struct iovec *iov, unsigned niov,
                                   size_t len);
/* Is the metadata possible for a frame of len bytes? */
bool vtoe_frame_hdr_ok(const VnetFrameHdr *hdr, size_t len);
size_t vtoe_iov_copy(const struct iovec *iov, unsigned niov, size_t offset,
                     void *buf, size_t len);

/* --- vtoe-hold.c: frames that wait for the guest --------------------------------- */

/* Keeps a copy of a frame that suits the guest, or drops and counts it. */
VnetFrameResult vtoe_hold(VtoeDev *d, const VnetFrameHdr *hdr,
                          const struct iovec *iov, unsigned niov, size_t len);
/* Gives the guest what it can take now. */
void vtoe_hold_run(VtoeDev *d);
/* Drops what has waited for too long; when that is next, ns. */
void vtoe_hold_tick(VtoeDev *d);
int64_t vtoe_hold_deadline(const VtoeDev *d);
/* The guest is gone. */
void vtoe_hold_reset(VtoeDev *d);

/* Finishes a partial checksum in place; the offsets were checked. */
void vtoe_offload_csum(uint8_t *frame, size_t len, unsigned start,
                       unsigned offset);
/*
 * Cuts a large TCP frame into frames of at most hdr->gso_size payload bytes
 * with all checksums complete and hands each to fn, which may not keep it.
 * False: not a frame that can be cut; fn was not called.
 */
typedef void VtoeSegmentFn(void *opaque, const uint8_t *frame, size_t len);
bool vtoe_offload_segment(const uint8_t *frame, size_t len,
                          const VnetFrameHdr *hdr, VtoeSegmentFn *fn,
                          void *opaque);

#endif /* VTOE_INT_H */
