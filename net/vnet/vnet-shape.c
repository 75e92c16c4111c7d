/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits to what a port sends and receives: see vnet-shape.h.
 */
#include "vnet-inet.h"
#include "vnet-stream.h"

#define NS_PER_S        1000000000ull
/* A turn is what the rate gives in a millisecond, within these. */
#define QUANTUM_MIN     1514
#define QUANTUM_MAX     65536
/* Without another word, a burst is what the rate gives in this part of a second,
 * but as much as one frame at least. */
#define BURST_PART      10

/* --- A token bucket ------------------------------------------------------- */

void vnet_bucket_set(VnetBucket *b, uint64_t rate, uint64_t burst,
                     int64_t now_ns)
{
    g_assert(rate <= VNET_BUCKET_MAX && burst <= VNET_BUCKET_MAX);
    *b = (VnetBucket) {
        .rate = rate, .burst = burst, .level = burst, .at_ns = now_ns,
    };
}

int64_t vnet_bucket_level(VnetBucket *b, int64_t now_ns)
{
    unsigned __int128 more;
    int64_t missing;

    if (!b->rate) {
        return INT64_MAX;
    }
    if (now_ns <= b->at_ns) {
        return b->level;
    }
    more = (unsigned __int128)(now_ns - b->at_ns) * b->rate + b->rest;
    b->at_ns = now_ns;
    b->rest = more % NS_PER_S;
    more /= NS_PER_S;
    missing = b->burst - b->level;
    if (more > (uint64_t)missing) {
        b->level = b->burst;
        b->rest = 0;
    } else {
        b->level += more;
    }
    return b->level;
}

void vnet_bucket_take(VnetBucket *b, uint64_t n, int64_t now_ns)
{
    if (b->rate) {
        vnet_bucket_level(b, now_ns);
        b->level -= n;
    }
}

int64_t vnet_bucket_wait(VnetBucket *b, int64_t n, int64_t now_ns)
{
    int64_t level = vnet_bucket_level(b, now_ns);
    unsigned __int128 ns;

    if (level >= n) {
        return 0;
    }
    ns = (unsigned __int128)(uint64_t)(n - level) * NS_PER_S - b->rest;
    return (ns + b->rate - 1) / b->rate;
}

/* --- A port --------------------------------------------------------------- */

static uint64_t burst_of(uint64_t rate, uint64_t burst, uint64_t least)
{
    return MAX(burst ?: rate / BURST_PART, least);
}

void vnet_shape_set(VnetPort *port, VnetDirection d, const VnetRates *rate)
{
    VnetShaper *sh = &port->shape[d];
    int64_t now = vnet_now(port->core);

    sh->rate = *rate;
    sh->quantum = CLAMP(rate->bytes / 1000, QUANTUM_MIN, QUANTUM_MAX);
    vnet_bucket_set(&sh->bytes, rate->bytes,
                    burst_of(rate->bytes, rate->bytes_burst, QUANTUM_MAX), now);
    vnet_bucket_set(&sh->frames, rate->frames,
                    burst_of(rate->frames, rate->frames_burst, 1), now);
    sh->on = rate->bytes || rate->frames;
    if (sh->streams.length || sh->nic_waits) {
        /* By the old limits. */
        vnet_core_wake_at(port->core, now);
    }
}

const VnetRates *vnet_shape_get(const VnetPort *port, VnetDirection d)
{
    return &port->shape[d].rate;
}

void vnet_shape_end(VnetPort *port)
{
    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        g_assert(!port->shape[d].streams.length);
    }
}

/* --- Frames --------------------------------------------------------------- */

/* When the next frame may pass: now is 0. */
static int64_t frame_wait(VnetShaper *sh, int64_t now)
{
    int64_t wait = 0;

    if (sh->bytes.rate) {
        /* With a stream's turn comes that of frames. */
        wait = sh->streams.length && sh->frame_turn <= 0 ?
               MAX(vnet_bucket_wait(&sh->bytes, sh->quantum, now), 1) :
               vnet_bucket_wait(&sh->bytes, 1 - sh->bytes.burst, now);
    }
    if (sh->frames.rate) {
        wait = MAX(wait, vnet_bucket_wait(&sh->frames, 1, now));
    }
    return wait;
}

bool vnet_shape_frame(VnetPort *port, VnetDirection d)
{
    VnetShaper *sh = &port->shape[d];

    return !sh->on || frame_wait(sh, vnet_now(port->core)) == 0;
}

/* Of a frame that nobody has looked into: its headers may end elsewhere, and what
 * hdr says may be wrong. */
static unsigned frame_pieces(const VnetFrame *f)
{
    size_t headers = (size_t)f->hdr->csum_start + VNET_TCP_HDR;
    size_t piece = MAX(f->hdr->gso_size, VTOE_NET_HDR_GSO_SIZE_MIN);

    if (!f->hdr->gso_type || f->len <= headers) {
        return 1;
    }
    return (f->len - headers + piece - 1) / piece;
}

