/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest: everything a driver can do wrong, by accident or on
 * purpose.  What has to hold each time: QEMU neither ends nor hangs, the
 * monitor answers within 100 ms, memory does not grow, the device says
 * NEEDS_RESET with a reason where the specification asks for it, and works
 * again after a reset.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "vtoe-pair.h"

#define CTRL(field) offsetof(struct vtoe_queue_ctrl, field)

/* Guest addresses that are not RAM. The PC's BIOS area is ROM. */
#define ADDR_HOLE       0xc0000000ull
#define ADDR_PAST_RAM   (1ull << 40)
#define ADDR_ROM        0xfffe0000ull
#define RAM_SIZE        (128ull << 20)

static void host_start(VtoeHost *h)
{
    vtoe_host_boot(h, "pc", "vnet", VTOE_NIC_A);
    vtoe_start(h->d, 2, VTOE_TEST_RING);
}

/* NEEDS_RESET with that reason; then the device is brought up anew. */
static void expect_violation(VtoeDriver *d, unsigned reason)
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

/*
 * A sanitizer's QEMU keeps what was freed for a while, to see who uses it
 * still.  That grows; a test of growth has to do without.  For what is booted
 * until the next call.
 */
static void quarantine(bool on)
{
    static char *before;

    if (!on) {
        before = g_strdup(g_getenv("ASAN_OPTIONS") ?: "");
    }
    g_autofree char *off = g_strconcat(before, ":quarantine_size_mb=0"
                                       ":thread_local_quarantine_size_kb=0",
                                       NULL);
    g_setenv("ASAN_OPTIONS", on ? before : off, true);
    if (on) {
        g_clear_pointer(&before, g_free);
    }
}

static uint64_t resident_kib(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            (int)qtest_pid(qts));
    g_autofree char *text = NULL;
    const char *line;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "RssAnon:");
    g_assert(line);
    return g_ascii_strtoull(line + 8, NULL, 10);
}

/* --- Registers ----------------------------------------------------------- */

static const uint32_t odd_values[] = {
    0, 1, 2, 3, 0x7fff, 0x8000, 0xfffe, 0xffff, 0x10000, 0x7fffffff,
    0x80000000, 0xfffffffe, 0xffffffff,
};

