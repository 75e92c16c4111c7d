/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A scripted stand-in for RDMA connections: see verbs-fake.h.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "verbs-fake.h"
#include "vnet-wire.h"

#define GUEST_LKEY      0x67756573u

struct VFake {
    GRand *rand;
    guint turn;
    GPtrArray *ctxs;
    uint32_t next_lkey;
    int stranger;
};

struct VnetVCtx {
    VFake *f;
    bool open;
    GPtrArray *cms;             /* oldest first */
    GPtrArray *mrs;
    GQueue events;              /* of Ev */
    uint32_t withheld, lost;
    bool muted;
    int no_device;
    bool hold_device;
    GPtrArray *waiting;         /* cms that wait for the device */
    VnetVDev *dev;
    VnetVLimits limits;
    struct { int err; unsigned skip; } fail[VFAKE_OPS];
    uint64_t calls[VFAKE_OPS];
};

typedef struct Ev {
    VnetCmEvent ev;
} Ev;

struct VnetVDev {
    VnetVCtx *x;
    unsigned refs;
    GQueue cq;                  /* of Cqe */
    bool armed, fired;
};

struct VnetVMr {
    VnetVDev *dev;
    uint8_t *addr;
    size_t len;
    uint32_t lkey;
};

struct VnetVCm {
    VnetVCtx *x;
    VnetVQp *qp;
    VnetVCm *peer;              /* from the request on */
    uint16_t port;
    bool listening, answered;
    bool connected;             /* accepted */
    bool said_bye;
    bool established;           /* ESTABLISHED was taken, or accept() called */
    uint8_t data[VNET_CM_PRIVATE_MAX];
    uint8_t data_len;
};

typedef struct Wr {
    VnetVSge sge[32];
    unsigned n, flags;
    uint64_t wr_id;
    GBytes *copy;               /* inline */
} Wr;

struct VnetVQp {
    VnetVCm *cm;
    VnetVDev *dev;
    VnetVQpAttr attr;
    GQueue sq, rq;              /* of Wr */
    unsigned sq_used, rq_used;  /* until the completion was polled */
    unsigned unsignalled;       /* executed since the last completion */
    bool error, stalled;
};

typedef struct Cqe {
    VnetWc wc;
    VnetVQp *qp;                /* NULL: gone */
    unsigned frees;             /* slots of its queue */
    bool recv;
} Cqe;

/* --- Fabric and contexts ------------------------------------------------- */

VFake *vfake_new(guint32 seed)
{
    VFake *f = g_new0(VFake, 1);

    f->rand = seed ? g_rand_new_with_seed(seed) : NULL;
    f->ctxs = g_ptr_array_new();
    f->next_lkey = 1;
    f->stranger = -1;
    return f;
}

VnetVCtx *vfake_ctx_new(VFake *f)
{
    VnetVCtx *x = g_new0(VnetVCtx, 1);

    x->f = f;
    x->cms = g_ptr_array_new();
    x->mrs = g_ptr_array_new();
    x->waiting = g_ptr_array_new();
    g_queue_init(&x->events);
    x->limits = (VnetVLimits) { 1000, 1000, 30 };
    g_ptr_array_add(f->ctxs, x);
    return x;
}

VFakeCounts vfake_counts(VnetVCtx *x)
{
    VFakeCounts n = {
        .cms = x->cms->len, .mrs = x->mrs->len, .devs = x->dev != NULL,
    };

    for (guint i = 0; i < x->cms->len; i++) {
        VnetVCm *cm = x->cms->pdata[i];

        if (cm->qp) {
            n.qps++;
            n.receives += cm->qp->rq.length;
            n.sends += cm->qp->sq.length;
        }
    }
    return n;
}

uint64_t vfake_calls(VnetVCtx *x, VFakeOp op)
{
    return x->calls[op];
}

static void ev_free(VnetVCtx *x, Ev *e);

