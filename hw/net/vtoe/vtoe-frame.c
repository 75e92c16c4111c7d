/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pair 0: Ethernet frames (docs/specs/vtoe.rst section 3.7).
 *
 * Sending.  A frame is a chain of descriptors.  Its buffers are mapped for the
 * duration of one call of the netdev, which keeps nothing.  If the netdev is
 * busy, the chain stays in the ring, unread as far as the guest can tell, and
 * is looked at anew when the netdev is ready.
 *
 * Receiving.  A frame is scattered over as many buffers as it needs, and all of
 * it is published at once.  For what the guest has no room now, see vtoe-hold.c.
 * Whoever sends to a port never waits for it.
 */
#include "vtoe-int.h"

size_t vtoe_iov_copy(const struct iovec *iov, unsigned niov, size_t offset,
                     void *buf, size_t len)
{
    size_t done = 0;

    for (unsigned i = 0; i < niov && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
        } else {
            size_t n = MIN(iov[i].iov_len - offset, len - done);

            memcpy((uint8_t *)buf + done, (uint8_t *)iov[i].iov_base + offset,
                   n);
            done += n;
            offset = 0;
        }
    }
    return done;
}

bool vtoe_frame_hdr_ok(const VnetFrameHdr *hdr, size_t len)
{
    bool csum = hdr->flags & VTOE_NET_HDR_F_NEEDS_CSUM;

    if (csum && (hdr->csum_start < VTOE_NET_HDR_CSUM_START_MIN ||
                 (size_t)hdr->csum_start + hdr->csum_offset + 2 > len)) {
        return false;
    }
    switch (hdr->gso_type) {
    case VTOE_NET_HDR_GSO_NONE:
        return true;
    case VTOE_NET_HDR_GSO_TCPV4:
    case VTOE_NET_HDR_GSO_TCPV6:
    case VTOE_NET_HDR_GSO_TCPV4 | VTOE_NET_HDR_GSO_ECN:
    case VTOE_NET_HDR_GSO_TCPV6 | VTOE_NET_HDR_GSO_ECN:
        return csum && hdr->gso_size >= VTOE_NET_HDR_GSO_SIZE_MIN &&
               hdr->hdr_len <= len;
    default:
        return false;
    }
}

/* --- sending ------------------------------------------------------------------------ */

static VnetFrameHdr hdr_from_abi(const struct vtoe_net_hdr *raw)
{
    return (VnetFrameHdr) {
        .flags = raw->flags & VTOE_NET_HDR_F_NEEDS_CSUM,
        .gso_type = raw->gso_type,
        .hdr_len = GUINT16_FROM_LE(raw->hdr_len),
        .gso_size = GUINT16_FROM_LE(raw->gso_size),
        .csum_start = GUINT16_FROM_LE(raw->csum_start),
        .csum_offset = GUINT16_FROM_LE(raw->csum_offset),
    };
}

static bool tx_hdr_ok(VtoeDev *d, const VnetFrameHdr *hdr, size_t len)
{
    return vtoe_frame_hdr_ok(hdr, len) &&
           (!hdr->flags || vtoe_has(d, VTOE_F_CSUM)) &&
           (!hdr->gso_type || vtoe_has(d, VTOE_F_TSO));
}

/*
 * Checks the chain that starts at raw[0], of avail descriptors.  Returns its
 * length; 0 if it does not end within them; -1 after a violation.
 */
static int chain_check(VtoeQueue *q, const struct vtoe_send_desc *raw,
                       unsigned avail, size_t *total)
{
    VtoeDev *d = q->dev;

    *total = 0;
    for (unsigned i = 0; i < avail; i++) {
        uint32_t len = GUINT32_FROM_LE(raw[i].len);
        uint32_t sid = GUINT32_FROM_LE(raw[i].sid);

        if (i == VTOE_FRAME_MAX_DESC || raw[i].op != VTOE_SEND_DATA ||
            raw[i].flags & ~VTOE_SEND_F_MORE) {
            vtoe_violation(d, VTOE_VIOLATION_DESCRIPTOR, "pair 0: descriptor "
                           "%u of a frame, opcode %u, flags 0x%x", i,
                           raw[i].op, raw[i].flags);
            return -1;
        }
        if (sid != VTOE_SID_FRAME) {
            vtoe_violation(d, VTOE_VIOLATION_STREAM,
                           "SID %u does not belong to pair 0", sid);
            return -1;
        }
        *total += len;
        if (len == 0 || len > VTOE_FRAME_MAX_LEN ||
            *total > VTOE_FRAME_MAX_LEN) {
            vtoe_violation(d, VTOE_VIOLATION_BUFFER, "pair 0: descriptor %u of "
                           "a frame has %u bytes, the frame %zu", i, len,
                           *total);
            return -1;
        }
        if (!(raw[i].flags & VTOE_SEND_F_MORE)) {
            return i + 1;
        }
    }
    return 0;
}

