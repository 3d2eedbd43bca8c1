//! Files that a report goes to.

use std::fs;
use std::path::{Path, PathBuf};

use chatctl_loadgen::report::Report;
use chatctl_relay::auth::private_file::{self, Access};

use super::account::Form;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Out, to_json};

/// Where a report goes, besides the screen.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Files {
    /// Folder in which each run gets one with its report: a page, JSON, and a log of histograms
    #[arg(long, value_name = "DIR")]
    out_dir: Option<PathBuf>,

    /// Write the page, which needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write a table for a comment
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Write JUnit's XML, a test for each threshold
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the seconds as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Write the histograms as HdrHistogram's log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
}

impl Files {
    fn named(&self) -> impl Iterator<Item = (&Path, Form)> {
        let all = [
            (&self.html, Form::Html),
            (&self.markdown, Form::Markdown),
            (&self.junit, Form::Junit),
            (&self.csv, Form::Csv),
            (&self.hlog, Form::Hlog),
        ];
        all.into_iter()
            .filter_map(|(path, form)| Some((path.as_deref()?, form)))
    }

    /// Finds what would be in the way after the run.
    ///
    /// # Errors
    ///
    /// [`Exit::CantCreate`].
    pub(super) fn check(&self, out: &Out) -> Result<(), Failure> {
        let in_the_way = |path: &&Path| path.exists() && out.existing() == private_file::Existing::Keep;
        let named = self.named().map(|(path, _)| path).chain(out.file());
        if let Some(path) = named.into_iter().find(in_the_way) {
            return Err(
                Failure::new(Exit::CantCreate, format!("{} exists", path.display()))
                    .hint("`--force` takes its place"),
            );
        }
        match &self.out_dir {
            Some(folder) => make(folder),
            None => Ok(()),
        }
    }

    /// Whether the screen is all there is.
    pub(super) fn is_nothing_kept(&self) -> bool {
        self.out_dir.is_none() && self.named().next().is_none()
    }

    /// Writes the files that were named.
    ///
    /// # Errors
    ///
    /// [`Exit::CantCreate`].
    pub(super) fn write(&self, report: &Report, out: &Out) -> Result<(), Failure> {
        for (path, form) in self.named() {
            private_file::write(
                path,
                form.of(report)?.as_bytes(),
                Access::Everybody,
                out.existing(),
            )?;
        }
        Ok(())
    }

    /// Puts a run into a folder of its own.
    ///
    /// # Errors
    ///
    /// [`Exit::CantCreate`].
    pub(super) fn keep(&self, report: &Report, out: &Out) -> Result<(), Failure> {
        let Some(folder) = &self.out_dir else {
            return Ok(());
        };
        let name = format!(
            "{}-{}",
            report.started.replace(':', "-"),
            plain(&report.scenario.name)
        );
        let folder = (1..)
            .map(|number: u32| match number {
                1 => folder.join(&name),
                number => folder.join(format!("{name}-{number}")),
            })
            .find(|folder| !folder.exists());
        let Some(folder) = folder else { return Ok(()) };
        make(&folder)?;
        let write = |name: &str, text: &str| {
            private_file::write(
                &folder.join(name),
                text.as_bytes(),
                Access::Everybody,
                out.existing(),
            )
        };
        write("report.html", &Form::Html.of(report)?)?;
        write("report.json", &to_json(report)?)?;
        write("latency.hlog", &Form::Hlog.of(report)?)?;
        out.note(&format!(
            "report       {}/{{report.html,report.json,latency.hlog}}",
            folder.display()
        ));
        Ok(())
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        let message = format!("cannot make the directory {}", folder.display());
        Failure::new(Exit::CantCreate, message).caused_by(&error)
    })
}

/// A name that is one of a folder, whatever a scenario is called.
fn plain(name: &str) -> String {
    let plain = |letter: char| match letter.is_ascii_alphanumeric() || letter == '-' || letter == '_' {
        true => letter,
        false => '-',
    };
    name.chars().take(64).map(plain).collect()
}
