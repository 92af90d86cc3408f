//! Rust text with its comments and literals blanked, and counts of its items.
//!
//! A scanner of a hundred lines instead of a parser: the rules ask for lines and words, and a
//! file that does not compile must still be measurable.

/// The same text, line by line and column by column, with spaces for comments and literals.
pub(crate) fn masked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = opaque_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Returns a masked text without each `#[cfg(test)] mod … { … }`.
pub(crate) fn production(masked: &str) -> String {
    const TEST: &str = "#[cfg(test)]";
    let (mut kept, mut rest) = (String::new(), masked);
    while let Some(start) = rest.find(TEST) {
        let (before, from) = rest.split_at(start);
        kept.push_str(before);
        let after = from[TEST.len()..].trim_start();
        let open = from.find('{');
        let declared = from.find(';').unwrap_or(usize::MAX);
        match open {
            Some(open) if after.starts_with("mod ") && open < declared => {
                let chars: Vec<char> = from.chars().collect();
                let open = from[..open].chars().count();
                let block: String = chars[..matching_brace(&chars, open)].iter().collect();
                rest = &from[block.len()..];
                rest = rest.strip_prefix('\n').unwrap_or(rest);
            }
            _ => {
                kept.push_str(TEST);
                rest = &from[TEST.len()..];
            }
        }
    }
    kept + rest
}

/// Returns the number of lines of a masked text that are not inside a `#[cfg(test)] mod … { … }`.
pub(crate) fn production_lines(masked: &str) -> usize {
    production(masked).lines().count()
}

/// End of the comment or literal that starts at `at`; `at` itself when none starts there.
fn opaque_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => line_end(chars, at),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        '\'' => char_end(chars, at),
        'r' if !is_word(chars, at.wrapping_sub(1)) || is_raw_prefix(chars, at) => {
            raw_string_end(chars, at).unwrap_or(at)
        }
        _ => at,
    }
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// A quote opens a character when it is closed again; otherwise it names a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let from = at + 3;
        let length = chars.get(from..).and_then(|rest| rest.iter().position(|&c| c == '\''));
        return length.map_or(chars.len(), |length| from + length + 1);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

fn raw_string_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    let mut close = at + 1 + hashes;
    if chars.get(close) != Some(&'"') {
        return None;
    }
    loop {
        close += 1;
        match chars.get(close) {
            None => return Some(chars.len()),
            Some('"') => {
                let tail = chars[close + 1..].iter().take_while(|&&c| c == '#').count();
                if tail >= hashes {
                    return Some(close + 1 + hashes);
                }
            }
            Some(_) => {}
        }
    }
}

/// `br"…"` and `cr"…"`: the letter before the `r` is a prefix and not the end of a name.
fn is_raw_prefix(chars: &[char], at: usize) -> bool {
    at >= 1 && matches!(chars[at - 1], 'b' | 'c') && !is_word(chars, at.wrapping_sub(2))
}

fn is_word(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_')
}

/// One past the brace that closes the one at `open`.
fn matching_brace(chars: &[char], open: usize) -> usize {
    let mut depth = 0_i32;
    for (offset, c) in chars[open..].iter().enumerate() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_the_rest_stays_in_place() {
        let text = "let a = \"{\"; // }\nlet b = '{'; /* { /* } */ */ let c: &'a str;\n";
        let expected = "let a =    ;     \nlet b =    ;                 let c: &'a str;\n";
        assert_eq!(masked(text), expected);
    }

    #[test]
    fn raw_strings_end_at_their_own_hashes() {
        assert_eq!(masked("f(r#\"a\"b{\"#, br\"{\", r#type)"), "f(         , b    , r#type)");
    }

    #[test]
    fn an_escaped_quote_ends_nothing() {
        assert_eq!(masked(r#"f("\"{", '\'', b'\\')"#), "f(     ,     , b    )");
    }

    #[test]
    fn test_modules_are_not_production() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n\nfn c() {}\n";
        assert_eq!(production_lines(&masked(text)), 4);
        assert_eq!(production_lines("#[cfg(test)]\nmod tests;\nfn a() {}\n"), 3);
        assert_eq!(production_lines("#[cfg(test)]\nfn only_in_tests() {}\n"), 2);
    }
}
