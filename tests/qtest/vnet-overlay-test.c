/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several netdevs in one overlay (overlay=), each with a network id.
 *
 * Two QEMUs with two vtoe-pci each.  The addresses in both ids are the same:
 *
 *    a: nic0 ...:0a --- n0, vni 7 --+               +-- n0, vni 7 --- nic0 ...:0b :b
 *       nic1 ...:0a --- n1, vni 8 --+--- link l0 ---+-- n1, vni 8 --- nic1 ...:0b
 */

#include "qemu/osdep.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "vnet-rawpeer.h"
#include "vtoe-pair.h"
#include "vtoe-tmp.h"

#define JOINED(mac) " -netdev vnet,id=n1,vni=8,overlay=n0 -device " \
                    "vtoe-pci,id=nic1,netdev=n1,addr=5,mac=52:54:00:00:00:" mac

typedef struct Twin {
    VtoePair in7;               /* owns the QEMUs */
    VtoePair in8;               /* the same, with the drivers of nic1 */
} Twin;

/* The driver of a further vtoe-pci, at this slot, of a QEMU. */
static VtoeHost other_nic(const VtoeHost *h, unsigned slot)
{
    VtoeHost o = { .qs = h->qs, .qts = h->qts };

    o.pci = qpci_device_find(h->qs->pcibus, QPCI_DEVFN(slot, 0));
    g_assert(o.pci);
    o.d = vtoe_driver_new(o.pci, o.qts, &h->qs->alloc);
    return o;
}

static void drop_nic(VtoeHost *o)
{
    vtoe_driver_free(o->d);
    g_free(o->pci);
}

static bool takes_streams(QTestState *qts, const char *netdev, const char *mac)
{
    QDict *st = vnet_status(qts, netdev);
    const QListEntry *e;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(st, "macs"), e) {
        QDict *m = qobject_to(QDict, qlist_entry_obj(e));

        g_assert_cmpint(qdict_get_int(m, "vni"), ==,
                        qdict_get_int(st, "vni"));
        found |= !g_ascii_strcasecmp(qdict_get_str(m, "mac"), mac) &&
                 qdict_get_bool(m, "streams");
    }
    qobject_unref(st);
    return found;
}

static void wait_streams(Twin *t, const char *netdev)
{
    gint64 deadline = 0;

    while (!takes_streams(t->in7.a.qts, netdev, "52:54:00:00:00:0b") ||
           !takes_streams(t->in7.b.qts, netdev, "52:54:00:00:00:0a")) {
        vtoe_wait_step(&deadline, netdev);
    }
}

static void start_in8(Twin *t)
{
    vtoe_start(t->in8.a.d, 2, VTOE_TEST_RING);
    vtoe_start(t->in8.b.d, 2, VTOE_TEST_RING);
    wait_streams(t, "n1");
}

/* joined: with the netdevs and NICs of network 8. */
static Twin *twin_boot(bool joined)
{
    Twin *t = g_new0(Twin, 1);
    g_autofree char *client = NULL, *server = NULL;
    g_autofree char *net_a = NULL, *net_b = NULL;

    t->in7.dir = vtoe_tmp_dir("vnet-overlay");
    vtoe_link_options(t->in7.dir, &client, &server);
    net_a = g_strconcat("vnet,vni=7,", client, NULL);
    net_b = g_strconcat("vnet,vni=7,", server, NULL);
    vtoe_host_boot(&t->in7.b, "pc", net_b,
                   joined ? VTOE_NIC_B JOINED("0b") : VTOE_NIC_B);
    vtoe_host_boot(&t->in7.a, "pc", net_a,
                   joined ? VTOE_NIC_A JOINED("0a") : VTOE_NIC_A);
    vtoe_wait_link_up(t->in7.a.qts, "n0");
    vtoe_start(t->in7.a.d, 2, VTOE_TEST_RING);
    vtoe_start(t->in7.b.d, 2, VTOE_TEST_RING);
    wait_streams(t, "n0");
    if (joined) {
        t->in8.a = other_nic(&t->in7.a, 5);
        t->in8.b = other_nic(&t->in7.b, 5);
        start_in8(t);
    }
    return t;
}

