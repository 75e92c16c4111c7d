/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults while bytes move both ways over several streams.  Whatever happens, all
 * that arrives is right, each stream ends once or goes on, the monitor answers,
 * nothing is left, and when the fault is over there are streams again.
 *
 * Over whichever VTOE_LINK names.  In a host with RDMA (tests/rdma/
 * test_faults.py) the environment says more:
 *      VTOE_FAULTS     what else can go wrong there: lines of a name; an
 *                      outcome; two shell commands, which begin the fault and
 *                      end it; and a counter of b's link that counts it, or
 *                      nothing; tabs between them.  Outcomes:
 *                          goes-on         nothing is lost
 *                          streams-lost    the streams, but not the link
 *                          some-lost N...  these streams, counted from 1, and
 *                                          nothing else
 *                          lost            streams and link; it comes again
 *                          over            the same, but it does not
 *                          may-go-on       goes-on or lost, as chance decides
 *      VTOE_STOP_S     seconds for which a peer is stopped
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "vnet-rawpeer.h"
#include "vtoe-bulk.h"

#define MEMORY_MIB  96
#define STREAMS     4
#define BUFFERS     32
#define BUFFER_SIZE (64 * KiB)
/* Bytes each way before a fault, and of streams that live through it. */
#define BEFORE      (512 * KiB)
#define EACH        (1 * MiB)
/* ... and of those that go on while others are lost. */
#define MORE        (4 * MiB)
#define ENDLESS     (1ull << 40)

typedef enum Outcome {
    GOES_ON, STREAMS_LOST, SOME_LOST, LOST, OVER, MAY_GO_ON, OUTCOMES
} Outcome;

typedef struct Fault {
    char *name, *begin, *end, *counter;
    Outcome outcome;
    uint64_t which;                 /* SOME_LOST: a bit for each stream */
} Fault;

typedef struct FaultTest {
    VtoePair *p;
    VtoeBulk *k;
    unsigned streams;               /* opened so far */
    unsigned files_a, files_b;
} FaultTest;

static void add_streams(FaultTest *t, uint64_t each)
{
    unsigned i;

    for (i = 0; i < STREAMS; i++) {
        vtoe_bulk_add(t->k, vtoe_pair_connect(t->p, ++t->streams), each, each);
    }
}

/* Streams that have carried something. */
static void fault_start(FaultTest *t, uint64_t each)
{
    *t = (FaultTest) { .p = vtoe_pair_boot_shared(MEMORY_MIB, "") };
    vtoe_pair_bring_up(t->p);
    vtoe_pair_listen(t->p);
    t->files_a = vtoe_open_files(t->p->a.qts);
    t->files_b = vtoe_open_files(t->p->b.qts);
    t->k = vtoe_bulk_new(t->p, BUFFERS, BUFFER_SIZE);
    add_streams(t, each);
    vtoe_bulk_run_until(t->k, BEFORE);
}

static void fault_end(FaultTest *t)
{
    vtoe_bulk_free(t->k);
    vtoe_pair_quit(t->p);
}

static void wait_files(VtoeHost *h, unsigned most)
{
    gint64 deadline = 0;

    while (vtoe_open_files(h->qts) > most) {
        vtoe_wait_step(&deadline, "files to be closed");
    }
}

/* Streams as before the fault, and nothing left of it. */
static void assert_recovered(FaultTest *t)
{
    vtoe_wait_link_up(t->p->a.qts, "n0");
    vtoe_wait_link_up(t->p->b.qts, "n0");
    vtoe_wait_no_streams(&t->p->a);
    vtoe_wait_no_streams(&t->p->b);
    vtoe_pair_wait_streams(t->p);
    add_streams(t, EACH);
    vtoe_bulk_run(t->k);
    vtoe_bulk_close(t->k);
    wait_files(&t->p->a, t->files_a);
    wait_files(&t->p->b, t->files_b);
}

static void test_peer_killed(void)
{
    FaultTest t;

    fault_start(&t, ENDLESS);
    vtoe_host_kill(&t.p->b);
    vtoe_bulk_wait_lost(t.k, VTOE_REASON_LINK_LOST);
    vtoe_assert_monitor(t.p->a.qts);
    vtoe_wait_no_streams(&t.p->a);
    fault_end(&t);
}

/* One that is stopped says nothing, but the kernel answers for it. */
static void test_peer_stopped(void)
{
    const char *seconds = g_getenv("VTOE_STOP_S");
    gint64 over = g_get_monotonic_time() + (seconds ?
        g_ascii_strtoull(seconds, NULL, 10) : 0) * G_USEC_PER_SEC;
    FaultTest t;

    fault_start(&t, ENDLESS);
    g_assert_cmpint(kill(qtest_pid(t.p->b.qts), SIGSTOP), ==, 0);
    vtoe_bulk_wait_lost_at(t.k, 0, VTOE_REASON_LINK_LOST);
    do {
        vtoe_assert_monitor(t.p->a.qts);
        g_usleep(100000);
    } while (g_get_monotonic_time() < over);
    g_assert_cmpint(kill(qtest_pid(t.p->b.qts), SIGCONT), ==, 0);
    vtoe_bulk_wait_lost_at(t.k, 1, VTOE_REASON_LINK_LOST);
    vtoe_assert_monitor(t.p->b.qts);
    assert_recovered(&t);
    fault_end(&t);
}

