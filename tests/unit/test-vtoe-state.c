/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving and loading the vtoe device (docs/specs/vtoe.rst section 9).
 */
#include "vtoe-fake.h"

static void free_state(VtoeState *st)
{
    g_free(st->recv);
    g_free(st->listens);
}

static void copy_state(VtoeState *to, const VtoeState *from)
{
    *to = *from;
    to->recv = g_memdup2(from->recv, from->nrecv * sizeof(*from->recv));
    to->listens = g_memdup2(from->listens,
                            from->nlistens * sizeof(*from->listens));
}

/* A device in use: traffic on all queues, buffers held, listeners, no stream.
 * 3 pool buffers and 1 returned one are held by pair 1, 2 by pair 0. */
static void used_device(Fake *f)
{
    static uint8_t frame[100];
    struct iovec iov = { .iov_base = frame, .iov_len = sizeof(frame) };
    VnetFrameHdr hdr = { 0 };
    VnetStream *s;

    fake_init(f);
    f->q[1].size[2] = 2;
    fake_start(f);
    fake_bring_up(f, FAKE_ALL_FEATURES);
    fake_listen(f, 3, 80, 4);
    fake_listen(f, 4, 81, 5);
    s = fake_open(f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 4; i++) {
        fake_post_buf(f, 1, VTOE_SID_ANY, FAKE_DATA + i * 100, 100, i);
    }
    fake_post_buf(f, 1, 99, FAKE_DATA, 100, 9);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 100);
    fake_peer_end(s);
    fake_cmd(f, VTOE_CMD_CLOSE, 5, 0, 0, 0, NULL);
    fake_peer_gone(s, VTOE_REASON_NONE);
    fake_batch_end(f);
    fake_expect_comp(f, 1, VTOE_COMP_RECV, 5);
    fake_expect_event(f, VTOE_EVENT_DISCONNECTED, 5);
    /* Completions that the guest has not consumed stay in the ring. */
    fake_post_data(f, 1, 77, FAKE_DATA, 1);
    fake_kick(f, 1);
    fake_post_buf(f, 1, 98, FAKE_DATA, 100, 8);
    s = fake_open(f, 6, 1, 100);
    fake_peer_data(s, 1);
    fake_cmd(f, VTOE_CMD_ABORT, 6, 0, 0, 0, NULL);
    fake_expect_event(f, VTOE_EVENT_DISCONNECTED, 6);

    for (unsigned i = 0; i < 3; i++) {
        fake_post_buf(f, 0, 0, FAKE_DATA + 4096 * i, 4096, i);
    }
    memcpy(frame, fake_mac, 6);
    g_assert_cmpuint(vtoe_dev_port_ops.frame(f->dev, &hdr, &iov, 1, 100), ==,
                     VNET_FRAME_OK);
    fake_batch_end(f);
    fake_expect_comp(f, 0, VTOE_COMP_RECV, 0);
    fake_post_data(f, 0, 0, FAKE_DATA, 60);
    fake_kick(f, 0);
    fake_expect_comp(f, 0, VTOE_COMP_SEND, 0);
    fake_wr(f, VTOE_REG_RX_FILTER, VTOE_RX_PROMISC);
    fake_wr(f, VTOE_REG_CUR_MAC_LO, 0x00005452);
    fake_wr(f, VTOE_REG_CUR_MAC_HI, 0x0102);
    fake_wr(f, VTOE_REG_QUEUE_SELECT, 2);
    g_assert_cmpuint(f->open_streams, ==, 0);
}

/* A new device over the same guest memory. */
static void successor(Fake *f, const VtoeState *st)
{
    const char *err;

    vtoe_dev_reset(f->dev);
    vtoe_dev_free(f->dev);
    f->kicks = 0;
    f->kick_control = false;
    fake_start(f);
    vtoe_dev_set_running(f->dev, false);
    g_assert_true(vtoe_dev_load(f->dev, st, &err));
}

