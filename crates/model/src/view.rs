//! Views: rows of a table as the subscribers of a topic pattern see them.
//!
//! A view is a function of one row (and, for views written in Rust, of the tables around it): it
//! says on which topic the row is visible and as what. Everything else follows: a row *enters*
//! when it becomes visible, *changes* when the visible fields change, *leaves* when it is not
//! visible any more, and does both when it moves from one topic to another.

mod overlap;
mod topic;

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::expression::{
    CelValue, EvaluationError, Expression, ExpressionError, Meter, Spot, from_fields,
};
use crate::limits;
use crate::name::{Key, Name};
use crate::reserved;
use crate::row::{Fields, Row};
use crate::state::Tables;

pub use self::overlap::{find_alike, find_shared};
pub use self::topic::{TopicPattern, TopicPatternError};

/// Raised when the same declaration comes to mean something else: positions that readers were given
/// under the old meaning are of no use then.
const SEMANTICS: u32 = 1;
/// The names that a view's expressions know.
const NAMES: [&str; 2] = ["row", "key"];

/// A view as it is written in configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewDeclaration {
    /// The view's name.
    pub name: Name,
    /// The dataset.
    pub dataset: Name,
    /// The table.
    pub table: Name,
    /// The topic on which a row is visible; `{field}` stands for a field of the row, `{key}` for
    /// its key.
    pub topic: String,
    /// The event by which a row that enters or changes is announced.
    pub event: String,
    /// A CEL expression over `row` and `key`; rows for which it is not true are not visible.
    #[serde(default)]
    pub filter: Option<String>,
    /// Projection: field name to CEL expression. Without it: the whole row.
    #[serde(default)]
    pub project: Option<std::collections::BTreeMap<String, String>>,
    /// A CEL expression; a write for which it is true is announced even if the visible fields stay
    /// the same.
    #[serde(default)]
    pub announce_when: Option<String>,
}

/// Error in the declaration of a view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "view {view}: {field}: {}{problem}",
    .spot.map(|spot| format!("{spot}: ")).unwrap_or_default()
)]
pub struct ViewError {
    /// The view.
    pub view: String,
    /// The field of its declaration; for one of `project`, with its name behind a dot.
    pub field: String,
    /// Position in the expression that stands there.
    pub spot: Option<Spot>,
    /// Description of the error.
    pub problem: String,
}

/// Visible part of a row for the subscribers of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Visible {
    /// The topic.
    pub topic: String,
    /// Visible fields.
    pub fields: Fields,
}

/// A row as a Rust view sees it.
pub struct RowContext<'a> {
    /// The row's key.
    pub key: &'a Key,
    /// Its fields.
    pub fields: &'a Fields,
    /// The tables around it.
    pub tables: &'a Tables,
}

/// Failures of a view: rows that it could not show, because an expression of it failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Number of failures.
    pub count: u64,
    /// The newest one.
    pub newest: Option<Failure>,
}

/// A row on which an expression failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The row's key.
    pub key: Key,
    /// The expression, and what happened.
    pub error: EvaluationError,
}

impl Failures {
    fn note(&mut self, key: &Key, error: EvaluationError) {
        self.count += 1;
        self.newest = Some(Failure { key: key.clone(), error });
    }
}

