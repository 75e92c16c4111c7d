/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small driver of the vtoe device for qtests, see vtoe-driver.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vtoe-driver.h"

#define CTRL(field) offsetof(struct vtoe_queue_ctrl, field)

/* --- Waiting ------------------------------------------------------------- */

/* VTOE_SLOW: how much longer everything may take, as on an emulated host. */
static unsigned vtoe_slow(void)
{
    const char *text = g_getenv("VTOE_SLOW");

    return text ? g_ascii_strtoull(text, NULL, 10) : 1;
}

void vtoe_wait_step(gint64 *deadline, const char *msg)
{
    gint64 now = g_get_monotonic_time();
    unsigned limit = VTOE_WAIT_S * vtoe_slow();

    if (*deadline == 0) {
        *deadline = now + limit * G_TIME_SPAN_SECOND;
    } else if (now > *deadline) {
        g_error("waited %u s for %s", limit, msg);
    }
    g_usleep(100 * vtoe_slow());
}

/* --- Guest memory -------------------------------------------------------- */

static uint32_t vtoe_mem_readl(VtoeDriver *d, uint64_t addr)
{
    if (!d->ram) {
        return qtest_readl(d->qts, addr);
    }
    return le32_to_cpu(qatomic_load_acquire((uint32_t *)(d->ram + addr)));
}

static void vtoe_mem_writel(VtoeDriver *d, uint64_t addr, uint32_t val)
{
    if (!d->ram) {
        qtest_writel(d->qts, addr, val);
        return;
    }
    qatomic_store_release((uint32_t *)(d->ram + addr), cpu_to_le32(val));
    smp_mb();           /* the index is there before its event is read */
}

static void vtoe_mem_read(VtoeDriver *d, uint64_t addr, void *buf, size_t len)
{
    if (d->ram) {
        memcpy(buf, d->ram + addr, len);
    } else {
        qtest_memread(d->qts, addr, buf, len);
    }
}

static void vtoe_mem_write(VtoeDriver *d, uint64_t addr, const void *buf,
                           size_t len)
{
    if (d->ram) {
        memcpy(d->ram + addr, buf, len);
    } else {
        qtest_memwrite(d->qts, addr, buf, len);
    }
}

static void vtoe_mem_set(VtoeDriver *d, uint64_t addr, uint8_t byte,
                         size_t len)
{
    if (d->ram) {
        memset(d->ram + addr, byte, len);
    } else {
        qtest_memset(d->qts, addr, byte, len);
    }
}

/* --- Registers ----------------------------------------------------------- */

uint32_t vtoe_rd(VtoeDriver *d, uint32_t reg)
{
    return qpci_io_readl(d->pci, d->mmio, reg);
}

void vtoe_wr(VtoeDriver *d, uint32_t reg, uint32_t val)
{
    qpci_io_writel(d->pci, d->mmio, reg, val);
}

uint32_t vtoe_rd_io(VtoeDriver *d, uint32_t reg)
{
    return qpci_io_readl(d->pci, d->io, reg);
}

void vtoe_wr_io(VtoeDriver *d, uint32_t reg, uint32_t val)
{
    qpci_io_writel(d->pci, d->io, reg, val);
}

void vtoe_wr64(VtoeDriver *d, uint32_t reg, uint64_t val)
{
    vtoe_wr(d, reg, val);
    vtoe_wr(d, reg + 4, val >> 32);
}

/* --- Life ---------------------------------------------------------------- */

VtoeDriver *vtoe_driver_new(QPCIDevice *pci, QTestState *qts,
                            QGuestAllocator *alloc)
{
    VtoeDriver *d = g_new0(VtoeDriver, 1);

    d->pci = pci;
    d->qts = qts;
    d->alloc = alloc;
    d->events = g_queue_new();
    d->rings = g_array_new(false, false, sizeof(uint64_t));
    qpci_device_enable(pci);
    d->io = qpci_iomap(pci, VTOE_BAR_IO, NULL);
    d->mmio = qpci_iomap(pci, VTOE_BAR_MMIO, NULL);
    return d;
}

