/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inside of fake links, for the files that make them: vnet-fake-link.c, and
 * vnet-fake-msg.c for the streams of message links; and vnet-fake-fault.c.
 */
#ifndef VNET_FAKE_INT_H
#define VNET_FAKE_INT_H

#include "vnet-fake.h"

typedef struct FakeMsgConn FakeMsgConn;
typedef struct FakeMsgCid FakeMsgCid;

/* One direction of a connection. */
typedef struct Pipe {
    GByteArray *bytes;
    bool fin;                   /* the writer ends behind these bytes */
    int err;                    /* the writer broke it: bytes are gone */
    bool reader_gone;
    bool fin_told;
} Pipe;

struct FakeConn {
    FakeLink *l;
    VnetPreamble p;
    Pipe dir[2];                /* [0]: to the client, [1]: to the server */
    bool open[2];               /* [0]: the client's end is open */
    bool arrived;               /* the server has seen the preamble */
    bool silent;                /* an end that closes is not noticed */
    VnetCid *cid[2];            /* data: of either end, NULL: not yet or gone */
    FakeMsgConn *m;             /* data, on message links */
};

struct VnetCid {
    FakeEnd *e;
    VnetStream *s;
    FakeConn *c;                /* NULL: not connected yet */
    VnetPreamble p;
    bool up, want_tx, want_rx, tx_ended, eof_told;
    bool closed;
    unsigned busy;
    VnetRxBuf lent[16];
    unsigned nlent;
    FakeMsgCid *m;              /* on message links */
};

struct FakeEnd {
    FakeLink *l;
    FakeHost *h;
    bool server;
    VnetLink *vl;
    FakeConn *control, *frame;
    FakeConn *joining;          /* control connection being put forward */
    GPtrArray *cids;
    int64_t retry_at;           /* client: INT64_MAX: never */
    bool frames_busy, frames_waited;
    bool frame_wanted;
    VnetPreamble frame_preamble;
    GByteArray *frames_in;
    uint8_t swallow;            /* type not sent by the other end */
};

struct FakeLink {
    FakeWorld *w;
    FakeEnd end[2];             /* [0]: client, [1]: server */
    GPtrArray *conns;
    GPtrArray *pending;         /* data connections before their OPEN */
    bool stall_control, stall_data, block, cid_null;
    const char *identity;       /* of either peer; NULL: none */
    int connect_err;
    VnetTransportOps ops;
    /* Message links: see fake_link_messages() */
    bool stall_done;
    unsigned max_sge, sends_max;
};

typedef enum ActKind {
    ACT_TIMER, ACT_DIAL, ACT_CONTROL, ACT_DIAL_FRAMES, ACT_FRAMES,
    ACT_FRAMES_READY, ACT_DIAL_CID, ACT_ARRIVE, ACT_CLAIM, ACT_TX, ACT_RX,
    ACT_MSG_TX, ACT_MSG_RX, ACT_MSG_PLACE, ACT_MSG_SENT, ACT_MSG_GOT,
    ACT_MSG_DOWN,
} ActKind;

typedef struct Act {
    ActKind kind;
    void *p;
} Act;

static inline void fake_add(GArray *a, ActKind kind, void *p)
{
    const Act act = { kind, p };

    g_array_append_val(a, act);
}

/* 1 to n, as chance has it; n without chance. / Heads; never without chance. */
guint32 fake_some(FakeWorld *w, guint32 n);
bool fake_coin(FakeWorld *w);
/* Takes one end's part of a connection away. */
void fake_conn_close(FakeConn *c, bool server, bool abort);
/* The CID's part of cid_close().  Its memory stays while c->busy counts calls
 * that will _leave it. */
void fake_cid_close(VnetCid *c, bool abort);
void fake_cid_leave(VnetCid *c);

/* What could happen to a link; does one of these. */
void fake_link_acts(GArray *a, FakeLink *l);
void fake_link_do(const Act *act);
void fake_link_free(FakeLink *l);

/* --- vnet-fake-msg.c, for message links ---------------------------------- */

void fake_msg_attach(VnetCid *c);
/* What could happen to a stream's connection; does one of these. */
void fake_msg_acts(GArray *a, VnetCid *c);
void fake_msg_do(const Act *act);
void fake_msg_conn_free(FakeConn *c);
/* Posts a message; the test fails if there is no receive for it. */
void fake_msg_send(FakeConn *conn, bool to_server, const void *p, size_t len);
/* Loses all on its way to one end that is not in a receive yet. */
void fake_msg_lose(FakeConn *c, bool to_server);

#endif /* VNET_FAKE_INT_H */
