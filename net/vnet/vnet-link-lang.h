/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for links (docs/specs/vnet-links.rst), and what a change of
 * the links of an overlay comes to.
 *
 * Nothing here knows what options a link has.  A link is a set of options, each
 * a name and a value as in -netdev vnet,links.0.NAME=VALUE; the shell turns them
 * into what the configuration takes, and back, and so finds out what is wrong
 * with them.
 */
#ifndef VNET_LINK_LANG_H
#define VNET_LINK_LANG_H

#include "vnet-lang.h"

#define VNET_MAX_LINKS      64      /* of a netdev */

/* Options: name -> value, sorted by name. */
typedef GTree VnetOptions;
VnetOptions *vnet_options_new(void);

/* A link as the language has it. */
typedef struct VnetLinkDef {
    unsigned refs;
    unsigned index;             /* from 1 on, never used again; 0: not yet */
    unsigned line, column;      /* of its command; 0: not from a text */
    VnetOptions *options;
    char *id;                   /* one of them */
    char *command;              /* that adds it */
} VnetLinkDef;

/* Takes options over. */
VnetLinkDef *vnet_link_def_new(VnetOptions *options);
VnetLinkDef *vnet_link_def_ref(VnetLinkDef *d);
void vnet_link_def_unref(VnetLinkDef *d);

/* A change: a link to add, or the index of one to delete. */
typedef struct VnetLinkChange {
    VnetLinkDef *add;           /* NULL: delete */
    unsigned index;
    unsigned line, column;
} VnetLinkChange;

/* Reads commands: GArray of VnetLinkChange, or NULL and *err. */
GArray *vnet_links_parse(const char *text, size_t len, VnetLangError *err);

/*
 * What changes make of the links that there are (GPtrArray of VnetLinkDef), in
 * their order: the links that there are then, those that were there being the
 * same objects; or NULL and *err, which names the command that does not fit.
 * With replace only what is added is there at the end; a link that was there
 * with the same options stays.  New ones get indices above *last, which is set to
 * the highest then.  max: the most links that there may be.
 */
GPtrArray *vnet_links_plan(const GPtrArray *there, const GArray *changes,
                           bool replace, unsigned max, unsigned *last,
                           VnetLangError *err);

#endif /* VNET_LINK_LANG_H */
