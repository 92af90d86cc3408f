//! Sites of the demo: agents as processes of this binary, each with a SQLite file of its own.
//!
//! `serve` supervises nothing. Here a process that ends by itself is started again, the buttons of
//! the page `/sites` are orders, and what there is to be seen is published while a page is open.

mod backlog;
mod board;
mod database;
mod orders;
mod process;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use instep::{Dataset, Node};
use instep_client::Client;
use instep_shop::sites::Order;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use self::backlog::Backlog;
use self::process::Process;

/// Names of sites, in the order in which they are given.
const NAMES: [&str; 6] = ["berlin", "dublin", "osaka", "lima", "perth", "accra"];
/// Sites that are there from the start.
const FIRST: usize = 3;
/// Source of dumps that is no site.
const SERVER: &str = "server";
/// Interval of a look at the processes, and of what is published.
const EVERY: Duration = Duration::from_millis(250);
/// Wait before a process that ended by itself is started again.
const RESTART_AFTER: Duration = Duration::from_secs(2);
/// Time that processes have to end in order, together.
const END_WITHIN: Duration = Duration::from_secs(3);

/// Sites of the demo.
pub(super) struct Fleet {
    /// Directory of their files, and of the admin key above it.
    data: PathBuf,
    /// The server, for the agents.
    url: String,
    node: Node,
    client: Client,
    backlog: Backlog,
    sites: Vec<Site>,
    orders: mpsc::Receiver<Order>,
    published: Value,
}

/// A site.
struct Site {
    name: &'static str,
    process: Option<Process>,
    /// Standing of its process, in a word for the page.
    standing: Standing,
    /// Reason why its process ended by itself.
    reason: Option<String>,
    /// Source of its dumps.
    source: String,
}

/// Standing of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It runs.
    Running,
    /// It was asked to end.
    Stopping,
    /// It has ended as it was asked to.
    Stopped,
    /// It was killed by an order.
    Killed,
    /// It was killed, and its database deleted.
    Wiped,
    /// It ended by itself, and is started again then.
    Ended(Instant),
}

impl Standing {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Wiped => "wiped",
            Self::Ended(_) => "ended",
        }
    }
}

impl Fleet {
    /// The sites of `dataset`, whose files are in a directory `sites` of `data`.
    pub(super) fn new(
        (node, dataset): (Node, Dataset),
        (client, url): (Client, String),
        data: PathBuf,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let backlog = Backlog::of(dataset);
        let published = Value::Null;
        let mut fleet =
            Self { data, url, node, client, backlog, sites: Vec::new(), orders, published };
        for (at, name) in NAMES.into_iter().enumerate() {
            // Those that were added from the page are known by their files.
            if at < FIRST || fleet.directory(name).exists() {
                fleet.sites.push(Site::new(name, SERVER));
            }
        }
        fleet
    }

    /// Supervises the processes until `stop`, and ends them in order then.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        for at in 0..self.sites.len() {
            self.start(at);
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                Some(Order { site, action, answer }) = self.orders.recv() => {
                    tracing::info!(site, ?action, "ordered");
                    let outcome = self.carry_out(&site, action).await;
                    // A visitor who went away does not take the order back.
                    let _ = answer.send(outcome);
                }
                _ = tick.tick() => self.look_after(),
            }
            self.publish().await;
        }
        self.end().await;
    }

    /// Notes processes that have ended, and starts those again that did so by themselves.
    fn look_after(&mut self) {
        let now = Instant::now();
        for at in 0..self.sites.len() {
            let site = &mut self.sites[at];
            if let Some(reason) = site.process.as_mut().and_then(Process::end) {
                site.process = None;
                if site.standing == Standing::Running {
                    tracing::warn!(site = site.name, reason, "the agent of a site has ended");
                    site.standing = Standing::Ended(now + RESTART_AFTER);
                    site.reason = Some(reason);
                } else if site.standing == Standing::Stopping {
                    site.standing = Standing::Stopped;
                }
            }
            if matches!(site.standing, Standing::Ended(again) if again <= now) {
                self.start(at);
            }
        }
    }

    fn start(&mut self, at: usize) {
        let (name, source) = (self.sites[at].name, self.sites[at].source.clone());
        let file = self.file(name);
        let directory = self.directory(name);
        let started = std::fs::create_dir_all(&directory)
            .and_then(|()| Process::start(name, &self.url, (&self.data, &file), &source));
        let site = &mut self.sites[at];
        match started {
            Ok(process) => {
                site.process = Some(process);
                (site.standing, site.reason) = (Standing::Running, None);
            }
            Err(error) => {
                tracing::warn!(site = name, %error, "the agent of a site cannot be started");
                site.standing = Standing::Ended(Instant::now() + RESTART_AFTER);
                site.reason = Some(error.to_string());
            }
        }
    }

    async fn end(mut self) {
        let mut processes: Vec<Process> =
            self.sites.iter_mut().filter_map(|site| site.process.take()).collect();
        for process in &processes {
            process.stop();
        }
        let deadline = Instant::now() + END_WITHIN;
        loop {
            processes.retain_mut(|process| process.end().is_none());
            if processes.is_empty() || Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for process in processes {
            process.kill();
        }
    }

    fn directory(&self, site: &str) -> PathBuf {
        self.data.join("sites").join(site)
    }

    fn file(&self, site: &str) -> PathBuf {
        self.directory(site).join("site.db")
    }
}

impl Site {
    fn new(name: &'static str, source: &str) -> Self {
        Self {
            name,
            process: None,
            standing: Standing::Stopped,
            reason: None,
            source: source.to_owned(),
        }
    }
}
