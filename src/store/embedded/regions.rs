//! Rows of mail that are there still though they were acked, by regions of the table, in memory.
//!
//! Chooses which of them go next. Must not know SQL, nor whose mail it is.
//!
//! # Why
//!
//! A page of the table holds mail of a dozen mailboxes, which fetch at different times. To delete each row when it is
//! acked writes the page a dozen times. When all of a region is acked, its pages become free whole, and where new mail
//! takes them in the same transaction, the deletion writes nothing at all: so as many rows go as have come.
//!
//! What waits is bounded twice. When it is more than the living, it goes without new mail, regions with the most of it
//! first. And nothing stays long after its ack: what was acked before the tick before the last is overdue, and goes
//! whatever else happens.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chatctl_protocol::EnvelopeId;

use crate::model::NumberHasher;
use crate::store::embedded::shared::Change;

#[cfg(test)]
mod tests;

/// An acked envelope whose row is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dead {
    id: EnvelopeId,
    /// The list that says so.
    list: i64,
    bytes: u32,
}

/// Neighbours in the table, in the order of the ids.
#[derive(Debug, Default)]
struct Region {
    /// How many there are, about: what is wrong here makes a region go early or late, and nothing else.
    rows: usize,
    dead: Vec<Dead>,
    /// It is among those that go next.
    is_ripe: bool,
}

impl Region {
    const fn is_over(&self) -> bool {
        self.dead.len() >= self.rows
    }
}

/// All rows of the table, by the first id of their region.
#[derive(Debug, Default)]
pub(super) struct Regions {
    regions: BTreeMap<EnvelopeId, Region>,
    /// Lists of acked ids, and how many of their rows are there.
    lists: HashMap<i64, usize, NumberHasher>,
    /// Lists of which no row is there.
    empty: Vec<i64>,
    last_list: i64,
    /// The last list of before the last tick.
    ticked: i64,
    /// The last list that is overdue.
    overdue_to: i64,
    /// Rows that overdue lists name.
    overdue: usize,
    /// Regions of which all is acked.
    ripe: BTreeSet<EnvelopeId>,
    dead: Amount,
    /// Mail that is there.
    living: Amount,
    /// Rows that have come, and whose like has not gone.
    owed: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    rows: usize,
    bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u32) {
        self.rows += 1;
        self.bytes += u64::from(bytes);
    }

    fn take(&mut self, bytes: u32) {
        self.rows = self.rows.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(bytes));
    }
}

/// How much is cleared away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zeal {
    /// As much as has come, of regions of which nothing lives; more when too much waits or is overdue.
    Even,
    /// Whatever is there.
    Everything,
}

/// Rows that go in one step.
#[derive(Debug, Default)]
pub(super) struct Burial {
    /// How many of each region, those that were acked first.
    regions: Vec<(EnvelopeId, usize)>,
    /// Which, in their order.
    pub(super) ids: Vec<EnvelopeId>,
    /// Lists that say nothing any more once these are gone.
    pub(super) lists: Vec<i64>,
}

impl Burial {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.lists.is_empty()
    }
}

/// Rows of a region. In tests few, so that what happens to regions happens there too.
const ROWS: usize = if cfg!(test) { 4 } else { 512 };
/// Rows that go in a step at most: less than a millisecond.
const STEP: usize = if cfg!(test) { 8 } else { 1024 };
/// Rows that go for those that came before, at most.
const MOST_OWED: usize = 4 * STEP;
/// Acked rows that may wait in any case, and their payloads.
const PATIENCE: Amount = if cfg!(test) {
    Amount {
        rows: 16,
        bytes: 1 << 20,
    }
} else {
    Amount {
        rows: 256 * 1024,
        bytes: 64 * 1024 * 1024,
    }
};

impl Regions {
    /// There is a row.
    pub(super) fn put(&mut self, id: EnvelopeId) {
        let last = self.regions.last_key_value();
        let begins = last.is_none_or(|(first, region)| *first < id && region.rows >= ROWS);
        if begins {
            self.close_last();
            let region = Region {
                rows: 1,
                ..Region::default()
            };
            self.regions.insert(id, region);
        } else if let Some(first) = self.first_of(id)
            && let Some(region) = self.regions.get_mut(&first)
        {
            region.rows += 1;
        }
    }

