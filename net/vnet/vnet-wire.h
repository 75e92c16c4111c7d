/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What crosses a link: constants, layouts and the codec of the VNET wire
 * protocol, version 1 (docs/specs/vnet-wire.rst).  All integers are big-endian
 * on the wire and host order in the structs.  Pure functions, no I/O.
 *
 * A link between two QEMUs has one control connection, one frame connection
 * and one data connection per stream.  The link's client end (the one that
 * connects) opens all of them, whichever guest asked for a stream; each begins
 * with a preamble that says what it is.  Then
 *   control:  messages, each with an 8-byte header
 *   frame:    frames, each with a 24-byte header
 *   data:     the bytes of the stream, nothing else
 * On message transports (vnet-link.h) the preamble is part of making the
 * connection, and the data are messages without a header.
 */
#ifndef VNET_WIRE_H
#define VNET_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "vtoe/vnet-port.h"

#define VNET_WIRE_VERSION_MIN   1
#define VNET_WIRE_VERSION_MAX   1
#define VNET_VNI_MAX            0xffffffu
#define VNET_NETS_MAX           32      /* network ids of an end */
#define VNET_OFFSET_MAX         INT64_MAX       /* of stream offsets */
#define VNET_HEARTBEAT_MIN_MS   10
#define VNET_HEARTBEAT_MAX_MS   60000

/* --- Preamble: 32 bytes, first on every connection, client to server ----- */
#define VNET_PREAMBLE_MAGIC     0x564e4554u     /* "VNET" */
#define VNET_PREAMBLE_SIZE      32
typedef enum VnetConnKind {
    VNET_CONN_CONTROL = 1,
    VNET_CONN_FRAME = 2,
    VNET_CONN_DATA = 3,
} VnetConnKind;
/*  0 magic u32 | 4 version u16 | 6 kind u8 | 7 zero | 8 epoch u64
 * 16 token u64 | 24 stream id u32 | 28 zero u32 */
typedef struct VnetPreamble {
    uint16_t version;
    uint8_t kind;
    uint64_t epoch;         /* the client's */
    uint64_t token;         /* from the server's HELLO; 0 for control */
    uint32_t stream_id;     /* data only, else 0 */
} VnetPreamble;

/* --- Control messages ---------------------------------------------------- */
/* Header: 0 type u8 | 1 flags u8 | 2 length u16 (header included) | 4 id u32
 * (stream id, 0 for messages about the link) */
#define VNET_MSG_HDR_SIZE       8
#define VNET_MSG_MAX            256     /* longest message of version 1 */
#define VNET_STREAM_ID_SERVER   0x80000000u /* ids the server end allocates */

typedef enum VnetMsgType {
    VNET_MSG_HELLO = 1,     /* both ends, first */
    VNET_MSG_BYE = 2,       /* the link closes, with a reason */
    VNET_MSG_PING = 3,
    VNET_MSG_PONG = 4,
    VNET_MSG_MAC = 5,       /* a MAC behind this end, and what it can do */
    VNET_MSG_OPEN = 6,
    VNET_MSG_ACCEPT = 7,
    VNET_MSG_REJECT = 8,
    VNET_MSG_ACK = 9,       /* bytes below offset are in guest memory */
    VNET_MSG_CREDIT = 10,   /* receives were posted; message transports */
    VNET_MSG_END = 11,      /* stream ends at offset */
    VNET_MSG_ABORT = 12,
    VNET_MSG_WANT = 13,     /* bytes below offset wait for receives; message
                             * transports */
    VNET_MSG_RESUME = 14,   /* active end: a stream that was parked goes on */
    VNET_MSG_RESUMED = 15,  /* passive end: so it does */
    VNET_MSG_FORGET = 16,   /* what was not named does not go on */
    VNET_MSG_NET = 17,      /* this end has a further network id */
    VNET_MSG_REDIAL = 18,   /* passive end: the data connection alone is lost */
} VnetMsgType;
#define VNET_MSG_LAST       VNET_MSG_REDIAL

#define VNET_ACK_F_END      1       /* the end of stream was delivered, too */
#define VNET_RESUME_F_END   1       /* received: the END, too */
#define VNET_RESUME_F_DONE  2       /* this end is through with the stream */
#define VNET_MAC_F_STREAMS  1
#define VNET_MAC_F_GONE     2
#define VNET_NET_F_GONE     1       /* ... or has it no more */

#define VNET_CREDIT_MAX         1024    /* receives told and not used yet, of a
                                         * stream */
#define VNET_CREDIT_LENGTH_MAX  (1u << 20)  /* bytes of one receive */

#define VNET_HELLO_F_FRAMES     (1ull << 0)     /* frame connection follows */
#define VNET_HELLO_F_STREAMS    (1ull << 1)
#define VNET_HELLO_F_GSO        (1ull << 2)     /* takes frames up to 64 KiB
                                                 * and partial checksums */
