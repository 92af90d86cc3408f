//! Moves of one commit: what they become is bounded by what there is to move.

use serde_json::{Value, json};

use super::Fixture;
use crate::mail::MailChange;
use crate::owner::Refusal;

fn moves(count: usize) -> Value {
    let one = |at: usize| {
        let to = if at.is_multiple_of(2) { "8" } else { "7" };
        json!({"op": "move", "endpoint": "org/1", "to": to})
    };
    (0..count).map(one).collect()
}

impl Fixture {
    fn with_pending(count: usize) -> Self {
        let mut house = Self::new();
        for at in (0..count).step_by(500) {
            let send = |number: usize| {
                let to = format!("user/1/{}", number % 50);
                json!({"op": "send", "queue": "mail", "to": to, "body": number})
            };
            let some: Value = (at..(at + 500).min(count)).map(send).collect();
            house.commit(some).unwrap();
        }
        house.changes.clear();
        house
    }
}

#[test]
fn moves_of_one_endpoint_in_one_commit_become_no_more_than_is_there_to_move() {
    let mut house = Fixture::with_pending(4_000);

    let refused = house.commit(moves(1_000));
    assert!(matches!(refused, Err(Refusal::TooManyMoves { .. })), "{refused:?}");
    assert_eq!(house.ready("7").len(), 4_000, "nothing of it happened");
    assert_eq!(house.changes, []);
    // It grows with what there is: a few moves of everything always go.
    house.commit(moves(3)).unwrap();

    assert_eq!(house.ready("8").len(), 4_000);
    let moved = house.changes.iter().filter(|change| matches!(change, MailChange::Ready(_)));
    assert_eq!(moved.count(), 3 * 4_000);
    house.check_books();
    house.check_copies();
}

#[test]
fn moves_to_and_fro_cannot_be_hidden_between_other_operations() {
    let mut house = Fixture::with_pending(4_000);
    let mut operations = moves(400).as_array().unwrap().clone();
    for at in (0..400).rev() {
        operations.insert(at, json!({"op": "readdress", "endpoint": "user/1/0"}));
    }

    let refused = house.commit(Value::Array(operations));

    assert!(matches!(refused, Err(Refusal::TooManyMoves { .. })), "{refused:?}");
}
