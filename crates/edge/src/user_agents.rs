//! User agents of clients, interned: each is kept once, however many clients send it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use instep_model::limits;

/// Set of the user agents in use.
#[derive(Debug, Default)]
pub(crate) struct UserAgents(Mutex<HashSet<Arc<str>>>);

impl UserAgents {
    /// Returns the client's user agent, cut where it is too long; none where it sends none, or
    /// where too many different ones are in use.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let said = headers.get(header::USER_AGENT)?.to_str().ok()?;
        let said = said.get(..limits::AGENT_BYTES).unwrap_or(said);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = known.get(said) {
            return Some(Arc::clone(agent));
        }
        if known.len() >= limits::AGENTS {
            known.retain(|agent| Arc::strong_count(agent) > 1);
        }
        let agent: Arc<str> = said.into();
        (known.len() < limits::AGENTS && known.insert(Arc::clone(&agent))).then_some(agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(agent: &str) -> HeaderMap {
        [(header::USER_AGENT, agent.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn law_6_a_name_is_kept_once_while_a_client_has_it_and_never_too_many() {
        let user_agents = UserAgents::default();
        let first = user_agents.of(&headers("a")).unwrap();

        let again = user_agents.of(&headers("a")).unwrap();
        let others: Vec<_> =
            (0..limits::AGENTS).map(|n| user_agents.of(&headers(&format!("other {n}")))).collect();

        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(others.iter().flatten().count(), limits::AGENTS - 1);
        drop(others);
        assert!(user_agents.of(&headers("new")).is_some());
        let long = user_agents.of(&headers(&"x".repeat(limits::AGENT_BYTES + 1))).unwrap();
        assert_eq!(long.len(), limits::AGENT_BYTES);
    }
}
