//! Flag before variable before file before default.
//!
//! The parser of the command line does the rest of it by itself: what a file says takes the place of an
//! argument's default. Owns what that does not cover: arguments that exclude each other, `limits`, whose
//! members come from several places, and the systemd credentials that are defaults of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chatctl_protocol::Limits;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use crate::config::file::{self, File};
use crate::config::keys::{self, Keys, LIMITS};
use crate::config::problem::Problem;
use crate::config::{EXCLUSIVE, secrets};
use crate::failure::Failure;

/// Variables, by name. Only `CHATCTL_` ones.
pub(crate) type Variables = BTreeMap<String, String>;

/// Everything below the flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    pub(crate) file: Option<File>,
    pub(crate) variables: Variables,
    /// The files that systemd gave us, by setting.
    credentials: BTreeMap<&'static str, PathBuf>,
    /// What is wrong with the file and with the variables.
    pub(crate) problems: Vec<Problem>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The flag.
    Flag(String),
    /// The variable.
    Variable(String),
    /// File and line.
    File(String, usize),
    /// systemd; the credential's name.
    Credential(&'static str),
    /// Nobody said anything.
    Default,
}

impl Layers {
    /// Reads the file, if there is one, and the variables.
    ///
    /// # Errors
    ///
    /// Of a file that cannot be read; everything else is in `problems`.
    pub(crate) fn read(path: Option<&Path>, variables: Variables, keys: &Keys) -> Result<Self, Failure> {
        let file = path.map(|path| File::read(path, keys)).transpose()?;
        let mut problems = file.as_ref().map_or_else(Vec::new, |file| file.problems.clone());
        problems.extend(of_variables(&variables, keys));
        let mut credentials = credentials();
        let is_named = |key: &&str| {
            let in_file = file.as_ref().is_some_and(|file| file.entries.contains_key(*key));
            in_file || variables.contains_key(&keys::variable(key))
        };
        // Half a certificate from here and half from there fits by accident at best.
        if TLS.iter().any(is_named) {
            credentials.retain(|key, _| !TLS.contains(key));
        }
        Ok(Self {
            file,
            variables,
            credentials,
            problems,
        })
    }

    /// The command with these layers under its flags. `parsed` is a first look at the command line.
    pub(crate) fn under(&self, command: Command, parsed: &ArgMatches) -> Command {
        let mut settled = self.settled(parsed);
        if TLS
            .iter()
            .any(|key| is_from(parsed, key, ValueSource::CommandLine))
        {
            settled.extend(TLS);
        }
        let command = command.mut_args(|arg| self.argument(arg, &settled));
        match parsed.subcommand() {
            Some((name, parsed)) if command.find_subcommand(name).is_some() => {
                command.mut_subcommand(name, |sub| self.under(sub, parsed))
            }
            Some(_) | None => command,
        }
    }

    fn argument(&self, arg: Arg, settled: &[&str]) -> Arg {
        let name = arg.get_id().as_str().to_owned();
        if arg
            .get_env()
            .is_none_or(|env| env != keys::variable(&name).as_str())
        {
            return arg;
        }
        if name == LIMITS {
            return self.limits(arg);
        }
        if settled.contains(&name.as_str()) {
            return arg.env(None::<&str>);
        }
        match self.file.as_ref().and_then(|file| file.entries.get(&name)) {
            Some(entry) => arg.default_values(entry.values.clone()),
            None => match self.credentials.get(name.as_str()) {
                Some(path) => arg.default_value(path.clone().into_os_string()),
                None => arg,
            },
        }
    }

