/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: interrupts.
 *
 * Each MSI-X vector has an EventNotifier.  The device thread sets it; who
 * reads it depends:
 *  - Under KVM with irqfd, while the vector is unmasked: the kernel, which
 *    injects the message without QEMU.
 *  - Otherwise: the main loop, which calls msix_notify().  That sends the
 *    message, or, when the vector is masked or MSI-X is off, notes it in the
 *    pending bits.
 * QEMU's interrupt controllers and msix_notify() need the BQL, which the
 * device thread must never wait for: hence the detour.  When the device's
 * thread is the main loop itself, or gets the BQL without waiting, it calls
 * msix_notify() directly.
 *
 * But a message is a write to whatever address the guest gave the vector: also
 * to this device's own registers, which would be reset in the middle of what
 * it is at, or to a register whose handler waits for this thread.  So direct is
 * only what goes to memory or to an interrupt controller that is known to do
 * neither.
 *
 * A route to KVM can fail (no more of them): that vector stays with the main
 * loop.  All functions but vtoe_op_raise_vector(): BQL.
 */

#include "qemu/osdep.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "system/kvm.h"
#include "trace.h"
#include "vtoe/bql-trylock.h"
#include "vtoe-pci.h"

static void vtoe_vector_read(EventNotifier *n)
{
    VtoeVector *v = container_of(n, VtoeVector, notifier);

    if (event_notifier_test_and_clear(n)) {
        unsigned vector = v - v->s->vector;

        trace_vtoe_msix_notify(v->s, vector);
        msix_notify(PCI_DEVICE(v->s), vector);
    }
}

/* Whether the vector's message, if it is sent at all, has no other effect. */
static bool vtoe_vector_is_harmless(VtoePCI *s, unsigned vector)
{
    PCIDevice *dev = PCI_DEVICE(s);
    hwaddr xlat, len = sizeof(uint32_t);
    MemoryRegion *mr;

    if (msix_is_masked(dev, vector)) {
        return true;
    }
    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(pci_get_address_space(dev),
                                 msix_get_message(dev, vector).address, &xlat,
                                 &len, true, MEMTXATTRS_UNSPECIFIED);
    return memory_region_is_ram(mr) ||
           object_dynamic_cast(memory_region_owner(mr), "apic-common");
}

/* BQL.  False: the main loop has to. */
static bool vtoe_vector_notify(VtoePCI *s, unsigned vector)
{
    bool harmless = vtoe_vector_is_harmless(s, vector);

    if (harmless) {
        msix_notify(PCI_DEVICE(s), vector);
    }
    return harmless;
}

/*
 * Device thread.  The one place that decides how an interrupt leaves it.
 */
void vtoe_op_raise_vector(void *opaque, unsigned vector)
{
    VtoePCI *s = opaque;
    bool sent = false;

    if (vector >= s->vectors) {
        return;
    }
    trace_vtoe_raise(s, vector);
    if (s->ctx == qemu_get_aio_context()) {
        sent = vtoe_vector_notify(s, vector);
    } else if (s->direct_irq && !qatomic_read(&s->irqfd_on) &&
               bql_trylock()) {
        sent = vtoe_vector_notify(s, vector);
        bql_unlock();
    }
    if (!sent) {
        event_notifier_set(&s->vector[vector].notifier);
    }
}

static void vtoe_vector_by_main_loop(VtoeVector *v)
{
    event_notifier_set_handler(&v->notifier, vtoe_vector_read);
}

static int vtoe_vector_use(PCIDevice *dev, unsigned vector, MSIMessage msg)
{
    VtoePCI *s = VTOE_PCI(dev);
    VtoeVector *v;
    int ret;

    if (vector >= s->vectors) {
        return 0;
    }
    v = &s->vector[vector];
    if (v->virq >= 0) {
        ret = kvm_irqchip_update_msi_route(kvm_state, v->virq, msg, dev);
        if (ret < 0) {
            goto release;
        }
        kvm_irqchip_commit_routes(kvm_state);
        return 0;
    } else {
        KVMRouteChange c = kvm_irqchip_begin_route_changes(kvm_state);

        ret = kvm_irqchip_add_msi_route(&c, vector, dev);
        if (ret < 0) {
            return 0;           /* the main loop goes on with it */
        }
        kvm_irqchip_commit_route_changes(&c);
        v->virq = ret;
        ret = kvm_irqchip_add_irqfd_notifier_gsi(kvm_state, &v->notifier,
                                                 NULL, v->virq);
        if (ret < 0) {
            kvm_irqchip_release_virq(kvm_state, v->virq);
            v->virq = -1;
            return 0;
        }
        event_notifier_set_handler(&v->notifier, NULL);
        return 0;
    }

release:
    kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &v->notifier, v->virq);
    kvm_irqchip_release_virq(kvm_state, v->virq);
    v->virq = -1;
    vtoe_vector_by_main_loop(v);
    return 0;
}

