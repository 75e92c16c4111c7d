/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two QEMUs joined by a vnet link, see vtoe-pair.h.
 */

#include "qemu/osdep.h"
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqos/libqos-pc.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vtoe-pair.h"
#include "vtoe-tmp.h"

const uint8_t vtoe_mac_a[6] = { 0x52, 0x54, 0, 0, 0, 0x0a };
const uint8_t vtoe_mac_b[6] = { 0x52, 0x54, 0, 0, 0, 0x0b };
const uint8_t vtoe_mac_none[6] = { 0x52, 0x54, 0, 0, 0, 0xee };

static const char *vtoe_link_forced;

const char *vtoe_link_type(void)
{
    return vtoe_link_forced ?: g_getenv("VTOE_LINK") ?: "unix";
}

void vtoe_link_set_type(const char *type)
{
    vtoe_link_forced = type;
}

/* A port of the loopback address that nobody listens on now. */
static unsigned vtoe_free_port(void)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sin, len), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sin, &len), ==, 0);
    close(fd);
    return ntohs(sin.sin_port);
}

void vtoe_link_options(const char *dir, char **client, char **server)
{
    const char *type = vtoe_link_type();
    const char *address = g_getenv("VTOE_RDMA_SERVER");
    const char *tls = g_str_equal(type, "tls") ? ",links.0.tls-creds=tls0" : "";
    bool registrar = g_str_equal(type, "registrar");

    if (g_str_equal(type, "unix") || registrar) {
        /* Who registers gives its name to the server's link. */
        *client = g_strdup_printf("%slinks.0.id=l0,links.0.addr.type=unix,"
                                  "links.0.addr.path=%s/link",
                                  registrar ? "name=l0," : "", dir);
    } else if (g_str_equal(type, "tcp") || g_str_equal(type, "tls")) {
        *client = g_strdup_printf("links.0.id=l0,links.0.addr.type=inet,"
                                  "links.0.addr.host=127.0.0.1,"
                                  "links.0.addr.port=%u%s", vtoe_free_port(),
                                  tls);
    } else if (g_str_equal(type, "rdma") && address) {
        *client = g_strdup_printf("links.0.id=l0,links.0.type=rdma,"
                                  "links.0.addr.type=inet,"
                                  "links.0.addr.host=%s,"
                                  "links.0.addr.port=%u", address,
                                  vtoe_free_port());
    } else {
        g_error("VTOE_LINK=%s: one of unix, tcp, tls, registrar, rdma; rdma needs "
                "VTOE_RDMA_SERVER", type);
    }
    if (registrar) {
        *server = g_strdup_printf("links.0.id=door,links.0.addr.type=unix,"
                                  "links.0.addr.path=%s/link,"
                                  "links.0.server=on,links.0.registrar=on",
                                  dir);
    } else {
        *server = g_strdup_printf("%s,links.0.server=on", *client);
    }
}

/* The object that an end of a link needs, as further options; or "". */
static char *vtoe_link_object(const char *dir, bool server)
{
    g_autofree char *keys = g_build_filename(dir, "keys.psk", NULL);

    if (!g_str_equal(vtoe_link_type(), "tls")) {
        return g_strdup("");
    }
    g_assert(g_file_set_contents(keys, "vtoe:6b6579206f66206120746573742e2e2e\n",
                                 -1, NULL));
    return g_strdup_printf(" -object tls-creds-psk,id=tls0,dir=%s,endpoint=%s%s",
                           dir, server ? "server" : "client",
                           server ? "" : ",username=vtoe");
}

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
    if (h->ram) {
        munmap(h->ram, h->ram_size);
    }
    if (h->dimm) {
        munmap(h->dimm, h->dimm_size);
    }
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

