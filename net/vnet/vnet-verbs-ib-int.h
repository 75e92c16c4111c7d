/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the RDMA library's side show each other:
 *   vnet-verbs-ib.c      connections and events (librdmacm), contexts
 *   vnet-verbs-ib-dev.c  devices, completion queues, queue pairs
 *   vnet-verbs-ib-gid.c  the source of a connection, by gid-index
 *   vnet-verbs-ib-async.c    what adapters say by themselves
 *   vnet-verbs-ib-pd.c   protection domains and registered memory
 * The operations are those of vnet-verbs.h, where they are explained.
 */
#ifndef VNET_VERBS_IB_INT_H
#define VNET_VERBS_IB_INT_H

#include <rdma/rdma_cma.h>
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "vnet-verbs-ib.h"

typedef enum VnetIbPdState {
    VNET_IB_PD_NEW,             /* nobody has asked for the memory */
    VNET_IB_PD_WANTED,
    VNET_IB_PD_READY,
    VNET_IB_PD_FAILED,
} VnetIbPdState;

struct VnetIbPd {
    struct ibv_context *verbs;
    struct ibv_pd *pd;
    struct rdma_cm_id *holder;  /* keeps the device; NULL: could not */
    const VnetIbMem *mem;
    struct VnetIbRegions *regions;     /* RCU; NULL: none */
    void *user;                 /* main loop */
    /* under the lock of vnet-verbs-ib-pd.c */
    unsigned refs;              /* VnetVDevs */
    bool unwanting;             /* unwant() was called */
    bool removed;               /* its device was */
    VnetIbPdState state;
    char *why;                  /* FAILED */
    QTAILQ_ENTRY(VnetIbPd) next;
};

struct VnetVCtx {
    VnetIbConfig cfg;
    struct rdma_event_channel *channel;
    QTAILQ_HEAD(, VnetVDev) devs;
    QTAILQ_HEAD(, VnetVCm) waiting;     /* for DEVICE_READY */
    QTAILQ_ENTRY(VnetVCtx) next;        /* under ctx lock */
};

struct VnetVCm {
    VnetVCtx *x;
    struct rdma_cm_id *id;
    struct sockaddr_storage dst;
    int timeout_ms;
    bool source_chosen;         /* by gid-index */
    VnetVDev *waits;            /* in x->waiting ... */
    bool told;                  /* ... until it is told that this is there */
    QTAILQ_ENTRY(VnetVCm) next;
};

typedef struct VnetIbCq VnetIbCq;

struct VnetVQp {
    VnetVCm *cm;
    VnetVDev *dev;
    struct ibv_qp *qp;
    VnetIbCq *cq;
    uint32_t claim;
    /* under the lock of vnet-verbs-ib-async.c */
    uint32_t said;              /* bits of VnetAsyncType; not 0: in dev->said */
    QTAILQ_ENTRY(VnetVQp) said_next;
};

struct VnetVDev {
    VnetVCtx *x;
    VnetIbPd *pd;
    unsigned refs;              /* get_device() */
    unsigned waiting;           /* cms */
    struct ibv_comp_channel *channel;   /* NULL: not started */
    QTAILQ_HEAD(, VnetIbCq) cqs;
    VnetVLimits limits;
    uint32_t max_cqe;
    VnetWc seen[16];            /* taken by completed(), for poll_cq() ... */
    int nseen;                  /* ... or its -errno */
    /* For one call; on the stack the compiler would clear them in each. */
    struct ibv_wc wc[64];
    struct ibv_recv_wr recv_wr[64];
    struct ibv_sge sge[64];
    QTAILQ_ENTRY(VnetVDev) next;
    int async_fd;               /* -1: not started */
    /* under the lock of vnet-verbs-ib-async.c */
    QTAILQ_HEAD(, VnetVQp) said;
    uint64_t nsaid[VNET_ASYNC_TYPES];   /* of the device itself */
    QTAILQ_ENTRY(VnetVDev) async_next;
};

