//! Draws a model: a pure function from it to a frame.
//!
//! Must not know where numbers come from. From 80 columns and 24 lines on; below it says so.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Sparkline, Wrap};

use super::model::{Model, Moment};
use crate::commands::status::{Job, Status, moment, percent};
use crate::figures::{bytes, span, tame, thousands};

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, colored: bool) {
    let area = frame.area();
    let ink = Ink { colored };
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "chatctl top needs {} columns and {} lines; here are {} and {}. q quits.",
            LEAST.0, LEAST.1, area.width, area.height
        );
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let [top, traffic, middle, jobs, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(if area.height >= 34 { 14 } else { 8 }),
        Constraint::Length(6),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head(model, ink)), top);
    draw_traffic(frame, traffic, model, ink);
    let [left, right] =
        Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(middle);
    frame.render_widget(
        Paragraph::new(mail(model, ink)).block(block(" mail and store ")),
        left,
    );
    let title = format!(" refusals and closes, by {} ", model.sort.as_str());
    frame.render_widget(Paragraph::new(reasons(model, ink)).block(block(&title)), right);
    frame.render_widget(
        Paragraph::new(jobs_of(model, ink, jobs.width.saturating_sub(2))).block(block(" jobs ")),
        jobs,
    );
    frame.render_widget(Paragraph::new(foot(model, ink)), bottom);
    if model.help {
        draw_help(frame, area);
    }
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
struct Ink {
    colored: bool,
}

impl Ink {
    fn of(self, color: Color) -> Style {
        match self.colored {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    fn good(self) -> Style {
        self.of(Color::Green)
    }

    fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn warning(self) -> Style {
        self.of(Color::Yellow)
    }

    fn quiet(self) -> Style {
        self.of(Color::DarkGray)
    }
}

fn block(title: &str) -> Block<'static> {
    Block::bordered().title(title.to_owned())
}

fn head(model: &Model, ink: Ink) -> Line<'static> {
    let mut spans = vec![Span::raw(" chatctl ")];
    match &model.status {
        None => spans.push(Span::raw("…")),
        Some(status) => {
            let (word, style) = match (status.ready, status.draining) {
                (_, true) => ("draining", ink.warning()),
                (true, false) => ("ready", ink.good()),
                (false, false) => ("NOT READY", ink.bad()),
            };
            let up = std::time::Duration::try_from_secs_f64(status.up_seconds.trunc()).unwrap_or_default();
            spans.push(Span::raw(format!("{}  ", tame(&status.version))));
            spans.push(Span::styled(word, style));
            spans.push(Span::raw(format!("  up {}  pid {}  ", span(up), status.pid)));
        }
    }
    spans.push(Span::styled(tame(&model.place), ink.quiet()));
    if model.paused {
        spans.push(Span::styled("  PAUSED", ink.warning()));
    }
    Line::from(spans)
}

/// A row of the traffic: its word, its value, and its points.
type Row = (&'static str, String, fn(&Moment) -> f64);

fn draw_traffic(frame: &mut Frame<'_>, area: Rect, model: &Model, ink: Ink) {
    let block = block(" traffic ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let open = model.status.as_ref().map(|status| {
        format!(
            "{} / {}",
            thousands(status.sessions.open),
            thousands(status.sessions.most)
        )
    });
    let rates = model.rates();
    let rate = |of: fn(&super::rates::Rates) -> f64| {
        rates.map_or_else(|| "-".to_owned(), |rates| per_second(of(rates)))
    };
    let rows: [Row; 6] = [
        ("sessions", open.unwrap_or_else(|| "-".to_owned()), |at| {
            at.sessions as f64
        }),
        ("sends", rate(|rates| rates.accepted), |at| at.rates.accepted),
        ("deliveries", rate(|rates| rates.delivered), |at| {
            at.rates.delivered
        }),
        ("acks", rate(|rates| rates.acked), |at| at.rates.acked),
        ("commits", rate(|rates| rates.commits), |at| at.rates.commits),
        ("refusals", rate(|rates| rates.refused), |at| at.rates.refused),
    ];
    let height = (inner.height / rows.len() as u16).max(1);
    let lines = Layout::vertical([Constraint::Length(height); 6]).split(inner);
    for (row, line) in rows.into_iter().zip(lines.iter()) {
        draw_row(frame, *line, row, model, ink);
    }
}

