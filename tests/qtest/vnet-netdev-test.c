/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev vnet: options, links between two QEMUs without a machine, and the
 * life of a netdev.
 */

#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "vnet-rawpeer.h"
#include "vtoe-tmp.h"

static char *dir;

static char *sock_path(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

/*
 * Kills a QEMU as a crash of its host would; libqtest would take the signal
 * for a failure.
 */
static void kill_qemu(QTestState *qts)
{
    pid_t pid = qtest_pid(qts);

    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

static QTestState *start(const char *netdev)
{
    return qtest_initf("-nodefaults -M none -netdev %s", netdev);
}

/* --- Options ---------------------------------------------------------- */

typedef struct BadOption {
    const char *name;
    const char *json;           /* members of netdev_add's arguments */
    const char *error;
} BadOption;

#define UNIX "'addr': { 'type': 'unix', 'path': '/nowhere/at.all' }"

static const BadOption bad_options[] = {
    { "vni", "'vni': 16777216",
      "netdev n0: vni is 16777216, and must be 0 to 16777215" },
    { "name", "'name': 'a\\tb'",
      "netdev n0: name is \"a\tb\", and must be 1 to 63 printable ASCII "
      "characters" },
    { "name-empty", "'name': ''",
      "netdev n0: name is \"\", and must be 1 to 63 printable ASCII "
      "characters" },
    { "tx-rate", "'tx-rate': { 'frames-burst': 1125899906842625 }",
      "netdev n0: tx-rate.frames-burst is 1125899906842625, and must be 0 to "
      "1125899906842624" },
    { "flood-limit", "'flood-limit': 10000001",
      "netdev n0: flood-limit is 10000001, and must be 0 to 10000000" },
    { "iothread", "'iothread': 'io7'",
      "netdev n0: there is no iothread \"io7\"" },
    { "poll-and-iothread", "'iothread': 'io7', 'poll-max-ns': 5",
      "netdev n0: poll-max-ns=5 is for the netdev's own thread, but "
      "iothread=io7 was given: set it there" },
    { "poll", "'poll-max-ns': 1000000001",
      "netdev n0: poll-max-ns is 1000000001, and must be 0 to 1000000000" },
    { "heartbeat", "'heartbeat-ms': 9",
      "netdev n0: heartbeat-ms is 9, and must be 10 to 60000" },
    { "max-streams", "'max-streams': 0",
      "netdev n0: max-streams is 0, and must be 1 to 1048576" },
    { "max-streams-resumed", "'max-streams': 16385, 'resume-ms': 1",
      "netdev n0: max-streams with resume-ms is 16385, and must be 1 to 16384" },
    { "max-macs", "'max-macs': 1048577",
      "netdev n0: max-macs is 1048577, and must be 1 to 1048576" },
    { "mac-age", "'mac-age': 86401",
      "netdev n0: mac-age is 86401, and must be 1 to 86400" },
    { "link-id", "'links': [ { 'id': 'l 0', " UNIX " } ]",
      "netdev n0: the id \"l 0\" of a link is not an identifier, nor the "
      "address of its peer" },
    { "link-twice", "'links': [ { 'id': 'l0', " UNIX " }, "
      "{ 'id': 'l0', " UNIX " } ]",
      "netdev n0: two links have the id \"l0\"" },
    { "fd", "'links': [ { 'id': 'l0', 'addr': { 'type': 'fd', "
      "'str': '3' } } ]",
      "netdev n0: link l0: addr.type \"fd\" is not supported, only \"inet\" "
      "and \"unix\" are" },
    { "vsock", "'links': [ { 'id': 'l0', 'addr': { 'type': 'vsock', "
      "'cid': '2', 'port': '9' } } ]",
      "netdev n0: link l0: addr.type \"vsock\" is not supported, only "
      "\"inet\" and \"unix\" are" },
    { "no-path", "'links': [ { 'id': 'l0', 'addr': { 'type': 'unix', "
      "'path': '' } } ]",
      "netdev n0: link l0: addr.path is empty" },
    { "long-path", "'links': [ { 'id': 'l0', 'addr': { 'type': 'unix', "
      "'path': '/123456789/123456789/123456789/123456789/123456789/123456789"
      "/123456789/123456789/123456789/123456789/123456789' } } ]",
      "netdev n0: link l0: addr.path \"/123456789/123456789/123456789"
      "/123456789/123456789/123456789/123456789/123456789/123456789"
      "/123456789/123456789\" is longer than 107 bytes" },
    { "no-host", "'links': [ { 'id': 'l0', 'addr': { 'type': 'inet', "
      "'host': '', 'port': '9' } } ]",
      "netdev n0: link l0: addr.host is empty" },
    { "no-port", "'links': [ { 'id': 'l0', 'addr': { 'type': 'inet', "
      "'host': '127.0.0.1', 'port': '' } } ]",
      "netdev n0: link l0: addr.port is empty" },
    { "plain-tcp", "'links': [ { 'id': 'l0', 'addr': { 'type': 'inet', "
      "'host': '192.0.2.1', 'port': '9' } } ]",
      "netdev n0: link l0: tcp with 192.0.2.1:9 is not encrypted and may "
      "leave this host; tls-creds encrypts it, plain=on allows it" },
    { "plain-tcp6", "'links': [ { 'id': 'l0', 'addr': { 'type': 'inet', "
      "'host': '2001:db8::1', 'port': '9' } } ]",
      "netdev n0: link l0: tcp with 2001:db8::1:9 is not encrypted and may "
      "leave this host; tls-creds encrypts it, plain=on allows it" },
    { "plain-name", "'links': [ { 'id': 'l0', 'addr': { 'type': 'inet', "
      "'host': 'peer.example', 'port': '9' } } ]",
      "netdev n0: link l0: tcp with peer.example:9 is not encrypted and may "
      "leave this host; tls-creds encrypts it, plain=on allows it" },
    { "plain-any", "'links': [ { 'id': 'l0', 'server': true, 'addr': "
      "{ 'type': 'inet', 'host': '', 'port': '9' } } ]",
      "netdev n0: link l0: tcp with *:9 is not encrypted and may leave this "
      "host; tls-creds encrypts it, plain=on allows it" },
    { "reconnect", "'links': [ { 'id': 'l0', 'reconnect-ms': 99, " UNIX
      " } ]",
      "netdev n0: link l0: reconnect-ms is 99, and must be 100 to 3600000" },
    { "reconnect-server", "'links': [ { 'id': 'l0', 'server': true, "
      "'reconnect-ms': 200, " UNIX " } ]",
      "netdev n0: link l0: reconnect-ms=200 is not for server=on, which "
      "waits for its peer" },
    { "setup-timeout", "'links': [ { 'id': 'l0', 'setup-timeout-ms': 0, "
      UNIX " } ]",
      "netdev n0: link l0: setup-timeout-ms is 0, and must be 100 to "
      "3600000" },
    { "buffer-size", "'links': [ { 'id': 'l0', 'buffer-size': 4095, " UNIX
      " } ]",
      "netdev n0: link l0: buffer-size is 4095, and must be 0, or 4096 to "
      "67108864" },
};

static void test_options_bad(const void *data)
{
    const BadOption *o = data;
    QTestState *qts = qtest_init("-nodefaults -M none");
    g_autofree char *cmd = g_strdup_printf(
        "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
        "'id': 'n0', %s } }", o->json);
    unsigned fds = vnet_open_fds(qts);
    QDict *rsp;

    qtest_qmp_send_raw(qts, "%s", cmd);
    rsp = qtest_qmp_receive(qts);
    g_assert(qdict_haskey(rsp, "error"));
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"), ==,
                    o->error);
    qobject_unref(rsp);

    /* Nothing has started. */
    rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet' }");
    g_assert(qlist_empty(qdict_get_qlist(rsp, "return")));
    qobject_unref(rsp);
    g_assert_cmpuint(vnet_open_fds(qts), ==, fds);
    qtest_quit(qts);
}

/* The second link cannot listen: the first one's socket is gone, too. */
static void test_options_half(void)
{
    g_autofree char *good = sock_path("half");
    QTestState *qts = qtest_init("-nodefaults -M none");
    unsigned fds = vnet_open_fds(qts);
    QDict *err;

    err = qtest_qmp_assert_failure_ref(
        qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
        "'id': 'n0', 'links': [ { 'id': 'l0', 'server': true, 'addr': "
        "{ 'type': 'unix', 'path': %s } }, { 'id': 'l1', 'server': true, "
        "'addr': { 'type': 'unix', 'path': '/nowhere/at.all' } } ] } }",
        good);
    g_assert_cmpstr(qdict_get_str(err, "desc"), ==,
                    "netdev n0: link l1: cannot listen on "
                    "unix:/nowhere/at.all: Failed to bind socket to "
                    "/nowhere/at.all: No such file or directory");
    qobject_unref(err);
    g_assert(!g_file_test(good, G_FILE_TEST_EXISTS));
    g_assert_cmpuint(vnet_open_fds(qts), ==, fds);
    qtest_quit(qts);
}

/* On the command line QEMU ends, with the error. */
static void test_options_command_line(void)
{
    const char *argv[] = {
        g_getenv("QTEST_QEMU_BINARY"), "-M", "none", "-nodefaults",
        "-display", "none", "-netdev",
        "vnet,id=n0,links.0.id=l0,links.0.addr.type=inet,"
        "links.0.addr.host=192.0.2.1,links.0.addr.port=9", NULL
    };
    g_autofree char *err = NULL;
    int status;

    g_assert(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL,
                          NULL, NULL, &err, &status, NULL));
    g_assert(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    g_assert(strstr(err, "netdev n0: link l0: tcp with 192.0.2.1:9 is not "
                    "encrypted and may leave this host; tls-creds encrypts it, "
                    "plain=on allows it"));
}

/* Dotted keys and JSON say the same. */
static void test_options_syntax(void)
{
    g_autofree char *path = sock_path("syntax");
    g_autofree char *dotted = g_strdup_printf(
        "vnet,id=n0,vni=9,name=me,heartbeat-ms=500,links.0.id=l0,"
        "links.0.addr.type=unix,links.0.addr.path=%s,links.0.server=on,"
        "links.1.id=l1,links.1.addr.type=inet,links.1.addr.host=127.0.0.1,"
        "links.1.addr.port=0,links.1.server=on", path);
    g_autofree char *json = g_strdup_printf(
        "'{\"type\": \"vnet\", \"id\": \"n0\", \"vni\": 9, \"name\": \"me\", "
        "\"heartbeat-ms\": 500, \"links\": [ { \"id\": \"l0\", \"addr\": "
        "{ \"type\": \"unix\", \"path\": \"%s\" }, \"server\": true }, "
        "{ \"id\": \"l1\", \"addr\": { \"type\": \"inet\", \"host\": "
        "\"127.0.0.1\", \"port\": \"0\" }, \"server\": true } ] }'", path);
    const char *both[] = { dotted, json };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(both); i++) {
        QTestState *qts = start(both[i]);
        QDict *st = vnet_status(qts, "n0");
        QDict *l0 = vnet_status_link(st, "l0");
        QDict *l1 = vnet_status_link(st, "l1");

        g_assert_cmpint(qdict_get_int(st, "vni"), ==, 9);
        g_assert_cmpstr(qdict_get_str(st, "name"), ==, "me");
        g_assert_cmpstr(qdict_get_str(l0, "type"), ==, "unix");
        g_assert_cmpstr(qdict_get_str(l0, "state"), ==, "listening");
        g_assert_cmpstr(qdict_get_str(qdict_get_qdict(l0, "local"), "path"),
                        ==, path);
        g_assert_cmpstr(qdict_get_str(l1, "type"), ==, "tcp");
        /* The port that the kernel chose. */
        g_assert_cmpint(atoi(qdict_get_str(qdict_get_qdict(l1, "local"),
                                           "port")), >, 0);
        qobject_unref(st);
        qtest_quit(qts);
        g_assert(!g_file_test(path, G_FILE_TEST_EXISTS));
    }
}

