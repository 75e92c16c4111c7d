/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay's event loop.
 *
 * Theory of operation
 *
 * The thread runs aio_poll() on its AioContext.  The sockets of the overlay
 * are in one epoll set, whose own descriptor is in the AioContext.  Compared
 * with a handler in the AioContext for each socket:
 *  - one wake-up handles whatever is ready, as one dispatch, and what was put
 *    off to the end of it (acknowledgements, control messages, interrupts) is
 *    done in place.  A bottom half would cost another round of aio_poll(),
 *    with a system call, for each message;
 *  - waiting costs the same with one stream and with thousands;
 *  - edge-triggered events need no system call to pause a reader or a writer.
 *
 * But a thread that waits for a set of a set is woken the slow way, by an
 * interrupt of another processor, where a writer that is about to sleep could
 * hand its own processor over; and it needs a call to learn what is ready.
 * Where one message is answered by another, that is most of the time.  So a
 * socket whose events were the only ones, VNET_LOOP_LONE times in a row, moves
 * to the AioContext itself ("direct"), where it stays while it only waits to be
 * read.  At most VNET_LOOP_DIRECT are there; the one not used for longest makes
 * room.  A thread that polls does not wait, and so has nothing from it: meanwhile
 * none moves.  As an AioContext polls a handler only after its first event, those
 * that had none there yet are polled with the set.
 *
 * Fairness: a handler does a bounded amount of work, then asks for another
 * turn with vnet_poll_again().  Those turns come in the next dispatch, from a
 * bottom half.  Turns that follow one from a bottom half come by an eventfd in the
 * set: where all of its handlers can be polled, an AioContext looks at none of them
 * while bottom halves follow each other, and others (doorbells) shall get theirs.
 *
 * Why bottom halves and descriptor handlers here have no MemReentrancyGuard:
 * that guard is one flag per device, and while it is set in this thread,
 * accesses of a vCPU to the device's registers would be refused.  The loop
 * belongs to no device, and nothing in it can reach MMIO.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include "qapi/error.h"
#include "qemu/timer.h"
#include "vnet-loop.h"

/* Events taken from the kernel at once. */
#define VNET_LOOP_EVENTS 64
/* Rounds of deferred work in one dispatch; more of it waits for the next. */
#define VNET_LOOP_ROUNDS 4
/* While there is something to be looked at, the kernel is asked less often. */
#define VNET_LOOP_LOOKS  16
/* Direct sockets, and what makes one. */
#define VNET_LOOP_DIRECT 8
#define VNET_LOOP_LONE   4

struct VnetLoop {
    AioContext *ctx;
    VnetCore *core;
    const VnetLoopOps *ops;
    void *opaque;

    EventNotifier epoll;        /* the set's descriptor, not an eventfd */
    struct epoll_event ev[VNET_LOOP_EVENTS];
    int nev;                    /* events taken and not handled yet ... */
    int curev;                  /* ... from here on */
    VnetPoll *current;          /* being handled; NULL: it was removed */
    QTAILQ_HEAD(, VnetPoll) direct; /* used last first */
    unsigned ndirect;
    VnetPoll *lone;             /* whose event was the only one last time ... */
    unsigned nlone;             /* ... and how often in a row */
    QTAILQ_HEAD(, VnetPoll) lookers;
    bool polling;               /* they are looked at ... */
    unsigned looks;             /* ... since the kernel was asked */

    unsigned depth;             /* nesting of begin and end */
    bool end_follows;           /* outside of them: an end will come */
    bool deferred;              /* the core has deferred work */
    QTAILQ_HEAD(, VnetAtEnd) at_end;
    QTAILQ_HEAD(, VnetPoll) again;
    unsigned nagain;            /* its length */
    QEMUBH *bh;                 /* another turn, or an end outside a dispatch */
    bool in_bh;
    VnetPoll turn;              /* an eventfd: another turn after one of bh's */

    VnetPoll clock;             /* a timerfd ... */
    int64_t clock_set;          /* ... and its time; not later than the next: */
    int64_t core_when;          /* the core's wish, INT64_MAX: none */
    GSequence *timers;          /* VnetLoopTimer, the next first */
};

static int vnet_loop_epfd(VnetLoop *loop)
{
    return event_notifier_get_fd(&loop->epoll);
}

