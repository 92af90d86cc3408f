//! Metrics of sites: how many are in which state, and how far each is.

use std::fmt::Result;

use instep_model::site::{self, SiteState};
use instep_node::Node;

use super::page::Page;
use crate::api::SiteFeeds;

/// The sites of all datasets.
#[derive(Debug, Default)]
pub(super) struct SitesMeasured {
    /// Numbers of sites, by dataset and state.
    states: Vec<([String; 2], u64)>,
    /// Entries behind, by dataset and site.
    behind: Vec<([String; 2], u64)>,
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
                all.behind.extend(lag.behind_entries.map(|behind| (labels.clone(), behind)));
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
        let help = "Entries of the log that a site has not acknowledged";
        page.gauges_by("instep_site_behind_entries", help, sites, self.behind.clone())?;
        let help = "1: the site follows the log now";
        page.gauges_by("instep_site_online", help, sites, self.online.clone())
    }
}
