/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a link over RDMA has to do with its device: which of its GIDs is the
 * source, and that the guest's memory is registered with it, once, as it comes
 * and goes, and not given back meanwhile.
 *
 * In a host with RDMA (tests/rdma/test_qtests.py), whose first device has four
 * GIDs.  Elsewhere only memory comes and goes, without being registered.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqos/virtio-pci.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_config.h"
#include "vtoe-bulk.h"
#include "vtoe-tmp.h"

#define MEMORY_MIB  96
#define STREAMS     4
#define BUFFERS     32
#define BUFFER_SIZE (64 * KiB)
#define DIMM_SIZE   (32 * MiB)
/* Of each stream, each way. */
#define EACH        (8 * MiB)

/* --- What the outside sees ----------------------------------------------- */

/* The link, as query-vnet shows it; to be freed. */
static QDict *query_link(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet' }");
    QDict *net = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));
    QDict *link = qobject_to(QDict, qlist_peek(qdict_get_qlist(net, "links")));

    qobject_ref(link);
    qobject_unref(rsp);
    return link;
}

static void assert_address(QTestState *qts, const char *which, const char *host)
{
    QDict *link = query_link(qts);

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(link, which), "host"), ==,
                    host);
    qobject_unref(link);
}

/* Until the link is down for a reason that has this text. */
static void wait_reason(QTestState *qts, const char *text)
{
    gint64 deadline = 0;
    bool found = false;

    while (!found) {
        QDict *link = query_link(qts);
        const char *reason = qdict_get_try_str(link, "reason");

        found = reason && strstr(reason, text);
        if (!found && reason) {
            g_test_message("%s", reason);
        }
        qobject_unref(link);
        if (!found) {
            vtoe_wait_step(&deadline, text);
        }
    }
}

/* --- GIDs ---------------------------------------------------------------- */

/* The IPv4 address of a GID of the first device; NULL: it has none. */
static char *gid_address(unsigned i)
{
    g_auto(GStrv) devices = g_strsplit(g_getenv("VTOE_RDMA_DEVICES"), ",", -1);
    g_autofree char *path = g_strdup_printf(
        "/sys/class/infiniband/%s/ports/1/gids/%u", devices[0], i);
    g_autofree char *text = NULL;
    unsigned hi, lo;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    if (sscanf(text, "0000:0000:0000:0000:0000:ffff:%x:%x", &hi, &lo) != 2) {
        return NULL;
    }
    return g_strdup_printf("%u.%u.%u.%u", hi >> 8, hi & 255, lo >> 8, lo & 255);
}

/* A stream carries bytes both ways between the address of the GID and b. */
static void assert_gid_is_source(unsigned i, const char *address)
{
    g_autofree char *option = g_strdup_printf(",links.0.gid-index=%u", i);
    VtoePair *p = vtoe_pair_boot_slots(MEMORY_MIB, option);
    VtoeTestStream s;

    g_test_message("gid-index=%u, %s", i, address);
    vtoe_pair_bring_up(p);
    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 5000);
    vtoe_pair_transfer(p->b.d, s.b, p->a.d, s.a, 0, 5000);
    assert_address(p->a.qts, "local", address);
    assert_address(p->b.qts, "remote", address);
    vtoe_pair_quit(p);
}

static void test_gid_index_is_the_source(void)
{
    unsigned i, found = 0;

    for (i = 0; i < 8; i++) {
        g_autofree char *address = gid_address(i);

        if (address) {
            assert_gid_is_source(i, address);
            found++;
        }
    }
    g_assert_cmpuint(found, >=, 3);
}

/*
 * One QEMU, whose client finds nobody: it does not come so far.  machine and
 * more: of -machine, and after the NIC's -device.
 */
static void assert_reason_on(const char *machine, const char *more,
                             const char *option, const char *text)
{
    g_autofree char *device = g_strconcat(VTOE_NIC_A, more, NULL);
    char *dir = vtoe_tmp_dir("vtoe-qtest");
    g_autofree char *client = NULL, *server = NULL, *netdev = NULL;
    VtoeHost h;

    vtoe_link_options(dir, &client, &server);
    netdev = g_strdup_printf("vnet,%s%s", client, option);
    vtoe_host_boot(&h, machine, netdev, device);
    wait_reason(h.qts, text);
    vtoe_assert_monitor(h.qts);
    vtoe_host_quit(&h);
    vtoe_tmp_remove(dir);
}

static void assert_reason(const char *option, const char *text)
{
    assert_reason_on("pc", "", option, text);
}

