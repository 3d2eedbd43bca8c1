//! A scenario worked out: every client by number, and every stream from one to another.
//!
//! Clients are numbered from `first`, so that agents on several hosts never share one. Who belongs together (a
//! pair, a room) has neighbouring numbers, and is never divided between agents: a message stays inside a plan.

use std::ops::Range;

use chatctl_protocol::{AccountId, DeviceId, NameError};

use crate::scenario::{Scenario, Topology};

/// Everybody who takes part here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Devices, by number less `first`.
    pub clients: Vec<Client>,
    /// Accounts with their devices.
    pub accounts: Vec<Account>,
    /// Who writes to whom.
    pub senders: Vec<Sender>,
    /// The number of the first client.
    pub first: u32,
    /// Clients that belong together: see [`Plan::groups`].
    pub group: u32,
}

/// A device that is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its place in [`Plan::accounts`].
    pub account: u32,
    /// Its device.
    pub device_id: DeviceId,
    /// Drawn for this run.
    pub registration_id: u32,
}

/// An account that is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name: the run's prefix and a number.
    pub name: AccountId,
    /// Its devices' places in [`Plan::clients`].
    pub devices: Range<u32>,
}

/// A client that writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Its place in [`Plan::clients`].
    pub client: u32,
    /// The accounts that each of its messages goes to: places in [`Plan::accounts`].
    pub to: Vec<u32>,
    /// The stream to the first of these accounts; the others follow. A stream has one ledger at each device.
    pub first_stream: u32,
}

/// What one client writes to one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Who writes: a place in [`Plan::clients`].
    pub from: u32,
    /// To whom: a place in [`Plan::accounts`].
    pub to: u32,
}

impl Plan {
    /// The share of agent `agent` of `agents` in a run. Clients that do not make a whole group take part without
    /// writing or being written to; they are the last agent's.
    ///
    /// # Errors
    ///
    /// [`NameError`] never, as long as accounts may be named as they are.
    pub fn new(scenario: &Scenario, run: u64, (agent, agents): (u32, u32)) -> Result<Self, NameError> {
        let each = scenario.clients.devices_per_account.max(1);
        let members = scenario.topology.members();
        let numbers = share(scenario.clients.count / each, members, (agent, agents));
        let first = numbers.start * each;
        let mut plan = Self {
            clients: Vec::new(),
            accounts: Vec::new(),
            senders: Vec::new(),
            first,
            group: members.saturating_mul(each),
        };
        let devices = (1..=each)
            .map(|device| DeviceId::parse(&device.to_string()))
            .collect::<Result<Vec<_>, _>>()?;
        for (account, number) in (0..).zip(numbers) {
            let from = account * each;
            plan.accounts.push(Account {
                name: AccountId::parse(&format!("bench-{run:016x}-{number}"))?,
                devices: from..from + each,
            });
            plan.clients
                .extend((0..).zip(&devices).map(|(device, id)| Client {
                    account,
                    device_id: id.clone(),
                    registration_id: registration_id(run, first + from + device),
                }));
        }
        plan.write(scenario.topology, members, each);
        Ok(plan)
    }

    /// Streams, numbered from 0.
    #[must_use]
    pub fn streams(&self) -> u32 {
        self.senders
            .last()
            .map_or(0, |last| last.first_stream + last.to.len() as u32)
    }

    /// A stream's ends.
    #[must_use]
    pub fn stream(&self, stream: u32) -> Option<Stream> {
        let after = self
            .senders
            .partition_point(|sender| sender.first_stream <= stream);
        let sender = self.senders.get(after.checked_sub(1)?)?;
        let to = *sender.to.get((stream - sender.first_stream) as usize)?;
        Some(Stream {
            from: sender.client,
            to,
        })
    }

    /// Clients that belong together, as places in [`Plan::clients`]. No stream goes from one group to another; the last one
    /// may be smaller, and silent.
    pub fn groups(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let (all, group) = (self.clients.len() as u32, self.group.max(1));
        (0..all)
            .step_by(group as usize)
            .map(move |first| first..all.min(first.saturating_add(group)))
    }

    /// Fills in who writes to whom, group by group.
    fn write(&mut self, topology: Topology, members: u32, each: u32) {
        let accounts = self.accounts.len() as u32;
        let mut stream = 0;
        for first in (0..accounts / members).map(|group| group * members) {
            for member in topology.writers() {
                let to: Vec<u32> = topology.readers(member).map(|reader| first + reader).collect();
                let streams = to.len() as u32;
                self.senders.push(Sender {
                    client: (first + member) * each,
                    to,
                    first_stream: stream,
                });
                stream += streams;
            }
        }
    }
}

/// The numbers of an agent's accounts: whole groups, and what is left over for the last agent.
fn share(accounts: u32, members: u32, (agent, agents): (u32, u32)) -> Range<u32> {
    let groups = u64::from(accounts / members);
    let agents = agents.max(1);
    let until = |agent: u32| (groups * u64::from(agent.min(agents)) / u64::from(agents)) as u32 * members;
    let end = if agent + 1 == agents {
        accounts
    } else {
        until(agent + 1)
    };
    until(agent)..end.max(until(agent))
}

