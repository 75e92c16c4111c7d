/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two QEMUs, a vnet link between them: frames, streams, and the ways in which
 * either can end.  Each of the events that the paper names is provoked by what
 * causes it.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "vtoe-pair.h"

/* --- Frames -------------------------------------------------------------- */

static void fill_frame(uint8_t *frame, size_t len, const uint8_t *dst,
                       const uint8_t *src)
{
    size_t i;

    memcpy(frame, dst, 6);
    memcpy(frame + 6, src, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
    for (i = 14; i < len; i++) {
        frame[i] = i * 7;
    }
}

static void send_frame(VtoeDriver *d, uint64_t addr, uint32_t len)
{
    vtoe_send(d, &d->q[0], VTOE_SID_FRAME, addr, len);
}

static void test_frame_arrives_whole(const void *data)
{
    size_t len = GPOINTER_TO_SIZE(data), done = 0;
    g_autofree uint8_t *frame = g_malloc(len), *got = g_malloc(len);
    VtoePair *p = vtoe_pair_start("");
    uint64_t src = vtoe_alloc(p->a.d, len), dst = vtoe_alloc(p->b.d, 65536 * 2);
    struct vtoe_comp c;
    unsigned n, i;

    fill_frame(frame, len, vtoe_mac_b, vtoe_mac_a);
    qtest_memwrite(p->a.qts, src, frame, len);
    for (i = 0; i < 32; i++) {
        vtoe_post_recv(p->b.d, &p->b.d->q[0], dst + i * 4096, 4096, 0, i);
    }
    vtoe_kick(p->b.d, &p->b.d->q[0]);
    send_frame(p->a.d, src, len);

    c = vtoe_wait_comp(p->b.d, &p->b.d->q[0]);
    n = le16_to_cpu(c.u.frame.num_buffers);
    g_assert_cmpuint(n, ==, (len + 4095) / 4096);
    for (i = 0; i < n; i++) {
        g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
        g_assert_cmpuint(c.id, ==, i);
        g_assert_cmphex(c.flags, ==, i + 1 < n ? VTOE_COMP_F_MORE : 0);
        g_assert_cmpuint(c.len, <=, len - done);
        qtest_memread(p->b.qts, dst + i * 4096, got + done, c.len);
        done += c.len;
        if (i + 1 < n) {
            c = vtoe_wait_comp(p->b.d, &p->b.d->q[0]);
        }
    }
    g_assert_cmpmem(got, done, frame, len);
    c = vtoe_wait_comp(p->a.d, &p->a.d->q[0]);
    g_assert_cmpuint(c.type, ==, VTOE_COMP_SEND);
    g_assert_cmpuint(c.u.offset, ==, 1);
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "tx_frames"), ==, 1);
    g_assert_cmpuint(vtoe_counter(p->b.qts, "nic0", "rx_frames"), ==, 1);
    vtoe_pair_quit(p);
}

static void test_frame_without_buffer_waits(void)
{
    VtoePair *p = vtoe_pair_start("");
    uint64_t src = vtoe_alloc(p->a.d, 64), dst = vtoe_alloc(p->b.d, 4096);
    uint8_t frame[64];

    fill_frame(frame, sizeof(frame), vtoe_mac_b, vtoe_mac_a);
    qtest_memwrite(p->a.qts, src, frame, sizeof(frame));
    send_frame(p->a.d, src, sizeof(frame));
    vtoe_wait_counter(p->b.qts, "nic0", "rx_held", 1);
    vtoe_post_recv(p->b.d, &p->b.d->q[0], dst, 4096, 0, 5);
    vtoe_kick(p->b.d, &p->b.d->q[0]);
    g_assert_cmpuint(vtoe_wait_comp(p->b.d, &p->b.d->q[0]).id, ==, 5);
    /* But not for ever. */
    send_frame(p->a.d, src, sizeof(frame));
    vtoe_wait_counter(p->b.qts, "nic0", "rx_held", 2);
    qtest_clock_step(p->b.qts, 2 * 1000 * 1000 * 1000ll);
    vtoe_wait_counter(p->b.qts, "nic0", "rx_drop_no_buffer", 1);
    vtoe_pair_quit(p);
}

