/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What adapters say by themselves, and what becomes of streams and links.
 */
#include <string.h>
#include "vnet-rdma-world.h"

#define S   (1000 * RW_MS)

static const struct {
    VnetAsyncType type;
    size_t counter;             /* in VnetRdmaStats */
} kinds[VNET_ASYNC_TYPES] = {
#define KIND(upper, lower) \
    { VNET_ASYNC_##upper, offsetof(VnetRdmaStats, async_##lower) }
    KIND(QP_FATAL, qp_fatal),
    KIND(QP_REQ_ERR, qp_req_err),
    KIND(QP_ACCESS_ERR, qp_access_err),
    KIND(COMM_EST, comm_est),
    KIND(CQ_ERR, cq_err),
    KIND(DEVICE_FATAL, device_fatal),
    KIND(PORT_ERR, port_err),
    KIND(PORT_ACTIVE, port_active),
    KIND(OTHER, other),
#undef KIND
};
#define QP_ERRORS   3           /* of these, at the beginning */

static uint64_t said(RdmaWorld *rw, bool server, unsigned kind)
{
    return *(const uint64_t *)((const char *)rw_stats(rw, server) +
                               kinds[kind].counter);
}

static uint64_t said_in_all(RdmaWorld *rw, bool server)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < VNET_ASYNC_TYPES; i++) {
        sum += said(rw, server, i);
    }
    return sum;
}

/*
 * Guests that have no buffer to spare, so that nothing is posted for streams
 * that are idle.
 */
static RdmaWorld *rw_up_idle(void)
{
    RdmaWorld *rw = rw_up(0);

    for (int i = 0; i < 2; i++) {
        rw->end[i].nic->pool = 2;
        rw->end[i].nic->pool_free = 1;
    }
    return rw;
}

static void rw_free_idle(RdmaWorld *rw)
{
    rw_free_end(rw, false);
    rw_free_end(rw, true);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpuint(rw->end[i].nic->pool_free, ==, 1);
        rw->end[i].nic->pool_free = 2;
    }
    rw_free(rw);
}

static void check_lost(RdmaWorld *rw, FakeStream *fs)
{
    FakeStream *peer = rw_peer_of(rw, fs);

    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(peer->disconnected, ==, 1);
    g_assert_cmpint(peer->reason, ==, VTOE_REASON_LINK_LOST);
}

/* --- Queue pairs --------------------------------------------------------- */

static void test_idle_stream_in_error_ends_alone(gconstpointer server)
{
    bool side = GPOINTER_TO_INT(server);

    for (unsigned kind = 0; kind < QP_ERRORS; kind++) {
        RdmaWorld *rw = rw_up_idle();
        VnetVCtx *x = rw->end[side].x;
        FakeStream *fs = rw_connect(rw, false, UINT64_MAX);
        FakeStream *other = rw_connect(rw, true, UINT64_MAX);
        VnetVCm *cm;

        rw_run(rw);
        cm = vfake_cm_of(x, VNET_CONN_DATA, 1);
        vfake_error(cm);
        rw_advance(rw, 5 * S);
        /* No completion has said so. */
        g_assert_cmpuint(fs->disconnected, ==, 0);
        vfake_say(x, cm, kinds[kind].type);
        rw_advance(rw, 2500 * RW_MS);
        check_lost(rw, fs);
        g_assert_cmpuint(said(rw, side, kind), ==, 1);
        g_assert_cmpuint(said_in_all(rw, side), ==, 1);
        g_assert_cmpuint(other->disconnected, ==, 0);
        fake_post(other, 100000);
        rw_run(rw);
        g_assert_cmpuint(other->tx_acked, ==, 100000);
        g_assert_true(rw_is_up(rw));
        rw_free_idle(rw);
    }
}

static void test_bytes_that_came_are_delivered_before_it(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX), *peer;
    VnetVCm *cm;

    rw_run(rw);
    peer = rw_peer_of(rw, fs);
    fake_post(fs, 8000);
    rw_dispatch(rw);
    while (vfake_step(rw->f)) {
        /* arrives, but nobody looks */
    }
    cm = vfake_cm_of(rw->end[1].x, VNET_CONN_DATA, 0);
    vfake_error(cm);
    vfake_say(rw->end[1].x, cm, VNET_ASYNC_QP_FATAL);
    vnet_rdma_async_ready(rw->end[1].r, rw->end[1].watched);
    rw_dispatch(rw);
    g_assert_cmpuint(peer->rx_off, ==, 8000);
    rw_advance(rw, 3 * S);
    check_lost(rw, fs);
    rw_free(rw);
}

