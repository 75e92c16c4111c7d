/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link's peer that sends arbitrary bytes.
 *
 * The first byte of an input says what the rest is given to:
 *   0       the preamble decoder
 *   1       the message decoder
 *   2       the frame header decoder
 *   others  a live server end, which has a NIC in network 7 and now and then one in
 *           network 9, streams of its own and a HELLO from this peer, which says
 *           that it has 7, 9 and 10; even: HELLO was said, odd: it was not; with
 *           bit 1 the link has a message transport.
 *
 * For a live end the rest is a list of steps: control bytes, data connection
 * events, frames, time, what its guest does.  What decodes must encode to the
 * same; every stream gets one terminal callback; nothing is left at the end.  On
 * a message transport nothing is sent but into receives that this peer granted,
 * and no more are posted than a connection can have.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <glib.h>
#include "vnet-query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(c) do { if (!(c)) { abort(); } } while (0)

/* --- Codec ------------------------------------------------------------------- */

static void fuzz_preamble(const uint8_t *in, size_t len)
{
    uint8_t out[VNET_PREAMBLE_SIZE];
    VnetPreamble p;

    if (vnet_wire_get_preamble(in, len, &p) == VNET_WIRE_OK) {
        vnet_wire_put_preamble(out, &p);
        CHECK(!memcmp(out, in, sizeof(out)));
    }
}

static void fuzz_messages(const uint8_t *in, size_t len)
{
    uint8_t out[VNET_MSG_MAX];
    size_t used;
    VnetMsg m;

    while (vnet_wire_get_msg(in, len, &m, &used) == VNET_WIRE_OK) {
        size_t n;

        CHECK(used >= VNET_MSG_HDR_SIZE && used <= len);
        n = vnet_wire_put_msg(out, &m);
        if (m.type == VNET_MSG_HELLO) {
            CHECK(n <= used && !memcmp(out + 4, in + 4, n - 4));
        } else {
            CHECK(n == used && !memcmp(out, in, n));
        }
        in += used;
        len -= used;
    }
}

static void fuzz_frame(const uint8_t *in, size_t len)
{
    uint8_t out[VNET_FRAME_HDR_SIZE];
    VnetWireFrame f;

    if (len >= sizeof(out) && vnet_wire_get_frame(in, &f) == VNET_WIRE_OK) {
        vnet_wire_put_frame(out, &f);
        CHECK(!memcmp(out, in, sizeof(out)));
    }
}

/* --- A live end --------------------------------------------------------------- */

#define MAX_STREAMS     32
#define MAX_MSG         4096
#define MAX_POSTED      4

typedef struct Guest {          /* a stream's NIC side */
    VnetStream *s;
    bool over, answered;
    uint64_t posted, acked;
    unsigned lent;
} Guest;

struct VnetCid {
    VnetStream *s;
    VnetRxBuf lent[MAX_POSTED + 1];
    unsigned nlent;
    bool up, eof;
    size_t sending;             /* bytes of sends that did not complete */
};

typedef struct World {
    VnetCore *core;
    VnetPort *port;
    VnetNet *net9;              /* NULL: there is none now */
    VnetPort *port9;
    VnetLink *l;
    int64_t now, timer;
    bool deferred, up, messages;
    uint64_t token;
    Guest guests[4 * MAX_STREAMS];
    unsigned nguests;
    VnetCid *cids[4 * MAX_STREAMS];
    unsigned ncids;
    uint8_t pending[VNET_MSG_MAX];
    size_t npending;
    size_t queued;              /* control bytes the peer has not read */
} World;

static uint8_t memory[4096];

static void g_established(void *user)
{
    Guest *g = user;

    CHECK(!g->over);
}

static void g_over(Guest *g)
{
    CHECK(!g->over && !g->lent);
    g->over = true;
    g->s = NULL;
}

static void g_failed(void *user, enum vtoe_event_type event,
                     enum vtoe_reason reason)
{
    CHECK(reason != VTOE_REASON_NONE);
    g_over(user);
}

static size_t g_tx_peek(void *user, uint64_t offset, struct iovec *iov,
                        unsigned *niov, size_t max)
{
    Guest *g = user;
    size_t n = MIN(MIN(g->posted - offset, max), sizeof(memory));

    CHECK(!g->over && offset >= g->acked && offset <= g->posted);
    iov[0] = (struct iovec) { memory, n };
    *niov = n ? 1 : 0;
    return n;
}

