/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the ways of dispatch cost: frames at a given rate from a guest to a netdev
 * that leads nowhere, the ways in turns.
 *
 *      vtoe-dispatch-bench [ROUNDS [SECONDS [polling|pairs]]]
 *
 * polling, the default, is each way with and without a VNET thread that polls;
 * pairs is each way with 1, 2 and 4 queue pairs, of which the first carries the
 * frames and the device looks at all; there the threads are bound to processors.
 *
 * For each way and rate: doorbells per frame, and median and 99th percentile of the
 * time from a frame's index to the completion that has it, in us, and how busy the
 * VNET thread was.  vtoe-bench.h says how it is done, and what that is worth.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vtoe-bench.h"
#include "vtoe-frames.h"
#include "vtoe-tmp.h"

#define ENTRIES 4096

typedef struct Way {
    const char *name, *netdev, *device;
    unsigned pairs;
} Way;

static const Way polling[] = {
    { "guest", "vnet", "", 1 },
    { "guest, poll 50 us", "vnet,poll-max-ns=50000", "", 1 },
    { "vmm", "vnet", ",dispatch=vmm", 1 },
    { "vmm, poll 50 us", "vnet,poll-max-ns=50000", ",dispatch=vmm", 1 },
    { "adaptive", "vnet", ",dispatch=adaptive", 1 },
    { "adaptive, poll 50 us", "vnet,poll-max-ns=50000", ",dispatch=adaptive",
      1 },
};

/* A single pair is without streams. */
#define ONE     ",queue-pairs=1,offload=off"

static const Way pairs[] = {
    { "guest, 1 pair", "vnet", ONE, 1 },
    { "guest, 2 pairs", "vnet", ",queue-pairs=2", 2 },
    { "guest, 4 pairs", "vnet", ",queue-pairs=4", 4 },
    { "vmm, 1 pair", "vnet", ",dispatch=vmm" ONE, 1 },
    { "vmm, 2 pairs", "vnet", ",dispatch=vmm,queue-pairs=2", 2 },
    { "vmm, 4 pairs", "vnet", ",dispatch=vmm,queue-pairs=4", 4 },
    { "adaptive, 1 pair", "vnet", ",dispatch=adaptive" ONE, 1 },
    { "adaptive, 2 pairs", "vnet", ",dispatch=adaptive,queue-pairs=2", 2 },
    { "adaptive, 4 pairs", "vnet", ",dispatch=adaptive,queue-pairs=4", 4 },
};

static const unsigned rates[] = { 100, 5000, 50000 };

/* A round's figures. */
enum { DOORBELLS, MEDIAN_US, TAIL_US, CPU, FIGURES };

typedef struct Bench {
    VtoeFrames f;
    int doorbell;                   /* pair 0's */
    int tid;                        /* the VNET thread */
    VtoeBenchSeries results[G_N_ELEMENTS(rates)];
} Bench;

/* Posts a frame; true: the driver has to ring. */
static bool post(Bench *b)
{
    struct vtoe_send_desc desc = {
        .addr = cpu_to_le64(b->f.buf), .len = cpu_to_le32(VTOE_FRAMES_LEN),
    };

    b->f.sent++;
    return vtoe_bench_post(b->f.d, b->f.q, &desc);
}

static bool all_done(void *opaque)
{
    Bench *b = opaque;

    vtoe_frames_take(&b->f);
    return b->f.done == b->f.sent;
}

static void bench_boot(Bench *b, const Way *way)
{
    char *dir = vtoe_tmp_dir("vtoe-bench");
    g_autofree char *options = vtoe_bench_options(dir);
    g_autofree char *device = g_strconcat(way->device, options, NULL);
    unsigned r;

    *b = (Bench) { .doorbell = -1 };
    vtoe_frames_boot(&b->f, way->netdev, device, way->pairs, ENTRIES);
    vtoe_tmp_remove(dir);
    b->tid = vtoe_bench_thread(b->f.h.qts);
    if (!strstr(way->device, "=vmm")) {
        g_assert_true(post(b));
        b->doorbell = vtoe_bench_doorbell(b->f.h.qts, all_done, b);
    }
    for (r = 0; r < G_N_ELEMENTS(rates); r++) {
        vtoe_bench_series_init(&b->results[r], FIGURES);
    }
    vtoe_bench_pause(b->f.h.qts);
}

static void bench_free(Bench *b)
{
    unsigned r;

    for (r = 0; r < G_N_ELEMENTS(rates); r++) {
        vtoe_bench_series_free(&b->results[r]);
    }
    if (b->doorbell >= 0) {
        close(b->doorbell);
    }
    vtoe_host_quit(&b->f.h);
}

