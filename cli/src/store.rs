//! From settings to a store that is open: which one, its URI, and what an operator does when it does not open.
//!
//! Owns the rule that no password is ever taken from the command line or from a variable, where `ps`, the
//! shell's history and crash reports would show it. Must not know what is done with the store.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chatctl_relay::auth::private_file;
use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::embedded::{self, Embedded};
use chatctl_relay::store::mongodb::{self, MongoDb, Uri};
use chatctl_relay::store::{Error, Store};

use crate::exit::Exit;
use crate::failure::Failure;

/// Where state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The embedded store's directory.
    Directory(PathBuf),
    /// A database of MongoDB.
    Database(Uri),
}

/// What happens to a database that was never set up. An empty directory is always made into a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// It is set up: for demos.
    SetUp,
    /// It is refused, with the command that sets it up.
    Refuse,
}

/// Where the settings say that state lives.
///
/// # Errors
///
/// When they do not say it, when a password stands where it must not, when a file cannot be read.
pub(crate) fn place(config: &StoreConfig) -> Result<Place, Failure> {
    if let Some(directory) = &config.data_dir {
        return Ok(Place::Directory(directory.clone()));
    }
    if let Some(text) = &config.uri {
        let uri = parse(text)?;
        if uri.has_secret() {
            let message =
                "refusing a login on the command line (visible in ps and shell history) or in a variable";
            return Err(Failure::new(Exit::Usage, message)
                .hint("put the whole URI into a file of mode 0600 and name it with --store-uri-file"));
        }
        return Ok(Place::Database(uri));
    }
    if let Some(path) = &config.uri_file {
        return Ok(Place::Database(parse(&text(path, private_file::read(path)?)?)?));
    }
    match credential()? {
        Some(text) => Ok(Place::Database(parse(&text)?)),
        None => Err(
            Failure::new(Exit::Config, "no store is named: --data-dir DIR or --store URI")
                .hint("a directory needs no set-up; `chatctl serve --dev` uses a temporary one"),
        ),
    }
}

/// Opens the store that the settings name.
///
/// # Errors
///
/// As [`place`], and each store's own.
pub(crate) async fn open(config: &StoreConfig, how: Fresh) -> Result<Arc<dyn Store>, Failure> {
    match place(config)? {
        Place::Directory(directory) => {
            let options = embedded::Options {
                disk_reserve: config.disk_reserve,
                idempotency_records: config.idempotency_records,
            };
            blocking(move || match Embedded::open(&directory, &options) {
                Ok(store) => Ok(store as Arc<dyn Store>),
                Err(error) => Err(embedded_failure(&directory, &error)),
            })
            .await
        }
        Place::Database(uri) => {
            let options = options(config);
            let opened = match how {
                Fresh::SetUp => MongoDb::open_fresh(&uri, &options).await,
                Fresh::Refuse => MongoDb::open(&uri, &options).await,
            };
            opened
                .map(|store| store as Arc<dyn Store>)
                .map_err(|error| mongodb_failure(&error))
        }
    }
}

/// Runs what reads files on a thread of its own: the runtime's are for those who wait meanwhile.
///
/// # Errors
///
/// The work's own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::new(Exit::Failure, "the work on the store broke off").caused_by(&error))?
}

/// How a database is used.
pub(crate) fn options(config: &StoreConfig) -> mongodb::Options {
    mongodb::Options {
        timeout: config.timeout,
        pool: config.pool,
    }
}

/// What an operator is told when the embedded store does not open.
pub(crate) fn embedded_failure(directory: &Path, error: &embedded::OpenError) -> Failure {
    use embedded::OpenError;
    let (exit, hint) = match error {
        OpenError::Held(_) => (Exit::TempFail, "another chatctl uses it; stop that one first"),
        OpenError::Newer { .. } => (
            Exit::Protocol,
            "install the chatctl that wrote it, or a newer one",
        ),
        OpenError::Older { .. } => (Exit::Config, "run `chatctl seed apply` of this version"),
        OpenError::Backup => (
            Exit::DataErr,
            "`chatctl restore FILE --data-dir DIR` makes a store out of a backup",
        ),
        OpenError::NotAStore => (Exit::DataErr, "name a directory of chatctl's own with --data-dir"),
        OpenError::NoWal | OpenError::Io(_) => (
            Exit::CantCreate,
            "name a directory on a local disk that you may write with --data-dir",
        ),
        OpenError::Database(_) | OpenError::Rows(_) => (
            Exit::DataErr,
            "check the disk; `sqlite3 FILE 'pragma integrity_check'` looks at the file",
        ),
    };
    let message = format!("cannot open the store in {}", directory.display());
    Failure::new(exit, message).caused_by(error).hint(hint)
}

