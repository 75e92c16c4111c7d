/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: the PCI device (docs/specs/vtoe.rst).
 *
 * This file is properties, realize, BARs, reset; vtoe-pci.h says where the
 * rest of the shell is, and vtoe-dev.h is the behaviour.
 *
 *   BAR 0, I/O    the registers
 *   BAR 2, MMIO   the registers again in the first page, then a page per pair
 *                 with its doorbell
 *   BAR 4         MSI-X: vector 0.. as the driver chooses, pairs + 1 of them
 *
 * Register reads are answered where they happen, from words the device thread
 * writes.  Register writes happen in the device thread, before the guest's
 * instruction ends (vtoe-thread.c).  Doorbells are ioeventfds: the guest's
 * write sets an EventNotifier that the device thread waits for.  The written
 * value is lost, as it has to be: what is new stands in the rings.
 *
 * The device sits on conventional and on express buses; on express ones it is
 * an endpoint with function-level reset.
 */

#include "qemu/osdep.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "net/net.h"
#include "qapi/error.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "system/system.h"
#include "trace.h"
#include "vtoe-pci.h"
#include "vtoe/vnet-netdev.h"

/* Lines of the guest-error log a second; what is more is counted. */
#define VTOE_LOG_RATE 10

/* --- Registers ----------------------------------------------------------- */

static uint64_t vtoe_reg_read(void *opaque, hwaddr addr, unsigned size)
{
    VtoePCI *s = opaque;
    uint32_t val = 0;

    if (addr < VTOE_REG_END) {
        val = vtoe_dev_reg_read(s->dev, addr, size);
    }
    trace_vtoe_reg_read(s, addr, size, val);
    return val;
}

typedef struct VtoeRegWrite {
    uint32_t addr;
    uint32_t val;
    unsigned size;
} VtoeRegWrite;

static void vtoe_reg_write_call(VtoePCI *s, void *arg)
{
    const VtoeRegWrite *w = arg;

    vtoe_dev_reg_write(s->dev, w->addr, w->val, w->size);
}

static void vtoe_ring_doorbell(VtoePCI *s, unsigned queue)
{
    unsigned i = queue == VTOE_QUEUE_CONTROL ? s->cfg.pairs : queue;

    event_notifier_set(&s->doorbell[i].notifier);
}

static void vtoe_reg_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    VtoePCI *s = opaque;
    VtoeRegWrite w = { .addr = addr, .val = val, .size = size };

    trace_vtoe_reg_write(s, addr, size, val);
    if (addr >= VTOE_REG_END) {
        return;
    }
    if (addr == VTOE_REG_CTRL_DOORBELL && size == 4) {
        vtoe_ring_doorbell(s, VTOE_QUEUE_CONTROL);
        return;
    }
    vtoe_thread_call(s, vtoe_reg_write_call, &w);
    if (addr == VTOE_REG_STATUS && size == 4) {
        if (w.val == 0) {
            vtoe_irq_reset(s);
        }
        vtoe_net_features_changed(s);
    }
}

static uint64_t vtoe_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    return addr < VTOE_DOORBELL_PAGE ? vtoe_reg_read(opaque, addr, size) : 0;
}

/*
 * A doorbell gets here only if the write is not the ioeventfd's: a width that
 * is none of the device's.
 */
static void vtoe_mmio_write(void *opaque, hwaddr addr, uint64_t val,
                            unsigned size)
{
    VtoePCI *s = opaque;
    unsigned pair = addr / VTOE_DOORBELL_PAGE - 1;

    if (addr < VTOE_DOORBELL_PAGE) {
        vtoe_reg_write(opaque, addr, val, size);
    } else if (size == 4 && addr % VTOE_DOORBELL_PAGE == 0 &&
               pair < s->cfg.pairs) {
        vtoe_ring_doorbell(s, pair);
    }
}

/* Every width reaches the device, which answers the wrong ones itself. */
static const MemoryRegionOps vtoe_io_ops = {
    .read = vtoe_reg_read,
    .write = vtoe_reg_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 8 },
};

static const MemoryRegionOps vtoe_mmio_ops = {
    .read = vtoe_mmio_read,
    .write = vtoe_mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 1, .max_access_size = 8 },
    .impl = { .min_access_size = 1, .max_access_size = 8 },
};

/* --- Doorbells ----------------------------------------------------------- */