void vfake_free(VFake *f)
{
    for (guint i = 0; i < f->ctxs->len; i++) {
        VnetVCtx *x = f->ctxs->pdata[i];
        Ev *e;

        while ((e = g_queue_pop_head(&x->events))) {
            ev_free(x, e);
        }
        g_assert_cmpuint(x->cms->len, ==, 0);
        g_assert_cmpuint(x->mrs->len, ==, 0);
        g_assert_null(x->dev);
        g_ptr_array_free(x->cms, TRUE);
        g_ptr_array_free(x->mrs, TRUE);
        g_ptr_array_free(x->waiting, TRUE);
        g_free(x);
    }
    g_ptr_array_free(f->ctxs, TRUE);
    if (f->rand) {
        g_rand_free(f->rand);
    }
    g_free(f);
}

/* Returns 0, or the error that the test wants. */
static int called(VnetVCtx *x, VFakeOp op)
{
    int err = x->fail[op].err;

    x->calls[op]++;
    if (!err) {
        return 0;
    }
    if (x->fail[op].skip) {
        x->fail[op].skip--;
        return 0;
    }
    x->fail[op].err = 0;
    return -err;
}

void vfake_fail(VnetVCtx *x, VFakeOp op, int err, unsigned skip)
{
    x->fail[op].err = err;
    x->fail[op].skip = skip;
}

void vfake_withhold(VnetVCtx *x, uint32_t types)
{
    x->withheld = types;
}

void vfake_lose(VnetVCtx *x, uint32_t types)
{
    x->lost = types;
}

void vfake_mute(VnetVCtx *x, bool mute)
{
    x->muted = mute;
}

void vfake_no_device(VnetVCtx *x, int err)
{
    x->no_device = err;
}

void vfake_limits(VnetVCtx *x, uint32_t max_qp, uint32_t max_wr)
{
    x->limits.max_qp = max_qp;
    x->limits.max_wr = max_wr;
}

/* --- Events -------------------------------------------------------------- */

static VnetCmEvent *post(VnetVCm *cm, VnetCmEventType type, int status)
{
    Ev *e = g_new0(Ev, 1);

    e->ev.type = type;
    e->ev.cm = cm;
    e->ev.status = status;
    g_queue_push_tail(&cm->x->events, e);
    return &e->ev;
}

void vfake_inject(VnetVCm *cm, VnetCmEventType type, int status)
{
    post(cm, type, status);
}

static bool can_come(VnetVCtx *x, const Ev *e)
{
    return !(x->withheld & (1u << e->ev.type));
}

bool vfake_has_event(VnetVCtx *x)
{
    for (GList *n = x->events.head; n; n = n->next) {
        if (can_come(x, n->data)) {
            return true;
        }
    }
    return false;
}

static void x_cm_free(VnetVCm *cm);

static void ev_free(VnetVCtx *x, Ev *e)
{
    if (e->ev.type == VNET_CM_CONNECT_REQUEST) {
        x_cm_free(e->ev.cm);
    }
    g_free(e);
}

static int x_next_event(VnetVCtx *x, VnetCmEvent *ev)
{
    for (GList *n = x->events.head; n; n = n->next) {
        Ev *e = n->data;

        if (!can_come(x, e)) {
            continue;
        }
        g_queue_delete_link(&x->events, n);
        if (x->lost & (1u << e->ev.type)) {
            ev_free(x, e);
            return x_next_event(x, ev);
        }
        *ev = e->ev;
        if (ev->type == VNET_CM_ESTABLISHED && ev->cm->connected) {
            ev->cm->established = true;
        }
        g_free(e);
        return 0;
    }
    return -EAGAIN;
}

static int x_open(VnetVCtx *x)
{
    int ret = called(x, VFAKE_OPEN);

    x->open |= ret == 0;
    return ret;
}

static int x_event_fd(VnetVCtx *x)
{
    return -1;
}

/* --- Connections --------------------------------------------------------- */

static VnetVCm *cm_new(VnetVCtx *x)
{
    VnetVCm *cm = g_new0(VnetVCm, 1);

    cm->x = x;
    g_ptr_array_add(x->cms, cm);
    return cm;
}

