/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The wire codec: what is encoded decodes to the same, every other form is
 * refused with the right error (docs/specs/vnet-wire.rst, "Encoding").
 */
#include <glib.h>
#include <string.h>
#include "vnet-wire.h"

static VnetMsg sample(uint8_t type)
{
    VnetMsg m = { .type = type };

    m.id = vnet_wire_has_id(type) ? 0x80000005u : 0;
    switch (type) {
    case VNET_MSG_HELLO:
        m.u.hello.version_min = 1;
        m.u.hello.version_max = 3;
        m.u.hello.heartbeat_ms = 1000;
        m.u.hello.features = 0x8000000000000007ull;
        m.u.hello.epoch = 0x0123456789abcdefull;
        m.u.hello.token = 0xfedcba9876543210ull;
        m.u.hello.vni = 0xabcdef;
        m.u.hello.max_streams = 4096;
        strcpy(m.u.hello.name, "host-1 ~");
        break;
    case VNET_MSG_BYE:
        m.u.bye.reason = VTOE_REASON_POLICY;
        strcpy(m.u.bye.text, "peer has network id 1, this end 2");
        break;
    case VNET_MSG_PING:
    case VNET_MSG_PONG:
        m.u.ping.cookie = 0x1122334455667788ull;
        break;
    case VNET_MSG_MAC:
        m.flags = VNET_MAC_F_STREAMS;
        m.u.mac.vni = 7;
        memcpy(m.u.mac.mac, "\x52\x54\x00\x01\x02\x03", 6);
        break;
    case VNET_MSG_OPEN:
        m.u.open.vni = 7;
        m.u.open.flow.family = 6;
        m.u.open.flow.lport = 40000;
        m.u.open.flow.rport = 80;
        memcpy(m.u.open.flow.lmac, "\x52\x54\x00\x00\x00\x01", 6);
        memcpy(m.u.open.flow.rmac, "\x52\x54\x00\x00\x00\x02", 6);
        memset(m.u.open.flow.laddr, 0xfd, 16);
        memset(m.u.open.flow.raddr, 0xfe, 16);
        break;
    case VNET_MSG_REJECT:
        m.u.reject.reason = VTOE_REASON_NO_LISTENER;
        break;
    case VNET_MSG_ABORT:
        m.u.reject.reason = VTOE_REASON_RESET;
        break;
    case VNET_MSG_ACK:
        m.flags = VNET_ACK_F_END;
        /* fall through */
    case VNET_MSG_END:
    case VNET_MSG_WANT:
        m.u.offset.offset = VNET_OFFSET_MAX;
        break;
    case VNET_MSG_RESUME:
    case VNET_MSG_RESUMED:
        m.flags = VNET_RESUME_F_END | VNET_RESUME_F_DONE;
        m.u.resume.token = UINT64_MAX;
        m.u.resume.id = 0x80000007u;
        m.u.resume.received = VNET_OFFSET_MAX;
        break;
    case VNET_MSG_CREDIT:
        m.u.credit.count = VNET_CREDIT_MAX;
        m.u.credit.length = VNET_CREDIT_LENGTH_MAX;
        break;
    case VNET_MSG_NET:
        m.flags = VNET_NET_F_GONE;
        m.u.net.vni = VNET_VNI_MAX;
        break;
    }
    return m;
}

/* A HELLO of an end with n network ids beside the first. */
static VnetMsg hello_with_nets(unsigned n)
{
    VnetMsg m = sample(VNET_MSG_HELLO);

    m.u.hello.features |= VNET_HELLO_F_NETS;
    m.u.hello.nnets = n;
    for (unsigned i = 0; i < n; i++) {
        m.u.hello.nets[i] = VNET_VNI_MAX - i;
    }
    return m;
}

static VnetWireError decode(const uint8_t *b, size_t len)
{
    /* A copy of exactly this size: the sanitizer sees each byte too far. */
    g_autofree uint8_t *copy = g_memdup2(b, len);
    VnetMsg m;
    size_t used;

    return vnet_wire_get_msg(copy, len, &m, &used);
}

