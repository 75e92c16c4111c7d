# SPDX-License-Identifier: GPL-2.0-or-later
"""What one test program said: its output turned into cases.

Programs speak TAP ("ok 1 /wire/truncated", as GLib's and QEMU's tests do), or
JSON lines ({"test": name, "result": "pass"|"fail"|"skip", "detail": text}).
Programs that speak neither, such as fuzzers, are one case by their exit code.

A program that dies, stops before the last test of its plan or says nothing at
all is a failure of its own, whatever its cases said before.
"""

import json
import re

PASS, FAIL, SKIP = "pass", "fail", "skip"

TAP_CASE = re.compile(r"^(\s*)(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)")
TAP_DIRECTIVE = re.compile(r"#\s*(SKIP|TODO)\b\s*(.*)$", re.IGNORECASE)


class Case:
    """One named case: result is PASS, FAIL or SKIP, detail says why; said are
    the lines of comment that follow it."""

    def __init__(self, name, result, detail=""):
        self.name = name
        self.result = result
        self.detail = detail
        self.said = []


def parse(output, wanted="cases"):
    """The cases in a program's output.

    Returns (cases, problem): problem says what is wrong with the output as a
    whole, or is None.  With wanted="exit" there are no cases to look for.
    """
    if wanted == "exit":
        return [], None
    cases = []
    depth = 0
    plan = None
    at_top = 0
    for line in output.splitlines():
        if line.startswith("Bail out!"):
            return cases, line
        if line.startswith("{"):
            case = _json_case(line)
            if case:
                cases.append(case)
            continue
        if line.lstrip().startswith("#"):
            if cases:
                cases[-1].said.append(line.lstrip("# \t"))
            continue
        match = TAP_PLAN.match(line)
        if match:
            plan = int(match.group(1))
            continue
        match = TAP_CASE.match(line)
        if not match:
            continue
        indent = len(match.group(1))
        at_top += indent == 0
        case = _tap_case(match)
        # The line that closes a group of indented cases only sums them up.
        closes = indent < depth
        depth = indent
        if not (closes and case.result == PASS):
            cases.append(case)
    if plan is not None and at_top < plan:
        return cases, "planned %d cases, ended after %d" % (plan, at_top)
    if not cases and plan != 0:
        return cases, "reported no case"
    return cases, None


def _tap_case(match):
    text = match.group(4)
    directive = TAP_DIRECTIVE.search(text)
    result = FAIL if match.group(2) else PASS
    detail = ""
    if directive:
        text = text[:directive.start()].strip()
        detail = directive.group(2)
        # A promise that is to be kept later is not kept.
        result = SKIP if directive.group(1).upper() == "SKIP" else FAIL
    return Case(text or "case " + str(match.group(3)), result, detail)


def _json_case(line):
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if entry.get("result") not in (PASS, FAIL, SKIP) or "test" not in entry:
        return None
    return Case(str(entry["test"]), entry["result"],
                str(entry.get("detail", "")))