static int x_cm_new(VnetVCtx *x, VnetVCm **cm)
{
    int ret = called(x, VFAKE_CM_NEW);

    g_assert_true(x->open);
    if (ret == 0) {
        *cm = cm_new(x);
    }
    return ret;
}

static void say_bye(VnetVCm *cm)
{
    if (cm->connected && !cm->said_bye) {
        cm->said_bye = true;
        if (cm->peer) {
            post(cm->peer, VNET_CM_DISCONNECTED, 0);
        }
    }
}

static void x_cm_free(VnetVCm *cm)
{
    VnetVCtx *x = cm->x;
    GList *n, *next;

    g_assert_null(cm->qp);
    say_bye(cm);
    if (cm->peer) {
        if (!cm->connected && !cm->peer->connected) {
            /* The CM speaks for whoever goes without a word. */
            if (!cm->answered) {
                post(cm->peer, VNET_CM_REJECTED, 4);
            }
        }
        cm->peer->peer = NULL;
    }
    for (n = x->events.head; n; n = next) {
        Ev *e = n->data;

        next = n->next;
        if (e->ev.cm == cm || e->ev.listener == cm) {
            g_queue_delete_link(&x->events, n);
            if (e->ev.cm != cm) {
                ev_free(x, e);
            } else {
                g_free(e);
            }
        }
    }
    g_ptr_array_remove(x->waiting, cm);
    g_assert_true(g_ptr_array_remove(x->cms, cm));
    g_free(cm);
}

static uint16_t port_of(const struct sockaddr *sa)
{
    return ntohs(((const struct sockaddr_in *)sa)->sin_port);
}

static int x_listen(VnetVCm *cm, const struct sockaddr *sa, int backlog)
{
    int ret = called(cm->x, VFAKE_LISTEN);

    if (ret == 0) {
        cm->listening = true;
        cm->port = port_of(sa);
    }
    return ret;
}

static int x_resolve_addr(VnetVCm *cm, const struct sockaddr *sa,
                          int timeout_ms)
{
    VnetVCtx *x = cm->x;
    int ret = called(x, VFAKE_RESOLVE_ADDR);

    if (ret == 0) {
        cm->port = port_of(sa);
        post(cm, x->no_device ? VNET_CM_ADDR_ERROR : VNET_CM_ADDR_RESOLVED,
             -x->no_device);
    }
    return ret;
}

static int x_resolve_route(VnetVCm *cm, int timeout_ms)
{
    int ret = called(cm->x, VFAKE_RESOLVE_ROUTE);

    if (ret == 0) {
        post(cm, VNET_CM_ROUTE_RESOLVED, 0);
    }
    return ret;
}

static VnetVCm *listener_at(VFake *f, uint16_t port)
{
    for (guint i = 0; i < f->ctxs->len; i++) {
        VnetVCtx *x = f->ctxs->pdata[i];

        for (guint j = 0; j < x->cms->len; j++) {
            VnetVCm *cm = x->cms->pdata[j];

            if (cm->listening && cm->port == port) {
                return cm;
            }
        }
    }
    return NULL;
}

static VnetVCm *request(VnetVCm *to, const void *data, uint8_t len)
{
    VnetVCm *cm = cm_new(to->x);
    VnetCmEvent *ev = post(cm, VNET_CM_CONNECT_REQUEST, 0);

    ev->listener = to;
    /* The CM pads. */
    ev->private_len = 56;
    memcpy(ev->private_data, data, len);
    memcpy(cm->data, data, len);
    cm->data_len = len;
    return cm;
}

