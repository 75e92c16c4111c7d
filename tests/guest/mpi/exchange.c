/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages between the ranks of an MPI program, in the sizes of the Intel MPI
 * benchmarks: none, and each power of two up to 4 MiB.
 *
 *   pingpong BYTES USEC    there and back between ranks 2n and 2n + 1
 *   exchange BYTES USEC    each rank with both neighbours on a ring, both ways
 *
 * Every byte is looked at.  What is wrong ends all ranks.  With the argument
 * "abort" the ranks end by MPI_Abort() with code 0, when all are through, and not
 * by MPI_Finalize().
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LARGEST (4 << 20)

static int rank, ranks;

static uint8_t byte_of(int sender, int size, int turn, int at)
{
    return (uint8_t)(sender * 131 + size * 31 + turn * 17 + at * 7 + at / 251);
}

static void fill(uint8_t *buf, int size, int turn)
{
    for (int i = 0; i < size; i++) {
        buf[i] = byte_of(rank, size, turn, i);
    }
}

static void check(const uint8_t *buf, int size, int sender, int turn)
{
    for (int i = 0; i < size; i++) {
        if (buf[i] != byte_of(sender, size, turn, i)) {
            fprintf(stderr, "rank %d: byte %d of %d from rank %d, turn %d, is "
                    "wrong\n", rank, i, size, sender, turn);
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
    }
}

/* How often a size is sent: a few megabytes in all, at least twice. */
static int turns_of(int size)
{
    return size < 65536 ? 20 : size < LARGEST / 8 ? 5 : 2;
}

static void pingpong(uint8_t *out, uint8_t *in, int size, int turn)
{
    int peer = rank ^ 1;

    if (peer >= ranks) {
        return;
    }
    if (rank < peer) {
        MPI_Send(out, size, MPI_BYTE, peer, turn, MPI_COMM_WORLD);
    }
    MPI_Recv(in, size, MPI_BYTE, peer, turn, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    if (rank > peer) {
        MPI_Send(out, size, MPI_BYTE, peer, turn, MPI_COMM_WORLD);
    }
    check(in, size, peer, turn);
}

static void exchange(uint8_t *out, uint8_t *in, int size, int turn)
{
    int right = (rank + 1) % ranks, left = (rank + ranks - 1) % ranks;
    MPI_Request sent[2];

    /* With two ranks both neighbours are one: tags tell them apart. */
    MPI_Isend(out, size, MPI_BYTE, right, 2 * turn, MPI_COMM_WORLD, &sent[0]);
    MPI_Isend(out, size, MPI_BYTE, left, 2 * turn + 1, MPI_COMM_WORLD,
              &sent[1]);
    MPI_Recv(in, size, MPI_BYTE, left, 2 * turn, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    check(in, size, left, turn);
    MPI_Recv(in, size, MPI_BYTE, right, 2 * turn + 1, MPI_COMM_WORLD,
             MPI_STATUS_IGNORE);
    check(in, size, right, turn);
    MPI_Wait(&sent[0], MPI_STATUS_IGNORE);
    MPI_Wait(&sent[1], MPI_STATUS_IGNORE);
}

static void run(const char *name,
                void (*move)(uint8_t *, uint8_t *, int, int),
                uint8_t *out, uint8_t *in, int size)
{
    int turns = turns_of(size);
    double took = 0;

    for (int turn = 0; turn < turns; turn++) {
        double began;

        fill(out, size, turn);
        MPI_Barrier(MPI_COMM_WORLD);
        began = MPI_Wtime();
        move(out, in, size, turn);
        took += MPI_Wtime() - began;
    }
    if (rank == 0) {
        printf("%s %d %.1f\n", name, size, took / turns * 1e6);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    uint8_t *out = malloc(LARGEST), *in = malloc(LARGEST);

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (!out || !in || ranks < 2) {
        fprintf(stderr, "exchange: %d ranks, and two buffers of %d bytes are "
                "needed\n", ranks, LARGEST);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    for (int size = 0; size <= LARGEST; size = size ? 2 * size : 1) {
        run("pingpong", pingpong, out, in, size);
        run("exchange", exchange, out, in, size);
    }
    if (argc > 1 && !strcmp(argv[1], "abort")) {
        MPI_Barrier(MPI_COMM_WORLD);
        if (rank == 0) {
            MPI_Abort(MPI_COMM_WORLD, 0);
        }
        pause();
    }
    MPI_Finalize();
    free(out);
    free(in);
    return 0;
}
