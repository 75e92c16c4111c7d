/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a link is for, over whichever VTOE_LINK names: the six events of the
 * paper, each provoked by what causes it and seen once; streams of any length
 * and number, both ways at once, with every byte compared.
 *
 * In a host with RDMA (tests/rdma/test_link.py) the environment says more:
 *      VTOE_RDMA_DEVICES   the devices, "rxe0" or "rxe0,rxe1": their own
 *                          counters have to show that no receiver was ever
 *                          not ready
 *      VTOE_CUT, VTOE_MEND commands that cut the wire between the hosts, and
 *                          put it together again
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vnet-rawpeer.h"
#include "vtoe-bulk.h"

#define MEMORY_MIB      96
/* Streams, and how often they outlive their link. */
#define RESUMED         4
#define CUTS            3

/* --- The devices --------------------------------------------------------- */

static char **devices(void)
{
    return g_strsplit(g_getenv("VTOE_RDMA_DEVICES") ?: "", ",", -1);
}

/* Of all devices together; 0 when there is none. */
static uint64_t hw_counter(const char *name)
{
    g_auto(GStrv) names = devices();
    uint64_t sum = 0;
    unsigned i;

    for (i = 0; names[i] && names[i][0]; i++) {
        g_autofree char *path = g_strdup_printf(
            "/sys/class/infiniband/%s/ports/1/hw_counters/%s", names[i], name);
        g_autofree char *text = NULL;

        g_assert(g_file_get_contents(path, &text, NULL, NULL));
        sum += g_ascii_strtoull(text, NULL, 10);
    }
    return sum;
}

/* Over a pair's life no receiver was not ready. */
static void assert_receivers_ready(void)
{
    g_assert_cmpuint(hw_counter("rcvd_rnr_err"), ==, 0);
    g_assert_cmpuint(hw_counter("send_rnr_err"), ==, 0);
}

static void assert_nothing_copied(VtoePair *p)
{
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "bytes_copied"), ==, 0);
    g_assert_cmpuint(vtoe_counter(p->b.qts, "nic0", "bytes_copied"), ==, 0);
}

static VtoePair *pair_start(void)
{
    VtoePair *p = vtoe_pair_boot_shared(MEMORY_MIB, "");

    vtoe_pair_bring_up(p);
    return p;
}

/* --- Events -------------------------------------------------------------- */

/* Types of events that are about one SID. */
static bool about_stream(unsigned type)
{
    return type >= VTOE_EVENT_CONNECT_REQUEST &&
           type <= VTOE_EVENT_PEER_SHUTDOWN;
}

/* All that was said about streams has been waited for by now. */
static void assert_no_more_events(VtoeDriver *d)
{
    struct vtoe_event *ev;
    GList *l;

    vtoe_have_event(d, VTOE_EVENT_COMMAND_DONE, 0);     /* takes all in */
    for (l = d->events->head; l; l = l->next) {
        ev = l->data;
        if (about_stream(ev->type)) {
            g_error("event %u (reason %u) of SID 0x%x is one too many",
                    ev->type, ev->reason, ev->sid);
        }
    }
}

static void expect(VtoeDriver *d, unsigned type, uint32_t sid, unsigned reason)
{
    g_assert_cmpuint(vtoe_wait_event_of(d, type, sid).reason, ==, reason);
}

static void end_of_event_test(VtoePair *p)
{
    vtoe_wait_no_streams(&p->a);
    assert_no_more_events(p->a.d);
    if (!p->b.killed) {
        vtoe_wait_no_streams(&p->b);
        assert_no_more_events(p->b.d);
    }
    vtoe_pair_quit(p);
    assert_receivers_ready();
}

/* Connect_Request and Connect_Established: a connects, b accepts. */
static void test_request_and_established(void)
{
    VtoePair *p = pair_start();
    struct vtoe_event req;

    vtoe_pair_listen(p);
    req = vtoe_pair_request(p, 1);
    assert_no_more_events(p->a.d);      /* not before b has accepted */
    g_assert_cmpuint(vtoe_accept(p->b.d, req.sid, 1, VTOE_TEST_CREDIT), ==,
                     VTOE_CMD_OK);
    expect(p->b.d, VTOE_EVENT_CONNECT_ESTABLISHED, req.sid, VTOE_REASON_NONE);
    expect(p->a.d, VTOE_EVENT_CONNECT_ESTABLISHED, 1, VTOE_REASON_NONE);
    assert_no_more_events(p->a.d);
    assert_no_more_events(p->b.d);

    g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_ABORT, 1, 0,
                                      VTOE_REASON_RESET), ==, VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_DISCONNECTED, 1, VTOE_REASON_RESET);
    expect(p->b.d, VTOE_EVENT_DISCONNECTED, req.sid, VTOE_REASON_RESET);
    end_of_event_test(p);
}

