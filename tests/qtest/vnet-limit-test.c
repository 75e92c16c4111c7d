/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET_LIMIT: that a limit was reached is an event, and however often it is, no
 * more than one a second (docs/specs/vnet-limits.rst, "Events").
 *
 *      raw peer --- l0 --- vnet n0 --- nic0
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vnet-rawpeer.h"
#include "vtoe-pair.h"
#include "vtoe-tmp.h"

#define VNI     7
/* Frames at once. */
#define STORM   20000

typedef struct Bench {
    char *dir, *path;
    VtoeHost h;
    VnetRawPeer peer;
    int frames;                 /* its frame connection */
    gint64 began;               /* us */
    /* What events have to say, NULL: nothing */
    const char *limit, *port, *link;
    unsigned events;
    uint64_t told;              /* times that they count */
} Bench;

static const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };
static const uint8_t peer_mac[6] = { 0x52, 0x54, 0, 0, 0, 0x0c };

static bool event_came(QTestState *qts, const char *name, QDict *ev,
                       void *opaque)
{
    Bench *b = opaque;
    QDict *data = qdict_get_qdict(ev, "data");

    if (!g_str_equal(name, "VNET_LIMIT")) {
        return false;
    }
    g_assert_cmpstr(qdict_get_str(data, "netdev"), ==, "n0");
    g_assert_cmpstr(qdict_get_str(data, "limit"), ==, b->limit);
    g_assert_cmpstr(qdict_get_try_str(data, "port"), ==, b->port);
    g_assert_cmpstr(qdict_get_try_str(data, "link"), ==, b->link);
    /* There was none before the first. */
    g_assert(b->events || !qdict_get_int(data, "suppressed"));
    b->events++;
    b->told += 1 + qdict_get_int(data, "suppressed");
    return true;
}

static void bench_start(Bench *b, const char *options)
{
    g_autofree char *netdev = NULL;

    *b = (Bench) { .dir = vtoe_tmp_dir("vnet-limit") };
    b->path = g_build_filename(b->dir, "link", NULL);
    netdev = g_strdup_printf("vnet,vni=%d,heartbeat-ms=60000,%s,links.0.id=l0,"
                             "links.0.server=on,links.0.addr.type=unix,"
                             "links.0.addr.path=%s", VNI, options, b->path);
    vtoe_host_boot(&b->h, "pc", netdev, VTOE_NIC_A);
    qtest_qmp_set_event_callback(b->h.qts, event_came, b);
    vnet_raw_up(&b->peer, b->path, VNI);
    b->frames = vnet_raw_open(&b->peer, b->path, VNET_CONN_FRAME, 0);
    b->began = g_get_monotonic_time();
}

static void bench_end(Bench *b)
{
    gint64 s = (g_get_monotonic_time() - b->began) / G_USEC_PER_SEC;

    g_assert_cmpuint(b->events, <=, s + 1);
    close(b->frames);
    vnet_raw_close(&b->peer);
    vtoe_host_quit(&b->h);
    g_free(b->path);
    vtoe_tmp_remove(b->dir);
}

/* Asks QEMU, and so takes the events that there are by now. */
static uint64_t counter(Bench *b, const char *name)
{
    QDict *st = vnet_status(b->h.qts, "n0");
    uint64_t value = vnet_counter(st, name);

    qobject_unref(st);
    return value;
}

static void send_frame(Bench *b, const uint8_t dst[6], uint32_t src)
{
    const VnetWireFrame f = { .len = 60, .vni = VNI };
    uint8_t data[60] = { 0 };

    memcpy(data, dst, 6);
    data[6] = 2;
    stl_be_p(data + 8, src);
    vnet_raw_send_frame(b->frames, &f, data);
}

/*
 * A peer that sends STORM frames which run into a limit that `count` counts,
 * and then goes on slowly until events have told of as many.
 */