static void g_acked(void *user, uint64_t offset)
{
    Guest *g = user;

    CHECK(!g->over && offset > g->acked && offset <= g->posted);
    g->acked = offset;
}

static unsigned g_rx_get(void *user, VnetRxBuf *bufs, unsigned n, size_t max)
{
    Guest *g = user;
    unsigned i;

    CHECK(!g->over);
    for (i = 0; i < n && i < 2 && max; i++) {
        bufs[i].iov.iov_base = memory;
        bufs[i].iov.iov_len = MIN(max, 1000);
        max -= bufs[i].iov.iov_len;
    }
    g->lent += i;
    return i;
}

static unsigned g_rx_spare(void *user)
{
    Guest *g = user;

    CHECK(!g->over);
    return 3;
}

static void g_rx_done(void *user, VnetRxBuf *buf, size_t len)
{
    Guest *g = user;

    CHECK(!g->over && g->lent && len && len <= buf->iov.iov_len);
    g->lent--;
}

static void g_rx_return(void *user, VnetRxBuf *bufs, unsigned n)
{
    Guest *g = user;

    CHECK(!g->over && n <= g->lent);
    g->lent -= n;
}

static void g_rx_end(void *user)
{
    Guest *g = user;

    CHECK(!g->over);
}

static void g_disconnected(void *user, enum vtoe_reason reason)
{
    g_over(user);
}

static const VnetStreamOps guest_ops = {
    .established = g_established,
    .failed = g_failed,
    .tx_peek = g_tx_peek,
    .acked = g_acked,
    .rx_get = g_rx_get,
    .rx_spare = g_rx_spare,
    .rx_done = g_rx_done,
    .rx_return = g_rx_return,
    .rx_end = g_rx_end,
    .disconnected = g_disconnected,
};

static Guest *guest_new(World *w, VnetStream *s)
{
    Guest *g;

    if (w->nguests == G_N_ELEMENTS(w->guests)) {
        return NULL;
    }
    g = &w->guests[w->nguests++];
    g->s = s;
    return g;
}

static VnetFrameResult n_frame(void *opaque, const VnetFrameHdr *hdr,
                               const struct iovec *iov, unsigned niov,
                               size_t len)
{
    return VNET_FRAME_OK;
}

static void n_nothing(void *opaque)
{
}

static void n_link_state(void *opaque, bool up)
{
}

static enum vtoe_reason n_request(void *opaque, VnetStream *s,
                                  const VnetFlow *flow)
{
    World *w = opaque;
    Guest *g;

    if (flow->rport & 1) {
        return VTOE_REASON_NO_LISTENER;
    }
    g = guest_new(w, s);
    if (!g) {
        return VTOE_REASON_LIMIT;
    }
    vnet_stream_bind(s, &guest_ops, g);
    if (flow->rport & 2) {
        g->answered = true;
        vnet_stream_accept(s, &guest_ops, g);
    }
    return VTOE_REASON_NONE;
}

static const VnetPortOps nic_ops = {
    n_frame, n_nothing, n_link_state, n_request, NULL, n_nothing,
};

static void t_close(void *transport, int64_t retry)
{
    World *w = transport;

    CHECK(w->ncids == 0);
    w->up = false;
    w->npending = 0;
    w->queued = 0;
}

static bool t_control(void *transport, const void *buf, size_t len)
{
    World *w = transport;
    size_t used;
    VnetMsg m;

    /* What this end says is well-formed. */
    CHECK(vnet_wire_get_msg(buf, len, &m, &used) == VNET_WIRE_OK);
    CHECK(used == len);
    if (m.type == VNET_MSG_HELLO) {
        w->token = m.u.hello.token;
    }
    w->queued += len;
    return w->queued < 65536;
}

static void t_open_frames(void *transport, const VnetPreamble *p)
{
    abort();                    /* the client's */
}

static VnetFrameResult t_frame(void *transport, const VnetWireFrame *f,
                               const struct iovec *iov, unsigned niov)
{
    CHECK(vnet_wire_check_frame(f) == VNET_WIRE_OK);
    return VNET_FRAME_OK;
}

static VnetCid *t_cid_open(void *transport, VnetStream *s,
                           const VnetPreamble *p)
{
    World *w = transport;
    VnetCid *c;

    if (w->ncids == G_N_ELEMENTS(w->cids)) {
        return NULL;
    }
    c = g_new0(VnetCid, 1);
    c->s = s;
    w->cids[w->ncids++] = c;
    return c;
}

