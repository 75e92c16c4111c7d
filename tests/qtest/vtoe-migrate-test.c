/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration: to a file and from it.  The device's state comes back, and the
 * device goes on where it was; streams block; a stream of state that was
 * tampered with is refused, or accepted, but never the end of QEMU.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqos/libqos-pc.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "vtoe-pair.h"
#include "vtoe-tmp.h"

#define NETDEV "vnet"
/* Every byte of the device's section is flipped that divides by this. */
#define FLIP_STEP 5

/* --- Helpers ------------------------------------------------------------- */

static char *migration_status(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-migrate' }");
    char *status = g_strdup(qdict_get_try_str(rsp, "status"));

    qobject_unref(rsp);
    return status ?: g_strdup("none");
}

static void wait_migration(QTestState *qts, const char *wanted)
{
    gint64 deadline = 0;

    for (;;) {
        g_autofree char *status = migration_status(qts);

        if (g_str_equal(status, wanted)) {
            return;
        }
        vtoe_wait_step(&deadline, "the migration to end");
    }
}

static void save_to(QTestState *qts, const char *file)
{
    g_autofree char *uri = g_strdup_printf("file:%s", file);

    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', 'arguments': {"
                             " 'uri': %s } }", uri);
    wait_migration(qts, "completed");
}

/*
 * A QEMU like the saved one, running what was saved.  The driver's view of the
 * device is the old one's.
 */
static void load_on(VtoeHost *to, VtoeHost *from, const char *file,
                    const char *netdev)
{
    g_autofree char *uri = g_strdup_printf("file:%s", file);
    VtoeDriver *d = from->d;

    *to = (VtoeHost) { };
    to->qs = qtest_pc_boot("-machine pc -nodefaults -netdev %s,id=n0 "
                           "-device " VTOE_NIC_A " -incoming defer", netdev);
    to->qts = to->qs->qts;
    qtest_qmp_assert_success(to->qts, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s } }", uri);
    wait_migration(to->qts, "completed");
    /* The BARs are where they were: only whom to ask changes. */
    to->pci = g_memdup2(from->pci, sizeof(*from->pci));
    to->pci->bus = to->qs->pcibus;
    to->d = g_memdup2(d, sizeof(*d));
    to->d->events = g_queue_new();
    d->rings = g_array_new(false, false, sizeof(uint64_t));
    to->d->qts = to->qts;
    to->d->pci = to->pci;
    migrate_allocator(&from->qs->alloc, &to->qs->alloc);
    to->d->alloc = &to->qs->alloc;
}

static void load_from(VtoeHost *to, VtoeHost *from, const char *file)
{
    load_on(to, from, file, NETDEV);
}

typedef struct Registers {
    uint32_t reg[VTOE_REG_END / 4];
    uint32_t queue[3][(VTOE_REG_QUEUE_ENABLE - VTOE_REG_SEND_SIZE) / 4 + 1];
} Registers;

static void dump(VtoeDriver *d, Registers *r)
{
    static const uint32_t select[3] = { 0, 1, VTOE_QUEUE_CONTROL };
    uint32_t saved = vtoe_rd(d, VTOE_REG_QUEUE_SELECT);
    unsigned i, reg;

    for (reg = 0; reg < VTOE_REG_END; reg += 4) {
        r->reg[reg / 4] = vtoe_rd(d, reg);
    }
    for (i = 0; i < 3; i++) {
        vtoe_wr(d, VTOE_REG_QUEUE_SELECT, select[i]);
        for (reg = VTOE_REG_SEND_SIZE; reg <= VTOE_REG_QUEUE_ENABLE; reg += 4) {
            r->queue[i][(reg - VTOE_REG_SEND_SIZE) / 4] = vtoe_rd(d, reg);
        }
    }
    vtoe_wr(d, VTOE_REG_QUEUE_SELECT, saved);
}

/* --- State --------------------------------------------------------------- */

