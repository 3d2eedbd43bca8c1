//! Reads the users of the Node demo that came before: documents `{_id, name, role, img}` in one collection.
//!
//! Owns how such a document may look. Only reads, from any member, with a replica set or without. Must not
//! know what becomes of the users.

use std::fmt;
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria};
use mongodb::{Client, Cursor};
use tokio::time::timeout;

use crate::store::Error;
use crate::store::mongodb::connect::{self, OpenError, Options, Uri};
use crate::store::mongodb::error;

/// A user as the Node demo kept one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LegacyUser {
    /// The `_id` in hexadecimal: its order is, to the second, the order in which users were made.
    pub id: String,
    /// What the user logged in with. Not unique.
    pub name: String,
    /// `doctor` or `patient`, or whatever stands there.
    pub role: String,
    /// The name of a picture.
    pub img: String,
}

/// One document of the collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegacyDocument {
    /// A user.
    User(LegacyUser),
    /// Something else.
    Odd {
        /// Its `_id`, as text.
        id: String,
        /// What does not fit.
        why: String,
    },
}

/// The collection, from its oldest document on.
pub struct LegacyUsers {
    client: Client,
    cursor: Cursor<Document>,
    timeout: Duration,
}

/// Without what is in it.
impl fmt::Debug for LegacyUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegacyUsers")
    }
}

impl LegacyUsers {
    /// Begins to read a collection. One that is not there is empty.
    ///
    /// # Errors
    ///
    /// [`OpenError::Uri`], [`OpenError::Unreachable`], [`OpenError::Denied`], [`OpenError::Store`].
    pub async fn read(
        uri: &Uri,
        options: &Options,
        database: &str,
        collection: &str,
    ) -> Result<Self, OpenError> {
        let link = connect::link(uri, options).await?;
        // What one member knows is enough, and a server by itself knows nothing else.
        let local = CollectionOptions::builder()
            .read_concern(ReadConcern::local())
            .selection_criteria(SelectionCriteria::ReadPreference(
                ReadPreference::PrimaryPreferred { options: None },
            ))
            .build();
        let users = link
            .client
            .database(database)
            .collection_with_options::<Document>(collection, local);
        let found = users.find(doc! {}).sort(doc! { "_id": 1 });
        match timeout(options.timeout, found).await {
            Ok(Ok(cursor)) => Ok(Self {
                client: link.client,
                cursor,
                timeout: options.timeout,
            }),
            Ok(Err(error)) => Err(connect::refusal(&link.hosts, options.timeout, &error)),
            Err(_) => Err(OpenError::Unreachable {
                hosts: link.hosts,
                within: options.timeout,
                source: Error::Unavailable("no answer".into()),
            }),
        }
    }

    /// The next document, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`].
    pub async fn next(&mut self) -> Result<Option<LegacyDocument>, Error> {
        let advanced = match timeout(self.timeout, self.cursor.advance()).await {
            Ok(advanced) => advanced.map_err(|error| error::meaning(&error))?,
            Err(_) => return Err(Error::Unavailable("the old database does not answer".into())),
        };
        if !advanced {
            return Ok(None);
        }
        let document = self
            .cursor
            .deserialize_current()
            .map_err(|error| error::meaning(&error))?;
        Ok(Some(understand(&document)))
    }

    /// Ends the reading and its connections.
    pub async fn close(self) {
        let Self {
            client,
            cursor,
            timeout: most,
            ..
        } = self;
        drop(cursor);
        // Bounded: what does not answer must not hold the import's end up.
        let _ = timeout(most, client.shutdown()).await;
    }
}

fn understand(document: &Document) -> LegacyDocument {
    let id = match document.get("_id") {
        Some(Bson::ObjectId(id)) => Ok(id.to_hex()),
        Some(other) => Err((shown(other), "its _id is not an ObjectId".to_owned())),
        None => Err(("?".to_owned(), "it has no _id".to_owned())),
    };
    let text = |field: &str| match document.get(field) {
        Some(Bson::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("its {field} is not text")),
        None => Err(format!("it has no {field}")),
    };
    let user = id.and_then(|id| match (text("name"), text("role"), text("img")) {
        (Ok(name), Ok(role), Ok(img)) => Ok(LegacyUser { id, name, role, img }),
        (Err(why), _, _) | (_, Err(why), _) | (_, _, Err(why)) => Err((id, why)),
    });
    match user {
        Ok(user) => LegacyDocument::User(user),
        Err((id, why)) => LegacyDocument::Odd { id, why },
    }
}

/// A strange `_id` in a few characters, fit for a terminal.
fn shown(id: &Bson) -> String {
    let text = match id {
        Bson::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().flat_map(char::escape_default).take(SHOWN).collect()
}

/// Characters of a strange `_id` that are shown.
const SHOWN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::oid::ObjectId;

    fn odd(document: &Document) -> (String, String) {
        match understand(document) {
            LegacyDocument::Odd { id, why } => (id, why),
            LegacyDocument::User(user) => panic!("{user:?}"),
        }
    }

    #[test]
    fn a_user_has_an_id_and_three_texts() {
        let id = ObjectId::from_bytes([0xab; 12]);
        let whole = doc! { "_id": id, "role": "doctor", "name": "Doctor", "img": "doctor.png", "__v": 0 };
        let user = LegacyUser {
            id: "ab".repeat(12),
            name: "Doctor".into(),
            role: "doctor".into(),
            img: "doctor.png".into(),
        };
        assert_eq!(understand(&whole), LegacyDocument::User(user));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let id = ObjectId::from_bytes([1; 12]);
        let hex = id.to_hex();
        let no_name = doc! { "_id": id, "role": "doctor", "img": "a" };
        assert_eq!(odd(&no_name), (hex.clone(), "it has no name".into()));
        let number = doc! { "_id": id, "role": "doctor", "name": 7, "img": "a" };
        assert_eq!(odd(&number), (hex.clone(), "its name is not text".into()));
        let null = doc! { "_id": id, "role": "doctor", "name": "a", "img": Bson::Null };
        assert_eq!(odd(&null), (hex, "its img is not text".into()));
        let other = doc! { "_id": "b\u{1b}ob", "role": "doctor", "name": "a", "img": "a" };
        assert_eq!(
            odd(&other),
            ("b\\u{1b}ob".into(), "its _id is not an ObjectId".into())
        );
    }
}
