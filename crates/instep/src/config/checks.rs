//! Checks of what a file says as a whole: each section once, nothing that could never take effect.

use std::collections::BTreeMap;

use instep_edge::Proxies;
use instep_model::limits;
use instep_model::name::Name;
use instep_model::pattern::Names;
use instep_model::reserved;
use instep_model::view::{View, find_alike, find_shared};
use instep_node::LivePattern;

use super::{Config, Fault, KeyPath};

/// Refuses sections of one name that say who they are, and are given twice.
pub(super) fn once(config: &Config) -> Result<(), Fault> {
    let of = |dataset: &Name, name: &Name| format!("{dataset}/{name}");
    let Config { datasets, tables, views, live, mail, keys, .. } = config;
    twice("dataset", datasets.iter().map(|dataset| dataset.name.to_string()))?;
    twice("table", tables.iter().map(|table| of(&table.dataset, &table.name)))?;
    twice("view", views.iter().map(|view| of(&view.dataset, &view.name)))?;
    twice("live", live.iter().map(|live| live.topic.clone()))?;
    twice("mail", mail.iter().map(|mail| mail.dataset.to_string()))?;
    twice("key", keys.iter().map(|key| key.name.clone()))
}

pub(super) fn twice(section: &str, all: impl Iterator<Item = String>) -> Result<(), Fault> {
    let mut seen = BTreeMap::new();
    for (at, identity) in all.enumerate() {
        if let Some(before) = seen.get(&identity) {
            let problem = format!("[[{section}]] of {identity} is declared already");
            let fault = Fault::new(KeyPath::new(section).at(at), problem);
            return Err(fault.with(KeyPath::new(section).at(*before)));
        }
        seen.insert(identity, at);
    }
    Ok(())
}

/// Refuses views that meet on a topic and could not be told apart, or of which one would never be
/// seen there.
pub(super) fn views(config: &Config) -> Result<Vec<View>, Fault> {
    let path = |at: usize, field: &str| KeyPath::new("view").at(at).key(field);
    let mut all = Vec::with_capacity(config.views.len());
    let mut counts: BTreeMap<&Name, usize> = BTreeMap::new();
    for (at, declaration) in config.views.iter().enumerate() {
        let dataset = &declaration.dataset;
        let count = counts.entry(dataset).or_default();
        *count += 1;
        if *count > limits::DATASET_VIEWS {
            let problem = format!("at most {} for dataset {dataset}", limits::DATASET_VIEWS);
            return Err(Fault::new(KeyPath::new("view").at(at), problem));
        }
        all.push((dataset.clone(), config.compile(at)?));
    }
    if let Some((one, other)) = find_shared(&all) {
        let problem = format!(
            "dataset {} shows rows on the same topics, and a topic is told by one dataset",
            all[one].0
        );
        return Err(Fault::new(path(other, "topic"), problem).with(path(one, "topic")));
    }
    for dataset in counts.keys() {
        let of: Vec<usize> = (0..all.len()).filter(|at| all[*at].0 == **dataset).collect();
        let views: Vec<View> = of.iter().map(|at| all[*at].1.clone()).collect();
        if let Some((one, other)) = find_alike(&views) {
            let problem = format!(
                "view {} announces rows on the same topics by the same event {:?}: readers could \
                 not tell them apart",
                views[one].name, views[one].event
            );
            let (one, other) = (path(of[one], "event"), path(of[other], "event"));
            return Err(Fault::new(other, problem).with(one));
        }
    }
    Ok(all.into_iter().map(|(_, view)| view).collect())
}

/// Refuses live topics that are none, keep too much, or never come to anything.
pub(super) fn live(config: &Config, views: &[View]) -> Result<(), Fault> {
    for (at, live) in config.live.iter().enumerate() {
        let path = |key: &str| KeyPath::new("live").at(at).key(key);
        let name = Names::of(&live.topic).text;
        if name.is_empty() || name.contains('*') || reserved::is_topic(name) {
            let problem = "a name, or one that ends in '*'; not reserved";
            return Err(Fault::new(path("topic"), problem));
        }
        if live.history > limits::LIVE_HISTORY_MESSAGES {
            let problem = format!("at most {}", limits::LIVE_HISTORY_MESSAGES);
            return Err(Fault::new(path("history"), problem));
        }
        if live.history_bytes > limits::LIVE_HISTORY_BYTES_MOST {
            let problem = format!("at most {}", limits::LIVE_HISTORY_BYTES_MOST);
            return Err(Fault::new(path("history_bytes"), problem));
        }
        if let Some(before) = config.live[..at].iter().position(|before| takes_all(before, live)) {
            let problem = format!(
                "the first pattern that matches a topic decides, and {:?} stands before: what \
                 comes here is never asked",
                config.live[before].topic
            );
            let before = KeyPath::new("live").at(before).key("topic");
            return Err(Fault::new(path("topic"), problem).with(before));
        }
        let shown = views.iter().position(|view| is_shown(&live.topic, view));
        if let Some(view) = shown {
            let problem = format!(
                "the topics of view {} are those of its dataset: no live topic is left here",
                views[view].name
            );
            let view = KeyPath::new("view").at(view).key("topic");
            return Err(Fault::new(path("topic"), problem).with(view));
        }
    }
    Ok(())
}

