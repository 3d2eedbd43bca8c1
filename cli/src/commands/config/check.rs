//! `chatctl config check`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, FromArgMatches as _};
use schemars::JsonSchema;
use serde::Serialize;

use super::Settings;
use crate::config::keys::{self, Keys, LIMITS};
use crate::config::layers::{self, Layers, Variables};
use crate::config::problem::{Problem, Severity};
use crate::config::told::Told;
use crate::config::{self, checks, secrets, suggest};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};

/// Find everything that is wrong with configuration files and variables
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl config check
  chatctl config check --strict new.toml")]
pub(super) struct Check {
    /// Files to check, each for itself; without one, the file that a relay would read
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    told: Told,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Checked {
    /// Whether a relay would start with it; with --strict, whether there is not even a warning.
    ok: bool,
    files: Vec<String>,
    /// Settings that files and variables name.
    set: usize,
    errors: usize,
    warnings: usize,
    problems: Vec<Found>,
}

/// Something that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    /// `error` or `warning`.
    severity: &'static str,
    /// unknown-key, type, value, secret, conflict, file, syntax, variable.
    code: &'static str,
    /// The setting or the variable.
    key: String,
    message: String,
    hint: Option<String>,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
}

impl Document for Checked {
    const SCHEMA: &'static str = "chatctl.config.check/v1";
}

impl Check {
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let files = match self.files.is_empty() {
            true => self.told.file.into_iter().collect(),
            false => self.files,
        };
        let keys = Keys::of(&Settings::command());
        let variables = layers::variables();
        let mut set = known(&variables, &keys);
        let mut problems = Vec::new();
        if files.is_empty() {
            problems.extend(look(None, &variables, &keys)?.0);
        }
        for file in &files {
            let (found, count) = look(Some(file), &variables, &keys)?;
            set += count;
            // What is wrong with a variable is said once, however many files there are.
            problems.extend(
                found
                    .into_iter()
                    .filter(|problem| !problems.contains(problem))
                    .collect::<Vec<_>>(),
            );
        }
        problems.extend(unknown_variables(&variables, &keys));
        let count = |severity| {
            problems
                .iter()
                .filter(|problem| problem.severity == severity)
                .count()
        };
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        let document = Checked {
            ok: errors == 0 && !(self.strict && warnings > 0),
            files: files.iter().map(|path| path.display().to_string()).collect(),
            set,
            errors,
            warnings,
            problems: problems.iter().map(Found::of).collect(),
        };
        let mut text: String = problems.iter().map(Problem::paragraph).collect();
        let (in_files, were_set) = (counted(files.len(), "file"), counted(set, "setting"));
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        if document.ok {
            // Writing to a string does not fail.
            let _ = writeln!(text, "ok: {in_files}, {were_set}, {warnings}");
        }
        out.result(&text, &document)?;
        match document.ok {
            true => Ok(()),
            false => Err(Failure::new(
                Exit::Config,
                format!("{errors}, {warnings} in {in_files}"),
            )),
        }
    }
}

impl Found {
    fn of(problem: &Problem) -> Self {
        let spot = problem.spot.as_ref();
        Self {
            severity: problem.severity.as_str(),
            code: problem.code,
            key: problem.key.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            file: spot.map(|spot| spot.file.clone()),
            line: spot.map(|spot| spot.line),
            column: spot.map(|spot| spot.column),
        }
    }
}

/// Everything that is wrong with the file that a relay would read, and with the variables.
///
/// # Errors
///
/// Of a file that cannot be read.
pub(crate) fn problems(file: Option<&Path>) -> Result<Vec<Problem>, Failure> {
    let keys = Keys::of(&Settings::command());
    let variables = layers::variables();
    let mut problems = look(file, &variables, &keys)?.0;
    problems.extend(unknown_variables(&variables, &keys));
    Ok(problems)
}

/// Everything that is wrong with one file, with the variables over it; and how much it sets.
fn look(path: Option<&Path>, variables: &Variables, keys: &Keys) -> Result<(Vec<Problem>, usize), Failure> {
    let layers = Layers::read(path, variables.clone(), keys)?;
    let mut problems = layers.problems.clone();
    // What is wrong by itself is left out here, so that the rest can be looked at as a whole.
    if let Some(settings) = settings(&layers) {
        let together = checks::all(&settings.config).into_iter().map(|problem| {
            let entry = layers
                .file
                .as_ref()
                .and_then(|file| file.entries.get(&problem.key));
            let spot = entry.map(|entry| entry.spot.clone());
            problem.at(spot)
        });
        problems.extend(together);
    }
    let count = layers.file.as_ref().map_or(0, |file| file.entries.len());
    Ok((problems, count))
}

fn settings(layers: &Layers) -> Option<Settings> {
    let command = Settings::command();
    let args = ["chatctl".into()];
    let parsed = config::first_look(&command, &args)?;
    let matches = layers.under(command, &parsed).try_get_matches_from(args).ok()?;
    Settings::from_arg_matches(&matches).ok()
}

/// How many variables are settings.
fn known(variables: &Variables, keys: &Keys) -> usize {
    let names = keys.all_names();
    let known = names.iter().map(|key| keys::variable(key));
    known
        .chain([keys::variable(LIMITS)])
        .filter(|variable| variables.contains_key(variable))
        .count()
}

/// Variables that look like ours and mean nothing.
fn unknown_variables(variables: &Variables, keys: &Keys) -> Vec<Problem> {
    let mut known: Vec<_> = keys.all_names().iter().map(|key| keys::variable(key)).collect();
    known.extend([keys::variable(LIMITS), config::FILE_VARIABLE.to_owned()]);
    let unknown = variables.keys().filter(|variable| {
        !known.contains(variable) && !FOREIGN.iter().any(|foreign| variable.starts_with(foreign))
    });
    unknown
        .map(|variable| unknown_variable(variable, &known))
        .collect()
}

fn unknown_variable(variable: &str, known: &[String]) -> Problem {
    if secrets::is_secret(variable) {
        let message = format!("{variable}: secrets do not stand in variables, which others can read");
        return Problem::error("secret", variable, message).hint(secrets::way(variable));
    }
    let problem = Problem::warning(
        "variable",
        variable,
        format!("{variable} is not a known variable"),
    );
    if let Some(same) = known.iter().find(|known| suggest::is_same(known, variable)) {
        return problem.hint(format!(
            "a table and its key have two underscores between them: {same}"
        ));
    }
    match suggest::nearest(variable, known.iter().map(String::as_str)) {
        Some(nearest) => problem.hint(format!("did you mean {nearest}?")),
        None => problem,
    }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// Variables of the scripts and tests around chatctl.
const FOREIGN: [&str; 4] = [
    "CHATCTL_TEST_",
    "CHATCTL_CACHE",
    "CHATCTL_STORY_",
    "CHATCTL_TORTURE_",
];
