/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VNET thread that polls (poll-max-ns) under a vtoe-pci: it looks at the rings
 * instead of waiting for doorbells, loses none of what the guest does, and
 * neglects nobody meanwhile.  Rings and buffers are used through shared memory, as
 * a guest's processor would; only doorbells are qtest commands.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "libqos/libqos-pc.h"
#include "vtoe-frames.h"

/* A second: whatever a busy host adds, the thread finds it by polling. */
#define POLLS_LONG  "vnet,poll-max-ns=1000000000"
/* Shorter than some of the test's pauses: it sleeps, and learns to poll again. */
#define POLLS_SHORT "vnet,poll-max-ns=200000"
#define SLEEPS      "vnet"

/*
 * The thread's polling time doubles from 4 us on, whenever something comes
 * later.  Behind this it polls for half a second.
 */
static void warm_up(VtoeFrames *p)
{
    gint64 deadline = 0;
    unsigned us;

    for (us = 4; us < 600000; us *= 2) {
        vtoe_frames_send(p, 1);
        g_usleep(us);
    }
    vtoe_frames_send(p, 1);
    while (vtoe_frames_would_ring(p, p->q, 1)) {
        vtoe_spin_step(&deadline, "the thread to poll");
    }
}

/* --- Doorbells ------------------------------------------------------------ */

static void test_sleeping_takes_a_doorbell_each(void)
{
    VtoeFrames p;

    vtoe_frames_boot(&p, SLEEPS, "", 2, VTOE_TEST_RING);
    vtoe_frames_send(&p, 1000);
    g_assert_cmpuint(vtoe_frames_counter(&p, "doorbells"), ==, 1000);
    g_assert_cmpuint(vtoe_frames_counter(&p, "polled_kicks"), ==, 0);
    vtoe_host_quit(&p.h);
}

static void test_polling_saves_doorbells(void)
{
    uint64_t before;
    VtoeFrames p;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, VTOE_TEST_RING);
    warm_up(&p);
    before = vtoe_frames_counter(&p, "doorbells");
    vtoe_frames_send(&p, 10000);
    g_test_message("%" PRIu64 " doorbells for 10000 frames",
                   vtoe_frames_counter(&p, "doorbells") - before);
    g_assert_cmpuint(vtoe_frames_counter(&p, "doorbells") - before, <=, 500);
    g_assert_cmpuint(vtoe_frames_counter(&p, "polled_kicks"), >=, 9500);
    vtoe_host_quit(&p.h);
}

/*
 * Whoever polls asks for no doorbell, and asks again before it sleeps: the two are
 * as far apart as the guest's store and its load.
 */
static void test_nothing_is_lost_when_polling_begins_and_ends(void)
{
    GRand *rand = g_rand_new_with_seed(11);
    VtoeFrames p;
    unsigned i;

    vtoe_frames_boot(&p, POLLS_SHORT, "", 2, VTOE_TEST_RING);
    for (i = 0; i < 100000; i++) {
        vtoe_frames_send(&p, 1);
        vtoe_spin_us(g_rand_int_range(rand, 0, 20) ? g_rand_int_range(rand, 0, 30)
                                               : 250);
    }
    g_test_message("%" PRIu64 " doorbells, %" PRIu64 " found",
                   vtoe_frames_counter(&p, "doorbells"),
                   vtoe_frames_counter(&p, "polled_kicks"));
    /* It did both, often. */
    g_assert_cmpuint(vtoe_frames_counter(&p, "doorbells"), >, 500);
    g_assert_cmpuint(vtoe_frames_counter(&p, "polled_kicks"), >, 500);
    g_assert_cmpuint(vtoe_frames_counter(&p, "violations"), ==, 0);
    g_rand_free(rand);
    vtoe_host_quit(&p.h);
}

/* --- Nobody is neglected -------------------------------------------------- */

/*
 * The ring of pair 0 is full whenever the device looks.  True: a driver would have
 * to ring.
 */
static bool keep_full(VtoeFrames *p)
{
    uint32_t *prod = VTOE_FRAMES_CTRL(p, p->q, send_prod);
    uint32_t *cons = VTOE_FRAMES_CTRL(p, p->q, send_cons);
    uint32_t *event = VTOE_FRAMES_CTRL(p, p->q, send_event);
    uint32_t *done = VTOE_FRAMES_CTRL(p, p->q, comp_prod);
    uint32_t old = le32_to_cpu(*prod);
    uint32_t now = le32_to_cpu(qatomic_load_acquire(cons)) + p->q->send_size;

    qatomic_store_release(VTOE_FRAMES_CTRL(p, p->q, comp_cons),
                          qatomic_load_acquire(done));
    qatomic_store_release(prod, cpu_to_le32(now));
    smp_mb();           /* the index is there before its event is read */
    return vtoe_need_kick(le32_to_cpu(qatomic_read(event)), now, old);
}