static void twin_quit(Twin *t)
{
    if (t->in8.a.d) {
        drop_nic(&t->in8.a);
        drop_nic(&t->in8.b);
    }
    vtoe_host_quit(&t->in7.a);
    vtoe_host_quit(&t->in7.b);
    vtoe_tmp_remove(t->in7.dir);
    g_free(t);
}

/* The network ids that the link carries, as one end tells; "7,8". */
static char *carried(QTestState *qts)
{
    QDict *st = vnet_status(qts, "n0");
    GString *s = g_string_new("");
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(vnet_status_link(st, "l0"), "vnis"),
                        e) {
        uint64_t vni = qnum_get_uint(qobject_to(QNum, qlist_entry_obj(e)));

        g_string_append_printf(s, "%s%" PRIu64, s->len ? "," : "", vni);
    }
    qobject_unref(st);
    return g_string_free(s, FALSE);
}

static void wait_carried(Twin *t, const char *vnis)
{
    gint64 deadline = 0;

    for (;;) {
        g_autofree char *a = carried(t->in7.a.qts);
        g_autofree char *b = carried(t->in7.b.qts);

        if (g_str_equal(a, vnis) && g_str_equal(b, vnis)) {
            return;
        }
        vtoe_wait_step(&deadline, vnis);
    }
}

static unsigned list_length(QTestState *qts, const char *netdev,
                            const char *member)
{
    QDict *st = vnet_status(qts, netdev);
    unsigned n = qlist_size(qdict_get_qlist(st, member));

    qobject_unref(st);
    return n;
}

static uint64_t counter(QTestState *qts, const char *netdev, const char *name)
{
    QDict *st = vnet_status(qts, netdev);
    uint64_t n = vnet_counter(st, name);

    qobject_unref(st);
    return n;
}

/* --- Two ids on one link ------------------------------------------------- */

/* Of this length, which says who sent it. */
static void send_frame(VtoeHost *from, const uint8_t to[6], uint32_t len)
{
    uint64_t at = vtoe_alloc(from->d, len);
    uint8_t frame[256] = { 0 };

    memcpy(frame, to, 6);
    memcpy(frame + 6, vtoe_mac_a, 6);
    qtest_memwrite(from->qts, at, frame, len);
    /* The memory stays: when the device has read it is not known here. */
    vtoe_send(from->d, &from->d->q[0], VTOE_SID_FRAME, at, len);
}

static void post_buffers(VtoeHost *to)
{
    uint64_t at = vtoe_alloc(to->d, 8 * 4096);

    for (unsigned i = 0; i < 8; i++) {
        vtoe_post_recv(to->d, &to->d->q[0], at + i * 4096, 4096, 0, i);
    }
    vtoe_kick(to->d, &to->d->q[0]);
}

static void test_frames_in_two_ids(void)
{
    static const uint8_t everyone[6] = { 255, 255, 255, 255, 255, 255 };
    Twin *t = twin_boot(true);
    struct vtoe_comp c;

    wait_carried(t, "7,8");
    post_buffers(&t->in7.b);
    post_buffers(&t->in8.b);
    for (unsigned i = 0; i < 3; i++) {
        /* The first waits for the frame connection. */
        const uint8_t *to = i ? everyone : vtoe_mac_b;

        send_frame(&t->in7.a, to, 100 + i);
        send_frame(&t->in8.a, to, 200 + i);
        c = vtoe_wait_comp(t->in7.b.d, &t->in7.b.d->q[0]);
        g_assert_cmpuint(c.len, ==, 100 + i);
        c = vtoe_wait_comp(t->in8.b.d, &t->in8.b.d->q[0]);
        g_assert_cmpuint(c.len, ==, 200 + i);
    }
    g_assert_false(vtoe_poll_comp(t->in7.b.d, &t->in7.b.d->q[0], &c));
    g_assert_false(vtoe_poll_comp(t->in8.b.d, &t->in8.b.d->q[0], &c));
    g_assert_cmpuint(vtoe_counter(t->in7.b.qts, "nic0", "rx_frames"), ==, 3);
    g_assert_cmpuint(vtoe_counter(t->in7.b.qts, "nic1", "rx_frames"), ==, 3);
    g_assert_cmpuint(counter(t->in7.b.qts, "n0", "frames-in"), ==, 3);
    g_assert_cmpuint(counter(t->in7.b.qts, "n1", "frames-in"), ==, 3);
    g_assert_cmpuint(vnet_link_counter(t->in7.b.qts, "n0", "l0", "rx-frames"),
                     ==, 6);
    g_assert_cmpuint(vnet_link_counter(t->in7.b.qts, "n0", "l0",
                                       "rx-drop-vni"), ==, 0);
    twin_quit(t);
}

