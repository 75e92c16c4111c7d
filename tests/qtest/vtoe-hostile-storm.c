/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest, second part: commands of any kind and number, limits, and
 * storms of doorbells, resets and interrupts.  See vtoe-hostile-test.c.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "vtoe-hostile.h"

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

/* --- Commands ------------------------------------------------------------ */

/* Any bytes as a command: each gets exactly one answer. */
static void test_any_command_in_any_order(void)
{
    VtoeHost h;
    unsigned i, j;

    vtoe_hostile_start(&h);
    for (i = 0; i < 3000; i++) {
        union {
            struct vtoe_cmd cmd;
            uint32_t words[sizeof(struct vtoe_cmd) / 4];
        } u = { };
        uint32_t tag;

        for (j = 0; j < G_N_ELEMENTS(u.words); j++) {
            u.words[j] = g_test_rand_int_range(0, 3) ? 0 :
                vtoe_odd_values[g_test_rand_int_range(0, VTOE_ODD_VALUES)];
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

    vtoe_hostile_start(&h);
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
    vtoe_hostile_start(&h);
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
    vtoe_hostile_start(&h);
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
    vtoe_hostile_start(&h);
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

    vtoe_hostile_start(&h);
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

void vtoe_hostile_add_storms(void)
{
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
}
