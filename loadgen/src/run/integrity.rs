//! What became of every message: what senders say is laid beside what arrived.

use std::collections::HashMap;

use crate::ledger::Ledger;
use crate::outcome::Integrity;
use crate::plan::Plan;
use crate::tally::{Count, Tally};

/// What was sent on a stream.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) stream: u32,
    /// Messages that left.
    pub(super) sent: u64,
    /// Messages that the server refused.
    pub(super) refused: u64,
    /// Messages of which nobody knows whether they are safe.
    pub(super) unsure: Vec<u64>,
}

/// What arrived of a stream at a device.
#[derive(Debug)]
pub(super) struct Strand {
    pub(super) stream: u32,
    pub(super) device: u32,
    pub(super) ledger: Ledger,
}

/// Judges every stream at every device.
pub(super) fn integrity(plan: &Plan, sent: &[Sent], arrived: Vec<Strand>, whole: &Tally) -> Integrity {
    let mut found = Integrity {
        duplicated: whole.count(Count::Duplicated),
        redelivered: whole.count(Count::Redelivered),
        reordered: whole.count(Count::Reordered),
        corrupt: whole.count(Count::Corrupt),
        undecryptable: whole.count(Count::Undecryptable),
        keys_twice: whole.count(Count::ClaimedTwice),
        ..Integrity::default()
    };
    let arrived = arrived
        .into_iter()
        .map(|strand| ((strand.stream, strand.device), strand.ledger));
    let arrived: HashMap<_, _> = arrived.collect();
    let nothing = Ledger::default();
    for sent in sent {
        let to = plan
            .stream(sent.stream)
            .and_then(|stream| plan.accounts.get(stream.to as usize));
        for device in to.into_iter().flat_map(|account| account.devices.clone()) {
            let ledger = arrived.get(&(sent.stream, device)).unwrap_or(&nothing);
            let missing = ledger.lost(sent.sent);
            let unanswered = sent.unsure.iter().filter(|seq| !ledger.has(**seq)).count() as u64;
            found.streams += 1;
            found.unanswered += unanswered;
            found.lost += missing.saturating_sub(sent.refused + unanswered);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_and_is_missing_is_lost_and_nothing_else() {
        let text = "schema = \"x\"\nclients.count = 2";
        let plan = Plan::new(&toml::from_str(text).unwrap(), 1, (0, 1)).unwrap();
        let mut ledger = Ledger::default();
        for seq in [0, 1, 4, 6] {
            ledger.arrived(seq);
        }
        let sent = Sent {
            stream: 0,
            sent: 8,
            refused: 1,
            unsure: vec![6, 7],
        };
        let strand = Strand {
            stream: 0,
            device: 1,
            ledger,
        };
        let found = integrity(&plan, &[sent], vec![strand], &Tally::default());
        let expected = Integrity {
            streams: 1,
            // 2, 3 and 5, less the refused one.
            lost: 2,
            unanswered: 1,
            ..Integrity::default()
        };
        assert_eq!(found, expected);
    }
}