static unsigned connections(QTestState *qts)
{
    QDict *st = vnet_status(qts, "n0");
    unsigned n = qdict_get_int(vnet_status_link(st, "l0"), "connections");

    qobject_unref(st);
    return n;
}

/* The same flow in both ids at once. */
static void test_streams_in_two_ids(void)
{
    Twin *t = twin_boot(true);
    VtoeTestStream s7, s8;
    QDict *st;

    vtoe_pair_listen(&t->in7);
    vtoe_pair_listen(&t->in8);
    s7 = vtoe_pair_connect(&t->in7, 1);
    s8 = vtoe_pair_connect(&t->in8, 1);
    vtoe_pair_transfer(t->in7.a.d, s7.a, t->in7.b.d, s7.b, 0, 100000);
    vtoe_pair_transfer(t->in8.b.d, s8.b, t->in8.a.d, s8.a, 0, 200000);
    vtoe_pair_transfer(t->in8.a.d, s8.a, t->in8.b.d, s8.b, 0, 300);
    g_assert_cmpuint(vtoe_counter(t->in7.b.qts, "nic0", "rx_stream_bytes"), ==,
                     100000);
    g_assert_cmpuint(vtoe_counter(t->in7.b.qts, "nic1", "rx_stream_bytes"), ==,
                     300);
    /* One control, one frame and two data connections. */
    g_assert_cmpuint(connections(t->in7.a.qts), ==, 4);
    g_assert_cmpuint(list_length(t->in7.b.qts, "n0", "streams"), ==, 1);
    g_assert_cmpuint(list_length(t->in7.b.qts, "n1", "streams"), ==, 1);
    g_assert_cmpuint(counter(t->in7.b.qts, "n0", "streams-passive"), ==, 1);
    g_assert_cmpuint(counter(t->in7.b.qts, "n1", "streams-passive"), ==, 1);
    st = vnet_status(t->in7.a.qts, "n1");
    g_assert_cmpstr(qdict_get_str(st, "overlay"), ==, "n0");
    g_assert_false(qdict_get_bool(st, "overlay-gone"));
    g_assert_true(qlist_empty(qdict_get_qlist(st, "links")));
    g_assert_cmpuint(qlist_size(qdict_get_qlist(st, "ports")), ==, 1);
    qobject_unref(st);
    /* One of them ends, and the other goes on. */
    g_assert_cmpuint(vtoe_sid_command(t->in7.a.d, VTOE_CMD_ABORT, s7.a, 0, 0),
                     ==, VTOE_CMD_OK);
    vtoe_wait_event_of(t->in7.b.d, VTOE_EVENT_DISCONNECTED, s7.b);
    vtoe_pair_transfer(t->in8.a.d, s8.a, t->in8.b.d, s8.b, 300, 1000);
    twin_quit(t);
}

/* --- Ids that come and go ------------------------------------------------ */

static void add_joined(VtoeHost *h, const char *nic, unsigned slot,
                       const char *mac)
{
    g_autofree char *addr = g_strdup_printf("%u", slot);

    qtest_qmp_assert_success(h->qts, "{ 'execute': 'netdev_add', 'arguments': "
                             "{ 'type': 'vnet', 'id': 'n1', 'vni': 8, "
                             "'overlay': 'n0' } }");
    qtest_qmp_device_add(h->qts, "vtoe-pci", nic,
                         "{ 'netdev': 'n1', 'addr': %s, 'mac': %s }", addr,
                         mac);
}

static void del_netdev(QTestState *qts, const char *id)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_del', 'arguments': "
                             "{ 'id': %s } }", id);
}