    /// Those of the arguments which exclude each other that a higher layer has made meaningless. (The two of TLS belong
    /// together, and come from there both or neither.)
    fn settled(&self, parsed: &ArgMatches) -> Vec<&'static str> {
        let is_flag = |key: &&&str| is_from(parsed, key, ValueSource::CommandLine);
        if EXCLUSIVE.iter().any(|key| is_flag(&key)) {
            return EXCLUSIVE.iter().filter(|key| !is_flag(key)).copied().collect();
        }
        let is_variable = |key: &&&str| self.variables.contains_key(&keys::variable(key));
        if EXCLUSIVE.iter().any(|key| is_variable(&key)) {
            return EXCLUSIVE
                .iter()
                .filter(|key| !is_variable(key))
                .copied()
                .collect();
        }
        Vec::new()
    }

    /// The argument `limits`, that puts a flag's members over those of variables and file.
    fn limits(&self, arg: Arg) -> Arg {
        let base = self.limit_members();
        let text = Value::Object(base.clone()).to_string();
        arg.env(None::<&str>)
            .default_value(text)
            .value_parser(move |text: &str| merged(&base, text))
    }

    /// The limits that file and variables name.
    pub(crate) fn limit_members(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let entries = self.file.iter().flat_map(|file| &file.entries);
        for (key, entry) in entries {
            if let Some(member) = key.strip_prefix("limits.") {
                let number = entry.values.first().and_then(|text| text.parse::<u64>().ok());
                members.extend(number.map(|number| (member.to_owned(), number.into())));
            }
        }
        let whole = self.variables.get(&keys::variable(LIMITS));
        if let Some(Value::Object(named)) = whole.and_then(|text| serde_json::from_str(text).ok()) {
            members.extend(named);
        }
        for member in keys::limits().keys() {
            let variable = keys::variable(&format!("{LIMITS}.{member}"));
            let number = self
                .variables
                .get(&variable)
                .and_then(|text| text.parse::<u64>().ok());
            members.extend(number.map(|number| (member.clone(), number.into())));
        }
        members
    }

    /// Where the value of a key comes from, if no flag names it.
    pub(crate) fn origin(&self, key: &str) -> Origin {
        let variable = keys::variable(key);
        if self.variables.contains_key(&variable) {
            return Origin::Variable(variable);
        }
        if let Some(member) = key.strip_prefix("limits.") {
            let whole = keys::variable(LIMITS);
            let named = self.variables.get(&whole);
            let named = named.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
            if named.is_some_and(|named| named.contains_key(member)) {
                return Origin::Variable(whole);
            }
        }
        if let Some(entry) = self.file.as_ref().and_then(|file| file.entries.get(key)) {
            return Origin::File(entry.spot.file.clone(), entry.spot.line);
        }
        let credential = CREDENTIALS
            .iter()
            .find(|(name, _)| *name == key && self.credentials.contains_key(name));
        credential.map_or(Origin::Default, |(_, credential)| Origin::Credential(credential))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(file, line) => write!(f, "{file}:{line}"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Whether an argument has its value from there. Not every command has every argument.
pub(crate) fn is_from(parsed: &ArgMatches, key: &str, source: ValueSource) -> bool {
    parsed.ids().any(|id| id == key) && parsed.value_source(key) == Some(source)
}

/// The `CHATCTL_` variables of this process. What is not text is left to the parser, which says so.
pub(crate) fn variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("CHATCTL_"))
        .collect()
}

fn merged(base: &Map<String, Value>, text: &str) -> Result<Limits, String> {
    let named: Map<String, Value> = serde_json::from_str(text)
        .map_err(|_| "must be a JSON object such as {\"window\": 64}".to_owned())?;
    let mut members = base.clone();
    members.extend(named);
    serde_json::from_value(Value::Object(members)).map_err(|error| error.to_string())
}

/// What is wrong with the variables that are settings.
fn of_variables(variables: &Variables, keys: &Keys) -> Vec<Problem> {
    let mut problems = Vec::new();
    let named: Vec<_> = EXCLUSIVE
        .iter()
        .filter(|key| keys.get(key).is_some() && variables.contains_key(&keys::variable(key)))
        .map(|key| keys::variable(key))
        .collect();
    if named.len() > 1 {
        let message = format!(
            "{} exclude each other: state lives in one place",
            named.join(" and ")
        );
        problems.push(Problem::error("conflict", &named.join(" "), message));
    }
    for key in keys.iter().filter(|key| key.name != LIMITS) {
        let variable = key.variable();
        let problem = variables.get(&variable).and_then(|text| file::bad(key, text));
        problems.extend(problem.map(|problem| Problem {
            message: problem.message.replacen(&key.name, &variable, 1),
            key: variable,
            ..problem
        }));
    }
    if keys.get(LIMITS).is_some() {
        problems.extend(of_limits(variables));
    }
    problems
}