static void test_every_message_round_trips(void)
{
    for (int t = VNET_MSG_HELLO; t <= VNET_MSG_LAST; t++) {
        const VnetMsg m = sample(t);
        uint8_t a[VNET_MSG_MAX], b[VNET_MSG_MAX];
        VnetMsg out;
        size_t used = 0, len;

        memset(&out, 0xee, sizeof(out));
        len = vnet_wire_put_msg(a, &m);
        g_assert_cmpint(vnet_wire_get_msg(a, len, &out, &used), ==,
                        VNET_WIRE_OK);
        g_assert_cmpuint(used, ==, len);
        g_assert_cmpuint(vnet_wire_put_msg(b, &out), ==, len);
        g_assert_cmpmem(a, len, b, len);
        g_assert_cmpuint(out.id, ==, m.id);
        g_assert_cmpuint(out.flags, ==, m.flags);
    }
}

static void test_every_reason_round_trips(void)
{
    static const uint8_t types[] = { VNET_MSG_BYE, VNET_MSG_REJECT,
                                     VNET_MSG_ABORT };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        for (int r = VTOE_REASON_NONE + 1; r <= VTOE_REASON_MAX; r++) {
            VnetMsg m = sample(types[i]), out;
            uint8_t a[VNET_MSG_MAX];
            size_t used, len;

            /* All three have it at the same place. */
            m.u.reject.reason = r;
            len = vnet_wire_put_msg(a, &m);
            g_assert_cmpint(vnet_wire_get_msg(a, len, &out, &used), ==,
                            VNET_WIRE_OK);
            g_assert_cmpint(out.u.reject.reason, ==, r);
        }
    }
}

static void test_every_reason_has_a_name(void)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);

    for (unsigned r = VTOE_REASON_NONE; r <= VTOE_REASON_MAX + 1; r++) {
        g_assert_nonnull(vnet_reason_str(r));
        g_assert_true(g_hash_table_add(names, (void *)vnet_reason_str(r)));
    }
    g_assert_cmpstr(vnet_reason_str(VTOE_REASON_POLICY), ==, "policy");
    g_assert_cmpstr(vnet_reason_str(UINT16_MAX), ==, "unknown");
}

static void test_lengths_are_those_of_the_spec(void)
{
    static const size_t len[] = { 0, 112, 140, 16, 16, 20, 64, 8, 12, 16, 16,
                                  16, 12, 16, 32, 32, 8, 12, 8 };

    for (int t = VNET_MSG_HELLO; t <= VNET_MSG_LAST; t++) {
        const VnetMsg m = sample(t);
        uint8_t a[VNET_MSG_MAX];

        g_assert_cmpuint(vnet_wire_put_msg(a, &m), ==, len[t]);
    }
}

/* The bytes of three messages as the spec prints them. */
static void test_bytes_are_those_of_the_spec(void)
{
    static const uint8_t ack[] = {
        9, 1, 0, 16, 0x80, 0, 0, 5, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff,
    };
    static const uint8_t mac[] = {
        5, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0x52, 0x54, 0, 1, 2, 3, 0, 0,
    };
    static const uint8_t credit[] = {
        10, 0, 0, 16, 0x80, 0, 0, 5, 0, 0, 0, 16, 0, 0, 0x10, 0,
    };
    VnetMsg m = sample(VNET_MSG_ACK);
    uint8_t a[VNET_MSG_MAX];
    size_t n = vnet_wire_put_msg(a, &m);

    g_assert_cmpmem(a, n, ack, sizeof(ack));
    m = sample(VNET_MSG_MAC);
    n = vnet_wire_put_msg(a, &m);
    g_assert_cmpmem(a, n, mac, sizeof(mac));
    m = sample(VNET_MSG_CREDIT);
    m.u.credit.count = 16;
    m.u.credit.length = 4096;
    n = vnet_wire_put_msg(a, &m);
    g_assert_cmpmem(a, n, credit, sizeof(credit));
}

