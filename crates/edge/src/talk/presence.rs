//! What a joiner says of itself, and its seat among those who are present.

use std::sync::Arc;

use instep_model::presence::PresenceError;
use instep_node::live::Since;
use instep_node::{Present, Topic};
use serde_json::{Map, Value, json};

/// The event by which a client says something else of itself, or that it is gone.
pub(super) const EVENT: &str = "presence";

/// What the parameters of a join ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    /// What the joiner has already.
    pub(crate) since: Since,
    /// Under which key it is present; none for one of its own.
    key: Option<String>,
    /// What others are told of it.
    meta: Map<String, Value>,
    /// It is present as soon as it has joined.
    tracks: bool,
    /// It is a client of Supabase's, which takes broadcasts of bytes under a name (kind 4).
    pub(crate) takes_named: bool,
}

/// A joiner's seat on a topic that keeps presence. With it goes who sits there.
pub(crate) struct Seat {
    key: Option<Box<str>>,
    present: Option<Present>,
}

impl Wish {
    /// Reads the parameters of a join. A verified `subject` is the key, whatever they say.
    pub(crate) fn of(params: &Value, subject: Option<&str>) -> Self {
        let ours = params.get("presence");
        // So joins whoever tracks itself later, by a push.
        let theirs = params.pointer("/config/presence");
        let text = |value: Option<&Value>| {
            let text = value.and_then(Value::as_str).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let field = |name: &str| ours.and_then(|ours| ours.get(name));
        let keys = [field("key"), params.get("key"), theirs.and_then(|theirs| theirs.get("key"))];
        let key = subject.map(str::to_owned).or_else(|| keys.into_iter().find_map(text));
        let is_off = |value: &Value| *value == json!(false) || *value == json!("false");
        let watches = ours.is_some_and(is_off) || field("track").is_some_and(is_off);
        Self {
            since: Since::of(params),
            key,
            meta: field("meta").and_then(Value::as_object).cloned().unwrap_or_default(),
            tracks: !watches && theirs.is_none(),
            takes_named: params.pointer("/config/broadcast").is_some_and(Value::is_object),
        }
    }
}

impl Seat {
    /// Takes a seat; none where presence is not kept.
    pub(crate) fn take(
        topic: &Arc<Topic>,
        wish: &Wish,
    ) -> Result<Option<Box<Self>>, PresenceError> {
        if topic.crowd().is_none() {
            return Ok(None);
        }
        let key = wish.key.as_deref().map(Box::from);
        let mut seat = Box::new(Self { key, present: None });
        if wish.tracks {
            seat.track(topic, wish.meta.clone())?;
        }
        Ok(Some(seat))
    }

    /// Takes a push of the event `presence`: `{event: "track" | "untrack", payload}`.
    pub(super) fn take_push(&mut self, topic: &Arc<Topic>, push: &Value) -> Result<Value, Value> {
        match push["event"].as_str() {
            Some("track") => {
                let meta = push["payload"].as_object().cloned().unwrap_or_default();
                self.track(topic, meta).map(|()| json!({})).map_err(|error| refused(&error))
            }
            Some("untrack") => {
                self.present = None;
                Ok(json!({}))
            }
            _ => Err(json!({"reason": "bad_presence", "detail": "event: track or untrack"})),
        }
    }

    fn track(&mut self, topic: &Arc<Topic>, meta: Map<String, Value>) -> Result<(), PresenceError> {
        match &mut self.present {
            Some(present) => present.update(meta),
            None => {
                self.present = topic.track(self.key.as_deref(), meta)?;
                Ok(())
            }
        }
    }
}

/// A presence over its limit, as the client sees it.
pub(super) fn refused(error: &PresenceError) -> Value {
    json!({"reason": "bad_presence", "detail": error.to_string()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joiner_is_present_under_its_key_unless_it_only_watches() {
        let wish = |params: Value| Wish::of(&params, None);
        let key = |params: Value| wish(params).key;

        assert_eq!(key(json!({"key": "a"})).as_deref(), Some("a"));
        assert_eq!(key(json!({"key": "a", "presence": {"key": "b"}})).as_deref(), Some("b"));
        assert_eq!(key(json!({"config": {"presence": {"key": "c"}}})).as_deref(), Some("c"));
        assert_eq!(key(json!({"key": ""})), None);
        assert_eq!(Wish::of(&json!({"key": "a"}), Some("ann")).key.as_deref(), Some("ann"));
        assert!(wish(json!({})).tracks && wish(json!({"presence": {"meta": {}}})).tracks);
        for watcher in [
            json!({"presence": false}),
            json!({"presence": "false"}),
            json!({"presence": {"track": false}}),
            json!({"config": {"presence": {"key": ""}}}),
        ] {
            assert!(!wish(watcher.clone()).tracks, "{watcher}");
        }
        let meta = wish(json!({"presence": {"meta": {"at": "desk"}}})).meta;
        assert_eq!(Value::Object(meta), json!({"at": "desk"}));
    }
}