static int x_connect(VnetVCm *cm, const void *data, uint8_t len)
{
    VnetVCm *to = listener_at(cm->x->f, cm->port), *peer;
    int ret = called(cm->x, VFAKE_CONNECT);

    g_assert_nonnull(cm->qp);
    g_assert_cmpuint(len, <=, 56);
    if (ret < 0) {
        return ret;
    }
    memcpy(cm->data, data, len);
    cm->data_len = len;
    if (cm->x->muted) {
        return 0;
    }
    if (!to) {
        post(cm, VNET_CM_REJECTED, VNET_CM_REJ_NO_SERVICE);
        return 0;
    }
    peer = request(to, data, len);
    cm->peer = peer;
    peer->peer = cm;
    return 0;
}

static int x_accept(VnetVCm *cm)
{
    int ret = called(cm->x, VFAKE_ACCEPT);

    g_assert_nonnull(cm->qp);
    if (ret < 0) {
        return ret;
    }
    cm->answered = cm->connected = cm->established = true;
    if (cm->peer) {
        cm->peer->connected = true;
        post(cm->peer, VNET_CM_ESTABLISHED, 0);
        post(cm, VNET_CM_ESTABLISHED, 0);
    } else {
        cm->x->f->stranger = 0;
    }
    return 0;
}

static int x_reject(VnetVCm *cm, const void *data, uint8_t len)
{
    int ret = called(cm->x, VFAKE_REJECT);

    g_assert_cmpuint(len, <=, VNET_CM_PRIVATE_MAX);
    if (ret < 0) {
        return ret;
    }
    cm->answered = true;
    if (cm->peer) {
        VnetCmEvent *ev = post(cm->peer, VNET_CM_REJECTED,
                               VNET_CM_REJ_CONSUMER);

        ev->private_len = VNET_CM_PRIVATE_MAX;
        memcpy(ev->private_data, data, len);
    } else {
        const uint8_t *p = data;

        cm->x->f->stranger = p[0] << 8 | p[1];
    }
    return 0;
}

static int x_established(VnetVCm *cm)
{
    return 0;
}

static void qp_flush(VnetVQp *qp);

static int x_disconnect(VnetVCm *cm)
{
    int ret = called(cm->x, VFAKE_DISCONNECT);

    if (ret < 0) {
        return ret;
    }
    if (cm->qp) {
        qp_flush(cm->qp);
    }
    say_bye(cm);
    return 0;
}

static bool x_addresses(VnetVCm *cm, struct sockaddr_storage *local,
                        struct sockaddr_storage *peer)
{
    return false;
}

/* --- Devices ------------------------------------------------------------- */

static int x_get_device(VnetVCm *cm, VnetVDev **dev)
{
    VnetVCtx *x = cm->x;
    int ret = called(x, VFAKE_GET_DEVICE);

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
    }
    x->dev->refs++;
    *dev = x->dev;
    return 0;
}

static void x_put_device(VnetVDev *dev)
{
    if (!--dev->refs) {
        g_assert_cmpuint(dev->x->mrs->len, ==, 0);
        g_queue_clear_full(&dev->cq, g_free);
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
        VnetCmEvent *ev = post(x->waiting->pdata[i], VNET_CM_DEVICE_READY,
                               status);

        g_strlcpy(ev->text, text, sizeof(ev->text));
    }
    g_ptr_array_set_size(x->waiting, 0);
}

static const VnetVLimits *x_limits(VnetVDev *dev)
{
    return &dev->x->limits;
}

static int x_completion_fd(VnetVDev *dev)
{
    return -1;
}

bool vfake_has_completion(VnetVDev *dev)
{
    return dev->fired;
}

static void x_ack_events(VnetVDev *dev)
{
    dev->fired = false;
}

static int x_req_notify(VnetVDev *dev)
{
    int ret = called(dev->x, VFAKE_REQ_NOTIFY);

    if (ret == 0) {
        dev->armed = true;
    }
    return ret;
}

