//! Description shared by all operations of the OpenAPI document: who may ask, the refusals
//! that any request may meet, and the form of problems.

use serde_json::{Map, Value, json};

/// Refusals that any operation under `/v1` may meet, with the words that stand behind their codes
/// where the operation itself says nothing of the status.
const ANY: &[(&str, &[&str], &str)] = &[
    (
        "400",
        &["bad_authorization", "bad_host", "bad_name", "bad_query"],
        "the request does not read",
    ),
    ("401", &["key_required", "token_expired", "token_invalid"], ""),
    ("403", &["wrong_key", "forbidden", "origin_refused"], ""),
    ("421", &["unknown_host"], ""),
    ("429", &["rate_limited", "too_many_sockets"], "try again after `Retry-After` seconds"),
    (
        "503",
        &["loading", "overloaded", "stopped", "dataset_unavailable", "resources_exhausted"],
        "try again after `Retry-After` seconds",
    ),
];
/// Further ones of operations with a body.
const BODY: &[(&str, &[&str], &str)] = &[
    ("400", &["bad_json", "body_malformed"], ""),
    ("408", &["body_too_slow"], ""),
    ("413", &["body_too_large"], ""),
];
/// Further ones of operations that may change something.
const CHANGE: &[(&str, &[&str], &str)] = &[
    ("500", &["storage_error"], ""),
    ("503", &["outcome_unknown"], ""),
    ("507", &["storage_full"], "nothing was stored"),
];
/// Codes of a parameter of the path that names nothing.
const UNKNOWN: &[(&str, &str)] = &[
    ("{dataset}", "unknown_dataset"),
    ("{table}", "unknown_table"),
    ("{key}", "row_not_found"),
    ("{queue}", "unknown_queue"),
    ("{message}", "unknown_message"),
    ("{server}", "no_mail"),
    ("{topic}", "unmatched_topic"),
    ("{id}", "unknown_session"),
];

/// Parts of the API, by their tags, in the order of a first visit.
const PARTS: [(&str, &str); 9] = [
    ("commits", "Changes of rows and journals, several at once"),
    ("rows", "What is in a table now"),
    ("changes", "What has changed, and what changes"),
    ("topics", "Live messages and presence"),
    ("mail", "Messages to endpoints, with acknowledgement"),
    ("datasets", "Datasets and their views"),
    ("tables", "Tables and journals of a dataset"),
    ("server", "Connections and topics of this server"),
    ("health", "For operators"),
];

/// Adds to the document what its operations have in common.
pub(super) fn complete(document: &mut Value) {
    // As seen from the document: true under any prefix that a proxy adds.
    document["servers"] = json!([{"url": ".", "description": "This server"}]);
    document["security"] = json!([{"bearer": []}, {}]);
    document["components"]["securitySchemes"] = json!({"bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The admin key, the key of a program, or a token (JWT). Without one a \
                        request may what any client may."
    }});
    let operations = document["components"]["schemas"]["CommitOperation"]["oneOf"].as_array_mut();
    for operation in operations.into_iter().flatten() {
        operation["additionalProperties"] = false.into();
        // One word is a constant to generators, a list of one a type of its own.
        let op = operation["properties"]["op"]["enum"][0].take();
        operation["properties"]["op"] = json!({"type": "string", "const": op});
    }
    document["tags"] =
        PARTS.map(|(name, said)| json!({"name": name, "description": said})).to_vec().into();
    plain(document);
    let Some(paths) = document["paths"].as_object_mut() else { return };
    for (path, item) in paths {
        let Some(methods) = item.as_object_mut() else { continue };
        for (method, operation) in methods {
            if path.starts_with("/v1/") {
                refusals(path, method, operation)
            } else {
                operation["security"] = json!([])
            }
            answers(operation);
            if let Some(summary) = operation["summary"].as_str() {
                // A summary is plain text, where a description is Markdown.
                operation["summary"] = summary.replace('`', "").into();
            }
        }
    }
}

