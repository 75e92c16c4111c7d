/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host that looks at the rings instead of waiting for doorbells: the guest is
 * asked for none, and nothing it does is missed when the host stops looking
 * (docs/specs/vtoe.rst section 3.6).
 */
#include "vtoe-fake.h"

static void poll_all(Fake *f, bool on)
{
    for (unsigned i = 0; i < FAKE_PAIRS; i++) {
        vtoe_dev_poll(f->dev, i, on);
    }
    vtoe_dev_poll(f->dev, VTOE_QUEUE_CONTROL, on);
}

/* Looks at all queues and runs those that have something; how many. */
static unsigned look_all(Fake *f)
{
    unsigned found = 0;

    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        uint32_t queue = i < FAKE_PAIRS ? i : VTOE_QUEUE_CONTROL;

        if (vtoe_dev_look(f->dev, queue)) {
            vtoe_dev_run(f->dev, queue);
            found++;
        }
    }
    fake_run(f);
    return found;
}

static VtoeStats stats(Fake *f)
{
    VtoeStats st;

    vtoe_dev_get_stats(f->dev, &st);
    return st;
}

/* Would a driver ring, moving an index from old to new? */
static bool would_ring(Fake *f, uint32_t queue, size_t event, uint32_t now,
                       uint32_t old)
{
    return vtoe_need_kick(fake_ctrl_get(f, queue, event), now, old);
}

static void test_no_doorbell_is_asked_for_while_polled(void)
{
    uint32_t old;
    Fake f;

    fake_up(&f);
    poll_all(&f, true);
    for (unsigned i = 0; i < 1000; i++) {
        old = f.q[0].send_prod;
        fake_post_data(&f, 0, 0, FAKE_DATA, 100);
        g_assert_false(would_ring(&f, 0, FAKE_CTRL(send_event), old + 1, old));
        g_assert_cmpuint(look_all(&f), ==, 1);
        g_assert_cmpuint(f.frames, ==, i + 1);
        fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0);
    }
    g_assert_cmpuint(look_all(&f), ==, 0);
    g_assert_cmpuint(stats(&f).polled_kicks, ==, 1000);
    g_assert_cmpuint(stats(&f).doorbells, ==, 0);
    fake_finish(&f);
}

static void test_doorbells_are_asked_for_again(void)
{
    uint32_t old;
    Fake f;

    fake_up(&f);
    poll_all(&f, true);
    fake_post_data(&f, 0, 0, FAKE_DATA, 100);
    look_all(&f);
    poll_all(&f, false);
    g_assert_cmpuint(look_all(&f), ==, 0);
    old = f.q[0].send_prod;
    g_assert_true(would_ring(&f, 0, FAKE_CTRL(send_event), old + 1, old));
    old = f.q[FAKE_PAIRS].send_prod;
    g_assert_true(would_ring(&f, VTOE_QUEUE_CONTROL, FAKE_CTRL(send_event),
                             old + 1, old));
    fake_finish(&f);
}

static void post_one_frame(Fake *f)
{
    fake_post_data(f, 0, 0, FAKE_DATA, 100);
}

/* Behind the device's store and before its look: the guest saw no event. */
static void test_frame_posted_while_polling_ends(void)
{
    Fake f;

    fake_up(&f);
    vtoe_dev_poll(f.dev, 0, true);
    f.on_barrier = post_one_frame;
    vtoe_dev_poll(f.dev, 0, false);
    g_assert_null(f.on_barrier);
    g_assert_true(vtoe_dev_look(f.dev, 0));
    vtoe_dev_run(f.dev, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    fake_finish(&f);
}

static void post_one_buffer(Fake *f)
{
    fake_post_buf(f, 1, VTOE_SID_ANY, FAKE_DATA, 100, 1);
}

static void test_buffer_posted_while_polling_ends(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    vtoe_dev_poll(f.dev, 1, true);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 0);
    fake_batch_end(&f);
    s->rx_ready = 0;
    f.on_barrier = post_one_buffer;
    vtoe_dev_poll(f.dev, 1, false);
    g_assert_null(f.on_barrier);
    g_assert_cmpuint(look_all(&f), ==, 1);
    g_assert_cmpuint(s->rx_ready, ==, 1);
    fake_finish(&f);
}

