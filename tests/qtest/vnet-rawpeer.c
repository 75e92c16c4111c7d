/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The other end of a vnet link, made of bare sockets: see vnet-rawpeer.h.
 */

#include "qemu/osdep.h"
#include <sys/un.h>
#include "qobject/qlist.h"
#include "vnet-rawpeer.h"

/* --- Sockets ---------------------------------------------------------- */

static int raw_socket(const char *path, struct sockaddr_un *un)
{
    struct timeval tv = { .tv_sec = VNET_RAW_WAIT_S };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert(!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    g_assert(!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
    *un = (struct sockaddr_un) { .sun_family = AF_UNIX };
    g_assert_cmpuint(strlen(path), <, sizeof(un->sun_path));
    strcpy(un->sun_path, path);
    return fd;
}

int vnet_raw_connect(const char *path)
{
    struct sockaddr_un un;
    int fd = raw_socket(path, &un);

    g_assert_no_errno(connect(fd, (struct sockaddr *)&un, sizeof(un)));
    return fd;
}

int vnet_raw_listen(const char *path)
{
    struct sockaddr_un un;
    int fd = raw_socket(path, &un);

    g_assert_no_errno(bind(fd, (struct sockaddr *)&un, sizeof(un)));
    g_assert_no_errno(listen(fd, 16));
    return fd;
}

void vnet_raw_write(int fd, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    while (len) {
        ssize_t ret;

        g_assert_no_errno(ret = send(fd, p, len, MSG_NOSIGNAL));
        p += ret;
        len -= ret;
    }
}

void vnet_raw_read(int fd, void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len) {
        ssize_t ret;

        g_assert_no_errno(ret = recv(fd, p, len, 0));
        g_assert_cmpint(ret, >, 0);
        p += ret;
        len -= ret;
    }
}

bool vnet_raw_ended(int fd)
{
    uint8_t byte;
    ssize_t ret = recv(fd, &byte, 1, 0);

    if (ret < 0) {
        /* Not the deadline. */
        g_assert_cmpint(errno, ==, ECONNRESET);
    }
    return ret <= 0;
}

static void raw_preamble(int fd, const VnetPreamble *pre)
{
    uint8_t buf[VNET_PREAMBLE_SIZE];

    vnet_wire_put_preamble(buf, pre);
    vnet_raw_write(fd, buf, sizeof(buf));
}

/* --- Messages --------------------------------------------------------- */

void vnet_raw_send(VnetRawPeer *p, const VnetMsg *m)
{
    uint8_t buf[VNET_MSG_MAX];

    vnet_raw_write(p->fd, buf, vnet_wire_put_msg(buf, m));
}

/* False: the connection ended. */
static bool raw_try_receive(VnetRawPeer *p, VnetMsg *m)
{
    for (;;) {
        size_t used;
        VnetWireError e = vnet_wire_get_msg(p->buf, p->len, m, &used);
        ssize_t ret;

        if (e == VNET_WIRE_OK) {
            p->len -= used;
            memmove(p->buf, p->buf + used, p->len);
            return true;
        }
        g_assert_cmpint(e, ==, VNET_WIRE_SHORT);
        ret = recv(p->fd, p->buf + p->len, sizeof(p->buf) - p->len, 0);
        if (ret == 0 || (ret < 0 && errno == ECONNRESET)) {
            return false;
        }
        if (ret < 0) {
            g_error("recv: %s", g_strerror(errno));
        }
        p->len += ret;
    }
}

void vnet_raw_receive(VnetRawPeer *p, VnetMsg *m)
{
    g_assert(raw_try_receive(p, m));
}

void vnet_raw_expect(VnetRawPeer *p, VnetMsgType type, VnetMsg *m)
{
    do {
        vnet_raw_receive(p, m);
        if (m->type == VNET_MSG_BYE && type != VNET_MSG_BYE) {
            g_error("the other end said: %s", m->u.bye.text);
        }
    } while (m->type != type);
}

void vnet_raw_expect_end(VnetRawPeer *p, const char *text)
{
    VnetMsg m;
    bool bye = false;

    while (raw_try_receive(p, &m)) {
        if (m.type == VNET_MSG_BYE) {
            bye = true;
            if (text && !strstr(m.u.bye.text, text)) {
                g_error("BYE says \"%s\", not \"%s\"", m.u.bye.text, text);
            }
        }
    }
    g_assert(bye || !text);
}

void vnet_raw_ping(VnetRawPeer *p)
{
    VnetMsg m = { .type = VNET_MSG_PING, .u.ping.cookie = 0x1234 };

    vnet_raw_send(p, &m);
    do {
        vnet_raw_expect(p, VNET_MSG_PONG, &m);
    } while (m.u.ping.cookie != 0x1234);
}

/* --- Coming up -------------------------------------------------------- */

void vnet_raw_make_hello(const VnetRawPeer *p, uint32_t vni, VnetMsg *m)
{
    *m = (VnetMsg) { .type = VNET_MSG_HELLO };
    m->u.hello.version_min = VNET_WIRE_VERSION_MIN;
    m->u.hello.version_max = VNET_WIRE_VERSION_MAX;
    m->u.hello.heartbeat_ms = 1000;
    m->u.hello.features = VNET_HELLO_F_FRAMES | VNET_HELLO_F_STREAMS |
                          VNET_HELLO_F_GSO;
    m->u.hello.epoch = p->epoch;
    m->u.hello.vni = vni;
    m->u.hello.max_streams = 64;
    strcpy(m->u.hello.name, "raw");
}

void vnet_raw_start(VnetRawPeer *p, const char *path)
{
    static uint64_t epoch = 0x1000;
    const VnetPreamble pre = {
        .version = VNET_WIRE_VERSION_MIN,
        .kind = VNET_CONN_CONTROL,
        .epoch = ++epoch,
    };

    *p = (VnetRawPeer) { .epoch = pre.epoch };
    p->fd = vnet_raw_connect(path);
    raw_preamble(p->fd, &pre);
}

void vnet_raw_up(VnetRawPeer *p, const char *path, uint32_t vni)
{
    VnetMsg m;

    vnet_raw_start(p, path);
    vnet_raw_make_hello(p, vni, &m);
    vnet_raw_send(p, &m);
    vnet_raw_expect(p, VNET_MSG_HELLO, &p->hello);
    p->token = p->hello.u.hello.token;
    vnet_raw_ping(p);
}

int vnet_raw_open(const VnetRawPeer *p, const char *path, VnetConnKind kind,
                  uint32_t stream_id)
{
    const VnetPreamble pre = {
        .version = VNET_WIRE_VERSION_MIN,
        .kind = kind,
        .epoch = p->epoch,
        .token = p->token,
        .stream_id = stream_id,
    };
    int fd = vnet_raw_connect(path);

    raw_preamble(fd, &pre);
    return fd;
}

int vnet_raw_accept(int listen_fd, VnetConnKind kind, VnetPreamble *pre)
{
    struct timeval tv = { .tv_sec = VNET_RAW_WAIT_S };
    uint8_t buf[VNET_PREAMBLE_SIZE];
    int fd;

    g_assert_no_errno(fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC));
    g_assert(!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    vnet_raw_read(fd, buf, sizeof(buf));
    g_assert_cmpint(vnet_wire_get_preamble(buf, sizeof(buf), pre), ==,
                    VNET_WIRE_OK);
    g_assert_cmpint(pre->kind, ==, kind);
    return fd;
}

void vnet_raw_accept_up(VnetRawPeer *p, int listen_fd, uint32_t vni)
{
    VnetPreamble pre;
    VnetMsg m;

    *p = (VnetRawPeer) { .epoch = 0x5000, .token = 0x6000 };
    p->fd = vnet_raw_accept(listen_fd, VNET_CONN_CONTROL, &pre);
    vnet_raw_make_hello(p, vni, &m);
    m.u.hello.token = p->token;
    vnet_raw_send(p, &m);
    vnet_raw_expect(p, VNET_MSG_HELLO, &p->hello);
    g_assert_cmpuint(p->hello.u.hello.epoch, ==, pre.epoch);
}

void vnet_raw_close(VnetRawPeer *p)
{
    close(p->fd);
    p->fd = -1;
}

/* --- Frames ----------------------------------------------------------- */

void vnet_raw_send_frame(int fd, const VnetWireFrame *f, const void *data)
{
    uint8_t hdr[VNET_FRAME_HDR_SIZE];

    vnet_wire_put_frame(hdr, f);
    vnet_raw_write(fd, hdr, sizeof(hdr));
    vnet_raw_write(fd, data, f->len);
}

size_t vnet_raw_receive_frame(int fd, VnetWireFrame *f, void *data, size_t max)
{
    uint8_t hdr[VNET_FRAME_HDR_SIZE];

    vnet_raw_read(fd, hdr, sizeof(hdr));
    g_assert_cmpint(vnet_wire_get_frame(hdr, f), ==, VNET_WIRE_OK);
    g_assert_cmpuint(f->len, <=, max);
    vnet_raw_read(fd, data, f->len);
    return f->len;
}

/* --- A QEMU's own view ------------------------------------------------ */

QDict *vnet_status(QTestState *qts, const char *netdev)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet', "
                           "'arguments': { 'id': %s } }", netdev);
    QDict *st = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));

    g_assert(st);
    qobject_ref(st);
    qobject_unref(rsp);
    return st;
}

