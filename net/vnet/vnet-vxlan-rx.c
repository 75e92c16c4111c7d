/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VXLAN links: datagrams to frames.
 *
 * The kernel gives many datagrams at once, and those of one flow and size as one
 * (UDP_GRO).  TCP segments among the frames are joined (vnet-gro.h).  Frames are
 * handed up from the buffer.
 */

#include "qemu/osdep.h"
#include <netinet/in.h>
#include <netinet/udp.h>
#include "qemu/units.h"
#include "vnet-vxlan-int.h"

/* What one datagram, or several given as one, can be. */
#define VNET_VXLAN_IN           (64 * KiB)
/* Read in one go before others get their turn. */
#define VNET_VXLAN_TURN         (1 * MiB)
#define VNET_VXLAN_TURN_EACH    1024    /* what a datagram counts beside its bytes */
#define VNET_VXLAN_RX_CONTROL   (CMSG_SPACE(sizeof(int)) + \
                                 CMSG_SPACE(sizeof(uint32_t)))

static void vnet_vxlan_up(void *opaque, const VnetFrameHdr *hdr,
                          const struct iovec *iov, unsigned niov, size_t len)
{
    VnetVxlanLink *k = opaque;
    const VnetWireFrame wf = { .len = len, .vni = k->rx_vni, .hdr = *hdr };

    vnet_link_frame(k->l, &wf, iov, niov);
}

static void vnet_vxlan_datagram(VnetVxlanLink *k, uint8_t *buf, size_t len)
{
    uint32_t vni;

    k->stats.datagrams_received++;
    if (!vnet_vxlan_get_header(buf, len, &vni)) {
        k->stats.rx_drop_header++;
        return;
    }
    buf += VNET_VXLAN_HDR;
    len -= VNET_VXLAN_HDR;
    if (len < VNET_FRAME_MIN) {
        k->stats.rx_drop_short++;
    } else if (len > VNET_FRAME_MAX) {
        k->stats.rx_drop_long++;
    } else {
        if (vni != k->rx_vni) {
            vnet_gro_flush(k->gro);
            k->rx_vni = vni;
        }
        vnet_gro_add(k->gro, buf, len, k->max);
    }
}

static bool vnet_vxlan_from_peer(const VnetVxlanLink *k,
                                 const struct sockaddr_storage *from)
{
    if (from->ss_family != k->peer.ss_family) {
        return false;
    }
    if (from->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)from)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)&k->peer)->sin_addr.s_addr;
    }
    return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)from)->sin6_addr,
                              &((const struct sockaddr_in6 *)&k->peer)->sin6_addr);
}

/*
 * What the kernel says beside a message: how many were lost before it, and the
 * size of each datagram if it is several.  Returns that size, 0: it is one.
 */
static size_t vnet_vxlan_control(VnetVxlanLink *k, struct msghdr *h)
{
    struct cmsghdr *c;
    size_t piece = 0;

    for (c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int size;

            memcpy(&size, CMSG_DATA(c), sizeof(size));
            piece = MAX(size, 0);
        } else if (c->cmsg_level == SOL_SOCKET &&
                   c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t lost;

            memcpy(&lost, CMSG_DATA(c), sizeof(lost));
            k->stats.rx_overrun += lost - k->overrun;
            k->overrun = lost;
        }
    }
    return piece;
}

static void vnet_vxlan_message(VnetVxlanLink *k, unsigned i)
{
    struct msghdr *h = &k->rx_msg[i].msg_hdr;
    size_t len = k->rx_msg[i].msg_len;
    uint8_t *buf = k->rx_iov[i].iov_base;
    size_t piece = vnet_vxlan_control(k, h) ?: len;

    /* It came before the socket had a peer. */
    if (!vnet_vxlan_from_peer(k, h->msg_name)) {
        k->stats.rx_drop_source++;
        return;
    }
    if (h->msg_flags & MSG_TRUNC) {
        k->stats.rx_drop_long++;
        return;
    }
    do {
        size_t n = MIN(piece, len);

        vnet_vxlan_datagram(k, buf, n);
        buf += n;
        len -= n;
    } while (len);
}

static void vnet_vxlan_rx_ready(VnetPoll *p, uint32_t events)
{
    VnetVxlanLink *k = container_of(p, VnetVxlanLink, rx);
    size_t bytes = 0;

    for (;;) {
        int ret;

        for (unsigned i = 0; i < VNET_VXLAN_RECEIVES; i++) {
            struct msghdr *h = &k->rx_msg[i].msg_hdr;

            h->msg_namelen = sizeof(*k->rx_name);
            h->msg_controllen = VNET_VXLAN_RX_CONTROL;
            h->msg_flags = 0;
        }
        ret = recvmmsg(p->fd, k->rx_msg, VNET_VXLAN_RECEIVES, MSG_DONTWAIT,
                       NULL);
        k->stats.datagram_reads++;
        if (ret < 0 && errno == EAGAIN) {
            return;
        }
        if (ret < 0) {
            if (errno != EINTR) {
                /* An error that was waiting; datagrams may lie behind it. */
                k->stats.unreachable++;
            }
            vnet_poll_again(k->loop, p);
            return;
        }
        for (int i = 0; i < ret; i++) {
            /* A short one is work, too. */
            bytes += k->rx_msg[i].msg_len + VNET_VXLAN_TURN_EACH;
            vnet_vxlan_message(k, i);
        }
        vnet_gro_flush(k->gro);
        if (ret < VNET_VXLAN_RECEIVES) {
            return;
        }
        if (bytes >= VNET_VXLAN_TURN) {
            vnet_poll_again(k->loop, p);
            return;
        }
    }
}

void vnet_vxlan_rx_init(VnetVxlanLink *k)
{
    k->rx.fd = -1;
    k->rx.ready = vnet_vxlan_rx_ready;
    k->gro = vnet_gro_new(vnet_vxlan_up, k);
    k->in = g_malloc(VNET_VXLAN_RECEIVES * VNET_VXLAN_IN);
    k->rx_msg = g_new0(struct mmsghdr, VNET_VXLAN_RECEIVES);
    k->rx_iov = g_new0(struct iovec, VNET_VXLAN_RECEIVES);
    k->rx_name = g_new0(struct sockaddr_storage, VNET_VXLAN_RECEIVES);
    k->rx_control = g_malloc0(VNET_VXLAN_RECEIVES * VNET_VXLAN_RX_CONTROL);
    for (unsigned i = 0; i < VNET_VXLAN_RECEIVES; i++) {
        struct msghdr *h = &k->rx_msg[i].msg_hdr;

        k->rx_iov[i] = (struct iovec) { k->in + i * VNET_VXLAN_IN,
                                        VNET_VXLAN_IN };
        h->msg_iov = &k->rx_iov[i];
        h->msg_iovlen = 1;
        h->msg_name = &k->rx_name[i];
        h->msg_control = (uint8_t *)k->rx_control + i * VNET_VXLAN_RX_CONTROL;
    }
}

void vnet_vxlan_rx_free(VnetVxlanLink *k)
{
    vnet_gro_free(k->gro);
    g_free(k->in);
    g_free(k->rx_msg);
    g_free(k->rx_iov);
    g_free(k->rx_name);
    g_free(k->rx_control);
}