static void fill_ring(VtoeFrames *p)
{
    struct vtoe_send_desc desc = {
        .addr = cpu_to_le64(p->buf), .len = cpu_to_le32(VTOE_FRAMES_LEN),
    };
    unsigned i;

    for (i = 0; i < p->q->send_size; i++) {
        memcpy(p->h.ram + p->q->send + i * sizeof(desc), &desc, sizeof(desc));
    }
}

/*
 * The frames that pair 0 has sent when a descriptor of another pair, which was not
 * used before, is looked at: it is wrong, so that the device stops there.
 */
static uint64_t frames_beside(uint32_t entries)
{
    struct vtoe_send_desc wrong = { .op = 0xff };
    gint64 deadline = 0;
    uint64_t frames;
    VtoeFrames p;

    vtoe_frames_boot(&p, POLLS_LONG, ",max-ring=32768", 2, entries);
    warm_up(&p);
    fill_ring(&p);
    keep_full(&p);
    while (qatomic_load_acquire(VTOE_FRAMES_CTRL(&p, p.q, send_cons)) ==
           p.q->send_prod) {
        vtoe_spin_step(&deadline, "the first turn");
    }
    vtoe_post_send(p.d, &p.d->q[1], &wrong);
    vtoe_kick(p.d, &p.d->q[1]);
    deadline = 0;
    while (vtoe_rd(p.d, VTOE_REG_VIOLATION) != VTOE_VIOLATION_DESCRIPTOR) {
        vtoe_wait_step(&deadline, "the violation");
    }
    frames = vtoe_frames_counter(&p, "tx_drop_netdev");    /* it has no link */
    vtoe_host_quit(&p.h);
    return frames;
}

/*
 * Pair 0 has more for the device than it takes in a turn, and another pair comes
 * after a turn or two.  When the test itself is kept waiting in between, all is
 * sent: that says nothing.
 */
static void test_full_ring_keeps_nobody_else_waiting(void)
{
    const uint32_t entries = 32768;
    unsigned tries = 20;
    uint64_t frames;

    do {
        frames = frames_beside(entries);
        g_test_message("%" PRIu64 " frames came first", frames);
    } while (frames > entries / 2 && --tries);
    g_assert_cmpuint(tries, >, 0);
}

/* --- Guests that are not as they should be -------------------------------- */

static void test_jump_while_polled_is_contained(void)
{
    static const uint32_t jumps[] = { VTOE_TEST_RING + 1, 1u << 31, -1u };
    VtoeFrames p;
    unsigned i;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, VTOE_TEST_RING);
    for (i = 0; i < G_N_ELEMENTS(jumps); i++) {
        gint64 deadline = 0;

        warm_up(&p);
        qatomic_set(VTOE_FRAMES_CTRL(&p, p.q, send_prod),
                    cpu_to_le32(p.q->send_prod + jumps[i]));
        while (!(vtoe_rd(p.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET)) {
            vtoe_wait_step(&deadline, "the violation");
        }
        g_assert_cmpuint(vtoe_rd(p.d, VTOE_REG_VIOLATION), ==,
                         VTOE_VIOLATION_INDEX);
        vtoe_assert_monitor(p.h.qts);
        vtoe_start(p.d, 2, VTOE_TEST_RING);
    }
    vtoe_frames_send(&p, 100);
    g_assert_cmpuint(vtoe_frames_counter(&p, "violations"), ==,
                     G_N_ELEMENTS(jumps));
    vtoe_host_quit(&p.h);
}

/* --- Ends ----------------------------------------------------------------- */

static void test_reset_while_polled(void)
{
    VtoeFrames p;
    unsigned i;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, VTOE_TEST_RING);
    warm_up(&p);
    for (i = 0; i < 50; i++) {
        vtoe_frames_send(&p, 100);
        vtoe_send(p.d, p.q, VTOE_SID_FRAME, p.buf, VTOE_FRAMES_LEN);
        vtoe_start(p.d, 2, VTOE_TEST_RING);
    }
    vtoe_frames_send(&p, 100);
    g_assert_cmpuint(vtoe_frames_counter(&p, "violations"), ==, 0);
    vtoe_host_quit(&p.h);
}

