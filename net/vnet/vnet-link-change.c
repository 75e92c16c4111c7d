/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links by VNET's language (docs/specs/vnet-links.rst): the file that the
 * netdev's option names, and the monitor's vnet-change-links.
 *
 * Theory of operation
 *
 * What changes come to is planned first (vnet-link-lang.c), and all options are
 * checked, addresses are bound.  Only then links are removed and made, in one go in
 * the VNET thread.  A listening socket whose address goes from a removed link to a
 * new one goes with it.  If one cannot be made after all, for want of
 * descriptors, those that were removed are made again.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vnet.h"
#include "qemu/sockets.h"
#include "vnet-shell.h"

void vnet_lang_error(VnetLangError *err, Error **errp)
{
    if (err->line) {
        error_setg(errp, "line %u, column %u: %s", err->line, err->column,
                   err->text);
    } else {
        error_setg(errp, "%s", err->text);
    }
    g_free(err->text);
}

/* --- What is asked for ------------------------------------------------- */

/* Checks a command's options, and makes them canonical. */
static bool vnet_link_check_change(VnetLinkChange *c, Error **errp)
{
    ERRP_GUARD();
    VnetLinkOptions *o = vnet_link_def_options(c->add, errp);

    if (!o || !vnet_link_id_check(o, errp) || !vnet_anylink_check(o, errp)) {
        error_prepend(errp, "line %u, column %u: ", c->line, c->column);
        qapi_free_VnetLinkOptions(o);
        return false;
    }
    vnet_link_def_unref(c->add);
    c->add = vnet_link_options_def(o);
    c->add->line = c->line;
    c->add->column = c->column;
    qapi_free_VnetLinkOptions(o);
    return true;
}

static GArray *vnet_link_changes(const char *text, size_t len, Error **errp)
{
    VnetLangError err = { 0 };
    GArray *changes = vnet_links_parse(text, len, &err);

    if (!changes) {
        vnet_lang_error(&err, errp);
        return NULL;
    }
    for (guint i = 0; i < changes->len; i++) {
        VnetLinkChange *c = &g_array_index(changes, VnetLinkChange, i);

        if (c->add && !vnet_link_check_change(c, errp)) {
            g_array_unref(changes);
            return NULL;
        }
    }
    return changes;
}

VnetLinkOptionsList *vnet_links_load(const char *path, Error **errp)
{
    ERRP_GUARD();
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GPtrArray) then = NULL;
    g_autoptr(GArray) changes = NULL;
    g_autoptr(GError) gerr = NULL;
    g_autofree char *text = NULL;
    VnetLinkOptionsList *list = NULL, **tail = &list;
    VnetLangError err = { 0 };
    unsigned last = 0;
    size_t len;

    if (!g_file_get_contents(path, &text, &len, &gerr)) {
        error_setg(errp, "links cannot be read: %s", gerr->message);
        return NULL;
    }
    changes = vnet_link_changes(text, len, errp);
    if (changes) {
        then = vnet_links_plan(none, changes, false, VNET_MAX_LINKS, &last,
                               &err);
        if (!then) {
            vnet_lang_error(&err, errp);
        }
    }
    if (!then) {
        error_prepend(errp, "links in %s: ", path);
        return NULL;
    }
    for (guint i = 0; i < then->len; i++) {
        QAPI_LIST_APPEND(tail, vnet_link_def_options(then->pdata[i],
                                                     &error_abort));
    }
    return list;
}

/* --- vnet-change-links -------------------------------------------------- */

/* A link that goes or comes. */
typedef struct VnetMovedLink {
    VnetLinkDef *def;
    VnetLinkOptions *options;
    int fd;                     /* of a listening socket, or what binds it */
    int from;                   /* the removed one whose socket it takes over;
                                 * -1: none */
} VnetMovedLink;

typedef struct VnetLinkRequest {
    const GArray *changes;
    bool replace, dry_run;
    GPtrArray *then;            /* of VnetLinkDef */
    unsigned last;
    GArray *removed, *added;    /* of VnetMovedLink */
    VnetLangError lang;         /* text NULL: nothing is wrong */
    Error *err;
} VnetLinkRequest;

