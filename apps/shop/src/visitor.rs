//! Visitor of the shop: a shopper with a cart, named by a signed cookie.

use std::convert::Infallible;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use instep_shop_domain::ids::CartId;

use crate::tokens::{LIFE_MS, Purpose};
use crate::{Context, Counter, clock};

/// The cookie that holds the cart token.
pub(crate) const COOKIE: &str = "instep_cart";

/// A shopper.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    /// Their cart.
    pub(crate) cart: CartId,
    /// True when the request named a cart; false when this one is fresh, and so is empty.
    pub(crate) known: bool,
}

impl Visitor {
    /// The shopper that a request's headers name, or a new one. A bad or expired token is an
    /// empty cart, never an error.
    fn of(headers: &HeaderMap, context: &Context) -> Self {
        let now_ms = clock::now_ms();
        let named = cookies(headers)
            .filter(|(name, _)| *name == COOKIE)
            .find_map(|(_, token)| context.secret.verify(Purpose::Cart, token, now_ms));
        match named {
            Some(cart) => Self { cart, known: true },
            None => Self {
                // Without randomness visitors cannot be told apart; better to stop than to mix
                // carts.
                cart: CartId::from_random(
                    clock::random_bytes().expect("the system has randomness"),
                ),
                known: false,
            },
        }
    }

    /// The token that owns the cart: for the cookie and for the socket.
    pub(crate) fn cart_token(&self, context: &Context) -> String {
        context.secret.sign(Purpose::Cart, &self.cart, clock::now_ms())
    }

    /// The token that a form of this shopper carries.
    pub(crate) fn form_token(&self, context: &Context) -> String {
        context.secret.sign(Purpose::Form, &self.cart, clock::now_ms())
    }

    /// True when a form's token was made for this shopper. A shopper without a cookie has no form.
    pub(crate) fn sent(&self, form_token: &str, context: &Context) -> bool {
        let named = context.secret.verify(Purpose::Form, form_token, clock::now_ms());
        self.known && named.as_ref() == Some(&self.cart)
    }
}

/// The header that keeps a cart token in the browser.
pub(crate) fn set_cookie(token: &str) -> Option<HeaderValue> {
    let life = LIFE_MS / 1000;
    let cookie = format!("{COOKIE}={token}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax");
    HeaderValue::from_str(&cookie).ok()
}

pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

impl FromRequestParts<Counter> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, counter: &Counter) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, &Context::from_ref(counter)))
    }
}

impl FromRef<Counter> for Context {
    fn from_ref(counter: &Counter) -> Self {
        counter.context.clone()
    }
}

#[cfg(test)]
mod tests {
    use instep::model::name::Name;

    use super::*;
    use crate::Secret;

    #[test]
    fn snk_u1_a_shopper_keeps_the_cart_and_a_tampered_cookie_is_a_new_empty_one() {
        let context = context();
        let first = Visitor::of(&HeaderMap::new(), &context);
        let token = first.cart_token(&context);

        let again = Visitor::of(&with_cookie(&format!("a=b; {COOKIE}={token}")), &context);
        let tampered = Visitor::of(&with_cookie(&format!("{COOKIE}=x{token}")), &context);

        assert!(!first.known);
        assert_eq!((again.cart, again.known), (first.cart.clone(), true));
        assert!(!tampered.known && tampered.cart != first.cart);
    }

    #[test]
    fn snk_u6_a_form_counts_only_for_the_shopper_it_was_made_for() {
        let context = context();
        let mine = Visitor { known: true, ..Visitor::of(&HeaderMap::new(), &context) };
        let theirs = Visitor { known: true, ..Visitor::of(&HeaderMap::new(), &context) };

        assert!(mine.sent(&mine.form_token(&context), &context));
        assert!(!mine.sent(&theirs.form_token(&context), &context));
        assert!(!mine.sent(&mine.cart_token(&context), &context));
        assert!(!mine.sent("", &context));
        let stranger = Visitor { known: false, ..mine.clone() };
        assert!(!stranger.sent(&mine.form_token(&context), &context));
    }

    fn context() -> Context {
        Context {
            dataset: Name::new("shop").unwrap(),
            levels: Default::default(),
            secret: Secret::new([3; 32]),
            desk: None,
        }
    }

    fn with_cookie(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        headers
    }
}