/* The device was reset: its rings can be used for something else. */
static void vtoe_forget(VtoeDriver *d)
{
    while (d->rings->len > 0) {
        guest_free(d->alloc, g_array_index(d->rings, uint64_t,
                                           --d->rings->len));
    }
    g_queue_clear_full(d->events, g_free);
    memset(d->q, 0, sizeof(d->q));
    memset(&d->ctl, 0, sizeof(d->ctl));
    d->pairs = 0;
    d->features = 0;
}

void vtoe_driver_free(VtoeDriver *d)
{
    vtoe_forget(d);
    g_queue_free(d->events);
    g_array_free(d->rings, true);
    g_free(d);
}

void vtoe_reset(VtoeDriver *d)
{
    vtoe_wr(d, VTOE_REG_STATUS, 0);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_STATUS), ==, 0);
    vtoe_forget(d);
}

void vtoe_negotiate(VtoeDriver *d, uint64_t features)
{
    vtoe_reset(d);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_MAGIC), ==, VTOE_MAGIC);
    g_assert_cmpuint(vtoe_rd(d, VTOE_REG_VERSION), ==, VTOE_ABI_VERSION);
    vtoe_wr(d, VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    vtoe_wr64(d, VTOE_REG_DRV_FEATURES, features);
    vtoe_wr(d, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_STATUS), ==,
                    VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    d->features = features;
    d->generation = vtoe_rd(d, VTOE_REG_GENERATION);
}

uint64_t vtoe_alloc(VtoeDriver *d, size_t size)
{
    uint64_t addr = guest_alloc(d->alloc, size);

    g_assert_cmphex(addr, !=, 0);
    vtoe_mem_set(d, addr, 0, size);
    return addr;
}

static uint64_t vtoe_ring_alloc(VtoeDriver *d, size_t size)
{
    uint64_t addr = vtoe_alloc(d, size);

    g_array_append_val(d->rings, addr);
    return addr;
}

void vtoe_queue_alloc(VtoeDriver *d, VtoeTestQueue *q, uint32_t index,
                      uint32_t entries)
{
    bool control = index == VTOE_QUEUE_CONTROL;

    memset(q, 0, sizeof(*q));
    q->index = index;
    q->send_size = q->comp_size = entries;
    q->recv_size = control ? 0 : entries;
    q->send = vtoe_ring_alloc(d, entries *
                              (control ? sizeof(struct vtoe_cmd) :
                               sizeof(struct vtoe_send_desc)));
    q->recv = control ? 0 :
              vtoe_ring_alloc(d, entries * sizeof(struct vtoe_recv_desc));
    q->comp = vtoe_ring_alloc(d, entries *
                              (control ? sizeof(struct vtoe_event) :
                               sizeof(struct vtoe_comp)));
    q->ctrl = vtoe_ring_alloc(d, sizeof(struct vtoe_queue_ctrl));
    q->vector = !d->msix ? VTOE_NO_VECTOR : control ? 0 : 1 + index;
}

uint32_t vtoe_queue_enable(VtoeDriver *d, VtoeTestQueue *q)
{
    vtoe_wr(d, VTOE_REG_QUEUE_SELECT, q->index);
    vtoe_wr(d, VTOE_REG_SEND_SIZE, q->send_size);
    vtoe_wr(d, VTOE_REG_RECV_SIZE, q->recv_size);
    vtoe_wr(d, VTOE_REG_COMP_SIZE, q->comp_size);
    vtoe_wr64(d, VTOE_REG_SEND_ADDR, q->send);
    vtoe_wr64(d, VTOE_REG_RECV_ADDR, q->recv);
    vtoe_wr64(d, VTOE_REG_COMP_ADDR, q->comp);
    vtoe_wr64(d, VTOE_REG_CTRL_ADDR, q->ctrl);
    vtoe_wr(d, VTOE_REG_QUEUE_VECTOR, q->vector);
    vtoe_wr(d, VTOE_REG_QUEUE_ENABLE, 1);
    return vtoe_rd(d, VTOE_REG_QUEUE_ENABLE);
}

