//! An old database for tests, as extended JSON: nobody outside of this folder names the driver.

use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::store::mongodb::connect::{self, OpenError, Options, Uri};
use crate::store::mongodb::documents::malformed;
use crate::store::mongodb::error;

/// Writes documents into a collection of a database.
///
/// # Errors
///
/// The connection's, the server's.
pub async fn plant(
    uri: &Uri,
    options: &Options,
    (database, collection): (&str, &str),
    documents: &[Value],
) -> Result<(), OpenError> {
    let link = connect::link(uri, options).await?;
    let documents = documents.iter().cloned().map(serde_json::from_value);
    let documents = documents
        .collect::<Result<Vec<Document>, _>>()
        .map_err(|_| malformed("extended JSON"))?;
    let collection = link.client.database(database).collection::<Document>(collection);
    let planted = collection.insert_many(documents).await;
    planted.map(drop).map_err(|error| error::meaning(&error).into())
}

/// Every document of a collection, in the order of the ids.
///
/// # Errors
///
/// The connection's, the server's.
pub async fn show(
    uri: &Uri,
    options: &Options,
    (database, collection): (&str, &str),
) -> Result<Vec<Value>, OpenError> {
    let link = connect::link(uri, options).await?;
    let collection = link.client.database(database).collection::<Document>(collection);
    let failed = |error| OpenError::Store(error::meaning(&error));
    let mut cursor = collection
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await
        .map_err(failed)?;
    let mut documents = Vec::new();
    while cursor.advance().await.map_err(failed)? {
        let document = cursor.deserialize_current().map_err(failed)?;
        documents.push(serde_json::to_value(document).map_err(|_| malformed("extended JSON"))?);
    }
    Ok(documents)
}

/// Drops a database.
///
/// # Errors
///
/// The connection's, the server's.
pub async fn drop_database(uri: &Uri, options: &Options, database: &str) -> Result<(), OpenError> {
    let link = connect::link(uri, options).await?;
    let dropped = link.client.database(database).drop().await;
    dropped.map_err(|error| error::meaning(&error).into())
}
