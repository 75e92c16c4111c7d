/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest-driven, VMM-driven and adaptive dispatch: when it changes, by a clock of the
 * test's, and what a device then asks its guest for.
 */
#include "vtoe-fake.h"

#define US  1000ll
#define MS  (1000 * US)
#define SEC (1000 * MS)

/* --- The decision alone ------------------------------------------------------ */

/* VNET/P's figures. */
static VtoeDispatchConfig config(VtoeDispatchMode mode)
{
    return (VtoeDispatchConfig) {
        .mode = mode, .upper = 10000, .lower = 1000, .period_ns = 10 * MS,
        .look_ns = 100 * US,
    };
}

static VtoeDispatch begun(VtoeDispatchMode mode, int64_t now)
{
    VtoeDispatchConfig cfg = config(mode);
    VtoeDispatch x;

    vtoe_dispatch_init(&x, &cfg, now);
    return x;
}

/* So many operations a second, one at a time, for some time from *now on; how often
 * it changed. */
static unsigned run(VtoeDispatch *x, int64_t *now, uint64_t rate, int64_t length)
{
    int64_t start = *now;
    unsigned changes = 0;

    for (uint64_t i = 1; i * SEC / rate <= length; i++) {
        *now = start + i * SEC / rate;
        changes += vtoe_dispatch_count(x, 1, *now);
    }
    return changes;
}

static void test_rates_choose(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 0);
    int64_t now = 0;

    g_assert_false(x.vmm);
    g_assert_cmpuint(run(&x, &now, 100, SEC), ==, 0);
    g_assert_cmpuint(run(&x, &now, 5000, SEC), ==, 0);
    g_assert_false(x.vmm);
    g_assert_cmpuint(run(&x, &now, 50000, SEC), ==, 1);
    g_assert_true(x.vmm);
    g_assert_cmpuint(run(&x, &now, 5000, SEC), ==, 0);
    g_assert_true(x.vmm);
    g_assert_cmpuint(run(&x, &now, 100, SEC), ==, 1);
    g_assert_false(x.vmm);
}

/* A period of exactly 10 ms with so many operations. */
static bool period(VtoeDispatch *x, int64_t *now, uint64_t ops)
{
    *now += 10 * MS;
    return vtoe_dispatch_count(x, ops, *now);
}

static void test_limits_are_exact(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 0);
    int64_t now = 0;

    g_assert_false(period(&x, &now, 100));      /* 10000/s is not above it */
    g_assert_true(period(&x, &now, 101));
    g_assert_cmpuint(x.rate, ==, 10100);
    g_assert_false(period(&x, &now, 100));
    g_assert_false(period(&x, &now, 10));       /* 1000/s is not below it */
    g_assert_true(x.vmm);
    g_assert_true(period(&x, &now, 9));
    g_assert_false(period(&x, &now, 10));
    g_assert_false(period(&x, &now, 100));
    g_assert_false(x.vmm);
}

/*
 * VNET/P's code expects pps * 1e6 / elapsed operations of a period of `elapsed` us,
 * not pps * elapsed / 1e6: its 10000 a second are 10 million, and its adaptive
 * dispatch never leaves guest-driven.
 */
static void test_rates_are_per_second_whatever_the_period(void)
{
    static const int64_t periods[] = { MS, 5 * MS, 10 * MS, 100 * MS, SEC };

    for (unsigned i = 0; i < G_N_ELEMENTS(periods); i++) {
        VtoeDispatchConfig cfg = config(VTOE_DISPATCH_ADAPTIVE);
        VtoeDispatch x;
        int64_t now = 0;

        cfg.period_ns = periods[i];
        vtoe_dispatch_init(&x, &cfg, now);
        g_assert_cmpuint(run(&x, &now, 9000, 3 * SEC), ==, 0);
        g_assert_cmpuint(run(&x, &now, 12000, 3 * SEC), ==, 1);
        g_assert_cmpuint(vtoe_dispatch_rate(&x, now), >=, 11000);
        g_assert_cmpuint(vtoe_dispatch_rate(&x, now), <=, 13000);
        g_assert_true(x.vmm);
        g_assert_cmpuint(run(&x, &now, 2000, 3 * SEC), ==, 0);
        g_assert_cmpuint(run(&x, &now, 400, 3 * SEC), ==, 1);
        g_assert_false(x.vmm);
    }
}