static void t_cid_io(VnetCid *c)
{
}

static void t_cid_tx(VnetCid *c)
{
    CHECK(c->up);
    for (;;) {
        struct iovec iov[4];
        unsigned niov = 4;
        VnetStreamInfo info;
        size_t n = vnet_stream_pull_tx(c->s, iov, &niov, MAX_MSG);
        uint32_t grants;

        if (!n) {
            break;
        }
        CHECK(n <= MAX_MSG);
        vnet_stream_get_info(c->s, &info);
        grants = info.tx_grants;
        CHECK(grants);
        c->sending += n;
        vnet_stream_tx_sent(c->s, n);
        vnet_stream_get_info(c->s, &info);
        CHECK(info.tx_grants == grants - 1);
    }
}

static void t_cid_rx(VnetCid *c)
{
    CHECK(c->up);
    for (;;) {
        unsigned n = vnet_stream_pull_rx(c->s, c->lent + c->nlent,
                                         MAX_POSTED - c->nlent + 1, MAX_MSG);

        if (!n) {
            break;
        }
        CHECK(c->nlent + n <= MAX_POSTED);
        vnet_stream_rx_posted(c->s, c->lent + c->nlent, n);
        c->nlent += n;
    }
}

static void t_cid_stop(VnetCid *c)
{
}

/* A byte may have come; what the device tells differs. */
static bool t_cid_settle(VnetCid *c)
{
    bool settled = c->sending % 3 != 2;

    if (c->nlent > 1) {
        VnetRxBuf b = c->lent[0];

        memmove(c->lent, c->lent + 1, --c->nlent * sizeof(b));
        vnet_stream_rx_filled(c->s, &b, 1);
    }
    return settled;
}

static World *world;            /* of t_cid_close, which gets no other way */

static void t_cid_close(VnetCid *c, bool abort_it)
{
    World *w = world;

    for (unsigned i = 0; i < w->ncids; i++) {
        if (w->cids[i] == c) {
            w->cids[i] = w->cids[--w->ncids];
            break;
        }
    }
    if (c->nlent) {
        vnet_stream_rx_unused(c->s, c->lent, c->nlent);
    }
    g_free(c);
}

static const VnetTransportOps transport_ops = {
    .type = "fuzz",
    .close = t_close,
    .control = t_control,
    .open_frames = t_open_frames,
    .frame = t_frame,
    .cid_open = t_cid_open,
    .cid_tx = t_cid_io,
    .cid_rx = t_cid_io,
    .cid_tx_end = t_cid_io,
    .cid_close = t_cid_close,
};

static const VnetTransportOps message_ops = {
    .type = "fuzz-messages",
    .max_msg = MAX_MSG,
    .max_posted = MAX_POSTED,
    .close = t_close,
    .control = t_control,
    .open_frames = t_open_frames,
    .frame = t_frame,
    .cid_open = t_cid_open,
    .cid_tx = t_cid_tx,
    .cid_rx = t_cid_rx,
    .cid_tx_end = t_cid_io,
    .cid_stop = t_cid_stop,
    .cid_settle = t_cid_settle,
    .cid_close = t_cid_close,
};

static int64_t h_now(void *opaque)
{
    return ((World *)opaque)->now;
}

static void h_arm(void *opaque, int64_t when)
{
    ((World *)opaque)->timer = when;
}

static void h_defer(void *opaque)
{
    ((World *)opaque)->deferred = true;
}

static uint64_t h_random(void *opaque)
{
    static uint64_t x = 1;

    return x = x * 6364136223846793005ull + 1442695040888963407ull;
}

static const VnetHostOps host_ops = {
    h_now, h_arm, h_defer, h_random, NULL, NULL, NULL,
};

static void dispatch_end(World *w)
{
    for (int i = 0; w->deferred; i++) {
        CHECK(i < 10000);
        w->deferred = false;
        vnet_core_run_deferred(w->core);
    }
}

/* Input, eaten from the front; 0 when it is used up. */
typedef struct Input {
    const uint8_t *p;
    size_t len;
} Input;

static uint8_t eat(Input *in)
{
    if (!in->len) {
        return 0;
    }
    in->len--;
    return *in->p++;
}

