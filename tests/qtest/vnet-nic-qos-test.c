/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NICs without a port of their own on a vnet netdev: virtio-net and e1000e.
 *
 * The NIC is driven by libqos, the peer of the link is this test: what the one
 * sends has to be at the other, with its offloads, and the other way round.
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "hw/net/e1000_regs.h"
#include "libqos/e1000e.h"
#include "libqos/libqos-malloc.h"
#include "libqos/qgraph.h"
#include "libqos/virtio-net.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_net.h"
#include "vnet-rawpeer.h"
#include "vtoe-tmp.h"

#define VNI             3
#define TIMEOUT_US      (10 * 1000 * 1000)
#define VIRTIO_HDR      sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define ETH_IP_TCP      (14 + 20 + 20)

static const uint8_t peer_mac[6] = { 2, 0, 0, 0, 0, 9 };

typedef struct Peer {
    char *dir, *path;
    int listen_fd;
    VnetRawPeer p;
    int frames;                 /* the frame connection, -1: not yet */
    uint8_t nic_mac[6];
} Peer;

static void peer_free(void *opaque)
{
    Peer *peer = opaque;

    if (peer->frames >= 0) {
        close(peer->frames);
        vnet_raw_close(&peer->p);
    }
    close(peer->listen_fd);
    g_free(peer->path);
    vtoe_tmp_remove(peer->dir);
    g_free(peer);
    qos_invalidate_command_line();
}

static void *peer_before(GString *cmd_line, void *arg)
{
    Peer *peer = g_new0(Peer, 1);

    peer->dir = vtoe_tmp_dir("vnet-nic");
    peer->path = g_build_filename(peer->dir, "link", NULL);
    peer->listen_fd = vnet_raw_listen(peer->path);
    peer->frames = -1;
    g_string_append_printf(cmd_line, " -netdev vnet,id=hs0,vni=%d,"
                           "links.0.id=l0,links.0.addr.type=unix,"
                           "links.0.addr.path=%s ", VNI, peer->path);
    g_test_queue_destroy(peer_free, peer);
    return peer;
}

/* The link and its frame connection; the NIC's address is announced. */
static void peer_up(Peer *peer)
{
    VnetPreamble pre;
    VnetMsg m;

    vnet_raw_accept_up(&peer->p, peer->listen_fd, VNI);
    peer->frames = vnet_raw_accept(peer->listen_fd, VNET_CONN_FRAME, &pre);
    g_assert_cmpuint(pre.token, ==, peer->p.token);
    vnet_raw_expect(&peer->p, VNET_MSG_MAC, &m);
    g_assert_cmpuint(m.u.mac.vni, ==, VNI);
    g_assert_cmpuint(m.flags, ==, 0);
    memcpy(peer->nic_mac, m.u.mac.mac, 6);
}

/* An IPv4 frame with `payload` bytes of TCP, to this address. */
static void make_tcp(uint8_t *f, const uint8_t *to, const uint8_t *from,
                     size_t payload)
{
    size_t i;

    memset(f, 0, ETH_IP_TCP);
    memcpy(f, to, 6);
    memcpy(f + 6, from, 6);
    stw_be_p(f + 12, 0x0800);
    f[14] = 0x45;
    stw_be_p(f + 16, 40 + payload);
    stw_be_p(f + 18, 0x1000);                   /* id */
    f[22] = 64;
    f[23] = 6;
    stl_be_p(f + 26, 0x0a000001);
    stl_be_p(f + 30, 0x0a000002);
    stw_be_p(f + 34, 1234);
    stw_be_p(f + 36, 80);
    stl_be_p(f + 38, 0x11223344);               /* sequence number */
    f[46] = 0x50;
    f[47] = 0x19;                               /* FIN, PSH, ACK */
    for (i = 0; i < payload; i++) {
        f[ETH_IP_TCP + i] = i * 7;
    }
}