static void test_hot_add_and_remove(void)
{
    Twin *t = twin_boot(false);
    VtoeTestStream s7, s8;
    VtoeHost gone;

    vtoe_pair_listen(&t->in7);
    s7 = vtoe_pair_connect(&t->in7, 1);
    wait_carried(t, "7");
    add_joined(&t->in7.a, "nic1", 5, "52:54:00:00:00:0a");
    wait_carried(t, "7");
    add_joined(&t->in7.b, "nic1", 5, "52:54:00:00:00:0b");
    wait_carried(t, "7,8");
    t->in8.a = other_nic(&t->in7.a, 5);
    t->in8.b = other_nic(&t->in7.b, 5);
    start_in8(t);
    vtoe_pair_listen(&t->in8);
    s8 = vtoe_pair_connect(&t->in8, 1);
    vtoe_pair_transfer(t->in8.a.d, s8.a, t->in8.b.d, s8.b, 0, 5000);

    /* With its NIC there, which tells its guest. */
    del_netdev(t->in7.b.qts, "n1");
    vtoe_wait_event(t->in8.b.d, VTOE_EVENT_DEVICE_REMOVED);
    vtoe_wait_event_of(t->in8.a.d, VTOE_EVENT_DISCONNECTED, s8.a);
    wait_carried(t, "7");
    g_assert_cmphex(vtoe_rd(t->in8.a.d, VTOE_REG_LINK), ==, 0);
    vtoe_pair_transfer(t->in7.a.d, s7.a, t->in7.b.d, s7.b, 0, 5000);

    /* And again, with another NIC. */
    gone = t->in8.b;
    qpci_unplug_acpi_device_test(t->in7.b.qts, "nic1", 5);
    drop_nic(&gone);
    add_joined(&t->in7.b, "nic2", 6, "52:54:00:00:00:0b");
    wait_carried(t, "7,8");
    t->in8.b = other_nic(&t->in7.b, 6);
    start_in8(t);
    vtoe_pair_listen(&t->in8);
    s8 = vtoe_pair_connect(&t->in8, 2);
    vtoe_pair_transfer(t->in8.a.d, s8.a, t->in8.b.d, s8.b, 0, 5000);
    vtoe_pair_transfer(t->in7.a.d, s7.a, t->in7.b.d, s7.b, 5000, 5000);
    g_assert_cmpuint(vnet_link_counter(t->in7.a.qts, "n0", "l0", "ups"), ==, 1);
    twin_quit(t);
}

/* The owner goes: its links with it, and the others are on their own. */
static void test_owner_goes_first(void)
{
    Twin *t = twin_boot(true);
    VtoeTestStream s8;
    QDict *st, *err;
    char *hmp;

    vtoe_pair_listen(&t->in8);
    s8 = vtoe_pair_connect(&t->in8, 1);
    del_netdev(t->in7.b.qts, "n0");
    vtoe_wait_event_of(t->in8.b.d, VTOE_EVENT_DISCONNECTED, s8.b);
    vtoe_wait_event_of(t->in8.a.d, VTOE_EVENT_DISCONNECTED, s8.a);
    g_assert_cmphex(vtoe_rd(t->in8.b.d, VTOE_REG_LINK), ==, 0);
    st = vnet_status(t->in7.b.qts, "n1");
    g_assert_cmpstr(qdict_get_str(st, "overlay"), ==, "n0");
    g_assert_true(qdict_get_bool(st, "overlay-gone"));
    qobject_unref(st);
    hmp = qtest_hmp(t->in7.b.qts, "info vnet");
    g_assert(strstr(hmp, "n1: vni 8, name n0, overlay n0 (gone)\r\n"));
    g_free(hmp);
    vtoe_assert_monitor(t->in7.b.qts);
    /* A new one is another overlay. */
    qtest_qmp_assert_success(t->in7.b.qts, "{ 'execute': 'netdev_add', "
                             "'arguments': { 'type': 'vnet', 'id': 'n0', "
                             "'vni': 8 } }");
    err = qtest_qmp_assert_failure_ref(t->in7.b.qts, "{ 'execute': "
        "'vnet-link-del', 'arguments': { 'id': 'n1', 'link': 'l0' } }");
    g_assert_cmpstr(qdict_get_str(err, "desc"), ==, "netdev n1 has no links: "
                    "it has joined the overlay of netdev n0, which has them");
    qobject_unref(err);
    del_netdev(t->in7.b.qts, "n1");
    vtoe_wait_event(t->in8.b.d, VTOE_EVENT_DEVICE_REMOVED);
    vtoe_assert_monitor(t->in7.b.qts);
    twin_quit(t);
}

