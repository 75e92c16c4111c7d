/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe device between a hostile guest and a capricious overlay.
 *
 * The input is a program: each step is one byte that selects an action and the
 * bytes it needs.  The guest writes registers, descriptors with any field,
 * indices, raw memory, and rings doorbells; the overlay calls every callback,
 * in any order that vnet-port.h allows.  Checked are: the fake's contract
 * (tests/unit/vtoe-fake.c), what the sanitizers see, that each SID the guest
 * knows gets at most one terminal event, that what is lent respects the credit,
 * and that a reset at the end leaves nothing mapped.
 */
#include "vtoe-fake.h"

#define SIDS 6u         /* the guest's SIDs are 1 to SIDS */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;   /* so that lent bytes are read */

typedef struct Input {
    const uint8_t *p;
    size_t left;
} Input;

static uint32_t take(Input *in, unsigned bytes)
{
    uint32_t v = 0;

    while (bytes--) {
        v <<= 8;
        if (in->left) {
            v |= *in->p++;
            in->left--;
        }
    }
    return v;
}

/* Mostly a number that means something, sometimes anything. */
static uint32_t some(Input *in, uint32_t n)
{
    uint8_t b = take(in, 1);

    return b < 0xfc ? b % n : b == 0xff ? ~0u : take(in, 4);
}

static uint32_t some_sid(Input *in)
{
    uint8_t b = take(in, 1);

    switch (b >> 6) {
    case 0:
    case 1:
        return b % (SIDS + 1);
    case 2:
        return VTOE_SID_PASSIVE + b % 16;
    default:
        return b & 1 ? VTOE_SID_ANY : take(in, 4);
    }
}

static uint64_t some_addr(Input *in)
{
    uint8_t b = take(in, 1);

    if (b < 0xfc) {
        return FAKE_DATA + b * 1021;
    }
    return b & 1 ? FAKE_RAM - (b & 2) * 64 : (uint64_t)take(in, 4) << (b & 14);
}

static VnetStream *some_stream(Fake *f, Input *in, bool established)
{
    VnetStream *s;

    if (!f->streams->len) {
        return NULL;
    }
    s = f->streams->pdata[take(in, 1) % f->streams->len];
    if (s->gone || (established && !s->established)) {
        return NULL;
    }
    return s;
}

/* --- the guest ------------------------------------------------------------------- */

static void guest_send(Fake *f, Input *in)
{
    uint32_t pair = take(in, 1) % FAKE_PAIRS;
    uint32_t sid = pair ? some_sid(in) : some(in, 1);
    uint64_t addr = some_addr(in);
    struct vtoe_send_desc d = {
        .sid = GUINT32_TO_LE(sid), .addr = GUINT64_TO_LE(addr),
    };
    uint8_t b = take(in, 1);

    d.len = GUINT32_TO_LE(b < 0xfc ? 1 + b * 37u : take(in, 4));
    b = take(in, 1);
    d.op = b >> 4 == 1 ? VTOE_SEND_CREDIT : b == 0x2f ? take(in, 1) : 0;
    d.flags = b >> 4 == 3 && !pair ? 1 : b == 0x40 ? take(in, 1) : 0;
    if (d.op == VTOE_SEND_CREDIT) {
        d.len = 0;
        d.addr = GUINT64_TO_LE(take(in, 2));
    }
    if (pair == 0 && b & 8) {
        d.hdr.flags = take(in, 1);
        d.hdr.gso_type = take(in, 1);
        d.hdr.gso_size = take(in, 2);
        d.hdr.csum_start = take(in, 2);
        d.hdr.csum_offset = take(in, 1);
    }
    fake_post_send(f, pair, &d);
}

static void guest_recv(Fake *f, Input *in)
{
    uint32_t pair = take(in, 1) % FAKE_PAIRS;
    uint32_t sid = pair == 0 ? some(in, 1) : some_sid(in);
    uint64_t addr = some_addr(in);
    uint8_t b = take(in, 1);
    uint32_t len = b < 0xfc ? 64 + b * 5u : take(in, 4);

    fake_post_buf(f, pair, sid, addr, len, some(in, 100));
}

static void guest_cmd(Fake *f, Input *in)
{
    uint32_t sid = some_sid(in);
    uint32_t pair = some(in, FAKE_PAIRS);
    struct vtoe_cmd c = fake_connect_cmd(sid, pair, take(in, 2));

    c.op = take(in, 1) % 12;
    c.flags = take(in, 1) & 0x81;
    c.reason = GUINT16_TO_LE(take(in, 1) % 18);
    c.flow.lport = GUINT16_TO_LE(take(in, 1) % 4);
    if (c.op == VTOE_CMD_LISTEN) {
        memset(c.flow.laddr, 0, 16);
    }
    fake_post_cmd(f, &c);
}

