/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-driven, VMM-driven and adaptive dispatch of a vtoe-pci (dispatch=).  The
 * device's clock is the test's: a rate is a number of frames, and how far the clock
 * was moved on between them.
 */

#include "qemu/osdep.h"
#include "libqos/libqos-pc.h"
#include "vtoe-frames.h"

#define US  1000ll
#define MS  (1000 * US)
#define SEC (1000 * MS)

static void boot(VtoeFrames *f, const char *mode)
{
    g_autofree char *more = g_strdup_printf(",dispatch=%s", mode);

    vtoe_frames_boot(f, "vnet", more, 2, 256);
}

static void step(VtoeFrames *f, int64_t ns)
{
    qtest_clock_step(f->h.qts, ns);
}

/* Until all frames are done; the clock goes on, and by how much at most. */
static void finish_frames(VtoeFrames *f, int64_t most_ns)
{
    gint64 deadline = 0;

    while (f->done < f->sent) {
        if (most_ns > 0) {
            step(f, 100 * US);
            most_ns -= 100 * US;
        }
        vtoe_frames_take(f);
        vtoe_spin_step(&deadline, "frames");
    }
}

/* n frames at so many a second; how many took a doorbell. */
static uint64_t frames(VtoeFrames *f, unsigned rate, unsigned n)
{
    uint64_t before = vtoe_frames_counter(f, "doorbells");

    while (n--) {
        step(f, SEC / rate);
        while (!vtoe_frames_post(f)) {
            vtoe_frames_take(f);
        }
        /* What took a doorbell is done before the clock goes on. */
        if (!vtoe_frames_counter(f, "dispatch_vmm")) {
            finish_frames(f, 0);
        }
        vtoe_frames_take(f);
    }
    finish_frames(f, 10 * MS);
    return vtoe_frames_counter(f, "doorbells") - before;
}

/* --- Rates ---------------------------------------------------------------- */

static void test_guest_driven_takes_a_doorbell_each(void)
{
    VtoeFrames f;

    boot(&f, "guest");
    g_assert_cmpuint(frames(&f, 100, 20), ==, 20);
    g_assert_cmpuint(frames(&f, 5000, 200), ==, 200);
    g_assert_cmpuint(frames(&f, 50000, 1000), ==, 1000);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 0);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_to_vmm"), ==, 0);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_rate"), >=, 45000);
    g_assert_cmpuint(vtoe_frames_counter(&f, "polled_kicks"), ==, 0);
    vtoe_host_quit(&f.h);
}

static void test_vmm_driven_takes_none(void)
{
    VtoeFrames f;

    boot(&f, "vmm");
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 1);
    g_assert_cmpuint(frames(&f, 100, 10), ==, 0);
    g_assert_cmpuint(frames(&f, 5000, 200), ==, 0);
    g_assert_cmpuint(frames(&f, 50000, 1000), ==, 0);
    /* The commands of a driver that has no doorbell to ring. */
    g_assert_false(vtoe_frames_would_ring(&f, &f.d->ctl, 1));
    vtoe_host_quit(&f.h);
}

static void test_adaptive_follows_the_rate(void)
{
    VtoeFrames f;

    boot(&f, "adaptive");
    g_assert_cmpuint(frames(&f, 100, 20), ==, 20);
    g_assert_cmpuint(frames(&f, 5000, 200), ==, 200);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_to_vmm"), ==, 0);
    /* Two periods of 500 at most are over before it has changed. */
    g_assert_cmpuint(frames(&f, 50000, 2000), <=, 1000);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_to_vmm"), ==, 1);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 1);
    g_assert_cmpuint(frames(&f, 5000, 200), ==, 0);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 1);
    g_assert_cmpuint(frames(&f, 100, 20), >=, 16);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_to_guest"), ==, 1);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 0);
    vtoe_host_quit(&f.h);
}