static void test_query_without(void)
{
    QTestState *qts = qtest_init("-nodefaults -M none");
    char *hmp = qtest_hmp(qts, "info vnet");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet' }");

    g_assert(qlist_empty(qdict_get_qlist(rsp, "return")));
    qobject_unref(rsp);
    rsp = qtest_qmp(qts, "{ 'execute': 'query-vtoe' }");
    g_assert(qlist_empty(qdict_get_qlist(rsp, "return")));
    qobject_unref(rsp);
    rsp = qtest_qmp_assert_failure_ref(
        qts, "{ 'execute': 'query-vnet', 'arguments': { 'id': 'n3' } }");
    g_assert_cmpstr(qdict_get_str(rsp, "desc"), ==,
                    "there is no vnet netdev \"n3\"");
    qobject_unref(rsp);
    g_assert_cmpstr(hmp, ==, "no vnet netdevs\r\n");
    g_free(hmp);
    qtest_quit(qts);
}

/* --- Links ------------------------------------------------------------ */

static char *unix_netdev(const char *path, const char *more)
{
    return g_strdup_printf("vnet,id=n0,vni=7,links.0.id=l0,"
                           "links.0.addr.type=unix,links.0.addr.path=%s%s",
                           path, more);
}

/*
 * Waits until the link is up.  Not by its event: in a QEMU that has just been
 * started, the link can be up before there is a monitor to tell.
 */