static void test_round_trip(void)
{
    uint32_t before[VTOE_REG_END / 4];
    VtoeState st, again;
    Fake f;

    used_device(&f);
    vtoe_dev_set_running(f.dev, false);
    vtoe_dev_save(f.dev, &st);
    for (uint32_t r = 0; r < VTOE_REG_END; r += 4) {
        before[r / 4] = fake_rd(&f, r);
    }
    successor(&f, &st);
    f.forbid_dma = true;        /* until it runs */
    for (uint32_t r = 0; r < VTOE_REG_END; r += 4) {
        g_assert_cmphex(fake_rd(&f, r), ==, before[r / 4]);
    }
    vtoe_dev_save(f.dev, &again);
    g_assert_cmpuint(again.nlistens, ==, st.nlistens);
    g_assert_cmpmem(again.recv, again.nrecv * sizeof(*again.recv), st.recv,
                    st.nrecv * sizeof(*st.recv));
    free_state(&again);
    again.recv = st.recv;
    again.listens = st.listens;
    g_assert_cmpmem(&again, sizeof(again), &st, sizeof(st));
    g_assert_cmpuint(f.port.mac[5], ==, 1);
    g_assert_true(f.port.streams);
    f.forbid_dma = false;
    free_state(&st);
    fake_finish(&f);
}

static void test_work_goes_on_after_loading(void)
{
    static uint8_t frame[100];
    struct iovec iov = { .iov_base = frame, .iov_len = sizeof(frame) };
    VnetFrameHdr hdr = { 0 };
    VnetFlow flow;
    VnetStream *s;
    VtoeState st;
    struct vtoe_comp c;
    Fake f;

    used_device(&f);
    vtoe_dev_set_running(f.dev, false);
    vtoe_dev_save(f.dev, &st);
    successor(&f, &st);
    free_state(&st);
    fake_post_data(&f, 0, 0, FAKE_DATA, 60);    /* while nobody listened */
    vtoe_dev_set_running(f.dev, true);
    fake_run(&f);
    g_assert_cmpuint(fake_violation(&f), ==, 0);

    /* Told anew. */
    fake_expect_event(&f, VTOE_EVENT_LINK_STATE, 0);
    fake_expect_event(&f, VTOE_EVENT_PEER_CAPABILITY, 0);
    c = fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0);
    g_assert_cmpuint(GUINT64_FROM_LE(c.u.offset), ==, 1);
    /* New. */
    c = fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0);
    g_assert_cmpuint(GUINT64_FROM_LE(c.u.offset), ==, 2);
    g_assert_cmpuint(f.frames, ==, 2);

    /* Frames go to the buffers that were held. */
    memcpy(frame, "\x52\x54\0\0\2\1", 6);
    g_assert_cmpuint(vtoe_dev_port_ops.frame(f.dev, &hdr, &iov, 1, 100), ==,
                     VNET_FRAME_OK);
    fake_batch_end(&f);
    c = fake_expect_comp(&f, 0, VTOE_COMP_RECV, 0);
    g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, 1);

    /* What the old device had no room to say. */
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 99);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_RETURNED);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 77);
    fake_kick(&f, 1);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, 98);
    g_assert_cmpuint(c.flags, ==, VTOE_COMP_F_RETURNED);
    fake_expect_no_comp(&f, 1);

    /* Streams use the pool that was held; listeners are there. */
    flow = fake_flow(81);
    s = fake_peer_request(&f, &flow, NULL);
    g_assert_nonnull(s);
    fake_batch_end(&f);
    g_assert_cmpuint(fake_expect_event(&f, VTOE_EVENT_CONNECT_REQUEST,
                                       s->sid).tag, ==, GUINT32_TO_LE(4));
    fake_cmd(&f, VTOE_CMD_ACCEPT, s->sid, 1, 1000, 0, NULL);
    fake_peer_established(s);
    g_assert_cmpuint(fake_peer_data(s, 100), ==, 100);
    fake_batch_end(&f);
    c = fake_expect_comp(&f, 1, VTOE_COMP_RECV, s->sid);
    g_assert_cmpuint(GUINT32_FROM_LE(c.id), ==, 1);
    fake_finish(&f);
}

