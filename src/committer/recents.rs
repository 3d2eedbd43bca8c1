//! Sends that are under way, and those that were settled lately: a retry finds its first try here.
//!
//! What is stored is found in the store too, later; what was elided is found only here. Bounded: the
//! oldest settled ones leave.
//!
//! # Why
//!
//! Every send passes here, and most are never asked for again. So a send is written once, at the end of a ring in
//! the order of acceptance, and whoever has it under way knows its position: settling it looks nothing up. Names
//! are found by chains through the ring, the latest send of a bucket first. A chain only leads to earlier ones and
//! ends where the ring begins, so what leaves the ring leaves every chain, and nothing is ever taken out of a map.
//!
//! Chains stand apart from the sends, eight bytes for each with a part of its hash: to find nothing, which is what
//! nearly every search is for, the sends themselves are not touched. They are too many for the processor's caches.
//!
//! Names are for senders to choose, so the hash is under a key that was drawn for this process, of a quality that
//! spreads any input; and a name that hashes alike costs a step in a chain, never a wrong answer: whole names are
//! compared. Whoever would lengthen a chain has no sight of the hashes, and has his rate.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};

use chatctl_protocol::EnvelopeId;
use smallvec::SmallVec;

use crate::committer::receipts::{EnvelopeIds, Outcome, Ticket};
use crate::model::{NumberHasher, UnixMs};
use crate::store::{SendKey, SendRecord};
use chatctl_protocol::Code;

/// Hashes the names of sends.
#[derive(Debug, Default, Clone)]
pub(super) struct Names(foldhash::quality::RandomState);

impl Names {
    /// The hash of a name. Needs no lock.
    pub(super) fn hash(&self, key: &SendKey) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(key.sender.0);
        hasher.write(key.client_msg_id.as_bytes());
        hasher.finish()
    }
}

/// Sends by name.
#[derive(Debug)]
pub(super) struct Recents {
    /// In the order of acceptance.
    sends: VecDeque<Recent>,
    /// The position of the first of them. Positions begin at 1.
    first: u64,
    under_way: usize,
    /// For each of the sends, how its chain goes on.
    links: VecDeque<Link>,
    /// The latest send of each bucket; what does not lie in the ring is no more.
    latest: Vec<Mark>,
    /// Retries of sends that are under way, by their positions: seldom any.
    retries: HashMap<u64, Vec<Ticket>, NumberHasher>,
}

#[derive(Debug)]
struct Recent {
    key: SendKey,
    digest: [u8; 8],
    ids: EnvelopeIds,
    state: State,
}

/// The lower half of a position. As the ring is shorter than half of all marks, it says where in the ring, or that
/// it is not there. One that is so old that it has come round leads to an earlier send of another name, and on.
type Mark = u32;

#[derive(Debug, Clone, Copy)]
struct Link {
    /// Bits of the hash that do not choose the bucket.
    tag: u32,
    /// The send before it in its bucket.
    before: Mark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    UnderWay,
    Safe,
    /// Whoever comes under its name is a new send.
    Refused,
}

impl Default for Recents {
    fn default() -> Self {
        Self {
            // Of both the system gives only what is touched.
            sends: VecDeque::with_capacity(SETTLED),
            links: VecDeque::with_capacity(SETTLED),
            latest: vec![0; BUCKETS],
            first: 1,
            under_way: 0,
            retries: HashMap::default(),
        }
    }
}

impl Recents {
    /// Every send from this position on is here.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The position of the send of this name, if it is here and was not refused.
    pub(super) fn find(&self, hash: u64, key: &SendKey) -> Option<u64> {
        let mut mark = self.latest[bucket(hash)];
        while let index = self.index(mark)
            && let Some(link) = self.links.get(index)
        {
            if link.tag == tag(hash)
                && let Some(send) = self.sends.get(index)
                && send.state != State::Refused
                && send.key == *key
            {
                return Some(self.first + index as u64);
            }
            mark = link.before;
        }
        None
    }

    /// Answers a retry of the send at a position: now if that is safe, with it if it is under way.
    pub(super) fn retry(&mut self, position: u64, digest: [u8; 8], ticket: Ticket) {
        let Some(first) = self.at(position) else { return };
        if first.digest != digest {
            return ticket.settle(Outcome::Refused(Code::Conflict));
        }
        match first.state {
            State::UnderWay => self.retries.entry(position).or_default().push(ticket),
            State::Safe => ticket.settle(Outcome::Safe {
                ids: first.ids.clone(),
                duplicate: true,
            }),
            State::Refused => ticket.settle(Outcome::Refused(Code::Unavailable)),
        }
    }

    /// A send is under way. Returns its position.
    pub(super) fn begin(&mut self, hash: u64, key: SendKey, digest: [u8; 8], ids: EnvelopeIds) -> u64 {
        while self.sends.len() - self.under_way > SETTLED
            && self
                .sends
                .pop_front_if(|send| send.state != State::UnderWay)
                .is_some()
        {
            self.links.pop_front();
            self.first += 1;
        }
        let position = self.first + self.sends.len() as u64;
        let before = std::mem::replace(&mut self.latest[bucket(hash)], position as Mark);
        self.links.push_back(Link {
            tag: tag(hash),
            before,
        });
        self.sends.push_back(Recent {
            key,
            digest,
            ids,
            state: State::UnderWay,
        });
        self.under_way += 1;
        position
    }

