//! Parts of pages. Pushes to open pages are rendered by the same functions as the pages.
//!
//! Buttons name their form by the `form` attribute: forms hold a token that is the shopper's own,
//! and a push to all visitors must not.

use instep_shop_domain::cart::CartContents;
use instep_shop_domain::catalogue::{Item, Product};
use instep_shop_domain::levels::{Level, Levels};
use maud::{Markup, PreEscaped, html};

use crate::assets;

/// The drawings that there are.
pub(crate) const ARTS: [&str; 2] = ["tide", "ember"];
/// The form that puts an item into the cart.
pub(crate) const ADD_FORM: &str = "add-to-bag";
/// The form that takes an item out.
pub(crate) const REMOVE_FORM: &str = "remove-from-bag";

/// The drawing of a product; a product without one borrows the first.
pub(crate) fn art(wanted: &str) -> &'static str {
    ARTS.into_iter().find(|art| *art == wanted).unwrap_or(ARTS[0])
}

/// The address of a product's drawing.
pub(crate) fn art_url(wanted: &str) -> String {
    assets::url(&format!("{}.svg", art(wanted)))
}

/// An amount, as on a price tag.
pub(crate) fn money(cents: i64) -> String {
    match cents % 100 {
        0 => format!("${}", cents / 100),
        rest => format!("${}.{rest:02}", cents / 100),
    }
}

/// A level in words.
pub(crate) fn level_words(level: Level) -> &'static str {
    match level {
        Level::Out => "sold out",
        Level::Low => "almost gone",
        Level::Medium => "going fast",
        Level::High => "in stock",
    }
}

/// The sizes of a released product with their levels.
pub(crate) fn sizes(product: &Product, levels: Levels) -> Markup {
    html! {
        fieldset class="sizes" {
            legend { "Pick your US size" }
            div class="sizes-grid" {
                @for item in &product.items { (size(item, levels.of(item.count))) }
            }
            (level_key())
        }
    }
}

fn size(item: &Item, level: Level) -> Markup {
    html! {
        button class="size" type="submit" form=(ADD_FORM) name="item_id" value=(item.row.id)
            data-item-id=(item.row.id) data-level=(level) disabled[level == Level::Out] {
            span class="size-number" { (item.row.size) }
            (meter())
            span class="unseen" data-level-words { (level_words(level)) }
        }
    }
}

fn meter() -> Markup {
    html! { span class="meter" aria-hidden="true" { i {} i {} i {} } }
}

/// Legend of the bars. Levels are told apart by bars and words, never by colour alone.
fn level_key() -> Markup {
    html! {
        ul class="level-key" aria-hidden="true" {
            @for level in [Level::High, Level::Medium, Level::Low, Level::Out] {
                li data-level=(level) { (meter()) (level_words(level)) }
            }
        }
    }
}

/// Placeholder for the sizes before the release.
pub(crate) fn coming_soon() -> Markup {
    html! {
        div class="coming" {
            p class="coming-title" { "Coming soon" }
            p { "Keep this page open. The sizes appear right here the moment it drops, \
                 no reload needed." }
            div class="coming-ghosts" aria-hidden="true" { @for _ in 0..13 { i {} } }
        }
    }
}

/// The lines of a cart and their total.
pub(crate) fn cart(contents: &CartContents, levels: Levels) -> Markup {
    html! {
        @if contents.lines.is_empty() {
            div class="bag-empty" {
                (bag_icon())
                p { strong { "Your bag is empty." } }
                p { "Tap a size to put a pair in." }
            }
        } @else {
            ul class="lines" {
                @for line in &contents.lines {
                    @let level = levels.of(line.item.count);
                    li class="line" data-line=(line.item.row.id) data-level=(level) {
                        img class={ "line-art art-" (art(&line.product.art)) } alt=""
                            src=(art_url(&line.product.art)) width="82" height="50";
                        div class="line-words" {
                            p class="line-name" { (line.product.name) }
                            p class="line-size" {
                                "US " (line.item.row.size)
                                @if !line.product.released {
                                    span class="note" { "not released yet" }
                                } @else if level <= Level::Low {
                                    span class="note" { (level_words(level)) }
                                }
                            }
                        }
                        div class="line-end" {
                            p class="line-price" { (money(line.product.price_cents)) }
                            button class="quiet" type="submit" form=(REMOVE_FORM) name="item_id"
                                value=(line.item.row.id) data-remove=(line.item.row.id) {
                                "Remove"
                                span class="unseen" {
                                    " " (line.product.name) ", size " (line.item.row.size)
                                }
                            }
                        }
                    }
                }
            }
            p class="total" { span { "Total" } strong { (money(contents.total_cents)) } }
        }
    }
}

