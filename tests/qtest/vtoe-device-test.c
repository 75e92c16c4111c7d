/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One QEMU with a vtoe-pci as a plain NIC: properties, hot-plug, frames on
 * another netdev than vnet (a datagram socket whose other end is the test),
 * interrupts and their suppression.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "libqos/libqos-pc.h"
#include "qobject/qdict.h"
#include "vtoe-pair.h"

/* --- Properties ---------------------------------------------------------- */

/* device_add fails, and the message names both texts. */
static void refused(QTestState *qts, const char *option, const char *value)
{
    g_autofree char *said = qtest_hmp(qts, "device_add vtoe-pci,%s=%s", option,
                                      value);

    g_test_message("%s=%s: %s", option, value, said);
    g_assert(strstr(said, "Error"));
    g_assert(strstr(said, option));
    g_assert(strstr(said, value));
}

static void test_wrong_options_are_named(void)
{
    static const struct { const char *option, *value; } wrong[] = {
        { "max-ring", "0" }, { "max-ring", "8" }, { "max-ring", "1000" },
        { "max-ring", "65536" }, { "max-ring", "4294967295" },
        { "queue-pairs", "0" }, { "queue-pairs", "1" },
        { "queue-pairs", "65" }, { "queue-pairs", "4294967295" },
        { "max-streams", "0" }, { "max-streams", "65537" },
        { "max-listens", "0" }, { "max-listens", "65537" },
        { "max-inflight", "0" }, { "max-inflight", "32769" },
        { "host_mtu", "0" }, { "host_mtu", "67" },
        { "accept-timeout", "0" }, { "accept-timeout", "3600001" },
        { "close-timeout", "0" }, { "close-timeout", "3600001" },
        { "dispatch", "" }, { "dispatch", "fast" }, { "dispatch", "VMM" },
        { "dispatch-upper", "0" }, { "dispatch-lower", "10001" },
        { "dispatch-period-us", "99" }, { "dispatch-period-us", "10000001" },
        { "vmm-period-us", "9" }, { "vmm-period-us", "1000001" },
        { "mac", "01:00:5e:00:00:01" }, { "mac", "ff:ff:ff:ff:ff:ff" },
    };
    QTestState *qts = qtest_init("-machine pc -nodefaults");
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(wrong); i++) {
        refused(qts, wrong[i].option, wrong[i].value);
    }
    qtest_quit(qts);
}

static void test_tso_needs_csum(void)
{
    QTestState *qts = qtest_init("-machine pc -nodefaults");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'device_add', 'arguments': {"
                           " 'driver': 'vtoe-pci', 'csum': false,"
                           " 'tso': true } }");

    g_assert(strstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    "tso=on needs csum=on"));
    qobject_unref(rsp);
    qtest_quit(qts);
}

static void test_limits_are_shown(void)
{
    VtoeHost h;

    vtoe_host_boot(&h, "pc", "vnet", "vtoe-pci,id=nic0,netdev=n0,addr=4,"
                   "max-ring=32768,queue-pairs=64,max-streams=65536,"
                   "max-listens=65536,max-inflight=32768,host_mtu=9000");
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAX_RING), ==, 32768);
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAX_PAIRS), ==, 64);
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAX_STREAMS), ==, 65536);
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAX_LISTENS), ==, 65536);
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAX_INFLIGHT), ==, 32768);
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAC_HI) >> 16, ==, 9000);
    qpci_msix_enable(h.pci);
    g_assert_cmpuint(qpci_msix_table_size(h.pci), ==, 65);
    vtoe_host_quit(&h);
}

static void test_offload_off_has_no_streams(void)
{
    VtoeHost h;

    vtoe_host_boot(&h, "pc", "vnet",
                   "vtoe-pci,id=nic0,netdev=n0,addr=4,offload=off");
    g_assert_cmphex(vtoe_rd(h.d, VTOE_REG_DEV_FEATURES), ==,
                    VTOE_F_CSUM | VTOE_F_TSO | VTOE_F_RX_CSUM | VTOE_F_RX_TSO);
    g_assert_cmpuint(vtoe_rd(h.d, VTOE_REG_MAX_PAIRS), ==, 1);
    vtoe_host_quit(&h);
}

static void test_only_migratable_refuses_streams(void)
{
    QTestState *qts = qtest_init("-machine pc -nodefaults -only-migratable "
                                 "-netdev vnet,id=n0");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'device_add', 'arguments': {"
                           " 'driver': 'vtoe-pci', 'netdev': 'n0' } }");

    g_assert(strstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    "open streams cannot be migrated"));
    qobject_unref(rsp);
    /* The one that failed has left nothing behind. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'device_add', 'arguments': {"
                             " 'driver': 'vtoe-pci', 'netdev': 'n0',"
                             " 'offload': false } }");
    qtest_quit(qts);
}

/* --- Hot-plug ------------------------------------------------------------ */

