/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of VXLAN links show each other:
 *   vnet-link-vxlan.c  the link: options, sockets, life
 *   vnet-vxlan-tx.c    frames to datagrams
 *   vnet-vxlan-rx.c    datagrams to frames
 */
#ifndef VNET_VXLAN_INT_H
#define VNET_VXLAN_INT_H

#include <sys/epoll.h>
#include <sys/socket.h>
#include "vnet-gro.h"
#include "vnet-link-vxlan.h"
#include "vnet-query.h"
#include "vnet-vxlan.h"

/*
 * Sockets to send from, each with a port of its own, so that the network below
 * can tell flows apart.
 */
#define VNET_VXLAN_SOCKETS      8
/* Messages that wait in one of them: each one datagram, or some of a size. */
#define VNET_VXLAN_MESSAGES     64
/* Received in one go. */
#define VNET_VXLAN_RECEIVES     32

typedef struct VnetVxlanMessage {
    uint8_t *data;
    uint32_t len;
    uint16_t piece;             /* of each datagram but the last */
    uint16_t pieces;
} VnetVxlanMessage;

typedef struct VnetVxlanSocket {
    VnetVxlanLink *k;
    VnetPoll poll;
    bool blocked;               /* waits until it can be written */
    bool failed;                /* the first message has failed once */
    unsigned n;
    VnetVxlanMessage message[VNET_VXLAN_MESSAGES];
} VnetVxlanSocket;

struct VnetVxlanLink {
    VnetLoop *loop;
    VnetLink *l;
    char *id;
    SocketAddress *addr;
    char *local;
    char *claim;                /* see vnet_vxlan_claim() */
    uint32_t mtu;               /* as configured */
    uint32_t buffer_size;
    struct sockaddr_storage peer;
    socklen_t peer_len;
    bool up;
    unsigned overhead;          /* of the headers around a frame */
    size_t max;                 /* longest frame that fits */
    VnetLoopTimer timer;        /* next attempt, or look at the way */
    bool look_soon;             /* it comes earlier than it would */
    VnetVxlanStats stats;

    /* vnet-vxlan-tx.c */
    VnetVxlanSocket tx[VNET_VXLAN_SOCKETS];
    bool segment;               /* the kernel cuts what has pieces */
    bool want_ready;            /* said BUSY */
    uint8_t *out;               /* what waits */
    size_t out_len;
    uint8_t *whole;             /* a frame that is being cut */
    uint32_t tx_vni;            /* of the frame that is being sent */
    GQueue answers;             /* of VnetVxlanAnswer */
    int64_t answers_ns;         /* when the present tenth of a second began */
    unsigned nanswers;          /* in it */
    VnetAtEnd at_end;
    struct mmsghdr *tx_msg;
    struct iovec *tx_iov;
    void *tx_control;

    /* vnet-vxlan-rx.c */
    VnetPoll rx;
    VnetGro *gro;
    uint32_t rx_vni;            /* of what it holds */
    uint8_t *in;
    struct mmsghdr *rx_msg;
    struct iovec *rx_iov;
    struct sockaddr_storage *rx_name;
    void *rx_control;
    uint32_t overrun;           /* the kernel's count, which wraps */
};

/* --- vnet-link-vxlan.c ------------------------------------------------ */

/* Asks the kernel what the way to the peer carries. */
void vnet_vxlan_look_at_mtu(VnetVxlanLink *k);
/* The kernel says that there is no way: looks whether it has become another. */
void vnet_vxlan_look_soon(VnetVxlanLink *k);

/* --- vnet-vxlan-tx.c -------------------------------------------------- */

void vnet_vxlan_tx_init(VnetVxlanLink *k);
void vnet_vxlan_tx_free(VnetVxlanLink *k);
/* Drops what waits. */
void vnet_vxlan_tx_clear(VnetVxlanLink *k);
VnetFrameResult vnet_vxlan_send(VnetVxlanLink *k, const VnetWireFrame *wf,
                                const struct iovec *iov, unsigned niov);

/* --- vnet-vxlan-rx.c -------------------------------------------------- */

void vnet_vxlan_rx_init(VnetVxlanLink *k);
void vnet_vxlan_rx_free(VnetVxlanLink *k);

#endif /* VNET_VXLAN_INT_H */
