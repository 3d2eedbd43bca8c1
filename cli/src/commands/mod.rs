//! The commands, one file or folder each.

pub(crate) mod asyncapi;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dev;
pub(crate) mod doctor;
mod follow;
pub(crate) mod jobs;
pub(crate) mod man;
pub(crate) mod openapi;
pub(crate) mod reload;
pub(crate) mod restore;
pub(crate) mod schema;
pub(crate) mod seed;
mod serve;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod tree;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::out::Out;

/// What `chatctl` can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Run the relay
    Serve(Box<serve::Serve>),
    /// Set up a store, check it, and fill it
    Seed(Box<seed::Seed>),
    /// Make, check and look into tokens and their keys
    Token(Box<token::Token>),
    /// Write to somebody, end-to-end encrypted, and read what they write
    Chat(Box<chat::Chat>),
    /// Look at scheduled jobs, run them by hand, and pause them
    Jobs(jobs::Jobs),
    /// Measure encrypted chat from end to end, and what it costs the relay
    Bench(bench::Bench),
    /// Look at everything that a relay stands on, and say what to do about it
    Doctor(Box<doctor::Doctor>),
    /// Write, check and show the configuration
    Config(config::Configuration),
    /// Make a running relay read its configuration and keys again
    Reload(reload::Reload),
    /// Copy a relay's whole store into a file, while it runs
    Backup(backup::Backup),
    /// Make a store out of a backup, or only check the backup
    Restore(restore::Restore),
    /// Show how a running relay is, on one screen
    Status(status::Show),
    /// Watch a running relay: sessions, rates, commits, refusals, jobs
    Top(top::Top),
    /// Describe the HTTP API, check the description, and compare two
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Describe the WebSocket protocol
    #[command(name = "asyncapi")]
    AsyncApi(asyncapi::AsyncApi),
    /// Show what a command's --json answer looks like
    Schema(schema::Schema),
    /// List every command, with its arguments, exit codes and documents
    Commands(tree::Tree),
    /// Write a shell's completions
    Completions(completions::Completions),
    /// Write the manual pages
    Man(man::Man),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// [`Failure`], which says how the process ends.
    pub(crate) fn run(self, out: &Out) -> Result<Exit, Failure> {
        match self {
            Self::Serve(serve) => serve.run(out),
            Self::Seed(seed) => seed.run(out),
            Self::Token(token) => token.run(out).map(|()| Exit::Ok),
            Self::Chat(chat) => chat.run(out),
            Self::Jobs(jobs) => jobs.run(out),
            Self::Bench(bench) => bench.run(out),
            Self::Doctor(doctor) => doctor.run(out),
            Self::Config(config) => config.run(out).map(|()| Exit::Ok),
            Self::Reload(reload) => reload.run(out).map(|()| Exit::Ok),
            Self::Backup(backup) => backup.run(out),
            Self::Restore(restore) => restore.run(out),
            Self::Status(status) => status.run(out),
            Self::Top(top) => top.run(out),
            Self::OpenApi(openapi) => openapi.run(out).map(|()| Exit::Ok),
            Self::AsyncApi(asyncapi) => asyncapi.run(out).map(|()| Exit::Ok),
            Self::Schema(schema) => schema.run(out).map(|()| Exit::Ok),
            Self::Commands(tree) => tree.run(out).map(|()| Exit::Ok),
            Self::Completions(completions) => completions.run(out).map(|()| Exit::Ok),
            Self::Man(man) => man.run(out).map(|()| Exit::Ok),
        }
    }
}
