/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: the netdev.
 *
 * On a vnet netdev the device joins the overlay's switch as a port of its own:
 * frames and streams go between behaviour and overlay in the VNET thread, and
 * the NetClientState is only there for carrier, netdev_del and the monitor.
 *
 * On any other netdev the device is a plain NIC of the main loop.  Packets
 * carry a virtio-net header where the netdev can (tap); only then checksum and
 * segmentation offload are offered.
 *   - A netdev that cannot take a packet now queues it itself and tells when it
 *     is gone: until then the device is told to wait.
 *   - A netdev that answers a packet before it returns (user networking does)
 *     would enter the device while it is at work: while it is, packets are
 *     refused, which makes QEMU queue them, and taken at the end.
 *
 * netdev_del while the NIC lives: QEMU marks the peer as deleted and sets the
 * link down.  The device then leaves the overlay and its thread, and goes on
 * without a carrier in the main loop; the guest is told DEVICE_REMOVED.
 */

#include "qemu/osdep.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "standard-headers/linux/virtio_net.h"
#include "trace.h"
#include "vtoe/vnet-netdev.h"
#include "vtoe-pci.h"

#define VTOE_F_OFFLOADS (VTOE_F_CSUM | VTOE_F_TSO | \
                         VTOE_F_RX_CSUM | VTOE_F_RX_TSO)
/* Pieces of a packet: the frame's descriptors, its own header and that of virtio. */
#define VTOE_PACKET_IOV (VTOE_FRAME_MAX_DESC + 2)

static bool vtoe_has_hdr(VtoePCI *s)
{
    return s->cfg.features & VTOE_F_CSUM;
}

/* --- Carrier ------------------------------------------------------------- */

static void vtoe_tell_link(VtoePCI *s)
{
    bool up = s->port_up && !s->admin_down;

    trace_vtoe_link(s, up);
    vtoe_dev_port_ops.link_state(s->dev, up);
}

static void vtoe_set_admin_down(VtoePCI *s, void *arg)
{
    s->admin_down = *(bool *)arg;
    vtoe_tell_link(s);
}

static void vtoe_set_port_up(VtoePCI *s, void *arg)
{
    s->port_up = *(bool *)arg;
    vtoe_tell_link(s);
}

/* --- The port on vnet; all in the VNET thread ---------------------------- */

static VnetFrameResult vtoe_port_frame(void *opaque, const VnetFrameHdr *hdr,
                                       const struct iovec *iov, unsigned niov,
                                       size_t len)
{
    VtoePCI *s = opaque;

    if (s->admin_down) {
        return VNET_FRAME_DROPPED;
    }
    return vtoe_dev_port_ops.frame(s->dev, hdr, iov, niov, len);
}

static void vtoe_port_tx_ready(void *opaque)
{
    VtoePCI *s = opaque;

    vtoe_dev_port_ops.tx_ready(s->dev);
}

static void vtoe_port_link_state(void *opaque, bool up)
{
    VtoePCI *s = opaque;

    s->port_up = up;
    vtoe_tell_link(s);
}

static enum vtoe_reason vtoe_port_connect_request(void *opaque, VnetStream *st,
                                                  const VnetFlow *flow)
{
    VtoePCI *s = opaque;

    return vtoe_dev_port_ops.connect_request(s->dev, st, flow);
}

static void vtoe_port_peer_capability(void *opaque, const uint8_t mac[6],
                                      bool streams)
{
    VtoePCI *s = opaque;

    if (vtoe_dev_port_ops.peer_capability) {
        vtoe_dev_port_ops.peer_capability(s->dev, mac, streams);
    }
}

static void vtoe_port_batch_end(void *opaque)
{
    VtoePCI *s = opaque;

    vtoe_dev_port_ops.batch_end(s->dev);
}

static const VnetPortOps vtoe_port_ops = {
    .frame = vtoe_port_frame,
    .tx_ready = vtoe_port_tx_ready,
    .link_state = vtoe_port_link_state,
    .connect_request = vtoe_port_connect_request,
    .peer_capability = vtoe_port_peer_capability,
    .batch_end = vtoe_port_batch_end,
};

