//! The log of the process, on stderr.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Lines that wait for a reader of the log, or for its disk; further lines are dropped, because a
/// server whose log is not read still serves.
const WAITING_LINES: usize = 8 * 1024;

/// Starts the log; `RUST_LOG` filters it. Waiting lines are written when the guard is dropped.
pub(crate) fn start(format: LogFormat) -> Result<WorkerGuard, Failure> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .map_err(|error| Failure::Usage(format!("RUST_LOG: {error}")))?;
    let writer = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = writer.thread_name("log").finish(std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let started = match format {
        LogFormat::Text => log.with_ansi(takes_colour()).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| Failure::System(format!("the log: {error}")))?;
    Ok(guard)
}

/// A terminal, unless `NO_COLOR` is set to anything.
fn takes_colour() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !unwanted
}