static void test_frame_to_another_is_filtered(void)
{
    VtoePair *p = vtoe_pair_start("");
    uint64_t src = vtoe_alloc(p->a.d, 64), dst = vtoe_alloc(p->b.d, 4096);
    uint8_t frame[64];

    vtoe_post_recv(p->b.d, &p->b.d->q[0], dst, 4096, 0, 5);
    vtoe_kick(p->b.d, &p->b.d->q[0]);
    fill_frame(frame, sizeof(frame), vtoe_mac_none, vtoe_mac_a);
    qtest_memwrite(p->a.qts, src, frame, sizeof(frame));
    send_frame(p->a.d, src, sizeof(frame));     /* flooded */
    vtoe_wait_counter(p->b.qts, "nic0", "rx_drop_filter", 1);
    vtoe_wr(p->b.d, VTOE_REG_RX_FILTER, VTOE_RX_PROMISC | VTOE_RX_ALLMULTI);
    send_frame(p->a.d, src, sizeof(frame));
    g_assert_cmpuint(vtoe_wait_comp(p->b.d, &p->b.d->q[0]).id, ==, 5);
    vtoe_pair_quit(p);
}

/* --- Streams ------------------------------------------------------------- */

static void test_stream_carries_both_ways(void)
{
    VtoePair *p = vtoe_pair_start("");
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 1);
    vtoe_pair_transfer(p->b.d, s.b, p->a.d, s.a, 0, 100000);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 1, 1000000);
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "tx_stream_bytes"), ==,
                     1000001);
    g_assert_cmpuint(vtoe_counter(p->b.qts, "nic0", "rx_stream_bytes"), ==,
                     1000001);
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "bytes_copied"), ==, 0);
    g_assert_cmpuint(vtoe_counter(p->b.qts, "nic0", "bytes_copied"), ==, 0);
    vtoe_pair_quit(p);
}

static void test_query_tells_offsets(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_cmd query = { .op = VTOE_CMD_QUERY, .sid = cpu_to_le32(1) };
    struct vtoe_event ev;
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 5000);
    vtoe_pair_transfer(p->b.d, s.b, p->a.d, s.a, 0, 300);
    ev = vtoe_wait_answer(p->a.d, vtoe_command_post(p->a.d, &query));
    g_assert_cmpuint(ev.reason, ==, VTOE_CMD_OK);
    g_assert_cmpuint(le64_to_cpu(ev.u.query.tx_acked), ==, 5000);
    g_assert_cmpuint(le64_to_cpu(ev.u.query.tx_sent), ==, 5000);
    g_assert_cmpuint(le64_to_cpu(ev.u.query.rx_delivered), ==, 300);
    g_assert_cmpuint(le64_to_cpu(ev.u.query.rx_limit), ==, VTOE_TEST_CREDIT);
    g_assert_cmpuint(le32_to_cpu(ev.u.query.state), ==,
                     VTOE_STREAM_ESTABLISHED);
    vtoe_pair_quit(p);
}

/* Without credit nothing is delivered, and what is granted is. */
static void test_credit_limits_delivery(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_flow flow = vtoe_pair_flow(1);
    uint64_t src, dst;
    struct vtoe_event req;
    struct vtoe_comp c;
    gint64 deadline = 0;

    vtoe_pair_listen(p);
    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    req = vtoe_wait_event(p->b.d, VTOE_EVENT_CONNECT_REQUEST);
    g_assert_cmpuint(vtoe_accept(p->b.d, req.sid, 1, 100), ==, VTOE_CMD_OK);
    vtoe_wait_event_of(p->a.d, VTOE_EVENT_CONNECT_ESTABLISHED, 1);

    src = vtoe_alloc(p->a.d, 4096);
    dst = vtoe_alloc(p->b.d, 8192);
    vtoe_post_recv(p->b.d, &p->b.d->q[1], dst, 4096, VTOE_SID_ANY, 1);
    vtoe_post_recv(p->b.d, &p->b.d->q[1], dst + 4096, 4096, VTOE_SID_ANY, 2);
    vtoe_kick(p->b.d, &p->b.d->q[1]);
    vtoe_send(p->a.d, &p->a.d->q[1], 1, src, 4096);
    c = vtoe_wait_comp(p->b.d, &p->b.d->q[1]);
    g_assert_cmpuint(c.len, ==, 100);
    /* Less than half of what is in flight: told after 20 ms. */
    while (!vtoe_poll_comp(p->a.d, &p->a.d->q[1], &c)) {
        qtest_clock_step(p->a.qts, 20 * 1000 * 1000);
        vtoe_wait_step(&deadline, "the acknowledgement");
    }
    g_assert_cmpuint(c.u.offset, ==, 100);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_CREDIT, req.sid, 4096,
                                      0), ==, VTOE_CMD_OK);
    c = vtoe_wait_comp(p->b.d, &p->b.d->q[1]);
    g_assert_cmpuint(c.u.offset, ==, 100);
    g_assert_cmpuint(c.len, ==, 3996);
    vtoe_pair_quit(p);
}

