//! Keysets, pools, the key log.

use mongodb::ClientSession;

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::transaction::Stop;

pub(super) const COLLECTIONS: &[Collection] = &[];

/// Removes the keysets of a mailbox.
#[expect(clippy::unused_async, reason = "not written yet")]
pub(super) async fn forget<T>(
    _db: &Connection,
    _session: &mut ClientSession,
    _mailbox: MailboxId,
) -> Result<(), Stop<T>> {
    Ok(())
}
