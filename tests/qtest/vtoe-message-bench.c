/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What queue pairs cost and bring for streams, by the ways of dispatch: messages of
 * 64 bytes at a given rate from one guest to another, over a unix link.
 *
 *      vtoe-message-bench [ROUNDS [SECONDS]]
 *
 * With 2 queue pairs there is one stream, on the second; with 4 there are three, on
 * a pair each, and messages go over them in turn.  (The first pair has the frames:
 * vtoe-dispatch-bench.)  This program is both guests.
 *
 * For each: how many messages a second were sent after all; doorbells per message, of
 * the sender and of the receiver; median and 99th percentile of the time from a
 * message's index to the completion that has its last byte at the receiver, in us;
 * and how busy both VNET threads were.  vtoe-bench.h says how it is done, and what
 * that is worth; there are two VNET threads here.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vtoe-bench.h"
#include "vtoe-frames.h"
#include "vtoe-tmp.h"

#define ENTRIES     1024
#define BUFFERS     512             /* of a pair, to receive */
#define BUFFER      2048
#define MESSAGE     64
#define FEWEST      30              /* messages of a run */
#define STREAMS     (VTOE_TEST_PAIRS - 1)

static const struct {
    const char *name, *device;
    unsigned pairs;
} way[] = {
    { "guest, 2 pairs", ",queue-pairs=2", 2 },
    { "guest, 4 pairs", ",queue-pairs=4", 4 },
    { "vmm, 2 pairs", ",dispatch=vmm,queue-pairs=2", 2 },
    { "vmm, 4 pairs", ",dispatch=vmm,queue-pairs=4", 4 },
    { "adaptive, 2 pairs", ",dispatch=adaptive,queue-pairs=2", 2 },
    { "adaptive, 4 pairs", ",dispatch=adaptive,queue-pairs=4", 4 },
};

static const unsigned rates[] = { 100, 5000, 50000 };

/* A round's figures. */
enum { RATE, DOORBELLS, PEER_DOORBELLS, MEDIAN_US, TAIL_US, CPU, PEER_CPU,
       FIGURES };

typedef struct Stream {
    VtoeTestStream sid;
    VtoeTestQueue *out, *in;        /* of a, of b */
    int doorbell;                   /* of a's */
    uint64_t sent, acked, arrived;  /* bytes */
} Stream;

typedef struct Bench {
    VtoePair *p;
    Stream s[STREAMS];
    unsigned streams;
    uint64_t message;               /* in a's memory */
    uint64_t buf[STREAMS];          /* in b's */
    uint64_t limit;                 /* messages of a stream that a may have sent */
    int tid[2];                     /* the VNET threads, of a and b */
    VtoeBenchSeries results[G_N_ELEMENTS(rates)];
} Bench;

/* Times of a run. */
typedef struct Times {
    uint64_t begin[STREAMS];        /* what had arrived before */
    const int64_t *posted;
    double *took;                   /* us */
    unsigned n;
} Times;

/* --- Both guests ---------------------------------------------------------- */

/* Posts a message; true: the driver has to ring. */
static bool post(Bench *b, Stream *s)
{
    struct vtoe_send_desc desc = {
        .addr = cpu_to_le64(b->message), .len = cpu_to_le32(MESSAGE),
        .sid = cpu_to_le32(s->sid.a), .op = VTOE_SEND_DATA,
    };

    s->sent += MESSAGE;
    return vtoe_bench_post(b->p->a.d, s->out, &desc);
}

static void take_acks(Bench *b, Stream *s)
{
    struct vtoe_comp c;

    while (vtoe_poll_comp(b->p->a.d, s->out, &c)) {
        g_assert_cmpuint(c.type, ==, VTOE_COMP_SEND);
        s->acked = c.u.offset;
    }
}

/* Takes what has arrived on a stream; t: notes when, or NULL. */
static void take(Bench *b, unsigned i, Times *t)
{
    Stream *s = &b->s[i];
    VtoeDriver *d = b->p->b.d;
    struct vtoe_comp c;
    bool any = false;

    while (vtoe_poll_comp(d, s->in, &c)) {
        int64_t now = vtoe_bench_now_ns();
        uint64_t m = s->arrived / MESSAGE;

        g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
        s->arrived = c.u.offset + c.len;
        for (; t && m < s->arrived / MESSAGE; m++) {
            uint64_t nth = (m - t->begin[i]) * b->streams + i;

            t->took[t->n++] = (now - t->posted[nth]) / 1000.0;
        }
        vtoe_post_recv(d, s->in, b->buf[i] + c.id * BUFFER, BUFFER,
                       VTOE_SID_ANY, c.id);
        any = true;
    }
    if (any) {
        vtoe_kick(d, s->in);
    }
}