static void wait_end_mark(VtoeDriver *d, uint32_t sid, uint8_t flag)
{
    struct vtoe_comp c = vtoe_wait_comp(d, &d->q[1]);

    g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
    g_assert_cmphex(c.sid, ==, sid);
    g_assert_cmphex(c.flags, ==, flag);
    g_assert_cmphex(c.id, ==, VTOE_ID_NONE);
    g_assert_cmpuint(c.len, ==, 0);
}

static void wait_disconnected(VtoeDriver *d, uint32_t sid, unsigned reason,
                              uint64_t delivered)
{
    struct vtoe_event ev = vtoe_wait_event_of(d, VTOE_EVENT_DISCONNECTED, sid);

    g_assert_cmpuint(ev.reason, ==, reason);
    g_assert_cmpuint(ev.value, ==, delivered);
}

static void test_half_close_then_close(void)
{
    VtoePair *p = vtoe_pair_start("");
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 1000);
    g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_SHUTDOWN, s.a, 1000, 0),
                     ==, VTOE_CMD_OK);
    wait_end_mark(p->b.d, s.b, VTOE_COMP_F_END);
    /* The other direction still works. */
    vtoe_pair_transfer(p->b.d, s.b, p->a.d, s.a, 0, 2000);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_CLOSE, s.b, 2000, 0),
                     ==, VTOE_CMD_OK);
    wait_end_mark(p->a.d, s.a, VTOE_COMP_F_END);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_NONE, 2000);
    wait_disconnected(p->b.d, s.b, VTOE_REASON_NONE, 1000);
    vtoe_wait_no_streams(&p->a);
    vtoe_wait_no_streams(&p->b);
    vtoe_pair_quit(p);
}

static void test_simultaneous_close(void)
{
    VtoePair *p = vtoe_pair_start("");
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_CLOSE, s.a, 0, 0), ==,
                     VTOE_CMD_OK);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_CLOSE, s.b, 0, 0), ==,
                     VTOE_CMD_OK);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_NONE, 0);
    wait_disconnected(p->b.d, s.b, VTOE_REASON_NONE, 0);
    vtoe_pair_quit(p);
}

static void test_abort_resets_the_peer(void)
{
    VtoePair *p = vtoe_pair_start("");
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_ABORT, s.a, 0,
                                      VTOE_REASON_RESET), ==, VTOE_CMD_OK);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_RESET, 0);
    wait_end_mark(p->b.d, s.b, VTOE_COMP_F_ABORT);
    wait_disconnected(p->b.d, s.b, VTOE_REASON_RESET, 0);
    vtoe_pair_quit(p);
}

static void test_close_with_unread_data_resets(void)
{
    VtoePair *p = vtoe_pair_start("");
    uint64_t src;
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    src = vtoe_alloc(p->a.d, 4096);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_CLOSE, s.b, 0, 0), ==,
                     VTOE_CMD_OK);
    vtoe_send(p->a.d, &p->a.d->q[1], s.a, src, 4096);
    wait_disconnected(p->b.d, s.b, VTOE_REASON_UNREAD, 0);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_UNREAD, 0);
    vtoe_pair_quit(p);
}

/* As a driver sleeps: asks for an interrupt, looks again, then waits for it. */
static struct vtoe_comp sleep_for_comp(VtoeDriver *d, VtoeTestQueue *q)
{
    struct vtoe_comp c;

    qtest_writel(d->qts, q->ctrl + offsetof(struct vtoe_queue_ctrl, comp_event),
                 q->comp_cons);
    while (!vtoe_poll_comp(d, q, &c)) {
        vtoe_wait_msix(d, q->vector);
    }
    return c;
}

