# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the tests of one file and prints TAP.

A test is a function test_*(env); its docstring names the promise.  env comes
from an environment, a context manager that a file gives by name:

    tap.main(globals(), {"6.1": lambda: VtoePair(kernel="6.1"),
                         "6.12": lambda: VtoePair(kernel="6.12")})

Every test runs in every environment, or in those that @tap.only("6.12")
names; a function without parameters runs once, on its own.  Tests of one
environment share it.  After each the environment may object (a method
problems() that returns a list of texts); after a failure it is made anew.

Arguments of a test file:  -l lists,  -k TEXT runs those whose name has TEXT,
-e NAME those of that environment and those that need none.
"""

import argparse
import inspect
import signal
import sys
import time
import traceback

from .paths import SLOW

#: Seconds that a test may take without a word of its own (@tap.limit).
LIMIT = 240


class TimeLimit(Exception):
    """A test took longer than it may."""


def only(*names):
    """Run this test only in the environments of these names."""
    def mark(function):
        function.only = names
        return function
    return mark


def limit(seconds):
    """This test may take so long."""
    def mark(function):
        function.limit = seconds
        return function
    return mark


def diag(text):
    """A line for the log."""
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def expect(value, wanted, what):
    """Assert equality, with both in the message."""
    if value != wanted:
        raise AssertionError(f"{what}: {value!r}, expected {wanted!r}")


def main(scope, environments=None):
    """Run what the file asks for; exits with 1 when a test failed."""
    parser = argparse.ArgumentParser(description=scope.get("__doc__"))
    parser.add_argument("-l", "--list", action="store_true")
    parser.add_argument("-k", "--filter", default="")
    parser.add_argument("-e", "--environment")
    options = parser.parse_args()
    tests = [f for name, f in scope.items()
             if name.startswith("test_") and callable(f)]
    plan = [(label, f) for label, f in _plan(tests, environments or {})
            if options.filter in _name(label, f)
            and label in (None, options.environment or label)]
    if options.list:
        for label, function in plan:
            print(_name(label, function))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGALRM, _alarm)
    sys.exit(_run(plan, environments or {}))


def _plan(tests, environments):
    """(environment's name or None, test), grouped by environment."""
    for function in tests:
        if not inspect.signature(function).parameters:
            yield None, function
    for label in environments:
        for function in tests:
            if inspect.signature(function).parameters and \
                    label in getattr(function, "only", (label,)):
                yield label, function


def _name(label, function):
    where = f" [{label}]" if label else ""
    promise = " ".join((function.__doc__ or "").split())
    return f"{function.__name__}{where}: {promise}"


def _run(plan, environments):
    print(f"1..{len(plan)}", flush=True)
    failed = 0
    current = Environment()
    for number, (label, function) in enumerate(plan, start=1):
        began = time.monotonic()
        error = None
        signal.alarm(getattr(function, "limit", LIMIT) * SLOW)
        try:
            if label is None:
                function()
            else:
                env = current.enter(label, environments[label])
                function(env)
                current.check()
        except (Exception, TimeLimit) as exc:   # pylint: disable=W0718
            error = exc
        finally:
            signal.alarm(0)
        seconds = time.monotonic() - began
        failed += error is not None
        print(f"{'not ' if error else ''}ok {number} - "
              f"{_name(label, function)}", flush=True)
        diag(f"{seconds:.1f} s")
        if error:
            _explain(error)
            current.drop()
        last = number == len(plan) or plan[number][0] != label
        if last:
            # Leaving looks at what the environment's tests have left.
            problem = current.leave()
            if problem:
                failed += 1
                print(f"not ok - the environment {label} ends clean",
                      flush=True)
                diag(f"leaving the environment {label}: {problem}")
    print(f"# {len(plan) - min(failed, len(plan))} passed, {failed} failed",
          flush=True)
    return 1 if failed else 0


class Environment:
    """The environment that is entered now, if any."""

    def __init__(self):
        self._label = self._context = self._value = None

    def enter(self, label, factory):
        if self._label != label:
            self.leave()
            self._context = factory()
            self._value = self._context.__enter__()
            self._label = label
        return self._value

    def check(self):
        problems = getattr(self._value, "problems", list)()
        assert not problems, "; ".join(problems[:6])

    def leave(self):
        """Leave in good order; what was wrong, or None."""
        return self._exit(None, None)

    def drop(self):
        """Leave after a failure: nothing is checked."""
        self._exit(AssertionError, AssertionError("a test failed"))

    def _exit(self, kind, value):
        context, self._context = self._context, None
        entered, self._label = self._label, None
        if not context or entered is None:
            return None
        try:
            context.__exit__(kind, value, None)
        except Exception as exc:            # pylint: disable=W0718
            return exc
        return None


def _explain(error):
    diag(f"{type(error).__name__}: {error}")
    for frame in traceback.extract_tb(error.__traceback__)[-4:]:
        diag(f"  at {frame.filename}:{frame.lineno} {frame.name}: "
             f"{frame.line}")


def _alarm(*_):
    raise TimeLimit("the test's time limit is over")
