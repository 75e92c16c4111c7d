/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Static routes (vnet-route.h): which rules are for a frame, VNET's language,
 * changes of a table.
 */
#include <string.h>
#include "vnet-route.h"

#define A   "02:00:00:00:00:0a"
#define B   "02:00:00:00:00:0b"
#define C   "02:00:00:00:00:0c"

static VnetRoutes *routes;

static void begin(void)
{
    routes = vnet_routes_new();
}

static void end(void)
{
    vnet_routes_free(routes);
}

/* "" if the commands were carried out, else "line:column: what is wrong". */
static char *try(const char *text, size_t len, bool replace, bool dry_run,
                 GArray *added, GArray *removed)
{
    static char *said;
    VnetLangError err = { 0 };
    GArray *changes = vnet_routes_parse(text, len, &err);

    if (changes) {
        vnet_routes_change(routes, changes, replace, dry_run, added, removed,
                           &err);
        g_array_free(changes, TRUE);
    }
    g_free(said);
    said = err.text ? g_strdup_printf("%u:%u: %s", err.line, err.column,
                                      err.text) : g_strdup("");
    g_free(err.text);
    return said;
}

static char *run(const char *text)
{
    return try(text, strlen(text), false, false, NULL, NULL);
}

/* The table, a line for each rule, the newest first. */
static char *table(void)
{
    static GString *s;
    const VnetRule *rule;

    if (!s) {
        s = g_string_new(NULL);
    }
    g_string_truncate(s, 0);
    for (unsigned n = 0; (rule = vnet_routes_nth(routes, n)); n++) {
        g_autofree char *text = vnet_rule_text(rule);

        g_string_append_printf(s, "%u %s\n", rule->index, text);
    }
    g_assert_null(vnet_routes_nth(routes, vnet_routes_count(routes)));
    return s->str;
}

/* --- Which rules are for a frame ----------------------------------------- */

typedef struct Found {
    VnetEndName from;           /* where the frame comes from */
    GString *indices;
} Found;

static bool is_from(void *opaque, const VnetEndName *name)
{
    Found *f = opaque;

    return name->kind == f->from.kind &&
           (!name->id[0] || !strcmp(name->id, f->from.id));
}

static void found(void *opaque, const VnetRule *rule)
{
    Found *f = opaque;

    g_string_append_printf(f->indices, " %u", rule->index);
}

/* "PRIORITY: INDEX..." for a frame that comes from there. */
static char *find_from(VnetEndKind kind, const char *id, const char *src,
                       const char *dst)
{
    static char *said;
    Found f = { { kind, "" }, g_string_new(NULL) };
    uint8_t s[6], d[6];
    unsigned p;

    g_strlcpy(f.from.id, id, sizeof(f.from.id));
    g_assert_true(vnet_route_mac(src, s) && vnet_route_mac(dst, d));
    p = vnet_routes_find(routes, s, d, is_from, found, &f);
    g_free(said);
    said = g_strdup_printf("%u:%s", p, f.indices->str);
    g_string_free(f.indices, TRUE);
    return said;
}

static char *find(const char *src, const char *dst)
{
    return find_from(VNET_END_INTERFACE, "nic0", src, dst);
}

static void test_each_row_of_the_table(void)
{
    static const struct {
        const char *rule;
        const char *misses;             /* source and destination */
        unsigned priority;
    } rows[] = {
        { A " " B, A C, 8 },
        { A " " B, C B, 8 },
        { A " not-" C, A C, 7 },
        { A " not-" C, B A, 7 },
        { "not-" C " " B, C B, 7 },
        { "not-" C " " B, A A, 7 },
        { A " any", B A, 6 },
        { "any " B, A C, 6 },
        { "any not-" C, A C, 5 },
        { "not-" C " any", C B, 5 },
        { A " none", B A, 4 },
        { "any any", NULL, 3 },
        { "not-" C " not-" C, C B, 3 },
        { "not-" C " not-" C, B C, 3 },
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = g_strdup_printf("ADD %s edge l0 any",
                                                rows[i].rule);
        g_autofree char *wanted = g_strdup_printf("%u: 1", rows[i].priority);

        begin();
        g_test_message("%s", rows[i].rule);
        g_assert_cmpstr(run(text), ==, "");
        g_assert_cmpstr(find(A, B), ==, wanted);
        if (rows[i].misses) {
            g_autofree char *src = g_strndup(rows[i].misses, 17);

            g_assert_cmpstr(find(src, rows[i].misses + 17), ==, "0:");
        }
        end();
    }
}

