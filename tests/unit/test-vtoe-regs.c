/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe device's registers, bring-up and reset (docs/specs/vtoe.rst
 * sections 2, 3.5 and 7).
 */
#include "vtoe-fake.h"

static void test_constants_read_as_specified(void)
{
    Fake f;

    fake_init(&f);
    fake_start(&f);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_MAGIC), ==, 0x454f5456);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_VERSION), ==, 1);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_DEV_FEATURES), ==, FAKE_ALL_FEATURES);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_DEV_FEATURES_HI), ==, 0);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==, 0);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_GENERATION), ==, 1);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_MAX_PAIRS), ==, FAKE_PAIRS);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_MAX_RING), ==, 4096);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_MAX_STREAMS), ==, 64);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_MAX_LISTENS), ==, 8);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_MAX_SEGMENT), ==, 1 << 20);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_MAX_INFLIGHT), ==, 16);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_MAC_LO), ==, 0x01005452);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_MAC_HI), ==, 65520u << 16 | 0x0302);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_LINK), ==, 1);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_RX_FILTER), ==, VTOE_RX_ALLMULTI);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_QUEUE_VECTOR), ==, VTOE_NO_VECTOR);
    fake_finish(&f);
}

static void test_only_aligned_words_are_registers(void)
{
    static const uint32_t odd[] = { 0, 1, 2, 3, 4, 0x18, 0x19, 0x40, 0x74 };
    static const unsigned sizes[] = { 1, 2, 3, 8 };
    Fake f;

    fake_init(&f);
    fake_start(&f);
    for (unsigned i = 0; i < G_N_ELEMENTS(odd); i++) {
        for (unsigned s = 0; s < G_N_ELEMENTS(sizes); s++) {
            g_assert_cmpuint(vtoe_dev_reg_read(f.dev, odd[i], sizes[s]), ==, 0);
            vtoe_dev_reg_write(f.dev, odd[i], 1, sizes[s]);
        }
    }
    g_assert_cmpuint(vtoe_dev_reg_read(f.dev, 1, 4), ==, 0);
    vtoe_dev_reg_write(f.dev, VTOE_REG_STATUS + 2, 1, 4);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==, 0);
    fake_finish(&f);
}

/* Any value to any register, in any state, is survived; offsets past the end
 * read 0. */
static void test_any_value_to_any_register(void)
{
    static const uint32_t vals[] = {
        0, 1, 2, 3, 7, 63, 64, 65, 4095, 4096, 4097, 0xfffe, 0xffff, 0x10000,
        0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
    };
    Fake f;

    fake_up(&f);
    for (uint32_t reg = 0; reg < 0x200; reg += 4) {
        for (unsigned i = 0; i < G_N_ELEMENTS(vals); i++) {
            fake_wr(&f, reg, vals[i]);
            fake_rd(&f, reg);
            fake_run(&f);
        }
    }
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_END), ==, 0);
    g_assert_cmpuint(fake_rd(&f, 0xfc), ==, 0);
    g_assert_cmpuint(fake_rd(&f, 0xfffffffc), ==, 0);
    fake_finish(&f);
}

static void test_bring_up_in_order(void)
{
    Fake f;

    fake_init(&f);
    fake_start(&f);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_FEATURES_OK);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==, 0);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_DRIVER_OK);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==, VTOE_STATUS_DRIVER);
    fake_wr(&f, VTOE_REG_STATUS, 0xffffffff & ~VTOE_STATUS_DRIVER_OK);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==,
                     VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    g_assert_cmpuint(f.errors, ==, 2);
    g_assert_false(f.port.streams);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    g_assert_true(f.port.streams);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    /* The device's half of the control block was written. */
    g_assert_cmphex(fake_ctrl_get(&f, 1, FAKE_CTRL(send_cons)), ==, 0);
    g_assert_cmphex(fake_ctrl_get(&f, 1, FAKE_CTRL(send_event)), ==, 0);
    g_assert_cmphex(fake_ctrl_get(&f, 1, FAKE_CTRL(recv_event)), ==, ~0u);
    fake_finish(&f);
}

