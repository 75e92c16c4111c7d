/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See vtoe-fake.h.
 */
#include "vtoe-fake.h"

const uint8_t fake_mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };
const uint8_t fake_peer_mac[6] = { 0x52, 0x54, 0, 9, 8, 7 };

static Fake *fake_of(void *opaque)
{
    return opaque;
}

/* --- the device's host ---------------------------------------------------------- */

static bool in_ram(Fake *f, uint64_t addr, size_t len)
{
    g_assert_false(f->forbid_dma);
    f->dma_ops++;
    return addr <= FAKE_RAM && len <= FAKE_RAM - addr;
}

static bool op_read(void *opaque, uint64_t addr, void *buf, size_t len)
{
    Fake *f = fake_of(opaque);

    if (!in_ram(f, addr, len)) {
        return false;
    }
    memcpy(buf, f->ram + addr, len);
    return true;
}

static bool op_write(void *opaque, uint64_t addr, const void *buf, size_t len)
{
    Fake *f = fake_of(opaque);

    if (!in_ram(f, addr, len)) {
        return false;
    }
    memcpy(f->ram + addr, buf, len);
    return true;
}

static bool op_load32(void *opaque, uint64_t addr, uint32_t *val)
{
    g_assert_cmpuint(addr % 4, ==, 0);
    if (!op_read(opaque, addr, val, 4)) {
        return false;
    }
    *val = GUINT32_FROM_LE(*val);
    return true;
}

static bool op_store32(void *opaque, uint64_t addr, uint32_t val)
{
    g_assert_cmpuint(addr % 4, ==, 0);
    val = GUINT32_TO_LE(val);
    return op_write(opaque, addr, &val, 4);
}

static void op_barrier(void *opaque)
{
    Fake *f = fake_of(opaque);
    void (*fn)(Fake *f) = f->on_barrier;

    f->on_barrier = NULL;
    if (fn) {
        fn(f);
    }
}

static bool op_map(void *opaque, uint64_t addr, size_t len, bool to_guest,
                   VtoeMap *map)
{
    Fake *f = fake_of(opaque);

    g_assert_cmpuint(len, >, 0);
    if (!in_ram(f, addr, len)) {
        return false;
    }
    map->host = g_malloc(len);
    memcpy(map->host, f->ram + addr, len);
    map->len = len;
    map->addr = addr;
    map->priv = map->host;
    if (f->maps < G_N_ELEMENTS(f->mapped)) {
        f->mapped[f->maps] = *map;
    }
    f->maps++;
    return true;
}

static void op_unmap(void *opaque, VtoeMap *map, bool to_guest, size_t written)
{
    Fake *f = fake_of(opaque);

    g_assert_true(map->host && map->host == map->priv);
    g_assert_cmpuint(written, <=, to_guest ? map->len : 0);
    if (written) {
        g_assert_false(f->forbid_dma);
    }
    memcpy(f->ram + map->addr, map->host, written);
    g_free(map->host);
    memset(map, 0, sizeof(*map));
    g_assert_cmpuint(f->maps, >, 0);
    f->maps--;
}

static void op_raise(void *opaque, unsigned vector)
{
    g_assert_cmpuint(vector, <, fake_of(opaque)->cfg.vectors);
    fake_of(opaque)->raised[vector]++;
}

static void op_kick_later(void *opaque, unsigned queue)
{
    Fake *f = fake_of(opaque);

    if (queue == VTOE_QUEUE_CONTROL) {
        f->kick_control = true;
    } else {
        g_assert_cmpuint(queue, <, f->cfg.pairs);
        f->kicks |= 1ull << queue;
    }
}

static int64_t op_now(void *opaque)
{
    return fake_of(opaque)->now;
}

static void op_set_timer(void *opaque, int64_t when)
{
    fake_of(opaque)->timer = when;
}

static void op_error(void *opaque, const char *msg)
{
    g_assert_cmpuint(strlen(msg), >, 0);
    fake_of(opaque)->errors++;
}

