/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The peer protocol: what two ends of a link say to each other about the link
 * (docs/specs/vnet-wire.rst, "Links").  Hello, heartbeat, good-bye, and the way of
 * all other messages: of network ids and addresses to vnet-lane.c, of streams to
 * the stream machine.
 *
 *   DOWN --vnet_link_up--> HELLO --HELLO received--> UP
 *     ^-------- vnet_link_close(), for whatever reason --------'
 *
 * Every way down leads through vnet_link_close(): it says BYE if there is
 * somebody to say it to, ends the streams, tells switch and ports, and asks the
 * transport to close and to come back after the back-off.  Found out inside a
 * NIC's callback, it is put off to the end of the dispatch, and the link is
 * deaf and mute until then.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "vnet-stream.h"

static const char *const link_state_names[] = {
    [VNET_LINK_DOWN] = "down",
    [VNET_LINK_HELLO] = "hello",
    [VNET_LINK_UP] = "up",
};

/* Every so many heartbeat intervals the peer is asked even if it was heard, so
 * that the round trip time shown is a recent one, and has to answer in as many:
 * frames that arrive do not say that messages do. */
#define PING_ANYWAY     10

static void link_event(VnetLink *l, const char *msg)
{
    VnetCore *core = l->core;

    if (core->ops.link_event) {
        core->ops.link_event(core->opaque, l, link_state_names[l->state], msg);
    }
}

static void link_set_state(VnetLink *l, VnetLinkState state)
{
    l->state = state;
    l->since_ns = vnet_now(l->core);
    vnet_lanes_update(l);
}

static void link_set_deadline(VnetLink *l, int64_t when_ns)
{
    l->deadline_ns = when_ns;
    vnet_core_wake_at(l->core, when_ns);
}

/* --- Sending ------------------------------------------------------------- */

void vnet_link_send(VnetLink *l, const VnetMsg *m)
{
    uint8_t buf[VNET_MSG_MAX];
    size_t len;

    if (l->state == VNET_LINK_DOWN || l->closing || !l->ops->control) {
        return;
    }
    len = vnet_wire_put_msg(buf, m);
    if (!l->ops->control(l->transport, buf, len)) {
        vnet_link_close_soon(l, &l->stats.lost_overflow, VTOE_REASON_NONE,
                             "the peer does not read its messages");
        return;
    }
    l->stats.tx_msgs++;
}

static void fill_bye(VnetMsg *m, enum vtoe_reason reason, const char *text)
{
    *m = (VnetMsg) { .type = VNET_MSG_BYE };
    m->u.bye.reason = reason;
    snprintf(m->u.bye.text, sizeof(m->u.bye.text), "%s", text);
}

/* The features of parking streams, if this end does. */
static uint64_t own_resume(const VnetLink *l)
{
    return l->core->resume_q.duration_ns ?
           VNET_HELLO_F_RESUME | VNET_HELLO_F_REDIAL : 0;
}

static void send_hello(VnetLink *l)
{
    VnetCore *core = l->core;
    VnetMsg m = { .type = VNET_MSG_HELLO };

    m.u.hello.version_min = VNET_WIRE_VERSION_MIN;
    m.u.hello.version_max = VNET_WIRE_VERSION_MAX;
    m.u.hello.heartbeat_ms = core->heartbeat_ms;
    m.u.hello.features = VNET_HELLO_F_FRAMES | VNET_HELLO_F_STREAMS |
                         VNET_HELLO_F_GSO | VNET_HELLO_F_HOPS | own_resume(l);
    m.u.hello.epoch = core->epoch;
    m.u.hello.token = l->server ? l->token : 0;
    vnet_lanes_say(l, &m);
    m.u.hello.max_streams = core->max_streams;
    snprintf(m.u.hello.name, sizeof(m.u.hello.name), "%s", core->name);
    vnet_link_send(l, &m);
}

static void send_ping(VnetLink *l, int64_t now_ns)
{
    VnetMsg m = { .type = VNET_MSG_PING };

    if (!l->ping_cookie) {
        l->asked_ns = now_ns;
    }
    l->ping_cookie = l->core->ops.random64(l->core->opaque) | 1;
    l->ping_ns = now_ns;
    l->stats.pings_sent++;
    m.u.ping.cookie = l->ping_cookie;
    vnet_link_send(l, &m);
}