static void test_rate_near_a_limit_does_not_go_to_and_fro(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 0);
    GRand *rand = g_rand_new_with_seed(3);
    unsigned changes = 0;
    int64_t now = 0;

    for (unsigned i = 0; i < 10000; i++) {
        changes += period(&x, &now, g_rand_int_range(rand, 80, 120));
    }
    g_assert_cmpuint(changes, ==, 1);
    g_assert_true(x.vmm);
    for (unsigned i = 0; i < 10000; i++) {
        changes += period(&x, &now, g_rand_int_range(rand, 5, 15));
    }
    g_assert_cmpuint(changes, ==, 2);
    g_assert_false(x.vmm);
    g_rand_free(rand);
}

/* What was counted is a rate over the time that passed, not over the period. */
static void test_long_silence_is_not_a_burst(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 0);
    int64_t now = 0;

    vtoe_dispatch_count(&x, 90, MS);
    now = 60 * SEC;
    g_assert_false(vtoe_dispatch_count(&x, 200, now));
    g_assert_cmpuint(x.rate, ==, 4);
    /* And a burst after it is seen within a period. */
    g_assert_cmpuint(run(&x, &now, 50000, 10 * MS), ==, 1);
    g_assert_true(x.vmm);
    now += 3600 * SEC;
    g_assert_true(vtoe_dispatch_count(&x, 1000000, now));
    g_assert_false(x.vmm);
}

static void test_nothing_is_decided_within_a_period(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 0);

    g_assert_false(vtoe_dispatch_count(&x, 1000000, 10 * MS - 1));
    g_assert_false(x.vmm);
    g_assert_true(vtoe_dispatch_count(&x, 0, 10 * MS));
}

static void test_clock_that_is_set_back_begins_anew(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 100 * SEC);
    int64_t now = 5 * SEC;

    vtoe_dispatch_count(&x, 1000000, 100 * SEC + MS);
    g_assert_false(vtoe_dispatch_count(&x, 1, now));
    g_assert_cmpuint(x.ops, ==, 1);
    g_assert_cmpuint(vtoe_dispatch_rate(&x, SEC), ==, 0);
    g_assert_false(period(&x, &now, 99));
    g_assert_true(period(&x, &now, 101));
}

static void test_numbers_do_not_overflow(void)
{
    VtoeDispatch x = begun(VTOE_DISPATCH_ADAPTIVE, 0);
    int64_t now = 0;

    g_assert_true(period(&x, &now, 1ull << 55));
    g_assert_cmpuint(x.rate, >, 1000000000000ull);
    now = INT64_MAX;
    g_assert_true(vtoe_dispatch_count(&x, 1000, now));
    g_assert_cmpuint(x.rate, ==, 0);
}

static void test_fixed_modes_never_change(void)
{
    VtoeDispatch guest = begun(VTOE_DISPATCH_GUEST, 0);
    VtoeDispatch vmm = begun(VTOE_DISPATCH_VMM, 0);
    int64_t now = 0;

    g_assert_cmpuint(run(&guest, &now, 50000, SEC), ==, 0);
    g_assert_false(guest.vmm);
    g_assert_cmpuint(vtoe_dispatch_rate(&guest, now), ==, 50000);
    now = 0;
    g_assert_cmpuint(run(&vmm, &now, 10, SEC), ==, 0);
    g_assert_true(vmm.vmm);
    /* Nobody counts while nothing happens. */
    g_assert_cmpuint(vtoe_dispatch_rate(&vmm, now + SEC), ==, 0);
}