static void consume_one(Fake *f)
{
    fake_expect_comp(f, 1, VTOE_COMP_ERROR, 99);
}

static void test_room_made_while_polling_ends(void)
{
    Fake f;

    fake_init(&f);
    f.q[1].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    poll_all(&f, true);
    for (unsigned i = 0; i < 3; i++) {
        fake_post_data(&f, 1, 99, FAKE_DATA, 1);
    }
    g_assert_cmpuint(look_all(&f), ==, 1);
    consume_one(&f);
    g_assert_cmpuint(look_all(&f), ==, 0);      /* half of the ring is asked */
    f.on_barrier = consume_one;
    vtoe_dev_poll(f.dev, 1, false);
    g_assert_null(f.on_barrier);
    g_assert_cmpuint(look_all(&f), ==, 1);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 99);
    fake_finish(&f);
}

/* As a doorbell would not be rung for it. */
static void test_buffer_that_nobody_waits_for_is_nothing_to_find(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    /* One that was waited for, and came, before. */
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 0);
    fake_batch_end(&f);
    post_one_buffer(&f);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 100);
    poll_all(&f, true);
    g_assert_cmpuint(look_all(&f), ==, 0);
    post_one_buffer(&f);
    g_assert_cmpuint(look_all(&f), ==, 0);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 100);
    /* One that was waited for is found once. */
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 0);
    fake_batch_end(&f);
    post_one_buffer(&f);
    post_one_buffer(&f);
    g_assert_cmpuint(look_all(&f), ==, 1);
    post_one_buffer(&f);
    g_assert_cmpuint(look_all(&f), ==, 0);
    fake_finish(&f);
}

static void test_beginning_of_a_frame_is_found_once(void)
{
    struct vtoe_send_desc part = {
        .addr = GUINT64_TO_LE(FAKE_DATA), .len = GUINT32_TO_LE(50),
        .flags = VTOE_SEND_F_MORE,
    };
    Fake f;

    fake_up(&f);
    poll_all(&f, true);
    fake_post_send(&f, 0, &part);
    g_assert_cmpuint(look_all(&f), ==, 1);
    g_assert_cmpuint(look_all(&f), ==, 0);
    fake_post_data(&f, 0, 0, FAKE_DATA, 50);
    g_assert_cmpuint(look_all(&f), ==, 1);
    g_assert_cmpuint(f.frames, ==, 1);
    fake_finish(&f);
}

/* A look is one load for a queue that waits for descriptors alone. */
static void test_a_look_is_cheap(void)
{
    unsigned before;
    Fake f;

    fake_up(&f);
    poll_all(&f, true);
    before = f.dma_ops;
    for (unsigned i = 0; i < 100; i++) {
        g_assert_false(vtoe_dev_look(f.dev, 1));
    }
    g_assert_cmpuint(f.dma_ops - before, ==, 100);
    /* Beginning is one store, and so is the end. */
    before = f.dma_ops;
    vtoe_dev_poll(f.dev, 1, false);
    vtoe_dev_poll(f.dev, 1, true);
    g_assert_cmpuint(f.dma_ops - before, ==, 2);
    fake_finish(&f);
}

/* The looks' result stays until somebody runs. */
static void test_what_was_found_is_not_forgotten(void)
{
    Fake f;

    fake_up(&f);
    poll_all(&f, true);
    post_one_frame(&f);
    g_assert_true(vtoe_dev_look(f.dev, 0));
    g_assert_true(vtoe_dev_look(f.dev, 0));
    poll_all(&f, false);
    g_assert_true(vtoe_dev_look(f.dev, 0));
    g_assert_cmpuint(look_all(&f), ==, 1);
    g_assert_cmpuint(f.frames, ==, 1);
    fake_finish(&f);
}

