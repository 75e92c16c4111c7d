// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vtoess: lists the VTOE sockets of a network namespace, as ss lists others.
 *
 * Exit codes: 0; 1, the list could not be read or written; 2, the command
 * line is wrong.
 */
#include <errno.h>
#include <locale.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "vtoess.h"

#ifndef VTOESS_VERSION
#define VTOESS_VERSION	"0.1"
#endif

enum { EXIT_READ = 1, EXIT_USAGE = 2 };

/* What has to hold for a socket to be listed; -1 and NULL: anything. */
struct filter {
	guint states;			/* bit n: state n */
	int port, sport, dport;
	const char *mode, *reason;
	gboolean v4, v6;
};

static const char *const modes[] = {
	"new", "connecting", "stream", "listen", "listen-tcp", "tcp", NULL,
};

/* Names of states as ss takes them. */
static const struct {
	const char *name;
	guint states;
} state_names[] = {
	{ "established", 1u << 1 }, { "syn-sent", 1u << 2 },
	{ "syn-recv", 1u << 3 | 1u << 12 }, { "fin-wait-1", 1u << 4 },
	{ "fin-wait-2", 1u << 5 }, { "time-wait", 1u << 6 },
	{ "closed", 1u << 7 }, { "close-wait", 1u << 8 },
	{ "last-ack", 1u << 9 }, { "listening", 1u << 10 },
	{ "closing", 1u << 11 }, { "all", ~0u },
	{ "connected", ~(1u << VTOESS_CLOSED | 1u << VTOESS_LISTENING) },
};

static gboolean set_error(GError **error, const char *what, const char *value,
			  const char *meant)
{
	g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
		    "%s \"%s\": %s", what, value, meant);
	return FALSE;
}

static gboolean parse_state(const char *word, guint *states, GError **error)
{
	g_autoptr(GString) all = g_string_new("one of");
	gsize i;

	for (i = 0; i < G_N_ELEMENTS(state_names); i++) {
		if (g_str_equal(word, state_names[i].name)) {
			*states |= state_names[i].states;
			return TRUE;
		}
		g_string_append_printf(all, "%s %s", i ? "," : "",
				       state_names[i].name);
	}
	g_string_append(all, " is meant");
	return set_error(error, "state", word, all->str);
}

static gboolean parse_mode(const char *word, const char **mode, GError **error)
{
	g_autofree char *all = NULL;
	g_autofree char *meant = NULL;

	*mode = word;
	if (g_strv_contains(modes, word))
		return TRUE;
	all = g_strjoinv(", ", (char **)modes);
	meant = g_strdup_printf("one of %s is meant", all);
	return set_error(error, "mode", word, meant);
}

static gboolean parse_port(const char *word, int *port, GError **error)
{
	const struct servent *service;
	guint64 n;

	if (g_ascii_string_to_unsigned(word, 10, 0, 65535, &n, NULL)) {
		*port = n;
		return TRUE;
	}
	service = g_ascii_isdigit(word[0]) ? NULL : getservbyname(word, "tcp");
	if (!service)
		return set_error(error, "port", word,
				 "0 to 65535, or the name of a service, is meant");
	*port = ntohs(service->s_port);
	return TRUE;
}

/* FILTER: pairs of words, all of which have to hold. */
static gboolean parse_filter(char **words, struct filter *f, GError **error)
{
	for (; words && *words; words += 2) {
		const char *what = words[0], *value = words[1];
		gboolean ok;

		if (!value)
			return set_error(error, "filter", what,
					 "a value has to follow");
		if (g_str_equal(what, "state"))
			ok = parse_state(value, &f->states, error);
		else if (g_str_equal(what, "mode"))
			ok = parse_mode(value, &f->mode, error);
		else if (g_str_equal(what, "port"))
			ok = parse_port(value, &f->port, error);
		else if (g_str_equal(what, "sport"))
			ok = parse_port(value, &f->sport, error);
		else if (g_str_equal(what, "dport"))
			ok = parse_port(value, &f->dport, error);
		else if (g_str_equal(what, "reason"))
			ok = (f->reason = value) != NULL;
		else
			ok = set_error(error, "filter", what,
				       "one of state, mode, reason, port, sport, dport is meant");
		if (!ok)
			return FALSE;
	}
	return TRUE;
}

static gboolean passes(const struct vtoess_sock *s, const struct filter *f)
{
	if (!(f->states & 1u << s->state))
		return FALSE;
	if ((f->v4 || f->v6) && !(s->family == 4 ? f->v4 : f->v6))
		return FALSE;
	if (f->port >= 0 && s->lport != f->port && s->rport != f->port)
		return FALSE;
	if ((f->sport >= 0 && s->lport != f->sport) ||
	    (f->dport >= 0 && s->rport != f->dport))
		return FALSE;
	return (!f->mode || g_str_equal(s->mode, f->mode)) &&
	       (!f->reason || g_str_equal(s->reason, f->reason));
}

