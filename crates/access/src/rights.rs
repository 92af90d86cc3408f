//! Rights: the one place that answers whether a principal may do something.
//!
//! | rights | principal | may |
//! | --- | --- | --- |
//! | any | holder of the admin key | everything |
//! | none declared | any | join; read public tables; publish where every subscriber publishes |
//! | none declared | a token with rights of its own | that too |
//! | declared | any | what a right says whose `who`, `actions`, pattern and `when` all fit |

mod declaration;
mod wanted;

use instep_model::expression::{CelValue, Meter, from_fields};
use instep_model::feed::TABLE_PREFIX;
use instep_model::limits;
use instep_model::row::Fields;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::declaration::{GrantDeclaration, RightDeclaration, RightError};
pub(crate) use self::declaration::{Right, Who};
pub use self::wanted::Wanted;
use crate::pattern::{Captures, Pattern};
use crate::principal::{Kind, Principal};
use crate::refusal::Refusal;

/// Action that a request needs a right for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Subscribe to a topic.
    Join,
    /// Send to a live topic.
    Publish,
    /// Read rows, or follow a dataset.
    Read,
    /// Change rows, append to journals.
    Commit,
    /// Make and remove datasets, tables and journals; move mail.
    Administer,
    /// Take the mail of a server: join its topic `server:ID`. A right with `datasets` allows it in
    /// these, one without in every dataset.
    Register,
}

/// Resource of an action, with its declarations elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A topic.
    Topic {
        /// Its name.
        name: &'a str,
        /// True when every subscriber may publish, if no rights are declared.
        anyone_publishes: bool,
    },
    /// The mail of a server in a dataset.
    Mailbox {
        /// The dataset.
        dataset: &'a str,
        /// The server's topic.
        topic: &'a str,
    },
    /// A table or a journal.
    Table {
        /// Its dataset.
        dataset: &'a str,
        /// Its name.
        name: &'a str,
        /// True when every client may read it, if no rights are declared.
        public: bool,
    },
    /// A dataset with everything in it.
    Dataset(&'a str),
    /// The server with everything on it.
    Server,
}

/// Rights of all principals on one server.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    /// None: what holds on a server for which no rights are declared.
    declared: Option<Vec<Right>>,
}

impl Action {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Commit => "commit",
            Self::Administer => "administer",
            Self::Register => "register",
        }
    }
}

impl Rights {
    /// Compiles declared rights; none declared is a state of its own.
    ///
    /// # Errors
    /// [`RightError`], with the place of the right in the list.
    pub fn compile(declared: &[RightDeclaration]) -> Result<Self, RightError> {
        if declared.len() > limits::RIGHTS {
            let problem = format!("at most {}", limits::RIGHTS);
            return Err(RightError { at: limits::RIGHTS, key: "", spot: None, problem });
        }
        let compile = |(at, right): (usize, &RightDeclaration)| right.compile(at);
        let rights = declared.iter().enumerate().map(compile).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { declared: (!rights.is_empty()).then_some(rights) })
    }

    pub(crate) fn are_declared(&self) -> bool {
        self.declared.is_some()
    }

    /// Checks that `principal` may do `action` to `resource`.
    ///
    /// # Errors
    /// [`Refusal::KeyRequired`] for an anonymous principal, else [`Refusal::Forbidden`].
    pub fn decide(
        &self,
        principal: &Principal,
        action: Action,
        resource: Resource<'_>,
    ) -> Result<(), Refusal> {
        let may = principal.kind == Kind::Admin
            || self.declared.is_none() && may_undeclared(action, resource)
            || self.rights_of(principal).any(|right| right.grants(principal, action, resource));
        if may { Ok(()) } else { Err(refusal(principal, action, || resource.to_string())) }
    }

    /// Checks that `principal` may do `action` to anything at all, before a body is read.
    ///
    /// # Errors
    /// As in [`Rights::decide`].
    pub fn decide_at_all(&self, principal: &Principal, action: Action) -> Result<(), Refusal> {
        let may = principal.kind == Kind::Admin
            || self.rights_of(principal).any(|right| right.actions.contains(&action));
        if may { Ok(()) } else { Err(refusal(principal, action, || "anything here".to_owned())) }
    }

    /// Rights whose `who` fits, and those that the principal brought.
    fn rights_of<'a>(&'a self, principal: &'a Principal) -> impl Iterator<Item = &'a Right> {
        let declared = self.declared.iter().flatten();
        declared.filter(|right| right.who.is(principal)).chain(&principal.own)
    }
}

