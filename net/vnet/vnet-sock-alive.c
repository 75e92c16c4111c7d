/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whether the way of a TCP connection is still there (docs/specs/vnet-wire.rst,
 * "Times and limits").  What is on the way forgets connections, each by itself.
 * TCP alone takes a quarter of an hour to say so, and of one that is idle for
 * ever.
 *
 * The control and the frame connection are read all the time: TCP is told how long
 * it may wait for an acknowledgement.  Of a data connection it cannot be: with the
 * same words it would end one whose peer's guest does not read.  So those that
 * have sent something are looked at once per heartbeat.  The peer's TCP
 * acknowledges what it has room for, and answers who asks for room; one that
 * does neither, though it is asked again and again, is not there.
 */

#include "qemu/osdep.h"
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include "vnet-sock.h"

/* In heartbeat intervals: that what was said arrived; of a connection that says
 * nothing, a sign that it is there. */
#define VNET_SOCK_ACKED         10
#define VNET_SOCK_ACKED_MIN_MS  2000
#define VNET_SOCK_IDLE          30
#define VNET_SOCK_PROBE         5
#define VNET_SOCK_PROBES        4

static int heartbeat_ms(const VnetSockLink *k)
{
    return vnet_core_heartbeat_ms(vnet_loop_core(k->loop));
}

static int acked_ms(const VnetSockLink *k)
{
    return MAX(VNET_SOCK_ACKED * heartbeat_ms(k), VNET_SOCK_ACKED_MIN_MS);
}

static void set(int fd, int option, int value)
{
    setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

void vnet_sock_alive_tune(VnetSockLink *k, int fd, bool data)
{
    const InetSocketAddress *in = &k->addr->u.inet;
    int beat = heartbeat_ms(k);
    int on = !in->has_keep_alive || in->keep_alive;

    /* What a server accepts has what was said to its listener. */
    if (data && k->server) {
        set(fd, TCP_USER_TIMEOUT, 0);
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    set(fd, TCP_KEEPIDLE, MAX(VNET_SOCK_IDLE * beat / 1000, 1));
    set(fd, TCP_KEEPINTVL, MAX(VNET_SOCK_PROBE * beat / 1000, 1));
    set(fd, TCP_KEEPCNT, VNET_SOCK_PROBES);
    if (!data) {
        set(fd, TCP_USER_TIMEOUT, acked_ms(k));
    }
}

/* --- Data connections ------------------------------------------------- */

void vnet_sock_alive_sent(VnetSockLink *k, VnetSockSent *sent, int fd)
{
    if (k->is_unix || sent->fd >= 0) {
        return;
    }
    if (QTAILQ_EMPTY(&k->sent)) {
        vnet_loop_timer_arm(&k->alive, vnet_loop_now() +
                            heartbeat_ms(k) * (int64_t)SCALE_MS);
    }
    sent->fd = fd;
    sent->silent_ns = 0;
    QTAILQ_INSERT_TAIL(&k->sent, sent, next);
}

void vnet_sock_alive_forget(VnetSockLink *k, VnetSockSent *sent)
{
    if (sent->fd >= 0) {
        QTAILQ_REMOVE(&k->sent, sent, next);
        sent->fd = -1;
    }
}

/* Whether the kernel still has bytes that the peer's does not. */
static bool is_owed(const VnetSockSent *sent)
{
    int bytes = 0;

    return ioctl(sent->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* Whether TCP asks again, and has not heard anything for a heartbeat. */
static bool is_silent(const VnetSockLink *k, const VnetSockSent *sent)
{
    struct tcp_info info = { };
    socklen_t len = sizeof(info);

    return getsockopt(sent->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           (info.tcpi_retransmits || info.tcpi_probes) &&
           info.tcpi_last_ack_recv >= heartbeat_ms(k);
}

void vnet_sock_alive_look(VnetLoopTimer *t)
{
    VnetSockLink *k = container_of(t, VnetSockLink, alive);
    int64_t now = vnet_loop_now();
    VnetSockSent *sent, *next;

    QTAILQ_FOREACH_SAFE(sent, &k->sent, next, next) {
        if (!is_owed(sent)) {
            vnet_sock_alive_forget(k, sent);
        } else if (!is_silent(k, sent)) {
            sent->silent_ns = 0;
        } else if (!sent->silent_ns) {
            sent->silent_ns = now;
        } else if (now - sent->silent_ns >= acked_ms(k) * (int64_t)SCALE_MS) {
            k->stats.data_silent++;
            vnet_sock_cid_silent(sent);
        }
    }
    if (!QTAILQ_EMPTY(&k->sent)) {
        vnet_loop_timer_arm(t, now + heartbeat_ms(k) * (int64_t)SCALE_MS);
    }
}
