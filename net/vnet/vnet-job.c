/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Work in another thread: see vnet-job.h.
 */

#include "qemu/osdep.h"
#include "vnet-job.h"

static void vnet_job_unref(VnetJob *job)
{
    if (qatomic_fetch_dec(&job->refs) == 1) {
        event_notifier_cleanup(&job->finished);
        job->free(job);
    }
}

static void vnet_job_finished(EventNotifier *e)
{
    VnetJob *job = container_of(e, VnetJob, finished);
    VnetLoop *loop = job->loop;

    /* To have read it orders what the other thread wrote before it. */
    event_notifier_test_and_clear(e);
    aio_set_event_notifier(vnet_loop_ctx(loop), e, NULL, NULL, NULL);
    vnet_loop_begin(loop);
    job->done(job);
    vnet_loop_end(loop);
    vnet_job_unref(job);
}

int vnet_job_start(VnetLoop *loop, VnetJob *job)
{
    int ret = event_notifier_init(&job->finished, false);

    if (ret < 0) {
        return ret;
    }
    job->refs = 2;
    job->loop = loop;
    aio_set_event_notifier(vnet_loop_ctx(loop), &job->finished,
                           vnet_job_finished, NULL, NULL);
    return 0;
}

void vnet_job_finish(VnetJob *job)
{
    event_notifier_set(&job->finished);
    vnet_job_unref(job);
}

void vnet_job_cancel(VnetJob *job)
{
    aio_set_event_notifier(vnet_loop_ctx(job->loop), &job->finished, NULL,
                           NULL, NULL);
    vnet_job_unref(job);
}
