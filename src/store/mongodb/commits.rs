//! Commits of mail: a batch of sends and deletions as one transaction.
//!
//! Must not know how a document looks, neither an envelope's nor a record's.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Binary, RawDocumentBuf, doc};

use crate::model::MailboxId;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::{binary, envelope_key, malformed, pair};
use crate::store::mongodb::mail::{self, MAIL};
use crate::store::mongodb::nodes::Seat;
use crate::store::mongodb::transaction::{Stop, Work};
use crate::store::mongodb::{devices, error, records};
use crate::store::{Batch, Committed, Deletion, Error, Posting};

/// A batch as one transaction.
struct Commit<'a> {
    batch: &'a Batch,
    deletions: &'a [Deletion],
    /// Some of it may be there: an earlier try was cut off.
    again: bool,
    /// Whose ceiling is raised.
    seat: Option<Seat>,
}

/// What became of it.
enum Committing {
    Done(Committed),
    /// Something of it is there already.
    Known,
}

/// Writes a batch.
///
/// # Errors
///
/// As [`crate::store::MailStore::commit`].
pub(super) async fn commit(db: &Connection, batch: &Batch, seat: Option<Seat>) -> Result<Committed, Error> {
    let (first, rest) = batch
        .deletions
        .split_at(batch.deletions.len().min(DELETIONS_AT_ONCE));
    let mut work = Commit {
        batch,
        deletions: first,
        again: false,
        seat,
    };
    let committed = match db.transact(&work).await? {
        Committing::Done(committed) => committed,
        Committing::Known => {
            work.again = true;
            match db.transact(&work).await? {
                Committing::Done(committed) => committed,
                // Somebody commits the same at this moment.
                Committing::Known => return Err(Error::Unavailable("the batch is being written".into())),
            }
        }
    };
    // Deleting twice is deleting once: what a failure leaves is asked for again.
    for deletions in rest.chunks(DELETIONS_AT_ONCE) {
        let rest = Batch::default();
        db.transact(&Commit {
            batch: &rest,
            deletions,
            again: false,
            seat: None,
        })
        .await?;
    }
    Ok(committed)
}

#[async_trait]
impl Work for Commit<'_> {
    type Answer = Committing;

    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Committing, Stop<Committing>> {
        let mut refused = self.refused(db, session).await?;
        // What was written before its mailbox went is not refused when it comes again.
        let known = match self.again || !refused.is_empty() {
            true => records::known(db, session, &self.batch.postings).await?,
            false => HashSet::new(),
        };
        refused.retain(|index| !known.contains(index));
        let postings = self.fresh(&refused, &known);
        let inserted = self.insert(db, session, &postings).await;
        match inserted {
            Err(Stop::Driver(error)) if error::is_duplicate(&error) => {
                return Err(Stop::Undo(Committing::Known));
            }
            inserted => inserted?,
        }
        if !self.deletions.is_empty() {
            let acked = doc! { "_id": { "$in": self.acked() } };
            db.collection(MAIL)
                .delete_many(acked)
                .session(&mut *session)
                .await?;
        }
        if let (Some(ceiling), Some(seat)) = (self.batch.id_ceiling, self.seat) {
            seat.raise(db, session, ceiling).await?;
        }
        Ok(Committing::Done(Committed { refused }))
    }
}

impl Commit<'_> {
    /// Postings to a mailbox that is gone.
    async fn refused(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Vec<usize>, Stop<Committing>> {
        let mailboxes = self.mailboxes();
        if mailboxes.is_empty() {
            return Ok(Vec::new());
        }
        let here = devices::present(db, session, &mailboxes).await?;
        let is_refused = |posting: &Posting| {
            posting
                .envelopes
                .iter()
                .any(|envelope| !here.contains(&envelope.mailbox))
        };
        let postings = self.batch.postings.iter().enumerate();
        Ok(postings
            .filter(|(_, posting)| is_refused(posting))
            .map(|(index, _)| index)
            .collect())
    }

    /// Inserts the records of sends, and their mail.
    async fn insert(
        &self,
        db: &Connection,
        session: &mut ClientSession,
        postings: &[&Posting],
    ) -> Result<(), Stop<Committing>> {
        if postings.is_empty() {
            return Ok(());
        }
        records::remember(db, session, postings).await?;
        let mut mail = self.mail(postings);
        if self.again {
            for key in stored(db, session, mail.keys().map(binary).collect()).await? {
                mail.remove(&key);
            }
        }
        if !mail.is_empty() {
            let mail: Vec<RawDocumentBuf> = mail.into_values().collect();
            db.raw(MAIL)
                .insert_many(mail)
                .ordered(false)
                .session(&mut *session)
                .await?;
        }
        Ok(())
    }

    fn mailboxes(&self) -> HashSet<MailboxId> {
        let envelopes = self.batch.postings.iter().flat_map(|posting| &posting.envelopes);
        envelopes.map(|envelope| envelope.mailbox).collect()
    }

    /// Postings that are neither refused nor known.
    fn fresh(&self, refused: &[usize], known: &HashSet<usize>) -> Vec<&Posting> {
        let fresh = |index: &usize| refused.binary_search(index).is_err() && !known.contains(index);
        let postings = self.batch.postings.iter().enumerate();
        postings
            .filter(|(index, _)| fresh(index))
            .map(|(_, posting)| posting)
            .collect()
    }

    fn acked(&self) -> Vec<Binary> {
        self.deletions
            .iter()
            .map(|gone| envelope_key(gone.mailbox, gone.id))
            .collect()
    }

    /// The documents of some sends, without what the same batch deletes.
    fn mail(&self, postings: &[&Posting]) -> BTreeMap<[u8; 16], RawDocumentBuf> {
        let gone: HashSet<&Deletion> = self.deletions.iter().collect();
        let envelopes = postings.iter().flat_map(|posting| &posting.envelopes);
        let stays = envelopes.filter(|envelope| {
            !gone.contains(&Deletion {
                mailbox: envelope.mailbox,
                id: envelope.id,
            })
        });
        stays
            .map(|envelope| {
                (
                    pair(envelope.mailbox.0, envelope.id.as_u64()),
                    mail::encode(envelope),
                )
            })
            .collect()
    }
}

/// Which of these envelopes are stored.
async fn stored(
    db: &Connection,
    session: &mut ClientSession,
    keys: Vec<Binary>,
) -> Result<Vec<[u8; 16]>, Stop<Committing>> {
    let mut found = db
        .collection(MAIL)
        .find(doc! { "_id": { "$in": keys } })
        .projection(doc! { "_id": 1 })
        .session(&mut *session)
        .await?;
    let mut stored = Vec::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let key = document.get_binary_generic("_id").map_err(|_| malformed(MAIL))?;
        stored.push(<[u8; 16]>::try_from(&key[..]).map_err(|_| malformed(MAIL))?);
    }
    Ok(stored)
}

/// Most deletions in one transaction.
const DELETIONS_AT_ONCE: usize = 4096;
