//! Operations on sites: each becomes the row of its site, or a refusal.

use super::{Evaluation, Key, Name, Overlay, Record, Refusal, TableOptions};
use crate::site::{self, Change, Moment, Site, SiteOperation};

impl Evaluation<'_> {
    /// The generation of a registration, else nothing.
    pub(super) fn do_site(&mut self, operation: SiteOperation) -> Result<Option<i64>, Refusal> {
        let refuse = |error| Refusal::BadOperation { operation: 0, detail: format!("{error}") };
        let table = Name::new(site::TABLE).map_err(refuse)?;
        let (name, registers) =
            (operation.site().clone(), matches!(operation, SiteOperation::Register { .. }));
        let key = Key::new(name.as_str()).map_err(refuse)?;
        if self.options(&table).is_err() {
            self.create_table(table.clone(), TableOptions::default())?;
        }
        let before = self.site(&table, &key)?;
        let sites = || self.count(&table);
        let other = |other: &Name| {
            let key = Key::new(other.as_str()).ok()?;
            self.site(&table, &key).ok().flatten()
        };
        let moment = Moment {
            incarnation: self.incarnation,
            head: self.state.applied,
            now_ms: self.now_ms,
            sites: &sites,
            other: &other,
        };
        let change = site::decide(before, operation, moment)
            .map_err(|error| Refusal::Site { site: name, error })?;
        match change {
            Change::Put(site) => {
                let generation = i64::try_from(site.generation.0).unwrap_or(i64::MAX);
                self.put(table, key, &site.to_fields())?;
                Ok(registers.then_some(generation))
            }
            Change::Remove => {
                self.own.rows.insert((table.clone(), key.clone()), None);
                self.write_over((table.clone(), Some(key.clone())), Record::Delete { table, key })?;
                Ok(None)
            }
            Change::Nothing => Ok(None),
        }
    }

    /// A row of the table of sites. One that does not read is as good as none.
    fn site(&self, table: &Name, key: &Key) -> Result<Option<Site>, Refusal> {
        let row = self.row(table, key)?;
        Ok(row.and_then(|row| Site::from_bytes(row.as_bytes())))
    }

    /// Rows of a table; one that the batch or this commit has written counts once more.
    fn count(&self, table: &Name) -> usize {
        let there = self.state.tables.get(table).map_or(0, |table| table.rows.len());
        let written = |overlay: &Overlay| {
            overlay.rows.iter().filter(|((of, _), row)| of == table && row.is_some()).count()
        };
        there + written(self.batch) + written(&self.own)
    }
}
