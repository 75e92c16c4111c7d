/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vnet link whose peer is hostile, or broken: whatever it says, in whatever
 * pieces, the link closes with a reason and a counter, and nothing else is
 * touched: a good peer gets its link, and the monitor answers.
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/un.h>
#include "vnet-hostile.h"
#include "vtoe-tmp.h"

void target_start(Target *t, const char *more)
{
    t->dir = vtoe_tmp_dir("vnet-hostile");
    t->path = g_build_filename(t->dir, "link", NULL);
    /* Patient, as a test that is kept waiting for a processor is not silent;
     * what a test says itself comes later, and holds. */
    t->qts = qtest_initf("-nodefaults -M none -netdev vnet,id=n0,vni=%d,"
                         "heartbeat-ms=60000,"
                         "links.0.id=l0,links.0.addr.type=unix,"
                         "links.0.addr.path=%s,links.0.server=on%s", VNI,
                         t->path, more);
}

uint64_t target_counter(Target *t, const char *name)
{
    return vnet_link_counter(t->qts, "n0", "l0", name);
}

void target_wait_counter(Target *t, const char *name, uint64_t value)
{
    vnet_wait_link_counter(t->qts, "n0", "l0", name, value);
}

void target_assert_state(Target *t, const char *state)
{
    g_autofree char *s = vnet_link_str(t->qts, "n0", "l0", "state");

    g_assert_cmpstr(s, ==, state);
}

void target_stop(Target *t)
{
    VnetRawPeer p;
    QDict *st;

    vnet_wait_link(t->qts, "n0", "l0", "state", "listening");
    vnet_raw_up(&p, t->path, VNI);
    target_assert_state(t, "up");
    vnet_raw_close(&p);
    vnet_wait_link(t->qts, "n0", "l0", "state", "listening");
    st = vnet_status(t->qts, "n0");
    g_assert_cmpint(qdict_get_int(vnet_status_link(st, "l0"), "connections"),
                    ==, 0);
    qobject_unref(st);
    qtest_quit(t->qts);
    g_assert(!g_file_test(t->path, G_FILE_TEST_EXISTS));
    g_free(t->path);
    vtoe_tmp_remove(t->dir);
}

/* --- Before a connection has said what it is -------------------------- */

typedef struct BadPreamble {
    const char *name;
    const char *counter;
    unsigned offset;            /* of a good preamble ... */
    uint8_t value;              /* ... the byte that is wrong */
} BadPreamble;

static const BadPreamble bad_preambles[] = {
    { "magic", "bad-magic", 0, 'X' },
    { "version-0", "bad-version", 5, 0 },
    { "version-max", "bad-version", 4, 0xff },
    { "kind-0", "bad-kind", 6, 0 },
    { "kind-4", "bad-kind", 6, 4 },
    { "kind-max", "bad-kind", 6, 0xff },
    { "reserved", "bad-value", 7, 1 },
    { "reserved-end", "bad-value", 31, 1 },
    { "control-with-stream", "bad-value", 27, 1 },
};

static void test_preamble(const void *data)
{
    const BadPreamble *b = data;
    const VnetPreamble good = {
        .version = VNET_WIRE_VERSION_MIN,
        .kind = VNET_CONN_CONTROL,
        .epoch = 1,
    };
    uint8_t buf[VNET_PREAMBLE_SIZE];
    Target t;
    int fd;

    target_start(&t, "");
    vnet_wire_put_preamble(buf, &good);
    buf[b->offset] = b->value;
    fd = vnet_raw_connect(t.path);
    vnet_raw_write(fd, buf, sizeof(buf));
    g_assert(vnet_raw_ended(fd));
    close(fd);
    g_assert_cmpuint(target_counter(&t, b->counter), ==, 1);
    target_assert_state(&t, "listening");
    target_stop(&t);
}

static void test_says_nothing(void)
{
    Target t;
    int fd;

    target_start(&t, ",links.0.setup-timeout-ms=100");
    fd = vnet_raw_connect(t.path);
    g_assert(vnet_raw_ended(fd));
    close(fd);
    g_assert_cmpuint(target_counter(&t, "setup-timeout"), ==, 1);
    target_stop(&t);
}

