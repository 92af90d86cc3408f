//! `instep site show` and `instep site lag`: what is known of sites, and how far they are.

use instep_client::{SiteSkip, SiteStand, SiteStatus};
use serde_json::Value;

use super::{Dataset, Named};
use crate::failure::Failure;
use crate::output;

/// Sites whose lag is shown.
#[derive(Debug, clap::Args)]
pub(super) struct Lag {
    /// Id of a site; without it all.
    id: Option<String>,
    #[command(flatten)]
    of: Dataset,
}

/// Shows a site.
pub(super) async fn run(named: &Named, json: bool) -> Result<(), Failure> {
    let Named { id, of: Dataset { dataset, access } } = named;
    let site = access.client()?.site(dataset, id).await?;
    if json {
        return output::json(&site);
    }
    let rows = rows(&site);
    output::table(&["SITE", &site.site], rows.map(|(name, value)| vec![name.to_owned(), value]), "")
}

fn rows(site: &SiteStatus) -> impl Iterator<Item = (&'static str, String)> {
    let text = |name: &str| word(site.more.get(name));
    let stands = site.stands.map(stand_in_words);
    let stale = if site.more.get("stale") == Some(&Value::Bool(true)) { " (stale)" } else { "" };
    let fixed = [
        ("state", site.state.clone()),
        ("reason", word_of(site.reason.as_ref())),
        ("paused", text("paused")),
        ("stands at", stands.unwrap_or_else(|| "-".into())),
        ("generation", text("generation")),
        ("source", text("source")),
        ("online", text("online")),
        ("started at", text("start")),
        ("sent", text("sent")),
        ("confirmed", word_of(site.cursor.as_ref())),
        ("behind", behind(site)),
        ("heard", format!("{}{stale}", seconds_ago(site.more.get("silent_ms")))),
        ("skipped", text("skipped")),
        ("drift", text("drift")),
        ("tables", text("tables")),
        ("journals", text("journals")),
    ];
    let skips = site
        .skips
        .iter()
        .map(|SiteSkip { at, reason }| ("to skip", format!("{}: {reason}", stand_in_words(*at))));
    fixed.into_iter().chain(skips.collect::<Vec<_>>())
}

/// Shows how far sites are.
pub(super) async fn lag(arguments: &Lag, json: bool) -> Result<(), Failure> {
    let Lag { id, of: Dataset { dataset, access } } = arguments;
    let client = access.client()?;
    let sites = match id {
        Some(id) => vec![client.site(dataset, id).await?],
        None => client.sites(dataset).await?.sites,
    };
    if json {
        return sites.iter().try_for_each(output::json);
    }
    let positions = ["STARTED", "SENT", "CONFIRMED"];
    let heading = [&["SITE", "STATE"][..], &positions, &["ENTRIES", "BYTES", "SECONDS", "HEARD"]];
    let heading = heading.concat();
    let row = |site: &SiteStatus| {
        let text = |name: &str| word(site.more.get(name));
        vec![
            site.site.clone(),
            site.state.clone(),
            entry(&text("start")),
            entry(&text("sent")),
            entry(&word_of(site.cursor.as_ref())),
            text("behind_entries"),
            text("behind_bytes"),
            seconds(site.more.get("behind_ms")),
            seconds_ago(site.more.get("silent_ms")),
        ]
    };
    output::table(&heading, sites.iter().map(row), "no sites")
}

fn behind(site: &SiteStatus) -> String {
    let text = |name: &str| word(site.more.get(name));
    let seconds = seconds(site.more.get("behind_ms"));
    let (entries, bytes) = (text("behind_entries"), text("behind_bytes"));
    format!("{entries} entries, about {bytes} bytes, {seconds} s")
}

fn stand_in_words(SiteStand { position, record }: SiteStand) -> String {
    match record {
        Some(record) => format!("{position}, record {record}"),
        None => format!("{position}, all of it"),
    }
}

/// Number of the entry in a position.
fn entry(position: &str) -> String {
    let revision = position.split('-').nth(1).map(|digits| digits.trim_start_matches('0'));
    match revision {
        Some("") => "0".into(),
        Some(revision) => revision.to_owned(),
        None => "-".into(),
    }
}

fn seconds(ms: Option<&Value>) -> String {
    let ms = ms.and_then(Value::as_u64);
    ms.map_or_else(|| "-".into(), |ms| format!("{}.{}", ms / 1000, ms % 1000 / 100))
}

fn seconds_ago(ms: Option<&Value>) -> String {
    match seconds(ms) {
        unknown if unknown == "-" => "not since the server started".into(),
        seconds => format!("{seconds} s ago"),
    }
}

pub(super) fn word_of(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".into(), ToString::to_string)
}

pub(super) fn word(value: Option<&Value>) -> String {
    match value {
        Some(Value::Bool(true)) => "yes".into(),
        Some(Value::Bool(false)) => "no".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Null) | None => "-".into(),
        Some(value) => value.to_string(),
    }
}
