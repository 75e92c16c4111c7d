/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The seam between the rdma transport (vnet-rdma*.c) and an implementation of
 * RDMA connections: librdmacm and libibverbs (vnet-verbs-ib.c), or a scripted
 * stand-in (tests/unit/verbs-fake.c).
 *
 * The types are thin and our own, so that behaviour compiles without the
 * libraries.  The operations have the libraries' meaning, except where said.
 * All of them are for the VNET thread, none blocks, and each that can fail
 * returns 0 or -errno.
 *
 * Life of a connection, seen from here:
 *   active   cm_new -> resolve_addr -> resolve_route -> get_device
 *            -> create_qp -> post_recv -> connect -> ESTABLISHED
 *   passive  CONNECT_REQUEST -> get_device -> create_qp -> post_recv
 *            -> accept -> ESTABLISHED
 *   both     disconnect -> destroy_qp -> DISCONNECTED -> cm_free
 * The QP may be destroyed long before the cm: from then on the adapter neither
 * reads nor writes the memory of what was posted.  Completions of a QP that is
 * gone may still come out of poll_cq().
 */
#ifndef VNET_VERBS_H
#define VNET_VERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

typedef struct VnetVCtx VnetVCtx;   /* an event channel and all made with it */
typedef struct VnetVCm VnetVCm;     /* an rdma_cm id */
typedef struct VnetVDev VnetVDev;   /* PD, completion queue and its channel */
typedef struct VnetVQp VnetVQp;
typedef struct VnetVMr VnetVMr;

/*
 * What the connection manager tells.  All of librdmacm's events, in its order,
 * and one of our own.
 */
typedef enum VnetCmEventType {
    VNET_CM_ADDR_RESOLVED,
    VNET_CM_ADDR_ERROR,
    VNET_CM_ROUTE_RESOLVED,
    VNET_CM_ROUTE_ERROR,
    VNET_CM_CONNECT_REQUEST,
    VNET_CM_CONNECT_RESPONSE,
    VNET_CM_CONNECT_ERROR,
    VNET_CM_UNREACHABLE,
    VNET_CM_REJECTED,
    VNET_CM_ESTABLISHED,
    VNET_CM_DISCONNECTED,
    VNET_CM_DEVICE_REMOVAL,
    VNET_CM_MULTICAST_JOIN,
    VNET_CM_MULTICAST_ERROR,
    VNET_CM_ADDR_CHANGE,
    VNET_CM_TIMEWAIT_EXIT,
    VNET_CM_DEVICE_READY,   /* after get_device() said -EINPROGRESS */
    VNET_CM_EVENTS
} VnetCmEventType;

/* Most private data that arrives: a rejection's. */
#define VNET_CM_PRIVATE_MAX     148
/* Status of a rejection: nobody listens; the peer's own reason. */
#define VNET_CM_REJ_NO_SERVICE  8
#define VNET_CM_REJ_CONSUMER    28

typedef struct VnetCmEvent {
    VnetCmEventType type;
    VnetVCm *cm;            /* CONNECT_REQUEST: the new one, to be freed */
    VnetVCm *listener;      /* CONNECT_REQUEST only */
    /* 0, -errno, or > 0: REJECTED with the CM's reason */
    int status;
    /* CONNECT_REQUEST, REJECTED; padding may follow what was sent */
    uint8_t private_len;
    uint8_t private_data[VNET_CM_PRIVATE_MAX];
    char text[256];         /* of an error, if there is more to say; or "" */
} VnetCmEvent;

typedef enum VnetWcStatus {
    VNET_WC_SUCCESS,
    VNET_WC_LOC_LEN_ERR,
    VNET_WC_LOC_QP_OP_ERR,
    VNET_WC_LOC_PROT_ERR,
    VNET_WC_WR_FLUSH_ERR,
    VNET_WC_BAD_RESP_ERR,
    VNET_WC_LOC_ACCESS_ERR,
    VNET_WC_REM_INV_REQ_ERR,
    VNET_WC_REM_ACCESS_ERR,
    VNET_WC_REM_OP_ERR,
    VNET_WC_RETRY_EXC_ERR,
    VNET_WC_RNR_RETRY_EXC_ERR,
    VNET_WC_REM_ABORT_ERR,
    VNET_WC_FATAL_ERR,
    VNET_WC_RESP_TIMEOUT_ERR,
    VNET_WC_GENERAL_ERR,    /* and all that are not listed */
    VNET_WC_STATUSES
} VnetWcStatus;

typedef struct VnetWc {
    uint64_t wr_id;
    VnetWcStatus status;
    uint32_t len;           /* a successful receive's bytes */
} VnetWc;

/*
 * What an adapter says by itself: those of libibverbs' events that mean
 * something here.
 */
typedef enum VnetAsyncType {
    VNET_ASYNC_QP_FATAL,        /* the QP is in the error state, as with ... */
    VNET_ASYNC_QP_REQ_ERR,
    VNET_ASYNC_QP_ACCESS_ERR,
    VNET_ASYNC_COMM_EST,        /* bytes came before ESTABLISHED */
    VNET_ASYNC_CQ_ERR,
    VNET_ASYNC_DEVICE_FATAL,
    VNET_ASYNC_PORT_ERR,
    VNET_ASYNC_PORT_ACTIVE,
    VNET_ASYNC_OTHER,           /* and all that are not listed */
    VNET_ASYNC_TYPES
} VnetAsyncType;

