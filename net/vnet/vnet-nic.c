/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NICs without a port of their own (virtio-net, e1000e, ...) on a vnet netdev.
 *
 * Theory of operation
 *
 * Such a NIC lives in the main loop and passes frames through NetClientState;
 * the port that joins it to the switch lives in the VNET thread.  Between them
 * are two bounded queues of copied frames.  Each side takes all that is queued
 * at once; a wake-up is asked for only when the other side has none pending.
 * So frames change threads in batches, and the more there are, the larger.
 *
 *   NIC -> overlay  full: receive_iov() says 0 and QEMU waits for
 *                   qemu_flush_queued_packets().  A busy link makes the rest of
 *                   a batch wait in `tx_todo`.
 *   overlay -> NIC  full: the frame is dropped and counted.  A NIC that has no
 *                   buffer makes the queue wait for its sent callback.
 *
 * Frames carry a virtio-net header of 10, 12 or 20 bytes if the NIC asks for
 * one; large segments and partial checksums cross the overlay as they are.
 * What the NIC did not ask for by set_offload is finished here, in software.
 * A header from the guest that the wire would not carry drops the frame: it
 * must not look like a broken peer at the other end.
 *
 * Nobody tells a netdev that a NIC has come.  The port is attached as soon as
 * there is a reason to look: the VM starts, the NIC says how it wants its
 * frames, it sends one, or somebody queries.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_net.h"
#include "system/runstate.h"
#include "trace.h"
#include "vtoe/vtoe-status.h"
#include "vnet-offload.h"
#include "vnet-shell.h"

#define VNET_NIC_QUEUE_FRAMES   1024
#define VNET_NIC_QUEUE_BYTES    (4 * MiB)
/* Frames given to the switch or the NIC before others get their turn. */
#define VNET_NIC_BATCH          256

#define VNET_NIC_HDR_MAX        sizeof(struct virtio_net_hdr_v1_hash)

typedef struct VnetNicFrame VnetNicFrame;
struct VnetNicFrame {
    QSIMPLEQ_ENTRY(VnetNicFrame) next;
    VnetFrameHdr hdr;
    uint32_t len;
    uint8_t data[];
};
typedef QSIMPLEQ_HEAD(, VnetNicFrame) VnetNicFrames;

typedef struct VnetNicQueue {
    VnetNicFrames q;
    unsigned frames;
    size_t bytes;
    bool full;                  /* somebody was refused and waits */
} VnetNicQueue;

#define VNET_NIC_STATS(X) \
    X(nic_tx_drop_header) X(nic_tx_full) \
    X(nic_rx_drop_full) X(nic_rx_drop_offload) X(nic_rx_segmented) \
    X(nic_rx_checksummed) X(nic_wakeups)
typedef struct VnetNicStats {
#define VNET_NIC_STAT_FIELD(name) uint64_t name;
    VNET_NIC_STATS(VNET_NIC_STAT_FIELD)
#undef VNET_NIC_STAT_FIELD
} VnetNicStats;

struct VnetNic {
    VnetNetdev *n;
    VMChangeStateEntry *vmstate;
    DeviceListener devices;
    bool attached;
    uint8_t mac[6];             /* of the port */

    QemuMutex lock;             /* of the two queues */
    VnetNicQueue tx, rx;

    /* main loop */
    QEMUBH *main_bh;            /* rx has frames, or tx_room */
    bool tx_room;               /* tx was full and is not; atomic */
    VnetNicFrames rx_todo;
    unsigned rx_waiting;        /* packets in QEMU's queue, for the NIC's sent
                                 * callback; that queue has no bound */

    /* VNET thread */
    VnetPort *port;
    QEMUBH *thread_bh;          /* tx has frames */
    VnetNicFrames tx_todo;
    bool tx_waits;              /* for tx_ready() */

    /* What the NIC takes; set by the main loop, which also uses it. */
    bool csum, tso4, tso6, ecn;
    /* Main loop's, but nic_rx_drop_full: under the lock. */
    VnetNicStats stats;
};

static void vnet_nic_frames_free(VnetNicFrames *q)
{
    VnetNicFrame *f;

    while ((f = QSIMPLEQ_FIRST(q))) {
        QSIMPLEQ_REMOVE_HEAD(q, next);
        g_free(f);
    }
}

