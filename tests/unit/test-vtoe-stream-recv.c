/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest receives on streams of the vtoe device: buffers of a stream and
 * of the pool, credit (docs/specs/vtoe.rst sections 3.3, 3.4 and 5).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

static void recv_one(uint32_t pair, uint64_t addr, uint32_t len, uint32_t sid,
                     uint32_t id, unsigned want)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_open(&f, 6, 2, 1 << 20);
    fake_post_buf(&f, pair, sid, addr, len, id);
    fake_peer_data(s, 1 << 20);
    fake_batch_end(&f);
    g_assert_cmpuint(fake_violation(&f), ==, want);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
}

static void test_bad_recv_descriptors(void)
{
    recv_one(1, FAKE_DATA, 63, VTOE_SID_ANY, 1, VTOE_VIOLATION_BUFFER);
    recv_one(1, FAKE_DATA, 64, VTOE_SID_ANY, 1, 0);
    recv_one(1, FAKE_DATA, 1 << 20, VTOE_SID_ANY, 1, 0);
    recv_one(1, FAKE_DATA, (1 << 20) + 1, VTOE_SID_ANY, 1,
             VTOE_VIOLATION_BUFFER);
    recv_one(1, FAKE_DATA, ~0u, VTOE_SID_ANY, 1, VTOE_VIOLATION_BUFFER);
    recv_one(1, FAKE_RAM - 64, 64, VTOE_SID_ANY, 1, 0);
    recv_one(1, FAKE_RAM - 63, 64, VTOE_SID_ANY, 1, VTOE_VIOLATION_BUFFER);
    recv_one(1, ~0ull - 62, 64, VTOE_SID_ANY, 1, VTOE_VIOLATION_BUFFER);
    recv_one(1, FAKE_DATA, 64, VTOE_SID_ANY, VTOE_ID_NONE,
             VTOE_VIOLATION_DESCRIPTOR);
    recv_one(1, FAKE_DATA, 64, 0, 1, VTOE_VIOLATION_STREAM);
    recv_one(1, FAKE_DATA, 64, 6, 1, VTOE_VIOLATION_STREAM);
    recv_one(1, FAKE_DATA, 64, 5, 1, 0);
    recv_one(1, FAKE_DATA, 64, 7, 1, 0);
}

static void test_data_arrives_in_order_and_whole(void)
{
    uint64_t at = 0;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 20; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 1000, 1000, 50 + i);
    }
    g_assert_cmpuint(fake_peer_data(s, 2500), ==, 2500);
    g_assert_cmpuint(fake_peer_data(s, 1), ==, 1);
    g_assert_cmpuint(fake_peer_data(s, 5000), ==, 5000);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_batch_end(&f);
    while (at < 7501) {
        struct vtoe_comp c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
        uint32_t len = GUINT32_FROM_LE(c.len);
        uint8_t *p = f.ram + FAKE_DATA + (GUINT32_FROM_LE(c.id) - 50) * 1000;

        g_assert_cmpuint(offset_of(c), ==, at);
        g_assert_cmpuint(c.flags, ==, 0);
        for (uint32_t i = 0; i < len; i++) {
            g_assert_cmpuint(p[i], ==, fake_byte(at + i));
        }
        at += len;
    }
    fake_expect_no_comp(&f, 1);
    fake_finish(&f);
}

