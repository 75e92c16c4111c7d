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
 *           bit 1 the link has a message transport, with bit 3 streams are resumed,
 *           with bit 4 the peer was given 7 alone.
 *
 * For a live end the rest is a list of steps: control bytes, data connection
 * events, frames, time, what its guest does.  What decodes must encode to the
 * same; every stream gets one terminal callback; nothing is left at the end.  On
 * a message transport nothing is sent but into receives that this peer granted,
 * and no more are posted than a connection can have.
 */
#include <errno.h>
#include <string.h>
#include "fuzz-vnet-world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

#define NO_HELLO        1
#define MESSAGES        2
#define RESUMES         8
#define GIVEN           16

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

static void resume_msg(const World *w, Input *in, VnetMsg *m)
{
    uint8_t birth = eat(in), how = eat(in);

    m->u.resume.token = birth & 64 ? w->token : w->last_token;
    m->u.resume.id = ((birth & 15) + 1) |
                     (birth & 128 ? VNET_STREAM_ID_SERVER : 0);
    m->flags = how & 3;
    m->u.resume.received = (how >> 2) * 16;
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
    case VNET_MSG_RESUME:
    case VNET_MSG_RESUMED:
        resume_msg(w, in, &m);
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
                                       &fuzz_guest_ops, g);
        }
        return;
    }
    if (what % 8 == 6) {
        world_net_9(w);
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
            vnet_stream_accept(s, &fuzz_guest_ops, g);
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
        guest_over(g);
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
        if (w->resumes) {
            m.u.hello.features |= VNET_HELLO_F_RESUME | VNET_HELLO_F_REDIAL |
                                  VNET_HELLO_F_HOPS;
        }
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
    world_dispatch_end(w);
}

static void fuzz_live(Input in, uint8_t kind)
{
    static const uint32_t given = 7;
    World *w = world_new(kind & MESSAGES);

    w->resumes = kind & RESUMES;
    if (kind & GIVEN) {
        vnet_link_set_peer_nets(w->l, &given, 1);
    }
    connect_peer(w, !(kind & NO_HELLO));
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
            if (!(what & 128)) {
                world_time(w, (int64_t)eat(&in) * 20000000);
            } else if (w->up) {
                vnet_link_down(w->l, "cut");
            }
            break;
        }
        world_dispatch_end(w);
    }
    world_free(w);
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
        fuzz_live((Input) { data + 1, size - 1 }, data[0]);
        break;
    }
    return 0;
}
