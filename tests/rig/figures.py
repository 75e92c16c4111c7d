# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps what was measured, for "make report": one JSON line for each figure
in build/report/figures.jsonl."""

import json
import operator
import re

from .paths import BUILD

FILE = BUILD / "report" / "figures.jsonl"
_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq}


def record(name, value, unit, bar):
    """Keep a figure; ``bar`` is like ">= 2.5", as docs/promises.rst says it.
    Returns whether it holds."""
    match = re.fullmatch(r"(>=|<=|==) (-?[0-9.]+)", bar)
    if not match:
        raise ValueError(f"{name}: the bar {bar!r} is not an operator and a "
                         "number")
    holds = _COMPARE[match[1]](value, float(match[2]))
    FILE.parent.mkdir(parents=True, exist_ok=True)
    with open(FILE, "a", encoding="utf-8") as out:
        out.write(json.dumps({"name": name, "value": value, "unit": unit,
                              "bar": bar, "holds": holds}) + "\n")
    return holds
