/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many bytes over many streams, see vtoe-bulk.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "vtoe-bulk.h"

/* Longest time without progress after which a device's clock is moved on. */
#define IDLE_US     20000

/* A stream as one end has it. */
typedef struct BulkFlow {
    uint32_t sid;
    uint64_t tx_seed, rx_seed;      /* what the bytes follow from */
    uint64_t tx_total, tx_posted, tx_acked;
    uint64_t rx_total, rx_got;
    unsigned inflight;              /* send descriptors not acknowledged */
    GQueue sent;                    /* their buffers, oldest first */
} BulkFlow;

typedef struct BulkSlot {
    uint64_t addr;                  /* guest physical */
    uint64_t home, away;            /* what it can be */
    uint64_t end;                   /* send: stream offset behind it */
} BulkSlot;

typedef struct BulkEnd {
    VtoeHost *h;
    VtoeTestQueue *q;
    BulkSlot *tx, *rx;
    GQueue idle_tx;                 /* BulkSlot */
    GHashTable *by_sid;
    GPtrArray *flows;
    unsigned next;                  /* flow whose turn it is to send */
    unsigned unfinished;            /* flows with bytes to send or to get */
    uint32_t max_inflight;
    uint64_t got;                   /* bytes, of all flows */
    uint64_t base;                  /* 0: buffers are at home */
} BulkEnd;

struct VtoeBulk {
    VtoePair *p;
    unsigned count;
    uint32_t size;
    bool breaking;                  /* streams may end at any byte */
    bool lost;                      /* some did */
    bool closing;                   /* ... or end because they were closed */
    gint64 moved, stepped;          /* when something or a clock did */
    BulkEnd end[2];
};

/* --- What the bytes are -------------------------------------------------- */

static uint64_t word_of(uint64_t seed, uint64_t index)
{
    return (seed + index) * 0x9e3779b97f4a7c15ull;
}

static uint8_t byte_of(uint64_t seed, uint64_t offset)
{
    return word_of(seed, offset / 8) >> (offset % 8 * 8);
}

static void fill(uint8_t *buf, uint64_t seed, uint64_t offset, uint32_t len)
{
    uint32_t i = 0;

    while (i < len) {
        if ((offset + i) % 8 == 0 && len - i >= 8) {
            stq_le_p(buf + i, word_of(seed, (offset + i) / 8));
            i += 8;
        } else {
            buf[i] = byte_of(seed, offset + i);
            i++;
        }
    }
}

static void check(const uint8_t *buf, uint64_t seed, uint64_t offset,
                  uint32_t len)
{
    uint32_t i = 0;

    while (i < len) {
        if ((offset + i) % 8 == 0 && len - i >= 8 &&
            ldq_le_p(buf + i) == word_of(seed, (offset + i) / 8)) {
            i += 8;
            continue;
        }
        if (buf[i] != byte_of(seed, offset + i)) {
            g_error("byte %" PRIu64 " of a stream is 0x%02x, sent was 0x%02x",
                    offset + i, buf[i], byte_of(seed, offset + i));
        }
        i++;
    }
}

/* --- Rings in shared memory ---------------------------------------------- */

static void *at(BulkEnd *e, uint64_t addr, size_t len)
{
    return vtoe_host_memory(e->h, addr, len);
}

/* Before a buffer is used it moves to where it shall be. */
static void settle(const BulkEnd *e, BulkSlot *slot)
{
    slot->addr = e->base ? e->base + slot->away : slot->home;
}

static struct vtoe_queue_ctrl *ctrl(BulkEnd *e)
{
    return at(e, e->q->ctrl, sizeof(struct vtoe_queue_ctrl));
}

/* An index moves, then the event is read: whether to ring. */
static bool publish(uint32_t *index, uint32_t val, const uint32_t *event)
{
    uint32_t old = le32_to_cpu(*index);

    if (old == val) {
        return false;
    }
    qatomic_store_release(index, cpu_to_le32(val));
    smp_mb();           /* the index is there before its event is read */
    return vtoe_need_kick(le32_to_cpu(qatomic_read(event)), val, old);
}