static void test_reset_while_polled(void)
{
    uint32_t old;
    Fake f;

    fake_up(&f);
    poll_all(&f, true);
    post_one_frame(&f);
    g_assert_true(vtoe_dev_look(f.dev, 0));
    vtoe_dev_reset(f.dev);
    f.forbid_dma = true;
    g_assert_cmpuint(look_all(&f), ==, 0);
    f.forbid_dma = false;
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        memset(f.ram + f.q[i].addr[3], 0, 128);
        f.q[i].send_prod = f.q[i].recv_prod = f.q[i].comp_cons = 0;
    }
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    /* Still polled: from its first descriptor on. */
    g_assert_false(would_ring(&f, 0, FAKE_CTRL(send_event), 1, 0));
    post_one_frame(&f);
    g_assert_cmpuint(look_all(&f), ==, 1);
    poll_all(&f, false);
    old = f.q[0].send_prod;
    g_assert_true(would_ring(&f, 0, FAKE_CTRL(send_event), old + 1, old));
    g_assert_cmpuint(f.frames, ==, 1);
    fake_finish(&f);
}

/* Whether polling begins or ends while the VM is stopped. */
static void stopped(bool before, bool after)
{
    uint32_t old;
    Fake f;

    fake_up(&f);
    poll_all(&f, before);
    vtoe_dev_set_running(f.dev, false);
    f.forbid_dma = true;
    poll_all(&f, after);
    g_assert_cmpuint(look_all(&f), ==, 0);
    f.forbid_dma = false;
    vtoe_dev_set_running(f.dev, true);
    fake_run(&f);
    post_one_frame(&f);
    old = f.q[0].send_prod;
    if (after) {
        g_assert_cmpuint(look_all(&f), ==, 1);
    } else {
        g_assert_true(would_ring(&f, 0, FAKE_CTRL(send_event), old, old - 1));
        fake_kick(&f, 0);
    }
    g_assert_cmpuint(f.frames, ==, 1);
    fake_finish(&f);
}

static void test_polling_of_a_stopped_vm_touches_nothing(void)
{
    stopped(false, true);
    stopped(true, false);
    stopped(true, true);
    stopped(false, false);
}

/* As with a doorbell: a violation, and the streams end. */
static void index_jumps(uint32_t pair, size_t index, uint32_t to)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    poll_all(&f, true);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 0);
    fake_batch_end(&f);
    fake_ctrl_set(&f, pair, index, to);
    g_assert_cmpuint(look_all(&f), ==, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_INDEX);
    g_assert_true(s->gone && s->aborted);
    f.forbid_dma = true;
    g_assert_cmpuint(look_all(&f), ==, 0);
    poll_all(&f, false);
    g_assert_cmpuint(look_all(&f), ==, 0);
    f.forbid_dma = false;
    fake_finish(&f);
}

static void test_indices_that_jump_are_violations(void)
{
    static const uint32_t to[] = { FAKE_RING + 1, 1u << 31, -1u };

    for (unsigned i = 0; i < G_N_ELEMENTS(to); i++) {
        index_jumps(0, FAKE_CTRL(send_prod), to[i]);
        index_jumps(1, FAKE_CTRL(send_prod), to[i]);
        index_jumps(1, FAKE_CTRL(recv_prod), to[i]);
        index_jumps(VTOE_QUEUE_CONTROL, FAKE_CTRL(send_prod), 1 + to[i]);
    }
}

/* --- at random --------------------------------------------------------------- */

typedef struct Play {
    Fake f;
    GRand *rand;
    bool polled[2];
    bool rung[2];               /* the guest's doorbell, not answered yet */
    unsigned frames;            /* posted */
    unsigned busy;              /* descriptors of pair 1, posted */
    unsigned errors;            /* ... and completed */
} Play;

static Play *playing;

/* A frame for pair 0, one for a stream that is not there for pair 1. */
static void guest_posts(Play *p, unsigned pair)
{
    FakeQueue *q = &p->f.q[pair];
    uint32_t old = q->send_prod;

    if (old - fake_ctrl_get(&p->f, pair, FAKE_CTRL(send_cons)) ==
        q->size[0]) {
        return;
    }
    fake_post_data(&p->f, pair, pair ? 99 : 0, FAKE_DATA, 100);
    p->frames += !pair;
    p->busy += pair;
    p->rung[pair] |= would_ring(&p->f, pair, FAKE_CTRL(send_event), old + 1,
                                old);
}

