/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams of the vtoe device: data both ways, credit, buffers, marks, events
 * (docs/specs/vtoe.rst sections 3.2 to 3.4, 5 and 6).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

static uint64_t offset_of(struct vtoe_comp c)
{
    return GUINT64_FROM_LE(c.u.offset);
}

static unsigned reason_of(struct vtoe_event ev)
{
    return GUINT16_FROM_LE(ev.reason);
}

static void query_gone(Fake *f, uint32_t sid)
{
    g_assert_cmpuint(fake_cmd(f, VTOE_CMD_QUERY, sid, 0, 0, 0, NULL), ==,
                     VTOE_CMD_UNKNOWN_SID);
}

/* --- sending ---------------------------------------------------------------------- */

static void test_tx_peek_yields_the_bytes_of_the_descriptors(void)
{
    struct iovec iov[16];
    uint8_t got[8192];
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 6000; i++) {
        f.ram[FAKE_DATA + i] = fake_byte(i);
    }
    fake_post_data(&f, 1, 5, FAKE_DATA, 1);
    fake_post_data(&f, 1, 5, FAKE_DATA + 1, 1999);
    fake_post_data(&f, 1, 5, FAKE_DATA + 2000, 4000);
    fake_kick(&f, 1);
    g_assert_cmpuint(s->tx_ready, ==, 1);
    for (unsigned off = 0; off < 6000; off += 7) {
        for (unsigned max = 1; max < 8192; max = max * 3 + 1) {
            unsigned n = 1 + off % 3;
            size_t len = s->ops->tx_peek(s->user, off, iov, &n, max);

            g_assert_cmpuint(len, >, 0);
            g_assert_cmpuint(len, <=, max);
            g_assert_cmpuint(vtoe_iov_copy(iov, n, 0, got, sizeof(got)), ==,
                             len);
            g_assert_cmpmem(got, len, f.ram + FAKE_DATA + off, len);
        }
    }
    for (unsigned off = 6000; off < 6003; off++) {
        unsigned n = 16;

        g_assert_cmpuint(s->ops->tx_peek(s->user, off, iov, &n, 100), ==, 0);
        g_assert_cmpuint(n, ==, 0);
    }
    fake_finish(&f);
}

static void test_buffers_are_unmapped_when_acknowledged(void)
{
    VnetStream *s;
    unsigned n = 4;
    struct iovec iov[4];
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 10; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA + i * 100, 100);
    }
    fake_kick(&f, 1);
    g_assert_cmpuint(f.maps, ==, 10);
    fake_peer_ack(s, 99);
    g_assert_cmpuint(f.maps, ==, 10);
    fake_peer_ack(s, 100);
    g_assert_cmpuint(f.maps, ==, 9);
    g_assert_cmpuint(s->ops->tx_peek(s->user, 99, iov, &n, 10), ==, 0);
    fake_peer_ack(s, 950);
    g_assert_cmpuint(f.maps, ==, 1);
    fake_peer_ack(s, 950);          /* repeated: nothing new */
    fake_peer_ack(s, 1000);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_batch_end(&f);
    g_assert_cmpuint(offset_of(fake_expect_comp(&f, 1, VTOE_COMP_SEND, 5)), ==,
                     1000);
    fake_finish(&f);
}

static void test_unknown_sid_is_dropped_unread(void)
{
    struct vtoe_comp c;
    Fake f;

    fake_up(&f);
    /* Not even looked at: this is no address. */
    fake_post_data(&f, 1, 9, ~0ull - 5, 77);
    fake_post_data(&f, 1, VTOE_SID_ANY, ~0ull - 5, 78);
    fake_kick(&f, 1);
    c = fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 9);
    g_assert_cmpuint(GUINT32_FROM_LE(c.len), ==, 77);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, VTOE_SID_ANY);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_finish(&f);
}

