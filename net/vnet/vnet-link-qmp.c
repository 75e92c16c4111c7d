/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links that come and go while an overlay lives: the monitor's vnet-link-add
 * and vnet-link-del.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "qemu/sockets.h"
#include "vnet-shell.h"

/* --- vnet-link-add ------------------------------------------------------- */

typedef struct VnetLinkAdd {
    const VnetLinkOptions *link;
    VnetLinkDef *def;
    int fd;                     /* -1: none, or given away */
    Error *err;
} VnetLinkAdd;

/* Before anything is made: there may be no socket to listen on for it. */
static void vnet_link_may_add(VnetNetdev *n, void *arg)
{
    VnetLinkAdd *a = arg;

    if (n->links->len >= VNET_MAX_LINKS) {
        error_setg(&a->err, "there are %d links already", VNET_MAX_LINKS);
    } else if (vnet_anylink_find(n, a->link->id)) {
        error_setg(&a->err, "there is a link \"%s\" already", a->link->id);
    }
    for (guint i = 0; i < n->links->len && !a->err; i++) {
        VnetAnyLink *k = n->links->pdata[i];

        if (!k->registrar) {
            vnet_link_check_place(a->link, k->options, NULL, &a->err);
        }
    }
}

static void vnet_link_add_in_thread(VnetNetdev *n, void *arg)
{
    VnetLinkAdd *a = arg;
    VnetAnyLink *k;

    /* Peers may have registered in the meantime. */
    vnet_link_may_add(n, a);
    if (a->err) {
        return;
    }
    vnet_loop_begin(n->ov->loop);
    k = vnet_anylink_new(n, a->link, a->def, a->fd, &a->err);
    if (k) {
        a->fd = -1;
        g_ptr_array_add(n->links, k);
        vnet_events_recount(n->events);
    }
    vnet_loop_end(n->ov->loop);
}

void qmp_vnet_link_add(const char *id, VnetLinkOptions *link, Error **errp)
{
    ERRP_GUARD();
    VnetNetdev *n = vnet_netdev_find_owner(id, errp);
    VnetLinkAdd a = { .link = link, .fd = -1 };

    if (!n) {
        return;
    }
    if (!vnet_link_id_check(link, errp) || !vnet_anylink_check(link, errp) ||
        !vnet_link_check_places(link, n, errp)) {
        return;
    }
    vnet_netdev_call(n, vnet_link_may_add, &a);
    if (!a.err) {
        a.fd = vnet_anylink_listen(link, &a.err);
    }
    if (!a.err) {
        a.def = vnet_link_options_def(link);
        vnet_netdev_call(n, vnet_link_add_in_thread, &a);
        vnet_link_def_unref(a.def);
    }
    if (a.fd >= 0) {
        socket_listen_cleanup(a.fd, NULL);
        close(a.fd);
    }
    error_propagate(errp, a.err);
}

/* --- vnet-link-del ------------------------------------------------------- */

typedef struct VnetLinkDel {
    const char *id;
    bool found;
} VnetLinkDel;

static void vnet_link_del_in_thread(VnetNetdev *n, void *arg)
{
    VnetLinkDel *d = arg;
    VnetAnyLink *k = vnet_anylink_find(n, d->id);

    d->found = k != NULL;
    if (k) {
        vnet_anylink_remove(n, k);
        /* What was put off is done now. */
        vnet_loop_begin(n->ov->loop);
        vnet_loop_end(n->ov->loop);
    }
}

void qmp_vnet_link_del(const char *id, const char *link, Error **errp)
{
    VnetNetdev *n = vnet_netdev_find_owner(id, errp);
    VnetLinkDel d = { .id = link };

    if (!n) {
        return;
    }
    vnet_netdev_call(n, vnet_link_del_in_thread, &d);
    if (!d.found) {
        error_setg(errp, "netdev %s has no link \"%s\"", id, link);
    }
}
