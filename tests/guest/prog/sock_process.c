/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands of program sock (see sock.c) about processes and signals:
 *
 *   child C              fork a process that has all the sockets of this one
 *                        and takes commands:
 *   in C COMMAND...      there; its result is this command's
 *   pass C N NEW         give it a socket (SCM_RIGHTS)
 *   endchild C           it exits; the result is its exit code
 *   interrupt [restart]  a signal, once, when the next call sleeps; says
 *                        "signalled" to stderr when its handler ran
 *   signals              how many of these came so far
 *   async N              O_ASYNC, the owner is this process
 *   sigio MS             wait for SIGIO
 *   nosigio              forget those that came
 *   uid ID               setresuid
 */
#define _GNU_SOURCE
#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CHILDREN 8

static struct child {
    char name[16];
    pid_t pid;
    FILE *talk;         /* its stdin and stdout */
    int rights;         /* where sockets are passed */
} children[MAX_CHILDREN];

/* In a child: where sockets come from. */
static int my_rights = -1;

static volatile sig_atomic_t signals;

static struct child *find_child(const char *name)
{
    for (int i = 0; i < MAX_CHILDREN; i++) {
        if (children[i].pid && !strcmp(children[i].name, name)) {
            return &children[i];
        }
    }
    die("there is no child \"%s\"", name);
}

static void pair_or_die(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        die("socketpair: %s", errno_name(errno));
    }
}

static void do_child(void)
{
    struct child *c = children;
    int talk[2], rights[2];

    while (c < children + MAX_CHILDREN && c->pid) {
        c++;
    }
    if (c == children + MAX_CHILDREN) {
        die("more than %d children", MAX_CHILDREN);
    }
    pair_or_die(talk);
    pair_or_die(rights);
    fflush(stdout);
    c->pid = fork();
    if (c->pid < 0) {
        die("fork: %s", errno_name(errno));
    }
    if (!c->pid) {
        /* "COMMAND -> " of the command that forked is the parent's. */
        if (dup2(talk[1], 0) < 0 || dup2(talk[1], 1) < 0) {
            die("dup2: %s", errno_name(errno));
        }
        close(talk[0]);
        close(rights[0]);
        my_rights = rights[1];
        serve();
        exit(0);
    }
    close(talk[1]);
    close(rights[1]);
    snprintf(c->name, sizeof(c->name), "%s", word(1));
    c->rights = rights[0];
    c->talk = fdopen(talk[0], "r+");
    if (!c->talk) {
        die("fdopen: %s", errno_name(errno));
    }
    printf("ok\n");
}

/* Give a child a command and print its result. */
static void ask(struct child *c, const char *command)
{
    char line[512];
    const char *answer;

    if (dprintf(fileno(c->talk), "%s\n", command) < 0 ||
        !fgets(line, sizeof(line), c->talk)) {
        die("child %s does not answer", c->name);
    }
    answer = strstr(line, " -> ");
    if (!answer) {
        die("child %s says \"%s\"", c->name, line);
    }
    printf("%s", answer + 4);
}

static void do_in(void)
{
    char command[512] = "";

    for (int i = 2; i < count; i++) {
        strncat(command, i > 2 ? " " : "", sizeof(command) - 1);
        strncat(command, words[i], sizeof(command) - strlen(command) - 1);
    }
    ask(find_child(word(1)), command);
}

/* What goes with a descriptor: struct sock is the same there. */
static void do_pass(void)
{
    struct child *c = find_child(word(1));
    struct sock *s = find(word(2));
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { .head = {
        .cmsg_len = CMSG_LEN(sizeof(int)),
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
    } };
    struct iovec iov = { s, sizeof(*s) };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    char command[64];

    memcpy(CMSG_DATA(&control.head), &s->fd, sizeof(int));
    if (sendmsg(c->rights, &msg, 0) != sizeof(*s)) {
        die("passing %s: %s", s->name, errno_name(errno));
    }
    snprintf(command, sizeof(command), "take %s", word(3));
    ask(c, command);
}

