/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe device's rings: indices, kicks, interrupts and batches
 * (docs/specs/vtoe.rst section 3.6).
 */
#include "vtoe-fake.h"

#define NEAR_WRAP 0xfffffff0u

/* Sets all indices of all queues to idx, as after long use. */
static void move_indices(Fake *f, uint32_t idx)
{
    const char *err;
    VtoeState st;

    vtoe_dev_set_running(f->dev, false);
    vtoe_dev_save(f->dev, &st);
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        uint32_t queue = i < FAKE_PAIRS ? i : VTOE_QUEUE_CONTROL;
        FakeQueue *q = &f->q[i];

        st.q[i].send_cons = st.q[i].comp_prod = idx;
        st.q[i].recv_cons = i < FAKE_PAIRS ? idx : 0;
        q->send_prod = q->comp_cons = idx;
        q->recv_prod = st.q[i].recv_cons;
        for (size_t off = 0; off <= FAKE_CTRL(comp_event); off += 4) {
            fake_ctrl_set(f, queue, off, idx);
            fake_ctrl_set(f, queue, off + FAKE_CTRL(send_cons), idx);
        }
        fake_ctrl_set(f, queue, FAKE_CTRL(recv_prod), q->recv_prod);
    }
    g_assert_true(vtoe_dev_load(f->dev, &st, &err));
    vtoe_dev_set_running(f->dev, true);
    fake_run(f);
    g_assert_cmpuint(fake_violation(f), ==, 0);
    /* Loading tells some things anew. */
    fake_expect_event(f, VTOE_EVENT_LINK_STATE, 0);
    fake_expect_event(f, VTOE_EVENT_PEER_CAPABILITY, 0);
    fake_expect_comp(f, 0, VTOE_COMP_SEND, 0);
    g_free(st.recv);
    g_free(st.listens);
}

static void echo(Fake *f, VnetStream *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct vtoe_comp c;

        fake_post_data(f, 1, 5, FAKE_DATA, 100);
        fake_post_buf(f, 1, VTOE_SID_ANY, FAKE_DATA + 4096, 100, i);
        fake_kick(f, 1);
        fake_peer_ack(s, (i + 1) * 100);
        g_assert_cmpuint(fake_peer_data(s, 100), ==, 100);
        fake_batch_end(f);
        c = fake_expect_comp(f, 1, VTOE_COMP_RECV, 5);
        g_assert_cmpuint(GUINT64_FROM_LE(c.u.offset), ==, i * 100);
        g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, i);
        c = fake_expect_comp(f, 1, VTOE_COMP_SEND, 5);
        g_assert_cmpuint(GUINT64_FROM_LE(c.u.offset), ==, (i + 1) * 100);
        fake_expect_no_comp(f, 1);
    }
    g_assert_cmpuint(fake_violation(f), ==, 0);
}

static void test_indices_wrap_at_2_32(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    move_indices(&f, NEAR_WRAP);
    s = fake_open(&f, 5, 1, 1 << 20);
    echo(&f, s, 100);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(send_cons)), ==,
                     NEAR_WRAP + 100);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(recv_cons)), ==,
                     NEAR_WRAP + 100);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(comp_prod)), ==,
                     NEAR_WRAP + 200);
    for (unsigned i = 0; i < 40; i++) {
        g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_QUERY, 5, 0, 0, 0, NULL), ==,
                         VTOE_CMD_OK);
    }
    fake_finish(&f);
}

static void test_rings_of_two_entries(void)
{
    VnetStream *s;
    Fake f;

    fake_init(&f);
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        f.q[i].size[0] = f.q[i].size[2] = 2;
        f.q[i].size[1] = i < FAKE_PAIRS ? 2 : 0;
    }
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    echo(&f, s, 100);
    fake_finish(&f);
}

static void jump(uint32_t base, uint32_t queue, size_t off, uint32_t val,
                 unsigned want)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    move_indices(&f, base);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_ctrl_set(&f, queue, off, val);
    fake_kick(&f, queue);
    fake_peer_data(s, 10);      /* looks at recv_prod */
    fake_batch_end(&f);
    g_assert_cmpuint(fake_violation(&f), ==, want);
    g_assert_cmpuint(s->aborted, ==, want != 0);
    fake_finish(&f);
}

