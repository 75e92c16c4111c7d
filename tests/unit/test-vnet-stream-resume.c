/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams that outlive their link (docs/specs/vnet-wire.rst, "Resuming").
 *
 * The NICs check for themselves that every byte comes once and in order.
 */
#include "vnet-stream-net.h"

static Net resume_net(gconstpointer data)
{
    return net_on(fake_world_new(0), GPOINTER_TO_INT(data) | RESUME);
}

/* Cuts the link for so long, as seen by one end, the other, or both. */
static void cut_for(Net *n, int64_t ns, unsigned who)
{
    fake_link_block(n->l, true);
    fake_link_cut(n->l, who & 1, who & 2);
    fake_advance(n->w, ns);
    fake_link_block(n->l, false);
    fake_advance(n->w, 10 * S);
    assert_link_up(n);
}

/* Bytes on their way in both directions, for any length of the cut. */
static void test_goes_on(gconstpointer data)
{
    static const int64_t times[] = { 0, 100 * MS, 5 * S, 30 * S };

    for (size_t i = 0; i < G_N_ELEMENTS(times) * 3; i++) {
        Net n = resume_net(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);

        n.w->pipe_size = 1000;
        fs->rx_buf = peer->rx_buf = 77;
        fake_post(fs, 50000);
        fake_post(peer, 30000);
        for (unsigned k = 0; k < 20 * i; k++) {
            fake_step(n.w);
        }
        cut_for(&n, times[i / 3], i % 3 + 1);
        g_assert_cmpstr(stream_state(fs), ==, "established");
        g_assert_cmpuint(fake_stats(n.left)->streams_parked, ==, 1);
        g_assert_cmpuint(fake_stats(n.left)->streams_resumed, ==, 1);
        g_assert_cmpuint(fake_stats(n.right)->streams_resumed, ==, 1);
        fake_shutdown(fs);
        fake_shutdown(peer);
        fake_advance(n.w, S);
        assert_clean(fs);
        assert_clean(peer);
        g_assert_cmpuint(peer->rx_off, ==, 50000);
        g_assert_cmpuint(fs->rx_off, ==, 30000);
        assert_nothing_broken(&n);
        fake_world_free(n.w);
    }
}

/* Cuts a stream's life after so many steps, and again a bit later.  Whether it
 * was over before. */
static bool cut_at(unsigned how, guint32 seed, unsigned at)
{
    Net n = net_on(fake_world_new(seed), how);
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
        over = !fs->s && !peer->s;
    }
    fake_link_cut(n.l, at & 1, true);
    for (unsigned k = 0; k < at % 13; k++) {
        fake_step(n.w);
    }
    fake_link_cut(n.l, true, at & 2);
    fake_advance(n.w, 20 * S);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(peer->rx_off, ==, 200);
    g_assert_cmpuint(fs->rx_off, ==, 100);
    assert_nothing_broken(&n);
    fake_world_free(n.w);
    return over;
}

static void test_cut_at_every_step(gconstpointer data)
{
    for (guint32 seed = 1; seed <= 20; seed++) {
        unsigned at = 0;

        while (!cut_at(GPOINTER_TO_INT(data) | RESUME, seed, at)) {
            at++;
        }
        g_test_message("seed %u: %u steps", seed, at);
        g_assert_cmpuint(at, >, 20);
    }
}

/* One reset at each end, when the time is over and not before. */
static void test_time_limit(gconstpointer data)
{
    Net n = resume_net(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 5000);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    fake_advance(n.w, (RESUME_MS - 1000) * MS);
    g_assert_cmpstr(stream_state(fs), ==, "parked");
    g_assert_cmpstr(stream_state(peer), ==, "parked");
    fake_advance(n.w, 2 * S);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    assert_reset(peer, VTOE_REASON_LINK_LOST);
    g_assert_cmpuint(fake_stats(n.left)->reset_link_lost, ==, 1);
    fake_link_block(n.l, false);
    fake_advance(n.w, 10 * S);
    assert_link_up(&n);
    fake_world_free(n.w);
}

/* A stream that is opening, or was accepted and has no connection yet; or NULL,
 * when chance has it otherwise. */
