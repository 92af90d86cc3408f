//! Live counts for the merchant: visitors of each page, and items in carts (SNK-U7).
//!
//! Every open page is present on a live topic of its kind, under the key of its cart. The counts
//! are made from that and from memory, and published to holders of a token.

use std::time::Duration;

use instep::model::state::Tables;
use instep::{Channel, ChannelError, Dataset, LivePattern, Node, Payload, PresenceMode};
use instep_shop_domain::{cart, catalogue};
use serde_json::{Value, json};

use crate::{Context, clock};

/// First part of the topics on which open pages are present.
pub(crate) const SHOPPERS: &str = "shoppers:";
/// The topic of the counts.
pub(crate) const TOPIC: &str = "shop-counts";
/// Event of the counts.
const EVENT: &str = "counts";
/// Interval of the counts, while a merchant looks.
const EVERY: Duration = Duration::from_millis(500);

/// The live topics: open pages are counted and not listed, because visitors shall not see each
/// other.
pub(crate) fn patterns() -> [LivePattern; 2] {
    let shoppers = LivePattern {
        topic: format!("{SHOPPERS}*"),
        presence: Some(PresenceMode::Count),
        ..LivePattern::default()
    };
    let counts = LivePattern { topic: TOPIC.into(), last_value: true, ..LivePattern::default() };
    [shoppers, counts]
}

/// The rule of the counts: a token, or nothing.
pub(crate) fn channel(context: Context) -> Result<Channel, ChannelError> {
    Ok(Channel::new(TOPIC)?.on_join(move |_, request| {
        let token = request.params.get("token").and_then(Value::as_str).unwrap_or_default();
        let allowed = if context.secret.shows_counts(token, clock::now_ms()) {
            Ok(())
        } else {
            Err(json!({"reason": "unauthorized"}))
        };
        async move { allowed }
    }))
}

/// Publishes the counts whenever they change and a merchant looks, until the dataset is closed.
pub(crate) async fn publish(node: Node, dataset: Dataset) {
    let mut tick = tokio::time::interval(EVERY);
    let mut told = Value::Null;
    while dataset.stopped().is_none() {
        tick.tick().await;
        let watched = node.topics().get(TOPIC).is_some_and(|topic| topic.subscribers() > 0);
        if !watched {
            // The next merchant may come after the last value was forgotten.
            told = Value::Null;
            continue;
        }
        let counts = counts(&node, &dataset.state().tables);
        if counts != told {
            let payload = Payload::Json(counts.to_string().into());
            if let Err(error) = node.publish(TOPIC, EVENT, payload) {
                tracing::warn!(%error, "the counts are not told");
            }
            told = counts;
        }
    }
}

/// Everything that the page shows.
pub(crate) fn counts(node: &Node, tables: &Tables) -> Value {
    let audience = node.topics().audience(SHOPPERS);
    let pages: serde_json::Map<String, Value> = audience
        .topics
        .iter()
        .map(|(topic, crowd)| (topic[SHOPPERS.len()..].to_owned(), crowd.keys.into()))
        .collect();
    let held = cart::held(tables);
    let products: Vec<Value> = catalogue::products(tables)
        .into_iter()
        .map(|product| {
            let items = product.items.iter().map(|item| {
                let in_carts = held.get(&item.row.id).copied().unwrap_or_default();
                json!({"id": item.row.id, "size": item.row.size, "in_carts": in_carts,
                       "available": item.count.max(0)})
            });
            json!({"id": product.row.id, "name": product.row.name,
                   "released": product.row.released, "items": items.collect::<Vec<_>>()})
        })
        .collect();
    json!({"shoppers": audience.keys, "pages": pages, "products": products})
}