static void test_limits_are_options(void)
{
    VtoeFrames f;

    vtoe_frames_boot(&f, "vnet", ",dispatch=adaptive,dispatch-upper=400,"
                     "dispatch-lower=200,dispatch-period-us=50000", 2, 256);
    g_assert_cmpuint(frames(&f, 300, 60), ==, 60);
    g_assert_cmpuint(frames(&f, 1000, 200), <=, 100);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 1);
    g_assert_cmpuint(frames(&f, 300, 60), ==, 0);
    g_assert_cmpuint(frames(&f, 100, 40), >=, 20);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 0);
    vtoe_host_quit(&f.h);
}

/* --- Nothing is lost ------------------------------------------------------ */

/* Frames of one step of the clock, 100 us: busy is 100000 a second. */
static void some_frames(VtoeFrames *f, GRand *rand, bool busy)
{
    unsigned n = busy ? g_rand_int_range(rand, 0, 21) :
                 g_rand_int_range(rand, 0, 40) == 0;

    while (n--) {
        while (!vtoe_frames_post(f)) {
            vtoe_frames_take(f);
        }
    }
    step(f, 100 * US);
    vtoe_frames_take(f);
}

static void test_nothing_is_lost_when_it_changes(void)
{
    GRand *rand = g_rand_new_with_seed(5);
    VtoeFrames f;
    unsigned steps;

    boot(&f, "adaptive");
    while (f.sent < 100000) {
        for (steps = g_rand_int_range(rand, 100, 600); steps; steps--) {
            some_frames(&f, rand, true);
        }
        for (steps = g_rand_int_range(rand, 100, 400); steps; steps--) {
            some_frames(&f, rand, false);
        }
    }
    /* Not even as long as a look would take, if it is guest-driven. */
    finish_frames(&f, vtoe_frames_counter(&f, "dispatch_vmm") ? 10 * MS : 0);
    g_test_message("%" PRIu64 " doorbells, %" PRIu64 " found, %" PRIu64
                   " and %" PRIu64 " changes",
                   vtoe_frames_counter(&f, "doorbells"),
                   vtoe_frames_counter(&f, "polled_kicks"),
                   vtoe_frames_counter(&f, "dispatch_to_vmm"),
                   vtoe_frames_counter(&f, "dispatch_to_guest"));
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_to_vmm"), >, 10);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_to_guest"), >, 10);
    g_assert_cmpuint(vtoe_frames_counter(&f, "violations"), ==, 0);
    g_rand_free(rand);
    vtoe_host_quit(&f.h);
}

/*
 * The device's clock stands still: no look comes by its timer, and a thread that
 * sleeps wakes only when the period is over.
 */
static void test_thread_that_may_poll_goes_on_looking(void)
{
    unsigned slept = 0, i;
    VtoeFrames f;

    vtoe_frames_boot(&f, "vnet,poll-max-ns=20000000",
                     ",dispatch=vmm,vmm-period-us=100000", 2, 256);
    /* It learns from a long silence that it does not pay to poll. */
    g_usleep(100000);
    vtoe_frames_counter(&f, "doorbells");
    vtoe_frames_post(&f);
    step(&f, SEC);
    finish_frames(&f, 0);
    for (i = 0; i < 200; i++) {
        gint64 began = g_get_monotonic_time();

        vtoe_frames_send(&f, 1);
        slept += g_get_monotonic_time() - began > 50000;
        vtoe_spin_us(200);
    }
    /*
     * Who has to wait for a processor for longer than poll-max-ns finds it asleep,
     * which is not what happens mostly.
     */
    g_test_message("it slept before %u of %u frames", slept, i);
    g_assert_cmpuint(slept, <=, i / 2);
    g_assert_cmpuint(vtoe_frames_counter(&f, "doorbells"), ==, 0);
    vtoe_host_quit(&f.h);
}

/* --- Life ----------------------------------------------------------------- */

static void test_reset_while_vmm_driven(void)
{
    VtoeFrames f;
    unsigned i;

    boot(&f, "adaptive");
    for (i = 0; i < 5; i++) {
        frames(&f, 50000, 1500);
        g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 1);
        vtoe_frames_post(&f);
        vtoe_start(f.d, 2, 256);
        f.sent = f.done = 0;
        g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 0);
        g_assert_true(vtoe_frames_would_ring(&f, f.q, 1));
    }
    g_assert_cmpuint(frames(&f, 100, 20), ==, 20);
    vtoe_host_quit(&f.h);
}

