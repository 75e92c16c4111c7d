/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: the stream engine over a link.
 *
 * In place of a NIC stands a port with two rings of buffers in this process'
 * memory, which a stream is sent from and received into, as a guest's would be.
 * A sent buffer is used again once its bytes are acknowledged, a received one
 * at once.  No guest, no interrupts: what is measured is overlay and link.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/sockets.h"
#include "qemu/units.h"
#include "vnet-link-sock.h"
#include "vnet-query.h"
#include "stream-bench.h"
#include "stream-bench-rdma.h"
#include "stream-bench-tls.h"

#define RING (BENCH_BUFFERS * BENCH_BUFFER)
#define BENCH_LINGER_S 0.3
#define BENCH_TURN  64              /* frames, before the thread looks around */
/* Types of frames: for experiments. */
#define BENCH_FRAME 0xb5
#define BENCH_LAST  0xb6

typedef struct Bench {
    const BenchJob *job;
    BenchResult *res;
    bool server;
    bool finished;

    VnetLoop *loop;
    VnetSockLink *link;         /* one of these two is set */
    VnetRdmaLink *rdma;
    VnetPort *port;
    VnetStream *s;
    VnetStream *asked;          /* to be accepted at the end of the batch */
    bool connecting;
    VnetFlow flow;              /* of the client's streams */
    QEMUBH *frames;             /* the client's next turn */

    uint8_t *tx, *rx;           /* rings */
    uint64_t posted;            /* bytes given to the stream */
    uint64_t acked;
    bool shut;
    uint64_t rx_next;           /* buffers lent since the beginning */
    uint64_t rx_done;           /* ... and come back */

    double begin, end;          /* first byte; when to stop */
    double sent_at;             /* the ping, or what opens the stream */
    uint64_t pong_left;         /* bytes of the answer still to come */
    GArray *times;
} Bench;

static const uint8_t bench_macs[2][6] = {
    { 2, 0, 0, 0, 0, 1 }, { 2, 0, 0, 0, 0, 2 },
};

static void G_GNUC_PRINTF(2, 3) bench_fail(Bench *b, const char *fmt, ...)
{
    va_list ap;

    if (!b->finished) {
        va_start(ap, fmt);
        vsnprintf(b->res->error, sizeof(b->res->error), fmt, ap);
        va_end(ap);
        b->finished = true;
    }
}

/* --- The guest's part: what is sent, what comes ----------------------- */

static void bench_post(Bench *b, uint64_t bytes)
{
    uint64_t i;

    if (b->job->kind == BENCH_VERIFY) {
        for (i = b->posted; i < b->posted + bytes; i++) {
            b->tx[i % RING] = bench_byte(i + b->server);
        }
    }
    b->posted += bytes;
    vnet_stream_tx_ready(b->s);
}

static void bench_shut(Bench *b)
{
    if (!b->shut) {
        b->shut = true;
        vnet_stream_shutdown(b->s, b->posted);
    }
}

/* Fills the ring again, or ends the stream. */
static void bench_send_more(Bench *b)
{
    uint64_t room = RING - (b->posted - b->acked);

    if (b->job->kind == BENCH_VERIFY) {
        room = MIN(room, b->job->bytes - b->posted);
    } else if (b->job->kind != BENCH_THROUGHPUT || b->server) {
        return;
    } else if (bench_now() >= b->end) {
        room = 0;
    }
    room -= room % BENCH_BUFFER;
    if (room) {
        bench_post(b, room);
    } else if (b->job->kind == BENCH_THROUGHPUT ? bench_now() >= b->end :
               b->posted == b->job->bytes) {
        bench_shut(b);
    }
}

static void bench_ping(Bench *b)
{
    b->sent_at = bench_now();
    if (b->sent_at >= b->end) {
        bench_shut(b);
        return;
    }
    b->pong_left = b->job->message;
    bench_post(b, b->job->message);
}

/* A stream's offsets begin. */
static void bench_reset(Bench *b, VnetStream *s)
{
    b->s = s;
    b->posted = b->acked = 0;
    b->shut = false;
}

static const VnetStreamOps bench_stream_ops;

static void bench_connect(Bench *b)
{
    b->sent_at = bench_now();
    bench_reset(b, vnet_stream_connect(b->port, &b->flow, &bench_stream_ops,
                                       b));
}