/// Takes out what says nothing and stops generators: a default of null, and that names are texts.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("default").is_some_and(Value::is_null) {
                fields.remove("default");
            }
            fields.remove("propertyNames");
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds the refusals that follow from the path and the method: to what the operation says of a
/// status, the codes that it does not name itself.
fn refusals(path: &str, method: &str, operation: &mut Value) {
    let mut common = ANY.to_vec();
    if operation.get("requestBody").is_some() {
        common.extend(BODY);
    }
    if method != "get" {
        common.extend(CHANGE);
    }
    // A table that is not there is made, and so is a dataset.
    let made = if method == "put" { path.rsplit('/').next() } else { None };
    let unknown = UNKNOWN.iter().filter(|(name, _)| path.contains(name) && made != Some(*name));
    let unknown: Vec<&str> = unknown.map(|(_, code)| *code).collect();
    if !unknown.is_empty() {
        common.push(("404", &unknown, ""));
    }
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, codes, words) in common {
        let response = responses.entry(status).or_insert_with(|| json!({}));
        let said = response["description"].as_str().unwrap_or_default();
        response["description"] = with_codes(said, codes, words).into();
        response["content"] = json!({"application/json": {
            "schema": {"$ref": "#/components/schemas/Problem"}
        }});
    }
}

fn with_codes(said: &str, codes: &[&str], words: &str) -> String {
    let missing: Vec<_> = codes.iter().map(|code| format!("`{code}`")).collect();
    let missing: Vec<_> = missing.into_iter().filter(|code| !said.contains(code)).collect();
    match (said, missing.join(", "), words) {
        (said, missing, _) if missing.is_empty() => said.to_owned(),
        ("", missing, "") => missing,
        ("", missing, words) => format!("{missing}: {words}"),
        (said, missing, _) if said.contains(": ") => format!("{said}; also {missing}"),
        (said, missing, _) => format!("{said}, {missing}"),
    }
}

fn answers(operation: &mut Value) {
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for (status, response) in responses {
        let Some(response) = response.as_object_mut() else { continue };
        let said = response.get("description").and_then(Value::as_str).unwrap_or_default();
        if said.is_empty() {
            let said = match status.as_str() {
                "204" => "Done; the answer has no body",
                _ => "Success",
            };
            response.insert("description".into(), said.into());
        }
        if is_problem(response) {
            problem(status, response);
        }
    }
}

fn is_problem(response: &Map<String, Value>) -> bool {
    let schema = response.get("content").and_then(|content| {
        content["application/json"]["schema"]["$ref"].as_str().map(str::to_owned)
    });
    schema.is_some_and(|schema| schema.ends_with("/Problem"))
}

fn problem(status: &str, response: &mut Map<String, Value>) {
    let content = json!({"application/problem+json": {
        "schema": {"$ref": "#/components/schemas/Problem"}
    }});
    response.insert("content".into(), content);
    let header = |said: &str, kind: &str| json!({"description": said, "schema": {"type": kind}});
    let headers = match status {
        "401" => json!({"WWW-Authenticate": header("As RFC 6750 says", "string")}),
        "429" | "503" => json!({"Retry-After": header("Seconds", "integer")}),
        _ => return,
    };
    response.insert("headers".into(), headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_declares_every_refusal_that_it_may_meet() {
        let mut document = json!({
            "paths": {"/v1/datasets/{dataset}/things/{thing}": {"put": {
                "requestBody": {},
                "responses": {"200": {}, "409": {"description": "`id_conflict`", "content": {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }}}
            }}},
            "components": {}
        });

        complete(&mut document);

        let responses =
            &document["paths"]["/v1/datasets/{dataset}/things/{thing}"]["put"]["responses"];
        for status in ["400", "401", "403", "409", "413", "429", "500", "503", "507"] {
            let response = &responses[status];
            assert!(response["content"]["application/problem+json"].is_object(), "{status}");
            assert!(response["description"].is_string(), "{status}");
        }
        assert_eq!(responses["404"]["description"], "`unknown_dataset`");
        assert_eq!(responses["200"]["description"], "Success");
        assert!(responses["503"]["headers"]["Retry-After"].is_object());
    }
}
