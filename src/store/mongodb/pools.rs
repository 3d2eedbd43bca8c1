//! Pools of one-time items: queues and tombstones.

use crate::model::MailboxId;
use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::layout::Collection;

pub(super) const COLLECTIONS: &[Collection] = &[];

/// Removes every item and tombstone of a mailbox that is gone.
#[expect(clippy::unused_async, reason = "not written yet")]
pub(super) async fn purge(_db: &Connection, _mailbox: MailboxId) -> Result<(), Error> {
    Ok(())
}
