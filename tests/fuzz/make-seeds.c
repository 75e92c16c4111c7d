/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes the seeds of the fuzzers, which are kept in corpus/: what a peer and a
 * guest that keep to the rules would say.  To be run again, and its results
 * committed, when the wire, the commands or the steps of a fuzzer change:
 *
 *   scripts/core-build fuzz
 *   build/core-fuzz/tests/fuzz/make-seeds tests/fuzz/corpus
 *
 * A seed that a fuzzer no longer understands does no harm; it is a worse start.
 */
#include <glib.h>
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-packet.h"
#include "vnet-vxlan.h"
#include "vnet-wire.h"
#include "vtoe-fake.h"

static const char *corpus;
static GByteArray *seed;        /* the one being made */

static void put(const void *bytes, size_t len)
{
    g_byte_array_append(seed, bytes, len);
}

/* Literal bytes. */
#define PUT(...) do { \
    static const uint8_t bytes[] = { __VA_ARGS__ }; \
    put(bytes, sizeof(bytes)); \
} while (0)

static void save(const char *target, const char *name)
{
    g_autofree char *dir = g_build_filename(corpus, target, NULL);
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autoptr(GError) err = NULL;

    g_mkdir_with_parents(dir, 0777);
    if (!g_file_set_contents(path, (const char *)seed->data, seed->len, &err)) {
        g_error("%s", err->message);
    }
    g_byte_array_set_size(seed, 0);
}

/* --- fuzz-vnet-vxlan ------------------------------------------------------ */

static void put_datagram(const uint8_t *frame, size_t len)
{
    uint8_t head[2 + VNET_VXLAN_HDR];

    put16(head, VNET_VXLAN_HDR + len);
    vnet_vxlan_put_header(head + 2, 7);
    put(head, sizeof(head));
    put(frame, len);
}

/* Three segments of one flow, a packet that is left unfinished, one of UDP. */
static void vxlan(bool v6, unsigned tags, const char *name)
{
    static Packet p;
    PacketSpec s = { .v6 = v6, .tags = tags, .proto = VNET_PROTO_TCP,
                     .flags = VNET_TCP_ACK, .payload = 40, .options = 12,
                     .may_cut = tags };

    PUT(0, 100);                /* the longest frame */
    for (unsigned i = 0; i < 3; i++) {
        packet_make(&p, &s);
        put_datagram(p.buf, p.len);
        s.seq += 40;
        s.id++;
    }
    s.payload = 200;
    packet_make(&p, &s);
    packet_leave_csum(&p);
    put_datagram(p.buf, p.len);
    s.proto = VNET_PROTO_UDP;
    packet_make(&p, &s);
    put_datagram(p.buf, p.len);
    save("fuzz-vnet-vxlan", name);
}

/* --- fuzz-vnet-wire ------------------------------------------------------- */

#define WIRE "fuzz-vnet-wire"

static VnetMsg message(uint8_t type)
{
    VnetMsg m = { .type = type };

    m.id = vnet_wire_has_id(type);

    switch (type) {
    case VNET_MSG_HELLO:
        m.u.hello.version_min = m.u.hello.version_max = VNET_WIRE_VERSION_MIN;
        m.u.hello.heartbeat_ms = 1000;
        m.u.hello.features = VNET_HELLO_F_FRAMES | VNET_HELLO_F_STREAMS |
                             VNET_HELLO_F_GSO | VNET_HELLO_F_NETS;
        m.u.hello.nnets = 1;
        m.u.hello.nets[0] = 9;
        m.u.hello.epoch = 0x77;
        m.u.hello.vni = 7;
        m.u.hello.max_streams = 32;
        strcpy(m.u.hello.name, "peer");
        break;
    case VNET_MSG_BYE:
        m.u.bye.reason = VTOE_REASON_POLICY;
        strcpy(m.u.bye.text, "bye");
        break;
    case VNET_MSG_PING:
    case VNET_MSG_PONG:
        m.u.ping.cookie = 1;
        break;
    case VNET_MSG_MAC:
        m.flags = VNET_MAC_F_STREAMS;
        m.u.mac.vni = 7;
        memcpy(m.u.mac.mac, "\x52\x54\0\0\0\2", 6);
        break;
    case VNET_MSG_OPEN:
        m.u.open.vni = 7;
        m.u.open.flow.family = 4;
        m.u.open.flow.lport = 2;        /* the fuzzer's NIC accepts it */
        memcpy(m.u.open.flow.lmac, "\x52\x54\0\0\0\2", 6);
        memcpy(m.u.open.flow.rmac, "\x52\x54\0\0\0\1", 6);
        break;
    case VNET_MSG_REJECT:
    case VNET_MSG_ABORT:
        m.u.reject.reason = VTOE_REASON_RESET;
        break;
    case VNET_MSG_ACK:
    case VNET_MSG_END:
    case VNET_MSG_WANT:
        m.u.offset.offset = 16;
        break;
    case VNET_MSG_CREDIT:
        m.u.credit.count = 2;
        m.u.credit.length = 4096;
        break;
    case VNET_MSG_RESUME:
    case VNET_MSG_RESUMED:
        m.u.resume.token = m.u.resume.id = 1;
        break;
    case VNET_MSG_NET:
        m.u.net.vni = 9;
        break;
    default:
        break;
    }
    return m;
}

