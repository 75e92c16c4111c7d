/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stand-in's devices, memory and queue pairs: see verbs-fake-int.h.
 */
#include <errno.h>
#include <string.h>
#include "verbs-fake-int.h"

#define GUEST_LKEY      0x67756573u

/* --- Devices ------------------------------------------------------------- */

int vfake_v_get_device(VnetVCm *cm, VnetVDev **dev)
{
    VnetVCtx *x = cm->x;
    int ret = vfake_called(x, VFAKE_GET_DEVICE);

    if (ret < 0) {
        return ret;
    }
    if (x->hold_device) {
        g_ptr_array_add(x->waiting, cm);
        return -EINPROGRESS;
    }
    if (!x->dev) {
        x->dev = g_new0(VnetVDev, 1);
        x->dev->x = x;
        g_queue_init(&x->dev->cq);
        g_queue_init(&x->dev->said);
    }
    x->dev->refs++;
    *dev = x->dev;
    return 0;
}

void vfake_v_put_device(VnetVDev *dev)
{
    if (!--dev->refs) {
        g_assert_cmpuint(dev->x->mrs->len, ==, 0);
        g_queue_clear_full(&dev->cq, g_free);
        g_queue_clear_full(&dev->said, g_free);
        dev->x->dev = NULL;
        g_free(dev);
    }
}

void vfake_hold_device(VnetVCtx *x)
{
    x->hold_device = true;
}

void vfake_device_ready(VnetVCtx *x, int status, const char *text)
{
    x->hold_device = false;
    for (guint i = 0; i < x->waiting->len; i++) {
        VnetCmEvent *ev = vfake_post(x->waiting->pdata[i], VNET_CM_DEVICE_READY,
                                     status);

        g_strlcpy(ev->text, text, sizeof(ev->text));
    }
    g_ptr_array_set_size(x->waiting, 0);
}

const VnetVLimits *vfake_v_limits(VnetVDev *dev)
{
    return &dev->x->limits;
}

int vfake_v_completion_fd(VnetVDev *dev)
{
    return -1;
}

bool vfake_has_completion(VnetVDev *dev)
{
    return dev->fired;
}

void vfake_v_ack_events(VnetVDev *dev)
{
    dev->fired = false;
}

int vfake_v_req_notify(VnetVDev *dev)
{
    int ret = vfake_called(dev->x, VFAKE_REQ_NOTIFY);

    if (ret == 0) {
        dev->armed = true;
    }
    return ret;
}

bool vfake_v_completed(VnetVDev *dev)
{
    return dev->cq.length;
}

int vfake_v_poll_cq(VnetVDev *dev, VnetWc *wc, int n)
{
    int ret = vfake_called(dev->x, VFAKE_POLL_CQ), got = 0;

    while (ret == 0 && got < n && dev->cq.length) {
        Cqe *e = g_queue_pop_head(&dev->cq);

        wc[got++] = e->wc;
        if (e->qp && e->recv) {
            e->qp->rq_used -= e->frees;
        } else if (e->qp) {
            e->qp->sq_used -= e->frees;
        }
        g_free(e);
    }
    return ret < 0 ? ret : got;
}

/* --- What it says by itself ---------------------------------------------- */

int vfake_v_async_fd(VnetVDev *dev)
{
    return -1;
}

bool vfake_has_said(VnetVDev *dev)
{
    return dev->said.length;
}

int vfake_v_next_async(VnetVDev *dev, VnetAsyncEvent *ev)
{
    g_autofree VnetAsyncEvent *e = g_queue_pop_head(&dev->said);

    if (!e) {
        return -EAGAIN;
    }
    *ev = *e;
    return 0;
}

void vfake_say(VnetVCtx *x, VnetVCm *cm, VnetAsyncType type)
{
    VnetAsyncEvent *e = g_new0(VnetAsyncEvent, 1);

    *e = (VnetAsyncEvent) { type, cm };
    g_queue_push_tail(&x->dev->said, e);
}

/* A QP that is destroyed says nothing any more. */
static void forget_said(VnetVQp *qp)
{
    GList *n, *next;

    for (n = qp->dev->said.head; n; n = next) {
        next = n->next;
        if (((VnetAsyncEvent *)n->data)->cm == qp->cm) {
            g_free(n->data);
            g_queue_delete_link(&qp->dev->said, n);
        }
    }
}

/* --- Completions --------------------------------------------------------- */

static void complete(VnetVQp *qp, const Wr *wr, bool recv, VnetWcStatus status,
                     uint32_t len, unsigned frees)
{
    VnetVDev *dev = qp->dev;
    Cqe *e = g_new0(Cqe, 1);

    e->wc = (VnetWc) { wr->wr_id, status, len };
    e->qp = qp;
    e->recv = recv;
    e->frees = frees;
    g_queue_push_tail(&dev->cq, e);
    if (dev->armed) {
        dev->armed = false;
        dev->fired = true;
    }
}

/* --- Memory -------------------------------------------------------------- */

