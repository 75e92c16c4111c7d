/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Socket calls, one at a time, by command.
 *
 * Reads a command a line from stdin, makes the call, and prints one line:
 *
 *     COMMAND -> RESULT
 *
 * with the return value or the error's name.  A test drives two of these in
 * lock step, once over TCP and once over offloaded streams; what they print
 * has to be the same.  So nothing is printed that may differ between two
 * runs over TCP: no times, no ephemeral ports, no buffer sizes.
 *
 * What a socket sends is a pattern that depends on its offset in the stream
 * alone; what it receives is held against it ("BAD at" if it differs).
 *
 * Sockets have names.  The commands:
 *
 *   socket N tcp|tcp6|udp|udp6 [nonblock]
 *   bind N ADDR PORT          listen N BACKLOG       accept N NEW [nonblock]
 *   connect N ADDR PORT|*     (* : AF_UNSPEC)        dup N NEW
 *   send N COUNT [FLAG...]    recv N COUNT [FLAG...] one call
 *       FLAG: dontwait nosignal more oob peek waitall trunc
 *   sendall N COUNT           recvall N COUNT        until done, end or error
 *   fill N                    send until there is no room for half a second (1)
 *   drain N MS                receive until nothing has come for so long (1)
 *   readv N A B               writev N A B           two buffers
 *   sendfile N COUNT          splice N COUNT         from a file; to a pipe
 *   read N COUNT [x]          write N COUNT
 *   shutdown N rd|wr|rdwr     close N [timed]
 *   poll N EVENTS MS          EVENTS: in,out,rdhup,pri joined by "+"
 *   select N r|w|e MS
 *   epoll E                   epadd E N EVENTS[+et][+oneshot]
 *   epmod E N EVENTS          epdel E N              epwait E MS
 *   set N OPTION VALUE [V2]   get N OPTION
 *   inq N | outq N            SIOCINQ, SIOCOUTQ
 *   waitoutq N MS             until SIOCOUTQ is 0
 *   info N                    values of TCP_INFO
 *   name N [port] | peer N    getsockname, getpeername
 *   spread PREFIX N COUNT     accept from PREFIX0 ... PREFIX(N-1)
 *   nonblock N on|off         sigpipes               how many came so far
 *   exit CODE
 *
 * and those of the files beside this one, sock_*.c.
 *
 * (1) so many times as long as the program's argument says: guests may be slow.
 */
#define _GNU_SOURCE
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

static struct sock socks[MAX_SOCKETS];
static volatile sig_atomic_t sigpipes;
uint8_t buffer[MAX_IO];
char *words[MAX_WORDS + 1];
int count;

static void on_sigpipe(int sig)
{
    (void)sig;
    sigpipes++;
}

void result(long value)
{
    if (value < 0) {
        printf("%s\n", errno_name(errno));
    } else {
        printf("%ld\n", value);
    }
}

struct sock *find(const char *name)
{
    for (int i = 0; i < MAX_SOCKETS; i++) {
        if (name[0] && !strcmp(socks[i].name, name)) {
            return &socks[i];
        }
    }
    die("there is no socket \"%s\"", name);
}

struct sock *add(const char *name, int fd)
{
    if (fd < 0) {
        result(-1);
        return NULL;
    }
    for (int i = 0; i < MAX_SOCKETS; i++) {
        if (!socks[i].name[0]) {
            snprintf(socks[i].name, sizeof(socks[i].name), "%s", name);
            socks[i].fd = fd;
            socks[i].sent = socks[i].received = 0;
            printf("ok\n");
            return &socks[i];
        }
    }
    die("more than %d sockets", MAX_SOCKETS);
}

const char *word(int i)
{
    if (i >= count) {
        die("\"%s\" has too few words", words[0]);
    }
    return words[i];
}

bool has_word(const char *text)
{
    for (int i = 2; i < count; i++) {
        if (!strcmp(words[i], text)) {
            return true;
        }
    }
    return false;
}

static int msg_flags(void)
{
    return (has_word("dontwait") ? MSG_DONTWAIT : 0) |
           (has_word("nosignal") ? MSG_NOSIGNAL : 0) |
           (has_word("more") ? MSG_MORE : 0) |
           (has_word("oob") ? MSG_OOB : 0) |
           (has_word("peek") ? MSG_PEEK : 0) |
           (has_word("waitall") ? MSG_WAITALL : 0) |
           (has_word("trunc") ? MSG_TRUNC : 0);
}

