/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream-bench: how close to plain sockets the overlay itself is.
 *
 * The stream engine and a link, between two processes, without a guest and
 * without QEMU; against plain sockets of the same kind in the same run.
 * Measurements alternate, so that what else the machine does hits both; the
 * ratio of a round is taken from its pair, and the median of the rounds counts.
 * When so few rounds do not tell on which side of its bar the median is, more
 * follow, up to four times as many.
 *
 *   stream-bench [--rounds N] [--seconds S] [--kind unix|tcp]
 *                [--poll-max-ns N] [--figures FILE] [--no-bars]
 *   stream-bench --overlay throughput|pingpong|verify|frames|open [--seconds S]
 *                [--kind unix|tcp|rdma] [--message BYTES] [--address IP]
 *                [--poll-max-ns N]
 *                [--tls psk|x509 --creds DIR [--priority CIPHERS]]
 *
 * The second form is the overlay's side alone, once: for profilers, for what TLS
 * costs (scripts/bench --tls), and over RDMA, where others measure what is beside
 * it.  --address is that of the RDMA device on which the server listens, --message
 * the size in a ping-pong, and of a frame.
 *
 * Exit code: 0 all bars hold, 1 one does not, 2 something went wrong.
 */

#include "qemu/osdep.h"
#include <sys/wait.h>
#include <getopt.h>
#include <math.h>
#include "qapi/error.h"
#include "qemu/sockets.h"
#include "vnet-link-sock.h"
#include "stream-bench.h"

/* No measurement takes longer than this and its seconds. */
#define BENCH_PATIENCE  30

static const char *figures;
static bool bars = true;
static bool bars_hold = true;
static char *dir;
static const char *rdma_address;
static int64_t poll_max_ns;

double bench_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

double bench_cpu(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

double bench_median(double *v, unsigned n)
{
    if (!n) {
        return 0;
    }
    qsort(v, n, sizeof(*v), compare);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void G_GNUC_PRINTF(1, 2) G_GNUC_NORETURN die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "stream-bench: error: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(2);
}

/* --- One measurement -------------------------------------------------- */

/* A port that nobody uses now; RDMA's are others than TCP's, but as good. */
static char *free_port(void)
{
    struct sockaddr_in sin = { .sin_family = AF_INET };
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&sin, len) < 0 ||
        getsockname(fd, (struct sockaddr *)&sin, &len) < 0) {
        die("no free port: %s", strerror(errno));
    }
    close(fd);
    return g_strdup_printf("%u", ntohs(sin.sin_port));
}

static SocketAddress *address(BenchLink link)
{
    SocketAddress *a = g_new0(SocketAddress, 1);

    if (link != BENCH_UNIX) {
        a->type = SOCKET_ADDRESS_TYPE_INET;
        a->u.inet.host = g_strdup(link == BENCH_RDMA ? rdma_address :
                                  "127.0.0.1");
        a->u.inet.port = link == BENCH_RDMA ? free_port() : g_strdup("0");
    } else {
        a->type = SOCKET_ADDRESS_TYPE_UNIX;
        a->u.q_unix.path = g_strdup_printf("%s/sock", dir);
    }
    return a;
}

static pid_t start_end(BenchEnd *end, const BenchJob *job,
                       const SocketAddress *addr, bool server, int listen_fd,
                       int *result_fd)
{
    int fds[2];
    pid_t pid;

    if (pipe(fds) < 0) {
        die("pipe: %s", strerror(errno));
    }
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        die("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        BenchResult res = { 0 };

        close(fds[0]);
        /* Bounded, whatever happens. */
        alarm(BENCH_PATIENCE + (unsigned)job->seconds);
        end(job, addr, server, listen_fd, &res);
        res.cpu_s = bench_cpu() - res.cpu_before_s;
        _exit(write(fds[1], &res, sizeof(res)) == sizeof(res) ? 0 : 1);
    }
    close(fds[1]);
    *result_fd = fds[0];
    return pid;
}

static void finish_end(const char *name, pid_t pid, int fd, BenchResult *res)
{
    ssize_t ret = RETRY_ON_EINTR(read(fd, res, sizeof(*res)));
    int status;

    close(fd);
    waitpid(pid, &status, 0);
    if (ret != sizeof(*res)) {
        die("the %s end died (status 0x%x)", name, status);
    }
    if (!res->ok) {
        die("the %s end: %s", name, res->error);
    }
}