/* Disconnected: both close; one closes first, the other later. */
static void test_disconnected(void)
{
    VtoePair *p = pair_start();
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 5000);
    g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_CLOSE, s.a, 5000, 0),
                     ==, VTOE_CMD_OK);
    /* The active close alone ends nothing. */
    g_assert_cmpuint(vtoe_wait_comp(p->b.d, &p->b.d->q[1]).flags, ==,
                     VTOE_COMP_F_END);
    assert_no_more_events(p->a.d);
    assert_no_more_events(p->b.d);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_CLOSE, s.b, 0, 0), ==,
                     VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_DISCONNECTED, s.a, VTOE_REASON_NONE);
    expect(p->b.d, VTOE_EVENT_DISCONNECTED, s.b, VTOE_REASON_NONE);
    end_of_event_test(p);
}

/* Disconnected, because the peer is gone with an open stream. */
static void test_disconnected_by_crash(void)
{
    VtoePair *p = pair_start();
    VtoeTestStream s;

    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 5000);
    vtoe_host_kill(&p->b);
    expect(p->a.d, VTOE_EVENT_DISCONNECTED, s.a, VTOE_REASON_LINK_LOST);
    vtoe_assert_monitor(p->a.qts);
    end_of_event_test(p);
}

/* Address_Error: nobody has the address; who has it takes no streams. */
static void test_address_error(void)
{
    VtoePair *p = vtoe_pair_boot_shared(MEMORY_MIB, "");
    struct vtoe_flow nobody = vtoe_flow4(vtoe_mac_a, 1, 1, vtoe_mac_none, 9,
                                         80);
    struct vtoe_flow b = vtoe_pair_flow(1);

    vtoe_start(p->a.d, 2, VTOE_TEST_RING);
    vtoe_start_with(p->b.d, 0, 1, VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &nobody, 0), ==, VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_ADDRESS_ERROR, 1, VTOE_REASON_NO_PEER);
    g_assert_cmpuint(vtoe_connect(p->a.d, 2, 1, &b, 0), ==, VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_ADDRESS_ERROR, 2, VTOE_REASON_NO_STREAMS);
    end_of_event_test(p);
}

/* Connect_Rejected: nobody listens; the guest says no. */
static void test_connect_rejected(void)
{
    VtoePair *p = pair_start();
    struct vtoe_flow flow = vtoe_pair_flow(1);
    struct vtoe_event req;

    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_CONNECT_REJECTED, 1, VTOE_REASON_NO_LISTENER);
    vtoe_pair_listen(p);
    req = vtoe_pair_request(p, 2);
    g_assert_cmpuint(vtoe_sid_command(p->b.d, VTOE_CMD_REJECT, req.sid, 0,
                                      VTOE_REASON_POLICY), ==, VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_CONNECT_REJECTED, 2, VTOE_REASON_POLICY);
    end_of_event_test(p);
}

/* Unreachable: the peer dies before it has answered. */
static void test_unreachable_by_crash(void)
{
    VtoePair *p = pair_start();

    vtoe_pair_listen(p);
    vtoe_pair_request(p, 1);
    vtoe_host_kill(&p->b);
    expect(p->a.d, VTOE_EVENT_UNREACHABLE, 1, VTOE_REASON_LINK_LOST);
    end_of_event_test(p);
}

static bool link_is_up(VtoeHost *h)
{
    QDict *rsp = qtest_qmp(h->qts, "{ 'execute': 'query-vnet' }");
    QDict *net = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    QDict *link = qobject_to(QDict, qlist_peek(qdict_get_qlist(net, "links")));
    bool up = g_str_equal(qdict_get_str(link, "state"), "up");

    qobject_unref(rsp);
    return up;
}

static void wait_link_lost(VtoeHost *h)
{
    gint64 deadline = 0;

    while (link_is_up(h)) {
        vtoe_wait_step(&deadline, "the link to be lost");
    }
}

