//! Agent: registers a site, brings its store to a position, and follows the log from there.

mod acks;
mod applier;
mod giving;
mod notice;
mod queue;
mod registration;
mod restoring;
mod session;

pub use self::notice::Notice;

use std::sync::Arc;
use std::time::{Duration, Instant};

use instep_client::{Backoff, Client, Error as ClientError};
use tokio::sync::watch;

use self::registration::Way;
use crate::limits::{FIRST_WAIT, LONGEST_WAIT, RECORD_WAIT};
use crate::store::{Fatal, Identity, Store, StoreError};

/// Settings of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The site and its dataset.
    pub identity: Identity,
    /// Begin of a site that was never there.
    pub origin: Origin,
    /// Source of a dump that the agent may take by itself when only one heals the site: `server`,
    /// or the id of a site.
    pub dump_from: Option<String>,
    /// Tables of its share; none: all.
    pub tables: Option<Vec<String>>,
    /// Journals of its share; none: all.
    pub journals: Option<Vec<String>>,
}

/// Begin of a new site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Behind the newest commit.
    Head,
    /// The first commit, while it is kept.
    Beginning,
    /// A dump of this source.
    Dump(String),
}

/// End of an agent that was not told to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The server cannot be reached at the start, or refuses the site.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The store cannot be applied to.
    #[error(transparent)]
    Store(#[from] Fatal),
    /// The site needs a dump, and was given no source of one.
    #[error("a dump is required ({0}), and no source of one was given")]
    DumpRequired(String),
}

/// The agent of one site.
pub struct Agent {
    client: Client,
    settings: Settings,
    store: Option<Box<dyn Store>>,
    notify: Notify,
    /// A source has let it wait for a dump: one that is away now may be back.
    has_asked: bool,
    /// Time since when the source of the first dump has been refused.
    refused_since: Option<Instant>,
}

/// Receiver of notices.
type Notify = Arc<dyn Fn(&Notice) + Send + Sync>;

/// True once the agent is told to stop. Nothing waits longer than it must.
type Stop = watch::Receiver<bool>;

impl Agent {
    /// An agent that applies to `store`, and tells `notify` how it goes.
    pub fn new(
        client: Client,
        settings: Settings,
        store: Box<dyn Store>,
        notify: impl Fn(&Notice) + Send + Sync + 'static,
    ) -> Self {
        let (store, notify) = (Some(store), Arc::new(notify));
        Self { client, settings, store, notify, has_asked: false, refused_since: None }
    }

    /// Runs until `stop`, then ends in order: what is applied by then is acknowledged.
    ///
    /// # Errors
    /// [`AgentError`]: the site cannot go on by itself.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AgentError> {
        let (stopped, mut stopping) = watch::channel(false);
        let told = tokio::spawn(async move {
            stop.await;
            stopped.send_replace(true);
        });
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let ended = loop {
            let turn = self.turn(&mut stopping, &mut backoff).await;
            match turn {
                Ok(Turn::Stop) => break Ok(()),
                Ok(Turn::Again) => backoff.reset(),
                Ok(Turn::Later(reason)) => {
                    let wait = backoff.next_wait();
                    (self.notify)(&Notice::Waiting { reason });
                    if !pause(wait, &mut stopping).await {
                        break Ok(());
                    }
                }
                Ok(Turn::Refused(reason)) => {
                    (self.notify)(&Notice::Refused { position: None, record: None, reason });
                    if !pause(RECORD_WAIT, &mut stopping).await {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        told.abort();
        ended
    }

    /// One registration, and what follows from it.
    async fn turn(&mut self, stop: &mut Stop, backoff: &mut Backoff) -> Result<Turn, AgentError> {
        if *stop.borrow() {
            return Ok(Turn::Stop);
        }
        let opened = tokio::select! {
            opened = self.with_store(|store| store.open()) => opened,
            _ = stop.wait_for(|stop| *stop) => return Ok(Turn::Stop),
        };
        let position = match opened {
            Ok(position) => position,
            Err(error) => return Turn::of(error),
        };
        let way = tokio::select! {
            way = self.register(position) => way,
            _ = stop.wait_for(|stop| *stop) => return Ok(Turn::Stop),
        };
        let way = match way {
            Ok(way) => way,
            Err(AgentError::Server(error)) if error.is_transient() => {
                return Ok(Turn::Later(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        match way {
            Way::Follow { generation, known, begin, seek } => {
                backoff.reset();
                if seek {
                    return self.seek(generation, known).await;
                }
                self.follow(generation, (known, begin), stop).await
            }
            Way::Wait(reason) => Ok(Turn::Later(reason)),
            Way::Restore { generation, dump, source } => {
                self.has_asked = true;
                self.restore(generation, &dump, &source, stop).await
            }
        }
    }

    /// Runs `work` on the store, on a thread that may block.
    async fn with_store<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> T + Send + 'static,
    ) -> T {
        let mut store = self.store.take().expect("each turn gives the store back");
        let worked = tokio::task::spawn_blocking(move || {
            let worked = work(&mut *store);
            (store, worked)
        });
        let (store, worked) = worked.await.expect("a store does not panic");
        self.store = Some(store);
        worked
    }
}

/// End of one turn.
#[derive(Debug)]
enum Turn {
    /// The agent was told to stop.
    Stop,
    /// The next one comes at once.
    Again,
    /// Something passes; the next one comes after a wait.
    Later(String),
    /// The store refuses something that an operator can mend.
    Refused(String),
}

impl Turn {
    fn of(error: StoreError) -> Result<Self, AgentError> {
        match error {
            StoreError::Passing(reason) => Ok(Self::Later(reason)),
            StoreError::Record(refusal) => Ok(Self::Refused(refusal.text)),
            StoreError::Fatal(fatal) => Err(fatal.into()),
        }
    }
}

/// Waits; false if the agent is told to stop.
async fn pause(wait: Duration, stop: &mut Stop) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait) => true,
        _ = stop.wait_for(|stop| *stop) => false,
    }
}
