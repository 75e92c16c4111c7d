/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a wire may do to a link: two QEMUs whose link goes through a relay
 * (vtoe-relay.h) that is slow, passes on in small pieces, ends one direction,
 * forgets a connection, or changes a byte.  Every byte of a stream that arrives is compared.
 *
 *      VTOE_RELAY_SEED     what is random follows from it (default: 1)
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vnet-rawpeer.h"
#include "vtoe-bulk.h"

#define STREAMS         4
#define BUFFERS         64
#define BUFFER_SIZE     16384
#define MEMORY_MIB      64
#define ENDLESS         (1ull << 38)
/* Of frames whose last byte is no beginning of a header. */
#define FRAME_LEN       1000
#define PATIENCE_S      30
/* Longer than anything here takes. */
#define WAITS           ",resume-ms=600000"

typedef struct Net {
    VtoePair *p;
    VtoeRelay *relay;
    VtoeBulk *k;
    GRand *rand;
    unsigned sid;               /* of the last stream that was opened */
    uint64_t frame[2];          /* where each end has one to send ... */
    bool sending[2];            /* ... and whether the device still has it */
} Net;

static VtoeHost *host(Net *n, unsigned end)
{
    return end ? &n->p->b : &n->p->a;
}

static uint64_t core_counter(Net *n, unsigned end, const char *name)
{
    QDict *st = vnet_status(host(n, end)->qts, "n0");
    uint64_t value = vnet_counter(st, name);

    qobject_unref(st);
    return value;
}

/* The sum of those counters of the link whose names begin so. */
static uint64_t link_sum(Net *n, unsigned end, const char *prefix)
{
    QDict *st = vnet_status(host(n, end)->qts, "n0");
    QList *l = qdict_get_qlist(vnet_status_link(st, "l0"), "counters");
    const QListEntry *e;
    uint64_t sum = 0;

    QLIST_FOREACH_ENTRY(l, e) {
        QDict *c = qobject_to(QDict, qlist_entry_obj(e));

        if (g_str_has_prefix(qdict_get_str(c, "name"), prefix)) {
            sum += qdict_get_int(c, "value");
        }
    }
    qobject_unref(st);
    return sum;
}

static uint64_t downs(Net *n, unsigned end)
{
    return vnet_link_counter(host(n, end)->qts, "n0", "l0", "downs");
}

static void wait_up(Net *n)
{
    vnet_wait_link(n->p->a.qts, "n0", "l0", "state", "up");
    vnet_wait_link(n->p->b.qts, "n0", "l0", "state", "up");
    vtoe_pair_wait_streams(n->p);
}

/* STREAMS more, each to carry so many bytes each way. */
static void add_streams(Net *n, uint64_t each)
{
    unsigned i;

    for (i = 0; i < STREAMS; i++) {
        vtoe_bulk_add(n->k, vtoe_pair_connect(n->p, ++n->sid), each, each);
    }
}

