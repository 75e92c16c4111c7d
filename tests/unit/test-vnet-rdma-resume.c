/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that outlive an rdma link, or their connection on it
 * (docs/specs/vnet-wire.rst, "Resuming").
 *
 * What a sender knows to be with the peer, by its completion, the peer may not have
 * looked at yet.  The NICs check for themselves that every byte comes once and in
 * order.
 */
#include <errno.h>
#include "vnet-core.h"      /* to close a link as its heartbeat does */
#include "vnet-rdma-world.h"

#define S   (1000 * RW_MS)

static void assert_nothing_broken(RdmaWorld *rw)
{
    for (int i = 0; i < 2; i++) {
        const VnetLinkStats *st = rw_link_stats(rw, i);

        g_assert_cmpuint(st->bad_order + st->bad_offset + st->bad_credit +
                         st->bad_value + st->bad_length, ==, 0);
        g_assert_cmpuint(rw_stats(rw, i)->settle_failed, ==, 0);
    }
}

static uint64_t resumed(RdmaWorld *rw)
{
    return fake_stats(rw->end[0].h)->streams_resumed +
           fake_stats(rw->end[1].h)->streams_resumed;
}

/* The ways in which a link is lost. */
static void lose_link(RdmaWorld *rw, unsigned how)
{
    RdmaEnd *e = &rw->end[how & 1];
    VnetVCm *control = vfake_cm_of(e->x, VNET_CONN_CONTROL, 0);
    VnetVCm *frame = vfake_cm_of(e->x, VNET_CONN_FRAME, 0);

    switch (how / 2 % 3) {
    case 0:
        if (control && rw_is_up(rw)) {
            vfake_break(control, VNET_WC_RETRY_EXC_ERR, false);
        }
        break;
    case 1:
        if (frame && rw_is_up(rw)) {
            vfake_break(frame, VNET_WC_RETRY_EXC_ERR, false);
        }
        break;
    default:
        if (rw_is_up(rw)) {
            VnetLink *l = vnet_rdma_link(e->r);

            vnet_link_close(l, &l->stats.lost_heartbeat, VTOE_REASON_TIMEOUT,
                            "silent");
            rw_dispatch(rw);
        }
        break;
    }
}

/* --- The link ------------------------------------------------------------ */

/* After so many steps; whether it was over before. */
static bool lost_at(guint32 seed, unsigned at, uint64_t *went_on)
{
    RdmaWorld *rw = rw_up_resuming(seed);
    FakeStream *fs[3];
    bool moved = true;

    rw->end[0].nic->passive_tx = 700;
    rw->end[1].nic->passive_tx = 90000;
    for (int i = 0; i < 3; i++) {
        fs[i] = rw_connect(rw, i & 1, i ? 60000 : 500);
    }
    /* Only what was established goes on. */
    while (moved && (fs[0]->established & fs[1]->established &
                     fs[2]->established) == 0) {
        moved = rw_step(rw);
    }
    for (int i = 0; i < 3; i++) {
        while (moved && !rw_peer_of(rw, fs[i])->established) {
            moved = rw_step(rw);
        }
    }
    for (unsigned k = 0; k < at && moved; k++) {
        moved = rw_step(rw);
    }
    lose_link(rw, at);
    for (unsigned k = 0; k < at % 17; k++) {
        rw_step(rw);
    }
    lose_link(rw, at / 3);
    rw_advance(rw, 30 * S);
    for (int i = 0; i < 3; i++) {
        rw_check_finished(rw, fs[i]);
    }
    g_assert_true(rw_is_up(rw));
    assert_nothing_broken(rw);
    *went_on += resumed(rw);
    rw_free(rw);
    return !moved;
}

static void test_link_lost_at_every_step(void)
{
    for (guint32 seed = 1; seed <= 2; seed++) {
        uint64_t went_on = 0;
        unsigned at = 0;

        while (!lost_at(seed, at, &went_on)) {
            at++;
        }
        g_assert_cmpuint(at, >, 20);
        g_assert_cmpuint(went_on, >, at);
    }
}

/* All that arrived, and nobody looked at, while the sender knows it to be there. */
static void test_what_arrived_is_not_sent_again(void)
{
    for (int both = 0; both < 2; both++) {
        RdmaWorld *rw = rw_up_resuming(0);
        FakeStream *fs = rw_connect(rw, false, UINT64_MAX), *peer;
        uint64_t sends;

        rw_run(rw);
        peer = rw_peer_of(rw, fs);
        fake_post(fs, 8000);
        rw_dispatch(rw);
        while (vfake_step(rw->f)) {
            /* arrives, and its sender's adapter knows */
        }
        sends = rw_stats(rw, false)->data_sends;
        if (both) {
            VnetVDev *dev = rw->end[0].watched;

            vnet_rdma_cq_ready(rw->end[0].r, dev);
            rw_dispatch(rw);
            g_assert_cmpuint(fs->tx_acked, ==, 8000);
        }
        g_assert_cmpuint(peer->rx_off, ==, 0);
        lose_link(rw, 5);
        lose_link(rw, 4);
        rw_dispatch(rw);
        g_assert_cmpuint(peer->rx_off, ==, 8000);
        rw_advance(rw, 10 * S);
        g_assert_cmpuint(fs->tx_acked, ==, 8000);
        g_assert_cmpuint(resumed(rw), ==, 2);
        g_assert_cmpuint(rw_stats(rw, false)->data_sends, ==, sends);
        fake_post(fs, 100);
        rw_run(rw);
        g_assert_cmpuint(peer->rx_off, ==, 8100);
        assert_nothing_broken(rw);
        rw_free(rw);
    }
}