    /// A row is gone, that nobody acked.
    pub(super) fn removed(&mut self, id: EnvelopeId) {
        let Some(first) = self.first_of(id) else { return };
        if let Some(region) = self.regions.get_mut(&first) {
            region.rows = region.rows.saturating_sub(1);
            self.look(first);
        }
    }

    /// So much mail is there.
    pub(super) fn living(&mut self, rows: u64, bytes: u64) {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        self.living = Amount { rows, bytes };
    }

    /// Shows what was committed, with the number of the list that its acks are in.
    pub(super) fn apply(&mut self, changes: &[Change], list: i64) {
        for change in changes {
            match change {
                Change::Put(_, entry) => {
                    self.put(entry.id);
                    self.owed = (self.owed + 1).min(MOST_OWED);
                }
                Change::Deleted(deletion) => self.removed(deletion.id),
                Change::Acked(deletion, bytes) => {
                    self.list(list);
                    self.acked(deletion.id, list, *bytes);
                }
                Change::Arrived(_)
                | Change::Purged(_)
                | Change::Remembered(_)
                | Change::Forgotten(_)
                | Change::Leased(..) => {}
            }
        }
    }

    /// The number of the next list.
    pub(super) const fn next_list(&self) -> i64 {
        self.last_list + 1
    }

    /// There is a list.
    pub(super) fn list(&mut self, list: i64) {
        self.last_list = self.last_list.max(list);
        self.lists.entry(list).or_default();
    }

    /// A list says that a row is acked.
    pub(super) fn acked(&mut self, id: EnvelopeId, list: i64, bytes: u32) {
        let first = self.first_of(id).unwrap_or(id);
        let region = self.regions.entry(first).or_default();
        region.dead.push(Dead { id, list, bytes });
        self.dead.add(bytes);
        *self.lists.entry(list).or_default() += 1;
        self.look(first);
    }

    /// All there is has been told of. Forgets lists of which no row is there; what the others name is old enough to go
    /// at the next tick.
    pub(super) fn opened(&mut self) {
        let empty = self.lists.extract_if(|_, rows| *rows == 0);
        self.empty.extend(empty.map(|(list, _)| list));
        self.ticked = self.last_list;
    }

    /// As much time has passed as acked rows may wait at least, and twice of it at most.
    pub(super) fn tick(&mut self) {
        self.overdue_to = self.ticked;
        self.ticked = self.last_list;
        let overdue = self.lists.iter().filter(|(list, _)| **list <= self.overdue_to);
        self.overdue = overdue.map(|(_, rows)| *rows).sum();
    }

    /// Whether anything waits: then it wants a tick.
    pub(super) fn is_waiting(&self) -> bool {
        !self.lists.is_empty() || !self.empty.is_empty()
    }

    /// Whether something goes without new mail.
    pub(super) fn is_urgent(&self) -> bool {
        self.is_overdue() || self.is_pressed()
    }

    /// Acked rows that are there.
    pub(super) const fn waiting(&self) -> usize {
        self.dead.rows
    }

    /// What goes now, if anything.
    pub(super) fn choose(&self, zeal: Zeal) -> Burial {
        let is_pressed = self.is_pressed();
        if self.is_overdue() && zeal == Zeal::Even {
            return self.burial(self.overdue());
        }
        let enough = match zeal {
            Zeal::Everything => STEP,
            Zeal::Even if is_pressed => STEP,
            Zeal::Even if self.owed >= ROWS => self.owed.min(STEP),
            Zeal::Even => return Burial::default(),
        };
        let mut chosen = Vec::new();
        let mut rows = 0;
        for first in &self.ripe {
            if rows >= enough {
                break;
            }
            let dead = self.regions.get(first).map_or(0, |region| region.dead.len());
            // Where much has come late, a region may be longer than a step.
            let dead = dead.min(STEP - rows);
            chosen.push((*first, dead));
            rows += dead;
        }
        if rows == 0 && (is_pressed || zeal == Zeal::Everything) {
            let most = self.regions.iter().max_by_key(|(_, region)| region.dead.len());
            chosen.extend(most.map(|(first, region)| (*first, region.dead.len().min(STEP))));
        }
        self.burial(chosen)
    }

