//! Who is in a demo and who talks to whom: the same for the same seed, on every machine and in every version.
//!
//! Pure. Must not know keys: those are never drawn from a seed.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use chatctl_protocol::{AccountId, Address, ClientMsgId, DeviceId, NameError};
use serde_json::json;

/// What a cast is drawn from.
#[derive(Debug, Clone)]
pub(super) struct Script {
    /// Another seed is another cast.
    pub(super) seed: u64,
    /// What every account begins with.
    pub(super) prefix: String,
    /// Devices of an account.
    pub(super) devices: RangeInclusive<u8>,
}

/// An account of a demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    /// Its id.
    pub(super) account: AccountId,
    /// Its attributes, as JSON.
    pub(super) attributes: Arc<str>,
    /// Its devices.
    pub(super) devices: Vec<Part>,
}

/// A device of a demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Whose and which.
    pub(super) address: Address,
    /// What it draws when it is installed.
    pub(super) registration_id: u32,
    /// Its attributes, as JSON.
    pub(super) attributes: Arc<str>,
}

/// Messages from one device to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Talk {
    /// 0 at first.
    pub(super) number: u32,
    /// Who writes.
    pub(super) from: Address,
    /// Who reads.
    pub(super) to: Address,
    /// What.
    pub(super) lines: Vec<Line>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The sender's name for it.
    pub(super) name: ClientMsgId,
    /// What it says.
    pub(super) text: &'static str,
}

impl Script {
    /// The first accounts of the cast. More of them begin with the same ones.
    ///
    /// # Errors
    ///
    /// When the prefix is not one of account ids.
    pub(super) fn cast(&self, users: u32) -> Result<Vec<Role>, NameError> {
        let mut taken = HashSet::new();
        (0..u64::from(users))
            .map(|number| self.role(number, &mut taken))
            .collect()
    }

    /// The first conversations of a cast; none among fewer than two.
    ///
    /// # Errors
    ///
    /// None in practice: the names of messages are short.
    pub(super) fn talks(&self, cast: &[Role], count: u32) -> Result<Vec<Talk>, NameError> {
        let count = if cast.len() < 2 { 0 } else { count };
        (0..count).map(|number| self.talk(cast, number)).collect()
    }

    /// What a device draws when it is installed for the `again`th time: 14 bits, as Signal's.
    pub(super) fn registration_id(&self, address: &Address, again: u32) -> u32 {
        let name = address
            .account
            .as_str()
            .bytes()
            .chain(address.device_id.as_str().bytes());
        let number = name.fold(u64::from(again), |hash, byte| mix(hash ^ u64::from(byte)));
        u32::try_from(1 + self.draw(What::Registration, number, 0) % 16_383).unwrap_or(1)
    }

    fn role(&self, number: u64, taken: &mut HashSet<AccountId>) -> Result<Role, NameError> {
        let name = pick(&NAMES, self.draw(What::Name, number, 0));
        let mut tries = 0;
        let account = loop {
            let tail = letters(self.draw(What::Account, number, tries));
            let id = format!("{}{}-{tail}", self.prefix, name.to_lowercase());
            let account = AccountId::parse(&id)?;
            if taken.insert(account.clone()) {
                break account;
            }
            tries += 1;
        };
        let (least, most) = (*self.devices.start(), *self.devices.end());
        let span = u64::from(most.saturating_sub(least)) + 1;
        let more = u8::try_from(self.draw(What::Devices, number, 0) % span).unwrap_or(0);
        let devices = (1..=least + more).map(|device| self.part(&account, device));
        Ok(Role {
            devices: devices.collect::<Result<_, _>>()?,
            attributes: json!({ "demo": true, "name": name }).to_string().into(),
            account,
        })
    }

    fn part(&self, account: &AccountId, device: u8) -> Result<Part, NameError> {
        let address = Address {
            account: account.clone(),
            device_id: DeviceId::parse(&device.to_string())?,
        };
        let kind = pick(&KINDS, u64::from(device) - 1);
        Ok(Part {
            registration_id: self.registration_id(&address, 0),
            attributes: json!({ "demo": true, "name": kind }).to_string().into(),
            address,
        })
    }

    fn talk(&self, cast: &[Role], number: u32) -> Result<Talk, NameError> {
        let draw = |part| self.draw(What::Talk, u64::from(number), part);
        let from = place(cast.len(), draw(0));
        // Any but the sender, all alike.
        let to = (from + 1 + place(cast.len() - 1, draw(1))) % cast.len();
        let device = |role: &Role, drawn| role.devices[place(role.devices.len(), drawn)].address.clone();
        let lines = (0..1 + draw(2) % 4).map(|line| {
            let name = [draw(16 + 2 * line), draw(17 + 2 * line)].map(u64::to_be_bytes);
            Ok(Line {
                name: ClientMsgId::parse(name.concat())?,
                text: pick(&LINES, draw(8 + line)),
            })
        });
        Ok(Talk {
            number,
            from: device(&cast[from], draw(3)),
            to: device(&cast[to], draw(4)),
            lines: lines.collect::<Result<_, _>>()?,
        })
    }

