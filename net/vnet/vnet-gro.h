/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Makes few large frames of many small ones that came in one go from outside of
 * the overlay: TCP segments that follow each other become one frame with
 * segmentation offload, which costs a guest as much as a small one does.  The
 * opposite of vnet_offload_segment().
 *
 * Frames of one flow stay in their order, flows among each other need not.
 * Checksums are looked at: a segment whose checksum is wrong is given on as it
 * is, for its receiver to drop.  docs/specs/vnet-vxlan.rst, "Checksums".
 */
#ifndef VNET_GRO_H
#define VNET_GRO_H

#include "vtoe/vnet-port.h"

typedef struct VnetGro VnetGro;

/* fn gets each frame that comes out; its memory is that of what was put in. */
VnetGro *vnet_gro_new(void (*fn)(void *opaque, const VnetFrameHdr *hdr,
                                 const struct iovec *iov, unsigned niov,
                                 size_t len),
                      void *opaque);
void vnet_gro_free(VnetGro *g);
/*
 * Takes a frame.  Its memory is kept until vnet_gro_flush(), and its headers may
 * be changed.  max: longest frame in bytes that a wire could have brought; a
 * longer one was never cut by its sender.
 */
void vnet_gro_add(VnetGro *g, uint8_t *buf, size_t len, size_t max);
/* Gives out all that is held. */
void vnet_gro_flush(VnetGro *g);
/* Segments that were joined to others, since it was made. */
uint64_t vnet_gro_joined(const VnetGro *g);

#endif /* VNET_GRO_H */
