/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: the device thread.
 *
 * The behaviour is not locked: one thread owns it.  On a vnet netdev that is
 * the VNET thread, so that a doorbell, the rings, the stream and the link's
 * socket are all handled without changing threads.  On other netdevs it is the
 * main loop, which these netdevs belong to; there "the thread" is whoever
 * holds the BQL, and handing over is a plain call.
 *
 * Handing over and waiting (vtoe_thread_call): register writes, reset, stop
 * and unplug run in the device thread while the caller, a vCPU or the main
 * loop, waits with the BQL held.  This cannot dead-lock because the VNET
 * thread waits for nothing that needs the BQL: guest memory is RAM only
 * (vtoe-dma.c), interrupts leave through EventNotifiers (vtoe-irq.c), and the
 * rule is part of include/vtoe/vnet-netdev.h.  Only holders of the BQL call,
 * so calls are serialized, and a register write that returned has happened.
 * The caller does not run the main loop meanwhile (AIO_WAIT_WHILE would): a
 * guest's register write must not run other devices' handlers underneath.  The
 * caller waits with a semaphore: a QemuEvent's set() may wake whoever waits for
 * the next one, and its wait() does not look again why it was woken.
 *
 * Polling.  If the thread can poll instead of sleeping (poll-max-ns), each doorbell
 * has poll functions, which look at its rings in guest memory; the guest is asked
 * for no doorbell then (vtoe_dev_poll()).  The AioContext calls io_poll once more
 * after io_poll_end, and only then sleeps: what the guest posted before it saw
 * that doorbells are wanted again is found there.  Two traits of AioContext matter:
 *  - It polls a handler only once that was dispatched, and, while something else
 *    that it polls is always ready, asks the kernel for no other.  So each doorbell
 *    is rung once when the thread begins.
 *  - Where all handlers can be polled it does not ask the kernel while bottom
 *    halves follow each other.  So work that is left over again goes on by an
 *    EventNotifier (vtoe_op_kick_later()).
 *
 * BHs of the device carry the re-entrancy guard in the main loop only.  The
 * guard is one bool per device, without a lock: a guarded BH in the VNET thread
 * would make a register access of a vCPU at the same moment vanish.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "trace.h"
#include "vtoe/vnet-netdev.h"
#include "vtoe-pci.h"

typedef struct VtoeThreadCall {
    VtoePCI *s;
    VtoeThreadFn *fn;
    void *arg;
} VtoeThreadCall;

static bool vtoe_in_main_loop(VtoePCI *s)
{
    return s->ctx == qemu_get_aio_context();
}

static void vtoe_dispatch_begin(VtoePCI *s)
{
    s->in_dispatch = vtoe_in_main_loop(s);
    if (s->vnet) {
        vnet_netdev_dispatch_begin(s->vnet);
    }
}

void vtoe_op_set_timer(void *opaque, int64_t when_ns)
{
    VtoePCI *s = opaque;

    if (!s->tick_timer) {
        return;                 /* vtoe_thread_start() asks again */
    }
    if (when_ns == INT64_MAX) {
        timer_del(s->tick_timer);
    } else {
        timer_mod_ns(s->tick_timer, when_ns);
    }
}

void vtoe_dispatch_end(VtoePCI *s)
{
    if (s->vnet) {
        vnet_netdev_dispatch_end(s->vnet);
    }
    vtoe_dev_batch_end(s->dev);
    if (vtoe_in_main_loop(s)) {
        s->in_dispatch = false;
        vtoe_net_flush(s);
    }
}

static void vtoe_call_bh(void *opaque)
{
    VtoeThreadCall *call = opaque;
    VtoePCI *s = call->s;

    call->fn(s, call->arg);
    if (s->tick_timer) {        /* else fn left the thread */
        vtoe_dispatch_end(s);
    }
    qemu_sem_post(&s->call_done);
}

void vtoe_thread_call(VtoePCI *s, VtoeThreadFn *fn, void *arg)
{
    assert(bql_locked());
    if (vtoe_in_main_loop(s)) {
        bool nested = s->in_dispatch;

        /*
         * A netdev that calls back from within a dispatch, of link state for
         * example, is served by that dispatch's end.
         */
        s->in_dispatch = true;
        fn(s, arg);
        if (!nested && s->tick_timer) {
            vtoe_dispatch_end(s);
        }
    } else {
        VtoeThreadCall call = { .s = s, .fn = fn, .arg = arg };

        aio_bh_schedule_oneshot(s->ctx, vtoe_call_bh, &call);
        qemu_sem_wait(&s->call_done);
    }
}

