/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay between the two ends of a link, in a thread of the test: what happens
 * to a wire happens to it.  Nothing in it is random but by the seed.
 *
 * An address is the path of a unix socket, or a TCP port of 127.0.0.1 in
 * digits.  It tells connections by their preambles and finds messages and
 * frames in them (docs/specs/vnet-wire.rst).
 */
#ifndef VTOE_RELAY_H
#define VTOE_RELAY_H

typedef struct VtoeRelay VtoeRelay;

/* As in preambles. */
typedef enum VtoeRelayKind {
    VTOE_RELAY_CONTROL = 1,
    VTOE_RELAY_FRAME,
    VTOE_RELAY_DATA,
} VtoeRelayKind;

/* Directions. */
#define VTOE_RELAY_TO_SERVER    0
#define VTOE_RELAY_TO_CLIENT    1

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

/* How each direction of each connection passes on; 0: without a limit. */
typedef struct VtoeRelayShape {
    unsigned piece;             /* most bytes at once */
    unsigned rate;              /* bytes per second */
    unsigned delay_ms;          /* of each piece */
    /* A piece goes when the one before was read: it is read by itself.  On
     * unix sockets. */
    bool alone;
} VtoeRelayShape;

/* From the next byte on. */
void vtoe_relay_shape(VtoeRelay *r, const VtoeRelayShape *shape);

/*
 * Ends one direction of the newest connection of a kind, for who reads there;
 * the other goes on.  What is still said in that direction is lost, and who
 * says it is not told.
 */
void vtoe_relay_half_close(VtoeRelay *r, VtoeRelayKind kind, unsigned way);

/*
 * The newest connection of a kind, which there is, is forgotten by the way: what
 * its ends still say is lost, and nobody is told.  On TCP.
 */
void vtoe_relay_forget(VtoeRelay *r, VtoeRelayKind kind);

/*
 * One byte that is changed, or is one too many.  Where: in a message or a frame
 * with its header, so many whole ones from now on; if it is shorter, its last
 * byte.  In data, and with TLS, so many bytes from now on.
 */
typedef struct VtoeRelayDamage {
    VtoeRelayKind kind;
    unsigned way;
    unsigned skip;              /* messages or frames */
    unsigned at;                /* bytes */
    uint8_t value;              /* XORed, or inserted in front */
    bool insert;
} VtoeRelayDamage;

/* Once; what was asked for before and has not happened will not. */
void vtoe_relay_damage(VtoeRelay *r, const VtoeRelayDamage *damage);
bool vtoe_relay_damaged(VtoeRelay *r);

/*
 * The link is encrypted: connections are known by their order alone, control,
 * frame, data.  Before the first.
 */
void vtoe_relay_set_opaque(VtoeRelay *r);

#endif /* VTOE_RELAY_H */
