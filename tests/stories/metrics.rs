//! Metrics: that they keep the conventions, that they do not grow with use, and where they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use chatctl_protocol::Encoding;
use chatctl_relay::metrics::Metrics;
use serde_json::Value;

use crate::doors::answer;
use crate::letters::{letter, texts};
use crate::relay::{ALICE, BOB, Person, TestRelay, eventually};

/// A metric as the page describes it.
#[derive(Debug, Default)]
struct Described {
    kind: String,
    help: String,
    unit: String,
    /// Names with labels.
    series: BTreeSet<String>,
}

/// A page, metric by metric.
fn read(page: &str) -> BTreeMap<String, Described> {
    let mut all = BTreeMap::<String, Described>::new();
    let mut current = String::new();
    for line in page.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(text)) => {
                let metric = all.entry(name.to_owned()).or_default();
                let member = match what {
                    "HELP" => &mut metric.help,
                    "TYPE" => &mut metric.kind,
                    "UNIT" => &mut metric.unit,
                    _ => panic!("{line}"),
                };
                assert_eq!(member.as_str(), "", "said twice: {line}");
                text.clone_into(member);
                name.clone_into(&mut current);
            }
            _ => {
                let (series, value) = line.rsplit_once(' ').expect(line);
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(series.starts_with(&current), "{line} after {current}");
                let is_new = all.get_mut(&current).unwrap().series.insert(series.to_owned());
                assert!(is_new, "twice: {line}");
            }
        }
    }
    all
}

/// What of a metric is against the conventions.
fn faults(name: &str, metric: &Described) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{name}: {what}"));
        }
    };
    must(
        name.starts_with("chatctl_") || name.starts_with("process_"),
        "has no prefix of ours",
    );
    must(
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
        "is not in snake case",
    );
    let words: Vec<_> = name.split('_').collect();
    for word in ["total", "count", "sum", "bucket", "counter", "gauge", "number"] {
        must(!words.contains(&word), "has a word that is the format's own");
    }
    for word in [
        "ms",
        "millis",
        "milliseconds",
        "minutes",
        "hours",
        "days",
        "kb",
        "mb",
        "percent",
    ] {
        must(!words.contains(&word), "is not in a base unit");
    }
    let unit = ["seconds", "bytes"]
        .into_iter()
        .find(|unit| name.ends_with(&format!("_{unit}")));
    must(
        metric.unit == unit.unwrap_or_default(),
        "says another unit than its name",
    );
    must(
        metric.help.len() > 10 && metric.help.ends_with('.') && !metric.help.ends_with(".."),
        "is not described in a sentence",
    );
    must(
        ["counter", "gauge", "histogram"].contains(&metric.kind.as_str()),
        "is of no kind",
    );
    must(metric.series.len() <= 64, "has too many series");
    faults.extend(
        metric
            .series
            .iter()
            .flat_map(|series| sample_faults(name, metric, series)),
    );
    faults
}

/// What of one sample is.
fn sample_faults(name: &str, metric: &Described, series: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{name}: {what}"));
        }
    };
    let (sample, labels) = series.split_once('{').unwrap_or((series, "}"));
    let suffix = &sample[name.len()..];
    let is_good = match metric.kind.as_str() {
        "counter" => suffix == "_total",
        "histogram" => ["_sum", "_count", "_bucket"].contains(&suffix),
        _ => suffix.is_empty(),
    };
    must(is_good, "has a sample with a suffix that is not its kind's");
    for label in labels
        .trim_end_matches('}')
        .split(',')
        .filter(|label| !label.is_empty())
    {
        let (key, value) = label.split_once('=').unwrap();
        let is_known = ["reason", "outcome", "job_name", "version", "commit", "le"].contains(&key);
        must(is_known, "has a label that nobody has thought about");
        must(value.len() <= 34, "has a label with a long value");
    }
    faults
}

async fn exchange(relay: &TestRelay, one: Person, other: Person) {
    let mut alice = relay.connect(one, Encoding::Json).await;
    let mut bob = relay.connect(other, Encoding::Proto).await;
    alice.post(letter(1, &[other], "hello")).await;
    let mail = bob.mail(1).await;
    assert_eq!(texts(&mail), [("hello", 1)]);
    bob.ack(&mail).await;
    drop((alice, bob));
    eventually("everybody is gone", || relay.metrics().sessions.get() == 0).await;
}

const ANOTHER: Person = Person {
    account: "canary-account",
    ..ALICE
};

const YET_ANOTHER: Person = Person {
    account: "canary-second",
    ..BOB
};

#[tokio::test]
async fn metrics_keep_the_conventions_and_do_not_grow_with_who_comes() {
    let relay = TestRelay::start_for(&[ALICE, BOB, ANOTHER, YET_ANOTHER]).await;
    exchange(&relay, ALICE, BOB).await;
    let all = read(&relay.metrics_page().await);
    let faults: Vec<_> = all
        .iter()
        .flat_map(|(name, metric)| faults(name, metric))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(all.len() > 40, "{:?}", all.keys());

    exchange(&relay, ANOTHER, YET_ANOTHER).await;
    let page = relay.metrics_page().await;
    assert!(!page.contains("canary"), "{page}");
    let series = |all: &BTreeMap<String, Described>| -> BTreeSet<String> {
        // Jobs begin when it is their time.
        let all = all.iter().filter(|(name, _)| !name.starts_with("chatctl_job_"));
        all.flat_map(|(_, metric)| metric.series.clone()).collect()
    };
    assert_eq!(series(&read(&page)), series(&all));
    relay.stop().await;
}

