/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What early virtual interrupts (evi) and the end of coalescing (eoc) do for frames
 * that a guest receives: the four of them in turns.
 *
 *      vtoe-receive-bench [ROUNDS [SECONDS [DELAY]]]
 *
 *      datagrams of this program --- vxlan link --- switch --- vtoe-pci
 *
 * At each rate frames of 64 bytes come one by one, and 10 at once at the same mean
 * rate; at the higher ones also 40 of 1400 bytes.  One system call sends those that
 * come at once, and one read has them.  The driver is this program, too.  It waits
 * for its interrupt, begins to look DELAY us later (0, unless given; a guest's
 * processor takes a few), takes all that is there, and asks for the next interrupt.
 * It is as quick as no guest, so interrupts are as many as they can be.
 *
 * For each: how many frames a second were sent after all; interrupts per frame, which
 * the device counts; the time from the sending of a frame until the driver has it, in
 * us, of the first one of those that came at once, and median and 99th percentile of
 * all; how busy the VNET thread was, and for how long with each frame, in us; and how
 * many frames were lost on their way to QEMU.  vtoe-bench.h says how it is done, and
 * what that is worth.
 */

#include "qemu/osdep.h"
#include <netinet/in.h>
#include <netinet/udp.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "vnet-vxlan.h"
#include "vtoe-bench.h"
#include "vtoe-frames.h"
#include "vtoe-tmp.h"

#define ENTRIES     4096
#define VNI         77
#define AT_ONCE     40              /* at most */
#define FEWEST      10              /* times in a run that something is sent */
#define LONGEST     1400            /* bytes of a frame */
#define BUFFER      2048
#define VECTOR      1               /* of pair 0 */

static const struct {
    const char *name, *device;
} way[] = {
    { "evi, eoc", "" },
    { "eoc", ",evi=off" },
    { "evi", ",eoc=off" },
    { "neither", ",evi=off,eoc=off" },
};

static const struct {
    unsigned rate, burst, len;
} load[] = {
    { 100, 1, 64 }, { 5000, 1, 64 }, { 50000, 1, 64 },
    { 100, 10, 64 }, { 5000, 10, 64 }, { 50000, 10, 64 },
    { 5000, AT_ONCE, LONGEST }, { 50000, AT_ONCE, LONGEST },
};

/* A round's figures. */
enum {
    RATE, INTERRUPTS, FIRST_US, MEDIAN_US, TAIL_US, CPU, CPU_US, LOST, FIGURES
};

/* A frame; zeroes follow. */
typedef struct QEMU_PACKED Frame {
    uint8_t dst[6], src[6], type[2];
    int64_t sent_ns;                /* as the program has it */
    uint32_t run;
    uint8_t first;                  /* of those that are sent at once */
} Frame;

/* Times of a run, in us. */
typedef struct Times {
    double *all, *first;
    unsigned n, nfirst;
} Times;

typedef struct Bench {
    VtoeHost h;
    VtoeDriver *d;
    VtoeTestQueue *q;               /* pair 0 */
    uint64_t buf;                   /* ENTRIES times BUFFER */
    int fd;                         /* the peer */
    int tid;                        /* the VNET thread */
    uint32_t run;
    VtoeBenchSeries results[G_N_ELEMENTS(load)];
} Bench;

static unsigned delay_us;

static int udp_socket(struct sockaddr_in *in)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*in);

    *in = (struct sockaddr_in) {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    g_assert(fd >= 0 && !bind(fd, (struct sockaddr *)in, len));
    g_assert(!getsockname(fd, (struct sockaddr *)in, &len));
    return fd;
}