fn draw_row(frame: &mut Frame<'_>, area: Rect, (word, value, of): Row, model: &Model, ink: Ink) {
    let [label, number, line] = Layout::horizontal([
        Constraint::Length(11),
        Constraint::Length(17),
        Constraint::Fill(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(format!(" {word}")), label);
    frame.render_widget(Paragraph::new(value).alignment(Alignment::Right), number);
    let width = usize::from(line.width.saturating_sub(2));
    let shown = model.history.len().min(width);
    let points = model.history.iter().skip(model.history.len() - shown);
    // In thousandths: what happens less than once a second is worth a bar, too.
    let mut data = vec![0; width - shown];
    data.extend(points.map(|at| (of(at) * 1000.0) as u64));
    let inner = Rect {
        x: line.x + 2,
        width: line.width.saturating_sub(2),
        ..line
    };
    frame.render_widget(Sparkline::default().data(&data).style(ink.of(Color::Cyan)), inner);
}

fn per_second(rate: f64) -> String {
    match rate < 100.0 {
        true => format!("{rate:.1}/s"),
        false => format!("{}/s", thousands(rate.round() as u64)),
    }
}

/// `▰▰▰▱▱▱▱▱▱▱`.
fn gauge(part: u64, whole: u64) -> String {
    let filled = match whole {
        0 => 0,
        whole => ((part.min(whole) * 10).div_ceil(whole)) as usize,
    };
    "▰".repeat(filled) + &"▱".repeat(10 - filled.min(10))
}

fn mail(model: &Model, ink: Ink) -> Vec<Line<'static>> {
    let Some(status) = &model.status else {
        return Vec::new();
    };
    let mail = &status.mail;
    let elided = model.rates().and_then(|rates| rates.elided_share);
    let elided = elided.map_or_else(|| "-".to_owned(), |share| percent(share, 1.0));
    let unknown = || "?".to_owned();
    let waiting = mail.waiting.map_or_else(unknown, thousands);
    let size = status.store.bytes.map_or_else(unknown, bytes);
    let free = status.store.free_bytes.map_or_else(unknown, bytes);
    let processors = model
        .rates()
        .map_or_else(String::new, |rates| format!("{:.2} processors", rates.processors));
    let memory = status.process.resident_bytes.map_or_else(unknown, bytes);
    let store = match status.store.answers {
        true => Span::raw(format!("{size}, {free} free  {}", tame(&status.store.kind))),
        false => Span::styled(format!("{} DOES NOT ANSWER", tame(&status.store.kind)), ink.bad()),
    };
    let line = |word: &str, text: String| Line::from(format!(" {word:<9}{text}"));
    let mut lines = vec![
        line(
            "tail",
            format!(
                "{} {}",
                gauge(mail.tail_bytes, mail.tail_most),
                bytes(mail.tail_bytes)
            ),
        ),
        line(
            "to commit",
            format!(
                " {} {}",
                gauge(mail.uncommitted_bytes, mail.uncommitted_most),
                bytes(mail.uncommitted_bytes)
            ),
        ),
        line(
            "commit",
            format!(
                "p50 {}  p99 {}",
                moment(mail.commit_seconds.p50),
                moment(mail.commit_seconds.p99)
            ),
        ),
        line("waiting", format!("{waiting}   never on disk {elided}")),
        Line::from(vec![Span::raw(" store    "), store]),
        line("process", format!("{memory}  {processors}")),
    ];
    lines.extend(more(status));
    lines
}

/// What there is room for on a tall screen alone.
fn more(status: &Status) -> Vec<Line<'static>> {
    let mail = &status.mail;
    let descriptors = match (status.sessions.descriptors.open, status.sessions.descriptors.soft) {
        (Some(open), Some(soft)) => format!("{} / {}", thousands(open), thousands(soft)),
        (Some(open), None) => thousands(open),
        (None, _) => "?".to_owned(),
    };
    let config = if status.config.good {
        "good"
    } else {
        "the last one read was NOT GOOD"
    };
    let line = |word: &str, text: String| Line::from(format!(" {word:<9}{text}"));
    vec![
        line("files", descriptors),
        line("accepted", thousands(mail.accepted)),
        line("dropped", thousands(mail.dropped)),
        line("failed", format!("{} commits", thousands(mail.commits_failed))),
        line(
            "keys",
            status
                .keys
                .signing_kid
                .as_deref()
                .map_or_else(|| "none signs".to_owned(), tame),
        ),
        line(
            "config",
            format!("generation {}, {config}", status.config.generation),
        ),
    ]
}

