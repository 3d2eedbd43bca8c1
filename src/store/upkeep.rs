//! What is done to a store before anybody uses it, and what is asked of it by who looks after it: setting up,
//! checking, emptying.
//!
//! Must not know command lines, and not what a relay does with the store.
//!
//! # Promises
//!
//! - [`Upkeep::plan`] and [`Upkeep::inspect`] write nothing, and may run beside a relay.
//! - [`Upkeep::apply`] may be cut off anywhere and run again; two at once are one after the other, or refused.
//! - [`Upkeep::reset`] removes what is chatctl's and nothing else.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use chatctl_protocol::{PoolName, Suite};

use crate::model::{MailboxId, UnixMs};
use crate::store::embedded::OpenError as EmbeddedError;
use crate::store::mongodb::OpenError as DatabaseError;
use crate::store::{Error, Item};

/// Why something could not be done to a store.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The embedded store does not open.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The database does not open, or has another schema.
    #[error(transparent)]
    MongoDb(#[from] DatabaseError),
    /// There is nothing that could be looked at.
    #[error("there is no store in {}", .0.display())]
    NoStore(PathBuf),
    /// Somebody else is at it.
    #[error("{holder} is changing the database, until {} at the latest", until.rfc3339())]
    Held {
        /// Who.
        holder: String,
        /// Until when, if it says no more.
        until: UnixMs,
    },
    /// Somebody else took over, because this took longer than the lease without a word to the server.
    #[error("the lease on the database was lost")]
    LeaseLost,
    /// Something can only be had by dropping an index and building it again.
    #[error("{} has to be dropped and built again", .0.join(", "))]
    NeedsRebuild(Vec<String>),
    /// A unique index cannot be built over what is there.
    #[error("the unique index {0} cannot be built: some documents have the same key")]
    Duplicates(String),
    /// Something that is no plain collection has a name that is needed.
    #[error("{0} is a view or a time series, and a plain collection of this name is needed")]
    InTheWay(String),
    /// The store says of itself that it is not to be emptied.
    #[error("the store's environment is {0}")]
    Protected(String),
    /// It answers, and something else went wrong.
    #[error("the store cannot do it")]
    Store(#[from] Error),
}

/// The environment whose stores are never emptied.
pub const PRODUCTION: &str = "production";

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Something is missing.
    Create,
    /// Something is changed in its place, at once.
    Change,
    /// Something is dropped and built again: what needs it is slow meanwhile.
    Rebuild,
    /// Something is there that this version does not know. It is left alone.
    Unknown,
}

/// What a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The number of the whole.
    Schema,
    /// A collection.
    Collection,
    /// The rule for the documents of a collection.
    Validator,
    /// An index.
    Index,
}

/// One difference between what a store should be and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// To what kind of thing.
    pub part: Part,
    /// Its name; an index has its collection's before its own.
    pub name: String,
    /// What it is, or what changes, in a few words; may be empty.
    pub detail: String,
    /// Documents that have to be gone through.
    pub documents: u64,
}

/// The differences between what a store should be and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The schema that it has; `None` when it was never set up.
    pub found: Option<u32>,
    /// The schema of this version.
    pub wanted: u32,
    /// In the order in which they are done.
    pub steps: Vec<Step>,
}

impl Plan {
    /// What is to be done.
    pub fn pending(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action != Action::Unknown)
    }
}

/// How far something has come.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A step begins.
    Begun(&'a Step),
    /// A step has gone through some of its documents.
    At(&'a Step, u64),
    /// A step is done.
    Done(&'a Step),
}

/// Hears how far something has come.
pub type Listener<'a> = &'a (dyn Fn(Progress<'_>) + Send + Sync);

/// How a store is brought up to date.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Whether indexes may be dropped and built again.
    pub rebuild: bool,
    /// What the store should say of where it is used.
    pub environment: Option<String>,
}

/// Something of the store that was set up: when, and by which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// A collection, or the schema as a whole.
    pub part: String,
    /// The schema's number then.
    pub version: u32,
    /// When.
    pub at: UnixMs,
    /// The version of chatctl.
    pub by: String,
}

/// Judges the items of a bundle by their identity; what is wrong, in words.
pub type Judge = fn(&Suite, &Bytes, &[(PoolName, Item)]) -> Result<(), String>;

/// How closely to look.
#[derive(Clone, Copy)]
pub struct Depth {
    /// Documents of each kind to look at; `None` for all.
    pub sample: Option<u32>,
    /// Items below which a queue counts as low.
    pub floor: u32,
    /// Who judges bundles.
    pub judge: Judge,
}

impl fmt::Debug for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Depth")
            .field("sample", &self.sample)
            .field("floor", &self.floor)
            .finish_non_exhaustive()
    }
}

/// What was looked at under one aspect, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The aspect, in a word or two.
    pub name: String,
    /// How many were looked at.
    pub looked: u64,
    /// How many are not good.
    pub bad: u64,
    /// Whether it matters: a warning does not.
    pub warning: bool,
    /// Where, for a few: mailboxes, never contents.
    pub examples: Vec<String>,
}

impl Check {
    /// A check that has not looked at anything.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            looked: 0,
            bad: 0,
            warning: false,
            examples: Vec::new(),
        }
    }

    /// One whose findings are warnings.
    #[must_use]
    pub fn warning(name: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::new(name)
        }
    }

    /// Notes that something is not good.
    pub fn found(&mut self, example: impl Into<String>) {
        self.bad += 1;
        let example = example.into();
        if self.examples.len() < EXAMPLES && !example.is_empty() && !self.examples.contains(&example) {
            self.examples.push(example);
        }
    }
}

/// Most examples of one check.
const EXAMPLES: usize = 5;

/// What a mailbox is called in an example.
pub(super) fn name_of(mailbox: MailboxId) -> String {
    format!("mailbox {}", mailbox.0)
}

/// How much there is of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    /// A collection or a table.
    pub name: String,
    /// Its documents or rows.
    pub count: u64,
}

/// What is done to a store by who looks after it.
#[async_trait]
pub trait Upkeep: Send + Sync + fmt::Debug {
    /// What has to be typed to empty it: the database's name, or the directory's.
    fn name(&self) -> String;

    /// What is missing or different.
    async fn plan(&self) -> Result<Plan, UpkeepError>;

    /// Makes the store what this version needs; what was done, nothing at the second time.
    async fn apply(&self, wishes: &Wishes, listener: Listener<'_>) -> Result<Vec<Step>, UpkeepError>;

    /// Looks for what does not fit together.
    async fn inspect(&self, depth: Depth) -> Result<Vec<Check>, UpkeepError>;

    /// What it says of where it is used.
    async fn environment(&self) -> Result<Option<String>, UpkeepError>;

    /// How it became what it is, the oldest first.
    async fn history(&self) -> Result<Vec<Past>, UpkeepError>;

    /// How much there is of chatctl's.
    async fn contents(&self) -> Result<Vec<Amount>, UpkeepError>;

    /// Deletes everything of chatctl's; what it was.
    async fn reset(&self) -> Result<Vec<Amount>, UpkeepError>;
}