#define ETHERNET_HDR    14

/*
 * The frame that is in iov from 1 on, in n elements, with its Ethernet header in own:
 * what the netdev checks and what it sends is the same then, whatever the guest
 * writes meanwhile.  Returns where it begins now, in at most n + 1 elements: *niov.
 */
static struct iovec *own_header(uint8_t own[ETHERNET_HDR], struct iovec *iov,
                                unsigned n, unsigned *niov)
{
    size_t left = ETHERNET_HDR;
    unsigned first = 1;

    vtoe_iov_copy(iov + 1, n, 0, own, ETHERNET_HDR);
    while (first <= n && left >= iov[first].iov_len) {
        left -= iov[first++].iov_len;
    }
    if (left) {
        iov[first].iov_base = (uint8_t *)iov[first].iov_base + left;
        iov[first].iov_len -= left;
    }
    first--;
    iov[first] = (struct iovec) { own, ETHERNET_HDR };
    *niov = n + 1 - first;
    return iov + first;
}

/* Offers one frame to the netdev. False: busy, or after a violation. */
static bool send_chain(VtoeQueue *q, const struct vtoe_send_desc *raw,
                       unsigned n, size_t len)
{
    VtoeDev *d = q->dev;
    VnetFrameHdr hdr = hdr_from_abi(&raw[0].hdr);
    VtoeMap map[VTOE_FRAME_MAX_DESC];
    struct iovec iov[VTOE_FRAME_MAX_DESC + 1], *from;
    uint8_t own[ETHERNET_HDR];
    VnetFrameResult res = VNET_FRAME_DROPPED;
    unsigned mapped, niov;

    if (len < ETHERNET_HDR) {
        d->st.tx_drop_short++;
        return true;
    }
    if (!tx_hdr_ok(d, &hdr, len)) {
        d->st.tx_drop_bad_header++;
        return true;
    }
    for (mapped = 0; mapped < n; mapped++) {
        uint64_t addr = GUINT64_FROM_LE(raw[mapped].addr);
        uint32_t blen = GUINT32_FROM_LE(raw[mapped].len);

        if (addr + blen < addr || !d->ops->dma_map(d->opaque, addr, blen, false,
                                                   &map[mapped])) {
            vtoe_violation(d, VTOE_VIOLATION_BUFFER, "send buffer 0x%" PRIx64
                           "+%u is not RAM", addr, blen);
            break;
        }
        iov[mapped + 1].iov_base = map[mapped].host;
        iov[mapped + 1].iov_len = blen;
    }
    if (mapped == n) {
        from = own_header(own, iov, n, &niov);
        res = d->ops->send_frame(d->opaque, &hdr, from, niov, len);
    }
    for (unsigned i = 0; i < mapped; i++) {
        d->ops->dma_unmap(d->opaque, &map[i], false, 0);
    }
    if (mapped < n || res == VNET_FRAME_BUSY) {
        return false;
    }
    if (res == VNET_FRAME_OK) {
        d->st.tx_frames++;
        d->st.tx_frame_bytes += len;
    } else {
        d->st.tx_drop_netdev++;
    }
    return true;
}

/* Sends the whole frames among n fetched descriptors of avail in the ring.
 * Returns how many were consumed; *stop: for now nothing more can be done. */
static unsigned send_fetched(VtoeQueue *q, const struct vtoe_send_desc *raw,
                             unsigned n, unsigned avail, bool *stop)
{
    unsigned i = 0;

    while (i < n) {
        size_t len;
        int chain = chain_check(q, &raw[i], n - i, &len);

        if (chain < 0) {
            *stop = true;
            break;
        }
        if (chain == 0) {
            if (n == avail && avail == q->size[VTOE_RING_SEND] && i == 0) {
                vtoe_violation(q->dev, VTOE_VIOLATION_DESCRIPTOR, "pair 0: a "
                               "frame of more than %u descriptors does not fit "
                               "in its ring", avail);
                *stop = true;
            }
            break;
        }
        if (!send_chain(q, &raw[i], chain, len)) {
            q->tx_busy = !q->dev->broken;
            *stop = true;
            break;
        }
        i += chain;
        q->send_cons += chain;
        q->frames_done++;
        q->dev->done++;
        q->frames_pending = true;
    }
    return i;
}