static void look(Bench *b, Times *t)
{
    unsigned i;

    for (i = 0; i < b->streams; i++) {
        take(b, i, t);
        take_acks(b, &b->s[i]);
    }
}

/* Whether all that was sent has arrived and is acknowledged. */
static bool all_done(void *opaque)
{
    Bench *b = opaque;
    bool done = true;
    unsigned i;

    look(b, NULL);
    for (i = 0; i < b->streams; i++) {
        done &= b->s[i].arrived == b->s[i].sent &&
                b->s[i].acked == b->s[i].sent;
    }
    return done;
}

/* --- QEMU ----------------------------------------------------------------- */

/* A stream on the pair behind the first, and so on. */
static void open_stream(Bench *b, unsigned i, bool rings)
{
    VtoeDriver *a = b->p->a.d, *peer = b->p->b.d;
    struct vtoe_flow flow = vtoe_pair_flow(10000 + i);
    struct vtoe_event ev;
    Stream *s = &b->s[i];
    unsigned n;

    *s = (Stream) {
        .out = &a->q[1 + i], .in = &peer->q[1 + i], .doorbell = -1,
    };
    b->buf[i] = vtoe_alloc(peer, BUFFERS * BUFFER);
    for (n = 0; n < BUFFERS; n++) {
        vtoe_post_recv(peer, s->in, b->buf[i] + n * BUFFER, BUFFER,
                       VTOE_SID_ANY, n);
    }
    vtoe_kick(peer, s->in);
    s->sid.a = 1 + i;
    g_assert_cmpuint(vtoe_connect(a, s->sid.a, 1 + i, &flow, VTOE_TEST_CREDIT),
                     ==, VTOE_CMD_OK);
    ev = vtoe_wait_event(peer, VTOE_EVENT_CONNECT_REQUEST);
    s->sid.b = ev.sid;
    g_assert_cmpuint(vtoe_accept(peer, s->sid.b, 1 + i, VTOE_TEST_CREDIT), ==,
                     VTOE_CMD_OK);
    vtoe_wait_event_of(peer, VTOE_EVENT_CONNECT_ESTABLISHED, s->sid.b);
    vtoe_wait_event_of(a, VTOE_EVENT_CONNECT_ESTABLISHED, s->sid.a);
    if (rings) {
        g_assert_true(post(b, s));
        s->doorbell = vtoe_bench_doorbell(b->p->a.qts, all_done, b);
    }
}

static void bench_boot(Bench *b, unsigned w)
{
    char *dir = vtoe_tmp_dir("vtoe-bench");
    g_autofree char *options = vtoe_bench_options(dir);
    g_autofree char *device = g_strconcat(way[w].device, options, NULL);
    unsigned i;

    *b = (Bench) { .p = vtoe_pair_boot_shared(64, device) };
    vtoe_tmp_remove(dir);
    b->tid[0] = vtoe_bench_thread(b->p->a.qts);
    b->tid[1] = vtoe_bench_thread(b->p->b.qts);
    vtoe_bench_place(b->tid[0], 1);
    vtoe_bench_place(b->tid[1], 2);
    vtoe_start(b->p->a.d, way[w].pairs, ENTRIES);
    vtoe_start(b->p->b.d, way[w].pairs, ENTRIES);
    vtoe_pair_wait_streams(b->p);
    vtoe_pair_listen(b->p);
    b->message = vtoe_alloc(b->p->a.d, MESSAGE);
    b->limit = MIN(vtoe_rd(b->p->a.d, VTOE_REG_MAX_INFLIGHT), ENTRIES);
    for (i = 0; i < way[w].pairs - 1; i++) {
        b->streams = i + 1;
        open_stream(b, i, !strstr(way[w].device, "=vmm"));
    }
    for (i = 0; i < G_N_ELEMENTS(rates); i++) {
        vtoe_bench_series_init(&b->results[i], FIGURES);
    }
    vtoe_bench_pause(b->p->a.qts);
    vtoe_bench_pause(b->p->b.qts);
}

static void bench_free(Bench *b)
{
    unsigned i;

    for (i = 0; i < b->streams; i++) {
        if (b->s[i].doorbell >= 0) {
            close(b->s[i].doorbell);
        }
    }
    for (i = 0; i < G_N_ELEMENTS(rates); i++) {
        vtoe_bench_series_free(&b->results[i]);
    }
    vtoe_pair_quit(b->p);
}

/* --- One run -------------------------------------------------------------- */

