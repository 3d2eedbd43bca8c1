//! Where settings come from: flags, variables, a file, defaults.
//!
//! The settings themselves are the command line's arguments, made from the relay's own structs; here they are
//! found there, and what a file says is put under them. Must not know what settings do.

pub(crate) mod certificate;
pub(crate) mod checks;
pub(crate) mod file;
pub(crate) mod keys;
pub(crate) mod layers;
pub(crate) mod problem;
pub(crate) mod secrets;
pub(crate) mod suggest;
pub(crate) mod told;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use chatctl_relay::config::live::LIVE;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::config::keys::Keys;
use crate::config::layers::Layers;
use crate::config::problem::{Problem, Severity};
use crate::exit::Exit;
use crate::failure::Failure;

/// Why a command line did not become a command.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The line itself.
    Line(clap::Error),
    /// A configuration file that was named cannot be read.
    NoFile(Failure),
    /// The configuration is not good.
    Problems(Vec<Problem>),
}

impl From<clap::Error> for Refusal {
    fn from(mut error: clap::Error) -> Self {
        // A value that is refused is shown, and an address may hold a login.
        if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
            && secrets::may_hold_login(value)
        {
            error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
        }
        Self::Line(error)
    }
}

/// The command tree, with what file and variables say under the flags of the command that `args` names.
///
/// # Errors
///
/// When the file or a variable is not good. A command line that makes no sense is left for the parser to say.
pub(crate) fn layered(command: Command, args: &[OsString]) -> Result<Command, Refusal> {
    let Some(parsed) = first_look(&command, args) else {
        return Ok(command);
    };
    let (leaf, matches) = leaf(&command, &parsed);
    let keys = Keys::of(leaf);
    // Most commands need no settings; no file is read for them, and none that is broken is in their way.
    if keys.is_empty() {
        return Ok(command);
    }
    let all = Keys::of(&command);
    let is_doctor = leaf.get_name() == "doctor";
    let path = file_of(matches)
        // A doctor says of a file that is not for everybody that it is not, and goes on.
        .filter(|path| !(is_doctor && is_closed(path)));
    let mut layers = Layers::read(path.as_deref(), layers::variables(), &all).map_err(Refusal::NoFile)?;
    // What another command's variable says is not this one's business.
    let mine = |problem: &Problem| {
        problem.spot.is_some() || problem.key.split(' ').any(|name| is_variable_of(&keys, name))
    };
    layers.problems.retain(mine);
    // The relay judges its configuration itself, and says that it keeps the old one; here only where it is
    // found matters. A doctor tells what is wrong with it among other things.
    if leaf.get_name() == "reload" || is_doctor {
        layers.problems.clear();
    }
    match layers.problems.is_empty() {
        true => Ok(layers.under(command, &parsed)),
        false => Err(Refusal::Problems(layers.problems)),
    }
}

/// Whether a file is there, or may be, and is not for us.
fn is_closed(path: &Path) -> bool {
    std::fs::File::open(path).is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

fn is_variable_of(keys: &Keys, name: &str) -> bool {
    keys.all_names().iter().any(|key| keys::variable(key) == name)
        || name == keys::variable(keys::LIMITS) && keys.get(keys::LIMITS).is_some()
}

/// What can be seen of the command line without any file. Nothing when it asks for help or a version.
pub(crate) fn first_look(command: &Command, args: &[OsString]) -> Option<ArgMatches> {
    let lenient = command.clone().ignore_errors(true);
    lenient.try_get_matches_from(args).ok()
}

fn leaf<'a>(command: &'a Command, matches: &'a ArgMatches) -> (&'a Command, &'a ArgMatches) {
    match matches.subcommand() {
        Some((name, inner)) => match command.find_subcommand(name) {
            Some(sub) => leaf(sub, inner),
            None => (command, matches),
        },
        None => (command, matches),
    }
}

/// The configuration file that a command reads: the one that is named, or the machine's if it is there.
/// A demo reads no machine's: it must not end up in the store of a relay that people use.
pub(crate) fn file_of(matches: &ArgMatches) -> Option<PathBuf> {
    if let Ok(Some(named)) = matches.try_get_one::<PathBuf>(FILE_ID) {
        return Some(named.clone());
    }
    if layers::is_from(matches, "dev", ValueSource::CommandLine) {
        return None;
    }
    let default = Path::new(DEFAULT_FILE);
    default.exists().then(|| default.to_owned())
}

/// What a person is told about a configuration that is not good.
pub(crate) fn failure(problems: &[Problem]) -> Failure {
    let errors: Vec<_> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .collect();
    match *errors.as_slice() {
        [only] => Failure::new(Exit::Config, only.line()),
        _ => {
            let message = format!("the configuration has {} errors", errors.len());
            let lines = errors.iter().map(|problem| problem.line());
            Failure::new(Exit::Config, message).because(lines)
        }
    }
    .hint("`chatctl config check` shows everything that is wrong with it")
}

/// Whether a running relay follows a setting when its configuration is read anew.
pub(crate) fn is_live(key: &str) -> bool {
    key == LIVE_LOG || LIVE.iter().any(|live| live.key == key)
}

/// The setting that is live and the command line's own.
pub(crate) const LIVE_LOG: &str = "log.level";

/// Arguments of which one can be given: state lives in one place.
pub(crate) const EXCLUSIVE: [&str; 3] = ["store.data_dir", "store.uri", "store.uri_file"];

/// The argument that names the file. Not called `config`, or it would be a setting itself.
const FILE_ID: &str = "config_file";

/// The variable that names the file.
pub(crate) const FILE_VARIABLE: &str = "CHATCTL_CONFIG";

/// The file that is read when none is named.
pub(crate) const DEFAULT_FILE: &str = "/etc/chatctl/chatctl.toml";