/* --- Any NIC, any order -------------------------------------------------- */

static const char *const nics[] = { NULL, "vtoe-pci", "virtio-net-pci",
                                    "e1000e" };

static void end_netdevs(QTestState *qts, const char *first, const char *second)
{
    del_netdev(qts, first);
    vtoe_assert_monitor(qts);
    del_netdev(qts, second);
    vtoe_assert_monitor(qts);
}

static void test_any_order(const void *data)
{
    unsigned how = GPOINTER_TO_UINT(data);

    for (unsigned i = 0; i < G_N_ELEMENTS(nics) * G_N_ELEMENTS(nics); i++) {
        g_autofree char *dir = vtoe_tmp_dir("vnet-overlay");
        const char *nic[2] = { nics[i % G_N_ELEMENTS(nics)],
                               nics[i / G_N_ELEMENTS(nics)] };
        GString *args = g_string_new("-machine pc -nodefaults ");
        QTestState *qts;

        g_string_append_printf(args, "-netdev vnet,id=n0,vni=7,links.0.id=l0,"
                               "links.0.addr.type=unix,links.0.addr.path=%s/l,"
                               "links.0.server=on -netdev vnet,id=n1,vni=8,"
                               "overlay=n0", dir);
        for (int n = 0; n < 2; n++) {
            if (nic[n]) {
                g_string_append_printf(args, " -device %s,netdev=n%d", nic[n],
                                       n);
            }
        }
        qts = qtest_init(args->str);
        g_string_free(args, TRUE);
        g_assert_cmpuint(list_length(qts, "n0", "ports"), ==, nic[0] != NULL);
        g_assert_cmpuint(list_length(qts, "n1", "ports"), ==, nic[1] != NULL);
        if (how == 1) {
            end_netdevs(qts, "n0", "n1");
        } else if (how == 2) {
            end_netdevs(qts, "n1", "n0");
        }
        qtest_quit(qts);
        vtoe_tmp_remove(g_steal_pointer(&dir));
    }
}

/* Nothing is left of those that have joined, nor of the last. */
static void test_nothing_is_left(void)
{
    QTestState *qts = qtest_init("-nodefaults -M none");
    unsigned fds = 0;

    for (int i = 0; i < 40; i++) {
        bool owner_first = i & 1;

        qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': "
                                 "{ 'type': 'vnet', 'id': 'n0', 'vni': 7 } }");
        for (int j = 1; j < 32; j++) {
            g_autofree char *id = g_strdup_printf("n%d", j);

            qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', "
                                     "'arguments': { 'type': 'vnet', 'id': %s, "
                                     "'vni': %d, 'overlay': 'n0' } }", id,
                                     100 + j);
        }
        for (int j = owner_first ? 0 : 31; j >= 0 && j < 32;
             j += owner_first ? 1 : -1) {
            g_autofree char *id = g_strdup_printf("n%d", j);

            del_netdev(qts, id);
        }
        if (i == 1) {
            fds = vnet_open_fds(qts);
        }
    }
    g_assert_cmpuint(vnet_open_fds(qts), ==, fds);
    qtest_quit(qts);
}

