//! Listening so that a crowd that comes at once can wait.

use std::io;
use std::net::{SocketAddr, TcpListener};

use instep_model::limits;
use socket2::{Domain, Protocol, Socket, Type};

/// A listener that never blocks. The standard library lets 128 wait; everybody beyond has their
/// first packet dropped, and tries again after a second, then after three.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}