/* A device that does not say what it has received of one stream: that is reset. */
static void test_stream_that_cannot_be_settled(void)
{
    RdmaWorld *rw = rw_up_resuming(0);
    FakeStream *fs[20];
    unsigned lost = 0;

    for (int i = 0; i < 20; i++) {
        fs[i] = rw_connect(rw, false, UINT64_MAX);
    }
    rw_run(rw);
    vfake_fail(rw->end[1].x, VFAKE_STOP_QP, EIO, 7);
    lose_link(rw, 5);
    rw_run(rw);
    g_assert_cmpuint(rw_stats(rw, true)->settle_failed, ==, 1);
    g_assert_cmpuint(rw_stats(rw, false)->settle_failed, ==, 0);
    rw_advance(rw, 10 * S);
    for (int i = 0; i < 20; i++) {
        lost += fs[i]->disconnected;
        if (fs[i]->disconnected) {
            g_assert_cmpint(fs[i]->reason, ==, VTOE_REASON_LINK_LOST);
        }
    }
    g_assert_cmpuint(lost, ==, 1);
    g_assert_cmpuint(resumed(rw), ==, 2 * 19);
    g_assert_true(rw_is_up(rw));
    rw_free(rw);
}

/* One that fails once has lost nothing. */
static void test_completion_queue_of_no_use(void)
{
    RdmaWorld *rw = rw_up_resuming(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

    rw_run(rw);
    vfake_fail(rw->end[1].x, VFAKE_POLL_CQ, EIO, 0);
    fake_post(fs, 10);
    rw_advance(rw, 30 * S);
    g_assert_cmpuint(rw_stats(rw, true)->device_failed, ==, 1);
    g_assert_cmpuint(fs->disconnected, ==, 0);
    g_assert_cmpuint(fs->tx_acked, ==, 10);
    g_assert_cmpuint(resumed(rw), ==, 2);
    g_assert_true(rw_is_up(rw));
    assert_nothing_broken(rw);
    rw_free(rw);
}

/* --- The connection alone ------------------------------------------------ */

static void test_each_error_status_of_a_connection(void)
{
    for (int recv = 0; recv < 2; recv++) {
        for (int side = 0; side < 2; side++) {
            for (int st = VNET_WC_SUCCESS + 1; st < VNET_WC_STATUSES; st++) {
                RdmaWorld *rw = rw_up_resuming(0);
                FakeStream *fs = rw_connect(rw, side, UINT64_MAX);

                rw_run(rw);
                fake_post(fs, 100000);
                for (int k = 0; k < 7; k++) {
                    rw_step(rw);
                }
                vfake_break(vfake_cm_of(rw->end[st & 1].x, VNET_CONN_DATA, 0),
                            st, recv);
                rw_advance(rw, 3 * S);
                g_assert_cmpuint(fs->disconnected, ==, 0);
                g_assert_cmpuint(resumed(rw), ==, 2);
                g_assert_cmpuint(fs->tx_acked, ==, 100000);
                g_assert_cmpuint(rw_link_stats(rw, 0)->downs, ==, 0);
                assert_nothing_broken(rw);
                rw_free(rw);
            }
        }
    }
}

/* Memory that could not be registered: nothing was posted, nothing is awaited. */
static void test_receives_that_could_not_be_posted(void)
{
    RdmaWorld *rw = rw_up_resuming(0);
    FakeStream *fs = rw_connect(rw, false, UINT64_MAX);

    rw_run(rw);
    for (int i = 0; i < 3; i++) {
        vfake_fail(rw->end[1].x, VFAKE_LKEY, EFAULT, 0);
        fake_post(fs, 100000);
        rw_advance(rw, 3 * S);
        g_assert_cmpuint(rw_stats(rw, true)->settle_failed, ==, 0);
        g_assert_cmpuint(fs->tx_acked, ==, 100000 * (i + 1));
    }
    g_assert_cmpuint(resumed(rw), >, 0);
    assert_nothing_broken(rw);
    rw_free(rw);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/rdma/resume/" #name, test_##name)
    T(link_lost_at_every_step);
    T(what_arrived_is_not_sent_again);
    T(stream_that_cannot_be_settled);
    T(completion_queue_of_no_use);
    T(each_error_status_of_a_connection);
    T(receives_that_could_not_be_posted);
    return g_test_run();
}