static void vtoe_port_attach(VtoePCI *s, void *arg)
{
    VnetNet *net = vnet_netdev_get_net(s->vnet);
    const char *id = arg;

    /* No op runs before this returns: the thread is here. */
    s->port = vnet_port_attach(net, id, vtoe_dev_mac(s->dev), &vtoe_port_ops,
                               s);
    vtoe_dev_set_port(s->dev, s->port);
    trace_vtoe_attach(s, id);
}

static void vtoe_port_detach(VtoePCI *s, void *arg)
{
    VnetPort *port = s->port;

    if (port) {
        s->port = NULL;
        vtoe_dev_set_port(s->dev, NULL);
        vnet_port_detach(port);
        trace_vtoe_detach(s);
    }
    s->port_up = false;
    vtoe_tell_link(s);
}

static void vtoe_port_lost(VtoePCI *s, void *arg)
{
    vtoe_port_detach(s, NULL);
    vtoe_dev_removed(s->dev);
}

static void vtoe_nic_foreach_counter(void *opaque, VnetNicCounterFn *fn,
                                     void *fn_opaque)
{
    VtoePCI *s = opaque;
    VtoeStats st;

    vtoe_dev_get_stats(s->dev, &st);
#define VTOE_TELL_COUNTER(n) fn(fn_opaque, #n, st.n);
    VTOE_COUNTERS(VTOE_TELL_COUNTER)
#undef VTOE_TELL_COUNTER
}

typedef struct VtoeStreamFn {
    VnetNicStreamFn *fn;
    void *opaque;
} VtoeStreamFn;

static void vtoe_nic_stream(void *opaque, uint32_t sid,
                            enum vtoe_stream_state state, uint64_t rx_limit,
                            VnetStream *st)
{
    static const char *const name[] = {
        [VTOE_STREAM_CONNECTING] = "connecting",
        [VTOE_STREAM_REQUESTED] = "requested",
        [VTOE_STREAM_ESTABLISHED] = "established",
        [VTOE_STREAM_CLOSING] = "closing",
        [VTOE_STREAM_CLOSED] = "closed",
    };
    VtoeStreamFn *f = opaque;

    f->fn(f->opaque, sid, name[state], rx_limit, st);
}

static void vtoe_nic_foreach_stream(void *opaque, VnetNicStreamFn *fn,
                                    void *fn_opaque)
{
    VtoePCI *s = opaque;
    VtoeStreamFn f = { .fn = fn, .opaque = fn_opaque };

    vtoe_dev_foreach_stream(s->dev, vtoe_nic_stream, &f);
}

static const VnetNicOps vtoe_nic_ops = {
    .foreach_counter = vtoe_nic_foreach_counter,
    .foreach_stream = vtoe_nic_foreach_stream,
};

/* --- Packets of other netdevs; all under the BQL ------------------------- */

static void vtoe_tx_ready(VtoePCI *s, void *arg)
{
    vtoe_dev_port_ops.tx_ready(s->dev);
}

static void vtoe_packet_sent(NetClientState *nc, ssize_t len)
{
    VtoePCI *s = qemu_get_nic_opaque(nc);

    s->tx_busy = false;
    if (!s->tick_timer) {
        return;                 /* the device is on its way out */
    }
    if (runstate_is_running()) {
        vtoe_thread_call(s, vtoe_tx_ready, NULL);
    } else {
        s->tx_ready_due = true;
    }
}

static VnetFrameResult vtoe_send_packet(VtoePCI *s, const VnetFrameHdr *hdr,
                                        const struct iovec *iov, unsigned niov)
{
    struct iovec packet[VTOE_PACKET_IOV];
    struct virtio_net_hdr vhdr = {
        .flags = hdr->flags,
        .gso_type = hdr->gso_type,
        .hdr_len = hdr->hdr_len,
        .gso_size = hdr->gso_size,
        .csum_start = hdr->csum_start,
        .csum_offset = hdr->csum_offset,
    };
    unsigned n = 0;
    ssize_t ret;

    if (niov >= VTOE_PACKET_IOV) {
        return VNET_FRAME_DROPPED;
    }
    if (s->tx_busy) {
        return VNET_FRAME_BUSY;
    }
    if (vtoe_has_hdr(s)) {
        packet[n++] = (struct iovec) { &vhdr, sizeof(vhdr) };
    }
    memcpy(packet + n, iov, niov * sizeof(*iov));
    n += niov;
    ret = qemu_sendv_packet_async(qemu_get_queue(s->nic), packet, n,
                                  vtoe_packet_sent);
    if (ret < 0) {
        return VNET_FRAME_DROPPED;
    }
    s->tx_busy = ret == 0;
    return VNET_FRAME_OK;
}