static void make_frame(Net *n, unsigned end)
{
    static const uint8_t *const mac[] = { vtoe_mac_a, vtoe_mac_b };
    VtoeHost *h = host(n, end);
    uint8_t *frame;

    n->frame[end] = vtoe_alloc(h->d, FRAME_LEN);
    frame = vtoe_host_memory(h, n->frame[end], FRAME_LEN);
    memset(frame, 0xff, FRAME_LEN);
    memcpy(frame, mac[!end], 6);
    memcpy(frame + 6, mac[end], 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;
}

static Net net_new(const char *type, const char *both,
                   const VtoeRelayShape *shape)
{
    const char *s = g_getenv("VTOE_RELAY_SEED");
    uint32_t seed = s ? atoi(s) : 1;
    Net n = { .rand = g_rand_new_with_seed(seed) };

    g_test_message("VTOE_RELAY_SEED=%u", seed);
    vtoe_link_set_type(type);
    n.p = vtoe_pair_boot_relayed(MEMORY_MIB, both, ",links.0.reconnect-ms=100",
                                 seed, &n.relay);
    vtoe_relay_shape(n.relay, shape);
    vtoe_pair_bring_up(n.p);
    make_frame(&n, 0);
    make_frame(&n, 1);
    n.k = vtoe_bulk_new(n.p, BUFFERS, BUFFER_SIZE);
    vtoe_pair_listen(n.p);
    return n;
}

/* Each stream has ended in one counter, and nothing of it is left. */
static void net_free(Net *n)
{
    unsigned end;

    for (end = 0; end < 2; end++) {
        vtoe_wait_no_streams(host(n, end));
        g_assert_cmpuint(vtoe_counter(host(n, end)->qts, "nic0",
                                      "bytes_copied"), ==, 0);
        g_assert_cmpuint(core_counter(n, end, "streams-established"), ==,
                         n->sid);
    }
    vtoe_bulk_free(n->k);
    vtoe_pair_quit(n->p);
    vtoe_relay_free(n->relay);
    g_rand_free(n->rand);
}

/* The rest, and the end, with nothing lost. */
static void finish(Net *n)
{
    vtoe_bulk_run(n->k);
    vtoe_bulk_close(n->k);
}

/* A frame to the other end, which has no buffer for it, if the last is out. */
static void say_frame(Net *n, unsigned end)
{
    VtoeDriver *d = host(n, end)->d;
    struct vtoe_comp c;

    if (vtoe_poll_comp(d, &d->q[0], &c)) {
        n->sending[end] = false;
    }
    if (!n->sending[end]) {
        vtoe_send(d, &d->q[0], VTOE_SID_FRAME, n->frame[end], FRAME_LEN);
        n->sending[end] = true;
    }
}

/* The same with a buffer for it, when nothing else is on its way. */
static void send_frame(Net *n, unsigned end)
{
    VtoeDriver *from = host(n, end)->d, *d = host(n, !end)->d;
    uint64_t addr = vtoe_alloc(d, 2048);
    struct vtoe_comp c;

    vtoe_post_recv(d, &d->q[0], addr, 2048, VTOE_SID_FRAME, 5);
    vtoe_kick(d, &d->q[0]);
    say_frame(n, end);
    c = vtoe_wait_comp(d, &d->q[0]);
    g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
    g_assert_cmpuint(c.id, ==, 5);
    g_assert_cmpmem(vtoe_host_memory(host(n, !end), addr, c.len), c.len,
                    vtoe_host_memory(host(n, end), n->frame[end], FRAME_LEN),
                    FRAME_LEN);
    g_assert_cmpuint(vtoe_wait_comp(from, &from->q[0]).type, ==,
                     VTOE_COMP_SEND);
    n->sending[end] = false;
}

/* Streams, and frames of both ends, until the condition holds. */
#define CARRY_UNTIL(n, condition)                                           \
    do {                                                                    \
        gint64 end_ = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC; \
                                                                            \
        while (!(condition)) {                                              \
            vtoe_bulk_step((n)->k);                                         \
            say_frame(n, 0);                                                \
            say_frame(n, 1);                                                \
            g_assert_cmpint(g_get_monotonic_time(), <, end_);               \
        }                                                                   \
    } while (0)

/* --- Slow ---------------------------------------------------------------- */

/* Each piece is a read of its own, and can end anywhere. */
static void test_pieces(void)
{
    static const unsigned piece[] = { 1, 7 };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(piece); i++) {
        Net n = net_new("unix", WAITS, &(VtoeRelayShape) {
            .piece = piece[i], .alone = true,
        });

        add_streams(&n, 3000 * piece[i]);
        send_frame(&n, 0);
        finish(&n);
        net_free(&n);
    }
}

/* All that is on its way for long, at few bytes per second; writers wait. */
static void test_slow(void)
{
    Net n = net_new("unix", WAITS ",links.0.buffer-size=16384",
                    &(VtoeRelayShape) {
        .piece = 1500, .rate = 300000, .delay_ms = 50,
    });
    gint64 begin;

    add_streams(&n, 300000);
    begin = g_get_monotonic_time();
    send_frame(&n, 0);
    send_frame(&n, 1);
    finish(&n);
    /* It is the relay that decides. */
    g_assert_cmpint(g_get_monotonic_time() - begin, >, 900000);
    g_assert_cmpuint(core_counter(&n, 0, "streams-parked"), ==, 0);
    net_free(&n);
}

/* --- One direction ends -------------------------------------------------- */

typedef struct Wire {
    VtoeRelayKind kind;
    unsigned way;
} Wire;

/* Who reads there. */
static unsigned seer(unsigned way)
{
    return way == VTOE_RELAY_TO_SERVER ? 1 : 0;
}

