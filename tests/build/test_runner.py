#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The runner: no way for a test to fail unseen."""

import os
import select
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))

from rig import tap                                 # noqa: E402
from runner import results, run                     # noqa: E402
from runner.layers import LAYERS, Layer, Test       # noqa: E402


def counts(cases):
    return tuple(sum(c.result == r for c in cases)
                 for r in (results.PASS, results.FAIL, results.SKIP))


def outcome(shell, limit=20, layer_limit=60, wanted="cases"):
    """(passed, failed, skipped) of a shell script run as a test."""
    layer = Layer("runner", "", "", layer_limit, [], None)
    with tempfile.TemporaryDirectory() as folder:
        run.CHECK = Path(folder)
        out = run.run_test(layer, Test("t", ["sh", "-c", shell], limit,
                                       wanted=wanted),
                           run.Deadline(layer_limit))
    return counts(out.cases)


def test_tap_is_counted():
    """passed, failed and skipped cases are counted one by one"""
    tap.expect(outcome("echo '1..3'; echo 'ok 1 /a'; echo 'not ok 2 /b'; "
                       "echo 'ok 3 /c # SKIP no tun'; exit 1"),
               (1, 1, 1), "counts")


def test_json_lines_are_counted():
    """JSON lines count as TAP does"""
    tap.expect(outcome("""echo '{"test": "a", "result": "pass"}'; """
                       """echo '{"test": "b", "result": "skip"}'"""),
               (1, 0, 1), "counts")


def test_todo_is_no_excuse():
    """a failure marked TODO fails"""
    tap.expect(outcome("echo 1..1; echo 'not ok 1 /a # TODO later'"),
               (0, 1, 0), "counts")


def test_subtests():
    """indented cases count, the line that sums them up does not"""
    cases, problem = results.parse("    ok 1 - a\n    ok 2 - b\n"
                                   "ok 1 - both\n1..1\n")
    tap.expect((counts(cases), problem), ((2, 0, 0), None), "cases")
    cases, problem = results.parse("    ok 1 - a\nnot ok 1 - group\n1..1\n")
    tap.expect((counts(cases), problem), ((1, 1, 0), None), "cases")


def test_failed_case_keeps_its_words():
    """what a failed case said is shown with it, wherever it is in the log"""
    cases, _ = results.parse("# before\nnot ok 1 - a\n# 1.0 s\n#   at b.py:7\n"
                             "ok 2 - c\n# 0.1 s\n1..2\n")
    tap.expect([case.said for case in cases], [["1.0 s", "at b.py:7"],
                                               ["0.1 s"]], "said")


def test_short_plan_fails():
    """to end before the last planned case is a failure"""
    tap.expect(outcome("echo 1..2; echo 'ok 1 /a'"), (1, 1, 0), "counts")


def test_silence_fails():
    """to report no case is a failure"""
    tap.expect(outcome("true"), (0, 1, 0), "counts")


def test_exit_code_fails():
    """to exit with an error is a failure, whatever the cases said"""
    tap.expect(outcome("echo 'ok 1 /a'; echo 1..1; exit 99"), (1, 1, 0),
               "counts")


def test_death_fails():
    """to die by a signal is a failure, whatever the cases said"""
    tap.expect(outcome("echo 'ok 1 /a'; echo 1..1; kill -SEGV $$"), (1, 1, 0),
               "counts")


def test_bail_out_fails():
    """to bail out is a failure"""
    tap.expect(outcome("echo 'ok 1 /a'; echo 'Bail out! no way'"), (1, 1, 0),
               "counts")


def test_time_limit():
    """a test is ended at its limit, or at its layer's, and has failed"""
    tap.expect(outcome("echo 'ok 1 /a'; echo 1..1; exec sleep 60", limit=1),
               (1, 1, 0), "counts with its own limit")
    tap.expect(outcome("exec sleep 60", layer_limit=1), (0, 1, 0),
               "counts with the layer's limit")
    tap.expect(outcome("true", layer_limit=0), (0, 1, 0),
               "counts with none left")


def test_children_end_with_their_test():
    """what a test leaves running in its process group is ended"""
    with tempfile.NamedTemporaryFile("r") as pid:
        outcome("echo 'ok 1 /a'; echo 1..1; sleep 60 & echo $! > " + pid.name)
        try:
            handle = os.pidfd_open(int(pid.read()))
        except ProcessLookupError:
            return
    # Readable once the process has ended; by itself it would take 60 s.
    ended, _, _ = select.select([handle], [], [], 20)
    os.close(handle)
    tap.expect(bool(ended), True, "ended")


def test_temporary_files_end_with_their_test():
    """what a test leaves in its temporary folder is removed"""
    with tempfile.NamedTemporaryFile("r") as name:
        outcome("echo 'ok 1 /a'; echo 1..1; mktemp > %s; kill -KILL $$"
                % name.name)
        left = name.read().strip()
    assert left, "there was no file"
    tap.expect(os.path.exists(left), False, left)


def test_exit_only():
    """programs without cases are one, by their exit code"""
    tap.expect(outcome("true", wanted="exit"), (1, 0, 0), "exit 0")
    tap.expect(outcome("exit 1", wanted="exit"), (0, 1, 0), "exit 1")


def test_at_once_and_alone():
    """tests of a layer with jobs run at once, but one that measures alone"""
    with tempfile.TemporaryDirectory() as folder:
        def meets(name, other):
            return Test(name, ["sh", "-c", f"cd {folder}; touch {name}; until "
                               f"[ -e {other} ]; do sleep 0.1; done; sleep 0.3;"
                               f" touch {name}.done"], 20, wanted="exit")

        # First by its place, and last to run.
        tests = [Test("measures", ["sh", "-c", f"cd {folder}; [ -e a.done ] && "
                                   "[ -e b.done ]"], 20, wanted="exit",
                      alone=True),
                 meets("a", "b"), meets("b", "a")]
        run.CHECK = Path(folder)
        layer = Layer("runner", "", "", 60, [], lambda: tests, jobs=2)
        outcomes = run.run_layer(layer, *run.prepare(layer))
    tap.expect([counts(out.cases) for out in outcomes], [(1, 0, 0)] * 3,
               "outcomes")


def test_layers_by_name():
    """a layer that takes too long for every day runs when it is named"""
    long = [layer for layer in LAYERS if layer.by_name]
    tap.expect([layer for layer in run.choose([]) if layer in long], [],
               "those of every day")
    tap.expect(run.choose([layer.name for layer in long]), long, "those named")


def test_layer_names():
    """no two layers share a name, and so their logs"""
    names = [layer.name for layer in LAYERS]
    tap.expect(len(set(names)), len(names), "names")


if __name__ == "__main__":
    tap.main(globals())