static void test_every_truncation_waits_for_more(void)
{
    for (int t = VNET_MSG_HELLO; t <= VNET_MSG_LAST; t++) {
        const VnetMsg m = sample(t);
        uint8_t a[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(a, &m);

        for (size_t n = 0; n < len; n++) {
            g_assert_cmpint(decode(a, n), ==, VNET_WIRE_SHORT);
        }
    }
}

static void test_every_wrong_length_is_refused(void)
{
    for (int t = VNET_MSG_HELLO; t <= VNET_MSG_LAST; t++) {
        const VnetMsg m = sample(t);
        uint8_t a[VNET_MSG_MAX] = { 0 };
        size_t len = vnet_wire_put_msg(a, &m);

        for (unsigned n = 0; n < 65536; n++) {
            bool fits = t == VNET_MSG_HELLO ? n >= len && n <= VNET_MSG_MAX
                                            : n == len;

            a[2] = n >> 8;
            a[3] = n;
            /* From the first four bytes on: no waiting for a hopeless rest. */
            g_assert_cmpint(decode(a, 4), ==,
                            fits ? VNET_WIRE_SHORT : VNET_WIRE_BAD_LENGTH);
        }
    }
}

static void test_hello_of_a_later_version_may_be_longer(void)
{
    const VnetMsg m = sample(VNET_MSG_HELLO);
    uint8_t a[VNET_MSG_MAX];
    VnetMsg out;
    size_t used;

    memset(a, 0x5a, sizeof(a));
    vnet_wire_put_msg(a, &m);
    a[2] = 0;
    a[3] = 200;
    g_assert_cmpint(vnet_wire_get_msg(a, 200, &out, &used), ==, VNET_WIRE_OK);
    g_assert_cmpuint(used, ==, 200);
    g_assert_cmpstr(out.u.hello.name, ==, m.u.hello.name);
}

static void test_hello_lists_network_ids(void)
{
    for (unsigned n = 0; n < VNET_NETS_MAX; n++) {
        const VnetMsg m = hello_with_nets(n);
        uint8_t a[VNET_MSG_MAX], b[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(a, &m), used;
        VnetMsg out;

        g_assert_cmpuint(len, ==, 116 + 4 * n);
        g_assert_cmpint(vnet_wire_get_msg(a, len, &out, &used), ==,
                        VNET_WIRE_OK);
        g_assert_cmpuint(used, ==, len);
        g_assert_cmpuint(out.u.hello.nnets, ==, n);
        g_assert_cmpmem(out.u.hello.nets, 4 * n, m.u.hello.nets, 4 * n);
        g_assert_cmpuint(vnet_wire_put_msg(b, &out), ==, len);
        g_assert_cmpmem(a, len, b, len);
        /* Cut behind any of what it says that it has. */
        for (size_t k = 112; k < len; k++) {
            a[3] = k;
            g_assert_cmpint(decode(a, k), ==, VNET_WIRE_BAD_LENGTH);
        }
    }
}

static void test_hello_with_wrong_network_ids_is_refused(void)
{
    static const struct { uint8_t at, byte; } wrong[] = {
        { 112, 1 }, { 113, VNET_NETS_MAX }, { 114, 1 }, { 115, 1 }, { 116, 1 },
        { 236, 1 },
    };
    const VnetMsg m = hello_with_nets(VNET_NETS_MAX - 1);

    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        uint8_t a[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(a, &m);

        a[wrong[i].at] = wrong[i].byte;
        g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
    }
}

/* Without the feature what follows is not looked at. */
static void test_hello_without_the_feature_has_one_network_id(void)
{
    VnetMsg m = hello_with_nets(3), out;
    uint8_t a[VNET_MSG_MAX];
    size_t len = vnet_wire_put_msg(a, &m), used;

    a[23] &= ~VNET_HELLO_F_NETS;
    memset(a + 112, 0xff, len - 112);
    g_assert_cmpint(vnet_wire_get_msg(a, len, &out, &used), ==, VNET_WIRE_OK);
    g_assert_cmpuint(out.u.hello.nnets, ==, 0);
    m = hello_with_nets(0);
    m.u.hello.nnets = UINT16_MAX;       /* no such end; nothing is overrun */
    g_assert_cmpuint(vnet_wire_put_msg(a, &m), ==, 240);
}

static void test_unknown_types_are_refused(void)
{
    for (unsigned t = 0; t < 256; t++) {
        const uint8_t a[8] = { t, 0, 0, 8 };

        if (t < VNET_MSG_HELLO || t > VNET_MSG_LAST) {
            g_assert_cmpint(decode(a, 1), ==, VNET_WIRE_BAD_KIND);
            g_assert_cmpint(decode(a, 8), ==, VNET_WIRE_BAD_KIND);
        }
    }
}

static void test_unknown_flags_and_wrong_ids_are_refused(void)
{
    for (int t = VNET_MSG_HELLO; t <= VNET_MSG_LAST; t++) {
        const VnetMsg m = sample(t);
        uint8_t a[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(a, &m);
        bool resume = t == VNET_MSG_RESUME || t == VNET_MSG_RESUMED;
        uint8_t known = t == VNET_MSG_ACK || t == VNET_MSG_NET ? 1 :
                        t == VNET_MSG_MAC || resume ? 3 : 0;

        for (unsigned f = 0; f < 256; f++) {
            a[1] = f;
            g_assert_cmpint(decode(a, len), ==,
                            (f & ~known) || (t == VNET_MSG_MAC && f == 3) ||
                            (resume && f == VNET_RESUME_F_DONE)
                            ? VNET_WIRE_BAD_VALUE : VNET_WIRE_OK);
        }
        a[1] = m.flags;
        a[4] = m.id ? 0 : 1;    /* streams need an id, others must not */
        a[7] = 0;
        g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
        a[4] = m.id ? 0x80 : 0;
        a[7] = m.id ? 0 : 1;
        g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
    }
}

typedef struct Poke {
    uint8_t type;
    uint8_t at;                 /* offset in the message */
    uint8_t byte;
} Poke;

/* One byte that makes the message wrong, each. */
static const Poke pokes[] = {
    { VNET_MSG_HELLO, 9, 0 },           /* version_min 0 */
    { VNET_MSG_HELLO, 9, 4 },           /* above version_max */
    { VNET_MSG_HELLO, 12, 1 },          /* heartbeat of 4 hours */
    { VNET_MSG_HELLO, 40, 1 },          /* VNI of 25 bits */
    { VNET_MSG_HELLO, 111, 'x' },       /* name without an end */
    { VNET_MSG_HELLO, 50, 0x1f },       /* name with a control character */
    { VNET_MSG_HELLO, 50, 0x7f },
    { VNET_MSG_HELLO, 50, 0x80 },
    { VNET_MSG_HELLO, 100, 'x' },       /* something behind its end */
    { VNET_MSG_BYE, 9, VTOE_REASON_MAX + 1 },
    { VNET_MSG_BYE, 10, 1 },
    { VNET_MSG_BYE, 11, 1 },
    { VNET_MSG_BYE, 13, '\n' },
    { VNET_MSG_BYE, 139, 'x' },
    { VNET_MSG_NET, 8, 1 },             /* VNI */
    { VNET_MSG_MAC, 8, 1 },             /* VNI */
    { VNET_MSG_MAC, 12, 0x53 },         /* a group address */
    { VNET_MSG_MAC, 18, 1 },
    { VNET_MSG_MAC, 19, 1 },
    { VNET_MSG_OPEN, 8, 1 },            /* VNI */
    { VNET_MSG_OPEN, 12, 5 },           /* family */
    { VNET_MSG_OPEN, 12, 0 },
    { VNET_MSG_OPEN, 12, 4 },           /* IPv4 with 16 bytes of address */
    { VNET_MSG_OPEN, 13, 1 },
    { VNET_MSG_OPEN, 18, 1 },
    { VNET_MSG_OPEN, 19, 1 },
    { VNET_MSG_OPEN, 20, 1 },           /* group address of the opener */
    { VNET_MSG_OPEN, 26, 1 },           /* ... of the other */
    { VNET_MSG_REJECT, 9, 0 },
    { VNET_MSG_REJECT, 9, VTOE_REASON_MAX + 1 },
    { VNET_MSG_REJECT, 8, 1 },
    { VNET_MSG_REJECT, 10, 1 },
    { VNET_MSG_REJECT, 11, 1 },
    { VNET_MSG_ABORT, 9, 0 },
    { VNET_MSG_ABORT, 9, 255 },
    { VNET_MSG_ABORT, 11, 1 },
    { VNET_MSG_ACK, 8, 0x80 },          /* offsets that overflow */
    { VNET_MSG_CREDIT, 8, 1 },          /* count of 16 million */
    { VNET_MSG_CREDIT, 11, 1 },         /* ... of 1025 */
    { VNET_MSG_CREDIT, 10, 0 },         /* ... of none */
    { VNET_MSG_CREDIT, 12, 1 },         /* receives of 16 MiB and more */
    { VNET_MSG_CREDIT, 15, 1 },         /* ... of a byte too much */
    { VNET_MSG_CREDIT, 13, 0 },         /* ... of no byte */
    { VNET_MSG_WANT, 8, 0x80 },
    { VNET_MSG_END, 8, 0x80 },
    { VNET_MSG_RESUME, 16, 0x80 },      /* received */
    { VNET_MSG_RESUME, 28, 1 },
    { VNET_MSG_RESUME, 31, 1 },
    { VNET_MSG_RESUMED, 16, 0x80 },
    { VNET_MSG_RESUMED, 31, 1 },
};

static void test_every_bad_field_is_refused(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pokes); i++) {
        const VnetMsg m = sample(pokes[i].type);
        uint8_t a[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(a, &m);

        g_test_message("type %u byte %u = %#x", pokes[i].type, pokes[i].at,
                       pokes[i].byte);
        a[pokes[i].at] = pokes[i].byte;
        g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
    }
}

static void test_zero_where_none_may_be_is_refused(void)
{
    uint8_t a[VNET_MSG_MAX];
    VnetMsg m = sample(VNET_MSG_MAC);
    size_t len;

    memset(m.u.mac.mac, 0, 6);
    len = vnet_wire_put_msg(a, &m);
    g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
    m = sample(VNET_MSG_HELLO);
    m.u.hello.epoch = 0;
    len = vnet_wire_put_msg(a, &m);
    g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
    m = sample(VNET_MSG_HELLO);
    m.u.hello.heartbeat_ms = VNET_HEARTBEAT_MIN_MS - 1;
    len = vnet_wire_put_msg(a, &m);
    g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
    m = sample(VNET_MSG_WANT);
    m.u.offset.offset = 0;      /* nothing to want a receive for */
    len = vnet_wire_put_msg(a, &m);
    g_assert_cmpint(decode(a, len), ==, VNET_WIRE_BAD_VALUE);
}

static void test_texts_are_made_printable(void)
{
    VnetMsg m = { .type = VNET_MSG_BYE }, out;
    uint8_t a[VNET_MSG_MAX];
    size_t used, len;

    memset(m.u.bye.text, 'y', sizeof(m.u.bye.text));    /* no NUL */
    m.u.bye.text[3] = '\n';
    m.u.bye.text[4] = (char)0xc3;
    len = vnet_wire_put_msg(a, &m);
    g_assert_cmpint(vnet_wire_get_msg(a, len, &out, &used), ==, VNET_WIRE_OK);
    g_assert_true(g_str_has_prefix(out.u.bye.text, "yyy??y"));
    g_assert_cmpuint(strlen(out.u.bye.text), ==, 127);
}

/* --- Preamble ------------------------------------------------------------ */

static const VnetPreamble data_preamble = {
    .version = 1, .kind = VNET_CONN_DATA, .epoch = 0x1234, .token = 0x5678,
    .stream_id = 0x80000001u,
};

static VnetWireError get_preamble(const uint8_t *b, size_t len)
{
    g_autofree uint8_t *copy = g_memdup2(b, len);
    VnetPreamble p;

    return vnet_wire_get_preamble(copy, len, &p);
}

static void test_preambles_round_trip(void)
{
    static const VnetPreamble all[] = {
        { 1, VNET_CONN_CONTROL, 0xffffffffffffffffull, 0, 0 },
        { 1, VNET_CONN_FRAME, 1, 2, 0 },
        { 1, VNET_CONN_DATA, 1, 2, 0x7fffffff },
        { 1, VNET_CONN_DATA, 1, 2, 0x80000001 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) {
        uint8_t a[VNET_PREAMBLE_SIZE];
        VnetPreamble out;

        vnet_wire_put_preamble(a, &all[i]);
        g_assert_cmpint(vnet_wire_get_preamble(a, sizeof(a), &out), ==,
                        VNET_WIRE_OK);
        g_assert_cmpuint(out.version, ==, all[i].version);
        g_assert_cmpuint(out.kind, ==, all[i].kind);
        g_assert_cmpuint(out.epoch, ==, all[i].epoch);
        g_assert_cmpuint(out.token, ==, all[i].token);
        g_assert_cmpuint(out.stream_id, ==, all[i].stream_id);
    }
}

static void test_preamble_malformed(void)
{
    static const struct {
        uint8_t at, byte;
        VnetWireError e;
    } bad[] = {
        { 0, 'G', VNET_WIRE_BAD_MAGIC }, { 3, 0, VNET_WIRE_BAD_MAGIC },
        { 5, 0, VNET_WIRE_BAD_VERSION }, { 5, 2, VNET_WIRE_BAD_VERSION },
        { 4, 1, VNET_WIRE_BAD_VERSION },
        { 6, 0, VNET_WIRE_BAD_KIND }, { 6, 4, VNET_WIRE_BAD_KIND },
        { 6, 255, VNET_WIRE_BAD_KIND },
        { 6, VNET_CONN_CONTROL, VNET_WIRE_BAD_VALUE },  /* with a token */
        { 6, VNET_CONN_FRAME, VNET_WIRE_BAD_VALUE },    /* with a stream */
        { 7, 1, VNET_WIRE_BAD_VALUE }, { 28, 1, VNET_WIRE_BAD_VALUE },
        { 29, 1, VNET_WIRE_BAD_VALUE }, { 30, 1, VNET_WIRE_BAD_VALUE },
        { 31, 1, VNET_WIRE_BAD_VALUE },
        { 27, 0, VNET_WIRE_BAD_VALUE },                 /* stream id 0 */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint8_t a[VNET_PREAMBLE_SIZE];

        vnet_wire_put_preamble(a, &data_preamble);
        for (size_t n = 0; n < sizeof(a); n++) {
            g_assert_cmpint(get_preamble(a, n), ==, VNET_WIRE_SHORT);
        }
        a[bad[i].at] = bad[i].byte;
        g_assert_cmpint(get_preamble(a, sizeof(a)), ==, bad[i].e);
    }
}

static void test_preamble_needs_epoch_and_token(void)
{
    VnetPreamble p = data_preamble;
    uint8_t a[VNET_PREAMBLE_SIZE];

    p.epoch = 0;
    vnet_wire_put_preamble(a, &p);
    g_assert_cmpint(get_preamble(a, sizeof(a)), ==, VNET_WIRE_BAD_VALUE);
    p = data_preamble;
    p.token = 0;
    vnet_wire_put_preamble(a, &p);
    g_assert_cmpint(get_preamble(a, sizeof(a)), ==, VNET_WIRE_BAD_VALUE);
}

/* --- Frames -------------------------------------------------------------- */

static const VnetWireFrame tso_frame = {
    .len = 65550, .vni = 7,
    .hdr = { .flags = VTOE_NET_HDR_F_NEEDS_CSUM,
             .gso_type = VTOE_NET_HDR_GSO_TCPV4 | VTOE_NET_HDR_GSO_ECN,
             .hdr_len = 54, .gso_size = 1448, .csum_start = 34,
             .csum_offset = 16 },
    .hops = 3,
};

static void test_frame_header_round_trips(void)
{
    uint8_t a[VNET_FRAME_HDR_SIZE], b[VNET_FRAME_HDR_SIZE];
    VnetWireFrame out;

    vnet_wire_put_frame(a, &tso_frame);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_OK);
    vnet_wire_put_frame(b, &out);
    g_assert_cmpmem(a, sizeof(a), b, sizeof(b));
    g_assert_cmpuint(out.len, ==, 65550);
    g_assert_cmpuint(out.hdr.gso_size, ==, 1448);
    g_assert_cmpuint(out.hops, ==, 3);
}

static void test_frame_lengths(void)
{
    static const struct {
        uint32_t len;
        VnetWireError e;
    } lens[] = {
        { 0, VNET_WIRE_BAD_LENGTH }, { 13, VNET_WIRE_BAD_LENGTH },
        { 14, VNET_WIRE_OK }, { 65550, VNET_WIRE_OK },
        { 65551, VNET_WIRE_BAD_LENGTH }, { UINT32_MAX, VNET_WIRE_BAD_LENGTH },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(lens); i++) {
        const VnetWireFrame f = { .len = lens[i].len, .vni = 0xffffff };
        uint8_t a[VNET_FRAME_HDR_SIZE];
        VnetWireFrame out;

        vnet_wire_put_frame(a, &f);
        g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, lens[i].e);
    }
}

static void test_frame_header_malformed(void)
{
    static const struct {
        uint8_t at, byte;
    } bad[] = {
        { 4, 1 },                               /* VNI */
        { 8, 4 }, { 8, 0x81 },                  /* flags */
        { 9, 2 }, { 9, 3 }, { 9, 5 }, { 9, 0x80 }, { 9, 0xff },
        { 8, 0 },                               /* GSO without checksum */
        { 19, 1 }, { 20, 1 }, { 21, 1 }, { 22, 1 }, { 23, 1 },
    };
    uint8_t a[VNET_FRAME_HDR_SIZE];
    VnetWireFrame f, out;

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        vnet_wire_put_frame(a, &tso_frame);
        a[bad[i].at] = bad[i].byte;
        g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_BAD_VALUE);
    }
    f = tso_frame;
    f.hdr.gso_size = 31;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_BAD_VALUE);
    f.hdr.gso_size = 32;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_OK);
    f.hdr.csum_start = 13;      /* in the Ethernet header */
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_BAD_VALUE);
    f.hdr.csum_start = 14;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_OK);
    f = tso_frame;
    f.len = 51;                 /* checksum at 50..51: one byte short */
    f.hdr.hdr_len = 51;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_BAD_VALUE);
    f.len = 52;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_OK);
    f.hdr.hdr_len = 53;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_BAD_VALUE);
    f = tso_frame;
    f.hdr.csum_start = 65535;   /* no wrap-around in the sum */
    f.hdr.csum_offset = 65535;
    vnet_wire_put_frame(a, &f);
    g_assert_cmpint(vnet_wire_get_frame(a, &out), ==, VNET_WIRE_BAD_VALUE);
}

