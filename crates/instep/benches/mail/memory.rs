//! Memory of a pending message beside its body, measured in a process that does nothing else.

use bytes::Bytes;
use instep::model::commit::digest;
use instep::model::mail::{Mail, MailRecord, PRIORITY, Seq};
use instep::model::name::Name;
use uuid::Uuid;

use crate::backlog::Backlog;
use crate::machine::resident_bytes;
use crate::program::Program;

/// The argument that makes this program fold messages and say what they take.
pub(crate) const FOLD: &str = "fold";
/// Messages between two states that are published.
const BATCH: usize = 1_000;

/// Bytes for each of so many pending messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folded {
    /// With ids that their senders gave.
    pub(crate) given_ids: u64,
    /// With ids that were derived.
    pub(crate) derived_ids: u64,
}

/// Measures in processes of their own.
pub(crate) fn folded(backlog: Backlog) -> Folded {
    let each = |ids: &str| {
        let pending = backlog.pending.to_string();
        let mut program = Program::start(&[FOLD.as_ref(), ids.as_ref(), pending.as_ref()]);
        program.line().parse().expect("a number")
    };
    Folded { given_ids: each("given"), derived_ids: each("derived") }
}

/// Such a process from inside.
#[expect(clippy::print_stdout, reason = "the bench reads it")]
pub(crate) fn fold(ids: &str, pending: &str) {
    let pending = pending.parse().expect("a number of messages");
    let queue = Name::new("mail").expect("a name");
    let mut mail = Mail::default();
    mail.apply(MailRecord::Queue { queue: queue.clone() }, 0, &mut |_| {});
    let before = resident_bytes();
    let mut published = mail.clone();
    for (seq, message) in (1..).zip(Backlog { pending }.messages()) {
        let id = match ids {
            "derived" => derived(seq),
            _ => message.id(),
        };
        let record = MailRecord::Stored {
            seq: Seq(seq),
            queue: queue.clone(),
            id,
            to: format!("org/{}", message.org),
            server: Some(message.server.to_string()),
            via: Some(format!("org/{}", message.org)),
            generation: 1,
            priority: PRIORITY,
            not_before: 0,
            expires: 0,
            digest: digest(&seq.to_le_bytes()),
            body: Bytes::new(),
        };
        assert!(mail.apply(record, 1_700_000_000_000 + seq, &mut |_| {}));
        if message.number.is_multiple_of(BATCH) {
            published = mail.clone();
        }
    }
    assert!(published.last() <= mail.last());
    drop(published);
    println!("{}", (resident_bytes() - before) / pending as u64);
}

/// An id of the form that the server gives: it says its number.
fn derived(seq: u64) -> Uuid {
    let bits = u128::from(digest(&seq.to_le_bytes())) << 64 | u128::from(seq);
    uuid::Builder::from_custom_bytes(bits.to_be_bytes()).into_uuid()
}
