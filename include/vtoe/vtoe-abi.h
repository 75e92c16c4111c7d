/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VTOE: the interface between a guest and the vtoe-pci device.
 *
 * This header is the single place where the constants and layouts of the
 * device stand; QEMU, the guest modules and the tests all include it.  The
 * prose is docs/specs/vtoe.rst, whose section numbers the comments give.
 *
 * Everything in guest memory and in the registers is little-endian.  Reserved
 * fields are written as 0 and ignored when read.
 */
#ifndef VTOE_ABI_H
#define VTOE_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/stddef.h>
typedef __u8 vtoe_u8;
typedef __le16 vtoe_le16;
typedef __le32 vtoe_le32;
typedef __le64 vtoe_le64;
#else
#include <stddef.h>
#include <stdint.h>
typedef uint8_t vtoe_u8;
typedef uint16_t vtoe_le16;
typedef uint32_t vtoe_le32;
typedef uint64_t vtoe_le64;
#endif

/* --- 1. PCI identity ---------------------------------------------------- */

#define VTOE_PCI_VENDOR_ID      0x1af4
#define VTOE_PCI_DEVICE_ID      0x10f0
#define VTOE_PCI_REVISION       1

#define VTOE_BAR_IO             0       /* registers, I/O ports */
#define VTOE_BAR_MMIO           2       /* registers again, then doorbells */
#define VTOE_BAR_MSIX           4
#define VTOE_BAR_IO_SIZE        256

#define VTOE_DOORBELL_PAGE      4096u
/* Doorbell of queue pair p: 32-bit write of any value at this offset. */
#define VTOE_DOORBELL_OFFSET(p) (VTOE_DOORBELL_PAGE * (1u + (p)))

/* --- 2. Registers (offsets in BAR 0 and in the first page of BAR 2) ------ */
/* All are 32 bits wide; other widths read as 0 and writes are ignored. */

#define VTOE_REG_MAGIC          0x00    /* R   VTOE_MAGIC */
#define VTOE_REG_VERSION        0x04    /* R   VTOE_ABI_VERSION */
#define VTOE_REG_DEV_FEATURES   0x08    /* R   VTOE_F_*, low word */
#define VTOE_REG_DEV_FEATURES_HI 0x0c   /* R   high word */
#define VTOE_REG_DRV_FEATURES   0x10    /* RW  accepted by the driver */
#define VTOE_REG_DRV_FEATURES_HI 0x14   /* RW */
#define VTOE_REG_STATUS         0x18    /* RW  VTOE_STATUS_*; 0 resets */
#define VTOE_REG_GENERATION     0x1c    /* R   counts resets, never 0 */
#define VTOE_REG_MAX_PAIRS      0x20    /* R   queue pairs, pair 0 included */
#define VTOE_REG_MAX_RING       0x24    /* R   largest ring, in entries */
#define VTOE_REG_MAX_STREAMS    0x28    /* R   SIDs open at once */
#define VTOE_REG_MAX_LISTENS    0x2c    /* R   listeners at once */
#define VTOE_REG_MAX_SEGMENT    0x30    /* R   bytes in one descriptor */
#define VTOE_REG_MAX_INFLIGHT   0x34    /* R   send descriptors per SID that
                                         *     wait for acknowledgement */
#define VTOE_REG_MAC_LO         0x38    /* R   MAC bytes 0..3 */
#define VTOE_REG_MAC_HI         0x3c    /* R   MAC bytes 4..5 in bits 0..15,
                                         *     largest MTU in bits 16..31 */
#define VTOE_REG_QUEUE_SELECT   0x40    /* RW  a pair, or VTOE_QUEUE_CONTROL */
#define VTOE_REG_SEND_SIZE      0x44    /* RW  entries; command ring for the
                                         *     control queue */
