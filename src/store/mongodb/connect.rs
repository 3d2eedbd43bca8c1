//! Getting to the database: the URI, how long to wait for what, and what an operator is told.
//!
//! Must not know what is in the database. No error and no Debug output names more of a URI than its hosts.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use mongodb::bson::doc;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Database};
use tokio::time::timeout;

use crate::store::Error;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::{error, layout, meta};

/// Where a database is and how to log in: a secret as a whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Uri(String);

impl Uri {
    /// Takes `mongodb://…` as it stands in a file or an argument.
    ///
    /// # Errors
    ///
    /// [`OpenError::Uri`] when it is not one.
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        let text = text.trim();
        if !text.starts_with("mongodb://") {
            let why = match text.starts_with("mongodb+srv://") {
                true => "mongodb+srv:// is not supported: list the hosts, as in mongodb://HOST,HOST/DATABASE",
                false => "it does not begin with mongodb://",
            };
            return Err(OpenError::Uri(why.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The same with another database's name in it.
    #[must_use]
    pub fn with_database(&self, name: &str) -> Self {
        let rest = self.0.strip_prefix("mongodb://").unwrap_or(&self.0);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.split('/').next().unwrap_or(rest);
        Self(format!("mongodb://{authority}/{name}?{query}"))
    }

    /// Whether it holds a password, or another secret that must not be on a command line.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        let rest = self.0.strip_prefix("mongodb://").unwrap_or(&self.0);
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        let lower = self.0.to_ascii_lowercase();
        authority.contains('@') || lower.contains("password=") || lower.contains("session_token")
    }
}

/// Without what is in it.
impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uri")
    }
}

/// How the database is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest time for one verb, all its round trips and tries included. Also bounds the search for a
    /// primary and the wait for a connection.
    pub timeout: Duration,
    /// Most connections to each member.
    pub pool: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            pool: 32,
        }
    }
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URI makes no sense. Says why without quoting it.
    #[error("the database's URI is not good: {0}")]
    Uri(String),
    /// Nobody answers there.
    #[error("cannot reach MongoDB at {hosts} within {} s", .within.as_secs())]
    Unreachable {
        /// Hosts and ports.
        hosts: String,
        /// How long it was tried.
        within: Duration,
        /// Why not.
        #[source]
        source: Error,
    },
    /// The login was refused, or the user may not do this.
    #[error("MongoDB at {hosts} refuses the login or the right to do this")]
    Denied {
        /// Hosts and ports.
        hosts: String,
        /// What it said.
        #[source]
        source: Error,
    },
    /// A server by itself, which has no transactions.
    #[error("MongoDB at {hosts} is not a replica set")]
    NotReplicated {
        /// Hosts and ports.
        hosts: String,
    },
    /// Nothing was ever set up there.
    #[error("the database {0} was never set up")]
    NeverApplied(String),
    /// Set up by an older version.
    #[error("the database {database} has schema {found}, and this version needs schema {wanted}")]
    Older {
        /// Its name.
        database: String,
        /// What it has.
        found: u32,
        /// What this version needs.
        wanted: u32,
    },
    /// Set up by a newer version.
    #[error("the database {database} has schema {found}, and this version knows schemas up to {known}")]
    Newer {
        /// Its name.
        database: String,
        /// What it has.
        found: u32,
        /// What this version knows.
        known: u32,
    },
    /// It answers, and something else went wrong.
    #[error("the database cannot be used")]
    Store(#[from] Error),
}

/// A client that was configured and has not asked anything yet.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) database: Database,
    /// For messages: hosts and ports, nothing else of the URI.
    pub(super) hosts: String,
    pub(super) timeout: Duration,
    /// How the server knows us among its clients.
    pub(super) app: String,
}

/// Configures a client. The URI's own settings win where it has any, but for how writes and reads are
/// confirmed: these are the store's promises.
///
/// # Errors
///
/// [`OpenError::Uri`].
pub(super) async fn link(uri: &Uri, options: &Options) -> Result<Link, OpenError> {
    let bad = |_error: mongodb::error::Error| {
        // The driver quotes what it does not understand, and that may be half a password.
        OpenError::Uri(
            "it cannot be read; is every special character of the password percent-encoded?".into(),
        )
    };
    let mut settings = ClientOptions::parse(&uri.0).await.map_err(bad)?;
    let app = settings.app_name.get_or_insert_with(|| APP.to_owned()).clone();
    settings
        .connect_timeout
        .get_or_insert(CONNECT_TIME.min(options.timeout));
    // Below the verb's own time, so that its error can say why.
    settings
        .server_selection_timeout
        .get_or_insert(options.timeout.mul_f32(0.8));
    settings.heartbeat_freq.get_or_insert(HEARTBEAT);
    settings.max_pool_size.get_or_insert(options.pool);
    settings.retry_writes = Some(true);
    settings.retry_reads = Some(true);
    settings.write_concern = Some(majority());
    settings.read_concern = Some(ReadConcern::majority());
    settings.selection_criteria = None;
    let hosts: Vec<_> = settings.hosts.iter().map(ToString::to_string).collect();
    let name = settings
        .default_database
        .clone()
        .unwrap_or_else(|| DATABASE.to_owned());
    let client = Client::with_options(settings).map_err(bad)?;
    let database = client.database(&name);
    Ok(Link {
        client,
        database,
        hosts: hosts.join(","),
        timeout: options.timeout,
        app,
    })
}

