/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame connection of a link over sockets.
 *
 * Sending: a large frame goes out by one sendmsg() of header and frame, from
 * where it lies.  Small frames are put into a buffer, which goes out at the
 * end of the dispatch: copying 1500 bytes costs a tenth of a system call and
 * of the wake-up at the other end.  The rest of a frame that the socket took
 * only in part goes into the same buffer.  While the buffer cannot be emptied,
 * the link is BUSY; it never holds more than VNET_SOCK_FRAME_OUT bytes.  What
 * is copied is counted (frame_bytes_copied).
 *
 * Receiving: reads of VNET_SOCK_FRAME_IN bytes, each for as many frames as
 * came.  Frames are handed up from the buffer.
 */

#include "qemu/osdep.h"
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include "qemu/iov.h"
#include "qemu/units.h"
#include "vnet-sock.h"

/* Frames up to this are collected. */
#define VNET_SOCK_FRAME_SMALL   4096
#define VNET_SOCK_FRAME_WHOLE   (VNET_FRAME_HDR_SIZE + VNET_FRAME_MAX)
/* The rest of one large frame, or many small ones. */
#define VNET_SOCK_FRAME_OUT     (128 * KiB)
/* Several of the largest frames. */
#define VNET_SOCK_FRAME_IN      (256 * KiB)
QEMU_BUILD_BUG_ON(VNET_SOCK_FRAME_OUT < VNET_SOCK_FRAME_WHOLE);
QEMU_BUILD_BUG_ON(VNET_SOCK_FRAME_IN < 2 * VNET_SOCK_FRAME_WHOLE);

static void vnet_sock_frame_lost(VnetSockLink *k, int err)
{
    unsigned generation = k->frame.generation;

    /* A peer that closes the link says why on the other connection. */
    vnet_sock_control_read(k);
    if (generation != k->frame.generation) {
        return;
    }
    if (err) {
        vnet_sock_lost(k, "frame connection: %s", strerror(err));
    } else {
        vnet_sock_lost(k, "the peer closed the frame connection");
    }
}

static void vnet_sock_frame_want_out(VnetSockLink *k, bool on)
{
    VnetPoll *p = &k->frame.poll;

    vnet_poll_mod(k->loop, p, on ? p->interest | EPOLLOUT :
                                   p->interest & ~EPOLLOUT);
}

/* Sends the buffer. Returns 0, EAGAIN, or what ended the connection. */
static int vnet_sock_frame_flush(VnetSockLink *k)
{
    VnetSockFrame *f = &k->frame;

    while (f->out_len) {
        ssize_t ret = vnet_sock_send_buf(k, f->poll.fd, f->out + f->out_off,
                                         f->out_len);

        k->stats.frame_writes++;
        if (ret < 0) {
            return errno;
        }
        f->out_off += ret;
        f->out_len -= ret;
        vnet_link_frames_moved(k->l);
    }
    f->out_off = 0;
    return vnet_sock_flush(k, f->poll.fd);
}

/* The end of a dispatch, or what could not be reported from inside a call. */
static void vnet_sock_frame_at_end(VnetAtEnd *e)
{
    VnetSockLink *k = container_of(e, VnetSockLink, frame.flush);
    VnetSockFrame *f = &k->frame;
    int err;

    if (f->error) {
        vnet_sock_frame_lost(k, f->error);
        return;
    }
    if (f->poll.fd < 0 || f->connecting || f->poll.interest & EPOLLOUT) {
        return;
    }
    err = vnet_sock_frame_flush(k);
    if (err == EAGAIN) {
        vnet_sock_frame_want_out(k, true);
    } else if (err) {
        vnet_sock_frame_lost(k, err);
    }
}

static void vnet_sock_frame_fail_later(VnetSockLink *k, int err)
{
    k->frame.error = err;
    vnet_loop_at_end(k->loop, &k->frame.flush);
}

