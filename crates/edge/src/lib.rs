//! The doors: sockets and long-poll requests on one side, sessions and topics on the other.
//!
//! What lives here, from the ground up: options, limits of addresses, certificates and counters;
//! `state`, which everything connected shares; `driver`, which drives a session machine with its
//! topics; `shard`, the threads that serve sockets (WebSocket after its handshake in [`websocket`],
//! plain TCP); [`Http`], with the threads that serve it, [`longpoll`] sessions and readers of
//! [`events`]; [`Door`] on top. A floor knows those below it. What does not: what messages mean
//! (that is `instep-protocol`), what topics hold (`instep-node`), and which engine runs.
//! Start reading at [`rules`], then `driver`, then `shard`.

mod acceptor;
mod certificates;
mod counter;
mod counts;
mod descriptors;
mod door;
mod driver;
mod http;
mod listen;
mod options;
mod permits;
mod proxies;
mod rates;
mod raw;
mod refusals;
pub mod rules;
mod sessions;
mod shard;
mod state;
mod states;
mod times;
mod turned_away;
mod user_agents;
mod wall_clock;

pub use certificates::{CertificateError, Certificates, TlsCounts};
pub use counts::{Counts, DoorKind};
pub use descriptors::{
    NoDescriptors, check_descriptors, check_free_descriptors, grow_descriptor_table,
    raise_descriptor_limit, warn_of_few_descriptors,
};
pub use door::Door;
pub use http::Http;
pub use http::admission::{SHOWING, page_of, shown_in as shown};
pub use http::line::{Held, Line};
pub use http::refusal::RequestRefusal;
pub use http::request_id::RequestId;
pub use http::socket::Peer;
pub use http::workers::{HttpWorkers, Serving};
pub use http::{event_stream, events, longpoll, websocket};
pub use instep_protocol::janus::session::Options as JanusOptions;
pub use listen::listen;
pub use options::DoorOptions;
pub use permits::NoPermit;
pub use proxies::{Proxies, ProxiesError};
pub use rates::{Rate, RateCounts, RateOptions};
pub use refusals::JOIN_REFUSALS;
pub use states::{BEHIND, ConnectionState, Lag, TopicState};
pub use times::{STEPS_US, Times};