/* Unreachable: the link is down already. */
static void test_unreachable_without_link(void)
{
    VtoePair *p = pair_start();
    struct vtoe_flow flow = vtoe_pair_flow(1);

    vtoe_host_kill(&p->b);
    wait_link_lost(&p->a);
    g_assert_cmpuint(vtoe_connect(p->a.d, 1, 1, &flow, 0), ==, VTOE_CMD_OK);
    expect(p->a.d, VTOE_EVENT_UNREACHABLE, 1, VTOE_REASON_LINK_DOWN);
    end_of_event_test(p);
}

static void run(const char *variable)
{
    g_autoptr(GError) err = NULL;
    int status;

    if (!g_spawn_command_line_sync(g_getenv(variable), NULL, NULL, &status,
                                   &err)) {
        g_error("%s: %s", variable, err->message);
    }
    g_assert_cmpint(status, ==, 0);
}

/*
 * Unreachable: the wire is cut while a waits for the answer.  Put together
 * again, it carries streams.
 */
static void test_unreachable_by_cut_wire(void)
{
    VtoePair *p = pair_start();
    struct vtoe_event req;
    VtoeTestStream s;

    vtoe_pair_listen(p);
    req = vtoe_pair_request(p, 1);
    run("VTOE_CUT");
    expect(p->a.d, VTOE_EVENT_UNREACHABLE, 1, VTOE_REASON_LINK_LOST);
    expect(p->b.d, VTOE_EVENT_DISCONNECTED, req.sid, VTOE_REASON_LINK_LOST);
    vtoe_assert_monitor(p->a.qts);
    vtoe_assert_monitor(p->b.qts);
    run("VTOE_MEND");
    vtoe_wait_link_up(p->a.qts, "n0");
    vtoe_wait_link_up(p->b.qts, "n0");
    vtoe_pair_wait_streams(p);
    s = vtoe_pair_connect(p, 2);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 5000);
    vtoe_pair_transfer(p->b.d, s.b, p->a.d, s.a, 0, 5000);
    vtoe_pair_quit(p);
    assert_receivers_ready();
}

/*
 * Streams wait for the wire to be put together again, and go on: what was on its
 * way when it was cut is there once, whether its acknowledgement was lost or not.
 */
static void test_resumed_after_cut_wire(void)
{
    VtoePair *p = vtoe_pair_boot_netdevs(MEMORY_MIB, ",resume-ms=600000");
    VtoeBulk *k;
    unsigned i;

    vtoe_pair_bring_up(p);
    vtoe_pair_listen(p);
    k = vtoe_bulk_new(p, 64, 16 * KiB);
    for (i = 0; i < RESUMED; i++) {
        vtoe_bulk_add(k, vtoe_pair_connect(p, i + 1), 4 * MiB, 4 * MiB);
    }
    for (i = 1; i <= CUTS; i++) {
        vtoe_bulk_run_until(k, i * 3 * MiB);
        run("VTOE_CUT");
        /* What was sent meanwhile is lost. */
        vtoe_bulk_step(k);
        vnet_wait_core_counter(p->a.qts, "n0", "streams-parked", i * RESUMED);
        vnet_wait_core_counter(p->b.qts, "n0", "streams-parked", i * RESUMED);
        run("VTOE_MEND");
        vnet_wait_core_counter(p->a.qts, "n0", "streams-resumed", i * RESUMED);
        vnet_wait_core_counter(p->b.qts, "n0", "streams-resumed", i * RESUMED);
    }
    vtoe_bulk_run(k);
    vtoe_bulk_close(k);
    assert_nothing_copied(p);
    vtoe_bulk_free(k);
    vtoe_pair_quit(p);
    assert_receivers_ready();
}

/* --- Streams ------------------------------------------------------------- */

/* How many streams are being opened at once. */
#define CONNECT_BATCH   16

static void assert_answered(VtoeDriver *d, const uint32_t *tags, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        g_assert_cmpuint(vtoe_wait_answer(d, tags[i]).reason, ==, VTOE_CMD_OK);
    }
}

