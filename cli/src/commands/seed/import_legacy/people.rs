//! From the documents of the Node demo to people: who is who twice, and which account each becomes.
//!
//! Pure. The old seed ran again on every start and had no unique index, so the same user stands there many
//! times, with another `_id` each time.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatctl_protocol::AccountId;
use chatctl_relay::store::mongodb::{LegacyDocument, LegacyUser};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes an account's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum IdFrom {
    /// The oldest document's `_id` in hexadecimal
    Id,
    /// The user's name, where it can be one
    Name,
}

/// Everybody in the collection.
#[derive(Debug, Default)]
pub(super) struct People {
    /// Documents that were read.
    pub(super) documents: usize,
    /// Those who get an account, the oldest first.
    pub(super) people: Vec<Person>,
    /// Those who do not, and why.
    pub(super) skipped: Vec<Skipped>,
}

/// A user, however many documents there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// The account to be.
    pub(super) account: AccountId,
    /// Its attributes, as JSON.
    pub(super) attributes: Arc<str>,
    /// What the user was called.
    pub(super) name: String,
    /// The oldest `_id`.
    pub(super) id: String,
    /// The other ones.
    pub(super) merged: Vec<String>,
}

/// A document, or several of one user, that becomes no account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Skipped {
    /// The `_id`s.
    pub(super) ids: Vec<String>,
    /// Why not.
    pub(super) why: String,
}

#[derive(Serialize, Deserialize)]
struct Attributes {
    name: String,
    role: String,
    img: String,
    legacy: Legacy,
}

/// Where an account comes from.
#[derive(Serialize, Deserialize)]
struct Legacy {
    id: String,
    /// The first of the other ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    merged: Vec<String>,
    /// How many other ids there are, when they are not all named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged_count: Option<usize>,
}

impl People {
    /// Puts documents together by name, role and picture, and gives each user an account.
    pub(super) fn meet(documents: Vec<LegacyDocument>, id_from: IdFrom) -> Self {
        let mut people = Self {
            documents: documents.len(),
            ..Self::default()
        };
        let mut users = BTreeMap::<_, Vec<String>>::new();
        for document in documents {
            match document {
                LegacyDocument::User(LegacyUser { id, name, role, img }) => {
                    users.entry((name, role, img)).or_default().push(id);
                }
                LegacyDocument::Odd { id, why } => people.skip(vec![id], why),
            }
        }
        let mut named = BTreeMap::<String, usize>::new();
        for (name, _, _) in users.keys() {
            *named.entry(name.clone()).or_default() += 1;
        }
        for ((name, role, img), mut ids) in users {
            ids.sort_unstable();
            let namesakes = named.get(&name).copied().unwrap_or(1);
            match person((&name, &role, &img), &ids, (id_from, namesakes)) {
                Ok(person) => people.people.push(person),
                Err(why) => people.skip(ids, why),
            }
        }
        people.people.sort_by(|one, other| one.id.cmp(&other.id));
        people
    }

    fn skip(&mut self, ids: Vec<String>, why: String) {
        self.skipped.push(Skipped { ids, why });
    }
}

impl Person {
    /// Whether these attributes are what an earlier import gave this user.
    pub(super) fn was_imported_as(&self, attributes: &str) -> bool {
        let old: Option<Attributes> = serde_json::from_str(attributes).ok();
        old.is_some_and(|old| old.legacy.id == self.id)
    }
}

