/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest: everything a driver can do wrong, by accident or on
 * purpose.  What has to hold each time: QEMU neither ends nor hangs, the
 * monitor answers within 100 ms, memory does not grow, the device says
 * NEEDS_RESET with a reason where the specification asks for it, and works
 * again after a reset.
 *
 * This file has registers, queues, indices and descriptors; commands, and work
 * in masses, are in vtoe-hostile-storm.c.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "vtoe-hostile.h"

/* Guest addresses that are not RAM. The PC's BIOS area is ROM. */
#define ADDR_HOLE       0xc0000000ull
#define ADDR_PAST_RAM   (1ull << 40)
#define ADDR_ROM        0xfffe0000ull
#define RAM_SIZE        (128ull << 20)

const uint32_t vtoe_odd_values[VTOE_ODD_VALUES] = {
    0, 1, 2, 3, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x10000, 0x7fffffff,
    0x80000000, 0xfffffffe, 0xffffffff,
};

void vtoe_hostile_start(VtoeHost *h)
{
    vtoe_host_boot(h, "pc", "vnet", VTOE_NIC_A);
    vtoe_start(h->d, 2, VTOE_TEST_RING);
}

void vtoe_expect_violation(VtoeDriver *d, unsigned reason)
{
    gint64 deadline = 0;

    while (!(vtoe_rd(d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET)) {
        vtoe_wait_step(&deadline, "NEEDS_RESET");
    }
    g_assert_cmpuint(vtoe_rd(d, VTOE_REG_VIOLATION), ==, reason);
    vtoe_assert_monitor(d->qts);
    vtoe_start(d, 2, VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_listen(d, 1, 80, 1), ==, VTOE_CMD_OK);
}

/* --- Registers ----------------------------------------------------------- */

static void test_any_value_in_any_register(void)
{
    VtoeHost h;
    unsigned state, i;
    uint32_t reg;

    vtoe_hostile_start(&h);
    for (state = 0; state < 4; state++) {
        for (reg = 0; reg < VTOE_BAR_IO_SIZE; reg += 4) {
            for (i = 0; i < VTOE_ODD_VALUES; i++) {
                /* The status that each round begins with. */
                vtoe_wr(h.d, VTOE_REG_STATUS, 0);
                vtoe_wr(h.d, VTOE_REG_STATUS, (1 << state) - 1);
                vtoe_wr(h.d, reg, vtoe_odd_values[i]);
                vtoe_wr_io(h.d, reg, vtoe_odd_values[i]);
                vtoe_wr(h.d, VTOE_REG_QUEUE_ENABLE, 1);
                vtoe_rd(h.d, reg);
                vtoe_rd_io(h.d, reg);
            }
        }
        vtoe_assert_monitor(h.qts);
    }
    vtoe_start(h.d, 2, VTOE_TEST_RING);
    vtoe_host_quit(&h);
}

static void test_random_register_writes(void)
{
    VtoeHost h;
    unsigned i;

    vtoe_hostile_start(&h);
    for (i = 0; i < 20000; i++) {
        uint32_t reg = g_test_rand_int_range(0, VTOE_BAR_IO_SIZE / 4) * 4;
        uint32_t val = g_test_rand_int_range(0, 2) ?
            vtoe_odd_values[g_test_rand_int_range(0, VTOE_ODD_VALUES)] :
            (uint32_t)g_test_rand_int();

        vtoe_wr(h.d, reg, val);
        if (i % 1000 == 0) {
            vtoe_assert_monitor(h.qts);
        }
    }
    vtoe_start(h.d, 2, VTOE_TEST_RING);
    vtoe_host_quit(&h);
}

static void test_selectors_at_their_limits(void)
{
    static const uint32_t wrong[] = { 2, 3, 0x80000000, 0xfffe, 0x10000,
                                      0xffffffff };
    VtoeHost h;
    unsigned i;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        VtoeTestQueue q;

        vtoe_negotiate(h.d, VTOE_F_STREAM);
        vtoe_queue_alloc(h.d, &q, wrong[i], 16);
        g_assert_cmpuint(vtoe_queue_enable(h.d, &q), ==, 0);
        vtoe_expect_violation(h.d, VTOE_VIOLATION_QUEUE);
    }
    vtoe_host_quit(&h);
}

