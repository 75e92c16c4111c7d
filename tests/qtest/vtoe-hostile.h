/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of vtoe-hostile-test share.
 */
#ifndef VTOE_HOSTILE_H
#define VTOE_HOSTILE_H

#include "vtoe-pair.h"

#define CTRL(field) offsetof(struct vtoe_queue_ctrl, field)

/* Values at the limits of what some register or field can be. */
#define VTOE_ODD_VALUES 13
extern const uint32_t vtoe_odd_values[VTOE_ODD_VALUES];

/* One QEMU on an overlay without links, the device brought up. */
void vtoe_hostile_start(VtoeHost *h);
/* NEEDS_RESET with that reason; then the device is brought up anew. */
void vtoe_expect_violation(VtoeDriver *d, unsigned reason);

/* Adds the tests of vtoe-hostile-storm.c. */
void vtoe_hostile_add_storms(void);

#endif /* VTOE_HOSTILE_H */