#define VTOE_REG_RECV_SIZE      0x48    /* RW  entries; unused (0) there */
#define VTOE_REG_COMP_SIZE      0x4c    /* RW  entries; event ring there */
#define VTOE_REG_SEND_ADDR      0x50    /* RW  guest physical, low word */
#define VTOE_REG_SEND_ADDR_HI   0x54
#define VTOE_REG_RECV_ADDR      0x58
#define VTOE_REG_RECV_ADDR_HI   0x5c
#define VTOE_REG_COMP_ADDR      0x60
#define VTOE_REG_COMP_ADDR_HI   0x64
#define VTOE_REG_CTRL_ADDR      0x68    /* RW  struct vtoe_queue_ctrl */
#define VTOE_REG_CTRL_ADDR_HI   0x6c
#define VTOE_REG_QUEUE_VECTOR   0x70    /* RW  MSI-X vector, VTOE_NO_VECTOR */
#define VTOE_REG_QUEUE_ENABLE   0x74    /* RW  1 enables; only reset disables */
#define VTOE_REG_CTRL_DOORBELL  0x78    /* W   commands or event room posted */
#define VTOE_REG_VIOLATION      0x7c    /* R   VTOE_VIOLATION_*, first one */
#define VTOE_REG_LINK           0x80    /* R   bit 0: carrier */
#define VTOE_REG_RX_FILTER      0x84    /* RW  VTOE_RX_* bits */
#define VTOE_REG_CUR_MAC_LO     0x88    /* RW  MAC in use, bytes 0..3 */
#define VTOE_REG_CUR_MAC_HI     0x8c    /* RW  bytes 4..5; this write applies */
#define VTOE_REG_END            0x90

#define VTOE_MAGIC              0x454f5456u     /* "VTOE" */
#define VTOE_QUEUE_NONE         0xfffeu /* what QUEUE_SELECT reads after a
                                         * number that no queue has */
#define VTOE_ABI_VERSION        1
#define VTOE_QUEUE_CONTROL      0xffffu
#define VTOE_NO_VECTOR          0xffffu

#define VTOE_STATUS_DRIVER      (1u << 0)
#define VTOE_STATUS_FEATURES_OK (1u << 1)       /* device clears it when the
                                                 * features do not fit */
#define VTOE_STATUS_DRIVER_OK   (1u << 2)
#define VTOE_STATUS_NEEDS_RESET (1u << 6)       /* set by the device only */

/* Features.  The driver may accept any subset; RX_TSO needs RX_CSUM, TSO
 * needs CSUM. */
#define VTOE_F_CSUM             (1ull << 0)     /* device finishes checksums */
#define VTOE_F_TSO              (1ull << 1)     /* device takes TCP segments
                                                 * up to 64 KiB, v4 and v6 */
#define VTOE_F_RX_CSUM          (1ull << 2)     /* guest takes frames with a
                                                 * partial checksum */
#define VTOE_F_RX_TSO           (1ull << 3)     /* guest takes large frames */
#define VTOE_F_STREAM           (1ull << 16)    /* streams, pairs 1 and up */

#define VTOE_RX_PROMISC         (1u << 0)       /* every frame */
#define VTOE_RX_ALLMULTI        (1u << 1)       /* every multicast; the reset
                                                 * value is ALLMULTI */

/* Why NEEDS_RESET was set. */
enum vtoe_violation {
    VTOE_VIOLATION_NONE = 0,
    VTOE_VIOLATION_QUEUE = 1,       /* ring size, address or vector invalid */
    VTOE_VIOLATION_INDEX = 2,       /* producer or consumer out of range */
    VTOE_VIOLATION_RING_DMA = 3,    /* ring or control block is not RAM */
    VTOE_VIOLATION_BUFFER = 4,      /* buffer is not RAM, or length invalid */
    VTOE_VIOLATION_DESCRIPTOR = 5,  /* opcode, flags or chain invalid */
    VTOE_VIOLATION_COMMAND = 6,     /* not used for refused commands */
    VTOE_VIOLATION_STREAM = 7,      /* SID used on a foreign pair, or more
                                     * than MAX_INFLIGHT descriptors */
    VTOE_VIOLATION_INTERNAL = 8,    /* the host could not go on */
};