/* Room for len bytes at the end of the buffer, NULL: not enough. */
static uint8_t *vnet_sock_frame_room(VnetSockFrame *f, size_t len)
{
    if (f->out_len + len > VNET_SOCK_FRAME_OUT) {
        return NULL;
    }
    if (f->out_off + f->out_len + len > VNET_SOCK_FRAME_OUT) {
        memmove(f->out, f->out + f->out_off, f->out_len);
        f->out_off = 0;
    }
    return f->out + f->out_off + f->out_len;
}

static void vnet_sock_frame_collect(VnetSockLink *k, const uint8_t *hdr,
                                    const struct iovec *iov, unsigned niov,
                                    size_t skip, size_t len)
{
    VnetSockFrame *f = &k->frame;
    uint8_t *p = vnet_sock_frame_room(f, VNET_FRAME_HDR_SIZE + len - skip);
    size_t n = 0;

    assert(p);
    if (skip < VNET_FRAME_HDR_SIZE) {
        n = VNET_FRAME_HDR_SIZE - skip;
        memcpy(p, hdr + skip, n);
        skip = VNET_FRAME_HDR_SIZE;
    }
    n += iov_to_buf(iov, niov, skip - VNET_FRAME_HDR_SIZE, p + n,
                    VNET_FRAME_HDR_SIZE + len - skip);
    f->out_len += n;
    vnet_link_stats(k->l)->frame_bytes_copied += n;
}

static VnetFrameResult vnet_sock_frame_busy(VnetSockLink *k)
{
    k->frame.want_ready = true;
    return VNET_FRAME_BUSY;
}

/* A full send buffer of the kernel's may drain for long before it takes more. */
bool vnet_sock_frame_moves(VnetSockLink *k)
{
    VnetSockFrame *f = &k->frame;
    int queued = 0, before = f->queued;

    if (f->poll.fd < 0 || ioctl(f->poll.fd, SIOCOUTQ, &queued) < 0) {
        return false;
    }
    f->queued = queued;
    return queued != before;
}

VnetFrameResult vnet_sock_frame_send(VnetSockLink *k, const VnetWireFrame *wf,
                                     const struct iovec *iov, unsigned niov)
{
    VnetSockFrame *f = &k->frame;
    uint8_t hdr[VNET_FRAME_HDR_SIZE];
    struct iovec v[64] VTOE_UNINITIALIZED;
    size_t whole = VNET_FRAME_HDR_SIZE + wf->len;
    ssize_t ret;

    if (f->poll.fd < 0 || f->connecting || f->error) {
        return vnet_sock_frame_busy(k);
    }
    vnet_wire_put_frame(hdr, wf);
    /* To encrypt a frame is to copy it: then it may as well wait. */
    if (whole <= VNET_SOCK_FRAME_SMALL || niov >= ARRAY_SIZE(v) || k->creds) {
        if (!vnet_sock_frame_room(f, whole)) {
            /* Full before the dispatch is over. */
            int err = f->poll.interest & EPOLLOUT ? EAGAIN :
                      vnet_sock_frame_flush(k);

            if (err == EAGAIN) {
                vnet_sock_frame_want_out(k, true);
            } else if (err) {
                vnet_sock_frame_fail_later(k, err);
            }
            if (!vnet_sock_frame_room(f, whole)) {
                return vnet_sock_frame_busy(k);
            }
        }
        vnet_sock_frame_collect(k, hdr, iov, niov, 0, wf->len);
        vnet_loop_at_end(k->loop, &f->flush);
        return VNET_FRAME_OK;
    }

    /* What was collected before is before it in the stream, too. */
    if (f->out_len) {
        int err = f->poll.interest & EPOLLOUT ? EAGAIN :
                  vnet_sock_frame_flush(k);

        if (err == EAGAIN) {
            vnet_sock_frame_want_out(k, true);
            return vnet_sock_frame_busy(k);
        }
        if (err) {
            vnet_sock_frame_fail_later(k, err);
            return vnet_sock_frame_busy(k);
        }
    }
    v[0] = (struct iovec) { .iov_base = hdr, .iov_len = sizeof(hdr) };
    memcpy(v + 1, iov, niov * sizeof(*iov));
    ret = vnet_sock_send(k, f->poll.fd, v, niov + 1);
    k->stats.frame_writes++;
    if (ret < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            vnet_sock_frame_want_out(k, true);
        } else {
            vnet_sock_frame_fail_later(k, errno);
        }
        return vnet_sock_frame_busy(k);
    }
    if (ret < (ssize_t)whole) {
        vnet_sock_frame_collect(k, hdr, iov, niov, ret, wf->len);
        vnet_sock_frame_want_out(k, true);
    }
    return VNET_FRAME_OK;
}

