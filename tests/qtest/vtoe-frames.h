/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that one guest sends, on a netdev that need not lead anywhere.  Rings and
 * buffers are used through shared memory, as a guest's processor would; only
 * doorbells are qtest commands, and only those that the device asked for are rung.
 */
#ifndef VTOE_FRAMES_H
#define VTOE_FRAMES_H

#include "vtoe-pair.h"

#define VTOE_FRAMES_LEN     64      /* bytes of a frame, to all */

typedef struct VtoeFrames {
    VtoeHost h;
    VtoeDriver *d;
    VtoeTestQueue *q;               /* pair 0 */
    uint64_t buf;                   /* the frame */
    uint64_t sent, done;            /* by vtoe_frames_post(), _take() */
} VtoeFrames;

/* more: device options, "" for none, else beginning with a comma. */
void vtoe_frames_boot(VtoeFrames *f, const char *netdev, const char *more,
                      unsigned pairs, unsigned entries);
/* A counter of the device. */
uint64_t vtoe_frames_counter(VtoeFrames *f, const char *name);
/* Whether a driver that posts so many more descriptors rings. */
bool vtoe_frames_would_ring(VtoeFrames *f, VtoeTestQueue *q, uint32_t more);

/* As vtoe_wait_step(), without the sleep, which would be most of the time. */
void vtoe_spin_step(gint64 *deadline, const char *msg);
void vtoe_spin_us(unsigned us);
/* Waits for a completion of q. */
struct vtoe_comp vtoe_frames_comp(VtoeFrames *f, VtoeTestQueue *q);
/* Sends n frames, each when the one before is done. */
void vtoe_frames_send(VtoeFrames *f, unsigned n);

/* Without waiting: posts one if there is room; takes what is done. */
bool vtoe_frames_post(VtoeFrames *f);
void vtoe_frames_take(VtoeFrames *f);

/* A word of a control block. */
uint32_t *vtoe_frames_word(VtoeFrames *f, VtoeTestQueue *q, size_t off);
#define VTOE_FRAMES_CTRL(f, q, field) \
    vtoe_frames_word(f, q, offsetof(struct vtoe_queue_ctrl, field))

#endif /* VTOE_FRAMES_H */
