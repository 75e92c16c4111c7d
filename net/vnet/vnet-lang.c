/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language: lines and words; see vnet-lang.h.
 */
#include <string.h>
#include "vnet-lang.h"

bool vnet_lang_fail(VnetLangLine *l, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *l->err = (VnetLangError) { l->number, l->column,
                                g_strdup_vprintf(fmt, ap) };
    va_end(ap);
    return false;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

char *vnet_lang_word(VnetLangLine *l)
{
    const char *begin;

    while (l->at < l->end && is_blank(*l->at)) {
        l->at++;
    }
    begin = l->at;
    l->column = begin - l->begin + 1;
    if (begin == l->end || *begin == '#') {
        return NULL;
    }
    while (l->at < l->end && !is_blank(*l->at) && *l->at != '#') {
        l->at++;
    }
    return g_strndup(begin, l->at - begin);
}

char *vnet_lang_shown(const char *text)
{
    g_autofree char *some = g_strndup(text, 40);

    return g_strescape(some, NULL);
}

bool vnet_lang_expected(VnetLangLine *l, const char *what, const char *got)
{
    g_autofree char *s = got ? vnet_lang_shown(got) : NULL;

    return s ? vnet_lang_fail(l, "\"%s\" is not %s", s, what) :
               vnet_lang_fail(l, "the line ends, and %s is missing", what);
}

bool vnet_lang_number(VnetLangLine *l, const char *what, unsigned *n)
{
    g_autofree char *w = vnet_lang_word(l);
    g_autofree char *number = g_strdup_printf("the number of a %s", what);
    guint64 value;

    if (!w || !g_ascii_string_to_unsigned(w, 10, 1, G_MAXUINT32, &value,
                                          NULL)) {
        return vnet_lang_expected(l, number, w);
    }
    *n = value;
    return true;
}

bool vnet_lang_end(VnetLangLine *l)
{
    g_autofree char *w = vnet_lang_word(l);
    g_autofree char *s = w ? vnet_lang_shown(w) : NULL;

    return !w || vnet_lang_fail(l, "\"%s\" is more than the command takes", s);
}

static bool read_line(VnetLangLine *l,
                      bool (*command)(VnetLangLine *l, bool add,
                                      void *opaque), void *opaque)
{
    const char *zero = memchr(l->begin, 0, l->end - l->begin);
    g_autofree char *w = NULL;

    if (zero) {
        l->column = zero - l->begin + 1;
        return vnet_lang_fail(l, "a byte 0 is no text");
    }
    w = vnet_lang_word(l);
    if (!w) {
        return true;
    }
    if (!g_ascii_strcasecmp(w, "add")) {
        return command(l, true, opaque);
    }
    if (!g_ascii_strcasecmp(w, "del")) {
        return command(l, false, opaque);
    }
    return vnet_lang_expected(l, "ADD or DEL", w);
}

bool vnet_lang_read(const char *text, size_t len,
                    bool (*command)(VnetLangLine *l, bool add, void *opaque),
                    void *opaque, VnetLangError *err)
{
    const char *end = text + len;
    VnetLangLine l = { .begin = text, .err = err };

    if (len > VNET_LANG_TEXT_MAX) {
        *err = (VnetLangError) { 0, 0, g_strdup_printf(
            "%zu bytes of commands are more than %u", len,
            VNET_LANG_TEXT_MAX) };
        return false;
    }
    while (l.begin < end) {
        const char *stop = memchr(l.begin, '\n', end - l.begin);

        l.at = l.begin;
        l.end = stop ? stop : end;
        l.number++;
        if (!read_line(&l, command, opaque)) {
            return false;
        }
        l.begin = l.end + 1;
    }
    return true;
}
