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
        for (record, left_out) in batch.all_records() {
            let (journal, ordinal, append) = match record {
                SiteRecord::Append(append) => (&append.journal, append.ordinal, Some(append)),
                SiteRecord::CreateJournal { journal } => (journal, 0, None),
                SiteRecord::Put { .. }
                | SiteRecord::Delete { .. }
                | SiteRecord::CreateTable { .. }
                | SiteRecord::DropTable { .. } => continue,
            };
            let last = behind.get(journal.as_str()).or_else(|| self.0.get(journal)).copied();
            // A site that begins in the middle of the log begins in the middle of its journals.
            if let (Some(last), Some(append), None) = (last, append, left_out)
                && ordinal != last + 1
            {
                let text = format!("record {ordinal} came behind record {last}");
                let refused = StoreError::record(&format!("journal {journal}"), text);
                return Err(refused.about_append(append));
            }
            behind.insert(journal.as_str(), ordinal);
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
        Batch::new(vec![SiteCommit { position: through, time_ms: 0, records }], through)
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

    #[test]
    fn a_record_that_is_left_out_leaves_no_gap() {
        let mut ordinals = Ordinals::new(BTreeMap::from([("j".to_owned(), 7)]));
        let mut skipped = batch(r#"[{"append":{"journal":"j","ordinal":"8","text":"bad"}}]"#);
        skipped.left_out.insert(0, "it is bad".into());

        let behind = ordinals.behind(&skipped).unwrap();
        ordinals.take(behind);

        let next = batch(r#"[{"append":{"journal":"j","ordinal":"9","text":""}}]"#);
        assert!(ordinals.behind(&next).is_ok());
    }
}
