//! Metrics of the server, as a page for Prometheus: in its text form, or in OpenMetrics for clients
//! that ask for it.
//!
//! Nothing is added up before the page is asked for: shards and datasets count for themselves.
//! Every name is explained in `docs/reference/metrics.md`. No label is chosen by clients, but for
//! names that administrators give: of datasets, views and sites, whose number is bounded.

mod classic;
mod page;
mod process;
mod sites;

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use instep_edge::{BEHIND, Counts, Door, JOIN_REFUSALS, Lag, RateCounts, TlsCounts};
use instep_model::mail::QueueState;
use instep_node::mail::MailCounts;
use instep_node::{Dataset, Node, blocking, now_ms};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use self::page::Page;
use self::process::Process;
use self::sites::SitesMeasured;
use crate::accept;
use crate::api::SiteFeeds;
use crate::caller::Admin;
use crate::problem::Problem;

/// The forms of the page, the usual one first.
const FORMS: [&str; 2] = ["text/plain", "application/openmetrics-text"];
/// Timeout of the shards' answer about the lag of their subscribers.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves the page.
pub(crate) async fn serve(
    _: Admin,
    State((node, door, feeds)): State<(Node, Door, SiteFeeds)>,
    headers: HeaderMap,
) -> Response {
    let form = accept::preferred(&headers, &FORMS);
    let lag = tokio::time::timeout(PATIENCE, door.lag()).await.ok();
    // Locks of many topics are taken, and files of /proc are read.
    let written = blocking(move || {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Measured::now(&node, &door, &feeds, lag)));
        let mut page = String::new();
        text::encode(&mut page, &registry).map(|()| page)
    });
    match written.await {
        Ok(Ok(page)) => {
            let (version, page) =
                if form == FORMS[0] { ("0.0.4", classic::of(&page)) } else { ("1.0.0", page) };
            let content_type = format!("{form}; version={version}; charset=utf-8");
            let vary = (header::VARY, "accept".to_owned());
            ([(header::CONTENT_TYPE, content_type), vary], page).into_response()
        }
        Ok(Err(_)) => Problem::storage(&"the page of metrics cannot be written").into_response(),
        Err(error) => Problem::exhausted(&error).into_response(),
    }
}

/// Notes that the server begins.
pub(crate) fn begin() {
    process::note_start();
}

