/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fake links, see vnet-fake.h: connections that are queues of bytes in memory,
 * and what can happen to them.
 */
#include <errno.h>
#include <string.h>
#include "vnet-fake-int.h"

/* --- Connections --------------------------------------------------------- */

static FakeConn *conn_new(FakeLink *l, const VnetPreamble *p)
{
    FakeConn *c = g_new0(FakeConn, 1);

    c->l = l;
    c->p = *p;
    c->open[0] = c->open[1] = true;
    c->dir[0].bytes = g_byte_array_new();
    c->dir[1].bytes = g_byte_array_new();
    g_ptr_array_add(l->conns, c);
    return c;
}

void fake_conn_close(FakeConn *c, bool server, bool abort)
{
    Pipe *out = &c->dir[!server], *in = &c->dir[server];

    if (!c->open[server]) {
        return;
    }
    c->open[server] = false;
    in->reader_gone = true;
    if (server) {
        g_ptr_array_remove(c->l->pending, c);
    }
    if (c->silent) {
        g_byte_array_set_size(out->bytes, 0);
    } else if (abort) {
        g_byte_array_set_size(out->bytes, 0);
        out->err = ECONNRESET;
    } else {
        out->fin = true;
    }
    if (!c->open[0] && !c->open[1]) {
        g_ptr_array_remove(c->l->conns, c);
        g_byte_array_free(c->dir[0].bytes, TRUE);
        g_byte_array_free(c->dir[1].bytes, TRUE);
        fake_msg_conn_free(c);
        g_free(c);
    }
}

/* --- CIDs ---------------------------------------------------------------- */

void fake_cid_leave(VnetCid *c)
{
    if (!--c->busy && c->closed) {
        g_free(c);
    }
}

static void cid_pump_tx(VnetCid *c)
{
    FakeWorld *w = c->e->l->w;

    c->busy++;
    while (!c->closed && c->up && !c->tx_ended) {
        Pipe *out = &c->c->dir[!c->e->server];
        struct iovec iov[8];
        unsigned niov = 8;
        size_t room, n, k;

        if (out->reader_gone) {
            break;
        }
        room = w->pipe_size - MIN(w->pipe_size, out->bytes->len);
        if (!room) {
            c->want_tx = true;
            break;
        }
        n = vnet_stream_pull_tx(c->s, iov, &niov, room);
        if (!n) {
            c->want_tx = false;
            break;
        }
        g_assert_cmpuint(n, <=, room);
        k = n = fake_some(w, n);
        for (unsigned i = 0; k; i++) {
            size_t m = MIN(k, iov[i].iov_len);

            g_assert_cmpuint(i, <, niov);
            g_byte_array_append(out->bytes, iov[i].iov_base, m);
            k -= m;
        }
        vnet_stream_tx_sent(c->s, n);
        if (fake_coin(w)) {
            c->want_tx = true;
            break;
        }
    }
    fake_cid_leave(c);
}

static void cid_pump_rx(VnetCid *c)
{
    FakeWorld *w = c->e->l->w;

    c->busy++;
    while (!c->closed && c->up) {
        Pipe *in = &c->c->dir[c->e->server];
        size_t avail = in->bytes->len, off = 0, len;
        unsigned n;

        if (in->err) {
            vnet_cid_down(c->s, in->err);
            g_assert_true(c->closed);
            break;
        }
        if (c->eof_told) {
            break;
        }
        if (!avail && in->fin) {
            c->eof_told = true;
            vnet_cid_down(c->s, 0);
            break;
        }
        if (!avail) {
            c->want_rx = true;
            break;
        }
        n = vnet_stream_pull_rx(c->s, c->lent, fake_some(w, 16), fake_some(w, avail));
        if (c->closed || !n) {
            c->want_rx = false;
            break;
        }
        c->nlent = n;
        len = fake_some(w, avail);
        while (!c->closed && c->nlent && off < len) {
            VnetRxBuf buf = c->lent[0];
            size_t m = MIN(buf.iov.iov_len, len - off);

            memcpy(buf.iov.iov_base, in->bytes->data + off, m);
            off += m;
            c->nlent--;
            memmove(c->lent, c->lent + 1, c->nlent * sizeof(buf));
            vnet_stream_rx_filled(c->s, &buf, m);
        }
        if (c->closed) {
            break;
        }
        g_byte_array_remove_range(in->bytes, 0, off);
        if (c->nlent) {
            n = c->nlent;
            c->nlent = 0;
            vnet_stream_rx_unused(c->s, c->lent, n);
        }
        if (fake_coin(w)) {
            c->want_rx = true;
            break;
        }
    }
    fake_cid_leave(c);
}

