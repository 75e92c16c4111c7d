/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A link's options, as QAPI has them and as VNET's language has them, and back.
 *
 * The language's form of options that were read from QAPI is canonical: two
 * links are the same if it is.
 */

#include "qemu/osdep.h"
#include "block/qdict.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-vnet.h"
#include "qapi/qobject-input-visitor.h"
#include "qapi/qobject-output-visitor.h"
#include "qemu/id.h"
#include "qobject/qbool.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "vnet-shell.h"

/* A value as an option has it; to be freed. */
static char *vnet_option_text(QObject *value)
{
    switch (qobject_type(value)) {
    case QTYPE_QBOOL:
        return g_strdup(qbool_get_bool(qobject_to(QBool, value)) ? "on" :
                        "off");
    case QTYPE_QNUM:
        return qnum_to_string(qobject_to(QNum, value));
    case QTYPE_QSTRING:
        return g_strdup(qstring_get_str(qobject_to(QString, value)));
    default:
        /* An empty list: there is no way to say it in the language. */
        return NULL;
    }
}

VnetLinkDef *vnet_link_options_def(const VnetLinkOptions *o)
{
    VnetLinkOptions *copy = (VnetLinkOptions *)o;   /* it is only read */
    VnetOptions *options = vnet_options_new();
    const QDictEntry *e;
    QObject *obj;
    QDict *flat;
    Visitor *v = qobject_output_visitor_new(&obj);

    visit_type_VnetLinkOptions(v, NULL, &copy, &error_abort);
    visit_complete(v, &obj);
    visit_free(v);
    flat = qobject_to(QDict, obj);
    qdict_flatten(flat);
    for (e = qdict_first(flat); e; e = qdict_next(flat, e)) {
        char *text = vnet_option_text(qdict_entry_value(e));

        if (text) {
            g_tree_insert(options, g_strdup(qdict_entry_key(e)), text);
        }
    }
    qobject_unref(flat);
    return vnet_link_def_new(options);
}

static gboolean vnet_option_put(gpointer name, gpointer value, gpointer opaque)
{
    qdict_put_str(opaque, name, value);
    return FALSE;
}

VnetLinkOptions *vnet_link_def_options(const VnetLinkDef *d, Error **errp)
{
    QDict *flat = qdict_new();
    VnetLinkOptions *o = NULL;
    QObject *nested;
    Visitor *v;

    g_tree_foreach(d->options, vnet_option_put, flat);
    nested = qdict_crumple(flat, errp);
    qobject_unref(flat);
    if (!nested) {
        return NULL;
    }
    v = qobject_input_visitor_new_keyval(nested);
    visit_type_VnetLinkOptions(v, NULL, &o, errp);
    visit_free(v);
    qobject_unref(nested);
    return o;
}

bool vnet_link_id_check(const VnetLinkOptions *o, Error **errp)
{
    const SocketAddress *a = o->addr;

    if (!id_wellformed(o->id) && !(a->type == SOCKET_ADDRESS_TYPE_INET &&
                                   o->id[0] && g_str_equal(o->id, a->u.inet.host))) {
        error_setg(errp, "the id \"%s\" of a link is not an identifier, nor the "
                   "address of its peer", o->id);
        return false;
    }
    if (strlen(o->id) > VNET_ROUTE_ID_MAX) {
        error_setg(errp, "the id \"%s\" of a link is longer than %d characters",
                   o->id, VNET_ROUTE_ID_MAX);
        return false;
    }
    return true;
}
