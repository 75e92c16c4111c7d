/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A peer that leaves something to be read for ever costs no processor time: the VNET
 * thread watches a descriptor that is busy by itself, and what is not read from it is
 * an event each time that it looks.
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include "qemu/units.h"
#include "vnet-rawpeer.h"
#include "vtoe-pair.h"
#include "vtoe-tmp.h"

#define VNI         7
/* Of an idle QEMU, of a second. */
#define BUSY_MS     300

/* Processor time of all its threads so far. */
static unsigned busy_ms(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat",
                                            (int)qtest_pid(qts));
    g_autofree char *stat = NULL;
    unsigned long user, system;

    g_assert(g_file_get_contents(path, &stat, NULL, NULL));
    g_assert_cmpint(sscanf(strrchr(stat, ')') + 2, "%*c %*d %*d %*d %*d %*d "
                           "%*u %*u %*u %*u %*u %lu %lu", &user, &system), ==,
                    2);
    return (user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

static void assert_idle(QTestState *qts)
{
    unsigned before = busy_ms(qts);

    g_usleep(G_USEC_PER_SEC);
    g_assert_cmpuint(busy_ms(qts) - before, <, BUSY_MS);
}

/* --- A listening socket -------------------------------------------------- */

/*
 * A limit of descriptors with which QEMU can open none, nor can it when it closes the
 * one that a link keeps to refuse with: the first that is free, or that one.  Less would
 * be too little for poll() itself.
 */
static unsigned no_descriptor(QTestState *qts)
{
    for (unsigned fd = 0; ; fd++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/fd/%u",
                                                (int)qtest_pid(qts), fd);
        g_autofree char *to = g_file_read_link(path, NULL);

        if (!to || (fd > STDERR_FILENO && g_str_equal(to, "/dev/null"))) {
            return fd;
        }
    }
}

/* Nobody who waits can be accepted, nor refused. */
static void test_no_descriptors(void)
{
    char *dir = vtoe_tmp_dir("vnet-idle");
    char *path = g_build_filename(dir, "link", NULL);
    struct rlimit old, few;
    QTestState *qts;
    int fds[5];

    qts = qtest_initf("-nodefaults -M none -netdev vnet,id=n0,vni=%d,"
                      "links.0.id=l0,links.0.server=on,links.0.addr.type=unix,"
                      "links.0.addr.path=%s,links.0.setup-timeout-ms=60000",
                      VNI, path);
    /* One by one, so that nothing else happens in between. */
    for (unsigned i = 0; i < ARRAY_SIZE(fds) - 1; i++) {
        fds[i] = vnet_raw_connect(path);
        vnet_wait_link_counter(qts, "n0", "l0", "accepted", i + 1);
    }
    g_assert_no_errno(prlimit(qtest_pid(qts), RLIMIT_NOFILE, NULL, &old));
    few = old;
    few.rlim_cur = no_descriptor(qts);
    g_assert_cmpuint(few.rlim_cur, >, 8);
    g_assert_no_errno(prlimit(qtest_pid(qts), RLIMIT_NOFILE, &few, NULL));
    fds[ARRAY_SIZE(fds) - 1] = vnet_raw_connect(path);
    assert_idle(qts);
    /* And it goes on. */
    g_assert_no_errno(prlimit(qtest_pid(qts), RLIMIT_NOFILE, &old, NULL));
    vnet_wait_link_counter(qts, "n0", "l0", "accepted", ARRAY_SIZE(fds));
    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
        close(fds[i]);
    }
    qtest_quit(qts);
    g_free(path);
    vtoe_tmp_remove(dir);
}

/* --- A data connection --------------------------------------------------- */

static const uint8_t peer_mac[6] = { 0x52, 0x54, 0, 0, 0, 0x0c };

