//! The demonstration sale, told line by line while it runs.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State as FromState;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use instep::Admin;
use instep_shop_domain::sale::{self, SaleError, SaleOptions};
use serde_json::json;
use tokio::sync::mpsc;

use crate::Counter;
use crate::merchant::{Refused, open, read};

/// Lines that wait for a slow reader; the sale does not wait for it.
const LINES: usize = 64;

/// `POST /shop/admin/sell-until-gone` `{product?, buyers?, rate?}`: NDJSON, one line
/// `{sold, stock, too_late}` ten times a second and a last one with `done` or `error`.
pub(crate) async fn sell_until_gone(
    _: Admin,
    FromState(counter): FromState<Counter>,
    body: Bytes,
) -> Result<Response, Refused> {
    let options: SaleOptions = read(&body)?;
    let dataset = open(&counter)?;
    let (lines, told) = mpsc::channel(LINES);
    // What cannot even begin is an error of the request, and not a line of its answer.
    sale::check(&dataset, options).map_err(|error| not_begun(&error))?;
    tokio::spawn(async move {
        let progress = lines.clone();
        let sold = sale::sell_until_gone(&dataset, options, move |now| {
            let _ = progress.try_send(json!(now).to_string());
        });
        let last = match sold.await {
            Ok(total) => json!({"sold": total.sold, "stock": total.stock,
                                "too_late": total.too_late, "done": true}),
            Err(error) => json!({"error": error.to_string()}),
        };
        // A reader who went away does not stop the sale.
        let _ = lines.send(last.to_string()).await;
    });
    let lines = stream::unfold(told, |mut told| async move {
        let line = told.recv().await?;
        Some((Ok::<_, Infallible>(format!("{line}\n")), told))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

fn not_begun(error: &SaleError) -> Refused {
    let (status, code) = match error {
        SaleError::UnknownProduct(_) => (StatusCode::NOT_FOUND, "unknown_product"),
        SaleError::NothingReleased => (StatusCode::CONFLICT, "nothing_released"),
        SaleError::BadBuyers => (StatusCode::UNPROCESSABLE_ENTITY, "bad_buyers"),
        SaleError::BadRate => (StatusCode::UNPROCESSABLE_ENTITY, "bad_rate"),
        SaleError::Refused(refusal) => (StatusCode::SERVICE_UNAVAILABLE, refusal.code()),
        SaleError::BuyerLost => (StatusCode::INTERNAL_SERVER_ERROR, "buyer_lost"),
    };
    Refused::new(status, code, error.to_string())
}