static FakeStream *open_halfway(Net *n, bool accepted)
{
    FakeStream *fs;

    n->to->answer = accepted ? FAKE_ACCEPT : FAKE_LATER;
    n->to->passive_hold = true;
    fs = fake_connect(n->from, n->to->mac, UINT64_MAX);
    while (strcmp(stream_state(fs), "established") && fake_step(n->w)) {
        if (accepted && !strcmp(stream_state(fs), "accepted")) {
            return fs;
        }
    }
    return accepted ? NULL : fs;
}

/* One that is opening fails; one that was accepted goes on, or fails in time. */
static void test_not_established_yet(gconstpointer data)
{
    unsigned found[3] = { 0 };

    for (guint32 seed = 1; seed <= 90; seed++) {
        int how = seed % 3;
        Net n = net_on(fake_world_new(seed), GPOINTER_TO_INT(data) | RESUME);
        FakeStream *fs = open_halfway(&n, how);

        if (fs) {
            found[how]++;
            fake_link_block(n.l, true);
            fake_link_cut(n.l, true, true);
            fake_advance(n.w, how == 1 ? S : (RESUME_MS + 1000) * MS);
            if (how == 1) {
                g_assert_cmpstr(stream_state(fs), ==, "parked");
                fake_link_block(n.l, false);
                fake_advance(n.w, 5 * S);
                g_assert_cmpuint(fs->established, ==, 1);
                g_assert_cmpstr(stream_state(fs), ==, "established");
                g_assert_cmpuint(fake_peer_of(n.to, fs)->established, ==, 1);
            } else {
                assert_failed(fs, VTOE_EVENT_UNREACHABLE,
                              VTOE_REASON_LINK_LOST);
            }
        }
        fake_world_free(n.w);
    }
    /* A client connects before it is accepted. */
    g_assert_true(found[0] && (GPOINTER_TO_INT(data) & FROM_LEFT ||
                               (found[1] && found[2])));
}

/* A link whose peer was not given the address takes no stream with it on. */
static void test_other_link_of_other_addresses(gconstpointer data)
{
    for (int i = 0; i < 2; i++) {
        Net n = resume_net(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);
        FakeLink *other = fake_link_new(n.w, n.left, n.right);

        vnet_link_set_peer_macs(i ? fake_link_client(other)
                                  : fake_link_server(other), NULL, 0);
        fake_run(n.w);
        fake_link_block(n.l, true);
        fake_link_cut(n.l, true, true);
        fake_run(n.w);
        if (fs->s) {
            fake_post(fs, 1000);
        }
        fake_advance(n.w, S);
        /* Its end refuses, or the other does. */
        g_assert_cmpuint(peer->rx_off, <, 1000);
        g_assert_true(!fs->s || !strcmp(stream_state(fs), "parked"));
        fake_world_free(n.w);
    }
}

/* Nor one whose peer, by its certificate, is another. */
static void test_other_link_of_another(gconstpointer data)
{
    for (int i = 0; i < 2; i++) {
        Net n = resume_net(data);
        FakeLink *other = NULL;
        FakeStream *peer, *fs;

        fake_link_set_identity(n.l, "CN=a");
        fs = open_stream(&n, &peer);
        other = fake_link_new(n.w, n.left, n.right);
        fake_link_set_identity(other, i ? "CN=a" : NULL);
        fake_run(n.w);
        fake_link_block(n.l, true);
        fake_link_cut(n.l, true, true);
        fake_advance(n.w, S);
        g_assert_cmpstr(stream_state(fs), ==, i ? "established" : "parked");
        /* Nor does it end them. */
        g_assert_cmpstr(stream_state(peer), ==, i ? "established" : "parked");
        fake_link_block(n.l, false);
        fake_advance(n.w, 5 * S);
        g_assert_cmpstr(stream_state(fs), ==, "established");
        assert_nothing_broken(&n);
        fake_world_free(n.w);
    }
}

/* What the ends have said on a link. */
static uint64_t said(FakeLink *l)
{
    return fake_link_stats(l, true)->tx_msgs + fake_link_stats(l, false)->tx_msgs;
}

/*
 * The token of a connection that is there is told to nobody else: who says it may
 * add data connections to it.  Of one that is lost, a stream's end is told.
 */