/* --- 3. Queues ----------------------------------------------------------- */
/*
 * A queue pair is three rings and a control block.  Indices run freely modulo
 * 2^32; the entry of index i is i & (size - 1).  Sizes are powers of two from
 * 2 to MAX_RING.  Rings are aligned to 64 bytes.
 *
 * Pair 0 carries frames (SID 0).  Pairs 1.. carry streams; a stream belongs
 * to the pair named in its CONNECT or ACCEPT.  The control queue's "send" ring
 * holds commands and its "completion" ring events.
 *
 * Kicks: after moving an index the driver rings the doorbell only if the new
 * value passes the matching *_event that the device wrote
 * (vtoe_need_kick(event, new, old)).  Interrupts: the device raises the vector
 * only if comp_prod passes comp_event that the driver wrote.
 */
#define VTOE_RING_MIN           2u      /* entries */
#define VTOE_RING_ALIGN         64u     /* bytes, control block included */

struct vtoe_queue_ctrl {
    /* written by the guest */
    vtoe_le32 send_prod;
    vtoe_le32 recv_prod;
    vtoe_le32 comp_cons;
    vtoe_le32 comp_event;
    vtoe_le32 reserved0[12];
    /* written by the device */
    vtoe_le32 send_cons;    /* descriptors copied in: the slot is free, the
                             * buffer is not before its completion */
    vtoe_le32 recv_cons;
    vtoe_le32 comp_prod;
    vtoe_le32 send_event;
    vtoe_le32 recv_event;
    vtoe_le32 comp_room_event; /* kick when comp_cons passes it */
    vtoe_le32 reserved1[10];
};

/* True if moving an index from old to new passes event. */
static inline int vtoe_need_kick(uint32_t event, uint32_t new_idx, uint32_t old)
{
    return (uint32_t)(new_idx - event - 1) < (uint32_t)(new_idx - old);
}

/* 3.1 Segmentation and checksum metadata; the values are virtio-net's. */
struct vtoe_net_hdr {
    vtoe_u8 flags;
    vtoe_u8 gso_type;
    vtoe_le16 hdr_len;
    vtoe_le16 gso_size;
    vtoe_le16 csum_start;
    vtoe_le16 csum_offset;
};
#define VTOE_NET_HDR_F_NEEDS_CSUM   1
#define VTOE_NET_HDR_F_DATA_VALID   2
#define VTOE_NET_HDR_GSO_NONE       0
#define VTOE_NET_HDR_GSO_TCPV4      1
#define VTOE_NET_HDR_GSO_TCPV6      4
#define VTOE_NET_HDR_GSO_ECN        0x80
/*
 * Least values of csum_start: nobody's address is a checksum; and of gso_size,
 * which bounds what one frame becomes.  Linux' least segment has 36 bytes.
 */
#define VTOE_NET_HDR_CSUM_START_MIN 14
#define VTOE_NET_HDR_GSO_SIZE_MIN   32

#define VTOE_SID_FRAME          0u
#define VTOE_SID_PASSIVE        0x80000000u /* set in SIDs the device chose */
#define VTOE_SID_ANY            0xffffffffu /* RecvWQ: buffer of the pool */
#define VTOE_ID_NONE            0xffffffffu /* completion without a buffer */

/* 3.2 SendWQ descriptor */
struct vtoe_send_desc {
    vtoe_le64 addr;             /* DATA: buffer. CREDIT: new receive limit */
    vtoe_le32 len;              /* DATA: 1..MAX_SEGMENT. CREDIT: 0 */
    vtoe_le32 sid;
    vtoe_u8 op;                 /* VTOE_SEND_* */
    vtoe_u8 flags;              /* VTOE_SEND_F_* */
    struct vtoe_net_hdr hdr;    /* first descriptor of a frame */
    vtoe_le32 reserved;
};
#define VTOE_SEND_DATA          0
#define VTOE_SEND_CREDIT        1   /* bytes up to stream offset addr may be
                                     * delivered; never taken back */