void vtoe_start_with(VtoeDriver *d, uint64_t features, unsigned pairs,
                     uint32_t entries)
{
    unsigned i;

    g_assert_cmpuint(pairs, <=, VTOE_TEST_PAIRS);
    vtoe_negotiate(d, features);
    d->pairs = pairs;
    vtoe_queue_alloc(d, &d->ctl, VTOE_QUEUE_CONTROL, entries);
    g_assert_cmpuint(vtoe_queue_enable(d, &d->ctl), ==, 1);
    for (i = 0; i < pairs; i++) {
        vtoe_queue_alloc(d, &d->q[i], i, entries);
        g_assert_cmpuint(vtoe_queue_enable(d, &d->q[i]), ==, 1);
    }
    vtoe_wr(d, VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK |
                                VTOE_STATUS_DRIVER_OK);
    g_assert_cmphex(vtoe_rd(d, VTOE_REG_STATUS), ==,
                    VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK |
                    VTOE_STATUS_DRIVER_OK);
}

void vtoe_start(VtoeDriver *d, unsigned pairs, uint32_t entries)
{
    vtoe_start_with(d, vtoe_rd(d, VTOE_REG_DEV_FEATURES) |
                    (uint64_t)vtoe_rd(d, VTOE_REG_DEV_FEATURES_HI) << 32,
                    pairs, entries);
}

/* --- Interrupts ---------------------------------------------------------- */

void vtoe_msix_enable(VtoeDriver *d)
{
    unsigned i, n;

    qpci_msix_enable(d->pci);
    n = MIN(qpci_msix_table_size(d->pci), G_N_ELEMENTS(d->msix_word));
    for (i = 0; i < n; i++) {
        uint64_t off = d->pci->msix_table_off + i * PCI_MSIX_ENTRY_SIZE;
        QPCIBar bar = d->pci->msix_table_bar;

        d->msix_word[i] = vtoe_alloc(d, 64);
        qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_LOWER_ADDR,
                       d->msix_word[i]);
        qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_UPPER_ADDR,
                       d->msix_word[i] >> 32);
        qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_DATA, i + 1);
        qpci_io_writel(d->pci, bar, off + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
    }
    d->msix = true;
}

bool vtoe_msix_fired(VtoeDriver *d, unsigned vector)
{
    uint32_t word = vtoe_mem_readl(d, d->msix_word[vector]);

    if (word == 0) {
        return false;
    }
    g_assert_cmpuint(word, ==, vector + 1);
    vtoe_mem_writel(d, d->msix_word[vector], 0);
    return true;
}

void vtoe_wait_msix(VtoeDriver *d, unsigned vector)
{
    gint64 deadline = 0;

    while (!vtoe_msix_fired(d, vector)) {
        vtoe_wait_step(&deadline, "an interrupt");
    }
}

/* --- Rings --------------------------------------------------------------- */

void vtoe_post_send(VtoeDriver *d, VtoeTestQueue *q,
                    const struct vtoe_send_desc *desc)
{
    vtoe_mem_write(d, q->send + (q->send_prod & (q->send_size - 1)) *
                   sizeof(*desc), desc, sizeof(*desc));
    q->send_prod++;
}

void vtoe_post_recv(VtoeDriver *d, VtoeTestQueue *q, uint64_t addr,
                    uint32_t len, uint32_t sid, uint32_t id)
{
    struct vtoe_recv_desc desc = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .sid = cpu_to_le32(sid),
        .id = cpu_to_le32(id),
    };

    vtoe_mem_write(d, q->recv + (q->recv_prod & (q->recv_size - 1)) *
                   sizeof(desc), &desc, sizeof(desc));
    q->recv_prod++;
}

void vtoe_doorbell(VtoeDriver *d, uint32_t index)
{
    vtoe_wr(d, index == VTOE_QUEUE_CONTROL ? VTOE_REG_CTRL_DOORBELL :
               VTOE_DOORBELL_OFFSET(index), 1);
}

/* The index moves, then the event is read: whether to ring. */
static bool vtoe_publish(VtoeDriver *d, VtoeTestQueue *q, unsigned index_off,
                         unsigned event_off, uint32_t val)
{
    uint32_t old = vtoe_mem_readl(d, q->ctrl + index_off);

    if (old == val) {
        return false;
    }
    vtoe_mem_writel(d, q->ctrl + index_off, val);
    return vtoe_need_kick(vtoe_mem_readl(d, q->ctrl + event_off), val, old);
}

void vtoe_kick(VtoeDriver *d, VtoeTestQueue *q)
{
    bool ring = vtoe_publish(d, q, CTRL(send_prod), CTRL(send_event),
                             q->send_prod);

    ring |= vtoe_publish(d, q, CTRL(recv_prod), CTRL(recv_event),
                         q->recv_prod);
    if (ring) {
        vtoe_doorbell(d, q->index);
    }
}

