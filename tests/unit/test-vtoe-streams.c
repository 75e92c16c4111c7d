/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of streams of the vtoe device: opening, marks, events, ends
 * (docs/specs/vtoe.rst sections 3.4, 5 and 6).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

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
