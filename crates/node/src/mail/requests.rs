//! Requests about the mail of a dataset, as the doors make them.

use std::io;

use instep_model::mail::{MailRules, Seq, ServerNo};

use super::{Answered, Answers, Kept, MailCounts, MailError, Pull, Pulled, Registration};
use crate::dataset::Dataset;
use crate::engine::StoredBody;
use crate::node::Node;

impl Node {
    /// The dataset that keeps mail, by its name or because it is the only one.
    ///
    /// # Errors
    /// [`MailError`] when there is none, or several.
    pub fn mail_of(&self, named: Option<&str>) -> Result<Dataset, MailError> {
        if let Some(name) = named {
            if self.why_unopened(name).is_some() {
                return Err(MailError::Unavailable);
            }
            let dataset = self.dataset(name).ok_or(MailError::Unmatched)?;
            dataset.keeps_mail()?;
            return Ok(dataset);
        }
        let mut all = self.datasets().into_iter().filter(Dataset::has_mail);
        match (all.next(), all.next()) {
            (None, _) if !self.unopened().is_empty() => Err(MailError::Unavailable),
            (None, _) => Err(MailError::Unmatched),
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(MailError::Which),
        }
    }
}

impl Dataset {
    /// True when it has queues of messages.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !self.state().mail.is_empty()
    }

    /// Refuses when the dataset keeps no mail.
    pub(crate) fn keeps_mail(&self) -> Result<(), MailError> {
        if self.has_mail() {
            Ok(())
        } else {
            Err(MailError::NoMail { dataset: self.name().clone() })
        }
    }

    /// Counters of its mail.
    #[must_use]
    pub fn mail_counts(&self) -> MailCounts {
        let mail = self.mail_handle();
        MailCounts {
            delivery: mail.counts(),
            bodies: mail.bodies.counts(),
            damaged: mail.damaged(),
            fenced: mail.fenced(),
        }
    }

    /// Returns true if a registration takes the mail of a server now.
    #[must_use]
    pub fn is_registered(&self, server: ServerNo) -> bool {
        self.mail_handle().is_registered(server)
    }

    /// Rules of its mail.
    #[must_use]
    pub fn mail_rules(&self) -> &MailRules {
        &self.mail_handle().options.rules
    }

    /// The body of a message, as JSON. Blocks for the disk.
    ///
    /// # Errors
    /// When the storage refuses.
    pub fn mail_body(&self, seq: Seq) -> io::Result<StoredBody> {
        let mut bodies = self.mail_handle().bodies.read(&[seq])?;
        Ok(bodies.pop().unwrap_or(StoredBody::Missing))
    }

    /// Registers for a server's mail in this dataset. The registration before is told, and takes it
    /// no more.
    ///
    /// # Errors
    /// [`MailError`].
    pub async fn register(
        &self,
        server: String,
        credit: usize,
        have: Option<Vec<Seq>>,
    ) -> Result<Registration, MailError> {
        self.keeps_mail()?;
        self.mail().register(server, credit, have).await
    }

    /// Takes messages of a server, and waits for the first, at most until `over`. `let_in` is
    /// called unless the puller is known already.
    ///
    /// # Errors
    /// [`MailError::Fenced`] when another registration has taken over, and [`MailError::Busy`].
    pub async fn pull(
        &self,
        server: &str,
        pull: Pull,
        let_in: impl FnOnce() -> Result<Kept, MailError>,
        over: impl Future<Output = ()>,
    ) -> Result<Pulled, MailError> {
        self.keeps_mail()?;
        self.mail().pull(server, pull, let_in, over).await
    }

    /// Takes what a program says that pulls. It is a sign of life like a pull.
    ///
    /// # Errors
    /// [`MailError::NotRegistered`] when there was no such registration yet, and
    /// [`MailError::Refused`] and [`MailError::Busy`] when nothing of it was stored.
    pub async fn answer_pulled(
        &self,
        server: &str,
        said: Answers,
    ) -> Result<Vec<Answered>, MailError> {
        self.keeps_mail()?;
        self.mail().answer_pulled(server, said).await
    }
}