int vfake_v_reg_mem(VnetVDev *dev, void *addr, size_t len, VnetVMr **mr,
                    uint32_t *lkey)
{
    int ret = vfake_called(dev->x, VFAKE_REG_MEM);

    if (ret < 0) {
        return ret;
    }
    *mr = g_new0(VnetVMr, 1);
    **mr = (VnetVMr) { dev, addr, len, dev->x->f->next_lkey++ };
    *lkey = (*mr)->lkey;
    g_ptr_array_add(dev->x->mrs, *mr);
    return 0;
}

void vfake_v_unreg_mem(VnetVMr *mr)
{
    g_assert_true(g_ptr_array_remove(mr->dev->x->mrs, mr));
    g_free(mr);
}

int vfake_v_lkey(VnetVDev *dev, const void *addr, size_t len, uint32_t *lkey)
{
    int ret = vfake_called(dev->x, VFAKE_LKEY);

    *lkey = GUEST_LKEY;
    return ret;
}

static void check_sge(VnetVCtx *x, const VnetVSge *s)
{
    uint8_t *p = s->addr;

    if (s->lkey == GUEST_LKEY) {
        return;
    }
    for (guint i = 0; i < x->mrs->len; i++) {
        VnetVMr *mr = x->mrs->pdata[i];

        if (mr->lkey == s->lkey) {
            g_assert_true(p >= mr->addr && p + s->len <= mr->addr + mr->len);
            return;
        }
    }
    g_assert_not_reached();
}

/* --- Queue pairs --------------------------------------------------------- */

int vfake_v_create_qp(VnetVCm *cm, VnetVDev *dev, VnetVQpAttr *attr,
                      VnetVQp **out)
{
    int ret = vfake_called(cm->x, VFAKE_CREATE_QP);
    VnetVQp *qp;

    g_assert_null(cm->qp);
    if (ret < 0) {
        return ret;
    }
    if (vfake_counts(cm->x).qps >= cm->x->limits.max_qp) {
        return -ENOMEM;
    }
    g_assert_cmpuint(attr->send_wr, <=, cm->x->limits.max_wr);
    g_assert_cmpuint(attr->recv_wr, <=, cm->x->limits.max_wr);
    g_assert_cmpuint(attr->send_sge, <=, cm->x->limits.max_sge);
    attr->inline_data = 64;
    qp = g_new0(VnetVQp, 1);
    qp->cm = cm;
    qp->dev = dev;
    qp->attr = *attr;
    g_queue_init(&qp->sq);
    g_queue_init(&qp->rq);
    cm->qp = qp;
    *out = qp;
    return 0;
}

static void wr_free(void *opaque)
{
    Wr *wr = opaque;

    if (wr->copy) {
        g_bytes_unref(wr->copy);
    }
    g_free(wr);
}

void vfake_v_destroy_qp(VnetVQp *qp)
{
    forget_said(qp);
    /* As some devices do, it leaves its completions in the queue. */
    for (GList *n = qp->dev->cq.head; n; n = n->next) {
        Cqe *e = n->data;

        if (e->qp == qp) {
            e->qp = NULL;
        }
    }
    g_queue_clear_full(&qp->sq, wr_free);
    g_queue_clear_full(&qp->rq, wr_free);
    qp->cm->qp = NULL;
    g_free(qp);
}

void vfake_qp_flush(VnetVQp *qp)
{
    Wr *wr;

    qp->error = true;
    while ((wr = g_queue_pop_head(&qp->sq))) {
        complete(qp, wr, false, VNET_WC_WR_FLUSH_ERR, 0,
                 1 + qp->unsignalled);
        qp->unsignalled = 0;
        wr_free(wr);
    }
    while ((wr = g_queue_pop_head(&qp->rq))) {
        complete(qp, wr, true, VNET_WC_WR_FLUSH_ERR, 0, 1);
        wr_free(wr);
    }
}

int vfake_v_stop_qp(VnetVQp *qp)
{
    int ret = vfake_called(qp->cm->x, VFAKE_STOP_QP);

    if (ret == 0) {
        vfake_qp_flush(qp);
    }
    return ret;
}

void vfake_break(VnetVCm *cm, VnetWcStatus status, bool recv)
{
    VnetVQp *qp = cm->qp;
    Wr none = { 0 }, *wr = g_queue_pop_head(recv ? &qp->rq : &qp->sq);

    if (!wr && !recv && qp->rq.length) {
        /* Of the same connection, and a send. */
        none.wr_id = ((Wr *)qp->rq.head->data)->wr_id & ~1ull;
    }
    complete(qp, wr ? wr : &none, recv, status, 0,
             wr ? 1 + (recv ? 0 : qp->unsignalled) : 0);
    if (wr) {
        wr_free(wr);
    }
    qp->unsignalled = 0;
    vfake_qp_flush(qp);
}

void vfake_error(VnetVCm *cm)
{
    vfake_qp_flush(cm->qp);
}

void vfake_stall(VnetVCm *cm, bool stall)
{
    cm->qp->stalled = stall;
}

