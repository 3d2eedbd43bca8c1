//! An account that gets every message of a sender, with its devices.

use chatctl_protocol::{AccountId, ClientMsgId, DeviceId};
use smallvec::SmallVec;

use crate::label::Label;
use crate::plan::{Plan, Sender};
use crate::run::bodies::{Bodies, Body};
use crate::wire::Part;

/// A target.
pub(super) struct Target {
    /// The stream to it.
    pub(super) stream: u32,
    pub(super) account: AccountId,
    pub(super) devices: Vec<Recipient>,
    /// Messages that it refused, or the server for it.
    pub(super) refused: u64,
    /// Messages whose refusal says nothing, because they had been sent before.
    pub(super) unsure: Vec<u64>,
    /// The place of its first device among all of a message's.
    first: usize,
}

/// A device.
pub(super) struct Recipient {
    /// Its place in the plan.
    pub(super) place: u32,
    device_id: DeviceId,
    registration_id: u32,
}

impl Target {
    /// All targets of a sender, and how many devices they have together.
    pub(super) fn all(plan: &Plan, sender: &Sender) -> (Vec<Self>, usize) {
        let accounts = sender.to.iter().filter_map(|to| plan.accounts.get(*to as usize));
        let mut first = 0;
        let targets = (sender.first_stream..).zip(accounts).map(|(stream, account)| {
            let devices = account
                .devices
                .clone()
                .filter_map(|place| Recipient::of(plan, place));
            let target = Self {
                stream,
                account: account.name.clone(),
                devices: devices.collect(),
                refused: 0,
                unsure: Vec::new(),
                first,
            };
            first += target.devices.len();
            target
        });
        (targets.collect(), first)
    }

    /// A labelled body for each of its devices.
    pub(super) fn parts(&self, label: &Label, body: &Body, bodies: &Bodies) -> SmallVec<[Part; 1]> {
        let devices = self.devices.iter().zip(self.first..);
        let parts = devices.map(|(device, place)| {
            let (kind, body) = bodies.part(body, place);
            Part {
                device_id: device.device_id.clone(),
                registration_id: device.registration_id,
                kind,
                payload: label.seal(body),
            }
        });
        parts.collect()
    }

    /// A message was refused, which says nothing when it had been sent before.
    pub(super) fn refuse(&mut self, seq: u64, again: bool) {
        match again && self.unsure.len() < MOST_UNSURE {
            true => self.unsure.push(seq),
            false => self.refused += 1,
        }
    }
}

impl Recipient {
    fn of(plan: &Plan, place: u32) -> Option<Self> {
        let client = plan.clients.get(place as usize)?;
        Some(Self {
            place,
            device_id: client.device_id.clone(),
            registration_id: client.registration_id,
        })
    }
}

/// A message's name at the server: no two of a sender's are the same, in whatever run.
pub(super) fn name(label: &Label) -> Option<ClientMsgId> {
    let mut name = [0; 16];
    name[..5].copy_from_slice(&label.run.to_le_bytes()[..5]);
    name[5..9].copy_from_slice(&label.stream.to_le_bytes());
    name[9..].copy_from_slice(&label.seq.to_le_bytes()[..7]);
    ClientMsgId::parse(name).ok()
}

/// Messages of a stream of which it is not known whether they are safe.
const MOST_UNSURE: usize = 4096;