    /// What is to be remembered of a send that is under way.
    pub(super) fn record(&self, position: u64, accepted_at: UnixMs) -> Option<SendRecord> {
        self.at(position).map(|send| SendRecord {
            key: send.key.clone(),
            digest: send.digest,
            envelope_ids: send.ids.to_vec(),
            accepted_at,
        })
    }

    /// The send is settled: safe, or refused with a code. Its ticket made it, those of others are retries. Adds
    /// what each of them is to be told.
    pub(super) fn settle(
        &mut self,
        position: u64,
        ticket: Ticket,
        refused: Option<Code>,
        told: &mut Vec<(Ticket, Outcome)>,
    ) {
        let index = position.wrapping_sub(self.first);
        let Some(send) = usize::try_from(index).ok().and_then(|at| self.sends.get_mut(at)) else {
            return;
        };
        self.under_way -= usize::from(send.state == State::UnderWay);
        send.state = match refused {
            None => State::Safe,
            Some(_) => State::Refused,
        };
        let outcome = |ids: &[EnvelopeId], duplicate| match refused {
            None => Outcome::Safe {
                ids: SmallVec::from_slice(ids),
                duplicate,
            },
            Some(code) => Outcome::Refused(code),
        };
        told.push((ticket, outcome(&send.ids, false)));
        if !self.retries.is_empty() {
            let retries = self.retries.remove(&position).into_iter().flatten();
            told.extend(retries.map(|ticket| (ticket, outcome(&send.ids, true))));
        }
    }

    /// Where in the ring a send is, or somewhere behind its end.
    const fn index(&self, mark: Mark) -> usize {
        mark.wrapping_sub(self.first as Mark) as usize
    }

    fn at(&self, position: u64) -> Option<&Recent> {
        let index = position.checked_sub(self.first)?;
        self.sends.get(usize::try_from(index).ok()?)
    }
}

const fn bucket(hash: u64) -> usize {
    hash as usize % BUCKETS
}

const fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Settled sends that are remembered whatever is under way besides. Twice as many would find a retry that comes twice
/// as late, and cost a wait for memory more in each search.
const SETTLED: usize = 65_536;

/// Twice as many: of most names, nothing is found in the first place that is looked at.
const BUCKETS: usize = 2 * SETTLED;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chatctl_protocol::ClientMsgId;
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

    fn begin(recents: &mut Recents, names: &Names, number: usize) -> u64 {
        let ids = smallvec![EnvelopeId::from_u64(number as u64)];
        recents.begin(names.hash(&key(number)), key(number), [0; 8], ids)
    }

    fn settle(recents: &mut Recents, position: u64, refused: Option<Code>) {
        let ticket = Receipts::new(Arc::default()).ticket(0);
        recents.settle(position, ticket, refused, &mut Vec::new());
    }

    fn known(recents: &Recents, names: &Names, numbers: std::ops::Range<usize>) -> Vec<usize> {
        let is_known = |number: &usize| recents.find(names.hash(&key(*number)), &key(*number)).is_some();
        numbers.filter(is_known).collect()
    }

    #[test]
    fn the_latest_are_remembered_and_no_others() {
        let (mut recents, names) = (Recents::default(), Names::default());
        for number in 0..=SETTLED + 10 {
            let position = begin(&mut recents, &names, number);
            settle(&mut recents, position, None);
        }
        assert_eq!(
            known(&recents, &names, 0..SETTLED + 11),
            Vec::from_iter(10..SETTLED + 11)
        );
    }

    #[test]
    fn what_is_under_way_stays_and_takes_no_place_from_what_is_settled() {
        let (mut recents, names) = (Recents::default(), Names::default());
        for number in 0..SETTLED {
            let position = begin(&mut recents, &names, number);
            settle(&mut recents, position, None);
        }
        for number in SETTLED..4 * SETTLED {
            begin(&mut recents, &names, number);
        }
        let all = 0..4 * SETTLED;
        assert_eq!(known(&recents, &names, all.clone()), Vec::from_iter(all));
    }

    #[test]
    fn a_refused_send_is_forgotten_and_another_of_its_name_is_found() {
        let (mut recents, names) = (Recents::default(), Names::default());
        let first = begin(&mut recents, &names, 1);
        settle(&mut recents, first, Some(Code::Unavailable));
        assert_eq!(known(&recents, &names, 0..2), Vec::<usize>::new());
        let second = begin(&mut recents, &names, 1);
        assert_eq!(recents.find(names.hash(&key(1)), &key(1)), Some(second));
    }

    #[test]
    fn names_that_hash_alike_are_told_apart() {
        let mut recents = Recents::default();
        let all = (0..100).map(|number| recents.begin(7, key(number), [0; 8], EnvelopeIds::new()));
        let all: Vec<u64> = all.collect();
        for (number, position) in all.into_iter().enumerate() {
            assert_eq!(recents.find(7, &key(number)), Some(position));
        }
        assert_eq!(recents.find(7, &key(100)), None);
    }
}
