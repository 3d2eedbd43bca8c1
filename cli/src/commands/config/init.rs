//! `chatctl config init`: a file made from the settings' own words.

use std::fmt::Write as _;
use std::path::PathBuf;

use chatctl_relay::auth::private_file::{self, Access};
use clap::CommandFactory as _;
use schemars::JsonSchema;
use serde::Serialize;

use super::Settings;
use crate::config::is_live;
use crate::config::keys::{self, Key, Keys, Kind, LIMITS};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Write a configuration file in which every setting is explained
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl config init | less
  chatctl config init /etc/chatctl/chatctl.toml")]
pub(super) struct Init {
    /// Where to write it, instead of stdout
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

/// A configuration that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Written {
    /// Where it is; nothing when it went to stdout.
    file: Option<String>,
    /// What stands in it.
    toml: String,
}

impl Document for Written {
    const SCHEMA: &'static str = "chatctl.config.init/v1";
}

impl Init {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let text = text();
        let path = match (self.path, out.file()) {
            (Some(_), Some(_)) => {
                return Err(Failure::new(Exit::Usage, "one file, please: PATH or -o FILE"));
            }
            (Some(path), None) => path,
            (None, Some(path)) => path.to_owned(),
            (None, None) => {
                let document = Written {
                    file: None,
                    toml: text.clone(),
                };
                return out.result(&text, &document);
            }
        };
        private_file::write(&path, text.as_bytes(), Access::Everybody, out.existing())?;
        let path = path.display().to_string();
        let said = format!("{path}: every line is commented out and says the default\n");
        let document = Written {
            file: Some(path),
            toml: text,
        };
        out.about_file(&said, &document)
    }
}

/// The file.
fn text() -> String {
    let keys = Keys::of(&Settings::command());
    let mut text = HEAD.to_owned();
    for table in keys.names_in("").iter().filter(|table| *table != LIMITS) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n[{table}]");
        let prefix = format!("{table}.");
        for key in keys.iter().filter(|key| key.name.starts_with(&prefix)) {
            text.push_str(&entry(key, key.name.trim_start_matches(&prefix)));
        }
    }
    let _ = write!(text, "{LIMITS_HEAD}");
    for (member, default) in keys::limits() {
        let _ = writeln!(text, "#{member} = {default}");
    }
    text
}

fn entry(key: &Key, name: &str) -> String {
    let live = if is_live(&key.name) { ", live" } else { "" };
    let (variable, flag) = (key.variable(), key.flag());
    let about = key.about();
    let value = match (key.default(), key.kind()) {
        (Some(default), Kind::Number | Kind::Ratio | Kind::Bool) => default,
        (Some(default), Kind::Duration | Kind::Text | Kind::List) => quoted(&default),
        (None, Kind::List) => format!("[{}]", quoted(example(&key.name))),
        (None, Kind::Number | Kind::Ratio | Kind::Bool | Kind::Duration | Kind::Text) => {
            quoted(example(&key.name))
        }
    };
    format!("\n# {about}\n# ({variable}, {flag}{live})\n#{name} = {value}\n")
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// What a setting without a default may look like.
fn example(key: &str) -> &'static str {
    EXAMPLES
        .iter()
        .find(|(name, _)| *name == key)
        .map_or("", |(_, example)| example)
}

const EXAMPLES: [(&str, &str); 13] = [
    ("auth.trust", "https://id.example=https://id.example/jwks.json"),
    ("auth.keys", "/etc/chatctl/keys.json"),
    ("store.data_dir", "/var/lib/chatctl"),
    ("store.uri", "mongodb://db1,db2,db3/chat?replicaSet=rs0"),
    ("store.uri_file", "/etc/chatctl/store-uri"),
    ("jobs.set", "expire-mail=every 30s; timeout=5m"),
    ("server.admin_socket", "/run/chatctl/admin.sock"),
    ("server.tls_certificate", "/etc/chatctl/tls/fullchain.pem"),
    ("server.tls_key", "/etc/chatctl/tls/privkey.pem"),
    ("server.trusted_proxies", "127.0.0.1"),
    ("server.metrics_listen", "127.0.0.1:9480"),
    ("telemetry.otlp_endpoint", "http://127.0.0.1:4318"),
    ("telemetry.otlp_headers_file", "/etc/chatctl/otlp-headers"),
];

const HEAD: &str = "\
# The configuration of chatctl. A line that is commented out says the default, or an example.
#
# A flag goes before a variable, a variable before this file. Lists replace each other, tables are merged.
# `chatctl config check` finds what is wrong here, `chatctl config show` tells what holds and why.
# What is marked live changes with `chatctl reload` or SIGHUP; the rest needs a restart.
# No secret stands here: settings name files (mode 0600), and systemd credentials go before those.
";

const LIMITS_HEAD: &str = "
# Bounds that clients see in HelloOk and at /v1/limits. (CHATCTL_LIMITS__WINDOW and so on, --limits JSON)
[limits]
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::file::File;

    #[test]
    fn what_is_written_is_good_and_so_is_every_line_that_it_offers() {
        let keys = Keys::of(&Settings::command());
        let file = |text: &str| File::parse(Path::new("c.toml"), text, &keys);
        let text = text();
        assert_eq!(file(&text).problems, []);
        let offered: Vec<_> = text
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
            .collect();
        let mut count = 0;
        for (number, line) in offered.iter().enumerate() {
            let Some(line) = line.filter(|line| !line.is_empty()) else {
                continue;
            };
            let lines = text.lines().enumerate();
            let one = lines.map(|(at, old)| if at == number { line } else { old });
            let file = file(&one.collect::<Vec<_>>().join("\n"));
            assert_eq!((file.problems.len(), file.entries.len()), (0, 1), "{line}");
            count += 1;
        }
        assert_eq!(count, keys.all_names().len());
    }
}
