/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that outlive their data connection, while the link is there
 * (docs/specs/vnet-wire.rst, "Loss of a data connection").
 *
 * The NICs check for themselves that every byte comes once and in order.
 */
#include <errno.h>
#include "vnet-core.h"
#include "vnet-stream-net.h"

/* Which ends notice. */
typedef enum Who { BOTH, ONLY_OPENER, ONLY_ACCEPTOR, WHO } Who;

static Net redial_net(gconstpointer data, guint32 seed)
{
    return net_on(fake_world_new(seed), GPOINTER_TO_INT(data) | RESUME);
}

static void lose(FakeStream *fs, FakeStream *peer, Who who)
{
    if (who == BOTH) {
        fake_stream_break_cid(fs->s ? fs : peer, ECONNRESET);
    } else {
        fake_stream_break_half(who == ONLY_OPENER ? fs : peer, ECONNRESET);
    }
}

static bool is_there(FakeStream *fs)
{
    return fs->s && fs->established;
}

static void assert_link_unharmed(Net *n)
{
    assert_nothing_broken(n);
    g_assert_cmpuint(fake_link_stats(n->l, false)->downs, ==, 0);
    g_assert_cmpuint(fake_link_stats(n->l, true)->downs, ==, 0);
}

/* --- It goes on ---------------------------------------------------------- */

static void test_idle(gconstpointer data)
{
    for (Who who = 0; who < WHO; who++) {
        Net n = redial_net(data, 0);
        FakeStream *peer, *fs = open_stream(&n, &peer);

        fake_post(fs, 100);
        fake_run(n.w);
        lose(fs, peer, who);
        fake_run(n.w);
        /* The peer has a moment to say why. */
        g_assert_cmpuint(fake_stats(n.left)->streams_parked, ==, 0);
        fake_advance(n.w, VNET_ASK_NS);
        g_assert_cmpstr(stream_state(fs), ==, "established");
        g_assert_cmpstr(stream_state(peer), ==, "established");
        g_assert_cmpuint(fake_stats(n.left)->streams_parked, ==, 1);
        g_assert_cmpuint(fake_stats(n.right)->streams_parked, ==, 1);
        g_assert_cmpuint(fake_stats(n.left)->streams_resumed, ==, 1);
        g_assert_cmpuint(fake_stats(n.right)->streams_resumed, ==, 1);
        fake_post(fs, 5000);
        fake_post(peer, 3000);
        fake_shutdown(fs);
        fake_shutdown(peer);
        fake_run(n.w);
        assert_clean(fs);
        assert_clean(peer);
        g_assert_cmpuint(peer->rx_off, ==, 5100);
        g_assert_cmpuint(fs->rx_off, ==, 3000);
        assert_link_unharmed(&n);
        fake_world_free(n.w);
    }
}

/* Loses the connection after so many steps of a stream's life, and again later.
 * Whether it was over before. */
static bool lose_at(gconstpointer data, guint32 seed, unsigned at)
{
    Net n = redial_net(data, seed);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    bool over = false;

    n.w->pipe_size = 64;
    fake_post(fs, 200);
    fake_post(peer, 100);
    fake_shutdown(fs);
    fake_shutdown(peer);
    for (unsigned k = 0; k < at && !over; k++) {
        if (!fake_step(n.w)) {
            fake_advance(n.w, MS);
        }
        over = !is_there(fs) || !is_there(peer);
    }
    if (!over) {
        lose(fs, peer, at % WHO);
        fake_advance(n.w, VNET_ASK_NS);
        for (unsigned k = 0; k < at % 13; k++) {
            fake_step(n.w);
        }
        if (is_there(fs) && is_there(peer)) {
            n.w->now += VNET_GUARD_NS;
            lose(fs, peer, at / 2 % WHO);
        }
    }
    fake_advance(n.w, 20 * S);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(peer->rx_off, ==, 200);
    g_assert_cmpuint(fs->rx_off, ==, 100);
    assert_link_unharmed(&n);
    fake_world_free(n.w);
    return over;
}

static void test_at_every_step(gconstpointer data)
{
    for (guint32 seed = 1; seed <= 20; seed++) {
        unsigned at = 0;

        while (!lose_at(data, seed, at)) {
            at++;
        }
        g_assert_cmpuint(at, >, 10);
    }
}

/* Another link to the same peer comes up before the active end knows. */
static void test_other_link_comes_up(gconstpointer data)
{
    Net n = redial_net(data, 0);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    FakeLink *other;

    fake_post(fs, 1000);
    fake_run(n.w);
    lose(fs, peer, ONLY_ACCEPTOR);
    fake_advance(n.w, VNET_ASK_NS - MS);
    fake_link_swallow(n.l, opener_is_server(&n), VNET_MSG_REDIAL);
    fake_advance(n.w, MS);
    g_assert_cmpstr(stream_state(peer), ==, "established");
    g_assert_cmpuint(fake_stats(n.left)->streams_parked +
                     fake_stats(n.right)->streams_parked, ==, 0);
    other = fake_link_new(n.w, n.left, n.right);
    fake_run(n.w);
    g_assert_cmpstr(vnet_link_state(fake_link_client(other)), ==, "up");
    g_assert_cmpstr(stream_state(peer), ==, "established");
    fake_link_swallow(n.l, opener_is_server(&n), 0);
    /* Its link is lost as well, with what the active end was not told. */
    fake_link_cut(n.l, true, true);
    fake_run(n.w);
    g_assert_cmpstr(stream_state(peer), ==, "established");
    fake_post(fs, 1000);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 2000);
    fake_world_free(n.w);
}

/* --- It does not --------------------------------------------------------- */