static void vnet_moved_clear(void *moved)
{
    VnetMovedLink *m = moved;

    vnet_link_def_unref(m->def);
    qapi_free_VnetLinkOptions(m->options);
    if (m->fd >= 0) {
        socket_listen_cleanup(m->fd, NULL);
        close(m->fd);
    }
}

static GArray *vnet_moved_new(void)
{
    GArray *a = g_array_new(FALSE, TRUE, sizeof(VnetMovedLink));

    g_array_set_clear_func(a, vnet_moved_clear);
    return a;
}

/* Those of a that b has not. */
static void vnet_moved_difference(GArray *out, const GPtrArray *a,
                                  const GPtrArray *b)
{
    for (guint i = 0; i < a->len; i++) {
        if (!g_ptr_array_find((GPtrArray *)b, a->pdata[i], NULL)) {
            VnetMovedLink m = {
                .def = vnet_link_def_ref(a->pdata[i]),
                .options = vnet_link_def_options(a->pdata[i], &error_abort),
                .fd = -1, .from = -1,
            };

            g_array_append_val(out, m);
        }
    }
}

/* Whether a socket of one can be the other's: it listens, at the same place. */
static bool vnet_moved_same_place(const VnetMovedLink *a,
                                  const VnetMovedLink *b)
{
    g_autofree char *here = vnet_link_place(a->options);
    g_autofree char *there = vnet_link_place(b->options);

    return vnet_anylink_listens(a->options) &&
           vnet_anylink_listens(b->options) && g_str_equal(here, there);
}

static bool vnet_links_is_inherited(const VnetLinkRequest *r, int from)
{
    for (guint i = 0; i < r->added->len; i++) {
        if (g_array_index(r->added, VnetMovedLink, i).from == from) {
            return true;
        }
    }
    return false;
}

static void vnet_links_inherit(VnetLinkRequest *r)
{
    for (guint i = 0; i < r->added->len; i++) {
        VnetMovedLink *to = &g_array_index(r->added, VnetMovedLink, i);

        for (guint j = 0; j < r->removed->len && to->from < 0; j++) {
            if (vnet_moved_same_place(to, &g_array_index(r->removed,
                                                         VnetMovedLink, j)) &&
                !vnet_links_is_inherited(r, j)) {
                to->from = j;
            }
        }
    }
}

/* Puts its place in the text in front. */
static void vnet_moved_prepend(const VnetMovedLink *m, Error **errp)
{
    if (*errp && m->def->line) {
        error_prepend(errp, "line %u, column %u: ", m->def->line,
                      m->def->column);
    }
}

/* Its socket would be made while those are there that go, too. */
static void vnet_links_plan_new_place(const VnetLinkRequest *r,
                                      const VnetMovedLink *m, Error **errp)
{
    for (guint i = 0; i < r->removed->len && m->from < 0; i++) {
        const VnetLinkOptions *old = g_array_index(r->removed, VnetMovedLink,
                                                   i).options;

        if (vnet_anylink_listens(old) && !vnet_links_is_inherited(r, i) &&
            vnet_link_places_meet(m->options, old)) {
            error_setg(errp, "link %s would listen where link %s does until "
                       "this is done: remove that by a change of its own",
                       m->def->id, old->id);
            return;
        }
    }
}

/* If the new ones cannot be made, those that went are made again. */
static void vnet_links_plan_undo(VnetLinkRequest *r)
{
    for (guint i = 0; i < r->removed->len && r->added->len; i++) {
        if (!vnet_anylink_check_creds(g_array_index(r->removed, VnetMovedLink,
                                                    i).options, &r->err)) {
            error_prepend(&r->err, "one that goes could not be made again if "
                          "need be, remove it by a change of its own: ");
            return;
        }
    }
}

/* Who would listen or receive where another does is refused. */
static void vnet_links_plan_places(VnetNetdev *n, VnetLinkRequest *r)
{
    for (guint i = 0; i < r->added->len && !r->err; i++) {
        const VnetMovedLink *m = &g_array_index(r->added, VnetMovedLink, i);

        for (guint j = 0; j < i && !r->err; j++) {
            vnet_link_check_place(m->options,
                                  g_array_index(r->added, VnetMovedLink,
                                                j).options, NULL, &r->err);
        }
        for (guint j = 0; j < n->links->len && !r->err; j++) {
            VnetAnyLink *k = n->links->pdata[j];

            if (k->def && g_ptr_array_find(r->then, k->def, NULL)) {
                vnet_link_check_place(m->options, k->options, NULL, &r->err);
            }
        }
        if (!r->err) {
            vnet_links_plan_new_place(r, m, &r->err);
        }
        vnet_moved_prepend(m, &r->err);
    }
}

