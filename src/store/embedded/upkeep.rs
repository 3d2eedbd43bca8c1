//! Looking after an embedded store: from outside, with a connection that only reads, or under the
//! directory's lock.
//!
//! Must not know command lines. See [`crate::store::upkeep`] for the promises.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _};

use crate::model::UnixMs;
use crate::store::Error;
use crate::store::embedded::files::{self, Directory};
use crate::store::embedded::{OpenError, Synchronous, acked, inspect, schema};
use crate::store::upkeep::{
    Action, Amount, Check, Depth, Listener, PRODUCTION, Part, Past, Plan, Progress, Step, Upkeep,
    UpkeepError, Wishes,
};

/// A directory in which an embedded store is or will be.
#[derive(Debug)]
pub struct Premises {
    path: PathBuf,
}

impl Premises {
    /// The directory of this name; it may be missing.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Does something with the files, on a thread that may wait for them.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, UpkeepError> + Send + 'static,
    ) -> Result<T, UpkeepError> {
        let path = self.path.clone();
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        done.map_err(|_| Error::Unavailable("the work broke off".into()))?
    }
}

#[async_trait]
impl Upkeep for Premises {
    fn name(&self) -> String {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let last = path.file_name().unwrap_or(path.as_os_str());
        last.to_string_lossy().into_owned()
    }

    async fn plan(&self) -> Result<Plan, UpkeepError> {
        self.with(plan).await
    }

    async fn apply(&self, wishes: &Wishes, listener: Listener<'_>) -> Result<Vec<Step>, UpkeepError> {
        let plan = self.plan().await?;
        for step in &plan.steps {
            listener(Progress::Begun(step));
        }
        let wishes = wishes.clone();
        let steps = self.with(move |path| apply(path, &wishes)).await?;
        for step in &steps {
            listener(Progress::Done(step));
        }
        Ok(steps)
    }

    async fn inspect(&self, depth: Depth) -> Result<Vec<Check>, UpkeepError> {
        self.with(move |path| match current(path)? {
            Some(conn) => Ok(inspect::everything(&conn, depth).map_err(harmless)?),
            None => Err(UpkeepError::NoStore(path.to_owned())),
        })
        .await
    }

    async fn environment(&self) -> Result<Option<String>, UpkeepError> {
        self.with(|path| match reader(path)? {
            Some(conn) => environment(&conn),
            None => Ok(None),
        })
        .await
    }

    async fn history(&self) -> Result<Vec<Past>, UpkeepError> {
        self.with(|path| match reader(path)? {
            Some(conn) => Ok(history(&conn).map_err(OpenError::from)?),
            None => Ok(Vec::new()),
        })
        .await
    }

    async fn contents(&self) -> Result<Vec<Amount>, UpkeepError> {
        self.with(|path| match reader(path)? {
            Some(conn) => contents(&conn),
            None => Ok(Vec::new()),
        })
        .await
    }

    async fn reset(&self) -> Result<Vec<Amount>, UpkeepError> {
        self.with(reset).await
    }
}

/// A connection that only reads, if there is a store; whatever its schema.
fn reader(path: &Path) -> Result<Option<Connection>, UpkeepError> {
    let file = path.join(files::DATABASE);
    match fs::metadata(&file) {
        Ok(found) if found.len() == 0 => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::from(error).into()),
    }
    Ok(Some(schema::reader(&file)?))
}

/// A connection that only reads, if there is a store of this version's schema.
fn current(path: &Path) -> Result<Option<Connection>, UpkeepError> {
    let Some(conn) = reader(path)? else {
        return Ok(None);
    };
    match schema::found(&conn)? {
        Some(version) if version == schema::VERSION => Ok(Some(conn)),
        Some(found) => Err(OpenError::Older {
            found,
            wanted: schema::VERSION,
        }
        .into()),
        None => Ok(None),
    }
}

/// A read that fails says nothing about what was written.
fn harmless(error: Error) -> Error {
    match error {
        Error::Poisoned(why) => Error::Unavailable(why),
        other @ (Error::Full | Error::Unavailable(_) | Error::Corrupt(_)) => other,
    }
}

