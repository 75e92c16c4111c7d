/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The codec of the VNET wire protocol (docs/specs/vnet-wire.rst, "Encoding").
 *
 * Each message type has a row in msg_rules: its length on the wire, the flags
 * it may carry and whether it names a stream.  A decoder first applies the row,
 * then reads the fields; it accepts exactly what the encoder of some conforming
 * peer can produce, so that reserved bits stay usable by later versions.
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-wire.h"

#define HELLO_LEN   (VNET_MSG_HDR_SIZE + 104)
/* With F_NETS, and n further ids. */
#define HELLO_NETS_LEN(n)   (HELLO_LEN + 4 + 4 * (n))
#define BYE_LEN     (VNET_MSG_HDR_SIZE + 132)
#define NAME_LEN    64
#define TEXT_LEN    128

_Static_assert(HELLO_NETS_LEN(VNET_NETS_MAX - 1) <= VNET_MSG_MAX &&
               BYE_LEN <= VNET_MSG_MAX, "messages fit VNET_MSG_MAX");
_Static_assert(sizeof(((VnetMsg *)0)->u.hello.name) == NAME_LEN, "name");
_Static_assert(sizeof(((VnetMsg *)0)->u.bye.text) == TEXT_LEN, "text");

typedef struct MsgRule {
    uint16_t len;       /* whole message; HELLO: at least */
    uint8_t flags;      /* flags that may be set */
    bool stream;        /* id names a stream, else is 0 */
} MsgRule;

static const MsgRule msg_rules[] = {
    [VNET_MSG_HELLO]  = { HELLO_LEN, 0, false },
    [VNET_MSG_BYE]    = { BYE_LEN, 0, false },
    [VNET_MSG_PING]   = { 16, 0, false },
    [VNET_MSG_PONG]   = { 16, 0, false },
    [VNET_MSG_MAC]    = { 20, VNET_MAC_F_STREAMS | VNET_MAC_F_GONE, false },
    [VNET_MSG_OPEN]   = { 64, 0, true },
    [VNET_MSG_ACCEPT] = { 8, 0, true },
    [VNET_MSG_REJECT] = { 12, 0, true },
    [VNET_MSG_ACK]    = { 16, VNET_ACK_F_END, true },
    [VNET_MSG_CREDIT] = { 16, 0, true },
    [VNET_MSG_END]    = { 16, 0, true },
    [VNET_MSG_ABORT]  = { 12, 0, true },
    [VNET_MSG_WANT]   = { 16, 0, true },
    [VNET_MSG_RESUME] = { 32, VNET_RESUME_F_END | VNET_RESUME_F_DONE, true },
    [VNET_MSG_RESUMED] = { 32, VNET_RESUME_F_END | VNET_RESUME_F_DONE, true },
    [VNET_MSG_FORGET] = { 8, 0, false },
    [VNET_MSG_NET]    = { 12, VNET_NET_F_GONE, false },
    [VNET_MSG_REDIAL] = { 8, 0, true },
};
#define MSG_TYPES (sizeof(msg_rules) / sizeof(msg_rules[0]))

bool vnet_wire_has_id(unsigned type)
{
    return type < MSG_TYPES && msg_rules[type].stream;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i]) {
            return false;
        }
    }
    return true;
}

/* A text field: printable ASCII, then at least one zero, then zeros only. */
static bool text_is_valid(const uint8_t *p, size_t size)
{
    size_t n = 0;

    while (n < size && p[n] >= 0x20 && p[n] < 0x7f) {
        n++;
    }
    return n < size && all_zero(p + n, size - n);
}

/* Copies a C string into a zeroed text field; what cannot be carried becomes
 * '?', what is too long is cut: names and texts are for people. */
