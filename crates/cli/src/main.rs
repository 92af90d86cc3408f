//! The `instep` command.
//!
//! What lives here: arguments, output, exit codes, and the wiring of `serve` and `demo`. What does
//! not: the server (`instep`), how a client talks to it (`instep-client`), and how a log is checked
//! (`instep-embedded`). Start reading at [`commands`], then [`failure`] for the exit codes.

mod access;
mod commands;
mod failure;
mod input;
mod output;
mod running;
mod supervisor;
mod telemetry;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::commands::Cli;
use crate::failure::Failure;

/// Timeout of threads that still work when the process ends.
const LAST_MOMENTS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.json();
    let ended = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let ended = runtime.block_on(async {
                running::outlive_file_size_limits()?;
                cli.run().await
            });
            runtime.shutdown_timeout(LAST_MOMENTS);
            ended
        }
        Err(error) => Err(Failure::System(format!("cannot start threads: {error}"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}