static void assert_up(QTestState *qts, const char *peer)
{
    g_autofree char *told = NULL;
    char *hmp;

    vnet_wait_link(qts, "n0", "l0", "state", "up");
    told = vnet_link_str(qts, "n0", "l0", "peer");
    g_assert_cmpstr(told, ==, peer);
    vnet_wait_info(qts, "n0: index=0,type=vnet,vni=7,links=1/1\r\n");
    hmp = qtest_hmp(qts, "info vnet");
    g_assert(strstr(hmp, "n0: vni 7"));
    g_assert(strstr(hmp, ", up, peer "));
    g_free(hmp);
}

static void test_link_unix(void)
{
    g_autofree char *path = sock_path("unix");
    g_autofree char *server = unix_netdev(path, ",name=one,"
                                          "links.0.server=on");
    g_autofree char *client = unix_netdev(path, ",name=two");
    QTestState *a = start(server), *b = start(client);

    assert_up(a, "two");
    assert_up(b, "one");
    qtest_quit(a);
    qtest_quit(b);
}

static void test_link_abstract(void)
{
    g_autofree char *name = g_strdup_printf("vnet-test-%d", (int)getpid());
    g_autofree char *server = unix_netdev(name, ",name=one,"
                                          "links.0.addr.abstract=on,"
                                          "links.0.server=on");
    g_autofree char *client = unix_netdev(name, ",name=two,"
                                          "links.0.addr.abstract=on");
    QTestState *a = start(server), *b = start(client);

    assert_up(a, "two");
    assert_up(b, "one");
    qtest_quit(a);
    qtest_quit(b);
}