static void put_message(uint8_t type)
{
    const VnetMsg m = message(type);
    uint8_t b[VNET_MSG_MAX];

    put(b, vnet_wire_put_msg(b, &m));
}

static void wire_codec(void)
{
    static const char *const kinds[] = { NULL, "control", "frame", "data" };

    for (int k = VNET_CONN_CONTROL; k <= VNET_CONN_DATA; k++) {
        g_autofree char *name = g_strdup_printf("preamble-%s", kinds[k]);
        const VnetPreamble p = {
            .version = VNET_WIRE_VERSION_MIN, .kind = k, .epoch = 0x77,
            .token = k == VNET_CONN_CONTROL ? 0 : 5,
            .stream_id = k == VNET_CONN_DATA ? 1 : 0,
        };
        uint8_t b[VNET_PREAMBLE_SIZE];

        PUT(0);
        vnet_wire_put_preamble(b, &p);
        put(b, sizeof(b));
        save(WIRE, name);
    }
    PUT(1);
    for (int t = VNET_MSG_HELLO; t <= VNET_MSG_LAST; t++) {
        put_message(t);
    }
    save(WIRE, "messages");
    for (int gso = 0; gso < 2; gso++) {
        VnetWireFrame f = { .len = gso ? 9000 : 60, .vni = 7 };
        uint8_t b[VNET_FRAME_HDR_SIZE];

        if (gso) {
            f.hdr = (VnetFrameHdr) {
                .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
                .gso_type = VTOE_NET_HDR_GSO_TCPV4, .hdr_len = 54,
                .gso_size = 1448, .csum_start = 34,
                .csum_offset = 16,
            };
        }
        g_assert_cmpint(vnet_wire_check_frame(&f), ==, VNET_WIRE_OK);
        PUT(2);
        vnet_wire_put_frame(b, &f);
        put(b, sizeof(b));
        save(WIRE, gso ? "frame-gso" : "frame");
    }
}

/* The steps of fuzz-vnet-wire.c's live end: its switch, and what each eats. */
#define SAID_HELLO      4
#define SAID_NOTHING    5
#define MESSAGES        2                       /* with one of them */
#define RESUMES         8                       /* likewise */
#define GIVEN_7         16                      /* likewise */
#define CONTROL(len)    0, (len)
#define MSG(type)       1, (type) - 1
#define CID_UP(c)       3, 0, (c)
#define CID_SENDS(c)    3, 3, (c), 15           /* 16 bytes */
#define CID_LENDS(c)    3, 4, (c)
#define CID_FILLS(c)    3, 0x83, (c), 15        /* 16 bytes, rest unused */
#define CID_SENT(c)     3, 2, (c), 15           /* messages: 16 bytes */
#define CID_GETS(c)     3, 4, (c), 15           /* ... 16 bytes */
#define CID_EOF(c)      3, 2, (c)
#define CID_BREAKS(c)   3, 1, (c)
#define G_CONNECT       4, 7
#define G_CONNECT_9     4, 15                   /* the NIC in network 9 */
#define G_NET_9         4, 6                    /* it comes, or goes */
#define G_ANSWER(g, ok) 4, (ok), (g)
#define G_POST(g)       4, 0, (g)
#define G_SHUTDOWN(g)   4, 2, (g)
#define G_CLOSE(g)      4, 3, (g)
#define G_ABORT(g)      4, 4, (g)
#define G_RESET(g)      4, 5, (g)
#define DATA_CONN(id)   5, (id) - 1, 0
#define DATA_CONN_S(id) 5, (id) - 1, 1          /* of the server's ids */
#define FRAME(dst, src) 6, 0, 0, 0, 0, 0, (dst), 0, 0, 0, 0, 0, (src), 0, 0
#define FRAME_9         6, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 1 << 2, 0
#define MAC_9(last)     MSG(VNET_MSG_MAC), 1 | 1 << 2, (last)
#define NET_9           MSG(VNET_MSG_NET), 1 << 1
#define NO_NET_9        MSG(VNET_MSG_NET), 1 << 1 | 1
#define TIME(n)         7, (n)                  /* n * 20 ms */
#define CUT             0x87                    /* there is a new link then */
/* Of the stream that was the peer's first, on the link before; so much was
 * received, in units of 16 bytes. */