QDict *vnet_status_link(QDict *status, const char *link)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(status, "links"), e) {
        QDict *l = qobject_to(QDict, qlist_entry_obj(e));

        if (!strcmp(qdict_get_str(l, "id"), link)) {
            return l;
        }
    }
    g_error("no link \"%s\"", link);
}

uint64_t vnet_counter(QDict *dict, const char *name)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(dict, "counters"), e) {
        QDict *c = qobject_to(QDict, qlist_entry_obj(e));

        if (!strcmp(qdict_get_str(c, "name"), name)) {
            return qdict_get_int(c, "value");
        }
    }
    g_error("no counter \"%s\"", name);
}

uint64_t vnet_link_counter(QTestState *qts, const char *netdev,
                           const char *link, const char *name)
{
    QDict *st = vnet_status(qts, netdev);
    uint64_t v = vnet_counter(vnet_status_link(st, link), name);

    qobject_unref(st);
    return v;
}

static gint64 deadline(void)
{
    return g_get_monotonic_time() + VNET_RAW_WAIT_S * G_USEC_PER_SEC;
}

char *vnet_link_str(QTestState *qts, const char *netdev, const char *link,
                    const char *member)
{
    QDict *st = vnet_status(qts, netdev);
    char *s = g_strdup(qdict_get_try_str(vnet_status_link(st, link), member)
                       ?: "");

    qobject_unref(st);
    return s;
}