static void test_the_higher_priority_wins(void)
{
    begin();
    g_assert_cmpstr(run("ADD any any edge l0 any\n"             /* 1: 3 */
                        "ADD " A " none edge l0 any\n"          /* 2: 4 */
                        "ADD any not-" C " edge l0 any\n"       /* 3: 5 */
                        "ADD any " B " edge l0 any\n"           /* 4: 6 */
                        "ADD " A " not-" C " edge l0 any\n"     /* 5: 7 */
                        "ADD " A " " B " edge l0 any\n"),       /* 6: 8 */
                    ==, "");
    g_assert_cmpstr(find(A, B), ==, "8: 6");
    g_assert_cmpstr(run("DEL 6"), ==, "");
    g_assert_cmpstr(find(A, B), ==, "7: 5");
    g_assert_cmpstr(run("DEL 5"), ==, "");
    g_assert_cmpstr(find(A, B), ==, "6: 4");
    g_assert_cmpstr(run("DEL 4"), ==, "");
    g_assert_cmpstr(find(A, B), ==, "5: 3");
    g_assert_cmpstr(run("DEL 3"), ==, "");
    /* The default route of A is before what is for all. */
    g_assert_cmpstr(find(A, B), ==, "4: 2");
    g_assert_cmpstr(find(C, B), ==, "3: 1");
    g_assert_cmpstr(run("DEL 2\nDEL 1"), ==, "");
    g_assert_cmpstr(find(A, B), ==, "0:");
    end();
}

static void test_ties_are_all_taken(void)
{
    begin();
    g_assert_cmpstr(run("ADD any ff:ff:ff:ff:ff:ff edge l0 any\n"
                        "ADD any ff:ff:ff:ff:ff:ff edge l1 any\n"
                        "ADD " A " any interface nic1 any\n"
                        "ADD any any edge l2 any"), ==, "");
    g_assert_cmpstr(find(A, "ff:ff:ff:ff:ff:ff"), ==, "6: 3 2 1");
    g_assert_cmpstr(find(B, "ff:ff:ff:ff:ff:ff"), ==, "6: 2 1");
    g_assert_cmpstr(find(B, A), ==, "3: 4");
    end();
}

/* What VNET/P got wrong in 2012: a catch-all doubled what had a rule. */
static void test_a_catch_all_does_not_double(void)
{
    begin();
    g_assert_cmpstr(run("ADD any any edge l0 any\n"
                        "ADD any " B " edge l1 any\n"
                        "ADD " A " any edge l2 any\n"
                        "ADD " A " " B " edge l3 any"), ==, "");
    g_assert_cmpstr(find(A, B), ==, "8: 4");
    g_assert_cmpstr(find(C, B), ==, "6: 2");
    g_assert_cmpstr(find(A, C), ==, "6: 3");
    g_assert_cmpstr(find(C, A), ==, "3: 1");
    end();
}

/* ... and the source was read, shown, and forgotten. */
static void test_the_source_counts(void)
{
    begin();
    g_assert_cmpstr(run("ADD any any edge l0 interface nic0\n"
                        "ADD any any edge l1 interface\n"
                        "ADD any any interface nic0 edge l0\n"
                        "ADD any any interface nic1 edge any\n"
                        "ADD " A " " B " edge l2 edge l3"), ==, "");
    g_assert_cmpstr(find(A, B), ==, "3: 2 1");
    g_assert_cmpstr(find_from(VNET_END_INTERFACE, "nic1", A, B), ==, "3: 2");
    g_assert_cmpstr(find_from(VNET_END_EDGE, "l0", A, B), ==, "3: 4 3");
    g_assert_cmpstr(find_from(VNET_END_EDGE, "l1", A, B), ==, "3: 4");
    g_assert_cmpstr(find_from(VNET_END_EDGE, "l3", A, B), ==, "8: 5");
    end();
}

/* --- The language -------------------------------------------------------- */