static void measure(BenchEnd *end, const BenchJob *job, BenchResult *server,
                    BenchResult *client)
{
    g_autoptr(SocketAddress) addr = address(job->link);
    g_autoptr(SocketAddress) bound = NULL;
    const VnetSockConfig cfg = {
        .id = "l0", .addr = addr, .server = true,
    };
    Error *err = NULL;
    int listen_fd = -1, sfd, cfd;
    pid_t s, c;

    if (job->link != BENCH_RDMA) {
        listen_fd = vnet_sock_listen(&cfg, &err);
        if (listen_fd < 0) {
            die("%s", error_get_pretty(err));
        }
        bound = socket_local_address(listen_fd, &err);
        if (!bound) {
            die("%s", error_get_pretty(err));
        }
    }
    s = start_end(end, job, bound ?: addr, true, listen_fd, &sfd);
    if (listen_fd >= 0) {
        close(listen_fd);
    }
    c = start_end(end, job, bound ?: addr, false, -1, &cfd);
    finish_end("client", c, cfd, client);
    finish_end("server", s, sfd, server);
    if (job->link == BENCH_UNIX) {
        unlink(addr->u.q_unix.path);
    }
}

/* --- Figures ---------------------------------------------------------- */

static void figure(const char *name, double value, const char *unit,
                   const char *op, double bar)
{
    bool holds = g_str_equal(op, ">=") ? value >= bar :
                 g_str_equal(op, "<=") ? value <= bar : value == bar;

    printf("  %-38s %8.3f %-5s %s %g: %s\n", name, value, unit, op, bar,
           holds ? "holds" : "FALLS SHORT");
    bars_hold = bars_hold && holds;
    if (figures) {
        FILE *f = fopen(figures, "a");

        if (!f) {
            die("%s: %s", figures, strerror(errno));
        }
        fprintf(f, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", "
                "\"bar\": \"%s %g\", \"holds\": %s}\n", name, value, unit, op,
                bar, holds ? "true" : "false");
        if (fclose(f)) {
            die("%s: %s", figures, strerror(errno));
        }
    }
}

typedef struct Series {
    double plain[64], vnet[64], ratio[64];
    unsigned n;
} Series;

static void series_add(Series *s, double plain, double vnet)
{
    s->plain[s->n] = plain;
    s->vnet[s->n] = vnet;
    s->ratio[s->n++] = vnet / plain;
}

/* Returns the median ratio. */
static double series_show(Series *s, const char *what, const char *unit)
{
    double low = s->ratio[0], high = s->ratio[0], ratio;
    unsigned i;

    for (i = 1; i < s->n; i++) {
        low = MIN(low, s->ratio[i]);
        high = MAX(high, s->ratio[i]);
    }
    ratio = bench_median(s->ratio, s->n);
    printf("  %-12s plain %8.2f %s, overlay %8.2f %s, ratio %.3f "
           "(%.3f to %.3f, %u rounds)\n", what,
           bench_median(s->plain, s->n), unit,
           bench_median(s->vnet, s->n), unit, ratio, low, high, s->n);
    return ratio;
}

/*
 * Is the bar outside of the interval in which the median is with a confidence
 * of 95 %?  (The ranks n/2 -+ 1.96 sqrt(n)/2.)
 */
static bool series_decided(const Series *s, double bar)
{
    g_autofree double *v = g_memdup2(s->ratio, s->n * sizeof(*v));
    int rank = floor((s->n - 1.96 * sqrt(s->n)) / 2);

    qsort(v, s->n, sizeof(*v), compare);
    rank = MAX(rank, 0);
    return bar < v[rank] || bar > v[s->n - 1 - rank];
}

/* What bench_kind() knows. */
typedef struct Kind {
    const char *name;
    unsigned rounds;
    uint64_t copied;
    BenchResult s, c, ps, pc;   /* of the last round */
} Kind;

/* Measures overlay and plain sockets, and which is first alternates. */
static void bench_round(Kind *k, const BenchJob *job, unsigned round)
{
    if (round % 2) {
        measure(bench_plain_end, job, &k->ps, &k->pc);
        measure(bench_vnet_end, job, &k->s, &k->c);
    } else {
        measure(bench_vnet_end, job, &k->s, &k->c);
        measure(bench_plain_end, job, &k->ps, &k->pc);
    }
    k->copied += k->s.bytes_copied + k->c.bytes_copied;
}

/* False: enough. */
static bool bench_go_on(const Kind *k, const Series *s, double bar)
{
    unsigned most = MIN(4 * k->rounds, ARRAY_SIZE(s->ratio));

    return s->n < k->rounds || (s->n < most && !series_decided(s, bar));
}