/* --- The device -------------------------------------------------------------- */

static void up(Fake *f, VtoeDispatchMode mode)
{
    fake_init(f);
    f->cfg.dispatch = config(mode);
    fake_start(f);
    fake_bring_up(f, FAKE_ALL_FEATURES);
}

static VtoeStats stats(Fake *f)
{
    VtoeStats st;

    vtoe_dev_get_stats(f->dev, &st);
    return st;
}

/* The clock runs, with the device's timer. */
static void wait_until(Fake *f, int64_t when)
{
    while (f->timer <= when) {
        f->now = MAX(f->now, f->timer);
        vtoe_dev_tick(f->dev);
        fake_run(f);
    }
    f->now = when;
}

/* A driver's post of a frame; true: it had to ring. */
static bool post(Fake *f)
{
    uint32_t old = f->q[0].send_prod;

    fake_post_data(f, 0, 0, FAKE_DATA, 100);
    if (!vtoe_need_kick(fake_ctrl_get(f, 0, FAKE_CTRL(send_event)), old + 1,
                        old)) {
        return false;
    }
    fake_kick(f, 0);
    return true;
}

static void take_all(Fake *f)
{
    struct vtoe_comp c;

    while (fake_comp(f, 0, &c)) {
    }
}

/* Frames at so many a second for a second; how many took a doorbell. */
static unsigned frames(Fake *f, unsigned rate)
{
    unsigned rung = 0, before = f->frames;

    for (unsigned i = 0; i < rate; i++) {
        wait_until(f, f->now + SEC / rate);
        rung += post(f);
        take_all(f);
    }
    wait_until(f, f->now + 100 * US);
    g_assert_cmpuint(f->frames - before, ==, rate);
    return rung;
}

static void test_guest_driven_takes_a_doorbell_each(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_GUEST);
    g_assert_cmpuint(frames(&f, 100), ==, 100);
    g_assert_cmpuint(frames(&f, 50000), ==, 50000);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 0);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    fake_finish(&f);
}

static void test_vmm_driven_takes_none(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_VMM);
    g_assert_cmpuint(frames(&f, 100), ==, 0);
    g_assert_cmpuint(frames(&f, 50000), ==, 0);
    g_assert_cmpuint(stats(&f).doorbells, ==, 0);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 1);
    /* Five frames to a look, 100 us after the one before. */
    g_assert_cmpuint(stats(&f).polled_kicks, <=, 100 + 10010);
    fake_finish(&f);
}

static void test_adaptive_takes_few(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_ADAPTIVE);
    g_assert_cmpuint(frames(&f, 100), ==, 100);
    g_assert_cmpuint(frames(&f, 5000), ==, 5000);
    g_assert_cmpuint(stats(&f).dispatch_to_vmm, ==, 0);
    /* Those of the first period, or two. */
    g_assert_cmpuint(frames(&f, 50000), <=, 1000);
    g_assert_cmpuint(stats(&f).dispatch_rate, >=, 49000);
    g_assert_cmpuint(stats(&f).dispatch_rate, <=, 51000);
    g_assert_cmpuint(frames(&f, 5000), ==, 0);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 1);
    g_assert_cmpuint(frames(&f, 100), >=, 95);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 0);
    g_assert_cmpuint(stats(&f).dispatch_to_vmm, ==, 1);
    g_assert_cmpuint(stats(&f).dispatch_to_guest, ==, 1);
    fake_finish(&f);
}

/* Without any operation to count, too. */
static void test_silence_ends_vmm_driven(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_ADAPTIVE);
    frames(&f, 50000);
    wait_until(&f, f.now + 25 * MS);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 0);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    g_assert_true(post(&f));
    fake_finish(&f);
}

static void post_one_frame(Fake *f)
{
    fake_post_data(f, 0, 0, FAKE_DATA, 100);
}

