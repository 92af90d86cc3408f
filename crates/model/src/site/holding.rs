//! Holding of history: how far a log may be trimmed while sites need it, and which sites are
//! evicted because they need more than is held (I25).

use crate::name::Name;
use crate::position::{Incarnation, Position, Revision};
use crate::retention::{Keep, Retention};
use crate::state::State;

use super::{Site, SiteOperation, SiteState, site, sites};

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
            let excess = excess(retention.behind(needed, now_ms), hold, site.state);
            match (excess, Name::new(name)) {
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

/// Reason to evict a site that is so far behind. Of one that waits for a dump it names the rate of
/// the history that has outrun it (I22).
fn excess(Keep { bytes, ms }: Keep, hold: Keep, state: SiteState) -> Option<String> {
    let is_dump = matches!(state, SiteState::Reserved | SiteState::Dumping);
    if bytes > hold.bytes && is_dump {
        let (rate, seconds) = (bytes.saturating_mul(1_000) / ms.max(1), ms.div_ceil(1_000));
        Some(format!(
            "history outran its dump: it grew by about {rate} bytes/s, {bytes} bytes in {seconds} \
             s, {} are held",
            hold.bytes
        ))
    } else if bytes > hold.bytes {
        Some(format!("it is about {bytes} bytes of history behind, {} are held", hold.bytes))
    } else if ms > hold.ms {
        Some(format!("it is about {ms} ms of history behind, {} are held", hold.ms))
    } else {
        None
    }
}

/// Reason why a dump of a source is of no use, for which history is held from a position on: its
/// sites were evicted while they waited for it, so that none could go on from it (I22).
#[must_use]
pub fn outrun(state: &State, source: &Name, held: Position) -> Option<String> {
    let mut reason = None;
    for (_, site) in sites(state) {
        if site.source.as_ref() != Some(source) || site.cursor != held {
            continue;
        }
        match site.state {
            SiteState::Reserved | SiteState::Dumping => return None,
            SiteState::Evicted => reason = site.reason,
            SiteState::CatchingUp | SiteState::Live | SiteState::Paused | SiteState::Failed => {}
        }
    }
    reason
}

/// True when a site may take a dump of a source that is on its way, for which history is held from
/// a position on: it is of use, and the site was not evicted at that position or behind it, which
/// would happen to it again (I21).
#[must_use]
pub fn may_share(state: &State, name: &Name, source: &Name, held: Position) -> bool {
    let evicted = site(state, name.as_str()).filter(|site| site.state == SiteState::Evicted);
    let stood = evicted.and_then(|site| site.cursor.place_in(held.incarnation));
    stood.is_none_or(|stood| stood < held.place) && outrun(state, source, held).is_none()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::limits;
    use crate::name::Key;
    use crate::position::Place;
    use crate::registration::Generation;
    use crate::row::Row;
    use crate::site::{Scope, SiteState, TABLE, Tally};
    use crate::state::StoredRow;

    const HERE: Incarnation = Incarnation(Uuid::from_u128(1));

    /// A dataset with one site, which stands at the first entry.
    fn state(of_site: SiteState) -> State {
        let place = Place { revision: Revision(1), index: 0 };
        let site = Site {
            state: of_site,
            reason: None,
            generation: Generation(1),
            cursor: Position { incarnation: HERE, place },
            start: None,
            scope: Scope::default(),
            source: None,
            changed_ms: 0,
            paused: false,
            stands: None,
            skips: vec![],
            seek: None,
            tally: Tally::default(),
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
        let (state, day) = (state(SiteState::Live), 24 * HOUR);
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

    #[test]
    fn i22_history_that_outruns_a_dump_is_told_with_its_rate() {
        let hold = Keep { bytes: 5_000, ms: u64::MAX };
        let reason = |of_site| {
            let mut retention = Retention::in_steps_of(1);
            (1..=10).for_each(|n| retention.appended(Revision(n), 1_000, n * 100));
            let of = (&mut retention, hold);
            let holding = Holding::of(&state(of_site), HERE, of, (2_000, 0));
            let [SiteOperation::Evict { reason, .. }] = &holding.evictions[..] else { panic!() };
            reason.clone()
        };

        let held = Position { incarnation: HERE, place: Place { revision: Revision(1), index: 0 } };
        let source = Name::new("server").unwrap();
        assert_eq!(outrun(&state(SiteState::Dumping), &source, held), None);
        for taking in [SiteState::Reserved, SiteState::Dumping] {
            assert_eq!(
                reason(taking),
                "history outran its dump: it grew by about 5000 bytes/s, 9000 bytes in 2 s, 5000 \
                 are held"
            );
        }
        assert!(reason(SiteState::Live).contains("bytes of history behind"));
    }
}
