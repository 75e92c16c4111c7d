/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams whose guests, link and timing are left to chance.
 */
#include <errno.h>
#include "vnet-core.h"
#include "vnet-stream-net.h"

/* What may happen to a stream at any time. */
static void meddle(Net *n, GRand *r, FakeStream *fs)
{
    if (!fs->s || !fs->answered) {
        if (fs->s && g_rand_int_range(r, 0, 4) == 0) {
            if (g_rand_int_range(r, 0, 4)) {
                fake_accept(fs);
            } else {
                VnetStream *s = fs->s;

                fs->answered = true;
                fs->s = NULL;
                vnet_stream_reject(s, VTOE_REASON_NO_LISTENER);
            }
        }
        return;
    }
    switch (g_rand_int_range(r, 0, 16)) {
    case 0 ... 5:
        if (!fs->shut) {
            fs->tx_posted += g_rand_int_range(r, 1, 200000);
            vnet_stream_tx_ready(fs->s);
        }
        break;
    case 6 ... 7:
        if (!fs->shut) {
            fs->shut = true;
            vnet_stream_shutdown(fs->s, fs->tx_posted);
        }
        break;
    case 8:
        fs->rx_paused = true;
        break;
    case 9 ... 11:
        fs->rx_paused = false;
        vnet_stream_rx_ready(fs->s);
        break;
    case 12:
        if (!fs->rx_closed && g_rand_int_range(r, 0, 4) == 0) {
            fs->rx_closed = true;
            vnet_stream_rx_close(fs->s);
            if (!fs->shut) {
                fs->shut = true;
                vnet_stream_shutdown(fs->s, fs->tx_posted);
            }
        }
        break;
    case 13:
        if (g_rand_int_range(r, 0, 20) == 0) {
            VnetStream *s = fs->s;

            fs->s = NULL;
            vnet_stream_abort(s, VTOE_REASON_RESET);
            g_assert_cmpuint(fs->lent.length, ==, 0);
        }
        break;
    default:
        break;
    }
    fake_dispatch(n->w);
}

static void settle(Net *n)
{
    FakeNic *nics[2] = { n->a, n->b };

    fake_link_stall_control(n->l, false);
    fake_link_stall_data(n->l, false);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            for (guint j = 0; j < nics[i]->streams->len; j++) {
                FakeStream *fs = nics[i]->streams->pdata[j];

                fs->rx_paused = false;
                if (fs->s && !fs->answered) {
                    fake_accept(fs);
                }
                if (fs->s && !fs->shut) {
                    fs->shut = true;
                    vnet_stream_shutdown(fs->s, fs->tx_posted);
                }
                if (fs->s && !fs->rx_closed) {
                    vnet_stream_rx_ready(fs->s);
                }
            }
        }
        fake_advance(n->w, 15 * S);
    }
}

/* A link that was cut is no reason for a stream to end: who is told so has a peer
 * that ended otherwise, and could not say it. */
static void assert_not_lost(FakeStream *fs, FakeStream *peer)
{
    if (fs->disconnected && fs->reason == VTOE_REASON_LINK_LOST) {
        g_test_message("lost at %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT
                       ", the peer ended for %d at %" G_GUINT64_FORMAT "/%"
                       G_GUINT64_FORMAT, fs->tx_posted, fs->rx_off,
                       peer->reason, peer->tx_posted, peer->rx_off);
        g_assert_true(!peer->disconnected ||
                      (peer->reason != VTOE_REASON_LINK_LOST &&
                       peer->reason != VTOE_REASON_NONE));
    }
}

/* With BREAKS only what a stream outlives: once established, not too often. */
static void break_cid(Net *n, GRand *r, FakeStream *fs, unsigned how)
{
    if (!fs->s) {
        return;
    }
    if (how & BREAKS) {
        FakeStream *peer = fake_peer_of(fs->nic == n->a ? n->b : n->a, fs);

        if (!fs->active || !fs->established || !peer || !peer->established) {
            return;
        }
        n->w->now += VNET_GUARD_NS;
        if (g_rand_boolean(r)) {
            fs = g_rand_boolean(r) || !peer->s ? fs : peer;
            fake_stream_break_half(fs, ECONNRESET);
            return;
        }
    }
    fake_stream_break_cid(fs, ECONNRESET);
}

