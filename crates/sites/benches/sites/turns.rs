//! Turns: both sides of a comparison, one after the other, and the ratio of their medians.

use serde_json::{Value, json};

use crate::goal::Goal;
use crate::print_line;

/// Side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Instep,
    Reference,
}

/// Goal of a ratio.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// Comparison: its figures by round, and what they are to be.
pub(crate) struct Found {
    pub(crate) name: &'static str,
    /// Name of the goal.
    pub(crate) goal: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) wanted: Wanted,
    pub(crate) instep: Vec<f64>,
    pub(crate) reference: Vec<f64>,
}

impl Found {
    /// Ratio of the medians.
    fn ratio(&self) -> f64 {
        median(&self.instep) / median(&self.reference)
    }

    /// Least and greatest ratio of a round.
    fn spread(&self) -> (f64, f64) {
        let ratios = self.instep.iter().zip(&self.reference).map(|(ours, theirs)| ours / theirs);
        ratios
            .fold((f64::MAX, f64::MIN), |(least, most), ratio| (least.min(ratio), most.max(ratio)))
    }

    pub(crate) fn row(&self) -> String {
        let (name, unit, (least, most)) = (self.name, self.unit, self.spread());
        let what = format!("{name}, {unit}");
        let [ours, theirs] = [&self.instep, &self.reference].map(|of| median(of));
        let ratio = self.ratio();
        format!("{what:<42} {ours:>11.2} {theirs:>10.2} {ratio:>6.2}  {least:.2} to {most:.2}")
    }

    pub(crate) fn goal(&self) -> Goal {
        match self.wanted {
            Wanted::AtLeast(wanted) => Goal::at_least(self.goal, self.ratio(), wanted),
            Wanted::AtMost(wanted) => Goal::at_most(self.goal, self.ratio(), wanted),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let (least, most) = self.spread();
        json!({
            "what": self.name,
            "unit": self.unit,
            "instep": self.instep,
            "reference": self.reference,
            "ratio_of_medians": self.ratio(),
            "ratio_least": least,
            "ratio_most": most,
        })
    }
}

/// Measures both sides in each round, the order turned in even ones. Returns the figures of each.
pub(crate) fn take(
    rounds: usize,
    name: &str,
    mut turn: impl FnMut(Side, usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 1..=rounds {
        let mut order = [Side::Instep, Side::Reference];
        if round % 2 == 0 {
            order.reverse();
        }
        for side in order {
            let figure = turn(side, round);
            match side {
                Side::Instep => ours.push(figure),
                Side::Reference => theirs.push(figure),
            }
        }
        let (ours, theirs) = (ours[round - 1], theirs[round - 1]);
        let ratio = ours / theirs;
        print_line(&format!("{name}, round {round}: {ours:.2}, {theirs:.2}: {ratio:.2}"));
    }
    (ours, theirs)
}

/// Median of figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