/* An entry of the completion ring; frees its place. */
static bool vtoe_take(VtoeDriver *d, VtoeTestQueue *q, void *entry, size_t size)
{
    if (vtoe_mem_readl(d, q->ctrl + CTRL(comp_prod)) == q->comp_cons) {
        return false;
    }
    vtoe_mem_read(d, q->comp + (q->comp_cons & (q->comp_size - 1)) * size,
                  entry, size);
    q->comp_cons++;
    if (vtoe_publish(d, q, CTRL(comp_cons), CTRL(comp_room_event),
                     q->comp_cons)) {
        vtoe_doorbell(d, q->index);
    }
    /* Asks for an interrupt at the next one. */
    vtoe_mem_writel(d, q->ctrl + CTRL(comp_event), q->comp_cons);
    return true;
}

bool vtoe_poll_comp(VtoeDriver *d, VtoeTestQueue *q, struct vtoe_comp *c)
{
    if (!vtoe_take(d, q, c, sizeof(*c))) {
        return false;
    }
    c->reason = le16_to_cpu(c->reason);
    c->sid = le32_to_cpu(c->sid);
    c->id = le32_to_cpu(c->id);
    c->len = le32_to_cpu(c->len);
    if (c->sid != VTOE_SID_FRAME || c->type == VTOE_COMP_SEND) {
        c->u.offset = le64_to_cpu(c->u.offset);
    }
    return true;
}

struct vtoe_comp vtoe_wait_comp(VtoeDriver *d, VtoeTestQueue *q)
{
    struct vtoe_comp c;
    gint64 deadline = 0;

    while (!vtoe_poll_comp(d, q, &c)) {
        vtoe_wait_step(&deadline, "a completion");
    }
    return c;
}

/* --- Commands and events ------------------------------------------------- */

bool vtoe_poll_event(VtoeDriver *d, struct vtoe_event *ev)
{
    if (!vtoe_take(d, &d->ctl, ev, sizeof(*ev))) {
        return false;
    }
    ev->reason = le16_to_cpu(ev->reason);
    ev->sid = le32_to_cpu(ev->sid);
    ev->generation = le32_to_cpu(ev->generation);
    ev->tag = le32_to_cpu(ev->tag);
    ev->value = le64_to_cpu(ev->value);
    g_assert_cmpuint(ev->generation, ==, d->generation);
    return true;
}

typedef bool VtoeEventMatch(const struct vtoe_event *ev, unsigned type,
                            uint32_t key);

static bool vtoe_match_type(const struct vtoe_event *ev, unsigned type,
                            uint32_t key)
{
    return !type || ev->type == type;
}

static bool vtoe_match_sid(const struct vtoe_event *ev, unsigned type,
                           uint32_t key)
{
    return ev->type == type && ev->sid == key;
}

static bool vtoe_match_tag(const struct vtoe_event *ev, unsigned type,
                           uint32_t key)
{
    return ev->type == type && ev->tag == key;
}

static bool vtoe_find_event(VtoeDriver *d, VtoeEventMatch *match,
                            unsigned type, uint32_t key, bool take,
                            struct vtoe_event *out)
{
    struct vtoe_event ev;
    GList *l;

    while (vtoe_poll_event(d, &ev)) {
        g_queue_push_tail(d->events, g_memdup2(&ev, sizeof(ev)));
    }
    for (l = d->events->head; l; l = l->next) {
        if (match(l->data, type, key)) {
            if (take) {
                memcpy(out, l->data, sizeof(*out));
                g_free(l->data);
                g_queue_delete_link(d->events, l);
            }
            return true;
        }
    }
    return false;
}

static struct vtoe_event vtoe_wait_match(VtoeDriver *d, VtoeEventMatch *match,
                                         unsigned type, uint32_t key)
{
    g_autofree char *what = g_strdup_printf("event %u of 0x%x", type, key);
    struct vtoe_event ev;
    gint64 deadline = 0;

    while (!vtoe_find_event(d, match, type, key, true, &ev)) {
        vtoe_wait_step(&deadline, what);
    }
    return ev;
}