static void t_cid_tx(VnetCid *c)
{
    g_assert_true(c->up && !c->closed && !c->busy);
    if (fake_coin(c->e->l->w)) {
        c->want_tx = true;
    } else {
        cid_pump_tx(c);
    }
}

static void t_cid_rx(VnetCid *c)
{
    g_assert_true(c->up && !c->closed && !c->busy);
    if (fake_coin(c->e->l->w) || c->e->l->stall_data) {
        c->want_rx = true;
    } else {
        cid_pump_rx(c);
    }
}

static void t_cid_tx_end(VnetCid *c)
{
    g_assert_true(c->up && !c->closed && !c->tx_ended);
    c->tx_ended = true;
    c->c->dir[!c->e->server].fin = true;
}

static VnetCid *t_cid_open(void *opaque, VnetStream *s, const VnetPreamble *p)
{
    FakeEnd *e = opaque;
    VnetCid *c;

    if (e->l->cid_null) {
        return NULL;
    }
    c = g_new0(VnetCid, 1);
    c->e = e;
    c->s = s;
    c->p = *p;
    g_ptr_array_add(e->cids, c);
    return c;
}

void fake_cid_close(VnetCid *c, bool abort)
{
    g_assert_false(c->closed);
    c->closed = true;
    if (c->nlent) {
        vnet_stream_rx_unused(c->s, c->lent, c->nlent);
        c->nlent = 0;
    }
    if (c->c) {
        c->c->cid[c->e->server] = NULL;
        fake_conn_close(c->c, c->e->server, abort);
        c->c = NULL;
    }
    c->up = false;
    g_ptr_array_remove(c->e->cids, c);
    c->busy++;
    fake_cid_leave(c);
}

/* --- Control and frames -------------------------------------------------- */

static const char *t_identity(void *opaque)
{
    FakeEnd *e = opaque;

    return e->l->identity;
}

static bool t_control(void *opaque, const void *buf, size_t len)
{
    FakeEnd *e = opaque;
    FakeEnd *peer = &e->l->end[!e->server];
    FakeConn *c = e->joining ? e->joining : e->control;
    GByteArray *out;

    g_assert_nonnull(c);
    if (peer->swallow == 255 ||
        (peer->swallow && *(const uint8_t *)buf == peer->swallow)) {
        return true;
    }
    out = c->dir[!e->server].bytes;
    if (out->len + len > e->l->w->control_size) {
        return false;
    }
    g_byte_array_append(out, buf, len);
    return true;
}

static void t_close(void *opaque, int64_t retry_after_ns)
{
    FakeEnd *e = opaque;

    g_assert_cmpuint(e->cids->len, ==, 0);
    if (e->control) {
        fake_conn_close(e->control, e->server, false);
        e->control = NULL;
    }
    if (e->frame) {
        fake_conn_close(e->frame, e->server, false);
        e->frame = NULL;
    }
    e->frame_wanted = false;
    g_byte_array_set_size(e->frames_in, 0);
    while (e->server && e->l->pending->len) {
        fake_conn_close(e->l->pending->pdata[0], true, true);
    }
    if (!e->server) {
        e->retry_at = retry_after_ns == INT64_MAX ? INT64_MAX
                      : e->l->w->now + retry_after_ns;
    }
}

