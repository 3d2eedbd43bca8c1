//! Looking after a database: its layout is compared, made, checked and removed.
//!
//! Nothing here is bound by a verb's deadline where the server has to go through documents. Must not know
//! command lines. See [`crate::store::upkeep`] for the promises.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::error::Error as DriverError;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::model::Clock;
use crate::store::Error;
use crate::store::mongodb::connect::{self, OpenError, Options, Uri};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::diff::{self, Actual, Change, Remedy};
use crate::store::mongodb::facts::{self, Facts};
use crate::store::mongodb::layout::{self, Collection, Index};
use crate::store::mongodb::lease::Lease;
use crate::store::mongodb::{error, history, inspect, meta};
use crate::store::upkeep::{
    Action, Amount, Check, Depth, Listener, PRODUCTION, Part, Past, Plan, Progress, Step, Upkeep,
    UpkeepError, Wishes,
};

/// A database in which a store is or will be.
#[derive(Debug)]
pub struct Premises {
    db: Connection,
}

impl Premises {
    /// Reaches the database, whatever is in it.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn reach(uri: &Uri, options: &Options) -> Result<Self, OpenError> {
        let db = connect::reach(uri, options).await?;
        Ok(Self { db })
    }

    /// What the database is, as far as it says so.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn facts(&self, clock: &Clock) -> Result<Facts, OpenError> {
        facts::gather(&self.db, clock).await
    }
}

/// Sets a database up that nobody has set up, for demos and tests; somebody who does it already is waited for.
///
/// # Errors
///
/// See [`OpenError`].
pub(super) async fn first_time(db: &Connection) -> Result<(), OpenError> {
    let started = Instant::now();
    loop {
        let error = match apply(db, &Wishes::default(), &|_| {}).await {
            Ok(_) => return Ok(()),
            Err(UpkeepError::Held { .. }) if started.elapsed() < db.timeout => {
                sleep(PAUSE).await;
                continue;
            }
            Err(UpkeepError::MongoDb(error)) => return Err(error),
            Err(error) => error,
        };
        return Err(Error::Unavailable(error.to_string().into()).into());
    }
}

#[async_trait]
impl Upkeep for Premises {
    fn name(&self) -> String {
        self.db.database.name().to_owned()
    }

    async fn plan(&self) -> Result<Plan, UpkeepError> {
        let (found, changes) = compare(&self.db).await?;
        Ok(plan_of(found, &changes))
    }

    async fn apply(&self, wishes: &Wishes, listener: Listener<'_>) -> Result<Vec<Step>, UpkeepError> {
        apply(&self.db, wishes, listener).await
    }

    async fn inspect(&self, depth: Depth) -> Result<Vec<Check>, UpkeepError> {
        connect::check_layout(&self.db).await?;
        let checks = inspect::everything(&self.db, depth).await;
        checks.map_err(|error| failed(&self.db, &error))
    }

    async fn environment(&self) -> Result<Option<String>, UpkeepError> {
        soon(&self.db, meta::environment(&self.db)).await
    }

    async fn history(&self) -> Result<Vec<Past>, UpkeepError> {
        soon(&self.db, history::read(&self.db)).await
    }

    async fn contents(&self) -> Result<Vec<Amount>, UpkeepError> {
        let ours: Vec<&str> = layout::collections().map(|collection| collection.name).collect();
        let mut amounts = Vec::new();
        for found in soon(&self.db, look(&self.db)).await? {
            if ours.contains(&&*found.name) && found.plain {
                amounts.push(Amount {
                    name: found.name,
                    count: found.documents,
                });
            }
        }
        amounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(amounts)
    }

    async fn reset(&self) -> Result<Vec<Amount>, UpkeepError> {
        let amounts = self.contents().await?;
        if amounts.is_empty() {
            return Ok(amounts);
        }
        if let Some(environment) = self.environment().await?.filter(|name| name == PRODUCTION) {
            return Err(UpkeepError::Protected(environment));
        }
        make_meta(&self.db).await?;
        let lease = Lease::take(&self.db).await?;
        lease.during(clear(&self.db, &amounts)).await?;
        Ok(amounts)
    }
}

/// Drops collections. First the number that says that they are good, last what holds the lease.
async fn clear(db: &Connection, amounts: &[Amount]) -> Result<(), UpkeepError> {
    soon(db, async {
        db.collection(meta::META)
            .delete_one(doc! { "_id": "layout" })
            .await
    })
    .await?;
    let others = amounts
        .iter()
        .map(|amount| &*amount.name)
        .filter(|name| *name != meta::META);
    let names: Vec<&str> = others.chain([meta::META]).collect();
    for name in names {
        let dropped = db.collection(name).drop().await;
        dropped.map_err(|error| failed(db, &error))?;
    }
    Ok(())
}