void vnet_shape_frame_took(VnetPort *port, VnetDirection d, const VnetFrame *f)
{
    VnetShaper *sh = &port->shape[d];

    if (sh->on) {
        int64_t now = vnet_now(port->core);

        vnet_bucket_take(&sh->bytes, f->len, now);
        vnet_bucket_take(&sh->frames, frame_pieces(f), now);
        /* What is sent while nobody waits is taken from nobody. */
        sh->frame_turn = MAX(sh->frame_turn - (int64_t)f->len,
                             sh->streams.length ? INT64_MIN : 0);
    }
}

void vnet_shape_nic_waits(VnetPort *port)
{
    VnetShaper *sh = &port->shape[VNET_TX];
    int64_t now = vnet_now(port->core);

    port->stats.tx_held++;
    vnet_limit_reached(port->net, VNET_CORE_LIMIT_TX_RATE, port, NULL, now);
    sh->nic_waits = true;
    vnet_core_wake_at(port->core, now + frame_wait(sh, now));
}

/* --- Streams -------------------------------------------------------------- */

static size_t hold(VnetStream *s, VnetDirection d, int64_t now)
{
    VnetPort *port = s->port;
    VnetShaper *sh = &port->shape[d];
    VnetShaped *own = &s->shaped[d];

    if (!own->waits) {
        own->waits = true;
        own->node.data = s;
        g_queue_push_tail_link(&sh->streams, &own->node);
        if (d == VNET_TX) {
            port->stats.tx_held++;
        } else {
            port->stats.rx_held++;
        }
        vnet_limit_reached(port->net, d == VNET_TX ? VNET_CORE_LIMIT_TX_RATE
                                                   : VNET_CORE_LIMIT_RX_RATE,
                           port, NULL, now);
    }
    vnet_core_wake_at(port->core, now + vnet_bucket_wait(&sh->bytes,
                                                         sh->quantum, now));
    return 0;
}

size_t vnet_shape_stream(VnetStream *s, VnetDirection d, size_t max)
{
    VnetShaper *sh = &s->port->shape[d];
    VnetShaped *own = &s->shaped[d];
    int64_t level, now;

    if (!sh->bytes.rate) {
        return max;
    }
    if (own->turn > 0) {
        return MIN(max, own->turn);
    }
    now = vnet_now(s->core);
    level = vnet_bucket_level(&sh->bytes, now);
    if (sh->streams.length || level < sh->quantum) {
        return hold(s, d, now);
    }
    return MIN(max, level);
}

void vnet_shape_stream_took(VnetStream *s, VnetDirection d, size_t n)
{
    VnetShaper *sh = &s->port->shape[d];
    size_t paid = MIN(n, (size_t)s->shaped[d].turn);

    s->shaped[d].turn -= paid;
    if (n > paid) {
        vnet_bucket_take(&sh->bytes, n - paid, vnet_now(s->core));
    }
}

void vnet_shape_forget(VnetStream *s)
{
    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        VnetShaper *sh = &s->port->shape[d];

        if (s->shaped[d].waits) {
            g_queue_unlink(&sh->streams, &s->shaped[d].node);
            s->shaped[d].waits = false;
        }
        /* What it has not used. */
        sh->bytes.level = MIN(sh->bytes.level + s->shaped[d].turn,
                              sh->bytes.burst);
        s->shaped[d].turn = 0;
    }
}

/* --- Turns ---------------------------------------------------------------- */

static void give_turns(VnetPort *port, VnetDirection d, int64_t now)
{
    VnetShaper *sh = &port->shape[d];
    GList *node;

    while (vnet_bucket_level(&sh->bytes, now) >= sh->quantum &&
           (node = g_queue_pop_head_link(&sh->streams))) {
        VnetStream *s = node->data;

        s->shaped[d].waits = false;
        s->shaped[d].turn = sh->bytes.rate ? sh->quantum : 0;
        vnet_bucket_take(&sh->bytes, sh->quantum, now);
        sh->frame_turn = MIN(sh->frame_turn + sh->quantum, sh->bytes.burst);
        vnet_stream_owe(s, d == VNET_TX ? VNET_WORK_TX : VNET_WORK_RX);
    }
    if (sh->streams.length) {
        vnet_core_wake_at(port->core, now + vnet_bucket_wait(&sh->bytes,
                                                             sh->quantum, now));
    }
}

void vnet_shape_tick(VnetPort *port, int64_t now)
{
    VnetShaper *tx = &port->shape[VNET_TX];

    for (int d = 0; d < VNET_DIRECTIONS; d++) {
        if (port->shape[d].streams.length) {
            give_turns(port, d, now);
        }
    }
    if (tx->nic_waits) {
        int64_t wait = tx->on ? frame_wait(tx, now) : 0;

        if (wait) {
            vnet_core_wake_at(port->core, now + wait);
        } else {
            tx->nic_waits = false;
            vnet_upcall_begin(port);
            port->ops->tx_ready(port->opaque);
            vnet_upcall_end(port);
        }
    }
}