static void test_token_is_not_told(gconstpointer data)
{
    uint64_t without = 0;

    for (int i = 0; i < 2; i++) {
        Net n = resume_net(data);
        FakeStream *peer, *fs = i ? open_stream(&n, &peer) : NULL;
        FakeLink *other;

        if (fs) {
            fake_shutdown(fs);
            fake_shutdown(peer);
            fake_run(n.w);
            assert_clean(fs);
            assert_clean(peer);
        }
        other = fake_link_new(n.w, n.left, n.right);
        fake_run(n.w);
        if (!fs) {
            without = said(other);
        }
        g_assert_cmpuint(said(other), ==, without);
        fake_link_block(n.l, true);
        fake_link_cut(n.l, true, true);
        fake_run(n.w);
        g_assert_cmpuint(said(other), ==, without + i);
        assert_nothing_broken(&n);
        fake_world_free(n.w);
    }
}

/* An end whose other end gave up meanwhile hears of it when the link is up. */
static void test_other_end_gave_up(gconstpointer data)
{
    for (int i = 0; i < 2; i++) {
        Net n = resume_net(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);
        FakeStream *gone = i ? fs : peer, *left = i ? peer : fs;
        VnetStream *s;

        fake_link_block(n.l, true);
        fake_link_cut(n.l, true, true);
        fake_run(n.w);
        s = gone->s;
        gone->s = NULL;
        vnet_stream_abort(s, VTOE_REASON_RESET);
        fake_link_block(n.l, false);
        fake_advance(n.w, 5 * S);
        assert_link_up(&n);
        assert_reset(left, VTOE_REASON_LINK_LOST);
        assert_nothing_broken(&n);
        fake_world_free(n.w);
    }
}

/* The word that would have finished it was lost: at either end. */
static void test_last_word_lost(gconstpointer data)
{
    for (int i = 0; i < 2; i++) {
        Net n = resume_net(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);
        bool from_server = i;
        FakeStream *waits = (from_server ? n.b : n.a) == fs->nic ? peer : fs;

        fake_post(fs, 100);
        fake_post(peer, 100);
        fake_run(n.w);
        fake_link_swallow(n.l, !from_server, VNET_MSG_ACK);
        fake_shutdown(fs);
        fake_shutdown(peer);
        fake_run(n.w);
        g_assert_null((waits == fs ? peer : fs)->s);
        g_assert_nonnull(waits->s);
        fake_link_swallow(n.l, !from_server, 0);
        cut_for(&n, S, 3);
        assert_clean(fs);
        assert_clean(peer);
        assert_nothing_broken(&n);
        fake_world_free(n.w);
    }
}

