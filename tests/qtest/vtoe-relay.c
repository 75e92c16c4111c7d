/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay between the two ends of a link: see vtoe-relay.h.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/un.h>
#include "vtoe-relay.h"

#define RELAY_PIECE     65536
/* A turn without an event: to see what the test wants. */
#define RELAY_TURN_MS   10

typedef enum RelayMode {
    RELAY_PASS,
    RELAY_HOLD,
    RELAY_CUT,
    RELAY_END,
} RelayMode;

/* One direction of a connection. */
typedef struct RelayWay {
    uint8_t buf[RELAY_PIECE];
    size_t off, len;            /* bytes from off on were not passed on yet */
    bool ended, told;           /* by the one end; to the other */
} RelayWay;

typedef struct RelayConn {
    int fd[2];
    RelayWay way[2];            /* way[i] leads from fd[i] to the other */
} RelayConn;

struct VtoeRelay {
    char *at, *to;
    int listen_fd;              /* -1: cut */
    GRand *rand;
    GPtrArray *conns;
    GThread *thread;
    GMutex lock;
    GCond done;
    RelayMode wanted, mode;     /* under the lock */
};

static int relay_socket(const char *path, struct sockaddr_un *un)
{
    *un = (struct sockaddr_un) { .sun_family = AF_UNIX };
    g_assert_cmpuint(strlen(path), <, sizeof(un->sun_path));
    strcpy(un->sun_path, path);
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static void relay_listen(VtoeRelay *r)
{
    struct sockaddr_un un;
    int fd = relay_socket(r->at, &un);

    g_assert_cmpint(fd, >=, 0);
    unlink(r->at);
    g_assert_no_errno(bind(fd, (struct sockaddr *)&un, sizeof(un)));
    g_assert_no_errno(listen(fd, 128));
    r->listen_fd = fd;
}

static void conn_free(gpointer p)
{
    RelayConn *c = p;

    close(c->fd[0]);
    close(c->fd[1]);
    g_free(c);
}

static void relay_accept(VtoeRelay *r)
{
    int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct sockaddr_un un;
    RelayConn *c;
    int to;

    if (fd < 0) {
        return;
    }
    to = relay_socket(r->to, &un);
    g_assert_cmpint(to, >=, 0);
    if (connect(to, (struct sockaddr *)&un, sizeof(un)) < 0) {
        close(to);              /* nobody is there, or its queue is full */
        close(fd);
        return;
    }
    c = g_new0(RelayConn, 1);
    c->fd[0] = fd;
    c->fd[1] = to;
    g_ptr_array_add(r->conns, c);
}

/* False: the connection has failed. */
static bool way_pass(VtoeRelay *r, RelayConn *c, int i)
{
    RelayWay *w = &c->way[i];
    ssize_t ret;

    if (!w->len && !w->ended) {
        ret = recv(c->fd[i], w->buf, g_rand_int_range(r->rand, 1, RELAY_PIECE),
                   MSG_DONTWAIT);
        if (ret < 0) {
            return errno == EAGAIN;
        }
        w->ended = ret == 0;
        w->off = 0;
        w->len = ret;
    }
    if (w->len) {
        ret = send(c->fd[!i], w->buf + w->off, w->len,
                   MSG_DONTWAIT | MSG_NOSIGNAL);
        if (ret < 0) {
            return errno == EAGAIN;
        }
        w->off += ret;
        w->len -= ret;
    }
    if (w->ended && !w->len && !w->told) {
        w->told = true;
        shutdown(c->fd[!i], SHUT_WR);
    }
    return true;
}

static void relay_turn(VtoeRelay *r)
{
    g_autofree struct pollfd *p = g_new0(struct pollfd, 2 * r->conns->len + 1);
    unsigned n = 0, i;
    int end;

    p[n++] = (struct pollfd) { .fd = r->listen_fd, .events = POLLIN };
    for (i = 0; i < r->conns->len; i++) {
        RelayConn *c = g_ptr_array_index(r->conns, i);

        for (end = 0; end < 2; end++) {
            p[n++] = (struct pollfd) {
                .fd = c->fd[end],
                .events = (c->way[end].len || c->way[end].ended ? 0 : POLLIN) |
                          (c->way[!end].len ? POLLOUT : 0),
            };
        }
    }
    if (poll(p, n, RELAY_TURN_MS) <= 0) {
        return;
    }
    for (i = r->conns->len; i-- > 0;) {
        RelayConn *c = g_ptr_array_index(r->conns, i);

        if (!way_pass(r, c, 0) || !way_pass(r, c, 1) ||
            (c->way[0].told && c->way[1].told)) {
            g_ptr_array_remove_index_fast(r->conns, i);
        }
    }
    if (p[0].revents) {
        relay_accept(r);
    }
}

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
    RelayMode mode = RELAY_PASS;

    while (mode != RELAY_END) {
        g_mutex_lock(&r->lock);
        if (r->wanted != mode) {
            mode = r->wanted;
            relay_enter(r, mode);
            r->mode = mode;
            g_cond_signal(&r->done);
        }
        g_mutex_unlock(&r->lock);
        if (mode == RELAY_PASS) {
            relay_turn(r);
        } else if (mode != RELAY_END) {
            g_usleep(RELAY_TURN_MS * 1000);
        }
    }
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