static void test_language(void)
{
    begin();
    g_assert_cmpstr(run("# all of it\r\n"
                        "\n"
                        "   \t\r\n"
                        "add Any NONE-is-no-mac edge l0 any"), ==,
                    "4:9: \"NONE-is-no-mac\" is not any, none, "
                    "aa:bb:cc:dd:ee:ff or not-aa:bb:cc:dd:ee:ff");
    g_assert_cmpstr(table(), ==, "");
    g_assert_cmpstr(run("# all of it\r\n"
                        "\n"
                        "   \t\r\n"
                        "add Any aNY Edge l0 ANY\r\n"
                        "\tADD  02:00:00:00:00:0A not-02:00:00:00:00:0B "
                        "interface 02:00:00:00:00:0C INTERFACE# why\n"
                        "ADD " A " none edge up-link.1 edge ANY  # and why\n"
                        "ADD NOT-" A " " B " interface Nic edge L0"), ==, "");
    g_assert_cmpstr(table(), ==,
                    "4 ADD not-" A " " B " interface Nic edge L0\n"
                    "3 ADD " A " none edge up-link.1 edge any\n"
                    "2 ADD " A " not-" B " interface " C " interface any\n"
                    "1 ADD any any edge l0 any\n");
    end();
}

static void test_what_is_listed_can_be_given(void)
{
    static const char *const macs[] = { "any", "none", A, B, "not-" A,
                                        "not-" C, "ff:ff:ff:ff:ff:ff" };
    static const char *const to[] = { "edge l0", "interface nic.0",
                                      "interface " A };
    static const char *const from[] = { "any", "edge", "edge any", "edge l1",
                                        "interface any", "interface " B };
    unsigned good = 0;

    for (guint i = 0; i < G_N_ELEMENTS(macs); i++) {
        for (guint j = 0; j < G_N_ELEMENTS(macs); j++) {
            for (guint k = 0; k < G_N_ELEMENTS(to); k++) {
                for (guint l = 0; l < G_N_ELEMENTS(from); l++) {
                    g_autofree char *text = g_strdup_printf(
                        "ADD %s %s %s %s", macs[i], macs[j], to[k], from[l]);
                    g_autofree char *once = NULL;

                    begin();
                    if (*run(text)) {
                        end();
                        continue;
                    }
                    good++;
                    once = vnet_rule_text(vnet_routes_nth(routes, 0));
                    end();
                    begin();
                    g_assert_cmpstr(run(once), ==, "");
                    g_free(g_steal_pointer(&text));
                    text = vnet_rule_text(vnet_routes_nth(routes, 0));
                    g_assert_cmpstr(text, ==, once);
                    end();
                }
            }
        }
    }
    /* 6 sources and 6 destinations, and none for 3 sources. */
    g_assert_cmpuint(good, ==, (6 * 6 + 3) * 3 * 6);
}

