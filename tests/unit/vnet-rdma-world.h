/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two hosts with a NIC each (vnet-fake.h), joined by a link over RDMA whose
 * verbs are a stand-in (verbs-fake.h).
 */
#ifndef VNET_RDMA_WORLD_H
#define VNET_RDMA_WORLD_H

#include "verbs-fake.h"
#include "vnet-fake.h"
#include "vnet-rdma.h"

#define RW_PORT     4711
#define RW_MS       1000000ll
#define RW_RESUME_MS    60000

typedef struct RdmaWorld RdmaWorld;

typedef struct RdmaEnd {
    RdmaWorld *rw;
    bool server;
    FakeHost *h;
    FakeNic *nic;
    VnetVCtx *x;
    VnetRdma *r;                /* NULL: freed */
    int64_t timer;
    bool at_end, again, lookup;
    bool polling;               /* the thread looks for completions */
    VnetVDev *watched;
    const char *lookup_error;
    char last_failure[200];     /* of a connection, traced */
} RdmaEnd;

struct RdmaWorld {
    FakeWorld *w;
    VFake *f;
    RdmaEnd end[2];             /* 0: the client */
    guint turn;
};

/* Both ends exist, nothing has happened yet. */
RdmaWorld *rw_new(guint32 seed, uint32_t max_qps);
/* Frees both ends; checks that nothing is left. */
void rw_free(RdmaWorld *rw);
/* One end is removed, as by its user. */
void rw_free_end(RdmaWorld *rw, bool server);
/* Until only time can make something happen. */
void rw_run(RdmaWorld *rw);
/* ... and lets time pass. */
void rw_advance(RdmaWorld *rw, int64_t ns);
/* One thing; false: there is none. */
bool rw_step(RdmaWorld *rw);
/* An end's thread begins to poll, or stops. */
void rw_poll(RdmaWorld *rw, bool server, bool on);
/* The end of a dispatch. */
void rw_dispatch(RdmaWorld *rw);
/* A world whose link is up. */
RdmaWorld *rw_up(guint32 seed);
/* ... and whose streams outlive it for RW_RESUME_MS. */
RdmaWorld *rw_up_resuming(guint32 seed);

bool rw_is_up(RdmaWorld *rw);
const char *rw_state(RdmaWorld *rw, bool server);
const char *rw_last_error(RdmaWorld *rw, bool server);
const VnetRdmaStats *rw_stats(RdmaWorld *rw, bool server);
const VnetLinkStats *rw_link_stats(RdmaWorld *rw, bool server);
VnetRdmaInfo rw_info(RdmaWorld *rw, bool server);
/*
 * Opens a stream from either end and carries on for a while, as chance decides.
 * Returns the end.
 */
bool rw_somewhere(RdmaWorld *rw, GRand *r);
/* Whatever happened: after a time the link is up, and nothing is left of it. */
void rw_check_recovers(RdmaWorld *rw);
/* Opens a stream from one end's NIC to the other's. */
FakeStream *rw_connect(RdmaWorld *rw, bool from_server, uint64_t tx_total);
FakeStream *rw_peer_of(RdmaWorld *rw, FakeStream *fs);
/* Asserts that both sides of fs have all bytes and ended gracefully. */
void rw_check_finished(RdmaWorld *rw, FakeStream *fs);
/* Asserts that no stream has a connection and nothing lingers. */
void rw_check_idle(RdmaWorld *rw);

#endif /* VNET_RDMA_WORLD_H */