static void bench_throughput(Kind *k, const BenchJob *job)
{
    const double bar = 0.85;
    g_autofree char *name = NULL;
    Series t = { .n = 0 };

    while (bench_go_on(k, &t, bar)) {
        bench_round(k, job, t.n);
        series_add(&t, k->ps.gbit, k->s.gbit);
    }
    name = g_strdup_printf("stream_bench.%s.throughput_ratio", k->name);
    figure(name, series_show(&t, "throughput", "Gbit/s"), "ratio", ">=", bar);
    printf("               system calls per MB: %.1f to send, %.1f to "
           "receive, %.1f control\n", k->c.writes / (k->s.bytes / 1e6),
           k->s.reads / (k->s.bytes / 1e6), (k->s.control + k->c.control) /
           (k->s.bytes / 1e6));
}

static void bench_latency(Kind *k, const BenchJob *job)
{
    const double bar = 1.5;
    g_autofree char *name = NULL;
    Series l = { .n = 0 }, blocking = { .n = 0 };
    BenchJob alone = *job;

    alone.blocking = true;
    while (bench_go_on(k, &l, bar)) {
        bench_round(k, job, l.n);
        series_add(&l, k->pc.latency_us, k->c.latency_us);
        if (blocking.n < k->rounds) {
            BenchResult s, c;

            measure(bench_plain_end, &alone, &s, &c);
            series_add(&blocking, c.latency_us, k->c.latency_us);
        }
    }
    name = g_strdup_printf("stream_bench.%s.latency_ratio", k->name);
    figure(name, series_show(&l, "ping-pong", "us"), "ratio", "<=", bar);
    series_show(&blocking, "  in recv()", "us");
    printf("               system calls per message: %.2f to send, %.2f to "
           "receive, %.2f control\n", (double)k->c.writes / k->c.messages,
           (double)k->c.reads / k->c.messages,
           (double)k->c.control / k->c.messages);
    printf("               processor time per message and end: plain %.2f us, "
           "overlay %.2f us\n", k->pc.cpu_s * 1e6 / k->pc.messages,
           k->c.cpu_s * 1e6 / k->c.messages);
}

static uint64_t bench_kind(BenchLink link, unsigned rounds, double seconds)
{
    const BenchJob verify = { .kind = BENCH_VERIFY, .link = link,
                              .bytes = 64 << 20 };
    const BenchJob through = { .kind = BENCH_THROUGHPUT, .link = link,
                               .seconds = seconds, .poll_max_ns = poll_max_ns };
    const BenchJob ping = { .kind = BENCH_PINGPONG, .link = link,
                            .seconds = seconds, .message = BENCH_MESSAGE,
                            .poll_max_ns = poll_max_ns };
    Kind k = { .name = link == BENCH_TCP ? "tcp" : "unix", .rounds = rounds };

    printf("%s\n", k.name);
    measure(bench_vnet_end, &verify, &k.s, &k.c);
    k.copied = k.s.bytes_copied + k.c.bytes_copied;
    printf("  %" PRIu64 " MiB each way at once arrived as sent\n",
           verify.bytes >> 20);
    bench_throughput(&k, &through);
    bench_latency(&k, &ping);
    return k.copied;
}

/* The overlay's side alone. */
static void bench_overlay(const char *what, BenchJob *job)
{
    static const char *const kinds[] = {
        "throughput", "pingpong", "verify", "frames", "open",
    };
    BenchResult s, c;

    while (strcmp(what, kinds[job->kind])) {
        if (++job->kind == ARRAY_SIZE(kinds)) {
            die("--overlay \"%s\" is none of throughput, pingpong, verify, "
                "frames, open", what);
        }
    }
    if (job->kind == BENCH_FRAMES && job->message < 14) {
        die("--message: a frame has 14 bytes at least");
    }
    job->bytes = 64 << 20;
    measure(bench_vnet_end, job, &s, &c);
    switch (job->kind) {
    case BENCH_THROUGHPUT:
    case BENCH_FRAMES:
        printf("%.3f Gbit/s, processor time per MB: %.1f us to send, %.1f us "
               "to receive\n", s.gbit, c.cpu_s * 1e12 / s.bytes,
               s.cpu_s * 1e12 / s.bytes);
        break;
    case BENCH_PINGPONG:
        printf("%.2f us, processor time per message and end: %.2f us, per "
               "message %.2f sends, %.2f receives, %.2f control, %.2f wakeups\n",
               c.latency_us, c.cpu_s * 1e6 / c.messages,
               (double)c.writes / c.messages, (double)c.reads / c.messages,
               (double)c.control / c.messages,
               (double)c.wakeups / c.messages);
        break;
    case BENCH_VERIFY:
        printf("%" PRIu64 " MiB each way at once arrived as sent\n",
               job->bytes >> 20);
        break;
    case BENCH_OPEN:
        printf("%.1f us, processor time per stream: %.1f us to connect, %.1f us "
               "to accept\n", c.open_us, c.cpu_s * 1e6 / c.messages,
               s.cpu_s * 1e6 / c.messages);
        break;
    }
    printf("bytes copied: %" PRIu64 "\n", s.bytes_copied + c.bytes_copied);
}