static void bench_boot(Bench *b, unsigned w)
{
    char *dir = vtoe_tmp_dir("vtoe-bench");
    g_autofree char *options = vtoe_bench_options(dir);
    g_autofree char *device = g_strconcat(VTOE_NIC_A, way[w].device, options,
                                          NULL);
    g_autofree char *netdev = NULL;
    struct sockaddr_in peer, qemu;
    unsigned i;

    *b = (Bench) { .fd = udp_socket(&peer) };
    close(udp_socket(&qemu));       /* a port that is free now */
    netdev = g_strdup_printf("vnet,vni=%d,links.0.id=l0,links.0.type=vxlan,"
                             "links.0.addr.type=inet,"
                             "links.0.addr.host=127.0.0.1,"
                             "links.0.addr.port=%u,links.0.local-port=%u", VNI,
                             ntohs(peer.sin_port), ntohs(qemu.sin_port));
    vtoe_host_boot_shared(&b->h, 64, netdev, device);
    vtoe_tmp_remove(dir);
    g_assert(!connect(b->fd, (struct sockaddr *)&qemu, sizeof(qemu)));
    vtoe_wait_link_up(b->h.qts, "n0");
    b->tid = vtoe_bench_thread(b->h.qts);
    vtoe_bench_place(b->tid, 1);
    b->d = b->h.d;
    vtoe_msix_enable(b->d);
    vtoe_start(b->d, 1, ENTRIES);
    b->q = &b->d->q[0];
    b->buf = vtoe_alloc(b->d, ENTRIES * BUFFER);
    for (i = 0; i < ENTRIES; i++) {
        vtoe_post_recv(b->d, b->q, b->buf + i * BUFFER, BUFFER,
                       VTOE_SID_FRAME, i);
    }
    vtoe_kick(b->d, b->q);
    for (i = 0; i < G_N_ELEMENTS(load); i++) {
        vtoe_bench_series_init(&b->results[i], FIGURES);
    }
    vtoe_bench_pause(b->h.qts);
}

static void bench_free(Bench *b)
{
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(load); i++) {
        vtoe_bench_series_free(&b->results[i]);
    }
    close(b->fd);
    vtoe_host_quit(&b->h);
}

/* --- One run -------------------------------------------------------------- */

static void send_frames(Bench *b, unsigned n, size_t len)
{
    static uint8_t buf[AT_ONCE * (VNET_VXLAN_HDR + LONGEST)];
    size_t each = VNET_VXLAN_HDR + len;
    Frame f = {
        .dst = { 0x52, 0x54, 0, 0, 0, 0x0a },
        .src = { 0x52, 0x54, 0, 0, 0, 0x0b }, .type = { 0x88, 0xb5 },
        .sent_ns = vtoe_bench_now_ns(), .run = b->run, .first = true,
    };
    unsigned i;

    for (i = 0; i < n; i++) {
        vnet_vxlan_put_header(buf + i * each, VNI);
        memcpy(buf + i * each + VNET_VXLAN_HDR, &f, sizeof(f));
        f.first = false;
    }
    g_assert_cmpint(send(b->fd, buf, n * each, 0), ==, n * each);
}

/* Takes a frame, and gives its buffer back. */
static void take(Bench *b, const struct vtoe_comp *c, int64_t now, Times *t)
{
    uint32_t id = le32_to_cpu(c->id);
    uint64_t at = b->buf + id * BUFFER;
    const Frame *f = (void *)(b->d->ram + at);
    double took = (now - f->sent_ns) / 1000.0;

    g_assert_cmpuint(c->type, ==, VTOE_COMP_RECV);
    if (f->run == b->run) {
        t->all[t->n++] = took;
        if (f->first) {
            t->first[t->nfirst++] = took;
        }
    }
    vtoe_post_recv(b->d, b->q, at, BUFFER, VTOE_SID_FRAME, id);
}

/* What a driver does after an interrupt. */
static void look(Bench *b, Times *t)
{
    struct vtoe_queue_ctrl *ctrl = vtoe_bench_ctrl(b->d, b->q);
    const struct vtoe_comp *ring = (void *)(b->d->ram + b->q->comp);
    uint32_t prod;

    if (!vtoe_msix_fired(b->d, VECTOR)) {
        return;
    }
    vtoe_spin_us(delay_us);
    while ((prod = le32_to_cpu(qatomic_load_acquire(&ctrl->comp_prod))) !=
           b->q->comp_cons) {
        int64_t now = vtoe_bench_now_ns();

        for (; b->q->comp_cons != prod; b->q->comp_cons++) {
            take(b, &ring[b->q->comp_cons & (ENTRIES - 1)], now, t);
        }
        vtoe_kick(b->d, b->q);
        qatomic_store_release(&ctrl->comp_cons, cpu_to_le32(prod));
        qatomic_set(&ctrl->comp_event, cpu_to_le32(prod));
        smp_mb();       /* both are there before the device's index is read */
    }
}