/* In each state of bring-up, all registers come back. */
static void state_comes_back(unsigned stage)
{
    char *dir = vtoe_tmp_dir("vtoe-migrate");
    g_autofree char *file = g_build_filename(dir, "state", NULL);
    VtoeHost from, to;
    Registers before, after;
    VtoeTestQueue q;

    vtoe_host_boot(&from, "pc", NETDEV, VTOE_NIC_A);
    vtoe_msix_enable(from.d);
    if (stage >= 1) {
        vtoe_negotiate(from.d, VTOE_F_STREAM | VTOE_F_CSUM);
    }
    if (stage >= 2) {
        vtoe_queue_alloc(from.d, &q, VTOE_QUEUE_CONTROL, 16);
        g_assert_cmpuint(vtoe_queue_enable(from.d, &q), ==, 1);
    }
    if (stage >= 3) {
        vtoe_start(from.d, 2, 32);
        vtoe_wr(from.d, VTOE_REG_RX_FILTER, VTOE_RX_PROMISC);
        vtoe_wr(from.d, VTOE_REG_CUR_MAC_LO, 0x33221102);
        vtoe_wr(from.d, VTOE_REG_CUR_MAC_HI, 0x5544);
    }
    if (stage >= 4) {
        qtest_writel(from.qts, from.d->q[0].ctrl, 1000);
        vtoe_doorbell(from.d, 0);
        while (!vtoe_rd(from.d, VTOE_REG_VIOLATION)) {
            g_usleep(100);
        }
    }
    dump(from.d, &before);
    save_to(from.qts, file);
    load_from(&to, &from, file);
    dump(to.d, &after);
    g_assert_cmpmem(&before, sizeof(before), &after, sizeof(after));
    vtoe_host_quit(&to);
    vtoe_host_quit(&from);
    vtoe_tmp_remove(dir);
}

static void test_state_comes_back(const void *stage)
{
    state_comes_back(GPOINTER_TO_UINT(stage));
}

/* Rings, receive buffers and listeners work on at the destination. */
static void test_work_goes_on(void)
{
    char *dir = vtoe_tmp_dir("vtoe-migrate");
    g_autofree char *file = g_build_filename(dir, "state", NULL);
    VtoeHost from, to;
    uint64_t buf;
    unsigned i;

    vtoe_host_boot(&from, "pc", NETDEV, VTOE_NIC_A);
    vtoe_msix_enable(from.d);
    vtoe_start(from.d, 2, 16);
    buf = vtoe_alloc(from.d, 4096);
    for (i = 0; i < 5; i++) {
        vtoe_send(from.d, &from.d->q[0], 0, buf, 64);
        g_assert_cmpuint(vtoe_wait_comp(from.d, &from.d->q[0]).u.offset, ==,
                         i + 1);
    }
    g_assert_cmpuint(vtoe_listen(from.d, 1, 80, 1), ==, VTOE_CMD_OK);
    g_assert_cmpuint(vtoe_listen(from.d, 2, 81, 1), ==, VTOE_CMD_OK);
    save_to(from.qts, file);

    load_from(&to, &from, file);
    for (i = 5; i < 40; i++) {
        struct vtoe_comp c;

        vtoe_send(to.d, &to.d->q[0], 0, buf, 64);
        do {
            c = vtoe_wait_comp(to.d, &to.d->q[0]);
        } while (c.u.offset == 5);      /* the last one may be repeated */
        g_assert_cmpuint(c.u.offset, ==, i + 1);
    }
    vtoe_wait_msix(to.d, 1);
    g_assert_cmpuint(vtoe_listen(to.d, 2, 82, 1), ==, VTOE_CMD_EXISTS);
    g_assert_cmpuint(vtoe_sid_command(to.d, VTOE_CMD_UNLISTEN, 1, 0, 0), ==,
                     VTOE_CMD_OK);
    g_assert_cmpuint(vtoe_sid_command(to.d, VTOE_CMD_UNLISTEN, 2, 0, 0), ==,
                     VTOE_CMD_OK);
    vtoe_host_quit(&to);
    vtoe_host_quit(&from);
    vtoe_tmp_remove(dir);
}