static const VnetFrameHdr gso_hdr = {
    .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
    .gso_type = VTOE_NET_HDR_GSO_TCPV4,
    .hdr_len = ETH_IP_TCP,
    .gso_size = 1400,
    .csum_start = 34,
    .csum_offset = 16,
};

/* Sum of big-endian words, folded; 0xffff over what holds its checksum. */
static unsigned sum(unsigned s, const uint8_t *p, size_t len)
{
    size_t i;

    for (i = 0; i + 1 < len; i += 2) {
        s += lduw_be_p(p + i);
    }
    if (i < len) {
        s += p[i] << 8;
    }
    while (s >> 16) {
        s = (s & 0xffff) + (s >> 16);
    }
    return s;
}

static void assert_checksums(const uint8_t *f)
{
    size_t tcp_len = lduw_be_p(f + 16) - 20;

    g_assert_cmphex(sum(0, f + 14, 20), ==, 0xffff);
    g_assert_cmphex(sum(sum(6 + tcp_len, f + 26, 8), f + 34, tcp_len), ==,
                    0xffff);
}

static uint64_t port_counter(QTestState *qts, const char *name)
{
    QDict *st = vnet_status(qts, "hs0");
    QDict *port = qobject_to(QDict,
                             qlist_peek(qdict_get_qlist(st, "ports")));
    uint64_t v = vnet_counter(port, name);

    qobject_unref(st);
    return v;
}

/* --- virtio-net ------------------------------------------------------- */

static void virtio_send(QVirtioNet *net, QGuestAllocator *alloc,
                        const VnetFrameHdr *h, const uint8_t *f, size_t len)
{
    QTestState *qts = global_qtest;
    QVirtQueue *tx = net->queues[1];
    struct virtio_net_hdr_mrg_rxbuf v = {
        .hdr = {
            .flags = h->flags, .gso_type = h->gso_type,
            .hdr_len = h->hdr_len, .gso_size = h->gso_size,
            .csum_start = h->csum_start, .csum_offset = h->csum_offset,
        },
    };
    uint64_t addr = guest_alloc(alloc, VIRTIO_HDR + len);
    uint32_t head;

    qtest_memwrite(qts, addr, &v, sizeof(v));
    qtest_memwrite(qts, addr + VIRTIO_HDR, f, len);
    head = qvirtqueue_add(qts, tx, addr, VIRTIO_HDR + len, false, false);
    qvirtqueue_kick(qts, net->vdev, tx, head);
    qvirtio_wait_used_elem(qts, net->vdev, tx, head, NULL, TIMEOUT_US);
    guest_free(alloc, addr);
}

static void test_virtio_tx_whole(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { PAYLOAD = 60000 };
    g_autofree uint8_t *f = g_malloc(ETH_IP_TCP + PAYLOAD);
    g_autofree uint8_t *got = g_malloc(VNET_FRAME_MAX);
    Peer *peer = data;
    VnetWireFrame wf;

    peer_up(peer);
    make_tcp(f, peer_mac, peer->nic_mac, PAYLOAD);
    virtio_send(obj, alloc, &gso_hdr, f, ETH_IP_TCP + PAYLOAD);
    g_assert_cmpuint(vnet_raw_receive_frame(peer->frames, &wf, got,
                                            VNET_FRAME_MAX), ==,
                     ETH_IP_TCP + PAYLOAD);
    g_assert_cmpuint(wf.vni, ==, VNI);
    g_assert(!memcmp(&wf.hdr, &gso_hdr, sizeof(gso_hdr)));
    g_assert(!memcmp(got, f, ETH_IP_TCP + PAYLOAD));
}

