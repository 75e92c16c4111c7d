/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the stand-in for RDMA connections: verbs-fake.c is the fabric and
 * the connection manager, verbs-fake-qp.c devices, memory and queue pairs.
 */
#ifndef VERBS_FAKE_INT_H
#define VERBS_FAKE_INT_H

#include "verbs-fake.h"

struct VFake {
    GRand *rand;
    guint turn;
    GPtrArray *ctxs;
    uint32_t next_lkey;
    int stranger;
};

struct VnetVCtx {
    VFake *f;
    bool open;
    GPtrArray *cms;             /* oldest first */
    GPtrArray *mrs;
    GQueue events;              /* of Ev */
    uint32_t withheld, lost;
    bool muted;
    int no_device;
    bool hold_device;
    GPtrArray *waiting;         /* cms that wait for the device */
    VnetVDev *dev;
    VnetVLimits limits;
    struct { int err; unsigned skip; } fail[VFAKE_OPS];
    uint64_t calls[VFAKE_OPS];
};

typedef struct Ev {
    VnetCmEvent ev;
} Ev;

struct VnetVDev {
    VnetVCtx *x;
    unsigned refs;
    GQueue cq;                  /* of Cqe */
    GQueue said;                /* of VnetAsyncEvent */
    bool armed, fired;
};

struct VnetVMr {
    VnetVDev *dev;
    uint8_t *addr;
    size_t len;
    uint32_t lkey;
};

struct VnetVCm {
    VnetVCtx *x;
    VnetVQp *qp;
    VnetVCm *peer;              /* from the request on */
    uint16_t port;
    bool listening, answered;
    bool connected;             /* accepted */
    bool said_bye;
    bool established;           /* ESTABLISHED was taken, or accept() called */
    uint8_t data[VNET_CM_PRIVATE_MAX];
    uint8_t data_len;
};

typedef struct Wr {
    VnetVSge sge[32];
    unsigned n, flags;
    uint64_t wr_id;
    GBytes *copy;               /* inline */
} Wr;

struct VnetVQp {
    VnetVCm *cm;
    VnetVDev *dev;
    VnetVQpAttr attr;
    GQueue sq, rq;              /* of Wr */
    unsigned sq_used, rq_used;  /* until the completion was polled */
    unsigned unsignalled;       /* executed since the last completion */
    bool error, stalled;
};

typedef struct Cqe {
    VnetWc wc;
    VnetVQp *qp;                /* NULL: gone */
    unsigned frees;             /* slots of its queue */
    bool recv;
} Cqe;

/* Counts a call; 0, or the error that it was told to return. */
int vfake_called(VnetVCtx *x, VFakeOp op);
VnetCmEvent *vfake_post(VnetVCm *cm, VnetCmEventType type, int status);

/* verbs-fake-qp.c */
void vfake_qp_flush(VnetVQp *qp);
void vfake_v_ack_events(VnetVDev *dev);
int vfake_v_completion_fd(VnetVDev *dev);
int vfake_v_create_qp(VnetVCm *cm, VnetVDev *dev, VnetVQpAttr *attr,
                      VnetVQp **out);
int vfake_v_stop_qp(VnetVQp *qp);
void vfake_v_destroy_qp(VnetVQp *qp);
int vfake_v_get_device(VnetVCm *cm, VnetVDev **dev);
const VnetVLimits *vfake_v_limits(VnetVDev *dev);
int vfake_v_lkey(VnetVDev *dev, const void *addr, size_t len, uint32_t *lkey);
int vfake_v_async_fd(VnetVDev *dev);
int vfake_v_next_async(VnetVDev *dev, VnetAsyncEvent *ev);
int vfake_v_poll_cq(VnetVDev *dev, VnetWc *wc, int n);
int vfake_v_post_recv(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                      uint64_t wr_id);
int vfake_v_post_send(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                      unsigned flags, uint64_t wr_id);
void vfake_v_put_device(VnetVDev *dev);
int vfake_v_reg_mem(VnetVDev *dev, void *addr, size_t len, VnetVMr **mr,
                    uint32_t *lkey);
int vfake_v_req_notify(VnetVDev *dev);
bool vfake_v_completed(VnetVDev *dev);
void vfake_v_unreg_mem(VnetVMr *mr);

#endif /* VERBS_FAKE_INT_H */