static void refused(Fake *f, const VtoeState *st)
{
    uint32_t gen = fake_rd(f, VTOE_REG_GENERATION);
    const char *err = NULL;

    g_assert_false(vtoe_dev_load(f->dev, st, &err));
    g_assert_nonnull(err);
    g_assert_cmpuint(fake_rd(f, VTOE_REG_GENERATION), ==, gen);
    g_assert_cmpuint(fake_violation(f), ==, 0);
}

static void test_every_field_that_is_wrong_is_refused(void)
{
    VtoeState good, bad;
    Fake f;

    used_device(&f);
    vtoe_dev_set_running(f.dev, false);
    vtoe_dev_save(f.dev, &good);
    g_assert_cmpuint(good.nqueues, ==, FAKE_PAIRS + 1);
    g_assert_cmpuint(good.q[0].recv_ready, ==, 2);
    g_assert_cmpuint(good.q[1].recv_ready, ==, 4);
    g_assert_cmpuint(good.nlistens, ==, 2);

#define REFUSED(stmt) \
    do { \
        copy_state(&bad, &good); \
        bad.stmt; \
        refused(&f, &bad); \
        free_state(&bad); \
    } while (0)
    REFUSED(drv_features |= 1ull << 40);
    REFUSED(drv_features &= ~VTOE_F_CSUM);          /* TSO needs it */
    REFUSED(drv_features &= ~VTOE_F_STREAM);        /* pair 1 needs it */
    REFUSED(status = 0);
    REFUSED(status &= ~VTOE_STATUS_DRIVER);
    REFUSED(status &= ~VTOE_STATUS_FEATURES_OK);
    REFUSED(status &= ~VTOE_STATUS_DRIVER_OK);      /* indices moved */
    REFUSED(status |= VTOE_STATUS_NEEDS_RESET);     /* without violation */
    REFUSED(status |= 8);
    REFUSED(status |= 1u << 31);
    REFUSED(generation = 0);
    REFUSED(queue_select = FAKE_PAIRS);
    REFUSED(queue_select = ~0u);
    REFUSED(violation = 1);                         /* without NEEDS_RESET */
    REFUSED(violation = 9);
    REFUSED(rx_filter = 4);
    REFUSED(mac[0] |= 1);
    REFUSED(nqueues -= 1);
    REFUSED(nqueues += 1);
    REFUSED(nqueues = 0);
    REFUSED(nqueues = ~0u);
    for (unsigned q = 0; q <= FAKE_PAIRS; q++) {
        for (unsigned r = 0; r < 3; r++) {
            REFUSED(q[q].size[r] = 1);
            REFUSED(q[q].size[r] = 3);
            REFUSED(q[q].size[r] = 8192);
            REFUSED(q[q].size[r] = ~0u);
        }
        for (unsigned r = 0; r < 4; r += q == FAKE_PAIRS && r == 0 ? 2 : 1) {
            REFUSED(q[q].addr[r] |= 1);
            REFUSED(q[q].addr[r] = ~63ull);
        }
        REFUSED(q[q].vector = FAKE_VECTORS);
        REFUSED(q[q].vector = ~0u);
        REFUSED(q[q].enabled = 2);
        REFUSED(q[q].recv_ready += 1);
        REFUSED(q[q].recv_ready = ~0u);
    }
    REFUSED(q[0].enabled = 0);                      /* but has indices */
    REFUSED(q[0].recv_ready -= 1);
    REFUSED(q[1].recv_ready = 0);
    REFUSED(q[1].send_done = 1);
    REFUSED(q[FAKE_PAIRS].send_done = 1);
    REFUSED(q[FAKE_PAIRS].recv_cons = 1);
    REFUSED(nrecv -= 1);
    REFUSED(nrecv = 0);
    for (unsigned i = 0; i < good.nrecv; i++) {
        REFUSED(recv[i].len = 63);
        REFUSED(recv[i].len = (1 << 20) + 1);
        REFUSED(recv[i].addr = ~0ull - 10);
        REFUSED(recv[i].id = VTOE_ID_NONE);
        REFUSED(recv[i].sid = i < 2 ? 5 : 0);
    }
    for (unsigned i = 0; i < good.nlistens; i++) {
        REFUSED(listens[i].id = 0);
        REFUSED(listens[i].id = VTOE_SID_PASSIVE);
        REFUSED(listens[i].id = good.listens[1 - i].id);
        REFUSED(listens[i].backlog = 0);
        REFUSED(listens[i].backlog = 65536);
        REFUSED(listens[i].family = 5);
        REFUSED(listens[i].lport = 0);
        REFUSED(listens[i].lport = good.listens[1 - i].lport);
        REFUSED(listens[i].laddr[15] = 1);          /* IPv4 has four bytes */
    }
    REFUSED(nlistens = 9);
    REFUSED(nlistens = ~0u);
    free_state(&good);
    fake_finish(&f);
}

