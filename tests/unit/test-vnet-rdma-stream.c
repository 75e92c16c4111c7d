/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams on an rdma link: their connections, bytes, and ends.
 */
#include <errno.h>
#include <string.h>
#include "vnet-rdma-world.h"

#define S   (1000 * RW_MS)

/* --- Bytes --------------------------------------------------------------- */

static void test_sizes_both_ways(void)
{
    static const uint64_t sizes[] = {
        1, 2, 63, 64, 65, 4095, 4096, 8192, 65536, 1000000, 64 << 20,
    };

    for (int from = 0; from < 2; from++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
            RdmaWorld *rw = rw_up(0);
            FakeStream *fs;

            rw->end[!from].nic->passive_tx = sizes[i];
            fs = rw_connect(rw, from, sizes[i]);
            rw_run(rw);
            rw_check_finished(rw, fs);
            g_assert_cmpuint(rw_link_stats(rw, 0)->bytes_copied, ==, 0);
            g_assert_cmpuint(rw_stats(rw, 0)->wc_errors, ==, 0);
            rw_advance(rw, 1 * S);
            rw_check_idle(rw);
            rw_free(rw);
        }
    }
}

static void test_any_order_of_events(void)
{
    for (guint32 seed = 1; seed <= 150; seed++) {
        RdmaWorld *rw = rw_up(seed);
        FakeStream *fs[4];

        rw->end[0].nic->passive_tx = seed * 3011;
        rw->end[1].nic->passive_tx = seed * 911;
        for (int i = 0; i < 4; i++) {
            fs[i] = rw_connect(rw, i & 1, seed * 1009 * (i + 1));
        }
        rw_advance(rw, 1 * S);
        for (int i = 0; i < 4; i++) {
            rw_check_finished(rw, fs[i]);
        }
        rw_advance(rw, 3 * S);
        rw_check_idle(rw);
        rw_free(rw);
    }
}

static void test_512_streams_at_once(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs[512];

    for (int i = 0; i < 512; i++) {
        fs[i] = rw_connect(rw, i & 1, 5000);
    }
    rw_run(rw);
    for (int i = 0; i < 512; i++) {
        rw_check_finished(rw, fs[i]);
    }
    rw_advance(rw, 3 * S);
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_streams_share_few_buffers(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs[64];

    rw->end[1].nic->pool = rw->end[1].nic->pool_free = 8;
    for (int i = 0; i < 64; i++) {
        fs[i] = rw_connect(rw, false, 100000);
    }
    rw_run(rw);
    for (int i = 0; i < 64; i++) {
        rw_check_finished(rw, fs[i]);
    }
    rw_free(rw);
}

static void test_small_messages_are_inline_and_bursts_complete_once(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);
    const VnetRdmaStats *st = rw_stats(rw, false);

    rw_run(rw);
    fake_post(fs, 64);
    rw_run(rw);
    g_assert_cmpuint(st->data_sends_inline, ==, 1);
    g_assert_cmpuint(st->data_sends_signalled, ==, 1);
    g_assert_cmpuint(fs->tx_acked, ==, 64);
    /* 16 receives of 8 KiB are there ahead: one burst, one completion */
    fake_post(fs, 15 * 8192);
    rw_run(rw);
    g_assert_cmpuint(st->data_sends_inline, ==, 1);
    g_assert_cmpuint(st->data_sends, ==, 16);
    g_assert_cmpuint(st->data_sends_signalled, ==, 2);
    g_assert_cmpuint(fs->tx_acked, ==, 64 + 15 * 8192);
    rw_free(rw);
}

static void test_send_queue_that_is_full_goes_on(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX), *peer;

    rw_run(rw);
    peer = rw_peer_of(rw, fs);
    peer->rx_buf = 64;
    fake_post(fs, 1000000);
    rw_run(rw);
    g_assert_cmpuint(fs->tx_acked, ==, 1000000);
    rw_free(rw);
}

/* --- Polling ------------------------------------------------------------- */

