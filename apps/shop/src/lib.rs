//! A flash-sale sneaker shop on the public face of Instep.
//!
//! What lives here: pages, their HTML and assets, forms, channel rules, the views that push to
//! open pages, and the merchant's requests. What does not: what a cart or a checkout *is*
//! (`instep-shop-domain`). Pages are rendered from memory at a position, and their sockets resume
//! exactly there.
//! Start reading at [`Shop::app`], then `pages`, then `views`.

mod assets;
mod channels;
mod clock;
mod counts;
mod forms;
mod html;
mod merchant;
mod pages;
mod sale_stream;
pub mod sites;
mod tokens;
mod views;
mod visitor;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use instep::model::commit::TableOptions;
use instep::model::name::Name;
use instep::model::view::ViewError;
use instep::{App, ChannelError, Dataset, Node};
use instep_shop_domain::cart;
use instep_shop_domain::levels::Levels;
use instep_shop_domain::sold_out::{self, BeforeLook};
use instep_shop_domain::tables;

pub use instep_shop_domain as domain;
pub use tokens::Secret;

/// The dataset that the shop lives in when nothing else is said.
pub const DATASET: &str = "shop";

/// Interval of the search for abandoned carts.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

/// A shop, before it opens.
#[derive(Clone)]
pub struct Shop {
    dataset: Name,
    levels: Levels,
    secret: Secret,
    before_look: BeforeLook,
    desk: Option<sites::Desk>,
}

/// Error of a shop that cannot open.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    /// The secret that signs tokens cannot be read or made.
    #[error("the shop's secret: {0}")]
    Secret(#[from] std::io::Error),
    /// A view of the shop is not well-formed: the levels make no sense.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The rules of a channel are not well-formed.
    #[error("the shop's channels: {0}")]
    Channel(ChannelError),
}

/// State that requests and channels need to answer.
#[derive(Clone)]
pub(crate) struct Context {
    dataset: Name,
    levels: Levels,
    secret: Secret,
    desk: Option<sites::Desk>,
}

/// State of requests: the context, and the node to ask.
#[derive(Clone)]
pub(crate) struct Counter {
    node: Node,
    context: Context,
}

impl Shop {
    /// A shop in the dataset [`DATASET`], whose secret is kept in `directory`.
    ///
    /// # Errors
    /// [`ShopError::Secret`] when the secret can neither be read nor made.
    pub fn in_directory(directory: &Path) -> Result<Self, ShopError> {
        Ok(Self::new(Secret::in_directory(directory)?))
    }

    /// A shop in the dataset [`DATASET`].
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self {
            dataset: Name::new(DATASET).expect("the shop's own name is well-formed"),
            levels: Levels::default(),
            secret,
            before_look: Arc::new(|| {}),
            desk: None,
        }
    }

    /// Shows other levels of stock.
    #[must_use]
    pub fn levels(mut self, levels: Levels) -> Self {
        self.levels = levels;
        self
    }

    /// Shows the page of its sites, whose orders go to this desk.
    #[must_use]
    pub fn sites(mut self, desk: sites::Desk) -> Self {
        self.desk = Some(desk);
        self
    }

    /// Calls `before_look` whenever the notes of carts are about to be looked at. For tests that
    /// make that task panic.
    #[doc(hidden)]
    #[must_use]
    pub fn before_look(mut self, before_look: BeforeLook) -> Self {
        self.before_look = before_look;
        self
    }

    /// Everything that the shop adds to a server.
    ///
    /// # Errors
    /// [`ShopError::View`] when the levels make no expression.
    pub fn app(&self) -> Result<App, ShopError> {
        let mut app = App::default();
        for table in tables::ALL {
            let options = TableOptions { public: false };
            app = app.table(&self.dataset, &tables::name(table), options);
        }
        for view in views::all(&self.dataset, self.levels)? {
            app = app.view(&self.dataset, view);
        }
        let context = Context {
            dataset: self.dataset.clone(),
            levels: self.levels,
            secret: self.secret.clone(),
            desk: self.desk.clone(),
        };
        let channel = channels::cart(context.clone()).map_err(ShopError::Channel)?;
        let watching = counts::channel(context.clone()).map_err(ShopError::Channel)?;
        for pattern in counts::patterns() {
            app = app.live(pattern);
        }
        if self.desk.is_some() {
            app = app.live(sites::pattern());
        }
        let (dataset, before_look) = (self.dataset.clone(), Arc::clone(&self.before_look));
        Ok(app
            .channel(channel)
            .channel(watching)
            .routes(move |node| {
                let context = context.clone();
                router(Counter { node, context })
            })
            .started(move |node| match node.dataset(dataset.as_str()) {
                Some(dataset) => {
                    tokio::spawn(sweep_carts(dataset.clone()));
                    tokio::spawn(counts::publish(node, dataset.clone()));
                    tokio::spawn(sold_out::keep_notes(dataset, Arc::clone(&before_look)));
                }
                None => tracing::error!(%dataset, "the shop's dataset is missing"),
            }))
    }
}

impl Counter {
    /// The shop's dataset; none while the server begins or ends.
    fn dataset(&self) -> Option<Dataset> {
        self.node.dataset(self.context.dataset.as_str())
    }
}

/// Removes abandoned carts now and then, until the dataset is closed.
async fn sweep_carts(dataset: Dataset) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    while dataset.stopped().is_none() {
        tick.tick().await;
        match cart::sweep(&dataset, clock::now_ms()).await {
            Ok(0) => {}
            Ok(carts) => tracing::info!(carts, "abandoned carts are removed"),
            Err(refusal) => tracing::debug!(%refusal, "abandoned carts stay for now"),
        }
    }
}

fn router(counter: Counter) -> Router {
    let mut routes = Router::new();
    if counter.context.desk.is_some() {
        routes = routes.route("/sites", get(pages::sites::page).post(sites::order));
    }
    routes
        .route("/", get(pages::shop))
        .route("/checkout", get(pages::checkout).post(forms::buy))
        .route("/checkout/complete", get(pages::complete))
        .route("/cart", get(pages::cart))
        .route("/cart/add", post(forms::add))
        .route("/cart/remove", post(forms::remove))
        .route("/shop/assets/{version}/{file}", get(assets::serve))
        .route("/shop/admin", get(pages::admin::page))
        .route("/shop/admin/session", post(pages::admin::enter).delete(pages::admin::leave))
        .route("/shop/admin/seed", post(merchant::seed))
        .route("/shop/admin/products", get(merchant::products))
        .route("/shop/admin/products/{id}/release", post(merchant::release))
        .route("/shop/admin/items/{id}/stock", post(merchant::set_count))
        .route("/shop/admin/sell-until-gone", post(sale_stream::sell_until_gone))
        .with_state(counter)
}
