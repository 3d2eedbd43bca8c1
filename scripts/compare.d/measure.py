"""Runs of workloads against servers, interleaved: every repetition has every server once, one after the other."""

import contextlib
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

from servers import Missing
from workloads import PEERS, WORKLOADS, line

# What of a report is kept: name here, name in its `ci`, factor.
KEPT = (
    ("cpu_us", "server_cpu_per_message_seconds", 1e6),
    ("per_second", "delivered_per_second", 1),
    ("p50_ms", "e2e_p50_ms", 1),
    ("p99_ms", "e2e_p99_ms", 1),
    ("ok_p50_ms", "ok_p50_ms", 1),
    ("ok_p99_ms", "ok_p99_ms", 1),
    ("kib_per_connection", "server_rss_per_connection_bytes", 1 / 1024),
    ("written_bytes", "server_written_per_message_bytes", 1),
    ("commits", "server_commits_per_message", 1),
    ("elided", "server_elided_share", 1),
    ("generator_cpu_us", "generator_cpu_per_message_seconds", 1e6),
    ("connected", "connected", 1),
    ("delivered", "delivered", 1),
    ("lost", "lost", 1),
    ("duplicated", "duplicated", 1),
)


def say(text):
    print(text, file=sys.stderr, flush=True)


def rounded(value):
    """Four digits are more than a run is worth, and keep the file small."""
    return float(f"{value:.4g}") if isinstance(value, (int, float)) else value


def figures(report):
    """What is kept of a report."""
    ci, load = report["ci"], report["load"]
    kept = {name: rounded(ci[source] * factor) for name, source, factor in KEPT if ci.get(source) is not None}
    for name, source in (("stored_per_second",) * 2, ("drained_per_second",) * 2):
        if load.get(source) is not None:
            kept[name] = rounded(load[source])
    kept["verdict"] = report["verdict"]
    if report["verdict"] != "pass":
        kept["reasons"] = report["reasons"]
    return kept


def compare(host, options):
    """All runs, and who was left out."""
    runs, skipped = [], {}
    total = sum(letter in PEERS[peer].letters for letter in options.workloads for peer in options.peers)
    total *= options.repetitions
    for repetition in range(1, options.repetitions + 1):
        for letter in options.workloads:
            for peer in options.peers:
                if letter not in PEERS[peer].letters:
                    continue
                if peer in skipped:
                    continue
                run = {"workload": letter, "peer": peer, "repetition": repetition}
                run.update(once(host, letter, peer, options, skipped))
                if peer in skipped:
                    say(f"    left out: {PEERS[peer].title} ({skipped[peer]})")
                    continue
                runs.append(run)
                say(f"    {len(runs)} of {total}: {told(run)}")
    return runs, [{"peer": peer, "why": why} for peer, why in skipped.items()]


def once(host, letter, peer, options, skipped):
    """One run; a server that is not to be had is noted."""
    about = PEERS[peer]
    seconds = min(options.seconds, 4) if about.is_slow else options.seconds
    words = line(WORKLOADS[letter], about, seconds, options.quick)
    try:
        with host.serve(peer) as server:
            # What starting costs, and what a peer does at first, is not measured.
            time.sleep(0.2 if options.quick else 1)
            report, said = host.bench(words, server, patience=seconds + 300)
    except Missing as error:
        skipped[peer] = str(error)
        return {}
    return figures(report) if report else {"verdict": "none", "reasons": [said]}


def told(run):
    """A line for people."""
    parts = [f"{run['workload']} {PEERS[run['peer']].title}:"]
    if "cpu_us" in run and run["workload"] != "D":
        parts.append(f"{run['cpu_us']:.2f} µs,")
    if run["workload"] == "D":
        parts.append(f"{run.get('kib_per_connection', 0):.1f} KiB for each connection,")
    elif run["workload"] == "F":
        parts.append(f"{run.get('stored_per_second', 0):,.0f}/s stored, {run.get('drained_per_second', 0):,.0f}/s drained,")
    else:
        parts.append(f"{run.get('per_second', 0):,.0f}/s, p99 {run.get('p99_ms', 0):.2f} ms,")
    parts.append(run["verdict"])
    if run["verdict"] != "pass":
        parts.append("(" + "; ".join(run.get("reasons", [])) + ")")
    return " ".join(parts)


def machine(host, options):
    """What it ran on."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.M)
    release = ""
    with contextlib.suppress(OSError):
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', pathlib.Path("/etc/os-release").read_text(), re.M)
        release = found.group(1) if found else ""
    version = subprocess.run([host.chatctl, "--version"], capture_output=True, text=True, check=True)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": rounded(int(memory.group(1)) / 1024 / 1024) if memory else None,
        "system": release,
        "kernel": platform.release(),
        "chatctl": version.stdout.strip().splitlines()[0],
        "pinned": host.server_core is not None,
        "load_before": rounded(os.getloadavg()[0]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": options.seconds,
        "repetitions": options.repetitions,
    }
