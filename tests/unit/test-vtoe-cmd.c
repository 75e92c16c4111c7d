/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe device's commands and listeners (docs/specs/vtoe.rst section 4).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

#define OK          VTOE_CMD_OK
#define INVALID     VTOE_CMD_INVALID
#define UNKNOWN     VTOE_CMD_UNKNOWN_SID
#define STATE       VTOE_CMD_STATE

/* --- decoding alone ------------------------------------------------------------- */

static unsigned decode(const struct vtoe_cmd *raw)
{
    VtoeCmd out;
    unsigned status = vtoe_cmd_decode(raw, FAKE_PAIRS, &out);

    g_assert_cmpuint(out.op, ==, raw->op);
    g_assert_cmpuint(out.tag, ==, GUINT32_FROM_LE(raw->tag));
    return status;
}

static unsigned decode_sid(unsigned op, uint32_t sid)
{
    struct vtoe_cmd cmd = fake_connect_cmd(sid, 1, 1);

    cmd.op = op;
    cmd.reason = GUINT16_TO_LE(VTOE_REASON_RESET);
    return decode(&cmd);
}

static void test_sid_ranges(void)
{
    for (unsigned op = VTOE_CMD_CONNECT; op <= VTOE_CMD_QUERY; op++) {
        bool guest = op <= VTOE_CMD_UNLISTEN;   /* the guest's own numbers */

        g_assert_cmpuint(decode_sid(op, 0), ==, INVALID);
        g_assert_cmpuint(decode_sid(op, 1), ==, OK);
        g_assert_cmpuint(decode_sid(op, 0x7fffffff), ==, OK);
        g_assert_cmpuint(decode_sid(op, 0x80000000), ==, guest ? INVALID : OK);
        g_assert_cmpuint(decode_sid(op, 0xfffffffe), ==, guest ? INVALID : OK);
        g_assert_cmpuint(decode_sid(op, 0xffffffff), ==, INVALID);
    }
}

static void test_opcodes(void)
{
    g_assert_cmpuint(decode_sid(0, 1), ==, VTOE_CMD_UNSUPPORTED);
    g_assert_cmpuint(decode_sid(11, 1), ==, VTOE_CMD_UNSUPPORTED);
    g_assert_cmpuint(decode_sid(255, 1), ==, VTOE_CMD_UNSUPPORTED);
}

static void test_flags(void)
{
    for (unsigned op = VTOE_CMD_CONNECT; op <= VTOE_CMD_QUERY; op++) {
        bool takes = op == VTOE_CMD_CONNECT || op == VTOE_CMD_ACCEPT;

        for (unsigned bit = 0; bit < 8; bit++) {
            struct vtoe_cmd cmd = fake_connect_cmd(1, 1, 1);

            cmd.op = op;
            cmd.reason = GUINT16_TO_LE(1);
            cmd.flags = 1u << bit;
            g_assert_cmpuint(decode(&cmd), ==, bit == 0 && takes ? OK : INVALID);
        }
    }
}

static unsigned decode_pair(unsigned op, uint32_t pair)
{
    struct vtoe_cmd cmd = fake_connect_cmd(1, pair, 1);

    cmd.op = op;
    return decode(&cmd);
}

static void test_pairs(void)
{
    static const unsigned ops[] = { VTOE_CMD_CONNECT, VTOE_CMD_ACCEPT };

    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        g_assert_cmpuint(decode_pair(ops[i], 0), ==, INVALID);
        g_assert_cmpuint(decode_pair(ops[i], 1), ==, OK);
        g_assert_cmpuint(decode_pair(ops[i], FAKE_PAIRS - 1), ==, OK);
        g_assert_cmpuint(decode_pair(ops[i], FAKE_PAIRS), ==, INVALID);
        g_assert_cmpuint(decode_pair(ops[i], FAKE_PAIRS + 1), ==, INVALID);
        g_assert_cmpuint(decode_pair(ops[i], VTOE_QUEUE_CONTROL), ==, INVALID);
        g_assert_cmpuint(decode_pair(ops[i], ~0u), ==, INVALID);
    }
}

