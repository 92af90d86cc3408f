//! Authentication and authorization: principals, their credentials and their rights.
//!
//! What lives here: principals (anonymous clients, holders of tokens, programs with keys), their
//! credentials, and [`Rights`], the one place that answers "may this principal do this to that?".
//! What does not: files (the server reads them), clocks (`now_ms` is an argument), sockets, and
//! what a topic or a table is. Start reading at [`rights`], then [`credential`], then [`token`].

mod claims;
pub mod credential;
pub mod gate;
pub mod issuer;
pub mod key;
pub mod names;
pub mod origin;
pub mod pattern;
pub mod principal;
pub mod refusal;
pub mod rights;
pub mod token;
mod verifier;

pub use credential::Credential;
pub use gate::{Access, Gate};
pub use principal::Principal;
pub use refusal::Refusal;
pub use rights::{Action, Resource, RightDeclaration, Rights, Wanted};
