/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe-pci device: what the files of the PCI/QOM shell share.
 *
 *   vtoe-pci.c      properties, realize, BARs, registers, reset
 *   vtoe-thread.c   the device thread: handing over, doorbells, timer
 *   vtoe-irq.c      interrupts: EventNotifiers, irqfd, msix_notify()
 *   vtoe-dma.c      guest memory
 *   vtoe-net.c      the netdev: a port on vnet, packets on the others
 *   vtoe-vmstate.c  migration: state, and the blocker
 *   vtoe-query.c    the monitor: query-vtoe, QOM properties, counters
 *
 * The behaviour is behind vtoe-dev.h.
 */
#ifndef VTOE_PCI_H
#define VTOE_PCI_H

#include "block/aio.h"
#include "hw/pci/pci_device.h"
#include "net/net.h"
#include "qemu/event_notifier.h"
#include "qemu/notify.h"
#include "qemu/timer.h"
#include "qom/object.h"
#include "system/runstate.h"
#include "vtoe/vtoe-status.h"
#include "vtoe-dev.h"

#define TYPE_VTOE_PCI "vtoe-pci"
OBJECT_DECLARE_SIMPLE_TYPE(VtoePCI, VTOE_PCI)

#define VTOE_MAX_PAIRS          64
#define VTOE_MAX_VECTORS        (VTOE_MAX_PAIRS + 1)
/* Doorbells: one per pair, the control queue's last. */
#define VTOE_MAX_DOORBELLS      (VTOE_MAX_PAIRS + 1)

/* A doorbell: set by the guest's write, read by the device thread. */
typedef struct VtoeDoorbell {
    EventNotifier notifier;
    VtoePCI *s;
    unsigned queue;             /* a pair, or VTOE_QUEUE_CONTROL */
    bool primed;                /* rung by vtoe_thread_start() */
} VtoeDoorbell;

/* An MSI-X vector: set by the device thread, read by the main loop or KVM. */
typedef struct VtoeVector {
    EventNotifier notifier;
    VtoePCI *s;
    int virq;                   /* KVM's route; -1: the main loop reads it */
} VtoeVector;

/* What migrates (vtoe-vmstate.c). */
typedef struct VtoeMigration {
    VtoeState st;
    int32_t nlistens;
    VtoeListenState *listens;
    int32_t nrecv;
    VtoeRecvState *recv;
} VtoeMigration;

struct VtoePCI {
    PCIDevice parent_obj;

    /* Properties; constant once realized. */
    NICConf conf;
    uint16_t host_mtu;
    uint32_t queue_pairs;
    uint32_t max_ring;
    uint32_t max_streams;
    uint32_t max_listens;
    uint32_t max_inflight;
    uint32_t accept_timeout_ms;
    uint32_t close_timeout_ms;
    bool offload;
    bool csum;
    bool tso;
    bool evi;
    bool eoc;
    bool direct_irq;
    char *dispatch;
    uint32_t dispatch_upper;
    uint32_t dispatch_lower;
    uint32_t dispatch_period_us;
    uint32_t vmm_period_us;

    /* Constant once realized. */
    VtoeConfig cfg;
    MemoryRegion io;
    MemoryRegion mmio;
    NICState *nic;
    VMChangeStateEntry *vmstate_entry;
    VtoeDoorbell doorbell[VTOE_MAX_DOORBELLS];
    unsigned doorbells;         /* with an open notifier */
    EventNotifier again;        /* see vtoe_op_kick_later() */
    bool again_open;
    bool ioeventfds;            /* doorbells are attached to the BARs */
    VtoeVector vector[VTOE_MAX_VECTORS];
    unsigned vectors;           /* with an open notifier */

    /*
     * Changed under the BQL by vtoe_thread_start() and _stop() alone; the
     * thread itself exists in between.
     */
    AioContext *ctx;
    NetClientState *vnet;       /* claimed netdev, NULL on others */
    QEMUBH *kick_bh;
    QEMUTimer *tick_timer;
    bool polls;                 /* ctx can poll: doorbells have poll functions */
    QemuSemaphore call_done;    /* vtoe_thread_call(); serialized by the BQL */

    /* The device thread's. */
    VtoeDev *dev;
    VnetPort *port;
    uint64_t kick_pairs;        /* pairs with work left over, a bit each */
    bool kick_control;
    bool in_kick_bh;
    bool spinning;              /* `again' is set to look once more */
    int64_t spin_until;         /* QEMU_CLOCK_REALTIME, ns */
    bool port_up;               /* carrier of the overlay or netdev */
    bool admin_down;            /* set_link */
    bool running;
    int64_t log_second;         /* of the last guest error, for its rate */
    unsigned log_count;         /* lines in that second */
    uint64_t log_suppressed;

    /* The main loop's (BQL). */
    bool irqfd_on;              /* atomic: the device thread reads it */
    bool tx_busy;               /* the netdev queued a packet, wait for it */
    bool tx_ready_due;          /* ... it came while the VM was stopped */
    bool in_dispatch;           /* the device is at work, packets wait */
    uint64_t offloads;          /* what the netdev was told to deliver */
    QEMUBH *blocker_bh;
    QEMUTimer *blocker_timer;
    Error *blocker;
    unsigned blocker_streams;   /* the number in blocker's text */
    VtoeMigration mig;
    VtoeStatusSource status;

