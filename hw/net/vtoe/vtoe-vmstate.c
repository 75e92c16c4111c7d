/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoe-pci: migration.
 *
 * What migrates is what VtoeState holds: registers, rings, listeners.  An open
 * stream lives in two QEMUs and in host connections, and does not migrate:
 * while there is one, a blocker says how many there are.
 *
 *  - The number changes in the device thread.  The first stream makes the main
 *    loop look at once; later changes are collected for VTOE_BLOCKER_MS, so
 *    that a guest which opens thousands a second costs the main loop little.
 *  - A stream opened after a migration began cannot be blocked any more: the
 *    migration then fails when it comes to this device's state (pre_save), and
 *    the guest goes on here.
 *  - With -only-migratable a device that could block is refused at realize.
 *
 * The stream that is loaded is not trusted: counts are checked before anything
 * is allocated for them, everything else by vtoe_dev_load().
 */

#include "qemu/osdep.h"
#include "migration/blocker.h"
#include "migration/vmstate.h"
#include "hw/pci/msix.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "trace.h"
#include "vtoe-pci.h"

#define VTOE_BLOCKER_MS 20

/* --- The blocker --------------------------------------------------------- */

static void vtoe_blocker_set(VtoePCI *s, unsigned n)
{
    Error *err = NULL;

    if (n == s->blocker_streams) {
        return;
    }
    trace_vtoe_blocker(s, n);
    if (s->blocker) {
        migrate_del_blocker(&s->blocker);
    }
    s->blocker_streams = 0;
    if (n > 0) {
        error_setg(&s->blocker, "vtoe-pci %s: %u streams are open, which "
                   "cannot be migrated", qemu_get_queue(s->nic)->name, n);
        if (migrate_add_blocker(&s->blocker, &err) < 0) {
            /* One is running already: pre_save will fail it. */
            warn_report_err(err);
            return;
        }
        s->blocker_streams = n;
    }
}

/* Main loop: BH, for the first stream, and timer, for what came since. */
static void vtoe_blocker_look(void *opaque)
{
    VtoePCI *s = opaque;

    qatomic_set(&s->blocker_pending, false);
    smp_mb();       /* a change after this line makes it pending again */
    vtoe_blocker_set(s, qatomic_read(&s->open_streams));
}

void vtoe_op_streams_changed(void *opaque, unsigned n)
{
    VtoePCI *s = opaque;
    unsigned old = s->open_streams;

    if (!s->blocker_bh) {
        return;         /* before, or after, the device's life */
    }
    qatomic_set(&s->open_streams, n);
    smp_mb();       /* the number before the question whether it is seen */
    if (qatomic_xchg(&s->blocker_pending, true)) {
        return;
    }
    if (old == 0) {
        qemu_bh_schedule(s->blocker_bh);
    } else {
        timer_mod(s->blocker_timer,
                  qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + VTOE_BLOCKER_MS);
    }
}

bool vtoe_blocker_init(VtoePCI *s, Error **errp)
{
    if (s->cfg.features & VTOE_F_STREAM) {
        Error *probe = NULL;

        error_setg(&probe, "vtoe-pci: open streams cannot be migrated");
        if (migrate_add_blocker(&probe, errp) < 0) {
            error_append_hint(errp, "offload=off makes a device that always "
                              "migrates.\n");
            return false;
        }
        migrate_del_blocker(&probe);
    }
    s->blocker_bh = qemu_bh_new_guarded(vtoe_blocker_look, s,
                                        &DEVICE(s)->mem_reentrancy_guard);
    s->blocker_timer = timer_new_ms(QEMU_CLOCK_REALTIME, vtoe_blocker_look, s);
    return true;
}

void vtoe_blocker_cleanup(VtoePCI *s)
{
    if (s->blocker_bh) {
        qemu_bh_delete(s->blocker_bh);
        s->blocker_bh = NULL;
        timer_free(s->blocker_timer);
        s->blocker_timer = NULL;
    }
    if (s->blocker) {
        migrate_del_blocker(&s->blocker);
    }
    s->blocker_streams = 0;
}

/* --- The state ----------------------------------------------------------- */

static void vtoe_save_call(VtoePCI *s, void *arg)
{
    vtoe_dev_save(s->dev, &s->mig.st);
}

static void vtoe_mig_clear(VtoePCI *s)
{
    g_free(s->mig.listens);
    g_free(s->mig.recv);
    s->mig = (VtoeMigration) { };
}

static int vtoe_pre_save(void *opaque)
{
    VtoePCI *s = opaque;
    unsigned n = qatomic_read(&s->open_streams);

    if (n > 0) {
        error_report("vtoe-pci %s: %u streams were opened since the migration "
                     "began, it cannot be finished",
                     qemu_get_queue(s->nic)->name, n);
        return -EBUSY;
    }
    vtoe_mig_clear(s);
    vtoe_thread_call(s, vtoe_save_call, NULL);
    s->mig.listens = g_steal_pointer(&s->mig.st.listens);
    s->mig.nlistens = s->mig.st.nlistens;
    s->mig.recv = g_steal_pointer(&s->mig.st.recv);
    s->mig.nrecv = s->mig.st.nrecv;
    return 0;
}

static int vtoe_post_save(void *opaque)
{
    vtoe_mig_clear(opaque);
    return 0;
}

