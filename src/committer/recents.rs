//! Sends that are under way, and those that were settled lately: a retry finds its first try here.
//!
//! What is stored is found in the store too, later; what was elided is found only here. Bounded: the
//! oldest settled ones leave.
//!
//! # Why
//!
//! Every send passes here, and most are never asked for again. What is settled is therefore written
//! once and not looked up to leave: it stays for a generation and the one after it, and the older one
//! goes as a whole.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};

use crate::committer::receipts::{EnvelopeIds, Outcome, Ticket};
use crate::model::NumberHasher;
use crate::store::SendKey;
use chatctl_protocol::Code;
use smallvec::SmallVec;

/// Sends by name.
#[derive(Debug, Default)]
pub(super) struct Recents {
    hasher: RandomState,
    under_way: ByName<UnderWay>,
    young: ByName<Settled>,
    old: ByName<Settled>,
}

type ByName<T> = HashMap<Name, T, NumberHasher>;

/// A send's name and its hash under a secret key: names are for senders to choose.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    hash: u64,
    key: SendKey,
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[derive(Debug)]
struct UnderWay {
    settled: Settled,
    /// Who waits for the outcome.
    waiting: SmallVec<[Ticket; 1]>,
}

/// What a retry is answered, and how it is told from another message.
#[derive(Debug)]
struct Settled {
    digest: [u8; 8],
    ids: EnvelopeIds,
}

impl Recents {
    /// Whether a send of this name is here.
    pub(super) fn knows(&self, key: &SendKey) -> bool {
        let name = self.name(key);
        self.under_way.contains_key(&name) || self.settled(&name).is_some()
    }

    /// Answers a retry: now if the first try is safe, with it if it is under way.
    pub(super) fn retry(&mut self, key: &SendKey, digest: [u8; 8], ticket: Ticket) {
        let name = self.name(key);
        if let Some(first) = self.under_way.get_mut(&name) {
            match first.settled.digest == digest {
                true => first.waiting.push(ticket),
                false => ticket.settle(Outcome::Refused(Code::Conflict)),
            }
        } else if let Some(first) = self.settled(&name) {
            ticket.settle(match first.digest == digest {
                true => Outcome::Safe {
                    ids: first.ids.clone(),
                    duplicate: true,
                },
                false => Outcome::Refused(Code::Conflict),
            });
        }
    }

    /// A send is under way.
    pub(super) fn begin(&mut self, key: SendKey, digest: [u8; 8], ids: EnvelopeIds, ticket: Ticket) {
        let send = UnderWay {
            settled: Settled { digest, ids },
            waiting: SmallVec::from_buf([ticket]),
        };
        let hash = self.hasher.hash_one(&key);
        self.under_way.insert(Name { hash, key }, send);
    }

    /// The send is safe: the first who waits made it, the others are retries.
    pub(super) fn safe(&mut self, key: &SendKey) {
        let Some((name, UnderWay { settled, waiting })) = self.under_way.remove_entry(&self.name(key)) else {
            return;
        };
        for (turn, ticket) in waiting.into_iter().enumerate() {
            ticket.settle(Outcome::Safe {
                ids: settled.ids.clone(),
                duplicate: turn > 0,
            });
        }
        if self.young.len() >= GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(name, settled);
    }

    /// The send failed: a retry is a new one.
    pub(super) fn refused(&mut self, key: &SendKey, code: Code) {
        if let Some(send) = self.under_way.remove(&self.name(key)) {
            for ticket in send.waiting {
                ticket.settle(Outcome::Refused(code));
            }
        }
    }

    fn settled(&self, name: &Name) -> Option<&Settled> {
        self.young.get(name).or_else(|| self.old.get(name))
    }

    fn name(&self, key: &SendKey) -> Name {
        Name {
            hash: self.hasher.hash_one(key),
            key: key.clone(),
        }
    }
}

/// Settled sends of one generation. At least so many are remembered, at most twice as many.
const GENERATION: usize = 65_536;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chatctl_protocol::{ClientMsgId, EnvelopeId};
    use smallvec::smallvec;

    use super::*;
    use crate::committer::receipts::Receipts;
    use crate::model::MailboxId;

    fn key(number: usize) -> SendKey {
        SendKey {
            sender: MailboxId(1),
            client_msg_id: ClientMsgId::parse(number.to_be_bytes()).unwrap(),
        }
    }

    fn settle(recents: &mut Recents, number: usize) {
        let ticket = Receipts::new(Arc::default()).ticket(0);
        recents.begin(key(number), [0; 8], smallvec![EnvelopeId::from_u64(1)], ticket);
        recents.safe(&key(number));
    }

    #[test]
    fn a_generation_is_remembered_and_two_are_all() {
        let mut recents = Recents::default();
        (0..2 * GENERATION).for_each(|number| settle(&mut recents, number));
        assert!(recents.knows(&key(0)));
        settle(&mut recents, 2 * GENERATION);
        let known = (0..=2 * GENERATION).filter(|number| recents.knows(&key(*number)));
        assert_eq!(
            known.collect::<Vec<_>>(),
            Vec::from_iter(GENERATION..=2 * GENERATION)
        );
    }
}