/* NICs that pass frames through the main loop are told of in their id, too. */
static void test_other_nics(void)
{
    g_autofree char *dir = vtoe_tmp_dir("vnet-overlay");
    g_autofree char *path = g_build_filename(dir, "l", NULL);
    QTestState *qts = qtest_initf(
        "-machine pc -nodefaults -netdev vnet,id=n0,vni=7,links.0.id=l0,"
        "links.0.addr.type=unix,links.0.addr.path=%s,links.0.server=on "
        "-netdev vnet,id=n1,vni=8,overlay=n0 "
        "-device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:0a "
        "-device e1000e,netdev=n1,mac=52:54:00:00:00:0a", path);
    VnetRawPeer p;
    VnetMsg m;

    /* Whoever asks makes them join. */
    g_assert_cmpuint(list_length(qts, "n0", "ports"), ==, 1);
    g_assert_cmpuint(list_length(qts, "n1", "ports"), ==, 1);
    vnet_raw_start(&p, path);
    vnet_raw_make_hello(&p, 9, &m);
    m.u.hello.features |= VNET_HELLO_F_NETS;
    m.u.hello.nnets = 2;
    m.u.hello.nets[0] = 7;
    m.u.hello.nets[1] = 8;
    vnet_raw_send(&p, &m);
    vnet_raw_expect(&p, VNET_MSG_HELLO, &m);
    g_assert_cmpuint(m.u.hello.vni, ==, 7);
    g_assert_cmpuint(m.u.hello.nnets, ==, 1);
    g_assert_cmpuint(m.u.hello.nets[0], ==, 8);
    for (unsigned vni = 7; vni <= 8; vni++) {
        vnet_raw_expect(&p, VNET_MSG_MAC, &m);
        g_assert_cmpuint(m.u.mac.vni, ==, vni);
        g_assert_cmpmem(m.u.mac.mac, 6, vtoe_mac_a, 6);
        g_assert_cmpuint(m.flags, ==, 0);
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': "
                             "{ 'type': 'vnet', 'id': 'n2', 'vni': 10, "
                             "'overlay': 'n0' } }");
    vnet_raw_expect(&p, VNET_MSG_NET, &m);
    g_assert_cmpuint(m.u.net.vni, ==, 10);
    g_assert_cmpuint(m.flags, ==, 0);
    del_netdev(qts, "n2");
    vnet_raw_expect(&p, VNET_MSG_NET, &m);
    g_assert_cmpuint(m.u.net.vni, ==, 10);
    g_assert_cmpuint(m.flags, ==, VNET_NET_F_GONE);
    vnet_raw_close(&p);
    qtest_quit(qts);
    vtoe_tmp_remove(g_steal_pointer(&dir));
}

/* --- What is refused ----------------------------------------------------- */

typedef struct Refused {
    const char *json;           /* members of netdev_add's arguments */
    const char *error;
} Refused;

#define NOT_HERE(option) option " is for the netdev that has the links: give " \
                         "it to n0, not with overlay=n0"

static const Refused refused[] = {
    { "'overlay': 'n9', 'vni': 9", "there is no vnet netdev \"n9\"" },
    { "'overlay': 'n1', 'vni': 9",
      "netdev n1 has joined the overlay of n0 itself, which is the one to "
      "join" },
    { "'overlay': 'n0', 'vni': 7",
      "vni 7 is that of netdev n0 in this overlay already" },
    { "'overlay': 'n0', 'vni': 8",
      "vni 8 is that of netdev n1 in this overlay already" },
    { "'overlay': 'n0', 'vni': 16777216",
      "vni is 16777216, and must be 0 to 16777215" },
    { "'overlay': 'n0', 'vni': 9, 'links': []", NOT_HERE("links") },
    { "'overlay': 'n0', 'vni': 9, 'links-file': 'f'", NOT_HERE("links-file") },
    { "'overlay': 'n0', 'vni': 9, 'name': 'me'", NOT_HERE("name") },
    { "'overlay': 'n0', 'vni': 9, 'iothread': 'i'", NOT_HERE("iothread") },
    { "'overlay': 'n0', 'vni': 9, 'poll-max-ns': 0", NOT_HERE("poll-max-ns") },
    { "'overlay': 'n0', 'vni': 9, 'heartbeat-ms': 99",
      NOT_HERE("heartbeat-ms") },
    { "'overlay': 'n0', 'vni': 9, 'resume-ms': 9", NOT_HERE("resume-ms") },
    { "'overlay': 'n0', 'vni': 9, 'max-streams': 9",
      NOT_HERE("max-streams") },
    { "'overlay': 'n0', 'vni': 9, 'max-macs': 9", NOT_HERE("max-macs") },
    { "'overlay': 'n0', 'vni': 9, 'mac-age': 9", NOT_HERE("mac-age") },
};

static void test_refused(void)
{
    QTestState *qts = qtest_init("-nodefaults -M none "
                                 "-netdev vnet,id=n0,vni=7 "
                                 "-netdev vnet,id=n1,vni=8,overlay=n0");
    unsigned fds = vnet_open_fds(qts);

    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autofree char *cmd = g_strdup_printf(
            "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
            "'id': 'n2', %s } }", refused[i].json);
        g_autofree char *says = g_strconcat("netdev n2: ", refused[i].error,
                                            NULL);
        QDict *rsp;

        qtest_qmp_send_raw(qts, "%s", cmd);
        rsp = qtest_qmp_receive(qts);
        g_assert(qdict_haskey(rsp, "error"));
        g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                        ==, says);
        qobject_unref(rsp);
    }
    g_assert_cmpuint(vnet_open_fds(qts), ==, fds);
    qtest_quit(qts);
}

