/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the control and the frame connection of an rdma link carry: the very
 * messages and frames of other links, several of them whole in one message of
 * the channel.
 *
 * Both are collected and go out at the end of the dispatch.  Control messages
 * that the peer's credits do not cover wait here, up to VNET_RDMA_CONTROL_MAX
 * bytes; more is an error that the behaviour answers by closing the link.
 * Frames do not wait: without room in the channel the link is BUSY.
 */
#include <string.h>
#include "vnet-rdma-conn.h"

bool vnet_rdma_control_put(VnetRdma *r, const void *buf, size_t len)
{
    if (r->out->len + len > VNET_RDMA_CONTROL_MAX) {
        return false;
    }
    g_byte_array_append(r->out, buf, len);
    r->host->at_end(r->opaque);
    return true;
}

void vnet_rdma_control_flush(VnetRdma *r)
{
    VnetRdmaConn *c = r->control;
    size_t done = 0;

    if (!c || c->state != VNET_RDMA_UP) {
        return;
    }
    while (done < r->out->len) {
        const uint8_t *m = r->out->data + done;
        size_t len = m[2] << 8 | m[3];      /* of the message, with header */
        uint8_t *p = vnet_rdma_chan_room(c->chan, len);

        if (!p) {
            break;
        }
        memcpy(p, m, len);
        vnet_rdma_chan_commit(c->chan, len);
        done += len;
    }
    if (done) {
        g_byte_array_remove_range(r->out, 0, done);
    }
    vnet_rdma_chan_flush(c->chan);
}

VnetFrameResult vnet_rdma_frame_send(VnetRdma *r, const VnetWireFrame *wf,
                                     const struct iovec *iov, unsigned niov)
{
    VnetRdmaConn *c = r->frame;
    size_t len = VNET_FRAME_HDR_SIZE + wf->len, left = wf->len;
    uint8_t *p = NULL;

    if (c && c->state == VNET_RDMA_UP) {
        p = vnet_rdma_chan_room(c->chan, len);
    }
    if (!p) {
        r->frames_ready = true;
        return VNET_FRAME_BUSY;
    }
    vnet_wire_put_frame(p, wf);
    p += VNET_FRAME_HDR_SIZE;
    for (unsigned i = 0; i < niov && left; i++) {
        size_t n = MIN(iov[i].iov_len, left);

        memcpy(p, iov[i].iov_base, n);
        p += n;
        left -= n;
    }
    g_assert(!left);
    vnet_link_stats(r->l)->frame_bytes_copied += len;
    vnet_rdma_chan_commit(c->chan, len);
    r->host->at_end(r->opaque);
    return VNET_FRAME_OK;
}

void vnet_rdma_frame_flush(VnetRdma *r)
{
    VnetRdmaConn *c = r->frame;

    if (!c || c->state != VNET_RDMA_UP) {
        return;
    }
    vnet_rdma_chan_flush(c->chan);
    if (r->frames_ready && vnet_rdma_chan_ready(c->chan)) {
        r->frames_ready = false;
        vnet_link_frames_ready(r->l);
    }
}

static void frames_in(VnetRdma *r, const uint8_t *buf, size_t len)
{
    uint64_t serial = r->frame->serial;

    while (len) {
        VnetWireFrame wf;
        VnetWireError e = len < VNET_FRAME_HDR_SIZE ? VNET_WIRE_BAD_LENGTH :
                          vnet_wire_get_frame(buf, &wf);
        struct iovec iov;

        if (e == VNET_WIRE_OK && wf.len > len - VNET_FRAME_HDR_SIZE) {
            e = VNET_WIRE_BAD_LENGTH;
        }
        if (e != VNET_WIRE_OK) {
            vnet_link_violation(r->l, e, "frame header");
            return;
        }
        iov.iov_base = (uint8_t *)buf + VNET_FRAME_HDR_SIZE;
        iov.iov_len = wf.len;
        buf += VNET_FRAME_HDR_SIZE + wf.len;
        len -= VNET_FRAME_HDR_SIZE + wf.len;
        vnet_link_frame(r->l, &wf, &iov, 1);
        if (!r->frame || r->frame->serial != serial) {
            return;
        }
    }
}

void vnet_rdma_msg_in(VnetRdmaConn *c, const uint8_t *buf, size_t len)
{
    VnetRdma *r = c->r;
    ssize_t used;

    if (c == r->frame) {
        frames_in(r, buf, len);
        return;
    }
    if (c != r->control) {
        return;
    }
    used = vnet_link_control(r->l, buf, len);
    if (used >= 0 && (size_t)used != len) {
        vnet_link_violation(r->l, VNET_WIRE_BAD_LENGTH,
                            "control message, cut short");
    }
}
