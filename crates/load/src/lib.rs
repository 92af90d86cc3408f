//! The load generator: tens of thousands of subscribers in one process, on one thread.
//!
//! What lives here: [`Run`] (connects bots, waits until all have subscribed, publishes, and counts
//! what arrives and when), the [`Door`]s it can go through, the [`report`] of the results and the
//! [`page`] that shows it. What does not: the server, and what a run is compared with (that is the
//! bench `fanout`). Start reading at [`Run`], then [`Door`].
//!
//! Publisher and subscribers live in this process, so that a latency is a difference on one clock.

mod bot;
mod door;
pub mod machine;
pub mod page;
pub mod process;
pub mod report;
mod run;
mod stamp;
mod traffic;
mod wire;

pub use door::Door;
pub use run::{Error, Load, Pace, Plan, Run, Span};