#define RESUME(id, got) MSG(VNET_MSG_RESUME), PEERS(id), PEERS(1), (got) << 2
#define RESUMED(id, got) MSG(VNET_MSG_RESUMED), OURS(id), OURS(1), (got) << 2
#define PEERS(id)       ((id) - 1)
#define OURS(id)        (0x80 | ((id) - 1))
/* A stream that the peer opens: lport 2 is accepted at once, 4 is asked for. */
#define OPENED(id, lport) MSG(VNET_MSG_OPEN), PEERS(id), (lport), DATA_CONN(id)
/* ... and one that the guest opens. */
#define CONNECTED(id)   G_CONNECT, MSG(VNET_MSG_ACCEPT), OURS(id), \
                        DATA_CONN_S(id)

static void wire_live(void)
{
    static const uint8_t said[] = {
        VNET_MSG_HELLO, VNET_MSG_MAC, VNET_MSG_PING, VNET_MSG_PONG,
        VNET_MSG_OPEN, VNET_MSG_END, VNET_MSG_ABORT,
    };

    PUT(SAID_HELLO, OPENED(1, 2), CID_LENDS(0), CID_FILLS(0), TIME(1),
        G_POST(0), CID_SENDS(0), MSG(VNET_MSG_ACK), PEERS(1), 0, 1,
        G_SHUTDOWN(0), MSG(VNET_MSG_END), PEERS(1), 1, CID_EOF(0), TIME(1),
        MSG(VNET_MSG_ACK), PEERS(1), 1, 1);
    save(WIRE, "live-peer-opens");
    PUT(SAID_HELLO, CONNECTED(1), G_POST(0), CID_SENDS(0), CID_LENDS(0),
        CID_FILLS(0), MSG(VNET_MSG_ACK), OURS(1), 0, 1, MSG(VNET_MSG_END),
        OURS(1), 1, CID_EOF(0), G_SHUTDOWN(0), MSG(VNET_MSG_ACK), OURS(1), 1,
        1);
    save(WIRE, "live-guest-opens");
    PUT(SAID_HELLO + MESSAGES, OPENED(1, 2), MSG(VNET_MSG_WANT), PEERS(1), 0,
        CID_GETS(0), TIME(1), G_POST(0), MSG(VNET_MSG_CREDIT), PEERS(1), 0, 10,
        CID_SENT(0), MSG(VNET_MSG_ACK), PEERS(1), 0, 1, G_SHUTDOWN(0),
        MSG(VNET_MSG_END), PEERS(1), 1, TIME(1), MSG(VNET_MSG_ACK), PEERS(1),
        1, 1);
    save(WIRE, "live-messages");
    PUT(SAID_HELLO, MSG(VNET_MSG_OPEN), PEERS(1), 4, G_ANSWER(0, 1),
        DATA_CONN(1), MSG(VNET_MSG_OPEN), PEERS(2), 4, G_ANSWER(1, 0),
        MSG(VNET_MSG_OPEN), PEERS(3), 1, G_CONNECT, MSG(VNET_MSG_REJECT),
        OURS(1), VTOE_REASON_BACKLOG - 1);
    save(WIRE, "live-answers");
    PUT(SAID_HELLO, OPENED(1, 2), OPENED(2, 2), OPENED(3, 2), CONNECTED(1),
        MSG(VNET_MSG_ABORT), PEERS(1), VTOE_REASON_RESET - 1, CID_BREAKS(0),
        G_ABORT(2), G_RESET(3));
    save(WIRE, "live-resets");
    PUT(SAID_HELLO, OPENED(1, 2), G_CLOSE(0), G_SHUTDOWN(0), CID_LENDS(0),
        MSG(VNET_MSG_END), PEERS(1), 0, CID_EOF(0), MSG(VNET_MSG_ACK), PEERS(1),
        1, 0);
    save(WIRE, "live-closes");
    PUT(SAID_HELLO, DATA_CONN(1), MSG(VNET_MSG_OPEN), PEERS(1), 2, CID_UP(0),
        G_CONNECT, TIME(255), TIME(255), TIME(255));
    save(WIRE, "live-data-first");
    PUT(SAID_HELLO, MSG(VNET_MSG_MAC), 1, 3, MSG(VNET_MSG_MAC), 0, 4,
        MSG(VNET_MSG_MAC), 2, 3, FRAME(1, 2), FRAME(3, 2), FRAME(1, 1),
        MSG(VNET_MSG_PING), TIME(50), MSG(VNET_MSG_PONG), TIME(200),
        MSG(VNET_MSG_BYE), TIME(255));
    save(WIRE, "live-addresses-and-time");
    PUT(SAID_HELLO, FRAME_9, MAC_9(2), G_NET_9, MAC_9(2), FRAME_9, G_CONNECT_9,
        MSG(VNET_MSG_ACCEPT), OURS(1), DATA_CONN_S(1), OPENED(1, 0x42), NO_NET_9,
        FRAME_9, MAC_9(2), NET_9, MAC_9(2), G_CONNECT_9, G_NET_9, FRAME_9,
        OPENED(2, 0x42), G_NET_9, FRAME_9);
    save(WIRE, "live-network-ids");
    PUT(SAID_HELLO + GIVEN_7, FRAME_9, MAC_9(2), G_NET_9, MAC_9(2), FRAME_9,
        G_CONNECT_9, OPENED(1, 0x42), NO_NET_9, NET_9, FRAME(1, 2));
    save(WIRE, "live-given-ids");
    PUT(SAID_HELLO + RESUMES, OPENED(1, 2), CID_LENDS(0), CID_FILLS(0),
        G_POST(0), CID_SENDS(0), CUT, RESUME(2, 0), DATA_CONN(2), CID_SENDS(0),
        CID_LENDS(0), CID_FILLS(0), G_SHUTDOWN(0), MSG(VNET_MSG_END), PEERS(2),
        2, CID_EOF(0), CUT, MSG(VNET_MSG_FORGET), TIME(255));
    save(WIRE, "live-peer-resumes");
    PUT(SAID_HELLO + RESUMES, CONNECTED(1), G_POST(0), CID_SENDS(0), CUT,
        RESUMED(2, 0), DATA_CONN_S(2), CID_SENDS(0), CID_LENDS(0), CID_FILLS(0),
        G_SHUTDOWN(0), MSG(VNET_MSG_ACK), OURS(2), 1, 1);
    save(WIRE, "live-guest-resumes");
    PUT(SAID_HELLO + RESUMES, OPENED(1, 2), CONNECTED(1), G_POST(0), CID_BREAKS(0),
        TIME(3), MSG(VNET_MSG_PONG), MSG(VNET_MSG_RESUME), PEERS(2),
        PEERS(1) | 64, 0, DATA_CONN(2), CID_SENDS(0), CID_BREAKS(0),
        MSG(VNET_MSG_REDIAL), OURS(1), TIME(200));
    save(WIRE, "live-data-lost");
    PUT(SAID_HELLO + MESSAGES + RESUMES, OPENED(1, 2), MSG(VNET_MSG_CREDIT),
        PEERS(1), 4, 10, CID_GETS(0), G_POST(0), CID_SENT(0), CUT, RESUME(2, 1),
        DATA_CONN(2), MSG(VNET_MSG_CREDIT), PEERS(2), 4, 10, CID_SENT(0));
    save(WIRE, "live-messages-resume");
    PUT(SAID_NOTHING);
    for (size_t i = 0; i < G_N_ELEMENTS(said); i++) {
        const VnetMsg m = message(said[i]);
        uint8_t b[VNET_MSG_MAX];
        const uint8_t step[] = { CONTROL(vnet_wire_put_msg(b, &m)) };

        put(step, sizeof(step));
        put(b, step[1]);
    }
    save(WIRE, "live-bytes");
}

