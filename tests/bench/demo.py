#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two guests, unmodified programs, and what carries them.

Boots pairs of guests with Debian's stock kernel, runs iperf3 and sockperf
between them over VTOE and over what people use today, in turns, and shows
medians as a table (here), as a picture (build/demo/demo.svg) and as figures
(build/demo/report.json).

usage: demo [--quick] [--systems NAME,...] [--rounds N] [--seconds N]
            [--kernel 6.1|6.12]
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import picture                               # noqa: E402
from bench.systems import missing_counts, pairs, systems    # noqa: E402
from rig import figures, image                          # noqa: E402
from rig.paths import BUILD, LOGS, RigError             # noqa: E402

OUT = BUILD / "demo"
ALL = ["vtoe", "vtoe_frames", "vtoe_plain", "virtio_vxlan", "virtio_stream",
       "host"]
QUICK = ["vtoe", "vtoe_plain"]
RIVALS = ["virtio_vxlan", "virtio_stream"]

#: What one turn measures: (name, direction for iperf3 or None).
STEPS = [("iperf3 out", "out"), ("iperf3 in", "in"),
         ("iperf3 both", "both"), ("sockperf", None)]

#: Ratios of the report: name -> (figure, against, bar or None).
RATIOS = {
    "throughput_vs_plain": ("throughput_gbit", ["vtoe_plain"], ">= 2.5"),
    "throughput_vs_frames": ("throughput_gbit", ["vtoe_frames"], None),
    "throughput_vs_best_rival": ("throughput_gbit", RIVALS, ">= 2.0"),
    "latency_vs_plain": ("latency_us", ["vtoe_plain"], "<= 0.5"),
    "latency_vs_best_rival": ("latency_us", RIVALS, None),
    "interrupts_vs_plain": ("interrupts_per_mb", ["vtoe_plain"], "<= 0.1"),
}


class Progress:
    """One line for each step: how far, what, and how long it still takes."""

    def __init__(self, total, seconds):
        self._total, self._done = total, 0
        self._began = time.monotonic()
        self._left = seconds

    def step(self, text, seconds):
        """Announce a step that is expected to take ``seconds``."""
        self._done += 1
        minutes, rest = divmod(round(self._left), 60)
        print(f"[{self._done:3d}/{self._total}] {text:<52} "
              f"about {minutes}:{rest:02d} left", flush=True)
        self._left = max(self._left - seconds, 1)


def measure(rows, options, progress):
    """The turns, interleaved; {name: {step: [values]}}."""
    found = {row.name: {step: [] for step, _ in STEPS} for row in rows}
    for turn in range(options.rounds):
        # Every second round backwards, so that drift hits all alike.
        for row in rows if turn % 2 == 0 else reversed(rows):
            with row.turn():
                for step, direction in STEPS:
                    progress.step(f"round {turn + 1}: {row.name}, {step}",
                                  options.seconds + 2)
                    value = row.throughput(options.seconds, direction) \
                        if direction else row.latency(options.seconds)
                    found[row.name][step].append(value)
    return found


def count(rows, options, progress):
    """{name: (interrupts, doorbells) per MB}, in runs of their own: counting
    costs the guest a little."""
    counts = {}
    for row in rows:
        if row.pair is None:
            counts[row.name] = row.count(0)
            continue
        with row.turn():
            progress.step(f"interrupts and doorbells: {row.name}",
                          options.seconds)
            counts[row.name] = row.count(options.seconds)
    return counts


def report(found, counts, left_out):
    """The figures as report.json holds them."""
    table = {}
    for name, steps in found.items():
        one_way = steps["iperf3 out"] + steps["iperf3 in"]
        interrupts, doorbells = counts[name]
        table[name] = {
            "throughput_gbit": _round(statistics.median(one_way)),
            "bidirectional_gbit": _round(
                statistics.median(steps["iperf3 both"])),
            "latency_us": _round(statistics.median(steps["sockperf"])),
            "doorbells_per_mb": _round(doorbells),
            "interrupts_per_mb": _round(interrupts),
        }
    ratios = {name: _ratio(table, *RATIOS[name][:2]) for name in RATIOS}
    not_counted = {f"{name}.{key}": missing_counts(name)
                   for name, row in table.items()
                   for key, value in row.items() if value is None}
    return {"systems": table, "ratios": ratios, "left_out": left_out,
            "not_counted": not_counted}


def _round(value):
    return None if value is None else float(f"{value:.4g}")


def _ratio(table, figure, against):
    """vtoe's figure over the best of the others'; None without both."""
    others = [table[name][figure] for name in against
              if name in table and table[name][figure] is not None]
    ours = table.get("vtoe", {}).get(figure)
    if ours is None or not others:
        return None
    best = max(others) if figure.endswith("gbit") else min(others)
    return _round(ours / best) if best else None


