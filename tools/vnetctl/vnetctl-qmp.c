/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vnetctl: talks to QEMU's monitor, in QMP.
 */
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <string.h>
#include "vnetctl.h"

/* Seconds until an answer has to be there. */
#define PATIENCE    10

struct Qmp {
    GSocketConnection *connection;
    GDataInputStream *in;
    GQueue events;              /* of JsonNode, that came before an answer */
};

static void no_qemu(GError **error, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

static void no_qemu(GError **error, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *error = g_error_new_valist(VNETCTL_ERROR, VNETCTL_NO_QEMU, fmt, ap);
    va_end(ap);
}

/* The next line as an object. */
static JsonNode *receive(Qmp *q, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) err = NULL;
    g_autofree char *line = NULL;
    JsonNode *root;

    line = g_data_input_stream_read_line(q->in, NULL, NULL, &err);
    if (!line) {
        if (g_error_matches(err, G_IO_ERROR, G_IO_ERROR_TIMED_OUT)) {
            no_qemu(error, "no word from QEMU for %d s: another program may "
                    "hold this monitor", PATIENCE);
        } else {
            no_qemu(error, "the monitor was closed%s%s", err ? ": " : "",
                    err ? err->message : "");
        }
        return NULL;
    }
    if (!json_parser_load_from_data(parser, line, -1, &err)) {
        no_qemu(error, "this is no QMP monitor: it says \"%.40s\"", line);
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        no_qemu(error, "this is no QMP monitor: it says \"%.40s\"", line);
        return NULL;
    }
    return json_node_copy(root);
}

static gboolean send(Qmp *q, JsonObject *object, GError **error)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    g_autofree char *text = NULL;
    g_autofree char *line = NULL;
    g_autoptr(GError) err = NULL;
    GOutputStream *out =
        g_io_stream_get_output_stream(G_IO_STREAM(q->connection));

    json_node_set_object(node, object);
    text = json_to_string(node, FALSE);
    line = g_strconcat(text, "\n", NULL);
    if (!g_output_stream_write_all(out, line, strlen(line), NULL, NULL,
                                   &err)) {
        no_qemu(error, "the monitor was closed: %s", err->message);
        return FALSE;
    }
    return TRUE;
}

JsonNode *qmp_execute(Qmp *q, const char *command, JsonObject *arguments,
                      GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();

    json_object_set_string_member(object, "execute", command);
    if (arguments) {
        json_object_set_object_member(object, "arguments", arguments);
    }
    if (!send(q, object, error)) {
        return NULL;
    }
    for (;;) {
        g_autoptr(JsonNode) node = receive(q, error);
        JsonObject *said;

        if (!node) {
            return NULL;
        }
        said = json_node_get_object(node);
        if (json_object_has_member(said, "event")) {
            g_queue_push_tail(&q->events, g_steal_pointer(&node));
        } else if (json_object_has_member(said, "return")) {
            return json_object_dup_member(said, "return");
        } else {
            JsonObject *e = json_object_has_member(said, "error") ?
                json_object_get_object_member(said, "error") : NULL;

            g_set_error(error, VNETCTL_ERROR, VNETCTL_REFUSED, "%s", e ?
                        member(e, "desc") : "QEMU's answer is none");
            return NULL;
        }
    }
}

JsonNode *qmp_event(Qmp *q, GError **error)
{
    g_socket_set_timeout(g_socket_connection_get_socket(q->connection), 0);
    if (q->events.length) {
        return g_queue_pop_head(&q->events);
    }
    for (;;) {
        g_autoptr(JsonNode) node = receive(q, error);

        if (!node || json_object_has_member(json_node_get_object(node),
                                            "event")) {
            return g_steal_pointer(&node);
        }
    }
}

static GSocketConnectable *address_of(const char *text, GError **error)
{
    const char *path = g_str_has_prefix(text, "unix:") ? text + 5 : text;

    /* A port follows a colon; a path may have one in it, but has a slash. */
    if (path == text && !strchr(text, '/') && strchr(text, ':')) {
        return g_network_address_parse(text, 0, error);
    }
    if (strlen(path) > 107) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "socket \"%s\": its "
                    "path is longer than 107 bytes", path);
        return NULL;
    }
    return G_SOCKET_CONNECTABLE(g_unix_socket_address_new(path));
}

Qmp *qmp_connect(const char *address, GError **error)
{
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnectable) to = address_of(address, error);
    g_autoptr(GError) err = NULL;
    g_autoptr(Qmp) q = g_new0(Qmp, 1);
    g_autoptr(JsonNode) node = NULL;

    if (!to) {
        return NULL;
    }
    g_socket_client_set_timeout(client, PATIENCE);
    q->connection = g_socket_client_connect(client, to, NULL, &err);
    if (!q->connection) {
        no_qemu(error, "socket \"%s\": %s", address, err->message);
        return NULL;
    }
    q->in = g_data_input_stream_new(
        g_io_stream_get_input_stream(G_IO_STREAM(q->connection)));
    g_data_input_stream_set_newline_type(q->in,
                                         G_DATA_STREAM_NEWLINE_TYPE_ANY);
    node = receive(q, error);
    if (!node) {
        g_prefix_error(error, "socket \"%s\": ", address);
        return NULL;
    }
    if (!json_object_has_member(json_node_get_object(node), "QMP")) {
        no_qemu(error, "socket \"%s\": this is no QMP monitor", address);
        return NULL;
    }
    g_clear_pointer(&node, json_node_unref);
    node = qmp_execute(q, "qmp_capabilities", NULL, error);
    return node ? g_steal_pointer(&q) : NULL;
}

void qmp_free(Qmp *q)
{
    g_queue_clear_full(&q->events, (GDestroyNotify)json_node_unref);
    g_clear_object(&q->in);
    g_clear_object(&q->connection);
    g_free(q);
}

JsonNode *qmp_overlays(Qmp *q, const Options *o, GError **error)
{
    JsonObject *arguments = NULL;
    g_autoptr(JsonNode) node = NULL;

    if (o->netdev) {
        arguments = json_object_new();
        json_object_set_string_member(arguments, "id", o->netdev);
    }
    node = qmp_execute(q, "query-vnet", arguments, error);
    if (node && !JSON_NODE_HOLDS_ARRAY(node)) {
        no_qemu(error, "query-vnet returned no list");
        return NULL;
    }
    return g_steal_pointer(&node);
}
