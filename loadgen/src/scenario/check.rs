//! Whether a scenario makes sense, before anybody connects.

use std::fmt;

use chatctl_protocol::Limits;

use crate::scenario::{Load, Scenario, Sizes, Topology, least};
use crate::threshold::Threshold;
use crate::units::Size;

/// What is wrong with a scenario, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// A sentence.
    pub what: String,
    /// Another one.
    pub hint: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.hint)
    }
}

impl Scenario {
    /// Everything that is wrong with it, in the order of its tables. Nothing, when it can be run.
    #[must_use]
    pub fn check(&self) -> Vec<Complaint> {
        let mut found = Found(Vec::new());
        found.clients(self);
        if self.load.writes() {
            found.topology(self);
            found.drain(self);
            found.payload(self);
        }
        found.load(self);
        found.phases(self);
        found.faults(self);
        found.thresholds(self);
        found.0
    }
}

impl Load {
    /// Whether messages are written.
    #[must_use]
    pub const fn writes(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Closed { .. } | Self::Offline { .. } => true,
            Self::Claims { .. } | Self::Hold { .. } | Self::Storm { .. } => false,
        }
    }
}

struct Found(Vec<Complaint>);

impl Found {
    fn when(&mut self, wrong: bool, what: impl Into<String>, hint: impl Into<String>) {
        if wrong {
            self.0.push(Complaint {
                what: what.into(),
                hint: hint.into(),
            });
        }
    }

    fn clients(&mut self, scenario: &Scenario) {
        let clients = &scenario.clients;
        let (count, each) = (clients.count, clients.devices_per_account);
        let most = Limits::default().max_devices;
        self.when(
            count == 0,
            "there are no clients",
            "set clients.count to 2 or more",
        );
        self.when(
            each == 0 || each > most,
            format!("an account cannot have {each} devices"),
            format!("set clients.devices_per_account to 1 to {most}"),
        );
        self.when(
            each > 0 && !count.is_multiple_of(each),
            format!("{count} devices do not make whole accounts of {each}"),
            format!("set clients.count to {}", up_to(count, each)),
        );
    }

    fn topology(&mut self, scenario: &Scenario) {
        let topology = scenario.topology;
        let (wrong, setting, least) = match topology {
            Topology::Pairs | Topology::Dialogues => (false, "", 0),
            Topology::Fanout { recipients } => (recipients == 0, "recipients", 1),
            Topology::Fanin { senders } => (senders == 0, "senders", 1),
            Topology::Rooms { size } => (size < 2, "size", 2),
        };
        if wrong {
            let hint = format!("set topology.{setting} to {least} or more");
            return self.when(true, "somebody would write to nobody", hint);
        }
        let each = scenario.clients.devices_per_account.max(1);
        let group = topology.members().saturating_mul(each);
        let count = scenario.clients.count;
        let is_whole = count.is_multiple_of(group);
        let what = match topology {
            Topology::Pairs | Topology::Dialogues => format!("{count} clients do not make pairs"),
            Topology::Fanout { recipients } => {
                format!("{count} clients do not make groups of a sender and {recipients} recipients")
            }
            Topology::Fanin { senders } => {
                format!("{count} clients do not make groups of {senders} senders and a recipient")
            }
            Topology::Rooms { size } => format!("{count} clients do not make rooms of {size}"),
        };
        let hint = match count > group && !is_whole {
            true => format!(
                "set clients.count to {} or {}",
                count - count % group,
                up_to(count, group)
            ),
            false => format!("set clients.count to {group}, or a multiple"),
        };
        self.when(count > 0 && !is_whole, what, hint);
    }

    fn payload(&mut self, scenario: &Scenario) {
        let payload = &scenario.payload;
        let (max, least) = (payload.max, Size(least(payload.crypto) as u64));
        let most = Size(u64::from(Limits::default().max_payload_bytes));
        self.when(
            max > most,
            format!("payloads of {max} are larger than a relay takes"),
            format!("set payload.max to {most} at most"),
        );
        self.when(
            max < least,
            format!("payloads of {max} have no room for a label and a body"),
            format!("set payload.max to {least} or more"),
        );
        let typical = match &payload.size {
            Sizes::Fixed(size) => *size,
            Sizes::LogNormal { median, .. } => *median,
            Sizes::Chat | Sizes::File(_) => return,
        };
        self.when(
            typical > max,
            format!("payloads of {typical} are larger than payload.max"),
            format!("set payload.size to {max} at most, or payload.max to more"),
        );
        self.when(
            typical < least,
            format!("payloads of {typical} have no room for a label and a body"),
            format!("set payload.size to {least} or more"),
        );
    }

