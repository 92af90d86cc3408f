//! Frame of all pages: head, bar, forms and the bag.

use maud::{DOCTYPE, Markup, html};

use super::View;
use crate::{assets, html as part, views};

/// A whole page around `main`. `name` is what the script knows it by.
pub(super) fn page(view: &View<'_>, name: &str, title: &str, main: &Markup) -> Markup {
    let cart = &view.visitor.cart;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="theme-color" content="#f4f1ea" media="(prefers-color-scheme: light)";
                meta name="theme-color" content="#0f1114" media="(prefers-color-scheme: dark)";
                meta name="description" content="Limited pairs, released live.";
                title { (title) " · Instep" }
                link rel="icon" href=(assets::url("icon.svg")) type="image/svg+xml";
                link rel="stylesheet" href=(assets::url("shop.css"));
                script type="module" src=(assets::url("shop.js")) {}
            }
            body data-page=(name) data-since=(view.position)
                data-cart-topic={ (views::CART_PREFIX) (cart) }
                data-cart-token=(view.visitor.cart_token(view.context)) {
                a class="skip" href="#main" { "Skip to content" }
                (bar(view))
                p class="notice" data-notice role="alert" hidden {}
                main id="main" { (main) }
                footer class="foot" {
                    p { (part::mark()) span { "Instep" } }
                    p { "A demonstration shop. Nothing is charged and nothing is shipped." }
                }
                (forms(view))
                (bag(view))
                p class="toast" data-toast role="status" {}
                p class="unseen" data-spoken aria-live="polite" {}
            }
        }
    }
}

fn bar(view: &View<'_>) -> Markup {
    let count = view.cart.lines.len();
    html! {
        header class="bar" {
            a class="brand" href="/" { (part::mark()) span { "Instep" } }
            p class="live" data-live="off" role="status" {
                i aria-hidden="true" {}
                span { noscript { "Reload for news" } }
            }
            @if view.context.desk.is_some() {
                a class="bar-link" href="/sites" { "Sites" }
            }
            a class="bag-link" href="/checkout" data-open-bag {
                (part::bag_icon())
                span class="bag-word" { "Bag" }
                b data-cart-count data-count=(count) { (count) }
                span class="unseen" data-cart-noun {
                    (if count == 1 { " item" } else { " items" })
                }
            }
        }
    }
}

/// The forms that buttons anywhere on the page belong to.
fn forms(view: &View<'_>) -> Markup {
    let token = view.visitor.form_token(view.context);
    html! {
        @for (id, action) in [(part::ADD_FORM, "/cart/add"), (part::REMOVE_FORM, "/cart/remove")] {
            form id=(id) action=(action) method="post" hidden {
                input type="hidden" name="form_token" value=(token);
            }
        }
    }
}

fn bag(view: &View<'_>) -> Markup {
    html! {
        dialog class="bag" data-bag aria-labelledby="bag-title" {
            header {
                h2 id="bag-title" { "Your bag" }
                button type="button" class="close" data-close-bag aria-label="Close the bag" {
                    "✕"
                }
            }
            div class="bag-body" data-cart-body aria-live="polite" {
                (part::cart(&view.cart, view.context.levels))
            }
            footer {
                a class="cta" href="/checkout" data-to-checkout { "Check out" }
                p class="small" { "A pair is yours only once you have checked out." }
            }
        }
    }
}
