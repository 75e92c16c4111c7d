/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vtoe device's front: registers, status and reset, kicks and the end of
 * the batch (docs/specs/vtoe.rst sections 2, 3.6 and 7).
 *
 * States of the device, all in the status register:
 *
 *      0 -> DRIVER -> FEATURES_OK -> (queues enabled) -> DRIVER_OK
 *      any of these -> NEEDS_RESET, by a violation
 *      any -> 0, by writing 0, by the shell's reset
 *
 * Guest memory is touched while DRIVER_OK is set, NEEDS_RESET is not, and the
 * VM runs (vtoe_live()).  Enabling a queue reads its memory once, to see that
 * it is RAM.
 */
#include <stdarg.h>
#include "vtoe-int.h"

bool vtoe_mac_ok(const uint8_t mac[6])
{
    static const uint8_t zero[6];

    return !(mac[0] & 1) && memcmp(mac, zero, 6) != 0;
}

static uint32_t mac_lo(const uint8_t mac[6])
{
    return mac[0] | mac[1] << 8 | mac[2] << 16 | (uint32_t)mac[3] << 24;
}

static uint32_t mac_hi(const uint8_t mac[6])
{
    return mac[4] | mac[5] << 8;
}

/* --- errors ------------------------------------------------------------------- */

static void G_GNUC_PRINTF(2, 0) log_line(VtoeDev *d, const char *fmt,
                                         va_list ap)
{
    char buf[192];

    g_vsnprintf(buf, sizeof(buf), fmt, ap);
    d->ops->guest_error(d->opaque, buf);
}

void vtoe_guest_error(VtoeDev *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line(d, fmt, ap);
    va_end(ap);
}

void vtoe_violation(VtoeDev *d, enum vtoe_violation v, const char *fmt, ...)
{
    va_list ap;

    if (d->broken) {
        return;
    }
    d->broken = true;
    d->st.violations++;
    VTOE_WORD_SET(d->violation, v);
    VTOE_WORD_SET(d->status, d->status | VTOE_STATUS_NEEDS_RESET);
    va_start(ap, fmt);
    log_line(d, fmt, ap);
    va_end(ap);
    if (d->ctl.enabled && d->ctl.vector != VTOE_NO_VECTOR) {
        d->st.interrupts++;
        d->ops->raise_vector(d->opaque, d->ctl.vector);
    }
}

/* --- batches ------------------------------------------------------------------ */

void vtoe_kick_later(VtoeQueue *q)
{
    q->kick_pending = true;
    q->dev->ops->kick_later(q->dev->opaque, q->index);
}

static void pair_batch(VtoeQueue *q)
{
    VtoeDev *d = q->dev;

    for (unsigned round = 0; round < VTOE_BATCH_ROUNDS; round++) {
        bool again = false;

        vtoe_rx_wake(q);
        if (q->index == 0) {
            vtoe_hold_run(d);
        }
        vtoe_pair_flush(q);
        vtoe_comp_publish(q);
        vtoe_queue_tell_recv_cons(q);
        if (!vtoe_live(d)) {
            return;
        }
        if ((q->wait_buf.length || (q->index == 0 && d->held.length)) &&
            q->recv_cons == q->recv_prod) {
            again |= vtoe_queue_arm_recv(q);
        }
        if (vtoe_pair_wants_room(q)) {
            if (!q->room_short) {
                q->room_short = true;
                d->st.comp_ring_full++;
            }
            if (vtoe_queue_arm_room(q)) {
                again = true;
                if (q->index != 0 && q->tx_busy) {
                    vtoe_kick_later(q);     /* descriptors waited for it */
                }
            }
        } else {
            q->room_short = false;
        }
        if (!again) {
            q->batch_open = false;
            return;
        }
    }
    vtoe_kick_later(q);
}

static void control_batch(VtoeDev *d)
{
    VtoeQueue *q = &d->ctl;

    vtoe_event_flush(d);
    vtoe_comp_publish(q);
    if (q->enabled && vtoe_live(d)) {
        if (vtoe_event_pending(d) || q->tx_busy) {
            if (!q->room_short) {
                q->room_short = true;
                d->st.event_ring_full++;
            }
            if (vtoe_queue_arm_room(q)) {
                vtoe_kick_later(q);
            }
        } else {
            q->room_short = false;
        }
    }
    q->batch_open = false;
}

