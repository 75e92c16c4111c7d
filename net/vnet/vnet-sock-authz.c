/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over sockets: who may connect.
 *
 * An authz object is the main loop's: it can be changed or removed by the
 * monitor at any time, and may read files.  So the main loop is asked, each
 * time anew.
 */

#include "qemu/osdep.h"
#include "authz/base.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "vnet-job.h"
#include "vnet-sock.h"

struct VnetSockAsk {
    VnetJob job;
    char *authz;
    char *identity;
    char *err;                  /* NULL: yes */
    void (*done)(void *opaque, const char *err);
    void *opaque;
};

/* Main loop. */
static void vnet_sock_ask_bh(void *opaque)
{
    VnetSockAsk *a = opaque;
    Error *err = NULL;

    if (!a->identity) {
        a->err = g_strdup("its credentials do not say who it is");
    } else if (!qauthz_is_allowed_by_id(a->authz, a->identity, &err)) {
        a->err = err ? g_strdup(error_get_pretty(err)) :
                 g_strdup_printf("%s denies %s", a->authz, a->identity);
    }
    error_free(err);
    vnet_job_finish(&a->job);
}

static void vnet_sock_ask_done(VnetJob *job)
{
    VnetSockAsk *a = container_of(job, VnetSockAsk, job);

    a->done(a->opaque, a->err);
}

static void vnet_sock_ask_free(VnetJob *job)
{
    VnetSockAsk *a = container_of(job, VnetSockAsk, job);

    g_free(a->authz);
    g_free(a->identity);
    g_free(a->err);
    g_free(a);
}

VnetSockAsk *vnet_sock_ask(VnetLoop *loop, const char *authz,
                           const char *identity,
                           void (*done)(void *opaque, const char *err),
                           void *opaque)
{
    VnetSockAsk *a = g_new0(VnetSockAsk, 1);
    int ret;

    a->job.done = vnet_sock_ask_done;
    a->job.free = vnet_sock_ask_free;
    a->authz = g_strdup(authz);
    a->identity = g_strdup(identity);
    a->done = done;
    a->opaque = opaque;
    ret = vnet_job_start(loop, &a->job);
    if (ret < 0) {
        vnet_sock_ask_free(&a->job);
        errno = -ret;
        return NULL;
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), vnet_sock_ask_bh, a);
    return a;
}

void vnet_sock_ask_cancel(VnetSockAsk *a)
{
    vnet_job_cancel(&a->job);
}