static void vtoe_doorbells_connect(VtoePCI *s, bool on)
{
    void (*change)(MemoryRegion *, hwaddr, unsigned, bool, uint64_t,
                   EventNotifier *) = on ? memory_region_add_eventfd
                                         : memory_region_del_eventfd;
    unsigned i;

    if (on == s->ioeventfds) {
        return;
    }
    s->ioeventfds = on;
    memory_region_transaction_begin();
    for (i = 0; i < s->cfg.pairs; i++) {
        change(&s->mmio, VTOE_DOORBELL_OFFSET(i), 4, false, 0,
               &s->doorbell[i].notifier);
    }
    change(&s->io, VTOE_REG_CTRL_DOORBELL, 4, false, 0,
           &s->doorbell[i].notifier);
    change(&s->mmio, VTOE_REG_CTRL_DOORBELL, 4, false, 0,
           &s->doorbell[i].notifier);
    memory_region_transaction_commit();
}

static bool vtoe_doorbells_init(VtoePCI *s, Error **errp)
{
    unsigned n = s->cfg.pairs + 1, i;
    int ret;

    for (i = 0; i < n; i++) {
        VtoeDoorbell *db = &s->doorbell[i];

        ret = event_notifier_init(&db->notifier, 0);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "vtoe-pci: doorbell notifier %u of "
                             "%u cannot be made", i, n);
            return false;
        }
        db->s = s;
        db->queue = i < s->cfg.pairs ? i : VTOE_QUEUE_CONTROL;
        s->doorbells = i + 1;
    }
    ret = event_notifier_init(&s->again, 0);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "vtoe-pci: a notifier cannot be made");
        return false;
    }
    s->again_open = true;
    return true;
}

static void vtoe_doorbells_cleanup(VtoePCI *s)
{
    while (s->doorbells > 0) {
        event_notifier_cleanup(&s->doorbell[--s->doorbells].notifier);
    }
    if (s->again_open) {
        event_notifier_cleanup(&s->again);
        s->again_open = false;
    }
}

/* --- What the behaviour asks of its host --------------------------------- */

static void vtoe_op_guest_error(void *opaque, const char *msg)
{
    VtoePCI *s = opaque;
    int64_t second = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) / 1000;

    trace_vtoe_guest_error(s, msg);
    if (second != s->log_second) {
        if (s->log_suppressed > 0) {
            qemu_log_mask(LOG_GUEST_ERROR, "vtoe-pci: %" PRIu64 " more lines "
                          "were suppressed\n", s->log_suppressed);
        }
        s->log_second = second;
        s->log_count = 0;
        s->log_suppressed = 0;
    }
    if (s->log_count < VTOE_LOG_RATE) {
        s->log_count++;
        qemu_log_mask(LOG_GUEST_ERROR, "vtoe-pci: %s\n", msg);
    } else {
        s->log_suppressed++;
    }
}

static void vtoe_op_trace_stream(void *opaque, uint32_t sid, const char *what,
                                 uint64_t value)
{
    trace_vtoe_stream(opaque, sid, what, value);
}

static const VtoeHostOps vtoe_host_ops = {
    .dma_read = vtoe_op_dma_read,
    .dma_write = vtoe_op_dma_write,
    .dma_load32 = vtoe_op_dma_load32,
    .dma_store32 = vtoe_op_dma_store32,
    .barrier = vtoe_op_barrier,
    .dma_map = vtoe_op_dma_map,
    .dma_unmap = vtoe_op_dma_unmap,
    .raise_vector = vtoe_op_raise_vector,
    .kick_later = vtoe_op_kick_later,
    .now_ns = vtoe_op_now_ns,
    .set_timer = vtoe_op_set_timer,
    .guest_error = vtoe_op_guest_error,
    .send_frame = vtoe_op_send_frame,
    .filter_changed = vtoe_op_filter_changed,
    .streams_changed = vtoe_op_streams_changed,
    .trace_stream = vtoe_op_trace_stream,
};

/* --- Reset and run state ------------------------------------------------- */

static void vtoe_reset_call(VtoePCI *s, void *arg)
{
    vtoe_dev_reset(s->dev);
}

static void vtoe_pci_reset_hold(Object *obj, ResetType type)
{
    VtoePCI *s = VTOE_PCI(obj);

    trace_vtoe_reset(s);
    vtoe_thread_call(s, vtoe_reset_call, NULL);
    vtoe_irq_reset(s);
    vtoe_irq_update(s);
    vtoe_net_features_changed(s);
}

static void vtoe_set_running(VtoePCI *s, void *arg)
{
    s->running = *(bool *)arg;
    vtoe_dev_set_running(s->dev, s->running);
}

