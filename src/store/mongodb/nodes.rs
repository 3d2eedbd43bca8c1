//! Relays that share the database: the numbers in their ids.

use chatctl_protocol::EnvelopeId;
use mongodb::ClientSession;
use mongodb::bson::doc;

use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::layout::Collection;
use crate::store::mongodb::transaction::Stop;

/// `_id` the node's number, `c` the ceiling of its ids.
const NODES: &str = "nodes";

pub(super) const COLLECTIONS: &[Collection] = &[Collection {
    name: NODES,
    schema: || {
        doc! {
            "bsonType": "object",
            "required": ["_id", "c"],
            "properties": { "_id": { "bsonType": "long" }, "c": { "bsonType": "long" } },
        }
    },
    indexes: &[],
}];

/// Makes a higher ceiling of this node's ids durable.
pub(super) async fn raise_ceiling<T>(
    db: &Connection,
    session: &mut ClientSession,
    ceiling: EnvelopeId,
) -> Result<(), Stop<T>> {
    let raise = doc! { "$max": { "c": ceiling.as_u64().cast_signed() } };
    let nodes = db.collection(NODES);
    nodes
        .update_one(doc! { "_id": 0_i64 }, raise)
        .upsert(true)
        .session(session)
        .await?;
    Ok(())
}

/// The highest ceiling.
///
/// # Errors
///
/// The driver's.
pub(super) async fn ceiling(db: &Connection) -> mongodb::error::Result<EnvelopeId> {
    let highest = db
        .collection(NODES)
        .find_one(doc! {})
        .sort(doc! { "c": -1 })
        .await?;
    let ceiling = highest.and_then(|highest| highest.get_i64("c").ok());
    Ok(EnvelopeId::from_u64(ceiling.unwrap_or(0).cast_unsigned()))
}