#define VNET_HELLO_F_RESUME     (1ull << 3)     /* parks streams */
#define VNET_HELLO_F_NETS       (1ull << 4)     /* may have several network ids */
#define VNET_HELLO_F_REDIAL     (1ull << 5)     /* ... also when a data connection
                                                 * alone is lost */
#define VNET_HELLO_F_HOPS       (1ull << 6)     /* frames count the links */

typedef struct VnetMsg {
    uint8_t type;
    uint8_t flags;
    uint32_t id;
    union {
        struct {
            uint16_t version_min, version_max;
            uint32_t heartbeat_ms;
            uint64_t features;
            uint64_t epoch;         /* random per start of this end */
            uint64_t token;         /* server's: for frame and data */
            uint32_t vni;
            uint32_t max_streams;
            char name[64];          /* printable ASCII, NUL-terminated here */
            uint16_t nnets;         /* with F_NETS, else 0: further ids ... */
            uint32_t nets[VNET_NETS_MAX - 1];   /* ... beside vni */
        } hello;
        struct { uint16_t reason; char text[128]; } bye;
        struct { uint64_t cookie; } ping;       /* and pong */
        struct { uint32_t vni; uint8_t mac[6]; } mac;
        struct { uint32_t vni; } net;
        struct { uint32_t vni; VnetFlow flow; } open;   /* l* is the opener */
        struct { uint16_t reason; } reject;     /* and abort */
        struct { uint64_t offset; } offset;     /* ack, end, want */
        struct {                    /* and resumed */
            uint64_t token;         /* of the link on which it was opened ... */
            uint32_t id;            /* ... and its id there */
            uint64_t received;      /* offset */
        } resume;
        struct { uint32_t count, length; } credit;  /* count receives of length
                                                     * bytes each */
    } u;
} VnetMsg;

/* --- Frame header: 24 bytes before every frame --------------------------- */
/*  0 length u32 (frame only) | 4 vni u32 | 8 flags u8 | 9 gso_type u8
 * 10 hdr_len u16 | 12 gso_size u16 | 14 csum_start u16 | 16 csum_offset u16
 * 18 zero u16 | 20 zero u32 */
#define VNET_FRAME_HDR_SIZE     24
#define VNET_FRAME_MIN          14
#define VNET_FRAME_MAX          VTOE_FRAME_MAX_LEN
#define VNET_HOPS_MAX           16      /* links that a frame may cross */
typedef struct VnetWireFrame {
    uint32_t len;
    uint32_t vni;
    VnetFrameHdr hdr;
    uint8_t hops;               /* links, with this one; 0: not counted */
} VnetWireFrame;

/* --- Codec --------------------------------------------------------------- */
/* Why something did not decode; each has a counter of this name. */
typedef enum VnetWireError {
    VNET_WIRE_OK = 0,
    VNET_WIRE_SHORT,        /* not an error: more bytes are needed */
    VNET_WIRE_BAD_MAGIC,
    VNET_WIRE_BAD_VERSION,
    VNET_WIRE_BAD_KIND,     /* unknown connection kind or message type */
    VNET_WIRE_BAD_LENGTH,   /* length does not fit the type, or the limits */
    VNET_WIRE_BAD_VALUE,    /* a field is out of range, or not zero */
} VnetWireError;
const char *vnet_wire_error_str(VnetWireError e);
/* The name of a VTOE_REASON_*, as in QMP (VnetReason); "unknown" of others. */
const char *vnet_reason_str(unsigned reason);
/* Whether messages of this type, which may be none, are about a stream: their id
 * is not 0. */
bool vnet_wire_has_id(unsigned type);

void vnet_wire_put_preamble(uint8_t out[VNET_PREAMBLE_SIZE],
                            const VnetPreamble *p);
VnetWireError vnet_wire_get_preamble(const uint8_t *in, size_t len,
                                     VnetPreamble *p);
/* m->type is a VnetMsgType. Returns the encoded length, at most VNET_MSG_MAX;
 * characters of texts that are not printable ASCII become '?'. */
size_t vnet_wire_put_msg(uint8_t out[VNET_MSG_MAX], const VnetMsg *m);
/* Decodes one message; *used is its length on VNET_WIRE_OK. */
VnetWireError vnet_wire_get_msg(const uint8_t *in, size_t len, VnetMsg *m,
                                size_t *used);
/* Whether a frame may cross a link: lengths, flags, and offloads that lie
 * within the frame.  Decoding checks it; so does the switch, for what NICs
 * send, as a guest must not be able to break its host's link. */
VnetWireError vnet_wire_check_frame(const VnetWireFrame *f);
void vnet_wire_put_frame(uint8_t out[VNET_FRAME_HDR_SIZE],
                         const VnetWireFrame *f);
VnetWireError vnet_wire_get_frame(const uint8_t in[VNET_FRAME_HDR_SIZE],
                                  VnetWireFrame *f);

#endif /* VNET_WIRE_H */
