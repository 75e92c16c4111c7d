/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that wait for the guest (docs/specs/vtoe.rst section 3.7).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

#define BUF 2048u

static VtoeStats stats(Fake *f)
{
    VtoeStats st;

    vtoe_dev_get_stats(f->dev, &st);
    return st;
}

/* A frame that says who it is. */
static VnetFrameResult rx(Fake *f, uint32_t who, size_t len)
{
    static const VnetFrameHdr plain;
    static uint8_t frame[VTOE_FRAME_MAX_LEN];
    struct iovec iov = { .iov_base = frame, .iov_len = len };

    memcpy(frame, fake_mac, 6);
    memcpy(frame + 14, &who, sizeof(who));
    return vtoe_dev_port_ops.frame(f->dev, &plain, &iov, 1, len);
}

static void post(Fake *f, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t id = f->q[0].recv_prod % 1024;

        fake_post_buf(f, 0, 0, FAKE_DATA + id * BUF, BUF, id);
    }
}

/* Who the next frame says it is. */
static uint32_t take(Fake *f)
{
    struct vtoe_comp c = fake_expect_comp(f, 0, VTOE_COMP_RECV, 0);
    uint32_t who;

    memcpy(&who, f->ram + FAKE_DATA + GUINT32_FROM_LE(c.id) * BUF + 14,
           sizeof(who));
    for (unsigned i = 1; i < GUINT16_FROM_LE(c.u.frame.num_buffers); i++) {
        fake_expect_comp(f, 0, VTOE_COMP_RECV, 0);
    }
    return who;
}

static void test_waits_for_buffers_in_order(void)
{
    Fake f;

    fake_up(&f);
    for (uint32_t who = 1; who <= 3; who++) {
        g_assert_cmpuint(rx(&f, who, 60), ==, VNET_FRAME_OK);
    }
    fake_batch_end(&f);
    fake_expect_no_comp(&f, 0);
    /* The guest is asked to tell when it posts the next. */
    g_assert_cmpuint(fake_ctrl_get(&f, 0, FAKE_CTRL(recv_event)), ==, 0);
    post(&f, 2);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 1);
    g_assert_cmpuint(take(&f), ==, 2);
    fake_expect_no_comp(&f, 0);
    g_assert_cmpuint(fake_ctrl_get(&f, 0, FAKE_CTRL(recv_event)), ==, 2);
    /* There is a buffer for this one, but another was first. */
    post(&f, 1);
    g_assert_cmpuint(rx(&f, 4, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpuint(take(&f), ==, 3);
    fake_expect_no_comp(&f, 0);
    post(&f, 1);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 4);
    g_assert_cmpuint(stats(&f).rx_frames, ==, 4);
    g_assert_cmpuint(stats(&f).rx_held, ==, 4);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 0);
    fake_finish(&f);
}

static void test_waits_for_all_its_buffers(void)
{
    Fake f;

    fake_up(&f);
    post(&f, 2);
    g_assert_cmpuint(rx(&f, 1, 3 * BUF), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 2, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    fake_expect_no_comp(&f, 0);
    post(&f, 2);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 1);
    g_assert_cmpuint(take(&f), ==, 2);
    fake_finish(&f);
}

static void post_one(Fake *f)
{
    post(f, 1);
}

static void test_buffer_posted_at_the_last_moment(void)
{
    Fake f;

    fake_up(&f);
    g_assert_cmpuint(rx(&f, 1, 60), ==, VNET_FRAME_OK);
    f.on_barrier = post_one;
    fake_batch_end(&f);
    g_assert_null(f.on_barrier);
    g_assert_cmpuint(take(&f), ==, 1);
    fake_finish(&f);
}

static void test_waits_for_completions(void)
{
    Fake f;

    fake_init(&f);
    f.q[0].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    post(&f, 10);
    for (uint32_t who = 1; who <= 3; who++) {
        g_assert_cmpuint(rx(&f, who, 60), ==, VNET_FRAME_OK);
    }
    fake_batch_end(&f);
    g_assert_cmpuint(stats(&f).rx_held, ==, 1);
    g_assert_cmpuint(stats(&f).comp_ring_full, ==, 1);
    g_assert_cmpint(fake_ctrl_get(&f, 0, FAKE_CTRL(comp_room_event)), <=, 1);
    g_assert_cmpuint(take(&f), ==, 1);
    g_assert_cmpuint(take(&f), ==, 2);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 3);
    fake_expect_no_comp(&f, 0);
    fake_finish(&f);
}

static void test_what_never_fits_is_dropped(void)
{
    Fake f;

    fake_init(&f);
    f.q[0].size[1] = 4;
    f.q[0].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    post(&f, 4);
    g_assert_cmpuint(rx(&f, 1, 4 * BUF + 1), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(rx(&f, 2, 2 * BUF + 1), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(rx(&f, 3, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpuint(take(&f), ==, 3);
    /* Where it is behind another: when its turn comes. */
    g_assert_cmpuint(rx(&f, 4, 60), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 5, 60), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 6, 60), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 7, 4 * BUF + 1), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 8, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpuint(take(&f), ==, 4);
    g_assert_cmpuint(take(&f), ==, 5);
    post(&f, 3);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 6);
    post(&f, 1);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 8);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 3);
    fake_finish(&f);
}