uint32_t vnet_link_ask(VnetLink *l)
{
    if (!l->ping_cookie) {
        send_ping(l, vnet_now(l->core));
        return l->answers + 1;
    }
    /* That was asked before what is to be explained. */
    l->ping_again = true;
    return l->answers + 2;
}

bool vnet_link_answered(const VnetLink *l, uint32_t due)
{
    return (int32_t)(l->answers - due) >= 0;
}

/* --- Closing ------------------------------------------------------------- */

/* The pause before the next attempt: doubles up to a bound, and is spread by a
 * quarter either way, lest two ends keep missing each other. */
static int64_t next_backoff(VnetLink *l)
{
    int64_t pause = l->backoff_ns;
    uint64_t r = l->core->ops.random64(l->core->opaque);

    l->backoff_ns = MIN(pause * 2, l->backoff_max_ns);
    return l->server ? 0 : pause - pause / 4 + (int64_t)(r % (pause / 2 + 1));
}

static void link_close(VnetLink *l, uint64_t *counter, enum vtoe_reason reason,
                       const char *text)
{
    VnetLinkState was = l->state;
    bool violation = reason == VTOE_REASON_PROTOCOL;
    bool may_park = !violation && reason != VTOE_REASON_POLICY &&
                    !l->freeing && !l->farewell;
    VnetMsg m;

    if (counter) {
        (*counter)++;
    }
    l->closing = false;
    if (counter != &l->stats.lost_transport && counter != &l->stats.lost_bye &&
        counter != &l->stats.lost_overflow) {
        fill_bye(&m, reason, text);
        vnet_link_send(l, &m);
    }
    l->closing = true;          /* nothing more is said */
    g_free(l->last_error);
    l->last_error = g_strdup(text);
    link_set_state(l, VNET_LINK_DOWN);
    if (was == VNET_LINK_UP) {
        l->stats.downs++;
    } else {
        l->stats.attempts_failed++;
    }
    l->deadline_ns = INT64_MAX;
    l->frames_admitted = false;
    l->version = 0;
    vnet_streams_link_lost(l, violation, may_park);
    l->ops->close(l->transport, l->freeing ? INT64_MAX : next_backoff(l));
    l->farewell = false;
    l->closing = false;
    vnet_core_wake_ports(l->core, l);
    vnet_core_links_changed(l->core);
    if (was == VNET_LINK_UP) {
        vnet_core_capability(l->core, NULL, NULL, false);
    }
    link_event(l, text);
    vnet_resume_elsewhere(l);
}

void vnet_link_close_soon(VnetLink *l, uint64_t *counter,
                          enum vtoe_reason reason, const char *text)
{
    if (l->closing) {
        return;
    }
    l->closing = true;
    l->closing_counter = counter;
    l->closing_reason = reason;
    g_free(l->closing_text);
    l->closing_text = g_strdup(text);
    l->core->link_work = true;
    vnet_core_defer(l->core);
}

void vnet_link_run_closing(VnetLink *l)
{
    if (l->closing && l->closing_text) {
        g_autofree char *text = g_steal_pointer(&l->closing_text);

        link_close(l, l->closing_counter, l->closing_reason, text);
    }
}

void vnet_link_close(VnetLink *l, uint64_t *counter, enum vtoe_reason reason,
                     const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (l->core->upcalls) {
        vnet_link_close_soon(l, counter, reason, text);
    } else if (!l->closing) {
        link_close(l, counter, reason, text);
    }
}

void vnet_link_down(VnetLink *l, const char *why)
{
    if (l->state == VNET_LINK_DOWN && !l->closing) {
        /* An attempt that never got as far as vnet_link_up(). */
        link_close(l, &l->stats.lost_transport, VTOE_REASON_NONE, why);
        return;
    }
    vnet_link_run_closing(l);
    if (l->state != VNET_LINK_DOWN) {
        vnet_link_close(l, &l->stats.lost_transport, VTOE_REASON_NONE, "%s",
                        why);
    }
}