static void test_stop_while_polled(void)
{
    VtoeFrames p;
    unsigned i;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, VTOE_TEST_RING);
    warm_up(&p);
    for (i = 0; i < 20; i++) {
        vtoe_frames_send(&p, 100);
        qtest_qmp_assert_success(p.h.qts, "{ 'execute': 'stop' }");
        vtoe_send(p.d, p.q, VTOE_SID_FRAME, p.buf, VTOE_FRAMES_LEN);
        qtest_qmp_assert_success(p.h.qts, "{ 'execute': 'cont' }");
        g_assert_cmpuint(vtoe_frames_comp(&p, p.q).type, ==, VTOE_COMP_SEND);
    }
    vtoe_host_quit(&p.h);
}

static void test_unplug_while_polled(void)
{
    VtoeFrames p;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, VTOE_TEST_RING);
    warm_up(&p);
    vtoe_send(p.d, p.q, VTOE_SID_FRAME, p.buf, VTOE_FRAMES_LEN);
    qpci_unplug_acpi_device_test(p.h.qts, "nic0", VTOE_SLOT);
    qtest_qmp_assert_success(p.h.qts, "{ 'execute': 'netdev_del', 'arguments':"
                             " { 'id': 'n0' } }");
    vtoe_host_quit(&p.h);
}

/* The device goes on in the main loop, which needs doorbells. */
static void test_netdev_is_removed_while_polled(void)
{
    VtoeFrames p;
    uint64_t before;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, VTOE_TEST_RING);
    warm_up(&p);
    vtoe_send(p.d, p.q, VTOE_SID_FRAME, p.buf, VTOE_FRAMES_LEN);
    qtest_qmp_assert_success(p.h.qts, "{ 'execute': 'netdev_del', 'arguments':"
                             " { 'id': 'n0' } }");
    g_assert_cmpuint(vtoe_frames_comp(&p, p.q).type, ==, VTOE_COMP_SEND);
    before = vtoe_frames_counter(&p, "doorbells");
    vtoe_frames_send(&p, 100);
    g_assert_cmpuint(vtoe_frames_counter(&p, "doorbells"), ==, before + 100);
    vtoe_host_quit(&p.h);
}

typedef struct Filler {
    VtoeFrames *p;
    bool enough;
    bool asked;                 /* to ring */
} Filler;

static void *keep_filling(void *opaque)
{
    Filler *f = opaque;

    while (!qatomic_read(&f->enough)) {
        f->asked |= keep_full(f->p);
    }
    return NULL;
}

/* What the VNET thread has left over is not lost on the way. */
static void test_netdev_is_removed_beside_a_full_ring(void)
{
    gint64 deadline = 0;
    VtoeFrames p;
    Filler filler = { .p = &p };
    GThread *thread;

    vtoe_frames_boot(&p, POLLS_LONG, "", 2, 4096);
    warm_up(&p);
    fill_ring(&p);
    thread = g_thread_new("filler", keep_filling, &filler);
    vtoe_wait_counter(p.h.qts, "nic0", "tx_drop_netdev", 10000);
    qtest_qmp_assert_success(p.h.qts, "{ 'execute': 'netdev_del', 'arguments':"
                             " { 'id': 'n0' } }");
    qatomic_set(&filler.enough, true);
    g_thread_join(thread);
    if (filler.asked) {
        vtoe_doorbell(p.d, 0);
    }
    while (qatomic_read(VTOE_FRAMES_CTRL(&p, p.q, send_cons)) !=
           qatomic_read(VTOE_FRAMES_CTRL(&p, p.q, send_prod))) {
        vtoe_wait_step(&deadline, "what was left over");
    }
    vtoe_host_quit(&p.h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/poll/sleeping-takes-a-doorbell-each",
                   test_sleeping_takes_a_doorbell_each);
    qtest_add_func("/vtoe/poll/saves-doorbells", test_polling_saves_doorbells);
    qtest_add_func("/vtoe/poll/nothing-is-lost",
                   test_nothing_is_lost_when_polling_begins_and_ends);
    qtest_add_func("/vtoe/poll/full-ring-keeps-nobody-waiting",
                   test_full_ring_keeps_nobody_else_waiting);
    qtest_add_func("/vtoe/poll/jump-is-contained",
                   test_jump_while_polled_is_contained);
    qtest_add_func("/vtoe/poll/reset", test_reset_while_polled);
    qtest_add_func("/vtoe/poll/stop", test_stop_while_polled);
    qtest_add_func("/vtoe/poll/unplug", test_unplug_while_polled);
    qtest_add_func("/vtoe/poll/netdev-is-removed",
                   test_netdev_is_removed_while_polled);
    qtest_add_func("/vtoe/poll/netdev-is-removed-beside-a-full-ring",
                   test_netdev_is_removed_beside_a_full_ring);
    return g_test_run();
}