static void wait_bytes(VtoeDriver *d, uint64_t addr, uint32_t id)
{
    struct vtoe_comp c;

    do {
        c = sleep_for_comp(d, &d->q[1]);
    } while (c.type != VTOE_COMP_RECV);
    g_assert_cmpuint(c.id, ==, id);
    vtoe_post_recv(d, &d->q[1], addr, 64, VTOE_SID_ANY, id + 1);
    vtoe_kick(d, &d->q[1]);
}

/*
 * A ping-pong whose ends ring only when asked for and sleep until interrupted:
 * it stands still when one kick or one interrupt gets lost.
 */
static void test_no_kick_or_interrupt_is_lost(const void *extra)
{
    VtoePair *p = vtoe_pair_boot("pc", extra);
    uint64_t a, b;
    VtoeTestStream s;
    unsigned i;

    vtoe_msix_enable(p->a.d);
    vtoe_msix_enable(p->b.d);
    vtoe_pair_bring_up(p);
    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    a = vtoe_alloc(p->a.d, 4096);
    b = vtoe_alloc(p->b.d, 4096);
    vtoe_post_recv(p->a.d, &p->a.d->q[1], a, 64, VTOE_SID_ANY, 0);
    vtoe_post_recv(p->b.d, &p->b.d->q[1], b, 64, VTOE_SID_ANY, 0);
    vtoe_kick(p->a.d, &p->a.d->q[1]);
    vtoe_kick(p->b.d, &p->b.d->q[1]);
    for (i = 0; i < 2000; i++) {
        vtoe_send(p->a.d, &p->a.d->q[1], s.a, a + 1024, 14);
        wait_bytes(p->b.d, b, i);
        vtoe_send(p->b.d, &p->b.d->q[1], s.b, b + 1024, 14);
        wait_bytes(p->a.d, a, i);
    }
    vtoe_pair_quit(p);
}

/* --- The events of connecting -------------------------------------------- */

static void wait_failed(VtoeDriver *d, unsigned event, uint32_t sid,
                        unsigned reason)
{
    g_assert_cmpuint(vtoe_wait_event_of(d, event, sid).reason, ==, reason);
}

static void test_address_error_no_peer(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_flow flow = vtoe_flow4(vtoe_mac_a, 1, 1, vtoe_mac_none, 9, 80);

    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    wait_failed(p->a.d, VTOE_EVENT_ADDRESS_ERROR, 1, VTOE_REASON_NO_PEER);
    vtoe_wait_no_streams(&p->a);
    vtoe_pair_quit(p);
}

static void test_address_error_no_streams(void)
{
    VtoePair *p = vtoe_pair_boot("pc", "");
    struct vtoe_flow flow = vtoe_pair_flow(1);

    vtoe_start(p->a.d, 2, VTOE_TEST_RING);
    vtoe_start_with(p->b.d, 0, 1, VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    wait_failed(p->a.d, VTOE_EVENT_ADDRESS_ERROR, 1, VTOE_REASON_NO_STREAMS);
    vtoe_pair_quit(p);
}

static void test_connect_rejected(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_flow flow = vtoe_pair_flow(1);
    struct vtoe_event req;

    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    wait_failed(p->a.d, VTOE_EVENT_CONNECT_REJECTED, 1,
                VTOE_REASON_NO_LISTENER);

    vtoe_pair_listen(p);
    req = vtoe_pair_request(p, 2);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_REJECT, req.sid, 0,
                                      VTOE_REASON_POLICY), ==, VTOE_CMD_OK);
    wait_failed(p->a.d, VTOE_EVENT_CONNECT_REJECTED, 2, VTOE_REASON_POLICY);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_ABORT, req.sid, 0, 0),
                     ==, VTOE_CMD_UNKNOWN_SID);
    vtoe_wait_no_streams(&p->b);
    vtoe_pair_quit(p);
}

static void test_backlog_rejects(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_flow flow = vtoe_pair_flow(3);

    g_assert_cmpuint(vtoe_listen(p->b.d, 1, VTOE_TEST_PORT, 2), ==,
                     VTOE_CMD_OK);
    vtoe_pair_request(p, 1);
    vtoe_pair_request(p, 2);
    g_assert_cmpuint(vtoe_connect(p->a.d, 3, 1, &flow, 0), ==, VTOE_CMD_OK);
    wait_failed(p->a.d, VTOE_EVENT_CONNECT_REJECTED, 3, VTOE_REASON_BACKLOG);
    vtoe_pair_quit(p);
}

