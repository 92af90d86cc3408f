//! Parameters of joins, and pushes about presence, parsed.
//!
//! | said | read as |
//! | --- | --- |
//! | `since` | the resume point, see [`Since`] |
//! | `presence: {key, meta, track}`, `presence: false` | how the client is present |
//! | `key`, `config.presence.key` | its key, as clients of Phoenix and of Supabase say it |
//! | `config.presence` | present by a push later, and not by the join |
//! | `config.broadcast` | messages of bytes come under a name |
//! | `access_token` | the token to go on with |
//!
//! A field of another kind than expected counts as absent, except a meta.

use instep_model::presence::PresenceError;
use serde_json::{Map, Value, json};

use super::since::Since;

/// Field of a token, in the parameters of a join and in a push that renews it.
pub const TOKEN_FIELD: &str = "access_token";

/// Parameters of a join.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinParams {
    /// Resume point.
    pub since: Since,
    /// Presence key that is claimed, not empty.
    pub key: Option<String>,
    /// Presence meta that others are told.
    pub meta: Result<Map<String, Value>, PresenceError>,
    /// True for a client that is present as soon as it has joined.
    pub tracks: bool,
    /// True for a client of Supabase's, which takes broadcasts of bytes under a name (kind 4).
    pub takes_named: bool,
}

/// Push of the event `presence`.
#[derive(Debug, Clone, PartialEq)]
pub enum PresencePush {
    /// The client is present, with this meta.
    Track(Result<Map<String, Value>, PresenceError>),
    /// It is not present any more.
    Untrack,
}

impl JoinParams {
    /// Reads the parameters of a join.
    #[must_use]
    pub fn read(params: &Value) -> Self {
        let ours = params.get("presence");
        // So joins a client that tracks itself later, by a push.
        let theirs = params.pointer("/config/presence");
        let field = |name: &str| ours.and_then(|ours| ours.get(name));
        let keys = [field("key"), params.get("key"), theirs.and_then(|theirs| theirs.get("key"))];
        let mut texts = keys.into_iter().flatten().filter_map(Value::as_str);
        let is_off = |value: &Value| *value == json!(false) || *value == json!("false");
        let watches = ours.is_some_and(is_off) || field("track").is_some_and(is_off);
        Self {
            since: Since::of(params),
            key: texts.find(|text| !text.is_empty()).map(str::to_owned),
            meta: meta_of(field("meta")),
            tracks: !watches && theirs.is_none(),
            takes_named: params.pointer("/config/broadcast").is_some_and(Value::is_object),
        }
    }
}

impl PresencePush {
    /// Reads a push `{event: "track" | "untrack", payload}`; none for another event.
    #[must_use]
    pub fn read(push: &Value) -> Option<Self> {
        match push.get("event").and_then(Value::as_str) {
            Some("track") => Some(Self::Track(meta_of(push.get("payload")))),
            Some("untrack") => Some(Self::Untrack),
            Some(_) | None => None,
        }
    }
}

/// The token that a join or a push brings along.
#[must_use]
pub fn token_of(payload: &Value) -> Option<&str> {
    payload.get(TOKEN_FIELD).and_then(Value::as_str)
}

/// A meta that was said; nothing said is an empty one.
fn meta_of(said: Option<&Value>) -> Result<Map<String, Value>, PresenceError> {
    match said {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(meta)) => Ok(meta.clone()),
        Some(_) => Err(PresenceError::NoObject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joiner_is_present_under_its_key_unless_it_only_watches() {
        let join = |params: Value| JoinParams::read(&params);
        let key = |params: Value| join(params).key;

        assert_eq!(key(json!({"key": "a"})).as_deref(), Some("a"));
        assert_eq!(key(json!({"key": "a", "presence": {"key": "b"}})).as_deref(), Some("b"));
        assert_eq!(key(json!({"config": {"presence": {"key": "c"}}})).as_deref(), Some("c"));
        assert_eq!(key(json!({"key": ""})), None);
        assert!(join(json!({})).tracks && join(json!({"presence": {"meta": {}}})).tracks);
        for watcher in [
            json!({"presence": false}),
            json!({"presence": "false"}),
            json!({"presence": {"track": false}}),
            json!({"config": {"presence": {"key": ""}}}),
        ] {
            assert!(!join(watcher.clone()).tracks, "{watcher}");
        }
        let meta = join(json!({"presence": {"meta": {"at": "desk"}}})).meta;
        assert_eq!(Value::Object(meta.unwrap()), json!({"at": "desk"}));
        assert_eq!(join(json!({"presence": {"meta": null}})).meta, Ok(Map::new()));
        assert!(join(json!({"presence": {"meta": "desk"}})).meta.is_err(), "it is not dropped");
    }

    #[test]
    fn a_push_about_presence_tracks_untracks_or_is_none() {
        let read = |push: Value| PresencePush::read(&push);

        let track = json!({"event": "track", "payload": {"at": "desk"}});
        let meta = Map::from_iter([("at".to_owned(), json!("desk"))]);
        assert_eq!(read(track), Some(PresencePush::Track(Ok(meta))));
        let bad = json!({"event": "track", "payload": 1});
        assert_eq!(read(bad), Some(PresencePush::Track(Err(PresenceError::NoObject))));
        assert_eq!(read(json!({"event": "untrack"})), Some(PresencePush::Untrack));
        assert_eq!((read(json!({"event": "x"})), read(json!(null))), (None, None));
    }
}