static void tcp_pair(const char *server_host, const char *client_host)
{
    g_autofree char *server = g_strdup_printf(
        "vnet,id=n0,vni=7,name=one,links.0.id=l0,links.0.addr.type=inet,"
        "links.0.addr.host=%s,links.0.addr.port=0,links.0.server=on",
        server_host);
    g_autofree char *client = NULL;
    QTestState *a = start(server), *b;
    QDict *st = vnet_status(a, "n0");

    client = g_strdup_printf(
        "vnet,id=n0,vni=7,name=two,links.0.id=l0,links.0.addr.type=inet,"
        "links.0.addr.host=%s,links.0.addr.port=%s", client_host,
        qdict_get_str(qdict_get_qdict(vnet_status_link(st, "l0"), "local"),
                      "port"));
    qobject_unref(st);
    b = start(client);
    assert_up(a, "two");
    assert_up(b, "one");
    qtest_quit(a);
    qtest_quit(b);
}

static void test_link_tcp(void)
{
    tcp_pair("127.0.0.1", "127.0.0.1");
}

static void test_link_tcp6(void)
{
    tcp_pair("::1", "::1");
}

/* A name is looked up by a thread of its own. */
static void test_link_tcp_name(void)
{
    tcp_pair("127.0.0.1", "localhost");
}

