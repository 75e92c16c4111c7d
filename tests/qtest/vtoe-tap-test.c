/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci on a tap netdev: checksum and segmentation offload in both
 * directions, as the driver negotiated it.
 *
 *      test ---- packet socket ---- tap vt0 ---- QEMU, vtoe-pci ---- driver
 *
 * The tap lives in a network namespace of the test's own, in which nothing
 * else is.
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_net.h"
#include "vtoe-pair.h"

#define IFNAME      "vt0"
#define MSS         1000
#define HEADERS     54          /* Ethernet, IPv4, TCP */
#define PAYLOAD     2500        /* three segments */
#define FRAME       (HEADERS + PAYLOAD)

typedef struct TapNic {
    VtoeHost h;
    int fd;                     /* packet socket, with virtio-net headers */
    uint64_t buf;               /* 16 receive buffers of 4 KiB */
    uint64_t src;
} TapNic;

static uint16_t csum_fold(uint32_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static uint32_t csum_add(uint32_t sum, const uint8_t *p, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : p[i] << 8;
    }
    return sum;
}

/* Of the TCP segment in a frame, pseudo header included; right if 0xffff. */
static uint16_t tcp_sum(const uint8_t *frame, size_t len)
{
    uint32_t sum = csum_add(0, frame + 26, 8) + 6 + (len - 34);

    return csum_fold(csum_add(sum, frame + 34, len - 34));
}

/* A TCP segment whose checksum field holds the pseudo header's sum. */
static void fill_segment(uint8_t *frame, size_t len, const uint8_t *dst)
{
    static const uint8_t ip[] = { 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0,
                                  10, 0, 0, 2, 10, 0, 0, 1 };
    size_t i;

    memset(frame, 0, HEADERS);
    memcpy(frame, dst, 6);
    memcpy(frame + 6, vtoe_mac_none, 6);
    stw_be_p(frame + 12, ETH_P_IP);
    memcpy(frame + 14, ip, sizeof(ip));
    stw_be_p(frame + 16, len - 14);
    stw_be_p(frame + 24, ~csum_fold(csum_add(0, frame + 14, 20)));
    stw_be_p(frame + 34, 1000);
    stw_be_p(frame + 36, 2000);
    stl_be_p(frame + 38, 1);
    frame[46] = 5 << 4;
    frame[47] = 0x10;           /* ACK */
    stw_be_p(frame + 48, 1000);
    stw_be_p(frame + 50, csum_fold(csum_add(0, frame + 26, 8) + 6 + len - 34));
    for (i = HEADERS; i < len; i++) {
        frame[i] = i * 13;
    }
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, strlen(text));
    close(fd);
}

/*
 * Enters a network namespace, as root in a user namespace if need be.  It has
 * no IPv6, whose chatter would be in the way.
 */
static bool own_namespace(void)
{
    g_autofree char *map = g_strdup_printf("0 %u 1", (unsigned)getuid());

    if (unshare(CLONE_NEWNET) < 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) {
            return false;
        }
        write_file("/proc/self/uid_map", map);
    }
    write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    return true;
}

