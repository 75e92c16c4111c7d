// SPDX-License-Identifier: GPL-2.0-or-later
/* vtoess: text in columns as wide as they have to be, and JSON. */
#include <arpa/inet.h>
#include <json-glib/json-glib.h>
#include <netdb.h>
#include <string.h>
#include "vtoess.h"

static const char *const states[VTOESS_STATES + 1] = {
	"?", "ESTAB", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2",
	"TIME-WAIT", "UNCONN", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING",
	"NEW-SYN-RECV",
};

const char *vtoess_state_name(guint state)
{
	return state <= VTOESS_STATES ? states[state] : "?";
}

/* --- text ----------------------------------------------------------------- */

enum {
	COL_MODE, COL_STATE, COL_RECVQ, COL_SENDQ, COL_LOCAL, COL_PEER,
	COL_REASON, COL_SID, COL_PAIR, COL_CREDIT, COL_N,
};

static const char *const titles[COL_N] = {
	"Mode", "State", "Recv-Q", "Send-Q", "Local Address:Port",
	"Peer Address:Port", "Reason", "SID", "Pair", "Credit",
};

/* An address and port, the port as a service's name if it has one. */
static char *vtoess_name(const struct vtoess_sock *s, const char *addr,
			 guint16 port, gboolean numeric)
{
	const struct servent *service = NULL;
	g_autofree char *number = g_strdup_printf("%u", port);
	const char *shown = port ? number : "*";

	if (port && !numeric)
		service = getservbyport(htons(port), "tcp");
	if (service)
		shown = service->s_name;
	return g_strdup_printf(s->family == 6 ? "[%s]:%s" : "%s:%s", addr,
			       shown);
}

/* What a column of a socket shows; free it. */
static char *vtoess_cell(const struct vtoess_sock *s, int column,
			 gboolean numeric)
{
	gboolean listening = s->state == VTOESS_LISTENING;

	switch (column) {
	case COL_MODE:
		return g_strdup(s->mode);
	case COL_STATE:
		return g_strdup(vtoess_state_name(s->state));
	case COL_RECVQ:
		return g_strdup_printf("%" G_GUINT64_FORMAT,
				       listening ? s->queued : s->rxq);
	case COL_SENDQ:
		return g_strdup_printf("%" G_GUINT64_FORMAT,
				       listening ? s->backlog : s->txq);
	case COL_LOCAL:
		return vtoess_name(s, s->laddr, s->lport, numeric);
	case COL_PEER:
		return vtoess_name(s, s->raddr, s->rport, numeric);
	case COL_REASON:
		return g_strdup(g_str_equal(s->reason, "none") ? "-" :
				s->reason);
	}
	if (!vtoess_is_stream(s))
		return g_strdup("-");
	switch (column) {
	case COL_SID:
		return g_strdup_printf("0x%" G_GINT64_MODIFIER "x", s->sid);
	case COL_PAIR:
		return g_strdup_printf("%" G_GUINT64_FORMAT, s->pair);
	default:
		return g_strdup_printf("%" G_GUINT64_FORMAT, s->credit);
	}
}

/* What follows the columns, and a line of its own behind that. */
static void vtoess_show_more(const struct vtoess_sock *s,
			     const struct vtoess_style *style)
{
	if (style->processes && s->users->len) {
		guint i;

		g_print(" users:(");
		for (i = 0; i < s->users->len; i++) {
			const struct vtoess_user *u =
				g_ptr_array_index(s->users, i);

			g_print("%s(\"%s\",pid=%d,fd=%d)", i ? "," : "",
				u->comm, u->pid, u->fd);
		}
		g_print(")");
	}
	if (style->extended)
		g_print(" uid:%" G_GUINT64_FORMAT " ino:%" G_GUINT64_FORMAT,
			s->uid, s->inode);
	if (style->info) {
		g_print("\n\t sndbuf:%" G_GUINT64_FORMAT
			" rcvbuf:%" G_GUINT64_FORMAT
			" unsent:%" G_GUINT64_FORMAT, s->sndbuf, s->rcvbuf,
			s->unsent);
		if (vtoess_is_stream(s))
			g_print(" window:%" G_GUINT64_FORMAT
				" bytes_sent:%" G_GUINT64_FORMAT
				" bytes_acked:%" G_GUINT64_FORMAT
				" bytes_received:%" G_GUINT64_FORMAT,
				s->window, s->sent, s->acked, s->received);
	}
	g_print("\n");
}

static void vtoess_show_row(const char *const *cells, const gsize *width)
{
	int i;

	for (i = 0; i < COL_N; i++)
		g_print("%s%-*s", i ? " " : "", (int)width[i], cells[i]);
}

