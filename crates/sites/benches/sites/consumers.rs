//! Many consumers of one log, of which some are silent: they follow, and read nothing.

use std::time::{Duration, Instant};

use instep_client::{Client, NewSite, SiteChange, SiteFeed, SiteStart};
use instep_model::position::Position;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Plan;
use crate::instep::{DATASET, Server};
use crate::turns::{Found, Side, Wanted, take};
use crate::writers::{Load, fill, write_to_instep};

const READERS: usize = 150;
const SILENT: usize = 50;
/// More than the buffers of a connection take.
const BACKLOG_BYTES: usize = 16_000_000;

/// Rows per second to those that read, with and without those that are silent.
pub(crate) fn measure(plan: &Plan) -> Vec<Found> {
    let server = Server::start();
    let runtime = Runtime::new().expect("a runtime");
    let client = server.client();
    fill(&server, BACKLOG_BYTES);
    let mut readers = Readers::start(&runtime, &client);
    let mut rows = 0;
    let (instep, reference) = take(plan.rounds, "consumers", |side, round| {
        let silent = (side == Side::Instep).then(|| runtime.block_on(silent(&client)));
        // Until their buffers are full.
        std::thread::sleep(Duration::from_secs(2));
        let commits = 8_000 / plan.part;
        let round = 2 * round + side as usize;
        let load = Load { commits, rows: 1, writers: 8, keys: 500, round };
        let begun = Instant::now();
        write_to_instep(&server, load);
        let head = runtime.block_on(client.sites(DATASET)).expect("the sites").position;
        runtime.block_on(readers.until(head));
        let taken = begun.elapsed();
        // The last row ends the load.
        rows += load.all_rows() as u64 + 1;
        readers.check(rows);
        drop(silent);
        load.all_rows() as f64 / taken.as_secs_f64()
    });
    vec![Found {
        name: "150 consumers, beside 50 silent ones",
        goal: "150 consumers beside 50 silent ones, against 150 alone, at least",
        unit: "rows/s",
        wanted: Wanted::AtLeast(0.9),
        instep,
        reference,
    }]
}

async fn follow(client: &Client, site: &str, start: SiteStart) -> SiteFeed {
    let new = NewSite { start, tables: None, journals: None };
    let registered = client.register_site(DATASET, site, &new).await.expect("a registration");
    let cursor = registered.cursor.expect("the position to begin at");
    client.site_feed(DATASET, site, registered.generation, cursor)
}

/// Feeds that took one commit and take no more.
async fn silent(client: &Client) -> Vec<SiteFeed> {
    let mut feeds = vec![];
    for number in 0..SILENT {
        let mut feed = follow(client, &format!("silent{number}"), SiteStart::Beginning).await;
        feed.next().await.expect("the first commit");
        feeds.push(feed);
    }
    feeds
}

/// Consumers that read, each a task.
struct Readers {
    /// Position of each, and rows so far.
    at: Vec<watch::Receiver<(Option<Position>, u64)>>,
    _tasks: JoinSet<()>,
}

impl Readers {
    fn start(runtime: &Runtime, client: &Client) -> Self {
        let (mut at, mut tasks) = (vec![], JoinSet::new());
        for number in 0..READERS {
            let name = format!("reader{number}");
            let mut feed = runtime.block_on(follow(client, &name, SiteStart::Head));
            let (tell, told) = watch::channel((None, 0));
            at.push(told);
            tasks.spawn_on(
                async move {
                    let mut rows = 0;
                    while let Ok(change) = feed.next().await {
                        match change {
                            SiteChange::Commit(commit) => {
                                rows += commit.records.len() as u64;
                                tell.send_replace((Some(commit.position), rows));
                            }
                            SiteChange::Bookmark(position) => {
                                tell.send_replace((Some(position), rows));
                            }
                            SiteChange::DumpAsked(_) => {}
                        }
                    }
                },
                runtime.handle(),
            );
        }
        Self { at, _tasks: tasks }
    }

    async fn until(&mut self, head: Position) {
        for at in &mut self.at {
            let is_there = |at: Option<Position>| at.is_some_and(|at| at.place >= head.place);
            at.wait_for(|(at, _)| is_there(*at)).await.expect("it reads on");
        }
    }

    fn check(&self, expected: u64) {
        self.at.iter().for_each(|at| assert_eq!(at.borrow().1, expected, "rows of a reader"));
    }
}
