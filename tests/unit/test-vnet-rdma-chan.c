/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The message channel of an rdma link: frames and control messages, and the
 * credits under them.
 */
#include <string.h>
#include "vnet-rdma-conn.h"
#include "vnet-rdma-world.h"

#define S   (1000 * RW_MS)

static VnetFrameResult send_frame(RdmaWorld *rw, int from, size_t len)
{
    VnetFrameResult res = fake_send_frame(rw->end[from].nic,
                                          rw->end[!from].nic->mac,
                                          rw->end[from].nic->mac, len);

    rw_dispatch(rw);
    return res;
}

static VnetVCm *frame_cm(RdmaWorld *rw, int end)
{
    return vfake_cm_of(rw->end[end].x, VNET_CONN_FRAME, 0);
}

static VnetVCm *control_cm(RdmaWorld *rw, int end)
{
    return vfake_cm_of(rw->end[end].x, VNET_CONN_CONTROL, 0);
}

/* --- Frames -------------------------------------------------------------- */

static void test_frames_of_all_sizes(void)
{
    static const size_t sizes[] = { 14, 60, 1514, 9000, 65549, 65550 };

    for (int from = 0; from < 2; from++) {
        RdmaWorld *rw = rw_up(0);
        FakeNic *to = rw->end[!from].nic;

        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
            g_assert_cmpint(send_frame(rw, from, sizes[i]), ==, VNET_FRAME_OK);
            rw_run(rw);
            g_assert_cmpuint(to->frames, ==, i + 1);
            g_assert_cmpuint(to->last_len, ==, sizes[i]);
            for (size_t b = 12; b < sizes[i]; b++) {
                g_assert_cmpuint(to->last_frame[b], ==, (uint8_t)(b * 7));
            }
        }
        rw_free(rw);
    }
}

static void test_small_frames_share_a_message(void)
{
    RdmaWorld *rw = rw_up(0);
    uint8_t f[100] = { 0 };
    const VnetFrameHdr hdr = { 0 };
    struct iovec iov = { f, sizeof(f) };

    memcpy(f, rw->end[1].nic->mac, 6);
    memcpy(f + 6, rw->end[0].nic->mac, 6);
    for (int i = 0; i < 100; i++) {
        g_assert_cmpint(vnet_port_send(rw->end[0].nic->port, &hdr, &iov, 1,
                                       sizeof(f)), ==, VNET_FRAME_OK);
    }
    rw_run(rw);
    g_assert_cmpuint(rw->end[1].nic->frames, ==, 100);
    g_assert_cmpuint(rw_stats(rw, true)->frame_msgs_received, ==, 1);
    rw_free(rw);
}

static void test_busy_without_credit_and_ready_again(void)
{
    RdmaWorld *rw = rw_up(0);
    unsigned n = 0;

    /* The peer's receives are filled and not looked at. */
    vfake_stall(frame_cm(rw, 0), true);
    while (send_frame(rw, 0, 60000) == VNET_FRAME_OK) {
        g_assert_cmpuint(++n, <, 100);
    }
    /* All but the last receive, and one more message being filled. */
    g_assert_cmpuint(n, ==, VNET_RDMA_FRAME_N);
    g_assert_cmpuint(rw->end[0].nic->tx_ready, ==, 0);
    vfake_stall(frame_cm(rw, 0), false);
    rw_run(rw);
    g_assert_cmpuint(rw->end[0].nic->tx_ready, ==, 1);
    g_assert_cmpuint(rw->end[1].nic->frames, ==, n);
    g_assert_cmpint(send_frame(rw, 0, 60000), ==, VNET_FRAME_OK);
    rw_free(rw);
}