/* --- Queue configuration ------------------------------------------------- */

typedef void SpoilQueue(VtoeTestQueue *q, uint64_t val);

static void spoil_send_size(VtoeTestQueue *q, uint64_t val)
{
    q->send_size = val;
}

static void spoil_recv_size(VtoeTestQueue *q, uint64_t val)
{
    q->recv_size = val;
}

static void spoil_comp_size(VtoeTestQueue *q, uint64_t val)
{
    q->comp_size = val;
}

static void spoil_vector(VtoeTestQueue *q, uint64_t val)
{
    q->vector = val;
}

static void spoil_send(VtoeTestQueue *q, uint64_t val)
{
    q->send = val;
}

static void spoil_recv(VtoeTestQueue *q, uint64_t val)
{
    q->recv = val;
}

static void spoil_comp(VtoeTestQueue *q, uint64_t val)
{
    q->comp = val;
}

static void spoil_ctrl(VtoeTestQueue *q, uint64_t val)
{
    q->ctrl = val;
}

static void queue_refused(VtoeDriver *d, unsigned index, SpoilQueue *spoil,
                          uint64_t val, unsigned reason)
{
    VtoeTestQueue q;

    g_test_message("queue 0x%x: 0x%" PRIx64, index, val);
    vtoe_negotiate(d, VTOE_F_STREAM);
    vtoe_queue_alloc(d, &q, index, 16);
    spoil(&q, val);
    g_assert_cmpuint(vtoe_queue_enable(d, &q), ==, 0);
    vtoe_expect_violation(d, reason);
}

static void test_wrong_ring_sizes(void)
{
    static const uint32_t wrong[] = { 0, 1, 3, 5, 4095, 4097, 8192,
                                      0x80000000, 0xffffffff };
    static SpoilQueue *const sizes[] = { spoil_send_size, spoil_recv_size,
                                         spoil_comp_size };
    VtoeHost h;
    unsigned i, s;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        for (s = 0; s < G_N_ELEMENTS(sizes); s++) {
            queue_refused(h.d, 0, sizes[s], wrong[i], VTOE_VIOLATION_QUEUE);
            queue_refused(h.d, 1, sizes[s], wrong[i], VTOE_VIOLATION_QUEUE);
        }
        queue_refused(h.d, VTOE_QUEUE_CONTROL, spoil_send_size, wrong[i],
                      VTOE_VIOLATION_QUEUE);
        queue_refused(h.d, VTOE_QUEUE_CONTROL, spoil_comp_size, wrong[i],
                      VTOE_VIOLATION_QUEUE);
    }
    vtoe_host_quit(&h);
}

static void test_wrong_vectors(void)
{
    static const uint32_t wrong[] = { 3, 4, 0xfffe, 0x10000, 0x80000000,
                                      0xffffffff };
    VtoeHost h;
    unsigned i;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        queue_refused(h.d, 0, spoil_vector, wrong[i], VTOE_VIOLATION_QUEUE);
        queue_refused(h.d, VTOE_QUEUE_CONTROL, spoil_vector, wrong[i],
                      VTOE_VIOLATION_QUEUE);
    }
    vtoe_host_quit(&h);
}

static void test_unaligned_and_wrapping_rings(void)
{
    static const uint64_t wrong[] = { 0x100001, 0x100020, 0x10003f,
                                      UINT64_MAX, UINT64_MAX - 63 };
    static SpoilQueue *const addrs[] = { spoil_send, spoil_recv, spoil_comp,
                                         spoil_ctrl };
    VtoeHost h;
    unsigned i, a;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        for (a = 0; a < G_N_ELEMENTS(addrs); a++) {
            queue_refused(h.d, 1, addrs[a], wrong[i], VTOE_VIOLATION_QUEUE);
        }
    }
    vtoe_host_quit(&h);
}

