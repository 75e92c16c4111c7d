/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the connection manager says, and what follows from it.
 *
 * One table says it for each state and event; it stands in
 * docs/specs/vnet-wire.rst, too.  What is not in it is counted and ignored: a
 * connection that does not come about has a time-out, and one that broke is
 * noticed by its completions or the link's heartbeat.
 *
 * An end is never reported from here: vnet_rdma_conn_fail() puts it off to the
 * end of the dispatch, so that it does not matter who was calling.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "vnet-rdma-conn.h"

/* A rejection's private data: 0 reason u16 | 2 text, up to the first 0. */
#define REJECT_TEXT         2
#define REJECT_TEXT_MAX     128
_Static_assert(REJECT_TEXT + REJECT_TEXT_MAX <= VNET_CM_PRIVATE_MAX,
               "a rejection fits");

/* What ends each attempt, whoever makes it. */
#define ENDS_ATTEMPT \
    [VNET_CM_ADDR_ERROR] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_ROUTE_ERROR] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_CONNECT_ERROR] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_UNREACHABLE] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_REJECTED] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_DISCONNECTED] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_DEVICE_REMOVAL] = VNET_RDMA_DO_FAIL, \
    [VNET_CM_ADDR_CHANGE] = VNET_RDMA_IGNORE

/* What an end that has closed is told of it. */
#define ENDS_FAREWELL \
    [VNET_CM_CONNECT_ERROR] = VNET_RDMA_DO_END, \
    [VNET_CM_UNREACHABLE] = VNET_RDMA_DO_END, \
    [VNET_CM_REJECTED] = VNET_RDMA_DO_END, \
    [VNET_CM_ESTABLISHED] = VNET_RDMA_IGNORE, \
    [VNET_CM_DISCONNECTED] = VNET_RDMA_DO_END, \
    [VNET_CM_DEVICE_REMOVAL] = VNET_RDMA_DO_END, \
    [VNET_CM_ADDR_CHANGE] = VNET_RDMA_IGNORE, \
    [VNET_CM_TIMEWAIT_EXIT] = VNET_RDMA_DO_END

static const uint8_t cm_table[VNET_RDMA_STATES][VNET_CM_EVENTS] = {
    [VNET_RDMA_ADDR] = {
        [VNET_CM_ADDR_RESOLVED] = VNET_RDMA_DO_ROUTE,
        ENDS_ATTEMPT,
    },
    [VNET_RDMA_ROUTE] = {
        [VNET_CM_ROUTE_RESOLVED] = VNET_RDMA_DO_DEVICE,
        ENDS_ATTEMPT,
    },
    [VNET_RDMA_DEVICE] = {
        [VNET_CM_DEVICE_READY] = VNET_RDMA_DO_CONNECT,
        ENDS_ATTEMPT,
    },
    [VNET_RDMA_CONNECT] = {
        [VNET_CM_ESTABLISHED] = VNET_RDMA_DO_UP,
        [VNET_CM_TIMEWAIT_EXIT] = VNET_RDMA_DO_FAIL,
        ENDS_ATTEMPT,
    },
    [VNET_RDMA_ASKED] = {
        [VNET_CM_DEVICE_READY] = VNET_RDMA_DO_JUDGE,
        ENDS_ATTEMPT,
    },
    [VNET_RDMA_ACCEPT] = {
        [VNET_CM_CONNECT_ERROR] = VNET_RDMA_DO_FAIL,
        [VNET_CM_UNREACHABLE] = VNET_RDMA_DO_FAIL,
        [VNET_CM_REJECTED] = VNET_RDMA_DO_FAIL,
        [VNET_CM_ESTABLISHED] = VNET_RDMA_DO_UP,
        [VNET_CM_DISCONNECTED] = VNET_RDMA_DO_LOSE,
        [VNET_CM_DEVICE_REMOVAL] = VNET_RDMA_DO_FAIL,
        [VNET_CM_ADDR_CHANGE] = VNET_RDMA_IGNORE,
        [VNET_CM_TIMEWAIT_EXIT] = VNET_RDMA_DO_LOSE,
    },
    [VNET_RDMA_UP] = {
        [VNET_CM_CONNECT_ERROR] = VNET_RDMA_DO_LOSE,
        [VNET_CM_UNREACHABLE] = VNET_RDMA_DO_LOSE,
        [VNET_CM_REJECTED] = VNET_RDMA_DO_LOSE,
        /* Bytes came before it. */
        [VNET_CM_ESTABLISHED] = VNET_RDMA_IGNORE,
        [VNET_CM_DISCONNECTED] = VNET_RDMA_DO_LOSE,
        [VNET_CM_DEVICE_REMOVAL] = VNET_RDMA_DO_LOSE,
        /* A hint only: if the way is dead, the heartbeat says so. */
        [VNET_CM_ADDR_CHANGE] = VNET_RDMA_IGNORE,
        /* The DISCONNECTED before it was lost. */
        [VNET_CM_TIMEWAIT_EXIT] = VNET_RDMA_DO_LOSE,
    },
    [VNET_RDMA_FAILED] = {
        [VNET_CM_CONNECT_ERROR] = VNET_RDMA_IGNORE,
        [VNET_CM_UNREACHABLE] = VNET_RDMA_IGNORE,
        [VNET_CM_REJECTED] = VNET_RDMA_IGNORE,
        [VNET_CM_ESTABLISHED] = VNET_RDMA_IGNORE,
        [VNET_CM_DISCONNECTED] = VNET_RDMA_IGNORE,
        [VNET_CM_DEVICE_REMOVAL] = VNET_RDMA_IGNORE,
        [VNET_CM_ADDR_CHANGE] = VNET_RDMA_IGNORE,
        [VNET_CM_TIMEWAIT_EXIT] = VNET_RDMA_IGNORE,
        [VNET_CM_DEVICE_READY] = VNET_RDMA_IGNORE,
    },
    [VNET_RDMA_FLUSH] = { ENDS_FAREWELL },
    [VNET_RDMA_LINGER] = { ENDS_FAREWELL },
    [VNET_RDMA_LISTEN] = {
        [VNET_CM_CONNECT_REQUEST] = VNET_RDMA_DO_REQUEST,
        [VNET_CM_DEVICE_REMOVAL] = VNET_RDMA_DO_RELISTEN,
        [VNET_CM_ADDR_CHANGE] = VNET_RDMA_IGNORE,
    },
};