static void set_timer(VtoeDev *d)
{
    int64_t when = INT64_MAX;

    if (d->running) {
        when = MIN(when, vtoe_sessions_deadline(d));
        when = MIN(when, vtoe_look_deadline(d));
        when = MIN(when, vtoe_hold_deadline(d));
    }
    if (when != d->timer) {
        d->timer = when;
        d->ops->set_timer(d->opaque, when);
    }
}

void vtoe_batch(VtoeDev *d)
{
    if (d->depth) {
        return;
    }
    d->depth++;
    if (vtoe_live(d)) {
        for (unsigned i = 0; d->dirty && i < VTOE_BATCH_ROUNDS; i++) {
            uint64_t dirty = d->dirty;

            d->dirty = 0;
            while (dirty && !d->broken) {
                pair_batch(&d->q[__builtin_ctzll(dirty)]);
                dirty &= dirty - 1;
            }
        }
        for (uint64_t left = d->dirty; left; left &= left - 1) {
            vtoe_kick_later(&d->q[__builtin_ctzll(left)]);
        }
        control_batch(d);
        vtoe_look_count(d);
    }
    if (d->broken) {
        vtoe_announce(d);
        vtoe_streams_drop(d, VTOE_REASON_DEVICE_RESET);
        vtoe_hold_reset(d);
    }
    vtoe_streams_count_changed(d);
    set_timer(d);
    d->depth--;
}

void vtoe_dev_batch_end(VtoeDev *d)
{
    vtoe_batch(d);
}

void vtoe_run(VtoeQueue *q)
{
    VtoeDev *d = q->dev;

    if (q->seen) {
        q->seen = false;
        d->st.polled_kicks++;
    }
    if (!q->enabled || !vtoe_live(d)) {
        return;
    }
    d->depth++;
    if (q == &d->ctl) {
        vtoe_control_run(d);
    } else {
        vtoe_mark_dirty(q);
        if (q->index == 0) {
            vtoe_frame_tx_run(q);
        } else {
            vtoe_tx_run(q);
        }
    }
    d->depth--;
    vtoe_batch(d);
}

void vtoe_dev_kick(VtoeDev *d, unsigned queue)
{
    VtoeQueue *q = vtoe_queue_at(d, queue);

    if (!q) {
        return;
    }
    if (q->kick_pending) {
        q->kick_pending = false;
    } else {
        d->st.doorbells++;
    }
    vtoe_run(q);
}

int64_t vtoe_dev_tick(VtoeDev *d)
{
    d->depth++;
    if (vtoe_live(d)) {
        vtoe_sessions_tick(d);
        vtoe_hold_tick(d);
        vtoe_look_tick(d);
    }
    d->depth--;
    vtoe_batch(d);
    return d->timer;
}

static void kick_all(VtoeDev *d)
{
    for (unsigned i = 0; i < d->cfg.pairs; i++) {
        if (d->q[i].enabled) {
            vtoe_mark_dirty(&d->q[i]);
            vtoe_kick_later(&d->q[i]);
        }
    }
    if (d->ctl.enabled) {
        vtoe_kick_later(&d->ctl);
    }
}

void vtoe_dev_set_running(VtoeDev *d, bool running)
{
    if (running == d->running) {
        return;
    }
    if (!running) {
        vtoe_batch(d);          /* nothing stays staged */
        d->running = false;
        set_timer(d);
        return;
    }
    d->running = true;
    if (vtoe_live(d)) {
        kick_all(d);
        d->depth++;
        vtoe_streams_resume(d);
        d->depth--;
    }
    vtoe_batch(d);
}

/* --- reset -------------------------------------------------------------------- */

static void set_mac(VtoeDev *d, const uint8_t mac[6])
{
    if (memcmp(d->mac, mac, 6) != 0) {
        memcpy(d->mac, mac, 6);
        if (d->port) {
            vnet_port_set_mac(d->port, d->mac);
        }
        d->ops->filter_changed(d->opaque);
    }
}

void vtoe_announce(VtoeDev *d)
{
    bool ready = (d->status & VTOE_STATUS_DRIVER_OK) && !d->broken &&
                 vtoe_has(d, VTOE_F_STREAM) && d->ctl.enabled;
    bool pair = false;

    for (unsigned i = 1; i < d->cfg.pairs; i++) {
        pair |= d->q[i].enabled;
    }
    ready &= pair;
    if (ready != d->announced) {
        d->announced = ready;
        if (d->port) {
            vnet_port_set_streams(d->port, ready);
        }
    }
}