/* Rings in places that are not RAM, or only partly. */
static void test_rings_outside_ram(void)
{
    static SpoilQueue *const addrs[] = { spoil_send, spoil_recv, spoil_comp,
                                         spoil_ctrl };
    VtoeHost h;
    unsigned i, a;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    {
        const uint64_t wrong[] = {
            ADDR_HOLE, ADDR_PAST_RAM, ADDR_ROM, RAM_SIZE, RAM_SIZE - 64,
            h.d->mmio.addr,                         /* its own registers */
            h.d->mmio.addr + VTOE_DOORBELL_PAGE,    /* its own doorbell */
            0xfee00000,                             /* the APIC */
        };

        for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
            for (a = 0; a < G_N_ELEMENTS(addrs); a++) {
                if (wrong[i] == RAM_SIZE - 64 && addrs[a] == spoil_ctrl) {
                    continue;       /* 64 bytes less than it needs: below */
                }
                queue_refused(h.d, 0, addrs[a], wrong[i],
                              VTOE_VIOLATION_RING_DMA);
            }
            queue_refused(h.d, VTOE_QUEUE_CONTROL, spoil_comp, wrong[i],
                          VTOE_VIOLATION_RING_DMA);
        }
        queue_refused(h.d, 0, spoil_ctrl, RAM_SIZE - 64,
                      VTOE_VIOLATION_RING_DMA);
    }
    vtoe_host_quit(&h);
}

static void test_bus_master_off(void)
{
    VtoeHost h;

    vtoe_hostile_start(&h);
    qpci_config_writew(h.pci, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    qtest_writel(h.qts, h.d->q[0].ctrl, 1);
    vtoe_doorbell(h.d, 0);
    while (!(vtoe_rd(h.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET)) {
        g_usleep(100);
    }
    qpci_device_enable(h.pci);
    vtoe_expect_violation(h.d, VTOE_VIOLATION_RING_DMA);
    vtoe_host_quit(&h);
}

/* --- Indices ------------------------------------------------------------- */

static void spoil_index(VtoeDriver *d, VtoeTestQueue *q, size_t off,
                        uint32_t val)
{
    qtest_writel(d->qts, q->ctrl + off, q->send_prod + val);
    vtoe_doorbell(d, q->index);
    vtoe_expect_violation(d, VTOE_VIOLATION_INDEX);
}

static void test_producer_out_of_range(void)
{
    static const uint32_t wrong[] = { VTOE_TEST_RING + 1, 0x7fffffff,
                                      0x80000000, 0xfffffffe, 0xffffffff };
    VtoeHost h;
    unsigned i;

    vtoe_hostile_start(&h);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        spoil_index(h.d, &h.d->q[0], CTRL(send_prod), wrong[i]);
        spoil_index(h.d, &h.d->q[1], CTRL(send_prod), wrong[i]);
        spoil_index(h.d, &h.d->ctl, CTRL(send_prod), wrong[i]);
    }
    vtoe_host_quit(&h);
}

/* The receive ring is looked at when there is something to receive. */
static void test_receive_producer_out_of_range(void)
{
    static const uint32_t wrong[] = { VTOE_TEST_RING + 1, 0x80000000,
                                      0xffffffff };
    VtoePair *p = vtoe_pair_start("");
    uint64_t src = vtoe_alloc(p->a.d, 4096);
    unsigned i;

    qtest_memset(p->a.qts, src, 0xff, 6);       /* a broadcast */
    qtest_memwrite(p->a.qts, src + 6, vtoe_mac_a, 6);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        qtest_writel(p->b.qts, p->b.d->q[0].ctrl + CTRL(recv_prod), wrong[i]);
        vtoe_send(p->a.d, &p->a.d->q[0], 0, src, 64);
        vtoe_expect_violation(p->b.d, VTOE_VIOLATION_INDEX);
    }
    vtoe_pair_quit(p);
}

