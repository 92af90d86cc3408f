//! The API's own description: the OpenAPI document, and pages for people.
//!
//! | path | what it is |
//! | --- | --- |
//! | `/openapi.json` | the document |
//! | `/reference` | the document as a page, by Swagger UI, which is part of the binary |
//! | `/reference/{file}` | the scripts and styles of that page |
//! | `/reference/errors` | every error code, with its explanation |

mod page;
mod viewer;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::{description, examples};
use crate::problem::CODES;

pub(super) use self::page::{escape, framed};

/// Serves `/openapi.json`, `/reference` and `/reference/errors`.
pub(super) fn serve(document: OpenApi) -> Router {
    let json = self::document(&document).to_string();
    let errors = page::errors(explained());
    let document = move || async { ([(header::CONTENT_TYPE, "application/json")], json) };
    Router::new()
        .route("/openapi.json", get(document))
        .route("/reference", get(viewer::page))
        .route("/reference/{file}", get(viewer::file))
        .route("/reference/errors", get(move || async { Html(errors) }))
}

/// The document with what its operations have in common, and with examples.
pub(super) fn document(document: &OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    description::complete(&mut document);
    let details = explained().map(|(code, text)| (code, page::first_sentence(&text)));
    examples::add(&mut document, &details.collect());
    document
}

/// Codes and their explanations, from the reference that is kept with the source.
fn explained() -> impl Iterator<Item = (&'static str, String)> {
    let reference = include_str!("../../../../docs/reference/errors.md");
    CODES.iter().map(move |code| {
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
        let cells: Vec<&str> = row.unwrap_or_default().split('|').map(str::trim).collect();
        let text = match cells[..] {
            ["", _, status, text, ..] => format!("Status {status}. {text}"),
            _ => String::new(),
        };
        (*code, text)
    })
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
