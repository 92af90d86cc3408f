//! The Janus door: the wire of 2009, kept for its clients.
//!
//! A client subscribes to live topics over plain TCP and gets every message once; another one
//! publishes and is closed. The form of frames is in [`codec`], their meaning in [`request`], the
//! state machine in [`session`].

pub mod codec;
pub mod request;
pub mod session;

use std::fmt;

/// Microseconds since 1970. On the wire a triple: millions of seconds, seconds, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time so many milliseconds later.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        write!(f, "[{},{},{}]", seconds / 1_000_000, seconds % 1_000_000, self.0 % 1_000_000)
    }
}

/// Token of a session: 128 bits that cannot be guessed. A client that has it may take the session
/// over, so only [`Display`](fmt::Display) shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u128);

impl Token {
    /// A token of random bits; no machine has any of its own.
    #[must_use]
    pub fn new(random: u128) -> Self {
        Self(random)
    }

    /// Reads the 32 hexadecimal digits of a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jan_09_a_timestamp_is_the_triple_of_old() {
        assert_eq!(Timestamp(1_350_354_323_000_042).to_string(), "[1350,354323,42]");
        assert_eq!(Timestamp(999_999).after_ms(1).to_string(), "[0,1,999]");
    }

    #[test]
    fn jan_10_a_token_is_32_digits_and_reads_back() {
        for random in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef] {
            let text = Token::new(random).to_string();
            assert_eq!(text.len(), 32);
            assert_eq!(Token::parse(&text), Some(Token::new(random)));
        }
        let upper = "ABCDEF00000000000000000000000000";
        for text in ["", "0", "+0000000000000000000000000000001", upper] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }
}