/* --- fuzz-vtoe-cmd -------------------------------------------------------- */

static void commands(void)
{
    static const char *const names[] = {
        [VTOE_CMD_CONNECT] = "connect", [VTOE_CMD_LISTEN] = "listen",
        [VTOE_CMD_UNLISTEN] = "unlisten", [VTOE_CMD_ACCEPT] = "accept",
        [VTOE_CMD_REJECT] = "reject", [VTOE_CMD_SHUTDOWN] = "shutdown",
        [VTOE_CMD_ABORT] = "abort", [VTOE_CMD_CLOSE] = "close",
        [VTOE_CMD_CREDIT] = "credit", [VTOE_CMD_QUERY] = "query",
    };

    for (unsigned op = VTOE_CMD_CONNECT; op <= VTOE_CMD_QUERY; op++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct vtoe_cmd c = fake_connect_cmd(5, 1, 1 << 16);
            bool flow = op == VTOE_CMD_CONNECT || op == VTOE_CMD_LISTEN;
            g_autofree char *name = g_strconcat(names[op], v6 ? "6" : "",
                                                NULL);

            if (v6 && !flow) {
                continue;
            }
            c.op = op;
            if (op == VTOE_CMD_CONNECT || op == VTOE_CMD_ACCEPT) {
                c.flags = VTOE_CMD_F_SHUTDOWN_EVENT;
            } else {
                c.pair = 0;
            }
            if (op == VTOE_CMD_REJECT || op == VTOE_CMD_ABORT) {
                c.reason = GUINT16_TO_LE(VTOE_REASON_RESET);
                c.value = 0;
            }
            if (op == VTOE_CMD_LISTEN) {
                c.value = GUINT64_TO_LE(128);
                c.flow.rport = 0;
                memset(c.flow.rmac, 0, sizeof(c.flow.rmac));
                memset(c.flow.raddr, 0, sizeof(c.flow.raddr));
            }
            if (!flow) {
                memset(&c.flow, 0, sizeof(c.flow));
            } else if (v6) {
                c.flow.family = 6;
                memset(c.flow.laddr, 0xfd, 16);
            }
            PUT(3);                     /* pairs, less one */
            put(&c, sizeof(c));
            save("fuzz-vtoe-cmd", name);
        }
    }
}

