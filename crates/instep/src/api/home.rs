//! The page at `/` where no application has one: what runs here, and where to go on. It says the
//! same to all clients, and nothing of what the server holds.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::json;

use super::reference::{escape, framed};
use crate::{accept, web};

/// The forms of the page, that for programs first.
const FORMS: [&str; 2] = ["application/json", "text/html"];

/// Ways on, relative to the page so that they hold behind a proxy too: their names, where they lead
/// to, and what is there.
const WAYS: [(&str, &str, &str); 5] = [
    (
        "reference",
        "reference",
        "the HTTP API: every operation, with the shapes of bodies and answers",
    ),
    ("errors", "reference/errors", "every error code, and what to do about it"),
    ("openapi", "openapi.json", "the same API as an OpenAPI document, for generators"),
    ("ready", "readyz", "whether the server takes requests"),
    ("health", "healthz", "whether the process lives"),
];
/// Address of the socket endpoint, relative to the page.
const SOCKET: &str = "socket";

/// Answers in HTML to who prefers that, as browsers do.
pub(super) fn page(headers: &HeaderMap) -> Response {
    let mut answer = if accept::preferred(headers, &FORMS) == FORMS[1] {
        Html(html()).into_response()
    } else {
        Json(json()).into_response()
    };
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    web::protect(&mut answer);
    answer
}

fn json() -> serde_json::Value {
    let mut said = json!({"server": "instep", "socket": SOCKET});
    for (name, address, _) in WAYS {
        said[name] = address.into();
    }
    said
}

fn html() -> String {
    let ways = WAYS.map(|(_, address, what)| {
        format!("<dt><a href='{address}'>/{address}</a><dd>{}", escape(what))
    });
    let content = format!(
        "<main><h1>Instep</h1><p>This is a live-data server: rows are written once, and every \
         subscribed browser gets the change, in order, and catches up after a disconnect. It runs, \
         and serves no pages of its own besides these.</p><dl>{}</dl><h2>From a page</h2>\
         <p>Phoenix Channels, over WebSocket or long-poll, with the official client:</p>\
         <pre>import {{ Socket }} from \"phoenix\"\nconst socket = new Socket(\"/{SOCKET}\")</pre>\
         <h2>From a terminal</h2><p>On the machine of the server, in the folder where it was \
         started, commands find their key in the data directory:</p>\
         <pre>instep dataset list\ninstep topics\ninstep --help</pre>\
         <p>From elsewhere, and over HTTP, show a key or a token: \
         <code>Authorization: Bearer …</code>.</p></main>",
        ways.concat()
    );
    framed("Instep", &content)
}