/* Adds a copy. False: full. *wake: the taker has to be woken. */
static bool vnet_nic_queue_put(VnetNic *nic, VnetNicQueue *q, VnetNicFrame *f,
                               bool *wake)
{
    QEMU_LOCK_GUARD(&nic->lock);

    if (q->frames >= VNET_NIC_QUEUE_FRAMES ||
        q->bytes + f->len > VNET_NIC_QUEUE_BYTES) {
        q->full = true;
        return false;
    }
    *wake = q->frames == 0;
    QSIMPLEQ_INSERT_TAIL(&q->q, f, next);
    q->frames++;
    q->bytes += f->len;
    return true;
}

/* Takes all. Returns whether somebody waits for room. */
static bool vnet_nic_queue_take(VnetNic *nic, VnetNicQueue *q,
                                VnetNicFrames *out)
{
    bool full;

    QEMU_LOCK_GUARD(&nic->lock);
    QSIMPLEQ_CONCAT(out, &q->q);
    q->frames = 0;
    q->bytes = 0;
    full = q->full;
    q->full = false;
    return full;
}

/* --- NIC to overlay: main loop ---------------------------------------- */

static void vnet_nic_from_virtio(const struct virtio_net_hdr *v,
                                 VnetFrameHdr *h)
{
    h->flags = v->flags & (VTOE_NET_HDR_F_NEEDS_CSUM |
                           VTOE_NET_HDR_F_DATA_VALID);
    h->gso_type = v->gso_type;
    h->hdr_len = v->hdr_len;
    h->gso_size = v->gso_size;
    h->csum_start = v->csum_start;
    h->csum_offset = v->csum_offset;
    if (!(h->flags & VTOE_NET_HDR_F_NEEDS_CSUM)) {
        h->csum_start = h->csum_offset = 0;
    }
    if (h->gso_type == VTOE_NET_HDR_GSO_NONE) {
        h->gso_size = 0;
    }
}

static bool vnet_nic_hdr_ok(VnetFrameHdr *h, size_t len)
{
    VnetWireFrame wf = { .len = len };

    /* hdr_len is a hint; guests set it to what they like. */
    h->hdr_len = MIN(h->hdr_len, len);
    wf.hdr = *h;
    return vnet_wire_check_frame(&wf) == VNET_WIRE_OK;
}

ssize_t vnet_nic_receive_iov(NetClientState *nc, const struct iovec *iov,
                             int iovcnt)
{
    VnetNetdev *n = DO_UPCAST(VnetNetdev, nc, nc);
    VnetNic *nic = n->nic;
    size_t size = iov_size(iov, iovcnt);
    size_t skip = nc->vnet_hdr_len;
    struct virtio_net_hdr v = { 0 };
    VnetNicFrame *f;
    bool wake = false;

    if (!nic || n->claimed) {
        return size;
    }
    vnet_nic_update(nic);
    if (size < skip || size - skip > VNET_FRAME_MAX) {
        nic->stats.nic_tx_drop_header++;
        return size;
    }
    if (skip) {
        iov_to_buf(iov, iovcnt, 0, &v, sizeof(v));
    }
    f = g_malloc(sizeof(*f) + size - skip);
    f->len = size - skip;
    vnet_nic_from_virtio(&v, &f->hdr);
    if (!vnet_nic_hdr_ok(&f->hdr, f->len)) {
        nic->stats.nic_tx_drop_header++;
        g_free(f);
        return size;
    }
    iov_to_buf(iov, iovcnt, skip, f->data, f->len);
    if (!vnet_nic_queue_put(nic, &nic->tx, f, &wake)) {
        nic->stats.nic_tx_full++;
        g_free(f);
        return 0;
    }
    if (wake) {
        nic->stats.nic_wakeups++;
        qemu_bh_schedule(nic->thread_bh);
    }
    return size;
}

/* --- NIC to overlay: VNET thread -------------------------------------- */

static void vnet_nic_send(VnetNic *nic)
{
    unsigned budget = VNET_NIC_BATCH;
    VnetNicFrame *f;

    while (!nic->tx_waits && nic->port) {
        struct iovec iov;

        if (QSIMPLEQ_EMPTY(&nic->tx_todo) &&
            vnet_nic_queue_take(nic, &nic->tx, &nic->tx_todo)) {
            qatomic_set(&nic->tx_room, true);
            qemu_bh_schedule(nic->main_bh);
        }
        f = QSIMPLEQ_FIRST(&nic->tx_todo);
        if (!f) {
            return;
        }
        if (!budget--) {
            qemu_bh_schedule(nic->thread_bh);
            return;
        }
        iov.iov_base = f->data;
        iov.iov_len = f->len;
        if (vnet_port_send(nic->port, &f->hdr, &iov, 1, f->len) ==
            VNET_FRAME_BUSY) {
            nic->tx_waits = true;
            return;
        }
        QSIMPLEQ_REMOVE_HEAD(&nic->tx_todo, next);
        g_free(f);
    }
}

