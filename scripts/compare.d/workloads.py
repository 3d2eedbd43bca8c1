"""What is measured, and who can do it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Arguments of `chatctl bench`."""

    letter: str
    title: str
    line: str
    # A closed load: its messages are over when the server says OK, where its OK means something.
    is_closed: bool = False
    # Whether it lasts as long as it is told to.
    is_timed: bool = True
    # What a run of a few seconds does instead.
    quick: str = ""


@dataclass(frozen=True)
class Peer:
    """A server, and the workloads that it takes part in."""

    name: str
    title: str
    letters: str
    # Of `chatctl bench`.
    target: str
    # Whether it says of a message that it has it, and what that means is more than "written".
    says_ok: bool
    # What it promises of a message when it says OK.
    promise: str
    # Few seconds are enough: it would take a minute to empty what a longer run fills.
    is_slow: bool = False


WORKLOADS = {
    workload.letter: workload
    for workload in (
        Workload("A", "100 pairs, 32 messages of each sender under way", "pairs --clients 200 --rate max --in-flight 32",
                 is_closed=True, quick="pairs --clients 8 --rate max --in-flight 32"),
        Workload("B", "ping-pong of 50 pairs", "pairs --clients 100 --in-flight 1 --until delivered",
                 quick="pairs --clients 8 --in-flight 1 --until delivered"),
        Workload("C", "20,000 messages per second over 500 pairs", "pairs --clients 1000 --rate 20k/s",
                 quick="pairs --clients 20 --rate 500/s"),
        Workload("D", "10,000 connections that say nothing", "idle --clients 10000 --connect-timeout 3m",
                 quick="idle --clients 20"),
        Workload("E", "one sender to 1,000 recipients, 20 times per second",
                 "fanout --clients 1001 --recipients 1000 --rate 20/s", quick="fanout --clients 11 --recipients 10 --rate 20/s"),
        Workload("F", "200,000 messages to 1,000 devices that are away, then all come",
                 "offline --clients 2000 --each 200 --in-flight 128", is_timed=False,
                 quick="offline --clients 8 --each 50 --in-flight 16"),
    )
}

PEERS = {
    peer.name: peer
    for peer in (
        Peer("chatctl", "chatctl", "ABCDEF", "--target chatctl", True, "acked by the recipient, or synced to the disk"),
        Peer("bare", "bare relay", "ABCDE", "--target ws-echo", False, "nothing"),
        Peer("frames", "bare relay, with OK and ack", "ABCDE", "--target ws-frames", True, "nothing"),
        Peer("nats", "NATS core", "ABCDE", "--target nats --peer-mode core", False, "nothing"),
        Peer("jetstream", "NATS JetStream", "ABF", "--target nats --peer-mode jetstream", True,
             "in a file, synced every two minutes"),
        Peer("mosquitto-qos0", "Mosquitto QoS 0", "ABCDE", "--target mqtt --peer-mode qos0", False, "nothing"),
        Peer("mosquitto-qos1", "Mosquitto QoS 1", "ABCEF", "--target mqtt --peer-mode qos1", True,
             "in memory, written every half an hour"),
        Peer("ws", "Node, ws", "ABCDE", "--target ws-echo", False, "nothing"),
        Peer("websocket", "Node, websocket", "ABCDE", "--target ws-echo", False, "nothing"),
        Peer("prosody", "Prosody", "AB", "--target xmpp", True, "handled, not on the disk yet", is_slow=True),
        Peer("ejabberd", "ejabberd", "AB", "--target xmpp", True, "handled, not on the disk yet", is_slow=True),
    )
}

# What others are told as multiples of.
FLOOR = "bare"


def line(workload, peer, seconds, quick=False):
    """The arguments of `chatctl bench` for a peer, but for where it is."""
    words = (workload.quick if quick else workload.line).split() + ["--crypto", "none"] + peer.target.split()
    if workload.is_timed:
        warmup = 2 if workload.letter != "D" and not quick else 0
        words += ["--duration", f"{seconds}s", "--warmup", f"{warmup}s"]
    if workload.is_closed:
        words += ["--until", "ok" if peer.says_ok else "delivered"]
    return words
