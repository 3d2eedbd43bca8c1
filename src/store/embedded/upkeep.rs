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
use crate::store::embedded::{OpenError, Synchronous, inspect, schema};
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
            None => Err(absent(path)),
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
            Some(conn) => Ok(contents(&conn).map_err(OpenError::from)?),
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

/// A place where no store is, and where none may be made.
fn absent(path: &Path) -> UpkeepError {
    let error = io::Error::new(
        io::ErrorKind::NotFound,
        format!("there is no store in {}", path.display()),
    );
    OpenError::Io(error).into()
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

fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([name])
}

fn environment(conn: &Connection) -> Result<Option<String>, UpkeepError> {
    if !has_table(conn, "note").map_err(OpenError::from)? {
        return Ok(None);
    }
    let noted = conn.query_row("SELECT text FROM note WHERE name = 'environment'", [], |row| {
        row.get(0)
    });
    Ok(noted.optional().map_err(OpenError::from)?)
}

fn history(conn: &Connection) -> rusqlite::Result<Vec<Past>> {
    if !has_table(conn, "history")? {
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

fn contents(conn: &Connection) -> rusqlite::Result<Vec<Amount>> {
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
    let amounts = contents(&conn).map_err(OpenError::from)?;
    drop(conn);
    directory.remove_database().map_err(OpenError::from)?;
    Ok(amounts)
}
