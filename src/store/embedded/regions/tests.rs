//! What is chosen, against a model that knows each row and each list.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::{MailboxId, UnixMs};
use crate::store::Deletion;
use crate::store::embedded::index::Entry;

#[derive(Debug, Clone)]
enum Act {
    /// Mail comes, some of it late: below what is there.
    Put {
        count: u64,
        is_late: bool,
    },
    /// Some of what lives is acked, and some is gone without an ack: those whose number says so.
    Ack {
        every: u64,
        removes: bool,
    },
    Choose(Zeal),
    Tick,
    /// The store is opened again, maybe with a list of which nothing is there.
    Open {
        has_stray: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..20u64, any::<bool>()).prop_map(|(count, is_late)| Act::Put { count, is_late }),
        4 => (1..5u64, any::<bool>()).prop_map(|(every, removes)| Act::Ack { every, removes }),
        4 => prop_oneof![3 => Just(Zeal::Even), 1 => Just(Zeal::Everything)].prop_map(Act::Choose),
        2 => Just(Act::Tick),
        1 => any::<bool>().prop_map(|has_stray| Act::Open { has_stray }),
    ]
}

/// The tables as they are.
#[derive(Debug, Default)]
struct Model {
    rows: BTreeSet<u64>,
    lists: BTreeMap<i64, BTreeSet<u64>>,
    /// What was there at the last tick, and at the one before.
    ticked: [BTreeSet<u64>; 2],
    highest: u64,
    lowest: u64,
}

impl Model {
    fn acked(&self) -> BTreeSet<u64> {
        self.lists.values().flatten().copied().collect()
    }

    fn living(&self) -> Vec<u64> {
        let acked = self.acked();
        self.rows.difference(&acked).copied().collect()
    }

    fn open(&self) -> Regions {
        let mut regions = Regions::default();
        self.lists.keys().for_each(|list| regions.list(*list));
        for row in &self.rows {
            let id = EnvelopeId::from_u64(*row);
            regions.put(id);
            if let Some((list, _)) = self.lists.iter().find(|(_, rows)| rows.contains(row)) {
                regions.acked(id, *list, 1);
            }
        }
        regions.opened();
        regions
    }

    /// Takes what was chosen away, which must be right.
    fn bury(&mut self, regions: &mut Regions, zeal: Zeal) -> usize {
        let burial = regions.choose(zeal);
        let ids: Vec<_> = burial.ids.iter().map(|id| id.as_u64()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        let acked = self.acked();
        assert!(ids.iter().all(|id| acked.contains(id)), "{ids:?} of {acked:?}");
        for id in &ids {
            self.rows.remove(id);
            self.lists
                .values_mut()
                .for_each(|rows| rows.retain(|row| row != id));
        }
        if !burial.is_empty() {
            let over = self.lists.extract_if(.., |_, rows| rows.is_empty());
            let over: Vec<_> = over.map(|(list, _)| list).collect();
            assert_eq!(burial.lists, over);
        }
        regions.buried(&burial);
        ids.len()
    }

    fn apply(&mut self, regions: &mut Regions, act: &Act) {
        let deletion = |id| Deletion {
            mailbox: MailboxId(1),
            id: EnvelopeId::from_u64(id),
        };
        match act {
            Act::Put { count, is_late } => {
                let new: Vec<_> = match is_late {
                    false => (self.highest + 1..=self.highest + count).collect(),
                    true => (self.lowest - count..self.lowest).collect(),
                };
                self.highest = self.highest.max(*new.last().unwrap());
                self.lowest = self.lowest.min(new[0]);
                let puts = new.iter().map(|id| {
                    let entry = Entry {
                        id: EnvelopeId::from_u64(*id),
                        sender: MailboxId(1),
                        expires_at: UnixMs(1),
                        bytes: 1,
                    };
                    Change::Put(MailboxId(1), entry)
                });
                regions.apply(&puts.collect::<Vec<_>>(), regions.next_list());
                self.rows.extend(new);
            }
            Act::Ack { every, removes } => {
                let list = regions.next_list();
                let living = self.living();
                let chosen: Vec<_> = living.into_iter().filter(|id| id % every == 0).collect();
                let change = |id: &u64| match removes {
                    true => Change::Deleted(deletion(*id)),
                    false => Change::Acked(deletion(*id), 1),
                };
                regions.apply(&chosen.iter().map(change).collect::<Vec<_>>(), list);
                match removes {
                    true => self.rows.retain(|row| !chosen.contains(row)),
                    false if chosen.is_empty() => {}
                    false => drop(self.lists.insert(list, chosen.into_iter().collect())),
                }
            }
            Act::Choose(zeal) => {
                self.bury(regions, *zeal);
            }
            Act::Tick => {
                regions.tick();
                let [last, _] = std::mem::take(&mut self.ticked);
                self.ticked = [self.acked(), last];
            }
            Act::Open { has_stray } => {
                if *has_stray {
                    self.lists.insert(regions.next_list(), BTreeSet::new());
                }
                *regions = self.open();
                // What is there at the start is as old as what was there at a tick.
                self.ticked = [self.acked(), BTreeSet::new()];
            }
        }
        let rows = self.living().len() as u64;
        regions.living(rows, rows);
        assert_eq!(regions.waiting(), self.acked().len());
        assert_eq!(regions.is_waiting(), !self.lists.is_empty());
    }
}

proptest! {
    #[test]
    fn only_what_was_acked_goes_and_all_of_it_after_two_ticks(acts in prop::collection::vec(act(), 1..60)) {
        let mut model = Model { highest: 1 << 20, lowest: 1 << 20, ..Model::default() };
        let mut regions = Regions::default();
        for act in &acts {
            model.apply(&mut regions, act);
            if matches!(act, Act::Tick) {
                while regions.is_urgent() {
                    // Nothing is lost sight of: each step takes something away.
                    let before = (model.rows.len(), model.lists.len());
                    let gone = model.bury(&mut regions, Zeal::Even);
                    prop_assert!(gone <= STEP);
                    prop_assert!((model.rows.len(), model.lists.len()) < before);
                }
                prop_assert!(model.ticked[1].is_disjoint(&model.acked()));
            }
        }
        let living = model.living();
        for _ in 0..2 {
            model.apply(&mut regions, &Act::Tick);
            while regions.is_urgent() {
                model.bury(&mut regions, Zeal::Even);
            }
        }
        prop_assert_eq!(model.rows.into_iter().collect::<Vec<_>>(), living);
        prop_assert!(model.lists.is_empty() && !regions.is_waiting());
    }
}