static void test_no_events_while_polling(void)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCtx *x = rw->end[0].x;
    uint64_t asked;
    FakeStream *fs;

    rw_run(rw);
    rw_poll(rw, false, true);
    asked = vfake_calls(x, VFAKE_REQ_NOTIFY);
    fs = rw_connect(rw, false, 1000000);
    rw_run(rw);
    rw_check_finished(rw, fs);
    g_assert_cmpuint(vfake_calls(x, VFAKE_REQ_NOTIFY), ==, asked);
    rw_poll(rw, false, false);
    g_assert_cmpuint(vfake_calls(x, VFAKE_REQ_NOTIFY), >, asked);
    fs = rw_connect(rw, true, 1000000);
    rw_run(rw);
    rw_check_finished(rw, fs);
    rw_free(rw);
}

static void test_polling_begins_and_stops_at_any_time(void)
{
    for (guint32 seed = 1; seed <= 100; seed++) {
        RdmaWorld *rw = rw_up(seed);
        FakeStream *fs;
        bool moved = true;

        rw->end[1].nic->passive_tx = 100000;
        fs = rw_connect(rw, false, 100000);
        for (guint i = 0; moved; i++) {
            if (i % (1 + seed % 7) == 0) {
                rw_poll(rw, i & 1, !rw->end[i & 1].polling);
            }
            moved = rw_step(rw);
        }
        rw_poll(rw, false, false);
        rw_poll(rw, true, false);
        rw_run(rw);
        rw_check_finished(rw, fs);
        rw_advance(rw, 3 * S);
        rw_check_idle(rw);
        rw_free(rw);
    }
}

static void test_device_fails_when_polling_stops(void)
{
    RdmaWorld *rw = rw_up(0);

    rw_run(rw);
    rw_poll(rw, false, true);
    vfake_fail(rw->end[0].x, VFAKE_REQ_NOTIFY, EIO, 0);
    rw_poll(rw, false, false);
    rw_run(rw);
    g_assert_cmpuint(rw_stats(rw, false)->device_failed, ==, 1);
    g_assert_false(rw_is_up(rw));
    rw_free(rw);
}

/* --- Making the connection ----------------------------------------------- */

static void test_request_overtakes_its_open(void)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCm *control = vfake_cm_of(rw->end[0].x, VNET_CONN_CONTROL, 0);
    FakeStream *fs;

    vfake_stall(control, true);
    fs = rw_connect(rw, false, 1000);
    rw_run(rw);
    g_assert_cmpuint(fs->established, ==, 0);
    g_assert_nonnull(vfake_cm_of(rw->end[1].x, VNET_CONN_DATA, 0));
    vfake_stall(control, false);
    rw_run(rw);
    rw_check_finished(rw, fs);
    rw_free(rw);
}

