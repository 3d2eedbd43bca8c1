//! `chatctl seed import-legacy`: accounts for the users of the Node demo.
//!
//! Owns the command line and the order of the work. The old collection is only read.

mod people;
mod report;

use std::path::PathBuf;

use chatctl_relay::auth::private_file;
use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::mongodb::{LegacyDocument, LegacyUsers, Uri};
use chatctl_relay::store::{OnOther, PutAccount, Store};

use self::people::{IdFrom, People, Person};
pub(crate) use self::report::Imported;
use self::report::Outcome;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;
use crate::store::{self, Fresh, mongodb_failure, store_failure};

/// Take accounts over from the Node demo's database
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed import-legacy --from mongodb://127.0.0.1:27017 --data-dir ./data
  chatctl seed import-legacy --from-uri-file old-uri --from-database prod_DB --dry-run")]
pub(super) struct ImportLegacy {
    #[command(flatten)]
    store: StoreConfig,

    /// Where the old database is: `mongodb://HOST,HOST`, without a password (see --from-uri-file)
    #[arg(long, value_name = "URI", required_unless_present = "from_uri_file")]
    from: Option<String>,

    /// File with the old database's URI, password and all (mode 0600)
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    from_uri_file: Option<PathBuf>,

    /// The old database's name
    #[arg(long, value_name = "NAME", default_value = "dev_DB")]
    from_database: String,

    /// The collection with the users
    #[arg(long, value_name = "NAME", default_value = "User")]
    collection: String,

    /// What becomes the account's id: the document's `_id` in hexadecimal, or the user's name
    #[arg(long, value_enum, value_name = "FIELD", default_value = "id")]
    id_from: IdFrom,

    /// Exit 0 although some documents are not imported
    #[arg(long)]
    skip_bad: bool,

    /// Show what would be imported; do not open the store
    #[arg(long)]
    dry_run: bool,
}

impl ImportLegacy {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let people = self.read().await?;
        let mut report = Imported::new(self.dry_run, &people);
        if self.dry_run {
            for person in &people.people {
                report.person(person, Outcome::WouldBe);
            }
        } else {
            let store = store::open(&self.store, Fresh::Refuse).await?;
            let put = put_all(&*store, &people.people, &mut report).await;
            // What is stored is stored; an error of the work says more than one of the end.
            let closed = store.close().await;
            put?;
            closed.map_err(|error| store_failure(&error))?;
        }
        report.tell(out)?;
        match report.bad() {
            0 => Ok(Exit::Ok),
            _ if self.skip_bad => Ok(Exit::Ok),
            bad => Err(Failure::new(
                Exit::DataErr,
                format!("{bad} entries of {} are not imported", self.collection),
            )
            .hint("the list says why; --skip-bad takes the others as enough")),
        }
    }

    /// Reads the whole collection: as people, duplicates together.
    async fn read(&self) -> Result<People, Failure> {
        let (uri, options) = (self.uri()?, store::options(&self.store));
        let users = LegacyUsers::read(&uri, &options, &self.from_database, &self.collection).await;
        let mut users = users.map_err(|error| mongodb_failure(&error))?;
        let mut documents = Vec::<LegacyDocument>::new();
        while let Some(document) = users.next().await.map_err(|error| store_failure(&error))? {
            if documents.len() >= MOST {
                let message = format!("{} has more than {MOST} documents", self.collection);
                return Err(Failure::new(Exit::DataErr, message).hint("is it the right collection?"));
            }
            documents.push(document);
        }
        users.close().await;
        if documents.is_empty() {
            let place = format!("{}.{}", self.from_database, self.collection);
            return Err(
                Failure::new(Exit::NoInput, format!("{place} is empty or not there"))
                    .hint("--from-database and --collection name another one"),
            );
        }
        Ok(People::meet(documents, self.id_from))
    }

    fn uri(&self) -> Result<Uri, Failure> {
        let parse = |text: &str| Uri::parse(text).map_err(|error| mongodb_failure(&error));
        if let Some(path) = &self.from_uri_file {
            let text = String::from_utf8(private_file::read(path)?).map_err(|_| {
                let message = format!("what {} holds is not text", path.display());
                Failure::new(Exit::DataErr, message)
            })?;
            return parse(&text);
        }
        let uri = parse(self.from.as_deref().unwrap_or_default())?;
        if uri.has_secret() {
            let message = "refusing a login on the command line (visible in ps and shell history)";
            return Err(Failure::new(Exit::Usage, message)
                .hint("put the whole URI into a file of mode 0600 and name it with --from-uri-file"));
        }
        Ok(uri)
    }
}

async fn put_all(store: &dyn Store, people: &[Person], report: &mut Imported) -> Result<(), Failure> {
    for person in people {
        let outcome = put(store, person).await?;
        report.person(person, outcome);
    }
    Ok(())
}

/// Puts one account. One that this import made before follows the old database; another one stays.
async fn put(store: &dyn Store, person: &Person) -> Result<Outcome, Failure> {
    let put = |on_other| store.put_account(&person.account, person.attributes.clone(), on_other);
    Ok(
        match put(OnOther::Keep).await.map_err(|error| store_failure(&error))? {
            PutAccount::Created => Outcome::Created,
            PutAccount::Same => Outcome::Same,
            PutAccount::Other(old) if person.was_imported_as(&old) => {
                put(OnOther::Replace)
                    .await
                    .map_err(|error| store_failure(&error))?;
                Outcome::Updated
            }
            PutAccount::Other(_) => Outcome::Taken,
        },
    )
}

/// Documents that are read at most: they are all in memory, to find the duplicates.
const MOST: usize = 1_000_000;