static void test_each_state_of_the_device(void)
{
    static const uint32_t steps[] = { 0, 1, 3 };
    VtoeState st;
    Fake f;

    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        fake_init(&f);
        fake_start(&f);
        fake_wr(&f, VTOE_REG_STATUS, steps[i]);
        fake_configure(&f, 0);
        if (steps[i] == 3) {
            fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 1);
        }
        vtoe_dev_save(f.dev, &st);
        successor(&f, &st);
        g_assert_cmphex(fake_rd(&f, VTOE_REG_STATUS), ==, steps[i]);
        g_assert_cmpuint(fake_rd(&f, VTOE_REG_QUEUE_ENABLE), ==,
                         steps[i] == 3);
        g_assert_cmpuint(fake_rd(&f, VTOE_REG_SEND_SIZE), ==, FAKE_RING);
        free_state(&st);
        fake_finish(&f);
    }
}

static void test_needs_reset_is_kept(void)
{
    VtoeState st;
    Fake f;

    used_device(&f);
    fake_post_data(&f, 1, 5, FAKE_DATA, 0);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    vtoe_dev_set_running(f.dev, false);
    vtoe_dev_save(f.dev, &st);
    successor(&f, &st);
    f.forbid_dma = true;
    vtoe_dev_set_running(f.dev, true);
    fake_kick(&f, 1);
    fake_kick(&f, VTOE_QUEUE_CONTROL);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    g_assert_false(f.port.streams);
    f.forbid_dma = false;
    free_state(&st);
    fake_finish(&f);
}

static void test_destination_with_other_limits_refuses(void)
{
    VtoeState st;
    Fake f, g;

    used_device(&f);
    vtoe_dev_set_running(f.dev, false);
    vtoe_dev_save(f.dev, &st);
    fake_init(&g);
    g.cfg.features = VTOE_F_CSUM;
    fake_start(&g);
    refused(&g, &st);
    fake_finish(&g);
    fake_init(&g);
    g.cfg.vectors = 2;
    fake_start(&g);
    refused(&g, &st);
    fake_finish(&g);
    fake_init(&g);
    g.cfg.max_ring = 32;
    fake_start(&g);
    refused(&g, &st);
    fake_finish(&g);
    fake_init(&g);
    g.cfg.max_listens = 1;
    fake_start(&g);
    refused(&g, &st);
    fake_finish(&g);
    free_state(&st);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/state/" #name, test_ ## name)
    T(round_trip);
    T(work_goes_on_after_loading);
    T(every_field_that_is_wrong_is_refused);
    T(each_state_of_the_device);
    T(needs_reset_is_kept);
    T(destination_with_other_limits_refuses);
    return g_test_run();
}
