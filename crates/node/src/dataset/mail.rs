//! Mail of a dataset: what it is handed of the dataset.

use super::{Arc, Dataset};
use crate::mail::{Calls, MailHandle, Port};

impl Dataset {
    /// The task that gives messages out, and the bodies.
    pub(crate) fn mail_handle(&self) -> &MailHandle {
        &self.0.mail
    }

    /// Its mail, with what that needs of the dataset.
    pub(crate) fn mail(&self) -> Port {
        let (reading, proposing) = (self.clone(), self.clone());
        let state = Box::new(move || reading.state());
        let propose = Box::new(move |proposal| proposing.propose(proposal));
        Port {
            name: self.0.name.clone(),
            mail: Arc::clone(&self.0.mail),
            pulls: Arc::clone(&self.0.pulls),
            dataset: Arc::new(Calls { state, propose }),
        }
    }
}
