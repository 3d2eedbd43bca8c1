//! What one message asks of the memory allocator, and of the processor, on its way through the relay: from the bytes of a
//! frame that came to the bytes of the frames that go, through two sessions and without a socket.
//!
//!     cargo bench --bench path                        prints a table
//!     cargo bench --bench path -- --most 12           fails where a message needs more than twelve allocations
//!
//! Every recipient is here and acks before the commit, so that the store is not asked. All of the process is counted: the
//! committer's task, and growing lists, are in what is told. Allocations are the same from run to run but for the last
//! ones; nanoseconds are not, and say only where the time goes. What mail costs over each store is `mail`'s.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement: it prints, and what is wrong should stop it"
)]

#[expect(dead_code, reason = "the stores on a disk are for the others")]
mod place;

use std::alloc::System;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chatctl_protocol::frame::{decode_proto, encode_proto};
use chatctl_protocol::spoken::read_proto;
use chatctl_protocol::v1::Mode;
use chatctl_protocol::v1::frame::Body;
use chatctl_protocol::{Address, v1};
use chatctl_relay::auth::{Keyset, Policy, Verifier};
use chatctl_relay::model::{Clock, Identity, Scopes, UnixMs};
use chatctl_relay::session::{Said, Session, Surroundings};
use chatctl_relay::store::model::Model;
use chatctl_relay::store::{Registered, Registration};
use chatctl_relay::switchboard::Switchboard;
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tokio::runtime::Builder;

use place::{PAYLOAD, address};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Count what a message allocates
#[derive(Debug, Parser)]
struct Options {
    /// Fail where a message needs more allocations than this, of all steps together and in windows of 32
    #[arg(long, value_name = "N")]
    most: Option<f64>,

    /// Rounds that are counted
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Cargo says it of every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// The steps of a message.
const STEPS: [&str; 4] = ["send", "deliver", "ack", "settle"];
/// Messages that are under way together.
const WINDOWS: [usize; 2] = [1, 32];
/// Rounds before it is counted: lists have grown, caches are warm.
const WARM_UP: u32 = 50;

/// What a step took.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    allocations: usize,
    bytes: usize,
    time: Duration,
}

impl Took {
    fn add(&mut self, stats: Stats, time: Duration) {
        self.allocations += stats.allocations + stats.reallocations;
        self.bytes += stats.bytes_allocated;
        self.time += time;
    }
}

/// Two devices that have sessions.
struct Pair {
    sender: Session,
    recipient: Session,
    to: Address,
    sent: u64,
    out: Vec<Said>,
}

impl Pair {
    async fn new() -> Self {
        let config = place::config();
        let parts = place::parts(Model::new(), &config).await;
        let keyset = Keyset::generate(&mut rand::rng(), UnixMs(0)).expect("keys");
        let policy = Policy::of(keyset, &config.auth).expect("a policy");
        let metrics = Arc::clone(&parts.metrics);
        let switchboard = Arc::new(Switchboard::new(parts, &config).await.expect("a switchboard"));
        let around = Surroundings {
            switchboard,
            verifier: Arc::new(Verifier::new(policy, metrics)),
            slow_consumer: Duration::from_secs(3600),
            keys_low_jitter: Duration::ZERO,
        };
        let to = address("recipient");
        Self {
            sender: sign_on(&around, &address("sender")).await,
            recipient: sign_on(&around, &to).await,
            to,
            sent: 0,
            out: Vec::new(),
        }
    }

    /// The frame of the next message.
    fn message(&mut self) -> Bytes {
        self.sent += 1;
        encode_proto(Body::Send(v1::Send {
            id: self.sent,
            to_account: self.to.account.as_str().to_owned(),
            messages: vec![v1::DeviceMessage {
                device_id: self.to.device_id.as_str().to_owned(),
                registration_id: 1,
                kind: 1,
                payload: Bytes::from_static(PAYLOAD),
            }],
            client_msg_id: Bytes::copy_from_slice(&u128::from(self.sent).to_be_bytes()),
            ..v1::Send::default()
        }))
    }

    /// So many messages, one step after the other, each counted for itself.
    async fn round(&mut self, window: usize, took: &mut [Took; 4]) {
        let frames: VecDeque<Bytes> = (0..window).map(|_| self.message()).collect();
        let counted = Counted::begin();
        for frame in frames {
            hear(&mut self.sender, &frame, &mut self.out).await;
        }
        counted.end(&mut took[0]);

        let mut written = Vec::with_capacity(window);
        let counted = Counted::begin();
        self.recipient.pump(&mut self.out).await.expect("mail");
        write(&mut self.out, &mut written);
        counted.end(&mut took[1]);
        let ids = envelopes(&written);
        assert_eq!(ids.len(), window, "everything is delivered at once");

        let ack = encode_proto(Body::Ack(v1::Ack { ids }));
        let counted = Counted::begin();
        hear(&mut self.recipient, &ack, &mut self.out).await;
        counted.end(&mut took[2]);

        let (mut safe, wake) = (0, self.sender.wake());
        written.clear();
        let counted = Counted::begin();
        while safe < window {
            wake.rung().await;
            self.sender.pump(&mut self.out).await.expect("answers");
            safe += write(&mut self.out, &mut written);
        }
        counted.end(&mut took[3]);
        assert!(
            written.iter().all(is_ok),
            "every message is safe, and nothing else is said"
        );
    }
}