static void test_unplug_while_vmm_driven(void)
{
    VtoeFrames f;

    boot(&f, "vmm");
    frames(&f, 50000, 100);
    vtoe_frames_post(&f);
    qpci_unplug_acpi_device_test(f.h.qts, "nic0", VTOE_SLOT);
    step(&f, 10 * MS);
    vtoe_host_quit(&f.h);
}

/* The main loop looks from then on. */
static void test_netdev_is_removed_while_vmm_driven(void)
{
    VtoeFrames f;

    boot(&f, "vmm");
    frames(&f, 50000, 100);
    vtoe_frames_post(&f);
    qtest_qmp_assert_success(f.h.qts, "{ 'execute': 'netdev_del', 'arguments':"
                             " { 'id': 'n0' } }");
    g_assert_cmpuint(frames(&f, 50000, 500), ==, 0);
    g_assert_cmpuint(f.done, ==, 601);
    vtoe_host_quit(&f.h);
}

static void test_other_netdevs_have_it_too(void)
{
    VtoeFrames f;

    vtoe_frames_boot(&f, "hubport,hubid=0", ",dispatch=adaptive "
                     "-netdev hubport,hubid=0,id=n1", 1, 256);
    g_assert_cmpuint(frames(&f, 100, 20), ==, 20);
    g_assert_cmpuint(frames(&f, 50000, 2000), <=, 1000);
    g_assert_cmpuint(vtoe_frames_counter(&f, "dispatch_vmm"), ==, 1);
    g_assert_cmpuint(frames(&f, 100, 20), >=, 16);
    vtoe_host_quit(&f.h);
}

/* Looked at while it is wrong: as with a doorbell. */
static void test_jump_while_vmm_driven_is_contained(void)
{
    gint64 deadline = 0;
    VtoeFrames f;

    boot(&f, "vmm");
    frames(&f, 50000, 100);
    *VTOE_FRAMES_CTRL(&f, f.q, send_prod) = f.q->send_prod + 257;
    while (!(vtoe_rd(f.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET)) {
        step(&f, 100 * US);
        vtoe_wait_step(&deadline, "the violation");
    }
    vtoe_assert_monitor(f.h.qts);
    vtoe_start(f.d, 2, 256);
    f.sent = f.done = 0;
    g_assert_cmpuint(frames(&f, 50000, 100), ==, 0);
    vtoe_host_quit(&f.h);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/dispatch/guest-driven-takes-a-doorbell-each",
                   test_guest_driven_takes_a_doorbell_each);
    qtest_add_func("/vtoe/dispatch/vmm-driven-takes-none",
                   test_vmm_driven_takes_none);
    qtest_add_func("/vtoe/dispatch/adaptive-follows-the-rate",
                   test_adaptive_follows_the_rate);
    qtest_add_func("/vtoe/dispatch/limits-are-options",
                   test_limits_are_options);
    qtest_add_func("/vtoe/dispatch/nothing-is-lost",
                   test_nothing_is_lost_when_it_changes);
    qtest_add_func("/vtoe/dispatch/thread-that-may-poll-goes-on-looking",
                   test_thread_that_may_poll_goes_on_looking);
    qtest_add_func("/vtoe/dispatch/reset", test_reset_while_vmm_driven);
    qtest_add_func("/vtoe/dispatch/unplug", test_unplug_while_vmm_driven);
    qtest_add_func("/vtoe/dispatch/netdev-is-removed",
                   test_netdev_is_removed_while_vmm_driven);
    qtest_add_func("/vtoe/dispatch/other-netdevs-have-it-too",
                   test_other_netdevs_have_it_too);
    qtest_add_func("/vtoe/dispatch/jump-is-contained",
                   test_jump_while_vmm_driven_is_contained);
    return g_test_run();
}