void vtoe_dev_reset(VtoeDev *d)
{
    d->depth++;
    d->broken = true;           /* no callback touches guest memory now */
    VTOE_WORD_SET(d->status, 0);
    vtoe_announce(d);
    vtoe_streams_drop(d, VTOE_REASON_DEVICE_RESET);
    vtoe_hold_reset(d);
    for (unsigned i = 0; i < d->cfg.pairs; i++) {
        vtoe_queue_reset(&d->q[i]);
    }
    vtoe_queue_reset(&d->ctl);
    d->dirty = 0;
    vtoe_look_reset(d);
    d->drv_features = 0;
    d->queue_select = 0;
    VTOE_WORD_SET(d->violation, VTOE_VIOLATION_NONE);
    VTOE_WORD_SET(d->generation, d->generation == UINT32_MAX
                                 ? 1 : d->generation + 1);
    d->pend_link = d->pend_removed = d->pend_peer = false;
    memcpy(d->mac_lo, d->cfg.mac, 4);
    if (d->rx_filter != VTOE_RX_ALLMULTI) {
        d->rx_filter = VTOE_RX_ALLMULTI;
        d->ops->filter_changed(d->opaque);
    }
    set_mac(d, d->cfg.mac);
    d->st.resets++;
    d->broken = false;
    d->depth--;
    vtoe_batch(d);
}

/* --- registers ---------------------------------------------------------------- */

VtoeQueue *vtoe_queue_at(VtoeDev *d, uint32_t index)
{
    if (index == VTOE_QUEUE_CONTROL) {
        return &d->ctl;
    }
    return index < d->cfg.pairs ? &d->q[index] : NULL;
}

bool vtoe_features_ok(const VtoeDev *d, uint64_t f)
{
    return !(f & ~d->cfg.features) &&
           (!(f & VTOE_F_TSO) || (f & VTOE_F_CSUM)) &&
           (!(f & VTOE_F_RX_TSO) || (f & VTOE_F_RX_CSUM));
}

static uint32_t queue_reg_read(VtoeDev *d, uint32_t offset)
{
    VtoeQueue *q = vtoe_queue_at(d, VTOE_WORD_GET(d->queue_select));

    if (!q) {
        return 0;
    }
    switch (offset) {
    case VTOE_REG_SEND_SIZE:
    case VTOE_REG_RECV_SIZE:
    case VTOE_REG_COMP_SIZE:
        return q->size[(offset - VTOE_REG_SEND_SIZE) / 4];
    case VTOE_REG_QUEUE_VECTOR:
        return q->vector;
    case VTOE_REG_QUEUE_ENABLE:
        return VTOE_WORD_GET(q->enabled);
    default: {
        uint64_t addr = q->addr[(offset - VTOE_REG_SEND_ADDR) / 8];

        return offset & 4 ? addr >> 32 : addr;
    }
    }
}

uint32_t vtoe_dev_reg_read(VtoeDev *d, uint32_t offset, unsigned size)
{
    const VtoeConfig *cfg = &d->cfg;

    if (size != 4 || offset & 3) {
        return 0;
    }
    switch (offset) {
    case VTOE_REG_MAGIC:
        return VTOE_MAGIC;
    case VTOE_REG_VERSION:
        return VTOE_ABI_VERSION;
    case VTOE_REG_DEV_FEATURES:
        return cfg->features;
    case VTOE_REG_DEV_FEATURES_HI:
        return cfg->features >> 32;
    case VTOE_REG_DRV_FEATURES:
        return VTOE_WORD_GET(d->drv_features);
    case VTOE_REG_DRV_FEATURES_HI:
        return VTOE_WORD_GET(d->drv_features) >> 32;
    case VTOE_REG_STATUS:
        return VTOE_WORD_GET(d->status);
    case VTOE_REG_GENERATION:
        return VTOE_WORD_GET(d->generation);
    case VTOE_REG_MAX_PAIRS:
        return cfg->pairs;
    case VTOE_REG_MAX_RING:
        return cfg->max_ring;
    case VTOE_REG_MAX_STREAMS:
        return cfg->max_streams;
    case VTOE_REG_MAX_LISTENS:
        return cfg->max_listens;
    case VTOE_REG_MAX_SEGMENT:
        return VTOE_MAX_SEGMENT;
    case VTOE_REG_MAX_INFLIGHT:
        return cfg->max_inflight;
    case VTOE_REG_MAC_LO:
        return mac_lo(cfg->mac);
    case VTOE_REG_MAC_HI:
        return mac_hi(cfg->mac) | (uint32_t)cfg->mtu << 16;
    case VTOE_REG_QUEUE_SELECT:
        return VTOE_WORD_GET(d->queue_select);
    case VTOE_REG_SEND_SIZE ... VTOE_REG_CTRL_ADDR_HI:
    case VTOE_REG_QUEUE_VECTOR:
    case VTOE_REG_QUEUE_ENABLE:
        return queue_reg_read(d, offset);
    case VTOE_REG_VIOLATION:
        return VTOE_WORD_GET(d->violation);
    case VTOE_REG_LINK:
        return VTOE_WORD_GET(d->link);
    case VTOE_REG_RX_FILTER:
        return VTOE_WORD_GET(d->rx_filter);
    case VTOE_REG_CUR_MAC_LO:
        return mac_lo(d->mac);
    case VTOE_REG_CUR_MAC_HI:
        return mac_hi(d->mac);
    default:
        return 0;
    }
}

