/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VXLAN links from outside: their options, and datagrams through a QEMU without
 * a NIC, whose switch joins the links to two peers, which are sockets here.
 *
 *   peer 0 127.0.0.1 --- link p0 -- switch -- link p1 --- peer 1 127.0.0.2
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include "libqtest.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "vnet-bytes.h"
#include "vnet-packet.h"
#include "vnet-vxlan.h"

#define VNI         77
#define MTU1        1350                /* of the network to peer 1 */
#define FITS        (MTU1 - 36)         /* frames there */
/* Milliseconds to wait for what has to come, and for what must not. */
#define PATIENCE    10000

typedef struct Peer {
    int fd;
    uint16_t port;              /* where QEMU receives from it */
} Peer;

typedef struct Bench {
    QTestState *qts;
    Peer peer[2];
} Bench;

static int udp_socket(uint32_t host, uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(host),
    };
    socklen_t len = sizeof(in);

    g_assert(fd >= 0 && !bind(fd, (struct sockaddr *)&in, len));
    g_assert(!getsockname(fd, (struct sockaddr *)&in, &len));
    *port = ntohs(in.sin_port);
    return fd;
}

/* A port that is free now. */
static uint16_t free_port(void)
{
    uint16_t port;

    close(udp_socket(INADDR_LOOPBACK, &port));
    return port;
}

static void bench_free(Bench *b)
{
    qtest_quit(b->qts);
    close(b->peer[0].fd);
    close(b->peer[1].fd);
    g_free(b);
}

/* A counter of a link, or of the overlay with NULL. */
static int64_t counter(Bench *b, const char *link, const char *name)
{
    QDict *rsp = qtest_qmp(b->qts, "{ 'execute': 'query-vnet' }");
    QDict *at = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    const QListEntry *e;
    int64_t value = -1;

    if (link) {
        QLIST_FOREACH_ENTRY(qdict_get_qlist(at, "links"), e) {
            at = qobject_to(QDict, qlist_entry_obj(e));
            if (g_str_equal(qdict_get_str(at, "id"), link)) {
                break;
            }
        }
        g_assert(e);
    }
    QLIST_FOREACH_ENTRY(qdict_get_qlist(at, "counters"), e) {
        const QDict *c = qobject_to(QDict, qlist_entry_obj(e));

        if (g_str_equal(qdict_get_str(c, "name"), name)) {
            value = qdict_get_int(c, "value");
        }
    }
    g_assert_cmpint(value, >=, 0);
    qobject_unref(rsp);
    return value;
}

static void wait_counter(Bench *b, const char *link, const char *name,
                         int64_t value)
{
    int64_t end = g_get_monotonic_time() + PATIENCE * 1000;

    while (counter(b, link, name) < value) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(5000);
    }
    g_assert_cmpint(counter(b, link, name), ==, value);
}

static Bench *bench_new(void)
{
    Bench *b = g_new0(Bench, 1);
    uint16_t theirs[2];

    for (unsigned i = 0; i < 2; i++) {
        b->peer[i].fd = udp_socket(INADDR_LOOPBACK + i, &theirs[i]);
        b->peer[i].port = free_port();
    }
    b->qts = qtest_initf(
        "-nodefaults -M none -netdev vnet,id=n0,vni=%d,"
        "links.0.id=p0,links.0.type=vxlan,links.0.addr.type=inet,"
        "links.0.addr.host=127.0.0.1,links.0.addr.port=%u,"
        "links.0.local-port=%u,"
        "links.1.id=p1,links.1.type=vxlan,links.1.addr.type=inet,"
        "links.1.addr.host=127.0.0.2,links.1.addr.port=%u,"
        "links.1.local-port=%u,links.1.mtu=%d",
        VNI, theirs[0], b->peer[0].port, theirs[1], b->peer[1].port, MTU1);
    wait_counter(b, "p0", "ups", 1);
    wait_counter(b, "p1", "ups", 1);
    return b;
}

/* The n bytes behind a header. */
static void say_in(Bench *b, uint32_t vni, unsigned i, const void *frame,
                   size_t n)
{
    uint8_t buf[66000];
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(b->peer[i].port),
    };

    vnet_vxlan_put_header(buf, vni);
    memcpy(buf + VNET_VXLAN_HDR, frame, n);
    g_assert_cmpint(sendto(b->peer[i].fd, buf, VNET_VXLAN_HDR + n, 0,
                           (struct sockaddr *)&to, sizeof(to)), ==,
                    VNET_VXLAN_HDR + n);
}