static void vtoe_vm_state_changed(void *opaque, bool running, RunState state)
{
    VtoePCI *s = opaque;

    if (running == s->running) {
        return;
    }
    trace_vtoe_running(s, running);
    vtoe_thread_call(s, vtoe_set_running, &running);
    if (running) {
        vtoe_net_resume(s);
    } else {
        vtoe_irq_flush(s);
    }
}

static void vtoe_pci_write_config(PCIDevice *dev, uint32_t addr, uint32_t val,
                                  int len)
{
    VtoePCI *s = VTOE_PCI(dev);

    pci_default_write_config(dev, addr, val, len);
    if (pci_is_express(dev)) {
        pcie_cap_flr_write_config(dev, addr, val, len);
    }
    vtoe_irq_update(s);
}

/* --- Life ---------------------------------------------------------------- */

static bool vtoe_check(const char *name, uint64_t val, uint64_t min,
                       uint64_t max, Error **errp)
{
    if (val < min || val > max) {
        error_setg(errp, "vtoe-pci: %s=%" PRIu64 " is not in the range %"
                   PRIu64 " to %" PRIu64, name, val, min, max);
        return false;
    }
    return true;
}

/* The property, as a VtoeDispatchMode; -1: it is none. */
static int vtoe_dispatch_mode(VtoePCI *s)
{
    static const char *const name[] = {
        [VTOE_DISPATCH_GUEST] = "guest",
        [VTOE_DISPATCH_VMM] = "vmm",
        [VTOE_DISPATCH_ADAPTIVE] = "adaptive",
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(name); i++) {
        if (g_str_equal(s->dispatch ?: "guest", name[i])) {
            return i;
        }
    }
    return -1;
}

static bool vtoe_check_properties(VtoePCI *s, Error **errp)
{
    const uint8_t *mac = s->conf.macaddr.a;

    if (mac[0] & 1) {
        error_setg(errp, "vtoe-pci: mac=%02x:%02x:%02x:%02x:%02x:%02x is not "
                   "a unicast address", mac[0], mac[1], mac[2], mac[3], mac[4],
                   mac[5]);
        return false;
    }
    if (s->max_ring & (s->max_ring - 1)) {
        error_setg(errp, "vtoe-pci: max-ring=%u is not a power of two",
                   s->max_ring);
        return false;
    }
    if (s->tso && !s->csum) {
        error_setg(errp, "vtoe-pci: tso=on needs csum=on");
        return false;
    }
    if (vtoe_dispatch_mode(s) < 0) {
        error_setg(errp, "vtoe-pci: dispatch=%s is none of guest, vmm, "
                   "adaptive", s->dispatch);
        return false;
    }
    return vtoe_check("host_mtu", s->host_mtu, 68, 65535, errp) &&
           vtoe_check("queue-pairs", s->queue_pairs, s->offload ? 2 : 1,
                      VTOE_MAX_PAIRS, errp) &&
           vtoe_check("max-ring", s->max_ring, 16, 32768, errp) &&
           vtoe_check("max-streams", s->max_streams, 1, 65536, errp) &&
           vtoe_check("max-listens", s->max_listens, 1, 65536, errp) &&
           vtoe_check("max-inflight", s->max_inflight, 1, 32768, errp) &&
           vtoe_check("dispatch-upper", s->dispatch_upper, 1, UINT32_MAX,
                      errp) &&
           vtoe_check("dispatch-lower", s->dispatch_lower, 0,
                      s->dispatch_upper, errp) &&
           vtoe_check("dispatch-period-us", s->dispatch_period_us, 100,
                      10000000, errp) &&
           vtoe_check("vmm-period-us", s->vmm_period_us, 10, 1000000, errp) &&
           vtoe_check("accept-timeout", s->accept_timeout_ms, 1, 3600000,
                      errp) &&
           vtoe_check("close-timeout", s->close_timeout_ms, 1, 3600000, errp);
}