/* --- fuzz-vtoe-rings ------------------------------------------------------ */

#define RINGS "fuzz-vtoe-rings"

/* The steps of fuzz-vtoe-rings.c: its switch, and what each takes. */
#define EMPTY           0               /* how the device is: nothing on it */
#define IN_USE          32              /* ... the prelude was done */
#define SMALL           (IN_USE + 8)    /* ... with rings of four */
#define THEN_BATCH_END(step) (144 + (step))
#define SEND(pair, sid) 0, (pair), (sid), 0, 10, 0      /* 371 bytes */
#define SEND_FRAME      0, 0, 0, 0, 2, 0
#define CREDIT(pair, sid) 0, (pair), (sid), 0, 0, 0x10, 0x40, 0
#define RECV(pair, sid) 3, (pair), (sid), 50, 0, 1
#define CMD(op, sid, value) 5, (sid), 1, (value) >> 8, (value) & 255, (op), 0, \
                        1, 1
#define CONSUME         7, 0xff
#define SCRIBBLE(q, what, val) 9, (q), (what), 0, 0, 0, 0, 0, (val)
#define REGISTER(reg, val) 10, (reg), 0, 0, 0, (val)
#define KICK(pair)      11, 2 * (pair)
#define KICK_CONTROL    11, 1
#define REQUEST(port)   13, (port)
#define ESTABLISHED(s)  14, (s), 1
#define FAILED(s)       14, (s), 0, 0, 2
#define LEND(s)         15, (s), 0, 255, 2
#define FILL(s)         16, (s), 0, 99
#define RETURN(s)       17, (s), 7
#define READ(s)         18, (s), 7, 0xff, 0xff
#define ACK(s, n)       19, (s), ((n) - 1) >> 8, ((n) - 1) & 255
#define END(s)          20, (s)
#define FINISHED(s)     THEN_BATCH_END(21), (s)         /* both ways ended */
#define GONE(s)         THEN_BATCH_END(21), (s), 8
#define FRAME_IN(how)   22, 10, (how)
#define HOST(what)      23, (what)
#define POSTED          5000            /* on SID 1, by the prelude */
#define PASSIVE         0x80            /* SIDs as some_sid() reads them */
#define ANY             0xc1

