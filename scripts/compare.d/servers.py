"""Servers that are measured: each is started for one run, and gone after it.

Everything is on 127.0.0.1. A server that cannot be had here raises Missing, with the reason for people.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# As `chatctl bench` starts its own: nothing shall refuse what a bench asks for, all else is as it is for everybody.
BUDGETS = [
    "--connect-rate", "0", "--max-sessions", "10000000", "--send-rate", "1000000", "--send-burst", "1000000",
    "--claim-pair-burst", "1000000", "--claim-target-hourly", "100000000", "--claim-caller-minute", "100000000",
    "--drain-window", "0s", "--limits",
    '{"mailbox_envelopes":10000000,"mailbox_bytes":1099511627776,"max_one_time_keys":100000}',
]
START_SECONDS = 120


class Missing(Exception):
    """A server, or a tool, is not to be had on this machine."""


@dataclass
class Server:
    """One that runs."""

    url: str
    pid: int
    # More arguments of `chatctl bench`.
    arguments: tuple = ()
    # How long it took until it listened, where that is asked for.
    start_seconds: float = 0.0


class Host:
    """This machine: which chatctl, which processors, where files go."""

    def __init__(self, chatctl, cores=(None, None), disk=None):
        self.chatctl = str(chatctl)
        self.server_core, self.bench_core = cores
        self.disk = disk
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("CHATCTL_")}

    def on(self, core, command):
        return command if core is None else ["taskset", "-c", str(core), *command]

    def folder(self):
        return tempfile.TemporaryDirectory(prefix="chatctl-compare-", dir=self.disk, ignore_cleanup_errors=True)

    def run(self, *command, **more):
        return subprocess.run([self.chatctl, *command], env=self.environment, check=True, capture_output=True, **more)

    def serve(self, peer):
        """The server of a peer."""
        if peer == "chatctl":
            return self.relay()
        if peer in ("bare", "frames"):
            return self.child([self.chatctl, "bench", "echo"] + (["--speech", "frames"] if peer == "frames" else []))
        if peer in ("ws", "websocket"):
            return self.child(["node", str(node_folder() / "relay.mjs"), peer])
        return self.peer(peer)

    @contextlib.contextmanager
    def relay(self, store=None):
        """A relay with a store of its own, or over one that is there."""
        with self.folder() as folder:
            keys = f"{folder}/keys.json"
            self.run("token", "keys", "generate", "-o", keys)
            pathlib.Path(folder, "empty.toml").touch()
            command = [
                self.chatctl, "serve", "-c", f"{folder}/empty.toml", "--keys", keys, "--listen", "127.0.0.1:0",
                "--admin-socket", f"{folder}/admin.sock", "--data-dir", str(store or f"{folder}/store"), *BUDGETS,
                "--log-format", "json", "--log-level", "warn,chatctl_relay::server=info", "--end-with-stdin",
            ]
            began = time.monotonic()
            with open(f"{folder}/log", "w+b") as log:
                child = subprocess.Popen(self.on(self.server_core, command), env=self.environment,
                                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
                try:
                    address = listening(child, f"{folder}/log", began)
                    took = time.monotonic() - began
                    yield Server(f"http://{address}", child.pid, ("--keys", keys), took)
                finally:
                    end(child)

    @contextlib.contextmanager
    def child(self, command):
        """A program that says where it listens in its first line."""
        child = subprocess.Popen(self.on(self.server_core, command), env=self.environment, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            url = child.stdout.readline().strip()
            if not url.startswith("ws://"):
                end(child)
                said = child.stderr.read().strip().splitlines()
                raise Missing(f"{' '.join(pathlib.Path(word).name for word in command)}: {said[0] if said else 'it ends'}")
            yield Server(url, child.pid)
        finally:
            end(child)

    @contextlib.contextmanager
    def peer(self, name):
        """A server of scripts/peers, apart from those that somebody else started with it."""
        program = name.split("-")[0].replace("jetstream", "nats")
        environment = {**os.environ, "CARGO_TARGET_DIR": str(self.peers_folder())}
        command = [str(ROOT / "scripts/peers"), "env", program]
        try:
            said = subprocess.run(self.on(self.server_core, command), env=environment, capture_output=True, text=True)
            if said.returncode != 0:
                lines = [line for line in said.stderr.splitlines() if line.strip()]
                raise Missing(lines[-1] if lines else f"scripts/peers env {program} failed")
            found = dict(re.findall(r"(CHATCTL_TEST_\w+)=(\S+)", said.stdout))
            word = {"nats": "NATS_WEB", "mosquitto": "MQTT_WEB"}.get(program, program.upper())
            pid = int(found[f"CHATCTL_TEST_{program.upper()}_PID"])
            yield Server(found[f"CHATCTL_TEST_{word}"], pid)
        finally:
            subprocess.run([command[0], "down", program], env=environment, capture_output=True, check=False)

    def peers_folder(self):
        return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "compare"

    def bench(self, words, server, patience):
        """Measures, and gives the report; None with what was said when there is none."""
        command = [self.chatctl, "bench", *words, "--url", server.url, *server.arguments,
                   "--server-pid", str(server.pid), "--json", "--allow-invalid"]
        try:
            done = subprocess.run(self.on(self.bench_core, command), env=self.environment, capture_output=True,
                                  text=True, timeout=patience)
        except subprocess.TimeoutExpired:
            return None, f"no end after {patience} s"
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        try:
            return json.loads(done.stdout), " ".join(lines[-1:])
        except json.JSONDecodeError:
            return None, complaint(lines) or f"exit {done.returncode}"


def complaint(lines):
    """What a bench said of why there is no report."""
    with contextlib.suppress(json.JSONDecodeError, IndexError, KeyError):
        error = json.loads(lines[-1])["error"]
        return ": ".join([error["message"], *error.get("causes", [])])
    return " ".join(lines[-3:])


def listening(child, log, began):
    """Waits for the line of the relay's log that says where it is."""
    while time.monotonic() - began < START_SECONDS:
        for line in pathlib.Path(log).read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                fields = json.loads(line).get("fields", {})
                if fields.get("message") == "listening":
                    return fields["addr"]
        if child.poll() is not None:
            break
        time.sleep(0.002)
    raise Missing(f"the relay does not start: {pathlib.Path(log).read_text(errors='replace')[-500:]}")


def end(child):
    """In order if it ends in time."""
    child.terminate()
    if child.stdin:
        child.stdin.close()
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def node_folder():
    """Where the relay of Node and its libraries are; installed once, as the lock says."""
    if not (shutil.which("node") and shutil.which("npm")):
        raise Missing("there is no Node with npm here")
    cache = pathlib.Path(os.environ["CHATCTL_CACHE"])
    folder = cache / "tools" / "compare-node"
    lock = HERE / "package-lock.json"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "installed-lock.json"
    if not kept.exists() or kept.read_bytes() != lock.read_bytes():
        shutil.copy(HERE / "package.json", folder)
        shutil.copy(lock, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(cache / "npm")]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"npm ci failed: {done.stderr.strip().splitlines()[-1:]}")
        shutil.copy(lock, kept)
    shutil.copy(HERE / "relay.mjs", folder)
    return folder
