//! The doors: sockets and long-poll requests on one side, sessions and topics on the other.
//!
//! What lives here: [`Door`] (what all connections share), the talk that drives a session machine
//! with its topics, the shards (threads that serve sockets: WebSocket after its handshake in
//! [`websocket`], plain TCP), the task of a [`longpoll`] session, readers of [`events`], and the
//! rules by which an application takes part in a channel ([`rules`]). What does not: what messages
//! mean (that is `instep-protocol`), what topics hold (`instep-node`), and which engine runs.
//! Start reading at [`rules`], then `talk`, then `shard`.

mod agents;
mod certificates;
mod counter;
mod counts;
mod door;
mod entrance;
mod entry;
pub mod events;
mod line;
mod listen;
pub mod longpoll;
mod options;
mod places;
mod proxies;
mod rates;
mod raw;
mod refusals;
pub mod rules;
mod sessions;
mod shard;
mod socket;
mod state;
mod states;
mod talk;
mod times;
mod tls;
mod turned_away;
mod wall_clock;
pub mod websocket;

pub use certificates::{CertificateError, Certificates, TlsCounts};
pub use counts::{Counts, DoorKind};
pub use door::Door;
pub use entrance::Entrance;
pub use entry::{page_of, shown_in as shown};
pub use instep_protocol::janus::session::Options as JanusOptions;
pub use line::{Burden, Crowded, Held, Line};
pub use listen::{grow_descriptor_table, is_scarce, listen};
pub use options::DoorOptions;
pub use proxies::{Proxies, read_proxy_header};
pub use rates::{Rate, RateCounts, RateOptions, RequestMeter};
pub use refusals::JOIN_REFUSALS;
pub use socket::{Peer, Socket};
pub use states::{BEHIND, ConnectionState, Lag, TopicState};
pub use times::{STEPS_US, Times};
