/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream machine: one guest's stream (SID side) on one connection of a link
 * (CID side).  Its states and who may do what in them are tables in
 * vnet-stream.c and docs/specs/vnet-wire.rst, "Streams".
 */
#ifndef VNET_STREAM_H
#define VNET_STREAM_H

#include "vnet-core.h"

typedef enum VnetStreamState {
    VNET_STREAM_FAILING,    /* active: `failed` is owed to the NIC */
    VNET_STREAM_OPENING,    /* active: OPEN sent */
    VNET_STREAM_ACCEPTED,   /* active: ACCEPT received, CID awaited */
    VNET_STREAM_ASKED,      /* passive: the guest was asked */
    VNET_STREAM_CONFIRMED,  /* passive: ACCEPT sent, CID awaited */
    VNET_STREAM_OPEN,       /* established: bytes flow */
    VNET_STREAM_PARKED,     /* its link was lost, it may go on */
    VNET_STREAM_RESUMING,   /* active: RESUME sent */
    VNET_STREAM_RESUMED,    /* both know how far both are, CID awaited */
    VNET_STREAM_DEAD,       /* over; only the memory is left */
    VNET_STREAM_STATES
} VnetStreamState;

/* A direction of an established stream. */
typedef enum VnetTxState {
    VNET_TX_OPEN,
    VNET_TX_ENDING,         /* end known, bytes below it still to be sent */
    VNET_TX_ENDED,          /* END sent */
    VNET_TX_DONE,           /* END acknowledged */
    VNET_TX_STATES
} VnetTxState;
typedef enum VnetRxState {
    VNET_RX_OPEN,
    VNET_RX_ENDING,         /* END received, bytes below it still to come */
    VNET_RX_DONE,           /* all delivered, END acknowledged */
    VNET_RX_STATES
} VnetRxState;

/* What a stream on a message transport has besides: vnet-stream-credit.c. */
typedef struct VnetCredit VnetCredit;
/* What one that was parked has: vnet-stream-resume.c. */
typedef struct VnetResume VnetResume;

struct VnetStream {
    VnetCore *core;
    VnetPort *port;
    VnetLink *link;             /* NULL: none was chosen, or it is gone */
    VnetCid *cid;               /* NULL: none, or lost */
    VnetCredit *credit;         /* NULL: the link has a byte transport */
    VnetResume *resume;         /* NULL: was never parked */
    const VnetStreamOps *ops;   /* NULL: passive and not bound */
    void *user;

    uint8_t state;              /* VnetStreamState */
    uint8_t tx, rx;             /* VnetTxState, VnetRxState */
    bool active;                /* this side asked for it */
    bool cid_up;
    bool cid_taken;             /* server: its data connection came */
    bool tx_ended_cid;          /* cid_tx_end was called */
    bool rx_eof;                /* CID ended cleanly */
    bool rx_closed;             /* guest takes no more bytes */
    bool ack_end;               /* next ACK carries F_END */
    bool was_up;                /* `established` was called */
    bool asked;                 /* the peer, since the guard time began ... */
    uint32_t answer_due;        /* ... see vnet_link_ask() */
    bool redialed;              /* passive: CID lost, RESUME awaited */
    bool unsettled;             /* not known what came before the CID was lost */
    uint8_t work;               /* VNET_WORK_* owed */
    uint8_t fail_event;         /* FAILING: for `failed` */
    uint16_t fail_reason;       /* and of a reset that is owed */
    uint64_t *fail_counter;     /* FAILING: the core's */

    uint32_t id;                /* on the link, 0: none */
    uint32_t sid;               /* guest's, for queries */
    uint64_t tx_sent, tx_acked, tx_end;     /* tx_end: from ENDING on */
    uint64_t rx_got, rx_acked, rx_end;      /* rx_end: from ENDING on */
    uint32_t rx_lent;           /* buffers the CID holds */
    uint64_t rx_lent_bytes;

    GList core_node, port_node, link_node, work_node;
    VnetTimer timer;            /* connect or guard */
    VnetTimer ack_timer;
    /* When a CID was lost the last time, and how many bytes had been moved; 0:
     * never */
    int64_t lost_ns;
    uint64_t lost_moved;
    VnetShaped shaped[VNET_DIRECTIONS];
    bool captured_end[VNET_DIRECTIONS];
    VnetFlow flow;
};