void received(struct sock *s, ssize_t n, const uint8_t *data, bool advance)
{
    size_t good;

    if (n < 0) {
        result(-1);
        return;
    }
    good = data ? pattern_check(data, n, 0, s->received) : (size_t)n;
    if (good < (size_t)n) {
        printf("%zd BAD at %llu\n", n,
               (unsigned long long)(s->received + good));
    } else {
        printf("%zd\n", n);
    }
    if (advance) {
        s->received += n;
    }
}

size_t fill(struct sock *s, const char *text)
{
    size_t len = parse_number(text, MAX_IO);

    pattern_fill(buffer, len, 0, s->sent);
    return len;
}

void sent(struct sock *s, ssize_t n)
{
    if (n > 0) {
        s->sent += n;
    }
    result(n);
}

static void do_sendall(struct sock *s, uint64_t len)
{
    uint64_t done = 0;

    while (done < len) {
        size_t piece = len - done < MAX_IO ? len - done : MAX_IO;
        ssize_t n;

        pattern_fill(buffer, piece, 0, s->sent);
        n = send(s->fd, buffer, piece, 0);
        if (n < 0) {
            /* How much went before is up to buffers. */
            result(-1);
            return;
        }
        s->sent += n;
        done += n;
    }
    result(done);
}

static void do_recvall(struct sock *s, uint64_t len)
{
    uint64_t done = 0;

    while (done < len) {
        size_t piece = len - done < MAX_IO ? len - done : MAX_IO;
        ssize_t n = recv(s->fd, buffer, piece, 0);
        size_t good;

        if (n < 0) {
            printf("%llu then ", (unsigned long long)done);
            result(-1);
            return;
        }
        if (n == 0) {
            printf("%llu then end\n", (unsigned long long)done);
            return;
        }
        good = pattern_check(buffer, n, 0, s->received);
        if (good < (size_t)n) {
            printf("BAD at %llu\n", (unsigned long long)(s->received + good));
            return;
        }
        s->received += n;
        done += n;
    }
    result(done);
}

/* How many times slower than usual this guest is. */
static unsigned slow = 1;

/* Send until there is no room, and none comes for as long as a buffer may take
 * to move on to the peer. */
static void do_fill(struct sock *s)
{
    struct pollfd pfd = { s->fd, POLLOUT, 0 };
    bool quiet = false;
    ssize_t n;

    /* Poll says "no room" while there still is some: try once more after it
     * has said so for some time. */
    for (;;) {
        pattern_fill(buffer, 65536, 0, s->sent);
        n = send(s->fd, buffer, 65536, MSG_DONTWAIT);
        if (n > 0) {
            s->sent += n;
            quiet = false;
        } else if (errno != EAGAIN || quiet) {
            break;
        } else {
            quiet = poll(&pfd, 1, 500 * slow) == 0;
        }
    }
    result(-1);
}

static void do_drain(struct sock *s)
{
    struct pollfd pfd = { s->fd, POLLIN, 0 };
    int pause = parse_number(word(2), 100000) * slow;
    ssize_t n;

    while (poll(&pfd, 1, pause) > 0) {
        n = recv(s->fd, buffer, MAX_IO, MSG_DONTWAIT);
        if (n <= 0) {
            result(n);
            return;
        }
        if (pattern_check(buffer, n, 0, s->received) < (size_t)n) {
            printf("BAD from %llu\n", (unsigned long long)s->received);
            return;
        }
        s->received += n;
    }
    printf("drained\n");
}

static void do_vector(struct sock *s, bool out)
{
    size_t a = parse_number(word(2), MAX_IO / 2);
    size_t b = parse_number(word(3), MAX_IO / 2);
    /* A hole between the two, so that they cannot be taken for one. */
    struct iovec iov[2] = { { buffer, a }, { buffer + a + 64, b } };
    ssize_t n;

    if (out) {
        pattern_fill(iov[0].iov_base, a, 0, s->sent);
        pattern_fill(iov[1].iov_base, b, 0, s->sent + a);
        sent(s, writev(s->fd, iov, 2));
        return;
    }
    n = readv(s->fd, iov, 2);
    if (n > (ssize_t)a) {
        memmove(buffer + a, buffer + a + 64, n - a);
    }
    received(s, n, buffer, true);
}

static void do_sendfile(struct sock *s)
{
    size_t len = fill(s, word(2));
    int file = memfd_create("pattern", MFD_CLOEXEC);
    off_t offset = 0;

    if (file < 0 || write(file, buffer, len) != (ssize_t)len) {
        die("memfd: %s", errno_name(errno));
    }
    sent(s, sendfile(s->fd, file, &offset, len));
    close(file);
}

