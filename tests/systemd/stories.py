"""Stories of the shipped units on a real systemd: stories.py BINARY CROWD [NAME...]

Each has a machine of its own, which boots in a second. As root; scripts/test calls it (step systemd).
"""

import json
import pathlib
import sys
import tempfile
import time

from machine import ROOT, Crowd, Knocker, Machine, until

UNITS = ROOT / "systemd"


def is_active(machine):
    return machine.show("ActiveState") == "active"


def start(machine, *units):
    machine.install()
    machine.run("systemctl", "enable", "--now", *(units or ("chatctl.service",)))
    assert is_active(machine)


def lost_nothing(seen, devices):
    """What was accepted arrived, once and in order."""
    short = {what: value for what, value in seen.items() if not isinstance(value, list)}
    assert seen["devices_with_everything"] == devices, short
    assert seen["accepted"] == seen["received"] > 0, short
    assert (seen["out_of_order"], seen["gaps"], seen["errors"]) == (0, 0, {}), short


def installed_from_files_it_is_enabled_and_says_how_it_is(machine):
    start(machine, "chatctl.socket", "chatctl.service")
    assert machine.get("/readyz")[0] == 200
    status = machine.run("systemctl", "status", "--no-pager", "chatctl.service")
    assert 'Status: "' in status and machine.show("StatusText"), status
    assert machine.show("Listen", "chatctl.socket") == "127.0.0.1:8480 (Stream)"
    # As the user of the package, within the sandbox, with its state where only it comes.
    main = machine.show("MainPID")
    assert machine.run("ps", "-o", "user=", "-p", main).strip() == "chatctl"
    assert machine.run("stat", "-L", "-c", "%U %a", "/var/lib/chatctl").strip() == "chatctl 700"
    assert machine.run("readlink", "/var/lib/chatctl").strip() == "private/chatctl"
    machine.run("systemd-analyze", "security", "--threshold=15", "chatctl.service")
    machine.run("systemctl", "stop", "chatctl.socket", "chatctl.service")
    assert (machine.show("Result"), machine.show("ExecMainStatus")) == ("success", "0")


def an_upgrade_with_the_socket_refuses_nobody_and_loses_nothing(machine):
    start(machine, "chatctl.socket", "chatctl.service")
    knocker, crowd = Knocker(machine), Crowd(machine, 2, 20)
    before = machine.show("MainPID")
    # As a package manager does it: another file under the name, then a restart.
    machine.sh("cp /usr/bin/chatctl /usr/bin/chatctl.new; mv /usr/bin/chatctl.new /usr/bin/chatctl")
    machine.run("systemctl", "restart", "chatctl.service")
    assert is_active(machine) and machine.show("MainPID") != before
    seen, (knocks, refused) = crowd.end(), knocker.end()
    lost_nothing(seen, 2)
    assert seen["most_sessions_of_a_device"] == 2, seen
    assert seen["ends"] == {"Closed(1012)": 2}, seen
    assert refused == 0 and knocks > 100, (knocks, refused)


