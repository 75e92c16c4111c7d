/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RDMA devices of a link: completion queues and queue pairs.
 *
 * All queues of a device share a completion channel.  They are made one after
 * the other as queue pairs need them, and each queue pair claims a completion
 * for every work request that it can have: so none can overflow, however many
 * streams there are.
 */

#include "qemu/osdep.h"
#include "vnet-verbs-ib-int.h"

/* Completions that one queue holds, if the device can. */
#define VNET_IB_CQE         8192

struct VnetIbCq {
    struct ibv_cq *cq;
    uint32_t room;              /* completions that no QP has claimed */
    uint32_t freed;             /* by QPs that are gone; theirs may be there */
    QTAILQ_ENTRY(VnetIbCq) next;
};

/* --- Devices ---------------------------------------------------------- */

static void vnet_ib_dev_free(VnetVDev *dev)
{
    VnetIbCq *cq;

    while ((cq = QTAILQ_FIRST(&dev->cqs))) {
        QTAILQ_REMOVE(&dev->cqs, cq, next);
        vnet_ib_async_del_cq(cq->cq);
        ibv_destroy_cq(cq->cq);
        g_free(cq);
    }
    vnet_ib_async_stop(dev);
    if (dev->channel) {
        ibv_destroy_comp_channel(dev->channel);
    }
    QTAILQ_REMOVE(&dev->x->devs, dev, next);
    vnet_ib_pd_put(dev->pd);
    g_free(dev);
}

void vnet_ib_dev_check(VnetVDev *dev)
{
    if (!dev->refs && !dev->waiting) {
        vnet_ib_dev_free(dev);
    }
}

void vnet_ib_put_device(VnetVDev *dev)
{
    dev->refs--;
    vnet_ib_dev_check(dev);
}

static int vnet_ib_dev_start(VnetVDev *dev)
{
    struct ibv_device_attr attr;
    int ret = vnet_ib_ret(ibv_query_device(dev->pd->verbs, &attr));

    if (ret < 0) {
        return ret;
    }
    dev->limits = (VnetVLimits) {
        .max_qp = MAX(attr.max_qp, 0),
        .max_wr = MAX(attr.max_qp_wr, 0),
        .max_sge = MAX(attr.max_sge, 1),
    };
    dev->max_cqe = MIN(MAX(attr.max_cqe, 1), VNET_IB_CQE);
    dev->channel = ibv_create_comp_channel(dev->pd->verbs);
    if (!dev->channel) {
        return -errno;
    }
    ret = vnet_ib_nonblock(dev->channel->fd);
    if (ret == 0) {
        ret = vnet_ib_async_start(dev);
    }
    if (ret < 0) {
        ibv_destroy_comp_channel(dev->channel);
        dev->channel = NULL;
    }
    return ret;
}

static int vnet_ib_dev_of(VnetVCm *cm, VnetVDev **out)
{
    VnetVCtx *x = cm->x;
    VnetVDev *dev;
    VnetIbPd *pd;

    QTAILQ_FOREACH(dev, &x->devs, next) {
        if (dev->pd->verbs == cm->id->verbs) {
            *out = dev;
            return 0;
        }
    }
    pd = vnet_ib_pd_get(x, cm->id);
    if (!pd) {
        return -errno;
    }
    dev = g_new0(VnetVDev, 1);
    dev->x = x;
    dev->pd = pd;
    dev->async_fd = -1;
    QTAILQ_INIT(&dev->cqs);
    QTAILQ_INIT(&dev->said);
    QTAILQ_INSERT_TAIL(&x->devs, dev, next);
    *out = dev;
    return 0;
}

int vnet_ib_get_device(VnetVCm *cm, VnetVDev **out)
{
    VnetVDev *dev;
    char why[1];
    int ret;

    if (!cm->id->verbs) {
        return -ENODEV;
    }
    ret = vnet_ib_dev_of(cm, &dev);
    if (ret < 0) {
        return ret;
    }
    dev->refs++;
    vnet_ib_unwait(cm);         /* it was told that this is there */
    dev->refs--;
    if (vnet_ib_pd_state(dev->pd, why, sizeof(why)) != VNET_IB_PD_READY) {
        dev->waiting++;
        cm->waits = dev;
        QTAILQ_INSERT_TAIL(&cm->x->waiting, cm, next);
        vnet_ib_pd_want(dev->pd);
        return -EINPROGRESS;
    }
    if (!dev->channel) {
        ret = vnet_ib_dev_start(dev);
        if (ret < 0) {
            vnet_ib_dev_check(dev);
            return ret;
        }
    }
    dev->refs++;
    *out = dev;
    return 0;
}

const VnetVLimits *vnet_ib_limits(VnetVDev *dev)
{
    return &dev->limits;
}

int vnet_ib_completion_fd(VnetVDev *dev)
{
    return dev->channel->fd;
}

