/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The overlay's event loop beside other handlers of its AioContext, such as
 * doorbells, which can all be polled; and its timers.
 */

#include "qemu/osdep.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include "qapi/error.h"
#include "qemu/event_notifier.h"
#include "qemu/main-loop.h"
#include "vnet-loop.h"

#define TURNS 1000

typedef struct LoopTest {
    AioContext *ctx;
    VnetLoop *loop;
    VnetPoll busy;              /* always wants another turn */
    unsigned turns;
    EventNotifier other;
    bool pressing;              /* it always has something */
    unsigned handled;
} LoopTest;

static void busy_ready(VnetPoll *p, uint32_t events)
{
    LoopTest *t = container_of(p, LoopTest, busy);

    t->turns++;
    vnet_poll_again(t->loop, p);
}

static void other_read(EventNotifier *e)
{
    LoopTest *t = container_of(e, LoopTest, other);

    t->handled += event_notifier_test_and_clear(e);
}

static bool other_poll(void *opaque)
{
    LoopTest *t = container_of(opaque, LoopTest, other);

    return t->pressing;
}

static void start(LoopTest *t, int64_t poll_max_ns)
{
    static const VnetLoopOps ops;
    const VnetCoreConfig cfg = {
        .max_streams = 16, .max_macs = 16, .mac_age_s = 1,
        .heartbeat_ms = 1000, .name = "a",
    };

    *t = (LoopTest) { .ctx = qemu_get_aio_context() };
    aio_context_set_poll_params(t->ctx, poll_max_ns, 0, 0, &error_abort);
    t->loop = vnet_loop_new(t->ctx, &cfg, &ops, t, &error_abort);
    t->busy.ready = busy_ready;
    t->busy.fd = -1;
    g_assert_cmpint(event_notifier_init(&t->other, 0), ==, 0);
    aio_set_event_notifier(t->ctx, &t->other, other_read, other_poll,
                           other_read);
}

static void add_busy(LoopTest *t)
{
    g_assert_cmpint(vnet_poll_add(t->loop, &t->busy, eventfd(1, EFD_NONBLOCK),
                                  EPOLLIN), ==, 0);
}

static void finish(LoopTest *t)
{
    int fd = t->busy.fd;        /* or -1 */

    aio_set_event_notifier(t->ctx, &t->other, NULL, NULL, NULL);
    event_notifier_cleanup(&t->other);
    vnet_poll_del(t->loop, &t->busy);
    close(fd);
    vnet_loop_free(t->loop);
}

/* Once round for each turn or two of the busy one. */
static void carry_on(LoopTest *t, unsigned turns)
{
    unsigned rounds = 0;

    for (turns += t->turns; t->turns < turns; rounds++) {
        g_assert_cmpuint(rounds, <, 10 * TURNS);
        aio_poll(t->ctx, true);
    }
}

static void test_turns_without_end_keep_nobody_waiting(void)
{
    LoopTest t;
    unsigned i;

    start(&t, 0);
    add_busy(&t);
    carry_on(&t, TURNS);
    for (i = 1; i <= 10; i++) {
        event_notifier_set(&t.other);
        carry_on(&t, 4);
        g_assert_cmpuint(t.handled, ==, i);
    }
    finish(&t);
}

/* Its first event comes when the thread polls and does not ask the kernel. */
static void test_others_do_not_keep_it_waiting(void)
{
    LoopTest t;

    start(&t, NANOSECONDS_PER_SECOND);
    event_notifier_set(&t.other);
    while (!t.handled) {
        aio_poll(t.ctx, true);
    }
    t.pressing = true;
    add_busy(&t);
    carry_on(&t, TURNS);
    finish(&t);
}

/* --- Sockets that wait in the AioContext itself ---------------------------- */

typedef struct SocketTest {
    LoopTest t;
    VnetPoll sock;
    int peer;
    unsigned bytes;
    bool ended;
} SocketTest;

static void sock_ready(VnetPoll *p, uint32_t events)
{
    SocketTest *s = container_of(p, SocketTest, sock);
    uint8_t buf[64];
    ssize_t n;

    while ((n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        s->bytes += n;
    }
    if (n == 0) {
        s->ended = true;
        vnet_poll_rest(s->t.loop, p);
    }
}

static void say(SocketTest *s)
{
    unsigned bytes = s->bytes;

    g_assert_cmpint(write(s->peer, "x", 1), ==, 1);
    while (s->bytes == bytes) {
        aio_poll(s->t.ctx, true);
    }
}

static void sock_start(SocketTest *s)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), ==, 0);
    *s = (SocketTest) { .sock.ready = sock_ready, .peer = sv[1] };
    start(&s->t, 0);
    g_assert_cmpint(vnet_poll_add(s->t.loop, &s->sock, sv[0], EPOLLIN), ==, 0);
    while (!s->sock.direct) {
        say(s);
    }
}

/* From now on something else is always found by polling. */
static void press(LoopTest *t)
{
    aio_context_set_poll_params(t->ctx, NANOSECONDS_PER_SECOND, 0, 0,
                                &error_abort);
    event_notifier_set(&t->other);
    while (!t->handled) {
        aio_poll(t->ctx, true);
    }
    t->pressing = true;
}

static void sock_finish(SocketTest *s)
{
    int fd = s->sock.fd;

    vnet_poll_del(s->t.loop, &s->sock);
    close(fd);
    close(s->peer);
    finish(&s->t);
}

