//! Requests and answers.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, Url, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Problem, reason};
use crate::lines::Lines;
use crate::trust::Trust;

/// Timeout of connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// A server that says nothing for this long is lost: idle feeds say something every 10 seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that is not a stream; rows of one page are the largest.
const ANSWER_BYTES: usize = 300 * 1024 * 1024;

/// A client of one server, over HTTP. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    key: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at `base_url`; `key` is its admin key. Connects with the first
    /// request.
    ///
    /// # Errors
    /// [`Error::Address`] when the address is neither `http://…` nor `https://…`.
    pub fn new(base_url: &str, key: Option<String>) -> Result<Self, Error> {
        Self::trusting(base_url, key, &Trust::system())
    }

    /// Makes a client with other trust anchors than those of this machine.
    ///
    /// # Errors
    /// As [`Client::new`], or an error when a trust anchor is no certificate.
    pub fn trusting(base_url: &str, key: Option<String>, trust: &Trust) -> Result<Self, Error> {
        let address = |problem: String| Error::Address {
            what: "the server's address",
            value: base_url.to_owned(),
            problem,
        };
        let base = Url::parse(base_url).map_err(|error| address(error.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) || base.host_str().is_none() {
            return Err(address("it must be http://HOST:PORT or https://HOST:PORT".into()));
        }
        let tls = trust.config(base.scheme() == "https");
        let tls = tls.map_err(|error| address(error.to_string()))?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            // Streams stand for hours: no proxy that happens to be configured may cut them.
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| address(reason(&error)))?;
        Ok(Self { base, key, http })
    }

    /// The address of the server.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Sends a request to any path of the server, of which `path` are the unencoded segments, and
    /// reads its answer as JSON; an empty answer is null.
    ///
    /// # Errors
    /// Any [`Error`] except [`Error::OutcomeUnknown`].
    pub async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<T, Error> {
        let body = body.map(|body| body.to_string().into_bytes());
        self.read(self.send(method, self.url(path)?, body).await?).await
    }

    /// Posts to any path of the server and reads the answer line by line, as NDJSON.
    ///
    /// # Errors
    /// Any [`Error`] except [`Error::OutcomeUnknown`].
    pub async fn post_for_lines(&self, path: &[&str], body: &Value) -> Result<Lines, Error> {
        let body = Some(body.to_string().into_bytes());
        let response = self.send(Method::POST, self.url(path)?, body).await?;
        Ok(Lines::new(response, self.base_url()))
    }

    /// Posts JSON to the address of the client itself, which need not be one of a server, with a
    /// key under which the receiver knows a repetition. Returns the status and the answer, whatever
    /// they are.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`], or [`Error::Unexpected`] of an answer that is too
    /// large.
    pub async fn deliver(
        &self,
        idempotency_key: &str,
        body: Vec<u8>,
    ) -> Result<(u16, String), Error> {
        let request = self.request_to(Method::POST, self.base.clone());
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", idempotency_key)
            .body(body);
        let response = request.send().await.map_err(|error| self.failure(&error))?;
        let status = response.status().as_u16();
        let answer = self.body(response).await?;
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }

    /// The address of a path, whose segments are encoded here.
    pub(crate) fn url(&self, path: &[&str]) -> Result<Url, Error> {
        // An address cannot hold these as names: it would become that of something else.
        if let Some(bad) = path.iter().find(|segment| ["", ".", ".."].contains(segment)) {
            return Err(Error::Address {
                what: "the name",
                value: (*bad).to_owned(),
                problem: "an address cannot hold it".into(),
            });
        }
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Ok(url)
    }

    /// Sends, and takes every status but 2xx as a refusal.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
    ) -> Result<Response, Error> {
        let mut request = self.request_to(method, url);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        self.answer(request).await
    }

    /// A request with the credential, without a body.
    pub(crate) fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request, and takes every status but 2xx as a refusal.
    pub(crate) async fn answer(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.failure(&error))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refusal(response).await)
        }
    }

    /// Reads a whole answer as JSON; an empty one is null.
    pub(crate) async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Error> {
        let body = self.body(response).await?;
        let body = if body.is_empty() { b"null" } else { &body[..] };
        serde_json::from_slice(body).map_err(|error| self.unexpected(error.to_string()))
    }

    async fn refusal(&self, response: Response) -> Error {
        let status = response.status();
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Error::Refused(Box::new(problem)),
            // The server itself always says why. Whether it has got the request is not known.
            Err(_) if [502, 503, 504].contains(&status.as_u16()) => {
                let address = self.base_url().to_owned();
                Error::Lost { address, reason: format!("a proxy answers {status}") }
            }
            Err(_) => {
                let start = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                self.unexpected(format!("status {status}, {start:?}"))
            }
        }
    }

    /// Reads a whole answer.
    pub(crate) async fn body(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES {
                let reason = format!("it is larger than {ANSWER_BYTES} bytes");
                return Err(self.unexpected(reason));
            }
        }
        Ok(body)
    }

    fn failure(&self, error: &reqwest::Error) -> Error {
        let (address, reason) = (self.base_url().to_owned(), reason(error));
        if error.is_connect() {
            Error::Unreachable { address, reason }
        } else if error.is_builder() {
            Error::Address { what: "the request", value: address, problem: reason }
        } else {
            Error::Lost { address, reason }
        }
    }

    pub(crate) fn unexpected(&self, reason: String) -> Error {
        Error::Unexpected { address: self.base_url().to_owned(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_and_those_that_would_change_the_address_are_refused() {
        let client = Client::new("http://127.0.0.1:4000/", None).unwrap();

        let url = client.url(&["v1", "topics", "room:a/b?c#d é"]).unwrap();

        assert_eq!(url.path(), "/v1/topics/room:a%2Fb%3Fc%23d%20%C3%A9");
        assert!(client.url(&["v1", "datasets", ".."]).is_err());
        assert!(client.url(&["v1", "datasets", ""]).is_err());
    }

    #[test]
    fn an_address_that_is_not_http_is_refused() {
        for bad in ["", "127.0.0.1:4000", "wss://127.0.0.1", "ftp://x", "http://", "https://"] {
            assert!(matches!(Client::new(bad, None), Err(Error::Address { .. })), "{bad}");
        }
    }
}