static void test_request_of_a_stream_that_is_gone_is_refused(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs;

    /* The OPEN is there, but the stream is gone before the request is. */
    vfake_withhold(rw->end[1].x, 1u << VNET_CM_CONNECT_REQUEST);
    fs = rw_connect(rw, false, 1000);
    rw_run(rw);
    vnet_stream_abort(rw_peer_of(rw, fs)->s, VTOE_REASON_RESET);
    rw_peer_of(rw, fs)->s = NULL;
    vfake_withhold(rw->end[1].x, 0);
    rw_advance(rw, 6 * S);
    g_assert_cmpuint(fs->failed, ==, 1);
    g_assert_cmpuint(rw_link_stats(rw, true)->refused_stream, ==, 1);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_early_request_times_out(void)
{
    RdmaWorld *rw = rw_up(0);
    VnetVCm *control = vfake_cm_of(rw->end[0].x, VNET_CONN_CONTROL, 0);

    vfake_stall(control, true);
    rw_connect(rw, false, 1000);
    /* Less than the heartbeat takes to give up. */
    rw_advance(rw, 3 * S);
    g_assert_cmpuint(rw_info(rw, true).connections, ==, 3);
    rw_advance(rw, 20 * S);
    g_assert_cmpuint(rw_info(rw, true).connections, <=, 2);
    rw_free(rw);
}

static void test_max_qps_refuses_the_next(gconstpointer server)
{
    RdmaWorld *rw = rw_new(0, 4);
    FakeStream *a, *b, *c;
    bool from = GPOINTER_TO_INT(server);
    FakeHost *h = rw->end[from].h;

    rw_run(rw);
    a = rw_connect(rw, from, UINT64_MAX);
    b = rw_connect(rw, from, UINT64_MAX);
    c = rw_connect(rw, from, UINT64_MAX);
    rw_run(rw);
    g_assert_cmpuint(a->established + b->established, ==, 2);
    g_assert_cmpuint(c->failed, ==, 1);
    g_assert_cmpint(c->event, ==, VTOE_EVENT_CONNECT_ERROR);
    g_assert_cmpint(c->reason, ==, VTOE_REASON_HOST);
    g_assert_cmpuint(rw_stats(rw, from)->refused_limit, ==, 1);
    g_assert_cmpuint(h->limits_told[VNET_CORE_LIMIT_MAX_QPS], ==, 1);
    g_assert(h->limit_link == vnet_rdma_link(rw->end[from].r));
    g_assert_null(h->limit_port);
    /* One less makes room. */
    fake_shutdown(a);
    fake_shutdown(rw_peer_of(rw, a));
    rw_run(rw);
    g_assert_cmpuint(a->disconnected, ==, 1);
    c = rw_connect(rw, from, 10);
    rw_run(rw);
    rw_check_finished(rw, c);
    rw_free(rw);
}

static void test_device_limit_refuses_the_next(void)
{
    RdmaWorld *rw = rw_new(0, 0);
    FakeStream *a, *b;

    vfake_limits(rw->end[1].x, 3, 1000);
    rw_run(rw);
    a = rw_connect(rw, false, UINT64_MAX);
    b = rw_connect(rw, false, UINT64_MAX);
    rw_run(rw);
    g_assert_cmpuint(a->established, ==, 1);
    g_assert_cmpuint(b->failed, ==, 1);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

static void test_device_with_short_queues_is_refused(void)
{
    RdmaWorld *rw = rw_new(0, 0);

    vfake_limits(rw->end[0].x, 1000, 32);
    rw_run(rw);
    g_assert_cmpstr(rw_state(rw, false), ==, "down");
    g_assert_nonnull(strstr(rw_last_error(rw, false), "not supported"));
    rw_free(rw);
}

static void test_request_that_fails_is_unreachable(void)
{
    static const VnetCmEventType events[] = {
        VNET_CM_ADDR_ERROR, VNET_CM_ROUTE_ERROR, VNET_CM_UNREACHABLE,
        VNET_CM_CONNECT_ERROR, VNET_CM_REJECTED, VNET_CM_DEVICE_REMOVAL,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        RdmaWorld *rw = rw_up(0);
        FakeStream *fs;

        vfake_withhold(rw->end[1].x, 1u << VNET_CM_CONNECT_REQUEST);
        fs = rw_connect(rw, false, 10);
        rw_run(rw);
        vfake_inject(vfake_cm_of(rw->end[0].x, VNET_CONN_DATA, 0), events[i],
                     i == 4 ? VNET_CM_REJ_CONSUMER : -EHOSTUNREACH);
        rw_run(rw);
        rw_advance(rw, 3 * S);
        g_assert_cmpuint(fs->failed, ==, 1);
        g_assert_cmpint(fs->event, ==, VTOE_EVENT_UNREACHABLE);
        vfake_withhold(rw->end[1].x, 0);
        rw_advance(rw, 20 * S);
        g_assert_true(rw_is_up(rw));
        rw_check_idle(rw);
        rw_free(rw);
    }
}

/* --- Loss ---------------------------------------------------------------- */

static void test_each_error_status_resets_the_stream_alone(void)
{
    for (int recv = 0; recv < 2; recv++) {
        for (int side = 0; side < 2; side++) {
            for (int st = VNET_WC_SUCCESS + 1; st < VNET_WC_STATUSES; st++) {
                RdmaWorld *rw = rw_up(0);
                FakeStream *fs = rw_connect(rw, false, UINT64_MAX);
                FakeStream *other = rw_connect(rw, false, UINT64_MAX);
                FakeStream *peer;
                uint64_t errors;

                rw_run(rw);
                peer = rw_peer_of(rw, fs);
                errors = rw_stats(rw, side)->wc_errors;
                vfake_break(vfake_cm_of(rw->end[side].x, VNET_CONN_DATA, 1), st,
                            recv);
                rw_run(rw);
                rw_advance(rw, 3 * S);
                g_assert_cmpuint(fs->disconnected, ==, 1);
                g_assert_cmpint(fs->reason, ==, VTOE_REASON_LINK_LOST);
                g_assert_cmpuint(peer->disconnected, ==, 1);
                g_assert_cmpint(peer->reason, ==, VTOE_REASON_LINK_LOST);
                g_assert_cmpuint(rw_stats(rw, side)->wc_errors, ==,
                                 errors + (st != VNET_WC_WR_FLUSH_ERR));
                fake_post(other, 100000);
                rw_run(rw);
                g_assert_cmpuint(other->tx_acked, ==, 100000);
                g_assert_true(rw_is_up(rw));
                rw_free(rw);
            }
        }
    }
}

static void test_bytes_that_came_are_delivered_before_the_loss(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX), *peer;

    rw_run(rw);
    peer = rw_peer_of(rw, fs);
    fake_post(fs, 8000);
    rw_dispatch(rw);
    while (vfake_step(rw->f)) {
        /* arrives, but nobody looks */
    }
    vfake_inject(vfake_cm_of(rw->end[1].x, VNET_CONN_DATA, 0),
                 VNET_CM_DISCONNECTED, 0);
    vnet_rdma_cm_ready(rw->end[1].r);
    rw_dispatch(rw);
    g_assert_cmpuint(peer->rx_off, ==, 8000);
    rw_advance(rw, 3 * S);
    g_assert_cmpuint(peer->disconnected, ==, 1);
    rw_free(rw);
}

static void test_disconnect_without_a_word_is_a_reset(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX), *peer;

    rw_run(rw);
    peer = rw_peer_of(rw, fs);
    vfake_inject(vfake_cm_of(rw->end[1].x, VNET_CONN_DATA, 0),
                 VNET_CM_DISCONNECTED, 0);
    rw_run(rw);
    g_assert_cmpuint(peer->disconnected, ==, 0);
    rw_advance(rw, 2500 * RW_MS);
    g_assert_cmpuint(peer->disconnected, ==, 1);
    g_assert_cmpint(peer->reason, ==, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_true(rw_is_up(rw));
    rw_advance(rw, 3 * S);
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_address_change_is_a_hint(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

    rw_run(rw);
    for (unsigned i = 0; i < vfake_cm_count(rw->end[0].x); i++) {
        vfake_inject(vfake_cm(rw->end[0].x, i), VNET_CM_ADDR_CHANGE, 0);
    }
    rw_run(rw);
    fake_post(fs, 50000);
    rw_run(rw);
    g_assert_cmpuint(fs->tx_acked, ==, 50000);
    g_assert_cmpuint(rw_stats(rw, false)->addr_changes, ==, 3);
    rw_free(rw);
}

static void test_timewait_exit_instead_of_disconnected(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, 10);

    vfake_lose(rw->end[0].x, 1u << VNET_CM_DISCONNECTED);
    vfake_lose(rw->end[1].x, 1u << VNET_CM_DISCONNECTED);
    rw_run(rw);
    rw_check_finished(rw, fs);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpuint(rw_info(rw, i).lingering, ==, 1);
        vfake_inject(vfake_cm(rw->end[i].x, 2 + i), VNET_CM_TIMEWAIT_EXIT, 0);
    }
    rw_run(rw);
    rw_check_idle(rw);
    g_assert_cmpuint(rw_stats(rw, 0)->disconnects_lost, ==, 0);
    rw_free(rw);
}