static void test_gid_index_out_of_range(void)
{
    assert_reason(",links.0.gid-index=200", "gid-index=200: port 1 of RDMA "
                  "device rxe0 has no such GID: it has 0 to 3");
    assert_reason(",links.0.gid-index=4", "gid-index=4: port 1 of RDMA "
                  "device rxe0 has no such GID: it has 0 to 3");
}

static void test_gid_index_of_another_family(void)
{
    g_assert_null(gid_address(0));
    assert_reason(",links.0.gid-index=0", "which is not IPv4 as the peer's "
                  "address is");
}

/* --- Memory -------------------------------------------------------------- */

static bool over_rdma(void)
{
    return g_str_equal(vtoe_link_type(), "rdma");
}

/* KiB that adapters have pinned of this QEMU's memory. */
static uint64_t pinned(VtoeHost *h)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status",
                                            (int)qtest_pid(h->qts));
    g_autofree char *text = NULL;
    const char *line;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    line = strstr(text, "VmPin:");
    g_assert(line);
    return g_ascii_strtoull(line + strlen("VmPin:"), NULL, 10);
}

/* Each byte of memory is registered once; nothing is on other links. */
static void assert_pinned(VtoeHost *h, uint64_t kib)
{
    g_assert_cmpuint(pinned(h), ==, over_rdma() ? kib : 0);
}

/* QEMU lets go of memory when nobody can be looking at it any more. */
static void wait_pinned(VtoeHost *h, uint64_t kib)
{
    gint64 deadline = 0;

    while (pinned(h) != kib) {
        vtoe_wait_step(&deadline, "memory that was taken out to be let go");
    }
}

/* It comes and goes at both ends while streams run, and they use it. */
static void test_memory_comes_and_goes(void)
{
    VtoePair *p = vtoe_pair_boot_slots(MEMORY_MIB, "");
    VtoeHost *hosts[2] = { &p->a, &p->b };
    uint64_t before[2];
    unsigned i;
    VtoeBulk *k;

    vtoe_pair_bring_up(p);
    vtoe_pair_listen(p);
    k = vtoe_bulk_new(p, BUFFERS, BUFFER_SIZE);
    for (i = 1; i <= STREAMS; i++) {
        vtoe_bulk_add(k, vtoe_pair_connect(p, i), EACH, EACH);
    }
    vtoe_bulk_run_until(k, 512 * KiB);
    for (i = 0; i < 2; i++) {
        before[i] = pinned(hosts[i]);
        vtoe_host_plug(p, hosts[i], DIMM_SIZE);
        assert_pinned(hosts[i], before[i] + DIMM_SIZE / KiB);
        vtoe_bulk_move(k, i, hosts[i]->dimm_addr);
    }
    vtoe_bulk_run_until_moved(k);
    vtoe_bulk_run_until(k, 8 * MiB);
    vtoe_bulk_move(k, 0, 0);
    vtoe_bulk_move(k, 1, 0);
    vtoe_bulk_run_until_moved(k);
    for (i = 0; i < 2; i++) {
        vtoe_host_unplug(hosts[i]);
        wait_pinned(hosts[i], before[i]);
    }
    vtoe_bulk_run(k);
    vtoe_bulk_close(k);
    g_assert_cmpuint(vtoe_counter(p->a.qts, "nic0", "bytes_copied"), ==, 0);
    g_assert_cmpuint(vtoe_counter(p->b.qts, "nic0", "bytes_copied"), ==, 0);
    vtoe_bulk_free(k);
    vtoe_pair_quit(p);
}

/* --- Who gives memory back ----------------------------------------------- */

#define BALLOON_SLOT    6
#define BALLOON_ADDR    "'6'"
#define BALLOON_PAGES   64
/* Nothing of libqos or of the driver is there. */
#define BALLOON_FIRST   (64 * MiB)
#define PAGE            (4 * KiB)
#define VIRTQUEUE_US    (30 * 1000 * 1000)

