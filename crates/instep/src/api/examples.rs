//! Examples of the OpenAPI document: bodies and operations from `examples.json`, problems from the
//! codes that an answer names.
//!
//! `web/tests/openapi.py` sends the bodies and operations to a server, and holds the answers to
//! what comes back.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::problem::{CODES, Problem};

/// Examples that are kept as a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Examples {
    /// Operations of a commit, by their `op`: several where none can have all fields.
    pub(super) operations: BTreeMap<String, Vec<Value>>,
    /// Bodies of requests, by the id of the operation and a name.
    pub(super) requests: BTreeMap<String, BTreeMap<String, Value>>,
    /// Bodies of answers, by the id of the operation.
    answers: BTreeMap<String, Value>,
}

pub(super) static EXAMPLES: LazyLock<Examples> = LazyLock::new(|| {
    serde_json::from_str(include_str!("examples.json")).expect("it was read by the tests")
});

/// Adds the examples to the document. An explanation of each code is the detail of its problem.
pub(super) fn add(document: &mut Value, details: &BTreeMap<&str, String>) {
    let operations = document["components"]["schemas"]["CommitOperation"]["oneOf"].as_array_mut();
    for operation in operations.into_iter().flatten() {
        let op = operation["properties"]["op"]["const"].as_str();
        if let Some(given) = op.and_then(|op| EXAMPLES.operations.get(op)) {
            operation["examples"] = json!(given);
        }
    }
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        if let Some(requests) = EXAMPLES.requests.get(&id) {
            let named = requests.iter().map(|(name, body)| (name.clone(), json!({"value": body})));
            operation["requestBody"]["content"]["application/json"]["examples"] = named.collect();
        }
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            let problems = problems(status, &response["description"], details);
            let contents = response.get_mut("content").and_then(Value::as_object_mut);
            for (kind, content) in contents.into_iter().flatten() {
                match (kind.as_str(), EXAMPLES.answers.get(&id)) {
                    ("application/problem+json", _) => content["examples"] = problems.clone(),
                    (_, Some(answer)) => content["example"] = answer.clone(),
                    (_, None) => {}
                }
            }
        }
    }
}

/// A problem for each code that a description names.
fn problems(status: &str, said: &Value, details: &BTreeMap<&str, String>) -> Value {
    let status = status.parse().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let words = said.as_str().unwrap_or_default().split('`').skip(1).step_by(2);
    let codes = words.filter_map(|word| CODES.iter().find(|code| **code == word));
    let example = |code: &&'static str| {
        let detail = details.get(code).cloned().unwrap_or_default();
        let problem = Problem::new(status, code, detail);
        let problem = Problem { request_id: Some("5f0c21a7-3e-1".into()), ..problem };
        ((*code).to_owned(), json!({"value": problem}))
    };
    codes.map(example).collect()
}

#[cfg(test)]
mod tests;
