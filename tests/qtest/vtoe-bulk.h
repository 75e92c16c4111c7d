/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Many bytes over many streams, both ways at once, for a pair that was booted
 * with vtoe_pair_boot_shared().  The rings and buffers are used through the
 * shared memory, as a guest's processor would; only doorbells are qtest
 * commands.
 *
 * Every byte that arrives is compared: what a stream carries follows from its
 * number, the direction and the offset.
 */
#ifndef VTOE_BULK_H
#define VTOE_BULK_H

#include "vtoe-pair.h"

typedef struct VtoeBulk VtoeBulk;

/*
 * Buffers for p, whose devices are up.  count, size: of the send buffers and
 * of the receive buffers of each end; the receive buffers are the pool's.
 */
VtoeBulk *vtoe_bulk_new(VtoePair *p, unsigned count, uint32_t size);
void vtoe_bulk_free(VtoeBulk *k);

/* Adds an open stream, to carry so many bytes each way. */
void vtoe_bulk_add(VtoeBulk *k, VtoeTestStream s, uint64_t a_to_b,
                   uint64_t b_to_a);

/*
 * Until every byte has arrived and was acknowledged.  Fails when nothing moves
 * for VTOE_BULK_STALL_S.
 */
void vtoe_bulk_run(VtoeBulk *k);
/* ... or until so many have arrived at each end, since vtoe_bulk_new(). */
void vtoe_bulk_run_until(VtoeBulk *k, uint64_t bytes);

/* Carries on a little, and comes back. */
void vtoe_bulk_step(VtoeBulk *k);
/* Bytes that have arrived at one end, 0: a, 1: b: of all streams, and of the
 * i-th that was added. */
uint64_t vtoe_bulk_got(VtoeBulk *k, unsigned end);
uint64_t vtoe_bulk_got_of(VtoeBulk *k, unsigned end, unsigned i);

/*
 * The buffers of one end, 0: a, 1: b, shall lie in the guest's memory from base
 * on, 2 * count * size bytes, or, 0, where they were at first.  Each moves when
 * it is used next.
 */
void vtoe_bulk_move(VtoeBulk *k, unsigned end, uint64_t base);
/* Carries on until no buffer is in use where it was before. */
void vtoe_bulk_run_until_moved(VtoeBulk *k);

/* In place of a reason below: whichever it was. */
#define VTOE_BULK_ANY_REASON    UINT_MAX

/* From now on streams may end at any byte, and are counted as unfinished, until
 * one of the functions below has returned. */
void vtoe_bulk_may_lose(VtoeBulk *k);
/* Those whose end was told, at either end: a bit for each, in the order in
 * which they were added; the 64th and all behind it share one. */
uint64_t vtoe_bulk_ended(VtoeBulk *k);

/*
 * Carries on until all streams have ended, each once and for this reason; what
 * still arrives is compared, too.  A killed end is left out.  More streams may be
 * added then.
 */
void vtoe_bulk_wait_lost(VtoeBulk *k, unsigned reason);
/* The same for one end, 0: a, 1: b, when the other cannot say anything; it sends
 * no more. */
void vtoe_bulk_wait_lost_at(VtoeBulk *k, unsigned end, unsigned reason);
/*
 * The same for some of them: which has a bit for each, in the order in which
 * they were added.  The others go on.
 */
void vtoe_bulk_wait_lost_of(VtoeBulk *k, uint64_t which, unsigned reason);

/*
 * Closes all streams at both ends, and waits until each has ended once, as
 * asked and with all bytes delivered.  More streams may be added then.
 */
void vtoe_bulk_close(VtoeBulk *k);

/*
 * Until every byte has arrived and all streams were closed, or they have ended
 * for this reason.
 */
void vtoe_bulk_run_or_lose(VtoeBulk *k, unsigned reason);

#define VTOE_BULK_STALL_S   30

#endif /* VTOE_BULK_H */