static void test_bad_lines(void)
{
#define MAC_WANTED "any, none, aa:bb:cc:dd:ee:ff or not-aa:bb:cc:dd:ee:ff"
    static const char *const lines[][2] = {
        { "LIST", "1:1: \"LIST\" is not ADD or DEL" },
        { "ADD", "1:4: the line ends, and " MAC_WANTED " is missing" },
        /* VNET/P took each of these. */
        { "ADD a any edge l0 any", "1:5: \"a\" is not " MAC_WANTED },
        { "ADD an any edge l0 any", "1:5: \"an\" is not " MAC_WANTED },
        { "ADD any no edge l0 any", "1:9: \"no\" is not " MAC_WANTED },
        { "ADD anyone any edge l0 any", "1:5: \"anyone\" is not " MAC_WANTED },
        { "ADD 02:00:00:00:00 any edge l0 any",
          "1:5: \"02:00:00:00:00\" is not " MAC_WANTED },
        { "ADD 02:00:00:00:00:0g any edge l0 any",
          "1:5: \"02:00:00:00:00:0g\" is not " MAC_WANTED },
        { "ADD 2:0:0:0:0:a any edge l0 any",
          "1:5: \"2:0:0:0:0:a\" is not " MAC_WANTED },
        { "ADD 02-00-00-00-00-0a any edge l0 any",
          "1:5: \"02-00-00-00-00-0a\" is not " MAC_WANTED },
        { "ADD " A ":00 any edge l0 any",
          "1:5: \"" A ":00\" is not " MAC_WANTED },
        { "ADD not- any edge l0 any", "1:5: \"not-\" is not " MAC_WANTED },
        { "ADD not-any any edge l0 any",
          "1:5: \"not-any\" is not " MAC_WANTED },
        { "ADD none any edge l0 any",
          "1:5: no frame has the source \"none\"" },
        { "ADD any none edge l0 any", "1:9: \"none\" is the default route of "
          "one source, which has to be an address" },
        { "ADD any any", "1:12: the line ends, and edge or interface is "
          "missing" },
        { "ADD any any any", "1:13: \"any\" is not edge or interface" },
        { "ADD any any link l0 any",
          "1:13: \"link\" is not edge or interface" },
        { "ADD any any edge", "1:17: the line ends, and the id of a link is "
          "missing" },
        { "ADD any any edge any any",
          "1:18: \"any\" is not the id of a link" },
        { "ADD any any interface # nic0", "1:23: the line ends, and the id or "
          "address of a NIC is missing" },
        { "ADD any any edge l0", "1:20: the line ends, and edge, interface or "
          "any is missing" },
        { "ADD any any edge l0 l1",
          "1:21: \"l1\" is not edge, interface or any" },
        { "ADD any any edge l0 any l1",
          "1:25: \"l1\" is more than the command takes" },
        { "ADD any any edge l0 edge l1 l2",
          "1:29: \"l2\" is more than the command takes" },
        { "ADD any any edge \x80 any",
          "1:18: \"\\200\" is not the id of a link" },
        { "DEL", "1:4: the line ends, and the number of a route is missing" },
        { "DEL x", "1:5: \"x\" is not the number of a route" },
        { "DEL 0", "1:5: \"0\" is not the number of a route" },
        { "DEL -1", "1:5: \"-1\" is not the number of a route" },
        { "DEL 4294967296",
          "1:5: \"4294967296\" is not the number of a route" },
        { "DEL 1 2", "1:7: \"2\" is more than the command takes" },
        { "DEL 99", "1:1: there is no route 99" },
        { "\n  DEL 7", "2:3: there is no route 7" },
    };
    char *longest = g_strnfill(VNET_ROUTE_ID_MAX, 'l');
    g_autofree char *text = NULL;

    begin();
    for (guint i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_assert_cmpstr(run(lines[i][0]), ==, lines[i][1]);
        /* Good ones before it do not count either. */
        text = g_strdup_printf("ADD any any edge l0 any\n%s", lines[i][0]);
        g_assert_cmpstr(run(text), !=, "");
        g_free(g_steal_pointer(&text));
        g_assert_cmpuint(vnet_routes_count(routes), ==, 0);
    }
    g_assert_cmpstr(try("ADD any\0any", 11, false, false, NULL, NULL), ==,
                    "1:8: a byte 0 is no text");
    g_assert_cmpstr(try("DEL 1\n\n#\0", 9, false, false, NULL, NULL), ==,
                    "3:2: a byte 0 is no text");
    text = g_strdup_printf("ADD any any edge %s any", longest);
    g_assert_cmpstr(run(text), ==, "");
    g_free(text);
    text = g_strdup_printf("ADD any any edge %sl any", longest);
    g_assert_nonnull(strstr(run(text), "is not the id of a link"));
    g_free(longest);
    end();
}

static void test_too_much_text(void)
{
    char *text = g_strnfill(VNET_LANG_TEXT_MAX + 1, '\n');

    begin();
    g_assert_cmpstr(try(text, VNET_LANG_TEXT_MAX, false, false, NULL, NULL),
                    ==, "");
    g_assert_cmpstr(try(text, VNET_LANG_TEXT_MAX + 1, false, false, NULL,
                        NULL), ==,
                    "0:0: 1048577 bytes of commands are more than 1048576");
    g_free(text);
    end();
}

/* --- Changes ------------------------------------------------------------- */

