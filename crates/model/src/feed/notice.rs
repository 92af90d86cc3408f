//! Notices: messages about one row on one topic, and their bytes.

use std::sync::Arc;

use serde::Serialize;

use crate::name::{Key, Name};
use crate::position::Position;
use crate::reserved;
use crate::row::{Fields, Row};

/// One thing to tell the subscribers of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The topic.
    pub topic: Arc<str>,
    /// The event.
    pub event: Arc<str>,
    /// The row's key.
    pub key: Key,
    /// Body: the visible part of the row.
    pub body: Body,
    /// Position up to which the topic is complete; only in the last notice of a commit on it.
    pub position: Option<Position>,
}

/// Body of a notice.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// The row, whole (`table:` topics).
    Row(Row),
    /// The row's visible fields (view topics).
    Fields(Fields),
    /// The row is gone, or not public any more (`table:` topics).
    Gone,
    /// Nothing is seen of the row through this view any more (view topics). A topic may have
    /// several views, whose rows may have the same keys.
    Left {
        /// The view's name.
        view: Name,
        /// The event by which the view announced the row.
        event: Arc<str>,
    },
}

impl Notice {
    /// The payload as JSON: `key`, the visible fields (or `row`, or whose row has left), and
    /// `position` if there is one. A row's own fields of these names travel under another one
    /// ([`reserved::field_name`]).
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = b"{\"key\":".to_vec();
        push_json(&mut payload, self.key.as_str());
        match &self.body {
            Body::Row(row) => {
                payload.extend(b",\"row\":");
                payload.extend(row.as_bytes());
            }
            Body::Fields(fields) => {
                for (name, value) in fields {
                    payload.push(b',');
                    push_json(&mut payload, &*reserved::field_name(name));
                    payload.push(b':');
                    push_json(&mut payload, value);
                }
            }
            Body::Gone => {}
            Body::Left { view, event } => {
                payload.extend(b",\"view\":");
                push_json(&mut payload, view.as_str());
                payload.extend(b",\"event\":");
                push_json(&mut payload, &**event);
            }
        }
        if let Some(position) = self.position {
            payload.extend(format!(",\"position\":\"{position}\"").into_bytes());
        }
        payload.push(b'}');
        payload
    }
}

fn push_json<T: Serialize + ?Sized>(payload: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(payload, value).expect("JSON always encodes into memory");
}