fn of_limits(variables: &Variables) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check = |variable: &str, member: &str, value: &Value| {
        if let Err(why) = keys::check_limit(member, value) {
            let message = match keys::limits().contains_key(member) {
                true => format!("{variable}: {member} {why}"),
                false if secrets::is_secret(member) => format!("{variable}: secrets do not stand there"),
                false => format!("{variable}: there is no limit \"{member}\""),
            };
            problems.push(Problem::error("value", variable, message));
        }
    };
    let whole = keys::variable(LIMITS);
    let mut is_object = true;
    if let Some(text) = variables.get(&whole) {
        match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(named) => named
                .iter()
                .for_each(|(member, value)| check(&whole, member, value)),
            Err(_) => is_object = false,
        }
    }
    for member in keys::limits().keys() {
        let variable = keys::variable(&format!("{LIMITS}.{member}"));
        if let Some(text) = variables.get(&variable) {
            let number = text.parse::<u64>().map_or(Value::Null, Value::from);
            check(&variable, member, &number);
        }
    }
    if !is_object {
        let message = format!("{whole} must be a JSON object such as {{\"window\": 64}}");
        problems.push(Problem::error("value", &whole, message));
    }
    problems
}

/// The credentials that are there, by the setting whose file they are.
fn credentials() -> BTreeMap<&'static str, PathBuf> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        return BTreeMap::new();
    };
    let files = CREDENTIALS.map(|(key, name)| (key, Path::new(&folder).join(name)));
    files.into_iter().filter(|(_, path)| path.exists()).collect()
}

/// The settings that systemd can give as credentials, and their names there.
const CREDENTIALS: [(&str, &str); 3] = [
    ("auth.keys", "jwt-keys"),
    (TLS[0], "tls-certificate"),
    (TLS[1], "tls-key"),
];

/// A certificate and its key.
const TLS: [&str; 2] = ["server.tls_certificate", "server.tls_key"];

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(of: &[(&str, &str)]) -> Variables {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        of.iter().map(owned).collect()
    }

    #[test]
    fn limits_are_put_together_from_file_variables_and_flag() {
        let keys = Keys::of(&crate::command());
        let text = "[limits]\nwindow = 1\nmax_devices = 2\nmax_window = 3\n";
        let layers = Layers {
            file: Some(File::parse(Path::new("c.toml"), text, &keys)),
            variables: variables(&[
                ("CHATCTL_LIMITS", r#"{"max_devices": 20, "max_ttl_seconds": 40}"#),
                ("CHATCTL_LIMITS__MAX_TTL_SECONDS", "400"),
            ]),
            ..Layers::default()
        };
        let limits = merged(&layers.limit_members(), r#"{"max_window": 30}"#).unwrap();
        let wanted = Limits {
            window: 1,
            max_devices: 20,
            max_window: 30,
            max_ttl_seconds: 400,
            ..Limits::default()
        };
        assert_eq!(limits, wanted);
        let origin = |key| layers.origin(key).to_string();
        assert_eq!(origin("limits.window"), "c.toml:2");
        assert_eq!(origin("limits.max_devices"), "CHATCTL_LIMITS");
        assert_eq!(
            origin("limits.max_ttl_seconds"),
            "CHATCTL_LIMITS__MAX_TTL_SECONDS"
        );
        assert_eq!(origin("limits.ping_timeout_ms"), "default");
    }

    #[test]
    fn bad_variables_are_named_and_their_logins_are_not_shown() {
        let keys = Keys::of(&crate::command());
        let variables = variables(&[
            ("CHATCTL_SERVER__MAX_SESSIONS", "many"),
            ("CHATCTL_STORE__URI", "mongodb://me:hunter2@db1/chat"),
            ("CHATCTL_STORE__DATA_DIR", "/var/lib/chatctl"),
            ("CHATCTL_LIMITS", r#"{"windw": 1}"#),
        ]);
        let lines: Vec<_> = of_variables(&variables, &keys)
            .iter()
            .map(|problem| problem.message.clone())
            .collect();
        assert_eq!(
            lines,
            [
                "CHATCTL_STORE__DATA_DIR and CHATCTL_STORE__URI exclude each other: state lives in one place",
                "CHATCTL_SERVER__MAX_SESSIONS: invalid digit found in string",
                "CHATCTL_STORE__URI: a login does not stand here",
                "CHATCTL_LIMITS: there is no limit \"windw\"",
            ]
        );
    }
}
