//! The embedded engine: one directory, one log, one writer.
//!
//! What lives here: [`log::EmbeddedLog`] (segments of checksummed, chained frames), its recovery,
//! [`preallocator`], [`snapshot`] files, [`bodies`] of messages, [`definitions`] of views,
//! [`datasets`] as directories, [`check`] and [`repair`], [`identity`] (whether a directory is a
//! copy), and [`real::RealDisk`].
//! What does not: threads (the owner of the log runs the preallocator), clocks, random sources, and
//! the meaning of an entry. The format is drawn in `docs/internals/log-format.md`. Start reading at
//! [`log`], then [`scan`], then [`format`](mod@format).

pub mod bodies;
pub mod check;
pub mod datasets;
pub mod definitions;
pub mod error;
mod format;
#[cfg(test)]
mod golden;
pub mod identity;
mod lock;
pub mod log;
mod newer;
pub mod preallocator;
mod reader;
pub mod real;
mod recovery;
pub mod repair;
mod scan;
mod segment;
pub mod snapshot;