static void test_credit_is_a_limit_to_the_byte(void)
{
    VnetStream *s;
    struct vtoe_send_desc credit = {
        .addr = GUINT64_TO_LE(300), .sid = GUINT32_TO_LE(5),
        .op = VTOE_SEND_CREDIT,
    };
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 100);
    for (unsigned i = 0; i < 20; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 1000, 1000, i);
    }
    g_assert_cmpuint(fake_peer_data(s, 1000), ==, 100);
    g_assert_cmpuint(fake_peer_data(s, 1), ==, 0);
    /* By command; smaller and equal limits change nothing. */
    s->rx_ready = 0;
    fake_cmd(&f, VTOE_CMD_CREDIT, 5, 0, 100, 0, NULL);
    fake_cmd(&f, VTOE_CMD_CREDIT, 5, 0, 0, 0, NULL);
    g_assert_cmpuint(s->rx_ready, ==, 0);
    fake_cmd(&f, VTOE_CMD_CREDIT, 5, 0, 101, 0, NULL);
    g_assert_cmpuint(s->rx_ready, ==, 1);
    g_assert_cmpuint(fake_peer_data(s, 1000), ==, 1);
    g_assert_cmpuint(fake_peer_data(s, 1000), ==, 0);
    /* By descriptor. */
    fake_post_send(&f, 1, &credit);
    fake_kick(&f, 1);
    g_assert_cmpuint(s->rx_ready, ==, 2);
    g_assert_cmpuint(fake_peer_data(s, 1000), ==, 199);
    /* To one that is not there: ignored. */
    credit.sid = GUINT32_TO_LE(99);
    fake_post_send(&f, 1, &credit);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    /* All of it. */
    fake_cmd(&f, VTOE_CMD_CREDIT, 5, 0, ~0ull, 0, NULL);
    g_assert_cmpuint(fake_peer_data(s, 1000), ==, 1000);
    fake_finish(&f);
}

static void test_credit_counts_what_is_lent(void)
{
    VnetRxBuf bufs[4];
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 150);
    for (unsigned i = 0; i < 4; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 100, 100, i);
    }
    g_assert_cmpuint(s->ops->rx_get(s->user, bufs, 4, 1 << 20), ==, 2);
    g_assert_cmpuint(bufs[0].iov.iov_len, ==, 100);
    g_assert_cmpuint(bufs[1].iov.iov_len, ==, 50);
    g_assert_cmpuint(s->ops->rx_get(s->user, bufs + 2, 2, 1 << 20), ==, 0);
    /* A buffer that completes short gives its credit back. */
    s->ops->rx_done(s->user, &bufs[0], 30);
    s->ops->rx_done(s->user, &bufs[1], 50);
    g_assert_cmpuint(s->ops->rx_get(s->user, bufs, 4, 1 << 20), ==, 1);
    g_assert_cmpuint(bufs[0].iov.iov_len, ==, 70);
    s->ops->rx_return(s->user, bufs, 1);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
}

static void test_pool_exhaustion_stops_only_who_needs_it(void)
{
    VnetStream *a, *b;
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    fake_post_buf(&f, 1, 6, FAKE_DATA, 500, 1);         /* b has its own */
    g_assert_cmpuint(fake_peer_data(a, 100), ==, 0);
    g_assert_cmpuint(fake_peer_data(b, 100), ==, 100);
    fake_batch_end(&f);
    fake_expect_comp(&f, 1, VTOE_COMP_RECV, 6);
    /* The other pair is not concerned at all. */
    fake_open(&f, 7, 2, 1 << 20);
    fake_post_buf(&f, 2, VTOE_SID_ANY, FAKE_DATA, 500, 1);
    g_assert_cmpuint(fake_peer_data(f.streams->pdata[2], 100), ==, 100);
    fake_finish(&f);
}

static void test_slow_reader_takes_no_pool_buffers(void)
{
    VnetStream *slow, *quick;
    Fake f;

    fake_up(&f);
    slow = fake_open(&f, 5, 1, 100);
    quick = fake_open(&f, 6, 1, 1 << 20);
    for (unsigned i = 0; i < 10; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 100, 100, i);
    }
    g_assert_cmpuint(fake_peer_data(slow, 10000), ==, 100);
    g_assert_cmpuint(fake_peer_data(quick, 10000), ==, 900);
    fake_finish(&f);
}