/* One byte at a time does not gain time. */
static void test_says_it_slowly(void)
{
    uint8_t buf[VNET_PREAMBLE_SIZE];
    const VnetPreamble good = {
        .version = VNET_WIRE_VERSION_MIN, .kind = VNET_CONN_CONTROL,
        .epoch = 1,
    };
    Target t;
    unsigned i;
    int fd;

    target_start(&t, ",links.0.setup-timeout-ms=200");
    vnet_wire_put_preamble(buf, &good);
    fd = vnet_raw_connect(t.path);
    for (i = 0; i < sizeof(buf) - 1; i++) {
        vnet_raw_write(fd, buf + i, 1);
    }
    g_assert(vnet_raw_ended(fd));
    close(fd);
    g_assert_cmpuint(target_counter(&t, "setup-timeout"), ==, 1);
    target_stop(&t);
}

static void test_says_half(void)
{
    Target t;
    int fd;

    target_start(&t, "");
    fd = vnet_raw_connect(t.path);
    vnet_raw_write(fd, "VNET", 4);
    close(fd);
    target_wait_counter(&t, "setup-eof", 1);
    target_stop(&t);
}

/* Many that say nothing do not keep out one that speaks. */
static void test_many_say_nothing(void)
{
    enum { MANY = 600, KEPT = 256 };
    int fds[MANY];
    VnetRawPeer p;
    QDict *st;
    Target t;
    unsigned i;

    target_start(&t, ",links.0.setup-timeout-ms=60000");
    for (i = 0; i < MANY; i++) {
        fds[i] = vnet_raw_connect(t.path);
    }
    target_wait_counter(&t, "setup-evicted", MANY - KEPT);
    vnet_raw_up(&p, t.path, VNI);
    st = vnet_status(t.qts, "n0");
    /* One more had to go if the peer was seen before it had spoken. */
    g_assert_cmpint(qdict_get_int(vnet_status_link(st, "l0"), "connections"),
                    ==, MANY - vnet_counter(vnet_status_link(st, "l0"),
                                            "setup-evicted") + 1);
    qobject_unref(st);
    /* The oldest had to go. */
    g_assert(vnet_raw_ended(fds[0]));
    for (i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    vnet_raw_ping(&p);
    vnet_raw_close(&p);
    target_wait_counter(&t, "setup-eof",
                        MANY - target_counter(&t, "setup-evicted"));
    target_stop(&t);
}

/*
 * When QEMU has no descriptor left, who connects is refused at once, and the
 * link comes back by itself.
 */
static void test_no_descriptors(void)
{
    enum { MANY = 40, LEFT = 8 };
    struct rlimit old, few;
    int fds[MANY];
    VnetRawPeer p;
    Target t;
    unsigned i, taken;

    target_start(&t, ",links.0.setup-timeout-ms=60000");
    vnet_raw_up(&p, t.path, VNI);
    g_assert_no_errno(prlimit(qtest_pid(t.qts), RLIMIT_NOFILE, NULL, &old));
    few = old;
    /* About: the limit is of numbers, which can have gaps. */
    few.rlim_cur = vnet_open_fds(t.qts) + LEFT;
    g_assert_no_errno(prlimit(qtest_pid(t.qts), RLIMIT_NOFILE, &few, NULL));
    for (i = 0; i < MANY; i++) {
        fds[i] = vnet_raw_connect(t.path);
    }
    target_wait_counter(&t, "accept-no-fd", MANY / 2);
    /* The last one was handled, and so were all before it. */
    g_assert(vnet_raw_ended(fds[MANY - 1]));
    taken = target_counter(&t, "accepted") - 1;
    g_assert_cmpuint(taken + target_counter(&t, "accept-no-fd"), ==, MANY);
    for (i = taken; i < MANY; i++) {
        g_assert(vnet_raw_ended(fds[i]));
    }
    /* Those that are there are not disturbed. */
    vnet_raw_ping(&p);
    g_assert_no_errno(prlimit(qtest_pid(t.qts), RLIMIT_NOFILE, &old, NULL));
    for (i = 0; i < MANY; i++) {
        close(fds[i]);
    }
    vnet_raw_close(&p);
    target_wait_counter(&t, "setup-eof", taken);
    target_stop(&t);
}

/* --- Hello ------------------------------------------------------------ */

static void test_hello_version(void)
{
    VnetRawPeer p;
    VnetMsg m;
    Target t;

    target_start(&t, "");
    vnet_raw_start(&p, t.path);
    vnet_raw_make_hello(&p, VNI, &m);
    m.u.hello.version_min = VNET_WIRE_VERSION_MAX + 1;
    m.u.hello.version_max = VNET_WIRE_VERSION_MAX + 2;
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "peer speaks version 2 to 3, this end 1 to 1");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "lost-version"), ==, 1);
    target_stop(&t);
}