static void step_control(World *w, Input *in)
{
    size_t n = eat(in);
    g_autofree uint8_t *buf = NULL;
    ssize_t used;

    n = MIN(n, in->len);
    buf = g_malloc(w->npending + n + 1);    /* never NULL */
    memcpy(buf, w->pending, w->npending);
    if (n) {
        memcpy(buf + w->npending, in->p, n);
    }
    in->p += n;
    in->len -= n;
    n += w->npending;
    used = vnet_link_control(w->l, buf, n);
    if (used < 0) {
        CHECK(!w->up);
        return;
    }
    CHECK((size_t)used <= n && n - used < VNET_MSG_MAX);
    w->npending = n - used;
    memcpy(w->pending, buf + used, w->npending);
}

/* What the lowest two bits of a byte say: here, at times, never and not said. */
static uint32_t some_vni(uint8_t byte)
{
    static const uint32_t ids[] = { 7, 9, 10, 11 };

    return ids[byte & 3];
}

/* A message with few bytes of input, so that deep states are reached. */
static void step_message(World *w, Input *in)
{
    VnetMsg m = { .type = 1 + eat(in) % VNET_MSG_LAST };
    uint8_t buf[VNET_MSG_MAX];
    size_t len;

    if (vnet_wire_has_id(m.type)) {
        uint8_t id = eat(in);

        m.id = ((id & 15) + 1) | (id & 128 ? VNET_STREAM_ID_SERVER : 0);
    }
    switch (m.type) {
    case VNET_MSG_OPEN:
        m.u.open.flow.family = 4;
        m.u.open.flow.lport = eat(in);
        m.u.open.vni = some_vni(m.u.open.flow.lport >> 6);
        memcpy(m.u.open.flow.lmac, "\x52\x54\0\0\0\2", 6);
        memcpy(m.u.open.flow.rmac, "\x52\x54\0\0\0\1", 6);
        break;
    case VNET_MSG_REJECT:
    case VNET_MSG_ABORT:
        m.u.reject.reason = 1 + eat(in) % VTOE_REASON_MAX;
        break;
    case VNET_MSG_ACK:
    case VNET_MSG_END:
        m.flags = m.type == VNET_MSG_ACK ? eat(in) & 1 : 0;
        m.u.offset.offset = eat(in) * 16;
        break;
    case VNET_MSG_WANT:
        m.u.offset.offset = 1 + eat(in) * 500;
        break;
    case VNET_MSG_CREDIT:
        m.u.credit.count = 1 + eat(in) % 32 * 16;
        m.u.credit.length = 1 + eat(in) * 20;
        break;
    case VNET_MSG_MAC:
        m.flags = eat(in);
        m.u.mac.vni = some_vni(m.flags >> 2);
        m.flags &= 3;
        memcpy(m.u.mac.mac, "\x52\x54\0\0\0", 5);
        m.u.mac.mac[5] = eat(in) & 7;
        break;
    case VNET_MSG_NET:
        m.flags = eat(in);
        m.u.net.vni = m.flags & 0x80 ? 100 + (m.flags >> 1 & 0x3f)
                                     : some_vni(m.flags >> 1);
        m.flags &= 1;
        break;
    default:
        break;
    }
    len = vnet_wire_put_msg(buf, &m);
    w->npending = 0;
    vnet_link_control(w->l, buf, len);
}

/* Completions of a message transport. */
static void step_cid_messages(World *w, Input *in, VnetCid *c, uint8_t what)
{
    size_t n = 1 + eat(in);

    switch (what % 6) {
    case 2:
    case 3:
        n = MIN(n, c->sending);
        if (n) {
            c->sending -= n;
            vnet_stream_tx_done(c->s, n);
        }
        break;
    case 4:
    case 5:
        if (c->nlent) {
            VnetRxBuf b = c->lent[0];

            memmove(c->lent, c->lent + 1, --c->nlent * sizeof(b));
            vnet_stream_rx_filled(c->s, &b, MIN(n, b.iov.iov_len));
        }
        break;
    }
}