static void test_waiting_streams_are_woken_round_robin(void)
{
    static const uint32_t want[] = { 1, 2, 3, 1, 2, 3, 1, 2, 3 };
    Fake f;

    fake_up(&f);
    for (uint32_t sid = 1; sid <= 3; sid++) {
        g_assert_cmpuint(fake_peer_data(fake_open(&f, sid, 1, 1 << 20), 64),
                         ==, 0);
    }
    fake_batch_end(&f);
    f.rx_greedy = true;
    for (unsigned i = 0; i < 9; i++) {
        VnetStream *s;

        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 64, 64, i);
        fake_kick(&f, 1);
        g_assert_cmpuint(f.woken->len, ==, i + 1);
        g_assert_cmpuint(g_array_index(f.woken, uint32_t, i), ==, want[i]);
        /* It has more to receive. */
        s = f.streams->pdata[want[i] - 1];
        g_assert_cmpuint(fake_peer_data(s, 64), ==, 0);
        fake_batch_end(&f);
    }
    fake_finish(&f);
}

static void test_tagged_buffers_come_before_the_pool(void)
{
    static const uint32_t want[] = { 11, 12, 1, 2 };
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 1);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + 64, 64, 2);
    fake_post_buf(&f, 1, 5, FAKE_DATA + 128, 64, 11);
    fake_post_buf(&f, 1, 5, FAKE_DATA + 192, 64, 12);
    g_assert_cmpuint(fake_peer_data(s, 256), ==, 256);
    fake_batch_end(&f);
    for (unsigned i = 0; i < 4; i++) {
        struct vtoe_comp c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);

        g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, want[i]);
    }
    fake_finish(&f);
}

static void test_tagged_buffer_wakes_its_stream_alone(void)
{
    VnetStream *a, *b;
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    fake_peer_data(a, 64);
    fake_peer_data(b, 64);
    fake_batch_end(&f);
    fake_post_buf(&f, 1, 6, FAKE_DATA, 64, 1);
    fake_kick(&f, 1);
    g_assert_cmpuint(a->rx_ready, ==, 0);
    g_assert_cmpuint(b->rx_ready, ==, 1);
    g_assert_cmpuint(fake_peer_data(b, 64), ==, 64);
    fake_finish(&f);
}

/* What links may keep for streams that get nothing. */
static void test_at_most_half_of_the_pool_is_spare(void)
{
    VnetRxBuf bufs[16];
    VnetStream *a, *b;
    unsigned n;
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    g_assert_cmpuint(a->ops->rx_spare(a->user), ==, 0);
    for (unsigned i = 0; i < 8; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 64, 64, i);
    }
    n = a->ops->rx_spare(a->user);
    g_assert_cmpuint(n, ==, 4);
    g_assert_cmpuint(a->ops->rx_get(a->user, bufs, n, 1 << 20), ==, 4);
    g_assert_cmpuint(b->ops->rx_spare(b->user), ==, 0);
    /* For data there are buffers all the same. */
    g_assert_cmpuint(b->ops->rx_get(b->user, bufs + 4, 1, 1 << 20), ==, 1);
    b->ops->rx_return(b->user, bufs + 4, 1);
    /* Tagged ones are nobody else's. */
    fake_post_buf(&f, 1, 6, FAKE_DATA + 512, 64, 8);
    g_assert_cmpuint(a->ops->rx_spare(a->user), ==, 0);
    g_assert_cmpuint(b->ops->rx_spare(b->user), ==, 1);
    a->ops->rx_return(a->user, bufs, 4);
    fake_finish(&f);
}

/* Each lent buffer has a place in the completion ring, and idle streams must
 * not have them all. */
static void test_spare_buffers_leave_room_in_the_ring(void)
{
    VnetRxBuf bufs[FAKE_RING];
    VnetStream *a, *b;
    unsigned n, got = 0;
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    for (unsigned i = 0; i < FAKE_RING; i++) {
        fake_post_buf(&f, 1, 5, FAKE_DATA, 64, i);
    }
    while ((n = a->ops->rx_spare(a->user))) {
        got += a->ops->rx_get(a->user, bufs + got, n, 1 << 20);
        g_assert_cmpuint(got, <=, FAKE_RING / 2);
    }
    g_assert_cmpuint(got, >, 0);
    a->ops->rx_return(a->user, bufs, got);
    g_assert_cmpuint(b->ops->rx_spare(b->user), ==, 0);
    fake_finish(&f);
}

