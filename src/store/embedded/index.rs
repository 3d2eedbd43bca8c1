//! Which mail there is: ids by mailbox, in memory, as committed.
//!
//! Rebuilt at open from the rows. Must not know SQL, heads or payloads. An entry is 32 bytes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Deref};

use chatctl_protocol::EnvelopeId;

use crate::model::{MailboxId, UnixMs};
use crate::store::{Deletion, Due, ExpiredEnvelope, Room, Span, Usage};

/// What is known of an envelope without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Which.
    pub(super) id: EnvelopeId,
    /// Who sent it.
    pub(super) sender: MailboxId,
    /// When it may be dropped.
    pub(super) expires_at: UnixMs,
    /// Payload bytes.
    pub(super) bytes: u32,
}

#[derive(Debug, Default)]
struct Mailbox {
    /// In the order of the ids.
    entries: VecDeque<Entry>,
    /// No entry expires earlier; may be lower than the truth after removals.
    soonest: UnixMs,
}

/// All mail of the store.
#[derive(Debug, Default)]
pub(super) struct MailIndex {
    mailboxes: BTreeMap<MailboxId, Mailbox>,
    /// Over all mailboxes.
    envelopes: u64,
    /// Payload bytes over all mailboxes.
    bytes: u64,
}

/// What was found in a part of the store, and where the next part begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look<T> {
    /// What was found.
    pub(super) found: T,
    /// Where to go on; `None` at the end of the store.
    pub(super) next: Option<MailboxId>,
}

/// Entries and mailboxes after which a look ends, with the mailbox it is at: about a millisecond, as long as
/// no mailbox holds much more.
const ENOUGH: usize = 16 * 1024;

impl MailIndex {
    /// Adds an envelope. Cheap when its id is the highest of the mailbox.
    pub(super) fn put(&mut self, mailbox: MailboxId, entry: Entry) {
        let place = self.mailboxes.entry(mailbox).or_default();
        if place.entries.is_empty() || entry.expires_at < place.soonest {
            place.soonest = entry.expires_at;
        }
        if place.entries.back().is_none_or(|last| last.id < entry.id) {
            place.entries.push_back(entry);
            self.envelopes += 1;
            self.bytes += u64::from(entry.bytes);
        } else if let Err(index) = place.entries.binary_search_by_key(&entry.id, |entry| entry.id) {
            place.entries.insert(index, entry);
            self.envelopes += 1;
            self.bytes += u64::from(entry.bytes);
        }
    }

    /// Takes an envelope out.
    pub(super) fn delete(&mut self, Deletion { mailbox, id }: Deletion) {
        let Some(place) = self.mailboxes.get_mut(&mailbox) else {
            return;
        };
        if let Ok(index) = place.entries.binary_search_by_key(&id, |entry| entry.id) {
            let removed = place.entries.remove(index);
            self.envelopes -= 1;
            self.bytes -= removed.map_or(0, |entry| u64::from(entry.bytes));
        }
        if place.entries.is_empty() {
            self.mailboxes.remove(&mailbox);
        } else if place.entries.capacity() > 64 && place.entries.len() < place.entries.capacity() / 4 {
            place.entries.shrink_to(place.entries.len() * 2);
        }
    }

    /// Takes a mailbox out, with all it holds.
    pub(super) fn purge(&mut self, mailbox: MailboxId) {
        let Some(Mailbox { entries, .. }) = self.mailboxes.remove(&mailbox) else {
            return;
        };
        self.envelopes -= entries.len() as u64;
        self.bytes -= entries.iter().map(|entry| u64::from(entry.bytes)).sum::<u64>();
    }

    /// The payload bytes of an envelope, if it is there.
    pub(super) fn find(&self, Deletion { mailbox, id }: Deletion) -> Option<u32> {
        let Mailbox { entries, .. } = self.mailboxes.get(&mailbox)?;
        let index = entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        entries.get(index).map(|entry| entry.bytes)
    }

    /// Payload bytes of all envelopes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many envelopes there are.
    pub(super) const fn envelopes(&self) -> u64 {
        self.envelopes
    }

    /// Ids of a mailbox, ascending.
    pub(super) fn ids(&self, mailbox: MailboxId) -> Vec<EnvelopeId> {
        let entries = self.mailboxes.get(&mailbox).map(|place| &place.entries);
        entries.into_iter().flatten().map(|entry| entry.id).collect()
    }

    /// What a read would bring: ids of the span that have room. The first has room in any case when
    /// `first` is set.
    pub(super) fn plan(&self, mailbox: MailboxId, span: &Span, room: Room, first: bool) -> Vec<EnvelopeId> {
        let Some(Mailbox { entries, .. }) = self.mailboxes.get(&mailbox) else {
            return Vec::new();
        };
        let begin = entries.partition_point(|entry| entry.id <= span.after);
        let mut bytes = 0;
        entries
            .range(begin..)
            .take_while(|entry| entry.id <= span.up_to)
            .filter(|entry| entry.expires_at > span.now)
            .take(room.envelopes)
            .enumerate()
            .take_while(|(index, entry)| {
                bytes += entry.bytes as usize;
                bytes <= room.bytes || (first && *index == 0)
            })
            .map(|(_, entry)| entry.id)
            .collect()
    }

    /// What a mailbox holds.
    pub(super) fn usage(&self, mailbox: MailboxId) -> Usage {
        let entries = self.mailboxes.get(&mailbox).map(|place| &place.entries);
        let mut senders = BTreeMap::<MailboxId, (u64, u64)>::new();
        let mut usage = Usage::default();
        for entry in entries.into_iter().flatten() {
            let sender = senders.entry(entry.sender).or_default();
            sender.0 += 1;
            sender.1 += u64::from(entry.bytes);
            usage.envelopes += 1;
            usage.bytes += u64::from(entry.bytes);
        }
        usage.senders = senders
            .into_iter()
            .map(|(id, (n, bytes))| (id, n, bytes))
            .collect();
        usage
    }

