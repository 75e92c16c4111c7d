/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language: lines and words, for those who know its commands
 * (vnet-route.h, vnet-link-lang.h).
 *
 * One command on a line, which begins with ADD or DEL; words are separated by
 * blanks, # begins a comment.  A bad line gives an error with its place, and
 * nothing of the text is carried out.
 */
#ifndef VNET_LANG_H
#define VNET_LANG_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>

#define VNET_LANG_TEXT_MAX      (1024 * 1024)   /* bytes of commands */

/* What is wrong, and where, counted from 1; line 0: with no line. */
typedef struct VnetLangError {
    unsigned line, column;
    char *text;                 /* g_free() it */
} VnetLangError;

/* A line that is being read. */
typedef struct VnetLangLine {
    const char *at, *end;       /* what is left */
    const char *begin;
    unsigned number;
    unsigned column;            /* of the last word */
    VnetLangError *err;
} VnetLangLine;

/*
 * Calls command() for each command, add: ADD, else DEL, whose words are to be
 * read from l up to vnet_lang_end().  False and *err: it said false, or the text
 * is none.  Text need not end with a 0.
 */
bool vnet_lang_read(const char *text, size_t len,
                    bool (*command)(VnetLangLine *l, bool add, void *opaque),
                    void *opaque, VnetLangError *err);
/* The next word, to be freed; NULL: there is none. */
char *vnet_lang_word(VnetLangLine *l);
/* A number from 1 on; what: what it is of, for the error. */
bool vnet_lang_number(VnetLangLine *l, const char *what, unsigned *n);
/* Whether there is no word more. */
bool vnet_lang_end(VnetLangLine *l);
/* Sets the error, of the last word, and says false. */
bool vnet_lang_fail(VnetLangLine *l, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The error that the word is not what was expected; got NULL: there is none. */
bool vnet_lang_expected(VnetLangLine *l, const char *what, const char *got);
/* A word as it can be shown, to be freed: it may be anything, and long. */
char *vnet_lang_shown(const char *text);

#endif /* VNET_LANG_H */
