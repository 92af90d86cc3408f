//! Proposals and answers, as one program hands them to another.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Vector, hold, hold_enum, variants_of};
use crate::commit::{CommitId, Condition, Operation, Plain, Proposal};
use crate::mail::{EndpointError, Lease, MailOperation, NewMessage, Seq, sender};
use crate::name::{Key, Name};
use crate::owner::{Answer, Excess, JsonType, Receipt, Refusal, decode_answer, encode_answer};
use crate::position::{Incarnation, Place, Position, Revision};
use crate::registration::Generation;
use crate::row::{Fields, RowError};
use crate::site::{Scope, SiteError, SiteOperation, Stand, Start, Tally};

fn id() -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_7708_890a_0b0c_0d0e_0f10)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key() -> Key {
    Key::new("größe 42/ö").unwrap()
}

fn fields(value: Value) -> Fields {
    value.as_object().cloned().unwrap()
}

fn position() -> Position {
    Position { incarnation: Incarnation(id()), place: Place { revision: Revision(300), index: 7 } }
}

fn letter() -> NewMessage {
    NewMessage {
        queue: name("mail"),
        to: "org/1".into(),
        body: json!({"n": 1.5, "l": [null, u64::MAX, "ä"]}),
        id: Some(id()),
        priority: Some(9),
        ttl_ms: Some(300),
        not_before: None,
        sender: sender("shop"),
    }
}

fn mail_operations() -> Vec<(&'static str, MailOperation)> {
    let lease = || Lease { server: "7".into(), generation: Generation(2), seq: Seq(300) };
    let reason = "why".to_owned();
    vec![
        ("", MailOperation::Register { server: "7".into() }),
        ("", MailOperation::Ack(lease())),
        ("", MailOperation::Nack { lease: lease(), delay_ms: 1_000, failed: true }),
        ("", MailOperation::Reject { lease: lease(), reason }),
        ("", MailOperation::WorkerDied(lease())),
        ("", MailOperation::Route { seq: Seq(300) }),
        ("", MailOperation::Sweep),
        (
            "",
            MailOperation::ForgetServers(vec![
                ("7".into(), Generation(2)),
                ("8".into(), Generation(300)),
            ]),
        ),
    ]
}

/// Every operation, those with options with all of them and with none.
pub(crate) fn operations() -> Vec<(&'static str, Operation)> {
    let (table, journal, queue) = (name("items"), name("trail"), name("mail"));
    let row = fields(json!({"n": 1, "x": -0.0, "l": [{"a": null}]}));
    let add = |min, max| Operation::Add {
        table: name("items"),
        key: key(),
        field: "n".into(),
        by: -1,
        min,
        max,
    };
    let require = |equals, r#where, since| Operation::Require {
        table: name("items"),
        key: key(),
        exists: Some(true),
        equals,
        r#where,
        unchanged_since: since,
    };
    let condition = Condition::compile("row.n > 1 && key != 'ä'").unwrap();
    let append = |text: Option<&str>, base64: Option<&str>| Operation::Append {
        journal: name("trail"),
        text: text.map(str::to_owned),
        base64: base64.map(str::to_owned),
    };
    let bare = NewMessage { id: None, priority: None, ttl_ms: None, body: Value::Null, ..letter() };
    let (endpoint, to) = ("org/1".to_owned(), "7".to_owned());
    vec![
        ("", Operation::Put { table: table.clone(), key: key(), row: row.clone() }),
        ("", Operation::Patch { table: table.clone(), key: key(), fields: row.clone() }),
        ("", Operation::Delete { table: table.clone(), key: key() }),
        ("within bounds", add(Some(0), Some(300))),
        ("without bounds", add(None, None)),
        ("everything", require(Some(row), Some(condition), Some(position()))),
        ("nothing more", require(None, None, None)),
        ("text", append(Some("ä"), None)),
        ("bytes", append(None, Some("AP8="))),
        ("", Operation::CreateTable { table: table.clone(), public: true }),
        ("", Operation::DropTable { table }),
        ("", Operation::CreateJournal { journal }),
        ("", Operation::CreateQueue { queue }),
        ("with everything", Operation::Send(letter())),
        ("with nothing", Operation::Send(bare)),
        ("", Operation::Import(letter())),
        ("", Operation::Move { endpoint: endpoint.clone(), to, generation: Some(3) }),
        ("", Operation::Readdress { endpoint }),
        ("", Operation::Retry { seq: Seq(300) }),
        ("", Operation::Mail(MailOperation::Sweep)),
        ("", Operation::Site(SiteOperation::Remove { site: name("node1") })),
    ]
}