static void test_any_value_in_any_register(void)
{
    VtoeHost h;
    unsigned state, i;
    uint32_t reg;

    host_start(&h);
    for (state = 0; state < 4; state++) {
        for (reg = 0; reg < VTOE_BAR_IO_SIZE; reg += 4) {
            for (i = 0; i < G_N_ELEMENTS(odd_values); i++) {
                /* The status that each round begins with. */
                vtoe_wr(h.d, VTOE_REG_STATUS, 0);
                vtoe_wr(h.d, VTOE_REG_STATUS, (1 << state) - 1);
                vtoe_wr(h.d, reg, odd_values[i]);
                vtoe_wr_io(h.d, reg, odd_values[i]);
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

    host_start(&h);
    for (i = 0; i < 20000; i++) {
        uint32_t reg = g_test_rand_int_range(0, VTOE_BAR_IO_SIZE / 4) * 4;
        uint32_t val = g_test_rand_int_range(0, 2) ?
            odd_values[g_test_rand_int_range(0, G_N_ELEMENTS(odd_values))] :
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
        expect_violation(h.d, VTOE_VIOLATION_QUEUE);
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
    expect_violation(d, reason);
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

    host_start(&h);
    qpci_config_writew(h.pci, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    qtest_writel(h.qts, h.d->q[0].ctrl, 1);
    vtoe_doorbell(h.d, 0);
    while (!(vtoe_rd(h.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET)) {
        g_usleep(100);
    }
    qpci_device_enable(h.pci);
    expect_violation(h.d, VTOE_VIOLATION_RING_DMA);
    vtoe_host_quit(&h);
}

/* --- Indices ------------------------------------------------------------- */

static void spoil_index(VtoeDriver *d, VtoeTestQueue *q, size_t off,
                        uint32_t val)
{
    qtest_writel(d->qts, q->ctrl + off, q->send_prod + val);
    vtoe_doorbell(d, q->index);
    expect_violation(d, VTOE_VIOLATION_INDEX);
}

static void test_producer_out_of_range(void)
{
    static const uint32_t wrong[] = { VTOE_TEST_RING + 1, 0x7fffffff,
                                      0x80000000, 0xfffffffe, 0xffffffff };
    VtoeHost h;
    unsigned i;

    host_start(&h);
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
        expect_violation(p->b.d, VTOE_VIOLATION_INDEX);
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
    expect_violation(p->b.d, VTOE_VIOLATION_INDEX);
    vtoe_pair_quit(p);
}

/* A consumer index ahead of the producer's. */
static void test_consumer_out_of_range(void)
{
    static const uint32_t wrong[] = { VTOE_TEST_RING + 1, 0x7fffffff,
                                      0x80000000, 0xffffffff };
    VtoeHost h;
    unsigned i, n;

    host_start(&h);
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
        expect_violation(h.d, VTOE_VIOLATION_INDEX);
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

    host_start(&h);
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
            expect_violation(h.d, VTOE_VIOLATION_BUFFER);
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

    host_start(&h);
    buf = vtoe_alloc(h.d, 128 * 1024);
    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(buf), .len = cpu_to_le32(wrong[i]),
        };

        post_desc(h.d, 0, &desc);
        expect_violation(h.d, VTOE_VIOLATION_BUFFER);
    }
    vtoe_host_quit(&h);
}

static void test_short_frames_are_counted(void)
{
    static const uint32_t lens[] = { 1, 2, 12, 13 };
    VtoeHost h;
    uint64_t buf;
    unsigned i;

    host_start(&h);
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

    host_start(&h);
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

    host_start(&h);
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
            expect_violation(h.d, VTOE_VIOLATION_DESCRIPTOR);
            post_desc(h.d, pair, &flags);
            expect_violation(h.d, VTOE_VIOLATION_DESCRIPTOR);
        }
    }
    vtoe_host_quit(&h);
}

static void test_endless_chain(void)
{
    VtoeHost h;
    uint64_t buf;
    unsigned i;

    host_start(&h);
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
    expect_violation(h.d, VTOE_VIOLATION_DESCRIPTOR);
    vtoe_host_quit(&h);
}

static void test_unknown_sids_are_counted(void)
{
    static const uint32_t sids[] = { 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe };
    VtoeHost h;
    struct vtoe_comp c;
    uint64_t buf;
    unsigned i;

    host_start(&h);
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
        expect_violation(b, VTOE_VIOLATION_BUFFER);
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
    expect_violation(p->b.d, VTOE_VIOLATION_BUFFER);
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
    expect_violation(p->a.d, VTOE_VIOLATION_STREAM);
    vtoe_pair_quit(p);
}

/* What is in the ring changes while the device reads it. */
static void test_descriptors_changed_while_in_use(void)
{
    VtoeHost h;
    uint64_t buf;
    unsigned round, i;

    host_start(&h);
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

/* --- Commands ------------------------------------------------------------ */

/* Any bytes as a command: each gets exactly one answer. */
static void test_any_command_in_any_order(void)
{
    VtoeHost h;
    unsigned i, j;

    host_start(&h);
    for (i = 0; i < 3000; i++) {
        union {
            struct vtoe_cmd cmd;
            uint32_t words[sizeof(struct vtoe_cmd) / 4];
        } u = { };
        uint32_t tag;

        for (j = 0; j < G_N_ELEMENTS(u.words); j++) {
            u.words[j] = g_test_rand_int_range(0, 3) ? 0 :
                odd_values[g_test_rand_int_range(0, G_N_ELEMENTS(odd_values))];
        }
        u.cmd.op = i % 256;
        tag = vtoe_command_post(h.d, &u.cmd);
        g_assert_cmpuint(vtoe_wait_answer(h.d, tag).reason, <=,
                         VTOE_CMD_UNSUPPORTED);
        if (i % 500 == 0) {
            vtoe_assert_monitor(h.qts);
        }
    }
    g_assert_cmphex(vtoe_rd(h.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET,
                    ==, 0);
    vtoe_host_quit(&h);
}

static void test_listeners_have_a_limit(void)
{
    VtoeHost h;
    unsigned i;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A ",max-listens=8");
    vtoe_start(h.d, 2, VTOE_TEST_RING);
    for (i = 1; i <= 8; i++) {
        g_assert_cmpuint(vtoe_listen(h.d, i, 80 + i, 1), ==, VTOE_CMD_OK);
    }
    g_assert_cmpuint(vtoe_listen(h.d, 9, 100, 1), ==, VTOE_CMD_LIMIT);
    g_assert_cmpuint(vtoe_listen(h.d, 1, 101, 1), !=, VTOE_CMD_OK);
    vtoe_host_quit(&h);
}

static void test_streams_have_a_limit(void)
{
    struct vtoe_flow flow = vtoe_pair_flow(1);
    uint64_t before;
    VtoePair *p;
    unsigned i;

    quarantine(false);
    p = vtoe_pair_start(",max-streams=8");
    quarantine(true);
    vtoe_pair_listen(p);
    for (i = 1; i <= 8; i++) {
        vtoe_pair_request(p, i);
    }
    before = resident_kib(p->a.qts);
    for (i = 0; i < 2000; i++) {
        g_assert_cmpuint(vtoe_connect(p->a.d, 100 + i, 1, &flow, 0), ==,
                         VTOE_CMD_LIMIT);
    }
    g_assert_cmpuint(vtoe_open_streams(p->a.qts, "nic0"), ==, 8);
    g_assert_cmpuint(resident_kib(p->a.qts), <, before + 1024);
    vtoe_pair_quit(p);
}

static void test_connect_to_oneself(void)
{
    VtoePair *p = vtoe_pair_start("");
    struct vtoe_flow flow = vtoe_flow4(vtoe_mac_a, 1, 1, vtoe_mac_a, 1, 80);
    gint64 deadline = 0;

    g_assert_cmpuint(vtoe_listen(p->a.d, 1, 80, 1), ==, VTOE_CMD_OK);
    if (vtoe_connect(p->a.d, 1, 1, &flow, 0) == VTOE_CMD_OK) {
        while (!vtoe_have_event(p->a.d, VTOE_EVENT_ADDRESS_ERROR, 1) &&
               !vtoe_have_event(p->a.d, VTOE_EVENT_ROUTE_ERROR, 1)) {
            vtoe_wait_step(&deadline, "the end of a connect to oneself");
        }
    }
    vtoe_wait_no_streams(&p->a);
    vtoe_pair_quit(p);
}

static void test_frame_to_oneself(void)
{
    VtoeHost h;
    uint64_t buf;

    host_start(&h);
    buf = vtoe_alloc(h.d, 8192);
    vtoe_post_recv(h.d, &h.d->q[0], buf + 4096, 4096, 0, 1);
    qtest_memwrite(h.qts, buf, vtoe_mac_a, 6);
    qtest_memwrite(h.qts, buf + 6, vtoe_mac_a, 6);
    vtoe_send(h.d, &h.d->q[0], 0, buf, 64);
    g_assert_cmpuint(vtoe_wait_comp(h.d, &h.d->q[0]).type, ==, VTOE_COMP_SEND);
    g_assert_cmpuint(vtoe_counter(h.qts, "nic0", "rx_frames"), ==, 0);
    vtoe_host_quit(&h);
}

/* Events are not consumed: commands wait, memory does not grow. */
static void test_event_ring_never_read(void)
{
    VtoeHost h;
    uint64_t before;
    unsigned i;

    quarantine(false);
    host_start(&h);
    quarantine(true);
    before = resident_kib(h.qts);
    for (i = 0; i < VTOE_TEST_RING * 2; i++) {
        struct vtoe_cmd cmd = { .op = VTOE_CMD_QUERY, .sid = cpu_to_le32(1) };

        vtoe_command_post(h.d, &cmd);
    }
    for (i = 0; i < 5000; i++) {
        vtoe_doorbell(h.d, VTOE_QUEUE_CONTROL);
    }
    vtoe_assert_monitor(h.qts);
    g_assert_cmpuint(resident_kib(h.qts), <, before + 1024);
    vtoe_host_quit(&h);
}

/* --- Storms -------------------------------------------------------------- */

static void test_doorbell_storm(void)
{
    VtoeHost h;
    uint64_t before;
    unsigned i;

    quarantine(false);
    host_start(&h);
    quarantine(true);
    before = resident_kib(h.qts);
    for (i = 0; i < 30000; i++) {
        switch (i % 5) {
        case 0:
            vtoe_wr(h.d, VTOE_DOORBELL_OFFSET(0), i);
            break;
        case 1:
            vtoe_wr(h.d, VTOE_DOORBELL_OFFSET(1), 0xffffffff);
            break;
        case 2:
            vtoe_wr(h.d, VTOE_REG_CTRL_DOORBELL, i);
            break;
        case 3:
            vtoe_wr_io(h.d, VTOE_REG_CTRL_DOORBELL, i);
            break;
        default:
            vtoe_wr(h.d, VTOE_DOORBELL_OFFSET(2), i);   /* no such pair */
        }
        if (i % 1000 == 0) {
            vtoe_assert_monitor(h.qts);
        }
    }
    g_assert_cmphex(vtoe_rd(h.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET,
                    ==, 0);
    g_assert_cmpuint(resident_kib(h.qts), <, before + 1024);
    vtoe_host_quit(&h);
}

/* The ring is always full: the work of one kick is bounded all the same. */
static void test_ring_that_is_always_full(void)
{
    VtoeHost h;
    uint64_t buf;
    unsigned i;
    gint64 end;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    vtoe_start(h.d, 2, 4096);
    buf = vtoe_alloc(h.d, 4096);
    for (i = 0; i < 4096; i++) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(buf), .len = cpu_to_le32(64),
        };

        vtoe_post_send(h.d, &h.d->q[0], &desc);
    }
    end = g_get_monotonic_time() + 2 * G_TIME_SPAN_SECOND;
    while (g_get_monotonic_time() < end) {
        uint32_t cons = qtest_readl(h.qts, h.d->q[0].ctrl + CTRL(send_cons));

        qtest_writel(h.qts, h.d->q[0].ctrl + CTRL(send_prod), cons + 4096);
        vtoe_doorbell(h.d, 0);
        vtoe_assert_monitor(h.qts);
    }
    g_assert_cmphex(vtoe_rd(h.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET,
                    ==, 0);
    g_assert_cmpuint(vtoe_counter(h.qts, "nic0", "tx_frames") +
                     vtoe_counter(h.qts, "nic0", "tx_drop_netdev"), >=, 4096);
    vtoe_host_quit(&h);
}

static void test_reset_storm_with_work_pending(void)
{
    VtoeHost h;
    uint64_t before = 0;
    unsigned i;

    quarantine(false);
    host_start(&h);
    quarantine(true);
    for (i = 0; i < 300; i++) {
        struct vtoe_cmd cmd = {
            .op = VTOE_CMD_CONNECT, .sid = cpu_to_le32(1),
            .pair = cpu_to_le32(1),
            .flow = vtoe_flow4(vtoe_mac_a, 1, 1, vtoe_mac_b, 2, 2),
        };

        vtoe_command_post(h.d, &cmd);
        vtoe_doorbell(h.d, 0);
        vtoe_doorbell(h.d, 1);
        vtoe_start(h.d, 2, 16);
        if (i == 30) {
            before = resident_kib(h.qts);
        }
    }
    vtoe_assert_monitor(h.qts);
    g_assert_cmpuint(vtoe_open_streams(h.qts, "nic0"), ==, 0);
    g_assert_cmpuint(resident_kib(h.qts), <, before + 2048);
    vtoe_host_quit(&h);
}

/* MSI-X on, off, masked and unmasked, with interrupts on their way. */
static void test_msix_in_any_order(void)
{
    VtoeHost h;
    unsigned i;
    uint16_t ctl;
    uint8_t cap;

    vtoe_host_boot(&h, "pc", "vnet", VTOE_NIC_A);
    vtoe_msix_enable(h.d);
    vtoe_start(h.d, 2, VTOE_TEST_RING);
    cap = qpci_find_capability(h.pci, PCI_CAP_ID_MSIX, 0);
    ctl = qpci_config_readw(h.pci, cap + PCI_MSIX_FLAGS);
    for (i = 0; i < 2000; i++) {
        struct vtoe_cmd cmd = { .op = VTOE_CMD_QUERY };
        uint32_t tag = vtoe_command_post(h.d, &cmd);
        unsigned vector = g_test_rand_int_range(0, 3);

        switch (g_test_rand_int_range(0, 4)) {
        case 0:
            qpci_config_writew(h.pci, cap + PCI_MSIX_FLAGS,
                               ctl & ~PCI_MSIX_FLAGS_ENABLE);
            break;
        case 1:
            qpci_config_writew(h.pci, cap + PCI_MSIX_FLAGS,
                               ctl | PCI_MSIX_FLAGS_MASKALL);
            break;
        case 2:
            qpci_io_writel(h.pci, h.pci->msix_table_bar,
                           h.pci->msix_table_off +
                           vector * PCI_MSIX_ENTRY_SIZE +
                           PCI_MSIX_ENTRY_VECTOR_CTRL,
                           g_test_rand_int_range(0, 2));
            break;
        default:
            qpci_config_writew(h.pci, cap + PCI_MSIX_FLAGS, ctl);
        }
        vtoe_wait_answer(h.d, tag);
    }
    vtoe_assert_monitor(h.qts);
    vtoe_host_quit(&h);
}

/* Unplugged in the middle of work. */
static void test_unplug_with_work_pending(void)
{
    VtoeHost h;
    unsigned i;

    host_start(&h);
    for (i = 0; i < 40; i++) {
        struct vtoe_cmd cmd = {
            .op = VTOE_CMD_CONNECT, .sid = cpu_to_le32(i + 1),
            .pair = cpu_to_le32(1),
            .flow = vtoe_flow4(vtoe_mac_a, 1, i, vtoe_mac_b, 2, 2),
        };

        vtoe_command_post(h.d, &cmd);
        vtoe_doorbell(h.d, 1);
    }
    qpci_unplug_acpi_device_test(h.qts, "nic0", VTOE_SLOT);
    vtoe_assert_monitor(h.qts);
    vtoe_host_quit(&h);
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
    qtest_add_func("/vtoe/hostile/command/any-in-any-order",
                   test_any_command_in_any_order);
    qtest_add_func("/vtoe/hostile/command/listener-limit",
                   test_listeners_have_a_limit);
    qtest_add_func("/vtoe/hostile/command/stream-limit",
                   test_streams_have_a_limit);
    qtest_add_func("/vtoe/hostile/command/connect-to-oneself",
                   test_connect_to_oneself);
    qtest_add_func("/vtoe/hostile/command/event-ring-never-read",
                   test_event_ring_never_read);
    qtest_add_func("/vtoe/hostile/storm/frame-to-oneself",
                   test_frame_to_oneself);
    qtest_add_func("/vtoe/hostile/storm/doorbells", test_doorbell_storm);
    qtest_add_func("/vtoe/hostile/storm/always-full",
                   test_ring_that_is_always_full);
    qtest_add_func("/vtoe/hostile/storm/resets",
                   test_reset_storm_with_work_pending);
    qtest_add_func("/vtoe/hostile/storm/msix", test_msix_in_any_order);
    qtest_add_func("/vtoe/hostile/storm/unplug",
                   test_unplug_with_work_pending);
    return g_test_run();
}
