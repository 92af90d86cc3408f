//! A dataset without disk and time: the real owner, fed by hand.

use instep::model::commit::{Operation, Proposal};
use instep::model::log::AppendError;
use instep::model::mirror::{EntryChanges, Mirror};
use instep::model::owner::{Effect, Event, Owner, Receipt, Refusal};
use instep::model::position::Incarnation;
use instep::model::state::{Change, State, Tables};
use uuid::Uuid;

use crate::ids::CartId;
use crate::{seed, tables};

pub(crate) struct Memory {
    owner: Owner<()>,
    /// Everything that changed, in order.
    pub(crate) changes: Vec<Change>,
}

impl Memory {
    /// The default catalogue with `stock` of each item.
    pub(crate) fn seeded(stock: i64) -> Self {
        let mirror = Mirror::new(Incarnation(Uuid::from_u128(1)), State::default());
        let owner = Owner::new(mirror, Uuid::from_u128(2));
        let mut memory = Self { owner, changes: vec![] };
        let create = tables::ALL
            .map(|table| Operation::CreateTable { table: tables::name(table), public: false });
        memory.commit(create.into()).unwrap();
        for operations in seed::plans(&memory.tables(), &seed::catalogue(), stock).unwrap() {
            memory.commit(operations).unwrap();
        }
        memory
    }

    pub(crate) fn commit(&mut self, operations: Vec<Operation>) -> Result<Receipt, Refusal> {
        self.propose(operations.into())
    }

    pub(crate) fn propose(&mut self, proposal: Proposal) -> Result<Receipt, Refusal> {
        let now_ms = 1_000;
        let ticket = ();
        self.owner.handle(Event::Propose { ticket, proposal }, now_ms);
        while let Some(effect) = self.owner.next_effect() {
            match effect {
                Effect::Append { .. } => self.owner.handle(Event::Appended, now_ms),
                Effect::Publish(EntryChanges { commits, .. }) => {
                    self.changes.extend(commits.into_iter().flat_map(|commit| commit.changes));
                }
                Effect::Answer { answer, .. } => return answer,
                Effect::Stop { reason } => panic!("{reason}"),
            }
        }
        Err(Refusal::StorageFull(AppendError::Unknown("no answer".into()).to_string()))
    }

    pub(crate) fn tables(&self) -> Tables {
        self.owner.state().tables.clone()
    }
}

pub(crate) fn cart_id(number: u8) -> CartId {
    CartId::from_random([number; 32])
}

pub(crate) fn order_id(number: u8) -> Uuid {
    Uuid::from_u128((1_000 << 80) | (7 << 76) | (0b10 << 62) | u128::from(number))
}
