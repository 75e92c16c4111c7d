/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest and an overlay for tests of the vtoe device without QEMU.
 *
 * The guest: FAKE_RAM bytes of memory from address 0 on, rings at fixed places
 * in it, and what a driver does with them.  Memory that the device maps is a
 * heap copy for as long as it is mapped, so that the address sanitizer finds
 * any use after unmapping and any byte beyond.
 *
 * The overlay: the functions of vnet-port.h, which the device calls.  They
 * check that the device keeps the contract, and record; the test plays the
 * peer by calling the stream's callbacks through the fake_peer_*() functions.
 */
#ifndef VTOE_FAKE_H
#define VTOE_FAKE_H

#include <glib.h>
#include <string.h>
#include "vtoe-dev.h"

#define FAKE_RAM        (8u << 20)
#define FAKE_PAIRS      4u
#define FAKE_VECTORS    8u
#define FAKE_RING       64u         /* default size of every ring */
#define FAKE_DATA       (4u << 20)  /* free for buffers from here on */
#define FAKE_LENT       32u
#define FAKE_ALL_FEATURES \
    (VTOE_F_CSUM | VTOE_F_TSO | VTOE_F_RX_CSUM | VTOE_F_RX_TSO | VTOE_F_STREAM)

typedef struct Fake Fake;

struct VnetStream {
    Fake *f;
    const VnetStreamOps *ops;
    void *user;
    VnetFlow flow;
    uint32_t sid;
    bool passive, accepted, established, gone;
    bool ended, rx_closed;              /* the device said so */
    uint64_t end_offset;
    bool rejected, aborted;
    enum vtoe_reason reason;            /* of reject or abort */
    unsigned tx_ready, rx_ready;        /* calls */
    uint64_t tx_sent, tx_acked, rx_received;
    bool rx_ended;
    VnetRxBuf lent[FAKE_LENT];
    unsigned nlent;
};

struct VnetPort {
    Fake *f;
    uint8_t mac[6];
    bool streams;
};

/* The driver's view of one queue. */
typedef struct FakeQueue {
    uint64_t addr[4];
    uint32_t size[3];
    uint32_t send_prod, recv_prod, comp_cons;
} FakeQueue;

struct Fake {
    VtoeConfig cfg;
    VtoeDev *dev;
    VnetPort port;
    uint8_t *ram;
    FakeQueue q[FAKE_PAIRS + 1];        /* the control queue last */
    int64_t now, timer;
    GPtrArray *streams;                 /* VnetStream, in order of opening */
    unsigned open_streams;              /* as told by streams_changed */

    unsigned maps;                      /* mapped at the moment */
    VtoeMap mapped[VTOE_FRAME_MAX_DESC];    /* the first of them */
    unsigned dma_ops;                   /* reads, writes, loads, stores, maps */
    bool forbid_dma;                    /* any access fails the test */
    /* Called once, between the device's store of an event index and its look
     * at the guest's index: what the guest does just before it would kick. */
    void (*on_barrier)(Fake *f);
    unsigned raised[FAKE_VECTORS];
    unsigned errors;                    /* guest_error calls */
    unsigned filter_changes;
    uint64_t kicks;                     /* pairs to kick later */
    bool kick_control;
    bool rx_greedy;                     /* rx_ready takes a buffer at once */
    GArray *woken;                      /* SIDs, in the order of rx_ready */

    VnetFrameResult frame_result;
    unsigned frames;
    uint8_t frame[VTOE_FRAME_MAX_LEN];  /* the last one sent */
    size_t frame_len;
    VnetFrameHdr frame_hdr;
    unsigned frame_niov;
    void (*on_frame)(Fake *f);  /* before it is read; NULL: nothing */
};

extern const uint8_t fake_mac[6], fake_peer_mac[6];

/* A device with default configuration, changed by the caller through cfg
 * before fake_start() makes it. */
void fake_init(Fake *f);
/* The same with memory of the caller's, which fake_finish() will g_free(). */
void fake_init_ram(Fake *f, uint8_t *ram);
void fake_start(Fake *f);
/* Resets and frees; checks that nothing is mapped. */
void fake_finish(Fake *f);
/* Up to DRIVER_OK with all pairs and the control queue. */
void fake_bring_up(Fake *f, uint64_t features);
/* fake_init() to fake_bring_up() with all features. */
void fake_up(Fake *f);