fn reasons(model: &Model, ink: Ink) -> Vec<Line<'static>> {
    let reasons = model.reasons();
    if reasons.is_empty() {
        return vec![Line::styled(" none", ink.quiet())];
    }
    let line = |(kind, word, total, rate): (&str, String, u64, f64)| {
        let text = format!(
            " {kind:<5} {:<18.18}{:>6} {:>7}",
            tame(&word),
            thousands(total),
            per_second(rate)
        );
        match rate > 0.0 {
            true => Line::styled(text, ink.warning()),
            false => Line::raw(text),
        }
    };
    reasons.into_iter().map(line).collect()
}

/// A lamp for each job, in rows.
fn jobs_of(model: &Model, ink: Ink, width: u16) -> Vec<Line<'static>> {
    let Some(status) = &model.status else {
        return Vec::new();
    };
    let Some(jobs) = &status.jobs else {
        return vec![Line::styled(" unknown: the store does not say", ink.warning())];
    };
    let lamp = |job: &Job| {
        let (mark, style) = match job {
            job if job.is_overdue => ("!", ink.bad()),
            job if job.failures > 0 => ("✗", ink.bad()),
            job if job.is_running => ("▶", ink.good()),
            job if job.paused_until.is_some() => ("‖", ink.warning()),
            job if !job.is_on => ("·", ink.quiet()),
            _ => ("●", ink.good()),
        };
        [
            Span::styled(format!(" {mark} "), style),
            Span::raw(format!("{:<21.21}", tame(&job.name))),
        ]
    };
    let in_a_row = usize::from((width / 24).max(1));
    let rows = jobs.chunks(in_a_row);
    rows.map(|row| Line::from(row.iter().flat_map(lamp).collect::<Vec<_>>()))
        .collect()
}

fn foot(model: &Model, ink: Ink) -> Line<'static> {
    if let Some(gone) = &model.gone {
        let text = format!(" relay does not answer since {}: {}", gone.since, tame(&gone.why));
        return Line::styled(text, ink.bad());
    }
    let keys = " q quit  p pause  s sort  ? help";
    match &model.restarted {
        Some(at) => Line::from(vec![
            Span::raw(keys),
            Span::styled(
                format!("   the relay was started anew at {}", tame(at)),
                ink.warning(),
            ),
        ]),
        None => Line::styled(keys, ink.quiet()),
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let text = "\
 q, Esc, Ctrl-C   quit
 p, space         pause: the screen stands still
 s                sort refusals and closes: rate, total, name
 ?                this help

 jobs   ● well  ▶ runs  ‖ paused  · off  ! overdue  ✗ failing
 tail   lately accepted mail, kept for readers; full is usual
 to commit   what senders wait for; full is not
 never on disk   acked before it had to be stored";
    let (width, height) = (66.min(area.width), 11.min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).block(block(" help ")), place);
}

/// Columns and lines below which nothing fits.
const LEAST: (u16, u16) = (80, 24);