/* Had its event, or not, before the thread began to poll. */
static void heard_beside_others(bool before)
{
    SocketTest s;
    unsigned i;

    sock_start(&s);
    if (before) {
        say(&s);
    }
    press(&s.t);
    s.bytes = 0;
    g_assert_cmpint(write(s.peer, "x", 1), ==, 1);
    for (i = 0; i < 100 && !s.bytes; i++) {
        aio_poll(s.t.ctx, true);
    }
    g_assert_cmpuint(s.bytes, ==, 1);
    shutdown(s.peer, SHUT_WR);
    for (i = 0; i < 100 && !s.ended; i++) {
        aio_poll(s.t.ctx, true);
    }
    g_assert_true(s.ended);
    sock_finish(&s);
}

static void test_sockets_are_heard_while_others_are_polled(void)
{
    heard_beside_others(true);
    heard_beside_others(false);
}

/* --- Timers ---------------------------------------------------------------- */

typedef struct TimerTest TimerTest;

typedef struct Due {
    VnetLoopTimer timer;
    TimerTest *test;
} Due;

struct TimerTest {
    LoopTest t;
    Due due[4];
    GString *came;              /* their numbers, in the order in which they came */
    bool first_ends_second;
    unsigned last_again;        /* times that the last sets itself */
};

static void timer_due(VnetLoopTimer *timer)
{
    Due *d = container_of(timer, Due, timer);
    TimerTest *s = d->test;

    g_assert_cmpint(vnet_loop_now(), >=, timer->when_ns);
    g_string_append_c(s->came, '0' + (d - s->due));
    if (d == &s->due[0] && s->first_ends_second) {
        vnet_loop_timer_disarm(&s->due[1].timer);
    }
    if (d == &s->due[3] && s->last_again) {
        s->last_again--;
        vnet_loop_timer_arm(timer, vnet_loop_now());
    }
}

static void timer_start(TimerTest *s)
{
    unsigned i;

    *s = (TimerTest) { .came = g_string_new(NULL) };
    start(&s->t, 0);
    for (i = 0; i < G_N_ELEMENTS(s->due); i++) {
        s->due[i].test = s;
        vnet_loop_timer_init(s->t.loop, &s->due[i].timer, timer_due);
    }
}

static void timer_finish(TimerTest *s)
{
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(s->due); i++) {
        vnet_loop_timer_disarm(&s->due[i].timer);
    }
    finish(&s->t);
    g_string_free(s->came, true);
}

static void timer_wait(TimerTest *s, const char *came)
{
    while (s->came->len < strlen(came)) {
        aio_poll(s->t.ctx, true);
    }
    g_assert_cmpstr(s->came->str, ==, came);
}

static void arm(TimerTest *s, unsigned i, int64_t from, unsigned ms)
{
    vnet_loop_timer_arm(&s->due[i].timer, from + ms * (int64_t)SCALE_MS);
}

static void test_timers_come_in_their_order(void)
{
    int64_t now = vnet_loop_now();
    TimerTest s;

    timer_start(&s);
    arm(&s, 2, now, 6);
    arm(&s, 0, now, 2);
    arm(&s, 1, now, 4);
    arm(&s, 3, now, 8);
    timer_wait(&s, "0123");

    /* Set again: earlier, later than the clock is set to, or not at all. */
    now = vnet_loop_now();
    arm(&s, 0, now, 2);
    arm(&s, 1, now, 500);
    arm(&s, 2, now, 4);
    arm(&s, 3, now, 8);
    arm(&s, 0, now, 10);
    arm(&s, 1, now, 6);
    vnet_loop_timer_disarm(&s.due[2].timer);
    timer_wait(&s, "0123" "130");
    timer_finish(&s);
}

/* All are due before the first is looked at. */
static void test_a_timer_ends_another(void)
{
    TimerTest s;

    timer_start(&s);
    s.first_ends_second = true;
    s.last_again = 2;
    arm(&s, 0, 0, 1);
    arm(&s, 1, 0, 2);
    arm(&s, 2, 0, 3);
    arm(&s, 3, 0, 4);
    timer_wait(&s, "02333");
    timer_finish(&s);
}

/* A time-out of the thread's waiting costs more than the rest of it. */
static void test_waiting_has_no_time_out(void)
{
    TimerTest s;

    timer_start(&s);
    g_assert_cmpint(aio_compute_timeout(s.t.ctx), ==, -1);
    arm(&s, 0, vnet_loop_now(), 60000);
    g_assert_cmpint(aio_compute_timeout(s.t.ctx), ==, -1);
    timer_finish(&s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qemu_init_main_loop(&error_abort);
    g_test_add_func("/vnet/loop/turns-without-end-keep-nobody-waiting",
                    test_turns_without_end_keep_nobody_waiting);
    g_test_add_func("/vnet/loop/others-do-not-keep-it-waiting",
                    test_others_do_not_keep_it_waiting);
    g_test_add_func("/vnet/loop/sockets-are-heard-while-others-are-polled",
                    test_sockets_are_heard_while_others_are_polled);
    g_test_add_func("/vnet/loop/timers-come-in-their-order",
                    test_timers_come_in_their_order);
    g_test_add_func("/vnet/loop/a-timer-ends-another",
                    test_a_timer_ends_another);
    g_test_add_func("/vnet/loop/waiting-has-no-time-out",
                    test_waiting_has_no_time_out);
    return g_test_run();
}