static void t_open_frames(void *opaque, const VnetPreamble *p)
{
    FakeEnd *e = opaque;

    g_assert_false(e->server);
    e->frame_wanted = true;
    e->frame_preamble = *p;
}

static VnetFrameResult t_frame(void *opaque, const VnetWireFrame *f,
                               const struct iovec *iov, unsigned niov)
{
    FakeEnd *e = opaque;
    uint8_t hdr[VNET_FRAME_HDR_SIZE];
    GByteArray *out;

    if (!e->frame || e->frames_busy) {
        e->frames_waited = true;
        return VNET_FRAME_BUSY;
    }
    vnet_wire_put_frame(hdr, f);
    out = e->frame->dir[!e->server].bytes;
    g_byte_array_append(out, hdr, sizeof(hdr));
    for (unsigned i = 0; i < niov; i++) {
        g_byte_array_append(out, iov[i].iov_base, iov[i].iov_len);
    }
    return VNET_FRAME_OK;
}

static void read_control(FakeEnd *e)
{
    Pipe *in = &e->control->dir[e->server];
    size_t len = fake_some(e->l->w, in->bytes->len);
    g_autofree uint8_t *copy = g_memdup2(in->bytes->data, len);
    FakeConn *c = e->control;
    ssize_t used;

    if (!len) {
        vnet_link_down(e->vl, "control connection closed by the peer");
        return;
    }
    used = vnet_link_control(e->vl, copy, len);
    if (used < 0) {
        g_assert_true(e->control != c);
        return;
    }
    g_byte_array_remove_range(in->bytes, 0, used);
    if (!used && in->fin && len == in->bytes->len) {
        vnet_link_down(e->vl, "control connection closed inside a message");
    }
}

static void read_frames(FakeEnd *e)
{
    Pipe *in = &e->frame->dir[e->server];
    VnetWireFrame f;
    VnetWireError err;
    g_autofree uint8_t *copy = NULL;
    struct iovec iov;

    if (in->bytes->len < VNET_FRAME_HDR_SIZE) {
        vnet_link_down(e->vl, "frame connection lost");
        return;
    }
    err = vnet_wire_get_frame(in->bytes->data, &f);
    if (err) {
        vnet_link_violation(e->vl, err, "frame header");
        return;
    }
    g_assert_cmpuint(in->bytes->len, >=, VNET_FRAME_HDR_SIZE + f.len);
    copy = g_memdup2(in->bytes->data + VNET_FRAME_HDR_SIZE, f.len);
    g_byte_array_remove_range(in->bytes, 0, VNET_FRAME_HDR_SIZE + f.len);
    iov = (struct iovec) { copy, f.len };
    vnet_link_frame(e->vl, &f, &iov, 1);
}

static void dial_control(FakeLink *l)
{
    FakeEnd *cl = &l->end[0], *sv = &l->end[1];
    uint8_t bye[VNET_MSG_MAX];
    VnetPreamble p;
    FakeConn *c;

    cl->retry_at = INT64_MAX;
    if (l->block) {
        vnet_link_down(cl->vl, "connection refused");
        return;
    }
    vnet_link_preamble(cl->vl, &p);
    c = conn_new(l, &p);
    cl->control = c;
    g_assert_true(vnet_link_up(cl->vl, &p));
    sv->joining = c;
    if (!vnet_link_up(sv->vl, &p)) {
        size_t n = vnet_link_refusal(sv->vl, bye);

        g_byte_array_append(c->dir[0].bytes, bye, n);
        fake_conn_close(c, true, false);
    } else {
        g_assert_null(sv->control);
        sv->control = c;
    }
    sv->joining = NULL;
}

static void dial_frames(FakeEnd *e)
{
    FakeLink *l = e->l;
    VnetStream *s;

    e->frame_wanted = false;
    e->frame = conn_new(l, &e->frame_preamble);
    if (vnet_link_admits(l->end[1].vl, &e->frame_preamble, &s)) {
        l->end[1].frame = e->frame;
        vnet_link_frames_ready(l->end[1].vl);
    } else {
        fake_conn_close(e->frame, true, true);
    }
    vnet_link_frames_ready(e->vl);
}

