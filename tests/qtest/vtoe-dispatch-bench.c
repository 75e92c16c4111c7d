/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the ways of dispatch cost: frames at a given rate from a guest to a netdev
 * that leads nowhere, the ways in turns.
 *
 *      vtoe-dispatch-bench [ROUNDS [SECONDS]]
 *
 * No guest runs.  The program is its processor: it writes the rings, in memory that
 * it shares with QEMU, at the time that each frame is due, and sets the doorbell's
 * eventfd itself when the device has asked for it, which is what KVM does for a
 * guest's write (it has one more exit).  The eventfd is taken from QEMU with
 * pidfd_getfd().  QEMU runs with TCG and firmware that halts, so that its clock is
 * real time.
 *
 * For each way and rate: doorbells per frame, and median and 99th percentile of the
 * time from a frame's index to the completion that has it, in us, and how busy the
 * VNET thread was.  The program needs a processor of its own, and the VNET thread
 * another; the first figure is a count, the others are as good as that holds.
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "libqos/libqos-pc.h"
#include "vtoe-frames.h"
#include "vtoe-tmp.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open  434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

#define ENTRIES 4096

static const struct {
    const char *name, *netdev, *device;
} way[] = {
    { "guest", "vnet", "" },
    { "guest, poll 50 us", "vnet,poll-max-ns=50000", "" },
    { "vmm", "vnet", ",dispatch=vmm" },
    { "vmm, poll 50 us", "vnet,poll-max-ns=50000", ",dispatch=vmm" },
    { "adaptive", "vnet", ",dispatch=adaptive" },
    { "adaptive, poll 50 us", "vnet,poll-max-ns=50000", ",dispatch=adaptive" },
};

static const unsigned rates[] = { 100, 5000, 50000 };

typedef struct Sample {
    double doorbells, median_us, tail_us, cpu;
} Sample;

typedef struct Bench {
    VtoeFrames f;
    int doorbell;                   /* pair 0's */
    int tid;                        /* the VNET thread */
    uint64_t rung;
    GArray *results[G_N_ELEMENTS(rates)];   /* of Sample */
} Bench;

static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* --- QEMU ----------------------------------------------------------------- */

/* Firmware: cli, hlt, and again. */
static char *halting_bios(const char *dir)
{
    g_autofree uint8_t *image = g_malloc0(65536);
    char *path = g_build_filename(dir, "bios", NULL);

    memcpy(image + 65536 - 16, "\xfa\xf4\xeb\xfc", 4);
    g_assert(g_file_set_contents(path, (char *)image, 65536, NULL));
    return path;
}

/* The one of its threads that is called as the netdev's own. */
static int vnet_thread(QTestState *qts)
{
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task",
                                             (int)qtest_pid(qts));
    GDir *dir = g_dir_open(tasks, 0, NULL);
    const char *tid;
    int found = 0;

    while ((tid = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tasks, tid, "comm", NULL);
        g_autofree char *name = NULL;

        if (g_file_get_contents(path, &name, NULL, NULL) &&
            strstr(name, "vnet-")) {
            found = atoi(tid);
        }
    }
    g_dir_close(dir);
    g_assert_cmpint(found, >, 0);
    return found;
}

static bool sends(Bench *b)
{
    gint64 deadline = g_get_monotonic_time() + 20000;

    while (b->f.done < b->f.sent && g_get_monotonic_time() < deadline) {
        vtoe_frames_take(&b->f);
    }
    return b->f.done == b->f.sent;
}

/* Posts a frame; true: the driver has to ring. */
static bool post(Bench *b)
{
    VtoeFrames *f = &b->f;
    struct vtoe_send_desc desc = {
        .addr = cpu_to_le64(f->buf), .len = cpu_to_le32(VTOE_FRAMES_LEN),
    };
    uint32_t event;

    vtoe_post_send(f->d, f->q, &desc);
    qatomic_store_release(VTOE_FRAMES_CTRL(f, f->q, send_prod),
                          cpu_to_le32(f->q->send_prod));
    smp_mb();           /* the index is there before its event is read */
    f->sent++;
    event = le32_to_cpu(qatomic_read(VTOE_FRAMES_CTRL(f, f->q, send_event)));
    return vtoe_need_kick(event, f->q->send_prod, f->q->send_prod - 1);
}

