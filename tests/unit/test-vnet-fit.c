/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames that are longer than a link carries (net/vnet/vnet-fit.c), and VXLAN's
 * header and flows (net/vnet/vnet-vxlan.c).
 */
#include <string.h>
#include "vnet-bytes.h"
#include "vnet-fit.h"
#include "vnet-packet.h"
#include "vnet-vxlan.h"

#define LONGEST     1464            /* an IP packet of 1450 */

static Packet packet;

static size_t answer(uint8_t out[VNET_FIT_ANSWER_MAX])
{
    return vnet_fit_answer(packet.buf, packet.len, LONGEST, out);
}

static void make(bool v6, bool may_cut, size_t payload)
{
    const PacketSpec s = { .proto = VNET_PROTO_UDP, .v6 = v6,
                           .may_cut = may_cut, .payload = payload, .flow = 9 };

    packet_make(&packet, &s);
}

static void test_answer_v4(void)
{
    uint8_t out[VNET_FIT_ANSWER_MAX];
    VnetInet i;
    size_t n;

    make(false, false, 1423);
    n = answer(out);
    g_assert(n && vnet_inet_find(out, n, &i));
    /* Back to the sender, from where it went to. */
    g_assert_cmpmem(out, 6, packet.buf + 6, 6);
    g_assert_cmpmem(out + 6, 6, packet.buf, 6);
    g_assert_cmpmem(out + i.ip + 12, 4, packet.buf + 14 + 16, 4);
    g_assert_cmpmem(out + i.ip + 16, 4, packet.buf + 14 + 12, 4);
    g_assert_cmpuint(i.proto, ==, VNET_PROTO_ICMP);
    g_assert_cmpuint(i.end, ==, n);
    g_assert_cmpuint(n - 14, ==, 576);
    g_assert_cmpuint(out[i.l4], ==, 3);
    g_assert_cmpuint(out[i.l4 + 1], ==, 4);
    g_assert_cmpuint(get16(out + i.l4 + 6), ==, 1450);
    g_assert_cmphex(fold(sum_bytes(0, out + i.ip, 20)), ==, 0xffff);
    g_assert_cmphex(fold(sum_bytes(0, out + i.l4, n - i.l4)), ==, 0xffff);
    /* What it is about. */
    g_assert_cmpmem(out + i.l4 + 8, 548, packet.buf + 14, 548);
}

static void test_answer_v6(void)
{
    const PacketSpec s = { .proto = VNET_PROTO_TCP, .v6 = true, .tags = 1,
                           .flags = VNET_TCP_ACK, .payload = 1400 };
    uint8_t out[VNET_FIT_ANSWER_MAX];
    VnetInet i;
    size_t n;

    packet_make(&packet, &s);
    n = answer(out);
    g_assert(n && vnet_inet_find(out, n, &i));
    /* In the same VLAN, which takes 4 bytes. */
    g_assert_cmpuint(i.ip, ==, 18);
    g_assert_cmpmem(out + 12, 6, packet.buf + 12, 6);
    g_assert_cmpuint(i.proto, ==, VNET_PROTO_ICMPV6);
    g_assert_cmpuint(n - 18, ==, 1280);
    g_assert_cmpuint(out[i.l4], ==, 2);
    g_assert_cmpuint(get32(out + i.l4 + 4), ==, 1446);
    g_assert_cmphex(fold(sum_bytes(vnet_inet_pseudo(out, &i, n - i.l4),
                                   out + i.l4, n - i.l4)), ==, 0xffff);
    g_assert_cmpmem(out + i.l4 + 8, 1232, packet.buf + 18, 1232);
}

static void test_no_answer(void)
{
    uint8_t out[VNET_FIT_ANSWER_MAX];

    /* It may be cut. */
    make(false, true, 1500);
    g_assert(!answer(out));
    /* To a group, from a group, to all, from nobody. */
    make(false, false, 1500);
    packet.buf[0] |= 1;
    g_assert(!answer(out));
    make(false, false, 1500);
    packet.buf[14 + 16] = 224;
    g_assert(!answer(out));
    make(false, false, 1500);
    put32(packet.buf + 14 + 16, 0xffffffff);
    g_assert(!answer(out));
    make(false, false, 1500);
    put32(packet.buf + 14 + 12, 0);
    g_assert(!answer(out));
    make(true, false, 1500);
    packet.buf[14 + 24] = 0xff;
    g_assert(!answer(out));
    make(true, false, 1500);
    memset(packet.buf + 14 + 8, 0, 16);
    g_assert(!answer(out));
    /* A fragment behind the first. */
    make(false, false, 1500);
    packet.buf[14 + 7] = 100;
    g_assert(!answer(out));
    /* Error messages, but not an echo. */
    make(false, false, 1500);
    packet.buf[14 + 9] = VNET_PROTO_ICMP;
    packet.buf[34] = 3;
    g_assert(!answer(out));
    packet.buf[34] = 8;
    g_assert(answer(out));
    make(true, false, 1500);
    packet.buf[14 + 6] = VNET_PROTO_ICMPV6;
    packet.buf[54] = 2;
    g_assert(!answer(out));
    packet.buf[54] = 128;
    g_assert(answer(out));
    /* No IP. */
    packet.buf[12] = 0x12;
    g_assert(!answer(out));
}

typedef struct Whole {
    uint8_t buf[70000];
    size_t len;                 /* of the IP payload so far */
    unsigned n;
    bool last;
} Whole;