static void vtoe_doorbell_read(EventNotifier *n)
{
    VtoeDoorbell *db = container_of(n, VtoeDoorbell, notifier);
    VtoePCI *s = db->s;

    if (event_notifier_test_and_clear(n)) {
        vtoe_dispatch_begin(s);
        if (db->primed) {
            db->primed = false;
            vtoe_dev_run(s->dev, db->queue);
        } else {
            trace_vtoe_doorbell(s, db->queue);
            vtoe_dev_kick(s->dev, db->queue);
        }
        vtoe_dispatch_end(s);
    }
}

static bool vtoe_doorbell_poll(void *opaque)
{
    VtoeDoorbell *db = container_of(opaque, VtoeDoorbell, notifier);

    return vtoe_dev_look(db->s->dev, db->queue);
}

/*
 * VMM-driven, and the thread may poll: who has found something looks again as soon
 * as others had their turn, until poll-max-ns have passed in vain.  Then the timer
 * looks, vmm-period-us later.
 */
static void vtoe_spin(VtoePCI *s, bool found)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    if (found) {
        s->spin_until = now + s->ctx->poll_max_ns;
    }
    if (now < s->spin_until && !s->spinning) {
        s->spinning = true;
        event_notifier_set(&s->again);
    }
}

static void vtoe_doorbell_poll_ready(EventNotifier *n)
{
    VtoeDoorbell *db = container_of(n, VtoeDoorbell, notifier);
    VtoePCI *s = db->s;

    trace_vtoe_polled(s, db->queue);
    vtoe_dispatch_begin(s);
    vtoe_dev_run(s->dev, db->queue);
    vtoe_dispatch_end(s);
    if (vtoe_dev_vmm_driven(s->dev)) {
        vtoe_spin(s, true);
    }
}

static void vtoe_doorbell_poll_begin(EventNotifier *n)
{
    VtoeDoorbell *db = container_of(n, VtoeDoorbell, notifier);

    vtoe_dev_poll(db->s->dev, db->queue, true);
}

/* The AioContext calls vtoe_doorbell_poll() once more after it. */
static void vtoe_doorbell_poll_end(EventNotifier *n)
{
    VtoeDoorbell *db = container_of(n, VtoeDoorbell, notifier);

    vtoe_dev_poll(db->s->dev, db->queue, false);
}

void vtoe_op_kick_later(void *opaque, unsigned queue)
{
    VtoePCI *s = opaque;

    if (queue == VTOE_QUEUE_CONTROL) {
        s->kick_control = true;
    } else {
        s->kick_pairs |= 1ull << queue;
    }
    if (s->polls && s->in_kick_bh) {
        event_notifier_set(&s->again);
    } else {
        qemu_bh_schedule(s->kick_bh);
    }
}

/* True: something was there. */
static bool vtoe_look_all(VtoePCI *s)
{
    bool found;

    vtoe_dispatch_begin(s);
    found = vtoe_dev_look_all(s->dev);
    vtoe_dispatch_end(s);
    return found;
}

/* Work left over its budget. */
static void vtoe_kick_left(VtoePCI *s)
{
    uint64_t pairs = s->kick_pairs;
    bool control = s->kick_control;

    s->kick_pairs = 0;
    s->kick_control = false;
    vtoe_dispatch_begin(s);
    if (control) {
        vtoe_dev_kick(s->dev, VTOE_QUEUE_CONTROL);
    }
    while (pairs) {
        unsigned pair = ctz64(pairs);

        pairs &= pairs - 1;
        vtoe_dev_kick(s->dev, pair);
    }
    vtoe_dispatch_end(s);
}

/*
 * The same, and the end of a batch of packets.  What is left over again waits for
 * the next turn of the event loop: others come between.
 */
static void vtoe_kick_bh(void *opaque)
{
    VtoePCI *s = opaque;

    s->in_kick_bh = true;
    vtoe_kick_left(s);
    s->in_kick_bh = false;
}

static void vtoe_again_read(EventNotifier *n)
{
    VtoePCI *s = container_of(n, VtoePCI, again);

    event_notifier_test_and_clear(n);
    if (s->kick_pairs || s->kick_control) {
        vtoe_kick_left(s);
    }
    if (s->spinning) {
        s->spinning = false;
        if (vtoe_dev_vmm_driven(s->dev)) {
            vtoe_spin(s, vtoe_look_all(s));
        }
    }
}

static bool vtoe_again_poll(void *opaque)
{
    VtoePCI *s = container_of(opaque, VtoePCI, again);

    return s->kick_pairs || s->kick_control || s->spinning;
}

