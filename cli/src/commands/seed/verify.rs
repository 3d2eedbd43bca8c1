//! `chatctl seed verify`.

use chatctl_relay::config::StoreConfig;
use chatctl_relay::directory::check_signatures;
use chatctl_relay::store::upkeep::{Check, Depth};
use schemars::JsonSchema;
use serde::Serialize;

use super::{failure, premises};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Check that what is stored fits together; may run beside a relay
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed verify --data-dir /var/lib/chatctl
  chatctl seed verify --store-uri-file /etc/chatctl/store-uri --all --json")]
pub(super) struct Verify {
    #[command(flatten)]
    store: StoreConfig,

    /// How many of each kind are looked at
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,

    /// Look at everything
    #[arg(long, conflicts_with = "sample")]
    all: bool,

    /// Keys in a queue below which it counts as low
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    floor: u32,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Verified {
    /// The database, or the directory.
    store: String,
    /// Whether everything was looked at, and not a sample.
    all: bool,
    /// How many things are not as they should be; warnings do not count.
    wrong: u64,
    checks: Vec<Line>,
}

impl Document for Verified {
    const SCHEMA: &'static str = "chatctl.seed.verify/v1";
}

#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    check: String,
    /// `ok`, `warn` or `bad`.
    result: &'static str,
    looked_at: u64,
    bad: u64,
    examples: Vec<String>,
}

impl Verify {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let depth = Depth {
            sample: (!self.all).then_some(self.sample),
            floor: self.floor,
            judge: |suite, identity, items| {
                check_signatures(suite, identity, items).map_err(|error| error.to_string())
            },
        };
        let premises = premises(&self.store).await?;
        let checks = premises
            .inspect(depth)
            .await
            .map_err(|error| failure(&self.store, &error))?;
        let wrong: u64 = checks
            .iter()
            .filter(|check| !check.warning)
            .map(|check| check.bad)
            .sum();
        let document = Verified {
            store: premises.name(),
            all: self.all,
            wrong,
            checks: checks.iter().map(document).collect(),
        };
        let shown = out.result(&checks.iter().map(text).collect::<String>(), &document);
        match wrong {
            0 => shown.map(|()| Exit::Ok),
            // Whether or not anybody read the list.
            wrong => Err(Failure::new(
                Exit::DataErr,
                format!("{wrong} things in the store are not as they should be"),
            )
            .hint("stdout says where")),
        }
    }
}

fn result(check: &Check) -> &'static str {
    match (check.bad, check.warning) {
        (0, _) => "ok",
        (_, true) => "warn",
        (_, false) => "bad",
    }
}

fn document(check: &Check) -> Line {
    Line {
        check: check.name.to_string(),
        result: result(check),
        looked_at: check.looked,
        bad: check.bad,
        examples: check.examples.clone(),
    }
}

fn text(check: &Check) -> String {
    let Check {
        name, looked, bad, ..
    } = check;
    let count = match bad {
        0 => format!("{looked}"),
        bad => format!("{bad} of {looked} not"),
    };
    let examples = check
        .examples
        .iter()
        .map(|example| format!("        {example}\n"));
    format!(
        "{:<6}{name}: {count}\n{}",
        result(check),
        examples.collect::<String>()
    )
}
