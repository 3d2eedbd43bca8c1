//! Turns: who changes a mailbox's queues waits for who does it already, in this process.
//!
//! Transactions keep claims apart, over all processes; but those that collide run again, and many claims of
//! one device would do so over and over. Must not know what is done in a turn.

use std::collections::BTreeSet;

use tokio::sync::{Mutex, MutexGuard};

use crate::model::MailboxId;

/// The turns of all mailboxes. Mailboxes share them: a turn that waits in vain costs milliseconds.
#[derive(Debug)]
pub(super) struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    /// Waits for the turns of some mailboxes. First come, first served; cancel safe.
    pub(super) async fn of(
        &self,
        mailboxes: impl IntoIterator<Item = MailboxId> + Send,
    ) -> Vec<MutexGuard<'_, ()>> {
        // Everybody takes them in the same order, so nobody waits in a circle.
        let turns: BTreeSet<usize> = mailboxes.into_iter().map(turn).collect();
        let mut taken = Vec::with_capacity(turns.len());
        for turn in turns.iter().filter_map(|turn| self.0.get(*turn)) {
            taken.push(turn.lock().await);
        }
        taken
    }
}

fn turn(mailbox: MailboxId) -> usize {
    (mailbox.0 % TURNS as u64) as usize
}

/// How many mailboxes can be changed at once, at most.
const TURNS: usize = 64;