static void send_one(const struct vtoe_send_desc *desc, uint32_t pair,
                     unsigned want)
{
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 1 << 20);
    fake_post_send(&f, pair, desc);
    fake_kick(&f, pair);
    g_assert_cmpuint(fake_violation(&f), ==, want);
    fake_finish(&f);
}

static void test_bad_send_descriptors(void)
{
    const struct vtoe_send_desc good = {
        .addr = GUINT64_TO_LE(FAKE_DATA), .len = GUINT32_TO_LE(100),
        .sid = GUINT32_TO_LE(5),
    };
    struct vtoe_send_desc d = good;

#define WITH(field, val, want) \
    do { d = good; d.field = (val); send_one(&d, 1, want); } while (0)
    WITH(len, GUINT32_TO_LE(0), VTOE_VIOLATION_BUFFER);
    WITH(len, GUINT32_TO_LE(1), 0);
    WITH(len, GUINT32_TO_LE(1 << 20), 0);
    WITH(len, GUINT32_TO_LE((1 << 20) + 1), VTOE_VIOLATION_BUFFER);
    WITH(len, GUINT32_TO_LE(~0u), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(FAKE_RAM - 100), 0);
    WITH(addr, GUINT64_TO_LE(FAKE_RAM - 99), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(FAKE_RAM), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(~0ull - 50), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(~0ull - 99), VTOE_VIOLATION_BUFFER);
    WITH(op, 2, VTOE_VIOLATION_DESCRIPTOR);
    WITH(op, 255, VTOE_VIOLATION_DESCRIPTOR);
    WITH(op, VTOE_SEND_CREDIT, VTOE_VIOLATION_BUFFER);  /* with a length */
    WITH(flags, VTOE_SEND_F_MORE, VTOE_VIOLATION_DESCRIPTOR);
    WITH(flags, 2, VTOE_VIOLATION_DESCRIPTOR);
    WITH(flags, 128, VTOE_VIOLATION_DESCRIPTOR);
    WITH(sid, 0, VTOE_VIOLATION_STREAM);
    WITH(sid, GUINT32_TO_LE(6), 0);
    WITH(reserved, ~0u, 0);
#undef WITH
    send_one(&good, 2, VTOE_VIOLATION_STREAM);          /* foreign pair */
    send_one(&good, 0, VTOE_VIOLATION_STREAM);
}

static void test_max_inflight(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 16; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    }
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_peer_ack(s, 10);
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_STREAM);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
}

/* --- receiving --------------------------------------------------------------------- */

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

/* --- marks and events ------------------------------------------------------------------ */

static void test_end_mark_stands_behind_the_last_byte(void)
{
    struct vtoe_comp c;
    VnetStream *s;
    Fake f;

    /* With the data, if both come in one batch. */
    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 7);
    fake_peer_data(s, 10);
    fake_peer_end(s);
    fake_batch_end(&f);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_END);
    g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, 7);
    fake_expect_no_comp(&f, 1);

    /* Alone, otherwise. */
    s = fake_open(&f, 6, 1, 1 << 20);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 8);
    fake_peer_data(s, 10);
    fake_batch_end(&f);
    fake_peer_end(s);
    fake_batch_end(&f);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 6);
    g_assert_cmpuint(c.flags, ==, 0);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 6);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_END);
    g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, VTOE_ID_NONE);
    g_assert_cmpuint(GUINT32_FROM_LE(c.len), ==, 0);
    g_assert_cmpuint(offset_of(c), ==, 10);
    fake_expect_no_event(&f);       /* PEER_SHUTDOWN was not asked for */
    fake_finish(&f);
}

static void test_mark_is_not_put_on_another_streams_data(void)
{
    struct vtoe_comp c;
    VnetStream *a, *b;
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 1);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 2);
    fake_peer_data(a, 10);
    fake_peer_data(b, 10);
    fake_peer_end(a);
    fake_batch_end(&f);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_END);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 6);
    g_assert_cmpuint(c.flags, ==, 0);
    fake_finish(&f);
}