static void test_producer_jumps(void)
{
    static const uint32_t bases[] = { 0, 1000, NEAR_WRAP };

    for (unsigned i = 0; i < G_N_ELEMENTS(bases); i++) {
        uint32_t b = bases[i], c = b + 1;       /* one command was run */
        size_t send = FAKE_CTRL(send_prod), recv = FAKE_CTRL(recv_prod);

        jump(b, 1, send, b, 0);
        jump(b, 1, send, b + FAKE_RING + 1, VTOE_VIOLATION_INDEX);
        jump(b, 1, send, b - 1, VTOE_VIOLATION_INDEX);
        jump(b, 1, send, b + 0x80000000, VTOE_VIOLATION_INDEX);
        jump(b, 1, recv, b + FAKE_RING + 1, VTOE_VIOLATION_INDEX);
        jump(b, 1, recv, b - 1, VTOE_VIOLATION_INDEX);
        jump(b, 0, send, b + FAKE_RING + 1, VTOE_VIOLATION_INDEX);
        jump(b, 0, send, b - 1, VTOE_VIOLATION_INDEX);
        jump(b, VTOE_QUEUE_CONTROL, send, c + FAKE_RING + 1,
             VTOE_VIOLATION_INDEX);
        jump(b, VTOE_QUEUE_CONTROL, send, c - 1, VTOE_VIOLATION_INDEX);
        /* A full ring of zeroes is in range, but zeroes are no descriptors. */
        jump(b, 1, send, b + FAKE_RING, VTOE_VIOLATION_BUFFER);
        jump(b, 1, recv, b + FAKE_RING, VTOE_VIOLATION_BUFFER);
        jump(b, 0, send, b + FAKE_RING, VTOE_VIOLATION_BUFFER);
    }
}

static void test_consumer_jumps(void)
{
    static const int32_t bad[] = { -1, 3, 0x7fffffff, INT32_MIN };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        Fake f;

        fake_init(&f);
        f.q[1].size[2] = 2;
        fake_start(&f);
        fake_bring_up(&f, FAKE_ALL_FEATURES);
        fake_post_data(&f, 1, 99, FAKE_DATA, 1);
        fake_post_data(&f, 1, 99, FAKE_DATA, 1);
        fake_kick(&f, 1);
        fake_ctrl_set(&f, 1, FAKE_CTRL(comp_cons), bad[i]);
        g_assert_cmpuint(fake_violation(&f), ==, 0);
        fake_post_data(&f, 1, 99, FAKE_DATA, 1);    /* needs room: looks */
        fake_kick(&f, 1);
        g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_INDEX);
        fake_finish(&f);
    }
}

static void test_full_completion_ring_loses_nothing(void)
{
    unsigned errors = 0;
    struct vtoe_comp c;
    VtoeStats st;
    Fake f;

    fake_init(&f);
    f.q[1].size[2] = 4;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    for (unsigned i = 0; i < FAKE_RING; i++) {
        fake_post_data(&f, 1, 100 + i, FAKE_DATA, i + 1);
    }
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(send_cons)), ==, 4);
    while (errors < FAKE_RING) {
        uint32_t old = f.q[1].comp_cons;

        g_assert_true(fake_comp(&f, 1, &c));
        g_assert_cmpuint(c.type, ==, VTOE_COMP_ERROR);
        g_assert_cmpuint(GUINT32_FROM_LE(c.sid), ==, 100 + errors);
        g_assert_cmpuint(GUINT32_FROM_LE(c.len), ==, errors + 1);
        errors++;
        /* A driver kicks only when it was asked to. */
        if (vtoe_need_kick(fake_ctrl_get(&f, 1, FAKE_CTRL(comp_room_event)),
                           f.q[1].comp_cons, old)) {
            fake_kick(&f, 1);
        }
    }
    fake_expect_no_comp(&f, 1);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.tx_unknown_sid, ==, FAKE_RING);
    g_assert_cmpuint(st.comp_ring_full, >, 0);
    fake_finish(&f);
}

static void test_interrupt_only_when_event_is_passed(void)
{
    VnetStream *s;
    VtoeStats st;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_data(&f, 1, 5, FAKE_DATA, 1000);
    fake_kick(&f, 1);
    f.raised[2] = 0;

    fake_ctrl_set(&f, 1, FAKE_CTRL(comp_event), 1);     /* not the first */
    fake_peer_ack(s, 500);
    fake_batch_end(&f);
    g_assert_cmpuint(f.raised[2], ==, 0);
    fake_peer_ack(s, 750);                              /* the second */
    fake_batch_end(&f);
    g_assert_cmpuint(f.raised[2], ==, 1);
    fake_peer_ack(s, 875);                              /* passed already */
    fake_batch_end(&f);
    g_assert_cmpuint(f.raised[2], ==, 1);
    fake_ctrl_set(&f, 1, FAKE_CTRL(comp_event), 3);
    fake_batch_end(&f);
    g_assert_cmpuint(f.raised[2], ==, 1);
    fake_peer_ack(s, 938);
    fake_batch_end(&f);
    g_assert_cmpuint(f.raised[2], ==, 2);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.interrupts_suppressed, >=, 2);
    fake_finish(&f);
}