/// Brings a database up to date.
async fn apply(db: &Connection, wishes: &Wishes, listener: Listener<'_>) -> Result<Vec<Step>, UpkeepError> {
    let (found, changes) = compare(db).await?;
    if plan_of(found, &changes).pending().next().is_none() && wishes.environment.is_none() {
        return Ok(Vec::new());
    }
    refuse_rebuilds(&changes, wishes)?;
    let first = make_meta(db).await?;
    let lease = Lease::take(db).await?;
    let done = lease.during(change(db, wishes, listener)).await;
    lease.give_back().await;
    Ok(first.into_iter().chain(done?).collect())
}

/// Changes what differs now that nobody else does.
async fn change(db: &Connection, wishes: &Wishes, listener: Listener<'_>) -> Result<Vec<Step>, UpkeepError> {
    let (found, changes) = compare(db).await?;
    refuse_rebuilds(&changes, wishes)?;
    let plan = plan_of(found, &changes);
    for change in &changes {
        if change.step.action != Action::Unknown {
            listener(Progress::Begun(&change.step));
            remedy(db, change, listener).await?;
            listener(Progress::Done(&change.step));
        }
    }
    if plan.pending().next().is_some() {
        soon(db, history::record(db)).await?;
    }
    if let Some(environment) = &wishes.environment {
        soon(db, meta::set_environment(db, environment)).await?;
    }
    // Last: a database that says that it is good, is.
    soon(db, meta::record_layout(db)).await?;
    Ok(plan.pending().cloned().collect())
}

fn refuse_rebuilds(changes: &[Change], wishes: &Wishes) -> Result<(), UpkeepError> {
    let rebuilds = changes
        .iter()
        .filter(|change| change.step.action == Action::Rebuild);
    let names: Vec<String> = rebuilds.map(|change| change.step.name.clone()).collect();
    match wishes.rebuild || names.is_empty() {
        true => Ok(()),
        false => Err(UpkeepError::NeedsRebuild(names)),
    }
}

fn plan_of(found: Option<u32>, changes: &[Change]) -> Plan {
    let wanted = layout::VERSION;
    let mut steps: Vec<Step> = changes.iter().map(|change| change.step.clone()).collect();
    if found != Some(wanted) {
        let action = found.map_or(Action::Create, |_| Action::Change);
        let was = found.map_or(String::new(), |found| format!("{found} → "));
        let known = steps.iter().position(|step| step.action == Action::Unknown);
        let step = Step {
            action,
            part: Part::Schema,
            name: "schema".to_owned(),
            detail: format!("{was}{wanted}"),
            documents: 0,
        };
        steps.insert(known.unwrap_or(steps.len()), step);
    }
    Plan { found, wanted, steps }
}

/// The number of the layout, and what differs from it.
async fn compare(db: &Connection) -> Result<(Option<u32>, Vec<Change>), UpkeepError> {
    let found = soon(db, meta::number(db, "layout")).await?;
    let found = found.map(|found| u32::try_from(found).unwrap_or(u32::MAX));
    if let Some(found) = found.filter(|found| *found > layout::VERSION) {
        return Err(OpenError::Newer {
            database: db.database.name().to_owned(),
            found,
            known: layout::VERSION,
        }
        .into());
    }
    let actual = soon(db, look(db)).await?;
    Ok((found, diff::diff(layout::collections(), &actual)?))
}

/// What is in the database. As documents: an index that was made by hand need not fit the driver's types.
async fn look(db: &Connection) -> mongodb::error::Result<Vec<Actual>> {
    let listed = db
        .database
        .run_cursor_command(doc! { "listCollections": 1 })
        .await?;
    let listed: Vec<Document> = listed.try_collect().await?;
    let mut actual = Vec::new();
    for entry in listed {
        let name = entry.get_str("name").unwrap_or_default().to_owned();
        let plain = entry.get_str("type").ok() == Some("collection");
        let (mut indexes, mut documents) = (Vec::new(), 0);
        if plain && !name.starts_with("system.") {
            let listed = db
                .database
                .run_cursor_command(doc! { "listIndexes": &name })
                .await?;
            indexes = listed.try_collect().await?;
            documents = db.collection(&name).estimated_document_count().await?;
        }
        actual.push(Actual {
            name,
            plain,
            options: entry.get_document("options").cloned().unwrap_or_default(),
            indexes,
            documents,
        });
    }
    Ok(actual)
}

/// Makes the collection of facts, in which the lease stands.
async fn make_meta(db: &Connection) -> Result<Option<Step>, UpkeepError> {
    let meta = layout::collections().find(|collection| collection.name == meta::META);
    let Some(meta) = meta else { return Ok(None) };
    let made = db
        .database
        .create_collection(meta.name)
        .validator(meta.validator());
    match made.await {
        Ok(()) => Ok(Some(Step {
            action: Action::Create,
            part: Part::Collection,
            name: meta.name.to_owned(),
            detail: "with a validator".to_owned(),
            documents: 0,
        })),
        Err(error) if error::is_existing(&error) => Ok(None),
        Err(error) => Err(failed(db, &error)),
    }
}

