//! Text that is cut to a number of bytes.

/// The text up to so many bytes, and not within a character.
#[must_use]
pub fn cut(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    &text[..ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_limit_and_not_within_a_character() {
        assert_eq!((cut("abc", 2), cut("abc", 3), cut("abc", 9)), ("ab", "abc", "abc"));
        assert_eq!((cut("aä", 2), cut("aä", 3), cut("ä", 1), cut("", 5)), ("a", "aä", "", ""));
    }
}
