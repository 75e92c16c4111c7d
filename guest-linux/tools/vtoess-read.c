// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vtoess: reading.  The file's form is described in the kernel module's
 * vtoe_sock_proc.c.  Words that are not known here are left out: a newer
 * module may say more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "vtoess.h"

static void vtoess_sock_free(gpointer data)
{
	struct vtoess_sock *s = data;

	g_free(s->mode);
	g_free(s->laddr);
	g_free(s->raddr);
	g_free(s->reason);
	g_clear_pointer(&s->users, g_ptr_array_unref);
	g_free(s);
}

static void vtoess_count_free(gpointer data)
{
	struct vtoess_count *c = data;

	g_free(c->group);
	g_free(c->name);
	g_free(c);
}

void vtoess_data_free(VtoessData *d)
{
	g_ptr_array_unref(d->socks);
	g_ptr_array_unref(d->counts);
	g_free(d);
}

/* ADDRESS:PORT, an IPv6 address in brackets. */
static gboolean vtoess_parse_addr(const char *word, char **addr, guint16 *port)
{
	const char *colon = strrchr(word, ':');
	gsize len;
	guint64 n;

	if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 0, 65535, &n,
						  NULL))
		return FALSE;
	len = colon - word;
	if (len >= 2 && word[0] == '[' && colon[-1] == ']')
		*addr = g_strndup(word + 1, len - 2);
	else
		*addr = g_strndup(word, len);
	*port = n;
	return TRUE;
}

/* NAME=VALUE into s; FALSE if the value is none. */
static gboolean vtoess_parse_value(struct vtoess_sock *s, const char *name,
				   const char *value)
{
	const struct {
		const char *name;
		guint64 *to;
	} known[] = {
		{ "sid", &s->sid }, { "pair", &s->pair }, { "txq", &s->txq },
		{ "unsent", &s->unsent }, { "rxq", &s->rxq },
		{ "credit", &s->credit }, { "window", &s->window },
		{ "sent", &s->sent }, { "acked", &s->acked },
		{ "received", &s->received }, { "queued", &s->queued },
		{ "backlog", &s->backlog }, { "family", &s->family },
		{ "sndbuf", &s->sndbuf }, { "rcvbuf", &s->rcvbuf },
		{ "uid", &s->uid }, { "inode", &s->inode },
	};
	char *end;
	gsize i;

	if (g_str_equal(name, "reason")) {
		g_free(s->reason);
		s->reason = g_strdup(value);
		return TRUE;
	}
	if (g_str_equal(name, "state")) {
		guint64 state;

		if (!g_ascii_string_to_unsigned(value, 10, 1, VTOESS_STATES,
						&state, NULL))
			return FALSE;
		s->state = state;
		return TRUE;
	}
	for (i = 0; i < G_N_ELEMENTS(known); i++) {
		if (!g_str_equal(name, known[i].name))
			continue;
		/* A SID is in hexadecimal. */
		errno = 0;
		*known[i].to = g_ascii_strtoull(value, &end, 0);
		return !errno && end != value && !*end;
	}
	return TRUE;
}

static struct vtoess_sock *vtoess_parse_sock(char **words)
{
	struct vtoess_sock *s = g_new0(struct vtoess_sock, 1);
	char **w;

	s->mode = g_strdup(words[0]);
	if (!words[1] || !words[2] ||
	    !vtoess_parse_addr(words[1], &s->laddr, &s->lport) ||
	    !vtoess_parse_addr(words[2], &s->raddr, &s->rport))
		goto bad;
	for (w = words + 3; *w; w++) {
		char *eq = strchr(*w, '=');

		if (!eq)
			goto bad;
		*eq = '\0';
		if (!vtoess_parse_value(s, *w, eq + 1))
			goto bad;
	}
	if (!s->state || !s->reason || (s->family != 4 && s->family != 6))
		goto bad;
	return s;

bad:
	vtoess_sock_free(s);
	return NULL;
}

static struct vtoess_count *vtoess_parse_count(char **words)
{
	struct vtoess_count *c;
	guint64 value;