static void test_limit_of_frames(void)
{
    Fake f;

    fake_up(&f);
    for (uint32_t who = 0; who < VTOE_HOLD_FRAMES; who++) {
        g_assert_cmpuint(rx(&f, who, 60), ==, VNET_FRAME_OK);
    }
    g_assert_cmpuint(rx(&f, 0, 60), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(stats(&f).rx_held, ==, VTOE_HOLD_FRAMES);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 1);
    for (uint32_t who = 0; who < VTOE_HOLD_FRAMES; who++) {
        post(&f, 1);
        fake_kick(&f, 0);
        g_assert_cmpuint(take(&f), ==, who);
    }
    fake_finish(&f);
}

static void test_limit_of_bytes(void)
{
    const unsigned most = VTOE_HOLD_BYTES / 60000;
    Fake f;

    fake_up(&f);
    for (uint32_t who = 0; who < most; who++) {
        g_assert_cmpuint(rx(&f, who, 60000), ==, VNET_FRAME_OK);
    }
    g_assert_cmpuint(rx(&f, 0, 60000), ==, VNET_FRAME_DROPPED);
    /* What has gone makes room. */
    post(&f, 30);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 0);
    g_assert_cmpuint(rx(&f, most, 60000), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 0, 60000), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 2);
    fake_finish(&f);
}

static void test_limit_of_time(void)
{
    Fake f;

    fake_up(&f);
    f.now = 1000;
    g_assert_cmpuint(rx(&f, 1, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpint(f.timer, ==, 1000 + VTOE_HOLD_NS);
    f.now = 2000;
    g_assert_cmpuint(rx(&f, 2, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpint(f.timer, ==, 1000 + VTOE_HOLD_NS);
    f.now = f.timer;
    g_assert_cmpint(vtoe_dev_tick(f.dev), ==, 2000 + VTOE_HOLD_NS);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 1);
    post(&f, 2);
    fake_kick(&f, 0);
    g_assert_cmpuint(take(&f), ==, 2);
    fake_expect_no_comp(&f, 0);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    fake_finish(&f);
}

/* Those behind one that is given up get the buffers that were too few for it. */
static void test_goes_on_behind_one_given_up(void)
{
    Fake f;

    fake_up(&f);
    post(&f, 2);
    g_assert_cmpuint(rx(&f, 1, 3 * BUF), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    f.now = VTOE_HOLD_NS / 2;
    g_assert_cmpuint(rx(&f, 2, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    fake_expect_no_comp(&f, 0);
    f.now = f.timer;
    vtoe_dev_tick(f.dev);
    g_assert_cmpuint(take(&f), ==, 2);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 1);
    fake_finish(&f);
}

static void test_stopped_vm_keeps_them(void)
{
    Fake f;

    fake_up(&f);
    g_assert_cmpuint(rx(&f, 1, 60), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    post(&f, 1);
    f.forbid_dma = true;
    vtoe_dev_set_running(f.dev, false);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    g_assert_cmpuint(rx(&f, 2, 60), ==, VNET_FRAME_DROPPED);
    f.forbid_dma = false;
    vtoe_dev_set_running(f.dev, true);
    fake_run(&f);
    g_assert_cmpuint(take(&f), ==, 1);
    fake_expect_no_comp(&f, 0);
    fake_finish(&f);
}

static void test_reset_drops_them(void)
{
    Fake f;

    fake_up(&f);
    g_assert_cmpuint(rx(&f, 1, 60), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 2, 60), ==, VNET_FRAME_OK);
    fake_wr(&f, VTOE_REG_STATUS, 0);
    g_assert_cmpuint(stats(&f).rx_drop_not_ready, ==, 2);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    fake_finish(&f);
}

static void test_violation_drops_them(void)
{
    Fake f;

    fake_up(&f);
    g_assert_cmpuint(rx(&f, 1, 60), ==, VNET_FRAME_OK);
    g_assert_cmpuint(rx(&f, 2, 60), ==, VNET_FRAME_OK);
    fake_post_buf(&f, 0, 0, FAKE_RAM - 1, BUF, 1);
    fake_kick(&f, 0);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    g_assert_cmpuint(stats(&f).rx_frames, ==, 0);
    g_assert_cmpuint(stats(&f).rx_drop_not_ready, ==, 1);
    g_assert_cmpint(f.timer, ==, INT64_MAX);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/hold/" #name, test_ ## name)
    T(waits_for_buffers_in_order);
    T(waits_for_all_its_buffers);
    T(buffer_posted_at_the_last_moment);
    T(waits_for_completions);
    T(what_never_fits_is_dropped);
    T(limit_of_frames);
    T(limit_of_bytes);
    T(limit_of_time);
    T(goes_on_behind_one_given_up);
    T(stopped_vm_keeps_them);
    T(reset_drops_them);
    T(violation_drops_them);
    return g_test_run();
}
