"""Charts as SVG: dots on a logarithmic scale, one row for each server.

A dot stands at the median, a line from the smallest to the largest of the repetitions. No script, no font of its own; the
colours follow what the reader prefers, light or dark. The same figures give the same bytes.
"""

import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, ROW, TOP = 760, 210, 96, 26, 62
STYLE = """
  .back { fill: #ffffff } .grid { stroke: #e3e5e8; stroke-width: 1 } .text { fill: #24292f } .soft { fill: #57606a }
  .ours { fill: #0969da; stroke: #0969da } .floor { fill: #8250df; stroke: #8250df } .other { fill: #6e7781; stroke: #6e7781 }
  .first { fill: #6e7781; stroke: #6e7781 } .target { stroke: #bc4c00; stroke-width: 1.5; stroke-dasharray: 5 4 } .goal { fill: #bc4c00 }
  text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif } .title { font-size: 15px; font-weight: 600 }
  .small { font-size: 12px } .hollow { fill: none; stroke-width: 2 } .spread { stroke-width: 2; opacity: .45 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } .grid { stroke: #2b313a } .text { fill: #e6edf3 } .soft { fill: #9198a1 }
    .ours { fill: #58a6ff; stroke: #58a6ff } .floor { fill: #bc8cff; stroke: #bc8cff } .other { fill: #8b949e; stroke: #8b949e }
    .target { stroke: #f0883e } .goal { fill: #f0883e } .hollow { fill: none }
  }
"""


def number(value):
    """As a person would write it: three digits or two places, thousands with a comma."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 3 if abs(value) < 0.1 else 2)}f}"


def bounds(values):
    """Where the axis begins and ends: whole steps of 1, 2 and 5 around all values."""
    steps = [base * 10.0**power for power in range(-6, 10) for base in (1, 2, 5)]
    low = max(step for step in steps if step <= min(values) * 0.999)
    high = min(step for step in steps if step >= max(values) * 1.001)
    return low, high, [step for step in steps if low <= step <= high]


def dots(title, unit, rows, target=None):
    """A chart. Rows are (name, class, [(values, is hollow)]); the target is (value, what it is)."""
    drawn = [value for _, _, series in rows for values, _ in series for value in values]
    low, high, steps = bounds(drawn + ([target[0]] if target else []))
    height = TOP + ROW * len(rows) + 40
    span = WIDTH - LEFT - RIGHT

    def at(value):
        return round(LEFT + span * math.log(value / low) / math.log(high / low), 1)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="6"/>',
        f'<text class="text title" x="16" y="26">{escape(title)}</text>',
        f'<text class="soft small" x="16" y="46">{escape(unit)}</text>',
    ]
    bottom = TOP + ROW * len(rows)
    last = -math.inf
    for step in steps:
        x = at(step)
        out.append(f'<line class="grid" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>')
        # Where there is no room for every number, ones and then tens are enough.
        if x - last >= 46:
            out.append(f'<text class="soft small" x="{x}" y="{bottom + 18}" text-anchor="middle">{step:,g}</text>')
            last = x
    if target:
        x = at(target[0])
        anchor = "end" if x > LEFT + span / 2 else "start"
        out.append(f'<line class="target" x1="{x}" y1="{TOP - 6}" x2="{x}" y2="{bottom}"/>')
        out.append(f'<text class="goal small" x="{x + (-4 if anchor == "end" else 4)}" y="{TOP - 10}" text-anchor="{anchor}">{escape(target[1])}</text>')
    for place, (name, kind, series) in enumerate(rows):
        y = TOP + ROW * place + ROW / 2
        out.append(f'<text class="text" x="{LEFT - 12}" y="{y + 4.5}" text-anchor="end">{escape(name)}</text>')
        ends, words = [], []
        for values, is_hollow in series:
            middle, first, final = median(values), at(min(values)), at(max(values))
            out.append(f'<line class="{kind} spread" x1="{first}" y1="{y}" x2="{final}" y2="{y}"/>')
            shape = f"{kind} hollow" if is_hollow else kind
            out.append(f'<circle class="{shape}" cx="{at(middle)}" cy="{y}" r="{4.5 if is_hollow else 5}"/>')
            ends.append(max(final, at(middle)))
            words.append(number(middle))
        out.append(f'<text class="text small" x="{max(ends) + 11}" y="{y + 4.5}">{" · ".join(words)}</text>')
    return "\n".join(out) + "\n</svg>\n"


def median(values):
    """The middle one, or between the two."""
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
