//! Port of mail: what it needs of its dataset, and nothing else of that.

use std::sync::Arc;

use instep_model::commit::Proposal;
use instep_model::name::Name;
use instep_model::owner::{Receipt, Refusal};
use instep_model::state::State;
use tokio::sync::oneshot;

use super::handle::MailHandle;
use super::pulling::Pulls;

/// Answer of the owner to a proposal, once it comes.
pub(crate) type Proposed = oneshot::Receiver<Result<Receipt, Refusal>>;

/// The dataset of mail, as mail sees it: its state, its commits, and the mail itself. Cloning gives
/// another handle.
#[derive(Clone)]
pub(crate) struct Port {
    pub(crate) name: Name,
    pub(crate) mail: Arc<MailHandle>,
    pub(crate) pulls: Arc<Pulls>,
    pub(crate) dataset: Arc<Calls>,
}

/// Calls to the dataset.
pub(crate) struct Calls {
    pub(crate) state: Box<dyn Fn() -> Arc<State> + Send + Sync>,
    pub(crate) propose: Box<dyn Fn(Proposal) -> Result<Proposed, Refusal> + Send + Sync>,
}

impl Port {
    /// The dataset's name.
    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    /// The task that gives messages out, and the bodies.
    pub(super) fn mail(&self) -> &MailHandle {
        &self.mail
    }

    /// Registrations that pull.
    pub(super) fn pulls(&self) -> &Pulls {
        &self.pulls
    }

    /// A consistent snapshot of everything.
    pub(super) fn state(&self) -> Arc<State> {
        (self.dataset.state)()
    }

    /// Proposes a commit; the answer comes on the receiver.
    pub(super) fn propose(&self, proposal: Proposal) -> Result<Proposed, Refusal> {
        (self.dataset.propose)(proposal)
    }

    /// Proposes a commit and waits until it is durable, or refused.
    pub(super) async fn commit(&self, proposal: Proposal) -> Result<Receipt, Refusal> {
        self.propose(proposal)?.await.unwrap_or(Err(Refusal::OutcomeUnknown))
    }
}
