//! What a status has to ask of others: the store, and the system for what is dear to count.
//!
//! Owns that this is done seldom and never waited for long: a store that is away must not make a status hang.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::http::Doors;
use crate::jobs::board::{self, Standing};
use crate::metrics::process;
use crate::store::{Error, Extent};

/// What was found out.
#[derive(Debug, Clone, Default)]
pub(in crate::http) struct Glance {
    /// Whether the store answers.
    pub(in crate::http) answers: bool,
    /// How much there is in it.
    pub(in crate::http) extent: Extent,
    /// How the jobs stand; `None` when it cannot say.
    pub(super) jobs: Option<Vec<Standing>>,
    /// Files, sockets and the like that this process has open.
    pub(super) descriptors: Option<u64>,
}

/// The last glance, for all who ask.
#[derive(Debug, Default)]
pub(super) struct Glances(Mutex<Option<(Instant, Arc<Glance>)>>);

impl Glances {
    /// The last one, or a new one where that is too old. Many callers share one; cancel safe.
    pub(super) async fn look(&self, doors: &Doors) -> Arc<Glance> {
        let mut last = self.0.lock().await;
        if let Some((at, glance)) = &*last
            && at.elapsed() < AGE
            // What is away is said at once, and so is that it is back.
            && glance.answers != doors.switchboard.is_away()
        {
            return Arc::clone(glance);
        }
        let glance = Arc::new(look(doors).await);
        *last = Some((Instant::now(), Arc::clone(&glance)));
        glance
    }
}

async fn look(doors: &Doors) -> Glance {
    let counted = spawn_blocking(process::open_descriptors);
    // It was asked just now, by who commits: nobody has to wait for it here, too.
    if doors.switchboard.is_away() {
        return Glance {
            descriptors: counted.await.ok().flatten(),
            ..Glance::default()
        };
    }
    let desk = doors.jobs.desk();
    let standings = board::standings(doors.jobs.plans(), &*desk.store, desk.clock.now());
    let (answers, extent, jobs, descriptors) = tokio::join!(
        timeout(PATIENCE, doors.switchboard.answers()),
        in_time(doors.switchboard.extent()),
        in_time(standings),
        counted,
    );
    Glance {
        answers: answers.unwrap_or(false),
        extent: extent.unwrap_or_default(),
        jobs,
        descriptors: descriptors.ok().flatten(),
    }
}

/// What the store says, if it does so in time.
async fn in_time<T>(asked: impl Future<Output = Result<T, Error>>) -> Option<T> {
    timeout(PATIENCE, asked).await.ok()?.ok()
}

/// Age at which a glance is made anew.
const AGE: Duration = Duration::from_secs(2);

/// How long the store may take for it.
const PATIENCE: Duration = Duration::from_secs(1);