struct vtoe_event vtoe_wait_event(VtoeDriver *d, unsigned type)
{
    return vtoe_wait_match(d, vtoe_match_type, type, 0);
}

struct vtoe_event vtoe_wait_event_of(VtoeDriver *d, unsigned type, uint32_t sid)
{
    return vtoe_wait_match(d, vtoe_match_sid, type, sid);
}

struct vtoe_event vtoe_wait_answer(VtoeDriver *d, uint32_t tag)
{
    return vtoe_wait_match(d, vtoe_match_tag, VTOE_EVENT_COMMAND_DONE, tag);
}

bool vtoe_have_event(VtoeDriver *d, unsigned type, uint32_t sid)
{
    return vtoe_find_event(d, vtoe_match_sid, type, sid, false, NULL);
}

uint32_t vtoe_command_post(VtoeDriver *d, struct vtoe_cmd *cmd)
{
    VtoeTestQueue *q = &d->ctl;
    uint32_t tag = ++d->next_tag;

    cmd->tag = cpu_to_le32(tag);
    vtoe_mem_write(d, q->send + (q->send_prod & (q->send_size - 1)) *
                   sizeof(*cmd), cmd, sizeof(*cmd));
    q->send_prod++;
    vtoe_kick(d, q);
    return tag;
}

unsigned vtoe_command(VtoeDriver *d, struct vtoe_cmd *cmd)
{
    return vtoe_wait_answer(d, vtoe_command_post(d, cmd)).reason;
}

struct vtoe_flow vtoe_flow4(const uint8_t lmac[6], unsigned l, uint16_t lport,
                            const uint8_t rmac[6], unsigned r, uint16_t rport)
{
    struct vtoe_flow f = {
        .family = 4,
        .lport = cpu_to_le16(lport),
        .rport = cpu_to_le16(rport),
        .laddr = { 10, 0, 0, l },
        .raddr = { 10, 0, 0, r },
    };

    memcpy(f.lmac, lmac, 6);
    memcpy(f.rmac, rmac, 6);
    return f;
}

unsigned vtoe_listen(VtoeDriver *d, uint32_t id, uint16_t port,
                     uint64_t backlog)
{
    struct vtoe_cmd cmd = {
        .op = VTOE_CMD_LISTEN,
        .sid = cpu_to_le32(id),
        .value = cpu_to_le64(backlog),
        .flow = { .family = 4, .lport = cpu_to_le16(port) },
    };

    return vtoe_command(d, &cmd);
}

unsigned vtoe_connect(VtoeDriver *d, uint32_t sid, unsigned pair,
                      const struct vtoe_flow *flow, uint64_t credit)
{
    struct vtoe_cmd cmd = {
        .op = VTOE_CMD_CONNECT,
        .sid = cpu_to_le32(sid),
        .pair = cpu_to_le32(pair),
        .value = cpu_to_le64(credit),
        .flow = *flow,
    };

    return vtoe_command(d, &cmd);
}

unsigned vtoe_accept(VtoeDriver *d, uint32_t sid, unsigned pair,
                     uint64_t credit)
{
    struct vtoe_cmd cmd = {
        .op = VTOE_CMD_ACCEPT,
        .sid = cpu_to_le32(sid),
        .pair = cpu_to_le32(pair),
        .value = cpu_to_le64(credit),
    };

    return vtoe_command(d, &cmd);
}

unsigned vtoe_sid_command(VtoeDriver *d, uint8_t op, uint32_t sid,
                          uint64_t value, uint16_t reason)
{
    struct vtoe_cmd cmd = {
        .op = op,
        .reason = cpu_to_le16(reason),
        .sid = cpu_to_le32(sid),
        .value = cpu_to_le64(value),
    };

    return vtoe_command(d, &cmd);
}

void vtoe_send(VtoeDriver *d, VtoeTestQueue *q, uint32_t sid, uint64_t addr,
               uint32_t len)
{
    struct vtoe_send_desc desc = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .sid = cpu_to_le32(sid),
        .op = VTOE_SEND_DATA,
    };

    vtoe_post_send(d, q, &desc);
    vtoe_kick(d, q);
}

/* --- What the outside sees ----------------------------------------------- */

