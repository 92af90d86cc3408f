//! Metrics of sites: how many are in which state, and how far each is.

use std::collections::BTreeMap;
use std::fmt::Result;

use instep_model::position::Position;
use instep_model::site::{self, SiteState};
use instep_node::Node;

use super::page::Page;
use crate::api::SiteFeeds;

/// Metrics of each site, with their help.
const VALUES: [(&str, &str); 9] = [
    ("instep_site_behind_entries", "Entries of the log that a site has not acknowledged"),
    ("instep_site_behind_bytes", "Bytes of these entries, about"),
    ("instep_site_behind_seconds", "Age of the oldest commit that a site has not acknowledged"),
    ("instep_site_silent_seconds", "Seconds since a site said anything"),
    ("instep_site_start_revision", "Entry from which the registration has followed the log"),
    ("instep_site_sent_revision", "Newest entry that the site was sent"),
    ("instep_site_confirmed_revision", "Entry up to which everything is applied"),
    ("instep_site_skipped_records", "Records that the content of a site leaves out"),
    ("instep_site_drift_rows", "Rows of a site that were not as the log says"),
];

/// The sites of all datasets.
#[derive(Debug, Default)]
pub(super) struct SitesMeasured {
    /// Numbers of sites, by dataset and state.
    states: Vec<([String; 2], u64)>,
    /// Values of each site, by their metric.
    values: BTreeMap<&'static str, Vec<([String; 2], u64)>>,
    /// Feeds that are open, by dataset and site.
    online: Vec<([String; 2], u64)>,
}

impl SitesMeasured {
    pub(super) fn now(node: &Node, feeds: &SiteFeeds) -> Self {
        let mut all = Self::default();
        for dataset in node.datasets() {
            let (state, of) = (dataset.state(), dataset.name().to_string());
            let mut counts = SiteState::ALL.map(|state| (state, 0));
            let mut any = false;
            for (name, site) in site::sites(&state) {
                any = true;
                counts.iter_mut().filter(|(of, _)| *of == site.state).for_each(|(_, n)| *n += 1);
                let lag = feeds.lag(&dataset, &state, (name, &site));
                let labels = [of.clone(), name.to_owned()];
                let incarnation = dataset.incarnation();
                let revision = |position: Option<Position>| {
                    position?.place_in(incarnation).map(|place| place.revision.0)
                };
                let values = [
                    lag.behind.map(|behind| behind.entries),
                    lag.behind.map(|behind| behind.bytes),
                    lag.behind.map(|behind| behind.ms / 1000),
                    lag.silent_ms.map(|silent| silent / 1000),
                    revision(site.start),
                    revision(lag.sent),
                    revision(Some(site.cursor)),
                    Some(site.tally.skipped),
                    Some(site.tally.drift),
                ];
                for ((name, _), value) in VALUES.iter().zip(values) {
                    let value = value.map(|value| (labels.clone(), value));
                    all.values.entry(*name).or_default().extend(value);
                }
                all.online.push((labels, lag.sent.is_some().into()));
            }
            if any {
                let named = |(state, count): (SiteState, u64)| {
                    ([of.clone(), state.word().to_owned()], count)
                };
                all.states.extend(counts.map(named));
            }
        }
        all
    }

    pub(super) fn write(&self, page: &mut Page<'_>) -> Result {
        let (states, sites) = (["dataset", "state"], ["dataset", "site"]);
        page.gauges_by("instep_sites", "Sites by their state", states, self.states.clone())?;
        for (name, help) in VALUES {
            let values = self.values.get(name).cloned().unwrap_or_default();
            page.gauges_by(name, help, sites, values)?;
        }
        let help = "1: the site follows the log now";
        page.gauges_by("instep_site_online", help, sites, self.online.clone())
    }
}
