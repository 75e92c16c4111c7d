/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TCG plugin that counts what a guest executes, by place.
 *
 *   -plugin insns-plugin.so,counts=FILE
 *
 * Every kernel block has a slot, found by the block's address when it is
 * translated; all of user mode shares one.  A block that executes adds its
 * number of instructions to its slot in a scoreboard, which is three host
 * instructions in the block itself.  A repeated string instruction (rep movsq
 * copies most of what moves) counts once, and once more for each repetition:
 * otherwise the length of a copy would be in no figure.
 *
 * FILE is a CountsFile, mapped here and by whoever reads it.  A reader sets
 * wanted, stops the guest (QMP "stop"), reads, and clears wanted.  A vCPU that
 * stops goes through its idle callback, and while figures are wanted that one
 * copies the sums of all vCPUs.  It holds the BQL, which "stop" needs to
 * return: what is read then is what the last to stop has copied, and exact.
 *
 * Limit: a block that a fault leaves early counts whole.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <qemu-plugin.h>

enum {
    SLOT_USER,              /* all of user mode; its address is 0 */
    SLOT_OTHER,             /* kernel blocks that came when all were in use */
    SLOT_BLOCKS,            /* the first for one block */
    SLOTS = 1 << 18,
};

/* An address in the kernel's half where there can be no code. */
#define ADDRESS_OTHER UINT64_MAX

/* As tests/bench/insns.py reads it; host byte order. */
typedef struct CountsFile {
    uint64_t wanted;        /* by the reader: not 0 to have the rest copied */
    uint64_t copied;        /* how often that was done */
    uint64_t used;          /* slots that hold something, from the first */
    struct {
        uint64_t address;   /* where the block begins, virtual */
        uint64_t insns;     /* executed since the start of QEMU */
    } slot[SLOTS];
} CountsFile;

G_STATIC_ASSERT(offsetof(CountsFile, slot) == 24);

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static CountsFile *counts;
static struct qemu_plugin_scoreboard *executed;     /* uint64_t[SLOTS] */

/* Blocks are translated, and vCPUs stop, side by side. */
static GMutex lock;
static GHashTable *slot_of;         /* address -> slot, both in pointers */
static uint64_t used = SLOT_BLOCKS;

static qemu_plugin_u64 slot_entry(uint64_t slot)
{
    return (qemu_plugin_u64) { executed, slot * sizeof(uint64_t) };
}

/* The slot for a block at this address: always the same one. */
static uint64_t slot_get(uint64_t address)
{
    gpointer key = (gpointer)(uintptr_t)address;
    uint64_t slot;

    /* The kernel's half has the sign bit set. */
    if (!(address >> 63)) {
        return SLOT_USER;
    }
    g_mutex_lock(&lock);
    slot = (uintptr_t)g_hash_table_lookup(slot_of, key);
    if (!slot) {
        slot = used < SLOTS ? used++ : SLOT_OTHER;
        g_hash_table_insert(slot_of, key, (gpointer)(uintptr_t)slot);
        if (slot != SLOT_OTHER) {
            counts->slot[slot].address = address;
        }
    }
    g_mutex_unlock(&lock);
    return slot;
}

/*
 * Of a string instruction with a repeat prefix, the kind of access that each
 * repetition makes once; 0 for other instructions.
 */
static int repeated_access(struct qemu_plugin_insn *insn)
{
    uint8_t code[15];
    size_t len = qemu_plugin_insn_data(insn, code, sizeof(code));
    bool repeated = false;
    size_t i = 0;

    /* Sizes of operand and address, repetition, REX. */
    while (i < len && (code[i] == 0x66 || code[i] == 0x67 ||
                       code[i] == 0xf2 || code[i] == 0xf3 ||
                       (code[i] & 0xf0) == 0x40)) {
        repeated |= code[i] == 0xf2 || code[i] == 0xf3;
        i++;
    }
    if (!repeated || i == len) {
        return 0;
    }
    switch (code[i]) {
    case 0xa4: case 0xa5:       /* movs */
    case 0xaa: case 0xab:       /* stos */
        return QEMU_PLUGIN_MEM_W;
    case 0xac: case 0xad:       /* lods */
    case 0xae: case 0xaf:       /* scas */
        return QEMU_PLUGIN_MEM_R;
    default:                    /* cmps reads twice, and is rare */
        return 0;
    }
}

static void block_translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    qemu_plugin_u64 entry = slot_entry(slot_get(qemu_plugin_tb_vaddr(tb)));
    size_t n = qemu_plugin_tb_n_insns(tb);

    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
        tb, QEMU_PLUGIN_INLINE_ADD_U64, entry, n);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        int access = repeated_access(insn);

        if (access) {
            qemu_plugin_register_vcpu_mem_inline_per_vcpu(
                insn, access, QEMU_PLUGIN_INLINE_ADD_U64, entry, 1);
        }
    }
}

static void vcpu_idle(qemu_plugin_id_t id, unsigned int vcpu)
{
    if (!__atomic_load_n(&counts->wanted, __ATOMIC_ACQUIRE)) {
        return;
    }
    g_mutex_lock(&lock);
    for (uint64_t i = 0; i < used; i++) {
        counts->slot[i].insns = qemu_plugin_u64_sum(slot_entry(i));
    }
    counts->used = used;
    counts->copied++;
    g_mutex_unlock(&lock);
}

/* Map the file; NULL with errno on failure. */
static CountsFile *counts_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    void *map = MAP_FAILED;

    if (fd >= 0 && ftruncate(fd, sizeof(CountsFile)) == 0) {
        map = mmap(NULL, sizeof(CountsFile), PROT_READ | PROT_WRITE,
                   MAP_SHARED, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    return map == MAP_FAILED ? NULL : map;
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                                           const qemu_info_t *info,
                                           int argc, char **argv)
{
    if (argc != 1 || !g_str_has_prefix(argv[0], "counts=")) {
        fprintf(stderr, "insns-plugin: its one argument is counts=FILE\n");
        return -1;
    }
    if (strcmp(info->target_name, "x86_64") || !info->system_emulation) {
        fprintf(stderr, "insns-plugin: %s: not a machine whose kernel has "
                "negative addresses\n", info->target_name);
        return -1;
    }
    counts = counts_map(argv[0] + strlen("counts="));
    if (!counts) {
        fprintf(stderr, "insns-plugin: %s: %s\n", argv[0], strerror(errno));
        return -1;
    }
    counts->slot[SLOT_OTHER].address = ADDRESS_OTHER;
    executed = qemu_plugin_scoreboard_new(SLOTS * sizeof(uint64_t));
    slot_of = g_hash_table_new(NULL, NULL);
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    qemu_plugin_register_vcpu_idle_cb(id, vcpu_idle);
    return 0;
}
