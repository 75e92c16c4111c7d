/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay between the two ends of a link: see vtoe-relay.h.
 *
 * Bytes are damaged when they are read; then they wait in pieces, each until it
 * is due, and go to the other end one after the other.  What waits is bounded,
 * so that a sender is stopped by the relay as by a wire.
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include "qemu/bswap.h"
#include "vtoe-relay.h"

#define RELAY_PIECE     65536
/* Waits in one direction, in bytes; a piece more. */
#define RELAY_QUEUE     32768
/* A turn without an event: to see what the test wants. */
#define RELAY_TURN_US   10000
/* That the other end has read something is no event. */
#define RELAY_LOOK_US   50
#define RELAY_PREAMBLE  32
#define RELAY_KIND_AT   6
#define RELAY_FRAME_HDR 24

typedef enum RelayMode {
    RELAY_PASS,
    RELAY_HOLD,
    RELAY_CUT,
    RELAY_END,
} RelayMode;

typedef struct RelayPiece {
    gint64 due;                 /* monotonic, us */
    size_t off, len;            /* bytes from off on were not passed on yet */
    uint8_t data[];
} RelayPiece;

/* One direction of a connection. */
typedef struct RelayWay {
    GQueue pieces;              /* oldest first */
    size_t queued;              /* bytes in them */
    gint64 free;                /* when the rate allows the next byte, us */
    bool ended, told;           /* by the one end; to the other */
    bool deaf;                  /* what comes is lost */
    /* The message or frame that the next byte read belongs to. */
    uint8_t hdr[4];
    size_t at, unit;            /* bytes of it so far; its length, 0: unknown */
    bool preamble;              /* was seen */
    bool hit;                   /* it is the one to be damaged */
} RelayWay;

typedef struct RelayConn {
    int fd[2];
    unsigned kind, number;      /* kind 0: not known yet */
    RelayWay way[2];            /* way[i] leads from fd[i] to the other */
} RelayConn;

typedef union RelayAddr {
    struct sockaddr any;
    struct sockaddr_un un;
    struct sockaddr_in in;
} RelayAddr;

struct VtoeRelay {
    char *at, *to;
    int listen_fd;              /* -1: cut */
    GRand *rand;
    GPtrArray *conns;
    unsigned made;              /* connections, ever */
    GThread *thread;
    GMutex lock;
    GCond done;
    /* The rest is under the lock, which a turn holds. */
    RelayMode wanted, mode;
    VtoeRelayShape shape;
    VtoeRelayDamage damage;
    bool armed, damaged, opaque;
    VtoeRelayKind close_kind;   /* a half close that is asked for, or 0 */
    unsigned close_way;
};

/* --- Sockets ------------------------------------------------------------- */

