//! What to publish: at first, when one-time keys run low, and when the fallback was handed out.
//!
//! # Why
//!
//! Private halves are in the vault before public ones leave, and what has left is marked only once the relay has said so.
//! So a crash anywhere uploads the same keys again, which changes nothing, and no key is published whose private half is lost.

use std::collections::BTreeMap;

use chatctl_protocol::{NameError, PoolName};

use crate::e2ee::{Bundle, Vault, bundle};
use crate::{KeyUpload, PoolCount};

impl Vault {
    /// What to upload so that the relay has `wanted` one-time keys and a fresh fallback, given what it has; `None` when
    /// nothing is to be done. Keep the vault, upload, then call [`Vault::published`] and keep it again.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn upkeep(
        &mut self,
        counts: &BTreeMap<PoolName, PoolCount>,
        wanted: u32,
    ) -> Result<Option<KeyUpload>, NameError> {
        let pool = counts.get(&bundle::pool()?);
        let drawn = Bundle::unpublished(&self.account);
        let there = pool.map_or(0, |pool| pool.count);
        let waiting = u32::try_from(drawn.one_time_keys.len()).unwrap_or(u32::MAX);
        // Above the half nothing is to be done: a device does not upload after each message.
        if there.saturating_add(waiting) <= wanted / 2 {
            let missing = wanted.saturating_sub(there).saturating_sub(waiting);
            self.account.generate_one_time_keys(missing as usize);
        }
        let wants_fallback = pool.is_none_or(|pool| !pool.fallback || pool.fallback_used);
        // One that waits to be uploaded is fresh. Another one would push out the private half of the one that is published.
        if wants_fallback && drawn.fallback.is_none() {
            self.account.generate_fallback_key();
        }
        let bundle = Bundle::unpublished(&self.account);
        match bundle.is_empty() && pool.is_some() {
            true => Ok(None),
            false => bundle.into_upload().map(Some),
        }
    }

    /// The relay has what [`Vault::upkeep`] gave.
    pub fn published(&mut self) {
        self.account.mark_keys_as_published();
    }

    /// The relay was restored from a backup. Keys that wait to be uploaded may have been so, and claimed, in what
    /// was lost: they stay good here and are never uploaded again, and [`Vault::upkeep`] draws others.
    pub fn restored(&mut self) {
        self.account.mark_keys_as_published();
    }
}
