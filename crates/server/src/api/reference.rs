//! The API's own description: the OpenAPI document, and a page for people made from it.

use std::fmt::Write;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::description;
use crate::problem::CODES;

/// Serves `/openapi.json`, `/reference` and `/reference/errors`.
pub(super) fn serve(document: OpenApi) -> Router {
    let mut parsed = serde_json::to_value(&document).unwrap_or_default();
    description::complete(&mut parsed);
    let json = parsed.to_string();
    let (page, errors) = (page(&parsed), errors());
    let document = move || async { ([(header::CONTENT_TYPE, "application/json")], json) };
    Router::new()
        .route("/openapi.json", get(document))
        .route("/reference", get(move || async { Html(page) }))
        .route("/reference/errors", get(move || async { Html(errors) }))
}

const STYLE: &str = "<style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;\
max-width:60rem;margin:2rem auto;padding:0 1rem}code,pre{font-family:ui-monospace,monospace;\
font-size:.9em}section{border-top:1px solid #8884;padding:1rem 0}h2 small{font-weight:400;\
opacity:.7}.m{display:inline-block;min-width:4.5rem;font-weight:700}td,th{text-align:left;\
padding:.15rem 1rem .15rem 0;vertical-align:top}</style>";

fn page(document: &Value) -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content='width=device-width'><title>Instep API reference</title>{STYLE}\
         <h1>Instep API reference</h1><p>{}</p><p><a href=/openapi.json>OpenAPI document</a> · \
         <a href=/reference/errors>Error codes</a></p>",
        escape(document["info"]["description"].as_str().unwrap_or_default())
    );
    let paths = document["paths"].as_object().into_iter().flatten();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            operation_section(&mut out, path, method, operation);
        }
    }
    out
}

fn operation_section(out: &mut String, path: &str, method: &str, operation: &Value) {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let (method, path) = (escape(&method.to_uppercase()), escape(path));
    let summary = text(&operation["summary"]);
    let _ = write!(out, "<section><h2><code><span class=m>{method}</span> {path}</code></h2>");
    let _ = write!(out, "<p>{summary} {}</p><table>", text(&operation["description"]));
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let description = text(&parameter["description"]);
        let _ = write!(out, "<tr><td><code>{name}</code><td>{place}<td>{description}");
    }
    let responses = operation["responses"].as_object().into_iter().flatten();
    for (status, response) in responses {
        let description = text(&response["description"]);
        let _ = write!(out, "<tr><td><b>{}</b><td>answer<td>{description}", escape(status));
    }
    out.push_str("</table></section>");
}

fn errors() -> String {
    let mut out = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content='width=device-width'><title>Instep error codes</title>{STYLE}\
         <h1>Error codes</h1>"
    );
    for (code, text) in explained() {
        let _ = write!(out, "<section id={code}><h2><code>{code}</code></h2><p>{text}</section>");
    }
    out
}

/// Codes and their explanations, from the reference that is kept with the source.
fn explained() -> impl Iterator<Item = (&'static str, String)> {
    let reference = include_str!("../../../../docs/reference/errors.md");
    CODES.iter().map(move |code| {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let cells = row.unwrap_or_default().split('|').skip(2).map(escape);
        (*code, cells.collect::<Vec<_>>().join(" ").trim().to_owned())
    })
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_is_explained() {
        for (code, text) in explained() {
            assert!(!text.is_empty(), "{code}");
        }
    }
}