static void vnet_nic_thread_bh(void *opaque)
{
    VnetNic *nic = opaque;

    vnet_loop_begin(nic->n->ov->loop);
    vnet_nic_send(nic);
    vnet_loop_end(nic->n->ov->loop);
}

static void vnet_nic_port_tx_ready(void *opaque)
{
    VnetNic *nic = opaque;

    nic->tx_waits = false;
    /* Not from inside the callback. */
    qemu_bh_schedule(nic->thread_bh);
}

/* --- Overlay to NIC: VNET thread -------------------------------------- */

static VnetFrameResult vnet_nic_port_frame(void *opaque,
                                           const VnetFrameHdr *hdr,
                                           const struct iovec *iov,
                                           unsigned niov, size_t len)
{
    VnetNic *nic = opaque;
    VnetNicFrame *f = g_malloc(sizeof(*f) + len);
    bool wake = false;

    f->hdr = *hdr;
    f->len = len;
    iov_to_buf(iov, niov, 0, f->data, len);
    if (!vnet_nic_queue_put(nic, &nic->rx, f, &wake)) {
        WITH_QEMU_LOCK_GUARD(&nic->lock) {
            nic->stats.nic_rx_drop_full++;
        }
        g_free(f);
        return VNET_FRAME_DROPPED;
    }
    if (wake) {
        qemu_bh_schedule(nic->main_bh);
    }
    return VNET_FRAME_OK;
}

static void vnet_nic_port_link_state(void *opaque, bool up)
{
    /*
     * Not passed on: a guest that boots before its peer would take long to
     * notice the carrier, and other netdevs do not change it either.
     */
}

static void vnet_nic_port_batch_end(void *opaque)
{
}

static const VnetPortOps vnet_nic_port_ops = {
    .frame = vnet_nic_port_frame,
    .tx_ready = vnet_nic_port_tx_ready,
    .link_state = vnet_nic_port_link_state,
    .batch_end = vnet_nic_port_batch_end,
};

/* --- Overlay to NIC: main loop ---------------------------------------- */

/* The NIC took a packet that it had made wait, or never will. */
static void vnet_nic_sent(NetClientState *nc, ssize_t ret)
{
    VnetNic *nic = DO_UPCAST(VnetNetdev, nc, nc)->nic;

    if (nic && --nic->rx_waiting == 0) {
        qemu_bh_schedule(nic->main_bh);
    }
}

/* A frame, or a segment of one, in at most three pieces. */
static void vnet_nic_give(VnetNic *nic, const VnetFrameHdr *h,
                          const struct iovec *iov, unsigned niov)
{
    NetClientState *nc = &nic->n->nc;
    uint8_t vhdr[VNET_NIC_HDR_MAX] = { 0 };
    struct virtio_net_hdr *v = (struct virtio_net_hdr *)vhdr;
    struct iovec out[3];

    assert(niov <= 2);
    v->flags = h->flags;
    v->gso_type = h->gso_type;
    v->hdr_len = h->hdr_len;
    v->gso_size = h->gso_size;
    v->csum_start = h->csum_start;
    v->csum_offset = h->csum_offset;
    out[0].iov_base = vhdr;
    out[0].iov_len = nc->vnet_hdr_len;
    memcpy(out + 1, iov, niov * sizeof(*iov));
    /* 0: QEMU has copied it, and calls back when it is gone. */
    if (qemu_sendv_packet_async(nc, nc->vnet_hdr_len ? out : out + 1,
                                niov + (nc->vnet_hdr_len ? 1 : 0),
                                vnet_nic_sent) == 0) {
        nic->rx_waiting++;
    }
}

static void vnet_nic_give_segment(void *opaque, const struct iovec *iov,
                                  unsigned niov, size_t len)
{
    static const VnetFrameHdr none;

    vnet_nic_give(opaque, &none, iov, niov);
}