/* Messages of so many seconds; warm: nothing is kept. */
static void bench_run(Bench *b, unsigned r, double seconds, bool keep)
{
    unsigned messages = MAX(rates[r] * seconds, FEWEST), i;
    g_autofree int64_t *posted = g_new(int64_t, messages);
    g_autofree double *took = g_new(double, messages);
    QTestState *qts[2] = { b->p->a.qts, b->p->b.qts };
    int64_t gap = 1000000000ll / rates[r], start, due, cpu[2], passed;
    uint64_t rung = 0, peer = vtoe_counter(qts[1], "nic0", "doorbells");
    Times t = { .posted = posted, .took = took };
    gint64 deadline = 0;
    double row[FIGURES];

    for (i = 0; i < b->streams; i++) {
        t.begin[i] = b->s[i].arrived / MESSAGE;
    }
    for (i = 0; i < 2; i++) {
        cpu[i] = vtoe_bench_cpu_ns(qts[i], b->tid[i]);
    }
    start = vtoe_bench_now_ns();
    due = start + gap;
    /* A program that has no processor of its own does not get to all. */
    for (i = 0; i < messages && (i < FEWEST || due < start + seconds * 1e9);
         i++) {
        Stream *s = &b->s[i % b->streams];
        gint64 full = 0;

        do {
            look(b, &t);
            vtoe_spin_step(&full, "room for a message");
        } while (vtoe_bench_now_ns() < due ||
                 s->sent - s->acked >= b->limit * MESSAGE);
        due = vtoe_bench_next(due, gap);
        posted[i] = vtoe_bench_now_ns();
        if (post(b, s)) {
            vtoe_bench_ring(s->doorbell);
            rung++;
        }
    }
    messages = i;
    while (t.n < messages) {
        look(b, &t);
        vtoe_spin_step(&deadline, "the last messages");
    }
    passed = vtoe_bench_now_ns() - start;
    for (i = 0; i < 2; i++) {
        row[CPU + i] = 100.0 * (vtoe_bench_cpu_ns(qts[i], b->tid[i]) - cpu[i]) /
                       passed;
    }
    while (!all_done(b)) {
        vtoe_spin_step(&deadline, "the last acknowledgements");
    }
    if (!keep) {
        return;
    }
    row[RATE] = messages * 1e9 / passed;
    row[DOORBELLS] = (double)rung / messages;
    row[PEER_DOORBELLS] = (double)(vtoe_counter(qts[1], "nic0", "doorbells") -
                                   peer) / messages;
    row[MEDIAN_US] = vtoe_bench_quantile(took, messages, 0.5);
    row[TAIL_US] = vtoe_bench_quantile(took, messages, 0.99);
    vtoe_bench_series_add(&b->results[r], row);
}

/* --- All ------------------------------------------------------------------ */

static void show(const Bench *b, unsigned w, unsigned r)
{
    const VtoeBenchSeries *s = &b->results[r];

    printf("%-18s %8u %7.0f %10.3f %10.3f %10.1f %8.1f %8.1f %8.1f\n",
           way[w].name, rates[r], vtoe_bench_series_median(s, RATE),
           vtoe_bench_series_median(s, DOORBELLS),
           vtoe_bench_series_median(s, PEER_DOORBELLS),
           vtoe_bench_series_median(s, MEDIAN_US),
           vtoe_bench_series_median(s, TAIL_US),
           vtoe_bench_series_median(s, CPU),
           vtoe_bench_series_median(s, PEER_CPU));
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? atoi(argv[1]) : 5, round, w, r;
    double seconds = argc > 2 ? g_ascii_strtod(argv[2], NULL) : 1;
    Bench b[G_N_ELEMENTS(way)];

    g_test_init(&argc, &argv, NULL);
    for (w = 0; w < G_N_ELEMENTS(way); w++) {
        bench_boot(&b[w], w);
    }
    vtoe_bench_place_self();
    for (round = 0; round < rounds; round++) {
        for (r = 0; r < G_N_ELEMENTS(rates); r++) {
            for (w = 0; w < G_N_ELEMENTS(way); w++) {
                vtoe_bench_resume(b[w].p->b.qts);
                vtoe_bench_resume(b[w].p->a.qts);
                bench_run(&b[w], r, 0.1, false);
                bench_run(&b[w], r, seconds, true);
                vtoe_bench_pause(b[w].p->a.qts);
                vtoe_bench_pause(b[w].p->b.qts);
            }
        }
    }
    printf("%-18s %8s %7s %10s %10s %10s %8s %8s %8s\n", "", "a second",
           "sent", "doorbells", "receiver's", "median us", "99 % us", "CPU %",
           "receiver");
    for (r = 0; r < G_N_ELEMENTS(rates); r++) {
        for (w = 0; w < G_N_ELEMENTS(way); w++) {
            show(&b[w], w, r);
        }
    }
    for (w = 0; w < G_N_ELEMENTS(way); w++) {
        bench_free(&b[w]);
    }
    return 0;
}