static void do_splice(struct sock *s)
{
    size_t len = parse_number(word(2), 65536);
    int pipes[2];
    ssize_t n;

    if (pipe2(pipes, O_CLOEXEC) < 0) {
        die("pipe: %s", errno_name(errno));
    }
    n = splice(s->fd, NULL, pipes[1], NULL, len, 0);
    if (n > 0 && read(pipes[0], buffer, n) != n) {
        die("the pipe lost bytes of a splice");
    }
    received(s, n, buffer, true);
    close(pipes[0]);
    close(pipes[1]);
}

/* Events by name, for poll and epoll, whose values are the same. */
static const struct { const char *name; uint32_t bit; } events[] = {
    { "in", EPOLLIN }, { "out", EPOLLOUT }, { "rdhup", EPOLLRDHUP },
    { "pri", EPOLLPRI }, { "err", EPOLLERR }, { "hup", EPOLLHUP },
    { "et", EPOLLET }, { "oneshot", EPOLLONESHOT }, { NULL, 0 },
};

uint32_t parse_events(const char *text)
{
    char copy[64], *save;
    uint32_t bits = 0;

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *p = strtok_r(copy, "+", &save); p;
         p = strtok_r(NULL, "+", &save)) {
        int i = 0;

        while (events[i].name && strcmp(events[i].name, p)) {
            i++;
        }
        if (!events[i].name && strcmp(p, "none")) {
            die("no event \"%s\"", p);
        }
        bits |= events[i].bit;
    }
    return bits;
}

void print_events(uint32_t bits)
{
    const char *sep = "";

    for (int i = 0; events[i].name; i++) {
        if (bits & events[i].bit) {
            printf("%s%s", sep, events[i].name);
            sep = "+";
        }
    }
}

static void do_poll(struct sock *s)
{
    struct pollfd pfd = { s->fd, parse_events(word(2)), 0 };
    int n = poll(&pfd, 1, parse_number(word(3), 600000));

    if (n <= 0) {
        printf("%s\n", n ? errno_name(errno) : "nothing");
        return;
    }
    print_events(pfd.revents);
    printf("\n");
}

static void do_select(struct sock *s)
{
    int ms = parse_number(word(3), 600000);
    struct timeval tv = { ms / 1000, ms % 1000 * 1000 };
    char kind = word(2)[0];
    fd_set set;

    FD_ZERO(&set);
    FD_SET(s->fd, &set);
    result(select(s->fd + 1, kind == 'r' ? &set : NULL,
                  kind == 'w' ? &set : NULL, kind == 'e' ? &set : NULL, &tv));
}

static void do_epctl(int op)
{
    struct sock *s = find(word(2));
    struct epoll_event ev = { .data.ptr = s };

    if (op != EPOLL_CTL_DEL) {
        ev.events = parse_events(word(3));
    }
    result(epoll_ctl(find(word(1))->fd, op, s->fd, &ev));
}

static void do_epwait(struct sock *s)
{
    struct epoll_event ev[16];
    int n = epoll_wait(s->fd, ev, 16, parse_number(word(2), 600000));

    if (n <= 0) {
        printf("%s\n", n ? errno_name(errno) : "nothing");
        return;
    }
    /* In the order of the names: the kernel's own is not promised. */
    for (int i = 0; i < MAX_SOCKETS; i++) {
        for (int j = 0; j < n; j++) {
            if (ev[j].data.ptr == &socks[i]) {
                printf("%s:", socks[i].name);
                print_events(ev[j].events);
                printf(" ");
            }
        }
    }
    printf("\n");
}

