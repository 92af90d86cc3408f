//! Goals of a bench: the figure promised, and the figure found.

use serde_json::{Value, json};

/// One promise.
pub(crate) struct Goal {
    name: &'static str,
    found: f64,
    wanted: f64,
    met: bool,
}

impl Goal {
    pub(crate) fn at_least(name: &'static str, found: f64, wanted: f64) -> Self {
        Self { name, found, wanted, met: found >= wanted }
    }

    pub(crate) fn at_most(name: &'static str, found: f64, wanted: f64) -> Self {
        Self { name, found, wanted, met: found <= wanted }
    }

    #[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
    pub(crate) fn print(&self) {
        let Self { name, found, wanted, met } = self;
        let outcome = if *met { "met" } else { "MISSED" };
        println!("goal: {name} {wanted}: {found:.2}: {outcome}");
    }

    pub(crate) fn json(&self) -> Value {
        let Self { name, found, wanted, met } = self;
        json!({"goal": name, "found": found, "wanted": wanted, "met": met})
    }
}