static void guest_consume(Fake *f, Input *in, uint8_t *terminal)
{
    uint32_t n = take(in, 1);
    struct vtoe_event ev;
    struct vtoe_comp c;

    /* After a violation, or with indices it broke itself, it sees rubbish. */
    if (fake_rd(f, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET) {
        return;
    }
    for (unsigned i = 0; i < n % 16 && fake_event(f, &ev); i++) {
        uint32_t sid = GUINT32_FROM_LE(ev.sid);

        if (ev.type >= VTOE_EVENT_DISCONNECTED &&
            ev.type <= VTOE_EVENT_CONNECT_ERROR && sid <= SIDS) {
            terminal[sid]++;
        }
    }
    for (unsigned i = 0; i < n / 16; i++) {
        for (unsigned p = 0; p < FAKE_PAIRS; p++) {
            fake_comp(f, p, &c);
        }
    }
}

static void guest_scribble(Fake *f, Input *in)
{
    FakeQueue *q = &f->q[take(in, 1) % (FAKE_PAIRS + 1)];
    uint8_t b = take(in, 1);
    uint32_t off = take(in, 2) % 2048;
    uint32_t val = take(in, 4);

    /* A control block's index, or anything in a ring. */
    if (b & 4) {
        off = (off & 3) * 4;
        b = 3;
    }
    memcpy(f->ram + q->addr[b & 3] + off, &val, 4);
}

static void guest_register(Fake *f, Input *in)
{
    uint32_t reg = take(in, 1);
    unsigned size = reg & 3 ? 1 << (reg & 3) : 4;

    vtoe_dev_reg_read(f->dev, reg & ~3u, size);
    vtoe_dev_reg_write(f->dev, reg & ~3u, take(in, 4), size);
}

static void guest_restart(Fake *f)
{
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        memset(f->ram + f->q[i].addr[3], 0, 128);
        f->q[i].send_prod = f->q[i].recv_prod = f->q[i].comp_cons = 0;
    }
    f->kicks = 0;
    f->kick_control = false;
    fake_bring_up(f, FAKE_ALL_FEATURES);
}

/* --- the overlay -------------------------------------------------------------------- */

static void peer_request(Fake *f, Input *in)
{
    VnetFlow flow = fake_flow(take(in, 1) % 4);

    if (f->streams->len < 200) {
        fake_peer_request(f, &flow, NULL);
    }
}

static void peer_begin(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, false);

    if (!s || s->established || (s->passive && !s->accepted)) {
        return;
    }
    if (take(in, 1) & 7 || s->passive) {
        fake_peer_established(s);
    } else {
        unsigned event = VTOE_EVENT_ADDRESS_ERROR + take(in, 1) % 5;

        fake_peer_failed(s, event, 1 + take(in, 1) % VTOE_REASON_MAX);
    }
}

static void peer_lend(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, true);
    size_t max = 1 + take(in, 2);
    unsigned n, want = take(in, 1) % 8;

    if (!s || s->rx_ended || s->nlent + want > FAKE_LENT) {
        return;
    }
    n = s->ops->rx_get(s->user, s->lent + s->nlent, want, max);
    g_assert_cmpuint(n, <=, want);
    for (unsigned i = 0; i < n; i++) {
        struct iovec *v = &s->lent[s->nlent + i].iov;

        g_assert_cmpuint(v->iov_len, >, 0);
        g_assert_cmpuint(v->iov_len, <=, max);
        memset(v->iov_base, 0x5a, v->iov_len);
        max -= v->iov_len;
    }
    s->nlent += n;
}

static void peer_fill(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, true);
    size_t len;

    if (!s || !s->nlent) {
        return;
    }
    len = 1 + take(in, 2) % s->lent[0].iov.iov_len;
    s->ops->rx_done(s->user, &s->lent[0], len);
    s->rx_received += len;
    s->nlent--;
    memmove(s->lent, s->lent + 1, s->nlent * sizeof(s->lent[0]));
}

static void peer_return(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, true);
    unsigned n = take(in, 1) % 8;

    if (s && s->nlent) {
        n = MIN(n, s->nlent);
        s->nlent -= n;
        s->ops->rx_return(s->user, s->lent + s->nlent, n);
    }
}

static void peer_read(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, true);
    struct iovec iov[8];
    unsigned niov = 1 + take(in, 1) % 8;
    uint32_t max = take(in, 2);
    size_t got, total = 0;

    if (!s) {
        return;
    }
    got = s->ops->tx_peek(s->user, s->tx_sent, iov, &niov, max);
    for (unsigned i = 0; i < niov; i++) {
        const uint8_t *p = iov[i].iov_base;

        total += iov[i].iov_len;
        for (size_t b = 0; b < iov[i].iov_len; b++) {
            sink = p[b];
        }
    }
    g_assert_cmpuint(total, ==, got);
    g_assert_cmpuint(got, <=, max);
    s->tx_sent += got;
    if (s->ended) {
        g_assert_cmpuint(s->tx_sent, <=, s->end_offset);
    }
}