static const struct option {
    const char *name;
    int level, number;
    enum { INT, LINGER, TIMEVAL, INFO } kind;
} options[] = {
    { "error", SOL_SOCKET, SO_ERROR, INT },
    { "type", SOL_SOCKET, SO_TYPE, INT },
    { "domain", SOL_SOCKET, SO_DOMAIN, INT },
    { "protocol", SOL_SOCKET, SO_PROTOCOL, INT },
    { "acceptconn", SOL_SOCKET, SO_ACCEPTCONN, INT },
    { "reuseaddr", SOL_SOCKET, SO_REUSEADDR, INT },
    { "reuseport", SOL_SOCKET, SO_REUSEPORT, INT },
    { "keepalive", SOL_SOCKET, SO_KEEPALIVE, INT },
    { "oobinline", SOL_SOCKET, SO_OOBINLINE, INT },
    { "sndbuf", SOL_SOCKET, SO_SNDBUF, INT },
    { "rcvbuf", SOL_SOCKET, SO_RCVBUF, INT },
    { "rcvlowat", SOL_SOCKET, SO_RCVLOWAT, INT },
    { "busy_poll", SOL_SOCKET, SO_BUSY_POLL, INT },
    { "zerocopy", SOL_SOCKET, SO_ZEROCOPY, INT },
    { "linger", SOL_SOCKET, SO_LINGER, LINGER },
    { "rcvtimeo", SOL_SOCKET, SO_RCVTIMEO, TIMEVAL },
    { "sndtimeo", SOL_SOCKET, SO_SNDTIMEO, TIMEVAL },
    { "nodelay", IPPROTO_TCP, TCP_NODELAY, INT },
    { "cork", IPPROTO_TCP, TCP_CORK, INT },
    { "keepidle", IPPROTO_TCP, TCP_KEEPIDLE, INT },
    { "keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, INT },
    { "keepcnt", IPPROTO_TCP, TCP_KEEPCNT, INT },
    { "usertimeout", IPPROTO_TCP, TCP_USER_TIMEOUT, INT },
    { "peek_off", SOL_SOCKET, SO_PEEK_OFF, INT },
    { "notsent_lowat", IPPROTO_TCP, TCP_NOTSENT_LOWAT, INT },
    { "info", IPPROTO_TCP, TCP_INFO, INFO },
    { "v6only", IPPROTO_IPV6, IPV6_V6ONLY, INT },
    { NULL, 0, 0, INT },
};

static const struct option *find_option(const char *name)
{
    for (const struct option *o = options; o->name; o++) {
        if (!strcmp(o->name, name)) {
            return o;
        }
    }
    die("no option \"%s\"", name);
}

static void do_set(struct sock *s)
{
    const struct option *o = find_option(word(2));
    int value = parse_number(word(3), INT32_MAX);
    struct linger linger = { value, 0 };
    struct timeval tv = { value / 1000, value % 1000 * 1000 };
    const void *arg = &value;
    socklen_t len = sizeof(value);

    if (o->kind == LINGER) {
        linger.l_linger = parse_number(word(4), INT32_MAX);
        arg = &linger;
        len = sizeof(linger);
    } else if (o->kind == TIMEVAL) {
        arg = &tv;
        len = sizeof(tv);
    }
    result(setsockopt(s->fd, o->level, o->number, arg, len));
}

static void do_get(struct sock *s)
{
    const struct option *o = find_option(word(2));
    union {
        int number;
        struct linger linger;
        struct timeval tv;
        struct tcp_info info;
    } v = { 0 };
    socklen_t len = sizeof(v);

    if (getsockopt(s->fd, o->level, o->number, &v, &len) < 0) {
        result(-1);
    } else if (o->kind == LINGER) {
        printf("%d %d\n", v.linger.l_onoff, v.linger.l_linger);
    } else if (o->kind == TIMEVAL) {
        printf("%ld\n", v.tv.tv_sec * 1000 + v.tv.tv_usec / 1000);
    } else if (o->kind == INFO) {
        printf("state %d\n", v.info.tcpi_state);
    } else if (o->number == SO_ERROR && o->level == SOL_SOCKET) {
        printf("%s\n", v.number ? errno_name(v.number) : "0");
    } else {
        printf("%d\n", v.number);
    }
}

static void do_info(struct sock *s)
{
    /* The C library's structure ends before what is looked at here. */
    struct {
        struct tcp_info old;
        uint64_t pacing[2], bytes_acked, bytes_received;
        uint32_t segs[2], notsent_bytes, min_rtt, data_segs[2];
        uint64_t times[4];
        uint32_t delivered[2];
        uint64_t bytes_sent;
    } i = { 0 };
    socklen_t len = sizeof(i);

    if (getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &i, &len) < 0) {
        result(-1);
        return;
    }
    printf("state=%u rtt=%u rttvar=%u minrtt=%u mss=%u unacked=%u notsent=%u "
           "sent=%llu acked=%llu received=%llu lastsent=%u lastrecv=%u\n",
           i.old.tcpi_state, i.old.tcpi_rtt, i.old.tcpi_rttvar, i.min_rtt,
           i.old.tcpi_snd_mss, i.old.tcpi_unacked, i.notsent_bytes,
           (unsigned long long)i.bytes_sent,
           (unsigned long long)i.bytes_acked,
           (unsigned long long)i.bytes_received,
           i.old.tcpi_last_data_sent, i.old.tcpi_last_data_recv);
}