static void step_cid(World *w, Input *in)
{
    VnetCid *c;
    uint8_t what = eat(in);
    struct iovec iov[4];
    unsigned niov = 4, n;
    size_t k;

    if (!w->ncids) {
        return;
    }
    c = w->cids[eat(in) % w->ncids];
    if (w->messages && what % 6 > 1) {
        step_cid_messages(w, in, c, what);
        return;
    }
    switch (what % 6) {
    case 0:
        if (!c->up) {
            c->up = true;
            vnet_cid_up(c->s);
        }
        break;
    case 1:
        vnet_cid_down(c->s, ECONNRESET);
        break;
    case 2:
        if (c->up && !c->eof && !c->nlent) {
            c->eof = true;
            vnet_cid_down(c->s, 0);
        }
        break;
    case 3:
        k = vnet_stream_pull_tx(c->s, iov, &niov, 4096);
        if (k) {
            vnet_stream_tx_sent(c->s, 1 + eat(in) % k);
        }
        break;
    case 4:
        if (c->up && !c->eof && !c->nlent) {
            c->nlent = vnet_stream_pull_rx(c->s, c->lent, 4, 4096);
        }
        break;
    case 5:
        if (c->nlent) {
            VnetRxBuf b = c->lent[0];

            memmove(c->lent, c->lent + 1, --c->nlent * sizeof(b));
            vnet_stream_rx_filled(c->s, &b, 1 + eat(in) % b.iov.iov_len);
        }
        n = c->nlent;
        if (n && (what & 128)) {
            c->nlent = 0;
            vnet_stream_rx_unused(c->s, c->lent, n);
        }
        break;
    }
}

static void net_comes_or_goes(World *w)
{
    const VnetNetConfig cfg = { .vni = 9 };

    if (!w->net9) {
        w->net9 = vnet_net_new(w->core, &cfg);
        CHECK(w->net9);
        w->port9 = vnet_port_attach(w->net9, "nic9",
                                    (const uint8_t *)"\x52\x54\0\0\0\1",
                                    &nic_ops, w);
    } else {
        vnet_port_detach(w->port9);
        vnet_net_free(w->net9);
        w->net9 = NULL;
        w->port9 = NULL;
    }
}

static void step_guest(World *w, Input *in)
{
    uint8_t what = eat(in);
    Guest *g;

    if (what % 8 == 7) {
        VnetFlow flow = { .family = 4 };

        memcpy(flow.lmac, "\x52\x54\0\0\0\1", 6);
        memcpy(flow.rmac, "\x52\x54\0\0\0\2", 6);
        g = guest_new(w, NULL);
        if (g) {
            g->answered = true;
            g->s = vnet_stream_connect(what & 8 && w->port9 ? w->port9
                                                            : w->port, &flow,
                                       &guest_ops, g);
        }
        return;
    }
    if (what % 8 == 6) {
        net_comes_or_goes(w);
        return;
    }
    if (!w->nguests) {
        return;
    }
    g = &w->guests[eat(in) % w->nguests];
    if (g->over || !g->s) {
        return;
    }
    if (!g->answered) {
        VnetStream *s = g->s;

        g->answered = true;
        if (what & 1) {
            vnet_stream_accept(s, &guest_ops, g);
        } else {
            g->over = true;
            g->s = NULL;
            vnet_stream_reject(s, VTOE_REASON_NO_LISTENER);
        }
        return;
    }
    switch (what % 8) {
    case 0:
        g->posted += 16 + (what >> 3) * 40;
        vnet_stream_tx_ready(g->s);
        break;
    case 1:
        vnet_stream_rx_ready(g->s);
        break;
    case 2:
        vnet_stream_shutdown(g->s, g->posted);
        break;
    case 3:
        vnet_stream_rx_close(g->s);
        break;
    case 4: {
        VnetStream *s = g->s;

        vnet_stream_abort(s, VTOE_REASON_RESET);
        g_over(g);
        break;
    }
    case 5:
        vnet_port_reset_streams(w->port, VTOE_REASON_DEVICE_RESET);
        break;
    default:
        break;
    }
}

static void step_frame(World *w, Input *in)
{
    uint8_t f[64] = { 0 };
    VnetWireFrame wf = { .len = sizeof(f) };
    const struct iovec iov = { f, sizeof(f) };

    for (int i = 0; i < 12; i++) {
        f[i] = eat(in) & 3;
    }
    wf.hdr.flags = eat(in);
    wf.vni = some_vni(wf.hdr.flags >> 2);
    wf.hdr.flags &= 3;
    wf.hdr.csum_start = eat(in);
    if (w->up && vnet_wire_check_frame(&wf) == VNET_WIRE_OK) {
        vnet_link_frame(w->l, &wf, &iov, 1);
    }
}

static void step_data_connection(World *w, Input *in)
{
    VnetPreamble p = { 1, VNET_CONN_DATA, 0x77, w->token, 1 + eat(in) };
    VnetStream *s;

    if (eat(in) & 1) {
        p.stream_id |= VNET_STREAM_ID_SERVER;
    }
    if (vnet_link_admits(w->l, &p, &s) && s) {
        for (unsigned i = 0; i < w->ncids; i++) {
            if (w->cids[i]->s == s && !w->cids[i]->up) {
                w->cids[i]->up = true;
                vnet_cid_up(s);
                return;
            }
        }
        abort();
    }
}

