"""scripts/compare: which runs, and where their figures go."""

import argparse
import json
import os
import pathlib
import resource
import shutil
import sys
import time

import growth
import measure
import page
import syscalls
from servers import ROOT, Host
from workloads import PEERS, WORKLOADS

EPILOG = """
workloads:
""" + "\n".join(f"  {letter}  {workload.title}" for letter, workload in WORKLOADS.items()) + """

peers:
""" + "\n".join(f"  {name:15} {peer.title} ({peer.letters})" for name, peer in PEERS.items()) + """

examples:
  scripts/compare --quick --out target/compare/quick
  scripts/compare --workloads A,C --peers chatctl,bare,frames --repetitions 5
  scripts/compare && scripts/compare --syscalls && scripts/compare --growth && scripts/compare --page
"""


def names(known):
    def read(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name}; there are: {','.join(known)}")
        return chosen
    return read


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/compare", description="Measures chatctl and others one beside the other, on this machine alone.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--syscalls", action="store_true", help="count system calls of each message instead")
    what.add_argument("--growth", action="store_true", help="measure what devices and stored mail cost instead")
    what.add_argument("--page", action="store_true",
                      help="measure nothing: put what is in --out into docs/performance.md, and draw its charts")
    what.add_argument("--check", action="store_true",
                      help="measure nothing: say whether the page and its charts are what the figures beside them give")
    what.add_argument("--tables", action="store_true",
                      help="measure nothing: tables and charts of what is in --out, beside it")
    parser.add_argument("--chatctl", metavar="PATH", help="this program, instead of a release that is built first")
    parser.add_argument("--fill", metavar="PATH", help="the example `fill` for --growth, instead of one that is built first")
    parser.add_argument("--workloads", type=names(WORKLOADS), metavar="A,B", help="only these")
    parser.add_argument("--peers", type=names(PEERS), metavar="NAME,NAME", help="only these")
    parser.add_argument("--repetitions", type=int, metavar="N", help="runs of each, interleaved (default: 3)")
    parser.add_argument("--seconds", type=int, metavar="N", help="how long each run is measured (default: 8)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: little of everything, and figures that say nothing")
    parser.add_argument("--pin", action="store_true", help="server on the first processor, generator on the second (taskset)")
    parser.add_argument("--disk", metavar="DIR", help="where stores are put (default: where temporary files are)")
    parser.add_argument("--out", metavar="DIR", type=pathlib.Path, help="where figures go (default: target/compare)")
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.quick else 8)
    options.repetitions = options.repetitions or (1 if options.quick else 3)
    # As they were said: the script has gone to the root of the repository.
    here = pathlib.Path(os.environ.get("COMPARE_FROM", "."))
    options.out = here / options.out if options.out else ROOT / "target" / "compare"
    options.disk = options.disk and here / options.disk
    if min(options.seconds, options.repetitions) < 1:
        parser.error("at least one second, and one repetition")
    if options.pin and not (shutil.which("taskset") and (os.cpu_count() or 1) > 1):
        parser.error("--pin needs taskset, and two processors")
    if options.peers is None:
        options.peers = ["chatctl", "bare", "frames", "ws"] if options.quick else list(PEERS)
    if options.workloads is None:
        options.workloads = list(WORKLOADS)
    return options


def write(options, name, document):
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / name
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    page.render(options.out, options.out)
    measure.say(f"    {file}, and its tables and charts beside it")


def main():
    options = arguments()
    if options.page:
        return page.write(options.out)
    if options.tables:
        return page.render(options.out, options.out)
    if options.check:
        return page.check()
    # Ten thousand sockets, in each of two processes.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    host = Host(os.environ["COMPARE_CHATCTL"], (0, 1) if options.pin else (None, None), options.disk)
    document = {"schema": "chatctl.compare/v1", "machine": measure.machine(host, options)}
    began = time.monotonic()
    if options.syscalls:
        name, found = "syscalls.json", syscalls.count(host, options)
    elif options.growth:
        name, found = "growth.json", growth.measure(host, options, os.environ["COMPARE_FILL"])
    else:
        runs, skipped = measure.compare(host, options)
        name, found = "runs.json", {"runs": runs, "skipped": skipped}
    if found is None:
        return 0
    document["machine"]["minutes"] = measure.rounded((time.monotonic() - began) / 60)
    write(options, name, {**document, **found})
    failed = [run for run in found.get("runs", []) if run["peer"] == "chatctl" and run["verdict"] in ("fail", "none")]
    for run in failed:
        measure.say(f"FAILED: {measure.told(run)}")
    return 1 if failed or any(left["peer"] == "chatctl" for left in found.get("skipped", [])) else 0


if __name__ == "__main__":
    sys.exit(main())
