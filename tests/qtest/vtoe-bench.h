/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the benches of the device have in common.  They are run by hand, and are
 * no tests.
 *
 * No guest runs.  The program is its processor: it writes the rings, in memory that
 * it shares with QEMU, at the time that something is due, and sets the doorbell's
 * eventfd itself when the device has asked for it, which is what KVM does for a
 * guest's write (it has one more exit).  The eventfd is taken from QEMU with
 * pidfd_getfd().  QEMU runs with TCG and firmware that halts, so that its clock is
 * real time.
 *
 * The program needs a processor of its own, and each VNET thread another: counts do
 * not depend on that, times are as good as that holds.  Beside other work it helps
 * to say where they run, and to put the VNET threads before it (vtoe_bench_place()).
 */
#ifndef VTOE_BENCH_H
#define VTOE_BENCH_H

#include "vtoe-driver.h"

/* --- Time ----------------------------------------------------------------- */

int64_t vtoe_bench_now_ns(void);
/*
 * When the next is due after one that was due then: who is late does not make up for
 * it, as several at once would be something else.
 */
int64_t vtoe_bench_next(int64_t due_ns, int64_t gap_ns);

/* --- QEMU ----------------------------------------------------------------- */

/*
 * Further options of a QEMU; dir: a folder for its firmware, which has to be there
 * until QEMU has begun.  To be freed.
 */
char *vtoe_bench_options(const char *dir);
/* Its VNET thread's number. */
int vtoe_bench_thread(QTestState *qts);
/*
 * Binds such a thread to the processor behind nth others that this process may use,
 * or the last one, and gives it a real-time priority if that is allowed.  nth is at
 * least 1: vtoe_bench_place_self(), when all QEMUs have begun, which would inherit
 * it, takes the first one.
 */
void vtoe_bench_place(int tid, unsigned nth);
void vtoe_bench_place_self(void);
/* Nanoseconds that a thread has had on a processor. */
int64_t vtoe_bench_cpu_ns(QTestState *qts, int tid);
/* A QEMU that is not measured takes no processor. */
void vtoe_bench_pause(QTestState *qts);
void vtoe_bench_resume(QTestState *qts);

/* --- Rings ---------------------------------------------------------------- */

/* The control block of a queue, in shared memory. */
struct vtoe_queue_ctrl *vtoe_bench_ctrl(VtoeDriver *d, VtoeTestQueue *q);
/* Posts a descriptor and publishes it; true: the driver has to ring. */
bool vtoe_bench_post(VtoeDriver *d, VtoeTestQueue *q,
                     const struct vtoe_send_desc *desc);
void vtoe_bench_ring(int fd);
/*
 * The one of QEMU's eventfds after which done() is true, soon; the caller closes
 * it.  It fails if there is none.
 */
typedef bool VtoeBenchDone(void *opaque);
int vtoe_bench_doorbell(QTestState *qts, VtoeBenchDone *done, void *opaque);

/* --- Figures -------------------------------------------------------------- */

/* The value below which that share of n values is, 0 <= share < 1; sorts them. */
double vtoe_bench_quantile(double *v, unsigned n, double share);

/* Rounds of a measurement that gives several figures. */
typedef struct VtoeBenchSeries {
    unsigned fields;
    GArray *rows;                   /* of double, one row behind another */
} VtoeBenchSeries;

void vtoe_bench_series_init(VtoeBenchSeries *s, unsigned fields);
void vtoe_bench_series_free(VtoeBenchSeries *s);
/* Keeps a round's figures. */
void vtoe_bench_series_add(VtoeBenchSeries *s, const double *row);
/* The median of the rounds. */
double vtoe_bench_series_median(const VtoeBenchSeries *s, unsigned field);

#endif /* VTOE_BENCH_H */
