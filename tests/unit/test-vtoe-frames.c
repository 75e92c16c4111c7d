/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pair 0 of the vtoe device: frames (docs/specs/vtoe.rst section 3.7).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

#define RX_BUFS FAKE_DATA

static VtoeStats stats(Fake *f)
{
    VtoeStats st;

    vtoe_dev_get_stats(f->dev, &st);
    return st;
}

/* --- sending -------------------------------------------------------------------------- */

static void post_chain(Fake *f, const uint32_t *len, unsigned n,
                       const struct vtoe_net_hdr *hdr)
{
    uint64_t addr = FAKE_DATA;

    for (unsigned i = 0; i < n; i++) {
        struct vtoe_send_desc d = {
            .addr = GUINT64_TO_LE(addr), .len = GUINT32_TO_LE(len[i]),
            .flags = i + 1 < n ? VTOE_SEND_F_MORE : 0,
        };

        if (i == 0 && hdr) {
            d.hdr = *hdr;
        }
        fake_post_send(f, 0, &d);
        addr += len[i];
    }
}

static unsigned send_chain(const uint32_t *len, unsigned n, unsigned *frames)
{
    unsigned violation;
    Fake f;

    fake_up(&f);
    post_chain(&f, len, n, NULL);
    fake_kick(&f, 0);
    violation = fake_violation(&f);
    *frames = f.frames;
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
    return violation;
}

static void test_frame_of_one_descriptor(void)
{
    uint32_t len = 60;
    Fake f;

    fake_up(&f);
    for (unsigned i = 0; i < 60; i++) {
        f.ram[FAKE_DATA + i] = fake_byte(i);
    }
    post_chain(&f, &len, 1, NULL);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    g_assert_cmpmem(f.frame, f.frame_len, f.ram + FAKE_DATA, 60);
    g_assert_cmpuint(fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0).u.offset, ==,
                     GUINT64_TO_LE(1));
    g_assert_cmpuint(stats(&f).tx_frames, ==, 1);
    g_assert_cmpuint(stats(&f).tx_frame_bytes, ==, 60);
    fake_finish(&f);
}

static void test_chain_is_one_frame(void)
{
    uint32_t len[20];
    Fake f;

    for (unsigned i = 0; i < 20; i++) {
        len[i] = 1 + i * 7;
    }
    fake_up(&f);
    for (unsigned i = 0; i < 2000; i++) {
        f.ram[FAKE_DATA + i] = fake_byte(i);
    }
    post_chain(&f, len, 20, NULL);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    /* The header is one of them, in place of the first two. */
    g_assert_cmpuint(f.frame_niov, ==, 19);
    g_assert_cmpmem(f.frame, f.frame_len, f.ram + FAKE_DATA, 20 + 190 * 7);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
}

static void write_over_it(Fake *f)
{
    for (unsigned i = 0; i < f->maps; i++) {
        memset(f->mapped[i].host, 0xee, f->mapped[i].len);
    }
}

/* The header that was checked is the one that is sent, whoever writes to it then,
 * and however it lies in descriptors. */
static void test_header_is_read_once(void)
{
    static const uint32_t lens[][4] = {
        { 60 }, { 14, 46 }, { 13, 1, 46 }, { 1, 1, 12, 46 }, { 5, 20, 35 },
        { 14 }, { 7, 7 },
    };

    for (size_t k = 0; k < G_N_ELEMENTS(lens); k++) {
        unsigned n = 0, len = 0;
        Fake f;

        while (n < 4 && lens[k][n]) {
            len += lens[k][n++];
        }
        fake_up(&f);
        for (unsigned i = 0; i < 60; i++) {
            f.ram[FAKE_DATA + i] = fake_byte(i);
        }
        f.on_frame = write_over_it;
        post_chain(&f, lens[k], n, NULL);
        fake_kick(&f, 0);
        g_assert_cmpuint(f.frames, ==, 1);
        g_assert_cmpuint(f.frame_len, ==, len);
        for (unsigned i = 0; i < len; i++) {
            g_assert_cmphex(f.frame[i], ==, i < 14 ? fake_byte(i) : 0xee);
        }
        fake_finish(&f);
    }
}