static void test_link_server_restarts(void)
{
    g_autofree char *path = sock_path("server-restarts");
    g_autofree char *server = unix_netdev(path, ",name=one,"
                                          "links.0.server=on");
    g_autofree char *client = unix_netdev(path, ",name=two,"
                                          "links.0.reconnect-ms=100");
    QTestState *a = start(server), *b = start(client);
    g_autofree char *why = NULL, *peer = NULL;

    assert_up(b, "one");
    kill_qemu(a);
    why = vnet_wait_event(b, "VNET_LINK_DOWN", "l0", "reason");
    g_assert(strstr(why, "the peer closed the "));
    a = start(server);
    peer = vnet_wait_event(b, "VNET_LINK_UP", "l0", "peer");
    g_assert_cmpstr(peer, ==, "one");
    assert_up(b, "one");
    assert_up(a, "two");
    qtest_quit(a);
    qtest_quit(b);
}

static void test_link_client_restarts(void)
{
    g_autofree char *path = sock_path("client-restarts");
    g_autofree char *server = unix_netdev(path, ",name=one,"
                                          "links.0.server=on");
    g_autofree char *client = unix_netdev(path, ",name=two");
    QTestState *a = start(server), *b = start(client);
    g_autofree char *why = NULL, *peer = NULL;

    peer = vnet_wait_event(a, "VNET_LINK_UP", "l0", "peer");
    g_assert_cmpstr(peer, ==, "two");
    assert_up(a, "two");
    kill_qemu(b);
    why = vnet_wait_event(a, "VNET_LINK_DOWN", "l0", "reason");
    g_assert(strstr(why, "the peer closed the "));
    b = start(client);
    assert_up(a, "two");
    assert_up(b, "one");
    qtest_quit(a);
    qtest_quit(b);
}

/*
 * Attempts that fail for the same reason are told once; the peer, once it is
 * there, is found.
 */
static void test_link_client_first(void)
{
    g_autofree char *path = sock_path("client-first");
    g_autofree char *server = unix_netdev(path, ",name=one,"
                                          "links.0.server=on");
    g_autofree char *client = unix_netdev(path, ",name=two,"
                                          "links.0.reconnect-ms=100");
    g_autofree char *expect = g_strdup_printf(
        "cannot connect to unix:%s: No such file or directory", path);
    QTestState *b = start(client), *a;
    QDict *ev;

    vnet_wait_link(b, "n0", "l0", "reason", expect);
    /* Told at most once, or before there was a monitor. */
    vnet_wait_link_counter(b, "n0", "l0", "attempts-failed", 4);
    ev = qtest_qmp_event_ref(b, "VNET_LINK_DOWN");
    qobject_unref(ev);
    ev = qtest_qmp_event_ref(b, "VNET_LINK_DOWN");
    g_assert(!ev);
    a = start(server);
    assert_up(b, "one");
    qtest_quit(a);
    qtest_quit(b);
}

#define LINK_ADD \
    "{ 'execute': 'vnet-link-add', 'arguments': { 'id': 'n0', 'link': { " \
    "'id': %s, 'server': %i, 'addr': { 'type': 'unix', 'path': %s } } } }"
#define LINK_DEL \
    "{ 'execute': 'vnet-link-del', 'arguments': { 'id': %s, 'link': %s } }"

static void assert_refused(QDict *err, const char *why)
{
    g_assert_cmpstr(qdict_get_str(err, "desc"), ==, why);
    qobject_unref(err);
}

/* Made, removed and made again on a netdev without any. */
static void test_link_at_run_time(void)
{
    g_autofree char *path = sock_path("run-time");
    QTestState *a = start("vnet,id=n0,vni=7,name=one"), *b;
    g_autofree char *client = g_strdup_printf(
        "vnet,id=n0,vni=7,name=two,links.0.id=l0,links.0.addr.type=unix,"
        "links.0.addr.path=%s,links.0.reconnect-ms=100", path);
    g_autofree char *why = NULL, *peer = NULL;
    unsigned fds = vnet_open_fds(a);

    qtest_qmp_assert_success(a, LINK_ADD, "l0", true, path);
    b = start(client);
    assert_up(a, "two");
    assert_up(b, "one");
    assert_refused(qtest_qmp_assert_failure_ref(a, LINK_ADD, "l0", false,
                                                path),
                   "there is a link \"l0\" already");
    qtest_qmp_assert_success(a, LINK_DEL, "n0", "l0");
    g_assert(!g_file_test(path, G_FILE_TEST_EXISTS));
    why = vnet_wait_event(b, "VNET_LINK_DOWN", "l0", "reason");
    g_assert_cmpuint(vnet_open_fds(a), ==, fds);
    assert_refused(qtest_qmp_assert_failure_ref(a, LINK_DEL, "n0", "l0"),
                   "netdev n0 has no link \"l0\"");
    qtest_qmp_assert_success(a, LINK_ADD, "l0", true, path);
    peer = vnet_wait_event(b, "VNET_LINK_UP", "l0", "peer");
    assert_up(a, "two");
    qtest_qmp_assert_success(a, "{ 'execute': 'netdev_del', 'arguments': "
                             "{ 'id': 'n0' } }");
    qtest_quit(a);
    qtest_quit(b);
}

