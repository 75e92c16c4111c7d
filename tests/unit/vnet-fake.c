/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world for tests of the overlay: see vnet-fake.h.
 */
#include <errno.h>
#include <string.h>
#include "vnet-fake-int.h"

/* --- Pattern ------------------------------------------------------------- */

#define PATTERN_LEN     1048573     /* a prime: never in step with buffers */
#define PATTERN_EXTRA   (1 << 16)

static const uint8_t *pattern(void)
{
    static uint8_t *p;

    if (!p) {
        GRand *r = g_rand_new_with_seed(4711);

        p = g_malloc(PATTERN_LEN + PATTERN_EXTRA);
        for (unsigned i = 0; i < PATTERN_LEN; i++) {
            p[i] = g_rand_int(r);
        }
        memcpy(p + PATTERN_LEN, p, PATTERN_EXTRA);
        g_rand_free(r);
    }
    return p;
}

static void pattern_check(unsigned start, uint64_t off, const uint8_t *b,
                          size_t len)
{
    while (len) {
        size_t at = (start + off) % PATTERN_LEN;
        size_t n = MIN(len, PATTERN_EXTRA);

        g_assert_true(!memcmp(b, pattern() + at, n));
        b += n;
        off += n;
        len -= n;
    }
}

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
    if (abort) {
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

guint32 fake_some(FakeWorld *w, guint32 n)
{
    return n <= 1 || !w->rand ? n : 1 + g_rand_int_range(w->rand, 0, n);
}

bool fake_coin(FakeWorld *w)
{
    return w->rand && g_rand_boolean(w->rand);
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

/* --- Actions ------------------------------------------------------------- */

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

static void acts_of_link(GArray *a, FakeLink *l)
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

static void act_do(Act *act)
{
    switch (act->kind) {
    case ACT_TIMER: {
        FakeHost *h = act->p;

        h->timer = INT64_MAX;
        vnet_core_tick(h->core);
        break;
    }
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

void fake_dispatch(FakeWorld *w)
{
    bool again = true;

    while (again) {
        again = false;
        for (guint i = 0; i < w->hosts->len; i++) {
            FakeHost *h = w->hosts->pdata[i];

            if (h->deferred) {
                h->deferred = false;
                vnet_core_run_deferred(h->core);
                again = true;
            }
        }
    }
}

bool fake_step(FakeWorld *w)
{
    g_autoptr(GArray) a = g_array_new(FALSE, FALSE, sizeof(Act));
    guint pick;

    fake_dispatch(w);
    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];

        if (h->timer <= w->now) {
            fake_add(a, ACT_TIMER, h);
        }
    }
    for (guint i = 0; i < w->links->len; i++) {
        acts_of_link(a, w->links->pdata[i]);
    }
    if (!a->len) {
        return false;
    }
    w->steps++;
    pick = w->rand ? (guint)g_rand_int_range(w->rand, 0, a->len)
                   : w->turn++ % a->len;
    act_do(&g_array_index(a, Act, pick));
    fake_dispatch(w);
    return true;
}

void fake_run(FakeWorld *w)
{
    guint64 limit = w->steps + 50000000;

    while (fake_step(w)) {
        g_assert_cmpuint(w->steps, <, limit);
    }
}

static int64_t next_time(FakeWorld *w)
{
    int64_t next = INT64_MAX;

    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];

        next = MIN(next, h->timer);
    }
    for (guint i = 0; i < w->links->len; i++) {
        FakeLink *l = w->links->pdata[i];

        next = MIN(next, l->end[0].retry_at);
    }
    return next;
}

void fake_advance(FakeWorld *w, int64_t ns)
{
    int64_t until = w->now + ns, next;

    fake_run(w);
    while ((next = next_time(w)) <= until) {
        w->now = MAX(w->now, next);
        fake_run(w);
    }
    w->now = until;
    for (guint i = 0; ns >= VNET_PENDING_NS && i < w->links->len; i++) {
        FakeLink *l = w->links->pdata[i];

        while (l->pending->len) {
            fake_conn_close(l->pending->pdata[0], true, true);
        }
    }
}

/* --- Hosts --------------------------------------------------------------- */

static int64_t h_now(void *opaque)
{
    FakeHost *h = opaque;

    return h->w->now;
}

static void h_arm(void *opaque, int64_t when)
{
    FakeHost *h = opaque;

    h->timer = when;
}

static void h_defer(void *opaque)
{
    FakeHost *h = opaque;

    h->deferred = true;
}