static bool vnet_nic_takes(VnetNic *nic, const VnetFrameHdr *h)
{
    if (!nic->n->nc.vnet_hdr_len) {
        return h->gso_type == VTOE_NET_HDR_GSO_NONE &&
               !(h->flags & VTOE_NET_HDR_F_NEEDS_CSUM);
    }
    if (h->gso_type & VTOE_NET_HDR_GSO_ECN && !nic->ecn) {
        return false;
    }
    switch (h->gso_type & ~VTOE_NET_HDR_GSO_ECN) {
    case VTOE_NET_HDR_GSO_NONE:
        return nic->csum || !(h->flags & VTOE_NET_HDR_F_NEEDS_CSUM);
    case VTOE_NET_HDR_GSO_TCPV4:
        return nic->tso4;
    case VTOE_NET_HDR_GSO_TCPV6:
        return nic->tso6;
    default:
        return false;
    }
}

static void vnet_nic_deliver(VnetNic *nic, VnetNicFrame *f)
{
    static const VnetFrameHdr none;
    struct iovec iov = { .iov_base = f->data, .iov_len = f->len };

    if (vnet_nic_takes(nic, &f->hdr)) {
        vnet_nic_give(nic, &f->hdr, &iov, 1);
    } else if (f->hdr.gso_type != VTOE_NET_HDR_GSO_NONE) {
        /* Segments that the NIC has no room for wait in QEMU's queue. */
        if (vnet_offload_segment(&f->hdr, f->data, f->len,
                                 vnet_nic_give_segment, nic)) {
            nic->stats.nic_rx_segmented++;
        } else {
            nic->stats.nic_rx_drop_offload++;
        }
    } else if (vnet_offload_csum(&f->hdr, f->data, f->len)) {
        nic->stats.nic_rx_checksummed++;
        vnet_nic_give(nic, &none, &iov, 1);
    } else {
        nic->stats.nic_rx_drop_offload++;
    }
}

static void vnet_nic_main_bh(void *opaque)
{
    VnetNic *nic = opaque;
    unsigned budget = VNET_NIC_BATCH;
    VnetNicFrame *f;

    if (qatomic_xchg(&nic->tx_room, false)) {
        qemu_flush_queued_packets(&nic->n->nc);
    }
    while (!nic->rx_waiting) {
        if (QSIMPLEQ_EMPTY(&nic->rx_todo)) {
            vnet_nic_queue_take(nic, &nic->rx, &nic->rx_todo);
        }
        f = QSIMPLEQ_FIRST(&nic->rx_todo);
        if (!f) {
            return;
        }
        if (!budget--) {
            qemu_bh_schedule(nic->main_bh);
            return;
        }
        QSIMPLEQ_REMOVE_HEAD(&nic->rx_todo, next);
        vnet_nic_deliver(nic, f);
        g_free(f);
    }
}

/* --- Joining and leaving the switch ----------------------------------- */

static void vnet_nic_attach_in_thread(VnetNetdev *n, void *arg)
{
    VnetNic *nic = n->nic;

    nic->port = vnet_port_attach(n->net, arg, nic->mac, &vnet_nic_port_ops, nic);
    nic->tx_waits = false;
    /* What was sent before. */
    qemu_bh_schedule(nic->thread_bh);
}

static void vnet_nic_set_mac_in_thread(VnetNetdev *n, void *arg)
{
    vnet_port_set_mac(n->nic->port, n->nic->mac);
}

static void vnet_nic_detach_in_thread(VnetNetdev *n, void *arg)
{
    VnetNic *nic = n->nic;

    vnet_port_detach(nic->port);
    nic->port = NULL;
    vnet_nic_frames_free(&nic->tx_todo);
}

void vnet_nic_detach(VnetNic *nic)
{
    if (nic->attached) {
        trace_vnet_nic_detach(nic->n->nc.name);
        nic->attached = false;
        vnet_netdev_call(nic->n, vnet_nic_detach_in_thread, NULL);
    }
}

void vnet_nic_update(VnetNic *nic)
{
    VnetNetdev *n = nic->n;
    NetClientState *peer = n->nc.peer;
    NICState *ns;

    if (n->claimed || !peer || peer->info->type != NET_CLIENT_DRIVER_NIC) {
        vnet_nic_detach(nic);
        return;
    }
    ns = qemu_get_nic(peer);
    if (nic->attached) {
        if (memcmp(nic->mac, ns->conf->macaddr.a, 6)) {
            memcpy(nic->mac, ns->conf->macaddr.a, 6);
            vnet_netdev_call(n, vnet_nic_set_mac_in_thread, NULL);
        }
        return;
    }
    if (ns->peer_deleted || buffer_is_zero(ns->conf->macaddr.a, 6)) {
        return;
    }
    memcpy(nic->mac, ns->conf->macaddr.a, 6);
    nic->attached = true;
    trace_vnet_nic_attach(n->nc.name, peer->name);
    vnet_netdev_call(n, vnet_nic_attach_in_thread, peer->name);
}