/* The guest lets a balloon have its pages from BALLOON_FIRST on. */
static void balloon_inflate(VtoeHost *h)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(BALLOON_SLOT, 0) };
    uint64_t list = guest_alloc(&h->qs->alloc, BALLOON_PAGES * 4);
    QVirtioPCIDevice *dev;
    QVirtQueue *vq;
    uint32_t head;
    unsigned i;

    qtest_qmp_assert_success(h->qts, "{ 'execute': 'device_add', 'arguments': "
                             "{ 'driver': 'virtio-balloon-pci', 'id': 'b', "
                             "'addr': " BALLOON_ADDR " } }");
    dev = virtio_pci_new(h->qs->pcibus, &addr);
    g_assert(dev);
    qvirtio_pci_device_enable(dev);
    qvirtio_start_device(&dev->vdev);
    qvirtio_set_features(&dev->vdev, qvirtio_get_features(&dev->vdev) &
                         (1ull << VIRTIO_F_VERSION_1));
    vq = qvirtqueue_setup(&dev->vdev, &h->qs->alloc, 0);
    qvirtio_set_driver_ok(&dev->vdev);

    for (i = 0; i < BALLOON_PAGES; i++) {
        qtest_writel(h->qts, list + i * 4, BALLOON_FIRST / PAGE + i);
    }
    head = qvirtqueue_add(h->qts, vq, list, BALLOON_PAGES * 4, false, false);
    qvirtqueue_kick(h->qts, &dev->vdev, vq, head);
    qvirtio_wait_used_elem(h->qts, &dev->vdev, vq, head, NULL, VIRTQUEUE_US);

    qvirtqueue_cleanup(dev->vdev.bus, vq, &h->qs->alloc);
    qvirtio_pci_device_disable(dev);
    g_free(dev->pdev);
    g_free(dev);
    guest_free(&h->qs->alloc, list);
}

/* Pages that an adapter would go on writing to stay where they are. */
static void test_balloon_gives_nothing_back(void)
{
    VtoePair *p = vtoe_pair_boot_slots(MEMORY_MIB, "");
    uint8_t *page = vtoe_host_memory(&p->a, BALLOON_FIRST,
                                     BALLOON_PAGES * PAGE);
    uint64_t before;
    VtoeTestStream s;
    unsigned i;

    vtoe_pair_bring_up(p);
    vtoe_pair_listen(p);
    s = vtoe_pair_connect(p, 1);
    before = pinned(&p->a);
    for (i = 0; i < BALLOON_PAGES; i++) {
        page[i * PAGE] = 1 + i;
    }
    balloon_inflate(&p->a);
    for (i = 0; i < BALLOON_PAGES; i++) {
        g_assert_cmpuint(page[i * PAGE], ==, over_rdma() ? 1 + i : 0);
    }
    g_assert_cmpuint(pinned(&p->a), ==, before);
    vtoe_pair_transfer(p->a.d, s.a, p->b.d, s.b, 0, 5000);
    vtoe_pair_transfer(p->b.d, s.b, p->a.d, s.a, 0, 5000);
    vtoe_pair_quit(p);
}

/* virtio-mem would: it is refused. */
static void test_virtio_mem_is_refused(void)
{
    VtoePair *p = vtoe_pair_boot_slots(MEMORY_MIB, "");
    QDict *rsp;

    vtoe_pair_bring_up(p);
    qtest_qmp_assert_success(p->a.qts, "{ 'execute': 'object-add', "
                             "'arguments': { 'qom-type': "
                             "'memory-backend-ram', 'id': 'vm', 'size': %u } }",
                             (unsigned)DIMM_SIZE);
    rsp = qtest_qmp(p->a.qts, "{ 'execute': 'device_add', 'arguments': { "
                    "'driver': 'virtio-mem-pci', 'memdev': 'vm' } }");
    if (over_rdma()) {
        g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "error"), "desc"),
                        ==, "Discarding RAM is disabled");
    } else {
        g_assert_true(qdict_haskey(rsp, "return"));
    }
    qobject_unref(rsp);
    vtoe_pair_quit(p);
}

/* And where it is already, nothing is registered. */
static void test_virtio_mem_keeps_links_down(void)
{
    assert_reason_on("pc -m 128M,slots=2,maxmem=1G -object "
                     "memory-backend-ram,id=vm,size=32M",
                     " -device virtio-mem-pci,memdev=vm", "",
                     "the guest's memory cannot be registered while a device "
                     "may give it back (virtio-mem)");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtoe/rdma/memory/comes-and-goes",
                   test_memory_comes_and_goes);
    qtest_add_func("/vtoe/rdma/memory/balloon-gives-nothing-back",
                   test_balloon_gives_nothing_back);
    qtest_add_func("/vtoe/rdma/memory/virtio-mem-is-refused",
                   test_virtio_mem_is_refused);
    if (!over_rdma()) {
        return g_test_run();
    }
    qtest_add_func("/vtoe/rdma/memory/virtio-mem-keeps-links-down",
                   test_virtio_mem_keeps_links_down);
    qtest_add_func("/vtoe/rdma/gid/index-is-the-source",
                   test_gid_index_is_the_source);
    qtest_add_func("/vtoe/rdma/gid/index-out-of-range",
                   test_gid_index_out_of_range);
    qtest_add_func("/vtoe/rdma/gid/index-of-another-family",
                   test_gid_index_of_another_family);
    return g_test_run();
}