uint64_t vtoe_counter(QTestState *qts, const char *id, const char *name)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    QDict *rsp = qtest_qmp_assert_success_ref(qts,
        "{ 'execute': 'qom-get', 'arguments': {"
        " 'path': %s, 'property': 'stats' } }", path);
    uint64_t val;

    g_assert(qdict_haskey(rsp, name));
    val = qdict_get_int(rsp, name);
    qobject_unref(rsp);
    return val;
}

void vtoe_wait_counter(QTestState *qts, const char *id, const char *name,
                       uint64_t at_least)
{
    gint64 deadline = 0;

    while (vtoe_counter(qts, id, name) < at_least) {
        vtoe_wait_step(&deadline, name);
    }
}

unsigned vtoe_open_streams(QTestState *qts, const char *id)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                           " 'path': %s, 'property': 'open-streams' } }", path);
    unsigned n;

    g_assert(qdict_haskey(rsp, "return"));
    n = qdict_get_int(rsp, "return");
    qobject_unref(rsp);
    return n;
}

/*
 * How long the threads of a process were ready and got no processor, in us:
 * what a busy host adds to a time, and QEMU cannot help.
 */
static gint64 vtoe_run_delay(pid_t pid)
{
    g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)pid);
    GDir *dir = g_dir_open(tasks, 0, NULL);
    const char *tid;
    gint64 sum = 0;

    while (dir && (tid = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(tasks, tid, "schedstat", NULL);
        g_autofree char *text = NULL;
        const char *delay;

        if (g_file_get_contents(path, &text, NULL, NULL)) {
            delay = strchr(text, ' ');
            sum += delay ? g_ascii_strtoll(delay, NULL, 10) / 1000 : 0;
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
    return sum;
}

/* The longest answer of this program's run, microseconds. */
static gint64 monitor_worst;

void vtoe_figure(const char *name, double value, const char *unit,
                 const char *bar, bool holds)
{
    const char *path = g_getenv("VTOE_FIGURES");
    FILE *f = path ? fopen(path, "a") : NULL;

    if (f) {
        fprintf(f, "{\"name\": \"%s\", \"value\": %.1f, \"unit\": \"%s\", "
                "\"bar\": \"%s\", \"holds\": %s}\n", name, value, unit, bar,
                holds ? "true" : "false");
        fclose(f);
    }
}

/* The promise is about a hostile guest. */
static void vtoe_monitor_record(void)
{
    vtoe_figure("hostile_guest.monitor_ms", monitor_worst / 1000.0, "ms",
                "<= 100", monitor_worst <= 100000);
}

void vtoe_monitor_keep_figure(void)
{
    atexit(vtoe_monitor_record);
}

void vtoe_assert_monitor(QTestState *qts)
{
    pid_t pid = qtest_pid(qts);
    gint64 waited = vtoe_run_delay(pid) + vtoe_run_delay(getpid());
    gint64 start = g_get_monotonic_time(), took;

    qtest_qmp_assert_success(qts, "{ 'execute': 'query-status' }");
    took = g_get_monotonic_time() - start;
    waited = vtoe_run_delay(pid) + vtoe_run_delay(getpid()) - waited;
    monitor_worst = MAX(monitor_worst, took - waited);
    g_assert_cmpint(took - waited, <, 100000 * (gint64)vtoe_slow());
}

unsigned vtoe_open_files(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)qtest_pid(qts));
    GDir *dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    g_dir_close(dir);
    return n;
}

static bool vtoe_link_is_up(QTestState *qts, const char *netdev)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet', 'arguments': {"
                           " 'id': %s } }", netdev);
    QList *list = qdict_get_qlist(rsp, "return");
    const QListEntry *e;
    bool up = false;

    g_assert(list && !qlist_empty(list));
    list = qdict_get_qlist(qobject_to(QDict, qlist_peek(list)), "links");
    QLIST_FOREACH_ENTRY(list, e) {
        QDict *link = qobject_to(QDict, qlist_entry_obj(e));

        up |= g_str_equal(qdict_get_str(link, "state"), "up");
    }
    qobject_unref(rsp);
    return up;
}

void vtoe_wait_link_up(QTestState *qts, const char *netdev)
{
    gint64 deadline = 0;

    while (!vtoe_link_is_up(qts, netdev)) {
        vtoe_wait_step(&deadline, "the link to come up");
    }
}