/* A netdev whose other end is the test. */
static char *wire(int *fd, int *far)
{
    int sv[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), ==, 0);
    *fd = sv[0];
    *far = sv[1];
    return g_strdup_printf("dgram,local.type=fd,local.str=%d", sv[1]);
}

static void expect_frame(VtoeHost *h, int fd, unsigned id)
{
    uint8_t frame[64] = { };
    struct vtoe_comp c;

    memcpy(frame, vtoe_mac_a, 6);
    g_assert_cmpint(send(fd, frame, sizeof(frame), 0), ==, sizeof(frame));
    do {
        c = vtoe_wait_comp(h->d, &h->d->q[0]);
    } while (c.type == VTOE_COMP_SEND);     /* the last one may be repeated */
    g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
    g_assert_cmpuint(c.id, ==, id);
}

/*
 * Buffers that were posted are used at the destination, in their order: those
 * that the device had copied in, and those that it had not.
 */
static void test_receive_buffers_go_along(void)
{
    char *dir = vtoe_tmp_dir("vtoe-migrate");
    g_autofree char *file = g_build_filename(dir, "state", NULL);
    g_autofree char *net_from = NULL, *net_to = NULL;
    int fd_from, far_from, fd_to, far_to;
    VtoeHost from, to;
    uint64_t buf;
    unsigned i;

    net_from = wire(&fd_from, &far_from);
    vtoe_host_boot(&from, "pc", net_from, VTOE_NIC_A);
    vtoe_start(from.d, 1, 16);
    buf = vtoe_alloc(from.d, 4096);
    for (i = 0; i < 10; i++) {
        vtoe_post_recv(from.d, &from.d->q[0], buf, 2048, 0, i);
    }
    vtoe_kick(from.d, &from.d->q[0]);
    for (i = 0; i < 3; i++) {
        expect_frame(&from, fd_from, i);
    }
    for (i = 10; i < 16; i++) {
        vtoe_post_recv(from.d, &from.d->q[0], buf, 2048, 0, i);
    }
    vtoe_kick(from.d, &from.d->q[0]);
    save_to(from.qts, file);

    net_to = wire(&fd_to, &far_to);
    load_on(&to, &from, file, net_to);
    for (i = 3; i < 40; i++) {
        expect_frame(&to, fd_to, i);
        vtoe_post_recv(to.d, &to.d->q[0], buf, 2048, 0, i + 13);
        vtoe_kick(to.d, &to.d->q[0]);
    }
    vtoe_host_quit(&to);
    vtoe_host_quit(&from);
    close(fd_from);
    close(far_from);
    close(fd_to);
    close(far_to);
    vtoe_tmp_remove(dir);
}

/* --- The blocker --------------------------------------------------------- */

/* The text of the one reason that blocks, NULL if nothing does. */
static char *blocked_by(QTestState *qts)
{
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
                                              "{ 'execute': 'query-migrate' }");
    QList *list = qdict_get_qlist(rsp, "blocked-reasons");
    char *text = NULL;

    if (list && !qlist_empty(list)) {
        text = g_strdup(qstring_get_str(qobject_to(QString, qlist_peek(list))));
    }
    qobject_unref(rsp);
    return text;
}

static void wait_blocked(QTestState *qts, unsigned streams)
{
    g_autofree char *want = g_strdup_printf(": %u streams are open", streams);
    gint64 deadline = 0;

    for (;;) {
        g_autofree char *text = blocked_by(qts);

        if (streams ? text && strstr(text, want) : !text) {
            return;
        }
        vtoe_wait_step(&deadline, want);
    }
}

