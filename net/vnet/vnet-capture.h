/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What passes the ports of a network, as packets: frames as they are, and streams
 * as TCP would have sent them.  docs/specs/vnet-capture.rst.
 *
 * VNET thread.  Without a capture each place costs a look at one pointer.
 */
#ifndef VNET_CAPTURE_H
#define VNET_CAPTURE_H

#include "vnet-shape.h"

/* Gets each packet: an Ethernet frame of len bytes, from or to the NIC.  The
 * memory is the caller's and ends with the call. */
typedef void VnetCaptureFn(void *opaque, VnetDirection d,
                           const struct iovec *iov, unsigned niov, size_t len);

/* fn NULL: ends it.  A stream that is open already is shown from here on. */
void vnet_net_set_capture(VnetNet *net, VnetCaptureFn *fn, void *opaque);

/* --- What the core and the stream machine tell it ------------------------ */

void vnet_capture_frame(VnetPort *port, VnetDirection d,
                        const struct iovec *iov, unsigned niov, size_t len);
/* With the whole handshake: one that comes to nothing becomes TCP, in frames. */
void vnet_capture_established(VnetStream *s);
/* n bytes behind tx_sent, which does not count them yet. */
void vnet_capture_sent(VnetStream *s, size_t n);
/* Bytes behind rx_got, which does not count them yet. */
void vnet_capture_received(VnetStream *s, const void *p, size_t n);
/* All below tx_acked are with the peer. */
void vnet_capture_acked(VnetStream *s);
/* The end of a direction, behind all its bytes. */
void vnet_capture_end(VnetStream *s, VnetDirection d);
/* It was reset: by this side (VNET_TX), or not. */
void vnet_capture_reset(VnetStream *s, VnetDirection d);

#endif /* VNET_CAPTURE_H */