/// Configures a client and sees that there is a replica set that lets it in.
///
/// # Errors
///
/// [`OpenError`].
pub(super) async fn reach(uri: &Uri, options: &Options) -> Result<Connection, OpenError> {
    let db = Connection::new(link(uri, options).await?);
    let hello = async {
        // Asked of the database itself, so that a user without rights elsewhere may.
        let hello = db.database.run_command(doc! { "hello": 1 }).await?;
        // `hello` is answered to strangers, too.
        db.database.list_collection_names().await?;
        Ok(hello)
    };
    let answered = match timeout(options.timeout, hello).await {
        Ok(answered) => answered,
        Err(_) => {
            return Err(OpenError::Unreachable {
                hosts: db.hosts,
                within: options.timeout,
                source: Error::Unavailable("no answer".into()),
            });
        }
    };
    match answered {
        Err(error) => Err(refusal(&db.hosts, options.timeout, &error)),
        Ok(hello) if !hello.contains_key("setName") && hello.get_str("msg").ok() != Some("isdbgrid") => {
            Err(OpenError::NotReplicated { hosts: db.hosts })
        }
        Ok(_) => Ok(db),
    }
}

/// Sees that the database has this version's layout.
///
/// # Errors
///
/// [`OpenError::NeverApplied`], [`OpenError::Older`], [`OpenError::Newer`].
pub(super) async fn check_layout(db: &Connection) -> Result<(), OpenError> {
    let found = db.within(async {
        meta::number(db, "layout")
            .await
            .map_err(|error| error::meaning(&error))
    });
    let database = db.database.name().to_owned();
    let Some(found) = found.await? else {
        return Err(OpenError::NeverApplied(database));
    };
    let (found, known) = (u32::try_from(found).unwrap_or(u32::MAX), layout::VERSION);
    match found.cmp(&known) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(OpenError::Older {
            database,
            found,
            wanted: known,
        }),
        Ordering::Greater => Err(OpenError::Newer {
            database,
            found,
            known,
        }),
    }
}

/// What a driver's error means for somebody who wants to use the database at all.
pub(super) fn refusal(hosts: &str, within: Duration, error: &mongodb::error::Error) -> OpenError {
    let hosts = hosts.to_owned();
    let source = error::meaning(error);
    match error.kind.as_ref() {
        _ if error::is_denied(error) => OpenError::Denied { hosts, source },
        mongodb::error::ErrorKind::ServerSelection { message, .. } => OpenError::Unreachable {
            hosts,
            within,
            source: Error::Unavailable(error::first_cause(message).into()),
        },
        _ => OpenError::Store(source),
    }
}

/// What a write waits for: the journals of a majority. Without `j` it would wait for the next flush of
/// the journal by the clock, a hundred milliseconds.
pub(super) fn majority() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    debug_assert_eq!(concern.w, Some(Acknowledgment::Majority));
    concern
}

/// The database's name where the URI has none.
const DATABASE: &str = "chatctl";

/// The name under which the server lists us, where the URI has none.
const APP: &str = "chatctl";

/// Longest time to make a connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Time between two looks at each member: a member that hangs is noticed within this and the time to connect.
const HEARTBEAT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_with_a_password_is_known_and_never_shown() {
        let secret = Uri::parse("mongodb://chat:hunter2@db1,db2/chat?replicaSet=rs0").unwrap();
        assert!(secret.has_secret());
        assert_eq!(format!("{secret:?}"), "Uri");
        assert!(
            !Uri::parse("mongodb://db1:27017,db2/chat?replicaSet=rs0")
                .unwrap()
                .has_secret()
        );
        let certificate = "mongodb://db1/?tls=true&tlsCertificateKeyFilePassword=hunter2";
        assert!(Uri::parse(certificate).unwrap().has_secret());
    }

    #[tokio::test]
    async fn a_bad_uri_is_refused_without_a_word_of_it() {
        for text in [
            "postgres://x:hunter2@y",
            "mongodb://x:hunter2@2@y:z/",
            "mongodb+srv://x:hunter2@y",
        ] {
            let refused = match Uri::parse(text) {
                Ok(uri) => link(&uri, &Options::default()).await.err(),
                Err(error) => Some(error),
            };
            let message = refused.unwrap().to_string();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