void vnet_wait_link(QTestState *qts, const char *netdev, const char *link,
                    const char *member, const char *value)
{
    gint64 end = deadline();

    for (;;) {
        g_autofree char *s = vnet_link_str(qts, netdev, link, member);

        if (!strcmp(s, value)) {
            return;
        }
        if (g_get_monotonic_time() > end) {
            g_error("link %s: %s is \"%s\" after %d s, not \"%s\"", link,
                    member, s, VNET_RAW_WAIT_S, value);
        }
        g_usleep(1000);
    }
}

void vnet_wait_info(QTestState *qts, const char *text)
{
    gint64 end = deadline();

    for (;;) {
        g_autofree char *s = qtest_hmp(qts, "info network");

        if (!strcmp(s, text)) {
            return;
        }
        if (g_get_monotonic_time() > end) {
            g_assert_cmpstr(s, ==, text);
        }
        g_usleep(1000);
    }
}

/* Of the netdev, if the link is NULL. */
static uint64_t counter_of(QTestState *qts, const char *netdev,
                           const char *link, const char *name)
{
    QDict *st;
    uint64_t value;

    if (link) {
        return vnet_link_counter(qts, netdev, link, name);
    }
    st = vnet_status(qts, netdev);
    value = vnet_counter(st, name);
    qobject_unref(st);
    return value;
}

static void wait_counter(QTestState *qts, const char *netdev, const char *link,
                         const char *name, uint64_t value)
{
    gint64 end = deadline();

    while (counter_of(qts, netdev, link, name) < value) {
        if (g_get_monotonic_time() > end) {
            g_error("%s is %" PRIu64 " after %d s, not %" PRIu64, name,
                    counter_of(qts, netdev, link, name), VNET_RAW_WAIT_S,
                    value);
        }
        g_usleep(1000);
    }
}

void vnet_wait_link_counter(QTestState *qts, const char *netdev,
                            const char *link, const char *name,
                            uint64_t value)
{
    wait_counter(qts, netdev, link, name, value);
}

void vnet_wait_core_counter(QTestState *qts, const char *netdev,
                            const char *name, uint64_t value)
{
    wait_counter(qts, netdev, NULL, name, value);
}

char *vnet_wait_event(QTestState *qts, const char *event, const char *link,
                      const char *member)
{
    for (;;) {
        QDict *ev = qtest_qmp_eventwait_ref(qts, event);
        QDict *data = qdict_get_qdict(ev, "data");
        bool ours = !strcmp(qdict_get_str(data, "link"), link);
        char *s = ours ? g_strdup(qdict_get_str(data, member)) : NULL;

        qobject_unref(ev);
        if (ours) {
            return s;
        }
    }
}

unsigned vnet_open_fds(QTestState *qts)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd",
                                            (int)qtest_pid(qts));
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert(d);
    while (g_dir_read_name(d)) {
        n++;
    }
    return n;
}
