/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A scripted stand-in for RDMA connections: see verbs-fake.h.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "verbs-fake-int.h"
#include "vnet-wire.h"

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
int vfake_called(VnetVCtx *x, VFakeOp op)
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

VnetCmEvent *vfake_post(VnetVCm *cm, VnetCmEventType type, int status)
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
    vfake_post(cm, type, status);
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
    int ret = vfake_called(x, VFAKE_OPEN);

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
    int ret = vfake_called(x, VFAKE_CM_NEW);

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
            vfake_post(cm->peer, VNET_CM_DISCONNECTED, 0);
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
                vfake_post(cm->peer, VNET_CM_REJECTED, 4);
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
    int ret = vfake_called(cm->x, VFAKE_LISTEN);

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
    int ret = vfake_called(x, VFAKE_RESOLVE_ADDR);

    if (ret == 0) {
        cm->port = port_of(sa);
        vfake_post(cm, x->no_device ? VNET_CM_ADDR_ERROR :
                   VNET_CM_ADDR_RESOLVED, -x->no_device);
    }
    return ret;
}

static int x_resolve_route(VnetVCm *cm, int timeout_ms)
{
    int ret = vfake_called(cm->x, VFAKE_RESOLVE_ROUTE);

    if (ret == 0) {
        vfake_post(cm, VNET_CM_ROUTE_RESOLVED, 0);
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
    VnetCmEvent *ev = vfake_post(cm, VNET_CM_CONNECT_REQUEST, 0);

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
    int ret = vfake_called(cm->x, VFAKE_CONNECT);

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
        vfake_post(cm, VNET_CM_REJECTED, VNET_CM_REJ_NO_SERVICE);
        return 0;
    }
    peer = request(to, data, len);
    cm->peer = peer;
    peer->peer = cm;
    return 0;
}

static int x_accept(VnetVCm *cm)
{
    int ret = vfake_called(cm->x, VFAKE_ACCEPT);

    g_assert_nonnull(cm->qp);
    if (ret < 0) {
        return ret;
    }
    cm->answered = cm->connected = cm->established = true;
    if (cm->peer) {
        cm->peer->connected = true;
        vfake_post(cm->peer, VNET_CM_ESTABLISHED, 0);
        vfake_post(cm, VNET_CM_ESTABLISHED, 0);
    } else {
        cm->x->f->stranger = 0;
    }
    return 0;
}

static int x_reject(VnetVCm *cm, const void *data, uint8_t len)
{
    int ret = vfake_called(cm->x, VFAKE_REJECT);

    g_assert_cmpuint(len, <=, VNET_CM_PRIVATE_MAX);
    if (ret < 0) {
        return ret;
    }
    cm->answered = true;
    if (cm->peer) {
        VnetCmEvent *ev = vfake_post(cm->peer, VNET_CM_REJECTED,
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
    return vfake_called(cm->x, VFAKE_ESTABLISHED);
}

static int x_disconnect(VnetVCm *cm)
{
    int ret = vfake_called(cm->x, VFAKE_DISCONNECT);

    if (ret < 0) {
        return ret;
    }
    if (cm->qp) {
        vfake_qp_flush(cm->qp);
    }
    say_bye(cm);
    return 0;
}

static bool x_addresses(VnetVCm *cm, struct sockaddr_storage *local,
                        struct sockaddr_storage *peer)
{
    return false;
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

bool vfake_has_qp(VnetVCm *cm)
{
    return cm->qp;
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
    .get_device = vfake_v_get_device,
    .put_device = vfake_v_put_device,
    .limits = vfake_v_limits,
    .completion_fd = vfake_v_completion_fd,
    .ack_events = vfake_v_ack_events,
    .req_notify = vfake_v_req_notify,
    .completed = vfake_v_completed,
    .poll_cq = vfake_v_poll_cq,
    .async_fd = vfake_v_async_fd,
    .next_async = vfake_v_next_async,
    .reg_mem = vfake_v_reg_mem,
    .unreg_mem = vfake_v_unreg_mem,
    .lkey = vfake_v_lkey,
    .create_qp = vfake_v_create_qp,
    .stop_qp = vfake_v_stop_qp,
    .destroy_qp = vfake_v_destroy_qp,
    .post_send = vfake_v_post_send,
    .post_recv = vfake_v_post_recv,
};

const VnetVerbs *vfake_verbs(void)
{
    return &verbs;
}
