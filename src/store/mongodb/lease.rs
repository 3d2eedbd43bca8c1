//! One at a time: who changes the database as a whole holds a lease that ends by the server's clock.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use tokio::time::{Instant, sleep};

use crate::store::holder;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::documents::time;
use crate::store::mongodb::meta::META;
use crate::store::mongodb::{connect, error};
use crate::store::upkeep::UpkeepError;

/// A lease that was taken. One that is dropped without [`Lease::give_back`] ends by itself.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    db: &'a Connection,
    holder: Arc<str>,
}

impl<'a> Lease<'a> {
    /// Takes the lease; the collection of facts has to be there.
    ///
    /// # Errors
    ///
    /// [`UpkeepError::Held`] when somebody else has it.
    pub(super) async fn take(db: &'a Connection) -> Result<Self, UpkeepError> {
        let lease = Self { db, holder: holder() };
        let failed = |error| UpkeepError::from(connect::refusal(&db.hosts, db.timeout, &error));
        // An upsert cannot compare with the server's clock: there is something to compare with first.
        let nobody = doc! { "$setOnInsert": { "holder": "", "end": DateTime::from_millis(0) } };
        let made = db
            .collection(META)
            .update_one(doc! { "_id": LEASE }, nobody)
            .upsert(true)
            .await;
        match made {
            Err(error) if !error::is_duplicate(&error) => return Err(failed(error)),
            Ok(_) | Err(_) => {}
        }
        if lease
            .extend(doc! { "$lte": ["$end", "$$NOW"] })
            .await
            .map_err(failed)?
        {
            return Ok(lease);
        }
        let held = db
            .collection(META)
            .find_one(doc! { "_id": LEASE })
            .await
            .map_err(failed)?
            .unwrap_or_default();
        Err(UpkeepError::Held {
            holder: held.get_str("holder").unwrap_or("somebody").to_owned(),
            until: held
                .get_datetime("end")
                .map_or(Default::default(), |end| time(*end)),
        })
    }

    /// Does the work, and keeps the lease meanwhile.
    ///
    /// # Errors
    ///
    /// The work's; [`UpkeepError::LeaseLost`], and then the work was broken off.
    pub(super) async fn during<T>(
        &self,
        work: impl Future<Output = Result<T, UpkeepError>>,
    ) -> Result<T, UpkeepError> {
        tokio::select! {
            done = work => done,
            () = self.lost() => Err(UpkeepError::LeaseLost),
        }
    }

    /// Lets others have it.
    pub(super) async fn give_back(self) {
        // What is not given back ends by itself.
        let mine = doc! { "_id": LEASE, "holder": &*self.holder };
        let _ = self.db.collection(META).delete_one(mine).await;
    }

    /// Extends the lease again and again, until that does not help.
    async fn lost(&self) {
        let mut extended = Instant::now();
        while extended.elapsed() < TERM {
            sleep(TERM / 3).await;
            let asked = Instant::now();
            match self.extend(doc! { "$eq": ["$holder", &*self.holder] }).await {
                Ok(true) => extended = asked,
                Ok(false) => return,
                // Perhaps there is a new primary a little later.
                Err(_) => {}
            }
        }
    }

    async fn extend(&self, condition: Document) -> mongodb::error::Result<bool> {
        let term = i64::try_from(TERM.as_millis()).unwrap_or(i64::MAX);
        let mine = doc! { "$set": { "holder": &*self.holder, "end": { "$add": ["$$NOW", term] } } };
        let found = self
            .db
            .collection(META)
            .find_one_and_update(doc! { "_id": LEASE, "$expr": condition }, vec![mine])
            .return_document(ReturnDocument::After)
            .await?;
        Ok(found.is_some())
    }
}

/// The lease's name among the facts.
const LEASE: &str = "lease";

/// How long it holds without a word.
const TERM: Duration = Duration::from_secs(30);
