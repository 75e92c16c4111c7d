/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay's event loop: what binds a VnetCore and its links to the thread
 * of an AioContext.  Uses QEMU's util library and nothing of its system
 * emulator, so that tools can run an overlay, too (tests/bench/stream-bench).
 *
 * Everything here is for the thread of the AioContext, except where said.
 */
#ifndef VNET_LOOP_H
#define VNET_LOOP_H

#include "block/aio.h"
#include "qemu/queue.h"
#include "vnet-link.h"

typedef struct VnetLoop VnetLoop;

/* What the owner of a loop wants to hear of; each may be NULL. */
typedef struct VnetLoopOps {
    /* As in VnetHostOps. */
    void (*link_event)(void *opaque, VnetLink *l, const char *state,
                       const char *msg);
    void (*stream_event)(void *opaque, VnetStream *s, const char *state,
                         enum vtoe_reason reason);
    bool (*limit_event)(void *opaque, VnetNet *net, VnetCoreLimit limit,
                        const VnetPort *port, const VnetLink *l,
                        uint64_t suppressed);
} VnetLoopOps;

/* Makes a loop and its core.  NULL and *errp: no descriptor left. */
VnetLoop *vnet_loop_new(AioContext *ctx, const VnetCoreConfig *cfg,
                        const VnetLoopOps *ops, void *opaque, Error **errp);
/* Frees loop and core; ports and links are gone before. */
void vnet_loop_free(VnetLoop *loop);
VnetCore *vnet_loop_core(VnetLoop *loop);
AioContext *vnet_loop_ctx(VnetLoop *loop);
int64_t vnet_loop_now(void);            /* ns, monotonic; any thread */

/*
 * A dispatch: whoever calls into the overlay from an event (descriptor, BH,
 * timer, doorbell) brackets it with these.  _end() does what was put off to
 * the end of the dispatch: deferred work of the core, batch_end of ports, and
 * what was given to vnet_loop_at_end().  They nest; the outermost counts.
 */
void vnet_loop_begin(VnetLoop *loop);
void vnet_loop_end(VnetLoop *loop);
/*
 * For those who begin a dispatch without knowing whether they will call into
 * the overlay: says that a pair of _begin() and _end() follows before the
 * handler returns, so that no other turn is asked for.  Does not nest.
 */
void vnet_loop_expect_end(VnetLoop *loop);

/* Work for the end of the dispatch, once however often it is asked for. */
typedef struct VnetAtEnd VnetAtEnd;
struct VnetAtEnd {
    void (*fn)(VnetAtEnd *e);
    bool queued;
    QTAILQ_ENTRY(VnetAtEnd) next;
};
void vnet_loop_at_end(VnetLoop *loop, VnetAtEnd *e);
void vnet_loop_at_end_cancel(VnetLoop *loop, VnetAtEnd *e);

/*
 * A watched descriptor.  Events are edge-triggered: ready() is called once
 * for each change; who stops before EAGAIN, or a short read or write, asks to
 * be called again by vnet_poll_again(), or says vnet_poll_rest() if it leaves
 * unread what is there.  ready() may be called when nothing has changed, and
 * the peer's end is not always told apart from bytes.
 */
typedef struct VnetPoll VnetPoll;
struct VnetPoll {
    int fd;                             /* -1: not watched */
    uint32_t interest;                  /* EPOLLIN, EPOLLOUT, EPOLLRDHUP */
    /*
     * events: EPOLL*, 0 if called again.  May free the VnetPoll's memory
     * after vnet_poll_del().
     */
    void (*ready)(VnetPoll *p, uint32_t events);
    /*
     * Both or none, for what can be seen without asking the kernel.  look():
     * there is something for ready(), which is called with events 0 then.  It
     * is called over and over while the thread polls instead of sleeping
     * (poll-max-ns).  polling(): the thread begins to poll, so that no event
     * is needed, or stops: what comes from now on needs one.
     */
    bool (*look)(VnetPoll *p);
    void (*polling)(VnetPoll *p, bool on);
    /* private */
    bool queued;                /* on the list of those with another turn */
    bool direct;                /* in the AioContext itself ... */
    bool polled;                /* ... which polls it */
    VnetLoop *loop;
    QTAILQ_ENTRY(VnetPoll) next, direct_next, look_next;
};
/*
 * Returns 0 or -errno.  p->ready is set before; an event that is there already
 * is reported, too.
 */
int vnet_poll_add(VnetLoop *loop, VnetPoll *p, int fd, uint32_t interest);
/*
 * Changes the interest; events of the new interest that are there already are
 * reported.
 */
void vnet_poll_mod(VnetLoop *loop, VnetPoll *p, uint32_t interest);
/* Ends the watch; does not close. p->fd becomes -1.  Nothing for fd == -1. */
void vnet_poll_del(VnetLoop *loop, VnetPoll *p);
/* Calls ready(p, 0) in the next dispatch, after the others' turn. */
void vnet_poll_again(VnetLoop *loop, VnetPoll *p);

/*
 * What is there to be read is left there, or is the end: only a change is an
 * event from now on.
 */
void vnet_poll_rest(VnetLoop *loop, VnetPoll *p);

/* A timer in the loop's thread; fn runs inside of a dispatch. */
typedef struct VnetLoopTimer {
    VnetLoop *loop;
    void (*fn)(struct VnetLoopTimer *t);
    GSequenceIter *armed;       /* NULL: it is not */
    int64_t when_ns;
} VnetLoopTimer;
void vnet_loop_timer_init(VnetLoop *loop, VnetLoopTimer *t,
                          void (*fn)(VnetLoopTimer *t));
void vnet_loop_timer_arm(VnetLoopTimer *t, int64_t when_ns);
void vnet_loop_timer_disarm(VnetLoopTimer *t);

#endif /* VNET_LOOP_H */