fn refusal(principal: &Principal, action: Action, what: impl FnOnce() -> String) -> Refusal {
    if principal.is_anonymous() {
        Refusal::KeyRequired
    } else {
        Refusal::Forbidden {
            principal: principal.name().to_owned(),
            action: action.word(),
            what: what(),
        }
    }
}

impl std::fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic { name, .. } => write!(f, "the topic {name:?}"),
            Self::Mailbox { dataset, topic } => write!(f, "{topic:?} of the dataset {dataset:?}"),
            Self::Table { dataset, name, .. } => write!(f, "{:?}", format!("{dataset}/{name}")),
            Self::Dataset(name) => write!(f, "the dataset {name:?}"),
            Self::Server => f.write_str("the server"),
        }
    }
}

/// Returns true if every client may do this while no rights are declared.
fn may_undeclared(action: Action, resource: Resource<'_>) -> bool {
    match (action, resource) {
        (Action::Join, Resource::Topic { .. }) => true,
        (Action::Publish, Resource::Topic { anyone_publishes, .. }) => anyone_publishes,
        (Action::Read, Resource::Table { public, .. }) => public,
        (Action::Join | Action::Publish | Action::Read, _)
        | (Action::Commit | Action::Administer | Action::Register, _) => false,
    }
}

impl Who {
    fn is(&self, principal: &Principal) -> bool {
        match self {
            Self::Anyone => true,
            Self::Anonymous => principal.kind == Kind::Anonymous,
            Self::Token => principal.kind == Kind::Token,
            Self::Role(role) => principal.roles.contains(role),
            Self::Key(name) => matches!(&principal.kind, Kind::Key(key) if key == name),
        }
    }
}

impl Right {
    fn grants(&self, principal: &Principal, action: Action, resource: Resource<'_>) -> bool {
        // To join the topic of a table is to read it as it changes.
        if let (Action::Join, Resource::Topic { name, .. }) = (action, resource)
            && let Some((dataset, table)) = table_of(name)
            && self.grants(
                principal,
                Action::Read,
                Resource::Table { dataset, name: table, public: false },
            )
        {
            return true;
        }
        self.actions.contains(&action) && self.fits(principal, resource)
    }

    fn fits(&self, principal: &Principal, resource: Resource<'_>) -> bool {
        let any = |patterns: &[Pattern], text: &str| {
            patterns.iter().any(|pattern| {
                let captures = pattern.captures(text, &principal.claims);
                captures.is_some_and(|captures| self.holds(principal, resource, captures))
            })
        };
        match resource {
            Resource::Topic { name, .. } => any(&self.topics, name),
            Resource::Mailbox { dataset, topic } => {
                let fits = |of: &Pattern| of.captures(dataset, &principal.claims).is_some();
                let is_within = self.datasets.is_empty() || self.datasets.iter().any(fits);
                is_within && any(&self.topics, topic)
            }
            Resource::Table { dataset, name, .. } => {
                any(&self.tables, &format!("{dataset}/{name}")) || any(&self.datasets, dataset)
            }
            Resource::Dataset(name) => any(&self.datasets, name),
            Resource::Server => {
                self.datasets.iter().any(Pattern::is_everything)
                    && self.holds(principal, resource, Captures::new())
            }
        }
    }

    /// True when there is no condition, or it holds. One that fails to evaluate does not hold.
    fn holds(&self, principal: &Principal, resource: Resource<'_>, captures: Captures) -> bool {
        let Some(condition) = &self.when else { return true };
        let (topic, dataset, table) = match resource {
            Resource::Topic { name, .. } => (name, "", ""),
            Resource::Mailbox { dataset, topic } => (topic, dataset, ""),
            Resource::Table { dataset, name, .. } => ("", dataset, name),
            Resource::Dataset(name) => ("", name, ""),
            Resource::Server => ("", "", ""),
        };
        let captures: Fields =
            captures.into_iter().map(|(name, text)| (name, Value::from(text))).collect();
        let (claims, captures) = (from_fields(&principal.claims), from_fields(&captures));
        let texts = [topic, dataset, table].map(CelValue::from);
        let variables = [
            ("claims", &claims),
            ("captures", &captures),
            ("topic", &texts[0]),
            ("dataset", &texts[1]),
            ("table", &texts[2]),
        ];
        let mut meter = Meter::new(limits::EXPRESSION_STEPS);
        condition.is_true(&variables, &mut meter).unwrap_or(false)
    }
}

/// The dataset and the table of a topic `table:DATASET/TABLE`.
fn table_of(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(TABLE_PREFIX)?.split_once('/')
}

#[cfg(test)]
mod tests;
