//! `chatctl`: the relay and its operator's tools in one binary.
//!
//! Parses the command line, runs one command, and ends with its exit code. Must not know what commands do.

mod commands;
mod config;
mod exit;
mod failure;
mod figures;
mod log;
mod openapi;
mod out;
mod private_dir;
mod relay;
mod runtime;
mod schemas;
mod signals;
mod store;
mod telemetry;
mod when;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::Command;
use crate::config::Refusal;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Color, Format, Out};

/// The relay that every end-to-end-encrypted chat app can run for itself
#[derive(Debug, Parser)]
#[command(name = "chatctl", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    /// Configuration file (default: /etc/chatctl/chatctl.toml, if it is there)
    #[arg(
        short = 'c',
        long = "config",
        global = true,
        env = "CHATCTL_CONFIG",
        value_name = "FILE"
    )]
    config_file: Option<PathBuf>,

    /// How results and errors are written
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    format: Format,

    /// The same as --format json
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,

    /// Write the result to a file instead of stdout (`-` is stdout); whole or not at all
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Output")]
    output: Option<PathBuf>,

    /// Take the place of a file that is there
    #[arg(long, global = true, help_heading = "Output")]
    force: bool,

    /// Say nothing but the result and what went wrong
    #[arg(short, long, global = true, help_heading = "Output")]
    quiet: bool,

    /// When colours are used; NO_COLOR is obeyed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Output"
    )]
    color: Color,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  chatctl serve --dev
  chatctl token keys generate -o keys.json";

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let exit = match parse(&args) {
        Ok(cli) => run(cli),
        Err(Refusal::Line(error)) => complain(&error, &args),
        Err(Refusal::NoFile(failure)) => fail(&args, &failure),
        Err(Refusal::Problems(problems)) => fail(&args, &config::failure(&problems)),
    };
    ExitCode::from(exit.number())
}

/// Says why there is no command to run, in the format that was asked for.
fn fail(args: &[OsString], failure: &Failure) -> Exit {
    let parsed = config::first_look(&command(), args);
    let format = parsed.map(|parsed| match parsed.get_flag("json") {
        true => Format::Json,
        false => parsed.get_one("format").copied().unwrap_or_default(),
    });
    Out::new(format.unwrap_or_default(), Color::Auto).failure(failure);
    failure.exit
}

fn run(cli: Cli) -> Exit {
    let format = if cli.json { Format::Json } else { cli.format };
    let out = Out::new(format, cli.color)
        .into_file(cli.output, cli.force)
        .quiet(cli.quiet);
    match cli.command.run(&out) {
        Ok(exit) => exit,
        Err(failure) => {
            out.failure(&failure);
            failure.exit
        }
    }
}

/// Shows help, or what is wrong with the command line; to a program, in its format.
fn complain(error: &clap::Error, args: &[OsString]) -> Exit {
    let is_json = args.windows(2).any(|pair| pair == ["--format", "json"])
        || args.iter().any(|arg| arg == "--json" || arg == "--format=json");
    if is_json && error.use_stderr() {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let failure = Failure::new(Exit::Usage, message.trim_start_matches("error: "))
            .hint("`--help` behind the command shows what it takes");
        Out::new(Format::Json, Color::Never).failure(&failure);
        return Exit::Usage;
    }
    // Help goes to stdout, complaints to stderr; a closed pipe is nobody's fault.
    let _ = error.print();
    if error.use_stderr() { Exit::Usage } else { Exit::Ok }
}

/// The command that a line names, with what the configuration says under its flags.
///
/// # Errors
///
/// [`Refusal`] of the line or of the configuration.
fn parse(args: &[OsString]) -> Result<Cli, Refusal> {
    let mut command = config::layered(command().color(color(args)), args)?;
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command).into())
}

/// What the command line says about colours, before it is read: what is wrong with it is coloured, too.
fn color(args: &[OsString]) -> ColorChoice {
    let word = |arg: &OsString| arg.to_string_lossy().into_owned();
    let words: Vec<String> = args.iter().map(word).collect();
    let behind = words
        .windows(2)
        .filter(|pair| pair[0] == "--color")
        .map(|pair| pair[1].as_str());
    let within = words.iter().filter_map(|word| word.strip_prefix("--color="));
    match behind.chain(within).last() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        Some(_) | None => ColorChoice::Auto,
    }
}

/// The command tree, with every command's exit codes behind its help. What stands in the environment is never
/// shown in a help text: not everything that people put there is meant for a screen.
pub(crate) fn command() -> clap::Command {
    complete(Cli::command(), "")
}

fn complete(command: clap::Command, path: &str) -> clap::Command {
    let exits = match (path, command.has_subcommands()) {
        ("", _) => Exit::ALL.to_vec(),
        (_, true) => Vec::new(),
        (path, false) => schemas::exits(path),
    };
    let examples = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = match exits.as_slice() {
        [] => command,
        exits => command.after_long_help(format!("{examples}\n\nExit codes: {}", Exit::list(exits))),
    };
    command
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(|sub| {
            let path = format!("{path} {}", sub.get_name());
            complete(sub, path.trim_start())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(command: &clap::Command, path: &str, visit: &mut impl FnMut(&clap::Command, &str)) {
        let path = format!("{path} {}", command.get_name());
        visit(command, &path);
        for sub in command.get_subcommands() {
            walk(sub, &path, visit);
        }
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_and_hides_what_stands_in_the_environment() {
        walk(&command(), "", &mut |command, path| {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.starts_with("Example"), "{path}");
            assert!(help.contains("chatctl"), "{path}");
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!((1..=80).contains(&about.len()), "{path}: {about}");
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                assert!(arg.is_hide_env_values_set(), "{path} {arg}");
            }
        });
    }

    #[test]
    fn every_example_is_a_command_line() {
        walk(&command(), "", &mut |command, path| {
            let help = command
                .get_after_help()
                .map(|help| {
                    help.to_string().replace(
                        "\
", " ",
                    )
                })
                .unwrap_or_default();
            let lines = help
                .lines()
                .flat_map(|line| line.split([';', '|']))
                .filter_map(|line| {
                    let at = line.find("chatctl ")?;
                    Some(line[at..].trim_end_matches(')'))
                });
            for line in lines {
                let words: Vec<OsString> = line
                    .split_whitespace()
                    .map(|word| word.trim_matches('\'').into())
                    .collect();
                assert!(parse(&words).is_ok(), "{path}: {line}: {:?}", parse(&words).err());
            }
        });
    }
}