static uint64_t *wire_counter(VnetLink *l, VnetWireError e)
{
    switch (e) {
    case VNET_WIRE_BAD_MAGIC:
        return &l->stats.bad_magic;
    case VNET_WIRE_BAD_VERSION:
        return &l->stats.bad_version;
    case VNET_WIRE_BAD_KIND:
        return &l->stats.bad_kind;
    case VNET_WIRE_BAD_LENGTH:
        return &l->stats.bad_length;
    default:
        return &l->stats.bad_value;
    }
}

void vnet_link_violation(VnetLink *l, VnetWireError e, const char *what)
{
    if (l->state == VNET_LINK_DOWN) {
        (*wire_counter(l, e))++;
        return;
    }
    vnet_link_close(l, wire_counter(l, e), VTOE_REASON_PROTOCOL, "%s: %s",
                    what, vnet_wire_error_str(e));
}

/* --- Coming up ----------------------------------------------------------- */

static bool refuse(VnetLink *l, uint64_t *counter, enum vtoe_reason reason,
                   const char *text)
{
    (*counter)++;
    fill_bye(&l->refusal, reason, text);
    return false;
}

size_t vnet_link_refusal(VnetLink *l, uint8_t out[VNET_MSG_MAX])
{
    return vnet_wire_put_msg(out, &l->refusal);
}

bool vnet_link_up(VnetLink *l, const VnetPreamble *p)
{
    VnetCore *core = l->core;

    if (l->server) {
        if (p->kind != VNET_CONN_CONTROL) {
            return refuse(l, &l->stats.refused_token, VTOE_REASON_PROTOCOL,
                          "the first connection is the control connection");
        }
        if (p->epoch == core->epoch) {
            return refuse(l, &l->stats.refused_self, VTOE_REASON_POLICY,
                          "connected to oneself");
        }
        vnet_link_run_closing(l);
        if (l->state != VNET_LINK_DOWN && p->epoch != l->peer_epoch) {
            return refuse(l, &l->stats.refused_busy, VTOE_REASON_LIMIT,
                          "this link has a peer");
        }
        if (l->state != VNET_LINK_DOWN) {
            vnet_link_close(l, &l->stats.lost_transport, VTOE_REASON_NONE,
                            "the peer connected anew");
        }
        l->peer_epoch = p->epoch;
        do {
            l->token = core->ops.random64(core->opaque);
        } while (!l->token);
    } else {
        l->token = 0;
    }
    l->peer_opened = l->peer_forgot = false;
    l->heard = false;
    l->missed = l->beats = 0;
    l->ping_cookie = 0;
    l->ping_again = false;
    l->busy_ns = 0;
    l->rtt_ns = -1;
    link_set_state(l, VNET_LINK_HELLO);
    link_set_deadline(l, l->since_ns + VNET_HELLO_NS);
    link_event(l, "connected");
    send_hello(l);
    return true;
}

void vnet_link_up_plain(VnetLink *l)
{
    l->plain = true;
    l->features = VNET_HELLO_F_FRAMES | VNET_HELLO_F_GSO;
    l->backoff_ns = MIN(VNET_BACKOFF_MIN_NS, l->backoff_max_ns);
    l->rtt_ns = -1;
    l->stats.ups++;
    link_set_state(l, VNET_LINK_UP);
    vnet_core_links_changed(l->core);
    link_event(l, "");
}

void vnet_link_preamble(VnetLink *l, VnetPreamble *p)
{
    *p = (VnetPreamble) {
        .version = VNET_WIRE_VERSION_MIN,
        .kind = VNET_CONN_CONTROL,
        .epoch = l->core->epoch,
    };
}

bool vnet_link_is_meant(const VnetLink *l, const VnetPreamble *p)
{
    return l->server && l->state != VNET_LINK_DOWN &&
           p->epoch == l->peer_epoch && p->token == l->token;
}

bool vnet_link_peer_changed(const VnetLink *l)
{
    return l->peer_changed;
}

bool vnet_link_expects_peer(const VnetLink *l)
{
    return l->stats.ups && !l->farewell;
}

