//! Space that holds nothing: given back to the file system, a little at a time.

use async_trait::async_trait;

use super::add;
use crate::jobs::{Chore, Desk, Findings, Step};
use crate::store::Error;

/// Gives space back until there is none.
#[derive(Debug, Default)]
pub(super) struct CompactStore {
    /// Steps in a row that freed nothing.
    idle_steps: u32,
}

#[async_trait]
impl Chore for CompactStore {
    async fn step(&mut self, desk: &Desk, findings: &mut Findings) -> Result<Step, Error> {
        let compacted = desk.store.compact().await?;
        findings.bytes += compacted.freed;
        findings.work.affected += compacted.freed;
        add(findings, "bytes", compacted.freed);
        self.idle_steps = match compacted.freed {
            0 => self.idle_steps + 1,
            _freed => 0,
        };
        // A reader of long ago may stand in the way: the next run finds it gone.
        Ok(match compacted.done || self.idle_steps >= IDLE_STEPS {
            true => Step::Done,
            false => Step::More,
        })
    }
}

/// Steps in a row that may free nothing.
const IDLE_STEPS: u32 = 8;