static void test_stream_receive_producer_out_of_range(void)
{
    VtoePair *p = vtoe_pair_start("");
    uint64_t src = vtoe_alloc(p->a.d, 4096);
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    qtest_writel(p->b.qts, p->b.d->q[1].ctrl + CTRL(recv_prod),
                 VTOE_TEST_RING + 1);
    vtoe_send(p->a.d, &p->a.d->q[1], s.a, src, 64);
    vtoe_expect_violation(p->b.d, VTOE_VIOLATION_INDEX);
    vtoe_pair_quit(p);
}

/* A consumer index ahead of the producer's. */
static void test_consumer_out_of_range(void)
{
    static const uint32_t wrong[] = { VTOE_TEST_RING + 1, 0x7fffffff,
                                      0x80000000, 0xffffffff };
    VtoeHost h;
    unsigned i, n;

    vtoe_hostile_start(&h);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        /* Commands until the device has to look whether there is room. */
        qtest_writel(h.qts, h.d->ctl.ctrl + CTRL(comp_cons),
                     h.d->ctl.comp_cons + wrong[i]);
        for (n = 0; n < VTOE_TEST_RING; n++) {
            struct vtoe_cmd cmd = { .op = VTOE_CMD_QUERY };

            vtoe_command_post(h.d, &cmd);
        }
        vtoe_doorbell(h.d, VTOE_QUEUE_CONTROL);
        for (n = 0; n < VTOE_TEST_RING; n++) {
            struct vtoe_cmd cmd = { .op = VTOE_CMD_QUERY };

            vtoe_command_post(h.d, &cmd);
        }
        vtoe_doorbell(h.d, VTOE_QUEUE_CONTROL);
        vtoe_expect_violation(h.d, VTOE_VIOLATION_INDEX);
    }
    vtoe_host_quit(&h);
}

/* --- Descriptors --------------------------------------------------------- */

static void post_desc(VtoeDriver *d, unsigned pair,
                      const struct vtoe_send_desc *desc)
{
    vtoe_post_send(d, &d->q[pair], desc);
    vtoe_kick(d, &d->q[pair]);
}

static void test_send_buffers_outside_ram(void)
{
    VtoeHost h;
    unsigned i;

    vtoe_hostile_start(&h);
    {
        const uint64_t wrong[] = {
            ADDR_HOLE, ADDR_PAST_RAM, ADDR_ROM, RAM_SIZE, RAM_SIZE - 32,
            UINT64_MAX, UINT64_MAX - 31, 0xfee00000, h.d->mmio.addr,
            h.d->mmio.addr + VTOE_DOORBELL_PAGE,
        };

        for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
            struct vtoe_send_desc desc = {
                .addr = cpu_to_le64(wrong[i]), .len = cpu_to_le32(64),
            };

            post_desc(h.d, 0, &desc);
            vtoe_expect_violation(h.d, VTOE_VIOLATION_BUFFER);
        }
    }
    vtoe_host_quit(&h);
}

static void test_send_lengths_at_their_limits(void)
{
    static const uint32_t wrong[] = { 0, VTOE_FRAME_MAX_LEN + 1, 0x80000000,
                                      0xffffffff };
    VtoeHost h;
    uint64_t buf;
    unsigned i;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 128 * 1024);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(buf), .len = cpu_to_le32(wrong[i]),
        };

        post_desc(h.d, 0, &desc);
        vtoe_expect_violation(h.d, VTOE_VIOLATION_BUFFER);
    }
    vtoe_host_quit(&h);
}