static void tap_start(TapNic *n, uint64_t features)
{
    struct ifreq ifr = { .ifr_name = IFNAME };
    struct sockaddr_ll addr = { .sll_family = AF_PACKET,
                                .sll_protocol = htons(ETH_P_ALL) };
    int one = 1, i;

    vtoe_host_boot(&n->h, "pc", "tap,ifname=" IFNAME
                   ",script=no,downscript=no", VTOE_NIC_A);
    n->fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    g_assert_cmpint(n->fd, >=, 0);
    g_assert_cmpint(ioctl(n->fd, SIOCGIFFLAGS, &ifr), ==, 0);
    ifr.ifr_flags |= IFF_UP;
    g_assert_cmpint(ioctl(n->fd, SIOCSIFFLAGS, &ifr), ==, 0);
    addr.sll_ifindex = if_nametoindex(IFNAME);
    g_assert_cmpint(setsockopt(n->fd, SOL_PACKET, PACKET_VNET_HDR, &one,
                               sizeof(one)), ==, 0);
    g_assert_cmpint(setsockopt(n->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one,
                               sizeof(one)), ==, 0);
    g_assert_cmpint(bind(n->fd, (struct sockaddr *)&addr, sizeof(addr)), ==, 0);

    g_assert_cmphex(vtoe_rd(n->h.d, VTOE_REG_DEV_FEATURES), ==,
                    VTOE_F_CSUM | VTOE_F_TSO | VTOE_F_RX_CSUM | VTOE_F_RX_TSO);
    vtoe_start_with(n->h.d, features, 1, VTOE_TEST_RING);
    n->buf = vtoe_alloc(n->h.d, 16 * 4096);
    n->src = vtoe_alloc(n->h.d, 4096);
    for (i = 0; i < 16; i++) {
        vtoe_post_recv(n->h.d, &n->h.d->q[0], n->buf + i * 4096, 4096, 0, i);
    }
    vtoe_kick(n->h.d, &n->h.d->q[0]);
}

static void tap_quit(TapNic *n)
{
    close(n->fd);
    vtoe_host_quit(&n->h);
}