static void kick(BulkEnd *e)
{
    struct vtoe_queue_ctrl *c = ctrl(e);
    bool ring = publish(&c->send_prod, e->q->send_prod, &c->send_event);

    ring |= publish(&c->recv_prod, e->q->recv_prod, &c->recv_event);
    ring |= publish(&c->comp_cons, e->q->comp_cons, &c->comp_room_event);
    if (ring) {
        vtoe_doorbell(e->h->d, e->q->index);
    }
}

static bool take(BulkEnd *e, struct vtoe_comp *comp)
{
    uint32_t prod = le32_to_cpu(qatomic_load_acquire(&ctrl(e)->comp_prod));
    uint32_t i = e->q->comp_cons & (e->q->comp_size - 1);

    if (prod == e->q->comp_cons) {
        return false;
    }
    *comp = *(struct vtoe_comp *)at(e, e->q->comp + i * sizeof(*comp),
                                    sizeof(*comp));
    e->q->comp_cons++;
    return true;
}

static void post_recv(VtoeBulk *k, BulkEnd *e, unsigned slot)
{
    uint32_t i = e->q->recv_prod & (e->q->recv_size - 1);
    struct vtoe_recv_desc *desc = at(e, e->q->recv + i * sizeof(*desc),
                                     sizeof(*desc));

    settle(e, &e->rx[slot]);
    *desc = (struct vtoe_recv_desc) {
        .addr = cpu_to_le64(e->rx[slot].addr),
        .len = cpu_to_le32(k->size),
        .sid = cpu_to_le32(VTOE_SID_ANY),
        .id = cpu_to_le32(slot),
    };
    e->q->recv_prod++;
}

/* --- Life ---------------------------------------------------------------- */

static void end_init(VtoeBulk *k, BulkEnd *e, VtoeHost *h)
{
    unsigned i;

    e->h = h;
    e->q = &h->d->q[1];
    g_assert(h->ram);
    g_assert_cmpuint(k->count, <=, e->q->send_size);
    g_assert_cmpuint(k->count, <=, e->q->recv_size);
    e->max_inflight = vtoe_rd(h->d, VTOE_REG_MAX_INFLIGHT);
    e->by_sid = g_hash_table_new(NULL, NULL);
    e->flows = g_ptr_array_new();
    e->tx = g_new0(BulkSlot, k->count);
    e->rx = g_new0(BulkSlot, k->count);
    g_queue_init(&e->idle_tx);
    for (i = 0; i < k->count; i++) {
        e->tx[i].home = guest_alloc(h->d->alloc, k->size);
        e->rx[i].home = guest_alloc(h->d->alloc, k->size);
        e->tx[i].away = (uint64_t)k->size * i;
        e->rx[i].away = (uint64_t)k->size * (k->count + i);
        g_queue_push_tail(&e->idle_tx, &e->tx[i]);
        post_recv(k, e, i);
    }
    kick(e);
}

VtoeBulk *vtoe_bulk_new(VtoePair *p, unsigned count, uint32_t size)
{
    VtoeBulk *k = g_new0(VtoeBulk, 1);

    k->p = p;
    k->count = count;
    k->size = size;
    end_init(k, &k->end[0], &p->a);
    end_init(k, &k->end[1], &p->b);
    return k;
}

void vtoe_bulk_free(VtoeBulk *k)
{
    unsigned i, j;

    for (i = 0; i < 2; i++) {
        BulkEnd *e = &k->end[i];

        for (j = 0; j < e->flows->len; j++) {
            BulkFlow *f = g_ptr_array_index(e->flows, j);

            g_queue_clear(&f->sent);
            g_free(f);
        }
        g_queue_clear(&e->idle_tx);
        g_ptr_array_free(e->flows, true);
        g_hash_table_destroy(e->by_sid);
        g_free(e->tx);
        g_free(e->rx);
    }
    g_free(k);
}

static void flow_add(BulkEnd *e, uint32_t sid, uint64_t tx_seed,
                     uint64_t tx_total, uint64_t rx_seed, uint64_t rx_total)
{
    BulkFlow *f = g_new0(BulkFlow, 1);

    f->sid = sid;
    f->tx_seed = tx_seed;
    f->rx_seed = rx_seed;
    f->tx_total = tx_total;
    f->rx_total = rx_total;
    g_queue_init(&f->sent);
    g_ptr_array_add(e->flows, f);
    g_hash_table_insert(e->by_sid, GUINT_TO_POINTER(sid), f);
    e->unfinished += tx_total + rx_total > 0;
}