static void test_limits_of_a_chain(void)
{
    uint32_t len[64];
    unsigned frames;

    for (unsigned i = 0; i < 64; i++) {
        len[i] = 100;
    }
    g_assert_cmpuint(send_chain(len, 20, &frames), ==, 0);
    g_assert_cmpuint(frames, ==, 1);
    g_assert_cmpuint(send_chain(len, 21, &frames), ==,
                     VTOE_VIOLATION_DESCRIPTOR);
    g_assert_cmpuint(send_chain(len, 64, &frames), ==,
                     VTOE_VIOLATION_DESCRIPTOR);
    len[0] = VTOE_FRAME_MAX_LEN;
    g_assert_cmpuint(send_chain(len, 1, &frames), ==, 0);
    g_assert_cmpuint(frames, ==, 1);
    g_assert_cmpuint(send_chain(len, 2, &frames), ==, VTOE_VIOLATION_BUFFER);
    len[0] = VTOE_FRAME_MAX_LEN + 1;
    g_assert_cmpuint(send_chain(len, 1, &frames), ==, VTOE_VIOLATION_BUFFER);
    len[0] = ~0u;
    g_assert_cmpuint(send_chain(len, 1, &frames), ==, VTOE_VIOLATION_BUFFER);
    len[0] = 0;
    g_assert_cmpuint(send_chain(len, 1, &frames), ==, VTOE_VIOLATION_BUFFER);
    len[0] = VTOE_FRAME_MAX_LEN - 100;
    g_assert_cmpuint(send_chain(len, 2, &frames), ==, 0);
    g_assert_cmpuint(frames, ==, 1);
}

static void test_short_frames_are_dropped(void)
{
    Fake f;

    fake_up(&f);
    for (uint32_t len = 1; len <= 15; len++) {
        post_chain(&f, &len, 1, NULL);
    }
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 2);      /* 14 and 15 */
    g_assert_cmpuint(stats(&f).tx_drop_short, ==, 13);
    g_assert_cmpuint(fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0).u.offset, ==,
                     GUINT64_TO_LE(15));
    fake_finish(&f);
}

static void test_incomplete_chain_waits(void)
{
    uint32_t len[3] = { 100, 200, 300 };
    struct vtoe_send_desc d = {
        .addr = GUINT64_TO_LE(FAKE_DATA), .len = GUINT32_TO_LE(100),
        .flags = VTOE_SEND_F_MORE,
    };
    Fake f;

    fake_up(&f);
    post_chain(&f, len, 3, NULL);
    fake_post_send(&f, 0, &d);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    g_assert_cmpuint(fake_ctrl_get(&f, 0, FAKE_CTRL(send_cons)), ==, 3);
    g_assert_true(vtoe_need_kick(fake_ctrl_get(&f, 0, FAKE_CTRL(send_event)),
                                 5, 4));
    fake_post_send(&f, 0, &d);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    d.flags = 0;
    fake_post_send(&f, 0, &d);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 2);
    g_assert_cmpuint(f.frame_len, ==, 300);
    fake_finish(&f);
}

static void test_chain_longer_than_the_ring(void)
{
    uint32_t len[4] = { 100, 100, 100, 100 };
    Fake f;

    fake_init(&f);
    f.q[0].size[0] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    post_chain(&f, len, 2, NULL);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    fake_post_send(&f, 0, &(struct vtoe_send_desc) {
        .addr = GUINT64_TO_LE(FAKE_DATA), .len = GUINT32_TO_LE(9),
        .flags = VTOE_SEND_F_MORE,
    });
    fake_post_send(&f, 0, &(struct vtoe_send_desc) {
        .addr = GUINT64_TO_LE(FAKE_DATA), .len = GUINT32_TO_LE(9),
        .flags = VTOE_SEND_F_MORE,
    });
    fake_kick(&f, 0);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_DESCRIPTOR);
    fake_finish(&f);
}