static void test_hello_vni(void)
{
    VnetRawPeer p;
    VnetMsg m;
    Target t;

    target_start(&t, "");
    vnet_raw_start(&p, t.path);
    vnet_raw_make_hello(&p, VNI + 1, &m);
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "peer has network id 8, this end 7");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "lost-vni"), ==, 1);
    target_stop(&t);
}

static void test_hello_other_epoch(void)
{
    VnetRawPeer p;
    VnetMsg m;
    Target t;

    target_start(&t, "");
    vnet_raw_start(&p, t.path);
    vnet_raw_make_hello(&p, VNI, &m);
    m.u.hello.epoch++;
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "hello: epoch or token is not what it must be");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "bad-value"), ==, 1);
    target_stop(&t);
}

static void test_hello_never(void)
{
    VnetRawPeer p;
    Target t;

    target_start(&t, "");
    vnet_raw_start(&p, t.path);
    vnet_raw_expect_end(&p, "no hello within 5000 ms");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "lost-hello"), ==, 1);
    target_stop(&t);
}

static void test_hello_twice(void)
{
    VnetRawPeer p;
    VnetMsg m;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    vnet_raw_make_hello(&p, VNI, &m);
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "message 1 in state up");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "bad-order"), ==, 1);
    target_stop(&t);
}

/* It costs a look at all that is parked. */
static void test_forget_twice(void)
{
    const VnetMsg m = { .type = VNET_MSG_FORGET };
    VnetRawPeer p;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    vnet_raw_send(&p, &m);
    vnet_raw_ping(&p);
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "message 16 twice");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "bad-order"), ==, 1);
    target_stop(&t);
}

/* --- A peer that comes and goes --------------------------------------- */

#define COMINGS         400
#define EVENTS_PER_S    100

typedef struct Told {
    unsigned events, changes;
    bool up;                    /* by the last one */
} Told;

static bool link_event_came(QTestState *qts, const char *name, QDict *ev,
                            void *opaque)
{
    QDict *data = qdict_get_qdict(ev, "data");
    bool up = g_str_equal(name, "VNET_LINK_UP");
    Told *told = opaque;

    if (!up && !g_str_equal(name, "VNET_LINK_DOWN")) {
        return false;
    }
    told->up = up;
    told->events++;
    told->changes += 1 + qdict_get_int(data, "suppressed");
    return true;
}

/* The monitor is not told each time, but always how it is in the end. */
static void test_comes_and_goes(void)
{
    Told told = { 0 };
    gint64 began, s;
    Target t;

    target_start(&t, "");
    qtest_qmp_set_event_callback(t.qts, link_event_came, &told);
    began = g_get_monotonic_time();
    for (unsigned i = 0; i < COMINGS; i++) {
        VnetRawPeer p;

        vnet_raw_up(&p, t.path, VNI);
        vnet_raw_close(&p);
        target_wait_counter(&t, "downs", i + 1);
    }
    while (told.changes < 2 * COMINGS) {
        g_assert_cmpuint(target_counter(&t, "downs"), ==, COMINGS);
        g_assert_cmpint(g_get_monotonic_time() - began, <,
                        VNET_RAW_WAIT_S * G_USEC_PER_SEC);
    }
    g_assert_cmpuint(told.changes, ==, 2 * COMINGS);
    g_assert(!told.up);
    s = (g_get_monotonic_time() - began) / G_USEC_PER_SEC;
    g_assert_cmpuint(told.events, <=, EVENTS_PER_S * (s + 2));
    qtest_qmp_set_event_callback(t.qts, NULL, NULL);
    target_stop(&t);
}