type NativeFn = dyn Fn(&RowContext<'_>) -> Option<Visible> + Send + Sync;

/// A compiled view.
#[derive(Clone)]
pub struct View {
    /// Its name.
    pub name: Name,
    /// The table that it looks at.
    pub table: Name,
    /// The topics that it can produce.
    pub topic: TopicPattern,
    /// The event by which a row that enters or changes is announced.
    pub event: Arc<str>,
    kind: Kind,
    /// Its whole definition, as text.
    definition: String,
}

#[derive(Clone)]
enum Kind {
    Declared {
        filter: Option<Expression>,
        project: Option<Vec<(String, Expression)>>,
        announce_when: Option<Expression>,
    },
    Native(Arc<NativeFn>),
}

/// Effect of a write for subscribers.
#[derive(Debug, Clone, PartialEq)]
pub enum ViewChange {
    /// The row is visible on this topic as this, newly or differently.
    Shown(Visible),
    /// The row left this topic.
    Left {
        /// The topic.
        topic: String,
    },
}

impl ViewError {
    fn new(view: &Name, field: &str, problem: String) -> Self {
        Self { view: view.to_string(), field: field.to_owned(), spot: None, problem }
    }
}

impl View {
    /// Compiles a declaration.
    ///
    /// # Errors
    /// [`ViewError`] naming the field; for expressions with line and column.
    pub fn compile(declaration: &ViewDeclaration) -> Result<Self, ViewError> {
        let refuse = |field: &str, problem| ViewError::new(&declaration.name, field, problem);
        let expression = |field: &str, source: &String| {
            Expression::compile(source, &NAMES).map_err(|ExpressionError { spot, message }| {
                ViewError { spot: Some(spot), ..refuse(field, message) }
            })
        };
        let optional = |field: &str, source: &Option<String>| {
            source.as_ref().map(|source| expression(field, source)).transpose()
        };
        let project = match &declaration.project {
            None => None,
            Some(fields) => {
                let mut project = Vec::with_capacity(fields.len());
                for (name, source) in fields {
                    let field = format!("project.{name}");
                    if reserved::FIELDS.contains(&name.as_str()) {
                        return Err(refuse(&field, "the name is reserved".into()));
                    }
                    project.push((name.clone(), expression(&field, source)?));
                }
                Some(project)
            }
        };
        check_event(&declaration.event).map_err(|error| refuse("event", error.to_string()))?;
        let ViewDeclaration { filter, announce_when, .. } = declaration;
        Ok(Self {
            name: declaration.name.clone(),
            table: declaration.table.clone(),
            topic: TopicPattern::parse(&declaration.topic)
                .map_err(|error| refuse("topic", error.to_string()))?,
            event: declaration.event.as_str().into(),
            definition: json!([filter, declaration.project, announce_when]).to_string(),
            kind: Kind::Declared {
                filter: optional("filter", filter)?,
                project,
                announce_when: optional("announce_when", announce_when)?,
            },
        })
    }

    /// A view written in Rust. `see` must be a pure function, and its topics must match `topic`.
    ///
    /// # Errors
    /// [`ViewError`] when the topic pattern or the event is not well-formed.
    pub fn native(
        name: Name,
        table: Name,
        topic: &str,
        event: &str,
        see: impl Fn(&RowContext<'_>) -> Option<Visible> + Send + Sync + 'static,
    ) -> Result<Self, ViewError> {
        let refuse = |field: &str, problem: String| ViewError::new(&name, field, problem);
        check_event(event).map_err(|error| refuse("event", error.to_string()))?;
        let topic =
            TopicPattern::parse(topic).map_err(|error| refuse("topic", error.to_string()))?;
        let (event, kind) = (event.into(), Kind::Native(Arc::new(see)));
        Ok(Self { name, table, topic, event, kind, definition: "native".to_owned() })
    }

    /// The same view, which also depends on what `text` says: settings that a view written in Rust
    /// looks at, or the program that it is part of. With another text it is another view.
    #[must_use]
    pub fn depending_on(mut self, text: &str) -> Self {
        self.definition = json!([self.definition, text]).to_string();
        self
    }

    /// Returns true if it is written in Rust: then its definition says nothing of what it does.
    #[must_use]
    pub fn is_native(&self) -> bool {
        match self.kind {
            Kind::Native(_) => true,
            Kind::Declared { .. } => false,
        }
    }

    /// The hash of everything that it says of rows and readers: two views with one hash tell the
    /// same.
    #[must_use]
    pub fn digest(&self) -> u128 {
        let Self { name, table, topic, event, definition, .. } = self;
        let text = json!([
            SEMANTICS,
            name.as_str(),
            table.as_str(),
            topic.to_string(),
            &**event,
            definition
        ]);
        xxhash_rust::xxh3::xxh3_128(text.to_string().as_bytes())
    }

    /// Returns the row as this view shows it. A run-time error of an expression means "not visible"
    /// and is noted in `failures`.
    pub fn see(
        &self,
        key: &Key,
        row: &Row,
        tables: &Tables,
        failures: &mut Failures,
    ) -> Option<Visible> {
        let fields = row.fields();
        match &self.kind {
            Kind::Native(see) => see(&RowContext { key, fields: &fields, tables }),
            Kind::Declared { filter, project, .. } => {
                let seen = self.see_declared(key, fields, filter.as_ref(), project.as_deref());
                seen.unwrap_or_else(|error| {
                    failures.note(key, error);
                    None
                })
            }
        }
    }

    fn see_declared(
        &self,
        key: &Key,
        fields: Fields,
        filter: Option<&Expression>,
        project: Option<&[(String, Expression)]>,
    ) -> Result<Option<Visible>, EvaluationError> {
        let Some(topic) = self.topic.fill(key, &fields) else {
            return Ok(None);
        };
        if filter.is_none() && project.is_none() {
            return Ok(Some(Visible { topic, fields }));
        }
        let (row, key) = (from_fields(&fields), CelValue::from(key.as_str()));
        let names = [("row", &row), ("key", &key)];
        let mut meter = Meter::new(limits::EXPRESSION_STEPS);
        if let Some(filter) = filter
            && !filter.is_true(&names, &mut meter)?
        {
            return Ok(None);
        }
        let fields = match project {
            None => fields,
            Some(project) => project
                .iter()
                .map(|(name, expression)| {
                    Ok((name.clone(), expression.evaluate(&names, &mut meter)?))
                })
                .collect::<Result<Fields, EvaluationError>>()?,
        };
        Ok(Some(Visible { topic, fields }))
    }

    /// Returns the effects of a write from `old` to `new` on what subscribers see, in the order to
    /// tell them. An expression that fails on the new row is noted in `failures`.
    pub fn sights(
        &self,
        key: &Key,
        old: Option<&Row>,
        new: Option<&Row>,
        tables: &Tables,
        failures: &mut Failures,
    ) -> Vec<ViewChange> {
        // What fails on the old row was noted when it was written.
        let before = old.and_then(|row| self.see(key, row, tables, &mut Failures::default()));
        let after = new.and_then(|row| self.see(key, row, tables, failures));
        match (before, after) {
            (None, None) => vec![],
            (None, Some(after)) => vec![ViewChange::Shown(after)],
            (Some(before), None) => vec![ViewChange::Left { topic: before.topic }],
            (Some(before), Some(after)) if before.topic != after.topic => {
                vec![ViewChange::Left { topic: before.topic }, ViewChange::Shown(after)]
            }
            (Some(before), Some(after)) => {
                let told = before.fields != after.fields
                    || new.is_some_and(|row| self.announces(key, row, failures));
                if told { vec![ViewChange::Shown(after)] } else { vec![] }
            }
        }
    }

    fn announces(&self, key: &Key, row: &Row, failures: &mut Failures) -> bool {
        let Kind::Declared { announce_when: Some(condition), .. } = &self.kind else {
            return false;
        };
        let (row, named) = (from_fields(&row.fields()), CelValue::from(key.as_str()));
        let mut meter = Meter::new(limits::EXPRESSION_STEPS);
        let announces = condition.is_true(&[("row", &row), ("key", &named)], &mut meter);
        announces.unwrap_or_else(|error| {
            failures.note(key, error);
            false
        })
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} of {} on {})", self.name, self.table, self.topic)
    }
}

/// Error in the event of a view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum EventError {
    #[error("is empty")]
    Empty,
    #[error("is {bytes} bytes long, the limit is {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("the name is reserved")]
    Reserved,
}

fn check_event(event: &str) -> Result<(), EventError> {
    let limit = limits::EVENT_BYTES;
    match event.len() {
        0 => Err(EventError::Empty),
        bytes if bytes > limit => Err(EventError::TooLong { bytes, limit }),
        _ if reserved::is_event(event) => Err(EventError::Reserved),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