static void test_the_links_own_queue_pairs(gconstpointer kind)
{
    for (int side = 0; side < 2; side++) {
        RdmaWorld *rw = rw_up(0);
        VnetVCtx *x = rw->end[side].x;
        VnetVCm *cm = vfake_cm_of(x, GPOINTER_TO_INT(kind), 0);
        FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

        rw_run(rw);
        /* Its completions come later than the event. */
        vfake_say(x, cm, VNET_ASYNC_QP_FATAL);
        vnet_rdma_async_ready(rw->end[side].r, rw->end[side].watched);
        rw_run(rw);
        check_lost(rw, fs);
        g_assert_nonnull(strstr(rw_last_error(rw, side),
                                "queue pair: fatal error"));
        g_assert_cmpuint(rw_link_stats(rw, side)->downs, ==, 1);
        rw_advance(rw, 5 * S);
        g_assert_true(rw_is_up(rw));
        rw_check_idle(rw);
        rw_free(rw);
    }
}

static void test_while_the_connection_is_made(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs;

    vfake_withhold(rw->end[0].x, 1u << VNET_CM_ESTABLISHED);
    fs = rw_connect(rw, false, 10);
    rw_run(rw);
    vfake_say(rw->end[0].x, vfake_cm_of(rw->end[0].x, VNET_CONN_DATA, 0),
              VNET_ASYNC_QP_FATAL);
    rw_advance(rw, 3 * S);
    g_assert_cmpuint(fs->failed, ==, 1);
    g_assert_cmpint(fs->event, ==, VTOE_EVENT_UNREACHABLE);
    vfake_withhold(rw->end[0].x, 0);
    rw_advance(rw, 3 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

/* Its last messages go out while it closes: they cannot any more. */
static void test_while_the_last_messages_go_out(void)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCm *control = vfake_cm_of(rw->end[1].x, VNET_CONN_CONTROL, 0);
    const uint8_t bad[8 + 8] = { 0, 0, 0, 0, 0, 0, 0, 8, 99, 0, 0, 8 };

    vfake_stall(control, true);
    vfake_message(control, bad, sizeof(bad));
    vnet_rdma_cq_ready(rw->end[1].r, rw->end[1].watched);
    rw_dispatch(rw);
    g_assert_cmpuint(vfake_counts(rw->end[1].x).qps, ==, 1);
    vfake_say(rw->end[1].x, control, VNET_ASYNC_QP_FATAL);
    vnet_rdma_async_ready(rw->end[1].r, rw->end[1].watched);
    g_assert_cmpuint(vfake_counts(rw->end[1].x).qps, ==, 0);
    rw_advance(rw, 5 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_of_nobody_is_counted(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

    rw_run(rw);
    vfake_say(rw->end[0].x, NULL, VNET_ASYNC_QP_FATAL);
    rw_run(rw);
    g_assert_cmpuint(said(rw, false, VNET_ASYNC_QP_FATAL), ==, 1);
    fake_post(fs, 1000);
    rw_run(rw);
    g_assert_cmpuint(fs->tx_acked, ==, 1000);
    rw_free(rw);
}

static void test_bytes_before_established_are_told_to_the_manager(void)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCtx *x = rw->end[1].x;
    uint64_t told = vfake_calls(x, VFAKE_ESTABLISHED);
    VnetVCm *cm;

    vfake_withhold(x, 1u << VNET_CM_ESTABLISHED);
    rw_connect(rw, false, UINT64_MAX);
    rw_run(rw);
    cm = vfake_cm_of(x, VNET_CONN_DATA, 0);
    vfake_say(x, cm, VNET_ASYNC_COMM_EST);
    rw_run(rw);
    g_assert_cmpuint(vfake_calls(x, VFAKE_ESTABLISHED), ==, told + 1);
    vfake_withhold(x, 0);
    rw_run(rw);
    /* It knows by now. */
    vfake_say(x, cm, VNET_ASYNC_COMM_EST);
    rw_run(rw);
    g_assert_cmpuint(vfake_calls(x, VFAKE_ESTABLISHED), ==, told + 1);
    g_assert_cmpuint(said(rw, true, VNET_ASYNC_COMM_EST), ==, 2);
    rw_free(rw);
}

/* --- Devices and ports --------------------------------------------------- */

static void test_device_of_no_use_is_let_go(gconstpointer type)
{
    for (int side = 0; side < 2; side++) {
        RdmaWorld *rw = rw_up(0);
        FakeStream *fs[8];

        for (int i = 0; i < 8; i++) {
            fs[i] = rw_connect(rw, i & 1, UINT64_MAX);
        }
        rw_run(rw);
        vfake_say(rw->end[side].x, NULL, GPOINTER_TO_INT(type));
        vnet_rdma_async_ready(rw->end[side].r, rw->end[side].watched);
        rw_dispatch(rw);
        g_assert_cmpuint(vfake_counts(rw->end[side].x).qps, ==, 0);
        g_assert_cmpuint(rw_stats(rw, side)->device_failed, ==, 1);
        rw_run(rw);
        for (int i = 0; i < 8; i++) {
            check_lost(rw, fs[i]);
        }
        g_assert_cmpuint(said_in_all(rw, side), ==, 1);
        rw_advance(rw, 6 * S);
        g_assert_true(rw_is_up(rw));
        rw_check_idle(rw);
        rw_free(rw);
    }
}

static void test_device_may_say_it_again(void)
{
    RdmaWorld *rw = rw_up(0);

    vfake_say(rw->end[0].x, NULL, VNET_ASYNC_DEVICE_FATAL);
    vfake_say(rw->end[0].x, NULL, VNET_ASYNC_CQ_ERR);
    vfake_say(rw->end[0].x, NULL, VNET_ASYNC_DEVICE_FATAL);
    vnet_rdma_async_ready(rw->end[0].r, rw->end[0].watched);
    g_assert_cmpuint(rw_stats(rw, false)->device_failed, ==, 1);
    g_assert_cmpuint(said_in_all(rw, false), ==, 3);
    rw_run(rw);
    rw_advance(rw, 6 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_port_is_a_hint(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

    rw_run(rw);
    for (int i = 0; i < 2; i++) {
        vfake_say(rw->end[i].x, NULL, VNET_ASYNC_PORT_ERR);
        vfake_say(rw->end[i].x, NULL, VNET_ASYNC_PORT_ACTIVE);
        vfake_say(rw->end[i].x, NULL, VNET_ASYNC_OTHER);
    }
    rw_run(rw);
    g_assert_cmpuint(said(rw, false, VNET_ASYNC_PORT_ERR), ==, 1);
    g_assert_cmpuint(said(rw, true, VNET_ASYNC_PORT_ACTIVE), ==, 1);
    g_assert_cmpuint(said_in_all(rw, true), ==, 3);
    fake_post(fs, 50000);
    rw_run(rw);
    g_assert_cmpuint(fs->tx_acked, ==, 50000);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

/* A port that flaps: others get their turn, and nothing is forgotten. */
static void test_many_events_take_turns(void)
{
    RdmaWorld *rw = rw_up(0);

    for (int i = 0; i < 1000; i++) {
        vfake_say(rw->end[0].x, NULL, VNET_ASYNC_PORT_ERR);
    }
    vnet_rdma_async_ready(rw->end[0].r, rw->end[0].watched);
    g_assert_cmpuint(said_in_all(rw, false), <, 100);
    g_assert_true(rw->end[0].again);
    for (int i = 0; i < 20; i++) {
        vnet_rdma_again(rw->end[0].r);
    }
    g_assert_cmpuint(said_in_all(rw, false), ==, 1000);
    rw_run(rw);
    rw_free(rw);
}

static void test_everything_said_at_any_time(void)
{
    for (guint32 seed = 1; seed <= 200; seed++) {
        RdmaWorld *rw = rw_up(seed);
        GRand *r = g_rand_new_with_seed(seed);

        rw->end[0].nic->passive_tx = 20000;
        rw->end[1].nic->passive_tx = 50000;
        for (int round = 0; round < 10; round++) {
            RdmaEnd *e = &rw->end[rw_somewhere(rw, r)];
            VnetAsyncType type = g_rand_int_range(r, 0, VNET_ASYNC_TYPES);
            VnetVCm *cm = vfake_cm(e->x, g_rand_int_range(r, 0, 8));
            bool of_qp = type <= VNET_ASYNC_COMM_EST && cm && vfake_has_qp(cm);

            if (e->watched) {
                vfake_say(e->x, of_qp ? cm : NULL, type);
            }
        }
        rw_check_recovers(rw);
        g_rand_free(r);
        rw_free(rw);
    }
}

int main(int argc, char **argv)
{
    void *client = GINT_TO_POINTER(0), *server = GINT_TO_POINTER(1);

    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/rdma/async/" #name, test_##name)
#define D(name, what, data) \
    g_test_add_data_func("/rdma/async/" #name "/" what, data, test_##name)
    D(idle_stream_in_error_ends_alone, "client", client);
    D(idle_stream_in_error_ends_alone, "server", server);
    T(bytes_that_came_are_delivered_before_it);
    D(the_links_own_queue_pairs, "control",
      GINT_TO_POINTER(VNET_CONN_CONTROL));
    D(the_links_own_queue_pairs, "frame", GINT_TO_POINTER(VNET_CONN_FRAME));
    T(while_the_connection_is_made);
    T(while_the_last_messages_go_out);
    T(of_nobody_is_counted);
    T(bytes_before_established_are_told_to_the_manager);
    D(device_of_no_use_is_let_go, "CQ_ERR",
      GINT_TO_POINTER(VNET_ASYNC_CQ_ERR));
    D(device_of_no_use_is_let_go, "DEVICE_FATAL",
      GINT_TO_POINTER(VNET_ASYNC_DEVICE_FATAL));
    T(device_may_say_it_again);
    T(port_is_a_hint);
    T(many_events_take_turns);
    T(everything_said_at_any_time);
    return g_test_run();
}