static void test_features_that_do_not_fit_are_refused(void)
{
    static const uint64_t bad[] = {
        VTOE_F_TSO, VTOE_F_RX_TSO, VTOE_F_STREAM << 1, 1ull << 63, ~0ull,
        VTOE_F_TSO | VTOE_F_RX_CSUM, VTOE_F_RX_TSO | VTOE_F_CSUM, 1u << 4,
    };
    Fake f;

    fake_init(&f);
    fake_start(&f);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        fake_wr(&f, VTOE_REG_STATUS, 0);
        fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
        fake_wr(&f, VTOE_REG_DRV_FEATURES, bad[i]);
        fake_wr(&f, VTOE_REG_DRV_FEATURES_HI, bad[i] >> 32);
        fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_FEATURES_OK);
        g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==, VTOE_STATUS_DRIVER);
    }
    g_assert_cmpuint(f.errors, ==, G_N_ELEMENTS(bad));
    /* Another try without a reset, and none once they are agreed. */
    fake_wr(&f, VTOE_REG_DRV_FEATURES, VTOE_F_STREAM);
    fake_wr(&f, VTOE_REG_DRV_FEATURES_HI, 0);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_FEATURES_OK);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_STATUS), ==,
                     VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    fake_wr(&f, VTOE_REG_DRV_FEATURES, 0);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_DRV_FEATURES), ==, VTOE_F_STREAM);
    fake_finish(&f);
}

static void test_absent_queues_read_zero(void)
{
    static const uint32_t sel[] = {
        FAKE_PAIRS, FAKE_PAIRS + 1, 64, 0xfffe, 0x10000, 0x80000000, ~0u,
    };
    Fake f;

    fake_init(&f);
    fake_start(&f);
    for (unsigned i = 0; i < G_N_ELEMENTS(sel); i++) {
        fake_wr(&f, VTOE_REG_QUEUE_SELECT, sel[i]);
        g_assert_cmphex(fake_rd(&f, VTOE_REG_QUEUE_SELECT), ==,
                        VTOE_QUEUE_NONE);
        for (uint32_t r = VTOE_REG_SEND_SIZE; r <= VTOE_REG_QUEUE_VECTOR;
             r += 4) {
            fake_wr(&f, r, 0x40);
            g_assert_cmpuint(fake_rd(&f, r), ==, 0);
        }
    }
    fake_wr(&f, VTOE_REG_QUEUE_SELECT, FAKE_PAIRS - 1);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_QUEUE_SELECT), ==, FAKE_PAIRS - 1);
    fake_wr(&f, VTOE_REG_COMP_ADDR, 0x12345678);
    fake_wr(&f, VTOE_REG_COMP_ADDR_HI, 0x9abcdef0);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_COMP_ADDR), ==, 0x12345678);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_COMP_ADDR_HI), ==, 0x9abcdef0);
    fake_wr(&f, VTOE_REG_QUEUE_SELECT, VTOE_QUEUE_CONTROL);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_QUEUE_SELECT), ==, 0xffff);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_COMP_ADDR), ==, 0);
    fake_finish(&f);
}

