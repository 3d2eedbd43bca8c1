//! The model's revocations: a map in the order of their numbers.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::model::{Revocation, UnixMs};
use crate::store::model::{Model, State};
use crate::store::{Error, RevocationStore};

/// What is revoked, and the last number that was given, which pruning does not take back.
#[derive(Debug, Clone, Default)]
pub(super) struct Revocations {
    last: u64,
    by_number: BTreeMap<u64, Revocation>,
}

impl State {
    /// When each of those ended that are over.
    pub(super) fn over_revocations(&self, now: UnixMs) -> impl Iterator<Item = UnixMs> {
        let ends = self
            .revocations
            .by_number
            .values()
            .map(|revocation| revocation.expires_at);
        ends.filter(move |end| *end <= now)
    }

    fn revoke(&mut self, revocation: &Revocation) -> u64 {
        let Revocations { last, by_number } = &mut self.revocations;
        let earlier = by_number
            .iter()
            .find(|(_, earlier)| earlier.what.is_about_the_same_as(&revocation.what));
        let earlier = earlier.map(|(number, _)| *number);
        let earlier = earlier.and_then(|number| by_number.remove(&number));
        *last += 1;
        by_number.insert(*last, revocation.clone().after(earlier.as_ref()));
        *last
    }
}

#[async_trait]
impl RevocationStore for Model {
    async fn revoke(&self, revocation: &Revocation) -> Result<u64, Error> {
        self.with(|state| state.revoke(revocation))
    }

    async fn revocations(&self, after: u64, limit: usize) -> Result<Vec<(u64, Revocation)>, Error> {
        self.with(|state| {
            let above = state.revocations.by_number.iter();
            above
                .filter(|(number, _)| **number > after)
                .take(limit)
                .map(|(number, revocation)| (*number, revocation.clone()))
                .collect()
        })
    }

    async fn prune_revocations(&self, now: UnixMs, limit: usize) -> Result<usize, Error> {
        self.with(|state| {
            let by_number = &mut state.revocations.by_number;
            let over = by_number.iter().filter(|(_, it)| it.expires_at <= now);
            let over: Vec<u64> = over.map(|(number, _)| *number).take(limit).collect();
            over.iter().for_each(|number| drop(by_number.remove(number)));
            over.len()
        })
    }
}
