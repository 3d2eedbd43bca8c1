//! One client and its collections, and what every verb does around its own work: a deadline, causality,
//! errors in the store's words.
//!
//! Must not know what the documents mean.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, Timestamp};
use mongodb::options::SessionOptions;
use mongodb::{Client, ClientSession, ClusterTime, Collection, Database};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use crate::metrics::Metrics;
use crate::store::Error;
use crate::store::mongodb::connect::Link;
use crate::store::mongodb::error;
use crate::store::mongodb::meta::Numbers;
use crate::trace;

/// The database, as every verb uses it.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) database: Database,
    pub(super) hosts: String,
    pub(super) timeout: Duration,
    pub(super) app: String,
    /// Numbers of mailboxes.
    pub(super) mailboxes: Numbers,
    /// What this process has written or seen: no read may answer with less.
    seen: Mutex<Seen>,
    closed: AtomicBool,
    /// Where requests are counted.
    metrics: OnceLock<Arc<Metrics>>,
}

#[derive(Default)]
struct Seen {
    operation: Option<Timestamp>,
    cluster: Option<ClusterTime>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(link: Link) -> Self {
        Self {
            client: link.client,
            database: link.database,
            hosts: link.hosts,
            timeout: link.timeout,
            app: link.app,
            mailboxes: Numbers::of("mailbox"),
            seen: Mutex::default(),
            closed: AtomicBool::new(false),
            metrics: OnceLock::new(),
        }
    }

    /// A collection of plain documents.
    pub(super) fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// A collection whose documents are built and read as bytes: for mail and items.
    pub(super) fn raw(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.database.collection(name)
    }

    /// A session that reads nothing older than what this process has written or seen.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when no server is known, or the store is closed.
    pub(super) async fn session(&self) -> Result<ClientSession, Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Unavailable("the store is closed".into()));
        }
        let causal = SessionOptions::builder().causal_consistency(true).build();
        let started = self.client.start_session().with_options(causal).await;
        let mut session = started.map_err(|error| error::meaning(&error))?;
        let seen = self.seen.lock();
        if let Some(time) = seen.operation {
            session.advance_operation_time(time);
        }
        if let Some(time) = &seen.cluster {
            session.advance_cluster_time(time);
        }
        Ok(session)
    }

    /// What a session has seen, every later one sees.
    pub(super) fn learn(&self, session: &ClientSession) {
        let mut seen = self.seen.lock();
        seen.operation = seen.operation.max(session.operation_time());
        if let Some(time) = session.cluster_time()
            && seen.cluster.as_ref().is_none_or(|known| known < time)
        {
            seen.cluster = Some(time.clone());
        }
    }

    /// Runs a verb's work, up to the deadline.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] when the time is over; the outcome is unknown then.
    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let began = Instant::now();
        let span = trace::store_request();
        let done = match timeout(self.timeout, work.instrument(span.clone())).await {
            Ok(result) => result,
            Err(_) => Err(Error::Unavailable(
                format!(
                    "{} did not answer within {} s",
                    self.hosts,
                    self.timeout.as_secs_f32()
                )
                .into(),
            )),
        };
        if done.is_err() {
            trace::failed(&span);
        }
        if let Some(metrics) = self.metrics.get() {
            metrics.store_request_duration.observe(began.elapsed());
            if let Err(Error::Unavailable(_)) = done {
                metrics.store_requests_failed.inc();
            }
        }
        done
    }

    /// Counts requests here from now on.
    pub(super) fn counted_by(&self, metrics: &Arc<Metrics>) {
        let _ = self.metrics.set(Arc::clone(metrics));
    }

    /// No verb works from now on.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Bounded: a member that hangs must not hold the relay's end up.
        let _ = timeout(self.timeout, self.client.clone().shutdown()).await;
    }
}