/* Opens streams[from] to streams[to - 1]; a's SIDs count from 1. */
static void connect_batch(VtoePair *p, VtoeTestStream *s, unsigned from,
                          unsigned to)
{
    struct vtoe_cmd cmd = {
        .pair = cpu_to_le32(1),
        .value = cpu_to_le64(VTOE_TEST_CREDIT),
    };
    uint32_t connects[CONNECT_BATCH] = { }, accepts[CONNECT_BATCH] = { };
    unsigned i;

    for (i = from; i < to; i++) {
        s[i].a = i + 1;
        cmd.op = VTOE_CMD_CONNECT;
        cmd.sid = cpu_to_le32(s[i].a);
        cmd.flow = vtoe_pair_flow(10000 + i);
        connects[i - from] = vtoe_command_post(p->a.d, &cmd);
    }
    cmd.flow = (struct vtoe_flow) { };
    for (i = from; i < to; i++) {
        struct vtoe_event ev = vtoe_wait_event(p->b.d,
                                               VTOE_EVENT_CONNECT_REQUEST);
        unsigned which = le16_to_cpu(ev.u.flow.rport) - 10000;

        g_assert_cmpuint(which, <, to);
        g_assert_cmphex(s[which].b, ==, 0);
        s[which].b = ev.sid;
        cmd.op = VTOE_CMD_ACCEPT;
        cmd.sid = cpu_to_le32(ev.sid);
        accepts[i - from] = vtoe_command_post(p->b.d, &cmd);
    }
    assert_answered(p->a.d, connects, to - from);
    assert_answered(p->b.d, accepts, to - from);
    for (i = from; i < to; i++) {
        expect(p->a.d, VTOE_EVENT_CONNECT_ESTABLISHED, s[i].a,
               VTOE_REASON_NONE);
        expect(p->b.d, VTOE_EVENT_CONNECT_ESTABLISHED, s[i].b,
               VTOE_REASON_NONE);
    }
}

static VtoeTestStream *connect_many(VtoePair *p, unsigned n)
{
    VtoeTestStream *s = g_new0(VtoeTestStream, n);
    unsigned i;

    g_assert_cmpuint(vtoe_listen(p->b.d, 1, VTOE_TEST_PORT, CONNECT_BATCH), ==,
                     VTOE_CMD_OK);
    for (i = 0; i < n; i += CONNECT_BATCH) {
        connect_batch(p, s, i, MIN(i + CONNECT_BATCH, n));
    }
    return s;
}

/* KiB, of a line of /proc/PID/status or /proc/meminfo. */
static int64_t kib(pid_t pid, const char *key)
{
    g_autofree char *path = pid ? g_strdup_printf("/proc/%d/status", (int)pid) :
                            g_strdup("/proc/meminfo");
    g_autofree char *text = NULL;
    const char *line;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, key);
    g_assert(line);
    return g_ascii_strtoll(line + strlen(key), NULL, 10);
}

/*
 * What streams cost: in a, of its memory that is no guest's; in the kernel of
 * a's and b's host, slab objects and the rest (an adapter's queues).
 */
typedef struct Cost {
    int64_t own, pinned, slab, vmalloc;
} Cost;

static Cost cost_now(VtoePair *p)
{
    pid_t pid = qtest_pid(p->a.qts);

    return (Cost) {
        .own = kib(pid, "RssAnon:"),
        .pinned = kib(pid, "VmPin:"),
        .slab = kib(0, "Slab:"),
        .vmalloc = kib(0, "VmallocUsed:"),
    };
}

static void tell_cost(const Cost *a, const Cost *b, unsigned n)
{
    g_test_message("a stream costs %.1f KiB of QEMU's; at both ends together "
                   "%.1f KiB of slab, %.1f KiB of vmalloc; %" PRId64 " MiB are "
                   "pinned, before %" PRId64, (double)(b->own - a->own) / n,
                   (double)(b->slab - a->slab) / n,
                   (double)(b->vmalloc - a->vmalloc) / n, b->pinned / 1024,
                   a->pinned / 1024);
}

/*
 * n streams that carry `each` bytes both ways at once; then all are closed,
 * and the device counts what it carried, copied nothing and has none left.
 */
