/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VNET's language for links: what is read, what is refused and where, what is
 * written, and what changes come to.
 */
#include <string.h>
#include "vnet-link-lang.h"

#define LINKS_MAX     4

/* What is wrong, as "line:column: text", or NULL; *changes is set then. */
static const char *parse(const char *text, GArray **changes)
{
    static char said[256];
    VnetLangError err = { 0 };

    *changes = vnet_links_parse(text, strlen(text), &err);
    if (*changes) {
        g_assert_null(err.text);
        return NULL;
    }
    g_snprintf(said, sizeof(said), "%u:%u: %s", err.line, err.column,
               err.text);
    g_free(err.text);
    return said;
}

/* The command that the only link of the text has. */
static void assert_command(const char *text, const char *command)
{
    g_autoptr(GArray) changes = NULL, again = NULL;
    VnetLinkDef *d;

    g_assert_cmpstr(parse(text, &changes), ==, NULL);
    g_assert_cmpuint(changes->len, ==, 1);
    d = g_array_index(changes, VnetLinkChange, 0).add;
    g_assert_cmpstr(d->command, ==, command);
    /* What is written is read as the same. */
    g_assert_cmpstr(parse(d->command, &again), ==, NULL);
    g_assert_cmpstr(g_array_index(again, VnetLinkChange, 0).add->command, ==,
                    command);
}

static void assert_refused(const char *text, const char *why)
{
    GArray *changes;

    g_assert_cmpstr(parse(text, &changes), ==, why);
}

static void test_read(void)
{
    /* As VNET/P has it. */
    assert_command("ADD 192.0.2.7 9000 udp", "ADD 192.0.2.7 9000 udp");
    assert_command("add 192.0.2.7 9000 UDP", "ADD 192.0.2.7 9000 udp");
    assert_command("ADD 192.0.2.7 9000", "ADD 192.0.2.7 9000 udp");
    assert_command("ADD 192.0.2.7 9000 tcp", "ADD 192.0.2.7 9000 tcp");
    assert_command("\t ADD  2001:db8::7\t4789 # a comment\r\n",
                   "ADD 2001:db8::7 4789 udp");
    /* With options, in whichever order. */
    assert_command("ADD 192.0.2.7 9000 mtu=9000 id=lab",
                   "ADD 192.0.2.7 9000 udp id=lab mtu=9000");
    assert_command("ADD host.example 9000 tcp id=host.example plain=on",
                   "ADD host.example 9000 tcp plain=on");
    assert_command("ADD 192.0.2.7 7471 rdma peer-macs.0=52:54:00:00:00:01",
                   "ADD 192.0.2.7 7471 rdma peer-macs.0=52:54:00:00:00:01");
    assert_command("ADD /run/a.sock unix id=a server=on",
                   "ADD /run/a.sock unix id=a server=on");
    assert_command("ADD 10.0.0.1 1 tcp tls-authz=a=b",
                   "ADD 10.0.0.1 1 tcp tls-authz=a=b");
    assert_command("ADD 10.0.0.1 1 tcp tls-authz=",
                   "ADD 10.0.0.1 1 tcp tls-authz=");
    /* Bytes that no word has. */
    assert_command("ADD /run/a%20%23b unix id=a peers.0.identity=CN=a%2cO=%25",
                   "ADD /run/a%20%23b unix id=a "
                   "peers.0.identity=CN=a,O=%25");
    assert_command("ADD * 0 tcp id=a server=on", "ADD * 0 tcp id=a server=on");
    assert_command("ADD * 0 tcp id=", "ADD * 0 tcp id=");
    assert_command("ADD 10.0.0.1 1 id=%c3%a9", "ADD 10.0.0.1 1 udp id=%C3%A9");
}

static void test_refused(void)
{
    assert_refused("ADD", "1:4: the line ends, and the address of the peer is "
                   "missing");
    assert_refused("ADD 192.0.2.7", "1:14: the line ends, and a port, 0 to "
                   "65535, or unix is missing");
    assert_refused("\nADD 192.0.2.7 -1", "2:15: \"-1\" is not a port, 0 to "
                   "65535, or unix");
    assert_refused("ADD * 7000 tcp", "1:15: a link that no address names needs "
                   "an id=");
    assert_refused("ADD 192.0.2.7 65536", "1:15: \"65536\" is not a port, 0 to "
                   "65535, or unix");
    assert_refused("ADD 192.0.2.7 90x", "1:15: \"90x\" is not a port, 0 to "
                   "65535, or unix");
    assert_refused("ADD 192.0.2.7 9000 sctp", "1:20: \"sctp\" is not udp, tcp, "
                   "rdma or an option, name=value");
    assert_refused("ADD 192.0.2.7 9000 tcp udp", "1:24: \"udp\" is not an "
                   "option, name=value");
    assert_refused("ADD 192.0.2.7 9000 tcp Plain=on", "1:24: \"Plain\" is not "
                   "the name of an option");
    assert_refused("ADD 192.0.2.7 9000 tcp =on", "1:24: \"\" is not the name "
                   "of an option");
    assert_refused("ADD 192.0.2.7 9000 tcp mtu=1 mtu=2", "1:30: mtu is there "
                   "twice");
    assert_refused("ADD 192.0.2.7 9000 tcp type=rdma", "1:24: type is what the "
                   "command's first words say");
    assert_refused("ADD 192.0.2.7 9000 tcp addr.host=a", "1:24: addr.host is "
                   "what the command's first words say");
    assert_refused("ADD /a unix", "1:12: a link that no address names needs an id=");
    assert_refused("ADD /a unix tcp id=a", "1:13: \"tcp\" is not an option, "
                   "name=value");
    assert_refused("ADD /%a unix id=a", "1:5: \"/%a\" is not a text in which "
                   "each % has the two digits of a byte behind it");
    assert_refused("ADD /a unix id=%00", "1:13: \"%00\" is not a text in which "
                   "each % has the two digits of a byte behind it");
    assert_refused("DEL", "1:4: the line ends, and the number of a link is "
                   "missing");
    assert_refused("DEL 0", "1:5: \"0\" is not the number of a link");
    assert_refused("DEL 192.0.2.7", "1:5: \"192.0.2.7\" is not the number of a "
                   "link");
    assert_refused("DEL 1 2", "1:7: \"2\" is more than the command takes");
    assert_refused("LIST", "1:1: \"LIST\" is not ADD or DEL");
    /* A bad line, and nothing of the good ones. */
    assert_refused("ADD a 1\nDEL 1\nADD", "3:4: the line ends, and the address "
                   "of the peer is missing");
}

