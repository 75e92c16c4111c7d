/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What adapters say by themselves (ibv_get_async_event): see vnet-verbs.h.
 *
 * librdmacm opens a device once for the process, so that all links on it, of
 * whichever thread, share one descriptor, which is made non-blocking.  Each
 * VnetVDev watches a copy of it.  Whoever is woken takes all that is there, and
 * leaves it with the VnetVDev that it is about; each of the others is woken by
 * the same event and finds it there.
 *
 * An event is acknowledged before the lock is given back: destroying a queue
 * waits for that, and for nothing else.
 *
 * Events of queues that nobody here knows (migration over RDMA, a queue that is
 * being destroyed) are acknowledged and forgotten.
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/lockable.h"
#include "vnet-verbs-ib-int.h"

static QemuMutex vnet_ib_async_lock;
/* Under the lock. */
static QTAILQ_HEAD(, VnetVDev) vnet_ib_async_devs =
    QTAILQ_HEAD_INITIALIZER(vnet_ib_async_devs);
static GHashTable *vnet_ib_async_qps;   /* ibv_qp -> VnetVQp */
static GHashTable *vnet_ib_async_cqs;   /* ibv_cq -> VnetVDev */

static void __attribute__((constructor)) vnet_ib_async_init(void)
{
    qemu_mutex_init(&vnet_ib_async_lock);
    vnet_ib_async_qps = g_hash_table_new(NULL, NULL);
    vnet_ib_async_cqs = g_hash_table_new(NULL, NULL);
}

/* --- Who is told ------------------------------------------------------ */

int vnet_ib_async_start(VnetVDev *dev)
{
    int fd = fcntl(dev->pd->verbs->async_fd, F_DUPFD_CLOEXEC, 0);
    int ret;

    if (fd < 0) {
        return -errno;
    }
    ret = vnet_ib_nonblock(fd);
    if (ret < 0) {
        close(fd);
        return ret;
    }
    dev->async_fd = fd;
    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    QTAILQ_INSERT_TAIL(&vnet_ib_async_devs, dev, async_next);
    return 0;
}

void vnet_ib_async_stop(VnetVDev *dev)
{
    if (dev->async_fd < 0) {
        return;
    }
    close(dev->async_fd);
    dev->async_fd = -1;
    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    QTAILQ_REMOVE(&vnet_ib_async_devs, dev, async_next);
}

void vnet_ib_async_add_qp(VnetVQp *qp)
{
    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    g_hash_table_insert(vnet_ib_async_qps, qp->qp, qp);
}

void vnet_ib_async_del_qp(VnetVQp *qp)
{
    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    g_hash_table_remove(vnet_ib_async_qps, qp->qp);
    if (qp->said) {
        QTAILQ_REMOVE(&qp->dev->said, qp, said_next);
    }
}

void vnet_ib_async_add_cq(VnetVDev *dev, struct ibv_cq *cq)
{
    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    g_hash_table_insert(vnet_ib_async_cqs, cq, dev);
}

void vnet_ib_async_del_cq(struct ibv_cq *cq)
{
    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    g_hash_table_remove(vnet_ib_async_cqs, cq);
}

/* --- What is said ----------------------------------------------------- */

static VnetAsyncType vnet_ib_async_type(enum ibv_event_type type)
{
    switch (type) {
    case IBV_EVENT_QP_FATAL:
        return VNET_ASYNC_QP_FATAL;
    case IBV_EVENT_QP_REQ_ERR:
        return VNET_ASYNC_QP_REQ_ERR;
    case IBV_EVENT_QP_ACCESS_ERR:
        return VNET_ASYNC_QP_ACCESS_ERR;
    case IBV_EVENT_COMM_EST:
        return VNET_ASYNC_COMM_EST;
    case IBV_EVENT_CQ_ERR:
        return VNET_ASYNC_CQ_ERR;
    case IBV_EVENT_DEVICE_FATAL:
        return VNET_ASYNC_DEVICE_FATAL;
    case IBV_EVENT_PORT_ERR:
        return VNET_ASYNC_PORT_ERR;
    case IBV_EVENT_PORT_ACTIVE:
        return VNET_ASYNC_PORT_ACTIVE;
    default:
        return VNET_ASYNC_OTHER;
    }
}

/* A QP may say several things, and the same again, before it is listened to. */
static void vnet_ib_async_of_qp(const struct ibv_async_event *e)
{
    VnetVQp *qp = g_hash_table_lookup(vnet_ib_async_qps, e->element.qp);

    if (qp) {
        if (!qp->said) {
            QTAILQ_INSERT_TAIL(&qp->dev->said, qp, said_next);
        }
        qp->said |= 1u << vnet_ib_async_type(e->event_type);
    }
}

static void vnet_ib_async_of_device(struct ibv_context *verbs,
                                    VnetAsyncType type)
{
    VnetVDev *dev;

    QTAILQ_FOREACH(dev, &vnet_ib_async_devs, async_next) {
        if (dev->pd->verbs == verbs) {
            dev->nsaid[type]++;
        }
    }
}

static void vnet_ib_async_keep(struct ibv_context *verbs,
                               const struct ibv_async_event *e)
{
    VnetVDev *dev;

    switch (e->event_type) {
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
        vnet_ib_async_of_qp(e);
        break;
    case IBV_EVENT_CQ_ERR:
        dev = g_hash_table_lookup(vnet_ib_async_cqs, e->element.cq);
        if (dev) {
            dev->nsaid[VNET_ASYNC_CQ_ERR]++;
        }
        break;
    default:
        vnet_ib_async_of_device(verbs, vnet_ib_async_type(e->event_type));
        break;
    }
}

int vnet_ib_async_fd(VnetVDev *dev)
{
    return dev->async_fd;
}

int vnet_ib_next_async(VnetVDev *dev, VnetAsyncEvent *ev)
{
    struct ibv_context *verbs = dev->pd->verbs;
    struct ibv_async_event e;
    VnetVQp *qp;
    int i;

    QEMU_LOCK_GUARD(&vnet_ib_async_lock);
    while (ibv_get_async_event(verbs, &e) == 0) {
        vnet_ib_async_keep(verbs, &e);
        ibv_ack_async_event(&e);
    }
    qp = QTAILQ_FIRST(&dev->said);
    if (qp) {
        ev->type = ctz32(qp->said);
        ev->cm = qp->cm;
        qp->said &= qp->said - 1;
        if (!qp->said) {
            QTAILQ_REMOVE(&dev->said, qp, said_next);
        }
        return 0;
    }
    for (i = 0; i < VNET_ASYNC_TYPES; i++) {
        if (dev->nsaid[i]) {
            dev->nsaid[i]--;
            *ev = (VnetAsyncEvent) { .type = i };
            return 0;
        }
    }
    return -EAGAIN;
}
