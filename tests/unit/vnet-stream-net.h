/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores for tests of the stream machine (docs/specs/vnet-wire.rst,
 * "Streams").
 *
 *   left -- nic a (…:01) ===== fake link ===== nic b (…:02) -- right
 *
 * left is the link's client.  Tests that care run with the stream opened from
 * either end, as the two ends of a link differ in who connects.
 */
#ifndef VNET_STREAM_NET_H
#define VNET_STREAM_NET_H

#include "vnet-fake.h"

typedef struct Net {
    FakeWorld *w;
    FakeHost *left, *right;
    FakeLink *l;
    FakeNic *a, *b;
    FakeNic *from, *to;         /* who opens streams */
    bool messages;
} Net;

typedef enum Stage {
    OPENING, ACCEPTED, ESTABLISHED, ENDING, END_SENT, HALF_CLOSED, PEER_ENDING,
    PEER_ENDED, CLOSING, STAGES
} Stage;

#define MS      1000000ll
#define S       (1000 * MS)

/* What tests are run with. */
enum {
    FROM_LEFT = 1,              /* the stream is opened from the left */
    MESSAGES = 2,               /* the link has a message transport */
    FAULTS = 4,                 /* soak: connections break */
    RESUME = 8,                 /* streams outlive their link, for RESUME_MS */
    CUTS = 16,                  /* soak: links are cut */
    BREAKS = 32,                /* soak: data connections break */
};

#define RESUME_MS   60000

/* Both cores with the link up. */
Net net_on(FakeWorld *w, unsigned how);
Net net_new(gconstpointer data);
FakeHost *from_host(Net *n);
/* To the end that opens / to the other one: for injected messages. */
bool opener_is_server(Net *n);
/* As query-vnet calls it, or "gone". */
const char *stream_state(FakeStream *fs);
uint32_t stream_id(FakeStream *fs);
/* A message that has an offset, or nothing but the id; of CREDIT, one receive
 * of so many bytes. */
VnetMsg msg(uint8_t type, uint32_t id, uint64_t offset);

/* What came of a stream: a graceful end, a reset, no stream at all. */
void assert_clean(FakeStream *fs);
void assert_reset(FakeStream *fs, enum vtoe_reason reason);
void assert_failed(FakeStream *fs, enum vtoe_event_type event,
                   enum vtoe_reason reason);
void assert_link_up(Net *n);
/* Neither end has found that the other broke the protocol. */
void assert_nothing_broken(Net *n);

/* An established stream that says nothing by itself. */
FakeStream *open_stream(Net *n, FakeStream **peer);
/* A stream whose opener is in this state, both ends wired but held there. */
FakeStream *bring_to(Net *n, Stage stage, FakeStream **peer);
/* A stream with so many bytes there and back, from its beginning to its end. */
void transfer(Net *n, uint64_t there, uint64_t back);

/* A test that runs once, one that runs with streams from either end, and one
 * that does so on a link with a message transport, too. */
#define T(name) g_test_add_func("/vnet/stream/" #name, test_##name)
#define T2(name) \
    g_test_add_data_func("/vnet/stream/client/" #name, GINT_TO_POINTER(1), \
                         test_##name); \
    g_test_add_data_func("/vnet/stream/server/" #name, GINT_TO_POINTER(0), \
                         test_##name)
#define T4(name) \
    T2(name); \
    g_test_add_data_func("/vnet/stream/messages/client/" #name, \
                         GINT_TO_POINTER(FROM_LEFT | MESSAGES), test_##name); \
    g_test_add_data_func("/vnet/stream/messages/server/" #name, \
                         GINT_TO_POINTER(MESSAGES), test_##name)

#endif /* VNET_STREAM_NET_H */
