# SPDX-License-Identifier: GPL-2.0-or-later
"""Run layers of tests, show how far they are, and sum up.

Every test writes build/check/LAYER/TEST.log.  The last line printed, also
kept in build/check/summary, is "N passed, N failed, N skipped".
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from . import results
from .layers import BUILD, LAYERS, ROOT

CHECK = BUILD / "check"
#: Lines of a failed case's own words that are shown, and of the end of the log
#: where a failed one has none.
SAID_LINES = 12
TAIL_LINES = 30
LINE_CHARS = 200


def say(text):
    print(text, flush=True)


class Outcome:
    """What came of one test: its cases, and how long it took in seconds."""

    def __init__(self, layer, test, log):
        self.layer = layer
        self.test = test
        self.log = log
        self.cases = []
        self.seconds = 0.0

    def count(self, result):
        return sum(c.result == result for c in self.cases)

    def fail(self, name, detail):
        self.cases.append(results.Case(name, results.FAIL, detail))

    def text(self):
        said = ["%d %s" % (n, word) for n, word in (
            (self.count(results.PASS), "passed"),
            (self.count(results.FAIL), "FAILED"),
            (self.count(results.SKIP), "SKIPPED")) if n]
        return ", ".join(said) or "nothing"


class Deadline:
    """Seconds left to a layer."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return self.end - time.monotonic()