/* --- One run -------------------------------------------------------------- */

/* Notes the time of all that are done now. */
static void look(Bench *b, const int64_t *posted, double *took, unsigned *n,
                 uint64_t first)
{
    uint64_t done = b->f.done;
    int64_t now;

    vtoe_frames_take(&b->f);
    now = b->f.done > done ? vtoe_bench_now_ns() : 0;
    for (; done < b->f.done; done++) {
        took[(*n)++] = (now - posted[done - first]) / 1000.0;
    }
}

/* Frames of so many seconds; warm: nothing is kept. */
static void bench_run(Bench *b, unsigned r, double seconds, bool keep)
{
    unsigned frames = MAX(rates[r] * seconds, 20), i, n = 0;
    g_autofree int64_t *posted = g_new(int64_t, frames);
    g_autofree double *took = g_new(double, frames);
    int64_t gap = 1000000000ll / rates[r], start, due, cpu;
    uint64_t first = b->f.sent, rung = 0;
    gint64 deadline = 0;
    double row[FIGURES];

    start = vtoe_bench_now_ns();
    due = start + gap;
    cpu = vtoe_bench_cpu_ns(b->f.h.qts, b->tid);
    for (i = 0; i < frames; i++, due += gap) {
        gint64 full = 0;

        while (vtoe_bench_now_ns() < due || b->f.sent - b->f.done == ENTRIES) {
            look(b, posted, took, &n, first);
            vtoe_spin_step(&full, "room for a frame");
        }
        posted[i] = vtoe_bench_now_ns();
        if (post(b)) {
            vtoe_bench_ring(b->doorbell);
            rung++;
        }
    }
    while (b->f.done < b->f.sent) {
        look(b, posted, took, &n, first);
        vtoe_spin_step(&deadline, "the last frames");
    }
    if (!keep) {
        return;
    }
    g_assert_cmpuint(n, ==, frames);
    row[CPU] = 100.0 * (vtoe_bench_cpu_ns(b->f.h.qts, b->tid) - cpu) /
               (vtoe_bench_now_ns() - start);
    row[DOORBELLS] = (double)rung / frames;
    row[MEDIAN_US] = vtoe_bench_quantile(took, n, 0.5);
    row[TAIL_US] = vtoe_bench_quantile(took, n, 0.99);
    vtoe_bench_series_add(&b->results[r], row);
}

/* --- All ------------------------------------------------------------------ */

static void show(const Bench *b, const Way *way, unsigned r)
{
    const VtoeBenchSeries *s = &b->results[r];

    printf("%-22s %7u %15.3f %10.1f %8.1f %6.1f\n", way->name, rates[r],
           vtoe_bench_series_median(s, DOORBELLS),
           vtoe_bench_series_median(s, MEDIAN_US),
           vtoe_bench_series_median(s, TAIL_US),
           vtoe_bench_series_median(s, CPU));
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? atoi(argv[1]) : 5, round, i, r;
    double seconds = argc > 2 ? g_ascii_strtod(argv[2], NULL) : 1;
    bool by_pairs = argc > 3 && g_str_equal(argv[3], "pairs");
    const Way *way = by_pairs ? pairs : polling;
    unsigned ways = by_pairs ? G_N_ELEMENTS(pairs) : G_N_ELEMENTS(polling);
    g_autofree Bench *b = g_new(Bench, ways);

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ways; i++) {
        bench_boot(&b[i], &way[i]);
        if (by_pairs) {
            vtoe_bench_place(b[i].tid, 1);
        }
    }
    if (by_pairs) {
        vtoe_bench_place_self();
    }
    for (round = 0; round < rounds; round++) {
        for (r = 0; r < G_N_ELEMENTS(rates); r++) {
            for (i = 0; i < ways; i++) {
                vtoe_bench_resume(b[i].f.h.qts);
                bench_run(&b[i], r, 0.1, false);
                bench_run(&b[i], r, seconds, true);
                vtoe_bench_pause(b[i].f.h.qts);
            }
        }
    }
    printf("%-22s %7s %15s %10s %8s %6s\n", "dispatch", "frames/s",
           "doorbells/frame", "median us", "99 % us", "CPU %");
    for (r = 0; r < G_N_ELEMENTS(rates); r++) {
        for (i = 0; i < ways; i++) {
            show(&b[i], &way[i], r);
        }
    }
    for (i = 0; i < ways; i++) {
        bench_free(&b[i]);
    }
    return 0;
}
