//! Every command, each in a file of its own.

mod bench;
mod changes;
mod check;
mod commit;
mod completions;
mod dataset;
mod demo;
mod inspection;
mod key;
mod mail;
mod publish;
mod restore;
mod serve;
mod shop;
mod site;
mod subscribe;
mod table;
mod token;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Live-data server: write a row once, and every subscribed browser gets the change, in order.
#[derive(Debug, Parser)]
#[command(name = "instep", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Answer and refuse in JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Commit(commit::Arguments),
    Table(table::Arguments),
    Dataset(dataset::Arguments),
    Changes(changes::Arguments),
    Subscribe(subscribe::Arguments),
    Publish(publish::Arguments),
    Mail(mail::Arguments),
    Connections(inspection::ConnectionsArguments),
    Topics(inspection::TopicsArguments),
    Sessions(inspection::SessionsArguments),
    Site(site::Arguments),
    Shop(shop::Arguments),
    Key(key::Arguments),
    Token(token::Arguments),
    Check(check::Arguments),
    Restore(restore::Arguments),
    Bench(bench::Arguments),
    Completions(completions::Arguments),
}

impl Cli {
    /// Returns true if programs read the output.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let json = self.json;
        match self.command {
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Commit(arguments) => commit::run(arguments, json).await,
            Command::Table(arguments) => table::run(arguments, json).await,
            Command::Dataset(arguments) => dataset::run(arguments, json).await,
            Command::Changes(arguments) => changes::run(arguments, json).await,
            Command::Subscribe(arguments) => subscribe::run(arguments, json).await,
            Command::Publish(arguments) => publish::run(arguments, json).await,
            Command::Mail(arguments) => mail::run(arguments, json).await,
            Command::Connections(arguments) => inspection::connections(arguments, json).await,
            Command::Topics(arguments) => inspection::topics(arguments, json).await,
            Command::Sessions(arguments) => inspection::sessions(arguments, json).await,
            Command::Site(arguments) => site::run(arguments, json).await,
            Command::Shop(arguments) => shop::run(arguments, json).await,
            Command::Key(arguments) => key::run(arguments, json),
            Command::Token(arguments) => token::run(arguments, json),
            Command::Check(arguments) => check::run(&arguments, json),
            Command::Restore(arguments) => restore::run(&arguments, json),
            Command::Bench(arguments) => bench::run(arguments, json).await,
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_of_every_command_fit_together() {
        Cli::command().debug_assert();
    }
}
