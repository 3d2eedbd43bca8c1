//! Senders under load, and recipients that come and go.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatctl_client::{Device, Error, Event, Mail, Message, SendId, SendOutcome, Token};
use chatctl_protocol::{AccountId, DeviceId, Encoding, EnvelopeId};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::ledger::{Delivery, Key, Lives};
use crate::world::{Phase, World};

pub(crate) const SENDERS: u32 = 4;
pub(crate) const RECIPIENTS: u32 = 4;

/// The registration id of every device in a run.
pub(crate) const REGISTRATION_ID: u32 = 7;

pub(crate) fn recipient_account(number: u32) -> String {
    format!("recipient-{number}")
}

/// Sends to random recipients until the load is over and all is answered.
pub(crate) struct Sender {
    pub(crate) world: Arc<World>,
    pub(crate) number: u32,
    device: Device,
    random: StdRng,
    in_flight: HashMap<SendId, (Key, Message)>,
    numbers: HashMap<u32, u32>,
}

impl Sender {
    pub(crate) fn new(world: Arc<World>, number: u32, token: &str) -> Self {
        Self {
            device: Device::new(world.options(), Token::new(token)),
            random: world.random(u64::from(number)),
            world,
            number,
            in_flight: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut phase = self.world.phase();
        loop {
            let loading = self.world.is_loading();
            if loading {
                self.fill();
            } else if self.in_flight.is_empty() {
                return;
            }
            tokio::select! {
                event = self.device.next_event() => {
                    if !self.handle(event).await {
                        return;
                    }
                }
                _changed = phase.changed(), if loading => {}
                // The relay or the recipients are behind: look again.
                () = sleep(Duration::from_millis(20)), if loading && self.in_flight.is_empty() => {}
            }
        }
    }

    fn fill(&mut self) {
        while self.in_flight.len() < PIPELINE && self.world.ledger().on_the_way() < BACKLOG {
            let to = self.random.random_range(0..RECIPIENTS);
            let number = self.numbers.entry(to).or_default();
            *number += 1;
            let key = Key {
                from: self.number,
                to,
                number: *number,
            };
            let payload = payload_of(key, self.random.random_range(0..1500));
            let account = AccountId::parse(&recipient_account(to)).unwrap();
            let message = Message::new(account).device(
                DeviceId::parse("1").unwrap(),
                REGISTRATION_ID,
                1,
                payload.clone(),
            );
            self.world.ledger().posted(key, message.id().clone(), payload);
            self.post(key, message);
        }
    }

    fn post(&mut self, key: Key, message: Message) {
        let id = self.device.post(message.clone()).unwrap();
        self.in_flight.insert(id, (key, message));
    }

    /// False when the sender cannot go on.
    async fn handle(&mut self, event: Result<Event, Error>) -> bool {
        match event {
            Ok(Event::Sent { id, outcome }) => {
                let (key, message) = self.in_flight.remove(&id).unwrap();
                match outcome {
                    SendOutcome::Accepted { envelope_ids, .. } => {
                        self.world.ledger().accepted(key, &envelope_ids)
                    }
                    SendOutcome::Refused(refusal) if refusal.retryable => {
                        self.world.ledger().refused(key);
                        sleep(refusal.retry_after.clamp(SHORT, LONG)).await;
                        self.post(key, message);
                    }
                    SendOutcome::Refused(refusal) => {
                        let refused = format!("{key:?}: refused for good: {refusal:?}");
                        self.world.ledger().violated(refused);
                    }
                }
                true
            }
            Ok(_) => true,
            Err(error) => {
                let who = format!("sender {}", self.number);
                self.world.ledger().violated(format!("{who}: {error:?}"));
                !matches!(error, Error::Stopped(_))
            }
        }
    }
}

/// Reads, writes down, acks; leaves now and then without a word, and comes back as if freshly started.
pub(crate) struct Recipient {
    pub(crate) world: Arc<World>,
    pub(crate) number: u32,
    token: Token,
    random: StdRng,
    /// Written down and not acked yet.
    held: Vec<EnvelopeId>,
}

impl Recipient {
    pub(crate) fn new(world: Arc<World>, number: u32, token: &str) -> Self {
        Self {
            random: world.random(100 + u64::from(number)),
            world,
            number,
            token: Token::new(token),
            held: Vec::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        while self.one_visit().await {
            let away = self.random.random_range(0..200);
            sleep(Duration::from_millis(away)).await;
        }
    }

    /// One run of the app on this device. False when it is over for good.
    async fn one_visit(&mut self) -> bool {
        let mut device = self.device();
        let mut phase = self.world.phase();
        let mut lives = Lives {
            first: self.world.life(),
            last: u64::MAX,
        };
        self.held.clear();
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Over {
                // It may find the relay gone; what it had to say about mail, it has said.
                let _left = device.close().await;
                return false;
            }
            if now == Phase::Drain {
                device.ack(self.held.drain(..));
            }
            tokio::select! {
                event = device.next_event() => match event {
                    Ok(Event::Connected(session)) => {
                        lives.last = self.world.life();
                        self.check_epoch(session.mailbox_changed);
                    }
                    // The next attempt cannot begin before the next poll.
                    Ok(Event::Disconnected { .. }) => lives.first = self.world.life(),
                    Ok(Event::Mail(mail)) => self.read(&mut device, mail, lives),
                    Ok(Event::Gap(gap)) => self.violated(&format!("told of a loss: {gap:?}")),
                    Ok(_) => {}
                    Err(error) => {
                        lives.first = self.world.life();
                        self.violated(&format!("{error:?}"));
                        if matches!(error, Error::Stopped(_)) {
                            return false;
                        }
                    }
                },
                _changed = phase.changed() => {}
            }
            if self.world.is_loading() && self.random.random_ratio(1, 150) {
                if self.random.random_bool(0.5) {
                    let _left = device.close().await;
                }
                return true;
            }
        }
    }

