/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Something that the overlay's thread must not do itself, because it blocks or
 * needs the main loop: it is done in another thread, and the loop's thread
 * hears of it.
 *
 * The job is part of what the work is about, and has two owners until one of
 * them is through with it: the loop's thread, which waits for the end or
 * cancels, and the other, which works.
 */
#ifndef VNET_JOB_H
#define VNET_JOB_H

#include "qemu/event_notifier.h"
#include "vnet-loop.h"

typedef struct VnetJob VnetJob;
struct VnetJob {
    /* Loop's thread, as a dispatch: the work is done; not after a cancel. */
    void (*done)(VnetJob *job);
    /* Any thread, last of all: frees what the job is part of. */
    void (*free)(VnetJob *job);
    /* private */
    int refs;                   /* atomic */
    VnetLoop *loop;
    EventNotifier finished;     /* what the work left is valid after it was set */
};

/* Loop's thread, before the work is handed over.  Returns 0, or -errno: then it
 * never began, and free() is not called. */
int vnet_job_start(VnetLoop *loop, VnetJob *job);
/* Other thread: nothing of it is touched there any more. */
void vnet_job_finish(VnetJob *job);
/* Loop's thread, before done() was called. */
void vnet_job_cancel(VnetJob *job);

#endif /* VNET_JOB_H */