void vtoe_bulk_add(VtoeBulk *k, VtoeTestStream s, uint64_t a_to_b,
                   uint64_t b_to_a)
{
    uint64_t seed = (uint64_t)k->end[0].flows->len << 40;
    uint64_t back = seed | 1ull << 39;

    flow_add(&k->end[0], s.a, seed, a_to_b, back, b_to_a);
    flow_add(&k->end[1], s.b, back, b_to_a, seed, a_to_b);
}

/* --- Carrying ------------------------------------------------------------ */

static bool flow_finished(const BulkFlow *f)
{
    return f->tx_acked == f->tx_total && f->rx_got == f->rx_total;
}

static void flow_send(VtoeBulk *k, BulkEnd *e, BulkFlow *f)
{
    BulkSlot *slot = g_queue_pop_head(&e->idle_tx);
    uint32_t len = MIN(k->size, f->tx_total - f->tx_posted);
    uint32_t i = e->q->send_prod & (e->q->send_size - 1);
    struct vtoe_send_desc *desc = at(e, e->q->send + i * sizeof(*desc),
                                     sizeof(*desc));

    settle(e, slot);
    fill(at(e, slot->addr, len), f->tx_seed, f->tx_posted, len);
    *desc = (struct vtoe_send_desc) {
        .addr = cpu_to_le64(slot->addr),
        .len = cpu_to_le32(len),
        .sid = cpu_to_le32(f->sid),
        .op = VTOE_SEND_DATA,
    };
    e->q->send_prod++;
    f->tx_posted += len;
    slot->end = f->tx_posted;
    g_queue_push_tail(&f->sent, slot);
    f->inflight++;
}

/* Buffers of a lost stream are free before the device has read what is said of
 * them. */
static bool ring_has_room(BulkEnd *e)
{
    uint32_t cons = le32_to_cpu(qatomic_load_acquire(&ctrl(e)->send_cons));

    return e->q->send_prod - cons < e->q->send_size;
}

/* One buffer of each stream in turn, as long as there are buffers. */
static bool end_send(VtoeBulk *k, BulkEnd *e)
{
    unsigned skipped = 0;
    bool moved = false;

    while (!g_queue_is_empty(&e->idle_tx) && skipped < e->flows->len &&
           ring_has_room(e)) {
        BulkFlow *f = g_ptr_array_index(e->flows, e->next);

        e->next = (e->next + 1) % e->flows->len;
        if (f->tx_posted == f->tx_total || f->inflight == e->max_inflight) {
            skipped++;
            continue;
        }
        flow_send(k, e, f);
        skipped = 0;
        moved = true;
    }
    return moved;
}

static void end_acked(BulkEnd *e, BulkFlow *f, uint64_t offset)
{
    g_assert_cmpuint(offset, >, f->tx_acked);
    g_assert_cmpuint(offset, <=, f->tx_posted);
    f->tx_acked = offset;
    while (!g_queue_is_empty(&f->sent) &&
           ((BulkSlot *)g_queue_peek_head(&f->sent))->end <= offset) {
        g_queue_push_tail(&e->idle_tx, g_queue_pop_head(&f->sent));
        f->inflight--;
    }
}

static void end_got(VtoeBulk *k, BulkEnd *e, BulkFlow *f,
                    const struct vtoe_comp *c)
{
    uint32_t id = le32_to_cpu(c->id), len = le32_to_cpu(c->len);

    if (k->breaking && c->flags & (VTOE_COMP_F_ABORT | VTOE_COMP_F_RETURNED |
                                   VTOE_COMP_F_END)) {
        if (id != VTOE_ID_NONE) {
            post_recv(k, e, id);
        }
        return;
    }
    g_assert_cmphex(c->flags, ==, 0);
    g_assert_cmpuint(id, <, k->count);
    g_assert_cmpuint(len, <=, k->size);
    g_assert_cmpuint(le64_to_cpu(c->u.offset), ==, f->rx_got);
    g_assert_cmpuint(len, <=, f->rx_total - f->rx_got);
    check(at(e, e->rx[id].addr, len), f->rx_seed, f->rx_got, len);
    f->rx_got += len;
    e->got += len;
    post_recv(k, e, id);
}

