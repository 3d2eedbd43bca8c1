//! `chatctl top`: a relay, live.
//!
//! Owns the loop: when the relay is asked, and what becomes of its answer, on a terminal or as lines for a program.

mod frame;
mod model;
mod rates;
mod terminal;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use chatctl_relay::model::Clock;
use ratatui::crossterm::event::{Event, KeyEventKind};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::model::Model;
use self::rates::Rates;
use self::terminal::Screen;
use super::status::{self, Place, Status};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::relay::Relay;
use crate::runtime::wait_for;
use crate::signals::Signals;
use crate::when;

/// Watch a running relay: sessions, rates, commits, refusals, jobs
///
/// Keys: q, Esc or Ctrl-C quit, p pauses, s sorts refusals and closes, ? helps. A relay that goes away is asked again
/// until it is back. Without a terminal, --json writes one document for each tick, with rates computed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl top
  chatctl top --interval 5s --data-dir /var/lib/chatctl
  chatctl top --json --count 2")]
pub(crate) struct Top {
    #[command(flatten)]
    place: Place,

    /// Time between two looks, at least 100ms
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = pause)]
    interval: Duration,

    /// End after so many looks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A look at a relay.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Look {
    /// When, by the clock here (RFC 3339).
    at: String,
    /// What moved since the look before; null at the first one, and after a restart.
    rates: Option<Rates>,
    /// Whether the relay was started anew since the look before.
    restarted: bool,
    /// How it is; null when it does not answer.
    status: Option<Status>,
    /// Why it does not answer.
    error: Option<String>,
}

impl Document for Look {
    const SCHEMA: &'static str = "chatctl.top/v1";
}

impl Top {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        if out.file().is_some() {
            return Err(
                Failure::new(Exit::Usage, "top writes to the terminal, or lines to stdout")
                    .hint("`chatctl top --json --count 10 > FILE` keeps them"),
            );
        }
        let has_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        if !out.is_json() && !has_terminal {
            return Err(Failure::new(Exit::Usage, "top needs a terminal")
                .hint("`chatctl top --json --count 1` is for programs, `chatctl status` for one look"));
        }
        wait_for(async {
            let relay = self.place.reach().await?;
            let mut watch = Watch {
                model: Model::new(relay.name()),
                relay: relay.patient(self.interval.max(LEAST_PATIENCE)),
                ticks: ticks(self.interval),
                left: self.count,
            };
            match out.is_json() {
                true => watch.tell(out).await,
                false => watch.show(out).await,
            }
        })
    }
}

/// A relay that is looked at from time to time.
struct Watch {
    relay: Relay,
    model: Model,
    ticks: Interval,
    /// Looks that are left, if they are counted.
    left: Option<u64>,
}

impl Watch {
    /// A line for each look.
    async fn tell(&mut self, out: &Out) -> Result<Exit, Failure> {
        let mut signals = Signals::listen()?;
        loop {
            tokio::select! {
                _ = self.ticks.tick() => {}
                exit = signals.next() => return Ok(exit),
            }
            let asked = tokio::select! {
                asked = status::ask(&self.relay) => asked,
                exit = signals.next() => return Ok(exit),
            };
            let look = self.note(asked)?;
            out.line("", &look)?;
            if self.is_last() {
                return Ok(Exit::Ok);
            }
        }
    }

    /// The screen.
    async fn show(&mut self, out: &Out) -> Result<Exit, Failure> {
        let mut signals = Signals::listen()?;
        let colored = out.colors_stdout();
        // Refused before the screen is taken: what is said here should stay.
        let first = status::ask(&self.relay).await;
        self.note(first)?;
        let mut screen = Screen::take().map_err(|error| Failure::of_output(&error))?;
        let mut events = terminal::events().map_err(|error| Failure::of_output(&error))?;
        self.ticks.reset();
        loop {
            screen
                .show(&self.model, colored)
                .map_err(|error| Failure::of_output(&error))?;
            if self.is_last() {
                return Ok(Exit::Ok);
            }
            if let Some(exit) = self.step(&mut events, &mut signals).await? {
                return Ok(exit);
            }
        }
    }

    /// Waits until there is a look, or leaves. A key draws at once; one that comes while the relay is asked ends the
    /// asking, and it is asked again at the next tick.
    async fn step(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
        signals: &mut Signals,
    ) -> Result<Option<Exit>, Failure> {
        let (paused, relay) = (self.model.paused, self.relay.clone());
        let ticks = &mut self.ticks;
        let look = async {
            ticks.tick().await;
            match paused {
                true => None,
                false => Some(status::ask(&relay).await),
            }
        };
        tokio::select! {
            biased;
            exit = signals.next() => return Ok(Some(exit)),
            event = events.recv() => return Ok(self.happened(event)),
            looked = look => {
                if let Some(asked) = looked {
                    self.note(asked)?;
                }
            }
        }
        Ok(None)
    }

    /// Something happened at the terminal; the exit, if the person wants to leave or the terminal is gone.
    fn happened(&mut self, event: Option<Event>) -> Option<Exit> {
        match event {
            None => Some(Exit::Ok),
            Some(Event::Key(key)) if key.kind != KeyEventKind::Release && self.model.pressed(key) => {
                Some(Exit::Ok)
            }
            // A resize draws again, too.
            Some(_) => None,
        }
    }

    /// Takes what came of a look. A refusal ends the watching, an absence does not.
    fn note(&mut self, asked: Result<Status, Failure>) -> Result<Look, Failure> {
        let at = when::rfc3339(Clock::system().now());
        self.left = self.left.map(|left| left.saturating_sub(1));
        match asked {
            Ok(status) => {
                let (rates, restarted) = self.model.answered(status.clone());
                Ok(Look {
                    at,
                    rates,
                    restarted,
                    status: Some(status),
                    error: None,
                })
            }
            Err(failure) if matches!(failure.exit, Exit::Unavailable | Exit::TempFail) => {
                let why = failure.sentence();
                self.model.missed(at.clone(), why.clone());
                Ok(Look {
                    at,
                    rates: None,
                    restarted: false,
                    status: None,
                    error: Some(why),
                })
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether this was the last look.
    fn is_last(&self) -> bool {
        self.left == Some(0)
    }
}

/// A look each, and none to make up for one that was late.
fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn pause(text: &str) -> Result<Duration, String> {
    let pause = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match pause < LEAST_PAUSE {
        true => Err("at least 100ms".to_owned()),
        false => Ok(pause),
    }
}

const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// How long a relay may take for an answer, at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
