//! Stock levels: the form of a count that shoppers see.

use std::fmt;

use serde::{Deserialize, Serialize};

/// From which counts on a level is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// Counts below are `low`.
    pub low_below: i64,
    /// Counts below are `medium`.
    pub medium_below: i64,
}

impl Default for Levels {
    fn default() -> Self {
        Self { low_below: 150, medium_below: 500 }
    }
}

/// Level of an item's stock, as shoppers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// None.
    Out,
    /// Almost none.
    Low,
    /// Some.
    Medium,
    /// Plenty.
    High,
}

impl Levels {
    /// The level of a count.
    #[must_use]
    pub fn of(&self, count: i64) -> Level {
        match count {
            ..=0 => Level::Out,
            count if count < self.low_below => Level::Low,
            count if count < self.medium_below => Level::Medium,
            _ => Level::High,
        }
    }

    /// The same rule as a CEL expression over `row.count`.
    #[must_use]
    pub fn expression(&self) -> String {
        let Self { low_below, medium_below } = self;
        format!(
            "row.count <= 0 ? 'out' : row.count < {low_below} ? 'low' : \
             row.count < {medium_below} ? 'medium' : 'high'"
        )
    }
}

impl Level {
    /// The level's name, as pages and messages use it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snk_07_levels_are_0_below_150_below_500_and_more() {
        let levels = Levels::default();

        let shown: Vec<_> =
            [0, 1, 149, 150, 499, 500].map(|count| levels.of(count).as_str()).into();

        assert_eq!(shown, ["out", "low", "low", "medium", "medium", "high"]);
    }
}
