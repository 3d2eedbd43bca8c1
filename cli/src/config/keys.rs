//! The settings that there are: read off the command line's own arguments.
//!
//! An argument is a setting when its variable is called like its id: `server.listen` and
//! `CHATCTL_SERVER__LISTEN`. So there is no second list to keep.

use std::error::Error as _;

use chatctl_protocol::Limits;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};
use serde_json::{Map, Value};

/// A setting.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// `server.listen`.
    pub(crate) name: String,
    pub(crate) arg: Arg,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number.
    Number,
    /// Any number.
    Ratio,
    /// Yes or no.
    Bool,
    /// A time with a unit.
    Duration,
    /// Anything else.
    Text,
    /// Several texts.
    List,
}

impl Key {
    /// The variable: `CHATCTL_SERVER__LISTEN`.
    pub(crate) fn variable(&self) -> String {
        variable(&self.name)
    }

    /// The flag: `--listen`.
    pub(crate) fn flag(&self) -> String {
        format!("--{}", self.arg.get_long().unwrap_or_default())
    }

    /// The default as a flag would say it; nothing when there is none.
    pub(crate) fn default(&self) -> Option<String> {
        if self.is_switch() {
            return Some("false".to_owned());
        }
        let mut values = self.arg.get_default_values().iter();
        Some(values.next()?.to_string_lossy().into_owned())
    }

    /// What it is about, in a sentence.
    pub(crate) fn about(&self) -> String {
        let help = self.arg.get_help().map(ToString::to_string);
        help.unwrap_or_default()
    }

    /// What its values look like.
    pub(crate) fn kind(&self) -> Kind {
        if matches!(self.arg.get_action(), clap::ArgAction::Append) {
            return Kind::List;
        }
        if self.is_switch() {
            return Kind::Bool;
        }
        let names = self.arg.get_value_names().unwrap_or_default();
        match names.first().map(|name| name.as_str()) {
            Some("COUNT" | "BYTES") => Kind::Number,
            Some("RATIO") => Kind::Ratio,
            Some("BOOL") => Kind::Bool,
            Some("DURATION") => Kind::Duration,
            _ => Kind::Text,
        }
    }

    /// What a value must be, with an example.
    pub(crate) fn expected(&self) -> String {
        let example = self.default();
        match self.kind() {
            Kind::Number => format!("a whole number such as {}", example.as_deref().unwrap_or("100")),
            Kind::Ratio => format!("a number such as {}", example.as_deref().unwrap_or("0.5")),
            Kind::Bool => "true or false".to_owned(),
            Kind::Duration => format!(
                "a duration in quotes such as \"{}\"",
                example.as_deref().unwrap_or("5s")
            ),
            Kind::Text => match (self.choices().join(", "), example) {
                (choices, _) if !choices.is_empty() => format!("one of {choices}, in quotes"),
                (_, Some(example)) => format!("a text in quotes such as \"{example}\""),
                (_, None) => "a text in quotes".to_owned(),
            },
            Kind::List => "a list of texts such as [\"one\", \"another\"]".to_owned(),
        }
    }

    /// Whether its flag stands alone: `--no-jobs`.
    fn is_switch(&self) -> bool {
        matches!(self.arg.get_action(), clap::ArgAction::SetTrue)
    }

    fn choices(&self) -> Vec<String> {
        let possible = self.arg.get_possible_values();
        possible.iter().map(|value| value.get_name().to_owned()).collect()
    }

    /// Whether a value is good, as the flag would find. The reason does not repeat the value.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        let arg = Arg::new("value")
            .long("value")
            .action(clap::ArgAction::Set)
            .allow_hyphen_values(true)
            .value_parser(self.arg.get_value_parser().clone());
        // A variable holds a whole list.
        let arg = match self.arg.get_value_delimiter() {
            Some(delimiter) => arg.value_delimiter(delimiter),
            None => arg,
        };
        let command = Command::new("check").no_binary_name(true).arg(arg);
        let Err(error) = command.try_get_matches_from([format!("--value={text}")]) else {
            return Ok(());
        };
        if let Some(ContextValue::Strings(choices)) = error.get(ContextKind::ValidValue)
            && !choices.is_empty()
        {
            return Err(format!("must be one of {}", choices.join(", ")));
        }
        Err(error
            .source()
            .map_or_else(|| format!("must be {}", self.expected()), ToString::to_string))
    }
}

/// Every setting of a command, in the order of its manual.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys(Vec<Key>);

