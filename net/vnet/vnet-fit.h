/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that are longer than a link carries: cut, or answered as a router
 * would, so that no sender waits for what never arrives.
 * docs/specs/vnet-vxlan.rst, "Sizes".
 */
#ifndef VNET_FIT_H
#define VNET_FIT_H

#include "vtoe/vnet-port.h"

/* Bytes of an answer at most: RFC 1812 and RFC 4443, and the headers. */
#define VNET_FIT_ANSWER_MAX     (14 + 8 + 1280)

/*
 * The answer to a frame that is too long: to its sender, in the name of its
 * destination, ICMP "fragmentation needed" or ICMPv6 "packet too big" with the
 * size of IP packet that fits.  max: longest frame in bytes.  Returns the
 * answer's length; 0: there is none, as of a frame that may be cut, is no IP, is
 * for a group, or is an error message itself.
 */
size_t vnet_fit_answer(const uint8_t *buf, size_t len, size_t max,
                       uint8_t out[VNET_FIT_ANSWER_MAX]);

/*
 * Cuts an IPv4 packet that allows it into fragments that fit, and gives each to
 * fn: its headers and its payload, which lies in buf.  Checksums are complete
 * before.  Returns how many; 0: it cannot be cut.
 */
unsigned vnet_fit_fragment(const uint8_t *buf, size_t len, size_t max,
                           void (*fn)(void *opaque, const struct iovec *iov,
                                      unsigned niov, size_t len),
                           void *opaque);

#endif /* VNET_FIT_H */