/// What an operator is told when MongoDB does not open.
pub(crate) fn mongodb_failure(error: &mongodb::OpenError) -> Failure {
    use mongodb::OpenError;
    let (exit, hint) = match error {
        OpenError::Uri(_) => (
            Exit::Config,
            "the form is mongodb://HOST:PORT[,HOST:PORT]/DATABASE?replicaSet=NAME",
        ),
        OpenError::Unreachable { .. } => (
            Exit::Unavailable,
            "is it running, and reachable from here? --store-timeout 15s waits longer",
        ),
        OpenError::Denied { .. } => (
            Exit::NoPerm,
            "check user, password and authSource in the URI; the user needs readWrite and dbAdmin on the database",
        ),
        OpenError::NotReplicated { .. } => (
            Exit::Config,
            "transactions need a replica set, even of one member: start mongod with --replSet rs0 and run rs.initiate()",
        ),
        OpenError::NeverApplied(_) => (
            Exit::Config,
            "`chatctl seed apply` sets it up; is the database's name in the URI the right one?",
        ),
        OpenError::Older { .. } => (Exit::Config, "run `chatctl seed apply` of this version"),
        OpenError::Newer { .. } => (
            Exit::Protocol,
            "install the chatctl that set it up, or a newer one",
        ),
        OpenError::Store(error) => return store_failure(error),
    };
    Failure::from_error(exit, error).hint(hint)
}

/// What an operator is told when a store that is open could not do something.
pub(crate) fn store_failure(error: &Error) -> Failure {
    let (exit, hint) = match error {
        Error::Full => (Exit::Unavailable, "make room on the store's disk"),
        Error::Unavailable(_) => (Exit::Unavailable, "the same command may be run again"),
        Error::Poisoned(_) => (Exit::Failure, "look at the disk, then run the command again"),
        Error::Corrupt(_) => (Exit::DataErr, "`chatctl seed verify` says what does not fit"),
    };
    Failure::from_error(exit, error).hint(hint)
}

fn parse(text: &str) -> Result<Uri, Failure> {
    Uri::parse(text).map_err(|error| mongodb_failure(&error))
}

/// The URI that systemd hands over, if it does. Its folder is the service's alone whatever the mode says:
/// access lists show there as a group's rights.
fn credential() -> Result<Option<String>, Failure> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return Ok(None);
    };
    let path = Path::new(&folder).join("store-uri");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_URI_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&path, &error))?;
    text(&path, bytes).map(Some)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::NoInput, format!("cannot read {}", path.display())).caused_by(error)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(
            Exit::DataErr,
            format!("what {} holds is not text", path.display()),
        )
    })
}

/// More than any URI has.
const MAX_URI_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        config: StoreConfig,
    }

    fn place_of(args: &[&str]) -> Result<Place, Failure> {
        place(&Line::parse_from([&["line"], args].concat()).config)
    }

    #[test]
    fn a_login_on_the_command_line_is_refused_without_being_shown() {
        let refused = place_of(&["--store", "mongodb://chat:hunter2@db1/chat"]).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        let report = refused.report(crate::out::Format::Text);
        assert!(report.contains("--store-uri-file"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }

    #[test]
    fn a_file_with_the_uri_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uri");
        std::fs::write(&path, "mongodb://chat:hunter2@db1/chat\n").unwrap();
        let file = path.to_str().unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            place_of(&["--store-uri-file", file]).unwrap_err().exit,
            Exit::NoPerm
        );
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let uri = Uri::parse("mongodb://chat:hunter2@db1/chat").unwrap();
        assert_eq!(place_of(&["--store-uri-file", file]), Ok(Place::Database(uri)));
    }

    #[test]
    fn what_is_no_uri_and_what_is_no_place_are_configuration() {
        assert_eq!(
            place_of(&["--store", "postgres://db1"]).unwrap_err().exit,
            Exit::Config
        );
        assert_eq!(place_of(&[]).unwrap_err().exit, Exit::Config);
    }

    #[test]
    fn each_way_not_to_open_has_its_exit() {
        let older = mongodb::OpenError::Older {
            database: "chat".into(),
            found: 1,
            wanted: 2,
        };
        let newer = mongodb::OpenError::Newer {
            database: "chat".into(),
            found: 3,
            known: 2,
        };
        let alone = mongodb::OpenError::NotReplicated { hosts: "db1".into() };
        let never = mongodb::OpenError::NeverApplied("chat".into());
        let exits = [older, newer, alone, never].map(|error| mongodb_failure(&error).exit);
        assert_eq!(exits, [Exit::Config, Exit::Protocol, Exit::Config, Exit::Config]);
    }
}
