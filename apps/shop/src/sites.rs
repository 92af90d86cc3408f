//! Sites of the shop: the page that shows them, and the orders of its buttons.
//!
//! The processes behind sites are no part of the shop: the program that runs
//! them takes the orders from a [`Desk`] and publishes their state on [`TOPIC`].

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State as FromState};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use instep::access::{Action as Right, Resource};
use instep::{Caller, LivePattern};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::merchant::Refused;
use crate::visitor::Visitor;
use crate::{Context, Counter, pages};

/// Live topic of what there is to be seen.
pub const TOPIC: &str = "shop-sites";
/// Event of it.
pub const EVENT: &str = "sites";
/// Orders that wait to be carried out.
const ORDERS: usize = 16;

/// Desk for orders about sites.
#[derive(Clone, Debug)]
pub struct Desk {
    orders: mpsc::Sender<Order>,
    is_open: bool,
}

/// Order of a visitor.
#[derive(Debug)]
pub struct Order {
    /// The site; a new one has no name yet.
    pub site: String,
    /// Action on it.
    pub action: Action,
    /// Receiver of the outcome; an error says in words why it was not done.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// Action of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Starts its process.
    Start,
    /// Ends its process in order (SIGTERM).
    Stop,
    /// Ends its process at once (SIGKILL).
    Kill,
    /// Pauses the site at the server.
    Pause,
    /// Lets it go on.
    Resume,
    /// Kills its process and deletes its database.
    Wipe,
    /// Wipes it, and starts it with a dump of this source.
    Clone(String),
    /// Makes another site, with a dump of this source.
    Add(String),
    /// Wipes it, and has the server forget it.
    Remove,
}

impl Desk {
    /// A desk, and where its orders come out. Open, it serves every visitor of the page; closed,
    /// only programs that show a key with the right to administer the shop's dataset.
    #[must_use]
    pub fn new(is_open: bool) -> (Self, mpsc::Receiver<Order>) {
        let (orders, taken) = mpsc::channel(ORDERS);
        (Self { orders, is_open }, taken)
    }

    /// True when every visitor may order.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// True when it takes an order from a page that was made for this visitor.
    fn serves(&self, visitor: &Visitor, form_token: &str, context: &Context) -> bool {
        self.is_open && visitor.sent(form_token, context)
    }
}

/// The live topic: the newest state is kept for pages that open later.
pub(crate) fn pattern() -> LivePattern {
    LivePattern { topic: TOPIC.into(), last_value: true, ..LivePattern::default() }
}

/// Form of an order.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct OrderForm {
    form_token: String,
    site: String,
    action: String,
    source: String,
}

/// `POST /sites`: an order, from a page that was made for this visitor or with a key.
pub(crate) async fn order(
    FromState(counter): FromState<Counter>,
    visitor: Visitor,
    caller: Caller,
    form: Result<Form<OrderForm>, FormRejection>,
) -> Result<Response, Refused> {
    let refuse = |status, code, detail: &str| Err(Refused::new(status, code, detail.to_owned()));
    let context = &counter.context;
    let Some(desk) = &context.desk else {
        return refuse(StatusCode::NOT_FOUND, "no_sites", "this shop has no sites");
    };
    let form = form.map(|Form(form)| form).unwrap_or_default();
    let is_of_page = desk.serves(&visitor, &form.form_token, context);
    let right = || caller.may(Right::Administer, Resource::Dataset(context.dataset.as_str()));
    if !is_of_page && right().is_err() {
        let detail = "the order was not made by a page of ours, or the page is too old";
        return refuse(StatusCode::FORBIDDEN, "forbidden", detail);
    }
    let Some(action) = Action::of(&form) else {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "bad_action", "there is no such action");
    };
    let (answer, done) = oneshot::channel();
    if desk.orders.try_send(Order { site: form.site, action, answer }).is_err() {
        let detail = "too many orders wait, or the shop closes";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail);
    }
    match done.await {
        Ok(Ok(())) => {
            let mut answer = StatusCode::NO_CONTENT.into_response();
            pages::protect(&mut answer);
            Ok(answer)
        }
        Ok(Err(reason)) => refuse(StatusCode::CONFLICT, "not_done", &reason),
        Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "closing", "the shop closes"),
    }
}

impl Action {
    fn of(form: &OrderForm) -> Option<Self> {
        let source = || form.source.clone();
        Some(match form.action.as_str() {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "kill" => Self::Kill,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "wipe" => Self::Wipe,
            "clone" => Self::Clone(source()),
            "add" => Self::Add(source()),
            "remove" => Self::Remove,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use instep::model::name::Name;
    use instep_shop_domain::ids::CartId;

    use super::*;
    use crate::Secret;

    #[test]
    fn a_page_orders_with_its_own_token_and_on_a_public_address_with_none() {
        let (name, secret) = (Name::new("shop").unwrap(), Secret::new([3; 32]));
        let context = Context { dataset: name, levels: Default::default(), secret, desk: None };
        let visitor = |byte| Visitor { cart: CartId::from_random([byte; 32]), known: true };
        let (mine, theirs) = (visitor(1), visitor(2));
        let token = mine.form_token(&context);
        let serves = |is_open, visitor: &Visitor, token: &str| {
            Desk::new(is_open).0.serves(visitor, token, &context)
        };

        assert!(serves(true, &mine, &token));
        assert!(!serves(true, &theirs, &token) && !serves(true, &mine, ""));
        assert!(!serves(false, &mine, &token));
    }
}