static void test_busy_netdev_keeps_the_frame(void)
{
    uint32_t len[2] = { 30, 40 };
    Fake f;

    fake_up(&f);
    f.frame_result = VNET_FRAME_BUSY;
    for (unsigned i = 0; i < 5; i++) {
        post_chain(&f, len, 2, NULL);
    }
    fake_kick(&f, 0);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);      /* offered once, until ready */
    g_assert_cmpuint(fake_ctrl_get(&f, 0, FAKE_CTRL(send_cons)), ==, 0);
    fake_expect_no_comp(&f, 0);
    f.frame_result = VNET_FRAME_OK;
    vtoe_dev_port_ops.tx_ready(f.dev);
    fake_batch_end(&f);
    g_assert_cmpuint(f.frames, ==, 6);
    g_assert_cmpuint(stats(&f).tx_frames, ==, 5);
    g_assert_cmpuint(fake_ctrl_get(&f, 0, FAKE_CTRL(send_cons)), ==, 10);
    g_assert_cmpuint(fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0).u.offset, ==,
                     GUINT64_TO_LE(5));
    f.frame_result = VNET_FRAME_DROPPED;
    post_chain(&f, len, 2, NULL);
    fake_kick(&f, 0);
    g_assert_cmpuint(stats(&f).tx_drop_netdev, ==, 1);
    g_assert_cmpuint(fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0).u.offset, ==,
                     GUINT64_TO_LE(6));
    fake_finish(&f);
}

/* What a busy one kept is not kept for ever. */
static void test_busy_netdev_is_removed(void)
{
    uint32_t len[2] = { 30, 40 };
    Fake f;

    fake_up(&f);
    f.frame_result = VNET_FRAME_BUSY;
    post_chain(&f, len, 2, NULL);
    fake_kick(&f, 0);
    fake_expect_no_comp(&f, 0);
    f.frame_result = VNET_FRAME_DROPPED;
    vtoe_dev_removed(f.dev);
    fake_batch_end(&f);
    g_assert_cmpuint(stats(&f).tx_drop_netdev, ==, 1);
    g_assert_cmpuint(fake_expect_comp(&f, 0, VTOE_COMP_SEND, 0).u.offset, ==,
                     GUINT64_TO_LE(1));
    fake_finish(&f);
}

static unsigned send_hdr(uint64_t features, uint32_t len,
                         struct vtoe_net_hdr hdr)
{
    unsigned frames;
    Fake f;

    fake_init(&f);
    fake_start(&f);
    fake_bring_up(&f, features);
    post_chain(&f, &len, 1, &hdr);
    fake_kick(&f, 0);
    frames = f.frames;
    g_assert_cmpuint(frames + stats(&f).tx_drop_bad_header, ==, 1);
    fake_finish(&f);
    return frames;
}

static void test_metadata_of_sent_frames(void)
{
    const uint64_t all = FAKE_ALL_FEATURES;
    const struct vtoe_net_hdr csum = {
        .flags = 1, .csum_start = GUINT16_TO_LE(34),
        .csum_offset = GUINT16_TO_LE(16),
    };
    const struct vtoe_net_hdr gso = {
        .flags = 1, .gso_type = 1, .hdr_len = GUINT16_TO_LE(54),
        .gso_size = GUINT16_TO_LE(1460), .csum_start = GUINT16_TO_LE(34),
        .csum_offset = GUINT16_TO_LE(16),
    };
    struct vtoe_net_hdr h;

    g_assert_cmpuint(send_hdr(all, 51, csum), ==, 0);
    g_assert_cmpuint(send_hdr(all, 52, csum), ==, 1);
    g_assert_cmpuint(send_hdr(0, 52, csum), ==, 0);
    h = csum, h.csum_start = GUINT16_TO_LE(13);
    g_assert_cmpuint(send_hdr(all, 100, h), ==, 0);
    h = csum, h.csum_start = GUINT16_TO_LE(0xffff);
    g_assert_cmpuint(send_hdr(all, 100, h), ==, 0);
    h = csum, h.csum_offset = GUINT16_TO_LE(0xffff);
    g_assert_cmpuint(send_hdr(all, 65536, h), ==, 0);
    g_assert_cmpuint(send_hdr(all, 5000, gso), ==, 1);
    g_assert_cmpuint(send_hdr(VTOE_F_CSUM, 5000, gso), ==, 0);
    h = gso, h.gso_size = GUINT16_TO_LE(31);
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 0);
    h = gso, h.flags = 0;
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 0);
    h = gso, h.gso_type = 4;
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 1);
    h = gso, h.gso_type = 0x81;
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 1);
    h = gso, h.gso_type = 3;                        /* UFO: not here */
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 0);
    h = gso, h.gso_type = 0x80;
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 0);
    h = gso, h.hdr_len = GUINT16_TO_LE(5001);
    g_assert_cmpuint(send_hdr(all, 5000, h), ==, 0);
}

