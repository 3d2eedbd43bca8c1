//! A configuration file: TOML, read once, every key compared with the settings that there are.
//!
//! Finds all that is wrong with it, not the first thing. Must not know what settings mean.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::keys::{self, Key, Keys, Kind, LIMITS};
use crate::config::problem::{Problem, Show, Spot};
use crate::config::{secrets, suggest};
use crate::exit::Exit;
use crate::failure::Failure;

/// What a file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    /// By key; the members of `limits` each under its own: `limits.window`.
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) problems: Vec<Problem>,
}

/// A value of a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As the flag would say it; one text for each value of a list.
    pub(crate) values: Vec<String>,
    pub(crate) spot: Spot,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`Exit::NoInput`] when it cannot be read; what is wrong inside is in `problems`.
    pub(crate) fn read(path: &Path, keys: &Keys) -> Result<Self, Failure> {
        let bytes = std::fs::read(path).map_err(|error| {
            Failure::new(Exit::NoInput, format!("cannot read {}", path.display()))
                .caused_by(&error)
                .hint("`chatctl config init FILE` writes one to begin with")
        })?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::parse(path, &text, keys)),
            Err(_) => Ok(Self {
                entries: BTreeMap::new(),
                problems: vec![Problem::error(
                    "syntax",
                    "",
                    format!("{} is not text", path.display()),
                )],
            }),
        }
    }

    /// Parses a file's text.
    pub(crate) fn parse(path: &Path, text: &str, keys: &Keys) -> Self {
        let mut reader = Reader {
            path,
            text,
            keys,
            file: Self::default(),
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            // The text itself may be a secret that lacks its quotes.
            let spot = Spot::of(path, text, &error.span().unwrap_or(0..0), Show::Key);
            let problem = Problem::error("syntax", "", format!("this is not TOML: {}", error.message()));
            reader.file.problems.push(problem.at(Some(spot)));
        }
        reader.table("", table.get_ref());
        reader.exclusive();
        let mut file = reader.file;
        file.problems
            .sort_by_key(|problem| problem.spot.as_ref().map(|spot| (spot.line, spot.column)));
        file
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a Keys,
    file: File,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = match prefix {
                "" => name.get_ref().to_string(),
                _ => format!("{prefix}.{}", name.get_ref()),
            };
            self.entry(prefix, &key, name, value);
        }
    }

    fn entry(
        &mut self,
        prefix: &str,
        name: &str,
        at: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let key = self.keys.get(name).filter(|_| name != LIMITS);
        match (key.cloned(), value.get_ref()) {
            (Some(key), _) => self.setting(&key, value),
            (None, DeValue::Table(table)) if self.keys.is_table(name) => self.table(name, table),
            (None, _) if self.keys.is_table(name) => {
                let spot = self.spot(&at.span(), Show::Key);
                let message = format!("{name} must be a table: [{name}]");
                self.complain(Problem::error("type", name, message).at(Some(spot)));
            }
            (None, _) if prefix == LIMITS && keys::limits().contains_key(at.get_ref().as_ref()) => {
                self.limit(name, at.get_ref(), value);
            }
            (None, found) => {
                let is_table = matches!(found, DeValue::Table(_));
                self.unknown(prefix, name, at, is_table);
            }
        }
    }

    fn setting(&mut self, key: &Key, value: &Spanned<DeValue<'_>>) {
        let spot = self.spot(&value.span(), Show::Value);
        let Some(values) = texts(key.kind(), value.get_ref()) else {
            let message = format!("{} must be {}", key.name, key.expected());
            let spot = self.spot(&value.span(), Show::Key);
            return self.complain(Problem::error("type", &key.name, message).at(Some(spot)));
        };
        for text in &values {
            if let Some(problem) = bad(key, text) {
                return self.complain(problem.at(Some(spot)));
            }
        }
        self.keep(key.name.clone(), Entry { values, spot });
    }

    fn limit(&mut self, name: &str, member: &str, value: &Spanned<DeValue<'_>>) {
        let spot = self.spot(&value.span(), Show::Value);
        let number = match texts(Kind::Number, value.get_ref()) {
            Some(texts) => texts.first().and_then(|text| text.parse::<u64>().ok()),
            None => None,
        };
        match keys::check_limit(member, &number.map_or(Value::Null, Value::from)) {
            Ok(()) => {
                let values = vec![number.unwrap_or_default().to_string()];
                self.keep(name.to_owned(), Entry { values, spot });
            }
            Err(why) => {
                let problem = Problem::error("value", name, format!("{name} {why}"));
                self.complain(problem.at(Some(self.spot(&value.span(), Show::Key))));
            }
        }
    }

    fn unknown(&mut self, prefix: &str, name: &str, at: &Spanned<std::borrow::Cow<'_, str>>, is_table: bool) {
        let spot = self.spot(&at.span(), Show::Key);
        if secrets::is_secret(name) {
            let problem = Problem::error(
                "secret",
                name,
                format!("{name}: secrets do not stand in this file"),
            );
            return self.complain(problem.hint(secrets::way(name)).at(Some(spot)));
        }
        let what = if is_table { "table" } else { "key" };
        let problem =
            Problem::error("unknown-key", name, format!("unknown {what} \"{name}\"")).at(Some(spot));
        let known = self.keys.names_in(prefix);
        let segment = at.get_ref().as_ref();
        let sibling = suggest::nearest(segment, known.iter().map(String::as_str));
        let all = self.keys.all_names();
        let likely = match (sibling, prefix) {
            (Some(sibling), "") => Some(sibling.to_owned()),
            (Some(sibling), _) => Some(format!("{prefix}.{sibling}")),
            // In the wrong table, or at the top: where that name is known.
            (None, _) => elsewhere(segment, self.keys, &all),
        };
        self.complain(match likely {
            Some(likely) => problem.hint(format!("did you mean \"{likely}\"?")),
            None => problem,
        });
    }

    /// State lives in one place: a file that names two of them cannot be meant.
    fn exclusive(&mut self) {
        let named = super::EXCLUSIVE
            .iter()
            .filter_map(|key| Some((*key, self.file.entries.get(*key)?)));
        let mut named: Vec<_> = named.map(|(key, entry)| (key, entry.spot.clone())).collect();
        named.sort_by_key(|(_, spot)| spot.line);
        let Some(((first, first_spot), others)) = named.split_first() else {
            return;
        };
        for (key, spot) in others {
            let message = format!(
                "{key} and {first} (line {}) exclude each other: state lives in one place",
                first_spot.line
            );
            let problem = Problem::error("conflict", key, message).at(Some(spot.clone()));
            self.file.problems.push(problem);
        }
    }

    fn keep(&mut self, name: String, entry: Entry) {
        self.file.entries.insert(name, entry);
    }

    fn complain(&mut self, problem: Problem) {
        self.file.problems.push(problem);
    }

    fn spot(&self, span: &std::ops::Range<usize>, show: Show) -> Spot {
        Spot::of(self.path, self.text, span, show)
    }
}

