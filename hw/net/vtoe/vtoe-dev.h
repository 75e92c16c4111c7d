/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe device's behaviour: registers, rings, commands, events, streams and
 * frames.  No PCI, no QEMU: vtoe-pci.c is the shell around it, unit tests and
 * fuzzers are others (docs/specs/vtoe.rst).
 *
 * Threads: the device thread (the VNET thread, or the main loop when the NIC
 * sits on another netdev) owns everything here.  vtoe_dev_reg_read() alone may
 * also be called by vCPUs: what it reads is constant or a single word.
 * Register writes are handed to the device thread by the shell, in order.
 */
#ifndef VTOE_DEV_H
#define VTOE_DEV_H

#include "vtoe-dispatch.h"
#include "vtoe/vnet-port.h"

typedef struct VtoeDev VtoeDev;

/* A piece of guest memory mapped into the host, RAM only. */
typedef struct VtoeMap {
    void *host;
    size_t len;
    void *priv;             /* the shell's: what unmap needs */
    uint64_t addr;          /* guest address it was mapped from */
} VtoeMap;

typedef struct VtoeHostOps {
    /* Copies between guest RAM and host; false if any byte is not RAM. */
    bool (*dma_read)(void *opaque, uint64_t addr, void *buf, size_t len);
    bool (*dma_write)(void *opaque, uint64_t addr, const void *buf, size_t len);
    /* 32-bit little-endian load and store, single-copy atomic, for indices;
     * the store comes after every dma_write before it, the load before every
     * dma_read after it (barriers are the shell's). */
    bool (*dma_load32)(void *opaque, uint64_t addr, uint32_t *val);
    bool (*dma_store32)(void *opaque, uint64_t addr, uint32_t val);
    /* Full barrier between a store32 and a load32 (index against event). */
    void (*barrier)(void *opaque);
    /* Maps guest RAM; false if any byte is not RAM or the range is not
     * contiguous in the host. */
    bool (*dma_map)(void *opaque, uint64_t addr, size_t len, bool to_guest,
                    VtoeMap *map);
    /* written: how many bytes from the start were written (dirty). */
    void (*dma_unmap)(void *opaque, VtoeMap *map, bool to_guest,
                      size_t written);
    void (*raise_vector)(void *opaque, unsigned vector);
    /* Calls vtoe_dev_kick(queue) again soon: work was left over its budget. */
    void (*kick_later)(void *opaque, unsigned queue);
    /* A clock that stands still while the VM is stopped. */
    int64_t (*now_ns)(void *opaque);
    /* The next vtoe_dev_tick() is due at when_ns (INT64_MAX: none); replaces
     * what was asked for before. */
    void (*set_timer)(void *opaque, int64_t when_ns);
    /* A violation or a refusal worth a rate-limited log line. */
    void (*guest_error)(void *opaque, const char *msg);
    /* Frames to the netdev.  On vnet this is vnet_port_send(). */
    VnetFrameResult (*send_frame)(void *opaque, const VnetFrameHdr *hdr,
                                  const struct iovec *iov, unsigned niov,
                                  size_t len);
    /* MAC or receive filter changed. */
    void (*filter_changed)(void *opaque);
    /* The number of open streams changed to n (migration blocker). */
    void (*streams_changed)(void *opaque, unsigned n);
    /* State changes for trace events; any may be NULL. */
    void (*trace_stream)(void *opaque, uint32_t sid, const char *what,
                         uint64_t value);
} VtoeHostOps;

typedef struct VtoeConfig {
    uint8_t mac[6];
    uint16_t mtu;               /* largest MTU, 68..65535 */
    uint64_t features;          /* VTOE_F_* offered */
    unsigned pairs;             /* pair 0 and stream pairs, 1..64 */
    unsigned vectors;           /* MSI-X vectors; 0: none */
    unsigned max_ring;          /* power of two, 16..32768 */
    unsigned max_streams;
    unsigned max_listens;
    unsigned max_inflight;
    bool evi;                   /* early virtual interrupt: at the begin ... */
    bool eoc;                   /* ... and at the end of a batch */
    VtoeDispatchConfig dispatch;
    int64_t accept_timeout_ns;  /* guest must answer CONNECT_REQUEST */
    int64_t close_timeout_ns;   /* a closed stream may linger in the device */
} VtoeConfig;

/* Counters: the same names in QMP, ethtool -S (through the guest's own), docs.
 * Every frame and every refused thing is in exactly one of them, but for rx_held.
 * dispatch_vmm and dispatch_rate say how it is now. */
#define VTOE_COUNTERS(X) \
    X(tx_frames) X(tx_frame_bytes) X(rx_frames) X(rx_frame_bytes) \
    X(rx_held) X(rx_drop_no_buffer) X(rx_drop_too_large) X(rx_drop_filter) \
    X(rx_drop_not_ready) X(rx_drop_bad_header) \
    X(tx_drop_netdev) X(tx_drop_bad_header) X(tx_drop_short) \
    X(tx_stream_bytes) X(rx_stream_bytes) X(tx_stream_descs) \
    X(rx_stream_bufs) X(tx_unknown_sid) X(rx_unknown_sid) \
    X(connects) X(accepts) X(connect_requests) X(established) \
    X(rejected_no_listener) X(rejected_backlog) X(rejected_limit) \
    X(rejected_timeout) X(rejected_not_ready) X(stream_resets) \
    X(disconnected_graceful) X(disconnected_reset) \
    X(commands) X(commands_refused) X(events) X(event_ring_full) \
    X(comp_ring_full) X(doorbells) X(polled_kicks) X(interrupts) \
    X(interrupts_suppressed) X(violations) X(resets) X(bytes_copied) \
    X(dispatch_vmm) X(dispatch_rate) X(dispatch_to_vmm) X(dispatch_to_guest)
