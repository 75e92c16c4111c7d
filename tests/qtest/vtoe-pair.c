/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two QEMUs joined by a vnet link, see vtoe-pair.h.
 */

#include "qemu/osdep.h"
#include <sys/wait.h>
#include "qemu/bswap.h"
#include "libqos/libqos-pc.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vtoe-pair.h"
#include "vtoe-tmp.h"

const uint8_t vtoe_mac_a[6] = { 0x52, 0x54, 0, 0, 0, 0x0a };
const uint8_t vtoe_mac_b[6] = { 0x52, 0x54, 0, 0, 0, 0x0b };
const uint8_t vtoe_mac_none[6] = { 0x52, 0x54, 0, 0, 0, 0xee };

void vtoe_host_boot(VtoeHost *h, const char *machine, const char *netdev,
                    const char *device)
{
    *h = (VtoeHost) { };
    h->qs = qtest_pc_boot("-machine %s -nodefaults -netdev %s,id=n0 "
                          "-device %s", machine, netdev, device);
    h->qts = h->qs->qts;
    h->pci = qpci_device_find(h->qs->pcibus, QPCI_DEVFN(VTOE_SLOT, 0));
    g_assert(h->pci);
    h->d = vtoe_driver_new(h->pci, h->qts, &h->qs->alloc);
}

void vtoe_host_kill(VtoeHost *h)
{
    pid_t pid = qtest_pid(h->qts);
    int status;

    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    h->killed = true;
}

void vtoe_host_quit(VtoeHost *h)
{
    vtoe_driver_free(h->d);
    g_free(h->pci);
    if (h->killed) {            /* libqtest takes a signal for a failure */
        h->qs->ops->qpci_free(h->qs->pcibus);
        alloc_destroy(&h->qs->alloc);
        g_free(h->qs);
    } else {
        qtest_shutdown(h->qs);
    }
}

VtoePair *vtoe_pair_boot(const char *machine, const char *extra)
{
    VtoePair *p = g_new0(VtoePair, 1);
    g_autofree char *path = NULL;
    g_autofree char *net_a = NULL, *net_b = NULL, *dev_a = NULL, *dev_b = NULL;

    p->dir = vtoe_tmp_dir("vtoe-qtest");
    path = g_build_filename(p->dir, "link", NULL);
    net_a = g_strdup_printf("vnet,vni=7,links.0.id=l0,links.0.addr.type=unix,"
                            "links.0.addr.path=%s", path);
    net_b = g_strdup_printf("%s,links.0.server=on", net_a);
    dev_a = g_strconcat(VTOE_NIC_A, extra, NULL);
    dev_b = g_strconcat(VTOE_NIC_B, extra, NULL);
    vtoe_host_boot(&p->b, machine, net_b, dev_b);
    vtoe_host_boot(&p->a, machine, net_a, dev_a);
    vtoe_wait_link_up(p->a.qts, "n0");
    vtoe_wait_link_up(p->b.qts, "n0");
    return p;
}

/* Whether the switch knows that this MAC takes streams. */
static bool vtoe_takes_streams(QTestState *qts, const char *mac)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet' }");
    QDict *net = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    const QListEntry *e;
    bool found = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(net, "macs"), e) {
        QDict *m = qobject_to(QDict, qlist_entry_obj(e));

        found |= !g_ascii_strcasecmp(qdict_get_str(m, "mac"), mac) &&
                 qdict_get_bool(m, "streams");
    }
    qobject_unref(rsp);
    return found;
}

void vtoe_pair_bring_up(VtoePair *p)
{
    gint64 deadline = 0;

    vtoe_start(p->a.d, 2, VTOE_TEST_RING);
    vtoe_start(p->b.d, 2, VTOE_TEST_RING);
    while (!vtoe_takes_streams(p->a.qts, "52:54:00:00:00:0b") ||
           !vtoe_takes_streams(p->b.qts, "52:54:00:00:00:0a")) {
        vtoe_wait_step(&deadline, "the MACs to be announced");
    }
}

VtoePair *vtoe_pair_start(const char *extra)
{
    VtoePair *p = vtoe_pair_boot("pc", extra);

    vtoe_pair_bring_up(p);
    return p;
}

void vtoe_pair_quit(VtoePair *p)
{
    vtoe_host_quit(&p->a);
    vtoe_host_quit(&p->b);
    vtoe_tmp_remove(p->dir);
    g_free(p);
}