#define VTOE_SEND_F_MORE        (1u << 0)   /* frame goes on in the next one */
#define VTOE_FRAME_MAX_DESC     20          /* descriptors in one frame */
#define VTOE_FRAME_MAX_LEN      65550       /* 64 KiB and an Ethernet header */

/* 3.3 RecvWQ descriptor */
#define VTOE_RECV_MIN_LEN       64u     /* smallest buffer, bytes */
struct vtoe_recv_desc {
    vtoe_le64 addr;
    vtoe_le32 len;              /* 64..MAX_SEGMENT */
    vtoe_le32 sid;              /* 0 on pair 0; else a SID or VTOE_SID_ANY */
    vtoe_le32 id;               /* returned in the completion; not ID_NONE */
    vtoe_le32 reserved[3];
};

/* 3.4 Completion */
struct vtoe_comp {
    vtoe_u8 type;               /* VTOE_COMP_* */
    vtoe_u8 flags;              /* VTOE_COMP_F_* */
    vtoe_le16 reason;           /* VTOE_REASON_*, with ABORT and ERROR */
    vtoe_le32 sid;
    vtoe_le32 id;               /* RECV: of the buffer, or VTOE_ID_NONE */
    vtoe_le32 len;              /* RECV: bytes in the buffer */
    union {
        vtoe_le64 offset;       /* SEND: all bytes below are acknowledged
                                 * (SID 0: frames done on this pair).
                                 * RECV: stream offset of the first byte */
        struct {
            struct vtoe_net_hdr hdr;    /* RECV of a frame, first buffer */
            vtoe_le16 num_buffers;
            vtoe_le32 reserved;
        } frame;
    } u;
};
#define VTOE_COMP_SEND          1
#define VTOE_COMP_RECV          2
#define VTOE_COMP_ERROR         3   /* send descriptor of an unknown SID was
                                     * dropped unread; len is its length */
#define VTOE_COMP_F_MORE        (1u << 0)   /* frame goes on in the next one */
#define VTOE_COMP_F_END         (1u << 1)   /* end of stream behind this */
#define VTOE_COMP_F_ABORT       (1u << 2)   /* stream was reset behind this */
#define VTOE_COMP_F_RETURNED    (1u << 3)   /* buffer comes back unused */

/* --- 4. Commands (control queue, "send" ring) ---------------------------- */

struct vtoe_flow {
    vtoe_u8 family;             /* 4 or 6 */
    vtoe_u8 reserved;
    vtoe_le16 lport;
    vtoe_le16 rport;
    vtoe_u8 lmac[6];
    vtoe_u8 rmac[6];
    vtoe_u8 laddr[16];          /* IPv4 in the first four bytes, rest 0 */
    vtoe_u8 raddr[16];
    vtoe_u8 reserved1[6];
};