static void vnet_nic_vm_state(void *opaque, bool running, RunState state)
{
    if (running) {
        vnet_nic_update(opaque);
    }
}

/* A NIC that was plugged.  Before the VM runs it is the guest's nowhere, or of an
 * incoming migration elsewhere. */
static void vnet_nic_realized(DeviceListener *l, DeviceState *dev)
{
    if (runstate_is_running()) {
        vnet_nic_update(container_of(l, VnetNic, devices));
    }
}

/* Or unplugged, of which nobody else tells a netdev. */
static void vnet_nic_unrealized(DeviceListener *l, DeviceState *dev)
{
    VnetNic *nic = container_of(l, VnetNic, devices);

    if (nic->attached) {
        vnet_nic_update(nic);
    }
}

/* --- What the NIC asks for -------------------------------------------- */

bool vnet_nic_has_vnet_hdr(NetClientState *nc)
{
    return true;
}

bool vnet_nic_has_vnet_hdr_len(NetClientState *nc, int len)
{
    return len == sizeof(struct virtio_net_hdr) ||
           len == sizeof(struct virtio_net_hdr_mrg_rxbuf) ||
           len == sizeof(struct virtio_net_hdr_v1_hash);
}

void vnet_nic_set_vnet_hdr_len(NetClientState *nc, int len)
{
    /* The caller has set nc->vnet_hdr_len. */
}

void vnet_nic_set_offload(NetClientState *nc, int csum, int tso4, int tso6,
                          int ecn, int ufo, int uso4, int uso6)
{
    VnetNetdev *n = DO_UPCAST(VnetNetdev, nc, nc);
    VnetNic *nic = n->nic;

    if (nic) {
        trace_vnet_nic_offload(nc->name, csum, tso4, tso6);
        nic->csum = csum;
        nic->tso4 = csum && tso4;
        nic->tso6 = csum && tso6;
        nic->ecn = ecn;
        vnet_nic_update(nic);
    }
}

void vnet_nic_counters(VnetNic *nic, VnetNamedCounterList ***tail)
{
#define VNET_NIC_TELL(name) \
    { \
        g_autofree char *s = g_strdelimit(g_strdup(#name), "_", '-'); \
        vnet_counter_append(tail, s, nic->stats.name); \
    }
    QEMU_LOCK_GUARD(&nic->lock);
    VNET_NIC_STATS(VNET_NIC_TELL)
#undef VNET_NIC_TELL
}

/* --- Life ------------------------------------------------------------- */

VnetNic *vnet_nic_new(VnetNetdev *n)
{
    VnetNic *nic = g_new0(VnetNic, 1);

    nic->n = n;
    qemu_mutex_init(&nic->lock);
    QSIMPLEQ_INIT(&nic->tx.q);
    QSIMPLEQ_INIT(&nic->rx.q);
    QSIMPLEQ_INIT(&nic->tx_todo);
    QSIMPLEQ_INIT(&nic->rx_todo);
    /*
     * Neither has a device's re-entrancy guard: a netdev is no device.  In the
     * main loop, the guard of the NIC is taken by the net core around its
     * receive(); in the VNET thread no device is entered.
     */
    nic->main_bh = qemu_bh_new(vnet_nic_main_bh, nic);
    nic->thread_bh = aio_bh_new(n->ov->ctx, vnet_nic_thread_bh, nic);
    nic->vmstate = qemu_add_vm_change_state_handler(vnet_nic_vm_state, nic);
    nic->devices.realize = vnet_nic_realized;
    nic->devices.unrealize = vnet_nic_unrealized;
    device_listener_register(&nic->devices);
    return nic;
}

void vnet_nic_free(VnetNic *nic)
{
    assert(!nic->attached);
    device_listener_unregister(&nic->devices);
    qemu_del_vm_change_state_handler(nic->vmstate);
    qemu_bh_delete(nic->main_bh);
    qemu_bh_delete(nic->thread_bh);
    vnet_nic_frames_free(&nic->tx.q);
    vnet_nic_frames_free(&nic->rx.q);
    vnet_nic_frames_free(&nic->tx_todo);
    vnet_nic_frames_free(&nic->rx_todo);
    qemu_mutex_destroy(&nic->lock);
    g_free(nic);
}