/// What is wrong with a value of a setting, wherever it stands.
pub(crate) fn bad(key: &Key, text: &str) -> Option<Problem> {
    let name = &key.name;
    if name == "store.uri" && secrets::may_hold_login(text) {
        let problem = Problem::error("secret", name, format!("{name}: a login does not stand here"));
        return Some(problem.hint(secrets::STORE));
    }
    let why = key.check(text).err()?;
    Some(Problem::error("value", name, format!("{name}: {why}")))
}

/// The key that ends like this somewhere else in the tree, or whose flag is called so.
fn elsewhere(segment: &str, keys: &Keys, all: &[String]) -> Option<String> {
    let ends = |name: &&String| {
        let last = name.rsplit('.').next().unwrap_or_default();
        suggest::is_same(last, segment) || suggest::is_same(name, segment)
    };
    let flagged = || {
        keys.iter()
            .find(|key| suggest::is_same(&key.flag(), segment))
            .map(|key| key.name.clone())
    };
    all.iter().find(ends).cloned().or_else(flagged).or_else(|| {
        let mut lasts = all.iter().map(|name| name.rsplit('.').next().unwrap_or_default());
        let near = suggest::nearest(segment, &mut lasts)?;
        all.iter()
            .find(|name| name.rsplit('.').next() == Some(near))
            .cloned()
    })
}

