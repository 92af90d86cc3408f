//! Targets: names that the tables and journals of a dataset have in the store.

use std::collections::BTreeMap;

/// Names that begin so are of the agent.
pub(crate) const OWN_PREFIX: &str = "instep_site";

/// Names of tables in the store, and ways of journals into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Targets {
    tables: BTreeMap<String, String>,
    journals: BTreeMap<String, JournalTarget>,
}

/// Way of a journal's records into the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JournalTarget {
    /// Each is a row of a table: ordinal and record.
    #[default]
    Table,
    /// Each is SQL that is executed.
    Sql,
}

/// Error in the targets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The target is of the agent itself.
    #[error("{0:?} cannot be the target of a table: names with {OWN_PREFIX:?} are of the agent")]
    Reserved(String),
    /// The target is empty, or holds a zero byte.
    #[error("{0:?} cannot be the name of a table")]
    Name(String),
    /// Two tables have one target.
    #[error("tables {0} and {1} have the same target")]
    Twice(String, String),
}

impl Targets {
    /// Targets of the tables and journals that are named; others keep their names, and journals
    /// become tables.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn new(
        tables: BTreeMap<String, String>,
        journals: BTreeMap<String, JournalTarget>,
    ) -> Result<Self, TargetError> {
        let mut taken = BTreeMap::new();
        for (table, target) in &tables {
            let folded = target.to_lowercase();
            if is_reserved(target) {
                return Err(TargetError::Reserved(target.clone()));
            }
            if target.is_empty() || target.contains('\0') {
                return Err(TargetError::Name(target.clone()));
            }
            if let Some(other) = taken.insert(folded, table) {
                return Err(TargetError::Twice(other.clone(), table.clone()));
            }
        }
        Ok(Self { tables, journals })
    }

    /// Name of a table in the store.
    #[must_use]
    pub fn table<'a>(&'a self, table: &'a str) -> &'a str {
        self.tables.get(table).map_or(table, String::as_str)
    }

    /// Way of a journal's records into the store.
    #[must_use]
    pub fn journal(&self, journal: &str) -> JournalTarget {
        self.journals.get(journal).copied().unwrap_or_default()
    }

    /// Reason why a table cannot be written: its target is of the agent, or of another table.
    pub(crate) fn refusal(&self, table: &str) -> Option<String> {
        let target = self.table(table);
        if is_reserved(target) {
            let text = format!("{target} is a name of the agent: name another target");
            return Some(text);
        }
        let collision = self.collision(table)?;
        Some(format!("its target {collision} is that of another table"))
    }

    /// The name by which two tables of the dataset meet in the store, if they do: another one is
    /// named with this target.
    fn collision<'a>(&'a self, table: &'a str) -> Option<&'a str> {
        let target = self.table(table).to_lowercase();
        let is_of_other =
            |(other, of): (&String, &String)| other != table && of.to_lowercase() == target;
        self.tables.iter().any(is_of_other).then(|| self.table(table))
    }
}

/// Returns true if a name in the store is of the agent.
pub(crate) fn is_reserved(name: &str) -> bool {
    // Databases fold the case of names; a schema may stand before a dot.
    name.rsplit('.').next().unwrap_or(name).to_lowercase().starts_with(OWN_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(pairs: &[(&str, &str)]) -> Result<Targets, TargetError> {
        let owned = |(table, target): &(&str, &str)| ((*table).into(), (*target).into());
        Targets::new(pairs.iter().map(owned).collect(), BTreeMap::new())
    }

    #[test]
    fn two_tables_never_meet_in_one_target() {
        let twice = tables(&[("a", "Items"), ("b", "items")]);
        let over_another = tables(&[("a", "B")]).unwrap();

        assert_eq!(twice, Err(TargetError::Twice("a".into(), "b".into())));
        assert_eq!(over_another.collision("b"), Some("b"));
        assert_eq!(over_another.collision("a"), None);
    }

    #[test]
    fn the_row_of_the_site_is_no_target() {
        assert_eq!(
            tables(&[("a", "INSTEP_site")]),
            Err(TargetError::Reserved("INSTEP_site".into()))
        );
    }
}