/* A header that the wire does not carry must not end the link. */
static void test_virtio_tx_bad_header(void *obj, void *data,
                                      QGuestAllocator *alloc)
{
    static const VnetFrameHdr bad[] = {
        { .gso_type = 99, .gso_size = 1 },
        { .gso_type = VTOE_NET_HDR_GSO_TCPV4, .gso_size = 10 },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 0xffff },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
          .csum_offset = 0xffff },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
          .csum_offset = 16, .gso_type = VTOE_NET_HDR_GSO_TCPV4 },
    };
    static const VnetFrameHdr none;
    uint8_t f[ETH_IP_TCP + 100], got[sizeof(f)];
    Peer *peer = data;
    VnetWireFrame wf;
    unsigned i;

    peer_up(peer);
    make_tcp(f, peer_mac, peer->nic_mac, 100);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        virtio_send(obj, alloc, &bad[i], f, sizeof(f));
    }
    virtio_send(obj, alloc, &none, f, sizeof(f));
    vnet_raw_receive_frame(peer->frames, &wf, got, sizeof(got));
    g_assert(!memcmp(got, f, sizeof(f)));
    g_assert_cmpuint(port_counter(global_qtest, "nic-tx-drop-header"), ==,
                     ARRAY_SIZE(bad));
    vnet_raw_ping(&peer->p);
}

static void test_virtio_rx_whole(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { PAYLOAD = 8000, ROOM = 16384 };
    QVirtioNet *net = obj;
    QTestState *qts = global_qtest;
    QVirtQueue *rx = net->queues[0];
    uint8_t f[ETH_IP_TCP + PAYLOAD], got[ETH_IP_TCP + PAYLOAD];
    uint64_t addr = guest_alloc(alloc, ROOM);
    struct virtio_net_hdr_mrg_rxbuf v;
    Peer *peer = data;
    VnetWireFrame wf = { .len = sizeof(f), .vni = VNI, .hdr = gso_hdr };
    uint32_t head, len;

    peer_up(peer);
    make_tcp(f, peer->nic_mac, peer_mac, PAYLOAD);
    head = qvirtqueue_add(qts, rx, addr, ROOM, true, false);
    qvirtqueue_kick(qts, net->vdev, rx, head);
    vnet_raw_send_frame(peer->frames, &wf, f);
    qvirtio_wait_used_elem(qts, net->vdev, rx, head, &len, TIMEOUT_US);
    g_assert_cmpuint(len, ==, VIRTIO_HDR + sizeof(f));
    qtest_memread(qts, addr, &v, sizeof(v));
    qtest_memread(qts, addr + VIRTIO_HDR, got, sizeof(got));
    g_assert_cmpuint(v.hdr.flags, ==, gso_hdr.flags);
    g_assert_cmpuint(v.hdr.gso_type, ==, gso_hdr.gso_type);
    g_assert_cmpuint(v.hdr.gso_size, ==, gso_hdr.gso_size);
    g_assert_cmpuint(v.hdr.csum_start, ==, gso_hdr.csum_start);
    g_assert_cmpuint(v.hdr.csum_offset, ==, gso_hdr.csum_offset);
    g_assert(!memcmp(got, f, sizeof(f)));
    guest_free(alloc, addr);
}

/*
 * More frames than the NIC has buffers wait, up to a limit; none comes twice
 * or out of order, and what is dropped is counted.
 */
