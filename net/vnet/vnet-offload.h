/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finishing in software what the overlay carries unfinished: partial checksums
 * and TCP segments of up to 64 KiB.  For NICs that did not ask for either.
 * Pure functions on memory; no QEMU header.
 */
#ifndef VNET_OFFLOAD_H
#define VNET_OFFLOAD_H

#include "vtoe/vnet-port.h"

/* The longest Ethernet, IP and TCP headers together. */
#define VNET_OFFLOAD_HDR_MAX    (14 + 8 + 60 + 60)

/*
 * Finishes the checksum that hdr says is partial, in the frame at buf.  False,
 * and nothing changed: the header does not fit the frame.
 */
bool vnet_offload_csum(const VnetFrameHdr *hdr, uint8_t *buf, size_t len);

/*
 * Bytes of all headers of a TCP frame that is to be cut; 0: the frame is not
 * what hdr says.
 */
unsigned vnet_offload_headers(const VnetFrameHdr *hdr, const uint8_t *buf,
                              size_t len);

/*
 * Cuts a TCP frame into segments of at most hdr->gso_size bytes of payload,
 * with complete checksums, and gives each to fn: its headers and its payload,
 * which lies in buf.  Returns how many; 0: the frame is not what hdr says.
 */
unsigned vnet_offload_segment(const VnetFrameHdr *hdr, const uint8_t *buf,
                              size_t len,
                              void (*fn)(void *opaque, const struct iovec *iov,
                                         unsigned niov, size_t len),
                              void *opaque);

#endif /* VNET_OFFLOAD_H */