static void test_graceful_end_both_ways(void)
{
    struct vtoe_event ev;
    VnetStream *s;
    VtoeStats st;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 7);
    fake_post_data(&f, 1, 5, FAKE_DATA, 100);
    fake_kick(&f, 1);
    fake_peer_data(s, 33);
    fake_peer_end(s);
    fake_batch_end(&f);
    fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 100, 0, NULL);
    fake_peer_ack(s, 100);
    fake_peer_gone(s, VTOE_REASON_NONE);
    fake_batch_end(&f);
    fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(offset_of(fake_expect_comp(&f, 1, VTOE_COMP_SEND, 5)), ==,
                     100);
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    g_assert_cmpuint(reason_of(ev), ==, VTOE_REASON_NONE);
    g_assert_cmpuint(GUINT64_FROM_LE(ev.value), ==, 33);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.disconnected_graceful, ==, 1);
    g_assert_cmpuint(st.disconnected_reset, ==, 0);
    g_assert_cmpuint(st.rx_stream_bytes, ==, 33);
    g_assert_cmpuint(st.tx_stream_bytes, ==, 100);
    g_assert_cmpuint(st.bytes_copied, ==, 0);
    g_assert_cmpuint(f.open_streams, ==, 0);
    fake_finish(&f);
}

static void test_peer_shutdown_event_if_asked_for(void)
{
    struct vtoe_cmd cmd = fake_connect_cmd(5, 1, 100);
    VnetStream *s;
    Fake f;

    fake_up(&f);
    cmd.flags = VTOE_CMD_F_SHUTDOWN_EVENT;
    fake_run_cmd(&f, &cmd, NULL);
    s = f.streams->pdata[0];
    fake_peer_established(s);
    fake_peer_end(s);
    fake_peer_gone(s, VTOE_REASON_RESET);
    fake_batch_end(&f);
    /* One mark per stream: END was first. */
    g_assert_cmpuint(fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5).flags, ==,
                     VTOE_COMP_F_END);
    fake_expect_no_comp(&f, 1);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_ESTABLISHED, 5);
    fake_expect_event(&f, VTOE_EVENT_PEER_SHUTDOWN, 5);
    g_assert_cmpuint(reason_of(fake_expect_event(&f, VTOE_EVENT_DISCONNECTED,
                                                 5)), ==, VTOE_REASON_RESET);
    fake_finish(&f);
}

static void test_terminal_events(void)
{
    static const struct { uint8_t event, reason; } cases[] = {
        { VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_PEER },
        { VTOE_EVENT_ADDRESS_ERROR, VTOE_REASON_NO_STREAMS },
        { VTOE_EVENT_UNREACHABLE, VTOE_REASON_LINK_DOWN },
        { VTOE_EVENT_CONNECT_REJECTED, VTOE_REASON_BACKLOG },
        { VTOE_EVENT_ROUTE_ERROR, VTOE_REASON_POLICY },
        { VTOE_EVENT_CONNECT_ERROR, VTOE_REASON_PROTOCOL },
    };
    struct vtoe_cmd cmd = fake_connect_cmd(5, 1, 100);
    struct vtoe_event ev;
    Fake f;

    fake_up(&f);
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        /* The same SID again each time: it is free after its last event. */
        g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, VTOE_CMD_OK);
        fake_post_data(&f, 1, 5, FAKE_DATA, 100);
        fake_kick(&f, 1);
        g_assert_cmpuint(f.maps, ==, 1);
        fake_peer_failed(f.streams->pdata[i], cases[i].event, cases[i].reason);
        g_assert_cmpuint(f.maps, ==, 0);
        fake_batch_end(&f);
        ev = fake_expect_event(&f, cases[i].event, 5);
        g_assert_cmpuint(reason_of(ev), ==, cases[i].reason);
        fake_expect_no_comp(&f, 1);     /* no mark for what never was open */
        query_gone(&f, 5);
    }
    fake_finish(&f);
}

