/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NICs and streams of the fake world, see vnet-fake.h: they send a pattern and
 * check it.
 */
#include <string.h>
#include "vnet-fake.h"

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
    return fake_nic_in(h, vnet_core_net(h->core), num);
}

FakeNic *fake_nic_in(FakeHost *h, VnetNet *net, uint8_t num)
{
    FakeNic *n = g_new0(FakeNic, 1);
    g_autofree char *id = g_strdup_printf("nic%u", num);

    n->h = h;
    n->net = net;
    memcpy(n->mac, (uint8_t[6]) { 0x52, 0x54, 0, 0, 0, num }, 6);
    n->streams = g_ptr_array_new();
    g_ptr_array_add(h->nics, n);
    n->port = vnet_port_attach(net, id, n->mac, &nic_ops, n);
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