    fn load(&mut self, scenario: &Scenario) {
        const LASTS: &str = "give it a second or more";
        match &scenario.load {
            Load::Open { stages, .. } => {
                self.when(
                    stages.is_empty(),
                    "the load has no stages",
                    "give it one: { rate = \"1000/s\", for = \"20s\" }",
                );
                let empty = stages.iter().position(|stage| stage.lasts.0.is_zero());
                let number = empty.map_or(0, |place| place + 1);
                self.when(
                    empty.is_some(),
                    format!("stage {number} of the load lasts no time"),
                    LASTS,
                );
            }
            Load::Closed {
                in_flight, duration, ..
            } => {
                self.in_flight(*in_flight);
                self.when(duration.0.is_zero(), "the load lasts no time", LASTS);
            }
            Load::Offline { each, in_flight } => {
                self.in_flight(*in_flight);
                let most = Limits::default().mailbox_envelopes;
                self.when(*each == 0, "no messages are stored", "set load.each to 1 or more");
                self.when(
                    *each > most,
                    format!("a mailbox does not hold {each} messages"),
                    format!("set load.each to {most} at most"),
                );
            }
            Load::Claims {
                duration,
                targets,
                keys_each,
                ..
            } => {
                let (count, most) = (scenario.clients.count, Limits::default().max_one_time_keys);
                self.when(duration.0.is_zero(), "the load lasts no time", LASTS);
                self.when(
                    *targets == 0 || *targets > count,
                    format!("keys of {targets} devices cannot be claimed, of {count}"),
                    format!("set load.targets to 1 to {count}"),
                );
                self.when(
                    *keys_each > most,
                    format!("a device does not publish {keys_each} keys"),
                    format!("set load.keys_each to {most} at most"),
                );
            }
            Load::Hold { duration } => self.when(duration.0.is_zero(), "the load lasts no time", LASTS),
            Load::Storm { times, .. } => self.when(
                *times == 0,
                "nobody is ever thrown out",
                "set load.times to 1 or more",
            ),
        }
    }

    fn in_flight(&mut self, in_flight: u32) {
        let most = Limits::default().max_pending_sends;
        self.when(
            in_flight == 0,
            "no message may be out",
            "set load.in_flight to 1 or more",
        );
        self.when(
            in_flight > most,
            format!("a relay reads no more than {most} messages before it answers"),
            format!("set load.in_flight to {most} at most"),
        );
    }

    fn phases(&mut self, scenario: &Scenario) {
        let is_zero = scenario.phases.connect.0.is_zero();
        self.when(
            is_zero,
            "nobody has time to connect",
            "set phases.connect to some seconds",
        );
    }

    fn drain(&mut self, scenario: &Scenario) {
        let is_zero = scenario.phases.drain.0.is_zero();
        let what = "what is under way at the end would count as lost";
        self.when(is_zero, what, "set phases.drain to some seconds");
    }

    fn faults(&mut self, scenario: &Scenario) {
        let faults = scenario.faults;
        let shares = [
            (
                "reconnect_percent_per_minute",
                faults.reconnect_percent_per_minute,
                6000.0,
            ),
            ("slow_consumers_percent", faults.slow_consumers_percent, 100.0),
        ];
        for (name, percent, most) in shares {
            self.when(
                !(0.0..=most).contains(&percent),
                format!("faults.{name} cannot be {percent}"),
                format!("set it to 0 to {most}"),
            );
        }
    }

    fn thresholds(&mut self, scenario: &Scenario) {
        for word in &scenario.thresholds {
            if let Err(error) = word.parse::<Threshold>() {
                self.when(
                    true,
                    format!("the threshold `{word}` cannot be judged"),
                    error.to_string(),
                );
            }
        }
    }
}

