/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into QEMU together with qp-error.c: when it crashes, says on stderr
 * what was on the stack, as file and offset, for addr2line.  Then it crashes as
 * it would have.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>

enum { WORDS = 256 };

static void say(const char *what, void *address)
{
    Dl_info info;

    if (dladdr(address, &info) && info.dli_fname) {
        fprintf(stderr, "crash: %s %s+0x%lx %s\n", what, info.dli_fname,
                (unsigned long)((char *)address - (char *)info.dli_fbase),
                info.dli_sname ? info.dli_sname : "");
    }
}

static void crashed(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    void **stack = (void **)uc->uc_mcontext.gregs[REG_RSP];
    void *at = (void *)uc->uc_mcontext.gregs[REG_RIP];
    int i;

    fprintf(stderr, "crash: signal %d for address %p at %p\n", sig,
            info->si_addr, at);
    say("at", at);
    for (i = 0; i < WORDS; i++) {
        say("on the stack:", stack[i]);
    }
}

/* A sanitizer's own handler stays. */
__attribute__((constructor)) static void watch(void)
{
    struct sigaction old, sa = {
        .sa_sigaction = crashed,
        .sa_flags = SA_SIGINFO | SA_RESETHAND,
    };

    sigaction(SIGSEGV, NULL, &old);
    if (old.sa_handler == SIG_DFL) {
        sigaction(SIGSEGV, &sa, NULL);
    }
}
