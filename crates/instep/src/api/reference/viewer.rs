//! The reference as a page: Swagger UI, whose files are part of the binary, shows the document.
//!
//! Nothing comes from elsewhere, and the page may load nothing from elsewhere. Addresses are
//! relative, so that they hold behind a proxy that adds a prefix.

use std::sync::Arc;

use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};
use utoipa_swagger_ui::Config;

use crate::problem::Problem;

/// Content-Security-Policy of the page: scripts, styles and requests of this server only. Icons in
/// the styles of Swagger UI are `data:` addresses.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
/// Files of Swagger UI that the page loads; the others are builds for other uses.
const FILES: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];
const PAGE: &str = "<!doctype html><html lang=en><head><meta charset=utf-8>\
    <meta name=viewport content='width=device-width,initial-scale=1'>\
    <title>Instep API reference</title>\
    <link rel=icon type=image/png href=reference/favicon-32x32.png>\
    <link rel=stylesheet href=reference/swagger-ui.css>\
    <link rel=stylesheet href=reference/page.css>\
    <script defer src=reference/swagger-ui-bundle.js></script>\
    <script defer src=reference/start.js></script></head>\
    <body><div id=reference><noscript><p>This page needs scripts. The same is in the \
    <a href=openapi.json>OpenAPI document</a>.</p></noscript></div></body></html>";
/// The document is shown with all operations closed, and an address for each.
const START: &str = "SwaggerUIBundle({\n\
    url: 'openapi.json', dom_id: '#reference', deepLinking: true, docExpansion: 'list',\n\
    defaultModelsExpandDepth: 0, defaultModelExpandDepth: 3, displayRequestDuration: true,\n\
    displayOperationId: false, filter: true, showCommonExtensions: true, validatorUrl: null,\n\
    presets: [SwaggerUIBundle.presets.apis]\n\
    })\n";
/// On a phone, paths and tables break instead of leaving the page.
const STYLE: &str = "body{margin:0}\
    .swagger-ui .opblock-summary-path,.swagger-ui td,.swagger-ui p,.swagger-ui code\
    {overflow-wrap:anywhere}\
    .swagger-ui .response-col_links{display:none}\
    @media(max-width:40rem){.swagger-ui .wrapper{padding:0 .75rem}\
    .swagger-ui .opblock .opblock-summary{flex-wrap:wrap}\
    .swagger-ui .opblock-summary-path{max-width:100%}\
    .swagger-ui table{table-layout:fixed;width:100%}\
    .swagger-ui .parameters-col_name{width:8rem}\
    .swagger-ui .response-col_status{width:3.5rem;min-width:0;overflow-wrap:normal}\
    .swagger-ui .responses-inner,.swagger-ui .opblock-body .table-container{padding:.5rem}\
    .swagger-ui .opblock-tag{flex-wrap:wrap}}";

/// Answers the page.
pub(super) async fn page() -> Response {
    let mut answer = Html(PAGE).into_response();
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer
}

/// Answers a file of the page.
pub(super) async fn file(uri: Uri, Path(name): Path<String>) -> Response {
    let own = match name.as_str() {
        "start.js" => Some(("text/javascript", START)),
        "page.css" => Some(("text/css", STYLE)),
        _ => None,
    };
    if let Some((kind, text)) = own {
        return ([(CONTENT_TYPE, kind)], text).into_response();
    }
    let found = FILES.contains(&name.as_str()).then(|| embedded(&name)).flatten();
    found.unwrap_or_else(|| {
        let detail = format!("there is nothing at {}", uri.path());
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail).into_response()
    })
}

fn embedded(name: &str) -> Option<Response> {
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default())).ok().flatten()?;
    let kind = HeaderValue::try_from(file.content_type).ok()?;
    let mut answer = file.bytes.into_owned().into_response();
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    if file.gzpipped {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(answer)
}