static int x_poll_cq(VnetVDev *dev, VnetWc *wc, int n)
{
    int ret = called(dev->x, VFAKE_POLL_CQ), got = 0;

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

static int x_reg_mem(VnetVDev *dev, void *addr, size_t len, VnetVMr **mr,
                     uint32_t *lkey)
{
    int ret = called(dev->x, VFAKE_REG_MEM);

    if (ret < 0) {
        return ret;
    }
    *mr = g_new0(VnetVMr, 1);
    **mr = (VnetVMr) { dev, addr, len, dev->x->f->next_lkey++ };
    *lkey = (*mr)->lkey;
    g_ptr_array_add(dev->x->mrs, *mr);
    return 0;
}

static void x_unreg_mem(VnetVMr *mr)
{
    g_assert_true(g_ptr_array_remove(mr->dev->x->mrs, mr));
    g_free(mr);
}

static int x_lkey(VnetVDev *dev, const void *addr, size_t len, uint32_t *lkey)
{
    int ret = called(dev->x, VFAKE_LKEY);

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

static int x_create_qp(VnetVCm *cm, VnetVDev *dev, VnetVQpAttr *attr,
                       VnetVQp **out)
{
    int ret = called(cm->x, VFAKE_CREATE_QP);
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

static void x_destroy_qp(VnetVQp *qp)
{
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

static void qp_flush(VnetVQp *qp)
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
    qp_flush(qp);
}

void vfake_stall(VnetVCm *cm, bool stall)
{
    cm->qp->stalled = stall;
}

static int x_post_send(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                       unsigned flags, uint64_t wr_id)
{
    int ret = called(qp->cm->x, VFAKE_POST_SEND);
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
        qp_flush(qp);
    }
    return 0;
}

static int x_post_recv(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                       uint64_t wr_id)
{
    int ret = called(qp->cm->x, VFAKE_POST_RECV);

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
        qp_flush(qp);
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
        qp_flush(qp);
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

/* --- For tests ----------------------------------------------------------- */

VnetVCm *vfake_cm(VnetVCtx *x, unsigned n)
{
    return n < x->cms->len ? x->cms->pdata[n] : NULL;
}

unsigned vfake_cm_count(VnetVCtx *x)
{
    return x->cms->len;
}

VnetVCm *vfake_cm_of(VnetVCtx *x, uint8_t kind, uint32_t stream_id)
{
    for (guint i = 0; i < x->cms->len; i++) {
        VnetVCm *cm = x->cms->pdata[i];
        VnetPreamble p;

        if (cm->data_len >= VNET_PREAMBLE_SIZE && !cm->said_bye &&
            vnet_wire_get_preamble(cm->data, VNET_PREAMBLE_SIZE, &p) ==
            VNET_WIRE_OK && p.kind == kind &&
            (!stream_id || p.stream_id == stream_id)) {
            return cm;
        }
    }
    return NULL;
}

void vfake_stranger(VnetVCtx *x, const struct sockaddr *sa, const void *data,
                    uint8_t len)
{
    VnetVCm *to = listener_at(x->f, port_of(sa));

    x->f->stranger = -1;
    request(to, data, len);
}

int vfake_stranger_answer(VFake *f)
{
    return f->stranger;
}

static const VnetVerbs verbs = {
    .open = x_open,
    .event_fd = x_event_fd,
    .next_event = x_next_event,
    .cm_new = x_cm_new,
    .cm_free = x_cm_free,
    .listen = x_listen,
    .resolve_addr = x_resolve_addr,
    .resolve_route = x_resolve_route,
    .connect = x_connect,
    .accept = x_accept,
    .reject = x_reject,
    .established = x_established,
    .disconnect = x_disconnect,
    .addresses = x_addresses,
    .get_device = x_get_device,
    .put_device = x_put_device,
    .limits = x_limits,
    .completion_fd = x_completion_fd,
    .ack_events = x_ack_events,
    .req_notify = x_req_notify,
    .poll_cq = x_poll_cq,
    .reg_mem = x_reg_mem,
    .unreg_mem = x_unreg_mem,
    .lkey = x_lkey,
    .create_qp = x_create_qp,
    .destroy_qp = x_destroy_qp,
    .post_send = x_post_send,
    .post_recv = x_post_recv,
};

const VnetVerbs *vfake_verbs(void)
{
    return &verbs;
}