static void test_nothing_is_lost_when_the_event_ring_is_full(void)
{
    unsigned established = 0, gone = 0, link = 0, peer = 0;
    struct vtoe_event ev;
    Fake f;

    fake_init(&f);
    f.q[FAKE_PAIRS].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    for (uint32_t sid = 1; sid <= 50; sid++) {
        struct vtoe_cmd cmd = fake_connect_cmd(sid, 1 + sid % 3, 10);

        fake_run_cmd(&f, &cmd, NULL);
    }
    for (unsigned i = 0; i < 50; i++) {
        fake_peer_established(f.streams->pdata[i]);
    }
    for (unsigned i = 0; i < 100; i++) {
        vtoe_dev_port_ops.link_state(f.dev, i % 2);     /* ends up */
        vtoe_dev_port_ops.peer_capability(f.dev, fake_peer_mac, i % 2);
    }
    fake_batch_end(&f);
    for (unsigned i = 0; i < 50; i++) {
        fake_peer_gone(f.streams->pdata[i], VTOE_REASON_LINK_LOST);
        fake_batch_end(&f);
    }
    for (;;) {
        uint32_t old = f.q[FAKE_PAIRS].comp_cons;

        if (!fake_event(&f, &ev)) {
            break;
        }
        established += ev.type == VTOE_EVENT_CONNECT_ESTABLISHED;
        gone += ev.type == VTOE_EVENT_DISCONNECTED;
        link += ev.type == VTOE_EVENT_LINK_STATE;
        peer += ev.type == VTOE_EVENT_PEER_CAPABILITY;
        if (ev.type == VTOE_EVENT_LINK_STATE ||
            ev.type == VTOE_EVENT_PEER_CAPABILITY) {
            g_assert_cmpuint(GUINT64_FROM_LE(ev.value), ==, 1);
        }
        if (vtoe_need_kick(fake_ctrl_get(&f, VTOE_QUEUE_CONTROL,
                                         FAKE_CTRL(comp_room_event)),
                           old + 1, old)) {
            fake_kick(&f, VTOE_QUEUE_CONTROL);
        }
    }
    g_assert_cmpuint(established, ==, 50);
    g_assert_cmpuint(gone, ==, 50);
    g_assert_cmpuint(link, ==, 1);
    g_assert_cmpuint(peer, ==, 1);
    g_assert_cmpuint(f.open_streams, ==, 0);
    fake_finish(&f);
}

static void test_device_events(void)
{
    static const uint8_t other[6] = { 2, 0, 0, 0, 0, 7 }, any[6];
    struct vtoe_event ev;
    Fake f;

    fake_up(&f);
    fake_expect_no_event(&f);
    vtoe_dev_port_ops.link_state(f.dev, true);      /* no change, no event */
    fake_batch_end(&f);
    fake_expect_no_event(&f);
    vtoe_dev_port_ops.link_state(f.dev, false);
    fake_batch_end(&f);
    ev = fake_expect_event(&f, VTOE_EVENT_LINK_STATE, 0);
    g_assert_cmpuint(ev.value, ==, 0);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_LINK), ==, 0);

    vtoe_dev_port_ops.peer_capability(f.dev, other, true);
    fake_batch_end(&f);
    ev = fake_expect_event(&f, VTOE_EVENT_PEER_CAPABILITY, 0);
    g_assert_cmpmem(ev.u.flow.rmac, 6, other, 6);
    g_assert_cmpuint(GUINT64_FROM_LE(ev.value), ==, 1);
    vtoe_dev_port_ops.peer_capability(f.dev, other, true);
    vtoe_dev_port_ops.peer_capability(f.dev, fake_peer_mac, true);
    fake_batch_end(&f);
    ev = fake_expect_event(&f, VTOE_EVENT_PEER_CAPABILITY, 0);
    g_assert_cmpmem(ev.u.flow.rmac, 6, any, 6);
    vtoe_dev_port_ops.peer_capability(f.dev, NULL, true);
    fake_batch_end(&f);
    ev = fake_expect_event(&f, VTOE_EVENT_PEER_CAPABILITY, 0);
    g_assert_cmpmem(ev.u.flow.rmac, 6, any, 6);

    vtoe_dev_set_port(f.dev, NULL);
    vtoe_dev_removed(f.dev);
    fake_expect_event(&f, VTOE_EVENT_DEVICE_REMOVED, 0);
    fake_expect_no_event(&f);
    fake_finish(&f);
}