static VnetFrameResult op_send_frame(void *opaque, const VnetFrameHdr *hdr,
                                     const struct iovec *iov, unsigned niov,
                                     size_t len)
{
    Fake *f = fake_of(opaque);
    size_t at = 0;

    g_assert_cmpuint(len, <=, sizeof(f->frame));
    if (f->on_frame) {
        f->on_frame(f);
    }
    for (unsigned i = 0; i < niov; i++) {
        g_assert_cmpuint(at + iov[i].iov_len, <=, len);
        memcpy(f->frame + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    g_assert_cmpuint(at, ==, len);
    f->frame_len = len;
    f->frame_hdr = *hdr;
    f->frame_niov = niov;
    f->frames++;
    return f->frame_result;
}

static void op_filter_changed(void *opaque)
{
    fake_of(opaque)->filter_changes++;
}

static void op_streams_changed(void *opaque, unsigned n)
{
    fake_of(opaque)->open_streams = n;
}

static const VtoeHostOps host_ops = {
    .dma_read = op_read,
    .dma_write = op_write,
    .dma_load32 = op_load32,
    .dma_store32 = op_store32,
    .barrier = op_barrier,
    .dma_map = op_map,
    .dma_unmap = op_unmap,
    .raise_vector = op_raise,
    .kick_later = op_kick_later,
    .now_ns = op_now,
    .set_timer = op_set_timer,
    .guest_error = op_error,
    .send_frame = op_send_frame,
    .filter_changed = op_filter_changed,
    .streams_changed = op_streams_changed,
};

/* --- the overlay, as the device sees it --------------------------------------------- */

void vnet_port_set_mac(VnetPort *port, const uint8_t mac[6])
{
    memcpy(port->mac, mac, 6);
}

void vnet_port_set_streams(VnetPort *port, bool streams)
{
    port->streams = streams;
}

static VnetStream *stream_new(Fake *f, const VnetFlow *flow)
{
    VnetStream *s = g_new0(VnetStream, 1);

    s->f = f;
    s->flow = *flow;
    g_ptr_array_add(f->streams, s);
    return s;
}

VnetStream *vnet_stream_connect(VnetPort *port, const VnetFlow *flow,
                                const VnetStreamOps *ops, void *user)
{
    VnetStream *s = stream_new(port->f, flow);

    s->ops = ops;
    s->user = user;
    return s;
}

void vnet_stream_bind(VnetStream *s, const VnetStreamOps *ops, void *user)
{
    s->ops = ops;
    s->user = user;
}

void vnet_stream_set_sid(VnetStream *s, uint32_t sid)
{
    s->sid = sid;
}

void vnet_stream_accept(VnetStream *s, const VnetStreamOps *ops, void *user)
{
    g_assert_true(s->passive && !s->accepted && !s->gone);
    s->accepted = true;
    s->ops = ops;
    s->user = user;
}

void vnet_stream_reject(VnetStream *s, enum vtoe_reason reason)
{
    g_assert_true(s->passive && !s->accepted && !s->gone);
    g_assert_cmpuint(reason, !=, VTOE_REASON_NONE);
    s->rejected = true;
    s->gone = true;
    s->reason = reason;
}

void vnet_stream_tx_ready(VnetStream *s)
{
    g_assert_false(s->gone);
    s->tx_ready++;
}

void vnet_stream_rx_ready(VnetStream *s)
{
    g_assert_false(s->gone);
    s->rx_ready++;
    g_array_append_val(s->f->woken, s->sid);
    /* What was lent before has to be filled before. */
    if (s->f->rx_greedy && !s->nlent) {
        fake_peer_data(s, 64);
    }
}

void vnet_stream_shutdown(VnetStream *s, uint64_t end_offset)
{
    g_assert_true(!s->gone && !s->ended && end_offset >= s->tx_sent);
    g_assert_true(s->established);
    s->ended = true;
    s->end_offset = end_offset;
}

void vnet_stream_rx_close(VnetStream *s)
{
    g_assert_true(!s->gone && !s->rx_closed && s->established);
    s->rx_closed = true;
}

static void return_lent(VnetStream *s)
{
    if (s->nlent) {
        s->ops->rx_return(s->user, s->lent, s->nlent);
        s->nlent = 0;
    }
}

void vnet_stream_abort(VnetStream *s, enum vtoe_reason reason)
{
    g_assert_false(s->gone);
    g_assert_cmpuint(reason, !=, VTOE_REASON_NONE);
    return_lent(s);
    s->aborted = true;
    s->gone = true;
    s->reason = reason;
}

void vnet_stream_get_info(const VnetStream *s, VnetStreamInfo *info)
{
    g_assert_false(s->gone);
    memset(info, 0, sizeof(*info));
    info->cid = 77;
    info->flow = s->flow;
    info->tx_sent = s->tx_sent;
}

/* --- the peer -------------------------------------------------------------------------- */

VnetFlow fake_flow(uint16_t lport)
{
    VnetFlow flow = {
        .family = 4, .lport = lport, .rport = 40000,
        .laddr = { 10, 0, 0, 1 }, .raddr = { 10, 0, 0, 2 },
    };

    memcpy(flow.lmac, fake_mac, 6);
    memcpy(flow.rmac, fake_peer_mac, 6);
    return flow;
}

VnetStream *fake_peer_request(Fake *f, const VnetFlow *flow,
                              enum vtoe_reason *reason)
{
    VnetStream *s = stream_new(f, flow);
    enum vtoe_reason r;

    s->passive = true;
    r = vtoe_dev_port_ops.connect_request(f->dev, s, flow);
    if (reason) {
        *reason = r;
    }
    if (r != VTOE_REASON_NONE) {
        s->gone = true;
        return NULL;
    }
    g_assert_nonnull(s->ops);
    return s;
}

void fake_peer_established(VnetStream *s)
{
    s->established = true;
    s->ops->established(s->user);
}

void fake_peer_failed(VnetStream *s, unsigned event, enum vtoe_reason reason)
{
    g_assert_false(s->established);
    s->gone = true;
    s->ops->failed(s->user, event, reason);
}

uint8_t fake_byte(uint64_t offset)
{
    return (offset * 2654435761u) >> 13;
}

size_t fake_peer_data(VnetStream *s, size_t len)
{
    size_t total = 0;

    while (total < len && !s->gone) {
        VnetRxBuf buf;
        unsigned n = s->ops->rx_get(s->user, &buf, 1, len - total);
        uint8_t *p;

        g_assert_cmpuint(n, <=, 1);
        if (n == 0) {
            break;
        }
        g_assert_cmpuint(buf.iov.iov_len, <=, len - total);
        p = buf.iov.iov_base;
        for (size_t i = 0; i < buf.iov.iov_len; i++) {
            p[i] = fake_byte(s->rx_received + i);
        }
        s->ops->rx_done(s->user, &buf, buf.iov.iov_len);
        s->rx_received += buf.iov.iov_len;
        total += buf.iov.iov_len;
    }
    return total;
}

void fake_peer_end(VnetStream *s)
{
    s->rx_ended = true;
    s->ops->rx_end(s->user);
}

void fake_peer_ack(VnetStream *s, uint64_t offset)
{
    s->tx_acked = offset;
    s->tx_sent = MAX(s->tx_sent, offset);
    s->ops->acked(s->user, offset);
}

void fake_peer_gone(VnetStream *s, enum vtoe_reason reason)
{
    return_lent(s);
    s->gone = true;
    s->ops->disconnected(s->user, reason);
}

void fake_batch_end(Fake *f)
{
    vtoe_dev_port_ops.batch_end(f->dev);
}

/* --- the driver ------------------------------------------------------------------------ */

uint32_t fake_rd(Fake *f, uint32_t reg)
{
    return vtoe_dev_reg_read(f->dev, reg, 4);
}

void fake_wr(Fake *f, uint32_t reg, uint32_t val)
{
    vtoe_dev_reg_write(f->dev, reg, val, 4);
}

uint32_t fake_violation(Fake *f)
{
    uint32_t v = fake_rd(f, VTOE_REG_VIOLATION);

    g_assert_cmpuint(!v, ==,
                     !(fake_rd(f, VTOE_REG_STATUS) & VTOE_STATUS_NEEDS_RESET));
    return v;
}

FakeQueue *fake_queue(Fake *f, uint32_t queue)
{
    return &f->q[queue == VTOE_QUEUE_CONTROL ? FAKE_PAIRS : queue];
}

uint32_t fake_ctrl_get(Fake *f, uint32_t queue, size_t off)
{
    uint32_t val;

    memcpy(&val, f->ram + fake_queue(f, queue)->addr[3] + off, 4);
    return GUINT32_FROM_LE(val);
}

void fake_ctrl_set(Fake *f, uint32_t queue, size_t off, uint32_t val)
{
    val = GUINT32_TO_LE(val);
    memcpy(f->ram + fake_queue(f, queue)->addr[3] + off, &val, 4);
}

void fake_init(Fake *f)
{
    fake_init_ram(f, g_malloc0(FAKE_RAM));
}

void fake_init_ram(Fake *f, uint8_t *ram)
{
    memset(f, 0, sizeof(*f));
    f->ram = ram;
    f->cfg = (VtoeConfig) {
        .mtu = 65520,
        .features = FAKE_ALL_FEATURES,
        .pairs = FAKE_PAIRS,
        .vectors = FAKE_VECTORS,
        .max_ring = 4096,
        .max_streams = 64,
        .max_listens = 8,
        .max_inflight = 16,
        .evi = false,
        .eoc = true,
        .dispatch = { .period_ns = 10000, .look_ns = 100 },
        .accept_timeout_ns = 5000,
        .close_timeout_ns = 60000,
    };
    memcpy(f->cfg.mac, fake_mac, 6);
    f->streams = g_ptr_array_new_with_free_func(g_free);
    f->woken = g_array_new(false, false, sizeof(uint32_t));
    f->port.f = f;
    f->timer = INT64_MAX;
    f->frame_result = VNET_FRAME_OK;
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        FakeQueue *q = &f->q[i];

        for (unsigned r = 0; r < 3; r++) {
            q->size[r] = FAKE_RING;
            q->addr[r] = (i * 4 + r + 1) * 0x10000;
        }
        q->addr[3] = (i * 4 + 4) * 0x10000;
    }
    f->q[FAKE_PAIRS].size[1] = 0;
}

void fake_start(Fake *f)
{
    f->dev = vtoe_dev_new(&f->cfg, &host_ops, f);
    vtoe_dev_set_port(f->dev, &f->port);
    vtoe_dev_port_ops.link_state(f->dev, true);
}

void fake_finish(Fake *f)
{
    vtoe_dev_set_running(f->dev, true);
    vtoe_dev_reset(f->dev);
    g_assert_cmpuint(f->maps, ==, 0);
    g_assert_cmpuint(vtoe_dev_open_streams(f->dev), ==, 0);
    g_assert_cmpuint(f->open_streams, ==, 0);
    for (unsigned i = 0; i < f->streams->len; i++) {
        g_assert_true(((VnetStream *)f->streams->pdata[i])->gone);
    }
    vtoe_dev_free(f->dev);
    g_ptr_array_free(f->streams, true);
    g_array_free(f->woken, true);
    g_free(f->ram);
}

void fake_configure(Fake *f, uint32_t queue)
{
    FakeQueue *q = fake_queue(f, queue);

    fake_wr(f, VTOE_REG_QUEUE_SELECT, queue);
    for (unsigned r = 0; r < 3; r++) {
        fake_wr(f, VTOE_REG_SEND_SIZE + 4 * r, q->size[r]);
    }
    for (unsigned r = 0; r < 4; r++) {
        fake_wr(f, VTOE_REG_SEND_ADDR + 8 * r, q->addr[r]);
        fake_wr(f, VTOE_REG_SEND_ADDR_HI + 8 * r, q->addr[r] >> 32);
    }
    fake_wr(f, VTOE_REG_QUEUE_VECTOR,
            queue == VTOE_QUEUE_CONTROL ? 0 : queue + 1);
}

void fake_bring_up(Fake *f, uint64_t features)
{
    fake_wr(f, VTOE_REG_STATUS, 0);
    fake_wr(f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    fake_wr(f, VTOE_REG_DRV_FEATURES, features);
    fake_wr(f, VTOE_REG_DRV_FEATURES_HI, features >> 32);
    fake_wr(f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    g_assert_cmpuint(fake_rd(f, VTOE_REG_STATUS), ==,
                     VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    for (unsigned i = 0; i <= FAKE_PAIRS; i++) {
        uint32_t queue = i < FAKE_PAIRS ? i : VTOE_QUEUE_CONTROL;

        if (i > 0 && i < FAKE_PAIRS && !(features & VTOE_F_STREAM)) {
            continue;
        }
        fake_configure(f, queue);
        fake_wr(f, VTOE_REG_QUEUE_ENABLE, 1);
        g_assert_cmpuint(fake_rd(f, VTOE_REG_QUEUE_ENABLE), ==, 1);
    }
    fake_wr(f, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK |
                                VTOE_STATUS_DRIVER_OK);
    fake_run(f);
}

void fake_up(Fake *f)
{
    fake_init(f);
    fake_start(f);
    fake_bring_up(f, FAKE_ALL_FEATURES);
}

void fake_run(Fake *f)
{
    for (unsigned i = 0; f->kicks || f->kick_control; i++) {
        uint64_t kicks = f->kicks;
        bool control = f->kick_control;

        g_assert_cmpuint(i, <, 10000);
        f->kicks = 0;
        f->kick_control = false;
        if (control) {
            vtoe_dev_kick(f->dev, VTOE_QUEUE_CONTROL);
        }
        for (unsigned p = 0; p < f->cfg.pairs; p++) {
            if (kicks >> p & 1) {
                vtoe_dev_kick(f->dev, p);
            }
        }
    }
    vtoe_dev_batch_end(f->dev);
}

void fake_kick(Fake *f, uint32_t queue)
{
    vtoe_dev_kick(f->dev, queue);
    fake_run(f);
}

static void *slot(Fake *f, FakeQueue *q, unsigned ring, uint32_t idx,
                  size_t esize)
{
    return f->ram + q->addr[ring] + (idx & (q->size[ring] - 1)) * esize;
}

void fake_post_send(Fake *f, uint32_t pair, const struct vtoe_send_desc *desc)
{
    FakeQueue *q = fake_queue(f, pair);

    memcpy(slot(f, q, 0, q->send_prod, 32), desc, 32);
    fake_ctrl_set(f, pair, FAKE_CTRL(send_prod), ++q->send_prod);
}

void fake_post_recv(Fake *f, uint32_t pair, const struct vtoe_recv_desc *desc)
{
    FakeQueue *q = fake_queue(f, pair);

    memcpy(slot(f, q, 1, q->recv_prod, 32), desc, 32);
    fake_ctrl_set(f, pair, FAKE_CTRL(recv_prod), ++q->recv_prod);
}

void fake_post_cmd(Fake *f, const struct vtoe_cmd *cmd)
{
    FakeQueue *q = fake_queue(f, VTOE_QUEUE_CONTROL);

    memcpy(slot(f, q, 0, q->send_prod, 128), cmd, 128);
    fake_ctrl_set(f, VTOE_QUEUE_CONTROL, FAKE_CTRL(send_prod), ++q->send_prod);
}

void fake_post_data(Fake *f, uint32_t pair, uint32_t sid, uint64_t addr,
                    uint32_t len)
{
    struct vtoe_send_desc desc = {
        .addr = GUINT64_TO_LE(addr), .len = GUINT32_TO_LE(len),
        .sid = GUINT32_TO_LE(sid), .op = VTOE_SEND_DATA,
    };

    fake_post_send(f, pair, &desc);
}

void fake_post_buf(Fake *f, uint32_t pair, uint32_t sid, uint64_t addr,
                   uint32_t len, uint32_t id)
{
    struct vtoe_recv_desc desc = {
        .addr = GUINT64_TO_LE(addr), .len = GUINT32_TO_LE(len),
        .sid = GUINT32_TO_LE(sid), .id = GUINT32_TO_LE(id),
    };

    fake_post_recv(f, pair, &desc);
}

static bool take(Fake *f, uint32_t queue, void *out, size_t esize)
{
    FakeQueue *q = fake_queue(f, queue);

    if (fake_ctrl_get(f, queue, FAKE_CTRL(comp_prod)) == q->comp_cons) {
        return false;
    }
    memcpy(out, slot(f, q, 2, q->comp_cons, esize), esize);
    fake_ctrl_set(f, queue, FAKE_CTRL(comp_cons), ++q->comp_cons);
    return true;
}

bool fake_comp(Fake *f, uint32_t pair, struct vtoe_comp *c)
{
    return take(f, pair, c, sizeof(*c));
}

bool fake_event(Fake *f, struct vtoe_event *ev)
{
    return take(f, VTOE_QUEUE_CONTROL, ev, sizeof(*ev));
}

struct vtoe_comp fake_expect_comp(Fake *f, uint32_t pair, unsigned type,
                                  uint32_t sid)
{
    struct vtoe_comp c;

    g_assert_true(fake_comp(f, pair, &c));
    g_assert_cmpuint(c.type, ==, type);
    g_assert_cmphex(GUINT32_FROM_LE(c.sid), ==, sid);
    return c;
}

struct vtoe_event fake_expect_event(Fake *f, unsigned type, uint32_t sid)
{
    struct vtoe_event ev;

    g_assert_true(fake_event(f, &ev));
    g_assert_cmpuint(ev.type, ==, type);
    g_assert_cmphex(GUINT32_FROM_LE(ev.sid), ==, sid);
    g_assert_cmpuint(GUINT32_FROM_LE(ev.generation), ==,
                     fake_rd(f, VTOE_REG_GENERATION));
    return ev;
}

void fake_expect_no_comp(Fake *f, uint32_t pair)
{
    struct vtoe_comp c;

    g_assert_false(fake_comp(f, pair, &c));
}

void fake_expect_no_event(Fake *f)
{
    struct vtoe_event ev;

    g_assert_false(fake_event(f, &ev));
}

unsigned fake_run_cmd(Fake *f, const struct vtoe_cmd *cmd,
                      struct vtoe_event *answer)
{
    struct vtoe_event ev;

    fake_post_cmd(f, cmd);
    fake_kick(f, VTOE_QUEUE_CONTROL);
    ev = fake_expect_event(f, VTOE_EVENT_COMMAND_DONE,
                           GUINT32_FROM_LE(cmd->sid));
    g_assert_cmphex(ev.tag, ==, cmd->tag);
    if (answer) {
        *answer = ev;
    }
    return GUINT16_FROM_LE(ev.reason);
}

unsigned fake_cmd(Fake *f, unsigned op, uint32_t sid, uint32_t pair,
                  uint64_t value, unsigned reason, struct vtoe_event *answer)
{
    struct vtoe_cmd cmd = {
        .op = op, .tag = GUINT32_TO_LE(sid ^ 0xabcd),
        .sid = GUINT32_TO_LE(sid), .pair = GUINT32_TO_LE(pair),
        .value = GUINT64_TO_LE(value), .reason = GUINT16_TO_LE(reason),
    };

    return fake_run_cmd(f, &cmd, answer);
}

struct vtoe_cmd fake_connect_cmd(uint32_t sid, uint32_t pair, uint64_t limit)
{
    struct vtoe_cmd cmd = {
        .op = VTOE_CMD_CONNECT, .tag = GUINT32_TO_LE(sid + 1000),
        .sid = GUINT32_TO_LE(sid), .pair = GUINT32_TO_LE(pair),
        .value = GUINT64_TO_LE(limit),
        .flow = {
            .family = 4, .lport = GUINT16_TO_LE(1234),
            .rport = GUINT16_TO_LE(80), .laddr = { 10, 0, 0, 1 },
            .raddr = { 10, 0, 0, 2 },
        },
    };

    memcpy(cmd.flow.lmac, fake_mac, 6);
    memcpy(cmd.flow.rmac, fake_peer_mac, 6);
    return cmd;
}

VnetStream *fake_open(Fake *f, uint32_t sid, uint32_t pair, uint64_t limit)
{
    struct vtoe_cmd cmd = fake_connect_cmd(sid, pair, limit);
    VnetStream *s;

    g_assert_cmpuint(fake_run_cmd(f, &cmd, NULL), ==, VTOE_CMD_OK);
    s = f->streams->pdata[f->streams->len - 1];
    g_assert_cmphex(s->sid, ==, sid);
    fake_peer_established(s);
    fake_batch_end(f);
    fake_expect_event(f, VTOE_EVENT_CONNECT_ESTABLISHED, sid);
    return s;
}

void fake_listen(Fake *f, uint32_t id, uint16_t lport, uint32_t backlog)
{
    struct vtoe_cmd cmd = {
        .op = VTOE_CMD_LISTEN, .sid = GUINT32_TO_LE(id),
        .value = GUINT64_TO_LE(backlog),
        .flow = { .family = 4, .lport = GUINT16_TO_LE(lport) },
    };

    g_assert_cmpuint(fake_run_cmd(f, &cmd, NULL), ==, VTOE_CMD_OK);
}