static void gather(void *opaque, const struct iovec *iov, unsigned niov,
                   size_t len)
{
    Whole *w = opaque;
    const uint8_t *ip = (uint8_t *)iov[0].iov_base + 14;
    unsigned offset = (get16(ip + 6) & 0x1fff) * 8;

    g_assert_cmpuint(niov, ==, 2);
    g_assert_cmpuint(len, <=, LONGEST);
    g_assert_cmpuint(len, ==, iov[0].iov_len + iov[1].iov_len);
    g_assert_cmpuint(get16(ip + 2), ==, len - 14);
    g_assert_cmphex(fold(sum_bytes(0, ip, 20)), ==, 0xffff);
    g_assert_cmpuint(offset, ==, w->len);
    memcpy(w->buf + offset, iov[1].iov_base, iov[1].iov_len);
    w->len += iov[1].iov_len;
    w->last = !(ip[6] & 0x20);
    w->n++;
}

static void test_fragments(void)
{
    static Whole w;

    for (size_t payload = 1423; payload < 5000; payload += 7) {
        memset(&w, 0, sizeof(w));
        make(false, true, payload);
        g_assert_cmpuint(vnet_fit_fragment(packet.buf, packet.len, LONGEST, gather,
                                           &w), ==, w.n);
        g_assert(w.last);
        g_assert_cmpmem(w.buf, w.len, packet.buf + 34, packet.len - 34);
    }
}

/* A fragment is cut further, and says the same of the rest. */
static void test_fragment_of_a_fragment(void)
{
    static Whole w;

    memset(&w, 0, sizeof(w));
    make(false, true, 2992);
    put16(packet.buf + 14 + 6, 0x2000 | 800 / 8);
    w.len = 800;
    g_assert_cmpuint(vnet_fit_fragment(packet.buf, packet.len, LONGEST, gather,
                                       &w), ==, 3);
    g_assert(!w.last);
    g_assert_cmpuint(w.len, ==, 3800);
    /* Behind 64 KiB there is nothing. */
    put16(packet.buf + 14 + 6, 0x1f00);
    g_assert(!vnet_fit_fragment(packet.buf, packet.len, LONGEST, gather, &w));
}

static void test_no_fragments(void)
{
    make(false, false, 2000);
    g_assert(!vnet_fit_fragment(packet.buf, packet.len, LONGEST, gather, NULL));
    make(true, false, 2000);
    g_assert(!vnet_fit_fragment(packet.buf, packet.len, LONGEST, gather, NULL));
    make(false, true, 2000);
    packet.buf[14] = 0x46;      /* options */
    g_assert(!vnet_fit_fragment(packet.buf, packet.len, LONGEST, gather, NULL));
    make(false, true, 2000);
    g_assert(!vnet_fit_fragment(packet.buf, packet.len, 41, gather, NULL));
    g_assert(!vnet_fit_fragment(packet.buf, 33, LONGEST, gather, NULL));
}

static void test_header(void)
{
    uint8_t h[8];
    uint32_t vni = 1;

    vnet_vxlan_put_header(h, 0xabcdef);
    g_assert_cmpmem(h, 8, "\x08\0\0\0\xab\xcd\xef\0", 8);
    g_assert(vnet_vxlan_get_header(h, 8, &vni));
    g_assert_cmphex(vni, ==, 0xabcdef);
    /* What is reserved may be anything. */
    memcpy(h, "\xff\1\2\3\0\0\7\xff", 8);
    g_assert(vnet_vxlan_get_header(h, 8, &vni));
    g_assert_cmphex(vni, ==, 7);
    g_assert(!vnet_vxlan_get_header(h, 7, &vni));
    h[0] = 0xf7;
    g_assert(!vnet_vxlan_get_header(h, 8, &vni));
}

static void test_flow(void)
{
    PacketSpec s = { .proto = VNET_PROTO_TCP, .payload = 10 };
    unsigned used[8] = { 0 };
    uint32_t first;

    packet_make(&packet, &s);
    first = vnet_vxlan_flow(packet.buf, packet.len);
    s.seq = 77;
    s.payload = 900;
    packet_make(&packet, &s);
    g_assert_cmphex(vnet_vxlan_flow(packet.buf, packet.len), ==, first);
    /* All fragments of a packet are one flow. */
    packet.buf[20] = 0x20;
    first = vnet_vxlan_flow(packet.buf, packet.len);
    packet.buf[20] = 0;
    packet.buf[21] = 10;
    packet.buf[34]++;
    g_assert_cmphex(vnet_vxlan_flow(packet.buf, packet.len), ==, first);
    for (int i = 0; i < 256; i++) {
        s.flow = i;
        packet_make(&packet, &s);
        used[vnet_vxlan_flow(packet.buf, packet.len) % 8]++;
    }
    for (int i = 0; i < 8; i++) {
        g_assert_cmpuint(used[i], >, 8);
    }
    /* Too short for anything. */
    vnet_vxlan_flow(packet.buf, 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnet/fit/answer/v4", test_answer_v4);
    g_test_add_func("/vnet/fit/answer/v6", test_answer_v6);
    g_test_add_func("/vnet/fit/answer/none", test_no_answer);
    g_test_add_func("/vnet/fit/fragments", test_fragments);
    g_test_add_func("/vnet/fit/fragment-of-a-fragment",
                    test_fragment_of_a_fragment);
    g_test_add_func("/vnet/fit/no-fragments", test_no_fragments);
    g_test_add_func("/vnet/vxlan/header", test_header);
    g_test_add_func("/vnet/vxlan/flow", test_flow);
    return g_test_run();
}