static const char *const state_names[VNET_RDMA_STATES] = {
    [VNET_RDMA_ADDR] = "resolving-address",
    [VNET_RDMA_ROUTE] = "resolving-route",
    [VNET_RDMA_DEVICE] = "awaiting-device",
    [VNET_RDMA_CONNECT] = "connecting",
    [VNET_RDMA_ASKED] = "asked",
    [VNET_RDMA_ACCEPT] = "accepting",
    [VNET_RDMA_UP] = "up",
    [VNET_RDMA_FAILED] = "failed",
    [VNET_RDMA_FLUSH] = "flushing",
    [VNET_RDMA_LINGER] = "lingering",
    [VNET_RDMA_LISTEN] = "listening",
};

static const char *const event_names[VNET_CM_EVENTS] = {
    [VNET_CM_ADDR_RESOLVED] = "ADDR_RESOLVED",
    [VNET_CM_ADDR_ERROR] = "ADDR_ERROR",
    [VNET_CM_ROUTE_RESOLVED] = "ROUTE_RESOLVED",
    [VNET_CM_ROUTE_ERROR] = "ROUTE_ERROR",
    [VNET_CM_CONNECT_REQUEST] = "CONNECT_REQUEST",
    [VNET_CM_CONNECT_RESPONSE] = "CONNECT_RESPONSE",
    [VNET_CM_CONNECT_ERROR] = "CONNECT_ERROR",
    [VNET_CM_UNREACHABLE] = "UNREACHABLE",
    [VNET_CM_REJECTED] = "REJECTED",
    [VNET_CM_ESTABLISHED] = "ESTABLISHED",
    [VNET_CM_DISCONNECTED] = "DISCONNECTED",
    [VNET_CM_DEVICE_REMOVAL] = "DEVICE_REMOVAL",
    [VNET_CM_MULTICAST_JOIN] = "MULTICAST_JOIN",
    [VNET_CM_MULTICAST_ERROR] = "MULTICAST_ERROR",
    [VNET_CM_ADDR_CHANGE] = "ADDR_CHANGE",
    [VNET_CM_TIMEWAIT_EXIT] = "TIMEWAIT_EXIT",
    [VNET_CM_DEVICE_READY] = "DEVICE_READY",
};

const char *vnet_rdma_state_name(VnetRdmaState state)
{
    return state_names[state];
}

const char *vnet_rdma_event_name(VnetCmEventType type)
{
    return event_names[type];
}

VnetRdmaAction vnet_rdma_cm_action(VnetRdmaState state, VnetCmEventType type)
{
    return cm_table[state][type];
}

