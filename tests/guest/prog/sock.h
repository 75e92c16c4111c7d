/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the parts of program sock share; see sock.c.
 */
#ifndef VTOE_GUEST_PROG_SOCK_H
#define VTOE_GUEST_PROG_SOCK_H

#include "common.h"

#include <sys/types.h>

#define MAX_SOCKETS 256
#define MAX_WORDS 12
#define MAX_IO (4 << 20)

struct sock {
    char name[16];      /* empty: this slot is free */
    int fd;
    uint64_t sent, received;    /* bytes: where the pattern goes on */
};

extern uint8_t buffer[MAX_IO];

/* The command's words. */
extern char *words[];
extern int count;

/* Whether the command is this one. */
bool is(const char *name);
/* Word number i, or die: the command has too few. */
const char *word(int i);
/* Whether one of the words behind the first two is this. */
bool has_word(const char *text);

/* Print a call's return value, or the name of errno if it is negative. */
void result(long value);
struct sock *find(const char *name);
/* Give a descriptor a name; NULL if fd is none, and that is printed. */
struct sock *add(const char *name, int fd);

/* So many bytes, to be sent next, into buffer. */
size_t fill(struct sock *s, const char *text);
/* Print and book what a sending call gave. */
void sent(struct sock *s, ssize_t n);
/* Print what a receiving call gave, and whether the bytes are right; advance:
 * they are gone. */
void received(struct sock *s, ssize_t n, const uint8_t *data, bool advance);

/* Events of poll and epoll by name. */
uint32_t parse_events(const char *text);
void print_events(uint32_t bits);

/* Take commands from stdin until its end. */
void serve(void);

/* The commands of each part; false: it has no such command. */
bool memory_command(void);
bool process_command(void);
bool uring_command(void);

#endif
