//! What a command was told, setting by setting, as text: what `config show` lists and a reload compares.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chatctl_protocol::Limits;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};
use serde_json::{Map, Value};

use crate::config::keys::{self, LIMITS};

/// Every setting that a command has. Adds no arguments of its own: it goes before those that it reads, in the same
/// struct.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// The configuration file, if one was read.
    pub(crate) file: Option<PathBuf>,
    /// By key; a setting without a value is not there.
    pub(crate) values: BTreeMap<String, Value>,
    /// The keys that flags name.
    pub(crate) by_flag: Vec<String>,
}

impl Told {
    fn read(matches: &ArgMatches) -> Self {
        let mut told = Self {
            file: super::file_of(matches),
            ..Self::default()
        };
        let ids: Vec<_> = matches.ids().map(|id| id.as_str().to_owned()).collect();
        for id in ids.iter().filter(|id| id.contains('.')) {
            let Ok(Some(texts)) = matches.try_get_raw(id) else {
                continue;
            };
            let texts: Vec<_> = texts.map(|text| text.to_string_lossy().into_owned()).collect();
            told.values.insert(id.clone(), Value::from(texts.join(",")));
            if matches.value_source(id) == Some(ValueSource::CommandLine) {
                told.by_flag.push(id.clone());
            }
        }
        told.limits(matches);
        told
    }

    fn limits(&mut self, matches: &ArgMatches) {
        let Ok(Some(limits)) = matches.try_get_one::<Limits>(LIMITS) else {
            return;
        };
        if let Ok(Value::Object(members)) = serde_json::to_value(limits) {
            let named = |(member, value)| (format!("{LIMITS}.{member}"), value);
            self.values.extend(members.into_iter().map(named));
        }
        if matches.value_source(LIMITS) == Some(ValueSource::CommandLine) {
            let raw = matches.get_raw(LIMITS).into_iter().flatten().last();
            let text = raw.map(|raw| raw.to_string_lossy()).unwrap_or_default();
            let named = serde_json::from_str::<Map<String, Value>>(&text).unwrap_or_default();
            let members = keys::limits();
            let named = named.keys().filter(|member| members.contains_key(*member));
            self.by_flag
                .extend(named.map(|member| format!("{LIMITS}.{member}")));
        }
    }
}

/// A value without the quotes.
pub(crate) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

impl clap::FromArgMatches for Told {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::read(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(matches);
        Ok(())
    }
}

impl clap::Args for Told {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
