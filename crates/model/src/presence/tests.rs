use proptest::prelude::*;

use super::*;

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn diff(joins: Value, leaves: Value) -> Option<Told> {
    Some(Told { event: DIFF_EVENT, payload: json!({"joins": joins, "leaves": leaves}) })
}

#[test]
fn a_joiner_gets_everybody_and_the_others_get_the_joiner() {
    let mut presence = Presence::default();

    presence.track("ann", "1", fields(json!({"at": "desk"}))).unwrap();
    presence.track("ann", "2", Map::new()).unwrap();

    let ann = json!({"ann": {"metas": [{"at": "desk", "phx_ref": "1"}, {"phx_ref": "2"}]}});
    assert_eq!(presence.greet(), Told { event: STATE_EVENT, payload: ann.clone() });
    assert_eq!(presence.tell(), diff(ann, json!({})));
    assert_eq!(presence.tell(), None);
    assert_eq!((presence.keys(), presence.metas()), (1, 2));
}

#[test]
fn where_only_counts_are_told_nobody_is_ever_listed() {
    let mut presence = Presence::counting();
    let count =
        |count, keys| Told { event: COUNT_EVENT, payload: json!({"count": count, "keys": keys}) };

    presence.track("ann", "1", fields(json!({"at": "desk"}))).unwrap();
    presence.track("ann", "2", Map::new()).unwrap();

    assert_eq!(presence.greet(), count(2, 1));
    assert_eq!(presence.tell(), Some(count(2, 1)));
    assert_eq!(presence.tell(), None);
    assert!(presence.untrack("ann", "1") && presence.untrack("ann", "2"));
    assert_eq!(presence.tell(), Some(count(0, 0)));
}

#[test]
fn who_comes_and_goes_between_two_diffs_is_not_told() {
    let mut presence = Presence::default();

    presence.track("ann", "1", Map::new()).unwrap();

    assert!(presence.untrack("ann", "1"));
    assert!(!presence.untrack("ann", "1"));
    assert_eq!(presence.tell(), None);
}

#[test]
fn who_was_shown_to_a_joiner_is_told_to_leave() {
    let mut presence = Presence::default();
    presence.track("ann", "1", Map::new()).unwrap();
    let _ = presence.greet();

    assert!(presence.untrack("ann", "1"));

    let leaves = json!({"ann": {"metas": [{"phx_ref": "1"}]}});
    assert_eq!(presence.tell(), diff(json!({}), leaves));
}

#[test]
fn an_update_is_a_join_that_names_the_ref_that_leaves() {
    let mut presence = Presence::default();
    presence.track("ann", "1", fields(json!({"at": "desk"}))).unwrap();
    let _ = presence.tell();

    assert_eq!(presence.update("ann", "1", "2", fields(json!({"phx_ref": "forged"}))), Ok(true));

    let joins = json!({"ann": {"metas": [{"phx_ref": "2", "phx_ref_prev": "1"}]}});
    let leaves = json!({"ann": {"metas": [{"at": "desk", "phx_ref": "1"}]}});
    assert_eq!(presence.tell(), diff(joins, leaves));
    assert_eq!(presence.update("ann", "1", "3", Map::new()), Ok(false));
}

#[test]
fn law_6_keys_metas_and_their_number_are_bounded() {
    let mut presence = Presence::default();
    let long = "k".repeat(limits::PRESENCE_KEY_BYTES + 1);
    let large = fields(json!({"m": "m".repeat(limits::PRESENCE_META_BYTES)}));
    let limit = limits::PRESENCE_METAS_PER_KEY;
    (0..limit).for_each(|n| presence.track("ann", &n.to_string(), Map::new()).unwrap());

    let key = PresenceError::Key { limit: limits::PRESENCE_KEY_BYTES };
    assert_eq!(presence.track(&long, "x", Map::new()), Err(key.clone()));
    assert_eq!(presence.track("", "x", Map::new()), Err(key));
    assert!(matches!(presence.track("bob", "x", large), Err(PresenceError::Meta { .. })));
    assert_eq!(presence.track("ann", "x", Map::new()), Err(PresenceError::TooMany { limit }));
    assert_eq!(presence.update("ann", "0", "y", Map::new()), Ok(true));
}

