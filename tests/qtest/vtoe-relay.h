/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay between the two ends of a unix link, in a thread of the test: what
 * happens to a wire happens to it.
 */
#ifndef VTOE_RELAY_H
#define VTOE_RELAY_H

typedef struct VtoeRelay VtoeRelay;

/*
 * Listens at `at` and passes every connection on to `to`, in pieces whose sizes
 * the seed decides.
 */
VtoeRelay *vtoe_relay_new(const char *at, const char *to, uint32_t seed);
/* Ends it, and all connections. */
void vtoe_relay_free(VtoeRelay *r);

/* When these return it is so.  They can be undone by vtoe_relay_mend(). */
/* All connections are gone, with what was on its way, and no new one is made. */
void vtoe_relay_cut(VtoeRelay *r);
/* Nothing is passed on any more, and nobody is told. */
void vtoe_relay_hold(VtoeRelay *r);
void vtoe_relay_mend(VtoeRelay *r);

#endif /* VTOE_RELAY_H */
