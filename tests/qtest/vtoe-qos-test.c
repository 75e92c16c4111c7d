/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of one vtoe-pci without a netdev, in QEMU's graph of devices: they run
 * on every machine that has a PCI bus.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "hw/pci/pci_ids.h"
#include "hw/pci/pci_regs.h"
#include "libqos/qgraph.h"
#include "qemu/module.h"
#include "vtoe-driver.h"

static void test_identity(void *obj, void *data, QGuestAllocator *alloc)
{
    VtoeDriver *d = obj;

    g_assert_cmphex(qpci_config_readw(d->pci, PCI_VENDOR_ID), ==,
                    VTOE_PCI_VENDOR_ID);
    g_assert_cmphex(qpci_config_readw(d->pci, PCI_DEVICE_ID), ==,
                    VTOE_PCI_DEVICE_ID);
    g_assert_cmphex(qpci_config_readb(d->pci, PCI_REVISION_ID), ==,
                    VTOE_PCI_REVISION);
    g_assert_cmphex(qpci_config_readw(d->pci, PCI_CLASS_DEVICE), ==,
                    PCI_CLASS_NETWORK_ETHERNET);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_MAGIC), ==, VTOE_MAGIC);
    g_assert_cmpuint(vtoe_rd(d, VTOE_REG_VERSION), ==, VTOE_ABI_VERSION);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_MAC_LO), ==, 0x00005452);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_MAC_HI) & 0xffff, ==, 0x0a00);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_GENERATION), !=, 0);
    /* No netdev: nothing to offload to, no streams, one pair. */
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_DEV_FEATURES), ==, 0);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_DEV_FEATURES_HI), ==, 0);
    g_assert_cmpuint(vtoe_rd(d, VTOE_REG_MAX_PAIRS), ==, 1);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_LINK), ==, 0);
}

static void test_registers_are_mirrored(void *obj, void *data,
                                        QGuestAllocator *alloc)
{
    VtoeDriver *d = obj;
    uint32_t reg;

    vtoe_reset(d);
    for (reg = 0; reg < VTOE_REG_END; reg += 4) {
        g_assert_cmphex(vtoe_rd(d, reg), ==, vtoe_rd_io(d, reg));
    }
    vtoe_wr_io(d, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_STATUS), ==, VTOE_STATUS_DRIVER);
    vtoe_wr(d, VTOE_REG_QUEUE_SELECT, VTOE_QUEUE_CONTROL);
    g_assert_cmphex(vtoe_rd_io(d, VTOE_REG_QUEUE_SELECT), ==,
                    VTOE_QUEUE_CONTROL);
    vtoe_wr_io(d, VTOE_REG_SEND_ADDR, 0x12345640);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_SEND_ADDR), ==, 0x12345640);
}

static void test_other_widths_do_nothing(void *obj, void *data,
                                         QGuestAllocator *alloc)
{
    VtoeDriver *d = obj;
    uint32_t reg;

    vtoe_reset(d);
    for (reg = 0; reg < VTOE_REG_END; reg++) {
        g_assert_cmphex(qpci_io_readb(d->pci, d->mmio, reg), ==, 0);
        g_assert_cmphex(qpci_io_readb(d->pci, d->io, reg), ==, 0);
    }
    for (reg = 0; reg < VTOE_REG_END; reg += 2) {
        g_assert_cmphex(qpci_io_readw(d->pci, d->mmio, reg), ==, 0);
    }
    qpci_io_writeb(d->pci, d->mmio, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    qpci_io_writew(d->pci, d->mmio, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    qpci_io_writeb(d->pci, d->io, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    qpci_io_writew(d->pci, d->io, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_STATUS), ==, 0);
}

static void test_bring_up_and_reset(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    VtoeDriver *d = obj;
    uint32_t generation;

    vtoe_start(d, 1, 16);
    generation = d->generation;
    vtoe_reset(d);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_GENERATION), ==, generation + 1);
    vtoe_wr(d, VTOE_REG_QUEUE_SELECT, 0);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_QUEUE_ENABLE), ==, 0);
    vtoe_start(d, 1, 16);
}

static void test_features_not_offered_are_refused(void *obj, void *data,
                                                  QGuestAllocator *alloc)
{
    VtoeDriver *d = obj;

    vtoe_reset(d);
    vtoe_wr(d, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    vtoe_wr64(d, VTOE_REG_DRV_FEATURES, VTOE_F_STREAM);
    vtoe_wr(d, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_STATUS), ==, VTOE_STATUS_DRIVER);
}

static void test_stream_commands_are_unsupported(void *obj, void *data,
                                                 QGuestAllocator *alloc)
{
    VtoeDriver *d = obj;

    vtoe_start(d, 1, 16);
    g_assert_cmpuint(vtoe_listen(d, 1, 80, 1), ==, VTOE_CMD_UNSUPPORTED);
    vtoe_reset(d);
}

static void register_vtoe_tests(void)
{
    qos_add_test("identity", "vtoe", test_identity, NULL);
    qos_add_test("registers-are-mirrored", "vtoe",
                 test_registers_are_mirrored, NULL);
    qos_add_test("other-widths-do-nothing", "vtoe",
                 test_other_widths_do_nothing, NULL);
    qos_add_test("bring-up-and-reset", "vtoe", test_bring_up_and_reset, NULL);
    qos_add_test("features-not-offered-are-refused", "vtoe",
                 test_features_not_offered_are_refused, NULL);
    qos_add_test("stream-commands-are-unsupported", "vtoe",
                 test_stream_commands_are_unsupported, NULL);
}

libqos_init(register_vtoe_tests);
