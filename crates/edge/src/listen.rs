//! Listening so that a crowd that comes at once can wait, and who vanishes is noticed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use instep_model::limits;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// A listener that never blocks. The standard library lets 128 wait; each client beyond has its
/// first packet dropped, and tries again after a second, then after three.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted has this from its listener.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_millis(limits::KEEPALIVE_AFTER_MS))
        .with_interval(Duration::from_millis(limits::KEEPALIVE_EVERY_MS))
        .with_retries(limits::KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn a_client_that_vanishes_is_asked_for_at_every_door() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = loop {
            if let Ok((accepted, _)) = listener.accept() {
                break accepted;
            }
        };

        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        let times = [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()];
        let times = times.map(|time| time.unwrap().as_millis() as u64);
        assert_eq!(times, [limits::KEEPALIVE_AFTER_MS, limits::KEEPALIVE_EVERY_MS]);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), limits::KEEPALIVE_PROBES);
    }
}
