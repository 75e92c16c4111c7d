/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vtoess: what the three files of it share.
 *
 *	vtoess.c	options, filter
 *	vtoess-read.c	/proc/net/vtoe, processes
 *	vtoess-show.c	text and JSON
 */
#ifndef VTOESS_H
#define VTOESS_H

#include <glib.h>

#define VTOESS_FILE	"/proc/net/vtoe"

/* States as the kernel numbers them. */
enum {
	VTOESS_ESTABLISHED = 1,
	VTOESS_CLOSED = 7,
	VTOESS_LISTENING = 10,
	VTOESS_STATES = 12,
};

/* A descriptor of a process. */
struct vtoess_user {
	char *comm;
	int pid, fd;
};

/* A line of the file. */
struct vtoess_sock {
	char *mode;		/* stream, tcp, listen, listen-tcp, ... */
	char *laddr, *raddr;	/* without brackets */
	guint16 lport, rport;
	guint state;
	char *reason;		/* of a fall-back, or "none" */
	guint64 sid, pair;
	guint64 txq, unsent, rxq;	/* bytes */
	guint64 credit, window;		/* bytes */
	guint64 sent, acked, received;	/* bytes */
	guint64 queued, backlog;	/* of a listener, connections */
	guint64 family;			/* 4 or 6 */
	guint64 sndbuf, rcvbuf;		/* bytes */
	guint64 uid, inode;
	/* struct vtoess_user; NULL: they were not looked for. */
	GPtrArray *users;
};

/* A counter. */
struct vtoess_count {
	char *group, *name;
	guint64 value;
};

typedef struct {
	GPtrArray *socks;	/* struct vtoess_sock */
	GPtrArray *counts;	/* struct vtoess_count */
} VtoessData;

/* Reads file, or reports why not. */
VtoessData *vtoess_read(const char *file, GError **error);
void vtoess_data_free(VtoessData *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtoessData, vtoess_data_free)

/* Finds the processes that hold each socket, as far as one may look. */
void vtoess_find_users(GPtrArray *socks);

/* The state's name, as ss has it. */
const char *vtoess_state_name(guint state);

/* Is there a stream behind it? */
static inline gboolean vtoess_is_stream(const struct vtoess_sock *s)
{
	return g_str_equal(s->mode, "stream") ||
	       g_str_equal(s->mode, "connecting");
}

struct vtoess_style {
	gboolean header, numeric, processes, info, extended;
};

void vtoess_show(GPtrArray *socks, const struct vtoess_style *style);
void vtoess_show_counts(GPtrArray *counts);
/* counts: NULL, they were not asked for. */
void vtoess_show_json(GPtrArray *socks, GPtrArray *counts,
		      const struct vtoess_style *style);

#endif /* VTOESS_H */
