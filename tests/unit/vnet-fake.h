/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world for tests of the overlay: hosts with a clock of their own, NICs that
 * send and check a pattern, and links whose connections are byte queues in
 * memory.
 *
 * Nothing happens by itself.  Each thing that could happen next (bytes of a
 * connection arrive, a connection is made, a socket becomes writable, a timer
 * fires) is an action; fake_step() does one of them: in a fixed order, or one
 * that a seed decides.  After each action the hosts run their deferred work, as
 * the end of a dispatch does.  With a seed, reads and writes are partial, too.
 *
 *   FakeWorld -- FakeHost (VnetCore) -- FakeNic (VnetPort) -- FakeStream
 *            \-- FakeLink: two FakeEnds (VnetLink), FakeConns between them
 *
 * A link can have a message transport instead (vnet-fake-msg.c): then a
 * stream's connection carries messages, each into a receive that was posted
 * before.  A message without one fails the test.
 *
 * The NICs check for themselves what holds always: callbacks come in an order
 * that the interface allows, the last one once; bytes are the pattern's, none
 * lost or doubled; buffers come back in order.
 */
#ifndef VNET_FAKE_H
#define VNET_FAKE_H

#include <glib.h>
#include "vnet-query.h"

typedef struct FakeWorld FakeWorld;
typedef struct FakeHost FakeHost;
typedef struct FakeNic FakeNic;
typedef struct FakeStream FakeStream;
typedef struct FakeLink FakeLink;
typedef struct FakeEnd FakeEnd;
typedef struct FakeConn FakeConn;

struct FakeWorld {
    int64_t now;
    GRand *rand;                /* NULL: fixed order, whole reads and writes */
    GPtrArray *hosts, *links;
    size_t pipe_size;           /* what a data connection holds */
    size_t control_size;
    uint32_t resume_ms;         /* of hosts that follow */
    guint64 steps;
    guint turn;                 /* fixed order: round robin */
};

struct FakeHost {
    FakeWorld *w;
    VnetCore *core;
    int64_t timer;              /* INT64_MAX: not armed */
    bool deferred;
    GPtrArray *nics;
    GPtrArray *nets;            /* its core's, first its own */
    uint64_t next_random;
    guint link_events, stream_events;
    char last_event[32];
    /* Limits told, and what of the last one */
    guint limits_told[VNET_CORE_LIMITS];
    const VnetNet *limit_net;
    const VnetPort *limit_port;
    const VnetLink *limit_link;
    uint64_t limit_suppressed;
    bool limits_busy;           /* none can be told */
};

/* What a NIC does with a request. */
typedef enum FakeAnswer {
    FAKE_ACCEPT,                /* from inside connect_request */
    FAKE_LATER,                 /* the test answers */
    FAKE_REFUSE,                /* by the return value */
} FakeAnswer;

struct FakeNic {
    FakeHost *h;
    VnetNet *net;
    VnetPort *port;
    uint8_t mac[6];
    FakeAnswer answer;
    enum vtoe_reason refuse;
    GPtrArray *streams;         /* all that ever were */
    /* What passive streams are like */
    uint64_t passive_tx;        /* bytes to send, then shutdown */
    bool passive_hold;          /* ... no shutdown */
    /* Buffers that its streams share; 0: no end of them */
    unsigned pool, pool_free;
    GQueue waiting;             /* FakeStreams that got none */
    bool carrier;
    guint carrier_told, batches, frames, tx_ready, capabilities;
    VnetFrameResult frame_result;
    size_t last_len;
    VnetFrameHdr last_hdr;
    uint8_t last_frame[70000];
};

struct FakeStream {
    FakeNic *nic;
    VnetStream *s;              /* NULL: over */
    VnetFlow flow;
    bool active, answered;
    unsigned pattern;           /* where in the pattern it begins (sending) */
    unsigned rx_pattern;
    uint64_t tx_posted, tx_acked, tx_seen;
    uint64_t tx_total;          /* shutdown there; UINT64_MAX: never */
    bool shut;
    uint64_t rx_off;
    size_t rx_buf;              /* size of each buffer lent */
    bool rx_vary;               /* ... at most: they differ */
    unsigned rx_serial;
    bool rx_paused;
    bool rx_closed;
    unsigned spare;             /* buffers that may be lent ahead (no pool) */
    bool waits;                 /* for a buffer of the pool */
    GQueue lent;                /* of VnetRxBuf */
    /* What was seen */
    unsigned established, rx_ended, failed, disconnected;
    enum vtoe_event_type event;
    enum vtoe_reason reason;
    /* Called in rx_done, established, acked, if set: what a NIC might do */
    void (*hook)(FakeStream *fs, const char *where);
    void *hook_data;
};