static unsigned decode_reason(unsigned op, unsigned reason)
{
    struct vtoe_cmd cmd = {
        .op = op, .sid = GUINT32_TO_LE(9), .reason = GUINT16_TO_LE(reason),
    };

    return decode(&cmd);
}

static void test_reasons(void)
{
    g_assert_cmpuint(decode_reason(VTOE_CMD_REJECT, 0), ==, INVALID);
    g_assert_cmpuint(decode_reason(VTOE_CMD_REJECT, 1), ==, OK);
    g_assert_cmpuint(decode_reason(VTOE_CMD_REJECT, VTOE_REASON_MAX), ==, OK);
    g_assert_cmpuint(decode_reason(VTOE_CMD_REJECT, VTOE_REASON_MAX + 1), ==,
                     INVALID);
    g_assert_cmpuint(decode_reason(VTOE_CMD_REJECT, 0xffff), ==, INVALID);
    g_assert_cmpuint(decode_reason(VTOE_CMD_ABORT, 0), ==, OK);
    g_assert_cmpuint(decode_reason(VTOE_CMD_ABORT, VTOE_REASON_MAX), ==, OK);
    g_assert_cmpuint(decode_reason(VTOE_CMD_ABORT, VTOE_REASON_MAX + 1), ==,
                     INVALID);
}

static void test_flow_fields(void)
{
    struct vtoe_cmd cmd;
    VtoeCmd out;

#define WITH(stmt) \
    do { cmd = fake_connect_cmd(1, 1, 1); stmt; } while (0)
    WITH(cmd.flow.family = 0);
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    WITH(cmd.flow.family = 5);
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    WITH(cmd.flow.family = 6);
    g_assert_cmpuint(decode(&cmd), ==, OK);
    WITH(cmd.flow.lport = 0);
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    WITH(cmd.flow.rport = 0);
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    WITH(cmd.flow.rmac[0] |= 1);
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    WITH(memset(cmd.flow.rmac, 0, 6));
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    WITH(cmd.flow.lmac[0] |= 1);
    g_assert_cmpuint(decode(&cmd), ==, INVALID);
    /* What is behind an IPv4 address does not matter. */
    WITH(memset(cmd.flow.laddr + 4, 0xff, 12));
    g_assert_cmpuint(vtoe_cmd_decode(&cmd, FAKE_PAIRS, &out), ==, OK);
    g_assert_cmpuint(out.flow.laddr[3], ==, 1);
    g_assert_cmpuint(out.flow.laddr[4], ==, 0);
#undef WITH
}

static void test_backlog(void)
{
    static const uint64_t bad[] = { 0, 65536, ~0ull };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct vtoe_cmd cmd = fake_connect_cmd(1, 0, bad[i]);

        cmd.op = VTOE_CMD_LISTEN;
        g_assert_cmpuint(decode(&cmd), ==, INVALID);
        cmd.value = GUINT64_TO_LE(65535);
        g_assert_cmpuint(decode(&cmd), ==, OK);
    }
}

/* --- in the device --------------------------------------------------------------- */

static void test_without_stream_all_commands_are_unsupported(void)
{
    Fake f;

    fake_init(&f);
    fake_start(&f);
    fake_bring_up(&f, VTOE_F_CSUM);
    g_assert_false(f.port.streams);
    for (unsigned op = 0; op <= 12; op++) {
        g_assert_cmpuint(fake_cmd(&f, op, 5, 1, 1, 1, NULL), ==,
                         VTOE_CMD_UNSUPPORTED);
    }
    fake_finish(&f);
}

static void test_commands_on_a_sid_that_does_not_exist(void)
{
    Fake f;

    fake_up(&f);
    for (unsigned op = VTOE_CMD_UNLISTEN; op <= VTOE_CMD_QUERY; op++) {
        g_assert_cmpuint(fake_cmd(&f, op, 5, 1, 1, 1, NULL), ==, UNKNOWN);
    }
    fake_finish(&f);
}