    /* Written by the device thread, read by the main loop; atomic. */
    unsigned open_streams;
    bool blocker_pending;       /* blocker_bh or blocker_timer will look */
};

typedef void VtoeThreadFn(VtoePCI *s, void *arg);

/* --- vtoe-thread.c ------------------------------------------------------- */

/*
 * Runs fn in the device thread and waits for it.  BQL held.  In the thread the
 * dispatch is ended afterwards (vtoe_dispatch_end()).
 */
void vtoe_thread_call(VtoePCI *s, VtoeThreadFn *fn, void *arg);
/*
 * Makes ctx the device thread: doorbells, kick and timer work from now on.
 * vnet: the netdev whose context it is, NULL for the main loop.
 */
void vtoe_thread_start(VtoePCI *s, AioContext *ctx, NetClientState *vnet);
/*
 * Runs fn (may be NULL) in the thread and leaves it: no handler of the device
 * runs in it, or will, when this returns.
 */
void vtoe_thread_stop(VtoePCI *s, VtoeThreadFn *fn, void *arg);
/* Device thread: end of a handler. Publishes what it caused. */
void vtoe_dispatch_end(VtoePCI *s);
void vtoe_op_kick_later(void *opaque, unsigned queue);
int64_t vtoe_op_now_ns(void *opaque);
void vtoe_op_set_timer(void *opaque, int64_t when_ns);

/* --- vtoe-irq.c ---------------------------------------------------------- */

/*
 * Opens MSI-X and a notifier per vector. False and *errp on failure, nothing
 * is left then.
 */
bool vtoe_irq_init(VtoePCI *s, unsigned vectors, Error **errp);
void vtoe_irq_cleanup(VtoePCI *s);
/* MSI-X may have been switched on or off. */
void vtoe_irq_update(VtoePCI *s);
/* Forgets what was raised and not delivered yet (reset). */
void vtoe_irq_reset(VtoePCI *s);
/* Delivers what was raised (VM stopped: it is then part of the state). */
void vtoe_irq_flush(VtoePCI *s);
void vtoe_op_raise_vector(void *opaque, unsigned vector);

/* --- vtoe-dma.c ---------------------------------------------------------- */

bool vtoe_op_dma_read(void *opaque, uint64_t addr, void *buf, size_t len);
bool vtoe_op_dma_write(void *opaque, uint64_t addr, const void *buf,
                       size_t len);
bool vtoe_op_dma_load32(void *opaque, uint64_t addr, uint32_t *val);
bool vtoe_op_dma_store32(void *opaque, uint64_t addr, uint32_t val);
void vtoe_op_barrier(void *opaque);
bool vtoe_op_dma_map(void *opaque, uint64_t addr, size_t len, bool to_guest,
                     VtoeMap *map);
void vtoe_op_dma_unmap(void *opaque, VtoeMap *map, bool to_guest,
                       size_t written);

/* --- vtoe-net.c ---------------------------------------------------------- */

/*
 * Makes the NIC; decides, by the netdev it has, the features that can be
 * offered (s->cfg.features).  Before the VtoeDev is made.
 */
bool vtoe_net_init(VtoePCI *s, Error **errp);
/* Joins the netdev; the VtoeDev exists. False and *errp on failure. */
bool vtoe_net_start(VtoePCI *s, Error **errp);
/* Leaves the netdev; the device was reset, its thread is gone. */
void vtoe_net_stop(VtoePCI *s);
void vtoe_net_cleanup(VtoePCI *s);
/* VM started: packets may flow again. */
void vtoe_net_resume(VtoePCI *s);
/* The device's STATUS was written: the driver's features are known now. */
void vtoe_net_features_changed(VtoePCI *s);
/* Packets that waited for the end of a dispatch. BQL. */
void vtoe_net_flush(VtoePCI *s);
VnetFrameResult vtoe_op_send_frame(void *opaque, const VnetFrameHdr *hdr,
                                   const struct iovec *iov, unsigned niov,
                                   size_t len);
void vtoe_op_filter_changed(void *opaque);

/* --- vtoe-vmstate.c ------------------------------------------------------ */

extern const VMStateDescription vtoe_pci_vmstate;
/* False and *errp: the options do not allow what would block migration. */
bool vtoe_blocker_init(VtoePCI *s, Error **errp);
void vtoe_blocker_cleanup(VtoePCI *s);
void vtoe_op_streams_changed(void *opaque, unsigned n);

/* --- vtoe-query.c -------------------------------------------------------- */

void vtoe_query_class_init(ObjectClass *oc);
/* Shows a realized device to query-vtoe; and hides it again. */
void vtoe_query_init(VtoePCI *s);
void vtoe_query_cleanup(VtoePCI *s);

#endif /* VTOE_PCI_H */