static void test_guard_when_the_farewell_is_lost(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, 10);

    vfake_lose(rw->end[0].x, 1u << VNET_CM_DISCONNECTED);
    vfake_lose(rw->end[1].x, 1u << VNET_CM_DISCONNECTED);
    rw_run(rw);
    rw_check_finished(rw, fs);
    /* The QPs are gone at once, the ids are not. */
    g_assert_cmpuint(rw_info(rw, false).qps, ==, 2);
    g_assert_cmpuint(rw_info(rw, false).lingering, ==, 1);
    rw_advance(rw, 2100 * RW_MS);
    rw_check_idle(rw);
    g_assert_cmpuint(rw_stats(rw, false)->disconnects_lost, ==, 1);
    rw_free(rw);
}

static void test_link_loss_ends_all_streams(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs[16];

    for (int i = 0; i < 16; i++) {
        fs[i] = rw_connect(rw, i & 1, UINT64_MAX);
    }
    rw_run(rw);
    for (int i = 0; i < 16; i++) {
        fake_post(fs[i], 300000);
    }
    vfake_break(vfake_cm_of(rw->end[0].x, VNET_CONN_FRAME, 0),
                VNET_WC_RETRY_EXC_ERR, false);
    rw_run(rw);
    for (int i = 0; i < 16; i++) {
        g_assert_cmpuint(fs[i]->disconnected, ==, 1);
        g_assert_cmpint(fs[i]->reason, ==, VTOE_REASON_LINK_LOST);
    }
    rw_advance(rw, 5 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

static void test_empty_data_message_is_a_violation(void)
{
    RdmaWorld *rw = rw_up(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

    rw_run(rw);
    vfake_message(vfake_cm_of(rw->end[1].x, VNET_CONN_DATA, 0), "", 0);
    rw_run(rw);
    g_assert_cmpuint(rw_link_stats(rw, true)->bad_length, ==, 1);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    rw_advance(rw, 5 * S);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

/* A NIC that resets its stream inside whatever callback. */
static void abort_in(FakeStream *fs, const char *where)
{
    if (!strcmp(where, fs->hook_data) && fs->s) {
        VnetStream *s = fs->s;

        vnet_stream_abort(s, VTOE_REASON_RESET);
        fs->s = NULL;
    }
}

static void test_abort_inside_each_callback(gconstpointer where)
{
    for (guint32 seed = 0; seed < 40; seed++) {
        RdmaWorld *rw = rw_up(seed);
        FakeStream *fs, *peer;

        rw->end[1].nic->passive_tx = 100000;
        fs = rw_connect(rw, false, 100000);
        fs->hook = abort_in;
        fs->hook_data = (void *)where;
        rw_advance(rw, 5 * S);
        peer = rw_peer_of(rw, fs);
        g_assert_true(peer && peer->disconnected == 1);
        g_assert_true(rw_is_up(rw));
        rw_check_idle(rw);
        rw_free(rw);
    }
}

static void test_everything_at_once_in_any_order(void)
{
    for (guint32 seed = 1; seed <= 200; seed++) {
        RdmaWorld *rw = rw_up(seed);
        GRand *r = g_rand_new_with_seed(seed);

        rw->end[0].nic->passive_tx = 20000;
        rw->end[1].nic->passive_tx = 50000;
        for (int round = 0; round < 10; round++) {
            bool side = rw_somewhere(rw, r);
            VnetVCm *cm = vfake_cm(rw->end[side].x, g_rand_int_range(r, 0, 8));

            if (!cm || g_rand_boolean(r)) {
                continue;
            }
            vfake_inject(cm, g_rand_int_range(r, VNET_CM_CONNECT_RESPONSE,
                                              VNET_CM_EVENTS), 0);
        }
        rw_check_recovers(rw);
        g_rand_free(r);
        rw_free(rw);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/rdma/stream/" #name, test_##name)
#define A(where) g_test_add_data_func( \
        "/rdma/stream/abort_inside_each_callback/" where, where, \
        test_abort_inside_each_callback)
    T(sizes_both_ways);
    T(any_order_of_events);
    T(512_streams_at_once);
    T(streams_share_few_buffers);
    T(small_messages_are_inline_and_bursts_complete_once);
    T(send_queue_that_is_full_goes_on);
    T(no_events_while_polling);
    T(polling_begins_and_stops_at_any_time);
    T(device_fails_when_polling_stops);
    T(request_overtakes_its_open);
    T(request_of_a_stream_that_is_gone_is_refused);
    T(early_request_times_out);
    g_test_add_data_func("/rdma/stream/max_qps_refuses_the_next/client",
                         GINT_TO_POINTER(0), test_max_qps_refuses_the_next);
    g_test_add_data_func("/rdma/stream/max_qps_refuses_the_next/server",
                         GINT_TO_POINTER(1), test_max_qps_refuses_the_next);
    T(device_limit_refuses_the_next);
    T(device_with_short_queues_is_refused);
    T(request_that_fails_is_unreachable);
    T(each_error_status_resets_the_stream_alone);
    T(bytes_that_came_are_delivered_before_the_loss);
    T(disconnect_without_a_word_is_a_reset);
    T(address_change_is_a_hint);
    T(timewait_exit_instead_of_disconnected);
    T(guard_when_the_farewell_is_lost);
    T(link_loss_ends_all_streams);
    T(empty_data_message_is_a_violation);
    A("established");
    A("rx_done");
    A("acked");
    A("rx_end");
    T(everything_at_once_in_any_order);
    return g_test_run();
}