void vtoe_pair_listen(VtoePair *p)
{
    g_assert_cmpuint(vtoe_listen(p->b.d, 1, VTOE_TEST_PORT, 16), ==,
                     VTOE_CMD_OK);
}

struct vtoe_flow vtoe_pair_flow(uint16_t lport)
{
    return vtoe_flow4(vtoe_mac_a, 1, lport, vtoe_mac_b, 2, VTOE_TEST_PORT);
}

struct vtoe_event vtoe_pair_request(VtoePair *p, uint32_t sid)
{
    struct vtoe_flow flow = vtoe_pair_flow(10000 + sid);
    struct vtoe_event ev;

    g_assert_cmpuint(vtoe_connect(p->a.d, sid, 1, &flow, VTOE_TEST_CREDIT), ==,
                     VTOE_CMD_OK);
    ev = vtoe_wait_event(p->b.d, VTOE_EVENT_CONNECT_REQUEST);
    g_assert_cmphex(ev.sid & VTOE_SID_PASSIVE, ==, VTOE_SID_PASSIVE);
    g_assert_cmpuint(ev.tag, ==, 1);
    g_assert_cmpuint(le16_to_cpu(ev.u.flow.lport), ==, VTOE_TEST_PORT);
    g_assert_cmpuint(le16_to_cpu(ev.u.flow.rport), ==, 10000 + sid);
    g_assert_cmpmem(ev.u.flow.lmac, 6, vtoe_mac_b, 6);
    g_assert_cmpmem(ev.u.flow.rmac, 6, vtoe_mac_a, 6);
    return ev;
}

VtoeTestStream vtoe_pair_connect(VtoePair *p, uint32_t sid)
{
    struct vtoe_event ev = vtoe_pair_request(p, sid);

    g_assert_cmpuint(vtoe_accept(p->b.d, ev.sid, 1, VTOE_TEST_CREDIT), ==,
                     VTOE_CMD_OK);
    vtoe_wait_event_of(p->b.d, VTOE_EVENT_CONNECT_ESTABLISHED, ev.sid);
    vtoe_wait_event_of(p->a.d, VTOE_EVENT_CONNECT_ESTABLISHED, sid);
    return (VtoeTestStream) { .a = sid, .b = ev.sid };
}

void vtoe_pair_transfer(VtoeDriver *from, uint32_t sid_from, VtoeDriver *to,
                        uint32_t sid_to, uint64_t start, uint32_t len)
{
    uint32_t room = MAX(len, VTOE_RECV_MIN_LEN);
    g_autofree uint8_t *sent = g_malloc(len);
    g_autofree uint8_t *got = g_malloc(len);
    uint64_t src = vtoe_alloc(from, len), dst = vtoe_alloc(to, room);
    uint32_t done = 0, i;
    struct vtoe_comp c;

    for (i = 0; i < len; i++) {
        sent[i] = (start + i) * 2654435761u >> 24;
    }
    qtest_memwrite(from->qts, src, sent, len);
    vtoe_post_recv(to, &to->q[1], dst, room, sid_to, 77);
    vtoe_kick(to, &to->q[1]);
    vtoe_send(from, &from->q[1], sid_from, src, len);
    while (done < len) {
        c = vtoe_wait_comp(to, &to->q[1]);
        g_assert_cmpuint(c.type, ==, VTOE_COMP_RECV);
        g_assert_cmphex(c.flags, ==, 0);
        g_assert_cmphex(c.sid, ==, sid_to);
        g_assert_cmpuint(c.id, ==, 77);
        g_assert_cmpuint(c.u.offset, ==, start + done);
        g_assert_cmpuint(c.len, <=, len - done);
        qtest_memread(to->qts, dst, got + done, c.len);
        done += c.len;
        if (done < len) {
            vtoe_post_recv(to, &to->q[1], dst, room, sid_to, 77);
            vtoe_kick(to, &to->q[1]);
        }
    }
    g_assert_cmpmem(got, len, sent, len);
    do {
        c = vtoe_wait_comp(from, &from->q[1]);
        g_assert_cmpuint(c.type, ==, VTOE_COMP_SEND);
        g_assert_cmphex(c.sid, ==, sid_from);
    } while (c.u.offset < start + len);
    g_assert_cmpuint(c.u.offset, ==, start + len);
    guest_free(from->alloc, src);
    guest_free(to->alloc, dst);
}

void vtoe_wait_no_streams(VtoeHost *h)
{
    gint64 deadline = 0;

    while (vtoe_open_streams(h->qts, "nic0") > 0) {
        vtoe_wait_step(&deadline, "the streams to be gone");
    }
}
