//! The commands, one file or folder each.

mod dev;
pub(crate) mod openapi;
pub(crate) mod schema;
mod seed;
mod serve;
pub(crate) mod token;

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
    /// Describe the HTTP API, check the description, and compare two
    #[command(name = "openapi")]
    OpenApi(openapi::OpenApi),
    /// Show what a command's --json answer looks like
    Schema(schema::Schema),
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
            Self::OpenApi(openapi) => openapi.run(out).map(|()| Exit::Ok),
            Self::Schema(schema) => schema.run(out).map(|()| Exit::Ok),
        }
    }
}