/* The host gets the large segment as the guest made it, with its metadata. */
static void test_large_segment_leaves_whole(void)
{
    uint8_t frame[FRAME], got[sizeof(struct virtio_net_hdr) + FRAME + 1];
    struct vtoe_send_desc desc = {
        .len = cpu_to_le32(FRAME),
        .hdr = {
            .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
            .gso_type = VTOE_NET_HDR_GSO_TCPV4,
            .hdr_len = cpu_to_le16(HEADERS),
            .gso_size = cpu_to_le16(MSS),
            .csum_start = cpu_to_le16(34),
            .csum_offset = cpu_to_le16(16),
        },
    };
    struct virtio_net_hdr *hdr = (void *)got;
    struct pollfd pfd = { .events = POLLIN };
    TapNic n;

    tap_start(&n, VTOE_F_CSUM | VTOE_F_TSO);
    fill_segment(frame, FRAME, vtoe_mac_b);
    qtest_memwrite(n.h.qts, n.src, frame, FRAME);
    desc.addr = cpu_to_le64(n.src);
    vtoe_post_send(n.h.d, &n.h.d->q[0], &desc);
    vtoe_kick(n.h.d, &n.h.d->q[0]);
    pfd.fd = n.fd;
    g_assert_cmpint(poll(&pfd, 1, VTOE_WAIT_S * 1000), ==, 1);
    g_assert_cmpint(recv(n.fd, got, sizeof(got), 0), ==,
                    sizeof(*hdr) + FRAME);
    g_assert_cmpmem(got + sizeof(*hdr), FRAME, frame, FRAME);
    g_assert_cmpuint(hdr->gso_type, ==, VIRTIO_NET_HDR_GSO_TCPV4);
    g_assert_cmpuint(hdr->gso_size, ==, MSS);
    g_assert_cmpuint(hdr->flags, ==, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    tap_quit(&n);
}

static void host_send(TapNic *n, size_t len, bool large)
{
    uint8_t packet[sizeof(struct virtio_net_hdr) + FRAME] = { };
    struct virtio_net_hdr *hdr = (void *)packet;

    hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    hdr->csum_start = 34;
    hdr->csum_offset = 16;
    if (large) {
        hdr->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
        hdr->gso_size = MSS;
        hdr->hdr_len = HEADERS;
    }
    fill_segment(packet + sizeof(*hdr), len, vtoe_mac_a);
    g_assert_cmpint(send(n->fd, packet, sizeof(*hdr) + len, 0), ==,
                    sizeof(*hdr) + len);
}

/* The next frame of the guest; returns its length. */
static size_t guest_frame(TapNic *n, uint8_t *frame, struct vtoe_net_hdr *hdr)
{
    struct vtoe_comp c = vtoe_wait_comp(n->h.d, &n->h.d->q[0]);

    g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
    g_assert_cmpuint(le16_to_cpu(c.u.frame.num_buffers), ==, 1);
    qtest_memread(n->h.qts, n->buf + c.id * 4096, frame, c.len);
    *hdr = c.u.frame.hdr;
    return c.len;
}

static void test_large_segment_arrives_whole(void)
{
    uint8_t want[FRAME], got[4096];
    struct vtoe_net_hdr hdr;
    TapNic n;

    tap_start(&n, VTOE_F_RX_CSUM | VTOE_F_RX_TSO);
    host_send(&n, FRAME, true);
    fill_segment(want, FRAME, vtoe_mac_a);
    g_assert_cmpuint(guest_frame(&n, got, &hdr), ==, FRAME);
    g_assert_cmpmem(got, FRAME, want, FRAME);
    g_assert_cmpuint(hdr.flags, ==, VTOE_NET_HDR_F_NEEDS_CSUM);
    g_assert_cmpuint(hdr.gso_type, ==, VTOE_NET_HDR_GSO_TCPV4);
    g_assert_cmpuint(le16_to_cpu(hdr.gso_size), ==, MSS);
    g_assert_cmpuint(le16_to_cpu(hdr.csum_start), ==, 34);
    g_assert_cmpuint(le16_to_cpu(hdr.csum_offset), ==, 16);
    tap_quit(&n);
}

/* A driver that did not ask for it gets complete frames of ordinary size. */
static void test_without_offload_segments_are_complete(void)
{
    uint8_t got[4096];
    struct vtoe_net_hdr hdr;
    size_t left = PAYLOAD;
    TapNic n;

    tap_start(&n, 0);
    host_send(&n, FRAME, true);
    while (left > 0) {
        size_t len = guest_frame(&n, got, &hdr);

        g_assert_cmpuint(len, ==, HEADERS + MIN(left, MSS));
        g_assert_cmpuint(hdr.flags & VTOE_NET_HDR_F_NEEDS_CSUM, ==, 0);
        g_assert_cmpuint(hdr.gso_type, ==, VTOE_NET_HDR_GSO_NONE);
        g_assert_cmphex(tcp_sum(got, len), ==, 0xffff);
        left -= len - HEADERS;
    }
    tap_quit(&n);
}

/* After a reset the next driver's choice counts, and before it none. */
static void test_offload_ends_with_a_reset(void)
{
    uint8_t got[4096];
    struct vtoe_net_hdr hdr;
    TapNic n;

    tap_start(&n, VTOE_F_RX_CSUM);
    host_send(&n, 100, false);
    g_assert_cmpuint(guest_frame(&n, got, &hdr), ==, 100);
    g_assert_cmpuint(hdr.flags, ==, VTOE_NET_HDR_F_NEEDS_CSUM);
    vtoe_start_with(n.h.d, 0, 1, VTOE_TEST_RING);
    vtoe_post_recv(n.h.d, &n.h.d->q[0], n.buf, 4096, 0, 0);
    vtoe_kick(n.h.d, &n.h.d->q[0]);
    host_send(&n, 100, false);
    g_assert_cmpuint(guest_frame(&n, got, &hdr), ==, 100);
    g_assert_cmpuint(hdr.flags & VTOE_NET_HDR_F_NEEDS_CSUM, ==, 0);
    g_assert_cmphex(tcp_sum(got, 100), ==, 0xffff);
    tap_quit(&n);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!own_namespace()) {
        g_print("1..0 # SKIP no network namespace: %s\n", strerror(errno));
        return 0;
    }
    qtest_add_func("/vtoe/tap/large-segment-leaves-whole",
                   test_large_segment_leaves_whole);
    qtest_add_func("/vtoe/tap/large-segment-arrives-whole",
                   test_large_segment_arrives_whole);
    qtest_add_func("/vtoe/tap/without-offload-segments-are-complete",
                   test_without_offload_segments_are_complete);
    qtest_add_func("/vtoe/tap/offload-ends-with-a-reset",
                   test_offload_ends_with_a_reset);
    return g_test_run();
}
