/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into QEMU together with qp-error.c, for VTOE_LATE_WAKES in its
 * environment: whoever wakes all that wait on a futex does so late, and whoever
 * waits begins to late.  Then a wake-up meets who waits there for something
 * else by then, as it may on any machine, and for which each has to be
 * prepared: futex(2), "spurious wake-up".
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WAIT_US 2000
#define WAKE_US 10000

static long (*real)(long, ...);
static int late;

__attribute__((constructor)) static void begin(void)
{
    real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    late = getenv("VTOE_LATE_WAKES") != NULL;
}

/* Arguments that the caller has not given are not looked at by the kernel. */
long syscall(long number, ...)
{
    long arg[6];
    va_list ap;
    int i;

    va_start(ap, number);
    for (i = 0; i < 6; i++) {
        arg[i] = va_arg(ap, long);
    }
    va_end(ap);
    if (!real) {
        begin();
    }
    if (late && number == SYS_futex) {
        int op = arg[1] & FUTEX_CMD_MASK;

        if (op == FUTEX_WAIT) {
            usleep(WAIT_US);
        } else if (op == FUTEX_WAKE && (int)arg[2] == INT_MAX) {
            usleep(WAKE_US);
        }
    }
    return real(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