static void test_short_frames_are_counted(void)
{
    static const uint32_t lens[] = { 1, 2, 12, 13 };
    VtoeHost h;
    uint64_t buf;
    unsigned i;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 4096);
    for (i = 0; i < G_N_ELEMENTS(lens); i++) {
        vtoe_send(h.d, &h.d->q[0], 0, buf, lens[i]);
        g_assert_cmpuint(vtoe_wait_comp(h.d, &h.d->q[0]).u.offset, ==, i + 1);
    }
    g_assert_cmpuint(vtoe_counter(h.qts, "nic0", "tx_drop_short"), ==,
                     G_N_ELEMENTS(lens));
    for (i = 14; i <= 61; i++) {
        vtoe_send(h.d, &h.d->q[0], 0, buf, i);
        vtoe_wait_comp(h.d, &h.d->q[0]);
    }
    vtoe_host_quit(&h);
}

static void test_bad_offload_headers_are_counted(void)
{
    const struct vtoe_net_hdr wrong[] = {
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 63,
          .csum_offset = 0 },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 0xffff,
          .csum_offset = 0xffff },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 14,
          .csum_offset = 0xffff },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 0 },
        { .gso_type = VTOE_NET_HDR_GSO_TCPV4, .gso_size = 1448 },
        { .gso_type = 2, .gso_size = 1448 },
        { .gso_type = 0xff, .gso_size = 1448 },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
          .csum_offset = 16, .gso_type = VTOE_NET_HDR_GSO_TCPV4 },
        { .flags = VTOE_NET_HDR_F_NEEDS_CSUM, .csum_start = 34,
          .csum_offset = 16, .gso_type = VTOE_NET_HDR_GSO_TCPV4,
          .gso_size = 1, .hdr_len = 0xffff },
    };
    VtoeHost h;
    uint64_t buf;
    unsigned i;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 4096);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(buf), .len = cpu_to_le32(64), .hdr = wrong[i],
        };

        post_desc(h.d, 0, &desc);
        vtoe_wait_comp(h.d, &h.d->q[0]);
        g_assert_cmpuint(vtoe_counter(h.qts, "nic0", "tx_drop_bad_header"), ==,
                         i + 1);
    }
    vtoe_host_quit(&h);
}

static void test_wrong_opcodes_and_flags(void)
{
    VtoeHost h;
    uint64_t buf;
    unsigned i, pair;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 4096);
    for (pair = 0; pair < 2; pair++) {
        for (i = 2; i < 256; i += 23) {
            struct vtoe_send_desc op = {
                .addr = cpu_to_le64(buf), .len = cpu_to_le32(64), .op = i,
                .sid = cpu_to_le32(pair),
            };
            struct vtoe_send_desc flags = {
                .addr = cpu_to_le64(buf), .len = cpu_to_le32(64), .flags = i,
                .sid = cpu_to_le32(pair),
            };

            post_desc(h.d, pair, &op);
            vtoe_expect_violation(h.d, VTOE_VIOLATION_DESCRIPTOR);
            post_desc(h.d, pair, &flags);
            vtoe_expect_violation(h.d, VTOE_VIOLATION_DESCRIPTOR);
        }
    }
    vtoe_host_quit(&h);
}

static void test_endless_chain(void)
{
    VtoeHost h;
    uint64_t buf;
    unsigned i;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 4096);
    for (i = 0; i <= VTOE_FRAME_MAX_DESC; i++) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(buf), .len = cpu_to_le32(64),
            .flags = VTOE_SEND_F_MORE,
        };

        vtoe_post_send(h.d, &h.d->q[0], &desc);
    }
    vtoe_kick(h.d, &h.d->q[0]);
    vtoe_doorbell(h.d, 0);
    vtoe_expect_violation(h.d, VTOE_VIOLATION_DESCRIPTOR);
    vtoe_host_quit(&h);
}

static void test_unknown_sids_are_counted(void)
{
    static const uint32_t sids[] = { 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe };
    VtoeHost h;
    struct vtoe_comp c;
    uint64_t buf;
    unsigned i;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 4096);
    for (i = 0; i < G_N_ELEMENTS(sids); i++) {
        vtoe_send(h.d, &h.d->q[1], sids[i], buf, 64);
        c = vtoe_wait_comp(h.d, &h.d->q[1]);
        g_assert_cmpuint(c.type, ==, VTOE_COMP_ERROR);
        g_assert_cmphex(c.sid, ==, sids[i]);
        g_assert_cmpuint(c.len, ==, 64);
    }
    g_assert_cmpuint(vtoe_counter(h.qts, "nic0", "tx_unknown_sid"), ==,
                     G_N_ELEMENTS(sids));
    vtoe_host_quit(&h);
}