static uint64_t h_random(void *opaque)
{
    FakeHost *h = opaque;

    h->next_random = h->next_random * 6364136223846793005ull +
                     1442695040888963407ull;
    return h->next_random ^ h->next_random >> 29;
}

static void h_link_event(void *opaque, VnetLink *l, const char *state,
                         const char *msg)
{
    FakeHost *h = opaque;

    h->link_events++;
    g_assert_nonnull(msg);
    g_strlcpy(h->last_event, state, sizeof(h->last_event));
}

static void h_stream_event(void *opaque, VnetStream *s, const char *state,
                           enum vtoe_reason reason)
{
    FakeHost *h = opaque;
    VnetStreamInfo info;

    h->stream_events++;
    vnet_stream_get_info(s, &info);
    g_assert_nonnull(info.state);
}

static const VnetHostOps host_ops = {
    .now_ns = h_now,
    .arm_timer = h_arm,
    .defer = h_defer,
    .random64 = h_random,
    .link_event = h_link_event,
    .stream_event = h_stream_event,
};

FakeHost *fake_host_new(FakeWorld *w, const VnetCoreConfig *cfg)
{
    FakeHost *h = g_new0(FakeHost, 1);

    h->w = w;
    h->timer = INT64_MAX;
    h->nics = g_ptr_array_new();
    h->next_random = w->hosts->len + 1;
    h->core = vnet_core_new(cfg, &host_ops, h);
    g_ptr_array_add(w->hosts, h);
    return h;
}

FakeHost *fake_host(FakeWorld *w)
{
    const VnetCoreConfig cfg = {
        .name = w->hosts->len ? "right" : "left",
        .vni = 7,
        .max_streams = 4096,
        .heartbeat_ms = 1000,
        .max_macs = 64,
        .mac_age_s = 300,
    };

    return fake_host_new(w, &cfg);
}

FakeWorld *fake_world_new(guint32 seed)
{
    FakeWorld *w = g_new0(FakeWorld, 1);

    w->now = 1000000;
    w->rand = seed ? g_rand_new_with_seed(seed) : NULL;
    w->hosts = g_ptr_array_new();
    w->links = g_ptr_array_new();
    w->pipe_size = 65536;
    w->control_size = 1 << 20;
    return w;
}

static void link_free(FakeLink *l)
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

void fake_links_free(FakeWorld *w)
{
    for (guint i = 0; i < w->links->len; i++) {
        link_free(w->links->pdata[i]);
    }
    g_ptr_array_set_size(w->links, 0);
}

void fake_world_free(FakeWorld *w)
{
    fake_links_free(w);
    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];

        while (h->nics->len) {
            fake_nic_free(h->nics->pdata[0]);
        }
    }
    fake_dispatch(w);
    for (guint i = 0; i < w->hosts->len; i++) {
        FakeHost *h = w->hosts->pdata[i];
        VnetCoreInfo info;

        fake_check_sums(h);
        vnet_query_core(h->core, &info);
        g_assert_cmpuint(info.streams, ==, 0);
        g_assert_cmpuint(info.macs_claimed, ==, 0);
        g_assert_cmpuint(info.macs_learnt, ==, 0);
        vnet_core_free(h->core);
        g_ptr_array_free(h->nics, TRUE);
        g_free(h);
    }
    g_ptr_array_free(w->hosts, TRUE);
    g_ptr_array_free(w->links, TRUE);
    if (w->rand) {
        g_rand_free(w->rand);
    }
    g_free(w);
}

/* --- NICs ---------------------------------------------------------------- */

static void hook(FakeStream *fs, const char *where)
{
    if (fs->hook) {
        fs->hook(fs, where);
    }
}

static void s_over(FakeStream *fs)
{
    g_assert_nonnull(fs->s);
    g_assert_cmpuint(fs->failed + fs->disconnected, ==, 1);
    g_assert_cmpuint(fs->lent.length, ==, 0);
    fs->s = NULL;
}

static void s_established(void *user)
{
    FakeStream *fs = user;

    g_assert_nonnull(fs->s);
    g_assert_cmpuint(fs->established++, ==, 0);
    hook(fs, "established");
}

static void s_failed(void *user, enum vtoe_event_type event,
                     enum vtoe_reason reason)
{
    FakeStream *fs = user;

    g_assert_true(fs->active && !fs->established);
    g_assert_cmpint(reason, !=, VTOE_REASON_NONE);
    fs->failed++;
    fs->event = event;
    fs->reason = reason;
    s_over(fs);
}

