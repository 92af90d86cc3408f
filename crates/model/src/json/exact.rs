//! Exactness of JSON: a value comes back as it was sent, or it is refused, at every door.
//!
//! JSON by its grammar holds more than can be kept. Refused is what a reader would get as something
//! else, or could not read: a number beyond a double, an integer of which digits would be lost,
//! half a surrogate, a field that stands twice in one object, and more levels than a limit.
//!
//! The text is walked once, without recursion, and nothing of it is copied but escaped names.

use std::borrow::Cow;
use std::fmt;

/// Error in a text that is not JSON, or whose value cannot be kept exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at line {line} column {column}")]
pub struct Inexact {
    /// Fault in the text.
    pub fault: Fault,
    /// The line, from 1.
    pub line: usize,
    /// The byte in that line, from 1.
    pub column: usize,
}

/// Fault of a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Syntax,
    /// A number is larger than any double.
    Number,
    /// An integer has more digits than 64 bits or a double hold.
    Integer,
    /// Half of a pair of surrogates stands alone.
    Surrogate,
    /// A field stands twice in one object.
    Repeated(String),
    /// Lists and objects stand deeper within one another than this many levels.
    TooDeep(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not JSON"),
            Self::Number => f.write_str("a number beyond the range of a double"),
            Self::Integer => f.write_str("an integer that 64 bits or a double do not hold exactly"),
            Self::Surrogate => f.write_str("half of a surrogate pair"),
            Self::Repeated(name) => write!(f, "the field {name:?} for the second time"),
            Self::TooDeep(limit) => write!(f, "nested deeper than {limit} levels"),
        }
    }
}

/// The stable code by which clients are told, at every door.
pub const INEXACT: &str = "bad_json";

