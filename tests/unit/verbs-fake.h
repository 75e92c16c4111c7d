/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A scripted stand-in for RDMA connections (vnet-verbs.h): any number of
 * contexts in one process, on one fabric.
 *
 * Nothing happens by itself.  Events of the connection manager wait in a queue
 * per context until next_event() takes them; work requests are executed by
 * vfake_step(), one by one, from the memory as it is then.  So a buffer that was
 * given back too early is read or written too late, and ASan sees it.
 *
 * It checks what an adapter would not forgive: keys and lengths, queues that
 * overflow (also by messages without a completion of their own), a message for
 * which no receive is posted, anything left behind.
 */
#ifndef VERBS_FAKE_H
#define VERBS_FAKE_H

#include <glib.h>
#include "vnet-verbs.h"

typedef struct VFake VFake;             /* the fabric */

typedef enum VFakeOp {
    VFAKE_OPEN,
    VFAKE_CM_NEW,
    VFAKE_LISTEN,
    VFAKE_RESOLVE_ADDR,
    VFAKE_RESOLVE_ROUTE,
    VFAKE_CONNECT,
    VFAKE_ACCEPT,
    VFAKE_REJECT,
    VFAKE_ESTABLISHED,
    VFAKE_DISCONNECT,
    VFAKE_GET_DEVICE,
    VFAKE_REQ_NOTIFY,
    VFAKE_POLL_CQ,
    VFAKE_REG_MEM,
    VFAKE_LKEY,
    VFAKE_CREATE_QP,
    VFAKE_STOP_QP,
    VFAKE_POST_SEND,
    VFAKE_POST_RECV,
    VFAKE_OPS
} VFakeOp;

/* What is left at the moment. */
typedef struct VFakeCounts {
    unsigned cms, qps, mrs, devs, receives, sends;
} VFakeCounts;

/* seed 0: work requests are executed in a fixed order. */
VFake *vfake_new(guint32 seed);
/* Checks that nothing was left behind. */
void vfake_free(VFake *f);
VnetVCtx *vfake_ctx_new(VFake *f);
const VnetVerbs *vfake_verbs(void);
VFakeCounts vfake_counts(VnetVCtx *x);
uint64_t vfake_calls(VnetVCtx *x, VFakeOp op);

/* --- What a loop would watch --------------------------------------------- */

bool vfake_has_event(VnetVCtx *x);
bool vfake_has_completion(VnetVDev *dev);
bool vfake_has_said(VnetVDev *dev);
/* Executes a work request; false: there is none that can be. */
bool vfake_step(VFake *f);

/* --- Faults -------------------------------------------------------------- */

/* The op fails once with -err, after `skip` calls that do not. */
void vfake_fail(VnetVCtx *x, VFakeOp op, int err, unsigned skip);
/* Bits of event types that are kept back / lost. */
void vfake_withhold(VnetVCtx *x, uint32_t types);
void vfake_lose(VnetVCtx *x, uint32_t types);
/* No request of the context is answered: it is as if it were lost. */
void vfake_mute(VnetVCtx *x, bool mute);
/* Addresses that lead to no device. */
void vfake_no_device(VnetVCtx *x, int err);
/* get_device() says -EINPROGRESS until _ready(). */
void vfake_hold_device(VnetVCtx *x);
void vfake_device_ready(VnetVCtx *x, int status, const char *text);
void vfake_limits(VnetVCtx *x, uint32_t max_qp, uint32_t max_wr);
/* The n-th cm of the context that has a QP or is made, oldest first; NULL. */
VnetVCm *vfake_cm(VnetVCtx *x, unsigned n);
unsigned vfake_cm_count(VnetVCtx *x);
/* By its private data: kind of connection, and stream. */
VnetVCm *vfake_cm_of(VnetVCtx *x, uint8_t kind, uint32_t stream_id);
bool vfake_has_qp(VnetVCm *cm);
void vfake_inject(VnetVCm *cm, VnetCmEventType type, int status);
/* The QP breaks: its oldest request completes with this status, the others are
 * flushed.  recv: a receive, else a send (made up if there is none). */
void vfake_break(VnetVCm *cm, VnetWcStatus status, bool recv);
/* The QP is in the error state: what is posted is flushed, and that is all. */
void vfake_error(VnetVCm *cm);
/* The context's device says this, of the cm's QP, or of itself (NULL). */
void vfake_say(VnetVCtx *x, VnetVCm *cm, VnetAsyncType type);
/* Work requests of this cm's QP are not executed. */
void vfake_stall(VnetVCm *cm, bool stall);
/* A message to the cm's owner, as if its peer had sent it. */
void vfake_message(VnetVCm *cm, const void *buf, size_t len);
/* A request with this private data; its id is in nobody's hands. */
void vfake_stranger(VnetVCtx *x, const struct sockaddr *sa, const void *data,
                    uint8_t len);
/* What strangers were told: -1 nothing yet, 0 accepted, else rejected. */
int vfake_stranger_answer(VFake *f);

#endif /* VERBS_FAKE_H */