static void storm(Bench *b, const char *limit, const char *count,
                  const uint8_t dst[6], unsigned step)
{
    gint64 deadline = 0;
    uint32_t src = 1;

    b->limit = limit;
    b->link = "l0";
    for (unsigned i = 0; i < STORM; i++) {
        send_frame(b, dst, src += step);
    }
    while (b->told < STORM) {
        vtoe_wait_step(&deadline, "events that tell of all frames");
        send_frame(b, dst, src += step);
        counter(b, count);
    }
    g_assert_cmpuint(b->events, >=, 2);
    g_assert_cmpuint(b->told, <=, counter(b, count));
    vtoe_assert_monitor(b->h.qts);
}

static void test_max_macs(void)
{
    Bench b;

    bench_start(&b, "max-macs=1");
    storm(&b, "max-macs", "macs-full", vtoe_mac_a, 1);
    bench_end(&b);
}

static void test_flood_limit(void)
{
    Bench b;

    bench_start(&b, "flood-limit=1");
    storm(&b, "flood-limit", "frames-drop-storm", everyone, 0);
    bench_end(&b);
}

static void wait_events(Bench *b, unsigned events)
{
    gint64 deadline = 0;

    while (b->events < events) {
        vtoe_wait_step(&deadline, "VNET_LIMIT");
        counter(b, "frames-in");
    }
}

/* Asked for by the guest, then by the peer. */
static void test_max_streams(void)
{
    struct vtoe_flow flow = vtoe_flow4(vtoe_mac_a, 1, 10001, peer_mac, 2, 5000);
    VnetMsg m = { .type = VNET_MSG_MAC, .flags = VNET_MAC_F_STREAMS };
    gint64 deadline = 0;
    struct vtoe_event ev;
    uint32_t id = 0;
    Bench b;

    bench_start(&b, "max-streams=1");
    vtoe_start(b.h.d, 2, VTOE_TEST_RING);
    m.u.mac.vni = VNI;
    memcpy(m.u.mac.mac, peer_mac, 6);
    vnet_raw_send(&b.peer, &m);
    vnet_raw_ping(&b.peer);

    b.limit = "max-streams";
    b.port = "nic0";
    g_assert_cmpuint(vtoe_connect(b.h.d, 1, 1, &flow, VTOE_TEST_CREDIT), ==,
                     VTOE_CMD_OK);
    vnet_raw_expect(&b.peer, VNET_MSG_OPEN, &m);
    g_assert_cmpuint(vtoe_connect(b.h.d, 2, 1, &flow, VTOE_TEST_CREDIT), ==,
                     VTOE_CMD_OK);
    ev = vtoe_wait_event_of(b.h.d, VTOE_EVENT_CONNECT_ERROR, 2);
    g_assert_cmpuint(le16_to_cpu(ev.reason), ==, VTOE_REASON_LIMIT);
    wait_events(&b, 1);

    b.link = "l0";
    while (b.events < 2) {
        vtoe_wait_step(&deadline, "the event of a stream of the peer");
        m = (VnetMsg) { .type = VNET_MSG_OPEN, .id = ++id };
        m.u.open.vni = VNI;
        m.u.open.flow.family = 4;
        memcpy(m.u.open.flow.lmac, peer_mac, 6);
        memcpy(m.u.open.flow.rmac, vtoe_mac_a, 6);
        vnet_raw_send(&b.peer, &m);
        vnet_raw_expect(&b.peer, VNET_MSG_REJECT, &m);
        g_assert_cmpuint(m.u.reject.reason, ==, VTOE_REASON_LIMIT);
        counter(&b, "rejected-limit");
    }
    /* All of them, but for one that came when the event was on its way. */
    g_assert_cmpuint(b.told, >=, id);
    g_assert_cmpuint(b.told, <=, 1 + id);
    bench_end(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vnet/limit/max-macs", test_max_macs);
    qtest_add_func("/vnet/limit/flood-limit", test_flood_limit);
    qtest_add_func("/vnet/limit/max-streams", test_max_streams);
    return g_test_run();
}
