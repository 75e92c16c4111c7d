/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of vnet-hostile-test share.
 */
#ifndef VNET_HOSTILE_H
#define VNET_HOSTILE_H

#include "vnet-rawpeer.h"

#define VNI 7

typedef struct Target {
    QTestState *qts;
    char *dir, *path;
} Target;

/* A QEMU that is the server of link l0; more: further options of its netdev. */
void target_start(Target *t, const char *more);
/* A good peer gets its link, and no connection is left behind. */
void target_stop(Target *t);
uint64_t target_counter(Target *t, const char *name);
void target_wait_counter(Target *t, const char *name, uint64_t value);
void target_assert_state(Target *t, const char *state);

/* Adds the tests of vnet-hostile-data.c. */
void vnet_hostile_add_data(void);

#endif /* VNET_HOSTILE_H */