static void run(const char *command)
{
    const char *const argv[] = { "/bin/sh", "-c", command, NULL };
    g_autoptr(GError) err = NULL;
    int status;

    if (!g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                      NULL, NULL, &status, &err)) {
        g_error("%s: %s", command, err->message);
    }
    g_assert_cmpint(status, ==, 0);
}

static void assert_link_held(VtoeHost *h)
{
    g_assert_cmpuint(vnet_link_counter(h->qts, "n0", "l0", "downs"), ==, 0);
}

static uint64_t each_of(Outcome outcome)
{
    return outcome == GOES_ON || outcome == MAY_GO_ON ? EACH :
           outcome == SOME_LOST ? MORE : ENDLESS;
}

/* What becomes of the streams. */
static void assert_outcome(FaultTest *t, const Fault *f)
{
    switch (f->outcome) {
    case SOME_LOST:
        vtoe_bulk_wait_lost_of(t->k, f->which, VTOE_REASON_LINK_LOST);
        /* fall through */
    case GOES_ON:
        vtoe_bulk_run(t->k);
        vtoe_bulk_close(t->k);
        break;
    case MAY_GO_ON:
        vtoe_bulk_run_or_lose(t->k, VTOE_REASON_LINK_LOST);
        break;
    default:
        vtoe_bulk_wait_lost(t->k, VTOE_REASON_LINK_LOST);
        break;
    }
}

/* And of the link. */
static void assert_link(FaultTest *t, Outcome outcome)
{
    switch (outcome) {
    case GOES_ON:
    case STREAMS_LOST:
    case SOME_LOST:
        assert_link_held(&t->p->a);
        assert_link_held(&t->p->b);
        break;
    case MAY_GO_ON:
        break;
    default:
        vnet_wait_link_counter(t->p->a.qts, "n0", "l0", "downs", 1);
        vnet_wait_link_counter(t->p->b.qts, "n0", "l0", "downs", 1);
        break;
    }
}

static void test_fault(const void *data)
{
    const Fault *f = data;
    FaultTest t;

    fault_start(&t, each_of(f->outcome));
    run(f->begin);
    assert_outcome(&t, f);
    vtoe_assert_monitor(t.p->a.qts);
    vtoe_assert_monitor(t.p->b.qts);
    vtoe_wait_no_streams(&t.p->a);
    vtoe_wait_no_streams(&t.p->b);
    run(f->end);
    if (f->outcome != OVER) {
        assert_recovered(&t);
    }
    assert_link(&t, f->outcome);
    if (f->counter[0]) {
        vnet_wait_link_counter(t.p->b.qts, "n0", "l0", f->counter, 1);
    }
    fault_end(&t);
}

static void fault_free(void *opaque)
{
    Fault *f = opaque;

    g_free(f->name);
    g_free(f->begin);
    g_free(f->end);
    g_free(f->counter);
    g_free(f);
}

static void fault_outcome(Fault *f, const char *text)
{
    static const char *const names[OUTCOMES] = {
        [GOES_ON] = "goes-on", [STREAMS_LOST] = "streams-lost",
        [SOME_LOST] = "some-lost", [LOST] = "lost", [OVER] = "over",
        [MAY_GO_ON] = "may-go-on",
    };
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    unsigned i;

    while (!g_str_equal(words[0], names[f->outcome])) {
        f->outcome++;
        g_assert_cmpuint(f->outcome, <, OUTCOMES);
    }
    for (i = 1; words[i]; i++) {
        unsigned n = g_ascii_strtoull(words[i], NULL, 10);

        g_assert_cmpuint(n, >=, 1);
        g_assert_cmpuint(n, <=, STREAMS);
        f->which |= 1ull << (n - 1);
    }
    g_assert((f->outcome == SOME_LOST) == (f->which != 0));
}

static void add_faults(void)
{
    g_auto(GStrv) lines = g_strsplit(g_getenv("VTOE_FAULTS") ?: "", "\n", -1);
    unsigned i;

    for (i = 0; lines[i] && lines[i][0]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], "\t", 5);
        g_autofree char *path = NULL;
        Fault *f = g_new0(Fault, 1);

        g_assert_cmpuint(g_strv_length(words), ==, 5);
        f->name = g_strdup(words[0]);
        fault_outcome(f, words[1]);
        f->begin = g_strdup(words[2]);
        f->end = g_strdup(words[3]);
        f->counter = g_strdup(words[4]);
        path = g_strdup_printf("/vtoe/fault/%s", f->name);
        qtest_add_data_func_full(path, f, test_fault, fault_free);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/fault/peer-killed", test_peer_killed);
    qtest_add_func("/vtoe/fault/peer-stopped", test_peer_stopped);
    add_faults();
    return g_test_run();
}