static void test_connect_good(void)
{
    struct vtoe_cmd cmd = fake_connect_cmd(5, 2, 100);
    VnetStream *s;
    Fake f;

    fake_up(&f);
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, OK);
    g_assert_cmpuint(f.streams->len, ==, 1);
    s = f.streams->pdata[0];
    g_assert_cmpuint(s->flow.rport, ==, 80);
    g_assert_cmpmem(s->flow.rmac, 6, fake_peer_mac, 6);
    g_assert_cmpuint(f.open_streams, ==, 1);
    fake_expect_no_event(&f);
    fake_peer_established(s);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_ESTABLISHED, 5);
    fake_expect_no_event(&f);
    fake_finish(&f);
}

static void test_connect_bad(void)
{
    struct vtoe_cmd cmd = fake_connect_cmd(5, 1, 100);
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 100);
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, VTOE_CMD_EXISTS);
    cmd = fake_connect_cmd(6, 1, 100);
    cmd.flow.lmac[5] ^= 1;              /* not this NIC */
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, INVALID);
    cmd = fake_connect_cmd(6, 1, 100);
    vtoe_dev_set_port(f.dev, NULL);
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, STATE);
    g_assert_cmpuint(f.streams->len, ==, 1);
    fake_finish(&f);
}

static void test_connect_stops_at_max_streams(void)
{
    Fake f;

    fake_init(&f);
    f.cfg.max_streams = 3;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    for (uint32_t sid = 1; sid <= 3; sid++) {
        fake_open(&f, sid, 1, 1);
    }
    for (uint32_t sid = 4; sid < 1000; sid++) {
        struct vtoe_cmd cmd = fake_connect_cmd(sid, 1, 100);

        g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, VTOE_CMD_LIMIT);
    }
    g_assert_cmpuint(f.streams->len, ==, 3);
    fake_finish(&f);
}

static void test_listen_and_unlisten(void)
{
    struct vtoe_cmd cmd = fake_connect_cmd(3, 0, 10);
    enum vtoe_reason reason;
    VnetFlow flow = fake_flow(1234);
    Fake f;

    fake_up(&f);
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_NO_LISTENER);
    cmd.op = VTOE_CMD_LISTEN;
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, OK);
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, VTOE_CMD_EXISTS);
    cmd.sid = GUINT32_TO_LE(4);         /* the same address */
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, VTOE_CMD_EXISTS);
    g_assert_nonnull(fake_peer_request(&f, &flow, &reason));
    fake_batch_end(&f);
    g_assert_cmpuint(fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST,
                                       VTOE_SID_PASSIVE).tag, ==,
                     GUINT32_TO_LE(3));
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_UNLISTEN, 4, 0, 0, 0, NULL), ==,
                     UNKNOWN);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_UNLISTEN, 3, 0, 0, 0, NULL), ==, OK);
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_NO_LISTENER);
    fake_finish(&f);
}

static void test_unlisten_leaves_its_requests(void)
{
    VnetFlow flow = fake_flow(80);
    enum vtoe_reason reason;
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 2);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    ev = fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    g_assert_cmpuint(GUINT32_FROM_LE(ev.tag), ==, 3);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_UNLISTEN, 3, 0, 0, 0, NULL), ==, OK);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_UNLISTEN, 3, 0, 0, 0, NULL), ==,
                     UNKNOWN);
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_NO_LISTENER);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, s->sid, 1, 10, 0, NULL), ==,
                     OK);
    g_assert_true(s->accepted);
    fake_finish(&f);
}

static void test_listen_stops_at_max_listens(void)
{
    Fake f;

    fake_up(&f);
    for (uint32_t id = 1; id <= 8; id++) {
        fake_listen(&f, id, id, 1);
    }
    for (uint32_t id = 1; id <= 9; id++) {
        struct vtoe_cmd cmd = fake_connect_cmd(id, 0, 1);

        cmd.op = VTOE_CMD_LISTEN;
        cmd.flow.lport = GUINT16_TO_LE(100 + id);
        g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==,
                         id <= 8 ? VTOE_CMD_EXISTS : VTOE_CMD_LIMIT);
    }
    fake_finish(&f);
}