static void vtoe_configure(VtoePCI *s)
{
    VtoeConfig *c = &s->cfg;
    const NetClientState *peer = s->conf.peers.ncs[0];

    memcpy(c->mac, s->conf.macaddr.a, sizeof(c->mac));
    c->mtu = vnet_netdev_is(peer) ? MIN(s->host_mtu, vnet_netdev_mtu(peer)) :
                                    s->host_mtu;
    c->pairs = c->features & VTOE_F_STREAM ? s->queue_pairs : 1;
    c->vectors = c->pairs + 1;
    c->max_ring = s->max_ring;
    c->max_streams = s->max_streams;
    c->max_listens = s->max_listens;
    c->max_inflight = s->max_inflight;
    c->evi = s->evi;
    c->eoc = s->eoc;
    c->dispatch = (VtoeDispatchConfig) {
        .mode = vtoe_dispatch_mode(s),
        .upper = s->dispatch_upper,
        .lower = s->dispatch_lower,
        .period_ns = s->dispatch_period_us * (int64_t)SCALE_US,
        .look_ns = s->vmm_period_us * (int64_t)SCALE_US,
    };
    c->accept_timeout_ns = s->accept_timeout_ms * (int64_t)SCALE_MS;
    c->close_timeout_ns = s->close_timeout_ms * (int64_t)SCALE_MS;
}

/* Undoes whatever realize did, in the order that leaves no handler behind. */
static void vtoe_teardown(VtoePCI *s)
{
    vtoe_query_cleanup(s);
    if (s->vmstate_entry) {
        qemu_del_vm_change_state_handler(s->vmstate_entry);
        s->vmstate_entry = NULL;
    }
    vtoe_doorbells_connect(s, false);
    vtoe_net_stop(s);
    vtoe_blocker_cleanup(s);
    vtoe_irq_cleanup(s);
    vtoe_net_cleanup(s);
    if (s->dev) {
        vtoe_dev_free(s->dev);
        s->dev = NULL;
    }
    vtoe_doorbells_cleanup(s);
}

static void vtoe_pci_realize(PCIDevice *dev, Error **errp)
{
    VtoePCI *s = VTOE_PCI(dev);
    bool running = runstate_is_running();
    uint64_t mmio_size;

    if (!vtoe_check_properties(s, errp)) {
        return;
    }
    s->ctx = qemu_get_aio_context();
    if (!vtoe_net_init(s, errp)) {
        return;
    }
    vtoe_configure(s);

    mmio_size = pow2ceil(VTOE_DOORBELL_OFFSET(s->cfg.pairs));
    memory_region_init_io(&s->io, OBJECT(s), &vtoe_io_ops, s, "vtoe-io",
                          VTOE_BAR_IO_SIZE);
    memory_region_init_io(&s->mmio, OBJECT(s), &vtoe_mmio_ops, s, "vtoe-mmio",
                          mmio_size);
    pci_register_bar(dev, VTOE_BAR_IO, PCI_BASE_ADDRESS_SPACE_IO, &s->io);
    pci_register_bar(dev, VTOE_BAR_MMIO, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->mmio);
    if (pci_is_express(dev)) {
        if (pcie_endpoint_cap_init(dev, 0x80) < 0) {
            error_setg(errp, "vtoe-pci: the PCI Express capability does not "
                       "fit");
            goto fail;
        }
        pcie_cap_flr_init(dev);
    }
    if (!vtoe_doorbells_init(s, errp) ||
        !vtoe_irq_init(s, s->cfg.vectors, errp)) {
        goto fail;
    }
    s->dev = vtoe_dev_new(&s->cfg, &vtoe_host_ops, s);
    if (!vtoe_blocker_init(s, errp) || !vtoe_net_start(s, errp)) {
        goto fail;
    }
    vtoe_thread_call(s, vtoe_set_running, &running);
    s->vmstate_entry = qdev_add_vm_change_state_handler(DEVICE(s),
                                                        vtoe_vm_state_changed,
                                                        s);
    vtoe_doorbells_connect(s, true);
    vtoe_query_init(s);
    trace_vtoe_realize(s, s->cfg.features, s->cfg.pairs);
    return;

fail:
    vtoe_teardown(s);
}

static void vtoe_pci_exit(PCIDevice *dev)
{
    VtoePCI *s = VTOE_PCI(dev);

    trace_vtoe_unrealize(s);
    vtoe_teardown(s);
    if (pci_is_express(dev)) {
        pcie_cap_exit(dev);
    }
}

/*
 * A hybrid device decides by its bus what it is, before PCI's own realize
 * sizes the configuration space by that.
 */
static DeviceRealize vtoe_parent_realize;

static void vtoe_dc_realize(DeviceState *qdev, Error **errp)
{
    PCIDevice *dev = PCI_DEVICE(qdev);

    if (pci_bus_is_express(pci_get_bus(dev))) {
        dev->cap_present |= QEMU_PCI_CAP_EXPRESS;
    }
    vtoe_parent_realize(qdev, errp);
}