/* A buffer for a stream that is not there comes back when its turn comes. */
static void test_receive_buffer_of_unknown_sid_comes_back(void)
{
    VtoePair *p = vtoe_pair_start("");
    uint64_t src = vtoe_alloc(p->a.d, 4096), dst = vtoe_alloc(p->b.d, 8192);
    VtoeTestStream s;
    struct vtoe_comp c;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_post_recv(p->b.d, &p->b.d->q[1], dst, 4096, 5, 9);
    vtoe_post_recv(p->b.d, &p->b.d->q[1], dst, 4096, VTOE_SID_ANY, 10);
    vtoe_kick(p->b.d, &p->b.d->q[1]);
    vtoe_send(p->a.d, &p->a.d->q[1], s.a, src, 64);
    do {
        c = vtoe_wait_comp(p->b.d, &p->b.d->q[1]);
    } while (c.id == 10);
    g_assert_cmphex(c.flags, ==, VTOE_COMP_F_RETURNED);
    g_assert_cmpuint(c.id, ==, 9);
    g_assert_cmpuint(vtoe_counter(p->b.qts, "nic0", "rx_unknown_sid"), ==, 1);
    vtoe_pair_quit(p);
}

/* Receive buffers that are not RAM: a frame or bytes to write there. */
static void test_receive_buffers_outside_ram(void)
{
    VtoePair *p = vtoe_pair_start("");
    VtoeDriver *b = p->b.d;
    uint64_t src = vtoe_alloc(p->a.d, 4096);
    const uint64_t wrong[] = {
        ADDR_HOLE, ADDR_PAST_RAM, ADDR_ROM, RAM_SIZE - 32, b->mmio.addr,
        b->mmio.addr + VTOE_DOORBELL_PAGE, 0xfee00000, UINT64_MAX - 31,
    };
    unsigned i;

    qtest_memset(p->a.qts, src, 0xff, 6);       /* a broadcast */
    qtest_memwrite(p->a.qts, src + 6, vtoe_mac_a, 6);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        vtoe_post_recv(b, &b->q[0], wrong[i], 2048, 0, 1);
        vtoe_kick(b, &b->q[0]);
        vtoe_doorbell(b, 0);
        vtoe_send(p->a.d, &p->a.d->q[0], 0, src, 64);
        vtoe_wait_comp(p->a.d, &p->a.d->q[0]);
        vtoe_expect_violation(b, VTOE_VIOLATION_BUFFER);
    }
    vtoe_pair_quit(p);
}

