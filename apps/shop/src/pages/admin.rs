//! The merchant's page: live counts, behind a token.

use axum::extract::State as FromState;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use instep::Admin;
use maud::{DOCTYPE, Markup, html};

use super::{closed, protect};
use crate::tokens::COUNTS_LIFE_MS;
use crate::visitor::cookies;
use crate::{Counter, assets, clock, counts, html as part};

/// The cookie that holds the token. Only this page is sent it.
const COOKIE: &str = "instep_counts";

/// `GET /shop/admin`: the counts for holders of a token, the form for one for others.
pub(crate) async fn page(FromState(counter): FromState<Counter>, headers: HeaderMap) -> Response {
    let token = cookies(&headers).find(|(name, _)| *name == COOKIE).map(|(_, token)| token);
    let secret = &counter.context.secret;
    let token = token.filter(|token| secret.shows_counts(token, clock::now_ms()));
    let (status, page) = match (token, counter.dataset()) {
        (None, _) => (StatusCode::UNAUTHORIZED, frame("enter", None, &entrance())),
        (Some(_), None) => return closed(),
        (Some(token), Some(_)) => (StatusCode::OK, frame("counts", Some(token), &board())),
    };
    let mut answer = (status, Html(page.into_string())).into_response();
    protect(&mut answer);
    answer
}

/// `POST /shop/admin/session`: a token for a day, for a holder of the admin key. The key is in a
/// header and not in a form, so that no other site can send one.
pub(crate) async fn enter(_: Admin, FromState(counter): FromState<Counter>) -> Response {
    let token = counter.context.secret.sign_counts(clock::now_ms());
    with_cookie(&format!("{COOKIE}={token}; Max-Age={}", COUNTS_LIFE_MS / 1000))
}

/// `DELETE /shop/admin/session`: forgets the token.
pub(crate) async fn leave() -> Response {
    with_cookie(&format!("{COOKIE}=; Max-Age=0"))
}

fn with_cookie(cookie: &str) -> Response {
    let mut answer = StatusCode::NO_CONTENT.into_response();
    protect(&mut answer);
    let cookie = format!("{cookie}; Path=/shop/admin; HttpOnly; SameSite=Strict");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

fn frame(name: &str, token: Option<&str>, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { "Counts · Instep" }
                link rel="icon" href=(assets::url("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::url("shop.css"));
                link rel="stylesheet" href=(assets::url("admin.css"));
                script type="module" src=(assets::url("admin.js")) {}
            }
            body class="admin" data-page=(name) data-topic=(counts::TOPIC) data-token=[token] {
                header class="bar" {
                    a class="brand" href="/" { (part::mark()) span { "Instep" } }
                    @if token.is_some() {
                        p class="live" data-live="off" role="status" {
                            i aria-hidden="true" {} span { "Connecting" }
                        }
                        button type="button" class="leave" data-leave { "Sign out" }
                    }
                }
                main id="main" { (main) }
            }
        }
    }
}

fn entrance() -> Markup {
    html! {
        form class="entrance" data-enter {
            h1 { "The back office" }
            p { "Live counts of shoppers and carts, for holders of the admin key: the content \
                 of " code { "admin.key" } " in the data directory." }
            label for="key" { "Admin key" }
            input id="key" name="key" type="password" autocomplete="current-password" required;
            button type="submit" class="cta" { "Enter" }
            p class="trouble" data-trouble role="alert" hidden {}
            noscript { p { "This page is live; it needs JavaScript." } }
        }
    }
}

fn board() -> Markup {
    html! {
        section class="tiles" aria-label="Now" {
            @for (name, words) in [
                ("shoppers", "shoppers"),
                ("in_carts", "in bags"),
                ("available", "available"),
            ] {
                p class="tile" { b data-count=(name) { "–" } span { (words) } }
            }
        }
        section class="pages" aria-label="Shoppers by page" {
            h2 { "Where they are" }
            ul data-pages {}
            p class="quiet" data-empty { "The shop has no visitors." }
        }
        section class="stock" aria-label="Items" data-products {}
        p class="trouble" data-trouble role="alert" hidden {}
    }
}
