//! The shop page: every product, live.

use instep_shop_domain::catalogue::{self, Product};
use maud::{Markup, html};

use super::{View, frame};
use crate::html as part;
use crate::views::product_topic;

/// The whole page.
pub(super) fn page(view: &View<'_>) -> Markup {
    let products = catalogue::products(&view.state.tables);
    let main = html! {
        section class="hero" {
            h1 { "Limited pairs." br; em { "Released live." } }
            p { "No queue, no refresh. Leave the page open: releases and stock arrive by \
                 themselves, to all visitors at the same moment." }
        }
        @if products.is_empty() {
            section class="nothing" {
                h2 { "The shelf is empty." }
                p { "Fill it with " code { "instep shop seed" } " and reload this page." }
            }
        }
        section class="shelf" aria-label="Shoes" {
            @for (number, product) in (1..).zip(&products) { (shoe(view, number, product)) }
        }
    };
    frame::page(view, "shop", "The drop", &main)
}

fn shoe(view: &View<'_>, number: usize, product: &Product) -> Markup {
    let row = &product.row;
    let heading = format!("shoe-{}", row.id);
    html! {
        article class={ "shoe art-" (part::art(&row.art)) } aria-labelledby=(heading)
            data-product-id=(row.id) data-topic=(product_topic(row.id))
            data-released=(row.released) {
            div class="stage" {
                span class="stage-number" aria-hidden="true" { (format!("{number:02}")) }
                img class="stage-art" alt={ (row.name) " in " (row.colorway) }
                    src=(part::art_url(&row.art)) width="820" height="500";
                p class="tag" data-tag { (tag(product)) }
            }
            div class="words" {
                div class="title" {
                    div {
                        p class="maker" { (row.brand) }
                        h2 id=(heading) { (row.name) }
                        p class="colorway" { (row.colorway) }
                    }
                    p class="price" { (part::money(row.price_cents)) }
                }
                p class="story" { (row.story) }
                div class="offer" data-offer {
                    @if row.released { (part::sizes(product, view.context.levels)) }
                    @else { (part::coming_soon()) }
                }
                p class="trouble" data-trouble role="alert" hidden {}
            }
        }
    }
}

fn tag(product: &Product) -> &'static str {
    let is_left = product.items.iter().any(|item| item.count > 0);
    match (product.row.released, is_left) {
        (false, _) => "Coming soon",
        (true, true) => "Out now",
        (true, false) => "Sold out",
    }
}