static uint32_t request_tag(Fake *f, const VnetFlow *flow)
{
    VnetStream *s = fake_peer_request(f, flow, NULL);
    struct vtoe_event ev;

    fake_batch_end(f);
    ev = fake_expect_event(f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    g_assert_cmphex(s->sid & VTOE_SID_PASSIVE, !=, 0);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.u.flow.lport), ==, flow->lport);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.u.flow.rport), ==, flow->rport);
    g_assert_cmpmem(ev.u.flow.raddr, 16, flow->raddr, 16);
    g_assert_cmpmem(ev.u.flow.rmac, 6, flow->rmac, 6);
    return GUINT32_FROM_LE(ev.tag);
}

static void test_exact_address_comes_before_any(void)
{
    struct vtoe_cmd cmd = fake_connect_cmd(4, 0, 5);
    VnetFlow flow = fake_flow(1234), other = fake_flow(1234);
    VnetFlow six = fake_flow(1234);
    enum vtoe_reason reason;
    Fake f;

    other.laddr[3] = 99;
    six.family = 6;
    fake_up(&f);
    fake_listen(&f, 3, 1234, 5);
    cmd.op = VTOE_CMD_LISTEN;
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, OK);
    g_assert_cmpuint(request_tag(&f, &flow), ==, 4);
    g_assert_cmpuint(request_tag(&f, &other), ==, 3);
    g_assert_null(fake_peer_request(&f, &six, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_NO_LISTENER);
    fake_finish(&f);
}

static void test_backlog_counts_unanswered_requests(void)
{
    VnetFlow flow = fake_flow(80);
    VnetStream *a, *b;
    enum vtoe_reason reason;
    VtoeStats st;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 2);
    a = fake_peer_request(&f, &flow, NULL);
    b = fake_peer_request(&f, &flow, NULL);
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_BACKLOG);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, a->sid);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, b->sid);
    /* Each way to answer makes a place: accept, reject, giving up. */
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, a->sid, 1, 10, 0, NULL), ==,
                     OK);
    a = fake_peer_request(&f, &flow, NULL);
    g_assert_nonnull(a);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, a->sid);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_REJECT, b->sid, 0, 0,
                              VTOE_REASON_POLICY, NULL), ==, OK);
    g_assert_true(b->rejected);
    g_assert_cmpuint(b->reason, ==, VTOE_REASON_POLICY);
    b = fake_peer_request(&f, &flow, NULL);
    g_assert_nonnull(b);
    g_assert_null(fake_peer_request(&f, &flow, NULL));
    fake_peer_gone(b, VTOE_REASON_CANCELLED);
    g_assert_nonnull(fake_peer_request(&f, &flow, NULL));
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.rejected_backlog, ==, 2);
    g_assert_cmpuint(st.connect_requests, ==, 5);
    fake_finish(&f);
}

static void test_passive_limit(void)
{
    VnetFlow flow = fake_flow(80);
    enum vtoe_reason reason;
    VtoeStats st;
    Fake f;

    fake_init(&f);
    f.cfg.max_streams = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    fake_listen(&f, 3, 80, 100);
    fake_open(&f, 1, 1, 1);
    g_assert_nonnull(fake_peer_request(&f, &flow, NULL));
    g_assert_null(fake_peer_request(&f, &flow, &reason));
    g_assert_cmpuint(reason, ==, VTOE_REASON_LIMIT);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.rejected_limit, ==, 1);
    fake_finish(&f);
}

static void test_reject_frees_the_sid(void)
{
    VnetFlow flow = fake_flow(80);
    VnetStream *s;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 2);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_REJECT, s->sid, 0, 0, 0, NULL), ==,
                     INVALID);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_REJECT, s->sid, 0, 0, 6, NULL), ==,
                     OK);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_QUERY, s->sid, 0, 0, 0, NULL), ==,
                     UNKNOWN);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_REJECT, s->sid, 0, 0, 6, NULL), ==,
                     UNKNOWN);
    g_assert_cmpuint(f.open_streams, ==, 0);
    fake_expect_no_event(&f);
    fake_finish(&f);
}

