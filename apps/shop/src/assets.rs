//! Style, script and drawings, from memory, under an address that changes when they do.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "assets"]
struct Assets;

/// Hex digits of the version in addresses.
const VERSION_CHARS: usize = 16;

/// One version for all files, because the script names its neighbours by relative addresses.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<Cow<'static, str>> = Assets::iter().collect();
    names.sort();
    let mut hash = Context::new(&SHA256);
    for name in names {
        if let Some(file) = Assets::get(&name) {
            hash.update(name.as_bytes());
            hash.update(&file.metadata.sha256_hash());
        }
    }
    HEXLOWER.encode(hash.finish().as_ref())[..VERSION_CHARS].to_owned()
});

/// The address of an asset.
pub(crate) fn url(file: &str) -> String {
    format!("/shop/assets/{}/{file}", *VERSION)
}

/// `GET /shop/assets/{version}/{file}`. A page of another version gets what there is, uncached.
pub(crate) async fn serve(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(file) = Assets::get(&name) else {
        return (StatusCode::NOT_FOUND, "no such asset").into_response();
    };
    let cache =
        if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    let etag = format!("\"{}\"", &HEXLOWER.encode(&file.metadata.sha256_hash())[..VERSION_CHARS]);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag));
    let mut answer = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&name)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    answer
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_pages_name_is_there() {
        let own = ["shop.css", "shop.js", "sites.css", "sites.js"];
        for name in own.into_iter().chain(["phoenix.mjs", "phoenix.LICENSE.md"]) {
            assert!(Assets::get(name).is_some(), "{name}");
        }
        for art in crate::html::ARTS {
            assert!(Assets::get(&format!("{art}.svg")).is_some(), "{art}");
        }
    }
}