/* Everything up to FEATURES_OK, then this queue, changed by reg := val. */
static uint32_t enable_with(Fake *f, uint32_t queue, uint32_t reg, uint32_t val)
{
    fake_wr(f, VTOE_REG_STATUS, 0);
    fake_wr(f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    fake_wr(f, VTOE_REG_DRV_FEATURES, FAKE_ALL_FEATURES);
    fake_wr(f, VTOE_REG_STATUS, VTOE_STATUS_FEATURES_OK);
    fake_configure(f, queue);
    fake_wr(f, reg, val);
    fake_wr(f, VTOE_REG_QUEUE_ENABLE, 1);
    g_assert_cmpuint(fake_rd(f, VTOE_REG_QUEUE_ENABLE), ==,
                     fake_violation(f) == 0);
    return fake_violation(f);
}

static void test_ring_sizes(void)
{
    static const uint32_t bad[] = {
        0, 1, 3, 5, 63, 65, 4095, 4097, 8192, 0x80000000, ~0u,
    };
    static const uint32_t good[] = { 2, 4, 64, 2048, 4096 };
    static const uint32_t queues[] = { 0, 1, FAKE_PAIRS - 1 };
    Fake f;

    fake_init(&f);
    /* Far enough apart for the largest ring. */
    for (unsigned r = 0; r < 4; r++) {
        f.q[0].addr[r] = f.q[1].addr[r] = f.q[3].addr[r] =
            f.q[FAKE_PAIRS].addr[r] = (r + 1) * (1u << 20);
    }
    fake_start(&f);
    for (unsigned q = 0; q < G_N_ELEMENTS(queues); q++) {
        for (uint32_t reg = VTOE_REG_SEND_SIZE; reg <= VTOE_REG_COMP_SIZE;
             reg += 4) {
            for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_assert_cmpuint(enable_with(&f, queues[q], reg, bad[i]), ==,
                                 VTOE_VIOLATION_QUEUE);
            }
            for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
                g_assert_cmpuint(enable_with(&f, queues[q], reg, good[i]), ==,
                                 0);
            }
        }
    }
    g_assert_cmpuint(enable_with(&f, VTOE_QUEUE_CONTROL, VTOE_REG_RECV_SIZE, 2),
                     ==, VTOE_VIOLATION_QUEUE);
    g_assert_cmpuint(enable_with(&f, VTOE_QUEUE_CONTROL, VTOE_REG_SEND_SIZE, 3),
                     ==, VTOE_VIOLATION_QUEUE);
    g_assert_cmpuint(enable_with(&f, VTOE_QUEUE_CONTROL, VTOE_REG_COMP_SIZE,
                                 4096), ==, 0);
    fake_finish(&f);
}

static void test_ring_addresses(void)
{
    /* A ring of 64 entries of 32 bytes is 0x800 long, the block 0x80. */
    static const uint32_t len[] = { 0x800, 0x800, 0x800, 0x80 };
    Fake f;

    fake_init(&f);
    fake_start(&f);
    for (unsigned r = 0; r < 4; r++) {
        uint32_t lo = VTOE_REG_SEND_ADDR + 8 * r, hi = lo + 4;

        g_assert_cmpuint(enable_with(&f, 1, lo, FAKE_RAM - len[r]), ==, 0);
        g_assert_cmpuint(enable_with(&f, 1, lo, FAKE_RAM - len[r] + 64), ==,
                         VTOE_VIOLATION_RING_DMA);
        g_assert_cmpuint(enable_with(&f, 1, lo, FAKE_RAM), ==,
                         VTOE_VIOLATION_RING_DMA);
        g_assert_cmpuint(enable_with(&f, 1, hi, 1), ==,
                         VTOE_VIOLATION_RING_DMA);
        g_assert_cmpuint(enable_with(&f, 1, lo, 0x10001), ==,
                         VTOE_VIOLATION_QUEUE);
        g_assert_cmpuint(enable_with(&f, 1, lo, 0x10020), ==,
                         VTOE_VIOLATION_QUEUE);
    }
    fake_finish(&f);
}

static void test_ring_that_wraps_at_2_64_is_refused(void)
{
    Fake f;

    fake_init(&f);
    f.q[1].addr[2] = 0ull - 0x800;      /* ends at 2^64 exactly */
    fake_start(&f);
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_SEND_SIZE, 64), ==,
                     VTOE_VIOLATION_QUEUE);
    f.q[1].addr[2] = 0ull - 64;
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_SEND_SIZE, 64), ==,
                     VTOE_VIOLATION_QUEUE);
    fake_finish(&f);
}

static void test_vectors(void)
{
    Fake f;

    fake_init(&f);
    fake_start(&f);
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_QUEUE_VECTOR,
                                 FAKE_VECTORS - 1), ==, 0);
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_QUEUE_VECTOR, VTOE_NO_VECTOR),
                     ==, 0);
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_QUEUE_VECTOR, FAKE_VECTORS),
                     ==, VTOE_VIOLATION_QUEUE);
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_QUEUE_VECTOR,
                                 FAKE_VECTORS + 1), ==, VTOE_VIOLATION_QUEUE);
    g_assert_cmpuint(enable_with(&f, 1, VTOE_REG_QUEUE_VECTOR, ~0u), ==,
                     VTOE_VIOLATION_QUEUE);
    fake_finish(&f);
}

