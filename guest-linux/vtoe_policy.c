// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The policy's language, see vtoe_policy.h.  Nothing here knows the kernel:
 * tests/unit and tests/fuzz compile it as a program.
 *
 * The text is looked at once, from its beginning to its end, and only between
 * two pointers: it need not end with a NUL, and may hold any byte.
 */
#ifdef __KERNEL__
#include <linux/kernel.h>
#include <linux/string.h>
#else
#include <stdio.h>
#include <string.h>
#define scnprintf snprintf
#endif
#include "vtoe_policy.h"

#define VTOE_WORD_MAX	46	/* the longest address, and its end */

struct vtoe_word {
	const char *s;
	size_t len;
};

/* One line; what was read of it is gone. */
struct vtoe_line {
	const char *at, *end;
	u32 number;
	char *error;
};

/* Takes the next word.  False at the line's end or a comment. */
static bool vtoe_word_next(struct vtoe_line *l, struct vtoe_word *w)
{
	while (l->at < l->end && (*l->at == ' ' || *l->at == '\t'))
		l->at++;
	if (l->at == l->end || *l->at == '#') {
		l->at = l->end;
		return false;
	}
	w->s = l->at;
	while (l->at < l->end && *l->at != ' ' && *l->at != '\t')
		l->at++;
	w->len = l->at - w->s;
	return true;
}

static bool vtoe_word_is(const struct vtoe_word *w, const char *s)
{
	return w->len == strlen(s) && !memcmp(w->s, s, w->len);
}

/* Says what is wrong with a word, which may be anything.  Returns -1. */
static int vtoe_bad_word(const struct vtoe_line *l, const struct vtoe_word *w,
			 const char *what)
{
	char shown[VTOE_WORD_MAX + 4];
	size_t i, n = w->len;

	if (n > VTOE_WORD_MAX)
		n = VTOE_WORD_MAX;
	for (i = 0; i < n; i++)
		shown[i] = w->s[i] > ' ' && w->s[i] < 127 ? w->s[i] : '?';
	scnprintf(shown + n, sizeof(shown) - n, "%s",
		  n < w->len ? "..." : "");
	scnprintf(l->error, VTOE_POLICY_ERROR_MAX, "line %u: \"%s\": %s",
		  l->number, shown, what);
	return -1;
}

static int vtoe_bad_line(const struct vtoe_line *l, const char *what)
{
	scnprintf(l->error, VTOE_POLICY_ERROR_MAX, "line %u: %s", l->number,
		  what);
	return -1;
}

/* A decimal number from *s on, at most max. */
static bool vtoe_number(const char **s, const char *end, u32 max, u32 *val)
{
	const char *begin = *s;
	u32 n = 0;

	while (*s < end && **s >= '0' && **s <= '9') {
		n = n * 10 + (**s - '0');
		if (n > max)
			return false;
		(*s)++;
	}
	*val = n;
	return *s > begin;
}

/* ADDRESS or ADDRESS/LENGTH. */
static int vtoe_parse_prefix(const struct vtoe_line *l,
			     const struct vtoe_word *w,
			     struct vtoe_policy_rule *r)
{
	static const u8 mapped[12] = { [10] = 0xff, [11] = 0xff };
	const char *slash = memchr(w->s, '/', w->len);
	size_t len = slash ? (size_t)(slash - w->s) : w->len;
	const char *end = w->s + w->len;
	char text[VTOE_WORD_MAX];
	u32 bits, i;

	if (len >= sizeof(text) || memchr(w->s, '\0', len))
		return vtoe_bad_word(l, w, "no IPv4 or IPv6 address");
	memcpy(text, w->s, len);
	text[len] = '\0';
	r->family = vtoe_policy_address(text, r->addr);
	if (!r->family)
		return vtoe_bad_word(l, w, "no IPv4 or IPv6 address");
	if (r->family == 6 && !memcmp(r->addr, mapped, sizeof(mapped)))
		return vtoe_bad_word(l, w,
				     "an IPv4 address is written as such");
	bits = r->family == 4 ? 32 : 128;
	if (slash) {
		slash++;
		if (!vtoe_number(&slash, end, bits, &bits) || slash != end)
			return vtoe_bad_word(l, w, r->family == 4 ?
				"the length of a prefix is 0 to 32" :
				"the length of a prefix is 0 to 128");
	}
	r->prefix = bits;
	for (i = bits; i < (r->family == 4 ? 32 : 128); i++)
		if (r->addr[i / 8] & (0x80 >> i % 8))
			return vtoe_bad_word(l, w,
				"the address has bits behind the prefix");
	return 0;
}

/* PORT or PORT-PORT. */
static int vtoe_parse_ports(const struct vtoe_line *l,
			    const struct vtoe_word *w,
			    struct vtoe_policy_rule *r)
{
	const char *s = w->s, *end = w->s + w->len;
	u32 min, max;

	if (!vtoe_number(&s, end, 65535, &min))
		goto bad;
	max = min;
	if (s < end && *s == '-') {
		s++;
		if (!vtoe_number(&s, end, 65535, &max))
			goto bad;
	}
	if (s != end || !min)
		goto bad;
	if (min > max)
		return vtoe_bad_word(l, w, "the first port is the larger one");
	r->port_min = min;
	r->port_max = max;
	return 0;
bad:
	return vtoe_bad_word(l, w, "a port, or two with a - between, is meant; they are 1 to 65535");
}

