//! `[[relay]]`: paths of HTTP below which the body of any POST becomes a record of a journal.

use instep_model::limits;
use instep_model::name::Name;
use serde::Deserialize;

use super::{Fault, KeyPath};

/// First parts of paths that are the server's own.
const OWN: &[&str] = &["v1", "socket", "metrics", "healthz", "readyz", "reference"];

/// A relay into a journal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    /// Path that the relay begins with, such as `/hooks/billing`; paths below it are its own, too.
    pub prefix: String,
    /// The dataset.
    pub dataset: Name,
    /// The journal, which exists from the start.
    pub journal: Name,
    /// Any client may post, without a key.
    #[serde(default)]
    pub anyone: bool,
    /// The record is a line of JSON with the path below the prefix, the query and the body.
    #[serde(default)]
    pub envelope: bool,
    /// Largest body.
    #[serde(default = "body_bytes")]
    pub body_bytes: usize,
}

fn body_bytes() -> usize {
    limits::JOURNAL_RECORD_BYTES
}

impl RelayConfig {
    /// The rest of a path that is the prefix, or below it.
    pub(crate) fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(&self.prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

/// Refuses prefixes that are no path, are the server's own or hide each other, and bodies larger
/// than a record.
pub(super) fn check(relays: &[RelayConfig]) -> Result<(), Fault> {
    for (at, relay) in relays.iter().enumerate() {
        let path = |key: &str| KeyPath::new("relay").at(at).key(key);
        if !is_prefix(&relay.prefix) {
            let problem = format!(
                "a path such as \"/hooks/billing\", of a-z 0-9 . _ - between slashes, up to {} \
                 bytes",
                limits::RELAY_PREFIX_BYTES
            );
            return Err(Fault::new(path("prefix"), problem));
        }
        let first = relay.prefix[1..].split('/').next().unwrap_or_default();
        if OWN.contains(&first) {
            return Err(Fault::new(path("prefix"), format!("/{first} is the server's own")));
        }
        let meets = |before: &RelayConfig| {
            before.rest(&relay.prefix).or_else(|| relay.rest(&before.prefix)).is_some()
        };
        if let Some(before) = relays[..at].iter().position(meets) {
            let problem = format!("a path below it would be of {:?} too", relays[before].prefix);
            let before = KeyPath::new("relay").at(before).key("prefix");
            return Err(Fault::new(path("prefix"), problem).with(before));
        }
        if !(1..=limits::JOURNAL_RECORD_BYTES).contains(&relay.body_bytes) {
            let problem = format!("from 1 to {} bytes", limits::JOURNAL_RECORD_BYTES);
            return Err(Fault::new(path("body_bytes"), problem));
        }
    }
    Ok(())
}

fn is_prefix(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        !matches!(part, "" | "." | "..") && part.bytes().all(is_plain)
    };
    let parts = text.strip_prefix('/');
    text.len() <= limits::RELAY_PREFIX_BYTES
        && parts.is_some_and(|parts| parts.split('/').all(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(prefix: &str) -> RelayConfig {
        let [dataset, journal] = ["d", "j"].map(|name| Name::new(name).unwrap());
        let (anyone, envelope, body_bytes) = (false, false, body_bytes());
        RelayConfig { prefix: prefix.to_owned(), dataset, journal, anyone, envelope, body_bytes }
    }

    #[test]
    fn a_relay_has_a_path_of_its_own() {
        let refused = |prefixes: &[&str]| {
            let relays: Vec<_> = prefixes.iter().map(|prefix| relay(prefix)).collect();
            check(&relays).map_err(|fault| fault.to_string()).err()
        };

        assert_eq!(refused(&["/hooks", "/hook", "/in/a", "/in/b.v1"]), None);
        for no_path in ["", "/", "hooks", "/hooks/", "//a", "/a//b", "/A", "/a b", "/%61", "/.."] {
            assert!(refused(&[no_path]).unwrap().contains("a path such as"), "{no_path}");
        }
        assert!(refused(&["/v1/mine"]).unwrap().contains("the server's own"));
        assert!(refused(&["/a", "/a/b"]).unwrap().contains("of \"/a\" too"));
        assert!(refused(&["/a/b", "/a"]).unwrap().contains("of \"/a/b\" too"));
        let large = RelayConfig { body_bytes: 262_145, ..relay("/a") };
        assert!(check(&[large]).unwrap_err().to_string().contains("262144"));
    }

    #[test]
    fn a_relay_takes_its_prefix_and_what_is_below_it() {
        let relay = relay("/hooks/a");

        assert_eq!(relay.rest("/hooks/a"), Some(""));
        assert_eq!(relay.rest("/hooks/a/b/c"), Some("/b/c"));
        assert_eq!(relay.rest("/hooks/ab"), None);
    }
}
