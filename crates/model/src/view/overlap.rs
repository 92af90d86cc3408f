//! Topics that two views may both produce.

use super::View;
use super::topic::{Part, TopicPattern};
use crate::name::Name;

/// Requirement of a pattern on a topic, byte by byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Byte(u8),
    /// One byte, whichever.
    Any,
    /// Any number of them.
    Many,
}

impl TopicPattern {
    /// True when some topic matches both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (begins, other_begins) = (self.beginning(), other.beginning());
        if !begins.starts_with(other_begins) && !other_begins.starts_with(begins) {
            return false;
        }
        let (ours, theirs) = (self.wants(), other.wants());
        // For each rest of ours, back from the end: can it match this rest of theirs?
        let mut behind = vec![false; theirs.len() + 1];
        for i in (0..=ours.len()).rev() {
            let mut here = vec![false; theirs.len() + 1];
            for j in (0..=theirs.len()).rev() {
                let (our, their) = (ours.get(i), theirs.get(j));
                here[j] = match (our, their) {
                    (None, None) => true,
                    (Some(Want::Many), None) => behind[j],
                    (None, Some(Want::Many)) => here[j + 1],
                    (Some(Want::Many), Some(_)) | (Some(_), Some(Want::Many)) => {
                        behind[j] || here[j + 1]
                    }
                    (Some(Want::Byte(our)), Some(Want::Byte(their))) => {
                        our == their && behind[j + 1]
                    }
                    (Some(_), Some(_)) => behind[j + 1],
                    (Some(_), None) | (None, Some(_)) => false,
                };
            }
            behind = here;
        }
        behind[0]
    }

    /// Returns the text that all of its topics begin with.
    #[must_use]
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Field(_)) | None => "",
        }
    }

    /// True when every topic that begins with `prefix`, and goes on behind it, matches.
    #[must_use]
    pub fn takes_all_of(&self, prefix: &str) -> bool {
        match &self.parts[..] {
            [Part::Text(text), Part::Field(_)] => prefix.starts_with(text.as_str()),
            _ => false,
        }
    }

    fn wants(&self) -> Vec<Want> {
        let mut wants = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => wants.extend(text.bytes().map(Want::Byte)),
                Part::Field(_) => wants.extend([Want::Any, Want::Many]),
            }
        }
        wants
    }
}

/// Two views, by their indices, that announce their rows on the same topics by the same event:
/// a subscriber could not tell rows apart that have the same key.
#[must_use]
pub fn find_alike(views: &[View]) -> Option<(usize, usize)> {
    find(views, |one, other| one.event == other.event && one.topic.overlaps(&other.topic))
}

/// Two views of different datasets, by their indices, that both may show rows on one topic. A topic
/// is told by one dataset, in the order of its log: the rows of the other would never be seen.
#[must_use]
pub fn find_shared(views: &[(Name, View)]) -> Option<(usize, usize)> {
    find(views, |(dataset, view), (other, theirs)| {
        dataset != other && view.topic.overlaps(&theirs.topic)
    })
}

fn find<T>(all: &[T], meets: impl Fn(&T, &T) -> bool) -> Option<(usize, usize)> {
    let pairs = (0..all.len()).flat_map(|at| (0..at).map(move |before| (before, at)));
    pairs.into_iter().find(|(before, at)| meets(&all[*before], &all[*at]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text).unwrap()
    }

    fn view(name: &str, topic: &str, event: &str) -> View {
        let declaration = json!({
            "name": name, "dataset": "d", "table": name, "topic": topic, "event": event,
        });
        View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
    }

    #[test]
    fn patterns_overlap_when_one_topic_matches_both() {
        for (one, other, expected) in [
            ("user:{user}", "user:{owner}", true),
            ("user:{user}", "user:ann", true),
            ("user:{user}", "user:", false),
            ("user:{a}:orders", "user:{b}:invoices", false),
            ("user:{a}:{b}", "user:{c}", true),
            ("product:{id}", "cart:{id}", false),
            ("a{x}b", "a{y}c", false),
            ("open", "open", true),
            ("open", "opened", false),
        ] {
            assert_eq!(pattern(one).overlaps(&pattern(other)), expected, "{one} {other}");
            assert_eq!(pattern(other).overlaps(&pattern(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn rows_of_two_views_on_one_topic_are_told_apart_by_their_events() {
        let orders = view("orders", "user:{u}", "order");

        assert_eq!(find_alike(&[orders.clone(), view("b", "user:{u}", "bill")]), None);
        assert_eq!(find_alike(&[orders.clone(), view("b", "shop:{u}", "order")]), None);
        assert_eq!(find_alike(&[orders, view("b", "user:{x}", "order")]), Some((0, 1)));
    }

    #[test]
    fn a_topic_that_two_datasets_could_show_is_found_and_one_of_a_single_dataset_is_none() {
        let of = |dataset: &str, topic: &str| (Name::new(dataset).unwrap(), view("v", topic, "e"));

        let shared = [of("a", "user:{u}"), of("b", "shop:{s}"), of("b", "user:{u}:bills")];
        assert_eq!(find_shared(&shared), Some((0, 2)), "a user may be called 7:bills");
        assert_eq!(find_shared(&[of("a", "user:{u}"), of("a", "user:{u}")]), None);
        assert_eq!(find_shared(&shared[..2]), None);
    }

    #[test]
    fn a_pattern_takes_all_topics_of_a_prefix_only_when_nothing_follows_its_placeholder() {
        for (text, prefix, expected) in [
            ("room:{r}", "room:", true),
            ("room:{r}", "room:vip:", true),
            ("room:{r}", "roo", false),
            ("room:{r}:log", "room:", false),
            ("room:lobby", "room:lobby", false),
        ] {
            assert_eq!(pattern(text).takes_all_of(prefix), expected, "{text} {prefix}");
        }
    }
}
