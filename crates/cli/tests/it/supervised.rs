//! Messages to a supervisor such as systemd, on the socket that it gives.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::running::{CONFIG, PATIENCE, Server, text};

/// The supervisor's end of the socket.
struct Supervisor {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Supervisor {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, told: vec![] }
    }

    /// Waits until something is told; answers the message with it.
    fn until(&mut self, word: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
                panic!("never told {word}: {error}; only {:?}", self.told);
            });
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            self.told.push(message.clone());
            if message.lines().any(|line| line == word) {
                return message;
            }
        }
    }
}

#[test]
fn a_supervisor_is_told_when_the_server_is_ready_and_when_it_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let mut supervisor = Supervisor::listen(&path);
    let environment = [("NOTIFY_SOCKET", text(&path))];

    let mut server = Server::serve_in(directory.path(), CONFIG, &environment);
    let ready = supervisor.until("READY=1");
    assert!(ready.contains("STATUS=ready"), "{ready}");
    assert_eq!(server.request("GET", "/readyz").0, 200);
    assert!(supervisor.told[0].contains("EXTEND_TIMEOUT_USEC="), "{:?}", supervisor.told);

    server.tell("-TERM");
    supervisor.until("STOPPING=1");
    assert_eq!(server.ended(), Some(0));
    let ready = |told: &&String| told.contains("READY=1");
    assert_eq!(supervisor.told.iter().filter(ready).count(), 1, "{:?}", supervisor.told);
}

/// It serves the others: giving up the start would take them away too.
#[test]
fn a_start_with_a_dataset_that_does_not_open_has_come_to_its_end_and_says_which() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let mut supervisor = Supervisor::listen(&path);
    let environment = [("NOTIFY_SOCKET", text(&path))];
    let mut server = Server::serve_in(directory.path(), CONFIG, &environment);
    server.must(&["dataset", "create", "bad"]);
    supervisor.until("READY=1");
    server.signal("-TERM");
    supervisor.until("STOPPING=1");
    let segment = server.data.join("datasets/bad/00000000000000000001.segment");
    std::fs::write(segment, "this is no segment").unwrap();

    server.start_unready();

    let ready = supervisor.until("READY=1");
    assert!(ready.contains("STATUS=serving, but") && ready.contains("bad"), "{ready}");
    assert_eq!(server.request("GET", "/readyz").0, 503);
    assert_eq!(server.request("GET", "/v1/datasets/d/tables").0, 200);
}