static size_t s_tx_peek(void *user, uint64_t offset, struct iovec *iov,
                        unsigned *niov, size_t max)
{
    FakeStream *fs = user;
    size_t total = 0, piece = 20000;
    unsigned n = 0;

    g_assert_true(fs->s && fs->established);
    g_assert_cmpuint(offset, >=, fs->tx_acked);
    g_assert_cmpuint(offset, <=, fs->tx_posted);
    while (n < *niov && total < max && offset < fs->tx_posted) {
        size_t at = (fs->pattern + offset) % PATTERN_LEN;
        size_t len = MIN(MIN(piece, max - total), fs->tx_posted - offset);

        iov[n].iov_base = (void *)(pattern() + at);
        iov[n++].iov_len = len;
        total += len;
        offset += len;
    }
    *niov = n;
    fs->tx_seen = MAX(fs->tx_seen, offset);
    return total;
}

static void s_acked(void *user, uint64_t offset)
{
    FakeStream *fs = user;

    g_assert_nonnull(fs->s);
    g_assert_cmpuint(offset, >, fs->tx_acked);
    g_assert_cmpuint(offset, <=, fs->tx_seen);
    fs->tx_acked = offset;
    hook(fs, "acked");
}

/* Whether there is one more buffer for the stream. */
static bool pool_take(FakeStream *fs)
{
    FakeNic *n = fs->nic;

    if (!n->pool) {
        return true;
    }
    if (!n->pool_free) {
        return false;
    }
    n->pool_free--;
    return true;
}

static void pool_give(FakeStream *fs)
{
    if (fs->nic->pool) {
        fs->nic->pool_free++;
        g_assert_cmpuint(fs->nic->pool_free, <=, fs->nic->pool);
    }
}

static unsigned s_rx_spare(void *user)
{
    FakeStream *fs = user;
    FakeNic *n = fs->nic;

    g_assert_true(fs->s && fs->established && !fs->rx_closed);
    if (fs->rx_paused) {
        return 0;
    }
    return !n->pool ? fs->spare :
           n->pool_free > n->pool / 2 ? n->pool_free - n->pool / 2 : 0;
}

static unsigned s_rx_get(void *user, VnetRxBuf *bufs, unsigned n, size_t max)
{
    FakeStream *fs = user;
    unsigned got = 0;

    g_assert_true(fs->s && fs->established && !fs->rx_closed);
    if (fs->rx_paused) {
        return 0;
    }
    while (got < n && max) {
        if (!pool_take(fs)) {
            if (!got && !fs->waits) {
                fs->waits = true;
                g_queue_push_tail(&fs->nic->waiting, fs);
            }
            break;
        }
        VnetRxBuf *b = g_new0(VnetRxBuf, 1);
        size_t want = fs->rx_vary ? 1 + fs->rx_serial++ * 7919 % fs->rx_buf
                                  : fs->rx_buf;
        size_t len = MIN(max, want);

        b->iov.iov_base = g_malloc(len);
        b->iov.iov_len = len;
        b->priv = b;
        max -= len;
        g_queue_push_tail(&fs->lent, b);
        bufs[got++] = *b;
    }
    return got;
}

static void buf_free(VnetRxBuf *b)
{
    g_free(b->iov.iov_base);
    g_free(b);
}

static void s_rx_done(void *user, VnetRxBuf *buf, size_t len)
{
    FakeStream *fs = user;
    VnetRxBuf *b = g_queue_pop_head(&fs->lent);

    g_assert_true(fs->s && fs->established && !fs->rx_ended);
    g_assert_true(b && buf->priv == b && len && len <= b->iov.iov_len);
    pattern_check(fs->rx_pattern, fs->rx_off, b->iov.iov_base, len);
    fs->rx_off += len;
    buf_free(b);
    pool_give(fs);
    hook(fs, "rx_done");
}

static void s_rx_return(void *user, VnetRxBuf *bufs, unsigned n)
{
    FakeStream *fs = user;

    while (n--) {
        VnetRxBuf *b = g_queue_pop_tail(&fs->lent);

        g_assert_true(b && bufs[n].priv == b);
        buf_free(b);
        pool_give(fs);
    }
}

static void s_rx_end(void *user)
{
    FakeStream *fs = user;

    g_assert_true(fs->s && fs->established && !fs->rx_closed);
    g_assert_cmpuint(fs->rx_ended++, ==, 0);
    hook(fs, "rx_end");
}