struct vtoe_cmd {
    vtoe_u8 op;                 /* VTOE_CMD_* */
    vtoe_u8 flags;              /* VTOE_CMD_F_* */
    vtoe_le16 reason;           /* REJECT, ABORT: VTOE_REASON_* told the peer */
    vtoe_le32 tag;              /* returned in the answer */
    vtoe_le32 sid;              /* CONNECT: chosen by the guest, 1..2^31-1.
                                 * LISTEN, UNLISTEN: listener id, likewise */
    vtoe_le32 pair;             /* CONNECT, ACCEPT: 1..MAX_PAIRS-1 */
    vtoe_le64 value;            /* CONNECT, ACCEPT, CREDIT: receive limit;
                                 * SHUTDOWN, CLOSE: bytes ever posted;
                                 * LISTEN: backlog */
    struct vtoe_flow flow;      /* CONNECT: all. LISTEN: family, lport, laddr
                                 * (all 0: any) */
    vtoe_le64 reserved[6];
};
enum vtoe_cmd_op {
    VTOE_CMD_CONNECT = 1,
    VTOE_CMD_LISTEN = 2,
    VTOE_CMD_UNLISTEN = 3,
    VTOE_CMD_ACCEPT = 4,
    VTOE_CMD_REJECT = 5,
    VTOE_CMD_SHUTDOWN = 6,      /* end of stream behind byte `value` */
    VTOE_CMD_ABORT = 7,
    VTOE_CMD_CLOSE = 8,         /* SHUTDOWN, and receive no more: data that
                                 * still comes resets the stream */
    VTOE_CMD_CREDIT = 9,
    VTOE_CMD_QUERY = 10,
};
#define VTOE_CMD_F_SHUTDOWN_EVENT (1u << 0) /* CONNECT, ACCEPT: the stream
                                             * reports PEER_SHUTDOWN too */

enum vtoe_cmd_status {
    VTOE_CMD_OK = 0,
    VTOE_CMD_INVALID = 1,       /* a field is out of range */
    VTOE_CMD_UNKNOWN_SID = 2,
    VTOE_CMD_EXISTS = 3,        /* SID or listener already there */
    VTOE_CMD_LIMIT = 4,         /* MAX_STREAMS, MAX_LISTENS, host limit */
    VTOE_CMD_STATE = 5,         /* not possible in the stream's state */
    VTOE_CMD_UNSUPPORTED = 6,   /* opcode unknown, STREAM not negotiated */
};

/* --- 5. Events (control queue, "completion" ring) ------------------------- */

struct vtoe_event {
    vtoe_u8 type;               /* VTOE_EVENT_* */
    vtoe_u8 flags;
    vtoe_le16 reason;           /* COMMAND_DONE: vtoe_cmd_status;
                                 * else VTOE_REASON_* */
    vtoe_le32 sid;              /* CONNECT_REQUEST: the new SID */
    vtoe_le32 generation;       /* VTOE_REG_GENERATION when it was written */
    vtoe_le32 tag;              /* COMMAND_DONE: the command's;
                                 * CONNECT_REQUEST: the listener id */
    vtoe_le64 value;            /* DISCONNECTED: bytes delivered to the guest;
                                 * LINK_STATE: 0, 1; PEER_CAPABILITY of one
                                 * MAC: 1 if it takes streams */
    union {
        struct vtoe_flow flow;  /* CONNECT_REQUEST, l* is this guest;
                                 * PEER_CAPABILITY: rmac, all 0: any */
        struct {
            vtoe_le64 tx_acked;     /* QUERY: offsets in bytes */
            vtoe_le64 tx_sent;
            vtoe_le64 rx_delivered;
            vtoe_le64 rx_limit;
            vtoe_le32 state;        /* enum vtoe_stream_state */
            vtoe_le32 cid;
        } query;
    } u;
    vtoe_le64 reserved[6];
};
enum vtoe_event_type {
    VTOE_EVENT_COMMAND_DONE = 1,
    VTOE_EVENT_CONNECT_REQUEST = 2,
    VTOE_EVENT_CONNECT_ESTABLISHED = 3,
    /* Terminal: each SID ends with exactly one of these, the last word about
     * it; all its buffers have come back or may be freed. */
    VTOE_EVENT_DISCONNECTED = 4,
    VTOE_EVENT_ADDRESS_ERROR = 5,
    VTOE_EVENT_UNREACHABLE = 6,
    VTOE_EVENT_CONNECT_REJECTED = 7,
    VTOE_EVENT_ROUTE_ERROR = 8,
    VTOE_EVENT_CONNECT_ERROR = 9,
    /* Not about one SID, or not terminal */
    VTOE_EVENT_PEER_SHUTDOWN = 10,
    VTOE_EVENT_DEVICE_REMOVED = 11,
    VTOE_EVENT_PEER_CAPABILITY = 12,
    VTOE_EVENT_LINK_STATE = 13,
};

