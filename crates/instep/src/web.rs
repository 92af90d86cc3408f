//! Web origins and hosts: which hosts this server is, whose pages come in, and what
//! browsers are told about its answers.
//!
//! | a request | answer |
//! | --- | --- |
//! | of HTTP/1.1 without `Host`, or with two | 400 `bad_host` |
//! | with two keys or tokens in one header | 400 `bad_authorization` |
//! | to a name that is none of this server's | 421 `unknown_host` |
//! | of a strange page, to `/v1` | 403 `origin_refused`, before what it shows is looked at |
//! | `OPTIONS` of a page that comes in | 204, with what it may |
//! | of a page that comes in | its answer, with the headers by which the page may read it |

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use instep_access::names::Names;
use instep_access::origin::{Origins, Page};
use instep_edge::{SHOWING, page_of};

use crate::config::{Config, Fault};
use crate::problem::Problem;

/// Response headers that a page may read besides those that every page may.
const EXPOSED: &str = "retry-after, www-authenticate, x-request-id";
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE";
const ASKS_FOR_PRIVATE: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOWS_PRIVATE: HeaderName = HeaderName::from_static("access-control-allow-private-network");
/// Framing policy: no page shows an answer inside of itself.
const FRAMES: &str = "frame-ancestors 'none'";

/// Browsers and their pages, as the configuration has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Web {
    names: Names,
    origins: Origins,
    is_tls: bool,
}

/// The page that a request comes from, if it may read the answer.
pub(crate) struct Reader(Option<HeaderValue>);

impl Web {
    pub(crate) fn new(config: &Config) -> Result<Self, Fault> {
        let origins = Origins::parse(&config.origins);
        let origins = origins.map_err(|error| Fault::new("origins", error.to_string()))?;
        let is_private = config.http.ip().is_loopback() && config.tls.files().is_none();
        let names = Names::parse(&config.names, &origins, is_private)
            .map_err(|error| Fault::new("names", error.to_string()))?;
        Ok(Self { names, origins, is_tls: config.tls.files().is_some() })
    }

    /// Checks that the request is for this server.
    pub(crate) fn check_host(&self, request: &axum::extract::Request) -> Result<(), Problem> {
        // A probe may call the server by any name.
        if ["/healthz", "/readyz"].contains(&request.uri().path()) {
            return Ok(());
        }
        let authority = request.uri().authority().map(|authority| authority.as_str());
        self.check_hosts(request.version(), authority, request.headers())
    }

    /// Checks that no header which shows a key or token stands there twice: readers would disagree
    /// about which one counts.
    ///
    /// # Errors
    /// [`Problem`] `bad_authorization`.
    pub(crate) fn check_shown(headers: &HeaderMap) -> Result<(), Problem> {
        let is_twice = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
        match SHOWING.iter().find(|name| is_twice(name)) {
            None => Ok(()),
            Some(name) => {
                let detail = format!("the header {name} stands there more than once");
                Err(Problem::bad_request("bad_authorization", detail))
            }
        }
    }

    fn check_hosts(
        &self,
        version: Version,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (host, other) = (hosts.next(), hosts.next());
        if other.is_some() || host.is_none() && version == Version::HTTP_11 {
            let detail = "a request of HTTP/1.1 has the header Host, once";
            return Err(Problem::bad_request("bad_host", detail));
        }
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()));
        let unknown =
            host.as_deref().into_iter().chain(authority).find(|host| !self.names.know(host));
        match unknown {
            None => Ok(()),
            Some(host) => {
                let detail = format!(
                    "{host:?} is no name of this server: names of the configuration lists them, \
                     that of a proxy in front of it as well"
                );
                Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail))
            }
        }
    }

    /// Checks that the page that the request is from may come in.
    pub(crate) fn check_page(&self, headers: &HeaderMap) -> Result<Reader, Problem> {
        let page: Page<'_> = page_of(headers);
        if self.origins.is_strange(&page) {
            let from = page.origin.unwrap_or("another site");
            let detail = format!("pages of {from} do not come in here: see origins");
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail));
        }
        Ok(Reader(headers.get(header::ORIGIN).cloned()))
    }

    /// Keeps cookies that were set over TLS from connections without it.
    pub(crate) fn keep_cookies(&self, response: &mut Response) {
        if !self.is_tls || !response.headers().contains_key(header::SET_COOKIE) {
            return;
        }
        for (name, value) in response.headers_mut().iter_mut() {
            if name == header::SET_COOKIE {
                *value = secured(value);
            }
        }
    }

    /// Answers a CORS preflight request; none if the request is not one.
    pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asks = *method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let told = response.headers_mut();
        told.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        told.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            told.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        if headers.contains_key(ASKS_FOR_PRIVATE) {
            told.insert(ALLOWS_PRIVATE, HeaderValue::from_static("true"));
        }
        Some(response)
    }
}

