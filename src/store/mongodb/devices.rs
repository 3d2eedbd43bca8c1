//! The device registry.

use std::collections::HashSet;

use mongodb::ClientSession;

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::transaction::Stop;

pub(super) const COLLECTIONS: &[Collection] = &[];

/// Which of these mailboxes belong to a device.
pub(super) async fn present<T>(
    _db: &Connection,
    _session: &mut ClientSession,
    mailboxes: &HashSet<MailboxId>,
) -> Result<HashSet<MailboxId>, Stop<T>> {
    Ok(mailboxes.clone())
}