uint32_t fake_rd(Fake *f, uint32_t reg);
void fake_wr(Fake *f, uint32_t reg, uint32_t val);
/* Default configuration of queue (a pair or VTOE_QUEUE_CONTROL), not enabled. */
void fake_configure(Fake *f, uint32_t queue);
FakeQueue *fake_queue(Fake *f, uint32_t queue);
uint32_t fake_ctrl_get(Fake *f, uint32_t queue, size_t off);
void fake_ctrl_set(Fake *f, uint32_t queue, size_t off, uint32_t val);
#define FAKE_CTRL(field) offsetof(struct vtoe_queue_ctrl, field)

/* Kicks later until nothing is left, then ends the batch. */
void fake_run(Fake *f);
/* A doorbell, whether wanted or not, then fake_run(). */
void fake_kick(Fake *f, uint32_t queue);

/* Write and publish a descriptor, without a kick. */
void fake_post_send(Fake *f, uint32_t pair, const struct vtoe_send_desc *desc);
void fake_post_recv(Fake *f, uint32_t pair, const struct vtoe_recv_desc *desc);
void fake_post_cmd(Fake *f, const struct vtoe_cmd *cmd);
/* Shorthands. */
void fake_post_data(Fake *f, uint32_t pair, uint32_t sid, uint64_t addr,
                    uint32_t len);
void fake_post_buf(Fake *f, uint32_t pair, uint32_t sid, uint64_t addr,
                   uint32_t len, uint32_t id);
/* The next completion or event; false if there is none. */
bool fake_comp(Fake *f, uint32_t pair, struct vtoe_comp *c);
bool fake_event(Fake *f, struct vtoe_event *ev);
/* Takes the next completion, which must be of that type and SID. */
struct vtoe_comp fake_expect_comp(Fake *f, uint32_t pair, unsigned type,
                                  uint32_t sid);
struct vtoe_event fake_expect_event(Fake *f, unsigned type, uint32_t sid);
void fake_expect_no_comp(Fake *f, uint32_t pair);
void fake_expect_no_event(Fake *f);

/* Posts a command, runs, and returns the status of its answer, which must be
 * the next event. *answer may be NULL. */
unsigned fake_cmd(Fake *f, unsigned op, uint32_t sid, uint32_t pair,
                  uint64_t value, unsigned reason, struct vtoe_event *answer);
struct vtoe_cmd fake_connect_cmd(uint32_t sid, uint32_t pair, uint64_t limit);
unsigned fake_run_cmd(Fake *f, const struct vtoe_cmd *cmd,
                      struct vtoe_event *answer);
/* An established stream opened by the guest; its event was taken. */
VnetStream *fake_open(Fake *f, uint32_t sid, uint32_t pair, uint64_t limit);
/* Listener id for IPv4 port lport, any address. */
void fake_listen(Fake *f, uint32_t id, uint16_t lport, uint32_t backlog);

/* The peer. */
VnetFlow fake_flow(uint16_t lport);
/* Asks for a stream; NULL if refused, with the reason. */
VnetStream *fake_peer_request(Fake *f, const VnetFlow *flow,
                              enum vtoe_reason *reason);
void fake_peer_established(VnetStream *s);
void fake_peer_failed(VnetStream *s, unsigned event, enum vtoe_reason reason);
/* Lends buffers and fills them with up to len bytes of fake_byte(); returns how
 * many the device took. */
size_t fake_peer_data(VnetStream *s, size_t len);
uint8_t fake_byte(uint64_t offset);
void fake_peer_end(VnetStream *s);
void fake_peer_ack(VnetStream *s, uint64_t offset);
void fake_peer_gone(VnetStream *s, enum vtoe_reason reason);
void fake_batch_end(Fake *f);

uint32_t fake_violation(Fake *f);

/* Shorthands for what was told. */
static inline uint64_t offset_of(struct vtoe_comp c)
{
    return GUINT64_FROM_LE(c.u.offset);
}

static inline unsigned reason_of(struct vtoe_event ev)
{
    return GUINT16_FROM_LE(ev.reason);
}

static inline void query_gone(Fake *f, uint32_t sid)
{
    g_assert_cmpuint(fake_cmd(f, VTOE_CMD_QUERY, sid, 0, 0, 0, NULL), ==,
                     VTOE_CMD_UNKNOWN_SID);
}

#endif
