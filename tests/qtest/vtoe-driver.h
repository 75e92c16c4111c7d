/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small driver of the vtoe device for qtests: what a guest's driver does,
 * step by step, so that a test can do any step wrong.
 *
 * Waiting is polling of guest memory with a deadline of VTOE_WAIT_S, times
 * VTOE_SLOW of the environment; a test that waits longer has failed and says
 * for what.
 */
#ifndef VTOE_DRIVER_H
#define VTOE_DRIVER_H

#include "libqtest.h"
#include "libqos/libqos.h"
#include "libqos/pci.h"
#include "vtoe/vtoe-abi.h"

#define VTOE_WAIT_S         10
#define VTOE_TEST_PAIRS     4       /* most pairs a test uses */
#define VTOE_TEST_RING      64      /* entries, unless a test says otherwise */

typedef struct VtoeTestQueue {
    uint32_t index;                 /* pair, or VTOE_QUEUE_CONTROL */
    uint32_t send_size, recv_size, comp_size;
    uint64_t send, recv, comp, ctrl;
    uint32_t vector;
    uint32_t send_prod, recv_prod, comp_cons;
} VtoeTestQueue;

typedef struct VtoeDriver {
    QTestState *qts;
    QGuestAllocator *alloc;
    uint8_t *ram;                   /* guest memory, or NULL: qtest commands */
    QPCIDevice *pci;
    QPCIBar io, mmio;
    uint64_t features;
    uint32_t generation;
    unsigned pairs;                 /* set up, pair 0 included */
    VtoeTestQueue q[VTOE_TEST_PAIRS];
    VtoeTestQueue ctl;
    uint32_t next_tag;
    GArray *rings;                  /* guest memory, until the next reset */
    GQueue *events;                 /* met while waiting for another */
    uint64_t msix_word[VTOE_TEST_PAIRS + 1];
    bool msix;
} VtoeDriver;

/* --- Life ---------------------------------------------------------------- */

/* pci: found and not enabled yet; stays the caller's. */
VtoeDriver *vtoe_driver_new(QPCIDevice *pci, QTestState *qts,
                            QGuestAllocator *alloc);
void vtoe_driver_free(VtoeDriver *d);

/* Registers, through BAR 2 and BAR 0. */
uint32_t vtoe_rd(VtoeDriver *d, uint32_t reg);
void vtoe_wr(VtoeDriver *d, uint32_t reg, uint32_t val);
uint32_t vtoe_rd_io(VtoeDriver *d, uint32_t reg);
void vtoe_wr_io(VtoeDriver *d, uint32_t reg, uint32_t val);
void vtoe_wr64(VtoeDriver *d, uint32_t reg, uint64_t val);

/* STATUS = 0, forgets all queues. */
void vtoe_reset(VtoeDriver *d);
/* Up to FEATURES_OK. */
void vtoe_negotiate(VtoeDriver *d, uint64_t features);
/* Allocates rings and fills q; nothing is told to the device. */
void vtoe_queue_alloc(VtoeDriver *d, VtoeTestQueue *q, uint32_t index,
                      uint32_t entries);
/* Writes q's registers and enables it. Returns what QUEUE_ENABLE reads. */
uint32_t vtoe_queue_enable(VtoeDriver *d, VtoeTestQueue *q);
/*
 * One vector for the control queue (0) and each pair (1..), each writing into
 * a word of guest memory; before the queues are enabled.
 */
void vtoe_msix_enable(VtoeDriver *d);
/* The whole bring-up: features as offered, `pairs` pairs of `entries`. */
void vtoe_start(VtoeDriver *d, unsigned pairs, uint32_t entries);
/* The same with the features given. */
void vtoe_start_with(VtoeDriver *d, uint64_t features, unsigned pairs,
                     uint32_t entries);

/* --- Rings --------------------------------------------------------------- */

uint64_t vtoe_alloc(VtoeDriver *d, size_t size);
void vtoe_post_send(VtoeDriver *d, VtoeTestQueue *q,
                    const struct vtoe_send_desc *desc);
void vtoe_post_recv(VtoeDriver *d, VtoeTestQueue *q, uint64_t addr,
                    uint32_t len, uint32_t sid, uint32_t id);