    /// An envelope, if its time is over.
    pub(super) fn over(&self, mailbox: MailboxId, id: EnvelopeId, now: UnixMs) -> Option<ExpiredEnvelope> {
        let Mailbox { entries, .. } = self.mailboxes.get(&mailbox)?;
        let index = entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = entries.get(index).filter(|entry| entry.expires_at <= now)?;
        Some(ExpiredEnvelope {
            mailbox,
            id,
            sender: entry.sender,
            bytes: u64::from(entry.bytes),
        })
    }

    /// Looks from a mailbox on for envelopes with `expires_at <= now` and an id up to a highest one. Changes
    /// nothing that a reader could see.
    pub(super) fn gather(
        &mut self,
        from: MailboxId,
        now: UnixMs,
        up_to: EnvelopeId,
    ) -> Look<Vec<(EnvelopeId, MailboxId)>> {
        let mut found = Vec::new();
        let next = through(self.mailboxes.range_mut(from..), now, |mailbox, place| {
            let mut is_clean = true;
            for entry in place.entries.iter().filter(|entry| entry.expires_at <= now) {
                is_clean = false;
                if entry.id > up_to {
                    break;
                }
                found.push((entry.id, mailbox));
            }
            if is_clean {
                // What made the bound low is gone.
                let soonest = place.entries.iter().map(|entry| entry.expires_at).min();
                place.soonest = soonest.unwrap_or_default();
            }
        });
        Look { found, next }
    }

    /// Counts what is over, from a mailbox on.
    pub(super) fn due(&self, from: MailboxId, now: UnixMs) -> Look<Due> {
        let mut found = Due::default();
        let next = through(self.mailboxes.range(from..), now, |_, place| {
            for entry in place.entries.iter().filter(|entry| entry.expires_at <= now) {
                found.count += 1;
                found.bytes += u64::from(entry.bytes);
                found.oldest = Some(
                    found
                        .oldest
                        .map_or(entry.expires_at, |at| at.min(entry.expires_at)),
                );
            }
        });
        Look { found, next }
    }

    /// Mailboxes after one that hold something, at most so many.
    pub(super) fn mailboxes(&self, after: MailboxId, limit: usize) -> Vec<MailboxId> {
        let rest = (Bound::Excluded(after), Bound::Unbounded);
        let rest = self.mailboxes.range(rest);
        rest.take(limit).map(|(mailbox, _)| *mailbox).collect()
    }
}

/// Goes through mailboxes, to those in which something may be over, until that was enough for one look; where the next
/// look begins.
fn through<'a, Place: Deref<Target = Mailbox>>(
    mailboxes: impl Iterator<Item = (&'a MailboxId, Place)>,
    now: UnixMs,
    mut visit: impl FnMut(MailboxId, Place),
) -> Option<MailboxId> {
    let mut looks = 0;
    for (&mailbox, place) in mailboxes {
        if looks >= ENOUGH {
            return Some(mailbox);
        }
        looks += 1;
        if place.soonest <= now {
            looks += place.entries.len();
            visit(mailbox, place);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: MailboxId = MailboxId(2);

    fn entry(id: u64, expires_at: u64) -> Entry {
        Entry {
            id: EnvelopeId::from_u64(id),
            sender: MailboxId(9),
            expires_at: UnixMs(expires_at),
            bytes: 10,
        }
    }

    #[test]
    fn an_entry_is_32_bytes() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn a_plan_ends_where_the_room_does_and_begins_with_one_in_any_case() {
        let mut index = MailIndex::default();
        // A late one joins in order.
        for id in [1, 2, 4, 3] {
            index.put(BOB, entry(id, 100));
        }
        let plan = |bytes, first| {
            let room = Room { envelopes: 3, bytes };
            let span = Span {
                after: EnvelopeId::ZERO,
                up_to: EnvelopeId::MAX,
                now: UnixMs(0),
            };
            let ids = index.plan(BOB, &span, room, first);
            ids.into_iter().map(EnvelopeId::as_u64).collect::<Vec<_>>()
        };
        assert_eq!(plan(1000, true), [1, 2, 3]);
        assert_eq!(plan(20, true), [1, 2]);
        assert_eq!(plan(0, true), [1]);
        assert_eq!(plan(0, false), [0; 0]);
    }

    #[test]
    fn a_gathering_goes_through_the_store_in_looks_and_leaves_out_what_is_too_new() {
        let mut index = MailIndex::default();
        for mailbox in 1..=3 {
            for number in 0..ENOUGH as u64 {
                index.put(MailboxId(mailbox), entry(number * 3 + mailbox, 5 + number % 2));
            }
        }
        let (mut from, mut found, mut looks) = (Some(MailboxId(0)), Vec::new(), 0);
        while let Some(mailbox) = from {
            let look = index.gather(mailbox, UnixMs(5), EnvelopeId::from_u64(18));
            found.extend(look.found);
            from = look.next;
            looks += 1;
        }
        assert_eq!(looks, 3);
        found.sort_unstable();
        let found: Vec<_> = found.into_iter().map(|(id, of)| (id.as_u64(), of.0)).collect();
        assert_eq!(
            found,
            [
                (1, 1),
                (2, 2),
                (3, 3),
                (7, 1),
                (8, 2),
                (9, 3),
                (13, 1),
                (14, 2),
                (15, 3)
            ]
        );
        // What was left out for its id is over all the same.
        let due = index.due(MailboxId(3), UnixMs(5)).found;
        assert_eq!((due.count, due.oldest), (ENOUGH as u64 / 2, Some(UnixMs(5))));
    }
}
