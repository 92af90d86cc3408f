//! The doors beside HTTP.

use std::net::SocketAddr;

use instep_edge::{Certificates, Door, DoorKind};

use crate::config::{Config, DoorName};
use crate::start_error::StartError;

type Listen<'a> = dyn Fn(&Door, SocketAddr) -> std::io::Result<SocketAddr> + 'a;

/// Opens the doors beside HTTP: plain TCP, over TLS if so configured, and the Janus wire.
pub(super) fn listen_beside(
    door: &Door,
    config: &Config,
    certificates: Option<Certificates>,
) -> Result<(Option<SocketAddr>, Option<SocketAddr>), StartError> {
    let open = |address: Option<SocketAddr>, listen: &Listen<'_>| {
        let opened = address.map(|address| {
            let failed = |error| StartError::Listen { address, error };
            listen(door, address).map_err(failed)
        });
        opened.transpose()
    };
    let proxied = |name| config.proxy_protocol.contains(&name);
    let tls = certificates.filter(|_| config.tls.tcp);
    let tcp = open(config.tcp, &|door, address| match tls.clone() {
        tls if proxied(DoorName::Tcp) => door.listen_proxied(DoorKind::Tcp, address, tls),
        Some(tls) => door.listen_tcp_over_tls(address, tls),
        None => door.listen_tcp(address),
    })?;
    let janus = open(config.janus, &|door, address| {
        if proxied(DoorName::Janus) {
            door.listen_proxied(DoorKind::Janus, address, None)
        } else {
            door.listen_janus(address)
        }
    })?;
    Ok((tcp, janus))
}