/* --- Data connections: the client's dial, the server's arrival ----------- */

static void cid_attach(VnetCid *c, FakeConn *conn)
{
    c->c = conn;
    conn->cid[c->e->server] = c;
    if (c->e->l->ops.max_msg) {
        fake_msg_attach(c);
    }
    c->up = true;
    vnet_cid_up(c->s);
}

static void dial_cid(VnetCid *c)
{
    if (c->e->l->connect_err) {
        vnet_cid_down(c->s, c->e->l->connect_err);
        return;
    }
    cid_attach(c, conn_new(c->e->l, &c->p));
}

static VnetCid *cid_of(FakeEnd *e, VnetStream *s)
{
    for (guint i = 0; i < e->cids->len; i++) {
        VnetCid *c = e->cids->pdata[i];

        if (c->s == s) {
            return c;
        }
    }
    g_assert_not_reached();
}

static void arrive(FakeConn *conn)
{
    FakeEnd *e = &conn->l->end[1];
    VnetStream *s;

    conn->arrived = true;
    if (!vnet_link_admits(e->vl, &conn->p, &s)) {
        fake_conn_close(conn, true, true);
    } else if (s) {
        cid_attach(cid_of(e, s), conn);
    } else {
        g_ptr_array_add(conn->l->pending, conn);
    }
}

static FakeConn *pending_for(VnetCid *c)
{
    for (guint i = 0; i < c->e->l->pending->len; i++) {
        FakeConn *conn = c->e->l->pending->pdata[i];

        if (conn->p.stream_id == c->p.stream_id) {
            return conn;
        }
    }
    return NULL;
}

/* --- What can happen ----------------------------------------------------- */

static void acts_of_cid(GArray *a, VnetCid *c)
{
    FakeLink *l = c->e->l;

    if (!c->c && !c->e->server) {
        fake_add(a, ACT_DIAL_CID, c);
    }
    if (!c->c && c->e->server && pending_for(c)) {
        fake_add(a, ACT_CLAIM, c);
    }
    if (c->up && c->m) {
        fake_msg_acts(a, c);
    } else if (c->up) {
        Pipe *in = &c->c->dir[c->e->server];
        Pipe *out = &c->c->dir[!c->e->server];

        if (c->want_tx && !c->tx_ended && !out->reader_gone &&
            out->bytes->len < l->w->pipe_size) {
            fake_add(a, ACT_TX, c);
        }
        if (!l->stall_data &&
            (in->err || (!c->eof_told && c->want_rx &&
                         (in->bytes->len || in->fin)))) {
            fake_add(a, ACT_RX, c);
        }
    }
}

static bool end_has_frame(FakeEnd *e)
{
    Pipe *in;
    VnetWireFrame f;

    if (!e->frame || !e->frame->open[e->server]) {
        return false;
    }
    in = &e->frame->dir[e->server];
    if (in->bytes->len < VNET_FRAME_HDR_SIZE) {
        return in->err || in->fin;
    }
    return vnet_wire_get_frame(in->bytes->data, &f) ||
           in->bytes->len >= VNET_FRAME_HDR_SIZE + f.len;
}