static void s_disconnected(void *user, enum vtoe_reason reason)
{
    FakeStream *fs = user;

    fs->disconnected++;
    fs->reason = reason;
    if (reason == VTOE_REASON_NONE) {
        g_assert_true(fs->shut && (fs->rx_ended || fs->rx_closed));
        g_assert_cmpuint(fs->tx_acked, ==, fs->tx_posted);
    }
    s_over(fs);
}

static const VnetStreamOps stream_ops = {
    .established = s_established,
    .failed = s_failed,
    .tx_peek = s_tx_peek,
    .acked = s_acked,
    .rx_get = s_rx_get,
    .rx_spare = s_rx_spare,
    .rx_done = s_rx_done,
    .rx_return = s_rx_return,
    .rx_end = s_rx_end,
    .disconnected = s_disconnected,
};

static FakeStream *fs_new(FakeNic *n, bool active, const VnetFlow *flow)
{
    FakeStream *fs = g_new0(FakeStream, 1);

    fs->nic = n;
    fs->active = active;
    fs->flow = *flow;
    /* Each direction of each stream begins elsewhere in the pattern. */
    fs->pattern = flow->lport * 7919u + flow->rport * 104729u +
                  flow->lmac[5] * 31u;
    fs->rx_pattern = flow->rport * 7919u + flow->lport * 104729u +
                     flow->rmac[5] * 31u;
    fs->rx_buf = 8192;
    fs->spare = 1000;
    g_queue_init(&fs->lent);
    g_ptr_array_add(n->streams, fs);
    return fs;
}

static void fs_free(FakeStream *fs)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->lent.length, ==, 0);
    g_free(fs);
}