/* --- Control messages ------------------------------------------------- */

typedef struct BadMessage {
    const char *name;
    const char *counter;
    const char *bye;
    uint8_t msg[16];
} BadMessage;

static const BadMessage bad_messages[] = {
    { "type-0", "bad-kind", "control message ",
      { 0, 0, 0, 16, 0, 0, 0, 0 } },
    { "type-unknown", "bad-kind", "control message ",
      { VNET_MSG_LAST + 1, 0, 0, 16, 0, 0, 0, 0 } },
    { "type-max", "bad-kind", "control message ",
      { 255, 0, 0, 16, 0, 0, 0, 0 } },
    { "length-0", "bad-length", "control message ",
      { VNET_MSG_PING, 0, 0, 0, 0, 0, 0, 0 } },
    { "length-short", "bad-length", "control message ",
      { VNET_MSG_PING, 0, 0, 15, 0, 0, 0, 0 } },
    { "length-long", "bad-length", "control message ",
      { VNET_MSG_PING, 0, 0, 17, 0, 0, 0, 0 } },
    { "length-max", "bad-length", "control message ",
      { VNET_MSG_PING, 0, 0xff, 0xff, 0, 0, 0, 0 } },
    { "flags", "bad-value", "control message ",
      { VNET_MSG_PING, 1, 0, 16, 0, 0, 0, 0 } },
    { "id-of-ping", "bad-value", "control message ",
      { VNET_MSG_PING, 0, 0, 16, 0, 0, 0, 1 } },
    { "id-0-of-ack", "bad-value", "control message ",
      { VNET_MSG_ACK, 0, 0, 16, 0, 0, 0, 0 } },
    { "id-0-of-server", "bad-value", "control message ",
      { VNET_MSG_ACK, 0, 0, 16, 0x80, 0, 0, 0 } },
    { "offset-max", "bad-value", "control message ",
      { VNET_MSG_END, 0, 0, 16, 0, 0, 0, 1,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
    { "reason-none", "bad-value", "control message ",
      { VNET_MSG_ABORT, 0, 0, 12, 0, 0, 0, 1, 0, 0 } },
    { "reason-max", "bad-value", "control message ",
      { VNET_MSG_REJECT, 0, 0, 12, 0, 0, 0, 1, 0xff, 0xff } },
    { "mac-of-group", "bad-length", "control message ",
      { VNET_MSG_MAC, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 7, 1 } },
};

static void test_message(const void *data)
{
    const BadMessage *b = data;
    VnetRawPeer p;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    vnet_raw_write(p.fd, b->msg, sizeof(b->msg));
    vnet_raw_expect_end(&p, b->bye);
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, b->counter), ==, 1);
    g_assert_cmpuint(target_counter(&t, "downs"), ==, 1);
    target_stop(&t);
}

static void test_message_truncated(void)
{
    const uint8_t ping[] = { VNET_MSG_PING, 0, 0, 16, 0, 0, 0, 0, 1, 2, 3 };
    VnetRawPeer p;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    vnet_raw_write(p.fd, ping, sizeof(ping));
    vnet_raw_close(&p);
    vnet_wait_link(t.qts, "n0", "l0", "reason",
                   "the peer closed the control connection");
    g_assert_cmpuint(target_counter(&t, "lost-transport"), ==, 1);
    target_stop(&t);
}

/* A message may come in any pieces. */
static void test_message_in_pieces(void)
{
    uint8_t buf[VNET_MSG_MAX];
    VnetMsg m = { .type = VNET_MSG_PING, .u.ping.cookie = 77 };
    size_t len = vnet_wire_put_msg(buf, &m), i;
    VnetRawPeer p;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    for (i = 0; i < len; i++) {
        vnet_raw_write(p.fd, buf + i, 1);
    }
    vnet_raw_expect(&p, VNET_MSG_PONG, &m);
    g_assert_cmpuint(m.u.ping.cookie, ==, 77);
    vnet_raw_ping(&p);
    vnet_raw_close(&p);
    target_stop(&t);
}