/* Publishes the producer indices and rings if the device asked for it. */
void vtoe_kick(VtoeDriver *d, VtoeTestQueue *q);
/* Rings whatever the device asked for. */
void vtoe_doorbell(VtoeDriver *d, uint32_t index);
/* The next completion: waits, consumes. */
struct vtoe_comp vtoe_wait_comp(VtoeDriver *d, VtoeTestQueue *q);
/* Consumes one if it is there. */
bool vtoe_poll_comp(VtoeDriver *d, VtoeTestQueue *q, struct vtoe_comp *c);
/* Whether the vector fired since the last call. */
bool vtoe_msix_fired(VtoeDriver *d, unsigned vector);
void vtoe_wait_msix(VtoeDriver *d, unsigned vector);

/* --- Commands and events ------------------------------------------------- */

/* Posts, rings, and returns the answer (enum vtoe_cmd_status). */
unsigned vtoe_command(VtoeDriver *d, struct vtoe_cmd *cmd);
/* The same without waiting; returns the tag. */
uint32_t vtoe_command_post(VtoeDriver *d, struct vtoe_cmd *cmd);
/* The answer itself. */
struct vtoe_event vtoe_wait_answer(VtoeDriver *d, uint32_t tag);
/* The next event of that type (0: any), older ones first; others stay. */
struct vtoe_event vtoe_wait_event(VtoeDriver *d, unsigned type);
/* Of that type and SID. */
struct vtoe_event vtoe_wait_event_of(VtoeDriver *d, unsigned type,
                                     uint32_t sid);
bool vtoe_poll_event(VtoeDriver *d, struct vtoe_event *ev);
/* Whether an event of that type and SID is there already. */
bool vtoe_have_event(VtoeDriver *d, unsigned type, uint32_t sid);

/* An IPv4 flow between 10.0.0.<l> and 10.0.0.<r>. */
struct vtoe_flow vtoe_flow4(const uint8_t lmac[6], unsigned l, uint16_t lport,
                            const uint8_t rmac[6], unsigned r, uint16_t rport);
unsigned vtoe_listen(VtoeDriver *d, uint32_t id, uint16_t port,
                     uint64_t backlog);
unsigned vtoe_connect(VtoeDriver *d, uint32_t sid, unsigned pair,
                      const struct vtoe_flow *flow, uint64_t credit);
unsigned vtoe_accept(VtoeDriver *d, uint32_t sid, unsigned pair,
                     uint64_t credit);
/* op with a value, a reason, for a SID. */
unsigned vtoe_sid_command(VtoeDriver *d, uint8_t op, uint32_t sid,
                          uint64_t value, uint16_t reason);
/* Sends len bytes of memory at addr. */
void vtoe_send(VtoeDriver *d, VtoeTestQueue *q, uint32_t sid, uint64_t addr,
               uint32_t len);

/* --- Waiting, and what the outside sees ---------------------------------- */

/* Fails the test with msg if the deadline has passed, else sleeps shortly. */
void vtoe_wait_step(gint64 *deadline, const char *msg);
/* A counter of the device at this QOM path or id. */
uint64_t vtoe_counter(QTestState *qts, const char *id, const char *name);
void vtoe_wait_counter(QTestState *qts, const char *id, const char *name,
                       uint64_t at_least);
/* The monitor answers within 100 ms (times VTOE_SLOW), not counting waits for
 * a processor. */
void vtoe_assert_monitor(QTestState *qts);
/* For "make report", see docs/promises.rst. */
void vtoe_figure(const char *name, double value, const char *unit,
                 const char *bar, bool holds);
/* At the end of the program, the longest answer goes into the file that
 * VTOE_FIGURES names. */
void vtoe_monitor_keep_figure(void);
/* Streams that are open in the device. */
unsigned vtoe_open_streams(QTestState *qts, const char *id);
/* Descriptors that this QEMU has open. */
unsigned vtoe_open_files(QTestState *qts);
/* Waits until the link of the netdev is up. */
void vtoe_wait_link_up(QTestState *qts, const char *netdev);

#endif /* VTOE_DRIVER_H */