/* The counters of its network. */
static inline VnetCoreStats *vnet_stream_stats(const VnetStream *s)
{
    return &s->port->net->stats;
}

/* A message about a stream (its id is not 0). Returns false if the link was
 * closed for it. */
bool vnet_stream_message(VnetLink *l, const VnetMsg *m);
/* All streams of the link end, or are parked: it was lost or is closed. */
void vnet_streams_link_lost(VnetLink *l, bool violation, bool may_park);
/* Whether a data connection of the client belongs here. */
bool vnet_stream_admits(VnetLink *l, uint32_t id, VnetStream **s);
/* Does what is owed (see VNET_WORK_*), and what became due. */
void vnet_stream_run_work(VnetStream *s);
void vnet_stream_timeout(VnetStream *s, VnetTimer *t);
void vnet_stream_free(VnetStream *s);

/* --- Between the files of the machine ------------------------------------ */

/* What a stream owes, see vnet_stream_owe(). */
enum {
    VNET_WORK_FAIL = 1 << 0,        /* call `failed` */
    VNET_WORK_RESET = 1 << 1,       /* reset for fail_reason */
    VNET_WORK_ESTABLISHED = 1 << 2, /* call `established` */
    VNET_WORK_TX = 1 << 3,          /* cid_tx, or cid_tx_end */
    VNET_WORK_RX = 1 << 4,          /* cid_rx */
    VNET_WORK_ACK = 1 << 5,
    VNET_WORK_FINISH = 1 << 6,      /* see whether both directions are done */
    VNET_WORK_CREDIT = 1 << 7,      /* tell of receives that were posted */
};

/* Makes a stream of a port; it has no link and no state yet. */
VnetStream *vnet_stream_new(VnetPort *port, VnetLink *l, bool active,
                            const VnetFlow *flow);
/* Gives it its id, on the link it has. */
void vnet_stream_join_link(VnetStream *s, uint32_t id);
/* Its connection, once it has an id. */
bool vnet_stream_make_cid(VnetStream *s);
/* Takes it away from its link, and out of all queues; its buffers are back. */
void vnet_stream_leave_link(VnetStream *s, bool abort_cid);
/* Ends with the callback `disconnected`, if the NIC is bound. */
void vnet_stream_disconnect(VnetStream *s, uint64_t *counter,
                            enum vtoe_reason reason);
/* Ends it because of its link, for this reason, by the callback that is due. */
void vnet_stream_lost(VnetStream *s, enum vtoe_reason reason);
/* An id of this end that is not in use. */
uint32_t vnet_link_new_id(VnetLink *l);
void vnet_stream_cid_drop(VnetStream *s, bool abort);
/* Whether the connection may carry bytes now. */
bool vnet_stream_cid_usable(const VnetStream *s);
void vnet_stream_kick_tx(VnetStream *s);
void vnet_stream_kick_rx(VnetStream *s);
void vnet_stream_event(VnetStream *s, const char *state,
                       enum vtoe_reason reason);
/* Has VNET_WORK_* done by the next vnet_core_run_deferred(). */
void vnet_stream_owe(VnetStream *s, unsigned work);
/* Sends a message about it; arg is the offset, or of REJECT and ABORT the
 * reason. */
void vnet_stream_send(VnetStream *s, uint8_t type, uint8_t flags,
                      uint64_t arg);
/*
 * Takes the stream out of everything, with all lent buffers back; what is left
 * is the memory, until the end of the dispatch.  Counts the end.  The terminal
 * callback and the message to the peer are the caller's.
 */
void vnet_stream_kill(VnetStream *s, uint64_t *counter, bool abort_cid,
                      const char *how, enum vtoe_reason reason);
/* Rejects a request that came, without telling the NIC. */
void vnet_stream_refuse(VnetStream *s, enum vtoe_reason reason,
                        uint64_t *counter);
void vnet_stream_reset_soon(VnetStream *s, enum vtoe_reason reason);
/* What may follow from a change: established, END to send, END to deliver. */
void vnet_stream_try_establish(VnetStream *s);
void vnet_stream_check_tx_end(VnetStream *s);
void vnet_stream_check_rx_end(VnetStream *s);
/* All bytes up to the end are here: tells the NIC. */
void vnet_stream_rx_finished(VnetStream *s);
/* All bytes below offset, which is news, are with the peer's guest. */
void vnet_stream_acked(VnetStream *s, uint64_t offset);