/// True when every topic of a live pattern is one of a view.
pub(crate) fn is_shown(live: &str, view: &View) -> bool {
    let Names { text, is_open } = Names::of(live);
    if is_open { view.topic.takes_all_of(text) } else { view.topic.matches(text) }
}

/// True when no topic is left for the pattern behind.
fn takes_all(before: &LivePattern, behind: &LivePattern) -> bool {
    let before = Names::of(&before.topic);
    before.is_open && before.contain_all(Names::of(&behind.topic))
}

/// Refuses numbers out of their range, and settings that need another one.
pub(super) fn limits(config: &Config) -> Result<(), Fault> {
    let range = instep_embedded::log::SEGMENT_BYTES_MIN..=4 * 1024 * 1024 * 1024;
    if !range.contains(&config.log.segment_bytes) {
        let problem = format!("from {} to {} bytes", range.start(), range.end());
        return Err(Fault::new("log.segment_bytes", problem));
    }
    let range = 1..=limits::NODE_DATASETS_MOST;
    if !range.contains(&config.max_datasets) {
        let problem = format!("from {} to {}", range.start(), range.end());
        return Err(Fault::new("max_datasets", problem));
    }
    if config.dataset_names().len() > config.max_datasets {
        let problem = format!("at most {} (max_datasets)", config.max_datasets);
        return Err(Fault::new("dataset", problem));
    }
    let numbers = [
        ("ring_frames", config.ring_frames as u64),
        ("janus_ping_ms", config.janus_ping_ms),
        ("handshake_ms", config.handshake_ms),
        ("socket_idle_ms", config.socket_idle_ms),
        ("slow_reader_ms", config.slow_reader_ms),
        ("socket_channels", config.socket_channels as u64),
        ("sockets", config.sockets as u64),
        ("waiting_bytes", config.waiting_bytes as u64),
    ];
    if let Some((key, _)) = numbers.iter().find(|(_, value)| *value == 0) {
        return Err(Fault::new(*key, "at least 1"));
    }
    if config.shards > limits::SHARDS_MOST {
        return Err(Fault::new("shards", format!("at most {}", limits::SHARDS_MOST)));
    }
    let range = limits::FRAME_BYTES_LEAST..=limits::FRAME_BYTES_MOST;
    if !range.contains(&config.frame_bytes) {
        let problem = format!("from {} to {} bytes", range.start(), range.end());
        return Err(Fault::new("frame_bytes", problem));
    }
    Proxies::parse(&config.proxies).map_err(|error| Fault::new("proxies", error.to_string()))?;
    if !config.proxy_protocol.is_empty() && config.proxies.is_empty() {
        let problem = "whose headers are believed? Name them in proxies";
        return Err(Fault::new("proxy_protocol", problem));
    }
    config.tls.check().map_err(|(key, problem)| Fault::new(key, problem))
}

/// Refuses to serve others than this machine before anything says who may do what.
pub(super) fn exposure(config: &Config) -> Result<(), Fault> {
    let silent = config.rights.is_empty()
        && config.keys.is_empty()
        && config.tokens.iter().all(|tokens| tokens.files().next().is_none());
    let doors = [("http", Some(config.http)), ("tcp", config.tcp), ("janus", config.janus)];
    let public = doors.iter().find_map(|(key, address)| {
        address.filter(|address| !address.ip().is_loopback()).map(|address| (*key, address))
    });
    let Some((key, address)) = public.filter(|_| silent && !config.insecure_public) else {
        return Ok(());
    };
    let problem = format!(
        "{address} can be reached by others, and nothing says who may do what: declare \
         [[rights]], [tokens] or a [[key]], or say insecure_public = true (--insecure-public)"
    );
    Err(Fault::new(key, problem).of(address))
}