static bool vtoe_can_receive(NetClientState *nc)
{
    VtoePCI *s = qemu_get_nic_opaque(nc);

    return !s->in_dispatch && s->tick_timer;
}

static ssize_t vtoe_receive_iov(NetClientState *nc, const struct iovec *iov,
                                int niov)
{
    VtoePCI *s = qemu_get_nic_opaque(nc);
    g_autofree struct iovec *frame = g_new(struct iovec, niov);
    size_t size = iov_size(iov, niov), skip = 0;
    VnetFrameHdr hdr = { };
    unsigned n;

    if (s->vnet) {
        return size;            /* the overlay brings frames itself */
    }
    if (vtoe_has_hdr(s)) {
        struct virtio_net_hdr vhdr;

        skip = sizeof(vhdr);
        if (iov_to_buf(iov, niov, 0, &vhdr, skip) < skip) {
            return size;
        }
        hdr = (VnetFrameHdr) {
            .flags = vhdr.flags,
            .gso_type = vhdr.gso_type,
            .hdr_len = vhdr.hdr_len,
            .gso_size = vhdr.gso_size,
            .csum_start = vhdr.csum_start,
            .csum_offset = vhdr.csum_offset,
        };
    }
    n = iov_copy(frame, niov, iov, niov, skip, size - skip);
    vtoe_dev_port_ops.frame(s->dev, &hdr, frame, n, size - skip);
    /*
     * A netdev brings packets in batches: interrupts at the end of this turn
     * of the main loop.
     */
    qemu_bh_schedule(s->kick_bh);
    return size;
}

static ssize_t vtoe_receive(NetClientState *nc, const uint8_t *buf, size_t len)
{
    const struct iovec iov = { (void *)buf, len };

    return vtoe_receive_iov(nc, &iov, 1);
}

void vtoe_net_flush(VtoePCI *s)
{
    if (s->nic && !s->vnet) {
        qemu_flush_queued_packets(qemu_get_queue(s->nic));
    }
}

void vtoe_net_resume(VtoePCI *s)
{
    if (s->tx_ready_due) {
        s->tx_ready_due = false;
        vtoe_thread_call(s, vtoe_tx_ready, NULL);
    }
}

void vtoe_net_features_changed(VtoePCI *s)
{
    uint64_t f;
    NetClientState *peer = qemu_get_queue(s->nic)->peer;

    if (s->vnet || !vtoe_has_hdr(s)) {
        return;
    }
    f = vtoe_dev_reg_read(s->dev, VTOE_REG_STATUS, 4) & VTOE_STATUS_DRIVER_OK ?
        vtoe_dev_reg_read(s->dev, VTOE_REG_DRV_FEATURES, 4) : 0;
    f &= VTOE_F_RX_CSUM | VTOE_F_RX_TSO;
    if (f != s->offloads) {
        bool tso = f & VTOE_F_RX_TSO;

        s->offloads = f;
        qemu_set_offload(peer, !!(f & VTOE_F_RX_CSUM), tso, tso, tso, 0, 0, 0);
    }
}

/* --- Both ---------------------------------------------------------------- */

VnetFrameResult vtoe_op_send_frame(void *opaque, const VnetFrameHdr *hdr,
                                   const struct iovec *iov, unsigned niov,
                                   size_t len)
{
    VtoePCI *s = opaque;

    if (s->admin_down) {
        return VNET_FRAME_DROPPED;
    }
    if (s->port) {
        return vnet_port_send(s->port, hdr, iov, niov, len);
    }
    return s->vnet ? VNET_FRAME_DROPPED : vtoe_send_packet(s, hdr, iov, niov);
}

void vtoe_op_filter_changed(void *opaque)
{
    VtoePCI *s = opaque;
    const uint8_t *mac = vtoe_dev_mac(s->dev);

    trace_vtoe_filter(s, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
                      vtoe_dev_reg_read(s->dev, VTOE_REG_RX_FILTER, 4));
}

