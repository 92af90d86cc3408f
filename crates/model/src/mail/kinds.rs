//! Endpoints, their kinds, and the directories that map them to servers.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;
use crate::name::{Key, Name};
use crate::row::Row;

/// Kind under which a server is named when no kind is declared for it.
const SERVER_KIND: &str = "server";

/// A typed address, `kind/id`, with the kind by its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Arc<str>);

/// Error in the text of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum EndpointError {
    /// It is not `kind/id`.
    #[error("{0:?} is not KIND/ID")]
    Form(String),
    /// There is no such kind.
    #[error("there is no kind of endpoints {0:?}")]
    Kind(String),
    /// It is too long.
    #[error("an endpoint of {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its bytes.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// It is no server.
    #[error("{0:?} is no server: a server is its id, as `7`, or `server/7`")]
    Server(String),
}

/// A kind of endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: Name,
    /// Its number, another name for it.
    pub number: u16,
    /// Mapping of its endpoints to servers.
    pub mapping: Mapping,
}

/// Mapping of endpoints to servers.
#[derive(Clone)]
pub enum Mapping {
    /// The directory.
    Directory,
    /// The id is the server.
    Itself,
    /// The endpoint of this kind that the first part of the id names.
    Follows(Name),
    /// A row of a table under the endpoint, and a field of it.
    Field {
        /// The table.
        table: Name,
        /// The field.
        field: String,
    },
    /// A function of the program around it, asked by the owner only.
    Function(Arc<RouteFunction>),
}

/// Says which server an endpoint is assigned to.
pub type RouteFunction = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Rules for the mail of a dataset, which are not in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct MailRules {
    /// The kinds.
    pub kinds: Vec<Kind>,
    /// Any other name is a kind as well, whose endpoints are in the directory.
    pub any_kind: bool,
    /// The table of routes.
    pub directory: Name,
    /// A message that has failed so often is a dead letter.
    pub max_attempts: u16,
    /// Delay of the first retry of a message.
    pub retry_ms: u64,
    /// Finished messages that are remembered.
    pub keep_finished: u64,
    /// Retention of finished messages.
    pub keep_ms: u64,
    /// Dead letters that are kept; the oldest are given up first.
    pub keep_dead: u64,
}

/// Origin of an endpoint's server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Known by its id.
    Server(String),
    /// Field of a row.
    Row {
        /// The table.
        table: Name,
        /// The key: the endpoint, or the one that it follows.
        key: Key,
        /// The field.
        field: String,
    },
    /// There is none.
    Nowhere,
}

impl Endpoint {
    /// The endpoint as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id behind the kind.
    #[must_use]
    pub fn id(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, id)| id)
    }

    fn kind(&self) -> &str {
        self.0.split_once('/').map_or("", |(kind, _)| kind)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("Directory"),
            Self::Itself => f.write_str("Itself"),
            Self::Follows(kind) => write!(f, "Follows({kind})"),
            Self::Field { table, field } => write!(f, "Field({table}, {field:?})"),
            Self::Function(_) => f.write_str("Function"),
        }
    }
}

