/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: what its files show each other.
 *   stream-bench.c        the plan, the figures
 *   stream-bench-plain.c  plain sockets: the measure
 *   stream-bench-vnet.c   the stream engine over a link of the same kind
 *   stream-bench-rdma.c   the link, when it is one over RDMA
 *   stream-bench-tls.c    the keys, when it is encrypted
 *
 * A measurement has two processes, made for it.  The server end listens, the
 * client end connects; data goes from client to server, ping-pong is begun by
 * the client.
 */
#ifndef STREAM_BENCH_H
#define STREAM_BENCH_H

#include "qapi/qapi-types-sockets.h"

#define BENCH_BUFFER    (64 * 1024)     /* one send, one buffer */
#define BENCH_BUFFERS   64              /* in a ring */
#define BENCH_MESSAGE   64              /* ping-pong, unless said otherwise */

typedef enum BenchLink {
    BENCH_UNIX,
    BENCH_TCP,
    BENCH_RDMA,                 /* the overlay only */
} BenchLink;

typedef enum BenchKind {
    BENCH_THROUGHPUT,           /* for `seconds` */
    BENCH_PINGPONG,             /* for `seconds` */
    BENCH_VERIFY,               /* `bytes` both ways at once, all compared */
    BENCH_FRAMES,               /* for `seconds`; the overlay only */
    BENCH_OPEN,                 /* streams, each for one message and its answer,
                                 * for `seconds`; the overlay only */
} BenchKind;

typedef enum BenchTls {
    BENCH_NO_TLS,
    BENCH_TLS_PSK,
    BENCH_TLS_X509,
} BenchTls;

typedef struct BenchJob {
    BenchKind kind;
    double seconds;
    uint64_t bytes;
    BenchLink link;
    BenchTls tls;               /* the overlay over tcp only */
    const char *creds;          /* ... folder with what QEMU's objects want */
    const char *priority;       /* ... ciphers as GnuTLS names them; or NULL */
    unsigned message;           /* bytes, of a message or a frame */
    int64_t poll_max_ns;        /* the overlay's thread, before it sleeps */
    bool blocking;              /* plain ping-pong: sleep in recv() */
} BenchJob;

/* What an end reports. */
typedef struct BenchResult {
    bool ok;
    char error[256];
    double gbit;                /* server, throughput and frames */
    double latency_us;          /* client: half a round trip, median */
    double open_us;             /* client: from connect() to the answer, dito */
    uint64_t messages;          /* client: round trips */
    uint64_t bytes;             /* received */
    uint64_t bytes_copied;      /* of streams, by the overlay */
    uint64_t writes, reads;     /* system calls that moved stream bytes */
    uint64_t control;           /* system calls on the control connection */
    uint64_t wakeups;           /* RDMA: times completions were looked for */
    double cpu_before_s;        /* processor time of this end before data flow */
    double cpu_s;               /* ... and since */
} BenchResult;

/*
 * Either end's work, in a process of its own. listen_fd: the server's; -1 for
 * the client, and where a link listens by itself.
 */
typedef void BenchEnd(const BenchJob *job, const SocketAddress *addr,
                      bool server, int listen_fd, BenchResult *res);
BenchEnd bench_plain_end;
BenchEnd bench_vnet_end;

double bench_now(void);         /* seconds, monotonic */
double bench_cpu(void);         /* seconds, processor time of this process */
/* The middle one of n values; sorts them. */
double bench_median(double *v, unsigned n);
/* Byte at a stream offset, for verifying. */
static inline uint8_t bench_byte(uint64_t offset)
{
    return (offset * 0x9e3779b97f4a7c15ull) >> 56;
}

#endif /* STREAM_BENCH_H */
