//! Holding of history: how far a log may be trimmed while sites need it, and which sites are
//! evicted because they need more than is held (I25).

use crate::name::Name;
use crate::position::{Incarnation, Revision};
use crate::retention::{Keep, Retention};
use crate::state::State;

use super::{Site, SiteOperation, sites};

/// History that is held for sites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The oldest entry that a site needs; beyond every entry when none needs any.
    pub oldest: Revision,
    /// Evictions of sites that need more than is held, to be proposed.
    pub evictions: Vec<SiteOperation>,
}

impl Holding {
    /// Decides about every site of a dataset: it is held, up to `hold`, or evicted.
    #[must_use]
    pub fn of(
        state: &State,
        incarnation: Incarnation,
        (retention, hold): (&Retention, Keep),
        now_ms: u64,
    ) -> Self {
        let mut holding = Self { oldest: Revision(u64::MAX), evictions: vec![] };
        for (name, site) in sites(state) {
            let Some(needed) = site.held(incarnation) else { continue };
            match (excess(retention.behind(needed, now_ms), hold), Name::new(name)) {
                (Some(reason), Ok(name)) => holding.evict(name, &site, reason),
                (None, _) | (Some(_), Err(_)) => holding.oldest = holding.oldest.min(needed),
            }
        }
        holding
    }

    fn evict(&mut self, site: Name, row: &Site, reason: String) {
        let generation = row.generation;
        self.evictions.push(SiteOperation::Evict { site, generation, reason });
    }
}

/// Reason to evict a site that is so far behind.
fn excess(Keep { bytes, ms }: Keep, hold: Keep) -> Option<String> {
    if bytes > hold.bytes {
        Some(format!("it is about {bytes} bytes of history behind, {} are held", hold.bytes))
    } else if ms > hold.ms {
        Some(format!("it is about {ms} ms of history behind, {} are held", hold.ms))
    } else {
        None
    }
}