/* Until both ends have resumed streams so many times. */
static void wait_resumed(Net *n, uint64_t times)
{
    gint64 deadline = 0;

    while (core_counter(n, 0, "streams-resumed") < times ||
           core_counter(n, 1, "streams-resumed") < times) {
        vtoe_wait_step(&deadline, "streams to go on");
    }
}

/* The link is made anew, and its streams go on. */
static void test_half_closed_link(void)
{
    static const Wire wires[] = {
        { VTOE_RELAY_CONTROL, VTOE_RELAY_TO_SERVER },
        { VTOE_RELAY_CONTROL, VTOE_RELAY_TO_CLIENT },
        { VTOE_RELAY_FRAME, VTOE_RELAY_TO_SERVER },
        { VTOE_RELAY_FRAME, VTOE_RELAY_TO_CLIENT },
    };
    Net n = net_new("unix", WAITS, &(VtoeRelayShape) { });
    unsigned i;

    add_streams(&n, 2 * MiB);
    for (i = 0; i < ARRAY_SIZE(wires); i++) {
        vtoe_bulk_run_until(n.k, (i + 1) * MiB);
        send_frame(&n, i % 2);
        vtoe_relay_half_close(n.relay, wires[i].kind, wires[i].way);
        vnet_wait_link_counter(host(&n, seer(wires[i].way))->qts, "n0", "l0",
                               "lost-transport", i + 1);
        wait_resumed(&n, (i + 1) * STREAMS);
        wait_up(&n);
    }
    finish(&n);
    g_assert_cmpuint(downs(&n, 0), ==, i);
    g_assert_cmpuint(downs(&n, 1), ==, i);
    g_assert_cmpuint(link_sum(&n, 0, "bad-") + link_sum(&n, 1, "bad-"), ==, 0);
    send_frame(&n, 0);
    net_free(&n);
}

static uint64_t moved(Net *n, unsigned stream)
{
    return vtoe_bulk_got_of(n->k, 0, stream) + vtoe_bulk_got_of(n->k, 1, stream);
}

/* That stream goes on with another connection, and nothing else notices. */
static void test_half_closed_stream(void)
{
    const unsigned last = STREAMS - 1;
    Net n = net_new("unix", WAITS, &(VtoeRelayShape) { });
    unsigned i;

    /* More than the last one can have moved, whichever gets most, until its loss
     * is noticed: the end of one that is through is none. */
    add_streams(&n, 32 * MiB);
    for (i = 0; i < 6; i++) {
        uint64_t before = moved(&n, last);
        gint64 deadline = 0;

        /* One that moves nothing between two losses is given up. */
        vtoe_bulk_run_until(n.k, (i + 1) * MiB);
        while (moved(&n, last) == before) {
            vtoe_bulk_step(n.k);
            vtoe_wait_step(&deadline, "bytes of the last stream");
        }
        /* Of the newest connection, which is then the last stream's. */
        vtoe_relay_half_close(n.relay, VTOE_RELAY_DATA, i & 1);
        /* Who has no buffer does not look at the connection. */
        deadline = 0;
        while (core_counter(&n, 0, "streams-resumed") <= i ||
               core_counter(&n, 1, "streams-resumed") <= i) {
            vtoe_bulk_step(n.k);
            vtoe_wait_step(&deadline, "the stream to go on");
        }
    }
    finish(&n);
    g_assert_cmpuint(core_counter(&n, 0, "streams-resumed"), ==, i);
    g_assert_cmpuint(core_counter(&n, 1, "streams-resumed"), ==, i);
    g_assert_cmpuint(core_counter(&n, 0, "streams-graceful"), ==, STREAMS);
    g_assert_cmpuint(downs(&n, 0) + downs(&n, 1), ==, 0);
    net_free(&n);
}