fn person(
    (name, role, img): (&str, &str, &str),
    ids: &[String],
    (id_from, namesakes): (IdFrom, usize),
) -> Result<Person, String> {
    let (id, merged) = ids.split_first().ok_or("it has no id")?;
    let account = match id_from {
        IdFrom::Id => AccountId::parse(id).map_err(|error| error.to_string())?,
        IdFrom::Name if namesakes > 1 => {
            return Err(format!("{namesakes} different users are called {name:?}"));
        }
        IdFrom::Name => AccountId::parse(name)
            .map_err(|error| format!("the name {:?} cannot be an account id: {error}", shortened(name)))?,
    };
    let attributes = Attributes {
        name: name.to_owned(),
        role: role.to_owned(),
        img: img.to_owned(),
        legacy: Legacy {
            id: id.clone(),
            merged: merged.iter().take(NAMED).cloned().collect(),
            merged_count: (merged.len() > NAMED).then_some(merged.len()),
        },
    };
    let attributes = serde_json::to_string(&attributes).map_err(|error| error.to_string())?;
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(format!(
            "its name, role and picture are {} bytes, and attributes may have {MAX_ATTRIBUTES}",
            attributes.len()
        ));
    }
    Ok(Person {
        account,
        attributes: attributes.into(),
        name: name.to_owned(),
        id: id.clone(),
        merged: merged.to_vec(),
    })
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

/// Other ids that attributes name: with more of them they would not fit.
const NAMED: usize = 16;

/// Bytes of an account's attributes.
const MAX_ATTRIBUTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u8, name: &str, role: &str) -> LegacyDocument {
        LegacyDocument::User(LegacyUser {
            id: format!("{id:024x}"),
            name: name.into(),
            role: role.into(),
            img: "a.png".into(),
        })
    }

    fn ids(people: &People) -> Vec<(&str, &str, usize)> {
        let people = people.people.iter();
        people
            .map(|person| (person.account.as_str(), person.name.as_str(), person.merged.len()))
            .collect()
    }

    #[test]
    fn users_who_were_seeded_twice_become_one_under_the_oldest_id() {
        let documents = vec![
            user(4, "user1", "patient"),
            user(1, "Doctor", "doctor"),
            user(2, "user1", "patient"),
            user(3, "Doctor", "doctor"),
        ];
        let people = People::meet(documents, IdFrom::Id);
        let (one, two) = (format!("{:024x}", 1), format!("{:024x}", 2));
        assert_eq!(ids(&people), [(&*one, "Doctor", 1), (&*two, "user1", 1)]);
        let expected = format!(
            r#"{{"name":"Doctor","role":"doctor","img":"a.png","legacy":{{"id":"{one}","merged":["{:024x}"]}}}}"#,
            3
        );
        assert_eq!(*people.people[0].attributes, *expected);
        assert!(people.people[0].was_imported_as(&expected));
        assert!(!people.people[1].was_imported_as(&expected));
        assert!(!people.people[0].was_imported_as("{}"));
    }

    #[test]
    fn names_become_accounts_where_they_can() {
        let documents = vec![
            user(1, "Doctor", "doctor"),
            user(2, "Ada Lovelace", "patient"),
            user(3, "user1", "patient"),
            user(4, "user1", "doctor"),
        ];
        let people = People::meet(documents, IdFrom::Name);
        assert_eq!(ids(&people), [("Doctor", "Doctor", 0)]);
        let why: Vec<_> = people
            .skipped
            .iter()
            .map(|skipped| skipped.why.as_str())
            .collect();
        assert_eq!(why.len(), 3);
        assert!(
            why[0].starts_with("the name \"Ada Lovelace\" cannot be an account id: "),
            "{why:?}"
        );
        assert_eq!(why[1], "2 different users are called \"user1\"");
    }

    #[test]
    fn many_duplicates_fit_and_a_long_name_does_not() {
        let documents = (0..200).map(|id| user(id, "user1", "patient")).collect();
        let people = People::meet(documents, IdFrom::Id);
        assert_eq!((people.people.len(), people.people[0].merged.len()), (1, 199));
        assert!(people.people[0].attributes.ends_with(r#""merged_count":199}}"#));
        let long = People::meet(vec![user(1, &"x".repeat(2000), "patient")], IdFrom::Id);
        assert_eq!((long.people.len(), long.skipped.len()), (0, 1));
    }
}
