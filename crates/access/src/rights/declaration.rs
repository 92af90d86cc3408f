//! Rights as they are written, and how they are compiled.

use instep_model::expression::{Expression, ExpressionError, Spot};
use instep_model::limits;
use serde::Deserialize;

use super::Action;
use crate::pattern::Pattern;

/// Variables that a condition may name.
const VARIABLES: &[&str] = &["claims", "captures", "topic", "dataset", "table"];

/// A right as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightDeclaration {
    /// `anyone`, `anonymous`, `token`, `role:NAME` or `key:NAME`.
    pub who: String,
    /// Actions that they may take …
    pub actions: Vec<Action>,
    /// … on topics that fit one of these …
    #[serde(default)]
    pub topics: Vec<String>,
    /// … on datasets with everything in them …
    #[serde(default)]
    pub datasets: Vec<String>,
    /// … and on tables and journals, as `DATASET/TABLE` …
    #[serde(default)]
    pub tables: Vec<String>,
    /// … if this CEL expression is true.
    #[serde(default)]
    pub when: Option<String>,
}

/// A right as a token carries it: for its holder, and without a condition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantDeclaration {
    /// Actions that the holder may take …
    pub actions: Vec<Action>,
    /// … on topics that fit one of these …
    #[serde(default)]
    pub topics: Vec<String>,
    /// … on datasets with everything in them …
    #[serde(default)]
    pub datasets: Vec<String>,
    /// … and on tables and journals, as `DATASET/TABLE`.
    #[serde(default)]
    pub tables: Vec<String>,
}

/// Error in the declaration of a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {}{problem}", .spot.map(|spot| format!("{spot}: ")).unwrap_or_default())]
pub struct RightError {
    /// Its place in the list, from 0.
    pub at: usize,
    /// The key in it.
    pub key: &'static str,
    /// Position in the condition, if the error is there.
    pub spot: Option<Spot>,
    /// Description of the error.
    pub problem: String,
}

/// A compiled right.
#[derive(Debug, Clone)]
pub(crate) struct Right {
    pub(crate) who: Who,
    pub(crate) actions: Vec<Action>,
    pub(crate) topics: Vec<Pattern>,
    pub(crate) datasets: Vec<Pattern>,
    pub(crate) tables: Vec<Pattern>,
    pub(crate) when: Option<Expression>,
}

/// Principals that a right is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Anyone,
    Anonymous,
    Token,
    Role(String),
    Key(String),
}

impl RightDeclaration {
    pub(crate) fn compile(&self, at: usize) -> Result<Right, RightError> {
        let error = |key, problem| RightError { at, key, spot: None, problem };
        let who = Who::parse(&self.who).map_err(|wrong| error("who", wrong.to_string()))?;
        let when = self.when.as_deref().map(|source| Expression::compile(source, VARIABLES));
        let when = when.transpose().map_err(|ExpressionError { spot, message }| RightError {
            spot: Some(spot),
            ..error("when", message)
        })?;
        let lists = [&self.topics, &self.datasets, &self.tables];
        let right = compile(who, &self.actions, lists, when);
        right.map_err(|(key, problem)| error(key, problem))
    }
}

impl GrantDeclaration {
    pub(crate) fn compile(&self, at: usize) -> Result<Right, RightError> {
        let lists = [&self.topics, &self.datasets, &self.tables];
        let right = compile(Who::Anyone, &self.actions, lists, None);
        right.map_err(|(key, problem)| RightError { at, key, spot: None, problem })
    }
}

fn compile(
    who: Who,
    actions: &[Action],
    [topics, datasets, tables]: [&Vec<String>; 3],
    when: Option<Expression>,
) -> Result<Right, (&'static str, String)> {
    if actions.is_empty() {
        return Err(("actions", "at least one".into()));
    }
    // A right that can never be used is a mistake that would go unnoticed.
    for action in actions {
        let (wanted, usable) = match action {
            Action::Join => ("topics", !topics.is_empty()),
            Action::Publish | Action::Register => ("topics", !topics.is_empty()),
            Action::Read | Action::Commit => {
                ("tables or datasets", !tables.is_empty() || !datasets.is_empty())
            }
            Action::Administer => ("datasets", !datasets.is_empty()),
        };
        if !usable {
            return Err(("actions", format!("{:?} needs {wanted}", action.word())));
        }
    }
    Ok(Right {
        who,
        actions: actions.to_vec(),
        topics: patterns("topics", topics)?,
        datasets: patterns("datasets", datasets)?,
        tables: tables_of(tables)?,
        when,
    })
}

fn patterns(key: &'static str, texts: &[String]) -> Result<Vec<Pattern>, (&'static str, String)> {
    if texts.len() > limits::RIGHT_PATTERNS {
        return Err((key, format!("at most {}", limits::RIGHT_PATTERNS)));
    }
    let parse = |text: &String| {
        Pattern::parse(text).map_err(|problem| (key, format!("{text:?}: {problem}")))
    };
    texts.iter().map(parse).collect()
}

fn tables_of(texts: &[String]) -> Result<Vec<Pattern>, (&'static str, String)> {
    match texts.iter().find(|text| !text.contains('/')) {
        Some(text) => Err(("tables", format!("{text:?}: write DATASET/TABLE, or DATASET/*"))),
        None => patterns("tables", texts),
    }
}

/// Error in the `who` of a right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not anyone, anonymous, token, role:NAME or key:NAME")]
struct WhoError {
    text: String,
}

impl Who {
    fn parse(text: &str) -> Result<Self, WhoError> {
        match (text, text.split_once(':')) {
            ("anyone", _) => Ok(Self::Anyone),
            ("anonymous", _) => Ok(Self::Anonymous),
            ("token", _) => Ok(Self::Token),
            (_, Some(("role", name))) if !name.is_empty() => Ok(Self::Role(name.to_owned())),
            (_, Some(("key", name))) if !name.is_empty() => Ok(Self::Key(name.to_owned())),
            _ => Err(WhoError { text: text.to_owned() }),
        }
    }
}
