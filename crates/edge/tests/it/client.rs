//! A client over plain TCP that reads exactly what came.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::fixture::LIVENESS;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
}

/// A message: join_ref, ref, topic, event, payload.
pub(crate) type Message = [Value; 5];

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIVENESS)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub(crate) fn join(&mut self, topic: &str) {
        self.send(&json!(["1", "1", topic, "phx_join", {}]));
        let [.., event, payload] = self.next().unwrap();
        assert_eq!((event, &payload["status"]), (json!("phx_reply"), &json!("ok")), "{payload}");
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.stream.write_all(&frame(message)).unwrap();
    }

    /// The next message; none at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut length = [0; 4];
        match self.stream.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            Err(error) => panic!("no message: {error}"),
        }
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut message).unwrap();
        Some(serde_json::from_slice(&message).unwrap())
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// A message behind its length.
pub(crate) fn frame(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], text.as_bytes()].concat()
}