static void test_returned_buffers_keep_their_order(void)
{
    VnetRxBuf bufs[4], again[4];
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_buf(&f, 1, 5, FAKE_DATA, 64, 0);
    for (unsigned i = 1; i < 4; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + i * 64, 64, i);
    }
    g_assert_cmpuint(s->ops->rx_get(s->user, bufs, 4, 1 << 20), ==, 4);
    s->ops->rx_return(s->user, bufs + 1, 3);
    s->ops->rx_return(s->user, bufs, 1);
    g_assert_cmpuint(f.maps, ==, 0);
    g_assert_cmpuint(s->ops->rx_get(s->user, again, 4, 1 << 20), ==, 4);
    for (unsigned i = 0; i < 4; i++) {
        g_assert_true(again[i].priv == bufs[i].priv);
    }
    s->ops->rx_return(s->user, again, 4);
    fake_finish(&f);
}

static void test_returned_buffer_wakes_another_stream(void)
{
    VnetRxBuf buf;
    VnetStream *a, *b;
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 0);
    g_assert_cmpuint(a->ops->rx_get(a->user, &buf, 1, 64), ==, 1);
    g_assert_cmpuint(fake_peer_data(b, 64), ==, 0);
    fake_batch_end(&f);
    g_assert_cmpuint(b->rx_ready, ==, 0);
    a->ops->rx_return(a->user, &buf, 1);
    fake_batch_end(&f);
    g_assert_cmpuint(b->rx_ready, ==, 1);
    fake_finish(&f);
}

static void test_buffers_of_dead_streams_come_back(void)
{
    struct vtoe_comp c;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_buf(&f, 1, 5, FAKE_DATA, 64, 1);
    fake_post_buf(&f, 1, 5, FAKE_DATA, 64, 2);
    fake_post_buf(&f, 1, 99, FAKE_DATA, 64, 3);         /* nobody's */
    g_assert_cmpuint(fake_peer_data(s, 10), ==, 10);    /* uses the first */
    fake_peer_gone(s, VTOE_REASON_LINK_LOST);
    fake_batch_end(&f);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_ABORT);   /* with its data */
    g_assert_cmpuint(GUINT32_FROM_LE(c.len), ==, 10);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 99);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_RETURNED);
    g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, 3);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_RETURNED);
    g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, 2);
    g_assert_cmpuint(GUINT32_FROM_LE(c.len), ==, 0);
    fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    query_gone(&f, 5);
    fake_finish(&f);
}

static void test_close_gives_buffers_back(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_buf(&f, 1, 5, FAKE_DATA, 64, 1);
    fake_post_buf(&f, 1, 5, FAKE_DATA, 64, 2);
    g_assert_cmpuint(s->ops->rx_get(s->user, s->lent, 1, 64), ==, 1);
    s->nlent = 1;
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 0, 0, NULL), ==, 0);
    g_assert_cmpuint(fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5).flags, ==,
                     VTOE_COMP_F_RETURNED);
    g_assert_cmpuint(fake_peer_data(s, 10), ==, 0);
    fake_post_buf(&f, 1, 5, FAKE_DATA, 64, 3);
    fake_peer_end(s);
    fake_peer_gone(s, VTOE_REASON_NONE);        /* returns the lent one */
    fake_batch_end(&f);
    g_assert_cmpuint(fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5).flags, ==,
                     VTOE_COMP_F_RETURNED);
    g_assert_cmpuint(reason_of(fake_expect_event(&f, VTOE_EVENT_DISCONNECTED,
                                                 5)), ==, VTOE_REASON_NONE);
    fake_peer_data(fake_open(&f, 6, 1, 100), 1);    /* fetches buffer 3 */
    fake_batch_end(&f);
    g_assert_cmpuint(fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5).flags, ==,
                     VTOE_COMP_F_RETURNED);
    fake_finish(&f);
}