static void plug_and_unplug(QOSState *qs)
{
    QPCIDevice *pci;
    VtoeDriver *d;

    qtest_qmp_assert_success(qs->qts, "{ 'execute': 'netdev_add', 'arguments':"
                             " { 'type': 'vnet', 'id': 'n0' } }");
    qtest_qmp_device_add(qs->qts, "vtoe-pci", "nic0",
                         "{ 'netdev': 'n0', 'addr': '4' }");
    pci = qpci_device_find(qs->pcibus, QPCI_DEVFN(VTOE_SLOT, 0));
    d = vtoe_driver_new(pci, qs->qts, &qs->alloc);
    vtoe_start(d, 2, 16);
    g_assert_cmpuint(vtoe_listen(d, 1, 80, 1), ==, VTOE_CMD_OK);
    qpci_unplug_acpi_device_test(qs->qts, "nic0", VTOE_SLOT);
    vtoe_driver_free(d);
    g_free(pci);
    qtest_qmp_assert_success(qs->qts, "{ 'execute': 'netdev_del', 'arguments':"
                             " { 'id': 'n0' } }");
}

static void test_plug_and_unplug_leaves_nothing(void)
{
    QOSState *qs = qtest_pc_boot("-machine pc -nodefaults");
    unsigned before, i;

    plug_and_unplug(qs);
    before = vtoe_open_files(qs->qts);
    for (i = 0; i < 20; i++) {
        plug_and_unplug(qs);
        /* libqos never gives BAR addresses back. */
        qs->pcibus->pio_alloc_ptr = 0xc000;
        qs->pcibus->mmio_alloc_ptr = 0xE0000000;
    }
    g_assert_cmpuint(vtoe_open_files(qs->qts), ==, before);
    qtest_shutdown(qs);
}

static void test_plug_behind_a_root_port(void)
{
    QTestState *qts = qtest_init("-machine q35 -nodefaults "
                                 "-device pcie-root-port,id=rp0,slot=1");

    qtest_qmp_device_add(qts, "vtoe-pci", "nic0", "{ 'bus': 'rp0' }");
    g_assert_cmpuint(vtoe_counter(qts, "nic0", "violations"), ==, 0);
    qtest_quit(qts);
}

/* --- Frames -------------------------------------------------------------- */

typedef struct PlainNic {
    VtoeHost h;
    int fd;                     /* the test's end of the wire */
    uint64_t buf;               /* 64 receive buffers of 2 KiB */
    uint64_t src;
} PlainNic;

/* sndbuf: bytes that the wire holds before it is full, 0: as it is. */
static void plain_start_on(PlainNic *n, bool msix, int sndbuf)
{
    g_autofree char *netdev = NULL;
    unsigned i;
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), ==, 0);
    if (sndbuf) {
        g_assert_cmpint(setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &sndbuf,
                                   sizeof(sndbuf)), ==, 0);
    }
    netdev = g_strdup_printf("dgram,local.type=fd,local.str=%d", sv[1]);
    vtoe_host_boot(&n->h, "pc", netdev, VTOE_NIC_A);
    close(sv[1]);
    n->fd = sv[0];
    if (msix) {
        vtoe_msix_enable(n->h.d);
    }
    g_assert_cmphex(vtoe_rd(n->h.d, VTOE_REG_DEV_FEATURES), ==, 0);
    g_assert_cmphex(vtoe_rd(n->h.d, VTOE_REG_LINK), ==, 1);
    vtoe_start(n->h.d, 1, VTOE_TEST_RING);
    n->buf = vtoe_alloc(n->h.d, 64 * 2048);
    n->src = vtoe_alloc(n->h.d, 2048);
    for (i = 0; i < VTOE_TEST_RING; i++) {
        vtoe_post_recv(n->h.d, &n->h.d->q[0], n->buf + i * 2048, 2048, 0, i);
    }
    vtoe_kick(n->h.d, &n->h.d->q[0]);
}

static void plain_start(PlainNic *n, bool msix)
{
    plain_start_on(n, msix, 0);
}

static void plain_quit(PlainNic *n)
{
    close(n->fd);
    vtoe_host_quit(&n->h);
}

static void wire_send(PlainNic *n, uint8_t tag, size_t len)
{
    uint8_t frame[2048];

    memset(frame, tag, sizeof(frame));
    memcpy(frame, vtoe_mac_a, 6);
    g_assert_cmpint(send(n->fd, frame, len, 0), ==, len);
}