/* Both libraries say -1 and errno, or an errno; never 0 for a failure. */
static inline int vnet_ib_ret(int ret)
{
    return ret < 0 ? -(errno ?: EIO) : -ret;
}

/* --- vnet-verbs-ib.c -------------------------------------------------- */

int vnet_ib_nonblock(int fd);
/* Any thread: each context looks whether its devices are ready. */
void vnet_ib_wake_all(void);
/* It waits for its device no longer, or has it. */
void vnet_ib_unwait(VnetVCm *cm);

/* What each id has, before it resolves an address. */
void vnet_ib_set_options(VnetVCm *cm);

/* --- vnet-verbs-ib-gid.c ---------------------------------------------- */

/*
 * The address has resolved.  Returns 0: the source is as it should be; 1: it
 * resolves anew; or -errno and *why, which is to be freed.
 */
int vnet_ib_choose_source(VnetVCm *cm, char **why);

/* --- vnet-verbs-ib-dev.c ---------------------------------------------- */

int vnet_ib_get_device(VnetVCm *cm, VnetVDev **out);
void vnet_ib_put_device(VnetVDev *dev);
/* Frees it, if nothing holds it or waits for it. */
void vnet_ib_dev_check(VnetVDev *dev);
const VnetVLimits *vnet_ib_limits(VnetVDev *dev);
int vnet_ib_completion_fd(VnetVDev *dev);
void vnet_ib_ack_events(VnetVDev *dev);
int vnet_ib_req_notify(VnetVDev *dev);
bool vnet_ib_completed(VnetVDev *dev);
int vnet_ib_poll_cq(VnetVDev *dev, VnetWc *out, int n);
int vnet_ib_create_qp(VnetVCm *cm, VnetVDev *dev, VnetVQpAttr *attr,
                      VnetVQp **out);
int vnet_ib_stop_qp(VnetVQp *qp);
void vnet_ib_destroy_qp(VnetVQp *qp);
int vnet_ib_post_send(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                      unsigned flags, uint64_t wr_id);
int vnet_ib_post_recv(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                      uint64_t wr_id);

/* --- vnet-verbs-ib-async.c -------------------------------------------- */

/* From now on what is said of the device is kept for dev.  0 or -errno. */
int vnet_ib_async_start(VnetVDev *dev);
/* Its queues are gone.  Nothing, if it was not started. */
void vnet_ib_async_stop(VnetVDev *dev);
/* The same for a QP, and for a completion queue of dev. */
void vnet_ib_async_add_qp(VnetVQp *qp);
void vnet_ib_async_del_qp(VnetVQp *qp);
void vnet_ib_async_add_cq(VnetVDev *dev, struct ibv_cq *cq);
void vnet_ib_async_del_cq(struct ibv_cq *cq);
int vnet_ib_async_fd(VnetVDev *dev);
int vnet_ib_next_async(VnetVDev *dev, VnetAsyncEvent *ev);

/* --- vnet-verbs-ib-pd.c ----------------------------------------------- */

/* The device's domain, with a reference.  NULL and errno. */
VnetIbPd *vnet_ib_pd_get(VnetVCtx *x, struct rdma_cm_id *id);
void vnet_ib_pd_put(VnetIbPd *pd);
/* The device is being removed. */
void vnet_ib_pd_removed(struct ibv_context *verbs);
/* As it is; if it has no memory and nobody has asked for it, asks. */
VnetIbPdState vnet_ib_pd_want(VnetIbPd *pd);
/* As it is; *why, of the given size, if it is FAILED. */
VnetIbPdState vnet_ib_pd_state(VnetIbPd *pd, char *why, size_t size);
int vnet_ib_lkey(VnetVDev *dev, const void *addr, size_t len, uint32_t *lkey);
int vnet_ib_reg_mem(VnetVDev *dev, void *addr, size_t len, VnetVMr **mr,
                    uint32_t *lkey);
void vnet_ib_unreg_mem(VnetVMr *mr);

#endif /* VNET_VERBS_IB_INT_H */