static void test_both_ends_flood_frames(void)
{
    for (guint32 seed = 1; seed <= 100; seed++) {
        RdmaWorld *rw = rw_up(seed);
        unsigned sent[2] = { 0, 0 }, busy = 0;

        while (sent[0] + sent[1] < 400) {
            int from = g_rand_int_range(rw->w->rand, 0, 2);
            size_t len = g_rand_boolean(rw->w->rand) ? 60 : 65000;

            if (send_frame(rw, from, len) == VNET_FRAME_OK) {
                sent[from]++;
            } else {
                busy++;
                /* Neither stands still: something can always happen. */
                g_assert_true(rw_step(rw));
            }
        }
        rw_run(rw);
        g_assert_cmpuint(rw->end[0].nic->frames, ==, sent[1]);
        g_assert_cmpuint(rw->end[1].nic->frames, ==, sent[0]);
        g_assert_cmpuint(busy, >, 0);
        rw_free(rw);
    }
}

static void test_both_ends_use_up_all_credit(void)
{
    RdmaWorld *rw = rw_up(0);
    unsigned sent[2] = { 0, 0 };

    /* Everything is on its way in both directions, nobody has looked. */
    for (int from = 0; from < 2; from++) {
        while (send_frame(rw, from, 65000) == VNET_FRAME_OK) {
            sent[from]++;
        }
    }
    rw_run(rw);
    for (int from = 0; from < 2; from++) {
        g_assert_cmpuint(rw->end[from].nic->tx_ready, ==, 1);
        g_assert_cmpuint(rw->end[!from].nic->frames, ==, sent[from]);
    }
    rw_free(rw);
}

static void test_one_way_traffic_is_answered_by_credits_alone(void)
{
    RdmaWorld *rw = rw_up(0);

    for (int i = 0; i < 1000; i++) {
        g_assert_cmpint(send_frame(rw, 0, 1000), ==, VNET_FRAME_OK);
        rw_run(rw);
    }
    g_assert_cmpuint(rw->end[1].nic->frames, ==, 1000);
    /* One for each half of the receives */
    g_assert_cmpuint(rw_stats(rw, true)->frame_msgs_sent, ==,
                     1000 / (VNET_RDMA_FRAME_N / 2));
    g_assert_cmpuint(rw_stats(rw, true)->credit_msgs_sent, >=,
                     1000 / (VNET_RDMA_FRAME_N / 2));
    g_assert_cmpuint(rw_stats(rw, false)->credit_msgs_sent, <=, 1000 / 64);
    rw_free(rw);
}

/* --- Control messages ---------------------------------------------------- */

static void flip_mac(RdmaWorld *rw, int end, uint8_t n)
{
    const uint8_t mac[6] = { 0x52, 0x54, 0, 1, end, n };

    vnet_port_set_mac(rw->end[end].nic->port, mac);
    rw_dispatch(rw);
}

static void test_both_ends_flood_control(void)
{
    for (guint32 seed = 0; seed < 40; seed++) {
        RdmaWorld *rw = rw_up(seed);

        for (int i = 0; i < 1000; i++) {
            flip_mac(rw, 0, i);
            flip_mac(rw, 1, i);
            if (i % 300 == 299) {
                rw_step(rw);
            }
        }
        rw_run(rw);
        g_assert_true(rw_is_up(rw));
        for (int end = 0; end < 2; end++) {
            g_assert_cmpuint(rw_link_stats(rw, end)->tx_msgs, ==,
                             rw_link_stats(rw, !end)->rx_msgs);
            /* What has no credit waits, and goes out many at once. */
            g_assert_cmpuint(rw_stats(rw, end)->control_msgs_sent, <, 600);
        }
        rw_free(rw);
    }
}

static void test_peer_that_does_not_read_control_is_given_up(void)
{
    RdmaWorld *rw = rw_up(0);

    vfake_stall(control_cm(rw, 0), true);
    for (int i = 0; rw_is_up(rw); i++) {
        g_assert_cmpint(i, <, 100000);
        flip_mac(rw, 0, i);
    }
    g_assert_cmpuint(rw_link_stats(rw, false)->lost_overflow, ==, 1);
    rw_advance(rw, 10 * S);
    g_assert_true(rw_is_up(rw));
    rw_check_idle(rw);
    rw_free(rw);
}