/* The links that peers registered stay, with those that they registered with. */
static void vnet_links_plan_registered(VnetNetdev *n, VnetLinkRequest *r)
{
    unsigned count = r->then->len;

    for (guint i = 0; i < n->links->len; i++) {
        VnetAnyLink *k = n->links->pdata[i];

        if (!k->registrar || !g_ptr_array_find(r->then, k->registrar->def,
                                               NULL)) {
            continue;
        }
        count++;
        for (guint j = 0; j < r->added->len && !r->err; j++) {
            VnetMovedLink *m = &g_array_index(r->added, VnetMovedLink, j);

            if (g_str_equal(m->def->id, k->options->id)) {
                error_setg(&r->err, "there is a link \"%s\" already, of a peer "
                           "that registered", m->def->id);
                vnet_moved_prepend(m, &r->err);
            }
        }
    }
    if (!r->err && count > VNET_MAX_LINKS) {
        error_setg(&r->err, "there would be more than %d links, with those of "
                   "peers that registered", VNET_MAX_LINKS);
    }
}

static void vnet_links_plan_in_thread(VnetNetdev *n, void *arg)
{
    VnetLinkRequest *r = arg;
    g_autoptr(GPtrArray) there = g_ptr_array_new();

    for (guint i = 0; i < n->links->len; i++) {
        VnetAnyLink *k = n->links->pdata[i];

        if (k->def) {
            g_ptr_array_add(there, k->def);
        }
    }
    r->last = n->last_link;
    r->then = vnet_links_plan(there, r->changes, r->replace, VNET_MAX_LINKS,
                              &r->last, &r->lang);
    if (!r->then) {
        return;
    }
    vnet_moved_difference(r->removed, there, r->then);
    vnet_moved_difference(r->added, r->then, there);
    vnet_links_inherit(r);
    vnet_links_plan_places(n, r);
    if (!r->err) {
        vnet_links_plan_registered(n, r);
    }
    if (!r->err) {
        vnet_links_plan_undo(r);
    }
}

static VnetAnyLink *vnet_links_find_def(VnetNetdev *n, const VnetLinkDef *d)
{
    for (guint i = 0; i < n->links->len; i++) {
        VnetAnyLink *k = n->links->pdata[i];

        if (k->def == d) {
            return k;
        }
    }
    g_assert_not_reached();
}

static void vnet_moved_remove(VnetNetdev *n, VnetMovedLink *m)
{
    VnetAnyLink *k = vnet_links_find_def(n, m->def);

    m->fd = k->sock ? vnet_sock_take_listener(k->sock) : -1;
    vnet_anylink_remove(n, k);
}

static bool vnet_moved_make(VnetNetdev *n, VnetMovedLink *m, Error **errp)
{
    VnetAnyLink *k = vnet_anylink_new(n, m->options, m->def, m->fd, errp);

    if (!k) {
        return false;
    }
    m->fd = -1;
    g_ptr_array_add(n->links, k);
    vnet_events_recount(n->events);
    return true;
}

/* A hint would not be told by QMP. */
static void vnet_links_also(Error **errp, const char *id, Error *err)
{
    Error *all = NULL;

    error_setg(&all, "%s; and link %s, which was to be removed, could not be "
               "made again: %s", error_get_pretty(*errp), id,
               error_get_pretty(err));
    error_free(err);
    error_free(*errp);
    *errp = all;
}

/* The first `made` of the new links were made, and the next could not be. */
static void vnet_links_undo(VnetNetdev *n, VnetLinkRequest *r, guint made)
{
    guint i;

    for (i = made; i-- > 0; ) {
        VnetMovedLink *m = &g_array_index(r->added, VnetMovedLink, i);

        vnet_moved_remove(n, m);
    }
    for (i = 0; i < r->added->len; i++) {
        VnetMovedLink *m = &g_array_index(r->added, VnetMovedLink, i);

        if (m->from >= 0 && m->fd >= 0) {
            g_array_index(r->removed, VnetMovedLink, m->from).fd = m->fd;
            m->fd = -1;
        }
    }
    for (i = 0; i < r->removed->len; i++) {
        VnetMovedLink *m = &g_array_index(r->removed, VnetMovedLink, i);
        Error *err = NULL;

        if (m->fd < 0) {
            m->fd = vnet_anylink_listen(m->options, &err);
        }
        if (err || !vnet_moved_make(n, m, &err)) {
            vnet_links_also(&r->err, m->def->id, err);
        }
    }
}