static void do_waitoutq(struct sock *s)
{
    double limit = now() + parse_number(word(2), 600000) / 1e3;
    int left = 0;

    do {
        if (ioctl(s->fd, SIOCOUTQ, &left) < 0) {
            result(-1);
            return;
        }
        if (left) {
            /* No event tells that the last byte was acknowledged. */
            usleep(1000);
        }
    } while (left && now() < limit);
    printf(left ? "not empty\n" : "0\n");
}

static void print_address(const struct sockaddr_storage *addr)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
    char text[INET6_ADDRSTRLEN] = "?";
    int port = 0;

    if (addr->ss_family == AF_INET) {
        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
        port = ntohs(in->sin_port);
    } else if (addr->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
        port = ntohs(in6->sin6_port);
    }
    if (port >= 32768 && !has_word("port")) {
        printf("%s port ephemeral\n", text);
    } else {
        printf("%s port %d\n", text, port);
    }
}

static void do_name(struct sock *s, bool peer)
{
    struct sockaddr_storage addr = { 0 };
    socklen_t len = sizeof(addr);

    if ((peer ? getpeername(s->fd, (struct sockaddr *)&addr, &len)
              : getsockname(s->fd, (struct sockaddr *)&addr, &len)) < 0) {
        result(-1);
    } else {
        print_address(&addr);
    }
}

/* Accept COUNT connections from the listeners PREFIX0, PREFIX1 ...; print
 * whether they came to more than one. */
static void do_spread(void)
{
    unsigned long n = parse_number(word(2), 16);
    unsigned long want = parse_number(word(3), MAX_SOCKETS), got = 0;
    struct pollfd pfd[16];
    bool used[16] = { false };
    int users = 0;

    for (unsigned long i = 0; i < n; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%s%lu", word(1), i);
        pfd[i] = (struct pollfd) { find(name)->fd, POLLIN, 0 };
    }
    while (got < want && poll(pfd, n, 10000) > 0) {
        for (unsigned long i = 0; i < n; i++) {
            if (pfd[i].revents) {
                int fd = accept(pfd[i].fd, NULL, NULL);

                if (fd < 0) {
                    die("accept: %s", errno_name(errno));
                }
                close(fd);
                got++;
                users += !used[i];
                used[i] = true;
            }
        }
    }
    printf("%lu to %s\n", got, users > 1 ? "several" : "one");
}