/// A TOML value as a flag would say it; nothing when it is of the wrong type.
fn texts(kind: Kind, value: &DeValue<'_>) -> Option<Vec<String>> {
    let one = match (kind, value) {
        (Kind::Number, DeValue::Integer(number)) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()?
            .to_string(),
        (Kind::Ratio, DeValue::Float(number)) => number.as_str().to_owned(),
        (Kind::Ratio, DeValue::Integer(number)) => number.as_str().to_owned(),
        (Kind::Bool, DeValue::Boolean(boolean)) => boolean.to_string(),
        (Kind::Text | Kind::Duration, DeValue::String(text)) => text.to_string(),
        (Kind::List, DeValue::Array(items)) => {
            let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => None,
            };
            return items.iter().map(text).collect();
        }
        (Kind::Number | Kind::Ratio | Kind::Bool | Kind::Text | Kind::Duration | Kind::List, _) => {
            return None;
        }
    };
    Some(vec![one])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> File {
        File::parse(Path::new("c.toml"), text, &Keys::of(&crate::command()))
    }

    fn lines(text: &str) -> Vec<String> {
        file(text).problems.iter().map(Problem::line).collect()
    }

    #[test]
    fn values_become_what_the_flags_would_say() {
        let text = "[server]\nlisten = \"[::]:9\"\nmax_sessions = 1_000\ndocs = false\n\
                    [mail]\nlook_again = \"1m\"\n[limits]\nwindow = 0x10\n";
        let file = file(text);
        assert_eq!(file.problems, []);
        let values: Vec<_> = file
            .entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry.values.join(","), entry.spot.line))
            .collect();
        assert_eq!(
            values,
            [
                ("limits.window", "16".into(), 8),
                ("mail.look_again", "1m".into(), 6),
                ("server.docs", "false".into(), 4),
                ("server.listen", "[::]:9".into(), 2),
                ("server.max_sessions", "1000".into(), 3),
            ]
        );
    }

    #[test]
    fn everything_that_is_wrong_is_found_with_its_place_and_a_suggestion() {
        let text = "listen = \"x\"\n[servr]\na = 1\n[server]\nslow_consumer = 60\nlistn = \"y\"\n\
                    [mail]\ncommit_interval = \"1s\"\nsend_rate = \"many\"\n[limits]\nwindw = 1\nwindow = -1\n";
        assert_eq!(
            lines(text),
            [
                "c.toml:1:1: unknown key \"listen\"; did you mean \"server.listen\"?",
                "c.toml:2:2: unknown table \"servr\"; did you mean \"server\"?",
                "c.toml:5:17: server.slow_consumer must be a duration in quotes such as \"60s\"",
                "c.toml:6:1: unknown key \"server.listn\"; did you mean \"server.listen\"?",
                "c.toml:8:19: mail.commit_interval: must be at most 100ms",
                "c.toml:9:13: mail.send_rate must be a whole number such as 100",
                "c.toml:11:1: unknown key \"limits.windw\"; did you mean \"limits.window\"?",
                "c.toml:12:10: limits.window must be a whole number such as 64",
            ]
        );
        assert!(lines("[server]\nlisten = \n")[0].starts_with("c.toml:2:"));
        assert_eq!(
            lines("server = 1"),
            ["c.toml:1:1: server must be a table: [server]"]
        );
    }

    #[test]
    fn secrets_are_refused_with_the_way_and_never_shown() {
        let text = "[auth]\njwt_secret = \"hunter2\"\n[store]\nuri = \"mongodb://me:hunter2@db1/chat\"\n\
                    shoe = \"hunter2\"\npassword = hunter2\n";
        let problems = file(text).problems;
        let shown: String = problems.iter().map(Problem::paragraph).collect();
        assert!(!shown.contains("hunter2"), "{shown}");
        let secrets = problems.iter().filter(|problem| problem.code == "secret");
        assert!(secrets.clone().count() >= 2, "{shown}");
        assert!(secrets.clone().all(|problem| problem.hint.is_some()));
    }

    #[test]
    fn state_lives_in_one_place() {
        assert_eq!(
            lines("[store]\ndata_dir = \"/a\"\nuri = \"mongodb://db/chat\"\n"),
            [
                "c.toml:3:7: store.uri and store.data_dir (line 2) exclude each other: state lives in one place"
            ]
        );
    }
}
