//! Ids: numbers for products and items, unguessable texts for carts and orders of shoppers.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// A product. Product ids and item ids do not overlap: a product cannot be bought by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(pub u32);

/// An item: a product in one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub u32);

/// A cart: 64 hex digits from a random source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CartId(Box<str>);

/// The text is not such an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this shop")]
pub struct IdError;

/// Characters of a cart id.
pub const CART_ID_CHARS: usize = 64;

impl CartId {
    /// The cart named by 32 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(HEXLOWER.encode(&bytes).into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CartId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == CART_ID_CHARS && text.bytes().all(is_digit) {
            Ok(Self(text.into()))
        } else {
            Err(IdError)
        }
    }
}

impl fmt::Display for CartId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! number_id {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // `parse` alone would take "+7" and "007", and an id has one text form only.
                let id = text.parse().map(Self).map_err(|_| IdError)?;
                if id.to_string() == text { Ok(id) } else { Err(IdError) }
            }
        }
    };
}

number_id!(ProductId);
number_id!(ItemId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snk_u1_a_cart_id_has_64_hex_digits_and_nothing_else_is_one() {
        let id = CartId::from_random([0xab; 32]);

        assert_eq!(id.as_str().len(), CART_ID_CHARS);
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.as_str()[1..].parse::<CartId>(), Err(IdError));
        assert_eq!("z".repeat(64).parse::<CartId>(), Err(IdError));
    }

    #[test]
    fn snk_r8_a_text_that_is_no_number_is_no_item() {
        assert_eq!("101".parse(), Ok(ItemId(101)));
        for odd in ["", "abc", "-1", "+7", "007", "1e3", "99999999999"] {
            assert_eq!(odd.parse::<ItemId>(), Err(IdError), "{odd}");
        }
    }
}
