/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Forces queue pairs of a program into the error state, which no command of
 * rdma_rxe does.  Preloaded, it knows the queue pairs that the program makes by
 * librdmacm, and with the first one makes a FIFO, $VTOE_QP_ERROR/PID.  A line
 * there says which ones:
 *
 *      newest N    the N that were made last, of those that are left
 *      nth I...    those with these indexes, in the order in which they were
 *                  made, of those that are left
 *      fatal I...  nothing is forced on these, but an event says QP_FATAL of
 *                  each, when the program next reads what its adapter says
 *
 * When a line has been obeyed there is a file $VTOE_QP_ERROR/PID.done.
 *
 * Whatever goes wrong ends the program: a test must not wait for a fault that
 * there was not.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_QPS 4096

/* In the order in which they were made; under the lock. */
static struct ibv_qp *qps[MAX_QPS];
static unsigned nqps;
/* Of which QP_FATAL is to be said. */
static struct ibv_qp *fatal[MAX_QPS];
static unsigned nfatal;
/* The event that this thread has read is one of those. */
static __thread bool made_up;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t begun = PTHREAD_ONCE_INIT;
static char done[256];

static void die(const char *what, int err)
{
    fprintf(stderr, "qp-error: %s: %s\n", what, strerror(err));
    abort();
}

static void *next(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (!function) {
        die(name, ENOSYS);
    }
    return function;
}

/* With the lock held. */
static void force(unsigned i)
{
    struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };
    int err;

    if (i >= nqps) {
        die("so many queue pairs", ENOENT);
    }
    err = ibv_modify_qp(qps[i], &attr, IBV_QP_STATE);
    if (err) {
        die("ibv_modify_qp", err);
    }
}

/* With the lock held. */
static void force_newest(const char *words)
{
    unsigned n;

    if (sscanf(words, "%u", &n) != 1) {
        die(words, EINVAL);
    }
    while (n--) {
        force(nqps - 1 - n);
    }
}

/* With the lock held. */
static void say_fatal(unsigned i)
{
    if (i >= nqps || nfatal == MAX_QPS) {
        die("so many queue pairs", ENOENT);
    }
    fatal[nfatal++] = qps[i];
}

/* With the lock held. */
static void each_of(const char *words, void (*what)(unsigned))
{
    unsigned i;
    int used;

    if (sscanf(words, "%u%n", &i, &used) != 1) {
        die(words, EINVAL);
    }
    do {
        what(i);
        words += used;
    } while (sscanf(words, "%u%n", &i, &used) == 1);
}

/* With the lock held. */
static void obey_line(const char *line)
{
    static const char newest[] = "newest ", nth[] = "nth ", said[] = "fatal ";

    if (!strncmp(line, newest, strlen(newest))) {
        force_newest(line + strlen(newest));
    } else if (!strncmp(line, nth, strlen(nth))) {
        each_of(line + strlen(nth), force);
    } else if (!strncmp(line, said, strlen(said))) {
        each_of(line + strlen(said), say_fatal);
    } else {
        die(line, EINVAL);
    }
}

static void say_done(void)
{
    FILE *file = fopen(done, "we");

    if (!file || fclose(file)) {
        die(done, errno);
    }
}

static void *obey(void *opaque)
{
    FILE *fifo = opaque;
    char line[64];

    while (fgets(line, sizeof(line), fifo)) {
        pthread_mutex_lock(&lock);
        obey_line(line);
        pthread_mutex_unlock(&lock);
        say_done();
    }
    return NULL;
}

static void begin(void)
{
    const char *folder = getenv("VTOE_QP_ERROR");
    sigset_t all, before;
    pthread_t thread;
    char path[256];
    FILE *fifo;
    int err;

    if (!folder) {
        die("VTOE_QP_ERROR", ENOENT);
    }
    snprintf(path, sizeof(path), "%s/%d", folder, (int)getpid());
    snprintf(done, sizeof(done), "%s/%d.done", folder, (int)getpid());
    if ((mkdir(folder, 0700) < 0 && errno != EEXIST) ||
        mkfifo(path, 0600) < 0) {
        die(path, errno);
    }
    /* For writing, too: so it never ends. */
    fifo = fopen(path, "r+e");
    if (!fifo) {
        die(path, errno);
    }
    /*
     * Signals are for the threads of the program, but for those that are this
     * thread's own doing: were they blocked, crash.c would not say where.
     */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&thread, NULL, obey, fifo);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err) {
        die("pthread_create", err);
    }
    pthread_detach(thread);
}

int rdma_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd,
                   struct ibv_qp_init_attr *attr)
{
    int (*real)(struct rdma_cm_id *, struct ibv_pd *,
                struct ibv_qp_init_attr *) = next(__func__);
    int ret = real(id, pd, attr);

    pthread_once(&begun, begin);
    if (ret == 0) {
        pthread_mutex_lock(&lock);
        if (nqps == MAX_QPS) {
            die("more queue pairs", ENOSPC);
        }
        qps[nqps++] = id->qp;
        pthread_mutex_unlock(&lock);
    }
    return ret;
}

/* With the lock held until it is gone: it is not in use then. */
void rdma_destroy_qp(struct rdma_cm_id *id)
{
    void (*real)(struct rdma_cm_id *) = next(__func__);
    unsigned i = 0;

    pthread_mutex_lock(&lock);
    while (i < nqps && qps[i] != id->qp) {
        i++;
    }
    if (i < nqps) {
        nqps--;
        memmove(&qps[i], &qps[i + 1], (nqps - i) * sizeof(qps[0]));
    }
    i = 0;
    while (i < nfatal) {
        if (fatal[i] == id->qp) {
            fatal[i] = fatal[--nfatal];
        } else {
            i++;
        }
    }
    real(id);
    pthread_mutex_unlock(&lock);
}

int ibv_get_async_event(struct ibv_context *context,
                        struct ibv_async_event *event)
{
    int (*real)(struct ibv_context *, struct ibv_async_event *) =
        next(__func__);

    pthread_mutex_lock(&lock);
    made_up = nfatal > 0;
    if (made_up) {
        *event = (struct ibv_async_event) {
            .element.qp = fatal[--nfatal],
            .event_type = IBV_EVENT_QP_FATAL,
        };
    }
    pthread_mutex_unlock(&lock);
    return made_up ? 0 : real(context, event);
}

/* The kernel expects no word of what it has not said. */
void ibv_ack_async_event(struct ibv_async_event *event)
{
    void (*real)(struct ibv_async_event *) = next(__func__);

    if (!made_up) {
        real(event);
    }
}
