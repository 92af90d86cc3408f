//! Bytes of messages between programs: a format byte, then postcard. Decoding is bounded: bytes of
//! the whole, items of its lists, and levels of the JSON in it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits;

/// Error of bytes that are not such a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The message was written by a newer Instep.
    #[error("the message has format {found}, this program reads up to {known}")]
    NewerFormat {
        /// Format of the message.
        found: u8,
        /// Newest format known here.
        known: u8,
    },
    /// The message is over its limit.
    #[error("the message is {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The bytes do not decode.
    #[error("the message does not decode: {0}")]
    Malformed(String),
}

/// The value behind its format byte.
pub(crate) fn encode(format: u8, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![format]).expect("a message always encodes into memory")
}

/// Reads a value back, if it is all that is there.
pub(crate) fn decode<T: DeserializeOwned>(known: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let limit = limits::MESSAGE_BYTES;
    if bytes.len() > limit {
        return Err(CodecError::TooLarge { bytes: bytes.len(), limit });
    }
    let body = match bytes.split_first() {
        Some((found, body)) if *found == known => body,
        Some((&found, _)) if found > known => return Err(CodecError::NewerFormat { found, known }),
        Some(_) | None => return Err(CodecError::Malformed("no format byte".into())),
    };
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(CodecError::Malformed(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(CodecError::Malformed(error.to_string())),
    }
}

/// Reads a list with an item for each operation of a commit.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {}", limits::COMMIT_PROPOSALS)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == limits::COMMIT_PROPOSALS {
                    return Err(A::Error::custom("too many operations"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(List(PhantomData))
}

/// JSON in a message: as its text, because postcard does not say what comes. In JSON it is itself.
pub(crate) mod json_text {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
        S: Serializer,
    {
        if serializer.is_human_readable() {
            return value.serialize(serializer);
        }
        let text = serde_json::to_string(value).map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: DeserializeOwned,
        D: Deserializer<'de>,
    {
        if deserializer.is_human_readable() {
            return T::deserialize(deserializer);
        }
        let text = <&str>::deserialize(deserializer)?;
        serde_json::from_str(text).map_err(D::Error::custom)
    }
}
