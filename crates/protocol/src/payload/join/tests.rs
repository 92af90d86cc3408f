use std::sync::Arc;

use instep_model::feed::{Body, Notice, ROW_EVENT};
use instep_model::name::Key;
use instep_model::position::{Incarnation, Place, Revision};
use instep_model::row::Row;

use super::*;
use crate::payload::rows::{Push, Pushes};

const SMALL: JoinLimits =
    JoinLimits { inline_rows: 2, inline_bytes: 1_000, chunk_rows: 2, chunk_bytes: 1_000 };

fn position(revision: u64) -> Position {
    let place = Place { revision: Revision(revision), index: 0 };
    Position { incarnation: Incarnation(Default::default()), place }
}

/// A join at revision 9 with so many rows, as a feed lists them.
fn joined(mode: Mode, rows: usize) -> Joined {
    let notice = |number: usize| Notice {
        topic: "t".into(),
        event: ROW_EVENT.into(),
        key: Key::new(&format!("k{number}")).unwrap(),
        body: Body::Row(Row::from_canonical(b"{}")),
        position: (number == rows).then(|| position(9)),
    };
    Joined { mode, position: position(9), notices: (1..=rows).map(notice).collect() }
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Position in a reply, whether rows follow, and how many it has.
fn told(mode: Mode, rows: usize, since: Option<Position>) -> (Value, bool, Option<usize>) {
    let Reply { response, is_pending } = reply(&joined(mode, rows), since, SMALL);
    let response = json(&response);
    assert_eq!(response.get("pending").is_some(), is_pending);
    let count = response.get("rows").map(|rows| rows.as_array().unwrap().len());
    (response["position"].clone(), is_pending, count)
}

#[test]
fn i10_a_reply_carries_the_new_position_only_when_it_is_complete_in_itself() {
    let (own, new) = (position(4), serde_json::to_value(position(9)).unwrap());

    assert_eq!(told(Mode::Snapshot, 0, None), (new.clone(), false, Some(0)));
    assert_eq!(told(Mode::Snapshot, 2, None), (new.clone(), false, Some(2)));
    assert_eq!(told(Mode::Reset, 2, Some(own)), (new.clone(), false, Some(2)));
    assert_eq!(told(Mode::Snapshot, 3, None), (Value::Null, true, None));
    assert_eq!(told(Mode::Reset, 3, Some(own)), (Value::Null, true, None));
    assert_eq!(told(Mode::Resume, 0, Some(own)), (new, false, None));
    let own_again = serde_json::to_value(own).unwrap();
    assert_eq!(told(Mode::Resume, 1, Some(own)), (own_again, true, None));
}

#[test]
fn i10_of_what_follows_the_last_push_alone_carries_the_position() {
    let of_join = |mode, rows| Pushes::of_join(joined(mode, rows), SMALL);
    let of_lagged = |mode, rows| Pushes::of_lagged(5, joined(mode, rows));
    let told = |pushes: Pushes| {
        let pushes: Vec<Push> = pushes.collect();
        let (last, before) = pushes.split_last().unwrap();
        assert!(before.iter().all(|push| push.position.is_none()));
        assert!(before.iter().all(|push| json(&push.payload).get("position").is_none()));
        assert_eq!(last.position, Some(position(9)));
        assert_eq!(json(&last.payload)["position"], serde_json::to_value(position(9)).unwrap());
        pushes.iter().map(|push| push.event.to_string()).collect::<Vec<_>>()
    };

    assert_eq!(told(of_join(Mode::Snapshot, 3)), ["snapshot", "snapshot", "bookmark"]);
    assert_eq!(told(of_join(Mode::Resume, 2)), ["row", "row"]);
    assert_eq!(told(of_lagged(Mode::Resume, 2)), ["lagged", "row", "row"]);
    assert_eq!(told(of_lagged(Mode::Resume, 0)), ["lagged", "bookmark"]);
    assert_eq!(told(of_lagged(Mode::Reset, 1)), ["lagged", "row"]);
}

#[test]
fn a_reader_that_lagged_is_told_by_how_much_and_how_it_goes_on() {
    let first = Pushes::of_lagged(5, joined(Mode::Reset, 1)).next().unwrap();

    assert_eq!(json(&first.payload), json!({"missed": 5, "mode": "reset"}));
}

#[test]
fn rows_of_a_reply_are_what_would_have_been_pushed_without_a_position() {
    let Reply { response, .. } = reply(&joined(Mode::Snapshot, 1), None, SMALL);

    let row: Arc<str> = ROW_EVENT.into();
    let payload = json!({"key": "k1", "row": {}});
    assert_eq!(json(&response)["rows"], json!([{"event": &*row, "payload": payload}]));
}
