/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vnetctl: shows and changes the overlays of a QEMU, through its monitor.
 *
 * Exit codes: 0; 1, QEMU refused, or what was to be checked is wrong; 2, the
 * command line is wrong; 3, no QEMU answers there.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include "vnetctl.h"

#ifndef VNETCTL_VERSION
#define VNETCTL_VERSION "0.1"
#endif
#define SOCKET_VARIABLE "VNETCTL_SOCKET"

typedef struct Command {
    const char *name;           /* one word or two */
    const char *arguments;
    const char *what;
    guint min, max;             /* of them */
    gboolean alone;             /* needs no QEMU */
    gboolean (*run)(Qmp *q, const Options *o, char **words, GError **error);
} Command;

static const Command commands[] = {
    { "status", "", "overlays, links and ports in short", 0, 0, FALSE,
      show_status },
    { "links", "", "links, their state and traffic", 0, 0, FALSE, show_links },
    { "ports", "", "NICs on the switch", 0, 0, FALSE, show_ports },
    { "streams", "", "open streams", 0, 0, FALSE, show_streams },
    { "macs", "", "addresses that the switch knows", 0, 0, FALSE, show_macs },
    { "routes", "", "static routes, as commands that make them", 0, 0, FALSE,
      show_routes },
    { "counters", "", "counters that are not 0", 0, 0, FALSE, show_counters },
    { "metrics", "", "all counters as Prometheus reads them", 0, 0, FALSE,
      show_metrics },
    { "top", "", "rates of links and ports, again and again", 0, 0, FALSE,
      live_top },
    { "watch", "", "events as they come", 0, 0, FALSE, live_watch },
    { "link commands", "", "links, as commands that make them", 0, 0, FALSE,
      show_link_commands },
    { "link change", "FILE", "carry out commands for links; - is what is "
      "typed", 1, 1, FALSE, change_links },
    { "link add", "ID NAME=VALUE...", "make a link, with the options of "
      "-netdev vnet", 2, G_MAXUINT, FALSE, change_link_add },
    { "link del", "ID", "remove a link", 1, 1, FALSE, change_link_del },
    { "rate", "tx|rx NAME=VALUE...|off", "limit what a NIC sends or receives: "
      "bytes, frames", 2, 5, FALSE, change_rate },
    { "capture start", "FILE [NAME=VALUE...]", "write what the NIC sends and "
      "receives: snaplen, max-size", 1, 3, FALSE, change_capture_start },
    { "capture stop", "", "end that", 0, 0, FALSE, change_capture_stop },
    { "route change", "FILE", "carry out commands for routes; - is what is "
      "typed", 1, 1, FALSE, change_routes },
    { "check", "FILE", "whether commands for routes are right; without QEMU",
      1, 1, TRUE, check_routes },
    { "link check", "FILE", "the same, for links", 1, 1, TRUE, check_links },
};

static int fail(const GError *error)
{
    g_printerr("vnetctl: error: %s\n", error->message);
    return error->domain == VNETCTL_ERROR ? error->code : VNETCTL_USAGE;
}

/* The command that the words begin with; *n: how many words its name has. */
static const Command *find(char **words, guint *n, GError **error)
{
    g_autofree char *two = words[0] && words[1] ?
        g_strjoin(" ", words[0], words[1], NULL) : NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (words[0] && g_str_equal(commands[i].name, words[0])) {
            *n = 1;
            return &commands[i];
        }
        if (two && g_str_equal(commands[i].name, two)) {
            *n = 2;
            return &commands[i];
        }
    }
    if (words[0]) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "there is no command "
                    "\"%s\"; --help lists them", two ?: words[0]);
    } else {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "which command? "
                    "--help lists them");
    }
    return NULL;
}

