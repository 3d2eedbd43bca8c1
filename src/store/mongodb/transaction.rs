//! Transactions: all of a piece of work, durable on a majority, or nothing.
//!
//! Must not know what the work is. A transaction that collides with another one is run again from its
//! beginning, inside the verb's deadline; a commit whose outcome is unknown is asked for again, which the
//! server answers with what became of it.

use std::time::Duration;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::error::Error as DriverError;
use mongodb::options::{ReadConcern, TransactionOptions};
use rand::RngExt as _;
use tokio::time::sleep;

use crate::store::Error;
use crate::store::mongodb::abandoned;
use crate::store::mongodb::connect::majority;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::error;

/// Why a piece of work stops before its end.
#[derive(Debug)]
pub(super) enum Stop<T> {
    /// It has its answer, and nothing is to change.
    Undo(T),
    /// Somebody else was faster: it is run again from its beginning.
    Again,
    /// The driver or the server failed.
    Driver(DriverError),
    /// What was read cannot be.
    Store(Error),
}

impl<T> From<DriverError> for Stop<T> {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl<T> From<Error> for Stop<T> {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Work that is done in one transaction. May be run several times; only the last run counts.
#[async_trait]
pub(super) trait Work: Sync {
    /// What it answers.
    type Answer: Send;

    /// Reads and writes with the session.
    async fn run(
        &self,
        db: &Connection,
        session: &mut ClientSession,
    ) -> Result<Self::Answer, Stop<Self::Answer>>;
}

impl Connection {
    /// Runs a piece of work as a transaction.
    ///
    /// # Errors
    ///
    /// [`Error`]; after [`Error::Unavailable`] the outcome is unknown.
    pub(super) async fn transact<W: Work>(&self, work: &W) -> Result<W::Answer, Error> {
        self.within(async {
            let mut session = self.session().await?;
            let mut tries = 0;
            loop {
                match self.attempt(work, &mut session).await {
                    Err(Stop::Driver(error)) if error::is_transient(&error) => {
                        tries += 1;
                        if tries >= PATIENT && tries % 4 == 0 {
                            // Without success the server ends them, too; it only takes longer.
                            let _ = abandoned::end(self).await;
                        }
                        pause(tries).await;
                    }
                    Err(Stop::Again) => {
                        tries += 1;
                        if tries >= PATIENT && tries % 4 == 0 {
                            // Without success the server ends them, too; it only takes longer.
                            let _ = abandoned::end(self).await;
                        }
                        pause(tries).await;
                    }
                    Ok(answer) | Err(Stop::Undo(answer)) => {
                        self.learn(&session);
                        return Ok(answer);
                    }
                    Err(Stop::Driver(error)) => return Err(error::meaning(&error)),
                    Err(Stop::Store(error)) => return Err(error),
                }
            }
        })
        .await
    }

    async fn attempt<W: Work>(
        &self,
        work: &W,
        session: &mut ClientSession,
    ) -> Result<W::Answer, Stop<W::Answer>> {
        let options = TransactionOptions::builder()
            .read_concern(ReadConcern::snapshot())
            .write_concern(majority())
            .build();
        session.start_transaction().with_options(options).await?;
        let answer = match work.run(self, session).await {
            Ok(answer) => answer,
            Err(stop) => {
                // The server ends what is not aborted, too; it only takes longer.
                let _ = session.abort_transaction().await;
                return Err(stop);
            }
        };
        loop {
            match session.commit_transaction().await {
                Ok(()) => return Ok(answer),
                Err(error) if error::is_unknown_commit(&error) => sleep(FIRST_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Waits before a try after so many that collided.
async fn pause(tries: u32) {
    let most = FIRST_PAUSE.saturating_mul(1 << tries.min(6));
    let pause = rand::rng().random_range(Duration::ZERO..=most);
    sleep(pause).await;
}

/// Longest pause after the first collision; twice as long after each further one, up to 64 times.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// Collisions with the living end before so many tries.
const PATIENT: u32 = 8;