static void test_request_not_told_yet_cannot_be_answered(void)
{
    VnetFlow flow = fake_flow(80);
    VnetStream *s;
    struct vtoe_event ev;
    Fake f;

    /* The event ring is full, so the guest cannot know the SID. */
    fake_up(&f);
    fake_listen(&f, 3, 80, 1);
    for (unsigned i = 0; i < FAKE_RING; i++) {
        struct vtoe_cmd cmd = { .op = VTOE_CMD_QUERY };

        fake_post_cmd(&f, &cmd);
    }
    fake_kick(&f, VTOE_QUEUE_CONTROL);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    /* The peer gives up: no trace is left. */
    fake_peer_gone(s, VTOE_REASON_CANCELLED);
    fake_batch_end(&f);
    for (unsigned i = 0; i < FAKE_RING; i++) {
        g_assert_true(fake_event(&f, &ev));
        g_assert_cmpuint(ev.type, ==, VTOE_EVENT_COMMAND_DONE);
    }
    fake_kick(&f, VTOE_QUEUE_CONTROL);
    fake_expect_no_event(&f);
    g_assert_cmpuint(f.open_streams, ==, 0);
    g_assert_nonnull(fake_peer_request(&f, &flow, NULL));   /* backlog is 1 */
    fake_finish(&f);
}

static void test_accept_timeout(void)
{
    VnetFlow flow = fake_flow(80);
    struct vtoe_event ev;
    VnetStream *s;
    VtoeStats st;
    Fake f;

    fake_up(&f);
    f.now = 1000;
    fake_listen(&f, 3, 80, 1);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    g_assert_cmpint(f.timer, ==, 6000);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    f.now = 5999;
    g_assert_cmpint(vtoe_dev_tick(f.dev), ==, 6000);
    g_assert_false(s->gone);
    f.now = 6000;
    g_assert_cmpint(vtoe_dev_tick(f.dev), ==, INT64_MAX);
    g_assert_true(s->rejected);
    g_assert_cmpuint(s->reason, ==, VTOE_REASON_TIMEOUT);
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, s->sid);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.reason), ==, VTOE_REASON_TIMEOUT);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, s->sid, 1, 1, 0, NULL), ==,
                     UNKNOWN);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.rejected_timeout, ==, 1);
    fake_finish(&f);
}

/* The table of section 4: what is possible in which state. */
static void check_states(Fake *f, uint32_t sid, const uint8_t *want)
{
    static const uint8_t ops[] = {
        VTOE_CMD_QUERY, VTOE_CMD_CREDIT, VTOE_CMD_ACCEPT, VTOE_CMD_REJECT,
        VTOE_CMD_SHUTDOWN, VTOE_CMD_CLOSE, VTOE_CMD_ABORT,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        g_assert_cmpuint(fake_cmd(f, ops[i], sid, 1, 0, 6, NULL), ==, want[i]);
    }
}

static void test_states_requested(void)
{
    VnetFlow flow = fake_flow(80);
    VnetStream *s;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 9);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_QUERY, s->sid, 0, 0, 0, NULL), ==,
                     OK);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CREDIT, s->sid, 0, 0, 0, NULL), ==,
                     STATE);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_SHUTDOWN, s->sid, 0, 0, 0, NULL),
                     ==, STATE);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, s->sid, 0, 0, 0, NULL), ==,
                     STATE);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ABORT, s->sid, 0, 0, 0, NULL), ==,
                     STATE);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, s->sid, 1, 0, 0, NULL), ==,
                     OK);
    fake_finish(&f);
}

static void test_states_connecting_active(void)
{
    static const uint8_t want[] = { OK, OK, STATE, STATE, STATE, STATE, OK };
    struct vtoe_cmd cmd = fake_connect_cmd(5, 1, 100);
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    g_assert_cmpuint(fake_run_cmd(&f, &cmd, NULL), ==, OK);
    s = f.streams->pdata[0];
    check_states(&f, 5, want);
    g_assert_true(s->aborted);
    g_assert_cmpuint(s->reason, ==, VTOE_REASON_BACKLOG);   /* 6, as given */
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.reason), ==, VTOE_REASON_CANCELLED);
    fake_finish(&f);
}

