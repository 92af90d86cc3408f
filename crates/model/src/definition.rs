//! Definitions: the views by which readers of a dataset's topics were told, and since which place.
//!
//! A position says up to where a reader is complete, not what it was shown. When a view is changed,
//! added or removed, a reader that resumes from an older position may hold rows that it should not
//! see, or lack some that it should: on the topics of such a view, positions from before the change
//! are of no use (a reset). So a dataset keeps, beside its log, which views it was opened with.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::position::{Incarnation, Place, Position};
use crate::view::{TopicPattern, View};

mod start;

pub use self::start::{Start, StartResult};

/// The newest form that this program writes and reads.
pub const FORMAT: u32 = 1;

/// The views of a dataset, and from which place on each of its topics is told by them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Definitions {
    /// The pattern of each view's topics, and the view's hash.
    views: BTreeSet<(String, u128)>,
    /// Floor of each pattern: positions below were given under other views.
    floors: BTreeMap<String, Place>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    views: Vec<StoredView>,
    floors: Vec<StoredFloor>,
}

#[derive(Serialize, Deserialize)]
struct StoredView {
    topic: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct StoredFloor {
    topic: String,
    from: Position,
}

/// The format that bytes say they have, whatever else they hold; none where they say none.
#[must_use]
pub fn format_of(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    serde_json::from_slice::<Format>(bytes).ok().map(|stored| stored.format)
}

impl Definitions {
    /// Definitions of views by which no reader was told before.
    #[must_use]
    pub fn of(views: &[View]) -> Self {
        let views = views.iter().map(|view| (view.topic.to_string(), view.digest()));
        Self { views: views.collect(), floors: BTreeMap::new() }
    }

    /// The patterns of the topics that are told otherwise than by `before`: of views that were
    /// changed or added, and of those that are gone. Without knowledge of earlier ones, all.
    #[must_use]
    pub fn changed_since(&self, before: Option<&Self>) -> BTreeSet<String> {
        let none = BTreeSet::new();
        let views = before.map_or(&none, |before| &before.views);
        let changed = self.views.symmetric_difference(views);
        changed.map(|(topic, _)| topic.clone()).collect()
    }

    /// The same definitions, which hold for `changed` from `place` on, and else since `before`
    /// says.
    #[must_use]
    pub fn hold_from(
        mut self,
        place: Place,
        changed: BTreeSet<String>,
        before: Option<Self>,
    ) -> Self {
        self.floors = before.map(|before| before.floors).unwrap_or_default();
        self.floors.extend(changed.into_iter().map(|topic| (topic, place)));
        if self.floors.len() > limits::DEFINITION_FLOORS {
            // One floor for all is a reset too many here and there, and never one too few.
            let newest = self.floors.values().copied().max().unwrap_or(place);
            self.floors = BTreeMap::from([(String::new(), newest)]);
        }
        self
    }

    /// Positions on the topic below this place were given under other views.
    #[must_use]
    pub fn floor_of(&self, topic: &str) -> Place {
        let floors = self.floors.iter().filter(|(pattern, _)| {
            pattern.is_empty() || TopicPattern::parse(pattern).map_or(true, |p| p.matches(topic))
        });
        floors.map(|(_, from)| *from).max().unwrap_or_default()
    }

    /// The form that is kept beside the log of this history.
    #[must_use]
    pub fn encode(&self, incarnation: Incarnation) -> Vec<u8> {
        let views = self.views.iter().map(|(topic, digest)| StoredView {
            topic: topic.clone(),
            digest: format!("{digest:032x}"),
        });
        let floors = self.floors.iter().map(|(topic, place)| StoredFloor {
            topic: topic.clone(),
            from: Position { incarnation, place: *place },
        });
        let stored = Stored { format: FORMAT, views: views.collect(), floors: floors.collect() };
        serde_json::to_vec_pretty(&stored).expect("JSON always encodes into memory")
    }