int vfake_v_post_send(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                      unsigned flags, uint64_t wr_id)
{
    int ret = vfake_called(qp->cm->x, VFAKE_POST_SEND);
    g_autoptr(GByteArray) copy = NULL;
    Wr *wr;

    g_assert_true(qp->cm->connected);
    g_assert_cmpuint(n, >=, 1);
    g_assert_cmpuint(n, <=, qp->attr.send_sge);
    if (ret < 0) {
        return ret;
    }
    g_assert_cmpuint(qp->sq_used, <, qp->attr.send_wr);
    qp->sq_used++;
    wr = g_new0(Wr, 1);
    wr->n = n;
    wr->flags = flags;
    wr->wr_id = wr_id;
    memcpy(wr->sge, sge, n * sizeof(*sge));
    copy = g_byte_array_new();
    for (unsigned i = 0; i < n; i++) {
        if (flags & VNET_V_INLINE) {
            g_byte_array_append(copy, sge[i].addr, sge[i].len);
        } else {
            check_sge(qp->cm->x, &sge[i]);
        }
    }
    if (flags & VNET_V_INLINE) {
        g_assert_cmpuint(copy->len, <=, qp->attr.inline_data);
        wr->copy = g_byte_array_free_to_bytes(g_steal_pointer(&copy));
    }
    g_queue_push_tail(&qp->sq, wr);
    if (qp->error) {
        vfake_qp_flush(qp);
    }
    return 0;
}

int vfake_v_post_recv(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                      uint64_t wr_id)
{
    int ret = vfake_called(qp->cm->x, VFAKE_POST_RECV);

    if (ret < 0) {
        return ret;
    }
    for (unsigned i = 0; i < n; i++) {
        Wr *wr = g_new0(Wr, 1);

        check_sge(qp->cm->x, &sge[i]);
        g_assert_cmpuint(qp->rq_used, <, qp->attr.recv_wr);
        qp->rq_used++;
        wr->n = 1;
        wr->sge[0] = sge[i];
        wr->wr_id = wr_id;
        g_queue_push_tail(&qp->rq, wr);
    }
    if (qp->error) {
        vfake_qp_flush(qp);
    }
    return 0;
}

/* --- Execution ----------------------------------------------------------- */

static GByteArray *gather(VnetVQp *qp, const Wr *wr)
{
    GByteArray *a = g_byte_array_new();

    if (wr->copy) {
        gsize len;
        const void *p = g_bytes_get_data(wr->copy, &len);

        g_byte_array_append(a, p, len);
        return a;
    }
    for (unsigned i = 0; i < wr->n; i++) {
        check_sge(qp->cm->x, &wr->sge[i]);
        g_byte_array_append(a, wr->sge[i].addr, wr->sge[i].len);
    }
    return a;
}

static void place(VnetVQp *qp, const void *buf, size_t len)
{
    Wr *r = g_queue_pop_head(&qp->rq);

    /* Receiver not ready: must never be. */
    g_assert_nonnull(r);
    g_assert_cmpuint(len, <=, r->sge[0].len);
    check_sge(qp->cm->x, &r->sge[0]);
    memcpy(r->sge[0].addr, buf, len);
    complete(qp, r, true, VNET_WC_SUCCESS, len, 1);
    wr_free(r);
}

void vfake_message(VnetVCm *cm, const void *buf, size_t len)
{
    place(cm->qp, buf, len);
}

static void execute(VnetVQp *qp)
{
    VnetVQp *to = qp->cm->peer ? qp->cm->peer->qp : NULL;
    Wr *wr = g_queue_pop_head(&qp->sq);
    g_autoptr(GByteArray) a = NULL;

    if (!to || to->error) {
        complete(qp, wr, false, VNET_WC_RETRY_EXC_ERR, 0, 1 + qp->unsignalled);
        qp->unsignalled = 0;
        wr_free(wr);
        vfake_qp_flush(qp);
        return;
    }
    a = gather(qp, wr);
    place(to, a->data, a->len);
    if (wr->flags & VNET_V_SIGNALED) {
        complete(qp, wr, false, VNET_WC_SUCCESS, 0, 1 + qp->unsignalled);
        qp->unsignalled = 0;
    } else {
        qp->unsignalled++;
    }
    wr_free(wr);
}

static bool executable(VnetVCm *cm)
{
    return cm->qp && !cm->qp->error && !cm->qp->stalled && cm->qp->sq.length &&
           cm->established && (!cm->peer || cm->peer->established);
}

bool vfake_step(VFake *f)
{
    g_autoptr(GPtrArray) can = g_ptr_array_new();

    for (guint i = 0; i < f->ctxs->len; i++) {
        VnetVCtx *x = f->ctxs->pdata[i];

        for (guint j = 0; j < x->cms->len; j++) {
            if (executable(x->cms->pdata[j])) {
                g_ptr_array_add(can, x->cms->pdata[j]);
            }
        }
    }
    if (!can->len) {
        return false;
    }
    execute(((VnetVCm *)can->pdata[f->rand ?
             (guint)g_rand_int_range(f->rand, 0, can->len) :
             f->turn++ % can->len])->qp);
    return true;
}
