//! `chatctl doctor`: looks at everything that a relay stands on, and says what to do about what is not good.
//!
//! Owns the order of the areas and what they share: the settings, the relay that runs, the unit. Changes nothing.
//!
//! # Why judgement stands apart from measuring
//!
//! Machines that are broken in all these ways cannot be had for tests. What is measured becomes a number or a word,
//! and functions without side effects judge it.

mod certificate;
mod clock;
mod configured;
mod database;
mod descriptors;
mod disk;
mod finding;
mod fsync;
mod gather;
mod keys;
mod proc;
mod proxy;
mod running;
mod service;
mod store;
mod tls;
mod tool;

pub(crate) use finding::Examined;

use std::sync::Arc;
use std::time::Duration;

use chatctl_relay::config::Config;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::time::timeout;

use self::finding::Finding;
use self::gather::{Probe, gather};
use self::proxy::Through;
use self::running::Running;
use self::service::Unit;
use crate::config::told::Told;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::LogConfig;
use crate::out::Out;
use crate::runtime::wait_for;

/// Look at everything that a relay stands on, and say what to do about it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sudo chatctl doctor
  chatctl doctor disk keys --quiet
  chatctl doctor proxy --through https://chat.example.com --token-file token")]
pub(crate) struct Doctor {
    /// First: what reads an argument takes it away from those that come after.
    #[command(flatten)]
    told: Told,

    /// Only these areas; without one, all of them
    #[arg(value_enum, value_name = "AREA")]
    areas: Vec<Area>,

    #[command(flatten)]
    through: Through,

    /// As `serve` would take it.
    #[command(flatten)]
    config: Config,

    /// Here for its flags, so that a command line of `serve` is one of ours.
    #[command(flatten)]
    _log: LogConfig,
}

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Area {
    /// The relay that runs
    Relay,
    /// The configuration
    Config,
    /// The service manager's unit
    Service,
    /// Open files, queues
    Descriptors,
    /// The disk under the data directory
    Disk,
    /// The clock
    Clock,
    /// The keys for tokens
    Keys,
    /// The relay's own certificate
    Tls,
    /// The store
    Store,
    /// The way in, with --through
    Proxy,
}

impl Area {
    const ALL: [Self; 10] = [
        Self::Relay,
        Self::Config,
        Self::Service,
        Self::Descriptors,
        Self::Disk,
        Self::Clock,
        Self::Keys,
        Self::Tls,
        Self::Store,
        Self::Proxy,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Config => "config",
            Self::Service => "service",
            Self::Descriptors => "descriptors",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Keys => "keys",
            Self::Tls => "tls",
            Self::Store => "store",
            Self::Proxy => "proxy",
        }
    }
}

/// What several areas look at.
#[derive(Debug)]
struct Premises {
    config: Config,
    told: Told,
    through: Through,
    running: Running,
    unit: Unit,
    /// Who the relay runs as, if that is known.
    owner: Option<(u32, u32)>,
    /// When the relay was asked.
    asked_at: chatctl_relay::model::UnixMs,
}

impl Doctor {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let found = wait_for(async { Ok(self.look().await) })?;
        let examined = Examined::of(found);
        let is_quiet = out.is_quiet();
        let shown = out.result(&examined.text(is_quiet, out.colors_stdout()), &examined);
        match examined.wrong() {
            0 => shown.map(|()| Exit::Ok),
            // Whether or not anybody read the list.
            wrong => {
                let are = if wrong == 1 { "thing is" } else { "things are" };
                Err(Failure::new(Exit::Failure, format!("{wrong} {are} wrong"))
                    .hint("each of them stands in the result, with what to paste"))
            }
        }
    }

    async fn look(self) -> Vec<(Area, Finding)> {
        let Self {
            told,
            areas,
            through,
            config,
            ..
        } = self;
        let asked_at = clock::now();
        let (running, unit) = tokio::join!(timeout(FIRST, Running::find(&config)), Unit::find());
        let running = running.unwrap_or_else(|_| Running::Silent {
            why: "the relay's admin socket takes connections, and nobody answers".to_owned(),
            is_denied: false,
        });
        let owner = running.known().and_then(|known| known.owner).or_else(|| {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            proc::user(&passwd, unit.user()?)
        });
        let premises = Arc::new(Premises {
            config,
            told,
            through,
            running,
            unit,
            owner,
            asked_at,
        });
        let wanted: Vec<_> = Area::ALL
            .into_iter()
            .filter(|area| areas.is_empty() || areas.contains(area))
            .collect();
        let probes = wanted
            .into_iter()
            .flat_map(|area| probes(area, &premises))
            .collect();
        gather(&Handle::current(), probes).await
    }
}

/// What is looked at in an area.
fn probes(area: Area, premises: &Arc<Premises>) -> Vec<Probe> {
    let at = Arc::clone(premises);
    let files = |name, work: fn(&Premises) -> Vec<Finding>| {
        let at = Arc::clone(premises);
        Probe::of_files(area, name, SHORT, move || work(&at))
    };
    match area {
        Area::Relay => vec![files("running", |at| at.running.judge())],
        Area::Config => vec![files("settings", |at| {
            configured::look(at.told.file.as_deref(), &at.config)
        })],
        Area::Service => vec![Probe::of(area, "unit", LONG, async move {
            let mut found = at.unit.judge(&at.config);
            found.extend(at.unit.look_around().await);
            found
        })],
        Area::Descriptors => vec![files("limits", |at| descriptors::look(&at.running, &at.config))],
        Area::Disk => disk_probes(premises),
        Area::Clock => vec![Probe::of(area, "clock", SHORT, async move {
            clock::look(at.asked_at, clock::of_relay(&at.running)).await
        })],
        Area::Keys => vec![files("keyset", |at| {
            keys::look(&at.running, &at.config, at.owner, clock::now())
        })],
        Area::Tls => vec![files("certificate", |at| {
            let from = at.running.says("/tls/from").and_then(serde_json::Value::as_str);
            tls::look(tls::files(&at.told).as_ref(), from, clock::now())
        })],
        Area::Store => {
            let deadline = store::deadline(&at.config.store);
            vec![Probe::of(area, "store", deadline, async move {
                store::look(&at.config).await
            })]
        }
        Area::Proxy => {
            let through = at.through.clone();
            let deadline = match through.is_named() {
                true => through.deadline(),
                false => SHORT,
            };
            vec![Probe::of(area, "way in", deadline, through.look())]
        }
    }
}

/// The disk is the store's, where that is a directory.
fn disk_probes(premises: &Arc<Premises>) -> Vec<Probe> {
    let Some(folder) = premises.config.store.data_dir.clone() else {
        let why = "no data directory is named: mail lies in a database, or nowhere yet";
        let fix = "chatctl doctor disk --data-dir /var/lib/chatctl";
        return vec![Probe::of(Area::Disk, "data directory", SHORT, async move {
            vec![Finding::skipped("data directory", why, fix)]
        })];
    };
    let (tried, reserve, owner) = (folder.clone(), premises.config.store.disk_reserve, premises.owner);
    vec![
        Probe::of_files(Area::Disk, "data directory", SHORT, move || {
            disk::look(&folder, reserve, owner.map(|(user, _)| user))
        }),
        Probe::of_files(Area::Disk, "fsync", LONG, move || fsync::look(&tried)),
    ]
}

/// For what is there or not.
const SHORT: Duration = Duration::from_secs(3);

/// For what takes time even on a machine that is well.
const LONG: Duration = Duration::from_secs(5);

/// For the relay's first answer.
const FIRST: Duration = Duration::from_secs(4);