static void write_status(VtoeDev *d, uint32_t val)
{
    uint32_t add = val & ~d->status & (VTOE_STATUS_DRIVER |
                                       VTOE_STATUS_FEATURES_OK |
                                       VTOE_STATUS_DRIVER_OK);
    uint32_t status = d->status | (add & VTOE_STATUS_DRIVER);

    if (add & VTOE_STATUS_FEATURES_OK) {
        if (status & VTOE_STATUS_DRIVER && vtoe_features_ok(d, d->drv_features)) {
            status |= VTOE_STATUS_FEATURES_OK;
        } else {
            vtoe_guest_error(d, "features 0x%" PRIx64 " refused, offered are 0x%"
                             PRIx64, d->drv_features, d->cfg.features);
        }
    }
    if (add & VTOE_STATUS_DRIVER_OK) {
        if (!(status & VTOE_STATUS_FEATURES_OK)) {
            vtoe_guest_error(d, "DRIVER_OK before FEATURES_OK is ignored");
        } else {
            status |= VTOE_STATUS_DRIVER_OK;
        }
    }
    add = status & ~d->status;
    VTOE_WORD_SET(d->status, status);
    if (add & VTOE_STATUS_DRIVER_OK && !d->broken) {
        for (unsigned i = 0; i < d->cfg.pairs && !d->broken; i++) {
            if (d->q[i].enabled) {
                vtoe_queue_write_ctrl(&d->q[i]);
            }
        }
        if (d->ctl.enabled && !d->broken) {
            vtoe_queue_write_ctrl(&d->ctl);
        }
        kick_all(d);
        vtoe_announce(d);
    }
}

static void enable_queue(VtoeDev *d, VtoeQueue *q)
{
    const char *err = NULL;

    if (d->broken || (q && q->enabled)) {
        return;
    }
    if (!q) {
        vtoe_violation(d, VTOE_VIOLATION_QUEUE, "no such queue is enabled");
    } else if ((d->status & (VTOE_STATUS_FEATURES_OK | VTOE_STATUS_DRIVER_OK))
               != VTOE_STATUS_FEATURES_OK) {
        vtoe_violation(d, VTOE_VIOLATION_QUEUE,
                       "queue %u enabled in status 0x%x", q->index, d->status);
    } else if (!vtoe_queue_check(d, q->index, q->size, q->addr, q->vector,
                                 &err)) {
        vtoe_violation(d, VTOE_VIOLATION_QUEUE, "queue %u: %s (sizes %u %u %u, "
                       "addresses 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64
                       " 0x%" PRIx64 ", vector %u)", q->index, err,
                       q->size[0], q->size[1], q->size[2], q->addr[0],
                       q->addr[1], q->addr[2], q->addr[3], q->vector);
    } else if (!vtoe_queue_probe(q)) {
        vtoe_violation(d, VTOE_VIOLATION_RING_DMA,
                       "queue %u: a ring or the control block is not RAM",
                       q->index);
    } else {
        vtoe_queue_start(q);
    }
}

