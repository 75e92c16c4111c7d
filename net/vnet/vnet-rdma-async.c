/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What adapters say by themselves, and what follows from it
 * (docs/specs/vnet-wire.rst, "Events of the adapter").
 *
 * A queue pair in the error state flushes what is posted, and its completions
 * say so.  But with nothing posted, as of an idle stream whose guest has no
 * buffer for it, there is no completion: then the event alone tells.
 */
#include <errno.h>
#include "vnet-rdma-conn.h"

static const struct {
    const char *name;
    int err;                    /* of a QP: what its connection fails with */
    const char *text;
} kinds[VNET_ASYNC_TYPES] = {
    [VNET_ASYNC_QP_FATAL] = { "QP_FATAL", EIO, "queue pair: fatal error" },
    [VNET_ASYNC_QP_REQ_ERR] = {
        "QP_REQ_ERR", EPROTO, "queue pair: invalid request"
    },
    [VNET_ASYNC_QP_ACCESS_ERR] = {
        "QP_ACCESS_ERR", EFAULT, "queue pair: access violation"
    },
    [VNET_ASYNC_COMM_EST] = { "COMM_EST" },
    [VNET_ASYNC_CQ_ERR] = { "CQ_ERR", EIO, "completion queue" },
    [VNET_ASYNC_DEVICE_FATAL] = { "DEVICE_FATAL", EIO, "RDMA device" },
    [VNET_ASYNC_PORT_ERR] = { "PORT_ERR" },
    [VNET_ASYNC_PORT_ACTIVE] = { "PORT_ACTIVE" },
    [VNET_ASYNC_OTHER] = { "another event" },
};

static void count(VnetRdma *r, VnetAsyncType type)
{
    uint64_t *const counters[VNET_ASYNC_TYPES] = {
        [VNET_ASYNC_QP_FATAL] = &r->stats.async_qp_fatal,
        [VNET_ASYNC_QP_REQ_ERR] = &r->stats.async_qp_req_err,
        [VNET_ASYNC_QP_ACCESS_ERR] = &r->stats.async_qp_access_err,
        [VNET_ASYNC_COMM_EST] = &r->stats.async_comm_est,
        [VNET_ASYNC_CQ_ERR] = &r->stats.async_cq_err,
        [VNET_ASYNC_DEVICE_FATAL] = &r->stats.async_device_fatal,
        [VNET_ASYNC_PORT_ERR] = &r->stats.async_port_err,
        [VNET_ASYNC_PORT_ACTIVE] = &r->stats.async_port_active,
        [VNET_ASYNC_OTHER] = &r->stats.async_other,
    };

    ++*counters[type];
}

static void qp_failed(VnetRdmaConn *c, VnetAsyncType type)
{
    VnetRdma *r = c->r;
    uint64_t serial = c->serial;

    /* What was received before may wait to be taken. */
    vnet_rdma_drain(r);
    if (vnet_rdma_conn_find(r, serial) != c || !c->qp) {
        return;
    }
    if (c->state == VNET_RDMA_FLUSH) {
        vnet_rdma_conn_close(c);
    } else {
        vnet_rdma_conn_fail(c, kinds[type].err, "%s", kinds[type].text);
    }
}

static void async_event(VnetRdmaDev *d, const VnetAsyncEvent *ev)
{
    VnetRdma *r = d->r;
    VnetRdmaConn *c = ev->cm ? g_hash_table_lookup(r->by_cm, ev->cm) : NULL;

    count(r, ev->type);
    if (r->host->trace) {
        r->host->trace(r->opaque, c ? c->serial : 0,
                       c ? c->preamble.stream_id : 0,
                       c ? vnet_rdma_state_name(c->state) : "device",
                       kinds[ev->type].name, 0);
    }
    switch (ev->type) {
    case VNET_ASYNC_QP_FATAL:
    case VNET_ASYNC_QP_REQ_ERR:
    case VNET_ASYNC_QP_ACCESS_ERR:
        if (c && c->qp) {
            qp_failed(c, ev->type);
        }
        break;
    case VNET_ASYNC_COMM_EST:
        /* The CM answers with ESTABLISHED, if the bytes are not taken first. */
        if (c && c->state == VNET_RDMA_ACCEPT) {
            r->v->established(c->cm);
        }
        break;
    case VNET_ASYNC_CQ_ERR:
    case VNET_ASYNC_DEVICE_FATAL:
        vnet_rdma_drain(r);
        if (!d->gone) {
            vnet_rdma_dev_fail(d, kinds[ev->type].err, kinds[ev->type].text);
        }
        break;
    default:
        /* A port that is down: a hint, the heartbeat knows when too long. */
        break;
    }
}

/* Its events for one turn. */
static void async_turn(VnetRdmaDev *d)
{
    VnetRdma *r = d->r;
    VnetAsyncEvent ev;

    d->async_more = false;
    for (int n = 0; n < VNET_RDMA_ASYNC_TURN; n++) {
        if (r->v->next_async(d->v, &ev) < 0) {
            return;
        }
        async_event(d, &ev);
    }
    d->async_more = true;
    r->host->again(r->opaque);
}

void vnet_rdma_async_again(VnetRdmaDev *d)
{
    if (d->async_more) {
        async_turn(d);
    }
}

void vnet_rdma_async_ready(VnetRdma *r, VnetVDev *dev)
{
    for (guint i = 0; i < r->devs->len; i++) {
        VnetRdmaDev *d = r->devs->pdata[i];

        if (d->v == dev) {
            async_turn(d);
            return;
        }
    }
}
