//! An address that commits are posted to.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// Path, idempotency key and body of a request.
type Posted = (String, String, String);

/// A server of HTTP that answers one status after the other, and the last one for ever.
pub(super) struct Receiver {
    pub(super) url: String,
    pub(super) posted: Arc<Mutex<Vec<Posted>>>,
}

impl Receiver {
    pub(super) fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posted = Arc::<Mutex<Vec<Posted>>>::default();
        let seen = Arc::clone(&posted);
        // It ends with the process of the test.
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let mut reader = BufReader::new(stream);
                let Some(request) = read(&mut reader) else { continue };
                let status = statuses.get(at).or(statuses.last()).unwrap();
                Mutex::lock(&seen).unwrap().push(request);
                let answer = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntold"
                );
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { url, posted }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Posted> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut key, mut length) = (String::new(), 0);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(": ") {
            Some(("idempotency-key", value)) => key = value.to_owned(),
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, key, String::from_utf8(body).ok()?))
}