/* The next COMP_SEND of SID 5 at the end of a batch; 0: there is none. */
static uint64_t send_done(Fake *f)
{
    struct vtoe_comp c;

    fake_batch_end(f);
    return fake_comp(f, 1, &c) ? GUINT64_FROM_LE(c.u.offset) : 0;
}

static void test_send_completion_when_it_is_news(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_data(&f, 1, 5, FAKE_DATA, 1000);
    fake_kick(&f, 1);
    fake_peer_ack(s, 499);              /* less than half: not yet ... */
    g_assert_cmpuint(send_done(&f), ==, 0);
    fake_peer_ack(s, 500);
    g_assert_cmpuint(send_done(&f), ==, 500);
    fake_peer_ack(s, 749);
    g_assert_cmpuint(send_done(&f), ==, 0);
    f.now = f.timer - 1;                /* ... but in time */
    vtoe_dev_tick(f.dev);
    g_assert_cmpuint(send_done(&f), ==, 0);
    f.now++;
    g_assert_cmpint(vtoe_dev_tick(f.dev), ==, INT64_MAX);
    g_assert_cmpuint(send_done(&f), ==, 749);
    fake_peer_ack(s, 1000);             /* nothing is in flight */
    g_assert_cmpuint(send_done(&f), ==, 1000);
    fake_finish(&f);
}

static void test_queue_without_vector_raises_nothing(void)
{
    Fake f;

    fake_init(&f);
    f.cfg.vectors = 0;
    fake_start(&f);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    fake_configure(&f, VTOE_QUEUE_CONTROL);
    fake_wr(&f, VTOE_REG_QUEUE_VECTOR, VTOE_NO_VECTOR);
    fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 1);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER_OK);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_QUERY, 1, 0, 0, 0, NULL), ==,
                     VTOE_CMD_UNSUPPORTED);
    fake_finish(&f);
}

/* Ten receive completions in one batch; comp_event asks for each. */
static void batch_of_ten(bool evi, bool eoc, unsigned *published_first,
                         unsigned *interrupts)
{
    VnetStream *s;
    Fake f;

    fake_init(&f);
    f.cfg.evi = evi;
    f.cfg.eoc = eoc;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 10; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 64, 64, i);
    }
    f.raised[2] = 0;
    *published_first = 0;
    for (unsigned i = 0; i < 10; i++) {
        g_assert_cmpuint(fake_peer_data(s, 64), ==, 64);
        if (i == 4) {       /* in the middle of the batch */
            *published_first = fake_ctrl_get(&f, 1, FAKE_CTRL(comp_prod));
        }
        fake_ctrl_set(&f, 1, FAKE_CTRL(comp_event),
                      fake_ctrl_get(&f, 1, FAKE_CTRL(comp_prod)));
    }
    fake_batch_end(&f);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(comp_prod)), ==, 10);
    *interrupts = f.raised[2];
    for (unsigned i = 0; i < 10; i++) {
        struct vtoe_comp c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);

        g_assert_cmpuint(GUINT64_FROM_LE(c.u.offset), ==, i * 64);
    }
    fake_finish(&f);
}

static void test_end_of_coalescing(void)
{
    unsigned mid, irqs;

    batch_of_ten(false, true, &mid, &irqs);
    g_assert_cmpuint(mid, ==, 0);
    g_assert_cmpuint(irqs, ==, 1);
}

static void test_early_interrupt(void)
{
    unsigned mid, irqs;

    batch_of_ten(true, true, &mid, &irqs);
    g_assert_cmpuint(mid, ==, 1);
    g_assert_cmpuint(irqs, ==, 2);      /* one early, one at the end */
}

static void test_no_coalescing(void)
{
    unsigned mid, irqs;

    batch_of_ten(false, false, &mid, &irqs);
    g_assert_cmpuint(mid, ==, 5);
    g_assert_cmpuint(irqs, ==, 10);
    batch_of_ten(true, false, &mid, &irqs);
    g_assert_cmpuint(mid, ==, 5);
    g_assert_cmpuint(irqs, ==, 10);
}