/// Everything at one moment.
#[derive(Debug)]
struct Measured {
    ready: bool,
    draining: bool,
    connections: [(&'static str, u64); 4],
    /// Connections of every door, and bytes that wait.
    lines: [u64; 2],
    counts: Counts,
    tls: TlsCounts,
    rates: RateCounts,
    lag: Option<Lag>,
    joins_refused: [u64; JOIN_REFUSALS.len()],
    /// Topics, frames and bytes on their rings.
    topics: [u64; 3],
    datasets: Vec<DatasetMeasured>,
    /// Datasets that are there and not open.
    unopened: Vec<String>,
    sites: SitesMeasured,
    process: Process,
}

#[derive(Debug)]
struct DatasetMeasured {
    name: String,
    counters: instep_node::dataset::Counters,
    waiting: instep_node::dataset::Waiting,
    head: u64,
    /// Rows that each view could not show, by the view's name.
    view_failures: Vec<(String, u64)>,
    snapshot_age: Duration,
    stopped: bool,
    degraded: bool,
    appending: Duration,
    mail: Option<MailMeasured>,
}

/// The mail of a dataset that has any.
#[derive(Debug)]
struct MailMeasured {
    counts: MailCounts,
    stored: u64,
    confirmed: u64,
    expired: u64,
    pending: u64,
    unrouted: u64,
    dead: u64,
    oldest_ms: u64,
}

impl Measured {
    fn now(node: &Node, door: &Door, feeds: &SiteFeeds, lag: Option<Lag>) -> Self {
        let mut counts = sum(&door.counts());
        counts.evicted += door.slow_readers();
        counts.waits.add(&door.waits());
        let mut topics = [0; 3];
        for topic in node.topics().all() {
            let (frames, bytes) = topic.occupancy();
            topics[0] += 1;
            topics[1] += frames as u64;
            topics[2] += bytes as u64;
        }
        Self {
            lines: [door.lines() as u64, door.waiting_bytes() as u64],
            ready: node.waiting_for().is_none() && !door.is_draining(),
            draining: door.is_draining(),
            connections: [
                ("websocket", counts.websocket),
                ("tcp", counts.tcp),
                ("janus", counts.janus),
                ("longpoll", door.longpoll_sessions() as u64),
            ],
            counts,
            tls: door.tls_handshakes(),
            rates: door.rate_counts(),
            lag,
            joins_refused: door.joins_refused(),
            topics,
            datasets: node.datasets().iter().map(DatasetMeasured::now).collect(),
            unopened: node.unopened().iter().map(|(name, _)| name.to_string()).collect(),
            sites: SitesMeasured::now(node, feeds),
            process: Process::now(),
        }
    }

    fn doors(&self, page: &mut Page<'_>) -> std::fmt::Result {
        let counts = &self.counts;
        let doors = self.connections.map(|(door, now)| (door.to_owned(), now));
        page.gauges("instep_connections", "Connections now", "door", doors)?;
        let [lines, waiting] = self.lines;
        page.gauge("instep_lines", "Connections of every door, whatever is spoken", lines)?;
        page.gauge(
            "instep_client_bytes",
            "Bytes that wait for clients to take them, or of clients are not complete",
            waiting,
        )?;
        page.counter(
            "instep_connections_accepted",
            "Connections that shards took in",
            counts.accepted,
        )?;
        page.counter(
            "instep_connections_refused",
            "TCP connections for which there was no place or no descriptor",
            counts.refused,
        )?;
        page.counter(
            "instep_evictions",
            "Connections closed because they took nothing for too long",
            counts.evicted,
        )?;
        page.counter(
            "instep_unfinished_refused",
            "Connections closed because they did not finish a message in time",
            counts.overfull,
        )?;
        page.gauge(
            "instep_unfinished_bytes",
            "Bytes of messages that have not come to their end",
            counts.unfinished_bytes,
        )?;
        page.counter(
            "instep_shard_panics",
            "How often a shard has panicked, closed its connections and begun again",
            counts.panics,
        )?;
        page.times("instep_handshake", "WebSocket handshakes", &counts.handshakes)?;
        page.times(
            "instep_accept",
            "From a ready socket until a shard serves it",
            &counts.accepts,
        )?;
        page.times(
            "instep_accept_wait",
            "From when a client may have waited at a listener until the next came in",
            &counts.waits,
        )?;
        page.times("instep_shard_turn", "Turns of shards", &counts.turns)?;
        page.counter("instep_frames_received", "Messages from clients", counts.frames_in)?;
        page.counter("instep_deliveries", "Messages given to subscribers", counts.deliveries)?;
        page.counter("instep_received_bytes", "Bytes read from sockets", counts.bytes_in)?;
        page.counter("instep_sent_bytes", "Bytes written to sockets", counts.bytes_out)?;
        page.counter("instep_gaps", "Subscribers that fell off a ring", counts.lagged)?;
        page.counter(
            "instep_missed_frames",
            "Messages that such subscribers were not given one by one",
            counts.missed,
        )?;
        self.limits(page)?;
        let refused = JOIN_REFUSALS.map(|reason| reason.replace(' ', "_"));
        let refused = refused.into_iter().zip(self.joins_refused);
        page.counters("instep_joins_refused", "Joins that were refused", "reason", refused)
    }

    fn limits(&self, page: &mut Page<'_>) -> std::fmt::Result {
        let (tls, rates) = (&self.tls, &self.rates);
        let handshakes = [("done", tls.done), ("failed", tls.failed), ("late", tls.late)];
        let handshakes = handshakes.map(|(how, count)| (how.to_owned(), count));
        page.counters(
            "instep_tls_handshakes",
            "TLS handshakes by how they ended",
            "end",
            handshakes,
        )?;
        page.counter(
            "instep_tls_certificates_refused",
            "Changed certificates that were not taken because a file is not good",
            crate::tls::refused(),
        )?;
        page.gauge(
            "instep_tls_certificate_stale",
            "1 while a changed certificate cannot be taken and the one before is shown",
            u64::from(crate::tls::is_stale()),
        )?;
        let (failed, unread) = crate::keys::reload::failures();
        page.counter(
            "instep_key_reads_failed",
            "Attempts to read a changed file of keys that failed",
            failed,
        )?;
        page.gauge("instep_key_files_unread", "Files of keys that cannot be read now", unread)?;
        let limited = [
            ("connections", rates.connections),
            ("messages", rates.messages),
            ("requests", rates.requests),
            ("proofs", rates.proofs),
        ];
        let limited = limited.map(|(what, count)| (what.to_owned(), count));
        page.counters("instep_rate_limited", "What came too often and was refused", "what", limited)
    }

    fn topics(&self, page: &mut Page<'_>) -> std::fmt::Result {
        let [topics, frames, bytes] = self.topics;
        page.gauge("instep_topics", "Topics that are joined or kept", topics)?;
        page.gauge("instep_ring_frames", "Frames on the rings of topics", frames)?;
        page.gauge("instep_ring_bytes", "Bytes on the rings of topics", bytes)?;
        let Some(lag) = &self.lag else {
            return Ok(());
        };
        page.gauge("instep_subscriptions", "Topics joined on sockets", lag.subscriptions)?;
        let behind = BEHIND.iter().map(ToString::to_string).zip(lag.behind);
        let help = "Topics joined on sockets whose subscriber is at least so many frames behind";
        page.gauges("instep_subscriptions_behind", help, "frames", behind)?;
        page.gauge("instep_lag_frames_max", "Frames that the furthest is behind", lag.most)?;
        page.gauge("instep_waiting_bytes", "Bytes that wait for sockets", lag.waiting_bytes)?;
        page.gauge("instep_blocked_connections", "Sockets that take nothing now", lag.blocked)
    }

    fn datasets(&self, page: &mut Page<'_>) -> std::fmt::Result {
        type Read = fn(&DatasetMeasured) -> u64;
        let counters: [(&str, &str, Read); 6] = [
            ("instep_commits", "Commits made durable", |d| d.counters.commits),
            ("instep_commit_refusals", "Proposals refused", |d| d.counters.refusals),
            ("instep_log_entries", "Entries appended: group commits", |d| d.counters.entries),
            ("instep_log_written_bytes", "Bytes appended", |d| d.counters.bytes),
            ("instep_snapshots", "Snapshots written", |d| d.counters.snapshots),
            ("instep_snapshot_failures", "Snapshots that failed", |d| d.counters.snapshot_failures),
        ];
        for (name, help, read) in counters {
            page.counters(name, help, "dataset", self.of_datasets(read))?;
        }
        let failures = self.datasets.iter().flat_map(|dataset| {
            let of =
                |(view, count): &(String, u64)| ([&*dataset.name, view].map(String::from), *count);
            dataset.view_failures.iter().map(of)
        });
        let help = "Writes of rows that a view cannot show, because its expression fails on them";
        page.counters_by("instep_evaluation_errors", help, ["dataset", "view"], failures)?;
        let gauges: [(&str, &str, Read); 8] = [
            ("instep_log_head_revision", "The newest visible entry", |d| d.head),
            ("instep_queued_commits", "Proposals that wait", |d| d.waiting.commits as u64),
            ("instep_queued_bytes", "Bytes of proposals that wait", |d| d.waiting.bytes as u64),
            ("instep_views_behind_entries", "Entries that views have not told yet", |d| {
                d.waiting.views as u64
            }),
            ("instep_snapshot_age_seconds", "Since the newest snapshot, or the start", |d| {
                d.snapshot_age.as_secs()
            }),
            ("instep_dataset_stopped", "1: it takes no commits any more", |d| d.stopped.into()),
            ("instep_dataset_degraded", "1: a part of it does not work now", |d| d.degraded.into()),
            ("instep_append_waiting_seconds", "Of the append that is under way", |d| {
                d.appending.as_secs()
            }),
        ];
        for (name, help, read) in gauges {
            page.gauges(name, help, "dataset", self.of_datasets(read))?;
        }
        let unopened = self.unopened.iter().map(|name| (name.clone(), 1));
        let all = self.of_datasets(|_| 0).chain(unopened);
        page.gauges("instep_dataset_unopened", "1: it is there and not open", "dataset", all)?;
        self.mail(page)
    }

    fn mail(&self, page: &mut Page<'_>) -> std::fmt::Result {
        type Read = fn(&MailMeasured) -> u64;
        let of = |read: Read| {
            self.datasets.iter().filter_map(move |dataset| {
                Some((dataset.name.clone(), read(dataset.mail.as_ref()?)))
            })
        };
        let counters: [(&str, &str, Read); 8] = [
            ("instep_mail_stored", "Messages stored", |m| m.stored),
            ("instep_mail_confirmed", "Messages confirmed", |m| m.confirmed),
            ("instep_mail_expired", "Messages expired", |m| m.expired),
            ("instep_mail_given", "Messages given to servers", |m| m.counts.delivery.given),
            ("instep_mail_looked_at", "Messages looked at to find those to give", |m| {
                m.counts.delivery.looked_at
            }),
            ("instep_mail_asked", "Messages that servers were asked about", |m| {
                m.counts.delivery.asked
            }),
            ("instep_mail_fenced", "Answers of registrations that are none any more", |m| {
                m.counts.fenced
            }),
            ("instep_mail_damaged", "Bodies that are not what was stored", |m| m.counts.damaged),
        ];
        for (name, help, read) in counters {
            page.counters(name, help, "dataset", of(read))?;
        }
        let gauges: [(&str, &str, Read); 8] = [
            ("instep_mail_pending", "Messages that wait for their servers", |m| m.pending),
            ("instep_mail_unrouted", "Messages without a route", |m| m.unrouted),
            ("instep_mail_dead", "Dead letters", |m| m.dead),
            ("instep_mail_oldest_seconds", "Age of the oldest pending message", |m| {
                m.oldest_ms / 1_000
            }),
            ("instep_mail_registered_servers", "Servers that take their mail", |m| {
                m.counts.delivery.registered
            }),
            ("instep_mail_unconfirmed", "Messages given and not confirmed", |m| {
                m.counts.delivery.unconfirmed
            }),
            ("instep_mail_young_bytes", "Bodies in memory", |m| m.counts.bodies.young_bytes),
            ("instep_mail_stored_bytes", "Bodies on disk", |m| m.counts.bodies.stored_bytes),
        ];
        for (name, help, read) in gauges {
            page.gauges(name, help, "dataset", of(read))?;
        }
        Ok(())
    }

    fn of_datasets(
        &self,
        read: fn(&DatasetMeasured) -> u64,
    ) -> impl Iterator<Item = (String, u64)> + '_ {
        self.datasets.iter().map(move |dataset| (dataset.name.clone(), read(dataset)))
    }
}

impl DatasetMeasured {
    fn now(dataset: &Dataset) -> Self {
        Self {
            name: dataset.name().to_string(),
            counters: dataset.counters(),
            waiting: dataset.waiting(),
            head: dataset.position().place.revision.0,
            view_failures: dataset
                .views()
                .into_iter()
                .map(|(view, failures)| (view.name.to_string(), failures.count))
                .collect(),
            snapshot_age: dataset.snapshot_age(),
            stopped: dataset.stopped().is_some(),
            degraded: dataset.degraded().is_some(),
            appending: dataset.appending().unwrap_or_default(),
            mail: dataset.has_mail().then(|| MailMeasured::now(dataset)),
        }
    }
}

impl MailMeasured {
    fn now(dataset: &Dataset) -> Self {
        let state = dataset.state();
        let sum = |read: fn(&QueueState) -> u64| state.mail.queues().map(read).sum::<u64>();
        let unrouted = sum(|queue| queue.unrouted);
        let oldest = state.mail.oldest_ms(None);
        Self {
            counts: dataset.mail_counts(),
            stored: sum(|queue| queue.stored),
            confirmed: sum(|queue| queue.confirmed),
            expired: sum(|queue| queue.expired),
            pending: sum(|queue| queue.pending) - unrouted,
            unrouted,
            dead: sum(|queue| queue.dead),
            oldest_ms: oldest.map_or(0, |at| now_ms().saturating_sub(at)),
        }
    }
}

impl Collector for Measured {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut page = Page::new(encoder);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.info("instep_build", "What runs", &version)?;
        page.gauge("instep_ready", "1: everything is in memory, and it stays", self.ready.into())?;
        page.gauge("instep_draining", "1: it is about to stop", self.draining.into())?;
        self.doors(&mut page)?;
        self.topics(&mut page)?;
        self.datasets(&mut page)?;
        self.sites.write(&mut page)?;
        self.process.write(&mut page)
    }
}

/// Sum of the counts of all shards.
fn sum(shards: &[Counts]) -> Counts {
    let mut all = Counts::default();
    for shard in shards {
        all.websocket += shard.websocket;
        all.tcp += shard.tcp;
        all.janus += shard.janus;
        all.accepted += shard.accepted;
        all.refused += shard.refused;
        all.frames_in += shard.frames_in;
        all.deliveries += shard.deliveries;
        all.bytes_in += shard.bytes_in;
        all.bytes_out += shard.bytes_out;
        all.lagged += shard.lagged;
        all.missed += shard.missed;
        all.evicted += shard.evicted;
        all.overfull += shard.overfull;
        all.unfinished_bytes += shard.unfinished_bytes;
        all.panics += shard.panics;
        all.handshakes.add(&shard.handshakes);
        all.accepts.add(&shard.accepts);
        all.waits.add(&shard.waits);
        all.turns.add(&shard.turns);
    }
    all
}
