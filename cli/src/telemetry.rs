//! Traces for a collector: their settings, and the way that spans take to it (OTLP over HTTP, in protobuf).
//!
//! Which spans there are, and what is in them, is [`chatctl_relay::trace`]'s business. Without an endpoint nothing
//! of this exists in a process.
//!
//! # Why
//!
//! A collector that is slow, gone or wrong must not be felt: a span that has ended is put into a queue of bounded
//! length or dropped, one thread takes spans from there, and what it waits for is bounded, too. What became of them
//! is counted.

mod bounded;
mod collector;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatctl_relay::auth::private_file;
use chatctl_relay::metrics::Metrics;
use chatctl_relay::trace;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer as _;

use self::bounded::Counts;
use self::collector::Collector;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::log::Listener;

/// Whether, how many and where to traces go.
#[derive(Clone, clap::Args)]
pub(crate) struct TelemetryConfig {
    /// Collector that traces are sent to, in OTLP over HTTP: `http://127.0.0.1:4318` (default: nothing is traced)
    #[arg(id = "telemetry.otlp_endpoint", long = "otlp-endpoint", env = "CHATCTL_TELEMETRY__OTLP_ENDPOINT", value_name = "URL", value_parser = endpoint)]
    otlp_endpoint: Option<String>,

    /// File with headers for the collector, such as its token: `Name: value`, one a line (mode 0600)
    #[arg(
        id = "telemetry.otlp_headers_file",
        long = "otlp-headers-file",
        env = "CHATCTL_TELEMETRY__OTLP_HEADERS_FILE",
        value_name = "FILE"
    )]
    otlp_headers_file: Option<PathBuf>,

    /// Part of all requests, sessions, commits and jobs that is traced (0 to 1)
    #[arg(id = "telemetry.sample_ratio", long = "sample-ratio", env = "CHATCTL_TELEMETRY__SAMPLE_RATIO", value_name = "RATIO", default_value = "0.01", value_parser = ratio)]
    sample_ratio: f64,
}

impl fmt::Debug for TelemetryConfig {
    /// Where the headers are, and not what: they are read when they are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryConfig")
            .field("otlp_endpoint", &self.otlp_endpoint)
            .field("otlp_headers_file", &self.otlp_headers_file)
            .field("sample_ratio", &self.sample_ratio)
            .finish()
    }
}

/// The traces of this process, if there are any.
#[derive(Debug, Default)]
pub(crate) struct Traces(Option<Pipeline>);

#[derive(Debug)]
struct Pipeline {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
}

impl Traces {
    /// Gets ready to send spans, and says who listens for them. Sends nothing yet.
    ///
    /// # Errors
    ///
    /// [`Failure`] when the headers cannot be read, or the collector could never be asked.
    pub(crate) fn start(config: &TelemetryConfig) -> Result<(Self, Option<Listener>), Failure> {
        let Some(endpoint) = &config.otlp_endpoint else {
            return Ok((Self::default(), None));
        };
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(Exit::Config, "traces cannot be sent to telemetry.otlp_endpoint").caused_by(error)
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new().map_err(|error| failed(&error))?)
            .with_endpoint(traces_of(endpoint))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIME)
            .with_headers(config.headers()?)
            .build()
            .map_err(|error| failed(&error))?;
        let counts = Arc::<Counts>::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(bounded::processor(exporter, &counts))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                config.sample_ratio,
            ))))
            .with_resource(resource())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("chatctl"))
            // What an operator needs, and no more: a file and a line of ours tell nothing.
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            // Events, which is to say the log, stay out.
            .with_filter(Targets::new().with_target(trace::TARGET, LevelFilter::TRACE));
        Ok((Self(Some(Pipeline { provider, counts })), Some(layer.boxed())))
    }

    /// Counts there what becomes of spans from now on.
    pub(crate) fn counted_by(&self, metrics: &Arc<Metrics>) {
        if let Some(pipeline) = &self.0 {
            pipeline.counts.tell(metrics);
        }
    }

    /// Sends what is left, for as long as is reasonable. Blocks.
    pub(crate) fn finish(&self) {
        if let Some(pipeline) = &self.0
            && let Err(error) = pipeline.provider.shutdown_with_timeout(FLUSH_TIME)
        {
            tracing::warn!(%error, "the last spans are lost");
        }
    }
}

impl TelemetryConfig {
    /// Reads the file with headers.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, without a word of what stands in it.
    fn headers(&self) -> Result<HashMap<String, String>, Failure> {
        let Some(path) = &self.otlp_headers_file else {
            return Ok(HashMap::new());
        };
        let bytes = private_file::read(path)?;
        let lines = String::from_utf8(bytes.to_vec()).ok();
        let headers = lines.as_deref().and_then(headers_of);
        headers.ok_or_else(|| {
            let message = format!("telemetry.otlp_headers_file: {} is not good", path.display());
            Failure::new(Exit::Config, message)
                .hint("a line is `Name: value`; those that begin with # are left out")
        })
    }
}

fn headers_of(text: &str) -> Option<HashMap<String, String>> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            let name = hyper::header::HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            hyper::header::HeaderValue::from_str(value.trim()).ok()?;
            Some((name.as_str().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// What the collector hears of us: nothing of the machine, nor of the environment.
fn resource() -> Resource {
    Resource::builder_empty()
        .with_service_name("chatctl")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Where traces go at a collector.
fn traces_of(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    match base.ends_with(PATH) {
        true => base.to_owned(),
        false => format!("{base}{PATH}"),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let uri: hyper::Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let Some(authority) = uri.authority() else {
        return Err("is not a URL with a host".to_owned());
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with http:// or https://".to_owned());
    }
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(
            "must be without a password or a query: telemetry.otlp_headers_file is for secrets".to_owned(),
        );
    }
    Ok(text.to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err("must be between 0 and 1".to_owned()),
    }
}

/// Where a collector takes traces.
const PATH: &str = "/v1/traces";

/// Longest time for one batch on its way.
const EXPORT_TIME: Duration = Duration::from_secs(5);

/// Longest time for what is left at the end.
const FLUSH_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_without_a_secret() {
        for good in ["http://127.0.0.1:4318", "https://traces.example/otlp/"] {
            assert_eq!(endpoint(good).as_deref(), Ok(good));
        }
        for bad in [
            "127.0.0.1:4318",
            "/v1/traces",
            "grpc://a",
            "http://me:canary@a",
            "http://a/?key=canary",
        ] {
            let why = endpoint(bad).unwrap_err();
            assert!(!why.contains("canary"), "{why}");
        }
        assert_eq!(traces_of("http://a:1/"), "http://a:1/v1/traces");
        assert_eq!(traces_of("http://a:1/v1/traces"), "http://a:1/v1/traces");
    }

    #[test]
    fn headers_are_read_line_by_line_and_a_bad_one_spoils_all() {
        let headers = headers_of("# ours\nAuthorization: Basic a:b\n\nx-scope:  7 \n").unwrap();
        let told = |name: &str| headers.get(name).map(String::as_str);
        assert_eq!(
            (told("authorization"), told("x-scope")),
            (Some("Basic a:b"), Some("7"))
        );
        assert_eq!(headers_of("Authorization Basic"), None);
        assert_eq!(headers_of("a b: c"), None);
    }

    #[test]
    fn a_ratio_is_a_part() {
        assert_eq!(ratio("0.25"), Ok(0.25));
        for bad in ["-1", "1.5", "NaN", "half"] {
            assert!(ratio(bad).is_err(), "{bad}");
        }
    }
}