/* Disconnected never overtakes data, however little room there is. */
static void test_terminal_event_waits_for_data_and_mark(void)
{
    struct vtoe_comp c;
    VnetStream *s;
    Fake f;

    fake_init(&f);
    f.q[1].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 3; i++) {
        fake_post_buf(&f, 1, 5, FAKE_DATA, 64, i);
    }
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_peer_data(s, 128), ==, 128);      /* ring is full */
    fake_batch_end(&f);
    fake_peer_ack(s, 10);
    fake_peer_gone(s, VTOE_REASON_UNREAD);
    fake_batch_end(&f);
    /* Room for one entry at a time: data, data, mark, buffer, SEND. */
    for (unsigned i = 0; i < 2; i++) {
        fake_expect_no_event(&f);
        c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
        g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, i);
        g_assert_cmpuint(c.flags, ==, 0);
        fake_kick(&f, 1);
    }
    fake_expect_no_event(&f);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_ABORT);
    g_assert_cmpuint(GUINT16_FROM_LE(c.reason), ==, VTOE_REASON_UNREAD);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5).flags, ==,
                     VTOE_COMP_F_RETURNED);
    g_assert_cmpuint(reason_of(fake_expect_event(&f, VTOE_EVENT_DISCONNECTED,
                                                 5)), ==, VTOE_REASON_UNREAD);
    fake_expect_comp(&f, 1, VTOE_COMP_SEND, 5);
    query_gone(&f, 5);
    fake_finish(&f);
}

static void test_abort_by_guest(void)
{
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_data(&f, 1, 5, FAKE_DATA, 100);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 1);
    fake_kick(&f, 1);
    g_assert_cmpuint(s->ops->rx_get(s->user, s->lent, 1, 64), ==, 1);
    s->nlent = 1;
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ABORT, 5, 0, 0, 0, NULL), ==, 0);
    g_assert_true(s->aborted);
    g_assert_cmpuint(s->reason, ==, VTOE_REASON_RESET);
    g_assert_cmpuint(f.maps, ==, 0);
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    g_assert_cmpuint(reason_of(ev), ==, VTOE_REASON_RESET);
    fake_expect_no_comp(&f, 1);         /* the pool has its buffer again */
    s = fake_open(&f, 5, 1, 100);
    g_assert_cmpuint(fake_peer_data(s, 64), ==, 64);
    fake_finish(&f);
}

static void test_passive_open(void)
{
    VnetFlow flow = fake_flow(80);
    VnetStream *a, *b;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 9);
    a = fake_peer_request(&f, &flow, NULL);
    b = fake_peer_request(&f, &flow, NULL);
    g_assert_cmphex(a->sid, ==, VTOE_SID_PASSIVE);
    g_assert_cmphex(b->sid, ==, VTOE_SID_PASSIVE + 1);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, a->sid);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, b->sid);
    /* Before ACCEPT the SID is on no pair. */
    fake_post_data(&f, 1, a->sid, FAKE_DATA, 10);
    fake_kick(&f, 1);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, a->sid);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, a->sid, 2, 100, 0, NULL),
                     ==, VTOE_CMD_OK);
    fake_post_data(&f, 2, a->sid, FAKE_DATA, 10);
    fake_post_buf(&f, 2, VTOE_SID_ANY, FAKE_DATA, 64, 1);
    fake_kick(&f, 2);
    fake_peer_established(a);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_ESTABLISHED, a->sid);
    g_assert_cmpuint(fake_peer_data(a, 1000), ==, 64);
    fake_batch_end(&f);
    fake_expect_comp(&f, 2, VTOE_COMP_RECV, a->sid);
    /* The other peer gives up before it is answered. */
    fake_peer_gone(b, VTOE_REASON_CANCELLED);
    fake_batch_end(&f);
    g_assert_cmpuint(reason_of(fake_expect_event(&f, VTOE_EVENT_DISCONNECTED,
                                                 b->sid)), ==,
                     VTOE_REASON_CANCELLED);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, b->sid, 1, 0, 0, NULL), ==,
                     VTOE_CMD_UNKNOWN_SID);
    fake_finish(&f);
}