/// The mark of the shop: a foot's arch under a line.
pub(crate) fn mark() -> Markup {
    PreEscaped(
        "<svg class=\"mark\" viewBox=\"0 0 44 28\" aria-hidden=\"true\">\
         <path d=\"M2 25C9 25 9 12 18 12S29 25 42 25\" fill=\"none\" stroke=\"currentColor\" \
         stroke-width=\"5\" stroke-linecap=\"round\"/><path d=\"M14 3H30\" stroke=\"currentColor\" \
         stroke-width=\"5\" stroke-linecap=\"round\"/></svg>"
            .to_owned(),
    )
}

/// A bag.
pub(crate) fn bag_icon() -> Markup {
    PreEscaped(
        "<svg class=\"icon\" viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" \
         stroke=\"currentColor\" stroke-width=\"1.8\" stroke-linejoin=\"round\">\
         <path d=\"M5 8h14l1 12H4z\"/><path d=\"M8.5 8V7a3.5 3.5 0 0 1 7 0v1\" \
         stroke-linecap=\"round\"/></svg>"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use instep_shop_domain::catalogue::{ItemRow, ProductRow};
    use instep_shop_domain::ids::{ItemId, ProductId};

    use super::*;

    #[test]
    fn snk_01_a_released_product_shows_every_size_with_its_level_and_disables_the_sold_out() {
        let product = product(&[(101, 0), (102, 149), (103, 150), (104, 500)]);

        let html = sizes(&product, Levels::default()).into_string();

        for (id, level) in [(101, "out"), (102, "low"), (103, "medium"), (104, "high")] {
            let button =
                html.split("<button").find(|part| part.contains(&format!("value=\"{id}\"")));
            let button = button.unwrap();
            assert!(button.contains(&format!("data-level=\"{level}\"")), "{button}");
            assert_eq!(button.contains(" disabled"), level == "out", "{button}");
        }
    }

    #[test]
    fn snk_u6_a_push_to_all_visitors_holds_no_form_token() {
        let html = sizes(&product(&[(101, 5)]), Levels::default()).into_string();

        assert!(!html.contains("form_token") && html.contains("form=\"add-to-bag\""));
    }

    #[test]
    fn names_from_the_merchant_are_text_and_not_markup() {
        let mut product = product(&[(101, 5)]);
        product.items[0].row.size = "<b>9</b>".into();

        let html = sizes(&product, Levels::default()).into_string();

        assert!(html.contains("&lt;b&gt;9&lt;/b&gt;") && !html.contains("<b>9"));
    }

    #[test]
    fn a_price_is_written_as_on_a_tag() {
        assert_eq!([14_500, 18_999, 5].map(money), ["$145", "$189.99", "$0.05"]);
    }

    fn product(items: &[(u32, i64)]) -> Product {
        let item = |(id, count): &(u32, i64)| Item {
            row: ItemRow {
                id: ItemId(*id),
                product_id: ProductId(1),
                sku: format!("sku-{id}"),
                size: "9".into(),
            },
            count: *count,
        };
        Product {
            row: ProductRow {
                id: ProductId(1),
                sku: "sku".into(),
                name: "Shoe".into(),
                brand: String::new(),
                colorway: String::new(),
                story: String::new(),
                price_cents: 100,
                art: String::new(),
                released: true,
            },
            items: items.iter().map(item).collect(),
        }
    }
}
