//! Topics that two views may both produce.

use super::{Part, TopicPattern, View, ViewError};

/// What a pattern wants of a topic, byte by byte.
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

/// Refuses two views that announce their rows on the same topics by the same event: nobody could
/// tell rows apart that have the same key.
///
/// # Errors
/// [`ViewError`] that names both.
pub fn check_together(views: &[View]) -> Result<(), ViewError> {
    for (at, view) in views.iter().enumerate() {
        let alike = |other: &&View| other.event == view.event && other.topic.overlaps(&view.topic);
        if let Some(other) = views[..at].iter().find(alike) {
            let problem = format!(
                "view {} announces rows on the same topics by the same event {:?}: readers could \
                 not tell them apart",
                other.name, view.event
            );
            return Err(ViewError { view: view.name.to_string(), field: "event".into(), problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::parse(text).unwrap()
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
        let view = |name: &str, topic: &str, event: &str| {
            let declaration = json!({
                "name": name, "dataset": "d", "table": name, "topic": topic, "event": event,
            });
            View::compile(&serde_json::from_value(declaration).unwrap()).unwrap()
        };
        let orders = view("orders", "user:{u}", "order");

        assert_eq!(check_together(&[orders.clone(), view("b", "user:{u}", "bill")]), Ok(()));
        assert_eq!(check_together(&[orders.clone(), view("b", "shop:{u}", "order")]), Ok(()));
        let refused = check_together(&[orders, view("b", "user:{x}", "order")]).unwrap_err();
        assert_eq!((&*refused.view, &*refused.field), ("b", "event"));
    }
}