static void vtoe_netdev_deleted(VtoePCI *s)
{
    NetClientState *vnet = s->vnet;
    bool up = false;

    if (!vnet) {
        vtoe_thread_call(s, vtoe_set_port_up, &up);
        return;
    }
    vtoe_thread_stop(s, vtoe_port_lost, NULL);
    vtoe_thread_start(s, qemu_get_aio_context(), NULL);
    vnet_netdev_release(vnet);
}

static void vtoe_link_status_changed(NetClientState *nc)
{
    VtoePCI *s = qemu_get_nic_opaque(nc);
    bool down = nc->link_down;

    if (!s->tick_timer) {
        return;
    }
    if (qemu_get_nic(nc)->peer_deleted) {
        vtoe_netdev_deleted(s);
    }
    vtoe_thread_call(s, vtoe_set_admin_down, &down);
}

static NetClientInfo vtoe_net_info = {
    .type = NET_CLIENT_DRIVER_NIC,
    .size = sizeof(NICState),
    .can_receive = vtoe_can_receive,
    .receive = vtoe_receive,
    .receive_iov = vtoe_receive_iov,
    .link_status_changed = vtoe_link_status_changed,
};

bool vtoe_net_init(VtoePCI *s, Error **errp)
{
    DeviceState *dev = DEVICE(s);
    NetClientState *peer;
    bool vnet, hdr;

    if (s->conf.peers.queues > 1) {
        error_setg(errp, "vtoe-pci: netdev \"%s\" has %d queues, one is "
                   "supported", s->conf.peers.ncs[0]->name,
                   s->conf.peers.queues);
        return false;
    }
    qemu_macaddr_default_if_unset(&s->conf.macaddr);
    s->nic = qemu_new_nic(&vtoe_net_info, &s->conf,
                          object_get_typename(OBJECT(dev)), dev->id,
                          &dev->mem_reentrancy_guard, s);
    qemu_format_nic_info_str(qemu_get_queue(s->nic), s->conf.macaddr.a);

    peer = qemu_get_queue(s->nic)->peer;
    vnet = vnet_netdev_is(peer);
    hdr = !vnet && qemu_has_vnet_hdr(peer) &&
          qemu_has_vnet_hdr_len(peer, sizeof(struct virtio_net_hdr));
    s->cfg.features = 0;
    if ((vnet || hdr) && s->csum) {
        s->cfg.features |= VTOE_F_CSUM | VTOE_F_RX_CSUM;
        if (s->tso) {
            s->cfg.features |= VTOE_F_TSO | VTOE_F_RX_TSO;
        }
    }
    if (vnet && s->offload) {
        s->cfg.features |= VTOE_F_STREAM;
    }
    if (hdr && s->csum) {
        qemu_set_vnet_hdr_len(peer, sizeof(struct virtio_net_hdr));
        qemu_set_offload(peer, 0, 0, 0, 0, 0, 0, 0);
    }
    return true;
}

bool vtoe_net_start(VtoePCI *s, Error **errp)
{
    NetClientState *nc = qemu_get_queue(s->nic);
    bool up = nc->peer != NULL;
    bool down = nc->link_down;

    if (vnet_netdev_is(nc->peer)) {
        if (!vnet_netdev_claim(nc->peer, nc->name, &vtoe_nic_ops, s, errp)) {
            return false;
        }
        vtoe_thread_start(s, vnet_netdev_get_aio_context(nc->peer), nc->peer);
        vtoe_thread_call(s, vtoe_port_attach, nc->name);
    } else {
        vtoe_thread_start(s, qemu_get_aio_context(), NULL);
        vtoe_thread_call(s, vtoe_set_port_up, &up);
    }
    vtoe_thread_call(s, vtoe_set_admin_down, &down);
    return true;
}

static void vtoe_net_leave(VtoePCI *s, void *arg)
{
    vtoe_dev_reset(s->dev);
    vtoe_port_detach(s, NULL);
}

void vtoe_net_stop(VtoePCI *s)
{
    NetClientState *vnet = s->vnet;

    if (s->tick_timer) {
        vtoe_thread_stop(s, vtoe_net_leave, NULL);
        if (vnet) {
            vnet_netdev_release(vnet);
        }
    }
}

void vtoe_net_cleanup(VtoePCI *s)
{
    if (s->nic) {
        qemu_del_nic(s->nic);
        s->nic = NULL;
    }
}