	if (!words[1] || !words[2] || words[3] ||
	    !g_ascii_string_to_unsigned(words[2], 10, 0, G_MAXUINT64, &value,
					NULL))
		return NULL;
	c = g_new0(struct vtoess_count, 1);
	c->group = g_strdup(words[0]);
	c->name = g_strdup(words[1]);
	c->value = value;
	return c;
}

static gboolean vtoess_is_count(const char *word)
{
	return g_str_equal(word, "count") || g_str_equal(word, "fallback") ||
	       g_str_equal(word, "reset_in") || g_str_equal(word, "reset_out");
}

VtoessData *vtoess_read(const char *file, GError **error)
{
	g_autoptr(VtoessData) d = g_new0(VtoessData, 1);
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;
	gsize i;

	d->socks = g_ptr_array_new_with_free_func(vtoess_sock_free);
	d->counts = g_ptr_array_new_with_free_func(vtoess_count_free);
	if (!g_file_get_contents(file, &text, NULL, error))
		return NULL;
	lines = g_strsplit(text, "\n", -1);
	for (i = 0; lines[i]; i++) {
		g_auto(GStrv) words = NULL;
		gpointer entry;

		if (!*lines[i])
			continue;
		words = g_strsplit(lines[i], " ", -1);
		if (vtoess_is_count(words[0])) {
			entry = vtoess_parse_count(words);
			if (entry)
				g_ptr_array_add(d->counts, entry);
		} else {
			entry = vtoess_parse_sock(words);
			if (entry)
				g_ptr_array_add(d->socks, entry);
		}
		if (!entry) {
			g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
				    "%s, line %zu is not understood: \"%s\"",
				    file, i + 1, lines[i]);
			return NULL;
		}
	}
	return g_steal_pointer(&d);
}

/* --- processes ------------------------------------------------------------ */

/* The inode that a link such as socket:[1234] names, or 0. */
static guint64 vtoess_link_inode(const char *path)
{
	char target[64];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	guint64 inode;

	if (len < 0)
		return 0;
	target[len] = '\0';
	if (!g_str_has_prefix(target, "socket:[") || target[len - 1] != ']')
		return 0;
	target[len - 1] = '\0';
	return g_ascii_string_to_unsigned(target + strlen("socket:["), 10, 0,
					  G_MAXUINT64, &inode, NULL) ?
	       inode : 0;
}

static void vtoess_user_free(gpointer data)
{
	struct vtoess_user *u = data;

	g_free(u->comm);
	g_free(u);
}

static void vtoess_process(const char *pid, GHashTable *by_inode)
{
	g_autofree char *folder = g_strdup_printf("/proc/%s/fd", pid);
	g_autofree char *comm = NULL;
	g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
	const char *fd;

	while (dir && (fd = g_dir_read_name(dir))) {
		g_autofree char *path = g_build_filename(folder, fd, NULL);
		guint64 inode = vtoess_link_inode(path);
		struct vtoess_user *user;
		struct vtoess_sock *s;

		s = inode ? g_hash_table_lookup(by_inode, &inode) : NULL;
		if (!s)
			continue;
		if (!comm) {
			g_autofree char *file = g_strdup_printf("/proc/%s/comm",
								pid);

			if (!g_file_get_contents(file, &comm, NULL, NULL))
				comm = g_strdup("?");
			g_strchomp(comm);
		}
		user = g_new0(struct vtoess_user, 1);
		user->comm = g_strdup(comm);
		user->pid = atoi(pid);
		user->fd = atoi(fd);
		g_ptr_array_add(s->users, user);
	}
}

void vtoess_find_users(GPtrArray *socks)
{
	g_autoptr(GHashTable) by_inode = g_hash_table_new(g_int64_hash,
							  g_int64_equal);
	g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
	const char *name;
	guint i;

	for (i = 0; i < socks->len; i++) {
		struct vtoess_sock *s = g_ptr_array_index(socks, i);

		s->users = g_ptr_array_new_with_free_func(vtoess_user_free);
		g_hash_table_insert(by_inode, &s->inode, s);
	}
	while (proc && (name = g_dir_read_name(proc)))
		if (g_ascii_isdigit(name[0]))
			vtoess_process(name, by_inode);
}