/* [connect|listen] [any|PREFIX] [port PORTS] */
static int vtoe_parse_rule(struct vtoe_line *l, struct vtoe_policy_rule *r)
{
	struct vtoe_word w;
	bool more, addressed = false;

	memset(r->addr, 0, sizeof(r->addr));
	r->family = 0;
	r->prefix = 0;
	r->dirs = VTOE_POLICY_BOTH;
	r->port_min = 0;
	r->port_max = 65535;

	more = vtoe_word_next(l, &w);
	if (more && vtoe_word_is(&w, "connect")) {
		r->dirs = VTOE_POLICY_CONNECT;
		more = vtoe_word_next(l, &w);
	} else if (more && vtoe_word_is(&w, "listen")) {
		r->dirs = VTOE_POLICY_LISTEN;
		more = vtoe_word_next(l, &w);
	}
	if (more && !vtoe_word_is(&w, "port")) {
		if (!vtoe_word_is(&w, "any") && vtoe_parse_prefix(l, &w, r))
			return -1;
		addressed = true;
		more = vtoe_word_next(l, &w);
	}
	if (more && vtoe_word_is(&w, "port")) {
		if (!vtoe_word_next(l, &w))
			return vtoe_bad_line(l, "\"port\" without a port");
		if (vtoe_parse_ports(l, &w, r))
			return -1;
		addressed = true;
		more = vtoe_word_next(l, &w);
	}
	if (more)
		return vtoe_bad_word(l, &w, "nothing more is meant here");
	if (!addressed)
		return vtoe_bad_line(l, "an address, \"any\" or \"port\" is missing");
	return 0;
}

static int vtoe_parse_default(struct vtoe_line *l, struct vtoe_policy_rules *p)
{
	struct vtoe_word w;

	if (!vtoe_word_next(l, &w))
		return vtoe_bad_line(l, "\"default\" without \"offload\" or \"leave\"");
	if (vtoe_word_is(&w, "offload"))
		p->offload = true;
	else if (vtoe_word_is(&w, "leave"))
		p->offload = false;
	else
		return vtoe_bad_word(l, &w, "not \"offload\" or \"leave\"");
	if (vtoe_word_next(l, &w))
		return vtoe_bad_word(l, &w, "nothing more is meant here");
	return 0;
}

u32 vtoe_policy_lines(const char *text, size_t len)
{
	u32 n = 1;
	size_t i;

	for (i = 0; i < len; i++)
		n += text[i] == '\n';
	return n;
}

int vtoe_policy_parse(const char *text, size_t len, struct vtoe_policy_rules *p,
		      u32 room, char error[VTOE_POLICY_ERROR_MAX])
{
	const char *end = text + len;
	struct vtoe_line l = { .error = error };
	struct vtoe_word w;
	bool over = false;

	p->n = 0;
	while (text < end) {
		l.at = text;
		l.end = memchr(text, '\n', end - text);
		if (!l.end)
			l.end = end;
		text = l.end < end ? l.end + 1 : end;
		l.number++;
		if (!vtoe_word_next(&l, &w))
			continue;
		if (over)
			return vtoe_bad_word(&l, &w, "the line \"default\" is the last one");
		if (vtoe_word_is(&w, "default")) {
			if (vtoe_parse_default(&l, p))
				return -1;
			over = true;
			continue;
		}
		if (!vtoe_word_is(&w, "offload") && !vtoe_word_is(&w, "leave"))
			return vtoe_bad_word(&l, &w, "not \"offload\", \"leave\" or \"default\"");
		if (p->n == room)
			return vtoe_bad_line(&l, "too many rules");
		p->rule[p->n].offload = vtoe_word_is(&w, "offload");
		if (vtoe_parse_rule(&l, &p->rule[p->n]))
			return -1;
		p->n++;
	}
	if (over)
		return 0;
	l.number++;
	return vtoe_bad_line(&l, "\"default offload\" or \"default leave\" has to end the policy, and all of it has to come in one write");
}

static bool vtoe_prefix_match(const struct vtoe_policy_rule *r, u8 family,
			      const u8 *addr)
{
	u32 bytes = r->prefix / 8, bits = r->prefix % 8;

	if (!r->family)
		return true;
	return r->family == family && !memcmp(r->addr, addr, bytes) &&
	       (!bits || !((r->addr[bytes] ^ addr[bytes]) >> (8 - bits)));
}

static bool vtoe_port_match(const struct vtoe_policy_rule *r, u32 dir, u16 port)
{
	return r->dirs & dir && port >= r->port_min && port <= r->port_max;
}

enum vtoe_policy_verdict
vtoe_policy_verdict(const struct vtoe_policy_rules *p, u32 dir, u8 family,
		    const u8 *addr, u16 port)
{
	u32 i;

	for (i = 0; i < p->n; i++) {
		const struct vtoe_policy_rule *r = &p->rule[i];

		if (vtoe_port_match(r, dir, port) &&
		    vtoe_prefix_match(r, family, addr))
			return r->offload ? VTOE_POLICY_OFFLOAD :
			       VTOE_POLICY_LEAVE;
	}
	return p->offload ? VTOE_POLICY_DEFAULT : VTOE_POLICY_LEAVE;
}

bool vtoe_policy_may_listen(const struct vtoe_policy_rules *p, u8 family,
			    u16 port)
{
	u32 i;

	for (i = 0; i < p->n; i++) {
		const struct vtoe_policy_rule *r = &p->rule[i];

		if (!vtoe_port_match(r, VTOE_POLICY_LISTEN, port) ||
		    (r->family && r->family != family))
			continue;
		if (r->offload)
			return true;
		if (!r->family || !r->prefix)
			return false;
	}
	return p->offload;
}
