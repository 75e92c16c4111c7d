/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See fuzz-vnet-world.h.
 */
#include "fuzz-vnet-world.h"

#define RESUME_MS       5000

/* --- The guest ------------------------------------------------------------ */

static uint8_t memory[4096];

static void g_established(void *user)
{
    Guest *g = user;

    CHECK(!g->over);
}

void guest_over(Guest *g)
{
    CHECK(!g->over && !g->lent);
    g->over = true;
    g->s = NULL;
}

static void g_failed(void *user, enum vtoe_event_type event,
                     enum vtoe_reason reason)
{
    CHECK(reason != VTOE_REASON_NONE);
    guest_over(user);
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
    guest_over(user);
}

const VnetStreamOps fuzz_guest_ops = {
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

Guest *guest_new(World *w, VnetStream *s)
{
    Guest *g;

    if (w->nguests == G_N_ELEMENTS(w->guests)) {
        return NULL;
    }
    g = &w->guests[w->nguests++];
    g->s = s;
    return g;
}

/* --- The NIC -------------------------------------------------------------- */

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
    vnet_stream_bind(s, &fuzz_guest_ops, g);
    if (flow->rport & 2) {
        g->answered = true;
        vnet_stream_accept(s, &fuzz_guest_ops, g);
    }
    return VTOE_REASON_NONE;
}

static const VnetPortOps nic_ops = {
    n_frame, n_nothing, n_link_state, n_request, NULL, n_nothing,
};

/* --- The transport -------------------------------------------------------- */

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
        w->last_token = w->token;
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

/* --- The host ------------------------------------------------------------- */

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

void world_dispatch_end(World *w)
{
    for (int i = 0; w->deferred; i++) {
        CHECK(i < 10000);
        w->deferred = false;
        vnet_core_run_deferred(w->core);
    }
}

void world_time(World *w, int64_t ns)
{
    w->now += ns;
    w->queued = 0;
    while (w->timer <= w->now) {
        w->timer = INT64_MAX;
        vnet_core_tick(w->core);
        world_dispatch_end(w);
    }
}

void world_net_9(World *w)
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

World *world_new(bool messages)
{
    static const VnetCoreConfig cfg = {
        .name = "fuzz", .net.vni = 7, .max_streams = MAX_STREAMS,
        .heartbeat_ms = 1000, .resume_ms = RESUME_MS, .max_macs = 8,
        .mac_age_s = 10,
    };
    World *w = g_new0(World, 1);

    world = w;
    w->timer = INT64_MAX;
    w->core = vnet_core_new(&cfg, &host_ops, w);
    w->port = vnet_port_attach(vnet_core_net(w->core), "nic",
                               (const uint8_t *)"\x52\x54\0\0\0\1", &nic_ops,
                               w);
    w->messages = messages;
    w->l = vnet_link_new(w->core, "l", true,
                         messages ? &message_ops : &transport_ops, w);
    return w;
}

void world_free(World *w)
{
    VnetCoreInfo info;

    vnet_link_free(w->l);
    world_dispatch_end(w);
    /* What is parked waits for no link any longer. */
    world_time(w, (RESUME_MS + 1) * 1000000ll);
    vnet_query_core(w->core, &info);
    CHECK(info.streams == 0 && w->ncids == 0);
    for (unsigned i = 0; i < w->nguests; i++) {
        CHECK(w->guests[i].over || !w->guests[i].answered);
        CHECK(w->guests[i].lent == 0);
    }
    if (w->net9) {
        world_net_9(w);
    }
    vnet_port_detach(w->port);
    world_dispatch_end(w);
    vnet_core_free(w->core);
    g_free(w);
}