/* The guest saw no event, as it is written a moment later. */
static void test_frame_posted_while_vmm_driven_ends(void)
{
    unsigned before;
    Fake f;

    up(&f, VTOE_DISPATCH_ADAPTIVE);
    frames(&f, 50000);
    before = f.frames;
    f.on_barrier = post_one_frame;
    wait_until(&f, f.now + 25 * MS);
    g_assert_null(f.on_barrier);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 0);
    g_assert_cmpuint(f.frames, ==, before + 1);
    fake_finish(&f);
}

/* Commands, streams and their descriptors are operations, too. */
static void test_all_operations_count(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_GUEST);
    fake_open(&f, 5, 1, 1 << 20);
    fake_listen(&f, 1, 80, 1);
    for (unsigned i = 0; i < 5; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA, 100);
    }
    fake_kick(&f, 1);
    for (unsigned i = 0; i < 3; i++) {
        post_one_frame(&f);
    }
    fake_kick(&f, 0);
    f.now += 10 * MS;
    g_assert_cmpuint(stats(&f).dispatch_rate, ==, (2 + 5 + 3) * 100);
    fake_finish(&f);
}

/* One reason ends while the other holds. */
static void test_polling_and_vmm_driven_together(void)
{
    uint32_t old;
    Fake f;

    up(&f, VTOE_DISPATCH_ADAPTIVE);
    frames(&f, 50000);
    vtoe_dev_poll(f.dev, 0, true);
    vtoe_dev_poll(f.dev, 0, false);
    g_assert_false(post(&f));
    vtoe_dev_poll(f.dev, 0, true);
    wait_until(&f, f.now + 25 * MS);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 0);
    g_assert_false(post(&f));
    g_assert_true(vtoe_dev_look(f.dev, 0));
    vtoe_dev_run(f.dev, 0);
    vtoe_dev_poll(f.dev, 0, false);
    old = f.q[0].send_prod;
    g_assert_true(vtoe_need_kick(fake_ctrl_get(&f, 0, FAKE_CTRL(send_event)),
                                 old + 1, old));
    fake_finish(&f);
}

static void test_reset_begins_guest_driven(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_ADAPTIVE);
    frames(&f, 50000);
    vtoe_dev_reset(f.dev);
    g_assert_cmpuint(stats(&f).dispatch_vmm, ==, 0);
    g_assert_cmpuint(stats(&f).dispatch_rate, ==, 0);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    fake_finish(&f);
}

static void test_stopped_vm_is_not_looked_at(void)
{
    Fake f;

    up(&f, VTOE_DISPATCH_VMM);
    frames(&f, 1000);
    vtoe_dev_set_running(f.dev, false);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    f.forbid_dma = true;
    vtoe_dev_tick(f.dev);
    vtoe_dev_look_all(f.dev);
    f.forbid_dma = false;
    vtoe_dev_set_running(f.dev, true);
    fake_run(&f);
    g_assert_cmpuint(frames(&f, 1000), ==, 0);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/dispatch/" #name, test_ ## name)
    T(rates_choose);
    T(limits_are_exact);
    T(rates_are_per_second_whatever_the_period);
    T(rate_near_a_limit_does_not_go_to_and_fro);
    T(long_silence_is_not_a_burst);
    T(nothing_is_decided_within_a_period);
    T(clock_that_is_set_back_begins_anew);
    T(numbers_do_not_overflow);
    T(fixed_modes_never_change);
    T(guest_driven_takes_a_doorbell_each);
    T(vmm_driven_takes_none);
    T(adaptive_takes_few);
    T(silence_ends_vmm_driven);
    T(frame_posted_while_vmm_driven_ends);
    T(all_operations_count);
    T(polling_and_vmm_driven_together);
    T(reset_begins_guest_driven);
    T(stopped_vm_is_not_looked_at);
    return g_test_run();
}
