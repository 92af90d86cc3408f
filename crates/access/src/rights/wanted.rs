//! Rights that operations of a commit need.

use instep_model::commit::Need;

use super::{Action, Resource};

/// Right that meets the [`Need`] of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Action that has to be allowed …
    pub action: Action,
    /// … or else this one.
    pub instead: Option<Action>,
    /// Resource that it is about.
    pub resource: Resource<'a>,
}

impl<'a> Wanted<'a> {
    /// The right for a need in a dataset.
    #[must_use]
    pub fn of(need: Need<'a>, dataset: &'a str) -> Self {
        let named = |name| Resource::Table { dataset, name, public: false };
        let (action, instead, resource) = match need {
            Need::Administer => (Action::Administer, None, Resource::Dataset(dataset)),
            Need::Write(name) => (Action::Commit, None, named(name)),
            Need::Test(name) => (Action::Commit, Some(Action::Read), named(name)),
        };
        Self { action, instead, resource }
    }

    /// Asks `may` for it.
    ///
    /// # Errors
    /// That of `may` for [`Wanted::action`].
    pub fn decide<E>(self, may: impl Fn(Action, Resource<'a>) -> Result<(), E>) -> Result<(), E> {
        let decided = may(self.action, self.resource);
        match self.instead {
            Some(instead) if may(instead, self.resource).is_ok() => Ok(()),
            Some(_) | None => decided,
        }
    }
}
