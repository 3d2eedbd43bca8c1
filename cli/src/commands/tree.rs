//! `chatctl commands`: the whole command tree, for programs that call chatctl or write about it.

use clap::{Arg, ArgAction};
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::{Document, Out};
use crate::schemas;

/// List every command, with its arguments, exit codes and documents
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  chatctl commands
  chatctl commands --json")]
pub(crate) struct Tree {}

/// Every command that does something.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Commands {
    commands: Vec<Entry>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Entry {
    /// What stands behind `chatctl`.
    command: String,
    /// What it does.
    about: String,
    /// The name of the document that `--json` writes.
    document: Option<&'static str>,
    /// How it may end.
    exits: Vec<End>,
    arguments: Vec<Argument>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct End {
    code: u8,
    name: &'static str,
    meaning: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Argument {
    /// Its key in the configuration file, if it has a dot; a name otherwise.
    id: String,
    /// The flag, without the dashes. None: it is told by its place.
    flag: Option<String>,
    /// The variable that says the same.
    variable: Option<String>,
    /// What kind of value it takes, or none.
    value: Option<String>,
    /// What it is when nobody says.
    default: Option<String>,
    /// The values that there are, when they are few.
    choices: Vec<String>,
    required: bool,
}

impl Document for Commands {
    const SCHEMA: &'static str = "chatctl.commands/v1";
}

impl Tree {
    #[expect(clippy::unused_self, reason = "every command is run in the same way")]
    pub(super) fn run(self, out: &Out) -> Result<(), Failure> {
        let mut root = crate::command();
        root.build();
        let mut commands = Vec::new();
        leaves(&root, "", &mut commands);
        let lines = commands
            .iter()
            .map(|entry| format!("{:<28}{}\n", entry.command, entry.about));
        out.result(&lines.collect::<String>(), &Commands { commands })
    }
}

fn leaves(command: &clap::Command, path: &str, found: &mut Vec<Entry>) {
    let shown = |sub: &&clap::Command| sub.get_name() != "help" && !sub.is_hide_set();
    for sub in command.get_subcommands().filter(shown) {
        let path = match path {
            "" => sub.get_name().to_owned(),
            path => format!("{path} {}", sub.get_name()),
        };
        if sub.has_subcommands() {
            leaves(sub, &path, found);
        } else {
            found.push(entry(sub, path));
        }
    }
}

fn entry(command: &clap::Command, path: String) -> Entry {
    let shown = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !arg.is_global_set());
    let arguments = shown.filter(|arg| !is_help(arg)).map(argument).collect();
    let end = |exit: Exit| End {
        code: exit.number(),
        name: exit.name(),
        meaning: exit.meaning(),
    };
    Entry {
        about: command.get_about().map(ToString::to_string).unwrap_or_default(),
        document: schemas::of(&path).map(|answer| answer.name),
        exits: schemas::exits(&path).into_iter().map(end).collect(),
        arguments,
        command: path,
    }
}

fn is_help(arg: &Arg) -> bool {
    match arg.get_action() {
        ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version => true,
        // Somebody else's enum, and everything else in it is an argument of ours.
        _ => false,
    }
}

fn argument(arg: &Arg) -> Argument {
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let takes_value = arg.get_action().takes_values();
    let names = arg.get_value_names().unwrap_or_default();
    Argument {
        id: arg.get_id().to_string(),
        flag: arg.get_long().map(str::to_owned),
        variable: arg.get_env().map(text),
        value: takes_value.then(|| names.join(" ")),
        default: takes_value
            .then(|| arg.get_default_values().first().map(|value| text(value)))
            .flatten(),
        choices: match takes_value {
            true => arg
                .get_possible_values()
                .iter()
                .map(|value| value.get_name().to_owned())
                .collect(),
            false => Vec::new(),
        },
        required: arg.is_required_set(),
    }
}
