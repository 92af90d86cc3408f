//! Listening so that a crowd that comes at once can wait, and who vanishes is noticed.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use instep_model::limits;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// A listener that never blocks. The standard library lets 128 wait; everybody beyond has their
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

/// Growth of the process's table of descriptors, done at the start: Linux stops every thread that
/// opens something for 10 to 30 ms each time when it has to double the table, and a crowd that
/// connects would make it do so six times.
pub fn grow_descriptor_table() {
    let size = most_descriptors().min(limits::DESCRIPTOR_TABLE);
    let highest = RawFd::try_from(size).unwrap_or(RawFd::MAX) - 1;
    let grown = File::open("/dev/null")
        .and_then(|file| Ok(rustix::io::fcntl_dupfd_cloexec(&file, highest)?));
    if let Err(error) = grown {
        tracing::debug!(%error, "the table of descriptors grows later");
    }
}

/// True when a connection that was just accepted has one of the last descriptors of the process,
/// which are kept for files, and for those who administer the server. The system always gives the
/// lowest number that is free.
pub(crate) fn is_scarce(connection: &impl AsRawFd) -> bool {
    connection.as_raw_fd() >= reserve_begins()
}

/// The number of the first descriptor that no connection of everybody's should have.
pub(crate) fn reserve_begins() -> RawFd {
    let most = most_descriptors();
    RawFd::try_from(most - reserve_of(most)).unwrap_or(RawFd::MAX)
}

/// Descriptors that are kept for files, and for those who administer the server.
pub(crate) fn reserve() -> usize {
    usize::try_from(reserve_of(most_descriptors())).unwrap_or(usize::MAX)
}

/// Limit of the descriptors of this process.
fn most_descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

fn reserve_of(most: u64) -> u64 {
    // Where there are few, every one counts; logs keep theirs anyway.
    if most < limits::KEPT_DESCRIPTORS_FROM {
        return 0;
    }
    (most / limits::KEPT_DESCRIPTORS_PART).min(limits::KEPT_DESCRIPTORS)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn whoever_vanishes_is_asked_for_at_every_door() {
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

    #[test]
    fn the_last_descriptors_are_not_for_connections() {
        assert_eq!([64, 256, 20_000].map(reserve_of), [0, 32, limits::KEPT_DESCRIPTORS]);
    }
}
