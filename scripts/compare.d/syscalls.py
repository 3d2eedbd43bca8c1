"""System calls of each message: perf, or else strace, looks at a server while it carries messages."""

import contextlib
import pathlib
import re
import shutil
import subprocess
import threading
import time
import urllib.request

from measure import rounded, say
from servers import Missing
from workloads import PEERS, WORKLOADS, line

CALLS = (
    "accept4 clock_nanosleep epoll_ctl epoll_pwait epoll_pwait2 epoll_wait fdatasync fsync futex io_uring_enter madvise "
    "mmap mprotect munmap nanosleep poll pread64 pwrite64 read readv recvfrom recvmsg sched_yield sendmsg sendto write writev"
).split()
EVENTS = pathlib.Path("/sys/kernel/tracing/events/syscalls")
PEERS_OF_IT = ("chatctl", "bare", "frames")
# Until a bench without registrations has connected everybody, and a while longer.
SETTLE_SECONDS = 3


def tool():
    """What can count here; none where nothing can."""
    if shutil.which("perf"):
        tried = subprocess.run(["perf", "stat", "-e", "syscalls:sys_enter_recvfrom", "true"], capture_output=True)
        if tried.returncode == 0:
            return "perf"
    return "strace" if shutil.which("strace") else None


def count(host, options):
    """Counts for each workload and server."""
    with_what = tool()
    if with_what is None:
        say("    left out: system calls (neither perf, as root, nor strace is here)")
        return None
    letters = [letter for letter in options.workloads if letter in "ABC"]
    peers = [peer for peer in options.peers if peer in PEERS_OF_IT or len(options.peers) < len(PEERS)]
    counts, skipped = [], []
    for letter in letters:
        for peer in peers:
            if letter not in PEERS[peer].letters:
                continue
            try:
                row = one(host, letter, peer, options, with_what)
            except Missing as error:
                say(f"    left out: {letter} {PEERS[peer].title} ({error})")
                skipped.append({"peer": peer, "why": str(error)})
                continue
            counts.append(row)
            most = sorted(row["calls"].items(), key=lambda call: -call[1])[:6]
            say(f"    {letter} {PEERS[peer].title}: " + ", ".join(f"{value:.2f} {call}" for call, value in most))
    return {"tool": with_what, "counts": counts, "skipped": skipped}


def one(host, letter, peer, options, with_what):
    seconds = max(1, min(options.seconds, 5))
    settle = 1 if options.quick else SETTLE_SECONDS
    words = line(WORKLOADS[letter], PEERS[peer], seconds + settle + 2, options.quick)
    found = []
    with host.serve(peer) as server:
        bench = threading.Thread(target=lambda: found.append(host.bench(words, server, seconds + 300)))
        bench.start()
        loaded(server, bench)
        time.sleep(settle)
        calls = watch(server.pid, seconds, with_what)
        bench.join()
    report, said = found[0]
    if report is None:
        raise Missing(said)
    messages = report["load"]["delivered_per_second"] * seconds
    if not messages:
        raise Missing("no message arrived")
    calls = {call: rounded(value / messages) for call, value in sorted(calls.items()) if value / messages >= 0.0005}
    return {"workload": letter, "peer": peer, "per_second": rounded(messages / seconds), "calls": calls}


def loaded(server, bench):
    """Waits until messages flow; only the relay says so, and only it has something to do before."""
    while server.url.startswith("http:") and bench.is_alive():
        with contextlib.suppress(OSError):
            metrics = urllib.request.urlopen(f"{server.url}/metrics", timeout=5).read().decode()
            accepted = re.search(r"^chatctl_envelopes_accepted_total (\d+)", metrics, re.M)
            if accepted and int(accepted.group(1)) > 0:
                return
        time.sleep(0.1)


def watch(pid, seconds, with_what):
    """How often each call is made in so many seconds."""
    if with_what == "perf":
        known = {path.name.removeprefix("sys_enter_") for path in EVENTS.glob("sys_enter_*")}
        events = ",".join(f"syscalls:sys_enter_{call}" for call in CALLS if not known or call in known)
        command = ["perf", "stat", "-x", ",", "-e", events, "-p", str(pid), "--", "sleep", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True)
        rows = re.findall(r"^(\d+),[^,]*,syscalls:sys_enter_(\w+),", done.stderr, re.M)
        said = done.stderr
    else:
        command = ["timeout", "-s", "INT", str(seconds), "strace", "-c", "-f", "-p", str(pid)]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$", done.stderr, re.M)
        rows = [(value, call) for value, call in lines if call != "total"]
        said = done.stderr
    if not rows:
        raise Missing(f"{with_what} counts nothing: {said.strip()[-200:]}")
    return {call: int(value) for value, call in rows}
