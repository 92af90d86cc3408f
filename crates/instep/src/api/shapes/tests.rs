//! Descriptions against parsers: what the document says of a body that is read elsewhere, the
//! parser of that body must do.

use std::collections::BTreeSet;

use instep_model::commit::Operation;
use instep_model::name::Name;
use instep_node::mail::{Answers, Letters};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::PartialSchema;

use super::super::examples::EXAMPLES;
use super::super::mail::LetterRequest;
use super::super::mail::servers::{AnswersRequest, NackRequest, RejectRequest};
use super::CommitOperation;

/// Field names that a parser accepts, as its error about an unknown one lists them.
fn known<T: DeserializeOwned>(value: Value) -> BTreeSet<String> {
    let said = serde_json::from_value::<T>(value).err().map(|error| error.to_string());
    let said = said.unwrap_or_default();
    let (_, list) = said.split_once("expected ").unwrap_or_else(|| panic!("{said}"));
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_document_describes_exactly_the_operations_that_are_read() {
    let read = known::<Operation>(json!({"op": "?"}));
    assert_eq!(known::<CommitOperation>(json!({"op": "?"})), read);
    for op in &read {
        let unknown = json!({"op": op, "?": 1});
        let fields = known::<Operation>(unknown.clone());
        assert_eq!(known::<CommitOperation>(unknown), fields, "{op}");
    }
    let given: BTreeSet<_> = EXAMPLES.operations.keys().cloned().collect();
    assert_eq!(given, read, "each operation has an example in examples.json");
}

#[test]
fn an_operation_is_read_as_its_schema_says() {
    let all = schema::<CommitOperation>();
    for described in all["oneOf"].as_array().unwrap() {
        let op = described["properties"]["op"]["enum"][0].as_str().unwrap();
        let examples = &EXAMPLES.operations[op];
        let reads = |operation: &Value| Operation::read(&operation.to_string()).is_ok();
        agree(described, examples, reads);
    }
}

#[test]
fn a_message_to_send_is_read_as_its_schema_says() {
    let queue = Name::new("mail").unwrap();
    let reads = |body: &Value| Letters::read(&queue, "ann", body.to_string().as_bytes()).is_ok();
    let mut all = vec![];
    for requests in [&EXAMPLES.requests["send_messages"], &EXAMPLES.requests["import_messages"]] {
        for body in requests.values() {
            assert!(reads(body), "{body}");
            match body["messages"].as_array() {
                Some(messages) => all.extend(messages.iter().cloned()),
                None => all.push(body.clone()),
            }
        }
    }

    agree(&schema::<LetterRequest>(), &all, reads);
    agree(&schema::<LetterRequest>(), &all, |one| reads(&json!({"messages": [one]})));
}

#[test]
fn answers_about_messages_are_read_as_their_schema_says() {
    let examples: Vec<_> = EXAMPLES.requests["answer_messages"].values().cloned().collect();
    let reads = |body: &Value| Answers::read(body.to_string().as_bytes()).is_ok();
    let parts = |name: &str| {
        let lists = examples.iter().filter_map(|body| body[name].as_array());
        lists.flatten().cloned().collect::<Vec<_>>()
    };

    agree(&schema::<AnswersRequest>(), &examples, reads);
    agree(&schema::<NackRequest>(), &parts("nack"), |one| {
        reads(&json!({"registration": 1, "nack": [one]}))
    });
    agree(&schema::<RejectRequest>(), &parts("reject"), |one| {
        reads(&json!({"registration": 1, "reject": [one]}))
    });
}

fn schema<T: PartialSchema>() -> Value {
    serde_json::to_value(T::schema()).unwrap()
}

/// Holds a parser to the schema of an object: its examples are read, and show every field. Without
/// a field, with null for it, and with a value of no sense, they are read where the schema says so.
fn agree(schema: &Value, examples: &[Value], reads: impl Fn(&Value) -> bool) {
    let mut shown = BTreeSet::new();
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for example in examples {
        assert!(reads(example), "{example}");
        for field in example.as_object().unwrap().keys() {
            shown.insert(field.as_str());
            let mut without = example.clone();
            without.as_object_mut().unwrap().remove(field);
            let is_required = required.iter().any(|name| name == field.as_str());
            assert_eq!(reads(&without), !is_required, "without {field}: {example}");
            let described = &schema["properties"][field];
            let with = |value: Value| {
                let mut changed = example.clone();
                changed[field] = value;
                reads(&changed)
            };
            assert_eq!(with(Value::Null), allows(described, "null"), "null {field}: {example}");
            assert_eq!(with(json!([[]])), is_free(described), "[[]] as {field}: {example}");
        }
    }
    let fields = schema["properties"].as_object().unwrap().keys();
    let hidden: Vec<_> = fields.filter(|field| !shown.contains(field.as_str())).collect();
    assert!(hidden.is_empty(), "no example shows {hidden:?}");
}

/// True if a schema has no type.
fn is_free(schema: &Value) -> bool {
    ["type", "$ref", "oneOf", "enum"].iter().all(|word| schema.get(word).is_none())
}

/// True if a schema allows values of a type.
fn allows(schema: &Value, kind: &str) -> bool {
    let one_of = schema["oneOf"].as_array().into_iter().flatten();
    is_free(schema)
        || schema["type"] == kind
        || schema["type"].as_array().is_some_and(|types| types.iter().any(|one| one == kind))
        || one_of.into_iter().any(|one| one["type"] == kind)
}
