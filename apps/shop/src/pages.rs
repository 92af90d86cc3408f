//! The pages, rendered from memory at one position.

use std::sync::Arc;

use axum::extract::{Query, State as FromState};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use instep::Dataset;
use instep::model::position::Position;
use instep::model::state::State;
use instep_shop_domain::cart::{self, CartContents};
use instep_shop_domain::checkout;
use maud::Markup;
use serde::Deserialize;
use uuid::Uuid;

use crate::visitor::{self, Visitor};
use crate::{Context, Counter, clock};

pub(crate) mod admin;
mod frame;
mod shelf;
pub(crate) mod sites;
mod till;

/// Everything that a page is made of.
pub(crate) struct View<'a> {
    /// Context of the shop.
    pub(crate) context: &'a Context,
    /// Visitor of the page.
    pub(crate) visitor: &'a Visitor,
    /// The dataset as the page shows it.
    pub(crate) state: Arc<State>,
    /// Position of that state: the page's sockets resume here.
    pub(crate) position: Position,
    /// The shopper's cart.
    pub(crate) cart: CartContents,
}

impl<'a> View<'a> {
    /// A page of the tables in memory now.
    pub(crate) fn new(context: &'a Context, visitor: &'a Visitor, dataset: &Dataset) -> Self {
        let state = dataset.state();
        let held = cart::cart(&state.tables, &visitor.cart);
        Self {
            context,
            visitor,
            position: dataset.position_of(&state),
            cart: cart::contents(&state.tables, &held),
            state,
        }
    }

    /// A page as an answer: never cached, and with the cart's cookie.
    pub(crate) fn answer(&self, status: StatusCode, page: Markup) -> Response {
        let mut answer = (status, axum::response::Html(page.into_string())).into_response();
        protect(&mut answer);
        if let Some(cookie) = visitor::set_cookie(&self.visitor.cart_token(self.context)) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        answer
    }
}

/// `GET /`: all products.
pub(crate) async fn shop(FromState(counter): FromState<Counter>, visitor: Visitor) -> Response {
    with_view(&counter, &visitor, |view| view.answer(StatusCode::OK, shelf::page(view)))
}

/// `GET /cart`: the cart as JSON, for programs.
pub(crate) async fn cart(FromState(counter): FromState<Counter>, visitor: Visitor) -> Response {
    with_view(&counter, &visitor, |view| {
        let held = cart::cart(&view.state.tables, &view.visitor.cart);
        let json = crate::views::cart_json(&view.state.tables, &held, view.context.levels);
        let mut answer = axum::Json(json).into_response();
        protect(&mut answer);
        answer
    })
}

/// `GET /checkout`: the cart, and the button that buys it.
pub(crate) async fn checkout(FromState(counter): FromState<Counter>, visitor: Visitor) -> Response {
    with_view(&counter, &visitor, |view| {
        view.answer(StatusCode::OK, till::page(view, clock::fresh_order_id(), None))
    })
}

/// The checkout page with the reason why nothing was bought. `order` is kept when sending the
/// same form again may still be the same purchase.
pub(crate) fn refused(
    counter: &Counter,
    visitor: &Visitor,
    status: StatusCode,
    reason: &str,
    order: Uuid,
) -> Response {
    with_view(counter, visitor, |view| view.answer(status, till::page(view, order, Some(reason))))
}

/// Query of `/checkout/complete`.
#[derive(Deserialize)]
pub(crate) struct Complete {
    order: Option<String>,
}

/// `GET /checkout/complete?order=`: the order, for its buyer.
pub(crate) async fn complete(
    FromState(counter): FromState<Counter>,
    visitor: Visitor,
    Query(Complete { order }): Query<Complete>,
) -> Response {
    with_view(&counter, &visitor, |view| {
        let id = order.as_deref().and_then(|id| Uuid::try_parse(id).ok());
        let order = id.and_then(|id| Some((id, checkout::order(&view.state.tables, id)?)));
        let mine = order.filter(|(_, order)| order.cart == view.visitor.cart.as_str());
        match mine {
            Some((id, order)) => view.answer(StatusCode::OK, till::complete(view, id, &order)),
            None => {
                let mut answer = Redirect::to("/").into_response();
                protect(&mut answer);
                answer
            }
        }
    })
}

/// Runs `show` on the tables in memory; before they are loaded, the answer is 503.
pub(crate) fn with_view(
    counter: &Counter,
    visitor: &Visitor,
    show: impl FnOnce(&View<'_>) -> Response,
) -> Response {
    match counter.dataset() {
        Some(dataset) => show(&View::new(&counter.context, visitor, &dataset)),
        None => closed(),
    }
}

/// The answer while there is no dataset.
pub(crate) fn closed() -> Response {
    let mut answer =
        (StatusCode::SERVICE_UNAVAILABLE, "The shop opens in a moment.").into_response();
    protect(&mut answer);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

/// Content security policy: our own files and nothing else.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The headers of everything that is a shopper's own.
pub(crate) fn protect(answer: &mut Response) {
    let headers = answer.headers_mut();
    let no_store = HeaderValue::from_static("no-store, must-revalidate");
    headers.insert(header::CACHE_CONTROL, no_store);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