static uint64_t soak_resumed;

/*
 * Thousands of interleavings.  The NICs check the invariants as they go; at the
 * end every stream is over, and a pair that ended without a reset has carried
 * each byte both ways.
 */
static unsigned soak(guint32 seed, unsigned how)
{
    Net n = net_on(fake_world_new(seed), how);
    bool with_faults = how & FAULTS;
    g_autoptr(GRand) r = g_rand_new_with_seed(seed ^ 0x5eed);
    FakeNic *nics[2] = { n.a, n.b };
    unsigned clean = 0;

    n.w->pipe_size = 1 << g_rand_int_range(r, 8, 17);
    n.a->answer = n.b->answer = g_rand_boolean(r) ? FAKE_LATER : FAKE_ACCEPT;
    n.a->passive_hold = n.b->passive_hold = true;
    if (g_rand_boolean(r)) {
        n.b->pool = n.b->pool_free = g_rand_int_range(r, 1, 100);
    }
    for (int i = 0; i < 400; i++) {
        FakeNic *nic = nics[g_rand_int_range(r, 0, 2)];
        FakeNic *other = nic == n.a ? n.b : n.a;

        if (nic->streams->len < (with_faults ? 40 : 12) &&
            g_rand_int_range(r, 0, 10) == 0) {
            FakeStream *fs = fake_connect(nic, other->mac, UINT64_MAX);

            fs->rx_buf = g_rand_int_range(r, 1, 20000);
            fs->rx_vary = g_rand_boolean(r);
            fs->spare = g_rand_int_range(r, 0, 20);
        }
        if (nic->streams->len) {
            meddle(&n, r, nic->streams->pdata[
                       g_rand_int_range(r, 0, nic->streams->len)]);
        }
        if (g_rand_int_range(r, 0, 20) == 0) {
            fake_link_stall_control(n.l, g_rand_boolean(r));
        }
        if (g_rand_int_range(r, 0, 20) == 0) {
            fake_link_stall_data(n.l, g_rand_boolean(r));
        }
        if (how & (FAULTS | CUTS) && g_rand_int_range(r, 0, 150) == 0) {
            unsigned who = g_rand_int_range(r, 1, 4);

            fake_link_cut(n.l, who & 1, who & 2);
        }
        if (how & (FAULTS | BREAKS) && g_rand_int_range(r, 0, 30) == 0 &&
            nic->streams->len) {
            FakeStream *fs = nic->streams->pdata[
                                 g_rand_int_range(r, 0, nic->streams->len)];

            break_cid(&n, r, fs, how);
        }
        if (how & (FAULTS | CUTS) && g_rand_int_range(r, 0, 30) == 0) {
            fake_advance(n.w, g_rand_int_range(r, 1, 3000) * MS);
        }
        for (int k = g_rand_int_range(r, 0, 40); k && fake_step(n.w); k--) {
            /* some of what can happen, happens */
        }
        if (g_rand_int_range(r, 0, 10) == 0) {
            n.w->now += g_rand_int_range(r, 1, 5 * MS);
        }
    }
    settle(&n);
    for (int i = 0; i < 2; i++) {
        for (guint j = 0; j < nics[i]->streams->len; j++) {
            FakeStream *fs = nics[i]->streams->pdata[j];
            FakeStream *peer = fs->active ? fake_peer_of(nics[!i], fs) : NULL;

            g_assert_null(fs->s);
            if (!with_faults && peer && fs->established && peer->established) {
                assert_not_lost(fs, peer);
                assert_not_lost(peer, fs);
            }
            if (peer && fs->disconnected && peer->disconnected &&
                fs->reason == VTOE_REASON_NONE &&
                peer->reason == VTOE_REASON_NONE) {
                g_assert_cmpuint(fs->rx_off, ==, peer->tx_posted);
                g_assert_cmpuint(peer->rx_off, ==, fs->tx_posted);
                clean++;
            }
        }
    }
    if (!(how & (FAULTS | CUTS))) {
        /* Nothing but the guests ends a stream. */
        g_assert_cmpuint(fake_stats(n.left)->reset_link_lost, ==, 0);
        g_assert_cmpuint(fake_stats(n.right)->reset_link_lost, ==, 0);
        g_assert_cmpuint(fake_link_stats(n.l, true)->downs, ==, 0);
    }
    soak_resumed += fake_stats(n.left)->streams_resumed;
    g_test_message("%s / %s", fake_last_error(n.l, false),
                   fake_last_error(n.l, true));
    g_assert_cmpuint(fake_link_stats(n.l, true)->bad_order +
                     fake_link_stats(n.l, true)->bad_offset +
                     fake_link_stats(n.l, true)->bad_credit +
                     fake_link_stats(n.l, false)->bad_order +
                     fake_link_stats(n.l, false)->bad_offset +
                     fake_link_stats(n.l, false)->bad_credit, ==, 0);
    g_assert_cmpuint(fake_link_conns(n.l), ==, 2);
    fake_world_free(n.w);
    return clean;
}