def record(result):
    """Hand the promised figures to make report."""
    for name, value in result["ratios"].items():
        bar = RATIOS[name][2]
        if bar and value is not None:
            figures.record(f"demo.{name}", value, "x", bar)
    ours, plain = (result["systems"].get(name, {}).get("doorbells_per_mb")
                   for name in ("vtoe", "vtoe_plain"))
    if ours is not None and plain:
        figures.record("demo.doorbells_vs_plain", _round(ours / plain), "x",
                       "<= 0.1")


def show(result, rows):
    """The table."""
    titles = {row.name: row.title for row in rows}
    head = ("Gbit/s", "both ways", "latency us", "doorbells", "interrupts")
    print(f"\n{'':<15}{'':<32}" + "".join(f"{h:>12}" for h in head))
    print(f"{'system':<15}{'':<32}" + "".join(
        f"{u:>12}" for u in ("one way", "Gbit/s", "one way", "per MB",
                             "per MB")))
    print("-" * 107)
    for name, row in result["systems"].items():
        cells = [row["throughput_gbit"], row["bidirectional_gbit"],
                 row["latency_us"], row["doorbells_per_mb"],
                 row["interrupts_per_mb"]]
        print(f"{name:<15}{titles[name]:<32}" + "".join(
            f"{'-' if c is None else f'{c:.4g}':>12}" for c in cells))
    print()
    for name, value in result["ratios"].items():
        if value is not None:
            bar = RATIOS[name][2]
            print(f"  {name:<28}{value:>8.4g}"
                  + (f"   (promised: {bar})" if bar else ""))
    for name, reason in result["left_out"].items():
        print(f"  left out: {name}: {reason}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true",
                        help="VTOE against no offload, once")
    parser.add_argument("--systems", metavar="NAME,...",
                        help="of " + ", ".join(ALL))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, default=4,
                        help="for each program's run")
    parser.add_argument("--kernel", default="6.12", choices=["6.1", "6.12"])
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.names = options.systems.split(",") if options.systems else \
        QUICK if options.quick else ALL
    for name in options.names:
        if name not in ALL:
            parser.error(f"unknown system \"{name}\", one of: "
                         + ", ".join(ALL))
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    OUT.mkdir(parents=True, exist_ok=True)
    image.get(options.kernel)
    needed, left_out = pairs(options.names)
    names = [name for name in options.names if name not in left_out]
    guests = [name for name in names if name != "host"]
    turn = len(STEPS) * (options.seconds + 2)
    progress = Progress(
        len(needed) + options.rounds * len(names) * len(STEPS) + len(guests),
        12 * len(needed) + options.rounds * turn * len(names)
        + options.seconds * len(guests))
    began = time.monotonic()
    with ExitStack() as stack:
        booted = {}
        for name, pair in needed.items():
            progress.step(f"boot two guests: {name}", 12)
            booted[name] = stack.enter_context(pair)
            if name == "vtoe":
                print("\nThe two guests, to start by hand in two terminals:"
                      f"\n\n{pair.show()}")
            pair.pause()
        rows = systems(names, booted)
        found = measure(rows, options, progress)
        counts = count(rows, options, progress)
        # Leaving looks at the guests' kernel logs, which needs their vCPUs.
        for pair in booted.values():
            pair.resume()
    result = report(found, counts, left_out)
    (OUT / "report.json").write_text(json.dumps(result, indent=2) + "\n")
    (OUT / "runs.json").write_text(json.dumps(found, indent=2) + "\n")
    (OUT / "demo.svg").write_text(picture.draw(
        result, {row.name: row.title for row in rows}))
    if not options.systems:
        record(result)
    show(result, rows)
    print(f"\n  {OUT / 'demo.svg'}: the picture\n"
          f"  {OUT / 'report.json'}: the figures\n"
          f"  {time.monotonic() - began:.0f} s, medians of "
          f"{options.rounds} rounds; the guests are emulated (TCG), which "
          "favours\n  whatever runs fewer guest instructions; "
          "counts per MB do not depend on that.\n"
          "  All with what is set by default: readers of streams poll for up "
          "to 500 us\n  before they sleep (net.vtoe.busy_read), TCP's do not "
          "(net.core.busy_read).")


if __name__ == "__main__":
    try:
        main()
    except RigError as error:
        sys.exit(f"demo: error: {error}\n    logs: {LOGS / 'demo'}")
    except KeyboardInterrupt:
        os.write(2, b"\ndemo: interrupted\n")
        sys.exit(130)