static void do_take(void)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct sock there, *s;
    struct iovec iov = { &there, sizeof(there) };
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof(control),
    };
    int fd;

    if (recvmsg(my_rights, &msg, MSG_CMSG_CLOEXEC) != sizeof(there) ||
        msg.msg_controllen < sizeof(control)) {
        die("no socket was passed");
    }
    memcpy(&fd, CMSG_DATA(&control.head), sizeof(int));
    s = add(word(1), fd);
    s->sent = there.sent;
    s->received = there.received;
}

static void do_endchild(void)
{
    struct child *c = find_child(word(1));
    int status;

    fclose(c->talk);
    close(c->rights);
    if (waitpid(c->pid, &status, 0) < 0) {
        die("waitpid: %s", errno_name(errno));
    }
    c->pid = 0;
    printf("%d\n", status);
}

/* --- a signal while a call sleeps --------------------------------------- */

static void on_signal(int sig)
{
    (void)sig;
    signals++;
}

/* Whether the main thread sleeps in a call that is not ours to read commands
 * or to be here. */
static bool main_sleeps(void)
{
    char path[64], text[256];
    unsigned long arg = 0;
    long number;
    FILE *file;
    int n;

    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", getpid());
    file = fopen(path, "re");
    if (!file) {
        die("%s: %s", path, errno_name(errno));
    }
    /* "running", or the call's number and arguments. */
    n = fgets(text, sizeof(text), file) ?
        sscanf(text, "%ld %lx", &number, &arg) : 0;
    fclose(file);
    return n == 2 && number >= 0 && !(number == SYS_read && arg == 0) &&
           number != SYS_futex && number != SYS_write;
}

static void *interrupter(void *unused)
{
    int before = signals;

    /* No event tells that another thread has gone to sleep. */
    while (!main_sleeps()) {
        usleep(1000);
    }
    if (tgkill(getpid(), getpid(), SIGUSR1) < 0) {
        die("tgkill: %s", errno_name(errno));
    }
    while (signals == before) {
        usleep(1000);
    }
    dprintf(2, "signalled\n");
    return unused;
}

static void do_interrupt(void)
{
    struct sigaction sa = {
        .sa_handler = on_signal,
        .sa_flags = count > 1 && !strcmp(words[1], "restart") ? SA_RESTART : 0,
    };
    pthread_attr_t attr;
    pthread_t thread;

    sigaction(SIGUSR1, &sa, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, interrupter, NULL)) {
        die("no thread");
    }
    pthread_attr_destroy(&attr);
    printf("ok\n");
}

/* --- SIGIO --------------------------------------------------------------- */

static void do_async(struct sock *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (fcntl(s->fd, F_SETOWN, getpid()) < 0) {
        result(-1);
        return;
    }
    result(fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_ASYNC));
}

static void do_sigio(void)
{
    int ms = parse_number(word(1), 600000);
    struct timespec limit = { ms / 1000, ms % 1000 * 1000000 };
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    printf("%s\n", sigtimedwait(&set, NULL, &limit) == SIGIO ? "sigio"
                                                             : "none");
}

/* Signals of its kind do not queue: there is one or none. */
static void forget_sigio(void)
{
    struct timespec none = { 0 };
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigtimedwait(&set, NULL, &none);
}

bool process_command(void)
{
    if (is("child")) {
        do_child();
    } else if (is("in")) {
        do_in();
    } else if (is("pass")) {
        do_pass();
    } else if (is("take")) {
        do_take();
    } else if (is("endchild")) {
        do_endchild();
    } else if (is("interrupt")) {
        do_interrupt();
    } else if (is("signals")) {
        printf("%d\n", (int)signals);
    } else if (is("async")) {
        do_async(find(word(1)));
    } else if (is("sigio")) {
        do_sigio();
    } else if (is("nosigio")) {
        forget_sigio();
        printf("ok\n");
    } else if (is("uid")) {
        int id = parse_number(word(1), 65535);

        result(setresuid(id, id, id));
    } else {
        return false;
    }
    return true;
}
