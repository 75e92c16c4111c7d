/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gid-index: which GID of a device's port is the source of a connection.
 *
 * librdmacm takes addresses, not GIDs.  So the connection manager first finds
 * the port that leads to the peer; if the GID that it takes there is not the
 * wanted one, it is asked again with the wanted one's IP address as source.
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include "qemu/cutils.h"
#include "vnet-verbs-ib-int.h"

/* A GID that holds an IPv4 address begins so. */
static const uint8_t vnet_ib_mapped[12] = { [10] = 0xff, [11] = 0xff };

static bool vnet_ib_gid_is_none(const union ibv_gid *gid)
{
    return buffer_is_zero(gid, sizeof(*gid));
}

/* Its address, without a port. */
static struct sockaddr_storage vnet_ib_gid_addr(const union ibv_gid *gid)
{
    struct sockaddr_storage ss = { 0 };

    if (!memcmp(gid->raw, vnet_ib_mapped, sizeof(vnet_ib_mapped))) {
        struct sockaddr_in *in = (struct sockaddr_in *)&ss;

        in->sin_family = AF_INET;
        memcpy(&in->sin_addr, gid->raw + 12, 4);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

        in6->sin6_family = AF_INET6;
        memcpy(&in6->sin6_addr, gid->raw, 16);
    }
    return ss;
}

static char *vnet_ib_gid_text(const union ibv_gid *gid)
{
    char text[INET6_ADDRSTRLEN];

    inet_ntop(AF_INET6, gid->raw, text, sizeof(text));
    return g_strdup(text);
}

/* All GIDs of the device, the number in *n.  NULL: they cannot be read. */
static struct ibv_gid_entry *vnet_ib_gid_table(struct rdma_cm_id *id,
                                               size_t *n)
{
    g_autofree struct ibv_gid_entry *table = NULL;
    struct ibv_device_attr dev;
    struct ibv_port_attr port;
    size_t most;
    ssize_t ret;

    if (ibv_query_device(id->verbs, &dev) ||
        ibv_query_port(id->verbs, id->port_num, &port)) {
        return NULL;
    }
    most = (size_t)MAX(dev.phys_port_cnt, 1) * MAX(port.gid_tbl_len, 1);
    table = g_new0(struct ibv_gid_entry, most);
    ret = ibv_query_gid_table(id->verbs, table, most, 0);
    if (ret < 0) {
        return NULL;
    }
    *n = ret;
    return g_steal_pointer(&table);
}

/* The indexes that hold a GID of the port, as "0 to 2, 5". */
static char *vnet_ib_gids_used(struct rdma_cm_id *id)
{
    g_autofree struct ibv_gid_entry *table = NULL;
    g_autoptr(GString) list = g_string_new(NULL);
    size_t n = 0, i, run = 0;

    table = vnet_ib_gid_table(id, &n);
    for (i = 0; i < n; i += run) {
        uint32_t first = table[i].gid_index;

        run = 1;
        if (table[i].port_num != id->port_num) {
            continue;
        }
        while (i + run < n && table[i + run].port_num == id->port_num &&
               table[i + run].gid_index == first + run) {
            run++;
        }
        g_string_append_printf(list, "%s%u", list->len ? ", " : "", first);
        if (run > 1) {
            g_string_append_printf(list, " to %zu", first + run - 1);
        }
    }
    return g_strdup(list->len ? list->str : "none");
}

/* The wanted GID.  False: *why. */
static bool vnet_ib_gid_wanted(VnetVCm *cm, union ibv_gid *gid, char **why)
{
    struct rdma_cm_id *id = cm->id;
    g_autofree char *used = NULL;

    if (ibv_query_gid(id->verbs, id->port_num, cm->x->cfg.gid_index,
                      gid) == 0 && !vnet_ib_gid_is_none(gid)) {
        return true;
    }
    used = vnet_ib_gids_used(id);
    *why = g_strdup_printf("gid-index=%d: port %d of RDMA device %s has no "
                           "such GID: it has %s", cm->x->cfg.gid_index,
                           id->port_num,
                           ibv_get_device_name(id->verbs->device), used);
    return false;
}

/* Begins anew with this source, which stays the cm's.  0 or -errno. */
static int vnet_ib_resolve_from(VnetVCm *cm, struct sockaddr_storage *src)
{
    struct rdma_cm_id *old = cm->id, *new;
    int ret = vnet_ib_ret(rdma_create_id(cm->x->channel, &new, cm,
                                         RDMA_PS_TCP));

    if (ret < 0) {
        return ret;
    }
    cm->id = new;
    cm->source_chosen = true;
    rdma_destroy_id(old);
    vnet_ib_set_options(cm);
    return vnet_ib_ret(rdma_resolve_addr(new, (struct sockaddr *)src,
                                         (struct sockaddr *)&cm->dst,
                                         cm->timeout_ms));
}

int vnet_ib_choose_source(VnetVCm *cm, char **why)
{
    int index = cm->x->cfg.gid_index, ret;
    struct sockaddr_storage src;
    g_autofree char *text = NULL;
    union ibv_gid gid;

    if (index < 0) {
        return 0;
    }
    if (!vnet_ib_gid_wanted(cm, &gid, why)) {
        return -EADDRNOTAVAIL;
    }
    if (!memcmp(&gid, &cm->id->route.addr.addr.ibaddr.sgid, sizeof(gid))) {
        return 0;
    }
    text = vnet_ib_gid_text(&gid);
    src = vnet_ib_gid_addr(&gid);
    if (src.ss_family != cm->dst.ss_family) {
        *why = g_strdup_printf("gid-index=%d is %s, which is not IPv%d as the "
                               "peer's address is", index, text,
                               cm->dst.ss_family == AF_INET6 ? 6 : 4);
        return -EAFNOSUPPORT;
    }
    if (cm->source_chosen) {
        *why = g_strdup_printf("gid-index=%d is %s, from where no way leads to "
                               "the peer", index, text);
        return -EADDRNOTAVAIL;
    }
    ret = vnet_ib_resolve_from(cm, &src);
    if (ret < 0) {
        *why = g_strdup_printf("gid-index=%d is %s, which cannot be the "
                               "source: %s", index, text, strerror(-ret));
        return ret;
    }
    return 1;
}
