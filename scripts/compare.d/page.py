"""Figures to tables and charts, and those into docs/performance.md. The same figures give the same bytes.

Reads runs.json, syscalls.json and growth.json, as far as they are there. Measures nothing.
"""

import json
import pathlib
import shutil
import sys
import tempfile

from charts import dots, median, number
from servers import ROOT
from workloads import FLOOR, PEERS, WORKLOADS

PAGE = ROOT / "docs" / "performance.md"
KEPT = ROOT / "docs" / "performance"
FILES = ("runs.json", "syscalls.json", "growth.json")
BEGIN, END = "<!-- figures: {} -->", "<!-- /figures -->"
KIND = {"chatctl": "ours", "bare": "floor", "frames": "floor"}


class Runs:
    """What was measured, by workload and peer."""

    def __init__(self, document):
        self.runs = document["runs"]
        self.skipped = {left["peer"]: left["why"] for left in document["skipped"]}

    def of(self, letter, peer):
        return [run for run in self.runs if (run["workload"], run["peer"]) == (letter, peer)]

    def values(self, letter, peer, figure):
        return [run[figure] for run in self.of(letter, peer) if figure in run]

    def peers(self, letter):
        return [peer for peer in PEERS if self.of(letter, peer)]

    def ratios(self, letter, peer, figure, floor=FLOOR):
        """To the floor of the same repetition."""
        there = {run["repetition"]: run[figure] for run in self.of(letter, floor) if run.get(figure)}
        return [run[figure] / there[run["repetition"]] for run in self.of(letter, peer)
                if figure in run and run["repetition"] in there]

    def middle(self, letter, peer, figure, unit=""):
        values = self.values(letter, peer, figure)
        return number(median(values)) + unit if values else "–"

    def ratio(self, letter, peer, figure, floor=FLOOR):
        values = self.ratios(letter, peer, figure, floor)
        return number(median(values)) if values else "–"

    def whole(self, letter, peer, figure):
        values = self.values(letter, peer, figure)
        return f"{median(values):,.0f}" if values else "–"

    def note(self, letter, peer):
        """What is to be known of its runs."""
        words = []
        runs = self.of(letter, peer)
        for verdict, word in (("invalid", "generator at its limit"), ("fail", "failed"), ("none", "no result"),
                              ("interrupted", "interrupted")):
            count = sum(run["verdict"] == verdict for run in runs)
            if count:
                words.append(f"{word} ({count} of {len(runs)})")
        lost = sum(run.get("lost", 0) for run in runs)
        if lost:
            words.append(f"{lost:,.0f} lost")
        return ", ".join(words)


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def name(peer):
    return f"**{PEERS[peer].title}**" if peer == "chatctl" else PEERS[peer].title


def messages(runs, letter):
    """The table of a workload in which messages go from one to another."""
    head = ["server", "CPU µs", "× bare", "× bare with OK", "messages/s", "p50 ms", "p99 ms", "p99 × bare", "OK p50 ms", "OK p99 ms", "notes"]
    rows = []
    for peer in runs.peers(letter):
        says_ok = PEERS[peer].says_ok
        rows.append([
            name(peer), runs.middle(letter, peer, "cpu_us"), runs.ratio(letter, peer, "cpu_us"),
            runs.ratio(letter, peer, "cpu_us", "frames"), runs.middle(letter, peer, "per_second"),
            runs.middle(letter, peer, "p50_ms"), runs.middle(letter, peer, "p99_ms"), runs.ratio(letter, peer, "p99_ms"),
            runs.middle(letter, peer, "ok_p50_ms") if says_ok else "–",
            runs.middle(letter, peer, "ok_p99_ms") if says_ok else "–", runs.note(letter, peer),
        ])
    return table(head, rows)


def idle(runs, letter):
    head = ["server", "KiB for each connection", "× bare", "connected", "notes"]
    return table(head, [[
        name(peer), runs.middle(letter, peer, "kib_per_connection"), runs.ratio(letter, peer, "kib_per_connection"),
        runs.whole(letter, peer, "connected"), runs.note(letter, peer),
    ] for peer in runs.peers(letter)])


