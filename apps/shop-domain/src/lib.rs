//! Domain of the shop: products, items, stock, carts, orders, and what happens to them.
//!
//! What lives here: reading the shop out of a dataset's tables, and every change as one commit.
//! What does not: HTTP, HTML, sockets, tokens (SNK-23: the domain knows nothing of the web).
//! Start reading at [`catalogue`], then [`checkout`].
//!
//! | table | key | row |
//! | --- | --- | --- |
//! | `products` | product id | sku, name, brand, price, whether it is released |
//! | `items` | item id | product, sku, size: what can be bought |
//! | `availability` | item id | product, item, count: what changes with every sale |
//! | `carts` | cart id | items, each with a note when it is sold out |
//! | `orders` | order id | what a cart became |

pub mod cart;
pub mod catalogue;
pub mod checkout;
pub mod ids;
pub mod levels;
pub mod release;
pub mod sale;
pub mod seed;
pub mod sold_out;
pub mod stock;
pub mod tables;

#[cfg(test)]
mod testing;
