/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the benches of the device have in common, see vtoe-bench.h.
 */

#include "qemu/osdep.h"
#include <sched.h>
#include <sys/syscall.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "vtoe-bench.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open  434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* --- Time ----------------------------------------------------------------- */

int64_t vtoe_bench_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int64_t vtoe_bench_next(int64_t due_ns, int64_t gap_ns)
{
    return MAX(due_ns, vtoe_bench_now_ns() - gap_ns / 2) + gap_ns;
}

/* --- QEMU ----------------------------------------------------------------- */

char *vtoe_bench_options(const char *dir)
{
    g_autofree uint8_t *image = g_malloc0(65536);
    g_autofree char *bios = g_build_filename(dir, "bios", NULL);

    /* cli, hlt, and again. */
    memcpy(image + 65536 - 16, "\xfa\xf4\xeb\xfc", 4);
    g_assert(g_file_set_contents(bios, (char *)image, 65536, NULL));
    return g_strdup_printf(" -accel tcg -bios %s -name debug-threads=on", bios);
}

/* It is called as the netdev's own. */
int vtoe_bench_thread(QTestState *qts)
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

/* tid: 0 for this one. */
static void bind_to(int tid, unsigned nth)
{
    static cpu_set_t all;           /* before any was bound */
    cpu_set_t one;
    int left, cpu = -1;

    if (!CPU_COUNT(&all)) {
        g_assert(!sched_getaffinity(0, sizeof(all), &all));
    }
    for (left = MIN(nth, CPU_COUNT(&all) - 1); left >= 0; left--) {
        do {
            cpu++;
        } while (!CPU_ISSET(cpu, &all));
    }
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    g_assert(!sched_setaffinity(tid, sizeof(one), &one));
}

void vtoe_bench_place(int tid, unsigned nth)
{
    const struct sched_param first = { .sched_priority = 1 };

    bind_to(tid, nth);
    if (sched_setscheduler(tid, SCHED_FIFO, &first)) {
        fprintf(stderr, "no real-time priority for the VNET thread: %s\n",
                strerror(errno));
    }
}

void vtoe_bench_place_self(void)
{
    bind_to(0, 0);
}

int64_t vtoe_bench_cpu_ns(QTestState *qts, int tid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/schedstat",
                                            (int)qtest_pid(qts), tid);
    g_autofree char *text = NULL;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    return g_ascii_strtoll(text, NULL, 10);
}

void vtoe_bench_pause(QTestState *qts)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'stop' }");
}

void vtoe_bench_resume(QTestState *qts)
{
    qtest_readb(qts, 0);            /* takes what it said of interrupts */
    qtest_qmp_assert_success(qts, "{ 'execute': 'cont' }");
}

/* --- Rings ---------------------------------------------------------------- */

struct vtoe_queue_ctrl *vtoe_bench_ctrl(VtoeDriver *d, VtoeTestQueue *q)
{
    return (struct vtoe_queue_ctrl *)(d->ram + q->ctrl);
}

bool vtoe_bench_post(VtoeDriver *d, VtoeTestQueue *q,
                     const struct vtoe_send_desc *desc)
{
    struct vtoe_queue_ctrl *ctrl = vtoe_bench_ctrl(d, q);

    vtoe_post_send(d, q, desc);
    qatomic_store_release(&ctrl->send_prod, cpu_to_le32(q->send_prod));
    smp_mb();           /* the index is there before its event is read */
    return vtoe_need_kick(le32_to_cpu(qatomic_read(&ctrl->send_event)),
                          q->send_prod, q->send_prod - 1);
}

void vtoe_bench_ring(int fd)
{
    uint64_t one = 1;

    g_assert_cmpint(write(fd, &one, sizeof(one)), ==, sizeof(one));
}

static bool soon(VtoeBenchDone *done, void *opaque)
{
    gint64 deadline = g_get_monotonic_time() + 20000;
    bool is = done(opaque);

    while (!is && g_get_monotonic_time() < deadline) {
        is = done(opaque);
    }
    return is;
}

int vtoe_bench_doorbell(QTestState *qts, VtoeBenchDone *done, void *opaque)
{
    pid_t pid = qtest_pid(qts);
    int pidfd = syscall(SYS_pidfd_open, pid, 0), found = -1, n;

    g_assert_cmpint(pidfd, >=, 0);
    g_assert_false(soon(done, opaque));
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
        vtoe_bench_ring(fd);
        if (soon(done, opaque)) {
            found = fd;
        } else {
            close(fd);
        }
    }
    close(pidfd);
    g_assert_cmpint(found, >=, 0);
    return found;
}

/* --- Figures -------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double vtoe_bench_quantile(double *v, unsigned n, double share)
{
    g_assert_cmpuint(n, >, 0);
    qsort(v, n, sizeof(*v), compare);
    return v[(unsigned)(n * share)];
}

void vtoe_bench_series_init(VtoeBenchSeries *s, unsigned fields)
{
    s->fields = fields;
    s->rows = g_array_new(false, false, fields * sizeof(double));
}

void vtoe_bench_series_free(VtoeBenchSeries *s)
{
    g_array_free(s->rows, true);
}

void vtoe_bench_series_add(VtoeBenchSeries *s, const double *row)
{
    g_array_append_vals(s->rows, row, 1);
}

double vtoe_bench_series_median(const VtoeBenchSeries *s, unsigned field)
{
    const double *all = (const double *)s->rows->data;
    g_autofree double *v = g_new(double, s->rows->len);
    unsigned i;

    for (i = 0; i < s->rows->len; i++) {
        v[i] = all[i * s->fields + field];
    }
    return vtoe_bench_quantile(v, s->rows->len, 0.5);
}