def offline(runs, letter):
    head = ["server", "stored/s", "drained/s", "CPU µs", "bytes written", "commits", "what its OK means", "notes"]
    return table(head, [[
        name(peer), runs.middle(letter, peer, "stored_per_second"), runs.middle(letter, peer, "drained_per_second"),
        runs.middle(letter, peer, "cpu_us"), runs.middle(letter, peer, "written_bytes"),
        runs.middle(letter, peer, "commits"), PEERS[peer].promise, runs.note(letter, peer),
    ] for peer in runs.peers(letter)])


def chart(runs, letter):
    """The chart of a workload; none where nothing was measured."""
    about = f"{letter}: {WORKLOADS[letter].title}"
    figures = {"D": (("kib_per_connection", False),), "F": (("stored_per_second", False), ("drained_per_second", True))}
    units = {
        "D": "resident memory for each connection, KiB: less is better",
        "F": "messages per second, more is better: ● stored · ○ drained",
    }
    unit = units.get(letter, "server's processor time for each delivered message, µs: less is better")
    rows = []
    for peer in runs.peers(letter):
        series = [(runs.values(letter, peer, figure), is_hollow) for figure, is_hollow in figures.get(letter, (("cpu_us", False),))]
        series = [([value for value in values if value > 0], is_hollow) for values, is_hollow in series]
        series = [(values, is_hollow) for values, is_hollow in series if values]
        if series:
            rows.append((PEERS[peer].title, KIND.get(peer, "other"), series))
    if not rows:
        return None
    sign = -1 if letter == "F" else 1
    rows.sort(key=lambda row: (sign * median(row[2][0][0]), row[0]))
    return dots(about, unit, rows)


def latency(runs, letter):
    rows = []
    for peer in runs.peers(letter):
        series = [(runs.values(letter, peer, "p50_ms"), False), (runs.values(letter, peer, "p99_ms"), True)]
        if all(values and min(values) > 0 for values, _ in series):
            rows.append((PEERS[peer].title, KIND.get(peer, "other"), series))
    if not rows:
        return None
    rows.sort(key=lambda row: (median(row[2][0][0]), row[0]))
    return dots(f"{letter}: {WORKLOADS[letter].title}", "from due to there, ms: ● half of the messages within · ○ 99 of 100 within", rows)


def machine(documents):
    """What it ran on, in sentences."""
    lines = []
    for document, what in zip(documents, ("The comparison", "System calls", "Growth")):
        if document is None:
            continue
        about = document["machine"]
        pinned = "server and generator on a processor each" if about["pinned"] else "server and generator share all of them"
        lines.append(
            f"- {what}: {about['chatctl']}, {about['date']}, {about['cpu']}, {about['cores']} processors ({pinned}), "
            f"{number(about['memory_gib'])} GiB, {about['system']}, kernel {about['kernel']}; each run {about['repetitions']} "
            f"times for {about['seconds']} s, {number(about['minutes'])} minutes in all; load before it: {number(about['load_before'])}.")
    return "\n".join(lines) + "\n"


def left_out(runs):
    return "".join(f"- Left out: {PEERS[peer].title} ({why}).\n" for peer, why in sorted(runs.skipped.items()))


def calls(document):
    """System calls of each message."""
    found = document["counts"]
    names = []
    for row in found:
        names += [call for call in row["calls"] if call not in names]
    weight = {call: max(row["calls"].get(call, 0) for row in found) for call in names}
    names = sorted((call for call in names if weight[call] >= 0.02), key=lambda call: (-weight[call], call))
    head = ["workload", "server", "all"] + names
    rows = [[row["workload"], name(row["peer"]), f"{sum(row['calls'].values()):.2f}"] +
            [f"{row['calls'].get(call, 0):.2f}" for call in names] for row in found]
    return table(head, rows) + f"\nCounted with {document['tool']}.\n"


