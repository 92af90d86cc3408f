//! Reserved names: topics, events and tables of the server itself. One list for every publisher:
//! HTTP, sockets, TCP, long-poll, the Janus wire, applications, and the events of views.

/// Beginnings of events that belong to the protocol. `phx_close` would end the channels of all
/// subscribers, `chan_reply_7` would pass for the reply to request 7.
const EVENT_PREFIXES: [&str; 2] = ["phx_", "chan_reply_"];

/// Events that the server itself tells readers of topics, at one door or another.
pub const EVENTS: [&str; 16] = [
    "access_ended",
    "bookmark",
    "close",
    "ended",
    "error",
    "gap",
    "heartbeat",
    "joined",
    "lagged",
    "leave",
    "presence_count",
    "presence_diff",
    "presence_state",
    "replaced",
    "reset",
    "snapshot",
];

/// Fields that the server itself puts beside the visible fields of a row.
pub const FIELDS: [&str; 2] = ["key", "position"];

/// First parts of topics that the server itself makes.
const TOPIC_PREFIXES: [&str; 4] = ["table:", "server:", "mail:", "phoenix"];

/// Beginnings of names of tables, journals and queues that only the server itself writes. Agents of
/// sites have tables of their own in the databases that they apply to.
const NAME_PREFIXES: [&str; 2] = ["instep-", "instep_"];

/// Returns true if only the server itself makes and writes a table, journal or queue of this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    NAME_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns true if a topic is the server's own: no view announces rows there, and no live pattern
/// has it, not even one that is shorter than the prefix.
#[must_use]
pub fn is_topic(topic: &str) -> bool {
    TOPIC_PREFIXES.iter().any(|prefix| topic.starts_with(prefix))
}

/// Returns true if an event belongs to the protocol of channels: no client may even push it.
#[must_use]
pub fn is_protocol_event(event: &str) -> bool {
    EVENT_PREFIXES.iter().any(|prefix| event.starts_with(prefix))
}

/// Returns true if only the server itself may tell this event: no publisher may, and no view.
#[must_use]
pub fn is_event(event: &str) -> bool {
    is_protocol_event(event) || EVENTS.contains(&event)
}

/// The name under which a row's own field travels beside the server's: a name that is the
/// server's, behind any number of underscores, gets one more, so that no two fields meet.
#[must_use]
pub fn field_name(name: &str) -> std::borrow::Cow<'_, str> {
    if FIELDS.contains(&name.trim_start_matches('_')) {
        format!("_{name}").into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{feed, live};

    #[test]
    fn a_field_that_is_the_servers_travels_behind_an_underscore_and_meets_no_other() {
        for (own, told) in [
            ("position", "_position"),
            ("_position", "__position"),
            ("key", "_key"),
            ("positions", "positions"),
            ("_id", "_id"),
        ] {
            assert_eq!(field_name(own), told);
        }
    }

    #[test]
    fn whatever_the_server_says_is_reserved_and_the_words_of_a_chat_are_not() {
        let rows = [feed::BOOKMARK_EVENT, feed::LEAVE_EVENT, feed::SNAPSHOT_EVENT];
        let ours = EVENTS.into_iter().chain(["phx_reply", "phx_", "chan_reply_7"]).chain(rows);
        for event in ours.chain(live::UNCOUNTED_EVENTS.iter().copied()) {
            assert!(is_event(event), "{event}");
        }
        for event in ["said", "message", "broadcast", "presence", "row", "open", "Leave", "left"] {
            assert!(!is_event(event), "{event}");
        }
    }
}
