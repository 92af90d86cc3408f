//! CEL expressions of operators and clients: compiled and run, or refused with a place.
#![no_main]

use std::sync::LazyLock;

use instep_fuzz::allowance::within;
use instep_model::expression::{CelValue, Expression, Meter, from_fields};
use instep_model::limits;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

static ROW: LazyLock<CelValue> = LazyLock::new(|| {
    let row = json!({ "count": 3, "price": 1.5, "name": "röm", "tags": ["a", "b"],
        "open": true, "none": null, "inner": { "x": -1 } });
    from_fields(row.as_object().expect("it is an object"))
});
static KEY: LazyLock<CelValue> = LazyLock::new(|| CelValue::String("k1".to_owned().into()));

fuzz_target!(
    init: { let _ = run("row.count + size(key) > 1 && key.matches('^k')"); },
    |source: &str| {
        within(64 * 1024 * 1024, 16 * 1024, source.len(), || { let _ = run(source); });
    }
);

fn run(source: &str) -> Option<serde_json::Value> {
    let expression = match Expression::compile(source, &["row", "key"]) {
        Ok(expression) => expression,
        Err(error) => {
            let spot = error.spot;
            assert!(spot.line > 0 && spot.column > 0 && !error.message.is_empty());
            return None;
        }
    };
    let variables = [("row", &*ROW), ("key", &*KEY)];
    let value = expression.evaluate(&variables, &mut Meter::new(limits::EXPRESSION_STEPS)).ok();
    let again = expression.evaluate(&variables, &mut Meter::new(limits::EXPRESSION_STEPS)).ok();
    assert_eq!(value, again, "an expression is a function");
    let truth = expression.is_true(&variables, &mut Meter::new(limits::EXPRESSION_STEPS)).ok();
    assert!(value.is_none() || truth == value.as_ref().and_then(serde_json::Value::as_bool));
    value
}