/// Counts from its beginning to its end.
struct Counted {
    region: Region<'static, System>,
    began: Instant,
}

impl Counted {
    fn begin() -> Self {
        Self {
            region: Region::new(GLOBAL),
            began: Instant::now(),
        }
    }

    fn end(self, took: &mut Took) {
        took.add(self.region.change(), self.began.elapsed());
    }
}

/// Takes a frame as a connection does.
async fn hear(session: &mut Session, frame: &[u8], out: &mut Vec<Said>) {
    let spoken = read_proto(frame).expect("a frame");
    if let Some(later) = session.hear(spoken, out).expect("a good frame") {
        session.receive(later, out).await.expect("a good frame");
    }
}

/// Writes frames as they go to a socket, and says how many there were.
fn write(out: &mut Vec<Said>, written: &mut Vec<Bytes>) -> usize {
    let count = out.len();
    written.extend(out.drain(..).map(|said| encode_proto(said.into_body())));
    count
}

fn envelopes(frames: &[Bytes]) -> Vec<u64> {
    let mut ids = Vec::new();
    for frame in frames {
        if let Ok(Body::Deliver(deliver)) = decode_proto(frame.clone()) {
            ids.extend(deliver.envelopes.iter().map(|envelope| envelope.id));
        }
    }
    ids
}

fn is_ok(frame: &Bytes) -> bool {
    matches!(decode_proto(frame.clone()), Ok(Body::SendOk(_)))
}

/// Registers a device and opens a session that has read everything.
async fn sign_on(around: &Surroundings, who: &Address) -> Session {
    let registration = Registration {
        registration_id: 1,
        attributes: None,
        max_devices: 1,
        now: Clock::system().now(),
    };
    let registered = around.switchboard.register(who, registration).await;
    assert!(matches!(registered, Ok(Registered::Created(_))), "{registered:?}");
    let identity = Identity {
        address: who.clone(),
        scopes: Scopes {
            chat: true,
            admin: false,
        },
        issued_at: UnixMs(0),
        expires_at: UnixMs(u64::MAX),
        jti: "bench".into(),
    };
    let attending = around.switchboard.hub().attendance().attend(&identity);
    let hello = v1::Hello {
        mode: Mode::Consume as i32,
        window: 256,
        window_bytes: 1 << 20,
        ..v1::Hello::default()
    };
    let opened = Session::open(around.clone(), (identity, attending), &hello, 1).await;
    let (mut session, _) = opened.expect("a session");
    let mut out = Vec::new();
    session.begin(&mut out).await.expect("an empty mailbox");
    session.pump(&mut out).await.expect("an empty mailbox");
    session
}

/// Prints a table, and gives the allocations of a message.
fn told(window: usize, messages: f64, took: &[Took; 4]) -> f64 {
    println!("\nwindow {window:<14} allocations       bytes          ns");
    let mut all = Took::default();
    let row = |name: &str, took: &Took| {
        let each = took.time.as_nanos() as f64 / messages;
        // What waits for the committer says nothing of a processor.
        let time = if name == "settle" || name == "all" {
            String::new()
        } else {
            format!("{each:.0}")
        };
        let (allocations, bytes) = (took.allocations as f64 / messages, took.bytes as f64 / messages);
        println!("{name:<20} {allocations:>12.2} {bytes:>11.0} {time:>11}");
    };
    for (name, took) in STEPS.iter().zip(took) {
        row(name, took);
        all.allocations += took.allocations;
        all.bytes += took.bytes;
    }
    row("all", &all);
    all.allocations as f64 / messages
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut last = 0.0;
    for window in WINDOWS {
        let took = runtime.block_on(async {
            let mut pair = Pair::new().await;
            let mut took = <[Took; 4]>::default();
            for _ in 0..WARM_UP {
                pair.round(window, &mut took).await;
            }
            took = <[Took; 4]>::default();
            for _ in 0..options.rounds {
                pair.round(window, &mut took).await;
            }
            took
        });
        last = told(window, f64::from(options.rounds) * window as f64, &took);
    }
    match options.most {
        Some(most) if last > most => {
            println!("\nFAILED: {last:.2} allocations for each message, and at most {most} are allowed");
            ExitCode::FAILURE
        }
        Some(_) | None => ExitCode::SUCCESS,
    }
}