/* Late messages for streams that are gone are normal, whatever their type. */
static void test_message_unknown_stream(void)
{
    static const VnetMsgType types[] = {
        VNET_MSG_ACCEPT, VNET_MSG_REJECT, VNET_MSG_ACK, VNET_MSG_CREDIT,
        VNET_MSG_END, VNET_MSG_ABORT, VNET_MSG_WANT,
    };
    static const uint32_t ids[] = {
        1, 0x7fffffff, VNET_STREAM_ID_SERVER | 1, 0xffffffff,
    };
    VnetRawPeer p;
    Target t;
    unsigned i, j;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    for (i = 0; i < ARRAY_SIZE(types); i++) {
        for (j = 0; j < ARRAY_SIZE(ids); j++) {
            VnetMsg m = { .type = types[i], .id = ids[j] };

            if (types[i] == VNET_MSG_REJECT || types[i] == VNET_MSG_ABORT) {
                m.u.reject.reason = VTOE_REASON_RESET;
            } else if (types[i] == VNET_MSG_CREDIT) {
                m.u.credit.count = VNET_CREDIT_MAX;
                m.u.credit.length = VNET_CREDIT_LENGTH_MAX;
            } else {
                m.u.offset.offset = VNET_OFFSET_MAX;
            }
            vnet_raw_send(&p, &m);
        }
    }
    vnet_raw_ping(&p);
    g_assert_cmpuint(target_counter(&t, "unknown-stream"), ==,
                     ARRAY_SIZE(types) * ARRAY_SIZE(ids));
    target_assert_state(&t, "up");
    vnet_raw_close(&p);
    target_stop(&t);
}

static void make_open(VnetMsg *m, uint32_t id, uint32_t vni)
{
    *m = (VnetMsg) { .type = VNET_MSG_OPEN, .id = id };
    m->u.open.vni = vni;
    m->u.open.flow.family = 4;
    m->u.open.flow.lport = 1;
    m->u.open.flow.rport = 2;
    m->u.open.flow.lmac[0] = m->u.open.flow.rmac[0] = 2;
}

static void assert_rejected(VnetRawPeer *p, uint32_t id,
                            enum vtoe_reason reason)
{
    VnetMsg m;

    vnet_raw_expect(p, VNET_MSG_REJECT, &m);
    g_assert_cmpuint(m.id, ==, id);
    g_assert_cmpuint(m.u.reject.reason, ==, reason);
}

static void test_open_nowhere(void)
{
    VnetRawPeer p;
    VnetMsg m;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    make_open(&m, 1, VNI);
    vnet_raw_send(&p, &m);
    assert_rejected(&p, 1, VTOE_REASON_NO_PEER);
    make_open(&m, 2, VNI + 1);
    vnet_raw_send(&p, &m);
    assert_rejected(&p, 2, VTOE_REASON_POLICY);
    vnet_raw_ping(&p);
    vnet_raw_close(&p);
    target_stop(&t);
}

static void test_open_with_our_id(void)
{
    VnetRawPeer p;
    VnetMsg m;
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    make_open(&m, VNET_STREAM_ID_SERVER | 1, VNI);
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "opened, but the id is not the peer's");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "bad-order"), ==, 1);
    target_stop(&t);
}

static void test_bye(void)
{
    VnetRawPeer p;
    VnetMsg m = { .type = VNET_MSG_BYE };
    Target t;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    m.u.bye.reason = VTOE_REASON_POLICY;
    strcpy(m.u.bye.text, "I do not like you");
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, NULL);
    vnet_raw_close(&p);
    vnet_wait_link(t.qts, "n0", "l0", "reason",
                   "peer said: I do not like you (policy)");
    target_stop(&t);
}

static void test_silence(void)
{
    VnetRawPeer p;
    Target t;

    target_start(&t, ",heartbeat-ms=20");
    vnet_raw_up(&p, t.path, VNI);
    vnet_raw_expect_end(&p, "peer silent for 80 ms");
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, "lost-heartbeat"), ==, 1);
    target_stop(&t);
}