bool vnet_link_admits(VnetLink *l, const VnetPreamble *p, VnetStream **s)
{
    *s = NULL;
    /* A client is up with the server's hello, and may be seen here with other
     * connections before its own hello was read. */
    if (!vnet_link_is_meant(l, p) || l->closing ||
        (l->state == VNET_LINK_UP && p->version != l->version)) {
        l->stats.refused_token++;
        return false;
    }
    if (p->kind == VNET_CONN_DATA) {
        return vnet_stream_admits(l, p->stream_id, s);
    }
    if (p->kind != VNET_CONN_FRAME || l->frames_admitted) {
        l->stats.refused_token++;
        return false;
    }
    l->frames_admitted = true;
    return true;
}

static bool message_hello(VnetLink *l, const VnetMsg *m)
{
    VnetCore *core = l->core;

    if (m->u.hello.epoch == core->epoch) {
        vnet_link_close(l, &l->stats.refused_self, VTOE_REASON_POLICY,
                        "connected to oneself");
        return false;
    }
    if ((l->server && m->u.hello.epoch != l->peer_epoch) ||
        l->server != (m->u.hello.token == 0)) {
        vnet_link_close(l, &l->stats.bad_value, VTOE_REASON_PROTOCOL,
                        "hello: epoch or token is not what it must be");
        return false;
    }
    if (m->u.hello.version_min > VNET_WIRE_VERSION_MAX ||
        m->u.hello.version_max < VNET_WIRE_VERSION_MIN) {
        vnet_link_close(l, &l->stats.lost_version, VTOE_REASON_PROTOCOL,
                        "peer speaks version %u to %u, this end %u to %u",
                        m->u.hello.version_min, m->u.hello.version_max,
                        VNET_WIRE_VERSION_MIN, VNET_WIRE_VERSION_MAX);
        return false;
    }
    if (!vnet_lanes_hear(l, m)) {
        return false;
    }
    l->peer_epoch = m->u.hello.epoch;
    l->peer_changed = l->last_epoch && l->last_epoch != l->peer_epoch;
    l->last_epoch = l->peer_epoch;
    if (!l->server) {
        l->token = m->u.hello.token;
    }
    l->version = MIN(m->u.hello.version_max, VNET_WIRE_VERSION_MAX);
    l->features = m->u.hello.features &
                  (VNET_HELLO_F_FRAMES | VNET_HELLO_F_STREAMS |
                   VNET_HELLO_F_GSO | VNET_HELLO_F_NETS | VNET_HELLO_F_HOPS |
                   own_resume(l));
    l->peer_max_streams = m->u.hello.max_streams;
    memcpy(l->peer_name, m->u.hello.name, sizeof(l->peer_name));
    l->backoff_ns = MIN(VNET_BACKOFF_MIN_NS, l->backoff_max_ns);
    l->stats.ups++;
    vnet_lanes_forget(l);
    link_set_state(l, VNET_LINK_UP);
    link_set_deadline(l, l->since_ns + core->heartbeat_ms * VNET_MS);

    vnet_lanes_tell(l);         /* what came since the HELLO */
    vnet_lanes_announce(l);
    send_ping(l, l->since_ns);
    if (!l->server && (l->features & VNET_HELLO_F_FRAMES)) {
        VnetPreamble p = {
            .version = l->version,
            .kind = VNET_CONN_FRAME,
            .epoch = core->epoch,
            .token = l->token,
        };
        l->ops->open_frames(l->transport, &p);
    }
    vnet_core_links_changed(core);
    link_event(l, l->peer_name);
    vnet_resume_link_up(l);
    return true;
}

/* --- While up ------------------------------------------------------------ */

static void message_pong(VnetLink *l, const VnetMsg *m)
{
    if (l->ping_cookie && m->u.ping.cookie == l->ping_cookie) {
        l->rtt_ns = vnet_now(l->core) - l->ping_ns;
        l->ping_cookie = 0;
        l->answers++;
        if (l->ping_again) {
            l->ping_again = false;
            send_ping(l, vnet_now(l->core));
        }
        vnet_streams_answered(l);
    }
}