static void test_virtio_rx_waits(void *obj, void *data, QGuestAllocator *alloc)
{
    /* libqos does not use a descriptor twice, so not all are taken. */
    enum { MANY = 3000, LEN = 100, ROOM = 2048, TAKE = 200 };
    QVirtioNet *net = obj;
    QTestState *qts = global_qtest;
    QVirtQueue *rx = net->queues[0];
    uint64_t addr = guest_alloc(alloc, ROOM);
    Peer *peer = data;
    VnetWireFrame wf = { .len = LEN, .vni = VNI };
    uint8_t f[LEN] = { 0 };
    uint64_t dropped, frames;
    unsigned i;

    peer_up(peer);
    memcpy(f, peer->nic_mac, 6);
    memcpy(f + 6, peer_mac, 6);
    for (i = 0; i < MANY; i++) {
        stl_be_p(f + 20, i);
        vnet_raw_send_frame(peer->frames, &wf, f);
    }
    vnet_wait_link_counter(qts, "hs0", "l0", "rx-frames", MANY);
    dropped = port_counter(qts, "nic-rx-drop-full");
    frames = port_counter(qts, "rx-frames");
    g_assert_cmpuint(dropped, >, 0);
    g_assert_cmpuint(dropped + frames, ==, MANY);
    g_assert_cmpuint(frames, >, TAKE);
    for (i = 0; i < TAKE; i++) {
        uint32_t head = qvirtqueue_add(qts, rx, addr, ROOM, true, false);
        uint8_t n[4];

        qvirtqueue_kick(qts, net->vdev, rx, head);
        qvirtio_wait_used_elem(qts, net->vdev, rx, head, NULL, TIMEOUT_US);
        qtest_memread(qts, addr + VIRTIO_HDR + 20, n, sizeof(n));
        g_assert_cmpuint(ldl_be_p(n), ==, i);
    }
    guest_free(alloc, addr);
}

/*
 * A large frame is not cut before all segments of the last one are gone: where
 * they wait, in QEMU's queue, nothing bounds them.
 */
static void test_virtio_rx_segments_wait(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    enum { PAYLOAD = 3000, SEGMENTS = 3, FRAMES = 20, TAKE = 7, ROOM = 2048 };
    QVirtioNet *net = obj;
    QTestState *qts = global_qtest;
    QVirtQueue *rx = net->queues[0];
    uint64_t addr = guest_alloc(alloc, ROOM);
    uint8_t f[ETH_IP_TCP + PAYLOAD], got[ETH_IP_TCP];
    Peer *peer = data;
    VnetWireFrame wf = { .len = sizeof(f), .vni = VNI, .hdr = gso_hdr };

    peer_up(peer);
    make_tcp(f, peer->nic_mac, peer_mac, PAYLOAD);
    for (unsigned i = 0; i < FRAMES; i++) {
        vnet_raw_send_frame(peer->frames, &wf, f);
    }
    vnet_wait_link_counter(qts, "hs0", "l0", "rx-frames", FRAMES);
    for (unsigned i = 0; i < TAKE; i++) {
        uint32_t head = qvirtqueue_add(qts, rx, addr, ROOM, true, false);

        qvirtqueue_kick(qts, net->vdev, rx, head);
        qvirtio_wait_used_elem(qts, net->vdev, rx, head, NULL, TIMEOUT_US);
        qtest_memread(qts, addr + VIRTIO_HDR, got, sizeof(got));
        g_assert_cmpuint(lduw_be_p(got + 18), ==, 0x1000 + i % SEGMENTS);
        g_assert_cmpuint(port_counter(qts, "nic-rx-segmented"), <=,
                         1 + (i + 1) / SEGMENTS);
    }
    guest_free(alloc, addr);
}

/* --- e1000e ----------------------------------------------------------- */

static void test_e1000e_tx(void *obj, void *data, QGuestAllocator *alloc)
{
    enum { LEN = 200 };
    QE1000E_PCI *pci = obj;
    QE1000E *d = &pci->e1000e;
    uint64_t addr = guest_alloc(alloc, LEN);
    Peer *peer = data;
    uint8_t f[LEN], got[LEN];
    struct e1000_tx_desc desc = {
        .buffer_addr = cpu_to_le64(addr),
        .lower.data = cpu_to_le32(E1000_TXD_CMD_RS | E1000_TXD_CMD_EOP |
                                  E1000_TXD_CMD_DEXT | E1000_TXD_DTYP_D |
                                  LEN),
    };
    VnetWireFrame wf;

    peer_up(peer);
    make_tcp(f, peer_mac, peer->nic_mac, LEN - ETH_IP_TCP);
    qtest_memwrite(global_qtest, addr, f, LEN);
    e1000e_tx_ring_push(d, &desc);
    g_assert_cmpuint(vnet_raw_receive_frame(peer->frames, &wf, got, LEN), ==,
                     LEN);
    g_assert(!memcmp(got, f, LEN));
    guest_free(alloc, addr);
}