static void say(Bench *b, unsigned i, const void *frame, size_t n)
{
    say_in(b, VNI, i, frame, n);
}

/* The next frame that comes to a peer; its length, and network id. */
static size_t hear_any(Bench *b, uint32_t *vni, unsigned i, uint8_t *frame)
{
    struct pollfd p = { .fd = b->peer[i].fd, .events = POLLIN };
    uint8_t buf[66000];
    ssize_t n;

    g_assert_cmpint(poll(&p, 1, PATIENCE), ==, 1);
    n = recv(p.fd, buf, sizeof(buf), 0);
    g_assert(vnet_vxlan_get_header(buf, n, vni));
    memcpy(frame, buf + VNET_VXLAN_HDR, n - VNET_VXLAN_HDR);
    return n - VNET_VXLAN_HDR;
}

static size_t hear(Bench *b, unsigned i, uint8_t *frame)
{
    uint32_t vni;
    size_t n = hear_any(b, &vni, i, frame);

    g_assert_cmpuint(vni, ==, VNI);
    return n;
}

static void expect_in(Bench *b, uint32_t vni, unsigned i, const uint8_t *frame,
                      size_t len)
{
    static uint8_t buf[66000];
    uint32_t got;
    size_t n = hear_any(b, &got, i, buf);

    g_assert_cmpuint(got, ==, vni);
    g_assert_cmpmem(buf, n, frame, len);
}

static void expect(Bench *b, unsigned i, const uint8_t *frame, size_t len)
{
    expect_in(b, VNI, i, frame, len);
}

static void test_forwards(void)
{
    static Packet p;
    Bench *b = bench_new();
    static const size_t sizes[] = { 0, 1, 1000, FITS - 42 };
    g_autofree char *info = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        const PacketSpec s = { .proto = VNET_PROTO_UDP, .payload = sizes[i] };

        packet_make(&p, &s);
        say(b, 0, p.buf, p.len);
        expect(b, 1, p.buf, p.len);
        say(b, 1, p.buf, p.len);
        expect(b, 0, p.buf, p.len);
    }
    /* The network to peer 0 is the loopback device, and carries 64 KiB. */
    memset(p.buf + 6, 0x42, 65000);
    say(b, 1, p.buf, 65000);
    expect(b, 0, p.buf, 65000);
    /* No IP at all. */
    say(b, 0, p.buf, 14);
    expect(b, 1, p.buf, 14);
    g_assert_cmpint(counter(b, "p1", "tx-lost"), ==, 0);
    info = qtest_hmp(b->qts, "info vnet");
    g_assert(strstr(info, "link p1: vxlan, up, mtu 1300\r\n"));
    bench_free(b);
}

/* A second netdev with another id, on the same links. */
static void test_two_ids(void)
{
    static Packet whole, first, cut;
    const PacketSpec small = { .proto = VNET_PROTO_UDP, .payload = 100 };
    const PacketSpec tcp = {
        .proto = VNET_PROTO_TCP, .flags = VNET_TCP_ACK, .payload = 500,
    };
    const PacketSpec large = {
        .proto = VNET_PROTO_UDP, .payload = FITS, .may_cut = true,
    };
    const PacketSpec whole_or_none = {
        .proto = VNET_PROTO_UDP, .payload = FITS,
    };
    static uint8_t buf[66000];
    Bench *b = bench_new();
    uint32_t vni;

    packet_make(&whole, &small);
    say_in(b, VNI + 1, 0, whole.buf, whole.len);
    wait_counter(b, "p0", "rx-drop-vni", 1);
    qtest_qmp_assert_success(b->qts, "{ 'execute': 'netdev_add', 'arguments': "
                             "{ 'type': 'vnet', 'id': 'n1', 'vni': %d, "
                             "'overlay': 'n0' } }", VNI + 1);
    packet_make(&first, &tcp);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t id = VNI + i % 2;

        say_in(b, id, 0, whole.buf, whole.len);
        say_in(b, id, 0, first.buf, first.len);
        expect_in(b, id, 1, whole.buf, whole.len);
        expect_in(b, id, 1, first.buf, first.len);
    }
    /* All at once: what is joined is of one id. */
    for (unsigned i = 0; i < 20; i++) {
        say_in(b, VNI + i % 2, 0, first.buf, first.len);
    }
    for (unsigned i = 0, of[2] = { 0 }; i < 20; i++) {
        g_assert_cmpuint(hear_any(b, &vni, 1, buf), ==, first.len);
        g_assert_cmpuint(++of[vni - VNI], <=, 10);
    }
    /* Fragments, and what the sender of too much is told. */
    packet_make(&cut, &large);
    say_in(b, VNI + 1, 0, cut.buf, cut.len);
    hear_any(b, &vni, 1, buf);
    g_assert_cmpuint(vni, ==, VNI + 1);
    hear_any(b, &vni, 1, buf);
    g_assert_cmpuint(vni, ==, VNI + 1);
    packet_make(&cut, &whole_or_none);
    say_in(b, VNI + 1, 0, cut.buf, cut.len);
    hear_any(b, &vni, 0, buf);
    g_assert_cmpuint(vni, ==, VNI + 1);
    g_assert_cmpint(counter(b, "p1", "tx-drop-answered"), ==, 1);
    g_assert_cmpint(counter(b, "p0", "rx-drop-vni"), ==, 1);
    qtest_qmp_assert_success(b->qts, "{ 'execute': 'netdev_del', 'arguments': "
                             "{ 'id': 'n1' } }");
    say_in(b, VNI + 1, 0, whole.buf, whole.len);
    wait_counter(b, "p0", "rx-drop-vni", 2);
    bench_free(b);
}

