"""Stories of the packages on a machine of their own: packages.py DEB RPM CROWD

As root; scripts/test calls it (step package).
"""

import pathlib
import shutil
import sys
import tempfile

from machine import Crowd, Machine

LINE = "systemctl enable --now chatctl"


def files(machine):
    """Everything that an administrator could stumble over, without what package managers write about themselves."""
    found = machine.sh(
        "find /etc /usr /var /opt /srv /lib/systemd -xdev \\( -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /var/log "
        "-o -path '/var/cache' -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/tmp \\) -prune -o -print"
    )
    # The user stays; tools keep the last version of its files.
    users = {f"/etc/{name}{dash}" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid") for dash in ("", "-")}
    return set(found.splitlines()) - users - {"/etc/.pwd.lock"}


def enabled(machine):
    return machine.run("systemctl", "is-enabled", "chatctl.service", check=False).strip()


def serves(machine):
    """Whether it runs, and lets somebody in who has a token of its keyset."""
    machine.run("systemctl", "is-active", "chatctl.service")
    assert machine.get("/readyz")[0] == 200
    assert machine.get("/v1/messages")[0] == 401
    assert machine.get("/v1/messages", machine.token("--sub", "alice", "--device", "1"))[0] != 401


def the_deb_installs_upgrades_removes_and_purges(machine):
    # Images of containers forbid packages to touch services; this is a whole machine.
    machine.sh("rm -f /usr/sbin/policy-rc.d")
    before = files(machine)
    install = ("bash", "-euc", "export DEBIAN_FRONTEND=noninteractive; dpkg -i /host/chatctl.deb")
    machine.run(*install)
    assert (enabled(machine), machine.show("ActiveState")) == ("disabled", "inactive")
    modes = machine.run("stat", "-c", "%n %U:%G %a", "/etc/chatctl", "/etc/chatctl/chatctl.toml", "/etc/chatctl/keys.json")
    assert modes.splitlines() == [
        "/etc/chatctl root:chatctl 750",
        "/etc/chatctl/chatctl.toml root:chatctl 640",
        "/etc/chatctl/keys.json chatctl:chatctl 600",
    ], modes
    machine.sh(LINE)
    serves(machine)

    # The same again is what an upgrade is to the scripts. What the administrator wrote stays, and so do the keys.
    machine.sh("echo '# mine' >>/etc/chatctl/chatctl.toml")
    kept = machine.sh("sha256sum /etc/chatctl/*")
    crowd, pid = Crowd(machine, 3, 50), machine.show("MainPID")
    machine.run(*install)
    serves(machine)
    assert machine.show("MainPID") != pid and enabled(machine) == "enabled"
    assert machine.sh("sha256sum /etc/chatctl/*") == kept
    seen = crowd.end()
    assert seen["devices_with_everything"] == 3 and seen["accepted"] == seen["received"] > 0, seen

    machine.run("dpkg", "-r", "chatctl")
    assert machine.run("systemctl", "is-active", "chatctl.service", check=False).strip() == "inactive"
    assert machine.code("test", "-e", "/usr/bin/chatctl") == 1
    machine.sh("test -e /var/lib/chatctl/chatctl.sqlite")
    assert machine.sh("sha256sum /etc/chatctl/*") == kept
    # And back, as if nothing had been: keys, mail, and what was enabled.
    machine.run(*install)
    assert enabled(machine) == "enabled"
    machine.sh("systemctl start chatctl")
    serves(machine)
    assert machine.sh("sha256sum /etc/chatctl/*") == kept

    machine.run("dpkg", "-P", "chatctl")
    left = files(machine) - before
    assert not left, sorted(left)
    assert machine.code("pgrep", "-x", "chatctl") == 1


def the_rpm_installs_upgrades_and_removes(machine):
    before = files(machine)
    # This system's own packages are not in the database of rpm.
    rpm = lambda *words: machine.run("rpm", "--nodeps", "--force-debian", *words)
    rpm("-i", "/host/chatctl.rpm")
    assert machine.show("ActiveState") == "inactive"
    machine.sh(LINE)
    serves(machine)
    keys, pid = machine.sh("sha256sum /etc/chatctl/keys.json"), machine.show("MainPID")
    rpm("-U", "--replacepkgs", "/host/chatctl.rpm")
    serves(machine)
    assert machine.sh("sha256sum /etc/chatctl/keys.json") == keys
    rpm("-e", "chatctl")
    assert machine.run("systemctl", "is-active", "chatctl.service", check=False).strip() == "inactive"
    # Folders of other programs, which they own where rpm is at home, and what is in the relay's own.
    others = ("/usr/share/fish", "/usr/share/zsh", "/var/lib/private/chatctl/")
    left = {path for path in files(machine) - before if not path.startswith(others)}
    assert left == {"/etc/chatctl", "/etc/chatctl/keys.json", "/var/lib/chatctl", "/var/lib/private/chatctl"}, sorted(left)


def main(deb, rpm, crowd):
    stories = [the_deb_installs_upgrades_removes_and_purges]
    if shutil.which("rpm"):
        stories.append(the_rpm_installs_upgrades_and_removes)
    else:
        print("    there is no rpm here: its story is left out")
    there = {"chatctl.deb": pathlib.Path(deb), "chatctl.rpm": pathlib.Path(rpm), "crowd": pathlib.Path(crowd)}
    for story in stories:
        with tempfile.TemporaryDirectory() as folder, Machine(f"{folder}/machine", there) as machine:
            story(machine)
        print(f"ok {story.__name__}", flush=True)
    print(f"{len(stories)} passed, 0 failed")


main(*sys.argv[1:])