/* Without resume-ms that stream is reset. */
static void test_half_closed_stream_ends(void)
{
    Net n = net_new("unix", "", &(VtoeRelayShape) { });
    unsigned way;

    add_streams(&n, 4 * MiB);
    for (way = 0; way < 2; way++) {
        vtoe_bulk_run_until(n.k, (way + 1) * MiB);
        vtoe_bulk_may_lose(n.k);
        vtoe_relay_half_close(n.relay, VTOE_RELAY_DATA, way);
        /* Of the newest connection, which is the last stream's. */
        vtoe_bulk_wait_lost_of(n.k, 1 << (STREAMS - 1 - way),
                               VTOE_REASON_LINK_LOST);
        g_assert_cmpuint(core_counter(&n, seer(way), "reset-link-lost"), >=,
                         1);
    }
    finish(&n);
    g_assert_cmpuint(core_counter(&n, 0, "streams-graceful"), ==, STREAMS - 2);
    g_assert_cmpuint(downs(&n, 0) + downs(&n, 1), ==, 0);
    net_free(&n);
}

/* --- A connection is forgotten ------------------------------------------- */

/* Though all others carry what they are given. */
static void test_forgotten_link(void)
{
    static const VtoeRelayKind kinds[] = { VTOE_RELAY_CONTROL,
                                           VTOE_RELAY_FRAME };
    Net n = net_new("tcp", WAITS ",heartbeat-ms=200", &(VtoeRelayShape) { });
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        uint64_t lost[] = { link_sum(&n, 0, "lost-"),
                            link_sum(&n, 1, "lost-") };
        gint64 deadline = 0;

        add_streams(&n, 3 * MiB);
        vtoe_bulk_run_until(n.k, vtoe_bulk_got(n.k, 0) + MiB);
        vtoe_relay_forget(n.relay, kinds[i]);
        while (link_sum(&n, 0, "lost-") == lost[0] ||
               link_sum(&n, 1, "lost-") == lost[1]) {
            say_frame(&n, 0);
            say_frame(&n, 1);
            vtoe_wait_step(&deadline, "the link to be lost");
        }
        wait_up(&n);
        finish(&n);
    }
    g_assert_cmpuint(core_counter(&n, 0, "streams-resumed"), >=, i * STREAMS);
    g_assert_cmpuint(core_counter(&n, 0, "streams-graceful"), ==, n.sid);
    net_free(&n);
}

/* One that says nothing is asked, and goes on with another connection. */
static void test_forgotten_stream(void)
{
    Net n = net_new("tcp", WAITS ",heartbeat-ms=200", &(VtoeRelayShape) { });
    gint64 deadline;

    add_streams(&n, MiB);
    vtoe_bulk_run(n.k);
    vtoe_relay_forget(n.relay, VTOE_RELAY_DATA);
    deadline = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    while (core_counter(&n, 0, "streams-resumed") < 1 ||
           core_counter(&n, 1, "streams-resumed") < 1) {
        vtoe_wait_step(&deadline, "the stream to go on");
    }
    finish(&n);
    g_assert_cmpuint(core_counter(&n, 0, "streams-graceful"), ==, STREAMS);
    net_free(&n);
}

/* One that has sent goes on with another as soon as TCP hears nothing. */
static void test_forgotten_sending(void)
{
    Net n = net_new("tcp", WAITS ",heartbeat-ms=200", &(VtoeRelayShape) { });
    gint64 deadline;

    add_streams(&n, 16 * MiB);
    vtoe_bulk_run_until(n.k, MiB);
    vtoe_relay_forget(n.relay, VTOE_RELAY_DATA);
    deadline = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
    while (core_counter(&n, 0, "streams-resumed") < 1 ||
           core_counter(&n, 1, "streams-resumed") < 1) {
        vtoe_bulk_step(n.k);
        vtoe_wait_step(&deadline, "the stream to go on");
    }
    g_assert_cmpuint(link_sum(&n, 0, "data-silent") +
                     link_sum(&n, 1, "data-silent"), >=, 1);
    finish(&n);
    g_assert_cmpuint(core_counter(&n, 0, "streams-graceful"), ==, STREAMS);
    g_assert_cmpuint(downs(&n, 0) + downs(&n, 1), ==, 0);
    net_free(&n);
}

