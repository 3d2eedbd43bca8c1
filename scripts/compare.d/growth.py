"""What others cost: a message among ever more devices and ever more stored mail, and how long a relay takes to start."""

import os
import pathlib
import signal
import subprocess

from measure import rounded, say

# Devices that are registered, and envelopes that are stored for them. None of them takes part.
POINTS = ((1_000, 0), (10_000, 0), (100_000, 0), (1_000, 10), (1_000, 1_000), (1_000, 100_000), (1_000, 1_000_000))
QUICK = ((100, 0), (100, 1_000))
# A thousand devices beside them, which are the bench's own.
LIVE = "pairs --clients 1000 --rate max --in-flight 8 --until ok --crypto none"
AWAY = "offline --clients 400 --each 250 --in-flight 64 --crypto none"
QUICK_LIVE = "pairs --clients 10 --rate max --in-flight 8 --until ok --crypto none"
QUICK_AWAY = "offline --clients 10 --each 20 --crypto none"


def measure(host, options, fill):
    """Figures for each point, interleaved."""
    points = []
    for repetition in range(1, options.repetitions + 1):
        for devices, envelopes in QUICK if options.quick else POINTS:
            row = one(host, options, fill, devices, envelopes)
            points.append({"devices": devices, "envelopes": envelopes, "repetition": repetition, **row})
            say(f"    {devices:,} devices, {envelopes:,} envelopes: " + ", ".join(f"{name} {value}" for name, value in row.items()))
    return {"points": points}


def one(host, options, fill, devices, envelopes):
    row = {}
    with host.folder() as folder:
        store = pathlib.Path(folder, "store")
        command = [fill, "--data-dir", str(store), "--devices", str(devices), "--envelopes", str(envelopes)]
        filled = subprocess.run(command, capture_output=True, text=True)
        if filled.returncode != 0:
            raise SystemExit(f"FAILED: fill: {filled.stderr.strip()}")
        lines = (QUICK_LIVE, QUICK_AWAY) if options.quick else (LIVE, AWAY)
        with host.relay(store) as relay:
            row["start_seconds"] = rounded(relay.start_seconds)
            row["rss_mib"] = rounded(resident(relay.pid))
            for name, line in zip(("live", "away"), lines):
                words = line.split()
                words += ["--duration", f"{options.seconds}s", "--warmup", "1s"] if name == "live" else []
                report, said = host.bench(words, relay, options.seconds + 300)
                if report is None:
                    raise SystemExit(f"FAILED: {line}: {said}")
                row[f"{name}_cpu_us"] = rounded(report["ci"]["server_cpu_per_message_seconds"] * 1e6)
                row[f"{name}_verdict"] = report["verdict"]
            os.kill(relay.pid, signal.SIGKILL)
        # What it left behind is read again; the system still has it in memory.
        with host.relay(store) as relay:
            row["restart_seconds"] = rounded(relay.start_seconds)
    return row


def resident(pid):
    """MiB."""
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024