/* --- receiving --------------------------------------------------------------------------- */

static void make_frame(uint8_t *frame, size_t len, const uint8_t dst[6])
{
    for (size_t i = 0; i < len; i++) {
        frame[i] = fake_byte(i);
    }
    memcpy(frame, dst, 6);
}

static VnetFrameResult rx(Fake *f, const VnetFrameHdr *hdr, const uint8_t *p,
                          size_t len)
{
    static const VnetFrameHdr none;
    struct iovec iov[3];
    size_t a = MIN(len, 3), b = MIN(len - a, 100);  /* in odd pieces */

    iov[0] = (struct iovec) { .iov_base = (void *)p, .iov_len = a };
    iov[1] = (struct iovec) { .iov_base = (void *)(p + a), .iov_len = b };
    iov[2] = (struct iovec) { .iov_base = (void *)(p + a + b),
                              .iov_len = len - a - b };
    return vtoe_dev_port_ops.frame(f->dev, hdr ? hdr : &none, iov, 3, len);
}

/* Takes one whole frame out of the buffers, which are 2048 bytes apart. */
static size_t take_frame(Fake *f, uint8_t *out, struct vtoe_net_hdr *hdr)
{
    struct vtoe_comp c = fake_expect_comp(f, 0, VTOE_COMP_RECV, 0);
    unsigned num = GUINT16_FROM_LE(c.u.frame.num_buffers);
    size_t len = 0;

    *hdr = c.u.frame.hdr;
    for (unsigned i = 0; i < num; i++) {
        if (i) {
            c = fake_expect_comp(f, 0, VTOE_COMP_RECV, 0);
        }
        g_assert_cmpuint(c.flags, ==, i + 1 < num ? VTOE_COMP_F_MORE : 0);
        memcpy(out + len, f->ram + RX_BUFS + GUINT32_FROM_LE(c.id) * 2048,
               GUINT32_FROM_LE(c.len));
        len += GUINT32_FROM_LE(c.len);
    }
    return len;
}

static void post_rx(Fake *f, unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t id = f->q[0].recv_prod % 1024;

        fake_post_buf(f, 0, 0, RX_BUFS + id * 2048, len, id);
    }
}

static void test_frames_are_scattered_over_buffers(void)
{
    static const size_t lens[] = {
        14, 15, 17, 59, 60, 2047, 2048, 2049, 4096, 9000, 65549, 65550,
    };
    g_autofree uint8_t *frame = g_malloc(VTOE_FRAME_MAX_LEN);
    g_autofree uint8_t *got = g_malloc(VTOE_FRAME_MAX_LEN + 2048);
    struct vtoe_net_hdr hdr;
    Fake f;

    fake_up(&f);
    make_frame(frame, VTOE_FRAME_MAX_LEN, fake_mac);
    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        post_rx(&f, (lens[i] + 2047) / 2048, 2048);
        g_assert_cmpuint(rx(&f, NULL, frame, lens[i]), ==, VNET_FRAME_OK);
        fake_batch_end(&f);
        g_assert_cmpuint(take_frame(&f, got, &hdr), ==, lens[i]);
        g_assert_cmpmem(got, lens[i], frame, lens[i]);
        fake_expect_no_comp(&f, 0);
    }
    g_assert_cmpuint(stats(&f).rx_frames, ==, G_N_ELEMENTS(lens));
    fake_finish(&f);
}