/* The NIC takes no large frames: they come as segments with right checksums. */
static void test_e1000e_rx_segments(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    /* The device puts the frame check sequence into a descriptor of its own. */
    enum { PAYLOAD = 3000, SEGMENTS = 3, EACH = 2, ROOM = 2048 };
    QE1000E_PCI *pci = obj;
    QE1000E *d = &pci->e1000e;
    uint64_t addr = guest_alloc(alloc, SEGMENTS * EACH * ROOM);
    uint8_t f[ETH_IP_TCP + PAYLOAD], got[ROOM];
    Peer *peer = data;
    VnetWireFrame wf = { .len = sizeof(f), .vni = VNI, .hdr = gso_hdr };
    size_t at = 0;
    unsigned i;

    peer_up(peer);
    make_tcp(f, peer->nic_mac, peer_mac, PAYLOAD);
    for (i = 0; i < SEGMENTS * EACH; i++) {
        union e1000_rx_desc_extended desc = {
            .read.buffer_addr = cpu_to_le64(addr + i * ROOM),
        };

        e1000e_rx_ring_push(d, &desc);
    }
    vnet_raw_send_frame(peer->frames, &wf, f);
    for (i = 0; i < SEGMENTS; i++) {
        size_t n = MIN(PAYLOAD - at, gso_hdr.gso_size);
        gint64 end = g_get_monotonic_time() + TIMEOUT_US;
        bool last = i == SEGMENTS - 1;

        do {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            qtest_clock_step(global_qtest, 10000);
            qtest_memread(global_qtest, addr + i * EACH * ROOM, got,
                          sizeof(got));
        } while (memcmp(got, f, 14));
        g_assert_cmpuint(lduw_be_p(got + 16), ==, 40 + n);
        g_assert_cmpuint(lduw_be_p(got + 18), ==, 0x1000 + i);
        g_assert_cmphex(ldl_be_p(got + 38), ==, 0x11223344 + at);
        g_assert_cmphex(got[47], ==, last ? 0x19 : 0x10);
        g_assert(!memcmp(got + ETH_IP_TCP, f + ETH_IP_TCP + at, n));
        assert_checksums(got);
        at += n;
    }
    g_assert_cmpuint(at, ==, PAYLOAD);
    g_assert_cmpuint(port_counter(global_qtest, "nic-rx-segmented"), ==, 1);
    guest_free(alloc, addr);
}

static void register_vnet_nic_tests(void)
{
    QOSGraphTestOptions opts = { .before = peer_before };
    QOSGraphTestOptions no_tso = {
        .before = peer_before,
        .edge.extra_device_opts = "guest_tso4=off,guest_tso6=off",
    };

    qos_add_test("vtoe-vnet-tx-whole", "virtio-net", test_virtio_tx_whole,
                 &opts);
    qos_add_test("vtoe-vnet-tx-bad-header", "virtio-net",
                 test_virtio_tx_bad_header, &opts);
    qos_add_test("vtoe-vnet-rx-whole", "virtio-net", test_virtio_rx_whole,
                 &opts);
    qos_add_test("vtoe-vnet-rx-waits", "virtio-net", test_virtio_rx_waits,
                 &opts);
    qos_add_test("vtoe-vnet-rx-segments-wait", "virtio-net",
                 test_virtio_rx_segments_wait, &no_tso);
    qos_add_test("vtoe-vnet-tx", "e1000e", test_e1000e_tx, &opts);
    qos_add_test("vtoe-vnet-rx-segments", "e1000e", test_e1000e_rx_segments,
                 &opts);
}
libqos_init(register_vnet_nic_tests);
