/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VXLAN links: frames to datagrams.
 *
 * Frames are copied, behind a VXLAN header, into a buffer that goes out at the
 * end of the dispatch.  Checksums and segments that the sender has left to its
 * NIC are finished on the way, as nobody behind the link would.  Datagrams of
 * one flow and size that lie behind each other are one message, which the kernel
 * cuts (UDP_SEGMENT): a frame of 64 KiB costs one passage of its network stack.
 *
 * While the buffer cannot be emptied the link is BUSY.
 */

#include "qemu/osdep.h"
#include <netinet/udp.h>
#include "qemu/iov.h"
#include "qemu/units.h"
#include "vnet-fit.h"
#include "vnet-offload.h"
#include "vnet-vxlan-int.h"

#define VNET_VXLAN_OUT          (512 * KiB)
/* Room that a frame has to have before it is taken. */
#define VNET_VXLAN_ROOM         (VNET_VXLAN_HDR + VNET_FRAME_MAX)
/* What the kernel cuts at most: pieces, and bytes of them. */
#define VNET_VXLAN_PIECES       64
#define VNET_VXLAN_MESSAGE_MAX  65000
/* Answers in a tenth of a second. */
#define VNET_VXLAN_ANSWERS      100

#define VNET_VXLAN_CONTROL      CMSG_SPACE(sizeof(uint16_t))

/* A frame for one who sent too much. */
typedef struct VnetVxlanAnswer {
    uint32_t vni;
    size_t len;
    uint8_t data[VNET_FIT_ANSWER_MAX];
} VnetVxlanAnswer;

/* --- Out -------------------------------------------------------------- */