/* --- vnet-stream-guard.c: a connection that is lost alone ---------------- */

/* Whether something on the CID is missing, from now on or no more. */
void vnet_stream_check_guard(VnetStream *s);
bool vnet_stream_is_guarded(const VnetStream *s);
/* The time is over.  False: nothing explains it, and it does not go on. */
bool vnet_stream_guard_on(VnetStream *s);
/* The peer has answered: what explains the loss of CIDs has been heard. */
void vnet_streams_answered(VnetLink *l);
/* REDIAL, at the active end. */
void vnet_stream_redial(VnetStream *s);

/* --- vnet-stream-credit.c: streams on message transports ----------------- */

/* Gives a stream its credits if its link needs them. */
void vnet_credit_new(VnetStream *s);
/* All that follow but this one and _grants: only if it has (s->credit). */
void vnet_credit_free(VnetStream *s);
/* A CREDIT or WANT.  Returns false if the link was closed for it. */
bool vnet_credit_message(VnetStream *s, const VnetMsg *m);
/* Receives of the peer that may be sent into. */
uint32_t vnet_credit_grants(const VnetStream *s);
/* Longest message that may be sent now; 0: there is no receive for it. */
size_t vnet_credit_tx_room(const VnetStream *s);
/* A message of n bytes was sent. */
void vnet_credit_tx_used(VnetStream *s, size_t n);
/* There is no receive for n bytes that follow those sent: says so.  Once, until
 * a CREDIT came, as _may_want tells. */
bool vnet_credit_may_want(const VnetStream *s);
void vnet_credit_want(VnetStream *s, size_t n);
/* vnet_stream_pull_rx() on message transports. */
unsigned vnet_credit_pull_rx(VnetStream *s, VnetRxBuf *bufs, unsigned n,
                             size_t max);
/* A message came: there may be more to lend. */
void vnet_credit_rx_got(VnetStream *s);
/* Tells the peer what was posted since the last time. */
void vnet_credit_tell(VnetStream *s);
/* Resets a stream whose guest has closed if the peer has bytes for it. */
void vnet_credit_check_unread(VnetStream *s);
/* Whether a message of len bytes goes beyond the end that the peer told.  Then
 * _stray keeps the buffer, which the NIC must not see filled, and closes the
 * link; it goes back to the NIC when the connection is dropped. */
bool vnet_credit_is_stray(const VnetStream *s, size_t len);
void vnet_credit_stray(VnetStream *s, const VnetRxBuf *buf, size_t len);
void vnet_credit_cid_dropped(VnetStream *s);

/* --- vnet-stream-resume.c: streams outlive their link --------------------- */

/* resume_ms 0: they do not. */
void vnet_resume_init(VnetCore *core, uint32_t resume_ms);
void vnet_resume_fini(VnetCore *core);
/* Its CID is lost or will be: takes in what has come.  The NIC is called, and the
 * stream may be over. */
void vnet_resume_settle(VnetStream *s);
/* The same of all of a link that is being lost, as far as that takes time. */
void vnet_resume_stop_all(VnetLink *l);
/* Its link is being lost. False: it cannot go on, or is over. */
bool vnet_resume_park(VnetStream *s);
/* The active end: it goes on with another connection, on its link.  False: it
 * cannot. */
bool vnet_resume_at_once(VnetStream *s);
void vnet_resume_free(VnetStream *s);
/* It ends by agreement, and the peer may not know yet. Before it is killed. */
void vnet_resume_finished(VnetStream *s);
/* Whether the peer has the END that is due. */
bool vnet_resume_end_is_told(const VnetStream *s);
/* After HELLO; after a link was lost, for the others; before it is freed. */
void vnet_resume_link_up(VnetLink *l);
void vnet_resume_elsewhere(VnetLink *lost);
void vnet_resume_link_gone(VnetLink *l);
/* RESUME, of an id that is free; RESUMED; FORGET.  False: the link was closed
 * for it. */
bool vnet_resume_message(VnetLink *l, const VnetMsg *m);
bool vnet_resumed_message(VnetStream *s, const VnetMsg *m);
void vnet_resume_forget(VnetLink *l);

#endif /* VNET_STREAM_H */