static int relay_socket(const char *address, RelayAddr *a, socklen_t *len)
{
    *a = (RelayAddr) { };
    if (address[0] == '/') {
        a->un.sun_family = AF_UNIX;
        g_assert_cmpuint(strlen(address), <, sizeof(a->un.sun_path));
        strcpy(a->un.sun_path, address);
        *len = sizeof(a->un);
    } else {
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons(atoi(address));
        a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *len = sizeof(a->in);
    }
    return socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void relay_tune(int fd)
{
    int on = 1;

    /* Fails for a unix socket, which has nothing to delay. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    g_assert(g_unix_set_fd_nonblocking(fd, true, NULL));
}

static void relay_listen(VtoeRelay *r)
{
    RelayAddr a;
    socklen_t len;
    int fd = relay_socket(r->at, &a, &len), on = 1;

    g_assert_cmpint(fd, >=, 0);
    if (a.any.sa_family == AF_UNIX) {
        unlink(r->at);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    g_assert_no_errno(bind(fd, &a.any, len));
    g_assert_no_errno(listen(fd, 128));
    g_assert(g_unix_set_fd_nonblocking(fd, true, NULL));
    r->listen_fd = fd;
}

/* --- Connections --------------------------------------------------------- */

static void conn_free(gpointer p)
{
    RelayConn *c = p;

    close(c->fd[0]);
    close(c->fd[1]);
    g_queue_clear_full(&c->way[0].pieces, g_free);
    g_queue_clear_full(&c->way[1].pieces, g_free);
    g_free(c);
}

/* The newest of that kind, or NULL. */
static RelayConn *relay_find(VtoeRelay *r, unsigned kind)
{
    RelayConn *found = NULL;
    unsigned i;

    for (i = 0; i < r->conns->len; i++) {
        RelayConn *c = g_ptr_array_index(r->conns, i);

        if (c->kind == kind && (!found || c->number > found->number)) {
            found = c;
        }
    }
    return found;
}

static void relay_accept(VtoeRelay *r)
{
    int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    RelayAddr a;
    socklen_t len;
    RelayConn *c;
    int to;

    if (fd < 0) {
        return;
    }
    to = relay_socket(r->to, &a, &len);
    g_assert_cmpint(to, >=, 0);
    if (connect(to, &a.any, len) < 0) {
        close(to);              /* nobody is there */
        close(fd);
        return;
    }
    relay_tune(fd);
    relay_tune(to);
    c = g_new0(RelayConn, 1);
    c->fd[0] = fd;
    c->fd[1] = to;
    c->number = r->made++;
    c->way[1].preamble = true;
    if (r->opaque) {
        c->kind = !relay_find(r, VTOE_RELAY_CONTROL) ? VTOE_RELAY_CONTROL :
                  !relay_find(r, VTOE_RELAY_FRAME) ? VTOE_RELAY_FRAME :
                  VTOE_RELAY_DATA;
    }
    g_ptr_array_add(r->conns, c);
}

/* --- Damage -------------------------------------------------------------- */

/* Whether the connection is one of messages or frames that can be seen. */
static bool conn_has_units(const VtoeRelay *r, const RelayConn *c)
{
    return !r->opaque && c->kind != VTOE_RELAY_DATA;
}

/* A byte is about to pass: whether it is the one. */
static bool way_is_hit(VtoeRelay *r, RelayConn *c, int i)
{
    VtoeRelayDamage *d = &r->damage;
    RelayWay *w = &c->way[i];

    if (!r->armed || c->kind != d->kind || i != d->way) {
        return false;
    }
    if (!conn_has_units(r, c)) {
        return d->at-- == 0;
    }
    if (!w->preamble) {
        return false;
    }
    if (w->at == 0) {
        w->hit = d->skip == 0;
        d->skip -= !w->hit;
    }
    return w->hit && (w->at == d->at || (w->unit && w->at == w->unit - 1));
}

/* A byte has passed: where the next one is. */
static void way_track(const VtoeRelay *r, RelayConn *c, int i, uint8_t byte)
{
    RelayWay *w = &c->way[i];

    if (r->opaque || (w->preamble && !conn_has_units(r, c))) {
        return;
    }
    if (w->at < sizeof(w->hdr)) {
        w->hdr[w->at] = byte;
    }
    if (!w->preamble && w->at == RELAY_KIND_AT) {
        c->kind = byte;
    }
    w->at++;
    if (!w->preamble) {
        w->unit = RELAY_PREAMBLE;
    } else if (w->at == sizeof(w->hdr)) {
        w->unit = c->kind == VTOE_RELAY_CONTROL ? lduw_be_p(w->hdr + 2) :
                  RELAY_FRAME_HDR + ldl_be_p(w->hdr);
    }
    if (w->at == w->unit) {
        w->preamble = true;
        w->hit = false;
        w->at = w->unit = 0;
    }
}

/* Takes n bytes in; the piece has room for one more. */
static void way_take(VtoeRelay *r, RelayConn *c, int i, RelayPiece *p,
                     const uint8_t *from, size_t n)
{
    size_t j;

    for (j = 0; j < n; j++) {
        uint8_t byte = from[j];

        if (way_is_hit(r, c, i)) {
            if (r->damage.insert) {
                p->data[p->len++] = r->damage.value;
            } else {
                byte ^= r->damage.value;
            }
            r->armed = false;
            r->damaged = true;
        }
        p->data[p->len++] = byte;
        way_track(r, c, i, from[j]);
    }
}

/* --- Passing on ---------------------------------------------------------- */

static void way_end(RelayConn *c, int i)
{
    c->way[i].told = true;
    shutdown(c->fd[!i], SHUT_WR);
}

/* Reads a piece. False: the connection has failed. */
static bool way_read(VtoeRelay *r, RelayConn *c, int i, gint64 now)
{
    RelayWay *w = &c->way[i];
    unsigned most = r->shape.piece ?: RELAY_PIECE;
    uint8_t buf[RELAY_PIECE];
    RelayPiece *p;
    ssize_t ret;

    if (w->ended || w->queued >= RELAY_QUEUE) {
        return true;
    }
    ret = recv(c->fd[i], buf, g_rand_int_range(r->rand, 1, most + 1),
               MSG_DONTWAIT);
    if (ret < 0) {
        return errno == EAGAIN;
    }
    if (ret == 0 || w->deaf) {
        w->ended = ret == 0;
        return true;
    }
    p = g_malloc(sizeof(*p) + ret + 1);
    *p = (RelayPiece) { .due = now + r->shape.delay_ms * 1000 };
    way_take(r, c, i, p, buf, ret);
    g_queue_push_tail(&w->pieces, p);
    w->queued += p->len;
    return true;
}

/* When the first piece may go: 0: now, INT64_MAX: there is none. */
static gint64 way_due(VtoeRelay *r, RelayConn *c, int i, gint64 now)
{
    RelayWay *w = &c->way[i];
    RelayPiece *p = g_queue_peek_head(&w->pieces);
    gint64 due = p ? MAX(p->due, w->free) : INT64_MAX;
    int unread = 0;

    if (due <= now && r->shape.alone && !p->off) {
        ioctl(c->fd[!i], SIOCOUTQ, &unread);
        if (unread) {
            return now + RELAY_LOOK_US;
        }
    }
    return due <= now ? 0 : due;
}

/* Passes on what is due. False: the connection has failed. */
static bool way_write(VtoeRelay *r, RelayConn *c, int i, gint64 now)
{
    RelayWay *w = &c->way[i];

    while (!way_due(r, c, i, now)) {
        RelayPiece *p = g_queue_peek_head(&w->pieces);
        ssize_t ret = send(c->fd[!i], p->data + p->off, p->len - p->off,
                           MSG_DONTWAIT | MSG_NOSIGNAL);

        if (ret < 0) {
            return errno == EAGAIN;
        }
        if (r->shape.rate) {
            w->free = MAX(w->free, now) + ret * G_USEC_PER_SEC / r->shape.rate;
        }
        p->off += ret;
        w->queued -= ret;
        if (p->off < p->len) {
            break;
        }
        g_free(g_queue_pop_head(&w->pieces));
    }
    if (w->ended && g_queue_is_empty(&w->pieces) && !w->told) {
        way_end(c, i);
    }
    return true;
}

/* Until when nothing is due in the connection. */
static gint64 conn_poll(VtoeRelay *r, RelayConn *c, struct pollfd *p,
                        gint64 now)
{
    gint64 until = INT64_MAX;
    int i;

    for (i = 0; i < 2; i++) {
        gint64 due = way_due(r, c, i, now);
        const RelayWay *w = &c->way[i];

        p[i].fd = c->fd[i];
        p[!i].fd = c->fd[!i];
        p[i].events |= w->ended || w->queued >= RELAY_QUEUE ? 0 : POLLIN;
        p[!i].events |= due ? 0 : POLLOUT;
        until = due ? MIN(until, due) : until;
    }
    for (i = 0; i < 2; i++) {
        /* An end that is gone says so all the time. */
        if (!p[i].events) {
            p[i].fd = -1;
        }
    }
    return until;
}

/* False: it is over. */
static bool conn_turn(VtoeRelay *r, RelayConn *c, gint64 now)
{
    return way_read(r, c, 0, now) && way_read(r, c, 1, now) &&
           way_write(r, c, 0, now) && way_write(r, c, 1, now) &&
           !(c->way[0].told && c->way[1].told);
}

static void relay_half_close(VtoeRelay *r)
{
    RelayConn *c = relay_find(r, r->close_kind);
    RelayWay *w;

    if (!c) {
        return;                 /* it will come */
    }
    w = &c->way[r->close_way];
    g_queue_clear_full(&w->pieces, g_free);
    w->queued = 0;
    w->deaf = true;
    way_end(c, r->close_way);
    r->close_kind = 0;
    g_cond_broadcast(&r->done);
}

/* Under the lock, but not while it waits. */
static void relay_turn(VtoeRelay *r)
{
    g_autofree struct pollfd *p = g_new0(struct pollfd, 2 * r->conns->len + 1);
    gint64 now = g_get_monotonic_time(), until = now + RELAY_TURN_US;
    struct timespec ts = { };
    unsigned n = r->conns->len, i;
    int ret;

    if (r->close_kind) {
        relay_half_close(r);
    }
    for (i = 0; i < n; i++) {
        until = MIN(until, conn_poll(r, g_ptr_array_index(r->conns, i),
                                     p + 1 + 2 * i, now));
    }
    p[0] = (struct pollfd) { .fd = r->listen_fd, .events = POLLIN };
    ts.tv_nsec = MAX(until - now, 0) * 1000;
    g_mutex_unlock(&r->lock);
    ret = ppoll(p, 1 + 2 * n, &ts, NULL);
    g_mutex_lock(&r->lock);
    g_assert_cmpint(ret, >=, 0);
    now = g_get_monotonic_time();
    for (i = n; i-- > 0;) {
        if (!conn_turn(r, g_ptr_array_index(r->conns, i), now)) {
            g_ptr_array_remove_index_fast(r->conns, i);
        }
    }
    if (p[0].revents) {
        relay_accept(r);
    }
}

/* --- The thread, and what the test asks of it ---------------------------- */

static void relay_enter(VtoeRelay *r, RelayMode mode)
{
    if (mode == RELAY_CUT || mode == RELAY_END) {
        if (r->listen_fd >= 0) {
            close(r->listen_fd);
            unlink(r->at);
        }
        r->listen_fd = -1;
        g_ptr_array_set_size(r->conns, 0);
    } else if (r->listen_fd < 0) {
        relay_listen(r);
    }
}

static void *relay_thread(void *opaque)
{
    VtoeRelay *r = opaque;

    g_mutex_lock(&r->lock);
    while (r->mode != RELAY_END) {
        if (r->wanted != r->mode) {
            r->mode = r->wanted;
            relay_enter(r, r->mode);
            g_cond_broadcast(&r->done);
        }
        if (r->mode == RELAY_PASS) {
            relay_turn(r);
        } else if (r->mode != RELAY_END) {
            g_mutex_unlock(&r->lock);
            g_usleep(RELAY_TURN_US);
            g_mutex_lock(&r->lock);
        }
    }
    g_mutex_unlock(&r->lock);
    return NULL;
}

static void relay_want(VtoeRelay *r, RelayMode mode)
{
    g_mutex_lock(&r->lock);
    r->wanted = mode;
    while (r->mode != mode) {
        g_cond_wait(&r->done, &r->lock);
    }
    g_mutex_unlock(&r->lock);
}

VtoeRelay *vtoe_relay_new(const char *at, const char *to, uint32_t seed)
{
    VtoeRelay *r = g_new0(VtoeRelay, 1);

    r->at = g_strdup(at);
    r->to = g_strdup(to);
    r->rand = g_rand_new_with_seed(seed);
    r->conns = g_ptr_array_new_with_free_func(conn_free);
    g_mutex_init(&r->lock);
    g_cond_init(&r->done);
    relay_listen(r);
    r->thread = g_thread_new("relay", relay_thread, r);
    return r;
}

void vtoe_relay_free(VtoeRelay *r)
{
    relay_want(r, RELAY_END);
    g_thread_join(r->thread);
    g_ptr_array_free(r->conns, true);
    g_rand_free(r->rand);
    g_mutex_clear(&r->lock);
    g_cond_clear(&r->done);
    g_free(r->at);
    g_free(r->to);
    g_free(r);
}

void vtoe_relay_cut(VtoeRelay *r)
{
    relay_want(r, RELAY_CUT);
}

void vtoe_relay_hold(VtoeRelay *r)
{
    relay_want(r, RELAY_HOLD);
}

void vtoe_relay_mend(VtoeRelay *r)
{
    relay_want(r, RELAY_PASS);
}

void vtoe_relay_shape(VtoeRelay *r, const VtoeRelayShape *shape)
{
    g_mutex_lock(&r->lock);
    g_assert_cmpuint(shape->piece, <=, RELAY_PIECE);
    r->shape = *shape;
    g_mutex_unlock(&r->lock);
}

void vtoe_relay_half_close(VtoeRelay *r, VtoeRelayKind kind, unsigned way)
{
    g_mutex_lock(&r->lock);
    r->close_kind = kind;
    r->close_way = way;
    while (r->close_kind) {
        g_cond_wait(&r->done, &r->lock);
    }
    g_mutex_unlock(&r->lock);
}

void vtoe_relay_forget(VtoeRelay *r, VtoeRelayKind kind)
{
    /* Of what comes in nothing is kept, so none of it is acknowledged. */
    struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);
    const struct sock_fprog prog = { 1, &none };
    RelayConn *c;
    int i;

    g_mutex_lock(&r->lock);
    c = relay_find(r, kind);
    g_assert_nonnull(c);
    for (i = 0; i < 2; i++) {
        g_assert_no_errno(setsockopt(c->fd[i], SOL_SOCKET, SO_ATTACH_FILTER,
                                     &prog, sizeof(prog)));
    }
    g_mutex_unlock(&r->lock);
}

void vtoe_relay_damage(VtoeRelay *r, const VtoeRelayDamage *damage)
{
    g_mutex_lock(&r->lock);
    r->damage = *damage;
    r->armed = true;
    r->damaged = false;
    g_mutex_unlock(&r->lock);
}

bool vtoe_relay_damaged(VtoeRelay *r)
{
    bool damaged;

    g_mutex_lock(&r->lock);
    damaged = r->damaged;
    g_mutex_unlock(&r->lock);
    return damaged;
}

void vtoe_relay_set_opaque(VtoeRelay *r)
{
    g_mutex_lock(&r->lock);
    r->opaque = true;
    g_mutex_unlock(&r->lock);
}
