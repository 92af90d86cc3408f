//! TLS to a database: whether a connection is encrypted, and the certificate that vouches for it.

use std::path::{Path, PathBuf};

use instep_client::Trust;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::store::{Fatal, bounded};

/// Spelling of libpq for a certificate that is verified, which is the only way here.
const VERIFIED: &str = "verify-full";

/// Authorities that vouch for a database.
#[derive(Debug, Clone, Default)]
pub(super) enum Authorities {
    /// The roots of this machine.
    #[default]
    System,
    /// The certificates of a file, in PEM.
    File(PathBuf),
}

impl Authorities {
    /// Makes what speaks TLS. Files are read each time, so that renewed ones count.
    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, Fatal> {
        let trust = match self {
            Self::System => Trust::system(),
            Self::File(path) => {
                let told = |error| unusable(&format!("{}: {error}", path.display()));
                Trust::only(std::fs::read(path).map_err(told)?)
            }
        };
        let config = trust.client_config().map_err(|error| unusable(&error.to_string()))?;
        Ok(MakeRustlsConnect::new(config))
    }

    /// The same for the programs of PostgreSQL: `PGSSLROOTCERT`.
    pub(super) fn root_file(&self) -> &Path {
        match self {
            // A word of version 16; older programs say that there is no such file.
            Self::System => Path::new("system"),
            Self::File(path) => path,
        }
    }
}

/// Reads an address of a database. A connection that leaves this machine is encrypted unless the
/// address says `sslmode=disable`; one that does not is if it says `require` or `verify-full`.
pub(super) fn address(url: &str) -> Result<Config, Fatal> {
    let url = url.replace(&format!("sslmode={VERIFIED}"), "sslmode=require");
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |of| format!(": {of}"));
        Fatal::Unusable(bounded(&format!("no address of a database: {error}{cause}")))
    })?;
    if config.get_ssl_mode() == SslMode::Prefer {
        let is_encrypted = !is_local(&config);
        config.ssl_mode(if is_encrypted { SslMode::Require } else { SslMode::Disable });
    }
    Ok(config)
}

/// Returns true if TLS is spoken.
pub(super) fn is_encrypted(config: &Config) -> bool {
    config.get_ssl_mode() == SslMode::Require
}

fn is_local(config: &Config) -> bool {
    let is_loopback = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
    };
    config.get_hosts().iter().all(is_loopback)
        && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback)
}

fn unusable(error: &str) -> Fatal {
    Fatal::Unusable(bounded(&format!("certificates to trust: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_leave_the_machine_are_encrypted_unless_told_otherwise() {
        let encrypted = |url: &str| address(url).map(|config| is_encrypted(&config)).unwrap();

        for local in ["postgres://a@127.0.0.1/x", "host=localhost", "postgres://a@%2Frun/x"] {
            assert!(!encrypted(local), "{local}");
        }
        for told in ["postgres://a@[::1]/x?sslmode=require", "host=/run sslmode=verify-full"] {
            assert!(encrypted(told), "{told}");
        }
        assert!(encrypted("postgres://a@db.example/x"));
        assert!(encrypted("postgres://a@localhost,db.example/x"));
        assert!(encrypted("host=localhost hostaddr=192.0.2.1"));
        assert!(!encrypted("postgres://a@db.example/x?sslmode=disable"));
    }

    #[test]
    fn an_option_that_is_not_known_is_named() {
        let refused = address("postgres://a@db.example/x?sslrootcert=ca.pem").unwrap_err();

        assert!(refused.to_string().contains("sslrootcert"), "{refused}");
    }
}