static void test_states_accepted(void)
{
    static const uint8_t want[] = { OK, OK, STATE, STATE, OK, OK, OK };
    VnetFlow flow = fake_flow(80);
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 9);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_ACCEPT, s->sid, 1, 0, 0, NULL), ==,
                     OK);
    check_states(&f, s->sid, want);
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, s->sid);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.reason), ==, VTOE_REASON_RESET);
    fake_finish(&f);
}

static void test_states_established(void)
{
    static const uint8_t want[] = { OK, OK, STATE, STATE, OK, OK, OK };
    struct vtoe_event ev;
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 100);
    check_states(&f, 5, want);
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.reason), ==, VTOE_REASON_RESET);
    fake_finish(&f);
}

static void test_states_closing(void)
{
    static const uint8_t want[] = { OK, OK, STATE, STATE, STATE, STATE, OK };
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 100);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 0, 0, NULL), ==, OK);
    check_states(&f, 5, want);
    fake_finish(&f);
}

static void test_states_closed(void)
{
    static const uint8_t want[] = {
        OK, STATE, STATE, STATE, STATE, STATE, STATE,
    };
    VnetStream *s;
    struct vtoe_comp c;
    Fake f;

    /* The completion ring of pair 1 is full, so the mark and the terminal
     * event wait, and the SID exists. */
    fake_init(&f);
    f.q[1].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    s = fake_open(&f, 5, 1, 100);
    fake_post_data(&f, 1, 99, FAKE_DATA, 1);
    fake_post_data(&f, 1, 99, FAKE_DATA, 1);
    fake_kick(&f, 1);
    fake_peer_gone(s, VTOE_REASON_LINK_LOST);
    fake_batch_end(&f);
    fake_expect_no_event(&f);
    check_states(&f, 5, want);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 99);
    fake_kick(&f, 1);
    fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 99);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_ABORT);
    g_assert_cmpuint(GUINT16_FROM_LE(c.reason), ==, VTOE_REASON_LINK_LOST);
    fake_finish(&f);
}

static void test_shutdown_and_close_values(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 100);
    fake_post_data(&f, 1, 5, FAKE_DATA, 1000);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_SHUTDOWN, 5, 0, 999, 0, NULL), ==,
                     INVALID);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 999, 0, NULL), ==,
                     INVALID);
    g_assert_false(s->ended);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_SHUTDOWN, 5, 0, 1500, 0, NULL), ==,
                     OK);
    g_assert_true(s->ended && s->end_offset == 1500 && !s->rx_closed);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 1000, 0, NULL), ==,
                     INVALID);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 1500, 0, NULL), ==, OK);
    g_assert_true(s->rx_closed);
    /* Announced bytes may still come, and no more. */
    fake_post_data(&f, 1, 5, FAKE_DATA, 500);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_post_data(&f, 1, 5, FAKE_DATA, 1);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_STREAM);
    fake_finish(&f);
}

static void test_close_before_established_is_told_then(void)
{
    VnetFlow flow = fake_flow(80);
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    fake_listen(&f, 3, 80, 9);
    s = fake_peer_request(&f, &flow, NULL);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    fake_cmd(&f, VTOE_CMD_ACCEPT, s->sid, 1, 100, 0, NULL);
    fake_post_data(&f, 1, s->sid, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_CLOSE, s->sid, 0, 10, 0, NULL), ==,
                     OK);
    g_assert_false(s->ended || s->rx_closed);
    fake_peer_established(s);
    g_assert_true(s->ended && s->rx_closed && s->end_offset == 10);
    fake_batch_end(&f);
    fake_expect_event(&f, VTOE_EVENT_CONNECT_ESTABLISHED, s->sid);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_QUERY, s->sid, 0, 0, 0, &ev), ==,
                     OK);
    g_assert_cmpuint(GUINT32_FROM_LE(ev.u.query.state), ==,
                     VTOE_STREAM_CLOSING);
    fake_finish(&f);
}