char *vnet_rdma_why(const VnetRdma *r, const char *what, int err)
{
    switch (err) {
    case ENODEV:
    case EADDRNOTAVAIL:
        return r->server ?
            g_strdup_printf("%s: no RDMA device of this host has the address "
                            "%s (rdma link show, ibv_devinfo)", what,
                            r->where) :
            g_strdup_printf("%s: no RDMA device of this host leads to %s "
                            "(rdma link show, ibv_devinfo)", what, r->where);
    default:
        return g_strdup_printf("%s: %s", what, g_strerror(err));
    }
}

/* --- Rejections ---------------------------------------------------------- */

void vnet_rdma_refuse(VnetRdmaConn *c, enum vtoe_reason reason,
                      const char *text)
{
    uint8_t data[REJECT_TEXT + REJECT_TEXT_MAX] = { reason >> 8, reason };
    size_t len = MIN(strlen(text), REJECT_TEXT_MAX);

    memcpy(data + REJECT_TEXT, text, len);
    /* If it fails, freeing the id says the same without words. */
    c->r->v->reject(c->cm, data, REJECT_TEXT + len);
    c->cm_over = true;
    vnet_rdma_conn_free(c);
}

static char *reject_text(const VnetRdma *r, const VnetCmEvent *ev)
{
    char text[REJECT_TEXT_MAX + 1];
    unsigned reason, i, n;

    if (ev->status == VNET_CM_REJ_NO_SERVICE) {
        return g_strdup_printf("nobody listens at %s", r->where);
    }
    if (ev->status != VNET_CM_REJ_CONSUMER ||
        ev->private_len < REJECT_TEXT) {
        return g_strdup_printf("rejected by the peer's host, reason %d of the "
                               "connection manager", ev->status);
    }
    reason = ev->private_data[0] << 8 | ev->private_data[1];
    n = MIN(ev->private_len - REJECT_TEXT, REJECT_TEXT_MAX);
    for (i = 0; i < n && ev->private_data[REJECT_TEXT + i]; i++) {
        uint8_t ch = ev->private_data[REJECT_TEXT + i];

        text[i] = ch < 0x20 || ch > 0x7e ? '?' : ch;
    }
    text[i] = 0;
    return g_strdup_printf("peer said: %s (%s)", text[0] ? text : "no",
                           vnet_reason_str(reason));
}

/* --- Events -------------------------------------------------------------- */

/* A positive errno. */
static int event_errno(const VnetCmEvent *ev)
{
    int err = ev->status < 0 ? -ev->status : 0;

    switch (ev->type) {
    case VNET_CM_ADDR_ERROR:
        return err ? err : EADDRNOTAVAIL;
    case VNET_CM_ROUTE_ERROR:
        return err ? err : ENETUNREACH;
    case VNET_CM_UNREACHABLE:
        return err ? err : EHOSTUNREACH;
    case VNET_CM_DEVICE_READY:
        return err ? err : EIO;
    case VNET_CM_CONNECT_ERROR:
        return err ? err : ECONNABORTED;
    case VNET_CM_REJECTED:
        err = ECONNREFUSED;
        break;
    case VNET_CM_DEVICE_REMOVAL:
        err = ENODEV;
        break;
    default:
        err = ECONNRESET;
        break;
    }
    return err;
}

static void fail_by_event(VnetRdmaConn *c, const VnetCmEvent *ev)
{
    VnetRdma *r = c->r;
    int err = event_errno(ev);
    g_autofree char *why = ev->text[0] ? g_strdup(ev->text) : NULL;

    r->stats.device_failed += ev->type == VNET_CM_DEVICE_READY;
    switch (why ? VNET_CM_EVENTS : ev->type) {
    case VNET_CM_EVENTS:
        break;
    case VNET_CM_REJECTED:
        why = reject_text(r, ev);
        break;
    case VNET_CM_DISCONNECTED:
    case VNET_CM_TIMEWAIT_EXIT:
        why = g_strdup("the peer closed the connection");
        break;
    case VNET_CM_DEVICE_REMOVAL:
        why = g_strdup("the RDMA device was removed");
        break;
    case VNET_CM_DEVICE_READY:
        why = vnet_rdma_why(r, "the RDMA device cannot be used", err);
        break;
    case VNET_CM_ADDR_ERROR:
        why = vnet_rdma_why(r, "address resolution", err);
        break;
    case VNET_CM_ROUTE_ERROR:
        why = vnet_rdma_why(r, "route resolution", err);
        break;
    case VNET_CM_UNREACHABLE:
        why = g_strdup_printf("the peer does not answer: %s", g_strerror(err));
        break;
    default:
        why = g_strdup_printf("%s: %s", event_names[ev->type],
                              g_strerror(err));
        break;
    }
    vnet_rdma_conn_fail(c, err, "%s", why);
}

