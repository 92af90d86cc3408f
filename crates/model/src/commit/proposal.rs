//! Proposals: operations that happen together or not at all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize, Serializer};

use super::operation::Plain;
use super::{CommitId, Need, Operation};
use crate::codec::{self, CodecError};

/// First byte of every encoded proposal: the newest format that this program reads, and the one
/// that it writes.
pub const PROPOSAL_FORMAT: u8 = 1;

/// Operations that become visible together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Under which id. Without one a retry may take effect twice.
    pub commit_id: Option<CommitId>,
    /// The operations, in order.
    pub operations: Vec<Operation>,
}

/// Operations without an id.
impl From<Vec<Operation>> for Proposal {
    fn from(operations: Vec<Operation>) -> Self {
        Self { commit_id: None, operations }
    }
}

/// A proposal in bytes. What versions before called the same operations travels with its signature.
#[derive(Serialize)]
struct Sent<'a> {
    commit_id: Option<(&'a CommitId, Option<u64>)>,
    #[serde(serialize_with = "write_all")]
    operations: &'a [Operation],
}

/// The same as it arrives.
#[derive(Deserialize)]
struct Received {
    commit_id: Option<(CommitId, Option<u64>)>,
    #[serde(deserialize_with = "codec::list")]
    operations: Vec<Plain>,
}

fn write_all<S: Serializer>(operations: &[Operation], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(operations.iter().map(Plain))
}