/* The guest does not answer: the device does, when the time is over. */
static void test_accept_timeout_rejects(void)
{
    VtoePair *p = vtoe_pair_start(",accept-timeout=1000");
    struct vtoe_event req;

    vtoe_pair_listen(p);
    req = vtoe_pair_request(p, 1);
    qtest_clock_step(p->b.qts, 999 * 1000 * 1000ll);
    g_assert_false(vtoe_have_event(p->b.d, VTOE_EVENT_DISCONNECTED, req.sid));
    qtest_clock_step(p->b.qts, 2 * 1000 * 1000ll);
    wait_disconnected(p->b.d, req.sid, VTOE_REASON_TIMEOUT, 0);
    wait_failed(p->a.d, VTOE_EVENT_CONNECT_REJECTED, 1, VTOE_REASON_TIMEOUT);
    vtoe_pair_quit(p);
}

static void test_unreachable_when_the_peer_died(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_event ev;

    vtoe_pair_listen(p);
    vtoe_pair_request(p, 1);            /* b never answers it */
    vtoe_host_kill(&p->b);
    ev = vtoe_wait_event_of(p->a.d, VTOE_EVENT_UNREACHABLE, 1);
    g_assert_cmpuint(ev.reason, !=, VTOE_REASON_NONE);
    vtoe_wait_no_streams(&p->a);
    vtoe_pair_quit(p);
}

static void test_route_error_without_links(void)
{
    VtoeHost h;
    struct vtoe_flow flow = vtoe_pair_flow(1);

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    vtoe_start(h.d, 2, VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_connect(h.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    vtoe_wait_event_of(h.d, VTOE_EVENT_ROUTE_ERROR, 1);
    vtoe_host_quit(&h);
}

/* --- The ends of a device ------------------------------------------------ */

/* An open stream that has carried something. */
static VtoePair *pair_with_stream(const char *extra, VtoeTestStream *s)
{
    VtoePair *p = vtoe_pair_start(extra);

    vtoe_pair_listen(p);
    *s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s->a, p->b.d, s->b, 0, 1000);
    return p;
}

static void test_peer_killed(void)
{
    VtoeTestStream s;
    VtoePair *p = pair_with_stream("", &s);

    vtoe_host_kill(&p->b);
    wait_end_mark(p->a.d, s.a, VTOE_COMP_F_ABORT);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_LINK_LOST, 0);
    vtoe_wait_no_streams(&p->a);
    vtoe_pair_quit(p);
}

static void test_reset_with_open_stream(void)
{
    VtoeTestStream s;
    VtoePair *p = pair_with_stream("", &s);

    vtoe_reset(p->b.d);
    g_assert_cmpuint(vtoe_open_streams(p->b.qts, "nic0"), ==, 0);
    wait_end_mark(p->a.d, s.a, VTOE_COMP_F_ABORT);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_DEVICE_RESET, 0);
    /* And it works again. */
    vtoe_start(p->b.d, 2, VTOE_TEST_RING);
    vtoe_pair_quit(p);
}

static void test_system_reset_with_open_stream(void)
{
    VtoeTestStream s;
    VtoePair *p = pair_with_stream("", &s);

    qtest_system_reset(p->b.qts);
    g_assert_cmpuint(vtoe_open_streams(p->b.qts, "nic0"), ==, 0);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_DEVICE_RESET, 0);
    vtoe_pair_quit(p);
}