/* What decodes is encoded to the same bytes: nothing is ignored in silence. */
static void test_random_bytes_decode_to_themselves(void)
{
    g_autoptr(GRand) r = g_rand_new_with_seed(42);
    unsigned ok = 0;

    for (int i = 0; i < 200000; i++) {
        const VnetMsg m = sample(g_rand_int_range(r, 1, VNET_MSG_LAST + 1));
        uint8_t a[VNET_MSG_MAX], b[VNET_MSG_MAX];
        size_t len = vnet_wire_put_msg(a, &m), used;
        VnetMsg out;

        for (int k = g_rand_int_range(r, 0, 4); k; k--) {
            a[g_rand_int_range(r, 0, len)] = g_rand_int(r);
        }
        if (vnet_wire_get_msg(a, len, &out, &used) == VNET_WIRE_OK) {
            ok++;
            g_assert_cmpuint(used, ==, len);
            g_assert_cmpuint(vnet_wire_put_msg(b, &out), ==, len);
            g_assert_cmpmem(a, len, b, len);
        }
    }
    g_assert_cmpuint(ok, >, 20000);
}

static void test_every_error_has_a_name(void)
{
    for (int e = VNET_WIRE_OK; e <= VNET_WIRE_BAD_VALUE; e++) {
        g_assert_cmpstr(vnet_wire_error_str(e), !=, "unknown error");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/wire/" #name, test_##name)
    T(every_message_round_trips);
    T(every_reason_round_trips);
    T(every_reason_has_a_name);
    T(lengths_are_those_of_the_spec);
    T(bytes_are_those_of_the_spec);
    T(every_truncation_waits_for_more);
    T(every_wrong_length_is_refused);
    T(hello_of_a_later_version_may_be_longer);
    T(hello_lists_network_ids);
    T(hello_with_wrong_network_ids_is_refused);
    T(hello_without_the_feature_has_one_network_id);
    T(unknown_types_are_refused);
    T(unknown_flags_and_wrong_ids_are_refused);
    T(every_bad_field_is_refused);
    T(zero_where_none_may_be_is_refused);
    T(texts_are_made_printable);
    T(preambles_round_trip);
    T(preamble_malformed);
    T(preamble_needs_epoch_and_token);
    T(frame_header_round_trips);
    T(frame_lengths);
    T(frame_header_malformed);
    T(random_bytes_decode_to_themselves);
    T(every_error_has_a_name);
    return g_test_run();
}