/// The next multiple.
const fn up_to(count: u32, each: u32) -> u32 {
    let whole = if each == 0 { 1 } else { each };
    count.div_ceil(whole).saturating_mul(whole)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::{Arrival, Crypto, Stage};
    use crate::units::{Rate, Span};

    #[track_caller]
    fn complaints(change: impl FnOnce(&mut Scenario), expected: &[&str]) {
        let mut scenario = Scenario::default();
        change(&mut scenario);
        let found: Vec<_> = scenario.check().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    const ZERO: Span = Span(Duration::ZERO);

    #[test]
    fn the_default_is_sound() {
        complaints(|_| (), &[]);
    }

    #[test]
    fn clients_that_do_not_fit_together_are_told() {
        complaints(
            |one| one.clients.count = 101,
            &["101 clients do not make pairs: set clients.count to 100 or 102"],
        );
        complaints(
            |one| one.topology = Topology::Fanout { recipients: 100 },
            &[
                "100 clients do not make groups of a sender and 100 recipients: set clients.count to 101, or a multiple",
            ],
        );
        complaints(
            |one| {
                one.clients.count = 15;
                one.clients.devices_per_account = 2;
                one.topology = Topology::Rooms { size: 3 };
            },
            &[
                "15 devices do not make whole accounts of 2: set clients.count to 16",
                "15 clients do not make rooms of 3: set clients.count to 12 or 18",
            ],
        );
        complaints(
            |one| one.topology = Topology::Rooms { size: 1 },
            &["somebody would write to nobody: set topology.size to 2 or more"],
        );
        complaints(
            |one| one.clients.count = 0,
            &["there are no clients: set clients.count to 2 or more"],
        );
        complaints(
            |one| one.clients.devices_per_account = 0,
            &["an account cannot have 0 devices: set clients.devices_per_account to 1 to 8"],
        );
    }

    #[test]
    fn odd_numbers_may_be_there_when_nobody_writes() {
        complaints(
            |one| {
                one.clients.count = 7;
                one.load = Load::Hold { duration: ZERO };
            },
            &["the load lasts no time: give it a second or more"],
        );
    }

    #[test]
    fn payloads_that_no_relay_takes_are_told() {
        complaints(
            |one| one.payload.max = Size(1 << 20),
            &["payloads of 1MiB are larger than a relay takes: set payload.max to 96KiB at most"],
        );
        complaints(
            |one| one.payload.size = Sizes::Fixed(Size(70_000)),
            &[
                "payloads of 70000B are larger than payload.max: set payload.size to 64KiB at most, or payload.max to more",
            ],
        );
        complaints(
            |one| {
                one.payload.size = Sizes::Fixed(Size(64));
                one.payload.crypto = Crypto::Session;
            },
            &["payloads of 64B have no room for a label and a body: set payload.size to 123B or more"],
        );
    }

    #[test]
    fn loads_that_do_nothing_are_told() {
        let stage = Stage {
            from: None,
            rate: Rate::per_second(1.0).unwrap(),
            lasts: ZERO,
        };
        let open = |stages| Load::Open {
            stages,
            arrival: Arrival::Constant,
        };
        complaints(
            |one| one.load = open(vec![]),
            &["the load has no stages: give it one: { rate = \"1000/s\", for = \"20s\" }"],
        );
        complaints(
            |one| one.load = open(vec![stage]),
            &["stage 1 of the load lasts no time: give it a second or more"],
        );
        complaints(
            |one| {
                one.load = Load::Offline {
                    each: 20_000,
                    in_flight: 0,
                }
            },
            &[
                "no message may be out: set load.in_flight to 1 or more",
                "a mailbox does not hold 20000 messages: set load.each to 10000 at most",
            ],
        );
        complaints(
            |one| {
                one.load = Load::Storm {
                    times: 0,
                    pause: ZERO,
                }
            },
            &["nobody is ever thrown out: set load.times to 1 or more"],
        );
    }

    #[test]
    fn phases_faults_and_thresholds_are_looked_at() {
        complaints(
            |one| {
                one.phases.drain = ZERO;
                one.phases.connect = ZERO;
                one.faults.slow_consumers_percent = f64::NAN;
                one.thresholds = vec!["lots == 0".to_owned()];
            },
            &[
                "what is under way at the end would count as lost: set phases.drain to some seconds",
                "nobody has time to connect: set phases.connect to some seconds",
                "faults.slow_consumers_percent cannot be NaN: set it to 0 to 100",
                "the threshold `lots == 0` cannot be judged: there is no metric `lots`: did you mean `lost`?",
            ],
        );
    }
}
