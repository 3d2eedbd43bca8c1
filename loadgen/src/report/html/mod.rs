//! A report as a page: one file that asks nobody for anything and needs no script. Light or dark as the reader likes,
//! on paper, on a telephone.

mod about;
mod axis;
mod chart;
mod columns;
mod compared;
mod facts;
mod figure;
mod header;
mod heat;
pub(super) mod markup;
mod paper;
mod round;
mod shape;
mod tail;
mod thin;
mod time;

use crate::report::html::figure::Figure;
use crate::report::html::markup::Markup;
use crate::report::html::time::Runs;
use crate::report::{Report, figures};

/// The page of a report. With a base its curves are drawn beside those of the report, and its figures listed.
#[must_use]
pub fn page(report: &Report, base: Option<&Report>) -> String {
    let mut out = Markup::default();
    out.raw("<!DOCTYPE html>\n");
    out.tag("html", &[("lang", "en")], |out| {
        out.tag("head", &[], |out| head(report, out));
        out.tag("body", &[], |out| {
            header::header(report, out);
            out.tag("main", &[], |out| {
                header::thresholds(report, out);
                if let Some(base) = base {
                    compared::compared(report, base, out);
                }
                latency(report, base, out);
                over_time(report, base, out);
                facts::outcome(report, out);
                about::about(report, out);
            });
            out.tag("footer", &[], |out| {
                out.text("Written by chatctl ");
                out.text(&report.environment.version);
                out.text(". Percentiles are of whole histograms and never averaged; ");
                out.prose(&["the document behind this page is ", &report.schema, "."]);
            });
        });
    });
    out.raw("\n");
    out.into_text()
}

fn head(report: &Report, out: &mut Markup) {
    out.empty("meta", &[("charset", "utf-8")]);
    out.empty(
        "meta",
        &[
            ("name", "viewport"),
            ("content", "width=device-width, initial-scale=1"),
        ],
    );
    out.empty("meta", &[("name", "color-scheme"), ("content", "light dark")]);
    out.empty(
        "meta",
        &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)],
    );
    out.empty("link", &[("rel", "icon"), ("href", "data:,")]);
    let verdict = header::verdict(report.verdict).0;
    out.leaf(
        "title",
        &[],
        &format!("{verdict}: {} – chatctl bench", report.scenario.name),
    );
    out.tag("style", &[], |out| out.raw(STYLE));
}

fn latency(report: &Report, base: Option<&Report>, out: &mut Markup) {
    out.tag("section", &[("id", "latencies")], |out| {
        out.leaf("h2", &[], "Latency");
        facts::latencies(report, out);
        let tails = tail::tails(report, base);
        if !tails.chart.marks.is_empty() {
            tails.draw(out);
        }
    });
}

fn over_time(report: &Report, base: Option<&Report>, out: &mut Markup) {
    if report.series.at.is_empty() {
        return;
    }
    let (series, every) = thin::thin(&report.series);
    let base = base.map(|base| thin::thin(&base.series).0);
    let runs = Runs {
        this: &series,
        base: base.as_ref(),
    };
    let has = |values: &[Option<f64>]| values.iter().any(Option::is_some);
    out.tag("section", &[("id", "time")], |out| {
        out.leaf("h2", &[], "Over time");
        if every > 1 {
            let each = figures::time(series.interval_seconds);
            out.leaf(
                "p",
                &[("class", "note")],
                &format!("Each point stands for {each}: rates are means, latencies the highest in it."),
            );
        }
        let wide = [
            Some(time::throughput(runs)),
            has(&series.e2e_max_seconds).then(|| time::latency(runs)),
            heat::heat(&series),
        ];
        wide.iter().flatten().for_each(|figure| figure.draw(out));
        let narrow: [Option<Figure>; 4] = [
            Some(time::connections(&series)),
            Some(time::errors(&series, facts::errors(report))),
            Some(time::processors(&series)),
            has(&series.server_rss_bytes).then(|| time::memory(&series)),
        ];
        out.tag("div", &[("class", "pairs")], |out| {
            narrow.iter().flatten().for_each(|figure| figure.draw(out))
        });
    });
}

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded, from nowhere, even if somebody found a way to write into the page.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Series;
    use crate::report::sample::{fullest, sample};

    #[test]
    fn every_chart_has_a_title_and_says_what_it_shows() {
        let page = page(&sample(), None);
        for id in [
            "percentiles",
            "throughput",
            "latency",
            "heat",
            "connections",
            "errors",
            "processors",
            "memory",
        ] {
            assert!(
                page.contains(&format!("<title id=\"{id}-middle-title\">")),
                "{id}"
            );
            assert!(page.contains(&format!("<desc id=\"{id}-middle-desc\">")), "{id}");
        }
        assert!(!page.contains("NaN") && !page.contains("inf "));
    }

    #[test]
    fn nothing_leaves_the_page_and_nothing_from_outside_is_markup() {
        let mut report = sample();
        let evil = "</style><script>alert(1)</script><img src=x onerror=alert(1)>\"' x=";
        evil.clone_into(&mut report.scenario.name);
        evil.clone_into(&mut report.environment.url);
        report.environment.command.push(evil.to_owned());
        report.environment.store = Some(evil.to_owned());
        report.reasons.push(evil.to_owned());
        report.labels.insert(evil.to_owned(), evil.to_owned());
        report.errors[0].class = evil.to_owned();
        report.thresholds[0].expression = evil.to_owned();
        report.series.phase[0] = evil.to_owned();
        let page = page(&report, Some(&report));
        assert!(!page.contains("<script") && !page.contains("<img") && page.matches("</style>").count() == 1);
        for word in ["http:", "https:", "url(", "@import", "src="] {
            assert!(!page.replace("src=x onerror", "").contains(word), "{word}");
        }
    }

    #[test]
    fn a_base_is_drawn_and_listed_beside_the_report() {
        let page = page(&sample(), Some(&sample()));
        for text in ["e2e p99, base", "delivered, base", "e2e, base", "±0 %"] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn a_report_with_nothing_in_it_and_one_with_everything_are_pages() {
        let mut nothing = sample();
        nothing.series = Series::default();
        nothing.latency.clear();
        nothing.thresholds.clear();
        nothing.server = None;
        nothing.errors.clear();
        assert!(page(&nothing, Some(&sample())).ends_with("</html>\n"));
        assert!(page(&sample(), Some(&nothing)).ends_with("</html>\n"));
        assert!(page(&fullest(), None).ends_with("</html>\n"));
    }

    #[test]
    fn a_page_does_not_grow_with_the_run() {
        let mut long = sample();
        long.series.at = (0..20_000).map(f64::from).collect();
        long.series.e2e_p99_seconds = (0..20_000)
            .map(|at| Some(0.01 + f64::from(at % 97) / 1e4))
            .collect();
        long.series.sent = (0..20_000).map(|at| 2000.0 + f64::from(at % 31)).collect();
        assert!(page(&long, None).len() < 600_000);
    }
}