/// Every operation on sites.
fn site_operations() -> Vec<(&'static str, SiteOperation)> {
    let (site, generation, reason) = (name("node1"), Generation(300), "why".to_owned());
    let names = |names: &[&str]| Some(names.iter().map(|text| name(text)).collect());
    let scope = Scope { tables: names(&["items"]), journals: names(&[]) };
    let register = |scope: &Scope, start| SiteOperation::Register {
        site: name("node1"),
        scope: scope.clone(),
        start,
    };
    let (floor, position) = (Revision(300), position());
    let tally = Some(Tally { drift: 3, skipped: 1 });
    let at = Stand { position, record: Some(2) };
    let dump = |since| Start::Dump { source: name("master"), since };
    vec![
        ("at the beginning", register(&scope, Start::Beginning { floor })),
        ("at the head", register(&Scope::default(), Start::Head)),
        ("with a dump", register(&scope, dump(None))),
        ("with a dump under way", register(&scope, dump(Some(position)))),
        ("where it stood", register(&scope, Start::Resume { position: Some(position), floor })),
        ("where its cursor is", register(&scope, Start::Resume { position: None, floor })),
        ("", SiteOperation::Dumping { site: site.clone(), generation }),
        ("", SiteOperation::Ack { site: site.clone(), generation, position, tally }),
        (
            "",
            SiteOperation::Fail {
                site: site.clone(),
                generation,
                reason: reason.clone(),
                needs_dump: true,
                stands: Some(at),
            },
        ),
        ("", SiteOperation::Pause { site: site.clone(), paused: true }),
        ("", SiteOperation::Evict { site: site.clone(), generation, reason: reason.clone() }),
        ("", SiteOperation::Remove { site: site.clone() }),
        ("", SiteOperation::Skip { site: site.clone(), at, reason }),
        ("", SiteOperation::Seek { site, to: position, floor }),
    ]
}

/// Every refusal up to that of a row.
fn refusals_of_rows() -> Vec<(&'static str, Refusal)> {
    let (table, journal, field) = (name("items"), name("trail"), "n");
    let (operation, bytes, limit, detail) = (300, 400, 500, "why".to_owned());
    let too_large = |excess| Refusal::CommitTooLarge { excess, bytes, limit };
    let row = |error| Refusal::Row { operation, error };
    let wrong = |found| Refusal::WrongType {
        operation,
        table: name("items"),
        key: key(),
        field: "n".into(),
        found,
    };
    vec![
        ("", Refusal::Empty),
        ("", Refusal::TooManyOperations { found: 1_001, limit }),
        ("records", too_large(Excess::Records)),
        ("work", too_large(Excess::Work)),
        ("entry", too_large(Excess::Entry)),
        ("", Refusal::TooManyMoves { operation, limit: 300 }),
        ("", Refusal::ExpressionTooCostly { operation, limit: 300 }),
        ("", Refusal::UnknownTable { operation, table: table.clone() }),
        ("", Refusal::UnknownJournal { operation, journal }),
        ("", Refusal::RowNotFound { operation, table: table.clone(), key: key() }),
        ("", Refusal::ConditionFailed { operation, table: table.clone(), key: key(), detail }),
        (
            "",
            Refusal::OutOfBounds {
                operation,
                table,
                key: key(),
                field: field.into(),
                value: i128::from(i64::MIN) - 1,
                min: i64::MIN,
                max: i64::MAX,
            },
        ),
        ("nothing", wrong(JsonType::Nothing)),
        ("null", wrong(JsonType::Null)),
        ("boolean", wrong(JsonType::Boolean)),
        ("number", wrong(JsonType::Number)),
        ("text", wrong(JsonType::Text)),
        ("list", wrong(JsonType::List)),
        ("object", wrong(JsonType::Object)),
        ("large", row(RowError::TooLarge { bytes, limit })),
        ("deep", row(RowError::TooDeep { limit })),
    ]
}