static void wire_expect(PlainNic *n, uint8_t tag, size_t len)
{
    uint8_t frame[2048];
    struct pollfd pfd = { .fd = n->fd, .events = POLLIN };

    g_assert_cmpint(poll(&pfd, 1, VTOE_WAIT_S * 1000), ==, 1);
    g_assert_cmpint(recv(n->fd, frame, sizeof(frame), 0), ==, len);
    g_assert_cmphex(frame[13], ==, tag);
    g_assert_cmphex(frame[len - 1], ==, tag);
}

static void nic_send(PlainNic *n, uint8_t tag, size_t len)
{
    qtest_memset(n->h.qts, n->src, tag, len);
    vtoe_send(n->h.d, &n->h.d->q[0], VTOE_SID_FRAME, n->src, len);
}

static void test_frames_on_a_datagram_netdev(void)
{
    PlainNic n;
    struct vtoe_comp c;
    unsigned i;

    plain_start(&n, false);
    for (i = 0; i < 200; i++) {
        nic_send(&n, i + 1, 60 + i);
        wire_expect(&n, i + 1, 60 + i);
        c = vtoe_wait_comp(n.h.d, &n.h.d->q[0]);
        g_assert_cmpuint(c.type, ==, VTOE_COMP_SEND);
        g_assert_cmpuint(c.u.offset, ==, i + 1);
    }
    for (i = 0; i < VTOE_TEST_RING; i++) {
        wire_send(&n, i, 100 + i);
        c = vtoe_wait_comp(n.h.d, &n.h.d->q[0]);
        g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
        g_assert_cmpuint(c.id, ==, i);
        g_assert_cmpuint(c.len, ==, 100 + i);
        g_assert_cmphex(qtest_readb(n.h.qts, n.buf + i * 2048 + 99 + i), ==, i);
    }
    plain_quit(&n);
}

/* The wire takes no more: the device waits, and nothing is lost. */
static void test_full_netdev_makes_the_device_wait(void)
{
    PlainNic n;
    unsigned sent = 0, i;

    plain_start_on(&n, false, 8192);
    qtest_memset(n.h.qts, n.src, 0x55, 1000);
    for (i = 0; i < VTOE_TEST_RING; i++) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(n.src), .len = cpu_to_le32(1000),
        };

        vtoe_post_send(n.h.d, &n.h.d->q[0], &desc);
    }
    vtoe_kick(n.h.d, &n.h.d->q[0]);
    vtoe_wait_counter(n.h.qts, "nic0", "tx_frames", 2);
    vtoe_assert_monitor(n.h.qts);
    g_assert_cmpuint(vtoe_counter(n.h.qts, "nic0", "tx_frames"), <, 16);
    for (sent = 0; sent < VTOE_TEST_RING; sent++) {
        wire_expect(&n, 0x55, 1000);
    }
    vtoe_wait_counter(n.h.qts, "nic0", "tx_frames", VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_counter(n.h.qts, "nic0", "tx_drop_netdev"), ==, 0);
    plain_quit(&n);
}

static void test_without_buffer_is_counted(void)
{
    PlainNic n;
    unsigned i;

    plain_start(&n, false);
    for (i = 0; i <= VTOE_TEST_RING; i++) {
        wire_send(&n, i, 60);
    }
    vtoe_wait_counter(n.h.qts, "nic0", "rx_held", 1);
    /* It does not wait for ever. */
    qtest_clock_step(n.h.qts, 2 * 1000 * 1000 * 1000ll);
    vtoe_wait_counter(n.h.qts, "nic0", "rx_drop_no_buffer", 1);
    g_assert_cmpuint(vtoe_counter(n.h.qts, "nic0", "rx_frames"), ==,
                     VTOE_TEST_RING);
    plain_quit(&n);
}

/* --- Interrupts ---------------------------------------------------------- */

static void set_comp_event(VtoeDriver *d, VtoeTestQueue *q, uint32_t val)
{
    qtest_writel(d->qts, q->ctrl + offsetof(struct vtoe_queue_ctrl, comp_event),
                 val);
}

static void test_completion_raises_its_vector(void)
{
    PlainNic n;

    plain_start(&n, true);
    set_comp_event(n.h.d, &n.h.d->q[0], 0);
    wire_send(&n, 1, 60);
    vtoe_wait_msix(n.h.d, 1);
    g_assert_false(vtoe_msix_fired(n.h.d, 0));
    plain_quit(&n);
}