static void rings(void)
{
    PUT(IN_USE, SEND(1, 1), KICK(1), READ(0), ACK(0, 1000),
        ACK(0, POSTED + 371 - 1000), THEN_BATCH_END(7), 0xff, SEND(1, 4),
        KICK(1), CONSUME);
    save(RINGS, "send");
    PUT(IN_USE, LEND(0), FILL(0), RETURN(0), CREDIT(1, 1), RECV(1, 1),
        RECV(1, ANY), KICK(1), LEND(0), FILL(0), LEND(1), FILL(1), LEND(2),
        FILL(2), THEN_BATCH_END(7), 0xff);
    save(RINGS, "receive");
    PUT(IN_USE, HOST(8 + 5), LEND(0), HOST(6));
    save(RINGS, "greedy-with-buffers-lent");
    PUT(EMPTY, CMD(VTOE_CMD_CONNECT, 1, 99), CMD(VTOE_CMD_LISTEN, 2, 9),
        KICK_CONTROL, ESTABLISHED(0), REQUEST(1), REQUEST(1), CONSUME,
        CMD(VTOE_CMD_ACCEPT, PASSIVE, 99), CMD(VTOE_CMD_REJECT, PASSIVE + 1, 0),
        KICK_CONTROL, ESTABLISHED(1), CMD(VTOE_CMD_CREDIT, 1, 200),
        CMD(VTOE_CMD_QUERY, 1, 0), KICK_CONTROL, CONSUME,
        CMD(VTOE_CMD_SHUTDOWN, 1, 0), CMD(VTOE_CMD_CLOSE, PASSIVE, 0),
        CMD(VTOE_CMD_UNLISTEN, 2, 0), CMD(VTOE_CMD_CONNECT, 3, 9),
        CMD(VTOE_CMD_CONNECT, 4, 9), KICK_CONTROL, FAILED(3),
        CMD(VTOE_CMD_ABORT, 4, 0), KICK_CONTROL, CONSUME);
    save(RINGS, "commands");
    PUT(IN_USE, LEND(0), FILL(0), RETURN(0), END(0),
        CMD(VTOE_CMD_SHUTDOWN, 1, POSTED), KICK_CONTROL, READ(0),
        ACK(0, POSTED), FINISHED(0), END(1), GONE(1), GONE(2), CONSUME);
    save(RINGS, "ends");
    PUT(IN_USE, SEND_FRAME, KICK(0), FRAME_IN(0), FRAME_IN(2),
        FRAME_IN(8 + 2), RECV(0, 0), KICK(0), HOST(0x14), SEND_FRAME, KICK(0),
        HOST(4), CONSUME);
    save(RINGS, "frames");
    PUT(IN_USE, HOST(0), SEND(1, 1), KICK(1), HOST(8), HOST(1), HOST(9),
        HOST(8 + 2), HOST(3), HOST(8 + 5), GONE(0), GONE(1), GONE(2), HOST(6),
        HOST(7), CMD(VTOE_CMD_CONNECT, 1, 99), KICK_CONTROL, CONSUME);
    save(RINGS, "host");
    PUT(SMALL, SEND(1, 1), SEND(1, 1), SEND(1, 1), SEND(1, 1), KICK(1),
        READ(0), ACK(0, POSTED), SCRIBBLE(1, 4, 9), KICK(1),
        SCRIBBLE(1, 0, 255), KICK(1), REGISTER(0x20, 0), REGISTER(0x24, 1),
        HOST(7), CONSUME);
    save(RINGS, "full-and-broken");
}

/* --- QEMU's generic fuzzer ------------------------------------------------ */

