//! Completeness: each body and each refusal of the document has an example.

use std::collections::BTreeSet;

use super::*;

fn document() -> Value {
    super::super::reference::document(&super::super::routes().split_for_parts().1)
}

fn operations(document: &Value) -> impl Iterator<Item = &Value> {
    let items = document["paths"].as_object().into_iter().flat_map(Map::values);
    items.filter_map(Value::as_object).flat_map(Map::values)
}

#[test]
fn every_body_has_an_example_and_every_refusal_one_for_each_code() {
    let document = document();
    let mut known = BTreeSet::new();

    for operation in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        known.insert(id);
        let json = |body: &&Value| body["content"].get("application/json").is_some();
        if let Some(body) = operation.get("requestBody").filter(json) {
            assert!(body["content"]["application/json"]["examples"].is_object(), "{id}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            for (kind, content) in response["content"].as_object().into_iter().flatten() {
                if kind != "application/problem+json" {
                    assert!(content.get("example").is_some(), "{id}: no answer {status}");
                    continue;
                }
                let codes = content["examples"].as_object().unwrap();
                assert!(!codes.is_empty(), "{id}: {status} names no code");
                for (code, example) in codes {
                    let value = &example["value"];
                    assert_eq!(value["status"].to_string(), *status, "{id}: {code}");
                    assert!(!value["detail"].as_str().unwrap().is_empty(), "{code}");
                }
            }
        }
    }
    let given = EXAMPLES.requests.keys().chain(EXAMPLES.answers.keys());
    let strange: Vec<_> = given.filter(|id| !known.contains(id.as_str())).collect();
    assert!(strange.is_empty(), "examples of no operation: {strange:?}");
}

#[test]
fn every_code_is_the_answer_of_an_operation_with_the_status_that_is_explained() {
    let document = document();
    let explained = include_str!("../../../../../docs/reference/errors.md");
    let mut named = BTreeSet::new();

    for operation in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let examples = &response["content"]["application/problem+json"]["examples"];
            for code in examples.as_object().into_iter().flat_map(Map::keys) {
                let row = format!("| `{code}` | {status} |");
                assert!(explained.contains(&row), "{} answers {row}", operation["operationId"]);
                named.insert(code.as_str());
            }
        }
    }

    let all = CODES.iter().copied();
    let nobodys: Vec<_> = all.filter(|code| !named.contains(code)).collect();
    assert_eq!(nobodys, ["method_not_allowed", "not_found"], "of what is no operation");
}
