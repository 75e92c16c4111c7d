/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile peer of a vnet link, second part: its frame and data connections.
 * See vnet-hostile-test.c.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "vnet-hostile.h"

static void test_wrong_token(void)
{
    VnetRawPeer p, q;
    Target t;
    unsigned i;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    for (i = VNET_CONN_FRAME; i <= VNET_CONN_DATA; i++) {
        int fd;

        q = p;
        q.token++;
        fd = vnet_raw_open(&q, t.path, i, i == VNET_CONN_DATA);
        g_assert(vnet_raw_ended(fd));
        close(fd);
        q = p;
        q.epoch++;
        fd = vnet_raw_open(&q, t.path, i, i == VNET_CONN_DATA);
        g_assert(vnet_raw_ended(fd));
        close(fd);
    }
    g_assert_cmpuint(target_counter(&t, "refused-token"), ==, 4);
    /* An outsider cannot disturb the link. */
    vnet_raw_ping(&p);
    vnet_raw_close(&p);
    target_stop(&t);
}

static void test_without_control(void)
{
    VnetRawPeer p = { .epoch = 5, .token = 6 };
    Target t;
    int fd;

    target_start(&t, "");
    fd = vnet_raw_open(&p, t.path, VNET_CONN_DATA, 1);
    g_assert(vnet_raw_ended(fd));
    close(fd);
    fd = vnet_raw_open(&p, t.path, VNET_CONN_FRAME, 0);
    g_assert(vnet_raw_ended(fd));
    close(fd);
    g_assert_cmpuint(target_counter(&t, "refused-token"), ==, 2);
    target_stop(&t);
}

static void test_data_of_no_stream(void)
{
    VnetRawPeer p;
    Target t;
    int fd;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    fd = vnet_raw_open(&p, t.path, VNET_CONN_DATA, VNET_STREAM_ID_SERVER | 9);
    g_assert(vnet_raw_ended(fd));
    close(fd);
    g_assert_cmpuint(target_counter(&t, "refused-stream"), ==, 1);
    vnet_raw_ping(&p);
    vnet_raw_close(&p);
    target_stop(&t);
}

/*
 * Data connections whose OPEN never comes: a bounded number, for a bounded
 * time.
 */
static void test_data_without_open(void)
{
    enum { MANY = 300, KEPT = 256 };
    int fds[MANY];
    VnetRawPeer p;
    Target t;
    unsigned i;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    for (i = 0; i < MANY; i++) {
        fds[i] = vnet_raw_open(&p, t.path, VNET_CONN_DATA, 1 + i);
    }
    target_wait_counter(&t, "early-full", MANY - KEPT);
    target_wait_counter(&t, "early-timeout", KEPT);
    for (i = 0; i < MANY; i++) {
        g_assert(vnet_raw_ended(fds[i]));
        close(fds[i]);
    }
    vnet_raw_ping(&p);
    vnet_raw_close(&p);
    target_stop(&t);
}

static void test_frame_twice(void)
{
    VnetWireFrame f = { .len = 60, .vni = VNI };
    const uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2 };
    VnetRawPeer p;
    Target t;
    int one, two;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    one = vnet_raw_open(&p, t.path, VNET_CONN_FRAME, 0);
    /* The first is the one whose preamble is read first: not before it was
     * does the second come. */
    vnet_raw_send_frame(one, &f, frame);
    target_wait_counter(&t, "rx-frames", 1);
    two = vnet_raw_open(&p, t.path, VNET_CONN_FRAME, 0);
    g_assert(vnet_raw_ended(two));
    vnet_raw_ping(&p);
    close(one);
    close(two);
    vnet_raw_expect_end(&p, NULL);
    vnet_raw_close(&p);
    target_stop(&t);
}

typedef struct BadFrame {
    const char *name;
    const char *counter;
    VnetWireFrame f;
} BadFrame;

static const BadFrame bad_frames[] = {
    { "length-0", "bad-length", { .len = 0, .vni = VNI } },
    { "length-13", "bad-length", { .len = 13, .vni = VNI } },
    { "length-long", "bad-length", { .len = VNET_FRAME_MAX + 1, .vni = VNI } },
    { "length-max", "bad-length", { .len = UINT32_MAX, .vni = VNI } },
    { "vni", "bad-value", { .len = 60, .vni = VNET_VNI_MAX + 1 } },
    { "flags", "bad-value", { .len = 60, .vni = VNI, .hdr.flags = 0x80 } },
    { "gso-type", "bad-value", { .len = 60, .vni = VNI, .hdr.gso_type = 9 } },
    { "gso-without-csum", "bad-value",
      { .len = 60, .vni = VNI, .hdr.gso_type = VTOE_NET_HDR_GSO_TCPV4,
        .hdr.gso_size = 10 } },
    { "gso-size-0", "bad-value",
      { .len = 60, .vni = VNI, .hdr.gso_type = VTOE_NET_HDR_GSO_TCPV4,
        .hdr.flags = VTOE_NET_HDR_F_NEEDS_CSUM } },
    { "csum-outside", "bad-value",
      { .len = 60, .vni = VNI, .hdr.flags = VTOE_NET_HDR_F_NEEDS_CSUM,
        .hdr.csum_start = 50, .hdr.csum_offset = 9 } },
    { "csum-far-outside", "bad-value",
      { .len = 60, .vni = VNI, .hdr.flags = VTOE_NET_HDR_F_NEEDS_CSUM,
        .hdr.csum_start = 0xffff, .hdr.csum_offset = 0xffff } },
    { "hdr-len", "bad-value", { .len = 60, .vni = VNI, .hdr.hdr_len = 61 } },
};