typedef struct VtoeStats {
#define VTOE_COUNTER_FIELD(n) uint64_t n;
    VTOE_COUNTERS(VTOE_COUNTER_FIELD)
#undef VTOE_COUNTER_FIELD
} VtoeStats;

VtoeDev *vtoe_dev_new(const VtoeConfig *cfg, const VtoeHostOps *ops,
                      void *opaque);
void vtoe_dev_free(VtoeDev *d);             /* after a reset */

uint32_t vtoe_dev_reg_read(VtoeDev *d, uint32_t offset, unsigned size);
void vtoe_dev_reg_write(VtoeDev *d, uint32_t offset, uint32_t val,
                        unsigned size);
/* Full reset, as STATUS = 0: streams end, peers are told, rings are off. */
void vtoe_dev_reset(VtoeDev *d);
/*
 * The doorbell of a pair, or of VTOE_QUEUE_CONTROL.  Kicks, register writes and
 * ticks end their batch themselves; after calling a port op (frame, tx_ready,
 * link_state) the caller ends it with batch_end().
 */
void vtoe_dev_kick(VtoeDev *d, unsigned queue);
/*
 * Polling: the host looks at the rings instead of waiting for doorbells.  poll()
 * says that it begins, which asks the guest for none, or ends, which asks again;
 * then the host looks once more.  look() is cheap, and may be called at any time;
 * if it is true, run() follows, which does what a doorbell would.
 */
void vtoe_dev_poll(VtoeDev *d, unsigned queue, bool on);
bool vtoe_dev_look(VtoeDev *d, unsigned queue);
void vtoe_dev_run(VtoeDev *d, unsigned queue);
/* Both, for all queues: how many had something. */
unsigned vtoe_dev_look_all(VtoeDev *d);
/* VMM-driven now: vtoe_dev_tick() looks at the rings, and the guest is asked for no
 * doorbell.  Who can look more often is free to. */
bool vtoe_dev_vmm_driven(const VtoeDev *d);
/* End of a batch: publishes completions and events, raises vectors. */
void vtoe_dev_batch_end(VtoeDev *d);
/* Time passed: accept and close time-outs. Returns when to call again (ns,
 * INT64_MAX: never), which set_timer() was told, too. */
int64_t vtoe_dev_tick(VtoeDev *d);
/* Stops touching guest memory (VM stopped) and goes on. While stopped, nothing
 * is lost: frames are dropped and counted, streams wait. */
void vtoe_dev_set_running(VtoeDev *d, bool running);

/* The port ops to give to vnet_port_attach() with opaque = the VtoeDev; frame,
 * tx_ready and link_state also serve other netdevs. */
extern const VnetPortOps vtoe_dev_port_ops;
/* The port, once attached, NULL before detaching. */
void vtoe_dev_set_port(VtoeDev *d, VnetPort *port);
/* The overlay is gone for good (netdev_del); the port was detached before.
 * Tells the guest DEVICE_REMOVED; what it asks for later finds no peer. */
void vtoe_dev_removed(VtoeDev *d);

unsigned vtoe_dev_open_streams(const VtoeDev *d);
void vtoe_dev_get_stats(const VtoeDev *d, VtoeStats *st);
const uint8_t *vtoe_dev_mac(const VtoeDev *d);
/* For QMP: calls fn for each open stream with its SID and overlay state. */
void vtoe_dev_foreach_stream(VtoeDev *d,
                             void (*fn)(void *opaque, uint32_t sid,
                                        enum vtoe_stream_state state,
                                        uint64_t rx_limit, VnetStream *s),
                             void *opaque);

/* What migrates while no stream is open: registers, rings, listeners. */
#define VTOE_STATE_MAX_PAIRS 65     /* control queue last */
typedef struct VtoeQueueState {
    uint32_t size[3];               /* send, recv, comp */
    uint64_t addr[4];               /* send, recv, comp, ctrl */
    uint32_t vector, enabled;
    uint32_t send_cons, recv_cons, comp_prod;
    uint32_t recv_ready;            /* its entries in VtoeState.recv */
    uint64_t send_done;             /* frames completed (pair 0) */
} VtoeQueueState;
/* A recv descriptor that was copied in and not completed yet.  Its slot in the
 * ring is the guest's again, so the ring cannot be wound back to it. */
typedef struct VtoeRecvState {
    uint64_t addr;
    uint32_t len, sid, id;
} VtoeRecvState;
typedef struct VtoeListenState {
    uint32_t id, backlog;
    uint8_t family;
    uint16_t lport;
    uint8_t laddr[16];
} VtoeListenState;
typedef struct VtoeState {
    uint64_t drv_features;
    uint32_t status, generation, queue_select, violation, rx_filter;
    uint8_t mac[6];
    uint32_t nqueues;
    VtoeQueueState q[VTOE_STATE_MAX_PAIRS];
    uint32_t nlistens;
    VtoeListenState *listens;       /* g_free()d by the caller */
    uint32_t nrecv;                 /* sum of all recv_ready */
    VtoeRecvState *recv;            /* by queue, oldest first; g_free() */
} VtoeState;
void vtoe_dev_save(const VtoeDev *d, VtoeState *st);
/* Validates every field; on false *err is a static text and nothing changed. */
bool vtoe_dev_load(VtoeDev *d, const VtoeState *st, const char **err);

#endif /* VTOE_DEV_H */