/* Frames of so many seconds; warm: nothing is kept. */
static void bench_run(Bench *b, unsigned l, double seconds, bool keep)
{
    unsigned burst = load[l].burst, i;
    int size = VNET_VXLAN_HDR + load[l].len;
    unsigned bursts = MAX(load[l].rate * seconds / burst, FEWEST), frames;
    g_autofree double *all = g_new(double, bursts * burst);
    g_autofree double *first = g_new(double, bursts);
    int64_t gap = 1000000000ll * burst / load[l].rate, start, due, cpu,
            passed;
    uint64_t interrupts = vtoe_counter(b->h.qts, "nic0", "interrupts");
    Times t = { .all = all, .first = first };
    double row[FIGURES];

    b->run++;
    g_assert(!setsockopt(b->fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)));
    start = vtoe_bench_now_ns();
    due = start + gap;
    cpu = vtoe_bench_cpu_ns(b->h.qts, b->tid);
    /* A program that has no processor of its own does not get to all. */
    for (i = 0; i < bursts && (i < FEWEST || due < start + seconds * 1e9);
         i++) {
        do {
            look(b, &t);
        } while (vtoe_bench_now_ns() < due);
        due = vtoe_bench_next(due, gap);
        send_frames(b, burst, load[l].len);
    }
    frames = i * burst;
    passed = vtoe_bench_now_ns() - start;
    /* What does not come by then was lost. */
    due = start + passed + 100 * 1000 * 1000;
    while (t.n < frames && vtoe_bench_now_ns() < due) {
        look(b, &t);
    }
    if (!keep) {
        return;
    }
    g_assert_cmpuint(t.nfirst, >, 0);
    cpu = vtoe_bench_cpu_ns(b->h.qts, b->tid) - cpu;
    row[CPU] = 100.0 * cpu / (vtoe_bench_now_ns() - start);
    row[CPU_US] = cpu / 1000.0 / t.n;
    row[RATE] = frames * 1e9 / passed;
    row[INTERRUPTS] = (double)(vtoe_counter(b->h.qts, "nic0", "interrupts") -
                               interrupts) / t.n;
    row[FIRST_US] = vtoe_bench_quantile(first, t.nfirst, 0.5);
    row[MEDIAN_US] = vtoe_bench_quantile(all, t.n, 0.5);
    row[TAIL_US] = vtoe_bench_quantile(all, t.n, 0.99);
    row[LOST] = 100.0 * (frames - t.n) / frames;
    vtoe_bench_series_add(&b->results[l], row);
}

/* --- All ------------------------------------------------------------------ */

static void show(const Bench *b, unsigned w, unsigned l)
{
    const VtoeBenchSeries *s = &b->results[l];

    printf("%-10s %7u %7.0f %7u %6u %16.3f %8.1f %9.1f %8.1f %6.1f %8.2f "
           "%6.2f\n",
           way[w].name, load[l].rate, vtoe_bench_series_median(s, RATE),
           load[l].burst, load[l].len,
           vtoe_bench_series_median(s, INTERRUPTS),
           vtoe_bench_series_median(s, FIRST_US),
           vtoe_bench_series_median(s, MEDIAN_US),
           vtoe_bench_series_median(s, TAIL_US),
           vtoe_bench_series_median(s, CPU), vtoe_bench_series_median(s, CPU_US),
           vtoe_bench_series_median(s, LOST));
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? atoi(argv[1]) : 5, round, w, l;
    double seconds = argc > 2 ? g_ascii_strtod(argv[2], NULL) : 1;
    Bench b[G_N_ELEMENTS(way)];

    delay_us = argc > 3 ? atoi(argv[3]) : 0;
    g_test_init(&argc, &argv, NULL);
    for (w = 0; w < G_N_ELEMENTS(way); w++) {
        bench_boot(&b[w], w);
    }
    vtoe_bench_place_self();
    for (round = 0; round < rounds; round++) {
        for (l = 0; l < G_N_ELEMENTS(load); l++) {
            for (w = 0; w < G_N_ELEMENTS(way); w++) {
                vtoe_bench_resume(b[w].h.qts);
                bench_run(&b[w], l, 0.1, false);
                bench_run(&b[w], l, seconds, true);
                vtoe_bench_pause(b[w].h.qts);
            }
        }
    }
    printf("%-10s %7s %7s %7s %6s %16s %8s %9s %8s %6s %8s %6s\n", "",
           "frames/s", "sent", "at once", "bytes", "interrupts/frame",
           "first us", "median us", "99 % us", "CPU %", "us/frame", "lost %");
    for (l = 0; l < G_N_ELEMENTS(load); l++) {
        for (w = 0; w < G_N_ELEMENTS(way); w++) {
            show(&b[w], w, l);
        }
    }
    for (w = 0; w < G_N_ELEMENTS(way); w++) {
        bench_free(&b[w]);
    }
    return 0;
}