static void test_frame(const void *data)
{
    const BadFrame *b = data;
    uint8_t hdr[VNET_FRAME_HDR_SIZE];
    VnetRawPeer p;
    Target t;
    int fd;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    fd = vnet_raw_open(&p, t.path, VNET_CONN_FRAME, 0);
    vnet_wire_put_frame(hdr, &b->f);
    vnet_raw_write(fd, hdr, sizeof(hdr));
    vnet_raw_expect_end(&p, "frame header");
    g_assert(vnet_raw_ended(fd));
    close(fd);
    vnet_raw_close(&p);
    g_assert_cmpuint(target_counter(&t, b->counter), ==, 1);
    target_stop(&t);
}

/* A frame of another tenant is dropped; frames come in any pieces. */
static void test_frame_vni_and_pieces(void)
{
    VnetWireFrame f = { .len = 60, .vni = VNI + 1 };
    uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2 };
    uint8_t hdr[VNET_FRAME_HDR_SIZE];
    VnetRawPeer p;
    Target t;
    unsigned i;
    int fd;

    target_start(&t, "");
    vnet_raw_up(&p, t.path, VNI);
    fd = vnet_raw_open(&p, t.path, VNET_CONN_FRAME, 0);
    vnet_raw_send_frame(fd, &f, frame);
    target_wait_counter(&t, "rx-drop-vni", 1);
    f.vni = VNI;
    vnet_wire_put_frame(hdr, &f);
    for (i = 0; i < sizeof(hdr); i++) {
        vnet_raw_write(fd, hdr + i, 1);
    }
    for (i = 0; i < sizeof(frame); i++) {
        vnet_raw_write(fd, frame + i, 1);
    }
    target_wait_counter(&t, "rx-frames", 2);
    g_assert_cmpuint(target_counter(&t, "rx-drop-vni"), ==, 1);
    vnet_raw_ping(&p);
    close(fd);
    vnet_raw_expect_end(&p, NULL);
    vnet_raw_close(&p);
    target_stop(&t);
}

/* Addresses without end: the table has a limit, and says so. */
static void test_frame_many_addresses(void)
{
    enum { MANY = 20000, TABLE = 64 };
    VnetWireFrame f = { .len = 60, .vni = VNI };
    uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2 };
    VnetRawPeer p;
    QDict *st;
    Target t;
    unsigned i;
    int fd;

    target_start(&t, ",max-macs=64");
    vnet_raw_up(&p, t.path, VNI);
    fd = vnet_raw_open(&p, t.path, VNET_CONN_FRAME, 0);
    for (i = 0; i < MANY; i++) {
        stl_be_p(frame + 8, i);
        vnet_raw_send_frame(fd, &f, frame);
    }
    target_wait_counter(&t, "rx-frames", MANY);
    st = vnet_status(t.qts, "n0");
    g_assert_cmpuint(vnet_counter(st, "macs-learnt"), ==, TABLE);
    g_assert_cmpuint(vnet_counter(st, "macs-full"), ==, MANY - TABLE);
    qobject_unref(st);
    close(fd);
    vnet_raw_expect_end(&p, NULL);
    vnet_raw_close(&p);
    target_stop(&t);
}

void vnet_hostile_add_data(void)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(bad_frames); i++) {
        g_autofree char *name = g_strdup_printf("/vnet/hostile/frame/%s",
                                                bad_frames[i].name);

        qtest_add_data_func(name, &bad_frames[i], test_frame);
    }
    qtest_add_func("/vnet/hostile/data/wrong-token", test_wrong_token);
    qtest_add_func("/vnet/hostile/data/without-control", test_without_control);
    qtest_add_func("/vnet/hostile/data/of-no-stream", test_data_of_no_stream);
    qtest_add_func("/vnet/hostile/data/without-open", test_data_without_open);
    qtest_add_func("/vnet/hostile/frame/twice", test_frame_twice);
    qtest_add_func("/vnet/hostile/frame/vni-and-pieces",
                   test_frame_vni_and_pieces);
    qtest_add_func("/vnet/hostile/frame/many-addresses",
                   test_frame_many_addresses);
}
