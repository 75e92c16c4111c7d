/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's node in libqos's graph: tests of PCI devices in general run on
 * it, and tests of interface "vtoe" get a VtoeDriver.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "libqos/pci.h"
#include "libqos/qgraph.h"
#include "qemu/module.h"
#include "vtoe-driver.h"

typedef struct QVtoePCI {
    QOSGraphObject obj;
    QPCIDevice pci;
    QGuestAllocator *alloc;
    VtoeDriver *driver;
} QVtoePCI;

static void *vtoe_pci_get_driver(void *obj, const char *interface)
{
    QVtoePCI *v = obj;

    if (g_str_equal(interface, "pci-device")) {
        return &v->pci;
    }
    g_assert_cmpstr(interface, ==, "vtoe");
    return v->driver;
}

static void vtoe_pci_start_hw(QOSGraphObject *obj)
{
    QVtoePCI *v = (QVtoePCI *)obj;

    v->driver = vtoe_driver_new(&v->pci, v->pci.bus->qts, v->alloc);
}

static void vtoe_pci_destructor(QOSGraphObject *obj)
{
    QVtoePCI *v = (QVtoePCI *)obj;

    if (v->driver) {
        vtoe_driver_free(v->driver);
    }
}

static void *vtoe_pci_create(void *pci_bus, QGuestAllocator *alloc, void *addr)
{
    QVtoePCI *v = g_new0(QVtoePCI, 1);

    qpci_device_init(&v->pci, pci_bus, addr);
    v->alloc = alloc;
    v->obj.get_driver = vtoe_pci_get_driver;
    v->obj.start_hw = vtoe_pci_start_hw;
    v->obj.destructor = vtoe_pci_destructor;
    return &v->obj;
}

static void vtoe_register_nodes(void)
{
    QPCIAddress addr = {
        .devfn = QPCI_DEVFN(4, 0),
        .vendor_id = VTOE_PCI_VENDOR_ID,
        .device_id = VTOE_PCI_DEVICE_ID,
    };
    QOSGraphEdgeOptions opts = {
        .extra_device_opts = "id=nic0,addr=04.0,mac=52:54:00:00:00:0a",
    };

    add_qpci_address(&opts, &addr);
    qos_node_create_driver("vtoe-pci", vtoe_pci_create);
    qos_node_consumes("vtoe-pci", "pci-bus", &opts);
    qos_node_produces("vtoe-pci", "pci-device");
    qos_node_produces("vtoe-pci", "vtoe");
}

libqos_init(vtoe_register_nodes);