static bool message_bye(VnetLink *l, const VnetMsg *m)
{
    /* A peer that waited too long for a sign comes again. */
    l->farewell = m->u.bye.reason != VTOE_REASON_TIMEOUT;
    if (m->u.bye.reason == VTOE_REASON_NONE) {
        vnet_link_close(l, &l->stats.lost_bye, VTOE_REASON_NONE,
                        "peer said: %s", m->u.bye.text);
    } else {
        vnet_link_close(l, &l->stats.lost_bye, VTOE_REASON_NONE,
                        "peer said: %s (%s)", m->u.bye.text,
                        vnet_reason_str(m->u.bye.reason));
    }
    return false;
}

/* Returns false if the link was closed. */
static bool link_message(VnetLink *l, const VnetMsg *m)
{
    l->stats.rx_msgs++;
    if (m->type == VNET_MSG_BYE) {
        return message_bye(l, m);
    }
    if ((m->type == VNET_MSG_HELLO) != (l->state == VNET_LINK_HELLO)) {
        vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                        "message %u in state %s", m->type,
                        link_state_names[l->state]);
        return false;
    }
    switch (m->type) {
    case VNET_MSG_HELLO:
        return message_hello(l, m);
    case VNET_MSG_PING: {
        VnetMsg pong = *m;

        pong.type = VNET_MSG_PONG;
        vnet_link_send(l, &pong);
        return true;
    }
    case VNET_MSG_PONG:
        message_pong(l, m);
        return true;
    case VNET_MSG_MAC:
        vnet_lanes_mac(l, m);
        return true;
    case VNET_MSG_NET:
        return vnet_lanes_message(l, m);
    case VNET_MSG_FORGET:
        if (l->peer_forgot) {
            vnet_link_close(l, &l->stats.bad_order, VTOE_REASON_PROTOCOL,
                            "message %u twice", m->type);
            return false;
        }
        l->peer_forgot = true;
        vnet_resume_forget(l);
        return true;
    default:
        return vnet_stream_message(l, m);
    }
}

static void control_violation(VnetLink *l, VnetWireError e,
                              const uint8_t *buf, size_t len)
{
    char hex[2 * VNET_MSG_HDR_SIZE + 1] = "";
    char what[64];

    for (size_t i = 0; i < MIN(len, VNET_MSG_HDR_SIZE); i++) {
        snprintf(hex + 2 * i, 3, "%02x", buf[i]);
    }
    snprintf(what, sizeof(what), "control message %s", hex);
    vnet_link_violation(l, e, what);
}

ssize_t vnet_link_control(VnetLink *l, const uint8_t *buf, size_t len)
{
    size_t done = 0;

    l->heard = true;
    for (;;) {
        VnetWireError e;
        VnetMsg m;
        size_t used;

        if (l->closing) {
            vnet_link_run_closing(l);
        }
        if (l->state == VNET_LINK_DOWN) {
            return -1;
        }
        e = vnet_wire_get_msg(buf + done, len - done, &m, &used);
        if (e == VNET_WIRE_SHORT) {
            return done;
        }
        if (e != VNET_WIRE_OK) {
            control_violation(l, e, buf + done, len - done);
            return -1;
        }
        done += used;
        if (!link_message(l, &m)) {
            return -1;
        }
    }
}

/* Who does not read frames keeps a NIC that waits for it from sending to others. */
static int64_t busy_max_ns(const VnetLink *l)
{
    return MAX(PING_ANYWAY * l->core->heartbeat_ms * VNET_MS, VNET_BUSY_MIN_NS);
}

