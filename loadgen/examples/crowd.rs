//! Many devices that write to each other in a ring, stay through whatever happens to their relay, and say in the end
//! what became of every message. For stories about restarts.
//!
//! `cargo run -p chatctl-loadgen --example crowd -- URL KEYS_FILE DEVICES MILLISECONDS_BETWEEN_MESSAGES`
//!
//! It prints `ready` when everybody is connected. When its stdin ends nobody begins a message any more; it
//! waits until all that was accepted has arrived, and prints what happened as JSON.

#![expect(clippy::print_stdout, reason = "an example says what it found")]

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chatctl_client::{Device, Error, Event, Http, Mail, Message, Options, SendId, SendOutcome, Token};
use chatctl_protocol::{AccountId, Address, DeviceId};
use chatctl_relay::auth::{Grant, Keyset, Signer};
use chatctl_relay::model::Clock;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

/// What happened to all of them.
#[derive(Debug, Default, Serialize)]
struct Seen {
    accepted: u64,
    received: u64,
    /// Messages that were not the next one of their sender.
    out_of_order: u64,
    gaps: u64,
    refusals: BTreeMap<String, u64>,
    /// Why sessions ended.
    ends: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    goodbyes: Vec<Farewell>,
    /// When somebody was back, in milliseconds since the start.
    back_at_ms: Vec<u64>,
    most_sessions_of_a_device: u64,
    devices_with_everything: u64,
}

#[derive(Debug, Serialize)]
struct Farewell {
    at_ms: u64,
    code: u32,
    retry_after_ms: u64,
}

/// What the devices share.
struct Crowd {
    url: String,
    signer: Signer,
    pause: Duration,
    began: Instant,
    seen: Mutex<Seen>,
    /// How many messages of each device were accepted.
    accepted: Vec<AtomicU64>,
    /// Which of them have their last answer.
    settled: Vec<AtomicBool>,
    connected: watch::Sender<usize>,
    /// Whether it is time to come to an end.
    ending: CancellationToken,
    /// So that registrations do not come all at once.
    doors: Semaphore,
}

/// One of them.
struct Member {
    crowd: Arc<Crowd>,
    number: usize,
    /// Of its own messages.
    accepted: u64,
    /// The message that has no answer yet.
    waits: Option<(SendId, Message)>,
    received: u64,
    sessions: u64,
    is_connected: bool,
}

#[tokio::main]
async fn main() -> Outcome {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [url, keys, devices, pause] = &words[..] else {
        return Err("usage: crowd URL KEYS_FILE DEVICES MILLISECONDS_BETWEEN_MESSAGES".into());
    };
    let count: usize = devices.parse()?;
    let ending = CancellationToken::new();
    let end = ending.clone();
    let (connected, mut ready) = watch::channel(0);
    let crowd = Arc::new(Crowd {
        url: url.clone(),
        signer: Signer::new(&Keyset::load(Path::new(keys))?)?,
        pause: Duration::from_millis(pause.parse()?),
        began: Instant::now(),
        seen: Mutex::default(),
        accepted: (0..count).map(|_| AtomicU64::new(0)).collect(),
        settled: (0..count).map(|_| AtomicBool::new(false)).collect(),
        connected,
        ending,
        doors: Semaphore::new(64),
    });
    std::thread::spawn(move || {
        // Whatever ends it: it is over.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        end.cancel();
    });
    let mut members = JoinSet::new();
    for number in 0..count {
        members.spawn(Member::new(&crowd, number).live());
    }
    tokio::select! {
        all = ready.wait_for(|connected| *connected == count) => drop(all?),
        Some(over) = members.join_next() => over??,
    }
    println!("ready");
    while let Some(over) = members.join_next().await {
        over??;
    }
    println!("{}", serde_json::to_string(&*crowd.seen.lock())?);
    Ok(())
}

impl Crowd {
    fn account(&self, number: usize) -> Outcome<AccountId> {
        Ok(AccountId::parse(&format!(
            "crowd-{}",
            number % self.accepted.len()
        ))?)
    }