static bool end_take(VtoeBulk *k, BulkEnd *e)
{
    struct vtoe_comp c;
    bool moved = false;

    while (take(e, &c)) {
        uint32_t sid = le32_to_cpu(c.sid);
        BulkFlow *f = g_hash_table_lookup(e->by_sid, GUINT_TO_POINTER(sid));

        if (k->lost && c.type == VTOE_COMP_ERROR) {
            continue;               /* read when the stream was gone */
        }
        g_assert(f);
        if (k->breaking && flow_finished(f)) {
            g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
            g_assert_cmphex(c.flags, !=, 0);
            end_got(k, e, f, &c);
            continue;
        }
        g_assert(!flow_finished(f));
        if (c.type == VTOE_COMP_SEND) {
            end_acked(e, f, le64_to_cpu(c.u.offset));
        } else {
            g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
            end_got(k, e, f, &c);
        }
        e->unfinished -= flow_finished(f);
        moved = true;
    }
    return moved;
}

/* Once round; false when nothing moved. */
static bool bulk_turn(VtoeBulk *k)
{
    bool moved = false;
    unsigned i;

    for (i = 0; i < 2; i++) {
        if (!k->end[i].h->killed) {
            moved |= end_take(k, &k->end[i]);
            moved |= end_send(k, &k->end[i]);
            kick(&k->end[i]);
        }
    }
    return moved;
}

/* A device may wait for its clock with what is not urgent. */
static void step_clocks(VtoeBulk *k)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        if (!k->end[i].h->killed) {
            qtest_clock_step(k->end[i].h->qts, 20 * 1000 * 1000);
        }
    }
}

/* Carries on for a turn; fails when nothing has moved for too long. */
static void bulk_carry(VtoeBulk *k)
{
    bool moved = bulk_turn(k);
    gint64 now = g_get_monotonic_time();

    if (moved) {
        k->moved = k->stepped = now;
        return;
    }
    if (now - k->stepped > IDLE_US) {
        step_clocks(k);
        k->stepped = now;
    }
    if (now - k->moved > VTOE_BULK_STALL_S * G_USEC_PER_SEC) {
        g_error("nothing moved for %d s: %u streams of a and %u of b "
                "unfinished", VTOE_BULK_STALL_S, k->end[0].unfinished,
                k->end[1].unfinished);
    }
    g_usleep(100);
}

void vtoe_bulk_run(VtoeBulk *k)
{
    k->moved = k->stepped = g_get_monotonic_time();
    while (k->end[0].unfinished + k->end[1].unfinished > 0) {
        bulk_carry(k);
    }
}

void vtoe_bulk_run_until(VtoeBulk *k, uint64_t bytes)
{
    k->moved = k->stepped = g_get_monotonic_time();
    while (k->end[0].got < bytes || k->end[1].got < bytes) {
        g_assert_cmpuint(k->end[0].unfinished + k->end[1].unfinished, >, 0);
        bulk_carry(k);
    }
}

void vtoe_bulk_step(VtoeBulk *k)
{
    if (!k->moved) {
        k->moved = k->stepped = g_get_monotonic_time();
    }
    g_assert_cmpuint(k->end[0].unfinished + k->end[1].unfinished, >, 0);
    bulk_carry(k);
}

uint64_t vtoe_bulk_got(VtoeBulk *k, unsigned end)
{
    return k->end[end].got;
}

uint64_t vtoe_bulk_got_of(VtoeBulk *k, unsigned end, unsigned i)
{
    return ((BulkFlow *)k->end[end].flows->pdata[i])->rx_got;
}

/* --- Moving -------------------------------------------------------------- */

void vtoe_bulk_move(VtoeBulk *k, unsigned end, uint64_t base)
{
    k->end[end].base = base;
}

/* Every buffer was used, and acknowledged, since it was to move. */
static bool end_moved(const VtoeBulk *k, const BulkEnd *e)
{
    unsigned i;

    for (i = 0; i < k->count; i++) {
        BulkSlot tx = e->tx[i], rx = e->rx[i];

        settle(e, &tx);
        settle(e, &rx);
        if (tx.addr != e->tx[i].addr || rx.addr != e->rx[i].addr) {
            return false;
        }
    }
    return true;
}

void vtoe_bulk_run_until_moved(VtoeBulk *k)
{
    k->moved = k->stepped = g_get_monotonic_time();
    while (!end_moved(k, &k->end[0]) || !end_moved(k, &k->end[1])) {
        g_assert_cmpuint(k->end[0].unfinished + k->end[1].unfinished, >, 0);
        bulk_carry(k);
    }
}

