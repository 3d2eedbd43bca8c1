//! What differs between the collections that should be there and those that are: a pure function.

use std::collections::HashMap;
use std::time::Duration;

use mongodb::bson::{Bson, Document};

use crate::store::mongodb::layout::{Collection, Index};
use crate::store::upkeep::{Action, Part, Step, UpkeepError};

/// A collection as it is.
#[derive(Debug)]
pub(super) struct Actual {
    /// Its name.
    pub(super) name: String,
    /// Whether it is a plain collection.
    pub(super) plain: bool,
    /// The options that it was made or changed with.
    pub(super) options: Document,
    /// Its indexes, as the server tells them.
    pub(super) indexes: Vec<Document>,
    /// About how many documents it has.
    pub(super) documents: u64,
}

/// A difference, and how it is made to go away.
#[derive(Debug)]
pub(super) struct Change {
    /// For people.
    pub(super) step: Step,
    /// For us.
    pub(super) remedy: Remedy,
}

/// What makes a difference go away.
#[derive(Debug)]
pub(super) enum Remedy {
    /// Nothing is done.
    Leave,
    /// The collection is made.
    Make(&'static Collection),
    /// Its validator is replaced.
    Validate(&'static Collection),
    /// An index is built.
    Build(&'static Collection, &'static Index),
    /// An index' time is changed.
    Expire(&'static Collection, &'static Index),
    /// The index of this name is dropped, and the right one is built.
    Rebuild(&'static Collection, &'static Index, String),
}

/// Every difference, in the order in which they go away.
///
/// # Errors
///
/// [`UpkeepError::InTheWay`] when a name is taken by something that is no plain collection.
pub(super) fn diff(
    wanted: impl Iterator<Item = &'static Collection>,
    actual: &[Actual],
) -> Result<Vec<Change>, UpkeepError> {
    let mut there: HashMap<&str, &Actual> = actual.iter().map(|found| (&*found.name, found)).collect();
    let mut changes = Vec::new();
    let mut unknown = Vec::new();
    for collection in wanted {
        match there.remove(collection.name) {
            None => create(collection, &mut changes),
            Some(found) if !found.plain => return Err(UpkeepError::InTheWay(found.name.clone())),
            Some(found) => {
                validator(collection, found, &mut changes);
                indexes(collection, found, &mut changes, &mut unknown);
            }
        }
    }
    let mut others: Vec<_> = there
        .values()
        .filter(|found| !found.name.starts_with("system."))
        .collect();
    others.sort_by_key(|found| &found.name);
    changes.extend(others.into_iter().map(|found| {
        let step = step(
            Action::Unknown,
            Part::Collection,
            found,
            &found.name,
            "left alone",
        );
        Change {
            step,
            remedy: Remedy::Leave,
        }
    }));
    changes.extend(unknown);
    Ok(changes)
}

fn step(action: Action, part: Part, found: &Actual, name: &str, detail: &str) -> Step {
    let name = match part {
        Part::Index => format!("{}.{name}", found.name),
        Part::Schema | Part::Collection | Part::Validator => name.to_owned(),
    };
    Step {
        action,
        part,
        name,
        detail: detail.to_owned(),
        documents: found.documents,
    }
}

fn create(collection: &'static Collection, changes: &mut Vec<Change>) {
    let nothing = Actual {
        name: collection.name.to_owned(),
        plain: true,
        options: Document::new(),
        indexes: Vec::new(),
        documents: 0,
    };
    changes.push(Change {
        step: step(
            Action::Create,
            Part::Collection,
            &nothing,
            collection.name,
            "with a validator",
        ),
        remedy: Remedy::Make(collection),
    });
    indexes(collection, &nothing, changes, &mut Vec::new());
}

fn validator(collection: &'static Collection, found: &Actual, changes: &mut Vec<Change>) {
    let word = |name| found.options.get_str(name).ok();
    let detail = if found.options.get_document("validator").ok() != Some(&collection.validator()) {
        "other rules"
    } else if word("validationLevel").is_some_and(|level| level != "strict")
        || word("validationAction").is_some_and(|action| action != "error")
    {
        "not enforced"
    } else {
        return;
    };
    changes.push(Change {
        step: step(Action::Change, Part::Validator, found, &found.name, detail),
        remedy: Remedy::Validate(collection),
    });
}

fn indexes(
    collection: &'static Collection,
    found: &Actual,
    changes: &mut Vec<Change>,
    unknown: &mut Vec<Change>,
) {
    let mut others: Vec<&Document> = found.indexes.iter().collect();
    others.retain(|index| name_of(index) != "_id_");
    for index in collection.indexes {
        let same_name = others.iter().position(|other| name_of(other) == index.name);
        let place = same_name.or_else(|| others.iter().position(|other| has_keys(other, index)));
        let Some(other) = place.map(|place| others.swap_remove(place)) else {
            changes.push(Change {
                step: step(Action::Create, Part::Index, found, index.name, &words(index)),
                remedy: Remedy::Build(collection, index),
            });
            continue;
        };
        changes.extend(compare(collection, index, found, other));
    }
    others.sort_by_key(|other| name_of(other));
    unknown.extend(others.into_iter().map(|other| Change {
        step: step(Action::Unknown, Part::Index, found, name_of(other), "left alone"),
        remedy: Remedy::Leave,
    }));
}

/// What has to be done with an index that has the name or the keys of one that is wanted.
fn compare(
    collection: &'static Collection,
    index: &'static Index,
    found: &Actual,
    other: &Document,
) -> Option<Change> {
    let is_unique = other.get_bool("unique").unwrap_or(false);
    let expires = other.get("expireAfterSeconds").and_then(number);
    let wanted = index.expire_after.map(|time| time.as_secs() as f64);
    let detail = if name_of(other) != index.name {
        format!("is called {}", name_of(other))
    } else if !has_keys(other, index) {
        format!("other keys: {} → {}", keys_of(other), words(index))
    } else if is_unique != index.unique {
        format!("unique: {is_unique} → {}", index.unique)
    } else if let Some(option) = OTHER_OPTIONS
        .into_iter()
        .find(|option| other.contains_key(option))
    {
        format!("has the option {option}")
    } else if expires.is_some() && wanted.is_none() {
        "deletes documents, and should not".to_owned()
    } else if expires != wanted {
        let was = expires.map_or("never".to_owned(), span);
        let detail = format!(
            "expires after {was} → {}",
            wanted.map_or("never".to_owned(), span)
        );
        return Some(Change {
            step: step(Action::Change, Part::Index, found, index.name, &detail),
            remedy: Remedy::Expire(collection, index),
        });
    } else {
        return None;
    };
    Some(Change {
        step: step(Action::Rebuild, Part::Index, found, index.name, &detail),
        remedy: Remedy::Rebuild(collection, index, name_of(other).to_owned()),
    })
}

/// Options that we never give an index, and that change what it is good for.
const OTHER_OPTIONS: [&str; 5] = [
    "partialFilterExpression",
    "sparse",
    "collation",
    "hidden",
    "wildcardProjection",
];

fn name_of(index: &Document) -> &str {
    index.get_str("name").unwrap_or_default()
}

/// Numbers are compared as such: an index that was made by hand in a shell has doubles in it.
fn number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

fn has_keys(other: &Document, index: &Index) -> bool {
    let Ok(keys) = other.get_document("key") else {
        return false;
    };
    let wanted = index.keys.iter();
    keys.len() == index.keys.len()
        && keys
            .iter()
            .zip(wanted)
            .all(|((field, direction), (name, wanted))| {
                field == name && number(direction) == Some(f64::from(*wanted))
            })
}

fn keys_of(index: &Document) -> String {
    let keys = index.get_document("key").ok();
    let fields: Vec<_> = keys
        .iter()
        .flat_map(|keys| keys.keys())
        .map(String::as_str)
        .collect();
    format!("({})", fields.join(", "))
}

fn words(index: &Index) -> String {
    let fields: Vec<_> = index.keys.iter().map(|(field, _)| *field).collect();
    let unique = if index.unique { ", unique" } else { "" };
    let expires = index.expire_after.map(|time| span(time.as_secs() as f64));
    let expires = expires.map(|time| format!(", expires after {time}"));
    format!("({}){unique}{}", fields.join(", "), expires.unwrap_or_default())
}

fn span(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span.as_secs() >= DAY && span.as_secs().is_multiple_of(DAY) => {
            format!("{} days", span.as_secs() / DAY)
        }
        Ok(span) => humantime::format_duration(span).to_string(),
        Err(_) => format!("{seconds} s"),
    }
}

/// In seconds.
const DAY: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    static WANTED: [Collection; 1] = [Collection {
        name: "mail",
        schema: || doc! { "bsonType": "object" },
        indexes: &[
            Index {
                name: "by_end",
                keys: &[("e", 1)],
                unique: false,
                expire_after: Some(Duration::from_secs(8 * DAY)),
            },
            Index {
                name: "by_address",
                keys: &[("a", 1), ("d", 1)],
                unique: true,
                expire_after: None,
            },
        ],
    }];

