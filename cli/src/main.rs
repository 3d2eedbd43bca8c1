//! `chatctl`: the relay and its operator's tools in one binary.
//!
//! Parses the command line, runs one command, and ends with its exit code. Must not know what commands do.

mod commands;
mod exit;
mod failure;
mod openapi;
mod out;
mod schemas;
mod store;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::commands::Command;
use crate::exit::Exit;
use crate::out::{Color, Format, Out};

/// The relay that every end-to-end-encrypted chat app can run for itself
#[derive(Debug, Parser)]
#[command(name = "chatctl", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
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
    let exit = match parse(std::env::args_os()) {
        Ok(cli) => run(cli),
        Err(error) => {
            // Help goes to stdout, complaints to stderr; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.number()));
        }
    };
    ExitCode::from(exit.number())
}

fn run(cli: Cli) -> Exit {
    let format = if cli.json { Format::Json } else { cli.format };
    let out = Out::new(format, cli.color).to_file(cli.output, cli.force);
    match cli.command.run(&out) {
        Ok(exit) => exit,
        Err(failure) => {
            out.failure(&failure);
            failure.exit
        }
    }
}

fn parse(args: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The command tree. What stands in the environment is never shown in a help text: not everything that
/// people put there is meant for a screen.
fn command() -> clap::Command {
    fn hide(command: clap::Command) -> clap::Command {
        command
            .mut_args(|arg| arg.hide_env_values(true))
            .mut_subcommands(hide)
    }
    let manual = format!("{EXAMPLES}\n\nExit codes: {}", Exit::list());
    hide(Cli::command()).after_long_help(manual)
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
}