static void test_stream_buffers_outside_ram(void)
{
    VtoePair *p = vtoe_pair_start("");
    VtoeTestStream s;
    uint64_t src;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    src = vtoe_alloc(p->a.d, 4096);
    vtoe_send(p->a.d, &p->a.d->q[1], s.a, src, 4096);
    vtoe_post_recv(p->b.d, &p->b.d->q[1], p->b.d->mmio.addr, 4096, s.b, 1);
    vtoe_kick(p->b.d, &p->b.d->q[1]);
    vtoe_doorbell(p->b.d, 1);
    vtoe_expect_violation(p->b.d, VTOE_VIOLATION_BUFFER);
    /* The peer only sees that the device was reset. */
    g_assert_cmpuint(vtoe_wait_event_of(p->a.d, VTOE_EVENT_DISCONNECTED,
                                        s.a).reason, ==,
                     VTOE_REASON_DEVICE_RESET);
    vtoe_send(p->a.d, &p->a.d->q[1], 0x55, ADDR_HOLE, 64);
    g_assert_cmphex(vtoe_rd(p->a.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET,
                    ==, 0);     /* unknown SID: dropped unread */
    vtoe_pair_quit(p);
}

static void test_more_than_max_inflight(void)
{
    VtoePair *p = vtoe_pair_start(",max-inflight=16");
    struct vtoe_event req;
    struct vtoe_flow flow = vtoe_pair_flow(1);
    uint64_t src = vtoe_alloc(p->a.d, 4096);
    unsigned i;

    vtoe_pair_listen(p);
    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    req = vtoe_wait_event(p->b.d, VTOE_EVENT_CONNECT_REQUEST);
    g_assert_cmpuint(vtoe_accept(p->b.d, req.sid, 1, 0), ==, VTOE_CMD_OK);
    for (i = 0; i < 16; i++) {
        vtoe_send(p->a.d, &p->a.d->q[1], 1, src, 64);
    }
    vtoe_wait_counter(p->a.qts, "nic0", "tx_stream_descs", 16);
    g_assert_cmphex(vtoe_rd(p->a.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET,
                    ==, 0);
    vtoe_send(p->a.d, &p->a.d->q[1], 1, src, 64);
    vtoe_expect_violation(p->a.d, VTOE_VIOLATION_STREAM);
    vtoe_pair_quit(p);
}

/* What is in the ring changes while the device reads it. */
static void test_descriptors_changed_while_in_use(void)
{
    VtoeHost h;
    uint64_t buf;
    unsigned round, i;

    vtoe_hostile_start(&h);
    buf = vtoe_alloc(h.d, 128 * 1024);
    for (round = 0; round < 300; round++) {
        VtoeTestQueue *q = &h.d->q[round % 2];

        for (i = 0; i < 32; i++) {
            struct vtoe_send_desc desc = {
                .addr = cpu_to_le64(buf), .len = cpu_to_le32(64),
                .sid = cpu_to_le32(round % 2),
            };

            vtoe_post_send(h.d, q, &desc);
        }
        vtoe_kick(h.d, q);
        qtest_memset(h.qts, q->send, g_test_rand_int_range(0, 256),
                     VTOE_TEST_RING * sizeof(struct vtoe_send_desc));
        qtest_memset(h.qts, q->ctrl, g_test_rand_int_range(0, 256),
                     sizeof(struct vtoe_queue_ctrl));
        vtoe_doorbell(h.d, round % 2);
        if (round % 20 == 0) {
            vtoe_assert_monitor(h.qts);
        }
        vtoe_start(h.d, 2, VTOE_TEST_RING);
    }
    vtoe_host_quit(&h);
}

/* --- Interrupts ---------------------------------------------------------- */

/* A vector's message is a write to any address that the guest chooses. */
static void aim_vector(VtoeDriver *d, unsigned vector, uint64_t addr,
                       uint32_t data)
{
    uint64_t off = d->pci->msix_table_off + vector * PCI_MSIX_ENTRY_SIZE;
    QPCIBar bar = d->pci->msix_table_bar;

    qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_LOWER_ADDR, addr);
    qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_UPPER_ADDR, addr >> 32);
    qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_DATA, data);
}

/*
 * The interrupt resets the device that raises it, between two of the commands
 * that it is at, or in a violation.
 */
