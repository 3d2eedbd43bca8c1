//! `chatctl bench report`.

use std::path::PathBuf;

use super::account::{Form, read, tell};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// Show a report that was kept, in another form
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl bench report runs/2026-11-22T11-40-02Z-pairs/report.json
  chatctl bench report report.json --html -o report.html")]
pub(super) struct Show {
    /// The report, as --json and --out-dir write it (repeatable, one after the other)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    form: Forms,
}

/// One form, or none: the screen.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Forms {
    /// As a page that needs no network
    #[arg(long, conflicts_with = "json")]
    html: bool,

    /// As a table for a comment
    #[arg(long, conflicts_with = "json")]
    markdown: bool,

    /// As JUnit's XML, a test for each threshold
    #[arg(long, conflicts_with = "json")]
    junit: bool,

    /// Second by second, as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// As HdrHistogram's log
    #[arg(long, conflicts_with = "json")]
    hlog: bool,
}

impl Forms {
    fn chosen(&self) -> Option<Form> {
        let forms = [
            (self.html, Form::Html),
            (self.markdown, Form::Markdown),
            (self.junit, Form::Junit),
            (self.csv, Form::Csv),
            (self.hlog, Form::Hlog),
        ];
        forms
            .into_iter()
            .find_map(|(is_chosen, form)| is_chosen.then_some(form))
    }
}

impl Show {
    pub(super) fn run(self, out: &Out) -> Result<Exit, Failure> {
        let reports: Vec<_> = self
            .files
            .iter()
            .map(|file| read(file))
            .collect::<Result<_, _>>()?;
        if let [only] = reports.as_slice() {
            match self.form.chosen() {
                Some(form) => out.verbatim(form.of(only)?.as_bytes())?,
                None => tell(only, out)?,
            }
            return Ok(Exit::Ok);
        }
        if out.is_json()
            || matches!(
                self.form.chosen(),
                Some(Form::Html | Form::Junit | Form::Csv | Form::Hlog)
            )
        {
            return Err(
                Failure::new(Exit::Usage, "this form holds one report").hint("one FILE for each command")
            );
        }
        let mut text = String::new();
        for report in &reports {
            text += &match self.form.chosen() {
                Some(form) => form.of(report)?,
                None => chatctl_loadgen::report::screen::screen(report, out.colors_stdout()),
            };
            text += "\n";
        }
        out.verbatim(text.as_bytes())?;
        Ok(Exit::Ok)
    }
}