static void queue_reg_write(VtoeDev *d, uint32_t offset, uint32_t val)
{
    VtoeQueue *q = vtoe_queue_at(d, d->queue_select);

    if (offset == VTOE_REG_QUEUE_ENABLE) {
        if (val == 1) {
            enable_queue(d, q);
        }
        return;
    }
    if (!q || q->enabled) {
        return;
    }
    switch (offset) {
    case VTOE_REG_SEND_SIZE:
    case VTOE_REG_RECV_SIZE:
    case VTOE_REG_COMP_SIZE:
        q->size[(offset - VTOE_REG_SEND_SIZE) / 4] = val;
        break;
    case VTOE_REG_QUEUE_VECTOR:
        q->vector = val;
        break;
    default: {
        uint64_t *addr = &q->addr[(offset - VTOE_REG_SEND_ADDR) / 8];

        *addr = offset & 4 ? (uint32_t)*addr | (uint64_t)val << 32
                           : (*addr & ~(uint64_t)UINT32_MAX) | val;
        break;
    }
    }
}

static void write_features(VtoeDev *d, uint32_t offset, uint32_t val)
{
    uint64_t f = d->drv_features;

    if (!(d->status & VTOE_STATUS_FEATURES_OK)) {
        f = offset == VTOE_REG_DRV_FEATURES
            ? (f & ~(uint64_t)UINT32_MAX) | val
            : (uint32_t)f | (uint64_t)val << 32;
        VTOE_WORD_SET(d->drv_features, f);
    }
}

