/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Captures: what vnet-capture.h shows, into a file.
 *
 * The VNET thread copies packets into a queue of bounded size, and a thread that
 * does nothing else writes them: a slow disk makes a capture lose packets, and
 * guests nothing.  Nor does the main loop wait for whoever reads a FIFO: at the end
 * that has VNET_CAPTURE_END_NS to take the rest.  The file is in pcap's own format,
 * with times in nanoseconds, and ends behind a whole packet.
 */

#include "qemu/osdep.h"
#include <glib-unix.h>
#include <poll.h>
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "qemu/event_notifier.h"
#include "qemu/iov.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "vnet-capture.h"
#include "vnet-shell.h"

#define VNET_CAPTURE_SNAPLEN    262144
#define VNET_CAPTURE_SNAPLEN_MIN 64
#define VNET_CAPTURE_SNAPLEN_MAX 262144
/* Bytes that wait to be written. */
#define VNET_CAPTURE_QUEUE      (16 * MiB)
/* For what is left to be read from a FIFO. */
#define VNET_CAPTURE_END_NS     NANOSECONDS_PER_SECOND

#define PCAP_MAGIC_NS           0xa1b23c4d
#define PCAP_ETHERNET           1

typedef struct PcapFileHeader {
    uint32_t magic;
    uint16_t major, minor;
    int32_t zone;
    uint32_t accuracy, snaplen, link;
} PcapFileHeader;

typedef struct PcapHeader {
    uint32_t s, ns, captured, len;
} PcapHeader;

struct VnetCaptureFile {
    char *name;
    int fd;                     /* non-blocking */
    struct stat stat;           /* of it */
    uint32_t snaplen;
    uint64_t left;              /* bytes that the file may still grow */
    QemuThread thread;
    uint64_t whole;             /* the thread's: bytes of whole packets in it */
    EventNotifier end;          /* ending is set */

    QemuMutex lock;
    QemuCond more;
    GByteArray *waiting;        /* whole packets, to be written */
    bool ending;
    int64_t end_by;             /* when it is ending: ns */
    uint64_t packets, bytes, dropped;
    int error;                  /* of writing */
};

/* Until more can be written.  False: nobody waits for it any longer. */
static bool vnet_capture_wait(VnetCaptureFile *c)
{
    struct pollfd fds[] = {
        { .fd = c->fd, .events = POLLOUT },
        { .fd = event_notifier_get_fd(&c->end), .events = POLLIN },
    };
    int64_t left = 0;
    bool ending;

    WITH_QEMU_LOCK_GUARD(&c->lock) {
        ending = c->ending;
        left = c->end_by - qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
    }
    if (!ending) {
        poll(fds, 2, -1);
        return true;
    }
    return left > 0 && poll(fds, 1, left / SCALE_MS + 1) != 0;
}

/* How many bytes got out; less than len: *error is why. */
static size_t vnet_capture_write(VnetCaptureFile *c, const uint8_t *data,
                                 size_t len, int *error)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = RETRY_ON_EINTR(write(c->fd, data + done, len - done));

        if (n >= 0) {
            done += n;
        } else if (errno != EAGAIN) {
            *error = errno;
            break;
        } else if (!vnet_capture_wait(c)) {
            *error = ETIMEDOUT;
            break;
        }
    }
    return done;
}

/* With the lock held: those of the packets that begin at data were not written that
 * are not whole in its first `done` bytes.  Returns how many bytes the others are. */
static size_t vnet_capture_lose(VnetCaptureFile *c, const GByteArray *packets,
                                size_t done)
{
    size_t at = 0, whole = 0;

    while (at < packets->len) {
        PcapHeader h;

        memcpy(&h, packets->data + at, sizeof(h));
        at += sizeof(h) + h.captured;
        if (at <= done) {
            whole = at;
        } else {
            c->packets--;
            c->bytes -= h.captured;
            c->dropped++;
        }
    }
    return whole;
}

static void vnet_capture_failed(VnetCaptureFile *c, const GByteArray *packets,
                                size_t done, int error)
{
    WITH_QEMU_LOCK_GUARD(&c->lock) {
        c->error = error;
        c->whole += vnet_capture_lose(c, packets, done);
        vnet_capture_lose(c, c->waiting, 0);
        g_byte_array_set_size(c->waiting, 0);
    }
    if (S_ISREG(c->stat.st_mode) && ftruncate(c->fd, c->whole) < 0) {
        /* Its last packet is cut short, which readers can tell. */
        return;
    }
}