/* Segments that came in one go are joined on the way, and cut again. */
static void test_joined(void)
{
    static Packet p[40];
    struct sockaddr_in to;
    Bench *b = bench_new();
    int size;
    g_autoptr(GByteArray) all = g_byte_array_new();

    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        const PacketSpec s = {
            .proto = VNET_PROTO_TCP, .flags = VNET_TCP_ACK, .payload = 1000,
            .seq = i * 1000, .id = i,
        };
        uint8_t header[VNET_VXLAN_HDR];

        packet_make(&p[i], &s);
        vnet_vxlan_put_header(header, VNI);
        g_byte_array_append(all, header, sizeof(header));
        g_byte_array_append(all, p[i].buf, p[i].len);
    }
    /* At once, so that they are read at once. */
    size = VNET_VXLAN_HDR + p[0].len;
    g_assert(!setsockopt(b->peer[0].fd, SOL_UDP, UDP_SEGMENT, &size,
                         sizeof(size)));
    to = (struct sockaddr_in) {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(b->peer[0].port),
    };
    g_assert_cmpint(sendto(b->peer[0].fd, all->data, all->len, 0,
                           (struct sockaddr *)&to, sizeof(to)), ==, all->len);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
        expect(b, 1, p[i].buf, p[i].len);
    }
    g_assert_cmpint(counter(b, "p0", "rx-joined"), >, 0);
    g_assert_cmpint(counter(b, "p0", "rx-frames"), <, ARRAY_SIZE(p));
    g_assert_cmpint(counter(b, "p1", "tx-cut"), >, 0);
    g_assert_cmpint(counter(b, "p1", "datagram-writes"), <, ARRAY_SIZE(p));
    bench_free(b);
}

static void test_too_long(void)
{
    static Packet p;
    static uint8_t buf[66000];
    Bench *b = bench_new();
    PacketSpec s = { .proto = VNET_PROTO_UDP, .payload = FITS - 41 };
    size_t n, got = 0;
    VnetInet i;

    /* The sender is told, in the name of who it was for. */
    for (int v6 = 0; v6 < 2; v6++) {
        s.v6 = v6;
        packet_make(&p, &s);
        say(b, 0, p.buf, p.len);
        n = hear(b, 0, buf);
        g_assert_cmpmem(buf, 6, p.buf + 6, 6);
        g_assert(vnet_inet_find(buf, n, &i));
        g_assert_cmpuint(i.proto, ==, v6 ? VNET_PROTO_ICMPV6 :
                                           VNET_PROTO_ICMP);
        g_assert_cmpuint(v6 ? get32(buf + i.l4 + 4) : get16(buf + i.l4 + 6),
                         ==, FITS - 14);
    }
    g_assert_cmpint(counter(b, "p1", "tx-drop-answered"), ==, 2);
    /* Or it is cut. */
    s = (PacketSpec) { .proto = VNET_PROTO_UDP, .payload = 3000,
                       .may_cut = true };
    packet_make(&p, &s);
    say(b, 0, p.buf, p.len);
    while (got < p.len - 34) {
        n = hear(b, 1, buf);
        g_assert_cmpuint(n, <=, FITS);
        g_assert_cmpmem(buf + 34, n - 34, p.buf + 34 + got, n - 34);
        got += n - 34;
    }
    g_assert_cmpint(counter(b, "p1", "tx-fragmented"), ==, 1);
    /* Or nobody can be told. */
    memset(p.buf + 6, 0x42, 2000);
    say(b, 0, p.buf, 2000);
    wait_counter(b, "p1", "tx-drop-long", 1);
    bench_free(b);
}

