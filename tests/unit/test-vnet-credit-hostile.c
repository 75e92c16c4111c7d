/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hostile peers of message links (docs/specs/vnet-wire.rst, "Receives and
 * credits"): the link closes with a reason, and nothing else is touched.
 *
 *   left -- nic a ===== l ===== nic b -- right ===== l2 ===== far -- nic c
 */
#include <string.h>
#include "vnet-credit-net.h"

typedef struct Hostile {
    const char *name;
    const char *counter;
    void (*act)(Net *n, FakeStream *fs, FakeStream *peer);
} Hostile;

static void inject(Net *n, bool to_server, VnetMsg m)
{
    fake_link_inject_msg(n->l, to_server, &m);
}

static void h_credit_overflow(Net *n, FakeStream *fs, FakeStream *peer)
{
    /* 16 were told. */
    inject(n, false, credit(fs, VNET_CREDIT_MAX - VNET_CREDIT_AHEAD, 1));
    fake_run(n->w);
    g_assert_cmpuint(info(fs).tx_grants, ==, VNET_CREDIT_MAX);
    inject(n, false, credit(fs, 1, 1));
}

static void h_credit_of_many(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, false, credit(fs, VNET_CREDIT_MAX + 1, 1));
}

static void h_credit_of_none(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, false, credit(fs, 0, 1));
}

static void h_credit_length_0(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, false, credit(fs, 1, 0));
}

static void h_credit_length_over(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, false, credit(fs, 1, VNET_CREDIT_LENGTH_MAX + 1));
}

static void h_want_0(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, true, msg(VNET_MSG_WANT, fs, 0));
}

static void h_want_backwards(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, true, msg(VNET_MSG_WANT, fs, 1000));
    inject(n, true, msg(VNET_MSG_WANT, fs, 999));
}

static void h_want_without_credit(Net *n, FakeStream *fs, FakeStream *peer)
{
    peer->rx_paused = true;
    /* One CREDIT was sent: the second WANT may be an answer to it. */
    inject(n, true, msg(VNET_MSG_WANT, fs, 1ull << 40));
    inject(n, true, msg(VNET_MSG_WANT, fs, 1ull << 40));
    fake_run(n->w);
    assert_link_up(n);
    inject(n, true, msg(VNET_MSG_WANT, fs, 1ull << 40));
}

static void h_want_behind_the_end(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, true, msg(VNET_MSG_END, fs, 0));
    inject(n, true, msg(VNET_MSG_WANT, fs, 1));
}

static void h_ack_of_data(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, false, msg(VNET_MSG_ACK, fs, 0));
}

static void h_bytes_across_the_end(Net *n, FakeStream *fs, FakeStream *peer)
{
    inject(n, true, msg(VNET_MSG_END, fs, 3));
    fake_run(n->w);
    fake_stream_inject_msg(peer, "four", 4);
    fake_stream_inject_msg(peer, "123", 3);
}

static void h_bytes_behind_the_end(Net *n, FakeStream *fs, FakeStream *peer)
{
    fake_shutdown(fs);
    fake_run(n->w);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    fake_stream_inject_msg(peer, "more", 4);
    fake_stream_inject_msg(peer, "and more", 8);
}

#define STAT(name) G_STRINGIFY(name)
static const Hostile hostile[] = {
    { "credit-overflow", STAT(bad_credit), h_credit_overflow },
    { "credit-of-many", STAT(bad_value), h_credit_of_many },
    { "credit-of-none", STAT(bad_value), h_credit_of_none },
    { "credit-length-0", STAT(bad_value), h_credit_length_0 },
    { "credit-length-over", STAT(bad_value), h_credit_length_over },
    { "want-0", STAT(bad_value), h_want_0 },
    { "want-backwards", STAT(bad_credit), h_want_backwards },
    { "want-without-credit", STAT(bad_credit), h_want_without_credit },
    { "want-behind-the-end", STAT(bad_credit), h_want_behind_the_end },
    { "ack-of-data", STAT(bad_offset), h_ack_of_data },
    { "bytes-across-the-end", STAT(bad_offset), h_bytes_across_the_end },
    { "bytes-behind-the-end", STAT(bad_offset), h_bytes_behind_the_end },
};

static uint64_t counter(const VnetLinkStats *st, const char *name)
{
    for (const VnetStatDesc *d = vnet_link_stat_descs; d->name; d++) {
        if (!strcmp(d->name, name)) {
            return *(const uint64_t *)((const char *)st + d->offset);
        }
    }
    g_assert_not_reached();
}

static bool says_why(const char *error)
{
    return g_str_has_prefix(error, "stream ") || strstr(error, "bad value");
}

/* The link closes with a reason; nothing else is touched. */
static void test_hostile(gconstpointer data)
{
    const Hostile *h = data;
    Net n = net_new();
    FakeHost *far = fake_host(n.w);
    FakeNic *c = fake_nic_new(far, 3);
    FakeLink *l2 = fake_link_new(n.w, n.right, far);
    FakeStream *fs, *peer, *other, *far_end;

    fake_link_messages(l2, MAX_MSG, 64);
    fake_run(n.w);
    c->passive_hold = true;
    other = fake_connect(n.b, c->mac, UINT64_MAX);
    fs = open_stream(&n, 1000, &peer);
    far_end = fake_peer_of(c, other);
    h->act(&n, fs, peer);
    fake_run(n.w);
    g_assert_cmpuint(counter(tx_stats(&n), h->counter) +
                     counter(rx_stats(&n), h->counter), ==, 1);
    g_assert_null(fs->s);
    g_assert_null(peer->s);
    g_assert_cmpuint(peer->rx_off, ==, 0);
    g_assert_true(fs->reason == VTOE_REASON_PROTOCOL ||
                  peer->reason == VTOE_REASON_PROTOCOL);
    g_assert_true(says_why(fake_last_error(n.l, false)) ||
                  says_why(fake_last_error(n.l, true)));
    /* The other link, and the same one once it is up again. */
    fake_post(other, 1 << 20);
    fake_post(far_end, 1 << 20);
    fake_run(n.w);
    g_assert_cmpuint(other->rx_off, ==, 1 << 20);
    g_assert_cmpuint(far_end->rx_off, ==, 1 << 20);
    fake_advance(n.w, 10 * S);
    assert_link_up(&n);
    fs = open_stream(&n, 1000, &peer);
    fake_post(fs, 1000);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 1000);
    fake_world_free(n.w);
}

/* Nothing that a peer grants makes this end spend more than a bound. */
static void test_grants_of_every_length_are_kept_in_order(void)
{
    Net n = net_new();
    FakeStream *peer, *fs = open_stream(&n, 0, &peer);

    for (unsigned i = 1; i <= VNET_CREDIT_MAX; i++) {
        VnetMsg m = credit(fs, 1, i);

        fake_link_inject_msg(n.l, false, &m);
    }
    fake_run(n.w);
    g_assert_cmpuint(info(fs).tx_grants, ==, VNET_CREDIT_MAX);
    assert_link_up(&n);
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnet/credit/grants_of_every_length_are_kept_in_order",
                    test_grants_of_every_length_are_kept_in_order);
    for (size_t i = 0; i < G_N_ELEMENTS(hostile); i++) {
        g_autofree char *path = g_strdup_printf("/vnet/credit/hostile/%s",
                                                hostile[i].name);

        g_test_add_data_func(path, &hostile[i], test_hostile);
    }
    return g_test_run();
}