/* A peer that asks and does not read the answers: memory is bounded. */
static void test_does_not_read(void)
{
    uint8_t buf[VNET_MSG_MAX];
    VnetMsg m = { .type = VNET_MSG_PING };
    size_t len = vnet_wire_put_msg(buf, &m);
    g_autofree uint8_t *many = g_malloc(len * 4096);
    VnetRawPeer p;
    Target t;
    unsigned i;
    ssize_t ret;

    for (i = 0; i < 4096; i++) {
        memcpy(many + i * len, buf, len);
    }
    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    do {
        ret = send(p.fd, many, len * 4096, MSG_NOSIGNAL);
        /* Until it is closed, and not until the deadline. */
        g_assert(ret > 0 || errno == EPIPE || errno == ECONNRESET);
    } while (ret > 0);
    g_assert_cmpuint(target_counter(&t, "lost-overflow"), ==, 1);
    vnet_raw_close(&p);
    target_stop(&t);
}

/* --- The client's end ------------------------------------------------- */

/* A QEMU whose link calls a server at path. */
static QTestState *client_start(const char *path)
{
    return qtest_initf("-nodefaults -M none -netdev vnet,id=n0,vni=%d,"
                       "links.0.id=l0,links.0.addr.type=unix,"
                       "links.0.addr.path=%s", VNI, path);
}

/* A server that takes connections and ends them at once is not stormed. */
static void test_server_that_hangs_up(void)
{
    char *dir = vtoe_tmp_dir("vnet-hostile");
    g_autofree char *path = g_build_filename(dir, "link", NULL);
    int listen_fd = vnet_raw_listen(path);
    gint64 begin = g_get_monotonic_time(), took;
    QTestState *qts = client_start(path);
    VnetPreamble pre;
    unsigned i;

    for (i = 0; i < 5; i++) {
        close(vnet_raw_accept(listen_fd, VNET_CONN_CONTROL, &pre));
    }
    took = g_get_monotonic_time() - begin;
    /* Pauses of 100, 200, 400 and 800 ms, each less a quarter at most. */
    g_assert_cmpint(took, >=, 1500 * 3 / 4 * 1000);
    qtest_quit(qts);
    close(listen_fd);
    vtoe_tmp_remove(dir);
}

/* A server without a token is none. */
static void test_server_hello_without_token(void)
{
    char *dir = vtoe_tmp_dir("vnet-hostile");
    g_autofree char *path = g_build_filename(dir, "link", NULL);
    int listen_fd = vnet_raw_listen(path);
    QTestState *qts = client_start(path);
    VnetRawPeer p = { .epoch = 0x5000 };
    VnetPreamble pre;
    VnetMsg m;

    p.fd = vnet_raw_accept(listen_fd, VNET_CONN_CONTROL, &pre);
    vnet_raw_make_hello(&p, VNI, &m);
    vnet_raw_send(&p, &m);
    vnet_raw_expect_end(&p, "hello: epoch or token is not what it must be");
    vnet_raw_close(&p);
    /* It tries again, and a good one gets the link. */
    vnet_raw_accept_up(&p, listen_fd, VNI);
    vnet_wait_link(qts, "n0", "l0", "state", "up");
    vnet_raw_close(&p);
    qtest_quit(qts);
    close(listen_fd);
    vtoe_tmp_remove(dir);
}

/* Connects to path until nobody more may wait there; to be closed. */
static GArray *fill_queue(const char *path)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    GArray *fds = g_array_new(FALSE, FALSE, sizeof(int));
    int ret = 0;

    g_strlcpy(un.sun_path, path, sizeof(un.sun_path));
    while (ret == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

        g_assert_cmpint(fd, >=, 0);
        ret = connect(fd, (struct sockaddr *)&un, sizeof(un));
        g_assert(ret == 0 || errno == EAGAIN);
        g_array_append_val(fds, fd);
        g_assert_cmpuint(fds->len, <, 100);
    }
    return fds;
}