/* There is an end to answers. */
static void test_answers_are_limited(void)
{
    const PacketSpec s = { .proto = VNET_PROTO_UDP, .payload = FITS };
    static Packet p;
    Bench *b = bench_new();
    int64_t said, kept, began = g_get_monotonic_time(), tenths;

    packet_make(&p, &s);
    for (int i = 0; i < 600; i++) {
        say(b, 0, p.buf, p.len);
        if (i % 50 == 49) {
            wait_counter(b, "p1", "tx-drop-answered", i + 1);
        }
    }
    kept = counter(b, "p1", "answers-dropped");
    said = counter(b, "p0", "tx-frames");
    g_assert_cmpint(said + kept, ==, 600);
    /* A hundred in each tenth of a second that this touched. */
    tenths = (g_get_monotonic_time() - began) / 100000 + 2;
    g_assert_cmpint(said, <=, 100 * tenths);
    bench_free(b);
}

static void test_hostile(void)
{
    static Packet p;
    const PacketSpec s = { .proto = VNET_PROTO_UDP, .payload = 100 };
    Bench *b = bench_new();
    uint8_t buf[100] = { 0 };
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(b->peer[0].port),
    };

    /* Of any length, without the flag. */
    for (size_t n = 0; n < 20; n++) {
        sendto(b->peer[0].fd, buf, n, 0, (struct sockaddr *)&to, sizeof(to));
    }
    wait_counter(b, "p0", "rx-drop-header", 20);
    /* With it, and too short for a frame. */
    for (size_t n = 0; n < 14; n++) {
        say(b, 0, buf, n);
    }
    wait_counter(b, "p0", "rx-drop-short", 14);
    /* Another network. */
    vnet_vxlan_put_header(buf, VNI + 1);
    sendto(b->peer[0].fd, buf, 60, 0, (struct sockaddr *)&to, sizeof(to));
    wait_counter(b, "p0", "rx-drop-vni", 1);
    /* From a group. */
    memset(buf, 0xff, sizeof(buf));
    say(b, 0, buf, 60);
    wait_counter(b, NULL, "frames-drop-bad-src", 1);
    packet_make(&p, &s);
    say(b, 0, p.buf, p.len);
    expect(b, 1, p.buf, p.len);
    bench_free(b);
}

/* --- Options ---------------------------------------------------------- */

#define LINK(more) "{ 'id': 'l0', 'type': 'vxlan', " more " }"
#define ADDR(host, port) \
    "'addr': { 'type': 'inet', 'host': '" host "', 'port': '" port "' }"