def grown(document):
    head = ["devices", "stored envelopes", "CPU µs, recipients here", "CPU µs, recipients away", "start s", "start after kill -9, s", "memory MiB"]
    points = sorted({(row["devices"], row["envelopes"]) for row in document["points"]})
    rows = []
    for devices, envelopes in points:
        here = [row for row in document["points"] if (row["devices"], row["envelopes"]) == (devices, envelopes)]

        def middle(figure, here=here):
            values = [row[figure] for row in here if row.get(figure) is not None]
            return number(median(values)) if values else "–"

        rows.append([f"{devices:,}", f"{envelopes:,}", middle("live_cpu_us"), middle("away_cpu_us"), middle("start_seconds"),
                     middle("restart_seconds"), middle("rss_mib")])
    return table(head, rows)


def rendered(folder):
    """Regions of the page by name, and charts by file."""
    documents = [json.loads((folder / file).read_text()) if (folder / file).exists() else None for file in FILES]
    runs, counts, points = documents
    regions, charts = ({"machine": machine(documents)} if any(documents) else {}), {}
    if runs:
        runs = Runs(runs)
        regions["machine"] += left_out(runs)
        for letter in WORKLOADS:
            if not runs.peers(letter):
                continue
            regions[letter] = {"D": idle, "F": offline}.get(letter, messages)(runs, letter)
            charts[f"{letter}.svg"] = chart(runs, letter)
            if letter in "BC":
                charts[f"{letter}-latency.svg"] = latency(runs, letter)
    if counts:
        regions["syscalls"] = calls(counts)
    if points:
        regions["growth"] = grown(points)
    return regions, {file: drawn for file, drawn in charts.items() if drawn}


def render(source, target):
    """Tables in one file, and charts beside it."""
    regions, charts = rendered(source)
    for file, drawn in charts.items():
        (target / file).write_text(drawn)
    parts = []
    for region, text in regions.items():
        title = f"{region}. {WORKLOADS[region].title}" if region in WORKLOADS else region
        parts.append(f"## {title}\n\n{text}")
    (target / "figures.md").write_text("\n".join(parts))


def filled(text, regions):
    """The page with its regions filled. A region without figures keeps what it has."""
    for region, table_of_it in regions.items():
        begin = BEGIN.format(region)
        if begin not in text:
            continue
        before, rest = text.split(begin, 1)
        _, after = rest.split(END, 1)
        text = f"{before}{begin}\n\n{table_of_it}\n{END}{after}"
    return text


def write(folder):
    """Takes figures over into the page and the folder beside it."""
    KEPT.mkdir(parents=True, exist_ok=True)
    taken = [file for file in FILES if (folder / file).exists()]
    if not taken:
        print(f"there are no figures in {folder}", file=sys.stderr)
        return 1
    for file in taken:
        if folder.resolve() != KEPT:
            shutil.copy(folder / file, KEPT / file)
    regions, charts = rendered(KEPT)
    for file, drawn in charts.items():
        (KEPT / file).write_text(drawn)
    PAGE.write_text(filled(PAGE.read_text(), regions))
    print(f"    {', '.join(taken)} are in {KEPT.relative_to(ROOT)}, the tables in {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


def check():
    """Whether the page and its charts are what the figures beside them give."""
    regions, charts = rendered(KEPT)
    wrong = [str(PAGE.relative_to(ROOT))] if filled(PAGE.read_text(), regions) != PAGE.read_text() else []
    for file, drawn in charts.items():
        kept = KEPT / file
        if not kept.exists() or kept.read_text() != drawn:
            wrong.append(str(kept.relative_to(ROOT)))
    with tempfile.TemporaryDirectory() as folder:
        # Twice the same.
        render(KEPT, pathlib.Path(folder))
        wrong += [file for file in charts if (pathlib.Path(folder) / file).read_text() != charts[file]]
    for file in wrong:
        print(f"{file} is not what docs/performance/*.json gives: scripts/compare --page --out docs/performance", file=sys.stderr)
    return 1 if wrong else 0