/* What failed at one step of an attempt. */
static void step(VnetRdmaConn *c, int ret, const char *what)
{
    if (ret < 0) {
        g_autofree char *why = vnet_rdma_why(c->r, what, -ret);

        vnet_rdma_conn_fail(c, -ret, "%s", why);
    }
}

static void do_device(VnetRdmaConn *c)
{
    int ret = vnet_rdma_conn_device(c);

    if (ret == -EINPROGRESS) {
        c->state = VNET_RDMA_DEVICE;
        return;
    }
    if (ret < 0) {
        c->r->stats.device_failed++;
        step(c, ret, "RDMA device");
        return;
    }
    step(c, vnet_rdma_conn_connect(c), "connecting");
}

static bool ends_cm(VnetCmEventType type)
{
    return type == VNET_CM_CONNECT_ERROR || type == VNET_CM_UNREACHABLE ||
           type == VNET_CM_REJECTED || type == VNET_CM_DISCONNECTED ||
           type == VNET_CM_DEVICE_REMOVAL || type == VNET_CM_TIMEWAIT_EXIT;
}

static void do_action(VnetRdmaConn *c, VnetRdmaAction action,
                      const VnetCmEvent *ev)
{
    VnetRdma *r = c->r;
    uint64_t serial = c->serial;

    switch (action) {
    case VNET_RDMA_UNEXPECTED:
        r->stats.cm_unexpected++;
        break;
    case VNET_RDMA_IGNORE:
        break;
    case VNET_RDMA_DO_ROUTE:
        c->state = VNET_RDMA_ROUTE;
        step(c, r->v->resolve_route(c->cm, VNET_RDMA_RESOLVE_MS),
             "route resolution");
        break;
    case VNET_RDMA_DO_DEVICE:
    case VNET_RDMA_DO_CONNECT:
        do_device(c);
        break;
    case VNET_RDMA_DO_REQUEST:
        vnet_rdma_request(r, ev);
        break;
    case VNET_RDMA_DO_JUDGE:
        if (!c->dev) {
            int ret = vnet_rdma_conn_device(c);

            if (ret == 0) {
                vnet_rdma_judge(c);
            } else if (ret != -EINPROGRESS) {
                r->stats.device_failed++;
                step(c, ret, "RDMA device");
            }
        }
        break;
    case VNET_RDMA_DO_UP:
        vnet_rdma_conn_up(c);
        break;
    case VNET_RDMA_DO_LOSE:
        /* What the peer sent before it went may wait to be taken. */
        vnet_rdma_drain(r);
        if (vnet_rdma_conn_find(r, serial) != c) {
            break;
        }
        /* fall through */
    case VNET_RDMA_DO_FAIL:
        fail_by_event(c, ev);
        break;
    case VNET_RDMA_DO_END:
        vnet_rdma_conn_close(c);
        break;
    case VNET_RDMA_DO_RELISTEN:
        vnet_rdma_listener_gone(r);
        break;
    }
}

void vnet_rdma_cm_event(VnetRdma *r, const VnetCmEvent *ev)
{
    VnetRdmaConn *c = g_hash_table_lookup(r->by_cm, ev->listener ?
                                          ev->listener : ev->cm);
    VnetRdmaAction action;

    r->stats.cm_events++;
    if (!c) {
        r->stats.cm_unexpected++;
        if (ev->type == VNET_CM_CONNECT_REQUEST) {
            r->v->cm_free(ev->cm);
        }
        return;
    }
    action = vnet_rdma_cm_action(c->state, ev->type);
    if (ev->type == VNET_CM_DEVICE_READY && ev->status &&
        action > VNET_RDMA_IGNORE) {
        action = VNET_RDMA_DO_FAIL;
    }
    if (r->host->trace) {
        r->host->trace(r->opaque, c->serial, c->preamble.stream_id,
                       state_names[c->state], event_names[ev->type],
                       ev->status);
    }
    if (ev->type == VNET_CM_CONNECT_REQUEST &&
        action != VNET_RDMA_DO_REQUEST) {
        r->v->cm_free(ev->cm);
    }
    if (ev->type == VNET_CM_ADDR_CHANGE) {
        r->stats.addr_changes++;
    }
    if (ev->type == VNET_CM_DEVICE_REMOVAL) {
        r->stats.device_removals++;
        if (c->dev) {
            vnet_rdma_dev_gone(c->dev);
        }
    }
    if (ends_cm(ev->type) && c->state != VNET_RDMA_LISTEN) {
        c->cm_over = true;
    }
    do_action(c, action, ev);
}