void vtoe_frame_tx_run(VtoeQueue *q)
{
    struct vtoe_send_desc raw[VTOE_FETCH] VTOE_UNINITIALIZED;
    int budget = VTOE_BUDGET_DESCS;
    bool stop = false;

    if (q->in_tx || q->tx_busy) {
        return;
    }
    q->in_tx = true;
    q->tx_again = false;
    while (!stop && !q->dev->broken) {
        int avail = vtoe_queue_send_avail(q);
        unsigned n, used = 0;

        if (avail < 0) {
            break;
        }
        if (avail > 0 && budget <= 0) {
            vtoe_kick_later(q);
            break;
        }
        n = MIN((unsigned)avail, VTOE_FETCH);
        if (n) {
            if (!vtoe_queue_fetch(q, VTOE_RING_SEND, sizeof(raw[0]),
                                  q->send_cons, n, raw)) {
                break;
            }
            used = send_fetched(q, raw, n, avail, &stop);
            budget -= used;
        }
        if (!used && !stop) {
            /* Empty, or only the beginning of a frame. */
            vtoe_queue_tell_send_cons(q);
            stop = !vtoe_queue_arm_send(q);
            budget--;
        }
    }
    vtoe_queue_tell_send_cons(q);
    q->in_tx = false;
    if (q->tx_again && q->tx_busy) {
        q->tx_busy = false;     /* it became ready before it returned BUSY */
        vtoe_kick_later(q);
    }
}

/* --- receiving ------------------------------------------------------------------------ */

static bool wanted(const VtoeDev *d, const uint8_t dst[6])
{
    static const uint8_t broadcast[6] = { 255, 255, 255, 255, 255, 255 };

    if (!(dst[0] & 1)) {
        return d->rx_filter & VTOE_RX_PROMISC || !memcmp(dst, d->mac, 6);
    }
    return d->rx_filter & (VTOE_RX_ALLMULTI | VTOE_RX_PROMISC) ||
           !memcmp(dst, broadcast, 6);
}

/* How many buffers a frame takes, 0 if there are too few. */
static unsigned buffers_for(VtoeQueue *q, size_t len)
{
    bool refilled = false;

    for (;;) {
        size_t have = 0;
        unsigned n = 0;

        for (GList *l = q->pool.head; l && have < len; l = l->next) {
            have += ((VtoeRecvBuf *)l->data)->len;
            n++;
        }
        if (have >= len) {
            return n;
        }
        if (refilled) {
            return 0;
        }
        vtoe_rx_refill(q);
        refilled = true;
    }
}

/* Copies len bytes of the frame, from offset on, to a guest buffer. */
static bool scatter(VtoeDev *d, uint64_t addr, const struct iovec *iov,
                    unsigned niov, size_t offset, size_t len)
{
    for (unsigned i = 0; i < niov && len; i++) {
        size_t n;

        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        n = MIN(iov[i].iov_len - offset, len);
        if (!d->ops->dma_write(d->opaque, addr,
                               (uint8_t *)iov[i].iov_base + offset, n)) {
            return false;
        }
        addr += n;
        len -= n;
        offset = 0;
    }
    return true;
}

/* Whether a frame that takes n buffers, 0: there are too few, can be taken when
 * the guest has posted all it can, and read all completions. */
static bool fits_later(const VtoeQueue *q, unsigned n)
{
    return n ? n <= q->size[VTOE_RING_COMP]
             : q->pool.length < q->size[VTOE_RING_RECV];
}

VnetFrameResult vtoe_frame_publish(VtoeDev *d, const VnetFrameHdr *hdr,
                                   const struct iovec *iov, unsigned niov,
                                   size_t len)
{
    VtoeQueue *q = &d->q[0];
    unsigned n = buffers_for(q, len);
    size_t done = 0;

    q->held_room = false;
    if (!n || vtoe_comp_room(q, n) < n) {
        if (!fits_later(q, n)) {
            d->st.rx_drop_no_buffer++;
            return VNET_FRAME_DROPPED;
        }
        q->held_room = n;
        return VNET_FRAME_BUSY;
    }
    for (unsigned i = 0; i < n; i++) {
        VtoeRecvBuf *rec = g_queue_pop_head_link(&q->pool)->data;
        size_t part = MIN(rec->len, len - done);
        struct vtoe_comp *c;
        bool ok = scatter(d, rec->addr, iov, niov, done, part);

        if (!ok) {
            vtoe_violation(d, VTOE_VIOLATION_BUFFER, "pair 0: receive buffer "
                           "0x%" PRIx64 "+%zu is not RAM", rec->addr, part);
        }
        c = vtoe_comp_add(q);
        c->type = VTOE_COMP_RECV;
        c->flags = i + 1 < n ? VTOE_COMP_F_MORE : 0;
        c->id = GUINT32_TO_LE(rec->id);
        c->len = GUINT32_TO_LE(part);
        if (i == 0) {
            c->u.frame.hdr = (struct vtoe_net_hdr) {
                .flags = hdr->flags,
                .gso_type = hdr->gso_type,
                .hdr_len = GUINT16_TO_LE(hdr->hdr_len),
                .gso_size = GUINT16_TO_LE(hdr->gso_size),
                .csum_start = GUINT16_TO_LE(hdr->csum_start),
                .csum_offset = GUINT16_TO_LE(hdr->csum_offset),
            };
            c->u.frame.num_buffers = GUINT16_TO_LE(n);
        }
        done += part;
        vtoe_rx_release(q, rec);
        if (!ok) {
            return VNET_FRAME_DROPPED;      /* never published */
        }
    }
    vtoe_comp_commit(q);
    d->st.rx_frames++;
    d->st.rx_frame_bytes += len;
    return VNET_FRAME_OK;
}

