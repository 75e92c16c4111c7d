/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of vnetctl show each other:
 *   vnetctl.c          the command line
 *   vnetctl-qmp.c      talks to QEMU's monitor
 *   vnetctl-show.c     tables of what there is
 *   vnetctl-live.c     what goes on: top, watch
 *   vnetctl-change.c   what changes something, and check
 *   vnetctl-metrics.c  counters as Prometheus wants them
 */
#ifndef VNETCTL_H
#define VNETCTL_H

#include <json-glib/json-glib.h>

/* --- vnetctl.c ------------------------------------------------------------ */

#define VNETCTL_ERROR (g_quark_from_static_string("vnetctl"))
/* Codes of errors, and of the program. */
enum {
    VNETCTL_REFUSED = 1,        /* by QEMU; or a file is wrong */
    VNETCTL_USAGE = 2,
    VNETCTL_NO_QEMU = 3,        /* not there, or it ended */
};

typedef struct Qmp Qmp;

typedef struct Options {
    char *socket;
    char *netdev;               /* NULL: all */
    gboolean json, all, replace, dry_run, no_header;
    double delay;               /* seconds, of top */
    int count;                  /* of top; 0: without end */
} Options;

/* --- vnetctl-qmp.c -------------------------------------------------------- */

/*
 * Connects to a monitor: the path of a unix socket, or HOST:PORT.  NULL and
 * *error: nobody is there, or it is no QMP monitor, or one that another program
 * holds.
 */
Qmp *qmp_connect(const char *address, GError **error);
void qmp_free(Qmp *q);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qmp, qmp_free)
/*
 * Runs a command; arguments, which may be NULL, become the callee's.  Returns
 * what QEMU returned; NULL and *error: VNETCTL_REFUSED, or _NO_QEMU.
 */
JsonNode *qmp_execute(Qmp *q, const char *command, JsonObject *arguments,
                      GError **error);
/* The next event, however long it takes. */
JsonNode *qmp_event(Qmp *q, GError **error);

/* The overlays that o chooses, as of query-vnet. */
JsonNode *qmp_overlays(Qmp *q, const Options *o, GError **error);

/* --- vnetctl-show.c ------------------------------------------------------- */

typedef struct Table Table;
/* Titles end with NULL; one that begins with '>' is of numbers. */
Table *table_new(const char *first, ...) G_GNUC_NULL_TERMINATED;
/* Takes the texts; as many as titles; NULL is shown as "-". */
void table_row(Table *t, ...);
/* Prints and frees it. */
void table_end(Table *t, gboolean header);

/* Members of objects that may be missing. */
const char *member(JsonObject *o, const char *name);
gint64 member_int(JsonObject *o, const char *name);
/* A counter in the list "counters" of an object; 0: it has none of that name. */
guint64 counter(JsonObject *o, const char *name);
/* Elements of a member that is a list of objects. */
GList *objects(JsonObject *o, const char *name);

gboolean show_status(Qmp *q, const Options *o, char **words, GError **error);
gboolean show_links(Qmp *q, const Options *o, char **words, GError **error);
gboolean show_ports(Qmp *q, const Options *o, char **words, GError **error);
gboolean show_streams(Qmp *q, const Options *o, char **words, GError **error);
gboolean show_macs(Qmp *q, const Options *o, char **words, GError **error);
gboolean show_routes(Qmp *q, const Options *o, char **words, GError **error);
gboolean show_link_commands(Qmp *q, const Options *o, char **words,
                            GError **error);
gboolean show_counters(Qmp *q, const Options *o, char **words, GError **error);
void show_json(JsonNode *node, gboolean pretty);

/* --- the others ----------------------------------------------------------- */

gboolean live_top(Qmp *q, const Options *o, char **words, GError **error);
gboolean live_watch(Qmp *q, const Options *o, char **words, GError **error);

gboolean change_routes(Qmp *q, const Options *o, char **words, GError **error);
gboolean change_links(Qmp *q, const Options *o, char **words, GError **error);
gboolean change_link_add(Qmp *q, const Options *o, char **words,
                         GError **error);
gboolean change_link_del(Qmp *q, const Options *o, char **words,
                         GError **error);
gboolean change_rate(Qmp *q, const Options *o, char **words, GError **error);
gboolean change_capture_start(Qmp *q, const Options *o, char **words,
                              GError **error);
gboolean change_capture_stop(Qmp *q, const Options *o, char **words,
                             GError **error);
gboolean check_routes(Qmp *q, const Options *o, char **words, GError **error);
gboolean check_links(Qmp *q, const Options *o, char **words, GError **error);

gboolean show_metrics(Qmp *q, const Options *o, char **words, GError **error);

#endif /* VNETCTL_H */