static void test_enable_out_of_order_is_a_violation(void)
{
    Fake f;

    fake_init(&f);
    fake_start(&f);
    g_assert_cmpuint(enable_with(&f, 0, VTOE_REG_QUEUE_SELECT, FAKE_PAIRS), ==,
                     VTOE_VIOLATION_QUEUE);

    fake_wr(&f, VTOE_REG_STATUS, 0);
    fake_configure(&f, 0);
    fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_QUEUE);

    /* A stream pair without the feature. */
    fake_wr(&f, VTOE_REG_STATUS, 0);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    fake_configure(&f, 1);
    fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_QUEUE);

    /* After DRIVER_OK. */
    fake_wr(&f, VTOE_REG_STATUS, 0);
    fake_wr(&f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK |
            VTOE_STATUS_DRIVER_OK);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_configure(&f, 0);
    fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_QUEUE);
    fake_finish(&f);
}

static void test_enabled_queue_is_fixed(void)
{
    Fake f;

    fake_up(&f);
    fake_wr(&f, VTOE_REG_QUEUE_SELECT, 1);
    for (uint32_t r = VTOE_REG_SEND_SIZE; r <= VTOE_REG_QUEUE_ENABLE; r += 4) {
        uint32_t old = fake_rd(&f, r);

        fake_wr(&f, r, 0xdead0000);
        g_assert_cmphex(fake_rd(&f, r), ==, old);
    }
    fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 1);
    fake_wr(&f, VTOE_REG_QUEUE_ENABLE, 0);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_QUEUE_ENABLE), ==, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_finish(&f);
}

static void test_no_ring_is_touched_before_driver_ok(void)
{
    Fake f;

    fake_init(&f);
    fake_start(&f);
    enable_with(&f, 1, VTOE_REG_SEND_SIZE, 64);
    f.forbid_dma = true;
    fake_post_data(&f, 1, 1, FAKE_DATA, 100);
    for (unsigned q = 0; q < FAKE_PAIRS + 2; q++) {
        vtoe_dev_kick(f.dev, q);
    }
    vtoe_dev_kick(f.dev, VTOE_QUEUE_CONTROL);
    vtoe_dev_kick(f.dev, ~0u);
    fake_wr(&f, VTOE_REG_CTRL_DOORBELL, 1);
    fake_run(&f);
    f.forbid_dma = false;
    fake_finish(&f);
}

static void test_violation_stops_everything_until_reset(void)
{
    VnetStream *s;
    VtoeStats st;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_data(&f, 1, 5, FAKE_DATA, 4096);
    fake_kick(&f, 1);
    g_assert_cmpuint(f.maps, ==, 1);
    f.raised[0] = 0;
    fake_post_data(&f, 1, 5, FAKE_RAM - 10, 11);        /* past RAM */
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    g_assert_cmpuint(f.raised[0], ==, 1);
    g_assert_cmpuint(f.errors, ==, 1);
    g_assert_true(s->aborted);
    g_assert_cmpuint(s->reason, ==, VTOE_REASON_DEVICE_RESET);
    g_assert_cmpuint(f.maps, ==, 0);
    g_assert_cmpuint(f.open_streams, ==, 0);
    g_assert_false(f.port.streams);

    f.forbid_dma = true;
    fake_post_data(&f, 1, 5, FAKE_RAM, 11);
    fake_kick(&f, 1);
    fake_kick(&f, VTOE_QUEUE_CONTROL);
    vtoe_dev_port_ops.link_state(f.dev, false);
    fake_batch_end(&f);
    fake_wr(&f, VTOE_REG_STATUS, 7);
    fake_run(&f);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    f.forbid_dma = false;

    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        memset(f.ram + f.q[i].addr[3], 0, 128);
        f.q[i].send_prod = f.q[i].recv_prod = f.q[i].comp_cons = 0;
    }
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_open(&f, 5, 1, 1 << 20);
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.violations, ==, 1);
    fake_finish(&f);
}