static bool parse_kind(const char *kind, BenchLink *link)
{
    static const char *const kinds[] = { "unix", "tcp", "rdma" };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (!strcmp(kind, kinds[i])) {
            *link = i;
            return true;
        }
    }
    return false;
}

static BenchTls parse_tls(const char *name)
{
    if (!strcmp(name, "psk")) {
        return BENCH_TLS_PSK;
    }
    if (strcmp(name, "x509")) {
        die("--tls \"%s\" is none of psk, x509", name);
    }
    return BENCH_TLS_X509;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "rounds", required_argument, NULL, 'r' },
        { "seconds", required_argument, NULL, 's' },
        { "kind", required_argument, NULL, 'k' },
        { "figures", required_argument, NULL, 'f' },
        { "no-bars", no_argument, NULL, 'n' },
        { "overlay", required_argument, NULL, 'o' },
        { "poll-max-ns", required_argument, NULL, 'p' },
        { "message", required_argument, NULL, 'm' },
        { "address", required_argument, NULL, 'a' },
        { "tls", required_argument, NULL, 't' },
        { "creds", required_argument, NULL, 'c' },
        { "priority", required_argument, NULL, 'P' },
        { NULL }
    };
    const char *kind = NULL, *overlay = NULL, *creds = NULL;
    const char *priority = NULL;
    unsigned rounds = 9, message = BENCH_MESSAGE;
    BenchLink link = BENCH_UNIX;
    BenchTls tls = BENCH_NO_TLS;
    double seconds = 0.5;
    uint64_t copied = 0;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'r':
            rounds = atoi(optarg);
            break;
        case 's':
            seconds = g_ascii_strtod(optarg, NULL);
            break;
        case 'k':
            kind = optarg;
            break;
        case 'f':
            figures = optarg;
            break;
        case 'n':
            bars = false;
            break;
        case 'p':
            poll_max_ns = atoi(optarg);
            break;
        case 'm':
            message = atoi(optarg);
            break;
        case 'a':
            rdma_address = optarg;
            break;
        case 't':
            tls = parse_tls(optarg);
            break;
        case 'c':
            creds = optarg;
            break;
        case 'P':
            priority = optarg;
            break;
        case 'o':
            overlay = optarg;
            break;
        default:
            return 2;
        }
    }
    if (optind < argc) {
        die("what is \"%s\"?", argv[optind]);
    }
    if (rounds < 1 || rounds > ARRAY_SIZE(((Series *)NULL)->plain)) {
        die("--rounds must be 1 to %zu", ARRAY_SIZE(((Series *)NULL)->plain));
    }
    if (!(seconds >= 0.1 && seconds <= 60)) {
        die("--seconds must be 0.1 to 60");
    }
    if (kind && !parse_kind(kind, &link)) {
        die("--kind \"%s\" is none of unix, tcp, rdma", kind);
    }
    if (link == BENCH_RDMA && (!overlay || !rdma_address)) {
        die("--kind rdma needs --overlay and --address");
    }
    if (tls && (!creds || !overlay || link != BENCH_TCP)) {
        die("--tls needs --creds, --overlay and --kind tcp");
    }
    if (message < 1 || message > BENCH_BUFFER) {
        die("--message must be 1 to %d", BENCH_BUFFER);
    }
    dir = g_dir_make_tmp("stream-bench-XXXXXX", NULL);
    if (!dir) {
        die("cannot make a temporary folder: %s", strerror(errno));
    }
    socket_init();
    if (overlay) {
        BenchJob job = { .link = link, .seconds = seconds, .message = message,
                         .poll_max_ns = poll_max_ns, .tls = tls,
                         .creds = creds, .priority = priority };

        bench_overlay(overlay, &job);
        rmdir(dir);
        return 0;
    }
    if (!kind || link == BENCH_UNIX) {
        copied += bench_kind(BENCH_UNIX, rounds, seconds);
    }
    if (!kind || link == BENCH_TCP) {
        copied += bench_kind(BENCH_TCP, rounds, seconds);
    }
    figure("stream_bench.bytes_copied", copied, "bytes", "==", 0);
    rmdir(dir);
    return bars && !bars_hold;
}