static void *vnet_capture_thread(void *opaque)
{
    VnetCaptureFile *c = opaque;
    GByteArray *mine = g_byte_array_new();
    bool ending = false;

    while (!ending) {
        GByteArray *full;
        int error = 0;
        size_t done;

        WITH_QEMU_LOCK_GUARD(&c->lock) {
            while (!c->waiting->len && !c->ending) {
                qemu_cond_wait(&c->more, &c->lock);
            }
            full = c->waiting;
            c->waiting = mine;
            mine = full;
            ending = c->ending;
        }
        done = vnet_capture_write(c, mine->data, mine->len, &error);
        if (error) {
            vnet_capture_failed(c, mine, done, error);
        } else {
            c->whole += done;
        }
        g_byte_array_set_size(mine, 0);
    }
    g_byte_array_free(mine, TRUE);
    return NULL;
}

/* VNET thread. */
static void vnet_capture_packet(void *opaque, VnetDirection d,
                                const struct iovec *iov, unsigned niov,
                                size_t len)
{
    VnetCaptureFile *c = opaque;
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_HOST);
    PcapHeader h = {
        .s = now / NANOSECONDS_PER_SECOND,
        .ns = now % NANOSECONDS_PER_SECOND,
        .captured = MIN(len, c->snaplen),
        .len = len,
    };
    guint at;

    QEMU_LOCK_GUARD(&c->lock);
    if (c->error || c->waiting->len > VNET_CAPTURE_QUEUE ||
        c->left < sizeof(h) + h.captured) {
        c->dropped++;
        return;
    }
    c->left -= sizeof(h) + h.captured;
    c->packets++;
    c->bytes += h.captured;
    at = c->waiting->len;
    g_byte_array_set_size(c->waiting, at + sizeof(h) + h.captured);
    memcpy(c->waiting->data + at, &h, sizeof(h));
    iov_to_buf(iov, niov, 0, c->waiting->data + at + sizeof(h), h.captured);
    qemu_cond_signal(&c->more);
}

VnetCapture *vnet_capture_status(VnetCaptureFile *c)
{
    VnetCapture *s = g_new0(VnetCapture, 1);

    QEMU_LOCK_GUARD(&c->lock);
    s->file = g_strdup(c->name);
    s->packets = c->packets;
    s->bytes = c->bytes;
    s->dropped = c->dropped;
    s->error = c->error ? g_strdup(strerror(c->error)) : NULL;
    return s;
}

void vnet_capture_end_in_thread(VnetNetdev *n, void *arg)
{
    VnetCaptureFile **gone = arg;

    *gone = n->capture;
    n->capture = NULL;
    if (n->net) {
        vnet_net_set_capture(n->net, NULL, NULL);
    }
}

/* All is in the file, or lost for an error, when it returns. */
static void vnet_capture_finish(VnetCaptureFile *c)
{
    WITH_QEMU_LOCK_GUARD(&c->lock) {
        c->ending = true;
        c->end_by = qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                    VNET_CAPTURE_END_NS;
        qemu_cond_signal(&c->more);
    }
    event_notifier_set(&c->end);
    qemu_thread_join(&c->thread);
}

static void vnet_capture_dispose(VnetCaptureFile *c)
{
    close(c->fd);
    event_notifier_cleanup(&c->end);
    qemu_cond_destroy(&c->more);
    qemu_mutex_destroy(&c->lock);
    g_byte_array_free(c->waiting, TRUE);
    g_free(c->name);
    g_free(c);
}

void vnet_capture_free(VnetCaptureFile *c)
{
    if (c) {
        vnet_capture_finish(c);
        vnet_capture_dispose(c);
    }
}