    fn good() -> Actual {
        Actual {
            name: "mail".into(),
            plain: true,
            options: doc! { "validator": WANTED[0].validator() },
            indexes: vec![
                doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
                doc! { "v": 2, "key": { "e": 1.0 }, "name": "by_end", "expireAfterSeconds": (8 * DAY) as i64 },
                doc! { "v": 2, "key": { "a": 1, "d": 1 }, "name": "by_address", "unique": true },
            ],
            documents: 7,
        }
    }

    fn lines(actual: &[Actual]) -> Vec<String> {
        let changes = diff(WANTED.iter(), actual).unwrap();
        let line = |Change { step, .. }: &Change| {
            format!("{:?} {:?} {}: {}", step.action, step.part, step.name, step.detail)
        };
        changes.iter().map(line).collect()
    }

    #[test]
    fn what_is_as_it_should_be_needs_nothing() {
        assert_eq!(lines(&[good()]), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_made() {
        assert_eq!(
            lines(&[]),
            [
                "Create Collection mail: with a validator",
                "Create Index mail.by_end: (e), expires after 8 days",
                "Create Index mail.by_address: (a, d), unique",
            ]
        );
    }

    #[test]
    fn a_time_and_a_validator_change_in_their_place() {
        let mut found = good();
        found.options = doc! { "validator": { "a": 1 } };
        found.indexes[1].insert("expireAfterSeconds", 3600);
        assert_eq!(
            lines(&[found]),
            [
                "Change Validator mail: other rules",
                "Change Index mail.by_end: expires after 1h → 8 days",
            ]
        );
        let mut lax = good();
        lax.options.insert("validationAction", "warn");
        assert_eq!(lines(&[lax]), ["Change Validator mail: not enforced"]);
    }

    #[test]
    fn other_keys_another_name_and_uniqueness_need_a_rebuild() {
        let mut found = good();
        found.indexes[1].insert("key", doc! { "e": -1 });
        found.indexes[2].insert("unique", false);
        assert_eq!(
            lines(&[found]),
            [
                "Rebuild Index mail.by_end: other keys: (e) → (e), expires after 8 days",
                "Rebuild Index mail.by_address: unique: false → true",
            ]
        );
        let mut renamed = good();
        renamed.indexes[1].insert("name", "e_1");
        assert_eq!(lines(&[renamed]), ["Rebuild Index mail.by_end: is called e_1"]);
        let mut hidden = good();
        hidden.indexes[2].insert("hidden", true);
        assert_eq!(
            lines(&[hidden]),
            ["Rebuild Index mail.by_address: has the option hidden"]
        );
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let mut found = good();
        found.indexes.push(doc! { "key": { "s": 1 }, "name": "mine" });
        let mut other = good();
        other.name = "photos".into();
        let mut views = good();
        views.name = "system.views".into();
        assert_eq!(
            lines(&[other, found, views]),
            [
                "Unknown Collection photos: left alone",
                "Unknown Index mail.mine: left alone",
            ]
        );
    }

    #[test]
    fn a_view_in_the_way_is_said_to_be() {
        let mut view = good();
        view.plain = false;
        let refused = diff(WANTED.iter(), &[view]);
        assert!(matches!(refused, Err(UpkeepError::InTheWay(name)) if name == "mail"));
    }
}