/* Its operations (tests/qtest/fuzz/generic_fuzz.c), "FUZZ" between them. */
#define OP_WRITE            3
#define OP_ADD_DMA_PATTERN  7
#define RING                8           /* entries of each ring */
#define RING_BASE(q)        (0x100000u + (q) * 0x10000u)
#define BUFFER              0x8000u

/* To the register at off, or a doorbell, of the first region: BAR 2. */
static void op_write(uint32_t off, uint32_t val)
{
    const uint32_t off_le = GUINT32_TO_LE(off);
    const uint64_t val_le = GUINT64_TO_LE(val);

    PUT(OP_WRITE, 2 /* four bytes wide */, 0 /* the region */, 0, 0);
    put(&off_le, sizeof(off_le));
    put(&val_le, sizeof(val_le));
    PUT('F', 'U', 'Z', 'Z');
}

/* What the device reads from memory next; those that were added take turns. */
static void op_reads(const void *bytes, size_t len)
{
    PUT(OP_ADD_DMA_PATTERN, 0, 0);
    put(bytes, len);
    PUT('F', 'U', 'Z', 'Z');
}

static void op_reads_index(uint32_t index)
{
    const uint32_t le = GUINT32_TO_LE(index);

    op_reads(&le, sizeof(le));
}

static void generic_queue(uint32_t queue, unsigned place)
{
    op_write(VTOE_REG_QUEUE_SELECT, queue);
    op_write(VTOE_REG_SEND_SIZE, RING);
    op_write(VTOE_REG_RECV_SIZE, queue == VTOE_QUEUE_CONTROL ? 0 : RING);
    op_write(VTOE_REG_COMP_SIZE, RING);
    for (unsigned r = 0; r < 4; r++) {
        op_write(VTOE_REG_SEND_ADDR + 8 * r, RING_BASE(place) + 0x4000 * r);
    }
    op_write(VTOE_REG_QUEUE_VECTOR, 0);
    op_write(VTOE_REG_QUEUE_ENABLE, 1);
}

/* To DRIVER_OK.  Memory matters only from there on. */
static void generic_up(uint64_t features)
{
    op_write(VTOE_REG_STATUS, VTOE_STATUS_DRIVER);
    op_write(VTOE_REG_DRV_FEATURES, features);
    op_write(VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK);
    generic_queue(0, 0);
    if (features & VTOE_F_STREAM) {
        generic_queue(1, 1);
    }
    generic_queue(VTOE_QUEUE_CONTROL, 2);
    op_write(VTOE_REG_STATUS, VTOE_STATUS_DRIVER | VTOE_STATUS_FEATURES_OK |
                              VTOE_STATUS_DRIVER_OK);
}

static void generic(const char *target, uint64_t features)
{
    const struct vtoe_send_desc send = {
        .addr = GUINT64_TO_LE(BUFFER), .len = GUINT32_TO_LE(60),
    };
    struct vtoe_cmd connect = fake_connect_cmd(5, 1, 1 << 16);
    static const uint8_t frame[60] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x12, 0x34, 0x56,
        8, 6,
    };

    generic_up(features);
    save(target, "up");
    generic_up(features);
    op_reads_index(1);
    op_reads(&send, sizeof(send));
    op_reads(frame, sizeof(frame));
    op_reads_index(0);
    op_write(VTOE_DOORBELL_OFFSET(0), 0);
    save(target, "send-frame");
    if (features & VTOE_F_STREAM) {
        memcpy(connect.flow.lmac, frame + 6, 6);    /* as QEMU numbers NICs */
        generic_up(features);
        op_reads_index(1);
        op_reads(&connect, sizeof(connect));
        op_reads_index(0);
        op_write(VTOE_REG_CTRL_DOORBELL, 0);
        save(target, "connect");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        g_printerr("usage: make-seeds FOLDER\n");
        return 2;
    }
    corpus = argv[1];
    seed = g_byte_array_new();
    vxlan(false, 0, "v4");
    vxlan(true, 0, "v6");
    vxlan(false, 2, "tagged");
    wire_codec();
    wire_live();
    commands();
    rings();
    generic("vtoe-pci", VTOE_F_CSUM | VTOE_F_TSO | VTOE_F_RX_CSUM |
                        VTOE_F_RX_TSO | VTOE_F_STREAM);
    generic("vtoe-pci-slirp", 0);
    g_byte_array_free(seed, TRUE);
    return 0;
}