typedef struct VnetAsyncEvent {
    VnetAsyncType type;
    VnetVCm *cm;                /* of a QP, that is still there; else NULL */
} VnetAsyncEvent;

typedef struct VnetVSge {
    void *addr;
    uint32_t len;
    uint32_t lkey;
} VnetVSge;

typedef struct VnetVLimits {
    uint32_t max_qp;
    uint32_t max_wr;        /* of one queue */
    uint32_t max_sge;
} VnetVLimits;

typedef struct VnetVQpAttr {
    uint32_t send_wr, recv_wr;
    uint32_t send_sge;
    uint32_t inline_data;   /* wanted; create_qp() sets what there is */
} VnetVQpAttr;

/* Flags of post_send() */
#define VNET_V_SIGNALED     1
#define VNET_V_INLINE       2

typedef struct VnetVerbs {
    /* The event channel; more than once does nothing. */
    int (*open)(VnetVCtx *x);
    /* Descriptor that is readable when next_event() has something. */
    int (*event_fd)(VnetVCtx *x);
    /* Takes an event off the queue and acknowledges it.  -EAGAIN: none. */
    int (*next_event)(VnetVCtx *x, VnetCmEvent *ev);

    int (*cm_new)(VnetVCtx *x, VnetVCm **cm);
    /* No event of it comes any more.  Its QP is destroyed before. */
    void (*cm_free)(VnetVCm *cm);
    int (*listen)(VnetVCm *cm, const struct sockaddr *sa, int backlog);
    int (*resolve_addr)(VnetVCm *cm, const struct sockaddr *sa,
                        int timeout_ms);
    int (*resolve_route)(VnetVCm *cm, int timeout_ms);
    int (*connect)(VnetVCm *cm, const void *data, uint8_t len);
    int (*accept)(VnetVCm *cm);
    int (*reject)(VnetVCm *cm, const void *data, uint8_t len);
    /* Tells the CM that bytes came although it does not say ESTABLISHED. */
    int (*established)(VnetVCm *cm);
    /* Moves the QP to the error state, too: what is posted is flushed. */
    int (*disconnect)(VnetVCm *cm);
    /* Addresses of a connection; false: not known.  Each may be NULL. */
    bool (*addresses)(VnetVCm *cm, struct sockaddr_storage *local,
                      struct sockaddr_storage *peer);

    /*
     * The device that the connection goes through, with the memory of the
     * guests registered: one VnetVDev for all connections of the context on one
     * device.  Each 0, also a late one, is undone by put_device().
     * -EINPROGRESS: the memory is being registered, DEVICE_READY follows; then
     * it is called again.
     */
    int (*get_device)(VnetVCm *cm, VnetVDev **dev);
    void (*put_device)(VnetVDev *dev);
    const VnetVLimits *(*limits)(VnetVDev *dev);
    /* Descriptor that is readable after a completion, once req_notify() asked
     * for it.  ack_events() takes what is there. */
    int (*completion_fd)(VnetVDev *dev);
    void (*ack_events)(VnetVDev *dev);
    int (*req_notify)(VnetVDev *dev);
    /* Whether poll_cq() would return anything but 0; without a system call. */
    bool (*completed)(VnetVDev *dev);
    /* Returns how many, or -errno: the device is of no use any more. */
    int (*poll_cq)(VnetVDev *dev, VnetWc *wc, int n);
    /* Descriptor that changes when next_async() may have something, and its
     * next one.  -EAGAIN: none. */
    int (*async_fd)(VnetVDev *dev);
    int (*next_async)(VnetVDev *dev, VnetAsyncEvent *ev);

    /* Memory of the transport's own. */
    int (*reg_mem)(VnetVDev *dev, void *addr, size_t len, VnetVMr **mr,
                   uint32_t *lkey);
    void (*unreg_mem)(VnetVMr *mr);
    /* The key of a piece of guest memory, if it is registered as a whole. */
    int (*lkey)(VnetVDev *dev, const void *addr, size_t len, uint32_t *lkey);

    int (*create_qp)(VnetVCm *cm, VnetVDev *dev, VnetVQpAttr *attr,
                     VnetVQp **qp);
    /* To the error state: from now on nothing is sent or received, and what is
     * posted completes as flushed, behind what was done. */
    int (*stop_qp)(VnetVQp *qp);
    void (*destroy_qp)(VnetVQp *qp);
    /* One message of n pieces; the array is the caller's. */
    int (*post_send)(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                     unsigned flags, uint64_t wr_id);
    /* n receives of one piece each.  -errno: some may be posted. */
    int (*post_recv)(VnetVQp *qp, const VnetVSge *sge, unsigned n,
                     uint64_t wr_id);
} VnetVerbs;

#endif /* VNET_VERBS_H */