/* A peer that does not read for longer than that is not taken for one. */
static void test_unread_is_not_forgotten(void)
{
    Net n = net_new("tcp", WAITS ",heartbeat-ms=200,links.0.buffer-size=4096",
                    &(VtoeRelayShape) { });
    VtoeTestStream s = vtoe_pair_connect(n.p, ++n.sid);
    VtoeDriver *d = host(&n, 0)->d;
    uint64_t src = vtoe_alloc(d, MiB);
    unsigned i;

    /* More than all buffers on the way hold, and the pool of the other end. */
    for (i = 0; i < 32; i++) {
        vtoe_send(d, &d->q[1], s.a, src, MiB);
    }
    /* Two and a half times what TCP has to answer in. */
    g_usleep(5 * G_USEC_PER_SEC);
    for (i = 0; i < 2; i++) {
        g_assert_cmpuint(link_sum(&n, i, "data-silent"), ==, 0);
        g_assert_cmpuint(core_counter(&n, i, "streams-resumed"), ==, 0);
    }
    g_assert_cmpuint(vtoe_open_streams(host(&n, 0)->qts, "nic0"), ==, 1);
    g_assert_cmpuint(vtoe_sid_command(d, VTOE_CMD_ABORT, s.a, 0,
                                      VTOE_REASON_RESET), ==, VTOE_CMD_OK);
    net_free(&n);
}

/* --- A byte is another --------------------------------------------------- */

static unsigned below(Net *n, unsigned limit)
{
    return g_rand_int_range(n->rand, 0, limit);
}

/* To be done under load: control or frame connection, either direction. */
static VtoeRelayDamage any_damage(Net *n)
{
    return (VtoeRelayDamage) {
        .kind = below(n, 2) ? VTOE_RELAY_CONTROL : VTOE_RELAY_FRAME,
        .way = below(n, 2),
        .skip = below(n, 8),
        .at = below(n, 40),
        .value = 1 << below(n, 8),
        .insert = below(n, 2),
    };
}

/*
 * Where a peer is kept to a value (docs/specs/vnet-wire.rst, "Encoding"): the
 * length, what has a limit, what is zero.
 */
static void where_it_is_seen(Net *n, VtoeRelayDamage *d)
{
    static const unsigned control[] = { 0, 1, 2, 3 };
    static const unsigned frame[] = { 0, 4, 8, 9, 19, 23 };

    if (!d->insert) {
        d->at = d->kind == VTOE_RELAY_CONTROL ?
                control[below(n, ARRAY_SIZE(control))] :
                frame[below(n, ARRAY_SIZE(frame))];
        d->value = 0x40;
    }
}

static void say_damage(const VtoeRelayDamage *d, unsigned round)
{
    g_test_message("round %u: kind %u, way %u, %u further, byte %u, %s 0x%02x",
                   round, d->kind, d->way, d->skip, d->at,
                   d->insert ? "in front" : "XOR", d->value);
}

/*
 * One that breaks the rules, or puts all that follows out of place, is counted
 * by who reads it.  The link is closed, its streams are reset, and it is back.
 */
static void test_damage_seen(void)
{
    Net n = net_new("unix", WAITS, &(VtoeRelayShape) { });
    unsigned i;

    for (i = 0; i < 20; i++) {
        VtoeRelayDamage d = any_damage(&n);
        unsigned by = seer(d.way);
        uint64_t bad = link_sum(&n, by, "bad-");
        uint64_t other = link_sum(&n, !by, "bad-");

        where_it_is_seen(&n, &d);
        say_damage(&d, i);
        add_streams(&n, ENDLESS);
        vtoe_bulk_run_until(n.k, vtoe_bulk_got(n.k, 0) + 100000);
        vtoe_bulk_may_lose(n.k);
        vtoe_relay_damage(n.relay, &d);
        CARRY_UNTIL(&n, link_sum(&n, by, "bad-") > bad);
        vtoe_bulk_wait_lost_at(n.k, by, VTOE_REASON_PROTOCOL);
        vtoe_bulk_wait_lost_at(n.k, !by, VTOE_REASON_LINK_LOST);
        wait_up(&n);
        g_assert_cmpuint(link_sum(&n, by, "bad-"), ==, bad + 1);
        g_assert_cmpuint(link_sum(&n, !by, "bad-"), ==, other);
    }
    g_assert_cmpuint(core_counter(&n, 0, "reset-violation") +
                     core_counter(&n, 1, "reset-violation"), ==, i * STREAMS);
    net_free(&n);
}

/*
 * One anywhere may be a value like another.  Whatever comes of it, and of a cut
 * behind it, what a stream carries is right, it ends, and there are new ones.
 */