/* --- Receiving -------------------------------------------------------- */

/* Hands up what is whole. False: the connection is gone. */
static bool vnet_sock_frame_deliver(VnetSockLink *k)
{
    VnetSockFrame *f = &k->frame;
    unsigned generation = f->generation;

    while (f->in_len >= VNET_FRAME_HDR_SIZE) {
        VnetWireFrame wf;
        VnetWireError e = vnet_wire_get_frame(f->in + f->in_off, &wf);
        struct iovec iov;

        if (e != VNET_WIRE_OK) {
            vnet_link_violation(k->l, e, "frame header");
            return false;
        }
        /* The codec has checked the length against the limits. */
        if (f->in_len < VNET_FRAME_HDR_SIZE + wf.len) {
            break;
        }
        iov.iov_base = f->in + f->in_off + VNET_FRAME_HDR_SIZE;
        iov.iov_len = wf.len;
        f->in_off += VNET_FRAME_HDR_SIZE + wf.len;
        f->in_len -= VNET_FRAME_HDR_SIZE + wf.len;
        vnet_link_frame(k->l, &wf, &iov, 1);
        if (generation != f->generation) {
            return false;
        }
    }
    if (!f->in_len) {
        f->in_off = 0;
    } else if (VNET_SOCK_FRAME_IN - f->in_off < VNET_SOCK_FRAME_WHOLE) {
        memmove(f->in, f->in + f->in_off, f->in_len);
        f->in_off = 0;
    }
    return true;
}

static void vnet_sock_frame_read(VnetSockLink *k)
{
    VnetSockFrame *f = &k->frame;
    size_t budget = VNET_SOCK_TURN;

    for (;;) {
        size_t at = f->in_off + f->in_len;
        size_t room = VNET_SOCK_FRAME_IN - at;
        ssize_t ret = vnet_sock_recv_buf(k, f->poll.fd, f->in + at, room);
        bool drained;

        k->stats.frame_reads++;
        if (ret < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return;
        }
        if (ret <= 0) {
            vnet_sock_frame_lost(k, ret < 0 ? errno : 0);
            return;
        }
        drained = ret < (ssize_t)room;
        f->in_len += ret;
        if (!vnet_sock_frame_deliver(k)) {
            return;
        }
        if (drained && !f->ending) {
            return;
        }
        if (budget <= (size_t)ret) {
            vnet_poll_again(k->loop, &f->poll);
            return;
        }
        budget -= ret;
    }
}

static void vnet_sock_frame_connected(VnetSockLink *k);

static void vnet_sock_frame_ready(VnetPoll *p, uint32_t events)
{
    VnetSockLink *k = container_of(p, VnetSockLink, frame.poll);
    VnetSockFrame *f = &k->frame;
    unsigned generation = f->generation;

    if (f->connecting) {
        int ret = vnet_sock_made(k, p, NULL);

        if (ret < 0) {
            k->stats.dial_failed++;
            vnet_sock_frame_lost(k, -ret);
        } else if (ret > 0) {
            vnet_sock_frame_connected(k);
        }
        return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        f->ending = true;
    }
    if (events & EPOLLOUT && p->interest & EPOLLOUT) {
        int err = vnet_sock_frame_flush(k);

        if (err && err != EAGAIN) {
            vnet_sock_frame_lost(k, err);
            return;
        }
        if (!err) {
            vnet_sock_frame_want_out(k, false);
            if (f->want_ready) {
                f->want_ready = false;
                vnet_link_frames_ready(k->l);
                if (generation != f->generation) {
                    return;
                }
            }
        }
    }
    vnet_sock_frame_read(k);
}