    fn device(&mut self) -> Device {
        let encodings = [Encoding::Proto, Encoding::Json];
        let options = chatctl_client::Options {
            encoding: encodings[self.random.random_range(0..2)],
            window: self.random.random_range(8..64),
            // Half of the visits show nearly all repeated deliveries to the ledger.
            remembered_messages: if self.random.random_bool(0.5) { 1 } else { 4096 },
            ..self.world.options()
        };
        Device::new(options, self.token.clone())
    }

    fn read(&mut self, device: &mut Device, mail: Vec<Mail>, lives: Lives) {
        for mail in mail {
            let Some(key) = key_of(&mail.payload) else {
                self.violated("mail that nobody sent");
                continue;
            };
            let delivery = Delivery {
                id: mail.id,
                name: Bytes::copy_from_slice(mail.message_id.as_bytes()),
                payload: mail.payload,
                lives,
            };
            if key.to == self.number {
                self.world.ledger().arrived(key, &delivery);
            } else {
                self.violated(&format!("{key:?}: came to another device"));
            }
            self.held.push(mail.id);
        }
        // Most mail is acked at once; some is held, and delivered again after a crash.
        if self.held.len() >= 6 || self.random.random_bool(0.7) {
            device.ack(self.held.drain(..));
        }
    }

    fn check_epoch(&self, changed: bool) {
        if changed {
            self.violated("the mailbox epoch changed without a restore");
        }
    }

    fn violated(&self, what: &str) {
        let who = format!("recipient {}", self.number);
        self.world.ledger().violated(format!("{who}: {what}"));
    }
}

/// The key, and so many bytes that follow from it.
fn payload_of(key: Key, filler: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(HEADER + filler);
    for number in [key.from, key.to, key.number] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let seed = u64::from(key.number) << 16 | u64::from(key.from) << 8 | u64::from(key.to);
    let mut random = <StdRng as rand::SeedableRng>::seed_from_u64(seed);
    bytes.extend((0..filler).map(|_| random.random::<u8>()));
    Bytes::from(bytes)
}

fn key_of(payload: &Bytes) -> Option<Key> {
    let mut numbers = payload.get(..HEADER)?.chunks_exact(4).map(|bytes| {
        let bytes: [u8; 4] = bytes.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    });
    Some(Key {
        from: numbers.next()??,
        to: numbers.next()??,
        number: numbers.next()??,
    })
}

const HEADER: usize = 12;
/// Sends of one sender that wait for their answer.
const PIPELINE: usize = 16;
/// Messages on their way at which senders pause, so that no mailbox comes near its quota.
const BACKLOG: usize = 2000;
const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_millis(500);
