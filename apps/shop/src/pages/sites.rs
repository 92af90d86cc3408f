//! Page of the sites: each with its position, its rows and the buttons of its process.

use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::Response;
use maud::{DOCTYPE, Markup, html};

use super::{View, with_view};
use crate::visitor::Visitor;
use crate::{Counter, assets, html as part, sites};

/// `GET /sites`.
pub(crate) async fn page(FromState(counter): FromState<Counter>, visitor: Visitor) -> Response {
    with_view(&counter, &visitor, |view| view.answer(StatusCode::OK, frame(view)))
}

fn frame(view: &View<'_>) -> Markup {
    let is_open = view.context.desk.as_ref().is_some_and(sites::Desk::is_open);
    let token = is_open.then(|| view.visitor.form_token(view.context));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { "Sites · Instep" }
                link rel="icon" href=(assets::url("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::url("shop.css"));
                link rel="stylesheet" href=(assets::url("sites.css"));
                script type="module" src=(assets::url("sites.js")) {}
            }
            body class="sites" data-topic=(sites::TOPIC) data-event=(sites::EVENT)
                data-token=[token] {
                header class="bar" {
                    a class="brand" href="/" { (part::mark()) span { "Instep" } }
                    p class="live" data-live="off" role="status" {
                        i aria-hidden="true" {} span { "Connecting" }
                    }
                    a class="bar-link" href="/" { "Shop" }
                }
                main id="main" { (main(is_open)) }
                (card())
            }
        }
    }
}

fn main(is_open: bool) -> Markup {
    html! {
        section class="intro" {
            h1 { "One log, many copies." }
            p { "Each site is a process with a SQLite file of its own that applies the shop's \
                 log, commit by commit. Buy a pair in another window and watch it arrive. Then \
                 stop one, kill it, wipe it: it goes on where it stood, or takes a dump." }
        }
        noscript { p class="trouble" { "This page is live; it needs JavaScript." } }
        p class="trouble" data-trouble role="alert" hidden {}
        @if !is_open {
            p class="remark" { "The shop listens on a public address: its sites can be looked at \
                               here, and are operated with the admin key only." }
        }
        section class="server" aria-label="Server" data-server hidden {
            h2 { "Server" }
            dl {
                div { dt { "Log entry" } dd data-field="revision" {} }
                div { dt { "In stock" } dd data-field="pairs" {} }
                div { dt { "Orders" } dd data-field="orders" {} }
                div { dt { "Digest of the stock" } dd { code data-field="digest" {} } }
            }
        }
        section class="grid" aria-label="Sites" data-sites {}
        @if is_open {
            form class="add" data-add hidden {
                label { span { "Another site, from" } select name="source" data-sources {} }
                button type="submit" value="add" class="strong" { "Clone" }
            }
        }
    }
}

/// Template of a site's card; the script fills it in and keeps it up to date.
fn card() -> Markup {
    html! {
        template data-card {
            article class="site" {
                header {
                    h2 data-field="name" {}
                    p class="chip" role="status" {
                        i aria-hidden="true" {} span data-field="chip" {}
                    }
                }
                p class="doing" data-field="doing" {}
                div class="lag" {
                    meter min="0" max="1" value="0" data-lag aria-label="Commits behind" {}
                    p { b data-field="behind" {} " " span data-field="behind_words" {} }
                }
                dl {
                    div { dt { "Log entry" } dd data-field="revision" {} }
                    div { dt { "Process" } dd data-field="process" {} }
                    div { dt { "In stock" } dd data-field="pairs" {} }
                    div { dt { "Orders" } dd data-field="orders" {} }
                    div class="wide" {
                        dt { "Digest of the stock" }
                        dd {
                            code data-field="digest" {}
                            span class="same" data-field="same" {}
                        }
                    }
                    div { dt { "On disk" } dd data-field="disk" {} }
                    div { dt { "State at the server" } dd data-field="state" {} }
                }
                form {
                    div class="buttons" {
                        button type="submit" value="start" class="strong" { "Start" }
                        button type="submit" value="stop" { "Stop" }
                        button type="submit" value="kill" { "Kill" }
                        button type="submit" value="pause" { "Pause" }
                        button type="submit" value="resume" { "Resume" }
                        button type="submit" value="wipe" { "Wipe" }
                        button type="submit" value="remove" { "Remove" }
                    }
                    div class="buttons clone" {
                        label { span { "Clone from" } select name="source" data-sources {} }
                        button type="submit" value="clone" { "Clone" }
                    }
                }
            }
        }
    }
}