static void ring(int fd)
{
    uint64_t one = 1;

    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

/* The one of QEMU's eventfds that has a frame sent. */
static int find_doorbell(Bench *b)
{
    pid_t pid = qtest_pid(b->f.h.qts);
    int pidfd = syscall(SYS_pidfd_open, pid, 0), found = -1, n;

    g_assert_cmpint(pidfd, >=, 0);
    g_assert_true(post(b));
    g_assert_false(sends(b));
    for (n = 0; n < 200 && found < 0; n++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/fd/%d", (int)pid, n);
        g_autofree char *to = g_file_read_link(path, NULL);
        int fd;

        if (!to || !g_str_equal(to, "anon_inode:[eventfd]")) {
            continue;
        }
        fd = syscall(SYS_pidfd_getfd, pidfd, n, 0);
        if (fd < 0) {
            g_error("pidfd_getfd: %s", strerror(errno));
        }
        ring(fd);
        if (sends(b)) {
            found = fd;
        } else {
            close(fd);
        }
    }
    close(pidfd);
    g_assert_cmpint(found, >=, 0);
    return found;
}

static void bench_boot(Bench *b, unsigned i)
{
    char *dir = vtoe_tmp_dir("vtoe-bench");
    g_autofree char *bios = halting_bios(dir);
    g_autofree char *device = g_strdup_printf("%s -accel tcg -bios %s "
                                              "-name debug-threads=on",
                                              way[i].device, bios);
    unsigned r;

    *b = (Bench) { .doorbell = -1 };
    vtoe_frames_boot(&b->f, way[i].netdev, device, 1, ENTRIES);
    vtoe_tmp_remove(dir);
    b->tid = vnet_thread(b->f.h.qts);
    if (!strstr(way[i].device, "=vmm")) {
        b->doorbell = find_doorbell(b);
    }
    for (r = 0; r < G_N_ELEMENTS(rates); r++) {
        b->results[r] = g_array_new(false, false, sizeof(Sample));
    }
    qtest_qmp_assert_success(b->f.h.qts, "{ 'execute': 'stop' }");
}

/* Nanoseconds on a processor. */
static int64_t cpu_ns(Bench *b)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/schedstat",
                                            (int)qtest_pid(b->f.h.qts), b->tid);
    g_autofree char *text = NULL;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoll(text, NULL, 10);
}

/* --- One run -------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Notes the time of all that are done now. */
static void look(Bench *b, const int64_t *posted, double *took, unsigned *n,
                 uint64_t first)
{
    uint64_t done = b->f.done;
    int64_t now;

    vtoe_frames_take(&b->f);
    now = b->f.done > done ? now_ns() : 0;
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
    int64_t gap = 1000000000ll / rates[r], due = now_ns() + gap, start, cpu;
    uint64_t first = b->f.sent, rung = 0;
    gint64 deadline = 0;
    Sample s;

    start = now_ns();
    cpu = cpu_ns(b);
    for (i = 0; i < frames; i++, due += gap) {
        gint64 full = 0;

        while (now_ns() < due || b->f.sent - b->f.done == ENTRIES) {
            look(b, posted, took, &n, first);
            vtoe_spin_step(&full, "room for a frame");
        }
        posted[i] = now_ns();
        if (post(b)) {
            ring(b->doorbell);
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
    s.cpu = 100.0 * (cpu_ns(b) - cpu) / (now_ns() - start);
    s.doorbells = (double)rung / frames;
    qsort(took, n, sizeof(double), compare);
    s.median_us = took[n / 2];
    s.tail_us = took[n * 99 / 100];
    g_array_append_val(b->results[r], s);
}

/* --- All ------------------------------------------------------------------ */

#define MEDIAN(results, field) ({ \
    GArray *m_ = (results); \
    g_autofree double *v_ = g_new(double, m_->len); \
    for (unsigned i_ = 0; i_ < m_->len; i_++) { \
        v_[i_] = g_array_index(m_, Sample, i_).field; \
    } \
    qsort(v_, m_->len, sizeof(double), compare); \
    v_[m_->len / 2]; })

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? atoi(argv[1]) : 5, round, i, r;
    double seconds = argc > 2 ? g_ascii_strtod(argv[2], NULL) : 1;
    Bench b[G_N_ELEMENTS(way)];

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(way); i++) {
        bench_boot(&b[i], i);
    }
    for (round = 0; round < rounds; round++) {
        for (r = 0; r < G_N_ELEMENTS(rates); r++) {
            for (i = 0; i < G_N_ELEMENTS(way); i++) {
                QTestState *qts = b[i].f.h.qts;

                qtest_readb(qts, 0);    /* takes what it said of interrupts */
                qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
                bench_run(&b[i], r, 0.1, false);
                bench_run(&b[i], r, seconds, true);
                qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
            }
        }
    }
    printf("%-22s %7s %15s %10s %8s %6s\n", "dispatch", "frames/s",
           "doorbells/frame", "median us", "99 % us", "CPU %");
    for (r = 0; r < G_N_ELEMENTS(rates); r++) {
        for (i = 0; i < G_N_ELEMENTS(way); i++) {
            printf("%-22s %7u %15.3f %10.1f %8.1f %6.1f\n", way[i].name,
                   rates[r], MEDIAN(b[i].results[r], doorbells),
                   MEDIAN(b[i].results[r], median_us),
                   MEDIAN(b[i].results[r], tail_us),
                   MEDIAN(b[i].results[r], cpu));
        }
    }
    for (i = 0; i < G_N_ELEMENTS(way); i++) {
        for (r = 0; r < G_N_ELEMENTS(rates); r++) {
            g_array_free(b[i].results[r], true);
        }
        if (b[i].doorbell >= 0) {
            close(b[i].doorbell);
        }
        vtoe_host_quit(&b[i].f.h);
    }
    return 0;
}