static void test_bad_frames_are_dropped(void)
{
    static uint8_t frame[VTOE_FRAME_MAX_LEN + 1];
    VnetFrameHdr bad = { .flags = 1, .csum_start = 34, .csum_offset = 16 };
    Fake f;

    fake_up(&f);
    post_rx(&f, 60, 2048);
    make_frame(frame, sizeof(frame), fake_mac);
    for (size_t len = 0; len < 14; len++) {
        g_assert_cmpuint(rx(&f, NULL, frame, len), ==, VNET_FRAME_DROPPED);
    }
    g_assert_cmpuint(rx(&f, &bad, frame, 51), ==, VNET_FRAME_DROPPED);
    bad.gso_type = 99;
    g_assert_cmpuint(rx(&f, &bad, frame, 1000), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(stats(&f).rx_drop_bad_header, ==, 16);
    g_assert_cmpuint(rx(&f, NULL, frame, sizeof(frame)), ==,
                     VNET_FRAME_DROPPED);
    g_assert_cmpuint(stats(&f).rx_drop_too_large, ==, 1);
    fake_batch_end(&f);
    fake_expect_no_comp(&f, 0);
    fake_finish(&f);
}

static void test_frame_without_buffers_waits_whole(void)
{
    g_autofree uint8_t *frame = g_malloc(VTOE_FRAME_MAX_LEN);
    g_autofree uint8_t *got = g_malloc(VTOE_FRAME_MAX_LEN);
    struct vtoe_net_hdr hdr;
    Fake f;

    fake_up(&f);
    make_frame(frame, 9000, fake_mac);
    post_rx(&f, 4, 2048);
    g_assert_cmpuint(rx(&f, NULL, frame, 8193), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    fake_expect_no_comp(&f, 0);
    post_rx(&f, 1, 2048);
    fake_kick(&f, 0);
    g_assert_cmpuint(take_frame(&f, got, &hdr), ==, 8193);
    g_assert_cmpmem(got, 8193, frame, 8193);
    fake_finish(&f);
}

static void test_frame_of_too_many_completions_is_dropped(void)
{
    static uint8_t frame[5000], got[8192];
    struct vtoe_net_hdr hdr;
    Fake f;

    fake_init(&f);
    f.q[0].size[2] = 2;
    fake_start(&f);
    fake_bring_up(&f, FAKE_ALL_FEATURES);
    post_rx(&f, 10, 2048);
    make_frame(frame, 5000, fake_mac);
    g_assert_cmpuint(rx(&f, NULL, frame, 5000), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(rx(&f, NULL, frame, 4096), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpuint(take_frame(&f, got, &hdr), ==, 4096);
    g_assert_cmpuint(rx(&f, NULL, frame, 60), ==, VNET_FRAME_OK);
    g_assert_cmpuint(stats(&f).rx_drop_no_buffer, ==, 1);
    fake_finish(&f);
}

static void test_receive_buffer_past_ram(void)
{
    static uint8_t frame[100];
    Fake f;

    fake_up(&f);
    make_frame(frame, 100, fake_mac);
    fake_post_buf(&f, 0, 0, FAKE_RAM - 64, 64, 1);
    fake_post_buf(&f, 0, 0, FAKE_RAM - 1, 64, 2);
    g_assert_cmpuint(rx(&f, NULL, frame, 100), ==, VNET_FRAME_DROPPED);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_BUFFER);
    g_assert_cmpuint(fake_ctrl_get(&f, 0, FAKE_CTRL(comp_prod)), ==, 0);
    fake_finish(&f);
}

static bool accepted(Fake *f, const uint8_t *dst)
{
    static uint8_t frame[60], got[2048];
    struct vtoe_net_hdr hdr;

    make_frame(frame, 60, dst);
    post_rx(f, 1, 2048);
    if (rx(f, NULL, frame, 60) != VNET_FRAME_OK) {
        return false;
    }
    fake_batch_end(f);
    take_frame(f, got, &hdr);
    return true;
}

static void test_filter(void)
{
    static const uint8_t multi[6] = { 1, 0, 0x5e, 0, 0, 1 };
    static const uint8_t broad[6] = { 255, 255, 255, 255, 255, 255 };
    Fake f;

    fake_up(&f);
    g_assert_true(accepted(&f, fake_mac) && accepted(&f, broad) &&
                  accepted(&f, multi));
    g_assert_false(accepted(&f, fake_peer_mac));
    fake_wr(&f, VTOE_REG_RX_FILTER, 0);
    g_assert_true(accepted(&f, fake_mac) && accepted(&f, broad));
    g_assert_false(accepted(&f, multi) || accepted(&f, fake_peer_mac));
    fake_wr(&f, VTOE_REG_RX_FILTER, VTOE_RX_PROMISC);
    g_assert_true(accepted(&f, fake_mac) && accepted(&f, broad) &&
                  accepted(&f, multi) && accepted(&f, fake_peer_mac));
    g_assert_cmpuint(f.filter_changes, ==, 2);
    g_assert_cmpuint(stats(&f).rx_drop_filter, ==, 3);
    fake_finish(&f);
}

static void test_frames_work_without_streams(void)
{
    uint32_t len = 60;
    Fake f;

    fake_init(&f);
    f.cfg.features = VTOE_F_CSUM;
    fake_start(&f);
    fake_bring_up(&f, VTOE_F_CSUM);
    g_assert_true(accepted(&f, fake_mac));
    post_chain(&f, &len, 1, NULL);
    fake_kick(&f, 0);
    g_assert_cmpuint(f.frames, ==, 1);
    fake_finish(&f);
}

/* --- offloads in software ------------------------------------------------------------------ */

static uint16_t ones_sum(const uint8_t *p, size_t len, uint32_t s)
{
    for (size_t i = 0; i < len; i++) {
        s += i % 2 ? p[i] : p[i] << 8;
    }
    while (s >> 16) {
        s = (s & 0xffff) + (s >> 16);
    }
    return s;
}

/* A TCP frame of the given payload; the checksum field holds the sum of the
 * pseudo header, as Linux leaves it. */
static size_t tcp_frame(uint8_t *p, bool v6, size_t payload)
{
    unsigned l4 = v6 ? 54 : 34;
    size_t len = l4 + 20 + payload;
    uint16_t pseudo;

    memset(p, 0, l4 + 20);
    memcpy(p, fake_mac, 6);
    memcpy(p + 6, fake_peer_mac, 6);
    p[12] = v6 ? 0x86 : 0x08;
    p[13] = v6 ? 0xdd : 0x00;
    if (v6) {
        p[14] = 0x60;
        p[18] = (len - 54) >> 8;
        p[19] = len - 54;
        p[20] = 6;
        for (unsigned i = 22; i < 54; i++) {
            p[i] = i * 3;
        }
        pseudo = ones_sum(p + 22, 32, 6 + (len - l4));
    } else {
        p[14] = 0x45;
        p[16] = (len - 14) >> 8;
        p[17] = len - 14;
        p[18] = 0xff;               /* id 0xfffe: wraps */
        p[19] = 0xfe;
        p[22] = 64;
        p[23] = 6;
        memcpy(p + 26, "\x0a\x00\x00\x02\x0a\x00\x00\x01", 8);
        pseudo = ones_sum(p + 26, 8, 6 + (len - l4));
    }
    p[l4 + 4] = p[l4 + 5] = p[l4 + 6] = p[l4 + 7] = 0xff;   /* seq wraps */
    p[l4 + 12] = 0x50;
    p[l4 + 13] = 0x99;              /* CWR, ACK, PSH, FIN */
    p[l4 + 16] = pseudo >> 8;
    p[l4 + 17] = pseudo;
    for (size_t i = 0; i < payload; i++) {
        p[l4 + 20 + i] = fake_byte(i);
    }
    return len;
}

/* Is every checksum of the frame right? */
static void check_sums(const uint8_t *p, size_t len, bool v6)
{
    unsigned l4 = v6 ? 54 : 34;
    uint32_t pseudo = 6 + (len - l4);

    if (v6) {
        pseudo = ones_sum(p + 22, 32, pseudo);
        g_assert_cmpuint(p[18] << 8 | p[19], ==, len - 54);
    } else {
        g_assert_cmphex(ones_sum(p + 14, 20, 0), ==, 0xffff);
        g_assert_cmpuint(p[16] << 8 | p[17], ==, len - 14);
        pseudo = ones_sum(p + 26, 8, pseudo);
    }
    g_assert_cmphex(ones_sum(p + l4, len - l4, pseudo), ==, 0xffff);
}

static void test_checksum_is_finished_without_rx_csum(void)
{
    static uint8_t frame[2048], got[2048];
    VnetFrameHdr hdr = { .flags = 1, .csum_start = 34, .csum_offset = 16 };
    struct vtoe_net_hdr out;

    for (size_t payload = 0; payload < 200; payload++) {
        size_t len = tcp_frame(frame, false, payload);
        Fake f;

        fake_init(&f);
        fake_start(&f);
        fake_bring_up(&f, VTOE_F_CSUM);
        post_rx(&f, 1, 2048);
        g_assert_cmpuint(rx(&f, &hdr, frame, len), ==, VNET_FRAME_OK);
        fake_batch_end(&f);
        g_assert_cmpuint(take_frame(&f, got, &out), ==, len);
        g_assert_cmpuint(out.flags, ==, 0);
        g_assert_cmphex(ones_sum(got + 34, len - 34,
                                 ones_sum(got + 26, 8, 6 + len - 34)), ==,
                        0xffff);
        fake_finish(&f);
    }
}

static void test_metadata_reaches_a_guest_that_takes_it(void)
{
    static uint8_t frame[8192], got[16384];
    VnetFrameHdr hdr = {
        .flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 1448,
        .csum_start = 34, .csum_offset = 16,
    };
    struct vtoe_net_hdr out;
    size_t len = tcp_frame(frame, false, 7000);
    Fake f;

    fake_up(&f);
    post_rx(&f, 8, 2048);
    g_assert_cmpuint(rx(&f, &hdr, frame, len), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    g_assert_cmpuint(take_frame(&f, got, &out), ==, len);
    g_assert_cmpmem(got, len, frame, len);
    g_assert_cmpuint(out.flags, ==, 1);
    g_assert_cmpuint(out.gso_type, ==, 1);
    g_assert_cmpuint(GUINT16_FROM_LE(out.gso_size), ==, 1448);
    g_assert_cmpuint(GUINT16_FROM_LE(out.csum_start), ==, 34);
    fake_finish(&f);
}

static void segment(bool v6, uint64_t features)
{
    static uint8_t frame[VTOE_FRAME_MAX_LEN], got[4096];
    unsigned l4 = v6 ? 54 : 34, n = 0;
    VnetFrameHdr hdr = {
        .flags = 1, .gso_type = v6 ? 4 : 1, .hdr_len = l4 + 20,
        .gso_size = 1000, .csum_start = l4, .csum_offset = 16,
    };
    size_t len = tcp_frame(frame, v6, 10500), at = 0;
    struct vtoe_net_hdr out;
    Fake f;

    fake_init(&f);
    fake_start(&f);
    fake_bring_up(&f, features);
    post_rx(&f, 20, 2048);
    g_assert_cmpuint(rx(&f, &hdr, frame, len), ==, VNET_FRAME_OK);
    fake_batch_end(&f);
    while (at < 10500) {
        size_t part = take_frame(&f, got, &out) - l4 - 20;
        uint32_t seq = (uint32_t)got[l4 + 4] << 24 | got[l4 + 5] << 16 |
                       got[l4 + 6] << 8 | got[l4 + 7];
        bool last = at + part == 10500;

        g_assert_cmpuint(part, ==, last ? 500 : 1000);
        g_assert_cmpuint(out.gso_type, ==, 0);
        g_assert_cmpuint(out.flags, ==, features & VTOE_F_RX_CSUM ? 2 : 0);
        check_sums(got, part + l4 + 20, v6);
        g_assert_cmpmem(got + l4 + 20, part, frame + l4 + 20 + at, part);
        g_assert_cmphex(seq, ==, (uint32_t)(0xffffffff + at));
        /* PSH and FIN at the end only, CWR at the beginning only. */
        g_assert_cmphex(got[l4 + 13], ==,
                        0x10 | (last ? 0x09 : 0) | (at == 0 ? 0x80 : 0));
        at += part;
        n++;
    }
    g_assert_cmpuint(n, ==, 11);
    fake_expect_no_comp(&f, 0);
    g_assert_cmpuint(stats(&f).rx_frames, ==, 11);
    fake_finish(&f);
}

static void test_large_frames_are_cut_without_rx_tso(void)
{
    segment(false, VTOE_F_CSUM);
    segment(false, VTOE_F_RX_CSUM);
    segment(true, VTOE_F_CSUM);
    segment(true, VTOE_F_RX_CSUM);
}

static void no_segment(void *opaque, const uint8_t *frame, size_t len)
{
    g_assert_not_reached();
}

static void test_frames_that_cannot_be_cut(void)
{
    static uint8_t frame[4096];
    const VnetFrameHdr good = {
        .flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 1000,
        .csum_start = 34, .csum_offset = 16,
    };
    VnetFrameHdr h = good;
    size_t len = tcp_frame(frame, false, 3000);

    h.csum_offset = 6;
    g_assert_false(vtoe_offload_segment(frame, len, &h, no_segment, NULL));
    h = good, h.csum_start = 38;
    g_assert_false(vtoe_offload_segment(frame, len, &h, no_segment, NULL));
    h = good, h.gso_type = 4;
    g_assert_false(vtoe_offload_segment(frame, len, &h, no_segment, NULL));
    h = good, h.csum_start = 3050;
    g_assert_false(vtoe_offload_segment(frame, len, &h, no_segment, NULL));
    frame[46] = 0x40;                           /* TCP header too short */
    g_assert_false(vtoe_offload_segment(frame, len, &good, no_segment, NULL));
    frame[46] = 0xf0;                           /* longer than the frame */
    g_assert_false(vtoe_offload_segment(frame, 80, &good, no_segment, NULL));
    len = tcp_frame(frame, false, 3000);
    g_assert_false(vtoe_offload_segment(frame, 54, &good, no_segment, NULL));
    frame[23] = 17;                             /* not TCP */
    g_assert_false(vtoe_offload_segment(frame, len, &good, no_segment, NULL));
    memset(frame + 12, 0, 2);
    g_assert_false(vtoe_offload_segment(frame, len, &good, no_segment, NULL));
    for (size_t i = 12; i < sizeof(frame) - 1; i += 4) {    /* VLAN, for ever */
        frame[i] = 0x81;
        frame[i + 1] = 0;
    }
    g_assert_false(vtoe_offload_segment(frame, len, &good, no_segment, NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/frames/" #name, test_ ## name)
    T(frame_of_one_descriptor);
    T(chain_is_one_frame);
    T(header_is_read_once);
    T(limits_of_a_chain);
    T(short_frames_are_dropped);
    T(incomplete_chain_waits);
    T(chain_longer_than_the_ring);
    T(busy_netdev_keeps_the_frame);
    T(busy_netdev_is_removed);
    T(metadata_of_sent_frames);
    T(frames_are_scattered_over_buffers);
    T(bad_frames_are_dropped);
    T(frame_without_buffers_waits_whole);
    T(frame_of_too_many_completions_is_dropped);
    T(receive_buffer_past_ram);
    T(filter);
    T(frames_work_without_streams);
    T(checksum_is_finished_without_rx_csum);
    T(metadata_reaches_a_guest_that_takes_it);
    T(large_frames_are_cut_without_rx_tso);
    T(frames_that_cannot_be_cut);
    return g_test_run();
}