    /// Reads the stored definitions beside a log that ends at `head`; none when they say nothing
    /// about this history: it is damaged, newer, or of a log that went on further.
    #[must_use]
    pub fn decode(bytes: &[u8], incarnation: Incarnation, head: Place) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        if stored.format != FORMAT {
            return None;
        }
        let mut floors = BTreeMap::new();
        for StoredFloor { topic, from } in stored.floors {
            // Positions of another history are a reset anyway.
            if let Some(place) = from.place_in(incarnation) {
                if place > head {
                    return None;
                }
                floors.insert(topic, place);
            }
        }
        let view =
            |view: StoredView| Some((view.topic, u128::from_str_radix(&view.digest, 16).ok()?));
        let views = stored.views.into_iter().map(view).collect::<Option<_>>()?;
        Some(Self { views, floors })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::position::Revision;

    fn views(declarations: &[Value]) -> Definitions {
        let compile = |given: &Value| {
            let mut declaration = json!({
                "name": "v", "dataset": "d", "table": "t", "topic": "a:{x}", "event": "e",
            });
            let fields = declaration.as_object_mut().unwrap();
            fields.extend(given.as_object().unwrap().clone());
            View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
        };
        Definitions::of(&declarations.iter().map(compile).collect::<Vec<_>>())
    }

    fn place(revision: u64) -> Place {
        Place { revision: Revision(revision), index: 0 }
    }

    fn here() -> Incarnation {
        Incarnation(Uuid::from_u128(1))
    }

    #[test]
    fn every_part_of_a_views_definition_changes_what_its_topics_are_told_by() {
        let before = views(&[json!({})]);

        for part in [
            json!({"filter": "row.on"}),
            json!({"project": {"n": "row.n"}}),
            json!({"event": "f"}),
            json!({"table": "u"}),
            json!({"name": "w"}),
            json!({"announce_when": "row.on"}),
        ] {
            let changed = views(std::slice::from_ref(&part)).changed_since(Some(&before));
            assert_eq!(changed, BTreeSet::from(["a:{x}".to_owned()]), "{part}");
        }
        assert!(views(&[json!({})]).changed_since(Some(&before)).is_empty());
        let moved = views(&[json!({"topic": "b:{x}"})]).changed_since(Some(&before));
        assert_eq!(moved.len(), 2, "the topics that it left, and those that it came to");
        assert_eq!(views(&[]).changed_since(Some(&before)).len(), 1, "it was taken away");
        assert_eq!(before.changed_since(None).len(), 1, "earlier views are not known");
    }

    #[test]
    fn a_change_is_a_floor_for_the_topics_that_it_concerns_and_for_no_others() {
        let all = [json!({}), json!({"topic": "b:{x}", "name": "w"})];
        let before = views(&all);
        let after = views(&[all[0].clone(), json!({"topic": "b:{x}", "name": "w", "event": "f"})]);
        let changed = after.changed_since(Some(&before));

        let after = after.hold_from(place(7), changed, Some(before));

        assert_eq!((after.floor_of("a:1"), after.floor_of("b:1")), (Place::default(), place(7)));
        let again = after.clone().hold_from(place(9), BTreeSet::new(), Some(after.clone()));
        assert_eq!(again, after, "what did not change holds since it did");
    }

    #[test]
    fn definitions_are_kept_for_one_history_and_read_back_or_not_at_all() {
        let changed = BTreeSet::from(["a:{x}".to_owned()]);
        let definitions = views(&[json!({})]).hold_from(place(7), changed, None);
        let bytes = definitions.encode(here());

        assert_eq!(Definitions::decode(&bytes, here(), place(7)), Some(definitions.clone()));
        let elsewhere = Incarnation(Uuid::from_u128(2));
        let read = Definitions::decode(&bytes, elsewhere, place(1)).unwrap();
        assert_eq!(read.floor_of("a:1"), Place::default(), "another history resets by itself");
        assert_eq!(Definitions::decode(&bytes, here(), place(6)), None, "the log was set back");
        assert_eq!(Definitions::decode(b"{", here(), place(9)), None);
        let newer = String::from_utf8(bytes).unwrap().replacen("1", "2", 1);
        assert_eq!(Definitions::decode(newer.as_bytes(), here(), place(9)), None);
    }

    #[test]
    fn law_6_very_many_changes_become_one_floor_for_all_topics() {
        let patterns = (0..=limits::DEFINITION_FLOORS).map(|number| format!("t{number}:{{x}}"));
        let changed: BTreeSet<String> = patterns.collect();

        let definitions = views(&[]).hold_from(place(7), changed, None);

        assert_eq!(definitions.floors.len(), 1);
        assert_eq!(definitions.floor_of("anything"), place(7));
    }
}
