//! Transactions that nobody will end: their relay died between the first write and the commit.
//!
//! Must not know what they wrote.
//!
//! # Why
//!
//! The server keeps such a transaction for a minute, and all that it touched collides meanwhile: a relay that
//! comes back after a crash could not store the mail that its clients repeat. So whoever collides for long ends
//! what has been open for long. If its owner lives after all, it is told to begin again, as after any collision.
//! A user may see and end its own sessions without further rights; where there are no users, the name under which
//! we connect tells ours from others.

use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::error::Error as DriverError;

use crate::store::mongodb::connection::Connection;

/// Ends this user's transactions under our name that wait for their next step since long.
///
/// # Errors
///
/// The driver's.
pub(super) async fn end(db: &Connection) -> Result<(), DriverError> {
    let admin = db.client.database("admin");
    let answer = admin.run_command(search(&db.app)).await?;
    let abandoned = sessions(&answer);
    if !abandoned.is_empty() {
        tracing::info!(count = abandoned.len(), "ending transactions whose relay is gone");
        admin.run_command(doc! { "killSessions": abandoned }).await?;
    }
    Ok(())
}

fn search(app: &str) -> Document {
    let old = i64::try_from(OLD.as_micros()).unwrap_or(i64::MAX);
    doc! {
        "aggregate": 1,
        "pipeline": [
            { "$currentOp": { "allUsers": false, "idleSessions": true } },
            { "$match": { "active": false, "appName": app, "transaction.timeInactiveMicros": { "$gt": old } } },
            { "$project": { "session": "$lsid.id" } },
        ],
        "cursor": {},
    }
}

fn sessions(answer: &Document) -> Vec<Document> {
    let found = answer
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"));
    let ids = found
        .into_iter()
        .flatten()
        .filter_map(Bson::as_document)
        .filter_map(|found| found.get("session"));
    ids.map(|id| doc! { "id": id.clone() }).collect()
}

/// Time between the steps of a transaction, all in all, that no living relay needs.
const OLD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use mongodb::ClientSession;

    use super::*;
    use crate::store::mongodb::connect::{self, Options, Uri};
    use crate::store::mongodb::transaction::{Stop, Work};

    struct Insert;

    #[async_trait]
    impl Work for Insert {
        type Answer = ();

        async fn run(&self, db: &Connection, session: &mut ClientSession) -> Result<(), Stop<()>> {
            db.collection("x")
                .insert_one(doc! { "_id": 1 })
                .session(session)
                .await?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_a_dead_relay_left_open_is_in_the_way_for_a_moment_only() {
        let server = std::env::var("CHATCTL_TEST_MONGODB").expect(
            "CHATCTL_TEST_MONGODB is not set: eval \"$(scripts/mongodb env)\" starts a mongod and sets it",
        );
        let name = format!("abandoned_{:016x}", rand::random::<u64>());
        let uri = Uri::parse(&server).unwrap().with_database(&name);
        let db = connect::reach(&uri, &Options::default()).await.unwrap();
        db.database.create_collection("x").await.unwrap();
        let mut dead = db.session().await.unwrap();
        dead.start_transaction().await.unwrap();
        assert!(Insert.run(&db, &mut dead).await.is_ok());

        db.transact(&Insert).await.unwrap();
        assert!(dead.commit_transaction().await.is_err());
    }
}
