/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where connect() of a control group's programs leads: attaches a BPF program
 * that puts one address in the place of another, prints "ready", and leaves it
 * there until stdin ends.
 *
 *     cgconnect CGROUP FROM TO
 *
 * Both addresses are IPv4, or IPv6 that differ in the last 32 bits only.
 */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int cmd, union bpf_attr *attr)
{
    return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

/* The last 32 bits of an address, as they are in memory. */
static uint32_t last_word(const struct sockaddr_storage *addr)
{
    uint32_t word;

    if (addr->ss_family == AF_INET) {
        word = ((const struct sockaddr_in *)addr)->sin_addr.s_addr;
    } else {
        memcpy(&word, &((const struct sockaddr_in6 *)addr)->sin6_addr
                           .s6_addr[12], sizeof(word));
    }
    return word;
}

int main(int argc, char **argv)
{
    static char log[4096];
    struct sockaddr_storage from, to;
    union bpf_attr load = { 0 }, attach = { 0 };
    int16_t field;
    int cgroup, prog, type;

    if (argc != 4) {
        die("usage: cgconnect CGROUP FROM TO");
    }
    parse_address(argv[2], "0", &from);
    parse_address(argv[3], "0", &to);
    if (from.ss_family != to.ss_family) {
        die("%s and %s are not of one family", argv[2], argv[3]);
    }
    if (from.ss_family == AF_INET) {
        type = BPF_CGROUP_INET4_CONNECT;
        field = offsetof(struct bpf_sock_addr, user_ip4);
    } else {
        type = BPF_CGROUP_INET6_CONNECT;
        field = offsetof(struct bpf_sock_addr, user_ip6[3]);
    }

    struct bpf_insn insns[] = {
        /* r2 = the address; is it FROM? */
        { BPF_LDX | BPF_W | BPF_MEM, 2, 1, field, 0 },
        { BPF_JMP32 | BPF_JNE | BPF_K, 2, 0, 2, (int32_t)last_word(&from) },
        /* then it is TO */
        { BPF_ALU | BPF_MOV | BPF_K, 2, 0, 0, (int32_t)last_word(&to) },
        { BPF_STX | BPF_W | BPF_MEM, 1, 2, field, 0 },
        /* return 1: allowed */
        { BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1 },
        { BPF_JMP | BPF_EXIT, 0, 0, 0, 0 },
    };

    load.prog_type = BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
    load.expected_attach_type = type;
    load.insns = (uintptr_t)insns;
    load.insn_cnt = sizeof(insns) / sizeof(insns[0]);
    load.license = (uintptr_t)"GPL";
    load.log_buf = (uintptr_t)log;
    load.log_size = sizeof(log);
    load.log_level = 1;
    prog = bpf(BPF_PROG_LOAD, &load);
    if (prog < 0) {
        die("loading the program: %s\n%s", errno_name(errno), log);
    }
    cgroup = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cgroup < 0) {
        die("%s: %s", argv[1], errno_name(errno));
    }
    attach.target_fd = cgroup;
    attach.attach_bpf_fd = prog;
    attach.attach_type = type;
    if (bpf(BPF_PROG_ATTACH, &attach) < 0) {
        die("attaching to %s: %s", argv[1], errno_name(errno));
    }
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    bpf(BPF_PROG_DETACH, &attach);
    return 0;
}
