/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two cores for tests of the stream machine, see vnet-stream-net.h.
 */
#include <string.h>
#include "vnet-core.h"      /* the times */
#include "vnet-stream-net.h"

static FakeHost *net_host(FakeWorld *w, unsigned how)
{
    const VnetCoreConfig cfg = {
        .name = "net", .net.vni = 7, .max_streams = 4096, .heartbeat_ms = 1000,
        .max_macs = 64, .mac_age_s = 300, .resume_ms = RESUME_MS,
    };

    return how & RESUME ? fake_host_new(w, &cfg) : fake_host(w);
}

Net net_on(FakeWorld *w, unsigned how)
{
    bool from_left = how & FROM_LEFT;
    Net n = { .w = w };

    n.left = net_host(w, how);
    n.right = net_host(w, how);
    n.a = fake_nic_new(n.left, 1);
    n.b = fake_nic_new(n.right, 2);
    n.l = fake_link_new(w, n.left, n.right);
    n.messages = how & MESSAGES;
    if (n.messages) {
        fake_link_messages(n.l, 65536, 64);
    }
    n.from = from_left ? n.a : n.b;
    n.to = from_left ? n.b : n.a;
    fake_run(w);
    g_test_message("%s / %s", fake_last_error(n.l, false),
                   fake_last_error(n.l, true));
    g_assert_cmpstr(vnet_link_state(fake_link_client(n.l)), ==, "up");
    g_assert_cmpstr(vnet_link_state(fake_link_server(n.l)), ==, "up");
    return n;
}

Net net_new(gconstpointer data)
{
    return net_on(fake_world_new(0), GPOINTER_TO_INT(data));
}

FakeHost *from_host(Net *n)
{
    return n->from->h;
}

bool opener_is_server(Net *n)
{
    return n->from == n->b;
}

const char *stream_state(FakeStream *fs)
{
    VnetStreamInfo info;

    if (!fs->s) {
        return "gone";
    }
    vnet_stream_get_info(fs->s, &info);
    return info.state;
}

uint32_t stream_id(FakeStream *fs)
{
    VnetStreamInfo info;

    vnet_stream_get_info(fs->s, &info);
    return info.cid;
}

VnetMsg msg(uint8_t type, uint32_t id, uint64_t offset)
{
    VnetMsg m = { .type = type, .id = id };

    if (type == VNET_MSG_CREDIT) {
        m.u.credit.count = 1;
        m.u.credit.length = offset;
    } else {
        m.u.offset.offset = offset;
    }
    return m;
}

void assert_clean(FakeStream *fs)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->established, ==, 1);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, VTOE_REASON_NONE);
}

void assert_reset(FakeStream *fs, enum vtoe_reason reason)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->disconnected, ==, 1);
    g_assert_cmpint(fs->reason, ==, reason);
}

void assert_failed(FakeStream *fs, enum vtoe_event_type event,
                   enum vtoe_reason reason)
{
    g_assert_null(fs->s);
    g_assert_cmpuint(fs->failed, ==, 1);
    g_assert_cmpint(fs->event, ==, event);
    g_assert_cmpint(fs->reason, ==, reason);
}

void assert_nothing_broken(Net *n)
{
    for (int server = 0; server < 2; server++) {
        const VnetLinkStats *st = fake_link_stats(n->l, server);

        g_assert_cmpuint(st->bad_order + st->bad_offset + st->bad_credit +
                         st->bad_value, ==, 0);
    }
}

void assert_link_up(Net *n)
{
    g_assert_cmpstr(vnet_link_state(fake_link_client(n->l)), ==, "up");
    g_assert_cmpstr(vnet_link_state(fake_link_server(n->l)), ==, "up");
}

FakeStream *open_stream(Net *n, FakeStream **peer)
{
    FakeStream *fs;

    n->to->passive_tx = 0;
    n->to->passive_hold = true;
    fs = fake_connect(n->from, n->to->mac, UINT64_MAX);
    fake_run(n->w);
    *peer = fake_peer_of(n->to, fs);
    g_assert_cmpstr(stream_state(fs), ==, "established");
    g_assert_cmpstr(stream_state(*peer), ==, "established");
    return fs;
}

static const char *const stage_names[STAGES] = {
    "opening", "accepted", "established", "ending", "end-sent", "half-closed",
    "peer-ending", "peer-ended", "closing",
};

FakeStream *bring_to(Net *n, Stage stage, FakeStream **peer)
{
    FakeStream *fs;

    if (stage == OPENING || stage == ACCEPTED) {
        n->to->answer = FAKE_LATER;
        n->to->passive_hold = true;
        /* As if no data connection had come up yet */
        fs = fake_connect(n->from, n->to->mac, UINT64_MAX);
        fake_run(n->w);
        *peer = fake_peer_of(n->to, fs);
        if (stage == ACCEPTED) {
            fake_accept(*peer);
            while (strcmp(stream_state(fs), "accepted") &&
                   strcmp(stream_state(fs), "established")) {
                g_assert_true(fake_step(n->w));
            }
        }
        return fs;
    }
    fs = open_stream(n, peer);
    /* There it is the connection that holds bytes, here receives do. */
    fake_link_stall_data(n->l, n->messages && stage != ENDING);
    switch (stage) {
    case ENDING:
        (*peer)->rx_paused = true;
        fake_post(fs, 1 << 20);
        fake_shutdown(fs);
        break;
    case END_SENT:
        (*peer)->rx_paused = true;
        fake_post(fs, 1000);
        fake_shutdown(fs);
        break;
    case HALF_CLOSED:
        fake_shutdown(fs);
        break;
    case PEER_ENDING:
        fs->rx_paused = true;
        fake_post(*peer, 1000);
        fake_shutdown(*peer);
        break;
    case PEER_ENDED:
        fake_shutdown(*peer);
        break;
    case CLOSING:
        fs->rx_paused = (*peer)->rx_paused = true;
        fake_post(*peer, 1000);
        fake_post(fs, 1000);
        fake_shutdown(*peer);
        fake_shutdown(fs);
        break;
    default:
        break;
    }
    fake_run(n->w);
    g_assert_cmpstr(stream_state(fs), ==, stage_names[stage]);
    return fs;
}

void transfer(Net *n, uint64_t there, uint64_t back)
{
    FakeStream *fs, *peer;

    fake_link_stall_data(n->l, false);
    n->to->passive_tx = back;
    n->to->passive_hold = false;
    fs = fake_connect(n->from, n->to->mac, there);
    fake_advance(n->w, 2 * VNET_ACK_NS);
    peer = fake_peer_of(n->to, fs);
    assert_clean(fs);
    assert_clean(peer);
    g_assert_cmpuint(fs->rx_off, ==, back);
    g_assert_cmpuint(peer->rx_off, ==, there);
    g_assert_cmpuint(fs->rx_ended + peer->rx_ended, ==, 2);
}