static void test_streams_block_and_say_how_many(void)
{
    VtoePair *p = vtoe_pair_start("");
    unsigned i;
    QDict *rsp;

    vtoe_pair_listen(p);
    wait_blocked(p->a.qts, 0);
    for (i = 1; i <= 3; i++) {
        vtoe_pair_connect(p, i);
        wait_blocked(p->a.qts, i);
        wait_blocked(p->b.qts, i);
    }
    rsp = qtest_qmp(p->a.qts, "{ 'execute': 'migrate', 'arguments': {"
                    " 'uri': 'file:/dev/null' } }");
    g_assert(strstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                    "3 streams are open"));
    qobject_unref(rsp);
    for (i = 1; i <= 3; i++) {
        g_assert_cmpuint(vtoe_sid_command(p->a.d, VTOE_CMD_ABORT, i, 0,
                                          VTOE_REASON_RESET), ==, VTOE_CMD_OK);
        wait_blocked(p->a.qts, 3 - i);
        wait_blocked(p->b.qts, 3 - i);
    }
    vtoe_pair_quit(p);
}

/* --- A hostile stream ---------------------------------------------------- */

/*
 * Does a QEMU of its own take the file?  It is alive in either case.
 */
static bool loads(const char *file)
{
    QTestState *qts = qtest_init("-machine pc -nodefaults -netdev " NETDEV
                                 ",id=n0 -device " VTOE_NIC_A
                                 " -incoming defer");
    g_autofree char *uri = g_strdup_printf("file:%s", file);
    gint64 deadline = 0;
    bool loaded;

    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': %s, "
                             "'exit-on-error': false } }", uri);
    for (;;) {
        g_autofree char *status = migration_status(qts);

        loaded = g_str_equal(status, "completed");
        if (loaded || g_str_equal(status, "failed")) {
            break;
        }
        vtoe_wait_step(&deadline, "a tampered state to be taken or refused");
    }
    qtest_quit(qts);
    return loaded;
}

/* Where the device's section is: from its name to the next section's end. */
static void find_section(const char *data, size_t len, size_t *start,
                         size_t *end)
{
    static const char name[] = "vtoe-pci";
    const char *at = memmem(data, len, name, strlen(name));

    g_assert(at);
    *start = at - data + strlen(name);
    /* The state has less than this, registers, MSI-X and two pairs. */
    *end = MIN(*start + 1200, len);
}

static void test_flipped_bytes_are_no_end(void)
{
    char *dir = vtoe_tmp_dir("vtoe-migrate");
    g_autofree char *file = g_build_filename(dir, "state", NULL);
    g_autofree char *data = NULL;
    size_t len, start, end, i;
    unsigned refused = 0;
    VtoeHost from;

    vtoe_host_boot(&from, "pc", NETDEV, VTOE_NIC_A);
    vtoe_start(from.d, 2, 16);
    g_assert_cmpuint(vtoe_listen(from.d, 1, 80, 1), ==, VTOE_CMD_OK);
    save_to(from.qts, file);
    vtoe_host_quit(&from);
    g_assert(g_file_get_contents(file, &data, &len, NULL));
    g_assert_true(loads(file));

    find_section(data, len, &start, &end);
    for (i = start; i < end; i += FLIP_STEP) {
        char old = data[i];

        data[i] = ~old;
        g_assert(g_file_set_contents(file, data, len, NULL));
        data[i] = old;
        g_test_message("byte %zu", i);
        refused += !loads(file);
    }
    g_assert_cmpuint(refused, >, 0);
    vtoe_tmp_remove(dir);
}

int main(int argc, char **argv)
{
    static const char *const stages[] = {
        "after-reset", "features-ok", "queue-enabled", "driver-ok",
        "needs-reset",
    };
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(stages); i++) {
        g_autofree char *path = g_strdup_printf("/vtoe/migrate/state/%s",
                                                stages[i]);

        qtest_add_data_func(path, GUINT_TO_POINTER(i), test_state_comes_back);
    }
    qtest_add_func("/vtoe/migrate/work-goes-on", test_work_goes_on);
    qtest_add_func("/vtoe/migrate/receive-buffers-go-along",
                   test_receive_buffers_go_along);
    qtest_add_func("/vtoe/migrate/streams-block-and-say-how-many",
                   test_streams_block_and_say_how_many);
    qtest_add_func("/vtoe/migrate/flipped-bytes-are-no-end",
                   test_flipped_bytes_are_no_end);
    return g_test_run();
}
