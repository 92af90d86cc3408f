//! Index of values by the text that names begin with.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Index by prefix: the values of all prefixes of a name, found without asking the others.
#[derive(Debug, Clone)]
pub struct PrefixIndex<T>(BTreeMap<Box<str>, Vec<T>>);

impl<T> Default for PrefixIndex<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> FromIterator<(String, T)> for PrefixIndex<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(all: I) -> Self {
        let mut index = Self::default();
        all.into_iter().for_each(|(prefix, value)| index.insert(&prefix, value));
        index
    }
}

impl<T> PrefixIndex<T> {
    /// Adds a value; a prefix may have several.
    pub fn insert(&mut self, prefix: &str, value: T) {
        match self.0.get_mut(prefix) {
            Some(values) => values.push(value),
            None => drop(self.0.insert(prefix.into(), vec![value])),
        }
    }

    /// Removes the values of a prefix for which `is_gone` holds.
    pub fn remove(&mut self, prefix: &str, is_gone: impl Fn(&T) -> bool) {
        if let Some(values) = self.0.get_mut(prefix) {
            values.retain(|value| !is_gone(value));
            if values.is_empty() {
                self.0.remove(prefix);
            }
        }
    }

    /// The values of all prefixes of `name`, those of the longest first.
    pub fn values_of<'a: 'b, 'b>(&'a self, name: &'b str) -> impl Iterator<Item = &'a T> {
        let mut bound = Bound::Included(name);
        let prefixes = std::iter::from_fn(move || {
            // A prefix of the name that is not longer than the bound is one of the bound, and of
            // everything that is sorted between the two.
            loop {
                let (Bound::Included(end) | Bound::Excluded(end)) = bound else { return None };
                let mut below = self.0.range::<str, _>((Bound::Unbounded, bound));
                let (prefix, values) = below.next_back()?;
                if end.starts_with(&**prefix) {
                    bound = Bound::Excluded(prefix);
                    return Some(values);
                }
                bound = Bound::Included(&end[..common_bytes(end, prefix)]);
            }
        });
        prefixes.flatten()
    }
}

/// Bytes of the text that two texts begin with.
fn common_bytes(one: &str, other: &str) -> usize {
    let mut both = one.char_indices().zip(other.chars());
    let differs = both.find(|((_, here), there)| here != there);
    differs.map_or(one.len().min(other.len()), |((at, _), _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_index_finds_what_a_look_at_every_prefix_finds(
            prefixes in prop::collection::vec("[abé]{0,4}", 0..12),
            gone in prop::collection::vec(0..12_usize, 0..6),
            names in prop::collection::vec("[abé]{0,6}", 1..8),
        ) {
            let mut index: PrefixIndex<usize> =
                prefixes.iter().enumerate().map(|(at, prefix)| (prefix.clone(), at)).collect();
            for gone in &gone {
                if let Some(prefix) = prefixes.get(*gone) {
                    index.remove(prefix, |value| value == gone);
                }
            }

            for name in &names {
                let mut found: Vec<_> = index.values_of(name).copied().collect();
                let lengths: Vec<_> = found.iter().map(|at| prefixes[*at].len()).collect();
                prop_assert!(lengths.is_sorted_by(|a, b| a >= b));
                found.sort_unstable();
                let is_there =
                    |at: &usize| name.starts_with(&prefixes[*at]) && !gone.contains(at);
                let expected: Vec<_> = (0..prefixes.len()).filter(is_there).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