    fn draw(&self, what: What, first: u64, second: u64) -> u64 {
        [what as u64, first, second]
            .into_iter()
            .fold(mix(self.seed), |state, part| mix(state ^ mix(part)))
    }
}

/// What is drawn, so that no two draws are the same.
#[derive(Debug, Clone, Copy)]
enum What {
    Name = 1,
    Account = 2,
    Devices = 3,
    Registration = 4,
    Talk = 5,
}

/// A step of SplitMix64: its output may never change, and a library's generators may.
const fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn place(count: usize, drawn: u64) -> usize {
    usize::try_from(drawn % (count.max(1) as u64)).unwrap_or(0)
}

fn pick(list: &[&'static str], drawn: u64) -> &'static str {
    list[place(list.len(), drawn)]
}

/// Six letters and digits that are not mistaken for one another.
fn letters(drawn: u64) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..6)
        .map(|at| char::from(ALPHABET[usize::try_from(drawn >> (5 * at) & 31).unwrap_or(0)]))
        .collect()
}

const NAMES: [&str; 32] = [
    "Ada", "Bela", "Chidi", "Dana", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jonas", "Kira", "Leila",
    "Mina", "Noor", "Olga", "Pavel", "Quinn", "Rosa", "Sami", "Tara", "Uma", "Vera", "Wen", "Xenia", "Yara",
    "Zeno", "Amara", "Bruno", "Clara", "Diego", "Esra", "Finn",
];

const KINDS: [&str; 4] = ["phone", "laptop", "tablet", "desk"];

const LINES: [&str; 12] = [
    "Are you there?",
    "The train is late again, start without me.",
    "Did you get the key to the office?",
    "Thanks, that was quick.",
    "See you at eight.",
    "I have sent you the draft, tell me what you think.",
    "नमस्ते, कल मिलते हैं?",
    "Happy birthday! 🎂",
    "No, the other one.",
    "Call me when you can.",
    "Das ist alles, was ich gefunden habe.",
    "好的，明天见。",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn script(seed: u64) -> Script {
        Script {
            seed,
            prefix: "demo-".into(),
            devices: 1..=3,
        }
    }

    #[test]
    fn a_cast_is_the_same_for_ever() {
        let cast = script(7).cast(3).unwrap();
        let said: Vec<_> = cast
            .iter()
            .flat_map(|role| &role.devices)
            .map(|part| {
                format!(
                    "{}/{} {}",
                    part.address.account, part.address.device_id, part.registration_id
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                "demo-olga-hq4jqs/1 8930",
                "demo-xenia-zvr4t9/1 10623",
                "demo-quinn-c4z4mm/1 12990",
                "demo-quinn-c4z4mm/2 8549",
                "demo-quinn-c4z4mm/3 512"
            ]
        );
    }

    #[test]
    fn more_users_begin_with_the_same_ones_and_another_seed_is_another_cast() {
        let cast = script(7).cast(500).unwrap();
        assert_eq!(cast[..20], script(7).cast(20).unwrap());
        let accounts: HashSet<_> = cast.iter().map(|role| &role.account).collect();
        assert_eq!(accounts.len(), 500);
        let other = script(8).cast(500).unwrap();
        assert!(other.iter().all(|role| !accounts.contains(&role.account)));
        let counts: HashSet<_> = cast.iter().map(|role| role.devices.len()).collect();
        assert_eq!(counts, HashSet::from([1, 2, 3]));
    }

    #[test]
    fn nobody_talks_to_themselves() {
        let cast = script(7).cast(3).unwrap();
        let talks = script(7).talks(&cast, 100).unwrap();
        assert_eq!(talks, script(7).talks(&cast, 100).unwrap());
        assert!(talks.iter().all(|talk| talk.from.account != talk.to.account));
        assert!(talks.iter().all(|talk| (1..=4).contains(&talk.lines.len())));
        let names: HashSet<_> = talks
            .iter()
            .flat_map(|talk| &talk.lines)
            .map(|line| line.name)
            .collect();
        assert_eq!(
            names.len(),
            talks.iter().map(|talk| talk.lines.len()).sum::<usize>()
        );
        assert_eq!(script(7).talks(&cast[..1], 9).unwrap(), []);
    }
}