static void peer_ack(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, true);
    uint32_t n = take(in, 2);

    if (s && s->tx_sent > s->tx_acked) {
        fake_peer_ack(s, s->tx_acked + 1 + n % (s->tx_sent - s->tx_acked));
    }
}

static void peer_end(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, true);

    if (s && !s->rx_ended && !s->nlent) {
        fake_peer_end(s);
    }
}

static void peer_gone(Fake *f, Input *in)
{
    VnetStream *s = some_stream(f, in, false);
    bool request = s && s->passive;

    if (s && (s->established || request)) {
        fake_peer_gone(s, s->rx_ended && s->ended && s->established
                       ? VTOE_REASON_NONE
                       : 1 + take(in, 1) % VTOE_REASON_MAX);
    }
}

static void peer_frame(Fake *f, Input *in)
{
    static uint8_t frame[VTOE_FRAME_MAX_LEN + 100];
    size_t len = some(in, 200) * 20u % sizeof(frame);
    struct iovec iov[2];
    VnetFrameHdr hdr = { 0 };
    uint8_t b = take(in, 1);

    if (b & 1) {
        hdr.flags = take(in, 1);
        hdr.gso_type = take(in, 1);
        hdr.hdr_len = take(in, 1);
        hdr.gso_size = take(in, 2);
        hdr.csum_start = take(in, 1);
        hdr.csum_offset = take(in, 1);
    }
    memcpy(frame, b & 2 ? fake_mac : (const uint8_t *)"\xff\xff\xff\xff\xff",
           6);
    for (unsigned i = 12; i < 60; i++) {
        frame[i] = b & 4 ? take(in, 1) : i;
    }
    if (b & 8) {    /* something to cut: IPv4, TCP */
        frame[12] = 8;
        frame[13] = 0;
        frame[14] = 0x45;
        frame[23] = 6;
        frame[46] = 0x50;
        hdr = (VnetFrameHdr) {
            .flags = 1, .gso_type = 1, .gso_size = 1 + b * 20, .csum_start = 34,
            .csum_offset = 16,
        };
    }
    iov[0] = (struct iovec) { .iov_base = frame, .iov_len = MIN(len, 20) };
    iov[1] = (struct iovec) { .iov_base = frame + iov[0].iov_len,
                              .iov_len = len - iov[0].iov_len };
    vtoe_dev_port_ops.frame(f->dev, &hdr, iov, 2, len);
}

static void host_misc(Fake *f, Input *in)
{
    uint8_t b = take(in, 1);

    switch (b % 8) {
    case 0:
        vtoe_dev_set_running(f->dev, b & 8);
        break;
    case 1:
        vtoe_dev_port_ops.link_state(f->dev, b & 8);
        break;
    case 2:
        vtoe_dev_port_ops.peer_capability(f->dev, b & 8 ? fake_peer_mac : NULL,
                                          b & 16);
        break;
    case 3:
        f->now += (int64_t)b << 5;
        vtoe_dev_tick(f->dev);
        break;
    case 4:
        f->frame_result = b >> 4 & 1 ? VNET_FRAME_BUSY : VNET_FRAME_OK;
        vtoe_dev_port_ops.tx_ready(f->dev);
        break;
    case 5:
        f->rx_greedy = b & 8;
        vtoe_dev_poll(f->dev, b & 16 ? VTOE_QUEUE_CONTROL : b >> 6 & 3,
                      b & 32);
        break;
    case 6: {
        VtoeState st;
        const char *err;
        bool idle;

        vtoe_dev_set_running(f->dev, false);
        idle = vtoe_dev_open_streams(f->dev) == 0;
        if (idle) {
            vtoe_dev_save(f->dev, &st);
            g_assert_true(vtoe_dev_load(f->dev, &st, &err));
            g_free(st.recv);
            g_free(st.listens);
        }
        vtoe_dev_set_running(f->dev, true);
        break;
    }
    default:
        vtoe_dev_set_running(f->dev, true);
        guest_restart(f);
        break;
    }
}

static void host_looks(Fake *f)
{
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        uint32_t queue = i < FAKE_PAIRS ? i : VTOE_QUEUE_CONTROL;

        if (vtoe_dev_look(f->dev, queue)) {
            vtoe_dev_run(f->dev, queue);
        }
    }
}