impl Proposal {
    /// The proposal as one program hands it to another: a format byte, then postcard. Conditions
    /// are in it as their source.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let commit_id = self.commit_id.as_ref().map(|commit_id| (commit_id, commit_id.earlier));
        codec::encode(PROPOSAL_FORMAT, &Sent { commit_id, operations: &self.operations })
    }

    /// Reads a proposal back. Its values are checked by the owner, when it decides.
    ///
    /// # Errors
    /// [`CodecError`] when the format is newer, the bytes do not decode, or there are more of them
    /// than [`crate::limits::MESSAGE_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let Received { commit_id, operations } = codec::decode(PROPOSAL_FORMAT, bytes)?;
        let commit_id = commit_id.map(|(commit_id, earlier)| CommitId { earlier, ..commit_id });
        let operations = operations.into_iter().map(|Plain(operation)| operation).collect();
        Ok(Self { commit_id, operations })
    }

    /// The rights that it needs, each once.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<Need<'_>> {
        self.operations.iter().map(Operation::need).collect()
    }

    /// True when it stores messages.
    #[must_use]
    pub fn stores_mail(&self) -> bool {
        let stores =
            |operation: &Operation| matches!(operation, Operation::Send(_) | Operation::Import(_));
        self.operations.iter().any(stores)
    }

    /// About how many bytes the proposal takes while it waits.
    #[must_use]
    pub fn weight(&self) -> usize {
        let operations = self.operations.iter().map(Operation::weight);
        operations.map(|bytes| bytes + size_of::<Operation>()).sum::<usize>() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::commit::Condition;
    use crate::golden::messages::operations;
    use crate::limits;
    use crate::mail::{Seq, sender};
    use crate::name::{Key, Name};
    use crate::row::Fields;

    fn value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            number,
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(8, 64, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect::<Fields>().into()),
            ]
        })
    }

    fn fields() -> impl Strategy<Value = Fields> {
        prop::collection::btree_map(any::<String>(), value(), 0..4)
            .prop_map(|fields| fields.into_iter().collect())
    }

    /// Any operation, with other values in those that hold any.
    fn operation() -> impl Strategy<Value = Operation> {
        let kind = prop::sample::select(operations());
        (kind, fields(), value(), any::<u64>()).prop_map(|((_, mut operation), other, body, n)| {
            match &mut operation {
                Operation::Put { row: fields, .. } | Operation::Patch { fields, .. } => {
                    *fields = other;
                }
                Operation::Require { equals, .. } => *equals = Some(other),
                Operation::Send(letter) | Operation::Import(letter) => {
                    (letter.body, letter.sender) = (body, n);
                }
                _ => {}
            }
            operation
        })
    }

    fn proposal() -> impl Strategy<Value = Proposal> {
        let commit_id = (any::<String>(), any::<u128>(), any::<u64>(), any::<Option<u64>>())
            .prop_map(|(principal, id, digest, earlier)| CommitId {
                principal,
                id: Uuid::from_u128(id),
                digest,
                earlier,
            });
        let operations = prop::collection::vec(operation(), 0..8);
        (prop::option::of(commit_id), operations)
            .prop_map(|(commit_id, operations)| Proposal { commit_id, operations })
    }

    proptest! {
        #[test]
        fn a_proposal_comes_back_from_its_bytes(proposal in proposal()) {
            prop_assert_eq!(Proposal::decode(&proposal.encode()), Ok(proposal));
        }

        #[test]
        fn bytes_that_are_no_proposal_are_refused(
            proposal in proposal(),
            at: prop::sample::Index,
            with: u8,
            rest in prop::collection::vec(any::<u8>(), 1..9),
        ) {
            let mut bytes = proposal.encode();
            let length = bytes.len();
            prop_assert!(Proposal::decode(&bytes[..at.index(length)]).is_err());
            prop_assert!(Proposal::decode(&[&bytes[..], &rest].concat()).is_err());
            bytes[at.index(length)] = with;
            if let Ok(other) = Proposal::decode(&bytes) {
                prop_assert_eq!(Proposal::decode(&other.encode()), Ok(other));
            }
        }
    }

    #[test]
    fn an_operation_is_the_same_in_json_and_in_bytes() {
        for (_, operation) in operations() {
            let Ok(mut json) = Operation::read(&in_json(&operation)) else {
                assert!(
                    matches!(operation, Operation::Mail(_) | Operation::Site(_)),
                    "{operation:?}"
                );
                continue;
            };
            if let Operation::Send(letter) | Operation::Import(letter) = &mut json {
                letter.sender = sender("shop");
            }
            let proposal = Proposal::from(vec![json]);
            let read = Proposal::decode(&proposal.encode()).unwrap();
            assert_eq!(read, Proposal::from(vec![operation]));
        }
    }

    /// The JSON that a client writes: the fields that hold something, and the word.
    fn in_json(operation: &Operation) -> String {
        let named = serde_json::to_value(Plain(operation)).unwrap();
        let (op, fields) = named.as_object().unwrap().iter().next().unwrap();
        // A letter stands beside its sender.
        let fields = fields.get(0).unwrap_or(fields).as_object().cloned().unwrap_or_default();
        let is_said = |(name, value): &(String, Value)| name == "body" || !value.is_null();
        let mut fields: Fields = fields.into_iter().filter(is_said).collect();
        fields.insert("op".into(), json!(op));
        Value::from(fields).to_string()
    }

    #[test]
    fn a_proposal_is_bounded_in_bytes_operations_and_levels() {
        let retries =
            |count| Proposal::from(vec![Operation::Retry { seq: Seq(1) }; count]).encode();
        let (table, key) = (Name::new("t").unwrap(), Key::new("k").unwrap());
        let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
        let row = Fields::from_iter([("a".to_owned(), deep)]);
        let deep = Proposal::from(vec![Operation::Put { table, key, row }]).encode();
        let limit = limits::MESSAGE_BYTES;

        assert!(Proposal::decode(&retries(limits::COMMIT_PROPOSALS)).is_ok());
        let too_many = Proposal::decode(&retries(limits::COMMIT_PROPOSALS + 1));
        assert!(matches!(too_many, Err(CodecError::Malformed(_))), "{too_many:?}");
        assert!(matches!(Proposal::decode(&deep), Err(CodecError::Malformed(_))));
        let large = vec![PROPOSAL_FORMAT; limit + 1];
        let too_large = CodecError::TooLarge { bytes: limit + 1, limit };
        assert_eq!(Proposal::decode(&large), Err(too_large));
        let newer = CodecError::NewerFormat { found: 2, known: 1 };
        assert_eq!(Proposal::decode(&[2, 0, 0]), Err(newer));
    }

    #[test]
    fn a_condition_that_does_not_compile_travels_and_is_for_the_owner_to_refuse() {
        let condition = |source: &str| Operation::Require {
            table: Name::new("t").unwrap(),
            key: Key::new("k").unwrap(),
            exists: None,
            equals: None,
            r#where: Some(Condition::compile(source).unwrap()),
            unchanged_since: None,
        };
        let bytes = Proposal::from(vec![condition("row.n > 1")]).encode();
        let at = bytes.windows(3).position(|three| three == b"row").unwrap();
        let spoilt = [&bytes[..at], b"rwo", &bytes[at + 3..]].concat();

        let Proposal { operations, .. } = Proposal::decode(&spoilt).unwrap();

        let Operation::Require { r#where: Some(read), .. } = operations[0].clone() else {
            panic!("another operation: {operations:?}");
        };
        assert_eq!(read.source(), "rwo.n > 1");
        assert!(read.expression().unwrap_err().message.contains("unknown name"));
    }
}
