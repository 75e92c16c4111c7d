/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What comes from a VXLAN peer: datagrams, each of which is a length in two
 * bytes and as many bytes, up to the end of the input.  Their frames go through
 * joining as on a link; what comes out is cut again, to a size from the input,
 * answered and fragmented, as when it goes out by another link.
 */
#include <glib.h>
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-fit.h"
#include "vnet-gro.h"
#include "vnet-offload.h"
#include "vnet-vxlan.h"
#include "vnet-wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Sink {
    size_t max;
    size_t in, out;
} Sink;

static void part(void *opaque, const struct iovec *iov, unsigned niov,
                 size_t len)
{
    size_t n = 0;

    for (unsigned i = 0; i < niov; i++) {
        n += iov[i].iov_len;
    }
    g_assert(n == len);
}

static void took(void *opaque, const VnetFrameHdr *hdr,
                 const struct iovec *iov, unsigned niov, size_t len)
{
    Sink *s = opaque;
    g_autofree uint8_t *buf = g_malloc(len);
    uint8_t answer[VNET_FIT_ANSWER_MAX];
    const VnetWireFrame wf = { .len = len, .hdr = *hdr };
    VnetFrameHdr h = *hdr;
    size_t at = 0;

    for (unsigned i = 0; i < niov; i++) {
        memcpy(buf + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    g_assert(at == len);
    s->out += len;
    /* The switch takes it. */
    g_assert(vnet_wire_check_frame(&wf) == VNET_WIRE_OK);
    vnet_vxlan_flow(buf, len);
    if (hdr->gso_type) {
        unsigned headers = vnet_offload_headers(hdr, buf, len);

        /* Joined here, so it can be cut. */
        g_assert(headers);
        h.gso_size = MIN(h.gso_size, 1 + s->max % 9000);
        g_assert(vnet_offload_segment(&h, buf, len, part, NULL));
        return;
    }
    if (hdr->flags & VTOE_NET_HDR_F_NEEDS_CSUM) {
        g_assert(vnet_offload_csum(hdr, buf, len));
    }
    g_assert(vnet_fit_answer(buf, len, s->max, answer) <= sizeof(answer));
    vnet_fit_fragment(buf, len, s->max, part, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Sink s = { 0 };
    VnetGro *g = vnet_gro_new(took, &s);
    GPtrArray *kept = g_ptr_array_new_with_free_func(g_free);

    if (size >= 2) {
        s.max = get16(data);
        data += 2;
        size -= 2;
    }
    while (size >= 2) {
        size_t n = MIN(get16(data), size - 2);
        uint32_t vni;

        if (vnet_vxlan_get_header(data + 2, n, &vni) &&
            n >= VNET_VXLAN_HDR + VNET_FRAME_MIN) {
            uint8_t *frame = g_memdup2(data + 2 + VNET_VXLAN_HDR,
                                       n - VNET_VXLAN_HDR);

            g_assert(vni <= VNET_VNI_MAX);
            g_ptr_array_add(kept, frame);
            s.in += n - VNET_VXLAN_HDR;
            vnet_gro_add(g, frame, n - VNET_VXLAN_HDR, s.max);
        }
        data += 2 + n;
        size -= 2 + n;
    }
    vnet_gro_flush(g);
    /* Only headers are saved. */
    g_assert(s.out <= s.in);
    vnet_gro_free(g);
    g_ptr_array_unref(kept);
    return 0;
}