int64_t vnet_loop_now(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

VnetCore *vnet_loop_core(VnetLoop *loop)
{
    return loop->core;
}

AioContext *vnet_loop_ctx(VnetLoop *loop)
{
    return loop->ctx;
}

/* --- Dispatches ------------------------------------------------------- */

void vnet_loop_begin(VnetLoop *loop)
{
    loop->depth++;
}

static void vnet_loop_finish(VnetLoop *loop)
{
    unsigned round;

    for (round = 0; round < VNET_LOOP_ROUNDS; round++) {
        VnetAtEnd *e;

        loop->deferred = false;
        vnet_core_run_deferred(loop->core);
        while ((e = QTAILQ_FIRST(&loop->at_end))) {
            QTAILQ_REMOVE(&loop->at_end, e, next);
            e->queued = false;
            e->fn(e);
        }
        if (!loop->deferred) {
            break;
        }
    }
    if (!loop->deferred && QTAILQ_EMPTY(&loop->again)) {
        return;
    }
    if (!loop->in_bh) {
        qemu_bh_schedule(loop->bh);
    } else if (eventfd_write(loop->turn.fd, 1) < 0) {
        g_assert_not_reached();     /* it would take 2^64 of them */
    }
}

void vnet_loop_end(VnetLoop *loop)
{
    assert(loop->depth > 0);
    if (loop->depth == 1) {
        vnet_loop_finish(loop);
        loop->end_follows = false;
    }
    loop->depth--;
}

void vnet_loop_expect_end(VnetLoop *loop)
{
    loop->end_follows = true;
}

/* Outside a dispatch its end has to be arranged for. */
static void vnet_loop_want_end(VnetLoop *loop)
{
    if (!loop->depth && !loop->end_follows) {
        qemu_bh_schedule(loop->bh);
    }
}

void vnet_loop_at_end(VnetLoop *loop, VnetAtEnd *e)
{
    if (!e->queued) {
        e->queued = true;
        QTAILQ_INSERT_TAIL(&loop->at_end, e, next);
        vnet_loop_want_end(loop);
    }
}

void vnet_loop_at_end_cancel(VnetLoop *loop, VnetAtEnd *e)
{
    if (e->queued) {
        e->queued = false;
        QTAILQ_REMOVE(&loop->at_end, e, next);
    }
}

static void vnet_poll_unqueue(VnetLoop *loop, VnetPoll *p)
{
    QTAILQ_REMOVE(&loop->again, p, next);
    loop->nagain--;
    p->queued = false;
}

static bool vnet_poll_queue(VnetLoop *loop, VnetPoll *p)
{
    if (p->queued) {
        return false;
    }
    p->queued = true;
    loop->nagain++;
    QTAILQ_INSERT_TAIL(&loop->again, p, next);
    return true;
}

static void vnet_loop_turns(VnetLoop *loop)
{
    unsigned turns = loop->nagain;
    VnetPoll *p;

    /* Who asks again meanwhile is behind them and waits for the next time. */
    while (turns-- && (p = QTAILQ_FIRST(&loop->again))) {
        vnet_poll_unqueue(loop, p);
        p->ready(p, 0);
    }
}

/* --- Descriptors ------------------------------------------------------ */

int vnet_poll_add(VnetLoop *loop, VnetPoll *p, int fd, uint32_t interest)
{
    struct epoll_event ev = {
        .events = interest | EPOLLET,
        .data.ptr = p,
    };

    if (epoll_ctl(vnet_loop_epfd(loop), EPOLL_CTL_ADD, fd, &ev) < 0) {
        return -errno;
    }
    p->loop = loop;
    p->fd = fd;
    p->interest = interest;
    p->queued = false;
    p->direct = false;
    if (p->look) {
        QTAILQ_INSERT_TAIL(&loop->lookers, p, look_next);
        p->polling(p, loop->polling);
    }
    return 0;
}

/* The end is something to read, too. */
static bool vnet_poll_direct_poll(void *opaque)
{
    VnetPoll *p = opaque;
    struct pollfd pfd = { .fd = p->fd, .events = POLLIN };

    return poll(&pfd, 1, 0) > 0;
}

static void vnet_poll_direct_read(void *opaque)
{
    VnetPoll *p = opaque;
    VnetLoop *loop = p->loop;

    loop->lone = NULL;
    p->polled = true;
    if (QTAILQ_FIRST(&loop->direct) != p) {
        QTAILQ_REMOVE(&loop->direct, p, direct_next);
        QTAILQ_INSERT_HEAD(&loop->direct, p, direct_next);
    }
    vnet_loop_begin(loop);
    p->ready(p, EPOLLIN);
    vnet_loop_end(loop);
}

static void vnet_poll_direct_write(void *opaque)
{
    VnetPoll *p = opaque;
    VnetLoop *loop = p->loop;

    vnet_loop_begin(loop);
    p->ready(p, EPOLLOUT);
    vnet_loop_end(loop);
}

static void vnet_poll_set_direct(VnetLoop *loop, VnetPoll *p)
{
    p->direct = true;
    p->polled = false;
    loop->ndirect++;
    QTAILQ_INSERT_HEAD(&loop->direct, p, direct_next);
    aio_set_fd_handler(loop->ctx, p->fd, vnet_poll_direct_read,
                       p->interest & EPOLLOUT ? vnet_poll_direct_write : NULL,
                       vnet_poll_direct_poll, vnet_poll_direct_read, p);
}

static void vnet_poll_undirect(VnetLoop *loop, VnetPoll *p)
{
    p->direct = false;
    loop->ndirect--;
    QTAILQ_REMOVE(&loop->direct, p, direct_next);
    aio_set_fd_handler(loop->ctx, p->fd, NULL, NULL, NULL, NULL, NULL);
}

/* Back into the set, which reports once what is there. */
void vnet_poll_rest(VnetLoop *loop, VnetPoll *p)
{
    struct epoll_event ev = {
        .events = p->interest | EPOLLET,
        .data.ptr = p,
    };

    if (loop->lone == p) {
        loop->lone = NULL;
    }
    if (!p->direct) {
        return;
    }
    vnet_poll_undirect(loop, p);
    if (epoll_ctl(vnet_loop_epfd(loop), EPOLL_CTL_ADD, p->fd, &ev) < 0) {
        /*
         * No memory, or the user's limit of watches: it stays where it was,
         * which costs turns in which there is nothing to do.
         */
        vnet_poll_set_direct(loop, p);
    }
}

static void vnet_poll_make_direct(VnetLoop *loop, VnetPoll *p)
{
    if (loop->ndirect == VNET_LOOP_DIRECT) {
        vnet_poll_rest(loop, QTAILQ_LAST(&loop->direct));
    }
    if (loop->ndirect < VNET_LOOP_DIRECT) {
        epoll_ctl(vnet_loop_epfd(loop), EPOLL_CTL_DEL, p->fd, NULL);
        vnet_poll_set_direct(loop, p);
    }
}

void vnet_poll_mod(VnetLoop *loop, VnetPoll *p, uint32_t interest)
{
    struct epoll_event ev = {
        .events = interest | EPOLLET,
        .data.ptr = p,
    };

    if (p->direct) {
        bool out = (interest | p->interest) & EPOLLOUT;

        p->interest = interest;
        if (out) {
            vnet_poll_rest(loop, p);
        }
    } else if (interest != p->interest) {
        /* Can only fail for a descriptor that is not in the set. */
        if (epoll_ctl(vnet_loop_epfd(loop), EPOLL_CTL_MOD, p->fd, &ev) < 0) {
            g_assert_not_reached();
        }
        p->interest = interest;
    }
}

void vnet_poll_del(VnetLoop *loop, VnetPoll *p)
{
    int i;

    if (p->fd < 0) {
        return;
    }
    if (loop->current == p) {
        loop->current = NULL;
    }
    if (loop->lone == p) {
        loop->lone = NULL;
    }
    if (p->direct) {
        vnet_poll_undirect(loop, p);
    } else {
        epoll_ctl(vnet_loop_epfd(loop), EPOLL_CTL_DEL, p->fd, NULL);
    }
    for (i = loop->curev; i < loop->nev; i++) {
        if (loop->ev[i].data.ptr == p) {
            loop->ev[i].data.ptr = NULL;
        }
    }
    if (p->queued) {
        vnet_poll_unqueue(loop, p);
    }
    if (p->look) {
        QTAILQ_REMOVE(&loop->lookers, p, look_next);
    }
    p->fd = -1;
}

void vnet_poll_again(VnetLoop *loop, VnetPoll *p)
{
    if (vnet_poll_queue(loop, p)) {
        vnet_loop_want_end(loop);
    }
}

/* Takes what is ready from the kernel. */
static bool vnet_loop_take(VnetLoop *loop)
{
    int n;

    if (loop->nev > 0) {
        return true;
    }
    n = epoll_wait(vnet_loop_epfd(loop), loop->ev, VNET_LOOP_EVENTS, 0);
    loop->curev = 0;
    loop->nev = MAX(n, 0);
    return loop->nev > 0;
}

static void vnet_loop_handle(EventNotifier *e)
{
    VnetLoop *loop = container_of(e, VnetLoop, epoll);
    VnetPoll *lone = loop->nev == 1 ? loop->ev[0].data.ptr : NULL;

    if (lone && lone == loop->lone) {
        loop->nlone++;
    } else {
        loop->lone = lone;
        loop->nlone = 1;
    }
    vnet_loop_begin(loop);
    if (loop->polling) {
        vnet_loop_turns(loop);
    }
    while (loop->curev < loop->nev) {
        struct epoll_event *ev = &loop->ev[loop->curev++];
        VnetPoll *p = ev->data.ptr;

        if (!p) {
            continue;
        }
        loop->current = p;
        p->ready(p, ev->events);
        if (loop->current && loop->lone == p &&
            loop->nlone >= VNET_LOOP_LONE && !loop->polling &&
            p->interest & EPOLLIN && !(p->interest & EPOLLOUT) &&
            p != &loop->clock && p != &loop->turn && !p->look) {
            vnet_poll_make_direct(loop, p);
        }
        loop->current = NULL;
    }
    loop->nev = loop->curev = 0;
    vnet_loop_end(loop);
}

static void vnet_loop_bh(void *opaque)
{
    VnetLoop *loop = opaque;

    loop->in_bh = true;
    vnet_loop_begin(loop);
    vnet_loop_turns(loop);
    vnet_loop_end(loop);
    loop->in_bh = false;
}

/* As the clock it is not read. */
static void vnet_loop_turn(VnetPoll *p, uint32_t events)
{
    vnet_loop_turns(p->loop);
}

static void vnet_loop_read(EventNotifier *e)
{
    if (vnet_loop_take(container_of(e, VnetLoop, epoll))) {
        vnet_loop_handle(e);
    }
}

static bool vnet_loop_io_poll(void *opaque)
{
    VnetLoop *loop = container_of(opaque, VnetLoop, epoll);
    bool seen = false;
    VnetPoll *p;

    QTAILQ_FOREACH(p, &loop->lookers, look_next) {
        if (p->queued || p->look(p)) {
            vnet_poll_queue(loop, p);
            seen = true;
        }
    }
    QTAILQ_FOREACH(p, &loop->direct, direct_next) {
        if (!p->polled && (p->queued || vnet_poll_direct_poll(p))) {
            vnet_poll_queue(loop, p);
            seen = true;
        }
    }
    if (!QTAILQ_EMPTY(&loop->lookers) && ++loop->looks < VNET_LOOP_LOOKS) {
        return seen;
    }
    loop->looks = 0;
    return vnet_loop_take(loop) || seen;
}

static void vnet_loop_set_polling(VnetLoop *loop, bool on)
{
    VnetPoll *p;

    loop->polling = on;
    QTAILQ_FOREACH(p, &loop->lookers, look_next) {
        p->polling(p, on);
    }
}

static void vnet_loop_poll_begin(EventNotifier *e)
{
    vnet_loop_set_polling(container_of(e, VnetLoop, epoll), true);
}

/* The AioContext calls vnet_loop_io_poll() once more after it. */
static void vnet_loop_poll_end(EventNotifier *e)
{
    vnet_loop_set_polling(container_of(e, VnetLoop, epoll), false);
}

/* --- Timers ----------------------------------------------------------- */

/*
 * The core's timer is due within milliseconds as long as bytes flow (it makes
 * acknowledgements wait for each other), and a link always has one within
 * seconds.  As timers of the AioContext they would be the time-out of every wait,
 * and each wait would set the processor's clock anew, which in a virtual machine
 * costs more than all else about it.  A timerfd is set once.
 *
 * Timers are set often, and mostly to a later time than before.  Then the clock
 * is left alone, and set again when it expires.
 */
static void vnet_loop_clock_set(VnetLoop *loop, int64_t when_ns)
{
    /* 0 would disarm it. */
    int64_t ns = MAX(when_ns, 1);
    struct itimerspec ts = {
        .it_value.tv_sec = ns / NANOSECONDS_PER_SECOND,
        .it_value.tv_nsec = ns % NANOSECONDS_PER_SECOND,
    };

    if (when_ns >= loop->clock_set) {
        return;
    }
    loop->clock_set = when_ns;
    /* Can only fail for a descriptor that is none. */
    if (timerfd_settime(loop->clock.fd, TFD_TIMER_ABSTIME, &ts, NULL)) {
        g_assert_not_reached();
    }
}

static int vnet_loop_timer_order(gconstpointer a, gconstpointer b,
                                 gpointer opaque)
{
    const VnetLoopTimer *x = a, *y = b;

    return (x->when_ns > y->when_ns) - (x->when_ns < y->when_ns);
}

/* NULL: none is armed. */
static VnetLoopTimer *vnet_loop_timer_first(VnetLoop *loop)
{
    return g_sequence_is_empty(loop->timers) ? NULL :
           g_sequence_get(g_sequence_get_begin_iter(loop->timers));
}

void vnet_loop_timer_init(VnetLoop *loop, VnetLoopTimer *t,
                          void (*fn)(VnetLoopTimer *t))
{
    t->loop = loop;
    t->fn = fn;
    t->armed = NULL;
}

void vnet_loop_timer_arm(VnetLoopTimer *t, int64_t when_ns)
{
    vnet_loop_timer_disarm(t);
    t->when_ns = when_ns;
    t->armed = g_sequence_insert_sorted(t->loop->timers, t,
                                        vnet_loop_timer_order, NULL);
    vnet_loop_clock_set(t->loop, when_ns);
}

void vnet_loop_timer_disarm(VnetLoopTimer *t)
{
    g_clear_pointer(&t->armed, g_sequence_remove);
}

static void vnet_loop_tick(VnetPoll *p, uint32_t events)
{
    VnetLoop *loop = container_of(p, VnetLoop, clock);
    int64_t now = vnet_loop_now();
    VnetLoopTimer *t;

    /*
     * It is not read: being edge-triggered, it is an event again only when it
     * was set again and that time has come.
     */
    loop->clock_set = INT64_MAX;
    if (loop->core_when <= now) {
        loop->core_when = INT64_MAX;
        vnet_core_tick(loop->core);
    }
    /* Each can disarm others, and end what they are part of. */
    while ((t = vnet_loop_timer_first(loop)) && t->when_ns <= now) {
        vnet_loop_timer_disarm(t);
        t->fn(t);
    }
    vnet_loop_clock_set(loop, loop->core_when);
    if (t) {
        vnet_loop_clock_set(loop, t->when_ns);
    }
}

static void vnet_loop_arm_timer(void *opaque, int64_t when_ns)
{
    VnetLoop *loop = opaque;

    loop->core_when = when_ns;
    vnet_loop_clock_set(loop, when_ns);
}

/* --- The core's host -------------------------------------------------- */

static int64_t vnet_loop_host_now(void *opaque)
{
    return vnet_loop_now();
}

static void vnet_loop_defer(void *opaque)
{
    VnetLoop *loop = opaque;

    loop->deferred = true;
    vnet_loop_want_end(loop);
}

static uint64_t vnet_loop_random64(void *opaque)
{
    uint64_t v;

    /*
     * Not QEMU's guest-random: with -seed, two QEMUs would draw the same.  For
     * so few bytes this neither fails nor returns less.
     */
    if (getrandom(&v, sizeof(v), 0) != sizeof(v)) {
        g_assert_not_reached();
    }
    return v;
}

static void vnet_loop_link_event(void *opaque, VnetLink *l, const char *state,
                                 const char *msg)
{
    VnetLoop *loop = opaque;

    if (loop->ops->link_event) {
        loop->ops->link_event(loop->opaque, l, state, msg);
    }
}

static void vnet_loop_stream_event(void *opaque, VnetStream *s,
                                   const char *state, enum vtoe_reason reason)
{
    VnetLoop *loop = opaque;

    if (loop->ops->stream_event) {
        loop->ops->stream_event(loop->opaque, s, state, reason);
    }
}

static bool vnet_loop_limit_event(void *opaque, VnetNet *net,
                                  VnetCoreLimit limit, const VnetPort *port,
                                  const VnetLink *l, uint64_t suppressed)
{
    VnetLoop *loop = opaque;

    return loop->ops->limit_event &&
           loop->ops->limit_event(loop->opaque, net, limit, port, l,
                                  suppressed);
}

static const VnetHostOps vnet_loop_host_ops = {
    .now_ns = vnet_loop_host_now,
    .arm_timer = vnet_loop_arm_timer,
    .defer = vnet_loop_defer,
    .random64 = vnet_loop_random64,
    .link_event = vnet_loop_link_event,
    .stream_event = vnet_loop_stream_event,
    .limit_event = vnet_loop_limit_event,
};

VnetLoop *vnet_loop_new(AioContext *ctx, const VnetCoreConfig *cfg,
                        const VnetLoopOps *ops, void *opaque, Error **errp)
{
    VnetLoop *loop;
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    int tfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (epfd < 0 || tfd < 0 || evfd < 0) {
        error_setg_errno(errp, errno, "cannot make an epoll, a timer and an "
                         "event descriptor");
        goto err;
    }
    loop = g_new0(VnetLoop, 1);
    loop->ctx = ctx;
    loop->ops = ops;
    loop->opaque = opaque;
    event_notifier_init_fd(&loop->epoll, epfd);
    loop->core_when = loop->clock_set = INT64_MAX;
    loop->timers = g_sequence_new(NULL);
    QTAILQ_INIT(&loop->at_end);
    QTAILQ_INIT(&loop->again);
    QTAILQ_INIT(&loop->direct);
    QTAILQ_INIT(&loop->lookers);
    loop->bh = aio_bh_new(ctx, vnet_loop_bh, loop);
    loop->clock.ready = vnet_loop_tick;
    loop->turn.ready = vnet_loop_turn;
    if (vnet_poll_add(loop, &loop->clock, tfd, EPOLLIN) < 0 ||
        vnet_poll_add(loop, &loop->turn, evfd, EPOLLIN) < 0) {
        error_setg_errno(errp, errno, "cannot watch a descriptor");
        qemu_bh_delete(loop->bh);
        g_sequence_free(loop->timers);
        g_free(loop);
        goto err;
    }
    loop->core = vnet_core_new(cfg, &vnet_loop_host_ops, loop);
    aio_set_event_notifier(ctx, &loop->epoll, vnet_loop_read,
                           vnet_loop_io_poll, vnet_loop_handle);
    aio_set_event_notifier_poll(ctx, &loop->epoll, vnet_loop_poll_begin,
                                vnet_loop_poll_end);
    /* Who polls asks the kernel for none that had no event before. */
    eventfd_write(evfd, 1);
    return loop;

err:
    if (epfd >= 0) {
        close(epfd);
    }
    if (tfd >= 0) {
        close(tfd);
    }
    if (evfd >= 0) {
        close(evfd);
    }
    return NULL;
}

void vnet_loop_free(VnetLoop *loop)
{
    int tfd = loop->clock.fd, evfd = loop->turn.fd;

    vnet_core_free(loop->core);
    vnet_poll_del(loop, &loop->clock);
    vnet_poll_del(loop, &loop->turn);
    assert(QTAILQ_EMPTY(&loop->at_end) && QTAILQ_EMPTY(&loop->again));
    assert(g_sequence_is_empty(loop->timers));
    g_sequence_free(loop->timers);
    aio_set_event_notifier(loop->ctx, &loop->epoll, NULL, NULL, NULL);
    close(tfd);
    close(evfd);
    close(vnet_loop_epfd(loop));
    qemu_bh_delete(loop->bh);
    g_free(loop);
}