def two_thousand_are_asked_to_leave_one_by_one_come_back_and_lose_nothing(machine):
    start(machine, "chatctl.socket", "chatctl.service")
    crowd = Crowd(machine, MANY, 5000)
    machine.run("systemctl", "restart", "chatctl.service")
    assert is_active(machine)
    seen = crowd.end(180)
    lost_nothing(seen, MANY)
    goodbyes = seen["goodbyes"]
    assert [goodbye["code"] for goodbye in goodbyes] == [1012] * MANY
    # Over the five seconds of server.drain_window: in none of them are more than twice their share.
    first = min(goodbye["at_ms"] for goodbye in goodbyes)
    seconds = [(goodbye["at_ms"] - first) // 1000 for goodbye in goodbyes]
    shares = [seconds.count(second) / MANY for second in range(max(seconds) + 1)]
    assert len(shares) >= 5 and max(shares) < 0.4, shares
    # And they are told to come back at different times.
    assert len({goodbye["retry_after_ms"] // 100 for goodbye in goodbyes}) > 20
    assert len(seen["back_at_ms"]) == MANY, len(seen["back_at_ms"])
    spread = max(seen["back_at_ms"]) - min(seen["back_at_ms"])
    assert seen["ends"] == {"Closed(1012)": MANY}, seen["ends"]
    print(f"    {MANY} left in shares of {[round(share, 2) for share in shares]} a second, were back within {spread} ms of each other")


def a_relay_that_hangs_is_started_again(machine):
    machine.install()
    # The unit's own 30 s are too long to wait for.
    machine.drop_in("[Service]\nWatchdogSec=2s\nRestartSec=1s\n")
    machine.run("systemctl", "start", "chatctl.service")
    crowd = Crowd(machine, 2, 50)
    machine.run("kill", "-STOP", machine.show("MainPID"))
    until("it is started again", 30, lambda: machine.show("NRestarts") == "1" and is_active(machine))
    assert "Watchdog timeout" in machine.run("journalctl", "--no-pager", "-o", "cat", "-b")
    lost_nothing(crowd.end(), 2)


def a_bad_configuration_is_named_and_not_tried_again(machine):
    machine.install()
    machine.sh("sed -i 's/^\\[server\\]/&\\nlisten = \"nowhere\"/' /etc/chatctl/chatctl.toml")
    assert machine.code("systemctl", "start", "chatctl.service") != 0
    # Whoever waits for the next try is `activating (auto-restart)`.
    shown = [machine.show(what) for what in ("ActiveState", "SubState", "NRestarts", "ExecMainStatus")]
    assert shown == ["failed", "failed", "0", "78"], shown
    status = machine.run("systemctl", "status", "--no-pager", "chatctl.service", check=False)
    assert "status=78/CONFIG" in status and "server.listen" in machine.journal(), status
    # Behind an enabled socket everybody who knocks is a try; they end soon.
    machine.run("systemctl", "reset-failed", "chatctl.service")
    machine.run("systemctl", "start", "chatctl.socket")
    for _ in range(20):
        machine.get("/readyz")
    until("the socket gives up", 30, lambda: machine.show("ActiveState", "chatctl.socket") == "failed")
    assert machine.journal().count("status=78/CONFIG") <= 7


def a_reload_follows_what_is_good_and_refuses_what_is_not(machine):
    start(machine)
    token = machine.token("--sub", "alice", "--device", "1")
    admits = lambda: machine.get("/v1/limits")[0] == 200 and machine.get("/v1/messages", token)[0] != 401
    assert admits()
    machine.sh("cp -p /etc/chatctl/chatctl.toml /host/good; sed -i 's/^\\[auth\\]/&\\nissuer = \"another\"\\nisuer = 1/' /etc/chatctl/chatctl.toml")
    assert machine.code("systemctl", "reload", "chatctl.service") != 0
    assert is_active(machine) and admits(), "the old configuration is served still"
    machine.sh("sed -i '/^isuer/d' /etc/chatctl/chatctl.toml")
    machine.run("systemctl", "reload", "chatctl.service")
    assert machine.get("/v1/messages", token)[0] == 401, "the new issuer counts"
    machine.sh("cp -p /host/good /etc/chatctl/chatctl.toml")
    machine.run("systemctl", "reload", "chatctl.service")
    assert admits()
    # Root rotates; the relay, which is not root, follows.
    kids = lambda: [key["kid"] for key in json.loads(machine.get("/.well-known/jwks.json")[1])["keys"]]
    old = kids()
    machine.run("chatctl", "token", "keys", "rotate", "--keys", "/etc/chatctl/keys.json", "--phase", "publish")
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/chatctl/keys.json").strip() == "chatctl:chatctl 600"
    machine.run("systemctl", "reload", "chatctl.service")
    assert len(kids()) == len(old) + 1 and set(old) < set(kids()), kids()


def credentials_arrive_and_are_told_to_nobody(machine):
    machine.install()
    machine.sh(
        "mkdir -p -m 700 /etc/credstore; umask 077\n"
        "chatctl token keys generate --quiet -o /etc/credstore/chatctl.jwt-keys\n"
        "rm /etc/chatctl/keys.json; sed -i 's/^keys = /#&/' /etc/chatctl/chatctl.toml\n"
        "systemctl start chatctl.service"
    )
    kids = {key["kid"] for key in json.loads(machine.get("/.well-known/jwks.json")[1])["keys"]}
    keyset = machine.run("cat", "/etc/credstore/chatctl.jwt-keys")
    assert kids and all(kid in keyset for kid in kids), kids
    # A database that nobody answers for: tried again, without a word of the password.
    machine.run("systemctl", "stop", "chatctl.service")
    machine.write("/etc/credstore/chatctl.store-uri", "mongodb://chatctl:c4nary-p4ss@127.0.0.1:1/chat", "0600")
    machine.sh("sed -i 's/^data_dir = /#&/' /etc/chatctl/chatctl.toml")
    machine.drop_in("[Service]\nRestartSec=1s\nEnvironment=CHATCTL_STORE__TIMEOUT=1s\n")
    assert machine.code("systemctl", "start", "chatctl.service") != 0
    until("it is tried again", 60, lambda: int(machine.show("NRestarts")) >= 1)
    assert "69" in machine.journal()
    told = machine.run("journalctl", "--no-pager", "-o", "verbose") + machine.run("systemctl", "show", "chatctl.service")
    assert "c4nary-p4ss" not in told


def a_job_from_outside_takes_nothing_from_the_relay(machine):
    start(machine)
    machine.run("systemctl", "start", "chatctl-job@expire-mail.service")
    assert machine.show("Result", "chatctl-job@expire-mail.service") == "success"
    machine.run("systemctl", "enable", "--now", "chatctl-job@expire-mail.timer")
    # What the command writes works the same way, and its names go before the templates.
    machine.sh("chatctl jobs units trim-history --dir /etc/systemd/system; systemctl daemon-reload")
    machine.run("systemctl", "start", "chatctl-job-trim-history.service")
    assert machine.run("readlink", "/var/lib/chatctl").strip() == "private/chatctl"
    assert is_active(machine) and machine.get("/readyz")[0] == 200
    machine.run("systemctl", "restart", "chatctl.service")
    assert machine.get("/readyz")[0] == 200


STORIES = [
    installed_from_files_it_is_enabled_and_says_how_it_is,
    an_upgrade_with_the_socket_refuses_nobody_and_loses_nothing,
    two_thousand_are_asked_to_leave_one_by_one_come_back_and_lose_nothing,
    a_relay_that_hangs_is_started_again,
    a_bad_configuration_is_named_and_not_tried_again,
    a_reload_follows_what_is_good_and_refuses_what_is_not,
    credentials_arrive_and_are_told_to_nobody,
    a_job_from_outside_takes_nothing_from_the_relay,
]

MANY = 2000


def main(binary, crowd, *names):
    files = {path.name: path for path in UNITS.iterdir()}
    files |= {"chatctl": pathlib.Path(binary), "crowd": pathlib.Path(crowd)}
    chosen = [story for story in STORIES if not names or story.__name__ in names]
    for story in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder, Machine(f"{folder}/machine", files) as machine:
            story(machine)
        print(f"ok {story.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{len(chosen)} passed, 0 failed")


main(*sys.argv[1:])