static void test_too_many(void)
{
    QTestState *qts = qtest_init("-nodefaults -M none -netdev vnet,id=n0");
    QDict *err;

    for (int i = 1; i < 32; i++) {
        g_autofree char *id = g_strdup_printf("n%d", i);

        qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_add', 'arguments': "
                                 "{ 'type': 'vnet', 'id': %s, 'vni': %d, "
                                 "'overlay': 'n0' } }", id, i);
    }
    err = qtest_qmp_assert_failure_ref(
        qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
        "'id': 'n32', 'vni': 32, 'overlay': 'n0' } }");
    g_assert_cmpstr(qdict_get_str(err, "desc"), ==, "netdev n32: the overlay "
                    "of netdev n0 has 32 network ids already");
    qobject_unref(err);
    qtest_quit(qts);
}

static void refuse(QTestState *qts, const char *command)
{
    QDict *rsp;

    qtest_qmp_send_raw(qts, "%s", command);
    rsp = qtest_qmp_receive(qts);
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"), ==,
                    "netdev n1 has no links: it has joined the overlay of "
                    "netdev n0, which has them");
    qobject_unref(rsp);
}

static void test_links_are_the_owners(void)
{
    QTestState *qts = qtest_init("-nodefaults -M none "
                                 "-netdev vnet,id=n0,vni=7 "
                                 "-netdev vnet,id=n1,vni=8,overlay=n0");

    vnet_wait_info(qts, "n0: index=0,type=vnet,vni=7,links=0/0\r\n"
                        "n1: index=0,type=vnet,vni=8,overlay=n0\r\n");
    refuse(qts, "{ 'execute': 'vnet-link-add', 'arguments': { 'id': 'n1', "
           "'link': { 'id': 'l1', 'addr': { 'type': 'unix', 'path': '/x' } } "
           "} }");
    refuse(qts, "{ 'execute': 'vnet-link-del', 'arguments': { 'id': 'n1', "
           "'link': 'l0' } }");
    refuse(qts, "{ 'execute': 'vnet-change-links', 'arguments': { 'id': 'n1', "
           "'commands': '' } }");
    /* What is its own can be changed. */
    qtest_qmp_assert_success(qts, "{ 'execute': 'vnet-set-rate', 'arguments': "
                             "{ 'id': 'n1', 'tx-rate': { 'bytes': 1000 } } }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'vnet-change-routes', "
                             "'arguments': { 'id': 'n1', 'commands': "
                             "'ADD any any edge l0 any' } }");
    g_assert_cmpuint(list_length(qts, "n0", "routes"), ==, 0);
    g_assert_cmpuint(list_length(qts, "n1", "routes"), ==, 1);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vnet/overlay/frames", test_frames_in_two_ids);
    qtest_add_func("/vnet/overlay/streams", test_streams_in_two_ids);
    qtest_add_func("/vnet/overlay/hot-add-and-remove", test_hot_add_and_remove);
    qtest_add_func("/vnet/overlay/owner-goes-first", test_owner_goes_first);
    qtest_add_data_func("/vnet/overlay/exit", GUINT_TO_POINTER(0),
                        test_any_order);
    qtest_add_data_func("/vnet/overlay/end/owner-first", GUINT_TO_POINTER(1),
                        test_any_order);
    qtest_add_data_func("/vnet/overlay/end/owner-last", GUINT_TO_POINTER(2),
                        test_any_order);
    qtest_add_func("/vnet/overlay/nothing-is-left", test_nothing_is_left);
    qtest_add_func("/vnet/overlay/other-nics", test_other_nics);
    qtest_add_func("/vnet/overlay/refused", test_refused);
    qtest_add_func("/vnet/overlay/too-many", test_too_many);
    qtest_add_func("/vnet/overlay/links-are-the-owners",
                   test_links_are_the_owners);
    return g_test_run();
}
