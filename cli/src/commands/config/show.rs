//! `chatctl config show`.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Settings;
use crate::config::is_live;
use crate::config::keys::{self, Keys, Kind};
use crate::config::layers::{self, Layers, Origin};
use crate::config::told::{Told, plain};
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Show every setting, its value, and where that comes from
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl config show --changed
  chatctl config show --config /etc/chatctl/chatctl.toml --json")]
pub(super) struct Show {
    /// First: what reads an argument takes it away from those that come after.
    #[command(flatten)]
    told: Told,

    /// Only what differs from the default
    #[arg(long)]
    changed: bool,

    /// Here for its flags, so that they are shown as `serve` would take them.
    #[command(flatten)]
    _settings: Settings,
}

/// Every setting.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shown {
    /// The file that was read, if any.
    file: Option<String>,
    settings: Vec<Setting>,
}

/// A setting and where its value comes from. No secret: settings hold none.
#[derive(Debug, Serialize, JsonSchema)]
struct Setting {
    key: String,
    /// Null when it is not set.
    value: Value,
    default: Value,
    /// Where the value comes from.
    origin: Source,
    /// The flag, the variable or the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The line of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// Whether a running relay follows it on reload; else it needs a restart.
    live: bool,
    #[serde(skip)]
    from: String,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    Flag,
    Variable,
    File,
    Credential,
    Default,
}

impl Document for Shown {
    const SCHEMA: &'static str = "chatctl.config.show/v1";
}

impl Show {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let keys = Keys::of(&Settings::command());
        let layers = Layers::read(self.told.file.as_deref(), layers::variables(), &keys)?;
        let names = keys.all_names();
        let settings = names.iter().map(|name| setting(name, &keys, &layers, &self.told));
        let settings: Vec<_> = settings
            .filter(|setting| !self.changed || setting.value != setting.default)
            .collect();
        let text = table(&settings);
        let document = Shown {
            file: self.told.file.map(|path| path.display().to_string()),
            settings,
        };
        out.result(&text, &document)
    }
}

fn setting(name: &str, keys: &Keys, layers: &Layers, told: &Told) -> Setting {
    let (kind, default) = match keys.get(name) {
        Some(key) => (key.kind(), key.default().map_or(Value::Null, Value::from)),
        None => {
            let member = name.rsplit('.').next().unwrap_or_default();
            (Kind::Number, keys::limits().remove(member).unwrap_or_default())
        }
    };
    let value = told.values.get(name).cloned().unwrap_or_default();
    let origin = match (&value, told.by_flag.iter().any(|flag| flag == name)) {
        (Value::Null, _) => Origin::Default,
        (_, true) => Origin::Flag(keys.get(name).map_or("--limits".to_owned(), keys::Key::flag)),
        (_, false) => layers.origin(name),
    };
    let from = origin.to_string();
    let (source, by, line) = match origin {
        Origin::Flag(flag) => (Source::Flag, Some(flag), None),
        Origin::Variable(variable) => (Source::Variable, Some(variable), None),
        Origin::File(file, line) => (Source::File, Some(file), Some(line)),
        Origin::Credential => (Source::Credential, Some("jwt-keys".to_owned()), None),
        Origin::Default => (Source::Default, None, None),
    };
    Setting {
        key: name.to_owned(),
        value: shown(name, native(kind, value)),
        default: native(kind, default),
        origin: source,
        name: by,
        line,
        live: is_live(name),
        from,
    }
}

/// A number as a number, whatever text it was given as.
fn native(kind: Kind, value: Value) -> Value {
    let text = value.as_str();
    let parsed = match kind {
        Kind::Number => text.and_then(|text| text.parse::<u64>().ok()).map(Value::from),
        Kind::Ratio => text.and_then(|text| text.parse::<f64>().ok()).map(Value::from),
        Kind::Bool => text.and_then(|text| text.parse::<bool>().ok()).map(Value::from),
        Kind::Duration | Kind::Text | Kind::List => None,
    };
    parsed.unwrap_or(value)
}

/// A value as it may be shown: a URI with a login is refused by who uses it, and not shown here either.
fn shown(name: &str, value: Value) -> Value {
    let holds_login = value.as_str().is_some_and(|text| text.contains('@'));
    match holds_login && name.starts_with("store.") {
        true => Value::from("(not shown: it holds a login)"),
        false => value,
    }
}

fn table(settings: &[Setting]) -> String {
    let cell = |setting: &Setting| match &setting.value {
        Value::Null => "-".to_owned(),
        Value::String(text) => format!("{text:?}"),
        other => plain(other),
    };
    let width = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let key_width = width(&mut settings.iter().map(|setting| setting.key.len()));
    let value_width = width(&mut settings.iter().map(|setting| cell(setting).len()));
    let mut text = String::new();
    for setting in settings {
        let (key, value, from) = (&setting.key, cell(setting), &setting.from);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key:<key_width$}  {value:<value_width$}  {from}");
    }
    text
}
