/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RDMA connections by librdmacm: see vnet-verbs.h for what each operation
 * means.
 *
 * The event channel is non-blocking, events are acknowledged as soon as they
 * were copied: so neither reading them nor destroying an id waits.
 */

#include "qemu/osdep.h"
#include "vnet-verbs-ib-int.h"

/*
 * Lost packets are repeated after 4.096 us * 2^17 = 0.5 s, seven times: a
 * connection is given up about when the link's heartbeat gives up its peer.
 * The CM's own choice would be four times as long.
 */
#define VNET_IB_ACK_TIMEOUT 17
#define VNET_IB_RETRIES     7
/*
 * Never needed by a peer that keeps to the protocol, see "Credits": a stream
 * whose peer does not is reset after some seconds.
 */
#define VNET_IB_RNR_RETRIES 5

static QemuMutex vnet_ib_ctx_lock;
/* With ctx_lock held: also while one is woken, so that it lives. */
static QTAILQ_HEAD(, VnetVCtx) vnet_ib_ctxs =
    QTAILQ_HEAD_INITIALIZER(vnet_ib_ctxs);

static void __attribute__((constructor)) vnet_ib_ctx_init(void)
{
    qemu_mutex_init(&vnet_ib_ctx_lock);
}

int vnet_ib_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* --- Waiting for a device --------------------------------------------- */

void vnet_ib_wake_all(void)
{
    VnetVCtx *x;

    qemu_mutex_lock(&vnet_ib_ctx_lock);
    QTAILQ_FOREACH(x, &vnet_ib_ctxs, next) {
        x->cfg.wake(x->cfg.opaque);
    }
    qemu_mutex_unlock(&vnet_ib_ctx_lock);
}

void vnet_ib_unwait(VnetVCm *cm)
{
    VnetVDev *dev = cm->waits;

    if (dev) {
        if (!cm->told) {
            QTAILQ_REMOVE(&cm->x->waiting, cm, next);
        }
        cm->told = false;
        cm->waits = NULL;
        dev->waiting--;
        vnet_ib_dev_check(dev);
    }
}

/* The cm whose device is ready, or has turned out not to be of use. */
static bool vnet_ib_device_event(VnetVCtx *x, VnetCmEvent *ev)
{
    VnetVCm *cm;

    QTAILQ_FOREACH(cm, &x->waiting, next) {
        VnetIbPd *pd = cm->waits->pd;
        VnetIbPdState state = vnet_ib_pd_state(pd, ev->text,
                                               sizeof(ev->text));

        if (state == VNET_IB_PD_FAILED) {
            ev->status = -ENOMEM;
        }
        if (state == VNET_IB_PD_FAILED || state == VNET_IB_PD_READY) {
            ev->type = VNET_CM_DEVICE_READY;
            ev->cm = cm;
            if (state == VNET_IB_PD_READY) {
                /* The device must still be there when get_device() follows. */
                QTAILQ_REMOVE(&x->waiting, cm, next);
                cm->told = true;
            } else {
                vnet_ib_unwait(cm);
            }
            return true;
        }
    }
    return false;
}

/* --- Connections ------------------------------------------------------ */

static int vnet_ib_open(VnetVCtx *x)
{
    int ret;

    if (x->channel) {
        return 0;
    }
    x->channel = rdma_create_event_channel();
    if (!x->channel) {
        return -(errno ?: ENODEV);
    }
    ret = vnet_ib_nonblock(x->channel->fd);
    if (ret < 0) {
        rdma_destroy_event_channel(x->channel);
        x->channel = NULL;
    }
    return ret;
}

static int vnet_ib_event_fd(VnetVCtx *x)
{
    return x->channel->fd;
}

void vnet_ib_set_options(VnetVCm *cm)
{
    uint8_t timeout = VNET_IB_ACK_TIMEOUT, tos = cm->x->cfg.tos;

    /* Old kernels know neither; then it is the CM's own choice. */
    rdma_set_option(cm->id, RDMA_OPTION_ID, RDMA_OPTION_ID_ACK_TIMEOUT,
                    &timeout, sizeof(timeout));
    if (cm->x->cfg.tos >= 0) {
        rdma_set_option(cm->id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos,
                        sizeof(tos));
    }
}

static VnetVCm *vnet_ib_cm_wrap(VnetVCtx *x, struct rdma_cm_id *id)
{
    VnetVCm *cm = g_new0(VnetVCm, 1);

    cm->x = x;
    cm->id = id;
    id->context = cm;
    vnet_ib_set_options(cm);
    return cm;
}