FakeWorld *fake_world_new(guint32 seed);    /* 0: fixed order */
/* Frees all; checks that nothing is left in the cores. */
void fake_world_free(FakeWorld *w);
FakeHost *fake_host_new(FakeWorld *w, const VnetCoreConfig *cfg);
FakeHost *fake_host(FakeWorld *w);          /* with vni 7 and usual limits */
FakeNic *fake_nic_new(FakeHost *h, uint8_t n);  /* MAC 52:54:00:00:00:n */
/* A further network id; and its end, with its NICs. */
VnetNet *fake_net_new(FakeHost *h, uint32_t vni);
void fake_net_free(FakeHost *h, VnetNet *net);
FakeNic *fake_nic_in(FakeHost *h, VnetNet *net, uint8_t n);
void fake_nic_free(FakeNic *n);             /* detaches */
/* a connects to b. */
FakeLink *fake_link_new(FakeWorld *w, FakeHost *a, FakeHost *b);
/* Before anything happens: streams on l use messages of up to max_msg bytes,
 * each end has up to max_posted receives posted per stream. */
void fake_link_messages(FakeLink *l, uint32_t max_msg, uint32_t max_posted);
/* No completion of a send is told; those not told are lost with the CID. */
void fake_link_stall_sends(FakeLink *l, bool stall);
/* A message towards fs, whatever its sender was told. */
void fake_stream_inject_msg(FakeStream *fs, const void *p, size_t len);
void fake_links_free(FakeWorld *w);         /* all, whatever goes on */
VnetLink *fake_link_client(FakeLink *l);
VnetLink *fake_link_server(FakeLink *l);
/* Makes one end's transport say that the connection was lost. */
void fake_link_cut(FakeLink *l, bool server_sees, bool client_sees);
/* No delivery: control (and everything else of the link) stands still. */
void fake_link_stall_control(FakeLink *l, bool stall);
void fake_link_stall_data(FakeLink *l, bool stall);
void fake_link_frames_busy(FakeLink *l, bool server, bool busy);
/* No attempt to connect succeeds while set. */
void fake_link_block(FakeLink *l, bool block);
/* Who each end's transport says that its peer is; NULL: nobody knows. */
void fake_link_set_identity(FakeLink *l, const char *identity);
/* Raw bytes into a control connection, as if the peer had sent them. */
void fake_link_inject(FakeLink *l, bool to_server, const void *p, size_t len);
void fake_link_inject_msg(FakeLink *l, bool to_server, const VnetMsg *m);
/* Drops control messages of this type in one direction (0: none, 255: all).
 * Injected ones are not dropped. */
void fake_link_swallow(FakeLink *l, bool to_server, uint8_t type);
/* Bytes waiting on data connections, both directions. */
size_t fake_link_data_waiting(FakeLink *l);
/* Breaks the data connection of a stream, if there is one: both ends see err,
 * and what was on its way is gone. */
void fake_stream_break_cid(FakeStream *fs, int err);
/* The same, but only fs sees it, also when it closes its end. */
void fake_stream_break_half(FakeStream *fs, int err);
/* Puts bytes into the data connection of a stream, towards fs. */
void fake_stream_inject(FakeStream *fs, const void *p, size_t len);
/* Open connections, control and frame connection included. */
unsigned fake_link_conns(FakeLink *l);
/* What the server said in its hello. */
uint64_t fake_link_token(FakeLink *l);
/* cid_open() fails / connecting a data connection fails. */
void fake_link_refuse_cids(FakeLink *l, bool open_null, int connect_err);

bool fake_step(FakeWorld *w);               /* false: nothing can happen */
void fake_run(FakeWorld *w);                /* until only time can pass */
void fake_advance(FakeWorld *w, int64_t ns);/* ... and lets time pass */
void fake_dispatch(FakeWorld *w);           /* end of a dispatch */

FakeStream *fake_connect(FakeNic *n, const uint8_t mac[6], uint64_t tx_total);
/* The passive side of fs on this NIC, or NULL. */
FakeStream *fake_peer_of(FakeNic *nic, FakeStream *fs);
void fake_post(FakeStream *fs, uint64_t bytes);
void fake_shutdown(FakeStream *fs);         /* at what was posted */
void fake_accept(FakeStream *fs);
void fake_resume(FakeStream *fs);           /* after rx_paused */
VnetFrameResult fake_send_frame(FakeNic *n, const uint8_t dst[6],
                                const uint8_t src[6], size_t len);
const VnetCoreStats *fake_stats(FakeHost *h);       /* of its own id */
const VnetCoreStats *fake_net_stats(const VnetNet *net);
const VnetLinkStats *fake_link_stats(FakeLink *l, bool server);
const char *fake_last_error(FakeLink *l, bool server);
/* The sums that always hold, see vnet-stats.h. */
void fake_check_sums(FakeHost *h);

#endif /* VNET_FAKE_H */
