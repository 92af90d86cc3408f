//! A proxy between an agent and its server that changes a byte of a dump on its way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Forwards connections, and changes the last byte of some answers that are chunks.
pub(super) struct Flipping {
    pub(super) url: String,
    /// Chunks that were changed.
    pub(super) changed: Arc<AtomicUsize>,
}

impl Flipping {
    /// In front of a server; changes so many chunks.
    pub(super) fn before(server: &str, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (server, changed) = (server.to_owned(), Arc::<AtomicUsize>::default());
        let counted = Arc::clone(&changed);
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let (to, from) = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || forward(from, to));
                let changed = Arc::clone(&counted);
                std::thread::spawn(move || answer(upstream, client, most, &changed));
            }
        });
        Self { url, changed }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Forwards answers; of a chunk the first piece of the body has its last byte changed.
fn answer(mut from: TcpStream, mut to: TcpStream, most: usize, changed: &AtomicUsize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut is_chunk = false;
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let piece = &mut buffer[..read];
        let head = String::from_utf8_lossy(piece).to_lowercase();
        is_chunk |= head.starts_with("http/1.1 200") && head.contains("instep-sha256:");
        if is_chunk && !piece.ends_with(b"\r\n\r\n") {
            is_chunk = false;
            if changed.load(Ordering::Relaxed) < most {
                *piece.last_mut().unwrap() ^= 1;
                changed.fetch_add(1, Ordering::Relaxed);
            }
        }
        if to.write_all(piece).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
