//! Trusted proxies: whose word on where a request comes from is believed, and what they say.
//!
//! | said by | where | is believed |
//! | --- | --- | --- |
//! | `X-Forwarded-For`, else `Forwarded` | a request | from the right, up to who is no proxy |
//! | `X-Forwarded-Host` | a request | as the host that the page knows |
//! | PROXY protocol, version 1 or 2 | a connection's beginning | on the doors that are told so |
//!
//! From any other peer these words mean nothing.

mod header;

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header as names};
use instep_model::limits;

pub(crate) use self::header::read_proxy_header;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Trusted proxies, by address or network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<Network>);

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

/// Error of a list of trusted proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxiesError {
    /// The list is longer than a server takes.
    #[error("at most {limit}")]
    TooMany {
        /// Entries that it may have.
        limit: usize,
    },
    /// An entry is neither an address nor a network.
    #[error("{entry:?} is not ADDRESS or ADDRESS/BITS")]
    Entry {
        /// The entry.
        entry: String,
    },
}

impl Proxies {
    /// Reads a list of addresses (`10.0.0.7`) and networks (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    /// [`ProxiesError`], which names the entry that is none.
    pub fn parse(list: &[String]) -> Result<Self, ProxiesError> {
        if list.len() > limits::PROXIES {
            return Err(ProxiesError::TooMany { limit: limits::PROXIES });
        }
        let parse = |text: &String| {
            Network::parse(text).ok_or_else(|| ProxiesError::Entry { entry: text.clone() })
        };
        list.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True for the address of a trusted proxy.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client behind a request that comes from `peer`; none when that is no trusted proxy, or
    /// does not say.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.contain(peer) {
            return None;
        }
        let lines = |name: &HeaderName| {
            let values = headers.get_all(name).into_iter();
            values.map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>().unwrap_or_default()
        };
        let plain = lines(&FORWARDED_FOR);
        let hops: Vec<Option<IpAddr>> = if plain.is_empty() {
            let lines = lines(&names::FORWARDED);
            lines.iter().flat_map(|line| line.split(',')).map(forwarded_hop).collect()
        } else {
            plain.iter().flat_map(|line| line.split(',')).map(hop).collect()
        };
        let mut client = None;
        for hop in hops.into_iter().rev() {
            // What stands before something unreadable was not said by a trusted proxy.
            client = Some(hop?).or(client);
            if client.is_some_and(|client| !self.contain(client)) {
                break;
            }
        }
        client
    }

    /// Puts the host that the client asked for into the header `Host`, if `peer` is believed.
    pub fn put_host(&self, peer: IpAddr, headers: &mut HeaderMap) {
        if self.contain(peer)
            && let Some(host) = headers.get(FORWARDED_HOST).cloned()
            && let Ok(text) = host.to_str()
            // Of several proxies the first one has seen what the client asked for.
            && let Some(first) = text.split(',').next()
            && let Ok(host) = HeaderValue::from_str(first.trim())
        {
            headers.insert(names::HOST, host);
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().ok()?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        let shift = |width: u32| width - u32::from(self.bits);
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u64::from(own.to_bits() ^ other.to_bits());
                differ >> shift(32) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = own.to_bits() ^ other.to_bits();
                differ.checked_shr(shift(128)).unwrap_or_default() == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// An address of a list, with or without a port.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse().ok();
    let with_port = || text.parse().ok().map(|address: std::net::SocketAddr| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

/// An element of `Forwarded` (RFC 7239): `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_hop(element: &str) -> Option<IpAddr> {
    let value = element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    });
    hop(value?.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(list: &[&str]) -> Proxies {
        Proxies::parse(&list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn client(of: &Proxies, peer: &str, said: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        of.client(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_hop_that_no_trusted_proxy_is() {
        let trusted = proxies(&["127.0.0.1", "10.0.0.0/8", "fd00::/8"]);
        let of = |peer, said: &str| client(&trusted, peer, &[("x-forwarded-for", said)]);

        assert_eq!(of("127.0.0.1", "192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("127.0.0.1", "6.6.6.6, 192.0.2.1, 10.1.2.3").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("::ffff:10.0.0.1", "192.0.2.1:4711").as_deref(), Some("192.0.2.1"));
        assert_eq!(of("fd00::1", "[2001:db8::1]:80").as_deref(), Some("2001:db8::1"));
        assert_eq!(of("127.0.0.1", "10.0.0.9").as_deref(), Some("10.0.0.9"), "all are proxies");
        assert_eq!(of("127.0.0.1", "192.0.2.1, junk"), None);
        assert_eq!(of("192.0.2.7", "192.0.2.1"), None, "any peer can say so");
        let twice = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client(&trusted, "127.0.0.1", &twice).as_deref(), Some("192.0.2.1"));
        let standard = [("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https")];
        assert_eq!(client(&trusted, "127.0.0.1", &standard).as_deref(), Some("2001:db8::1"));
    }

    #[test]
    fn the_host_of_the_page_is_what_a_trusted_proxy_says() {
        let trusted = proxies(&["127.0.0.1"]);
        let host = |peer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(names::HOST, HeaderValue::from_static("backend:4000"));
            headers.insert(FORWARDED_HOST, HeaderValue::from_static("shop.example, inner"));
            trusted.put_host(peer.parse().unwrap(), &mut headers);
            headers[names::HOST].to_str().unwrap().to_owned()
        };

        assert_eq!(
            (host("127.0.0.1").as_str(), host("::1").as_str()),
            ("shop.example", "backend:4000")
        );
    }

    #[test]
    fn a_list_that_does_not_read_is_refused_with_its_entry() {
        for bad in ["10.0.0.0/33", "proxy.example", "10.0.0.1:80", "::/129", ""] {
            let refused = Proxies::parse(&[bad.to_owned()]).unwrap_err();
            assert_eq!(refused, ProxiesError::Entry { entry: bad.to_owned() });
            assert_eq!(refused.to_string(), format!("{bad:?} is not ADDRESS or ADDRESS/BITS"));
        }
        assert!(proxies(&["0.0.0.0/0"]).contain("192.0.2.1".parse().unwrap()));
        assert!(proxies(&["::/0"]).contain("2001:db8::1".parse().unwrap()));
        assert!(!proxies(&["::/0"]).contain("192.0.2.1".parse().unwrap()));
    }
}