impl Reader {
    /// Lets the page read the answer.
    pub(crate) fn allow(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.0 {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let exposed = HeaderValue::from_static(EXPOSED);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

fn secured(cookie: &HeaderValue) -> HeaderValue {
    let is_secure =
        |text: &str| text.split(';').any(|part| part.trim().eq_ignore_ascii_case("secure"));
    let text = cookie.to_str().ok().filter(|text| !is_secure(text));
    let secured = text.and_then(|text| HeaderValue::try_from(format!("{text}; Secure")).ok());
    secured.unwrap_or_else(|| cookie.clone())
}

/// Lets browsers neither guess what an answer is nor show it inside of another page.
pub(crate) fn protect(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let frames = || HeaderValue::from_static(FRAMES);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert_with(frames);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn code(checked: Result<impl Sized, Problem>) -> String {
        checked.err().map_or_else(|| "ok".to_owned(), |problem| problem.code)
    }

    #[test]
    fn a_request_says_once_which_server_it_is_for_and_that_is_this_one() {
        let web = Web::new(&Config { names: vec!["instep.example".into()], ..Config::default() });
        let web = web.unwrap();
        let ask = |version, list: &[(&'static str, &str)]| {
            code(web.check_hosts(version, None, &headers(list)))
        };

        assert_eq!(ask(Version::HTTP_11, &[("host", "instep.example:4000")]), "ok");
        assert_eq!(ask(Version::HTTP_11, &[("host", "evil.example")]), "unknown_host");
        assert_eq!(ask(Version::HTTP_11, &[]), "bad_host");
        assert_eq!(ask(Version::HTTP_10, &[]), "ok");
        assert_eq!(ask(Version::HTTP_11, &[("host", "localhost"), ("host", "evil")]), "bad_host");
        let through = web.check_hosts(
            Version::HTTP_11,
            Some("evil.example"),
            &headers(&[("host", "localhost")]),
        );
        assert_eq!(code(through), "unknown_host", "whatever a proxy would be asked for");
    }

    #[test]
    fn a_request_shows_one_key_or_token_in_a_header() {
        let ask = |list: &[(&'static str, &str)]| code(Web::check_shown(&headers(list)));

        for name in ["authorization", "x-phoenix-authtoken"] {
            assert_eq!(ask(&[(name, "Bearer a")]), "ok");
            assert_eq!(ask(&[(name, "Bearer a"), (name, "Bearer a")]), "bad_authorization");
        }
        let both = [("authorization", "Bearer a"), ("x-phoenix-authtoken", "b")];
        assert_eq!(ask(&both), "ok", "the first place counts");
    }

    #[test]
    fn a_cookie_that_was_set_over_tls_is_kept_from_other_connections() {
        let is = |cookie: &str| secured(&cookie.parse().unwrap());

        assert_eq!(is("a=b; Path=/"), "a=b; Path=/; Secure");
        assert_eq!(is("a=b; secure"), "a=b; secure");
    }

    #[test]
    fn a_strange_page_is_refused_whether_or_not_its_browser_names_it() {
        let config = Config { origins: vec!["https://app.example".into()], ..Config::default() };
        let web = Web::new(&config).unwrap();
        let ask = |list: &[(&'static str, &str)]| {
            let list = [&[("host", "127.0.0.1:4000")], list].concat();
            code(web.check_page(&headers(&list)))
        };

        for own in [
            &[][..],
            &[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")],
            &[("origin", "http://localhost:3000")],
            &[("sec-fetch-site", "same-origin")],
            &[("origin", "https://behind.a.proxy"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none"), ("accept", "text/html")],
            &[("referer", "http://127.0.0.1:4000/a"), ("accept", "*/*")],
        ] {
            assert_eq!(ask(own), "ok", "{own:?}");
        }
        for strange in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site"), ("accept", "*/*")],
            &[("sec-fetch-site", "same-site")],
            &[("referer", "http://evil.example/page"), ("accept", "*/*")],
            &[("accept", "image/avif,image/webp,*/*;q=0.8")],
        ] {
            assert_eq!(ask(strange), "origin_refused", "{strange:?}");
        }
    }
}
