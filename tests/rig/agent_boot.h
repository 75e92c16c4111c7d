/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the agent does once, before it serves: see agent.c.
 * Each of these ends the machine with a message when it fails.
 */
#ifndef VTOE_RIG_AGENT_BOOT_H
#define VTOE_RIG_AGENT_BOOT_H

#include <stdbool.h>
#include <stddef.h>

/* Say why on the console and power the machine off. */
void boot_die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

/*
 * Look up a word of the kernel command line, NAME or NAME=VALUE.
 * Returns whether it is there; value (may be NULL) gets what follows "=".
 */
bool boot_param(const char *name, char *value, size_t size);

/* /proc, /sys, /dev and what else programs expect. */
void boot_mounts(void);

/* Load the modules that the devices of the machine ask for. */
void boot_modules(void);

/* Host name, lo, and eth0 as the command line says. */
void boot_network(void);

/* The host's port, open; waits for the kernel to announce it. */
int boot_agent_port(void);

/* Shells on the console, one after the other, for a person. */
void boot_console_shell(void) __attribute__((noreturn));

#endif