static unsigned soak_seeds(void)
{
    const char *s = g_getenv("VNET_SOAK_SEEDS");

    return s ? atoi(s) : 40;
}

static void test_soak(gconstpointer data)
{
    unsigned clean = 0;

    for (unsigned i = 1; i <= soak_seeds(); i++) {
        g_test_message("seed %u", i);
        clean += soak(i, GPOINTER_TO_INT(data));
    }
    /* It is about streams that carry bytes, not only about their end. */
    g_assert_cmpuint(clean, >=, soak_seeds());
    if (GPOINTER_TO_INT(data) & (CUTS | BREAKS)) {
        g_assert_cmpuint(soak_resumed, >=, soak_seeds());
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/vnet/stream/soak", GINT_TO_POINTER(FROM_LEFT),
                         test_soak);
    g_test_add_data_func("/vnet/stream/soak-faults",
                         GINT_TO_POINTER(FROM_LEFT | FAULTS), test_soak);
    g_test_add_data_func("/vnet/stream/messages/soak",
                         GINT_TO_POINTER(FROM_LEFT | MESSAGES), test_soak);
    g_test_add_data_func("/vnet/stream/messages/soak-faults",
                         GINT_TO_POINTER(FROM_LEFT | MESSAGES | FAULTS),
                         test_soak);
    g_test_add_data_func("/vnet/stream/soak-cuts",
                         GINT_TO_POINTER(FROM_LEFT | RESUME | CUTS), test_soak);
    g_test_add_data_func("/vnet/stream/soak-cuts-and-faults",
                         GINT_TO_POINTER(FROM_LEFT | RESUME | CUTS | FAULTS),
                         test_soak);
    g_test_add_data_func("/vnet/stream/soak-breaks",
                         GINT_TO_POINTER(FROM_LEFT | RESUME | BREAKS),
                         test_soak);
    g_test_add_data_func("/vnet/stream/messages/soak-cuts",
                         GINT_TO_POINTER(FROM_LEFT | MESSAGES | RESUME | CUTS),
                         test_soak);
    g_test_add_data_func("/vnet/stream/messages/soak-cuts-and-faults",
                         GINT_TO_POINTER(FROM_LEFT | MESSAGES | RESUME | CUTS |
                                         FAULTS), test_soak);
    g_test_add_data_func("/vnet/stream/messages/soak-breaks",
                         GINT_TO_POINTER(FROM_LEFT | MESSAGES | RESUME | BREAKS),
                         test_soak);
    return g_test_run();
}
