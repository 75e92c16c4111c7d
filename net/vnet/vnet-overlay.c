/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VNET thread with its core, shared by netdevs.
 *
 * Theory of operation
 *
 * A netdev either owns its overlay, and may have links, or has joined that of
 * another (overlay=ID), with a network id that no other netdev of it has.  All
 * use one thread and one core; what each has there is a network: vnet-net.h.
 *
 * They go in any order.  The overlay is counted, and ends with the last.  When the
 * owner goes, its links go: those that have joined keep their ports, on a switch
 * that leads nowhere, so their NICs lose the carrier and their streams are reset.
 * They cannot be told so by QEMU, which knows of no relation among netdevs, nor can
 * netdev_del be refused from here.  A new netdev of the owner's id is a new
 * overlay, which they are no part of.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "trace.h"
#include "vnet-shell.h"

/* --- Calls into the VNET thread --------------------------------------- */

typedef struct VnetNetdevCall {
    VnetNetdev *n;
    void (*fn)(VnetNetdev *n, void *arg);
    void *arg;
} VnetNetdevCall;

static void vnet_netdev_call_bh(void *opaque)
{
    VnetNetdevCall *call = opaque;
    VnetNetdev *n = call->n;

    call->fn(n, call->arg);
    qemu_sem_post(&n->ov->call_done);
}

/*
 * Waits without running the main loop: a monitor command must not run the
 * handlers of others underneath.  The BH is of no device and has no guard.
 *
 * Not with a QemuEvent: its set() may wake whoever waits for the next one, and
 * its wait() does not look again why it was woken.
 */
void vnet_netdev_call(VnetNetdev *n, void (*fn)(VnetNetdev *n, void *arg),
                      void *arg)
{
    VnetNetdevCall call = { .n = n, .fn = fn, .arg = arg };

    assert(bql_locked());
    if (n->ov->ctx == qemu_get_aio_context()) {
        fn(n, arg);
        return;
    }
    aio_bh_schedule_oneshot(n->ov->ctx, vnet_netdev_call_bh, &call);
    qemu_sem_wait(&n->ov->call_done);
}

/* --- Life ------------------------------------------------------------- */

static void vnet_overlay_free(VnetOverlay *ov)
{
    assert(!ov->loop);
    if (ov->own_thread) {
        iothread_destroy(ov->iothread);
    } else {
        object_unref(OBJECT(ov->iothread));
    }
    qemu_sem_destroy(&ov->call_done);
    g_free(ov->id);
    g_free(ov);
}

bool vnet_overlay_new(VnetNetdev *n, IOThread *iothread, uint32_t poll_max_ns,
                      Error **errp)
{
    static unsigned serial;
    VnetOverlay *ov;
    bool own_thread = !iothread;

    if (iothread) {
        object_ref(OBJECT(iothread));
    } else {
        /*
         * Not named after the netdev: after netdev_del its name is free
         * before the thread is.
         */
        g_autofree char *id = g_strdup_printf("vnet-%u", serial++);

        iothread = iothread_create(id, errp);
        if (!iothread) {
            return false;
        }
    }
    ov = g_new0(VnetOverlay, 1);
    ov->refs = 1;
    ov->owner = n;
    ov->id = g_strdup(n->nc.name);
    ov->iothread = iothread;
    ov->own_thread = own_thread;
    ov->ctx = iothread_get_aio_context(iothread);
    qemu_sem_init(&ov->call_done, 0);
    if (own_thread) {
        ERRP_GUARD();

        aio_context_set_poll_params(ov->ctx, poll_max_ns, 0, 0, errp);
        if (*errp) {
            vnet_overlay_free(ov);
            return false;
        }
    }
#ifdef CONFIG_FUZZ
    /*
     * QEMU's generic fuzzer makes up guest memory when a device reads it, and
     * is of the main loop, without locks.  So is the overlay, then.
     */
    ov->ctx = qemu_get_aio_context();
#endif
    n->ov = ov;
    return true;
}

void vnet_overlay_join(VnetNetdev *n, VnetNetdev *owner)
{
    n->ov = owner->ov;
    n->ov->refs++;
}

static void vnet_overlay_end_in_thread(VnetNetdev *n, void *arg)
{
    g_clear_pointer(&n->ov->loop, vnet_loop_free);
}

void vnet_overlay_leave(VnetNetdev *n)
{
    VnetOverlay *ov = n->ov;

    if (ov->owner == n) {
        ov->owner = NULL;
    }
    if (--ov->refs == 0) {
        vnet_netdev_call(n, vnet_overlay_end_in_thread, NULL);
        n->ov = NULL;
        vnet_overlay_free(ov);
    }
    n->ov = NULL;
}

/* --- Who may join ----------------------------------------------------- */

/* An option that is not one of a netdev that joins another; or NULL. */
static const char *vnet_overlay_option(const NetdevVnetOptions *o)
{
    return o->has_links ? "links" :
           o->links_file ? "links-file" :
           o->name ? "name" :
           o->iothread ? "iothread" :
           o->has_poll_max_ns ? "poll-max-ns" :
           o->has_heartbeat_ms ? "heartbeat-ms" :
           o->has_resume_ms ? "resume-ms" :
           o->has_max_streams ? "max-streams" :
           o->has_max_macs ? "max-macs" :
           o->has_mac_age ? "mac-age" : NULL;
}

bool vnet_overlay_may_join(const NetdevVnetOptions *o, VnetNetdev **owner,
                           Error **errp)
{
    const char *option = vnet_overlay_option(o);
    uint32_t vni = o->has_vni ? o->vni : 0;
    VnetNetdev *n = NULL;

    if (option) {
        error_setg(errp, "%s is for the netdev that has the links: give it to "
                   "%s, not with overlay=%s", option, o->overlay, o->overlay);
        return false;
    }
    *owner = vnet_netdev_find(o->overlay, errp);
    if (!*owner) {
        return false;
    }
    if ((*owner)->ov->owner != *owner) {
        error_setg(errp, "netdev %s has joined the overlay of %s itself, which "
                   "is the one to join", o->overlay, (*owner)->ov->id);
        return false;
    }
    while ((n = vnet_netdev_next(n))) {
        if (n->ov == (*owner)->ov && n->vni == vni) {
            error_setg(errp, "vni %u is that of netdev %s in this overlay "
                       "already", vni, n->nc.name);
            return false;
        }
    }
    if ((*owner)->ov->refs >= VNET_NETS_MAX) {
        error_setg(errp, "the overlay of netdev %s has %d network ids already",
                   o->overlay, VNET_NETS_MAX);
        return false;
    }
    return true;
}
