//! Forms: everything that the script does over the socket, for browsers without it; and buying.
//!
//! A form without the token that one of our pages made for this shopper is answered 403 before
//! anything else is looked at.

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State as FromState};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use instep::Dataset;
use instep_shop_domain::cart::{self, CartChange, CartError};
use instep_shop_domain::checkout::{self, CheckoutError};
use instep_shop_domain::ids::ItemId;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::visitor::Visitor;
use crate::{Counter, clock, pages, views};

/// A form about one item.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ItemForm {
    form_token: String,
    item_id: String,
}

/// The form that buys a cart.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct BuyForm {
    form_token: String,
    order: String,
}

type Sent<T> = Result<Form<T>, FormRejection>;

/// `POST /cart/add`.
pub(crate) async fn add(
    FromState(counter): FromState<Counter>,
    visitor: Visitor,
    headers: HeaderMap,
    form: Sent<ItemForm>,
) -> Response {
    change(&counter, &visitor, &headers, form, CartChange::Add).await
}

/// `POST /cart/remove`.
pub(crate) async fn remove(
    FromState(counter): FromState<Counter>,
    visitor: Visitor,
    headers: HeaderMap,
    form: Sent<ItemForm>,
) -> Response {
    change(&counter, &visitor, &headers, form, CartChange::Remove).await
}

async fn change(
    counter: &Counter,
    visitor: &Visitor,
    headers: &HeaderMap,
    form: Sent<ItemForm>,
    change: impl FnOnce(ItemId) -> CartChange,
) -> Response {
    let form = form.map(|Form(form)| form).unwrap_or_default();
    if !visitor.sent(&form.form_token, &counter.context) {
        return forged();
    }
    let Some(dataset) = counter.dataset() else {
        return pages::closed();
    };
    let outcome = match form.item_id.parse::<ItemId>() {
        Err(_) => Err((StatusCode::UNPROCESSABLE_ENTITY, "not_found")),
        Ok(item) => cart::change(&dataset, &visitor.cart, change(item), clock::now_ms())
            .await
            .map_err(|error| (status_of(&error), error.reason())),
    };
    if wants_json(headers) {
        return changed_json(counter, visitor, &dataset, outcome);
    }
    match outcome {
        Ok(()) => see_other("/checkout"),
        Err((status, reason)) => {
            pages::refused(counter, visitor, status, reason, clock::fresh_order_id())
        }
    }
}

fn changed_json(
    counter: &Counter,
    visitor: &Visitor,
    dataset: &Dataset,
    outcome: Result<(), (StatusCode, &'static str)>,
) -> Response {
    let tables = &dataset.state().tables;
    let held = cart::cart(tables, &visitor.cart);
    let cart = views::cart_json(tables, &held, counter.context.levels);
    let mut answer = match outcome {
        Ok(()) => Json(json!({"status": "ok", "cart": cart})).into_response(),
        Err((status, reason)) => {
            (status, Json(json!({"status": "error", "reason": reason, "cart": cart})))
                .into_response()
        }
    };
    pages::protect(&mut answer);
    answer
}

fn status_of(error: &CartError) -> StatusCode {
    match error {
        CartError::NotFound(_) => StatusCode::NOT_FOUND,
        CartError::Duplicate(_) | CartError::Full => StatusCode::CONFLICT,
        CartError::Refused(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `POST /checkout`: buys the cart, all of it or none.
pub(crate) async fn buy(
    FromState(counter): FromState<Counter>,
    visitor: Visitor,
    headers: HeaderMap,
    form: Sent<BuyForm>,
) -> Response {
    let form = form.map(|Form(form)| form).unwrap_or_default();
    if !visitor.sent(&form.form_token, &counter.context) {
        return forged();
    }
    let Some(dataset) = counter.dataset() else {
        return pages::closed();
    };
    let order = Uuid::try_parse(&form.order).unwrap_or_else(|_| clock::fresh_order_id());
    let bought = checkout::checkout(&dataset, &visitor.cart, order, clock::now_ms()).await;
    match bought {
        Ok(bought) if wants_json(&headers) => {
            let lines = &bought.lines;
            let json = json!({"status": "ok", "order": order, "lines": lines,
                              "total_cents": bought.total_cents});
            let mut answer = Json(json).into_response();
            pages::protect(&mut answer);
            answer
        }
        Ok(_) => see_other(&format!("/checkout/complete?order={order}")),
        Err(error) => not_bought(&counter, &visitor, &headers, order, &error),
    }
}

fn not_bought(
    counter: &Counter,
    visitor: &Visitor,
    headers: &HeaderMap,
    order: Uuid,
    error: &CheckoutError,
) -> Response {
    let (status, order) = match error {
        // Whether it was stored may be unknown: the same id makes a second try safe.
        CheckoutError::Refused(_) => (StatusCode::SERVICE_UNAVAILABLE, order),
        _ => (StatusCode::CONFLICT, clock::fresh_order_id()),
    };
    if wants_json(headers) {
        let json = json!({"status": "error", "reason": error.reason()});
        let mut answer = (status, Json(json)).into_response();
        pages::protect(&mut answer);
        return answer;
    }
    pages::refused(counter, visitor, status, error.reason(), order)
}

fn forged() -> Response {
    let words = "This form was not made by a page of ours, or the page was too old. \
                 Go back, reload and try again.";
    let mut answer = (StatusCode::FORBIDDEN, words).into_response();
    pages::protect(&mut answer);
    answer
}

fn see_other(to: &str) -> Response {
    let mut answer = Redirect::to(to).into_response();
    pages::protect(&mut answer);
    answer
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}
