//! Rules of an application for channels: who may join, and what a push does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use instep_model::view::{TopicPattern, TopicPatternError};
use instep_node::Node;
use serde_json::Value;

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Value>> + Send>>;
type JoinRule = dyn Fn(Node, JoinRequest) -> Answer<()> + Send + Sync;
type PushRule = dyn Fn(Node, Push) -> Answer<Value> + Send + Sync;

/// A client wants to join a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinRequest {
    /// The topic.
    pub topic: String,
    /// The parameters: a JSON object.
    pub params: Value,
}

/// A client that joined a topic pushes to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Push {
    /// The topic.
    pub topic: String,
    /// The event.
    pub event: String,
    /// The payload: a JSON object.
    pub payload: Value,
}

/// The rules of one topic pattern. Without rules any client may join a view topic, and pushes to it
/// are refused.
#[derive(Clone)]
pub struct Channel {
    pub(crate) pattern: TopicPattern,
    pub(crate) join: Option<Arc<JoinRule>>,
    pub(crate) push: Option<Arc<PushRule>>,
}

/// Error of the rules for a channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The pattern of topics is not well-formed.
    #[error("{problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Its fault.
        problem: TopicPatternError,
    },
}

impl Channel {
    /// Rules for the topics of a pattern such as `cart:{id}`.
    ///
    /// # Errors
    /// [`ChannelError`], when the pattern is not well-formed.
    pub fn new(pattern: &str) -> Result<Self, ChannelError> {
        let parsed = TopicPattern::parse(pattern).map_err(|problem| {
            let pattern = pattern.to_owned();
            ChannelError::Pattern { pattern, problem }
        })?;
        Ok(Self { pattern: parsed, join: None, push: None })
    }

    /// Asks `rule` before a join. What it answers in `Err` is the client's error reply.
    #[must_use]
    pub fn on_join<F>(
        mut self,
        rule: impl Fn(Node, JoinRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), Value>> + Send + 'static,
    {
        self.join = Some(Arc::new(move |node, request| Box::pin(rule(node, request))));
        self
    }

    /// Lets `rule` answer pushes: `Ok` is the reply of status `ok`, `Err` that of status `error`.
    /// Both are JSON objects.
    #[must_use]
    pub fn on_push<F>(mut self, rule: impl Fn(Node, Push) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Value, Value>> + Send + 'static,
    {
        self.push = Some(Arc::new(move |node, push| Box::pin(rule(node, push))));
        self
    }
}