static void test_damage_anywhere(void)
{
    Net n = net_new("unix", WAITS, &(VtoeRelayShape) { });
    uint64_t resumed = 0;
    unsigned i;

    for (i = 0; i < 20; i++) {
        VtoeRelayDamage d = any_damage(&n);

        say_damage(&d, i);
        add_streams(&n, 2 * MiB);
        vtoe_bulk_may_lose(n.k);
        vtoe_relay_damage(n.relay, &d);
        CARRY_UNTIL(&n, vtoe_relay_damaged(n.relay));
        vtoe_relay_cut(n.relay);
        vtoe_relay_mend(n.relay);
        vtoe_bulk_run_or_lose(n.k, VTOE_BULK_ANY_REASON);
        wait_up(&n);
    }
    resumed = core_counter(&n, 0, "streams-resumed");
    g_test_message("%" PRIu64 " of %u streams went on", resumed, n.sid);
    net_free(&n);
}

/*
 * With TLS each one is seen, in data, too, where nothing else would see it:
 * that stream is reset.  Of the other connections the link is lost, and the
 * streams go on.
 */
static void test_damage_tls(void)
{
    Net n = net_new("tls", WAITS ",heartbeat-ms=100", &(VtoeRelayShape) { });
    unsigned i;

    for (i = 0; i < 6; i++) {
        VtoeRelayDamage d = any_damage(&n);
        uint64_t lost = link_sum(&n, seer(d.way), "lost-");

        d.at = below(&n, 500);
        say_damage(&d, i);
        add_streams(&n, 3 * MiB);
        vtoe_relay_damage(n.relay, &d);
        CARRY_UNTIL(&n, link_sum(&n, seer(d.way), "lost-") > lost);
        wait_up(&n);
        finish(&n);
    }
    g_assert_cmpuint(core_counter(&n, 0, "reset-link-lost"), ==, 0);
    g_assert_cmpuint(core_counter(&n, 0, "streams-resumed"), >=,
                     i * STREAMS);
    g_assert_cmpuint(link_sum(&n, 0, "bad-") + link_sum(&n, 1, "bad-"), ==, 0);
    net_free(&n);
}

static void test_damage_tls_data(void)
{
    Net n = net_new("tls", "", &(VtoeRelayShape) { });
    unsigned i, end;

    for (i = 0; i < 3; i++) {
        VtoeRelayDamage d = any_damage(&n);
        uint64_t which;

        d.kind = VTOE_RELAY_DATA;
        d.at = below(&n, 200000);
        say_damage(&d, i);
        add_streams(&n, 3 * MiB);
        vtoe_bulk_may_lose(n.k);
        vtoe_relay_damage(n.relay, &d);
        CARRY_UNTIL(&n, (which = vtoe_bulk_ended(n.k)));
        g_assert(is_power_of_2(which));
        vtoe_bulk_wait_lost_of(n.k, which, VTOE_REASON_LINK_LOST);
        finish(&n);
    }
    /* Who did not see it was told. */
    for (end = 0; end < 2; end++) {
        g_assert_cmpuint(core_counter(&n, end, "reset-link-lost") +
                         core_counter(&n, end, "reset-peer"), ==, i);
    }
    g_assert_cmpuint(downs(&n, 0) + downs(&n, 1), ==, 0);
    net_free(&n);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/relay/pieces", test_pieces);
    qtest_add_func("/vtoe/relay/slow", test_slow);
    qtest_add_func("/vtoe/relay/half-close/link", test_half_closed_link);
    qtest_add_func("/vtoe/relay/half-close/stream", test_half_closed_stream);
    qtest_add_func("/vtoe/relay/half-close/stream-ends",
                   test_half_closed_stream_ends);
    qtest_add_func("/vtoe/relay/forgotten/link", test_forgotten_link);
    qtest_add_func("/vtoe/relay/forgotten/stream", test_forgotten_stream);
    qtest_add_func("/vtoe/relay/forgotten/sending", test_forgotten_sending);
    qtest_add_func("/vtoe/relay/forgotten/unread", test_unread_is_not_forgotten);
    qtest_add_func("/vtoe/relay/damage/seen", test_damage_seen);
    qtest_add_func("/vtoe/relay/damage/anywhere", test_damage_anywhere);
    qtest_add_func("/vtoe/relay/damage/tls", test_damage_tls);
    qtest_add_func("/vtoe/relay/damage/tls-data", test_damage_tls_data);
    return g_test_run();
}
