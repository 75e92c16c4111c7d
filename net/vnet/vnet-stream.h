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

struct VnetStream {
    VnetCore *core;
    VnetPort *port;
    VnetLink *link;             /* NULL: none was chosen, or it is gone */
    VnetCid *cid;               /* NULL: none, or lost */
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
    VnetFlow flow;
};

/* A message about a stream (its id is not 0). Returns false if the link was
 * closed for it. */
bool vnet_stream_message(VnetLink *l, const VnetMsg *m);
/* All streams of the link end: it was lost or is closed. */
void vnet_streams_link_lost(VnetLink *l, bool violation);
/* Whether a data connection of the client belongs here. */
bool vnet_stream_admits(VnetLink *l, uint32_t id, VnetStream **s);
/* Does what is owed (see VNET_WORK_*), and what became due. */
void vnet_stream_run_work(VnetStream *s);
void vnet_stream_timeout(VnetStream *s, VnetTimer *t);
void vnet_stream_free(VnetStream *s);

#endif /* VNET_STREAM_H */