    fn token(&self, account: AccountId) -> Outcome<Token> {
        let grant = Grant {
            issuer: "chatctl".to_owned(),
            audience: "chatctl".to_owned(),
            address: Address {
                account,
                device_id: DeviceId::parse("1")?,
            },
            scope: None,
            life: Duration::from_secs(3600),
            extra: serde_json::Map::new(),
        };
        let issued = self
            .signer
            .issue(&grant, &mut rand::rng(), Clock::system().now())?;
        Ok(Token::new(&issued.token))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Member {
    fn new(crowd: &Arc<Crowd>, number: usize) -> Self {
        Self {
            crowd: Arc::clone(crowd),
            number,
            accepted: 0,
            waits: None,
            received: 0,
            sessions: 0,
            is_connected: false,
        }
    }

    async fn live(mut self) -> Outcome {
        let account = self.crowd.account(self.number)?;
        let shared = Arc::clone(&self.crowd);
        let login = move |_spent: Option<Token>| {
            let token = shared.token(account.clone());
            async move { token }
        };
        self.register(login.clone()).await?;
        let url = format!("{}/v1/ws", self.crowd.url.replacen("http", "ws", 1));
        let mut device = Device::new(Options::new(&url), login);
        let ending = self.crowd.ending.clone();
        // Not all in the same moment.
        let share = self.crowd.pause.mul_f64(rand::random_range(0.0..1.0));
        let mut ticks = interval_at(Instant::now() + share, self.crowd.pause);
        loop {
            tokio::select! {
                event = device.next_event() => self.take(&mut device, event).await?,
                _ = ticks.tick() => self.write(&mut device)?,
                () = ending.cancelled() => break,
            }
        }
        let everything = timeout(PATIENCE, self.finish(&mut device)).await;
        let mut seen = self.crowd.seen.lock();
        seen.devices_with_everything += u64::from(everything.is_ok());
        seen.accepted += self.accepted;
        seen.received += self.received;
        seen.most_sessions_of_a_device = seen.most_sessions_of_a_device.max(self.sessions);
        Ok(())
    }

    async fn register(&self, login: impl chatctl_client::TokenSource) -> Outcome {
        let _turn = self.crowd.doors.acquire().await?;
        let directory = Http::new(&self.crowd.url)?.directory(login);
        let device = DeviceId::parse("1")?;
        let mut tries = 0;
        // A busy machine may take longer than a request waits.
        while let Err(error) = directory.register(&device, REGISTRATION_ID).await {
            tries += 1;
            if tries == TRIES || !error.retryable() {
                return Err(format!("registering: {error}: {:?}", error.source()).into());
            }
            sleep(error.retry_after().unwrap_or(LOOK_AGAIN)).await;
        }
        Ok(())
    }

    /// Begins a message, unless the last one has no answer yet, or somebody is not there yet to be written to.
    fn write(&mut self, device: &mut Device) -> Outcome {
        let is_complete = *self.crowd.connected.borrow() == self.crowd.accepted.len();
        if self.waits.is_none() && is_complete {
            let to = self.crowd.account(self.number + 1)?;
            let text = self.accepted.to_string();
            let message = Message::new(to).device(DeviceId::parse("1")?, REGISTRATION_ID, 0, text);
            self.waits = Some((device.post(message.clone())?, message));
        }
        Ok(())
    }

    async fn take(&mut self, device: &mut Device, event: Result<Event, Error>) -> Outcome {
        let now = self.crowd.now_ms();
        match event {
            Ok(Event::Mail(mail)) => {
                mail.iter().for_each(|mail| self.read(mail));
                device.ack(mail.iter().map(|mail| mail.id));
            }
            Ok(Event::Sent { id, outcome }) => self.answered(device, id, outcome).await?,
            Ok(Event::Connected(_)) => {
                self.sessions += 1;
                self.is_connected = true;
                match self.sessions {
                    1 => self.crowd.connected.send_modify(|connected| *connected += 1),
                    _ => self.crowd.seen.lock().back_at_ms.push(now),
                }
            }
            Ok(Event::Disconnected { why, .. }) => {
                self.is_connected = false;
                let why = format!("{why:?}");
                *self.crowd.seen.lock().ends.entry(why).or_default() += 1;
            }
            Ok(Event::Goodbye(goodbye)) => self.crowd.seen.lock().goodbyes.push(Farewell {
                at_ms: now,
                code: goodbye.code,
                retry_after_ms: goodbye.retry_after_ms,
            }),
            Ok(Event::Gap(gap)) => self.crowd.seen.lock().gaps += gap.dropped,
            Ok(_) => {}
            Err(error @ Error::Stopped(_)) => return Err(error.into()),
            Err(error) => {
                *self
                    .crowd
                    .seen
                    .lock()
                    .errors
                    .entry(error.to_string())
                    .or_default() += 1
            }
        }
        Ok(())
    }

    fn read(&mut self, mail: &Mail) {
        if *mail.payload != *self.received.to_string().as_bytes() {
            self.crowd.seen.lock().out_of_order += 1;
        }
        self.received += 1;
    }

    async fn answered(&mut self, device: &mut Device, id: SendId, outcome: SendOutcome) -> Outcome {
        let Some((_, message)) = self.waits.take_if(|(waits, _)| *waits == id) else {
            return Ok(());
        };
        match outcome {
            SendOutcome::Accepted { .. } => {
                self.accepted += 1;
                self.crowd.accepted[self.number].store(self.accepted, Ordering::Release);
            }
            SendOutcome::Refused(refusal) => {
                let word = refusal.word.clone();
                *self.crowd.seen.lock().refusals.entry(word).or_default() += 1;
                if !refusal.retryable {
                    return Err(refusal.word.into());
                }
                sleep(refusal.retry_after).await;
                self.waits = Some((device.post(message.clone())?, message));
            }
        }
        Ok(())
    }

    /// Waits until it is back, for the last answer, and for all that was accepted for this device.
    async fn finish(&mut self, device: &mut Device) -> Outcome {
        let count = self.crowd.accepted.len();
        let from = (self.number + count - 1) % count;
        let crowd = Arc::clone(&self.crowd);
        loop {
            if self.waits.is_none() {
                crowd.settled[self.number].store(true, Ordering::Release);
            }
            // In this order: what a sender has settled does not grow any more.
            let is_settled = crowd.settled[from].load(Ordering::Acquire) && self.waits.is_none();
            if self.is_connected
                && is_settled
                && self.received >= crowd.accepted[from].load(Ordering::Acquire)
            {
                device.flush().await;
                return Ok(());
            }
            // The sender tells nobody when it has settled: look again.
            if let Ok(event) = timeout(LOOK_AGAIN, device.next_event()).await {
                self.take(device, event).await?;
            }
        }
    }
}

const REGISTRATION_ID: u32 = 1;

const TRIES: u32 = 20;

/// Longest wait for what was accepted.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_AGAIN: Duration = Duration::from_millis(200);
