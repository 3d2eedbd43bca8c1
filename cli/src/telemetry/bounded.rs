//! The queue of spans that have ended: its bound, and what became of each.
//!
//! Must not know where they are sent.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chatctl_relay::metrics::{Metrics, OfOutcome};
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};

/// How many spans are on their way, and where those that left it are counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    waiting: AtomicUsize,
    is_failing: AtomicBool,
    metrics: OnceLock<Arc<Metrics>>,
}

impl Counts {
    /// Counts there from now on.
    pub(super) fn tell(&self, metrics: &Arc<Metrics>) {
        let _ = self.metrics.set(Arc::clone(metrics));
    }

    fn count(&self, outcome: &'static str, spans: usize) {
        if let Some(metrics) = self.metrics.get() {
            let counter = metrics.spans.get_or_create(&OfOutcome { outcome });
            counter.inc_by(spans as u64);
        }
    }

    /// Takes a place in the queue, if there is one.
    fn takes_place(&self) -> bool {
        let taken = self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE;
        if !taken {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.count("dropped", 1);
        }
        taken
    }
}

/// What takes spans that have ended, for an exporter on a thread of its own.
pub(super) fn processor<E: SpanExporter + 'static>(
    exporter: E,
    counts: &Arc<Counts>,
) -> impl SpanProcessor + use<E> {
    let exporter = Counted {
        exporter,
        counts: Arc::clone(counts),
    };
    let bounds = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    Bounded {
        queue: BatchSpanProcessor::builder(exporter)
            .with_batch_config(bounds)
            .build(),
        counts: Arc::clone(counts),
    }
}

/// A queue whose bound is kept before it, where what is dropped can be counted.
#[derive(Debug)]
struct Bounded {
    queue: BatchSpanProcessor,
    counts: Arc<Counts>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.counts.takes_place() {
            self.queue.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// An exporter that says what it did.
#[derive(Debug)]
struct Counted<E> {
    exporter: E,
    counts: Arc<Counts>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.counts.waiting.fetch_sub(spans, Ordering::Relaxed);
        self.counts
            .count(if sent.is_ok() { "sent" } else { "failed" }, spans);
        let was_failing = self.counts.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match &sent {
            // Once: a collector that is down for a day is no news every five seconds.
            Err(error) if !was_failing => tracing::warn!(%error, "spans do not reach the collector"),
            Ok(()) if was_failing => tracing::info!("spans reach the collector again"),
            Ok(()) | Err(_) => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Spans that may be on their way; beyond, they are dropped.
const QUEUE: usize = 2048;

/// Spans that are sent together.
const BATCH: usize = 512;

/// Longest time for which a span waits for others.
const DELAY: Duration = Duration::from_secs(5);