void vnet_ib_ack_events(VnetVDev *dev)
{
    struct ibv_cq *cq;
    void *context;

    while (ibv_get_cq_event(dev->channel, &cq, &context) == 0) {
        ibv_ack_cq_events(cq, 1);
    }
}

int vnet_ib_req_notify(VnetVDev *dev)
{
    VnetIbCq *cq;

    QTAILQ_FOREACH(cq, &dev->cqs, next) {
        int ret = vnet_ib_ret(ibv_req_notify_cq(cq->cq, 0));

        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

static VnetWcStatus vnet_ib_status(enum ibv_wc_status status)
{
    switch (status) {
    case IBV_WC_SUCCESS:
        return VNET_WC_SUCCESS;
    case IBV_WC_LOC_LEN_ERR:
        return VNET_WC_LOC_LEN_ERR;
    case IBV_WC_LOC_QP_OP_ERR:
        return VNET_WC_LOC_QP_OP_ERR;
    case IBV_WC_LOC_PROT_ERR:
        return VNET_WC_LOC_PROT_ERR;
    case IBV_WC_WR_FLUSH_ERR:
        return VNET_WC_WR_FLUSH_ERR;
    case IBV_WC_BAD_RESP_ERR:
        return VNET_WC_BAD_RESP_ERR;
    case IBV_WC_LOC_ACCESS_ERR:
        return VNET_WC_LOC_ACCESS_ERR;
    case IBV_WC_REM_INV_REQ_ERR:
        return VNET_WC_REM_INV_REQ_ERR;
    case IBV_WC_REM_ACCESS_ERR:
        return VNET_WC_REM_ACCESS_ERR;
    case IBV_WC_REM_OP_ERR:
        return VNET_WC_REM_OP_ERR;
    case IBV_WC_RETRY_EXC_ERR:
        return VNET_WC_RETRY_EXC_ERR;
    case IBV_WC_RNR_RETRY_EXC_ERR:
        return VNET_WC_RNR_RETRY_EXC_ERR;
    case IBV_WC_REM_ABORT_ERR:
        return VNET_WC_REM_ABORT_ERR;
    case IBV_WC_FATAL_ERR:
        return VNET_WC_FATAL_ERR;
    case IBV_WC_RESP_TIMEOUT_ERR:
        return VNET_WC_RESP_TIMEOUT_ERR;
    default:
        return VNET_WC_GENERAL_ERR;
    }
}

/* From the device's queues. */
static int vnet_ib_take_wc(VnetVDev *dev, VnetWc *out, int n)
{
    struct ibv_wc *wc = dev->wc;
    VnetIbCq *cq;
    int got = 0;

    n = MIN(n, ARRAY_SIZE(dev->wc));
    QTAILQ_FOREACH(cq, &dev->cqs, next) {
        int i, ret;

        if (got == n) {
            break;
        }
        ret = ibv_poll_cq(cq->cq, n - got, wc);
        if (ret < 0) {
            return got ?: -EIO;
        }
        if (ret < n - got) {
            /* It is empty: what QPs that are gone left behind is, too. */
            cq->room += cq->freed;
            cq->freed = 0;
        }
        for (i = 0; i < ret; i++) {
            out[got++] = (VnetWc) {
                .wr_id = wc[i].wr_id,
                .status = vnet_ib_status(wc[i].status),
                .len = wc[i].byte_len,
            };
        }
    }
    cq = QTAILQ_FIRST(&dev->cqs);
    if (cq && got == n && QTAILQ_NEXT(cq, next)) {
        /* Another one is the first next time. */
        QTAILQ_REMOVE(&dev->cqs, cq, next);
        QTAILQ_INSERT_TAIL(&dev->cqs, cq, next);
    }
    return got;
}

/* Verbs have no way to look at a completion without taking it. */
bool vnet_ib_completed(VnetVDev *dev)
{
    if (!dev->nseen) {
        dev->nseen = vnet_ib_take_wc(dev, dev->seen, ARRAY_SIZE(dev->seen));
    }
    return dev->nseen;
}

int vnet_ib_poll_cq(VnetVDev *dev, VnetWc *out, int n)
{
    int seen = MIN(dev->nseen, n), ret;

    if (seen < 0) {
        dev->nseen = 0;
        return seen;
    }
    memcpy(out, dev->seen, seen * sizeof(*out));
    dev->nseen -= seen;
    memmove(dev->seen, dev->seen + seen, dev->nseen * sizeof(*out));
    if (seen == n) {
        return n;
    }
    ret = vnet_ib_take_wc(dev, out + seen, n - seen);
    return seen ? seen + MAX(ret, 0) : ret;
}

/* --- Queue pairs ------------------------------------------------------ */

static int vnet_ib_claim(VnetVDev *dev, uint32_t n, VnetIbCq **out)
{
    VnetIbCq *cq;
    int ret;

    QTAILQ_FOREACH(cq, &dev->cqs, next) {
        if (cq->room >= n) {
            cq->room -= n;
            *out = cq;
            return 0;
        }
    }
    if (n > dev->max_cqe) {
        return -ENOTSUP;
    }
    cq = g_new0(VnetIbCq, 1);
    cq->cq = ibv_create_cq(dev->pd->verbs, dev->max_cqe, NULL, dev->channel, 0);
    if (!cq->cq) {
        ret = -errno;
        g_free(cq);
        return ret;
    }
    ret = vnet_ib_ret(ibv_req_notify_cq(cq->cq, 0));
    if (ret < 0) {
        ibv_destroy_cq(cq->cq);
        g_free(cq);
        return ret;
    }
    vnet_ib_async_add_cq(dev, cq->cq);
    cq->room = dev->max_cqe - n;
    QTAILQ_INSERT_TAIL(&dev->cqs, cq, next);
    *out = cq;
    return 0;
}

int vnet_ib_create_qp(VnetVCm *cm, VnetVDev *dev, VnetVQpAttr *attr,
                             VnetVQp **out)
{
    uint32_t claim = attr->send_wr + attr->recv_wr;
    VnetIbCq *cq;
    struct ibv_qp_init_attr init;
    VnetVQp *qp;
    int ret = vnet_ib_claim(dev, claim, &cq);

    if (ret < 0) {
        return ret;
    }
    for (;;) {
        init = (struct ibv_qp_init_attr) {
            .send_cq = cq->cq,
            .recv_cq = cq->cq,
            .qp_type = IBV_QPT_RC,
            .cap = {
                .max_send_wr = attr->send_wr,
                .max_recv_wr = attr->recv_wr,
                .max_send_sge = attr->send_sge,
                .max_recv_sge = 1,
                .max_inline_data = attr->inline_data,
            },
        };
        ret = vnet_ib_ret(rdma_create_qp(cm->id, dev->pd->pd, &init));
        if (ret != -EINVAL || !attr->inline_data) {
            break;
        }
        /* Nothing tells how much a device takes inline. */
        attr->inline_data = 0;
    }
    if (ret < 0) {
        cq->room += claim;
        return ret;
    }
    attr->inline_data = init.cap.max_inline_data;
    qp = g_new0(VnetVQp, 1);
    qp->cm = cm;
    qp->dev = dev;
    qp->qp = cm->id->qp;
    qp->cq = cq;
    qp->claim = claim;
    vnet_ib_async_add_qp(qp);
    *out = qp;
    return 0;
}

int vnet_ib_stop_qp(VnetVQp *qp)
{
    struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };

    /* ibv_modify_qp() returns errno. */
    return -ibv_modify_qp(qp->qp, &attr, IBV_QP_STATE);
}

void vnet_ib_destroy_qp(VnetVQp *qp)
{
    vnet_ib_async_del_qp(qp);
    rdma_destroy_qp(qp->cm->id);
    qp->cq->freed += qp->claim;
    g_free(qp);
}

int vnet_ib_post_send(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                             unsigned flags, uint64_t wr_id)
{
    struct ibv_sge *s = qp->dev->sge;
    struct ibv_send_wr *bad, wr = {
        .wr_id = wr_id,
        .sg_list = s,
        .num_sge = n,
        .opcode = IBV_WR_SEND,
        .send_flags = (flags & VNET_V_SIGNALED ? IBV_SEND_SIGNALED : 0) |
                      (flags & VNET_V_INLINE ? IBV_SEND_INLINE : 0),
    };
    unsigned i;

    assert(n <= ARRAY_SIZE(qp->dev->sge));
    for (i = 0; i < n; i++) {
        s[i] = (struct ibv_sge) {
            (uintptr_t)sge[i].addr, sge[i].len, sge[i].lkey,
        };
    }
    return vnet_ib_ret(ibv_post_send(qp->qp, &wr, &bad));
}

int vnet_ib_post_recv(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                             uint64_t wr_id)
{
    struct ibv_recv_wr *bad, *wr = qp->dev->recv_wr;
    struct ibv_sge *s = qp->dev->sge;
    unsigned i;

    assert(n && n <= ARRAY_SIZE(qp->dev->recv_wr));
    for (i = 0; i < n; i++) {
        s[i] = (struct ibv_sge) {
            (uintptr_t)sge[i].addr, sge[i].len, sge[i].lkey,
        };
        wr[i] = (struct ibv_recv_wr) {
            .wr_id = wr_id,
            .next = i + 1 < n ? &wr[i + 1] : NULL,
            .sg_list = &s[i],
            .num_sge = 1,
        };
    }
    return vnet_ib_ret(ibv_post_recv(qp->qp, wr, &bad));
}