/* A server that takes no connection for frames, as its queue is full. */
static void test_server_with_full_queue(void)
{
    char *dir = vtoe_tmp_dir("vnet-hostile");
    g_autofree char *path = g_build_filename(dir, "link", NULL);
    int listen_fd = vnet_raw_listen(path);
    QTestState *qts = client_start(path);
    VnetRawPeer p = { .epoch = 0x5000, .token = 0x6000 };
    VnetPreamble pre;
    VnetMsg m;
    GArray *fds;

    p.fd = vnet_raw_accept(listen_fd, VNET_CONN_CONTROL, &pre);
    fds = fill_queue(path);
    vnet_raw_make_hello(&p, VNI, &m);
    m.u.hello.token = p.token;
    vnet_raw_send(&p, &m);
    vnet_wait_link_counter(qts, "n0", "l0", "downs", 1);
    vnet_raw_close(&p);
    for (unsigned i = 0; i < fds->len; i++) {
        close(g_array_index(fds, int, i));
    }
    g_array_free(fds, TRUE);
    /* It tries again, and a good one gets the link. */
    close(listen_fd);
    unlink(path);
    listen_fd = vnet_raw_listen(path);
    vnet_raw_accept_up(&p, listen_fd, VNI);
    vnet_wait_link(qts, "n0", "l0", "state", "up");
    vnet_raw_close(&p);
    qtest_quit(qts);
    close(listen_fd);
    vtoe_tmp_remove(dir);
}

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < ARRAY_SIZE(bad_preambles); i++) {
        g_autofree char *name = g_strdup_printf("/vnet/hostile/preamble/%s",
                                                bad_preambles[i].name);

        qtest_add_data_func(name, &bad_preambles[i], test_preamble);
    }
    for (i = 0; i < ARRAY_SIZE(bad_messages); i++) {
        g_autofree char *name = g_strdup_printf("/vnet/hostile/message/%s",
                                                bad_messages[i].name);

        qtest_add_data_func(name, &bad_messages[i], test_message);
    }
    qtest_add_func("/vnet/hostile/says-nothing", test_says_nothing);
    qtest_add_func("/vnet/hostile/says-it-slowly", test_says_it_slowly);
    qtest_add_func("/vnet/hostile/says-half", test_says_half);
    qtest_add_func("/vnet/hostile/many-say-nothing", test_many_say_nothing);
    qtest_add_func("/vnet/hostile/no-descriptors", test_no_descriptors);
    qtest_add_func("/vnet/hostile/hello/version", test_hello_version);
    qtest_add_func("/vnet/hostile/hello/vni", test_hello_vni);
    qtest_add_func("/vnet/hostile/hello/other-epoch", test_hello_other_epoch);
    qtest_add_func("/vnet/hostile/hello/never", test_hello_never);
    qtest_add_func("/vnet/hostile/hello/twice", test_hello_twice);
    qtest_add_func("/vnet/hostile/forget-twice", test_forget_twice);
    qtest_add_func("/vnet/hostile/comes-and-goes", test_comes_and_goes);
    qtest_add_func("/vnet/hostile/message/truncated", test_message_truncated);
    qtest_add_func("/vnet/hostile/message/in-pieces", test_message_in_pieces);
    qtest_add_func("/vnet/hostile/message/unknown-stream",
                   test_message_unknown_stream);
    qtest_add_func("/vnet/hostile/open/nowhere", test_open_nowhere);
    qtest_add_func("/vnet/hostile/open/with-our-id", test_open_with_our_id);
    qtest_add_func("/vnet/hostile/bye", test_bye);
    qtest_add_func("/vnet/hostile/silence", test_silence);
    qtest_add_func("/vnet/hostile/does-not-read", test_does_not_read);
    vnet_hostile_add_data();
    qtest_add_func("/vnet/hostile/server/hangs-up", test_server_that_hangs_up);
    qtest_add_func("/vnet/hostile/server/full-queue",
                   test_server_with_full_queue);
    qtest_add_func("/vnet/hostile/server/hello-without-token",
                   test_server_hello_without_token);
    return g_test_run();
}