/// Checks that a text is one JSON value that can be kept, of at most `levels` lists and objects
/// within one another.
///
/// # Errors
/// [`Inexact`].
pub fn check_exact(text: &str, levels: usize) -> Result<(), Inexact> {
    let mut walk = Walk { text, at: 0, levels, open: Vec::new(), names: Vec::new() };
    walk.value().map_err(|fault| {
        let before = &text.as_bytes()[..walk.at.min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let begin = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Inexact { fault, line, column: before.len() - begin + 1 }
    })
}

/// A list or an object that is not closed yet.
enum Open {
    List,
    /// Index of its first name among all.
    Object(usize),
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    levels: usize,
    open: Vec<Open>,
    names: Vec<Cow<'a, str>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self) -> Result<(), Fault> {
        loop {
            // In front of a value.
            match self.next() {
                Some(b'[') => {
                    self.enter(Open::List)?;
                    if self.next() != Some(b']') {
                        continue;
                    }
                }
                Some(b'{') => {
                    self.enter(Open::Object(self.names.len()))?;
                    if self.next() != Some(b'}') {
                        self.name()?;
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => return Err(Fault::Syntax),
            }
            if self.behind()? {
                return Ok(());
            }
        }
    }

    /// Goes on behind a value; true at the end of all.
    fn behind(&mut self) -> Result<bool, Fault> {
        loop {
            match (self.next(), self.open.last()) {
                (None, None) => return Ok(true),
                (Some(b','), Some(Open::List)) => {
                    self.at += 1;
                    return Ok(false);
                }
                (Some(b','), Some(Open::Object(_))) => {
                    self.at += 1;
                    self.next();
                    self.name()?;
                    return Ok(false);
                }
                (Some(b']'), Some(Open::List)) => drop(self.open.pop()),
                (Some(b'}'), Some(Open::Object(first))) => {
                    let first = *first;
                    self.close(first)?;
                }
                _ => return Err(Fault::Syntax),
            }
            self.at += 1;
        }
    }

    fn enter(&mut self, open: Open) -> Result<(), Fault> {
        if self.open.len() >= self.levels {
            return Err(Fault::TooDeep(self.levels));
        }
        self.open.push(open);
        self.at += 1;
        Ok(())
    }

    /// Leaves an object, of which each name stands there once.
    fn close(&mut self, first: usize) -> Result<(), Fault> {
        let names = &mut self.names[first..];
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Fault::Repeated(twice[0].to_string()));
        }
        self.names.truncate(first);
        self.open.pop();
        Ok(())
    }

    /// The name of a field and its colon.
    fn name(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        if self.peek() != Some(b'"') {
            return Err(Fault::Syntax);
        }
        let name = if self.string()? {
            let name = serde_json::from_str(&self.text[begin..self.at]);
            Cow::Owned(name.map_err(|_| Fault::Syntax)?)
        } else {
            Cow::Borrowed(&self.text[begin + 1..self.at - 1])
        };
        self.names.push(name);
        match self.next() {
            Some(b':') => self.at += 1,
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    /// A string; true when something in it is escaped.
    fn string(&mut self) -> Result<bool, Fault> {
        let mut escaped = false;
        self.at += 1;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
            self.at += rest.iter().take_while(|byte| plain(byte)).count();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Fault::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match self.unit()? {
                0xd800..=0xdbff => {
                    let high = self.at;
                    self.at += 6;
                    if !matches!(self.unit(), Ok(0xdc00..=0xdfff)) {
                        self.at = high;
                        return Err(Fault::Surrogate);
                    }
                    self.at += 6;
                }
                0xdc00..=0xdfff => return Err(Fault::Surrogate),
                _ => self.at += 6,
            },
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    /// The unit of UTF-16 that `\uXXXX` stands for.
    fn unit(&self) -> Result<u16, Fault> {
        let escape = self.text.as_bytes().get(self.at..self.at + 6).ok_or(Fault::Syntax)?;
        let [b'\\', b'u', digits @ ..] = escape else { return Err(Fault::Syntax) };
        digits.iter().try_fold(0, |unit, digit| {
            let value = char::from(*digit).to_digit(16).ok_or(Fault::Syntax)?;
            Ok(unit << 4 | u16::try_from(value).unwrap_or_default())
        })
    }

    fn number(&mut self) -> Result<(), Fault> {
        let begin = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let digits = match self.peek() {
            Some(b'0') => {
                self.at += 1;
                1
            }
            _ => self.digits()?,
        };
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            is_whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let number = &self.text[begin..self.at];
        let fault = match (is_whole, has_exponent) {
            // Neither can be too large.
            (true, _) if digits <= 18 => return Ok(()),
            (false, false) if digits <= 300 => return Ok(()),
            (true, _) => whole(number),
            (false, _) => double(number).map(drop),
        };
        fault.inspect_err(|_| self.at = begin)
    }

    fn digits(&mut self) -> Result<usize, Fault> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(count).ok_or(Fault::Syntax)
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        while let Some(byte) = self.peek() {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }
}

fn double(number: &str) -> Result<f64, Fault> {
    let double: f64 = number.parse().map_err(|_| Fault::Syntax)?;
    double.is_finite().then_some(double).ok_or(Fault::Number)
}

/// An integer of many digits: 64 bits hold it, or it is written with the digits that a double of
/// this size has, and zeros behind them, as JavaScript writes doubles.
fn whole(number: &str) -> Result<(), Fault> {
    if number.parse::<u64>().is_ok() || number.parse::<i64>().is_ok() {
        return Ok(());
    }
    let shortest = format!("{:e}", double(number)?.abs());
    let kept = shortest.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit);
    let kept: Vec<u8> = kept.collect();
    let given = number.trim_start_matches('-').trim_end_matches('0');
    (given.as_bytes() == kept).then_some(()).ok_or(Fault::Integer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn fault(text: &str) -> Option<Fault> {
        check_exact(text, 4).err().map(|inexact| inexact.fault)
    }

    #[test]
    fn a_value_is_exact_or_refused() {
        for exact in [
            "null",
            " {\"a\" : [1, -2.5e3, \"\\ud83d\\ude00 \\n\", true, {}], \"b\":[]}\n",
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
            "1.7976931348623157e308",
            "1e-999",
            "-0",
            // Doubles as JavaScript writes them.
            "100000000000000000000",
            "18446744073709552000",
            "-123456789012345680000",
            "[[[[]]]]",
            r#"{"a":{"a":1},"b":{"a":1}}"#,
        ] {
            assert_eq!(fault(exact), None, "{exact}");
        }
        for (refused, why) in [
            ("1e999", Fault::Number),
            ("-1e400", Fault::Number),
            ("18446744073709551616", Fault::Integer),
            ("-9223372036854775809", Fault::Integer),
            ("123456789012345678901", Fault::Integer),
            (r#""\ud83d""#, Fault::Surrogate),
            (r#""\ude00\ud83d""#, Fault::Surrogate),
            (r#""\ud83d\ud83d""#, Fault::Surrogate),
            (r#"{"a\ud83d":1}"#, Fault::Surrogate),
            (r#"{"a":1,"b":2,"a":1}"#, Fault::Repeated("a".into())),
            (r#"{"a":1,"\u0061":1}"#, Fault::Repeated("a".into())),
            (r#"[{"":{"x":[],"x":[]}}]"#, Fault::Repeated("x".into())),
            ("[[[[[]]]]]", Fault::TooDeep(4)),
            (r#"[[[{"a":{}}]]]"#, Fault::TooDeep(4)),
        ] {
            assert_eq!(fault(refused), Some(why), "{refused}");
        }
    }

    #[test]
    fn faults_are_found_by_line_and_column() {
        let error = check_exact("{\"a\":\n  [1e999]}", 4).unwrap_err();

        assert_eq!(error.to_string(), "a number beyond the range of a double at line 2 column 4");
    }

    #[test]
    fn a_hundred_thousand_levels_are_walked_without_a_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));

        assert_eq!(check_exact(&deep, usize::MAX), Ok(()));
        assert_eq!(fault(&deep), Some(Fault::TooDeep(4)));
    }

    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\"",
            "\"\\ud83d\"",
            "\"\\u0061\"",
            "1",
            "-",
            "0",
            "01",
            ".5",
            "e9",
            "e999",
            "18446744073709551616",
            "true",
            "null",
            "nul",
            " ",
            "\n",
            "\"",
            "\\",
            "x",
            "\u{1}",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn exact_texts_are_json_and_json_is_exact_or_its_fault_named(text in pieces()) {
            let read = serde_json::from_str::<Value>(&text);
            match check_exact(&text, 64) {
                Ok(()) => prop_assert!(read.is_ok(), "{text:?}: {read:?}"),
                Err(Inexact { fault: Fault::Syntax, .. }) => {
                    prop_assert!(read.is_err(), "{text:?}: {read:?}");
                }
                Err(_) => {}
            }
        }

        #[test]
        fn every_double_and_every_integer_of_64_bits_is_exact(
            double in any::<f64>().prop_filter("JSON", |double| double.is_finite()),
            signed in any::<i64>(),
            unsigned in any::<u64>(),
        ) {
            for text in [format!("{double:?}"), format!("{double}"), signed.to_string(),
                unsigned.to_string()]
            {
                prop_assert_eq!(check_exact(&text, 1), Ok(()), "{}", text);
            }
        }
    }
}