enum vtoe_stream_state {
    VTOE_STREAM_CONNECTING = 1,
    VTOE_STREAM_REQUESTED = 2,      /* CONNECT_REQUEST told, not answered */
    VTOE_STREAM_ESTABLISHED = 3,
    VTOE_STREAM_CLOSING = 4,        /* guest closed, device finishes */
    VTOE_STREAM_CLOSED = 5,
};

/* Reason codes: in events, completions, REJECT and ABORT, and on the wire. */
enum vtoe_reason {
    VTOE_REASON_NONE = 0,           /* graceful */
    VTOE_REASON_NO_PEER = 1,        /* no link leads to the MAC */
    VTOE_REASON_NO_STREAMS = 2,     /* the MAC's NIC takes no streams */
    VTOE_REASON_LINK_DOWN = 3,
    VTOE_REASON_LINK_LOST = 4,      /* while the stream was open */
    VTOE_REASON_NO_LISTENER = 5,
    VTOE_REASON_BACKLOG = 6,
    VTOE_REASON_LIMIT = 7,          /* a limit of a device, host or link */
    VTOE_REASON_TIMEOUT = 8,
    VTOE_REASON_RESET = 9,          /* peer's application aborted */
    VTOE_REASON_UNREAD = 10,        /* peer closed with data unread or coming */
    VTOE_REASON_DEVICE_RESET = 11,  /* a device was reset or removed */
    VTOE_REASON_PROTOCOL = 12,      /* wire or command protocol violated */
    VTOE_REASON_POLICY = 13,        /* network id, authorization */
    VTOE_REASON_CANCELLED = 14,     /* by this guest, before Established */
    VTOE_REASON_HOST = 15,          /* host error, see counters */
    VTOE_REASON_MAX = VTOE_REASON_HOST,  /* the last that is valid */
};

/* --- 6. Layouts ----------------------------------------------------------- */

#define VTOE_ASSERT_SIZE(t, s) \
    _Static_assert(sizeof(struct t) == (s), "size of " #t)
#define VTOE_ASSERT_AT(t, m, o) \
    _Static_assert(offsetof(struct t, m) == (o), "offset of " #t "." #m)

VTOE_ASSERT_SIZE(vtoe_queue_ctrl, 128);
VTOE_ASSERT_AT(vtoe_queue_ctrl, send_cons, 64);
VTOE_ASSERT_SIZE(vtoe_net_hdr, 10);
VTOE_ASSERT_SIZE(vtoe_send_desc, 32);
VTOE_ASSERT_AT(vtoe_send_desc, op, 16);
VTOE_ASSERT_AT(vtoe_send_desc, hdr, 18);
VTOE_ASSERT_SIZE(vtoe_recv_desc, 32);
VTOE_ASSERT_SIZE(vtoe_comp, 32);
VTOE_ASSERT_AT(vtoe_comp, u, 16);
VTOE_ASSERT_SIZE(vtoe_flow, 56);
VTOE_ASSERT_AT(vtoe_flow, lmac, 6);
VTOE_ASSERT_AT(vtoe_flow, laddr, 18);
VTOE_ASSERT_SIZE(vtoe_cmd, 128);
VTOE_ASSERT_AT(vtoe_cmd, value, 16);
VTOE_ASSERT_AT(vtoe_cmd, flow, 24);
VTOE_ASSERT_SIZE(vtoe_event, 128);
VTOE_ASSERT_AT(vtoe_event, value, 16);
VTOE_ASSERT_AT(vtoe_event, u, 24);

#endif /* VTOE_ABI_H */