/* A FIFO has to have a reader: nobody waits for one. */
static int vnet_capture_open(const char *file, struct stat *st, Error **errp)
{
    int fd = qemu_create(file, O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0600, errp);
    VnetNetdev *n = NULL;

    if (fd < 0) {
        return -1;
    }
    /* A descriptor of a set may have been opened without. */
    if (fstat(fd, st) < 0 || !g_unix_set_fd_nonblocking(fd, TRUE, NULL)) {
        error_setg_file_open(errp, errno, file);
        close(fd);
        return -1;
    }
    while ((S_ISREG(st->st_mode) || S_ISFIFO(st->st_mode)) &&
           (n = vnet_netdev_next(n))) {
        if (n->capture && n->capture->stat.st_dev == st->st_dev &&
            n->capture->stat.st_ino == st->st_ino) {
            error_setg(errp, "netdev %s writes %s already", n->nc.name, file);
            close(fd);
            return -1;
        }
    }
    if (S_ISREG(st->st_mode) && ftruncate(fd, 0) < 0) {
        error_setg_file_open(errp, errno, file);
        close(fd);
        return -1;
    }
    return fd;
}

static VnetCaptureFile *vnet_capture_new(const char *file, uint32_t snaplen,
                                         uint64_t max_size, Error **errp)
{
    const PcapFileHeader h = {
        .magic = PCAP_MAGIC_NS, .major = 2, .minor = 4,
        .snaplen = snaplen, .link = PCAP_ETHERNET,
    };
    VnetCaptureFile *c;
    EventNotifier end;
    struct stat st;
    int ret, fd = vnet_capture_open(file, &st, errp);

    if (fd < 0) {
        return NULL;
    }
    ret = event_notifier_init(&end, false);
    if (ret < 0) {
        error_setg_errno(errp, -ret, "a capture cannot be ended");
        close(fd);
        return NULL;
    }
    if (qemu_write_full(fd, &h, sizeof(h)) != sizeof(h)) {
        error_setg_file_open(errp, errno, file);
        event_notifier_cleanup(&end);
        close(fd);
        return NULL;
    }
    c = g_new0(VnetCaptureFile, 1);
    c->name = g_strdup(file);
    c->fd = fd;
    c->stat = st;
    c->end = end;
    c->whole = sizeof(h);
    c->snaplen = snaplen;
    c->left = max_size - sizeof(h);
    c->waiting = g_byte_array_new();
    qemu_mutex_init(&c->lock);
    qemu_cond_init(&c->more);
    qemu_thread_create(&c->thread, "vnet-capture", vnet_capture_thread, c,
                       QEMU_THREAD_JOINABLE);
    return c;
}

static void vnet_capture_start_in_thread(VnetNetdev *n, void *arg)
{
    n->capture = arg;
    vnet_net_set_capture(n->net, vnet_capture_packet, n->capture);
}

void qmp_vnet_capture_start(const char *id, const char *file,
                            bool has_snaplen, uint32_t snaplen,
                            bool has_max_size, uint64_t max_size, Error **errp)
{
    VnetNetdev *n = vnet_netdev_find(id, errp);
    VnetCaptureFile *c;

    if (!n) {
        return;
    }
    snaplen = has_snaplen ? snaplen : VNET_CAPTURE_SNAPLEN;
    max_size = has_max_size ? max_size : 1 * GiB;
    if (snaplen < VNET_CAPTURE_SNAPLEN_MIN ||
        snaplen > VNET_CAPTURE_SNAPLEN_MAX) {
        error_setg(errp, "snaplen is %u, and must be %u to %u", snaplen,
                   VNET_CAPTURE_SNAPLEN_MIN, VNET_CAPTURE_SNAPLEN_MAX);
        return;
    }
    if (max_size < sizeof(PcapFileHeader)) {
        error_setg(errp, "max-size is %" PRIu64 ", and must be at least %zu",
                   max_size, sizeof(PcapFileHeader));
        return;
    }
    if (n->capture) {
        error_setg(errp, "netdev %s writes %s already", id, n->capture->name);
        return;
    }
    c = vnet_capture_new(file, snaplen, max_size, errp);
    if (c) {
        vnet_netdev_call(n, vnet_capture_start_in_thread, c);
    }
}

VnetCapture *qmp_vnet_capture_stop(const char *id, Error **errp)
{
    VnetNetdev *n = vnet_netdev_find(id, errp);
    VnetCaptureFile *c = NULL;
    VnetCapture *s;

    if (!n) {
        return NULL;
    }
    vnet_netdev_call(n, vnet_capture_end_in_thread, &c);
    if (!c) {
        error_setg(errp, "netdev %s writes no capture", id);
        return NULL;
    }
    vnet_capture_finish(c);
    s = vnet_capture_status(c);
    vnet_capture_dispose(c);
    return s;
}