static void test_event_raises_vector_0(void)
{
    PlainNic n;

    plain_start(&n, true);
    vtoe_listen(n.h.d, 1, 80, 1);
    vtoe_wait_msix(n.h.d, 0);
    g_assert_false(vtoe_msix_fired(n.h.d, 1));
    plain_quit(&n);
}

/* comp_event lies three completions ahead: two are silent, the third is not. */
static void test_event_index_suppresses(void)
{
    PlainNic n;
    VtoeTestQueue *q;
    gint64 deadline = 0;
    uint32_t prod;
    unsigned i;

    plain_start(&n, true);
    q = &n.h.d->q[0];
    set_comp_event(n.h.d, q, 2);
    for (i = 0; i < 2; i++) {
        wire_send(&n, 1, 60);
        do {
            vtoe_wait_step(&deadline, "completions");
            prod = qtest_readl(n.h.qts, q->ctrl +
                               offsetof(struct vtoe_queue_ctrl, comp_prod));
        } while (prod <= i);
    }
    g_assert_false(vtoe_msix_fired(n.h.d, 1));
    g_assert_cmpuint(vtoe_counter(n.h.qts, "nic0", "interrupts_suppressed"),
                     ==, 2);
    wire_send(&n, 1, 60);
    vtoe_wait_msix(n.h.d, 1);
    g_assert_cmpuint(vtoe_counter(n.h.qts, "nic0", "interrupts"), ==, 1);
    plain_quit(&n);
}

static void mask_vector(VtoeDriver *d, unsigned vector, bool mask)
{
    qpci_io_writel(d->pci, d->pci->msix_table_bar, d->pci->msix_table_off +
                   vector * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
                   mask);
}

static void test_masked_interrupt_stays_pending(void)
{
    PlainNic n;
    gint64 deadline = 0;

    plain_start(&n, true);
    set_comp_event(n.h.d, &n.h.d->q[0], 0);
    mask_vector(n.h.d, 1, true);
    wire_send(&n, 1, 60);
    while (!(qpci_io_readl(n.h.pci, n.h.pci->msix_pba_bar,
                           n.h.pci->msix_pba_off) & 2)) {
        vtoe_wait_step(&deadline, "the pending bit");
    }
    g_assert_false(vtoe_msix_fired(n.h.d, 1));
    mask_vector(n.h.d, 1, false);
    g_assert_true(vtoe_msix_fired(n.h.d, 1));
    plain_quit(&n);
}

static void test_needs_reset_raises_vector_0(void)
{
    PlainNic n;

    plain_start(&n, true);
    qtest_writel(n.h.qts, n.h.d->q[0].ctrl, VTOE_TEST_RING + 1);
    vtoe_doorbell(n.h.d, 0);
    vtoe_wait_msix(n.h.d, 0);
    g_assert_cmphex(vtoe_rd(n.h.d, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET,
                    !=, 0);
    plain_quit(&n);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/option/wrong-ones-are-named",
                   test_wrong_options_are_named);
    qtest_add_func("/vtoe/option/tso-needs-csum", test_tso_needs_csum);
    qtest_add_func("/vtoe/option/limits-are-shown", test_limits_are_shown);
    qtest_add_func("/vtoe/option/offload-off-has-no-streams",
                   test_offload_off_has_no_streams);
    qtest_add_func("/vtoe/option/only-migratable-refuses-streams",
                   test_only_migratable_refuses_streams);
    qtest_add_func("/vtoe/plug/leaves-nothing",
                   test_plug_and_unplug_leaves_nothing);
    qtest_add_func("/vtoe/plug/behind-a-root-port",
                   test_plug_behind_a_root_port);
    qtest_add_func("/vtoe/frame/on-a-datagram-netdev",
                   test_frames_on_a_datagram_netdev);
    qtest_add_func("/vtoe/frame/full-netdev-makes-the-device-wait",
                   test_full_netdev_makes_the_device_wait);
    qtest_add_func("/vtoe/frame/without-buffer-is-counted",
                   test_without_buffer_is_counted);
    qtest_add_func("/vtoe/interrupt/completion-raises-its-vector",
                   test_completion_raises_its_vector);
    qtest_add_func("/vtoe/interrupt/event-raises-vector-0",
                   test_event_raises_vector_0);
    qtest_add_func("/vtoe/interrupt/event-index-suppresses",
                   test_event_index_suppresses);
    qtest_add_func("/vtoe/interrupt/masked-stays-pending",
                   test_masked_interrupt_stays_pending);
    qtest_add_func("/vtoe/interrupt/needs-reset-raises-vector-0",
                   test_needs_reset_raises_vector_0);
    return g_test_run();
}
