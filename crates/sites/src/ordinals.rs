//! Ordinals of journals: records come one after the other, and a gap is an error (I36).

use std::collections::BTreeMap;

use instep_client::SiteRecord;

use crate::batch::Batch;
use crate::store::StoreError;

/// Last ordinals of the journals that a store has.
#[derive(Debug, Default)]
pub(crate) struct Ordinals(BTreeMap<String, u64>);

impl Ordinals {
    /// Last ordinals, as the store has kept them.
    pub(crate) fn new(last: BTreeMap<String, u64>) -> Self {
        Self(last)
    }

    /// Last ordinals behind a batch, of the journals that it changes.
    pub(crate) fn behind<'a>(
        &self,
        batch: &'a Batch,
    ) -> Result<BTreeMap<&'a str, u64>, StoreError> {
        let mut behind = BTreeMap::new();
        for record in batch.records() {
            let (journal, ordinal) = match record {
                SiteRecord::Append(append) => (append.journal.as_str(), append.ordinal),
                SiteRecord::CreateJournal { journal } => (journal.as_str(), 0),
                SiteRecord::Put { .. }
                | SiteRecord::Delete { .. }
                | SiteRecord::CreateTable { .. }
                | SiteRecord::DropTable { .. } => continue,
            };
            let last = behind.get(journal).or_else(|| self.0.get(journal)).copied();
            // A site that begins in the middle of the log begins in the middle of its journals.
            if let (Some(last), 1..) = (last, ordinal)
                && ordinal != last + 1
            {
                let text = format!("record {ordinal} came behind record {last}");
                return Err(StoreError::record(&format!("journal {journal}"), text));
            }
            behind.insert(journal, ordinal);
        }
        Ok(behind)
    }

    /// Takes over what was behind a batch that was applied.
    pub(crate) fn take(&mut self, behind: BTreeMap<&str, u64>) {
        for (journal, ordinal) in behind {
            match self.0.get_mut(journal) {
                Some(last) => *last = ordinal,
                None => drop(self.0.insert(journal.to_owned(), ordinal)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use instep_client::SiteCommit;
    use instep_model::position::Position;

    use super::*;

    fn batch(records: &str) -> Batch {
        let through: Position =
            "00000000000000000000000000000007-00000000000000000042-00000".parse().unwrap();
        let records = serde_json::from_str(records).unwrap();
        Batch { commits: vec![SiteCommit { position: through, time_ms: 0, records }], through }
    }

    #[test]
    fn i36_a_gap_in_a_journal_is_an_error() {
        let mut ordinals = Ordinals::default();
        let begin = batch(r#"[{"append":{"journal":"j","ordinal":"7","text":""}}]"#);
        let gap = batch(r#"[{"append":{"journal":"j","ordinal":"9","text":""}}]"#);
        let made = batch(
            r#"[{"create_journal":{"journal":"k"}},
                {"append":{"journal":"k","ordinal":"2","text":""}}]"#,
        );

        let behind = ordinals.behind(&begin).unwrap();
        ordinals.take(behind);

        let refused = ordinals.behind(&gap).unwrap_err().to_string();
        assert_eq!(refused, "journal j: record 9 came behind record 7");
        assert!(ordinals.behind(&made).is_err());
        assert!(ordinals.behind(&begin).is_err());
    }
}