static void carry(unsigned n, uint64_t each, unsigned buffers, uint32_t size)
{
    VtoePair *p = pair_start();
    g_autofree VtoeTestStream *s = NULL;
    gint64 start;
    double seconds;
    Cost before, opened, carried;
    VtoeBulk *k;
    unsigned i;

    k = vtoe_bulk_new(p, buffers, size);
    before = cost_now(p);
    start = g_get_monotonic_time();
    s = connect_many(p, n);
    seconds = (g_get_monotonic_time() - start) / 1e6;
    opened = cost_now(p);
    g_test_message("%u streams opened in %.2f s", n, seconds);
    for (i = 0; i < n; i++) {
        vtoe_bulk_add(k, s[i], each, each);
    }
    start = g_get_monotonic_time();
    vtoe_bulk_run(k);
    seconds = (g_get_monotonic_time() - start) / 1e6;
    g_test_message("%.1f MB both ways in %.2f s: %.1f MB/s", n * each / 1e6,
                   seconds, 2 * n * each / 1e6 / seconds);
    if (n > 1) {
        carried = cost_now(p);
        tell_cost(&before, &opened, n);
        tell_cost(&before, &carried, n);
    }
    vtoe_bulk_close(k);
    assert_no_more_events(p->a.d);
    assert_no_more_events(p->b.d);
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "tx_stream_bytes"), ==,
                     n * each);
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "rx_stream_bytes"), ==,
                     n * each);
    assert_nothing_copied(p);
    vtoe_bulk_free(k);
    vtoe_pair_quit(p);
    assert_receivers_ready();
}

static void test_length(const void *data)
{
    carry(1, GPOINTER_TO_SIZE(data), 32, 64 * KiB);
}

/* Buffers of 64 KiB at either end, but of other sizes than the peer's. */
static void test_small_buffers(void)
{
    carry(1, 200 * KiB + 1, 64, 1460);
}

static void test_large_buffers(void)
{
    carry(1, 16 * MiB + 1, 8, 1 * MiB);
}

static void test_streams(const void *data)
{
    unsigned n = GPOINTER_TO_SIZE(data);

    carry(n, 8 * MiB / n + 1, 64, 16 * KiB);
}

/* One pair for all lengths: a stream is as good as the first one. */
static void test_streams_one_after_another(void)
{
    VtoePair *p = pair_start();
    VtoeTestStream s;
    unsigned i;

    vtoe_pair_listen(p);
    for (i = 1; i <= 20; i++) {
        s = vtoe_pair_connect(p, i);
        vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, i * 100);
        g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_ABORT, s.a, 0,
                                          VTOE_REASON_RESET), ==, VTOE_CMD_OK);
        expect(p->a.d, VTOE_EVENT_DISCONNECTED, s.a, VTOE_REASON_RESET);
        expect(p->b.d, VTOE_EVENT_DISCONNECTED, s.b, VTOE_REASON_RESET);
        g_assert_cmpuint(vtoe_wait_comp(p->b.d, &p->b.d->q[1]).flags, ==,
                         VTOE_COMP_F_ABORT);
    }
    assert_nothing_copied(p);
    end_of_event_test(p);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        size_t bytes;
    } lengths[] = {
        { "1-byte", 1 }, { "14-bytes", 14 }, { "4096-bytes", 4096 },
        { "65537-bytes", 65537 }, { "1-MiB", 1 * MiB },
        { "64-MiB", 64 * MiB },
    };
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/link/event/connect-request-and-established",
                   test_request_and_established);
    qtest_add_func("/vtoe/link/event/disconnected", test_disconnected);
    qtest_add_func("/vtoe/link/event/disconnected-by-crash",
                   test_disconnected_by_crash);
    qtest_add_func("/vtoe/link/event/address-error", test_address_error);
    qtest_add_func("/vtoe/link/event/unreachable-by-crash",
                   test_unreachable_by_crash);
    qtest_add_func("/vtoe/link/event/unreachable-without-link",
                   test_unreachable_without_link);
    qtest_add_func("/vtoe/link/event/connect-rejected", test_connect_rejected);
    if (g_getenv("VTOE_CUT")) {
        qtest_add_func("/vtoe/link/event/unreachable-by-cut-wire",
                       test_unreachable_by_cut_wire);
        qtest_add_func("/vtoe/link/resumed-after-cut-wire",
                       test_resumed_after_cut_wire);
    }
    for (i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autofree char *path = g_strdup_printf("/vtoe/link/stream/%s",
                                                lengths[i].name);

        qtest_add_data_func(path, GSIZE_TO_POINTER(lengths[i].bytes),
                            test_length);
    }
    qtest_add_func("/vtoe/link/stream/small-buffers", test_small_buffers);
    qtest_add_func("/vtoe/link/stream/large-buffers", test_large_buffers);
    qtest_add_func("/vtoe/link/stream/one-after-another",
                   test_streams_one_after_another);
    qtest_add_data_func("/vtoe/link/streams/64", GSIZE_TO_POINTER(64),
                        test_streams);
    qtest_add_data_func("/vtoe/link/streams/512", GSIZE_TO_POINTER(512),
                        test_streams);
    return g_test_run();
}