/* --- Changes -------------------------------------------------------------- */

typedef struct Table {
    GPtrArray *links;
    unsigned last;
} Table;

static void table_init(Table *t)
{
    *t = (Table) { g_ptr_array_new_with_free_func(
        (GDestroyNotify)vnet_link_def_unref) };
}

/* As parse(); the table is changed if nothing is wrong. */
static const char *change(Table *t, const char *text, bool replace)
{
    static char said[256];
    VnetLangError err = { 0 };
    g_autoptr(GArray) changes = NULL;
    GPtrArray *then;
    unsigned last = t->last;
    const char *wrong = parse(text, &changes);

    if (wrong) {
        return wrong;
    }
    then = vnet_links_plan(t->links, changes, replace, LINKS_MAX, &last, &err);
    if (!then) {
        g_snprintf(said, sizeof(said), "%u:%u: %s", err.line, err.column,
                   err.text);
        g_free(err.text);
        return said;
    }
    g_ptr_array_unref(t->links);
    t->links = then;
    t->last = last;
    return NULL;
}

/* "index:id ..." */
static const char *listed(const Table *t)
{
    static char said[256];
    GString *s = g_string_new(NULL);

    for (guint i = 0; i < t->links->len; i++) {
        const VnetLinkDef *d = t->links->pdata[i];

        g_string_append_printf(s, "%s%u:%s", i ? " " : "", d->index, d->id);
    }
    g_strlcpy(said, s->str, sizeof(said));
    g_string_free(s, TRUE);
    return said;
}

static void test_change(void)
{
    Table t;

    table_init(&t);
    g_assert_cmpstr(change(&t, "ADD a 1\nADD b 1 tcp\nADD b 2 id=c", false),
                    ==, NULL);
    g_assert_cmpstr(listed(&t), ==, "1:a 2:b 3:c");
    g_assert_cmpstr(change(&t, "ADD d 1\nADD a 2", false), ==,
                    "2:1: there is a link \"a\" already");
    g_assert_cmpstr(change(&t, "DEL 2\nDEL 2", false), ==,
                    "2:1: there is no link 2");
    g_assert_cmpstr(listed(&t), ==, "1:a 2:b 3:c");
    g_assert_cmpstr(change(&t, "DEL 2\nADD b 1", false), ==, NULL);
    g_assert_cmpstr(listed(&t), ==, "1:a 3:c 4:b");
    g_assert_cmpstr(change(&t, "ADD e 1\nADD f 1", false), ==,
                    "2:1: there would be more than 4 links");
    /* One for another. */
    g_assert_cmpstr(change(&t, "ADD e 1\nDEL 1\nADD f 1", false), ==, NULL);
    g_assert_cmpstr(listed(&t), ==, "3:c 4:b 5:e 6:f");
    g_ptr_array_unref(t.links);
}

static void test_replace(void)
{
    VnetLinkDef *a;
    Table t;

    table_init(&t);
    g_assert_cmpstr(change(&t, "ADD a 1\nADD b 1 tcp\nADD c 1", false), ==,
                    NULL);
    a = t.links->pdata[0];
    /* a stays, b has another option, c is gone, d is new. */
    g_assert_cmpstr(change(&t, "ADD b 1 tcp plain=on\nADD d 1\nADD a 1 udp",
                           true), ==, NULL);
    g_assert_cmpstr(listed(&t), ==, "4:b 5:d 1:a");
    g_assert_true(t.links->pdata[2] == a);
    /* The same twice are two. */
    g_assert_cmpstr(change(&t, "ADD a 1\nADD a 1", true), ==,
                    "2:1: there is a link \"a\" already");
    g_assert_cmpstr(change(&t, "DEL 4", true), ==, "1:1: there is no link 4");
    g_assert_cmpstr(change(&t, "", true), ==, NULL);
    g_assert_cmpstr(listed(&t), ==, "");
    g_assert_cmpstr(change(&t, "ADD a 1", false), ==, NULL);
    g_assert_cmpstr(listed(&t), ==, "6:a");
    g_ptr_array_unref(t.links);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vnet/link-lang/read", test_read);
    g_test_add_func("/vnet/link-lang/refused", test_refused);
    g_test_add_func("/vnet/link-lang/change", test_change);
    g_test_add_func("/vnet/link-lang/replace", test_replace);
    return g_test_run();
}
