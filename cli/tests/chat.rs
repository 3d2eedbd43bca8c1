//! `chatctl chat`, as the built binary: people who write to each other through a real relay.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a story that goes wrong ends there"
)]

#[path = "seed_demo/desk.rs"]
#[expect(dead_code, reason = "the module is shared with `seed_demo`")]
mod desk;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use chatctl_client::{Http, Token};
use chatctl_loadgen::crypto::meet;
use chatctl_loadgen::plan::{Account, Client, Plan, Sender};
use chatctl_protocol::{AccountId, DeviceId};
use serde_json::Value;

use desk::{Desk, Relay};

/// Somebody at a terminal that a program reads.
struct Person {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
}

impl Person {
    fn sit_down(desk: &Desk, relay: &Relay, (who, device, to): (&str, &str, &str)) -> Self {
        let token = format!("{who}.{device}.token");
        if !desk.path(&token).exists() {
            desk.ok(&format!(
                "token issue --keys keys.json --sub {who} --dev {device} -o {token}"
            ));
        }
        let line = format!(
            "chat --url {} --as {who} --device {device} --to {to} --token-file {token} --state {who} --json --follow",
            relay.url()
        );
        Self::start(desk, &line)
    }

    fn start(desk: &Desk, line: &str) -> Self {
        let mut child = command(desk, line).stdin(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = sync_channel(1024);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let line = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take();
        let person = Self { child, stdin, lines };
        person.until("connected");
        person
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The next line that tells of this.
    fn until(&self, event: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {event}"));
            assert_eq!(line["schema"], "chatctl.chat/v1");
            if line["event"] == event {
                return line;
            }
        }
    }

    /// The next message: who wrote it, what is known about them, and the words.
    fn reads(&self) -> [String; 3] {
        let line = self.until("message");
        ["account", "identity", "text"].map(|field| line[field].as_str().unwrap().to_owned())
    }

    fn leaves(mut self) -> i32 {
        self.say("/quit");
        self.ends()
    }

    fn ends(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(desk: &Desk, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatctl"));
    command
        .args(line.split_whitespace())
        .current_dir(desk.path(""))
        .env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn open() -> (Desk, Relay) {
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json");
    desk.ok("seed apply --data-dir data");
    let relay = desk.serve("serve --data-dir data --keys keys.json --listen 127.0.0.1:0");
    (desk, relay)
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn two_people_write_to_each_other_and_a_restart_keeps_the_session() {
    let (desk, relay) = open();
    let mut alice = Person::sit_down(&desk, &relay, ("alice", "1", "bob"));
    let mut bob = Person::sit_down(&desk, &relay, ("bob", "1", "alice"));
    alice.say("hello");
    assert_eq!(bob.reads(), ["alice", "new", "hello"]);
    alice.until("accepted");
    bob.say("//hi");
    assert_eq!(alice.reads(), ["bob", "unverified", "/hi"]);
    assert_eq!(alice.leaves(), 0);
    bob.say("are you there?");
    bob.until("accepted");
    let mut alice = Person::sit_down(&desk, &relay, ("alice", "1", "bob"));
    assert_eq!(alice.reads(), ["bob", "unverified", "are you there?"]);
    alice.say("again");
    assert_eq!(bob.reads(), ["alice", "unverified", "again"]);
    let mode = |name: &str| desk.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("alice"), mode("alice/alice.1.vault")), (0o700, 0o600));
    // The digits are the same for both.
    alice.say("/verify");
    bob.say("/verify");
    let [theirs, ours] = [&alice, &bob].map(|one| one.until("device")["safety_number"].clone());
    assert_eq!(theirs, ours);
    alice.say(&format!("/verify 1 {}", ours.as_str().unwrap()));
    assert_eq!(alice.until("device")["identity"], "verified");
    bob.say("now you know");
    assert_eq!(alice.reads(), ["bob", "verified", "now you know"]);
}

#[test]
fn every_device_of_an_account_reads_along_as_soon_as_it_is_there() {
    let (desk, relay) = open();
    let mut alice = Person::sit_down(&desk, &relay, ("alice", "1", "bob"));
    let phone = Person::sit_down(&desk, &relay, ("bob", "1", "alice"));
    alice.say("one");
    assert_eq!(phone.reads(), ["alice", "new", "one"]);
    let laptop = Person::sit_down(&desk, &relay, ("bob", "2", "alice"));
    alice.say("two");
    assert_eq!(phone.reads(), ["alice", "unverified", "two"]);
    assert_eq!(laptop.reads(), ["alice", "new", "two"]);
}

#[test]
fn a_swapped_identity_is_told_and_its_words_wait_until_it_is_accepted() {
    let (desk, relay) = open();
    let mut alice = Person::sit_down(&desk, &relay, ("alice", "1", "bob"));
    let bob = Person::sit_down(&desk, &relay, ("bob", "1", "alice"));
    alice.say("hello");
    assert_eq!(bob.reads(), ["alice", "new", "hello"]);
    assert_eq!(bob.leaves(), 0);
    std::fs::remove_dir_all(desk.path("bob")).unwrap();
    let mut other = Person::sit_down(&desk, &relay, ("bob", "1", "alice"));
    alice.say("is it you?");
    assert_eq!(alice.until("identity_changed")["account"], "bob");
    other.say("it is me");
    other.until("accepted");
    assert_eq!(alice.until("identity_changed")["device_id"], "1");
    alice.say("/accept 1");
    assert_eq!(alice.reads(), ["bob", "changed", "it is me"]);
    alice.say("fine");
    // Known since it wrote to her.
    assert_eq!(other.reads(), ["alice", "unverified", "fine"]);
    // What was not sent is told at the end.
    assert_eq!(alice.leaves(), 75);
}

#[test]
fn a_piped_chat_says_everything_and_shows_nothing_that_a_terminal_obeys() {
    let (desk, relay) = open();
    let bob = Person::sit_down(&desk, &relay, ("bob", "1", "alice"));
    assert_eq!(bob.leaves(), 0);
    let mut alice = Person::sit_down(&desk, &relay, ("alice", "1", "bob"));
    alice.say("\u{1b}[2Jboo");
    alice.until("accepted");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&alice.child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert_eq!(alice.ends(), 130);
    let line = format!(
        "chat --url {} --as bob --to alice --token-file bob.1.token --state bob",
        relay.url()
    );
    let mut bob = command(&desk, &line).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(bob.stdout.take().unwrap());
    let mut shown = String::new();
    stdout.read_line(&mut shown).unwrap();
    assert!(shown.ends_with("Z alice/1 (new): \u{fffd}[2Jboo\n"), "{shown}");
    bob.stdin.take().unwrap().write_all(b"ouch\n").unwrap();
    assert_eq!(bob.wait().unwrap().code(), Some(0), "at the end of stdin");
    let alice = Person::sit_down(&desk, &relay, ("alice", "1", "bob"));
    assert_eq!(alice.reads(), ["bob", "unverified", "ouch"]);
    // Whoever else has the directory must not turn the same ratchets.
    let line = format!(
        "chat --url {} --as alice --to bob --token-file alice.1.token --state alice",
        relay.url()
    );
    assert_eq!(desk.fails(&line).0, 75);
    let line = format!(
        "chat --url {} --as eve --to bob --token-file alice.1.token --state eve",
        relay.url()
    );
    let (code, error) = desk.fails(&line);
    assert_eq!(code, 65, "{error}");
    assert!(!desk.path("eve").exists());
}

#[test]
fn a_device_of_the_demo_is_played_with_its_state_file() {
    let desk = Desk::new();
    desk.ok("token keys generate -o keys.json");
    desk.ok("seed apply --data-dir data");
    let report = desk.json(
        "seed demo --data-dir data --users 2 --devices 1 --conversations 3 --state-dir state --keys keys.json --token-ttl 1h",
    );
    let names: Vec<&str> = report["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["account"].as_str().unwrap())
        .collect();
    let device = report["list"][0]["device"].as_str().unwrap();
    let relay = desk.serve("serve --data-dir data --keys keys.json --listen 127.0.0.1:0");
    let sit_down = |who: &str, to: &str| {
        let line = format!(
            "chat --url {} --as {who} --device {device} --to {to} --from-demo state --json --follow",
            relay.url()
        );
        Person::start(&desk, &line)
    };
    let mut people = [sit_down(names[0], names[1]), sit_down(names[1], names[0])];
    people[0].say("played");
    people[1].say("as well");
    // After what the demo has put there.
    let finds = |person: &Person, words: &str| while person.reads()[2] != words {};
    finds(&people[1], "played");
    finds(&people[0], "as well");
}

#[tokio::test]
async fn simulated_clients_come_to_have_sessions_through_the_directory() {
    let (desk, relay) = open();
    let http = Http::new(&relay.url()).unwrap();
    let mut directories = Vec::new();
    let name = |number: u32| format!("load{number}");
    for number in 0..3 {
        let token = desk.ok(&format!(
            "token issue --keys keys.json --sub {} --dev 1",
            name(number)
        ));
        let directory = http.directory(Token::new(token.trim()));
        directory
            .register(&DeviceId::parse("1").unwrap(), 7)
            .await
            .unwrap();
        directories.push(directory);
    }
    let sender = |client: u32, to: &[u32]| Sender {
        client,
        to: to.to_vec(),
        first_stream: 0,
    };
    let plan = Plan {
        clients: (0..3)
            .map(|account| Client {
                account,
                device_id: DeviceId::parse("1").unwrap(),
                registration_id: 7,
            })
            .collect(),
        accounts: (0..3)
            .map(|number| Account {
                name: AccountId::parse(&name(number)).unwrap(),
                devices: number..number + 1,
            })
            .collect(),
        // Two who write to each other, and a third who writes to both.
        senders: vec![sender(0, &[1]), sender(1, &[0]), sender(2, &[0, 1])],
        first: 0,
        group: 3,
    };
    let mut rings = meet(&plan, &directories, 2).await.unwrap();
    for (from, to) in [(0, 1), (1, 0), (2, 0), (2, 1)] {
        let (kind, body) = rings[from as usize].encrypt(to, 5, 6, 256).unwrap();
        assert_eq!(kind, 1, "they have met");
        assert_eq!(rings[to as usize].decrypt(from, (5, 6), kind, &body), Ok(()));
    }
}