static void test_flr_with_open_stream(void)
{
    VtoePair *p = vtoe_pair_boot("q35", "");
    VtoeTestStream s;
    uint32_t generation, bar[6];
    uint8_t cap;
    unsigned i;

    vtoe_pair_bring_up(p);
    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    cap = qpci_find_capability(p->b.pci, PCI_CAP_ID_EXP, 0);
    g_assert_cmphex(cap, !=, 0);
    g_assert_cmphex(qpci_config_readl(p->b.pci, cap + PCI_EXP_DEVCAP) &
                    PCI_EXP_DEVCAP_FLR, !=, 0);
    generation = p->b.d->generation;
    for (i = 0; i < 6; i++) {
        bar[i] = qpci_config_readl(p->b.pci, PCI_BASE_ADDRESS_0 + 4 * i);
    }
    qpci_config_writew(p->b.pci, cap + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    for (i = 0; i < 6; i++) {
        qpci_config_writel(p->b.pci, PCI_BASE_ADDRESS_0 + 4 * i, bar[i]);
    }
    qpci_device_enable(p->b.pci);
    g_assert_cmphex(vtoe_rd(p->b.d, VTOE_REG_STATUS), ==, 0);
    g_assert_cmphex(vtoe_rd(p->b.d, VTOE_REG_GENERATION), ==, generation + 1);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_DEVICE_RESET, 0);
    vtoe_pair_quit(p);
}

static void test_device_del_with_open_stream(void)
{
    VtoeTestStream s;
    VtoePair *p = pair_with_stream("", &s);

    qpci_unplug_acpi_device_test(p->b.qts, "nic0", VTOE_SLOT);
    wait_end_mark(p->a.d, s.a, VTOE_COMP_F_ABORT);
    wait_disconnected(p->a.d, s.a, VTOE_REASON_DEVICE_RESET, 0);
    vtoe_pair_quit(p);
}

static void test_netdev_del_with_open_stream(void)
{
    VtoeTestStream s;
    VtoePair *p = pair_with_stream("", &s);
    struct vtoe_flow flow = vtoe_flow4(vtoe_mac_b, 2, 1, vtoe_mac_a, 1, 80);
    struct vtoe_event ev;

    qtest_qmp_assert_success(p->b.qts, "{ 'execute': 'netdev_del',"
                             " 'arguments': { 'id': 'n0' } }");
    /* The device lives on, and says what happened. */
    vtoe_wait_event(p->b.d, VTOE_EVENT_DEVICE_REMOVED);
    ev = vtoe_wait_event_of(p->b.d, VTOE_EVENT_DISCONNECTED, s.b);
    g_assert_cmpuint(ev.value, ==, 1000);
    g_assert_cmphex(vtoe_rd(p->b.d, VTOE_REG_LINK), ==, 0);
    vtoe_wait_no_streams(&p->b);
    vtoe_wait_event_of(p->a.d, VTOE_EVENT_DISCONNECTED, s.a);
    vtoe_assert_monitor(p->b.qts);
    /* There is no way to anyone now, also after a reset. */
    g_assert_cmpuint(vtoe_connect(p->b.d, 5, 1, &flow, 0), ==,
                     VTOE_CMD_STATE);
    vtoe_start(p->b.d, 2, VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_connect(p->b.d, 5, 1, &flow, 0), ==,
                     VTOE_CMD_STATE);
    /* And can be removed in turn, which frees the netdev. */
    qpci_unplug_acpi_device_test(p->b.qts, "nic0", VTOE_SLOT);
    vtoe_pair_quit(p);
}

/* A stopped guest sees nothing move; afterwards nothing is missing. */
static void test_stop_and_cont(void)
{
    VtoeTestStream s;
    VtoePair *p = pair_with_stream("", &s);
    uint64_t src = vtoe_alloc(p->a.d, 4096), dst = vtoe_alloc(p->b.d, 4096);
    uint32_t before;

    vtoe_post_recv(p->b.d, &p->b.d->q[1], dst, 4096, s.b, 9);
    vtoe_kick(p->b.d, &p->b.d->q[1]);
    qtest_qmp_assert_success(p->b.qts, "{ 'execute': 'stop' }");
    before = qtest_readl(p->b.qts, p->b.d->q[1].ctrl +
                         offsetof(struct vtoe_queue_ctrl, comp_prod));
    vtoe_send(p->a.d, &p->a.d->q[1], s.a, src, 4096);
    vtoe_wait_counter(p->a.qts, "nic0", "tx_stream_descs", 2);
    vtoe_assert_monitor(p->b.qts);
    g_assert_cmpuint(qtest_readl(p->b.qts, p->b.d->q[1].ctrl +
                                 offsetof(struct vtoe_queue_ctrl, comp_prod)),
                     ==, before);
    qtest_qmp_assert_success(p->b.qts, "{ 'execute': 'cont' }");
    g_assert_cmpuint(vtoe_wait_comp(p->b.d, &p->b.d->q[1]).id, ==, 9);
    vtoe_pair_quit(p);
}