static void test_reset_restores_every_register(void)
{
    uint32_t before[VTOE_REG_END / 4];
    Fake f;

    fake_init(&f);
    fake_start(&f);
    for (uint32_t r = 0; r < VTOE_REG_END; r += 4) {
        before[r / 4] = fake_rd(&f, r);
    }
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    fake_wr(&f, VTOE_REG_RX_FILTER, ~0u);
    g_assert_cmpuint(fake_rd(&f, VTOE_REG_RX_FILTER), ==, 3);
    fake_wr(&f, VTOE_REG_CUR_MAC_LO, 0x44332202);
    fake_wr(&f, VTOE_REG_CUR_MAC_HI, 0xffff6655);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_CUR_MAC_LO), ==, 0x44332202);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_CUR_MAC_HI), ==, 0x6655);
    g_assert_cmpuint(f.port.mac[5], ==, 0x66);
    fake_wr(&f, VTOE_REG_STATUS, 0);
    for (uint32_t r = 0; r < VTOE_REG_END; r += 4) {
        uint32_t more = r == VTOE_REG_GENERATION ? 2 : 0;

        g_assert_cmphex(fake_rd(&f, r), ==, before[r / 4] + more);
    }
    g_assert_cmpmem(f.port.mac, 6, fake_mac, 6);
    fake_finish(&f);
}

static void test_generation_is_never_zero(void)
{
    VtoeState st;
    const char *err;
    Fake f;

    fake_init(&f);
    fake_start(&f);
    vtoe_dev_save(f.dev, &st);
    st.generation = UINT32_MAX;
    g_assert_true(vtoe_dev_load(f.dev, &st, &err));
    g_assert_cmphex(fake_rd(&f, VTOE_REG_GENERATION), ==, UINT32_MAX);
    fake_wr(&f, VTOE_REG_STATUS, 0);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_GENERATION), ==, 1);
    g_free(st.recv);
    g_free(st.listens);
    fake_finish(&f);
}

static void test_mac_that_is_not_unicast_is_ignored(void)
{
    Fake f;

    fake_up(&f);
    fake_wr(&f, VTOE_REG_CUR_MAC_LO, 1);        /* multicast */
    fake_wr(&f, VTOE_REG_CUR_MAC_HI, 0);
    fake_wr(&f, VTOE_REG_CUR_MAC_LO, 0);        /* zero */
    fake_wr(&f, VTOE_REG_CUR_MAC_HI, 0);
    fake_wr(&f, VTOE_REG_CUR_MAC_LO, ~0u);      /* broadcast */
    fake_wr(&f, VTOE_REG_CUR_MAC_HI, ~0u);
    g_assert_cmpuint(f.errors, ==, 3);
    g_assert_cmpmem(vtoe_dev_mac(f.dev), 6, fake_mac, 6);
    g_assert_cmphex(fake_rd(&f, VTOE_REG_CUR_MAC_HI), ==, 0x0302);
    fake_finish(&f);
}