/* The peer's guest asks for a stream; its data connection. */
static int open_stream(VtoeHost *h, VnetRawPeer *p, const char *path,
                       uint32_t *sid)
{
    VnetMsg m = { .type = VNET_MSG_MAC, .flags = VNET_MAC_F_STREAMS };
    struct vtoe_event ev;
    int fd;

    m.u.mac.vni = VNI;
    memcpy(m.u.mac.mac, peer_mac, 6);
    vnet_raw_send(p, &m);
    do {
        vnet_raw_expect(p, VNET_MSG_MAC, &m);
    } while (!(m.flags & VNET_MAC_F_STREAMS));
    m = (VnetMsg) { .type = VNET_MSG_OPEN, .id = 5 };
    m.u.open.vni = VNI;
    m.u.open.flow = (VnetFlow) {
        .family = 4, .lport = 1234, .rport = VTOE_TEST_PORT,
        .laddr = { 10, 0, 0, 9 }, .raddr = { 10, 0, 0, 1 },
    };
    memcpy(m.u.open.flow.lmac, peer_mac, 6);
    memcpy(m.u.open.flow.rmac, vtoe_mac_a, 6);
    vnet_raw_send(p, &m);
    ev = vtoe_wait_event(h->d, VTOE_EVENT_CONNECT_REQUEST);
    *sid = ev.sid;
    g_assert_cmpuint(vtoe_accept(h->d, ev.sid, 1, 1 << 30), ==, VTOE_CMD_OK);
    vnet_raw_expect(p, VNET_MSG_ACCEPT, &m);
    fd = vnet_raw_open(p, path, VNET_CONN_DATA, 5);
    vtoe_wait_event_of(h->d, VTOE_EVENT_CONNECT_ESTABLISHED, ev.sid);
    return fd;
}

/* Its end is there to be read, while the guest's bytes go out bit by bit. */
static void test_half_closed(void)
{
    char *dir = vtoe_tmp_dir("vnet-idle");
    char *path = g_build_filename(dir, "link", NULL);
    g_autofree char *netdev = g_strdup_printf(
        "vnet,vni=%d,heartbeat-ms=60000,links.0.id=l0,links.0.server=on,"
        "links.0.addr.type=unix,links.0.addr.path=%s", VNI, path);
    g_autofree uint8_t *buf = g_malloc(64 * KiB);
    VtoeHost h = { 0 };
    VnetRawPeer p;
    VnetMsg m = { .type = VNET_MSG_END, .id = 5 };
    uint64_t memory, got = 0;
    uint32_t sid;
    int fd;

    vtoe_host_boot(&h, "pc", netdev, VTOE_NIC_A);
    vnet_raw_up(&p, path, VNI);
    vtoe_start(h.d, 2, VTOE_TEST_RING);
    g_assert_cmpuint(vtoe_listen(h.d, 1, VTOE_TEST_PORT, 16), ==, VTOE_CMD_OK);
    fd = open_stream(&h, &p, path, &sid);
    /* It is read before the peer says that it is the end. */
    vtoe_post_recv(h.d, &h.d->q[1], vtoe_alloc(h.d, 64 * KiB), 64 * KiB, sid,
                   7);
    vtoe_kick(h.d, &h.d->q[1]);
    g_assert_no_errno(shutdown(fd, SHUT_WR));
    vnet_wait_link_counter(h.qts, "n0", "l0", "data-reads", 1);
    vnet_raw_send(&p, &m);
    vnet_raw_expect(&p, VNET_MSG_ACK, &m);
    g_assert(m.flags & VNET_ACK_F_END);

    memory = vtoe_alloc(h.d, MiB);
    vtoe_send(h.d, &h.d->q[1], sid, memory, MiB);
    while (got < MiB) {
        ssize_t n;

        g_usleep(20 * 1000);
        n = recv(fd, buf, 64 * KiB, 0);
        g_assert_cmpint(n, >, 0);
        got += n;
    }
    assert_idle(h.qts);
    close(fd);
    vnet_raw_close(&p);
    vtoe_host_quit(&h);
    g_free(path);
    vtoe_tmp_remove(dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vnet/idle/no-descriptors", test_no_descriptors);
    qtest_add_func("/vnet/idle/half-closed", test_half_closed);
    return g_test_run();
}