static void test_options(void)
{
    static const char *const cases[][2] = {
        { LINK("'addr': { 'type': 'unix', 'path': '/x' }"),
          "link l0: addr.type \"unix\" is not for type \"vxlan\", only "
          "\"inet\" is" },
        { LINK(ADDR("localhost", "4789")),
          "link l0: addr \"localhost\" port \"4789\" is not the numeric "
          "address and port that type \"vxlan\" needs" },
        { LINK(ADDR("127.0.0.1", "0")),
          "link l0: addr \"127.0.0.1\" port \"0\" is not the numeric address "
          "and port that type \"vxlan\" needs" },
        { LINK(ADDR("127.0.0.1", "1") ", 'local': '::1'"),
          "link l0: local \"::1\" is not a numeric address of the same family "
          "as the peer's" },
        { LINK(ADDR("127.0.0.1", "1") ", 'mtu': 1349"),
          "link l0: mtu is 1349, and must be 0, or 1350 to 65535" },
        { LINK(ADDR("127.0.0.1", "1") ", 'server': true"),
          "link l0: server=on is not for type \"vxlan\", which has no "
          "connections" },
        { LINK(ADDR("127.0.0.1", "1") ", 'setup-timeout-ms': 500"),
          "link l0: setup-timeout-ms is not for type \"vxlan\", which has no "
          "connections" },
        { LINK(ADDR("127.0.0.1", "1") ", 'max-qps': 5"),
          "link l0: max-qps is for type \"rdma\" only" },
        { LINK(ADDR("127.0.0.1", "1") ", 'buffer-size': 1"),
          "link l0: buffer-size is 1, and must be 0, or 4096 to 67108864" },
        { "{ 'id': 'l0', 'mtu': 1500, 'addr': { 'type': 'unix', "
          "'path': '/x' } }",
          "link l0: mtu is for type \"vxlan\" only" },
    };
    QTestState *qts = qtest_init("-nodefaults -M none");

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        QDict *err = qtest_qmp_assert_failure_ref(
            qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
            "'id': 'n1', 'links': [ %p ] } }",
            qobject_from_json(cases[i][0], &error_abort));
        g_autofree char *wanted = g_strconcat("netdev n1: ", cases[i][1], NULL);

        g_assert_cmpstr(qdict_get_str(err, "desc"), ==, wanted);
        qobject_unref(err);
    }
    qtest_quit(qts);
}

/* Who has a port alone, has it alone; one peer has one link. */
static void test_taken(void)
{
    QTestState *qts = qtest_init("-nodefaults -M none");
    uint16_t taken;
    int fd = udp_socket(INADDR_ANY, &taken);
    g_autofree char *port = g_strdup_printf("%u", taken);
    g_autofree char *other = g_strdup_printf("%u", free_port());
    g_autofree char *cannot = g_strdup_printf(
        "netdev n1: link l0: cannot receive at UDP port %s of any address: "
        "Address already in use", port);
    g_autofree char *twice = g_strdup_printf(
        "netdev n1: link l0: link a of netdev n0 receives from 127.0.0.1 at "
        "port %s already", other);
    QDict *err;

    err = qtest_qmp_assert_failure_ref(
        qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet',"
        "'id': 'n1', 'links': [ { 'id': 'l0', 'type': 'vxlan', 'addr': { "
        "'type': 'inet', 'host': '127.0.0.1', 'port': %s } } ] } }", port);
    g_assert_cmpstr(qdict_get_str(err, "desc"), ==, cannot);
    qobject_unref(err);
    close(fd);

    qtest_qmp_assert_success(
        qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet',"
        "'id': 'n0', 'links': [ { 'id': 'a', 'type': 'vxlan', 'addr': { "
        "'type': 'inet', 'host': '127.0.0.1', 'port': %s } }, "
        "{ 'id': 'b', 'type': 'vxlan', 'addr': { 'type': 'inet', "
        "'host': '127.0.0.2', 'port': %s } } ] } }", other, other);
    for (int again = 0; again < 2; again++) {
        err = qtest_qmp_assert_failure_ref(
            qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet',"
            "'id': 'n1', 'vni': 5, 'links': [ { 'id': 'l0', 'type': 'vxlan', "
            "'addr': { 'type': 'inet', 'host': '127.0.0.1', 'port': %s } } "
            "] } }", other);
        g_assert_cmpstr(qdict_get_str(err, "desc"), ==, twice);
        qobject_unref(err);
    }
    /* Its end is the end of that. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'vnet-link-del', 'arguments': "
                             "{ 'id': 'n0', 'link': 'a' } }");
    qtest_qmp_assert_success(
        qts, "{ 'execute': 'vnet-link-add', 'arguments': { 'id': 'n0', 'link': "
        "{ 'id': 'a', 'type': 'vxlan', 'addr': { 'type': 'inet', "
        "'host': '127.0.0.1', 'port': %s } } } }", other);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vnet/vxlan/options", test_options);
    qtest_add_func("/vnet/vxlan/taken", test_taken);
    qtest_add_func("/vnet/vxlan/forwards", test_forwards);
    qtest_add_func("/vnet/vxlan/two-ids", test_two_ids);
    qtest_add_func("/vnet/vxlan/joined", test_joined);
    qtest_add_func("/vnet/vxlan/too-long", test_too_long);
    qtest_add_func("/vnet/vxlan/answers-are-limited",
                   test_answers_are_limited);
    qtest_add_func("/vnet/vxlan/hostile", test_hostile);
    return g_test_run();
}