static void test_at_most_a_ring_of_buffers_is_held(void)
{
    VnetStream *s;
    Fake f;

    fake_init(&f);
    f.q[1].size[1] = 4;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 4; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, i);
    }
    g_assert_cmpuint(s->ops->rx_get(s->user, s->lent, 1, 64), ==, 1);
    s->nlent = 1;
    fake_batch_end(&f);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(recv_cons)), ==, 4);
    for (unsigned i = 4; i < 8; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, i);
    }
    fake_kick(&f, 1);
    g_assert_cmpuint(s->ops->rx_get(s->user, s->lent + 1, 10, 1 << 20), ==, 3);
    s->nlent = 4;
    fake_batch_end(&f);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(recv_cons)), ==, 4);
    s->ops->rx_done(s->user, &s->lent[0], 64);
    memmove(s->lent, s->lent + 1, 3 * sizeof(s->lent[0]));
    g_assert_cmpuint(s->ops->rx_get(s->user, s->lent + 3, 1, 64), ==, 1);
    fake_batch_end(&f);
    g_assert_cmpuint(fake_ctrl_get(&f, 1, FAKE_CTRL(recv_cons)), ==, 5);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_finish(&f);
}

/* Lent buffers cannot keep acknowledgements from being told. */
static void test_lent_buffers_leave_room_in_the_ring(void)
{
    VnetStream *s;
    Fake f;

    fake_init(&f);
    f.q[1].size[2] = 4;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 20; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, i);
    }
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(s->ops->rx_get(s->user, s->lent, 20, 1 << 20), ==, 3);
    s->nlent = 3;
    fake_peer_ack(s, 10);
    fake_batch_end(&f);
    fake_expect_comp(&f, 1, VTOE_COMP_SEND, 5);
    fake_finish(&f);
}

static void test_stream_waits_for_room_and_is_woken(void)
{
    VnetStream *s;
    unsigned total = 0;
    Fake f;

    fake_init(&f);
    f.q[1].size[2] = 4;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 40; i++) {
        fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, i);
    }
    g_assert_cmpuint(fake_peer_data(s, 4096), ==, 4 * 64);
    fake_batch_end(&f);
    while (total < 40) {
        uint32_t old = f.q[1].comp_cons;

        g_assert_cmpuint(offset_of(fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5)),
                         ==, total * 64);
        total++;
        s->rx_ready = 0;
        if (vtoe_need_kick(fake_ctrl_get(&f, 1, FAKE_CTRL(comp_room_event)),
                           old + 1, old)) {
            fake_kick(&f, 1);
        }
        if (s->rx_ready) {
            fake_peer_data(s, 4096);
            fake_batch_end(&f);
        }
    }
    fake_expect_no_comp(&f, 1);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/streams/" #name, test_ ## name)
    T(bad_recv_descriptors);
    T(data_arrives_in_order_and_whole);
    T(credit_is_a_limit_to_the_byte);
    T(credit_counts_what_is_lent);
    T(pool_exhaustion_stops_only_who_needs_it);
    T(slow_reader_takes_no_pool_buffers);
    T(waiting_streams_are_woken_round_robin);
    T(tagged_buffers_come_before_the_pool);
    T(tagged_buffer_wakes_its_stream_alone);
    T(at_most_half_of_the_pool_is_spare);
    T(spare_buffers_leave_room_in_the_ring);
    T(returned_buffers_keep_their_order);
    T(returned_buffer_wakes_another_stream);
    T(buffers_of_dead_streams_come_back);
    T(close_gives_buffers_back);
    T(at_most_a_ring_of_buffers_is_held);
    T(lent_buffers_leave_room_in_the_ring);
    T(stream_waits_for_room_and_is_woken);
    return g_test_run();
}