static void connect_peer(World *w, bool with_hello)
{
    VnetPreamble p = { 1, VNET_CONN_CONTROL, 0x77, 0, 0 };
    VnetMsg m = { .type = VNET_MSG_HELLO };
    uint8_t buf[VNET_MSG_MAX];
    size_t len;

    w->up = true;
    w->npending = 0;
    CHECK(vnet_link_up(w->l, &p));
    if (with_hello) {
        m.u.hello.version_min = m.u.hello.version_max = 1;
        m.u.hello.heartbeat_ms = 1000;
        m.u.hello.features = 7 | VNET_HELLO_F_NETS;
        m.u.hello.epoch = 0x77;
        m.u.hello.vni = 7;
        m.u.hello.nnets = 2;
        m.u.hello.nets[0] = 9;
        m.u.hello.nets[1] = 10;
        m.u.hello.max_streams = MAX_STREAMS;
        len = vnet_wire_put_msg(buf, &m);
        CHECK(vnet_link_control(w->l, buf, len) == (ssize_t)len);
        m = (VnetMsg) { .type = VNET_MSG_MAC, .flags = VNET_MAC_F_STREAMS };
        m.u.mac.vni = 7;
        memcpy(m.u.mac.mac, "\x52\x54\0\0\0\2", 6);
        len = vnet_wire_put_msg(buf, &m);
        CHECK(vnet_link_control(w->l, buf, len) == (ssize_t)len);
    }
    dispatch_end(w);
}

static void fuzz_live(Input in, bool with_hello, bool messages)
{
    static const VnetCoreConfig cfg = {
        .name = "fuzz", .net.vni = 7, .max_streams = MAX_STREAMS,
        .heartbeat_ms = 1000, .resume_ms = 5000, .max_macs = 8, .mac_age_s = 10,
    };
    World *w = g_new0(World, 1);
    VnetCoreInfo info;

    world = w;
    w->timer = INT64_MAX;
    w->core = vnet_core_new(&cfg, &host_ops, w);
    w->port = vnet_port_attach(vnet_core_net(w->core), "nic",
                               (const uint8_t *)"\x52\x54\0\0\0\1", &nic_ops,
                               w);
    w->messages = messages;
    w->l = vnet_link_new(w->core, "l", true,
                         messages ? &message_ops : &transport_ops, w);
    connect_peer(w, with_hello);
    for (int steps = 0; in.len && steps < 2000; steps++) {
        uint8_t what = eat(&in);

        if (!w->up) {
            connect_peer(w, true);
        }
        switch (what % 8) {
        case 0:
            step_control(w, &in);
            break;
        case 1 ... 2:
            step_message(w, &in);
            break;
        case 3:
            step_cid(w, &in);
            break;
        case 4:
            step_guest(w, &in);
            break;
        case 5:
            step_data_connection(w, &in);
            break;
        case 6:
            step_frame(w, &in);
            break;
        case 7:
            w->now += (int64_t)eat(&in) * 20000000;
            w->queued = 0;
            while (w->timer <= w->now) {
                w->timer = INT64_MAX;
                vnet_core_tick(w->core);
                dispatch_end(w);
            }
            break;
        }
        dispatch_end(w);
    }
    vnet_link_free(w->l);
    dispatch_end(w);
    vnet_query_core(w->core, &info);
    CHECK(info.streams == 0 && w->ncids == 0);
    for (unsigned i = 0; i < w->nguests; i++) {
        CHECK(w->guests[i].over || !w->guests[i].answered);
        CHECK(w->guests[i].lent == 0);
    }
    if (w->net9) {
        net_comes_or_goes(w);
    }
    vnet_port_detach(w->port);
    dispatch_end(w);
    vnet_core_free(w->core);
    g_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size) {
        return 0;
    }
    switch (data[0]) {
    case 0:
        fuzz_preamble(data + 1, size - 1);
        break;
    case 1:
        fuzz_messages(data + 1, size - 1);
        break;
    case 2:
        fuzz_frame(data + 1, size - 1);
        break;
    default:
        fuzz_live((Input) { data + 1, size - 1 }, !(data[0] & 1),
                  data[0] & 2);
        break;
    }
    return 0;
}
