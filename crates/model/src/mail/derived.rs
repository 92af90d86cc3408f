//! Ids of messages that come without one. They say the number of their message, so that no index
//! need remember them:
//!
//! ```text
//!  digest of incarnation and number · version 8 · variant · number
//!  60 bits                                                  62 bits
//! ```

use uuid::{Builder, Uuid};

use super::Seq;
use crate::commit::digest;

const NUMBER: u64 = (1 << 62) - 1;

/// Id of a message that came without one: the same on every node.
pub(crate) fn derived_id(incarnation: &Uuid, seq: Seq) -> Uuid {
    let (high, low) = incarnation.as_u64_pair();
    let first = digest(&[high.to_le_bytes(), low.to_le_bytes(), seq.0.to_le_bytes()].concat());
    let bytes = u128::from(first) << 64 | u128::from(seq.0 & NUMBER);
    Builder::from_custom_bytes(bytes.to_be_bytes()).into_uuid()
}

/// The number that an id says, if it is derived; whose id it is must be looked up.
pub(crate) fn number_in(id: &Uuid) -> Seq {
    Seq(id.as_u64_pair().1 & NUMBER)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn derived_ids_are_uuids_of_their_own_and_say_their_numbers() {
        let mut all = BTreeSet::new();
        for incarnation in [1, 2, u128::MAX] {
            for seq in [1, 2, 1 << 32, NUMBER].map(Seq) {
                let id = derived_id(&Uuid::from_u128(incarnation), seq);

                assert_eq!(number_in(&id), seq);
                assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
                assert!(all.insert(id));
            }
        }
    }
}