static void step(Fake *f, Input *in, uint8_t *terminal)
{
    uint8_t b = take(in, 1);

    switch (b % 24) {
    case 0 ... 2:
        guest_send(f, in);
        break;
    case 3 ... 4:
        guest_recv(f, in);
        break;
    case 5 ... 6:
        guest_cmd(f, in);
        break;
    case 7 ... 8:
        guest_consume(f, in, terminal);
        break;
    case 9:
        guest_scribble(f, in);
        break;
    case 10:
        guest_register(f, in);
        break;
    case 11 ... 12: {
        uint8_t q = take(in, 1);

        vtoe_dev_kick(f->dev, q & 1 ? VTOE_QUEUE_CONTROL
                                    : q / 2 % (FAKE_PAIRS + 1));
        break;
    }
    case 13:
        peer_request(f, in);
        break;
    case 14:
        peer_begin(f, in);
        break;
    case 15:
        peer_lend(f, in);
        break;
    case 16:
        peer_fill(f, in);
        break;
    case 17:
        peer_return(f, in);
        break;
    case 18:
        peer_read(f, in);
        break;
    case 19:
        peer_ack(f, in);
        break;
    case 20:
        peer_end(f, in);
        break;
    case 21:
        peer_gone(f, in);
        break;
    case 22:
        peer_frame(f, in);
        break;
    default:
        host_misc(f, in);
        break;
    }
    if (b & 0x40) {
        host_looks(f);
    }
    if (b & 0x80) {
        fake_batch_end(f);
    }
}

/* A device in use, to begin deeper: a listener, a stream each way, buffers. */
static void prelude(Fake *f)
{
    VnetFlow flow = fake_flow(1);
    VnetStream *s;

    fake_listen(f, 1, 1, 3);
    fake_open(f, 1, 1, 1 << 20);
    fake_open(f, 2, 2, 100);
    s = fake_peer_request(f, &flow, NULL);
    fake_batch_end(f);
    fake_expect_event(f, VTOE_EVENT_CONNECT_REQUEST, s->sid);
    fake_cmd(f, VTOE_CMD_ACCEPT, s->sid, 1, 1000, 0, NULL);
    fake_peer_established(s);
    for (uint32_t i = 0; i < 3; i++) {
        fake_post_buf(f, 1, VTOE_SID_ANY, FAKE_DATA + i * 256, 256, i);
        fake_post_buf(f, 2, 2, FAKE_DATA + i * 256, 256, i);
        fake_post_buf(f, 0, 0, FAKE_DATA + i * 256, 256, i);
    }
    fake_post_data(f, 1, 1, FAKE_DATA, 5000);
    vtoe_dev_kick(f->dev, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    uint8_t terminal[SIDS + 1] = { 0 };
    unsigned asked[SIDS + 1] = { 0 };
    uint8_t conf = take(&in, 1);
    static uint8_t *ram;
    Fake f;

    /* Kept, as eight MiB to allocate take longer than all the rest. */
    if (!ram) {
        ram = g_malloc0(FAKE_RAM);
    }
    fake_init_ram(&f, ram);
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        for (unsigned r = 0; r < 4; r++) {
            memset(f.ram + f.q[i].addr[r], 0, 0x2000);
        }
    }
    f.cfg.evi = conf & 1;
    f.cfg.eoc = !(conf & 2);
    f.cfg.dispatch.mode = MIN(conf >> 6, VTOE_DISPATCH_ADAPTIVE);
    f.cfg.dispatch.upper = 100000;
    f.cfg.dispatch.lower = 10000;
    f.cfg.max_streams = conf & 4 ? 3 : 64;
    for (unsigned i = 0; conf & 8 && i <= FAKE_PAIRS; i++) {
        f.q[i].size[0] = 4;
        f.q[i].size[1] = i < FAKE_PAIRS ? 4 : 0;
        f.q[i].size[2] = 2 << (conf >> 6);
    }
    fake_start(&f);
    fake_bring_up(&f, conf & 16 ? VTOE_F_STREAM | VTOE_F_CSUM
                                : FAKE_ALL_FEATURES);
    if (conf & 32) {
        prelude(&f);
    }
    while (in.left) {
        step(&f, &in, terminal);
    }
    /* A SID can have had no more lives than there were connects. */
    for (unsigned i = 0; i < f.streams->len; i++) {
        VnetStream *s = f.streams->pdata[i];

        if (!s->passive && s->sid <= SIDS) {
            asked[s->sid]++;
        }
    }
    for (unsigned sid = 1; sid <= SIDS; sid++) {
        g_assert_cmpuint(terminal[sid], <=, asked[sid]);
    }
    f.rx_greedy = false;
    vtoe_dev_reset(f.dev);
    g_assert_cmpuint(f.maps, ==, 0);
    f.ram = g_malloc(1);        /* the real one is kept */
    fake_finish(&f);
    return 0;
}
