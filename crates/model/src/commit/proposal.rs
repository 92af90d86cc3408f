//! Proposals: operations that happen together or not at all.

use std::collections::BTreeSet;

use super::{Need, Operation, Signature};

/// Operations that become visible together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Under which id. Without one a retry may take effect twice.
    pub signature: Option<Signature>,
    /// The operations, in order.
    pub operations: Vec<Operation>,
}

/// Operations without an id.
impl From<Vec<Operation>> for Proposal {
    fn from(operations: Vec<Operation>) -> Self {
        Self { signature: None, operations }
    }
}

impl Proposal {
    /// The rights that it needs, each once.
    #[must_use]
    pub fn needs(&self) -> BTreeSet<Need<'_>> {
        self.operations.iter().map(Operation::need).collect()
    }

    /// True when it stores messages.
    #[must_use]
    pub fn stores_mail(&self) -> bool {
        let stores =
            |operation: &Operation| matches!(operation, Operation::Send(_) | Operation::Import(_));
        self.operations.iter().any(stores)
    }

    /// About how many bytes the proposal takes while it waits.
    #[must_use]
    pub fn weight(&self) -> usize {
        let operations = self.operations.iter().map(Operation::weight);
        operations.map(|bytes| bytes + size_of::<Operation>()).sum::<usize>() + size_of::<Self>()
    }
}
