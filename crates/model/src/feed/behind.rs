//! Topics that a dataset stands behind: known without its feed, which may be busy with an entry.

use std::sync::Arc;

use super::TABLE_PREFIX;
use crate::name::Name;
use crate::state::Tables;
use crate::view::{TopicPattern, View};

/// Topics that a dataset stands behind, as of some place. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct Behind {
    dataset: Name,
    patterns: Arc<[TopicPattern]>,
    tables: Tables,
}

impl Behind {
    pub(super) fn new(dataset: Name, views: &[View], tables: Tables) -> Self {
        let patterns = views.iter().map(|view| view.topic.clone()).collect();
        Self { dataset, patterns, tables }
    }

    /// The same with the tables of another place.
    #[must_use]
    pub fn with_tables(&self, tables: Tables) -> Self {
        Self { tables, ..self.clone() }
    }

    /// True when a view or a public table stands behind the topic.
    #[must_use]
    pub fn has_topic(&self, topic: &str) -> bool {
        table_behind(&self.dataset, &self.tables, topic).is_some()
            || self.patterns.iter().any(|pattern| pattern.matches(topic))
    }
}

/// The public table whose topic it is.
pub(super) fn table_behind<'a>(dataset: &Name, tables: &Tables, topic: &'a str) -> Option<&'a str> {
    let (of, table) = topic.strip_prefix(TABLE_PREFIX)?.split_once('/')?;
    let known = tables.get(table).filter(|table| table.options.public);
    (of == dataset.as_str() && known.is_some()).then_some(table)
}