async fn remedy(db: &Connection, change: &Change, listener: Listener<'_>) -> Result<(), UpkeepError> {
    let done = match &change.remedy {
        Remedy::Leave => Ok(()),
        Remedy::Make(wanted) => {
            let made = db
                .database
                .create_collection(wanted.name)
                .validator(wanted.validator());
            match made.await {
                Err(error) if error::is_existing(&error) => Ok(()),
                made => made,
            }
        }
        Remedy::Validate(wanted) => {
            let command = doc! {
                "collMod": wanted.name,
                "validator": wanted.validator(),
                "validationLevel": "strict",
                "validationAction": "error",
            };
            db.database.run_command(command).await.map(drop)
        }
        Remedy::Expire(wanted, index) => {
            let seconds = index.expire_after.unwrap_or_default().as_secs();
            let index = doc! { "name": index.name, "expireAfterSeconds": seconds.cast_signed() };
            let command = doc! { "collMod": wanted.name, "index": index };
            db.database.run_command(command).await.map(drop)
        }
        Remedy::Build(wanted, index) => return build(db, wanted, index, (&change.step, listener)).await,
        Remedy::Rebuild(wanted, index, old) => {
            // Before the old one goes: better the old one than none.
            refuse_duplicates(db, wanted, index).await?;
            let dropped = db.collection(wanted.name).drop_index(old).await;
            dropped.map_err(|error| failed(db, &error))?;
            return build(db, wanted, index, (&change.step, listener)).await;
        }
    };
    done.map_err(|error| failed(db, &error))
}

/// Builds an index, however long it takes.
async fn build(
    db: &Connection,
    wanted: &Collection,
    index: &Index,
    (step, listener): (&Step, Listener<'_>),
) -> Result<(), UpkeepError> {
    let collection = db.collection(wanted.name);
    let mut building = pin!(async { collection.create_index(index.model()).await });
    let mut looks = interval(LOOK);
    let built = loop {
        tokio::select! {
            built = &mut building => break built,
            _ = looks.tick() => {
                if let Some(done) = progress(db, wanted.name).await {
                    listener(Progress::At(step, done));
                }
            }
        }
    };
    match built {
        Ok(_) => Ok(()),
        Err(error) if error::is_duplicate(&error) => Err(UpkeepError::Duplicates(step.name.clone())),
        // Somebody made another one since the comparison.
        Err(error) if error::is_conflict(&error) => Err(UpkeepError::NeedsRebuild(vec![step.name.clone()])),
        Err(error) => Err(failed(db, &error)),
    }
}

async fn refuse_duplicates(db: &Connection, wanted: &Collection, index: &Index) -> Result<(), UpkeepError> {
    if !index.unique {
        return Ok(());
    }
    let key: Document = index
        .keys
        .iter()
        .map(|(field, _)| ((*field).to_owned(), format!("${field}").into()))
        .collect();
    let look = [
        doc! { "$group": { "_id": key, "n": { "$sum": 1 } } },
        doc! { "$match": { "n": { "$gt": 1 } } },
        doc! { "$limit": 1 },
    ];
    let found = db
        .collection(wanted.name)
        .aggregate(look)
        .allow_disk_use(true)
        .await;
    let mut found = found.map_err(|error| failed(db, &error))?;
    match found.advance().await.map_err(|error| failed(db, &error))? {
        true => Err(UpkeepError::Duplicates(format!("{}.{}", wanted.name, index.name))),
        false => Ok(()),
    }
}

/// How many documents an index that is being built has behind it, if this user may know.
async fn progress(db: &Connection, collection: &str) -> Option<u64> {
    let look = [
        doc! { "$currentOp": { "allUsers": true } },
        doc! { "$match": { "command.createIndexes": collection, "progress.total": { "$gt": 0 } } },
        doc! { "$project": { "done": { "$toLong": "$progress.done" } } },
    ];
    let admin = db.client.database("admin");
    let mut found = timeout(LOOK, async { admin.aggregate(look).await })
        .await
        .ok()?
        .ok()?;
    let found = timeout(LOOK, found.try_next()).await.ok()?.ok()??;
    u64::try_from(found.get_i64("done").ok()?).ok()
}

/// Waits for what the server answers at once, or not at all.
async fn soon<T>(
    db: &Connection,
    work: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, UpkeepError> {
    match timeout(db.timeout, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failed(db, &error)),
        Err(_) => Err(OpenError::Unreachable {
            hosts: db.hosts.clone(),
            within: db.timeout,
            source: Error::Unavailable("no answer".into()),
        }
        .into()),
    }
}

fn failed(db: &Connection, error: &DriverError) -> UpkeepError {
    connect::refusal(&db.hosts, db.timeout, error).into()
}

/// Time between two looks at an index that is being built.
const LOOK: Duration = Duration::from_secs(1);

/// Time between two tries to be the one who sets a database up.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
