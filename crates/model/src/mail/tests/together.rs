//! A batch decides as its commits would one after the other.

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::Fixture;
use crate::commit::Operation;
use crate::limits;
use crate::mail::{Lease, MailOperation, NewMessage, Seq};
use crate::name::Name;
use crate::registration::Generation;

fn operation() -> impl Strategy<Value = Operation> {
    let letter =
        (0..4_u64, any::<bool>(), 0..4_u128, 0..2_u64).prop_map(|(org, named, id, ttl)| {
            Operation::Send(NewMessage {
                queue: Name::new("mail").unwrap(),
                to: format!("org/{org}"),
                body: json!(org),
                id: named.then(|| Uuid::from_u128(id)),
                priority: None,
                ttl_ms: (ttl > 0).then_some(1),
                not_before: None,
                sender: 0,
            })
        });
    let lease = (0..8_u64, 7..9_u64, 1..3_u64).prop_map(|(seq, server, generation)| Lease {
        server: server.to_string().into(),
        generation: Generation(generation),
        seq: Seq(seq),
    });
    let said = (lease, 0..4_u8).prop_map(|(lease, said)| {
        Operation::Mail(match said {
            0 | 1 => MailOperation::Ack(lease),
            2 => MailOperation::Nack { lease, delay_ms: 0, failed: true },
            _ => MailOperation::Reject { lease, reason: "no".into() },
        })
    });
    let server = (7..9_u64).prop_map(|server| server.to_string());
    let other = (server, 0..3_u64, 0..8_u64, 0..6_u8).prop_map(|(server, org, seq, what)| {
        let endpoint = format!("org/{org}");
        match what {
            0 | 1 => Operation::Mail(MailOperation::Register { server }),
            2 => Operation::Move { endpoint, to: server, generation: None },
            3 => Operation::Readdress { endpoint },
            4 => Operation::Retry { seq: Seq(seq) },
            _ => Operation::Mail(MailOperation::Sweep),
        }
    });
    prop_oneof![4 => letter, 4 => said, 2 => other]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_batch_decides_as_its_commits_would_alone(
        proposals in prop::collection::vec(prop::collection::vec(operation(), 1..4), 1..24),
        largest_entry in prop_oneof![Just(limits::LOG_FRAME_BYTES), 150..600_usize],
    ) {
        let (mut together, mut alone) = (Fixture::new(), Fixture::new());
        for house in [&mut together, &mut alone] {
            for server in ["7", "8"] {
                house.register(server);
            }
            for endpoint in ["org/1", "org/2", "org/1"] {
                house.send(endpoint);
            }
            house.log_takes(largest_entry);
        }

        let answers = together.propose_together(proposals.clone());

        for (proposal, answer) in proposals.into_iter().zip(answers) {
            let other = alone.propose(proposal);
            prop_assert_eq!(answer.map(|one| one.results), other.map(|one| one.results));
        }
        prop_assert_eq!(&together.owner.state().mail, &alone.owner.state().mail);
        let entries = &together.entries[6..];
        prop_assert!(entries.iter().all(|entry| entry.len() <= largest_entry));
        together.check_books();
        together.check_copies();
    }
}

#[test]
fn messages_count_among_what_a_commit_becomes() {
    let mut house = Fixture::new();
    let body = json!("x".repeat(200_000));
    let send = json!({"op": "send", "queue": "mail", "to": "org/1", "body": body});

    let refusal = house.commit(json!(vec![send.clone(); 100])).unwrap_err();

    assert_eq!(refusal.code(), "commit_too_large");
    assert!(house.commit(json!([send])).is_ok());
}