/* more_a, more_b: of the netdevs' options, each with a comma in front. */
static void vtoe_pair_boot_hosts(VtoePair *p, const char *machine_a,
                                 const char *machine_b, const char *extra,
                                 const char *more_a, const char *more_b)
{
    g_autofree char *object_a = vtoe_link_object(p->dir, false);
    g_autofree char *object_b = vtoe_link_object(p->dir, true);
    g_autofree char *dev_a = g_strconcat(VTOE_NIC_A, extra, object_a, NULL);
    g_autofree char *dev_b = g_strconcat(VTOE_NIC_B, extra, object_b, NULL);
    g_autofree char *client = NULL, *server = NULL;
    g_autofree char *net_a = NULL, *net_b = NULL;

    vtoe_link_options(p->dir, &client, &server);
    net_a = g_strconcat("vnet,vni=7,", client, more_a, NULL);
    net_b = g_strconcat("vnet,vni=7,", server, more_b, NULL);
    vtoe_host_boot(&p->b, machine_b, net_b, dev_b);
    vtoe_host_boot(&p->a, machine_a, net_a, dev_a);
    vtoe_wait_link_up(p->a.qts, "n0");
    vtoe_wait_link_up(p->b.qts, "n0");
}

static VtoePair *vtoe_pair_new(void)
{
    VtoePair *p = g_new0(VtoePair, 1);

    p->dir = vtoe_tmp_dir("vtoe-qtest");
    return p;
}

VtoePair *vtoe_pair_boot(const char *machine, const char *extra)
{
    VtoePair *p = vtoe_pair_new();

    vtoe_pair_boot_hosts(p, machine, machine, extra, "", "");
    return p;
}

/* The file, which QEMU has mapped by now: it needs no name any more. */
static uint8_t *vtoe_map(const char *path, size_t size)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t *mem;

    g_assert_cmpint(fd, >=, 0);
    mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert(mem != MAP_FAILED);
    close(fd);
    unlink(path);
    return mem;
}

static void vtoe_host_map(VtoeHost *h, const char *path, size_t size)
{
    h->ram = h->d->ram = vtoe_map(path, size);
    h->ram_size = size;
}

/* The machine's options for it. slots: more of the option -m. */
static char *vtoe_memory_options(unsigned mib, const char *slots,
                                 const char *path)
{
    return g_strdup_printf("pc,memory-backend=ram0 -m %uM%s -object "
                           "memory-backend-file,id=ram0,size=%uM,mem-path=%s,"
                           "share=on", mib, slots, mib, path);
}

void vtoe_host_boot_shared(VtoeHost *h, unsigned mib, const char *netdev,
                           const char *device)
{
    char *dir = vtoe_tmp_dir("vtoe-qtest");
    g_autofree char *path = g_build_filename(dir, "ram", NULL);
    g_autofree char *machine = vtoe_memory_options(mib, "", path);

    vtoe_host_boot(h, machine, netdev, device);
    vtoe_host_map(h, path, (size_t)mib * MiB);
    vtoe_tmp_remove(dir);
}

static VtoePair *vtoe_pair_boot_memory(VtoePair *p, unsigned mib,
                                       const char *slots, const char *extra,
                                       const char *client, const char *server)
{
    g_autofree char *path_a = g_build_filename(p->dir, "a", NULL);
    g_autofree char *path_b = g_build_filename(p->dir, "b", NULL);
    g_autofree char *a = vtoe_memory_options(mib, slots, path_a);
    g_autofree char *b = vtoe_memory_options(mib, slots, path_b);

    vtoe_pair_boot_hosts(p, a, b, extra, client, server);
    vtoe_host_map(&p->a, path_a, (size_t)mib * MiB);
    vtoe_host_map(&p->b, path_b, (size_t)mib * MiB);
    return p;
}

VtoePair *vtoe_pair_boot_shared(unsigned mib, const char *extra)
{
    return vtoe_pair_boot_memory(vtoe_pair_new(), mib, "", extra, "", "");
}

VtoePair *vtoe_pair_boot_netdevs(unsigned mib, const char *both)
{
    return vtoe_pair_boot_memory(vtoe_pair_new(), mib, "", "", both, both);
}

VtoePair *vtoe_pair_boot_slots(unsigned mib, const char *client)
{
    return vtoe_pair_boot_memory(vtoe_pair_new(), mib, ",slots=2,maxmem=1G", "",
                                 client, "");
}

char *vtoe_pair_relay_path(VtoePair *p)
{
    return g_build_filename(p->dir, "relay", NULL);
}