/// From 1 to 16380, as Signal's clients draw them; the same again for the same run and client.
fn registration_id(run: u64, number: u32) -> u32 {
    // The last step of SplitMix64: neighbours become strangers.
    let mut mixed = run ^ u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) % 16_380) as u32 + 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::Clients;

    fn scenario(count: u32, devices_per_account: u32, topology: Topology) -> Scenario {
        Scenario {
            clients: Clients {
                count,
                devices_per_account,
                ..Clients::default()
            },
            topology,
            ..Scenario::default()
        }
    }

    fn plan(scenario: &Scenario, agent: (u32, u32)) -> Plan {
        Plan::new(scenario, 7, agent).unwrap()
    }

    /// Of each sender: which client, to which accounts.
    fn written(topology: Topology, count: u32, devices: u32) -> Vec<(u32, Vec<u32>)> {
        let plan = plan(&scenario(count, devices, topology), (0, 1));
        plan.senders
            .into_iter()
            .map(|sender| (sender.client, sender.to))
            .collect()
    }

    #[test]
    fn who_writes_to_whom_is_what_the_topology_says() {
        assert_eq!(written(Topology::Pairs, 4, 1), [(0, vec![1]), (2, vec![3])]);
        assert_eq!(written(Topology::Dialogues, 2, 1), [(0, vec![1]), (1, vec![0])]);
        assert_eq!(
            written(Topology::Fanout { recipients: 3 }, 7, 1),
            [(0, vec![1, 2, 3])]
        );
        assert_eq!(
            written(Topology::Fanin { senders: 2 }, 3, 1),
            [(1, vec![0]), (2, vec![0])]
        );
        assert_eq!(
            written(Topology::Rooms { size: 3 }, 5, 1),
            [(0, vec![1, 2]), (1, vec![0, 2]), (2, vec![0, 1])]
        );
        assert_eq!(written(Topology::Pairs, 8, 2), [(0, vec![1]), (4, vec![3])]);
    }

    #[test]
    fn clients_have_names_devices_and_groups() {
        let plan = plan(&scenario(9, 2, Topology::Pairs), (0, 1));
        let names: Vec<_> = plan
            .accounts
            .iter()
            .map(|account| account.name.as_str())
            .collect();
        let prefix = "bench-0000000000000007";
        assert_eq!(names, [0, 1, 2, 3].map(|number| format!("{prefix}-{number}")));
        assert_eq!(plan.accounts[1].devices, 2..4);
        assert_eq!(
            (plan.clients[3].account, plan.clients[3].device_id.as_str()),
            (1, "2")
        );
        assert_eq!(plan.groups().collect::<Vec<_>>(), [0..4, 4..8]);
        assert_eq!(
            (plan.streams(), plan.stream(1), plan.stream(2)),
            (2, Some(Stream { from: 4, to: 3 }), None)
        );
    }

    fn topologies() -> impl Strategy<Value = Topology> {
        prop_oneof![
            Just(Topology::Pairs),
            Just(Topology::Dialogues),
            (0u32..9).prop_map(|recipients| Topology::Fanout { recipients }),
            (0u32..9).prop_map(|senders| Topology::Fanin { senders }),
            (0u32..9).prop_map(|size| Topology::Rooms { size }),
        ]
    }

    proptest! {
        #[test]
        fn streams_have_one_sender_and_stay_in_their_group(topology in topologies(), count in 0u32..120, devices in 0u32..4) {
            let plan = plan(&scenario(count, devices, topology), (0, 1));
            let mut next = 0;
            let mut writing = BTreeSet::new();
            for sender in &plan.senders {
                prop_assert!(writing.insert(sender.client));
                prop_assert_eq!(sender.first_stream, next);
                let mine = plan.clients[sender.client as usize].account;
                let group = sender.client / plan.group;
                for to in &sender.to {
                    prop_assert_ne!(*to, mine, "writes to itself");
                    prop_assert_eq!(plan.stream(next), Some(Stream { from: sender.client, to: *to }));
                    let devices = plan.accounts[*to as usize].devices.clone();
                    prop_assert!(devices.into_iter().all(|device| device / plan.group == group));
                    next += 1;
                }
                prop_assert_eq!(sender.to.iter().collect::<BTreeSet<_>>().len(), sender.to.len());
            }
            prop_assert_eq!(plan.streams(), next);
            prop_assert!(plan.stream(next).is_none());
            prop_assert!(plan.clients.iter().all(|client| (1..=16_380).contains(&client.registration_id)));
        }

        #[test]
        fn agents_share_the_clients_by_whole_groups(topology in topologies(), count in 0u32..120, agents in 1u32..6) {
            let scenario = scenario(count, 1, topology);
            let whole = plan(&scenario, (0, 1));
            let mut parts = Plan { clients: vec![], accounts: vec![], senders: vec![], ..whole.clone() };
            for agent in 0..agents {
                let part = plan(&scenario, (agent, agents));
                prop_assert_eq!(part.first, parts.clients.len() as u32);
                let streams = parts.streams();
                parts.senders.extend(part.senders.into_iter().map(|sender| Sender {
                    client: sender.client + part.first,
                    to: sender.to.into_iter().map(|to| to + part.first).collect(),
                    first_stream: sender.first_stream + streams,
                }));
                parts.clients.extend(part.clients.into_iter().map(|one| Client { account: one.account + part.first, ..one }));
                parts.accounts.extend(part.accounts.into_iter().map(|one| Account {
                    devices: one.devices.start + part.first..one.devices.end + part.first,
                    ..one
                }));
            }
            prop_assert_eq!(parts, whole);
        }

        #[test]
        fn groups_are_all_clients_in_order(topology in topologies(), count in 0u32..120, devices in 1u32..4) {
            let plan = plan(&scenario(count, devices, topology), (0, 1));
            let all: Vec<u32> = plan.groups().flatten().collect();
            prop_assert_eq!(all, (0..plan.clients.len() as u32).collect::<Vec<_>>());
        }
    }
}
