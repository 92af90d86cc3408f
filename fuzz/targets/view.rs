//! Views as they are written in configuration: compiled and looked through, or refused.
#![no_main]

use std::sync::LazyLock;

use instep_fuzz::allowance::within;
use instep_model::name::Key;
use instep_model::row::Row;
use instep_model::state::Tables;
use instep_model::view::{Failures, View, ViewDeclaration};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static ROW: LazyLock<Row> = LazyLock::new(|| {
    let row = json!({ "count": 3, "name": "röm", "room": "1", "open": true });
    Row::new(row.as_object().expect("it is an object")).expect("it is a row")
});

/// The parser of expressions makes its tables at the first use of each of them.
const PLAIN: &str = r#"
name = "v"
dataset = "d"
table = "t"
topic = "r:{room}"
event = "e"
filter = "row.count > 2 && size(key) > 0"
"#;

fuzz_target!(
    init: { check(PLAIN); },
    |text: &str| {
        within(64 * 1024 * 1024, 16 * 1024, text.len(), || check(text));
    }
);

fn check(text: &str) {
    let Ok(declaration) = toml::from_str::<ViewDeclaration>(text) else { return };
    let view = match View::compile(&declaration) {
        Ok(view) => view,
        Err(error) => return assert!(!error.field.is_empty() && !error.problem.is_empty()),
    };
    let key = Key::new("k1").expect("it is a key");
    let mut failures = Failures::default();
    if let Some(seen) = view.see(&key, &ROW, &Tables::new(), &mut failures) {
        assert_eq!(failures, Failures::default());
        assert!(view.topic.matches(&seen.topic), "it is seen on a topic of its own: {seen:?}");
    }
}