static void test_reset_with_open_streams_leaves_nothing_mapped(void)
{
    VnetStream *a, *b, *c;
    VnetRxBuf lent[2];
    VnetFlow flow = fake_flow(80);
    Fake f;

    fake_up(&f);
    fake_listen(&f, 1, 80, 4);
    a = fake_open(&f, 5, 1, 1 << 20);
    b = fake_open(&f, 6, 2, 1 << 20);
    c = fake_peer_request(&f, &flow, NULL);
    for (unsigned i = 0; i < 10; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA + i * 4096, 4096);
        fake_post_buf(&f, 2, 6, FAKE_DATA + (i + 10) * 4096, 4096, i);
        fake_post_buf(&f, 2, VTOE_SID_ANY, FAKE_DATA + (i + 20) * 4096, 4096,
                      i + 10);
    }
    fake_kick(&f, 1);
    fake_kick(&f, 2);
    g_assert_cmpuint(b->ops->rx_get(b->user, b->lent, 12, 1 << 20), ==, 12);
    b->nlent = 12;
    memcpy(lent, b->lent, sizeof(lent));
    g_assert_cmpuint(f.maps, ==, 22);
    g_assert_cmpuint(f.open_streams, ==, 3);

    fake_wr(&f, VTOE_REG_STATUS, 0);
    f.forbid_dma = true;
    g_assert_cmpuint(f.maps, ==, 0);
    g_assert_cmpuint(f.open_streams, ==, 0);
    g_assert_true(a->aborted && b->aborted && c->rejected);
    g_assert_cmpuint(a->reason, ==, VTOE_REASON_DEVICE_RESET);
    g_assert_cmpuint(c->reason, ==, VTOE_REASON_DEVICE_RESET);
    fake_run(&f);
    g_assert_cmpuint(f.timer, ==, INT64_MAX);
    f.forbid_dma = false;
    fake_finish(&f);
}

static void test_stopped_vm_is_not_touched(void)
{
    VnetStream *s;
    Fake f;
    VnetFrameHdr hdr = { 0 };
    struct iovec iov = { .iov_base = (void *)fake_mac, .iov_len = 6 };
    VtoeStats st;
    struct iovec out[4];
    unsigned n = 4;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    fake_post_data(&f, 1, 5, FAKE_DATA, 4096);
    fake_post_buf(&f, 1, VTOE_SID_ANY, FAKE_DATA + 8192, 4096, 1);
    fake_kick(&f, 1);
    vtoe_dev_set_running(f.dev, false);
    f.forbid_dma = true;
    fake_post_data(&f, 1, 5, FAKE_DATA, 4096);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_peer_data(s, 10), ==, 0);
    g_assert_cmpuint(s->ops->tx_peek(s->user, 0, out, &n, 4096), ==, 0);
    fake_peer_ack(s, 4096);
    vtoe_dev_port_ops.link_state(f.dev, false);
    g_assert_cmpuint(vtoe_dev_port_ops.frame(f.dev, &hdr, &iov, 1, 6), ==,
                     VNET_FRAME_DROPPED);
    fake_batch_end(&f);
    f.forbid_dma = false;
    vtoe_dev_get_stats(f.dev, &st);
    g_assert_cmpuint(st.rx_drop_not_ready, ==, 1);

    s->rx_ready = s->tx_ready = 0;
    vtoe_dev_set_running(f.dev, true);
    fake_run(&f);
    g_assert_cmpuint(s->rx_ready, ==, 1);
    g_assert_cmpuint(s->tx_ready, ==, 1);       /* what was posted meanwhile */
    g_assert_cmpuint(fake_peer_data(s, 10), ==, 10);
    fake_batch_end(&f);
    g_assert_cmpuint(GUINT64_FROM_LE(fake_expect_comp(&f, 1, VTOE_COMP_SEND,
                                                      5).u.offset), ==, 4096);
    fake_expect_comp(&f, 1, VTOE_COMP_RECV, 5);
    fake_expect_event(&f, VTOE_EVENT_LINK_STATE, 0);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/regs/" #name, test_ ## name)
    T(constants_read_as_specified);
    T(only_aligned_words_are_registers);
    T(any_value_to_any_register);
    T(bring_up_in_order);
    T(features_that_do_not_fit_are_refused);
    T(absent_queues_read_zero);
    T(ring_sizes);
    T(ring_addresses);
    T(ring_that_wraps_at_2_64_is_refused);
    T(vectors);
    T(enable_out_of_order_is_a_violation);
    T(enabled_queue_is_fixed);
    T(no_ring_is_touched_before_driver_ok);
    T(violation_stops_everything_until_reset);
    T(reset_restores_every_register);
    T(generation_is_never_zero);
    T(mac_that_is_not_unicast_is_ignored);
    T(reset_with_open_streams_leaves_nothing_mapped);
    T(stopped_vm_is_not_touched);
    return g_test_run();
}