def run_test(layer, test, deadline):
    """Run one test within its own limit and its layer's."""
    log = CHECK / layer.name / (test.name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    out = Outcome(layer, test, log)
    limit = min(test.limit, deadline.left())
    if limit <= 0:
        log.write_text("not run\n")
        out.fail("(not run)", "the layer's limit of %d s was used up"
                 % layer.limit)
        return out
    began = time.monotonic()
    # A folder of its own for temporary files, so that they end with it, too.
    # In /tmp, as the names of sockets have to be short.
    with open(log, "wb") as sink, \
            tempfile.TemporaryDirectory(prefix="vtoe-check-", dir="/tmp",
                                        ignore_cleanup_errors=True) as tmp:
        env = {**os.environ, **test.env, "VTOE_BUILD": str(BUILD),
               "TMPDIR": tmp}
        sink.write(("$ %s\n" % " ".join(test.argv)).encode())
        sink.flush()
        # A session of its own, so that what it started ends with it.
        child = subprocess.Popen(test.argv, env=env, cwd=test.cwd,
                                 stdin=subprocess.DEVNULL, stdout=sink,
                                 stderr=subprocess.STDOUT,
                                 start_new_session=True)
        try:
            code = child.wait(timeout=limit)
            late = False
        except subprocess.TimeoutExpired:
            late = True
            code = stop(child)
        stop_rest(child.pid)
    out.seconds = time.monotonic() - began
    output = log.read_text(errors="replace")
    out.cases, problem = results.parse(output, test.wanted)
    if late:
        out.fail("(time limit)", "still running after %d s" % limit)
    elif code < 0:
        out.fail("(died)", "killed by " + signal.Signals(-code).name)
    elif code == 0 and test.wanted == "exit":
        out.cases.append(results.Case(test.name, results.PASS))
    elif code != 0 and not out.count(results.FAIL):
        out.fail("(exit code)", "exited with %d" % code)
    if problem and not out.count(results.FAIL):
        out.fail("(output)", problem)
    return out


def stop(child):
    """End a test that is late: politely, so that it can clear up, then not."""
    os.killpg(child.pid, signal.SIGTERM)
    try:
        return child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return child.wait()


def stop_rest(group):
    """End what a test left behind in the process group it was given."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def prepare(layer):
    """Build what the layer needs; the error text, or None."""
    log = CHECK / layer.name / "build.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as sink:
        for argv in layer.prepare:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sink,
                                  stderr=subprocess.STDOUT, cwd=ROOT,
                                  env={**os.environ, "VTOE_BUILD": str(BUILD)},
                                  check=False)
            if done.returncode:
                return "%s failed" % os.path.basename(argv[0]), log
    return None, log


def run_layer(layer, problem, log):
    """All outcomes of a layer; what could not even start is one, too.

    problem and log are of prepare().
    """
    tests = []
    if not problem:
        try:
            tests = layer.find()
        except (OSError, subprocess.CalledProcessError) as e:
            problem = "its tests could not be listed: %s" % e
    if not problem and not tests:
        problem = "it has no tests"
    if problem:
        out = Outcome(layer, None, log)
        out.fail(layer.name, problem)
        say("  FAILED: " + problem)
        return [out]

    deadline = Deadline(layer.limit)
    done = []
    lock = threading.Lock()

    def one(test):
        out = run_test(layer, test, deadline)
        with lock:
            done.append(out)
            say("  [%d/%d] %s: %s (%.1f s)" % (
                len(done), len(tests), test.name, out.text(), out.seconds))
        return out

    outcomes = []
    for alone in False, True:
        with ThreadPoolExecutor(1 if alone else layer.jobs) as pool:
            outcomes += pool.map(one, [test for test in tests
                                       if test.alone == alone])
    if layer.figure:
        append_figure(layer.figure,
                      sum(out.count(results.FAIL) for out in outcomes))
    return outcomes


def append_figure(name, failed):
    """Note how many cases of a layer failed, for scripts/report."""
    path = BUILD / "report" / "figures.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as f:
        f.write(json.dumps({"name": name, "value": failed, "unit": "",
                            "bar": "== 0", "holds": failed == 0}) + "\n")


def show_failures(outcomes):
    for out in outcomes:
        failed = [c for c in out.cases if c.result == results.FAIL]
        if not failed:
            continue
        say("")
        name = out.test.name if out.test else "(build)"
        say("FAILED: %s/%s" % (out.layer.name, name))
        for case in failed:
            say("  %s%s" % (case.name, ": " + case.detail if case.detail
                            else ""))
            for line in case.said[:SAID_LINES]:
                say("  | " + line[:LINE_CHARS])
        if all(case.said for case in failed):
            say("  more in %s" % out.log)
            continue
        say("  end of %s:" % out.log)
        for line in out.log.read_text(
                errors="replace").splitlines()[-TAIL_LINES:]:
            say("  | " + line[:LINE_CHARS])


def show_skips(outcomes):
    skipped = [(out, c) for out in outcomes for c in out.cases
               if c.result == results.SKIP]
    if skipped:
        say("")
        say("Skipped, so that these promises were not tested here:")
        for out, case in skipped:
            say("  %s/%s: %s%s" % (out.layer.name, out.test.name, case.name,
                                   ": " + case.detail if case.detail else ""))


def show_times(times):
    """Where the time went: layer, seconds to build it, seconds to run it."""
    say("")
    for name, build, run in times:
        say("  %-12s %5.0f s to build, %5.0f s to run" % (name, build, run))
    say("  %-12s %5.1f minutes" % ("all", sum(b + r for _, b, r in times) / 60))


def choose(names):
    """The layers of these names; without names, all that need none."""
    known = {layer.name: layer for layer in LAYERS}
    return [known[name] for name in names] or [
        layer for layer in LAYERS if not layer.by_name]


def main(argv):
    if argv == ["--list"]:
        for layer in LAYERS:
            say("%-12s %s (%s)%s" % (layer.name, layer.title, layer.usual,
                                     ", by name only" if layer.by_name else ""))
        return 0
    unknown = [name for name in argv
               if name not in [layer.name for layer in LAYERS]]
    if unknown:
        print("check: error: unknown layer \"%s\", one of: %s"
              % (unknown[0], ", ".join(layer.name for layer in LAYERS)),
              file=sys.stderr)
        return 2
    chosen = choose(argv)

    outcomes = []
    times = []
    for i, layer in enumerate(chosen):
        say("[%d of %d] %s: %s (usually %s)" % (
            i + 1, len(chosen), layer.name, layer.title, layer.usual))
        began = time.monotonic()
        problem, log = prepare(layer)
        built = time.monotonic()
        outcomes += run_layer(layer, problem, log)
        times.append((layer.name, built - began, time.monotonic() - built))

    show_times(times)
    show_skips(outcomes)
    show_failures(outcomes)
    counts = [sum(out.count(r) for out in outcomes)
              for r in (results.PASS, results.FAIL, results.SKIP)]
    line = "%d passed, %d failed, %d skipped" % tuple(counts)
    CHECK.mkdir(parents=True, exist_ok=True)
    (CHECK / "summary").write_text(line + "\n")
    say("")
    say(line)
    return 1 if counts[1] else 0