void vnet_link_tick(VnetLink *l, int64_t now_ns)
{
    if (l->state == VNET_LINK_DOWN || l->closing) {
        return;
    }
    if (now_ns < l->deadline_ns) {
        vnet_core_wake_at(l->core, l->deadline_ns);
        return;
    }
    if (l->state == VNET_LINK_HELLO) {
        vnet_link_close(l, &l->stats.lost_hello, VTOE_REASON_TIMEOUT,
                        "no hello within %d ms",
                        (int)(VNET_HELLO_NS / VNET_MS));
        return;
    }
    l->net_changes = 0;
    if (l->heard) {
        l->heard = false;
        l->missed = 0;
    } else {
        l->stats.heartbeats_missed++;
        if (l->missed++ == VNET_MISSED_MAX) {
            vnet_link_close(l, &l->stats.lost_heartbeat, VTOE_REASON_TIMEOUT,
                            "peer silent for %u ms",
                            (VNET_MISSED_MAX + 1) * l->core->heartbeat_ms);
            return;
        }
    }
    if (l->ping_cookie &&
        now_ns - l->asked_ns >= PING_ANYWAY * l->core->heartbeat_ms * VNET_MS) {
        vnet_link_close(l, &l->stats.lost_heartbeat, VTOE_REASON_TIMEOUT,
                        "peer has not answered for %u ms",
                        PING_ANYWAY * l->core->heartbeat_ms);
        return;
    }
    if (l->busy_ns && now_ns - l->busy_ns >= busy_max_ns(l) &&
        l->ops->frames_move && l->ops->frames_move(l->transport)) {
        l->busy_ns = now_ns;
    }
    if (l->busy_ns && now_ns - l->busy_ns >= busy_max_ns(l)) {
        vnet_link_close(l, &l->stats.lost_heartbeat, VTOE_REASON_TIMEOUT,
                        "peer has taken no frame for %d ms",
                        (int)(busy_max_ns(l) / VNET_MS));
        return;
    }
    if (l->missed || ++l->beats % PING_ANYWAY == 0) {
        send_ping(l, now_ns);
    }
    link_set_deadline(l, now_ns + l->core->heartbeat_ms * VNET_MS);
}

/* --- Making and freeing -------------------------------------------------- */

VnetLink *vnet_link_new(VnetCore *core, const char *id, bool server,
                        const VnetTransportOps *ops, void *transport)
{
    VnetLink *l = g_new0(VnetLink, 1);

    g_assert(!ops->max_msg || (ops->cid_stop && ops->cid_settle));
    l->core = core;
    l->id = g_strdup(id);
    l->server = server;
    l->ops = ops;
    l->transport = transport;
    l->last_error = g_strdup("");
    l->since_ns = vnet_now(core);
    l->deadline_ns = INT64_MAX;
    l->backoff_ns = VNET_BACKOFF_MIN_NS;
    l->backoff_max_ns = VNET_BACKOFF_MAX_NS;
    l->rtt_ns = -1;
    l->by_id = g_hash_table_new(NULL, NULL);
    fill_bye(&l->refusal, VTOE_REASON_NONE, "");
    g_ptr_array_add(core->links, l);
    vnet_lanes_new(l);
    vnet_core_links_changed(core);
    return l;
}

void vnet_link_free(VnetLink *l)
{
    VnetCore *core = l->core;

    l->freeing = true;
    vnet_link_run_closing(l);
    if (l->state != VNET_LINK_DOWN) {
        link_close(l, NULL, VTOE_REASON_NONE, "the link was removed");
    }
    vnet_resume_link_gone(l);
    vnet_core_wake_ports(core, l);
    vnet_lanes_free(l);
    g_ptr_array_remove(core->links, l);
    vnet_core_links_changed(core);
    g_assert(!l->streams.length);
    g_hash_table_destroy(l->by_id);
    g_free(l->closing_text);
    g_free(l->last_error);
    vnet_mac_set_free(l->given);
    g_free(l->given_nets);
    g_free(l->id);
    g_free(l);
}

void vnet_link_set_reconnect(VnetLink *l, uint32_t max_ms)
{
    l->backoff_max_ns = max_ms * VNET_MS;
    l->backoff_ns = MIN(l->backoff_ns, l->backoff_max_ns);
}

const char *vnet_link_id(const VnetLink *l)
{
    return l->id;
}

const char *vnet_link_state(const VnetLink *l)
{
    return link_state_names[l->state];
}

VnetLinkStats *vnet_link_stats(VnetLink *l)
{
    return &l->stats;
}

void vnet_link_count_bad(VnetLink *l, VnetWireError e)
{
    VnetLinkStats *st = &l->stats;

    switch (e) {
    case VNET_WIRE_BAD_MAGIC:
        st->bad_magic++;
        break;
    case VNET_WIRE_BAD_VERSION:
        st->bad_version++;
        break;
    case VNET_WIRE_BAD_KIND:
        st->bad_kind++;
        break;
    case VNET_WIRE_BAD_LENGTH:
        st->bad_length++;
        break;
    default:
        st->bad_value++;
        break;
    }
}