static void vtoe_tick_timer(void *opaque)
{
    VtoePCI *s = opaque;
    bool found = s->polls && vtoe_dev_vmm_driven(s->dev) && vtoe_look_all(s);

    vtoe_dispatch_begin(s);
    vtoe_dev_tick(s->dev);
    vtoe_dispatch_end(s);
    if (found) {
        vtoe_spin(s, true);
    }
}

/*
 * The device's time-outs are about what the guest does: they stand still while
 * it is stopped.
 */
int64_t vtoe_op_now_ns(void *opaque)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

static void vtoe_doorbell_watch(VtoePCI *s, VtoeDoorbell *db)
{
    if (!s->polls) {
        aio_set_event_notifier(s->ctx, &db->notifier, vtoe_doorbell_read, NULL,
                               NULL);
        return;
    }
    aio_set_event_notifier(s->ctx, &db->notifier, vtoe_doorbell_read,
                           vtoe_doorbell_poll, vtoe_doorbell_poll_ready);
    aio_set_event_notifier_poll(s->ctx, &db->notifier,
                                vtoe_doorbell_poll_begin,
                                vtoe_doorbell_poll_end);
    db->primed = true;
    event_notifier_set(&db->notifier);
}

static void vtoe_doorbell_unwatch(VtoePCI *s, VtoeDoorbell *db)
{
    aio_set_event_notifier(s->ctx, &db->notifier, NULL, NULL, NULL);
    db->primed = false;
    if (s->polls) {
        vtoe_doorbell_poll_end(&db->notifier);
        if (vtoe_doorbell_poll(&db->notifier)) {
            vtoe_dev_run(s->dev, db->queue);
        }
    }
}

static void vtoe_thread_entered(VtoePCI *s, void *arg)
{
    unsigned i;

    for (i = 0; i < s->doorbells; i++) {
        vtoe_doorbell_watch(s, &s->doorbell[i]);
    }
    if (s->polls) {
        aio_set_event_notifier(s->ctx, &s->again, vtoe_again_read,
                               vtoe_again_poll, vtoe_again_read);
        event_notifier_set(&s->again);
    }
    if (s->kick_pairs || s->kick_control) {
        qemu_bh_schedule(s->kick_bh);   /* left over in the thread before */
    }
    vtoe_op_set_timer(s, vtoe_dev_tick(s->dev));
}

void vtoe_thread_start(VtoePCI *s, AioContext *ctx, NetClientState *vnet)
{
    assert(!s->tick_timer);
    s->ctx = ctx;
    s->vnet = vnet;
    s->polls = !vtoe_in_main_loop(s) && ctx->poll_max_ns > 0;
    s->kick_bh = aio_bh_new_full(ctx, vtoe_kick_bh, s, "vtoe_kick_bh",
                                 vtoe_in_main_loop(s) ?
                                 &DEVICE(s)->mem_reentrancy_guard : NULL);
    s->tick_timer = aio_timer_new(ctx, QEMU_CLOCK_VIRTUAL, SCALE_NS,
                                  vtoe_tick_timer, s);
    trace_vtoe_thread_start(s, vnet != NULL);
    vtoe_thread_call(s, vtoe_thread_entered, NULL);
}

typedef struct VtoeThreadStop {
    VtoeThreadFn *fn;
    void *arg;
} VtoeThreadStop;

static void vtoe_thread_leave(VtoePCI *s, void *arg)
{
    VtoeThreadStop *stop = arg;
    unsigned i;

    for (i = 0; i < s->doorbells; i++) {
        vtoe_doorbell_unwatch(s, &s->doorbell[i]);
    }
    if (s->polls) {
        aio_set_event_notifier(s->ctx, &s->again, NULL, NULL, NULL);
        event_notifier_test_and_clear(&s->again);
        s->polls = false;
        s->spinning = false;
    }
    if (stop->fn) {
        stop->fn(s, stop->arg);
    }
    vtoe_dispatch_end(s);
    qemu_bh_delete(s->kick_bh);
    s->kick_bh = NULL;
    timer_free(s->tick_timer);
    s->tick_timer = NULL;
}

void vtoe_thread_stop(VtoePCI *s, VtoeThreadFn *fn, void *arg)
{
    VtoeThreadStop stop = { .fn = fn, .arg = arg };

    vtoe_thread_call(s, vtoe_thread_leave, &stop);
    trace_vtoe_thread_stop(s);
    s->ctx = qemu_get_aio_context();
    s->vnet = NULL;
    s->in_dispatch = false;
}
