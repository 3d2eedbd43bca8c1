//! What the server used, read from glances at it.

use crate::outcome::Outcome;
use crate::progress::Phase;
use crate::report::ServerFigures;
use crate::report::build::per;
use crate::scenario::Scenario;
use crate::server::Glance;
use crate::tally::Count;

/// Nothing when nothing of it was ever seen.
pub(super) fn figures(
    outcome: &Outcome,
    glances: &[Glance],
    scenario: &Scenario,
    pid: Option<u32>,
) -> Option<ServerFigures> {
    let of = |what: fn(&Glance) -> Option<u64>| {
        Line::new(glances, move |glance| what(glance).map(|one| one as f64))
    };
    let cpu = Line::new(glances, |glance| glance.cpu);
    let (rss, commits) = (of(|glance| glance.rss), of(|glance| glance.commits));
    let (written, accepted, elided) = (
        of(|glance| glance.written),
        of(|glance| glance.accepted),
        of(|glance| glance.elided),
    );
    if [&cpu, &rss, &commits, &written, &accepted]
        .iter()
        .all(|line| line.0.is_empty())
    {
        return None;
    }
    let (from, to) = (outcome.began, outcome.began + outcome.seconds);
    let grew = |line: &Line| Some(line.at(to)? - line.at(from)?);
    let whole = |amount: f64| amount.round().max(0.0) as u64;
    // The server counts by the moment of accepting, as its other counters do; ours stand in where it says nothing.
    let accepted = grew(&accepted).map_or(outcome.measured.count(Count::Accepted), whole);
    let (commits, written) = (grew(&commits), grew(&written));
    let cpu_seconds = grew(&cpu);
    Some(ServerFigures {
        pid,
        cpu_seconds: cpu_seconds.unwrap_or_default(),
        cpu_seconds_per_message: cpu_seconds
            .and_then(|spent| per(spent, outcome.measured.count(Count::Delivered))),
        rss_max_bytes: whole(rss.most()),
        rss_before_bytes: rss.0.first().map_or(0, |(_, bytes)| whole(*bytes)),
        rss_bytes_per_connection: per_connection(outcome, &rss, scenario),
        written_bytes: written.map(whole),
        written_bytes_per_message: written.and_then(|bytes| per(bytes, accepted)),
        commits: commits.map(whole),
        commits_per_message: commits.and_then(|commits| per(commits, accepted)),
        elided_share: grew(&elided).and_then(|elided| per(elided, accepted)),
    })
}

/// What connections added, before messages add to it; where there are none, what they grew to.
fn per_connection(outcome: &Outcome, rss: &Line, scenario: &Scenario) -> Option<f64> {
    let (_, before) = rss.0.first()?;
    let is_silent = !scenario.load.writes();
    let connected = outcome
        .moments
        .iter()
        .take_while(|moment| is_silent || matches!(moment.phase, Phase::Setup | Phase::Connect));
    let (end, connections) = connected.fold((outcome.began, 0), |(_, most), moment| {
        (moment.at + outcome.interval, most.max(moment.connections))
    });
    let grown = match is_silent {
        true => rss.most(),
        false => rss.at(end)?,
    };
    // A run that connects faster than an interval has no moment of its own for it.
    let connections = match connections {
        0 => outcome.moments.iter().map(|moment| moment.connections).max()?,
        some => some,
    };
    per((grown - before).max(0.0), connections)
}

/// A figure over time, in order. Between two glances it is taken to have grown evenly.
pub(super) struct Line(Vec<(f64, f64)>);

impl Line {
    pub(super) fn new(glances: &[Glance], what: impl Fn(&Glance) -> Option<f64>) -> Self {
        let points = glances
            .iter()
            .filter_map(|glance| Some((glance.at, what(glance)?)));
        Self(points.collect())
    }

    /// The figure at a moment: the first before all glances, and the last after them.
    pub(super) fn at(&self, at: f64) -> Option<f64> {
        let next = self.0.partition_point(|(seen, _)| *seen <= at);
        let Some((after, to)) = self.0.get(next) else {
            return self.0.last().map(|(_, value)| *value);
        };
        let Some((before, from)) = next.checked_sub(1).and_then(|last| self.0.get(last)) else {
            return Some(*to);
        };
        Some(from + (to - from) * (at - before) / (after - before))
    }

    /// The figure at a moment at which somebody still looked.
    pub(super) fn inside(&self, at: f64) -> Option<f64> {
        let (first, last) = (self.0.first()?.0, self.0.last()?.0);
        // Whoever looks once a second is a little late.
        (first - 1.5..=last + 1.5)
            .contains(&at)
            .then(|| self.at(at))
            .flatten()
    }

    /// How much it grew in a second, between two moments.
    pub(super) fn slope(&self, from: f64, to: f64) -> Option<f64> {
        let (first, last) = (self.0.first()?.0, self.0.last()?.0);
        let (from, to) = (from.max(first), to.min(last));
        (to > from).then(|| Some((self.at(to)? - self.at(from)?) / (to - from)))?
    }

    fn most(&self) -> f64 {
        self.0.iter().map(|(_, value)| *value).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_between_its_points() {
        let glance = |at, cpu| Glance {
            at,
            cpu,
            ..Glance::default()
        };
        let line = Line::new(
            &[glance(1.0, Some(2.0)), glance(1.5, None), glance(3.0, Some(6.0))],
            |glance| glance.cpu,
        );
        assert_eq!(
            [0.0, 1.0, 2.0, 3.0, 9.0].map(|at| line.at(at)),
            [2.0, 2.0, 4.0, 6.0, 6.0].map(Some)
        );
        assert_eq!((line.slope(0.0, 2.0), line.slope(5.0, 6.0)), (Some(2.0), None));
        assert_eq!((line.inside(4.0), line.inside(5.0)), (Some(6.0), None));
        assert_eq!(Line(Vec::new()).at(1.0), None);
    }
}