static void put_text(uint8_t *p, const char *s, size_t size)
{
    for (size_t i = 0; i < size - 1 && s[i]; i++) {
        p[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
    }
}

static bool mac_is_unicast(const uint8_t mac[6])
{
    return !(mac[0] & 1) && !all_zero(mac, 6);
}

const char *vnet_wire_error_str(VnetWireError e)
{
    switch (e) {
    case VNET_WIRE_OK:          return "ok";
    case VNET_WIRE_SHORT:       return "incomplete";
    case VNET_WIRE_BAD_MAGIC:   return "bad magic";
    case VNET_WIRE_BAD_VERSION: return "bad version";
    case VNET_WIRE_BAD_KIND:    return "unknown kind or type";
    case VNET_WIRE_BAD_LENGTH:  return "bad length";
    case VNET_WIRE_BAD_VALUE:   return "bad value";
    }
    return "unknown error";
}

const char *vnet_reason_str(unsigned reason)
{
    static const char *const names[] = {
        [VTOE_REASON_NONE] = "none",
        [VTOE_REASON_NO_PEER] = "no-peer",
        [VTOE_REASON_NO_STREAMS] = "no-streams",
        [VTOE_REASON_LINK_DOWN] = "link-down",
        [VTOE_REASON_LINK_LOST] = "link-lost",
        [VTOE_REASON_NO_LISTENER] = "no-listener",
        [VTOE_REASON_BACKLOG] = "backlog",
        [VTOE_REASON_LIMIT] = "limit",
        [VTOE_REASON_TIMEOUT] = "timeout",
        [VTOE_REASON_RESET] = "reset",
        [VTOE_REASON_UNREAD] = "unread",
        [VTOE_REASON_DEVICE_RESET] = "device-reset",
        [VTOE_REASON_PROTOCOL] = "protocol",
        [VTOE_REASON_POLICY] = "policy",
        [VTOE_REASON_CANCELLED] = "cancelled",
        [VTOE_REASON_HOST] = "host",
    };

    return reason <= VTOE_REASON_MAX ? names[reason] : "unknown";
}

/* --- Preamble ------------------------------------------------------------ */

void vnet_wire_put_preamble(uint8_t out[VNET_PREAMBLE_SIZE],
                            const VnetPreamble *p)
{
    memset(out, 0, VNET_PREAMBLE_SIZE);
    put32(out, VNET_PREAMBLE_MAGIC);
    put16(out + 4, p->version);
    out[6] = p->kind;
    put64(out + 8, p->epoch);
    put64(out + 16, p->token);
    put32(out + 24, p->stream_id);
}

VnetWireError vnet_wire_get_preamble(const uint8_t *in, size_t len,
                                     VnetPreamble *p)
{
    uint8_t magic[4];

    /* What is no VNET peer at all is told apart by its first bytes. */
    put32(magic, VNET_PREAMBLE_MAGIC);
    if (!len) {
        return VNET_WIRE_SHORT;
    }
    if (memcmp(in, magic, len < 4 ? len : 4)) {
        return VNET_WIRE_BAD_MAGIC;
    }
    if (len < VNET_PREAMBLE_SIZE) {
        return VNET_WIRE_SHORT;
    }
    p->version = get16(in + 4);
    p->kind = in[6];
    p->epoch = get64(in + 8);
    p->token = get64(in + 16);
    p->stream_id = get32(in + 24);
    if (p->version < VNET_WIRE_VERSION_MIN ||
        p->version > VNET_WIRE_VERSION_MAX) {
        return VNET_WIRE_BAD_VERSION;
    }
    if (p->kind < VNET_CONN_CONTROL || p->kind > VNET_CONN_DATA) {
        return VNET_WIRE_BAD_KIND;
    }
    if (in[7] || !all_zero(in + 28, 4) || !p->epoch ||
        (p->kind == VNET_CONN_CONTROL) != (p->token == 0) ||
        (p->kind == VNET_CONN_DATA) !=
        ((p->stream_id & ~VNET_STREAM_ID_SERVER) != 0) ||
        (p->kind != VNET_CONN_DATA && p->stream_id)) {
        return VNET_WIRE_BAD_VALUE;
    }
    return VNET_WIRE_OK;
}

/* --- Messages ------------------------------------------------------------ */

static bool has_nets(const VnetMsg *m)
{
    return m->type == VNET_MSG_HELLO &&
           (m->u.hello.features & VNET_HELLO_F_NETS);
}

size_t vnet_wire_put_msg(uint8_t out[VNET_MSG_MAX], const VnetMsg *m)
{
    unsigned nnets = has_nets(m) ? m->u.hello.nnets : 0;
    size_t len = msg_rules[m->type].len;
    uint8_t *b = out + VNET_MSG_HDR_SIZE;

    if (has_nets(m)) {
        nnets = nnets < VNET_NETS_MAX - 1 ? nnets : VNET_NETS_MAX - 1;
        len = HELLO_NETS_LEN(nnets);
    }
    memset(out, 0, len);
    out[0] = m->type;
    out[1] = m->flags;
    put16(out + 2, len);
    put32(out + 4, m->id);
    switch (m->type) {
    case VNET_MSG_HELLO:
        put16(b, m->u.hello.version_min);
        put16(b + 2, m->u.hello.version_max);
        put32(b + 4, m->u.hello.heartbeat_ms);
        put64(b + 8, m->u.hello.features);
        put64(b + 16, m->u.hello.epoch);
        put64(b + 24, m->u.hello.token);
        put32(b + 32, m->u.hello.vni);
        put32(b + 36, m->u.hello.max_streams);
        put_text(b + 40, m->u.hello.name, NAME_LEN);
        if (has_nets(m)) {
            put16(b + 104, nnets);
        }
        for (unsigned i = 0; i < nnets; i++) {
            put32(b + 108 + 4 * i, m->u.hello.nets[i]);
        }
        break;
    case VNET_MSG_BYE:
        put16(b, m->u.bye.reason);
        put_text(b + 4, m->u.bye.text, TEXT_LEN);
        break;
    case VNET_MSG_PING:
    case VNET_MSG_PONG:
        put64(b, m->u.ping.cookie);
        break;
    case VNET_MSG_MAC:
        put32(b, m->u.mac.vni);
        memcpy(b + 4, m->u.mac.mac, 6);
        break;
    case VNET_MSG_NET:
        put32(b, m->u.net.vni);
        break;
    case VNET_MSG_OPEN: {
        const VnetFlow *f = &m->u.open.flow;

        put32(b, m->u.open.vni);
        b[4] = f->family;
        put16(b + 6, f->lport);
        put16(b + 8, f->rport);
        memcpy(b + 12, f->lmac, 6);
        memcpy(b + 18, f->rmac, 6);
        memcpy(b + 24, f->laddr, 16);
        memcpy(b + 40, f->raddr, 16);
        break;
    }
    case VNET_MSG_REJECT:
    case VNET_MSG_ABORT:
        put16(b, m->u.reject.reason);
        break;
    case VNET_MSG_ACK:
    case VNET_MSG_END:
    case VNET_MSG_WANT:
        put64(b, m->u.offset.offset);
        break;
    case VNET_MSG_RESUME:
    case VNET_MSG_RESUMED:
        put64(b, m->u.resume.token);
        put64(b + 8, m->u.resume.received);
        put32(b + 16, m->u.resume.id);
        break;
    case VNET_MSG_CREDIT:
        put32(b, m->u.credit.count);
        put32(b + 4, m->u.credit.length);
        break;
    default:
        break;
    }
    return len;
}

/* The part of HELLO with further network ids; len: of the whole message. */
static VnetWireError get_hello_nets(const uint8_t *b, size_t len, VnetMsg *m)
{
    unsigned n;

    if (len < HELLO_NETS_LEN(0)) {
        return VNET_WIRE_BAD_LENGTH;
    }
    n = get16(b + 104);
    if (n > VNET_NETS_MAX - 1 || b[106] || b[107]) {
        return VNET_WIRE_BAD_VALUE;
    }
    if (len < HELLO_NETS_LEN(n)) {
        return VNET_WIRE_BAD_LENGTH;
    }
    m->u.hello.nnets = n;
    for (unsigned i = 0; i < n; i++) {
        m->u.hello.nets[i] = get32(b + 108 + 4 * i);
        if (m->u.hello.nets[i] > VNET_VNI_MAX) {
            return VNET_WIRE_BAD_VALUE;
        }
    }
    return VNET_WIRE_OK;
}

static VnetWireError get_hello(const uint8_t *b, size_t len, VnetMsg *m)
{
    m->u.hello.version_min = get16(b);
    m->u.hello.version_max = get16(b + 2);
    m->u.hello.heartbeat_ms = get32(b + 4);
    m->u.hello.features = get64(b + 8);
    m->u.hello.epoch = get64(b + 16);
    m->u.hello.token = get64(b + 24);
    m->u.hello.vni = get32(b + 32);
    m->u.hello.max_streams = get32(b + 36);
    memcpy(m->u.hello.name, b + 40, NAME_LEN);
    m->u.hello.nnets = 0;
    /* Unknown features are fine: what both ends have is used. */
    if (!m->u.hello.version_min ||
        m->u.hello.version_min > m->u.hello.version_max ||
        m->u.hello.heartbeat_ms < VNET_HEARTBEAT_MIN_MS ||
        m->u.hello.heartbeat_ms > VNET_HEARTBEAT_MAX_MS ||
        !m->u.hello.epoch || m->u.hello.vni > VNET_VNI_MAX ||
        !text_is_valid(b + 40, NAME_LEN)) {
        return VNET_WIRE_BAD_VALUE;
    }
    return has_nets(m) ? get_hello_nets(b, len, m) : VNET_WIRE_OK;
}

static VnetWireError get_open(const uint8_t *b, VnetMsg *m)
{
    VnetFlow *f = &m->u.open.flow;

    m->u.open.vni = get32(b);
    f->family = b[4];
    f->lport = get16(b + 6);
    f->rport = get16(b + 8);
    memcpy(f->lmac, b + 12, 6);
    memcpy(f->rmac, b + 18, 6);
    memcpy(f->laddr, b + 24, 16);
    memcpy(f->raddr, b + 40, 16);
    if (b[5] || b[10] || b[11] || m->u.open.vni > VNET_VNI_MAX ||
        (f->family != 4 && f->family != 6) ||
        (f->family == 4 && (!all_zero(f->laddr + 4, 12) ||
                            !all_zero(f->raddr + 4, 12))) ||
        !mac_is_unicast(f->lmac) || !mac_is_unicast(f->rmac)) {
        return VNET_WIRE_BAD_VALUE;
    }
    return VNET_WIRE_OK;
}

VnetWireError vnet_wire_get_msg(const uint8_t *in, size_t len, VnetMsg *m,
                                size_t *used)
{
    const uint8_t *b;
    const MsgRule *rule;
    size_t msg_len;
    uint16_t reason;

    /* The type is judged as soon as it is there, the length as well: a peer
     * cannot keep a connection waiting for a message that will never do. */
    if (len < 1) {
        return VNET_WIRE_SHORT;
    }
    if (in[0] == 0 || in[0] >= MSG_TYPES) {
        return VNET_WIRE_BAD_KIND;
    }
    rule = &msg_rules[in[0]];
    if (len < 4) {
        return VNET_WIRE_SHORT;
    }
    msg_len = get16(in + 2);
    if (in[0] == VNET_MSG_HELLO ? msg_len < rule->len || msg_len > VNET_MSG_MAX
                                : msg_len != rule->len) {
        return VNET_WIRE_BAD_LENGTH;
    }
    if (len < msg_len) {
        return VNET_WIRE_SHORT;
    }
    b = in + VNET_MSG_HDR_SIZE;
    m->type = in[0];
    m->flags = in[1];
    m->id = get32(in + 4);
    if ((m->flags & ~rule->flags) ||
        (rule->stream ? !(m->id & ~VNET_STREAM_ID_SERVER) : m->id != 0)) {
        return VNET_WIRE_BAD_VALUE;
    }
    *used = msg_len;
    switch (m->type) {
    case VNET_MSG_HELLO:
        return get_hello(b, msg_len, m);
    case VNET_MSG_BYE:
        m->u.bye.reason = get16(b);
        memcpy(m->u.bye.text, b + 4, TEXT_LEN);
        if (m->u.bye.reason > VTOE_REASON_MAX || b[2] || b[3] ||
            !text_is_valid(b + 4, TEXT_LEN)) {
            return VNET_WIRE_BAD_VALUE;
        }
        return VNET_WIRE_OK;
    case VNET_MSG_PING:
    case VNET_MSG_PONG:
        m->u.ping.cookie = get64(b);
        return VNET_WIRE_OK;
    case VNET_MSG_MAC:
        m->u.mac.vni = get32(b);
        memcpy(m->u.mac.mac, b + 4, 6);
        if (m->u.mac.vni > VNET_VNI_MAX || !mac_is_unicast(m->u.mac.mac) ||
            b[10] || b[11] ||
            m->flags == (VNET_MAC_F_GONE | VNET_MAC_F_STREAMS)) {
            return VNET_WIRE_BAD_VALUE;
        }
        return VNET_WIRE_OK;
    case VNET_MSG_NET:
        m->u.net.vni = get32(b);
        return m->u.net.vni > VNET_VNI_MAX ? VNET_WIRE_BAD_VALUE : VNET_WIRE_OK;
    case VNET_MSG_OPEN:
        return get_open(b, m);
    case VNET_MSG_REJECT:
    case VNET_MSG_ABORT:
        reason = get16(b);
        m->u.reject.reason = reason;
        if (reason == VTOE_REASON_NONE || reason > VTOE_REASON_MAX ||
            b[2] || b[3]) {
            return VNET_WIRE_BAD_VALUE;
        }
        return VNET_WIRE_OK;
    case VNET_MSG_ACK:
    case VNET_MSG_END:
    case VNET_MSG_WANT:
        m->u.offset.offset = get64(b);
        if (m->u.offset.offset > VNET_OFFSET_MAX ||
            (m->type == VNET_MSG_WANT && !m->u.offset.offset)) {
            return VNET_WIRE_BAD_VALUE;
        }
        return VNET_WIRE_OK;
    case VNET_MSG_RESUME:
    case VNET_MSG_RESUMED:
        m->u.resume.token = get64(b);
        m->u.resume.received = get64(b + 8);
        m->u.resume.id = get32(b + 16);
        /* Who is through with a stream has its end. */
        if (!m->u.resume.token || m->u.resume.received > VNET_OFFSET_MAX ||
            !(m->u.resume.id & ~VNET_STREAM_ID_SERVER) ||
            !all_zero(b + 20, 4) || m->flags == VNET_RESUME_F_DONE) {
            return VNET_WIRE_BAD_VALUE;
        }
        return VNET_WIRE_OK;
    case VNET_MSG_CREDIT:
        m->u.credit.count = get32(b);
        m->u.credit.length = get32(b + 4);
        if (m->u.credit.count < 1 || m->u.credit.count > VNET_CREDIT_MAX ||
            m->u.credit.length < 1 ||
            m->u.credit.length > VNET_CREDIT_LENGTH_MAX) {
            return VNET_WIRE_BAD_VALUE;
        }
        return VNET_WIRE_OK;
    default:                    /* ACCEPT, FORGET and REDIAL have no body */
        return VNET_WIRE_OK;
    }
}

/* --- Frames -------------------------------------------------------------- */

void vnet_wire_put_frame(uint8_t out[VNET_FRAME_HDR_SIZE],
                         const VnetWireFrame *f)
{
    memset(out, 0, VNET_FRAME_HDR_SIZE);
    put32(out, f->len);
    put32(out + 4, f->vni);
    out[8] = f->hdr.flags;
    out[9] = f->hdr.gso_type;
    put16(out + 10, f->hdr.hdr_len);
    put16(out + 12, f->hdr.gso_size);
    put16(out + 14, f->hdr.csum_start);
    put16(out + 16, f->hdr.csum_offset);
    out[18] = f->hops;
}

VnetWireError vnet_wire_check_frame(const VnetWireFrame *f)
{
    const uint8_t known = VTOE_NET_HDR_F_NEEDS_CSUM |
                          VTOE_NET_HDR_F_DATA_VALID;
    const VnetFrameHdr *h = &f->hdr;
    bool needs_csum = h->flags & VTOE_NET_HDR_F_NEEDS_CSUM;

    if (f->len < VNET_FRAME_MIN || f->len > VNET_FRAME_MAX) {
        return VNET_WIRE_BAD_LENGTH;
    }
    if (f->vni > VNET_VNI_MAX || (h->flags & ~known) || h->hdr_len > f->len) {
        return VNET_WIRE_BAD_VALUE;
    }
    if (needs_csum &&
        (h->csum_start < VTOE_NET_HDR_CSUM_START_MIN ||
         (uint32_t)h->csum_start + h->csum_offset + 2 > f->len)) {
        return VNET_WIRE_BAD_VALUE;
    }
    switch (h->gso_type) {
    case VTOE_NET_HDR_GSO_NONE:
        return VNET_WIRE_OK;
    case VTOE_NET_HDR_GSO_TCPV4:
    case VTOE_NET_HDR_GSO_TCPV6:
    case VTOE_NET_HDR_GSO_TCPV4 | VTOE_NET_HDR_GSO_ECN:
    case VTOE_NET_HDR_GSO_TCPV6 | VTOE_NET_HDR_GSO_ECN:
        return h->gso_size >= VTOE_NET_HDR_GSO_SIZE_MIN && needs_csum ?
               VNET_WIRE_OK : VNET_WIRE_BAD_VALUE;
    default:
        return VNET_WIRE_BAD_VALUE;
    }
}

VnetWireError vnet_wire_get_frame(const uint8_t in[VNET_FRAME_HDR_SIZE],
                                  VnetWireFrame *f)
{
    f->len = get32(in);
    f->vni = get32(in + 4);
    f->hdr.flags = in[8];
    f->hdr.gso_type = in[9];
    f->hdr.hdr_len = get16(in + 10);
    f->hdr.gso_size = get16(in + 12);
    f->hdr.csum_start = get16(in + 14);
    f->hdr.csum_offset = get16(in + 16);
    f->hops = in[18];
    if (!all_zero(in + 19, 5)) {
        return VNET_WIRE_BAD_VALUE;
    }
    return vnet_wire_check_frame(f);
}