/* --- QOM ----------------------------------------------------------------- */

static const Property vtoe_properties[] = {
    DEFINE_NIC_PROPERTIES(VtoePCI, conf),
    /* The largest MTU the guest may set. */
    DEFINE_PROP_UINT16("host_mtu", VtoePCI, host_mtu, 65535),
    DEFINE_PROP_BOOL("offload", VtoePCI, offload, true),
    DEFINE_PROP_BOOL("csum", VtoePCI, csum, true),
    DEFINE_PROP_BOOL("tso", VtoePCI, tso, true),
    /* Pair 0, for frames, included. */
    DEFINE_PROP_UINT32("queue-pairs", VtoePCI, queue_pairs, 2),
    DEFINE_PROP_UINT32("max-ring", VtoePCI, max_ring, 4096),
    DEFINE_PROP_UINT32("max-streams", VtoePCI, max_streams, 4096),
    DEFINE_PROP_UINT32("max-listens", VtoePCI, max_listens, 1024),
    DEFINE_PROP_UINT32("max-inflight", VtoePCI, max_inflight, 256),
    DEFINE_PROP_BOOL("evi", VtoePCI, evi, true),
    DEFINE_PROP_BOOL("eoc", VtoePCI, eoc, true),
    /* guest, vmm or adaptive, see vtoe-dispatch.h; operations per second. */
    DEFINE_PROP_STRING("dispatch", VtoePCI, dispatch),
    DEFINE_PROP_UINT32("dispatch-upper", VtoePCI, dispatch_upper, 10000),
    DEFINE_PROP_UINT32("dispatch-lower", VtoePCI, dispatch_lower, 1000),
    DEFINE_PROP_UINT32("dispatch-period-us", VtoePCI, dispatch_period_us,
                       10000),
    DEFINE_PROP_UINT32("vmm-period-us", VtoePCI, vmm_period_us, 100),
    /* Interrupts without the main loop's help, see vtoe-irq.c. */
    DEFINE_PROP_BOOL("x-direct-irq", VtoePCI, direct_irq, true),
    /* Milliseconds. */
    DEFINE_PROP_UINT32("accept-timeout", VtoePCI, accept_timeout_ms, 5000),
    DEFINE_PROP_UINT32("close-timeout", VtoePCI, close_timeout_ms, 60000),
};

static void vtoe_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(oc);
    ResettableClass *rc = RESETTABLE_CLASS(oc);

    pc->realize = vtoe_pci_realize;
    pc->exit = vtoe_pci_exit;
    pc->config_write = vtoe_pci_write_config;
    pc->vendor_id = VTOE_PCI_VENDOR_ID;
    pc->device_id = VTOE_PCI_DEVICE_ID;
    pc->subsystem_vendor_id = VTOE_PCI_VENDOR_ID;
    pc->subsystem_id = VTOE_PCI_DEVICE_ID;
    pc->revision = VTOE_PCI_REVISION;
    pc->class_id = PCI_CLASS_NETWORK_ETHERNET;
    rc->phases.hold = vtoe_pci_reset_hold;
    device_class_set_parent_realize(dc, vtoe_dc_realize, &vtoe_parent_realize);
    dc->desc = "NIC with virtual TCP offload over an Ethernet overlay";
    dc->vmsd = &vtoe_pci_vmstate;
    device_class_set_props(dc, vtoe_properties);
    set_bit(DEVICE_CATEGORY_NETWORK, dc->categories);

    vtoe_query_class_init(oc);
}

static void vtoe_instance_init(Object *obj)
{
    VtoePCI *s = VTOE_PCI(obj);

    qemu_sem_init(&s->call_done, 0);
    device_add_bootindex_property(obj, &s->conf.bootindex, "bootindex",
                                  "/ethernet-phy@0", DEVICE(obj));
}

static void vtoe_instance_finalize(Object *obj)
{
    VtoePCI *s = VTOE_PCI(obj);

    g_free(s->mig.listens);
    g_free(s->mig.recv);
    qemu_sem_destroy(&s->call_done);
}

static const TypeInfo vtoe_types[] = {
    {
        .name = TYPE_VTOE_PCI,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(VtoePCI),
        .instance_init = vtoe_instance_init,
        .instance_finalize = vtoe_instance_finalize,
        .class_init = vtoe_class_init,
        .interfaces = (InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { INTERFACE_CONVENTIONAL_PCI_DEVICE },
            { }
        },
    },
};

DEFINE_TYPES(vtoe_types)
