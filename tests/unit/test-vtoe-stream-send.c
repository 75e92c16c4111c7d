/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest sends on streams of the vtoe device: buffers and their
 * acknowledgement (docs/specs/vtoe.rst sections 3.2, 3.4 and 5).
 */
#include "vtoe-fake.h"
#include "vtoe-int.h"

static void test_tx_peek_yields_the_bytes_of_the_descriptors(void)
{
    struct iovec iov[16];
    uint8_t got[8192];
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 6000; i++) {
        f.ram[FAKE_DATA + i] = fake_byte(i);
    }
    fake_post_data(&f, 1, 5, FAKE_DATA, 1);
    fake_post_data(&f, 1, 5, FAKE_DATA + 1, 1999);
    fake_post_data(&f, 1, 5, FAKE_DATA + 2000, 4000);
    fake_kick(&f, 1);
    g_assert_cmpuint(s->tx_ready, ==, 1);
    for (unsigned off = 0; off < 6000; off += 7) {
        for (unsigned max = 1; max < 8192; max = max * 3 + 1) {
            unsigned n = 1 + off % 3;
            size_t len = s->ops->tx_peek(s->user, off, iov, &n, max);

            g_assert_cmpuint(len, >, 0);
            g_assert_cmpuint(len, <=, max);
            g_assert_cmpuint(vtoe_iov_copy(iov, n, 0, got, sizeof(got)), ==,
                             len);
            g_assert_cmpmem(got, len, f.ram + FAKE_DATA + off, len);
        }
    }
    for (unsigned off = 6000; off < 6003; off++) {
        unsigned n = 16;

        g_assert_cmpuint(s->ops->tx_peek(s->user, off, iov, &n, 100), ==, 0);
        g_assert_cmpuint(n, ==, 0);
    }
    fake_finish(&f);
}

static void test_buffers_are_unmapped_when_acknowledged(void)
{
    VnetStream *s;
    unsigned n = 4;
    struct iovec iov[4];
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 10; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA + i * 100, 100);
    }
    fake_kick(&f, 1);
    g_assert_cmpuint(f.maps, ==, 10);
    fake_peer_ack(s, 99);
    g_assert_cmpuint(f.maps, ==, 10);
    fake_peer_ack(s, 100);
    g_assert_cmpuint(f.maps, ==, 9);
    g_assert_cmpuint(s->ops->tx_peek(s->user, 99, iov, &n, 10), ==, 0);
    fake_peer_ack(s, 950);
    g_assert_cmpuint(f.maps, ==, 1);
    fake_peer_ack(s, 950);          /* repeated: nothing new */
    fake_peer_ack(s, 1000);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_batch_end(&f);
    g_assert_cmpuint(offset_of(fake_expect_comp(&f, 1, VTOE_COMP_SEND, 5)), ==,
                     1000);
    fake_finish(&f);
}

static void test_unknown_sid_is_dropped_unread(void)
{
    struct vtoe_comp c;
    Fake f;

    fake_up(&f);
    /* Not even looked at: this is no address. */
    fake_post_data(&f, 1, 9, ~0ull - 5, 77);
    fake_post_data(&f, 1, VTOE_SID_ANY, ~0ull - 5, 78);
    fake_kick(&f, 1);
    c = fake_expect_comp(&f, 1, VTOE_COMP_ERROR, 9);
    g_assert_cmpuint(GUINT32_FROM_LE(c.len), ==, 77);
    fake_expect_comp(&f, 1, VTOE_COMP_ERROR, VTOE_SID_ANY);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_finish(&f);
}

static void send_one(const struct vtoe_send_desc *desc, uint32_t pair,
                     unsigned want)
{
    Fake f;

    fake_up(&f);
    fake_open(&f, 5, 1, 1 << 20);
    fake_post_send(&f, pair, desc);
    fake_kick(&f, pair);
    g_assert_cmpuint(fake_violation(&f), ==, want);
    fake_finish(&f);
}

static void test_bad_send_descriptors(void)
{
    const struct vtoe_send_desc good = {
        .addr = GUINT64_TO_LE(FAKE_DATA), .len = GUINT32_TO_LE(100),
        .sid = GUINT32_TO_LE(5),
    };
    struct vtoe_send_desc d = good;

#define WITH(field, val, want) \
    do { d = good; d.field = (val); send_one(&d, 1, want); } while (0)
    WITH(len, GUINT32_TO_LE(0), VTOE_VIOLATION_BUFFER);
    WITH(len, GUINT32_TO_LE(1), 0);
    WITH(len, GUINT32_TO_LE(1 << 20), 0);
    WITH(len, GUINT32_TO_LE((1 << 20) + 1), VTOE_VIOLATION_BUFFER);
    WITH(len, GUINT32_TO_LE(~0u), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(FAKE_RAM - 100), 0);
    WITH(addr, GUINT64_TO_LE(FAKE_RAM - 99), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(FAKE_RAM), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(~0ull - 50), VTOE_VIOLATION_BUFFER);
    WITH(addr, GUINT64_TO_LE(~0ull - 99), VTOE_VIOLATION_BUFFER);
    WITH(op, 2, VTOE_VIOLATION_DESCRIPTOR);
    WITH(op, 255, VTOE_VIOLATION_DESCRIPTOR);
    WITH(op, VTOE_SEND_CREDIT, VTOE_VIOLATION_BUFFER);  /* with a length */
    WITH(flags, VTOE_SEND_F_MORE, VTOE_VIOLATION_DESCRIPTOR);
    WITH(flags, 2, VTOE_VIOLATION_DESCRIPTOR);
    WITH(flags, 128, VTOE_VIOLATION_DESCRIPTOR);
    WITH(sid, 0, VTOE_VIOLATION_STREAM);
    WITH(sid, GUINT32_TO_LE(6), 0);
    WITH(reserved, ~0u, 0);
#undef WITH
    send_one(&good, 2, VTOE_VIOLATION_STREAM);          /* foreign pair */
    send_one(&good, 0, VTOE_VIOLATION_STREAM);
}

static void test_max_inflight(void)
{
    VnetStream *s;
    Fake f;

    fake_up(&f);
    s = fake_open(&f, 5, 1, 1 << 20);
    for (unsigned i = 0; i < 16; i++) {
        fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    }
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_peer_ack(s, 10);
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, 0);
    fake_post_data(&f, 1, 5, FAKE_DATA, 10);
    fake_kick(&f, 1);
    g_assert_cmpuint(fake_violation(&f), ==, VTOE_VIOLATION_STREAM);
    g_assert_cmpuint(f.maps, ==, 0);
    fake_finish(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vtoe/streams/" #name, test_ ## name)
    T(tx_peek_yields_the_bytes_of_the_descriptors);
    T(buffers_are_unmapped_when_acknowledged);
    T(unknown_sid_is_dropped_unread);
    T(bad_send_descriptors);
    T(max_inflight);
    return g_test_run();
}