static void vnet_links_commit_in_thread(VnetNetdev *n, void *arg)
{
    VnetLinkRequest *r = arg;
    guint i;

    /* Peers may have registered in the meantime. */
    vnet_links_plan_registered(n, r);
    if (r->err) {
        return;
    }
    vnet_loop_begin(n->ov->loop);
    for (i = 0; i < r->removed->len; i++) {
        vnet_moved_remove(n, &g_array_index(r->removed, VnetMovedLink, i));
    }
    for (i = 0; i < r->added->len; i++) {
        VnetMovedLink *m = &g_array_index(r->added, VnetMovedLink, i);

        if (m->from >= 0) {
            VnetMovedLink *old = &g_array_index(r->removed, VnetMovedLink,
                                                m->from);

            m->fd = old->fd;
            old->fd = -1;
        }
        if (!vnet_moved_make(n, m, &r->err)) {
            vnet_links_undo(n, r, i);
            break;
        }
    }
    if (!r->err) {
        n->last_link = r->last;
    }
    vnet_loop_end(n->ov->loop);
}

static VnetLinkCommandList *vnet_links_list(const GArray *moved)
{
    VnetLinkCommandList *list = NULL, **tail = &list;

    for (guint i = 0; i < moved->len; i++) {
        const VnetMovedLink *m = &g_array_index(moved, VnetMovedLink, i);
        VnetLinkCommand *c = g_new0(VnetLinkCommand, 1);

        c->index = m->def->index;
        c->id = g_strdup(m->def->id);
        c->command = g_strdup(m->def->command);
        QAPI_LIST_APPEND(tail, c);
    }
    return list;
}

/* Of a dry run, only whether others of this QEMU have the addresses. */
static void vnet_links_listen(VnetNetdev *n, VnetLinkRequest *r)
{
    for (guint i = 0; i < r->added->len && !r->err; i++) {
        VnetMovedLink *m = &g_array_index(r->added, VnetMovedLink, i);

        if (m->from < 0) {
            if (vnet_link_check_places(m->options, n, &r->err) && !r->dry_run) {
                m->fd = vnet_anylink_listen(m->options, &r->err);
            }
            vnet_moved_prepend(m, &r->err);
        }
    }
}

VnetLinkChanges *qmp_vnet_change_links(const char *id, const char *commands,
                                       bool has_replace, bool replace,
                                       bool has_dry_run, bool dry_run,
                                       Error **errp)
{
    VnetNetdev *n = vnet_netdev_find_owner(id, errp);
    VnetLinkRequest r = {
        .replace = has_replace && replace,
        .dry_run = has_dry_run && dry_run,
    };
    VnetLinkChanges *ret = NULL;
    g_autoptr(GArray) changes = NULL;

    if (!n) {
        return NULL;
    }
    changes = vnet_link_changes(commands, strlen(commands), errp);
    if (!changes) {
        return NULL;
    }
    r.changes = changes;
    r.removed = vnet_moved_new();
    r.added = vnet_moved_new();
    vnet_netdev_call(n, vnet_links_plan_in_thread, &r);
    if (!r.lang.text && !r.err) {
        vnet_links_listen(n, &r);
    }
    if (!r.lang.text && !r.err && !r.dry_run) {
        vnet_netdev_call(n, vnet_links_commit_in_thread, &r);
    }
    if (r.lang.text) {
        vnet_lang_error(&r.lang, errp);
    } else if (r.err) {
        error_propagate(errp, r.err);
    } else {
        ret = g_new0(VnetLinkChanges, 1);
        ret->added = vnet_links_list(r.added);
        ret->removed = vnet_links_list(r.removed);
    }
    g_array_unref(r.removed);
    g_array_unref(r.added);
    g_clear_pointer(&r.then, g_ptr_array_unref);
    return ret;
}