void vtoess_show(GPtrArray *socks, const struct vtoess_style *style)
{
	g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(
						(GDestroyNotify)g_strfreev);
	gsize width[COL_N] = { 0 };
	guint i;
	int col;

	for (i = 0; i < socks->len; i++) {
		char **cells = g_new0(char *, COL_N + 1);

		for (col = 0; col < COL_N; col++) {
			cells[col] = vtoess_cell(g_ptr_array_index(socks, i),
						 col, style->numeric);
			width[col] = MAX(width[col], strlen(cells[col]));
		}
		g_ptr_array_add(rows, cells);
	}
	if (style->header) {
		for (col = 0; col < COL_N; col++)
			width[col] = MAX(width[col], strlen(titles[col]));
		vtoess_show_row(titles, width);
		g_print("%s\n", style->processes ? " Process" : "");
	}
	for (i = 0; i < socks->len; i++) {
		vtoess_show_row(g_ptr_array_index(rows, i), width);
		vtoess_show_more(g_ptr_array_index(socks, i), style);
	}
}

void vtoess_show_counts(GPtrArray *counts)
{
	guint i;

	for (i = 0; i < counts->len; i++) {
		const struct vtoess_count *c = g_ptr_array_index(counts, i);

		g_print("%-10s %-22s %" G_GUINT64_FORMAT "\n", c->group,
			c->name, c->value);
	}
}

/* --- JSON ----------------------------------------------------------------- */

static void vtoess_json_int(JsonBuilder *b, const char *name, guint64 value)
{
	json_builder_set_member_name(b, name);
	json_builder_add_int_value(b, value);
}

static void vtoess_json_text(JsonBuilder *b, const char *name,
			     const char *value)
{
	json_builder_set_member_name(b, name);
	json_builder_add_string_value(b, value);
}

static void vtoess_json_end(JsonBuilder *b, const char *name, const char *addr,
			    guint16 port)
{
	json_builder_set_member_name(b, name);
	json_builder_begin_object(b);
	vtoess_json_text(b, "address", addr);
	vtoess_json_int(b, "port", port);
	json_builder_end_object(b);
}

static void vtoess_json_sock(JsonBuilder *b, const struct vtoess_sock *s,
			     const struct vtoess_style *style)
{
	gboolean listening = s->state == VTOESS_LISTENING;
	guint i;

	json_builder_begin_object(b);
	vtoess_json_text(b, "mode", s->mode);
	vtoess_json_text(b, "state", vtoess_state_name(s->state));
	vtoess_json_int(b, "family", s->family);
	vtoess_json_end(b, "local", s->laddr, s->lport);
	vtoess_json_end(b, "peer", s->raddr, s->rport);
	vtoess_json_int(b, "recv_q", listening ? s->queued : s->rxq);
	vtoess_json_int(b, "send_q", listening ? s->backlog : s->txq);
	vtoess_json_int(b, "unsent", s->unsent);
	vtoess_json_text(b, "reason", s->reason);
	if (vtoess_is_stream(s)) {
		vtoess_json_int(b, "sid", s->sid);
		vtoess_json_int(b, "pair", s->pair);
		vtoess_json_int(b, "credit", s->credit);
		vtoess_json_int(b, "window", s->window);
		vtoess_json_int(b, "bytes_sent", s->sent);
		vtoess_json_int(b, "bytes_acked", s->acked);
		vtoess_json_int(b, "bytes_received", s->received);
	}
	vtoess_json_int(b, "sndbuf", s->sndbuf);
	vtoess_json_int(b, "rcvbuf", s->rcvbuf);
	vtoess_json_int(b, "uid", s->uid);
	vtoess_json_int(b, "inode", s->inode);
	if (style->processes) {
		json_builder_set_member_name(b, "users");
		json_builder_begin_array(b);
		for (i = 0; i < s->users->len; i++) {
			const struct vtoess_user *u =
				g_ptr_array_index(s->users, i);

			json_builder_begin_object(b);
			vtoess_json_text(b, "comm", u->comm);
			vtoess_json_int(b, "pid", u->pid);
			vtoess_json_int(b, "fd", u->fd);
			json_builder_end_object(b);
		}
		json_builder_end_array(b);
	}
	json_builder_end_object(b);
}

void vtoess_show_json(GPtrArray *socks, GPtrArray *counts,
		      const struct vtoess_style *style)
{
	g_autoptr(JsonBuilder) b = json_builder_new();
	g_autoptr(JsonNode) root = NULL;
	g_autofree char *text = NULL;
	guint i;

	json_builder_begin_object(b);
	json_builder_set_member_name(b, "sockets");
	json_builder_begin_array(b);
	for (i = 0; i < socks->len; i++)
		vtoess_json_sock(b, g_ptr_array_index(socks, i), style);
	json_builder_end_array(b);
	if (counts) {
		json_builder_set_member_name(b, "counters");
		json_builder_begin_array(b);
		for (i = 0; i < counts->len; i++) {
			const struct vtoess_count *c =
				g_ptr_array_index(counts, i);

			json_builder_begin_object(b);
			vtoess_json_text(b, "group", c->group);
			vtoess_json_text(b, "name", c->name);
			vtoess_json_int(b, "value", c->value);
			json_builder_end_object(b);
		}
		json_builder_end_array(b);
	}
	json_builder_end_object(b);
	root = json_builder_get_root(b);
	text = json_to_string(root, TRUE);
	g_print("%s\n", text);
}