static void test_acknowledgements_are_combined(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 10; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    }
    fake_kick(&f, 1);
    for (unsigned i = 1; i <= 10; i++) {
        fake_peer_ack(s, i * 10);
    }
    fake_batch_end(&f);
    g_assert_cmpuint(GUINT64_FROM_LE(fake_expect_comp(&f, 1, VTOE_COMP_SEND,
                                                      5).u.offset), ==, 100);
    fake_expect_no_comp(&f, 1);
    fake_finish(&f);
}

static void test_kick_is_asked_for_only_when_idle(void)
{
    uint32_t event;
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 1; i <= 5; i++) {
        event = fake_ctrl_get(&f, 1, FAKE_CTRL(send_event));
        g_assert_true(vtoe_need_kick(event, i, i - 1));
        fake_post_data(&f, 1, 5, FAKE_DATA, 10);
        fake_kick(&f, 1);
    }
    /* Nobody waits for a buffer: posting many needs no kick. */
    event = fake_ctrl_get(&f, 1, FAKE_CTRL(recv_event));
    g_assert_false(vtoe_need_kick(event, 60, 0));
    fake_finish(&f);
}

static void test_buffer_kick_is_asked_for_by_a_waiting_stream(void)
{
    VnetStream *s;
    uint32_t event;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 0);
    fake_batch_end(&f);
    event = fake_ctrl_get(&f, 1, FAKE_CTRL(recv_event));
    g_assert_true(vtoe_need_kick(event, 1, 0));
    s->rx_ready = 0;
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 100, 1);
    fake_kick(&f, 1);
    g_assert_cmpuint(s->rx_ready, ==, 1);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 100);
    fake_finish(&f);
}

/* What the guest does between the device's last look and its waiting, without
 * a kick since nobody had asked for one, is not missed. */

static void post_one_buffer(Fake *f)
{
    fake_post_buf(f, 1, VTOE_SID_ANY, FAKE_DATA, 100, 1);
}

static void test_buffer_posted_at_the_last_moment(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 0);
    f.on_barrier = post_one_buffer;
    fake_batch_end(&f);
    g_assert_null(f.on_barrier);
    g_assert_cmpuint(s->rx_ready, ==, 1);
    fake_finish(&f);
}

static void post_one_send(Fake *f)
{
    fake_post_data(f, 1, 5, FAKE_DATA, 100);
}

static void test_send_posted_at_the_last_moment(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    post_one_send(&f);
    f.on_barrier = post_one_send;
    fake_kick(&f, 1);
    g_assert_null(f.on_barrier);
    g_assert_cmpuint(s->tx_ready, ==, 2);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(send_cons)), ==, 2);
    fake_finish(&f);
}

static void post_one_frame(Fake *f)
{
    fake_post_data(f, 0, 0, FAKE_DATA, 100);
}

static void test_frame_posted_at_the_last_moment(void)
{
    Fake f;

    fake_up(&f);
    post_one_frame(&f);
    f.on_barrier = post_one_frame;
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 2);
    fake_finish(&f);
}

static void post_one_command(Fake *f)
{
    fake_post_cmd(f, &(struct vtoe_cmd) { .op = VTOE_CMD_QUERY });
}

static void test_command_posted_at_the_last_moment(void)
{
    Fake f;

    fake_up(&f);
    post_one_command(&f);
    f.on_barrier = post_one_command;
    fake_kick(&f, VTOE_QUEUE_CONTROL);
    fake_expect_event(&f, VTOE_EVENT_COMMAND_DONE, 0);
    fake_expect_event(&f, VTOE_EVENT_COMMAND_DONE, 0);
    fake_finish(&f);
}

static void consume_one(Fake *f)
{
    fake_expect_comp(f, 1, VTOE_COMP_ERROR, 99);
}

static void test_room_made_at_the_last_moment(void)
{
    VnetStream *s;
    Fake f;

    fake_init(&f);
    f.q[1].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_ctrl_set(&f, 1, FAKE_CTRL(comp_event), 100);   /* it polls */
    fake_post_data(&f, 1, 99, FAKE_DATA, 1);
    fake_post_data(&f, 1, 99, FAKE_DATA, 1);
    fake_post_data(&f, 1, 5, FAKE_DATA, 1);
    fake_kick(&f, 1);
    fake_peer_ack(s, 1);
    f.on_barrier = consume_one;
    fake_batch_end(&f);
    g_assert_null(f.on_barrier);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 99);
    fake_expect_comp(&f, 1, VTOE_COMP_SEND, 5);
    fake_finish(&f);
}

