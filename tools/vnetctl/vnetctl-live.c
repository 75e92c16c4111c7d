/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vnetctl: what goes on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vnetctl.h"

/* --- top ------------------------------------------------------------------ */

/* What is counted of a link or a port. */
typedef struct Sample {
    guint64 rx_frames, tx_frames, rx_bytes, tx_bytes, drops;
} Sample;

static guint64 sum_of(JsonObject *o, const char *const *names)
{
    guint64 sum = 0;

    for (; *names; names++) {
        sum += counter(o, *names);
    }
    return sum;
}

/* All counters that say drop: their names differ by what kind of link it is. */
static guint64 drops_of(JsonObject *o)
{
    g_autoptr(GList) counters = objects(o, "counters");
    guint64 sum = 0;

    for (GList *e = counters; e; e = e->next) {
        const char *name = member(e->data, "name");

        if (name && strstr(name, "-drop")) {
            sum += member_int(e->data, "value");
        }
    }
    return sum;
}

static Sample sample_of(JsonObject *o)
{
    static const char *const rx[] = { "rx-frame-bytes", "rx-stream-bytes",
                                      NULL };
    static const char *const tx[] = { "tx-frame-bytes", "tx-stream-bytes",
                                      NULL };

    return (Sample) {
        .rx_frames = counter(o, "rx-frames"),
        .tx_frames = counter(o, "tx-frames"),
        .rx_bytes = sum_of(o, rx),
        .tx_bytes = sum_of(o, tx),
        .drops = drops_of(o),
    };
}

static char *rate(guint64 now, guint64 before, double seconds, double unit)
{
    /* What is new began with 0, and what began anew, too. */
    double n = now >= before ? now - before : now;

    return g_strdup_printf("%.1f", n / seconds / unit);
}

/* One line, and the sample for the next time. */
static void top_row(Table *t, GHashTable *last, GHashTable *next,
                    JsonObject *overlay, JsonObject *o, const char *kind,
                    double seconds)
{
    g_autofree char *key = g_strjoin("/", member(overlay, "id"), kind,
                                     member(o, "id"), NULL);
    Sample now = sample_of(o);
    const Sample *before = g_hash_table_lookup(last, key);
    const Sample none = { 0 };

    if (seconds > 0) {
        before = before ?: &none;
        table_row(t, g_strdup(member(overlay, "id")),
                  g_strdup_printf("%s %s", kind, member(o, "id")),
                  g_strdup(member(o, "state") ?: "-"),
                  rate(now.rx_bytes, before->rx_bytes, seconds, 1e6 / 8),
                  rate(now.tx_bytes, before->tx_bytes, seconds, 1e6 / 8),
                  rate(now.rx_frames, before->rx_frames, seconds, 1),
                  rate(now.tx_frames, before->tx_frames, seconds, 1),
                  rate(now.drops, before->drops, seconds, 1));
    }
    g_hash_table_insert(next, g_steal_pointer(&key),
                        g_memdup2(&now, sizeof(now)));
}

/* Shows what was since `last`, which becomes now. */
static gboolean top_once(Qmp *q, const Options *o, GHashTable **last,
                         double seconds, GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);
    g_autoptr(GHashTable) next = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, g_free);
    g_autoptr(GList) nodes = NULL;
    guint streams = 0;
    Table *t;

    if (!overlays) {
        return FALSE;
    }
    t = table_new("NETDEV", "OF", "STATE", ">RX-MBIT/S", ">TX-MBIT/S",
                  ">RX-FRAMES/S", ">TX-FRAMES/S", ">DROPS/S", NULL);
    nodes = json_array_get_elements(json_node_get_array(overlays));
    for (GList *e = nodes; e; e = e->next) {
        JsonObject *n = json_node_get_object(e->data);
        g_autoptr(GList) links = objects(n, "links");
        g_autoptr(GList) ports = objects(n, "ports");
        g_autoptr(GList) open = objects(n, "streams");

        streams += g_list_length(open);
        for (GList *f = links; f; f = f->next) {
            top_row(t, *last, next, n, f->data, "link", seconds);
        }
        for (GList *f = ports; f; f = f->next) {
            top_row(t, *last, next, n, f->data, "port", seconds);
        }
    }
    if (seconds > 0) {
        if (isatty(STDOUT_FILENO)) {
            g_print("\033[H\033[2J");
        }
        g_print("%u streams\n", streams);
    }
    table_end(t, seconds > 0 && !o->no_header);
    g_hash_table_unref(*last);
    *last = g_steal_pointer(&next);
    return TRUE;
}

/* Whether what was printed has gone out.  GIO ignores SIGPIPE for us. */
static gboolean is_read(void)
{
    return !fflush(stdout) && !ferror(stdout);
}

gboolean live_top(Qmp *q, const Options *o, char **words, GError **error)
{
    g_autoptr(GHashTable) last = g_hash_table_new_full(g_str_hash, g_str_equal,
                                                       g_free, g_free);
    gint64 then = g_get_monotonic_time();

    if (!top_once(q, o, &last, 0, error)) {
        return FALSE;
    }
    for (int i = 0; !o->count || i < o->count; i++) {
        gint64 now;

        g_usleep(o->delay * G_USEC_PER_SEC);
        now = g_get_monotonic_time();
        if (!top_once(q, o, &last, (now - then) / (double)G_USEC_PER_SEC,
                      error)) {
            return FALSE;
        }
        if (!is_read()) {
            return TRUE;        /* main() says why */
        }
        then = now;
    }
    return TRUE;
}

/* --- watch ---------------------------------------------------------------- */

static char *time_of(JsonObject *event)
{
    JsonObject *t = json_object_get_object_member(event, "timestamp");
    g_autoptr(GDateTime) when =
        g_date_time_new_from_unix_local(t ? member_int(t, "seconds") : 0);

    return g_date_time_format(when, "%F %T");
}

static void watch_print(JsonObject *event, const char *name, JsonObject *data)
{
    g_autofree char *when = time_of(event);
    g_autoptr(GList) names = json_object_get_members(data);

    g_print("%s %s", when, name);
    for (GList *e = names; e; e = e->next) {
        JsonNode *n = json_object_get_member(data, e->data);
        g_autofree char *value = json_to_string(n, FALSE);

        g_print(" %s=%s", (char *)e->data, value);
    }
    g_print("\n");
}

gboolean live_watch(Qmp *q, const Options *o, char **words, GError **error)
{
    g_autoptr(JsonNode) overlays = qmp_overlays(q, o, error);

    if (!overlays) {
        return FALSE;           /* it would be silent for ever */
    }
    for (;;) {
        g_autoptr(JsonNode) node = qmp_event(q, error);
        JsonObject *event, *data;
        const char *name;

        if (!node) {
            return FALSE;
        }
        event = json_node_get_object(node);
        name = member(event, "event");
        if (!name || !g_str_has_prefix(name, "VNET_") ||
            !json_object_has_member(event, "data")) {
            continue;
        }
        data = json_object_get_object_member(event, "data");
        if (o->netdev && g_strcmp0(member(data, "netdev"), o->netdev)) {
            continue;
        }
        if (o->json) {
            show_json(node, FALSE);
        } else {
            watch_print(event, name, data);
        }
        if (!is_read()) {
            return TRUE;        /* main() says why */
        }
    }
}
