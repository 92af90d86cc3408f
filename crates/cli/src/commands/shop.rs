//! `instep shop`: the merchant's actions in the demonstration shop.

use clap::Subcommand;
use instep_client::{Client, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access::Access;
use crate::failure::Failure;
use crate::output;

/// Fill, release, restock and sell out the demonstration shop.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fill the shelf.
    Seed {
        /// Pieces of each size.
        #[arg(long)]
        stock: Option<i64>,
        #[command(flatten)]
        access: Access,
    },
    /// List products, their items and how many of them there are.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Release a product: from now on it can be bought.
    Release {
        /// The product's id.
        product: String,
        #[command(flatten)]
        access: Access,
    },
    /// Set how many pieces of an item there are.
    Restock {
        /// The item's id.
        item: String,
        /// Pieces.
        count: i64,
        #[command(flatten)]
        access: Access,
    },
    /// Send buyers until nothing is left.
    SellUntilGone {
        /// Only this product; else every released one.
        product: Option<i64>,
        /// Buyers at the same time.
        #[arg(long)]
        buyers: Option<u64>,
        /// Orders a second, of all buyers together; 0 is as fast as possible. By default the stock
        /// is gone in about twenty seconds.
        #[arg(long, value_name = "N")]
        rate: Option<f64>,
        #[command(flatten)]
        access: Access,
    },
}

pub(crate) async fn run(arguments: Arguments, json: bool) -> Result<(), Failure> {
    match arguments.action {
        Action::Seed { stock, access } => {
            let body = stock.map_or(json!({}), |stock| json!({"stock": stock}));
            let answer = post(&access.client()?, &["seed"], &body).await?;
            let count = |name: &str| answer[name].as_u64().unwrap_or_default();
            let products = output::counted(count("products"), "product");
            let words = format!("{products}, {}", output::counted(count("items"), "item"));
            tell(&answer, &words, json)
        }
        Action::List { access } => list(&access.client()?, json).await,
        Action::Release { product, access } => {
            let path = ["products", &product, "release"];
            let answer = post(&access.client()?, &path, &json!({})).await?;
            let before = answer["released_before"].as_bool().unwrap_or_default();
            let how = if before { "was released before" } else { "is released" };
            tell(&answer, &format!("product {product} {how}"), json)
        }
        Action::Restock { item, count, access } => {
            let body = json!({"count": count});
            let answer = post(&access.client()?, &["items", &item, "stock"], &body).await?;
            tell(&answer, &format!("item {item}: {count} in stock"), json)
        }
        Action::SellUntilGone { product, buyers, rate, access } => {
            let mut body = json!({});
            let options = [
                ("product", product.map(Value::from)),
                ("buyers", buyers.map(Value::from)),
                ("rate", rate.map(Value::from)),
            ];
            for (name, value) in options {
                if let Some(value) = value {
                    body[name] = value;
                }
            }
            sell(&access.client()?, &body, json).await
        }
    }
}

async fn post(client: &Client, path: &[&str], body: &Value) -> Result<Value, Failure> {
    let path = [&["shop", "admin"], path].concat();
    Ok(client.request(Method::POST, &path, Some(body)).await?)
}

fn tell(answer: &Value, words: &str, json: bool) -> Result<(), Failure> {
    if json { output::json(answer) } else { output::line(words) }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let path = ["shop", "admin", "products"];
    let answer: Value = client.request(Method::GET, &path, None).await?;
    if json {
        return output::json(&answer);
    }
    let mut rows = Vec::new();
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    for product in answer["products"].as_array().into_iter().flatten() {
        let released = if product["released"] == true { "yes" } else { "no" };
        for item in product["items"].as_array().into_iter().flatten() {
            let cells =
                [&product["id"], &product["name"], &item["id"], &item["size"], &item["count"]];
            let mut row: Vec<String> = cells.into_iter().map(text).collect();
            row.insert(2, released.to_owned());
            rows.push(row);
        }
    }
    let heading = ["PRODUCT", "NAME", "RELEASED", "ITEM", "SIZE", "COUNT"];
    output::table(&heading, rows, "the shelf is empty: instep shop seed")
}

/// A line of a sale.
#[derive(Serialize, Deserialize)]
struct Progress {
    #[serde(default)]
    sold: u64,
    #[serde(default)]
    stock: u64,
    #[serde(default)]
    too_late: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    done: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn sell(client: &Client, body: &Value, json: bool) -> Result<(), Failure> {
    let path = ["shop", "admin", "sell-until-gone"];
    let mut lines = client.post_for_lines(&path, body).await?;
    let bar = output::bar(0, "{wide_bar} {human_pos} of {human_len} sold {msg} {elapsed}");
    let started = std::time::Instant::now();
    while let Some(progress) = lines.next::<Progress>().await? {
        if let Some(error) = progress.error {
            bar.abandon();
            let answer = json!({"code": "sale_stopped", "detail": error});
            return Err(Failure::Refused { words: format!("sale_stopped: {error}"), answer });
        }
        bar.set_length(progress.stock);
        bar.set_position(progress.sold);
        bar.set_message(format!("({} came too late)", progress.too_late));
        if json {
            output::json(&progress)?;
        }
        if !progress.done {
            continue;
        }
        bar.finish_and_clear();
        let Progress { sold, stock, too_late, .. } = progress;
        let seconds = started.elapsed().as_secs_f64();
        let late = output::counted(too_late, "purchase");
        let words = format!("sold {sold} of {stock} in {seconds:.1} s; {late} came too late");
        return if json { Ok(()) } else { output::line(&words) };
    }
    bar.abandon();
    Err(Failure::Connect("the sale's answer ended before the sale".into()))
}