static void test_link_add_refused(void)
{
    g_autofree char *path = sock_path("refused");
    QTestState *qts = start("vnet,id=n0");
    unsigned fds = vnet_open_fds(qts);

    assert_refused(qtest_qmp_assert_failure_ref(qts, LINK_ADD, "1st", true,
                                                path),
                   "the id \"1st\" of a link is not an identifier, nor the "
                   "address of its peer");
    assert_refused(qtest_qmp_assert_failure_ref(qts, LINK_ADD, "l0", true,
                                                "/nowhere/at.all"),
                   "link l0: cannot listen on unix:/nowhere/at.all: Failed "
                   "to bind socket to /nowhere/at.all: No such file or "
                   "directory");
    assert_refused(qtest_qmp_assert_failure_ref(qts, LINK_DEL, "n7", "l0"),
                   "there is no vnet netdev \"n7\"");
    for (int i = 0; i < 64; i++) {
        g_autofree char *id = g_strdup_printf("l%d", i);

        qtest_qmp_assert_success(qts, LINK_ADD, id, false, path);
    }
    assert_refused(qtest_qmp_assert_failure_ref(qts, LINK_ADD, "l64", false,
                                                path),
                   "there are 64 links already");
    for (int i = 0; i < 64; i++) {
        g_autofree char *id = g_strdup_printf("l%d", i);

        qtest_qmp_assert_success(qts, LINK_DEL, "n0", id);
    }
    g_assert_cmpuint(vnet_open_fds(qts), ==, fds);
    qtest_quit(qts);
}

static void test_link_vni_differs(void)
{
    g_autofree char *path = sock_path("vni");
    g_autofree char *server = unix_netdev(path, ",links.0.server=on");
    g_autofree char *client = g_strdup_printf(
        "vnet,id=n0,vni=8,links.0.id=l0,links.0.addr.type=unix,"
        "links.0.addr.path=%s", path);
    QTestState *a = start(server), *b = start(client);
    g_autofree char *why = vnet_wait_event(a, "VNET_LINK_DOWN", "l0",
                                           "reason");

    /* Either end may be first to say it. */
    if (strcmp(why, "peer has network id 8, this end 7")) {
        g_assert_cmpstr(why, ==, "peer said: peer has network id 7, this end "
                        "8 (policy)");
    }
    vnet_wait_link_counter(b, "n0", "l0", "attempts-failed", 1);
    qtest_quit(a);
    qtest_quit(b);
}

static void test_link_to_itself(void)
{
    g_autofree char *path = sock_path("self");
    g_autofree char *more = g_strdup_printf(
        ",links.0.server=on,links.1.id=l1,links.1.addr.type=unix,"
        "links.1.addr.path=%s", path);
    g_autofree char *netdev = unix_netdev(path, more);
    QTestState *qts = start(netdev);

    vnet_wait_link(qts, "n0", "l1", "reason",
                   "peer said: connected to oneself (policy)");
    g_assert_cmpuint(vnet_link_counter(qts, "n0", "l0", "refused-self"), >=,
                     1);
    qtest_quit(qts);
}

static void test_link_is_taken(void)
{
    g_autofree char *path = sock_path("taken");
    g_autofree char *server = unix_netdev(path, ",name=one,"
                                          "links.0.server=on");
    g_autofree char *client = unix_netdev(path, ",name=two");
    QTestState *a = start(server), *b = start(client), *c;

    assert_up(a, "two");
    c = start(client);
    vnet_wait_link(c, "n0", "l0", "reason",
                   "peer said: this link has a peer (limit)");
    g_assert_cmpuint(vnet_link_counter(a, "n0", "l0", "downs"), ==, 0);
    qtest_quit(c);
    qtest_quit(b);
    qtest_quit(a);
}

