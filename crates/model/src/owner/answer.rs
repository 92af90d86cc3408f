//! Answers to proposals, and their bytes.

use serde::{Deserialize, Deserializer, Serialize};

use super::Refusal;
use crate::codec::{self, CodecError};
use crate::position::Position;

/// First byte of every encoded answer: the newest format that this program reads, and the one that
/// it writes.
pub const ANSWER_FORMAT: u8 = 1;

/// The answer to a proposal.
pub type Answer = Result<Receipt, Refusal>;

/// The reply to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Position of the commit.
    pub position: Position,
    /// For each operation the number that it computed, if it did. Empty: none did.
    #[serde(deserialize_with = "results")]
    pub results: Box<[Option<i64>]>,
    /// The reply of an earlier commit with the same id.
    pub replayed: bool,
}

fn results<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[Option<i64>]>, D::Error> {
    codec::list(deserializer).map(Vec::into_boxed_slice)
}

/// The answer as one program hands it to another: a format byte, then postcard.
#[must_use]
pub fn encode_answer(answer: &Answer) -> Vec<u8> {
    codec::encode(ANSWER_FORMAT, answer)
}

/// Reads an answer back.
///
/// # Errors
/// [`CodecError`] when the format is newer, the bytes do not decode, or there are more of them than
/// [`crate::limits::MESSAGE_BYTES`].
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, CodecError> {
    codec::decode(ANSWER_FORMAT, bytes)
}
