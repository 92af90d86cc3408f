//! Operations of the merchant: fill the shelf, release, count. Needs the server's admin key.

use std::str::FromStr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as FromState};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use instep::model::owner::Refusal;
use instep::{Admin, Dataset};
use instep_shop_domain::catalogue;
use instep_shop_domain::ids::{ItemId, ProductId};
use instep_shop_domain::release::{self, ReleaseError, Released};
use instep_shop_domain::seed::{self, NewProduct, SeedError};
use instep_shop_domain::stock::{self, StockError};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Counter;

/// Body of a request to seed.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SeedRequest {
    stock: i64,
    products: Option<Vec<NewProduct>>,
}

impl Default for SeedRequest {
    fn default() -> Self {
        Self { stock: seed::DEFAULT_STOCK, products: None }
    }
}

/// `POST /shop/admin/seed` `{stock?, products?}`.
pub(crate) async fn seed(
    _: Admin,
    FromState(counter): FromState<Counter>,
    body: Bytes,
) -> Result<Response, Refused> {
    let SeedRequest { stock, products } = read(&body)?;
    let products = products.unwrap_or_else(seed::catalogue);
    let seeded = seed::seed(&open(&counter)?, &products, stock).await;
    let seeded = seeded.map_err(|error| match &error {
        SeedError::BadProduct { .. } => {
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_product", error.to_string())
        }
        SeedError::Refused(refused) => not_stored(refused, error.to_string()),
    })?;
    let json = json!({"products": seeded.products, "items": seeded.items});
    Ok(Json(json).into_response())
}

/// `GET /shop/admin/products`: the shelf with its counts.
pub(crate) async fn products(
    _: Admin,
    FromState(counter): FromState<Counter>,
) -> Result<Response, Refused> {
    let dataset = open(&counter)?;
    let state = dataset.state();
    let products: Vec<Value> = catalogue::products(&state.tables)
        .into_iter()
        .map(|product| {
            let items = product.items.iter().map(|item| {
                json!({"id": item.row.id, "sku": item.row.sku, "size": item.row.size,
                       "count": item.count})
            });
            json!({
                "id": product.row.id,
                "sku": product.row.sku,
                "name": product.row.name,
                "released": product.row.released,
                "items": items.collect::<Vec<_>>(),
            })
        })
        .collect();
    let position = dataset.position_of(&state);
    Ok(Json(json!({"products": products, "position": position})).into_response())
}

/// `POST /shop/admin/products/{id}/release`.
pub(crate) async fn release(
    _: Admin,
    FromState(counter): FromState<Counter>,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    let product: ProductId = named(&id, "unknown_product")?;
    let released = release::release(&open(&counter)?, product).await;
    let released = released.map_err(|error| match &error {
        ReleaseError::UnknownProduct(_) => {
            Refused::new(StatusCode::NOT_FOUND, "unknown_product", error.to_string())
        }
        ReleaseError::Refused(refused) => not_stored(refused, error.to_string()),
    })?;
    let before = released == Released::Before;
    Ok(Json(json!({"product_id": product, "released_before": before})).into_response())
}

/// Body of a request to set a count.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountRequest {
    count: i64,
}

/// `POST /shop/admin/items/{id}/stock` `{count}`.
pub(crate) async fn set_count(
    _: Admin,
    FromState(counter): FromState<Counter>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refused> {
    let item: ItemId = named(&id, "unknown_item")?;
    let CountRequest { count } = parse(&body)?;
    let counted = stock::set_count(&open(&counter)?, item, count).await;
    counted.map_err(|error| match &error {
        StockError::UnknownItem(_) => {
            Refused::new(StatusCode::NOT_FOUND, "unknown_item", error.to_string())
        }
        StockError::BadCount => {
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_count", error.to_string())
        }
        StockError::Refused(refused) => not_stored(refused, error.to_string()),
    })?;
    Ok(Json(json!({"item_id": item, "count": count})).into_response())
}

/// The shop's dataset, or 503.
pub(crate) fn open(counter: &Counter) -> Result<Dataset, Refused> {
    let loading = || {
        let detail = "the shop's data is not in memory yet".to_owned();
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "loading", detail)
    };
    counter.dataset().ok_or_else(loading)
}

/// A body as JSON; an empty one is the default.
pub(crate) fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Refused> {
    if body.is_empty() { Ok(T::default()) } else { parse(body) }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, "bad_json", error.to_string()))
}

fn named<T: FromStr>(id: &str, code: &'static str) -> Result<T, Refused> {
    let detail = format!("{id:?} is no id of this shop");
    id.parse().map_err(|_| Refused::new(StatusCode::NOT_FOUND, code, detail))
}

fn not_stored(refused: &Refusal, detail: String) -> Refused {
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, refused.code(), detail)
}

/// An error in the form of the server's own: problem details with a stable code.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

impl Refused {
    /// An error with a code that stays the same.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: String) -> Self {
        Self { status, code, detail }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { status, code, detail } = self;
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("error"),
            "status": status.as_u16(),
            "code": code,
            "detail": detail,
        });
        let kind = [(axum::http::header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, body.to_string()).into_response()
    }
}