/* --- Life ------------------------------------------------------------- */

static void test_netdev_add_del(void)
{
    g_autofree char *path = sock_path("add-del");
    g_autofree char *server = unix_netdev(path, ",name=one,"
                                          "links.0.server=on");
    QTestState *a = start(server), *b = qtest_init("-nodefaults -M none");
    unsigned fds = 0, i;

    for (i = 0; i < 10; i++) {
        char *told;

        qtest_qmp_assert_success(
            b, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
            "'id': 'n0', 'vni': 7, 'name': 'two', 'links': [ { 'id': 'l0', "
            "'addr': { 'type': 'unix', 'path': %s } } ] } }", path);
        told = vnet_wait_event(b, "VNET_LINK_UP", "l0", "peer");
        g_assert_cmpstr(told, ==, "one");
        g_free(told);
        told = vnet_wait_event(a, "VNET_LINK_UP", "l0", "peer");
        g_assert_cmpstr(told, ==, "two");
        g_free(told);
        qtest_qmp_assert_success(b, "{ 'execute': 'netdev_del', 'arguments': "
                                 "{ 'id': 'n0' } }");
        told = vnet_wait_event(a, "VNET_LINK_DOWN", "l0", "reason");
        g_free(told);
        if (!i) {
            fds = vnet_open_fds(b);     /* what QEMU opens once and keeps */
        }
    }
    g_assert_cmpuint(vnet_open_fds(b), ==, fds);
    qtest_quit(a);
    qtest_quit(b);
}

static void test_netdev_iothread(void)
{
    g_autofree char *path = sock_path("iothread");
    g_autofree char *server = unix_netdev(path, ",links.0.server=on,"
                                          "iothread=io0 -object "
                                          "iothread,id=io0");
    QTestState *qts = start(server);
    QDict *st = vnet_status(qts, "n0");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-iothreads' }");
    QDict *io = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));

    g_assert_cmpint(qdict_get_int(st, "thread-id"), ==,
                    qdict_get_int(io, "thread-id"));
    qobject_unref(st);
    qobject_unref(rsp);
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_del', 'arguments': "
                             "{ 'id': 'n0' } }");
    g_assert(!g_file_test(path, G_FILE_TEST_EXISTS));
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    unsigned i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = vtoe_tmp_dir("vnet-netdev");

    for (i = 0; i < ARRAY_SIZE(bad_options); i++) {
        g_autofree char *name = g_strdup_printf("/vnet/options/bad/%s",
                                                bad_options[i].name);

        qtest_add_data_func(name, &bad_options[i], test_options_bad);
    }
    qtest_add_func("/vnet/options/half", test_options_half);
    qtest_add_func("/vnet/options/command-line", test_options_command_line);
    qtest_add_func("/vnet/options/syntax", test_options_syntax);
    qtest_add_func("/vnet/query/without", test_query_without);
    qtest_add_func("/vnet/link/unix", test_link_unix);
    qtest_add_func("/vnet/link/abstract", test_link_abstract);
    qtest_add_func("/vnet/link/tcp", test_link_tcp);
    qtest_add_func("/vnet/link/tcp6", test_link_tcp6);
    qtest_add_func("/vnet/link/tcp-name", test_link_tcp_name);
    qtest_add_func("/vnet/link/server-restarts", test_link_server_restarts);
    qtest_add_func("/vnet/link/client-restarts", test_link_client_restarts);
    qtest_add_func("/vnet/link/client-first", test_link_client_first);
    qtest_add_func("/vnet/link/at-run-time", test_link_at_run_time);
    qtest_add_func("/vnet/link/add-refused", test_link_add_refused);
    qtest_add_func("/vnet/link/vni-differs", test_link_vni_differs);
    qtest_add_func("/vnet/link/to-itself", test_link_to_itself);
    qtest_add_func("/vnet/link/is-taken", test_link_is_taken);
    qtest_add_func("/vnet/netdev/add-del", test_netdev_add_del);
    qtest_add_func("/vnet/netdev/iothread", test_netdev_iothread);
    ret = g_test_run();
    vtoe_tmp_remove(dir);
    return ret;
}