VtoePair *vtoe_pair_boot_relayed(unsigned mib, const char *both,
                                 const char *client, uint32_t seed,
                                 VtoeRelay **relay)
{
    VtoePair *p = vtoe_pair_new();
    bool local = g_str_equal(vtoe_link_type(), "unix");
    const char *member = local ? "path" : "port";
    g_autofree char *at = NULL, *to = NULL;
    g_autofree char *more_a = NULL, *more_b = NULL;

    if (local) {
        at = vtoe_pair_relay_path(p);
        to = g_build_filename(p->dir, "link", NULL);
    } else {
        at = g_strdup_printf("%u", vtoe_free_port());
        do {
            g_free(to);
            to = g_strdup_printf("%u", vtoe_free_port());
        } while (g_str_equal(at, to));
    }
    /* Of what is said twice the latter counts. */
    more_a = g_strdup_printf("%s%s,links.0.addr.%s=%s", both, client, member,
                             at);
    more_b = g_strdup_printf("%s,links.0.addr.%s=%s", both, member, to);
    *relay = vtoe_relay_new(at, to, seed);
    if (g_str_equal(vtoe_link_type(), "tls")) {
        vtoe_relay_set_opaque(*relay);
    }
    return vtoe_pair_boot_memory(p, mib, "", "", more_a, more_b);
}

void *vtoe_host_memory(VtoeHost *h, uint64_t addr, size_t len)
{
    if (h->dimm && addr >= h->dimm_addr) {
        g_assert_cmphex(addr - h->dimm_addr + len, <=, h->dimm_size);
        return h->dimm + (addr - h->dimm_addr);
    }
    g_assert_cmphex(addr + len, <=, h->ram_size);
    return h->ram + addr;
}

/* --- Memory that comes and goes ------------------------------------------ */

/* ACPI's registers for it on the pc machine, and the bit that ejects. */
#define ACPI_MEMORY_SELECT  0xa00
#define ACPI_MEMORY_CONTROL 0xa14
#define ACPI_MEMORY_EJECT   0x08

static uint64_t vtoe_dimm_addr(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-memory-devices' }");
    QDict *dev = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    uint64_t addr = qdict_get_int(qdict_get_qdict(dev, "data"), "addr");

    qobject_unref(rsp);
    return addr;
}

void vtoe_host_plug(VtoePair *p, VtoeHost *h, size_t size)
{
    g_autofree char *path = g_build_filename(p->dir, "dimm", NULL);

    g_assert(!h->dimm);
    qtest_qmp_assert_success(h->qts, "{ 'execute': 'object-add', 'arguments': "
        "{ 'qom-type': 'memory-backend-file', 'id': 'dimm-ram', 'size': %"
        PRIu64 ", 'mem-path': %s, 'share': true } }", (uint64_t)size, path);
    qtest_qmp_assert_success(h->qts, "{ 'execute': 'device_add', 'arguments': "
        "{ 'driver': 'pc-dimm', 'id': 'dimm0', 'memdev': 'dimm-ram' } }");
    h->dimm = vtoe_map(path, size);
    h->dimm_addr = vtoe_dimm_addr(h->qts);
    h->dimm_size = size;
}

void vtoe_host_unplug(VtoeHost *h)
{
    munmap(h->dimm, h->dimm_size);
    h->dimm = NULL;
    qtest_qmp_assert_success(h->qts, "{ 'execute': 'device_del', "
                             "'arguments': { 'id': 'dimm0' } }");
    qtest_outl(h->qts, ACPI_MEMORY_SELECT, 0);
    qtest_outb(h->qts, ACPI_MEMORY_CONTROL, ACPI_MEMORY_EJECT);
    qtest_qmp_eventwait(h->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(h->qts, "{ 'execute': 'object-del', "
                             "'arguments': { 'id': 'dimm-ram' } }");
}

/* --- Bringing up --------------------------------------------------------- */

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
    vtoe_start(p->a.d, 2, VTOE_TEST_RING);
    vtoe_start(p->b.d, 2, VTOE_TEST_RING);
    vtoe_pair_wait_streams(p);
}

void vtoe_pair_wait_streams(VtoePair *p)
{
    gint64 deadline = 0;

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