static void test_requests_before_the_driver_is_ready(void)
{
    VnetFlow flow = fake_flow(80);
    enum vtoe_reason reason;
    VtoeStats st;
    Fake f;

    fake_init(&f);
    fake_start(&f);
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_NO_STREAMS);
    fake_bring_up(&f, VTOE_F_CSUM);
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_NO_STREAMS);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.rejected_not_ready, ==, 2);
    fake_finish(&f);
}

static void test_violation_inside_a_callback_is_survived(void)
{
    VnetStream *a, *b;
    VnetRxBuf bufs[4];
    Fake f;

    fake_up(&f);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 1, 1 << 20);
    fake_post_data(&f, 1, 6, FAKE_DATA, 100);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA, 64, 1);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_RAM - 1, 64, 2);
    fake_kick(&f, 1);
    g_assert_cmpuint(a->ops->rx_get(a->user, bufs, 4, 1 << 20), ==, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    /* The overlay goes on until the end of its dispatch. */
    f.forbid_dma = true;
    a->ops->rx_return(a->user, bufs, 1);
    fake_peer_ack(b, 100);
    fake_peer_data(b, 10);
    fake_peer_end(b);
    g_assert_false(a->gone);
    fake_batch_end(&f);
    g_assert_true(a->aborted && b->aborted);
    g_assert_cmpuint(f.maps, ==, 0);
    f.forbid_dma = false;
    fake_finish(&f);
}

static void test_idle_stream_is_small(void)
{
    g_assert_cmpuint(sizeof(VtoeStream) + VTOE_SEG_IDLE * sizeof(VtoeTxSeg), <=,
                     1024);
}

static void count_stream(void *opaque, uint32_t sid,
                         enum vtoe_stream_state state, uint64_t rx_limit,
                         VnetStream *s)
{
    g_assert_cmpuint(state, ==, VTOE_STREAM_ESTABLISHED);
    g_assert_cmpuint(rx_limit, ==, sid * 10);
    g_assert_cmpuint(s->sid, ==, sid);
    (*(unsigned *)opaque)++;
}

static void test_foreach_stream(void)
{
    unsigned n = 0;
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 50);
    fake_open(&f, 6, 1, 60);
    vtoe_dev_foreach_stream(f.dev, count_stream, &n);
    g_assert_cmpuint(n, ==, 2);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/streams/" #name, test_ ## name)
    T(tx_peek_yields_the_bytes_of_the_descriptors);
    T(buffers_are_unmapped_when_acknowledged);
    T(unknown_sid_is_dropped_unread);
    T(bad_send_descriptors);
    T(max_inflight);
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
    T(end_mark_stands_behind_the_last_byte);
    T(mark_is_not_put_on_another_streams_data);
    T(graceful_end_both_ways);
    T(peer_shutdown_event_if_asked_for);
    T(terminal_events);
    T(nothing_is_lost_when_the_event_ring_is_full);
    T(device_events);
    T(terminal_event_waits_for_data_and_mark);
    T(abort_by_guest);
    T(passive_open);
    T(requests_before_the_driver_is_ready);
    T(violation_inside_a_callback_is_survived);
    T(idle_stream_is_small);
    T(foreach_stream);
    return g_test_run();
}
