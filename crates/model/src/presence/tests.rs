use proptest::prelude::*;

use super::*;

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn diff(joins: Value, leaves: Value) -> Option<(&'static str, Value)> {
    Some((DIFF_EVENT, json!({"joins": joins, "leaves": leaves})))
}

fn read(told: &Announcement) -> (&'static str, Value) {
    (told.event, serde_json::from_str(&told.payload).unwrap())
}

impl Presence {
    /// The only message to all subscribers.
    fn told(&mut self) -> Option<(&'static str, Value)> {
        let told = self.tell();
        assert!(told.len() < 2, "{told:?}");
        told.first().map(read)
    }

    /// A greeting that fits one piece.
    fn greeted(&mut self) -> (&'static str, Value) {
        let Greeting { told, rest } = self.greet();
        assert_eq!(rest, None);
        read(&told)
    }
}

#[test]
fn a_joiner_gets_the_whole_list_and_the_others_get_the_joiner() {
    let mut presence = Presence::default();

    presence.track("ann", "1", fields(json!({"at": "desk"}))).unwrap();
    presence.track("ann", "2", Map::new()).unwrap();

    let ann = json!({"ann": {"metas": [{"at": "desk", "phx_ref": "1"}, {"phx_ref": "2"}]}});
    assert_eq!(presence.greeted(), (STATE_EVENT, ann.clone()));
    assert_eq!(presence.told(), diff(ann, json!({})));
    assert_eq!(presence.told(), None);
    assert_eq!((presence.keys(), presence.metas()), (1, 2));
}

#[test]
fn where_only_counts_are_told_no_presence_is_ever_listed() {
    let mut presence = Presence::counting();
    let count = |count, keys| (COUNT_EVENT, json!({"count": count, "keys": keys}));

    presence.track("ann", "1", fields(json!({"at": "desk"}))).unwrap();
    presence.track("ann", "2", Map::new()).unwrap();

    assert_eq!(presence.greeted(), count(2, 1));
    assert_eq!(presence.told(), Some(count(2, 1)));
    assert_eq!(presence.told(), None);
    assert!(presence.untrack("ann", "1") && presence.untrack("ann", "2"));
    assert_eq!(presence.told(), Some(count(0, 0)));
}

#[test]
fn presences_that_come_and_go_between_two_diffs_are_not_told() {
    let mut presence = Presence::default();

    presence.track("ann", "1", Map::new()).unwrap();

    assert!(presence.untrack("ann", "1"));
    assert!(!presence.untrack("ann", "1"));
    assert_eq!(presence.told(), None);
}

#[test]
fn a_presence_that_was_shown_to_a_joiner_is_told_to_leave() {
    let mut presence = Presence::default();
    presence.track("ann", "1", Map::new()).unwrap();
    let _ = presence.greet();

    assert!(presence.untrack("ann", "1"));

    let leaves = json!({"ann": {"metas": [{"phx_ref": "1"}]}});
    assert_eq!(presence.told(), diff(json!({}), leaves));
}

#[test]
fn an_update_is_a_join_that_names_the_ref_that_leaves() {
    let mut presence = Presence::default();
    presence.track("ann", "1", fields(json!({"at": "desk"}))).unwrap();
    let _ = presence.told();

    assert_eq!(presence.update("ann", "1", "2", fields(json!({"phx_ref": "forged"}))), Ok(true));

    let joins = json!({"ann": {"metas": [{"phx_ref": "2", "phx_ref_prev": "1"}]}});
    let leaves = json!({"ann": {"metas": [{"at": "desk", "phx_ref": "1"}]}});
    assert_eq!(presence.told(), diff(joins, leaves));
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
    assert_eq!(
        presence.track("ann", "x", Map::new()),
        Err(PresenceError::TooMany { key: "ann".into(), limit })
    );
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

    let counted = presence.told().unwrap();
    assert_eq!(counted, (COUNT_EVENT, json!({"count": most + 1, "keys": most + 1})));
    assert_eq!(presence.greeted(), counted);
    assert_eq!(presence.told(), None);

    leave(&mut presence, 0..1);
    assert_eq!(presence.told().unwrap().0, COUNT_EVENT);
    leave(&mut presence, 1..most / 2 + 1);
    let (event, listed) = presence.told().unwrap();
    assert_eq!(event, STATE_EVENT);
    assert_eq!(listed.as_object().unwrap().len(), presence.keys());
}

/// State of phoenix.js after states and diffs, reduced to the refs under each key.
#[derive(Default, Debug, PartialEq, Eq)]
struct Client(BTreeMap<String, std::collections::BTreeSet<String>>);

impl Client {
    fn take(&mut self, told: &Announcement) {
        let (event, payload) = read(told);
        match event {
            STATE_EVENT => self.0 = refs(&payload),
            _ => {
                for (key, joined) in refs(&payload["joins"]) {
                    self.0.entry(key).or_default().extend(joined);
                }
                for (key, left) in refs(&payload["leaves"]) {
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

#[test]
fn law_6_lists_are_told_in_pieces_that_add_up_though_presences_come_and_go_between_them() {
    let large = || fields(json!({"filling": "x".repeat(limits::PRESENCE_META_BYTES - 20)}));
    let mut presence = Presence::default();
    for number in 0..100 {
        // Some keys have so many metas that they take several pieces.
        let key = if number % 2 == 0 { "many".to_owned() } else { format!("one-{number}") };
        presence.track(&key, &number.to_string(), large()).unwrap();
    }
    let fits =
        |told: &Announcement| assert!(told.payload.len() <= limits::PRESENCE_PIECE_BYTES + 64);
    let diffs = presence.tell();
    let mut watching = Client::default();
    diffs.iter().for_each(|told| watching.take(told));

    let Greeting { told, mut rest } = presence.greet();
    let (mut joiner, mut behind, mut pieces) = (Client::default(), vec![], 1);
    joiner.take(&told);
    fits(&told);
    while let Some(after) = rest {
        let gone = if pieces % 2 == 0 { 2 * pieces } else { 2 * pieces + 51 };
        let key = if gone % 2 == 0 { "many".to_owned() } else { format!("one-{gone}") };
        assert!(presence.untrack(&key, &gone.to_string()));
        presence.track("one-new", &format!("new-{pieces}"), large()).unwrap();
        // Diffs to all subscribers wait behind the pieces.
        behind.extend(presence.tell());
        let greeting = presence.greet_on(&after).unwrap();
        fits(&greeting.told);
        joiner.take(&greeting.told);
        (rest, pieces) = (greeting.rest, pieces + 1);
    }
    for told in &behind {
        fits(told);
        joiner.take(told);
        watching.take(told);
    }

    assert!(pieces > 5 && diffs.len() > 5, "{pieces} {}", diffs.len());
    let listed: Value = serde_json::from_str(&presence.list(usize::MAX)).unwrap();
    assert_eq!((joiner.0, watching.0), (refs(&listed), refs(&listed)));
    let few: Value = serde_json::from_str(&presence.list(60)).unwrap();
    assert_eq!(refs(&few).values().map(std::collections::BTreeSet::len).sum::<usize>(), 60);
}

proptest! {
    /// Whenever a client joins, the greeting and the diffs after it add up to the presences.
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
                fresh.take(&presence.greet().told);
                client = Some(fresh);
            }
            for told in if tells { presence.tell() } else { vec![] } {
                client.iter_mut().for_each(|client| client.take(&told));
            }
        }
        for told in presence.tell() {
            client.iter_mut().for_each(|client| client.take(&told));
        }
        if let Some(client) = client {
            prop_assert_eq!(client.0, refs(&presence.greeted().1));
        }
    }
}