static void test_work_of_a_kick_is_bounded(void)
{
    Fake f;
    unsigned rounds = 0;

    fake_init(&f);
    f.q[1].size[0] = f.q[1].size[2] = 1024;
    f.cfg.max_inflight = 2048;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    fake_open(&f, 5, 1, 1);
    for (unsigned i = 0; i < 1024; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA, 1);
    }
    vtoe_dev_kick(f.dev, 1);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(send_cons)), ==, 256);
    while (f.kicks) {
        f.kicks = 0;
        vtoe_dev_kick(f.dev, 1);
        rounds++;
    }
    g_assert_cmpuint(rounds, ==, 3);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(send_cons)), ==, 1024);
    fake_finish(&f);
}

/* The accesses to guest memory of the two hot paths; more would be slower. */
static void test_few_accesses_per_message(void)
{
    VnetStream *s;
    unsigned before;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_data(&f, 1, 5, FAKE_DATA, 64);
    before = f.dma_ops;
    fake_kick(&f, 1);
    /* prod, descriptor, map, cons, event, prod */
    g_assert_cmpuint(f.dma_ops - before, <=, 6);
    before = f.dma_ops;
    fake_peer_ack(s, 64);
    fake_batch_end(&f);
    /* entry, comp_prod, comp_event */
    g_assert_cmpuint(f.dma_ops - before, <=, 3);

    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 1);
    before = f.dma_ops;
    fake_peer_data(s, 64);
    fake_batch_end(&f);
    /* prod, descriptor, map, entry, comp_prod, comp_event, recv_cons */
    g_assert_cmpuint(f.dma_ops - before, <=, 7);

    /* Sixteen descriptors at once cost less than two each. */
    for (unsigned i = 0; i < 16; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA, 65536);
    }
    before = f.dma_ops;
    fake_kick(&f, 1);
    g_assert_cmpuint(f.dma_ops - before, <=, 16 + 5);
    g_assert_cmpuint(s->tx_ready, ==, 2);
    fake_finish(&f);
}

static void test_commands_wait_for_room_in_the_event_ring(void)
{
    struct vtoe_event ev;
    Fake f;

    fake_init(&f);
    f.q[FAKE_PAIRS].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    for (unsigned i = 0; i < 10; i++) {
        struct vtoe_cmd cmd = { .tag = GUINT32_TO_LE(i) };

        fake_post_cmd(&f, &cmd);
    }
    fake_kick(&f, VTOE_QUEUE_CONTROL);
    g_assert_cmpuint(fake_ctrl_get(&f, VTOE_QUEUE_CONTROL,
                                   FAKE_CTRL(send_cons)), ==, 2);
    for (unsigned i = 0; i < 10; i++) {
        uint32_t old = f.q[FAKE_PAIRS].comp_cons;

        g_assert_true(fake_event(&f, &ev));
        g_assert_cmpuint(GUINT32_FROM_LE(ev.tag), ==, i);
        if (vtoe_need_kick(fake_ctrl_get(&f, VTOE_QUEUE_CONTROL,
                                         FAKE_CTRL(comp_room_event)),
                           old + 1, old)) {
            fake_kick(&f, VTOE_QUEUE_CONTROL);
        }
    }
    fake_expect_no_event(&f);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/rings/" #name, test_ ## name)
    T(indices_wrap_at_2_32);
    T(rings_of_two_entries);
    T(producer_jumps);
    T(consumer_jumps);
    T(full_completion_ring_loses_nothing);
    T(interrupt_only_when_event_is_passed);
    T(send_completion_when_it_is_news);
    T(queue_without_vector_raises_nothing);
    T(end_of_coalescing);
    T(early_interrupt);
    T(no_coalescing);
    T(acknowledgements_are_combined);
    T(kick_is_asked_for_only_when_idle);
    T(buffer_kick_is_asked_for_by_a_waiting_stream);
    T(buffer_posted_at_the_last_moment);
    T(send_posted_at_the_last_moment);
    T(frame_posted_at_the_last_moment);
    T(command_posted_at_the_last_moment);
    T(room_made_at_the_last_moment);
    T(work_of_a_kick_is_bounded);
    T(few_accesses_per_message);
    T(commands_wait_for_room_in_the_event_ring);
    return g_test_run();
}