#[tokio::test]
async fn a_look_tells_what_waits_and_what_there_may_be() {
    let relay = TestRelay::start_with(|config| config.server.max_sessions = 7)
        .await
        .for_these(&[ALICE, BOB])
        .await;
    let mut alice = relay.connect(ALICE, Encoding::Proto).await;
    alice.post(letter(1, &[BOB], "for later")).await;
    let page = relay.metrics_page().await;
    let says = |line: &str| page.lines().any(|said| said == line);
    for line in [
        "chatctl_ready 1",
        "chatctl_sessions 1",
        "chatctl_sessions_max 7",
        "chatctl_uncommitted_bytes 0",
        "chatctl_envelopes_accepted_total 1",
        "chatctl_envelope_delivery_seconds_count 0",
    ] {
        assert!(says(line), "{line}\n{page}");
    }
    assert!(says("chatctl_envelopes_waiting 1") || !page.contains("chatctl_envelopes_waiting"));
    assert!(page.contains(concat!(
        "chatctl_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\""
    )));
    // What waited for a device is no measure of the relay; what came while it was here is.
    let mut bob = relay.connect(BOB, Encoding::Proto).await;
    assert_eq!(bob.mail(1).await.len(), 1);
    alice.post(letter(2, &[BOB], "at once")).await;
    assert_eq!(bob.mail(1).await.len(), 1);
    eventually("one was measured", || relay.metrics().delivery.count() == 1).await;
    drop((alice, bob));
    relay.stop().await;
}

#[tokio::test]
async fn who_reads_no_openmetrics_gets_the_older_format() {
    let relay = TestRelay::start().await;
    let kind = async |accept: &str| {
        let answer = answer(relay.request("GET /metrics").header("accept", accept)).await;
        let kind = answer.headers["content-type"].to_str().unwrap().to_owned();
        (kind, answer.body.as_str().unwrap().to_owned())
    };
    let (plain, page) = kind("text/plain").await;
    assert_eq!(plain, "text/plain; version=0.0.4; charset=utf-8");
    assert!(page.contains("# TYPE chatctl_frames_sent_total counter\nchatctl_frames_sent_total 0\n"));
    assert!(!page.contains("# UNIT") && !page.contains("# EOF"));
    for accept in [
        "*/*",
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5",
    ] {
        let (open, page) = kind(accept).await;
        assert_eq!(open, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(page.ends_with("# EOF\n"));
    }
    relay.stop().await;
}

#[tokio::test]
async fn metrics_with_an_address_of_their_own_are_not_public() {
    let relay = TestRelay::start_with(|config| {
        config.server.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    let hidden = answer(relay.request("GET /metrics")).await;
    assert_eq!((hidden.status, &hidden.body["code"]), (404, &"not_found".into()));
    assert_eq!(answer(relay.request("GET /healthz")).await.status, 200);
    assert_eq!(answer(relay.request("GET /readyz")).await.status, 200);
    let watch = async |path: &str| {
        let url = format!("http://{}{path}", relay.metrics_address().unwrap());
        answer(relay.http().get(url)).await
    };
    let page = watch("/metrics").await;
    assert_eq!(page.status, 200);
    assert!(page.body.as_str().unwrap().contains("chatctl_ready 1\n"));
    assert_eq!(watch("/healthz").await.status, 200);
    assert_eq!(watch("/readyz").await.status, 200);
    for path in ["/v1/info", "/v1/ws", "/docs", "/openapi.json"] {
        assert_eq!(watch(path).await.status, 404, "{path}");
    }
    relay.stop().await;
}

const DASHBOARD: &str = include_str!("../../docs/ops/grafana.json");

const ALERTS: &str = include_str!("../../docs/ops/alerts.yml");

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("chatctl_") || word.starts_with("process_"));
    ours.map(ToOwned::to_owned).collect()
}

/// Every panel's expressions, rows looked into.
fn expressions(panels: &Value) -> Vec<String> {
    let panels = panels.as_array().unwrap().iter();
    panels
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().into_iter().flatten();
            let own = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
            own.chain(match &panel["panels"] {
                Value::Null => Vec::new(),
                inner => expressions(inner),
            })
            .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_every_metric_and_no_other() {
    let there: BTreeSet<String> = Metrics::names().into_iter().collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let drawn = named(&expressions(&dashboard["panels"]).join(" "));
    let watched = named(ALERTS);
    for (what, names) in [("grafana.json", &drawn), ("alerts.yml", &watched)] {
        let unknown: Vec<_> = names.difference(&there).collect();
        assert!(unknown.is_empty(), "{what} names what is not there: {unknown:?}");
    }
    let used: BTreeSet<String> = drawn.union(&watched).cloned().collect();
    let idle: Vec<_> = there
        .difference(&used)
        // A histogram is drawn from its buckets; its sum and its count come with them.
        .filter(|name| !name.ends_with("_seconds_sum") && !name.ends_with("_seconds_count"))
        .collect();
    assert!(idle.is_empty(), "nobody looks at {idle:?}");
    let rows = dashboard["panels"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        rows,
        [
            "Overview",
            "Delivery",
            "Store and commits",
            "Sessions and closes",
            "Keys and tokens",
            "Jobs",
            "Process"
        ]
    );
}

#[tokio::test]
async fn what_a_relay_exposes_is_what_dashboards_may_name() {
    let there: BTreeSet<String> = Metrics::names().into_iter().collect();
    let relay = TestRelay::start_for(&[ALICE, BOB]).await;
    exchange(&relay, ALICE, BOB).await;
    let page = relay.metrics_page().await;
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let samples: BTreeSet<String> = samples
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect();
    let unknown: Vec<_> = samples.difference(&there).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    relay.stop().await;
}
