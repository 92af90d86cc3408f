//! Every command, each in a file of its own.

mod demo;
mod serve;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Live data: commit once, and every server and screen that needs it is in step.
#[derive(Debug, Parser)]
#[command(name = "instep", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
        }
    }
}

/// The file of the admin key: that of the data directory given, or the first one there is.
pub(crate) fn key_file(data: Option<&Path>) -> Option<PathBuf> {
    match data {
        Some(directory) => Some(directory.join(KEY_FILE)),
        None => USUAL_DATA.iter().map(|data| Path::new(data).join(KEY_FILE)).find(|f| f.exists()),
    }
}

/// The name of the key's file in a data directory.
const KEY_FILE: &str = "admin.key";
/// Where `serve` and `demo` keep their data when they are not told otherwise.
const USUAL_DATA: &[&str] = &["data", "data/demo"];
