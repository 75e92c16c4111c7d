/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whoever has much to send leaves room for others: streams for each other,
 * streams for frames and frames for streams, and both for what the link has to
 * say itself.
 *
 * Nothing here is about time, which depends on the machine: what is bounded is
 * how much of one passes while one of the other does.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "vtoe-bulk.h"

#define STREAMS         8
/* More than any test gets to see. */
#define EACH            (512ull * MiB)
#define BUFFERS         64
#define BUFFER          (64 * KiB)
#define FRAME           1514
#define FRAMES_AT_ONCE  32

typedef struct Load {
    VtoePair *p;
    VtoeBulk *k;
    uint64_t out[2], in[2];     /* buffers of frames, of a and b */
    unsigned sent, done, arrived;   /* frames of the flood, from a */
} Load;

static VtoeDriver *driver(Load *l, unsigned end)
{
    return end ? l->p->b.d : l->p->a.d;
}

/* Room for as many frames as are under way at once, at either end. */
static void load_start(Load *l, unsigned streams)
{
    unsigned i, end;

    *l = (Load) { .p = vtoe_pair_boot_shared(96, "") };
    vtoe_pair_bring_up(l->p);
    l->k = vtoe_bulk_new(l->p, BUFFERS, BUFFER);
    vtoe_pair_listen(l->p);
    for (i = 0; i < streams; i++) {
        vtoe_bulk_add(l->k, vtoe_pair_connect(l->p, i + 1), EACH, EACH);
    }
    for (end = 0; end < 2; end++) {
        VtoeDriver *d = driver(l, end);
        const uint8_t *dst = end ? vtoe_mac_a : vtoe_mac_b;
        const uint8_t *src = end ? vtoe_mac_b : vtoe_mac_a;
        uint8_t head[14] = { [12] = 0x88, [13] = 0xb5 };

        l->out[end] = vtoe_alloc(d, FRAME);
        memcpy(head, dst, 6);
        memcpy(head + 6, src, 6);
        qtest_memwrite(d->qts, l->out[end], head, sizeof(head));
        l->in[end] = vtoe_alloc(d, FRAMES_AT_ONCE * 2048);
        for (i = 0; i < FRAMES_AT_ONCE; i++) {
            vtoe_post_recv(d, &d->q[0], l->in[end] + i * 2048, 2048,
                           VTOE_SID_FRAME, i);
        }
        vtoe_kick(d, &d->q[0]);
    }
}

static void load_stop(Load *l)
{
    vtoe_bulk_free(l->k);
    vtoe_pair_quit(l->p);
}

/* Takes what has completed on the frames' rings; returns frames received. */
static unsigned take_frames(Load *l, unsigned end)
{
    VtoeDriver *d = driver(l, end);
    struct vtoe_comp c;
    unsigned n = 0;

    while (vtoe_poll_comp(d, &d->q[0], &c)) {
        if (c.type == VTOE_COMP_SEND) {
            l->done = le64_to_cpu(c.u.offset);      /* so far */
            continue;
        }
        g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
        vtoe_post_recv(d, &d->q[0], l->in[end] + c.id * 2048, 2048,
                       VTOE_SID_FRAME, c.id);
        n++;
    }
    if (n) {
        vtoe_kick(d, &d->q[0]);
    }
    return n;
}

static uint64_t moved(Load *l)
{
    return vtoe_bulk_got(l->k, 0) + vtoe_bulk_got(l->k, 1);
}

/* --- Streams ------------------------------------------------------------- */

/* None gets less than half of what another gets, in either direction. */
static void test_streams(void)
{
    unsigned end, i;
    Load l;

    load_start(&l, STREAMS);
    vtoe_bulk_run_until(l.k, 256 * MiB);
    for (end = 0; end < 2; end++) {
        uint64_t least = UINT64_MAX, most = 0;

        for (i = 0; i < STREAMS; i++) {
            uint64_t got = vtoe_bulk_got_of(l.k, end, i);

            least = MIN(least, got);
            most = MAX(most, got);
        }
        g_test_message("of %u streams one got %.1f MB, another %.1f",
                       STREAMS, least / 1e6, most / 1e6);
        g_assert_cmpuint(2 * least, >=, most);
    }
    load_stop(&l);
}

/* --- Frames beside streams ----------------------------------------------- */

/* While a frame goes to the other end and back, streams move so much at most. */
#define PER_ROUND   (64ull * MiB)
#define ROUNDS      200

