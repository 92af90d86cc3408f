//! Licence expressions: `MIT OR (Apache-2.0 WITH LLVM-exception AND ISC)`, and the old `MIT/ISC`.

use crate::Fallible;

/// Returns true if the expression can be met with licences that `allowed` accepts.
pub(crate) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Fallible<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { words: &words, allowed };
    let met = reader.any();
    match (met, reader.words) {
        (Some(met), []) => Ok(met),
        _ => Err(format!("`{expression}` is no licence expression").into()),
    }
}

/// Parser of the words that are left. Each method reads one level of the grammar, weakest operator
/// first.
struct Reader<'a> {
    words: &'a [&'a str],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn any(&mut self) -> Option<bool> {
        let mut met = self.all()?;
        while self.skip("OR") {
            met |= self.all()?;
        }
        Some(met)
    }

    fn all(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.skip("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.skip("(") {
            let met = self.any()?;
            return self.skip(")").then_some(met);
        }
        let licence = self.next()?;
        if self.skip("WITH") {
            let exception = self.next()?;
            return Some((self.allowed)(&format!("{licence} WITH {exception}")));
        }
        Some((self.allowed)(licence))
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn skip(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.words = &self.words[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(expression: &str) -> bool {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
        satisfied(expression, &|licence| allowed.contains(&licence)).unwrap()
    }

    #[test]
    fn one_side_of_an_or_is_enough_and_an_and_needs_both() {
        assert!(met("GPL-3.0 OR MIT"));
        assert!(met("GPL-3.0/MIT"));
        assert!(!met("GPL-3.0 AND MIT"));
        assert!(met("(GPL-3.0 OR MIT) AND ISC"));
        assert!(!met("(GPL-3.0 OR MIT) AND Zlib"));
        assert!(met("MIT AND ISC OR GPL-3.0"));
    }

    #[test]
    fn an_exception_belongs_to_its_licence() {
        assert!(met("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
        assert!(!met("Apache-2.0"));
    }

    #[test]
    fn nonsense_is_an_error() {
        for expression in ["", "MIT OR", "(MIT", "MIT MIT"] {
            assert!(satisfied(expression, &|_| true).is_err(), "{expression}");
        }
    }
}