void fake_link_acts(GArray *a, FakeLink *l)
{
    for (int i = 0; i < 2; i++) {
        FakeEnd *e = &l->end[i];

        if (e->control && !l->stall_control) {
            Pipe *in = &e->control->dir[e->server];

            if (in->bytes->len || in->fin || in->err) {
                fake_add(a, ACT_CONTROL, e);
            }
        }
        if (e->frame_wanted) {
            fake_add(a, ACT_DIAL_FRAMES, e);
        }
        if (e->frames_waited && e->frame && !e->frames_busy) {
            fake_add(a, ACT_FRAMES_READY, e);
        }
        if (end_has_frame(e)) {
            fake_add(a, ACT_FRAMES, e);
        }
        for (guint j = 0, len = a->len; j < e->cids->len; j++) {
            /* Of many, one will do where chance does not choose. */
            if (!l->w->rand && a->len > len) {
                break;
            }
            acts_of_cid(a, e->cids->pdata[(j + l->w->turn) % e->cids->len]);
        }
    }
    if (l->end[0].retry_at <= l->w->now) {
        fake_add(a, ACT_DIAL, l);
    }
    for (guint i = 0; i < l->conns->len; i++) {
        FakeConn *c = l->conns->pdata[i];

        if (c->p.kind == VNET_CONN_DATA && !c->arrived && c->open[1]) {
            fake_add(a, ACT_ARRIVE, c);
        }
    }
}

void fake_link_do(const Act *act)
{
    switch (act->kind) {
    case ACT_DIAL:
        dial_control(act->p);
        break;
    case ACT_CONTROL:
        read_control(act->p);
        break;
    case ACT_DIAL_FRAMES:
        dial_frames(act->p);
        break;
    case ACT_FRAMES:
        read_frames(act->p);
        break;
    case ACT_FRAMES_READY: {
        FakeEnd *e = act->p;

        e->frames_waited = false;
        vnet_link_frames_ready(e->vl);
        break;
    }
    case ACT_DIAL_CID:
        dial_cid(act->p);
        break;
    case ACT_ARRIVE:
        arrive(act->p);
        break;
    case ACT_CLAIM: {
        VnetCid *c = act->p;
        FakeConn *conn = pending_for(c);

        g_ptr_array_remove(c->e->l->pending, conn);
        cid_attach(c, conn);
        break;
    }
    case ACT_TX:
        cid_pump_tx(act->p);
        break;
    case ACT_RX:
        cid_pump_rx(act->p);
        break;
    default:
        fake_msg_do(act);
        break;
    }
}

/* --- Links --------------------------------------------------------------- */

FakeLink *fake_link_new(FakeWorld *w, FakeHost *a, FakeHost *b)
{
    FakeLink *l = g_new0(FakeLink, 1);
    FakeHost *h[2] = { a, b };

    l->w = w;
    l->conns = g_ptr_array_new();
    l->pending = g_ptr_array_new();
    l->ops = (VnetTransportOps) {
        .type = "fake",
        .close = t_close,
        .identity = t_identity,
        .control = t_control,
        .open_frames = t_open_frames,
        .frame = t_frame,
        .cid_open = t_cid_open,
        .cid_tx = t_cid_tx,
        .cid_rx = t_cid_rx,
        .cid_tx_end = t_cid_tx_end,
        .cid_close = fake_cid_close,
    };
    for (int i = 0; i < 2; i++) {
        FakeEnd *e = &l->end[i];
        g_autofree char *id = g_strdup_printf("l%u", w->links->len);

        e->l = l;
        e->h = h[i];
        e->server = i;
        e->cids = g_ptr_array_new();
        e->frames_in = g_byte_array_new();
        e->retry_at = i ? INT64_MAX : w->now;
        e->vl = vnet_link_new(h[i]->core, id, i, &l->ops, e);
    }
    g_ptr_array_add(w->links, l);
    return l;
}

void fake_link_free(FakeLink *l)
{
    for (int i = 0; i < 2; i++) {
        FakeEnd *e = &l->end[i];

        vnet_link_free(e->vl);
        g_assert_null(e->control);
        g_ptr_array_free(e->cids, TRUE);
        g_byte_array_free(e->frames_in, TRUE);
        while (l->pending->len) {
            fake_conn_close(l->pending->pdata[0], true, true);
        }
    }
    /* Data connections that never arrived have only the server's end open */
    while (l->conns->len) {
        FakeConn *c = l->conns->pdata[0];

        g_assert_false(c->open[0]);
        fake_conn_close(c, true, true);
    }
    g_ptr_array_free(l->conns, TRUE);
    g_ptr_array_free(l->pending, TRUE);
    g_free(l);
}
