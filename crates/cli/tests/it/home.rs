//! `/` of a server that serves no pages of its own.

use serde_json::Value;

use crate::running::Server;

#[test]
fn the_first_page_says_what_runs_here_and_where_to_go_on_and_nothing_of_what_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::serve(directory.path());
    let browser = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

    let (status, page) = server.ask_anonymously("GET", "/", browser);
    assert_eq!((status, page.starts_with("<!doctype html>")), (200, true), "{page}");
    let (status, body) = server.ask_anonymously("GET", "/", "");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["server"]), (200, &"instep".into()));

    for way in ["reference", "errors", "openapi", "ready", "health"] {
        let address = format!("/{}", told[way].as_str().unwrap());
        assert_eq!(server.ask_anonymously("GET", &address, browser).0, 200, "{address}");
        assert!(page.contains(&format!("href='{}'", &address[1..])), "{address}: {page}");
    }
    let data = server.data.display().to_string();
    for secret in [env!("CARGO_PKG_VERSION"), "table:", "room:", &data] {
        assert!(!page.contains(secret) && !body.contains(secret), "{secret}");
    }
    assert_eq!(server.ask_anonymously("POST", "/", "").0, 404);
    assert_eq!(server.ask_anonymously("GET", "/nothing", browser).0, 404);
}