static gboolean check_usage(const Command *c, char **words, const Options *o,
                            GError **error)
{
    guint n = g_strv_length(words);

    if (n < c->min || n > c->max) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "usage: vnetctl "
                    "[OPTIONS] %s%s%s", c->name, c->arguments[0] ? " " : "",
                    c->arguments);
        return FALSE;
    }
    if ((o->replace || o->dry_run) && c->run != change_routes &&
        c->run != change_links) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "%s is for \"route "
                    "change\" and \"link change\" only",
                    o->replace ? "--replace" : "--dry-run");
        return FALSE;
    }
    if (o->json && (c->alone || c->run == show_metrics || c->run == live_top)) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "--json is not for "
                    "\"%s\"", c->name);
        return FALSE;
    }
    for (char **w = words; !c->alone && *w; w++) {
        if (!g_utf8_validate(*w, -1, NULL)) {
            g_autofree char *shown = g_strescape(*w, NULL);

            g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "\"%s\" is not "
                        "UTF-8, as QMP is", shown);
            return FALSE;
        }
    }
    if (!(o->delay >= 0.1 && o->delay <= 3600)) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "--delay is %g, and "
                    "must be 0.1 to 3600 seconds", o->delay);
        return FALSE;
    }
    if (o->count < 0) {
        g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "--count is %d, and "
                    "must not be negative", o->count);
        return FALSE;
    }
    return TRUE;
}

static gboolean run(const Command *c, char **words, const Options *o,
                    GError **error)
{
    g_autoptr(Qmp) q = NULL;

    if (!c->alone) {
        const char *socket = o->socket ?: g_getenv(SOCKET_VARIABLE);

        if (!socket) {
            g_set_error(error, VNETCTL_ERROR, VNETCTL_USAGE, "which QEMU? "
                        "--socket, or " SOCKET_VARIABLE ", names its QMP "
                        "monitor");
            return FALSE;
        }
        q = qmp_connect(socket, error);
        if (!q) {
            return FALSE;
        }
    }
    return c->run(q, o, words, error);
}

static char *description(void)
{
    GString *s = g_string_new("Commands:\n");

    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *usage = g_strjoin(" ", commands[i].name,
                                           commands[i].arguments, NULL);

        g_string_append_printf(s, "  %-34s  %s\n", usage, commands[i].what);
    }
    return g_string_free(s, FALSE);
}

int main(int argc, char **argv)
{
    Options o = { .delay = 2 };
    gboolean version = FALSE;
    g_auto(GStrv) words = NULL;
    char *none[] = { NULL };
    const GOptionEntry entries[] = {
        { "socket", 's', 0, G_OPTION_ARG_FILENAME, &o.socket,
          "QMP monitor: a path, or HOST:PORT (default: $" SOCKET_VARIABLE ")",
          "SOCKET" },
        { "netdev", 'n', 0, G_OPTION_ARG_STRING, &o.netdev,
          "Only this netdev", "ID" },
        { "json", 'j', 0, G_OPTION_ARG_NONE, &o.json, "As JSON", NULL },
        { "all", 'a', 0, G_OPTION_ARG_NONE, &o.all,
          "counters: also those that are 0", NULL },
        { "no-header", 'H', 0, G_OPTION_ARG_NONE, &o.no_header,
          "No line of titles", NULL },
        { "delay", 'd', 0, G_OPTION_ARG_DOUBLE, &o.delay,
          "top: seconds between two looks (default: 2)", "SECONDS" },
        { "count", 'c', 0, G_OPTION_ARG_INT, &o.count,
          "top: end after so many (default: never)", "N" },
        { "replace", 0, 0, G_OPTION_ARG_NONE, &o.replace,
          "route change: remove what the commands do not add", NULL },
        { "dry-run", 0, 0, G_OPTION_ARG_NONE, &o.dry_run,
          "route change: only say what would come and go", NULL },
        { "version", 'V', 0, G_OPTION_ARG_NONE, &version,
          "Print the version", NULL },
        { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &words, NULL,
          "COMMAND" },
        { NULL },
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = description();
    const Command *c;
    guint n = 0;
    int code = 0;

    setlocale(LC_ALL, "");
    g_option_context_set_summary(context, "Shows and changes the overlays of "
                                 "a QEMU, through its QMP monitor.");
    g_option_context_set_description(context, text);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        return fail(error);
    }
    if (version) {
        g_print("vnetctl %s\n", VNETCTL_VERSION);
    } else {
        c = find(words ?: none, &n, &error);
        if (!c || !check_usage(c, words + n, &o, &error) ||
            !run(c, words + n, &o, &error)) {
            code = fail(error);
        }
    }
    if (fflush(stdout) || ferror(stdout)) {
        /* Who reads has seen enough: no news. */
        if (errno != EPIPE) {
            g_printerr("vnetctl: error: writing: %s\n", g_strerror(errno));
        }
        code = code ?: VNETCTL_REFUSED;
    }
    g_free(o.socket);
    g_free(o.netdev);
    return code;
}
