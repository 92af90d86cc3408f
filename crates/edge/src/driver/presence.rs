//! Presence of a joiner: what it asks for, and its entry in the presence list.

use std::net::IpAddr;
use std::sync::Arc;

use instep_access::Credential;
use instep_access::principal::ADMIN;
use instep_model::limits;
use instep_model::presence::PresenceError;
use instep_node::{Present, Topic};
use instep_protocol::payload::params::{JoinParams, PresencePush};
use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::permits::{NoPermit, Permit, PermitKind};
use crate::state::EdgeState;

/// The event by which a client says something else of itself, or that it is gone.
pub(super) const EVENT: &str = "presence";

/// Key prefix of clients that show no credential, where tokens are checked.
const UNPROVEN: &str = "anonymous:";
/// Reserved key prefixes. A subject that begins with one gets `token:` in front of it: no two
/// principals have the same key.
const PREFIXES: [&str; 4] = [UNPROVEN, "token:", "key:", "phx_"];

/// A client that wants to join: what it says, and under which key it would be present.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joiner {
    /// Parameters of the join.
    pub(crate) params: JoinParams,
    /// Presence key; none for one of its own.
    key: Option<String>,
    /// Address of the client.
    from: Option<IpAddr>,
    /// Times that the dataset was busy when it was about to join.
    pub(super) tries: u8,
}

/// A joiner's seat on a topic that keeps presence. With it goes who sits there.
pub(crate) struct PresenceHandle {
    key: Option<Box<str>>,
    present: Option<(Present, Permit)>,
    /// Address of the client.
    from: Option<IpAddr>,
}

/// Refusal of a seat.
#[derive(Debug, PartialEq)]
pub(crate) enum PresenceRefusal {
    /// The key or the meta is refused.
    Presence(PresenceError),
    /// Limit of presences that is reached.
    Full(NoPermit),
}

impl Joiner {
    /// Reads the parameters of a join. Who shows a token is present under its subject, whatever
    /// they say.
    pub(crate) fn of(
        params: &Value,
        credential: &Credential,
        edge: &EdgeState,
        from: Option<IpAddr>,
    ) -> Self {
        let principal = credential.principal();
        let subject = principal.claims().get("sub").and_then(Value::as_str);
        let checked = edge.gate().access().tokens.has_keys();
        let whose = match (principal.name(), checked) {
            (_, false) => String::new(),
            (ADMIN, true) => String::new(),
            (_, true) if principal.is_anonymous() => UNPROVEN.to_owned(),
            (name, true) => format!("{name}:"),
        };
        Self { from, ..Self::of_subject(JoinParams::read(params), subject, &whose) }
    }

    /// The key. Where tokens are checked, no client takes the key of a subject by claiming it: a
    /// claimed key is put behind `whose`.
    fn of_subject(params: JoinParams, subject: Option<&str>, whose: &str) -> Self {
        let claimed = || params.key.as_ref().map(|key| format!("{whose}{key}"));
        let is_like = |subject: &str| PREFIXES.iter().any(|prefix| subject.starts_with(prefix));
        let proven = subject.map(|subject| {
            if is_like(subject) { format!("token:{subject}") } else { subject.to_owned() }
        });
        Self { key: proven.or_else(claimed), params, from: None, tries: 0 }
    }
}

impl PresenceHandle {
    /// Takes a seat; none where presence is not kept.
    pub(crate) fn take(
        topic: &Arc<Topic>,
        join: &Joiner,
        edge: &EdgeState,
    ) -> Result<Option<Box<Self>>, PresenceRefusal> {
        if topic.crowd().is_none() {
            return Ok(None);
        }
        let key = join.key.as_deref().map(Box::from);
        let mut presence = Box::new(Self { key, present: None, from: join.from });
        if join.params.tracks {
            presence.track(
                topic,
                join.params.meta.clone().map_err(PresenceRefusal::Presence)?,
                edge,
            )?;
        }
        Ok(Some(presence))
    }

    /// Takes a push of the event `presence`: `{event: "track" | "untrack", payload}`.
    pub(super) fn take_push(
        &mut self,
        topic: &Arc<Topic>,
        push: &Value,
        edge: &EdgeState,
    ) -> Result<(), Refusal> {
        match PresencePush::read(push).ok_or(Refusal::UnknownPresence)? {
            PresencePush::Track(meta) => {
                Ok(self.track(topic, meta.map_err(PresenceRefusal::Presence)?, edge)?)
            }
            PresencePush::Untrack => {
                self.present = None;
                Ok(())
            }
        }
    }

    fn track(
        &mut self,
        topic: &Arc<Topic>,
        meta: Map<String, Value>,
        edge: &EdgeState,
    ) -> Result<(), PresenceRefusal> {
        let said = limits::PRESENCE_SPARED_BYTES
            + self.key.as_ref().map_or(0, |key| key.len())
            + serde_json::to_vec(&meta).map_or(0, |text| text.len());
        match &mut self.present {
            Some((present, permit)) => {
                present.update(meta).map_err(PresenceRefusal::Presence)?;
                permit.weigh(said);
            }
            None => {
                let permit = edge.take_permit(PermitKind::Presence, self.from);
                let mut permit = permit.map_err(PresenceRefusal::Full)?;
                let present = topic.track(self.key.as_deref(), meta);
                let present = present.map_err(PresenceRefusal::Presence)?;
                permit.weigh(said);
                self.present = present.map(|present| (present, permit));
            }
        }
        Ok(())
    }
}

impl PresenceRefusal {
    /// The stable code that clients see.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Presence(error) => error.code(),
            Self::Full(NoPermit::Server) => "overloaded",
            Self::Full(NoPermit::Address) => "too_many_presences",
        }
    }

    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Presence(error) => error.to_string(),
            Self::Full(NoPermit::Server) => "there is no place for another presence".to_owned(),
            Self::Full(NoPermit::Address) => {
                "this address is present as often as it may be; join with `{\"presence\": false}`"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ann() -> JoinParams {
        JoinParams::read(&json!({"key": "ann"}))
    }

    #[test]
    fn no_client_takes_the_key_of_a_subject_by_claiming_it() {
        let key = |subject, whose| Joiner::of_subject(ann(), subject, whose).key.unwrap();

        assert_eq!(key(Some("bob"), ""), "bob", "the subject is the key");
        assert_eq!(key(None, UNPROVEN), "anonymous:ann");
        assert_eq!(key(None, "key:billing:"), "key:billing:ann");
        assert_eq!(key(None, ""), "ann", "where there are no subjects, or of the operator");
        assert_eq!(Joiner::of_subject(JoinParams::read(&json!({})), None, UNPROVEN).key, None);
    }

    #[test]
    fn no_two_principals_have_the_same_presence_key_whatever_they_are_called() {
        let subjects = [
            "ann",
            "anonymous:ann",
            "token:ann",
            "token:anonymous:ann",
            "token:token:anonymous:ann",
            "key:billing:ann",
            "token:key:billing:ann",
            "phx_1",
        ];
        let key = |subject, whose| Joiner::of_subject(ann(), subject, whose).key.unwrap();
        let mut keys: Vec<String> = subjects.map(|subject| key(Some(subject), "")).into();
        keys.extend([key(None, UNPROVEN), key(None, "key:billing:")]);

        let count = keys.len();
        keys.sort();
        keys.dedup();

        assert_eq!(keys.len(), count, "{keys:?}");
    }
}
