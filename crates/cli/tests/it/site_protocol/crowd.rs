//! Many sites beside each other: silent, busy, coming and going.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use instep_client::{Client, NewSite, SiteChange, SiteStart};
use instep_model::position::Position;
use serde_json::{Value, json};

use super::{D, Sites, put};
use crate::running::{PATIENCE, hold_time};

/// Of history as much is held as a server holds by itself.
const CONFIG: &str = "
[[dataset]]
name = 'd'
";

/// Sites of the largest test: a dataset has up to 256.
const SITES: usize = 200;

/// The commits of a site as it was told them, a text each.
type Told = Vec<(Position, String)>;

impl Sites {
    fn client(&self) -> Client {
        Client::new(&self.server.url, Some(self.key.clone())).unwrap()
    }

    /// A feed of HTTP that is never read.
    fn silent(&self, site: &str, generation: u64) -> TcpStream {
        let address = self.server.address();
        let mut stream = TcpStream::connect(address).unwrap();
        let query = format!("site={site}&generation={generation}&follow=true");
        let head = format!(
            "GET {D}/changes?{query} HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Bearer {}\r\n\r\n",
            self.key
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }
}

async fn register(client: &Client, site: &str, start: SiteStart) -> (u64, Position) {
    let new = NewSite { start, tables: None, journals: None };
    let registered = client.register_site("d", site, &new).await.unwrap();
    (registered.generation, registered.cursor.unwrap())
}

/// Follows behind a position: `most` commits, or all up to `last`.
async fn follow(
    client: &Client,
    (site, generation, since): (&str, u64, Position),
    (most, last): (usize, Position),
) -> Told {
    let mut feed = client.site_feed("d", site, generation, since);
    let mut told = vec![];
    while told.len() < most && told.last().is_none_or(|(position, _)| *position != last) {
        let next = tokio::time::timeout(PATIENCE, feed.next()).await;
        match next.unwrap_or_else(|_| panic!("{site} is told nothing more")).unwrap() {
            SiteChange::Commit(commit) => {
                let text = serde_json::to_string(&commit.records).unwrap();
                told.push((commit.position, text));
            }
            SiteChange::Bookmark(_) => {}
            SiteChange::DumpAsked(dump) => panic!("dump {dump}"),
        }
    }
    told
}

// POL-01, POL-R13: no site shares a worker with others, so that no hash of their names matters:
// `node12` and `node21` have one sum of bytes.
#[test]
fn sites_of_any_names_are_told_one_sequence_over_reconnects() {
    let sites = Sites::new(CONFIG);
    let client = sites.client();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for n in 0..40 {
        sites.commit(&[put("t", &format!("k{}", n % 7)), put("other", &format!("k{n}"))]);
    }
    let last: Position = sites.commit(&[put("t", "last")]).parse().unwrap();
    let begin = |site: usize| {
        let client = client.clone();
        async move {
            let name = format!("node{site}");
            let (generation, cursor) = register(&client, &name, SiteStart::Beginning).await;
            // It is cut off at another commit each time, and goes on behind it.
            let mut told: Told = vec![];
            while told.last().is_none_or(|(position, _)| *position != last) {
                let since = told.last().map_or(cursor, |(position, _)| *position);
                let most = 10 + site % 20;
                told.extend(follow(&client, (&name, generation, since), (most, last)).await);
            }
            told
        }
    };

    let told: Vec<Told> = runtime.block_on(async {
        let following: Vec<_> = (0..SITES).map(|site| tokio::spawn(begin(site))).collect();
        let mut told = vec![];
        for site in following {
            told.push(site.await.unwrap());
        }
        told
    });

    let rows = told[0].iter().filter(|(_, records)| records.contains("put")).count();
    assert_eq!(rows, 41);
    for (site, told_it) in told.iter().enumerate() {
        assert_eq!(*told_it, told[0], "node{site}");
    }
}

// POL-02, POL-25: one that takes nothing costs its own backlog.
#[test]
fn a_site_that_reads_nothing_blocks_no_other() {
    let sites = Sites::new(CONFIG);
    let client = sites.client();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (generation, cursor) = runtime.block_on(register(&client, "silent", SiteStart::Head));
    let silent: Vec<TcpStream> = (0..3).map(|_| sites.silent("silent", generation)).collect();
    let (other, since) = runtime.block_on(register(&client, "other", SiteStart::Head));

    // Far more than sockets hold.
    let large = json!({"op": "append", "journal": "j", "text": "x".repeat(200_000)});
    let appended: Vec<String> =
        (0..100).map(|_| sites.commit(std::slice::from_ref(&large))).collect();
    let last: Position = appended.last().unwrap().parse().unwrap();
    let told = runtime.block_on(follow(&client, ("other", other, since), (usize::MAX, last)));

    assert_eq!(told.len(), 100);
    drop(silent);
    let all = runtime.block_on(follow(&client, ("silent", generation, cursor), (usize::MAX, last)));
    assert_eq!(all, told, "what it missed is there for it");
}

// POL-R6: sites come and go while others follow, and one that reads all of history again and again
// keeps no neighbour from what is new.
#[test]
fn sites_come_and_go_and_a_busy_one_starves_no_neighbour() {
    let sites = Sites::new(CONFIG);
    let client = sites.client();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rows: Vec<Value> = (0..500).map(|n| put("t", &format!("k{n}"))).collect();
    (0..20).for_each(|_| drop(sites.commit(&rows)));
    let history: Position = sites.commit(&[put("t", "a")]).parse().unwrap();
    let busy = client.clone();
    let busy = runtime.spawn(async move {
        let (generation, cursor) = register(&busy, "busy", SiteStart::Beginning).await;
        for _ in 0..u64::MAX {
            follow(&busy, ("busy", generation, cursor), (usize::MAX, history)).await;
        }
    });
    let (generation, mut since) = runtime.block_on(register(&client, "calm", SiteStart::Head));

    for n in 0..20 {
        let name = format!("guest{n}");
        runtime.block_on(register(&client, &name, SiteStart::Head));
        let begun = Instant::now();
        let last: Position = sites.commit(&[put("t", &format!("new{n}"))]).parse().unwrap();
        let told = runtime.block_on(follow(&client, ("calm", generation, since), (9, last)));
        hold_time("a write reaches a neighbour", begun.elapsed(), Duration::from_secs(1));
        assert_eq!(told.len(), 1, "{told:?}");
        since = last;
        runtime.block_on(client.remove_site("d", &name)).unwrap();
    }

    assert!(!busy.is_finished(), "it follows all the time");
    busy.abort();
    let left = runtime.block_on(client.sites("d")).unwrap();
    let names: Vec<&str> = left.sites.iter().map(|site| site.site.as_str()).collect();
    assert_eq!(names, ["busy", "calm"]);
}
