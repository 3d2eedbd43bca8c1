//! `chatctl seed apply`.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::Duration;

use chatctl_relay::config::StoreConfig;
use chatctl_relay::store::upkeep::{Past, Progress, Wishes};
use indicatif::{ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Line, failure, line, premises};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::when::rfc3339;

/// Make the store what this version needs
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl seed apply --store mongodb://db1,db2,db3/chat?replicaSet=rs0
  chatctl seed apply --store-uri-file /etc/chatctl/store-uri --environment production")]
pub(super) struct Apply {
    #[command(flatten)]
    store: StoreConfig,

    /// Drop and build again what cannot be changed in its place
    #[arg(long)]
    allow_rebuild: bool,

    /// Note in the store where it is used; `production` is never reset
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Applied {
    /// The database, or the directory.
    store: String,
    /// Where it says that it is used.
    environment: Option<String>,
    /// The steps of this run.
    steps: Vec<Line>,
    /// Every change of the layout there ever was, the oldest first.
    history: Vec<Change>,
}

impl Document for Applied {
    const SCHEMA: &'static str = "chatctl.seed.apply/v1";
}

#[derive(Debug, Serialize, JsonSchema)]
struct Change {
    part: String,
    version: u32,
    /// RFC 3339.
    at: String,
    /// The chatctl that did it.
    by: String,
}

impl Apply {
    pub(super) async fn run(self, out: &Out) -> Result<Exit, Failure> {
        let failed = |error| failure(&self.store, &error);
        let premises = premises(&self.store).await?;
        let before = premises.environment().await.map_err(failed)?;
        let wishes = Wishes {
            rebuild: self.allow_rebuild,
            // What is noted already is nothing to do.
            environment: self
                .environment
                .clone()
                .filter(|name| before.as_ref() != Some(name)),
        };
        let screen = Screen::new(out);
        let steps = premises
            .apply(&wishes, &|progress| screen.show(&progress))
            .await
            .map_err(failed)?;
        let history = premises.history().await.map_err(failed)?;
        let document = Applied {
            store: premises.name(),
            environment: wishes.environment.clone().or(before),
            steps: steps.iter().map(Line::from).collect(),
            history: history.iter().map(past).collect(),
        };
        let mut text: String = steps.iter().map(|step| line(step) + "\n").collect();
        if let Some(environment) = &wishes.environment {
            text += &format!("~ noted   environment {environment}\n");
        }
        match (steps.len(), wishes.environment) {
            (0, None) => text += "nothing to do\n",
            (0, Some(_)) => {}
            (done, _) => text += &format!("{done} done\n"),
        }
        out.result(&text, &document).map(|()| Exit::Ok)
    }
}

fn past(past: &Past) -> Change {
    Change {
        part: past.part.to_string(),
        version: past.version,
        at: rfc3339(past.at),
        by: past.by.to_string(),
    }
}

/// Where progress is shown: a bar on a terminal, a line for each step elsewhere, nothing to programs.
struct Screen<'a> {
    out: &'a Out,
    is_terminal: bool,
    bar: Mutex<Option<ProgressBar>>,
}

impl<'a> Screen<'a> {
    fn new(out: &'a Out) -> Self {
        Self {
            out,
            is_terminal: std::io::stderr().is_terminal() && !out.is_json(),
            bar: Mutex::new(None),
        }
    }

    fn show(&self, progress: &Progress<'_>) {
        let Ok(mut bar) = self.bar.lock() else { return };
        match progress {
            Progress::Begun(step) if self.is_terminal => {
                let spinner = ProgressBar::new_spinner().with_message(step.name.clone());
                spinner.enable_steady_tick(TICK);
                *bar = Some(spinner);
            }
            Progress::Begun(step) => self.out.note(&format!("begins: {}", line(step))),
            Progress::At(step, done) => match bar.as_ref() {
                Some(bar) => {
                    if bar.length() != Some(step.documents) {
                        bar.set_length(step.documents);
                        bar.set_style(style());
                    }
                    bar.set_position(*done);
                }
                None => self
                    .out
                    .note(&format!("  {}: {done} of {}", step.name, step.documents)),
            },
            Progress::Done(_) => {
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

const TICK: Duration = Duration::from_millis(120);