static bool guest_takes(Play *p, unsigned pair)
{
    uint32_t old = p->f.q[pair].comp_cons;
    struct vtoe_comp c;

    if (!fake_comp(&p->f, pair, &c)) {
        return false;
    }
    p->errors += c.type == VTOE_COMP_ERROR;
    p->rung[pair] |= would_ring(&p->f, pair, FAKE_CTRL(comp_room_event),
                                old + 1, old);
    return true;
}

static void guest_meanwhile(Fake *f)
{
    unsigned pair = g_rand_int_range(playing->rand, 0, 2);

    if (g_rand_boolean(playing->rand)) {
        guest_posts(playing, pair);
    } else {
        guest_takes(playing, pair);
    }
}

static void host_polls(Play *p, unsigned pair, bool on)
{
    if (p->polled[pair] == on) {
        return;
    }
    p->polled[pair] = on;
    vtoe_dev_poll(p->f.dev, pair, on);
    if (!on && vtoe_dev_look(p->f.dev, pair)) {
        vtoe_dev_run(p->f.dev, pair);
        fake_run(&p->f);
    }
}

/* One turn of the host's loop; false: it would sleep now. */
static bool host_turn(Play *p, unsigned pair)
{
    bool rung = p->rung[pair];

    p->rung[pair] = false;
    if (rung) {
        fake_kick(&p->f, pair);
        return true;
    }
    if (p->polled[pair] && vtoe_dev_look(p->f.dev, pair)) {
        vtoe_dev_run(p->f.dev, pair);
        fake_run(&p->f);
        return true;
    }
    return false;
}

/* Both do what they can, each as it was told by the other alone. */
static void settle(Play *p)
{
    bool moved = true;

    p->f.on_barrier = NULL;
    while (moved) {
        moved = false;
        for (unsigned pair = 0; pair < 2; pair++) {
            moved |= host_turn(p, pair);
            moved |= guest_takes(p, pair);
        }
    }
    g_assert_cmpuint(p->f.frames, ==, p->frames);
    g_assert_cmpuint(p->errors, ==, p->busy);
}

static void test_nothing_is_lost_at_random(void)
{
    Play p = { .rand = g_rand_new_with_seed(7) };

    playing = &p;
    fake_init(&p.f);
    p.f.q[0].size[2] = p.f.q[1].size[2] = 4;
    fake_start(&p.f);
    fake_bring_up(&p.f, FAKE_ALL_FEATURES);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned pair = g_rand_int_range(p.rand, 0, 2);

        if (g_rand_int_range(p.rand, 0, 3) == 0) {
            p.f.on_barrier = guest_meanwhile;
        }
        switch (g_rand_int_range(p.rand, 0, 8)) {
        case 0 ... 2:
            guest_posts(&p, pair);
            break;
        case 3:
            guest_takes(&p, pair);
            break;
        case 4 ... 5:
            host_turn(&p, pair);
            break;
        case 6:
            host_polls(&p, pair, !p.polled[pair]);
            break;
        default:
            settle(&p);
            break;
        }
    }
    settle(&p);
    g_assert_cmpuint(p.frames, >, 30000);
    g_assert_cmpuint(stats(&p.f).polled_kicks, >, 10000);
    g_assert_cmpuint(stats(&p.f).doorbells, >, 10000);
    g_rand_free(p.rand);
    fake_finish(&p.f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/poll/" #name, test_ ## name)
    T(no_doorbell_is_asked_for_while_polled);
    T(doorbells_are_asked_for_again);
    T(frame_posted_while_polling_ends);
    T(buffer_posted_while_polling_ends);
    T(room_made_while_polling_ends);
    T(buffer_that_nobody_waits_for_is_nothing_to_find);
    T(beginning_of_a_frame_is_found_once);
    T(a_look_is_cheap);
    T(what_was_found_is_not_forgotten);
    T(reset_while_polled);
    T(polling_of_a_stopped_vm_touches_nothing);
    T(indices_that_jump_are_violations);
    T(nothing_is_lost_at_random);
    return g_test_run();
}
