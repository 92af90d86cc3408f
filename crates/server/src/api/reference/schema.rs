//! Shapes of bodies, for people.

use std::fmt::Write;

use serde_json::Value;

use super::page::{escape, markup};

/// Type of a schema's values, in a few words.
pub(super) fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href='#shape-{name}'>{name}</a>");
    }
    if let Some(constant) = schema.get("const").and_then(Value::as_str) {
        return format!("<code>\"{}\"</code>", escape(constant));
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[choice].as_array() {
            let kinds: Vec<String> = choices.iter().map(kind).collect();
            return kinds.join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().filter_map(Value::as_str);
        let words = words.map(|word| format!("<code>{}</code>", escape(word)));
        return words.collect::<Vec<_>>().join(", ");
    }
    match &schema["type"] {
        Value::String(name) => one(name, schema),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(|name| one(name, schema)).collect::<Vec<_>>().join(" or ")
        }
        _ => "any JSON".to_owned(),
    }
}

fn one(name: &str, schema: &Value) -> String {
    match name {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" => match schema.get("additionalProperties") {
            Some(of) if of.is_object() => format!("object of {}", kind(of)),
            _ => "object".to_owned(),
        },
        "string" => match schema["format"].as_str() {
            Some(format) => format!("text ({})", escape(format)),
            None => "text".to_owned(),
        },
        other => escape(other),
    }
}

/// A schema with all that it says of its parts.
pub(super) fn describe(out: &mut String, schema: &Value) {
    let text = markup(&schema["description"]);
    if !text.is_empty() {
        let _ = write!(out, "<p>{text}</p>");
    }
    match schema["oneOf"].as_array() {
        Some(choices) => {
            out.push_str("<p>One of:</p>");
            for choice in choices {
                out.push_str("<section>");
                describe(out, choice);
                out.push_str("</section>");
            }
        }
        None => match schema["properties"].as_object() {
            Some(properties) => fields(out, properties, &schema["required"]),
            None => {
                let _ = write!(out, "<p class=t>{}</p>", kind(schema));
            }
        },
    }
}

fn fields(out: &mut String, properties: &serde_json::Map<String, Value>, required: &Value) {
    let required: Vec<&str> =
        required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    out.push_str("<dl>");
    for (name, said) in properties {
        let need = if required.contains(&name.as_str()) { "" } else { ", optional" };
        let (kind, text) = (kind(said), markup(&said["description"]));
        let _ = write!(
            out,
            "<dt><code>{}</code><dd><span class=t>{kind}{need}.</span> {text}",
            escape(name)
        );
    }
    out.push_str("</dl>");
}
