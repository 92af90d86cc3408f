//! The cart's channel: only its owner joins, and items are put in and taken out over it.

use instep::model::state::Tables;
use instep::{Channel, ChannelError, Node, Push};
use instep_shop_domain::cart::{self, CartChange};
use instep_shop_domain::ids::{CartId, ItemId};
use serde_json::{Value, json};

use crate::tokens::Purpose;
use crate::views::{self, CART_PREFIX};
use crate::{Context, clock};

/// The rules of `cart:{key}`.
///
/// # Errors
/// [`ChannelError`], should the pattern not be well-formed.
pub(crate) fn cart(context: Context) -> Result<Channel, ChannelError> {
    let joining = context.clone();
    let channel = Channel::new(views::CART_TOPICS)?
        .on_join(move |_, request| {
            let allowed = may_join(&joining, &request.topic, &request.params);
            async move { allowed }
        })
        .on_push(move |node, push| {
            let context = context.clone();
            async move { pushed(&context, &node, &push).await }
        });
    Ok(channel)
}

fn may_join(context: &Context, topic: &str, params: &Value) -> Result<(), Value> {
    let token = params.get("token").and_then(Value::as_str).unwrap_or_default();
    let named = context.secret.verify(Purpose::Cart, token, clock::now_ms());
    match (cart_of(topic), named) {
        (Some(cart), Some(named)) if cart == named => Ok(()),
        _ => Err(refusal("unauthorized")),
    }
}

async fn pushed(context: &Context, node: &Node, push: &Push) -> Result<Value, Value> {
    let change: fn(ItemId) -> CartChange = match push.event.as_str() {
        "add_item" => CartChange::Add,
        "remove_item" => CartChange::Remove,
        _ => return Err(refusal("unknown_event")),
    };
    let cart = cart_of(&push.topic).ok_or_else(|| refusal("unauthorized"))?;
    let item = item_of(&push.payload).ok_or_else(|| refusal("not_found"))?;
    let dataset = node.dataset(context.dataset.as_str()).ok_or_else(|| refusal("failed"))?;
    let changed = cart::change(&dataset, &cart, change(item), clock::now_ms()).await;
    let state = dataset.state();
    let shown = shown(&state.tables, &cart, context);
    let position = dataset.position_of(&state);
    match changed {
        Ok(()) => Ok(json!({"cart": shown, "position": position})),
        Err(error) => Err(json!({"reason": error.reason(), "cart": shown, "position": position})),
    }
}

fn shown(tables: &Tables, id: &CartId, context: &Context) -> Value {
    views::cart_json(tables, &cart::cart(tables, id), context.levels)
}

fn cart_of(topic: &str) -> Option<CartId> {
    topic.strip_prefix(CART_PREFIX)?.parse().ok()
}

/// The item that a payload names, as a number or as text.
fn item_of(payload: &Value) -> Option<ItemId> {
    match payload.get("item_id")? {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok().map(ItemId),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn refusal(reason: &'static str) -> Value {
    json!({"reason": reason})
}

#[cfg(test)]
mod tests {
    use instep::model::name::Name;

    use super::*;
    use crate::Secret;

    #[test]
    fn snk_u1_only_the_owner_of_a_token_joins_the_cart_that_it_names() {
        let context = Context {
            dataset: Name::new("shop").unwrap(),
            levels: Default::default(),
            secret: Secret::new([3; 32]),
            desk: None,
        };
        let (mine, other) = (CartId::from_random([1; 32]), CartId::from_random([2; 32]));
        let token = context.secret.sign(Purpose::Cart, &mine, clock::now_ms());
        let joins = |cart: &str, params| may_join(&context, &format!("cart:{cart}"), &params);

        assert_eq!(joins(mine.as_str(), json!({"token": token})), Ok(()));
        assert!(joins(other.as_str(), json!({"token": token})).is_err());
        assert!(joins(mine.as_str(), json!({})).is_err());
        assert!(joins(mine.as_str(), json!({"token": 7})).is_err());
        let form = context.secret.sign(Purpose::Form, &mine, clock::now_ms());
        assert!(joins(mine.as_str(), json!({"token": form})).is_err());
    }

    #[test]
    fn snk_r8_letters_as_an_item_and_an_odd_cart_id_are_refused_and_nothing_breaks() {
        for odd in [json!("abc"), json!(-1), json!(1.5), json!(null), json!([1]), json!("1e3")] {
            assert_eq!(item_of(&json!({"item_id": odd})), None, "{odd}");
        }
        assert_eq!(item_of(&json!({})), None);
        assert_eq!(item_of(&json!({"item_id": 101})), Some(ItemId(101)));
        assert_eq!(item_of(&json!({"item_id": "101"})), Some(ItemId(101)));
        assert_eq!(cart_of("cart:abc"), None);
        assert_eq!(cart_of(&format!("cart:{}", "a".repeat(63))), None);
    }
}