static void reset_by_interrupt(const char *netdev, bool violation)
{
    struct vtoe_cmd cmd = { .op = VTOE_CMD_LISTEN };
    gint64 deadline = 0;
    unsigned round, i;
    VtoeHost h;

    vtoe_host_boot(&h, "pc", netdev, VTOE_NIC_A);
    vtoe_msix_enable(h.d);
    for (round = 0; round < 20; round++) {
        vtoe_start(h.d, 1, VTOE_TEST_RING);
        aim_vector(h.d, 0, h.d->mmio.addr + VTOE_REG_STATUS, 0);
        for (i = 0; i < VTOE_TEST_RING / 2; i++) {
            qtest_memwrite(h.qts, h.d->ctl.send + i * sizeof(cmd), &cmd,
                           sizeof(cmd));
        }
        h.d->ctl.send_prod = violation ? VTOE_TEST_RING + 1 : i;
        vtoe_kick(h.d, &h.d->ctl);
        while (vtoe_rd(h.d, VTOE_REG_STATUS)) {
            vtoe_wait_step(&deadline, "the reset");
        }
        vtoe_assert_monitor(h.qts);
        /* There may be more of them. */
        aim_vector(h.d, 0, h.d->msix_word[0], 1);
    }
    vtoe_start(h.d, 1, VTOE_TEST_RING);
    vtoe_listen(h.d, 1, 80, 1);
    vtoe_wait_msix(h.d, 0);
    vtoe_host_quit(&h);
}

static void test_interrupt_resets_its_device(void)
{
    reset_by_interrupt("vnet", false);
    reset_by_interrupt("vnet", true);
    reset_by_interrupt("hubport,hubid=0", false);
    reset_by_interrupt("hubport,hubid=0", true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    vtoe_monitor_keep_figure();
    qtest_add_func("/vtoe/hostile/register/any-value",
                   test_any_value_in_any_register);
    qtest_add_func("/vtoe/hostile/register/random",
                   test_random_register_writes);
    qtest_add_func("/vtoe/hostile/register/selectors",
                   test_selectors_at_their_limits);
    qtest_add_func("/vtoe/hostile/queue/sizes", test_wrong_ring_sizes);
    qtest_add_func("/vtoe/hostile/queue/vectors", test_wrong_vectors);
    qtest_add_func("/vtoe/hostile/queue/unaligned-and-wrapping",
                   test_unaligned_and_wrapping_rings);
    qtest_add_func("/vtoe/hostile/queue/outside-ram", test_rings_outside_ram);
    qtest_add_func("/vtoe/hostile/queue/bus-master-off", test_bus_master_off);
    qtest_add_func("/vtoe/hostile/index/producer", test_producer_out_of_range);
    qtest_add_func("/vtoe/hostile/index/receive-producer",
                   test_receive_producer_out_of_range);
    qtest_add_func("/vtoe/hostile/index/stream-receive-producer",
                   test_stream_receive_producer_out_of_range);
    qtest_add_func("/vtoe/hostile/index/consumer", test_consumer_out_of_range);
    qtest_add_func("/vtoe/hostile/desc/send-outside-ram",
                   test_send_buffers_outside_ram);
    qtest_add_func("/vtoe/hostile/desc/send-lengths",
                   test_send_lengths_at_their_limits);
    qtest_add_func("/vtoe/hostile/desc/short-frames",
                   test_short_frames_are_counted);
    qtest_add_func("/vtoe/hostile/desc/offload-headers",
                   test_bad_offload_headers_are_counted);
    qtest_add_func("/vtoe/hostile/desc/opcodes-and-flags",
                   test_wrong_opcodes_and_flags);
    qtest_add_func("/vtoe/hostile/desc/endless-chain", test_endless_chain);
    qtest_add_func("/vtoe/hostile/desc/unknown-sids",
                   test_unknown_sids_are_counted);
    qtest_add_func("/vtoe/hostile/desc/receive-unknown-sid",
                   test_receive_buffer_of_unknown_sid_comes_back);
    qtest_add_func("/vtoe/hostile/desc/receive-outside-ram",
                   test_receive_buffers_outside_ram);
    qtest_add_func("/vtoe/hostile/desc/stream-outside-ram",
                   test_stream_buffers_outside_ram);
    qtest_add_func("/vtoe/hostile/desc/more-than-max-inflight",
                   test_more_than_max_inflight);
    qtest_add_func("/vtoe/hostile/desc/changed-while-in-use",
                   test_descriptors_changed_while_in_use);
    qtest_add_func("/vtoe/hostile/interrupt/resets-its-device",
                   test_interrupt_resets_its_device);
    vtoe_hostile_add_storms();
    return g_test_run();
}