/* --- Making and ending it --------------------------------------------- */

static int vnet_sock_frame_start(VnetSockLink *k, int fd, uint32_t interest)
{
    VnetSockFrame *f = &k->frame;
    int ret = vnet_poll_add(k->loop, &f->poll, fd, interest);

    if (ret < 0) {
        return ret;
    }
    f->in = f->in ?: g_malloc(VNET_SOCK_FRAME_IN);
    f->out = f->out ?: g_malloc(VNET_SOCK_FRAME_OUT);
    f->in_off = f->in_len = 0;
    f->out_off = f->out_len = 0;
    f->ending = false;
    return 0;
}

int vnet_sock_frame_adopt(VnetSockLink *k, int fd)
{
    int ret;

    if (k->frame.poll.fd >= 0) {
        return -EEXIST;
    }
    ret = vnet_sock_frame_start(k, fd, EPOLLIN | EPOLLRDHUP);
    if (ret == 0) {
        vnet_sock_look(k, &k->frame.poll);
        k->frame.want_ready = false;
        vnet_link_frames_ready(k->l);
    }
    return ret;
}

/* The client's end is connected. */
static void vnet_sock_frame_connected(VnetSockLink *k)
{
    VnetSockFrame *f = &k->frame;

    f->connecting = false;
    if (!vnet_sock_send_preamble(k, f->poll.fd, &f->preamble)) {
        vnet_sock_frame_lost(k, errno);
        return;
    }
    vnet_poll_mod(k->loop, &f->poll, EPOLLIN | EPOLLRDHUP);
    f->want_ready = false;
    vnet_link_frames_ready(k->l);
}

void vnet_sock_frame_open(VnetSockLink *k, const VnetPreamble *p)
{
    VnetSockFrame *f = &k->frame;
    bool done;
    int fd, ret;

    assert(f->poll.fd < 0);
    fd = vnet_sock_dial(k, false, &done);
    if (fd < 0) {
        vnet_sock_frame_fail_later(k, -fd);
        return;
    }
    /*
     * Being writable is reported even if it is connected already: the
     * rest is done then, not inside this call.
     */
    ret = vnet_sock_frame_start(k, fd, EPOLLOUT);
    if (ret < 0) {
        vnet_sock_close_fd(k, fd, true);
        vnet_sock_frame_fail_later(k, -ret);
        return;
    }
    f->preamble = *p;
    f->connecting = true;
    f->deadline = vnet_loop_now() + k->setup_timeout_ns;
    vnet_sock_arm_deadlines(k);
}

int64_t vnet_sock_frame_expire(VnetSockLink *k, int64_t now)
{
    VnetSockFrame *f = &k->frame;

    if (f->poll.fd < 0 || !f->connecting || f->error) {
        return INT64_MAX;
    }
    if (f->deadline <= now) {
        vnet_sock_frame_fail_later(k, ETIMEDOUT);
        return INT64_MAX;
    }
    return f->deadline;
}

void vnet_sock_frame_close(VnetSockLink *k)
{
    VnetSockFrame *f = &k->frame;
    int fd = f->poll.fd;

    if (fd >= 0) {
        vnet_poll_del(k->loop, &f->poll);
        vnet_sock_close_fd(k, fd, false);
    }
    f->generation++;
    f->connecting = false;
    f->want_ready = false;
    f->error = 0;
    f->out_len = f->out_off = 0;
    vnet_loop_at_end_cancel(k->loop, &f->flush);
}

void vnet_sock_frame_init(VnetSockLink *k)
{
    k->frame.poll.fd = -1;
    k->frame.poll.ready = vnet_sock_frame_ready;
    k->frame.flush.fn = vnet_sock_frame_at_end;
}

void vnet_sock_frame_free(VnetSockLink *k)
{
    vnet_loop_at_end_cancel(k->loop, &k->frame.flush);
    g_free(k->frame.in);
    g_free(k->frame.out);
}
