//! Registration: the start that the position of the store allows.

use std::time::Instant;

use instep_client::{Error as ClientError, NewSite, Registered, SiteStart, SiteTally};
use instep_model::position::Position;

use super::{Agent, AgentError, Notice, Origin};
use crate::limits::SOURCE_WAIT;
use crate::store::{Identity, StorePosition};

/// Way on from a registration.
#[derive(Debug)]
pub(super) enum Way {
    /// The log, from a position on.
    Follow {
        /// Generation of the registration.
        generation: u64,
        /// The server's cursor of the site, and the differences that it was told.
        known: (Position, SiteTally),
        /// Position at which a store without one begins. None where the store had one: if it has
        /// none any more, it is another database.
        begin: Option<Position>,
        /// The store is to be set to the cursor first.
        seek: bool,
    },
    /// A dump first.
    Restore {
        /// Generation of the registration.
        generation: u64,
        /// Id of the dump.
        dump: String,
        /// Its source.
        source: String,
    },
    /// Another try a little later, for this reason.
    Wait(String),
}

/// Code of a refusal that only a dump heals.
const DUMP_REQUIRED: &str = "dump_required";
/// Code of a refusal of a position of another history.
const OTHER_HISTORY: &str = "other_history";
/// Code of a refusal of a dump: its source is not there, or has nothing to give yet.
const BAD_SOURCE: &str = "bad_source";

impl Agent {
    /// Registers the site, whose store is at `position`.
    pub(super) async fn register(&mut self, position: StorePosition) -> Result<Way, AgentError> {
        let start = match position {
            StorePosition::At(position) => SiteStart::Resume { position: Some(position) },
            StorePosition::Unkept => SiteStart::Resume { position: None },
            // The head is no begin for a site that had a database, and has lost it.
            StorePosition::None if self.settings.origin == Origin::Head => {
                if self.is_known().await? {
                    let reason = "the server knows the site, and its store is empty";
                    return self.register_for_dump(reason, self.named_source()).await;
                }
                SiteStart::Head
            }
            StorePosition::None => self.origin(),
            StorePosition::Restoring => {
                // Nothing is replaced by it but the rest of a dump.
                let source = match &self.settings.origin {
                    Origin::Dump(source) => Some(source.clone()),
                    Origin::Head | Origin::Beginning => None,
                };
                let source = self.settings.dump_from.clone().or(source);
                return self.register_for_dump("a restore did not come to its end", source).await;
            }
        };
        let may_dump = self.settings.dump_from.is_some();
        let refusal = match self.register_with(start.clone()).await {
            Ok(registered) => return self.way(start, registered),
            Err(ClientError::Refused(problem)) if problem.code == DUMP_REQUIRED => problem,
            // As of a server that was restored from an older copy: with a source, only the operator
            // could have meant that its content replaces the store's.
            Err(ClientError::Refused(problem)) if may_dump && problem.code == OTHER_HISTORY => {
                problem
            }
            Err(ClientError::Refused(problem)) if problem.code == BAD_SOURCE => {
                return match self.may_give(&start).await {
                    Ok(true) => Ok(Way::Wait(problem.to_string())),
                    Ok(false) => Err(ClientError::Refused(problem).into()),
                    Err(error) => Err(error.into()),
                };
            }
            Err(error) => return Err(error.into()),
        };
        // A store without a position cannot tell a new site from one that has lost its history.
        if position == StorePosition::Unkept && !self.is_known().await? {
            let origin = self.origin();
            let registered = self.register_with(origin.clone()).await?;
            return self.way(origin, registered);
        }
        self.register_for_dump(&refusal.detail, self.named_source()).await
    }

    /// True when a source that was refused may give a dump a little later: it has let the site
    /// wait before, or is known, and may be about to follow the log.
    async fn may_give(&mut self, start: &SiteStart) -> Result<bool, ClientError> {
        let Identity { dataset, site } = &self.settings.identity;
        let SiteStart::Dump { source } = start else { return Ok(false) };
        if self.has_asked {
            return Ok(true);
        }
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if source == site || since.elapsed() > SOURCE_WAIT {
            return Ok(false);
        }
        let list = self.client.sites(dataset).await?;
        let source = list.sites.iter().find(|status| status.site == *source);
        // The others follow the log only when an operator, or a dump, has helped them.
        let helpless = ["paused", "failed", "evicted"];
        Ok(source.is_some_and(|status| !helpless.contains(&status.state.as_str())))
    }

    /// Source of a dump that replaces what is in the store.
    fn named_source(&self) -> Option<String> {
        self.settings.dump_from.clone()
    }

    async fn register_for_dump(
        &mut self,
        reason: &str,
        source: Option<String>,
    ) -> Result<Way, AgentError> {
        let Some(source) = source else {
            return Err(AgentError::DumpRequired(reason.to_owned()));
        };
        (self.notify)(&Notice::DumpRequired { reason: reason.to_owned() });
        let start = SiteStart::Dump { source };
        match self.register_with(start.clone()).await {
            Ok(registered) => self.way(start, registered),
            // It was a site that could be one when this one began; it may be again.
            Err(ClientError::Refused(problem)) if problem.code == BAD_SOURCE => {
                Ok(Way::Wait(problem.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn register_with(&self, start: SiteStart) -> Result<Registered, ClientError> {
        let settings = &self.settings;
        let (tables, journals) = (settings.tables.clone(), settings.journals.clone());
        let new = NewSite { start, tables, journals };
        let identity = &settings.identity;
        self.client.register_site(&identity.dataset, &identity.site, &new).await
    }

    fn origin(&self) -> SiteStart {
        match &self.settings.origin {
            Origin::Head => SiteStart::Head,
            Origin::Beginning => SiteStart::Beginning,
            Origin::Dump(source) => SiteStart::Dump { source: source.clone() },
        }
    }

    async fn is_known(&self) -> Result<bool, ClientError> {
        let identity = &self.settings.identity;
        let list = self.client.sites(&identity.dataset).await?;
        Ok(list.sites.iter().any(|status| status.site == identity.site))
    }

    fn way(&self, start: SiteStart, registered: Registered) -> Result<Way, AgentError> {
        let Registered { generation, cursor, dump, tally, seek, .. } = registered;
        let missing = |what: &str| ClientError::Unexpected {
            address: self.client.base_url().to_owned(),
            reason: format!("the registration has no {what}"),
        };
        if let SiteStart::Dump { source } = start {
            let dump = dump.ok_or_else(|| missing("dump"))?;
            return Ok(Way::Restore { generation, dump, source });
        }
        let cursor = match (&start, cursor) {
            (_, Some(cursor)) => cursor,
            (SiteStart::Resume { position: Some(position) }, None) => *position,
            (_, None) => return Err(missing("cursor").into()),
        };
        let begin = match start {
            SiteStart::Resume { position: Some(_) } => None,
            // A store that keeps none is told that of the server.
            SiteStart::Resume { position: None }
            | SiteStart::Head
            | SiteStart::Beginning
            | SiteStart::Dump { .. } => Some(cursor),
        };
        Ok(Way::Follow { generation, known: (cursor, tally), begin, seek })
    }
}