#[test]
fn a_crowd_is_counted_and_listed_again_when_half_of_it_is_gone() {
    let mut presence = Presence::default();
    let most = limits::PRESENCE_LISTED;
    (0..=most).for_each(|n| presence.track(&n.to_string(), &n.to_string(), Map::new()).unwrap());
    let leave = |presence: &mut Presence, keys: std::ops::Range<usize>| {
        keys.for_each(|n| assert!(presence.untrack(&n.to_string(), &n.to_string())));
    };

    let counted = presence.tell().unwrap();
    assert_eq!(counted.event, COUNT_EVENT);
    assert_eq!(counted.payload, json!({"count": most + 1, "keys": most + 1}));
    assert_eq!(presence.greet(), counted);
    assert_eq!(presence.tell(), None);

    leave(&mut presence, 0..1);
    assert_eq!(presence.tell().unwrap().event, COUNT_EVENT);
    leave(&mut presence, 1..most / 2 + 1);
    let listed = presence.tell().unwrap();
    assert_eq!(listed.event, STATE_EVENT);
    assert_eq!(listed.payload.as_object().unwrap().len(), presence.keys());
}

/// What phoenix.js makes of states and diffs, reduced to the refs under each key.
#[derive(Default, Debug, PartialEq, Eq)]
struct Client(BTreeMap<String, std::collections::BTreeSet<String>>);

impl Client {
    fn take(&mut self, told: &Told) {
        match told.event {
            STATE_EVENT => self.0 = refs(&told.payload),
            _ => {
                for (key, joined) in refs(&told.payload["joins"]) {
                    self.0.entry(key).or_default().extend(joined);
                }
                for (key, left) in refs(&told.payload["leaves"]) {
                    let under = self.0.entry(key).or_default();
                    under.retain(|reference| !left.contains(reference));
                }
                self.0.retain(|_, refs| !refs.is_empty());
            }
        }
    }
}

fn refs(metas: &Value) -> BTreeMap<String, std::collections::BTreeSet<String>> {
    let of = |value: &Value| {
        let metas = value["metas"].as_array().unwrap();
        metas.iter().map(|meta| meta["phx_ref"].as_str().unwrap().to_owned()).collect()
    };
    metas.as_object().unwrap().iter().map(|(key, value)| (key.clone(), of(value))).collect()
}

proptest! {
    /// Whenever a client joins, the greeting and the diffs after it add up to who is here.
    #[test]
    fn a_greeting_and_the_diffs_after_it_add_up(
        steps in proptest::collection::vec((0..4_u8, 0..3_usize, any::<bool>()), 1..60),
        joins_at in 0..60_usize,
    ) {
        let mut presence = Presence::default();
        let mut refs_in_use: Vec<(String, String)> = Vec::new();
        let mut client = None;
        for (number, (what, key, tells)) in steps.into_iter().enumerate() {
            let next = number.to_string();
            match (what, refs_in_use.is_empty()) {
                (0 | 1, _) | (_, true) => {
                    let key = format!("k{key}");
                    presence.track(&key, &next, Map::new()).unwrap();
                    refs_in_use.push((key, next));
                }
                (2, false) => {
                    let at = key % refs_in_use.len();
                    let (key, old) = refs_in_use[at].clone();
                    prop_assert_eq!(presence.update(&key, &old, &next, Map::new()), Ok(true));
                    refs_in_use[at] = (key, next);
                }
                _ => {
                    let (key, old) = refs_in_use.swap_remove(key % refs_in_use.len());
                    prop_assert!(presence.untrack(&key, &old));
                }
            }
            if number == joins_at {
                let mut fresh = Client::default();
                fresh.take(&presence.greet());
                client = Some(fresh);
            }
            if tells && let Some(told) = presence.tell() {
                client.iter_mut().for_each(|client| client.take(&told));
            }
        }
        if let Some(told) = presence.tell() {
            client.iter_mut().for_each(|client| client.take(&told));
        }
        if let Some(client) = client {
            prop_assert_eq!(client.0, refs(&presence.greet().payload));
        }
    }
}
