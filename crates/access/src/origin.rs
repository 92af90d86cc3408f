//! Origins: which pages may open a socket. Browsers send `Origin` with every handshake, and cookies
//! and the reach of the visitor's network with it; programs send none, and need none.

use instep_model::limits;

/// The origins that are let in besides pages of the server itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Allowed>);

/// Headers of an HTTP request that tell of the page that it comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// `Origin`: said of sockets, and of what a script asks of another site.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`: said of everything, pictures as well, to `https` and to this machine.
    pub site: Option<&'a str>,
    /// `Referer`, if the page does not hide it.
    pub referer: Option<&'a str>,
    /// `Accept`.
    pub accept: Option<&'a str>,
    /// `Host`.
    pub host: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Every,
    /// `https://example.com:8443`
    Exact(String),
    /// `https://*.example.com`: the scheme, and what the rest ends in.
    Below {
        scheme: String,
        suffix: String,
    },
}

/// Error in a list of origins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Too many entries.
    #[error("at most {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// An entry in another form.
    #[error("{text:?} is not *, SCHEME://HOST, SCHEME://HOST:PORT or SCHEME://*.HOST")]
    Form {
        /// The entry.
        text: String,
    },
}

impl Origins {
    /// Reads a list such as `https://example.com`, `https://*.example.com` or `*`.
    ///
    /// # Errors
    /// [`OriginError`].
    pub fn parse(list: &[String]) -> Result<Self, OriginError> {
        if list.len() > limits::ORIGINS {
            return Err(OriginError::TooMany { limit: limits::ORIGINS });
        }
        let parse = |text: &String| {
            Allowed::parse(text).ok_or_else(|| OriginError::Form { text: text.clone() })
        };
        list.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if a page made the request that may not. Browsers do not name the page of
    /// everything that it makes them ask for, such as pictures; what they say besides tells.
    #[must_use]
    pub fn is_strange(&self, page: &Page<'_>) -> bool {
        if self.0.contains(&Allowed::Every) {
            return false;
        }
        match (page.origin, page.site) {
            // The browser knows its address better than a server behind a proxy, which may be told
            // another host.
            (Some(origin), site) => {
                !self.allow(origin, page.host) && site.map(str::trim) != Some("same-origin")
            }
            (None, Some(site)) => !["same-origin", "none"].contains(&site.trim()),
            // An old browser, or no browser at all.
            (None, None) => {
                let of_page = page.referer.and_then(origin_of);
                let is_picture = |accept: &str| {
                    ["image/", "text/css"].iter().any(|kind| accept.trim().starts_with(kind))
                };
                of_page.is_some_and(|origin| !self.allow(origin, page.host))
                    || page.accept.is_some_and(is_picture)
            }
        }
    }

    /// The hosts of the origins that are let in.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|allowed| match allowed {
            Allowed::Every => None,
            Allowed::Exact(origin) => Some(name_of(origin.split_once("://")?.1).to_owned()),
            Allowed::Below { suffix, .. } => Some(format!("*{}", name_of(suffix))),
        })
    }

    /// Returns true if a page of `origin` may use the server that it knows as `host`.
    #[must_use]
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.trim().to_ascii_lowercase();
        if self.0.iter().any(|allowed| allowed.allows(&origin)) {
            return true;
        }
        let Some((_, from)) = origin.split_once("://") else { return false };
        let (from, to) = (name_of(from), host.map(|host| host.trim().to_ascii_lowercase()));
        let Some(to) = to.as_deref().map(name_of) else { return false };
        // The pages of a developer's own machine come from another port of it.
        !from.is_empty() && (from == to || is_loopback(from) && is_loopback(to))
    }
}

impl Allowed {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://")?;
        let plain = |text: &str| !text.is_empty() && !text.contains(['*', '/', '?', '#', ' ', '@']);
        if !plain(scheme) {
            return None;
        }
        match host.strip_prefix("*.") {
            Some(below) if plain(below) => {
                Some(Self::Below { scheme: scheme.to_owned(), suffix: format!(".{below}") })
            }
            None if plain(host) => Some(Self::Exact(text)),
            Some(_) | None => None,
        }
    }

    fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Exact(allowed) => allowed == origin,
            Self::Below { scheme, suffix } => {
                origin.split_once("://").is_some_and(|(from, host)| {
                    from == scheme && host.len() > suffix.len() && host.ends_with(suffix.as_str())
                })
            }
        }
    }
}

/// The origin of an address of a page.
fn origin_of(address: &str) -> Option<&str> {
    let (scheme, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    address.get(..scheme.len() + 3 + host.len())
}

/// A host without its port.
pub(crate) fn name_of(host: &str) -> &str {
    match host.rfind(':') {
        Some(at) if host[at + 1..].bytes().all(|byte| byte.is_ascii_digit()) => &host[..at],
        _ => host,
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Result<Origins, OriginError> {
        Origins::parse(&list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn pages_of_the_server_itself_come_in_and_others_do_not() {
        let none = Origins::default();
        let allow = |origin: &str, host: &str| none.allow(origin, Some(host));

        assert!(allow("https://shop.example", "shop.example"));
        assert!(allow("https://Shop.Example:8443", "shop.example"));
        assert!(
            allow("http://[::1]:3000", "[::1]:4000") && allow("http://localhost:3", "127.0.0.1:4")
        );
        for stranger in [
            "https://evil.example",
            "https://shop.example.evil.example",
            "https://evilshop.example",
            "http://localhost:3000",
            "https://shop.example@evil.example",
            "null",
            "",
            "://",
            "shop.example",
        ] {
            assert!(!allow(stranger, "shop.example"), "{stranger}");
        }
        assert!(!none.allow("https://shop.example", None) && !none.allow("://", Some("")));
    }

    #[test]
    fn listed_origins_come_in_as_well() {
        let some = origins(&["https://app.example", "https://*.pages.example"]).unwrap();
        let allow = |origin: &str| some.allow(origin, Some("api.example"));

        assert!(allow("https://app.example") && allow("HTTPS://APP.EXAMPLE"));
        assert!(allow("https://one.pages.example") && allow("https://a.b.pages.example"));
        for stranger in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil",
            "https://pages.example",
            "https://evilpages.example",
            "http://one.pages.example",
        ] {
            assert!(!allow(stranger), "{stranger}");
        }
        assert!(allow("https://api.example"), "and the server's own");
        assert!(origins(&["*"]).unwrap().allow("null", None));
    }

    #[test]
    fn texts_that_are_no_origins_are_refused() {
        for bad in
            ["", "example.com", "https://", "https://a/b", "https://*", "https://a.*.b", "**"]
        {
            assert!(origins(&[bad]).unwrap_err().to_string().contains("SCHEME"), "{bad}");
        }
        assert!(Origins::parse(&vec!["*".to_owned(); limits::ORIGINS + 1]).is_err());
    }
}
