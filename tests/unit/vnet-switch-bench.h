/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A switch alone, between three ports ("0" to "2") and three links ("3" to "5")
 * that count what they get.
 */
#ifndef VNET_SWITCH_BENCH_H
#define VNET_SWITCH_BENCH_H

#include <string.h>
#include "vnet-switch.h"

typedef struct Counter {
    VnetEnd end;                /* first: what output() gets */
    unsigned got;
    bool busy, refuses;
    VnetSwitch *sw;
    VnetEnd *removes;           /* taken out when a frame comes */
} Counter;

typedef struct Bench {
    VnetSwitch *sw;
    VnetMacRoom room;
    VnetCoreStats stats;
    Counter port[3], link[3];
    int64_t now;
} Bench;

extern const uint8_t everyone[6];

/* All are up. */
Bench *bench_new(uint32_t max_macs);
/* Checks that each frame is in one counter, and that nothing is left. */
void bench_free(Bench *b);
/* Adds an end, up. */
void counter_add(Bench *b, Counter *c, const char *id, bool is_link);
/* An address; the last eight stay valid. */
const uint8_t *mac(unsigned n);
VnetFrameResult put_hdr(Bench *b, Counter *src, const uint8_t *dst,
                        const uint8_t *smac, size_t len,
                        const VnetFrameHdr *hdr, bool wait_ok);
/* A short frame without offloads, which may be told to wait. */
VnetFrameResult put(Bench *b, Counter *src, const uint8_t *dst,
                    const uint8_t *smac);
/* What each end got since the last call, as "ports/links" digits. */
char *got(Bench *b);

#endif /* VNET_SWITCH_BENCH_H */
