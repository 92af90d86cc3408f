//! The names under which a server is known, against pages whose name points here only since they
//! were loaded (DNS rebinding). Such a page is of one origin with the server as far as the browser
//! knows: only the server can tell that the name is none of its own. An address is no name, and one
//! without a dot is no name that a stranger could have.
//!
//! | the server | names that are known |
//! | --- | --- |
//! | any | addresses, names without a dot, `….localhost`, `names`, hosts of `origins` |
//! | with `names`, or on a loopback address without TLS | no others |
//! | else | every name: a page that reaches the server gains nothing by a visitor's browser |

use std::net::IpAddr;

use instep_model::limits;

use crate::origin::{Origins, name_of};

/// The names under which a server is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    own: Vec<Known>,
    /// Others are known as well.
    any: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Exact(String),
    /// Suffix of the name, the dot included.
    Below(String),
}

/// Error in a list of names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Too many entries.
    #[error("at most {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// An entry that is no host name.
    #[error("{text:?} is not a host name such as instep.example")]
    Form {
        /// The entry.
        text: String,
    },
}

impl Names {
    /// Reads a list such as `instep.example` or `*.example`. `is_private` is a server that is
    /// reached from its own machine only.
    ///
    /// # Errors
    /// [`NamesError`].
    pub fn parse(list: &[String], origins: &Origins, is_private: bool) -> Result<Self, NamesError> {
        if list.len() > limits::ORIGINS {
            return Err(NamesError::TooMany { limit: limits::ORIGINS });
        }
        let parse = |text: &String| {
            Known::parse(text).ok_or_else(|| NamesError::Form { text: text.clone() })
        };
        let mut own = list.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        own.extend(origins.hosts().filter_map(|host| Known::parse(&host)));
        Ok(Self { own, any: list.is_empty() && !is_private })
    }

    /// Returns true if `host`, which a request names, is a name of this server.
    #[must_use]
    pub fn know(&self, host: &str) -> bool {
        let name = name_of(host.trim()).trim_end_matches('.').to_ascii_lowercase();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        self.any
            || address.parse::<IpAddr>().is_ok()
            || !name.is_empty() && !name.contains('.')
            || name.ends_with(".localhost")
            || self.own.iter().any(|known| known.is(&name))
    }
}

impl Known {
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text.as_str()),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let fits = !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain);
        fits.then(|| {
            if below { Self::Below(format!(".{name}")) } else { Self::Exact(name.to_owned()) }
        })
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Self::Exact(known) => known == name,
            Self::Below(end) => name.len() > end.len() && name.ends_with(end.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str], origins: &[&str], is_private: bool) -> Names {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let origins = Origins::parse(&owned(origins)).unwrap();
        Names::parse(&owned(list), &origins, is_private).unwrap()
    }

    #[test]
    fn a_name_that_only_points_here_is_none_of_the_servers() {
        let private = names(&[], &["https://app.example:8443", "https://*.pages.example"], true);

        for own in [
            "localhost:4000",
            "LOCALHOST",
            "localhost.:4000",
            "shop.localhost",
            "instep:4000",
            "127.0.0.1:4000",
            "[::1]:4000",
            "192.168.1.5",
            "app.example",
            "one.pages.example:1",
        ] {
            assert!(private.know(own), "{own}");
        }
        for strange in ["evil.example:4000", "localhost.evil.example", "127.0.0.1.evil.example", ""]
        {
            assert!(!private.know(strange), "{strange}");
        }
        assert!(names(&[], &[], false).know("any.example"), "others reach it by themselves");
    }

    #[test]
    fn a_server_with_declared_names_is_known_by_no_others() {
        let public = names(&["Instep.Example", "*.internal"], &[], false);

        assert!(public.know("instep.example:443") && public.know("a.internal"));
        assert!(public.know("10.0.0.7:4000") && public.know("localhost"));
        assert!(!public.know("evil.example") && !public.know("b.internal.example"));
        for bad in ["", "https://a", "a:1", "*", "a/b", ".a"] {
            let list = [bad.to_owned()];
            assert!(Names::parse(&list, &Origins::default(), true).is_err(), "{bad}");
        }
    }
}