/* --- Losing -------------------------------------------------------------- */

void vtoe_bulk_may_lose(VtoeBulk *k)
{
    k->breaking = k->lost = true;
}

/* Forgets a stream that has ended. */
static void drop(BulkEnd *e, unsigned i)
{
    BulkFlow *f = g_ptr_array_index(e->flows, i);

    while (!g_queue_is_empty(&f->sent)) {
        g_queue_push_tail(&e->idle_tx, g_queue_pop_head(&f->sent));
    }
    g_hash_table_remove(e->by_sid, GUINT_TO_POINTER(f->sid));
    g_ptr_array_remove_index(e->flows, i);
    e->next = 0;
    g_free(f);
}

uint64_t vtoe_bulk_ended(VtoeBulk *k)
{
    uint64_t which = 0;
    unsigned i, j;

    for (i = 0; i < 2; i++) {
        BulkEnd *e = &k->end[i];

        for (j = 0; j < e->flows->len; j++) {
            BulkFlow *f = g_ptr_array_index(e->flows, j);

            if (vtoe_have_event(e->h->d, VTOE_EVENT_DISCONNECTED, f->sid)) {
                which |= 1ull << MIN(j, 63);
            }
        }
    }
    return which;
}

/* It has ended, for this reason; all that came before is taken. */
static bool flow_lost(VtoeBulk *k, BulkEnd *e, BulkFlow *f, unsigned reason)
{
    struct vtoe_event ev;

    if (!vtoe_have_event(e->h->d, VTOE_EVENT_DISCONNECTED, f->sid)) {
        return false;
    }
    ev = vtoe_wait_event_of(e->h->d, VTOE_EVENT_DISCONNECTED, f->sid);
    if (reason != VTOE_BULK_ANY_REASON &&
        (!k->closing || ev.reason != VTOE_REASON_NONE)) {
        g_assert_cmpuint(ev.reason, ==, reason);
    }
    end_take(k, e);
    return true;
}

/* All of its streams have ended, each once. */
static bool end_lost(VtoeBulk *k, BulkEnd *e, unsigned reason)
{
    while (e->flows->len) {
        if (!flow_lost(k, e, g_ptr_array_index(e->flows, 0), reason)) {
            return false;
        }
        drop(e, 0);
    }
    return true;
}

static void lost_done(BulkEnd *e)
{
    e->next = e->unfinished = 0;
}

void vtoe_bulk_wait_lost_at(VtoeBulk *k, unsigned end, unsigned reason)
{
    BulkEnd *e = &k->end[end];
    gint64 deadline = 0;

    vtoe_bulk_may_lose(k);
    while (!end_lost(k, e, reason)) {
        end_take(k, e);
        kick(e);
        vtoe_wait_step(&deadline, "streams to be lost");
    }
    lost_done(e);
    k->breaking = false;
}

/* At both ends. */
static bool both_lost(VtoeBulk *k, unsigned reason)
{
    bool lost = true;
    unsigned i;

    for (i = 0; i < 2; i++) {
        lost &= k->end[i].h->killed || end_lost(k, &k->end[i], reason);
    }
    return lost;
}

void vtoe_bulk_wait_lost(VtoeBulk *k, unsigned reason)
{
    gint64 deadline = 0;

    vtoe_bulk_may_lose(k);
    while (!both_lost(k, reason)) {
        bulk_turn(k);
        vtoe_wait_step(&deadline, "streams to be lost");
    }
    lost_done(&k->end[0]);
    lost_done(&k->end[1]);
    k->breaking = false;
}

/* Those of them whose end was not told yet. */
static uint64_t end_left(VtoeBulk *k, BulkEnd *e, uint64_t which,
                         unsigned reason)
{
    unsigned i;

    for (i = 0; i < e->flows->len; i++) {
        if (which & 1ull << i &&
            flow_lost(k, e, g_ptr_array_index(e->flows, i), reason)) {
            which &= ~(1ull << i);
        }
    }
    return which;
}

