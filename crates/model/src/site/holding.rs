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
    /// Decides about every site of a dataset: it is held, up to `hold`, or evicted. `running_ms` is
    /// a monotonic clock: a step of the other one evicts no site before it is believed.
    #[must_use]
    pub fn of(
        state: &State,
        incarnation: Incarnation,
        (retention, hold): (&mut Retention, Keep),
        (now_ms, running_ms): (u64, u64),
    ) -> Self {
        let now_ms = retention.time(now_ms, running_ms);
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

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::limits;
    use crate::name::Key;
    use crate::position::{Place, Position};
    use crate::registration::Generation;
    use crate::row::Row;
    use crate::site::{Scope, SiteState, TABLE};
    use crate::state::StoredRow;

    const HERE: Incarnation = Incarnation(Uuid::from_u128(1));

    /// A dataset with one site, which stands at the first entry.
    fn state() -> State {
        let place = Place { revision: Revision(1), index: 0 };
        let site = Site {
            state: SiteState::Live,
            reason: None,
            generation: Generation(1),
            cursor: Position { incarnation: HERE, place },
            scope: Scope::default(),
            source: None,
            changed_ms: 0,
        };
        let mut state = State::default();
        let row = Row::new(&site.to_fields()).unwrap();
        let table = state.tables.entry(Name::new(TABLE).unwrap()).or_default();
        table.put(&Key::new("node1").unwrap(), StoredRow { place, row });
        state
    }

    #[test]
    fn a_step_of_the_clock_evicts_no_site_unless_it_lasts_for_an_hour() {
        const HOUR: u64 = limits::HISTORY_DOUBT_MS;
        let (state, day) = (state(), 24 * HOUR);
        let mut retention = Retention::in_steps_of(1);
        (1..=10).for_each(|number| retention.appended(Revision(number), 1, number));
        let hold = Keep { bytes: u64::MAX, ms: 7 * day };
        let mut evicted = |now_ms, running_ms| {
            let holding = Holding::of(&state, HERE, (&mut retention, hold), (now_ms, running_ms));
            assert_eq!(holding.oldest == Revision(1), holding.evictions.is_empty());
            !holding.evictions.is_empty()
        };

        assert!(!evicted(10, 0));
        assert!(!evicted(8 * day, 1_000), "it is ahead");
        assert!(!evicted(2_000, 2_000), "it is right again");
        assert!(!evicted(8 * day, 3_000), "it is ahead");
        assert!(evicted(8 * day + HOUR, 3_000 + HOUR), "it is what the time is");
    }
}
