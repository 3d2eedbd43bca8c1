//! Interval by interval: what the generator counted beside what was seen of the server, on one clock.

use crate::outcome::{Moment, Outcome, heat_rows};
use crate::progress::Phase;
use crate::report::Series;
use crate::report::build::latency::seconds;
use crate::report::build::server::Line;
use crate::server::Glance;
use crate::tally::Count;

pub(super) fn series(outcome: &Outcome, glances: &[Glance]) -> Series {
    let interval = match outcome.interval > 0.0 {
        true => outcome.interval,
        false => 1.0,
    };
    let moments = &outcome.moments;
    let rate = |count| each(moments, |one| one.counts.count(count) as f64 / interval);
    let e2e = |place: usize| each(moments, |one| one.e2e.map(|values| seconds(values[place])));
    let service = |place: usize| each(moments, |one| one.service.map(|values| seconds(values[place])));
    let cpu = Line::new(glances, |glance| glance.cpu);
    let rss = Line::new(glances, |glance| glance.rss.map(|bytes| bytes as f64));
    Series {
        interval_seconds: interval,
        at: each(moments, |one| one.at),
        phase: each(moments, |one| one.phase.name().to_owned()),
        due: rate(Count::Due),
        sent: rate(Count::Sent),
        accepted: rate(Count::Accepted),
        delivered: rate(Count::Delivered),
        connections: each(moments, |one| one.connections as f64),
        reconnects: each(moments, reconnects),
        errors: each(moments, |one| one.counts.errors().values().sum::<u64>() as f64),
        e2e_p50_seconds: e2e(0),
        e2e_p90_seconds: e2e(1),
        e2e_p99_seconds: e2e(2),
        e2e_max_seconds: e2e(3),
        service_p50_seconds: service(0),
        service_p99_seconds: service(1),
        ok_p99_seconds: each(moments, |one| one.ok.map(seconds)),
        heat_seconds: heat_rows().into_iter().map(seconds).collect(),
        heat: each(moments, |one| one.heat.clone()),
        server_cpu: each(moments, |one| cpu.slope(one.at, one.at + interval)),
        server_rss_bytes: each(moments, |one| rss.inside(one.at + interval)),
        generator_cpu: each(moments, |one| one.cpu),
    }
}

fn each<T>(moments: &[Moment], what: impl Fn(&Moment) -> T) -> Vec<T> {
    moments.iter().map(what).collect()
}

/// The first connections of a run are not reconnects.
fn reconnects(moment: &Moment) -> f64 {
    match moment.phase {
        Phase::Setup | Phase::Connect => 0.0,
        Phase::Warmup | Phase::Load | Phase::Drain | Phase::Done => {
            moment.counts.count(Count::Connected) as f64
        }
    }
}