/* What the peer said before it was asked is the reason, however late it comes. */
static void test_explained(gconstpointer data)
{
    Net n = redial_net(data, 0);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetStream *s = peer->s;

    fake_link_stall_control(n.l, true);
    peer->s = NULL;
    vnet_stream_abort(s, VTOE_REASON_TIMEOUT);
    fake_advance(n.w, VNET_ASK_NS * 4);
    g_assert_cmpstr(stream_state(fs), ==, "established");
    fake_link_stall_control(n.l, false);
    fake_advance(n.w, S);
    assert_reset(fs, VTOE_REASON_TIMEOUT);
    g_assert_cmpuint(fake_stats(n.left)->streams_parked, ==, 0);
    g_assert_cmpuint(fake_stats(n.right)->streams_parked, ==, 0);
    assert_link_unharmed(&n);
    fake_world_free(n.w);
}

/* Connections that break as soon as they are there, for nothing. */
static void test_lost_again_and_again(gconstpointer data)
{
    Net n = redial_net(data, 0);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    unsigned lost = 0;

    while (fs->s && lost < 10) {
        lose(fs, peer, BOTH);
        fake_advance(n.w, VNET_ASK_NS);
        lost++;
    }
    g_assert_cmpuint(lost, ==, 2);
    fake_run(n.w);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    assert_reset(peer, VTOE_REASON_LINK_LOST);

    /* Not if a byte was moved, or after a time. */
    fs = open_stream(&n, &peer);
    for (int i = 0; i < 10; i++) {
        lose(fs, peer, BOTH);
        fake_advance(n.w, i & 1 ? 3 * S : VNET_ASK_NS);
        if (!(i & 1)) {
            fake_post(i & 2 ? fs : peer, 1);
            fake_advance(n.w, VNET_ACK_NS);
        }
        g_assert_cmpstr(stream_state(fs), ==, "established");
    }
    assert_link_unharmed(&n);
    fake_world_free(n.w);
}

/* No new one can be made: one reset at each end. */
static void test_none_can_be_made(gconstpointer data)
{
    for (int i = 0; i < 2; i++) {
        Net n = redial_net(data, 0);
        FakeStream *peer, *fs = open_stream(&n, &peer);

        fake_link_refuse_cids(n.l, i, i ? 0 : ECONNREFUSED);
        lose(fs, peer, BOTH);
        fake_advance(n.w, (RESUME_MS + 5000) * MS);
        assert_reset(fs, VTOE_REASON_LINK_LOST);
        g_assert_null(peer->s);
        g_assert_cmpuint(peer->disconnected, ==, 1);
        fake_world_free(n.w);
    }
}

/* --- A peer that lies ---------------------------------------------------- */

static void test_bad_order(gconstpointer data)
{
    for (int i = 0; i < 3; i++) {
        Net n = i == 2 ? net_new(data) : redial_net(data, 0);
        FakeStream *peer, *fs;
        bool to_server = opener_is_server(&n) == (i != 0);
        VnetMsg m;

        if (i == 1) {                   /* to the active end, too early */
            n.to->answer = FAKE_LATER;
            fs = fake_connect(n.from, n.to->mac, UINT64_MAX);
            fake_run(n.w);
        } else {                        /* passive end; not agreed on */
            fs = open_stream(&n, &peer);
        }
        m = msg(VNET_MSG_REDIAL, stream_id(fs), 0);
        fake_link_inject_msg(n.l, to_server, &m);
        fake_run(n.w);
        g_assert_cmpuint(fake_link_stats(n.l, to_server)->bad_order, ==, 1);
        fake_world_free(n.w);
    }
}

/* Of a stream that is not there any more; and one that has lost nothing. */
static void test_for_no_reason(gconstpointer data)
{
    Net n = redial_net(data, 0);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = msg(VNET_MSG_REDIAL, stream_id(fs) + 1, 0);

    fake_link_inject_msg(n.l, opener_is_server(&n), &m);
    m.id--;
    fake_post(fs, 1000);
    fake_link_inject_msg(n.l, opener_is_server(&n), &m);
    fake_run(n.w);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(peer->rx_off, ==, 1000);
    assert_link_unharmed(&n);
    fake_world_free(n.w);
}

/* Behind both ends it is late, and what was owed stays owed once. */
static void test_behind_both_ends(gconstpointer data)
{
    Net n = redial_net(data, 0);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    bool to_server = opener_is_server(&n);
    const GQueue *work = &from_host(&n)->core->stream_work;
    uint32_t id = stream_id(fs);
    VnetMsg m[] = {
        msg(VNET_MSG_ACK, id, 0), msg(VNET_MSG_END, id, 0),
        msg(VNET_MSG_REDIAL, id, 0), { .type = VNET_MSG_RESUME, .id = id + 1 },
    };

    fake_link_swallow(n.l, to_server, VNET_MSG_ACK);
    fake_shutdown(fs);
    fake_run(n.w);
    m[0].flags = VNET_ACK_F_END;
    m[3].u.resume.token = m[3].u.resume.id = 1;
    for (size_t i = 0; i < G_N_ELEMENTS(m); i++) {
        fake_link_inject_msg(n.l, to_server, &m[i]);
    }
    for (int i = 0; i < 100; i++) {
        fake_step(n.w);
        g_assert_cmpuint(work->length, ==, g_list_length(work->head));
    }
    g_assert_cmpuint(fake_link_stats(n.l, to_server)->bad_order, ==, 1);
    fake_world_free(n.w);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T4(idle);
    T4(at_every_step);
    T4(other_link_comes_up);
    T4(explained);
    T4(lost_again_and_again);
    T4(none_can_be_made);
    T4(bad_order);
    T4(for_no_reason);
    T4(behind_both_ends);
    return g_test_run();
}