/* set_link: carrier and frames follow. */
static void test_set_link(void)
{
    VtoePair *p = vtoe_pair_start("");
    gint64 deadline = 0;

    while (!vtoe_rd(p->a.d, VTOE_REG_LINK)) {
        vtoe_wait_step(&deadline, "the carrier");
    }
    qtest_qmp_assert_success(p->a.qts, "{ 'execute': 'set_link',"
        " 'arguments': { 'name': 'nic0', 'up': false } }");
    g_assert_cmphex(vtoe_rd(p->a.d, VTOE_REG_LINK), ==, 0);
    qtest_qmp_assert_success(p->a.qts, "{ 'execute': 'set_link',"
        " 'arguments': { 'name': 'nic0', 'up': true } }");
    g_assert_cmphex(vtoe_rd(p->a.d, VTOE_REG_LINK), ==, 1);
    vtoe_pair_quit(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("/vtoe/frame/60-bytes", GSIZE_TO_POINTER(60),
                        test_frame_arrives_whole);
    qtest_add_data_func("/vtoe/frame/1514-bytes", GSIZE_TO_POINTER(1514),
                        test_frame_arrives_whole);
    qtest_add_data_func("/vtoe/frame/65550-bytes", GSIZE_TO_POINTER(65550),
                        test_frame_arrives_whole);
    qtest_add_func("/vtoe/frame/without-buffer-waits",
                   test_frame_without_buffer_waits);
    qtest_add_func("/vtoe/frame/to-another-is-filtered",
                   test_frame_to_another_is_filtered);
    qtest_add_func("/vtoe/stream/carries-both-ways",
                   test_stream_carries_both_ways);
    qtest_add_data_func("/vtoe/stream/nothing-is-lost/direct", "",
                        test_no_kick_or_interrupt_is_lost);
    qtest_add_data_func("/vtoe/stream/nothing-is-lost/main-loop",
                        ",x-direct-irq=off", test_no_kick_or_interrupt_is_lost);
    qtest_add_data_func("/vtoe/stream/nothing-is-lost/eoc-off",
                        ",eoc=off,evi=off", test_no_kick_or_interrupt_is_lost);
    qtest_add_func("/vtoe/stream/query-tells-offsets",
                   test_query_tells_offsets);
    qtest_add_func("/vtoe/stream/credit-limits-delivery",
                   test_credit_limits_delivery);
    qtest_add_func("/vtoe/stream/half-close-then-close",
                   test_half_close_then_close);
    qtest_add_func("/vtoe/stream/simultaneous-close", test_simultaneous_close);
    qtest_add_func("/vtoe/stream/abort-resets-the-peer",
                   test_abort_resets_the_peer);
    qtest_add_func("/vtoe/stream/close-with-unread-data-resets",
                   test_close_with_unread_data_resets);
    qtest_add_func("/vtoe/event/address-error-no-peer",
                   test_address_error_no_peer);
    qtest_add_func("/vtoe/event/address-error-no-streams",
                   test_address_error_no_streams);
    qtest_add_func("/vtoe/event/connect-rejected", test_connect_rejected);
    qtest_add_func("/vtoe/event/backlog-rejects", test_backlog_rejects);
    qtest_add_func("/vtoe/event/accept-timeout-rejects",
                   test_accept_timeout_rejects);
    qtest_add_func("/vtoe/event/unreachable-when-the-peer-died",
                   test_unreachable_when_the_peer_died);
    qtest_add_func("/vtoe/event/route-error-without-links",
                   test_route_error_without_links);
    qtest_add_func("/vtoe/end/peer-killed", test_peer_killed);
    qtest_add_func("/vtoe/end/reset", test_reset_with_open_stream);
    qtest_add_func("/vtoe/end/system-reset",
                   test_system_reset_with_open_stream);
    qtest_add_func("/vtoe/end/flr", test_flr_with_open_stream);
    qtest_add_func("/vtoe/end/device-del", test_device_del_with_open_stream);
    qtest_add_func("/vtoe/end/netdev-del", test_netdev_del_with_open_stream);
    qtest_add_func("/vtoe/vm/stop-and-cont", test_stop_and_cont);
    qtest_add_func("/vtoe/vm/set-link", test_set_link);
    return g_test_run();
}