/* --- A peer that breaks the rules ---------------------------------------- */

typedef struct Bad {
    const char *name;
    bool frame;
    uint8_t bytes[40];
    size_t len;
    size_t counter;             /* of VnetLinkStats */
} Bad;
#define C(name) offsetof(VnetLinkStats, name)

static const Bad bads[] = {
    { "short", false, { 0 }, 7, C(bad_length) },
    { "empty", true, { 0 }, 0, C(bad_length) },
    { "length_above", false, { 0, 0, 0, 0, 0, 0, 0, 9 }, 16, C(bad_length) },
    { "length_below", true, { 0, 0, 0, 0, 0, 0, 0, 7 }, 16, C(bad_length) },
    { "length_huge", true, { 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff }, 8,
      C(bad_length) },
    { "flags", false, { 0, 0, 0x80, 0 }, 8, C(bad_value) },
    { "credits", false, { 0, 65 }, 8, C(bad_value) },
    { "credits_of_frames", true, { 0, 17 }, 8, C(bad_value) },
    { "message_cut_short", false,
      { 0, 0, 0, 0, 0, 0, 0, 12, 3, 0, 0, 16 }, 20, C(bad_length) },
    { "frame_header_cut_short", true,
      { 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 60 }, 20, C(bad_length) },
    { "frame_cut_short", true,
      { 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 60, 0, 0, 0, 7 }, 40,
      C(bad_length) },
};

static void test_violation_closes_the_link(gconstpointer opaque)
{
    const Bad *bad = opaque;

    for (int end = 0; end < 2; end++) {
        RdmaWorld *rw = rw_up(0);

        vfake_message(bad->frame ? frame_cm(rw, end) : control_cm(rw, end),
                      bad->bytes, bad->len);
        rw_run(rw);
        g_assert_cmpuint(*(const uint64_t *)
                         ((const char *)rw_link_stats(rw, end) + bad->counter),
                         ==, 1);
        g_assert_cmpuint(rw_link_stats(rw, end)->downs, ==, 1);
        rw_advance(rw, 10 * S);
        g_assert_true(rw_is_up(rw));
        rw_check_idle(rw);
        rw_free(rw);
    }
}

static void test_each_error_status_ends_the_link_once(void)
{
    for (int end = 0; end < 2; end++) {
        for (int frame = 0; frame < 2; frame++) {
            for (int st = VNET_WC_SUCCESS + 1; st < VNET_WC_STATUSES; st++) {
                RdmaWorld *rw = rw_up(0);

                vfake_break(frame ? frame_cm(rw, end) : control_cm(rw, end),
                            st, true);
                rw_run(rw);
                g_assert_cmpuint(rw_link_stats(rw, end)->downs, ==, 1);
                g_assert_true(g_str_has_prefix(
                    rw_last_error(rw, end), frame ? "frame connection: " :
                    "control connection: "));
                rw_advance(rw, 10 * S);
                g_assert_true(rw_is_up(rw));
                rw_check_idle(rw);
                rw_free(rw);
            }
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/rdma/chan/" #name, test_##name)
    T(frames_of_all_sizes);
    T(small_frames_share_a_message);
    T(busy_without_credit_and_ready_again);
    T(both_ends_flood_frames);
    T(both_ends_use_up_all_credit);
    T(one_way_traffic_is_answered_by_credits_alone);
    T(both_ends_flood_control);
    T(peer_that_does_not_read_control_is_given_up);
    for (unsigned i = 0; i < G_N_ELEMENTS(bads); i++) {
        g_autofree char *path = g_strdup_printf(
            "/rdma/chan/violation_closes_the_link/%s", bads[i].name);

        g_test_add_data_func(path, &bads[i], test_violation_closes_the_link);
    }
    T(each_error_status_ends_the_link_once);
    return g_test_run();
}