static void bench_got(Bench *b, const uint8_t *p, size_t len)
{
    uint64_t at = b->res->bytes;
    size_t i;

    if (!at) {
        b->begin = bench_now();
    }
    b->res->bytes += len;
    switch (b->job->kind) {
    case BENCH_THROUGHPUT:
    case BENCH_FRAMES:
        break;
    case BENCH_PINGPONG:
    case BENCH_OPEN:
        if (b->server) {
            bench_post(b, len);
            break;
        }
        b->pong_left -= len;
        if (!b->pong_left) {
            double t = bench_now() - b->sent_at;

            g_array_append_val(b->times, t);
            if (b->job->kind == BENCH_OPEN) {
                bench_shut(b);
            } else {
                bench_ping(b);
            }
        }
        break;
    case BENCH_VERIFY:
        for (i = 0; i < len; i++) {
            if (p[i] != bench_byte(at + i + !b->server)) {
                bench_fail(b, "byte %" PRIu64 " is wrong", at + i);
                return;
            }
        }
        break;
    }
}

/* Data may flow: before it there was the making of the link, and of keys. */
static void bench_begins(Bench *b)
{
    if (!b->end) {
        b->end = bench_now() + b->job->seconds;
        b->res->cpu_before_s = bench_cpu();
    }
}

/* --- Stream ops ------------------------------------------------------- */

static void op_established(void *user)
{
    Bench *b = user;

    bench_begins(b);
    if (b->job->kind == BENCH_PINGPONG && !b->server) {
        bench_ping(b);
    } else if (b->job->kind == BENCH_OPEN && !b->server) {
        b->pong_left = b->job->message;
        bench_post(b, b->job->message);
    } else {
        bench_send_more(b);
    }
}

static void op_failed(void *user, enum vtoe_event_type event,
                      enum vtoe_reason reason)
{
    bench_fail(user, "connect failed: event %d, reason %d", event, reason);
}

static size_t op_tx_peek(void *user, uint64_t offset, struct iovec *iov,
                         unsigned *niov, size_t max)
{
    Bench *b = user;
    size_t total = MIN(max, b->posted - offset), left = total;
    unsigned n = 0;

    while (left && n < *niov) {
        size_t at = offset % RING;
        size_t len = MIN(left, BENCH_BUFFER - at % BENCH_BUFFER);

        iov[n].iov_base = b->tx + at;
        iov[n++].iov_len = len;
        offset += len;
        left -= len;
    }
    *niov = n;
    return total - left;
}

static void op_acked(void *user, uint64_t offset)
{
    Bench *b = user;

    b->acked = offset;
    bench_send_more(b);
}

static unsigned op_rx_get(void *user, VnetRxBuf *bufs, unsigned n, size_t max)
{
    Bench *b = user;
    unsigned i;

    for (i = 0; i < n && max && b->rx_next - b->rx_done < BENCH_BUFFERS; i++) {
        size_t len = MIN(max, BENCH_BUFFER);

        bufs[i].iov.iov_base = b->rx + b->rx_next % BENCH_BUFFERS *
                               BENCH_BUFFER;
        bufs[i].iov.iov_len = len;
        bufs[i].priv = NULL;
        b->rx_next++;
        max -= len;
    }
    return i;
}

static unsigned op_rx_spare(void *user)
{
    Bench *b = user;

    return BENCH_BUFFERS - (b->rx_next - b->rx_done);
}

static void op_rx_done(void *user, VnetRxBuf *buf, size_t len)
{
    Bench *b = user;

    g_assert(buf->iov.iov_base == b->rx + b->rx_done % BENCH_BUFFERS *
             BENCH_BUFFER);
    b->rx_done++;
    bench_got(b, buf->iov.iov_base, len);
}

static void op_rx_return(void *user, VnetRxBuf *bufs, unsigned n)
{
    Bench *b = user;

    b->rx_next -= n;
}

static void op_rx_end(void *user)
{
    Bench *b = user;

    if (b->job->kind == BENCH_THROUGHPUT) {
        b->res->gbit = b->res->bytes * 8 / (bench_now() - b->begin) / 1e9;
    }
    if (b->job->kind != BENCH_VERIFY) {
        bench_shut(b);
    }
}

static void op_disconnected(void *user, enum vtoe_reason reason)
{
    Bench *b = user;

    b->s = NULL;
    if (reason != VTOE_REASON_NONE) {
        bench_fail(b, "stream reset, reason %d", reason);
    } else if (b->job->kind == BENCH_OPEN && !b->server &&
               bench_now() < b->end) {
        bench_connect(b);
    } else if (!b->finished) {
        b->res->ok = true;
        /* The client may have another stream: until the link ends. */
        b->finished = b->job->kind != BENCH_OPEN || !b->server;
    }
}