fn plan(path: &Path) -> Result<Plan, UpkeepError> {
    let found = match reader(path)? {
        Some(conn) => schema::found(&conn)?,
        None => None,
    };
    let wanted = schema::VERSION;
    let step = |action, detail| Step {
        action,
        part: Part::Schema,
        name: files::DATABASE.to_owned(),
        detail,
        documents: 0,
    };
    let steps = match found {
        None => vec![step(Action::Create, format!("schema {wanted}"))],
        Some(found) if found < wanted => {
            vec![step(Action::Change, format!("schema {found} → {wanted}"))]
        }
        Some(_) => Vec::new(),
    };
    Ok(Plan {
        found: found.map(i32::cast_unsigned),
        wanted: wanted.cast_unsigned(),
        steps,
    })
}

fn apply(path: &Path, wishes: &Wishes) -> Result<Vec<Step>, UpkeepError> {
    let steps = plan(path)?.steps;
    if steps.is_empty() && wishes.environment.is_none() {
        return Ok(steps);
    }
    let directory = Directory::hold(path)?;
    let conn = schema::writer(&directory.database(), Synchronous::Full)?;
    if let Some(environment) = &wishes.environment {
        conn.execute(
            "INSERT INTO note VALUES ('environment', ?1) ON CONFLICT DO UPDATE SET text = ?1",
            [environment],
        )
        .map_err(OpenError::from)?;
    }
    Ok(steps)
}

fn environment(conn: &Connection) -> Result<Option<String>, UpkeepError> {
    if !schema::has_table(conn, "note").map_err(OpenError::from)? {
        return Ok(None);
    }
    let noted = conn.query_row("SELECT text FROM note WHERE name = 'environment'", [], |row| {
        row.get(0)
    });
    Ok(noted.optional().map_err(OpenError::from)?)
}

fn history(conn: &Connection) -> rusqlite::Result<Vec<Past>> {
    if !schema::has_table(conn, "history")? {
        return Ok(Vec::new());
    }
    let mut select = conn.prepare("SELECT version, at, by FROM history ORDER BY version")?;
    let rows = select.query_map([], |row| {
        Ok(Past {
            part: "schema".to_owned(),
            version: row.get(0)?,
            at: UnixMs(row.get::<_, i64>(1)?.cast_unsigned()),
            by: row.get(2)?,
        })
    })?;
    rows.collect()
}

/// Rows of each table. Rows of acked mail do not count, nor do the lists that name them.
fn contents(conn: &Connection) -> Result<Vec<Amount>, UpkeepError> {
    let acked = match schema::has_table(conn, "acked").map_err(OpenError::from)? {
        true => acked::rows(conn).map_err(harmless)?,
        false => 0,
    };
    let mut amounts = count(conn).map_err(OpenError::from)?;
    amounts.retain(|amount| amount.name != "acked");
    if let Some(mail) = amounts.iter_mut().find(|amount| amount.name == "mail") {
        mail.count = mail.count.saturating_sub(acked);
    }
    Ok(amounts)
}

fn count(conn: &Connection) -> rusqlite::Result<Vec<Amount>> {
    let mut select = conn.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name",
    )?;
    let names: Vec<String> = select
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let count = |name: String| {
        let sql = format!("SELECT count(*) FROM \"{name}\"");
        let count: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
        Ok(Amount {
            name,
            count: count.cast_unsigned(),
        })
    };
    names.into_iter().map(count).collect()
}