/* What a guest does meanwhile counts when it goes on. */
static void test_meanwhile(gconstpointer data)
{
    Net n = resume_net(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    fake_post(fs, 1000);
    fake_run(n.w);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    fake_run(n.w);
    fake_post(fs, 1000);
    fake_shutdown(fs);
    fake_post(peer, 500);
    fake_link_block(n.l, false);
    fake_advance(n.w, 5 * S);
    g_assert_cmpuint(peer->rx_off, ==, 2000);
    g_assert_cmpuint(peer->rx_ended, ==, 1);
    g_assert_cmpuint(fs->rx_off, ==, 500);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

/* A guest that closes meanwhile, with bytes under way to it. */
static void test_closed_meanwhile(gconstpointer data)
{
    Net n = resume_net(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);

    peer->rx_paused = true;
    fake_post(fs, 1000);
    fake_run(n.w);
    fake_link_block(n.l, true);
    fake_link_cut(n.l, true, true);
    fake_run(n.w);
    peer->rx_closed = true;
    vnet_stream_rx_close(peer->s);
    fake_shutdown(peer);
    /* On a message transport the first are there. */
    fake_post(fs, 1000);
    fake_link_block(n.l, false);
    fake_advance(n.w, 5 * S);
    assert_reset(peer, VTOE_REASON_UNREAD);
    assert_reset(fs, VTOE_REASON_UNREAD);
    assert_nothing_broken(&n);
    fake_world_free(n.w);
}

/* Both links lead to the same peer: the other one takes over. */
static void test_other_link(gconstpointer data)
{
    Net n = resume_net(data);
    FakeLink *other = fake_link_new(n.w, n.left, n.right);
    FakeStream *peer, *fs;
    VnetStreamInfo info;

    fake_run(n.w);
    fs = open_stream(&n, &peer);
    n.w->pipe_size = 1000;
    fs->rx_buf = peer->rx_buf = 77;
    fake_post(fs, 50000);
    fake_post(peer, 50000);
    for (int k = 0; k < 50; k++) {
        fake_step(n.w);
    }
    vnet_stream_get_info(fs->s, &info);
    /* Whichever it is on: only one of the ends notices. */
    fake_link_block(n.l, true);
    fake_link_block(other, true);
    fake_link_cut(strcmp(info.link_id, vnet_link_id(fake_link_client(n.l)))
                  ? other : n.l, n.from == n.b, n.from == n.a);
    fake_advance(n.w, S);
    g_assert_cmpuint(peer->rx_off, ==, 50000);
    g_assert_cmpuint(fs->rx_off, ==, 50000);
    fake_shutdown(fs);
    fake_shutdown(peer);
    fake_run(n.w);
    assert_clean(fs);
    assert_clean(peer);
    fake_world_free(n.w);
}

/* Good-byes, violations and removal mean what they say. */
static void test_not_parked(gconstpointer data)
{
    Net n = resume_net(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = { .type = VNET_MSG_BYE };

    m.u.bye.reason = VTOE_REASON_NONE;
    strcpy(m.u.bye.text, "removed");
    fake_link_inject_msg(n.l, true, &m);
    fake_link_inject_msg(n.l, false, &m);
    /* The client may see the frame connection end before it reads the good-bye:
     * then it is told when the link is up. */
    fake_advance(n.w, 10 * S);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    assert_reset(peer, VTOE_REASON_LINK_LOST);

    fs = open_stream(&n, &peer);
    fake_link_inject(n.l, true, "\xff", 1);
    fake_run(n.w);
    g_assert_null((n.from == n.b ? fs : peer)->s);
    fake_advance(n.w, 10 * S);
    g_assert_true(!fs->s && !peer->s);
    g_assert_cmpuint(fs->reason, !=, VTOE_REASON_NONE);
    g_assert_cmpuint(peer->reason, !=, VTOE_REASON_NONE);
    if (!n.messages) {          /* there the server may, too */
        g_assert_cmpuint(fake_stats(n.right)->streams_parked, ==, 0);
    }
    fake_world_free(n.w);
}

/* One end does without: it is as if both did. */
static void test_one_end_only(gconstpointer data)
{
    FakeWorld *w = fake_world_new(0);
    const VnetCoreConfig cfg = {
        .name = "left", .net.vni = 7, .max_streams = 4096, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300, .resume_ms = RESUME_MS,
    };
    FakeHost *left = fake_host_new(w, &cfg), *right = fake_host(w);
    FakeNic *a = fake_nic_new(left, 1), *b = fake_nic_new(right, 2);
    FakeLink *l = fake_link_new(w, left, right);
    FakeStream *fs;

    b->passive_hold = true;
    fake_run(w);
    fs = fake_connect(a, b->mac, UINT64_MAX);
    fake_run(w);
    fake_link_cut(l, true, true);
    fake_run(w);
    assert_reset(fs, VTOE_REASON_LINK_LOST);
    fake_world_free(w);
}

/* --- A peer that lies ---------------------------------------------------- */

static VnetMsg resume_msg(uint8_t type, uint32_t id, uint64_t token,
                          uint32_t birth, uint64_t received)
{
    VnetMsg m = { .type = type, .id = id };

    m.u.resume.token = token;
    m.u.resume.id = birth;
    m.u.resume.received = received;
    return m;
}

/* Of what is not there: refused, and nothing else happens. */
static void test_unknown(gconstpointer data)
{
    Net n = resume_net(data);
    FakeStream *peer, *fs = open_stream(&n, &peer);
    VnetMsg m = resume_msg(VNET_MSG_RESUME, 99, 0x1234, 5, 0);

    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    m.id = 100;
    m.flags = VNET_RESUME_F_END | VNET_RESUME_F_DONE;
    fake_link_inject_msg(n.l, true, &m);
    fake_run(n.w);
    assert_link_up(&n);
    g_assert_cmpstr(stream_state(fs), ==, "established");
    g_assert_cmpuint(fake_link_stats(n.l, false)->unknown_stream, ==, 1);
    fake_world_free(n.w);
}

/* By a link that was not given the address: refused, and it goes on as it was. */
static void test_not_given(gconstpointer data)
{
    static const uint8_t others[1][6] = { { 2, 0, 0, 0, 0, 0x77 } };
    Net n = resume_net(data);
    FakeLink *other = fake_link_new(n.w, n.left, n.right);
    bool to_server = !opener_is_server(&n);
    FakeStream *peer, *fs;
    VnetMsg m;

    vnet_link_set_peer_macs(fake_link_client(other), others, 1);
    vnet_link_set_peer_macs(fake_link_server(other), others, 1);
    fake_run(n.w);
    fs = open_stream(&n, &peer);
    m = resume_msg(VNET_MSG_RESUME, to_server ? 99 : VNET_STREAM_ID_SERVER | 99,
                   fake_link_token(n.l), stream_id(fs), 0);
    fake_link_inject_msg(other, to_server, &m);
    fake_run(n.w);
    g_assert_cmpuint(fake_link_stats(other, !to_server)->unknown_stream, ==, 1);
    fake_post(fs, 100);
    fake_run(n.w);
    g_assert_cmpuint(peer->rx_off, ==, 100);
    g_assert_cmpuint(fake_stats(n.left)->streams_parked, ==, 0);
    g_assert_cmpuint(fake_stats(n.right)->streams_parked, ==, 0);
    assert_link_up(&n);
    fake_world_free(n.w);
}

/* Offsets that cannot be, and an end that nobody said. */
static void test_bad_offsets(gconstpointer data)
{
    for (int i = 0; i < 3; i++) {
        Net n = resume_net(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);
        bool to_server = !opener_is_server(&n);
        uint64_t token = fake_link_token(n.l);
        VnetMsg m = resume_msg(VNET_MSG_RESUME, to_server ? 99 :
                               VNET_STREAM_ID_SERVER | 99, token,
                               stream_id(fs), i == 0 ? 101 : i == 1 ? 99 : 100);

        m.flags = i == 2 ? VNET_RESUME_F_END : 0;
        fake_post(peer, 100);
        fake_advance(n.w, S);
        g_assert_cmpuint(peer->tx_acked, ==, 100);
        fake_link_inject_msg(n.l, to_server, &m);
        fake_run(n.w);
        g_assert_cmpuint(fake_link_stats(n.l, to_server)->bad_offset, ==, 1);
        fake_advance(n.w, 10 * S);
        assert_link_up(&n);
        fake_world_free(n.w);
    }
}

/* In the wrong state, with the wrong id, without having agreed on it. */
static void test_bad_order(gconstpointer data)
{
    for (int i = 0; i < 4; i++) {
        Net n = i == 3 ? net_new(data) : resume_net(data);
        FakeStream *peer, *fs = open_stream(&n, &peer);
        bool to_server = !opener_is_server(&n);
        uint32_t own = to_server ? 0 : VNET_STREAM_ID_SERVER;
        VnetMsg m = resume_msg(i == 0 ? VNET_MSG_RESUMED : VNET_MSG_RESUME,
                               i == 0 || i == 1 ? stream_id(fs) :
                               i == 2 ? (own ^ VNET_STREAM_ID_SERVER) | 99 :
                               own | 99, 7, 7, 0);

        fake_link_inject_msg(n.l, to_server, &m);
        fake_run(n.w);
        g_assert_cmpuint(fake_link_stats(n.l, to_server)->bad_order, ==, 1);
        fake_world_free(n.w);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    T4(goes_on);
    T4(cut_at_every_step);
    T4(time_limit);
    T4(not_established_yet);
    T4(other_link_of_other_addresses);
    T4(other_link_of_another);
    T4(token_is_not_told);
    T4(other_end_gave_up);
    T4(last_word_lost);
    T4(meanwhile);
    T4(closed_meanwhile);
    T4(other_link);
    T4(not_parked);
    T4(one_end_only);
    T4(unknown);
    T4(not_given);
    T4(bad_offsets);
    T4(bad_order);
    return g_test_run();
}