static void do_socket(void)
{
    const char *kind = word(2);
    bool udp = !strncmp(kind, "udp", 3), six = kind[strlen(kind) - 1] == '6';

    add(word(1), socket(six ? AF_INET6 : AF_INET,
                        (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC |
                        (has_word("nonblock") ? SOCK_NONBLOCK : 0), 0));
}

static void do_address(struct sock *s, bool is_bind)
{
    struct sockaddr_storage addr = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof(addr);

    if (strcmp(word(2), "*")) {
        len = parse_address(word(2), word(3), &addr);
    }
    if (is_bind) {
        result(bind(s->fd, (struct sockaddr *)&addr, len));
    } else {
        result(connect(s->fd, (struct sockaddr *)&addr, len));
    }
}

static void do_shutdown(struct sock *s)
{
    static const char *const hows[] = { "rd", "wr", "rdwr" };

    for (int how = 0; how < 3; how++) {
        if (!strcmp(word(2), hows[how])) {
            result(shutdown(s->fd, how));
            return;
        }
    }
    die("shutdown rd, wr or rdwr, not \"%s\"", word(2));
}

static void do_nonblock(struct sock *s)
{
    int flags = fcntl(s->fd, F_GETFL);

    result(fcntl(s->fd, F_SETFL, strcmp(word(2), "on") ? flags & ~O_NONBLOCK
                                                       : flags | O_NONBLOCK));
}

bool is(const char *name)
{
    return !strcmp(words[0], name);
}

/* Commands whose second word names a socket that is there. */
static bool socket_command(struct sock *s)
{
    int value;

    if (is("bind")) {
        do_address(s, true);
    } else if (is("connect")) {
        do_address(s, false);
    } else if (is("listen")) {
        result(listen(s->fd, parse_number(word(2), INT32_MAX)));
    } else if (is("accept")) {
        add(word(2), accept4(s->fd, NULL, NULL, SOCK_CLOEXEC |
                             (has_word("nonblock") ? SOCK_NONBLOCK : 0)));
    } else if (is("dup")) {
        add(word(2), fcntl(s->fd, F_DUPFD_CLOEXEC, 0));
    } else if (is("send")) {
        size_t len = fill(s, word(2));

        sent(s, send(s->fd, buffer, len, msg_flags()));
    } else if (is("recv")) {
        int flags = msg_flags();
        /* With both, nothing is copied. */
        void *to = flags & MSG_PEEK && flags & MSG_TRUNC ? NULL : buffer;
        ssize_t n = recv(s->fd, to, parse_number(word(2), MAX_IO), flags);

        received(s, n, has_word("trunc") ? NULL : buffer, !has_word("peek"));
    } else if (is("write")) {
        size_t len = fill(s, word(2));

        sent(s, write(s->fd, buffer, len));
    } else if (is("read")) {
        received(s, read(s->fd, buffer, parse_number(word(2), MAX_IO)),
                 buffer, true);
    } else if (is("sendall")) {
        do_sendall(s, parse_number(word(2), UINT64_MAX / 2));
    } else if (is("recvall")) {
        do_recvall(s, parse_number(word(2), UINT64_MAX / 2));
    } else if (is("fill")) {
        do_fill(s);
    } else if (is("drain")) {
        do_drain(s);
    } else if (is("readv") || is("writev")) {
        do_vector(s, words[0][0] == 'w');
    } else if (is("sendfile")) {
        do_sendfile(s);
    } else if (is("splice")) {
        do_splice(s);
    } else if (is("shutdown")) {
        do_shutdown(s);
    } else if (is("close")) {
        double began = now();

        s->name[0] = '\0';
        result(close(s->fd));
        if (has_word("timed")) {
            printf("%s\n", now() - began < 0.9 ? "at once" : "waited");
        }
    } else if (is("poll")) {
        do_poll(s);
    } else if (is("select")) {
        do_select(s);
    } else if (is("epwait")) {
        do_epwait(s);
    } else if (is("set")) {
        do_set(s);
    } else if (is("get")) {
        do_get(s);
    } else if (is("inq")) {
        result(ioctl(s->fd, SIOCINQ, &value) < 0 ? -1 : value);
    } else if (is("outq")) {
        result(ioctl(s->fd, SIOCOUTQ, &value) < 0 ? -1 : value);
    } else if (is("info")) {
        do_info(s);
    } else if (is("waitoutq")) {
        do_waitoutq(s);
    } else if (is("name") || is("peer")) {
        do_name(s, words[0][0] == 'p');
    } else if (is("nonblock")) {
        do_nonblock(s);
    } else {
        return false;
    }
    return true;
}

static void command(void)
{
    if (memory_command() || process_command() || uring_command()) {
        return;
    } else if (is("socket")) {
        do_socket();
    } else if (is("spread")) {
        do_spread();
    } else if (is("epoll")) {
        add(word(1), epoll_create1(EPOLL_CLOEXEC));
    } else if (is("epadd")) {
        do_epctl(EPOLL_CTL_ADD);
    } else if (is("epmod")) {
        do_epctl(EPOLL_CTL_MOD);
    } else if (is("epdel")) {
        do_epctl(EPOLL_CTL_DEL);
    } else if (is("sigpipes")) {
        printf("%d\n", (int)sigpipes);
    } else if (is("exit")) {
        printf("exit\n");
        fflush(stdout);
        exit(parse_number(word(1), 255));
    } else if (!socket_command(find(word(1)))) {
        die("no command \"%s\"", words[0]);
    }
}

void serve(void)
{
    char line[512];

    while (fgets(line, sizeof(line), stdin)) {
        char *save;

        line[strcspn(line, "\n")] = '\0';
        printf("%s -> ", line);
        fflush(stdout);
        count = 0;
        for (char *w = strtok_r(line, " ", &save); w;
             w = strtok_r(NULL, " ", &save)) {
            if (count == MAX_WORDS) {
                die("more than %d words", MAX_WORDS);
            }
            words[count++] = w;
        }
        if (count > 0) {
            command();
        }
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    struct sigaction sa = { .sa_handler = on_sigpipe };

    if (argc > 1) {
        slow = parse_number(argv[1], 1000);
    }
    /* Calls are not begun again after it: an EINTR would be seen. */
    sigaction(SIGPIPE, &sa, NULL);
    serve();
    return 0;
}
