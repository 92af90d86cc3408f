//! The checkout pages.

use instep_shop_domain::checkout::Order;
use maud::{Markup, html};
use uuid::Uuid;

use super::{View, frame};
use crate::html as part;

/// The cart with the button that buys it, and why it could not be bought a moment ago.
pub(super) fn page(view: &View<'_>, order: Uuid, refused: Option<&str>) -> Markup {
    let is_empty = view.cart.lines.is_empty();
    let main = html! {
        section class="till" {
            h1 { "Checkout" }
            @if let Some(reason) = refused {
                p class="refused" role="alert" data-reason=(reason) { (explanation(reason)) }
            }
            div class="till-columns" {
                div class="till-bag" data-cart-body aria-live="polite" {
                    (part::cart(&view.cart, view.context.levels))
                }
                form class="till-buy" action="/checkout" method="post" data-buy
                    hidden[is_empty] {
                    input type="hidden" name="form_token"
                        value=(view.visitor.form_token(view.context));
                    input type="hidden" name="order" value=(order);
                    h2 { "All of it, or none" }
                    p { "Every pair is checked at the moment you buy. If one is gone, nothing \
                         is taken and your bag stays as it is." }
                    button class="cta" type="submit" { "Place the order" }
                    p class="small" { "A demonstration: nothing is charged." }
                }
            }
            p { a class="back" href="/" { "← Back to the shoes" } }
        }
    };
    frame::page(view, "checkout", "Checkout", &main)
}

/// Page of a completed order.
pub(super) fn complete(view: &View<'_>, id: Uuid, order: &Order) -> Markup {
    let main = html! {
        section class="till done" data-order=(id) {
            div class="done-mark" aria-hidden="true" {
                svg viewBox="0 0 64 64" {
                    circle cx="32" cy="32" r="29" {}
                    path d="M19 33.5 28.5 43 46 23" {}
                }
            }
            h1 { "They are yours." }
            p class="lead" {
                @match order.lines.len() {
                    1 => "One pair, taken from the shelf at the very moment you asked.",
                    _ => "Every pair, taken from the shelf at the very moment you asked.",
                }
            }
            ul class="lines receipt" {
                @for line in &order.lines {
                    li class="line" data-line=(line.item_id) {
                        img class={ "line-art art-" (part::art(&line.art)) } alt=""
                            src=(part::art_url(&line.art)) width="82" height="50";
                        div class="line-words" {
                            p class="line-name" { (line.name) }
                            p class="line-size" { "US " (line.size) }
                        }
                        p class="line-price" { (part::money(line.price_cents)) }
                    }
                }
            }
            p class="total" { span { "Total" } strong { (part::money(order.total_cents)) } }
            p class="small" { "Order " code { (id) } }
            p { a class="cta" href="/" { "Back to the shoes" } }
        }
    };
    frame::page(view, "complete", "Thank you", &main)
}

/// A reason in words.
fn explanation(reason: &str) -> &'static str {
    match reason {
        "empty" => "Your bag is empty, so there is nothing to buy.",
        "sold_out" => "Too late: a pair in your bag has sold out. Nothing was bought.",
        "not_released" => "A pair in your bag is not released yet. Nothing was bought.",
        "withdrawn" => "A pair in your bag is not sold any more. Nothing was bought.",
        "form_too_old" => "This page was too old. Nothing was bought; please try again.",
        "order_conflict" => "This form was used before. Nothing was bought; please try again.",
        "not_found" => "There is no such pair. Please pick a size.",
        "duplicate_item" => "This pair is in your bag already.",
        "cart_full" => "Your bag is full.",
        _ => "The order could not be stored, and nothing was bought. Please try again.",
    }
}