impl PartialEq for Mapping {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory, Self::Directory) | (Self::Itself, Self::Itself) => true,
            (Self::Follows(a), Self::Follows(b)) => a == b,
            (Self::Field { table: a, field: b }, Self::Field { table: c, field: d }) => {
                (a, b) == (c, d)
            }
            (Self::Function(a), Self::Function(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl Default for MailRules {
    /// Any name is a kind. Those that have a number are called by it as well, as they always were.
    fn default() -> Self {
        Self {
            kinds: Kind::numbered(),
            any_kind: true,
            directory: name("directory"),
            max_attempts: limits::MAIL_ATTEMPTS,
            retry_ms: limits::MAIL_RETRY_MS,
            keep_finished: limits::MAIL_FINISHED,
            keep_ms: limits::MAIL_FINISHED_HOURS * 60 * 60 * 1000,
            keep_dead: limits::MAIL_DEAD,
        }
    }
}

impl Kind {
    /// The preset `numbered`: kinds with the numbers by which older systems call them.
    #[must_use]
    pub fn numbered() -> Vec<Self> {
        let by_directory = |number, text| (number, text, Mapping::Directory);
        let kinds = [
            by_directory(1, "org"),
            (2, "user", Mapping::Follows(name("org"))),
            by_directory(3, "central"),
            (4, "server", Mapping::Itself),
            by_directory(5, "pserver"),
            by_directory(6, "data_node"),
            by_directory(8, "papp"),
            by_directory(9, "puser"),
            by_directory(11, "lss"),
        ];
        kinds.map(|(number, text, mapping)| Self { name: name(text), number, mapping }).into()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

impl MailRules {
    /// Reads an endpoint; a kind may be given by its number.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn endpoint(&self, text: &str) -> Result<Endpoint, EndpointError> {
        let limit = limits::ENDPOINT_BYTES;
        if text.len() > limit {
            return Err(EndpointError::TooLong { bytes: text.len(), limit });
        }
        let form = || EndpointError::Form(text.to_owned());
        let (kind, id) = text.split_once('/').ok_or_else(form)?;
        if kind.is_empty() || id.is_empty() || id.chars().any(char::is_control) {
            return Err(form());
        }
        match self.kind_named(kind) {
            Some(found) => Ok(Endpoint(format!("{}/{id}", found.name).into())),
            None if self.is_kind(kind) => Ok(Endpoint(text.into())),
            None => Err(EndpointError::Kind(kind.to_owned())),
        }
    }

    /// The id of a server that is written as its id or as its endpoint: `7` and `server/7` are the
    /// same server at every door. The id of an id is itself.
    ///
    /// # Errors
    /// [`EndpointError::Server`] when it is neither.
    pub fn server<'a>(&self, text: &'a str) -> Result<&'a str, EndpointError> {
        let mut id = text;
        while let Some((kind, rest)) = id.split_once('/') {
            match self.kind_named(kind).map(|kind| &kind.mapping) {
                Some(Mapping::Itself) => id = rest,
                None if kind == SERVER_KIND => id = rest,
                // An id may have parts of its own.
                None => break,
                Some(
                    Mapping::Directory
                    | Mapping::Follows(_)
                    | Mapping::Field { .. }
                    | Mapping::Function(_),
                ) => return Err(EndpointError::Server(text.to_owned())),
            }
        }
        is_server(id).then_some(id).ok_or_else(|| EndpointError::Server(text.to_owned()))
    }

    /// A kind by its name or its number.
    fn kind_named(&self, kind: &str) -> Option<&Kind> {
        let number = kind.parse::<u16>().ok();
        let mut kinds = self.kinds.iter();
        kinds.find(|known| known.name.as_str() == kind || number == Some(known.number))
    }

    fn is_kind(&self, text: &str) -> bool {
        self.any_kind && Name::new(text).is_ok()
    }

    /// Returns the mapping of the endpoints of a kind.
    fn mapping_of(&self, kind: &str) -> Option<&Mapping> {
        let found = self.kinds.iter().find(|known| known.name.as_str() == kind);
        let mapping = found.map(|found| &found.mapping);
        mapping.or_else(|| self.is_kind(kind).then_some(&Mapping::Directory))
    }

    /// Returns the origin of an endpoint's server.
    #[must_use]
    pub fn origin(&self, endpoint: &Endpoint) -> Origin {
        let mut endpoint = endpoint.clone();
        // A kind that follows itself, or in a ring, ends nowhere.
        for _ in 0..=self.kinds.len() {
            let Some(mapping) = self.mapping_of(endpoint.kind()) else { break };
            let row = |table: &Name, field: &str| match Key::new(endpoint.as_str()) {
                Ok(key) => Origin::Row { table: table.clone(), key, field: field.to_owned() },
                Err(_) => Origin::Nowhere,
            };
            match mapping {
                Mapping::Itself => return Origin::Server(endpoint.id().to_owned()),
                Mapping::Directory => return row(&self.directory, "server"),
                Mapping::Field { table, field } => return row(table, field),
                Mapping::Function(map) => {
                    return map(endpoint.as_str()).map_or(Origin::Nowhere, Origin::Server);
                }
                Mapping::Follows(followed) => {
                    let first = endpoint.id().split('/').next().unwrap_or_default();
                    endpoint = Endpoint(format!("{followed}/{first}").into());
                }
            }
        }
        Origin::Nowhere
    }

    /// The server of an endpoint, when `read` reads rows; the endpoint whose row says so, and the
    /// generation that it has.
    pub fn route<E>(
        &self,
        endpoint: &Endpoint,
        read: impl FnOnce(&Name, &Key) -> Result<Option<Row>, E>,
    ) -> Result<Option<Route>, E> {
        match self.origin(endpoint) {
            Origin::Nowhere => Ok(None),
            Origin::Server(server) => Ok(self.server(&server).ok().map(|server| Route {
                server: server.to_owned(),
                via: None,
                generation: 0,
            })),
            Origin::Row { table, key, field } => {
                let Some(row) = read(&table, &key)? else { return Ok(None) };
                let fields = row.fields();
                let server = fields.get(&field).and_then(text_of);
                let server = server.and_then(|text| self.server(&text).ok().map(str::to_owned));
                let generation = fields.get("generation").and_then(Value::as_u64).unwrap_or(0);
                Ok(server.map(|server| Route {
                    server,
                    via: Some(key.as_str().to_owned()),
                    generation: u32::try_from(generation).unwrap_or(u32::MAX),
                }))
            }
        }
    }
}

/// The server of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The server.
    pub server: String,
    /// The endpoint whose row says so.
    pub via: Option<String>,
    /// The generation of that row.
    pub generation: u32,
}

/// A server may be written as a number.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The id in a text that is a server's id or `server/` and its id, for callers without the kinds of
/// a dataset. Whether there can be such a server is for [`MailRules::server`] to say.
#[must_use]
pub fn id_of_server(text: &str) -> &str {
    match text.split_once('/') {
        Some((SERVER_KIND, id)) => id,
        Some(_) | None => text,
    }
}

/// Returns true if a text can be the id of a server.
#[must_use]
pub fn is_server(text: &str) -> bool {
    !text.is_empty() && text.len() <= limits::SERVER_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_one_id_however_it_is_written() {
        let mut rules = MailRules::default();
        for text in ["7", "server/7", "4/7", "server/server/7", "server/4/7"] {
            assert_eq!(rules.server(text), Ok("7"), "{text}");
        }
        assert_eq!(rules.server("eu/7"), Ok("eu/7"), "an id may have parts");
        for text in ["org/42", "1/42", "server/org/42", "", "server/", "7\n"] {
            assert_eq!(rules.server(text), Err(EndpointError::Server(text.into())), "{text}");
        }

        let mapping = Mapping::Itself;
        rules.kinds = vec![Kind { name: Name::new("worker").unwrap(), number: 40, mapping }];
        for text in ["7", "worker/7", "40/7", "server/7"] {
            assert_eq!(rules.server(text), Ok("7"), "kinds of its own: {text}");
        }
    }
}