static void test_numbers_are_not_used_again(void)
{
    begin();
    g_assert_cmpstr(run("ADD any any edge l0 any\nADD any any edge l1 any"),
                    ==, "");
    g_assert_cmpstr(run("DEL 2"), ==, "");
    g_assert_cmpstr(run("DEL 2"), ==, "1:1: there is no route 2");
    g_assert_cmpstr(run("ADD any any edge l1 any\nDEL 3\n"
                        "ADD any any edge l2 any"), ==, "");
    g_assert_cmpstr(table(), ==, "4 ADD any any edge l2 any\n"
                    "1 ADD any any edge l0 any\n");
    end();
}

static void test_all_or_nothing(void)
{
    begin();
    g_assert_cmpstr(run("ADD any any edge l0 any"), ==, "");
    g_assert_cmpstr(run("DEL 1\nADD any any edge l1 any\nDEL 1"), ==,
                    "3:1: there is no route 1");
    g_assert_cmpstr(run("ADD any any edge l1 any\n"
                        "  ADD any any edge l0 any"), ==,
                    "2:3: route 1 says the same");
    g_assert_cmpstr(table(), ==, "1 ADD any any edge l0 any\n");
    /* What failed has used no number. */
    g_assert_cmpstr(run("DEL 1\nADD any any edge l0 any"), ==, "");
    g_assert_cmpstr(table(), ==, "2 ADD any any edge l0 any\n");
    end();
}

static void test_replace_and_dry_run(void)
{
    static const char text[] = "ADD any any edge l2 any\n"
                               "ADD any any edge l1 any\n";
    GArray *added = g_array_new(FALSE, TRUE, sizeof(VnetRule));
    GArray *removed = g_array_new(FALSE, TRUE, sizeof(VnetRule));

    begin();
    g_assert_cmpstr(run("ADD any any edge l0 any\nADD any any edge l1 any"),
                    ==, "");
    for (int dry = 1; dry >= 0; dry--) {
        g_array_set_size(added, 0);
        g_array_set_size(removed, 0);
        g_assert_cmpstr(try(text, strlen(text), true, dry, added, removed),
                        ==, "");
        g_assert_cmpuint(added->len, ==, 1);
        g_assert_cmpuint(g_array_index(added, VnetRule, 0).index, ==, 3);
        g_assert_cmpstr(g_array_index(added, VnetRule, 0).to.id, ==, "l2");
        g_assert_cmpuint(removed->len, ==, 1);
        g_assert_cmpuint(g_array_index(removed, VnetRule, 0).index, ==, 1);
        g_assert_cmpstr(table(), ==, dry ? "2 ADD any any edge l1 any\n"
                        "1 ADD any any edge l0 any\n" :
                        "2 ADD any any edge l1 any\n"
                        "3 ADD any any edge l2 any\n");
    }
    /* Nothing that is there can be deleted when all is new. */
    g_assert_cmpstr(try("DEL 2", 5, true, false, NULL, NULL), ==,
                    "1:1: there is no route 2");
    g_assert_cmpstr(try("", 0, true, false, NULL, NULL), ==, "");
    g_assert_cmpstr(table(), ==, "");
    g_array_free(added, TRUE);
    g_array_free(removed, TRUE);
    end();
}

static void test_too_many(void)
{
    GString *text = g_string_new(NULL);

    begin();
    for (unsigned i = 0; i < VNET_ROUTES_MAX; i++) {
        g_string_append_printf(text, "ADD any any edge l%u any\n", i);
    }
    g_assert_cmpstr(run(text->str), ==, "");
    g_assert_cmpuint(vnet_routes_count(routes), ==, VNET_ROUTES_MAX);
    g_assert_cmpstr(run("\nADD any any edge more any"), ==,
                    "2:1: there would be more than 4096 routes");
    g_assert_cmpstr(run("DEL 1\nADD any any edge more any"), ==, "");
    g_string_free(text, TRUE);
    end();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define T(name) g_test_add_func("/vnet/route/" #name, test_##name)
    T(each_row_of_the_table);
    T(the_higher_priority_wins);
    T(ties_are_all_taken);
    T(a_catch_all_does_not_double);
    T(the_source_counts);
    T(language);
    T(what_is_listed_can_be_given);
    T(bad_lines);
    T(too_much_text);
    T(numbers_are_not_used_again);
    T(all_or_nothing);
    T(replace_and_dry_run);
    T(too_many);
    return g_test_run();
}