/// Every refusal.
fn refusals() -> Vec<(&'static str, Refusal)> {
    let (operation, bytes, limit, detail) = (300, 400, 500, "why".to_owned());
    let endpoint = |error| Refusal::BadEndpoint { operation, error };
    let no_route = |row| Refusal::NoRoute { operation, endpoint: "app/2".into(), row };
    let mut all = refusals_of_rows();
    all.extend([
        ("", Refusal::BadOperation { operation, detail: detail.clone() }),
        ("", Refusal::TooManyTables { operation, limit }),
        ("", Refusal::UnknownQueue { operation, queue: name("mail") }),
        ("form", endpoint(EndpointError::Form("org".into()))),
        ("kind", endpoint(EndpointError::Kind("org".into()))),
        ("long", endpoint(EndpointError::TooLong { bytes, limit })),
        ("server", endpoint(EndpointError::Server("org/1".into()))),
        ("with a row", no_route(Some("org/2".into()))),
        ("without a row", no_route(None)),
        ("", Refusal::NotMovable { operation, endpoint: "server/7".into() }),
        ("", Refusal::MessageTooLarge { operation, bytes, limit }),
        ("", Refusal::MessageTooDeep { operation, limit }),
        ("", Refusal::MessageConflict { operation, id: id() }),
        ("", Refusal::UnknownMessage { operation, seq: Seq(300) }),
        ("", Refusal::IdConflict),
        ("", Refusal::IdExpired),
        ("", Refusal::IdInvalid),
        ("", Refusal::TooManyPrincipals),
        ("", Refusal::Overloaded),
        ("", Refusal::StorageFull(detail.clone())),
        ("", Refusal::ResourcesExhausted(detail.clone())),
        ("", Refusal::Stopped(detail)),
        ("", Refusal::OutcomeUnknown),
        ("", Refusal::Site { site: name("node1"), error: SiteError::Unknown }),
        ("", Refusal::ReservedName { operation, name: name("instep-sites") }),
    ]);
    all
}

#[test]
fn every_operation_travels_as_it_always_did() {
    let plain: Vec<_> =
        operations().into_iter().map(|(word, operation)| (word, Plain(operation))).collect();

    hold_enum("operations.txt", &plain);
    hold_enum("mail_operations.txt", &mail_operations());
    hold_enum("site_operations.txt", &site_operations());
    assert_eq!(variants_of::<Start>(), ["Beginning", "Head", "Dump", "Resume"]);
}

#[test]
fn every_refusal_travels_as_it_always_did() {
    hold_enum("refusals.txt", &refusals());
    let (newest, head) = (Generation(300), Revision(300));
    let stand = Stand { position: position(), record: None };
    hold_enum(
        "site_errors.txt",
        &[
            ("", SiteError::Unknown),
            ("", SiteError::DumpRequired("why".into())),
            ("", SiteError::Fenced { newest }),
            ("", SiteError::OtherHistory),
            ("", SiteError::Ahead { head }),
            ("", SiteError::OtherScope),
            ("", SiteError::BadSource(name("master"), "why".into())),
            ("", SiteError::ReservedName(name("server"))),
            ("", SiteError::TooMany),
            ("", SiteError::WrongState("paused".into())),
            ("", SiteError::ScopeTooLarge),
            ("", SiteError::StandsElsewhere(Some(stand))),
            ("", SiteError::TooManySkips),
            ("", SiteError::Trimmed { floor: head }),
        ],
    );
    assert_eq!(variants_of::<Excess>(), ["Records", "Work", "Entry"]);
    let held = ["Nothing", "Null", "Boolean", "Number", "Text", "List", "Object"];
    assert_eq!(variants_of::<JsonType>(), held);
    assert_eq!(variants_of::<RowError>(), ["TooLarge", "TooDeep"]);
    assert_eq!(variants_of::<EndpointError>(), ["Form", "Kind", "TooLong", "Server"]);
}

#[test]
fn a_proposal_and_its_answer_travel_as_they_always_did() {
    let commit_id = CommitId { principal: "shop".into(), id: id(), digest: 300, earlier: Some(5) };
    // As many as there were when the vector was written; one that is added has one of its own.
    let operations = operations().into_iter().take(20).map(|(_, one)| one).collect();
    let proposals = [
        ("signed", Proposal { commit_id: Some(commit_id), operations }),
        ("empty", Proposal { commit_id: None, operations: vec![] }),
    ];
    let results = [None, Some(-7)].into();
    let receipt = Receipt { position: position(), results, replayed: false };
    let again = Receipt { results: [].into(), replayed: true, ..receipt.clone() };
    let answers: [(&str, Answer); 3] = [
        ("receipt", Ok(receipt)),
        ("receipt again", Ok(again)),
        ("refusal", Err(Refusal::IdConflict)),
    ];

    let encoded = proposals.each_ref().map(|(name, one)| Vector::new(name, one, one.encode()));
    for (committed, (name, proposal)) in hold("proposals.txt", &encoded).iter().zip(proposals) {
        assert_eq!(Proposal::decode(&committed.bytes), Ok(proposal), "{name}");
    }
    let encoded = answers.each_ref().map(|(name, one)| Vector::new(name, one, encode_answer(one)));
    for (committed, (name, answer)) in hold("answers.txt", &encoded).iter().zip(answers) {
        assert_eq!(decode_answer(&committed.bytes), Ok(answer), "{name}");
    }
}