static void keep(GPtrArray *socks, const struct filter *f)
{
	guint i = 0;

	while (i < socks->len) {
		if (passes(g_ptr_array_index(socks, i), f))
			i++;
		else
			g_ptr_array_remove_index(socks, i);
	}
}

static int fail(int code, const GError *error)
{
	g_printerr("vtoess: error: %s\n", error->message);
	return code;
}

int main(int argc, char **argv)
{
	gboolean all = FALSE, listening = FALSE, no_header = FALSE;
	gboolean json = FALSE, summary = FALSE, version = FALSE;
	struct filter f = { .port = -1, .sport = -1, .dport = -1 };
	struct vtoess_style style = { 0 };
	g_autofree char *file = NULL;
	g_auto(GStrv) words = NULL;
	const GOptionEntry entries[] = {
		{ "all", 'a', 0, G_OPTION_ARG_NONE, &all,
		  "Sockets in every state", NULL },
		{ "listening", 'l', 0, G_OPTION_ARG_NONE, &listening,
		  "Only those that listen", NULL },
		{ "numeric", 'n', 0, G_OPTION_ARG_NONE, &style.numeric,
		  "Ports as numbers", NULL },
		{ "ipv4", '4', 0, G_OPTION_ARG_NONE, &f.v4, "Only IPv4", NULL },
		{ "ipv6", '6', 0, G_OPTION_ARG_NONE, &f.v6, "Only IPv6", NULL },
		{ "no-header", 'H', 0, G_OPTION_ARG_NONE, &no_header,
		  "No line of titles", NULL },
		{ "processes", 'p', 0, G_OPTION_ARG_NONE, &style.processes,
		  "Processes that hold the socket", NULL },
		{ "extended", 'e', 0, G_OPTION_ARG_NONE, &style.extended,
		  "User id and inode", NULL },
		{ "info", 'i', 0, G_OPTION_ARG_NONE, &style.info,
		  "Buffers, window, bytes", NULL },
		{ "summary", 's', 0, G_OPTION_ARG_NONE, &summary,
		  "Counters, not sockets", NULL },
		{ "json", 'j', 0, G_OPTION_ARG_NONE, &json,
		  "All as JSON", NULL },
		{ "file", 'f', 0, G_OPTION_ARG_FILENAME, &file,
		  "Read FILE, not " VTOESS_FILE, "FILE" },
		{ "version", 'V', 0, G_OPTION_ARG_NONE, &version,
		  "Print the version", NULL },
		{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &words,
		  NULL, "[FILTER]" },
		{ NULL },
	};
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_autoptr(VtoessData) data = NULL;
	g_autoptr(GError) error = NULL;

	setlocale(LC_ALL, "");
	g_option_context_set_summary(context,
		"Lists the VTOE sockets of this network namespace.");
	g_option_context_set_description(context,
		"FILTER is any of: state NAME, mode NAME, reason NAME, port P, sport P,\n"
		"dport P; a socket that is listed fulfils all of them.");
	g_option_context_add_main_entries(context, entries, NULL);
	if (!g_option_context_parse(context, &argc, &argv, &error) ||
	    !parse_filter(words, &f, &error))
		return fail(EXIT_USAGE, error);
	if (version) {
		g_print("vtoess %s\n", VTOESS_VERSION);
		return 0;
	}
	if (!f.states)
		f.states = all ? ~0u : listening ? 1u << VTOESS_LISTENING :
			   ~(1u << VTOESS_CLOSED | 1u << VTOESS_LISTENING);
	style.header = !no_header;

	data = vtoess_read(file ? file : VTOESS_FILE, &error);
	if (!data) {
		fail(EXIT_READ, error);
		if (!file && g_error_matches(error, G_FILE_ERROR,
					     G_FILE_ERROR_NOENT))
			g_printerr("        The module vtoe_sock is not loaded: modprobe vtoe_sock\n");
		return EXIT_READ;
	}
	keep(data->socks, &f);
	if (style.processes)
		vtoess_find_users(data->socks);
	if (json)
		vtoess_show_json(data->socks, summary ? data->counts : NULL,
				 &style);
	else if (summary)
		vtoess_show_counts(data->counts);
	else
		vtoess_show(data->socks, &style);
	if (fflush(stdout) || ferror(stdout)) {
		g_printerr("vtoess: error: writing: %s\n", g_strerror(errno));
		return EXIT_READ;
	}
	return 0;
}