static const VnetStreamOps bench_stream_ops = {
    .established = op_established,
    .failed = op_failed,
    .tx_peek = op_tx_peek,
    .acked = op_acked,
    .rx_get = op_rx_get,
    .rx_spare = op_rx_spare,
    .rx_done = op_rx_done,
    .rx_return = op_rx_return,
    .rx_end = op_rx_end,
    .disconnected = op_disconnected,
};

/* --- Frames ----------------------------------------------------------- */

static VnetFrameResult bench_send_frame(Bench *b, uint8_t type)
{
    static const VnetFrameHdr plain;
    const struct iovec iov = { b->tx, b->job->message };

    b->tx[13] = type;
    return vnet_port_send(b->port, &plain, &iov, 1, iov.iov_len);
}

/* Sends until the link is busy, it is the others' turn, or the time is over. */
static void bench_frames(void *opaque)
{
    Bench *b = opaque;
    VnetFrameResult ret = VNET_FRAME_OK;
    bool over = bench_now() >= b->end;
    unsigned i;

    vnet_loop_begin(b->loop);
    for (i = 0; i < BENCH_TURN && !over && ret != VNET_FRAME_BUSY; i++) {
        ret = bench_send_frame(b, BENCH_FRAME);
    }
    if (over && !b->res->ok) {
        ret = bench_send_frame(b, BENCH_LAST);
        b->res->ok = ret == VNET_FRAME_OK;
    }
    vnet_loop_end(b->loop);
    if (ret != VNET_FRAME_BUSY && !b->res->ok) {
        qemu_bh_schedule(b->frames);
    }
}

static void bench_frames_begin(Bench *b)
{
    memcpy(b->tx, bench_macs[1], 6);
    memcpy(b->tx + 6, bench_macs[0], 6);
    b->tx[12] = 0x88;
    bench_begins(b);
    b->frames = aio_bh_new(qemu_get_aio_context(), bench_frames, b);
    qemu_bh_schedule(b->frames);
}

/* --- Port ops --------------------------------------------------------- */

static VnetFrameResult op_frame(void *opaque, const VnetFrameHdr *hdr,
                                const struct iovec *iov, unsigned niov,
                                size_t len)
{
    Bench *b = opaque;

    if (b->job->kind != BENCH_FRAMES || !b->server) {
        return VNET_FRAME_DROPPED;
    }
    if (!b->res->bytes) {
        bench_begins(b);
        b->begin = bench_now();
    }
    b->res->bytes += len;
    if (((uint8_t *)iov->iov_base)[13] == BENCH_LAST) {
        b->res->gbit = b->res->bytes * 8 / (bench_now() - b->begin) / 1e9;
        b->res->ok = b->finished = true;
    }
    return VNET_FRAME_OK;
}

static void op_tx_ready(void *opaque)
{
    Bench *b = opaque;

    if (b->frames) {
        qemu_bh_schedule(b->frames);
    }
}

/* Of some measurements the other end says by this that they are over. */
static void op_link_state(void *opaque, bool up)
{
    Bench *b = opaque;

    if (!up && b->res->ok) {
        b->finished = true;
    }
}

static enum vtoe_reason op_connect_request(void *opaque, VnetStream *s,
                                           const VnetFlow *flow)
{
    Bench *b = opaque;

    vnet_stream_bind(s, &bench_stream_ops, b);
    b->asked = s;
    return VTOE_REASON_NONE;
}

static void op_peer_capability(void *opaque, const uint8_t mac[6], bool streams)
{
    Bench *b = opaque;

    if (b->server || b->connecting || !mac || !streams) {
        return;
    }
    b->connecting = true;
    if (b->job->kind == BENCH_FRAMES) {
        bench_frames_begin(b);
        return;
    }
    b->flow = (VnetFlow) {
        .family = 4,
        .lport = 1000, .rport = 2000,
        .laddr = { 10, 0, 0, 1 }, .raddr = { 10, 0, 0, 2 },
    };
    memcpy(b->flow.lmac, bench_macs[0], 6);
    memcpy(b->flow.rmac, mac, 6);
    bench_connect(b);
}

static void op_batch_end(void *opaque)
{
    Bench *b = opaque;

    /* The end of the stream before may be told later than the next begins. */
    if (b->asked && !b->s) {
        bench_reset(b, b->asked);
        b->asked = NULL;
        vnet_stream_accept(b->s, &bench_stream_ops, b);
    }
}

