//! Mail in a snapshot.

use uuid::Uuid;

use super::{hold_enum, variants_of};
use crate::mail::{EndpointNo, MailPart, Message, QueueState, Seq, ServerNo, ServerState, Status};
use crate::name::Name;
use crate::registration::Generation;

fn message(status: Status) -> Message {
    Message {
        id: Uuid::from_u128(0x0102_0304_0506_7708_890a_0b0c_0d0e_0f10),
        digest: u64::MAX,
        stored_ms: 1_700_000_000_000,
        not_before: 1_700_000_000_001,
        expires: 1_700_000_000_002,
        endpoint: EndpointNo(3),
        server: ServerNo::NOWHERE,
        generation: 4,
        body_bytes: 500,
        attempts: 600,
        queue: 7,
        priority: 9,
        status,
    }
}

#[test]
fn every_part_of_mail_in_a_snapshot_is_stored_as_it_always_was() {
    let queue = QueueState {
        name: Name::new("mail").unwrap(),
        stored: 1,
        confirmed: 2,
        expired: 3,
        given_up: 4,
        pending: 5,
        unrouted: 6,
        dead: 7,
        kept: 300,
    };
    let server = ServerState { server: "7".into(), generation: Generation(8), pending: 9, held: 0 };
    let parts = [
        ("", MailPart::Queue(queue)),
        ("", MailPart::Server(server)),
        ("", MailPart::Endpoint("org/1".into(), EndpointNo(300))),
        ("pending", MailPart::Message(Seq(1), message(Status::Pending), None)),
        ("dead", MailPart::Message(Seq(2), message(Status::Dead), Some("why".into()))),
        ("confirmed", MailPart::Message(Seq(3), message(Status::Confirmed), None)),
        ("expired", MailPart::Message(Seq(4), message(Status::Expired), None)),
        ("", MailPart::Last(Seq(300))),
        ("", MailPart::Delayed(Seq(5), 1_700_000_000_000)),
        ("", MailPart::Overtaken(Seq(6), 1_700_000_000_000)),
        ("", MailPart::SentBy(Seq(7), u64::MAX)),
        ("", MailPart::VacantServer),
        ("", MailPart::VacantEndpoint),
        ("", MailPart::Generations(Generation(300))),
    ];

    hold_enum("mail_parts.txt", &parts);
    assert_eq!(variants_of::<Status>(), ["Pending", "Dead", "Confirmed", "Expired"]);
}