static void test_close_timeout(void)
{
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    f.now = 100;
    s = fake_open(&f, 5, 1, 100);
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    fake_cmd(&f, VTOE_CMD_CLOSE, 5, 0, 10, 0, NULL);
    g_assert_cmpint(f.timer, ==, 60100);
    f.now = 60100;
    vtoe_dev_tick(f.dev);
    g_assert_true(s->aborted);
    g_assert_cmpuint(s->reason, ==, VTOE_REASON_TIMEOUT);
    ev = fake_expect_event(&f, VTOE_EVENT_DISCONNECTED, 5);
    g_assert_cmpuint(GUINT16_FROM_LE(ev.reason), ==, VTOE_REASON_TIMEOUT);
    fake_expect_no_comp(&f, 1);     /* no mark is owed after CLOSE */
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
}

static void test_query(void)
{
    struct vtoe_event ev;
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1234);
    fake_post_data(&f, 1, 5, FAKE_DATA, 300);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + 4096, 64, 1);
    fake_kick(&f, 1);
    s->tx_sent = 200;
    fake_peer_ack(s, 100);
    g_assert_cmpuint(fake_peer_data(s, 50), ==, 50);
    fake_cmd(&f, VTOE_CMD_CREDIT, 5, 0, 2000, 0, NULL);
    g_assert_cmpuint(fake_cmd(&f, VTOE_CMD_QUERY, 5, 0, 0, 0, &ev), ==, OK);
    g_assert_cmpuint(GUINT64_FROM_LE(ev.u.query.tx_acked), ==, 100);
    g_assert_cmpuint(GUINT64_FROM_LE(ev.u.query.tx_sent), ==, 200);
    g_assert_cmpuint(GUINT64_FROM_LE(ev.u.query.rx_delivered), ==, 50);
    g_assert_cmpuint(GUINT64_FROM_LE(ev.u.query.rx_limit), ==, 2000);
    g_assert_cmpuint(GUINT32_FROM_LE(ev.u.query.state), ==,
                     VTOE_STREAM_ESTABLISHED);
    g_assert_cmpuint(GUINT32_FROM_LE(ev.u.query.cid), ==, 77);
    fake_finish(&f);
}

static void test_each_command_has_one_answer_in_order(void)
{
    struct vtoe_event ev;
    unsigned seen = 0;
    VtoeStats st;
    Fake f;

    /* Ten times more commands than the event ring holds. */
    fake_up(&f);
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < FAKE_RING; i++) {
            struct vtoe_cmd cmd = {
                .op = i % 13, .tag = GUINT32_TO_LE(round * FAKE_RING + i),
            };

            fake_post_cmd(&f, &cmd);
        }
        fake_kick(&f, VTOE_QUEUE_CONTROL);
        while (fake_event(&f, &ev)) {
            g_assert_cmpuint(ev.type, ==, VTOE_EVENT_COMMAND_DONE);
            g_assert_cmpuint(GUINT32_FROM_LE(ev.tag), ==, seen);
            seen++;
        }
    }
    g_assert_cmpuint(seen, ==, 10 * FAKE_RING);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.commands, ==, seen);
    g_assert_cmpuint(st.commands_refused, ==, seen);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/cmd/" #name, test_ ## name)
    T(sid_ranges);
    T(opcodes);
    T(flags);
    T(pairs);
    T(reasons);
    T(flow_fields);
    T(backlog);
    T(without_stream_all_commands_are_unsupported);
    T(commands_on_a_sid_that_does_not_exist);
    T(connect_good);
    T(connect_bad);
    T(connect_stops_at_max_streams);
    T(listen_and_unlisten);
    T(unlisten_leaves_its_requests);
    T(listen_stops_at_max_listens);
    T(exact_address_comes_before_any);
    T(backlog_counts_unanswered_requests);
    T(passive_limit);
    T(reject_frees_the_sid);
    T(request_not_told_yet_cannot_be_answered);
    T(accept_timeout);
    T(states_requested);
    T(states_connecting_active);
    T(states_accepted);
    T(states_established);
    T(states_closing);
    T(states_closed);
    T(shutdown_and_close_values);
    T(close_before_established_is_told_then);
    T(close_timeout);
    T(query);
    T(each_command_has_one_answer_in_order);
    return g_test_run();
}