static const VnetPortOps bench_port_ops = {
    .frame = op_frame,
    .tx_ready = op_tx_ready,
    .link_state = op_link_state,
    .connect_request = op_connect_request,
    .peer_capability = op_peer_capability,
    .batch_end = op_batch_end,
};

/* --- An end ----------------------------------------------------------- */

static bool bench_start(Bench *b, AioContext *ctx, const SocketAddress *addr,
                        int listen_fd, Error **errp)
{
    static const VnetLoopOps none;
    const VnetCoreConfig core = {
        .name = b->server ? "server" : "client",
        .max_streams = 16,
        .heartbeat_ms = 1000,
        .max_macs = 16,
        .mac_age_s = 300,
    };
    VnetSockConfig link = {
        .id = "l0",
        .addr = addr,
        .server = b->server,
        .hostname = b->server ? NULL : BENCH_TLS_HOST,
        .reconnect_ms = VNET_SOCK_RECONNECT_MS,
        .setup_timeout_ms = VNET_SOCK_SETUP_TIMEOUT_MS,
    };

    b->loop = vnet_loop_new(ctx, &core, &none, NULL, errp);
    if (!b->loop) {
        return false;
    }
    b->port = vnet_port_attach(vnet_core_net(vnet_loop_core(b->loop)), "bench",
                               bench_macs[b->server], &bench_port_ops, b);
    if (b->job->link == BENCH_RDMA) {
        b->rdma = bench_rdma_link(b->loop, addr, b->server, b->tx, b->rx, RING,
                                  errp);
        return b->rdma != NULL;
    }
    if (b->job->tls) {
        link.creds = bench_creds(b->job, b->server, errp);
        if (!link.creds) {
            return false;
        }
    }
    b->link = vnet_sock_new(b->loop, &link, listen_fd, errp);
    return b->link != NULL;
}

static void bench_sock_result(Bench *b)
{
    VnetSockInfo info;

    vnet_sock_query(b->link, &info);
    qapi_free_SocketAddress(info.local);
    qapi_free_SocketAddress(info.remote);
    b->res->bytes_copied = vnet_link_stats(vnet_sock_link(b->link))
                           ->bytes_copied;
    b->res->writes = info.stats->data_writes;
    b->res->reads = info.stats->data_reads;
    b->res->control = info.stats->control_writes + info.stats->control_reads;
}

static void bench_stop(Bench *b)
{
    if (b->rdma) {
        bench_rdma_result(b->rdma, b->res);
    } else {
        bench_sock_result(b);
    }
    vnet_port_detach(b->port);
    vnet_loop_begin(b->loop);
    if (b->rdma) {
        vnet_rdma_link_free(b->rdma);
    } else {
        vnet_sock_free(b->link);
    }
    vnet_loop_end(b->loop);
    vnet_loop_free(b->loop);
}

/*
 * What was said last goes with the link.  Sockets deliver it all the same, a
 * queue pair does not.
 */
static void bench_linger(Bench *b, AioContext *ctx)
{
    double until = bench_now() + BENCH_LINGER_S;

    while (b->rdma && bench_now() < until) {
        aio_poll(ctx, false);
        g_usleep(1000);
    }
}

void bench_vnet_end(const BenchJob *job, const SocketAddress *addr,
                    bool server, int listen_fd, BenchResult *res)
{
    Bench b = { .job = job, .res = res, .server = server };
    AioContext *ctx;
    Error *err = NULL;

    qemu_init_main_loop(&error_abort);
    ctx = qemu_get_aio_context();
    aio_context_set_poll_params(ctx, job->poll_max_ns, 0, 0, &error_abort);
    b.tx = qemu_memalign(qemu_real_host_page_size(), RING);
    b.rx = qemu_memalign(qemu_real_host_page_size(), RING);
    memset(b.tx, 0, RING);
    memset(b.rx, 0, RING);
    b.times = g_array_new(false, false, sizeof(double));
    if (!bench_start(&b, ctx, addr, listen_fd, &err)) {
        snprintf(res->error, sizeof(res->error), "%s", error_get_pretty(err));
        return;
    }
    while (!b.finished) {
        aio_poll(ctx, true);
    }
    bench_linger(&b, ctx);
    if (b.times->len) {
        res->messages = b.times->len;
        res->open_us = bench_median((double *)b.times->data,
                                    b.times->len) * 1e6;
        res->latency_us = res->open_us / 2;
    }
    bench_stop(&b);
    if (b.frames) {
        qemu_bh_delete(b.frames);
    }
    g_array_unref(b.times);
    qemu_vfree(b.tx);
    qemu_vfree(b.rx);
}
