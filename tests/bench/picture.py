# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's picture: an SVG drawn from the report's figures.

Three panels of horizontal bars, one row for each system in each.  The host's
own loopback is the ceiling and far off the scale of the others; its bar is cut
off, with a break and its figure.
"""

from html import escape

WIDTH = 1000
LEFT, RIGHT = 250, 110          # for labels, and for figures behind bars
ROW, BAR = 30, 18
HEAD, GAP, FOOT = 92, 58, 64

INK, DIM, LINE, PAPER = "#1c2733", "#66727f", "#dde3e9", "#ffffff"
ACCENT, OWN, RIVAL, CEILING = "#0b7a75", "#7fb8b4", "#8796a8", "#c9d1da"

#: Title, what it says, the figure, its second bar, better when.
PANELS = [
    ("Throughput", "iperf3, Gbit/s; light: both ways at once, added",
     "throughput_gbit", "bidirectional_gbit", "longer is better"),
    ("Latency", "sockperf TCP ping-pong, 14 bytes, one way, median, "
     "microseconds", "latency_us", None, "shorter is better"),
    ("Work per megabyte", "interrupts of both NICs; light: doorbells",
     "interrupts_per_mb", "doorbells_per_mb", "shorter is better"),
]


def draw(report, titles):
    """The SVG as text.  titles: what stands beside a system's name."""
    systems = report["systems"]
    panels = [(panel, _rows(systems, panel)) for panel in PANELS]
    panels = [(panel, rows) for panel, rows in panels if rows]
    height = HEAD + FOOT + sum(GAP + ROW * len(rows) for _, rows in panels)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" '
        f'fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="{PAPER}"/>',
        _text(32, 42, "Two guests, unmodified programs", 22, weight="bold"),
        _text(32, 66, _summary(report), 14, DIM),
    ]
    y = HEAD
    for panel, rows in panels:
        y = _panel(out, y, panel, rows, titles)
    out.append(_text(32, height - 34,
                     "Same kernel, CPU model and programs in all guests; "
                     "runs interleaved, medians.", 12, DIM))
    out.append(_text(32, height - 16,
                     "Emulated CPUs (TCG): guest instructions cost more than "
                     "host instructions. Work per megabyte does not depend "
                     "on that.", 12, DIM))
    out.append("</svg>\n")
    return "\n".join(out)


def _summary(report):
    ratios, parts = report["ratios"], []
    for name, text in (("throughput_vs_plain",
                        "{} times the throughput of no offload"),
                       ("throughput_vs_best_rival",
                        "{} times the strongest rival's"),
                       ("latency_vs_plain",
                        "{} times the latency of no offload")):
        if ratios.get(name) is not None:
            parts.append(text.format(f"{ratios[name]:.2g}"))
    return ("VTOE: " + ", ".join(parts)) if parts else ""


def _rows(systems, panel):
    """(name, first figure, second figure) of the systems that have one."""
    return [(name, row[panel[2]], row.get(panel[3]) if panel[3] else None)
            for name, row in systems.items() if row[panel[2]] is not None]


def _panel(out, y, panel, rows, titles):
    title, legend, _, _, better = panel
    out.append(_text(32, y + 16, title, 16, weight="bold"))
    out.append(_text(32 + 11 * len(title) + 8, y + 16, legend, 12, DIM))
    out.append(_text(WIDTH - 32, y + 16, better, 12, DIM, anchor="end"))
    out.append(f'<line x1="32" x2="{WIDTH - 32}" y1="{y + 26}" '
               f'y2="{y + 26}" stroke="{LINE}"/>')
    inside = [v for name, *values in rows if name != "host"
              for v in values if v is not None]
    most = max(inside, default=None) or \
        max(v for _, *values in rows for v in values if v is not None) or 1
    top = y + 34
    for i, (name, first, second) in enumerate(rows):
        middle = top + ROW * i + ROW / 2
        weight = "bold" if name == "vtoe" else "normal"
        out.append(_text(32, middle - 1, name, 13, weight=weight))
        out.append(_text(32, middle + 11, titles.get(name, ""), 9.5, DIM))
        _bars(out, middle, name, first, second, most)
    return y + GAP + ROW * len(rows)


def _bars(out, middle, name, first, second, most):
    """One or two bars, and the figures behind the longer."""
    room = WIDTH - LEFT - RIGHT
    color = {"vtoe": ACCENT, "host": CEILING}.get(
        name, OWN if name.startswith("vtoe") else RIVAL)
    values = [first] if second is None else [first, second]
    thick = BAR / len(values)
    longest = 0
    for i, value in enumerate(values):
        width = room * value / most
        cut = width > room
        width = min(width, room)
        longest = max(longest, width)
        top = middle - BAR / 2 + thick * i
        opacity = ' opacity="0.5"' if i else ""
        out.append(f'<rect x="{LEFT}" y="{top:.1f}" '
                   f'width="{max(width, 1):.1f}" height="{thick:.1f}" '
                   f'rx="2" fill="{color}"{opacity}>'
                   f'<title>{escape(name)}: {value:.4g}</title></rect>')
        if cut:
            x = LEFT + room - 26
            out.append(f'<path d="M{x} {top - 1:.1f} l6 0 l-5 '
                       f'{thick + 2:.1f} l-6 0 z" fill="{PAPER}"/>')
    label = " / ".join(f"{v:.3g}" for v in values)
    out.append(_text(LEFT + longest + 8, middle + 4.5, label, 12.5,
                     weight="bold" if name == "vtoe" else "normal"))


def _text(x, y, text, size, color=INK, weight="normal", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
            f'fill="{color}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{escape(text)}</text>')