static void write_mac_hi(VtoeDev *d, uint32_t val)
{
    uint8_t mac[6];

    memcpy(mac, d->mac_lo, 4);
    mac[4] = val;
    mac[5] = val >> 8;
    if (!vtoe_mac_ok(mac)) {
        vtoe_guest_error(d, "MAC %02x:%02x:%02x:%02x:%02x:%02x is not unicast",
                         mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
        return;
    }
    set_mac(d, mac);
}

void vtoe_dev_reg_write(VtoeDev *d, uint32_t offset, uint32_t val,
                        unsigned size)
{
    if (size != 4 || offset & 3) {
        return;
    }
    if (offset == VTOE_REG_STATUS && val == 0) {
        vtoe_dev_reset(d);
        return;
    }
    if (offset == VTOE_REG_CTRL_DOORBELL) {
        vtoe_dev_kick(d, VTOE_QUEUE_CONTROL);
        return;
    }
    d->depth++;
    switch (offset) {
    case VTOE_REG_DRV_FEATURES:
    case VTOE_REG_DRV_FEATURES_HI:
        write_features(d, offset, val);
        break;
    case VTOE_REG_STATUS:
        write_status(d, val);
        break;
    case VTOE_REG_QUEUE_SELECT:
        VTOE_WORD_SET(d->queue_select,
                      vtoe_queue_at(d, val) ? val : VTOE_QUEUE_NONE);
        break;
    case VTOE_REG_SEND_SIZE ... VTOE_REG_CTRL_ADDR_HI:
    case VTOE_REG_QUEUE_VECTOR:
    case VTOE_REG_QUEUE_ENABLE:
        queue_reg_write(d, offset, val);
        break;
    case VTOE_REG_RX_FILTER:
        val &= VTOE_RX_PROMISC | VTOE_RX_ALLMULTI;
        if (val != d->rx_filter) {
            VTOE_WORD_SET(d->rx_filter, val);
            d->ops->filter_changed(d->opaque);
        }
        break;
    case VTOE_REG_CUR_MAC_LO:
        for (unsigned i = 0; i < 4; i++) {
            d->mac_lo[i] = val >> (8 * i);
        }
        break;
    case VTOE_REG_CUR_MAC_HI:
        write_mac_hi(d, val);
        break;
    default:
        break;      /* read-only or reserved */
    }
    d->depth--;
    vtoe_batch(d);
}

/* --- the port ------------------------------------------------------------------ */

static VnetFrameResult port_frame(void *opaque, const VnetFrameHdr *hdr,
                                  const struct iovec *iov, unsigned niov,
                                  size_t len)
{
    return vtoe_frame_rx(opaque, hdr, iov, niov, len);
}

static void port_tx_ready(void *opaque)
{
    VtoeDev *d = opaque;
    VtoeQueue *q = &d->q[0];

    if (q->in_tx) {
        q->tx_again = true;
    } else if (q->tx_busy) {
        q->tx_busy = false;
        if (q->enabled && vtoe_live(d)) {
            vtoe_mark_dirty(q);
            vtoe_frame_tx_run(q);
        }
    }
}

static void port_link_state(void *opaque, bool up)
{
    VtoeDev *d = opaque;

    if (d->link != up) {
        VTOE_WORD_SET(d->link, up);
        d->pend_link = d->status & VTOE_STATUS_DRIVER_OK && d->ctl.enabled;
    }
}

static enum vtoe_reason port_connect_request(void *opaque, VnetStream *s,
                                             const VnetFlow *flow)
{
    return vtoe_connect_request(opaque, s, flow);
}

static void port_peer_capability(void *opaque, const uint8_t mac[6],
                                 bool streams)
{
    vtoe_event_peer(opaque, mac, streams);
}

static void port_batch_end(void *opaque)
{
    vtoe_batch(opaque);
}

const VnetPortOps vtoe_dev_port_ops = {
    .frame = port_frame,
    .tx_ready = port_tx_ready,
    .link_state = port_link_state,
    .connect_request = port_connect_request,
    .peer_capability = port_peer_capability,
    .batch_end = port_batch_end,
};

void vtoe_dev_set_port(VtoeDev *d, VnetPort *port)
{
    d->port = port;
    if (port) {
        vnet_port_set_mac(port, d->mac);
        vnet_port_set_streams(port, d->announced);
    }
    vtoe_batch(d);
}

void vtoe_dev_removed(VtoeDev *d)
{
    d->pend_removed = d->status & VTOE_STATUS_DRIVER_OK && d->ctl.enabled;
    port_link_state(d, false);
    port_tx_ready(d);           /* nobody will say so any more */
    vtoe_batch(d);
}

/* --- life and inspection -------------------------------------------------------- */

VtoeDev *vtoe_dev_new(const VtoeConfig *cfg, const VtoeHostOps *ops,
                      void *opaque)
{
    VtoeDev *d;

    g_return_val_if_fail(cfg->pairs >= 1 && cfg->pairs <= 64, NULL);
    g_return_val_if_fail(cfg->max_ring >= VTOE_RING_MIN &&
                         cfg->max_ring <= 32768 &&
                         !(cfg->max_ring & (cfg->max_ring - 1)), NULL);
    g_return_val_if_fail(vtoe_mac_ok(cfg->mac), NULL);
    g_return_val_if_fail(cfg->dispatch.period_ns > 0 &&
                         cfg->dispatch.look_ns > 0, NULL);
    d = g_new0(VtoeDev, 1);
    d->cfg = *cfg;
    d->ops = ops;
    d->opaque = opaque;
    memcpy(d->mac, cfg->mac, 6);
    memcpy(d->mac_lo, cfg->mac, 4);
    d->generation = 1;
    d->rx_filter = VTOE_RX_ALLMULTI;
    d->running = true;
    d->timer = INT64_MAX;
    d->streams = g_hash_table_new(g_direct_hash, g_direct_equal);
    d->listen_ids = g_hash_table_new(g_direct_hash, g_direct_equal);
    d->listen_keys = g_hash_table_new(vtoe_listen_key_hash,
                                      vtoe_listen_key_equal);
    d->q = g_new0(VtoeQueue, cfg->pairs);
    for (unsigned i = 0; i < cfg->pairs; i++) {
        d->q[i].dev = d;
        d->q[i].index = i;
        d->q[i].vector = VTOE_NO_VECTOR;
    }
    d->ctl.dev = d;
    d->ctl.index = VTOE_QUEUE_CONTROL;
    d->ctl.vector = VTOE_NO_VECTOR;
    vtoe_look_reset(d);
    return d;
}

void vtoe_dev_free(VtoeDev *d)
{
    if (!d) {
        return;
    }
    g_hash_table_destroy(d->streams);
    g_hash_table_destroy(d->listen_ids);
    g_hash_table_destroy(d->listen_keys);
    g_free(d->q);
    g_free(d->scratch);
    g_free(d);
}

unsigned vtoe_dev_open_streams(const VtoeDev *d)
{
    return g_hash_table_size(d->streams);
}

void vtoe_dev_get_stats(const VtoeDev *d, VtoeStats *st)
{
    *st = d->st;
    vtoe_look_stats(d, st);
}

const uint8_t *vtoe_dev_mac(const VtoeDev *d)
{
    return d->mac;
}

void vtoe_dev_foreach_stream(VtoeDev *d,
                             void (*fn)(void *opaque, uint32_t sid,
                                        enum vtoe_stream_state state,
                                        uint64_t rx_limit, VnetStream *s),
                             void *opaque)
{
    GHashTableIter it;
    gpointer val;

    g_hash_table_iter_init(&it, d->streams);
    while (g_hash_table_iter_next(&it, NULL, &val)) {
        VtoeStream *s = val;

        fn(opaque, s->sid, s->state, s->rx_limit, s->vs);
    }
}