static int vnet_ib_cm_new(VnetVCtx *x, VnetVCm **cm)
{
    struct rdma_cm_id *id;
    int ret = vnet_ib_ret(rdma_create_id(x->channel, &id, NULL, RDMA_PS_TCP));

    if (ret == 0) {
        *cm = vnet_ib_cm_wrap(x, id);
    }
    return ret;
}

static void vnet_ib_cm_free(VnetVCm *cm)
{
    vnet_ib_unwait(cm);
    /* Waits for events that were not acknowledged, and there are none. */
    rdma_destroy_id(cm->id);
    g_free(cm);
}

static int vnet_ib_listen(VnetVCm *cm, const struct sockaddr *sa, int backlog)
{
    int ret = vnet_ib_ret(rdma_bind_addr(cm->id, (struct sockaddr *)sa));

    return ret < 0 ? ret : vnet_ib_ret(rdma_listen(cm->id, backlog));
}

static int vnet_ib_resolve_addr(VnetVCm *cm, const struct sockaddr *sa,
                                int timeout_ms)
{
    memcpy(&cm->dst, sa, sa->sa_family == AF_INET6 ?
           sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    cm->timeout_ms = timeout_ms;
    return vnet_ib_ret(rdma_resolve_addr(cm->id, NULL,
                                         (struct sockaddr *)sa, timeout_ms));
}

static int vnet_ib_resolve_route(VnetVCm *cm, int timeout_ms)
{
    return vnet_ib_ret(rdma_resolve_route(cm->id, timeout_ms));
}

static struct rdma_conn_param vnet_ib_param(const void *data, uint8_t len)
{
    return (struct rdma_conn_param) {
        .private_data = data,
        .private_data_len = len,
        .flow_control = 1,
        .retry_count = VNET_IB_RETRIES,
        .rnr_retry_count = VNET_IB_RNR_RETRIES,
    };
}

static int vnet_ib_connect(VnetVCm *cm, const void *data, uint8_t len)
{
    struct rdma_conn_param param = vnet_ib_param(data, len);

    return vnet_ib_ret(rdma_connect(cm->id, &param));
}

static int vnet_ib_accept(VnetVCm *cm)
{
    struct rdma_conn_param param = vnet_ib_param(NULL, 0);

    return vnet_ib_ret(rdma_accept(cm->id, &param));
}

static int vnet_ib_reject(VnetVCm *cm, const void *data, uint8_t len)
{
    return vnet_ib_ret(rdma_reject(cm->id, data, len));
}

static int vnet_ib_established(VnetVCm *cm)
{
    return vnet_ib_ret(rdma_notify(cm->id, IBV_EVENT_COMM_EST));
}

static int vnet_ib_disconnect(VnetVCm *cm)
{
    return vnet_ib_ret(rdma_disconnect(cm->id));
}

static void vnet_ib_copy_addr(struct sockaddr_storage *to,
                              const struct sockaddr *from)
{
    if (to) {
        memset(to, 0, sizeof(*to));
        memcpy(to, from, from->sa_family == AF_INET6 ?
               sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    }
}

static bool vnet_ib_addresses(VnetVCm *cm, struct sockaddr_storage *local,
                              struct sockaddr_storage *peer)
{
    vnet_ib_copy_addr(local, rdma_get_local_addr(cm->id));
    vnet_ib_copy_addr(peer, rdma_get_peer_addr(cm->id));
    return true;
}

/* --- Events ----------------------------------------------------------- */

#define SAME(name) QEMU_BUILD_BUG_ON((int)VNET_CM_##name != \
                                     (int)RDMA_CM_EVENT_##name)
SAME(ADDR_RESOLVED);
SAME(ADDR_ERROR);
SAME(ROUTE_RESOLVED);
SAME(ROUTE_ERROR);
SAME(CONNECT_REQUEST);
SAME(CONNECT_RESPONSE);
SAME(CONNECT_ERROR);
SAME(UNREACHABLE);
SAME(REJECTED);
SAME(ESTABLISHED);
SAME(DISCONNECTED);
SAME(DEVICE_REMOVAL);
SAME(MULTICAST_JOIN);
SAME(MULTICAST_ERROR);
SAME(ADDR_CHANGE);
SAME(TIMEWAIT_EXIT);
#undef SAME

static void vnet_ib_copy_private(VnetCmEvent *ev,
                                 const struct rdma_cm_event *e)
{
    uint8_t len = MIN(e->param.conn.private_data_len,
                      sizeof(ev->private_data));

    if (e->param.conn.private_data && len) {
        memcpy(ev->private_data, e->param.conn.private_data, len);
        ev->private_len = len;
    }
}

static int vnet_ib_next_event(VnetVCtx *x, VnetCmEvent *ev)
{
    struct rdma_cm_event *e;
    int ret;

again:
    *ev = (VnetCmEvent) { 0 };
    if (vnet_ib_device_event(x, ev)) {
        return 0;
    }
    if (!x->channel) {
        return -EAGAIN;
    }
    ret = vnet_ib_ret(rdma_get_cm_event(x->channel, &e));
    if (ret < 0) {
        return ret;
    }
    ev->type = (VnetCmEventType)e->event;
    ev->status = e->status;
    if (e->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
        ev->listener = e->listen_id->context;
        ev->cm = vnet_ib_cm_wrap(x, e->id);
        vnet_ib_copy_private(ev, e);
    } else {
        ev->cm = e->id->context;
        if (e->event == RDMA_CM_EVENT_REJECTED) {
            vnet_ib_copy_private(ev, e);
        } else if (e->event == RDMA_CM_EVENT_DEVICE_REMOVAL) {
            vnet_ib_pd_removed(e->id->verbs);
        }
    }
    rdma_ack_cm_event(e);
    if (ev->type > VNET_CM_TIMEWAIT_EXIT) {
        goto again;             /* of a newer library */
    }
    if (ev->type == VNET_CM_ADDR_RESOLVED) {
        g_autofree char *why = NULL;

        ret = vnet_ib_choose_source(ev->cm, &why);
        if (ret > 0) {
            goto again;
        }
        if (ret < 0) {
            ev->type = VNET_CM_ADDR_ERROR;
            ev->status = ret;
            g_strlcpy(ev->text, why, sizeof(ev->text));
        }
    }
    return 0;
}

/* --- Contexts --------------------------------------------------------- */

VnetVCtx *vnet_ib_ctx_new(const VnetIbConfig *cfg)
{
    VnetVCtx *x = g_new0(VnetVCtx, 1);

    x->cfg = *cfg;
    QTAILQ_INIT(&x->devs);
    QTAILQ_INIT(&x->waiting);
    qemu_mutex_lock(&vnet_ib_ctx_lock);
    QTAILQ_INSERT_TAIL(&vnet_ib_ctxs, x, next);
    qemu_mutex_unlock(&vnet_ib_ctx_lock);
    return x;
}

void vnet_ib_ctx_free(VnetVCtx *x)
{
    VnetVDev *dev, *next;

    qemu_mutex_lock(&vnet_ib_ctx_lock);
    QTAILQ_REMOVE(&vnet_ib_ctxs, x, next);
    qemu_mutex_unlock(&vnet_ib_ctx_lock);
    QTAILQ_FOREACH_SAFE(dev, &x->devs, next, next) {
        vnet_ib_dev_check(dev);
    }
    assert(QTAILQ_EMPTY(&x->devs));
    if (x->channel) {
        rdma_destroy_event_channel(x->channel);
    }
    g_free(x);
}

static const VnetVerbs vnet_ib_verbs = {
    .open = vnet_ib_open,
    .event_fd = vnet_ib_event_fd,
    .next_event = vnet_ib_next_event,
    .cm_new = vnet_ib_cm_new,
    .cm_free = vnet_ib_cm_free,
    .listen = vnet_ib_listen,
    .resolve_addr = vnet_ib_resolve_addr,
    .resolve_route = vnet_ib_resolve_route,
    .connect = vnet_ib_connect,
    .accept = vnet_ib_accept,
    .reject = vnet_ib_reject,
    .established = vnet_ib_established,
    .disconnect = vnet_ib_disconnect,
    .addresses = vnet_ib_addresses,
    .get_device = vnet_ib_get_device,
    .put_device = vnet_ib_put_device,
    .limits = vnet_ib_limits,
    .completion_fd = vnet_ib_completion_fd,
    .ack_events = vnet_ib_ack_events,
    .req_notify = vnet_ib_req_notify,
    .completed = vnet_ib_completed,
    .poll_cq = vnet_ib_poll_cq,
    .async_fd = vnet_ib_async_fd,
    .next_async = vnet_ib_next_async,
    .reg_mem = vnet_ib_reg_mem,
    .unreg_mem = vnet_ib_unreg_mem,
    .lkey = vnet_ib_lkey,
    .create_qp = vnet_ib_create_qp,
    .stop_qp = vnet_ib_stop_qp,
    .destroy_qp = vnet_ib_destroy_qp,
    .post_send = vnet_ib_post_send,
    .post_recv = vnet_ib_post_recv,
};

const VnetVerbs *vnet_verbs_ib(void)
{
    return &vnet_ib_verbs;
}