static void vtoe_vector_release(PCIDevice *dev, unsigned vector)
{
    VtoePCI *s = VTOE_PCI(dev);
    VtoeVector *v;

    if (vector >= s->vectors || s->vector[vector].virq < 0) {
        return;
    }
    v = &s->vector[vector];
    kvm_irqchip_remove_irqfd_notifier_gsi(kvm_state, &v->notifier, v->virq);
    kvm_irqchip_release_virq(kvm_state, v->virq);
    v->virq = -1;
    vtoe_vector_by_main_loop(v);
}

/* The guest reads pending bits: they have to be there. */
static void vtoe_vector_poll(PCIDevice *dev, unsigned start, unsigned end)
{
    VtoePCI *s = VTOE_PCI(dev);
    unsigned i;

    for (i = start; i < MIN(end, s->vectors); i++) {
        if (msix_is_masked(dev, i) &&
            event_notifier_test_and_clear(&s->vector[i].notifier)) {
            msix_set_pending(dev, i);
        }
    }
}

void vtoe_irq_update(VtoePCI *s)
{
    PCIDevice *dev = PCI_DEVICE(s);
    bool on = s->vectors > 0 && msix_enabled(dev) &&
              kvm_msi_via_irqfd_enabled();
    unsigned i;

    if (on == s->irqfd_on) {
        return;
    }
    qatomic_set(&s->irqfd_on, on);
    if (on) {
        msix_set_vector_notifiers(dev, vtoe_vector_use, vtoe_vector_release,
                                  vtoe_vector_poll);
    } else {
        msix_unset_vector_notifiers(dev);
        /* With MSI-X off the line above releases none. */
        for (i = 0; i < s->vectors; i++) {
            vtoe_vector_release(dev, i);
        }
    }
}

void vtoe_irq_reset(VtoePCI *s)
{
    unsigned i;

    for (i = 0; i < s->vectors; i++) {
        event_notifier_test_and_clear(&s->vector[i].notifier);
    }
}

void vtoe_irq_flush(VtoePCI *s)
{
    unsigned i;

    for (i = 0; i < s->vectors; i++) {
        if (s->vector[i].virq < 0) {
            vtoe_vector_read(&s->vector[i].notifier);
        }
    }
}

static void vtoe_irq_close_notifiers(VtoePCI *s)
{
    while (s->vectors > 0) {
        VtoeVector *v = &s->vector[--s->vectors];

        event_notifier_set_handler(&v->notifier, NULL);
        event_notifier_cleanup(&v->notifier);
    }
}

bool vtoe_irq_init(VtoePCI *s, unsigned vectors, Error **errp)
{
    PCIDevice *dev = PCI_DEVICE(s);
    int ret;

    assert(vectors <= VTOE_MAX_VECTORS);
    for (s->vectors = 0; s->vectors < vectors; s->vectors++) {
        VtoeVector *v = &s->vector[s->vectors];

        v->s = s;
        v->virq = -1;
        ret = event_notifier_init(&v->notifier, 0);
        if (ret < 0) {
            error_setg_errno(errp, -ret, "vtoe-pci: interrupt notifier %u of "
                             "%u cannot be made", s->vectors, vectors);
            vtoe_irq_close_notifiers(s);
            return false;
        }
        vtoe_vector_by_main_loop(v);
    }
    ret = msix_init_exclusive_bar(dev, vectors, VTOE_BAR_MSIX, errp);
    if (ret < 0) {
        error_prepend(errp, "vtoe-pci: MSI-X with %u vectors: ", vectors);
        vtoe_irq_close_notifiers(s);
        return false;
    }
    while (vectors > 0) {
        msix_vector_use(dev, --vectors);
    }
    return true;
}

void vtoe_irq_cleanup(VtoePCI *s)
{
    PCIDevice *dev = PCI_DEVICE(s);
    unsigned i;

    if (s->irqfd_on) {
        s->irqfd_on = false;
        msix_unset_vector_notifiers(dev);
        for (i = 0; i < s->vectors; i++) {
            vtoe_vector_release(dev, i);
        }
    }
    if (s->vectors > 0) {
        msix_unuse_all_vectors(dev);
        msix_uninit_exclusive_bar(dev);
    }
    vtoe_irq_close_notifiers(s);
}