static int vtoe_pre_load(void *opaque)
{
    vtoe_mig_clear(opaque);
    return 0;
}

typedef struct VtoeLoad {
    bool ok;
    const char *err;
} VtoeLoad;

static void vtoe_load_call(VtoePCI *s, void *arg)
{
    VtoeLoad *load = arg;

    load->ok = vtoe_dev_load(s->dev, &s->mig.st, &load->err);
}

static int vtoe_post_load(void *opaque, int version_id)
{
    VtoePCI *s = opaque;
    VtoeLoad load = { };

    s->mig.st.listens = s->mig.listens;
    s->mig.st.nlistens = s->mig.nlistens;
    s->mig.st.recv = s->mig.recv;
    s->mig.st.nrecv = s->mig.nrecv;
    vtoe_thread_call(s, vtoe_load_call, &load);
    if (!load.ok) {
        error_report("vtoe-pci %s: the state to load is invalid: %s",
                     qemu_get_queue(s->nic)->name, load.err);
    }
    vtoe_mig_clear(s);
    if (!load.ok) {
        return -EINVAL;
    }
    vtoe_irq_update(s);
    vtoe_net_features_changed(s);
    return 0;
}

static bool vtoe_nqueues_valid(void *opaque, int version_id)
{
    VtoePCI *s = opaque;

    return s->mig.st.nqueues <= VTOE_STATE_MAX_PAIRS;
}

static bool vtoe_nlistens_valid(void *opaque, int version_id)
{
    VtoePCI *s = opaque;

    return s->mig.nlistens >= 0 && s->mig.nlistens <= s->cfg.max_listens;
}

static bool vtoe_nrecv_valid(void *opaque, int version_id)
{
    VtoePCI *s = opaque;

    return s->mig.nrecv >= 0 &&
           s->mig.nrecv <= (uint64_t)s->cfg.pairs * s->cfg.max_ring;
}

static const VMStateDescription vmstate_vtoe_queue = {
    .name = "vtoe-queue",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_ARRAY(size, VtoeQueueState, 3),
        VMSTATE_UINT64_ARRAY(addr, VtoeQueueState, 4),
        VMSTATE_UINT32(vector, VtoeQueueState),
        VMSTATE_UINT32(enabled, VtoeQueueState),
        VMSTATE_UINT32(send_cons, VtoeQueueState),
        VMSTATE_UINT32(recv_cons, VtoeQueueState),
        VMSTATE_UINT32(comp_prod, VtoeQueueState),
        VMSTATE_UINT32(recv_ready, VtoeQueueState),
        VMSTATE_UINT64(send_done, VtoeQueueState),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_vtoe_recv = {
    .name = "vtoe-recv",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(addr, VtoeRecvState),
        VMSTATE_UINT32(len, VtoeRecvState),
        VMSTATE_UINT32(sid, VtoeRecvState),
        VMSTATE_UINT32(id, VtoeRecvState),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_vtoe_listen = {
    .name = "vtoe-listen",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(id, VtoeListenState),
        VMSTATE_UINT32(backlog, VtoeListenState),
        VMSTATE_UINT8(family, VtoeListenState),
        VMSTATE_UINT16(lport, VtoeListenState),
        VMSTATE_UINT8_ARRAY(laddr, VtoeListenState, 16),
        VMSTATE_END_OF_LIST()
    }
};

const VMStateDescription vtoe_pci_vmstate = {
    .name = TYPE_VTOE_PCI,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = vtoe_pre_save,
    .post_save = vtoe_post_save,
    .pre_load = vtoe_pre_load,
    .post_load = vtoe_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, VtoePCI),
        VMSTATE_MSIX(parent_obj, VtoePCI),
        VMSTATE_UINT64(mig.st.drv_features, VtoePCI),
        VMSTATE_UINT32(mig.st.status, VtoePCI),
        VMSTATE_UINT32(mig.st.generation, VtoePCI),
        VMSTATE_UINT32(mig.st.queue_select, VtoePCI),
        VMSTATE_UINT32(mig.st.violation, VtoePCI),
        VMSTATE_UINT32(mig.st.rx_filter, VtoePCI),
        VMSTATE_UINT8_ARRAY(mig.st.mac, VtoePCI, 6),
        VMSTATE_UINT32(mig.st.nqueues, VtoePCI),
        VMSTATE_VALIDATE("number of queues", vtoe_nqueues_valid),
        VMSTATE_STRUCT_VARRAY_UINT32(mig.st.q, VtoePCI, mig.st.nqueues, 1,
                                     vmstate_vtoe_queue, VtoeQueueState),
        VMSTATE_INT32(mig.nlistens, VtoePCI),
        VMSTATE_VALIDATE("number of listeners", vtoe_nlistens_valid),
        VMSTATE_STRUCT_VARRAY_ALLOC(mig.listens, VtoePCI, mig.nlistens, 1,
                                    vmstate_vtoe_listen, VtoeListenState),
        VMSTATE_INT32(mig.nrecv, VtoePCI),
        VMSTATE_VALIDATE("number of receive descriptors", vtoe_nrecv_valid),
        VMSTATE_STRUCT_VARRAY_ALLOC(mig.recv, VtoePCI, mig.nrecv, 1,
                                    vmstate_vtoe_recv, VtoeRecvState),
        VMSTATE_END_OF_LIST()
    }
};