/* The pieces of a message one by one, if the kernel does not cut them. */
static void vnet_vxlan_send_pieces(VnetVxlanSocket *s, VnetVxlanMessage *m)
{
    VnetVxlanLink *k = s->k;

    for (size_t at = 0; at < m->len; at += m->piece) {
        size_t n = MIN(m->piece, m->len - at);

        k->stats.datagram_writes++;
        if (RETRY_ON_EINTR(send(s->poll.fd, m->data + at, n,
                                MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
            k->stats.tx_lost++;
            if (errno == EMSGSIZE) {
                vnet_vxlan_look_at_mtu(k);
            } else {
                vnet_vxlan_look_soon(k);
            }
        } else {
            k->stats.datagrams_sent++;
        }
    }
}

/* What to do about the first message, m. False: wait. */
static bool vnet_vxlan_failed(VnetVxlanSocket *s, VnetVxlanMessage *m, int err,
                              unsigned *done)
{
    VnetVxlanLink *k = s->k;

    switch (err) {
    case EINTR:
        return true;
    case EAGAIN:
        s->blocked = true;
        vnet_poll_mod(k->loop, &s->poll, EPOLLOUT);
        return false;
    case EMSGSIZE:
        vnet_vxlan_look_at_mtu(k);
        break;
    case EIO:
    case EINVAL:
    case EOPNOTSUPP:
        if (m->pieces > 1) {
            /* Some kernels say so, too, when the way has become narrower. */
            vnet_vxlan_look_at_mtu(k);
            k->segment = m->piece > VNET_VXLAN_HDR + k->max;
            vnet_vxlan_send_pieces(s, m);
            (*done)++;
            return true;
        }
        break;
    default:
        /* Perhaps of something sent before: ICMP is reported so. */
        k->stats.unreachable++;
        if (!s->failed) {
            s->failed = true;
            return true;
        }
        break;
    }
    if (err != EMSGSIZE && err != ECONNREFUSED) {
        vnet_vxlan_look_soon(k);
    }
    k->stats.tx_lost += m->pieces;
    s->failed = false;
    (*done)++;
    return true;
}

static void vnet_vxlan_flush_socket(VnetVxlanSocket *s)
{
    VnetVxlanLink *k = s->k;
    unsigned done = 0;

    s->blocked = false;
    while (done < s->n) {
        int ret;

        for (unsigned i = 0; i < s->n - done; i++) {
            VnetVxlanMessage *m = &s->message[done + i];
            struct msghdr *h = &k->tx_msg[i].msg_hdr;

            k->tx_iov[i] = (struct iovec) { m->data, m->len };
            h->msg_control = NULL;
            h->msg_controllen = 0;
            if (m->pieces > 1) {
                struct cmsghdr *c;

                h->msg_control = (uint8_t *)k->tx_control +
                                 i * VNET_VXLAN_CONTROL;
                h->msg_controllen = VNET_VXLAN_CONTROL;
                c = CMSG_FIRSTHDR(h);
                c->cmsg_level = SOL_UDP;
                c->cmsg_type = UDP_SEGMENT;
                c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
                memcpy(CMSG_DATA(c), &m->piece, sizeof(uint16_t));
            }
        }
        k->stats.datagram_writes++;
        ret = sendmmsg(s->poll.fd, k->tx_msg, s->n - done,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
        if (ret < 0) {
            if (!vnet_vxlan_failed(s, &s->message[done], errno, &done)) {
                break;
            }
            continue;
        }
        s->failed = false;
        while (ret--) {
            k->stats.datagrams_sent += s->message[done++].pieces;
        }
    }
    s->n -= done;
    memmove(s->message, s->message + done, s->n * sizeof(*s->message));
}

static void vnet_vxlan_flush(VnetVxlanLink *k)
{
    bool all = true;

    for (int i = 0; i < VNET_VXLAN_SOCKETS; i++) {
        VnetVxlanSocket *s = &k->tx[i];

        if (s->n && !s->blocked) {
            vnet_vxlan_flush_socket(s);
        }
        all = all && !s->n;
    }
    if (all) {
        k->out_len = 0;
    }
}

static void vnet_vxlan_at_end(VnetAtEnd *e)
{
    VnetVxlanLink *k = container_of(e, VnetVxlanLink, at_end);
    VnetVxlanAnswer *answer;

    while ((answer = g_queue_pop_head(&k->answers))) {
        const struct iovec iov = { answer->data, answer->len };
        const VnetWireFrame wf = { .len = answer->len, .vni = answer->vni };

        vnet_link_answer(k->l, &wf, &iov, 1);
        g_free(answer);
    }
    if (k->up) {
        vnet_vxlan_flush(k);
    }
}

static void vnet_vxlan_tx_ready(VnetPoll *p, uint32_t events)
{
    VnetVxlanSocket *s = container_of(p, VnetVxlanSocket, poll);
    VnetVxlanLink *k = s->k;

    int err = 0;
    socklen_t n = sizeof(err);

    /* Reading it is what ends it; a poll that is direct does not tell it. */
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &n);
    if (err == EMSGSIZE) {
        vnet_vxlan_look_at_mtu(k);
    } else if (err) {
        k->stats.unreachable++;
    }
    if (s->blocked) {
        s->blocked = false;
        vnet_vxlan_flush(k);
        if (!s->blocked) {
            vnet_poll_mod(k->loop, p, 0);
        }
        if (!k->out_len && k->want_ready) {
            k->want_ready = false;
            vnet_link_frames_ready(k->l);
        }
    }
}

/* --- In --------------------------------------------------------------- */

static bool vnet_vxlan_has_room(VnetVxlanLink *k, VnetVxlanSocket *s, size_t n)
{
    if (k->out_len + n > VNET_VXLAN_OUT || s->n == VNET_VXLAN_MESSAGES) {
        vnet_vxlan_flush(k);
    }
    return k->out_len + n <= VNET_VXLAN_OUT && s->n < VNET_VXLAN_MESSAGES;
}

/* The n bytes behind what waits are a datagram, too. */
static void vnet_vxlan_put(VnetVxlanSocket *s, size_t n)
{
    VnetVxlanLink *k = s->k;
    VnetVxlanMessage *m = s->n ? &s->message[s->n - 1] : NULL;
    uint8_t *p = k->out + k->out_len;

    k->out_len += n;
    if (m && k->segment && m->data + m->len == p && n <= m->piece &&
        m->len == (uint32_t)m->piece * m->pieces &&
        m->pieces < VNET_VXLAN_PIECES && m->len + n <= VNET_VXLAN_MESSAGE_MAX) {
        m->len += n;
        m->pieces++;
        return;
    }
    s->message[s->n++] = (VnetVxlanMessage) {
        .data = p, .len = n, .piece = n, .pieces = 1,
    };
}

/* A part of a frame that was cut. */
static void vnet_vxlan_put_part(void *opaque, const struct iovec *iov,
                                unsigned niov, size_t len)
{
    VnetVxlanSocket *s = opaque;
    VnetVxlanLink *k = s->k;
    uint8_t *p;

    if (!vnet_vxlan_has_room(k, s, VNET_VXLAN_HDR + len)) {
        k->stats.tx_lost++;
        return;
    }
    p = k->out + k->out_len;
    vnet_vxlan_put_header(p, k->tx_vni);
    iov_to_buf(iov, niov, 0, p + VNET_VXLAN_HDR, len);
    vnet_vxlan_put(s, VNET_VXLAN_HDR + len);
}

static bool vnet_vxlan_may_answer(VnetVxlanLink *k)
{
    int64_t now = vnet_loop_now();

    if (now - k->answers_ns >= 100 * SCALE_MS) {
        k->answers_ns = now;
        k->nanswers = 0;
    }
    return k->nanswers++ < VNET_VXLAN_ANSWERS;
}

static VnetFrameResult vnet_vxlan_send_long(VnetVxlanSocket *s,
                                            const uint8_t *buf, size_t len)
{
    VnetVxlanLink *k = s->k;
    VnetVxlanAnswer answer = { .vni = k->tx_vni };

    answer.len = vnet_fit_answer(buf, len, k->max, answer.data);
    if (answer.len) {
        if (vnet_vxlan_may_answer(k)) {
            g_queue_push_tail(&k->answers, g_memdup2(&answer, sizeof(answer)));
        } else {
            k->stats.answers_dropped++;
        }
        k->stats.tx_drop_answered++;
        return VNET_FRAME_DROPPED;
    }
    if (vnet_fit_fragment(buf, len, k->max, vnet_vxlan_put_part, s)) {
        k->stats.tx_fragmented++;
        return VNET_FRAME_OK;
    }
    k->stats.tx_drop_long++;
    return VNET_FRAME_DROPPED;
}

/* Whether a frame that becomes n of `piece` bytes at most goes as a whole behind
 * what waits; or nothing waits, and what is too much goes out meanwhile. */
static bool vnet_vxlan_fits_cut(VnetVxlanSocket *s, unsigned n, size_t piece)
{
    VnetVxlanLink *k = s->k;
    unsigned each = k->segment ? MIN(VNET_VXLAN_PIECES,
                                     VNET_VXLAN_MESSAGE_MAX / piece) : 1;

    return (!k->out_len && !s->n) ||
           (k->out_len + n * piece <= VNET_VXLAN_OUT &&
            s->n + DIV_ROUND_UP(n, MAX(each, 1)) <= VNET_VXLAN_MESSAGES);
}

static VnetFrameResult vnet_vxlan_send_cut(VnetVxlanSocket *s,
                                           const VnetFrameHdr *hdr,
                                           const uint8_t *buf, size_t len)
{
    VnetVxlanLink *k = s->k;
    VnetFrameHdr h = *hdr;
    unsigned headers = vnet_offload_headers(hdr, buf, len), n;
    size_t piece;

    /* In the size that fits: a receiver does not mind. */
    if (!headers || headers >= k->max) {
        k->stats.tx_drop_offload++;
        return VNET_FRAME_DROPPED;
    }
    h.gso_size = MIN(h.gso_size, k->max - headers);
    n = DIV_ROUND_UP(len - headers, h.gso_size);
    piece = VNET_VXLAN_HDR + headers + h.gso_size;
    if (!vnet_vxlan_fits_cut(s, n, piece)) {
        vnet_vxlan_flush(k);
        if (!vnet_vxlan_fits_cut(s, n, piece)) {
            k->want_ready = true;
            return VNET_FRAME_BUSY;
        }
    }
    k->stats.tx_cut++;
    return vnet_offload_segment(&h, buf, len, vnet_vxlan_put_part, s) ?
           VNET_FRAME_OK : VNET_FRAME_DROPPED;
}

VnetFrameResult vnet_vxlan_send(VnetVxlanLink *k, const VnetWireFrame *wf,
                                const struct iovec *iov, unsigned niov)
{
    bool cut = wf->hdr.gso_type || wf->len > k->max;
    VnetVxlanSocket *s = &k->tx[0];
    uint8_t *p;

    if (!k->up || k->out_len + VNET_VXLAN_ROOM > VNET_VXLAN_OUT) {
        if (k->up) {
            vnet_vxlan_flush(k);
        }
        if (k->out_len + VNET_VXLAN_ROOM > VNET_VXLAN_OUT) {
            k->want_ready = true;
            return VNET_FRAME_BUSY;
        }
    }
    p = cut ? k->whole : k->out + k->out_len + VNET_VXLAN_HDR;
    iov_to_buf(iov, niov, 0, p, wf->len);
    vnet_link_stats(k->l)->frame_bytes_copied += wf->len;
    s += vnet_vxlan_flow(p, wf->len) % VNET_VXLAN_SOCKETS;
    if (s->n == VNET_VXLAN_MESSAGES) {
        if (!s->blocked) {
            vnet_vxlan_flush_socket(s);
        }
        if (s->n == VNET_VXLAN_MESSAGES) {
            k->want_ready = true;
            return VNET_FRAME_BUSY;
        }
    }
    vnet_loop_at_end(k->loop, &k->at_end);
    k->tx_vni = wf->vni;
    if (wf->hdr.gso_type) {
        return vnet_vxlan_send_cut(s, &wf->hdr, p, wf->len);
    }
    if (wf->hdr.flags & VTOE_NET_HDR_F_NEEDS_CSUM &&
        !vnet_offload_csum(&wf->hdr, p, wf->len)) {
        k->stats.tx_drop_offload++;
        return VNET_FRAME_DROPPED;
    }
    if (cut) {
        return vnet_vxlan_send_long(s, p, wf->len);
    }
    vnet_vxlan_put_header(p - VNET_VXLAN_HDR, wf->vni);
    vnet_vxlan_put(s, VNET_VXLAN_HDR + wf->len);
    return VNET_FRAME_OK;
}

/* --- Life ------------------------------------------------------------- */

void vnet_vxlan_tx_init(VnetVxlanLink *k)
{
    k->at_end.fn = vnet_vxlan_at_end;
    k->segment = true;
    k->out = g_malloc(VNET_VXLAN_OUT);
    k->whole = g_malloc(VNET_FRAME_MAX);
    k->tx_msg = g_new0(struct mmsghdr, VNET_VXLAN_MESSAGES);
    k->tx_iov = g_new0(struct iovec, VNET_VXLAN_MESSAGES);
    k->tx_control = g_malloc0(VNET_VXLAN_MESSAGES * VNET_VXLAN_CONTROL);
    for (int i = 0; i < VNET_VXLAN_MESSAGES; i++) {
        k->tx_msg[i].msg_hdr.msg_iov = &k->tx_iov[i];
        k->tx_msg[i].msg_hdr.msg_iovlen = 1;
    }
    for (int i = 0; i < VNET_VXLAN_SOCKETS; i++) {
        k->tx[i].k = k;
        k->tx[i].poll.fd = -1;
        k->tx[i].poll.ready = vnet_vxlan_tx_ready;
    }
}

void vnet_vxlan_tx_clear(VnetVxlanLink *k)
{
    for (int i = 0; i < VNET_VXLAN_SOCKETS; i++) {
        VnetVxlanSocket *s = &k->tx[i];

        for (unsigned j = 0; j < s->n; j++) {
            k->stats.tx_lost += s->message[j].pieces;
        }
        s->n = 0;
        s->blocked = s->failed = false;
    }
    k->out_len = 0;
    k->want_ready = false;
    g_queue_clear_full(&k->answers, g_free);
    vnet_loop_at_end_cancel(k->loop, &k->at_end);
}

void vnet_vxlan_tx_free(VnetVxlanLink *k)
{
    g_free(k->out);
    g_free(k->whole);
    g_free(k->tx_msg);
    g_free(k->tx_iov);
    g_free(k->tx_control);
}