impl Keys {
    /// The settings of a command, and of those under it.
    pub(crate) fn of(command: &Command) -> Self {
        let mut keys = Self::default();
        keys.gather(command);
        keys
    }

    fn gather(&mut self, command: &Command) {
        for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
            let name = arg.get_id().as_str();
            if self.get(name).is_none() {
                let (name, arg) = (name.to_owned(), arg.clone());
                self.0.push(Key { name, arg });
            }
        }
        command.get_subcommands().for_each(|sub| self.gather(sub));
    }

    /// A setting by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.name == name)
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// The names that may stand in a table of the file; the top is the table without a name.
    pub(crate) fn names_in(&self, table: &str) -> Vec<String> {
        if table == LIMITS {
            return limits().keys().cloned().collect();
        }
        let mut names: Vec<String> = Vec::new();
        for key in &self.0 {
            let rest = match table {
                "" => Some(key.name.as_str()),
                _ => key
                    .name
                    .strip_prefix(table)
                    .and_then(|rest| rest.strip_prefix('.')),
            };
            let name = rest.and_then(|rest| rest.split('.').next());
            names.extend(name.map(str::to_owned).filter(|name| !names.contains(name)));
        }
        names
    }

    /// Whether a name is a table's.
    pub(crate) fn is_table(&self, name: &str) -> bool {
        name == LIMITS && self.get(LIMITS).is_some() || !self.names_in(name).is_empty()
    }

    /// Every name that a value can have in the file, with its variable.
    pub(crate) fn all_names(&self) -> Vec<String> {
        let plain = self.0.iter().map(|key| key.name.clone());
        let mut names: Vec<_> = plain.filter(|name| name != LIMITS).collect();
        if self.get(LIMITS).is_some() {
            names.extend(limits().keys().map(|member| format!("{LIMITS}.{member}")));
        }
        names
    }
}

fn is_setting(arg: &Arg) -> bool {
    let variable = variable(arg.get_id().as_str());
    arg.get_env().is_some_and(|env| env == variable.as_str())
}

/// The variable of a key.
pub(crate) fn variable(name: &str) -> String {
    format!("CHATCTL_{}", name.to_ascii_uppercase().replace('.', "__"))
}

/// The key whose members are settings of their own.
pub(crate) const LIMITS: &str = "limits";

/// The limits with their defaults.
pub(crate) fn limits() -> Map<String, Value> {
    match serde_json::to_value(Limits::default()) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Whether a limit may have this value.
///
/// # Errors
///
/// What it must be instead.
pub(crate) fn check_limit(member: &str, value: &Value) -> Result<(), String> {
    let one = Map::from_iter([(member.to_owned(), value.clone())]);
    match serde_json::from_value::<Limits>(Value::Object(one)) {
        Ok(_) => Ok(()),
        Err(_) => {
            let default = limits().get(member).cloned().unwrap_or_default();
            Err(format!("must be a whole number such as {default}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_in_the_tree_and_know_their_names() {
        let keys = Keys::of(&crate::command());
        let listen = keys.get("server.listen").unwrap();
        assert_eq!(
            (listen.variable().as_str(), listen.flag().as_str()),
            ("CHATCTL_SERVER__LISTEN", "--listen")
        );
        assert_eq!(listen.default().as_deref(), Some("127.0.0.1:8480"));
        assert!(keys.get("log.level").is_some() && keys.get("limits").is_some());
        assert!(keys.get("config_file").is_none() && keys.get("output").is_none());
        assert!(keys.is_table("server") && keys.is_table("limits") && !keys.is_table("server.listen"));
        assert!(keys.names_in("limits").contains(&"window".to_owned()));
    }

    #[test]
    fn every_setting_has_a_flag_a_sentence_and_a_default_that_is_good() {
        for key in Keys::of(&crate::command()).iter() {
            assert!(
                key.flag().len() > 2 && !key.about().is_empty(),
                "{} has neither",
                key.name
            );
            if let Some(default) = key.default() {
                assert_eq!(key.check(&default), Ok(()), "{}", key.name);
            }
        }
    }

    #[test]
    fn a_value_that_is_not_good_is_told_without_being_repeated() {
        let keys = Keys::of(&crate::command());
        let why = |name, text| keys.get(name).unwrap().check(text).unwrap_err();
        assert_eq!(why("store.timeout", "2m"), "must be between 1s and 60s");
        assert_eq!(why("store.pool", "0"), "0 is not in 1..=1000");
        assert_eq!(why("log.format", "xml"), "must be one of text, json, journal");
        assert!(check_limit("window", &Value::from(-1)).is_err());
    }
}