/* Delivers a frame that suits the guest's features, behind those that wait. */
static VnetFrameResult deliver(VtoeDev *d, const VnetFrameHdr *hdr,
                               const struct iovec *iov, unsigned niov,
                               size_t len)
{
    VnetFrameResult res = VNET_FRAME_BUSY;

    if (!d->held.length) {
        res = vtoe_frame_publish(d, hdr, iov, niov, len);
    }
    return res == VNET_FRAME_BUSY ? vtoe_hold(d, hdr, iov, niov, len) : res;
}

typedef struct Segments {
    VtoeDev *d;
    unsigned delivered;
} Segments;

static void deliver_segment(void *opaque, const uint8_t *frame, size_t len)
{
    Segments *seg = opaque;
    struct iovec iov = { .iov_base = (void *)frame, .iov_len = len };
    VnetFrameHdr hdr = {
        .flags = vtoe_has(seg->d, VTOE_F_RX_CSUM)
                 ? VTOE_NET_HDR_F_DATA_VALID : 0,
    };

    if (vtoe_live(seg->d) &&
        deliver(seg->d, &hdr, &iov, 1, len) == VNET_FRAME_OK) {
        seg->delivered++;
    }
}

/* The guest did not accept what this frame needs: do it here, on a copy. */
static VnetFrameResult deliver_finished(VtoeDev *d, const VnetFrameHdr *hdr,
                                        const struct iovec *iov, unsigned niov,
                                        size_t len)
{
    static const VnetFrameHdr plain;
    struct iovec one;

    if (!d->scratch) {
        d->scratch = g_malloc(VTOE_FRAME_MAX_LEN);
    }
    vtoe_iov_copy(iov, niov, 0, d->scratch, len);
    if (hdr->gso_type) {
        Segments seg = { .d = d };

        if (!vtoe_offload_segment(d->scratch, len, hdr, deliver_segment,
                                  &seg)) {
            d->st.rx_drop_bad_header++;
            return VNET_FRAME_DROPPED;
        }
        return seg.delivered ? VNET_FRAME_OK : VNET_FRAME_DROPPED;
    }
    vtoe_offload_csum(d->scratch, len, hdr->csum_start, hdr->csum_offset);
    one = (struct iovec) { .iov_base = d->scratch, .iov_len = len };
    return deliver(d, &plain, &one, 1, len);
}

VnetFrameResult vtoe_frame_rx(VtoeDev *d, const VnetFrameHdr *hdr,
                              const struct iovec *iov, unsigned niov,
                              size_t len)
{
    VnetFrameHdr h = *hdr;
    uint8_t dst[6];

    if (!vtoe_live(d) || !d->q[0].enabled) {
        d->st.rx_drop_not_ready++;
        return VNET_FRAME_DROPPED;
    }
    if (len > VTOE_FRAME_MAX_LEN) {
        d->st.rx_drop_too_large++;
        return VNET_FRAME_DROPPED;
    }
    h.flags &= VTOE_NET_HDR_F_NEEDS_CSUM | VTOE_NET_HDR_F_DATA_VALID;
    if (len < 14 || vtoe_iov_copy(iov, niov, 0, dst, 6) < 6 ||
        !vtoe_frame_hdr_ok(&h, len)) {
        d->st.rx_drop_bad_header++;
        return VNET_FRAME_DROPPED;
    }
    if (!wanted(d, dst)) {
        d->st.rx_drop_filter++;
        return VNET_FRAME_DROPPED;
    }
    if (!(h.flags & VTOE_NET_HDR_F_NEEDS_CSUM)) {
        h.csum_start = 0;
        h.csum_offset = 0;
        if (!vtoe_has(d, VTOE_F_RX_CSUM)) {
            h.flags = 0;
        }
    }
    if ((h.gso_type && !vtoe_has(d, VTOE_F_RX_TSO)) ||
        (h.flags & VTOE_NET_HDR_F_NEEDS_CSUM &&
         !vtoe_has(d, VTOE_F_RX_CSUM))) {
        return deliver_finished(d, &h, iov, niov, len);
    }
    return deliver(d, &h, iov, niov, len);
}