fn reset(path: &Path) -> Result<Vec<Amount>, UpkeepError> {
    let Some(conn) = reader(path)? else {
        return Ok(Vec::new());
    };
    schema::found(&conn)?;
    let directory = Directory::hold(path)?;
    if let Some(environment) = environment(&conn)?.filter(|environment| environment == PRODUCTION) {
        return Err(UpkeepError::Protected(environment));
    }
    let amounts = contents(&conn)?;
    drop(conn);
    directory.remove_database().map_err(OpenError::from)?;
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::conformance::keys::publish;
    use crate::store::conformance::{acks, batch, envelope, mailbox};
    use crate::store::embedded::{Embedded, Options};
    use crate::store::{KeyStore as _, MailStore as _};

    fn written_by_version_1() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store-v1/chatctl.sqlite");
        fs::copy(fixture, directory.path().join("chatctl.sqlite")).unwrap();
        directory
    }

    fn depth(sample: Option<u32>) -> Depth {
        Depth {
            sample,
            floor: 10,
            judge: |_, _, items| match items {
                [] => Ok(()),
                [(pool, _), ..] => Err(format!("pool {pool} is bad")),
            },
        }
    }

    #[tokio::test]
    async fn an_older_store_is_migrated_once_and_remembers_it() {
        let directory = written_by_version_1();
        let premises = Premises::at(directory.path());
        let plan = premises.plan().await.unwrap();
        assert_eq!((plan.found, plan.steps.len()), (Some(1), 1));
        assert_eq!(plan.steps[0].detail, "schema 1 → 5");
        let refused = premises.inspect(depth(None)).await.unwrap_err();
        assert!(matches!(
            refused,
            UpkeepError::Embedded(OpenError::Older { found: 1, wanted: 5 })
        ));
        let wishes = Wishes::default();
        assert_eq!(premises.apply(&wishes, &|_| {}).await.unwrap(), plan.steps);
        assert_eq!(premises.apply(&wishes, &|_| {}).await.unwrap(), []);
        let versions: Vec<_> = premises.history().await.unwrap();
        assert_eq!(
            versions.iter().map(|past| past.version).collect::<Vec<_>>(),
            [2, 3, 4, 5]
        );
    }

    #[tokio::test]
    async fn what_does_not_fit_is_found_beside_an_open_store() {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let bob = mailbox(&*store, "bob").await;
        store.commit(batch([envelope(1, bob, "x")])).await.unwrap();
        store.upload(publish(bob, &["a"])).await.unwrap();
        let planted = Connection::open(directory.path().join("chatctl.sqlite")).unwrap();
        planted
            .execute_batch(
                "INSERT INTO mail SELECT id + 1, 77, sender, expires_at, head, payload FROM mail;
                 INSERT INTO revocation VALUES (5, '', '', 'of nobody', 0, 0, 0, '');
                 INSERT INTO job_run VALUES ('a', 0, 1, 0, 0, '', 0, 0, 'lost', 0, '[]', 0, 0, NULL);",
            )
            .unwrap();
        for sample in [Some(5), None] {
            let checks = Premises::at(directory.path())
                .inspect(depth(sample))
                .await
                .unwrap();
            let bad: Vec<_> = checks.iter().filter(|check| check.bad > 0).collect();
            let bad: Vec<_> = bad.iter().map(|check| (&*check.name, check.warning)).collect();
            assert_eq!(
                bad,
                [
                    ("mail of a device", false),
                    ("revocations that can be read", false),
                    ("runs that can be read", false),
                    ("bundles with good signatures", false),
                    ("queues with 10 items or more", true),
                ]
            );
            let orphans = checks.iter().find(|check| check.name == "mail of a device");
            assert_eq!(orphans.unwrap().examples, ["mailbox 77"]);
        }
    }

    #[tokio::test]
    async fn what_was_acked_is_not_counted_though_its_row_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let bob = mailbox(&*store, "bob").await;
        let mail = (1..=3).map(|number| envelope(number, bob, "x"));
        store.commit(batch(mail)).await.unwrap();
        store.commit(acks(bob, [1, 3])).await.unwrap();
        drop(store);
        let premises = Premises::at(directory.path());
        let named = |amounts: Vec<Amount>| {
            let wanted = amounts.into_iter().filter(|amount| amount.count > 0);
            let told = wanted.map(|amount| (amount.name, amount.count));
            told.filter(|(name, _)| matches!(&**name, "acked" | "device" | "mail"))
                .collect::<Vec<_>>()
        };
        let wanted = [("device".to_owned(), 1), ("mail".to_owned(), 1)];
        assert_eq!(named(premises.contents().await.unwrap()), wanted);
        assert_eq!(named(premises.reset().await.unwrap()), wanted);
    }

    #[tokio::test]
    async fn a_store_in_use_and_a_store_in_production_are_not_emptied() {
        let directory = tempfile::tempdir().unwrap();
        let premises = Premises::at(directory.path());
        let store = Embedded::open(directory.path(), &Options::default()).unwrap();
        let held = premises.reset().await.unwrap_err();
        assert!(
            matches!(held, UpkeepError::Embedded(OpenError::Held(_))),
            "{held:?}"
        );
        drop(store);
        let mut wishes = Wishes {
            environment: Some(PRODUCTION.to_owned()),
            ..Wishes::default()
        };
        premises.apply(&wishes, &|_| {}).await.unwrap();
        let refused = premises.reset().await.unwrap_err();
        assert!(matches!(refused, UpkeepError::Protected(_)), "{refused:?}");
        wishes.environment = Some("test".to_owned());
        premises.apply(&wishes, &|_| {}).await.unwrap();
        assert!(!premises.reset().await.unwrap().is_empty());
        assert_eq!(premises.plan().await.unwrap().found, None);
        assert_eq!(premises.reset().await.unwrap(), []);
    }
}
