"""A machine with a systemd of its own, and what happens on it.

Owns the boot (scripts/systemd), how commands run there, and the programs that stay while a story is told: a crowd of
devices, and somebody who knocks at the door all the time. Knows nothing of what is promised.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HARNESS = ROOT / "scripts" / "systemd"
ADDRESS = "127.0.0.1:8480"


class Machine:
    """Booted when it is entered, gone when it is left. `folder` is /host inside."""

    def __init__(self, folder, files):
        self.folder = pathlib.Path(folder)
        self.files = files

    def __enter__(self):
        subprocess.run([HARNESS, "start", self.folder], check=True, stdout=subprocess.DEVNULL, timeout=60)
        for name, path in self.files.items():
            try:
                (self.folder / name).hardlink_to(path)
            except OSError:
                shutil.copy(path, self.folder / name)
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print("--- the journal of a story that failed", file=sys.stderr)
            print(self.run("journalctl", "--no-pager", "-n", "200", check=False), file=sys.stderr)
        subprocess.run([HARNESS, "stop", self.folder], check=True, timeout=60)

    def command(self, *words):
        return [HARNESS, "exec", self.folder, *words]

    def run(self, *words, check=True, timeout=120, text=None):
        """What a command says, stdout and stderr together."""
        done = subprocess.run(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, input=text
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def code(self, *words, timeout=120):
        """How a command ends."""
        return subprocess.run(self.command(*words), capture_output=True, timeout=timeout).returncode

    def sh(self, script, **how):
        return self.run("bash", "-euc", script, **how)

    def write(self, path, text, mode="0644", owner="root:root"):
        self.sh(f"mkdir -p $(dirname {path}); umask 077; cat >{path}.new; chown {owner} {path}.new; "
                f"chmod {mode} {path}.new; mv {path}.new {path}", text=text)

    def show(self, what, unit="chatctl.service"):
        return self.run("systemctl", "show", "--value", "-p", what, unit).strip()

    def journal(self, unit="chatctl.service"):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)

    def get(self, path, token=None):
        """Status and body of a request to the relay."""
        script = (
            "import json,sys,urllib.request,urllib.error\n"
            "path, token = json.load(sys.stdin)\n"
            f"request = urllib.request.Request('http://{ADDRESS}' + path)\n"
            "if token: request.add_header('authorization', 'Bearer ' + token)\n"
            "try:\n    with urllib.request.urlopen(request, timeout=10) as answer: print(json.dumps([answer.status, answer.read().decode()]))\n"
            "except urllib.error.HTTPError as answer: print(json.dumps([answer.code, answer.read().decode()]))\n"
            "except OSError as error: print(json.dumps([0, str(error)]))\n"
        )
        return tuple(json.loads(self.run("/usr/bin/python3", "-c", script, text=json.dumps([path, token]))))

    def install(self):
        """From files, as somebody does who builds from source."""
        self.sh(
            "install -m755 /host/chatctl /usr/bin/chatctl\n"
            "cd /host && cp chatctl.service chatctl.socket chatctl-job@.service chatctl-job@.timer /usr/lib/systemd/system/\n"
            "install -D -m644 chatctl.sysusers /usr/lib/sysusers.d/chatctl.conf\n"
            "install -D -m644 chatctl.tmpfiles /usr/lib/tmpfiles.d/chatctl.conf\n"
            "install -D -m640 chatctl.toml /etc/chatctl/chatctl.toml\n"
            "systemd-sysusers chatctl.conf; systemd-tmpfiles --create chatctl.conf\n"
            "umask 077; chatctl token keys generate --quiet -o /etc/chatctl/keys.json\n"
            "chown chatctl:chatctl /etc/chatctl/keys.json; systemctl daemon-reload"
        )

    def drop_in(self, text):
        self.write("/etc/systemd/system/chatctl.service.d/story.conf", text)
        self.run("systemctl", "daemon-reload")

    def token(self, *words):
        return self.run("chatctl", "token", "issue", "--quiet", "--keys", "/etc/chatctl/keys.json", *words).strip()


def until(what, seconds, true):
    """Waits until something is true, and says what it was when it does not become so."""
    end = time.monotonic() + seconds
    while not (answer := true()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)
    return answer


class Crowd:
    """Devices that write to each other in a ring until they are told to come to an end."""

    def __init__(self, machine, devices, pause_ms):
        command = machine.command(
            "bash", "-c", 'ulimit -n 10000; exec "$@"', "-", "/host/crowd", f"http://{ADDRESS}", "/etc/chatctl/keys.json",
            str(devices), str(pause_ms),
        )
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        assert said == "ready\n", f"the crowd said {said!r}"

    def end(self, seconds=120):
        """What happened to them."""
        said, _ = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, f"the crowd ended with {self.process.returncode}"
        return json.loads(said)


class Knocker:
    """Connects all the time, and counts who was refused."""

    SCRIPT = (
        "import socket,select,sys,json\n"
        "count = refused = 0\n"
        "while not select.select([sys.stdin], [], [], 0.005)[0]:\n"
        "    try:\n        socket.create_connection(('127.0.0.1', 8480), 5).close(); count += 1\n"
        "    except OSError: refused += 1\n"
        "print(json.dumps([count, refused]))\n"
    )

    def __init__(self, machine):
        command = machine.command("/usr/bin/python3", "-c", self.SCRIPT)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self):
        """How many were let in, and how many were not."""
        said, _ = self.process.communicate(timeout=30)
        return tuple(json.loads(said))
