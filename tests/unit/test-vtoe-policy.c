/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy of the guest driver: what its language takes, what a policy
 * decides, and that a refusal names line and word.
 */
#include <glib.h>
#include <string.h>
#include "../../guest-linux/vtoe_policy.h"

#define ROOM 8

typedef union Policy {
    struct vtoe_policy_rules p;
    char room[sizeof(struct vtoe_policy_rules) +
              ROOM * sizeof(struct vtoe_policy_rule)];
} Policy;

static void parse(Policy *policy, const char *text)
{
    char error[VTOE_POLICY_ERROR_MAX] = "";
    int ret = vtoe_policy_parse(text, strlen(text), &policy->p, ROOM, error);

    g_assert_cmpstr(error, ==, "");
    g_assert_cmpint(ret, ==, 0);
}

/* What the policy says to a connect() or listen() of this address. */
static enum vtoe_policy_verdict ask(Policy *policy, u32 dir, const char *addr,
                                    u16 port)
{
    u8 binary[16];
    u8 family = vtoe_policy_address(addr, binary);

    g_assert_cmpuint(family, !=, 0);
    return vtoe_policy_verdict(&policy->p, dir, family, binary, port);
}

#define expect(dir, addr, port, verdict) \
    g_assert_cmpint(ask(&policy, VTOE_POLICY_##dir, addr, port), ==, \
                    VTOE_POLICY_##verdict)

static void test_first_match_wins(void)
{
    Policy policy;

    parse(&policy, "leave 10.1.0.0/16\n"
                   "offload 10.0.0.0/8\n"
                   "leave 10.2.0.0/16\n"
                   "default leave\n");
    expect(CONNECT, "10.1.2.3", 80, LEAVE);
    expect(CONNECT, "10.2.2.3", 80, OFFLOAD);
    expect(CONNECT, "11.0.0.1", 80, LEAVE);
}

static void test_default_is_told_from_a_rule(void)
{
    Policy policy;

    parse(&policy, "offload 10.0.0.1\ndefault offload");
    expect(CONNECT, "10.0.0.1", 1, OFFLOAD);
    expect(CONNECT, "10.0.0.2", 1, DEFAULT);
}

static void test_prefixes_end_at_any_bit(void)
{
    Policy policy;

    parse(&policy, "offload 10.96.0.0/11\n"
                   "offload 2001:db8:8000::/33\n"
                   "offload 0.0.0.0/1\n"
                   "default leave\n");
    expect(CONNECT, "10.127.255.255", 1, OFFLOAD);
    expect(CONNECT, "128.0.0.1", 1, LEAVE);
    expect(CONNECT, "127.0.0.1", 1, OFFLOAD);
    expect(CONNECT, "2001:db8:8000::1", 1, OFFLOAD);
    expect(CONNECT, "2001:db8:7fff:ffff::1", 1, LEAVE);
}

static void test_families_are_apart(void)
{
    Policy policy;

    parse(&policy, "leave ::/0\noffload 0.0.0.0/0\ndefault leave");
    expect(CONNECT, "10.0.0.1", 1, OFFLOAD);
    expect(CONNECT, "fd00::1", 1, LEAVE);
}

static void test_ports_and_directions(void)
{
    Policy policy;

    parse(&policy, "leave port 22\n"
                   "offload connect any port 5000-5999\n"
                   "offload listen 10.0.0.1 port 80\n"
                   "default leave");
    expect(CONNECT, "10.0.0.1", 22, LEAVE);
    expect(CONNECT, "10.0.0.1", 4999, LEAVE);
    expect(CONNECT, "10.0.0.1", 5000, OFFLOAD);
    expect(CONNECT, "fd00::1", 5999, OFFLOAD);
    expect(CONNECT, "10.0.0.1", 6000, LEAVE);
    expect(LISTEN, "10.0.0.1", 5000, LEAVE);
    expect(LISTEN, "10.0.0.1", 80, OFFLOAD);
    expect(CONNECT, "10.0.0.1", 80, LEAVE);
}

static void test_listening_on_any_address(void)
{
    Policy policy;

    parse(&policy, "leave listen 10.0.0.0/8 port 80\n"
                   "offload listen fd00::/8 port 80\n"
                   "leave listen any port 22\n"
                   "leave ::/0\n"
                   "default offload");
    g_assert_true(vtoe_policy_may_listen(&policy.p, 4, 80));
    g_assert_true(vtoe_policy_may_listen(&policy.p, 6, 80));
    g_assert_false(vtoe_policy_may_listen(&policy.p, 4, 22));
    g_assert_false(vtoe_policy_may_listen(&policy.p, 6, 81));
    g_assert_true(vtoe_policy_may_listen(&policy.p, 4, 81));
}

static void test_blanks_and_comments(void)
{
    Policy policy;

    parse(&policy, "\n# a comment\n\t offload\t10.0.0.1   # one more\n\n"
                   "default leave # the end\n\n# behind it\n");
    g_assert_cmpuint(policy.p.n, ==, 1);
    expect(CONNECT, "10.0.0.1", 1, OFFLOAD);
}

/* A text, and what the refusal has to say. */
static const struct {
    const char *text, *said;
} wrong[] = {
    { "", "line 1: \"default offload\"" },
    { "leave any\n", "line 2: \"default offload\"" },
    { "default", "line 1: \"default\" without" },
    { "default maybe", "line 1: \"maybe\"" },
    { "default leave now", "line 1: \"now\"" },
    { "default leave\nleave any", "line 2: \"leave\"" },
    { "drop any\ndefault leave", "line 1: \"drop\"" },
    { "Offload any\ndefault leave", "line 1: \"Offload\"" },
    { "\n\nleave\ndefault leave", "line 3: an address" },
    { "leave connect\ndefault leave", "line 1: an address" },
    { "leave connect listen any\ndefault leave", "line 1: \"listen\"" },
    { "leave 10.0.0.0/33\ndefault leave", "line 1: \"10.0.0.0/33\"" },
    { "leave 10.0.0.0/\ndefault leave", "line 1: \"10.0.0.0/\"" },
    { "leave 10.0.0.0/8x\ndefault leave", "line 1: \"10.0.0.0/8x\"" },
    { "leave 10.0.0.0/99999999999\ndefault leave", "line 1: \"10.0.0.0/9" },
    { "leave 10.0.0.1/8\ndefault leave", "line 1: \"10.0.0.1/8\": the addr" },
    { "leave ::1/127\ndefault leave", "line 1: \"::1/127\"" },
    { "leave ::/129\ndefault leave", "line 1: \"::/129\"" },
    { "leave ::ffff:10.0.0.1\ndefault leave", "line 1: \"::ffff:10.0.0.1\"" },
    { "leave 10.0.0\ndefault leave", "line 1: \"10.0.0\"" },
    { "leave host\ndefault leave", "line 1: \"host\"" },
    { "leave any port\ndefault leave", "line 1: \"port\" without" },
    { "leave any port 0\ndefault leave", "line 1: \"0\"" },
    { "leave any port 65536\ndefault leave", "line 1: \"65536\"" },
    { "leave any port -1\ndefault leave", "line 1: \"-1\"" },
    { "leave any port 5-\ndefault leave", "line 1: \"5-\"" },
    { "leave any port 9-5\ndefault leave", "line 1: \"9-5\"" },
    { "leave any port 5 6\ndefault leave", "line 1: \"6\"" },
    { "leave any 10.0.0.1\ndefault leave", "line 1: \"10.0.0.1\"" },
    { "leave any\r\ndefault leave", "line 1: \"any?\"" },
    { "leave \x01\xff%n\ndefault leave", "line 1: \"??%n\"" },
    { "leave 1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb\n"
      "default leave",
      "line 1: \"1111:2222:3333:4444:5555:6666:7777:8888:9999:a...\"" },
    { "leave any\nleave any\nleave any\nleave any\nleave any\nleave any\n"
      "leave any\nleave any\nleave any\ndefault leave",
      "line 9: too many rules" },
};

static void test_refusals_name_line_and_word(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        char error[VTOE_POLICY_ERROR_MAX] = "";
        Policy policy;

        g_test_message("%s", wrong[i].text);
        g_assert_cmpint(vtoe_policy_parse(wrong[i].text, strlen(wrong[i].text),
                                          &policy.p, ROOM, error), ==, -1);
        g_assert_true(g_str_has_prefix(error, wrong[i].said));
    }
}

/* A text is what lies between two pointers, and a part of one never counts. */
static void test_a_part_of_a_text_is_refused(void)
{
    static const char text[] = "offload 10.0.0.0/8 port 5000-5999\n"
                               "leave listen fd00::/8\n"
                               "default leave";
    size_t whole = sizeof(text) - 1;
    char error[VTOE_POLICY_ERROR_MAX];
    Policy policy;

    for (size_t len = 0; len < whole; len++) {
        g_autofree char *part = g_memdup2(text, len);

        g_assert_cmpint(vtoe_policy_parse(part, len, &policy.p, ROOM, error),
                        ==, -1);
    }
    parse(&policy, text);
}

static void test_nul_is_no_end(void)
{
    static const char text[] = "leave 10.0.0.1\0/8\ndefault leave";
    char error[VTOE_POLICY_ERROR_MAX] = "";
    Policy policy;

    g_assert_cmpint(vtoe_policy_parse(text, sizeof(text) - 1, &policy.p, ROOM,
                                      error), ==, -1);
    g_assert_true(g_str_has_prefix(error, "line 1: \"10.0.0.1?/8\""));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/policy/first-match-wins", test_first_match_wins);
    g_test_add_func("/policy/default-is-told-from-a-rule",
                    test_default_is_told_from_a_rule);
    g_test_add_func("/policy/prefixes-end-at-any-bit",
                    test_prefixes_end_at_any_bit);
    g_test_add_func("/policy/families-are-apart", test_families_are_apart);
    g_test_add_func("/policy/ports-and-directions", test_ports_and_directions);
    g_test_add_func("/policy/listening-on-any-address",
                    test_listening_on_any_address);
    g_test_add_func("/policy/blanks-and-comments", test_blanks_and_comments);
    g_test_add_func("/policy/refusals-name-line-and-word",
                    test_refusals_name_line_and_word);
    g_test_add_func("/policy/a-part-of-a-text-is-refused",
                    test_a_part_of_a_text_is_refused);
    g_test_add_func("/policy/nul-is-no-end", test_nul_is_no_end);
    return g_test_run();
}