static void test_frames_beside_streams(void)
{
    uint64_t most = 0, began;
    unsigned i;
    Load l;

    load_start(&l, STREAMS);
    vtoe_bulk_run_until(l.k, 8 * MiB);
    began = moved(&l);
    for (i = 0; i < ROUNDS; i++) {
        uint64_t before = moved(&l);

        vtoe_send(l.p->a.d, &l.p->a.d->q[0], VTOE_SID_FRAME, l.out[0], FRAME);
        while (!take_frames(&l, 1)) {
            vtoe_bulk_step(l.k);
            g_assert_cmpuint(moved(&l) - before, <, PER_ROUND);
        }
        vtoe_send(l.p->b.d, &l.p->b.d->q[0], VTOE_SID_FRAME, l.out[1], FRAME);
        while (!take_frames(&l, 0)) {
            vtoe_bulk_step(l.k);
            g_assert_cmpuint(moved(&l) - before, <, PER_ROUND);
        }
        most = MAX(most, moved(&l) - before);
    }
    g_test_message("%u frames and back while streams moved %.0f MB, %.1f MB "
                   "during the slowest", ROUNDS, (moved(&l) - began) / 1e6,
                   most / 1e6);
    /* The streams were not idle. */
    g_assert_cmpuint(moved(&l) - began, >, 8 * MiB);
    load_stop(&l);
}

/* --- Streams beside frames ----------------------------------------------- */

/* Keeps as many frames under way from a to b as there is room for. */
static void flood(Load *l)
{
    VtoeDriver *d = l->p->a.d;

    take_frames(l, 0);
    l->arrived += take_frames(l, 1);
    while (l->sent - l->done < FRAMES_AT_ONCE) {
        struct vtoe_send_desc desc = {
            .addr = cpu_to_le64(l->out[0]),
            .len = cpu_to_le32(FRAME),
            .sid = cpu_to_le32(VTOE_SID_FRAME),
            .op = VTOE_SEND_DATA,
        };

        vtoe_post_send(d, &d->q[0], &desc);
        l->sent++;
    }
    vtoe_kick(d, &d->q[0]);
}

/* So many frames pass at most while streams move a MiB. */
#define FRAMES_PER_MIB  4000

static void test_streams_beside_frames(void)
{
    uint64_t before, bytes = 64 * MiB;
    unsigned frames;
    Load l;

    load_start(&l, 1);
    while (l.arrived < 1000) {
        flood(&l);
    }
    before = moved(&l);
    frames = l.arrived;
    while (moved(&l) - before < bytes) {
        flood(&l);
        vtoe_bulk_step(l.k);
        g_assert_cmpuint(l.arrived - frames, <=,
                         (moved(&l) - before + 4 * MiB) / MiB * FRAMES_PER_MIB);
    }
    g_test_message("a stream moved %.0f MB while %u frames passed",
                   (moved(&l) - before) / 1e6, l.arrived - frames);
    g_assert_cmpuint(l.arrived, >, frames);
    load_stop(&l);
}

/* --- What the link has to say -------------------------------------------- */

/* While the peer is asked for a stream and says no, so much moves at most. */
#define PER_ANSWER  (128ull * MiB)
#define ANSWERS     50

static void test_control_beside_both(void)
{
    uint64_t most = 0;
    unsigned i;
    Load l;

    load_start(&l, STREAMS);
    vtoe_bulk_run_until(l.k, 8 * MiB);
    for (i = 0; i < ANSWERS; i++) {
        struct vtoe_flow flow = vtoe_flow4(vtoe_mac_a, 1, 40000 + i,
                                           vtoe_mac_b, 2, VTOE_TEST_PORT + 1);
        uint64_t before = moved(&l);
        uint32_t sid = 1000 + i;

        g_assert_cmpuint(vtoe_connect(l.p->a.d, sid, 1, &flow,
                                      VTOE_TEST_CREDIT), ==, VTOE_CMD_OK);
        while (!vtoe_have_event(l.p->a.d, VTOE_EVENT_CONNECT_REJECTED, sid)) {
            flood(&l);
            vtoe_bulk_step(l.k);
            g_assert_cmpuint(moved(&l) - before, <, PER_ANSWER);
        }
        vtoe_wait_event_of(l.p->a.d, VTOE_EVENT_CONNECT_REJECTED, sid);
        most = MAX(most, moved(&l) - before);
    }
    g_test_message("%u answers, %.1f MB of streams moved during the slowest",
                   ANSWERS, most / 1e6);
    load_stop(&l);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vtoe/fair/streams", test_streams);
    g_test_add_func("/vtoe/fair/frames-beside-streams",
                    test_frames_beside_streams);
    g_test_add_func("/vtoe/fair/streams-beside-frames",
                    test_streams_beside_frames);
    g_test_add_func("/vtoe/fair/control-beside-both",
                    test_control_beside_both);
    return g_test_run();
}