/* Forgets them; nothing was told of the others. */
static void end_drop(BulkEnd *e, uint64_t which)
{
    unsigned i;

    for (i = e->flows->len; i-- > 0;) {
        BulkFlow *f = g_ptr_array_index(e->flows, i);

        g_assert(!vtoe_have_event(e->h->d, VTOE_EVENT_DISCONNECTED, f->sid));
        if (which & 1ull << i) {
            e->unfinished -= !flow_finished(f);
            drop(e, i);
        }
    }
}

void vtoe_bulk_wait_lost_of(VtoeBulk *k, uint64_t which, unsigned reason)
{
    uint64_t left_a = which, left_b = which;
    gint64 deadline = 0;

    vtoe_bulk_may_lose(k);
    while (left_a | left_b) {
        bulk_turn(k);
        left_a = end_left(k, &k->end[0], left_a, reason);
        left_b = end_left(k, &k->end[1], left_b, reason);
        vtoe_wait_step(&deadline, "some of the streams to be lost");
    }
    end_drop(&k->end[0], which);
    end_drop(&k->end[1], which);
    k->breaking = false;
}

/* --- Closing ------------------------------------------------------------- */

/*
 * As many commands at once as the ring takes.  lost: some may be gone, or as good
 * as that: their end is not told before there is room for its mark.
 */
static void close_all(BulkEnd *e, bool lost)
{
    unsigned room = e->h->d->ctl.send_size / 2, i, j;
    g_autofree uint32_t *tags = g_new(uint32_t, room);

    for (i = 0; i < e->flows->len; i += room) {
        unsigned n = MIN(room, e->flows->len - i);

        for (j = 0; j < n; j++) {
            BulkFlow *f = g_ptr_array_index(e->flows, i + j);
            struct vtoe_cmd cmd = {
                .op = VTOE_CMD_CLOSE,
                .sid = cpu_to_le32(f->sid),
                .value = cpu_to_le64(f->tx_total),
            };

            tags[j] = vtoe_command_post(e->h->d, &cmd);
        }
        for (j = 0; j < n; j++) {
            unsigned answer = vtoe_wait_answer(e->h->d, tags[j]).reason;

            if (!lost || (answer != VTOE_CMD_UNKNOWN_SID &&
                          answer != VTOE_CMD_STATE)) {
                g_assert_cmpuint(answer, ==, VTOE_CMD_OK);
            }
        }
    }
}

/* Marks of ends take entries of the ring, too. */
static void take_ends(BulkEnd *e)
{
    struct vtoe_comp c;

    while (take(e, &c)) {
        g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
        g_assert_cmphex(c.flags, ==, VTOE_COMP_F_END);
    }
    kick(e);
}

static void wait_closed(VtoeBulk *k, BulkEnd *e)
{
    struct vtoe_event ev;
    gint64 deadline;

    while (e->flows->len) {
        BulkFlow *f = g_ptr_array_index(e->flows, 0);

        deadline = 0;
        while (!vtoe_have_event(e->h->d, VTOE_EVENT_DISCONNECTED, f->sid)) {
            take_ends(&k->end[0]);
            take_ends(&k->end[1]);
            vtoe_wait_step(&deadline, "a stream to end");
        }
        ev = vtoe_wait_event_of(e->h->d, VTOE_EVENT_DISCONNECTED, f->sid);
        take_ends(e);               /* its mark was there before */
        g_assert_cmpuint(ev.reason, ==, VTOE_REASON_NONE);
        g_assert_cmpuint(ev.value, ==, f->rx_total);
        drop(e, 0);
    }
}

void vtoe_bulk_close(VtoeBulk *k)
{
    close_all(&k->end[0], false);
    close_all(&k->end[1], false);
    wait_closed(k, &k->end[0]);
    wait_closed(k, &k->end[1]);
    vtoe_wait_no_streams(k->end[0].h);
    vtoe_wait_no_streams(k->end[1].h);
}

void vtoe_bulk_run_or_lose(VtoeBulk *k, unsigned reason)
{
    vtoe_bulk_may_lose(k);
    k->moved = k->stepped = g_get_monotonic_time();
    while (k->end[0].unfinished + k->end[1].unfinished > 0 &&
           !vtoe_bulk_ended(k)) {
        bulk_carry(k);
    }
    close_all(&k->end[0], true);
    close_all(&k->end[1], true);
    k->closing = true;
    vtoe_bulk_wait_lost(k, reason);
    k->closing = false;
}