static VnetFrameResult n_frame(void *opaque, const VnetFrameHdr *hdr,
                               const struct iovec *iov, unsigned niov,
                               size_t len)
{
    FakeNic *n = opaque;
    size_t off = 0;

    if (n->frame_result != VNET_FRAME_OK) {
        return n->frame_result;
    }
    n->frames++;
    n->last_len = len;
    n->last_hdr = *hdr;
    for (unsigned i = 0; i < niov; i++) {
        memcpy(n->last_frame + off, iov[i].iov_base, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    g_assert_cmpuint(off, ==, len);
    return VNET_FRAME_OK;
}

static void n_tx_ready(void *opaque)
{
    FakeNic *n = opaque;

    n->tx_ready++;
}

static void n_link_state(void *opaque, bool up)
{
    FakeNic *n = opaque;

    n->carrier = up;
    n->carrier_told++;
}

static void n_capability(void *opaque, const uint8_t *mac, bool streams)
{
    FakeNic *n = opaque;

    n->capabilities++;
}

static void n_batch_end(void *opaque)
{
    FakeNic *n = opaque;

    n->batches++;
    /* Whoever waits for a buffer gets his turn, in the order of coming. */
    for (guint k = n->waiting.length; k && n->pool_free; k--) {
        FakeStream *fs = g_queue_pop_head(&n->waiting);

        fs->waits = false;
        if (fs->s && !fs->rx_closed) {
            vnet_stream_rx_ready(fs->s);
        }
    }
}

static void passive_start(FakeStream *fs)
{
    fs->tx_posted = fs->nic->passive_tx;
    if (!fs->nic->passive_hold) {
        fs->shut = true;
        vnet_stream_shutdown(fs->s, fs->tx_posted);
    }
}

void fake_accept(FakeStream *fs)
{
    g_assert_false(fs->answered);
    fs->answered = true;
    vnet_stream_accept(fs->s, &stream_ops, fs);
    passive_start(fs);
}

static enum vtoe_reason n_request(void *opaque, VnetStream *s,
                                  const VnetFlow *flow)
{
    FakeNic *n = opaque;
    FakeStream *fs;

    if (n->answer == FAKE_REFUSE) {
        return n->refuse;
    }
    fs = fs_new(n, false, flow);
    fs->s = s;
    vnet_stream_bind(s, &stream_ops, fs);
    if (n->answer == FAKE_ACCEPT) {
        fake_accept(fs);
    }
    return VTOE_REASON_NONE;
}

static const VnetPortOps nic_ops = {
    .frame = n_frame,
    .tx_ready = n_tx_ready,
    .link_state = n_link_state,
    .connect_request = n_request,
    .peer_capability = n_capability,
    .batch_end = n_batch_end,
};

FakeNic *fake_nic_new(FakeHost *h, uint8_t num)
{
    FakeNic *n = g_new0(FakeNic, 1);
    g_autofree char *id = g_strdup_printf("nic%u", num);

    n->h = h;
    memcpy(n->mac, (uint8_t[6]) { 0x52, 0x54, 0, 0, 0, num }, 6);
    n->streams = g_ptr_array_new();
    g_ptr_array_add(h->nics, n);
    n->port = vnet_port_attach(h->core, id, n->mac, &nic_ops, n);
    return n;
}

void fake_nic_free(FakeNic *n)
{
    vnet_port_detach(n->port);
    g_ptr_array_remove(n->h->nics, n);
    for (guint i = 0; i < n->streams->len; i++) {
        fs_free(n->streams->pdata[i]);
    }
    g_ptr_array_free(n->streams, TRUE);
    g_queue_clear(&n->waiting);
    g_assert_cmpuint(n->pool_free, ==, n->pool);
    g_free(n);
}

/* --- What tests do ------------------------------------------------------- */

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

VnetLink *fake_link_client(FakeLink *l)
{
    return l->end[0].vl;
}

VnetLink *fake_link_server(FakeLink *l)
{
    return l->end[1].vl;
}

void fake_link_cut(FakeLink *l, bool server_sees, bool client_sees)
{
    if (client_sees) {
        vnet_link_down(l->end[0].vl, "cut");
    }
    if (server_sees) {
        vnet_link_down(l->end[1].vl, "cut");
    }
    fake_dispatch(l->w);
}

void fake_link_stall_control(FakeLink *l, bool stall)
{
    l->stall_control = stall;
}

void fake_link_stall_data(FakeLink *l, bool stall)
{
    l->stall_data = stall;
}

void fake_link_frames_busy(FakeLink *l, bool server, bool busy)
{
    l->end[server].frames_busy = busy;
}

void fake_link_block(FakeLink *l, bool block)
{
    l->block = block;
}

void fake_link_inject(FakeLink *l, bool to_server, const void *p, size_t len)
{
    g_assert_nonnull(l->end[to_server].control);
    g_byte_array_append(l->end[to_server].control->dir[to_server].bytes, p,
                        len);
}

void fake_link_inject_msg(FakeLink *l, bool to_server, const VnetMsg *m)
{
    uint8_t buf[VNET_MSG_MAX];
    size_t n = vnet_wire_put_msg(buf, m);

    fake_link_inject(l, to_server, buf, n);
}

void fake_link_swallow(FakeLink *l, bool to_server, uint8_t type)
{
    l->end[to_server].swallow = type;
}

size_t fake_link_data_waiting(FakeLink *l)
{
    size_t n = 0;

    for (guint i = 0; i < l->conns->len; i++) {
        FakeConn *c = l->conns->pdata[i];

        if (c->p.kind == VNET_CONN_DATA) {
            n += c->dir[0].bytes->len + c->dir[1].bytes->len;
        }
    }
    return n;
}

unsigned fake_link_conns(FakeLink *l)
{
    return l->conns->len;
}

uint64_t fake_link_token(FakeLink *l)
{
    return l->end[0].frame_preamble.token;
}

void fake_link_refuse_cids(FakeLink *l, bool open_null, int connect_err)
{
    l->cid_null = open_null;
    l->connect_err = connect_err;
}

static VnetCid *find_cid(FakeStream *fs)
{
    FakeWorld *w = fs->nic->h->w;

    for (guint i = 0; i < w->links->len; i++) {
        FakeLink *l = w->links->pdata[i];

        for (int j = 0; j < 2; j++) {
            for (guint k = 0; k < l->end[j].cids->len; k++) {
                VnetCid *c = l->end[j].cids->pdata[k];

                if (c->s == fs->s) {
                    return c;
                }
            }
        }
    }
    return NULL;
}

void fake_stream_break_cid(FakeStream *fs, int err)
{
    VnetCid *c = find_cid(fs);

    if (!c || !c->c) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        g_byte_array_set_size(c->c->dir[i].bytes, 0);
        c->c->dir[i].err = err;
    }
    fake_msg_lose(c->c);
}

void fake_stream_inject(FakeStream *fs, const void *p, size_t len)
{
    VnetCid *c = find_cid(fs);

    g_byte_array_append(c->c->dir[c->e->server].bytes, p, len);
}

void fake_stream_inject_msg(FakeStream *fs, const void *p, size_t len)
{
    VnetCid *c = find_cid(fs);

    fake_msg_send(c->c, c->e->server, p, len);
}

FakeStream *fake_connect(FakeNic *n, const uint8_t mac[6], uint64_t tx_total)
{
    static uint16_t port;
    VnetFlow flow = {
        .family = 4, .lport = ++port, .rport = 80,
        .laddr = { 10, 0, 0, 1 }, .raddr = { 10, 0, 0, 2 },
    };
    FakeStream *fs;

    memcpy(flow.lmac, n->mac, 6);
    memcpy(flow.rmac, mac, 6);
    fs = fs_new(n, true, &flow);
    fs->answered = true;
    fs->s = vnet_stream_connect(n->port, &flow, &stream_ops, fs);
    g_assert_nonnull(fs->s);
    vnet_stream_set_sid(fs->s, port);
    g_assert_false(fs->failed);
    if (tx_total != UINT64_MAX) {
        fs->tx_posted = tx_total;
        fs->shut = true;
        vnet_stream_shutdown(fs->s, tx_total);
    }
    return fs;
}

FakeStream *fake_peer_of(FakeNic *nic, FakeStream *fs)
{
    for (guint i = 0; i < nic->streams->len; i++) {
        FakeStream *p = nic->streams->pdata[i];

        if (p->flow.rport == fs->flow.lport && !p->active) {
            return p;
        }
    }
    return NULL;
}

void fake_post(FakeStream *fs, uint64_t bytes)
{
    fs->tx_posted += bytes;
    vnet_stream_tx_ready(fs->s);
    fake_dispatch(fs->nic->h->w);
}

void fake_shutdown(FakeStream *fs)
{
    fs->shut = true;
    vnet_stream_shutdown(fs->s, fs->tx_posted);
    fake_dispatch(fs->nic->h->w);
}

void fake_resume(FakeStream *fs)
{
    fs->rx_paused = false;
    if (fs->s) {
        vnet_stream_rx_ready(fs->s);
    }
    fake_dispatch(fs->nic->h->w);
}

VnetFrameResult fake_send_frame(FakeNic *n, const uint8_t dst[6],
                                const uint8_t src[6], size_t len)
{
    g_autofree uint8_t *f = g_malloc0(MAX(len, 14));
    const VnetFrameHdr hdr = { 0 };
    struct iovec iov[2];
    VnetFrameResult r;

    memcpy(f, dst, 6);
    memcpy(f + 6, src, 6);
    for (size_t i = 12; i < len; i++) {
        f[i] = i * 7;
    }
    iov[0] = (struct iovec) { f, MIN(len, 9) };     /* across the addresses */
    iov[1] = (struct iovec) { f + iov[0].iov_len, len - iov[0].iov_len };
    r = vnet_port_send(n->port, &hdr, iov, 2, len);
    fake_dispatch(n->h->w);
    return r;
}

const VnetCoreStats *fake_stats(FakeHost *h)
{
    VnetCoreInfo info;

    vnet_query_core(h->core, &info);
    return info.stats;
}

const VnetLinkStats *fake_link_stats(FakeLink *l, bool server)
{
    return vnet_link_stats(l->end[server].vl);
}

typedef struct FindError {
    VnetLink *l;
    const char *error;
} FindError;

static void find_error(void *opaque, const VnetLinkInfo *info)
{
    FindError *f = opaque;

    if (info->link == f->l) {
        f->error = info->last_error;
    }
}

const char *fake_last_error(FakeLink *l, bool server)
{
    FindError f = { l->end[server].vl, NULL };

    vnet_query_links(l->end[server].h->core, find_error, &f);
    return f.error;
}

void fake_check_sums(FakeHost *h)
{
    const VnetCoreStats *st = fake_stats(h);
    uint64_t frames = st->frames_forwarded + st->frames_flooded;
    uint64_t ended = st->streams_graceful;
    VnetCoreInfo info;

    for (const VnetStatDesc *d = vnet_core_stat_descs; d->name; d++) {
        uint64_t v = *(const uint64_t *)((const char *)st + d->offset);

        if (g_str_has_prefix(d->name, "frames_drop_")) {
            frames += v;
        }
        if (g_str_has_prefix(d->name, "connect_") ||
            g_str_has_prefix(d->name, "reset_")) {
            ended += v;
        }
    }
    g_assert_cmpuint(frames, ==, st->frames_in);
    /* A refused request was a stream only if a NIC saw it. */
    ended += st->rejected_port + st->rejected_host;
    vnet_query_core(h->core, &info);
    g_assert_cmpuint(ended + info.streams, ==,
                     st->streams_active + st->streams_passive);
}