    /// What was chosen is gone.
    pub(super) fn buried(&mut self, burial: &Burial) {
        for (first, count) in &burial.regions {
            let Some(region) = self.regions.get_mut(first) else {
                continue;
            };
            if std::mem::take(&mut region.is_ripe) {
                self.ripe.remove(first);
            }
            for dead in region.dead.drain(..(*count).min(region.dead.len())) {
                self.dead.take(dead.bytes);
                if dead.list <= self.overdue_to {
                    self.overdue = self.overdue.saturating_sub(1);
                }
                if let Some(rows) = self.lists.get_mut(&dead.list) {
                    *rows = rows.saturating_sub(1);
                }
            }
            region.rows = region.rows.saturating_sub(*count);
            region.dead.shrink_to_fit();
            self.look(*first);
        }
        self.owed = self.owed.saturating_sub(burial.ids.len());
        for list in &burial.lists {
            self.lists.remove(list);
        }
        self.empty.retain(|list| !burial.lists.contains(list));
    }

    /// What is overdue, of as many regions as make a step.
    fn overdue(&self) -> Vec<(EnvelopeId, usize)> {
        let mut chosen = Vec::new();
        let mut rows = 0;
        for (first, region) in &self.regions {
            // Those of before the start are all overdue, and the others stand in the order of their lists.
            let overdue = region.dead.partition_point(|dead| dead.list <= self.overdue_to);
            let overdue = overdue.min(STEP - rows);
            if overdue > 0 {
                chosen.push((*first, overdue));
                rows += overdue;
            }
            if rows == STEP {
                break;
            }
        }
        chosen
    }

    fn burial(&self, regions: Vec<(EnvelopeId, usize)>) -> Burial {
        let mut ids = Vec::new();
        let mut told = HashMap::<i64, usize, NumberHasher>::default();
        for (first, count) in &regions {
            let dead = self.regions.get(first).map_or(&[][..], |region| &region.dead);
            for dead in dead.iter().take(*count) {
                ids.push(dead.id);
                *told.entry(dead.list).or_default() += 1;
            }
        }
        ids.sort_unstable();
        let over = |(list, told): &(i64, usize)| self.lists.get(list).is_none_or(|rows| rows <= told);
        let lists = told.into_iter().filter(over).map(|(list, _)| list);
        let mut lists: Vec<_> = lists.chain(self.empty.iter().copied().take(STEP)).collect();
        lists.sort_unstable();
        Burial { regions, ids, lists }
    }

    /// The region in which an id is or would be.
    fn first_of(&self, id: EnvelopeId) -> Option<EnvelopeId> {
        let before = self.regions.range(..=id).next_back();
        // Below the first region there is none: it takes what comes late.
        let region = before.or_else(|| self.regions.first_key_value());
        region.map(|(first, _)| *first)
    }

    /// The last region takes no more rows.
    fn close_last(&mut self) {
        if let Some((first, region)) = self.regions.last_key_value() {
            let (first, is_over) = (*first, region.is_over());
            if is_over {
                self.ripen(first);
            }
        }
    }

    /// Looks whether a region is ripe, or nothing at all. The last one is neither: it takes more rows.
    fn look(&mut self, first: EnvelopeId) {
        let is_last = self
            .regions
            .last_key_value()
            .is_some_and(|(last, _)| *last == first);
        if !is_last && self.regions.get(&first).is_some_and(Region::is_over) {
            self.ripen(first);
        }
    }

    fn ripen(&mut self, first: EnvelopeId) {
        let Some(region) = self.regions.get_mut(&first) else {
            return;
        };
        if region.dead.is_empty() {
            self.regions.remove(&first);
        } else if !std::mem::replace(&mut region.is_ripe, true) {
            self.ripe.insert(first);
        }
    }

    /// Whether something goes because of its time. Lists of nothing have no reason to wait.
    const fn is_overdue(&self) -> bool {
        self.overdue > 0 || !self.empty.is_empty()
    }

    /// Whether what waits is too much.
    fn is_pressed(&self) -> bool {
        let living = self.living;
        self.dead.rows > PATIENCE.rows.max(living.rows) || self.dead.bytes > PATIENCE.bytes.max(living.bytes)
    }
}
