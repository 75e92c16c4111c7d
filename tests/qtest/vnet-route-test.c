/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static routes from outside: the netdev's option and vnet-change-routes.  Which
 * way frames go is in tests/unit.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "vtoe-tmp.h"

static char *dir;

/* Writes a file of routes; its name. */
static char *file(const char *name, const char *text)
{
    char *path = g_build_filename(dir, name, NULL);

    g_assert(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static QTestState *start(const char *routes)
{
    g_autofree char *option = routes ? g_strconcat(",routes=", routes, NULL)
                                     : g_strdup("");

    return qtest_initf("-nodefaults -M none -netdev vnet,id=n0%s", option);
}

static void append(GString *s, const QDict *answer, const char *key)
{
    const QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(answer, key), e) {
        const QDict *r = qobject_to(QDict, qlist_entry_obj(e));

        g_string_append_printf(s, "%s%" PRId64 " %s\n",
                               g_str_equal(key, "removed") ? "-" :
                               g_str_equal(key, "added") ? "+" : "",
                               qdict_get_int(r, "index"),
                               qdict_get_str(r, "command"));
    }
}

/* A line for each, the newest first. */
static const char *routes_of(QTestState *qts)
{
    static GString *s;
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-vnet' }");
    QDict *n0 = qobject_to(QDict, qlist_peek(qdict_get_qlist(rsp, "return")));

    if (!s) {
        s = g_string_new(NULL);
    }
    g_string_truncate(s, 0);
    append(s, n0, "routes");
    qobject_unref(rsp);
    return s->str;
}

/* What came and went, or what was wrong. */
static const char *change(QTestState *qts, const char *commands, bool replace,
                          bool dry_run)
{
    static GString *s;
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'vnet-change-routes', "
                           "'arguments': { 'id': 'n0', 'commands': %s, "
                           "'replace': %i, 'dry-run': %i } }", commands,
                           replace, dry_run);

    if (!s) {
        s = g_string_new(NULL);
    }
    g_string_truncate(s, 0);
    if (qdict_haskey(rsp, "error")) {
        g_string_append(s, qdict_get_str(qdict_get_qdict(rsp, "error"),
                                         "desc"));
    } else {
        append(s, qdict_get_qdict(rsp, "return"), "added");
        append(s, qdict_get_qdict(rsp, "return"), "removed");
    }
    qobject_unref(rsp);
    return s->str;
}

static void test_option(void)
{
    g_autofree char *path = file("good", "# two\nADD any any edge l0 any\n"
                                 "ADD any none-such edge l0 any\n");
    g_autofree char *bad_line = g_strdup_printf(
        "netdev n1: routes in %s: line 3, column 9: \"none-such\" is not any, "
        "none, aa:bb:cc:dd:ee:ff or not-aa:bb:cc:dd:ee:ff", path);
    g_autofree char *missing = g_build_filename(dir, "missing", NULL);
    g_autofree char *twice = file("twice", "ADD any any edge l0 any\n"
                                  " ADD ANY ANY EDGE l0 ANY");
    g_autofree char *same = g_strdup_printf(
        "netdev n1: routes in %s: line 2, column 2: route 1 says the same",
        twice);
    const char *const cases[][2] = {
        { path, bad_line }, { missing, NULL }, { twice, same },
    };
    QTestState *qts = start(NULL);
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        QDict *err = qtest_qmp_assert_failure_ref(
            qts, "{ 'execute': 'netdev_add', 'arguments': { 'type': 'vnet', "
            "'id': 'n1', 'routes': %s } }", cases[i][0]);
        const char *desc = qdict_get_str(err, "desc");

        if (!cases[i][1]) {
            /* GLib quotes as the locale wants. */
            g_assert(g_str_has_prefix(desc, "netdev n1: routes cannot be "
                                      "read: "));
            g_assert(strstr(desc, missing));
        } else {
            g_assert_cmpstr(desc, ==, cases[i][1]);
        }
        qobject_unref(err);
    }
    g_assert_cmpstr(routes_of(qts), ==, "");
    qtest_quit(qts);

    g_free(path);
    path = file("good", "# two\nADD any any edge l0 any\n"
                "ADD any ff:ff:ff:ff:ff:ff interface nic0 edge");
    qts = start(path);
    g_assert_cmpstr(routes_of(qts), ==,
                    "2 ADD any ff:ff:ff:ff:ff:ff interface nic0 edge any\n"
                    "1 ADD any any edge l0 any\n");
    qtest_qmp_assert_success(qts, "{ 'execute': 'netdev_del', 'arguments': "
                             "{ 'id': 'n0' } }");
    qtest_quit(qts);
}

static void test_change(void)
{
    QTestState *qts = start(NULL);
    QDict *err;

    g_assert_cmpstr(change(qts, "ADD any any edge l0 any\n"
                           "ADD any any edge l1 any", false, false), ==,
                    "+1 ADD any any edge l0 any\n"
                    "+2 ADD any any edge l1 any\n");
    g_assert_cmpstr(change(qts, "DEL 1\nADD any any edge l1 edge x",
                           false, true), ==,
                    "+3 ADD any any edge l1 edge x\n"
                    "-1 ADD any any edge l0 any\n");
    g_assert_cmpstr(change(qts, "DEL 1\n\n   DEL 1", false, false), ==,
                    "line 3, column 4: there is no route 1");
    g_assert_cmpstr(change(qts, "DEL 1\nSAY 1", false, false), ==,
                    "line 2, column 1: \"SAY\" is not ADD or DEL");
    g_assert_cmpstr(routes_of(qts), ==, "2 ADD any any edge l1 any\n"
                    "1 ADD any any edge l0 any\n");
    g_assert_cmpstr(change(qts, "ADD any any edge l1 any\n"
                           "ADD any any interface nic0 any", true, false), ==,
                    "+3 ADD any any interface nic0 any\n"
                    "-1 ADD any any edge l0 any\n");
    g_assert_cmpstr(routes_of(qts), ==, "3 ADD any any interface nic0 any\n"
                    "2 ADD any any edge l1 any\n");
    err = qtest_qmp_assert_failure_ref(
        qts, "{ 'execute': 'vnet-change-routes', 'arguments': { 'id': 'n7', "
        "'commands': '' } }");
    g_assert_cmpstr(qdict_get_str(err, "desc"), ==,
                    "there is no vnet netdev \"n7\"");
    qobject_unref(err);
    qtest_quit(qts);
}

static void test_shown_to_people(void)
{
    g_autofree char *path = file("shown", "ADD any any edge l0 any");
    QTestState *qts = start(path);
    g_autofree char *said = qtest_hmp(qts, "info vnet");

    g_assert(strstr(said, "\r\n  route 1: ADD any any edge l0 any\r\n"));
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = vtoe_tmp_dir("vnet-route");
    qtest_add_func("/vnet/route/option", test_option);
    qtest_add_func("/vnet/route/change", test_change);
    qtest_add_func("/vnet/route/shown-to-people", test_shown_to_people);
    ret = g_test_run();
    vtoe_tmp_remove(dir);
    return ret;
}
